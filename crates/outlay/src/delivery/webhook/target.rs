//! Where a webhook may go: what its address may look like, and which of the addresses that a name stands for are reached.
//!
//! The names of the world may stand for anything, also for machines that only this one reaches. So an address is judged as a
//! number, just before it is connected to, and what was judged is what is connected to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;
use url::{Host, Url};

use crate::config::receivers::WebhookAllow;

/// Longest address of an endpoint, in characters.
const URL_MAX: usize = 2_048;

/// Why an address cannot be an endpoint's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TargetError {
    /// It is no address, or has a part that makes no sense here.
    #[error("must be an address like https://example.org/hooks")]
    NotAnAddress,
    /// It is too long.
    #[error("must have at most 2048 characters")]
    TooLong,
    /// It holds a name or a password, which would lie about in lists.
    #[error("must hold no user name and no password")]
    UserInfo,
    /// It is not https.
    #[error("must begin with https://; OUTLAY_WEBHOOK_ALLOW can make an exception for its host")]
    NotHttps,
    /// Its port is not one of https.
    #[error("must be on port 443 or 8443; OUTLAY_WEBHOOK_ALLOW can make an exception for its host")]
    Port,
    /// It is, or stands for, an address that is not reached from everywhere.
    #[error("must be at a public address; OUTLAY_WEBHOOK_ALLOW can make an exception for its host or network")]
    NotPublic,
}

/// What endpoints may be.
#[derive(Debug, Clone)]
pub struct Rules {
    allow: WebhookAllow,
    /// The ports of https that are open to all.
    ports: Vec<u16>,
}

impl Rules {
    /// The rules with these exceptions.
    pub fn new(allow: WebhookAllow) -> Self {
        Self { allow, ports: vec![443, 8443] }
    }

    #[cfg(test)]
    pub(super) fn with_port(mut self, port: u16) -> Self {
        self.ports.push(port);
        self
    }

    /// Reads an endpoint's address. What a name stands for is not asked here, so an endpoint that passes may be refused when
    /// something is sent.
    ///
    /// # Errors
    /// When nothing may ever be sent there.
    pub fn check(&self, url: &str) -> Result<Target, TargetError> {
        if url.chars().count() > URL_MAX {
            return Err(TargetError::TooLong);
        }
        let url = Url::parse(url).map_err(|_| TargetError::NotAnAddress)?;
        let (is_https, port) = match (url.scheme(), url.port_or_known_default()) {
            ("https", Some(port)) => (true, port),
            ("http", Some(port)) => (false, port),
            _ => return Err(TargetError::NotAnAddress),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::UserInfo);
        }
        if url.fragment().is_some() || port == 0 {
            return Err(TargetError::NotAnAddress);
        }
        // The standard's reading: `0x7f.1` and `2130706433` are addresses here, as they are to a resolver.
        let place = match url.host().ok_or(TargetError::NotAnAddress)? {
            Host::Domain(name) => Place::Name(name.to_owned()),
            Host::Ipv4(address) => Place::Address(address.into()),
            Host::Ipv6(address) => Place::Address(address.into()),
        };
        let target = Target { url, place, port, is_https };
        match &target.place {
            Place::Address(address) => self.permit(&target, *address)?,
            // Whether a network makes an exception is seen when the name is asked for.
            Place::Name(name) if !self.allow.names(name) && !self.allow.has_networks() => self.looks_public(&target)?,
            Place::Name(_) => {}
        }
        Ok(target)
    }

    /// Whether this target may be reached at this address.
    ///
    /// # Errors
    /// Why not.
    pub(super) fn permit(&self, target: &Target, address: IpAddr) -> Result<(), TargetError> {
        let is_exception =
            self.allow.holds(address) || matches!(&target.place, Place::Name(name) if self.allow.names(name));
        if is_exception {
            return Ok(());
        }
        self.looks_public(target)?;
        if is_public(address) { Ok(()) } else { Err(TargetError::NotPublic) }
    }

    fn looks_public(&self, target: &Target) -> Result<(), TargetError> {
        if !target.is_https {
            return Err(TargetError::NotHttps);
        }
        if self.ports.contains(&target.port) { Ok(()) } else { Err(TargetError::Port) }
    }
}

/// An endpoint's address, taken apart.
#[derive(Debug, Clone)]
pub struct Target {
    url: Url,
    pub(super) place: Place,
    pub(super) port: u16,
    pub(super) is_https: bool,
}

/// Where a target is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Name(String),
    Address(IpAddr),
}

impl Target {
    /// The address as it was understood, such as `https://example.org/hooks`.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The path and the query, for the request's line.
    pub(super) fn path_and_query(&self) -> String {
        self.url.query().map_or_else(|| self.url.path().to_owned(), |query| format!("{}?{query}", self.url.path()))
    }

    /// The host as the `Host` header names it: with its port, where that is not the scheme's own.
    pub(super) fn host_header(&self) -> String {
        let host = self.url.host_str().unwrap_or_default();
        self.url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
    }

    /// The host's name alone, for messages and certificates.
    pub(super) fn host(&self) -> String {
        match &self.place {
            Place::Name(name) => name.trim_end_matches('.').to_owned(),
            Place::Address(address) => address.to_string(),
        }
    }
}

/// Blocks of IPv4 that are not everybody's, by the registry of special-purpose addresses (RFC 6890 and later).
const NOT_PUBLIC_V4: [(Ipv4Addr, u32); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];

/// Blocks in the global unicast range of IPv6, `2000::/3`, that are not everybody's: assignments of the IETF with Teredo,
/// documentation, 6to4, which leads to any address of IPv4, and documentation again. All outside that range is not either.
const NOT_PUBLIC_V6: [(Ipv6Addr, u32); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// Whether an address is one of the whole world's, and of no network of its own.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            !NOT_PUBLIC_V4.iter().any(|(block, bits)| (address.to_bits() ^ block.to_bits()) >> (32 - bits) == 0)
        }
        IpAddr::V6(address) => match address.segments() {
            // What a network without IPv4 makes of an address of IPv4 (NAT64) is as public as that one.
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_public(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into())
            }
            [first, ..] => {
                first >> 13 == 1
                    && !NOT_PUBLIC_V6
                        .iter()
                        .any(|(block, bits)| (address.to_bits() ^ block.to_bits()) >> (128 - bits) == 0)
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_the_whole_world_are_public() {
        let public = |text: &str| is_public(text.parse().unwrap());
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.7",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::808:808",
            "100::1",
            "2001::1",
            "2001:0:808:808::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "5f00::1",
            "fc00::1",
            "fd12:3456::1",
            "fe80::1",
            "fec0::1",
            "ff02::1",
        ] {
            assert!(!public(address), "{address}");
        }
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.0",
            "100.63.255.255",
            "100.128.0.0",
            "126.255.255.255",
            "128.0.0.1",
            "172.15.255.255",
            "172.32.0.0",
            "192.0.1.1",
            "198.17.255.255",
            "198.20.0.0",
            "223.255.255.255",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
            "2001:4860:4860::8888",
            "2606:4700::1111",
            "2a00::1",
            "3ffe::1",
        ] {
            assert!(public(address), "{address}");
        }
    }

    #[test]
    fn an_address_is_refused_whatever_clothes_it_wears() {
        let rules = Rules::new(WebhookAllow::default());
        let why = |url: &str| rules.check(url).map(|target| target.as_str().to_owned());
        for url in [
            "https://127.0.0.1/",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0x7f.1/",
            "https://0177.0.0.1/",
            "https://１２７.0.0.1/",
            "https://127。0。0。1/",
            "https://0/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://[::ffff:7f00:1]/",
            "https://[::ffff:169.254.169.254]/",
            "https://169.254.169.254/latest/meta-data/",
            "https://0xa9fea9fe/",
            "https://[fd00::1]/",
            "https://[64:ff9b::a9fe:a9fe]/",
        ] {
            assert_eq!(why(url), Err(TargetError::NotPublic), "{url}");
        }
        assert_eq!(why("http://example.org/"), Err(TargetError::NotHttps));
        assert_eq!(why("http://169.254.169.254/"), Err(TargetError::NotHttps));
        assert_eq!(why("https://example.org:22/"), Err(TargetError::Port));
        assert_eq!(why("https://ada@example.org/"), Err(TargetError::UserInfo));
        assert_eq!(why("https://example.org@127.0.0.1/"), Err(TargetError::UserInfo));
        for url in
            ["", "example.org", "ftp://example.org/", "file:///etc/passwd", "https://", "https://a/#b", "https://a b/"]
        {
            assert_eq!(why(url), Err(TargetError::NotAnAddress), "{url}");
        }
        assert_eq!(why(&format!("https://example.org/{}", "a".repeat(2_100))), Err(TargetError::TooLong));
        assert_eq!(why("https://Example.org:8443/hooks?a=b").as_deref(), Ok("https://example.org:8443/hooks?a=b"));
        assert_eq!(why("https:/\\example.org").as_deref(), Ok("https://example.org/"));
    }

    #[test]
    fn exceptions_are_for_the_host_or_the_network_that_is_named() {
        let rules = Rules::new(WebhookAllow::parse("hooks.internal,10.1.0.0/16").unwrap());
        let permits = |url: &str, address: &str| {
            rules.check(url).and_then(|target| rules.permit(&target, address.parse().unwrap())).is_ok()
        };
        assert!(permits("http://hooks.internal:8080/", "127.0.0.1"));
        assert!(permits("http://10.1.2.3:8080/", "10.1.2.3"));
        assert!(permits("http://anything.example:8080/", "10.1.2.3"));
        assert!(permits("https://anything.example/", "1.1.1.1"));
        assert!(!permits("http://anything.example:8080/", "1.1.1.1"));
        assert!(!permits("https://anything.example/", "10.2.0.1"));
        assert!(!permits("https://x.hooks.internal/", "127.0.0.1"));
        assert!(!permits("http://10.2.2.3/", "10.2.2.3"));
    }
}

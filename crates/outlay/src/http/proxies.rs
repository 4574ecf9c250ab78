//! Whose address a request comes from, where proxies speak for others.
//!
//! Anybody can write a header, so one that names the sender is believed only of proxies that the operator names, and of it
//! only what these proxies added themselves.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proxies that are believed.
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Those in these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Who sent a request: the peer, or whom the peer names if it is a proxy that is believed. A proxy that names nobody,
    /// or two who differ, stands for itself.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let peer = peer.to_canonical();
        if !self.trusts(peer) {
            return peer;
        }
        let by_each = [(&X_FORWARDED_FOR, plain_node as Node), (&FORWARDED, forwarded_node)]
            .map(|(name, node)| headers.contains_key(name).then(|| self.nearest(headers, name, node)));
        match by_each {
            [Some(one), Some(other)] if one == other => one,
            [Some(one), None] | [None, Some(one)] => one,
            _ => None,
        }
        .unwrap_or(peer)
    }

    /// Whether what comes from an address is limited. Proxies that are believed are many in one. While none is named, so
    /// may be everybody of this machine and of private networks.
    pub(super) fn limits(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        if self.0.is_empty() { !is_near(address) } else { !self.trusts(address) }
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The last one in a header that is no proxy itself: what stands before it anybody may have written.
    fn nearest(&self, headers: &HeaderMap, name: &HeaderName, node: Node) -> Option<IpAddr> {
        let values = headers.get_all(name).iter().map(|value| value.to_str().ok());
        let values: Option<Vec<&str>> = values.collect();
        let mut first = None;
        for element in values?.iter().rev().flat_map(|value| value.rsplit(',')) {
            let address = node(element.trim())?.to_canonical();
            first = Some(address);
            if !self.trusts(address) {
                break;
            }
        }
        first
    }
}

/// Reads the address in one element of a header.
type Node = fn(&str) -> Option<IpAddr>;

/// An address, also with a port, as in `X-Forwarded-For`.
fn plain_node(text: &str) -> Option<IpAddr> {
    let plain = text.parse::<IpAddr>().ok();
    plain.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip())).or_else(|| {
        let inner = text.strip_prefix('[')?.strip_suffix(']')?;
        inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
    })
}

/// The `for` of one element of `Forwarded`, as RFC 7239 has it.
fn forwarded_node(element: &str) -> Option<IpAddr> {
    let (_, node) = element
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| name.eq_ignore_ascii_case("for"))?;
    plain_node(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

/// Whether an address is of this machine or a private network, where a proxy may speak for many.
fn is_near(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies(networks: &[&str]) -> Proxies {
        Proxies::new(networks.iter().map(|network| network.parse().unwrap()).collect())
    }

    /// Who is found behind 10.0.0.1, by these headers.
    fn found(headers: &[(&'static str, &'static str)]) -> String {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect();
        proxies(&["10.0.0.0/8", "fd00::/8"]).client(address("10.0.0.1"), &headers).to_string()
    }

    #[test]
    fn the_last_one_who_is_no_proxy_sent_it() {
        for (value, client) in [
            ("203.0.113.7", "203.0.113.7"),
            ("203.0.113.7:4711", "203.0.113.7"),
            ("2001:db8::7", "2001:db8::7"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("[2001:db8::7]", "2001:db8::7"),
            ("::ffff:203.0.113.7", "203.0.113.7"),
            ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
            ("198.51.100.1,203.0.113.7,10.2.2.2 , fd00::1", "203.0.113.7"),
            ("10.9.9.9, 10.2.2.2", "10.9.9.9"),
            // What the client wrote itself does not matter.
            ("nonsense, 203.0.113.7", "203.0.113.7"),
            ("203.0.113.7, nonsense", "10.0.0.1"),
            ("203.0.113.7, unknown", "10.0.0.1"),
            ("203.0.113.7,", "10.0.0.1"),
            ("", "10.0.0.1"),
        ] {
            assert_eq!(found(&[("x-forwarded-for", value)]), client, "{value}");
        }
        assert_eq!(found(&[("x-forwarded-for", "198.51.100.1"), ("x-forwarded-for", "203.0.113.7")]), "203.0.113.7");
        assert_eq!(found(&[]), "10.0.0.1");
        for (value, client) in [
            ("for=203.0.113.7", "203.0.113.7"),
            ("proto=https;For=\"[2001:db8::7]:4711\";by=10.0.0.1", "2001:db8::7"),
            ("for=198.51.100.1, for=203.0.113.7;proto=http, for=10.2.2.2", "203.0.113.7"),
            ("for=203.0.113.7, for=_hidden", "10.0.0.1"),
            ("for=203.0.113.7, proto=http", "10.0.0.1"),
        ] {
            assert_eq!(found(&[("forwarded", value)]), client, "{value}");
        }
    }

    #[test]
    fn two_headers_that_differ_are_not_believed() {
        let both = |one, other| found(&[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("203.0.113.7", "for=203.0.113.7"), "203.0.113.7");
        assert_eq!(both("203.0.113.7", "for=203.0.113.8"), "10.0.0.1");
        assert_eq!(both("203.0.113.7", "for=nonsense"), "10.0.0.1");
    }

    #[test]
    fn nobody_else_is_believed() {
        let mut headers = HeaderMap::new();
        headers.insert(X_FORWARDED_FOR, HeaderValue::from_static("203.0.113.7"));
        let far = address("198.51.100.1");
        assert_eq!(proxies(&["10.0.0.0/8"]).client(far, &headers), far);
        assert_eq!(proxies(&[]).client(address("127.0.0.1"), &headers), address("127.0.0.1"));
        assert_eq!(
            proxies(&["10.0.0.0/8"]).client(address("::ffff:10.0.0.1"), &headers),
            address("203.0.113.7"),
            "a proxy is the same over a socket of both kinds"
        );
    }

    #[test]
    fn whoever_speaks_for_many_is_not_limited() {
        for near in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "169.254.1.1", "::1", "fd00::1", "::ffff:127.0.0.1"] {
            assert!(!proxies(&[]).limits(address(near)), "{near}");
            assert!(proxies(&["192.0.2.7/32"]).limits(address(near)), "{near}");
        }
        assert!(proxies(&[]).limits(address("203.0.113.7")));
        assert!(!proxies(&["192.0.2.7/32"]).limits(address("192.0.2.7")));
    }
}

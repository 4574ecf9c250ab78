//! Addresses that people write down: where a webhook goes, what it may reach, a mail server, a database, and the secret that
//! signs. Two spellings of one address are judged alike, and no password is shown.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use outlay::config::receivers::{SmtpSecurity, SmtpServer, WebhookAllow};
use outlay::config::store::StoreAddress;
use outlay::delivery::webhook::{Rules, SigningSecret};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Host, Url};

/// A password that stands in no text of Outlay's.
const PASSWORD: &str = "zqjx";

/// See the head of the file.
pub fn address(data: &[u8]) {
    if let Some(bytes) = data.first_chunk() {
        spellings_agree(Ipv4Addr::from(*bytes));
    }
    if let Some(bytes) = data.first_chunk::<16>() {
        let address = Ipv6Addr::from(*bytes);
        assert_eq!(is_taken(&format!("[{address}]")), is_public(address.into()), "{address}");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    endpoint(text);
    allowed(text);
    mail_server(text);
    database(text);
    if let Ok(secret) = SigningSecret::parse(text) {
        assert_eq!(secret.text().expose_secret(), text);
    }
}

/// Whether a webhook may go to a host.
fn is_taken(host: &str) -> bool {
    Rules::new(WebhookAllow::default()).check(&format!("https://{host}/")).is_ok()
}

/// One address of IPv4, in the ways in which a resolver takes it.
fn spellings_agree(address: Ipv4Addr) {
    let (number, [a, b, c, d]) = (address.to_bits(), address.octets());
    let (high, low) = (number >> 16, number & 0xffff);
    for spelling in [
        address.to_string(),
        number.to_string(),
        format!("0x{number:x}"),
        format!("0{number:o}"),
        format!("{a}.{}", number & 0xff_ffff),
        format!("0{a:o}.0x{b:x}.{}", u32::from(c) << 8 | u32::from(d)),
        format!("[::ffff:{address}]"),
        format!("[::ffff:{high:x}:{low:x}]"),
        format!("[64:ff9b::{address}]"),
    ] {
        assert_eq!(is_taken(&spelling), is_public(address.into()), "{spelling} is {address}");
    }
}

/// Whether an address is everybody's, as the standard library has it, and the registry where that has nothing.
fn is_public(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            let is_special = address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_documentation()
                || address.is_multicast();
            let is_reserved = matches!((a, b, c), (0 | 240.., ..) | (100, 64..128, _) | (198, 18 | 19, _))
                || matches!((a, b, c), (192, 0, 0) | (192, 88, 99));
            !is_special && !is_reserved
        }
        IpAddr::V6(address) => match address.segments() {
            [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
                is_public(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into())
            }
            [0x2001, ..0x200, ..] | [0x2001, 0xdb8, ..] | [0x2002, ..] | [0x3fff, ..0x1000, ..] => false,
            [first, ..] => (0x2000..0x4000).contains(&first),
        },
    }
}

/// An endpoint that is taken reads back as itself, and is public on a port of https, without a name or a password.
fn endpoint(text: &str) {
    let rules = Rules::new(WebhookAllow::default());
    let Ok(target) = rules.check(text) else { return };
    let shown = target.as_str();
    assert_eq!(rules.check(shown).map(|target| target.as_str().to_owned()).as_deref(), Ok(shown), "{text}");
    let url = Url::parse(shown).expect("an address");
    assert!(url.scheme() == "https" && matches!(url.port_or_known_default(), Some(443 | 8443)), "{shown}");
    assert!(url.username().is_empty() && url.password().is_none() && url.fragment().is_none(), "{shown}");
    match url.host().expect("a host") {
        Host::Ipv4(address) => assert!(is_public(address.into()), "{shown}"),
        Host::Ipv6(address) => assert!(is_public(address.into()), "{shown}"),
        Host::Domain(name) => assert!(name.parse::<IpAddr>().is_err(), "{shown}"),
    }
}

/// What the operator names is reached, by each of its names.
fn allowed(text: &str) {
    let Ok(allow) = WebhookAllow::parse(text) else { return };
    let rules = Rules::new(allow.clone());
    for entry in text.split(',').map(str::trim) {
        if let Ok(address) = entry.parse::<IpAddr>() {
            assert!(allow.holds(address), "{entry} is named in {text}");
        } else if let Ok(network) = entry.parse::<IpNet>() {
            // A network of IPv6 around all of IPv4 is of IPv6 alone.
            let ends = [network.network(), network.broadcast()];
            let is_of_both = ends[0].to_canonical().is_ipv4() != ends[1].to_canonical().is_ipv4();
            assert!(is_of_both || ends.iter().all(|end| allow.holds(*end)), "{entry} is named in {text}");
        } else {
            assert!(rules.check(&format!("http://{entry}:8080/")).is_ok(), "{entry} is named in {text}");
        }
    }
}

/// A connection is plain only where that was asked for, or on this machine.
fn mail_server(text: &str) {
    let Ok(server) = SmtpServer::parse(text) else { return };
    assert!(!server.host.is_empty());
    let url = Url::parse(text).expect("an address");
    let is_here = server.host == "localhost" || server.host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    assert!(server.security != SmtpSecurity::Plain || is_here || url.query() == Some("tls=none"), "{text}");
    assert_eq!(server.security == SmtpSecurity::Tls, url.scheme() == "smtps", "{text}");
    let credentials = server.credentials.clone().map(|(user, _)| (user, SecretString::from("another")));
    let shown = format!("{server:?}");
    assert_eq!(shown, format!("{:?}", SmtpServer { credentials, ..server }), "a password is shown of {text}");
}

/// A password is shown nowhere, whatever stands around it.
fn database(text: &str) {
    if let Ok(address) = StoreAddress::parse(text) {
        assert_eq!(address.url().expose_secret(), text);
    }
    let (before, after) = text.split_once('*').unwrap_or((text, ""));
    if before.contains(PASSWORD) || after.contains(PASSWORD) {
        return;
    }
    for text in [
        format!("postgres://{before}:{PASSWORD}{after}@db.example.org/outlay"),
        format!("postgres://{before}password={PASSWORD}{after}"),
    ] {
        let address = StoreAddress::parse(&text).expect("all that begins so is taken");
        assert!(address.has_password(), "{text}");
        let shown = format!("{address} {address:?}");
        assert!(!shown.contains(PASSWORD), "{text} is shown as {shown}");
    }
}

//! Whom this server tells something: the mail server, the addresses, and what webhooks may reach.

use std::net::IpAddr;
use std::path::PathBuf;

use ipnet::IpNet;
use lettre::Address;
use lettre::message::Mailbox;
use percent_encoding::percent_decode_str;
use secrecy::SecretString;
use url::Url;

use crate::store::outbox::ConfiguredWebhook;

/// How mail is sent; there only where a mail server is named.
#[derive(Debug, Clone)]
pub struct MailSettings {
    /// The server that takes the mail.
    pub server: SmtpServer,
    /// Who it is from.
    pub from: Mailbox,
    /// The address that gets every alert.
    pub operator: Option<Address>,
    /// Whether users are told at their own addresses.
    pub to_users: bool,
    /// The folder with templates that take the place of the built-in ones.
    pub templates: Option<PathBuf>,
}

/// A webhook of the configuration file.
#[derive(Debug, Clone)]
pub struct WebhookSetting {
    /// Where it stands.
    pub place: String,
    /// Who is told, and of what.
    pub record: ConfiguredWebhook,
    /// The secret that signs: `whsec_...`.
    pub secret: SecretString,
}

/// A mail server.
#[derive(Debug, Clone)]
pub struct SmtpServer {
    /// Its name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub security: SmtpSecurity,
    /// The name and the password that it wants.
    pub credentials: Option<(String, SecretString)>,
}

/// How a connection to a mail server is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SmtpSecurity {
    /// TLS from the first byte.
    Tls,
    /// TLS after `STARTTLS`, without which nothing is sent.
    StartTls,
    /// None.
    Plain,
}

impl SmtpServer {
    /// Reads `smtps://user:password@host:port`, or `smtp://` for `STARTTLS`. Plain on the same machine, and with `?tls=none`.
    ///
    /// # Errors
    /// What is wrong, without the text, which may hold a password.
    pub fn parse(text: &str) -> Result<Self, String> {
        let advice = "must be like smtps://user:password@mail.example.org, or smtp:// for STARTTLS; what is no letter or \
                      digit in user and password is percent-encoded";
        let url = Url::parse(text).map_err(|_| advice.to_owned())?;
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or(advice)?;
        if !matches!(url.path(), "" | "/") || url.fragment().is_some() {
            return Err(advice.to_owned());
        }
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let is_here = host == "localhost" || literal.is_some_and(|ip| ip.is_loopback());
        let security = match (url.scheme(), url.query()) {
            ("smtps", None) => SmtpSecurity::Tls,
            ("smtp", Some("tls=none")) => SmtpSecurity::Plain,
            ("smtp", None) if is_here => SmtpSecurity::Plain,
            ("smtp", None | Some("tls=required")) => SmtpSecurity::StartTls,
            ("smtp" | "smtps", Some(_)) => {
                return Err("may end in ?tls=none or ?tls=required after smtp://, and in nothing else".to_owned());
            }
            _ => return Err(advice.to_owned()),
        };
        let default_port = match security {
            SmtpSecurity::Tls => 465,
            SmtpSecurity::StartTls => 587,
            SmtpSecurity::Plain => 25,
        };
        let decoded =
            |text: &str| percent_decode_str(text).decode_utf8().map(String::from).map_err(|_| advice.to_owned());
        let credentials = match (url.username(), url.password()) {
            ("", None) => None,
            (_, None) | ("", _) => return Err("must name both user and password, or neither".to_owned()),
            (user, Some(password)) => Some((decoded(user)?, SecretString::from(decoded(password)?))),
        };
        let host = literal.map_or_else(|| host.to_owned(), |ip| ip.to_string());
        Ok(Self { host, port: url.port().unwrap_or(default_port), security, credentials })
    }
}

/// What webhooks may reach beside public addresses on https and port 443 or 8443.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WebhookAllow {
    hosts: Vec<String>,
    networks: Vec<IpNet>,
}

impl WebhookAllow {
    /// Reads a comma list of host names, addresses and networks.
    ///
    /// # Errors
    /// Which of them is none.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut allow = Self::default();
        for entry in text.split(',').map(str::trim) {
            match (super::network(entry), url::Host::parse(entry)) {
                (Some(network), _) => allow.networks.push(network.trunc()),
                (None, Ok(url::Host::Domain(name))) => allow.hosts.push(name.trim_end_matches('.').to_owned()),
                (None, _) => {
                    return Err(format!(
                        "`{entry}` is neither a host nor a network; write them like hooks.internal,10.0.0.0/8"
                    ));
                }
            }
        }
        Ok(allow)
    }

    /// Whether this name is allowed as it stands.
    pub fn names(&self, host: &str) -> bool {
        let host = host.trim_end_matches('.');
        self.hosts.iter().any(|name| name.eq_ignore_ascii_case(host))
    }

    /// Whether this address is allowed; one of IPv4 in the clothes of IPv6 is the same address.
    pub fn holds(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether any network is allowed, so that what a name stands for decides.
    pub fn has_networks(&self) -> bool {
        !self.networks.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret as _;

    #[test]
    fn a_mail_server_is_read_and_kept_from_listeners_unless_it_is_here() {
        let server = SmtpServer::parse("smtps://ada%40example.org:p%2Fw@mail.example.org").unwrap();
        let (user, password) = server.credentials.unwrap();
        assert_eq!((server.host.as_str(), server.port, server.security), ("mail.example.org", 465, SmtpSecurity::Tls));
        assert_eq!((user.as_str(), password.expose_secret()), ("ada@example.org", "p/w"));

        let of = |text: &str| SmtpServer::parse(text).map(|server| (server.port, server.security)).ok();
        assert_eq!(of("smtp://mail.example.org"), Some((587, SmtpSecurity::StartTls)));
        assert_eq!(of("smtp://mail.example.org:2525?tls=none"), Some((2525, SmtpSecurity::Plain)));
        assert_eq!(of("smtp://127.0.0.1:1025"), Some((1025, SmtpSecurity::Plain)));
        assert_eq!(of("smtp://[::1]"), Some((25, SmtpSecurity::Plain)));
        assert_eq!(of("smtp://localhost?tls=required"), Some((587, SmtpSecurity::StartTls)));
        for wrong in [
            "mail.example.org",
            "http://mail.example.org",
            "smtp://",
            "smtps://a@b",
            "smtps://a:b@c/d",
            "smtp://a?tls=no",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
        assert!(!SmtpServer::parse("smtps://ada:hunter2@mail/x").unwrap_err().contains("hunter2"));
        assert!(!format!("{:?}", SmtpServer::parse("smtps://ada:hunter2@mail")).contains("hunter2"));
    }

    #[test]
    fn what_webhooks_may_reach_is_named_by_host_or_network() {
        let allow = WebhookAllow::parse("Hooks.internal, 10.1.0.0/16,fd00::/8,192.0.2.7").unwrap();
        assert!(allow.names("hooks.INTERNAL.") && !allow.names("x.hooks.internal"));
        let holds = |text: &str| allow.holds(text.parse().unwrap());
        assert!(holds("10.1.2.3") && holds("::ffff:10.1.2.3") && holds("fd12::1") && holds("192.0.2.7"));
        assert!(!holds("10.2.0.1") && !holds("192.0.2.8"));
        let allow = WebhookAllow::parse("::ffff:192.0.2.7,::ffff:10.1.0.0/112").unwrap();
        assert!(
            ["192.0.2.7", "::ffff:192.0.2.7", "10.1.255.255"].iter().all(|text| allow.holds(text.parse().unwrap()))
        );
        assert!(!allow.holds("10.2.0.0".parse().unwrap()));
        for wrong in ["", "http://a", "10.0.0.0/33", "a,,b", "a b"] {
            assert!(WebhookAllow::parse(wrong).is_err(), "{wrong}");
        }
    }
}

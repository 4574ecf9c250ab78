//! Where the database is, as whom, and how the way there is protected: what a URL says, and what it leaves out.

use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, LoadBalanceHosts, SslMode, TargetSessionAttrs};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;

use super::errors::unavailable;
use crate::store::StoreError;

/// How long a host has to take a connection and to say that it takes writes.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// A peer that acknowledges nothing for so long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// When nothing was said for so long, it is asked whether it is there, so often, in such distances.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(3);
const KEEPALIVE_RETRIES: u32 = 3;

/// To which hosts connections are encrypted. Where they are, the host proves its name; a Unix socket needs neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encryption {
    /// To those on other machines.
    UnlessLocal,
    /// To all, this machine's own addresses too.
    Always,
    /// To none.
    Never,
}

/// A URL such as `postgres://outlay@db1,db2/outlay?sslrootcert=/etc/outlay/ca.pem`, taken apart.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) config: Config,
    pub(super) encryption: Encryption,
    pub(super) roots: Option<RootCertStore>,
    pub(super) prepared: bool,
}

impl Address {
    /// Reads a URL. What a client of one database is used to is understood; what would be less than it seems is refused.
    pub(super) fn read(url: &str) -> Result<Self, StoreError> {
        let (place, query) = url.split_once('?').unwrap_or((url, ""));
        if !place.starts_with("postgres://") && !place.starts_with("postgresql://") {
            return Err(refused("an address of PostgreSQL begins with postgres://"));
        }
        let mut address =
            Self { config: Config::new(), encryption: Encryption::UnlessLocal, roots: None, prepared: true };
        let mut given = Vec::new();
        let (mut hosts, mut theirs) = (Vec::new(), Vec::new());
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let decoded = percent_decode_str(value).decode_utf8();
            let decoded = decoded.map_err(|_| refused(format!("{name} of the database's address is not text")))?;
            given.push(name);
            match (name, &*decoded) {
                ("sslmode", value) => address.encryption = encryption(value)?,
                ("sslrootcert", "system") => address.roots = None,
                ("sslrootcert", file) => address.roots = Some(roots_of(file)?),
                ("host", list) => hosts.extend(list.split(',').map(str::to_owned)),
                ("prepared", "on") => address.prepared = true,
                ("prepared", "off") => address.prepared = false,
                ("prepared", _) => return Err(refused("prepared is on, or off for poolers in transaction mode")),
                _ => theirs.push(pair),
            }
        }
        let rest = if theirs.is_empty() { place.to_owned() } else { format!("{place}?{}", theirs.join("&")) };
        address.config = rest.parse().map_err(unavailable)?;
        for host in hosts {
            address.config.host(host);
        }
        address.complete(|name| given.contains(&name))?;
        Ok(address)
    }

    /// Fills in what the URL leaves out, and refuses what cannot be had.
    fn complete(&mut self, is_given: impl Fn(&str) -> bool) -> Result<(), StoreError> {
        let config = &mut self.config;
        if is_given("target_session_attrs") && config.get_target_session_attrs() != TargetSessionAttrs::ReadWrite {
            return Err(refused(
                "target_session_attrs can only be read-write, which it is anyway: reads come from the host that takes writes",
            ));
        }
        if config.get_load_balance_hosts() != LoadBalanceHosts::Disable {
            return Err(refused(
                "load_balance_hosts is of no use: one of the hosts takes writes, and that one is asked",
            ));
        }
        let (hosts, addresses) = (config.get_hosts().len(), config.get_hostaddrs().len());
        if hosts == 0 {
            return Err(refused("the database's address names no host; one beside hostaddr is the name it must prove"));
        }
        if addresses > 0 && addresses != hosts {
            return Err(refused("hostaddr names as many addresses as there are hosts"));
        }
        let ports = config.get_ports().len();
        if ports > 1 && ports != hosts {
            return Err(refused("port is one for all hosts, or one for each"));
        }
        if config.get_application_name().is_none() {
            config.application_name(super::APPLICATION);
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_WAIT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(SILENCE_MAX);
        }
        if !is_given("keepalives_idle") {
            config.keepalives_idle(KEEPALIVE_IDLE);
        }
        if config.get_keepalives_interval().is_none() {
            config.keepalives_interval(KEEPALIVE_INTERVAL);
        }
        if config.get_keepalives_retries().is_none() {
            config.keepalives_retries(KEEPALIVE_RETRIES);
        }
        Ok(())
    }
}

/// What `sslmode` asks for. Those that encrypt without checking who answers are refused, and not taken for more than
/// they say: whoever stands between would read the password and could answer as the database, and nobody would notice.
fn encryption(mode: &str) -> Result<Encryption, StoreError> {
    match mode {
        "verify-full" => Ok(Encryption::Always),
        "disable" => Ok(Encryption::Never),
        "require" | "verify-ca" | "prefer" | "allow" => Err(refused(format!(
            "sslmode={mode} does not check that the server is the one that was meant: use sslmode=verify-full, with \
             sslrootcert=FILE where the server's certificate is not from an authority that this machine knows; in a \
             network that needs no protection, sslmode=disable says so"
        ))),
        _ => Err(refused("sslmode is verify-full or disable")),
    }
}

/// The certificates of a PEM file.
fn roots_of(file: &str) -> Result<RootCertStore, StoreError> {
    let failed = |error: &dyn std::fmt::Display| refused(format!("sslrootcert {file} cannot be read: {error}"));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| failed(&error))? {
        roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(refused(format!("sslrootcert {file} holds no certificate")));
    }
    Ok(roots)
}

/// One configuration for each host, since each is connected to by itself.
pub(super) fn by_host(config: &Config, encryption: Encryption) -> Vec<Config> {
    let ports = config.get_ports();
    let one = |(place, host): (usize, &Host)| {
        let address = config.get_hostaddrs().get(place);
        let mut one = Config::new();
        match host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(folder) => one.host_path(folder),
        };
        if let Some(address) = address {
            one.hostaddr(*address);
        }
        if let Some(port) = ports.get(place).or(ports.first()) {
            one.port(*port);
        }
        config.get_user().map(|user| one.user(user));
        config.get_password().map(|password| one.password(password));
        config.get_dbname().map(|name| one.dbname(name));
        config.get_options().map(|options| one.options(options));
        config.get_application_name().map(|name| one.application_name(name));
        config.get_connect_timeout().map(|wait| one.connect_timeout(*wait));
        config.get_tcp_user_timeout().map(|wait| one.tcp_user_timeout(*wait));
        config.get_keepalives_interval().map(|wait| one.keepalives_interval(wait));
        config.get_keepalives_retries().map(|count| one.keepalives_retries(count));
        one.keepalives(config.get_keepalives());
        one.keepalives_idle(config.get_keepalives_idle());
        one.channel_binding(config.get_channel_binding());
        one.ssl_negotiation(config.get_ssl_negotiation());
        let encrypted = match (host, encryption) {
            (Host::Unix(_), _) | (_, Encryption::Never) => false,
            (Host::Tcp(_), Encryption::Always) => true,
            (Host::Tcp(name), Encryption::UnlessLocal) => !is_local(name, address),
        };
        one.ssl_mode(if encrypted { SslMode::Require } else { SslMode::Disable });
        one
    };
    config.get_hosts().iter().enumerate().map(one).collect()
}

/// Whether a host is this machine.
fn is_local(name: &str, address: Option<&IpAddr>) -> bool {
    match address {
        Some(address) => address.is_loopback(),
        None => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
    }
}

fn refused(said: impl Into<String>) -> StoreError {
    StoreError::Unavailable(said.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted(url: &str) -> Vec<bool> {
        let address = Address::read(url).unwrap();
        let hosts = by_host(&address.config, address.encryption);
        hosts.iter().map(|host| host.get_ssl_mode() == SslMode::Require).collect()
    }

    #[test]
    fn connections_are_encrypted_unless_they_stay_on_this_machine() {
        assert_eq!(encrypted("postgres://u@db.example.org/a"), [true]);
        assert_eq!(encrypted("postgres://localhost,10.0.0.1,127.0.0.1,[::1]:5/a"), [false, true, false, false]);
        assert_eq!(encrypted("postgres://u@/a?host=/run/postgresql"), [false]);
        assert_eq!(encrypted("postgres://localhost/a?hostaddr=10.0.0.1"), [true], "a name may lead anywhere");
        assert_eq!(encrypted("postgres://localhost/a?sslmode=verify-full"), [true]);
        assert_eq!(encrypted("postgres://a,%2Frun/a?sslmode=disable"), [false, false]);
    }

    #[test]
    fn what_the_url_leaves_out_is_filled_in() {
        let address = Address::read("postgres://a:1,b:2/c?connect_timeout=7&prepared=off").unwrap();
        let hosts = by_host(&address.config, address.encryption);
        let of = |place: usize| (hosts[place].get_hosts()[0].clone(), hosts[place].get_ports()[0]);
        assert_eq!((of(0), of(1)), ((Host::Tcp("a".to_owned()), 1), (Host::Tcp("b".to_owned()), 2)));
        let folders = Address::read("postgres://u@/c?host=/run/a,/run/b").unwrap().config;
        assert_eq!(folders.get_hosts(), ["/run/a", "/run/b"].map(|folder| Host::Unix(folder.into())));
        assert_eq!(hosts[1].get_connect_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(hosts[1].get_tcp_user_timeout(), Some(&SILENCE_MAX));
        assert_eq!(hosts[1].get_keepalives_idle(), KEEPALIVE_IDLE);
        assert_eq!(hosts[1].get_application_name(), Some("outlay"));
        assert_eq!(hosts[1].get_dbname(), Some("c"));
        assert!(!address.prepared);
        let address = Address::read("postgres://a/c?keepalives_idle=60&application_name=mine").unwrap();
        assert_eq!(address.config.get_keepalives_idle(), Duration::from_mins(1));
        assert_eq!(address.config.get_application_name(), Some("mine"));
    }

    #[test]
    fn an_address_that_would_be_less_than_it_seems_is_refused() {
        for (url, said) in [
            ("mysql://localhost", "postgres://"),
            ("postgres://a/b?sslmode=require", "sslmode=verify-full"),
            ("postgres://a/b?sslmode=prefer", "sslmode=verify-full"),
            ("postgres://a/b?sslmode=full", "sslmode is"),
            ("postgres://a,b/c?target_session_attrs=any", "target_session_attrs"),
            ("postgres://a,b/c?target_session_attrs=read-only", "target_session_attrs"),
            ("postgres://a,b/c?load_balance_hosts=random", "load_balance_hosts"),
            ("postgres://a/b?sslrootcert=/none.pem", "sslrootcert /none.pem"),
            ("postgres://a/b?prepared=maybe", "prepared"),
            ("postgres:///b", "no host"),
            ("postgres:///b?hostaddr=10.0.0.1", "no host"),
            ("postgres://a/b?sslkey=x", "sslkey"),
            ("postgres://a:x/b", "port"),
        ] {
            let Err(StoreError::Unavailable(refusal)) = Address::read(url) else { panic!("{url}") };
            assert!(refusal.contains(said), "{url}: {refusal}");
        }
        assert!(Address::read("postgresql://a,b/c?target_session_attrs=read-write&sslmode=verify-full").is_ok());
        let Err(refusal) = Address::read("postgres://u:hush@a/b?sslmode=allow") else { panic!() };
        assert!(!refusal.to_string().contains("hush"), "{refusal}");
    }
}

//! What the operator sets: flag over environment over file over default, read once, checked whole, secrets unprintable.
//!
//! This is the only place that reads the environment; [`settings`] lists every variable. It knows nothing of what the
//! settings are used for.

mod file;
pub mod receivers;
pub mod settings;
pub mod store;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use ipnet::{IpNet, Ipv4Net};
use lettre::Address;
use lettre::message::Mailbox;
use outlay_core::plan::{AlertThresholds, PerMeter, Plans};
use parking_lot::RwLock;
use secrecy::{ExposeSecret as _, SecretBox, SecretString};
use thiserror::Error;

use file::File;
use receivers::{MailSettings, SmtpServer, WebhookAllow, WebhookSetting};
use settings::{SETTINGS, Setting};
use store::StoreAddress;

/// The file that is read when none is named and one lies in the working directory.
pub const FILE_DEFAULT: &str = "outlay.toml";
/// Where the server listens when nothing else is said.
const LISTEN_DEFAULT: &str = "127.0.0.1:4780";
/// The data folder when nothing else is said.
const DATA_DEFAULT: &str = "outlay-data";

/// For how many days details may be kept: a mistyped number must not empty what was recorded this week, and what is emptied
/// does not come back.
const KEEP_DETAILS_DAYS: RangeInclusive<u32> = 7..=36_500;

/// How numbers are shown to an end user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presentation {
    /// What each meter is called, such as `AI Operations`.
    pub labels: PerMeter<String>,
    /// From how many left on a runs meter a budget says so; 0 never does. The cost meter's is not used.
    pub few_left: PerMeter<i64>,
    /// Where a user goes who needs a larger plan.
    pub upgrade_url: Option<String>,
    /// The server's address as others see it, without a slash at its end.
    pub public_url: Option<String>,
}

impl Default for Presentation {
    fn default() -> Self {
        Self {
            labels: PerMeter {
                cost: "Cost Budget".to_owned(),
                ai_runs: "AI Operations".to_owned(),
                api_runs: "API Operations".to_owned(),
            },
            few_left: PerMeter { cost: 0, ai_runs: 3, api_runs: 10 },
            upgrade_url: None,
            public_url: None,
        }
    }
}

/// The presentation that holds now: it may be read anew while a server runs.
#[derive(Debug)]
pub struct Presented(RwLock<Arc<Presentation>>);

impl Presented {
    /// This one, until another takes its place.
    pub fn new(presentation: Presentation) -> Self {
        Self(RwLock::new(Arc::new(presentation)))
    }

    /// The one that holds now.
    pub fn now(&self) -> Arc<Presentation> {
        Arc::clone(&self.0.read())
    }

    /// Takes another one from now on.
    pub fn replace(&self, presentation: Presentation) {
        *self.0.write() = Arc::new(presentation);
    }
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// All settings, checked.
#[derive(Debug)]
pub struct Config {
    /// The data folder; with a database only what is local to this node is in it.
    pub data: PathBuf,
    /// The database that holds the store, in place of the data folder.
    pub store: Option<StoreAddress>,
    /// Whether that database spreads the store over several machines.
    pub store_sharded: bool,
    /// Whether nothing is acknowledged that is not on a synchronous standby of that database too.
    pub require_sync: bool,
    /// Where the server listens.
    pub listen: SocketAddr,
    /// Where it also listens for browsers.
    pub public_listen: Option<SocketAddr>,
    /// Whether no key is needed.
    pub open: bool,
    /// Labels, thresholds and links.
    pub presentation: Presentation,
    /// The origins whose pages may read what a user token may; none = any.
    pub allowed_origins: Option<Vec<String>>,
    /// Networks of proxies that are believed about who sent a request.
    pub trusted_proxies: Vec<IpNet>,
    /// Where the audit log is copied to: `stderr`, or a file.
    pub audit_log: Option<PathBuf>,
    /// For how many days operations keep their details; none = for ever.
    pub keep_details_days: Option<u32>,
    /// The plans that hold in place of those in the store.
    pub plans: Option<Plans>,
    /// At what percentages of a limit alerts are raised.
    pub alerts: AlertThresholds,
    /// An admin key of the operator's making.
    pub admin_key: Option<SecretString>,
    /// The key that seals secrets; none = the one in the data folder.
    pub master_key: Option<SecretBox<[u8; 32]>>,
    /// How mail is sent; none = not at all.
    pub mail: Option<MailSettings>,
    /// The webhooks of the file.
    pub webhooks: Vec<WebhookSetting>,
    /// What webhooks may reach beside what is public.
    pub webhook_allow: WebhookAllow,
    /// The collector of traces, without a slash at its end; none = nothing is traced.
    pub otlp_url: Option<String>,
    /// The server that commands talk to, without a slash at its end; none = the data folder's own.
    pub url: Option<String>,
    /// The key that commands bring to it.
    pub key: Option<SecretString>,
    /// What is logged; none = the command's own default.
    pub log: Option<String>,
    /// How it is logged.
    pub log_format: LogFormat,
    /// Variables that look like settings and are none, for a warning.
    pub unknown_variables: Vec<String>,
}

/// One thing that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// Where it stands: a flag, a variable, or a line of the file.
    pub place: String,
    /// What is wrong and what to do. It never holds a secret.
    pub advice: String,
}

impl Complaint {
    fn new(place: &str, advice: impl Into<String>) -> Self {
        Self { place: place.to_owned(), advice: advice.into() }
    }
}

/// Everything that is wrong with the settings.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub struct ConfigError {
    /// At least one.
    pub complaints: Vec<Complaint>,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("read the settings:")?;
        for Complaint { place, advice } in &self.complaints {
            write!(formatter, "\n  {place}: {advice}")?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Complaints(Vec<Complaint>);

impl Complaints {
    fn add(&mut self, place: String, advice: String) {
        self.0.push(Complaint { place, advice });
    }
}

/// What the process was started with: the variables of Outlay, and those that name the user's folders.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The environment of this process.
    #[expect(clippy::disallowed_methods, reason = "this is the room of the environment")]
    pub fn of_process() -> Self {
        let kept = ["XDG_CACHE_HOME", "HOME", "LOCALAPPDATA"];
        Self(
            std::env::vars_os()
                .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
                .filter(|(name, _)| name.starts_with("OUTLAY_") || kept.contains(&name.as_str()))
                .collect(),
        )
    }

    fn get(&self, name: &str) -> Option<&OsString> {
        // An empty variable is how shells and compose files say "not set".
        self.0.get(name).filter(|value| !value.is_empty())
    }

    /// Variables that look like settings and are none. An orchestrator's own, for a service called outlay, are not meant.
    fn unknown(&self) -> Vec<String> {
        let known = |name: &str| {
            SETTINGS.iter().any(|setting| {
                name == setting.variable || (setting.secret && name.strip_suffix("_FILE") == Some(setting.variable))
            })
        };
        let names = self.0.keys().filter(|name| name.starts_with("OUTLAY_") && !known(name));
        names.filter(|name| !name.starts_with("OUTLAY_SERVICE_") && !name.starts_with("OUTLAY_PORT")).cloned().collect()
    }

    /// The platform's folder for what can be made again; none where the user has no home.
    pub fn cache_folder(&self) -> Option<PathBuf> {
        let folder = |name: &str| self.get(name).map(PathBuf::from).filter(|folder| folder.is_absolute());
        if cfg!(target_os = "macos") {
            return folder("HOME").map(|home| home.join("Library/Caches"));
        }
        folder("XDG_CACHE_HOME").or_else(|| folder("HOME").map(|home| home.join(".cache")))
    }
}

/// What the command line said.
#[derive(Debug, Clone, Default)]
pub struct Flags(Vec<(&'static Setting, OsString)>);

impl Flags {
    /// Says a setting, if the flag was there.
    pub fn say(&mut self, setting: &'static Setting, value: Option<impl Into<OsString>>) {
        self.0.extend(value.map(|value| (setting, value.into())));
    }
}

/// A setting that was said somewhere: what holds, unless it is wrong.
#[derive(Debug, Clone)]
pub struct Found {
    /// Which.
    pub setting: &'static Setting,
    /// Where: a flag, a variable, or a line of the file.
    pub place: String,
    /// What was said; `None` of a secret, and of what is no text.
    pub value: Option<String>,
}

impl Config {
    /// Reads and checks all settings.
    ///
    /// # Errors
    /// Names everything that is wrong at once, each with its place and what to do.
    pub fn read(flags: &Flags, environment: &Environment) -> Result<Self, ConfigError> {
        Self::inspect(flags, environment).0
    }

    /// The same, with all that was said and where, also when something of it is wrong.
    pub fn inspect(flags: &Flags, environment: &Environment) -> (Result<Self, ConfigError>, Vec<Found>) {
        let mut complaints = Complaints::default();
        let text = config_text(flags, environment, &mut complaints);
        let file =
            text.as_ref().and_then(|(path, text)| File::parse(path.display().to_string(), text, &mut complaints));
        let mut layers = Layers { flags, environment, file: file.as_ref(), complaints, found: Vec::new() };
        layers.note(&settings::CONFIG);

        let mut presentation = Presentation {
            upgrade_url: layers.read(&settings::UPGRADE_URL, url),
            public_url: layers.read(&settings::PUBLIC_URL, url),
            ..Presentation::default()
        };
        let listen = layers.read(&settings::LISTEN, address);
        let public_listen = layers.read(&settings::PUBLIC_LISTEN, address);
        let open = layers.read(&settings::OPEN, flag).unwrap_or(false);
        let config = Self {
            data: layers.path(&settings::DATA).unwrap_or_else(|| PathBuf::from(DATA_DEFAULT)),
            store: layers.store(),
            store_sharded: layers.read(&settings::STORE_SHARDED, flag).unwrap_or(false),
            require_sync: layers.read(&settings::REQUIRE_SYNC, flag).unwrap_or(false),
            listen: listen
                .or_else(|| LISTEN_DEFAULT.parse().ok())
                .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0))),
            public_listen,
            open,
            allowed_origins: layers.read(&settings::ALLOWED_ORIGINS, origins),
            trusted_proxies: layers.read(&settings::TRUSTED_PROXIES, networks).unwrap_or_default(),
            audit_log: layers.path(&settings::AUDIT_LOG),
            keep_details_days: layers.read(&settings::KEEP_DETAILS_DAYS, keep_details_days),
            admin_key: layers
                .secret(&settings::ADMIN_KEY)
                .and_then(|(place, key)| layers.checked(place, admin_key(key))),
            master_key: layers
                .secret(&settings::MASTER_KEY)
                .and_then(|(place, key)| layers.checked(place, master_key(&key))),
            mail: layers.mail(),
            webhooks: file.as_ref().map(|file| file.webhooks(&mut layers.complaints)).unwrap_or_default(),
            webhook_allow: layers.read(&settings::WEBHOOK_ALLOW, WebhookAllow::parse).unwrap_or_default(),
            otlp_url: layers.read(&settings::OTLP_URL, url),
            url: layers.read(&settings::URL, url),
            key: layers.secret(&settings::KEY).map(|(_, key)| key),
            log: layers.read(&settings::LOG, log_filter),
            log_format: layers.read(&settings::LOG_FORMAT, log_format).unwrap_or_default(),
            plans: file.as_ref().and_then(|file| file.plans(&mut layers.complaints)),
            alerts: file.as_ref().map(|file| file.alerts(&mut layers.complaints)).unwrap_or_default(),
            presentation: {
                if let Some(file) = &file {
                    file.presentation(&mut presentation, &mut layers.complaints);
                }
                presentation
            },
            unknown_variables: environment.unknown(),
        };
        if config.open && !config.listen.ip().is_loopback() {
            layers.complaints.add(
                "--open".to_owned(),
                format!(
                    "anybody who reaches {} could do anything; listen on a loopback address such as {LISTEN_DEFAULT}, \
                     or leave --open out and make keys with `outlay keys create`",
                    config.listen
                ),
            );
        }
        let Layers { complaints, found, .. } = layers;
        let checked = if complaints.0.is_empty() { Ok(config) } else { Err(ConfigError { complaints: complaints.0 }) };
        (checked, found)
    }
}

/// The configuration file's path and text, if there is one.
fn config_text(flags: &Flags, environment: &Environment, complaints: &mut Complaints) -> Option<(PathBuf, String)> {
    let layers = &mut Layers { flags, environment, file: None, complaints: Complaints::default(), found: Vec::new() };
    let named = layers.path(&settings::CONFIG);
    let path = named.clone().unwrap_or_else(|| PathBuf::from(FILE_DEFAULT));
    match std::fs::read_to_string(&path) {
        Ok(text) => Some((path, text)),
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => {
            complaints.add(path.display().to_string(), format!("cannot be read: {error}"));
            None
        }
    }
}

/// Where a setting may be said, the strongest first.
struct Layers<'a> {
    flags: &'a Flags,
    environment: &'a Environment,
    file: Option<&'a File<'a>>,
    complaints: Complaints,
    /// What was said, each setting once.
    found: Vec<Found>,
}

impl Layers<'_> {
    /// What the strongest layer says, with its place; it is noted as found.
    fn find(&mut self, setting: &'static Setting, suffix: &str) -> Option<(String, OsString)> {
        let (place, value) = self.look(setting, suffix)?;
        if !self.found.iter().any(|found| found.setting == setting && found.place == place) {
            // The file of a secret may be named; the secret may not.
            let shown = !setting.secret || !suffix.is_empty();
            let value = value.to_str().filter(|_| shown);
            let value =
                if *setting == settings::STORE { value.and_then(store::shown) } else { value.map(str::to_owned) };
            self.found.push(Found { setting, place: place.clone(), value });
        }
        Some((place, value))
    }

    /// Notes a setting that was read elsewhere.
    fn note(&mut self, setting: &'static Setting) {
        self.find(setting, "");
    }

    fn look(&mut self, setting: &Setting, suffix: &str) -> Option<(String, OsString)> {
        let said = self.flags.0.iter().rev().find(|(said, _)| suffix.is_empty() && *said == setting);
        if let Some((_, value)) = said {
            return Some((setting.flag.unwrap_or(setting.variable).to_owned(), value.clone()));
        }
        let variable = format!("{}{}", setting.variable, suffix.to_uppercase());
        if let Some(value) = self.environment.get(&variable) {
            return Some((variable, value.clone()));
        }
        let (place, value) = self.file?.value(&format!("{}{suffix}", setting.key?))?;
        match value {
            Ok(value) => Some((place, value.into())),
            Err(complaint) => {
                self.complaints.0.push(complaint);
                None
            }
        }
    }

    fn checked<T>(&mut self, place: String, value: Result<T, String>) -> Option<T> {
        value.map_err(|advice| self.complaints.add(place, advice)).ok()
    }

    fn read<T>(&mut self, setting: &'static Setting, parse: fn(&str) -> Result<T, String>) -> Option<T> {
        let (place, value) = self.find(setting, "")?;
        let value = value.to_str().map_or_else(|| Err("must be UTF-8".to_owned()), parse);
        self.checked(place, value)
    }

    /// How mail is sent, where a server for it is named.
    fn mail(&mut self) -> Option<MailSettings> {
        let server = self.secret(&settings::SMTP_URL);
        let from = self.read(&settings::MAIL_FROM, mailbox);
        let operator = self.read(&settings::MAIL_OPERATOR, mail_address);
        let to_users = self.read(&settings::MAIL_USERS, flag).unwrap_or(true);
        let templates = self.path(&settings::MAIL_TEMPLATES);
        let Some((place, server)) = server else {
            if operator.is_some()
                && let Some((place, _)) = self.find(&settings::MAIL_OPERATOR, "")
            {
                let advice =
                    format!("gets no mail without a server that takes it; set {}", settings::SMTP_URL.variable);
                self.complaints.add(place, advice);
            }
            return None;
        };
        if from.is_none() && self.find(&settings::MAIL_FROM, "").is_none() {
            let advice = format!("also needs to know whom mail is from; set {}", settings::MAIL_FROM.variable);
            self.complaints.add(place.clone(), advice);
        }
        let server = self.checked(place, SmtpServer::parse(server.expose_secret()))?;
        Some(MailSettings { server, from: from?, operator, to_users, templates })
    }

    /// The database of the store, with its password from wherever that stands.
    fn store(&mut self) -> Option<StoreAddress> {
        let address = self.read(&settings::STORE, StoreAddress::parse);
        let Some((place, password)) = self.secret(&settings::STORE_PASSWORD) else { return address };
        let Some(address) = address else {
            if self.find(&settings::STORE, "").is_none() {
                let advice = format!("is of no database; set {} too", settings::STORE.variable);
                self.complaints.add(place, advice);
            }
            return None;
        };
        if address.has_password() {
            self.complaints.add(place, "also stands in the address of the store; say it once".to_owned());
            return None;
        }
        Some(address.with_password(password))
    }

    fn path(&mut self, setting: &'static Setting) -> Option<PathBuf> {
        self.find(setting, "").map(|(_, value)| PathBuf::from(value))
    }

    fn secret(&mut self, setting: &'static Setting) -> Option<(String, SecretString)> {
        let said = self.find(setting, "");
        let named = self.find(setting, "_file");
        match (said, named) {
            (Some((place, _)), Some((other, _))) => {
                self.complaints.add(place, format!("is also set by {other}; set one of them"));
                None
            }
            (Some((place, value)), None) => {
                let value = value.into_string().map_err(|_| "must be UTF-8".to_owned());
                self.checked(place.clone(), value).map(|value| (place, SecretString::from(value)))
            }
            (None, Some((place, path))) => {
                let text = std::fs::read_to_string(Path::new(&path))
                    .map_err(|error| format!("{} cannot be read: {error}", Path::new(&path).display()));
                let text = self.checked(place.clone(), text)?;
                // Editors end a file with a line break; it is no part of the secret.
                Some((place, SecretString::from(text.trim_end_matches(['\r', '\n']))))
            }
            (None, None) => None,
        }
    }
}

fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    text.parse().map_err(|_| format!("`{text}` is not an address with a port; write one like {LISTEN_DEFAULT}"))
}

fn flag(text: &str) -> Result<bool, String> {
    match text {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err(format!("`{text}` is neither `true` nor `false`")),
    }
}

fn url(text: &str) -> Result<String, String> {
    let advice = || format!("`{text}` is not an address; write one like https://outlay.example.org");
    let uri: http::Uri = text.parse().map_err(|_| advice())?;
    let web = matches!(uri.scheme_str(), Some("http" | "https"));
    if web && uri.host().is_some_and(|host| !host.is_empty()) {
        Ok(text.trim_end_matches('/').to_owned())
    } else {
        Err(advice())
    }
}

fn origins(text: &str) -> Result<Vec<String>, String> {
    text.split(',').map(|origin| url(origin.trim())).collect()
}

fn networks(text: &str) -> Result<Vec<IpNet>, String> {
    let believed = |text: &str| {
        let text = text.trim();
        match network(text) {
            Some(network) if network.prefix_len() == 0 => Err(format!("`{text}` would believe everybody")),
            Some(network) => Ok(network),
            None => Err(format!("`{text}` is not a network; write one like 10.0.0.0/8, or an address")),
        }
    };
    text.split(',').map(believed).collect()
}

/// A network, or the one of an address alone. One of IPv4 in the clothes of IPv6 is of IPv4, as are the addresses that it is
/// compared with.
fn network(text: &str) -> Option<IpNet> {
    let network = text.parse::<IpNet>().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))?;
    let IpAddr::V4(address) = network.addr().to_canonical() else { return Some(network) };
    let bits = if let IpNet::V6(network) = network { network.prefix_len().checked_sub(96) } else { None };
    let as_v4 = bits.and_then(|bits| Ipv4Net::new(address, bits).ok());
    Some(as_v4.map_or(network, IpNet::V4))
}

fn keep_details_days(text: &str) -> Result<u32, String> {
    let days = text.parse().ok().filter(|days| KEEP_DETAILS_DAYS.contains(days));
    days.ok_or_else(|| {
        let (least, most) = (KEEP_DETAILS_DAYS.start(), KEEP_DETAILS_DAYS.end());
        format!("`{text}` is not a whole number of days from {least} to {most}; leave it out to keep details for ever")
    })
}

fn mailbox(text: &str) -> Result<Mailbox, String> {
    text.parse().map_err(|_| format!("`{text}` is no sender; write one like Outlay <outlay@example.org>"))
}

fn mail_address(text: &str) -> Result<Address, String> {
    text.parse().map_err(|_| format!("`{text}` is no mail address; write one like ops@example.org"))
}

fn log_filter(text: &str) -> Result<String, String> {
    match tracing_subscriber::EnvFilter::try_new(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("`{text}` is not a filter ({error}); write one like `info` or `info,outlay=debug`")),
    }
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is neither `text` nor `json`")),
    }
}

fn admin_key(key: SecretString) -> Result<SecretString, String> {
    let text = key.expose_secret();
    if (32..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Ok(key)
    } else {
        Err("must be 32 to 256 visible ASCII characters; `openssl rand -hex 32` makes one".to_owned())
    }
}

fn master_key(key: &SecretString) -> Result<SecretBox<[u8; 32]>, String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(key.expose_secret().trim());
    let bytes = bytes.ok().and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    bytes
        .map(|bytes| SecretBox::new(Box::new(bytes)))
        .ok_or_else(|| "must be base64 of exactly 32 bytes; `openssl rand -base64 32` makes one".to_owned())
}

#[cfg(test)]
mod tests;

//! Connects to the host that takes writes, whichever of several that is now.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, SimpleQueryMessage};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Settings;
use super::address::by_host;
use super::errors::told;
use crate::store::StoreError;
use crate::tls;

/// A host that has not answered after this long is not waited for alone.
const NEXT_HOST: Duration = Duration::from_millis(200);
/// How long the other hosts have to say that they are primaries too, when it is not known which one is.
const OTHERS_WAIT: Duration = Duration::from_millis(500);
/// How long a host has where its configuration does not say.
const CONNECT_WAIT: Duration = Duration::from_secs(5);

/// Whether it takes writes, which cluster it is, and how often that was promoted.
const WHO: &str = "select current_setting('transaction_read_only'), (select system_identifier from pg_control_system()), \
                   case when pg_is_in_recovery() then null else substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) end";
/// The same of a server that does not tell the rest.
const WRITES: &str = "select current_setting('transaction_read_only'), null, null";

/// No host could be used: why, host by host.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct Unreached(pub(super) String);

impl From<Unreached> for StoreError {
    fn from(Unreached(said): Unreached) -> Self {
        Self::Unavailable(said)
    }
}

/// A cluster, and how often it was promoted: a primary that was replaced has an older timeline than the one after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Line {
    cluster: u64,
    timeline: u32,
}

/// A connection to a host that takes writes.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) client: Client,
    /// Runs the connection.
    pub(super) task: JoinHandle<()>,
    /// Whether the server said that a wait for standbys was cut short.
    pub(super) wait_cut: Arc<AtomicBool>,
    pub(super) mark: Mark,
}

/// By what a connection is known to lead to the primary still.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    line: Line,
    generation: u64,
}

/// Knows the hosts.
pub(super) struct Connector {
    hosts: Vec<Config>,
    tls: MakeRustlsConnect,
    /// Whether statements are kept prepared on a connection.
    pub(super) prepared: bool,
    /// The host that was connected to last.
    last: AtomicUsize,
    /// Whether that may be one that was replaced: at first, and whenever it did not answer in time.
    unsure: AtomicBool,
    /// The newest line seen.
    newest: Mutex<Line>,
    /// Connections of an earlier generation are used no more.
    generation: AtomicU64,
    /// Tells whoever waits for an answer that none may come.
    replaced: watch::Sender<()>,
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Connector").field("hosts", &self.hosts).finish_non_exhaustive()
    }
}

impl Connector {
    pub(super) fn new(settings: &Settings) -> Self {
        let roots = settings.roots.clone().unwrap_or_else(tls::roots);
        Self {
            hosts: by_host(&settings.config, settings.encryption),
            tls: MakeRustlsConnect::new(tls::database_client(roots)),
            prepared: settings.prepared,
            last: AtomicUsize::new(0),
            unsure: AtomicBool::new(true),
            newest: Mutex::default(),
            generation: AtomicU64::new(0),
            replaced: watch::Sender::new(()),
        }
    }

    /// Connects to the host that takes writes: the last one that did is asked first, and the others soon after it, as
    /// long as it does not answer. Where that one may have been replaced, all are asked, and of several that take writes
    /// the one with the newest timeline is the primary.
    pub(super) async fn connect(&self) -> Result<Wire, Unreached> {
        let count = self.hosts.len();
        let unsure = self.unsure.swap(false, Ordering::AcqRel) && count > 1;
        let first = self.last.load(Ordering::Relaxed);
        let mut next = (0..count).map(|place| (first + place) % count.max(1));
        let mut running = FuturesUnordered::new();
        let mut failures = BTreeMap::new();
        let mut found: Option<(usize, Wire)> = None;
        let mut wait = NEXT_HOST;
        running.extend(next.by_ref().take(if unsure { count } else { 1 }).map(|host| self.try_host(host)));
        while !running.is_empty() {
            let waits = next.len() > 0 || found.is_some();
            tokio::select! {
                Some((host, tried)) = running.next() => match tried {
                    Ok(wire) => {
                        // Whoever was admitted after another is no older.
                        found = Some((host, wire));
                        if !unsure {
                            break;
                        }
                        wait = OTHERS_WAIT;
                    }
                    Err(said) => {
                        failures.insert(host, said);
                        running.extend(next.next().map(|host| self.try_host(host)));
                    }
                },
                () = tokio::time::sleep(wait), if waits => match next.next() {
                    Some(host) => running.push(self.try_host(host)),
                    None => break,
                },
            }
        }
        let Some((host, wire)) = found else {
            self.unsure.store(unsure, Ordering::Release);
            return Err(Unreached(failures.into_values().collect::<Vec<_>>().join("; ")));
        };
        self.last.store(host, Ordering::Relaxed);
        Ok(wire)
    }

    async fn try_host(&self, place: usize) -> (usize, Result<Wire, String>) {
        let Some(config) = self.hosts.get(place) else { return (place, Err("no such host".to_owned())) };
        let wait = config.get_connect_timeout().copied().unwrap_or(CONNECT_WAIT);
        // The host may take a connection and then stand still.
        let tried = tokio::time::timeout(wait, self.speak(config)).await;
        let tried = tried.unwrap_or_else(|_| Err(format!("no answer within {} s", wait.as_secs_f32())));
        (place, tried.map_err(|said| format!("{}: {said}", name_of(config))))
    }

    async fn speak(&self, config: &Config) -> Result<Wire, String> {
        let generation = self.generation.load(Ordering::Acquire);
        let (client, mut connection) = config.connect(self.tls.clone()).await.map_err(|error| told(&error))?;
        let wait_cut = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&wait_cut);
        let run = async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) => {
                        tracing::warn!(code = notice.code().code(), said = notice.message(), "PostgreSQL warns");
                        if *notice.code() == SqlState::WARNING {
                            seen.store(true, Ordering::Release);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(said = told(&error), "a connection to PostgreSQL ended");
                        break;
                    }
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with its connection, and whoever uses that sees so")]
        let task = tokio::spawn(run);
        let line = self.admit(&client).await?;
        Ok(Wire { client, task, wait_cut, mark: Mark { line, generation } })
    }

    /// Whether this is the host to write to, and to read from.
    async fn admit(&self, client: &Client) -> Result<Line, String> {
        let told_by = match client.simple_query(WHO).await {
            // Some who speak like PostgreSQL have no such functions.
            Err(error) if error.as_db_error().is_some() => client.simple_query(WRITES).await,
            told => told,
        };
        let messages = told_by.map_err(|error| told(&error))?;
        let row = messages.iter().find_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let Some(row) = row else { return Err("it does not say whether it takes writes".to_owned()) };
        if row.try_get(0).map_err(|error| told(&error))? != Some("off") {
            return Err("it takes no writes: it is a standby, or read-only".to_owned());
        }
        let number = |column: usize, radix: u32| {
            let text = row.try_get(column).ok().flatten();
            text.and_then(|text| u64::from_str_radix(text, radix).ok()).unwrap_or(0)
        };
        let line = Line { cluster: number(1, 10), timeline: u32::try_from(number(2, 16)).unwrap_or(0) };
        let mut newest = self.newest.lock();
        if line.cluster == newest.cluster && line.timeline < newest.timeline {
            return Err(format!(
                "it is a primary of before a failover: its timeline is {}, and {} was seen",
                line.timeline, newest.timeline
            ));
        }
        if *newest != line {
            *newest = line;
            self.replaced.send_replace(());
        }
        Ok(line)
    }

    /// Whether a connection still leads to the primary, as far as is known: none is used that leads to one that another
    /// replaced.
    pub(super) fn is_current(&self, client: &Client, mark: Mark) -> bool {
        !client.is_closed()
            && mark.generation >= self.generation.load(Ordering::Acquire)
            && mark.line == *self.newest.lock()
    }

    /// Something did not answer in time: no connection that is there is trusted to.
    pub(super) fn distrust(&self) {
        self.doubt();
        self.generation.fetch_add(1, Ordering::AcqRel);
        self.replaced.send_replace(());
    }

    /// A commit came to no end in time: the next connection is to the newest primary of all hosts.
    pub(super) fn doubt(&self) {
        self.unsure.store(true, Ordering::Release);
    }

    /// Does something that may be done again, but gives it up when connections that are in use now should be.
    pub(super) async fn unless_replaced<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> Result<T, StoreError> {
        let mut replaced = self.replaced.subscribe();
        tokio::select! {
            done = work => done,
            _ = replaced.changed() => Err(StoreError::Unavailable("the database was replaced meanwhile".to_owned())),
        }
    }
}

fn name_of(config: &Config) -> String {
    let port = config.get_ports().first().copied().unwrap_or(5432);
    match config.get_hosts().first() {
        Some(Host::Tcp(name)) => format!("{name}:{port}"),
        Some(Host::Unix(folder)) => format!("{}:{port}", folder.display()),
        None => "no host".to_owned(),
    }
}

//! A store opened in this process: the writer on a thread of its own, the sweeper, and the state that handlers share.
//!
//! `serve` puts listeners before it; a command that finds no server asks its router directly.

mod opened;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

use crate::audit_copy::{AuditCopy, CopyError};
use crate::clock::{SharedClock, SystemClock};
use crate::config::store::StoreAddress;
use crate::config::{Config, Presented};
use crate::delivery::secrets::WebhookSecrets;
use crate::delivery::{Senders, SendersError};
use crate::http::auth::{Access, AccessError};
use crate::http::events::Glance;
use crate::http::proxies::Proxies;
use crate::http::tokens::{Tokens, TokensError};
use crate::http::{App, SharedApp};
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::retention::Retention;
use crate::seal::{MasterKey, SealError};
use crate::store::moving::End;
use crate::store::postgres::look::{Look, look};
use crate::store::{Record, StoreError, postgres};
use crate::traces::{Traces, TracesError};
use crate::writer::Writer;
use opened::Opened;

/// How often expired holds are given back without anybody asking for their users.
const SWEEP_EVERY: Duration = Duration::from_millis(500);
/// How often the clocks are looked at for those who watch.
const TICK_EVERY: Duration = Duration::from_millis(200);
/// Sweeps that wait for one another at most: so many sessions may be due at once after a long stop.
const SWEEP_FULL: usize = 1_000;

/// Why a store cannot be opened here.
#[derive(Debug, Error)]
pub enum LocalError {
    /// The folder is in use, is no store, or the disk fails.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A setting of who may call is not sound.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The operating system gives no randomness.
    #[error("get randomness from the operating system: {0}")]
    Randomness(getrandom::Error),
    /// The master key cannot be read or made.
    #[error("open the master key: {0}")]
    Seal(#[from] SealError),
    /// The audit log's copy cannot be written.
    #[error(transparent)]
    AuditCopy(#[from] CopyError),
    /// User tokens cannot be signed with what the store has.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// Traces cannot be exported.
    #[error(transparent)]
    Traces(#[from] TracesError),
    /// Nothing can be sent with these settings.
    #[error(transparent)]
    Senders(#[from] SendersError),
    /// The operating system gives no thread.
    #[error("start the writer's thread: {0}")]
    Thread(std::io::Error),
    /// Nodes that share a database must share what seals its secrets.
    #[error(
        "start a node on {0}: it needs OUTLAY_MASTER_KEY (or OUTLAY_MASTER_KEY_FILE), the same on every node of this \
         database; `openssl rand -base64 32` makes one for the first"
    )]
    NoMasterKey(String),
    /// A new ledger would begin while the one that is meant lies here.
    #[error(
        "start a node on {store}: {} holds a store of its own, which would not be read; name another folder with --data, \
         or leave out --store", folder.display()
    )]
    OtherStore {
        /// The database.
        store: String,
        /// The folder.
        folder: PathBuf,
    },
}

impl LocalError {
    /// Whether it is the settings that are to be changed, and nothing was tried.
    pub const fn is_of_settings(&self) -> bool {
        matches!(self, Self::NoMasterKey(_) | Self::OtherStore { .. })
    }
}

/// Where a restore makes a store of a backup, in the folder that it is for.
pub const STAGING_NAME: &str = "restoring";

/// What a store is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A server, which also makes and reads user tokens, and so needs the master key.
    Serving,
    /// One command of the folder's owner.
    Command,
}

/// How a writer's thread came to its end.
#[derive(Debug, Clone)]
pub enum WriterEnd {
    /// It still runs.
    Running,
    /// It was closed, and all is written.
    Closed,
    /// A failed write, or a bug: this process must end at once, the next start carries on.
    Poisoned(String),
}

/// An open store with its writer.
#[derive(Debug)]
pub struct Local {
    /// What the handlers share.
    pub app: SharedApp,
    copy: AuditCopy,
    ended: watch::Receiver<WriterEnd>,
    thread: JoinHandle<()>,
    /// The lock of a folder that is a node's own, and not its store's.
    _folder: Option<std::fs::File>,
}

impl Local {
    /// Opens the configured store, which is made if there is none, and starts its writer.
    ///
    /// # Errors
    /// When another process has the folder, it holds something else, the disk fails, or the database cannot be reached.
    pub async fn open(config: &Config, clock: SharedClock, purpose: Purpose) -> Result<Self, LocalError> {
        // Before the store is touched: what cannot be sent with these settings is to be mended first.
        let senders = match purpose {
            Purpose::Serving => Senders::open(config)?,
            Purpose::Command => Senders::without_mail(&config.webhook_allow),
        };
        let Opened { writer, reads, ended, thread, folder } = Opened::open(config, &clock, purpose)?;
        // What expired while nobody ran is given back before anything else is decided, or shown.
        give_back_what_is_due(&writer).await;
        let ids = Ids::from_system(Arc::clone(&clock)).map_err(LocalError::Randomness)?;
        let mut access = access(config)?;
        if purpose == Purpose::Serving {
            let master = master_key(config, &ids)?;
            access = access.with_tokens(Tokens::prepare(master, &writer, &*reads, &ids, clock.wall()).await?);
        }
        let copy = AuditCopy::open(config.audit_log.as_ref())?;
        let secrets = config.webhooks.iter().map(|webhook| (webhook.record.id.clone(), webhook.secret.clone()));
        let master = (purpose == Purpose::Serving).then(|| master_key(config, &ids)).transpose()?;
        let webhook_secrets = WebhookSecrets::new(secrets.collect(), master);
        let metrics = Metrics::new(&writer, &reads);
        let collector = config.otlp_url.as_deref().filter(|_| purpose == Purpose::Serving);
        let traces = collector.map(|url| Traces::start(url, tokio::runtime::Handle::current())).transpose()?;
        let app = Arc::new(App {
            writer,
            reads,
            clock,
            ids,
            presentation: Presented::new(config.presentation.clone()),
            retention: Retention::new(config.keep_details_days),
            plans_are_configured: config.plans.is_some(),
            access,
            senders,
            webhook_secrets,
            metrics,
            traces,
            refusals: crate::http::refusals::Refusals::default(),
            scratch: config.data.join(opened::SCRATCH_NAME),
            glance: Glance::default(),
            paces: crate::http::paces::Paces::default(),
        });
        Ok(Self { app, copy, ended, thread, _folder: folder })
    }

    /// Waits until the writer's thread is over, and says why. A thread that panicked is poisoned too.
    pub async fn ended(&self) -> WriterEnd {
        let mut ended = self.ended.clone();
        let closed = ended.wait_for(|end| !matches!(end, WriterEnd::Running)).await.map(|end| end.clone());
        closed.unwrap_or_else(|_| WriterEnd::Poisoned("the writer's thread panicked".to_owned()))
    }

    /// Gives back expired holds for as long as it runs.
    pub async fn sweep(writer: Writer) {
        let mut ticks = tokio::time::interval(SWEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            give_back_what_is_due(&writer).await;
        }
    }

    /// Copies the audit log to where the settings say, for as long as it runs.
    pub fn copy_audit(&self) -> impl Future<Output = ()> + Send + use<> {
        let (copy, app) = (self.copy.clone(), Arc::clone(&self.app));
        async move { copy.follow(&app.writer, &*app.reads).await }
    }

    /// Has those who watch learn of the turn of a month, and end when their time is up, for as long as it runs.
    pub async fn keep_time(app: SharedApp) {
        let mut ticks = tokio::time::interval(TICK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            app.reads.feed().tick(app.reads.now(), app.clock.wall());
            Self::write_refusals(&app, false).await;
        }
    }

    /// Writes down who was refused, as far as it is due.
    async fn write_refusals(app: &App, all: bool) {
        let events = app.refusals.due(app.clock.wall(), all);
        if !events.is_empty()
            && let Err(error) = app.writer.put(Record::Events(events)).await
        {
            tracing::warn!("failed to write down who was refused: {error}");
        }
    }

    /// Writes all that is queued, closes the store, and waits for the thread.
    ///
    /// # Errors
    /// When the last words could not be written.
    pub async fn close(self) -> Result<(), StoreError> {
        let last_words = async {
            Self::write_refusals(&self.app, true).await;
            self.copy.last(&self.app.writer, &*self.app.reads).await;
            self.app.writer.close().await;
        };
        // A writer that ends by itself meanwhile answers nothing any more.
        let end = tokio::select! {
            end = self.ended() => end,
            () = last_words => self.ended().await,
        };
        // The thread has nothing left to do once it has said how it ended.
        let joined = tokio::task::spawn_blocking(move || {
            if let Some(traces) = &self.app.traces {
                traces.close();
            }
            self.thread.join()
        })
        .await;
        match (end, joined) {
            (WriterEnd::Poisoned(error), _) => Err(StoreError::OutcomeUnknown(error)),
            (_, Ok(Ok(()))) => Ok(()),
            (_, _) => Err(StoreError::OutcomeUnknown("the writer's thread panicked".to_owned())),
        }
    }
}

/// Whether the address of a database can be used as it is written; nothing is connected to.
///
/// # Errors
/// When it cannot.
pub fn check_database(address: &StoreAddress, config: &Config) -> Result<(), LocalError> {
    opened::of_database(address, config, &SystemClock::shared(), Purpose::Command)?;
    Ok(())
}

/// How the database of the settings is; nothing is changed in it.
///
/// # Errors
/// When it cannot be reached.
pub async fn look_at_database(address: &StoreAddress, config: &Config) -> Result<Look, StoreError> {
    look(&opened::of_database(address, config, &SystemClock::shared(), Purpose::Command)?).await
}

/// The database of the settings as one end of a move; `None` where they name none.
///
/// # Errors
/// When its address cannot be used as it is written.
pub fn database_end(config: &Config, clock: &SharedClock) -> Result<Option<End>, StoreError> {
    let end = |address: &StoreAddress| {
        let settings = opened::of_database(address, config, clock, Purpose::Command)?;
        // What the configuration says holds from the next start on; a move changes nothing.
        let settings = postgres::Settings { plans: None, webhooks: None, ..settings };
        Ok(End::Database(Box::new(settings), address.to_string()))
    };
    config.store.as_ref().map(end).transpose()
}

async fn give_back_what_is_due(writer: &Writer) {
    loop {
        match writer.sweep().await {
            Ok(swept) if swept >= SWEEP_FULL => {}
            Ok(_) => return,
            Err(error) => {
                tracing::warn!("failed to {error}");
                return;
            }
        }
    }
}

fn master_key(config: &Config, ids: &Ids) -> Result<MasterKey, SealError> {
    if let Some(bytes) = &config.master_key {
        return Ok(MasterKey::new(bytes));
    }
    // With a database it is asked for before.
    let (key, made) = MasterKey::open_or_make(&config.data, ids)?;
    if made {
        tracing::info!(
            "made {}, which seals what is secret in the store; keep a copy elsewhere, since backups do not hold it",
            config.data.join("master.key").display()
        );
    }
    Ok(key)
}

fn access(config: &Config) -> Result<Access, AccessError> {
    let mut access = if config.open { Access::open() } else { Access::keyed() };
    if let Some(key) = &config.admin_key {
        access = access.with_admin_key(key)?;
    }
    if let Some(origins) = &config.allowed_origins {
        access = access.with_allowed_origins(origins)?;
    }
    Ok(access.with_proxies(Proxies::new(config.trusted_proxies.clone())))
}

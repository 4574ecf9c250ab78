//! The PostgreSQL store: many nodes, one truth. Any node may write any user: it locks the row of the user's bucket, loads
//! what the command needs, has the ledger decide as on the embedded store, and writes all that changed in that
//! transaction.
//!
//! This file opens the store and spreads batches over lanes ([`lane`]). Rows are the business of [`codec`], statements
//! of [`statements`]. It knows nothing of HTTP, and compares nothing with a limit.

mod address;
mod audit;
mod bucket;
mod chores;
mod codec;
mod configure;
mod connector;
mod errors;
mod kept;
mod lane;
mod link;
mod load;
pub mod look;
mod moving;
mod names;
mod outbox;
mod put;
mod reader;
mod reads;
mod retention;
mod rows;
mod safety;
mod schema;
mod settle;
mod shared;
mod statements;
mod sums;
mod sweep;
pub mod tries;
mod typed;
mod watch;
mod wide;
mod wipe;
mod write;

use std::iter::Peekable;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use outlay_core::id::SessionNo;
use outlay_core::ledger::{Command, Written};
use outlay_core::month::Timestamp;
use outlay_core::plan::{AlertThresholds, Plans};
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use secrecy::{ExposeSecret, SecretString};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio_postgres::{Client, Config};
use tokio_rustls::rustls::RootCertStore;

use super::moving::Mark;
use super::outbox::{ConfiguredWebhook, MailTo};
use super::{
    Batch, CommandError, Committed, Committing, Lanes, Reads, Record, Reply, Store, StoreError, random,
    until_plans_change,
};
use crate::audit::{Actor, Event};
use crate::clock::SharedClock;
use crate::feed::Tidings;
use address::Address;
pub use address::Encryption;
pub use bucket::Buckets;
use connector::{Connector, Unreached};
use errors::unavailable;
use lane::{Answered, Item, Lane};
pub(super) use moving::Moving;
use put::Clerk;
use reader::{Ask, Pool, Reader};
use reads::{PostgresReads, Views};
use retention::{Trimmed, Trimmer};
pub use schema::{citus, tables};
use shared::{Locked, Shared};

/// What connections of nodes are called, so that they are told from those of others.
pub const APPLICATION: &str = "outlay";
/// Lanes of one node, at most: as many as its machine has cores, and at least two, so that one works while the other waits
/// for the disk. More make smaller batches, which cost the database more; a batch that takes long makes the next one larger.
const LANES_MAX: usize = 8;
const LANES_MIN: usize = 2;
/// As long as the answer to COMMIT is waited for.
const PATIENCE: Duration = Duration::from_secs(settle::COMMIT_SECONDS_MAX);
/// Statements that read views at the same time.
const VIEWS: usize = 2;
/// How long it may take to open a store. Where commits wait for a standby that is not there, its tables cannot be made.
const OPEN_WAIT: Duration = Duration::from_mins(1);
/// Threads that speak to the database.
const THREADS: usize = 2;
/// Rows that one transaction wipes or empties.
const SLICE_ROWS: usize = 200;
/// For how long the writer waits for one of them.
const SLICE_SECONDS_MAX: Duration = Duration::from_secs(10);

/// How a store is opened.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub struct Settings {
    /// Which database, as whom; of several hosts, the one that takes writes is used.
    pub config: Config,
    /// To which hosts connections are encrypted.
    pub encryption: Encryption,
    /// Whose certificates are believed; `None`: those of the authorities that this machine knows.
    pub roots: Option<RootCertStore>,
    /// Keep statements prepared on their connection. Behind a pooler that gives each transaction another one, they cannot.
    pub prepared: bool,
    /// What time it is on this machine.
    pub clock: SharedClock,
    /// Decide by that clock, and not by the database's: where time is replayed, or stands still in a test.
    pub own_clock: bool,
    /// Where randomness comes from; `None` is the machine's.
    pub seed: Option<u64>,
    /// At what percentages of a limit alerts are raised.
    pub alerts: AlertThresholds,
    /// Plans of the configuration, which replace those that are stored.
    pub plans: Option<Plans>,
    /// Which mails are sent.
    pub mail: MailTo,
    /// The webhooks of the configuration, in place of those that stood there before; `None` leaves those as they are.
    pub webhooks: Option<Vec<ConfiguredWebhook>>,
    /// Into how many buckets a new store spreads its users.
    pub buckets: Buckets,
    /// Acknowledge nothing that is not on a synchronous standby too: refuse to open where commits wait for none, and
    /// to go on where they no longer do.
    pub require_sync: bool,
    /// How many batches are on their way at the same time.
    pub lanes: usize,
    /// How many rows of the past one transaction wipes or empties, at most.
    pub slice_rows: usize,
    /// For how long it is asked what became of a COMMIT that was not answered.
    pub patience: Duration,
    /// Whether each transaction keeps to one bucket, as a database needs it whose buckets lie on several machines.
    pub sharded: bool,
}

impl Settings {
    /// The usual settings for the database that a URL names, such as `postgres://outlay@db1,db2/outlay` or
    /// `postgres://outlay@/outlay?host=/run/postgresql`. Beside what libpq and tokio-postgres know, it takes
    /// `sslmode=verify-full` or `disable`, `sslrootcert` (a PEM file, or `system`) and `prepared` (`on`, `off`). Connections
    /// to other machines are encrypted, and prove the host's name, unless `sslmode=disable` says otherwise.
    ///
    /// # Errors
    /// When it is no such URL, names no host, asks for a protection that would not protect, or names a file that cannot be read.
    pub fn new(url: &str, clock: SharedClock) -> Result<Self, StoreError> {
        let Address { config, encryption, roots, prepared } = Address::read(url)?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            config,
            encryption,
            roots,
            prepared,
            clock,
            own_clock: false,
            seed: None,
            alerts: AlertThresholds::default(),
            plans: None,
            mail: MailTo::default(),
            webhooks: None,
            buckets: Buckets::USUAL,
            require_sync: false,
            lanes: cores.clamp(LANES_MIN, LANES_MAX),
            slice_rows: SLICE_ROWS,
            patience: PATIENCE,
            sharded: false,
        })
    }

    /// The password, in place of one in the URL.
    #[must_use]
    pub fn with_password(mut self, password: &SecretString) -> Self {
        self.config.password(password.expose_secret());
        self
    }
}

/// What speaks to the database, in threads of its own: whoever asks need not run in any runtime.
#[derive(Debug)]
struct Engine {
    runtime: Option<Runtime>,
    readers: Pool,
    views: Views,
    shared: Arc<Shared>,
}

impl Engine {
    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().expect("it is there until the engine is dropped")
    }

    /// A connection that reads.
    async fn reader(&self) -> Result<Reader, StoreError> {
        Reader::of(&self.readers).await
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // It may be dropped where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// The writing half.
#[derive(Debug)]
pub struct PostgresStore {
    engine: Arc<Engine>,
    lanes: Vec<Arc<tokio::sync::Mutex<Lane>>>,
    clerk: Arc<tokio::sync::Mutex<Clerk>>,
    trimmer: Arc<tokio::sync::Mutex<Trimmer>>,
}

/// Opens the store of a database, whose tables are made if there are none.
///
/// # Errors
/// When the database cannot be reached, or its tables need a newer program.
pub fn open(settings: Settings) -> Result<(PostgresStore, Arc<dyn Reads>), StoreError> {
    open_unless(settings, |mark| Some(mark.refusal()))
}

/// The same for a move, which also opens what a move has.
pub(super) fn open_marked(settings: Settings) -> Result<(PostgresStore, Arc<dyn Reads>), StoreError> {
    open_unless(settings, |_| None)
}

fn open_unless(
    settings: Settings,
    refused: fn(&Mark) -> Option<String>,
) -> Result<(PostgresStore, Arc<dyn Reads>), StoreError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("outlay-postgres")
        .enable_all()
        .build()
        .map_err(|error| StoreError::Unavailable(error.to_string()))?;
    let mut random = random::seeded(settings.seed)?;
    let mut deployment = [0; 16];
    random.fill_bytes(&mut deployment);
    let epoch = random.next_u64() >> 1;
    let (opened, opening) = std::sync::mpsc::channel();
    let lanes = settings.lanes.max(1);
    runtime.spawn(async move {
        // Whoever asked has left only if its thread ended.
        let begun = tokio::time::timeout(OPEN_WAIT, begin(settings, deployment, epoch, refused)).await;
        let silent = || StoreError::Unavailable(format!("PostgreSQL did not answer within {} s", OPEN_WAIT.as_secs()));
        let _ = opened.send(begun.unwrap_or_else(|_| Err(silent())));
    });
    let ended = |_| StoreError::Unavailable("the store could not be opened".to_owned());
    let (shared, readers) = match opening.recv().map_err(ended).flatten() {
        Ok(opened) => opened,
        Err(error) => {
            // Whoever opens it may be where waiting is not allowed.
            runtime.shutdown_background();
            return Err(error);
        }
    };
    let shared = Arc::new(shared);
    let lane = |_| {
        let lane = Lane::new(Arc::clone(&shared), Pcg64::seed_from_u64(random.next_u64()));
        Arc::new(tokio::sync::Mutex::new(lane))
    };
    let lanes = (0..lanes).map(lane).collect();
    let clerk = Clerk::new(Arc::clone(&shared), Pcg64::seed_from_u64(random.next_u64()));
    let clerk = Arc::new(tokio::sync::Mutex::new(clerk));
    runtime.spawn(chores::run(Arc::clone(&shared)));
    runtime.spawn(safety::watch(Arc::clone(&shared)));
    let views = Views::new(&readers, &shared, VIEWS, &runtime);
    let engine = Arc::new(Engine { runtime: Some(runtime), readers, views, shared });
    engine.runtime().spawn(watch::hear(Arc::clone(&engine.shared), Arc::downgrade(&engine)));
    let store = PostgresStore { engine: Arc::clone(&engine), lanes, clerk, trimmer: Arc::default() };
    Ok((store, Arc::new(PostgresReads::new(engine))))
}

/// Prepares the database, and reads what every node keeps in memory.
async fn begin(
    settings: Settings,
    deployment: [u8; 16],
    epoch: u64,
    refused: fn(&Mark) -> Option<String>,
) -> Result<(Shared, Pool), StoreError> {
    let connector = Arc::new(Connector::new(&settings));
    let mut client = connect(&connector).await?;
    let new = schema::New { buckets: settings.buckets, random: deployment };
    let now = settings.clock.wall();
    let identity = schema::prepare(&mut client, new, now).await?;
    let mark = moving::mark(&client).await?.and_then(|mark| Mark::parse(&mark));
    if let Some(why) = mark.as_ref().and_then(refused) {
        return Err(StoreError::Unavailable(why));
    }
    let readers = reader::pool(&connector)?;
    let shared = Shared::new(connector, settings, identity, epoch);
    let reader = Reader::of(&readers).await?;
    let all: Vec<i32> = (0..shared.buckets().count()).collect();
    let rows = reader.ask(statements::BUCKETS, &[&all]).await.map_err(unavailable)?;
    let buckets = rows.iter().map(|row| Locked::read(row, shared.buckets())).collect::<Result<Vec<_>, _>>()?;
    shared.names.keep_all(&reader.ask(names::NAMES, &[]).await.map_err(unavailable)?);
    let count = reader.ask(retention::COUNT, &[&shared.buckets().bits().cast_signed()]).await?;
    *shared.trimmed.lock() = Trimmed::read(&count, &reader.ask(retention::BEFORE, &[]).await?)?;
    let decided_at = buckets.iter().map(|one| one.now_at).max().unwrap_or(0);
    if let Some(one) = buckets.first() {
        shared.wall(one.clock_micros)?;
    }
    shared.committed(decided_at, buckets.iter().map(|one| (one.bucket, one.numbers)));
    configure::configure(&mut client, &shared).await?;
    outbox::bring_forward(&mut client, shared.time()).await?;
    kept::catch_up(&shared, &readers).await?;
    shared.safety.ask(&client).await?;
    if !shared.safety.is_as_required() {
        return Err(StoreError::Unavailable(safety::NOT_SYNCED.to_owned()));
    }
    Ok((shared, readers))
}

/// A connection of its own, for what is seldom done.
async fn connect(connector: &Connector) -> Result<Client, Unreached> {
    Ok(connector.connect().await?.client)
}

/// The lane of a bucket, of so many.
fn lane_of(bucket: i32, lanes: usize) -> usize {
    usize::try_from(bucket).unwrap_or(0) % lanes
}

impl PostgresStore {
    /// Runs commands through their lanes, all lanes at the same time.
    async fn run(&self, items: Vec<Item>) -> Result<Answered, StoreError> {
        let mut parts: Vec<Vec<Item>> = self.lanes.iter().map(|_| Vec::new()).collect();
        for item in items {
            let lane = lane_of(item.bucket, parts.len());
            if let Some(part) = parts.get_mut(lane) {
                part.push(item);
            }
        }
        let parts = self.lanes.iter().zip(parts).filter(|(_, part)| !part.is_empty());
        let running: Vec<_> = parts
            .map(|(lane, part)| {
                let lane = Arc::clone(lane);
                self.engine.runtime().spawn(async move { lane.lock().await.commit(part).await })
            })
            .collect();
        let mut answered = Answered::default();
        for part in running {
            let part = part.await.map_err(|error| StoreError::OutcomeUnknown(error.to_string()))?;
            answered.add(part);
        }
        Ok(answered)
    }
}

/// A lane as the writer knows it. It is shared with the store itself, which sweeps through it in turn.
struct WriterLane {
    lane: Arc<tokio::sync::Mutex<Lane>>,
    shared: Arc<Shared>,
}

impl super::Lane for WriterLane {
    fn commit(&mut self, batch: Batch) -> Committing<'_> {
        Box::pin(async move {
            let count = batch.commands.len();
            let mut of = Of::new(batch.by, batch.quiet);
            let commands = batch.commands.into_iter().enumerate();
            let items = commands.map(|(place, command)| of.item(place, command, self.shared.buckets())).collect();
            let answered = self.lane.lock().await.commit(items).await;
            Ok(committed(count, answered, &self.shared))
        })
    }
}

/// What is said of a batch's commands, which are asked for in their order.
struct Of {
    by: Peekable<std::vec::IntoIter<(usize, Actor)>>,
    quiet: Peekable<std::vec::IntoIter<Range<usize>>>,
}

impl Of {
    fn new(by: Vec<(usize, Actor)>, quiet: Vec<Range<usize>>) -> Self {
        Self { by: by.into_iter().peekable(), quiet: quiet.into_iter().peekable() }
    }

    fn item(&mut self, place: usize, command: Command, buckets: Buckets) -> Item {
        let by = self.by.next_if(|(of, _)| *of == place).map(|(_, actor)| actor);
        while self.quiet.next_if(|range| range.end <= place).is_some() {}
        let quiet = self.quiet.peek().is_some_and(|range| range.contains(&place));
        Item { place, bucket: buckets.of_command(&command), command, by, quiet }
    }
}

/// A batch of so many commands with what became of it.
fn committed(count: usize, answered: Answered, shared: &Arc<Shared>) -> Committed {
    let mut replies: Vec<Option<Reply>> = (0..count).map(|_| None).collect();
    for (place, reply) in answered.replies {
        if let Some(slot) = replies.get_mut(place) {
            *slot = Some(reply);
        }
    }
    let lost = || Err(CommandError::Store(StoreError::OutcomeUnknown("a lane gave no answer".to_owned())));
    let replies = replies.into_iter().map(|reply| reply.unwrap_or_else(lost)).collect();
    let shared = Arc::clone(shared);
    Committed::new(replies, move || {
        shared.kept.audit_grew(answered.audit_newest);
        publish(&shared, answered.written);
        shared.feed.post().put(answered.receivers);
    })
}

impl Store for PostgresStore {
    fn lanes(&self) -> Option<Lanes> {
        let shared = &self.engine.shared;
        let lane = |lane: &Arc<_>| -> Box<dyn super::Lane> {
            Box::new(WriterLane { lane: Arc::clone(lane), shared: Arc::clone(shared) })
        };
        let (buckets, count) = (shared.buckets(), self.lanes.len());
        let of = move |command: &Command| lane_of(buckets.of_command(command), count);
        let runtime = self.engine.runtime().handle().clone();
        Some(Lanes { all: self.lanes.iter().map(lane).collect(), of: Arc::new(of), runtime })
    }

    async fn commit(&mut self, batch: Batch) -> Result<Committed, StoreError> {
        let count = batch.commands.len();
        let buckets = self.engine.shared.buckets();
        let mut all = Answered::default();
        let mut of = Of::new(batch.by, batch.quiet);
        let mut commands = batch.commands.into_iter().enumerate().peekable();
        while commands.peek().is_some() {
            let commands = until_plans_change(&mut commands).into_iter();
            let items = commands.map(|(place, command)| of.item(place, command, buckets)).collect();
            all.add(self.run(items).await?);
        }
        Ok(committed(count, all, &self.engine.shared))
    }

    async fn put(&mut self, record: Record, event: Option<Event>) -> Result<(), StoreError> {
        let (engine, clerk) = (Arc::clone(&self.engine), Arc::clone(&self.clerk));
        let put = async move {
            let put = clerk.lock().await.put(&record, event.as_ref()).await?;
            let shared = &engine.shared;
            // Whoever is answered sees it, at once and on this node.
            if put.is_kept
                && let Err(error) = kept::look_now(shared, &engine.readers).await
            {
                tracing::warn!("what was written is shown later: failed to {error}");
            }
            shared.kept.audit_grew(put.audit_newest);
            if matches!(record, Record::Tried(..) | Record::Again(..) | Record::TestDelivery(..)) {
                // The lists of alerts say how each was delivered.
                shared.feed.tell(Tidings::default());
            }
            shared.feed.post().put(put.told);
            Ok(())
        };
        joined(self.engine.runtime().spawn(put)).await
    }

    /// None: other nodes write on, and the next try of what is not known settles it.
    fn ends_by(_error: &StoreError) -> bool {
        false
    }

    async fn idle(&mut self) -> Result<bool, StoreError> {
        let shared = Arc::clone(&self.engine.shared);
        joined(self.engine.runtime().spawn(async move { Ok(shared.chores.rest().await) })).await
    }

    async fn trim(&mut self, before: Timestamp) -> Result<bool, StoreError> {
        let (shared, trimmer) = (Arc::clone(&self.engine.shared), Arc::clone(&self.trimmer));
        let trimming = async move {
            let mut trimmer = trimmer.lock().await;
            let slice = trimmer.trim(&shared, before);
            let late = |_| StoreError::Unavailable("the database takes too long to empty operations".to_owned());
            tokio::time::timeout(SLICE_SECONDS_MAX, slice).await.map_err(late)?
        };
        joined(self.engine.runtime().spawn(trimming)).await
    }

    async fn due(&mut self, max: usize) -> Result<Vec<SessionNo>, StoreError> {
        let engine = Arc::clone(&self.engine);
        joined(self.engine.runtime().spawn(async move { sweep::due(&engine, max).await })).await
    }

    fn backup(&mut self, _to: PathBuf, done: oneshot::Sender<Result<(), StoreError>>) {
        let said = "copy a PostgreSQL store: that is the business of pgBackRest or pg_dump";
        // A caller who left does not need the answer.
        let _ = done.send(Err(StoreError::Unavailable(said.to_owned())));
    }

    async fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// What a task came to.
async fn joined<T>(task: tokio::task::JoinHandle<Result<T, StoreError>>) -> Result<T, StoreError> {
    task.await.map_err(|error| StoreError::Unavailable(error.to_string()))?
}

/// Tells those who watch what is committed. Alerts and denials are told in the order of their bucket, with what other nodes
/// committed before: that is the watch's business, which hears of it at once.
fn publish(shared: &Shared, written: Vec<Written>) {
    if written.iter().any(|written| !written.erased.is_empty()) {
        shared.chores.erased();
    }
    if !shared.feed.is_heard() {
        return;
    }
    for written in written {
        if !written.alerts.is_empty() || !written.denials.is_empty() {
            shared.watch.wake();
            continue;
        }
        shared.feed.tell(Tidings {
            changed: written.views.iter().filter_map(|(user_id, _)| shared.feed.watched(user_id)).collect(),
            erased: written.erased.iter().map(|user| user.user_id.clone()).collect(),
            plans: !written.plans.is_empty(),
            ..Tidings::default()
        });
    }
}

#[cfg(test)]
mod tests;

//! The embedded store: one SQLite file whose operations never go to a random place.
//!
//! This file is the writer: it loads what a command needs, has the ledger decide, writes all that changed in one
//! transaction and publishes it. Rows are the business of [`codec`], single reads of [`load`], lists of [`reads`].
//! It knows nothing of HTTP, and compares nothing with a limit.

mod audit;
mod behind;
mod checkpoint;
mod codec;
mod days;
mod erase;
mod idle;
mod load;
mod moving;
mod names;
mod opening;
mod outbox;
mod published;
mod put;
mod reads;
mod retention;
mod roster;
pub mod runs;
mod space;
mod sweep;
mod tables;
mod unswept;
mod verify;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use outlay_core::id::{SessionNo, UserId, UserNo};
use outlay_core::ledger::{Books, Held, Key, Now, Numbers, Rejection, Written, decide};
use outlay_core::month::Timestamp;
use outlay_core::plan::{AlertThresholds, Plans};
use parking_lot::{Mutex, RwLock};
use rand::Rng;
use rand_pcg::Pcg64;
use rusqlite::{Connection, OptionalExtension};

use super::outbox::{ConfiguredWebhook, MailTo, Receiver};
use super::{Batch, CommandError, Committed, Record, Reply, Store, StoreError, Urgency};
use crate::audit::{Event, of_decision};
use crate::clock::SharedClock;
use crate::feed::{Feed, Notice, Tidings};
use behind::Behind;
pub use erase::{Erasure, LIST_NAME as ERASURES_NAME, read_list as read_erasures};
pub(in crate::store) use moving::Moving;
use opening::last;
pub(super) use opening::{check_backup, open_marked};
pub use opening::{file_path, lock_folder, open};
pub use space::{Marks, Volume};
pub use sweep::{SweepSizes, events as sweep_events};

use super::hold_clock::HoldClock;
use checkpoint::Checkpointer;
use codec::stored;
use days::Days;
use names::Names;
use outbox::Outbox;
use published::Published;
use roster::KeptRoster;
use runs::{RunIndex, RunSettings};
use space::{Level, Space};
use sweep::{Sweep, Swept};
use unswept::Unswept;

/// The file in the store's folder.
const FILE_NAME: &str = "outlay.db";
/// The file whose lock says that a process owns the folder.
pub const LOCK_NAME: &str = "lock";

/// How much is kept or done at once. A simulation makes them small, to meet what happens where they end.
#[derive(Debug, Clone, Copy)]
pub struct Sizes {
    /// Users kept in the writer's books between batches.
    pub books_users: usize,
    /// Sessions kept there.
    pub books_sessions: usize,
    /// Pages in the log that are worth a copy into the file.
    pub log_pages: i64,
    /// Rows of an erased person that one transaction wipes.
    pub wiped_rows: usize,
    /// Keys of a duplicate index that one transaction of idle time merges.
    pub merged_keys: u64,
    /// Operations that one transaction empties.
    pub trimmed_rows: usize,
    /// How much writing the rows of months is put off.
    pub sweep: SweepSizes,
}

impl Default for Sizes {
    fn default() -> Self {
        // 32,000 pages are 128 MB: the longer the log, the more batches share one copy of a page that all of them change.
        // Merging 2,000 keys takes some 2 ms, and so does emptying 200 rows.
        Self {
            books_users: 250_000,
            books_sessions: 100_000,
            log_pages: 32_000,
            wiped_rows: 200,
            merged_keys: 2_000,
            trimmed_rows: 200,
            sweep: SweepSizes { rows_at_once: 16, rows_while_idle: 256, operations_behind: 200_000 },
        }
    }
}

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where its files are.
    pub folder: PathBuf,
    /// What time it is.
    pub clock: SharedClock,
    /// The name of a SQLite VFS other than the machine's, for a simulation; then the folder is only a name, and nothing
    /// runs in threads of its own.
    pub vfs: Option<String>,
    /// Where randomness comes from; `None` is the machine's.
    pub seed: Option<u64>,
    /// Plans of the configuration, which replace those that are stored.
    pub plans: Option<Plans>,
    /// At what percentages of a limit alerts are raised.
    pub alerts: AlertThresholds,
    /// How the duplicate indexes trade memory for work.
    pub runs: RunSettings,
    /// Memory for pages of the file, in KiB.
    pub cache_kib: u32,
    /// What tells how much space there is, and keeps some; `None` where only a failed write can tell.
    pub volume: Option<Arc<dyn Volume>>,
    /// At how much free space less is taken.
    pub marks: Marks,
    /// How much is kept or done at once.
    pub sizes: Sizes,
    /// Which mails are sent.
    pub mail: MailTo,
    /// The webhooks of the configuration, in place of those that stood there before; `None` leaves those as they are.
    pub webhooks: Option<Vec<ConfiguredWebhook>>,
}

impl Settings {
    /// The usual settings.
    pub fn new(folder: PathBuf, clock: SharedClock) -> Self {
        Self {
            volume: Some(Arc::new(space::Folder(folder.clone()))),
            marks: Marks::default(),
            folder,
            clock,
            vfs: None,
            seed: None,
            plans: None,
            alerts: AlertThresholds::default(),
            runs: RunSettings::default(),
            // When pages of a tree change places, SQLite looks through all that it has in memory: more than this costs more
            // than it saves, since what is not here is in the system's memory.
            cache_kib: 65_536,
            sizes: Sizes::default(),
            mail: MailTo::default(),
            webhooks: None,
        }
    }
}

/// The writing half.
#[derive(Debug)]
pub struct EmbeddedStore {
    connection: Connection,
    file: tables::File,
    settings: Settings,
    shared: Arc<Shared>,
    books: Books,
    days: Days,
    sweep: Sweep,
    session_days: write::SessionDays,
    random: Pcg64,
    batch: u64,
    /// Whether the file has data that no checkpoint copied, beyond what is worth copying.
    checkpointer: Checkpointer,
    /// Column bytes of the row that is being written.
    bytes: Vec<u8>,
    space: Space,
    outbox: Outbox,
    /// Whether something of an erased person may be left to wipe.
    wiping: bool,
    /// Whether the log may say what was emptied.
    trimmed_log: bool,
    _lock: Option<std::fs::File>,
}

/// What the writer and the readers share.
#[derive(Debug)]
struct Shared {
    published: Published,
    roster: KeptRoster,
    unswept: Unswept,
    names: Names,
    operations: RwLock<RunIndex>,
    sessions: RwLock<RunIndex>,
    clock: HoldClock,
    identity: tables::Identity,
    feed: Arc<Feed>,
    /// Pages in the log after the last commit.
    log_pages: Arc<AtomicI64>,
    space: Arc<space::Seen>,
    /// How far operations are emptied.
    trimmed: Mutex<retention::Cursor>,
}

/// A durable batch on its way to readers.
#[derive(Debug)]
struct Publication {
    shared: Arc<Shared>,
    batch: u64,
    plans: Arc<Plans>,
    numbers: Numbers,
    written: Written,
    swept: Swept,
    /// Whom the batch tells something.
    receivers: Vec<Receiver>,
    /// The newest number of the audit log, where the batch added to it.
    audit_newest: Option<u64>,
}

/// What a batch changed.
#[derive(Debug)]
struct Changed {
    written: Written,
    swept: Swept,
    audit_newest: Option<u64>,
}

impl Publication {
    fn publish(mut self) {
        self.shared.unswept.publish(self.batch, self.swept.newer, &self.swept.written);
        self.shared.roster.publish(self.batch, &self.written.views, &self.written.erased);
        let feed = &self.shared.feed;
        let mut tidings = if feed.is_heard() { tidings(&mut self.written) } else { Tidings::default() };
        // Only while it is shown can be told who watches.
        tidings.plans = !self.written.plans.is_empty();
        let published = &self.shared.published;
        published.audit.grew(self.audit_newest);
        tidings.changed = published.publish(self.batch, &self.plans, self.numbers, self.written.views, feed);
        feed.tell(tidings);
        feed.post().put(self.receivers);
    }
}

/// What happened in a batch, beside the changes of its users.
fn tidings(written: &mut Written) -> Tidings {
    let users: Vec<(UserNo, &UserId)> =
        written.views.iter().filter_map(|(user_id, view)| view.user.as_ref().map(|user| (user.no, user_id))).collect();
    // Views come by number.
    let user_of = |no: UserNo| {
        let at = users.binary_search_by_key(&no, |(of, _)| *of).ok()?;
        users.get(at).map(|(_, user_id)| UserId::clone(user_id))
    };
    let alerts = std::mem::take(&mut written.alerts).into_iter();
    let alerts = alerts.filter_map(|alert| Some(Notice::Alert(user_of(alert.user_no)?, alert)));
    let denials = std::mem::take(&mut written.denials).into_iter();
    let denials = denials.filter_map(|denial| Some(Notice::Denial(user_of(denial.user_no)?, denial)));
    Tidings {
        notices: alerts.chain(denials).collect(),
        erased: written.erased.iter().map(|user| user.user_id.clone()).collect(),
        ..Tidings::default()
    }
}

impl EmbeddedStore {
    /// Holds stay in the books and the roster while they are open, so that neither a decision nor a budget reads them.
    fn load_open_holds(&mut self) -> Result<(), StoreError> {
        let mut by_user: std::collections::BTreeMap<UserNo, Vec<_>> = std::collections::BTreeMap::new();
        for session in load::open_holds(&self.connection, &self.shared.names)? {
            by_user.entry(session.user_no).or_default().push(session);
        }
        for (user_no, sessions) in by_user {
            let Some(user) = load::user(&self.connection, user_no)? else { continue };
            if !user.user_id.as_str().is_empty() {
                let mut held = Held::default();
                for session in &sessions {
                    held.insert(session);
                }
                self.shared.roster.begin(user_no, &Arc::new(held));
                self.books.load_user(user.user_id.clone(), Some(user));
                self.books.load_holds(user_no, sessions);
            }
        }
        Ok(())
    }

    fn now(&mut self) -> Now {
        Now { holds: self.shared.clock.now(), wall: self.shared.clock.wall(), entropy: self.random.next_u64() }
    }

    /// Commits and publishes a batch.
    fn commit_now(&mut self, batch: impl Into<Batch>) -> Result<Vec<Reply>, StoreError> {
        self.commit_unpublished(&batch.into())?.publish()
    }

    fn commit_unpublished(&mut self, batch: &Batch) -> Result<Committed, StoreError> {
        self.check_alive()?;
        let level = self.look_at_space()?;
        if level == Level::Full {
            return Err(StoreError::DiskFull);
        }
        self.connection.execute_batch("begin immediate").map_err(|error| self.poison(&error))?;
        self.shared.operations.write().begin_batch();
        self.shared.sessions.write().begin_batch();
        match self.decide_and_write(batch, level) {
            Ok((replies, changed)) => {
                let (publication, failure) = self.make_durable(changed)?;
                let committed = Committed::new(replies, move || {
                    if let Some(publication) = publication {
                        publication.publish();
                    }
                });
                Ok(if let Some(error) = failure { committed.but(error) } else { committed })
            }
            Err(error) => Err(self.roll_back(error)),
        }
    }

    fn decide_and_write(&mut self, batch: &Batch, level: Level) -> Result<(Vec<Reply>, Option<Changed>), StoreError> {
        let now = self.now();
        let mut replies = Vec::with_capacity(batch.commands.len());
        let mut events: Vec<Event> = Vec::new();
        for (place, (command, quiet)) in batch.iter().enumerate() {
            if let Some(error) = level.refuses(Urgency::of(command)) {
                replies.push(Err(CommandError::Store(error)));
                continue;
            }
            let mut may_miss_more = true;
            while may_miss_more {
                may_miss_more = false;
                for key in self.books.missing(command, now) {
                    may_miss_more |= self.load(key, now)?;
                }
            }
            let books = &self.books;
            // Deciding is pure, so a panic in it has changed nothing: it costs this one command.
            let decided = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decide(books, command, now)));
            let reply = decided.unwrap_or(Err(Rejection::Internal)).map(|decision| {
                if !quiet {
                    self.outbox.note(&self.books, command, &decision.changes, now);
                }
                let actor = batch.actor(place);
                events.extend(actor.and_then(|actor| of_decision(&self.books, command, &decision.changes, actor)));
                self.books.apply(decision.changes);
                decision.outcome
            });
            replies.push(reply.map_err(CommandError::from));
        }
        let written = self.books.take_written();
        if written.is_empty() {
            return Ok((replies, None));
        }
        self.batch += 1;
        let swept = self.write(&written, now)?;
        let audit_newest = audit::insert(&self.connection, now.wall, &events)?;
        self.wiping |= !written.erased.is_empty();
        Ok((replies, Some(Changed { written, swept, audit_newest })))
    }

    /// Loads a row into the books, and gives whether there is one.
    fn load(&mut self, key: Key, now: Now) -> Result<bool, StoreError> {
        let (connection, shared) = (&self.connection, &self.shared);
        let found = match key {
            Key::User(user_id) => {
                let user = load::user_by_id(connection, &user_id)?;
                let found = user.is_some();
                self.books.load_user(user_id, user);
                found
            }
            Key::UserByNo(no) => {
                let user = load::user(connection, no)?
                    .ok_or_else(|| StoreError::Corrupt(format!("user {} is not stored", no.0)))?;
                if user.user_id.as_str().is_empty() {
                    self.books.load_nobody(no);
                } else {
                    self.books.load_user(user.user_id.clone(), Some(user));
                }
                true
            }
            Key::Month(no, month) => {
                let row = match self.days.month((month, no)) {
                    Some(newer) => Some(newer.clone()),
                    None => load::month(connection, no, month)?,
                };
                let found = row.is_some();
                self.books.load_month(no, month, row);
                found
            }
            // All open holds are in the books from the start; a user who is not there has none.
            Key::Holds(no) => {
                self.books.load_holds(no, []);
                false
            }
            Key::Session(no, session_id) => {
                let session = load::session_by_id(connection, &shared.sessions.read(), no, &session_id, &shared.names)?;
                let found = session.is_some();
                self.books.load_session(no, session_id, session);
                found
            }
            Key::SessionByNo(no) => {
                let session = load::session(connection, no, &shared.names)?
                    .ok_or_else(|| StoreError::Corrupt(format!("session {} is not stored", no.0)))?;
                self.books.load_session(session.user_no, session.session_id.clone(), Some(session));
                true
            }
            Key::Operation(no, operation_id) => {
                let index = shared.operations.read();
                let operation = load::operation_by_id(connection, &index, no, &operation_id, &shared.names)?;
                let found = operation.is_some();
                self.books.load_operation(no, operation_id, operation);
                found
            }
            Key::Denial(no, session_id) => {
                let denial = load::recent_denial(connection, no, &session_id, now.wall, &shared.names)?;
                let found = denial.is_some();
                self.books.load_denial(no, session_id, denial);
                found
            }
        };
        Ok(found)
    }

    /// Commits the transaction, and gives what readers are to see of it, and what failed after it was durable.
    fn make_durable(
        &mut self,
        changed: Option<Changed>,
    ) -> Result<(Option<Publication>, Option<StoreError>), StoreError> {
        let shared = Arc::clone(&self.shared);
        // Readers ask the indexes under a lock, so that none sees a run that its snapshot does not have.
        let (mut operations, mut sessions) = (shared.operations.write(), shared.sessions.write());
        let Some(Changed { written, swept, audit_newest }) = changed else {
            operations.rollback_batch();
            sessions.rollback_batch();
            self.connection.execute_batch("rollback").map_err(|error| self.poison(&error))?;
            return Ok((None, None));
        };
        let stepped = operations.step(&self.connection).and_then(|()| sessions.step(&self.connection));
        let flushed = stepped.map_err(StoreError::from).and_then(|()| self.flush());
        if let Err(error) = flushed {
            drop((operations, sessions));
            return Err(self.roll_back(error));
        }
        if let Err(error) = self.connection.execute_batch("commit") {
            return Err(self.poison(&error));
        }
        operations.commit_batch();
        sessions.commit_batch();
        drop((operations, sessions));
        shared.names.committed();
        self.days.committed();
        self.session_days.committed();
        self.books.shrink(self.settings.sizes.books_users, self.settings.sizes.books_sessions);
        let checkpointed = self.checkpointer.after_commit(&self.connection, self.space.may_run_out());
        let failure = checkpointed.map_err(|error| self.poison(&error)).err();
        let plans = Arc::clone(self.books.plans());
        let receivers = self.outbox.take_receivers();
        let numbers = self.books.numbers();
        let publication =
            Publication { shared, batch: self.batch, plans, numbers, written, swept, receivers, audit_newest };
        Ok((Some(publication), failure))
    }

    /// Where space is short, the log gets its pages before COMMIT is called, so that a full disk can still be rolled back.
    fn flush(&self) -> Result<(), StoreError> {
        if self.settings.vfs.is_some() || self.space.may_run_out() {
            self.connection.cache_flush()?;
        }
        Ok(())
    }

    /// Undoes a batch before COMMIT was called. Only a full disk passes; after any other failed write nothing may be
    /// acknowledged any more.
    fn roll_back(&mut self, error: StoreError) -> StoreError {
        self.shared.operations.write().rollback_batch();
        self.shared.sessions.write().rollback_batch();
        self.roll_back_rows(error)
    }

    /// The same for a transaction that adds nothing to the duplicate indexes.
    fn roll_back_rows(&mut self, error: StoreError) -> StoreError {
        self.outbox.roll_back();
        if let Err(error) = self.connection.execute_batch("rollback")
            && !self.connection.is_autocommit()
        {
            return self.poison(&error);
        }
        if !matches!(error, StoreError::DiskFull) {
            return self.poison(&error);
        }
        self.space.ran_out();
        match self.forget_books() {
            Ok(()) => error,
            Err(error) => self.poison(&error),
        }
    }

    /// Drops every book, since some were changed by a batch that was rolled back.
    fn forget_books(&mut self) -> Result<(), StoreError> {
        let batch: i64 =
            self.connection.query_row("select value from meta where key = 'batch'", [], |row| row.get(0))?;
        self.batch = batch.cast_unsigned();
        let numbers = load::numbers(&self.connection)?;
        let plans = load::plans(&self.connection)?.with_alerts(self.books.plans().alerts().clone());
        self.books = Books::new(self.random.next_u64(), plans, numbers);
        let Behind { sweep, days } = Behind::read(&self.connection, &self.shared.names, last(&numbers))?;
        self.sweep.begin_again(sweep);
        self.days = days;
        self.session_days = write::SessionDays::default();
        self.load_open_holds()
    }

    fn poison(&self, error: &impl std::fmt::Display) -> StoreError {
        let problem = error.to_string();
        tracing::error!(problem, "a write failed: nothing is acknowledged any more, and the process ends");
        let mut not_ready = self.shared.published.not_ready.write();
        not_ready.get_or_insert_with(|| problem.clone());
        StoreError::OutcomeUnknown(problem)
    }

    /// Refuses everything after a failed write.
    fn check_alive(&self) -> Result<(), StoreError> {
        if let Some(problem) = self.checkpointer.problem() {
            return Err(self.poison(&problem));
        }
        match &*self.shared.published.not_ready.read() {
            Some(problem) => Err(StoreError::OutcomeUnknown(problem.clone())),
            None => Ok(()),
        }
    }

    /// Refuses what must not be begun: after a failed write, or when there is no space for it.
    fn check_writable(&mut self, urgency: Urgency) -> Result<(), StoreError> {
        self.check_alive()?;
        self.look_at_space()?.refuses(urgency).map_or(Ok(()), Err)
    }

    /// What may be written, by the space that there is.
    fn look_at_space(&mut self) -> Result<Level, StoreError> {
        if !self.space.look_is_due() {
            return Ok(self.space.level());
        }
        if self.space.wants_log_copied(self.checkpointer.uncopied_bytes())? {
            let copied = self.checkpointer.copy_now(&self.connection);
            copied.map_err(|error| self.poison(&error))?;
        }
        self.space.look(self.checkpointer.uncopied_bytes())
    }

    fn due_now(&self, max: usize) -> Result<Vec<SessionNo>, StoreError> {
        let now = i64::try_from(self.shared.clock.now().nanos()).unwrap_or(i64::MAX);
        let mut statement =
            self.connection.prepare_cached("select no from session where due <= ? order by due limit ?")?;
        let rows = statement.query_map((now, stored(max as u64)), |row| row.get::<_, i64>(0))?;
        Ok(rows.map(|no| no.map(|no| SessionNo(no.cast_unsigned()))).collect::<Result<_, _>>()?)
    }

    fn close_now(mut self) -> Result<(), StoreError> {
        match self.sweep_all() {
            // The next start adds up what the rows do not say.
            Ok(()) | Err(StoreError::DiskFull) => {}
            Err(error) => return Err(error),
        }
        // No moment may have come for it; without the list a copy that is restored would not know of it.
        if self.wiping && self.settings.vfs.is_none() {
            match self.list_erasures() {
                Ok(()) | Err(StoreError::DiskFull) => {}
                Err(error) => return Err(error),
            }
        }
        self.checkpointer.stop();
        let copy = || {
            let row = self.connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get::<_, i64>(0));
            row.optional().map_err(StoreError::from)
        };
        let copied = match copy() {
            Err(StoreError::DiskFull) if self.space.drop_reserve() => copy(),
            copied => copied,
        };
        let busy = match copied {
            // Nothing is lost: the next start copies the log.
            Err(StoreError::DiskFull) => {
                tracing::warn!("there is no space to copy the log into the file; it stays beside it");
                return Ok(());
            }
            copied => copied?,
        };
        tracing::debug!(?busy, "the store is closed");
        Ok(())
    }
}

impl Store for EmbeddedStore {
    async fn commit(&mut self, batch: Batch) -> Result<Committed, StoreError> {
        let Committed { replies, publication } = self.commit_unpublished(&batch)?;
        // Freeing so many small things takes a while, and the next batch need not wait for it.
        let publication = Box::new(move || {
            publication();
            drop(batch);
        });
        Ok(Committed { replies, publication })
    }

    async fn put(&mut self, record: Record, event: Option<Event>) -> Result<(), StoreError> {
        self.put_now(&record, event.as_ref())
    }

    async fn idle(&mut self) -> Result<bool, StoreError> {
        self.idle_now()
    }

    async fn trim(&mut self, before: Timestamp) -> Result<bool, StoreError> {
        self.trim_now(before)
    }

    async fn due(&mut self, max: usize) -> Result<Vec<SessionNo>, StoreError> {
        self.due_now(max)
    }

    fn backup(&mut self, to: PathBuf, done: tokio::sync::oneshot::Sender<Result<(), StoreError>>) {
        let file = self.file.clone();
        let copy = move || {
            // A caller who left does not need the answer.
            let _ = done.send(write::copy_to(&file, &to));
        };
        if self.settings.vfs.is_some() {
            copy();
        } else {
            checkpoint::spawn("outlay-backup", copy);
        }
    }

    async fn close(self) -> Result<(), StoreError> {
        self.close_now()
    }
}

#[cfg(test)]
mod tests;

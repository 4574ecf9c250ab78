//! The reading half: a few connections, each read in one snapshot that has been published.

mod lists;
mod operator;
mod outbox;
mod person;

use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::{Name, OperationId, OperationNo, SessionId, SessionNo, UserId, UserNo};
use outlay_core::ledger::UserView;
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::Operation;
use outlay_core::plan::{Plan, Plans};
use outlay_core::session::Session;
use outlay_core::user::{User, UserMonth};
use parking_lot::{Mutex, RwLock};
use rusqlite::{Connection, Transaction};

use super::days::{MonthKey, UnsweptMonth};
use super::runs::RunIndex;
use super::{Shared, codec, load, tables};
use crate::audit::Entry;
use crate::feed::{Feed, Place};
use crate::store::outbox::{DeliveriesQuery, Delivery, DueDelivery, EventKind, Receiver, Waiting, WebhookRecord};
use crate::store::{
    AuditQuery, ExportAt, Exported, Finding, History, KeyRecord, Missed, NoticesQuery, Of, Overview, OverviewQuery,
    Page, Person, PersonQuery, Reading, Reads, SecretRecord, SessionStats, SessionsQuery, StoreError, StoreStatus,
    UsageQuery, UsersPage, UsersQuery,
};

/// Connections that read at the same time.
const READERS_MAX: usize = 4;

/// How often a reader looks whether the batch that it saw is published.
const PUBLISHED_SOON: Duration = Duration::from_micros(50);

/// The readers of a store.
#[derive(Debug)]
pub(super) struct EmbeddedReads {
    inner: Arc<Inner>,
    /// Reads run beside the callers' thread; in a simulation they run in it.
    threaded: bool,
}

#[derive(Debug)]
pub(super) struct Inner {
    shared: Arc<Shared>,
    file: tables::File,
    idle: Mutex<Vec<Connection>>,
    permits: tokio::sync::Semaphore,
}

/// One snapshot of the file, none of it newer than what is published.
pub(super) struct Snapshot<'c> {
    pub(super) transaction: Transaction<'c>,
    /// The last batch that it shows.
    pub(super) batch: u64,
    pub(super) shared: &'c Shared,
    /// So that what is newer in memory than its file stays there.
    _reader: super::unswept::Reader<'c>,
}

/// What the duplicate index says of an id of a user.
#[derive(Debug, Default)]
struct Candidates {
    /// Who the user was then.
    user: Option<UserNo>,
    numbers: Vec<u64>,
}

impl EmbeddedReads {
    pub(super) fn new(shared: Arc<Shared>, file: tables::File, threaded: bool) -> Self {
        let permits = tokio::sync::Semaphore::new(READERS_MAX);
        Self { inner: Arc::new(Inner { shared, file, idle: Mutex::default(), permits }), threaded }
    }

    /// Runs a read on a connection of its own.
    fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Inner, &mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Reading<'_, T> {
        if !self.threaded {
            return Box::pin(std::future::ready(self.inner.with_connection(read)));
        }
        Box::pin(async move {
            let ended = |_| StoreError::Unavailable("the server is ending".to_owned());
            let _permit = self.inner.permits.acquire().await.map_err(ended)?;
            let inner = Arc::clone(&self.inner);
            tokio::task::spawn_blocking(move || inner.with_connection(read))
                .await
                .map_err(|error| StoreError::Unavailable(error.to_string()))?
        })
    }

    /// Runs a read in one snapshot.
    fn snapshot<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Snapshot<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Reading<'_, T> {
        self.read(move |inner, connection| read(&inner.snapshot(connection)?))
    }
}

impl Inner {
    fn with_connection<T>(
        &self,
        read: impl FnOnce(&Self, &mut Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => self.file.reader()?,
        };
        let result = read(self, &mut connection);
        // A connection that failed may be in any state.
        if result.is_ok() {
            self.idle.lock().push(connection);
        }
        result
    }

    /// Begins a snapshot. SQLite shows a commit a moment before it is published: that moment is waited for, so that no
    /// list is ahead of a budget.
    pub(super) fn snapshot<'c>(&'c self, connection: &'c mut Connection) -> Result<Snapshot<'c>, StoreError> {
        let reader = self.shared.unswept.reader(self.shared.published.batch());
        let transaction = connection.transaction()?;
        let batch: i64 = transaction
            .prepare_cached("select value from meta where key = 'batch'")?
            .query_row([], |row| row.get(0))?;
        let batch = batch.cast_unsigned();
        while self.shared.published.batch() < batch {
            // After a failed write nothing is published any more.
            if let Some(problem) = &*self.shared.published.not_ready.read() {
                return Err(StoreError::Unavailable(problem.clone()));
            }
            // A large batch takes some milliseconds to be shown.
            std::thread::sleep(PUBLISHED_SOON);
        }
        Ok(Snapshot { transaction, batch, shared: &self.shared, _reader: reader })
    }

    /// Runs a read that needs what is kept in memory as of the very batch that its snapshot shows. It gives nothing when
    /// a newer batch was published in between, and is then run again on a newer snapshot.
    fn with_memory<T>(
        &self,
        connection: &mut Connection,
        read: impl Fn(&Snapshot<'_>) -> Result<Option<T>, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            if let Some(found) = read(&self.snapshot(connection)?)? {
                return Ok(found);
            }
        }
    }
}

impl Candidates {
    /// Asks an index for an id among a user's. Its memory must not be newer than what is read of the file, so it is
    /// asked before a snapshot begins, by statements that each see the newest commit.
    fn find(connection: &Connection, index: &RwLock<RunIndex>, user_id: &UserId, id: &str) -> Result<Self, StoreError> {
        let Some(user) = load::user_by_id(connection, user_id)? else { return Ok(Self::default()) };
        let index = index.read();
        let numbers = index.candidates(connection, index.hash(user.no.0, id))?;
        Ok(Self { user: Some(user.no), numbers })
    }

    /// The numbers, if the user is still the same one.
    fn of(&self, user: UserNo) -> &[u64] {
        if self.user == Some(user) { &self.numbers } else { &[] }
    }
}

impl Snapshot<'_> {
    /// A month that is newer than this file's row of it.
    pub(super) fn unswept(&self, key: MonthKey) -> Option<Arc<UnsweptMonth>> {
        self.shared.unswept.get(self.batch, key)
    }

    /// A user's month.
    pub(super) fn month(&self, user_no: UserNo, month: Month) -> Result<Option<UserMonth>, StoreError> {
        match self.unswept((month, user_no)) {
            Some(newer) => Ok(Some(newer.month.clone())),
            None => load::month(&self.transaction, user_no, month),
        }
    }

    fn user(&self, user_id: &UserId) -> Result<Option<User>, StoreError> {
        load::user_by_id(&self.transaction, user_id)
    }

    fn session_among(
        &self,
        candidates: &Candidates,
        user: UserNo,
        session_id: &SessionId,
    ) -> Result<Option<Session>, StoreError> {
        for no in candidates.of(user) {
            let found = load::session(&self.transaction, SessionNo(*no), &self.shared.names)?;
            if let Some(found) = found.filter(|found| found.user_no == user && found.session_id == *session_id) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn operation_among(
        &self,
        candidates: &Candidates,
        user: UserNo,
        operation_id: &OperationId,
    ) -> Result<Option<Operation>, StoreError> {
        for no in candidates.of(user) {
            let found = load::operation(&self.transaction, OperationNo(*no), &self.shared.names)?;
            if let Some(found) = found.filter(|found| found.user_no == user && found.operation_id == *operation_id) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

impl Reads for EmbeddedReads {
    fn now(&self) -> Timestamp {
        self.inner.shared.clock.now()
    }

    fn wall(&self) -> Timestamp {
        self.inner.shared.clock.wall()
    }

    fn plans(&self) -> Arc<Plans> {
        self.inner.shared.published.plans()
    }

    fn view_in_memory(&self, user_id: &UserId, month: Month) -> Option<Arc<UserView>> {
        self.inner.shared.published.view(user_id, month)
    }

    fn view<'a>(&'a self, user_id: &'a UserId, month: Month) -> Reading<'a, Arc<UserView>> {
        if let Some(view) = self.view_in_memory(user_id, month) {
            return Box::pin(std::future::ready(Ok(view)));
        }
        let user_id = user_id.clone();
        self.read(move |inner, connection| {
            let published = &inner.shared.published;
            let changed_in = published.changed_in(&user_id);
            let view = Arc::new(inner.with_memory(connection, |snapshot| person::view(snapshot, &user_id, month))?);
            published.offer(&user_id, &view, changed_in);
            Ok(view)
        })
    }

    fn next_user<'a>(&'a self, _user_id: &'a UserId) -> Reading<'a, UserNo> {
        let next = self.inner.shared.published.numbers.lock().user;
        Box::pin(std::future::ready(Ok(next)))
    }

    fn any_erased<'a>(&'a self, _user_id: &'a UserId, numbers: Range<UserNo>) -> Reading<'a, bool> {
        let bounds = [numbers.start, numbers.end].map(|no| codec::stored(no.0));
        self.snapshot(move |snapshot| {
            let sql = "select exists(select 1 from erasure where user >= ? and user < ?)";
            Ok(snapshot.transaction.prepare_cached(sql)?.query_row(bounds, |row| row.get(0))?)
        })
    }

    fn usage(&self, query: UsageQuery) -> Reading<'_, Page<Operation>> {
        self.read(move |inner, connection| lists::usage(inner, connection, &query))
    }

    fn operation<'a>(&'a self, user_id: &'a UserId, operation_id: &'a OperationId) -> Reading<'a, Option<Operation>> {
        let (user_id, operation_id) = (user_id.clone(), operation_id.clone());
        self.read(move |inner, connection| {
            let candidates = Candidates::find(connection, &inner.shared.operations, &user_id, operation_id.as_str())?;
            let snapshot = inner.snapshot(connection)?;
            let Some(user) = snapshot.user(&user_id)? else { return Ok(None) };
            snapshot.operation_among(&candidates, user.no, &operation_id)
        })
    }

    fn person(&self, query: PersonQuery) -> Reading<'_, Person> {
        self.read(move |inner, connection| inner.with_memory(connection, |snapshot| person::whole(snapshot, &query)))
    }

    fn history<'a>(&'a self, user_id: &'a UserId, months: RangeInclusive<Month>) -> Reading<'a, History> {
        let user_id = user_id.clone();
        self.snapshot(move |snapshot| person::history(snapshot, &user_id, &months))
    }

    fn session<'a>(&'a self, user_id: &'a UserId, session_id: &'a SessionId) -> Reading<'a, Option<Session>> {
        let (user_id, session_id) = (user_id.clone(), session_id.clone());
        self.read(move |inner, connection| {
            let candidates = Candidates::find(connection, &inner.shared.sessions, &user_id, session_id.as_str())?;
            let snapshot = inner.snapshot(connection)?;
            let Some(user) = snapshot.user(&user_id)? else { return Ok(None) };
            snapshot.session_among(&candidates, user.no, &session_id)
        })
    }

    fn steps(&self, session: SessionNo, skip: u64, limit: usize) -> Reading<'_, Vec<Operation>> {
        self.snapshot(move |snapshot| lists::steps(snapshot, session, skip, limit))
    }

    fn sessions(&self, query: SessionsQuery) -> Reading<'_, Page<Of<Session>>> {
        self.snapshot(move |snapshot| lists::sessions(snapshot, &query))
    }

    fn denials(&self, query: NoticesQuery) -> Reading<'_, Page<Of<Denial>>> {
        self.snapshot(move |snapshot| lists::denials(snapshot, &query))
    }

    fn alerts(&self, query: NoticesQuery) -> Reading<'_, Page<Of<Alert>>> {
        self.snapshot(move |snapshot| lists::alerts(snapshot, &query))
    }

    fn overview(&self, query: OverviewQuery) -> Reading<'_, Overview> {
        self.read(move |inner, connection| {
            inner.with_memory(connection, |snapshot| operator::overview(snapshot, &query))
        })
    }

    fn users(&self, query: UsersQuery) -> Reading<'_, UsersPage> {
        self.read(move |inner, connection| inner.with_memory(connection, |snapshot| operator::users(snapshot, &query)))
    }

    fn users_on_plan(&self, plan: Plan, after: UserNo, limit: usize) -> Reading<'_, Vec<UserNo>> {
        self.snapshot(move |snapshot| operator::users_on_plan(snapshot, &plan, after, limit))
    }

    fn plans_to_recheck(&self) -> Reading<'_, Vec<Plan>> {
        self.snapshot(|snapshot| load::marked_plans(&snapshot.transaction))
    }

    fn users_by_plan(&self) -> Reading<'_, Vec<(Option<Name>, u64)>> {
        self.snapshot(operator::users_by_plan)
    }

    fn session_stats(&self, since: Day) -> Reading<'_, Vec<SessionStats>> {
        self.snapshot(move |snapshot| operator::session_stats(snapshot, since))
    }

    fn export<'a>(&'a self, user_id: &'a UserId, at: ExportAt) -> Reading<'a, (Vec<Exported>, Option<ExportAt>)> {
        let user_id = user_id.clone();
        self.snapshot(move |snapshot| person::export(snapshot, &user_id, at))
    }

    fn webhooks(&self) -> Arc<[WebhookRecord]> {
        Arc::clone(&self.inner.shared.published.webhooks.read())
    }

    fn deliveries_due(&self, to: Receiver, now: Timestamp, limit: usize) -> Reading<'_, Vec<DueDelivery>> {
        self.snapshot(move |snapshot| outbox::due(snapshot, to, now, limit))
    }

    fn receivers_waiting(&self) -> Reading<'_, Vec<(Receiver, Timestamp)>> {
        self.snapshot(outbox::receivers)
    }

    fn delivery_next_due(&self, to: Receiver) -> Reading<'_, Option<Timestamp>> {
        self.snapshot(move |snapshot| outbox::next_due(snapshot, to))
    }

    fn deliveries_waiting(&self) -> Reading<'_, Waiting> {
        self.snapshot(outbox::waiting)
    }

    fn deliveries(&self, query: DeliveriesQuery) -> Reading<'_, Page<Of<Delivery>>> {
        self.snapshot(move |snapshot| outbox::of_receiver(snapshot, &query))
    }

    fn deliveries_failed(&self, to: Receiver) -> Reading<'_, u64> {
        self.snapshot(move |snapshot| outbox::failed(snapshot, to))
    }

    fn deliveries_about(&self, kind: EventKind, numbers: Vec<u64>) -> Reading<'_, Vec<Delivery>> {
        self.snapshot(move |snapshot| outbox::about(snapshot, kind, &numbers))
    }

    fn delivery(&self, no: u64) -> Reading<'_, Option<Of<Delivery>>> {
        self.snapshot(move |snapshot| outbox::one(snapshot, no))
    }

    fn verify(&self) -> Reading<'_, Vec<Finding>> {
        self.read(super::verify::verify)
    }

    fn key(&self, digest: &[u8; 32]) -> Option<Arc<KeyRecord>> {
        self.inner.shared.published.keys.read().iter().find(|key| key.digest == *digest).map(Arc::clone)
    }

    fn keys(&self) -> Vec<Arc<KeyRecord>> {
        self.inner.shared.published.keys.read().clone()
    }

    fn secret(&self, name: &str) -> Option<Arc<SecretRecord>> {
        self.inner.shared.published.secrets.read().iter().find(|secret| secret.name == name).map(Arc::clone)
    }

    fn secrets(&self) -> Vec<Arc<SecretRecord>> {
        self.inner.shared.published.secrets.read().clone()
    }

    fn tokens_ended(&self, user_no: UserNo) -> Option<Timestamp> {
        self.inner.shared.published.token_ends.read().get(&user_no).copied()
    }

    fn audit(&self, query: AuditQuery) -> Reading<'_, Page<Of<Entry>>> {
        self.snapshot(move |snapshot| lists::audit(snapshot, &query))
    }

    fn audit_above(&self, no: u64, limit: usize) -> Reading<'_, Vec<Entry>> {
        self.snapshot(move |snapshot| super::audit::above(&snapshot.transaction, no, limit))
    }

    fn audit_newest(&self) -> (u64, u64) {
        self.inner.shared.published.audit.get()
    }

    fn missed<'a>(&'a self, _: Option<&'a UserId>, _: Option<Place>) -> Option<Reading<'a, Missed>> {
        None
    }

    fn feed(&self) -> &Arc<Feed> {
        &self.inner.shared.feed
    }

    fn deployment_id(&self) -> u128 {
        self.inner.shared.identity.deployment_id
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats, and none of these comes near 2^53")]
    fn status(&self) -> StoreStatus {
        let shared = &self.inner.shared;
        let numbers = *shared.published.numbers.lock();
        let space = shared.space.look();
        let trimmed = *shared.trimmed.lock();
        StoreStatus {
            backed_up_by: None,
            not_ready: shared.published.not_ready.read().clone(),
            promise: "acknowledged means on this machine's disk",
            operations: numbers.operation.0 - 1,
            users: numbers.user.0 - 1,
            sessions: numbers.session.0 - 1,
            trimmed: trimmed.no,
            trimmed_before: trimmed.before,
            clock_jump: shared.clock.doubts(),
            space_short: space.is_short,
            space_out: space.is_out,
            gauges: vec![
                (
                    "store_log_pages",
                    "Pages of 4 KiB in the log that are not yet, or not again, copied into the file",
                    shared.log_pages.load(Ordering::Relaxed) as f64,
                ),
                (
                    "store_months_in_memory",
                    "Months of users that are newer in memory than in the file, where operations say the rest",
                    shared.unswept.len() as f64,
                ),
                (
                    "store_users_in_memory",
                    "Users whose budgets are answered from memory",
                    shared.published.users() as f64,
                ),
                ("store_free_bytes", "Free space on the store's disk", space.free as f64),
                (
                    "store_space_short",
                    "1 while something is refused since space runs out",
                    f64::from(u8::from(space.is_short)),
                ),
                (
                    "store_starts",
                    "Goes up with each start of the store, and by more when a backup is restored",
                    shared.identity.epoch as f64,
                ),
            ],
        }
    }
}

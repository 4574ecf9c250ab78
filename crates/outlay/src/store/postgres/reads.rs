//! The reading half: each read in one snapshot of the database, which shows nothing that is not committed.

mod lists;
mod operator;
mod outbox;
pub(super) mod person;
mod verify;
mod views;

use std::future::Future;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;

use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::{Name, OperationId, SessionId, SessionNo, UserId, UserNo};
use outlay_core::ledger::UserView;
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::Operation;
use outlay_core::plan::{Plan, Plans};
use outlay_core::session::Session;

use super::connector::Connector;
use super::errors::unavailable;
use super::kept::{self, Age};
pub(super) use super::reader::{Transaction, rows};
use super::rows::{RowReader, damaged, stored};
use super::{Engine, joined, watch};
use crate::audit::Entry;
use crate::feed::{Feed, Place};
use crate::store::outbox::{DeliveriesQuery, Delivery, DueDelivery, EventKind, Receiver, Waiting, WebhookRecord};
use crate::store::{
    AuditQuery, ExportAt, Exported, Finding, History, KeyRecord, Missed, NoticesQuery, Of, Overview, OverviewQuery,
    Page, Person, PersonQuery, Reading, Reads, SecretRecord, SessionStats, SessionsQuery, StoreError, StoreStatus,
    UsageQuery, UsersPage, UsersQuery,
};

pub(super) use views::Views;
/// How long one read may take.
const READ_WAIT: Duration = Duration::from_secs(30);

/// The readers of a store.
#[derive(Debug)]
pub(super) struct PostgresReads {
    engine: Arc<Engine>,
}

/// Runs a read of several statements in one snapshot.
macro_rules! snapshot {
    ($engine:expr, |$snapshot:ident| $read:expr) => {{
        let mut reader = $engine.reader().await?;
        let $snapshot = reader.snapshot().await?;
        let read = $read.await?;
        // Nothing was written, so nothing can fail that matters.
        $snapshot.commit().await.map_err(unavailable)?;
        Ok(read)
    }};
}

/// Gives a read up that takes too long, or whose database is not the one to read from any more.
async fn unless_silent<T>(
    connector: &Connector,
    read: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let read = tokio::time::timeout(READ_WAIT, connector.unless_replaced(read)).await;
    read.unwrap_or_else(|_| {
        connector.distrust();
        Err(StoreError::Unavailable(format!("PostgreSQL did not answer within {} s", READ_WAIT.as_secs())))
    })
}

impl PostgresReads {
    pub(super) fn new(engine: Arc<Engine>) -> Self {
        Self { engine }
    }

    fn run<T, F>(&self, read: impl FnOnce(Arc<Engine>) -> F) -> Reading<'_, T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, StoreError>> + Send + 'static,
    {
        let engine = Arc::clone(&self.engine);
        let read = read(Arc::clone(&engine));
        let watched = async move { unless_silent(&engine.shared.connector, read).await };
        Box::pin(joined(self.engine.runtime().spawn(watched)))
    }
}

impl Reads for PostgresReads {
    fn now(&self) -> Timestamp {
        self.engine.shared.time()
    }

    fn wall(&self) -> Timestamp {
        self.engine.shared.time()
    }

    fn plans(&self) -> Arc<Plans> {
        self.engine.shared.plans()
    }

    /// Nothing is: another node may have changed it.
    fn view_in_memory(&self, _user_id: &UserId, _month: Month) -> Option<Arc<UserView>> {
        None
    }

    fn view<'a>(&'a self, user_id: &'a UserId, month: Month) -> Reading<'a, Arc<UserView>> {
        let user_id = user_id.clone();
        self.run(async move |engine| engine.views.view(user_id, month).await)
    }

    fn usage(&self, query: UsageQuery) -> Reading<'_, Page<Operation>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| lists::usage(&snapshot, &engine.shared, &query)))
    }

    fn operation<'a>(&'a self, user_id: &'a UserId, operation_id: &'a OperationId) -> Reading<'a, Option<Operation>> {
        let (user_id, operation_id) = (user_id.clone(), operation_id.clone());
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| person::operation(&snapshot, &engine.shared, &user_id, &operation_id))
        })
    }

    fn person(&self, query: PersonQuery) -> Reading<'_, Person> {
        self.run(async move |engine| snapshot!(engine, |snapshot| person::whole(&snapshot, &engine.shared, &query)))
    }

    fn history<'a>(&'a self, user_id: &'a UserId, months: RangeInclusive<Month>) -> Reading<'a, History> {
        let user_id = user_id.clone();
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| person::history_of(&snapshot, &engine.shared, &user_id, &months))
        })
    }

    fn session<'a>(&'a self, user_id: &'a UserId, session_id: &'a SessionId) -> Reading<'a, Option<Session>> {
        let (user_id, session_id) = (user_id.clone(), session_id.clone());
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| person::session(&snapshot, &engine.shared, &user_id, &session_id))
        })
    }

    fn steps(&self, session: SessionNo, skip: u64, limit: usize) -> Reading<'_, Vec<Operation>> {
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| lists::steps(&snapshot, &engine.shared, session, skip, limit))
        })
    }

    fn sessions(&self, query: SessionsQuery) -> Reading<'_, Page<Of<Session>>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| lists::sessions(&snapshot, &engine.shared, &query)))
    }

    fn denials(&self, query: NoticesQuery) -> Reading<'_, Page<Of<Denial>>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| lists::denials(&snapshot, &engine.shared, &query)))
    }

    fn alerts(&self, query: NoticesQuery) -> Reading<'_, Page<Of<Alert>>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| lists::alerts(&snapshot, &engine.shared, &query)))
    }

    fn overview(&self, query: OverviewQuery) -> Reading<'_, Overview> {
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| operator::overview(&snapshot, &engine.shared, &query))
        })
    }

    fn users(&self, query: UsersQuery) -> Reading<'_, UsersPage> {
        self.run(async move |engine| snapshot!(engine, |snapshot| operator::users(&snapshot, &engine.shared, &query)))
    }

    fn users_on_plan(&self, plan: Plan, after: UserNo, limit: usize) -> Reading<'_, Vec<UserNo>> {
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| operator::users_on_plan(&snapshot, &engine.shared, &plan, after, limit))
        })
    }

    fn plans_to_recheck(&self) -> Reading<'_, Vec<Plan>> {
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| operator::plans_to_recheck(&snapshot, &engine.shared))
        })
    }

    fn users_by_plan(&self) -> Reading<'_, Vec<(Option<Name>, u64)>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| operator::users_by_plan(&snapshot)))
    }

    fn session_stats(&self, since: Day) -> Reading<'_, Vec<SessionStats>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| operator::session_stats(&snapshot, since)))
    }

    fn export<'a>(&'a self, user_id: &'a UserId, at: ExportAt) -> Reading<'a, (Vec<Exported>, Option<ExportAt>)> {
        let user_id = user_id.clone();
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| person::export(&snapshot, &engine.shared, &user_id, at))
        })
    }

    fn webhooks(&self) -> Arc<[WebhookRecord]> {
        self.engine.shared.kept.webhooks()
    }

    fn deliveries_due(&self, to: Receiver, now: Timestamp, limit: usize) -> Reading<'_, Vec<DueDelivery>> {
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| outbox::due(&snapshot, &engine.shared, to, now, limit))
        })
    }

    fn take_deliveries(&self, to: Receiver, now: Timestamp, limit: usize) -> Reading<'_, Vec<DueDelivery>> {
        self.run(async move |engine| {
            let (shared, readers) = (&engine.shared, &engine.readers);
            kept::catch_up(shared, readers).await?;
            let taken = outbox::take(&engine.reader().await?, to, now, limit).await?;
            if let Receiver::Webhook(no) = to
                && !taken.is_empty()
                && !shared.kept.webhooks().iter().any(|webhook| webhook.no == no)
            {
                // Another node has only just added it: whoever sends would take it for one that is gone.
                kept::look_now(shared, readers).await?;
            }
            snapshot!(engine, |snapshot| outbox::with_subjects(&snapshot, &engine.shared, taken))
        })
    }

    fn receivers_waiting(&self) -> Reading<'_, Vec<(Receiver, Timestamp)>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| outbox::receivers(&snapshot)))
    }

    fn delivery_next_due(&self, to: Receiver) -> Reading<'_, Option<Timestamp>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| outbox::next_due(&snapshot, to)))
    }

    fn deliveries_waiting(&self) -> Reading<'_, Waiting> {
        self.run(async move |engine| snapshot!(engine, |snapshot| outbox::waiting(&snapshot)))
    }

    fn deliveries(&self, query: DeliveriesQuery) -> Reading<'_, Page<Of<Delivery>>> {
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| outbox::of_receiver(&snapshot, &engine.shared, &query))
        })
    }

    fn deliveries_failed(&self, to: Receiver) -> Reading<'_, u64> {
        self.run(async move |engine| snapshot!(engine, |snapshot| outbox::failed(&snapshot, to)))
    }

    fn deliveries_about(&self, kind: EventKind, numbers: Vec<u64>) -> Reading<'_, Vec<Delivery>> {
        self.run(async move |engine| {
            snapshot!(engine, |snapshot| outbox::about(&snapshot, &engine.shared, kind, &numbers))
        })
    }

    fn delivery(&self, no: u64) -> Reading<'_, Option<Of<Delivery>>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| outbox::delivery(&snapshot, &engine.shared, no)))
    }

    fn verify(&self) -> Reading<'_, Vec<Finding>> {
        let engine = Arc::clone(&self.engine);
        Box::pin(joined(self.engine.runtime().spawn(async move { verify::verify(&engine).await })))
    }

    /// Numbers of several buckets lie between each other, so which comes next is a matter of the id's bucket; and another
    /// node may just have given one out, so it is read.
    fn next_user<'a>(&'a self, user_id: &'a UserId) -> Reading<'a, UserNo> {
        let bucket = self.engine.shared.buckets().of_user(user_id);
        self.run(async move |engine| {
            let found = rows(&engine.reader().await?, person::NEXT_USER, &[&bucket]).await?;
            let row = found.first().ok_or_else(|| damaged("table bucket"))?;
            Ok(UserNo(RowReader::new(row).number()?))
        })
    }

    fn any_erased<'a>(&'a self, user_id: &'a UserId, numbers: Range<UserNo>) -> Reading<'a, bool> {
        let bucket = self.engine.shared.buckets().of_user(user_id);
        let [start, end] = [numbers.start, numbers.end].map(|no| stored(no.0));
        self.run(async move |engine| {
            let found = rows(&engine.reader().await?, person::ANY_ERASED, &[&bucket, &start, &end]).await?;
            let row = found.first().ok_or_else(|| damaged("whether a row exists"))?;
            row.try_get(0).map_err(unavailable)
        })
    }

    fn catch_up(&self) -> Option<Reading<'_, ()>> {
        let shared = &self.engine.shared;
        shared.used();
        let looking = async |engine: Arc<Engine>| kept::catch_up(&engine.shared, &engine.readers).await;
        match shared.kept.age(shared.settings.clock.monotonic_nanos()) {
            Age::Young => None,
            Age::Soon => {
                // Whoever finds it late tells of an error.
                self.engine.runtime().spawn(looking(Arc::clone(&self.engine)));
                None
            }
            Age::Late => Some(self.run(looking)),
        }
    }

    fn key(&self, digest: &[u8; 32]) -> Option<Arc<KeyRecord>> {
        self.engine.shared.kept.key(digest)
    }

    fn keys(&self) -> Vec<Arc<KeyRecord>> {
        self.engine.shared.kept.keys()
    }

    fn secret(&self, name: &str) -> Option<Arc<SecretRecord>> {
        self.engine.shared.kept.secret(name)
    }

    fn secrets(&self) -> Vec<Arc<SecretRecord>> {
        self.engine.shared.kept.secrets()
    }

    fn tokens_ended(&self, user_no: UserNo) -> Option<Timestamp> {
        self.engine.shared.kept.tokens_ended(user_no)
    }

    fn audit(&self, query: AuditQuery) -> Reading<'_, Page<Of<Entry>>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| lists::audit(&snapshot, &engine.shared, &query)))
    }

    fn audit_above(&self, no: u64, limit: usize) -> Reading<'_, Vec<Entry>> {
        self.run(async move |engine| snapshot!(engine, |snapshot| lists::audit_above(&snapshot, no, limit)))
    }

    fn audit_newest(&self) -> (u64, u64) {
        self.engine.shared.kept.audit_newest()
    }

    fn deployment_id(&self) -> u128 {
        self.engine.shared.identity.deployment_id
    }

    fn status(&self) -> StoreStatus {
        let (operations, users, sessions) = self.engine.shared.counts();
        let trimmed = *self.engine.shared.trimmed.lock();
        StoreStatus {
            not_ready: self.engine.shared.safety.not_ready(),
            promise: self.engine.shared.safety.promise(),
            backed_up_by: Some("pgBackRest or pg_dump"),
            operations,
            users,
            sessions,
            trimmed: trimmed.count,
            trimmed_before: trimmed.before,
            clock_jump: self.engine.shared.holds.doubts(),
            ..StoreStatus::default()
        }
    }

    fn missed<'a>(&'a self, user_id: Option<&'a UserId>, after: Option<Place>) -> Option<Reading<'a, Missed>> {
        let user_id = user_id.cloned();
        Some(self.run(async move |engine| watch::missed(&engine, user_id.as_ref(), after).await))
    }

    fn feed(&self) -> &Arc<Feed> {
        &self.engine.shared.feed
    }
}

//! The contract of a store: it commits batches of commands and answers reads. It never compares with a limit.
//!
//! A commit takes a batch, decides each command on loaded books ([`outlay_core::ledger`]), writes all that changed in one
//! transaction and makes it durable; then it is published to readers, and only then are the answers given. Readers see
//! published state. Publishing and answering may go on while the next batch is decided.

pub mod embedded;
mod hold_clock;
pub mod moving;
pub mod outbox;
mod packed;
pub mod postgres;
mod random;
pub mod records;

use std::future::Future;
use std::ops::{Range, RangeInclusive};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use outlay_core::alert::Alert;
use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::denial::Denial;
use outlay_core::id::{Name, OperationId, SessionId, SessionNo, UserId, UserNo};
use outlay_core::ledger::{Command, Outcome, Rejection, UserView};
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::{Operation, UsageType};
use outlay_core::plan::{Amounts, Plan, Plans};
use outlay_core::session::{Session, SessionStatus};
use outlay_core::user::{User, UserMonth};
use thiserror::Error;

use crate::audit::{Actor, Entry, Event};
use crate::feed::{Feed, Place};
use outbox::{Again, DeliveriesQuery, Delivery, DueDelivery, EventKind, Receiver, TriedRecord, Waiting, WebhookRecord};
pub use records::{KeyRecord, Role, SecretRecord};

/// We failed. What was asked may be tried again with the same ids.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// Space runs out, and is kept for facts: nothing was begun. Facts are still recorded.
    #[error("begin anything new: space runs out")]
    SpaceShort,
    /// No space left: nothing of the batch was recorded. Reads go on, and so does recording once there is space.
    #[error("write to the store: the disk is full")]
    DiskFull,
    /// Nothing was begun; try again.
    #[error("reach the store: {0}")]
    Unavailable(String),
    /// The batch may or may not be recorded; the same ids settle it.
    #[error("learn whether the batch was recorded: {0}")]
    OutcomeUnknown(String),
    /// What is stored cannot be read as what it should be.
    #[error("read the store: {0}")]
    Corrupt(String),
}

/// Why one command of a batch has no outcome, though others may have one. Nothing of it was done, but where the store
/// says [`StoreError::OutcomeUnknown`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandError {
    /// The ledger rejected it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The store could not take this one.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What one command of a batch came to.
pub type Reply = Result<Outcome, CommandError>;

/// How long a command is still taken when a store, or the queue before it, cannot take all: the least urgent give way first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// It would begin something that has cost nothing yet.
    Intent,
    /// It tells of something that has happened, or that was decided elsewhere.
    Fact,
    /// It ends something, or takes it back, which makes room.
    GivesBack,
}

impl Urgency {
    /// That of a command.
    pub fn of(command: &Command) -> Self {
        match command {
            Command::Open { .. } | Command::Extend { .. } | Command::AuditedCheck { .. } => Self::Intent,
            Command::Finish { .. } | Command::Expire { .. } | Command::Reverse { .. } => Self::GivesBack,
            Command::Record(operation) if operation.finish_session.is_some() => Self::GivesBack,
            Command::Record(_)
            | Command::Deny { .. }
            | Command::PutUser { .. }
            | Command::Erase { .. }
            | Command::PutPlan { .. }
            | Command::Recheck { .. } => Self::Fact,
        }
    }
}

/// A durable batch, of which readers see nothing yet. Batches must be published in their order.
#[must_use = "what is not published is seen by no reader"]
pub struct Committed {
    replies: Result<Vec<Reply>, StoreError>,
    publication: Box<dyn FnOnce() + Send>,
}

impl Committed {
    /// A batch with its replies, and what shows it to readers.
    pub fn new(replies: Vec<Reply>, publication: impl FnOnce() + Send + 'static) -> Self {
        Self { replies: Ok(replies), publication: Box::new(publication) }
    }

    /// The same batch where something failed after it was durable: readers are shown it, since the file has it, but
    /// nothing is acknowledged any more.
    pub fn but(self, error: StoreError) -> Self {
        Self { replies: Err(error), ..self }
    }

    /// What failed after the batch was durable.
    pub fn error(&self) -> Option<&StoreError> {
        self.replies.as_ref().err()
    }

    /// Shows the batch to readers, and gives the replies: nobody may have one before what it says can be read.
    ///
    /// # Errors
    /// When something failed after the batch was durable.
    pub fn publish(self) -> Result<Vec<Reply>, StoreError> {
        (self.publication)();
        self.replies
    }
}

impl std::fmt::Debug for Committed {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Committed")
            .field("replies", &self.replies.as_ref().map(Vec::len))
            .finish_non_exhaustive()
    }
}

/// Commands that are committed together.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The commands, in their order.
    pub commands: Vec<Command>,
    /// Of which nobody is told, by their places, ascending: what is imported or made up has happened elsewhere or never.
    pub quiet: Vec<Range<usize>>,
    /// Who asked for which of them, by its place, ascending: what these change is also written to the audit log. All others
    /// are what the application does all day, or the server by itself.
    pub by: Vec<(usize, Actor)>,
}

impl Batch {
    /// Adds commands at the end.
    pub fn add(&mut self, commands: &mut Vec<Command>, quiet: bool) {
        if quiet {
            self.quiet.push(self.commands.len()..self.commands.len() + commands.len());
        }
        self.commands.append(commands);
    }

    /// Who asked for the command at this place, where that is to be kept.
    pub fn actor(&self, place: usize) -> Option<&Actor> {
        // Nearly every batch has none.
        let at = self.by.binary_search_by_key(&place, |(of, _)| *of).ok()?;
        self.by.get(at).map(|(_, actor)| actor)
    }

    /// Each command with whether it is quiet.
    pub fn iter(&self) -> impl Iterator<Item = (&Command, bool)> {
        let mut quiet = self.quiet.iter().peekable();
        self.commands.iter().enumerate().map(move |(at, command)| {
            while quiet.peek().is_some_and(|range| range.end <= at) {
                quiet.next();
            }
            (command, quiet.peek().is_some_and(|range| range.contains(&at)))
        })
    }
}

/// Takes the next commands with their places, up to a change of plans. What comes after one is decided by it, whatever
/// its lane: so a change goes by itself, and is waited for.
pub fn until_plans_change(
    commands: &mut std::iter::Peekable<impl Iterator<Item = (usize, Command)>>,
) -> Vec<(usize, Command)> {
    let changes = |(_, command): &(usize, Command)| matches!(command, Command::PutPlan { .. });
    let mut taken: Vec<_> = commands.next().into_iter().collect();
    if !taken.iter().any(changes) {
        while let Some(next) = commands.next_if(|next| !changes(next)) {
            taken.push(next);
        }
    }
    taken
}

impl From<Vec<Command>> for Batch {
    fn from(commands: Vec<Command>) -> Self {
        Self { commands, ..Self::default() }
    }
}

/// One of several ways to a store's books, beside one another: one batch at a time goes through each.
pub trait Lane: Send + 'static {
    /// As [`Store::commit`].
    fn commit(&mut self, batch: Batch) -> Committing<'_>;
}

/// The future of a lane's commit.
pub type Committing<'a> = Pin<Box<dyn Future<Output = Result<Committed, StoreError>> + Send + 'a>>;

/// The lanes of a store, and who goes by which.
///
/// Commands about one user, and changes of plans, always have the same lane, so they are decided in the order in which they
/// were given to it. Between lanes there is no order but this: what is acknowledged is seen by every batch begun after
/// it, on whatever lane, of this process or of another.
pub struct Lanes {
    /// The lanes.
    pub all: Vec<Box<dyn Lane>>,
    /// The place of a command's lane, below their number.
    pub of: LaneOf,
    /// Where their tasks run.
    pub runtime: tokio::runtime::Handle,
}

/// Says by its place which lane a command takes.
pub type LaneOf = Arc<dyn Fn(&Command) -> usize + Send + Sync>;

impl std::fmt::Debug for Lanes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Lanes").field("all", &self.all.len()).finish_non_exhaustive()
    }
}

/// The writing half of a store. There is one per process; it owns the books.
pub trait Store: Send + 'static {
    /// The lanes by which commands may be committed beside one another, and beside all else that is asked of the store.
    /// `None` where all batches must go one after the other, through [`Store::commit`].
    fn lanes(&self) -> Option<Lanes> {
        None
    }

    /// Decides, writes and makes durable a batch; its replies come in its order when it is published, and each command has
    /// its own. An error means that nothing of the batch was acknowledged.
    fn commit(&mut self, batch: Batch) -> impl Future<Output = Result<Committed, StoreError>> + Send;

    /// Writes a record that no rule decides about, and in the same transaction what the audit log says of it.
    fn put(&mut self, record: Record, event: Option<Event>) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether this process must not go on writing after this error. Where nobody else writes, only the next start can tell
    /// what became of what is not known to be recorded; where others do, they go on, and the next try with the same ids
    /// tells.
    fn ends_by(error: &StoreError) -> bool {
        matches!(error, StoreError::OutcomeUnknown(_) | StoreError::Corrupt(_))
    }

    /// Uses a moment without commands: one slice of merging or wiping. Gives whether there is more to do.
    fn idle(&mut self) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Empties some of the operations that were recorded before an instant, and that are not emptied yet, of their details
    /// ([`Operation::without_details`]): one durable transaction, short enough for a command that comes meanwhile. Where its
    /// rows lay is overwritten, at the latest when no more is due. Gives whether there is more to do. What is emptied stays
    /// emptied, and no operation is emptied before one that was recorded before it.
    ///
    /// [`Operation::without_details`]: outlay_core::operation::Operation::without_details
    fn trim(&mut self, before: Timestamp) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// The sessions in progress whose time is up at the store's clock, at most `max`.
    fn due(&mut self, max: usize) -> impl Future<Output = Result<Vec<SessionNo>, StoreError>> + Send;

    /// Copies the whole store, as of now, into a new file, and answers through `done`; the writer goes on meanwhile.
    fn backup(&mut self, to: std::path::PathBuf, done: tokio::sync::oneshot::Sender<Result<(), StoreError>>);

    /// The last words: all is written, and the store is closed cleanly.
    fn close(self) -> impl Future<Output = Result<(), StoreError>> + Send;
}

/// A record that no rule decides about.
#[derive(Debug, Clone)]
pub enum Record {
    /// A new key.
    Key(KeyRecord),
    /// A key that ends now.
    RevokeKey {
        /// The key's id.
        id: String,
        /// When.
        at: Timestamp,
    },
    /// A sealed secret, new or in place of the one of its name.
    Secret(SecretRecord),
    /// A sealed secret, unless there is one of its name.
    FirstSecret(SecretRecord),
    /// The secret of this name is gone.
    RemoveSecret(String),
    /// Tokens of a user that were made up to this instant are good no more.
    EndTokens {
        /// Whose.
        user_no: UserNo,
        /// The last instant of a token that is ended.
        until: Timestamp,
    },
    /// Nothing but what the audit log says.
    Events(Vec<Event>),
    /// The audit log is copied to where its copy goes, up to this number.
    AuditCopied(u64),
    /// The users of this plan were looked at: it is marked no more, unless it has changed again.
    PlanRechecked(Plan),
    /// A new webhook with its secret; its number is given by the store.
    Webhook(WebhookRecord, SecretRecord),
    /// A webhook is taken away: what waits for it is not sent any more.
    DeleteWebhook {
        /// Its number.
        no: u64,
        /// When.
        at: Timestamp,
    },
    /// Sealed secrets, all or none.
    Secrets(Vec<SecretRecord>),
    /// What became of tries.
    Tried(Vec<TriedRecord>, Timestamp),
    /// Deliveries that are sent again.
    Again(Again, Timestamp),
    /// A delivery that tells of nothing.
    TestDelivery(Receiver, Timestamp),
}

/// The future of a read.
pub type Reading<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// One page of a list: at most `limit` items that come after the cursor, newest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageOf {
    /// Go on below this number, whosever row it is; `None` begins at the newest.
    pub before: Option<u64>,
    /// At most so many items, 1 to 1,000.
    pub limit: usize,
}

/// Items, and where to go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The items, newest first.
    pub items: Vec<T>,
    /// The [`PageOf::before`] of the next page; `None` at the end. A filtered page may be short, or empty, and have one.
    pub next: Option<u64>,
}

/// What to list of a user's operations.
#[derive(Debug, Clone)]
pub struct UsageQuery {
    /// Whose.
    pub user_id: UserId,
    /// Only of this month.
    pub month: Option<Month>,
    /// Only of this feature.
    pub feature: Option<Name>,
    /// Only of this type.
    pub usage_type: Option<UsageType>,
    /// Only of this session.
    pub session_id: Option<SessionId>,
    /// Which page.
    pub page: PageOf,
}

/// What to list of sessions.
#[derive(Debug, Clone)]
pub struct SessionsQuery {
    /// Whose; `None` = everybody's.
    pub user_id: Option<UserId>,
    /// Only in this status.
    pub status: Option<SessionStatus>,
    /// Only of this feature.
    pub feature: Option<Name>,
    /// Only created at or after this instant.
    pub from: Option<Timestamp>,
    /// Only created before this instant.
    pub to: Option<Timestamp>,
    /// Which page.
    pub page: PageOf,
}

/// What to list of denials or alerts.
#[derive(Debug, Clone)]
pub struct NoticesQuery {
    /// Whose; `None` = everybody's.
    pub user_id: Option<UserId>,
    /// Only of this month: that in which a denial was recorded, or whose limit an alert is about.
    pub month: Option<Month>,
    /// Which page.
    pub page: PageOf,
}

/// What to list of the audit log.
#[derive(Debug, Clone)]
pub struct AuditQuery {
    /// Only what was done to this user.
    pub user_id: Option<UserId>,
    /// The same by number, which an erased user still has.
    pub user_no: Option<UserNo>,
    /// Only this action.
    pub action: Option<&'static str>,
    /// Only what this one did.
    pub who: Option<String>,
    /// Only at or after this instant.
    pub from: Option<Timestamp>,
    /// Only before this instant.
    pub to: Option<Timestamp>,
    /// Which page.
    pub page: PageOf,
}

/// A row with the id of its user, unless they were erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Of<T> {
    /// Whose; `None` = an erased user's, or nobody's.
    pub user_id: Option<UserId>,
    /// The row.
    pub row: T,
}

/// A user's months and days, of one snapshot.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// The months that exist, ascending.
    pub months: Vec<UserMonth>,
    /// The sums of each day and combination, days ascending; within a day in no particular order.
    pub days: Vec<(Day, Dimensions, Sums)>,
}

/// What to read of one user at once.
#[derive(Debug, Clone)]
pub struct PersonQuery {
    /// Who.
    pub user_id: UserId,
    /// The months of the history; the last one is the one that is shown.
    pub months: RangeInclusive<Month>,
    /// Which operations of the shown month.
    pub usage: PageOf,
    /// The newest sessions, denials and alerts, each at most so many.
    pub newest: usize,
}

/// One user, of one snapshot.
#[derive(Debug, Clone)]
pub struct Person {
    /// The instant of the snapshot.
    pub as_of: Timestamp,
    /// Who, with the month that is shown.
    pub view: UserView,
    /// Their months and days.
    pub history: History,
    /// Operations of the month that is shown.
    pub usage: Page<Operation>,
    /// Their newest sessions, of any month.
    pub sessions: Vec<Session>,
    /// Their newest denials, of any month.
    pub denials: Vec<Denial>,
    /// Their newest alerts, of any month.
    pub alerts: Vec<Alert>,
}

/// What to read of everybody at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OverviewQuery {
    /// The month that is shown.
    pub month: Month,
    /// Day sums also of so many months before it.
    pub months_before: u32,
    /// The newest alerts and denials of the month, each at most so many; 0 reads none.
    pub newest: usize,
}

/// What the operator sees of one month, of one snapshot.
#[derive(Debug, Clone)]
pub struct Overview {
    /// The instant of the snapshot.
    pub as_of: Timestamp,
    /// The plans that hold.
    pub plans: Arc<Plans>,
    /// The sums over all users, erased ones too, of each day and combination, days ascending: of the month, and of as
    /// many before as were asked for.
    pub days: Vec<(Day, Dimensions, Sums)>,
    /// Held now, over all users.
    pub held: outlay_core::plan::PerMeter<i128>,
    /// Sessions in progress now.
    pub open_sessions: u64,
    /// Users with an operation in the month: those that [`UsersQuery::active`] lists. Here, among the states and the top
    /// users, erased ones are left out.
    pub active_users: u64,
    /// Erased users with an operation in the month: they are listed nowhere, and are in the sums.
    pub erased_users: u64,
    /// Users with an operation in the month before.
    pub active_users_before: u64,
    /// Users with an operation in the month by state of their budget: ok, warning, critical, reached.
    pub states: [u64; 4],
    /// The users whose operations of the month cost most, at most ten, the most first and among equals by id.
    pub top_users: Vec<UserItem>,
    /// The newest alerts of the month.
    pub alerts: Vec<Of<Alert>>,
    /// The newest denials of the month.
    pub denials: Vec<Of<Denial>>,
}

/// How the list of users is sorted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UserSort {
    /// By cost of the month.
    Cost,
    /// By the highest percentage of a limit, in hundredths; 0 when nothing is limited.
    Percent,
    /// By AI runs of the month.
    AiRuns,
    /// By API runs of the month.
    ApiRuns,
    /// By when the last operation of the month was recorded, in nanoseconds; 0 when there is none.
    LastSeen,
    /// By id.
    UserId,
}

/// Where a sorted list of users goes on: after this key, and among equals after this id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsersAfter {
    /// The sort key of the last user listed; 0 when sorted by id.
    pub key: i128,
    /// The last user listed.
    pub user_id: UserId,
}

/// What to list of users: everybody who is known, at zero without an operation in the month. Among equal keys ids ascend;
/// sorted by id, they go in the direction asked for.
#[derive(Debug, Clone)]
pub struct UsersQuery {
    /// The month that is shown.
    pub month: Month,
    /// By what.
    pub sort: UserSort,
    /// The largest first.
    pub descending: bool,
    /// Only those with an operation in the month.
    pub active: bool,
    /// Only in this state.
    pub state: Option<outlay_core::budget::State>,
    /// Only those for whom this plan holds.
    pub plan: Option<Name>,
    /// Only those whose id begins like this.
    pub prefix: Option<String>,
    /// Go on after this one.
    pub after: Option<UsersAfter>,
    /// At most so many, 1 to 1,000.
    pub limit: usize,
}

/// A user in a list, with one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserItem {
    /// The user.
    pub user: Arc<User>,
    /// The month shown.
    pub month: UserMonth,
    /// What is held in that month.
    pub held: Amounts,
}

/// A page of users.
#[derive(Debug, Clone)]
pub struct UsersPage {
    /// The users.
    pub items: Vec<UserItem>,
    /// Where to go on; `None` at the end.
    pub next: Option<UsersAfter>,
}

/// Sums over the sessions of one feature that were opened in some days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionStats {
    /// The feature.
    pub feature: Name,
    /// How many by status: in progress, completed, failed, abandoned.
    pub count: [u64; 4],
    /// What they cost.
    pub cost: outlay_core::money::UsdSum,
    /// Their steps.
    pub steps: u64,
    /// From creation to the end, of those that ended, in milliseconds.
    pub duration_ms: u64,
}

/// One row of a user's export.
#[derive(Debug, Clone)]
pub enum Exported {
    /// The user.
    User(Arc<User>),
    /// An operation.
    Operation(Box<Operation>),
    /// A session.
    Session(Box<Session>),
    /// A denial.
    Denial(Box<Denial>),
    /// An alert.
    Alert(Box<Alert>),
}

/// Where an export goes on; it begins at the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ExportAt {
    /// The user's row.
    #[default]
    User,
    /// Sessions, newest first, below this number.
    Sessions(Option<u64>),
    /// Operations, newest first, below this number.
    Operations(Option<u64>),
    /// Denials, likewise.
    Denials(Option<u64>),
    /// Alerts, likewise.
    Alerts(Option<u64>),
}

/// What somebody missed who watched a user before, of one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missed {
    /// Where the snapshot is: all that comes later has a later place.
    pub place: Place,
    /// The user's alerts since they were here, in their order; none where that place is not known any more.
    pub alerts: Vec<(Place, Alert)>,
}

/// Something that `verify` found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Where: the kind of row and its key, such as `operation 17` or `month 2025-10 of user 3`.
    pub place: String,
    /// What is wrong, with what was expected and what is there.
    pub problem: String,
}

/// What a store can say of itself.
#[derive(Debug, Clone, Default)]
pub struct StoreStatus {
    /// Why it takes no writes; `None` when it does.
    pub not_ready: Option<String>,
    /// What an acknowledgement promises, in words.
    pub promise: &'static str,
    /// What backs it up, where it does not copy itself.
    pub backed_up_by: Option<&'static str>,
    /// Operations recorded so far.
    pub operations: u64,
    /// Users seen so far.
    pub users: u64,
    /// Sessions seen so far.
    pub sessions: u64,
    /// Operations that are emptied of their details.
    pub trimmed: u64,
    /// Every operation that was recorded before this instant is; `None` where none ever was.
    pub trimmed_before: Option<Timestamp>,
    /// Whether a forward jump of the wall clock is not believed yet.
    pub clock_jump: bool,
    /// Whether something is refused since space runs out.
    pub space_short: bool,
    /// Whether there is now too little space to record anything.
    pub space_out: bool,
    /// Figures for `/metrics`: name without the prefix `outlay_`, help, value.
    pub gauges: Vec<(&'static str, &'static str, f64)>,
}

/// The reading half of a store: any number of readers, all on published state.
pub trait Reads: Send + Sync + std::fmt::Debug + 'static {
    /// The store's clock: never behind what it decided at. It decides holds and the current month.
    fn now(&self) -> Timestamp;

    /// The wall clock that rows are stamped by, and deliveries fall due by: the same for all who share a store.
    fn wall(&self) -> Timestamp;

    /// The plans that hold.
    fn plans(&self) -> Arc<Plans>;

    /// What is in memory of a user, with this month; the fast path of `afford` and `budget`.
    fn view_in_memory(&self, user_id: &UserId, month: Month) -> Option<Arc<UserView>>;

    /// A user, with this month.
    fn view<'a>(&'a self, user_id: &'a UserId, month: Month) -> Reading<'a, Arc<UserView>>;

    /// A user's operations.
    fn usage(&self, query: UsageQuery) -> Reading<'_, Page<Operation>>;

    /// One operation of a user.
    fn operation<'a>(&'a self, user_id: &'a UserId, operation_id: &'a OperationId) -> Reading<'a, Option<Operation>>;

    /// All that is shown of one user, of one snapshot.
    fn person(&self, query: PersonQuery) -> Reading<'_, Person>;

    /// A user's months and days.
    fn history<'a>(&'a self, user_id: &'a UserId, months: RangeInclusive<Month>) -> Reading<'a, History>;

    /// One session of a user.
    fn session<'a>(&'a self, user_id: &'a UserId, session_id: &'a SessionId) -> Reading<'a, Option<Session>>;

    /// A session's steps after the first `skip`, in order of recording, at most `limit` (1 to 1,000).
    fn steps(&self, session: SessionNo, skip: u64, limit: usize) -> Reading<'_, Vec<Operation>>;

    /// Sessions.
    fn sessions(&self, query: SessionsQuery) -> Reading<'_, Page<Of<Session>>>;

    /// Denials.
    fn denials(&self, query: NoticesQuery) -> Reading<'_, Page<Of<Denial>>>;

    /// Alerts.
    fn alerts(&self, query: NoticesQuery) -> Reading<'_, Page<Of<Alert>>>;

    /// The operator's month.
    fn overview(&self, query: OverviewQuery) -> Reading<'_, Overview>;

    /// Users, sorted.
    fn users(&self, query: UsersQuery) -> Reading<'_, UsersPage>;

    /// Users for whom a plan holds by number, above `after`, at most `limit`, and none at the end: for rechecking alerts
    /// after a plan's limits changed.
    fn users_on_plan(&self, plan: Plan, after: UserNo, limit: usize) -> Reading<'_, Vec<UserNo>>;

    /// The plans that are marked: each that was changed, and whose users were not all looked at since.
    fn plans_to_recheck(&self) -> Reading<'_, Vec<Plan>>;

    /// How many users there are with each plan of their own; `None` follows the default plan.
    fn users_by_plan(&self) -> Reading<'_, Vec<(Option<Name>, u64)>>;

    /// Sums over the sessions opened since this day, in the order of the features' names.
    fn session_stats(&self, since: Day) -> Reading<'_, Vec<SessionStats>>;

    /// The next rows of a user's export and where to go on; `None` at the end. Nothing for an unknown user.
    fn export<'a>(&'a self, user_id: &'a UserId, at: ExportAt) -> Reading<'a, (Vec<Exported>, Option<ExportAt>)>;

    /// The webhooks that there are, by number.
    fn webhooks(&self) -> Arc<[WebhookRecord]>;

    /// Deliveries to a receiver that are due by now, the longest due first, at most so many.
    fn deliveries_due(&self, to: Receiver, now: Timestamp, limit: usize) -> Reading<'_, Vec<DueDelivery>>;

    /// The same for who sends them: no other process is given them while this one is at it. What becomes of them is to be
    /// noted with [`Record::Tried`]; what a process that ends leaves is given to another after a while.
    fn take_deliveries(&self, to: Receiver, now: Timestamp, limit: usize) -> Reading<'_, Vec<DueDelivery>> {
        self.deliveries_due(to, now, limit)
    }

    /// Whom anything waits to be told, and when the first of it is due.
    fn receivers_waiting(&self) -> Reading<'_, Vec<(Receiver, Timestamp)>>;

    /// When the next delivery to a receiver is due.
    fn delivery_next_due(&self, to: Receiver) -> Reading<'_, Option<Timestamp>>;

    /// How much waits to be sent.
    fn deliveries_waiting(&self) -> Reading<'_, Waiting>;

    /// Deliveries to a receiver.
    fn deliveries(&self, query: DeliveriesQuery) -> Reading<'_, Page<Of<Delivery>>>;

    /// How many deliveries to a receiver failed.
    fn deliveries_failed(&self, to: Receiver) -> Reading<'_, u64>;

    /// Deliveries that tell of the rows with these numbers, in their order.
    fn deliveries_about(&self, kind: EventKind, numbers: Vec<u64>) -> Reading<'_, Vec<Delivery>>;

    /// One delivery.
    fn delivery(&self, no: u64) -> Reading<'_, Option<Of<Delivery>>>;

    /// Proves every counter from the operations.
    fn verify(&self) -> Reading<'_, Vec<Finding>>;

    /// Whoever is first seen with this id from now on is given this number, or a later one.
    fn next_user<'a>(&'a self, user_id: &'a UserId) -> Reading<'a, UserNo>;

    /// Whether somebody with one of these numbers was erased who may have had this id.
    fn any_erased<'a>(&'a self, user_id: &'a UserId, numbers: Range<UserNo>) -> Reading<'a, bool>;

    /// What is to be waited for before anything that is in memory is believed: plans, keys, secrets, ends of tokens, webhooks,
    /// and how far the audit log goes. `None` where it shows what any process had changed two seconds ago.
    fn catch_up(&self) -> Option<Reading<'_, ()>> {
        None
    }

    /// The key whose SHA-256 is this, revoked or not.
    fn key(&self, digest: &[u8; 32]) -> Option<Arc<KeyRecord>>;

    /// All keys, the oldest first.
    fn keys(&self) -> Vec<Arc<KeyRecord>>;

    /// The sealed secret of this name.
    fn secret(&self, name: &str) -> Option<Arc<SecretRecord>>;

    /// All sealed secrets, by name.
    fn secrets(&self) -> Vec<Arc<SecretRecord>>;

    /// The last instant of which a user's tokens were ended; `None` where they never were, or where no token can be so old.
    fn tokens_ended(&self, user_no: UserNo) -> Option<Timestamp>;

    /// The audit log.
    fn audit(&self, query: AuditQuery) -> Reading<'_, Page<Of<Entry>>>;

    /// The entries of the audit log above a number, ascending, at most `limit`.
    fn audit_above(&self, no: u64, limit: usize) -> Reading<'_, Vec<Entry>>;

    /// The newest number of the audit log, and the last that was copied to where its copy goes; 0 where there is none.
    fn audit_newest(&self) -> (u64, u64);

    /// A random number given to this store when it was made; tokens and cursors of another store are told by it.
    fn deployment_id(&self) -> u128;

    /// What the store can say of itself.
    fn status(&self) -> StoreStatus;

    /// For somebody who has just begun to watch a user, or everybody: what was missed since a place, where the store itself
    /// counts what happens to a user. From then on it tells [`Reads::feed`] also what other processes change, for as long as
    /// anybody watches. `None` where the feed counts, and remembers.
    fn missed<'a>(&'a self, user_id: Option<&'a UserId>, after: Option<Place>) -> Option<Reading<'a, Missed>>;

    /// Where the store tells of every batch, once it is published: those of this process, and of any other that it hears of.
    fn feed(&self) -> &Arc<Feed>;
}

/// Checks a copied store file before it is put in place.
///
/// # Errors
/// When it is no store of this program, or of a newer version.
pub fn check_backup(file: &Path) -> Result<(), StoreError> {
    embedded::check_backup(file)
}

#[cfg(test)]
pub(crate) mod tests;

//! The rules: what a command does to the books, decided without touching them.
//!
//! [`decide`] looks at [`Books`] and a [`Command`] and gives a [`Decision`] or a [`Rejection`]; [`Books::apply`] carries
//! a decision out, so that the next command sees it. A store loads what [`Books::missing`] names before deciding, and
//! writes what [`Books::take_written`] gives after a batch. Only this module says yes or no.

mod books;
mod sessions;
mod usage;
mod users;
pub mod verify;

use std::sync::Arc;

use thiserror::Error;

pub use books::{Books, Held, Key, Numbers, UserView, Written, budget};
pub use sessions::{Check, check};

use crate::alert::Alert;
use crate::budget::{Budget, Failed};
use crate::denial::{Denial, Reason};
use crate::id::{Label, Name, OperationId, SessionId, SessionNo, UserId, UserNo};
use crate::month::{Month, Timestamp};
use crate::operation::{NewOperation, Operation};
use crate::plan::{Amounts, Limits, Meter, Overrides, Plan};
use crate::session::{Ask, Finish, Session, last_month};
use crate::user::{User, UserMonth};

/// The time and the randomness of one batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// The store's clock, which never runs backward: it decides holds.
    pub holds: Timestamp,
    /// The wall clock: the default of an operation's timestamp, and `recordedAt`.
    pub wall: Timestamp,
    /// Random bits, for the tags of new users.
    pub entropy: u64,
}

impl Now {
    /// The months in which steps may be booked until `expires_at` of the store's clock. A step without a time of its own is
    /// booked by the wall clock, which may be in another month: behind, when it was set back, or ahead, while the store's
    /// clock does not believe it.
    pub fn months_until(&self, expires_at: Timestamp) -> (Month, Month) {
        let wall = self.wall.month();
        (self.holds.month().min(wall), last_month(expires_at).max(wall))
    }
}

/// What somebody wants done. Every command may be repeated: the second time changes nothing, or is a [`Rejection`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Record an operation: a fact, never refused for its cost.
    Record(Box<NewOperation>),
    /// Take an operation back.
    Reverse {
        /// Whose.
        user_id: UserId,
        /// The operation to take back.
        original: OperationId,
        /// The reversal's own id, made at the edge when none was given.
        operation_id: OperationId,
        /// Why.
        reason: Option<Label>,
    },
    /// Open a session with a hold: an intent, refused when it does not fit.
    Open {
        /// Whose.
        user_id: UserId,
        /// The session, made at the edge when none was given.
        session_id: SessionId,
        /// What it is for.
        feature: Name,
        /// What to set aside.
        ask: Ask,
        /// For how long, 1 to 86,400.
        hold_seconds: i64,
        /// The application's own JSON object.
        metadata: Option<Arc<str>>,
    },
    /// Hold on for longer, or hold another total.
    Extend {
        /// Whose.
        user_id: UserId,
        /// Which session.
        session_id: SessionId,
        /// From now on, 1 to 86,400.
        hold_seconds: i64,
        /// The hold's new total; absent = as it is.
        estimate: Option<Amounts>,
    },
    /// Finish a session and give back the rest of its hold.
    Finish {
        /// Whose.
        user_id: UserId,
        /// Which session.
        session_id: SessionId,
        /// How it went.
        finish: Finish,
        /// Why it failed.
        error: Option<Label>,
    },
    /// Abandon a session whose time is up; the sweeper's command, nothing if it is not due any more.
    Expire {
        /// Which session.
        session_no: SessionNo,
    },
    /// Check whether something fits, and keep a denial if not.
    AuditedCheck {
        /// Whose.
        user_id: UserId,
        /// What it is for.
        feature: Name,
        /// What it would use.
        ask: Ask,
    },
    /// Keep a denial that the application made.
    Deny {
        /// Whose.
        user_id: UserId,
        /// What was refused.
        feature: Name,
        /// What it would have used.
        estimate: Amounts,
        /// Why, in the application's words.
        reason: Label,
        /// The session that was refused.
        session_id: Option<SessionId>,
        /// The application's own JSON object.
        metadata: Option<Arc<str>>,
    },
    /// Set a user's plan, address and limits, all of them.
    PutUser {
        /// Whose.
        user_id: UserId,
        /// The plan; `None` follows the default plan.
        plan: Option<Name>,
        /// Where alerts go.
        email: Option<Arc<str>>,
        /// Limits of their own.
        overrides: Overrides,
    },
    /// Erase a person: the row that says who a number was is blanked, and their open sessions end.
    Erase {
        /// Whose.
        user_id: UserId,
    },
    /// Add a plan or replace its limits.
    PutPlan {
        /// Its name.
        name: Name,
        /// Its limits.
        limits: Limits,
        /// Its place among the plans; absent = where it is, or last.
        tier: Option<u32>,
    },
    /// Raise the alerts that a change of a plan's limits made due for a user.
    Recheck {
        /// Whose.
        user_no: UserNo,
    },
}

impl Command {
    /// The user whose id it carries; others are of a session or a user by number, or of a plan.
    #[must_use]
    pub fn user_id(&self) -> Option<&UserId> {
        match self {
            Self::Record(operation) => Some(&operation.user_id),
            Self::Reverse { user_id, .. }
            | Self::Open { user_id, .. }
            | Self::Extend { user_id, .. }
            | Self::Finish { user_id, .. }
            | Self::AuditedCheck { user_id, .. }
            | Self::Deny { user_id, .. }
            | Self::PutUser { user_id, .. }
            | Self::Erase { user_id } => Some(user_id),
            Self::Expire { .. } | Self::Recheck { .. } | Self::PutPlan { .. } => None,
        }
    }
}

/// What a command changes and what is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub outcome: Outcome,
    /// The rows as they are afterwards, in the order in which they change.
    pub changes: Vec<Change>,
}

impl Decision {
    fn nothing_changed(outcome: Outcome) -> Self {
        Self { outcome, changes: Vec::new() }
    }
}

/// One row as it is after a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A user, new or changed.
    User(Box<User>),
    /// A user's month.
    Month(UserNo, UserMonth),
    /// A new operation.
    Operation(Arc<Operation>),
    /// An operation that has just been reversed: only `reversed_by` differs.
    Reversed(Arc<Operation>),
    /// A session, new or changed.
    Session(Box<Session>),
    /// A denial, new or counted up.
    Denial(Box<Denial>),
    /// A new alert.
    Alert(Box<Alert>),
    /// A user who is nobody any more.
    Erased(UserNo, UserId),
    /// A plan, new or changed.
    Plan(Plan),
}

/// The answer to a command that was sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// An operation is recorded.
    Recorded(Recorded),
    /// A session is open, or was already.
    Opened {
        /// The session.
        session: Box<Session>,
        /// Whether this command opened it.
        created: bool,
        /// Why it fits; `None` when it was open already.
        reason: Option<Fitting>,
        /// The user's budget of the current month.
        budget: Box<Budget>,
    },
    /// The intent does not fit.
    Refused(Box<Refused>),
    /// A session was extended, finished or found so.
    Session {
        /// The session.
        session: Box<Session>,
        /// The user's budget of the current month.
        budget: Box<Budget>,
    },
    /// A check that was asked to be audited.
    Checked(Box<Check>),
    /// A denial is kept.
    Denied(Box<Denial>),
    /// A user is set.
    User {
        /// The user.
        user: Box<User>,
        /// Whether the user was new.
        created: bool,
    },
    /// Done, with nothing more to say: an erasure, an expiry, a recheck.
    Done,
    /// A plan is set.
    Plan {
        /// The plan.
        plan: Plan,
        /// Whether a limit of it went down: then every user on it is due for a [`Command::Recheck`].
        lowered: bool,
    },
}

/// A recorded operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its facts; of a duplicate, those of the first.
    pub operation: Arc<Operation>,
    /// Whether it was recorded before.
    pub duplicate: bool,
    /// The user's budget of the operation's month as it stands now.
    pub budget: Box<Budget>,
}

/// Why an intent fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fitting {
    /// Every meter that it uses is unlimited.
    Unlimited,
    /// It stays within every limit.
    WithinLimits,
    /// A later choice does.
    Fallback,
}

impl Fitting {
    /// The text on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unlimited => "unlimited",
            Self::WithinLimits => "within_limits",
            Self::Fallback => "fallback",
        }
    }
}

/// A refused intent, and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub reason: Reason,
    /// The meters that the first choice did not fit into.
    pub failed: Failed,
    /// Each choice with the meters that it did not fit into; empty when an estimate was asked.
    pub choices: Vec<(Name, Failed)>,
    /// The first later plan in which it would fit now.
    pub next_plan: Option<Name>,
    /// The user's budget of the current month.
    pub budget: Budget,
    /// The first month that the first choice did not fit into, with the meters of that month; `None` where it would have
    /// fitted, as in a denial that the application made.
    pub misfit: Option<(Budget, Failed)>,
    /// The denial that was kept; `None` where none is.
    pub denial: Option<Denial>,
}

/// A command that is wrong or conflicts with what is recorded. It changed nothing.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Rejection {
    /// No such session of this user.
    #[error("find the session: this user has none with this id")]
    UnknownSession,
    /// No such operation of this user.
    #[error("find the operation: this user has none with this id")]
    UnknownOperation,
    /// No plan of this name.
    #[error("find the plan `{0}`")]
    UnknownPlan(Name),
    /// The operation id is taken by other content.
    #[error("record the operation: its id was used before with other content")]
    OperationConflict,
    /// The session id is taken by other content, or by a session that steps made.
    #[error("open the session: its id was used before with another feature, estimate or choices")]
    SessionConflict,
    /// Reversals cannot be reversed.
    #[error("reverse the operation: it is itself a reversal")]
    ReversalOfReversal,
    /// The session was finished the other way.
    #[error("finish the session: it is already {}", .0.as_str())]
    AlreadyFinished(Finish),
    /// Only a session in progress that has a hold can be extended.
    #[error("extend the session: it is not in progress with a hold")]
    NotHolding,
    /// The timestamp is more than a day ahead of the server.
    #[error("record the operation: its timestamp is more than a day ahead of the server's clock")]
    TimestampAhead,
    /// `finishSession` without `sessionId`.
    #[error("record the operation: finishSession needs a sessionId")]
    FinishWithoutSession,
    /// The user's month would leave the range of what Outlay can count.
    #[error("add to `{0}`: the month's sum would be above 9,000,000 USD")]
    SumTooLarge(Meter),
    /// The command broke an invariant; it alone is refused.
    #[error("decide the command: an invariant is broken, which is a bug in Outlay")]
    Internal,
}

/// How far ahead of the server an operation's timestamp may be.
const AHEAD_SECONDS_MAX: i64 = 86_400;

/// Decides one command on the books. All that [`Books::missing`] names must be loaded.
///
/// # Errors
/// When the command is wrong or conflicts with what is recorded.
pub fn decide(books: &Books, command: &Command, now: Now) -> Result<Decision, Rejection> {
    match command {
        Command::Record(operation) => usage::record(books, operation, now),
        Command::Reverse { user_id, original, operation_id, reason } => {
            usage::reverse(books, user_id, original, operation_id, reason.as_ref(), now)
        }
        Command::Open { user_id, session_id, feature, ask, hold_seconds, metadata } => {
            let opening = sessions::Opening {
                session_id,
                feature,
                ask,
                hold_seconds: *hold_seconds,
                metadata: metadata.as_ref(),
            };
            sessions::open(books, user_id, &opening, now)
        }
        Command::Extend { user_id, session_id, hold_seconds, estimate } => {
            sessions::extend(books, user_id, session_id, *hold_seconds, *estimate, now)
        }
        Command::Finish { user_id, session_id, finish, error } => {
            sessions::finish(books, user_id, session_id, *finish, error.as_ref(), now)
        }
        Command::Expire { session_no } => Ok(sessions::expire(books, *session_no, now)),
        Command::AuditedCheck { user_id, feature, ask } => {
            Ok(sessions::audited_check(books, user_id, feature, ask, now))
        }
        Command::Deny { user_id, feature, estimate, reason, session_id, metadata } => {
            let refusal = sessions::Refusal { feature, session_id: session_id.as_ref(), metadata: metadata.as_ref() };
            Ok(sessions::deny(books, user_id, &refusal, *estimate, reason, now))
        }
        Command::PutUser { user_id, plan, email, overrides } => {
            users::put_user(books, user_id, plan.as_ref(), email.as_ref(), *overrides, now)
        }
        Command::Erase { user_id } => Ok(users::erase(books, user_id, now)),
        Command::PutPlan { name, limits, tier } => Ok(users::put_plan(books, name, *limits, *tier)),
        Command::Recheck { user_no } => Ok(users::recheck(books, *user_no, now)),
    }
}

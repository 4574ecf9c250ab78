//! Sessions: units of work made of steps, and the holds that make a limit real before the work runs.

use std::sync::Arc;

use crate::id::{Label, Name, OperationNo, SessionId, SessionNo, UserNo};
use crate::money::UsdSum;
use crate::month::{Month, Timestamp};
use crate::plan::Amounts;

/// How long after its last step a session without a hold counts as abandoned, in seconds.
pub const IDLE_SECONDS: i64 = 86_400;
/// The longest hold, in seconds.
pub const HOLD_SECONDS_MAX: i64 = 86_400;
/// The hold of a session that asks for no other, in seconds.
pub const HOLD_SECONDS_DEFAULT: i64 = 900;

/// How a session was finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Finish {
    /// It did its work.
    Completed,
    /// It did not.
    Failed,
}

impl Finish {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }

    /// The way with this name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Completed, Self::Failed].into_iter().find(|finish| finish.as_str() == text)
    }
}

/// Where a session stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SessionStatus {
    /// Steps may come; what is held is held.
    InProgress,
    /// Finished: it did its work.
    Completed,
    /// Finished: it did not.
    Failed,
    /// Its hold expired, or no step came for a day.
    Abandoned,
}

impl SessionStatus {
    /// All, in the order of the contract.
    pub const ALL: [Self; 4] = [Self::InProgress, Self::Completed, Self::Failed, Self::Abandoned];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in-progress",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }

    /// The status with this name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

impl From<Finish> for SessionStatus {
    fn from(finish: Finish) -> Self {
        match finish {
            Finish::Completed => Self::Completed,
            Finish::Failed => Self::Failed,
        }
    }
}

/// One of several ways to do the work, the best first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Choice {
    /// What the application calls it.
    pub name: Name,
    /// What it is expected to use.
    pub estimate: Amounts,
}

/// What an intent asks to be set aside.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Ask {
    /// These amounts.
    Estimate(Amounts),
    /// The first of these that fits; never empty.
    Choices(Arc<[Choice]>),
}

impl Ask {
    /// Each way with its name, the best first.
    pub fn ways(&self) -> impl Iterator<Item = (Option<&Name>, &Amounts)> {
        let (single, several): (_, &[Choice]) = match self {
            Self::Estimate(estimate) => (Some((None, estimate)), &[]),
            Self::Choices(choices) => (None, choices),
        };
        single.into_iter().chain(several.iter().map(|choice| (Some(&choice.name), &choice.estimate)))
    }
}

/// What a session set aside: until `expires_at`, in every month in which a step may be booked until then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hold {
    /// What was asked for; a repeated opening must ask the same.
    pub ask: Ask,
    /// Which of the choices it is.
    pub choice: Option<Name>,
    /// What is set aside in all.
    pub total: Amounts,
    /// What steps drew of it so far.
    pub drawn: Amounts,
    /// The month of its opening; the earlier one, where the store's clock and the wall clock are in two.
    pub first_month: Month,
    /// The month of the instant before it expires; or that of the wall clock, where the store's clock does not believe it.
    pub last_month: Month,
    /// When what is left of it is given back.
    pub expires_at: Timestamp,
}

impl Hold {
    /// Whether a later choice than the first was taken.
    pub fn is_fallback(&self) -> bool {
        self.choice.is_some() && self.choice.as_ref() != self.ask.ways().next().and_then(|(first, _)| first)
    }

    /// What is still set aside.
    pub fn left(&self) -> Amounts {
        self.total.minus_to_zero(&self.drawn)
    }

    /// Whether it is set aside in this month.
    pub fn touches(&self, month: Month) -> bool {
        self.first_month <= month && month <= self.last_month
    }
}

/// The last month that a hold until (not including) `expires_at` touches.
pub fn last_month(expires_at: Timestamp) -> Month {
    expires_at.plus_nanos(-1).month()
}

/// A session as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its number.
    pub no: SessionNo,
    /// Whose it is.
    pub user_no: UserNo,
    /// Its id among the user's.
    pub session_id: SessionId,
    /// What it is for.
    pub feature: Name,
    /// Where it stands.
    pub status: SessionStatus,
    /// What it set aside; `None` when steps made it. It stays for the record when the session is over, with nothing held.
    pub hold: Option<Hold>,
    /// What its steps cost, less what was reversed.
    pub total_cost: UsdSum,
    /// Billable runs of its steps, less what was reversed.
    pub total_runs: i64,
    /// What its steps used beyond the hold; of the cost, at most what an `i64` holds (9.2 million USD) is shown.
    pub overdraft: Amounts,
    /// Whether a step took a meter over its limit.
    pub budget_exceeded: bool,
    /// Why it failed, in the application's words.
    pub error: Option<Label>,
    /// The application's own JSON object.
    pub metadata: Option<Arc<str>>,
    /// When it was opened, or its first step recorded.
    pub created_at: Timestamp,
    /// When it last changed.
    pub last_updated_at: Timestamp,
    /// When it was finished or abandoned.
    pub completed_at: Option<Timestamp>,
    /// When it becomes abandoned, on the clock of holds; none once it is over.
    pub due: Option<Timestamp>,
    /// How many steps were recorded.
    pub steps: u64,
    /// Its newest step.
    pub last_step: Option<OperationNo>,
    /// The user's session before this one.
    pub previous: Option<SessionNo>,
}

impl Session {
    /// What it still holds: nothing once it is over.
    pub fn held(&self) -> Amounts {
        match (&self.hold, self.status) {
            (Some(hold), SessionStatus::InProgress) => hold.left(),
            _ => Amounts::ZERO,
        }
    }

    /// What its steps used beyond its hold; none for a session that never had one.
    pub fn shown_overdraft(&self) -> Option<Amounts> {
        self.hold.as_ref().map(|_| self.overdraft)
    }

    /// Whether it is in progress and its time is up.
    pub fn is_due(&self, now: Timestamp) -> bool {
        self.status == SessionStatus::InProgress && self.due.is_some_and(|due| due <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_on_the_wire_is_that_of_one_status() {
        let names = SessionStatus::ALL.map(SessionStatus::as_str);
        assert_eq!(names, ["in-progress", "completed", "failed", "abandoned"]);
        assert_eq!(names.map(SessionStatus::parse), SessionStatus::ALL.map(Some));
        assert_eq!(SessionStatus::parse("finished"), None);
        let ways = [Finish::Completed, Finish::Failed];
        assert_eq!(ways.map(|finish| Finish::parse(finish.as_str())), ways.map(Some));
        assert_eq!(Finish::parse("abandoned"), None);
    }

    fn hold(ask: Ask, choice: Option<&str>) -> Hold {
        let month = Month::parse("2025-10").unwrap();
        Hold {
            ask,
            choice: choice.map(Name::from_stored),
            total: Amounts { cost: 5, ai_runs: 1, api_runs: 0 },
            drawn: Amounts { cost: 2, ai_runs: 3, api_runs: 0 },
            first_month: month,
            last_month: month.next(),
            expires_at: month.next().start().plus_seconds(1),
        }
    }

    #[test]
    fn a_fallback_is_a_later_choice_than_the_first() {
        let choice = |name| Choice { name: Name::from_stored(name), estimate: Amounts::ZERO };
        let choices = Ask::Choices(Arc::from([choice("ai"), choice("basic")]));
        assert!(hold(choices.clone(), Some("basic")).is_fallback());
        assert!(!hold(choices, Some("ai")).is_fallback());
        assert!(!hold(Ask::Estimate(Amounts::ZERO), None).is_fallback());
    }

    #[test]
    fn a_hold_touches_each_month_until_the_instant_before_it_expires() {
        let hold = hold(Ask::Estimate(Amounts::ZERO), None);
        assert_eq!(hold.left(), Amounts { cost: 3, ai_runs: 0, api_runs: 0 });
        let october = hold.first_month;
        let touched =
            [october.minus(1), october, october.next(), october.next().next()].map(|month| hold.touches(month));
        assert_eq!(touched, [false, true, true, false]);
        assert_eq!(last_month(october.next().start()), october);
        assert_eq!(last_month(hold.expires_at), october.next());
    }
}

//! Proves counters: adds operations up again and compares what the rows say. It repairs nothing.
//!
//! A store feeds a [`Recount`] with operations in commit order, then with its rows, and takes the findings. All of a store
//! at once, or one set of users after the other: what is kept is a hundred bytes or so for each user and month, user and
//! day, and session of those who were fed. What only a store knows (checksums, how its days are packed) it checks itself.
//!
//! Operations that retention emptied tell no tokens any more. The tokens of their days are then proven less sharply: they are
//! no fewer than those that are still told, and over all users as many as the day of all users has.

use std::collections::BTreeMap;
use std::fmt::{self, Debug};

use crate::alert::{Alert, AlertKey};
use crate::breakdown::{Sums, TokenSums};
use crate::id::{OperationNo, SessionNo, UserNo};
use crate::month::{Day, Month};
use crate::operation::Operation;
use crate::plan::{Amounts, Meter};
use crate::session::{Session, SessionStatus};
use crate::user::{User, UserMonth};

/// The row that a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// An operation.
    Operation(OperationNo),
    /// A user's month.
    Month(UserNo, Month),
    /// A user's day.
    Day(UserNo, Day),
    /// The day of all users.
    DayOfAll(Day),
    /// A session.
    Session(SessionNo),
    /// A user.
    User(UserNo),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Operation(no) => write!(formatter, "operation {}", no.0),
            Self::Month(user_no, month) => write!(formatter, "month {month} of user {}", user_no.0),
            Self::Day(user_no, day) => write!(formatter, "day {day} of user {}", user_no.0),
            Self::DayOfAll(day) => write!(formatter, "day {day} of all users"),
            Self::Session(no) => write!(formatter, "session {}", no.0),
            Self::User(user_no) => write!(formatter, "user {}", user_no.0),
        }
    }
}

/// Something that does not follow from the operations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The row.
    pub place: Place,
    /// What of it is wrong, such as `used`.
    pub what: &'static str,
    /// What the operations give.
    pub expected: String,
    /// What the row says.
    pub found: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {} should be {} and is {}", self.place, self.what, self.expected, self.found)
    }
}

/// What no row says and no operation gives, where one of both is missing.
const NOTHING: &str = "nothing";

#[derive(Debug, Default)]
struct MonthCount {
    used: [i128; 3],
    operations: u64,
    head: Option<OperationNo>,
    raised: Vec<AlertKey>,
    seen: bool,
}

#[derive(Debug, Default)]
struct DayCount {
    sums: Sums,
    /// Whether an operation of it was emptied, so that it may have had more tokens than are told.
    trimmed: bool,
}

#[derive(Debug, Default)]
struct SessionCount {
    cost: i128,
    runs: i64,
    steps: u64,
    last_step: Option<OperationNo>,
}

/// Counters as the operations give them.
#[derive(Debug, Default)]
pub struct Recount {
    /// The number that the next operation must have; none when only some users are fed.
    next: Option<OperationNo>,
    months: BTreeMap<(UserNo, Month), MonthCount>,
    days: BTreeMap<(UserNo, Day), DayCount>,
    /// The tokens of the users' days that were compared.
    day_tokens: BTreeMap<Day, TokenSums>,
    sessions: BTreeMap<SessionNo, SessionCount>,
    /// Of each reversed operation the reversal that it names, of each reversal the operation, with what each added.
    reversed: BTreeMap<OperationNo, (OperationNo, Amounts)>,
    findings: Vec<Finding>,
}

impl Recount {
    /// A recount of every operation of a store: a number that is left out is a removed row.
    pub fn of_all() -> Self {
        Self { next: Some(OperationNo(1)), ..Self::default() }
    }

    /// A recount of all operations of some users.
    pub fn of_some_users() -> Self {
        Self::default()
    }

    /// Counts an operation; in commit order, with `reversed_by` as it stands.
    pub fn operation(&mut self, operation: &Operation) {
        let place = Place::Operation(operation.no);
        if let Some(next) = self.next {
            if operation.no != next {
                self.find(Place::Operation(next), "the row", "recorded", NOTHING);
            }
            self.next = Some(OperationNo(operation.no.0.saturating_add(1)));
        }
        let amounts = operation.amounts();
        let month = self.months.entry((operation.user_no, operation.month())).or_default();
        let before = month.head.replace(operation.no);
        month.operations = month.operations.saturating_add(1);
        for (sum, meter) in month.used.iter_mut().zip(Meter::ALL) {
            *sum = sum.saturating_add(i128::from(*amounts.get(meter)));
        }
        self.compare(
            place,
            "the operation before it in its month",
            &number(before),
            &number(operation.previous_in_month),
        );
        let day = self.days.entry((operation.user_no, operation.timestamp.day())).or_default();
        day.sums = day.sums.and(&Sums::of(operation));
        day.trimmed |= operation.trimmed;
        if let Some((session, _)) = &operation.session {
            self.step(*session, operation);
        }
        if let Some((original, _)) = &operation.reverses {
            let named = self.reversed.remove(original);
            let back = Amounts::from_fn(|meter| amounts.get(meter).saturating_neg());
            self.compare(Place::Operation(*original), "its reversal", &Some((operation.no, back)), &named);
        }
        if let Some((reversal, _)) = &operation.reversed_by {
            self.reversed.insert(operation.no, (*reversal, amounts));
        }
    }

    fn step(&mut self, session: SessionNo, operation: &Operation) {
        let count = self.sessions.entry(session).or_default();
        count.cost = count.cost.saturating_add(i128::from(operation.cost.picos()));
        count.runs = count.runs.saturating_add(operation.runs());
        if operation.reverses.is_some() {
            return;
        }
        count.steps = count.steps.saturating_add(1);
        let (position, before) = (count.steps, count.last_step.replace(operation.no));
        let place = Place::Operation(operation.no);
        self.compare(place, "its position in the session", &position, &operation.step_position);
        self.compare(place, "the step before it", &number(before), &number(operation.previous_in_session));
    }

    /// Counts an alert; in order of recording, after the operations.
    pub fn alert(&mut self, alert: &Alert) {
        self.months.entry((alert.user_no, alert.month)).or_default().raised.push(alert.key);
    }

    /// Compares a user's month; after operations and alerts.
    pub fn compare_month(&mut self, user_no: UserNo, row: &UserMonth) {
        let place = Place::Month(user_no, row.month);
        let count = self.months.entry((user_no, row.month)).or_default();
        count.seen = true;
        let (used, operations, head, raised) = (count.used, count.operations, count.head, count.raised.clone());
        self.compare(place, "used", &used, &Meter::ALL.map(|meter| i128::from(*row.used.get(meter))));
        self.compare(place, "how many operations", &operations, &row.operations);
        self.compare(place, "its newest operation", &number(head), &number(row.head));
        self.compare(place, "its alerts", &raised, &row.raised);
    }

    /// Compares a user's months with operations; after every month of theirs.
    pub fn compare_user(&mut self, user: &User) {
        let of_user = (user.no, Month::from_index(0))..=(user.no, Month::from_index(u32::MAX));
        let counted = self.months.range(of_user).filter(|(_, count)| count.operations > 0);
        let months: Vec<String> = counted.map(|((_, month), _)| month.to_string()).collect();
        let found = user.months.iter().map(Month::to_string).collect();
        self.compare(Place::User(user.no), "the months with operations", &months, &found);
    }

    /// Compares the sum over all combinations of a user's day; each day once.
    pub fn compare_day(&mut self, user_no: UserNo, day: Day, found: &Sums) {
        let DayCount { sums: mut expected, trimmed } = self.days.remove(&(user_no, day)).unwrap_or_default();
        let tokens = self.day_tokens.entry(day).or_default();
        *tokens = tokens.and(&found.tokens);
        if trimmed {
            expected.tokens = expected.tokens.at_least(&found.tokens);
        }
        let place = Place::Day(user_no, day);
        self.compare(place, "its cost", &expected.cost.picos(), &found.cost.picos());
        self.compare(place, "how many operations", &expected.operations, &found.operations);
        self.compare(place, "its runs", &expected.billable_runs, &found.billable_runs);
        self.compare(place, "its tokens", &expected.tokens, &found.tokens);
    }

    /// Whether every operation of a user's day still tells its tokens; before the day is compared.
    pub fn tells_tokens(&self, user_no: UserNo, day: Day) -> bool {
        !self.days.get(&(user_no, day)).is_some_and(|count| count.trimmed)
    }

    /// Compares the tokens of a day of all users; after every day of every user.
    pub fn compare_day_of_all(&mut self, day: Day, found: TokenSums) {
        let expected = self.day_tokens.remove(&day).unwrap_or_default();
        self.compare(Place::DayOfAll(day), "its tokens", &expected, &found);
    }

    /// Compares a session's totals; each session once.
    pub fn compare_session(&mut self, session: &Session) {
        let place = Place::Session(session.no);
        let count = self.sessions.remove(&session.no).unwrap_or_default();
        self.compare(place, "its cost", &count.cost, &session.total_cost.picos());
        self.compare(place, "its runs", &count.runs, &session.total_runs);
        self.compare(place, "its steps", &count.steps, &session.steps);
        self.compare(place, "its newest step", &number(count.last_step), &number(session.last_step));
        let in_progress = session.status == SessionStatus::InProgress;
        self.compare(place, "whether it becomes due", &in_progress, &session.due.is_some());
        if let Some(hold) = &session.hold {
            let drawn = Meter::ALL.into_iter().all(|meter| {
                (0..=*hold.total.get(meter)).contains(hold.drawn.get(meter)) && *session.overdraft.get(meter) >= 0
            });
            self.compare(place, "whether its hold was drawn within its total", &true, &drawn);
        }
    }

    /// What was found, with the rows that should have been there.
    pub fn findings(mut self) -> Vec<Finding> {
        let unseen = std::mem::take(&mut self.months).into_iter().filter(|(_, count)| !count.seen);
        let months: Vec<_> = unseen.map(|((user_no, month), _)| Place::Month(user_no, month)).collect();
        let days = std::mem::take(&mut self.days).into_keys().map(|(user_no, day)| Place::Day(user_no, day));
        let sessions = std::mem::take(&mut self.sessions).into_keys().map(Place::Session);
        for place in months.into_iter().chain(days).chain(sessions).collect::<Vec<_>>() {
            self.find(place, "the row", "there: operations name it", NOTHING);
        }
        for (original, (reversal, _)) in std::mem::take(&mut self.reversed) {
            self.find(Place::Operation(original), "its reversal", NOTHING, format!("operation {}", reversal.0));
        }
        self.findings
    }

    fn compare<T: PartialEq + Debug>(&mut self, place: Place, what: &'static str, expected: &T, found: &T) {
        if expected != found {
            self.find(place, what, format!("{expected:?}"), format!("{found:?}"));
        }
    }

    fn find(&mut self, place: Place, what: &'static str, expected: impl Into<String>, found: impl Into<String>) {
        self.findings.push(Finding { place, what, expected: expected.into(), found: found.into() });
    }
}

/// As people read it.
fn number(no: Option<OperationNo>) -> Option<u64> {
    no.map(|no| no.0)
}

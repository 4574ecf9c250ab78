//! What can be seen of a ledger from outside, in one form for the books and for the naive model.

use outlay_core::budget::{Budget, Failed, MeterBudget};
use outlay_core::denial::Denial;
use outlay_core::id::Name;
use outlay_core::ledger::{Check, Outcome, Rejection};
use outlay_core::month::{Month, Timestamp};
use outlay_core::plan::{Limits, Meter, PerMeter};
use outlay_core::session::{Session, SessionStatus};

/// A value per meter: cost in picodollars, AI runs, API runs.
pub type Values = [i128; 3];

/// Which meters something did not fit into.
pub type Fails = [bool; 3];

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetSeen {
    pub plan: String,
    pub next_plan: Option<String>,
    pub month: Month,
    pub used: Values,
    pub held: Values,
    pub limits: [Option<i128>; 3],
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionSeen {
    pub person: usize,
    pub id: String,
    pub feature: String,
    pub status: SessionStatus,
    pub choice: Option<String>,
    pub held: Values,
    /// The hold's total, what steps drew and when it expires, while the session has one.
    pub hold: Option<(Values, Values, Timestamp)>,
    pub overdraft: Option<Values>,
    pub total_cost: i128,
    pub total_runs: i128,
    pub steps: usize,
    pub error: Option<String>,
    pub budget_exceeded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenialSeen {
    pub person: usize,
    pub feature: String,
    pub session: Option<String>,
    pub asked: Vec<(Option<String>, Values)>,
    pub reason: String,
    pub failed: Fails,
    pub limits: [Option<i128>; 3],
    pub next_plan: Option<String>,
    pub times: u64,
    pub source: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct AlertSeen {
    pub person: usize,
    pub month: Month,
    pub meter: usize,
    pub threshold: u8,
    pub limit: i128,
    pub used: i128,
    pub held: i128,
    pub plan: String,
    pub next_plan: Option<String>,
    /// The threshold that is sent in its stead.
    pub superseded_by: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Recorded {
        id: String,
        duplicate: bool,
        cost: i128,
        month: Month,
        /// The session's place in order of creation, and the number of the step.
        session: Option<usize>,
        step: Option<i64>,
        reverses: Option<String>,
        reversed_by: Option<String>,
        budget: BudgetSeen,
    },
    Opened {
        session: SessionSeen,
        reason: Option<&'static str>,
        budget: BudgetSeen,
    },
    Refused {
        reason: String,
        failed: Fails,
        choices: Vec<(String, Fails)>,
        next_plan: Option<String>,
        budget: BudgetSeen,
        denial: Option<DenialSeen>,
    },
    Session {
        session: SessionSeen,
        budget: BudgetSeen,
    },
    Checked {
        /// The place of the way that fits, and why.
        fits: Option<(usize, &'static str)>,
        ways: Vec<(Option<String>, Fails)>,
        next_plan: Option<String>,
        budget: BudgetSeen,
        used_after: Values,
    },
    Denied(DenialSeen),
    User {
        created: bool,
        person: usize,
    },
    Plan {
        lowered: bool,
    },
    Done,
    Rejected(Rejection),
}

fn place(no: u64) -> usize {
    usize::try_from(no).unwrap() - 1
}

fn name(name: &Name) -> String {
    name.as_str().to_owned()
}

pub fn values(amounts: &PerMeter<i64>) -> Values {
    Meter::ALL.map(|meter| i128::from(*amounts.get(meter)))
}

fn fails(failed: Failed) -> Fails {
    Meter::ALL.map(|meter| failed.contains(meter))
}

pub fn limits(limits: &Limits) -> [Option<i128>; 3] {
    Meter::ALL.map(|meter| limits.get(meter).map(i128::from))
}

pub fn budget(budget: &Budget) -> BudgetSeen {
    let of = |value: fn(&MeterBudget) -> i64| Meter::ALL.map(|meter| i128::from(value(budget.meters.get(meter))));
    BudgetSeen {
        plan: name(&budget.plan),
        next_plan: budget.next_plan.as_ref().map(name),
        month: budget.month,
        used: of(|meter| meter.used),
        held: of(|meter| meter.held),
        limits: limits(&budget.limits()),
    }
}

/// A session as it is at `now`: one whose time is up counts as abandoned, whether or not it was given back yet.
pub fn session(session: &Session, now: Timestamp) -> SessionSeen {
    let due = session.is_due(now);
    let held = if due { [0; 3] } else { values(&session.held()) };
    let hold = session.hold.as_ref();
    SessionSeen {
        person: place(session.user_no.0),
        id: session.session_id.as_str().to_owned(),
        feature: name(&session.feature),
        status: if due { SessionStatus::Abandoned } else { session.status },
        choice: hold.and_then(|hold| hold.choice.as_ref()).map(name),
        held,
        hold: hold.map(|hold| (values(&hold.total), values(&hold.drawn), hold.expires_at)),
        overdraft: session.shown_overdraft().map(|overdraft| values(&overdraft)),
        total_cost: session.total_cost.picos(),
        total_runs: i128::from(session.total_runs),
        steps: usize::try_from(session.steps).unwrap(),
        error: session.error.as_ref().map(|error| error.as_str().to_owned()),
        budget_exceeded: session.budget_exceeded,
    }
}

pub fn denial(denial: &Denial) -> DenialSeen {
    DenialSeen {
        person: place(denial.user_no.0),
        feature: name(&denial.feature),
        session: denial.session_id.as_ref().map(|id| id.as_str().to_owned()),
        asked: denial.ask.ways().map(|(choice, estimate)| (choice.map(name), values(estimate))).collect(),
        reason: denial.reason.as_str().to_owned(),
        failed: fails(denial.failed),
        limits: limits(&denial.limits),
        next_plan: denial.next_plan.as_ref().map(name),
        times: denial.times,
        source: denial.source.as_str(),
    }
}

pub fn checked(check: &Check) -> Seen {
    Seen::Checked {
        fits: check.fitting.map(|(place, fitting)| (place, fitting.as_str())),
        ways: check.ways.iter().map(|(choice, failed)| (choice.as_ref().map(name), fails(*failed))).collect(),
        next_plan: check.next_plan.as_ref().map(name),
        budget: budget(&check.budget),
        used_after: Meter::ALL.map(|meter| i128::from(check.after.get(meter).used)),
    }
}

pub fn answer(answer: &Result<Outcome, Rejection>, now: Timestamp) -> Seen {
    let outcome = match answer {
        Ok(outcome) => outcome,
        Err(rejection) => return Seen::Rejected(rejection.clone()),
    };
    match outcome {
        Outcome::Recorded(recorded) => {
            let operation = &recorded.operation;
            Seen::Recorded {
                id: operation.operation_id.as_str().to_owned(),
                duplicate: recorded.duplicate,
                cost: i128::from(operation.cost.picos()),
                month: operation.month(),
                session: operation.session.as_ref().map(|(no, _)| place(no.0)),
                step: operation.step_number,
                reverses: operation.reverses.as_ref().map(|(_, id)| id.as_str().to_owned()),
                reversed_by: operation.reversed_by.as_ref().map(|(_, id)| id.as_str().to_owned()),
                budget: budget(&recorded.budget),
            }
        }
        Outcome::Opened { session: opened, created, reason, budget: after } => {
            assert_eq!(*created, reason.is_some(), "why it fits is said of a new hold");
            Seen::Opened {
                session: session(opened, now),
                reason: reason.map(outlay_core::ledger::Fitting::as_str),
                budget: budget(after),
            }
        }
        Outcome::Refused(refused) => Seen::Refused {
            reason: refused.reason.as_str().to_owned(),
            failed: fails(refused.failed),
            choices: refused.choices.iter().map(|(choice, failed)| (name(choice), fails(*failed))).collect(),
            next_plan: refused.next_plan.as_ref().map(name),
            budget: budget(&refused.budget),
            denial: refused.denial.as_ref().map(denial),
        },
        Outcome::Session { session: changed, budget: after } => {
            Seen::Session { session: session(changed, now), budget: budget(after) }
        }
        Outcome::Checked(check) => checked(check),
        Outcome::Denied(denied) => Seen::Denied(denial(denied)),
        Outcome::User { user, created } => Seen::User { created: *created, person: place(user.no.0) },
        Outcome::Done => Seen::Done,
        Outcome::Plan { lowered, .. } => Seen::Plan { lowered: *lowered },
    }
}

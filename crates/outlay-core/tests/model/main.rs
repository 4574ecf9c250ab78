//! Random commands against a naive model: the books must answer what sums from scratch answer, whatever is batched,
//! forgotten and loaded again in between.
//!
//! `OUTLAY_CASES` sets how many cases run, `OUTLAY_SEED` the first seed. A failing case is made smaller and printed.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test ends where something is not as it says")]

#[path = "../support/rows.rs"]
mod rows;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use outlay_core::id::{UserId, UserNo};
use outlay_core::ledger::{Command, Now, Rejection, check};
use outlay_core::month::Timestamp;
use outlay_core::plan::Plans;
use outlay_core::session::{Ask, SessionStatus};

use outlay_model::generate::{self, Action, Jump, Step};
use outlay_model::naive::Model;
use outlay_model::seen::{self, Seen};
use outlay_model::words::{Words, user_id};
use rows::Ledger;

/// How often each thing was seen: a test that never meets a rule does not test it.
type Met = BTreeMap<&'static str, u64>;

#[test]
fn random_commands_agree_with_a_model_that_sums_from_scratch() {
    let number = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (cases, first) = (number("OUTLAY_CASES", 10_000), number("OUTLAY_SEED", 1));
    let mut met = Met::new();
    for seed in first..first + cases {
        let steps = generate::case(seed);
        if let Err(failure) = run(&steps, &mut met) {
            let (steps, failure) = smaller(steps, failure);
            let steps: Vec<String> = steps.iter().map(|step| format!("{step:?}")).collect();
            panic!("OUTLAY_SEED={seed} OUTLAY_CASES=1 fails:\n{}\n{failure}", steps.join("\n"));
        }
    }
    println!("{cases} cases from seed {first}: {met:#?}");
    if cases >= 5_000 {
        for what in EXPECTED {
            assert!(met.contains_key(what), "no case met: {what}");
        }
    }
}

const EXPECTED: [&str; 33] = [
    "recorded",
    "recorded duplicate",
    "recorded reversal",
    "recorded late step",
    "recorded at the limit, all asked first",
    "recorded in another month",
    "opened",
    "opened again",
    "opened as fallback",
    "opened unlimited",
    "opened over two months",
    "refused",
    "refused extension",
    "refused again",
    "session extended",
    "session finished",
    "session abandoned, then finished",
    "session with overdraft",
    "session over its limit",
    "checked",
    "denied",
    "user",
    "user erased",
    "plan lowered",
    "alert superseded",
    "alert after a change of limits",
    "rejected OperationConflict",
    "rejected SessionConflict",
    "rejected SumTooLarge",
    "rejected AlreadyFinished",
    "rejected NotHolding",
    "rejected ReversalOfReversal",
    "rejected TimestampAhead",
];

/// Runs a case; an assertion that failed anywhere in it is its failure.
fn run(steps: &[Step], met: &mut Met) -> Result<(), String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = catch_unwind(AssertUnwindSafe(|| {
        let mut case = Case::new();
        for (at, step) in steps.iter().enumerate() {
            case.step(step, met).map_err(|failure| format!("step {at}, at {}: {failure}", case.holds))?;
        }
        case.ledger.commit();
        case.compare_stored()
    }));
    std::panic::set_hook(hook);
    result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("panic: {}", text.unwrap_or("?")))
    })
}

/// Takes steps out as long as the rest still fails.
fn smaller(mut steps: Vec<Step>, mut failure: String) -> (Vec<Step>, String) {
    let mut length = steps.len();
    while length > 0 {
        let mut at = 0;
        while at < steps.len() {
            let mut fewer = steps.clone();
            fewer.drain(at..(at + length).min(steps.len()));
            match run(&fewer, &mut Met::new()) {
                Ok(()) => at += length,
                Err(still) => (steps, failure) = (fewer, still),
            }
        }
        length /= 2;
    }
    (steps, failure)
}

struct Case {
    model: Model,
    ledger: Ledger,
    holds: Timestamp,
    wall_off: i64,
    history: Vec<Command>,
}

impl Case {
    fn new() -> Self {
        let plans = Plans::standard();
        let known = plans.all().iter().map(|plan| (plan.name.as_str().to_owned(), plan.tier, plan.limits)).collect();
        Self {
            model: Model::new(known),
            ledger: Ledger::new(plans),
            holds: Timestamp::parse("2025-10-31T12:00:00Z").unwrap(),
            wall_off: 0,
            history: Vec::new(),
        }
    }

    fn now(&self) -> Now {
        Now { holds: self.holds, wall: self.holds.plus_seconds(self.wall_off), entropy: 3 }
    }

    fn words(&self) -> Words<'_> {
        let now = self.now();
        Words { model: &self.model, history: &self.history, holds: now.holds, wall: now.wall }
    }

    fn step(&mut self, step: &Step, met: &mut Met) -> Result<(), String> {
        self.pass_time(step);
        match &step.action {
            Action::Commit => self.ledger.commit(),
            Action::Shrink => self.ledger.shrink(),
            Action::Restart => self.ledger.restart(),
            Action::Check { ways, choices } => {
                self.ledger.commit();
                let ask = self.words().ask(step.user, None, ways, *choices);
                self.compare_check(&user_id(step.user), &ask)?;
            }
            action => {
                let Some(command) = self.words().command(step.user, action) else { return Ok(()) };
                self.history.push(command.clone());
                self.submit(&command, met)?;
                return self.compare_in_memory();
            }
        }
        self.compare_stored()
    }

    fn pass_time(&mut self, step: &Step) {
        let to = match step.jump {
            Jump::Seconds(seconds) => self.holds.plus_seconds(seconds),
            Jump::MonthEnd(nanos) => self.holds.month().resets_at().plus_nanos(nanos),
            Jump::Due(nanos) => {
                let open = self.model.sessions.iter().map(|session| session.due).filter(|due| *due > self.holds);
                open.min().map_or(self.holds, |due| due.plus_nanos(nanos))
            }
        };
        self.holds = self.holds.max(to);
        self.wall_off = step.wall_off;
        self.model.pass(self.holds);
    }

    fn submit(&mut self, command: &Command, met: &mut Met) -> Result<(), String> {
        let before = self.model.clone();
        let expected = self.model.run(command, self.now());
        let answer = self.ledger.submit(command, self.now());
        let answer = seen::answer(&answer, self.holds);
        meet(met, command, &before, &self.model, &answer, self.holds);
        if answer != expected {
            return Err(format!("{command:#?}\nanswered {answer:#?}\nexpected {expected:#?}"));
        }
        if matches!(answer, Seen::Rejected(_)) {
            let (before, after) = (before.people.len(), self.model.people.len());
            assert_eq!(before, after, "the model itself must change nothing when it rejects");
        }
        self.nobody_who_asks_first_is_over(met)
    }

    /// Rule 4: used and held stay within each limit of those whose every operation was covered.
    fn nobody_who_asks_first_is_over(&self, met: &mut Met) -> Result<(), String> {
        for (person, row) in self.model.people.iter().enumerate().filter(|(_, row)| row.asks_first && !row.erased) {
            let limits = self.model.limits(Some(person));
            for month in self.model.months_of(person) {
                let budget = self.model.budget(Some(person), month);
                for (meter, limit) in limits.into_iter().enumerate() {
                    let Some(limit) = limit else { continue };
                    if budget.used[meter] + budget.held[meter] > limit {
                        return Err(format!("{} asks first and is over: {budget:?}", row.id));
                    }
                    if limit > 0 && budget.used[meter] == limit {
                        *met.entry("recorded at the limit, all asked first").or_default() += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// What the books have in memory, as far as they have it.
    fn compare_in_memory(&self) -> Result<(), String> {
        let plans = self.ledger.books.plans();
        for user in 0..4 {
            let id = user_id(user);
            let Some(view) = self.ledger.books.view(&id) else { continue };
            let person = self.model.person(id.as_str());
            let mut months = person.map_or_else(Vec::new, |person| self.model.months_of(person));
            months.extend([self.holds.month(), self.holds.month().next()]);
            for month in months {
                let Some(budget) = view.budget(plans, &id, month, self.holds) else { continue };
                equal("a budget in memory", &seen::budget(&budget), &self.model.budget(person, month))?;
            }
        }
        Ok(())
    }

    /// What is stored after a batch, row by row.
    fn compare_stored(&self) -> Result<(), String> {
        let rows = &self.ledger.rows;
        let plans = self.ledger.books.plans();
        for user in 0..4 {
            let id = user_id(user);
            let person = self.model.person(id.as_str());
            let no = person.map(|person| UserNo(person as u64 + 1));
            equal("who an id is", &rows.user_nos.get(&id).copied(), &no)?;
            let view = rows.view(plans, &id, self.now());
            let mut months = person.map_or_else(Vec::new, |person| self.model.months_of(person));
            equal("a user's months", &view.user.as_ref().map_or_else(Vec::new, |user| user.months.clone()), &months)?;
            months.extend([self.holds.month(), self.holds.month().next()]);
            for month in months {
                let budget = view.budget(plans, &id, month, self.holds).ok_or("a month is not stored")?;
                equal("a stored budget", &seen::budget(&budget), &self.model.budget(person, month))?;
                let published = rows.published.get(&id).and_then(|view| view.budget(plans, &id, month, self.holds));
                if let Some(budget) = published {
                    equal("a published budget", &seen::budget(&budget), &self.model.budget(person, month))?;
                }
            }
        }
        self.compare_counters()?;
        let sessions: Vec<_> = rows.sessions.values().map(|session| seen::session(session, self.holds)).collect();
        let expected: Vec<_> = (0..self.model.sessions.len()).map(|session| self.model.session(session)).collect();
        equal("sessions", &sessions, &expected)?;
        equal("denials", &rows.denials.values().map(seen::denial).collect(), &self.model.denials())?;
        equal("alerts", &self.alerts(), &self.model.alerts())
    }

    /// Every counter and every list of months and sessions, erased users' too, against the stored operations.
    fn compare_counters(&self) -> Result<(), String> {
        let rows = &self.ledger.rows;
        equal("how many operations", &rows.operations.len(), &self.model.operations.len())?;
        equal("what a recount finds", &rows.verify(), &Vec::new())?;
        self.compare_lists()
    }

    /// The lists that begin at a user's row, erased users' too.
    fn compare_lists(&self) -> Result<(), String> {
        let rows = &self.ledger.rows;
        for user in rows.users.values().chain(rows.erased.values()) {
            let sessions = std::iter::successors(user.last_session, |no| rows.sessions[no].previous);
            let expected = rows.sessions.values().rev().filter(|row| row.user_no == user.no).map(|row| row.no);
            equal("a user's sessions", &sessions.collect::<Vec<_>>(), &expected.collect())?;
            let denials = std::iter::successors(user.last_denial, |no| rows.denials[no].previous);
            let expected = rows.denials.values().rev().filter(|row| row.user_no == user.no).map(|row| row.no);
            equal("a user's denials", &denials.collect::<Vec<_>>(), &expected.collect())?;
            let alerts = std::iter::successors(user.last_alert, |no| rows.alerts[no].previous);
            let expected = rows.alerts.values().rev().filter(|row| row.user_no == user.no).map(|row| row.no);
            equal("a user's alerts", &alerts.collect::<Vec<_>>(), &expected.collect())?;
        }
        Ok(())
    }

    fn alerts(&self) -> Vec<seen::AlertSeen> {
        let rows = &self.ledger.rows;
        let mut alerts: Vec<_> = rows
            .alerts
            .values()
            .map(|alert| seen::AlertSeen {
                person: usize::try_from(alert.user_no.0).unwrap() - 1,
                month: alert.month,
                meter: alert.key.meter as usize,
                threshold: alert.key.threshold,
                limit: i128::from(alert.key.limit),
                used: i128::from(alert.used),
                held: i128::from(alert.held),
                plan: alert.plan.as_str().to_owned(),
                next_plan: alert.next_plan.as_ref().map(|plan| plan.as_str().to_owned()),
                superseded_by: alert.superseded_by.map(|no| rows.alerts[&no].key.threshold),
            })
            .collect();
        alerts.sort();
        alerts
    }

    fn compare_check(&self, id: &UserId, ask: &Ask) -> Result<(), String> {
        let plans = self.ledger.books.plans();
        let view = self.ledger.rows.view(plans, id, self.now());
        let answer = check(plans, &view, id, ask, self.holds).ok_or("a month is not stored")?;
        equal("a check", &seen::checked(&answer), &self.model.check(id.as_str(), ask, self.holds))
    }
}

fn equal<T: PartialEq + std::fmt::Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: found {found:#?}\nexpected {expected:#?}")) }
}

/// Notes what a command met.
fn meet(met: &mut Met, command: &Command, before: &Model, after: &Model, answer: &Seen, now: Timestamp) {
    let mut note = |what: &'static str, yes: bool| {
        if yes {
            *met.entry(what).or_default() += 1;
        }
    };
    match answer {
        Seen::Recorded { duplicate, reverses, session, month, .. } => {
            note("recorded", !duplicate);
            note("recorded duplicate", *duplicate);
            note("recorded reversal", reverses.is_some() && !duplicate);
            note("recorded in another month", *month != now.month());
            if let Some(session) = session.filter(|_| !duplicate && reverses.is_none()) {
                let session = after.session(session);
                note("recorded late step", !matches!(session.status, SessionStatus::InProgress));
                note("session with overdraft", session.overdraft.is_some_and(|overdraft| overdraft != [0; 3]));
                note("session over its limit", session.budget_exceeded);
            }
        }
        Seen::Opened { session, reason, .. } => {
            note("opened", reason.is_some());
            note("opened again", reason.is_none());
            note("opened as fallback", *reason == Some("fallback"));
            note("opened unlimited", *reason == Some("unlimited"));
            let over = session.hold.is_some_and(|(_, _, until)| until.plus_nanos(-1).month() != now.month());
            note("opened over two months", over && reason.is_some() && session.held != [0; 3]);
        }
        Seen::Refused { denial, .. } => {
            note("refused", denial.is_some());
            note("refused extension", denial.is_none());
            note("refused again", denial.as_ref().is_some_and(|denial| denial.times > 1));
        }
        Seen::Session { session, .. } => {
            note("session extended", matches!(command, Command::Extend { .. }));
            note("session finished", matches!(command, Command::Finish { .. }));
            let place = before.sessions.iter().position(|row| row.person == session.person && row.id == session.id);
            let before = place.map(|place| before.session(place).status);
            note("session abandoned, then finished", before == Some(SessionStatus::Abandoned));
        }
        Seen::Checked { .. } => note("checked", true),
        Seen::Denied(_) => note("denied", true),
        Seen::User { .. } => note("user", true),
        Seen::Plan { lowered } => note("plan lowered", *lowered),
        Seen::Done => note("user erased", matches!(command, Command::Erase { .. })),
        Seen::Rejected(rejection) => note(
            match rejection {
                Rejection::OperationConflict => "rejected OperationConflict",
                Rejection::SessionConflict => "rejected SessionConflict",
                Rejection::SumTooLarge(_) => "rejected SumTooLarge",
                Rejection::AlreadyFinished(_) => "rejected AlreadyFinished",
                Rejection::NotHolding => "rejected NotHolding",
                Rejection::ReversalOfReversal => "rejected ReversalOfReversal",
                Rejection::TimestampAhead => "rejected TimestampAhead",
                _ => "rejected otherwise",
            },
            true,
        ),
    }
    let (raised_before, raised) = (before.alerts(), after.alerts());
    if raised.len() > raised_before.len() {
        note("alert superseded", raised.iter().any(|alert| alert.superseded_by.is_some()));
        let changed = matches!(command, Command::PutUser { .. } | Command::Recheck { .. });
        note("alert after a change of limits", changed);
    }
}

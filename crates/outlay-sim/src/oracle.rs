//! What must be true of a store: that its readers see just what a naive model says has happened.
//!
//! The model knows the acknowledged commands. So equality is rule N at once: each acknowledged operation is there once,
//! with its cost and month; nothing that was refused is; every counter is the sum; what is held is what is left of the
//! open holds; and each alert that was due was raised once.

use std::collections::BTreeMap;
use std::fmt::Debug;

use outlay::store::outbox::{EventKind, Receiver};
use outlay::store::{NoticesQuery, Page, PageOf, Reads, SessionsQuery, StoreError, UsageQuery, UserSort, UsersQuery};
use outlay_core::alert::Alert;
use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::id::{AlertNo, OperationId, SessionNo, UserId};
use outlay_core::ledger::budget;
use outlay_core::month::{Day, Timestamp};
use outlay_core::operation::Operation;
use outlay_core::session::SessionStatus;
use outlay_model::naive::Model;
use outlay_model::seen::{self, AlertSeen, DenialSeen, Seen, SessionSeen};
use outlay_model::words::user_id;

use crate::service::ready;

/// Users that a case may speak of.
pub const USERS_MAX: u64 = 4;
/// Rows on a page: few, so that lists have several pages.
const PAGE_ROWS: usize = 7;

/// How much is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Depth {
    /// Budgets and counts.
    Budgets,
    /// Every row too.
    Rows,
    /// Every row, and the store's own proof of its counters.
    Proof,
}

/// Compares what a store shows with the model. The error says what differs, or that the store could not be read.
///
/// # Errors
/// When they differ.
pub fn compare(reads: &dyn Reads, model: &Model, depth: Depth) -> Result<(), String> {
    let now = reads.now();
    let mut model = model.clone();
    model.pass(now);
    let status = reads.status();
    let counts = [status.operations, status.users, status.sessions];
    let expected = [model.operations.len(), model.people.len(), model.sessions.len()].map(|count| count as u64);
    equal("how many operations, users and sessions", &counts, &expected)?;
    let plans = reads.plans();
    let plans = plans.all().iter().map(|plan| (plan.name.as_str().to_owned(), plan.tier, plan.limits));
    equal("plans", &plans.collect::<Vec<_>>(), &model.plans().to_vec())?;
    for user in 0..USERS_MAX {
        compare_budgets(reads, &model, &user_id(user), now)?;
    }
    if depth == Depth::Budgets {
        return Ok(());
    }
    for user in 0..USERS_MAX {
        let operations = compare_operations(reads, &model, &user_id(user))?;
        compare_history(reads, &user_id(user), &operations)?;
    }
    compare_users(reads, &model, now)?;
    compare_sessions(reads, &model, now)?;
    compare_denials(reads, &model)?;
    compare_alerts(reads, &model)?;
    if depth == Depth::Proof {
        equal("what verify finds", &read(ready(reads.verify()))?, &Vec::new())?;
    }
    Ok(())
}

fn compare_budgets(reads: &dyn Reads, model: &Model, id: &UserId, now: Timestamp) -> Result<(), String> {
    let person = model.person(id.as_str());
    let mut months = person.map_or_else(Vec::new, |person| model.months_of(person));
    let of_user = months.clone();
    months.extend([now.month(), now.month().next()]);
    let plans = reads.plans();
    for month in months {
        let view = read(ready(reads.view(id, month)))?;
        equal("whether a user is known", &view.user.is_some(), &person.is_some())?;
        let found = view.user.as_ref().map_or_else(Vec::new, |user| user.months.clone());
        equal("a user's months", &found, &of_user)?;
        let budget = view.budget(&plans, id, month, now).ok_or("a view lacks the month that was asked for")?;
        equal("a budget", &seen::budget(&budget), &model.budget(person, month))?;
    }
    Ok(())
}

/// The user's list, each of them by its id, and the steps of sessions.
fn compare_operations(reads: &dyn Reads, model: &Model, id: &UserId) -> Result<Vec<Operation>, String> {
    let person = model.person(id.as_str());
    let listed = pages(|page| {
        let (month, feature, usage_type, session_id) = (None, None, None, None);
        ready(reads.usage(UsageQuery { user_id: id.clone(), month, feature, usage_type, session_id, page }))
    })?;
    let mut expected: Vec<usize> =
        (0..model.operations.len()).filter(|place| Some(model.operations[*place].person) == person).collect();
    expected.reverse();
    let numbers: Vec<u64> = listed.iter().map(|operation| operation.no.0).collect();
    let expected_numbers: Vec<u64> = expected.iter().map(|place| *place as u64 + 1).collect();
    equal("the numbers of a user's operations", &numbers, &expected_numbers)?;
    for (operation, place) in listed.iter().zip(expected) {
        let recorded = model.recorded(place, false);
        equal("an operation", &as_recorded(operation, &recorded), &recorded)?;
        let by_id = read(ready(reads.operation(id, &operation.operation_id)))?;
        equal("an operation by its id", &by_id.as_ref(), &Some(operation))?;
    }
    let unknown = OperationId::from_stored("never recorded");
    equal("an operation that is not there", &read(ready(reads.operation(id, &unknown)))?, &None)?;
    Ok(listed)
}

/// The days of a user, and the same days as the operations give them.
fn compare_history(reads: &dyn Reads, id: &UserId, operations: &[Operation]) -> Result<(), String> {
    let months = operations.iter().map(|operation| operation.month());
    let (Some(first), Some(last)) = (months.clone().min(), months.max()) else { return Ok(()) };
    let mut expected: BTreeMap<(Day, Dimensions), Sums> = BTreeMap::new();
    for operation in operations {
        let dimensions = Dimensions {
            usage_type: operation.usage_type,
            feature: operation.feature.clone(),
            provider: operation.provider.clone(),
            model: operation.model.clone(),
        };
        let sums = expected.entry((operation.timestamp.day(), dimensions)).or_default();
        *sums = sums.and(&Sums::of(operation));
    }
    let history = read(ready(reads.history(id, first..=last)))?;
    let days: Vec<Day> = history.days.iter().map(|(day, ..)| *day).collect();
    equal("whether days ascend", &days.is_sorted(), &true)?;
    let found: BTreeMap<_, _> = history.days.into_iter().map(|(day, of, sums)| ((day, of), sums)).collect();
    equal("how many sums the days have", &days.len(), &found.len())?;
    equal("the days of a user", &found, &expected)
}

/// The list of all users, which the store keeps in memory, with their budgets.
fn compare_users(reads: &dyn Reads, model: &Model, now: Timestamp) -> Result<(), String> {
    let month = now.month();
    let (active, state, plan, prefix, after) = (false, None, None, None, None);
    let (sort, descending, limit) = (UserSort::UserId, false, 100);
    let query = UsersQuery { month, sort, descending, active, state, plan, prefix, after, limit };
    let page = read(ready(reads.users(query)))?;
    let plans = reads.plans();
    let found = page.items.iter().map(|item| {
        let id = &item.user.user_id;
        (id.as_str(), seen::budget(&budget(&plans, Some(&item.user), id, month, &item.month.used, &item.held)))
    });
    let known = model.people.iter().enumerate().filter(|(_, person)| !person.erased);
    let mut expected: Vec<_> = known.map(|(at, person)| (person.id.as_str(), model.budget(Some(at), month))).collect();
    expected.sort_by_key(|(id, _)| *id);
    equal("the list of users", &found.collect::<Vec<_>>(), &expected)
}

/// The stored operation as it was answered when it was recorded. The budget beside it is compared elsewhere.
pub(crate) fn as_recorded(operation: &Operation, expected: &Seen) -> Seen {
    let budget = match expected {
        Seen::Recorded { budget, .. } => budget.clone(),
        _ => unreachable!("the model shows an operation as recorded"),
    };
    Seen::Recorded {
        id: operation.operation_id.as_str().to_owned(),
        duplicate: false,
        cost: operation.cost.picos().into(),
        month: operation.month(),
        session: operation.session.as_ref().map(|(no, _)| place(no.0)),
        step: operation.step_number,
        reverses: operation.reverses.as_ref().map(|(_, id)| id.as_str().to_owned()),
        reversed_by: operation.reversed_by.as_ref().map(|(_, id)| id.as_str().to_owned()),
        budget,
    }
}

fn compare_sessions(reads: &dyn Reads, model: &Model, now: Timestamp) -> Result<(), String> {
    let mut listed = pages(|page| {
        let (user_id, status, feature, from, to) = (None, None, None, None, None);
        ready(reads.sessions(SessionsQuery { user_id, status, feature, from, to, page }))
    })?;
    listed.reverse();
    let erased = |person: usize| model.people[person].erased;
    let found: Vec<_> = listed.iter().map(|of| unnamed_session(seen::session(&of.row, now), erased)).collect();
    let expected: Vec<_> =
        (0..model.sessions.len()).map(|session| unnamed_session(model.session(session), erased)).collect();
    equal("sessions", &found, &expected)?;
    for (at, of) in listed.iter().enumerate() {
        let person = model.sessions[at].person;
        let id = (!erased(person)).then(|| model.people[person].id.as_str());
        equal("whose a session is", &of.user_id.as_ref().map(UserId::as_str), &id)?;
        let steps = read(ready(reads.steps(SessionNo(at as u64 + 1), 0, 1_000)))?;
        let positions: Vec<_> = steps.iter().map(|step| step.step_position).collect();
        equal("the steps of a session", &positions, &(1..=of.row.steps).collect())?;
        if let Some(user_id) = &of.user_id {
            let by_id = read(ready(reads.session(user_id, &of.row.session_id)))?;
            equal("a session by its id", &by_id.as_ref(), &Some(&of.row))?;
        }
    }
    Ok(())
}

/// Without what an erasure wipes some time after it.
pub(crate) fn unnamed_session(mut session: SessionSeen, erased: impl Fn(usize) -> bool) -> SessionSeen {
    if erased(session.person) {
        session.id = String::new();
        session.error = None;
        if session.status == SessionStatus::InProgress {
            session.status = SessionStatus::Abandoned;
        }
    }
    session
}

fn compare_denials(reads: &dyn Reads, model: &Model) -> Result<(), String> {
    let mut listed = pages(|page| ready(reads.denials(NoticesQuery { user_id: None, month: None, page })))?;
    listed.reverse();
    let erased = |person: usize| model.people[person].erased;
    let found: Vec<_> = listed.iter().map(|of| unnamed_denial(seen::denial(&of.row), erased)).collect();
    equal("denials", &found, &model.denials().into_iter().map(|denial| unnamed_denial(denial, erased)).collect())
}

/// The same of a denial.
pub(crate) fn unnamed_denial(mut denial: DenialSeen, erased: impl Fn(usize) -> bool) -> DenialSeen {
    if erased(denial.person) {
        denial.session = None;
        denial.reason = String::new();
    }
    denial
}

/// What still names somebody who was erased, once all of it is to be wiped.
pub(crate) fn unnamed(reads: &dyn Reads, model: &Model) -> Result<Vec<String>, String> {
    let erased = |person: usize| model.people[person].erased;
    let sessions = pages(|page| {
        let (user_id, status, feature, from, to) = (None, None, None, None, None);
        ready(reads.sessions(SessionsQuery { user_id, status, feature, from, to, page }))
    })?;
    let sessions = sessions.iter().filter(|of| erased(place(of.row.user_no.0)));
    let sessions = sessions.filter(|of| !of.row.session_id.as_str().is_empty() || of.row.error.is_some());
    let mut named: Vec<String> = sessions.map(|of| format!("session {}", of.row.no.0)).collect();
    let denials = pages(|page| ready(reads.denials(NoticesQuery { user_id: None, month: None, page })))?;
    let denials = denials.iter().filter(|of| erased(place(of.row.user_no.0)) && of.row.session_id.is_some());
    named.extend(denials.map(|of| format!("denial {}", of.row.no.0)));
    Ok(named)
}

fn compare_alerts(reads: &dyn Reads, model: &Model) -> Result<(), String> {
    let listed = pages(|page| ready(reads.alerts(NoticesQuery { user_id: None, month: None, page })))?;
    let threshold = |no| listed.iter().find(|of| of.row.no == no).map(|of| of.row.key.threshold);
    let mut found: Vec<_> = listed.iter().map(|of| alert_seen(&of.row, threshold)).collect();
    found.sort();
    equal("alerts", &found, &model.alerts())?;
    compare_deliveries(reads, listed.iter().map(|of| &of.row))
}

/// An alert as the model says it, where this gives the threshold of another one by its number.
pub(crate) fn alert_seen(alert: &Alert, threshold: impl Fn(AlertNo) -> Option<u8>) -> AlertSeen {
    AlertSeen {
        person: place(alert.user_no.0),
        month: alert.month,
        meter: alert.key.meter as usize,
        threshold: alert.key.threshold,
        limit: alert.key.limit.into(),
        used: alert.used.into(),
        held: alert.held.into(),
        plan: alert.plan.as_str().to_owned(),
        next_plan: alert.next_plan.as_ref().map(|plan| plan.as_str().to_owned()),
        superseded_by: alert.superseded_by.and_then(threshold),
    }
}

/// Each alert that is to be sent has one delivery to the operator, and no other has any.
fn compare_deliveries<'a>(reads: &dyn Reads, alerts: impl Iterator<Item = &'a Alert> + Clone) -> Result<(), String> {
    let numbers = alerts.clone().map(|alert| alert.no.0).collect();
    let found = read(ready(reads.deliveries_about(EventKind::ThresholdCrossed, numbers)))?;
    let found: Vec<_> = found.into_iter().map(|delivery| (delivery.about, delivery.receiver)).collect();
    let is_sent = |alert: &&Alert| alert.superseded_by.is_none() && alert.month == alert.recorded_at.month();
    let expected: Vec<_> = alerts.filter(is_sent).map(|alert| (alert.no.0, Receiver::OperatorMail)).collect();
    equal("what is told of alerts", &found, &expected)?;
    let waiting = read(ready(reads.deliveries_waiting()))?;
    equal("how much waits to be told", &waiting.count, &(expected.len() as u64))
}

/// All of a list, newest first, page by page.
fn pages<T>(mut page: impl FnMut(PageOf) -> Result<Page<T>, StoreError>) -> Result<Vec<T>, String> {
    let mut rows = Vec::new();
    let mut before = None;
    loop {
        let next = read(page(PageOf { before, limit: PAGE_ROWS }))?;
        rows.extend(next.items);
        match next.next {
            None => return Ok(rows),
            Some(next) if before.is_some_and(|before| next >= before) => return Err("a list does not end".to_owned()),
            next => before = next,
        }
    }
}

fn place(no: u64) -> usize {
    usize::try_from(no).expect("numbers are small") - 1
}

pub(crate) fn read<T>(result: Result<T, StoreError>) -> Result<T, String> {
    result.map_err(|error| error.to_string())
}

/// Says what differs, if they do.
///
/// # Errors
/// When they differ.
pub fn equal<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected {
        return Ok(());
    }
    let (found, expected) = (format!("{found:#?}"), format!("{expected:#?}"));
    let (found, expected): (Vec<_>, Vec<_>) = (found.lines().collect(), expected.lines().collect());
    let same = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
    let from = same.saturating_sub(LINES_BEFORE);
    let part = |lines: &[&str]| {
        lines.iter().skip(from).take(LINES_SHOWN).map(|line| format!("\n  {line}")).collect::<String>()
    };
    Err(format!("{what}, from line {from}: found{}\nexpected{}", part(&found), part(&expected)))
}

/// Of two long texts, what is shown before the first difference, and in all.
const LINES_BEFORE: usize = 12;
const LINES_SHOWN: usize = 30;

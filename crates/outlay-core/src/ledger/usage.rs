//! Recording: facts are never refused for what they cost.

use std::borrow::Cow;
use std::sync::Arc;

use super::books::{Books, budget, limits};
use super::sessions::{abandon_due, abandoned, finished};
use super::users::{alerts, user_or_new};
use super::{AHEAD_SECONDS_MAX, Change, Decision, Now, Outcome, Recorded, Rejection};
use crate::budget::Budget;
use crate::id::{Label, OperationId, UserId};
use crate::money::Usd;
use crate::month::Month;
use crate::operation::{Field, FingerprintBuilder, NewOperation, Operation};
use crate::plan::{Amounts, Meter};
use crate::session::{IDLE_SECONDS, Session, SessionStatus};
use crate::user::{User, UserMonth};

/// Records one operation: the operation, its session, the month's counters and a crossed threshold's alert.
pub(super) fn record(books: &Books, new: &NewOperation, now: Now) -> Result<Decision, Rejection> {
    let known = books.user(&new.user_id);
    if let Some(user) = known
        && let Some(first) = books.operation(user.no, &new.operation_id)
    {
        return if first.fingerprint == new.fingerprint {
            Ok(duplicate(books, user, first, now))
        } else {
            Err(Rejection::OperationConflict)
        };
    }
    if new.finish_session.is_some() && new.session_id.is_none() {
        return Err(Rejection::FinishWithoutSession);
    }
    let timestamp = new.timestamp.unwrap_or(now.wall);
    if timestamp > now.wall.plus_seconds(AHEAD_SECONDS_MAX) {
        return Err(Rejection::TimestampAhead);
    }

    let mut user = user_or_new(books, &new.user_id, now);
    let mut changes = abandon_due(books, user.no, new.session_id.as_ref(), now);
    let amounts = new.amounts();
    let mut month = books.month(user.no, timestamp.month());
    month.used = within_range(&month.used, &amounts)?;

    let mut session = new.session_id.as_ref().map(|session_id| {
        books.session(user.no, session_id).map_or_else(
            || made_by_step(books, &user, new, now),
            |session| abandoned(session, now).unwrap_or_else(|| session.clone()),
        )
    });
    if session.as_ref().is_some_and(|session| session.no == books.numbers().session) {
        user.to_mut().last_session = session.as_ref().map(|session| session.no);
    }
    let operation = Arc::new(Operation {
        no: books.numbers().operation,
        user_no: user.no,
        operation_id: new.operation_id.clone(),
        fingerprint: new.fingerprint,
        usage_type: new.usage_type,
        feature: new.feature.clone(),
        provider: new.provider.clone(),
        model: new.model.clone(),
        cost: new.cost,
        tokens: new.tokens,
        units: new.units.clone(),
        is_billable_run: new.is_billable_run,
        session: session.as_ref().map(|session| (session.no, session.session_id.clone())),
        step_position: session.as_ref().map_or(0, |session| session.steps.saturating_add(1)),
        step_label: new.step_label.clone(),
        step_number: session.as_ref().map_or(new.step_number, |session| {
            new.step_number.or_else(|| i64::try_from(session.steps).ok()?.checked_add(1))
        }),
        finish_session: new.finish_session,
        duration_ms: new.duration_ms,
        timestamp,
        recorded_at: now.wall,
        metadata: new.metadata.clone(),
        reverses: None,
        reason: None,
        reversed_by: None,
        previous_in_month: month.head,
        previous_in_session: session.as_ref().and_then(|session| session.last_step),
        trimmed: false,
    });
    count(&mut user, &mut month, &operation, now);

    if let Some(session) = &mut session {
        let limits = limits(books.plans(), Some(&user));
        add_step(session, &operation, &amounts, now);
        session.budget_exceeded |= Meter::ALL.into_iter().any(|meter| {
            *amounts.get(meter) > 0 && limits.get(meter).is_some_and(|limit| *month.used.get(meter) > limit)
        });
        if let Some(finish) = new.finish_session
            && matches!(session.status, SessionStatus::InProgress | SessionStatus::Abandoned)
        {
            *session = finished(session.clone(), finish, None, now);
        }
    }
    let budget = budget_after(books, &user, &month, session.as_ref(), now);
    let alerts = alerts(books, &mut user, &mut month, &budget, &[], now);

    if let Cow::Owned(user) = user {
        changes.push(Change::User(Box::new(user)));
    }
    changes.push(Change::Month(operation.user_no, month));
    changes.push(Change::Operation(Arc::clone(&operation)));
    changes.extend(session.map(|session| Change::Session(Box::new(session))));
    changes.extend(alerts);
    let recorded = Recorded { operation, duplicate: false, budget: Box::new(budget) };
    Ok(Decision { outcome: Outcome::Recorded(recorded), changes })
}

/// Takes an operation back, once: negative amounts, in the month and the session of the original.
pub(super) fn reverse(
    books: &Books,
    user_id: &UserId,
    original: &OperationId,
    operation_id: &OperationId,
    reason: Option<&Label>,
    now: Now,
) -> Result<Decision, Rejection> {
    let user = books.user(user_id).ok_or(Rejection::UnknownOperation)?;
    let original = books.operation(user.no, original).ok_or(Rejection::UnknownOperation)?;
    if original.reverses.is_some() {
        return Err(Rejection::ReversalOfReversal);
    }
    if let Some((_, reversal)) = &original.reversed_by {
        let first = books.operation(user.no, reversal).ok_or(Rejection::Internal)?;
        return Ok(duplicate(books, user, first, now));
    }
    if books.operation(user.no, operation_id).is_some() {
        return Err(Rejection::OperationConflict);
    }

    let mut user = Cow::Borrowed(&**user);
    let mut month = books.month(user.no, original.month());
    let mut fingerprint = FingerprintBuilder::default();
    fingerprint.field(Field::OperationId, operation_id.as_str().as_bytes());
    fingerprint.field(Field::Reverses, original.operation_id.as_str().as_bytes());
    let reversal = Arc::new(Operation {
        no: books.numbers().operation,
        operation_id: operation_id.clone(),
        fingerprint: fingerprint.finish(),
        cost: Usd::from_picos(original.cost.picos().saturating_neg()),
        tokens: None,
        units: None,
        step_position: 0,
        step_label: None,
        step_number: None,
        finish_session: None,
        duration_ms: None,
        recorded_at: now.wall,
        metadata: None,
        reverses: Some((original.no, original.operation_id.clone())),
        reason: reason.cloned(),
        previous_in_month: month.head,
        previous_in_session: None,
        trimmed: false,
        ..Operation::clone(original)
    });
    let amounts = reversal.amounts();
    month.used = month.used.checked_add(&amounts).ok_or(Rejection::Internal)?;
    count(&mut user, &mut month, &reversal, now);

    let mut changes = abandon_due(books, user.no, None, now);
    let session = original.session.as_ref().and_then(|(no, _)| books.session_by_no(*no)).map(|session| {
        let mut session = abandoned(session, now).unwrap_or_else(|| session.clone());
        session.total_cost = session.total_cost.plus(reversal.cost);
        session.total_runs = session.total_runs.saturating_add(reversal.runs());
        session.last_updated_at = now.wall;
        session
    });
    if let Some(session) = &session {
        changes.retain(|change| !matches!(change, Change::Session(due) if due.no == session.no));
    }
    let budget = budget_after(books, &user, &month, session.as_ref(), now);
    if let Cow::Owned(user) = user {
        changes.push(Change::User(Box::new(user)));
    }
    let mut reversed = Operation::clone(original);
    reversed.reversed_by = Some((reversal.no, reversal.operation_id.clone()));
    changes.push(Change::Month(reversal.user_no, month));
    changes.push(Change::Operation(Arc::clone(&reversal)));
    changes.push(Change::Reversed(Arc::new(reversed)));
    changes.extend(session.map(|session| Change::Session(Box::new(session))));
    let recorded = Recorded { operation: reversal, duplicate: false, budget: Box::new(budget) };
    Ok(Decision { outcome: Outcome::Recorded(recorded), changes })
}

/// The first one's facts, and the budget as it stands now.
fn duplicate(books: &Books, user: &User, first: &Arc<Operation>, now: Now) -> Decision {
    let month = books.month(user.no, first.month());
    let budget = budget_after(books, user, &month, None, now);
    let recorded = Recorded { operation: Arc::clone(first), duplicate: true, budget: Box::new(budget) };
    Decision::nothing_changed(Outcome::Recorded(recorded))
}

/// What a month has used with these amounts more, unless no column could hold it.
fn within_range(used: &Amounts, amounts: &Amounts) -> Result<Amounts, Rejection> {
    let sum = used.checked_add(amounts).ok_or(Rejection::SumTooLarge(Meter::Cost))?;
    if sum.cost > Usd::TOTAL_MAX.picos() { Err(Rejection::SumTooLarge(Meter::Cost)) } else { Ok(sum) }
}

/// Puts an operation at the head of its month.
fn count(user: &mut Cow<'_, User>, month: &mut UserMonth, operation: &Operation, now: Now) {
    // A month that has an operation is among the user's.
    if month.operations == 0
        && let Err(at) = user.months.binary_search(&month.month)
    {
        user.to_mut().months.insert(at, month.month);
    }
    month.operations = month.operations.saturating_add(1);
    month.head = Some(operation.no);
    month.last_updated_at = Some(now.wall);
}

/// A session that nobody opened: its first step makes it, without a hold, under the step's feature.
fn made_by_step(books: &Books, user: &User, new: &NewOperation, now: Now) -> Session {
    Session {
        no: books.numbers().session,
        user_no: user.no,
        session_id: new.session_id.clone().expect("only a step makes a session"),
        feature: new.feature.clone(),
        status: SessionStatus::InProgress,
        hold: None,
        total_cost: crate::money::UsdSum::ZERO,
        total_runs: 0,
        overdraft: Amounts::ZERO,
        budget_exceeded: false,
        error: None,
        metadata: None,
        created_at: now.wall,
        last_updated_at: now.wall,
        completed_at: None,
        due: None,
        steps: 0,
        last_step: None,
        previous: user.last_session,
    }
}

/// Adds a step to its session's totals, and draws on the hold if the step's month is one that it touches.
fn add_step(session: &mut Session, operation: &Operation, amounts: &Amounts, now: Now) {
    session.total_cost = session.total_cost.plus(operation.cost);
    session.total_runs = session.total_runs.saturating_add(operation.runs());
    session.steps = operation.step_position;
    session.last_step = Some(operation.no);
    session.last_updated_at = now.wall;
    let in_progress = session.status == SessionStatus::InProgress;
    match &mut session.hold {
        Some(hold) => {
            let drawn = if in_progress && hold.touches(operation.month()) {
                hold.left().at_most(amounts)
            } else {
                Amounts::ZERO
            };
            hold.drawn = hold.drawn.checked_add(&drawn).unwrap_or(hold.drawn);
            let beyond = amounts.minus_to_zero(&drawn);
            session.overdraft =
                Amounts::from_fn(|meter| session.overdraft.get(meter).saturating_add(*beyond.get(meter)));
        }
        None if in_progress => session.due = Some(now.holds.plus_seconds(IDLE_SECONDS)),
        None => {}
    }
}

/// The user's budget of `month` as it stands with the changed rows.
fn budget_after(books: &Books, user: &User, month: &UserMonth, session: Option<&Session>, now: Now) -> Budget {
    let held = held_with(books, user, month.month, session, now);
    budget(books.plans(), Some(user), &user.user_id, month.month, &month.used, &held)
}

/// What the user's sessions hold in a month, with one of them as it is after the decision.
pub(super) fn held_with(books: &Books, user: &User, month: Month, session: Option<&Session>, now: Now) -> Amounts {
    // What the books hold for it is what it was before: its expiry may differ.
    let before = session.and_then(|session| books.session_by_no(session.no));
    let others = books.held(user.no).map_or(Amounts::ZERO, |held| held.without(month, now.holds, before));
    let own = session
        .filter(|session| session.hold.as_ref().is_some_and(|hold| hold.touches(month)))
        .map_or(Amounts::ZERO, Session::held);
    others.checked_add(&own).unwrap_or(others)
}

//! Intents: checks, sessions and their holds, and the denials of what does not fit.

use std::borrow::Cow;
use std::sync::Arc;

use super::books::{Books, UserView, budget};
use super::usage::held_with;
use super::users::user_or_new;
use super::{Change, Decision, Fitting, Now, Outcome, Refused, Rejection};
use crate::budget::{Budget, Failed, MeterBudget, failed};
use crate::denial::{Denial, DenialSource, REPEAT_SECONDS, Reason};
use crate::id::{Label, Name, SessionId, SessionNo, UserId, UserNo};
use crate::money::{Usd, UsdSum};
use crate::month::Month;
use crate::plan::{Amounts, Limits, Meter, Overrides, PerMeter, Plans};
use crate::session::{Ask, Finish, Hold, Session, SessionStatus};
use crate::user::User;

/// What an opening asks for.
pub(super) struct Opening<'a> {
    pub(super) session_id: &'a SessionId,
    pub(super) feature: &'a Name,
    pub(super) ask: &'a Ask,
    pub(super) hold_seconds: i64,
    pub(super) metadata: Option<&'a Arc<str>>,
}

/// What was refused, for a denial.
pub(super) struct Refusal<'a> {
    pub(super) feature: &'a Name,
    pub(super) session_id: Option<&'a SessionId>,
    pub(super) metadata: Option<&'a Arc<str>>,
}

/// The answer to `afford`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// The choice that won, by its place; `None` when nothing fits.
    pub fitting: Option<(usize, Fitting)>,
    /// Each way with its name and the meters that it does not fit into, in the order asked.
    pub ways: Vec<(Option<Name>, Failed)>,
    /// In a refusal, the first later plan in which it would fit now.
    pub next_plan: Option<Name>,
    /// The user's budget of the current month.
    pub budget: Budget,
    /// The meters as they would stand after the winning way, or after the first when nothing fits.
    pub after: PerMeter<MeterBudget>,
}

impl Check {
    /// The meters that the first way does not fit into.
    pub fn failed(&self) -> Failed {
        self.ways.first().map_or_else(Failed::default, |(_, failed)| *failed)
    }

    /// Why it is refused.
    pub fn reason(&self) -> Reason {
        reason(self.failed())
    }
}

/// Whether an ask fits into the current month; `None` when that month's row is not loaded. It promises nothing: a hold does.
pub fn check(
    plans: &Plans,
    view: &UserView,
    user_id: &UserId,
    ask: &Ask,
    now: crate::month::Timestamp,
) -> Option<Check> {
    let budget = view.budget(plans, user_id, now.month(), now)?;
    let overrides = view.user.as_ref().map_or_else(Overrides::default, |user| user.overrides);
    Some(check_budget(plans, &overrides, budget, ask))
}

fn check_budget(plans: &Plans, overrides: &Overrides, budget: Budget, ask: &Ask) -> Check {
    let months = [budget];
    let ways = ways(&months, ask);
    let fitting = fitting(&months, ask, &ways);
    let next_plan = if fitting.is_none() { next_plan(plans, overrides, &months, ask) } else { None };
    let [budget] = months;
    let winner = fitting.map_or(0, |(index, _)| index);
    let amounts = ask.ways().nth(winner).map_or(Amounts::ZERO, |(_, estimate)| *estimate);
    let mut after = budget.meters;
    for meter in Meter::ALL {
        let used = &mut after.get_mut(meter).used;
        *used = used.saturating_add(*amounts.get(meter));
    }
    Check { fitting, ways, next_plan, budget, after }
}

/// Each way with the meters that it does not fit into in one of the months.
fn ways(months: &[Budget], ask: &Ask) -> Vec<(Option<Name>, Failed)> {
    ask.ways()
        .map(|(name, estimate)| {
            let failed = months.iter().fold(Failed::default(), |failed, budget| failed.union(&budget.failed(estimate)));
            (name.cloned(), failed)
        })
        .collect()
}

fn fitting(months: &[Budget], ask: &Ask, ways: &[(Option<Name>, Failed)]) -> Option<(usize, Fitting)> {
    let index = ways.iter().position(|(_, failed)| failed.is_empty())?;
    let (_, estimate) = ask.ways().nth(index)?;
    let limited = |budget: &Budget| {
        Meter::ALL.into_iter().any(|meter| *estimate.get(meter) > 0 && budget.meters.get(meter).limit.is_some())
    };
    let fitting = if index > 0 {
        Fitting::Fallback
    } else if !estimate.is_zero() && !months.iter().any(limited) {
        Fitting::Unlimited
    } else {
        Fitting::WithinLimits
    };
    Some((index, fitting))
}

/// The first later plan in which one of the ways would fit in every month, with the user's own limits over it.
fn next_plan(plans: &Plans, overrides: &Overrides, months: &[Budget], ask: &Ask) -> Option<Name> {
    plan_above(plans, overrides, months, |limits| {
        ask.ways().any(|(_, estimate)| months.iter().all(|budget| fits_with(budget, estimate, limits)))
    })
}

/// The first plan above that of the months whose limits, with the user's own over them, are enough.
fn plan_above(
    plans: &Plans,
    overrides: &Overrides,
    months: &[Budget],
    enough: impl Fn(&Limits) -> bool,
) -> Option<Name> {
    let current = &months.first()?.plan;
    plans.above(current).find(|plan| enough(&overrides.over(&plan.limits))).map(|plan| plan.name.clone())
}

/// Whether it would fit into the month under other limits.
fn fits_with(budget: &Budget, amounts: &Amounts, limits: &Limits) -> bool {
    let meters = PerMeter::from_fn(|meter| MeterBudget { limit: *limits.get(meter), ..*budget.meters.get(meter) });
    failed(&meters, amounts).is_empty()
}

fn reason(failed: Failed) -> Reason {
    if failed.contains(Meter::Cost) { Reason::BudgetExceeded } else { Reason::RunsExceeded }
}

/// Opens a session: sets the first choice that fits aside in every month that the hold touches.
pub(super) fn open(books: &Books, user_id: &UserId, opening: &Opening<'_>, now: Now) -> Result<Decision, Rejection> {
    let known = books.user(user_id);
    let mut changes = known.map_or_else(Vec::new, |user| abandon_due(books, user.no, None, now));
    if let Some(user) = known
        && let Some(session) = books.session(user.no, opening.session_id)
    {
        let same =
            session.feature == *opening.feature && session.hold.as_ref().is_some_and(|hold| hold.ask == *opening.ask);
        if !same {
            return Err(Rejection::SessionConflict);
        }
        let session = abandoned(session, now).unwrap_or_else(|| session.clone());
        let budget = current_budget(books, user, Some(&session), now);
        let outcome =
            Outcome::Opened { session: Box::new(session), created: false, reason: None, budget: Box::new(budget) };
        return Ok(Decision { outcome, changes });
    }

    let mut user = user_or_new(books, user_id, now);
    let expires_at = now.holds.plus_seconds(opening.hold_seconds);
    let (first_month, last_month) = now.months_until(expires_at);
    let months = months(books, &user, first_month, last_month, None, now);
    let ways = ways(&months, opening.ask);
    let Some((index, fitting)) = fitting(&months, opening.ask, &ways) else {
        let refusal =
            Refusal { feature: opening.feature, session_id: Some(opening.session_id), metadata: opening.metadata };
        let refused = refused(books, &user, &months, opening.ask, ways, now);
        let (outcome, denied) = keep_denial(books, user, &refusal, opening.ask, refused, DenialSource::Open, now);
        changes.extend(denied);
        return Ok(Decision { outcome: Outcome::Refused(Box::new(outcome)), changes });
    };
    let (choice, total) = opening.ask.ways().nth(index).ok_or(Rejection::Internal)?;
    within_range(&months, total)?;
    let session = Session {
        no: books.numbers().session,
        user_no: user.no,
        session_id: opening.session_id.clone(),
        feature: opening.feature.clone(),
        status: SessionStatus::InProgress,
        hold: Some(Hold {
            ask: opening.ask.clone(),
            choice: choice.cloned(),
            total: *total,
            drawn: Amounts::ZERO,
            first_month,
            last_month,
            expires_at,
        }),
        total_cost: UsdSum::ZERO,
        total_runs: 0,
        overdraft: Amounts::ZERO,
        budget_exceeded: false,
        error: None,
        metadata: opening.metadata.cloned(),
        created_at: now.wall,
        last_updated_at: now.wall,
        completed_at: None,
        due: Some(expires_at),
        steps: 0,
        last_step: None,
        previous: user.last_session,
    };
    user.to_mut().last_session = Some(session.no);
    let budget = current_budget(books, &user, Some(&session), now);
    changes.push(Change::User(Box::new(user.into_owned())));
    changes.push(Change::Session(Box::new(session.clone())));
    let outcome =
        Outcome::Opened { session: Box::new(session), created: true, reason: Some(fitting), budget: Box::new(budget) };
    Ok(Decision { outcome, changes })
}

/// Moves a hold's expiry to now + `hold_seconds`, and its total to `estimate`. Only what it would hold more must fit.
pub(super) fn extend(
    books: &Books,
    user_id: &UserId,
    session_id: &SessionId,
    hold_seconds: i64,
    estimate: Option<Amounts>,
    now: Now,
) -> Result<Decision, Rejection> {
    let user = books.user(user_id).ok_or(Rejection::UnknownSession)?;
    let session = books.session(user.no, session_id).ok_or(Rejection::UnknownSession)?;
    let hold = session.hold.as_ref().ok_or(Rejection::NotHolding)?;
    if session.status != SessionStatus::InProgress || session.is_due(now.holds) {
        return Err(Rejection::NotHolding);
    }
    let mut changes = abandon_due(books, user.no, None, now);
    let expires_at = now.holds.plus_seconds(hold_seconds);
    let total = estimate.map_or(hold.total, |estimate| estimate.at_least(&hold.drawn));
    let (first_month, last_month) = now.months_until(expires_at);
    let first_month = first_month.min(hold.first_month);
    let extended = Hold { total, first_month, last_month, expires_at, ..hold.clone() };

    let months = months(books, user, first_month, last_month, Some(session), now);
    // A month that it holds already must have room for what it would hold more, a new one for all of it.
    let growing: Vec<Amounts> = months
        .iter()
        .map(|budget| {
            let before = if hold.touches(budget.month) { hold.left() } else { Amounts::ZERO };
            let after = extended.left();
            Amounts::from_fn(|meter| if after.get(meter) > before.get(meter) { *after.get(meter) } else { 0 })
        })
        .collect();
    let grown = || months.iter().zip(&growing);
    let failed = grown().fold(Failed::default(), |failed, (budget, amounts)| failed.union(&budget.failed(amounts)));
    if !failed.is_empty() {
        let refused = Refused {
            reason: reason(failed),
            failed,
            misfit: misfit(grown()),
            choices: Vec::new(),
            next_plan: plan_above(books.plans(), &user.overrides, &months, |limits| {
                grown().all(|(budget, amounts)| fits_with(budget, amounts, limits))
            }),
            budget: current_budget(books, user, Some(session), now),
            denial: None,
        };
        return Ok(Decision { outcome: Outcome::Refused(Box::new(refused)), changes });
    }
    within_range(&months, &extended.left())?;
    let session = Session { hold: Some(extended), due: Some(expires_at), last_updated_at: now.wall, ..session.clone() };
    let budget = current_budget(books, user, Some(&session), now);
    changes.push(Change::Session(Box::new(session.clone())));
    Ok(Decision { outcome: Outcome::Session { session: Box::new(session), budget: Box::new(budget) }, changes })
}

/// Finishes a session and gives back the rest of its hold; again the same way changes nothing.
pub(super) fn finish(
    books: &Books,
    user_id: &UserId,
    session_id: &SessionId,
    finish: Finish,
    error: Option<&Label>,
    now: Now,
) -> Result<Decision, Rejection> {
    let user = books.user(user_id).ok_or(Rejection::UnknownSession)?;
    let session = books.session(user.no, session_id).ok_or(Rejection::UnknownSession)?;
    let mut changes = abandon_due(books, user.no, Some(session_id), now);
    let session = match session.status {
        SessionStatus::InProgress | SessionStatus::Abandoned => {
            let session = finished(session.clone(), finish, error, now);
            changes.push(Change::Session(Box::new(session.clone())));
            session
        }
        status if status == SessionStatus::from(finish) => session.clone(),
        SessionStatus::Completed => return Err(Rejection::AlreadyFinished(Finish::Completed)),
        SessionStatus::Failed => return Err(Rejection::AlreadyFinished(Finish::Failed)),
    };
    let budget = current_budget(books, user, Some(&session), now);
    Ok(Decision { outcome: Outcome::Session { session: Box::new(session), budget: Box::new(budget) }, changes })
}

/// The session as it is once finished.
pub(super) fn finished(session: Session, finish: Finish, error: Option<&Label>, now: Now) -> Session {
    Session {
        status: finish.into(),
        error: error.cloned().or(session.error),
        completed_at: Some(now.wall),
        last_updated_at: now.wall,
        due: None,
        ..session
    }
}

/// The session as it is once nobody goes on with it: what it held is given back.
pub(super) fn given_back(session: Session, now: Now) -> Session {
    Session {
        status: SessionStatus::Abandoned,
        completed_at: Some(now.wall),
        last_updated_at: now.wall,
        due: None,
        ..session
    }
}

/// The session as it is when its time is up; `None` while it is not.
pub(super) fn abandoned(session: &Session, now: Now) -> Option<Session> {
    session.is_due(now.holds).then(|| given_back(session.clone(), now))
}

/// Gives back the user's expired holds, which comes before anything else is decided for them. The session that the
/// command itself changes is left out: it changes once.
pub(super) fn abandon_due(books: &Books, user_no: UserNo, except: Option<&SessionId>, now: Now) -> Vec<Change> {
    let due = books.held(user_no).into_iter().flat_map(|held| held.due(now.holds));
    due.filter_map(|no| books.session_by_no(no))
        .filter(|session| except != Some(&session.session_id))
        .filter_map(|session| abandoned(session, now))
        .map(|session| Change::Session(Box::new(session)))
        .collect()
}

/// Abandons one session if its time is up.
pub(super) fn expire(books: &Books, session_no: SessionNo, now: Now) -> Decision {
    let session = books.session_by_no(session_no).and_then(|session| abandoned(session, now));
    let changes = session.into_iter().map(|session| Change::Session(Box::new(session))).collect();
    Decision { outcome: Outcome::Done, changes }
}

/// A check that keeps a denial when it is refused.
pub(super) fn audited_check(books: &Books, user_id: &UserId, feature: &Name, ask: &Ask, now: Now) -> Decision {
    let user = user_or_new(books, user_id, now);
    let mut changes = abandon_due(books, user.no, None, now);
    let check = check_budget(books.plans(), &user.overrides, current_budget(books, &user, None, now), ask);
    if check.fitting.is_none() {
        let refusal = Refusal { feature, session_id: None, metadata: None };
        let budget = check.budget.clone();
        let refused = refused(books, &user, std::slice::from_ref(&budget), ask, check.ways.clone(), now);
        let (_, denied) = keep_denial(books, user, &refusal, ask, refused, DenialSource::Afford, now);
        changes.extend(denied);
    }
    Decision { outcome: Outcome::Checked(Box::new(check)), changes }
}

/// Keeps a denial that the application made.
pub(super) fn deny(
    books: &Books,
    user_id: &UserId,
    refusal: &Refusal<'_>,
    estimate: Amounts,
    reason: &Label,
    now: Now,
) -> Decision {
    let user = user_or_new(books, user_id, now);
    let mut changes = abandon_due(books, user.no, None, now);
    let ask = Ask::Estimate(estimate);
    let budget = current_budget(books, &user, None, now);
    let months = std::slice::from_ref(&budget);
    let mut refused = refused(books, &user, months, &ask, ways(months, &ask), now);
    refused.reason = Reason::Application(reason.clone());
    let (refused, denied) = keep_denial(books, user, refusal, &ask, refused, DenialSource::Application, now);
    changes.extend(denied);
    let denial = refused.denial.expect("a denial was just kept");
    Decision { outcome: Outcome::Denied(Box::new(denial)), changes }
}

fn refused(
    books: &Books,
    user: &User,
    months: &[Budget],
    ask: &Ask,
    ways: Vec<(Option<Name>, Failed)>,
    now: Now,
) -> Refused {
    let current = months.iter().find(|budget| budget.month == now.holds.month());
    let failed = ways.first().map_or_else(Failed::default, |(_, failed)| *failed);
    let first = ask.ways().next().map_or(&Amounts::ZERO, |(_, estimate)| estimate);
    Refused {
        reason: reason(failed),
        failed,
        misfit: misfit(months.iter().map(|budget| (budget, first))),
        next_plan: next_plan(books.plans(), &user.overrides, months, ask),
        choices: ways.into_iter().filter_map(|(name, failed)| Some((name?, failed))).collect(),
        budget: current.cloned().unwrap_or_else(|| current_budget_of(books, user)),
        denial: None,
    }
}

/// The first month that has no room for what is asked of it.
fn misfit<'a>(asked: impl IntoIterator<Item = (&'a Budget, &'a Amounts)>) -> Option<(Budget, Failed)> {
    let mut failing = asked.into_iter().map(|(budget, amounts)| (budget, budget.failed(amounts)));
    failing.find(|(_, failed)| !failed.is_empty()).map(|(budget, failed)| (budget.clone(), failed))
}

/// A budget at zero, for the case that cannot be: a refusal over no months.
fn current_budget_of(books: &Books, user: &User) -> Budget {
    budget(books.plans(), Some(user), &user.user_id, user.created_at.month(), &Amounts::ZERO, &Amounts::ZERO)
}

/// Writes the denial of a refused intent: a new one, or one more time on that of the same session within a minute.
fn keep_denial(
    books: &Books,
    mut user: Cow<'_, User>,
    refusal: &Refusal<'_>,
    ask: &Ask,
    mut refused: Refused,
    source: DenialSource,
    now: Now,
) -> (Refused, Vec<Change>) {
    let earlier = refusal
        .session_id
        .filter(|_| source == DenialSource::Open)
        .and_then(|session_id| books.denial(user.no, session_id));
    let repeated = earlier.filter(|denial| {
        denial.source == source
            && denial.recorded_at.plus_seconds(REPEAT_SECONDS) > now.wall
            && denial.feature == *refusal.feature
            && denial.ask == *ask
    });
    let (denial, changes) = if let Some(denial) = repeated {
        let denial = Denial { times: denial.times.saturating_add(1), ..denial.clone() };
        (denial.clone(), vec![Change::Denial(Box::new(denial))])
    } else {
        let denial = Denial {
            no: books.numbers().denial,
            user_no: user.no,
            feature: refusal.feature.clone(),
            session_id: refusal.session_id.cloned(),
            ask: ask.clone(),
            reason: refused.reason.clone(),
            failed: refused.failed,
            limits: refused.budget.limits(),
            next_plan: refused.next_plan.clone(),
            times: 1,
            source,
            metadata: refusal.metadata.cloned(),
            recorded_at: now.wall,
            previous: user.last_denial,
        };
        user.to_mut().last_denial = Some(denial.no);
        (denial.clone(), vec![Change::User(Box::new(user.into_owned())), Change::Denial(Box::new(denial))])
    };
    refused.denial = Some(denial);
    (refused, changes)
}

/// The user's budgets of some months at `now`, but for what one session holds.
fn months(books: &Books, user: &User, first: Month, last: Month, except: Option<&Session>, now: Now) -> Vec<Budget> {
    let mut months = Vec::new();
    let mut month = first;
    while month <= last {
        let held = books.held(user.no).map_or(Amounts::ZERO, |held| held.without(month, now.holds, except));
        let used = books.used(Some(user), month);
        months.push(budget(books.plans(), Some(user), &user.user_id, month, &used, &held));
        month = month.next();
    }
    months
}

/// The budget of the month now running, with one session as it is after the decision.
fn current_budget(books: &Books, user: &User, session: Option<&Session>, now: Now) -> Budget {
    let month = now.holds.month();
    let held = held_with(books, user, month, session, now);
    budget(books.plans(), Some(user), &user.user_id, month, &books.used(Some(user), month), &held)
}

/// Refuses a hold that no column could count.
fn within_range(months: &[Budget], total: &Amounts) -> Result<(), Rejection> {
    for budget in months {
        for (meter, held) in budget.meters.iter() {
            let sum = held.held.checked_add(*total.get(meter)).ok_or(Rejection::SumTooLarge(meter))?;
            if meter == Meter::Cost && sum > Usd::TOTAL_MAX.picos() {
                return Err(Rejection::SumTooLarge(meter));
            }
        }
    }
    Ok(())
}

//! Users and plans: what limits hold for whom, and the alerts that a change of them makes due.

use std::borrow::Cow;
use std::sync::Arc;

use super::books::{Books, budget};
use super::sessions::given_back;
use super::{Change, Decision, Now, Outcome, Rejection};
use crate::alert::{Alert, crossed};
use crate::budget::Budget;
use crate::id::{AlertNo, Name, UserId, UserNo};
use crate::plan::{Amounts, Limits, Meter, Overrides, Plan};
use crate::user::{User, UserMonth};

/// The user of this id, or a new one on the default plan. Only one that is new or changes is a row of its own.
pub(super) fn user_or_new<'a>(books: &'a Books, user_id: &UserId, now: Now) -> Cow<'a, User> {
    books.user(user_id).map_or_else(
        || {
            let no = books.numbers().user;
            Cow::Owned(User {
                no,
                tag: mix(now.entropy ^ no.0),
                user_id: user_id.clone(),
                plan: None,
                email: None,
                overrides: Overrides::default(),
                months: Vec::new(),
                last_session: None,
                last_denial: None,
                last_alert: None,
                created_at: now.wall,
            })
        },
        |user| Cow::Borrowed(&**user),
    )
}

/// The finalizer of splitmix64: spreads one batch's entropy over its users.
const fn mix(seed: u64) -> u64 {
    let seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let seed = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let seed = (seed ^ (seed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ (seed >> 31)
}

/// Raises every threshold that the month has now reached and has no record for. Of several that one meter crosses at
/// once only the highest is sent; the lower records name it. `pending` are alerts that the same decision raised already.
pub(super) fn alerts(
    books: &Books,
    user: &mut Cow<'_, User>,
    month: &mut UserMonth,
    budget: &Budget,
    pending: &[Change],
    now: Now,
) -> Vec<Change> {
    let thresholds = books.plans().thresholds_of(&budget.plan);
    let keys = crossed(&month.used, &budget.limits(), thresholds, &month.raised);
    let numbers = books.numbers();
    let taken = pending.iter().filter(|change| matches!(change, Change::Alert(_))).count();
    let place = |index: usize| (taken as u64).saturating_add(index as u64);
    let number = |index: usize| AlertNo(numbers.alert.0.saturating_add(place(index).saturating_mul(numbers.step)));
    let mut changes = Vec::new();
    for (index, key) in keys.iter().enumerate() {
        let highest = keys.iter().rposition(|other| other.meter == key.meter).unwrap_or(index);
        changes.push(Change::Alert(Box::new(Alert {
            no: number(index),
            user_no: user.no,
            month: month.month,
            key: *key,
            used: budget.meters.get(key.meter).used,
            held: budget.meters.get(key.meter).held,
            plan: budget.plan.clone(),
            next_plan: budget.next_plan.clone(),
            superseded_by: (highest != index).then(|| number(highest)),
            recorded_at: now.wall,
            previous: user.last_alert,
        })));
        user.to_mut().last_alert = Some(number(index));
        month.raised.push(*key);
    }
    changes
}

/// Replaces all of a user's settings.
pub(super) fn put_user(
    books: &Books,
    user_id: &UserId,
    plan: Option<&Name>,
    email: Option<&Arc<str>>,
    overrides: Overrides,
    now: Now,
) -> Result<Decision, Rejection> {
    if let Some(plan) = plan
        && books.plans().get(plan.as_str()).is_none()
    {
        return Err(Rejection::UnknownPlan(plan.clone()));
    }
    let before = books.user(user_id);
    let mut user = user_or_new(books, user_id, now).into_owned();
    user.plan = plan.cloned();
    user.email = email.cloned();
    user.overrides = overrides;
    if before.is_some_and(|before| **before == user) {
        return Ok(Decision::nothing_changed(Outcome::User { user: Box::new(user), created: false }));
    }
    let mut user = Cow::Owned(user);
    let mut changes = Vec::new();
    if let Some(before) = before {
        let limits_of = |user: &User| {
            budget(books.plans(), Some(user), user_id, now.holds.month(), &Amounts::ZERO, &Amounts::ZERO).limits()
        };
        if lowered(&limits_of(before), &limits_of(&user)) {
            changes = alerts_of_all_months(books, &mut user, now);
        }
    }
    let user = user.into_owned();
    // The user's row comes first: whoever follows finds them.
    changes.insert(0, Change::User(Box::new(user.clone())));
    let outcome = Outcome::User { user: Box::new(user), created: before.is_none() };
    Ok(Decision { outcome, changes })
}

/// Whether a change of limits lowers one of them; from unlimited to any limit is lower.
fn lowered(before: &Limits, after: &Limits) -> bool {
    Meter::ALL.into_iter().any(|meter| match (before.get(meter), after.get(meter)) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(before), Some(after)) => after < before,
    })
}

fn alerts_of_all_months(books: &Books, user: &mut Cow<'_, User>, now: Now) -> Vec<Change> {
    let mut changes = Vec::new();
    for month in user.months.clone() {
        let mut row = books.month(user.no, month);
        let held = books.held(user.no).map_or(Amounts::ZERO, |held| held.at(month, now.holds));
        let budget = budget(books.plans(), Some(user), &user.user_id, month, &row.used, &held);
        let raised = alerts(books, user, &mut row, &budget, &changes, now);
        if !raised.is_empty() {
            changes.push(Change::Month(user.no, row));
            changes.extend(raised);
        }
    }
    changes
}

/// Raises what a change of a plan's limits made due for one user.
pub(super) fn recheck(books: &Books, user_no: UserNo, now: Now) -> Decision {
    let Some(user) = books.user_by_no(user_no) else {
        return Decision::nothing_changed(Outcome::Done);
    };
    let mut user = Cow::Borrowed(&**user);
    let mut changes = alerts_of_all_months(books, &mut user, now);
    if !changes.is_empty() {
        changes.insert(0, Change::User(Box::new(user.into_owned())));
    }
    Decision { outcome: Outcome::Done, changes }
}

/// Makes a user nobody. What their open sessions hold is given back; numbered sums and operations stay.
pub(super) fn erase(books: &Books, user_id: &UserId, now: Now) -> Decision {
    let Some(user) = books.user(user_id) else {
        return Decision::nothing_changed(Outcome::Done);
    };
    let mut changes = Vec::new();
    if let Some(held) = books.held(user.no) {
        let open = held.due(crate::month::Timestamp::EPOCH.plus_seconds(i64::MAX));
        changes.extend(
            open.filter_map(|no| books.session_by_no(no))
                .map(|session| Change::Session(Box::new(given_back(session.clone(), now)))),
        );
    }
    changes.push(Change::Erased(user.no, user_id.clone()));
    Decision { outcome: Outcome::Done, changes }
}

/// Adds a plan, or replaces its limits. The alerts that become due are raised user by user, by [`super::Command::Recheck`].
pub(super) fn put_plan(books: &Books, name: &Name, limits: Limits, tier: Option<u32>) -> Decision {
    let known = books.plans().get(name.as_str());
    let tier = tier.or(known.map(|plan| plan.tier)).unwrap_or_else(|| books.plans().next_tier());
    let plan = Plan { name: name.clone(), tier, limits };
    if known == Some(&plan) {
        return Decision::nothing_changed(Outcome::Plan { plan, lowered: false });
    }
    // A new plan may be the one that users were put on before it was taken away for a while.
    let before = known.or_else(|| books.plans().effective(None)).map(|plan| plan.limits);
    let lowered = before.is_some_and(|before| lowered(&before, &limits));
    Decision { outcome: Outcome::Plan { plan: plan.clone(), lowered }, changes: vec![Change::Plan(plan)] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Numbers;
    use crate::month::Timestamp;
    use crate::plan::Plans;

    #[test]
    fn a_tag_is_of_the_batch_and_of_the_number() {
        // The first values that splitmix64 gives for these seeds.
        assert_eq!((mix(0), mix(1_234_567)), (0xe220_a839_7b1d_cdaf, 6_457_827_717_110_365_317));
        let now = Now { holds: Timestamp::EPOCH, wall: Timestamp::EPOCH, entropy: 5 };
        let books = Books::new(1, Plans::standard(), Numbers { user: UserNo(3), ..Numbers::default() });
        assert_eq!(user_or_new(&books, &UserId::from_stored("u"), now).tag, mix(5 ^ 3));
    }
}

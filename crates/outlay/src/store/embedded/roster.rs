//! Every user in short, in memory: what lists and counts over all users need, so that they do not read a row per user.
//!
//! It says who is among the first by some key. The rows that are shown then come from the file, as of the same batch.
//! [`kept`] reads it at first use, and has it follow what is published.

mod chunks;
mod kept;

use std::cmp::Ordering;
use std::sync::Arc;

use outlay_core::budget::{MeterBudget, State};
use outlay_core::id::{Name, UserId, UserNo};
use outlay_core::ledger::Held;
use outlay_core::month::{Month, Timestamp};
use outlay_core::plan::{Amounts, Overrides, PerMeter, Plans};

use crate::store::{StoreError, UserSort, UsersAfter, UsersQuery};
use chunks::Chunks;
pub(super) use kept::KeptRoster;

/// What is known of a user apart from any month.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Person {
    /// Their id; `None` when they were erased, or when the number was never given.
    user_id: Option<UserId>,
    plan: Option<Name>,
    overrides: Option<Arc<Overrides>>,
}

/// What is known of a user's month; all zeros when they have no operation in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Line {
    used: Amounts,
    /// When the last operation was recorded, in nanoseconds; 0 when there is none.
    last_seen: i64,
}

impl Line {
    fn new(used: Amounts, last_updated_at: Option<Timestamp>) -> Self {
        let last_seen = last_updated_at.map_or(0, |at| i64::try_from(at.nanos()).unwrap_or(i64::MAX));
        Self { used, last_seen }
    }

    /// Whether there is an operation in the month.
    fn active(&self) -> bool {
        self.last_seen != 0
    }
}

type Lines = Chunks<Line>;
type People = Chunks<Person>;
type AllHeld = Chunks<Option<Arc<Held>>>;

/// All users, with one month of each, as of one batch. Places in the lists are users' numbers, less one.
#[derive(Debug)]
pub(super) struct Roster {
    people: People,
    held: AllHeld,
    month: Month,
    lines: Lines,
}

/// Where a user's number is in the lists.
fn place(no: UserNo) -> Result<usize, StoreError> {
    let place = no.0.checked_sub(1).and_then(|place| usize::try_from(place).ok());
    place.ok_or_else(|| StoreError::Corrupt("a user has the number 0".to_owned()))
}

/// The number at a place.
fn number(place: usize) -> UserNo {
    UserNo(place as u64 + 1)
}

impl Roster {
    /// What a user holds in the month.
    pub(super) fn held(&self, user_no: UserNo, now: Timestamp) -> Amounts {
        place(user_no).map_or(Amounts::ZERO, |place| self.held_at(place, now))
    }

    fn held_at(&self, place: usize, now: Timestamp) -> Amounts {
        let held = self.held.get(place).and_then(Option::as_ref);
        held.map_or(Amounts::ZERO, |held| held.at(self.month, now))
    }

    /// What all users hold now: every open hold touches the month that is running.
    pub(super) fn held_by_all(&self, now: Timestamp) -> PerMeter<i128> {
        let mut sums = PerMeter::<i128>::default();
        for held in self.held.iter().filter_map(|(_, held)| held.as_ref()) {
            let held = held.at(now.month(), now);
            sums = PerMeter::from_fn(|meter| sums.get(meter) + i128::from(*held.get(meter)));
        }
        sums
    }

    /// How many users have an operation in the month: those who are still known, and those who were erased.
    pub(super) fn active(&self) -> (u64, u64) {
        let all = self.lines.iter().filter(|(_, line)| line.active()).count() as u64;
        let known = self.of_month().count() as u64;
        (known, all - known)
    }

    /// The users of the month who were not erased.
    fn of_month(&self) -> impl Iterator<Item = (usize, &Person, &UserId, &Line)> {
        self.lines.iter().filter(|(_, line)| line.active()).filter_map(|(place, line)| {
            let person = self.people.get(place)?;
            Some((place, person, person.user_id.as_ref()?, line))
        })
    }

    /// How many users of the month there are in each state, those erased left out.
    pub(super) fn states(&self, plans: &Plans, now: Timestamp) -> [u64; 4] {
        let mut counts = [0; 4];
        for (place, person, _, line) in self.of_month() {
            let state = state(&self.meters(place, person, line, plans, now));
            let count = State::ALL.iter().position(|of| *of == state).and_then(|place| counts.get_mut(place));
            *count.expect("each state has a count") += 1;
        }
        counts
    }

    /// The users whose operations of the month cost most, the most first; among equals by id.
    pub(super) fn top_by_cost(&self, limit: usize) -> Vec<UserNo> {
        let found = self.of_month();
        let found = found.map(|(place, _, user_id, line)| Found { key: line.used.cost.into(), user_id, place });
        let mut found: Vec<Found<'_>> = found.collect();
        first(&mut found, limit, |a, b| b.cmp(&a), UserId::cmp);
        found.into_iter().map(|found| number(found.place)).collect()
    }

    /// The next users of a sorted list with their keys, and whether there are more.
    pub(super) fn list(&self, query: &UsersQuery, plans: &Plans, now: Timestamp) -> (Vec<(UserNo, UsersAfter)>, bool) {
        let by_key = |a: i128, b: i128| if query.descending { b.cmp(&a) } else { a.cmp(&b) };
        let by_id = |a: &UserId, b: &UserId| match query.sort {
            UserSort::UserId if query.descending => b.cmp(a),
            _ => a.cmp(b),
        };
        let nothing = Line::default();
        let mut found = Vec::new();
        for (place, person) in self.people.iter() {
            let Some(user_id) = &person.user_id else { continue };
            if query.plan.is_some()
                && plans.effective(person.plan.as_ref()).map(|plan| &plan.name) != query.plan.as_ref()
            {
                continue;
            }
            if query.prefix.as_ref().is_some_and(|prefix| !user_id.as_str().starts_with(prefix.as_str())) {
                continue;
            }
            let line = self.lines.get(place).unwrap_or(&nothing);
            if query.active && !line.active() {
                continue;
            }
            let meters = || self.meters(place, person, line, plans, now);
            if query.state.is_some_and(|asked| state(&meters()) != asked) {
                continue;
            }
            let key = match query.sort {
                UserSort::Cost => line.used.cost.into(),
                UserSort::AiRuns => line.used.ai_runs.into(),
                UserSort::ApiRuns => line.used.api_runs.into(),
                UserSort::LastSeen => line.last_seen.into(),
                UserSort::Percent => percent(&meters()),
                UserSort::UserId => 0,
            };
            let listed = query
                .after
                .as_ref()
                .is_some_and(|after| by_key(key, after.key).then_with(|| by_id(user_id, &after.user_id)).is_le());
            if !listed {
                found.push(Found { key, user_id, place });
            }
        }
        let more = found.len() > query.limit;
        first(&mut found, query.limit, by_key, by_id);
        let with_keys = found
            .into_iter()
            .map(|found| (number(found.place), UsersAfter { key: found.key, user_id: found.user_id.clone() }));
        (with_keys.collect(), more)
    }

    fn meters(
        &self,
        place: usize,
        person: &Person,
        line: &Line,
        plans: &Plans,
        now: Timestamp,
    ) -> PerMeter<MeterBudget> {
        let of_plan = plans.effective(person.plan.as_ref()).map_or_else(Default::default, |plan| plan.limits);
        let limits = person.overrides.as_ref().map_or(of_plan, |overrides| overrides.over(&of_plan));
        let held = self.held_at(place, now);
        PerMeter::from_fn(|meter| MeterBudget {
            used: *line.used.get(meter),
            held: *held.get(meter),
            limit: *limits.get(meter),
        })
    }
}

/// A user in a list, with the key that it is sorted by.
struct Found<'r> {
    key: i128,
    user_id: &'r UserId,
    place: usize,
}

/// Keeps the first few of an order by key and then by id, sorted. Ids are compared only where keys are equal, and of
/// those only where they are near the last one that is kept.
fn first(
    of: &mut Vec<Found<'_>>,
    limit: usize,
    by_key: impl Fn(i128, i128) -> Ordering,
    by_id: impl Fn(&UserId, &UserId) -> Ordering,
) {
    let order = |a: &Found<'_>, b: &Found<'_>| by_key(a.key, b.key).then_with(|| by_id(a.user_id, b.user_id));
    if let Some(last) = limit.checked_sub(1).filter(|last| of.len() > *last) {
        let (_, last_key, _) = of.select_nth_unstable_by(last, |a, b| by_key(a.key, b.key));
        let last_key = last_key.key;
        of.retain(|found| by_key(found.key, last_key).is_le());
        of.select_nth_unstable_by(last, order);
    }
    of.truncate(limit);
    of.sort_unstable_by(order);
}

fn state(meters: &PerMeter<MeterBudget>) -> State {
    meters.iter().map(|(_, meter)| meter.state()).max().unwrap_or_default()
}

/// The highest percentage of a limit, in hundredths; 0 when nothing is limited.
fn percent(meters: &PerMeter<MeterBudget>) -> i128 {
    meters.iter().filter_map(|(_, meter)| meter.percent_hundredths()).max().unwrap_or(0)
}

#[cfg(test)]
mod tests;

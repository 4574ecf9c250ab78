//! Every user in short: what lists and counts over all users need, so that they do not read a row per user.
//!
//! It says who is among the first by some key. The rows that are shown then come from the file, of the same batch.

use std::sync::Arc;

use hashbrown::HashMap;
use outlay_core::budget::{MeterBudget, State};
use outlay_core::id::{Name, UserId, UserNo};
use outlay_core::ledger::Held;
use outlay_core::month::{Month, Timestamp};
use outlay_core::plan::{Amounts, Limits, Overrides, PerMeter, Plans};
use rusqlite::Connection;

use super::codec::{self, RowReader};
use super::load;
use super::names::Names;
use crate::store::{StoreError, UserSort, UsersAfter, UsersQuery};

/// Values in a piece that is copied when one of them changes while a reader holds it.
const CHUNK: usize = 256;

/// A long list of which a copy shares all that does not change.
#[derive(Debug, Clone)]
struct Chunks<T>(Vec<Arc<Vec<T>>>);

impl<T: Clone + Default> Chunks<T> {
    const EMPTY: Self = Self(Vec::new());

    fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// The value at a place, to change it. The list grows to hold it.
    fn at(&mut self, index: usize) -> &mut T {
        while self.0.len() <= index / CHUNK {
            self.0.push(Arc::new(vec![T::default(); CHUNK]));
        }
        let chunk = self.0.get_mut(index / CHUNK).map(Arc::make_mut);
        chunk.and_then(|chunk| chunk.get_mut(index % CHUNK)).expect("the list has grown to hold the place")
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flat_map(|chunk| chunk.iter())
    }
}

/// What is known of a user apart from any month.
#[derive(Debug, Clone, Default)]
struct Person {
    /// Their id; `None` when they were erased, or when the number was never given.
    user_id: Option<UserId>,
    /// The place of their plan's name among [`Roster::plans`]; 0 is none of their own.
    plan: usize,
    overrides: Option<Arc<Overrides>>,
}

/// What is known of a user's month; all zeros when they have no operation in it.
#[derive(Debug, Clone, Copy, Default)]
struct Line {
    used: Amounts,
    operations: u64,
    last_seen: Option<Timestamp>,
}

/// All users, with one month of each, as of one batch.
#[derive(Debug, Clone)]
pub(super) struct Roster {
    people: Chunks<Person>,
    /// By number, one below.
    month: Month,
    lines: Chunks<Line>,
    /// Names of plans that users are on; the first stands for none.
    plans: Vec<Option<Name>>,
    held: HashMap<UserNo, Arc<Held>, foldhash::fast::FixedState>,
}

/// Where a user's number is in the lists.
fn place(no: u64) -> Result<usize, StoreError> {
    let place = no.checked_sub(1).and_then(|place| usize::try_from(place).ok());
    place.ok_or_else(|| StoreError::Corrupt("a user has the number 0".to_owned()))
}

/// The number at a place.
fn number(place: usize) -> UserNo {
    UserNo(place as u64 + 1)
}

impl Roster {
    /// Reads all users with one month.
    pub(super) fn read(connection: &Connection, names: &Names, month: Month) -> Result<Self, StoreError> {
        let mut roster =
            Self { people: Chunks::EMPTY, month, lines: Chunks::EMPTY, plans: vec![None], held: HashMap::default() };
        let sql = load::select(codec::ROSTER_COLUMNS, "user order by no");
        let mut statement = connection.prepare_cached(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row);
            let place = place(row.number()?)?;
            let user_id = row.text()?.map(UserId::from_stored);
            let plan = roster.plan(row.text()?);
            let overrides = codec::read_overrides(&mut row)?;
            let overrides = (overrides != Overrides::default()).then(|| Arc::new(overrides));
            *roster.people.at(place) = Person { user_id, plan, overrides };
        }
        let sql = "select user, cost, ai_runs, api_runs, operations, updated_at from user_month where month = ?";
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([month.index()])?;
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row);
            let place = place(row.number()?)?;
            let used = Amounts { cost: row.required()?, ai_runs: row.required()?, api_runs: row.required()? };
            *roster.lines.at(place) = Line { used, operations: row.number()?, last_seen: row.optional_time()? };
        }
        for session in load::open_holds(connection, names)? {
            Arc::make_mut(roster.held.entry(session.user_no).or_default()).insert(&session);
        }
        Ok(roster)
    }

    fn plan(&mut self, name: Option<&str>) -> usize {
        let known = self.plans.iter().position(|known| known.as_ref().map(Name::as_str) == name);
        known.unwrap_or_else(|| {
            self.plans.push(name.map(Name::from_stored));
            self.plans.len() - 1
        })
    }

    /// What a user holds in the month.
    pub(super) fn held(&self, user_no: UserNo, now: Timestamp) -> Amounts {
        self.held.get(&user_no).map_or(Amounts::ZERO, |held| held.at(self.month, now))
    }

    /// What all users hold now: every open hold touches the month that is running.
    pub(super) fn held_by_all(&self, now: Timestamp) -> PerMeter<i128> {
        let mut sums = PerMeter::<i128>::default();
        for held in self.held.values() {
            let held = held.at(now.month(), now);
            sums = PerMeter::from_fn(|meter| sums.get(meter) + i128::from(*held.get(meter)));
        }
        sums
    }

    /// How many users have an operation in the month, erased ones too.
    pub(super) fn active(&self) -> u64 {
        self.lines.iter().filter(|line| line.operations > 0).count() as u64
    }

    /// How many users of the month there are in each state, those erased left out.
    pub(super) fn states(&self, plans: &Plans, now: Timestamp) -> [u64; 4] {
        let limits = self.limits(plans);
        let mut counts = [0; 4];
        for (place, (line, person)) in self.lines.iter().zip(self.people.iter()).enumerate() {
            if line.operations > 0 && person.user_id.is_some() {
                let state = state(&self.meters(place, person, line, &limits, now));
                let count = State::ALL.iter().position(|of| *of == state).and_then(|place| counts.get_mut(place));
                *count.expect("each state has a count") += 1;
            }
        }
        counts
    }

    /// The users whose operations of the month cost most, the most first; among equals by id.
    pub(super) fn top_by_cost(&self, limit: usize) -> Vec<UserNo> {
        let mut found: Vec<Found<'_>> = self
            .lines
            .iter()
            .zip(self.people.iter())
            .enumerate()
            .filter(|(_, (line, _))| line.operations > 0)
            .filter_map(|(place, (line, person))| {
                Some(Found { key: i128::from(line.used.cost), user_id: person.user_id.as_ref()?, no: number(place) })
            })
            .collect();
        first(&mut found, limit, |a, b| b.key.cmp(&a.key).then_with(|| a.user_id.cmp(b.user_id)));
        found.into_iter().map(|found| found.no).collect()
    }

    /// The next users of a sorted list with their keys, and whether there are more.
    pub(super) fn list(&self, query: &UsersQuery, plans: &Plans, now: Timestamp) -> (Vec<(UserNo, UsersAfter)>, bool) {
        let limits = self.limits(plans);
        let on_plan: Vec<bool> = self
            .plans
            .iter()
            .map(|name| {
                let effective = plans.effective(name.as_ref()).map(|plan| &plan.name);
                query.plan.as_ref().is_none_or(|asked| effective == Some(asked))
            })
            .collect();
        let nothing = Line::default();
        let order = |a: &Found<'_>, b: &Found<'_>| {
            let (by_key, by_id) = (a.key.cmp(&b.key), a.user_id.cmp(b.user_id));
            match (query.sort, query.descending) {
                (UserSort::UserId, true) => by_id.reverse(),
                (UserSort::UserId, false) => by_id,
                (_, true) => by_key.reverse().then(by_id),
                (_, false) => by_key.then(by_id),
            }
        };
        let after = query.after.as_ref();
        let after = after.map(|after| Found { key: after.key, user_id: &after.user_id, no: UserNo(0) });
        let mut found = Vec::new();
        for (place, person) in self.people.iter().enumerate() {
            let Some(user_id) = &person.user_id else { continue };
            if !on_plan.get(person.plan).is_some_and(|on_plan| *on_plan)
                || query.prefix.as_ref().is_some_and(|prefix| !user_id.as_str().starts_with(prefix.as_str()))
            {
                continue;
            }
            let line = self.lines.get(place).unwrap_or(&nothing);
            let meters = || self.meters(place, person, line, &limits, now);
            if query.state.is_some_and(|asked| state(&meters()) != asked) {
                continue;
            }
            let key = match query.sort {
                UserSort::Cost => line.used.cost.into(),
                UserSort::AiRuns => line.used.ai_runs.into(),
                UserSort::ApiRuns => line.used.api_runs.into(),
                UserSort::LastSeen => line.last_seen.map_or(0, Timestamp::nanos),
                UserSort::Percent => percent(&meters()),
                UserSort::UserId => 0,
            };
            let user = Found { key, user_id, no: number(place) };
            if after.as_ref().is_none_or(|after| order(&user, after).is_gt()) {
                found.push(user);
            }
        }
        let more = found.len() > query.limit;
        first(&mut found, query.limit, order);
        let with_keys = found
            .into_iter()
            .map(|found| (found.no, UsersAfter { key: found.key, user_id: found.user_id.clone() }))
            .collect();
        (with_keys, more)
    }

    /// The limits of each of the plans, in their order.
    fn limits(&self, plans: &Plans) -> Vec<Limits> {
        let limits =
            |name: &Option<Name>| plans.effective(name.as_ref()).map_or_else(Default::default, |plan| plan.limits);
        self.plans.iter().map(limits).collect()
    }

    fn meters(
        &self,
        place: usize,
        person: &Person,
        line: &Line,
        limits: &[Limits],
        now: Timestamp,
    ) -> PerMeter<MeterBudget> {
        let of_plan = limits.get(person.plan).copied().unwrap_or_default();
        let limits = person.overrides.as_ref().map_or(of_plan, |overrides| overrides.over(&of_plan));
        let held = if self.held.is_empty() { Amounts::ZERO } else { self.held(number(place), now) };
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
    no: UserNo,
}

/// Keeps the first few of an order, sorted.
fn first<T>(of: &mut Vec<T>, limit: usize, order: impl Fn(&T, &T) -> std::cmp::Ordering) {
    if of.len() > limit && limit > 0 {
        of.select_nth_unstable_by(limit - 1, &order);
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

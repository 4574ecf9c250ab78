//! The roster as it is kept: read from the file at first use, and then changed by each batch that is published.
//!
//! While a part is being read, what batches change of it is noted beside it, and put over what was read. A reader gets
//! the roster of exactly the batch that its snapshot shows, or none: then it takes a newer snapshot.

use std::sync::Arc;

use hashbrown::HashMap;
use outlay_core::id::{Name, UserId, UserNo};
use outlay_core::ledger::{Held, UserView};
use outlay_core::month::Month;
use outlay_core::plan::{Amounts, Overrides};
use outlay_core::user::User;
use parking_lot::Mutex;
use rusqlite::Connection;

use super::{AllHeld, Chunks, Line, Lines, People, Person, Roster, place};
use crate::store::StoreError;
use crate::store::embedded::codec::{self, RowReader};
use crate::store::embedded::load;
use crate::store::embedded::reads::Snapshot;

/// Months kept at a time: the running one, the one before, and one that somebody looks at.
const MONTHS_MAX: usize = 3;

/// A list and how far it is there.
#[derive(Debug)]
enum Part<T> {
    /// Not yet wanted.
    Absent,
    /// Being read as of this batch; what was changed since.
    Reading(u64, HashMap<usize, T, foldhash::fast::FixedState>),
    /// As of the last batch that was published.
    Kept(Chunks<T>),
}

impl<T: Clone + Default + PartialEq> Part<T> {
    fn set(&mut self, place: usize, value: T) {
        match self {
            Self::Absent => {}
            Self::Reading(_, changed) => {
                changed.insert(place, value);
            }
            Self::Kept(chunks) => {
                // Most of what is set is as it was, and a piece that does not change is not copied.
                if chunks.get(place) != Some(&value) {
                    *chunks.at(place) = value;
                }
            }
        }
    }

    fn kept(&self) -> Option<&Chunks<T>> {
        match self {
            Self::Kept(chunks) => Some(chunks),
            _ => None,
        }
    }

    /// Keeps what was read as of a batch, with what was changed since over it.
    fn keep(&mut self, batch: u64, mut read: Chunks<T>) {
        if let Self::Reading(since, changed) = self
            && *since == batch
        {
            for (place, value) in changed.drain() {
                *read.at(place) = value;
            }
            *self = Self::Kept(read);
        }
    }
}

#[derive(Debug)]
struct State {
    /// The last batch that was published.
    batch: u64,
    people: Part<Person>,
    /// What is held is known from the start, as the writer's books know it.
    held: AllHeld,
    /// The one asked for last comes last.
    months: Vec<(Month, Part<Line>)>,
}

/// The roster, for readers and for the writer who publishes.
#[derive(Debug)]
pub(in crate::store::embedded) struct KeptRoster(Mutex<State>);

/// What a reader has to read itself before it has a roster.
#[derive(Debug)]
struct Missing {
    people: bool,
    months: Vec<Month>,
    /// As of which batch.
    batch: u64,
}

impl KeptRoster {
    pub(in crate::store::embedded) fn new(batch: u64) -> Self {
        Self(Mutex::new(State { batch, people: Part::Absent, held: Chunks::default(), months: Vec::new() }))
    }

    /// Shows a durable batch: who changed, and who is nobody any more.
    pub(in crate::store::embedded) fn publish(&self, batch: u64, views: &[(UserId, UserView)], erased: &[Arc<User>]) {
        let mut state = self.0.lock();
        state.batch = batch;
        for user in erased {
            let place = place(user.no).expect("users are numbered from 1");
            state.people.set(place, Person::default());
            state.hold(place, None);
            // What they used may be of this very batch, and stays in the sums.
            for (_, lines) in state.months.iter_mut().filter(|(month, _)| user.months.contains(month)) {
                lines.set(place, Line { used: Amounts::ZERO, last_seen: 1 });
            }
        }
        for (user_id, view) in views {
            let Some(user) = &view.user else { continue };
            let place = place(user.no).expect("users are numbered from 1");
            if !matches!(state.people, Part::Absent) {
                let overrides = (user.overrides != Overrides::default()).then(|| Arc::new(user.overrides));
                let person = Person { user_id: Some(user_id.clone()), plan: user.plan.clone(), overrides };
                state.people.set(place, person);
            }
            state.hold(place, Some(&view.held));
            for (month, lines) in &mut state.months {
                if let Some(row) = view.months.iter().find(|row| row.month == *month) {
                    lines.set(place, Line::new(row.used, row.last_updated_at));
                }
            }
        }
    }

    /// Puts what a user held when the store was opened.
    pub(in crate::store::embedded) fn begin(&self, user_no: UserNo, held: &Arc<Held>) {
        self.0.lock().hold(place(user_no).expect("users are numbered from 1"), Some(held));
    }

    /// What a user holds as of a snapshot's batch; `None` when a newer one was published.
    pub(in crate::store::embedded) fn held(&self, batch: u64, user_no: UserNo) -> Option<Arc<Held>> {
        let state = self.0.lock();
        let held = place(user_no).ok().and_then(|place| state.held.get(place)).cloned().flatten();
        (state.batch == batch).then(|| held.unwrap_or_default())
    }

    /// The rosters of some months as of a snapshot's batch; `None` when a newer one was published. What is not kept is
    /// read from the snapshot.
    pub(in crate::store::embedded) fn of<const N: usize>(
        &self,
        snapshot: &Snapshot<'_>,
        months: [Month; N],
    ) -> Result<Option<[Roster; N]>, StoreError> {
        let batch = snapshot.batch;
        let (missing, held, mut people, mut lines) = {
            let mut state = self.0.lock();
            if state.batch != batch {
                return Ok(None);
            }
            let mut missing = Missing { people: false, months: Vec::new(), batch };
            let people = state.people.kept().cloned();
            if matches!(state.people, Part::Absent) {
                state.people = Part::Reading(batch, HashMap::default());
                missing.people = true;
            }
            let lines = months.map(|month| state.lines(month, &mut missing));
            (missing, state.held.clone(), people, lines)
        };
        let read = self.read_missing(snapshot, &missing, &mut people, &months, &mut lines);
        if read.is_err() {
            self.forget(&missing);
        }
        read?;
        let mut lines = lines.into_iter();
        let people = people.unwrap_or_default();
        Ok(Some(months.map(|month| Roster {
            people: people.clone(),
            held: held.clone(),
            month,
            lines: lines.next().flatten().unwrap_or_default(),
        })))
    }

    /// Reads what the state did not have, and keeps what this reader has begun to read.
    fn read_missing(
        &self,
        snapshot: &Snapshot<'_>,
        missing: &Missing,
        people: &mut Option<People>,
        months: &[Month],
        lines: &mut [Option<Lines>],
    ) -> Result<(), StoreError> {
        if people.is_none() {
            let read = read_people(&snapshot.transaction)?;
            if missing.people {
                self.0.lock().people.keep(missing.batch, read.clone());
            }
            *people = Some(read);
        }
        for (month, lines) in months.iter().zip(lines).filter(|(_, lines)| lines.is_none()) {
            let read = read_month(snapshot, *month)?;
            if missing.months.contains(month)
                && let Some((_, part)) = self.0.lock().months.iter_mut().find(|(of, _)| of == month)
            {
                part.keep(missing.batch, read.clone());
            }
            *lines = Some(read);
        }
        Ok(())
    }

    /// Gives up what could not be read.
    fn forget(&self, missing: &Missing) {
        let mut state = self.0.lock();
        if missing.people && state.people.kept().is_none() {
            state.people = Part::Absent;
        }
        state.months.retain(|(month, part)| !missing.months.contains(month) || part.kept().is_some());
    }
}

impl State {
    fn hold(&mut self, place: usize, held: Option<&Arc<Held>>) {
        let held = held.filter(|held| ***held != Held::default());
        if self.held.get(place).and_then(Option::as_ref) != held {
            *self.held.at(place) = held.cloned();
        }
    }

    /// The lines of a month, if they are kept; else whether the reader is the one to read them is added to `missing`.
    fn lines(&mut self, month: Month, missing: &mut Missing) -> Option<Lines> {
        if let Some(known) = self.months.iter().position(|(of, _)| *of == month) {
            let known = self.months.remove(known);
            let lines = known.1.kept().cloned();
            self.months.push(known);
            return lines;
        }
        if self.months.len() >= MONTHS_MAX {
            self.months.remove(0);
        }
        self.months.push((month, Part::Reading(missing.batch, HashMap::default())));
        missing.months.push(month);
        None
    }
}

fn read_people(connection: &Connection) -> Result<People, StoreError> {
    let mut people = People::default();
    // One text for each name, however many users are on that plan.
    let mut plans: Vec<Name> = Vec::new();
    let mut statement = connection.prepare_cached(&load::select(codec::ROSTER_COLUMNS, "user order by no"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        let place = place(UserNo(row.number()?))?;
        let user_id = row.text()?.map(UserId::from_stored);
        let plan = row.text()?.map(|name| {
            plans.iter().find(|known| known.as_str() == name).cloned().unwrap_or_else(|| {
                let name = Name::from_stored(name);
                plans.push(name.clone());
                name
            })
        });
        let overrides = codec::read_overrides(&mut row)?;
        let overrides = (overrides != Overrides::default()).then(|| Arc::new(overrides));
        *people.at(place) = Person { user_id, plan, overrides };
    }
    Ok(people)
}

fn read_month(snapshot: &Snapshot<'_>, month: Month) -> Result<Lines, StoreError> {
    let mut lines = Lines::default();
    let sql = "select user, cost, ai_runs, api_runs, updated_at from user_month where month = ? order by user";
    let mut statement = snapshot.transaction.prepare_cached(sql)?;
    let mut rows = statement.query([month.index()])?;
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        let place = place(UserNo(row.number()?))?;
        let used = Amounts { cost: row.required()?, ai_runs: row.required()?, api_runs: row.required()? };
        *lines.at(place) = Line::new(used, row.optional_time()?);
    }
    for ((_, user_no), newer) in snapshot.shared.unswept.all(snapshot.batch, |of| of == month) {
        *lines.at(place(user_no)?) = Line::new(newer.month.used, newer.month.last_updated_at);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_while_a_part_is_read_is_put_over_what_was_read() {
        let mut read = Chunks::<u64>::default();
        *read.at(1) = 10;
        *read.at(2) = 20;
        let mut part = Part::Reading(7, HashMap::default());
        part.set(2, 21);
        part.set(300, 3);
        part.keep(6, Chunks::default());
        assert!(part.kept().is_none(), "what was read as of another batch lacks what changed in between");
        part.keep(7, read);
        part.set(1, 11);
        let kept = part.kept().unwrap();
        assert_eq!([1, 2, 300].map(|place| kept.get(place).copied()), [Some(11), Some(21), Some(3)]);
        let mut absent = Part::Absent;
        absent.set(1, 1);
        assert!(absent.kept().is_none());
    }
}

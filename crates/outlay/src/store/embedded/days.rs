//! Day sums: packed per user and day, and plain rows per day over all users.
//!
//! Nearly every operation is of its user's newest day. The sums of that day lie in the row of the user's month, which
//! every operation rewrites anyway, so that an operation writes one page at a random place and not two. When a newer
//! day begins they move to a row of their own, where an operation of an older day finds them.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outlay_core::breakdown::{COMBINATIONS_MAX, COMBINATIONS_MAX_ALL_USERS, Dimensions, Sums, TokenSums};
use outlay_core::id::UserNo;
use outlay_core::money::UsdSum;
use outlay_core::month::{Day, Month};
use outlay_core::operation::{Operation, UsageType};
use rusqlite::Connection;

use super::codec::{RowReader, RowWriter, stored};
use super::load::one;
use super::names::{Kind, NONE, Names, OTHER};
use crate::store::StoreError;

/// Users' newest days kept in memory between batches; beyond, all are forgotten and read again when needed.
const CACHED_DAYS_MAX: usize = 200_000;

/// Packed days are filled up with spaces to a multiple of this many bytes. A row that keeps its length is written over in
/// its place; one that grows moves its neighbours about, and each time SQLite then looks through its whole cache of pages.
const PACKED_STEP: usize = 128;

/// A combination as numbers: usage type (0 AI, 1 API), feature, provider, model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Combination {
    usage_type: i64,
    feature: i64,
    provider: i64,
    model: i64,
}

impl Combination {
    fn of(operation: &Operation, names: &Names) -> Self {
        Self {
            usage_type: i64::from(operation.usage_type == UsageType::Api),
            feature: Names::booked(names.no(Kind::Feature, Some(&operation.feature))),
            provider: Names::booked(names.no(Kind::Provider, Some(&operation.provider))),
            model: Names::booked(names.no(Kind::Model, operation.model.as_ref())),
        }
    }

    /// That of sums which are there, by the names of this file.
    fn of_dimensions(of: &Dimensions, names: &Names) -> Self {
        Self {
            usage_type: i64::from(of.usage_type == UsageType::Api),
            feature: Names::booked(names.no(Kind::Feature, Some(&of.feature))),
            provider: Names::booked(names.no(Kind::Provider, Some(&of.provider))),
            model: Names::booked(names.no(Kind::Model, of.model.as_ref())),
        }
    }

    /// Where a full day books what it keeps no row of its own for.
    fn other(self) -> Self {
        let model = if self.model == NONE { NONE } else { OTHER };
        Self { feature: OTHER, provider: OTHER, model, ..self }
    }

    pub(super) fn dimensions(self, names: &Names) -> Result<Dimensions, StoreError> {
        let known =
            |kind, no| names.text(kind, no)?.ok_or_else(|| StoreError::Corrupt(format!("a day names no {kind:?}")));
        Ok(Dimensions {
            usage_type: if self.usage_type == 0 { UsageType::Ai } else { UsageType::Api },
            feature: known(Kind::Feature, self.feature)?,
            provider: known(Kind::Provider, self.provider)?,
            model: names.text(Kind::Model, self.model)?,
        })
    }
}

pub(super) type Combinations = Vec<(Combination, Sums)>;

/// The newest day of a user's month that has operations, with its sums.
#[derive(Debug)]
struct Newest {
    day: Day,
    sums: Combinations,
    changed: bool,
}

/// The day rows that batches changed, and those in memory.
#[derive(Debug, Default)]
pub(super) struct Days {
    newest: HashMap<(Month, UserNo), Newest, FixedState>,
    changed: Vec<(Month, UserNo)>,
    /// Rows of this batch for days that are not the newest of their month, or are no longer.
    older: BTreeMap<(Day, UserNo), Combinations>,
    all: BTreeMap<Day, HashMap<Combination, (Sums, bool), FixedState>>,
    changed_all: Vec<(Day, Combination)>,
}

impl Days {
    /// Adds an operation of the batch.
    pub(super) fn add(
        &mut self,
        connection: &Connection,
        operation: &Operation,
        names: &Names,
    ) -> Result<(), StoreError> {
        self.read(connection, operation.timestamp.day(), operation.user_no)?;
        self.recount(operation, names);
        Ok(())
    }

    /// Adds sums that no operation tells of.
    pub(super) fn add_sums(
        &mut self,
        connection: &Connection,
        user_no: UserNo,
        (day, of, sums): &(Day, Dimensions, Sums),
        names: &Names,
    ) -> Result<(), StoreError> {
        self.read(connection, *day, user_no)?;
        let combination = Combination::of_dimensions(of, names);
        add_to(self.rows((*day, user_no)), combination, sums);
        self.add_to_all(*day, combination, sums);
        Ok(())
    }

    /// Reads the rows that sums of a user's day are added to.
    fn read(&mut self, connection: &Connection, day: Day, user_no: UserNo) -> Result<(), StoreError> {
        let of_month = (day.month(), user_no);
        if !self.newest.contains_key(&of_month)
            && let Some((day, sums)) = newest_day(connection, of_month.0, user_no)?
        {
            self.newest.insert(of_month, Newest { day, sums, changed: false });
        }
        let is_older = self.newest.get(&of_month).is_some_and(|newest| day < newest.day);
        if is_older && !self.older.contains_key(&(day, user_no)) {
            self.older.insert((day, user_no), older_day(connection, day, user_no)?);
        }
        if let std::collections::btree_map::Entry::Vacant(entry) = self.all.entry(day) {
            let rows = all_days(connection, day..=day)?.into_iter();
            entry.insert(rows.map(|(_, combination, sums)| (combination, (sums, false))).collect());
        }
        Ok(())
    }

    /// Adds an operation to what is in memory. What is not there counts as zero: that is for counting from the first one.
    pub(super) fn recount(&mut self, operation: &Operation, names: &Names) {
        let combination = Combination::of(operation, names);
        let (day, sums) = (operation.timestamp.day(), Sums::of(operation));
        add_to(self.rows((day, operation.user_no)), combination, &sums);
        self.add_to_all(day, combination, &sums);
    }

    /// The rows of a user's day, which become the newest's of its month if they are newer.
    fn rows(&mut self, key: (Day, UserNo)) -> &mut Combinations {
        let of_month = (key.0.month(), key.1);
        let newest = self.newest.entry(of_month).or_insert_with(|| Newest {
            day: key.0,
            sums: Combinations::new(),
            changed: false,
        });
        if key.0 < newest.day {
            return self.older.entry(key).or_default();
        }
        if newest.day < key.0 {
            self.older.insert((newest.day, key.1), std::mem::take(&mut newest.sums));
            newest.day = key.0;
        }
        if !std::mem::replace(&mut newest.changed, true) {
            self.changed.push(of_month);
        }
        &mut newest.sums
    }

    fn add_to_all(&mut self, day: Day, combination: Combination, sums: &Sums) {
        let rows = self.all.entry(day).or_default();
        let full = rows.len() >= COMBINATIONS_MAX_ALL_USERS && !rows.contains_key(&combination);
        let combination = if full { combination.other() } else { combination };
        let (row, changed) = rows.entry(combination).or_default();
        *row = row.and(sums);
        if !std::mem::replace(changed, true) {
            self.changed_all.push((day, combination));
        }
    }

    /// Takes the newest day of a user's month out of what was counted.
    pub(super) fn take_newest(&mut self, month: Month, user_no: UserNo) -> Option<(Day, Combinations)> {
        self.newest.remove(&(month, user_no)).map(|newest| (newest.day, newest.sums))
    }

    /// Takes the other days of the users out of what was counted.
    pub(super) fn take_older(&mut self) -> BTreeMap<(Day, UserNo), Combinations> {
        std::mem::take(&mut self.older)
    }

    /// Takes the days of all users out of what was counted.
    pub(super) fn take_all(&mut self) -> BTreeMap<(Day, Combination), Sums> {
        let all = std::mem::take(&mut self.all).into_iter();
        all.flat_map(|(day, rows)| rows.into_iter().map(move |(of, (sums, _))| ((day, of), sums))).collect()
    }

    /// What the row of a user's month is to say of its newest day, if this batch changed that: the day, and its sums as
    /// text, which is put into `text`.
    pub(super) fn newest<'t>(&self, month: Month, user_no: UserNo, text: &'t mut String) -> Option<(Day, &'t str)> {
        let newest = self.newest.get(&(month, user_no)).filter(|newest| newest.changed)?;
        pack(&newest.sums, text);
        Some((newest.day, text))
    }

    /// Writes the rows that the batch changed, in key order, but for those that [`Days::newest`] gives.
    pub(super) fn write(&mut self, connection: &Connection, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(
            "insert into user_day values (?, ?, ?) on conflict (day, user) do update set sums = excluded.sums",
        )?;
        let mut text = String::new();
        for ((day, user_no), rows) in &self.older {
            pack(rows, &mut text);
            let mut row = RowWriter::new(&mut statement, bytes);
            row.int(i64::from(day.index()))?.number(user_no.0)?.text(text.as_str())?.write()?;
        }
        self.changed_all.sort_unstable();
        let mut statement = connection.prepare_cached(
            "insert into all_day values (?,?,?,?,?,?,?,?,?,?) on conflict do update set cost = excluded.cost, \
             operations = excluded.operations, runs = excluded.runs, input = excluded.input, output = excluded.output",
        )?;
        for (day, combination) in &self.changed_all {
            let Some((sums, _)) = self.all.get(day).and_then(|rows| rows.get(combination)) else { continue };
            let mut row = RowWriter::new(&mut statement, bytes);
            row.int(i64::from(day.index()))?.int(combination.usage_type)?.int(combination.feature)?;
            row.int(combination.provider)?.int(combination.model)?.wide(sums.cost.picos())?;
            row.number(sums.operations)?.int(sums.billable_runs)?;
            row.number(sums.tokens.input)?.number(sums.tokens.output)?.write()?;
        }
        Ok(())
    }

    /// The batch is durable: what is in memory is what is in the file.
    pub(super) fn committed(&mut self) {
        self.older.clear();
        if self.newest.len() > CACHED_DAYS_MAX {
            self.newest.clear();
            self.changed.clear();
        }
        for key in self.changed.drain(..) {
            if let Some(newest) = self.newest.get_mut(&key) {
                newest.changed = false;
            }
        }
        for (day, combination) in self.changed_all.drain(..) {
            if let Some((_, changed)) = self.all.get_mut(&day).and_then(|rows| rows.get_mut(&combination)) {
                *changed = false;
            }
        }
        while self.all.len() > 64 {
            self.all.pop_first();
        }
    }
}

/// Adds to the sums of one combination of a day, or of the one for what is beyond the most that a day keeps apart.
fn add_to(rows: &mut Combinations, combination: Combination, sums: &Sums) {
    let known = |rows: &Combinations, combination| rows.iter().position(|(of, _)| *of == combination);
    let place = known(rows, combination)
        .or_else(|| if rows.len() < COMBINATIONS_MAX { None } else { known(rows, combination.other()) });
    if let Some((_, row)) = place.and_then(|place| rows.get_mut(place)) {
        *row = row.and(sums);
    } else {
        let full = rows.len() >= COMBINATIONS_MAX;
        rows.push((if full { combination.other() } else { combination }, *sums));
    }
}

/// Packs a day as a JSON array of `[usageType, feature, provider, model, cost, operations, runs, input, output]`, which
/// `json_each` unfolds.
fn pack(rows: &Combinations, text: &mut String) {
    text.clear();
    text.push('[');
    for (index, (combination, sums)) in rows.iter().enumerate() {
        let tokens = &sums.tokens;
        let values: [i128; 9] = [
            combination.usage_type.into(),
            combination.feature.into(),
            combination.provider.into(),
            combination.model.into(),
            sums.cost.picos(),
            sums.operations.into(),
            sums.billable_runs.into(),
            tokens.input.into(),
            tokens.output.into(),
        ];
        for (place, value) in values.iter().enumerate() {
            text.push_str(match (index, place) {
                (0, 0) => "[",
                (_, 0) => "],[",
                _ => ",",
            });
            // Nearly all are small; the wide type is there for sums only.
            match i64::try_from(*value) {
                Ok(value) => text.push_str(itoa::Buffer::new().format(value)),
                Err(_) => text.push_str(&value.to_string()),
            }
        }
    }
    text.push_str(if rows.is_empty() { "]" } else { "]]" });
    let padded = text.len().next_multiple_of(PACKED_STEP);
    text.extend(std::iter::repeat_n(' ', padded - text.len()));
}

fn unpack(text: &str) -> Result<Combinations, StoreError> {
    let rows: Vec<[i64; 9]> =
        serde_json::from_str(text).map_err(|_| StoreError::Corrupt("a packed day cannot be read".to_owned()))?;
    Ok(rows
        .into_iter()
        .map(|[usage_type, feature, provider, model, cost, operations, runs, input, output]| {
            let sums = Sums {
                cost: UsdSum::from_picos(cost.into()),
                operations: operations.cast_unsigned(),
                billable_runs: runs,
                tokens: TokenSums { input: input.cast_unsigned(), output: output.cast_unsigned() },
            };
            (Combination { usage_type, feature, provider, model }, sums)
        })
        .collect())
}

/// The newest day of a user's month, which lies in the month's row.
pub(super) fn newest_day(
    connection: &Connection,
    month: Month,
    user_no: UserNo,
) -> Result<Option<(Day, Combinations)>, StoreError> {
    let sql = "select day, day_sums from user_month where month = ? and user = ?";
    let row = one(connection, sql, (month.index(), stored(user_no.0)), |row| read_newest(&mut RowReader::new(row)))?;
    Ok(row.flatten())
}

/// Reads the columns `day, day_sums`; a month without operations has neither.
pub(super) fn read_newest(row: &mut RowReader<'_, '_>) -> Result<Option<(Day, Combinations)>, StoreError> {
    let (day, sums) = (row.int()?, row.text()?);
    day.zip(sums).map(|(day, sums)| Ok((read_day(day)?, unpack(sums)?))).transpose()
}

/// One user's day that is not the newest of its month.
fn older_day(connection: &Connection, day: Day, user_no: UserNo) -> Result<Combinations, StoreError> {
    let sql = "select sums from user_day where day = ? and user = ?";
    let row =
        one(connection, sql, (day.index(), stored(user_no.0)), |row| unpack(RowReader::new(row).required_text()?))?;
    Ok(row.unwrap_or_default())
}

/// All days of a user's month that have operations, in order.
pub(super) fn days_of_month(
    connection: &Connection,
    month: Month,
    user_no: UserNo,
) -> Result<Vec<(Day, Combinations)>, StoreError> {
    let Some(newest) = newest_day(connection, month, user_no)? else { return Ok(Vec::new()) };
    let mut days = Vec::new();
    for day in (1..=month.days()).map(|day| Day::new(month, day)).take_while(|day| *day < newest.0) {
        let sums = older_day(connection, day, user_no)?;
        if !sums.is_empty() {
            days.push((day, sums));
        }
    }
    days.push(newest);
    Ok(days)
}

/// Reads the columns `day, user, sums` of `user_day`.
pub(super) fn read_older(row: &mut RowReader<'_, '_>) -> Result<((Day, UserNo), Combinations), StoreError> {
    let (day, user_no) = (read_day(row.required()?)?, UserNo(row.number()?));
    Ok(((day, user_no), unpack(row.required_text()?)?))
}

fn read_day(index: i64) -> Result<Day, StoreError> {
    u32::try_from(index)
        .map(Day::from_index)
        .map_err(|_| StoreError::Corrupt("a day has a number that no version of Outlay writes".to_owned()))
}

/// The days of all users, in order.
pub(super) fn all_days(
    connection: &Connection,
    days: std::ops::RangeInclusive<Day>,
) -> Result<Vec<(Day, Combination, Sums)>, StoreError> {
    let mut statement = connection.prepare_cached(
        "select day, usage_type, feature, provider, model, cost, operations, runs, input, output from all_day \
         where day between ? and ? order by day",
    )?;
    let mut rows = statement.query((days.start().index(), days.end().index()))?;
    let mut sums = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        let day = read_day(row.required()?)?;
        let combination = Combination {
            usage_type: row.required()?,
            feature: row.required()?,
            provider: row.required()?,
            model: row.required()?,
        };
        let sum = Sums {
            cost: UsdSum::from_picos(row.wide()?),
            operations: row.number()?,
            billable_runs: row.required()?,
            tokens: TokenSums { input: row.number()?, output: row.number()? },
        };
        sums.push((day, combination, sum));
    }
    Ok(sums)
}

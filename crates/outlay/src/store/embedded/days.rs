//! Day sums: packed per user and day, and plain rows per day over all users.
//!
//! Nearly every operation is of its user's newest day. The sums of that day lie in the row of the user's month, which is
//! rewritten anyway, so that there is one page at a random place to write and not two. When a newer day begins they move to
//! a row of their own, where an operation of an older day finds them. When the rows are written, [`super::sweep`] knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outlay_core::breakdown::{COMBINATIONS_MAX, COMBINATIONS_MAX_ALL_USERS, Dimensions, Sums, TokenSums};
use outlay_core::id::UserNo;
use outlay_core::money::UsdSum;
use outlay_core::month::{Day, Month};
use outlay_core::operation::{Operation, UsageType};
use outlay_core::user::UserMonth;
use rusqlite::Connection;

use super::codec::{self, RowReader, RowWriter, stored};
use super::load::one;
use super::names::{Kind, NONE, Names, OTHER};
use crate::store::StoreError;

/// Months kept in memory though the file has them as they are; beyond, these are forgotten and read again when needed.
const CACHED_MONTHS_MAX: usize = 200_000;

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

/// Which user's month.
pub(super) type MonthKey = (Month, UserNo);

/// A user's month with the sums of its days.
#[derive(Debug, Default)]
struct OfMonth {
    /// Whether the newest day is here, if the file has one.
    read: bool,
    /// The newest day that has operations, with its sums, which readers may share; `None` where the month has none.
    newest: Option<(Day, Arc<Combinations>)>,
    /// Whether it changed since the month's row was written.
    newest_changed: bool,
    /// Other days that changed since then.
    older: BTreeMap<Day, Combinations>,
    /// The month's counters, if they changed since then.
    unswept: Option<UserMonth>,
}

/// A user's month that is newer than the file's row of it, with its days that are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UnsweptMonth {
    pub(super) month: UserMonth,
    /// The newest day that has operations.
    pub(super) newest: (Day, Arc<Combinations>),
    pub(super) older: Vec<(Day, Combinations)>,
}

/// Users' months and days, as far as they are in memory: all that are newer than the file's, and those of users seen lately.
/// And the days of all users.
#[derive(Debug, Default)]
pub(super) struct Days {
    months: HashMap<MonthKey, OfMonth, FixedState>,
    /// How many of the months are newer than the file's.
    unswept: usize,
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
        let day = operation.timestamp.day();
        self.read(connection, day, operation.user_no)?;
        self.read_all(connection, day)?;
        self.recount(operation, names);
        Ok(())
    }

    /// Adds an operation that is in the file to its user's day there, which does not have it yet.
    pub(super) fn add_again(
        &mut self,
        connection: &Connection,
        operation: &Operation,
        names: &Names,
    ) -> Result<(), StoreError> {
        let day = operation.timestamp.day();
        self.read(connection, day, operation.user_no)?;
        add_to(self.rows((day, operation.user_no)), Combination::of(operation, names), &Sums::of(operation));
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
        self.read_all(connection, *day)?;
        let combination = Combination::of_dimensions(of, names);
        add_to(self.rows((*day, user_no)), combination, sums);
        self.add_to_all(*day, combination, sums);
        Ok(())
    }

    /// Makes room for so many months.
    pub(super) fn reserve(&mut self, months: usize) {
        self.months.reserve(months);
    }

    /// Reads the row of a month, and keeps the newest day that is in it.
    pub(super) fn read_month(
        &mut self,
        connection: &Connection,
        key: MonthKey,
    ) -> Result<Option<UserMonth>, StoreError> {
        let sql = "select month, cost, ai_runs, api_runs, operations, head, raised, updated_at, day, day_sums \
                   from user_month where month = ? and user = ?";
        let (month, newest) = one(connection, sql, (key.0.index(), stored(key.1.0)), |row| {
            let row = &mut RowReader::new(row);
            Ok((codec::read_month_from(row)?, read_newest(row)?))
        })?
        .unzip();
        let of_month = self.months.entry(key).or_default();
        of_month.newest = newest.flatten().map(shared);
        of_month.read = true;
        Ok(month)
    }

    /// Reads the rows that sums of a user's day are added to.
    fn read(&mut self, connection: &Connection, day: Day, user_no: UserNo) -> Result<(), StoreError> {
        let key = (day.month(), user_no);
        let of_month = self.months.entry(key).or_default();
        if !of_month.read {
            of_month.newest = newest_day(connection, key.0, user_no)?.map(shared);
            of_month.read = true;
        }
        let is_older = of_month.newest.as_ref().is_some_and(|(newest, _)| day < *newest);
        if is_older && !of_month.older.contains_key(&day) {
            of_month.older.insert(day, older_day(connection, day, user_no)?);
        }
        Ok(())
    }

    fn read_all(&mut self, connection: &Connection, day: Day) -> Result<(), StoreError> {
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
    fn rows(&mut self, (day, user_no): (Day, UserNo)) -> &mut Combinations {
        let OfMonth { newest, newest_changed, older, .. } = self.months.entry((day.month(), user_no)).or_default();
        let (newest_day, sums) = newest.get_or_insert_with(|| shared((day, Combinations::new())));
        if day < *newest_day {
            return older.entry(day).or_default();
        }
        *newest_changed = true;
        if *newest_day < day {
            older.insert(*newest_day, Arc::unwrap_or_clone(std::mem::take(sums)));
            *newest_day = day;
        }
        Arc::make_mut(sums)
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
    pub(super) fn take_newest(&mut self, key: MonthKey) -> Option<(Day, Combinations)> {
        self.months.get_mut(&key)?.newest.take().map(owned)
    }

    /// Takes the other days of the users out of what was counted.
    pub(super) fn take_older(&mut self) -> BTreeMap<(Day, UserNo), Combinations> {
        let of_month = |((_, user_no), of_month): (&MonthKey, &mut OfMonth)| {
            let (user_no, older) = (*user_no, std::mem::take(&mut of_month.older));
            older.into_iter().map(move |(day, sums)| ((day, user_no), sums))
        };
        self.months.iter_mut().flat_map(of_month).collect()
    }

    /// Takes the days of all users out of what was counted.
    pub(super) fn take_all(&mut self) -> BTreeMap<(Day, Combination), Sums> {
        let all = std::mem::take(&mut self.all).into_iter();
        all.flat_map(|(day, rows)| rows.into_iter().map(move |(of, (sums, _))| ((day, of), sums))).collect()
    }

    /// Notes a month's counters, which are newer than its row. Gives whether that was up to date before.
    pub(super) fn put_month(&mut self, key: MonthKey, month: UserMonth) -> bool {
        let begins = self.months.entry(key).or_default().unswept.replace(month).is_none();
        self.unswept += usize::from(begins);
        begins
    }

    /// The counters of a month that is newer than its row.
    pub(super) fn month(&self, key: MonthKey) -> Option<&UserMonth> {
        self.months.get(&key)?.unswept.as_ref()
    }

    /// How many months are newer than their rows.
    pub(super) fn unswept(&self) -> usize {
        self.unswept
    }

    /// A month that is newer than its row, for those who read.
    pub(super) fn unswept_month(&self, key: MonthKey) -> Option<UnsweptMonth> {
        let of_month = self.months.get(&key)?;
        let older = of_month.older.iter().map(|(day, sums)| (*day, sums.clone())).collect();
        Some(UnsweptMonth { month: of_month.unswept.clone()?, newest: of_month.newest.clone()?, older })
    }

    /// Writes the rows of months, which come in order, and of their days. From then on the file has them as they are.
    pub(super) fn write_months(
        &mut self,
        connection: &Connection,
        keys: &[MonthKey],
        bytes: &mut Vec<u8>,
    ) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached(codec::UPSERT_MONTH)?;
        let mut text = String::new();
        let mut older = BTreeMap::new();
        for key in keys {
            let Some(of_month) = self.months.get_mut(key) else { continue };
            let Some(month) = of_month.unswept.take() else { continue };
            self.unswept -= 1;
            let newest = of_month.newest.as_ref().filter(|_| std::mem::take(&mut of_month.newest_changed));
            let newest = newest.map(|(day, sums)| {
                pack(sums, &mut text);
                (*day, text.as_str())
            });
            codec::write_month(&mut RowWriter::new(&mut statement, bytes), key.1, &month, newest)?;
            older.extend(std::mem::take(&mut of_month.older).into_iter().map(|(day, sums)| ((day, key.1), sums)));
        }
        let mut statement = connection.prepare_cached(
            "insert into user_day values (?, ?, ?) on conflict (day, user) do update set sums = excluded.sums",
        )?;
        for ((day, user_no), rows) in &older {
            pack(rows, &mut text);
            let mut row = RowWriter::new(&mut statement, bytes);
            row.int(i64::from(day.index()))?.number(user_no.0)?.text(text.as_str())?.write()?;
        }
        Ok(())
    }

    /// Writes the days of all users that the batch changed, in key order.
    pub(super) fn write_all(&mut self, connection: &Connection, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
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

    /// The batch is durable.
    pub(super) fn committed(&mut self) {
        if self.months.len() > CACHED_MONTHS_MAX + self.unswept {
            self.months.retain(|_, of_month| of_month.unswept.is_some());
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

fn shared((day, sums): (Day, Combinations)) -> (Day, Arc<Combinations>) {
    (day, Arc::new(sums))
}

pub(super) fn owned((day, sums): (Day, Arc<Combinations>)) -> (Day, Combinations) {
    (day, Arc::unwrap_or_clone(sums))
}

/// One user's day that is not the newest of its month.
fn older_day(connection: &Connection, day: Day, user_no: UserNo) -> Result<Combinations, StoreError> {
    let sql = "select sums from user_day where day = ? and user = ?";
    let row =
        one(connection, sql, (day.index(), stored(user_no.0)), |row| unpack(RowReader::new(row).required_text()?))?;
    Ok(row.unwrap_or_default())
}

/// All days of a user's month that have operations, in order: as the file has them, or newer ones.
pub(super) fn days_of_month(
    connection: &Connection,
    (month, user_no): MonthKey,
    unswept: Option<&UnsweptMonth>,
) -> Result<Vec<(Day, Combinations)>, StoreError> {
    let newest = match unswept {
        Some(unswept) => Some(owned(unswept.newest.clone())),
        None => newest_day(connection, month, user_no)?,
    };
    let Some(newest) = newest else { return Ok(Vec::new()) };
    let mut days = Vec::new();
    for day in (1..=month.days()).map(|day| Day::new(month, day)).take_while(|day| *day < newest.0) {
        let newer = unswept.and_then(|unswept| unswept.older.iter().find(|(of, _)| *of == day));
        let sums = match newer {
            Some((_, sums)) => sums.clone(),
            None => older_day(connection, day, user_no)?,
        };
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

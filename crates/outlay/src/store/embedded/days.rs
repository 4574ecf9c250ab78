//! Day sums: one packed row per user and day, and plain rows per day over all users.

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outlay_core::breakdown::{COMBINATIONS_MAX, COMBINATIONS_MAX_ALL_USERS, Dimensions, Sums, TokenSums};
use outlay_core::id::UserNo;
use outlay_core::money::UsdSum;
use outlay_core::month::Day;
use outlay_core::operation::{Operation, UsageType};
use rusqlite::Connection;

use super::codec::{RowReader, RowWriter, stored};
use super::load::one;
use super::names::{Kind, NONE, Names, OTHER};
use crate::store::StoreError;

/// Users' days kept in memory between batches; beyond, all are forgotten and read again when needed.
const CACHED_DAYS_MAX: usize = 200_000;

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

/// The day rows that batches changed, and those in memory.
#[derive(Debug, Default)]
pub(super) struct Days {
    users: HashMap<(Day, UserNo), (Combinations, bool), FixedState>,
    changed: Vec<(Day, UserNo)>,
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
        let key = (operation.timestamp.day(), operation.user_no);
        if !self.users.contains_key(&key) {
            self.users.insert(key, (user_day(connection, key.0, key.1)?, false));
        }
        if let std::collections::btree_map::Entry::Vacant(entry) = self.all.entry(key.0) {
            let rows = all_days(connection, key.0..=key.0)?.into_iter();
            entry.insert(rows.map(|(_, combination, sums)| (combination, (sums, false))).collect());
        }
        self.recount(operation, names);
        Ok(())
    }

    /// Adds an operation to what is in memory. What is not there counts as zero: that is for counting from the first one.
    pub(super) fn recount(&mut self, operation: &Operation, names: &Names) {
        let combination = Combination::of(operation, names);
        let (day, sums) = (operation.timestamp.day(), Sums::of(operation));
        self.add_to_user((day, operation.user_no), combination, &sums);
        self.add_to_all(day, combination, &sums);
    }

    fn add_to_user(&mut self, key: (Day, UserNo), combination: Combination, sums: &Sums) {
        let (rows, changed) = self.users.entry(key).or_default();
        if !std::mem::replace(changed, true) {
            self.changed.push(key);
        }
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

    /// Takes a user's day out of what was counted.
    pub(super) fn take_user(&mut self, day: Day, user_no: UserNo) -> Combinations {
        self.users.remove(&(day, user_no)).unwrap_or_default().0
    }

    /// Takes the days of all users out of what was counted.
    pub(super) fn take_all(&mut self) -> BTreeMap<(Day, Combination), Sums> {
        let all = std::mem::take(&mut self.all).into_iter();
        all.flat_map(|(day, rows)| rows.into_iter().map(move |(of, (sums, _))| ((day, of), sums))).collect()
    }

    /// Writes the rows that the batch changed, in key order.
    pub(super) fn write(&mut self, connection: &Connection, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        self.changed.sort_unstable();
        let mut statement = connection.prepare_cached(
            "insert into user_day values (?, ?, ?) on conflict (day, user) do update set sums = excluded.sums",
        )?;
        let mut text = String::new();
        for key in &self.changed {
            let Some((rows, _)) = self.users.get(key) else { continue };
            pack(rows, &mut text);
            let mut row = RowWriter::new(&mut statement, bytes);
            row.int(i64::from(key.0.index()))?.number(key.1.0)?.text(text.as_str())?.write()?;
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
        if self.users.len() > CACHED_DAYS_MAX {
            self.users.clear();
            self.changed.clear();
        }
        for key in self.changed.drain(..) {
            if let Some((_, changed)) = self.users.get_mut(&key) {
                *changed = false;
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

/// One user's day.
pub(super) fn user_day(connection: &Connection, day: Day, user_no: UserNo) -> Result<Combinations, StoreError> {
    let sql = "select sums from user_day where day = ? and user = ?";
    let row =
        one(connection, sql, (day.index(), stored(user_no.0)), |row| unpack(RowReader::new(row).required_text()?))?;
    Ok(row.unwrap_or_default())
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
        let day = u32::try_from(row.required()?).map_err(|_| StoreError::Corrupt("a day cannot be read".to_owned()))?;
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
        sums.push((Day::from_index(day), combination, sum));
    }
    Ok(sums)
}

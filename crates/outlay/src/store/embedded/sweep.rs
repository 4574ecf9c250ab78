//! When the rows of users' months are written: the sweep.
//!
//! A batch of some hundred operations changes as many rows at random places of the file, each on a page of its own, and a
//! page costs more than all else that an operation writes. So under load they are written later, in order of their keys:
//! a page then takes several rows at once, whose operations came long after each other. What such a row does not say yet,
//! the operations do, which are in the file: a month's row counts those up to its `head`, and the ones above it are added
//! again at a start ([`super::behind`]). `meta.swept` says from where on there may be such.
//!
//! While batches are small every row is written with its operation. Rows in which something else changed than operations
//! can tell, alerts, are always.

use outlay_core::ledger::Written;
use rusqlite::Connection;

use super::EmbeddedStore;
use super::codec::stored;
use super::days::{Days, MonthKey, UnsweptMonth};
use crate::store::{StoreError, Urgency};

/// What the sweep says of its own work in the log, at the level `debug`: each event has one of these names. By them a
/// simulation counts what it has met.
pub mod events {
    /// A batch left rows of months for later.
    pub const PUT_OFF: &str = "rows of months were put off";
    /// The last row of a round was written, while later changes wait for the next one.
    pub const ROUND: &str = "a round of the sweep was finished";
    /// A slice of rows was written while nothing waited.
    pub const SLICE: &str = "a slice of the sweep was written";
    /// An operation was added again at a start, or after a batch was rolled back.
    pub const AGAIN: &str = "an operation was added again";
    /// One was not, since the row of its month has it.
    pub const HAD: &str = "an operation was in its row already";

    /// All of them.
    pub const ALL: [&str; 5] = [PUT_OFF, ROUND, SLICE, AGAIN, HAD];
}

macro_rules! tell {
    ($event:path) => {
        tracing::debug!(name: $event, "{}", $event)
    };
}
pub(super) use tell;

/// How much the sweep may put off.
#[derive(Debug, Clone, Copy)]
pub struct SweepSizes {
    /// While no more rows of months are to be written than this, a batch writes all. Otherwise it writes at most so many
    /// that are not due yet, and no more than a quarter of those that it changes: those who wait pay little for what is late.
    pub rows_at_once: usize,
    /// As many are written by a slice while nothing waits.
    pub rows_while_idle: usize,
    /// A start has to add up so many operations again, at most.
    pub operations_behind: u64,
}

/// Which rows of months are to be written, and how far that is.
#[derive(Debug)]
pub(super) struct Sweep {
    /// Months that changed since the round began, some of them more than once.
    changed: Vec<MonthKey>,
    /// The months of this round that are still to be written, the first one last.
    round: Vec<MonthKey>,
    /// How many months the round began with.
    round_length: usize,
    /// The last operation when the round began.
    round_began: u64,
    /// The rows have every operation up to this one.
    swept: u64,
    /// Months that were written since the last batch.
    untold: Vec<MonthKey>,
}

/// The rows of months that a batch writes, and those that it leaves to readers' memory.
#[derive(Debug, Default)]
pub(super) struct Swept {
    pub(super) newer: Vec<(MonthKey, UnsweptMonth)>,
    pub(super) written: Vec<MonthKey>,
}

/// How many rows are written though they are not due.
#[derive(Debug, Clone, Copy)]
struct Few {
    /// So many are not worth being put off.
    rows: usize,
    /// Of more, these are written.
    at_least: usize,
}

impl Few {
    fn of(rows: usize) -> Self {
        Self { rows, at_least: rows }
    }

    fn of_batch(sizes: &SweepSizes, changed: usize) -> Self {
        Self { rows: sizes.rows_at_once, at_least: sizes.rows_at_once.min(changed.div_ceil(4)) }
    }
}

impl Sweep {
    /// The rows have every operation up to `swept`; these months have later ones that theirs do not.
    pub(super) fn new(swept: u64, changed: Vec<MonthKey>) -> Self {
        Self { changed, round: Vec::new(), round_length: 0, round_began: 0, swept, untold: Vec::new() }
    }

    /// The same after a batch was rolled back: what was written before it is still to be told.
    pub(super) fn begin_again(&mut self, sweep: Self) {
        let untold = std::mem::take(&mut self.untold);
        *self = Self { untold, ..sweep };
    }

    /// The last operation that is in every row.
    pub(super) fn swept(&self) -> u64 {
        self.swept
    }

    /// Takes the months that are to be written now, in order: all if they are no more than `few`, otherwise what is due, at
    /// least so many, and those of `now` at any rate.
    fn take(&mut self, days: &Days, now: &[MonthKey], last: u64, behind: u64, few: Few) -> Vec<MonthKey> {
        let mut keys = now.to_vec();
        if days.unswept() <= few.rows {
            keys.append(&mut self.round);
            keys.append(&mut self.changed);
        } else {
            if self.round.is_empty() {
                self.round = std::mem::take(&mut self.changed);
                self.round.retain(|key| days.month(*key).is_some());
                self.round.sort_unstable_by(|a, b| b.cmp(a));
                self.round.dedup();
                self.round_length = self.round.len();
                self.round_began = last;
            }
            // Half of what may be put off comes while a round goes on, and half was there when it began.
            let due = (self.round_length as u64).saturating_mul(last.saturating_sub(self.round_began));
            let due = usize::try_from(due.div_ceil((behind / 2).max(1))).unwrap_or(usize::MAX);
            let left = self.round_length.saturating_sub(due);
            let left = left.min(self.round.len().saturating_sub(few.at_least));
            keys.extend(self.round.drain(left..));
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }

    /// Notes how far the rows have every operation, once the months that were taken are written.
    fn written(&mut self, days: &Days, last: u64) {
        if days.unswept() == 0 {
            self.swept = self.swept.max(last);
        } else if self.round.is_empty() {
            tell!(events::ROUND);
            self.swept = self.swept.max(self.round_began);
        }
    }
}

impl EmbeddedStore {
    /// Writes the rows of the months that it is time for: all if `all`.
    pub(super) fn write_months(&mut self, written: &Written, all: bool) -> Result<Swept, StoreError> {
        for (user_no, month) in &written.months {
            let key = (month.month, *user_no);
            if self.days.put_month(key, month.clone()) {
                self.sweep.changed.push(key);
            }
        }
        // Alerts are not told by operations; and what is left of erased people is wiped from what the file says.
        let alerts = written.alerts.iter().map(|alert| (alert.month, alert.user_no));
        let erased = written.erased.iter().flat_map(|user| user.months.iter().map(|month| (*month, user.no)));
        let now: Vec<MonthKey> = alerts.chain(erased).collect();
        // What is decided elsewhere brings its own numbers.
        let adopted = written.operations.last().map_or(0, |operation| operation.no.0);
        let last = adopted.max(self.books.numbers().operation.0 - 1);
        let sizes = self.settings.sizes.sweep;
        let few = if all { Few::of(usize::MAX) } else { Few::of_batch(&sizes, written.months.len()) };
        let keys = self.sweep.take(&self.days, &now, last, sizes.operations_behind, few);
        self.days.write_months(&self.connection, &keys, &mut self.bytes)?;
        self.sweep.written(&self.days, last);
        write_swept(&self.connection, self.sweep.swept)?;
        let left = written.months.iter().filter_map(|(user_no, month)| {
            let key = (month.month, *user_no);
            Some((key, self.days.unswept_month(key)?))
        });
        let newer: Vec<_> = left.collect();
        if !newer.is_empty() {
            tell!(events::PUT_OFF);
        }
        let untold = std::mem::take(&mut self.sweep.untold);
        let written = keys.into_iter().chain(untold).filter(|key| self.days.month(*key).is_none()).collect();
        Ok(Swept { newer, written })
    }

    /// Whether rows of months are put off.
    pub(super) fn is_behind(&self) -> bool {
        self.days.unswept() > 0
    }

    /// Writes some of the rows that were put off, in a transaction of their own. Readers go on with what is in memory, which
    /// says the same, until the next batch tells them.
    pub(super) fn sweep_slice(&mut self) -> Result<(), StoreError> {
        self.check_writable(Urgency::Fact)?;
        self.connection.execute_batch("begin immediate").map_err(|error| self.poison(&error))?;
        let keys = match self.write_slice() {
            Ok(keys) => keys,
            Err(error) => return Err(self.roll_back_rows(error)),
        };
        self.connection.execute_batch("commit").map_err(|error| self.poison(&error))?;
        tell!(events::SLICE);
        self.sweep.untold.extend(keys);
        let checkpointed = self.checkpointer.after_commit(&self.connection, self.space.may_run_out());
        checkpointed.map_err(|error| self.poison(&error))
    }

    fn write_slice(&mut self) -> Result<Vec<MonthKey>, StoreError> {
        let last = self.books.numbers().operation.0 - 1;
        let sizes = self.settings.sizes.sweep;
        let few = Few::of(sizes.rows_while_idle.max(1));
        let keys = self.sweep.take(&self.days, &[], last, sizes.operations_behind, few);
        self.days.write_months(&self.connection, &keys, &mut self.bytes)?;
        self.sweep.written(&self.days, last);
        write_swept(&self.connection, self.sweep.swept)?;
        self.flush()?;
        Ok(keys)
    }

    /// Every month that is newer than its row.
    pub(super) fn all_newer(&self) -> impl Iterator<Item = (MonthKey, UnsweptMonth)> {
        self.sweep.changed.iter().filter_map(|key| Some((*key, self.days.unswept_month(*key)?)))
    }

    /// What was put off is written, before the store is closed.
    pub(super) fn sweep_all(&mut self) -> Result<(), StoreError> {
        while self.is_behind() {
            self.sweep_slice()?;
        }
        Ok(())
    }
}

pub(super) fn write_swept(connection: &Connection, swept: u64) -> Result<(), StoreError> {
    connection.prepare_cached("replace into meta values ('swept', ?)")?.execute([stored(swept)])?;
    Ok(())
}

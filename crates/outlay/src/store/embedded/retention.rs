//! Retention: empties operations in the order of their numbers, a slice a transaction, and keeps in the file how far it came.
//!
//! A row's columns are emptied as they stand, without being read as an operation, and its sum is carried over: a row that did
//! not match its sum before does not match it afterwards, so that `verify` still finds what was changed behind its back.

use outlay_core::month::Timestamp;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Row};
use xxhash_rust::xxh3::xxh3_64;

use super::codec::{self, RowReader, RowWriter, stored};
use super::{EmbeddedStore, load};
use crate::store::packed::FLAG_TRIMMED;
use crate::store::{StoreError, Urgency};

/// Bytes of details after which a slice ends: large metadata lies on pages of its own, which are overwritten one by one.
const SLICE_BYTES: usize = 256 << 10;
/// Rows that are looked at for one whose time can be believed.
const LOOK_AHEAD: u64 = 20_000;

const EMPTY: &str = "update operation set flags = ?, tokens = null, units = null, step_label = null, duration_ms = null, \
     metadata = null, reason = null, sum = ? where no = ?";

/// How far operations are emptied: every one up to it, and none above.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The last that is; 0 where none is.
    pub(super) no: u64,
    /// What was recorded before this instant is emptied.
    pub(super) before: Option<Timestamp>,
}

impl Cursor {
    pub(super) fn read(connection: &Connection) -> Result<Self, StoreError> {
        let value = |key: &str| format!("select value from meta where key = '{key}'");
        let no = load::one(connection, &value("trimmed"), [], |row| RowReader::new(row).number())?;
        let before = load::one(connection, &value("trimmed_before"), [], |row| RowReader::new(row).optional_time())?;
        Ok(Self { no: no.unwrap_or(0), before: before.flatten() })
    }

    pub(super) fn write(&self, connection: &Connection, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached("replace into meta values ('trimmed', ?)")?;
        RowWriter::new(&mut statement, bytes).number(self.no)?.write()?;
        let mut statement = connection.prepare_cached("replace into meta values ('trimmed_before', ?)")?;
        RowWriter::new(&mut statement, bytes).time(self.before)?.write()?;
        Ok(())
    }
}

/// Rows that are to be emptied.
#[derive(Debug, Default)]
struct Slice {
    rows: Vec<Emptied>,
    /// Whether rows wait for one whose time can be believed.
    waits: bool,
}

/// A row as it is to be.
#[derive(Debug)]
struct Emptied {
    no: u64,
    /// When, as far as that can be believed.
    recorded_at: Option<Timestamp>,
    flags: Value,
    sum: i64,
}

impl EmbeddedStore {
    /// Empties one slice of what was recorded before an instant; gives whether there is more.
    pub(super) fn trim_now(&mut self, before: Timestamp) -> Result<bool, StoreError> {
        // Whatever else is refused where space is short, this can wait.
        self.check_writable(Urgency::Intent)?;
        let cursor = *self.shared.trimmed.lock();
        // Nothing is begun yet: what cannot be read is no reason to end the process, and its next start as well.
        let slice = self.due_slice(cursor.no, before, self.sweep.swept());
        let Slice { rows, waits } = slice.map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let Some(last) = rows.last() else {
            // A row that is emptied tells no tokens any more, so the sums have it first.
            if self.is_behind() {
                return self.sweep_slice().map(|()| true);
            }
            if !waits && cursor.before.is_none_or(|done| done < before) {
                self.shared.trimmed.lock().before = Some(before);
            }
            if std::mem::take(&mut self.trimmed_log) && self.settings.vfs.is_none() {
                let cut = self.checkpointer.cut(&self.connection).map_err(|error| self.poison(&error))?;
                self.trimmed_log = !cut;
            }
            return Ok(false);
        };
        let reached = Cursor { no: last.no, before: cursor.before.max(last.recorded_at) };
        self.connection.execute_batch("begin immediate").map_err(|error| self.poison(&error))?;
        if let Err(error) = self.empty(&rows, reached) {
            return Err(self.roll_back_rows(error));
        }
        self.connection.execute_batch("commit").map_err(|error| self.poison(&error))?;
        *self.shared.trimmed.lock() = reached;
        self.trimmed_log = true;
        let checkpointed = self.checkpointer.after_commit(&self.connection, self.space.may_run_out());
        checkpointed.map_err(|error| self.poison(&error))?;
        Ok(true)
    }

    /// The next rows that were recorded before an instant, as they are to be.
    ///
    /// Numbers are given in the order of recording, so the first row that is younger ends it, even where a clock that was set
    /// back dated later ones as older. A row that a wrong clock dated ahead of now says nothing of its age: it is as old as
    /// the next one that does.
    fn due_slice(&mut self, after: u64, before: Timestamp, last: u64) -> Result<Slice, StoreError> {
        let now = self.shared.clock.wall();
        let mut slice = Slice::default();
        let (mut due, mut size) = (0, 0);
        let sql = "select * from operation where no > ? and no <= ? order by no limit ?";
        let mut statement = self.connection.prepare_cached(sql)?;
        let rows = stored(self.settings.sizes.trimmed_rows as u64);
        let mut found = statement.query((stored(after), stored(last), rows))?;
        while let Some(row) = found.next()? {
            let no = RowReader::new(row).number()?;
            // What cannot be read as a time is as good as none: `verify` tells of it.
            let recorded_at = RowReader::at(row, codec::OPERATION_RECORDED_AT).time();
            let recorded_at = recorded_at.ok().filter(|recorded_at| *recorded_at <= now);
            if recorded_at.is_some_and(|recorded_at| recorded_at >= before) {
                break;
            }
            let (flags, sum) = emptied(row, &mut self.bytes)?;
            slice.rows.push(Emptied { no, recorded_at, flags, sum });
            if recorded_at.is_some() {
                due = slice.rows.len();
            }
            size += self.bytes.len();
            if size >= SLICE_BYTES {
                break;
            }
        }
        drop(found);
        if due == 0
            && let Some(last) = slice.rows.last()
        {
            let sql =
                "select recorded_at from operation where no > ? and no <= ? and recorded_at <= ? order by no limit 1";
            let now = i64::try_from(now.nanos()).unwrap_or(i64::MAX);
            let bounds = (stored(last.no), stored(last.no + LOOK_AHEAD), now);
            let next = load::one(&self.connection, sql, bounds, |row| RowReader::new(row).time())?;
            if next.is_some_and(|next| next < before) {
                due = slice.rows.len();
            }
        }
        slice.waits = due == 0 && !slice.rows.is_empty();
        slice.rows.truncate(due);
        Ok(slice)
    }

    fn empty(&mut self, slice: &[Emptied], reached: Cursor) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached(EMPTY)?;
        for row in slice {
            statement.execute((&row.flags, row.sum, stored(row.no)))?;
        }
        drop(statement);
        reached.write(&self.connection, &mut self.bytes)?;
        self.flush()
    }
}

/// The flags and the sum of a row once it is emptied; the bytes of the row as it is are left in `bytes`.
fn emptied(row: &Row<'_>, bytes: &mut Vec<u8>) -> Result<(Value, i64), StoreError> {
    let mut after = Vec::with_capacity(160);
    let mut flags: Value = row.get(codec::OPERATION_FLAGS)?;
    if let Value::Integer(flags) = &mut flags {
        *flags |= FLAG_TRIMMED;
    }
    for column in 0..row.as_ref().column_count() - 1 {
        let value = match column {
            codec::OPERATION_FLAGS => ValueRef::from(&flags),
            column if codec::OPERATION_DETAILS.contains(&column) => ValueRef::Null,
            column => row.get_ref(column)?,
        };
        codec::add_to_sum(&mut after, value);
    }
    let (computed, written) = codec::sums_of(row, bytes)?;
    Ok((flags, xxh3_64(&after).cast_signed() ^ computed ^ written))
}

#[cfg(test)]
mod tests;

//! The audit log's rows, and the ends of users' tokens. Rows of the log are only ever added.

use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outlay_core::id::UserNo;
use outlay_core::month::Timestamp;
use rusqlite::{Connection, Row};

use super::codec::{RowReader, RowWriter, stored};
use super::load;
use crate::audit::{Actor, Entry, Event, Facts};
use crate::store::StoreError;

const COLUMNS: &str = "no, at, who, address, request_id, action, subject, user, before, after";
/// No token is good for longer, its leeway included; what was ended before is of no more use.
const TOKEN_SECONDS_MAX: i64 = 2 * 86_400;

/// Adds events within a transaction; gives the newest number, if there is one now that was not before.
pub(super) fn insert(connection: &Connection, at: Timestamp, events: &[Event]) -> Result<Option<u64>, StoreError> {
    if events.is_empty() {
        return Ok(None);
    }
    let mut no = newest(connection)?;
    let mut bytes = Vec::new();
    let mut statement = connection.prepare_cached("insert into audit values (?,?,?,?,?,?,?,?,?,?,?)")?;
    for event in events {
        no += 1;
        let address = event.actor.address.map(|address| address.to_string());
        let json = |facts: &Option<Facts>| facts.as_ref().map(Facts::to_json);
        let mut row = RowWriter::new(&mut statement, &mut bytes);
        row.number(no)?.time(at)?.text(&*event.actor.who)?.text(address.as_deref())?;
        row.text(event.actor.request_id.as_deref())?.text(event.action.as_str())?.text(event.subject.as_deref())?;
        row.int(event.user_no.map(|no| stored(no.0)))?;
        row.text(json(&event.before).as_deref())?.text(json(&event.after).as_deref())?.write_with_sum()?;
    }
    Ok(Some(no))
}

/// Adds entries that another store had, under the numbers that they had there.
pub(super) fn insert_entries(connection: &Connection, entries: &[Entry]) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    let mut statement = connection.prepare_cached("insert into audit values (?,?,?,?,?,?,?,?,?,?,?)")?;
    for entry in entries {
        let address = entry.actor.address.map(|address| address.to_string());
        let mut row = RowWriter::new(&mut statement, &mut bytes);
        row.number(entry.no)?.time(entry.at)?.text(&*entry.actor.who)?.text(address.as_deref())?;
        row.text(entry.actor.request_id.as_deref())?.text(&*entry.action)?.text(entry.subject.as_deref())?;
        row.int(entry.user_no.map(|no| stored(no.0)))?;
        row.text(entry.before.as_deref())?.text(entry.after.as_deref())?.write_with_sum()?;
    }
    Ok(())
}

/// The newest number; 0 while there is none.
pub(super) fn newest(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "select max(no) from audit";
    let newest = load::one(connection, sql, [], |row| Ok(row.get::<_, Option<i64>>(0)?))?;
    Ok(newest.flatten().unwrap_or(0).cast_unsigned())
}

/// The last number that was copied to where the log's copy goes.
pub(super) fn copied(connection: &Connection) -> Result<u64, StoreError> {
    let sql = "select value from meta where key = 'audit_copied'";
    Ok(load::one(connection, sql, [], |row| RowReader::new(row).number())?.unwrap_or(0))
}

pub(super) fn put_copied(connection: &Connection, no: u64) -> Result<(), StoreError> {
    connection.prepare_cached("replace into meta values ('audit_copied', ?)")?.execute([stored(no)])?;
    Ok(())
}

/// What reads the entries below a number, the newest first, at most so many.
pub(super) fn below_sql() -> String {
    load::select(COLUMNS, "audit where no < ? order by no desc limit ?")
}

/// The entries above a number, ascending.
pub(super) fn above(connection: &Connection, no: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
    let sql = load::select(COLUMNS, "audit where no > ? order by no limit ?");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((stored(no), stored(limit as u64)))?;
    let mut entries = Vec::new();
    while let Some(row) = rows.next()? {
        entries.push(read(row)?);
    }
    Ok(entries)
}

pub(super) fn read(row: &Row<'_>) -> Result<Entry, StoreError> {
    let mut row = RowReader::new(row);
    let shared = |text: Option<&str>| text.map(Arc::<str>::from);
    let (no, at, who) = (row.number()?, row.time()?, Arc::from(row.required_text()?));
    let address = match row.text()? {
        None => None,
        Some(text) => {
            let address = text.parse().map_err(|_| StoreError::Corrupt(format!("audit {no} has no address")))?;
            Some(address)
        }
    };
    Ok(Entry {
        no,
        at,
        actor: Actor { who, address, request_id: shared(row.text()?) },
        action: Arc::from(row.required_text()?),
        subject: shared(row.text()?),
        user_no: row.int()?.map(|no| UserNo(no.cast_unsigned())),
        before: shared(row.text()?),
        after: shared(row.text()?),
    })
}

/// Notes that a user's tokens up to an instant are ended; never an earlier one than before.
pub(super) fn end_tokens(connection: &Connection, user_no: UserNo, until: Timestamp) -> Result<(), StoreError> {
    let sql = "select until from token_end where user = ?";
    let before = load::one(connection, sql, [stored(user_no.0)], |row| RowReader::new(row).time())?;
    let until = before.map_or(until, |before| before.max(until));
    let mut bytes = Vec::new();
    let mut statement = connection.prepare_cached("replace into token_end values (?, ?, ?)")?;
    RowWriter::new(&mut statement, &mut bytes).number(user_no.0)?.time(until)?.write_with_sum()?;
    Ok(())
}

/// Of whom tokens were ended that could otherwise still be good.
pub(super) fn load_token_ends(
    connection: &Connection,
    now: Timestamp,
) -> Result<HashMap<UserNo, Timestamp, FixedState>, StoreError> {
    let mut statement = connection.prepare("select user, until from token_end")?;
    let mut rows = statement.query([])?;
    let mut ends = HashMap::default();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        let (user_no, until) = (UserNo(row.number()?), row.time()?);
        if still_matters(until, now) {
            ends.insert(user_no, until);
        }
    }
    Ok(ends)
}

/// Whether a token could be as old as this and still be good.
pub(super) fn still_matters(until: Timestamp, now: Timestamp) -> bool {
    until.plus_seconds(TOKEN_SECONDS_MAX) > now
}

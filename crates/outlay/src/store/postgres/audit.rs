//! The audit log's rows, and the ends of users' tokens. Rows of the log are only ever added.
//!
//! Numbers are given out under the lock of one row, which is held until the commit ([`TAKE_NUMBERS`]): so they become
//! visible in their order, without gaps, whichever node writes, and a reader who goes on above the last number that it saw
//! misses nothing. A sequence would not do: it gives numbers out in one order, and commits come in another. That writers of
//! audited acts wait for each other costs nothing, since these are rare.

use std::sync::Arc;

use outlay_core::id::UserNo;
use outlay_core::month::Timestamp;
use tokio_postgres::{Error, Transaction};

use super::bucket::Buckets;
use super::errors::unavailable;
use super::link::Link;
use super::rows::{RowReader, Rows, damaged};
use super::statements::{MADE, Table};
use crate::audit::{Actor, Entry, Event, Facts};
use crate::store::StoreError;

/// Takes so many numbers, and gives the last of them. Nobody else gets any until this transaction is at its end, so it
/// comes after every other lock.
pub(super) const TAKE_NUMBERS: &str = "update audit_numbers set newest = newest + $1::int8 returning newest";

pub(super) const PUT_COPIED: &str = "update audit_numbers set copied = greatest(copied, $1::int8)";

pub(super) const AUDIT: Table = Table {
    name: "audit",
    keys: &["bucket", "no"],
    columns: "bucket int8, no int8, at int8, who text, address text, request_id text, action text, subject text, \
              user_no int8, before text, after text, sum int8",
};

pub(super) const TOKEN_END: Table = Table {
    name: "token_end",
    keys: &["bucket", "user_no"],
    columns: "bucket int8, user_no int8, until int8, sum int8",
};

/// No token is good for longer, its leeway included; what was ended before is of no more use.
const TOKEN_SECONDS_MAX: i64 = 2 * 86_400;

/// The instant from which on the end of a token still matters.
pub(super) fn ends_that_matter(now: Timestamp) -> Timestamp {
    now.plus_seconds(-TOKEN_SECONDS_MAX)
}

/// Writes what was done, in a transaction that writes nothing more; gives the newest number, if there is one now that was
/// not before.
pub(super) async fn write(
    link: &Link,
    buckets: Buckets,
    at: Timestamp,
    events: &[Event],
) -> Result<Option<i64>, Error> {
    if events.is_empty() {
        return Ok(None);
    }
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let taken = link.send(TAKE_NUMBERS, vec![&count]).await?;
    let Some(newest) = taken.first().map(|row| row.try_get(0)).transpose()? else { return Ok(None) };
    let mut rows = Rows::default();
    write_events(&mut rows, buckets, newest, at, events);
    link.send_rows(&MADE.insert_audit, &rows).await?;
    Ok(Some(newest))
}

/// The same in a transaction of a connection that prepares nothing ahead.
pub(super) async fn write_in(
    transaction: &Transaction<'_>,
    buckets: Buckets,
    at: Timestamp,
    events: &[Event],
) -> Result<(), StoreError> {
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let taken = transaction.query_one(TAKE_NUMBERS, &[&count]).await.map_err(unavailable)?;
    let newest = RowReader::new(&taken).required()?;
    let mut rows = Rows::default();
    write_events(&mut rows, buckets, newest, at, events);
    transaction.execute(&MADE.insert_audit, &rows.parameters()).await.map_err(unavailable)?;
    Ok(())
}

/// The events' rows, with the numbers that end at `newest`.
fn write_events<'a>(rows: &mut Rows<'a>, buckets: Buckets, newest: i64, at: Timestamp, events: &'a [Event]) {
    let first = newest.saturating_sub(i64::try_from(events.len()).unwrap_or(0));
    let json = |facts: &Option<Facts>| facts.as_ref().map(Facts::to_json);
    for (no, event) in (first + 1..).zip(events) {
        rows.int(event.user_no.map_or(0, |user_no| i64::from(buckets.of_no(user_no.0)))).int(no).time(at);
        rows.text(Some(&event.actor.who)).made(event.actor.address.map(|address| address.to_string()));
        rows.text(event.actor.request_id.as_deref()).text(Some(event.action.as_str())).text(event.subject.as_deref());
        rows.optional_number(event.user_no.map(|no| no.0)).made(json(&event.before)).made(json(&event.after));
        rows.end_with_sum();
    }
}

/// An entry that another store had, under the number that it had there.
pub(super) fn write_entry<'a>(rows: &mut Rows<'a>, bucket: i32, entry: &'a Entry) {
    rows.int(i64::from(bucket)).number(entry.no).time(entry.at).text(Some(&entry.actor.who));
    rows.made(entry.actor.address.map(|address| address.to_string())).text(entry.actor.request_id.as_deref());
    rows.text(Some(&entry.action)).text(entry.subject.as_deref()).optional_number(entry.user_no.map(|no| no.0));
    rows.text(entry.before.as_deref()).text(entry.after.as_deref()).end_with_sum();
}

pub(super) fn read_entry(row: &mut RowReader<'_>) -> Result<Entry, StoreError> {
    let shared = |text: Option<&str>| text.map(Arc::<str>::from);
    row.required()?;
    let (no, at, who) = (row.number()?, row.time()?, Arc::from(row.required_text()?));
    let address =
        row.text()?.map(|text| text.parse().map_err(|_| damaged("an address of the audit log"))).transpose()?;
    Ok(Entry {
        no,
        at,
        actor: Actor { who, address, request_id: shared(row.text()?) },
        action: Arc::from(row.required_text()?),
        subject: shared(row.text()?),
        user_no: row.optional_number()?.map(UserNo),
        before: shared(row.text()?),
        after: shared(row.text()?),
    })
}

/// The end of a user's tokens.
pub(super) fn read_token_end(row: &mut RowReader<'_>) -> Result<(UserNo, Timestamp), StoreError> {
    row.required()?;
    Ok((UserNo(row.number()?), row.time()?))
}

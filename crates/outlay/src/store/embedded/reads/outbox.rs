//! What is to be told, read for who sends it and who wants to know how that went.

use std::sync::Arc;

use outlay_core::id::{DenialNo, SessionNo, UserId};
use outlay_core::month::Timestamp;
use rusqlite::{Connection, Row};

use super::Snapshot;
use crate::store::embedded::codec::{self, RowReader, stored};
use crate::store::embedded::load;
use crate::store::outbox::{
    DeliveriesQuery, Delivery, DeliveryState, DueDelivery, EventKind, LimitChange, PAUSE_MAX_SECONDS, Receiver,
    Subject, Try, Waiting,
};
use crate::store::{Of, Page, StoreError};

/// Deliveries to one receiver that are due, the longest due first.
pub(super) fn due(
    snapshot: &Snapshot<'_>,
    receiver: Receiver,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<DueDelivery>, StoreError> {
    let connection = &snapshot.transaction;
    let receiver = codec::receiver_no(receiver);
    let mut found = Vec::new();
    // One after the other, each from the index: what waits is many rows, and little of it is due.
    for (is_due, bound) in [("due <= ?", now), ("due > ?", now.plus_seconds(PAUSE_MAX_SECONDS))] {
        let rest = format!("delivery where receiver = ? and {is_due} order by due, no limit ?");
        let mut statement = connection.prepare_cached(&load::select(codec::DELIVERY_COLUMNS, &rest))?;
        let mut rows = statement.query((receiver, nanos(bound), stored((limit - found.len()) as u64)))?;
        while let Some(row) = rows.next()? {
            found.push(due_delivery(snapshot, row)?);
        }
    }
    Ok(found)
}

/// A delivery with all that is needed to send it.
fn due_delivery(snapshot: &Snapshot<'_>, row: &Row<'_>) -> Result<DueDelivery, StoreError> {
    let (delivery, body) = codec::read_delivery(row)?;
    let user = match delivery.user_no {
        Some(no) => load::user(&snapshot.transaction, no)?.filter(|user| !user.user_id.as_str().is_empty()),
        None => None,
    };
    let subject = match subject(snapshot, &delivery, body) {
        // One damaged row must not keep all behind it.
        Err(StoreError::Corrupt(problem)) => {
            tracing::error!(delivery.number = delivery.no, "what a delivery tells of cannot be read: {problem}");
            Subject::Lost
        }
        read => read?,
    };
    Ok(DueDelivery { delivery, user: user.map(Arc::new), subject })
}

fn subject(snapshot: &Snapshot<'_>, delivery: &Delivery, body: Option<LimitChange>) -> Result<Subject, StoreError> {
    let (connection, names) = (&snapshot.transaction, &snapshot.shared.names);
    let missing = || StoreError::Corrupt(format!("delivery {} tells of what is not stored", delivery.no));
    Ok(match delivery.kind {
        EventKind::ThresholdCrossed => {
            let sql = load::select(codec::ALERT_COLUMNS, "alert where no = ?");
            let alert = load::one(connection, &sql, [stored(delivery.about)], codec::read_alert)?;
            Subject::Alert(Box::new(alert.ok_or_else(missing)?))
        }
        EventKind::DenialRecorded => {
            let denial = load::denial(connection, DenialNo(delivery.about), names)?;
            Subject::Denial(Box::new(denial.ok_or_else(missing)?))
        }
        EventKind::SessionAbandoned => {
            let session = load::session(connection, SessionNo(delivery.about), names)?;
            Subject::Session(Box::new(session.ok_or_else(missing)?))
        }
        EventKind::LimitChanged => Subject::Limits(Box::new(body.ok_or_else(missing)?)),
        EventKind::Test => Subject::Test,
    })
}

/// Whom something is to be told, and when the first of it is due.
pub(super) fn receivers(snapshot: &Snapshot<'_>) -> Result<Vec<(Receiver, Timestamp)>, StoreError> {
    let sql = "select receiver, min(due) from delivery indexed by delivery_due where due is not null group by receiver";
    let mut statement = snapshot.transaction.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        found.push((codec::read_receiver(row.required()?), row.time()?));
    }
    Ok(found)
}

/// When the next delivery to a receiver is due.
pub(super) fn next_due(snapshot: &Snapshot<'_>, receiver: Receiver) -> Result<Option<Timestamp>, StoreError> {
    let sql = "select min(due) from delivery where receiver = ? and due is not null";
    let mut statement = snapshot.transaction.prepare_cached(sql)?;
    let mut rows = statement.query([codec::receiver_no(receiver)])?;
    rows.next()?.map_or(Ok(None), |row| RowReader::new(row).optional_time())
}

/// How much waits.
pub(super) fn waiting(snapshot: &Snapshot<'_>) -> Result<Waiting, StoreError> {
    let sql = "select count(*), min(created_at) from delivery indexed by delivery_due where due is not null";
    let mut statement = snapshot.transaction.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else { return Ok(Waiting::default()) };
    let mut row = RowReader::new(row);
    Ok(Waiting { count: row.number()?, oldest: row.optional_time()? })
}

/// How many deliveries to a receiver failed.
pub(super) fn failed(snapshot: &Snapshot<'_>, receiver: Receiver) -> Result<u64, StoreError> {
    let sql = "select count(*) from delivery where receiver = ? and state = 2";
    let mut statement = snapshot.transaction.prepare_cached(sql)?;
    let count: i64 = statement.query_row([codec::receiver_no(receiver)], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// Deliveries to one receiver, newest first.
pub(super) fn of_receiver(snapshot: &Snapshot<'_>, query: &DeliveriesQuery) -> Result<Page<Of<Delivery>>, StoreError> {
    let connection = &snapshot.transaction;
    let states: Vec<i64> = DeliveryState::ALL
        .into_iter()
        .filter(|state| query.state.is_none_or(|wanted| state.as_str() == wanted))
        .map(codec::delivery_state_no)
        .collect();
    // The states are numbers of this program, few and without a doubt.
    let states = states.iter().map(i64::to_string).collect::<Vec<_>>().join(", ");
    let rest = format!("delivery where receiver = ? and no < ? and state in ({states}) order by no desc limit ?");
    let mut statement = connection.prepare_cached(&load::select(codec::DELIVERY_COLUMNS, &rest))?;
    let before = query.page.before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
    // One row beyond the page is read, to know whether there is one.
    let mut rows =
        statement.query((codec::receiver_no(query.receiver), before, stored(query.page.limit as u64 + 1)))?;
    let mut items = Vec::new();
    while let Some(row) = rows.next()? {
        let (mut delivery, _) = codec::read_delivery(row)?;
        delivery.tries = tries(connection, delivery.no)?;
        items.push(Of { user_id: user_id(connection, &delivery)?, row: delivery });
    }
    let more = items.len() > query.page.limit;
    items.truncate(query.page.limit);
    let next = items.last().filter(|_| more).map(|last| last.row.no);
    Ok(Page { items, next })
}

/// Deliveries that tell of these, by their order and then by number.
pub(super) fn about(snapshot: &Snapshot<'_>, kind: EventKind, numbers: &[u64]) -> Result<Vec<Delivery>, StoreError> {
    let connection = &snapshot.transaction;
    let sql = load::select(codec::DELIVERY_COLUMNS, "delivery where kind = ? and about = ? order by no");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut found = Vec::new();
    for no in numbers {
        let mut rows = statement.query((codec::event_kind_no(kind), stored(*no)))?;
        while let Some(row) = rows.next()? {
            let (mut delivery, _) = codec::read_delivery(row)?;
            delivery.tries = tries(connection, delivery.no)?;
            found.push(delivery);
        }
    }
    Ok(found)
}

/// One delivery.
pub(super) fn one(snapshot: &Snapshot<'_>, no: u64) -> Result<Option<Of<Delivery>>, StoreError> {
    let connection = &snapshot.transaction;
    let sql = load::select(codec::DELIVERY_COLUMNS, "delivery where no = ?");
    let found = load::one(connection, &sql, [stored(no)], codec::read_delivery)?;
    let Some((mut delivery, _)) = found else { return Ok(None) };
    delivery.tries = tries(connection, no)?;
    Ok(Some(Of { user_id: user_id(connection, &delivery)?, row: delivery }))
}

fn tries(connection: &Connection, no: u64) -> Result<Vec<Try>, StoreError> {
    let mut statement =
        connection.prepare_cached("select at, status, reason from delivery_try where delivery = ? order by n")?;
    let mut rows = statement.query([stored(no)])?;
    let mut tries = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        tries.push(Try {
            at: row.time()?,
            status: row.int()?.and_then(|status| u16::try_from(status).ok()),
            reason: row.text()?.map(Arc::from),
        });
    }
    Ok(tries)
}

fn user_id(connection: &Connection, delivery: &Delivery) -> Result<Option<UserId>, StoreError> {
    let Some(no) = delivery.user_no else { return Ok(None) };
    let user_id = load::one(connection, "select user_id from user where no = ?", [stored(no.0)], |row| {
        Ok(RowReader::new(row).text()?.map(UserId::from_stored))
    })?;
    Ok(user_id.flatten())
}

fn nanos(at: Timestamp) -> i64 {
    i64::try_from(at.nanos()).unwrap_or(i64::MAX)
}

//! What is to be told, read for who sends it and who wants to know how that went.

use std::collections::BTreeMap;
use std::sync::Arc;

use outlay_core::id::UserId;
use outlay_core::month::Timestamp;

use super::lists::Place;
use super::{Transaction, rows};
use crate::store::outbox::{
    DeliveriesQuery, Delivery, DeliveryState, DueDelivery, EventKind, LimitChange, PAUSE_MAX_SECONDS, Receiver,
    Subject, Try, Waiting,
};
use crate::store::packed::delivery::{delivery_state_no, event_kind_no, read_receiver, receiver_no};
use crate::store::postgres::codec::{self, ALERT, DENIAL, SESSION, USERS, read_all};
use crate::store::postgres::outbox::{DELIVERY_COLUMNS, LEASE_SECONDS, read_delivery};
use crate::store::postgres::reader::Ask;
use crate::store::postgres::rows::{RowReader, damaged, nanos, stored};
use crate::store::postgres::shared::Shared;
use crate::store::postgres::statements::Table;
use crate::store::{Of, Page, StoreError};

/// Deliveries to one receiver that are due, the longest due first.
pub(super) async fn due(
    client: &Transaction<'_>,
    shared: &Shared,
    receiver: Receiver,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<DueDelivery>, StoreError> {
    let mut found = Vec::new();
    for (is_due, bound) in due_at(now) {
        let sql = format!(
            "select {DELIVERY_COLUMNS} from delivery t where t.receiver = $1 and t.{is_due} $2 \
             order by t.due, t.no limit $3"
        );
        let rest = i64::try_from(limit - found.len()).unwrap_or(i64::MAX);
        let rows = rows(client, &sql, &[&receiver_no(receiver), &nanos(bound), &rest]).await?;
        found.extend(read_all(&rows, read_delivery)?);
    }
    with_subjects(client, shared, found).await
}

/// The same, and no other node is given them until this one has noted what became of them, or its time is up.
pub(super) async fn take(
    client: &impl Ask,
    receiver: Receiver,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<(Delivery, Option<LimitChange>)>, StoreError> {
    let lease_until = nanos(now.plus_seconds(LEASE_SECONDS));
    let mut found = Vec::new();
    for (is_due, bound) in due_at(now) {
        // What is on its way is due when the lease ends: whoever looks then sends it again.
        let sql = format!(
            "with d as materialized (select bucket, no from delivery where receiver = $1 and {is_due} $2 \
             order by due, no limit $3 for update skip locked) \
             update delivery t set due = $4, lease_until = $4 from d where t.bucket = d.bucket and t.no = d.no \
             returning {DELIVERY_COLUMNS}"
        );
        let rest = i64::try_from(limit - found.len()).unwrap_or(i64::MAX);
        if rest == 0 {
            break;
        }
        let rows = rows(client, &sql, &[&receiver_no(receiver), &nanos(bound), &rest, &lease_until]).await?;
        found.extend(read_all(&rows, read_delivery)?);
    }
    found.sort_by_key(|(delivery, _)| (delivery.created_at, delivery.no));
    Ok(found)
}

/// What is due by now, and what lies so far ahead that the clock was set back since. One after the other, each from the
/// index: what waits is many rows, and little of it is due.
fn due_at(now: Timestamp) -> [(&'static str, Timestamp); 2] {
    [("due <=", now), ("due >", now.plus_seconds(PAUSE_MAX_SECONDS))]
}

/// Deliveries with all that is needed to send them.
pub(super) async fn with_subjects(
    client: &Transaction<'_>,
    shared: &Shared,
    found: Vec<(Delivery, Option<LimitChange>)>,
) -> Result<Vec<DueDelivery>, StoreError> {
    let mut due = Vec::with_capacity(found.len());
    for (delivery, body) in found {
        let user = match delivery.user_no {
            Some(no) => one(client, shared, &USERS, "user_no", no.0, codec::read_user).await?,
            None => None,
        };
        let user = user.filter(|user| !user.user_id.as_str().is_empty());
        let subject = match subject(client, shared, &delivery, body).await {
            // One damaged row must not keep all behind it.
            Err(StoreError::Corrupt(problem)) => {
                tracing::error!(delivery.number = delivery.no, "what a delivery tells of cannot be read: {problem}");
                Subject::Lost
            }
            read => read?,
        };
        due.push(DueDelivery { delivery, user: user.map(Arc::new), subject });
    }
    Ok(due)
}

async fn subject(
    client: &Transaction<'_>,
    shared: &Shared,
    delivery: &Delivery,
    body: Option<LimitChange>,
) -> Result<Subject, StoreError> {
    let missing = || StoreError::Corrupt(format!("delivery {} tells of what is not stored", delivery.no));
    let about = delivery.about;
    Ok(match delivery.kind {
        EventKind::ThresholdCrossed => {
            let alert = one(client, shared, &ALERT, "no", about, codec::read_alert).await?;
            Subject::Alert(Box::new(alert.ok_or_else(missing)?))
        }
        EventKind::DenialRecorded => {
            let denial = one(client, shared, &DENIAL, "no", about, codec::read_denial).await?;
            Subject::Denial(Box::new(denial.ok_or_else(missing)?))
        }
        EventKind::SessionAbandoned => {
            let session = one(client, shared, &SESSION, "no", about, codec::read_session).await?;
            Subject::Session(Box::new(session.ok_or_else(missing)?))
        }
        EventKind::LimitChanged => Subject::Limits(Box::new(body.ok_or_else(missing)?)),
        EventKind::Test => Subject::Test,
    })
}

/// The row with a number.
async fn one<T>(
    client: &Transaction<'_>,
    shared: &Shared,
    table: &Table,
    column: &str,
    no: u64,
    read: impl Fn(&mut RowReader<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let (name, columns) = (table.name, table.select("t"));
    let sql = format!("select {columns} from {name} t where t.bucket = $1::int8 and t.{column} = $2");
    let found = rows(client, &sql, &[&i64::from(shared.buckets().of_no(no)), &stored(no)]).await?;
    found.first().map(|row| read(&mut RowReader::new(row))).transpose()
}

/// Whom something is to be told, and when the first of it is due.
pub(super) async fn receivers(client: &Transaction<'_>) -> Result<Vec<(Receiver, Timestamp)>, StoreError> {
    let sql = "select receiver, min(due) from delivery where due is not null group by receiver";
    read_all(&rows(client, sql, &[]).await?, |row| Ok((read_receiver(row.required()?), row.time()?)))
}

/// When the next delivery to a receiver is due.
pub(super) async fn next_due(client: &Transaction<'_>, receiver: Receiver) -> Result<Option<Timestamp>, StoreError> {
    let sql = "select min(due) from delivery where receiver = $1 and due is not null";
    let found = rows(client, sql, &[&receiver_no(receiver)]).await?;
    found.first().map_or(Ok(None), |row| RowReader::new(row).optional_time())
}

/// How much waits.
pub(super) async fn waiting(client: &Transaction<'_>) -> Result<Waiting, StoreError> {
    let sql = "select count(*), min(created_at) from delivery where due is not null";
    let found = rows(client, sql, &[]).await?;
    let mut row = RowReader::new(found.first().ok_or_else(|| damaged("a count"))?);
    Ok(Waiting { count: row.number()?, oldest: row.optional_time()? })
}

/// How many deliveries to a receiver failed.
pub(super) async fn failed(client: &Transaction<'_>, receiver: Receiver) -> Result<u64, StoreError> {
    let sql = "select count(*) from delivery where receiver = $1 and state = 2";
    let found = rows(client, sql, &[&receiver_no(receiver)]).await?;
    RowReader::new(found.first().ok_or_else(|| damaged("a count"))?).number()
}

/// Deliveries to one receiver, the newest first: each bucket numbers its own, so by their time and then by number.
pub(super) async fn of_receiver(
    client: &Transaction<'_>,
    shared: &Shared,
    query: &DeliveriesQuery,
) -> Result<Page<Of<Delivery>>, StoreError> {
    let nothing = Page { items: Vec::new(), next: None };
    let Some(place) = Place::of(client, shared, "delivery", "created_at", query.page).await? else {
        return Ok(nothing);
    };
    let states: Vec<i64> = DeliveryState::ALL
        .into_iter()
        .filter(|state| query.state.is_none_or(|wanted| state.as_str() == wanted))
        .map(delivery_state_no)
        .collect();
    let sql = format!(
        "{} where t.receiver = $1 and (t.created_at, t.no) < ($2, $3) and t.state = any($4::int8[]) \
         order by t.created_at desc, t.no desc limit $5",
        with_user()
    );
    // One row beyond the page is read, to know whether there is one.
    let most = i64::try_from(query.page.limit).unwrap_or(i64::MAX).saturating_add(1);
    let receiver = receiver_no(query.receiver);
    let found = rows(client, &sql, &[&receiver, &place.time, &place.no, &states, &most]).await?;
    let mut items = with_tries(client, shared, read_all(&found, read_with_user)?).await?;
    let more = items.len() > query.page.limit;
    items.truncate(query.page.limit);
    let next = items.last().filter(|_| more).map(|last| last.row.no);
    Ok(Page { items, next })
}

/// Deliveries that tell of these, by their order and then by number.
pub(super) async fn about(
    client: &Transaction<'_>,
    shared: &Shared,
    kind: EventKind,
    numbers: &[u64],
) -> Result<Vec<Delivery>, StoreError> {
    let (buckets, abouts): (Vec<i64>, Vec<i64>) =
        numbers.iter().map(|no| (i64::from(shared.buckets().of_no(*no)), stored(*no))).unzip();
    let sql = format!(
        "select x.user_id, {DELIVERY_COLUMNS} from unnest($2::int8[], $3::int8[]) with ordinality as u (bucket, about, place) \
         join delivery t on t.bucket = u.bucket and t.kind = $1::int8 and t.about = u.about \
         left join users x on x.bucket = t.bucket and x.user_no = t.user_no order by u.place, t.no"
    );
    let found = rows(client, &sql, &[&event_kind_no(kind), &buckets, &abouts]).await?;
    let found = with_tries(client, shared, read_all(&found, read_with_user)?).await?;
    Ok(found.into_iter().map(|of| of.row).collect())
}

/// One delivery.
pub(super) async fn delivery(
    client: &Transaction<'_>,
    shared: &Shared,
    no: u64,
) -> Result<Option<Of<Delivery>>, StoreError> {
    let sql = format!("{} where t.bucket = $1::int8 and t.no = $2", with_user());
    let found = rows(client, &sql, &[&i64::from(shared.buckets().of_no(no)), &stored(no)]).await?;
    Ok(with_tries(client, shared, read_all(&found, read_with_user)?).await?.pop())
}

/// Deliveries `t` with the ids of those whom they are about.
fn with_user() -> String {
    format!(
        "select x.user_id, {DELIVERY_COLUMNS} from delivery t \
         left join users x on x.bucket = t.bucket and x.user_no = t.user_no"
    )
}

fn read_with_user(row: &mut RowReader<'_>) -> Result<Of<Delivery>, StoreError> {
    let user_id = row.text()?.map(UserId::from_stored);
    Ok(Of { user_id, row: read_delivery(row)?.0 })
}

/// The same deliveries with their tries.
async fn with_tries(
    client: &Transaction<'_>,
    shared: &Shared,
    mut items: Vec<Of<Delivery>>,
) -> Result<Vec<Of<Delivery>>, StoreError> {
    let (buckets, numbers): (Vec<i64>, Vec<i64>) =
        items.iter().map(|of| (i64::from(shared.buckets().of_no(of.row.no)), stored(of.row.no))).unzip();
    let sql = "select t.delivery, t.at, t.status, t.reason from unnest($1::int8[], $2::int8[]) as u (bucket, delivery) \
               join delivery_try t on t.bucket = u.bucket and t.delivery = u.delivery order by t.delivery, t.n";
    let read = |row: &mut RowReader<'_>| {
        let no = row.number()?;
        let (at, status) = (row.time()?, row.int()?.and_then(|status| u16::try_from(status).ok()));
        Ok((no, Try { at, status, reason: row.text()?.map(Arc::from) }))
    };
    let mut tries: BTreeMap<u64, Vec<Try>> = BTreeMap::new();
    for (no, tried) in read_all(&rows(client, sql, &[&buckets, &numbers]).await?, read)? {
        tries.entry(no).or_default().push(tried);
    }
    for of in &mut items {
        of.row.tries = tries.remove(&of.row.no).unwrap_or_default();
    }
    Ok(items)
}

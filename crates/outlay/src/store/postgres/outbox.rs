//! Rows of what is to be told and of who is told, and what a start does with them.

use outlay_core::id::UserNo;
use outlay_core::month::Timestamp;
use tokio_postgres::Client;
use tokio_postgres::types::Type;

use super::errors::unavailable;
use super::rows::{RowReader, Rows, damaged, nanos};
use super::statements::Table;
use crate::store::StoreError;
use crate::store::outbox::{Delivery, EventKinds, LimitChange, NewDelivery, WebhookRecord};
use crate::store::packed::delivery::{
    event_kind_no, read_delivery_state, read_event_kind, read_limits, read_receiver, receiver_no,
};

/// For how long a node has a delivery to itself: longer than any try may take.
pub(super) const LEASE_SECONDS: i64 = 120;
/// How often starts make due what waits: nodes may be started one after the other, and often.
const STARTS_SECONDS: i64 = 600;

/// The columns of a delivery that never change.
pub(super) const DELIVERY: Table = Table {
    name: "delivery",
    keys: &["bucket", "no"],
    columns: "bucket int8, no int8, kind int8, about int8, user_no int8, receiver int8, created_at int8, body text, \
              sum int8",
};

/// What [`read_delivery`] reads of a row `t`.
pub(super) const DELIVERY_COLUMNS: &str =
    "t.no, t.kind, t.about, t.user_no, t.receiver, t.created_at, t.body, t.state, t.due, t.step, t.ended_at, t.tries";

/// The webhooks that there are.
pub(super) const WEBHOOKS: &str = "select no, id, url, events, description, configured::int4, created_at, gone_at \
     from webhook where deleted_at is null order by no";

/// The number of a new webhook is the next one. Who adds one has the first bucket's lock.
pub(super) const PUT_WEBHOOK: &str = "insert into webhook (no, id, url, events, description, configured, created_at) \
     select coalesce(max(no), 0) + 1, $1::text, $2::text, $3::int8, $4::text, $5::bool, $6::int8 from webhook";

pub(super) const DELETE_WEBHOOK: &str =
    "update webhook set deleted_at = $2::int8 where no = $1::int8 and deleted_at is null returning id";

/// Ends all that waits for a receiver.
pub(super) const END_PENDING: &str = "update delivery set state = $2::int8, due = null, lease_until = null, ended_at = $3::int8 \
     where receiver = $1::int8 and due is not null";

/// Takes out of the tries of mails to users what a mail server may have said of them.
pub(super) const BLANK_REASONS: &str = "update delivery_try t set reason = '' \
     from (select d.* from unnest($1::int8[], $2::int8[]) as u (bucket, user_no) cross join lateral \
     (select bucket, no from delivery d where d.bucket = u.bucket and d.user_no = u.user_no and d.receiver = -1 offset 0) d \
     offset 0) u where t.bucket = u.bucket and t.delivery = u.no and t.reason is not null";

pub(super) fn write_delivery<'a>(rows: &mut Rows<'a>, bucket: i32, new: &'a NewDelivery, at: Timestamp) {
    rows.int(i64::from(bucket)).number(new.no).int(event_kind_no(new.kind)).number(new.about);
    rows.optional_number(new.user_no.map(|no| no.0)).int(receiver_no(new.receiver)).time(at);
    rows.text(new.body.as_deref()).end_with_sum();
}

/// Reads [`DELIVERY_COLUMNS`], without the tries; beside it the body.
pub(super) fn read_delivery(row: &mut RowReader<'_>) -> Result<(Delivery, Option<LimitChange>), StoreError> {
    let no = row.number()?;
    let kind = read_event_kind(row.required()?)?;
    let about = row.number()?;
    let user_no = row.optional_number()?.map(UserNo);
    let receiver = read_receiver(row.required()?);
    let created_at = row.time()?;
    let body = row.text()?.map(read_limits).transpose()?;
    let state = read_delivery_state(row.required()?)?;
    let due = row.optional_time()?;
    let step = usize::try_from(row.required()?).map_err(|_| damaged("a step"))?;
    let ended_at = row.optional_time()?;
    let tries = Vec::with_capacity(usize::try_from(row.required()?).unwrap_or(0).min(64));
    Ok((Delivery { no, kind, about, user_no, receiver, created_at, state, due, step, ended_at, tries }, body))
}

pub(super) fn read_webhook(row: &mut RowReader<'_>) -> Result<WebhookRecord, StoreError> {
    Ok(WebhookRecord {
        no: row.number()?,
        id: row.required_text()?.to_owned(),
        url: row.required_text()?.to_owned(),
        events: EventKinds(u8::try_from(row.required()?).unwrap_or(0)),
        description: row.required_text()?.to_owned(),
        configured: row.required()? != 0,
        created_at: row.time()?,
        gone_at: row.optional_time()?,
    })
}

/// Makes all that waits due at once, since whoever was away may be back; but for what a node has on its way, and where
/// another start has just done so. The try that is made out of turn takes the place of the one before it.
pub(super) async fn bring_forward(client: &mut Client, now: Timestamp) -> Result<(), StoreError> {
    let waits = "due is not null and (step > 0 or due > $1::int8) and coalesce(lease_until, 0) <= $1";
    let (now, before) = (nanos(now), nanos(now.plus_seconds(-STARTS_SECONDS)));
    let sql = format!("select exists(select from delivery where {waits})");
    let waits_any = client.query_typed_one(&sql, &[(&now, Type::INT8)]).await.map_err(unavailable)?;
    if !waits_any.try_get::<_, bool>(0).map_err(unavailable)? {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(unavailable)?;
    let sql = "update meta set retried_at = $1::int8 where retried_at <= $2::int8";
    if transaction.execute(sql, &[&now, &before]).await.map_err(unavailable)? > 0 {
        let sql =
            format!("update delivery set due = least(created_at, $1), step = greatest(step - 1, 0) where {waits}");
        transaction.execute(&sql, &[&now]).await.map_err(unavailable)?;
    }
    transaction.commit().await.map_err(unavailable)
}

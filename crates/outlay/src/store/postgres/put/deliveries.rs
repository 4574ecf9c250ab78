//! Writes who is told, and what became of tries to tell them.

use std::collections::BTreeMap;

use outlay_core::month::Timestamp;

use super::super::link::Link;
use super::super::outbox::{DELETE_WEBHOOK, END_PENDING, PUT_WEBHOOK, write_delivery};
use super::super::rows::{RowReader, Rows, nanos, stored};
use super::super::shared::{Locked, Shared};
use super::super::statements::MADE;
use super::{Failed, Put, REMOVE_SECRET, next_version, put_secrets};
use crate::store::outbox::{AfterTry, Again, DeliveryState, EventKind, Receiver, Telling, TriedRecord, WebhookRecord};
use crate::store::packed::delivery::{
    delivery_state_no, read_delivery_state, read_event_kind, read_receiver, receiver_no,
};
use crate::store::{SecretRecord, StoreError};

/// Deliveries as they stand; the last column says whether it is a mail to somebody who is nobody any more.
pub(super) const FIND_TRIED: &str = "select t.bucket, t.no, t.state, t.due, t.step, t.tries, t.ended_at, t.receiver, t.kind, \
     (t.receiver = -1 and not exists (select from users x where x.bucket = t.bucket and x.user_no = t.user_no \
     and x.user_id is not null))::int4 \
     from unnest($1::int8[], $2::int8[]) as u (bucket, no) join delivery t on t.bucket = u.bucket and t.no = u.no";
pub(super) const PUT_TRIED: &str = "update delivery t set state = u.state, due = u.due, step = u.step, tries = u.tries, ended_at = u.ended_at, \
     lease_until = null \
     from unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[], $7::int8[]) \
     as u (bucket, no, state, due, step, tries, ended_at) where t.bucket = u.bucket and t.no = u.no";
pub(super) const ADD_TRIES: &str = "insert into delivery_try (bucket, delivery, n, at, status, reason) \
     select * from unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::text[])";
pub(super) const WEBHOOK_GONE: &str = "update webhook set gone_at = $2::int8 where no = $1::int8 and gone_at is null";
pub(super) const WEBHOOK_BACK: &str = "update webhook set gone_at = null where no = $1::int8";

/// Not before a node that has it on its way is done with it.
const AGAIN: &str = "update delivery t set state = 0, due = greatest($2::int8, t.lease_until), step = 0, ended_at = null \
     where ";
const STILL_THERE: &str = " and (t.receiver < 0 or t.receiver in (select no from webhook where deleted_at is null)) \
     returning t.receiver";

/// The three statements that send again.
pub(super) struct SendAgain {
    pub(super) one: String,
    pub(super) failed: String,
    pub(super) alert: String,
}

pub(super) static SEND_AGAIN: std::sync::LazyLock<SendAgain> = std::sync::LazyLock::new(|| SendAgain {
    one: format!("{AGAIN}t.no = $1::int8 and t.bucket = $3::int4{STILL_THERE}"),
    failed: format!("{AGAIN}t.receiver = $1::int8 and t.state = 2{STILL_THERE}"),
    alert: format!("{AGAIN}t.bucket = $3::int4 and t.kind = 1 and t.about = $1::int8{STILL_THERE}"),
});

pub(super) async fn put_webhook(link: &Link, webhook: &WebhookRecord, secret: &SecretRecord) -> Result<(), Failed> {
    let WebhookRecord { id, url, events, description, configured, created_at, .. } = webhook;
    let parameters: Vec<&(dyn tokio_postgres::types::ToSql + Sync)> = vec![id, url];
    let (events, created_at) = (i64::from(events.0), nanos(*created_at));
    let more: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&events, description, configured, &created_at];
    link.send(PUT_WEBHOOK, parameters.into_iter().chain(more).collect()).await?;
    // That says too that there is another version.
    put_secrets(link, std::slice::from_ref(secret)).await
}

pub(super) async fn delete_webhook(link: &Link, no: u64, at: Timestamp) -> Result<(), Failed> {
    let deleted = link.send(DELETE_WEBHOOK, vec![&stored(no), &nanos(at)]).await?;
    let Some(row) = deleted.first() else { return Ok(()) };
    let id = RowReader::new(row).required_text()?.to_owned();
    end_pending(link, Receiver::Webhook(no), DeliveryState::NoWebhook, at).await?;
    for name in [format!("webhook/{id}"), format!("webhook/{id}/before")] {
        link.send(REMOVE_SECRET, vec![&name]).await?;
    }
    next_version(link).await
}

async fn end_pending(link: &Link, of: Receiver, state: DeliveryState, at: Timestamp) -> Result<(), Failed> {
    link.send(END_PENDING, vec![&receiver_no(of), &delivery_state_no(state), &nanos(at)]).await?;
    Ok(())
}

/// A delivery as it stands, and then as it is to stand.
struct Standing {
    bucket: i64,
    state: DeliveryState,
    due: Option<Timestamp>,
    step: i64,
    tries: i64,
    ended_at: Option<Timestamp>,
    receiver: Receiver,
    kind: EventKind,
    /// Whether it is a mail to somebody who was erased.
    is_of_nobody: bool,
}

impl Standing {
    fn end(&mut self, state: DeliveryState, at: Timestamp) {
        (self.state, self.due, self.ended_at) = (state, None, Some(at));
    }
}

/// Notes what became of tries; gives whether that changed a webhook.
pub(super) async fn put_tried(
    link: &Link,
    shared: &Shared,
    tried: &[TriedRecord],
    at: Timestamp,
) -> Result<bool, Failed> {
    let mut standing = find(link, shared, tried).await?;
    let mut tries = Rows::default();
    let mut webhooks: BTreeMap<u64, bool> = BTreeMap::new();
    for record in tried {
        let Some(one) = standing.get_mut(&record.delivery) else { continue };
        if let Some(tried) = &record.tried {
            one.tries += 1;
            // Who was erased while a letter was on its way: what a mail server may have said of them is not kept.
            let reason = tried.reason.as_deref().map(|reason| if one.is_of_nobody { "" } else { reason });
            tries.int(one.bucket).number(record.delivery).int(one.tries).time(tried.at);
            tries.int(tried.status.map(i64::from)).text(reason).end();
        }
        match record.next {
            // Meanwhile its webhook was taken away, say: then only the try is noted.
            AfterTry::Again { .. } | AfterTry::Ended { state: DeliveryState::Failed, .. }
                if one.state != DeliveryState::Pending => {}
            AfterTry::Again { due, step } => {
                (one.due, one.step) = (Some(due), i64::try_from(step).unwrap_or(i64::MAX));
            }
            AfterTry::Ended { state, gone } => {
                one.end(state, at);
                if let Receiver::Webhook(no) = one.receiver {
                    let receiver = one.receiver;
                    if gone {
                        webhooks.insert(no, true);
                        let others = standing.values_mut().filter(|other| other.receiver == receiver);
                        others.filter(|other| other.due.is_some()).for_each(|o| o.end(DeliveryState::Failed, at));
                    } else if state == DeliveryState::Delivered && one.kind == EventKind::Test {
                        webhooks.insert(no, false);
                    }
                }
            }
        }
    }
    let mut rows = Rows::default();
    for (no, one) in &standing {
        rows.int(one.bucket).number(*no).int(delivery_state_no(one.state)).time(one.due).int(one.step);
        rows.int(one.tries).time(one.ended_at).end();
    }
    if !tries.is_empty() {
        link.send_rows(ADD_TRIES, &tries).await?;
    }
    if !rows.is_empty() {
        link.send_rows(PUT_TRIED, &rows).await?;
    }
    for (no, is_gone) in &webhooks {
        if *is_gone {
            link.send(WEBHOOK_GONE, vec![&stored(*no), &nanos(at)]).await?;
            end_pending(link, Receiver::Webhook(*no), DeliveryState::Failed, at).await?;
        } else {
            link.send(WEBHOOK_BACK, vec![&stored(*no)]).await?;
        }
    }
    if !webhooks.is_empty() {
        next_version(link).await?;
    }
    Ok(!webhooks.is_empty())
}

/// The deliveries that were tried, by number.
async fn find(link: &Link, shared: &Shared, tried: &[TriedRecord]) -> Result<BTreeMap<u64, Standing>, Failed> {
    let mut asked = Rows::default();
    for record in tried {
        asked.int(i64::from(shared.buckets().of_no(record.delivery))).number(record.delivery).end();
    }
    if asked.is_empty() {
        return Ok(BTreeMap::new());
    }
    let read = |row| -> Result<(u64, Standing), StoreError> {
        let mut row = RowReader::new(row);
        let (bucket, no) = (row.required()?, row.number()?);
        let standing = Standing {
            bucket,
            state: read_delivery_state(row.required()?)?,
            due: row.optional_time()?,
            step: row.required()?,
            tries: row.required()?,
            ended_at: row.optional_time()?,
            receiver: read_receiver(row.required()?),
            kind: read_event_kind(row.required()?)?,
            is_of_nobody: row.required()? != 0,
        };
        Ok((no, standing))
    };
    let found = link.send_rows(FIND_TRIED, &asked).await?;
    Ok(found.iter().map(read).collect::<Result<_, _>>()?)
}

/// Makes deliveries due once more, with all tries before them; those to a webhook that was taken away are not.
pub(super) async fn again(link: &Link, shared: &Shared, which: Again, at: Timestamp) -> Result<Put, Failed> {
    let at = nanos(at);
    let sent = match which {
        Again::One(no) => link.send(&SEND_AGAIN.one, vec![&stored(no), &at, &shared.buckets().of_no(no)]).await?,
        Again::Alert(no) => link.send(&SEND_AGAIN.alert, vec![&stored(no), &at, &shared.buckets().of_no(no)]).await?,
        Again::FailedOf(webhook) => {
            link.send(&SEND_AGAIN.failed, vec![&receiver_no(Receiver::Webhook(webhook)), &at]).await?
        }
    };
    let told = sent.iter().map(|row| Ok(read_receiver(RowReader::new(row).required()?)));
    Ok(Put { told: told.collect::<Result<_, StoreError>>()?, ..Put::default() })
}

/// Writes a test; gives the number of the delivery that comes next in its bucket.
pub(super) async fn test(link: &Link, first: &Locked, step: u64, to: Receiver, at: Timestamp) -> Result<u64, Failed> {
    let mut telling = Telling::new(first.next_delivery, step);
    telling.note_test(to);
    let mut rows = Rows::default();
    telling.noted().iter().for_each(|new| write_delivery(&mut rows, first.bucket, new, at));
    link.send_rows(&MADE.insert_deliveries, &rows).await?;
    Ok(telling.next())
}

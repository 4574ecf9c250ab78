//! What is to be told: written in the transaction of what it tells of, and moved on by what became of its tries. What it is,
//! and who is told, is said by [`Telling`].

use outlay_core::id::UserNo;
use outlay_core::ledger::{Books, Change, Command, Now};
use outlay_core::month::Timestamp;
use outlay_core::plan::Plans;
use rusqlite::Connection;

use super::codec::{self, RowReader, RowWriter, stored};
use super::load;
use crate::audit::{Action, Actor};
use crate::store::outbox::{
    AfterTry, Again, ConfiguredWebhook, DeliveryState, EventKind, EventKinds, MailTo, NewDelivery, Receiver, Receivers,
    Telling, TriedRecord, WebhookRecord,
};
use crate::store::{SecretRecord, StoreError};

/// What the writer knows of those who are told, and what the batch tells.
#[derive(Debug)]
pub(super) struct Outbox {
    receivers: Receivers,
    telling: Telling,
}

impl Outbox {
    /// Reads who is told, and makes all that is pending due at once: whoever was away may be back.
    pub(super) fn open(connection: &Connection, mail: MailTo, now: Timestamp) -> Result<Self, StoreError> {
        let pending: bool = connection.query_row(
            "select exists(select 1 from delivery indexed by delivery_due where due is not null)",
            [],
            |row| row.get(0),
        )?;
        if pending {
            // The try that is made out of turn takes the place of the one before it, so that none is lost by starting. What
            // was written by a clock that was ahead is due now, and not when that time comes.
            let sql = "update delivery set due = min(created_at, ?1), step = max(step - 1, 0) \
                       where due is not null and (step > 0 or due > ?1)";
            let now = i64::try_from(now.nanos()).unwrap_or(i64::MAX);
            match connection.execute(sql, [now]).map_err(StoreError::from) {
                // They are tried when they were due before.
                Err(StoreError::DiskFull) => tracing::warn!("there is no space to bring deliveries forward"),
                done => drop(done?),
            }
        }
        let last: Option<i64> = connection.query_row("select max(no) from delivery", [], |row| row.get(0))?;
        Ok(Self {
            receivers: Receivers::new(&load_webhooks(connection)?, mail),
            telling: Telling::new(last.unwrap_or(0).cast_unsigned() + 1, 1),
        })
    }

    /// Learns who is told now.
    pub(super) fn set_webhooks(&mut self, webhooks: &[WebhookRecord]) {
        self.receivers = Receivers::new(webhooks, self.receivers.mail());
    }

    /// Notes what a decision tells, before it is applied.
    pub(super) fn note(&mut self, books: &Books, command: &Command, changes: &[Change], now: Now) {
        self.telling.note(&self.receivers, books, command, changes, now);
    }

    /// Tells of plans that the configuration puts in place of others, and writes that. In a store without users nobody's
    /// limits are others.
    pub(super) fn tell_of_configured_plans(
        &mut self,
        connection: &Connection,
        before: &Plans,
        after: &Plans,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let has_users: bool = connection.query_row("select exists(select 1 from user)", [], |row| row.get(0))?;
        if !has_users {
            return Ok(());
        }
        self.telling.note_configured_plans(&self.receivers, before, after);
        let new = self.telling.take();
        new.iter().try_for_each(|new| insert(connection, new, now, &mut Vec::new()))
    }

    /// Writes what the batch tells.
    pub(super) fn write(&self, connection: &Connection, now: Now, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
        self.telling.noted().iter().try_for_each(|new| insert(connection, new, now.wall, bytes))
    }

    /// Whom the batch tells, once it is written.
    pub(super) fn take_receivers(&mut self) -> Vec<Receiver> {
        self.telling.take().into_iter().map(|new| new.receiver).collect()
    }

    /// Forgets what a batch would have told that is not written.
    pub(super) fn roll_back(&mut self) {
        self.telling.forget();
    }

    /// Writes a test, which is due at once.
    pub(super) fn test(&mut self, connection: &Connection, to: Receiver, at: Timestamp) -> Result<(), StoreError> {
        self.telling.note_test(to);
        let written = self.telling.noted().iter().try_for_each(|new| insert(connection, new, at, &mut Vec::new()));
        if written.is_ok() {
            self.telling.take();
        } else {
            self.telling.forget();
        }
        written
    }
}

fn insert(connection: &Connection, new: &NewDelivery, at: Timestamp, bytes: &mut Vec<u8>) -> Result<(), StoreError> {
    let sql = "insert into delivery (no, kind, about, user, receiver, created_at, body, sum, state, due, step, tries) \
               values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?6, 0, 0)";
    let mut statement = connection.prepare_cached(sql)?;
    let mut row = RowWriter::new(&mut statement, bytes);
    row.number(new.no)?.int(codec::event_kind_no(new.kind))?.number(new.about)?;
    row.int(new.user_no.map(|no| stored(no.0)))?.int(codec::receiver_no(new.receiver))?;
    row.time(at)?.text(new.body.as_deref())?.write_with_sum()?;
    Ok(())
}

/// The webhooks that there are, by number.
pub(super) fn load_webhooks(connection: &Connection) -> Result<Vec<WebhookRecord>, StoreError> {
    let mut statement = connection.prepare(
        "select no, id, url, events, description, configured, created_at, gone_at from webhook \
         where deleted_at is null order by no",
    )?;
    let mut rows = statement.query([])?;
    let mut webhooks = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        webhooks.push(WebhookRecord {
            no: row.number()?,
            id: row.required_text()?.to_owned(),
            url: row.required_text()?.to_owned(),
            events: EventKinds(u8::try_from(row.required()?).unwrap_or(0)),
            description: row.required_text()?.to_owned(),
            configured: row.required()? != 0,
            created_at: row.time()?,
            gone_at: row.optional_time()?,
        });
    }
    Ok(webhooks)
}

/// Writes a new webhook; its number is the next one, whatever it says.
pub(super) fn put_webhook(connection: &Connection, webhook: &WebhookRecord) -> Result<(), StoreError> {
    let last: Option<i64> = connection.query_row("select max(no) from webhook", [], |row| row.get(0))?;
    let mut statement = connection.prepare_cached("insert into webhook values (?, ?, ?, ?, ?, ?, ?, null, null)")?;
    let mut bytes = Vec::new();
    let mut row = RowWriter::new(&mut statement, &mut bytes);
    row.int(last.unwrap_or(0) + 1)?.text(webhook.id.as_str())?.text(webhook.url.as_str())?;
    row.int(i64::from(webhook.events.0))?.text(webhook.description.as_str())?.int(i64::from(webhook.configured))?;
    row.time(webhook.created_at)?.write()?;
    Ok(())
}

/// Adds a webhook that another store had, under the number that it had there.
pub(super) fn insert_webhook(connection: &Connection, webhook: &WebhookRecord) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached("insert into webhook values (?, ?, ?, ?, ?, ?, ?, ?, null)")?;
    let mut bytes = Vec::new();
    let mut row = RowWriter::new(&mut statement, &mut bytes);
    row.number(webhook.no)?.text(webhook.id.as_str())?.text(webhook.url.as_str())?;
    row.int(i64::from(webhook.events.0))?.text(webhook.description.as_str())?.int(i64::from(webhook.configured))?;
    row.time(webhook.created_at)?.time(webhook.gone_at)?.write()?;
    Ok(())
}

/// Takes a webhook away, with its secrets; what is pending is not sent any more.
pub(super) fn delete_webhook(
    connection: &Connection,
    webhook: &WebhookRecord,
    at: Timestamp,
) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    let mut statement = connection.prepare_cached("update webhook set deleted_at = ?1 where no = ?2")?;
    RowWriter::new(&mut statement, &mut bytes).time(at)?.number(webhook.no)?.write()?;
    end_pending(connection, Receiver::Webhook(webhook.no), DeliveryState::NoWebhook, at)?;
    for name in [webhook.secret(), webhook.secret_before()] {
        connection.execute("delete from secret where name = ?", [name])?;
    }
    Ok(())
}

/// Makes the webhooks of the configuration those that it names, and says so in the audit log.
pub(super) fn configure(
    connection: &Connection,
    configured: &[ConfiguredWebhook],
    now: Timestamp,
) -> Result<(), StoreError> {
    let known = load_webhooks(connection)?;
    let mut done = Vec::new();
    let did = |action: Action, id: &str| Actor::here("configuration").did(action).on(id);
    for webhook in known.iter().filter(|webhook| webhook.configured) {
        if !configured.iter().any(|configured| configured.id == webhook.id) {
            delete_webhook(connection, webhook, now)?;
            done.push(did(Action::WebhookDeleted, &webhook.id).before(webhook.events.facts()));
        }
    }
    for ConfiguredWebhook { id, url, events, description } in configured {
        match known.iter().find(|webhook| webhook.configured && webhook.id == *id) {
            Some(webhook) if webhook.events == *events && webhook.description == *description => {}
            Some(webhook) => {
                let changed = did(Action::WebhookChanged, id).before(webhook.events.facts());
                done.push(changed.after(events.facts()));
                connection.prepare_cached("update webhook set events = ?, description = ? where no = ?")?.execute((
                    i64::from(events.0),
                    description,
                    stored(webhook.no),
                ))?;
            }
            None => {
                let webhook = WebhookRecord {
                    no: 0,
                    id: id.clone(),
                    url: url.clone(),
                    events: *events,
                    description: description.clone(),
                    configured: true,
                    created_at: now,
                    gone_at: None,
                };
                put_webhook(connection, &webhook)?;
                done.push(did(Action::WebhookCreated, id).after(events.facts()));
            }
        }
    }
    super::audit::insert(connection, now, &done)?;
    Ok(())
}

/// Seals of a webhook or of anything else, all or none.
pub(super) fn put_secrets(connection: &Connection, secrets: &[SecretRecord]) -> Result<(), StoreError> {
    secrets.iter().try_for_each(|secret| super::write::put_secret(connection, secret))
}

fn end_pending(connection: &Connection, of: Receiver, state: DeliveryState, at: Timestamp) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    let sql = "update delivery set state = ?1, due = null, ended_at = ?2 where receiver = ?3 and due is not null";
    let mut statement = connection.prepare_cached(sql)?;
    let mut row = RowWriter::new(&mut statement, &mut bytes);
    row.int(codec::delivery_state_no(state))?.time(at)?.int(codec::receiver_no(of))?.write()?;
    Ok(())
}

/// Notes what became of tries.
pub(super) fn put_tried(connection: &Connection, tried: &[TriedRecord], at: Timestamp) -> Result<(), StoreError> {
    tried.iter().try_for_each(|record| put_one_tried(connection, record, at))
}

fn put_one_tried(connection: &Connection, record: &TriedRecord, at: Timestamp) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    let sql = "select state, tries, receiver, kind, \
               receiver = -1 and not exists (select 1 from user where no = delivery.user and user_id is not null) \
               from delivery where no = ?";
    let found = load::one(connection, sql, [stored(record.delivery)], |row| {
        let mut row = RowReader::new(row);
        let state = codec::read_delivery_state(row.required()?)?;
        let tries = row.required()?;
        let receiver = codec::read_receiver(row.required()?);
        let kind = codec::read_event_kind(row.required()?)?;
        Ok((state, tries, receiver, kind, row.required()? != 0))
    })?;
    let Some((state, tries, receiver, kind, is_of_nobody)) = found else { return Ok(()) };
    let tries = tries + i64::from(record.tried.is_some());
    if let Some(tried) = &record.tried {
        // Who was erased while a letter was on its way: what a mail server may have said of them is not kept.
        let reason = tried.reason.as_deref().map(|reason| if is_of_nobody { "" } else { reason });
        let mut statement = connection.prepare_cached("insert into delivery_try values (?, ?, ?, ?, ?)")?;
        let mut row = RowWriter::new(&mut statement, &mut bytes);
        row.number(record.delivery)?.int(tries)?.time(tried.at)?.int(tried.status.map(i64::from))?;
        row.text(reason)?.write()?;
    }
    let sql =
        "update delivery set state = ?1, due = ?2, step = coalesce(?3, step), tries = ?4, ended_at = ?5 where no = ?6";
    let mut statement = connection.prepare_cached(sql)?;
    let mut row = RowWriter::new(&mut statement, &mut bytes);
    match record.next {
        // Meanwhile its webhook was taken away, say: then only the try is noted.
        AfterTry::Again { .. } | AfterTry::Ended { state: DeliveryState::Failed, .. }
            if state != DeliveryState::Pending =>
        {
            connection
                .prepare_cached("update delivery set tries = ? where no = ?")?
                .execute((tries, stored(record.delivery)))?;
        }
        AfterTry::Again { due, step } => {
            row.int(codec::delivery_state_no(DeliveryState::Pending))?.time(due)?;
            row.int(i64::try_from(step).unwrap_or(i64::MAX))?.int(tries)?.time(None)?;
            row.number(record.delivery)?.write()?;
        }
        AfterTry::Ended { state, gone } => {
            row.int(codec::delivery_state_no(state))?.time(None)?.int(None)?.int(tries)?.time(at)?;
            row.number(record.delivery)?.write()?;
            if let Receiver::Webhook(no) = receiver {
                let is_back = state == DeliveryState::Delivered && kind == EventKind::Test;
                if gone {
                    let sql = "update webhook set gone_at = ?1 where no = ?2 and gone_at is null";
                    let mut statement = connection.prepare_cached(sql)?;
                    RowWriter::new(&mut statement, &mut bytes).time(at)?.number(no)?.write()?;
                    end_pending(connection, receiver, DeliveryState::Failed, at)?;
                } else if is_back {
                    connection
                        .prepare_cached("update webhook set gone_at = null where no = ?")?
                        .execute([stored(no)])?;
                }
            }
        }
    }
    Ok(())
}

/// Makes deliveries due once more, with all tries before them; those to a webhook that was taken away are not.
pub(super) fn again(connection: &Connection, which: Again, at: Timestamp) -> Result<Vec<Receiver>, StoreError> {
    let (condition, value) = match which {
        Again::One(no) => ("no = ?1", stored(no)),
        Again::FailedOf(webhook) => ("receiver = ?1 and state = 2", codec::receiver_no(Receiver::Webhook(webhook))),
        Again::Alert(no) => ("kind = 1 and about = ?1", stored(no)),
    };
    let sql = format!(
        "update delivery set state = 0, due = ?2, step = 0, ended_at = null where {condition} \
         and (receiver < 0 or receiver in (select no from webhook where deleted_at is null)) returning receiver"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let nanos = i64::try_from(at.nanos()).unwrap_or(i64::MAX);
    let receivers = statement.query_map((value, nanos), |row| row.get::<_, i64>(0))?;
    let mut told = receivers.map(|no| no.map(codec::read_receiver)).collect::<Result<Vec<_>, _>>()?;
    told.dedup();
    Ok(told)
}

/// Takes out of the tries of mails to a user what a mail server may have said of them.
pub(super) fn blank_reasons(connection: &Connection, user_no: UserNo) -> Result<(), StoreError> {
    let sql = "update delivery_try set reason = '' where reason is not null and delivery in \
               (select no from delivery indexed by delivery_to_user where receiver = -1 and user = ?)";
    connection.prepare_cached(sql)?.execute([stored(user_no.0)])?;
    Ok(())
}

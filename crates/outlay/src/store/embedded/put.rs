//! Writes the records that no rule decides about, each in one transaction with what the audit log says of it.

use std::sync::Arc;

use super::{EmbeddedStore, audit, load, outbox, write};
use crate::audit::Event;
use crate::feed::Tidings;
use crate::store::outbox::Receiver;
use crate::store::{Record, StoreError, Urgency};

/// Ends of tokens in memory, from which on those that matter no more are looked for.
const TOKEN_ENDS_MANY: usize = 10_000;

/// What a record did beside being written.
#[derive(Debug, Default)]
struct Put {
    /// Whom it tells something.
    told: Vec<Receiver>,
    /// The newest number of the audit log, where it added to it.
    audit_newest: Option<u64>,
}

impl EmbeddedStore {
    pub(super) fn put_now(&mut self, record: &Record, event: Option<&Event>) -> Result<(), StoreError> {
        let urgency = match record {
            // What closes a door is still written when little else is.
            Record::RevokeKey { .. } | Record::EndTokens { .. } | Record::DeleteWebhook { .. } | Record::Tried(..) => {
                Urgency::GivesBack
            }
            _ => Urgency::Fact,
        };
        self.check_writable(urgency)?;
        self.connection.execute_batch("begin immediate").map_err(|error| self.poison(&error))?;
        let put = match self.write_with_event(record, event) {
            Ok(put) => put,
            Err(error) => return Err(self.roll_back_rows(error)),
        };
        self.connection.execute_batch("commit").map_err(|error| self.poison(&error))?;
        self.publish_record(record, put)
    }

    fn write_with_event(&mut self, record: &Record, event: Option<&Event>) -> Result<Put, StoreError> {
        let told = self.write_record(record)?;
        let events = match record {
            Record::Events(events) => events,
            _ => event.map(std::slice::from_ref).unwrap_or_default(),
        };
        let audit_newest = audit::insert(&self.connection, self.shared.clock.wall(), events)?;
        self.flush()?;
        Ok(Put { told, audit_newest })
    }

    /// Writes a record; gives whom it tells something.
    fn write_record(&mut self, record: &Record) -> Result<Vec<Receiver>, StoreError> {
        let connection = &self.connection;
        match record {
            Record::Key(key) => write::put_key(connection, key)?,
            Record::RevokeKey { id, at } => write::revoke_key(connection, id, *at)?,
            Record::Secret(secret) => write::put_secret(connection, secret)?,
            Record::FirstSecret(secret) => {
                if !self.shared.published.secrets.read().iter().any(|kept| kept.name == secret.name) {
                    write::put_secret(connection, secret)?;
                }
            }
            Record::Secrets(secrets) => outbox::put_secrets(connection, secrets)?,
            Record::RemoveSecret(name) => write::remove_secret(connection, name)?,
            Record::EndTokens { user_no, until } => audit::end_tokens(connection, *user_no, *until)?,
            Record::PlanRechecked(plan) => load::unmark_plan(connection, plan)?,
            Record::AuditCopied(no) => audit::put_copied(connection, *no)?,
            Record::Events(_) => {}
            Record::Webhook(webhook, secret) => {
                outbox::put_webhook(connection, webhook)?;
                write::put_secret(connection, secret)?;
            }
            Record::DeleteWebhook { no, at } => {
                let webhooks = Arc::clone(&self.shared.published.webhooks.read());
                if let Some(webhook) = webhooks.iter().find(|webhook| webhook.no == *no) {
                    outbox::delete_webhook(connection, webhook, *at)?;
                }
            }
            Record::Tried(tried, at) => outbox::put_tried(connection, tried, *at)?,
            Record::Again(which, at) => return outbox::again(connection, *which, *at),
            Record::TestDelivery(to, at) => {
                self.outbox.test(connection, *to, *at)?;
                return Ok(vec![*to]);
            }
        }
        Ok(Vec::new())
    }

    /// Shows a record that is written to readers.
    fn publish_record(&mut self, record: &Record, put: Put) -> Result<(), StoreError> {
        let published = &self.shared.published;
        match record {
            Record::Key(_) | Record::RevokeKey { .. } => *published.keys.write() = write::load_keys(&self.connection)?,
            Record::Secret(_) | Record::FirstSecret(_) | Record::Secrets(_) | Record::RemoveSecret(_) => {
                *published.secrets.write() = write::load_secrets(&self.connection)?;
            }
            Record::EndTokens { user_no, until } => {
                let now = self.shared.clock.wall();
                let mut ends = published.token_ends.write();
                if ends.len() >= TOKEN_ENDS_MANY && ends.len() == ends.capacity() {
                    ends.retain(|_, until| audit::still_matters(*until, now));
                }
                let end = ends.entry(*user_no).or_insert(*until);
                *end = (*end).max(*until);
            }
            Record::Webhook(..) | Record::DeleteWebhook { .. } | Record::Tried(..) => {
                let webhooks = outbox::load_webhooks(&self.connection)?;
                self.outbox.set_webhooks(&webhooks);
                *published.secrets.write() = write::load_secrets(&self.connection)?;
                *published.webhooks.write() = webhooks.into();
                if matches!(record, Record::Tried(..)) {
                    // The lists of alerts say how each was delivered.
                    self.shared.feed.tell(Tidings::default());
                }
            }
            Record::Again(..) | Record::TestDelivery(..) => self.shared.feed.tell(Tidings::default()),
            Record::AuditCopied(no) => published.audit.copied(*no),
            Record::PlanRechecked(_) | Record::Events(_) => {}
        }
        published.audit.grew(put.audit_newest);
        self.shared.feed.post().put(put.told);
        Ok(())
    }
}

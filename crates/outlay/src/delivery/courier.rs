//! The courier: takes what is due from the store, has it sent, and notes what became of it.
//!
//! Each receiver has a lane of its own, so one that hangs holds up nobody else; and nobody who records or asks waits for
//! any of them. A message that was sent and not noted, since the process ended in between, is sent again with the same id.

mod notes;
mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::join_all;
use outlay_core::month::Timestamp;
use tokio::task::JoinSet;

use super::letter::{Crossing, Letter, Reader};
use super::{Failure, Post, Tried};
use crate::http::SharedApp;
use crate::metrics::{Channel, Sent};
use crate::store::outbox::{
    AfterTry, DeliveryState, DueDelivery, EventKind, Receiver, Subject, TriedRecord, Try, WebhookRecord, is_due,
};
use crate::store::{Record, StoreError};
use notes::Notes;

/// Messages to one receiver at the same time.
const AT_ONCE: usize = 8;
/// How long a lane rests after a bug.
const LANE_REST_SECONDS: i64 = 5;
/// How long the store is left alone after it failed.
const STORE_REST: Duration = Duration::from_secs(1);

/// What carries messages out, for as long as it runs.
#[derive(Debug)]
pub struct Courier {
    app: SharedApp,
    notes: Notes<TriedRecord>,
}

/// Messages to one receiver, one after the other or a few at once.
#[derive(Debug, Default)]
struct Lane {
    is_busy: bool,
    /// Whether something new came while it was busy.
    is_called: bool,
    /// When the next is due.
    due: Option<Timestamp>,
}

impl Courier {
    /// A courier for a store and its receivers.
    pub fn new(app: SharedApp) -> Self {
        Self { app, notes: Notes::default() }
    }

    /// Carries until the process ends.
    pub async fn run(self) {
        let courier = Arc::new(self);
        let mut lanes = courier.waiting().await;
        let mut busy = JoinSet::new();
        let post = courier.app.reads.feed().post();
        loop {
            let now = courier.app.reads.wall();
            for (receiver, lane) in &mut lanes {
                if !lane.is_busy && (lane.is_called || lane.due.is_some_and(|due| is_due(due, now))) {
                    *lane = Lane { is_busy: true, ..Lane::default() };
                    let (courier, receiver) = (Arc::clone(&courier), *receiver);
                    busy.spawn(async move {
                        let carried = std::panic::AssertUnwindSafe(courier.carry(receiver)).catch_unwind().await;
                        (receiver, carried.ok())
                    });
                }
            }
            let due = lanes.values().filter(|lane| !lane.is_busy).filter_map(|lane| lane.due).min();
            // The bell goes by this machine's clock.
            let ahead = courier.app.clock.wall().nanos() - now.nanos();
            post.wake_at(due.map(|due| due.plus_nanos(ahead)));
            tokio::select! {
                called = post.taken() => {
                    for receiver in called {
                        lanes.entry(receiver).or_default().is_called = true;
                    }
                }
                Some(Ok((receiver, carried))) = busy.join_next(), if !busy.is_empty() => {
                    let lane = lanes.entry(receiver).or_default();
                    lane.is_busy = false;
                    // A bug in one lane ends neither it nor the others.
                    lane.due = carried.unwrap_or_else(|| {
                        tracing::error!(?receiver, "a lane of deliveries ended by a bug in Outlay; it begins anew");
                        Some(courier.app.reads.wall().plus_seconds(LANE_REST_SECONDS))
                    });
                }
            }
        }
    }

    /// Whom anything waits to be told.
    async fn waiting(&self) -> BTreeMap<Receiver, Lane> {
        loop {
            match self.app.reads.receivers_waiting().await {
                Ok(waiting) => {
                    let lane = |(receiver, due)| (receiver, Lane { due: Some(due), ..Lane::default() });
                    return waiting.into_iter().map(lane).collect();
                }
                Err(error) => self.rest(&error).await,
            }
        }
    }

    async fn rest(&self, error: &StoreError) {
        tracing::warn!("deliveries wait: failed to {error}");
        tokio::time::sleep(STORE_REST).await;
    }

    /// Sends all that is due to a receiver, and gives when the next is.
    async fn carry(&self, receiver: Receiver) -> Option<Timestamp> {
        loop {
            let due = match self.app.reads.take_deliveries(receiver, self.app.reads.wall(), AT_ONCE).await {
                Ok(due) => due,
                Err(error) => {
                    self.rest(&error).await;
                    continue;
                }
            };
            if due.is_empty() {
                match self.app.reads.delivery_next_due(receiver).await {
                    Ok(next) => return next,
                    Err(error) => self.rest(&error).await,
                }
                continue;
            }
            let tried = join_all(due.iter().map(|due| async {
                // One message that cannot be made must not keep the others; it is tried as often as any.
                let delivered = std::panic::AssertUnwindSafe(self.deliver(due)).catch_unwind().await;
                delivered.unwrap_or_else(|_| {
                    let failure = Failure::passing("it could not be made, which is a bug in Outlay");
                    self.tried(due, Tried::Failed(failure))
                })
            }));
            let tried = tried.await;
            self.note(tried).await;
        }
    }

    /// Notes what became of tries. Until that is done nothing more is sent to this receiver: it would be sent twice.
    async fn note(&self, tried: Vec<TriedRecord>) {
        self.notes.note(tried, |tried| self.write(tried)).await;
    }

    async fn write(&self, tried: Vec<TriedRecord>) {
        let at = self.app.reads.wall();
        while let Err(error) = self.app.writer.put(Record::Tried(tried.clone(), at)).await {
            if self.app.writer.is_poisoned() {
                // The process ends; the next one sends again.
                return std::future::pending().await;
            }
            tracing::warn!("what became of deliveries is noted later: failed to {error}");
            tokio::time::sleep(STORE_REST).await;
        }
    }

    /// Tries one delivery once.
    async fn deliver(&self, due: &DueDelivery) -> TriedRecord {
        let delivery = &due.delivery;
        let not_sent =
            |state| TriedRecord { delivery: delivery.no, tried: None, next: AfterTry::Ended { state, gone: false } };
        if delivery.user_no.is_some() && due.user.is_none() {
            return not_sent(DeliveryState::NoUser);
        }
        if due.subject == Subject::Lost {
            return self.tried(due, Tried::Failed(Failure::lasting("what it tells of cannot be read")));
        }
        let tried = match delivery.receiver {
            Receiver::Webhook(no) => {
                let webhooks = self.app.reads.webhooks();
                let Some(webhook) = webhooks.iter().find(|webhook| webhook.no == no) else {
                    return not_sent(DeliveryState::NoWebhook);
                };
                self.post(webhook, due).await
            }
            Receiver::UserMail | Receiver::OperatorMail => match &self.app.senders.post {
                None => Tried::Failed(Failure::lasting("no mail server is set")),
                Some(post) => match self.letter(post, due).await {
                    Ok(None) => return not_sent(DeliveryState::NoUser),
                    Ok(Some(letter)) => post.mailer.send(&letter).await,
                    Err(failure) => Tried::Failed(failure),
                },
            },
        };
        self.tried(due, tried)
    }

    async fn post(&self, webhook: &WebhookRecord, due: &DueDelivery) -> Tried {
        let secrets = match self.app.webhook_secrets.of(&self.app, webhook) {
            Ok(secrets) => secrets,
            Err(error) => {
                tracing::warn!(webhook.id = webhook.id, "a webhook cannot be signed: failed to {error}");
                return Tried::Failed(Failure::lasting("its secret cannot be opened"));
            }
        };
        let (id, body) = crate::http::message(due, self.app.reads.deployment_id());
        self.app.senders.webhooks.send(&webhook.url, &secrets, &id, self.app.clock.wall(), body).await
    }

    /// What is mailed; none where whom it is for has no address any more.
    async fn letter(&self, post: &Post, due: &DueDelivery) -> Result<Option<Letter>, Failure> {
        let (reader, to) = match due.delivery.receiver {
            Receiver::UserMail => {
                (Reader::User, due.user.as_ref().and_then(|user| user.email.as_deref()).map(str::to_owned))
            }
            _ => (Reader::Operator, post.operator.as_ref().map(ToString::to_string)),
        };
        let Some(to) = to else { return Ok(None) };
        let id = crate::http::message_id(&due.delivery, self.app.reads.deployment_id());
        let (Subject::Alert(alert), Some(user)) = (&due.subject, &due.user) else {
            return Ok(Some(test_letter(to, id)));
        };
        let reads = &self.app.reads;
        let read = |error: StoreError| {
            tracing::warn!("a letter waits: failed to {error}");
            Failure::passing("the store could not be read")
        };
        let view = reads.view(&user.user_id, alert.month).await.map_err(read)?;
        let budget = view.budget(&reads.plans(), &user.user_id, alert.month, reads.now());
        let budget = budget.ok_or_else(|| Failure::passing("the store could not be read"))?;
        let forecast = if alert.month == reads.now().month() {
            crate::http::forecast_sentence(&self.app, &user.user_id, alert.key.meter).await
        } else {
            None
        };
        let presentation = &*self.app.presentation.now();
        let crossing = Crossing { id: &id, alert, budget: &budget, forecast: forecast.as_deref(), presentation };
        let letter = post.letters.alert(&crossing, reader, &to);
        // A template that could be written with other words; only the operator can help.
        letter.map(Some).map_err(|error| {
            tracing::warn!("a letter cannot be written: failed to {error}");
            Failure::lasting("its template cannot be written with these words")
        })
    }

    /// What is to be noted of a try.
    fn tried(&self, due: &DueDelivery, tried: Tried) -> TriedRecord {
        let delivery = &due.delivery;
        let at = self.app.reads.wall();
        let (tried, next) = match tried {
            Tried::Delivered { status } => {
                let next = AfterTry::Ended { state: DeliveryState::Delivered, gone: false };
                (Try { at, status, reason: None }, next)
            }
            Tried::Failed(failure) => {
                // Whoever sends a test looks at it now, or sends another.
                let once = delivery.kind == EventKind::Test;
                let next = schedule::after(delivery.step, once, &failure, at, self.app.ids.chance());
                (Try { at, status: failure.status, reason: Some(failure.reason.into()) }, next)
            }
        };
        let sent = match next {
            AfterTry::Again { .. } => Sent::Retried,
            AfterTry::Ended { state: DeliveryState::Delivered, .. } => Sent::Delivered,
            AfterTry::Ended { .. } => Sent::Failed,
        };
        let channel = match delivery.receiver {
            Receiver::Webhook(_) => Channel::Webhook,
            Receiver::UserMail | Receiver::OperatorMail => Channel::Mail,
        };
        self.app.metrics.delivery(channel, sent);
        TriedRecord { delivery: delivery.no, tried: Some(tried), next }
    }
}

/// A letter that tells of nothing.
fn test_letter(to: String, id: String) -> Letter {
    let text = "This is a test: Outlay can send you mail. Alerts will come to this address.";
    Letter {
        to,
        id,
        subject: "A test of Outlay's mail".to_owned(),
        text: format!("{text}\n"),
        html: format!("<!doctype html><title>A test of Outlay's mail</title><p>{text}</p>\n"),
    }
}

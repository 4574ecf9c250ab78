//! The record shapes of what is to be told to somebody, of both stores: who is told of what, and how far that got.
//!
//! A delivery is one message to one receiver. It is written in the transaction of what it tells of, so nothing is told that
//! did not happen, and nothing that happened is missing, whatever crashes. It names rows, and holds no text of a person.

mod telling;

use std::sync::Arc;

use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::{Name, UserNo};
use outlay_core::month::Timestamp;
use outlay_core::plan::Limits;
use outlay_core::session::Session;
use outlay_core::user::User;

use crate::audit::Facts;
pub(in crate::store) use telling::{NewDelivery, Receivers, Telling};

/// What can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EventKind {
    /// A threshold was crossed in the running month.
    ThresholdCrossed,
    /// An intent was refused.
    DenialRecorded,
    /// A session's time was up.
    SessionAbandoned,
    /// The limits of a user or of a plan are others than before.
    LimitChanged,
    /// Nothing: somebody wants to see whether it arrives.
    Test,
}

impl EventKind {
    /// Those that a receiver can ask for.
    pub const ALL: [Self; 4] =
        [Self::ThresholdCrossed, Self::DenialRecorded, Self::SessionAbandoned, Self::LimitChanged];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ThresholdCrossed => "budget.threshold_crossed",
            Self::DenialRecorded => "denial.recorded",
            Self::SessionAbandoned => "session.abandoned",
            Self::LimitChanged => "limit.changed",
            Self::Test => "webhook.test",
        }
    }

    /// The kind with this name, of those that a receiver can ask for.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::ThresholdCrossed => 1,
            Self::DenialRecorded => 2,
            Self::SessionAbandoned => 4,
            Self::LimitChanged => 8,
            Self::Test => 16,
        }
    }
}

/// A set of kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EventKinds(pub u8);

impl EventKinds {
    /// Whether this kind is among them.
    pub const fn contains(self, kind: EventKind) -> bool {
        self.0 & kind.bit() != 0
    }

    /// Those that are among them, in their order.
    pub fn iter(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL.into_iter().filter(move |kind| self.contains(*kind))
    }
}

impl EventKinds {
    /// What the audit log says of a webhook that is told of these: neither its address, which may hold a secret, nor what it
    /// is for.
    pub fn facts(self) -> Facts {
        let names: Vec<&str> = self.iter().map(EventKind::as_str).collect();
        Facts::new().text("events", &names.join(" "))
    }
}

impl FromIterator<EventKind> for EventKinds {
    fn from_iter<T: IntoIterator<Item = EventKind>>(kinds: T) -> Self {
        Self(kinds.into_iter().fold(0, |bits, kind| bits | kind.bit()))
    }
}

/// Who is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Receiver {
    /// The user, by mail to the address that they have when it is sent.
    UserMail,
    /// The operator, by mail.
    OperatorMail,
    /// The webhook of this number.
    Webhook(u64),
}

/// Which mails are sent at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MailTo {
    /// Alerts to the users whom they are about, as far as they have an address.
    pub user: bool,
    /// Alerts to the operator.
    pub operator: bool,
}

/// An address that is told by HTTP. Its secret is sealed among the secrets, under the names of [`WebhookRecord::secret`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRecord {
    /// Its number: never given twice.
    pub no: u64,
    /// Its id, `webhook_` and more.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// What it is told of.
    pub events: EventKinds,
    /// What it is for, in the operator's words.
    pub description: String,
    /// Whether it stands in the configuration, and so is changed there.
    pub configured: bool,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it answered that it wants no more: then it is told of nothing new.
    pub gone_at: Option<Timestamp>,
}

impl WebhookRecord {
    /// The name of the secret that signs.
    pub fn secret(&self) -> String {
        format!("webhook/{}", self.id)
    }

    /// The name of the one before it, which signs too for a while.
    pub fn secret_before(&self) -> String {
        format!("webhook/{}/before", self.id)
    }
}

/// A webhook of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredWebhook {
    /// Its id, which follows from its address.
    pub id: String,
    /// Where it is.
    pub url: String,
    /// What it is told of.
    pub events: EventKinds,
    /// What it is for.
    pub description: String,
}

/// How far a delivery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeliveryState {
    /// It is tried, now or later.
    Pending,
    /// The receiver took it.
    Delivered,
    /// It is tried no more by itself; it can be sent again by hand.
    Failed,
    /// It is not sent, since its webhook was taken away.
    NoWebhook,
    /// It is not sent, since its user was erased, or has no address any more.
    NoUser,
}

impl DeliveryState {
    /// All states.
    pub const ALL: [Self; 5] = [Self::Pending, Self::Delivered, Self::Failed, Self::NoWebhook, Self::NoUser];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::NoWebhook | Self::NoUser => "cancelled",
        }
    }
}

/// One message to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub no: u64,
    /// What it tells of.
    pub kind: EventKind,
    /// Of which one: the number of the alert, denial or session; of another kind, that of the event itself.
    pub about: u64,
    /// Whom it is about.
    pub user_no: Option<UserNo>,
    /// Who is told.
    pub receiver: Receiver,
    /// When it was written.
    pub created_at: Timestamp,
    /// How far it is.
    pub state: DeliveryState,
    /// When it is tried next.
    pub due: Option<Timestamp>,
    /// The place of its next try in the row of tries.
    pub step: usize,
    /// When it came to its end.
    pub ended_at: Option<Timestamp>,
    /// Its tries, the oldest first.
    pub tries: Vec<Try>,
}

/// A try that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Try {
    /// When it ended.
    pub at: Timestamp,
    /// What the receiver answered.
    pub status: Option<u16>,
    /// Why it failed; `None` when it did not.
    pub reason: Option<Arc<str>>,
}

/// What a delivery tells of, as it stands now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// A crossed threshold.
    Alert(Box<Alert>),
    /// A refused intent.
    Denial(Box<Denial>),
    /// An abandoned session.
    Session(Box<Session>),
    /// Changed limits.
    Limits(Box<LimitChange>),
    /// A test.
    Test,
    /// What cannot be read any more.
    Lost,
}

/// Limits that are others than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitChange {
    /// The plan whose limits changed; of a user, the plan that they have now.
    pub plan: Name,
    /// The limits before.
    pub before: Limits,
    /// The limits now.
    pub after: Limits,
}

/// A delivery that is due, with all that is needed to send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DueDelivery {
    /// The delivery, without its tries.
    pub delivery: Delivery,
    /// Whom it is about; none where it is about nobody, or they were erased.
    pub user: Option<Arc<User>>,
    /// What it tells of.
    pub subject: Subject,
}

/// What is noted of a try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TriedRecord {
    /// The number of the delivery.
    pub delivery: u64,
    /// The try; none where it was not even sent.
    pub tried: Option<Try>,
    /// What comes of it.
    pub next: AfterTry,
}

/// Seconds from one try to the next, at most, and a little more: no pause is longer, nor what a receiver may ask for.
pub const PAUSE_MAX_SECONDS: i64 = 26 * 3_600;

/// Whether a try is due: its time has come, or it lies so far ahead that the clock was set back since it was written down.
pub fn is_due(due: Timestamp, now: Timestamp) -> bool {
    due <= now || due > now.plus_seconds(PAUSE_MAX_SECONDS)
}

/// What comes of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterTry {
    /// It is tried again.
    Again {
        /// When.
        due: Timestamp,
        /// The place of that try.
        step: usize,
    },
    /// It is at its end; `gone` says that its webhook wants no more.
    Ended {
        /// Which end.
        state: DeliveryState,
        /// Whether the webhook is told of nothing new from now on; a test that arrives takes that back.
        gone: bool,
    },
}

/// Which deliveries are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// This one.
    One(u64),
    /// Every one to this webhook that failed.
    FailedOf(u64),
    /// Every one that tells of this alert.
    Alert(u64),
}

/// What to list of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeliveriesQuery {
    /// To whom.
    pub receiver: Receiver,
    /// Only in this state, by its name on the wire.
    pub state: Option<&'static str>,
    /// Which page.
    pub page: super::PageOf,
}

/// How much waits to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// How many deliveries are pending.
    pub count: u64,
    /// When the oldest of them was written.
    pub oldest: Option<Timestamp>,
}

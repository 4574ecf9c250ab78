//! What leaves this server to tell somebody: one message to one receiver, one try at a time.
//!
//! Here it is sent and said how that went; what is to be sent, when it is tried again and what is kept is others' job. A
//! message's id is the same on every try, so that a receiver can tell a second one from another message: delivery is at
//! least once.

pub mod courier;
pub mod letter;
pub mod mail;
pub mod secrets;
pub mod webhook;

use std::time::Duration;

use lettre::Address;
use secrecy::ExposeSecret as _;
use thiserror::Error;

use crate::config::Config;
use crate::config::receivers::{WebhookAllow, WebhookSetting};
use letter::{Letters, TemplateError};
use mail::{MailError, Mailer};
use webhook::{Sender, SigningSecret};

/// Why nothing can be sent with these settings.
#[derive(Debug, Error)]
pub enum SendersError {
    /// The mail server's name makes no sense.
    #[error(transparent)]
    Mail(#[from] MailError),
    /// A template of the operator's cannot be used.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A webhook of the configuration is none.
    #[error("use the webhook at {place}: {why}")]
    Webhook {
        /// Where it stands.
        place: String,
        /// What is wrong, without the secret.
        why: String,
    },
}

/// What sends, by the settings.
#[derive(Debug)]
pub struct Senders {
    /// Webhooks; which endpoints there are is not a setting alone.
    pub webhooks: Sender,
    /// Mail, where a server for it is named.
    pub post: Option<Post>,
}

/// What sends mail, and to whom beside those whom it is about.
#[derive(Debug)]
pub struct Post {
    /// Hands letters over.
    pub mailer: Mailer,
    /// Writes them.
    pub letters: Letters,
    /// The address that gets every alert.
    pub operator: Option<Address>,
    /// Whether users are told at their own addresses.
    pub to_users: bool,
}

impl Senders {
    /// Webhooks to what is public and to these exceptions, and no mail.
    pub fn without_mail(allow: &WebhookAllow) -> Self {
        Self { webhooks: Sender::new(allow), post: None }
    }

    /// What the settings say. Nothing is connected to; the templates are tried out.
    ///
    /// # Errors
    /// When the settings are sound, but what they name is not.
    pub fn open(config: &Config) -> Result<Self, SendersError> {
        let post = config.mail.as_ref().map(|settings| -> Result<Post, SendersError> {
            Ok(Post {
                mailer: Mailer::new(settings)?,
                letters: Letters::open(settings.templates.as_deref())?,
                operator: settings.operator.clone(),
                to_users: settings.to_users,
            })
        });
        let webhooks = Sender::new(&config.webhook_allow);
        for WebhookSetting { place, record, secret } in &config.webhooks {
            let wrong = |why: String| SendersError::Webhook { place: place.clone(), why };
            webhooks.rules().check(&record.url).map_err(|error| wrong(format!("its url {error}")))?;
            SigningSecret::parse(secret.expose_secret()).map_err(|error| wrong(format!("its secret {error}")))?;
        }
        Ok(Self { webhooks, post: post.transpose()? })
    }
}

/// What became of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// The receiver took it.
    Delivered {
        /// What it answered: an HTTP status, or the code of an SMTP reply.
        status: Option<u16>,
    },
    /// It did not, or nobody knows whether it did.
    Failed(Failure),
}

/// Why a try failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// What the receiver answered, if it did: an HTTP status, or the code of an SMTP reply.
    pub status: Option<u16>,
    /// A short reason for the list of tries, such as `did not answer within 15 s`. It holds no secret, and nothing of what an
    /// HTTP receiver said.
    pub reason: String,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The receiver is gone and wants no more of this: 410.
    pub gone: bool,
    /// Another try would fail in the same way, as with an address that is none: it is kept, to be sent again by hand.
    pub kept: bool,
}

impl Failure {
    /// A failure that may pass by itself.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }

    /// A failure that does not pass until somebody changes something.
    pub fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), kept: true, ..Self::default() }
    }
}

//! The secrets of webhooks: those of the configuration as it says, all others sealed in the store.

use std::collections::BTreeMap;

use outlay_core::month::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use thiserror::Error;

use super::webhook::SigningSecret;
use crate::http::App;
use crate::ids::Ids;
use crate::seal::{MasterKey, SealError};
use crate::store::Reads;
use crate::store::outbox::WebhookRecord;
use crate::store::records::SecretRecord;

/// For how long a secret that was replaced signs beside the new one.
pub const BOTH_SIGN_SECONDS: i64 = 24 * 3_600;

/// Why a webhook's secret cannot be had.
#[derive(Debug, Error)]
pub enum SecretsError {
    /// There is no master key in this process.
    #[error("open the secret: the master key is needed")]
    NoMasterKey,
    /// It was sealed under another key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// There is none, or what was opened is none.
    #[error("open the secret of the webhook `{0}`: there is none")]
    None(String),
}

/// Where secrets are found.
#[derive(Debug, Default)]
pub struct WebhookSecrets {
    configured: BTreeMap<String, SecretString>,
    master: Option<MasterKey>,
}

impl WebhookSecrets {
    /// Those of the configuration by the webhooks' ids, and what opens all others.
    pub fn new(configured: BTreeMap<String, SecretString>, master: Option<MasterKey>) -> Self {
        Self { configured, master }
    }

    /// What signs for a webhook now.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn of(&self, app: &App, webhook: &WebhookRecord) -> Result<Vec<SigningSecret>, SecretsError> {
        let none = || SecretsError::None(webhook.id.clone());
        if webhook.configured {
            let text = self.configured.get(&webhook.id).ok_or_else(none)?;
            return Ok(vec![SigningSecret::parse(text.expose_secret()).map_err(|_| none())?]);
        }
        let current = app.reads.secret(&webhook.secret()).ok_or_else(none)?;
        let before = app.reads.secret(&webhook.secret_before());
        let now = app.clock.wall();
        let before = before.filter(|before| before.created_at.plus_seconds(BOTH_SIGN_SECONDS) > now);
        let master = self.master.as_ref().ok_or(SecretsError::NoMasterKey)?;
        [Some(current), before]
            .into_iter()
            .flatten()
            .map(|record| {
                let text = master.open(&record.name, &record.sealed)?;
                let text = std::str::from_utf8(&text).map_err(|_| none())?;
                SigningSecret::parse(text).map_err(|_| none())
            })
            .collect()
    }

    /// Seals a webhook's new secret.
    ///
    /// # Errors
    /// When there is no master key, or no randomness.
    pub fn seal(
        &self,
        name: String,
        secret: &SigningSecret,
        ids: &Ids,
        now: Timestamp,
    ) -> Result<SecretRecord, SecretsError> {
        let master = self.master.as_ref().ok_or(SecretsError::NoMasterKey)?;
        let sealed = master.seal(&name, secret.text().expose_secret().as_bytes(), ids)?;
        Ok(SecretRecord { name, sealed, created_at: now })
    }

    /// The records that put a new secret in the place of a webhook's, which signs beside it for a while.
    ///
    /// # Errors
    /// Likewise, or when the present one cannot be opened.
    pub fn rotated(
        &self,
        reads: &dyn Reads,
        webhook: &WebhookRecord,
        secret: &SigningSecret,
        ids: &Ids,
        now: Timestamp,
    ) -> Result<Vec<SecretRecord>, SecretsError> {
        let none = || SecretsError::None(webhook.id.clone());
        let master = self.master.as_ref().ok_or(SecretsError::NoMasterKey)?;
        let current = reads.secret(&webhook.secret()).ok_or_else(none)?;
        let text = master.open(&current.name, &current.sealed)?;
        let name = webhook.secret_before();
        let sealed = master.seal(&name, &text, ids)?;
        Ok(vec![SecretRecord { name, sealed, created_at: now }, self.seal(webhook.secret(), secret, ids, now)?])
    }
}

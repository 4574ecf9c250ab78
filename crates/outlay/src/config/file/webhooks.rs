//! `[[webhooks]]`: who is told by HTTP, as the file says it.

use std::path::Path;

use secrecy::SecretString;
use sha2::{Digest, Sha256};
use toml::de::{DeTable, DeValue};

use super::super::receivers::WebhookSetting;
use super::super::{Complaints, url};
use super::File;
use crate::store::outbox::{ConfiguredWebhook, EventKind};

impl File<'_> {
    /// The webhooks that the file sets.
    pub(in crate::config) fn webhooks(&self, complaints: &mut Complaints) -> Vec<WebhookSetting> {
        let Some(value) = self.table.get("webhooks") else { return Vec::new() };
        let Some(tables) = value.get_ref().as_array() else {
            let advice = "must be tables, each under [[webhooks]]".to_owned();
            complaints.add(self.place(value.span(), "webhooks"), advice);
            return Vec::new();
        };
        let mut webhooks: Vec<WebhookSetting> = Vec::new();
        for table in tables {
            let place = self.place(table.span(), "webhooks");
            let Some(entries) = table.get_ref().as_table() else {
                complaints.add(place, "must be a table under [[webhooks]]".to_owned());
                continue;
            };
            if let Some(webhook) = self.webhook(entries, &place, complaints) {
                if webhooks.iter().any(|other| other.record.id == webhook.record.id) {
                    complaints.add(place, "has the url of another one; one is enough".to_owned());
                } else {
                    webhooks.push(webhook);
                }
            }
        }
        webhooks
    }

    fn webhook(&self, table: &DeTable<'_>, place: &str, complaints: &mut Complaints) -> Option<WebhookSetting> {
        let (mut address, mut secret) = (None, None);
        let (mut events, mut description) = (vec![EventKind::ThresholdCrossed], String::new());
        let mut sound = true;
        for (key, value) in table {
            let place = self.place(key.span(), &format!("webhooks.{}", key.get_ref()));
            let text = value.get_ref().as_str();
            let advice = match (key.get_ref().as_ref(), text) {
                ("url", Some(text)) => url(text).map(|_| address = Some(text.to_owned())).err(),
                ("secret", Some(text)) => {
                    secret = Some(SecretString::from(text));
                    None
                }
                ("secret_file", Some(path)) => match std::fs::read_to_string(Path::new(path)) {
                    Ok(text) => {
                        secret = Some(SecretString::from(text.trim_end_matches(['\r', '\n'])));
                        None
                    }
                    Err(error) => Some(format!("{path} cannot be read: {error}")),
                },
                ("description", Some(text)) => {
                    text.clone_into(&mut description);
                    None
                }
                ("events", _) => {
                    let found = kinds(value.get_ref());
                    let names = || EventKind::ALL.map(EventKind::as_str).join(", ");
                    let advice = found.is_none().then(|| format!("must be a list of one or more of {}", names()));
                    events = found.unwrap_or(events);
                    advice
                }
                ("url" | "secret" | "secret_file" | "description", None) => Some("must be a text".to_owned()),
                _ => Some("is not known; a webhook has url, secret or secret_file, events and description".to_owned()),
            };
            if let Some(advice) = advice {
                complaints.add(place, advice);
                sound = false;
            }
        }
        for (what, is_missing) in [("url", address.is_none()), ("secret or secret_file", secret.is_none())] {
            if sound && is_missing {
                complaints.add(place.to_owned(), format!("says nothing of {what}"));
                sound = false;
            }
        }
        let (url, secret) = address.zip(secret).filter(|_| sound)?;
        let digest: [u8; 32] = Sha256::digest(&url).into();
        let id = digest.first_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let record = ConfiguredWebhook {
            id: format!("webhook_{id:016x}"),
            url,
            events: events.into_iter().collect(),
            description,
        };
        Some(WebhookSetting { place: place.to_owned(), record, secret })
    }
}

fn kinds(value: &DeValue<'_>) -> Option<Vec<EventKind>> {
    let names = value.as_array()?;
    let kinds: Option<Vec<EventKind>> = names.iter().map(|name| EventKind::parse(name.get_ref().as_str()?)).collect();
    kinds.filter(|kinds| !kinds.is_empty())
}

//! What a running server says of itself, through the socket in its folder.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::Findings;
use super::place::socket_answers;
use crate::client::{Client, problem_text};
use crate::config::Config;

/// The running server, if there is one, and how it is.
pub(super) async fn reach(config: &Config, findings: &mut Findings) -> Option<Client> {
    const ABOUT: &str = "server";
    if !socket_answers(config).await {
        findings.ok(ABOUT, "none runs on this folder");
        return None;
    }
    let client = match Client::open(config).await {
        Ok(client) => client,
        Err(error) => {
            findings.fail(ABOUT, format!("failed to {error}"), "run this as the user of the server");
            return None;
        }
    };
    match client.request(Method::GET, "/readyz", None).await {
        Ok(answer) if answer.status == StatusCode::OK => {
            let said: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            let is = |name: &str| said.get(name).and_then(Value::as_bool).unwrap_or(false);
            if is("clockJump") {
                let fix = "see whether the clock is right; if it is, this passes by itself";
                findings.warn(ABOUT, "runs, and does not believe a forward jump of the clock yet", fix);
            } else if is("spaceShort") {
                findings.warn(ABOUT, "runs, and refuses intents for want of space", "make room on its disk");
            } else {
                let promise = said.get("promise").and_then(Value::as_str).unwrap_or_default();
                findings.ok(ABOUT, format!("runs and takes writes; {promise}"));
            }
        }
        Ok(answer) => {
            let why = problem_text(&answer.body).unwrap_or_else(|| answer.status.to_string());
            findings.fail(ABOUT, format!("runs and takes no writes: {why}"), "its log says why");
        }
        Err(error) => findings.fail(ABOUT, format!("failed to {error}"), "its log says why"),
    }
    Some(client)
}

#[derive(Debug, Deserialize)]
struct Keys {
    items: Vec<Key>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Key {
    role: String,
    revoked_at: Option<String>,
}

/// Whether anybody may call.
pub(super) async fn keys(config: &Config, client: Option<&Client>, findings: &mut Findings) {
    const ABOUT: &str = "keys";
    if config.open {
        findings.ok(ABOUT, "none is needed: --open");
        return;
    }
    let Some(client) = client else {
        if config.admin_key.is_some() {
            findings.ok(ABOUT, "an admin key is set; those in the store are seen while a server runs");
        }
        return;
    };
    let answer = client.ask(Method::GET, "/v1/keys", None).await;
    let Some(keys) = answer.ok().and_then(|body| serde_json::from_slice::<Keys>(&body).ok()) else {
        findings.fail(ABOUT, "cannot be listed", "the server's log says why");
        return;
    };
    let good: Vec<Key> = keys.items.into_iter().filter(|key| key.revoked_at.is_none()).collect();
    if good.iter().any(|key| key.role == "app" || key.role == "admin") || config.admin_key.is_some() {
        findings.ok(ABOUT, format!("{} in the store", good.len()));
    } else {
        let fix = "make one: outlay keys create --role app";
        findings.warn(ABOUT, "there is no key with which anything could be recorded", fix);
    }
}

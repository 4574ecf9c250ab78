//! What a running server says of itself, through the socket in its folder.

use http::{Method, StatusCode};
use outlay_core::month::Timestamp;
use serde::Deserialize;
use serde_json::Value;

use super::Findings;
use super::place::socket_answers;
use crate::client::{Client, problem_text};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::retention::due_before;

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

/// Whether details that are older than they are kept are gone.
pub(super) async fn retention(config: &Config, client: Option<&Client>, findings: &mut Findings) {
    const ABOUT: &str = "retention";
    let Some(days) = config.keep_details_days else {
        findings.ok(ABOUT, "operations keep their details for ever");
        return;
    };
    let kept = format!("operations keep their details for {days} days");
    let Some(client) = client else {
        findings.ok(ABOUT, format!("{kept}; a running server empties those that are older"));
        return;
    };
    let figures = match client.request(Method::GET, "/metrics", None).await {
        Ok(answer) if answer.status.is_success() => String::from_utf8_lossy(&answer.body).into_owned(),
        _ => {
            findings.fail(ABOUT, format!("{kept}; the server does not say how far it is"), "its log says why");
            return;
        }
    };
    let figure = |name: &str| {
        let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|number| number.parse::<i64>().ok())
    };
    let before = figure("outlay_trimmed_before_timestamp_seconds").and_then(|at| Timestamp::from_seconds(at).ok());
    let Some(before) = before else {
        let fix = "have it read its settings anew (SIGHUP), or give this command the flags and variables of the server";
        findings.warn(ABOUT, format!("{kept}, and the running server does not know"), fix);
        return;
    };
    let emptied = figure("outlay_trimmed_operations_total").unwrap_or(0);
    let what = format!("{kept}; {emptied} are emptied, those recorded before {before}");
    if before < due_before(SystemClock::shared().wall(), days.saturating_add(1)) {
        let fix =
            "see in a while whether it goes on; it waits while there is little space, or the clock is not believed";
        findings.warn(ABOUT, format!("{what}, which is behind"), fix);
    } else {
        findings.ok(ABOUT, what);
    }
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

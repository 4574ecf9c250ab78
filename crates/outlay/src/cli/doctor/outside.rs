//! What is reached over networks: the mail server, the endpoints of webhooks, and this server as others see it.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http::header::{AUTHORIZATION, DATE};
use outlay_core::month::Timestamp;
use serde::Deserialize;
use tokio::time::timeout;

use super::Findings;
use crate::client::{Client, https_client, segment};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::delivery::Senders;

/// How long the first event of a stream may take: a proxy that collects what it passes on shows itself so.
const EVENT_WAIT: Duration = Duration::from_secs(5);
/// How long an answer from outside may take.
const ANSWER_WAIT: Duration = Duration::from_secs(10);
/// Seconds that another machine's clock may differ, since it says whole ones.
const CLOCKS_DIFFER_SECONDS: i64 = 3;
/// A user that nobody is, whose stream is opened; reading makes no user.
const NOBODY: &str = "outlay-doctor";

pub(super) async fn mail(senders: &Senders, findings: &mut Findings) {
    const ABOUT: &str = "mail";
    let Some(post) = &senders.post else {
        findings.ok(ABOUT, "none is sent: OUTLAY_SMTP_URL is not set");
        return;
    };
    match post.mailer.check().await {
        Ok(()) => findings.ok(ABOUT, "the mail server takes letters"),
        Err(failure) => {
            let fix = "see OUTLAY_SMTP_URL, and whether this machine may reach that server";
            findings.fail(ABOUT, failure.reason, fix);
        }
    }
}

#[derive(Debug, Deserialize)]
struct Endpoints {
    items: Vec<Endpoint>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    id: String,
    url: String,
}

/// Connects to each endpoint, and sends nothing.
pub(super) async fn webhooks(senders: &Senders, client: Option<&Client>, findings: &mut Findings) {
    const ABOUT: &str = "webhooks";
    let Some(client) = client else { return };
    let answer = client.ask(Method::GET, "/v1/webhooks", None).await;
    let Some(endpoints) = answer.ok().and_then(|body| serde_json::from_slice::<Endpoints>(&body).ok()) else { return };
    for Endpoint { id, url } in &endpoints.items {
        match senders.webhooks.reach(url).await {
            Ok(()) => findings.ok(ABOUT, format!("{id} can be reached")),
            Err(failure) => {
                findings.fail(
                    ABOUT,
                    format!("{id}: {}", failure.reason),
                    "see whether its receiver runs, and its address is right",
                );
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Minted {
    token: String,
}

/// Asks this server as a browser elsewhere would.
pub(super) async fn public_url(config: &Config, client: Option<&Client>, findings: &mut Findings) {
    const ABOUT: &str = "public URL";
    let Some(url) = &config.presentation.public_url else {
        findings.ok(ABOUT, "none is set; mails have no links then");
        return;
    };
    let Ok(outside) = https_client() else { return };
    let asked = timeout(ANSWER_WAIT, outside.get(format!("{url}/healthz")).send()).await;
    let answer = match asked {
        Ok(Ok(answer)) if answer.status().is_success() => answer,
        Ok(Ok(answer)) => {
            let fix = "see whether the proxy leads this address, with its path, to the server";
            findings.fail(ABOUT, format!("{url}/healthz answers {}", answer.status()), fix);
            return;
        }
        Ok(Err(error)) => {
            let fix = "see whether the name, the certificate and the proxy are right";
            findings.fail(ABOUT, format!("{url} cannot be reached: {}", innermost(&error)), fix);
            return;
        }
        Err(_) => {
            findings.fail(ABOUT, format!("{url} does not answer"), "see whether the proxy reaches the server");
            return;
        }
    };
    compare_clocks(answer.headers(), findings);
    let Some(client) = client else {
        findings.ok(ABOUT, format!("{url} answers; whether events come through is seen while a server runs"));
        return;
    };
    let path = format!("/v1/users/{}", segment(NOBODY));
    let minted =
        client.ask(Method::POST, &format!("{path}/tokens"), Some(Bytes::from_static(b"{\"ttlSeconds\":60}"))).await;
    let Some(Minted { token }) = minted.ok().and_then(|body| serde_json::from_slice(&body).ok()) else {
        findings.fail(ABOUT, "no user token can be made", "the server's log says why");
        return;
    };
    let stream = outside.get(format!("{url}{path}/events")).header(AUTHORIZATION, format!("Bearer {token}"));
    let first = async {
        let mut answer = stream.send().await.ok().filter(|answer| answer.status().is_success())?;
        answer.chunk().await.ok().flatten()
    };
    let fix = "have the proxy pass on what comes at once (nginx: proxy_buffering off), and see that it is this server";
    match timeout(EVENT_WAIT, first).await {
        Ok(Some(_)) => findings.ok(ABOUT, format!("{url} answers, and events come through")),
        Ok(None) => findings.fail(ABOUT, format!("{url} answers, and its event streams do not"), fix),
        Err(_) => findings.fail(ABOUT, format!("{url} answers, and events do not come through in time"), fix),
    }
}

fn compare_clocks(headers: &http::HeaderMap, findings: &mut Findings) {
    let date = headers.get(DATE).and_then(|date| httpdate::parse_http_date(date.to_str().ok()?).ok());
    let Some(there) = date.and_then(|date| date.duration_since(std::time::UNIX_EPOCH).ok()) else { return };
    let here: Timestamp = SystemClock::shared().wall();
    let differ = i64::try_from(there.as_secs()).unwrap_or(0) - here.seconds();
    if differ.abs() > CLOCKS_DIFFER_SECONDS {
        let fix = "have both clocks set by NTP";
        findings.warn("clock", format!("{} s from that of the machine at the public address", -differ), fix);
    }
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

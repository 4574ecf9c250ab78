//! Whether the server is alive, whether the store takes writes and what it promises, and the figures of both.

use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::time::timeout;

use super::SharedApp;
use super::problem::{Kind, Problem};
use crate::store::StoreError;

/// How long a database may take to answer. Load balancers wait little longer.
const ANSWER_WAIT: Duration = Duration::from_secs(3);

/// Whether the server is alive
///
/// It answers as long as the process does, whatever the store says.
#[utoipa::path(get, path = "/healthz", tag = "Server",
    operation_id = "isAlive", security(()),
    responses((status = 200, description = "Alive", content_type = "text/plain", body = String)))]
pub(super) async fn alive() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"))], "ok").into_response()
}

/// What `/readyz` says.
#[derive(Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Ready {
    /// `ok`.
    status: &'static str,
    /// What an acknowledgement promises.
    promise: &'static str,
    /// Whether a forward jump of the server's clock is not believed yet: then holds expire later.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    clock_jump: bool,
    /// Whether space runs out: then intents are refused.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    space_short: bool,
}

/// Whether the store takes writes
///
/// Says what an acknowledgement promises. Answers 503 when nothing can be recorded, why stands in the server's log; and 507
/// when there is no space left to record anything. Then reading goes on, and for a while what ends or gives back.
#[utoipa::path(get, path = "/readyz", tag = "Server",
    operation_id = "isReady", security(()),
    responses((status = 200, description = "The store takes writes", body = Ready),
        (status = 503, description = "It does not", content_type = "application/problem+json", body = super::openapi::Problem),
        (status = 507, description = "It does not, since the disk is full", content_type = "application/problem+json", body = super::openapi::Problem)))]
pub(super) async fn ready(State(app): State<SharedApp>) -> Result<Response, Problem> {
    let status = app.reads.status();
    let not_ready = if app.writer.is_poisoned() {
        Some("an earlier write failed; the server is ending".to_owned())
    } else {
        status.not_ready
    };
    // A database elsewhere is asked, a second after it last answered.
    let not_ready = match (not_ready, app.reads.catch_up()) {
        (None, Some(answering)) => match timeout(ANSWER_WAIT, answering).await {
            Ok(answered) => answered.err().map(|error| error.to_string()),
            Err(_) => Some("the database does not answer in time".to_owned()),
        },
        (not_ready, _) => not_ready,
    };
    if let Some(why) = not_ready {
        return Err(Problem::new(Kind::StoreUnavailable).with("promise", &status.promise).because(why));
    }
    if status.space_out {
        return Err(Problem::from(StoreError::DiskFull).with("promise", &status.promise));
    }
    let ready =
        Ready { status: "ok", promise: status.promise, clock_jump: status.clock_jump, space_short: status.space_short };
    Ok(axum::Json(ready).into_response())
}

/// All figures, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "Server",
    operation_id = "getMetrics",
    responses((status = 200, description = "OpenMetrics text", content_type = "application/openmetrics-text", body = String),
        super::schemas::ReadProblems))]
pub(super) async fn metrics(State(app): State<SharedApp>) -> Result<Response, Problem> {
    let waiting = app.reads.deliveries_waiting().await?;
    let waited = waiting.oldest.map_or(0, |oldest| app.clock.wall().seconds() - oldest.seconds());
    app.metrics.deliveries_waiting(waiting.count, waited.max(0));
    let text = app.metrics.text().map_err(|error| Problem::new(Kind::Internal).because(error))?;
    let content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    Ok(([(CONTENT_TYPE, HeaderValue::from_static(content_type))], text).into_response())
}

//! The empty handler: axum reads the same JSON into the same fields, and answers without doing anything. It stands behind
//! the real server's own accept loop, so that only what the real one does with a request differs.

use std::net::Ipv4Addr;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::post;
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, clippy::struct_field_names, reason = "it is read for the sake of reading, as the contract has it")]
struct Operation {
    operation_id: String,
    user_id: String,
    feature: String,
    provider: String,
    model: String,
    cost: Box<RawValue>,
    is_billable_run: bool,
    session_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is read for the sake of reading")]
struct Ask {
    session_id: Option<String>,
    feature: Option<String>,
    estimate: Estimate,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is read for the sake of reading")]
struct Estimate {
    cost: Option<Box<RawValue>>,
    ai_runs: Option<u64>,
    api_runs: Option<u64>,
}

#[derive(Deserialize)]
#[expect(dead_code, reason = "it is read for the sake of reading")]
struct Finish {
    status: String,
}

fn done() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], r#"{"success":true}"#)
}

async fn usage(body: Bytes) -> impl IntoResponse {
    // One or many, told apart by the first byte, as the real one does without reading twice.
    let read = if body.first() == Some(&b'[') {
        serde_json::from_slice::<Vec<Operation>>(&body).map(|_| ())
    } else {
        serde_json::from_slice::<Operation>(&body).map(|_| ())
    };
    if read.is_err() {
        return StatusCode::BAD_REQUEST.into_response();
    }
    done().into_response()
}

/// Serves until the process is killed, on as many threads as the real server has.
pub(crate) fn serve() {
    let router = Router::new()
        .route("/v1/usage", post(usage))
        .route("/v1/users/{user}/sessions", post(async |Json(_): Json<Ask>| done()))
        .route("/v1/users/{user}/sessions/{session}/finish", post(async |Json(_): Json<Finish>| done()))
        .route("/v1/users/{user}/afford", post(async |Json(_): Json<Ask>| done()))
        .layer(axum::extract::DefaultBodyLimit::disable());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        println!("listening on http://{}", listener.local_addr().unwrap());
        let (_stop, stopped) = tokio::sync::watch::channel(false);
        outlay::http::server::serve(listener, router, outlay::http::proxies::Proxies::default(), stopped).await;
    });
}

//! Whether the server is alive and whether the store answers.

use axum::response::{IntoResponse, Response};

/// `GET /healthz`: the process answers.
pub(super) async fn alive() -> Response {
    "ok".into_response()
}

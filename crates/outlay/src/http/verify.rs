//! The proof of every counter from the operations, over HTTP.

use std::path::Path;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::body::JsonBody;
use super::json::Json;
use super::problem::Problem;
use super::{SharedApp, schemas};

/// The file in the data folder that says how the last proof ended.
pub const LAST_VERIFY_NAME: &str = "last-verify.json";

/// How the last proof ended.
#[derive(Debug, Serialize, Deserialize)]
pub struct LastVerify {
    /// When, such as `2025-10-13T15:52:56Z`.
    pub at: String,
    /// How many faults it found.
    pub findings: usize,
}

/// Prove every counter
///
/// Adds all operations up again and compares. Nothing is repaired.
#[utoipa::path(post, path = "/v1/verify", tag = "Operator",
    operation_id = "verify",
    responses((status = 200, description = "What was found", body = schemas::Verified),
        schemas::ReadProblems))]
pub(super) async fn verify(State(app): State<SharedApp>, body: JsonBody) -> Result<Response, Problem> {
    body.object_or_empty()?.finish(Some(()))?;
    let findings = app.reads.verify().await?;
    note(&app, findings.len());
    let json = Json::of_object(|object| {
        object.put("ok", findings.is_empty()).array("findings", &findings, |json, finding| {
            json.object(|object| {
                object.put("place", finding.place.as_str()).put("problem", finding.problem.as_str());
            });
        });
    });
    Ok(json.answer(StatusCode::OK))
}

/// Notes how it ended, for whoever looks after the server. The proof is none the worse where that cannot be written.
fn note(app: &SharedApp, findings: usize) {
    let last = LastVerify { at: app.clock.wall().to_string(), findings };
    let noted = serde_json::to_vec(&last).map_err(std::io::Error::from).and_then(|text| {
        let folder = app.scratch.parent().unwrap_or(Path::new("."));
        std::fs::write(folder.join(LAST_VERIFY_NAME), text)
    });
    if let Err(error) = noted {
        tracing::warn!("failed to note how the verify ended: {error}");
    }
}

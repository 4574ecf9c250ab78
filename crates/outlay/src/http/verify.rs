//! The proof of every counter from the operations, over HTTP.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;

use super::body::JsonBody;
use super::json::Json;
use super::problem::Problem;
use super::{SharedApp, schemas};

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
    let json = Json::of_object(|object| {
        object.put("ok", findings.is_empty()).array("findings", &findings, |json, finding| {
            json.object(|object| {
                object.put("place", finding.place.as_str()).put("problem", finding.problem.as_str());
            });
        });
    });
    Ok(json.answer(StatusCode::OK))
}

//! Denials: those that the ledger kept, and those that the application reports.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::id::{Label, Name, SessionId, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::month::Month;

use super::body::{JsonBody, ask, metadata, text};
use super::json::Json;
use super::page::Parameters;
use super::present::notice;
use super::problem::Problem;
use super::reading::{OfUser, page, unexpected};
use super::{SharedApp, schemas};
use crate::store::NoticesQuery;

/// Report a denial
///
/// One that the application made by itself.
#[utoipa::path(post, path = "/v1/users/{userId}/denials", tag = "Recording",
    operation_id = "recordDenial",
    params(schemas::UserPath),
    request_body(content = schemas::NewDenial),
    responses((status = 201, description = "It is kept", body = schemas::Denial),
        schemas::WriteProblems))]
pub(super) async fn deny(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object()?;
    let feature = fields.required("feature", text(Name::new));
    let estimate = ask::estimate(&mut fields);
    let reason = fields.required("reason", text(Label::new));
    let session_id = fields.optional("sessionId", text(SessionId::new));
    let metadata = metadata::read(&mut fields);
    let ((feature, estimate), reason) = fields.finish(feature.zip(estimate).zip(reason))?;
    let command = Command::Deny {
        user_id: user_id.clone(),
        feature,
        estimate,
        reason,
        session_id,
        metadata: metadata.map(|metadata| metadata.compact),
    };
    match app.writer.submit(command).await? {
        Outcome::Denied(denial) => {
            let deployment_id = app.reads.deployment_id();
            let json = Json::of_object(|object| notice::denial(object, &denial, Some(&user_id), deployment_id));
            Ok(json.answer(StatusCode::CREATED))
        }
        other => Err(unexpected(&other)),
    }
}

/// List a user's denials
///
/// Newest first.
#[utoipa::path(get, path = "/v1/users/{userId}/denials", tag = "Reading",
    operation_id = "listDenials",
    params(schemas::UserPath, schemas::MonthQuery, schemas::PageQuery),
    responses((status = 200, description = "A page", body = schemas::Denials),
        schemas::ReadProblems))]
pub(super) async fn list(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    parameters: Parameters,
) -> Result<Response, Problem> {
    answer(&app, Some(user_id), parameters).await
}

/// List everybody's denials
///
/// Newest first.
#[utoipa::path(get, path = "/v1/denials", tag = "Operator",
    operation_id = "listAllDenials",
    params(schemas::UserQuery, schemas::MonthQuery, schemas::PageQuery),
    responses((status = 200, description = "A page", body = schemas::Denials),
        schemas::ReadProblems))]
pub(super) async fn list_all(State(app): State<SharedApp>, mut parameters: Parameters) -> Result<Response, Problem> {
    let user_id = parameters.read("userId", UserId::new);
    answer(&app, user_id, parameters).await
}

async fn answer(app: &SharedApp, user_id: Option<UserId>, mut parameters: Parameters) -> Result<Response, Problem> {
    let month = parameters.read("month", Month::parse);
    let query = NoticesQuery { user_id, month, page: parameters.page(app, "denials") };
    parameters.finish()?;
    let denials = app.reads.denials(query).await?;
    let deployment_id = app.reads.deployment_id();
    Ok(page(app, "denials", &denials, |object, of| {
        notice::denial(object, &of.row, of.user_id.as_ref(), deployment_id);
    }))
}

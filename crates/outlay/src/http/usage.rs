//! Operations: recording them, one or many; taking one back; listing them.

use axum::body::Bytes;
use axum::extract::{FromRequestParts, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use outlay_core::id::{Label, Name, OperationId, SessionId};
use outlay_core::ledger::{Command, Outcome, Recorded};
use outlay_core::month::Month;
use outlay_core::operation::UsageType;

use super::auth::{Asked, Caller, asked};
use super::body::operation::{self as body_operation, Posted, Told};
use super::body::{self, JsonBody, MediaType, text};
use super::json::{Json, Raw};
use super::page::Parameters;
use super::present::operation as present;
use super::problem::{Kind, Problem};
use super::reading::{OfOperation, OfUser, page, unexpected};
use super::telling::Telling;
use super::{App, SharedApp, schemas};
use crate::ids::RequestId;
use crate::store::UsageQuery;
use crate::writer::Writer;

/// Operations of one batch, at most.
pub(super) const BATCH_MAX: usize = 1_000;

/// Record operations
///
/// One operation, an array of 1 to 1000, or CloudEvents. Each item of a batch succeeds or fails alone.
#[utoipa::path(post, path = "/v1/usage", tag = "Recording",
    operation_id = "recordUsage",
    request_body(content((schemas::Posted = "application/json"), (schemas::CloudEvent = "application/cloudevents+json"), (schemas::CloudEvents = "application/cloudevents-batch+json"))),
    responses((status = 200, description = "It is recorded, or was before; of a batch, all are", body = schemas::RecordedAll),
        (status = 207, description = "Some of the batch failed", body = schemas::Results),
        (status = 409, description = "The id was used before with other content", content_type = "application/problem+json", body = super::openapi::Problem),
        (status = 422, description = "The sum of the month would be too large", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn record(
    State(app): State<SharedApp>,
    Telling(writer): Telling,
    Posting { media_type, minimal, bytes, request_id }: Posting,
) -> Result<Response, Problem> {
    let text = body::utf8(&bytes)?;
    let is_batch = match media_type {
        MediaType::Json => text.trim_start().starts_with('['),
        MediaType::CloudEvent => false,
        MediaType::CloudEventBatch => true,
    };
    let read = |raw: &str| match media_type {
        MediaType::Json => body_operation::plain(raw, &app.ids),
        MediaType::CloudEvent | MediaType::CloudEventBatch => body_operation::cloud_event(raw, &app.ids),
    };
    if is_batch {
        let posted = body::items(text, BATCH_MAX)?.into_iter().map(read).collect();
        return record_all(&app, &writer, posted, request_id).await;
    }
    let posted = read(text)?;
    let recorded = record_one(&writer, posted).await?;
    Ok(answer(&app, minimal, &recorded))
}

/// What is posted to be recorded.
pub(super) struct Posting {
    media_type: MediaType,
    /// Whether the answer needs no budget.
    minimal: bool,
    bytes: Bytes,
    request_id: RequestId,
}

impl<S: Sync> FromRequestParts<S> for Posting {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Asked { body, request_id, .. } = asked(parts)?;
        let media_type = body::media_type(&parts.headers, body)?;
        let minimal = wants_minimal(&parts.headers);
        Ok(Self { media_type, minimal, bytes: body.clone(), request_id: *request_id })
    }
}

/// The answer of one recording, with the budget unless it was asked to be left out.
fn answer(app: &App, minimal: bool, recorded: &Recorded) -> Response {
    let json =
        Json::of_object(|object| present::recorded(object, recorded, (!minimal).then_some(&app.presentation.now())));
    let mut response = json.answer(StatusCode::OK);
    if minimal {
        response.headers_mut().insert("preference-applied", HeaderValue::from_static("return=minimal"));
    }
    response
}

async fn record_one(writer: &Writer, posted: Posted) -> Result<Recorded, Problem> {
    let Posted { operation, told } = posted;
    let recorded = submit_recording(writer, Command::Record(operation)).await;
    recorded.map_err(|problem| told.tell(problem))
}

async fn submit_recording(writer: &Writer, command: Command) -> Result<Recorded, Problem> {
    match writer.submit(command).await? {
        Outcome::Recorded(recorded) => Ok(recorded),
        other => Err(unexpected(&other)),
    }
}

/// Records what can be read of a batch. Each succeeds or fails alone, but when the store takes none of them.
async fn record_all(
    app: &App,
    writer: &Writer,
    posted: Vec<Result<Posted, Problem>>,
    request_id: RequestId,
) -> Result<Response, Problem> {
    let mut commands = Vec::with_capacity(posted.len());
    let mut items = Vec::with_capacity(posted.len());
    for posted in posted {
        items.push(posted.map(|Posted { operation, told }| {
            commands.push(Command::Record(operation));
            told
        }));
    }
    let replies = if commands.is_empty() {
        Vec::new()
    } else {
        writer.submit_all(commands).await.map_err(|error| {
            let made: Vec<Option<&str>> =
                items.iter().map(|item| item.as_ref().ok()?.made_id.as_ref().map(OperationId::as_str)).collect();
            let problem = Problem::from(error);
            if made.iter().any(Option::is_some) { problem.with("operationIds", &made) } else { problem }
        })?
    };

    let mut replies = replies.into_iter();
    let mut all_succeeded = true;
    let room = 256 * (items.len() + 1);
    let json = Json::with_room(room, |json| {
        json.object(|object| {
            object.array("results", items.into_iter().enumerate(), |json, (index, item)| {
                let recorded = item.and_then(|told| {
                    let reply =
                        replies.next().ok_or_else(|| Problem::new(Kind::Internal).because("a reply is missing"));
                    reply.and_then(|reply| match reply {
                        Ok(Outcome::Recorded(recorded)) => Ok(recorded),
                        Ok(other) => Err(unexpected(&other)),
                        Err(error) => Err(told.tell(error.into())),
                    })
                });
                match recorded {
                    Ok(recorded) => json.object(|object| {
                        object.put("index", index).put("status", StatusCode::OK.as_u16());
                        present::recorded(object, &recorded, None);
                    }),
                    Err(problem) => {
                        all_succeeded = false;
                        let presentation = app.presentation.now();
                        let body = problem.body(&presentation, request_id).at_index(index);
                        json.value(Raw(&serde_json::to_string(&body).unwrap_or_default()));
                    }
                }
            });
        });
    });
    Ok(json.answer(if all_succeeded { StatusCode::OK } else { StatusCode::MULTI_STATUS }))
}

/// Whether `Prefer` asks for `return=minimal`.
fn wants_minimal(headers: &HeaderMap) -> bool {
    let preferences = headers.get_all("prefer").iter().filter_map(|value| value.to_str().ok());
    preferences.flat_map(|value| value.split(',')).any(|preference| {
        let preference = preference.split(';').next().unwrap_or_default();
        preference.split_once('=').is_some_and(|(name, value)| {
            name.trim().eq_ignore_ascii_case("return") && value.trim().trim_matches('"').eq_ignore_ascii_case("minimal")
        })
    })
}

/// Take an operation back
///
/// Records negative amounts in the month of the original, once.
#[utoipa::path(post, path = "/v1/users/{userId}/usage/{operationId}/reverse", tag = "Recording",
    operation_id = "reverseOperation",
    params(schemas::UserPath, ("operationId" = inline(schemas::OperationId), Path, description = "What to take back")),
    request_body(content = Option<schemas::Reversal>),
    responses((status = 200, description = "It is taken back, or was before", body = schemas::Recorded),
        (status = 404, description = "The user has no such operation", content_type = "application/problem+json", body = super::openapi::Problem),
        (status = 409, description = "It is itself a reversal, or the reversal's id is in use", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn reverse(
    State(app): State<SharedApp>,
    Telling(writer): Telling,
    OfOperation(user_id, original): OfOperation,
    headers: HeaderMap,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object_or_empty()?;
    let given = fields.optional("operationId", text(OperationId::new));
    let reason = fields.optional("reason", text(Label::new));
    fields.finish(Some(()))?;
    let made_id = given.is_none().then(|| app.ids.operation());
    let operation_id =
        given.or_else(|| made_id.clone()).ok_or_else(|| Problem::new(Kind::Internal).because("no id was made"))?;
    let command = Command::Reverse { user_id, original, operation_id, reason };
    let recorded = submit_recording(&writer, command).await.map_err(|problem| Told::plain(made_id).tell(problem))?;
    Ok(answer(&app, wants_minimal(&headers), &recorded))
}

/// List operations
///
/// Newest first in order of recording.
#[utoipa::path(get, path = "/v1/users/{userId}/usage", tag = "Reading",
    operation_id = "listUsage",
    params(schemas::UserPath, schemas::MonthQuery, schemas::UsageQuery, schemas::PageQuery),
    responses((status = 200, description = "A page", body = schemas::Operations),
        schemas::ReadProblems))]
pub(super) async fn list(
    State(app): State<SharedApp>,
    caller: Caller,
    OfUser(user_id): OfUser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let query = UsageQuery {
        user_id: user_id.clone(),
        month: parameters.read("month", Month::parse),
        feature: parameters.read("feature", Name::new),
        usage_type: parameters.read("usageType", |text| UsageType::parse(text).ok_or("must be AIUsage or ApiUsage")),
        session_id: parameters.read("sessionId", SessionId::new),
        page: parameters.page(&app, "usage"),
    };
    parameters.finish()?;
    let operations = app.reads.usage(query).await?;
    let whole = caller.sees_everything();
    Ok(page(&app, "usage", &operations, |object, operation| present::item(object, operation, &user_id, whole))
        .into_response())
}

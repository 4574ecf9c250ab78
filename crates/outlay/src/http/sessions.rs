//! Sessions: opening one with a hold, extending, finishing, reading.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::budget::Budget;
use outlay_core::id::{Label, Name, SessionId, UserId};
use outlay_core::ledger::{Command, Fitting, Outcome};
use outlay_core::month::Timestamp;
use outlay_core::plan::Meter;
use outlay_core::session::{Ask, Finish, HOLD_SECONDS_DEFAULT, HOLD_SECONDS_MAX, Session, SessionStatus};

use super::auth::Caller;
use super::body::{JsonBody, ask, metadata, text, whole, word};
use super::json::Json;
use super::page::Parameters;
use super::present::session as present;
use super::present::{Worded, operation};
use super::problem::Problem;
use super::reading::{OfSession, OfUser, page, unexpected};
use super::telling::Telling;
use super::{App, SharedApp, schemas};
use crate::store::SessionsQuery;
use crate::writer::Writer;

/// Steps in one answer, at most.
const STEPS_MAX: usize = 1_000;

/// Days that are summed up, at most: a year, and the day that a leap year has more.
pub(super) const DAYS_MAX: u64 = 366;

/// Open a session
///
/// Sets the estimate, or the first choice that fits, aside until it is used, finished or expired. The same id again is the same session, with one hold.
#[utoipa::path(post, path = "/v1/users/{userId}/sessions", tag = "Sessions",
    operation_id = "openSession",
    params(schemas::UserPath),
    request_body(content = schemas::NewSession),
    responses((status = 200, description = "It was opened before", body = schemas::OpenedSession),
        (status = 201, description = "It is open", body = schemas::OpenedSession),
        (status = 402, description = "It does not fit; a denial is kept", content_type = "application/problem+json", body = schemas::Refused),
        (status = 409, description = "The id was used before for something else", content_type = "application/problem+json", body = super::openapi::Problem),
        (status = 422, description = "The sum of what is held would be too large", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn open(
    State(app): State<SharedApp>,
    Telling(writer): Telling,
    OfUser(user_id): OfUser,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object()?;
    let given_id = fields.optional("sessionId", text(SessionId::new));
    let feature = fields.required("feature", text(Name::new));
    let ask = ask::read(&mut fields);
    let hold_seconds = fields.optional("holdSeconds", whole(1..=HOLD_SECONDS_MAX)).unwrap_or(HOLD_SECONDS_DEFAULT);
    let metadata = metadata::read(&mut fields);
    let (feature, ask) = fields.finish(feature.zip(ask))?;

    let made_id = given_id.is_none();
    let has_choices = matches!(ask, Ask::Choices(_));
    let session_id = given_id.unwrap_or_else(|| app.ids.session());
    let command = Command::Open {
        user_id,
        session_id: session_id.clone(),
        feature,
        ask,
        hold_seconds,
        metadata: metadata.map(|metadata| metadata.compact),
    };
    let naming = |problem: Problem| {
        let problem = of_ask(problem, has_choices);
        if made_id { problem.with("sessionId", &session_id.as_str()) } else { problem }
    };
    match writer.submit(command).await.map_err(|error| naming(error.into()))? {
        Outcome::Opened { session, created, reason, budget } => {
            let status = if created { StatusCode::CREATED } else { StatusCode::OK };
            Ok(opened(&app, &session, reason, &budget).answer(status))
        }
        // The id is named also where it was given: asked again with it, the same denial counts on.
        Outcome::Refused(refused) => {
            Err(present::refused(&refused, &app.presentation.now()).with("sessionId", &session_id.as_str()))
        }
        other => Err(naming(unexpected(&other))),
    }
}

/// A problem that names a meter, in the words of what asked for it.
fn of_ask(problem: Problem, has_choices: bool) -> Problem {
    Meter::ALL.into_iter().fold(problem, |problem, meter| {
        let place = if has_choices { "/choices".to_owned() } else { format!("/estimate/{}", meter.as_str()) };
        problem.renamed(&format!("/{}", meter.as_str()), &place)
    })
}

fn opened(app: &App, session: &Session, reason: Option<Fitting>, budget: &Budget) -> Json {
    let hold = session.hold.as_ref();
    // Of a session that was open already, this much can still be told.
    let reason = reason.or_else(|| hold.filter(|hold| hold.is_fallback()).map(|_| Fitting::Fallback));
    Json::with_room(1_536, |json| {
        json.object(|object| {
            object.put("sessionId", &session.session_id).put("status", session.status.as_str());
            object.put("choice", hold.and_then(|hold| hold.choice.as_ref()));
            object.put("reason", reason.map(Fitting::as_str)).put("held", &session.held());
            object.put("holdExpiresAt", hold.map(|hold| hold.expires_at));
            object.put("budget", Worded(budget, &app.presentation.now()));
        });
    })
}

/// Finish a session
///
/// Gives back what is left of its hold.
#[utoipa::path(post, path = "/v1/users/{userId}/sessions/{sessionId}/finish", tag = "Sessions",
    operation_id = "finishSession",
    params(schemas::SessionPath),
    request_body(content = schemas::FinishSession),
    responses((status = 200, description = "It is finished, or was the same way", body = schemas::Session),
        (status = 404, description = "The user has no such session", content_type = "application/problem+json", body = super::openapi::Problem),
        (status = 409, description = "It was finished the other way", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn finish(
    State(app): State<SharedApp>,
    Telling(writer): Telling,
    OfSession(user_id, session_id): OfSession,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object()?;
    let status = fields.required("status", word(Finish::parse, "completed or failed"));
    let error = fields.optional("error", text(Label::new));
    let finish = fields.finish(status)?;
    let command = Command::Finish { user_id: user_id.clone(), session_id, finish, error };
    changed(&app, &writer, &user_id, command).await
}

/// Extend a hold
///
/// Moves its end to now and so many seconds more, and its total where one is given.
#[utoipa::path(post, path = "/v1/users/{userId}/sessions/{sessionId}/extend", tag = "Sessions",
    operation_id = "extendSession",
    params(schemas::SessionPath),
    request_body(content = schemas::ExtendSession),
    responses((status = 200, description = "It goes on", body = schemas::Session),
        (status = 402, description = "It does not fit; the old hold stays", content_type = "application/problem+json", body = schemas::Refused),
        (status = 404, description = "The user has no such session", content_type = "application/problem+json", body = super::openapi::Problem),
        (status = 409, description = "It is not in progress with a hold", content_type = "application/problem+json", body = super::openapi::Problem),
        (status = 422, description = "The sum of a month would be too large", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn extend(
    State(app): State<SharedApp>,
    Telling(writer): Telling,
    OfSession(user_id, session_id): OfSession,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object()?;
    let hold_seconds = fields.required("holdSeconds", whole(1..=HOLD_SECONDS_MAX));
    let estimate = fields.object("estimate", |fields| Some(ask::amounts(fields)));
    let hold_seconds = fields.finish(hold_seconds)?;
    let command = Command::Extend { user_id: user_id.clone(), session_id, hold_seconds, estimate };
    changed(&app, &writer, &user_id, command).await
}

/// The answer to a change of a session: the session without its steps, and the budget.
async fn changed(app: &App, writer: &Writer, user_id: &UserId, command: Command) -> Result<Response, Problem> {
    let submitted = writer.submit(command).await;
    match submitted.map_err(|error| of_ask(error.into(), false))? {
        Outcome::Session { session, budget } => {
            let json = Json::with_room(1_536, |json| {
                json.object(|object| {
                    present::item(object, &session, Some(user_id), true);
                    object.put("budget", Worded(budget.as_ref(), &app.presentation.now()));
                });
            });
            Ok(json.answer(StatusCode::OK))
        }
        Outcome::Refused(refused) => Err(present::refused(&refused, &app.presentation.now())),
        other => Err(unexpected(&other)),
    }
}

/// Read a session
///
/// With its steps in order of recording, 1000 at most.
#[utoipa::path(get, path = "/v1/users/{userId}/sessions/{sessionId}", tag = "Sessions",
    operation_id = "getSession",
    params(schemas::SessionPath, ("steps" = Option<bool>, Query, description = "`false` leaves the steps out"), ("stepsCursor" = inline(Option<schemas::Cursor>), Query, description = "The `nextStepsCursor` of the answer before")),
    responses((status = 200, description = "The session", body = schemas::Session),
        (status = 404, description = "The user has no such session", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::ReadProblems))]
pub(super) async fn get(
    State(app): State<SharedApp>,
    caller: Caller,
    OfSession(user_id, session_id): OfSession,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let with_steps = parameters.flag("steps", true);
    let tag = "steps";
    let skip = parameters.read("stepsCursor", |text| {
        let place = app.open_cursor(tag, text)?;
        <[u8; 8]>::try_from(place.as_slice()).map(u64::from_le_bytes).map_err(|_| super::page::CursorError)
    });
    parameters.finish()?;
    let session = app.reads.session(&user_id, &session_id).await?;
    let session = session.ok_or_else(|| Problem::from(outlay_core::ledger::Rejection::UnknownSession))?;
    let steps = if with_steps { Some(app.reads.steps(session.no, skip.unwrap_or(0), STEPS_MAX).await?) } else { None };

    let whole = caller.sees_everything();
    let room = 512 + 320 * steps.as_ref().map_or(0, Vec::len);
    let json = Json::with_room(room, |json| {
        json.object(|object| {
            present::head(object, &session, Some(&user_id));
            if let Some(steps) = &steps {
                object.array("steps", steps, |json, step| json.object(|object| operation::step(object, step, whole)));
            }
            present::tail(object, &session, whole);
            if let Some(steps) = &steps {
                let last = steps.last().map(|step| step.step_position);
                let next = last.filter(|last| *last < session.steps).map(|last| app.cursor_of(tag, last));
                object.put("nextStepsCursor", next.as_deref());
            }
        });
    });
    Ok(json.answer(StatusCode::OK))
}

/// List a user's sessions
///
/// Newest first.
#[utoipa::path(get, path = "/v1/users/{userId}/sessions", tag = "Sessions",
    operation_id = "listSessions",
    params(schemas::UserPath, schemas::SessionsQuery, schemas::PageQuery),
    responses((status = 200, description = "A page", body = schemas::Sessions),
        schemas::ReadProblems))]
pub(super) async fn list(
    State(app): State<SharedApp>,
    caller: Caller,
    OfUser(user_id): OfUser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let query = query(&app, &mut parameters, Some(user_id));
    parameters.finish()?;
    answer_list(&app, query, caller.sees_everything()).await
}

/// List everybody's sessions
///
/// Newest first.
#[utoipa::path(get, path = "/v1/sessions", tag = "Operator",
    operation_id = "listAllSessions",
    params(schemas::UserQuery, schemas::SessionsQuery, schemas::PageQuery),
    responses((status = 200, description = "A page", body = schemas::Sessions),
        schemas::ReadProblems))]
pub(super) async fn list_all(State(app): State<SharedApp>, mut parameters: Parameters) -> Result<Response, Problem> {
    let user_id = parameters.read("userId", UserId::new);
    let query = query(&app, &mut parameters, user_id);
    parameters.finish()?;
    answer_list(&app, query, true).await
}

fn query(app: &SharedApp, parameters: &mut Parameters, user_id: Option<UserId>) -> SessionsQuery {
    SessionsQuery {
        user_id,
        status: parameters.read("status", |text| {
            SessionStatus::parse(text).ok_or("must be in-progress, completed, failed or abandoned")
        }),
        feature: parameters.read("feature", Name::new),
        from: parameters.read("from", Timestamp::parse),
        to: parameters.read("to", Timestamp::parse),
        page: parameters.page(app, "sessions"),
    }
}

async fn answer_list(app: &SharedApp, query: SessionsQuery, whole: bool) -> Result<Response, Problem> {
    let sessions = app.reads.sessions(query).await?;
    Ok(page(app, "sessions", &sessions, |object, of| present::item(object, &of.row, of.user_id.as_ref(), whole)))
}

/// Sum sessions up by feature
///
/// Those opened in the last days, today included.
#[utoipa::path(get, path = "/v1/sessions/stats", tag = "Operator",
    operation_id = "getSessionStats",
    params(("days" = inline(Option<schemas::Days>), Query, description = "1 to 366; 30 when absent")),
    responses((status = 200, description = "Sums by feature, the most expensive first", body = schemas::SessionStats),
        schemas::ReadProblems))]
pub(super) async fn stats(State(app): State<SharedApp>, mut parameters: Parameters) -> Result<Response, Problem> {
    let days = parameters.number("days", 1..=DAYS_MAX, 30);
    parameters.finish()?;
    let days_before = i64::try_from(days).unwrap_or(1) - 1;
    let since = app.reads.now().plus_seconds(-86_400 * days_before).day();
    let mut stats = app.reads.session_stats(since).await?;
    stats.sort_by(|a, b| b.cost.cmp(&a.cost).then_with(|| a.feature.cmp(&b.feature)));
    let json = Json::of_object(|object| {
        object.put("days", days).put("since", since);
        object.array("features", &stats, |json, stats| {
            let [in_progress, completed, failed, abandoned] = stats.count;
            let ended = completed + failed + abandoned;
            json.object(|object| {
                object.put("feature", &stats.feature).object("count", |object| {
                    object.put("inProgress", in_progress).put("completed", completed);
                    object.put("failed", failed).put("abandoned", abandoned);
                });
                object.put("sessions", in_progress + ended).put("cost", stats.cost).put("steps", stats.steps);
                object.put("costPerSession", stats.cost.mean(in_progress + ended));
                object.put("meanDurationMs", stats.duration_ms.checked_div(ended));
            });
        });
    });
    Ok(json.answer(StatusCode::OK))
}

//! Users: what the application sets of them, and the document that shows it with a month.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use outlay_core::id::{Name, UserId};
use outlay_core::ledger::{Command, Outcome, UserView};
use outlay_core::money::Usd;
use outlay_core::month::Month;
use outlay_core::plan::{Limit, Overrides, RUNS_LIMIT_MAX};
use outlay_core::user::User;

use super::body::{JsonBody, Object, decimal, text, whole};
use super::json::Json;
use super::page::Parameters;
use super::present;
use super::problem::Problem;
use super::reading::{OfUser, not_loaded, unexpected, view};
use super::telling::Telling;
use super::{App, SharedApp, schemas};
use crate::audit::Actor;

/// Bytes of an address, at most: that of a path in SMTP.
pub(super) const EMAIL_BYTES_MAX: usize = 254;

/// Read a user
///
/// With one month, the current one when none is named. A user nobody has seen is on the default plan at zero.
#[utoipa::path(get, path = "/v1/users/{userId}", tag = "Users",
    operation_id = "getUser",
    params(schemas::UserPath, schemas::MonthQuery),
    responses((status = 200, description = "The user", body = schemas::User),
        schemas::ReadProblems))]
pub(super) async fn get(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let month = parameters.read("month", Month::parse);
    parameters.finish()?;
    let month = month.unwrap_or_else(|| app.reads.now().month());
    let view = view(&app, &user_id, month).await?;
    document(&app, &user_id, &view, month, StatusCode::OK)
}

/// Set a user
///
/// Replaces all that is set of the user. What was used stays used.
#[utoipa::path(put, path = "/v1/users/{userId}", tag = "Users",
    operation_id = "putUser",
    params(schemas::UserPath),
    request_body(content = schemas::UserSettings),
    responses((status = 200, description = "The user was known", body = schemas::User),
        (status = 201, description = "The user is new", body = schemas::User),
        (status = 422, description = "There is no such plan", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn put(
    State(app): State<SharedApp>,
    actor: Actor,
    Telling(writer): Telling,
    OfUser(user_id): OfUser,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object()?;
    let plan = fields.optional("plan", text(Name::new));
    let email = fields.optional("email", |raw| {
        let address = super::body::string(raw)?;
        if is_address(&address) { Ok(Arc::from(&*address)) } else { Err("must be an e-mail address".to_owned()) }
    });
    let overrides = fields.object("limits", |limits| Some(overrides(limits))).unwrap_or_default();
    fields.finish(Some(()))?;

    let command = Command::PutUser { user_id: user_id.clone(), plan, email, overrides };
    let (user, created) = match writer.submit_as(&actor, command).await? {
        Outcome::User { user, created } => (user, created),
        other => return Err(unexpected(&other)),
    };
    let month = app.reads.now().month();
    let seen = view(&app, &user_id, month).await?;
    // What was just set is shown, whatever somebody else set meanwhile.
    let view = UserView { user: Some(Arc::<User>::from(user)), ..UserView::clone(&seen) };
    document(&app, &user_id, &view, month, if created { StatusCode::CREATED } else { StatusCode::OK })
}

/// Erase a user
///
/// All that names the person goes; the anonymous sums stay.
#[utoipa::path(delete, path = "/v1/users/{userId}", tag = "Users",
    operation_id = "eraseUser",
    params(schemas::UserPath),
    responses((status = 204, description = "Erased, or never seen"),
        schemas::WriteProblems))]
pub(super) async fn delete(
    State(app): State<SharedApp>,
    actor: Actor,
    OfUser(user_id): OfUser,
) -> Result<Response, Problem> {
    match app.writer.submit_as(&actor, Command::Erase { user_id }).await? {
        Outcome::Done => Ok(StatusCode::NO_CONTENT.into_response()),
        other => Err(unexpected(&other)),
    }
}

fn document(
    app: &App,
    user_id: &UserId,
    view: &UserView,
    month: Month,
    status: StatusCode,
) -> Result<Response, Problem> {
    let plans = app.reads.plans();
    let row = view.month(month).ok_or_else(|| not_loaded(month))?;
    let budget = view.budget(&plans, user_id, month, app.reads.now()).ok_or_else(|| not_loaded(month))?;
    let json = Json::with_room(512, |json| present::user(json, view.user.as_deref(), &budget, &row));
    Ok(json.answer(status))
}

/// Reads limits of a user's own: an absent meter follows the plan, `null` is unlimited, 0 allows nothing.
fn overrides(fields: &mut Object<'_>) -> Overrides {
    Overrides {
        cost: limit(fields, "cost", |raw| decimal(Usd::parse_limit)(raw).map(Usd::picos)),
        ai_runs: limit(fields, "aiRuns", whole(0..=RUNS_LIMIT_MAX)),
        api_runs: limit(fields, "apiRuns", whole(0..=RUNS_LIMIT_MAX)),
    }
}

/// Reads one limit, `null` for unlimited; `None` when it is absent, or wrong, which is noted.
pub(super) fn limit(fields: &mut Object<'_>, name: &str, read: impl Fn(&str) -> Result<i64, String>) -> Option<Limit> {
    match fields.take_raw(name)? {
        "null" => Some(None),
        raw => read(raw).map(Some).map_err(|detail| fields.wrong(name, format!("{detail}, or null"))).ok(),
    }
}

/// Whether it has the form of an address. Whether it is one only a letter to it would show.
pub(super) fn is_address(text: &str) -> bool {
    let unbroken = |character: char| !character.is_control() && !character.is_whitespace();
    let inside = |(local, domain): (&str, &str)| !local.is_empty() && domain.contains(|c| c != '.' && c != '-');
    text.len() <= EMAIL_BYTES_MAX && text.chars().all(unbroken) && text.rsplit_once('@').is_some_and(inside)
}

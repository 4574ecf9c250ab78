//! The budget of a user's month.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::id::UserId;
use outlay_core::month::Month;

use super::json::Json;
use super::page::Parameters;
use super::present::Worded;
use super::problem::Problem;
use super::reading::{OfUser, not_loaded, view};
use super::{App, SharedApp, schemas};

/// Read a user's budget
///
/// Used, held and limit of each meter; a past month beside the limits of today.
#[utoipa::path(get, path = "/v1/users/{userId}/budget", tag = "Budgets",
    operation_id = "getBudget",
    params(schemas::UserPath, schemas::MonthQuery),
    responses((status = 200, description = "The budget", body = schemas::Budget),
        schemas::ReadProblems))]
pub(super) async fn get(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let month = parameters.read("month", Month::parse);
    parameters.finish()?;
    Ok(of_month(&app, &user_id, month).await?.answer(StatusCode::OK))
}

/// The budget of a month, or of the current one, as JSON.
pub(super) async fn of_month(app: &App, user_id: &UserId, month: Option<Month>) -> Result<Json, Problem> {
    let now = app.reads.now();
    let month = month.unwrap_or_else(|| now.month());
    let view = view(app, user_id, month).await?;
    let budget = view.budget(&app.reads.plans(), user_id, month, now).ok_or_else(|| not_loaded(month))?;
    Ok(Json::with_room(1_024, |json| json.value(Worded(&budget, &app.presentation.now()))))
}

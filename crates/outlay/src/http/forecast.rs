//! Where a user's meters will stand at the end of the running month.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::id::UserId;
use outlay_core::plan::Meter;

use super::json::Json;
use super::page::Parameters;
use super::problem::Problem;
use super::reading::{OfUser, not_loaded, view};
use super::{App, SharedApp, foretold, schemas};
use crate::forecast::users::{Known, months};

/// Look ahead to the end of a user's month
///
/// For each meter what it will have come to, a range that holds four times out of five, and when its limit will be reached,
/// if that is likely. It is made of the sums of past days, of a week at least; how well it holds is measured in the
/// project's documentation. The same past gives the same forecast.
#[utoipa::path(get, path = "/v1/users/{userId}/forecast", tag = "Budgets",
    params(schemas::UserPath),
    responses((status = 200, description = "The forecast", body = schemas::Forecast),
        schemas::ReadProblems))]
pub(super) async fn get(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let now = app.reads.now();
    let month = now.month();
    let history = app.reads.history(&user_id, months(now)).await?;
    let view = view(&app, &user_id, month).await?;
    let budget = view.budget(&app.reads.plans(), &user_id, month, now).ok_or_else(|| not_loaded(month))?;
    let known = Known { user: view.user.as_deref(), months: &history.months, days: &history.days, now };
    let meters = foretold::of_user(&known, &budget, &app.presentation.now());
    let json = Json::with_room(1_024, |json| {
        json.object(|object| {
            object.put("userId", &user_id).put("month", month).put("asOf", now);
            object.object("meters", |object| {
                for (meter, said) in meters.iter() {
                    object.object(meter.as_str(), |object| {
                        object.put("projected", said.projected).put("low", said.low).put("high", said.high);
                        object.put("hitsLimitOn", said.hits_limit_on).put("daysLeft", said.days_left);
                        object.with("range", |json| match said.range {
                            Some(range) => json.array(range, Json::value),
                            None => json.value(None::<outlay_core::month::Day>),
                        });
                        object.put("message", said.message.as_str());
                    });
                }
            });
        });
    });
    Ok(json.answer(StatusCode::OK))
}

/// What is said of one meter of a user now, for a letter; `None` where that cannot be read.
pub(crate) async fn sentence(app: &App, user_id: &UserId, meter: Meter) -> Option<String> {
    let now = app.reads.now();
    let history = app.reads.history(user_id, months(now)).await.ok()?;
    let view = view(app, user_id, now.month()).await.ok()?;
    let budget = view.budget(&app.reads.plans(), user_id, now.month(), now)?;
    let known = Known { user: view.user.as_deref(), months: &history.months, days: &history.days, now };
    let said = foretold::of_user(&known, &budget, &app.presentation.now());
    Some(said.get(meter).message.clone())
}

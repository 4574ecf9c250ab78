//! A user's months: totals, days and breakdowns, gaps as zeros.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::month::{Day, Month};

use super::auth::Caller;
use super::breakdown::{Totals, by_day, by_name, write, write_day, write_names};
use super::json::{Json, Object};
use super::page::Parameters;
use super::problem::Problem;
use super::reading::OfUser;
use super::{SharedApp, schemas};

/// Months of one answer, at most.
pub(super) const MONTHS_MAX: u64 = 36;

/// Which breakdowns a caller may see.
#[derive(Debug, Clone, Copy)]
struct Sees {
    features: bool,
    providers_and_models: bool,
}

/// Read a user's months
///
/// The oldest first, gaps as zeros.
#[utoipa::path(get, path = "/v1/users/{userId}/history", tag = "Reading",
    operation_id = "getHistory",
    params(schemas::UserPath, ("months" = inline(Option<schemas::Months>), Query, description = "1 to 36; 6 when absent")),
    responses((status = 200, description = "The months", body = schemas::History),
        schemas::ReadProblems))]
pub(super) async fn get(
    State(app): State<SharedApp>,
    caller: Caller,
    OfUser(user_id): OfUser,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let count = parameters.number("months", 1..=MONTHS_MAX, 6);
    parameters.finish()?;
    let today = app.reads.now().day();
    let last = today.month();
    let months: Vec<Month> = last.with_before(u32::try_from(count).unwrap_or(1)).collect();
    let first = months.first().copied().unwrap_or(last);
    let history = app.reads.history(&user_id, first..=last).await?;
    let providers_and_models = caller.sees_everything();
    let features = providers_and_models || matches!(caller, Caller::User { reads_usage: true, .. });
    let sees = Sees { features, providers_and_models };

    let json = Json::with_room(4_096, |json| {
        json.object(|object| {
            object.put("userId", &user_id).array("months", months, |json, month| {
                let days: Vec<_> = history.days.iter().filter(|(day, ..)| day.month() == month).collect();
                json.object(|object| write_month(object, month, today, &days, sees));
            });
        });
    });
    Ok(json.answer(StatusCode::OK))
}

fn write_month(object: &mut Object<'_>, month: Month, today: Day, days: &[&(Day, Dimensions, Sums)], sees: Sees) {
    let of_month = || days.iter().copied();
    let totals = Totals::of(of_month());
    object.put("month", month);
    write(object, &totals.all());
    object.put("aiRuns", totals.ai.billable_runs).put("apiRuns", totals.api.billable_runs);
    let last = today.min(Day::new(month, month.days()));
    let days = by_day(Day::new(month, 1), last, of_month());
    object.array("days", &days, |json, (day, totals)| write_day(json, *day, totals));
    if sees.features {
        let names = by_name(of_month(), |dimensions| Some(dimensions.feature.as_str()));
        object.with("byFeature", |json| write_names(json, &names));
    }
    if sees.providers_and_models {
        let names = by_name(of_month(), |dimensions| Some(dimensions.provider.as_str()));
        object.with("byProvider", |json| write_names(json, &names));
        let names = by_name(of_month(), |dimensions| dimensions.model.as_ref().map(outlay_core::id::Name::as_str));
        object.with("byModel", |json| write_names(json, &names));
    }
}

//! Whether something would fit now. It promises nothing: a hold does.

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::budget::Failed;
use outlay_core::id::Name;
use outlay_core::ledger::{Check, Command, Outcome, check};

use super::body::{JsonBody, ask, flag, text};
use super::json::Json;
use super::present::{self, Worded};
use super::problem::Problem;
use super::reading::{OfUser, not_loaded, unexpected, view};
use super::{Presentation, SharedApp, schemas};

/// Ask whether something fits
///
/// It promises nothing: to be sure, open a session with a hold.
#[utoipa::path(post, path = "/v1/users/{userId}/afford", tag = "Budgets",
    operation_id = "afford",
    params(schemas::UserPath),
    request_body(content = schemas::Question),
    responses((status = 200, description = "Whether it fits, and why", body = schemas::Answer),
        schemas::WriteProblems))]
pub(super) async fn afford(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object()?;
    let ask = ask::read(&mut fields);
    let feature_is_absent = fields.is_absent("feature");
    let feature = fields.optional("feature", text(Name::new));
    let audit = fields.optional("audit", flag).unwrap_or(false);
    if audit && feature_is_absent {
        fields.wrong("feature", "is required with audit");
    }
    let ask = fields.finish(ask)?;

    if let (true, Some(feature)) = (audit, feature) {
        return match app.writer.submit(Command::AuditedCheck { user_id, feature, ask }).await? {
            Outcome::Checked(check) => Ok(answer(&check, &app.presentation.now())),
            other => Err(unexpected(&other)),
        };
    }
    let now = app.reads.now();
    let view = view(&app, &user_id, now.month()).await?;
    let check = check(&app.reads.plans(), &view, &user_id, &ask, now).ok_or_else(|| not_loaded(now.month()))?;
    Ok(answer(&check, &app.presentation.now()))
}

fn answer(check: &Check, presentation: &Presentation) -> Response {
    let chosen = check.fitting.and_then(|(index, fitting)| Some((check.ways.get(index)?, fitting)));
    let failed = if chosen.is_some() { Failed::default() } else { check.failed() };
    let json = Json::with_room(2_048, |json| {
        json.object(|object| {
            object.put("allowed", chosen.is_some());
            match &chosen {
                Some((_, fitting)) => object.put("reason", fitting.as_str()),
                None => object.put("reason", &check.reason()),
            };
            object.put("failed", &failed).put("choice", chosen.and_then(|((name, _), _)| name.as_ref()));
            let ways = check.ways.iter().filter_map(|(name, failed)| Some((name.as_ref()?, failed)));
            object.with("choices", |json| present::choices(json, ways));
            let refusal = chosen.is_none().then(|| present::refusal(failed, &check.budget, presentation));
            object.put("message", refusal.as_deref()).put("upgradeRequired", check.next_plan.is_some());
            object.put("nextPlan", check.next_plan.as_ref());
            object.put("budget", Worded(&check.budget, presentation)).put("after", Worded(&check.after, presentation));
        });
    });
    json.answer(StatusCode::OK)
}

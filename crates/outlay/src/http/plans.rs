//! Plans: listing them, and changing their limits.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::id::Name;
use outlay_core::ledger::{Command, Outcome};
use outlay_core::money::Usd;
use outlay_core::plan::{Limits, Plan, Plans, RUNS_LIMIT_MAX};

use super::body::{JsonBody, Object, decimal, whole};
use super::json::{Json, Object as Written};
use super::page::Parameters;
use super::problem::{Kind, Problem};
use super::reading::{OfName, unexpected};
use super::users::limit;
use super::{SharedApp, schemas};
use crate::audit::Actor;
use crate::recheck;

/// The highest tier that can be asked for: the plan after it still has one of its own.
pub(super) const TIER_MAX: i64 = u32::MAX as i64 - 10;

/// How long an answer waits for the alerts: long enough for most, so that they are there when it comes.
const RECHECK_WAIT: Duration = Duration::from_secs(2);

/// List plans
#[utoipa::path(get, path = "/v1/plans", tag = "Users",
    operation_id = "listPlans",
    responses((status = 200, description = "All plans in tier order", body = schemas::PlanList),
        schemas::ReadProblems))]
pub(super) async fn list(State(app): State<SharedApp>, parameters: Parameters) -> Result<Response, Problem> {
    parameters.finish()?;
    let plans = app.reads.plans();
    let json = Json::of_object(|object| {
        object.array("items", plans.all(), |json, plan| {
            json.object(|object| write(object, plan, &plans));
        });
        object.put("nextCursor", None::<&str>);
    });
    Ok(json.answer(StatusCode::OK))
}

/// Set a plan
///
/// Lower limits raise the alerts that they make due.
#[utoipa::path(put, path = "/v1/plans/{name}", tag = "Users",
    operation_id = "putPlan",
    params(("name" = inline(schemas::PlanName), Path, description = "The plan's name")),
    request_body(content = schemas::PlanSettings),
    responses((status = 200, description = "The plan was known", body = schemas::Plan),
        (status = 201, description = "The plan is new", body = schemas::Plan),
        (status = 409, description = "The plans stand in the configuration", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn put(
    State(app): State<SharedApp>,
    actor: Actor,
    OfName(name): OfName,
    body: JsonBody,
) -> Result<Response, Problem> {
    let mut fields = body.object()?;
    let limits = fields.required_object("limits", limits);
    let tier = fields.optional("tier", whole(0..=TIER_MAX)).and_then(|tier| u32::try_from(tier).ok());
    let limits = fields.finish(limits)?;
    if app.plans_are_configured {
        return Err(Problem::new(Kind::PlansAreConfigured)
            .detail("The plans stand in the configuration: change them there, and start the server again."));
    }

    let created = app.reads.plans().get(name.as_str()).is_none();
    let plan = change(&app, &actor, name, limits, tier).await?;
    let json = Json::of_object(|object| write(object, &plan, &app.reads.plans()));
    Ok(json.answer(if created { StatusCode::CREATED } else { StatusCode::OK }))
}

/// Sets a plan, and raises what lower limits make due.
pub(super) async fn change(
    app: &SharedApp,
    actor: &Actor,
    name: Name,
    limits: Limits,
    tier: Option<u32>,
) -> Result<Plan, Problem> {
    let plan = match app.writer.submit_as(actor, Command::PutPlan { name, limits, tier }).await? {
        Outcome::Plan { plan, .. } => plan,
        other => return Err(unexpected(&other)),
    };
    // Also when nothing changed now: an earlier change may not have come to its end.
    let rechecked = spawn(recheck::marked_plans(app.writer.clone(), Arc::clone(&app.reads)));
    // It goes on after this, and after the client left.
    let _ = tokio::time::timeout(RECHECK_WAIT, rechecked).await;
    Ok(plan)
}

#[expect(clippy::disallowed_methods, reason = "alerts must be raised also when the client who lowered a limit left")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(work)
}

fn write(object: &mut Written<'_>, plan: &Plan, plans: &Plans) {
    let is_default = plan.name == *plans.default_plan();
    object.put("name", &plan.name).put("tier", plan.tier).put("limits", &plan.limits).put("default", is_default);
    object.array("alertThresholds", plans.thresholds_of(&plan.name).iter(), Json::value);
}

/// Reads a plan's limits. Each meter must be named, so that none is unlimited by being forgotten.
fn limits(fields: &mut Object<'_>) -> Option<Limits> {
    let mut required = |name, read: &dyn Fn(&str) -> Result<i64, String>| {
        if fields.is_missing(name) {
            fields.wrong(name, "is required: a number, or null for unlimited");
        }
        limit(fields, name, read)
    };
    let cost = required("cost", &|raw| decimal(Usd::parse_limit)(raw).map(Usd::picos));
    let ai_runs = required("aiRuns", &whole(0..=RUNS_LIMIT_MAX));
    let api_runs = required("apiRuns", &whole(0..=RUNS_LIMIT_MAX));
    Some(Limits { cost: cost?, ai_runs: ai_runs?, api_runs: api_runs? })
}

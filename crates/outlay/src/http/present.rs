//! What every resource shows in the same form: amounts, limits, budgets, users. Operations, sessions and notices are in
//! files of their own below.

pub(super) mod delivery;
pub(super) mod message;
pub(super) mod notice;
pub(super) mod operation;
pub(super) mod session;

use outlay_core::budget::{Budget, Failed, MeterBudget};
use outlay_core::denial::Reason;
use outlay_core::id::Name;
use outlay_core::money::Usd;
use outlay_core::month::Month;
use outlay_core::plan::{Amounts, Limits, Meter, Overrides, PerMeter};
use outlay_core::user::{User, UserMonth};

use super::Presentation;
use super::json::{Hundredths, Json, Object, ToJson};
use crate::web::format::in_a_sentence;

/// What is said of a meter that allows nothing.
const NOT_IN_PLAN: &str = "Not in your plan";

/// A value in its meter's unit: picodollars are written as USD, runs as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct InUnit(pub(super) Meter, pub(super) i64);

impl ToJson for InUnit {
    fn write_to(self, json: &mut Json) {
        match self.0 {
            Meter::Cost => json.value(Usd::from_picos(self.1)),
            Meter::AiRuns | Meter::ApiRuns => json.value(self.1),
        }
    }
}

/// `{"cost", "aiRuns", "apiRuns"}`
impl ToJson for &Amounts {
    fn write_to(self, json: &mut Json) {
        json.object(|object| {
            for (meter, amount) in self.iter() {
                object.put(meter.as_str(), InUnit(meter, *amount));
            }
        });
    }
}

/// The same; `null` is unlimited.
impl ToJson for &Limits {
    fn write_to(self, json: &mut Json) {
        json.object(|object| {
            for (meter, limit) in self.iter() {
                object.put(meter.as_str(), limit.map(|limit| InUnit(meter, limit)));
            }
        });
    }
}

/// The same, of the meters that do not follow the plan.
impl ToJson for &Overrides {
    fn write_to(self, json: &mut Json) {
        json.object(|object| {
            for (meter, limit) in self.iter() {
                if let Some(limit) = limit {
                    object.put(meter.as_str(), limit.map(|limit| InUnit(meter, limit)));
                }
            }
        });
    }
}

/// The names of the meters.
impl ToJson for &Failed {
    fn write_to(self, json: &mut Json) {
        json.array(self.iter(), Json::value);
    }
}

/// A budget, with the words of the configuration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Worded<'a, T>(pub(super) &'a T, pub(super) &'a Presentation);

impl ToJson for Worded<'_, Budget> {
    fn write_to(self, json: &mut Json) {
        let Self(budget, presentation) = self;
        json.object(|object| {
            object.put("userId", &budget.user_id).put("plan", &budget.plan).put("nextPlan", budget.next_plan.as_ref());
            object.put("upgradeUrl", presentation.upgrade_url.as_deref()).put("unlimited", budget.unlimited());
            object.put("month", budget.month).put("resetsAt", budget.resets_at());
            object.put("state", budget.state().as_str()).put("meters", Worded(&budget.meters, presentation));
        });
    }
}

impl ToJson for Worded<'_, PerMeter<MeterBudget>> {
    fn write_to(self, json: &mut Json) {
        let Self(meters, presentation) = self;
        json.object(|object| {
            for (meter, budget) in meters.iter() {
                object.object(meter.as_str(), |object| {
                    object.put("label", presentation.labels.get(meter).as_str()).put("unit", unit(meter));
                    figures(object, meter, budget);
                    object.put("message", message(meter, budget, presentation).as_deref());
                });
            }
        });
    }
}

/// Used, held, limit and what follows from them.
pub(super) fn figures(object: &mut Object<'_>, meter: Meter, budget: &MeterBudget) {
    let in_unit = |amount| InUnit(meter, amount);
    object.put("used", in_unit(budget.used)).put("held", in_unit(budget.held));
    object.put("limit", budget.limit.map(in_unit)).put("remaining", budget.remaining().map(in_unit));
    object.put("percent", budget.percent_hundredths().map(Hundredths)).put("state", budget.state().as_str());
}

const fn unit(meter: Meter) -> &'static str {
    match meter {
        Meter::Cost => "USD",
        Meter::AiRuns | Meter::ApiRuns => "runs",
    }
}

/// What an end user should know of a meter beside its figures: that it allows nothing, or that few runs are left.
fn message(meter: Meter, budget: &MeterBudget, presentation: &Presentation) -> Option<String> {
    if budget.limit == Some(0) {
        return Some(NOT_IN_PLAN.to_owned());
    }
    let remaining = budget.remaining().filter(|remaining| {
        meter != Meter::Cost && *presentation.few_left.get(meter) > 0 && remaining <= presentation.few_left.get(meter)
    })?;
    Some(runs_left(remaining, presentation.labels.get(meter)))
}

fn runs_left(remaining: i64, label: &str) -> String {
    let mut what = in_a_sentence(label);
    if remaining == 1
        && let Some(one) = what.strip_suffix('s')
    {
        what = one.to_owned();
    }
    if remaining == 0 { format!("No {what} left") } else { format!("Only {remaining} {what} left") }
}

/// Why something does not fit, for an end user: of the first meter that fails.
pub(super) fn refusal(failed: Failed, budget: &Budget, presentation: &Presentation) -> String {
    match what_is_left(failed, budget, presentation) {
        Left::Cost(text) => format!("{text} this month"),
        Left::Runs(text) | Left::Other(text) => text,
    }
}

/// The same of a later month, which a hold reaches into.
pub(super) fn refusal_in(month: Month, failed: Failed, budget: &Budget, presentation: &Presentation) -> String {
    match what_is_left(failed, budget, presentation) {
        Left::Cost(text) | Left::Runs(text) => format!("{text} in {month}, which the hold reaches into"),
        Left::Other(text) => text,
    }
}

/// What is left of a meter, in words to which the month may be added.
enum Left {
    Cost(String),
    Runs(String),
    Other(String),
}

fn what_is_left(failed: Failed, budget: &Budget, presentation: &Presentation) -> Left {
    let meter_budget = failed.iter().next().map(|meter| (meter, budget.meters.get(meter)));
    match meter_budget.map(|(meter, budget)| (meter, budget.limit, budget.remaining())) {
        Some((_, Some(0), _)) => Left::Other(NOT_IN_PLAN.to_owned()),
        Some((Meter::Cost, _, Some(left))) => Left::Cost(format!("Only {} USD left", Usd::from_picos(left))),
        Some((meter, _, Some(left))) => Left::Runs(runs_left(left, presentation.labels.get(meter))),
        Some((_, _, None)) | None => Left::Other("It does not fit".to_owned()),
    }
}

/// Each choice with whether it fits, and into which meters it does not.
pub(super) fn choices<'a>(json: &mut Json, ways: impl IntoIterator<Item = (&'a Name, &'a Failed)>) {
    json.array(ways, |json, (name, failed)| {
        json.object(|object| {
            object.put("name", name).put("allowed", failed.is_empty()).put("failed", failed);
        });
    });
}

/// The text of a reason.
impl ToJson for &Reason {
    fn write_to(self, json: &mut Json) {
        json.value(self.as_str());
    }
}

/// The user document: what the application set, and one month. `user` is absent for one whom nobody has seen.
pub(super) fn user(json: &mut Json, user: Option<&User>, budget: &Budget, month: &UserMonth) {
    let used = &month.used;
    json.object(|object| {
        object.put("userId", &budget.user_id).put("known", user.is_some()).put("plan", &budget.plan);
        object.put("email", user.and_then(|user| user.email.as_deref())).put("limits", &budget.limits());
        object.put("overrides", &user.map(|user| user.overrides).unwrap_or_default());
        object.put("monthlyTotalCost", used.usd());
        object.put("monthlyBillableRuns", used.ai_runs.saturating_add(used.api_runs));
        object.put("monthlyBillableRunsAI", used.ai_runs).put("monthlyBillableRunsAPI", used.api_runs);
        object.put("monthlyUsageMonth", month.month).put("monthlyUsageLastUpdated", month.last_updated_at);
    });
}

/// The user as a line of an export: what was set, so that it can be set again.
pub(super) fn user_settings(object: &mut Object<'_>, user: &User) {
    object.put("userId", &user.user_id).put("plan", user.plan.as_ref()).put("email", user.email.as_deref());
    object.put("overrides", &user.overrides).put("createdAt", user.created_at);
}

#[cfg(test)]
mod tests;

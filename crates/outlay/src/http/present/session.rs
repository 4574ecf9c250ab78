//! Sessions, and intents that did not fit.

use outlay_core::id::UserId;
use outlay_core::ledger::Refused;
use outlay_core::session::{Ask, Session};

use super::super::Presentation;
use super::super::json::{Json, Object, Raw, ToJson};
use super::super::problem::{Kind, Problem};
use super::Worded;

/// The members of a session that come before its steps.
pub(in crate::http) fn head(object: &mut Object<'_>, session: &Session, user_id: Option<&UserId>) {
    object.put("sessionId", &session.session_id).put("userId", user_id).put("feature", &session.feature);
    object.put("status", session.status.as_str()).put("totalCost", session.total_cost);
    object.put("totalRuns", session.total_runs).put("held", &session.held());
    object.put("overdraft", session.shown_overdraft().as_ref());
    object.put("choice", session.hold.as_ref().and_then(|hold| hold.choice.as_ref()));
    object.put("error", session.error.as_ref()).put("budgetExceeded", session.budget_exceeded);
}

/// The members that come after its steps. `whole` is for callers who see everything.
pub(in crate::http) fn tail(object: &mut Object<'_>, session: &Session, whole: bool) {
    object.put("createdAt", session.created_at).put("lastUpdatedAt", session.last_updated_at);
    object.put("completedAt", session.completed_at);
    object.put("holdExpiresAt", session.hold.as_ref().map(|hold| hold.expires_at)).put("stepCount", session.steps);
    if whole {
        if let Some(hold) = &session.hold {
            ask(object, &hold.ask);
            object.object("hold", |object| {
                object.put("total", &hold.total).put("drawn", &hold.drawn);
            });
        }
        object.put("metadata", Raw(session.metadata.as_deref().unwrap_or("{}")));
    }
}

/// A session without its steps.
pub(in crate::http) fn item(object: &mut Object<'_>, session: &Session, user_id: Option<&UserId>, whole: bool) {
    head(object, session, user_id);
    tail(object, session, whole);
}

/// What was asked for: `estimate` or `choices`.
pub(in crate::http) fn ask(object: &mut Object<'_>, ask: &Ask) {
    match ask {
        Ask::Estimate(estimate) => object.put("estimate", estimate),
        Ask::Choices(choices) => object.array("choices", choices.iter(), |json, choice| {
            json.object(|object| {
                object.put("name", &choice.name).put("estimate", &choice.estimate);
            });
        }),
    };
}

/// A refused intent as a 402.
pub(in crate::http) fn refused(refused: &Refused, presentation: &Presentation) -> Problem {
    // The month without room is the one that is shown: asked again before it is over, the answer would be the same.
    let (words, budget) = match &refused.misfit {
        Some((later, failed)) if later.month != refused.budget.month => {
            (super::refusal_in(later.month, *failed, later, presentation), later)
        }
        _ => (super::refusal(refused.failed, &refused.budget, presentation), &refused.budget),
    };
    let ways = refused.choices.iter().map(|(name, failed)| (name, failed));
    let members = [
        ("reason", value(&refused.reason)),
        ("failed", value(&refused.failed)),
        ("choices", Json::with_room(256, |json| super::choices(json, ways))),
        ("budget", value(Worded(budget, presentation))),
        ("upgradeRequired", value(refused.next_plan.is_some())),
        ("nextPlan", value(refused.next_plan.as_ref())),
        ("resetsAt", value(budget.resets_at())),
    ];
    let raw = members.into_iter().filter_map(|(name, json)| Some((name, json.into_raw()?)));
    raw.fold(Problem::new(Kind::DoesNotFit).detail(words), |problem, (name, raw)| problem.with_raw(name, raw))
}

fn value(value: impl ToJson) -> Json {
    Json::with_room(64, |json| json.value(value))
}

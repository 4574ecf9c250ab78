//! Operations: as answers to recording, as items of a list, as steps of a session.

use outlay_core::id::UserId;
use outlay_core::ledger::Recorded;
use outlay_core::operation::{Operation, Tokens};

use super::super::Presentation;
use super::super::json::{Json, Object, Raw, ToJson};
use super::Worded;

/// The answer to a recording; the budget is left out in a batch, and where a minimal answer was asked for.
pub(in crate::http) fn recorded(object: &mut Object<'_>, recorded: &Recorded, presentation: Option<&Presentation>) {
    let operation = &recorded.operation;
    object.put("success", true).put("operationId", &operation.operation_id);
    object.put("recordedIn", operation.recorded_in().as_str()).put("duplicate", recorded.duplicate);
    object.put("cost", operation.cost).put("month", operation.month());
    if let Some((_, original)) = &operation.reverses {
        object.put("reverses", original);
    }
    if let Some(presentation) = presentation {
        object.put("budget", Worded(recorded.budget.as_ref(), presentation));
    }
}

/// An item of a list: the posted fields and what the server added. `whole` is for callers who see everything.
pub(in crate::http) fn item(object: &mut Object<'_>, operation: &Operation, user_id: &UserId, whole: bool) {
    object.put("operationId", &operation.operation_id).put("userId", user_id);
    object.put("usageType", operation.usage_type.as_str()).put("feature", &operation.feature);
    if whole {
        object.put("provider", &operation.provider).put("model", operation.model.as_ref());
    }
    object.put("cost", operation.cost).put("tokens", operation.tokens.as_ref());
    object.with("units", |json| units(json, operation)).put("isBillableRun", operation.is_billable_run);
    object.put("sessionId", operation.session.as_ref().map(|(_, session_id)| session_id));
    object.put("stepLabel", operation.step_label.as_ref()).put("stepNumber", operation.step_number);
    object.put("finishSession", operation.finish_session.map(outlay_core::session::Finish::as_str));
    object.put("durationMs", operation.duration_ms).put("timestamp", operation.timestamp);
    if whole {
        object.put("metadata", metadata(operation));
    }
    object.put("month", operation.month()).put("recordedAt", operation.recorded_at);
    object.put("recordedIn", operation.recorded_in().as_str());
    object.put("reverses", operation.reverses.as_ref().map(|(_, id)| id));
    object.put("reversedBy", operation.reversed_by.as_ref().map(|(_, id)| id));
    if operation.reverses.is_some() {
        object.put("reason", operation.reason.as_ref());
    }
    trimmed(object, operation);
}

/// A step of a session.
pub(in crate::http) fn step(object: &mut Object<'_>, operation: &Operation, whole: bool) {
    object.put("stepNumber", operation.step_number).put("stepLabel", operation.step_label.as_ref());
    object.put("operationId", &operation.operation_id).put("usageType", operation.usage_type.as_str());
    object.put("feature", &operation.feature);
    if whole {
        object.put("provider", &operation.provider).put("model", operation.model.as_ref());
    }
    object.put("cost", operation.cost).put("isBillableRun", operation.is_billable_run);
    object.put("timestamp", operation.timestamp).put("durationMs", operation.duration_ms);
    if whole {
        object.put("metadata", metadata(operation));
    }
    object.put("reversedBy", operation.reversed_by.as_ref().map(|(_, id)| id));
    trimmed(object, operation);
}

/// What is absent of an emptied operation was not absent when it was recorded, or may not have been.
fn trimmed(object: &mut Object<'_>, operation: &Operation) {
    if operation.trimmed {
        object.put("trimmed", true);
    }
}

fn metadata(operation: &Operation) -> Raw<'_> {
    Raw(operation.metadata.as_deref().unwrap_or("{}"))
}

fn units(json: &mut Json, operation: &Operation) {
    match &operation.units {
        Some(units) => json.object(|object| {
            for (name, quantity) in units.iter() {
                object.put(name.as_str(), *quantity);
            }
        }),
        None => json.value(None::<bool>),
    }
}

impl ToJson for &Tokens {
    fn write_to(self, json: &mut Json) {
        json.object(|object| {
            object.put("input", self.input).put("cachedInput", self.cached_input).put("cacheWrite", self.cache_write);
            object.put("output", self.output).put("reasoning", self.reasoning);
        });
    }
}

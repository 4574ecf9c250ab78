//! One example of each route: what stands in its path, its query and its body. They go into the description of the API, so
//! that the page shows them, other tools find them, and a test runs each against a real server.

use serde_json::Value;
use utoipa::Modify;
use utoipa::openapi::path::{Operation, ParameterBuilder, ParameterIn, PathItem};
use utoipa::openapi::{OpenApi, RefOr};

/// What stands for a parameter of a path.
const PARAMETERS: [(&str, &str); 8] = [
    ("userId", "bgtfrdsZ"),
    ("sessionId", "scan_1"),
    ("operationId", "usage_1"),
    ("name", "premium"),
    ("keyId", "key_1"),
    ("webhookId", "webhook_1"),
    ("alertId", "alert_1"),
    ("slug", "does-not-fit"),
];

/// Routes that must not have the same user as the others.
const OTHER_USERS: [(&str, &str); 1] = [("eraseUser", "left_us")];

/// Queries of reading routes.
const QUERIES: [(&str, &str); 8] = [
    ("listUsage", "limit=10"),
    ("getHistory", "months=6"),
    ("listUsers", "sort=cost&limit=10"),
    ("listSessions", "status=completed"),
    ("listAllSessions", "status=in-progress"),
    ("getSessionStats", "days=30"),
    ("listAudit", "action=plan.set&limit=10"),
    ("listDeliveries", "state=failed"),
];

/// Bodies, as they are shown.
const BODIES: [(&str, &str); 13] = [
    (
        "recordUsage",
        r#"{"operationId": "usage_1", "userId": "bgtfrdsZ", "usageType": "AIUsage",
  "feature": "business_card_scan", "provider": "gemini",
  "cost": 0.00010785, "isBillableRun": true}"#,
    ),
    ("reverseOperation", r#"{"reason": "the card was empty"}"#),
    ("putUser", r#"{"plan": "premium"}"#),
    ("putPlan", r#"{"limits": {"cost": 3.00, "aiRuns": 30, "apiRuns": 100}}"#),
    ("afford", r#"{"estimate": {"cost": 0.002, "aiRuns": 1}}"#),
    (
        "openSession",
        r#"{"sessionId": "scan_1", "feature": "business_card_scan", "choices": [
  {"name": "ai-enhanced", "estimate": {"cost": 0.0016, "aiRuns": 1}},
  {"name": "basic", "estimate": {"cost": 0.0015}}]}"#,
    ),
    ("extendSession", r#"{"holdSeconds": 900}"#),
    ("finishSession", r#"{"status": "completed"}"#),
    (
        "recordDenial",
        r#"{"feature": "business_card_scan", "estimate": {"aiRuns": 1},
  "reason": "switched off by an administrator"}"#,
    ),
    ("createUserToken", r#"{"ttlSeconds": 3600, "reads": ["sessions"]}"#),
    (
        "createWebhook",
        r#"{"url": "https://app.example.org/hooks/outlay",
  "events": ["budget.threshold_crossed", "denial.recorded"]}"#,
    ),
    ("redeliver", "{}"),
    ("createKey", r#"{"role": "app", "description": "the web application"}"#),
];

fn of<'a>(table: &[(&str, &'a str)], name: &str) -> Option<&'a str> {
    table.iter().find(|(own, _)| *own == name).map(|(_, value)| *value)
}

/// The body of a route's example, as it is shown.
pub(super) fn body(operation_id: &str) -> Option<&'static str> {
    of(&BODIES, operation_id)
}

/// The path and query of a route's example, without the slash that it begins with.
pub(super) fn address(operation_id: &str, path: &str) -> String {
    let mut address = path.trim_start_matches('/').to_owned();
    for (name, value) in PARAMETERS {
        let value = if name == "userId" { of(&OTHER_USERS, operation_id).unwrap_or(value) } else { value };
        address = address.replace(&format!("{{{name}}}"), value);
    }
    match of(&QUERIES, operation_id) {
        Some(query) => format!("{address}?{query}"),
        None => address,
    }
}

/// Puts the examples into the description.
pub(in crate::http) struct Examples;

impl Modify for Examples {
    fn modify(&self, openapi: &mut OpenApi) {
        for item in openapi.paths.paths.values_mut() {
            let PathItem { get, put, post, delete, .. } = item;
            for operation in [get, put, post, delete].into_iter().flatten() {
                show(operation);
            }
        }
    }
}

fn show(operation: &mut Operation) {
    let operation_id = operation.operation_id.clone().unwrap_or_default();
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        if parameter.parameter_in == ParameterIn::Path {
            let users = of(&OTHER_USERS, &operation_id).filter(|_| parameter.name == "userId");
            let example = users.or_else(|| of(&PARAMETERS, &parameter.name)).map(Value::from);
            *parameter = ParameterBuilder::from(parameter.clone()).example(example).build();
        }
    }
    let example = body(&operation_id).and_then(|body| serde_json::from_str::<Value>(body).ok());
    if let (Some(RefOr::T(body)), Some(example)) = (operation.request_body.as_mut(), example)
        && let Some(RefOr::T(content)) = body.content.get_mut("application/json")
    {
        content.example = Some(example);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_can_be_copied_into_a_shell() {
        for (operation_id, body) in BODIES {
            assert!(!body.contains('\''), "{operation_id}");
            serde_json::from_str::<Value>(body).unwrap_or_else(|error| panic!("{operation_id}: {error}"));
        }
    }
}

//! Rules between the fields of one body, which no field's own type says. `null` is as if a field were absent.

use serde_json::{Value, json};

/// Adds them to the description.
pub(super) fn add(description: &mut Value) {
    let audited = any_of(&absent_or("audit", &json!({ "enum": [false, null] })), &there("feature", "string"));
    let one_ask = json!({ "oneOf": [there("estimate", "object"), there("choices", "array")] });
    let finishing = any_of(&absent_or("finishSession", &json!({ "type": "null" })), &there("sessionId", "string"));
    let no_base64 = absent_or("data_base64", &json!({ "type": "null" }));
    let rules = [
        ("Question", vec![one_ask.clone(), audited]),
        ("NewSession", vec![one_ask]),
        ("NewOperation", vec![finishing.clone()]),
        ("EventData", vec![finishing]),
        ("CloudEvent", vec![no_base64]),
    ];
    for (name, rules) in rules {
        if let Some(schema) = description.pointer_mut("/components/schemas").and_then(|schemas| schemas.get_mut(name)) {
            schema["allOf"] = rules.into();
        }
    }
}

/// A field must be there and no `null`.
fn there(name: &str, kind: &str) -> Value {
    json!({ "required": [name], "properties": { name: { "type": kind } } })
}

/// A field must be absent or this.
fn absent_or(name: &str, what: &Value) -> Value {
    json!({ "properties": { name: what } })
}

fn any_of(one: &Value, other: &Value) -> Value {
    json!({ "anyOf": [one, other] })
}

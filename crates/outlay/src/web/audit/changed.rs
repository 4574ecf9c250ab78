//! What an entry of the audit log says of before and after, field by field, in words.

use maud::{Markup, html};
use outlay_core::money::Usd;
use outlay_core::plan::Meter;
use serde_json::value::RawValue;

use crate::audit::Entry;
use crate::store::outbox::EventKind;
use crate::web::{format, parts, telling};

/// Characters of a value, at most.
const VALUE_CHARACTERS: usize = 96;

/// A field that is another than before, or that something new, or something gone, has.
#[derive(Debug, PartialEq, Eq)]
struct Field {
    name: String,
    before: Option<String>,
    after: Option<String>,
}

/// Draws what an entry says.
pub(super) fn drawn(entry: &Entry) -> Markup {
    html! {
        @for field in fields(entry) {
            " "
            span.change {
                span.muted { (parts::text(&field.name, VALUE_CHARACTERS)) } " "
                @match (&field.before, &field.after) {
                    (Some(before), Some(after)) => { del { (value(before)) } " " span aria-hidden="true" { "→" } span.said { "to" } " " ins { (value(after)) } },
                    (Some(only), None) | (None, Some(only)) => (value(only)),
                    (None, None) => {},
                }
            }
        }
    }
}

fn value(text: &str) -> Markup {
    parts::text(text, VALUE_CHARACTERS)
}

/// The fields of an entry: where something was changed only those that are others now.
fn fields(entry: &Entry) -> Vec<Field> {
    let leaves = |json: &Option<std::sync::Arc<str>>| json.as_deref().map(leaves);
    let (before, after) = (leaves(&entry.before), leaves(&entry.after));
    let changed = before.is_some() && after.is_some();
    let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
    let mut paths: Vec<&Vec<String>> = before.iter().map(|(path, _)| path).collect();
    paths.extend(after.iter().map(|(path, _)| path).filter(|path| !before.iter().any(|(known, _)| known == *path)));
    let mut fields = Vec::new();
    for path in paths {
        let side = |leaves: &[(Vec<String>, String)]| {
            let raw = leaves.iter().find(|(of, _)| of == path).map(|(_, raw)| raw.as_str());
            raw.map(|raw| said(path, raw)).or_else(|| changed.then(|| absent(path, &entry.action)))
        };
        let field = Field { name: name(path), before: side(&before), after: side(&after) };
        if field.before != field.after {
            fields.push(field);
        }
    }
    fields.sort_by_key(|field| rank(&field.name));
    // An address that gave way to another one: which they are is not kept.
    if let Some(field) = fields.iter_mut().find(|field| field.name == OTHER_EMAIL) {
        *field = Field {
            name: "E-mail address".to_owned(),
            before: Some("one".to_owned()),
            after: Some("another".to_owned()),
        };
    }
    fields
}

const OTHER_EMAIL: &str = "otherEmail";

/// The values of an object and of those in it, each with its path, and as it is written: digits of money stay as they are.
fn leaves(json: &str) -> Vec<(Vec<String>, String)> {
    fn walk(path: &[String], json: &str, found: &mut Vec<(Vec<String>, String)>) {
        let inner: Option<Vec<(String, String)>> = members(json);
        match inner {
            Some(members) => {
                for (name, value) in members {
                    walk(&[path, &[name]].concat(), &value, found);
                }
            }
            None => found.push((path.to_vec(), json.to_owned())),
        }
    }
    let mut found = Vec::new();
    walk(&[], json, &mut found);
    found
}

/// The members of a JSON object; none where it is none.
fn members(json: &str) -> Option<Vec<(String, String)>> {
    let members: std::collections::BTreeMap<String, &RawValue> = serde_json::from_str(json).ok()?;
    Some(members.into_iter().map(|(name, value)| (name, value.get().to_owned())).collect())
}

fn meter(name: &str) -> Option<Meter> {
    Meter::ALL.into_iter().find(|meter| meter.as_str() == name)
}

/// Where a field stands: what matters most comes first, of plans in the order of their names.
fn rank(name: &str) -> usize {
    let order = ["Plan", "Role", "Cost limit", "AI runs limit", "API runs limit"];
    order.iter().position(|known| name.rsplit(": ").next() == Some(known)).unwrap_or(order.len())
}

/// What a field is called; one of a later version as it is.
fn name(path: &[String]) -> String {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let known = match parts.as_slice() {
        ["plan"] => "Plan",
        ["email"] => "E-mail address",
        ["tier"] => "Tier",
        ["default"] => "Default plan",
        ["role"] => "Role",
        ["expiresAt"] => "Ends",
        ["events"] => "Is told of",
        ["secret"] => "Secret",
        ["times"] => "Times",
        ["deliveries"] => "Messages",
        ["deliveryId"] => "Message",
        ["erased"] => "Erased again",
        ["tag"] => "Tag",
        ["limits", of] => return limit_name(of),
        ["plans", plan, "limits", of] => return format!("{plan}: {}", limit_name(of)),
        ["plans", plan, field] => return format!("{plan}: {field}"),
        other => return other.join("."),
    };
    known.to_owned()
}

fn limit_name(of: &str) -> String {
    meter(of).map_or_else(|| of.to_owned(), |meter| format!("{} limit", format::meter(meter)))
}

/// A value in words.
fn said(path: &[String], raw: &str) -> String {
    let parts: Vec<&str> = path.iter().map(String::as_str).collect();
    let text: Option<String> = serde_json::from_str(raw).ok();
    match (parts.as_slice(), raw) {
        (["plan"], "null") => "the default".to_owned(),
        (["email"], "true") => "known".to_owned(),
        (["email"], "false") => "none".to_owned(),
        (["expiresAt"], "null") => "never".to_owned(),
        (["events"], _) => {
            let names = text.unwrap_or_default();
            let words = names.split(' ').map(|name| EventKind::parse(name).map_or(name, |kind| telling::event(kind)));
            words.collect::<Vec<_>>().join(", ")
        }
        ([.., "limits", _], "null") => "unlimited".to_owned(),
        ([.., "limits", "cost"], _) => {
            Usd::parse_limit(raw).map_or_else(|_| raw.to_owned(), |limit| in_cents(format::usd_exact(limit.into())))
        }
        ([.., "limits", _], _) => raw.parse().map_or_else(|_| raw.to_owned(), format::count),
        _ => text.unwrap_or_else(|| raw.to_owned()),
    }
}

/// With two decimals at least.
fn in_cents(text: String) -> String {
    match text.split_once('.').map_or(0, |(_, decimals)| decimals.len()) {
        0 => format!("{text}.00"),
        1 => format!("{text}0"),
        _ => text,
    }
}

/// What a field says that is not there.
fn absent(path: &[String], action: &str) -> String {
    let follows_plan = action == "user.set" && path.first().is_some_and(|first| first == "limits");
    if follows_plan { "as the plan" } else { "none" }.to_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use outlay_core::month::Timestamp;

    use super::*;
    use crate::audit::Actor;

    fn entry(action: &str, before: Option<&str>, after: Option<&str>) -> Entry {
        Entry {
            no: 1,
            at: Timestamp::EPOCH,
            actor: Actor::here("open"),
            action: Arc::from(action),
            subject: None,
            user_no: None,
            before: before.map(Arc::from),
            after: after.map(Arc::from),
        }
    }

    fn lines(action: &str, before: Option<&str>, after: Option<&str>) -> Vec<String> {
        let told = |field: Field| match (field.before, field.after) {
            (Some(before), Some(after)) => format!("{}: {before} > {after}", field.name),
            (before, after) => format!("{}: {}", field.name, before.or(after).unwrap()),
        };
        fields(&entry(action, before, after)).into_iter().map(told).collect()
    }

    #[test]
    fn of_a_change_only_what_is_another_is_shown() {
        let before = r#"{"plan":"pro","limits":{"cost":0.5,"aiRuns":null},"email":true}"#;
        let after =
            r#"{"plan":"pro","limits":{"cost":1234.000000000001,"apiRuns":1000},"email":true,"otherEmail":true}"#;
        let expected = [
            "Cost limit: $0.50 > $1234.000000000001",
            "AI runs limit: unlimited > as the plan",
            "API runs limit: as the plan > 1,000",
            "E-mail address: one > another",
        ];
        assert_eq!(lines("user.set", Some(before), Some(after)), expected);
        let of_none = r#"{"plan":null,"limits":{},"email":false}"#;
        let all = ["Plan: pro > the default", "E-mail address: known > none"];
        let set = lines("user.set", Some(r#"{"plan":"pro","limits":{},"email":true}"#), Some(of_none));
        assert_eq!(set, all);
    }

    #[test]
    fn of_something_new_or_gone_all_is_shown() {
        let key = r#"{"role":"app","expiresAt":null}"#;
        assert_eq!(lines("key.created", None, Some(key)), ["Role: app", "Ends: never"]);
        assert_eq!(lines("key.revoked", Some(key), None), ["Role: app", "Ends: never"]);
        let plan = r#"{"tier":20,"limits":{"cost":1.50,"aiRuns":0,"apiRuns":null}}"#;
        let expected = ["Cost limit: $1.50", "AI runs limit: 0", "API runs limit: unlimited", "Tier: 20"];
        assert_eq!(lines("plan.set", None, Some(plan)), expected);
        let events = r#"{"events":"budget.threshold_crossed of.a.later.version"}"#;
        assert_eq!(lines("webhook.created", None, Some(events)), ["Is told of: alerts, of.a.later.version"]);
    }

    #[test]
    fn plans_of_the_configuration_are_told_one_by_one() {
        let before = r#"{"default":"base","plans":{"pro":{"tier":20,"limits":{"cost":1.5}}}}"#;
        let after = r#"{"default":"pro","plans":{"pro":{"tier":20,"limits":{"cost":2}},"x":{"tier":1,"limits":{}}}}"#;
        let expected = ["pro: Cost limit: $1.50 > $2.00", "Default plan: base > pro", "x: tier: none > 1"];
        assert_eq!(lines("plans.configured", Some(before), Some(after)), expected);
    }

    #[test]
    fn what_nobody_knows_is_shown_as_it_is() {
        assert_eq!(lines("of.later", None, Some(r#"{"a":{"b":[1,2]},"c":"x"}"#)), ["a.b: [1,2]", "c: x"]);
        assert_eq!(lines("of.later", None, Some("no json")), [": no json"]);
        assert_eq!(lines("of.later", None, None), Vec::<String>::new());
    }
}

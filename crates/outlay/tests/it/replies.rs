//! Every route's replies, word for word: what changes here changes for every client, so it is looked at before it is kept
//! (`INSTA_UPDATE=always cargo test`, or `cargo insta review`).

use std::fmt::Write;

use serde_json::{Value, json};

use crate::support::{Asks, Server};

/// What was asked and answered, as one text.
struct Transcript<'a> {
    server: &'a Server,
    text: String,
}

impl Transcript<'_> {
    fn ask(&mut self, method: &str, path: &str, body: &Value) {
        self.ask_with(&[("content-type", "application/json")], method, path, body);
    }

    fn ask_with(&mut self, headers: &[(&str, &str)], method: &str, path: &str, body: &Value) {
        let sent = if body.is_null() { String::new() } else { body.to_string() };
        let headers = if body.is_null() { &[] } else { headers };
        let reply = self.server.send(method, path, headers, sent.as_bytes());
        writeln!(self.text, "{method} {path} {sent}").unwrap();
        let kind = reply.header("content-type").unwrap_or("no content");
        writeln!(self.text, "{} {kind}", reply.status).unwrap();
        for name in ["retry-after", "location", "etag", "allow", "preference-applied", "cache-control"] {
            if let Some(value) = reply.header(name) {
                writeln!(self.text, "{name}: {value}").unwrap();
            }
        }
        // One member to a line: a change is then seen where it is.
        writeln!(self.text, "{}\n", reply.text().replace(",\"", ",\n  \"").replace(":[{", ":[\n{")).unwrap();
    }

    fn get(&mut self, path: &str) {
        self.ask("GET", path, &Value::Null);
    }

    fn post(&mut self, path: &str, body: &Value) {
        self.ask("POST", path, body);
    }

    fn is_kept_as(&mut self, name: &str) {
        let mut settings = insta::Settings::clone_current();
        settings.set_snapshot_path("replies");
        settings.set_prepend_module_to_snapshot(false);
        settings.set_omit_expression(true);
        settings.add_filter("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", "[uuid]");
        settings.add_filter(r"(denial|alert|reversal)_[0-9a-f]{8}_", "${1}_[store]_");
        settings.add_filter("webhook_[A-Za-z0-9]{16}", "[webhook id]");
        settings.add_filter("whsec_[A-Za-z0-9+/=]{44}", "[secret]");
        settings.add_filter("key_[A-Za-z0-9]{16}", "[key id]");
        settings.add_filter(r"v4\.public\.[A-Za-z0-9_.-]+", "[token]");
        settings.add_filter(r#""key":"[^"]+""#, r#""key":"[key]""#);
        settings.add_filter(r#""last4":"[^"]+""#, r#""last4":"[last4]""#);
        settings.add_filter(r#""tag":"[0-9]+""#, r#""tag":"[tag]""#);
        settings.add_filter(r#""nextCursor":"[^"]+""#, r#""nextCursor":"[cursor]""#);
        settings.bind(|| insta::assert_snapshot!(name, std::mem::take(&mut self.text)));
    }
}

#[test]
fn every_reply_is_as_it_was() {
    let server = Server::at("2025-10-13T15:52:56Z");
    let mut script = Transcript { server: &server, text: String::new() };

    script.ask("PUT", "/v1/users/bgtfrdsZ", &json!({"plan": "premium", "email": "b@example.org"}));
    script.ask("PUT", "/v1/users/bgtfrdsZ", &json!({"plan": "premium", "limits": {"cost": 2.5, "apiRuns": null}}));
    script.ask("PUT", "/v1/users/bgtfrdsZ", &json!({"plan": "gold"}));
    script.ask("PUT", "/v1/users/bgtfrdsZ", &json!({"plan": 7, "limits": {"cost": -1}, "more": true}));
    script.get("/v1/users/bgtfrdsZ");
    script.get("/v1/users/nobody");
    script.get("/v1/plans");
    script.ask("PUT", "/v1/plans/base", &json!({"limits": {"cost": 0.01, "aiRuns": 2, "apiRuns": null}}));
    script.is_kept_as("users");

    let hold = json!({"sessionId": "s1", "feature": "scan", "estimate": {"cost": 0.5, "aiRuns": 1}});
    script.post("/v1/users/bgtfrdsZ/sessions", &hold);
    script.post("/v1/users/bgtfrdsZ/sessions", &hold);
    script.post("/v1/users/bgtfrdsZ/sessions", &json!({"sessionId": "s1", "feature": "other"}));
    let choices = json!([{"name": "enhanced", "estimate": {"cost": 9}}, {"name": "basic", "estimate": {"cost": 0.1}}]);
    script
        .post("/v1/users/bgtfrdsZ/sessions", &json!({"sessionId": "s2", "feature": "enrichment", "choices": choices}));
    script.post(
        "/v1/users/bgtfrdsZ/sessions",
        &json!({"sessionId": "s3", "feature": "scan", "estimate": {"cost": 5, "aiRuns": 40}}),
    );
    script.post("/v1/users/bgtfrdsZ/sessions/s1/extend", &json!({"holdSeconds": 1200}));
    script.post("/v1/users/bgtfrdsZ/sessions/s9/extend", &json!({"holdSeconds": 1200}));
    script.get("/v1/users/bgtfrdsZ/budget");
    script.is_kept_as("opening");

    let step = json!({"operationId": "o1", "userId": "bgtfrdsZ", "sessionId": "s1", "feature": "scan",
        "provider": "gemini", "model": "flash", "cost": "0.00010785", "isBillableRun": true, "durationMs": 812,
        "tokens": {"input": 900, "cachedInput": 100, "output": 55}, "units": {"pages": 2},
        "stepLabel": "extract", "stepNumber": 1, "metadata": {"file": "card.png"}});
    script.post("/v1/usage", &step);
    script.post("/v1/usage", &step);
    let minimal = [("content-type", "application/json"), ("prefer", "return=minimal")];
    let plain = json!({"operationId": "o2", "userId": "bgtfrdsZ", "feature": "scan", "usageType": "ApiUsage",
        "provider": "vision", "cost": 2.1, "isBillableRun": true});
    script.ask_with(&minimal, "POST", "/v1/usage", &plain);
    script.post("/v1/usage", &json!({"operationId": "o2", "userId": "bgtfrdsZ", "feature": "scan", "cost": 1}));
    script.post("/v1/usage", &json!([step, {"operationId": "o3", "userId": "u2", "feature": "scan", "provider": "gemini", "cost": 0.25}, {"userId": "u2", "cost": -1}]));
    let event = json!({"specversion": "1.0", "type": "outlay.usage", "source": "app", "id": "e1",
        "subject": "bgtfrdsZ", "time": "2025-09-30T23:59:59Z",
        "data": {"feature": "scan", "provider": "gemini", "cost": 0.01}});
    script.ask_with(&[("content-type", "application/cloudevents+json")], "POST", "/v1/usage", &event);
    script.post("/v1/usage", &json!({"userId": "", "feature": 1, "cost": "1e3", "tokens": {"input": -1}, "extra": 0}));
    script.post("/v1/users/bgtfrdsZ/usage/o2/reverse", &json!({"operationId": "r2", "reason": "refund"}));
    script.post("/v1/users/bgtfrdsZ/usage/r2/reverse", &json!({}));
    script.post("/v1/users/bgtfrdsZ/usage/none/reverse", &json!({}));
    script.post("/v1/users/bgtfrdsZ/sessions/s1/finish", &json!({"status": "completed"}));
    script.post("/v1/users/bgtfrdsZ/sessions/s1/finish", &json!({"status": "failed", "error": "timeout"}));
    script.post("/v1/users/bgtfrdsZ/sessions/s1/extend", &json!({"holdSeconds": 60}));
    script.is_kept_as("recording");

    script.post("/v1/users/bgtfrdsZ/afford", &json!({"estimate": {"cost": 0.1, "aiRuns": 1}}));
    script.post("/v1/users/bgtfrdsZ/afford", &json!({"choices": choices}));
    script.post("/v1/users/u2/afford", &json!({"estimate": {"cost": 1}, "feature": "scan", "audit": true}));
    script.post("/v1/users/u2/denials", &json!({"feature": "scan", "estimate": {"cost": 1}, "reason": "not today"}));
    script.post("/v1/users/u2/afford", &json!({"estimate": {"cost": 1}, "choices": choices}));
    script.is_kept_as("affording");

    for list in
        ["usage", "usage?limit=1", "usage?month=2025-09", "usage?sessionId=s1", "usage?limit=0", "sessions", "denials"]
    {
        script.get(&format!("/v1/users/bgtfrdsZ/{list}"));
    }
    script.get("/v1/users/bgtfrdsZ/sessions/s1");
    script.get("/v1/users/bgtfrdsZ/sessions/none");
    script.get("/v1/users/bgtfrdsZ/history?months=2");
    script.get("/v1/users/bgtfrdsZ/forecast");
    script.get("/v1/users/nobody/forecast");
    script.get("/v1/users/bgtfrdsZ/forecast?month=2025-10");
    script.get("/v1/users/bgtfrdsZ/budget?month=2025-09");
    script.get("/v1/users/bgtfrdsZ/budget?month=13");
    script.get("/v1/users/bgtfrdsZ/export");
    script.is_kept_as("reading");

    for path in [
        "overview",
        "users",
        "users?sort=-percent&limit=1",
        "users?state=ok&q=b",
        "sessions",
        "sessions/stats",
        "alerts",
        "denials",
    ] {
        script.get(&format!("/v1/{path}"));
    }
    script.post("/v1/verify", &json!({}));
    script.ask("DELETE", "/v1/users/u2", &Value::Null);
    script.get("/v1/users/u2");
    script.is_kept_as("operating");

    script.post("/v1/keys", &json!({"role": "viewer", "description": "the office"}));
    script.get("/v1/keys");
    script.post("/v1/keys", &json!({"role": "boss"}));
    script.ask("DELETE", "/v1/keys/none", &Value::Null);
    script.post("/v1/users/bgtfrdsZ/tokens", &json!({"ttlSeconds": 600, "reads": ["usage"]}));
    script.post("/v1/users/bgtfrdsZ/tokens", &json!({"ttlSeconds": 1, "reads": ["all"]}));
    script.ask("DELETE", "/v1/users/bgtfrdsZ/tokens", &Value::Null);
    for path in ["/v1/audit?limit=6", "/healthz", "/readyz", "/problems/does-not-fit", "/problems/none", "/nowhere"] {
        script.get(path);
    }
    script.ask("PATCH", "/v1/usage", &json!({}));
    script.ask_with(&[("content-type", "text/plain")], "POST", "/v1/usage", &json!({}));
    script.is_kept_as("surroundings");
}

#[test]
fn every_reply_about_webhooks_is_as_it_was() {
    let server = Server::at("2025-10-13T15:52:56Z");
    let mut script = Transcript { server: &server, text: String::new() };
    script.get("/v1/webhooks");
    script.post("/v1/webhooks", &json!({"url": "http://127.0.0.1/", "events": ["all"], "more": 1}));
    script.post("/v1/webhooks", &json!({"url": "https://app.example.org/hook", "description": "the shop"}));
    script.get("/v1/webhooks");
    for (method, rest) in
        [("GET", "deliveries"), ("POST", "rotate"), ("POST", "test"), ("POST", "redeliver"), ("DELETE", "")]
    {
        let path = format!("/v1/webhooks/none/{rest}");
        script.ask(method, path.trim_end_matches('/'), &Value::Null);
    }
    script.post("/v1/alerts/none/redeliver", &json!({}));
    script.is_kept_as("telling");
}

#[test]
fn the_description_is_as_it_was() {
    let server = Server::open();
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path("replies");
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let described: Value = serde_json::from_str(&server.get("/openapi.json").text()).unwrap();
    settings.bind(|| insta::assert_snapshot!("openapi", serde_json::to_string_pretty(&described).unwrap()));
}

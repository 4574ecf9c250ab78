//! What surrounds the resources: health, metrics, the description of the interface, problem pages, form of the answers.

use serde_json::json;

use crate::support::{Asks, Json, Server, With, ai, of};

#[test]
fn health_readiness_and_metrics_answer() {
    let server = Server::open();
    server.get("/healthz").is_text(200);
    let ready = server.get("/readyz");
    ready.is_text(200);
    assert!(!ready.text().is_empty());
    server.record(ai("u", 0.5));
    let metrics = server.get("/metrics");
    assert_eq!(metrics.status, 200);
    let text = metrics.text();
    assert!(text.lines().any(|line| line.starts_with("outlay_")), "{text}");
    assert!(text.lines().any(|line| line.starts_with("# TYPE outlay_")), "{text}");
    assert!(!text.contains("\"u\""), "metrics are never labelled by user: {text}");
}

#[test]
fn the_first_page_says_what_runs_here() {
    let server = Server::open();
    let page = server.get("/");
    assert_eq!(page.status, 200);
    assert!(page.header("content-type").unwrap_or_default().starts_with("text/html"));
    assert!(page.text().contains("Outlay"), "{}", page.text());
}

#[test]
fn the_description_names_every_route() {
    let server = Server::open();
    let described = server.get("/openapi.json").is(200);
    assert!(described.text("/openapi").starts_with("3."));
    let Json::Object(paths) = described.at("/paths") else { panic!("{described}") };
    let nameless = |path: &str| -> String {
        path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
    };
    let routes = [
        ("/v1/usage", "post"),
        ("/v1/users/{}/usage", "get"),
        ("/v1/users/{}/usage/{}/reverse", "post"),
        ("/v1/users/{}", "get"),
        ("/v1/users/{}", "put"),
        ("/v1/users/{}", "delete"),
        ("/v1/users/{}/budget", "get"),
        ("/v1/users/{}/afford", "post"),
        ("/v1/users/{}/sessions", "post"),
        ("/v1/users/{}/sessions", "get"),
        ("/v1/users/{}/sessions/{}", "get"),
        ("/v1/users/{}/sessions/{}/finish", "post"),
        ("/v1/users/{}/sessions/{}/extend", "post"),
        ("/v1/users/{}/history", "get"),
        ("/v1/users/{}/forecast", "get"),
        ("/v1/users/{}/events", "get"),
        ("/v1/events", "get"),
        ("/card.js", "get"),
        ("/v1/users/{}/denials", "get"),
        ("/v1/users/{}/denials", "post"),
        ("/v1/users/{}/export", "get"),
        ("/v1/users/{}/tokens", "post"),
        ("/v1/users/{}/tokens", "delete"),
        ("/v1/audit", "get"),
        ("/v1/plans", "get"),
        ("/v1/plans/{}", "put"),
        ("/v1/overview", "get"),
        ("/v1/users", "get"),
        ("/v1/sessions", "get"),
        ("/v1/sessions/stats", "get"),
        ("/v1/alerts", "get"),
        ("/v1/denials", "get"),
        ("/v1/keys", "get"),
        ("/v1/keys", "post"),
        ("/v1/keys/{}", "delete"),
        ("/v1/verify", "post"),
        ("/v1/backup", "get"),
    ];
    for (path, method) in routes {
        let found = paths.iter().find(|(name, _)| nameless(name) == path);
        let (_, operations) = found.unwrap_or_else(|| panic!("{path} is not described"));
        assert!(operations.get(&format!("/{method}")).is_some(), "{method} {path} is not described");
    }
}

#[test]
fn every_kind_of_problem_has_a_page() {
    let server = Server::open();
    server.user("u", "premium");
    server.record(ai("u", 0.5).with("operationId", "o"));
    let problems = [
        server.post("/v1/usage", "{").is(400),
        server.post("/v1/usage", ai("u", -1.0)).is(400),
        server.open_session("u", "s", json!({"cost": 100})).is(402),
        server.get(&of("u", "/sessions/none")).is(404),
        server.get("/v1/nothing-here").is(404),
        server.post("/v1/usage", ai("u", 0.75).with("operationId", "o")).is(409),
        server.post("/v1/usage", ("text/plain", ai("u", 1.0))).is(415),
        server.put(&of("u", ""), json!({"plan": "none"})).is(422),
        server.send("PATCH", &of("u", ""), &[], b"").is(405),
    ];
    for problem in problems {
        let kind = problem.text("/type");
        let slug = kind.rsplit('/').next().unwrap();
        assert!(!slug.is_empty() && slug.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{kind}");
        let page = server.get(&format!("/problems/{slug}"));
        assert_eq!(page.status, 200, "{kind}");
        assert!(page.text().len() > 100, "{kind}: {}", page.text());
    }
    assert_eq!(server.get("/problems/outcome-unknown").status, 200);
    server.get("/problems/no-such-problem").is(404);
}

#[test]
fn answers_carry_their_length_and_are_compact() {
    let server = Server::open();
    server.user("u", "premium");
    server.record(ai("u", 0.5));
    for path in ["/budget", "", "/usage", "/history", "/sessions"] {
        let reply = server.get(&of("u", path));
        assert_eq!(reply.header("content-length").unwrap(), reply.body.len().to_string(), "{path}");
        assert!(reply.header("content-type").unwrap().starts_with("application/json"), "{path}");
        let text = reply.text();
        assert!(!text.contains('\n') && !text.contains("\": ") && !text.contains(", \""), "{text}");
    }
}

//! History, denials and the operator's views; export, erasure beside a load.

use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{Asks, Json, Server, With, ai, ai_run, api, api_run, at_once, of, raised_at_end};

/// The months of a history, whether they are the answer itself or a member of it.
fn months(history: &Json) -> Vec<Json> {
    let members = match history {
        Json::List(items) => return items.clone(),
        Json::Object(members) => members,
        other => panic!("{other}"),
    };
    members.values().find_map(|value| if let Json::List(items) = value { Some(items.clone()) } else { None }).unwrap()
}

/// The entry of a breakdown for one name, whether the breakdown is an object of names or a list that holds them.
#[cfg(feature = "test-clock")]
#[track_caller]
fn entry<'a>(month: &'a Json, breakdown: &str, name: &str) -> &'a Json {
    match month.at(breakdown) {
        Json::List(items) => {
            items.iter().find(|item| item.has_text(name)).unwrap_or_else(|| panic!("no {name} in {month}"))
        }
        object => object.at(&format!("/{name}")),
    }
}

#[test]
fn history_has_a_row_for_every_month_oldest_first() {
    let server = Server::open();
    server.user("u", "premium");
    for count in [1, 6, 36] {
        let history = server.get(&of("u", &format!("/history?months={count}"))).is(200);
        let rows = months(&history);
        assert_eq!(rows.len(), count);
        let names: Vec<&str> = rows.iter().map(|row| row.text("/month")).collect();
        assert!(names.is_sorted(), "{names:?}");
        assert_eq!(names.last().copied().unwrap(), server.budget("u").text("/month"));
    }
    assert_eq!(months(&server.get(&of("u", "/history")).is(200)).len(), 6);
    for count in ["0", "37", "x"] {
        server.get(&of("u", &format!("/history?months={count}"))).is(400);
    }
}

#[test]
#[cfg(feature = "test-clock")]
fn history_shows_gaps_as_zeros_and_breaks_each_month_down() {
    let server = Server::at("2025-12-15T12:00:00Z");
    let scan = |user: &str, cost: f64| {
        ai_run(user, cost).with("feature", "scan").with("provider", "gemini").with("model", "flash")
    };
    server.record(json!([
        scan("u", 0.5).with("timestamp", "2025-10-03T23:59:59Z"),
        scan("u", 0.25).with("timestamp", "2025-10-04T00:00:00Z").with("operationId", "o"),
        api("u", 0.125).with("feature", "maps").with("provider", "google").with("timestamp", "2025-10-04T10:00:00Z"),
        api_run("u", 1.0).with("feature", "maps").with("timestamp", "2025-12-01T00:00:00Z"),
    ]));
    let history = server.get(&of("u", "/history?months=4")).is(200);
    let rows = months(&history);
    let names: Vec<&str> = rows.iter().map(|row| row.text("/month")).collect();
    assert_eq!(names, ["2025-09", "2025-10", "2025-11", "2025-12"]);
    let october = &rows[1];
    assert!(october.has_number("0.875"), "{october}");
    assert!(!rows[0].any(&|value| *value == Json::Number("0.5".to_owned())), "{history}");
    let by_scan = entry(october, "/byFeature", "scan");
    by_scan.shows("/cost", "0.75").shows("/operations", "2").shows("/billableRuns", "2");
    by_scan.shows("/costPerOperation", "0.375").shows("/costPerRun", "0.375");
    let by_maps = entry(october, "/byFeature", "maps");
    by_maps.shows("/cost", "0.125").shows("/operations", "1").shows("/billableRuns", "0").shows("/costPerRun", "null");
    entry(october, "/byProvider", "gemini").shows("/cost", "0.75");
    entry(october, "/byProvider", "google").shows("/cost", "0.125");
    entry(october, "/byModel", "flash").shows("/cost", "0.75");
    let days = october.at("/days");
    for cost in ["0.5", "0.375"] {
        assert!(days.has_number(cost), "{days}");
    }
    // A reversal counts no operation, and minus the original's cost and run.
    server.reverse("u", "o").is(200);
    let rows = months(&server.get(&of("u", "/history?months=4")).is(200));
    let by_scan = entry(&rows[1], "/byFeature", "scan");
    by_scan.shows("/cost", "0.5").shows("/operations", "2").shows("/billableRuns", "1").shows("/costPerRun", "0.5");
}

#[test]
fn a_denial_of_the_application_is_kept_as_it_was_reported() {
    let server = Server::open();
    server.user("u", "premium");
    let body = json!({"feature": "scan", "estimate": {"cost": 0.5, "aiRuns": 2}, "reason": "too many today", "sessionId": "s"});
    let made = server.post(&of("u", "/denials"), body).is(201);
    made.shows("/userId", "u").shows("/feature", "scan").shows("/reason", "too many today").shows("/sessionId", "s");
    made.amounts("/estimate", "0.5", "2", "0").shows("/times", "1").shows("/source", "application");
    made.amounts("/limits", "3", "30", "100");
    assert!(!made.text("/denialId").is_empty());
    made.text("/recordedAt").parse::<jiff::Timestamp>().unwrap();
    assert_eq!(server.all(&of("u", "/denials")), std::slice::from_ref(&made));
    let everybodys = server.all("/v1/denials");
    assert_eq!(everybodys.len(), 1);
    everybodys[0].shows("/denialId", made.text("/denialId"));
    server.post(&of("u", "/denials"), json!({"estimate": {"cost": 1}, "reason": "r"})).refuses("/feature");
    server.post(&of("u", "/denials"), json!({"feature": "f", "reason": "r"})).is(400);
    server.budget("u").meter("cost", "0", "0");
}

#[test]
fn the_overview_is_one_snapshot_of_a_month() {
    let server = Server::open();
    server.user("u", "premium");
    server.user("v", "premium");
    server.record(json!([
        ai_run("u", 0.5).with("feature", "scan").with("provider", "gemini").with("model", "flash"),
        api_run("u", 0.25).with("feature", "maps"),
        api("v", 0.125).with("feature", "maps"),
    ]));
    server.open_session("v", "s", json!({"cost": 0.0625})).is(201);
    let overview = server.get("/v1/overview").is(200);
    overview.text("/asOf").parse::<jiff::Timestamp>().unwrap();
    // AI, API, both, and what is held now.
    for number in ["0.5", "0.375", "0.875", "0.0625"] {
        assert!(overview.has_number(number), "{number} in {overview}");
    }
    for name in ["scan", "maps", "gemini", "flash", "u", "v"] {
        let named = overview.has_text(name)
            || overview.any(&|value| matches!(value, Json::Object(members) if members.contains_key(name)));
        assert!(named, "{name} in {overview}");
    }
    server.record(ai("w", 7.0).with("timestamp", "2025-10-10T00:00:00Z"));
    let october = server.get("/v1/overview?month=2025-10").is(200);
    assert!(october.has_number("7") && !october.has_number("0.875"), "{october}");
    server.get("/v1/overview?month=x").is(400);
}

#[test]
fn users_are_listed_in_the_asked_order() {
    let server = Server::open();
    for (user, plan, cost, runs) in
        [("anna", "premium", 1.0, 3), ("bert", "pro", 1.4, 0), ("anton", "business", 2.0, 1)]
    {
        server.user(user, plan);
        server.record(api(user, cost));
        for _ in 0..runs {
            server.record(ai_run(user, 0.0));
        }
    }
    let ids = |query: &str| -> Vec<String> {
        let items: Vec<Json> = server.all(&format!("/v1/users?{query}"));
        items.iter().map(|item| item.text("/userId").to_owned()).collect()
    };
    assert_eq!(ids("sort=cost&order=desc"), ["anton", "bert", "anna"]);
    assert_eq!(ids("sort=cost&order=asc"), ["anna", "bert", "anton"]);
    assert_eq!(ids("sort=cost&order=desc&limit=1"), ["anton", "bert", "anna"]);
    // A limit of 0 counts as nothing in the worst percent, or as all: so only those with real limits are compared here.
    assert_eq!(ids("sort=percent&order=desc&plan=premium"), ["anna"]);
    assert_eq!(ids("sort=aiRuns&order=desc"), ["anna", "anton", "bert"]);
    assert_eq!(ids("sort=userId&order=asc"), ["anna", "anton", "bert"]);
    assert_eq!(ids("sort=userId&order=desc"), ["bert", "anton", "anna"]);
    assert_eq!(ids("sort=lastSeen&order=desc"), ["anton", "bert", "anna"]);
    assert_eq!(ids("q=an&sort=userId&order=asc"), ["anna", "anton"]);
    assert_eq!(ids("q=AN"), [""; 0]);
    assert_eq!(ids("plan=pro"), ["bert"]);
    assert_eq!(ids("state=ok&plan=business"), ["anton"]);
    assert_eq!(ids("state=warning&plan=premium"), [""; 0]);
    for query in ["sort=beauty", "order=up", "state=fine", "limit=0", "cursor=x", "month=2025"] {
        server.get(&format!("/v1/users?{query}")).is(400);
    }
}

#[test]
fn the_users_cursor_goes_on_after_the_last_key_and_user() {
    let server = Server::open();
    // Ten with the same cost: a page must neither skip nor repeat among equals.
    server.record(Value::Array((0..10).map(|n| api(&format!("same_{n}"), 1.0)).collect()));
    server.record(Value::Array((0..10).map(|n| api(&format!("other_{n}"), f64::from(n) + 2.0)).collect()));
    for sort in ["cost", "percent", "aiRuns", "apiRuns", "lastSeen", "userId"] {
        for order in ["asc", "desc"] {
            let whole = server.all(&format!("/v1/users?sort={sort}&order={order}&limit=1000"));
            let paged = server.all(&format!("/v1/users?sort={sort}&order={order}&limit=3"));
            let ids = |items: &[Json]| items.iter().map(|item| item.text("/userId").to_owned()).collect::<Vec<_>>();
            assert_eq!(ids(&whole), ids(&paged), "by {sort} {order}");
            assert_eq!(whole.len(), 20);
        }
    }
}

#[test]
fn session_statistics_are_by_feature() {
    let server = Server::open();
    for (session, feature, status) in [("a", "scan", "completed"), ("b", "scan", "failed"), ("c", "chat", "completed")]
    {
        server.record(ai("u", 0.25).with("sessionId", session).with("feature", feature));
        server.record(ai("u", 0.125).with("sessionId", session).with("feature", feature).with("finishSession", status));
    }
    let stats = server.get("/v1/sessions/stats?days=30").is(200);
    for cost in ["0.75", "0.375"] {
        assert!(stats.has_number(cost), "{stats}");
    }
    server.get("/v1/sessions/stats?days=0").is(400);
    server.get("/v1/sessions/stats").is(200);
}

#[test]
fn an_export_is_json_lines_of_everything() {
    let server = Server::open();
    server.put(&of("u", ""), json!({"plan": "premium", "email": "u@example.org"})).is(201);
    server.record(ai_run("u", 2.5).with("operationId", "o").with("metadata", json!({"k": "v"})));
    server.open_session("u", "s", json!({"cost": 0.25})).is(201);
    server.open_session("u", "t", json!({"cost": 9})).is(402);
    server.record(ai("v", 0.5));
    let export = server.get(&of("u", "/export"));
    assert_eq!(export.status, 200);
    let lines: Vec<Json> = export.text().lines().map(|line| Json::parse(line).unwrap()).collect();
    let kinds = |kind: &str| lines.iter().filter(|line| line.text("/kind") == kind).collect::<Vec<_>>();
    kinds("user")[0].shows("/userId", "u").shows("/email", "u@example.org").shows("/plan", "premium");
    kinds("operation")[0].shows("/operationId", "o").shows("/cost", "2.5").shows("/metadata/k", "v");
    kinds("session")[0].shows("/sessionId", "s");
    kinds("denial")[0].shows("/sessionId", "t").shows("/reason", "budget_exceeded");
    kinds("alert")[0].shows("/threshold", "80").shows("/meter", "cost");
    assert_eq!(lines.len(), 5, "{}", export.text());
}

#[test]
fn a_user_is_erased_while_posts_for_it_arrive() {
    let server = Server::open();
    let done = AtomicBool::new(false);
    let recorded = at_once(5, |client| {
        if client == 4 {
            let _done = raised_at_end(&done);
            for _ in 0..20 {
                server.delete(&of("u", "")).is(204);
            }
            return 0;
        }
        let mut recorded = 0;
        while !done.load(Ordering::Relaxed) {
            server.record(api("u", 0.001).with("operationId", format!("o_{client}_{recorded}")).with("sessionId", "s"));
            recorded += 1;
        }
        recorded
    });
    let left = server.all(&of("u", "/usage?limit=1000")).len();
    server.budget("u").meter("cost", &crate::support::decimal(1_000_000_000 * i128::try_from(left).unwrap()), "0");
    // The anonymous sums hold them all.
    let total = crate::support::decimal(1_000_000_000 * recorded.into_iter().sum::<i128>());
    let overview = server.get("/v1/overview").is(200);
    assert!(overview.has_number(&total), "{total} in {overview}");
    server.verifies();
}

//! S1 to S23: what happens, and the exact figures that must come of it, whatever the ledger is kept by.

use serde_json::{Value, json};

use super::Ledger;
use crate::support::{Asks, Json, With, ai, ai_run, api, api_run, at_once, of};

/// The user of the scenario that every release must show.
const USER: &str = "bgtfrdsZ";
const SESSION: &str = "session_scan_1760380376660_72r1";

/// The two steps of a card scan.
fn ocr(user: &str, session: &str) -> Value {
    api(user, 0.0015)
        .with("feature", "business_card_scan_ocr")
        .with("provider", "google_vision_ocr")
        .with("sessionId", session)
        .with("stepLabel", "ocr")
}

fn extraction(user: &str, session: &str) -> Value {
    ai_run(user, 0.000_107_85)
        .with("feature", "business_card_scan")
        .with("provider", "gemini")
        .with("model", "gemini-2.5-flash-lite")
        .with("sessionId", session)
        .with("stepLabel", "extraction")
}

/// A whole scan without a hold, now.
fn scan(server: &Ledger, user: &str, session: &str) {
    server.record(ocr(user, session));
    server.record(extraction(user, session).with("finishSession", "completed"));
}

/// A whole scan, opened with a hold, its steps in October 2025.
fn scan_in_october(server: &Ledger, session: &str, operation: &str) {
    let opening =
        json!({"sessionId": session, "feature": "business_card_scan", "estimate": {"cost": 0.002, "aiRuns": 1}});
    server.post(&of(USER, "/sessions"), opening).is(201).shows("/status", "in-progress").shows("/sessionId", session);
    server
        .record(ocr(USER, session).with("timestamp", "2025-10-13T18:32:57.100Z"))
        .shows("/success", "true")
        .shows("/recordedIn", "SessionUsage+UserDoc")
        .shows("/duplicate", "false")
        .shows("/cost", "0.0015")
        .shows("/month", "2025-10");
    server
        .record(extraction(USER, session).with("operationId", operation).with("timestamp", "2025-10-13T18:32:58.785Z"))
        .shows("/operationId", operation)
        .shows("/cost", "0.00010785");
    server.finish(USER, session, "completed").is(200);
}

/// S1's budget as the contract prints it.
fn budget_after_s1() -> Json {
    let text = r#"{"userId": "bgtfrdsZ", "plan": "premium", "nextPlan": "business", "upgradeUrl": null, "unlimited": false,
        "month": "2025-10", "resetsAt": "2025-11-01T00:00:00Z", "state": "ok", "meters": {
        "cost": {"label": "Cost Budget", "unit": "USD", "used": 0.00160785, "held": 0, "limit": 3.00, "remaining": 2.99839215,
            "percent": 0.05, "state": "ok", "message": null},
        "aiRuns": {"label": "AI Operations", "unit": "runs", "used": 1, "held": 0, "limit": 30, "remaining": 29, "percent": 3.33,
            "state": "ok", "message": null},
        "apiRuns": {"label": "API Operations", "unit": "runs", "used": 0, "held": 0, "limit": 100, "remaining": 100, "percent": 0,
            "state": "ok", "message": null}}}"#;
    Json::parse(text).unwrap()
}

#[test]
fn s01_a_card_scan_moves_session_and_user_at_once() {
    let server = Ledger::open();
    server.user(USER, "premium");
    scan_in_october(&server, SESSION, "usage_1760380378785_zrix");

    let session = server.session(USER, SESSION);
    session.shows("/status", "completed").shows("/totalCost", "0.00160785").shows("/totalRuns", "1");
    session.shows("/feature", "business_card_scan").shows("/userId", USER).shows("/budgetExceeded", "false");
    session.amounts("/held", "0", "0", "0");
    assert!(matches!(session.at("/completedAt"), Json::Text(_)), "{session}");
    let steps = session.list("/steps");
    assert_eq!(steps.len(), 2, "{session}");
    steps[0].shows("/stepNumber", "1").shows("/stepLabel", "ocr").shows("/feature", "business_card_scan_ocr");
    steps[0].shows("/usageType", "ApiUsage").shows("/provider", "google_vision_ocr").shows("/model", "null");
    steps[0].shows("/cost", "0.0015").shows("/isBillableRun", "false");
    steps[1].shows("/stepNumber", "2").shows("/operationId", "usage_1760380378785_zrix").shows("/usageType", "AIUsage");
    steps[1].shows("/provider", "gemini").shows("/cost", "0.00010785").shows("/isBillableRun", "true");

    let user = server.get(&of(USER, "?month=2025-10")).is(200);
    user.shows("/userId", USER).shows("/known", "true").shows("/plan", "premium");
    user.shows("/monthlyTotalCost", "0.00160785").shows("/monthlyUsageMonth", "2025-10");
    user.shows("/monthlyBillableRuns", "1").shows("/monthlyBillableRunsAI", "1").shows("/monthlyBillableRunsAPI", "0");

    let budget = server.budget_of(USER, "2025-10");
    assert!(budget == budget_after_s1(), "{budget}");
}

#[test]
#[cfg(feature = "test-clock")]
fn s01_on_its_own_day_draws_its_hold_down() {
    let server = Ledger::at("2025-10-13T18:32:56.660Z");
    server.user(USER, "premium");
    server.open_session(USER, SESSION, json!({"cost": 0.002, "aiRuns": 1})).is(201).amounts("/held", "0.002", "1", "0");
    server.record(ocr(USER, SESSION));
    server.budget(USER).meter("cost", "0.0015", "0.0005").meter("aiRuns", "0", "1");
    server.record(extraction(USER, SESSION));
    server.budget(USER).meter("cost", "0.00160785", "0.00039215").meter("aiRuns", "1", "0");
    server.finish(USER, SESSION, "completed").is(200);
    let budget = server.budget(USER);
    assert!(budget == budget_after_s1(), "{budget}");
    server.session(USER, SESSION).amounts("/overdraft", "0", "0", "0").amounts("/held", "0", "0", "0");
}

#[test]
fn s02_the_same_again_doubles_it() {
    let server = Ledger::open();
    server.user(USER, "premium");
    scan_in_october(&server, SESSION, "usage_1760380378785_zrix");
    scan_in_october(&server, "session_scan_1760380999999_b2c3", "usage_1760381000000_b2c3");
    let budget = server.budget_of(USER, "2025-10");
    budget.meter("cost", "0.0032157", "0").meter("aiRuns", "2", "0").meter("apiRuns", "0", "0");
    budget.shows("/meters/aiRuns/remaining", "28").shows("/meters/aiRuns/percent", "6.67");
}

#[test]
fn s03_after_thirty_scans_the_basic_one_is_offered() {
    let server = Ledger::open();
    server.user(USER, "premium");
    for n in 1..=30 {
        let session = format!("scan_{n}");
        server.open_session(USER, &session, json!({"cost": 0.002, "aiRuns": 1})).is(201);
        scan(&server, USER, &session);
    }
    let budget = server.budget(USER);
    budget.meter("cost", "0.0482355", "0").meter("aiRuns", "30", "0");
    budget.shows("/meters/aiRuns/state", "reached").shows("/state", "reached").shows("/meters/aiRuns/percent", "100");

    let choices = json!([
        {"name": "ai", "estimate": {"cost": 0.001_607_85, "aiRuns": 1}},
        {"name": "basic", "estimate": {"cost": 0.0015, "apiRuns": 1}},
    ]);
    let answer =
        server.post(&of(USER, "/afford"), json!({"choices": choices, "feature": "business_card_scan"})).is(200);
    answer.shows("/allowed", "true").shows("/reason", "fallback").shows("/choice", "basic");
    answer
        .shows("/choices/0/name", "ai")
        .shows("/choices/0/allowed", "false")
        .shows("/choices/0/failed", r#"["aiRuns"]"#);
    answer.shows("/choices/1/name", "basic").shows("/choices/1/allowed", "true").shows("/choices/1/failed", "[]");

    let opening = json!({"sessionId": "scan_31", "feature": "business_card_scan", "choices": choices});
    let opened = server.post(&of(USER, "/sessions"), opening).is(201);
    opened.shows("/choice", "basic").shows("/reason", "fallback").amounts("/held", "0.0015", "0", "1");

    let refused = server.open_session(USER, "scan_32", json!({"cost": 0.001_607_85, "aiRuns": 1})).is(402);
    refused.shows("/reason", "runs_exceeded").shows("/failed", r#"["aiRuns"]"#);
    refused.shows("/nextPlan", "business").shows("/upgradeRequired", "true");
}

#[test]
fn s04_four_hundred_scans_at_once_add_up_exactly() {
    let server = Ledger::open();
    server.user(USER, "premium");
    at_once(16, |client| {
        for n in 0..25 {
            scan(&server, USER, &format!("scan_{client}_{n}"));
        }
    });
    server.budget(USER).meter("cost", "0.64314", "0").meter("aiRuns", "400", "0").meter("apiRuns", "0", "0");
    let sessions = server.all(&of(USER, "/sessions?limit=100"));
    assert_eq!(sessions.len(), 400);
    for session in &sessions {
        session.shows("/status", "completed").shows("/totalCost", "0.00160785").shows("/totalRuns", "1");
    }
    let operations = server.all(&of(USER, "/usage?limit=150"));
    assert_eq!(operations.len(), 800);
    let sum: i128 = operations.iter().map(|operation| operation.pico("/cost")).sum();
    assert_eq!(sum, 643_140_000_000);
    server.verifies();
}

#[test]
fn s05_a_double_sided_scan_is_one_run() {
    let server = Ledger::open();
    server.user(USER, "premium");
    server.record(ocr(USER, "both-sides"));
    server.record(ocr(USER, "both-sides"));
    server.record(extraction(USER, "both-sides").with("cost", 0.000_135).with("finishSession", "completed"));
    server.budget(USER).meter("cost", "0.003135", "0").meter("aiRuns", "1", "0").meter("apiRuns", "0", "0");
}

#[test]
fn s06_a_basic_double_sided_scan_counts_on_the_other_meter() {
    let server = Ledger::open();
    server.user(USER, "pro");
    server.record(api_run(USER, 0.0015).with("sessionId", "basic"));
    server.record(api(USER, 0.0015).with("sessionId", "basic").with("finishSession", "completed"));
    let budget = server.budget(USER);
    budget.meter("cost", "0.003", "0").meter("apiRuns", "1", "0").meter("aiRuns", "0", "0");
    budget.shows("/meters/apiRuns/limit", "50").shows("/meters/apiRuns/remaining", "49");
}

#[test]
fn s07_a_place_search_of_four_steps_is_one_api_run() {
    let server = Ledger::open();
    server.user(USER, "premium");
    for _ in 0..3 {
        let autocomplete =
            api(USER, 0.002_83).with("feature", "google_maps_autocomplete").with("provider", "google_maps");
        server.record(autocomplete.with("sessionId", "place"));
    }
    let details = api_run(USER, 0.017).with("feature", "google_maps_place_details").with("provider", "google_maps");
    server.record(details.with("sessionId", "place").with("finishSession", "completed"));
    server.budget(USER).meter("cost", "0.02549", "0").meter("apiRuns", "1", "0").meter("aiRuns", "0", "0");
    let session = server.session(USER, "place");
    session.shows("/totalCost", "0.02549").shows("/totalRuns", "1").shows("/status", "completed");
    assert_eq!(session.list("/steps").len(), 4);
    // Nothing was ever held for it.
    session.shows("/overdraft", "null").shows("/feature", "google_maps_autocomplete");
}

#[test]
fn s08_an_enrichment_gives_back_the_rest_of_its_hold() {
    let server = Ledger::open();
    server.user(USER, "premium");
    let estimate = json!({"cost": 0.0371, "aiRuns": 1, "apiRuns": 2});
    server.open_session(USER, "event", estimate).is(201).amounts("/held", "0.0371", "1", "2");
    server.budget(USER).meter("cost", "0", "0.0371").meter("aiRuns", "0", "1").meter("apiRuns", "0", "2");
    server.record(api_run(USER, 0.005).with("feature", "location_reverse_geocoding").with("sessionId", "event"));
    server.record(api_run(USER, 0.032).with("feature", "google_maps_nearby_search").with("sessionId", "event"));
    server.record(ai_run(USER, 0.000_000_2).with("feature", "contact_auto_tagging").with("sessionId", "event"));
    server.record(ai(USER, 0.000_01).with("feature", "contact_vector_embedding").with("sessionId", "event"));
    server.budget(USER).meter("cost", "0.0370102", "0.0000898").meter("aiRuns", "1", "0").meter("apiRuns", "2", "0");
    server.session(USER, "event").amounts("/held", "0.0000898", "0", "0");
    server.finish(USER, "event", "completed").is(200);
    server.budget(USER).meter("cost", "0.0370102", "0").meter("aiRuns", "1", "0").meter("apiRuns", "2", "0");
    server.session(USER, "event").amounts("/held", "0", "0", "0").amounts("/overdraft", "0", "0", "0");
}

#[test]
fn s09_a_cached_enrichment_costs_the_geocoding() {
    let server = Ledger::open();
    server.user(USER, "premium");
    for step in [api_run(USER, 0.005), api(USER, 0.0), ai(USER, 0.0), ai(USER, 0.000_01)] {
        server.record(step.with("sessionId", "cached"));
    }
    server.budget(USER).meter("cost", "0.00501", "0").meter("apiRuns", "1", "0").meter("aiRuns", "0", "0");
    server.session(USER, "cached").shows("/totalCost", "0.00501").shows("/totalRuns", "1");
}

#[test]
fn s10_what_goes_beyond_a_hold_is_recorded_and_shown() {
    let server = Ledger::open();
    server.user(USER, "premium");
    server.open_session(USER, "worst", json!({"cost": 0.037, "apiRuns": 1})).is(201);
    server.record(api_run(USER, 0.005).with("sessionId", "worst"));
    for _ in 0..10 {
        server.record(api_run(USER, 0.032).with("sessionId", "worst"));
    }
    server.budget(USER).meter("cost", "0.325", "0").meter("apiRuns", "11", "0").meter("aiRuns", "0", "0");
    server.finish(USER, "worst", "completed").is(200);
    let session = server.session(USER, "worst");
    session.shows("/totalCost", "0.325").shows("/totalRuns", "11").amounts("/overdraft", "0.288", "0", "10");
    server.budget(USER).meter("cost", "0.325", "0").meter("apiRuns", "11", "0");
    server.verifies();
}

#[test]
fn s11_a_session_that_does_not_fit_is_denied_with_its_estimate() {
    let server = Ledger::open();
    server.user(USER, "premium");
    server.record(api(USER, 2.97));
    let refused = server.open_session(USER, "too-dear", json!({"cost": 0.037})).is(402);
    refused.shows("/reason", "budget_exceeded").shows("/failed", r#"["cost"]"#);
    refused
        .shows("/budget/meters/cost/remaining", "0.03")
        .shows("/nextPlan", "business")
        .shows("/upgradeRequired", "true");
    assert!(refused.text("/resetsAt").ends_with("-01T00:00:00Z"), "{refused}");
    let denials = server.all(&of(USER, "/denials"));
    assert_eq!(denials.len(), 1);
    denials[0].shows("/reason", "budget_exceeded").shows("/sessionId", "too-dear").shows("/source", "open");
    denials[0].amounts("/estimate", "0.037", "0", "0").shows("/times", "1").shows("/failed", r#"["cost"]"#);
    server.budget(USER).meter("cost", "2.97", "0");
    server.get(&of(USER, "/sessions/too-dear")).is(404);
}

#[test]
fn s12_the_last_run_goes_to_exactly_one() {
    let server = Ledger::open();
    for user in ["in-turn", "at-once"] {
        server.user(user, "premium");
        server.record(Value::Array((0..29).map(|_| ai_run(user, 0.0)).collect()));
        server.budget(user).meter("aiRuns", "29", "0");
    }
    server.open_session("in-turn", "first", json!({"aiRuns": 1})).is(201);
    server.open_session("in-turn", "second", json!({"aiRuns": 1})).is(402).shows("/reason", "runs_exceeded");

    let replies =
        at_once(50, |client| server.open_session("at-once", &format!("session_{client}"), json!({"aiRuns": 1})));
    let opened = replies.iter().filter(|reply| reply.status == 201).count();
    for reply in replies.iter().filter(|reply| reply.status != 201) {
        reply.is(402).shows("/reason", "runs_exceeded").shows("/failed", r#"["aiRuns"]"#);
    }
    assert_eq!(opened, 1);
    server.budget("at-once").meter("aiRuns", "29", "1").shows("/meters/aiRuns/remaining", "0");
    assert_eq!(server.all(&of("at-once", "/denials?limit=20")).len(), 49);
}

#[test]
fn s13_a_thousand_times_0_0015_is_exactly_the_limit() {
    let server = Ledger::open();
    server.user(USER, "pro");
    server.record(Value::Array((0..999).map(|_| api(USER, 0.0015)).collect()));
    server.afford(USER, json!({"cost": 0.0015})).shows("/allowed", "true").shows("/reason", "within_limits");
    let reply = server.record(api(USER, 0.0015));
    reply.shows("/budget/meters/cost/used", "1.5").shows("/budget/meters/cost/remaining", "0");
    server.budget(USER).shows("/meters/cost/state", "reached").shows("/meters/cost/percent", "100");
    let refused = server.afford(USER, json!({"cost": 0.0015}));
    refused.shows("/allowed", "false").shows("/reason", "budget_exceeded").shows("/failed", r#"["cost"]"#);
    server.open_session(USER, "next", json!({"cost": 0.0015})).is(402);
}

#[test]
fn s14_nine_steps_in_order_and_no_total_recorded() {
    let server = Ledger::open();
    server.user(USER, "premium");
    let costs = [0.0, 0.0003, 0.0002, 0.000_003_8, 0.0, 0.0, 0.0, 0.002, 0.0];
    for (index, cost) in costs.into_iter().enumerate() {
        let step = if index == 2 { ai_run(USER, cost) } else { ai(USER, cost) };
        server.record(step.with("sessionId", "search").with("stepLabel", format!("step {}", index + 1)));
    }
    server.finish(USER, "search", "completed").is(200);
    let session = server.session(USER, "search");
    session.shows("/totalCost", "0.0025038").shows("/totalRuns", "1").shows("/status", "completed");
    let steps = session.list("/steps");
    assert_eq!(steps.len(), 9);
    for (index, step) in steps.iter().enumerate() {
        step.shows("/stepNumber", &(index + 1).to_string()).shows("/stepLabel", &format!("step {}", index + 1));
    }
    server.budget(USER).meter("cost", "0.0025038", "0").meter("aiRuns", "1", "0");
    assert_eq!(server.all(&of(USER, "/usage")).len(), 9);
}

#[test]
fn s15_exactly_eighty_percent_warns_once() {
    let server = Ledger::open();
    server.user(USER, "premium");
    server.record(api(USER, 2.398_392_15)).shows("/budget/meters/cost/state", "ok");
    assert_eq!(server.all("/v1/alerts").len(), 0);
    let crossing = api(USER, 0.001_607_85).with("operationId", "crossing");
    let reply = server.record(crossing.clone());
    reply.shows("/budget/meters/cost/used", "2.4").shows("/budget/meters/cost/percent", "80");
    reply.shows("/budget/meters/cost/state", "warning").shows("/budget/state", "warning");
    server.record(crossing).shows("/duplicate", "true");
    server.record(api(USER, 0.001));
    let alerts = server.all("/v1/alerts");
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    alerts[0].shows("/userId", USER).shows("/meter", "cost").shows("/threshold", "80").shows("/used", "2.4");
    alerts[0].shows("/limit", "3").shows("/percent", "80").shows("/plan", "premium").shows("/nextPlan", "business");
}

#[test]
fn s16_a_session_over_the_border_belongs_to_both_months() {
    let server = Ledger::open();
    server.user(USER, "premium");
    let before = ai_run(USER, 0.25).with("timestamp", "2025-10-31T23:59:59.999Z").with("sessionId", "border");
    let after = ai_run(USER, 0.5).with("timestamp", "2025-11-01T00:00:00Z").with("sessionId", "border");
    server.record(before).shows("/month", "2025-10");
    server.record(after).shows("/month", "2025-11");
    server.budget_of(USER, "2025-10").meter("cost", "0.25", "0").meter("aiRuns", "1", "0");
    server.budget_of(USER, "2025-11").meter("cost", "0.5", "0").meter("aiRuns", "1", "0");
    server.session(USER, "border").shows("/totalCost", "0.75").shows("/totalRuns", "2");
}

#[test]
fn s17_a_step_after_finish_is_recorded_and_changes_no_status() {
    let server = Ledger::open();
    server.user(USER, "premium");
    server.open_session(USER, "done", json!({"cost": 0.01})).is(201);
    server.record(ai(USER, 0.002).with("sessionId", "done"));
    server.finish(USER, "done", "completed").is(200);
    server.record(ai_run(USER, 0.003).with("sessionId", "done"));
    server.record(ai(USER, 0.004).with("sessionId", "done").with("finishSession", "failed"));
    server.budget(USER).meter("cost", "0.009", "0").meter("aiRuns", "1", "0");
    server.session(USER, "done").shows("/status", "completed").shows("/totalCost", "0.009").shows("/totalRuns", "1");
}

#[test]
fn s18_a_limit_of_nothing_refuses_the_smallest_cost() {
    let server = Ledger::open();
    server.user(USER, "base");
    let refused = server.afford(USER, json!({"cost": 0.0001}));
    refused.shows("/allowed", "false").shows("/reason", "budget_exceeded").shows("/failed", r#"["cost"]"#);
    refused.shows("/nextPlan", "pro").shows("/upgradeRequired", "true");
    refused.shows("/budget/meters/cost/percent", "100").shows("/budget/meters/cost/state", "reached");
    refused.shows("/budget/meters/cost/message", "Not in your plan");
}

#[test]
fn s19_an_unlimited_user_sees_the_real_use() {
    let server = Ledger::open();
    server.user(USER, "enterprise");
    for n in 0..10 {
        scan(&server, USER, &format!("scan_{n}"));
    }
    let budget = server.budget(USER);
    budget.meter("cost", "0.0160785", "0").meter("aiRuns", "10", "0").shows("/unlimited", "true").shows("/state", "ok");
    budget
        .shows("/meters/cost/limit", "null")
        .shows("/meters/cost/remaining", "null")
        .shows("/meters/cost/percent", "null");
    server.afford(USER, json!({"cost": 1000, "aiRuns": 1000})).shows("/allowed", "true").shows("/reason", "unlimited");
}

#[test]
fn s20_one_operation_from_twenty_clients_counts_once() {
    let server = Ledger::open();
    server.user(USER, "premium");
    let operation = ai_run(USER, 0.125).with("operationId", "the-one").with("timestamp", "2025-10-13T18:32:58Z");
    let replies: Vec<Json> = at_once(20, |_| server.record(operation.clone()));
    let duplicates = replies.iter().filter(|reply| *reply.at("/duplicate") == Json::Bool(true)).count();
    assert_eq!(duplicates, 19);
    let first = replies[0].clone().without("duplicate");
    for reply in &replies {
        assert!(reply.clone().without("duplicate") == first, "{reply} beside {first}");
    }
    server.budget_of(USER, "2025-10").meter("cost", "0.125", "0").meter("aiRuns", "1", "0");
    assert_eq!(server.all(&of(USER, "/usage")).len(), 1);
}

#[test]
#[cfg(feature = "test-clock")]
fn s21_a_hold_over_the_border_counts_in_both_months() {
    let server = Ledger::at("2025-11-30T23:59:50Z");
    server.user(USER, "premium");
    server.record(Value::Array((0..29).map(|_| ai_run(USER, 0.0)).collect()));
    server.record(Value::Array((0..29).map(|_| ai_run(USER, 0.0).with("timestamp", "2025-12-01T00:00:01Z")).collect()));
    let opening = json!({"sessionId": "late", "feature": "test", "estimate": {"aiRuns": 1}, "holdSeconds": 900});
    server.post(&of(USER, "/sessions"), opening).is(201).instant("/holdExpiresAt", "2025-12-01T00:14:50Z");
    server.budget_of(USER, "2025-11").meter("aiRuns", "29", "1");
    server.budget_of(USER, "2025-12").meter("aiRuns", "29", "1");

    server.clock("2025-12-01T00:00:05Z");
    server.budget(USER).shows("/month", "2025-12").meter("aiRuns", "29", "1");
    server.open_session(USER, "next", json!({"aiRuns": 1})).is(402).shows("/reason", "runs_exceeded");
    server.record(ai_run(USER, 0.0).with("sessionId", "late")).shows("/month", "2025-12");
    server.budget_of(USER, "2025-11").meter("aiRuns", "29", "0");
    server.budget_of(USER, "2025-12").meter("aiRuns", "30", "0");
    server.finish(USER, "late", "completed").is(200);
    server.budget_of(USER, "2025-11").meter("aiRuns", "29", "0");
    server.budget_of(USER, "2025-12").meter("aiRuns", "30", "0");
    server.session(USER, "late").amounts("/overdraft", "0", "0", "0").shows("/totalRuns", "1");
    server.verifies();
}

#[test]
#[cfg(feature = "test-clock")]
fn s22_an_expired_hold_is_given_back_and_its_session_still_completes() {
    let server = Ledger::at("2025-11-10T12:00:00Z");
    server.user(USER, "premium");
    let opening =
        json!({"sessionId": "slow", "feature": "test", "estimate": {"cost": 0.01, "aiRuns": 1}, "holdSeconds": 1});
    server.post(&of(USER, "/sessions"), opening).is(201).instant("/holdExpiresAt", "2025-11-10T12:00:01Z");
    server.budget(USER).meter("cost", "0", "0.01").meter("aiRuns", "0", "1");

    server.clock("2025-11-10T12:00:02Z");
    crate::support::until("the hold is given back", || server.session(USER, "slow").text("/status") == "abandoned");
    server.budget(USER).meter("cost", "0", "0").meter("aiRuns", "0", "0");
    server.record(ai_run(USER, 0.004).with("sessionId", "slow"));
    let session = server.session(USER, "slow");
    session.shows("/status", "abandoned").shows("/totalCost", "0.004").amounts("/overdraft", "0.004", "1", "0");
    server.finish(USER, "slow", "completed").is(200);
    server.session(USER, "slow").shows("/status", "completed");
    server.budget(USER).meter("cost", "0.004", "0").meter("aiRuns", "1", "0");
}

#[test]
fn s23_a_reversed_operation_stays_known() {
    let server = Ledger::open();
    server.user(USER, "premium");
    let operation = ai_run(USER, 0.5).with("operationId", "mistake");
    server.record(operation.clone());
    let reversed = server.reverse(USER, "mistake").is(200);
    reversed.shows("/cost", "-0.5").shows("/reverses", "mistake").shows("/duplicate", "false");
    server.budget(USER).meter("cost", "0", "0").meter("aiRuns", "0", "0");
    server
        .reverse(USER, "mistake")
        .is(200)
        .shows("/duplicate", "true")
        .shows("/operationId", reversed.text("/operationId"));
    server.record(operation).shows("/duplicate", "true").shows("/cost", "0.5").shows("/operationId", "mistake");
    server.budget(USER).meter("cost", "0", "0").meter("aiRuns", "0", "0");
    assert_eq!(server.all(&of(USER, "/usage")).len(), 2);
}

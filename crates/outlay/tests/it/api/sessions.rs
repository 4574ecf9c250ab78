//! Sessions: opening, drawing down, extending, finishing, expiring.

use serde_json::{Value, json};

use crate::support::{Asks, Json, Server, With, ai, ai_run, api_run, of};

#[test]
fn opening_again_is_the_same_session_with_one_hold() {
    let server = Server::open();
    server.user("u", "premium");
    let opening =
        json!({"sessionId": "s", "feature": "scan", "estimate": {"cost": 0.5, "aiRuns": 1}, "metadata": {"k": "v"}});
    let path = of("u", "/sessions");
    let opened = server.post(&path, opening.clone()).is(201);
    opened
        .shows("/sessionId", "s")
        .shows("/status", "in-progress")
        .shows("/choice", "null")
        .shows("/reason", "within_limits");
    opened
        .amounts("/held", "0.5", "1", "0")
        .shows("/budget/meters/cost/held", "0.5")
        .shows("/budget/meters/aiRuns/held", "1");
    let again = server.post(&path, opening.clone()).is(200);
    again.shows("/sessionId", "s").amounts("/held", "0.5", "1", "0").shows("/budget/meters/cost/held", "0.5");
    assert_eq!(opened.at("/holdExpiresAt"), again.at("/holdExpiresAt"));
    server.budget("u").meter("cost", "0", "0.5");

    server.post(&path, opening.clone().with("feature", "other")).is(409);
    server.post(&path, opening.clone().with("estimate", json!({"cost": 0.6, "aiRuns": 1}))).is(409);
    let choices = json!([{"name": "a", "estimate": {"cost": 0.5, "aiRuns": 1}}]);
    server.post(&path, json!({"sessionId": "s", "feature": "scan", "choices": choices})).is(409);
    // One that steps made has no hold to be opened again.
    server.record(ai("u", 0.1).with("sessionId", "made-by-steps").with("feature", "scan"));
    server.post(&path, opening.with("sessionId", "made-by-steps")).is(409);
    server.budget("u").meter("cost", "0.1", "0.5");
    // The same id of another user is another session.
    server.user("v", "premium");
    server.open_session("v", "s", json!({"cost": 0.1})).is(201);
}

#[test]
fn a_session_without_an_id_gets_one() {
    let server = Server::open();
    server.user("u", "premium");
    let body = json!({"feature": "scan", "estimate": {"cost": 0.5}});
    let first = server.post(&of("u", "/sessions"), body.clone()).is(201);
    let second = server.post(&of("u", "/sessions"), body).is(201);
    assert_ne!(first.text("/sessionId"), second.text("/sessionId"));
    server.session("u", first.text("/sessionId")).shows("/feature", "scan").amounts("/held", "0.5", "0", "0");
    // Nothing asked is a hold of nothing, which always fits.
    server.user("w", "base");
    let open = server.post(&of("w", "/sessions"), json!({"feature": "scan", "estimate": {}})).is(201);
    open.amounts("/held", "0", "0", "0");
}

#[test]
fn a_session_of_choices_holds_the_one_that_won() {
    let server = Server::open();
    server.user("u", "pro");
    let choices = json!([
        {"name": "ai", "estimate": {"cost": 0.5, "aiRuns": 1}},
        {"name": "basic", "estimate": {"cost": 0.25, "apiRuns": 1}},
    ]);
    let body = json!({"sessionId": "s", "feature": "scan", "choices": choices});
    let opened = server.post(&of("u", "/sessions"), body.clone()).is(201);
    opened.shows("/choice", "basic").shows("/reason", "fallback").amounts("/held", "0.25", "0", "1");
    // After a change of plan the same opening is still the same session.
    server.user("u", "premium");
    let again = server.post(&of("u", "/sessions"), body).is(200);
    again.shows("/choice", "basic").shows("/reason", "fallback").amounts("/held", "0.25", "0", "1");
    server.session("u", "s").shows("/choice", "basic");
    let refused = server
        .post(&of("u", "/sessions"), json!({"feature": "scan", "choices": [{"name": "x", "estimate": {"cost": 9}}]}));
    refused.is(402).shows("/choices/0/name", "x").shows("/choices/0/allowed", "false").shows("/nextPlan", "enterprise");
}

#[test]
fn hold_seconds_have_their_range() {
    let server = Server::open();
    server.user("u", "premium");
    let body = |seconds: Value| json!({"feature": "scan", "estimate": {"cost": 0.001}, "holdSeconds": seconds});
    for seconds in [json!(0), json!(86_401), json!(-1), json!(1.5), json!("900")] {
        server.post(&of("u", "/sessions"), body(seconds)).refuses("/holdSeconds");
    }
    for seconds in [json!(1), json!(86_400)] {
        server.post(&of("u", "/sessions"), body(seconds)).is(201);
    }
    server.post(&of("u", "/sessions"), json!({"estimate": {"cost": 0.001}})).refuses("/feature");
}

#[test]
fn a_denial_counts_the_same_session_refused_again() {
    let server = Server::open();
    server.user("u", "pro");
    for times in 1..=3 {
        server.open_session("u", "s", json!({"cost": 2})).is(402);
        let denials = server.all(&of("u", "/denials"));
        assert_eq!(denials.len(), 1, "{denials:?}");
        denials[0].shows("/times", &times.to_string()).shows("/sessionId", "s");
    }
    server.open_session("u", "other", json!({"cost": 2})).is(402);
    let denials = server.all(&of("u", "/denials"));
    assert_eq!(denials.len(), 2);
    denials[0].shows("/sessionId", "other").shows("/times", "1");
    // A refused session does not exist: it can be opened when it fits.
    server.get(&of("u", "/sessions/s")).is(404);
    server.user("u", "premium");
    server.open_session("u", "s", json!({"cost": 2})).is(201);
}

#[test]
fn steps_draw_a_hold_down_meter_by_meter() {
    let server = Server::open();
    server.user("u", "premium");
    server.open_session("u", "s", json!({"cost": 0.5, "aiRuns": 2})).is(201);
    server.record(ai_run("u", 0.2).with("sessionId", "s"));
    server.budget("u").meter("cost", "0.2", "0.3").meter("aiRuns", "1", "1");
    // A run of the other kind was not held for: overdraft on that meter alone.
    server.record(api_run("u", 0.4).with("sessionId", "s"));
    server.budget("u").meter("cost", "0.6", "0").meter("aiRuns", "1", "1").meter("apiRuns", "1", "0");
    let session = server.session("u", "s");
    session.amounts("/held", "0", "1", "0").amounts("/overdraft", "0.1", "0", "1").shows("/status", "in-progress");
    session.shows("/budgetExceeded", "false").shows("/totalRuns", "2");
    server.finish("u", "s", "failed").is(200);
    server.budget("u").meter("cost", "0.6", "0").meter("aiRuns", "1", "0");
    // A step that takes a meter over its limit is remembered.
    server.record(api_run("u", 3.0).with("sessionId", "over"));
    server.session("u", "over").shows("/budgetExceeded", "true");
    server.verifies();
}

#[test]
fn a_step_of_another_month_leaves_the_hold_alone() {
    let server = Server::open();
    server.user("u", "premium");
    server.open_session("u", "s", json!({"cost": 0.5})).is(201);
    server.record(ai("u", 0.2).with("sessionId", "s").with("timestamp", "2025-03-01T00:00:00Z"));
    server.budget("u").meter("cost", "0", "0.5");
    server.budget_of("u", "2025-03").meter("cost", "0.2", "0");
    server.session("u", "s").amounts("/held", "0.5", "0", "0").shows("/totalCost", "0.2").amounts(
        "/overdraft",
        "0.2",
        "0",
        "0",
    );
}

#[test]
fn finishing_is_idempotent_and_final() {
    let server = Server::open();
    server.user("u", "premium");
    server.open_session("u", "s", json!({"cost": 0.5})).is(201);
    let path = of("u", "/sessions/s/finish");
    server.post(&path, json!({"status": "failed", "error": "no card in the picture"})).is(200);
    server
        .session("u", "s")
        .shows("/status", "failed")
        .shows("/error", "no card in the picture")
        .amounts("/held", "0", "0", "0");
    server.finish("u", "s", "failed").is(200);
    server.finish("u", "s", "completed").is(409);
    server.session("u", "s").shows("/status", "failed").shows("/error", "no card in the picture");
    server.finish("u", "unknown", "completed").is(404);
    for body in [json!({}), json!({"status": "abandoned"}), json!({"status": "in-progress"})] {
        server.post(&path, body).refuses("/status");
    }
    // One that steps made is finished likewise.
    server.record(ai("u", 0.1).with("sessionId", "steps"));
    server.finish("u", "steps", "completed").is(200);
    server.session("u", "steps").shows("/status", "completed").shows("/overdraft", "null");
}

#[test]
fn extending_sets_the_whole_hold_and_its_end() {
    let server = Server::open();
    server.user("u", "premium");
    let opened = server.open_session("u", "s", json!({"cost": 1.0, "aiRuns": 1})).is(201);
    let path = of("u", "/sessions/s/extend");
    let expires = |reply: &Json| reply.text("/holdExpiresAt").parse::<jiff::Timestamp>().unwrap();
    server.record(ai_run("u", 0.4).with("sessionId", "s"));

    let longer = server.post(&path, json!({"holdSeconds": 3600})).is(200);
    assert!(expires(&longer) > expires(&opened));
    server.budget("u").meter("cost", "0.4", "0.6").meter("aiRuns", "1", "0");
    // The estimate is the hold's new total; said again, it changes nothing.
    for _ in 0..2 {
        server.post(&path, json!({"holdSeconds": 60, "estimate": {"cost": 2.0, "aiRuns": 3}})).is(200);
        server.budget("u").meter("cost", "0.4", "1.6").meter("aiRuns", "1", "2");
    }
    // Less than was drawn is taken as what was drawn.
    server.post(&path, json!({"holdSeconds": 60, "estimate": {"cost": 0.1}})).is(200);
    server.budget("u").meter("cost", "0.4", "0").meter("aiRuns", "1", "0");
    server.post(&path, json!({"holdSeconds": 60, "estimate": {"cost": 2.0}})).is(200);

    let refused = server.post(&path, json!({"holdSeconds": 60, "estimate": {"cost": "3.000000000001"}})).is(402);
    refused.shows("/reason", "budget_exceeded").shows("/failed", r#"["cost"]"#);
    server.budget("u").meter("cost", "0.4", "1.6");
    server.session("u", "s").amounts("/held", "1.6", "0", "0").shows("/status", "in-progress");
    server.post(&path, json!({"holdSeconds": 60, "estimate": {"cost": 3.0}})).is(200);
    server.budget("u").meter("cost", "0.4", "2.6");

    server.post(&path, json!({"holdSeconds": 0})).refuses("/holdSeconds");
    server.post(&of("u", "/sessions/unknown/extend"), json!({"holdSeconds": 60})).is(404);
    server.record(ai("u", 0.1).with("sessionId", "no-hold"));
    server.post(&of("u", "/sessions/no-hold/extend"), json!({"holdSeconds": 60})).is(409);
    server.finish("u", "s", "completed").is(200);
    server.post(&path, json!({"holdSeconds": 60})).is(409);
    server.verifies();
}

#[test]
#[cfg(feature = "test-clock")]
fn expired_holds_are_given_back_at_a_start_before_anything_is_decided() {
    let mut server = Server::at("2025-11-10T12:00:00Z");
    server.user("u", "premium");
    server.open_session("u", "s", json!({"cost": 3.0})).is(201);
    server.open_session("u", "t", json!({"cost": 0.1})).is(402);
    server.kill9();
    server.clock("2025-11-10T12:15:00Z");
    server.start_again();
    server.budget("u").meter("cost", "0", "0");
    server.session("u", "s").shows("/status", "abandoned");
    server.open_session("u", "t", json!({"cost": 3.0})).is(201);
    server.finish("u", "s", "failed").is(200);
    server.session("u", "s").shows("/status", "failed");
    server.finish("u", "s", "completed").is(409);
}

#[test]
#[cfg(feature = "test-clock")]
fn a_hold_lives_to_the_last_moment_before_its_end() {
    let server = Server::at("2025-11-10T12:00:00Z");
    server.user("u", "premium");
    let opening = json!({"sessionId": "s", "feature": "test", "estimate": {"cost": 3.0}, "holdSeconds": 30});
    server.post(&of("u", "/sessions"), opening).is(201).instant("/holdExpiresAt", "2025-11-10T12:00:30Z");
    server.clock("2025-11-10T12:00:29.999999999Z");
    server.open_session("u", "t", json!({"cost": 0.1})).is(402);
    // Deciding anything gives back first: no sweeper is waited for.
    server.clock("2025-11-10T12:00:30Z");
    server.open_session("u", "t", json!({"cost": 3.0})).is(201);
    server.session("u", "s").shows("/status", "abandoned").amounts("/held", "0", "0", "0");
}

#[test]
#[cfg(feature = "test-clock")]
fn a_clock_that_goes_back_revives_no_hold() {
    let server = Server::at("2025-11-10T12:00:00Z");
    server.user("u", "premium");
    let opening = json!({"sessionId": "s", "feature": "test", "estimate": {"cost": 3.0}, "holdSeconds": 5});
    server.post(&of("u", "/sessions"), opening).is(201);
    server.clock("2025-11-10T12:00:06Z");
    server.open_session("u", "t", json!({"cost": 3.0})).is(201).instant("/holdExpiresAt", "2025-11-10T12:15:06Z");
    server.clock("2025-11-10T11:00:00Z");
    server.session("u", "s").shows("/status", "abandoned");
    server.budget("u").meter("cost", "0", "3");
    // An operation's month and time are the wall clock's all the same.
    server.record(ai("u", 0.0)).shows("/month", "2025-11");
}

#[test]
#[cfg(feature = "test-clock")]
fn a_session_without_a_hold_is_abandoned_a_day_after_its_last_step() {
    let mut server = Server::at("2025-11-10T12:00:00Z");
    server.record(ai("u", 0.1).with("sessionId", "s"));
    server.clock("2025-11-10T12:00:30Z");
    server.record(ai("u", 0.1).with("sessionId", "s"));
    // Each later time is one of a new process, for within one a long jump of the clock is not believed.
    for (now, status) in [("2025-11-11T12:00:29Z", "in-progress"), ("2025-11-11T12:00:30Z", "abandoned")] {
        server.kill9();
        server.clock(now);
        server.start_again();
        crate::support::until("the status is seen", || server.session("u", "s").text("/status") == status);
    }
    server.record(ai("u", 0.1).with("sessionId", "s"));
    server.session("u", "s").shows("/status", "abandoned").shows("/totalCost", "0.3");
    server.record(ai("u", 0.1).with("sessionId", "s").with("finishSession", "completed"));
    server.session("u", "s").shows("/status", "completed");
}

#[test]
fn sessions_are_listed_by_status_and_feature_newest_first() {
    let server = Server::open();
    for user in ["u", "v"] {
        server.user(user, "premium");
        for (session, feature) in [("a", "scan"), ("b", "chat"), ("c", "scan")] {
            let body = json!({"sessionId": format!("{user}-{session}"), "feature": feature, "estimate": {"cost": 0.1}});
            server.post(&of(user, "/sessions"), body).is(201);
        }
        server.finish(user, &format!("{user}-a"), "completed").is(200);
    }
    let ids = |path: &str| -> Vec<String> {
        let items: Vec<Json> = server.all(path);
        items.iter().map(|item| item.text("/sessionId").to_owned()).collect()
    };
    assert_eq!(ids(&of("u", "/sessions")), ["u-c", "u-b", "u-a"]);
    assert_eq!(ids(&of("u", "/sessions?limit=1")), ["u-c", "u-b", "u-a"]);
    assert_eq!(ids(&of("u", "/sessions?status=completed")), ["u-a"]);
    assert_eq!(ids(&of("u", "/sessions?status=in-progress&feature=scan")), ["u-c"]);
    assert_eq!(ids(&of("u", "/sessions?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z")), [""; 0]);
    assert_eq!(ids(&of("u", "/sessions?from=2020-01-01T00:00:00Z")), ["u-c", "u-b", "u-a"]);
    assert_eq!(ids("/v1/sessions"), ["v-c", "v-b", "v-a", "u-c", "u-b", "u-a"]);
    assert_eq!(ids("/v1/sessions?feature=chat"), ["v-b", "u-b"]);
    server.get(&of("u", "/sessions?status=unheard-of")).is(400);
    server.get(&of("u", "/sessions?from=yesterday")).is(400);
    for user in ["u", "v"] {
        server.get(&of(user, "/sessions/nothing")).is(404);
    }
}

#[test]
fn a_long_session_answers_its_steps_in_pages() {
    let server = Server::open();
    for batch in 0..3 {
        let count = if batch == 2 { 1 } else { 1000 };
        let step =
            |n: usize| ai("u", 0.001).with("sessionId", "s").with("operationId", format!("o{}", batch * 1000 + n));
        server.record(Value::Array((0..count).map(step).collect()));
    }
    let mut seen = Vec::new();
    let mut page = server.session("u", "s");
    page.shows("/totalCost", "2.001");
    loop {
        assert!(page.list("/steps").len() <= 1000);
        seen.extend(page.list("/steps").iter().map(|step| step.text("/operationId").to_owned()));
        let Json::Text(cursor) = page.at("/nextStepsCursor") else {
            break;
        };
        let path = format!("/sessions/s?stepsCursor={}", crate::support::encoded(cursor));
        page = server.get(&of("u", &path)).is(200);
    }
    assert_eq!(seen, (0..2001).map(|n| format!("o{n}")).collect::<Vec<_>>());
    let bare = server.get(&of("u", "/sessions/s?steps=false")).is(200);
    assert!(!bare.has_text("o0"), "{bare}");
    bare.shows("/totalCost", "2.001");
}

#[test]
#[cfg(feature = "test-clock")]
fn a_hold_that_does_not_fit_into_a_later_month_names_that_month() {
    let server = Server::at("2025-11-30T23:59:50Z");
    server.user("u", "premium");
    let in_december = |operation: Value| operation.with("timestamp", "2025-12-01T00:00:00Z");
    server.record(in_december(ai("u", 2.75)));
    let ask = |estimate: Value, seconds: u32| {
        server.post(&of("u", "/sessions"), json!({"feature": "test", "estimate": estimate, "holdSeconds": seconds}))
    };
    let refused = ask(json!({"cost": 0.5}), 900).is(402);
    refused.shows("/detail", "Only 0.25 USD left in 2025-12, which the hold reaches into");
    // Asked again in December, the answer would be the same: it is December that is shown, and what begins after it.
    refused.shows("/budget/month", "2025-12").instant("/resetsAt", "2026-01-01T00:00:00Z");
    // Where the running month has no room either, it is the one to tell of.
    ask(json!({"cost": 3.5}), 900).is(402).shows("/detail", "Only 3 USD left this month");
    server.record(Value::Array((0..30).map(|_| in_december(ai_run("u", 0.0))).collect()));
    let refused = ask(json!({"cost": 0.5, "aiRuns": 1}), 900).is(402);
    assert!(refused.text("/detail").ends_with("left in 2025-12, which the hold reaches into"), "{refused}");

    let session = ask(json!({"aiRuns": 1}), 5).is(201).text("/sessionId").to_owned();
    let extended = server.post(&of("u", &format!("/sessions/{session}/extend")), json!({"holdSeconds": 60})).is(402);
    extended.shows("/detail", "No AI operations left in 2025-12, which the hold reaches into");
}

//! Users, plans, budgets and `afford`.

use serde_json::{Value, json};

use crate::support::{Asks, Json, Server, Setup, With, ai_run, api, api_run, of, until};

#[test]
fn a_user_is_made_and_replaced_whole() {
    let server = Server::open();
    let made =
        server.put(&of("u", ""), json!({"plan": "premium", "email": "u@example.org", "limits": {"cost": 5}})).is(201);
    made.shows("/userId", "u").shows("/known", "true").shows("/plan", "premium").shows("/email", "u@example.org");
    made.amounts("/limits", "5", "30", "100").shows("/overrides", r#"{"cost": 5}"#);
    made.shows("/monthlyTotalCost", "0").shows("/monthlyBillableRuns", "0").shows("/monthlyUsageLastUpdated", "null");

    // In `limits` an absent meter follows the plan, null is unlimited, 0 allows nothing.
    let known = server.put(&of("u", ""), json!({"plan": "pro", "limits": {"aiRuns": null, "apiRuns": 0}})).is(200);
    known.shows("/plan", "pro").shows("/email", "null");
    known.shows("/limits/cost", "1.5").shows("/limits/aiRuns", "null").shows("/limits/apiRuns", "0");
    known.shows("/overrides", r#"{"aiRuns": null, "apiRuns": 0}"#);

    let empty = server.put(&of("u", ""), json!({})).is(200);
    empty.shows("/plan", "base").amounts("/limits", "0", "0", "0").shows("/overrides", "{}");
    assert!(empty == server.get(&of("u", "")).is(200));

    server.put(&of("u", ""), json!({"plan": "platinum"})).is(422);
    server.put(&of("u", ""), json!({"plan": 7})).refuses("/plan");
    server.put(&of("u", ""), json!({"limits": {"cost": -1}})).is_one_of(&[400, 422]);
    server.put(&of("u", ""), json!({"limits": {"aiRuns": 1.5}})).refuses("/limits/aiRuns");
    assert!(empty == server.get(&of("u", "")).is(200), "a refused change changed something");
}

#[test]
fn a_user_nobody_has_seen_is_at_zero_everywhere() {
    let server = Server::open();
    let user = server.get(&of("nobody", "")).is(200);
    user.shows("/userId", "nobody").shows("/known", "false").shows("/plan", "base").shows("/monthlyTotalCost", "0");
    server.budget("nobody").meter("cost", "0", "0").shows("/plan", "base").shows("/state", "reached");
    for list in ["/usage", "/sessions", "/denials"] {
        assert!(server.all(&of("nobody", list)).is_empty());
    }
    server.get(&of("nobody", "/history")).is(200);
    server.afford("nobody", json!({})).shows("/allowed", "true");
    assert!(server.all("/v1/users").is_empty(), "asking made a user");
    server.record(api("nobody", 0.5));
    server.get(&of("nobody", "")).is(200).shows("/known", "true").shows("/monthlyTotalCost", "0.5");
}

#[test]
fn a_plan_change_applies_at_once_and_what_was_used_stays() {
    let server = Server::open();
    server.user("u", "premium");
    server.record(api_run("u", 1.0));
    server.user("u", "pro");
    let budget = server.budget("u");
    budget.meter("cost", "1", "0").meter("apiRuns", "1", "0").shows("/plan", "pro").shows("/nextPlan", "premium");
    budget
        .shows("/meters/cost/limit", "1.5")
        .shows("/meters/cost/remaining", "0.5")
        .shows("/meters/cost/percent", "66.67");
    budget.shows("/meters/apiRuns/limit", "50").shows("/meters/aiRuns/limit", "0");
    server.user("u", "enterprise");
    server.budget("u").meter("cost", "1", "0").shows("/nextPlan", "null").shows("/unlimited", "true");
}

#[test]
fn the_default_plans_are_those_of_the_contract() {
    let server = Server::open();
    let plans = [
        ("base", "0", "0", "0", "pro"),
        ("pro", "1.5", "0", "50", "premium"),
        ("premium", "3", "30", "100", "business"),
        ("business", "5", "50", "200", "enterprise"),
        ("enterprise", "null", "null", "null", "null"),
    ];
    let listed = server.get("/v1/plans").is(200);
    for (plan, cost, ai_runs, api_runs, next) in plans {
        assert!(listed.has_text(plan), "{listed}");
        server.user(plan, plan);
        let budget = server.budget(plan);
        budget.shows("/plan", plan).shows("/nextPlan", next).shows("/meters/cost/limit", cost);
        budget.shows("/meters/aiRuns/limit", ai_runs).shows("/meters/apiRuns/limit", api_runs);
    }
}

#[test]
fn a_changed_plan_moves_its_users() {
    let server = Server::open();
    server.user("u", "pro");
    server.put("/v1/plans/pro", json!({"limits": {"cost": 2.5, "aiRuns": 10, "apiRuns": null}})).is(200);
    let budget = server.budget("u");
    budget
        .shows("/meters/cost/limit", "2.5")
        .shows("/meters/aiRuns/limit", "10")
        .shows("/meters/apiRuns/limit", "null");
    server.put("/v1/plans/team", json!({"limits": {"cost": 4, "aiRuns": 40, "apiRuns": 150}})).is_one_of(&[200, 201]);
    server.user("u", "team");
    server.get("/v1/users/u/budget").is(200).shows("/meters/cost/limit", "4").shows("/plan", "team");
    server.put("/v1/plans/pro", json!({"limits": {"cost": -1}})).is(400);
}

#[test]
fn a_lowered_plan_raises_what_its_users_have_reached() {
    let server = Server::open();
    for user in ["u", "v", "w"] {
        server.user(user, if user == "w" { "business" } else { "premium" });
        server.record(api(user, 2.0));
    }
    assert!(server.all("/v1/alerts").is_empty());
    let limits = json!({"cost": 2, "aiRuns": 30, "apiRuns": 100});
    server.put("/v1/plans/premium", json!({"limits": limits})).is(200);
    // Each of the two reaches three thresholds at once; whoever is on another plan reaches none.
    until("every alert is there", || server.all("/v1/alerts").len() == 6);
    for alert in server.all("/v1/alerts") {
        alert.shows("/limit", "2").shows("/used", "2").shows("/plan", "premium");
        assert_ne!(alert.text("/userId"), "w");
    }
    // A forgotten meter is not an unlimited one.
    server.put("/v1/plans/premium", json!({"limits": {"cost": 2}})).refuses("/limits/aiRuns");
    server.put("/v1/plans/premium", json!({})).refuses("/limits");
    server.put("/v1/plans/premium", json!({"limits": limits})).is(200);
    assert_eq!(server.all("/v1/alerts").len(), 6);
}

#[test]
fn a_lowered_plan_raises_its_alerts_also_after_a_kill() {
    const USERS: usize = 4_000;
    let mut server = Server::open();
    for batch in 0..USERS / 1_000 {
        let users = (0..1_000).map(|n| api(&format!("u{}", batch * 1_000 + n), 2.0));
        server.record(Value::Array(users.collect()));
    }
    let limits = |cost: u32| json!({"limits": {"cost": cost, "aiRuns": null, "apiRuns": null}});
    server.put("/v1/plans/base", limits(100)).is(200);
    assert!(server.all("/v1/alerts").is_empty());
    // The plan is lowered, and the process killed somewhere on the way to the last user.
    for round in 0..3 {
        std::thread::scope(|scope| {
            let kill = server.killed_at_end();
            let body = limits(1).to_string();
            let server = &server;
            scope.spawn(move || {
                server.try_send("PUT", "/v1/plans/base", &[("content-type", "application/json")], body.as_bytes())
            });
            std::thread::sleep(std::time::Duration::from_millis(5 + 15 * round));
            drop(kill);
        });
        server.start_again();
    }
    // Whoever asks for the same again after a cut gets it done; so does the start alone, if it was committed.
    server.put("/v1/plans/base", limits(1)).is(200);
    until("every alert is there", || server.all("/v1/alerts?limit=1000").len() == 3 * USERS);
    server.verifies();
}

#[test]
fn percent_and_state_come_from_the_exact_fraction() {
    let server = Server::open();
    let cases = [
        ("2.399999999999", "80", "ok"),
        ("2.4", "80", "warning"),
        ("2.849999999999", "95", "warning"),
        ("2.85", "95", "critical"),
        ("2.999999999999", "100", "critical"),
        ("3", "100", "reached"),
        ("3.3", "110", "reached"),
        // Half to even, two decimals.
        ("0.00015", "0", "ok"),
        ("0.00045", "0.02", "ok"),
        ("0.00075", "0.02", "ok"),
        ("0.000750000001", "0.03", "ok"),
    ];
    for (index, (used, percent, state)) in cases.into_iter().enumerate() {
        let user = format!("u{index}");
        server.user(&user, "premium");
        server.record(api(&user, 0.0).with("cost", used));
        let budget = server.budget(&user);
        budget.meter("cost", used, "0").shows("/meters/cost/percent", percent).shows("/meters/cost/state", state);
        budget.shows("/state", state);
        // A hold counts as use does.
        let held = format!("held{index}");
        server.user(&held, "premium");
        if state != "reached" {
            server.open_session(&held, "s", json!({"cost": used})).is(201);
            server.budget(&held).shows("/meters/cost/percent", percent).shows("/meters/cost/state", state);
        }
    }
}

#[test]
fn few_runs_left_are_said_in_absolute_terms() {
    let server = Server::open();
    server.user("u", "premium");
    server.record(Value::Array((0..26).map(|_| ai_run("u", 0.0)).collect()));
    server.get("/v1/users/u/budget").is(200).shows("/meters/aiRuns/message", "null");
    server.record(ai_run("u", 0.0));
    server.get("/v1/users/u/budget").is(200).shows("/meters/aiRuns/message", "Only 3 AI operations left");
    server.record(Value::Array((0..89).map(|_| api_run("u", 0.0)).collect()));
    server.get("/v1/users/u/budget").is(200).shows("/meters/apiRuns/message", "null");
    server.record(api_run("u", 0.0));
    server.get("/v1/users/u/budget").is(200).shows("/meters/apiRuns/message", "Only 10 API operations left");
}

#[test]
fn a_past_month_is_compared_with_the_limits_of_today() {
    let server = Server::open();
    server.user("u", "premium");
    server.record(api("u", 1.5).with("timestamp", "2025-10-10T00:00:00Z"));
    server.user("u", "pro");
    let budget = server.budget_of("u", "2025-10");
    budget
        .shows("/meters/cost/limit", "1.5")
        .shows("/meters/cost/state", "reached")
        .instant("/resetsAt", "2025-11-01T00:00:00Z");
    for month in ["2025-1", "2025-00", "202510", "x"] {
        server.get(&of("u", &format!("/budget?month={month}"))).is(400);
    }
}

#[test]
fn afford_takes_the_first_choice_that_fits() {
    let server = Server::open();
    server.user("u", "premium");
    server.record(Value::Array((0..30).map(|_| ai_run("u", 0.05)).collect()));
    let choices = |first: Value, second: Value| json!({"choices": [{"name": "rich", "estimate": first}, {"name": "plain", "estimate": second}]});
    let path = of("u", "/afford");

    let first = server.post(&path, choices(json!({"cost": 0.5}), json!({"cost": 0.1}))).is(200);
    first.shows("/allowed", "true").shows("/reason", "within_limits").shows("/choice", "rich").shows("/failed", "[]");
    first.shows("/after/cost/used", "2").shows("/upgradeRequired", "false").shows("/nextPlan", "null");
    first.shows("/budget/meters/cost/used", "1.5");

    let second = server.post(&path, choices(json!({"aiRuns": 1}), json!({"apiRuns": 1}))).is(200);
    second.shows("/allowed", "true").shows("/reason", "fallback").shows("/choice", "plain");

    // When none fits, the first choice's reason; and the budget's wins where cost is among what failed.
    let none = server.post(&path, choices(json!({"aiRuns": 1}), json!({"cost": 100}))).is(200);
    none.shows("/allowed", "false")
        .shows("/reason", "runs_exceeded")
        .shows("/failed", r#"["aiRuns"]"#)
        .shows("/choice", "null");
    none.shows("/choices/0/allowed", "false")
        .shows("/choices/1/allowed", "false")
        .shows("/choices/1/failed", r#"["cost"]"#);
    none.shows("/nextPlan", "business").shows("/upgradeRequired", "true");
    let both = server.afford("u", json!({"cost": 4, "aiRuns": 1}));
    both.shows("/reason", "budget_exceeded").shows("/failed", r#"["cost", "aiRuns"]"#).shows("/nextPlan", "enterprise");
    let single = server.afford("u", json!({"cost": 0.1}));
    single.shows("/allowed", "true").shows("/choice", "null");
    assert_eq!(server.all("/v1/denials").len(), 0, "a check leaves no trace unless audited");
}

#[test]
fn a_refused_audited_check_leaves_a_denial() {
    let server = Server::open();
    server.user("u", "pro");
    let path = of("u", "/afford");
    server.post(&path, json!({"estimate": {"cost": 5}, "audit": true})).refuses("/feature");
    server
        .post(&path, json!({"estimate": {"cost": 1}, "audit": true, "feature": "scan"}))
        .is(200)
        .shows("/allowed", "true");
    server
        .post(&path, json!({"estimate": {"cost": 5}, "audit": true, "feature": "scan"}))
        .is(200)
        .shows("/allowed", "false");
    let denials = server.all(&of("u", "/denials"));
    assert_eq!(denials.len(), 1);
    denials[0]
        .shows("/source", "afford")
        .shows("/feature", "scan")
        .shows("/reason", "budget_exceeded")
        .shows("/sessionId", "null");
    // Exactly the limit of that plan fits.
    denials[0].amounts("/estimate", "5", "0", "0").shows("/nextPlan", "business");
    denials[0].shows("/limits/cost", "1.5").shows("/limits/aiRuns", "0").shows("/limits/apiRuns", "50");
}

#[test]
fn afford_takes_an_estimate_or_choices() {
    let server = Server::open();
    let estimate = json!({"cost": 0.1});
    let choices = json!([{"name": "a", "estimate": {"cost": 0.1}}]);
    for path in ["/afford", "/sessions"] {
        let path = of("u", path);
        let bodies = [
            json!({"feature": "test"}),
            json!({"feature": "test", "estimate": estimate, "choices": choices}),
            json!({"feature": "test", "choices": []}),
            json!({"feature": "test", "estimate": {"cost": -1}}),
            json!({"feature": "test", "estimate": {"aiRuns": 0.5}}),
            json!({"feature": "test", "choices": [{"estimate": {"cost": 1}}]}),
            json!({"feature": "test", "choices": [{"name": "twice", "estimate": {}}, {"name": "twice", "estimate": {}}]}),
        ];
        for body in bodies {
            server.post(&path, body).is(400);
        }
    }
    server.post(&of("u", "/afford"), json!({"estimate": {"cost": -1}})).refuses("/estimate/cost");
    assert_eq!(server.all("/v1/denials").len(), 0);
}

#[test]
fn alerts_are_made_once_for_each_threshold_and_limit() {
    let server = Server::open();
    server.user_with_cost_limit("u", 10.0);
    let thresholds = |user: &str| -> Vec<String> {
        let alerts: Vec<Json> = server.all("/v1/alerts?limit=1000");
        let of_user = alerts.iter().filter(|alert| alert.text("/userId") == user);
        let mut found: Vec<_> =
            of_user.map(|alert| format!("{}@{}", alert.at("/threshold"), alert.at("/limit"))).collect();
        found.sort();
        found
    };
    server.record(api("u", 8.0));
    assert_eq!(thresholds("u"), ["80@10"]);
    server.record(api("u", 1.4));
    assert_eq!(thresholds("u"), ["80@10"]);
    server.record(api("u", 0.1));
    assert_eq!(thresholds("u"), ["80@10", "95@10"]);
    // A lowered limit raises what is now reached under it; the same limit again raises nothing.
    server.user_with_cost_limit("u", 9.5);
    assert_eq!(thresholds("u"), ["100@9.5", "80@10", "80@9.5", "95@10", "95@9.5"]);
    server.user_with_cost_limit("u", 20.0);
    server.user_with_cost_limit("u", 9.5);
    assert_eq!(thresholds("u").len(), 5);

    // All at once: the lower ones say by which they were superseded. A hold raises nothing.
    server.user("v", "premium");
    server.open_session("v", "s", json!({"cost": 3})).is(201);
    assert_eq!(thresholds("v"), [""; 0]);
    server.record(api("v", 3.5).with("timestamp", "2025-10-10T00:00:00Z"));
    assert_eq!(thresholds("v"), ["100@3", "80@3", "95@3"]);
    for alert in server.all("/v1/alerts").iter().filter(|alert| alert.text("/userId") == "v") {
        alert.shows("/month", "2025-10").shows("/used", "3.5").shows("/percent", "116.67").shows("/meter", "cost");
        alert.instant("/resetsAt", "2025-11-01T00:00:00Z");
        let superseded = !matches!(alert.get("/supersededBy"), None | Some(Json::Null));
        assert_eq!(superseded, *alert.at("/threshold") != Json::Number("100".to_owned()), "{alert}");
        assert!(!alert.text("/alertId").is_empty());
    }
    // A reversal takes back no alert, and crossing again raises no second one.
    server.user("w", "premium");
    server.record(api("w", 2.4).with("operationId", "o"));
    server.reverse("w", "o").is(200);
    server.record(api("w", 2.5));
    assert_eq!(thresholds("w"), ["80@3"]);
}

#[test]
fn alerts_are_made_at_the_percentages_of_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outlay.toml");
    std::fs::write(&file, "[alerts]\nthresholds = [50, 100]\nplans.business = [90]\n").unwrap();
    let mut server = Setup::open().argument("--config").argument(file.to_str().unwrap()).start();
    let plans = server.get("/v1/plans").is(200);
    for (at, thresholds) in [(2, "[50,100]"), (3, "[90]")] {
        plans.shows(&format!("/items/{at}/alertThresholds"), thresholds);
    }
    let thresholds = |server: &Server, user: &str| -> Vec<String> {
        let of_user = server.all("/v1/alerts").into_iter().filter(|alert| alert.text("/userId") == user);
        let mut found: Vec<_> = of_user.map(|alert| alert.at("/threshold").to_string()).collect();
        found.sort();
        found
    };
    for (user, plan, cost) in [("u", "premium", 1.5), ("v", "premium", 1.49), ("w", "business", 4.49)] {
        server.user(user, plan);
        server.record(api(user, cost));
    }
    assert_eq!(thresholds(&server, "u"), ["50"]);
    assert_eq!(thresholds(&server, "v"), [""; 0]);
    assert_eq!(thresholds(&server, "w"), [""; 0]);
    for user in ["v", "w"] {
        server.record(api(user, 0.01));
    }
    assert_eq!(thresholds(&server, "v"), ["50"]);
    assert_eq!(thresholds(&server, "w"), ["90"]);
    // What a state says stays as it is.
    server.get("/v1/users/u/budget").is(200).shows("/meters/cost/state", "ok");

    // Other percentages hold from the next start on, for what is used from then on; what was made stays.
    std::fs::write(&file, "").unwrap();
    server.restart();
    assert_eq!(thresholds(&server, "u"), ["50"]);
    server.record(api("u", 0.9));
    assert_eq!(thresholds(&server, "u"), ["50", "80"]);
}

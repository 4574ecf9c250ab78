//! The rules that hold always, one test each, named as its sentence.

use std::collections::{BTreeMap, HashMap};
use std::sync::Mutex;
#[cfg(feature = "test-clock")]
use std::sync::atomic::{AtomicBool, Ordering};

use rand::RngExt as _;
use serde_json::{Value, json};

#[cfg(feature = "test-clock")]
use crate::support::raised_at_end;
use crate::support::{
    ADMIN, Asks, Json, Server, Setup, With, ai, ai_run, api, api_run, at_once, decimal, encoded, found_in_files, of,
    random, seed, until,
};

const PICO: i128 = 1_000_000_000_000;

#[test]
fn facts_are_never_refused_only_intents() {
    let server = Server::open();
    server.user("u", "premium");
    server.open_session("u", "held", json!({"cost": 1.0, "aiRuns": 29})).is(201);
    // Exactly the limit fits, and the smallest amount more does not.
    server.afford("u", json!({"cost": 2.0, "aiRuns": 1, "apiRuns": 100})).shows("/allowed", "true");
    server
        .afford("u", json!({"cost": "2.000000000001"}))
        .shows("/allowed", "false")
        .shows("/reason", "budget_exceeded");
    server.afford("u", json!({"aiRuns": 2})).shows("/allowed", "false").shows("/reason", "runs_exceeded");
    server.open_session("u", "exactly", json!({"cost": 2.0, "aiRuns": 1})).is(201);
    server.open_session("u", "refused", json!({"cost": "0.000000000001"})).is(402);
    // A meter with nothing asked of it always fits.
    server.open_session("u", "free", json!({"apiRuns": 1})).is(201);

    server.record(ai_run("u", 5.0).with("sessionId", "refused"));
    server.record(ai_run("u", 5.0));
    let budget = server.budget("u");
    budget.meter("cost", "10", "3").meter("aiRuns", "2", "30");
    budget.shows("/meters/cost/remaining", "0").shows("/meters/cost/percent", "433.33").shows("/state", "reached");
    server.record(api_run("nobody-has-seen", 1.0)).shows("/budget/plan", "base").shows("/budget/meters/cost/used", "1");
}

/// Every figure that one operation moves, from every view that shows it.
fn views(server: &Server, month: &str) -> Vec<Json> {
    let history = server.get(&of("u", "/history?months=1")).is(200);
    vec![
        server.budget_of("u", month),
        server.get(&of("u", &format!("?month={month}"))).is(200),
        server.session("u", "s"),
        server.get(&of("u", &format!("/usage?month={month}"))).is(200),
        history,
        server.get("/v1/alerts").is(200),
        server.get("/v1/sessions").is(200),
    ]
}

#[test]
fn one_operation_one_transaction() {
    let mut server = Server::open();
    server.user("u", "premium");
    let operation = ai_run("u", 2.4).with("sessionId", "s").with("operationId", "o").with("feature", "scan");
    let reply = server.record(operation.with("finishSession", "completed"));
    let month = reply.text("/month").to_owned();

    let before = views(&server, &month);
    let [budget, user, session, usage, history, alerts, sessions] = &before[..] else { panic!("seven views") };
    assert!(budget == reply.at("/budget"), "{budget} beside {reply}");
    user.shows("/monthlyTotalCost", "2.4").shows("/monthlyBillableRunsAI", "1").shows("/monthlyUsageMonth", &month);
    session.shows("/totalCost", "2.4").shows("/totalRuns", "1").shows("/status", "completed");
    usage.shows("/items/0/operationId", "o").shows("/items/0/cost", "2.4").shows("/items/0/month", &month);
    assert!(history.has_number("2.4"), "{history}");
    alerts.shows("/items/0/userId", "u").shows("/items/0/threshold", "80");
    sessions.shows("/items/0/sessionId", "s").shows("/items/0/totalCost", "2.4");
    let overview = server.get(&format!("/v1/overview?month={month}")).is(200);
    assert!(overview.has_number("2.4"), "{overview}");

    server.restart();
    for (before, after) in before.iter().zip(views(&server, &month)) {
        assert!(*before == after, "{before} before the kill, {after} after it");
    }
    server.verifies();
}

#[test]
fn exactly_once_for_ever() {
    let mut server = Server::open();
    server.user("u", "premium");
    let operation = ai_run("u", 0.25).with("operationId", "once").with("timestamp", "2025-03-05T10:00:00.5Z");
    let first = server.record(operation.clone().with("metadata", json!({"b": 1, "a": {"y": [1], "x": 2}})));
    first.shows("/duplicate", "false");
    // The same content in other words: another order of keys, another zone, defaults spelled out, money as text.
    let same = r#"{"timestamp": "2025-03-05T11:00:00.500+01:00", "metadata": {"a": {"x": 2, "y": [1]}, "b": 1}, "cost": "0.2500",
        "feature": "test", "provider": "unknown", "model": null, "isBillableRun": true, "usageType": "AIUsage", "userId": "u",
        "operationId": "once", "sessionId": null}"#;
    let again = |server: &Server| {
        let reply = server.post("/v1/usage", same).is(200);
        reply.shows("/duplicate", "true");
        assert!(reply.without("duplicate") == first.clone().without("duplicate"));
    };
    again(&server);
    server.restart();
    again(&server);
    assert!(server.stop().success());
    server.start_again();
    again(&server);

    let other_contents = [
        operation.clone(),
        operation.clone().with("metadata", json!({"b": 1, "a": {"y": [1], "x": 3}})),
        json!({"operationId": "once", "userId": "u", "feature": "test", "cost": 0.25}),
    ];
    for other in other_contents {
        server.post("/v1/usage", other).is(409);
    }
    server.budget_of("u", "2025-03").meter("cost", "0.25", "0").meter("aiRuns", "1", "0");
    // Another user's operation of the same id is another operation.
    server.record(api("v", 0.5).with("operationId", "once")).shows("/duplicate", "false");

    // Twice in one batch: the first is recorded, the second is its duplicate.
    let twin = api("u", 0.125).with("operationId", "twin").with("timestamp", "2025-03-06T10:00:00Z");
    let results = server.post("/v1/usage", json!([twin, twin, twin.clone().with("cost", 1)])).is(207);
    results
        .shows("/results/0/duplicate", "false")
        .shows("/results/1/duplicate", "true")
        .shows("/results/2/status", "409");
    server.budget_of("u", "2025-03").meter("cost", "0.375", "0");
}

/// One client's part at the edge of a limit: sessions with holds, drawn down in part and given back, until `enough` says
/// so of the number of refused openings. Gives the exact sum of what it recorded.
fn ask_at_the_edge(server: &Server, seed: u64, client: usize, enough: impl Fn(usize) -> bool) -> i128 {
    let (mut random, mut recorded, mut refusals) = (random(seed, client), 0, 0);
    for round in 0.. {
        if enough(refusals) {
            break;
        }
        let session = format!("session_{client}_{round}");
        let hold: i128 = random.random_range(1..=40_000_000_000);
        let opened = server.open_session("edge", &session, json!({"cost": decimal(hold)}));
        if opened.status == 402 {
            refusals += 1;
            continue;
        }
        check_edge(opened.is(201).at("/budget"));
        let mut left = hold;
        for _ in 0..random.random_range(0..3) {
            let part = random.random_range(0..=left);
            let step = ai("edge", 0.0).with("sessionId", session.as_str()).with("cost", decimal(part));
            check_edge(server.record(step).at("/budget"));
            left -= part;
            recorded += part;
        }
        server.finish("edge", &session, if random.random_bool(0.5) { "completed" } else { "failed" }).is(200);
        check_edge(&server.budget("edge"));
    }
    recorded
}

#[track_caller]
fn check_edge(budget: &Json) {
    let (used, held) = (budget.pico("/meters/cost/used"), budget.pico("/meters/cost/held"));
    assert!(used + held <= PICO, "{} used and {} held", decimal(used), decimal(held));
}

#[test]
fn no_overspend_by_those_who_ask() {
    let seed = seed("no_overspend_by_those_who_ask");
    let server = Server::open();
    server.user_with_cost_limit("edge", 1.0);
    let recorded: i128 =
        at_once(64, |client| ask_at_the_edge(&server, seed, client, |refusals| refusals >= 5)).into_iter().sum();
    server.budget("edge").meter("cost", &decimal(recorded), "0");
    server.verifies();
}

#[test]
#[cfg(feature = "test-clock")]
fn no_overspend_by_those_who_ask_while_the_month_turns() {
    let seed = seed("no_overspend_by_those_who_ask_while_the_month_turns");
    let server = Server::at("2025-10-31T23:59:58Z");
    server.user_with_cost_limit("edge", 1.0);
    let stop = AtomicBool::new(false);
    let sums = at_once(65, |client| {
        if client == 64 {
            let _stop = raised_at_end(&stop);
            for now in [
                "2025-10-31T23:59:59Z",
                "2025-10-31T23:59:59.999999999Z",
                "2025-11-01T00:00:00Z",
                "2025-11-01T00:00:01Z",
            ] {
                // Each step of the clock waits for work to be done under the one before it.
                let newest = || ["/usage?limit=1", "/denials?limit=1"].map(|list| server.page(&of("edge", list), None));
                let before = newest();
                until("somebody asks", || newest() != before);
                server.clock(now);
            }
            return 0;
        }
        ask_at_the_edge(&server, seed, client, |_| stop.load(Ordering::Relaxed))
    });
    let recorded: i128 = sums.into_iter().sum();
    let months = ["2025-10", "2025-11"].map(|month| server.budget_of("edge", month));
    for budget in &months {
        check_edge(budget);
        budget.shows("/meters/cost/held", "0");
    }
    assert_eq!(months.iter().map(|budget| budget.pico("/meters/cost/used")).sum::<i128>(), recorded);
    server.verifies();
}

/// The store's clock and the wall clock may be in two months: a hold counts in both, since a step may be booked in either.
#[test]
#[cfg(feature = "test-clock")]
fn no_overspend_though_the_clocks_are_in_two_months() {
    // Awake after a long sleep, which the store's clock does not believe at once; and set back a little.
    for (before, after) in
        [("2026-11-30T12:00:00Z", "2026-12-01T08:00:00Z"), ("2026-12-01T00:00:05Z", "2026-11-30T23:59:55Z")]
    {
        let server = Server::at(before);
        server.user("q", "premium");
        server.clock(after);
        let opened: Vec<u16> = ["s1", "s2", "s3"]
            .into_iter()
            .map(|session| {
                let asked = json!({"sessionId": session, "feature": "f", "estimate": {"cost": 3}, "holdSeconds": 600});
                let opened = server.post(&of("q", "/sessions"), asked);
                if opened.status == 201 {
                    let step = json!({"userId": "q", "feature": "f", "provider": "p", "cost": 3, "sessionId": session,
                        "finishSession": "completed"});
                    server.record(step);
                }
                opened.status
            })
            .collect();
        assert_eq!(opened, [201, 402, 402], "{before}, then {after}");
        server.verifies();
    }
}

#[test]
fn acknowledged_means_durable() {
    let mut server = Server::open();
    let acknowledged = Mutex::new(HashMap::new());
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (server, acknowledged) = (&server, &acknowledged);
            scope.spawn(move || {
                for n in 0.. {
                    let id = format!("operation_{client}_{n}");
                    let asked =
                        api_run("u", 0.001).with("operationId", id.as_str()).with("timestamp", "2025-10-01T00:00:00Z");
                    let Ok(reply) = server.try_post("/v1/usage", asked) else {
                        return;
                    };
                    let budget = reply.is(200).pico("/budget/meters/cost/used");
                    acknowledged.lock().unwrap().insert(id, budget);
                }
            });
        }
        let _kill = server.killed_at_end();
        until("500 are acknowledged", || acknowledged.lock().unwrap().len() >= 500);
    });
    server.start_again();
    let acknowledged = acknowledged.into_inner().unwrap();
    let mut times = BTreeMap::new();
    for item in server.all(&of("u", "/usage?limit=1000")) {
        *times.entry(item.text("/operationId").to_owned()).or_insert(0) += 1;
    }
    for id in acknowledged.keys() {
        assert_eq!(times.get(id), Some(&1), "{id} was acknowledged");
    }
    assert!(times.values().all(|count| *count == 1), "something is there twice");
    // Nobody was shown what was not durable.
    let used = server.budget_of("u", "2025-10").pico("/meters/cost/used");
    assert_eq!(used, i128::try_from(times.len()).unwrap() * PICO / 1000);
    assert!(acknowledged.values().all(|shown| *shown <= used));
    server.verifies();
}

#[test]
fn money_is_exact() {
    let server = Server::open();
    server.user("u", "enterprise");
    let with_cost = |user: &str, cost: &str| format!(r#"{{"userId": "{user}", "feature": "test", "cost": {cost}}}"#);
    let kept = [
        ("0", "0"),
        ("0.00010785", "0.00010785"),
        (r#""0.00010785""#, "0.00010785"),
        ("2e-7", "0.0000002"),
        ("1.5E-3", "0.0015"),
        ("15e+1", "150"),
        (r#""2e-7""#, "0.0000002"),
        ("3.00", "3"),
        ("0.000000000001", "0.000000000001"),
        ("999999.999999999999", "999999.999999999999"),
        ("1000000", "1000000"),
        // Beyond 12 decimals: half to even.
        ("0.0000000000005", "0"),
        ("0.0000000000015", "0.000000000002"),
        ("0.0000000000025", "0.000000000002"),
        ("0.00000000000250000000000000001", "0.000000000003"),
        ("0.0000000000004999999999999999", "0"),
        // What floats make of 0.1 + 0.2 and of 3 x 0.1.
        ("0.30000000000000004", "0.3"),
        ("0.1000000000000000055511151231257827", "0.1"),
        ("2.5e-12", "0.000000000002"),
        ("1e-400", "0"),
    ];
    let mut sum = 0;
    for (sent, answered) in kept {
        let reply = server.post("/v1/usage", with_cost("u", sent).as_str()).is(200);
        reply.shows("/cost", answered);
        sum += reply.pico("/cost");
        reply.shows("/budget/meters/cost/used", &decimal(sum));
    }
    let text = server.get(&of("u", "/usage?limit=1000")).text();
    let costs = text.split("\"cost\":").skip(1).filter_map(|rest| rest.split([',', '}']).next());
    for cost in costs {
        assert!(!cost.contains(['e', 'E']), "an exponent was answered: {cost}");
    }

    // The same noise twice is the same content: it is compared after rounding.
    for cost in ["0.30000000000000004", "0.3", r#""0.3000""#, "3e-1"] {
        let noisy = format!(r#"{{"userId": "n", "feature": "test", "operationId": "noise", "cost": {cost}}}"#);
        server.post("/v1/usage", noisy.as_str()).is(200).shows("/cost", "0.3");
    }
    server.budget("n").meter("cost", "0.3", "0");

    for refused in [
        "-0.01",
        r#""-0.000000000001""#,
        "1000000.000000000001",
        "1e7",
        "1e300",
        r#""1,5""#,
        r#""""#,
        r#""0x1""#,
        "true",
    ] {
        server.post("/v1/usage", with_cost("refused", refused).as_str()).is_one_of(&[400, 422]);
    }
    server.budget("refused").meter("cost", "0", "0");
    server.get(&of("refused", "")).is(200).shows("/known", "false");

    // A month's sum ends at 9,000,000; what is beyond is a 422, and changes nothing.
    for _ in 0..9 {
        server.post("/v1/usage", with_cost("rich", "1000000").as_str()).is(200);
    }
    server.post("/v1/usage", with_cost("rich", "0.000000000001").as_str()).is(422);
    server.budget("rich").meter("cost", "9000000", "0");
    server.user("holder", "enterprise");
    for n in 0..9 {
        server.open_session("holder", &format!("s{n}"), json!({"cost": 1_000_000})).is(201);
    }
    server.open_session("holder", "s9", json!({"cost": "0.000000000001"})).is(422);
    server.budget("holder").meter("cost", "0", "9000000");
    for limits in [json!({"cost": 9_000_000}), json!({"aiRuns": 1_000_000_000_000_i64})] {
        server.put(&of("limits", ""), json!({"limits": limits})).is_one_of(&[200, 201]);
    }
    for limits in
        [json!({"cost": "9000000.000000000001"}), json!({"aiRuns": 1_000_000_000_001_i64}), json!({"cost": -1})]
    {
        server.put(&of("limits", ""), json!({"limits": limits})).is_one_of(&[400, 422]);
    }
    server.verifies();
}

#[test]
fn counters_are_sums() {
    let seed = seed("counters_are_sums");
    let mut random = random(seed, 0);
    let mut server = Server::open();
    let mut sums: HashMap<(String, &str), (i128, i64, i64)> = HashMap::new();
    let mut live: Vec<(String, String, &str, i128, bool, bool)> = Vec::new();
    for batch in 0..20 {
        let mut operations = Vec::new();
        for n in 0..50 {
            let (user, id) = (format!("user_{}", random.random_range(0..5)), format!("operation_{batch}_{n}"));
            let month = ["2025-09", "2025-10", "2025-11"][random.random_range(0..3)];
            let cost: i128 = random.random_range(0..PICO / 10);
            let (is_ai, is_run) = (random.random_bool(0.5), random.random_bool(0.5));
            let sum = sums.entry((user.clone(), month)).or_default();
            sum.0 += cost;
            sum.1 += i64::from(is_ai && is_run);
            sum.2 += i64::from(!is_ai && is_run);
            let operation = if is_ai { ai(&user, 0.0) } else { api(&user, 0.0) };
            operations.push(
                operation
                    .with("operationId", id.as_str())
                    .with("cost", decimal(cost))
                    .with("isBillableRun", is_run)
                    .with("feature", format!("feature_{}", random.random_range(0..4)))
                    .with("timestamp", format!("{month}-{:02}T12:00:00Z", random.random_range(1..=30))),
            );
            live.push((user, id, month, cost, is_ai, is_run));
        }
        server.record(Value::Array(operations));
        for _ in 0..5 {
            let (user, id, month, cost, is_ai, is_run) = live.swap_remove(random.random_range(0..live.len()));
            server.reverse(&user, &id).is(200);
            let sum = sums.get_mut(&(user, month)).unwrap();
            sum.0 -= cost;
            sum.1 -= i64::from(is_ai && is_run);
            sum.2 -= i64::from(!is_ai && is_run);
        }
    }
    let check = |server: &Server| {
        for ((user, month), (cost, ai_runs, api_runs)) in &sums {
            let budget = server.budget_of(user, month);
            budget.meter("cost", &decimal(*cost), "0");
            budget.meter("aiRuns", &ai_runs.to_string(), "0").meter("apiRuns", &api_runs.to_string(), "0");
            let listed = server.all(&of(user, &format!("/usage?month={month}&limit=100")));
            assert_eq!(listed.iter().map(|item| item.pico("/cost")).sum::<i128>(), *cost);
        }
    };
    check(&server);
    server.post("/v1/verify", json!({})).is(200).shows("/ok", "true").shows("/findings", "[]");
    server.verifies();
    assert!(server.stop().success());
    server.verifies();
    server.start_again();
    check(&server);
}

#[test]
fn months_do_not_reset_they_begin() {
    let server = Server::open();
    server.user("u", "premium");
    server.record(ai_run("u", 0.5).with("timestamp", "2025-11-01T00:00:00Z")).shows("/month", "2025-11");
    // A late operation lands in its own month, whatever came since.
    let late = server.record(ai_run("u", 0.25).with("timestamp", "2025-10-31T23:59:59.999999999Z"));
    late.shows("/month", "2025-10").shows("/budget/month", "2025-10").shows("/budget/meters/cost/used", "0.25");
    // The zone of the client does not matter: this is November in UTC.
    server.record(ai_run("u", 0.125).with("timestamp", "2025-10-31T20:00:00-05:00")).shows("/month", "2025-11");
    server.record(ai_run("u", 2.0).with("timestamp", "2024-02-29T12:00:00Z")).shows("/month", "2024-02");
    server.budget_of("u", "2024-02").meter("cost", "2", "0").instant("/resetsAt", "2024-03-01T00:00:00Z");
    server.budget_of("u", "2025-10").meter("cost", "0.25", "0").meter("aiRuns", "1", "0");
    server.budget_of("u", "2025-11").meter("cost", "0.625", "0").meter("aiRuns", "2", "0");
    server.budget_of("u", "2025-12").meter("cost", "0", "0").instant("/resetsAt", "2026-01-01T00:00:00Z");
    server.budget("u").meter("cost", "0", "0").meter("aiRuns", "0", "0");
    server
        .get(&of("u", "?month=2025-10"))
        .is(200)
        .shows("/monthlyTotalCost", "0.25")
        .shows("/monthlyUsageMonth", "2025-10");
    let listed = server.all(&of("u", "/usage?month=2025-10"));
    assert_eq!(listed.len(), 1);
    listed[0].shows("/cost", "0.25");
}

#[test]
fn a_limit_of_zero_allows_nothing() {
    let server = Server::open();
    server.put(&of("u", ""), json!({"plan": "enterprise", "limits": {"cost": 0, "aiRuns": 0}})).is(201);
    for estimate in [json!({"cost": "0.000000000001"}), json!({"aiRuns": 1})] {
        server.afford("u", estimate.clone()).shows("/allowed", "false");
        server.open_session("u", "refused", estimate).is(402);
    }
    server.afford("u", json!({"apiRuns": 1})).shows("/allowed", "true");
    // Nothing asked always fits.
    server.afford("u", json!({"cost": 0, "aiRuns": 0})).shows("/allowed", "true");
    let budget = server.budget("u");
    for meter in ["cost", "aiRuns"] {
        budget.shows(&format!("/meters/{meter}/limit"), "0").shows(&format!("/meters/{meter}/remaining"), "0");
        budget.shows(&format!("/meters/{meter}/percent"), "100").shows(&format!("/meters/{meter}/state"), "reached");
        budget.shows(&format!("/meters/{meter}/message"), "Not in your plan");
    }
    budget.shows("/state", "reached").shows("/unlimited", "false");
    // The default plan is all zeros; and a limit of 0 raises no alert.
    server.afford("never-seen", json!({"apiRuns": 1})).shows("/allowed", "false").shows("/nextPlan", "pro");
    server.record(ai_run("u", 1.0));
    assert_eq!(server.all("/v1/alerts").len(), 0);
}

#[test]
fn an_absent_limit_is_unlimited() {
    let server = Server::open();
    server.put(&of("u", ""), json!({"plan": "base", "limits": {"cost": null, "aiRuns": null}})).is(201);
    server
        .afford("u", json!({"cost": 1_000_000, "aiRuns": 1_000_000}))
        .shows("/allowed", "true")
        .shows("/reason", "unlimited");
    server.afford("u", json!({"cost": 1, "apiRuns": 1})).shows("/allowed", "false").shows("/failed", r#"["apiRuns"]"#);
    server.record(ai_run("u", 123.456));
    let budget = server.budget("u");
    budget.meter("cost", "123.456", "0").meter("aiRuns", "1", "0").shows("/unlimited", "false");
    for meter in ["cost", "aiRuns"] {
        for (field, expected) in [("limit", "null"), ("remaining", "null"), ("percent", "null"), ("state", "ok")] {
            budget.shows(&format!("/meters/{meter}/{field}"), expected);
        }
    }
    // The plan's zero stands where nothing overrides it.
    budget.shows("/meters/apiRuns/limit", "0").shows("/meters/apiRuns/state", "reached");
    server.user("v", "enterprise");
    server.budget("v").shows("/unlimited", "true");
    server.afford("v", json!({"cost": 1, "aiRuns": 1, "apiRuns": 1})).shows("/reason", "unlimited");
    assert_eq!(server.all("/v1/alerts").len(), 0);
}

#[test]
fn failing_is_closed() {
    let mut server = Setup::open().file_limit_is_an_error().start();
    server.user("u", "enterprise");
    server.record(api("u", 0.001).with("operationId", "before"));
    let files = std::fs::read_dir(server.data()).unwrap().map_while(Result::ok);
    let largest = files.filter(|entry| entry.file_name() != "reserve").filter_map(|entry| entry.metadata().ok());
    let largest = largest.map(|found| found.len()).max().unwrap();
    let limit = rustix::process::Rlimit { current: Some(largest + 1024 * 1024), maximum: Some(largest + 1024 * 1024) };
    rustix::process::prlimit(Some(server.process_id()), rustix::process::Resource::Fsize, limit).unwrap();

    let padding = "x".repeat(7000);
    let mut acknowledged = vec!["before".to_owned()];
    let mut failed = false;
    for batch in 0..2000 {
        let ids: Vec<String> = (0..20).map(|n| format!("operation_{batch}_{n}")).collect();
        let asked = ids
            .iter()
            .map(|id| api("u", 0.001).with("operationId", id.as_str()).with("metadata", json!({"p": padding})));
        match server.try_post("/v1/usage", Value::Array(asked.collect())) {
            Ok(reply) if reply.status == 200 => {
                assert!(!failed, "acknowledged after the store had failed");
                acknowledged.extend(ids);
            }
            // Cut off, or said to be unknown or impossible: but never "done".
            Ok(reply) if reply.status == 207 => {
                let results = reply.json();
                for (id, result) in ids.iter().zip(results.list("/results")) {
                    match result.get("/success") {
                        Some(Json::Bool(true)) => acknowledged.push(id.clone()),
                        _ => assert!(result.pico("/status") >= 500 * PICO, "{result}"),
                    }
                }
                failed = true;
            }
            Ok(reply) => {
                assert!(reply.status >= 500, "{}", reply.text());
                failed = true;
            }
            Err(_) => failed = true,
        }
        if failed {
            break;
        }
    }
    assert!(failed, "the store never met its limit");
    // An intent is refused or not answered, never allowed by a store that cannot keep it.
    if let Ok(reply) = server.try_post(&of("u", "/sessions"), json!({"feature": "test", "estimate": {"cost": 1}})) {
        assert!(reply.status >= 500, "{} {}", reply.status, reply.text());
    }
    assert!(!server.wait_for_end().success(), "a store in doubt ends the process as a failure");

    // A start carries the limit no more.
    server.start_again();
    let present: Vec<String> =
        server.all(&of("u", "/usage?limit=1000")).iter().map(|i| i.text("/operationId").to_owned()).collect();
    for id in &acknowledged {
        assert_eq!(present.iter().filter(|found| *found == id).count(), 1, "{id} was acknowledged");
    }
    server.verifies();
}

#[test]
fn a_user_sees_only_their_own() {
    let server = Server::keyed();
    for user in ["alice", "bob"] {
        server.user(user, "premium");
        let step = ai_run(user, 0.25).with("sessionId", "s").with("operationId", "o").with("feature", "scan");
        server.record(
            step.with("provider", "gemini")
                .with("model", "flash")
                .with("metadata", json!({"secret": "of the operator"})),
        );
    }
    let mint = |user: &str, reads: Value| {
        let minted = server.post(&of(user, "/tokens"), json!({"ttlSeconds": 3600, "reads": reads})).is(201);
        minted.text("/expiresAt").parse::<jiff::Timestamp>().unwrap();
        minted.text("/token").to_owned()
    };
    let (plain, reading) = (mint("alice", json!([])), mint("alice", json!(["sessions", "usage"])));
    let (plain_caller, reading_caller) = (server.with_key(&plain), server.with_key(&reading));
    plain_caller.budget("alice").shows("/userId", "alice").meter("cost", "0.25", "0");
    let history = plain_caller.get(&of("alice", "/history")).is(200);
    assert!(history.has_number("0.25"), "{history}");
    for word in ["gemini", "flash", "scan"] {
        assert!(!plain_caller.get(&of("alice", "/history")).text().contains(word), "{word} in {history}");
    }
    let with_features = reading_caller.get(&of("alice", "/history")).text();
    assert!(with_features.contains("scan") && !with_features.contains("gemini") && !with_features.contains("flash"));

    for path in ["/sessions", "/sessions/s", "/usage"] {
        plain_caller.get(&of("alice", path)).is(403);
        let seen = reading_caller.get(&of("alice", path));
        assert!(seen.is(200).has_number("0.25"), "{}", seen.text());
        for word in ["gemini", "flash", "of the operator"] {
            assert!(!seen.text().contains(word), "{word} in {}", seen.text());
        }
    }
    for caller in [&plain_caller, &reading_caller] {
        for path in ["/budget", "/history", "/sessions", "/sessions/s", "/usage"] {
            caller.get(&of("bob", path)).is(403);
        }
        for path in ["", "/denials", "/export"] {
            caller.get(&of("alice", path)).is(403);
        }
        for path in [
            "/v1/users",
            "/v1/overview",
            "/v1/sessions",
            "/v1/alerts",
            "/v1/denials",
            "/v1/plans",
            "/v1/keys",
            "/metrics",
        ] {
            caller.get(path).is(403);
        }
        caller.post("/v1/usage", ai("alice", 1.0)).is(403);
        caller.post(&of("alice", "/afford"), json!({"estimate": {"cost": 1}})).is(403);
        caller.post(&of("alice", "/tokens"), json!({"ttlSeconds": 3600})).is(403);
        caller.delete(&of("alice", "")).is(403);
    }
    // Twins in spelling are others: another case, an encoded letter of another normal form.
    plain_caller.get(&of("Alice", "/budget")).is(403);
    plain_caller.get("/v1/users/%61lice/budget").is(200).shows("/userId", "alice");

    // No changed token passes, and none of another deployment.
    for at in (0..plain.len()).step_by(7) {
        let mut bytes = plain.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        server.with_key(&String::from_utf8(bytes).unwrap()).get(&of("alice", "/budget")).is(401);
    }
    let elsewhere = Server::keyed();
    elsewhere.with_key(&plain).get(&of("alice", "/budget")).is(401);
    server.with_key(ADMIN).budget("alice").meter("cost", "0.25", "0");
}

#[test]
fn erasable_and_portable() {
    let mut server = Server::open();
    let (user, word) = ("grace.hopper@example.org", "word-only-she-used");
    server.put(&of(user, ""), json!({"plan": "premium", "email": "private@example.org"})).is(201);
    server.open_session(user, "her-open-session", json!({"cost": 0.5})).is(201);
    let timestamp = "2025-10-05T00:00:00Z";
    for n in 0..20 {
        let operation =
            ai_run(user, 0.01).with("operationId", format!("her-operation-{n}")).with("timestamp", timestamp);
        server.record(
            operation.with("metadata", json!({"note": word})).with("sessionId", "her-session").with("stepLabel", word),
        );
    }
    server.post(&of(user, "/denials"), json!({"feature": "test", "estimate": {"cost": 1}, "reason": word})).is(201);
    server.record(ai_run("other", 0.5).with("timestamp", timestamp));

    let export = server.get(&of(user, "/export"));
    let lines: Vec<Json> = export.text().lines().map(|line| Json::parse(line).unwrap()).collect();
    let count = |kind: &str| lines.iter().filter(|line| line.text("/kind") == kind).count();
    assert_eq!(
        (count("user"), count("operation"), count("session"), count("denial")),
        (1, 20, 2, 1),
        "{}",
        export.text()
    );

    let before = server.get("/v1/overview?month=2025-10").is(200);
    assert!(before.has_number("0.7"), "{before}");
    server.delete(&of(user, "")).is(204);
    server.delete(&of(user, "")).is(204);
    server.delete(&of("nobody", "")).is(204);
    assert!(server.get("/v1/overview?month=2025-10").is(200).has_number("0.7"), "the sums stay");

    server.get(&of(user, "")).is(200).shows("/known", "false").shows("/plan", "base").shows("/email", "null");
    server.budget_of(user, "2025-10").meter("cost", "0", "0");
    server.budget(user).meter("cost", "0", "0");
    assert!(server.all(&of(user, "/usage")).is_empty() && server.all(&of(user, "/sessions")).is_empty());
    server.get(&of(user, "/sessions/her-session")).is(404);
    // The same id coming back is a new user, to whom nothing is a duplicate.
    let again = ai_run(user, 0.02).with("operationId", "her-operation-0").with("timestamp", timestamp);
    server.record(again).shows("/duplicate", "false").shows("/budget/meters/cost/used", "0.02");
    server.delete(&of(user, "")).is(204);
    server.verifies();

    // Slices wipe what is left, also across a crash; then no file holds a word of hers.
    server.restart();
    for text in [user, "private@example.org", word, "her-operation-7", "her-session"] {
        until("every text is wiped", || found_in_files(&server.data(), text.as_bytes()).is_none());
    }
    server.verifies();
    let backup = server.file("backup");
    server.outlay(&["backup", backup.to_str().unwrap()]).exits(0);
    assert!(!std::fs::read(&backup).unwrap().windows(word.len()).any(|window| window == word.as_bytes()));
    assert!(server.get(&format!("/v1/users?q={}", encoded("grace"))).is(200).list("/items").is_empty());
}

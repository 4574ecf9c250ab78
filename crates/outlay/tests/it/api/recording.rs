//! `POST /v1/usage` in its three forms, and reversals.

use serde_json::{Value, json};

use crate::support::{Asks, Json, Server, With, ai, ai_run, api, api_run, now, of};

#[test]
fn an_operation_keeps_every_field_it_was_posted_with() {
    let server = Server::open();
    server.user("u", "premium");
    let posted = json!({
        "operationId": "o", "userId": "u", "usageType": "AIUsage", "feature": "tagging", "provider": "gemini", "model": "flash",
        "cost": 0.0123, "tokens": {"input": 100, "cachedInput": 10, "cacheWrite": 5, "output": 50, "reasoning": 7},
        "units": {"requests": 2}, "isBillableRun": true, "sessionId": "s", "stepLabel": "first", "stepNumber": 7,
        "durationMs": 1234, "timestamp": "2025-10-13T18:32:58.785Z", "metadata": {"card": {"side": "front"}, "tries": [1, 2]},
    });
    server.record(posted).shows("/recordedIn", "SessionUsage+UserDoc").shows("/month", "2025-10");

    let items = server.all(&of("u", "/usage?month=2025-10"));
    assert_eq!(items.len(), 1);
    let item = &items[0];
    item.shows("/operationId", "o")
        .shows("/usageType", "AIUsage")
        .shows("/feature", "tagging")
        .shows("/provider", "gemini");
    item.shows("/model", "flash").shows("/cost", "0.0123").shows("/isBillableRun", "true").shows("/sessionId", "s");
    item.shows("/stepLabel", "first").shows("/stepNumber", "7").shows("/durationMs", "1234").shows("/month", "2025-10");
    item.shows("/tokens/input", "100").shows("/tokens/cachedInput", "10").shows("/tokens/cacheWrite", "5");
    item.shows("/tokens/output", "50").shows("/tokens/reasoning", "7").shows("/units/requests", "2");
    item.shows("/metadata", r#"{"card": {"side": "front"}, "tries": [1, 2]}"#)
        .shows("/reverses", "null")
        .shows("/reversedBy", "null");
    item.instant("/timestamp", "2025-10-13T18:32:58.785Z").shows("/recordedIn", "SessionUsage+UserDoc");
    item.text("/recordedAt").parse::<jiff::Timestamp>().unwrap();
    server.session("u", "s").shows("/steps/0/stepNumber", "7").shows("/steps/0/metadata/card/side", "front");
}

#[test]
fn what_was_left_out_takes_its_default() {
    let server = Server::open();
    let reply = server.record(json!({"userId": "u", "feature": "test", "cost": 0.5}));
    reply.shows("/recordedIn", "AIUsage+UserDoc").shows("/duplicate", "false").shows("/success", "true");
    let made = reply.text("/operationId");
    assert!(!made.is_empty());
    let item = server.all(&of("u", "/usage")).remove(0);
    item.shows("/operationId", made)
        .shows("/usageType", "AIUsage")
        .shows("/provider", "unknown")
        .shows("/model", "null");
    item.shows("/isBillableRun", "false").shows("/sessionId", "null").shows("/metadata", "{}");
    server.record(api("u", 0.25)).shows("/recordedIn", "ApiUsage+UserDoc").shows("/budget/meters/cost/used", "0.75");
    // An id that the server made is an id like any other.
    server.post("/v1/usage", json!({"operationId": made, "userId": "u", "feature": "other", "cost": 0.5})).is(409);
}

#[test]
fn a_minimal_answer_leaves_the_budget_out() {
    let server = Server::open();
    let body = ai("u", 0.5).to_string();
    let headers = [("content-type", "application/json"), ("prefer", "return=minimal")];
    let reply = server.send("POST", "/v1/usage", &headers, body.as_bytes()).is(200);
    assert!(reply.get("/budget").is_none(), "{reply}");
    reply.shows("/success", "true").shows("/cost", "0.5");
    assert!(server.record(ai("u", 0.5)).get("/budget").is_some());
    let reverse = of("u", &format!("/usage/{}/reverse", reply.text("/operationId")));
    let reversed = server.send("POST", &reverse, &headers, b"{}");
    assert_eq!(reversed.header("preference-applied"), Some("return=minimal"));
    assert!(reversed.is(200).shows("/cost", "-0.5").get("/budget").is_none(), "{}", reversed.text());
    assert!(server.post(&reverse, json!({})).is(200).shows("/duplicate", "true").get("/budget").is_some());
}

#[test]
fn an_operation_without_a_cost_says_what_is_missing() {
    let server = Server::open();
    let body = json!({"userId": "u", "feature": "test", "tokens": {"input": 10, "output": 5}});
    server.post("/v1/usage", body).refuses("/cost");
    server.post("/v1/usage", json!({"userId": "u", "feature": "test"})).refuses("/cost");
    server.get(&of("u", "")).is(200).shows("/known", "false");
}

#[test]
fn any_past_is_fine_and_the_far_future_is_not() {
    let server = Server::open();
    let at = |offset: jiff::SignedDuration| (now() + offset).to_string();
    let hours = jiff::SignedDuration::from_hours;
    server.record(ai("u", 0.5).with("timestamp", at(hours(23))));
    server.post("/v1/usage", ai("u", 0.5).with("timestamp", at(hours(25)))).refuses("/timestamp");
    server.record(ai("u", 0.5).with("timestamp", "1999-12-31T23:59:59Z")).shows("/month", "1999-12");
}

#[test]
fn a_batch_answers_each_item_in_order() {
    let server = Server::open();
    server.user("u", "premium");
    let reply = server.record(json!([ai("u", 0.1).with("operationId", "a"), api("v", 0.2), ai_run("u", 0.3)]));
    let results = reply.list("/results");
    assert_eq!(results.len(), 3);
    for (index, (result, cost)) in results.iter().zip(["0.1", "0.2", "0.3"]).enumerate() {
        result
            .shows("/index", &index.to_string())
            .shows("/status", "200")
            .shows("/cost", cost)
            .shows("/success", "true");
        assert!(result.get("/budget").is_none(), "{result}");
    }
    results[0].shows("/operationId", "a");
    server.budget("u").meter("cost", "0.4", "0").meter("aiRuns", "1", "0");
}

#[test]
fn each_item_of_a_batch_fails_alone() {
    let server = Server::open();
    server.record(ai("u", 0.1).with("operationId", "taken"));
    let batch = json!([
        ai("u", 0.2),
        ai("u", -1.0),
        ai("u", 0.3).with("operationId", "taken"),
        json!({"userId": "u", "cost": 1}),
        "not an operation",
        ai("u", 0.4),
    ]);
    let reply = server.post("/v1/usage", batch).is(207);
    let results = reply.list("/results");
    let statuses: Vec<i128> = results.iter().map(|result| result.pico("/status") / 1_000_000_000_000).collect();
    assert_eq!(statuses, [200, 400, 409, 400, 400, 200], "{reply}");
    for (index, pointer) in [(1, "/cost"), (3, "/feature")] {
        let named = results[index].list("/errors")[0].text("/pointer");
        assert!(named == pointer || named == format!("/{index}{pointer}"), "{named} in {reply}");
        assert!(results[index].text("/type").contains("/problems/"));
        results[index].shows("/index", &index.to_string());
    }
    server.budget("u").meter("cost", "0.7", "0");
}

#[test]
fn a_batch_holds_one_to_a_thousand() {
    let server = Server::open();
    let batch = |count: usize| Value::Array((0..count).map(|_| ai("u", 0.001)).collect());
    assert_eq!(server.record(batch(1)).list("/results").len(), 1);
    assert_eq!(server.record(batch(1000)).list("/results").len(), 1000);
    server.post("/v1/usage", batch(0)).is(400);
    server.post("/v1/usage", batch(1001)).is_one_of(&[400, 413]);
    server.budget("u").meter("cost", "1.001", "0");
}

#[test]
fn cloud_events_are_operations() {
    let server = Server::open();
    let event = |id: &str| {
        json!({"specversion": "1.0", "type": "com.example.scan", "source": "/scanner", "id": id, "subject": "u",
            "time": "2025-10-13T18:32:58Z", "datacontenttype": "application/json",
            "data": {"usageType": "ApiUsage", "feature": "scan", "cost": 0.25, "isBillableRun": true}})
    };
    let reply = server.post("/v1/usage", ("application/cloudevents+json", event("e1"))).is(200);
    reply.shows("/operationId", "e1").shows("/month", "2025-10").shows("/duplicate", "false");
    server.post("/v1/usage", ("application/cloudevents+json", event("e1"))).is(200).shows("/duplicate", "true");
    // The same operation in the plain form is the same content.
    let plain =
        api_run("u", 0.25).with("feature", "scan").with("operationId", "e1").with("timestamp", "2025-10-13T18:32:58Z");
    server.record(plain).shows("/duplicate", "true");
    let batch = json!([event("e2"), event("e1"), event("e3").with("subject", Value::Null)]);
    let reply = server.post("/v1/usage", ("application/cloudevents-batch+json", batch)).is(207);
    reply.shows("/results/0/operationId", "e2").shows("/results/1/duplicate", "true").shows("/results/2/status", "400");
    server.budget_of("u", "2025-10").meter("cost", "0.5", "0").meter("apiRuns", "2", "0");
    server.post("/v1/usage", ("application/cloudevents+json", event("e4").with("data", Value::Null))).is(400);
    // A field is named as it was sent.
    let ahead = event("e5").with("time", "2100-01-01T00:00:00Z");
    server.post("/v1/usage", ("application/cloudevents+json", ahead.clone())).refuses("/time");
    let reply = server.post("/v1/usage", ("application/cloudevents-batch+json", json!([ahead]))).is(207);
    reply.shows("/results/0/errors/0/pointer", "/time");
    server.post("/v1/usage", api_run("u", 0.25).with("timestamp", "2100-01-01T00:00:00Z")).refuses("/timestamp");
}

#[test]
fn finishing_with_a_step_is_one_transaction() {
    let server = Server::open();
    server.user("u", "premium");
    server.open_session("u", "s", json!({"cost": 1.0})).is(201);
    let reply = server.record(ai("u", 0.25).with("sessionId", "s").with("finishSession", "failed"));
    reply.shows("/budget/meters/cost/held", "0").shows("/budget/meters/cost/used", "0.25");
    server.session("u", "s").shows("/status", "failed").shows("/totalCost", "0.25");
    server.post("/v1/usage", ai("u", 0.25).with("finishSession", "completed")).refuses("/sessionId");
    server
        .post("/v1/usage", ai("u", 0.25).with("sessionId", "s").with("finishSession", "abandoned"))
        .refuses("/finishSession");
    server.budget("u").meter("cost", "0.25", "0");
}

#[test]
fn a_reversal_takes_back_one_operation_once() {
    let server = Server::open();
    server.user("u", "premium");
    server.open_session("u", "s", json!({"cost": 0.1})).is(201);
    let scan = ai_run("u", 0.5)
        .with("operationId", "o")
        .with("sessionId", "s")
        .with("feature", "scan")
        .with("provider", "gemini");
    server.record(scan.with("timestamp", now().to_string()));
    server.record(ai_run("u", 0.25).with("sessionId", "s").with("feature", "scan").with("finishSession", "completed"));

    let path = of("u", "/usage/o/reverse");
    let reversed = server.post(&path, json!({"operationId": "back", "reason": "a wrong card"})).is(200);
    reversed.shows("/success", "true").shows("/operationId", "back").shows("/reverses", "o").shows("/cost", "-0.5");
    reversed
        .shows("/duplicate", "false")
        .shows("/budget/meters/cost/used", "0.25")
        .shows("/budget/meters/aiRuns/used", "1");
    // Again, with no id or another: the first reversal.
    server.post(&path, json!({})).is(200).shows("/duplicate", "true").shows("/operationId", "back");
    server
        .post(&path, json!({"operationId": "another"}))
        .is(200)
        .shows("/duplicate", "true")
        .shows("/operationId", "back");
    server.post(&path, "").is_one_of(&[200, 400]);

    let session = server.session("u", "s");
    session.shows("/totalCost", "0.25").shows("/totalRuns", "1").shows("/status", "completed").amounts(
        "/overdraft",
        "0.65",
        "2",
        "0",
    );
    let items = server.all(&of("u", "/usage"));
    assert_eq!(items.len(), 3);
    items[0].shows("/operationId", "back").shows("/reverses", "o").shows("/cost", "-0.5").shows("/sessionId", "s");
    items[0].shows("/feature", "scan").shows("/provider", "gemini");
    let original = items.iter().find(|item| item.text("/operationId") == "o").unwrap();
    original.shows("/reversedBy", "back").shows("/cost", "0.5");
    assert_eq!(original.text("/timestamp"), items[0].text("/timestamp"));

    // Ids in use, unknown originals, reversals of reversals.
    server.record(ai("u", 0.125).with("operationId", "p"));
    server.post(&of("u", "/usage/p/reverse"), json!({"operationId": "o"})).is(409);
    server.post(&of("u", "/usage/p/reverse"), json!({"operationId": "back"})).is(409);
    server.post(&of("u", "/usage/back/reverse"), json!({})).is(409);
    server.post(&of("u", "/usage/nothing/reverse"), json!({})).is(404);
    server.post(&of("v", "/usage/o/reverse"), json!({})).is(404);
    server.post("/v1/usage", ai("u", 0.5).with("operationId", "back")).is(409);
    server.budget("u").meter("cost", "0.375", "0").meter("aiRuns", "1", "0");
    server.verifies();
}

#[test]
fn a_reversal_lands_in_the_month_of_its_original() {
    let server = Server::open();
    server.record(api_run("u", 0.5).with("operationId", "o").with("timestamp", "2025-03-31T23:00:00Z"));
    server.reverse("u", "o").is(200).shows("/month", "2025-03").shows("/recordedIn", "ApiUsage+UserDoc");
    server.budget_of("u", "2025-03").meter("cost", "0", "0").meter("apiRuns", "0", "0");
    let items = server.all(&of("u", "/usage?month=2025-03"));
    assert_eq!(items.len(), 2);
    items[0].instant("/timestamp", "2025-03-31T23:00:00Z");
}

#[test]
fn usage_is_listed_by_month_feature_type_and_session() {
    let server = Server::open();
    server.record(json!([
        ai("u", 0.1).with("operationId", "a").with("feature", "scan").with("timestamp", "2025-09-10T00:00:00Z"),
        api("u", 0.2).with("operationId", "b").with("feature", "scan").with("timestamp", "2025-10-10T00:00:00Z"),
        api("u", 0.3).with("operationId", "c").with("feature", "chat").with("timestamp", "2025-10-11T00:00:00Z"),
        ai("u", 0.4).with("operationId", "d").with("sessionId", "s").with("timestamp", "2025-10-09T00:00:00Z"),
        ai("v", 0.5).with("operationId", "e").with("timestamp", "2025-10-09T00:00:00Z"),
    ]));
    let listed = |query: &str| -> Vec<String> {
        let items: Vec<Json> = server.all(&of("u", &format!("/usage{query}")));
        items.iter().map(|item| item.text("/operationId").to_owned()).collect()
    };
    // Newest first in order of recording, whatever the timestamps.
    assert_eq!(listed(""), ["d", "c", "b", "a"]);
    assert_eq!(listed("?month=2025-10"), ["d", "c", "b"]);
    assert_eq!(listed("?feature=scan"), ["b", "a"]);
    assert_eq!(listed("?usageType=ApiUsage"), ["c", "b"]);
    assert_eq!(listed("?sessionId=s"), ["d"]);
    assert_eq!(listed("?month=2025-10&feature=scan&usageType=ApiUsage"), ["b"]);
    assert_eq!(listed("?month=2025-08"), [""; 0]);
    assert_eq!(listed("?limit=1"), ["d", "c", "b", "a"]);
}

#[test]
fn a_cursor_is_stable_while_rows_are_added() {
    let server = Server::open();
    let record = |user: &str, from: usize, to: usize| {
        let numbered =
            |n: usize| ai(user, 0.001).with("operationId", format!("o{n:03}")).with("feature", format!("f{}", n % 3));
        server.record(Value::Array((from..to).map(numbered).collect()));
    };
    for (user, query) in [("u", "limit=7"), ("v", "limit=7&feature=f1"), ("w", "limit=100")] {
        record(user, 0, 100);
        let path = of(user, &format!("/usage?{query}"));
        let before: Vec<Json> = server.all(&path);
        let (mut seen, mut cursor, mut added) = (Vec::new(), None::<String>, 100);
        loop {
            let page = server.page(&path, cursor.as_deref());
            seen.extend_from_slice(page.list("/items"));
            record(user, added, added + 5);
            added += 5;
            match page.at("/nextCursor") {
                Json::Text(next) => cursor = Some(next.clone()),
                _ => break,
            }
        }
        assert!(seen == before, "rows came or went while the list was read");
        assert!(server.all(&path).len() > before.len());
    }
    server.get(&of("u", "/usage?cursor=nonsense")).is(400);
    for limit in ["0", "1001", "-1", "x"] {
        server.get(&of("u", &format!("/usage?limit={limit}"))).is(400);
    }
    for query in ["month=2025-13", "month=october", "usageType=Other"] {
        server.get(&of("u", &format!("/usage?{query}"))).is(400);
    }
}

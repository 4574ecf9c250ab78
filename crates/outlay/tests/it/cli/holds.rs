//! Sessions across an export and an import: what they hold, how they ended, and what of them stays behind.

use std::fs;

use serde_json::{Value, json};

use crate::support::{Asks, Json, Ran, Server, With, ai, api, of, until};

const OPENED: &str = "2025-10-13T18:00:00Z";
const USED: &str = "2025-10-13T18:00:10Z";
const LATER: &str = "2025-10-13T18:00:20Z";
const EXPORTED: &str = "2025-10-13T18:01:00Z";
const MOVED: &str = "2025-10-13T18:01:30Z";

/// Another server with all of this one's, but for what is changed in its export.
fn moved(server: &Server, change: impl FnOnce(String) -> String) -> (Server, Ran, String) {
    let file = server.file("all.jsonl");
    server.outlay(&["export", "--out", file.to_str().unwrap()]).exits(0);
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, change(text)).unwrap();
    let other = Server::at(MOVED);
    let ran = other.outlay(&["import", file.to_str().unwrap(), "--json"]);
    (other, ran, file.to_str().unwrap().to_owned())
}

fn moved_whole(server: &Server) -> (Server, Json, String) {
    let (other, ran, file) = moved(server, |text| text);
    let ran = ran.exits(0).json();
    (other, ran, file)
}

fn fallback() -> Value {
    json!({"sessionId": "s", "feature": "scan", "holdSeconds": 900, "choices": [
        {"name": "big", "estimate": {"cost": 2.5}}, {"name": "small", "estimate": {"cost": 0.125}}]})
}

fn step(operation: &str, session: &str, cost: f64) -> Value {
    api("u", cost).with("operationId", operation).with("sessionId", session)
}

fn extend(server: &Server, session: &str, cost: f64) {
    let body = json!({"holdSeconds": 900, "estimate": {"cost": cost}});
    server.post(&of("u", &format!("/sessions/{session}/extend")), body).is(200);
}

/// What the session holds is the same here and there, and so is its total: extended to `total` it holds the same again.
fn same_hold(here: &Server, there: &Server, session: &str, total: f64) {
    let before = [here, there].map(|server| server.session("u", session));
    for pointer in ["/held", "/overdraft", "/hold", "/choice", "/totalCost", "/stepCount", "/status"] {
        assert_eq!(before[0].at(pointer), before[1].at(pointer), "{pointer}");
    }
    for server in [here, there] {
        extend(server, session, total);
    }
    let after = [here, there].map(|server| server.session("u", session).at("/held").clone());
    assert_eq!(after, before.map(|session| session.at("/held").clone()));
}

#[test]
fn the_choice_that_was_taken_comes_back_and_its_opening_is_known() {
    let server = Server::at(OPENED);
    server.user("u", "premium");
    server.record(ai("u", 1.0).with("operationId", "before"));
    server.clock(USED);
    server.post(&of("u", "/sessions"), fallback()).is(201).shows("/choice", "small");
    server.clock(LATER);
    server.record(step("a step", "s", 0.0625));
    server.clock(EXPORTED);
    let (other, ran, file) = moved_whole(&server);
    ran.shows("/recorded", "2").shows("/sessions", "1").shows("/holdsLost", "0");
    other.session("u", "s").shows("/choice", "small").amounts("/held", "0.0625", "0", "0");
    other.post(&of("u", "/sessions"), fallback()).is(200).shows("/choice", "small").shows("/reason", "fallback");
    // Once more, with all use recorded.
    other.outlay(&["import", &file]).exits(0);
    other.budget("u").meter("cost", "1.0625", "0.0625");
    same_hold(&server, &other, "s", 0.125);
    other.verifies();
}

#[test]
fn a_choice_that_would_not_be_taken_any_more_comes_back_alone() {
    let server = Server::at(OPENED);
    server.user("u", "premium");
    server.record(ai("u", 1.0).with("operationId", "before"));
    server.clock(USED);
    server.post(&of("u", "/sessions"), fallback()).is(201).shows("/choice", "small");
    server.user("u", "business");
    server.clock(EXPORTED);
    let (other, _, file) = moved_whole(&server);
    other.session("u", "s").shows("/choice", "small").amounts("/held", "0.125", "0", "0");
    other.outlay(&["import", &file]).exits(0);
    // What was asked for is not known there: this is what does not come back.
    other.post(&of("u", "/sessions"), fallback()).is(409);
    other.verifies();
}

#[test]
fn an_extended_hold_comes_back_as_it_stands() {
    let server = Server::at(OPENED);
    server.user("u", "premium");
    for session in ["grown", "used-up", "shrunk"] {
        server.open_session("u", session, json!({"cost": 0.125})).is(201);
    }
    server.clock(USED);
    // Beyond the hold, which grows only afterwards.
    server.record(step("1", "used-up", 0.25));
    server.record(step("2", "shrunk", 0.0625));
    server.clock(LATER);
    extend(&server, "grown", 1.0);
    extend(&server, "used-up", 0.5);
    extend(&server, "shrunk", 0.09375);
    server.record(step("3", "grown", 0.25));
    server.record(step("4", "used-up", 0.125));
    server.clock(EXPORTED);
    let (other, ran, file) = moved_whole(&server);
    ran.shows("/sessions", "3").shows("/holdsLost", "0");
    other.session("u", "grown").amounts("/held", "0.75", "0", "0").amounts("/hold/total", "1", "0", "0");
    other.session("u", "used-up").amounts("/held", "0.25", "0", "0").amounts("/hold/drawn", "0.25", "0", "0");
    other.session("u", "used-up").instant("/holdExpiresAt", "2025-10-13T18:15:20Z");
    // What the application has done since is not undone by another import.
    other.record(step("5", "shrunk", 0.015_625));
    server.record(step("5", "shrunk", 0.015_625));
    other.outlay(&["import", &file]).exits(0);
    same_hold(&server, &other, "grown", 1.0);
    same_hold(&server, &other, "shrunk", 0.09375);
    same_hold(&server, &other, "used-up", 0.5);
    extend(&other, "grown", 0.5);
    other.outlay(&["import", &file]).exits(0);
    other.session("u", "grown").amounts("/held", "0.25", "0", "0");
    other.verifies();
}

#[test]
fn a_hold_that_does_not_fit_any_more_is_told_and_its_steps_come_back() {
    let server = Server::at(OPENED);
    server.user("u", "premium");
    server.open_session("u", "s", json!({"aiRuns": 1})).is(201);
    server.clock(USED);
    server.record(step("a step", "s", 0.5));
    server.user("u", "pro");
    server.clock(EXPORTED);
    let (other, ran, _) = moved(&server, |text| text);
    let summary = ran.exits(1).json();
    summary.shows("/recorded", "1").shows("/holdsLost", "1").shows("/rejected", "1").shows("/sessions", "0");
    let rejected = fs::read_to_string(summary.text("/rejectedFile")).unwrap();
    for told in ["does not fit", "Not in your plan", "its steps are recorded", "\"sessionId\":\"s\""] {
        assert!(rejected.contains(told), "{told}: {rejected}");
    }
    other.session("u", "s").shows("/status", "in-progress").amounts("/held", "0", "0", "0").shows("/stepCount", "1");
    // Where the limits allow it again its steps have made it already, which is told too.
    other.user("u", "premium");
    let file = server.file("all.jsonl");
    let again = other.outlay(&["import", file.to_str().unwrap()]).exits(1);
    assert!(again.out.contains("1 hold") && again.out.contains("lost"), "{again:?}");
    other.verifies();
}

#[test]
fn what_was_abandoned_comes_back_abandoned_and_what_never_had_a_step_not_at_all() {
    let server = Server::at(OPENED);
    server.user("u", "premium");
    server.record(step("idle 1", "idle", 0.25));
    let opening = json!({"sessionId": "expired", "feature": "scan", "estimate": {"cost": 0.125}, "holdSeconds": 15});
    server.post(&of("u", "/sessions"), opening.clone()).is(201);
    server.post(&of("u", "/sessions"), opening.clone().with("sessionId", "never-used")).is(201);
    server.open_session("u", "ended-unused", json!({"cost": 0.125})).is(201);
    server.finish("u", "ended-unused", "completed").is(200);
    server.clock(USED);
    server.record(step("in time", "expired", 0.25));
    server.record(step("runs 1", "runs", 0.25));
    server.clock(LATER);
    server.record(step("late", "expired", 0.25));
    for session in ["expired", "never-used"] {
        until("it is abandoned", || server.session("u", session).text("/status") == "abandoned");
    }
    // As if the day of silence had passed that a session without a hold is given.
    let idle = r#""sessionId":"idle","userId":"u","feature":"test","status":"#;
    let (other, ran, file) = moved(&server, |text| {
        assert!(text.contains(idle), "{text}");
        text.replace(&format!("{idle}\"in-progress\""), &format!("{idle}\"abandoned\""))
    });
    let ran = ran.exits(0).json();
    ran.shows("/recorded", "4").shows("/sessions", "2").shows("/sessionsByTheirSteps", "1");
    ran.shows("/sessionsWithoutSteps", "2").shows("/skipped", "3");
    // As near as an opening comes to it: its shortest hold has to pass.
    other.clock("2025-10-13T18:01:31Z");
    for (session, cost) in [("idle", "0.25"), ("expired", "0.5")] {
        until("it is abandoned", || other.session("u", session).text("/status") == "abandoned");
        other.session("u", session).shows("/totalCost", cost).amounts("/held", "0", "0", "0");
    }
    assert_eq!(server.session("u", "expired").at("/overdraft"), other.session("u", "expired").at("/overdraft"));
    other.session("u", "runs").shows("/status", "in-progress");
    for session in ["never-used", "ended-unused"] {
        other.get(&of("u", &format!("/sessions/{session}"))).is(404);
    }
    // The application, which asks again, is told the same.
    other.post(&of("u", "/sessions"), opening).is(200).shows("/status", "abandoned");
    other.outlay(&["import", &file]).exits(0);
    other.session("u", "expired").shows("/status", "abandoned");
    other.budget("u").meter("cost", "1", "0");
    other.verifies();
}

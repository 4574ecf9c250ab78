//! What the clock alone brings about: the turn of the month, the end of a token, of a hold.

use serde_json::json;

use super::{id_of, mint};
use crate::support::{Asks, Events, Server, Setup, ai, ai_run, of};

#[test]
fn the_turn_of_the_month_comes_by_itself() {
    let server = Server::at("2025-10-31T23:59:30Z");
    server.user("u", "premium");
    server.record(ai_run("u", 0.5));
    server.open_session("u", "s", json!({"cost": 0.25, "aiRuns": 1})).is(201);
    let path = of("u", "/events");
    let mut events = server.events(&path);
    let mut all = server.events("/v1/events");
    events.expect("budget").data.shows("/month", "2025-10").meter("aiRuns", "1", "1").meter("cost", "0.5", "0.25");
    all.expect("overview").data.shows("/month", "2025-10").shows("/totals/all/cost", "0.5");
    let left = server.events(&path).expect("budget");
    server.clock("2025-11-01T00:00:05Z");
    // What is held over the first stays, the rest begins anew; nobody asked for anything meanwhile.
    let turned = events.expect("budget");
    turned.data.shows("/month", "2025-11").meter("aiRuns", "0", "1").meter("cost", "0", "0.25");
    turned.data.instant("/resetsAt", "2025-12-01T00:00:00Z");
    all.expect("overview").data.shows("/month", "2025-11").shows("/totals/all/cost", "0").shows("/held/cost", "0.25");
    // Also for who was away at the turn.
    let mut back = server.events_after(&path, Some(&id_of(&left)));
    back.expect("budget").data.shows("/month", "2025-11");
    // Only once: the next that comes is of a change.
    server.clock("2025-11-01T00:00:10Z");
    server.record(ai("u", 0.125));
    for events in [&mut events, &mut back] {
        events.expect("budget").data.meter("cost", "0.125", "0.25");
    }
}

#[test]
fn a_stream_ends_with_its_token() {
    let server = Server::at_with("2025-10-13T12:00:00Z", Setup::keyed());
    let first = mint(&server, "u");
    server.clock("2025-10-13T12:00:30Z");
    let second = mint(&server, "u");
    let path = of("u", "/events");
    let mut ending = server.with_key(&first).events(&path);
    let mut going_on = server.with_key(&second).events(&path);
    ending.expect("budget");
    going_on.expect("budget");
    server.clock("2025-10-13T12:00:59.9Z");
    server.record(ai("u", 0.5));
    ending.expect("budget").data.meter("cost", "0.5", "0");
    server.clock("2025-10-13T12:01:00Z");
    ending.ends();
    let bearer = format!("Bearer {first}");
    assert_eq!(Events::open(server.address(), &path, Some(&bearer), None).err(), Some(401));
    going_on.expect("budget");
    server.record(ai("u", 0.5));
    going_on.expect("budget").data.meter("cost", "1", "0");
}

#[test]
fn a_hold_that_expires_moves_the_budget() {
    let server = Server::at("2025-10-13T12:00:00Z");
    server.user("u", "premium");
    let hold = json!({"sessionId": "s", "feature": "test", "estimate": {"cost": 1}, "holdSeconds": 30});
    server.post(&of("u", "/sessions"), hold).is(201);
    let mut events = server.events(&of("u", "/events"));
    events.expect("budget").data.meter("cost", "0", "1");
    server.clock("2025-10-13T12:00:30Z");
    events.expect("budget").data.meter("cost", "0", "0");
}

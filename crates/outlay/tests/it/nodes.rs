//! Several nodes on one PostgreSQL: each is asked in turn, one is killed, and no client can tell how many there are.

mod edge;
mod moved;
mod patroni;
mod promise;
#[path = "scenario.rs"]
mod scenario;
mod starting;

use std::time::Instant;

use serde_json::{Value, json};

/// What the scenarios are run by here.
use crate::support::Nodes as Ledger;
use crate::support::{Asks, Events, Nodes, Setup, With, ai_run, of, until};

/// AI runs of no cost, so many in one batch.
fn runs(user: &str, count: usize) -> Value {
    Value::Array((0..count).map(|_| ai_run(user, 0.0)).collect())
}

/// The next event of this name; those before it are let go. A busy machine may take its time.
#[track_caller]
fn soon(events: &mut Events, name: &str) -> crate::support::Event {
    events.until(|event| event.name == name)
}

#[test]
fn a_watcher_at_one_node_sees_what_another_records() {
    let nodes = Nodes::open();
    let [here, there] = nodes.all.as_slice() else { panic!("two nodes") };
    there.user("u", "premium");
    let mut events = here.events(&of("u", "/events"));
    let mut everybody = here.events("/v1/events");
    events.expect("budget").data.meter("aiRuns", "0", "0");
    everybody.expect("overview");

    there.record(ai_run("u", 0.25));
    let event = events.expect("budget");
    event.data.meter("aiRuns", "1", "0").meter("cost", "0.25", "0");
    assert_eq!(event.data.to_string(), here.budget("u").to_string());
    soon(&mut everybody, "overview");

    // An alert of another node, and a denial; then one of this node.
    there.record(runs("u", 23));
    soon(&mut events, "alert").data.shows("/threshold", "80").shows("/meter", "aiRuns").shows("/used", "24");
    events.expect("budget").data.meter("aiRuns", "24", "0");
    soon(&mut everybody, "alert").data.shows("/userId", "u").shows("/threshold", "80");
    there.open_session("u", "too-much", json!({"aiRuns": 7})).is(402);
    soon(&mut everybody, "denial").data.shows("/userId", "u").shows("/sessionId", "too-much");
    here.record(runs("u", 5));
    soon(&mut events, "alert").data.shows("/threshold", "95");
    soon(&mut everybody, "alert").data.shows("/threshold", "95");
    nodes.verifies();
}

#[test]
fn a_watcher_whose_node_is_gone_goes_on_at_another() {
    let mut nodes = Nodes::open();
    nodes.user("u", "premium");
    let mut events = nodes.all[0].events(&of("u", "/events"));
    let id = events.expect("budget").id.unwrap();
    nodes.all[0].kill9();
    let there = nodes.all.pop().unwrap();
    there.record(runs("u", 24));
    there.record(runs("u", 5));
    let mut again = there.events_after(&of("u", "/events"), Some(&id));
    let first = again.expect("alert");
    first.data.shows("/threshold", "80");
    again.expect("alert").data.shows("/threshold", "95");
    again.expect("budget").data.meter("aiRuns", "29", "0");
    drop(again);
    // What was seen does not come again.
    let mut again = there.events_after(&of("u", "/events"), first.id.as_deref());
    again.expect("alert").data.shows("/threshold", "95");
    again.expect("budget");
    there.verifies();
}

#[test]
fn what_one_node_is_told_all_know_soon() {
    let nodes = Nodes::of(2, Setup::keyed());
    let [here, there] = nodes.all.as_slice() else { panic!("two nodes") };
    let made = here.post("/v1/keys", json!({"role": "app", "description": "the shop"})).is(201);
    let key = made.text("/key").to_owned();
    let takes = |status: u16| {
        let begun = Instant::now();
        until("the other node knows", || there.with_key(&key).get(&of("u", "/budget")).status == status);
        println!("the other node knew after {:?}", begun.elapsed());
    };
    takes(200);
    // A token of one node opens the other.
    let token = there.with_key(&key).post(&of("u", "/tokens"), json!({"ttlSeconds": 60})).is(201);
    here.with_key(token.text("/token")).get(&of("u", "/budget")).is(200);
    // So does one that is signed with a key that this one just made, once the other knows it.
    there.outlay(&["tokens", "rotate-key"]).exits(0);
    let token = there.with_key(&key).post(&of("u", "/tokens"), json!({"ttlSeconds": 60})).is(201);
    until("the other node knows the key", || {
        here.with_key(token.text("/token")).get(&of("u", "/budget")).status == 200
    });
    here.delete(&format!("/v1/keys/{}", made.text("/id"))).is_one_of(&[200, 204]);
    here.with_key(&key).get(&of("u", "/budget")).is(401);
    takes(401);

    // So do the plans.
    there.user("u", "premium");
    let plan = json!({"tier": 20, "limits": {"cost": 3, "aiRuns": 7, "apiRuns": 100}});
    here.put("/v1/plans/premium", plan).is_one_of(&[200, 201]);
    let begun = Instant::now();
    until("the other node knows the plan", || there.budget("u").at("/meters/aiRuns/limit").to_string() == "7");
    println!("the other node knew after {:?}", begun.elapsed());
    nodes.verifies();
}

#[test]
fn a_hold_of_a_node_that_is_gone_is_given_back_by_another() {
    let mut nodes = Nodes::open();
    nodes.user("u", "premium");
    let opening = json!({"sessionId": "left", "feature": "test", "estimate": {"aiRuns": 1}, "holdSeconds": 1});
    nodes.all[0].post(&of("u", "/sessions"), opening).is(201);
    nodes.all[0].kill9();
    let there = nodes.all.pop().unwrap();
    until("the session is abandoned", || there.session("u", "left").text("/status") == "abandoned");
    there.budget("u").meter("aiRuns", "0", "0");
    there.verifies();
}

/// No database, no "allowed", and nothing is accepted into memory only; what was sent again with the same ids counts once.
#[test]
fn a_node_whose_database_is_gone_is_not_ready_and_comes_back() {
    let nodes = Nodes::of(1, Setup::open());
    let node = &nodes.all[0];
    node.user("u", "premium");
    // The tests' server keeps nothing over a power cut, and says so.
    let promise = "acknowledged means in the memory of the database's machine: its fsync is off";
    node.get("/readyz").is(200).shows("/promise", promise);
    nodes.database.is_there(false);
    until("the node is not ready", || node.get("/readyz").status == 503);
    assert_eq!(node.get("/healthz").status, 200);
    let operation = ai_run("u", 0.5).with("operationId", "meanwhile");
    node.post("/v1/usage", operation.clone()).is(503);
    node.post(&of("u", "/afford"), json!({"estimate": {"aiRuns": 1}})).is(503);
    node.open_session("u", "meanwhile", json!({"aiRuns": 1})).is(503);
    nodes.database.is_there(true);
    until("the node is ready", || node.get("/readyz").status == 200);
    node.record(operation).shows("/duplicate", "false");
    node.budget("u").meter("cost", "0.5", "0").meter("aiRuns", "1", "0");
    node.verifies();
}

/// Nobody asks, nobody watches, nothing is due: a database that is paid by the hour may sleep.
#[cfg(feature = "test-clock")]
#[test]
fn nodes_that_nobody_uses_leave_the_database_alone_until_something_is_due() {
    let nodes = Nodes::at("2025-10-13T12:00:00Z");
    nodes.user("u", "premium");
    let opening = json!({"sessionId": "left", "feature": "test", "estimate": {"aiRuns": 1}, "holdSeconds": 30});
    nodes.post(&of("u", "/sessions"), opening).is(201);
    let asked = "select count(*) from pg_stat_activity where datname = current_database() and application_name = 'outlay' \
                 and state_change > clock_timestamp() - interval '3 seconds'";
    until("the database is left alone", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        nodes.database.number(asked) == 0
    });
    nodes.clock("2025-10-13T12:00:30Z");
    until("the hold is given back", || {
        nodes.database.number("select count(*) from session where due is not null") == 0
    });
}

//! A store that is moved from a folder into PostgreSQL and back: ids, figures, duplicates, holds and keys stay, and the old
//! one is opened no more.

use serde_json::{Value, json};

use crate::support::{Asks, Database, MASTER, Server, Setup, ai_run, of};

fn keyed() -> Setup {
    Setup::keyed().variable("OUTLAY_MASTER_KEY", MASTER)
}

fn operation() -> Value {
    let mut operation = ai_run("u", 0.25);
    operation["operationId"] = json!("op-1");
    operation
}

/// What was there before a move is there after it.
fn is_the_same_store(asked: &impl Asks) {
    asked.get("/v1/audit?action=key.created").is(200).shows("/items/0/action", "key.created");
    asked.post("/v1/usage", operation()).is(200).shows("/duplicate", "true");
    asked
        .post(&of("u", "/sessions"), json!({"sessionId": "held", "feature": "test", "estimate": {"aiRuns": 2}}))
        .is(200);
    asked.budget("u").meter("cost", "0.25", "0").meter("aiRuns", "1", "2");
}

#[test]
fn a_store_moves_into_postgresql_and_back() {
    let mut server = keyed().start();
    let made = server.post("/v1/keys", json!({"role": "app", "description": "the shop"})).is(201);
    let key = made.text("/key").to_owned();
    server.user("u", "premium");
    server.record(operation());
    server.open_session("u", "held", json!({"aiRuns": 2})).is(201);
    is_the_same_store(&server);
    server.stop();

    let database = Database::new();
    let url = database.url();
    let moved = server.outlay(&["migrate", "--to", "database", "--store", &url]).exits(0);
    assert!(moved.out.lines().any(|line| line == "operations\t1"), "{moved:?}");
    assert!(moved.err.contains("is the store now"), "{moved:?}");
    let refused = server.outlay(&["budget", "u"]).exits(1);
    assert!(refused.err.contains("moved to postgres://"), "{refused:?}");
    let again = server.outlay(&["migrate", "--to", "database", "--store", &url]).exits(1);
    assert!(again.err.contains("moved to postgres://"), "{again:?}");

    let mut node = Setup::keyed().on(&database).start();
    is_the_same_store(&node);
    node.with_key(&key).get(&of("u", "/budget")).is(200);
    let running = server.outlay(&["migrate", "--to", "folder", "--store", &url]).exits(1);
    assert!(running.err.contains("stop every node"), "{running:?}");
    node.record(ai_run("u", 0.5));
    node.verifies();
    node.stop();

    std::fs::rename(server.data(), server.file("old")).unwrap();
    server.outlay(&["migrate", "--to", "folder", "--store", &url]).exits(0);
    server.start_again();
    server.budget("u").meter("cost", "0.75", "0").meter("aiRuns", "2", "2");
    server.post("/v1/usage", operation()).is(200).shows("/duplicate", "true");
    server.with_key(&key).get(&of("u", "/budget")).is(200);
    server.verifies();
}

#[test]
fn a_move_that_makes_no_sense_changes_nothing() {
    let mut server = Server::open();
    server.record(ai_run("u", 0.25));
    let database = Database::new();
    let url = database.url();
    let nowhere = server.outlay(&["migrate", "--to", "database"]).exits(2);
    assert!(nowhere.err.contains("--store"), "{nowhere:?}");
    let running = server.outlay(&["migrate", "--to", "database", "--store", &url]).exits(1);
    assert!(running.err.contains("another Outlay process"), "{running:?}");
    server.stop();
    let abandoned = server.outlay(&["migrate", "--to", "database", "--abandon", "--store", &url]).exits(1);
    assert!(abandoned.err.contains("no move of it was begun"), "{abandoned:?}");
    server.start_again();
    server.budget("u").meter("cost", "0.25", "0");
}

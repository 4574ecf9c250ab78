//! The power goes at any moment: what was acknowledged is there exactly once, what was not can be asked again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt as _;
use serde_json::{Value, json};

use crate::support::{Asks, Json, Server, With, ai_run, api, decimal, of, random, seed, until};

const CLIENTS: usize = 8;
const MONTH: &str = "2025-10";

/// What the clients know.
#[derive(Default)]
struct Known {
    /// Cost of each acknowledged operation, by user and id.
    acknowledged: HashMap<(String, String), i128>,
    /// Sent, and cut off before the answer: done or not.
    unknown: Vec<Value>,
    /// Sessions whose opening was acknowledged, and not yet their end.
    open: HashMap<(String, String), Value>,
}

fn key(operation: &Value) -> (String, String) {
    (operation["userId"].as_str().unwrap().to_owned(), operation["operationId"].as_str().unwrap().to_owned())
}

fn note(known: &Mutex<Known>, operation: &Value, answer: &Json) {
    let cost = crate::support::exact::pico(operation["cost"].as_str().unwrap());
    assert_eq!(answer.pico("/cost"), cost);
    let before = known.lock().unwrap().acknowledged.insert(key(operation), cost);
    // A duplicate is one of a request whose answer was lost.
    assert!(before.is_none(), "{operation} was acknowledged twice");
}

/// Records single operations, batches, and steps in sessions with holds, until the server is gone.
fn load(server: &Server, seed: u64, stream: usize, name: &str, known: &Mutex<Known>, answers: &AtomicUsize) {
    let mut random = random(seed, stream);
    for n in 0.. {
        let user = format!("user_{}", random.random_range(0..3));
        let mut made = 0;
        let mut operation = |session: Option<&str>| {
            made += 1;
            let operation = if random.random_bool(0.5) { ai_run(&user, 0.0) } else { api(&user, 0.0) };
            let cost: i128 = random.random_range(0..10_000_000_000);
            operation
                .with("operationId", format!("{name}_{n}_{made}"))
                .with("cost", decimal(cost))
                .with("timestamp", format!("{MONTH}-{:02}T12:00:00Z", random.random_range(1..=31)))
                .with("sessionId", session)
        };
        let done = match n % 3 {
            0 => {
                let operation = operation(None);
                send(server, operation, known)
            }
            1 => {
                let batch: Vec<Value> = (0..random_size(n)).map(|_| operation(None)).collect();
                send_batch(server, batch, known)
            }
            _ => {
                let session = format!("{name}_{n}");
                let steps = [operation(Some(&session)), operation(Some(&session))];
                in_session(server, &user, &session, steps, known)
            }
        };
        if done.is_none() {
            return;
        }
        answers.fetch_add(1, Ordering::Relaxed);
    }
}

fn random_size(n: usize) -> usize {
    [1, 2, 5, 20, 100][n % 5]
}

/// Sends one operation; `None` when the server is gone.
fn send(server: &Server, operation: Value, known: &Mutex<Known>) -> Option<()> {
    let Ok(reply) = server.try_post("/v1/usage", operation.clone()) else {
        known.lock().unwrap().unknown.push(operation);
        return None;
    };
    note(known, &operation, &reply.is(200));
    Some(())
}

fn send_batch(server: &Server, batch: Vec<Value>, known: &Mutex<Known>) -> Option<()> {
    let Ok(reply) = server.try_post("/v1/usage", Value::Array(batch.clone())) else {
        known.lock().unwrap().unknown.extend(batch);
        return None;
    };
    for (operation, answer) in batch.iter().zip(reply.is(200).list("/results")) {
        note(known, operation, answer);
    }
    Some(())
}

fn in_session(server: &Server, user: &str, session: &str, steps: [Value; 2], known: &Mutex<Known>) -> Option<()> {
    let opening =
        json!({"sessionId": session, "feature": "test", "estimate": {"cost": "0.001"}, "holdSeconds": 86_400});
    server.try_post(&of(user, "/sessions"), opening.clone()).ok()?.is(201);
    let name = (user.to_owned(), session.to_owned());
    known.lock().unwrap().open.insert(name.clone(), opening);
    for step in steps {
        send(server, step, known)?;
    }
    let path = of(user, &format!("/sessions/{session}/finish"));
    server.try_post(&path, json!({"status": "completed"})).ok()?.is(200);
    known.lock().unwrap().open.remove(&name);
    Some(())
}

/// Everything acknowledged is there once, nothing else is there, and every sum is the sum of what is there.
fn check(server: &Server, known: &Known) {
    let mut present: HashMap<(String, String), i128> = HashMap::new();
    for user in ["user_0", "user_1", "user_2"] {
        let (mut cost, mut ai_runs) = (0, 0);
        for item in server.all(&of(user, &format!("/usage?month={MONTH}&limit=1000"))) {
            let id = item.text("/operationId").to_owned();
            cost += item.pico("/cost");
            ai_runs += i32::from(*item.at("/isBillableRun") == Json::Bool(true));
            let before = present.insert((user.to_owned(), id), item.pico("/cost"));
            assert!(before.is_none(), "{item} is there twice");
        }
        server.budget_of(user, MONTH).meter("cost", &decimal(cost), "0").meter("aiRuns", &ai_runs.to_string(), "0");
    }
    for (operation, cost) in &known.acknowledged {
        assert_eq!(present.get(operation), Some(cost), "{operation:?} was acknowledged");
    }
    assert_eq!(present.len(), known.acknowledged.len(), "something is there that nobody was told of");
    for ((user, session), opening) in &known.open {
        server.post(&of(user, "/sessions"), opening.clone()).is(200).shows("/sessionId", session);
    }
    server.verifies();
}

fn new_server() -> Server {
    let server = Server::open();
    for user in ["user_0", "user_1", "user_2"] {
        server.user(user, "enterprise");
    }
    server
}

#[test]
fn a_kill_at_any_moment_loses_nothing_acknowledged() {
    let kills = std::env::var("OUTLAY_KILLS").map_or(10, |text| text.parse().unwrap());
    let seed = seed("a_kill_at_any_moment_loses_nothing_acknowledged");
    let mut random = random(seed, usize::MAX);
    let (mut server, mut known) = (new_server(), Mutex::new(Known::default()));
    for kill in 0..kills {
        // So that reading everything after each kill does not grow with the number of kills.
        if kill % 20 == 19 {
            (server, known) = (new_server(), Mutex::default());
        }
        let answers = AtomicUsize::new(0);
        let enough = random.random_range(1..200);
        std::thread::scope(|scope| {
            for client in 0..CLIENTS {
                let (server, known, answers) = (&server, &known, &answers);
                let name = format!("operation_{kill}_{client}");
                scope.spawn(move || load(server, seed, kill * CLIENTS + client, &name, known, answers));
            }
            let _kill = server.killed_at_end();
            until("enough is answered", || answers.load(Ordering::Relaxed) >= enough);
        });
        server.start_again();
        // Asked again with the same ids, what was unknown is done exactly once.
        let unknown = std::mem::take(&mut known.lock().unwrap().unknown);
        for operation in unknown {
            send(&server, operation, &known).unwrap();
        }
        check(&server, &known.lock().unwrap());
    }
}

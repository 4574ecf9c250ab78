//! Three nodes on a PostgreSQL under Patroni, whose leader is killed under load.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt as _;
use serde_json::{Value, json};

use crate::support::{
    Asks, Json, Patroni, Reply, Server, Setup, With, ai, at_once, decimal, of, raised_at_end, random, seed, until,
};

const NODES: usize = 3;
/// Clients of each node.
const CLIENTS: usize = 4;
const LIMIT: i128 = 1_000_000_000_000;
/// What one session holds at most: all of them together more than there is.
const HOLD_MAX: i128 = 200_000_000_000;
/// What one step costs at most: the limit is not used up before the end.
const STEP_MAX: i128 = 50_000_000;
/// Acknowledged operations of each node before the leader is killed, and after.
const PART: usize = 50;

/// How long a client comes again; only something broken takes as long.
const PATIENCE: Duration = Duration::from_mins(3);

/// What the clients know.
#[derive(Default)]
struct Known {
    /// The cost of each operation that was acknowledged, by id.
    acknowledged: Mutex<BTreeMap<String, i128>>,
    /// When each node acknowledged an operation.
    at: [Mutex<Vec<Instant>>; NODES],
    refusals: Mutex<usize>,
    is_over: AtomicBool,
}

impl Known {
    /// Waits until each node has acknowledged so many operations since then; gives when each did, the first one first.
    fn wait_for(&self, count: usize, since: Instant) -> Vec<Instant> {
        let mut first = Vec::new();
        until("every node records", || {
            let later = self
                .at
                .iter()
                .map(|at| at.lock().unwrap().iter().copied().filter(|at| *at > since).take(count).collect::<Vec<_>>());
            let enough: Vec<Vec<Instant>> = later.filter(|later| later.len() == count).collect();
            first = enough.iter().map(|later| later[0]).collect();
            first.len() == NODES
        });
        first.sort_unstable();
        first
    }
}

/// Asks a node with the same ids until it answers, as a client does that is told to come again.
fn ask(node: &Server, path: &str, body: &Value) -> Reply {
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if let Ok(reply) = node.try_post(path, body.clone())
            && reply.status < 500
            && reply.status != 429
        {
            return reply;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("{path} was asked in vain: {body}");
}

/// A user of a client's own, beside the one whom all share: so that nodes write in several buckets at the same time.
fn own_user(client: usize) -> String {
    format!("user_{client}")
}

/// Sessions with holds, drawn down in part and given back, and operations beside them, until it is over.
fn work(nodes: &[Server], seed: u64, client: usize, known: &Known) {
    let (no, mut random) = (client % NODES, random(seed, client));
    let node = &nodes[no];
    let record = |operation: Value, cost: i128| {
        let operation = operation.with("cost", decimal(cost));
        let recorded = ask(node, "/v1/usage", &operation).is(200);
        assert_eq!(recorded.pico("/cost"), cost);
        let id = operation["operationId"].as_str().unwrap().to_owned();
        assert_eq!(known.acknowledged.lock().unwrap().insert(id, cost), None);
        known.at[no].lock().unwrap().push(Instant::now());
    };
    for round in 0.. {
        if known.is_over.load(Ordering::Relaxed) {
            return;
        }
        record(ai(&own_user(client), 0.0).with("operationId", format!("own_{client}_{round}")), 1);
        let session = format!("session_{client}_{round}");
        let hold: i128 = random.random_range(STEP_MAX..=HOLD_MAX);
        let opening = json!({"sessionId": session, "feature": "test", "estimate": {"cost": decimal(hold)}});
        let opened = ask(node, &of("edge", "/sessions"), &opening);
        if opened.status == 402 {
            *known.refusals.lock().unwrap() += 1;
            continue;
        }
        let opened = opened.is_one_of(&[200, 201]);
        let budget = opened.at("/budget");
        let (used, held) = (budget.pico("/meters/cost/used"), budget.pico("/meters/cost/held"));
        assert!(used + held <= LIMIT, "{} used and {} held", decimal(used), decimal(held));
        for step in 0..random.random_range(1..3) {
            let part = random.random_range(0..=STEP_MAX / 2);
            let id = format!("{session}_{step}");
            let operation = ai("edge", 0.0).with("operationId", id).with("sessionId", session.as_str());
            record(operation, part);
        }
        ask(node, &of("edge", &format!("/sessions/{session}/finish")), &json!({"status": "completed"})).is(200);
    }
}

#[test]
#[ignore = "it takes a minute, and Patroni with etcd: `cargo xtask test --long` installs and runs it"]
fn patroni_replaces_a_leader_that_is_killed_and_nothing_is_lost() {
    let seed = seed("patroni_replaces_a_leader_that_is_killed_and_nothing_is_lost");
    let database = Patroni::start();
    let setup = Setup::open().on_store(&database.url()).argument("--require-sync");
    let nodes: Vec<Server> = (0..NODES).map(|_| setup.clone().start()).collect();
    nodes[0].user_with_cost_limit("edge", 1.0);
    let known = Known::default();
    let begun = Instant::now();
    at_once(NODES * CLIENTS + 1, |client| {
        if client < NODES * CLIENTS {
            return work(&nodes, seed, client, &known);
        }
        let _over = raised_at_end(&known.is_over);
        known.wait_for(PART, begun);
        let leader = database.leader().unwrap();
        database.kill9(leader);
        let killed = Instant::now();
        let mut next = None;
        until("Patroni promotes another member", || {
            next = database.leader();
            next.is_some()
        });
        let promoted = Instant::now();
        let next = next.unwrap();
        assert_ne!(next, leader);
        until("the new leader has a write on a standby too", || database.writes(next));
        let accepted = Instant::now();
        // The old leader's last answers had arrived long before another was promoted.
        let first = known.wait_for(1, killed + Duration::from_secs(1));
        let after = |at: Instant| at.saturating_duration_since(accepted);
        println!(
            "Patroni promoted a member {:?} after the leader died, which had a write on a standby {:?} after that; Outlay wrote \
             {:?} after that, from every node {:?}",
            promoted - killed,
            accepted - promoted,
            after(first[0]),
            after(first[NODES - 1]),
        );
        known.wait_for(PART, accepted);
    });

    // Nothing is lost, nothing counts twice, and nothing is held any more.
    let acknowledged = known.acknowledged.into_inner().unwrap();
    let users = (0..NODES * CLIENTS).map(own_user).chain(["edge".to_owned()]);
    let operations: Vec<Json> = users.flat_map(|user| nodes[0].all(&of(&user, "/usage?limit=1000"))).collect();
    let stored: BTreeMap<String, i128> = operations
        .iter()
        .map(|operation| (operation.text("/operationId").to_owned(), operation.pico("/cost")))
        .collect();
    assert_eq!(stored.len(), operations.len());
    assert!(stored == acknowledged, "{} are stored, {} were acknowledged", stored.len(), acknowledged.len());
    assert!(known.refusals.into_inner().unwrap() > 0, "the limit was reached");
    let of_edge = acknowledged.iter().filter(|(id, _)| id.starts_with("session_"));
    let sum: i128 = of_edge.map(|(_, cost)| cost).sum();
    assert!(sum <= LIMIT);
    for node in &nodes {
        node.budget("edge").meter("cost", &decimal(sum), "0");
        node.verifies();
    }
}

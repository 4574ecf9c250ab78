//! Three nodes at the edge of a limit, one of which is killed.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use rand::RngExt as _;
use serde_json::{Value, json};

use crate::support::{Asks, Json, Nodes, Reply, Setup, With, ai, at_once, decimal, of, random, seed, until};

const CLIENTS: usize = 64;
const LIMIT: i128 = 1_000_000_000_000;
/// Answers after which a node is killed, while all others go on.
const KILLED_AFTER: usize = 150;

/// What the clients know.
#[derive(Default)]
struct Known {
    /// The cost of each operation that was acknowledged, by id.
    acknowledged: Mutex<BTreeMap<String, i128>>,
    answers: AtomicUsize,
}

/// Asks any node that is left, with the same ids until one answers, as a client behind a load balancer does.
fn ask(nodes: &Nodes, random: &mut rand_pcg::Pcg64, known: &Known, path: &str, body: &Value) -> Reply {
    loop {
        let node = &nodes.all[random.random_range(0..nodes.all.len())];
        if let Ok(reply) = node.try_post(path, body.clone())
            && reply.status < 500
            && reply.status != 429
        {
            known.answers.fetch_add(1, Ordering::Relaxed);
            return reply;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Sessions with holds, drawn down in part and given back, until a few openings were refused and the node is gone.
fn work(nodes: &Nodes, seed: u64, client: usize, known: &Known) {
    let (mut random, mut refusals) = (random(seed, client), 0);
    for round in 0.. {
        if refusals >= 5 && known.answers.load(Ordering::Relaxed) > 2 * KILLED_AFTER {
            return;
        }
        let session = format!("session_{client}_{round}");
        let hold: i128 = random.random_range(1..=40_000_000_000);
        let opening = json!({"sessionId": session, "feature": "test", "estimate": {"cost": decimal(hold)}});
        let opened = ask(nodes, &mut random, known, &of("edge", "/sessions"), &opening);
        if opened.status == 402 {
            refusals += 1;
            continue;
        }
        check(opened.is_one_of(&[200, 201]).at("/budget"));
        let mut left = hold;
        for step in 0..random.random_range(0..3) {
            let part = random.random_range(0..=left);
            let id = format!("{session}_{step}");
            let operation = ai("edge", 0.0)
                .with("operationId", id.as_str())
                .with("sessionId", session.as_str())
                .with("cost", decimal(part));
            let recorded = ask(nodes, &mut random, known, "/v1/usage", &operation).is(200);
            assert_eq!(recorded.pico("/cost"), part);
            assert_eq!(known.acknowledged.lock().unwrap().insert(id, part), None);
            left -= part;
        }
        let status = if random.random_bool(0.5) { "completed" } else { "failed" };
        let finished = ask(
            nodes,
            &mut random,
            known,
            &of("edge", &format!("/sessions/{session}/finish")),
            &json!({"status": status}),
        );
        finished.is(200);
    }
}

#[track_caller]
fn check(budget: &Json) {
    let (used, held) = (budget.pico("/meters/cost/used"), budget.pico("/meters/cost/held"));
    assert!(used + held <= LIMIT, "{} used and {} held", decimal(used), decimal(held));
}

#[test]
fn sixty_four_clients_of_three_nodes_never_overspend_though_one_is_killed() {
    let seed = seed("sixty_four_clients_of_three_nodes_never_overspend_though_one_is_killed");
    let mut nodes = Nodes::of(3, Setup::open());
    nodes.user_with_cost_limit("edge", 1.0);
    let known = Known::default();
    at_once(CLIENTS + 1, |client| {
        if client < CLIENTS {
            return work(&nodes, seed, client, &known);
        }
        until("there is work under way", || known.answers.load(Ordering::Relaxed) >= KILLED_AFTER);
        drop(nodes.all[1].killed_at_end());
    });
    nodes.all.remove(1).kill9();

    // Nothing is lost, nothing counts twice, and nothing is held any more.
    let acknowledged = known.acknowledged.into_inner().unwrap();
    let operations = nodes.all("/v1/users/edge/usage?limit=1000");
    let stored: BTreeMap<String, i128> = operations
        .iter()
        .map(|operation| (operation.text("/operationId").to_owned(), operation.pico("/cost")))
        .collect();
    assert_eq!(stored.len(), operations.len());
    assert!(stored == acknowledged, "{} are stored, {} were acknowledged", stored.len(), acknowledged.len());
    let sum: i128 = acknowledged.values().sum();
    assert!(sum <= LIMIT && sum > LIMIT * 4 / 5, "{}", decimal(sum));
    for node in &nodes.all {
        node.budget("edge").meter("cost", &decimal(sum), "0");
    }
    // One alert of each threshold that was reached.
    let mut alerts: Vec<i128> =
        nodes.all("/v1/alerts").iter().map(|alert| alert.pico("/threshold") / 1_000_000_000_000).collect();
    alerts.sort_unstable();
    let reached: Vec<i128> = [80, 95, 100].into_iter().filter(|threshold| sum * 100 >= LIMIT * threshold).collect();
    assert_eq!(alerts, reached);
    nodes.verifies();
}

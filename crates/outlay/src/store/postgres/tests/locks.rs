//! What the bucket's lock alone gives: between a transaction's reading and its writing nobody else writes there.
//!
//! One node's transaction is held exactly between the two, in the proxy, and meanwhile another node is asked.

use std::sync::mpsc;
use std::time::Duration;

use outlay_core::id::{Name, SessionId, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::plan::{Amounts, Overrides};
use outlay_core::session::Ask;
use tokio_postgres::Config;

use super::super::Buckets;
use super::cluster::{self, block_on};
use super::failures::{commit, node, record};
use super::proxy::{Cut, Proxy};
use super::watching::PATIENCE;
use crate::store::Reply;

fn open(session: &str, ai_runs: i64) -> Command {
    Command::Open {
        user_id: UserId::new("ada").unwrap(),
        session_id: SessionId::new(session).unwrap(),
        feature: Name::new("scan").unwrap(),
        ask: Ask::Estimate(Amounts { cost: 0, ai_runs, api_runs: 0 }),
        hold_seconds: 900,
        metadata: None,
    }
}

/// What came of two commands of one user's, the second of which another node was asked while the first stood still.
struct Met {
    first: Reply,
    second: Reply,
    /// Whether the second waited for the first.
    waited: bool,
}

/// Stops the first command after its transaction has read, asks another node for the second, and lets the first go on once
/// the second waits for the lock, or has an answer. Both nodes have seen what was recorded before.
fn meet(config: &Config, before: Vec<Command>, first: Command, second: Command) -> Met {
    let proxy = Proxy::before(config);
    let (mut here, _) = node(&proxy.config);
    let (mut there, _) = node(config);
    for command in before {
        commit(&mut here, vec![command])[0].as_ref().unwrap();
    }
    commit(&mut there, vec![record("seen")])[0].as_ref().unwrap();
    proxy.arm(Cut::Held);
    std::thread::scope(|scope| {
        let first = scope.spawn(move || commit(&mut here, vec![first]).pop().unwrap());
        until("the first stands still", || proxy.holds());
        let (answered, answer) = mpsc::channel();
        scope.spawn(move || answered.send(commit(&mut there, vec![second]).pop().unwrap()).unwrap());
        let (mut early, mut waited) = (None, false);
        until("the second waits, or has an answer", || {
            early = answer.try_recv().ok();
            waited = early.is_none() && waits_for_a_lock(config);
            early.is_some() || waited
        });
        proxy.release();
        let second = early.unwrap_or_else(|| answer.recv().unwrap());
        Met { first: first.join().unwrap(), second, waited }
    })
}

fn waits_for_a_lock(config: &Config) -> bool {
    block_on(async {
        let client = cluster::connect(config).await;
        let sql = "select exists(select from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock')";
        client.query_one(sql, &[]).await.unwrap().get(0)
    })
}

#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let pause = Duration::from_millis(2);
    for _ in 0..PATIENCE.as_millis() / pause.as_millis() {
        if holds() {
            return;
        }
        std::thread::sleep(pause);
    }
    panic!("this did not come: {what}");
}

/// The first takes all that is left, and what it saw is still so when it writes it; the second counts it.
#[test]
fn who_asks_at_the_edge_of_a_limit_waits_for_who_is_about_to_reach_it() {
    let config = cluster::database(Buckets::USUAL);
    let put = Command::PutUser {
        user_id: UserId::new("ada").unwrap(),
        plan: Some(Name::new("premium").unwrap()),
        email: None,
        overrides: Overrides::default(),
    };
    let met = meet(&config, vec![put, record("first")], open("all", 28), open("one-more", 1));
    assert!(matches!(met.first, Ok(Outcome::Opened { .. })), "{:?}", met.first);
    let Ok(Outcome::Refused(refused)) = &met.second else { panic!("{:?}", met.second) };
    let runs = refused.budget.meters.ai_runs;
    assert_eq!((runs.used, runs.held, runs.limit), (2, 28, Some(30)));
    assert!(met.waited, "it was refused by something else");
    let reads = node(&config).1;
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

/// A batch of duplicates writes no row that another could collide with, only the bucket's: it must not set that back.
#[test]
fn an_answer_that_records_nothing_sets_nothing_back() {
    let config = cluster::database(Buckets::USUAL);
    let met = meet(&config, vec![record("first")], record("first"), record("second"));
    let is_duplicate = |reply: &Reply| match reply {
        Ok(Outcome::Recorded(recorded)) => Some(recorded.duplicate),
        _ => None,
    };
    assert_eq!(is_duplicate(&met.first), Some(true), "{:?}", met.first);
    assert_eq!(is_duplicate(&met.second), Some(false), "{:?}", met.second);
    let (mut store, reads) = node(&config);
    let third = &commit(&mut store, vec![record("third")])[0];
    assert_eq!(is_duplicate(third), Some(false), "the bucket gives out a number again: {third:?}");
    assert_eq!(block_on(reads.verify()).unwrap(), []);
    assert!(met.waited, "nothing kept it waiting");
}

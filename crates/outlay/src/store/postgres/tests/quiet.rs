//! What a node asks of a database that nobody uses: nothing, until something is due.

use outlay_core::id::{Name, SessionId, SessionNo, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::plan::{Amounts, Overrides};
use outlay_core::session::Ask;
use tokio_postgres::Config;

use super::super::Buckets;
use super::cluster::{self, block_on};
use super::failures::{change, commit};
use super::nodes::{Node, ask, node};
use super::sharded::logged;
use crate::store::Store;
use crate::store::tests::SetClock;

/// Opens a session that holds for so long; gives its number.
fn open(node: &mut Node, session: &str, seconds: i64) -> SessionNo {
    let command = Command::Open {
        user_id: UserId::new("ada").unwrap(),
        session_id: SessionId::new(session).unwrap(),
        feature: Name::new("scan").unwrap(),
        ask: Ask::Estimate(Amounts { cost: 0, ai_runs: 1, api_runs: 0 }),
        hold_seconds: seconds,
        metadata: None,
    };
    match commit(&mut node.0, vec![command]).pop().unwrap() {
        Ok(Outcome::Opened { session, .. }) => session.no,
        refused => panic!("{refused:?}"),
    }
}

fn due(node: &mut Node) -> Vec<SessionNo> {
    block_on(node.0.due(10)).unwrap()
}

/// How often the server was asked for sessions that are due or will be, while a node was told to sweep a hundred times.
fn asked_in_a_hundred_sweeps(config: &Config, node: &mut Node) -> usize {
    let asked = || logged(config).iter().filter(|logged| logged.sql.contains("from session where due")).count();
    let before = asked();
    for _ in 0..100 {
        assert_eq!(due(node), []);
    }
    asked() - before
}

#[test]
fn a_node_that_nobody_uses_asks_nothing_until_the_next_session_is_due() {
    let config = cluster::database(Buckets::USUAL);
    change(&config, &format!("alter database {} set log_statement = 'all'", config.get_dbname().unwrap()));
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let (mut here, mut there) = (node(&config, &clock), node(&config, &clock));
    let put = Command::PutUser {
        user_id: UserId::new("ada").unwrap(),
        plan: Some(Name::new("premium").unwrap()),
        email: None,
        overrides: Overrides::default(),
    };
    commit(&mut here.0, vec![put])[0].as_ref().unwrap();
    let first = open(&mut here, "first", 900);
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 100, "it is in use");

    clock.pass(15);
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 2, "it asks what is due, and what will be");
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 0);

    // Another node opens one that is due earlier, and gives it back itself.
    let second = open(&mut there, "second", 60);
    clock.pass(60);
    assert_eq!(due(&mut there), [second]);
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 0);
    // If that one has ended, whoever is asked anything does: be it only whether it is ready.
    ask(&*here.1);
    assert_eq!(due(&mut here), [second]);
    commit(&mut here.0, vec![Command::Expire { session_no: second }])[0].as_ref().unwrap();

    clock.pass(15);
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 2);
    clock.pass(900 - (15 + 60 + 15));
    assert_eq!(due(&mut here), [first], "it is due when it was known to be");
    commit(&mut here.0, vec![Command::Expire { session_no: first }])[0].as_ref().unwrap();

    clock.pass(15);
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 2);
    clock.pass(3_599);
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 0);
    clock.pass(1);
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 2, "an hour later it looks after what others left");
}

/// Whoever watches sees a hold end at once, whichever node it was opened at.
#[test]
fn a_node_where_somebody_watches_asks_all_the_time() {
    let config = cluster::database(Buckets::USUAL);
    change(&config, &format!("alter database {} set log_statement = 'all'", config.get_dbname().unwrap()));
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let mut here = node(&config, &clock);
    clock.pass(15);
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 2);
    let watching = here.1.feed().watch_everybody().unwrap();
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 100);
    drop(watching);
    assert_eq!(asked_in_a_hundred_sweeps(&config, &mut here), 0);
}

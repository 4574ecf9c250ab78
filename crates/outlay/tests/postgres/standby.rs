//! A primary and its synchronous standby: what is acknowledged is on both, whatever becomes of the standby, of the wait for
//! it, and of the settings.

use rustix::process::Signal;

use outlay::store::postgres::Settings;
use outlay::store::{CommandError, Record, Reply, SecretRecord, Store, StoreError};
use outlay_core::month::Timestamp;

use tokio_postgres::config::Host;

use crate::node::{DATABASE, Node, block_on, change, number, record, recorded, settings, settings_at, wait_until};
use crate::proxy::{Cut, Proxy};
use crate::server::Server;

/// A primary with the ledger's database, and a standby, both running; commits wait for the standby.
fn pair() -> (Server, Server) {
    let mut primary = Server::new(&["fsync=on"]);
    primary.start();
    change(&primary, "postgres", &format!("create database {DATABASE}"));
    let mut standby = primary.standby("s1");
    standby.start();
    primary.configure("synchronous_standby_names = 's1'");
    primary.signal(Signal::HUP);
    let connected = "select count(*) from pg_stat_replication where sync_state = 'sync'";
    wait_until("the standby is synchronous", || number(&primary, "postgres", connected) == 1);
    (primary, standby)
}

fn is_unknown(reply: &Reply) -> bool {
    matches!(reply, Err(CommandError::Store(StoreError::OutcomeUnknown(_))))
}

/// Commits on a thread of its own; meanwhile, once a server process waits for the standby, does something to it.
fn commit_while(node: &mut Node, primary: &Server, id: &str, then: impl FnOnce()) -> Reply {
    while_it_waits(primary, || node.one(record("ada", id)), then)
}

/// The same of anything that is committed.
fn while_it_waits<T: Send>(primary: &Server, commit: impl FnOnce() -> T + Send, then: impl FnOnce()) -> T {
    std::thread::scope(|scope| {
        let committing = scope.spawn(commit);
        wait_until("a commit waits for the standby", || waiting(primary) > 0);
        then();
        committing.join().unwrap()
    })
}

/// How many server processes wait for a standby.
fn waiting(primary: &Server) -> i64 {
    let sql = "select count(*) from pg_stat_activity where wait_event = 'SyncRep' and application_name = 'outlay'";
    number(primary, "postgres", sql)
}

/// Puts a secret, which is a record: it goes the way of a key and of what is revoked.
fn put_secret(node: &mut Node) -> Result<(), StoreError> {
    let secret = SecretRecord { name: "a".to_owned(), sealed: vec![1], created_at: Timestamp::EPOCH };
    block_on(node.store.put(Record::Secret(secret), None))
}

/// Ends the wait of every server process that waits for a standby, by `pg_cancel_backend` or `pg_terminate_backend`.
fn end_waits(primary: &Server, by: &str) {
    let sql =
        format!("select {by}(pid) from pg_stat_activity where wait_event = 'SyncRep' and application_name = 'outlay'");
    change(primary, "postgres", &sql);
}

#[test]
fn what_an_acknowledgement_promises_is_said_and_can_be_demanded() {
    let mut primary = Server::new(&["fsync=on"]);
    primary.start();
    change(&primary, "postgres", &format!("create database {DATABASE}"));
    let demanding = |server: &Server| Settings { require_sync: true, ..settings(&[server]) };
    let Err(StoreError::Unavailable(said)) = Node::open(demanding(&primary)).map(|_| ()) else { panic!("it opens") };
    assert!(said.contains("synchronous_standby_names"), "{said}");
    let node = Node::open(settings(&[&primary])).unwrap();
    let status = node.reads.status();
    assert_eq!((status.not_ready, status.promise), (None, "acknowledged means on the primary's disk"));

    let (primary, _standby) = pair();
    let mut node = Node::open(demanding(&primary)).unwrap();
    assert_eq!(recorded(&node.one(record("ada", "a"))), Some(false));
    let status = node.reads.status();
    let promise = "acknowledged means on the disks of the primary and of a synchronous standby";
    assert_eq!((status.not_ready, status.promise), (None, promise));

    // Who takes the standby out of the settings ends the promise: nothing is acknowledged then, and nothing is ready.
    primary.configure("synchronous_standby_names = ''");
    primary.signal(Signal::HUP);
    wait_until("the node is not ready", || {
        // It may still be recorded, or not any more.
        let _ = node.one(record("ada", "b"));
        node.reads.status().not_ready.is_some()
    });
    let refused = node.one(record("ada", "c"));
    let Err(CommandError::Store(StoreError::Unavailable(said))) = &refused else { panic!("{refused:?}") };
    assert!(said.contains("synchronous_standby_names"), "{said}");
    let mut lenient = Node::open(settings(&[&primary])).unwrap();
    assert_eq!(recorded(&lenient.one(record("ada", "d"))), Some(false));
    assert_eq!(lenient.reads.status().promise, "acknowledged means on the primary's disk");
    let mut without_disk = Server::new(&[]);
    without_disk.start();
    change(&without_disk, "postgres", &format!("create database {DATABASE}"));
    let node = Node::open(settings(&[&without_disk])).unwrap();
    assert!(node.reads.status().promise.contains("fsync is off"), "{}", node.reads.status().promise);
}

/// The server answers COMMIT of a wait that was cancelled, and shows the row, though no standby has it. Whoever sent the
/// command is not told that it is recorded, and not when it is sent again, until a standby has it.
#[test]
fn a_commit_whose_wait_was_cut_is_not_acknowledged_before_a_standby_has_it() {
    let (primary, mut standby) = pair();
    // What a role or a database says of commits does not count.
    change(&primary, "postgres", &format!("alter database {DATABASE} set synchronous_commit = off"));
    let mut node = Node::open(settings(&[&primary])).unwrap();
    assert_eq!(recorded(&node.one(record("ada", "a"))), Some(false));
    standby.kill();

    let cancelled = commit_while(&mut node, &primary, "b", || end_waits(&primary, "pg_cancel_backend"));
    assert!(is_unknown(&cancelled), "{cancelled:?}");
    assert!(node.reads.status().not_ready.is_some(), "it says so");
    assert_eq!(number(&primary, DATABASE, "select count(*) from operation"), 2, "the primary shows it");
    // It is a duplicate now, which writes nothing: all the same, that must not be told before the standby has it.
    let again = commit_while(&mut node, &primary, "b", || end_waits(&primary, "pg_cancel_backend"));
    assert!(is_unknown(&again), "{again:?}");
    // The connection ends with it, and what became of the batch cannot be settled without the standby.
    let terminated = commit_while(&mut node, &primary, "c", || end_waits(&primary, "pg_terminate_backend"));
    assert!(is_unknown(&terminated), "{terminated:?}");

    // So it is with what is no batch.
    let noted = while_it_waits(&primary, || put_secret(&mut node), || end_waits(&primary, "pg_cancel_backend"));
    assert!(matches!(noted, Err(StoreError::OutcomeUnknown(_))), "{noted:?}");

    standby.restart();
    // No balancer sends anything to a node that is not ready, so it finds out itself.
    wait_until("the node is ready", || node.reads.status().not_ready.is_none());
    assert_eq!(["b", "c"].map(|id| recorded(&node.one(record("ada", id)))), [Some(true); 2]);
    put_secret(&mut node).unwrap();
    assert_eq!(number(&standby, DATABASE, "select count(*) from operation"), 3);
    node.assert_clean();
}

/// The connection ends at COMMIT without a word, so what became of it is looked for. That waits for a standby too, and where
/// its wait is cut, what was found is not acknowledged.
#[test]
fn a_look_for_an_outcome_whose_wait_was_cut_is_no_answer() {
    let (primary, mut standby) = pair();
    let proxy = Proxy::before(&primary.config(DATABASE));
    let [Host::Unix(folder)] = proxy.config.get_hosts() else { panic!("the proxy has a Unix socket") };
    let mut node = Node::open(settings_at(&[folder])).unwrap();
    assert_eq!(recorded(&node.one(record("ada", "a"))), Some(false));
    standby.kill();
    proxy.arm(Cut::AfterCommit);
    let reply = std::thread::scope(|scope| {
        let committing = scope.spawn(|| node.one(record("ada", "b")));
        while !committing.is_finished() {
            end_waits(&primary, "pg_cancel_backend");
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        committing.join().unwrap()
    });
    assert!(proxy.has_cut(), "the connection was cut");
    assert!(is_unknown(&reply), "{reply:?}");
    assert_eq!(number(&primary, DATABASE, "select count(*) from operation"), 2, "the primary shows it");
    standby.restart();
    wait_until("the node is ready", || node.reads.status().not_ready.is_none());
    assert_eq!(recorded(&node.one(record("ada", "b"))), Some(true));
    assert_eq!(number(&standby, DATABASE, "select count(*) from operation"), 2);
    node.assert_clean();
}

/// Emptying `synchronous_standby_names` lets go the commits that wait, without a word.
#[test]
fn a_commit_that_the_settings_let_go_is_not_acknowledged_where_a_standby_is_demanded() {
    let batch = let_go(|node| node.one(record("ada", "a")));
    assert!(is_unknown(&batch), "{batch:?}");
    let noted = let_go(put_secret);
    assert!(matches!(noted, Err(StoreError::OutcomeUnknown(_))), "{noted:?}");
}

/// Commits where a standby is demanded and gone; while it waits, standbys go out of the settings.
fn let_go<T: Send>(commit: impl FnOnce(&mut Node) -> T + Send) -> T {
    let (primary, standby) = pair();
    let mut node = Node::open(Settings { require_sync: true, ..settings(&[&primary]) }).unwrap();
    assert_eq!(recorded(&node.one(record("ada", "first"))), Some(false));
    standby.kill();
    let settings_change = || {
        primary.configure("synchronous_standby_names = ''");
        primary.signal(Signal::HUP);
    };
    let committed = while_it_waits(&primary, || commit(&mut node), settings_change);
    assert!(node.reads.status().not_ready.is_some());
    committed
}

/// A database that takes what it is sent and answers nothing keeps nobody waiting for ever, neither writers nor readers.
#[test]
fn a_database_that_stands_still_keeps_nobody_waiting_for_ever() {
    let mut primary = Server::new(&[]);
    primary.start();
    change(&primary, "postgres", &format!("create database {DATABASE}"));
    let mut node = Node::open(settings(&[&primary])).unwrap();
    assert_eq!(recorded(&node.one(record("ada", "a"))), Some(false));
    node.assert_clean();
    primary.signal_all(Signal::STOP);
    let reads = std::sync::Arc::clone(&node.reads);
    let reading = std::thread::spawn(move || crate::node::block_on(reads.users_by_plan()));
    let written = node.one(record("ada", "b"));
    assert!(matches!(written, Err(CommandError::Store(StoreError::Unavailable(_)))), "{written:?}");
    assert!(matches!(reading.join().unwrap(), Err(StoreError::Unavailable(_))));
    wait_until("the node is not ready", || node.reads.status().not_ready.is_some());
    primary.signal_all(Signal::CONT);
    wait_until("the database answers", || recorded(&node.one(record("ada", "b"))).is_some());
    wait_until("the node is ready", || node.reads.status().not_ready.is_none());
    node.assert_clean();
}

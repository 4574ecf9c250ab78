//! Primaries that are replaced under load: what was acknowledged is there afterwards, once, and nothing is over its limit.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use outlay_core::ledger::Outcome;
use rustix::process::Signal;
use tokio_postgres::Config;

use crate::node::{
    DATABASE, Node, block_on, change, connect, number, open_session, put_on_premium, record, recorded, settings,
    wait_until,
};
use crate::server::Server;

/// Nodes that write at the same time, and users that they all write.
const NODES: usize = 3;
const USERS: [&str; 4] = ["ada", "bob", "cleo", "dan"];
/// AI runs of the plan `premium`, which all sessions are opened on.
const RUNS: i64 = 30;
/// Acknowledged operations of each node before something happens, and after it.
const PART: usize = 30;

/// A primary and two standbys, one of which every commit waits for.
struct Trio {
    primary: Server,
    standbys: [Server; 2],
}

impl Trio {
    fn start() -> Self {
        let mut primary = Server::new(&["fsync=on"]);
        primary.start();
        change(&primary, "postgres", &format!("create database {DATABASE}"));
        change(&primary, "postgres", "create table probe (at timestamptz)");
        primary.configure("synchronous_standby_names = 'ANY 1 (s1, s2)'");
        let mut standbys = [primary.standby("s1"), primary.standby("s2")];
        // Only now, since a copy on a busy machine may keep its server waiting for longer.
        let soon = "wal_receiver_timeout = 3s\nwal_sender_timeout = 3s";
        for server in [&primary, &standbys[0], &standbys[1]] {
            server.configure(soon);
        }
        standbys.iter_mut().for_each(Server::start);
        primary.signal(Signal::HUP);
        let connected = "select count(*) from pg_stat_replication where sync_state = 'quorum'";
        wait_until("both standbys are asked", || number(&primary, "postgres", connected) == 2);
        Self { primary, standbys }
    }

    fn all(&self) -> [&Server; 3] {
        [&self.primary, &self.standbys[0], &self.standbys[1]]
    }

    /// Promotes the standby that has more, has the other one follow it, and gives it.
    fn fail_over(&self, told: &Told) -> &Server {
        let received = |standby: &Server| {
            number(standby, "postgres", "select pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')::int8")
        };
        let [first, second] = &self.standbys;
        let (next, other, name) =
            if received(first) >= received(second) { (first, second, "s2") } else { (second, first, "s1") };
        // What the old primary answered has long arrived.
        told.forget_first();
        next.promote();
        let conninfo = format!("user=postgres host={} application_name={name}", next.folder.display());
        change(other, "postgres", &format!("alter system set primary_conninfo = '{conninfo}'"));
        other.signal(Signal::HUP);
        next
    }
}

/// What the nodes were told.
#[derive(Default)]
struct Told {
    operations: Mutex<BTreeSet<String>>,
    sessions: Mutex<BTreeSet<String>>,
    by_node: [AtomicUsize; NODES],
    /// When each node acknowledged something first since this was forgotten.
    first: [Mutex<Option<Instant>>; NODES],
    stop: AtomicBool,
}

impl Told {
    fn forget_first(&self) {
        self.first.iter().for_each(|first| *first.lock().unwrap() = None);
    }

    /// Waits until every node has acknowledged something since [`Told::forget_first`]; gives when each did, the first one first.
    fn wait_for_first(&self) -> Vec<Instant> {
        let mut all = Vec::new();
        wait_until("every node records on the new primary", || {
            all = self.first.iter().filter_map(|first| *first.lock().unwrap()).collect();
            all.len() == NODES
        });
        all.sort_unstable();
        all
    }

    /// Waits until each node was told of so many more operations.
    fn wait_for_more(&self, count: usize) {
        let before: Vec<usize> = self.by_node.iter().map(|node| node.load(Ordering::SeqCst)).collect();
        wait_until("each node records on", || {
            self.by_node.iter().zip(&before).all(|(node, before)| node.load(Ordering::SeqCst) >= before + count)
        });
    }

    /// Writes until it is told to stop: each command again and again, until it has an answer.
    fn load(&self, of: usize, mut node: Node) {
        for no in 0.. {
            let (id, session) = (format!("{of}-{no}"), format!("s{of}-{no}"));
            let user = USERS[no % USERS.len()];
            loop {
                if self.stop.load(Ordering::SeqCst) {
                    return;
                }
                let replies = node.commit(vec![record(user, &id), open_session(USERS[0], &session)]);
                if recorded(&replies[0]).is_some() {
                    self.operations.lock().unwrap().insert(id.clone());
                }
                if matches!(replies[1], Ok(Outcome::Opened { .. })) {
                    self.sessions.lock().unwrap().insert(session.clone());
                }
                if replies.iter().all(Result::is_ok) {
                    self.by_node[of].fetch_add(1, Ordering::SeqCst);
                    self.first[of].lock().unwrap().get_or_insert_with(Instant::now);
                    break;
                }
                // As a client does that is told to come again.
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }

    /// All that was acknowledged is on this server, once, and no user has more than the plan gives.
    fn assert_kept(&self, server: &Server) {
        let (operations, sessions) = (self.operations.lock().unwrap(), self.sessions.lock().unwrap());
        let ids = |sql: &'static str, config: Config| {
            block_on(async {
                let rows = connect(&config).await.query(sql, &[]).await.unwrap();
                rows.iter().map(|row| row.get::<_, String>(0)).collect::<Vec<_>>()
            })
        };
        let recorded = ids("select operation_id from operation", server.config(DATABASE));
        let once: BTreeSet<String> = recorded.iter().cloned().collect();
        assert_eq!(recorded.len(), once.len(), "each operation is there once");
        let lost: Vec<_> = operations.difference(&once).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        let opened: BTreeSet<String> =
            ids("select session_id from session", server.config(DATABASE)).into_iter().collect();
        let lost: Vec<_> = sessions.difference(&opened).collect();
        assert!(lost.is_empty(), "opened and lost: {lost:?}");
        assert!(i64::try_from(opened.len()).unwrap() <= RUNS, "{} sessions hold {RUNS} runs", opened.len());
    }
}

/// Waits until a promoted server records something on a standby too, and says since when.
fn wait_for_writes(server: &Server) -> Instant {
    wait_until("the new primary is promoted", || {
        number(server, "postgres", "select pg_is_in_recovery()::int::int8") == 0
    });
    change(server, "postgres", "insert into probe values (now())");
    Instant::now()
}

/// How long things took after a primary died.
#[derive(Debug, Clone, Copy)]
struct Took {
    /// From its death until the new one took a write and had it on a standby.
    promotion: Duration,
    /// From then until the first node's first write, and until that of the last.
    first: Duration,
    all: Duration,
}

fn fails_over(round: usize) -> Took {
    let trio = Trio::start();
    let mut first = Node::open(settings(&trio.all())).unwrap();
    first.one(put_on_premium(USERS[0])).unwrap();
    let told = Told::default();
    std::thread::scope(|scope| {
        let load = |of| {
            let (told, node) = (&told, Node::open(settings(&trio.all())).unwrap());
            scope.spawn(move || told.load(of, node))
        };
        let nodes: Vec<_> = (0..NODES).map(load).collect();
        told.wait_for_more(PART);
        trio.primary.kill();
        let killed = Instant::now();
        let next = trio.fail_over(&told);
        let writes_from = wait_for_writes(next);
        let wrote = told.wait_for_first();
        let after = |at: Instant| at.saturating_duration_since(writes_from);
        let took = Took { promotion: writes_from - killed, first: after(wrote[0]), all: after(wrote[NODES - 1]) };
        println!(
            "failover {round}: the new primary took writes {:?} after the old one died; Outlay wrote {:?} after that, from \
             every node {:?}",
            took.promotion, took.first, took.all
        );
        told.wait_for_more(PART);
        told.stop.store(true, Ordering::SeqCst);
        for node in nodes {
            node.join().unwrap();
        }
        told.assert_kept(next);
        first.assert_clean();
        took
    })
}

#[test]
fn what_was_acknowledged_is_there_after_a_failover() {
    let rounds = std::env::var("OUTLAY_FAILOVERS").map_or(2, |text| text.parse().unwrap());
    let took: Vec<Took> = (0..rounds).map(fails_over).collect();
    let say = |what: &str, of: fn(&Took) -> Duration| {
        let mut all: Vec<Duration> = took.iter().map(of).collect();
        all.sort_unstable();
        println!("{what}: half within {:?}, all within {:?}", all[all.len() / 2], all[all.len() - 1]);
    };
    say("promoted after the death", |took| took.promotion);
    say("written by the first node after the promotion", |took| took.first);
    say("written by every node after the promotion", |took| took.all);
}

/// The old primary stands still, is replaced, and then goes on, as if it were one: nobody is told anything by it.
#[test]
fn a_primary_that_was_replaced_acknowledges_nothing() {
    let trio = Trio::start();
    let mut alone = Node::open(settings(&[&trio.primary])).unwrap();
    alone.one(put_on_premium(USERS[0])).unwrap();
    let told = Told::default();
    std::thread::scope(|scope| {
        let load = |of| {
            let (told, node) = (&told, Node::open(settings(&trio.all())).unwrap());
            scope.spawn(move || told.load(of, node))
        };
        let nodes: Vec<_> = (0..NODES).map(load).collect();
        told.wait_for_more(PART);
        trio.primary.signal_all(Signal::STOP);
        let next = trio.fail_over(&told);
        wait_for_writes(next);
        told.wait_for_more(PART);
        trio.primary.signal_all(Signal::CONT);
        wait_until("the old primary answers", || number(&trio.primary, "postgres", "select 1::int8") == 1);
        told.wait_for_more(PART);
        // Who knows of it alone is told nothing; who knows the others too finds the one that replaced it.
        let zombie = alone.one(record("ada", "zombie"));
        assert!(zombie.is_err(), "{zombie:?}");
        let mut late = Node::open(settings(&trio.all())).unwrap();
        assert_eq!(recorded(&late.one(record("ada", "late"))), Some(false));
        let found = "select count(*) from operation where operation_id = 'late'";
        assert_eq!(number(next, DATABASE, found), 1);
        assert_eq!(number(&trio.primary, DATABASE, found), 0);
        told.stop.store(true, Ordering::SeqCst);
        for node in nodes {
            node.join().unwrap();
        }
        told.assert_kept(next);
        late.assert_clean();
    });
}

//! What a node does beside its commands, whatever else it does and whichever others do the same.

use std::time::Duration;

use outlay_core::id::UserId;
use outlay_core::ledger::Command;
use tokio_postgres::Config;

use super::super::{Buckets, PostgresStore, Settings, open};
use super::cluster::{self, block_on};
use super::failures::{change, commit, node, record};
use super::opened;
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::store::Reads;
use crate::store::tests::SetClock;
use crate::store::tests::erasure::{MARK, nothing_is_left};

/// Whether any row of any table has this text.
fn has(config: &Config, text: &str) -> bool {
    block_on(async {
        let client = cluster::connect(config).await;
        let sql = "select relname::text from pg_class where relkind in ('r', 'p') and not relispartition \
                   and relnamespace = 'public'::regnamespace";
        let pattern = format!("%{text}%");
        let tables = client.query(sql, &[]).await.unwrap();
        assert!(tables.len() > 10, "{tables:?}");
        for table in tables {
            let sql = format!("select count(*) from {0} t where t::text like $1", table.get::<_, &str>(0));
            if client.query_one(&sql, &[&pattern]).await.unwrap().get::<_, i64>(0) > 0 {
                return true;
            }
        }
        false
    })
}

fn count(config: &Config, sql: &str) -> i64 {
    block_on(async { cluster::connect(config).await.query_one(sql, &[]).await.unwrap().get(0) })
}

/// Waits until a count is what it should become, without the node being asked for anything.
fn becomes(config: &Config, sql: &str, expected: i64) {
    for _ in 0..600 {
        if count(config, sql) == expected {
            return;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!("{sql}: {} and not {expected}", count(config, sql));
}

#[test]
fn of_erased_people_the_postgres_store_keeps_nothing_that_names_them() {
    for buckets in [Buckets::of_bits(0).unwrap(), Buckets::USUAL] {
        let config = cluster::database(buckets);
        nothing_is_left(|clock| opened(&config, buckets, clock), || has(&config, MARK));
        assert_eq!(count(&config, "select count(*) from op_key"), 0);
        assert_eq!(count(&config, "select count(*) from erasure where stage = -1"), 6);
    }
}

fn erase() -> Command {
    Command::Erase { user_id: UserId::new("ada").unwrap() }
}

const NAMED: &str = "select count(*) from operation where operation_id <> ''";
const UNFINISHED: &str = "select count(*) from erasure where stage >= 0";

#[test]
fn who_is_erased_is_wiped_by_a_node_that_never_rests() {
    let config = cluster::database(Buckets::USUAL);
    let (mut store, reads) = node(&config);
    // The first may be wiped since a node looks when it starts; the second only since it was erased.
    for times in 1..=2 {
        commit(&mut store, (0..10).map(|no| record(&format!("o{no}"))).collect());
        commit(&mut store, vec![erase()])[0].as_ref().unwrap();
        becomes(&config, "select count(*) from erasure where stage < 0", times);
        assert_eq!(count(&config, NAMED), 0);
    }
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

/// A node ends in the middle; two others go on at the same time.
#[test]
fn wiping_goes_on_where_a_node_left_it_and_two_nodes_only_take_turns() {
    let config = cluster::database(Buckets::USUAL);
    let small = || -> (PostgresStore, std::sync::Arc<dyn Reads>) {
        let settings = Settings::new("postgres://localhost", SystemClock::shared()).unwrap();
        open(Settings { config: config.clone(), slice_rows: 7, ..settings }).unwrap()
    };
    let (mut store, reads) = small();
    for batch in 0..4 {
        commit(&mut store, (0..50).map(|no| record(&format!("o{batch}-{no}"))).collect());
    }
    // The rows below this one cannot be wiped: there it stops.
    let middle = count(&config, "select no from operation order by no offset 99 limit 1");
    let stop = format!("alter table operation add constraint stop check (operation_id <> '' or no > {middle})");
    change(&config, &stop);
    commit(&mut store, vec![erase()])[0].as_ref().unwrap();
    becomes(&config, "select count(*) from erasure where below is not null and stage = 2", 1);
    becomes(&config, NAMED, 102);
    let keys = count(&config, "select count(*) from op_key");
    assert_eq!((keys, count(&config, UNFINISHED)), (102, 1));
    drop((store, reads));
    change(&config, "alter table operation drop constraint stop");
    let (first, second) = (small(), small());
    becomes(&config, UNFINISHED, 0);
    assert_eq!((count(&config, NAMED), count(&config, "select count(*) from op_key")), (0, 0));
    assert_eq!(block_on(first.1.verify()).unwrap(), []);
    drop((first, second));
}

/// Time passes, and nobody asks the node for anything.
#[test]
fn partitions_are_made_before_they_are_needed_and_those_of_old_events_go() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at(&SystemClock::shared().wall().to_string());
    let (mut store, _reads) = opened(&config, Buckets::USUAL, std::sync::Arc::clone(&clock) as SharedClock);
    commit(&mut store, vec![record("before")])[0].as_ref().unwrap();
    let in_40_days = clock.wall().plus_seconds(40 * 86_400);
    clock.pass(40 * 86_400);
    let of = |table: &str| format!("select count(*) from pg_inherits where inhparent = '{table}'::regclass");
    let tomorrow = in_40_days.plus_seconds(86_400).day().index();
    becomes(&config, &format!("select count(*) from pg_class where relname = 'event_before_{tomorrow}'"), 1);
    let next_month = in_40_days.month().next().index();
    assert_eq!(
        count(&config, &format!("select count(*) from pg_class where relname = 'operation_before_{next_month}'")),
        1
    );
    // The day of the first batch is over by more than two days, so its events are gone; its operation is not.
    becomes(&config, &of("event"), 3);
    assert_eq!((count(&config, "select count(*) from event"), count(&config, NAMED)), (0, 1));
    commit(&mut store, vec![record("after")])[0].as_ref().unwrap();
    assert_eq!((count(&config, "select count(*) from event"), count(&config, NAMED)), (1, 2));
}

//! What only this store must do; what every store must do is in [`crate::store::tests`].

mod bouncer;
mod cluster;
mod connecting;
mod failures;
mod lanes;
mod locks;
mod moving;
mod nodes;
mod numbers;
mod outbox;
mod pieces;
mod proxy;
mod quiet;
mod server;
mod sharded;
mod watching;
mod wiping;

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Buckets, PostgresStore, Settings, codec, errors, link, open, put, schema, statements, sums};
use crate::clock::{SharedClock, SystemClock};
use crate::store::outbox::MailTo;
use crate::store::tests::{Ledgers, long_lists, records, suite};
use crate::store::{Reads, StoreError};
use watching::PATIENCE;

/// A store of a test's database that decides by the test's clock.
fn opened(config: &tokio_postgres::Config, buckets: Buckets, clock: SharedClock) -> (PostgresStore, Arc<dyn Reads>) {
    open(settings(config, buckets, clock)).unwrap()
}

fn settings(config: &tokio_postgres::Config, buckets: Buckets, clock: SharedClock) -> Settings {
    let usual = Settings::new("postgres://localhost", clock).unwrap();
    let mail = MailTo { user: true, operator: true };
    let of_test =
        Settings { config: config.clone(), own_clock: true, seed: Some(5), mail, patience: PATIENCE, ..usual };
    Settings { buckets, lanes: 3, slice_rows: 3, ..of_test }
}

#[test]
fn the_postgres_store_reads_what_was_recorded() {
    let buckets = Buckets::of_bits(0).unwrap();
    for seed in 1..=2 {
        let config = cluster::database(buckets);
        suite(seed, 100, Ledgers::of_one(), |clock| opened(&config, buckets, clock));
    }
}

/// Users of several buckets, on several lanes: each bucket has numbers and an order of its own.
#[test]
fn the_postgres_store_reads_what_was_recorded_in_many_buckets() {
    let ledgers = || {
        let numbering = |bucket| (Buckets::USUAL.first_no(bucket), Buckets::USUAL.step());
        Ledgers::of_many(|command| Buckets::USUAL.of_command(command), numbering)
    };
    for seed in 11..=12 {
        let config = cluster::database(Buckets::USUAL);
        suite(seed, 100, ledgers(), |clock| opened(&config, Buckets::USUAL, clock));
    }
}

#[test]
fn the_postgres_store_pages_through_long_lists() {
    let buckets = Buckets::of_bits(0).unwrap();
    let config = cluster::database(buckets);
    long_lists(|clock| opened(&config, buckets, clock));
}

#[test]
fn the_postgres_store_keeps_keys_and_secrets() {
    let config = cluster::database(Buckets::USUAL);
    records::keys_and_secrets(|clock| opened(&config, Buckets::USUAL, clock));
}

#[test]
fn the_postgres_store_keeps_the_audit_log() {
    let config = cluster::database(Buckets::USUAL);
    records::audit(|clock| opened(&config, Buckets::USUAL, clock));
}

#[test]
fn the_postgres_store_marks_changed_plans() {
    let config = cluster::database(Buckets::USUAL);
    records::marked_plans(|clock| opened(&config, Buckets::USUAL, clock));
}

#[test]
fn the_postgres_store_tells_each_receiver_of_each_event_once() {
    let buckets = Buckets::of_bits(0).unwrap();
    let mut seen = BTreeSet::new();
    for seed in 1..=3 {
        let config = cluster::database(buckets);
        let told = crate::store::tests::outbox::each_event_once(seed, |clock| opened(&config, buckets, clock));
        seen.extend(told.into_iter().map(|(kind, _, to)| (kind, to)));
    }
    assert_eq!(seen.len(), 8, "four kinds to one webhook, two to the other, and alerts to both mails: {seen:?}");
}

#[test]
fn the_postgres_store_keeps_what_became_of_tries() {
    let buckets = Buckets::of_bits(0).unwrap();
    let config = cluster::database(buckets);
    crate::store::tests::outbox::what_became_of_tries(|clock| opened(&config, buckets, clock));
}

#[test]
fn the_server_takes_every_statement() {
    let config = cluster::database(Buckets::USUAL);
    let refused = cluster::block_on(async {
        let client = cluster::connect(&config).await;
        let mut refused = Vec::new();
        for sql in statements::of_a_lane().into_iter().chain(put::statements()) {
            if let Err(error) = client.prepare(sql).await {
                refused.push(format!("{}: {sql}", errors::told(&error)));
            }
        }
        refused
    });
    assert!(refused.is_empty(), "{refused:#?}");
}

/// Columns of the same type that change places would be taken for one another without a word.
#[test]
fn row_types_have_the_columns_that_are_sent_in_their_order() {
    let config = cluster::database(Buckets::USUAL);
    let tables = [
        codec::USERS,
        codec::USER_MONTH,
        codec::SESSION,
        codec::OP_KEY,
        codec::OPERATION,
        codec::DENIAL,
        codec::ALERT,
        sums::BREAKDOWN,
        sums::BUCKET_DAY,
        sums::SESSION_DAY,
    ];
    assert_eq!(tables.len(), statements::ROW_TYPES.len());
    cluster::block_on(async {
        let client = cluster::connect(&config).await;
        for table in tables {
            let sql = "select string_agg(attname || ' ' || typname, ', ' order by attnum) \
                       from pg_attribute join pg_type on pg_type.oid = atttypid where attrelid = $1::text::regclass";
            let of = format!("{}_row", table.name);
            let found: String = client.query_one(sql, &[&of]).await.unwrap().get(0);
            assert_eq!(found, table.columns, "{of}");
        }
    });
}

/// A lane's statements are planned once. Where that is while its tables are empty, the plan must be right for full ones too.
#[test]
fn a_statement_of_a_lane_finds_its_rows_by_their_keys_even_if_planned_on_empty_tables() {
    let config = cluster::database(Buckets::USUAL);
    let of_all = ["meta", "plan", "audit_numbers"];
    let scans = cluster::block_on(async {
        let client = cluster::connect(&config).await;
        client.batch_execute(link::SETTINGS).await.unwrap();
        let mut scans = Vec::new();
        for sql in statements::of_a_lane() {
            let parameters = vec!["null"; client.prepare(sql).await.unwrap().params().len()].join(", ");
            let parameters = if parameters.is_empty() { parameters } else { format!("({parameters})") };
            client.batch_execute(&format!("prepare planned as {sql}")).await.unwrap();
            let plan = client.query(&format!("explain execute planned{parameters}"), &[]).await.unwrap();
            for line in plan.iter().map(|row| row.get::<_, &str>(0)) {
                let table = line.split_once("Seq Scan on ").and_then(|(_, rest)| rest.split(' ').next());
                // Rows that are compared after they were found were found by a part of their key.
                if line.contains("Join Filter") || table.is_some_and(|table| !of_all.contains(&table)) {
                    scans.push(format!("{line}: {sql}"));
                }
            }
            client.batch_execute("deallocate planned").await.unwrap();
        }
        scans
    });
    assert!(scans.is_empty(), "{scans:#?}");
}

#[test]
fn nodes_that_start_together_make_the_tables_once() {
    let config = cluster::empty_database();
    let identities = cluster::block_on(async {
        let prepare = async |random: u8| {
            let mut client = cluster::connect(&config).await;
            let new = schema::New { buckets: Buckets::USUAL, random: [random; 16] };
            schema::prepare(&mut client, new, SystemClock::shared().wall()).await.unwrap()
        };
        let (first, second, third) = futures_util::future::join3(prepare(1), prepare(2), prepare(3)).await;
        [first.deployment_id, second.deployment_id, third.deployment_id]
    });
    assert!(identities.iter().all(|identity| *identity == identities[0]), "{identities:?}");
}

#[test]
fn tables_that_need_a_newer_program_are_refused() {
    let config = cluster::database(Buckets::USUAL);
    let prepared = cluster::block_on(async {
        let mut client = cluster::connect(&config).await;
        client.batch_execute("insert into schema_version values (2, 1)").await.unwrap();
        let new = schema::New { buckets: Buckets::USUAL, random: [1; 16] };
        let now = SystemClock::shared().wall();
        let beside = schema::prepare(&mut client, new, now).await;
        client.batch_execute("insert into schema_version values (3, 3)").await.unwrap();
        (beside, schema::prepare(&mut client, new, now).await)
    });
    assert!(prepared.0.is_ok(), "a version that only adds goes on beside this one");
    let Err(StoreError::Corrupt(said)) = prepared.1 else { panic!("{prepared:?}") };
    assert!(said.contains("version 3") && said.contains("version 1"), "{said}");
}

#[test]
fn months_and_days_have_their_partitions_however_long_nobody_was_there() {
    let config = cluster::database(Buckets::USUAL);
    let now = SystemClock::shared().wall();
    let in_a_year = now.plus_seconds(366 * 86_400);
    let (before, after, again) = cluster::block_on(async {
        let mut client = cluster::connect(&config).await;
        let sql = "select count(*) from pg_inherits where inhparent = 'operation'::regclass";
        let mut counts: Vec<i64> = vec![client.query_one(sql, &[]).await.unwrap().get(0)];
        for _ in 0..2 {
            schema::keep_partitions(&mut client, in_a_year, in_a_year).await.unwrap();
            counts.push(client.query_one(sql, &[]).await.unwrap().get(0));
        }
        // Every day has a place of which events are kept.
        for days in 364..=368 {
            let day = i64::from(now.plus_seconds(days * 86_400).day().index());
            let sql = "insert into event values (1, $1, $1::int8::int4, 0, 0, null, '')";
            client.execute(sql, &[&day]).await.unwrap();
        }
        (counts[0], counts[1], counts[2])
    });
    assert!(before < after && after == again, "{before} {after} {again}");
}

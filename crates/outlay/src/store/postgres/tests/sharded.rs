//! What a database over several machines needs: every statement names its bucket, and a transaction keeps to one.
//!
//! The server's own log says what it was asked, by whichever part of the store.

use std::collections::{BTreeMap, BTreeSet};

use outlay_core::id::{UserId, UserNo};
use tokio_postgres::Config;
use tokio_postgres::config::Host;

use super::super::{Buckets, Settings, open, schema, statements};
use super::cluster::{self, block_on};
use super::failures::change;
use crate::audit::{Action, Actor};
use crate::clock::SystemClock;
use crate::store::tests::{Ledgers, suite};
use crate::store::{AuditQuery, PageOf, Record, Store};

/// Reads over everybody, by what no other statement has. Nothing is decided by them.
const OVER_ALL: [&str; 21] = [
    // A start, and what retention and wiping look for.
    "from bucket where bucket = any($1::int4[]) order by bucket",
    "select bucket from erasure where stage >= 0",
    "select b.bucket from bucket b cross join lateral",
    "select coalesce(sum(trimmed",
    // The sweeper: each session that is due is then a command of its bucket.
    "select no from session where due <= $1 order by due",
    "select due from session where due is not null order by due",
    // What the operator reads.
    "user_month m on m.bucket = t.bucket and m.user_no = t.user_no and m.month = $1::int8 where t.user_id is not null",
    "from session t where t.due is not null and t.ask is not null",
    "from bucket_day t where t.day between",
    "from session where due > $1 and ask is not null",
    "select count(*) from session where due is not null",
    "from user_month m join users u on u.bucket = m.bucket",
    "from users t where t.user_no > $1 and t.user_id is not null",
    "select plan, count(*) from users",
    "from session_day where day >= $1::int8",
    "_at, t.no) < ($1, $2)",
    // The audit log is one; and what every node keeps in memory.
    "from audit t where t.no > $1 order by t.no",
    "t.no < $1 and $2::int8 is null and $3::int8 is null",
    "t.sum from token_end t",
    // What waits to be sent, and what another node left.
    "select exists(select from delivery where due is not null",
    "from (select receiver from delivery where due < $1 order by due limit 100) d",
];

/// A statement as the server took it, by which connection.
#[derive(Debug)]
pub(super) struct Logged {
    connection: String,
    pub(super) sql: String,
    /// The numbers in its first parameter.
    first: BTreeSet<i64>,
}

/// All statements on a database so far.
pub(super) fn logged(config: &Config) -> Vec<Logged> {
    let [Host::Unix(folder)] = config.get_hosts() else { panic!("the tests' server has a Unix socket") };
    let log = std::fs::read_to_string(folder.join("log")).unwrap();
    let database = config.get_dbname().unwrap();
    let mut all: Vec<Logged> = Vec::new();
    for line in log.lines() {
        let Some((by, said)) = line.split_once('|') else { continue };
        let Some(connection) = by.strip_prefix(&format!("{database} ")) else { continue };
        if let Some(parameters) = said.strip_prefix("DETAIL:  parameters: $1 = '") {
            let of = all.iter_mut().rev().find(|logged| logged.connection == connection).unwrap();
            let first = parameters.split('\'').next().unwrap();
            // A row begins with its bucket, and so does an array of its numbers.
            let rows = || first.split("\"(").skip(1).filter_map(|row| row.split(',').next());
            let is_of_rows = of.sql.contains("_row[])");
            let numbers = first.split(['{', '}', ',']).filter(|_| !is_of_rows).chain(rows());
            of.first = numbers.filter_map(|number| number.parse().ok()).collect();
        } else if let Some(said) = said.strip_prefix("LOG:  ") {
            let sql = match said.strip_prefix("statement: ") {
                Some(sql) => sql,
                None if said.starts_with("execute ") => said.split_once(": ").unwrap().1,
                None => continue,
            };
            let sql = sql.split_whitespace().collect::<Vec<_>>().join(" ");
            all.push(Logged { connection: connection.to_owned(), sql, first: BTreeSet::new() });
        }
    }
    all
}

fn is_of_buckets(sql: &str) -> bool {
    let words = || sql.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    schema::OF_BUCKETS.iter().any(|table| words().any(|word| word == *table))
}

fn names_its_bucket(sql: &str) -> bool {
    let of_rows = sql.contains("unnest($1::int8[]");
    // Each has its bucket first; `row_types_have_the_columns_that_are_sent_in_their_order` holds them to that.
    if sql.contains("unnest($1::") && sql.contains("_row[])") {
        let finds = sql.contains("t.bucket = u.bucket") || sql.starts_with("insert into");
        return finds;
    }
    sql.contains("bucket = $1")
        || sql.contains("bucket = any($1")
        || (of_rows && (sql.contains("as u (bucket") || (sql.starts_with("insert into") && sql.contains(" (bucket, "))))
}

/// What is not as it must be.
fn wrong(all: &[Logged]) -> BTreeSet<String> {
    let mut wrong = BTreeSet::new();
    let mut transactions: BTreeMap<&str, BTreeSet<i64>> = BTreeMap::new();
    for Logged { connection, sql, first } in all {
        match sql.split(' ').next().unwrap().to_ascii_lowercase().as_str() {
            "begin" | "start" => {
                transactions.insert(connection, BTreeSet::new());
                continue;
            }
            "commit" | "rollback" => {
                transactions.remove(connection.as_str());
                continue;
            }
            // Partitions are made of the parent table, which the database spreads by itself.
            "set" | "create" | "alter" | "drop" => continue,
            _ => {}
        }
        if !is_of_buckets(sql) || sql.contains("pg_advisory") {
            continue;
        }
        if OVER_ALL.iter().any(|known| sql.contains(known)) && !sql.contains(" for update") {
            if !sql.starts_with("select") && !sql.starts_with("with w as") {
                wrong.insert(format!("it writes over all buckets: {sql}"));
            }
            continue;
        }
        if !names_its_bucket(sql) {
            wrong.insert(format!("it names no bucket: {sql}"));
            continue;
        }
        // A statement outside of a transaction is one.
        let mut alone = BTreeSet::new();
        let of_transaction = transactions.get_mut(connection.as_str()).unwrap_or(&mut alone);
        of_transaction.extend(first);
        if of_transaction.len() > 1 {
            wrong.insert(format!("its transaction touches buckets {of_transaction:?}: {sql}"));
        }
        if first.is_empty() {
            wrong.insert(format!("its bucket is not its first parameter: {sql}"));
        }
    }
    wrong
}

#[test]
fn every_statement_names_its_bucket_and_where_they_are_spread_a_transaction_keeps_to_one() {
    let config = cluster::database(Buckets::USUAL);
    change(&config, &format!("alter database {} set log_statement = 'all'", config.get_dbname().unwrap()));
    let ledgers = Ledgers::of_many(
        |command| Buckets::USUAL.of_command(command),
        |bucket| (Buckets::USUAL.first_no(bucket), Buckets::USUAL.step()),
    );
    suite(21, 60, ledgers, |clock| {
        let settings = Settings::new("postgres://localhost", clock).unwrap();
        let config = config.clone();
        open(Settings { config, own_clock: true, lanes: 3, slice_rows: 3, sharded: true, ..settings }).unwrap()
    });
    let settings = Settings::new("postgres://localhost", SystemClock::shared()).unwrap();
    let (mut store, reads) = open(Settings { config: config.clone(), sharded: true, ..settings }).unwrap();
    let user_id = UserId::new("ada").unwrap();
    let next = block_on(reads.next_user(&user_id)).unwrap();
    block_on(reads.any_erased(&user_id, UserNo(0)..next)).unwrap();
    block_on(reads.users_by_plan()).unwrap();
    let until = SystemClock::shared().wall();
    block_on(store.put(Record::EndTokens { user_no: next, until }, None)).unwrap();
    let event = Actor::here("socket").did(Action::BackupTaken);
    block_on(store.put(Record::Events(vec![event]), None)).unwrap();
    let query = AuditQuery {
        user_id: None,
        user_no: None,
        action: None,
        who: None,
        from: None,
        to: None,
        page: PageOf { before: None, limit: 10 },
    };
    assert_eq!(block_on(reads.audit(query)).unwrap().items.len(), 1);
    assert_eq!(block_on(reads.audit_above(0, 10)).unwrap().len(), 1);
    drop((store, reads));

    let all = logged(&config);
    let wrong = wrong(&all);
    assert!(wrong.is_empty(), "{wrong:#?}");
    // It was looked at: what locks, writes, wipes, empties and reads.
    let ran = |part: &str| all.iter().filter(|logged| logged.sql.contains(part)).count();
    for part in [
        "for update skip locked",
        "insert into operation",
        "delete from op_key",
        "tokens = null",
        "as u (bucket, user_id, month, place)",
    ] {
        assert!(ran(part) > 0, "{part}");
    }
    assert!(all.iter().any(|logged| logged.sql == statements::COMMIT));
    // Each reading over everybody that is allowed is one that is made.
    let unused: Vec<_> = OVER_ALL.iter().filter(|part| ran(part) == 0).collect();
    assert!(unused.is_empty(), "{unused:?}");
}

#[test]
fn every_table_is_spread_by_its_bucket_or_there_on_every_machine() {
    let config = cluster::database(Buckets::USUAL);
    let (tables, not_by_bucket) = block_on(async {
        let client = cluster::connect(&config).await;
        let sql = "select relname::text from pg_class where relkind in ('r', 'p') and not relispartition \
                   and relnamespace = 'public'::regnamespace";
        let tables: BTreeSet<String> = client.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
        // Every unique index begins with the bucket, so that none needs to look at another machine.
        let sql = "select c.relname::text, i.indexrelid::regclass::text from pg_index i join pg_class c on c.oid = i.indrelid \
                   join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0] \
                   where i.indisunique and a.attname <> 'bucket' and c.relnamespace = 'public'::regnamespace";
        let rows = client.query(sql, &[]).await.unwrap();
        (tables, rows.iter().map(|row| row.get::<_, String>(0)).collect::<BTreeSet<_>>())
    });
    let known: BTreeSet<String> =
        schema::OF_BUCKETS.iter().chain(&schema::OF_ALL).map(|table| (*table).to_owned()).collect();
    assert_eq!(tables, known);
    let of_all: BTreeSet<String> = schema::OF_ALL.iter().map(|table| (*table).to_owned()).collect();
    assert_eq!(not_by_bucket, of_all);
    let calls = schema::citus();
    assert_eq!(calls.matches("colocate_with => 'bucket'").count(), schema::OF_BUCKETS.len() - 1, "{calls}");
    assert!(known.iter().all(|table| calls.contains(&format!("_table('{table}'"))), "{calls}");
}

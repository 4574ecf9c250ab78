//! Makes the tables and brings them up to this program's version; any number of nodes may start at the same time.
//!
//! Migrations only add, so that a node of the version before goes on beside one of this version: each says which program
//! is the oldest that can work with the tables after it.

use outlay_core::breakdown::OTHER;
use outlay_core::month::Timestamp;
use outlay_core::plan::Plans;
use tokio_postgres::{Client, GenericClient, Transaction};

use super::bucket::Buckets;
use super::errors::unavailable;
use super::rows::stored;
use crate::store::StoreError;

/// The version of the tables that this program makes.
pub(super) const VERSION: i32 = 1;

/// Each version's statements, with the oldest program that can work with the tables after them.
const MIGRATIONS: [(&str, i32); 1] = [(include_str!("migrations/1.sql"), 1)];

/// One lock for all who make or change tables, held to the end of the transaction: a connection may be a pooler's.
const LOCK: i64 = 0x4f75_746c_6179;

/// Months of operations, and days of events, that have a partition before they begin.
const MONTHS_AHEAD: u32 = 3;
const DAYS_AHEAD: u32 = 3;
/// For how many days events are kept once their day is over.
const EVENT_DAYS_KEPT: i64 = 2;

/// The tables whose rows are a bucket's: where they lie on several machines, all rows of a bucket lie together.
pub(super) const OF_BUCKETS: [&str; 17] = [
    "bucket",
    "users",
    "user_month",
    "breakdown",
    "bucket_day",
    "session",
    "session_day",
    "op_key",
    "operation",
    "denial",
    "alert",
    "event",
    "erasure",
    "token_end",
    "audit",
    "delivery",
    "delivery_try",
];

/// The tables that every machine needs whole.
pub(super) const OF_ALL: [&str; 8] =
    ["schema_version", "meta", "audit_numbers", "plan", "name", "api_key", "secret", "webhook"];

/// Shards of each table: enough for as many machines, and few enough that each has work.
const SHARDS: u32 = 128;

/// What makes the tables, as a node does when it starts.
pub fn tables() -> String {
    MIGRATIONS.iter().map(|(sql, _)| *sql).collect::<Vec<_>>().join("\n")
}

/// What spreads the tables over several machines with Citus, once they are there and before a node runs.
pub fn citus() -> String {
    use std::fmt::Write as _;

    let mut sql = String::new();
    let mut line = |text: std::fmt::Arguments<'_>| {
        // A string takes whatever is written.
        let _ = sql.write_fmt(text);
    };
    let [first, rest @ ..] = OF_BUCKETS;
    line(format_args!("select create_distributed_table('{first}', 'bucket', shard_count => {SHARDS});\n"));
    for table in rest {
        line(format_args!("select create_distributed_table('{table}', 'bucket', colocate_with => '{first}');\n"));
    }
    for table in OF_ALL {
        line(format_args!("select create_reference_table('{table}');\n"));
    }
    sql
}

/// What the database says of itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Identity {
    pub(super) deployment_id: u128,
    pub(super) buckets: Buckets,
}

/// What a new store is made with; one that is there keeps its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct New {
    pub(super) buckets: Buckets,
    pub(super) random: [u8; 16],
}

/// Makes what is missing. The connection is one of its own.
pub(super) async fn prepare(client: &mut Client, new: New, now: Timestamp) -> Result<Identity, StoreError> {
    let transaction = client.transaction().await.map_err(unavailable)?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(unavailable)?;
    // That the table is there already is nothing to be told of at every start.
    let sql = "set local client_min_messages = warning; \
               create table if not exists schema_version (version int4 primary key, oldest_program int4 not null)";
    transaction.batch_execute(sql).await.map_err(unavailable)?;
    let sql = "select version, oldest_program from schema_version order by version desc limit 1";
    let row = transaction.query_opt(sql, &[]).await.map_err(unavailable)?;
    let (version, oldest): (i32, i32) = match row {
        Some(row) => (row.try_get(0).map_err(unavailable)?, row.try_get(1).map_err(unavailable)?),
        None => (0, 0),
    };
    if oldest > VERSION {
        return Err(StoreError::Corrupt(format!(
            "the database has version {version}, which programs from version {oldest} on can use, and this one has \
             version {VERSION}: use a newer Outlay"
        )));
    }
    for (next, (sql, oldest)) in (1..).zip(MIGRATIONS).filter(|(next, _)| *next > version) {
        transaction.batch_execute(sql).await.map_err(unavailable)?;
        let sql = "insert into schema_version values ($1, $2)";
        transaction.execute(sql, &[&next, &oldest]).await.map_err(unavailable)?;
    }
    if version == 0 {
        begin(&transaction, new).await?;
    }
    make_partitions(&transaction, now).await?;
    let row = transaction.query_one("select deployment_id, bucket_bits from meta", &[]).await.map_err(unavailable)?;
    let deployment: &[u8] = row.try_get(0).map_err(unavailable)?;
    let bits: i32 = row.try_get(1).map_err(unavailable)?;
    let wrong = || StoreError::Corrupt("table meta has a value that no version of Outlay writes".to_owned());
    let identity = Identity {
        deployment_id: u128::from_le_bytes(deployment.try_into().map_err(|_| wrong())?),
        buckets: u32::try_from(bits).ok().and_then(Buckets::of_bits).ok_or_else(wrong)?,
    };
    transaction.commit().await.map_err(unavailable)?;
    Ok(identity)
}

/// The rows that a store has from the start.
async fn begin(transaction: &Transaction<'_>, new: New) -> Result<(), StoreError> {
    let plans = Plans::standard();
    let sql = "insert into meta (version, bucket_bits, deployment_id, default_plan) values (1, $1, $2, $3)";
    let bits = new.buckets.bits().cast_signed();
    transaction
        .execute(sql, &[&bits, &new.random.as_slice(), &plans.default_plan().as_str()])
        .await
        .map_err(unavailable)?;
    let sql = "insert into bucket (bucket, seq, now_at, next_user, next_operation, next_session, next_denial, next_alert, \
               next_delivery) select b, 0, 0, first, first, first, first, first, first \
               from generate_series(0, $1::int4 - 1) b, lateral (select $2::int8 | b as first) n";
    transaction.execute(sql, &[&new.buckets.count(), &stored(new.buckets.step())]).await.map_err(unavailable)?;
    let sql = "insert into audit_numbers (newest, copied) values (0, 0)";
    transaction.execute(sql, &[]).await.map_err(unavailable)?;
    // What stands for all names beyond those that are kept apart is one of them.
    let sql = "insert into name (kind, name) select kind, $1 from generate_series(1, 3) kind";
    transaction.execute(sql, &[&OTHER]).await.map_err(unavailable)?;
    for plan in plans.all() {
        let sql = "insert into plan (name, tier, cost, ai_runs, api_runs) values ($1, $2, $3, $4, $5)";
        let limits = &plan.limits;
        transaction
            .execute(
                sql,
                &[&plan.name.as_str(), &i64::from(plan.tier), &limits.cost, &limits.ai_runs, &limits.api_runs],
            )
            .await
            .map_err(unavailable)?;
    }
    Ok(())
}

/// Makes the partitions that a node will need which runs on for some days, and drops those of events that nobody looks for
/// any more at `events_until`. The connection is one of its own.
pub(super) async fn keep_partitions(
    client: &mut Client,
    now: Timestamp,
    events_until: Timestamp,
) -> Result<(), StoreError> {
    let transaction = client.transaction().await.map_err(unavailable)?;
    transaction.execute("select pg_advisory_xact_lock($1)", &[&LOCK]).await.map_err(unavailable)?;
    make_partitions(&transaction, now).await?;
    transaction.commit().await.map_err(unavailable)?;
    drop_events(client, events_until).await
}

/// Makes the partitions of the months and days to come. The first of each takes whatever is older.
async fn make_partitions(transaction: &Transaction<'_>, now: Timestamp) -> Result<(), StoreError> {
    let mut months = Vec::new();
    let mut month = now.month();
    for _ in 0..=MONTHS_AHEAD {
        month = month.next();
        months.push(month.index());
    }
    let days = (1..=DAYS_AHEAD).map(|days| now.plus_seconds(86_400 * i64::from(days)).day().index());
    make_partitions_of(transaction, "operation", &months).await?;
    make_partitions_of(transaction, "event", &days.collect::<Vec<_>>()).await
}

/// The partitions of a table by where they end, exclusively, in order. A partition's name says that.
async fn partitions_of(client: &impl GenericClient, table: &str) -> Result<Vec<u32>, StoreError> {
    let sql = "select relname::text from pg_class where oid in \
               (select inhrelid from pg_inherits where inhparent = $1::text::regclass)";
    let rows = client.query(sql, &[&table]).await.map_err(unavailable)?;
    let mut ends = Vec::with_capacity(rows.len());
    for row in &rows {
        let name: &str = row.try_get(0).map_err(unavailable)?;
        ends.extend(name.rsplit('_').next().and_then(|end| end.parse::<u32>().ok()));
    }
    ends.sort_unstable();
    Ok(ends)
}

/// Makes those partitions of a table that end, exclusively, at these values and are not there yet.
async fn make_partitions_of(transaction: &Transaction<'_>, table: &str, ends: &[u32]) -> Result<(), StoreError> {
    let mut last = partitions_of(transaction, table).await?.last().copied();
    for end in ends {
        if last.is_some_and(|last| *end <= last) {
            continue;
        }
        // The first one made begins where time does; each other one where the last ends, however long ago that was.
        let from = last.map_or_else(|| "minvalue".to_owned(), |last| last.to_string());
        // Made apart and then attached: that stands in the way of nobody who reads or writes the table.
        let sql = format!(
            "create table {table}_before_{end} (like {table} including all); \
             alter table {table} attach partition {table}_before_{end} for values from ({from}) to ({end})"
        );
        transaction.batch_execute(&sql).await.map_err(unavailable)?;
        last = Some(*end);
    }
    Ok(())
}

/// Drops the events of days that are over for long enough: they are there for listeners who come back soon, and for batches
/// whose outcome is looked for within seconds.
async fn drop_events(client: &mut Client, until: Timestamp) -> Result<(), StoreError> {
    let first_kept = until.plus_seconds(-86_400 * EVENT_DAYS_KEPT).day().index();
    for end in partitions_of(client, "event").await?.into_iter().filter(|end| *end <= first_kept) {
        // Whoever writes waits for as long as this waits for those before: not for long, and another time is as good.
        let sql = format!("set local lock_timeout = '500ms'; drop table if exists event_before_{end}");
        let transaction = client.transaction().await.map_err(unavailable)?;
        transaction.batch_execute(&sql).await.map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)?;
    }
    Ok(())
}

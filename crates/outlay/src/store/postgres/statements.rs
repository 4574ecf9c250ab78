//! The statements of the write path, each in one place.
//!
//! Rows come as one array of a table's row type, or as one array per column. Every statement names the bucket of what it
//! reads or writes, and only two of them lock, which are the same but for waiting: [`LOCK`] and [`LOCK_WAITING`].

use std::sync::LazyLock;

use outlay_core::breakdown::{COMBINATIONS_MAX, COMBINATIONS_MAX_ALL_USERS, OTHER};

use super::audit::{AUDIT, TAKE_NUMBERS};
use super::codec::{ALERT, DENIAL, OP_KEY, OPERATION, SESSION, USER_MONTH, USERS};
use super::names;
use super::outbox::{BLANK_REASONS, DELIVERY, WEBHOOKS};
use super::sums::{BREAKDOWN, BUCKET_DAY, SESSION_DAY};

/// A table as its statements need it: `columns` are names with the types that their arrays are sent as.
pub(super) struct Table {
    pub(super) name: &'static str,
    pub(super) keys: &'static [&'static str],
    pub(super) columns: &'static str,
}

impl Table {
    pub(super) fn names(&self) -> impl Iterator<Item = &'static str> {
        self.columns.split(',').filter_map(|column| column.split_whitespace().next())
    }

    /// The columns with the types that their arrays are sent as.
    pub(super) fn typed_names(&self) -> impl Iterator<Item = (&'static str, &'static str)> {
        self.columns.split(',').filter_map(|column| {
            let mut words = column.split_whitespace();
            words.next().zip(words.next())
        })
    }

    /// The columns of the row `alias`, in their order.
    pub(super) fn select(&self, alias: &str) -> String {
        self.names().map(|name| format!("{alias}.{name}")).collect::<Vec<_>>().join(", ")
    }

    /// The rows that are sent, each with its place: `unnest($1::t_row[]) with ordinality as u` for a table that has a row
    /// type for it.
    fn rows(&self) -> String {
        if ROW_TYPES.contains(&self.name) {
            format!("unnest($1::{}_row[]) with ordinality as u", self.name)
        } else {
            format!("unnest({}) with ordinality as u ({}, ordinality)", self.arrays(), self.list())
        }
    }

    /// `$1::int8[], ...`
    fn arrays(&self) -> String {
        let types = self.columns.split(',').filter_map(|column| column.split_whitespace().nth(1));
        let arrays: Vec<String> = (1..).zip(types).map(|(place, of)| format!("${place}::{of}[]")).collect();
        arrays.join(", ")
    }

    fn list(&self) -> String {
        self.names().collect::<Vec<_>>().join(", ")
    }

    /// `unnest($1::int8[], ...) as u (bucket, ...)`.
    fn unnest(&self) -> String {
        format!("unnest({}) as u ({})", self.arrays(), self.list())
    }

    fn on_keys(&self) -> String {
        self.keys.iter().map(|key| format!("t.{key} = u.{key}")).collect::<Vec<_>>().join(" and ")
    }

    /// Adds new rows:
    /// `insert into t (bucket, ..) select bucket, .. from unnest($1::int8[], ..) as u (bucket, ..)`.
    pub(super) fn insert(&self) -> String {
        format!("insert into {} ({list}) select {list} from {}", self.name, self.rows(), list = self.list())
    }

    /// Makes rows what they are now, those that are there and those that are new:
    /// `with u as (..), old as (update t set .. from u where t.bucket = u.bucket and .. returning u.ordinality)
    /// insert into t (..) select .. from u where ordinality not in (select ordinality from old)`.
    /// `set` gives the new value of a column.
    fn put_with(&self, set: impl Fn(&str) -> String) -> String {
        let (name, list, on_keys) = (self.name, self.list(), self.on_keys());
        let sets: Vec<String> = self
            .names()
            .filter(|name| !self.keys.contains(name))
            .map(|name| format!("{name} = {}", set(name)))
            .collect();
        format!(
            "with u as materialized (select * from {rows}), \
             old as (update {name} t set {sets} from u where {on_keys} returning u.ordinality) \
             insert into {name} ({list}) select {list} from u where ordinality not in (select ordinality from old)",
            rows = self.rows(),
            sets = sets.join(", "),
        )
    }

    /// Puts rows whole: absolute values.
    pub(super) fn put(&self) -> String {
        self.put_with(|name| format!("u.{name}"))
    }

    /// Adds to rows of sums, which nothing is decided by and so nobody read. The bucket's lock makes it safe.
    pub(super) fn add(&self) -> String {
        self.put_with(|name| format!("t.{name} + u.{name}"))
    }

    /// Adds to rows of sums as [`Table::add`], where a day keeps no more than so many combinations apart: what would be one
    /// more is added to `(other)`. `day` are the keys before the combination.
    pub(super) fn add_capped(&self, day: &[&str], combinations_max: usize) -> String {
        let (name, on_keys) = (self.name, self.on_keys());
        let days = day.iter().map(|key| format!("u.{key}")).collect::<Vec<_>>().join(", ");
        let of_day = day.iter().map(|key| format!("t.{key} = u.{key}")).collect::<Vec<_>>().join(" and ");
        let booked = |key: &&str| match *key {
            "feature" | "provider" => format!("case when is_over then '{OTHER}' else {key} end as {key}"),
            "model" => format!("case when is_over and model <> '' then '{OTHER}' else model end as model"),
            key => key.to_owned(),
        };
        let booked: Vec<String> = self.keys.iter().map(booked).collect();
        let groups: Vec<String> = (1..=self.keys.len()).map(|place| place.to_string()).collect();
        let sums: Vec<String> = self
            .typed_names()
            .filter(|(name, _)| !self.keys.contains(name))
            .map(|(name, of)| format!("sum({name})::{of} as {name}"))
            .collect();
        let sets: Vec<String> = self
            .names()
            .filter(|name| !self.keys.contains(name))
            .map(|name| format!("{name} = t.{name} + u.{name}"))
            .collect();
        // What is there of a day is counted once for each, by the first of its rows that are new.
        format!(
            "with sent as materialized (select * from {unnest}), \
             known as materialized (select u.*, exists(select from {name} t where {on_keys}) as is_known from sent u), \
             placed as materialized (select u.*, row_number() over \
             (partition by {days}, is_known order by usage_type, feature, provider, model) as place from known u), \
             day as materialized (select u.*, case when place = 1 and not is_known \
             then (select count(*) from {name} t where {of_day}) end as there from placed u), \
             counted as materialized (select u.*, not is_known and max(there) over (partition by {days}) + place \
             > {combinations_max} as is_over from day u), \
             booked as materialized (select {booked}, {sums} from counted group by {groups}), \
             u as materialized (select *, row_number() over () as ordinality from booked), \
             old as (update {name} t set {sets} from u where {on_keys} returning u.ordinality) \
             insert into {name} ({list}) select {list} from u where ordinality not in (select ordinality from old)",
            unnest = self.unnest(),
            booked = booked.join(", "),
            sums = sums.join(", "),
            groups = groups.join(", "),
            sets = sets.join(", "),
            list = self.list(),
        )
    }

    /// Reads the rows of users who are named by their ids, that have these keys beside: `select t.bucket, .. from (..) u join
    /// t on ..`, see [`of_ids`].
    fn find_of_ids(&self, keys: &'static str, more: &str) -> String {
        let and = keys.split_once(' ').map_or_else(String::new, |(name, _)| format!(" and t.{name} = u.{name}"));
        format!(
            "select {} from {} join {} t on t.bucket = u.bucket and t.user_no = u.user_no{and}{more}",
            self.select("t"),
            of_ids(keys),
            self.name
        )
    }

    /// Reads the rows that have these keys: `select t.bucket, .. from unnest($1::int8[], ..) as u (bucket, ..) join t`.
    fn find(&self, keys: &'static str, more: &str) -> String {
        let by = Table { name: self.name, keys: &[], columns: keys };
        let on: Vec<String> = by.names().map(|key| format!("t.{key} = u.{key}")).collect();
        format!("select {} from {} join {} t on {}{more}", self.select("t"), by.unnest(), self.name, on.join(" and "))
    }
}

/// The tables whose rows are sent as an array of rows. Each has a type of its name with `_row`, and the columns that are
/// sent in their order; a test holds them to that.
pub(super) const ROW_TYPES: [&str; 10] = [
    "users",
    "user_month",
    "session",
    "op_key",
    "operation",
    "denial",
    "alert",
    "breakdown",
    "bucket_day",
    "session_day",
];

/// The row type that a statement takes its rows as; `None` if it takes an array per column.
pub(super) fn row_type_of(sql: &str) -> Option<&str> {
    let (_, rest) = sql.split_once("unnest($1::")?;
    rest.split('[').next().filter(|name| name.ends_with("_row"))
}

/// The numbers of the row types.
pub(super) const FIND_ROW_TYPES: &str = "select typname::text, oid from pg_type \
     where typtype = 'c' and typname like '%\\_row' and pg_type_is_visible(oid)";

pub(super) const BEGIN: &str = "begin isolation level read committed read write";
/// The same where a pooler may give each transaction another connection: it brings along what must hold of a lane's. How
/// statements are planned is left to the server, which plans each for its own parameters there.
pub(super) const BEGIN_POOLED: &str = "begin isolation level read committed read write; set local synchronous_commit = on; \
     set local idle_in_transaction_session_timeout = '5s'; set local lock_timeout = '2s'";
pub(super) const COMMIT: &str = "commit";
pub(super) const ROLLBACK: &str = "rollback";

/// Locks these buckets, in ascending order, but for those that another batch has.
pub(super) const LOCK: &str = "select bucket, seq, now_at, next_user, next_operation, next_session, next_denial, next_alert, \
     next_delivery, (extract(epoch from clock_timestamp()) * 1000000)::int8 from bucket where bucket = any($1::int4[]) \
     order by bucket for update skip locked";

/// Locks these buckets, and waits for who has one.
pub(super) const LOCK_WAITING: &str = "select bucket, seq, now_at, next_user, next_operation, next_session, next_denial, next_alert, \
     next_delivery, (extract(epoch from clock_timestamp()) * 1000000)::int8 from bucket where bucket = any($1::int4[]) \
     order by bucket for update";

/// Buckets as they are, without their lock.
pub(super) const BUCKETS: &str = "select bucket, seq, now_at, next_user, next_operation, next_session, next_denial, next_alert, \
     next_delivery, (extract(epoch from clock_timestamp()) * 1000000)::int8 from bucket where bucket = any($1::int4[]) order by bucket";

/// The version of what all nodes keep in memory: plans, keys, secrets; and whether commits wait for a standby.
pub(super) const VERSION: &str = "select version, current_setting('synchronous_standby_names') <> '' from meta";

/// Whether commits wait for a standby, as the connection knows after one.
pub(super) const SYNCED: &str = "select current_setting('synchronous_standby_names') <> ''";

pub(super) const PLANS: &str =
    "select m.version, m.default_plan, p.name, p.tier, p.cost, p.ai_runs, p.api_runs from meta m, plan p";

pub(super) const PUT_PLAN: &str = "insert into plan (name, tier, cost, ai_runs, api_runs, recheck) values ($1, $2, $3, $4, $5, true) \
     on conflict (name) do update set tier = excluded.tier, cost = excluded.cost, ai_runs = excluded.ai_runs, \
     api_runs = excluded.api_runs, recheck = true";

pub(super) const NEXT_VERSION: &str = "update meta set version = version + 1";

/// Moves the buckets' order, clock and numbers on.
pub(super) const MOVE_BUCKETS: &str = "update bucket t set seq = u.seq, now_at = u.now_at, next_user = u.next_user, next_operation = u.next_operation, \
     next_session = u.next_session, next_denial = u.next_denial, next_alert = u.next_alert, next_delivery = u.next_delivery \
     from unnest($1::bucket_row[]) as u \
     where t.bucket = u.bucket";

pub(super) const ADD_EVENTS: &str = "insert into event (bucket, seq, day, user_no, kind, no, batch) \
     select u.* from unnest($1::event_row[]) as u";

/// Whether a batch is recorded.
pub(super) const FIND_BATCH: &str =
    "select exists(select from event where bucket = $1::int4 and seq > $2 and batch = $3)";

pub(super) const REVERSE_OP_KEYS: &str = "update op_key t set reversed_by = u.reversed_by \
     from unnest($1::int8[], $2::int8[], $3::bytea[], $4::int8[]) as u (bucket, user_no, op, reversed_by) \
     where t.bucket = u.bucket and t.user_no = u.user_no and t.op = u.op";

/// Makes users nobody; what still names them elsewhere is wiped after.
pub(super) const ADD_ERASURES: &str = "insert into erasure (bucket, user_no, tag, at, stage) \
     select *, 0 from unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[])";

/// Users who are named by their ids, with their numbers and one more key or none: `(select u.*, o.user_no from
/// unnest($1::int8[], $2::text[], $3::..[]) as u (bucket, user_id, ..) join users o on .. offset 0) u`. `offset 0` has it
/// done first: else the rows of a whole bucket may be looked through for those whose other keys fit.
fn of_ids(keys: &str) -> String {
    let rows = match keys.split_once(' ') {
        None => "unnest($1::int8[], $2::text[]) as u (bucket, user_id)".to_owned(),
        Some((name, of)) => format!("unnest($1::int8[], $2::text[], $3::{of}[]) as u (bucket, user_id, {name})"),
    };
    format!(
        "(select u.*, o.user_no from {rows} join users o on o.bucket = u.bucket and o.user_id = u.user_id offset 0) u"
    )
}

/// Sessions in progress that hold something, in the order of their opening.
const OPEN_WITH_HOLD: &str = " where t.due is not null and t.ask is not null order by t.no";
/// The operation that a key is of.
const OF_OP_KEY: &str =
    "join operation t on t.bucket = k.bucket and t.user_no = k.user_no and t.no = k.no and t.month = k.month";

/// Statements that are made of the tables' columns.
pub(super) struct Made {
    pub(super) put_users: String,
    pub(super) put_months: String,
    pub(super) put_sessions: String,
    pub(super) put_denials: String,
    pub(super) put_operations: String,
    pub(super) insert_operations: String,
    pub(super) insert_op_keys: String,
    pub(super) insert_alerts: String,
    pub(super) add_breakdown: String,
    pub(super) add_breakdown_capped: String,
    pub(super) add_bucket_days: String,
    pub(super) add_bucket_days_capped: String,
    pub(super) add_session_days: String,
    pub(super) find_users_by_id: String,
    pub(super) find_users: String,
    pub(super) find_months: String,
    pub(super) find_holds: String,
    pub(super) find_sessions_by_id: String,
    pub(super) find_sessions: String,
    pub(super) find_operations: String,
    pub(super) find_denials: String,
    pub(super) find_months_of_ids: String,
    pub(super) find_holds_of_ids: String,
    pub(super) find_sessions_of_ids: String,
    pub(super) find_operations_of_ids: String,
    pub(super) find_denials_by_no: String,
    pub(super) find_alerts: String,
    pub(super) insert_audit: String,
    pub(super) insert_deliveries: String,
}

pub(super) static MADE: LazyLock<Made> = LazyLock::new(|| Made {
    find_denials_by_no: DENIAL.find("bucket int8, no int8", ""),
    find_alerts: ALERT.find("bucket int8, no int8", ""),
    put_users: USERS.put(),
    put_months: USER_MONTH.put(),
    put_sessions: SESSION.put(),
    put_denials: DENIAL.put(),
    put_operations: OPERATION.put(),
    insert_operations: OPERATION.insert(),
    insert_op_keys: OP_KEY.insert(),
    insert_alerts: ALERT.insert(),
    add_breakdown: BREAKDOWN.add(),
    add_breakdown_capped: BREAKDOWN.add_capped(&["bucket", "user_no", "month", "day"], COMBINATIONS_MAX),
    add_bucket_days: BUCKET_DAY.add(),
    add_bucket_days_capped: BUCKET_DAY.add_capped(&["bucket", "day"], COMBINATIONS_MAX_ALL_USERS),
    add_session_days: SESSION_DAY.add(),
    find_users_by_id: USERS.find("bucket int8, user_id text", ""),
    find_users: USERS.find("bucket int8, user_no int8", ""),
    find_months: USER_MONTH.find("bucket int8, user_no int8, month int8", ""),
    find_holds: SESSION.find("bucket int8, user_no int8", OPEN_WITH_HOLD),
    find_sessions_by_id: SESSION.find("bucket int8, user_no int8, session_id text", " and t.session_id <> ''"),
    find_sessions: SESSION.find("bucket int8, no int8", ""),
    find_operations: format!(
        "select {} from unnest($1::int8[], $2::int8[], $3::bytea[]) as u (bucket, user_no, op) \
         join op_key k on k.bucket = u.bucket and k.user_no = u.user_no and k.op = u.op {OF_OP_KEY}",
        OPERATION.select("t")
    ),
    find_months_of_ids: USER_MONTH.find_of_ids("month int8", ""),
    find_holds_of_ids: SESSION.find_of_ids("", OPEN_WITH_HOLD),
    find_sessions_of_ids: SESSION.find_of_ids("session_id text", " and t.session_id <> ''"),
    find_operations_of_ids: format!(
        "select {} from {} join op_key k on k.bucket = u.bucket and k.user_no = u.user_no and k.op = u.op {OF_OP_KEY}",
        OPERATION.select("t"),
        of_ids("op bytea")
    ),
    // The newest of each session that is young enough to be counted up.
    find_denials: format!(
        "select {} from unnest($1::int8[], $2::int8[], $3::text[]) as u (bucket, user_no, session_id) \
         cross join lateral (select * from denial d where d.bucket = u.bucket and d.user_no = u.user_no \
         and d.session_id = u.session_id and d.recorded_at > $4 order by d.no desc limit 1) t",
        DENIAL.select("t")
    ),
    insert_audit: AUDIT.insert(),
    // Due at once.
    insert_deliveries: format!(
        "insert into delivery ({list}, state, due, step, tries) select {list}, 0, created_at, 0, 0 from {}",
        DELIVERY.unnest(),
        list = DELIVERY.list()
    ),
});

/// All statements that a lane prepares when it connects.
pub(super) fn of_a_lane() -> Vec<&'static str> {
    let made = &*MADE;
    let fixed = [
        LOCK,
        LOCK_WAITING,
        VERSION,
        SYNCED,
        PLANS,
        PUT_PLAN,
        NEXT_VERSION,
        MOVE_BUCKETS,
        ADD_EVENTS,
        FIND_BATCH,
        REVERSE_OP_KEYS,
        ADD_ERASURES,
        TAKE_NUMBERS,
        WEBHOOKS,
        BLANK_REASONS,
    ];
    let made = [
        &made.put_users,
        &made.put_months,
        &made.put_sessions,
        &made.put_denials,
        &made.put_operations,
        &made.insert_operations,
        &made.insert_op_keys,
        &made.insert_alerts,
        &made.add_breakdown,
        &made.add_breakdown_capped,
        &made.add_bucket_days,
        &made.add_bucket_days_capped,
        &made.add_session_days,
        &made.find_users_by_id,
        &made.find_users,
        &made.find_months,
        &made.find_holds,
        &made.find_sessions_by_id,
        &made.find_sessions,
        &made.find_operations,
        &made.find_denials,
        &made.find_months_of_ids,
        &made.find_holds_of_ids,
        &made.find_sessions_of_ids,
        &made.find_operations_of_ids,
        &made.insert_audit,
        &made.insert_deliveries,
    ];
    fixed.into_iter().chain(names::statements()).chain(made.into_iter().map(String::as_str)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_on_the_ledgers_rows_names_its_bucket() {
        let mut of_all = vec![VERSION, SYNCED, PLANS, PUT_PLAN, NEXT_VERSION, TAKE_NUMBERS, WEBHOOKS];
        of_all.extend(names::statements());
        for sql in of_a_lane().into_iter().filter(|sql| !of_all.contains(sql)) {
            assert!(sql.contains("bucket = u.bucket") || sql.contains("bucket = ") || sql.contains("(bucket"), "{sql}");
        }
    }

    #[test]
    fn a_put_updates_what_is_there_and_adds_what_is_new() {
        let table = Table { name: "t", keys: &["bucket", "no"], columns: "bucket int8, no int8, text text" };
        assert_eq!(
            table.put(),
            "with u as materialized (select * from unnest($1::int8[], $2::int8[], $3::text[]) \
             with ordinality as u (bucket, no, text, ordinality)), \
             old as (update t t set text = u.text from u where t.bucket = u.bucket and t.no = u.no returning u.ordinality) \
             insert into t (bucket, no, text) select bucket, no, text from u \
             where ordinality not in (select ordinality from old)"
        );
    }
}

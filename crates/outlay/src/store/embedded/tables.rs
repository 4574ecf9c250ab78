//! The file's tables and how a connection is set up. Rows are written and read in [`super::codec`].
//!
//! Operations, sessions, denials and alerts are numbered in order of recording and appended; only counters and day rows
//! lie at places of their own, once a batch each. A row that ends with `sum` carries the xxh3 of its other columns.

use rusqlite::{Connection, OpenFlags};

use super::runs::{HashKey, RunError, RunIndex};
use crate::store::StoreError;

/// The version of the tables that this program makes and reads.
pub(super) const VERSION: i64 = 3;
/// The file's mark, `Otly`, so that another SQLite file is not taken for a store.
const APPLICATION_ID: i64 = 0x4f74_6c79;
/// The prefix of the duplicate index of operations, and of that of sessions.
pub(super) const OPERATION_RUNS: &str = "op";
pub(super) const SESSION_RUNS: &str = "session";

/// Statements that a connection keeps prepared; the duplicate index alone uses about a hundred.
const STATEMENTS_CACHED: usize = 256;

const SCHEMA: &str = "
create table meta (key text primary key, value) without rowid;
create table name (kind integer, no integer, text text not null, primary key (kind, no)) without rowid;
create table user (
    no integer primary key, tag integer not null, user_id text, plan text, email text,
    limit_cost, limit_ai_runs, limit_api_runs, months text not null,
    last_session integer, last_denial integer, last_alert integer, created_at not null, sum integer not null);
create unique index user_by_id on user (user_id) where user_id is not null;
create table operation (
    no integer primary key, user integer not null, operation_id text not null, fingerprint blob not null,
    flags integer not null, feature integer not null, provider integer not null, model integer not null,
    cost integer not null, tokens text, units text, session integer, position integer not null,
    step_label text, step_number integer, duration_ms integer, at not null, recorded_at not null, metadata text,
    reverses integer, reason text, reversed_by integer, previous integer, previous_step integer, sum integer not null);
create table user_month (
    month integer, user integer, cost integer not null, ai_runs integer not null, api_runs integer not null,
    operations integer not null, head integer, raised text not null, updated_at, day integer, day_sums text,
    primary key (month, user)) without rowid;
create table month_page (user integer, month integer, operation integer, primary key (user, month, operation)) without rowid;
create table user_day (day integer, user integer, sums text not null, primary key (day, user)) without rowid;
create table all_day (
    day integer, usage_type integer, feature integer, provider integer, model integer,
    cost not null, operations integer not null, runs integer not null, input integer not null, output integer not null,
    primary key (day, usage_type, feature, provider, model)) without rowid;
create table session (
    no integer primary key, user integer not null, session_id text not null, feature integer not null,
    status integer not null, ask text, choice text, total_cost integer, total_ai_runs integer, total_api_runs integer,
    drawn_cost integer, drawn_ai_runs integer, drawn_api_runs integer, first_month integer,
    last_month integer, expires_at,
    cost not null, runs integer not null, overdraft_cost integer not null, overdraft_ai_runs integer not null,
    overdraft_api_runs integer not null, exceeded integer not null, error text, metadata text,
    created_at not null, updated_at not null, completed_at, due, steps integer not null, last_step integer,
    previous integer, sum integer not null);
create index session_due on session (due) where due is not null;
create table session_page (session integer, page integer, operation integer not null, primary key (session, page)) without rowid;
create table session_day (
    day integer, feature integer, status integer, count integer not null, cost not null, steps integer not null,
    duration_ms integer not null, primary key (day, feature, status)) without rowid;
create table denial (
    no integer primary key, user integer not null, feature integer not null, session_id text, ask text not null,
    reason_kind integer not null, reason text, failed integer not null, limit_cost integer, limit_ai_runs integer,
    limit_api_runs integer, next_plan text, times integer not null, source integer not null, metadata text,
    recorded_at not null, previous integer, sum integer not null);
create table alert (
    no integer primary key, user integer not null, month integer not null, meter integer not null,
    threshold integer not null, limit_value integer not null, used integer not null, held integer not null,
    plan text not null, next_plan text, superseded_by integer, recorded_at not null, previous integer, sum integer not null);
create table plan (name text primary key, tier integer not null, cost integer, ai_runs integer, api_runs integer) without rowid;
create table key (
    id text primary key, digest blob not null, role text not null, description text not null, last4 text not null,
    created_at not null, expires_at, revoked_at) without rowid;
create table secret (name text primary key, sealed blob not null, created_at not null) without rowid;
create table erasure (
    user integer primary key, tag integer not null, at not null, listed integer not null, stage integer not null, next integer);
create view operation_view as
    select o.no, u.user_id, o.operation_id, f.text as feature, p.text as provider, m.text as model,
           o.cost / 1e12 as cost_usd, o.session, o.at, o.recorded_at, o.reverses, o.reversed_by
    from operation o join user u on u.no = o.user join name f on f.kind = 1 and f.no = o.feature
    join name p on p.kind = 2 and p.no = o.provider left join name m on m.kind = 3 and m.no = o.model;
";

/// What version 2 has beside the tables of version 1. Of a delivery the columns up to `sum` say what is to be sent and
/// never change; those after it say how far it got.
const SCHEMA_2: &str = "
create table webhook (
    no integer primary key, id text not null, url text not null, events integer not null, description text not null,
    configured integer not null, created_at not null, gone_at, deleted_at);
create table delivery (
    no integer primary key, kind integer not null, about integer not null, user integer, receiver integer not null,
    created_at not null, body text, sum integer not null,
    state integer not null, due, step integer not null, tries integer not null, ended_at);
create index delivery_due on delivery (receiver, due) where due is not null;
create index delivery_about on delivery (kind, about);
create index delivery_of_receiver on delivery (receiver, no);
create index delivery_to_user on delivery (user) where receiver = -1;
create table delivery_try (
    delivery integer, n integer, at not null, status integer, reason text, primary key (delivery, n)) without rowid;
create table audit (
    no integer primary key, at not null, who text not null, address text, request_id text, action text not null,
    subject text, user integer, before text, after text, sum integer not null);
create table token_end (user integer primary key, until not null, sum integer not null);
";

/// Where the file is and how it is opened.
#[derive(Debug, Clone)]
pub(super) struct File {
    pub(super) path: std::path::PathBuf,
    /// The name of a VFS other than the machine's, for a simulation.
    pub(super) vfs: Option<String>,
    pub(super) cache_kib: u32,
}

impl File {
    /// A connection that may write. It never waits for another writer: there is none.
    pub(super) fn writer(&self) -> Result<Connection, StoreError> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE)?;
        connection.execute_batch("pragma page_size = 4096; pragma journal_mode = wal;")?;
        // Where a write fails under that, SQLite says `wal` and goes on with a rollback journal; such a journal can come
        // back after a power cut and take the last commit with it. What it does is known once it has read the file.
        let _: i64 = connection.query_row("select count(*) from sqlite_master", [], |row| row.get(0))?;
        let mode: String = connection.query_row("pragma journal_mode", [], |row| row.get(0))?;
        if mode != "wal" {
            return Err(StoreError::Unavailable(format!("SQLite keeps a journal of the kind `{mode}`, not a log")));
        }
        connection.execute_batch(&format!(
            "pragma synchronous = full; pragma wal_autocheckpoint = 0;
             pragma cache_size = -{}; pragma temp_store = memory; pragma secure_delete = on; pragma foreign_keys = off;",
            self.cache_kib
        ))?;
        Ok(connection)
    }

    /// A connection that only reads.
    pub(super) fn reader(&self) -> Result<Connection, StoreError> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.execute_batch("pragma query_only = on; pragma cache_size = -16384; pragma temp_store = memory;")?;
        Ok(connection)
    }

    /// A connection that copies the log into the file.
    pub(super) fn checkpointer(&self) -> Result<Connection, StoreError> {
        let connection = self.open(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        connection.execute_batch("pragma synchronous = full; pragma wal_autocheckpoint = 0;")?;
        Ok(connection)
    }

    fn open(&self, flags: OpenFlags) -> Result<Connection, StoreError> {
        let flags = flags | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = match &self.vfs {
            None => Connection::open_with_flags(&self.path, flags),
            Some(vfs) => Connection::open_with_flags_and_vfs(&self.path, flags, vfs.as_str()),
        }?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_CACHED);
        Ok(connection)
    }
}

/// What the file says of itself.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) deployment_id: u128,
    pub(super) hash_key: HashKey,
    /// How often this store was started.
    pub(super) epoch: i64,
}

/// Makes the tables of a new file, or checks that this program can read those that are there.
pub(super) fn prepare(connection: &mut Connection, random: [u8; 32]) -> Result<Identity, StoreError> {
    let transaction = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let pragma = |name: &str| transaction.query_row(&format!("pragma {name}"), [], |row| row.get::<_, i64>(0));
    let (application, version) = (pragma("application_id")?, pragma("user_version")?);
    let tables: i64 = transaction.query_row("select count(*) from sqlite_master", [], |row| row.get(0))?;
    if tables == 0 {
        transaction.execute_batch(SCHEMA)?;
        transaction.execute_batch(SCHEMA_2)?;
        transaction
            .execute_batch(&format!("pragma application_id = {APPLICATION_ID}; pragma user_version = {VERSION};"))?;
        for prefix in [OPERATION_RUNS, SESSION_RUNS] {
            RunIndex::create_tables(&transaction, prefix)?;
        }
        let (deployment, hash_key) = random.split_at(16);
        for (key, value) in [("deployment_id", deployment), ("hash_key", hash_key)] {
            transaction.execute("insert into meta values (?, ?)", (key, value))?;
        }
        for key in ["batch", "epoch"] {
            transaction.execute("insert into meta values (?, 0)", [key])?;
        }
        for kind in 1..=3 {
            transaction.execute("insert into name values (?, 1, ?)", (kind, outlay_core::breakdown::OTHER))?;
        }
        super::load::insert_plans(&transaction, &outlay_core::plan::Plans::standard())?;
    } else if application != APPLICATION_ID {
        return Err(StoreError::Corrupt("the file is no Outlay store".to_owned()));
    } else if version > VERSION {
        return Err(StoreError::Corrupt(format!(
            "the file has version {version}, and this program reads up to {VERSION}: use a newer Outlay"
        )));
    } else if version < VERSION {
        if version < 2 {
            transaction.execute_batch(SCHEMA_2)?;
        }
        // Since version 3 rows of months may be behind the operations, up to which `meta.swept` says; before, none were.
        transaction.execute_batch(&format!("pragma user_version = {VERSION};"))?;
    }
    transaction.execute("update meta set value = value + 1 where key = 'epoch'", [])?;
    let blob = |key: &str| -> Result<[u8; 16], StoreError> {
        let bytes: Vec<u8> = transaction.query_row("select value from meta where key = ?", [key], |row| row.get(0))?;
        bytes.try_into().map_err(|_| StoreError::Corrupt(format!("meta `{key}` has a wrong length")))
    };
    let identity = Identity {
        deployment_id: u128::from_le_bytes(blob("deployment_id")?),
        hash_key: HashKey::new(blob("hash_key")?),
        epoch: transaction.query_row("select value from meta where key = 'epoch'", [], |row| row.get(0))?,
    };
    transaction.commit()?;
    Ok(identity)
}

/// Checks that a file is a whole store that this program can read.
pub(super) fn check(connection: &Connection) -> Result<(), StoreError> {
    let pragma = |name: &str| connection.query_row(&format!("pragma {name}"), [], |row| row.get::<_, i64>(0));
    if pragma("application_id")? != APPLICATION_ID {
        return Err(StoreError::Corrupt("the file is no Outlay store".to_owned()));
    }
    let version = pragma("user_version")?;
    if version > VERSION {
        return Err(StoreError::Corrupt(format!(
            "the file has version {version}, and this program reads up to {VERSION}: use a newer Outlay"
        )));
    }
    problems_of_pages(connection, 1)?.pop().map_or(Ok(()), |problem| Err(StoreError::Corrupt(problem)))
}

/// What `SQLite` finds wrong with its pages, some `max` problems at most.
pub(super) fn problems_of_pages(connection: &Connection, max: usize) -> rusqlite::Result<Vec<String>> {
    let mut problems = Vec::new();
    // A view, which has no pages, may come first among the tables: `SQLite` then takes the check of all for one of some, and
    // looks at the list of free pages only if it is asked for the schema.
    for what in [format!("quick_check({max})"), "quick_check(sqlite_schema)".to_owned()] {
        let mut statement = connection.prepare(&format!("pragma {what}"))?;
        for problem in statement.query_map([], |row| row.get::<_, String>(0))? {
            let problem = problem?;
            if problem != "ok" && !problems.contains(&problem) {
                problems.push(problem);
            }
        }
    }
    Ok(problems)
}

impl From<rusqlite::Error> for StoreError {
    /// What a failed statement means while nothing was promised: a full disk passes, and damage is damage.
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DiskFull) => Self::DiskFull,
            Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
                Self::Corrupt(error.to_string())
            }
            Some(_) => Self::Unavailable(error.to_string()),
            None => Self::Corrupt(error.to_string()),
        }
    }
}

impl From<RunError> for StoreError {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Sqlite(error) => error.into(),
            RunError::Damaged(problem) => Self::Corrupt(problem),
        }
    }
}

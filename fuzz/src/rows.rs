//! A store's file in which one value was changed behind its back: whatever is there, it is read or found wrong, and a change of
//! a row that has a checksum is always found.
//!
//! An input is: table, row, column, kind of value (a byte each), and the value.

use std::pin::pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};

use outlay::clock::{Clock, SharedClock};
use outlay::store::embedded::{Settings, file_path, open};
use outlay::store::{
    ExportAt, NoticesQuery, OverviewQuery, PageOf, Reads, SessionsQuery, Store, UsageQuery, UserSort, UsersQuery,
};
use outlay_core::id::{Label, Name, OperationId, SessionId, UserId};
use outlay_core::ledger::Command;
use outlay_core::money::Usd;
use outlay_core::month::{Month, Timestamp};
use outlay_core::operation::{Fingerprint, FingerprintBuilder, NewOperation, Tokens, UsageType};
use outlay_core::plan::{Amounts, Overrides};
use outlay_core::session::{Ask, Finish};
use rusqlite::Connection;
use rusqlite::types::Value;

/// The tables whose rows end with a checksum.
const CHECKED: [&str; 5] = ["user", "operation", "session", "denial", "alert"];
const USERS: [&str; 2] = ["u", "v"];

#[derive(Debug)]
struct Standing;

impl Clock for Standing {
    fn wall(&self) -> Timestamp {
        Timestamp::from_seconds(1_760_380_376).expect("within range")
    }

    fn monotonic_nanos(&self) -> u64 {
        0
    }
}

/// A folder that costs no disk, where there is one.
pub(crate) fn folder() -> tempfile::TempDir {
    let memory = std::path::Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("outlay-fuzz-").tempdir_in(place).expect("a folder")
}

fn settings(folder: &std::path::Path) -> Settings {
    let clock: SharedClock = Arc::new(Standing);
    let mut settings = Settings::new(folder.to_owned(), clock);
    // The machine's own files, but nothing in threads of its own.
    settings.vfs = Some("unix".to_owned());
    settings.seed = Some(1);
    settings.cache_kib = 1024;
    settings
}

/// Runs a future that never waits.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a read waited in a store without threads"),
    }
}

/// The file of a small store that has a row of each kind.
fn original() -> &'static [u8] {
    static FILE: OnceLock<Vec<u8>> = OnceLock::new();
    FILE.get_or_init(|| {
        let folder = folder();
        let (mut store, reads) = open(settings(folder.path())).expect("a new store");
        for user in USERS {
            let user_id = UserId::new(user).expect("an id");
            let feature = Name::new("scan").expect("a name");
            let session_id = SessionId::new("s").expect("an id");
            let estimate = Amounts { cost: 2_000_000_000_000, ai_runs: 1, api_runs: 0 };
            let deny = Command::Deny {
                user_id: user_id.clone(),
                feature: feature.clone(),
                estimate,
                reason: Label::new("too late").expect("a label"),
                session_id: None,
                metadata: None,
            };
            let commands = vec![
                Command::PutUser {
                    user_id: user_id.clone(),
                    plan: Some(Name::new("premium").expect("a name")),
                    email: Some(Arc::from("u@example.com")),
                    overrides: Overrides::default(),
                },
                Command::Open {
                    user_id: user_id.clone(),
                    session_id: session_id.clone(),
                    feature,
                    ask: Ask::Estimate(estimate),
                    hold_seconds: 900,
                    metadata: None,
                },
                record(user, "o1", 1_500_000_000_000, Some("s")),
                record(user, "o2", 1_300_000_000_000, None),
                Command::Reverse {
                    user_id: user_id.clone(),
                    original: OperationId::new("o2").expect("an id"),
                    operation_id: OperationId::new("r2").expect("an id"),
                    reason: None,
                },
                deny,
                Command::Finish { user_id, session_id, finish: Finish::Failed, error: None },
            ];
            for reply in now(store.commit(commands.into())).expect("a commit").publish().expect("a durable batch") {
                reply.expect("a sound command");
            }
        }
        assert_eq!(now(reads.verify()).expect("a verified store"), []);
        drop(reads);
        now(store.close()).expect("a closed store");
        std::fs::read(file_path(folder.path())).expect("the file")
    })
}

fn record(user: &str, id: &str, picos: i64, session: Option<&str>) -> Command {
    let name = |text| Name::new(text).expect("a name");
    let mut operation = NewOperation {
        operation_id: OperationId::new(id).expect("an id"),
        user_id: UserId::new(user).expect("an id"),
        usage_type: UsageType::Ai,
        feature: name("scan"),
        provider: name("gemini"),
        model: Some(name("flash")),
        cost: Usd::from_picos(picos),
        tokens: Some(Tokens { input: 3, output: 4, ..Tokens::default() }),
        units: None,
        is_billable_run: true,
        session_id: session.map(|id| SessionId::new(id).expect("an id")),
        step_label: Some(Label::new("ocr").expect("a label")),
        step_number: Some(1),
        finish_session: None,
        duration_ms: Some(12),
        timestamp: None,
        metadata: Some(Arc::from(r#"{"page":1}"#)),
        fingerprint: Fingerprint([0; 16]),
    };
    operation.fingerprint = FingerprintBuilder::of(&operation, true, true, Some(r#"{"page":1}"#));
    Command::Record(Box::new(operation))
}

/// See the head of the file.
pub fn rows(data: &[u8]) {
    let [table, row, column, kind, value @ ..] = data else { return };
    let folder = folder();
    std::fs::write(file_path(folder.path()), original()).expect("written");
    let value = match kind % 4 {
        0 => Value::Null,
        1 => Value::Integer(value.iter().take(8).fold(0, |number, byte| number << 8 | i64::from(*byte))),
        2 => Value::Text(String::from_utf8_lossy(value).into_owned()),
        _ => Value::Blob(value.to_vec()),
    };
    let Some(changed) = change(folder.path(), [*table, *row, *column], &value) else { return };
    let found = look_at(folder.path());
    if CHECKED.contains(&changed.table.as_str()) {
        assert!(found, "{changed:?} was not found");
    }
}

/// What was changed.
#[derive(Debug)]
#[expect(dead_code, reason = "it is shown when a change is not found")]
struct Changed {
    table: String,
    column: String,
    before: Value,
    after: Value,
}

/// Changes one value; `None` when there is no such value, or it is the same afterwards, or the file's own rules refuse it.
fn change(folder: &std::path::Path, [table, row, column]: [u8; 3], value: &Value) -> Option<Changed> {
    let connection = Connection::open(file_path(folder)).ok()?;
    let tables: Vec<String> = {
        let mut statement = connection
            .prepare("select name from sqlite_schema where type = 'table' and name not like 'sqlite_%' order by name")
            .ok()?;
        statement.query_map([], |row| row.get(0)).ok()?.collect::<Result<_, _>>().ok()?
    };
    let table = &tables[usize::from(table) % tables.len()];
    let columns: Vec<(String, bool)> = {
        let mut statement = connection.prepare("select name, pk from pragma_table_info(?)").ok()?;
        statement
            .query_map([table], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? > 0)))
            .ok()?
            .collect::<Result<_, _>>()
            .ok()?
    };
    let column = &columns[usize::from(column) % columns.len()].0;
    let keys: Vec<&str> = columns.iter().filter(|(_, key)| *key).map(|(name, _)| name.as_str()).collect();
    let rows: u8 = connection.query_row(&format!("select count(*) from {table}"), [], |row| row.get(0)).ok()?;
    let key: Vec<Value> = connection
        .query_row(
            &format!("select {} from {table} limit 1 offset {}", keys.join(", "), row.checked_rem(rows)?),
            [],
            |row| (0..keys.len()).map(|at| row.get(at)).collect(),
        )
        .ok()?;
    let of_key: String = keys.iter().enumerate().map(|(at, name)| format!(" and {name} is ?{}", at + 2)).collect();
    let read = |key: &[Value]| {
        let key = key.iter().map(|value| value as &dyn rusqlite::ToSql);
        let parameters: Vec<&dyn rusqlite::ToSql> =
            std::iter::once(&Value::Null as &dyn rusqlite::ToSql).chain(key).collect();
        connection
            .query_row(&format!("select {column} from {table} where ?1 is null{of_key}"), &*parameters, |row| {
                row.get(0)
            })
            .ok()
    };
    let before: Value = read(&key)?;
    let parameters: Vec<&dyn rusqlite::ToSql> = std::iter::once(value as &dyn rusqlite::ToSql)
        .chain(key.iter().map(|value| value as &dyn rusqlite::ToSql))
        .collect();
    connection.execute(&format!("update {table} set {column} = ?1 where true{of_key}"), &*parameters).ok()?;
    let mut new_key = key;
    if let Some(at) = keys.iter().position(|name| name == column) {
        new_key[at] = value.clone();
    }
    let after = read(&new_key)?;
    (after != before).then(|| Changed { table: table.clone(), column: column.clone(), before, after })
}

/// Opens the store, verifies it, and reads every list; gives whether something was found wrong.
fn look_at(folder: &std::path::Path) -> bool {
    let Ok((store, reads)) = open(settings(folder)) else { return true };
    let found = now(reads.verify()).map_or(true, |findings| !findings.is_empty());
    read_all(&*reads);
    drop((store, reads));
    found
}

/// What it reads may be nonsense or an error, and is never a panic.
fn read_all(reads: &dyn Reads) {
    let page = PageOf { before: None, limit: 50 };
    let month = Month::parse("2025-10").expect("a month");
    for user in USERS {
        let user_id = UserId::new(user).expect("an id");
        let _ = now(reads.view(&user_id, month));
        let _ = now(reads.history(&user_id, month.minus(1)..=month));
        let query = |month| UsageQuery {
            user_id: user_id.clone(),
            month,
            feature: None,
            usage_type: None,
            session_id: None,
            page,
        };
        let _ = now(reads.usage(query(None)));
        let _ = now(reads.usage(query(Some(month))));
        let _ = now(reads.operation(&user_id, &OperationId::new("o1").expect("an id")));
        if let Ok(Some(session)) = now(reads.session(&user_id, &SessionId::new("s").expect("an id"))) {
            let _ = now(reads.steps(session.no, 0, 50));
        }
        let mut at = Some(ExportAt::default());
        let mut pages = 0;
        while let Some(place) = at
            && pages < 100
        {
            at = now(reads.export(&user_id, place)).ok().and_then(|(_, next)| next);
            pages += 1;
        }
    }
    let _ =
        now(reads.sessions(SessionsQuery { user_id: None, status: None, feature: None, from: None, to: None, page }));
    let _ = now(reads.denials(NoticesQuery { user_id: None, month: None, page }));
    let _ = now(reads.alerts(NoticesQuery { user_id: None, month: None, page }));
    let _ = now(reads.overview(OverviewQuery { month, months_before: 6, newest: 5 }));
    let _ = now(reads.session_stats(month.start().day()));
    let _ = now(reads.users(UsersQuery {
        month,
        sort: UserSort::Cost,
        descending: true,
        active: false,
        state: None,
        plan: None,
        prefix: None,
        after: None,
        limit: 50,
    }));
}

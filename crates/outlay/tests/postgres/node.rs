//! A node, as far as these tests need one: a store, and commands for it.

use std::path::Path;
use std::sync::Arc;

use outlay::clock::SystemClock;
use outlay::store::postgres::{PostgresStore, Settings, open};
use outlay::store::{Reads, Reply, Store, StoreError};
use outlay_core::id::{Name, OperationId, SessionId, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::money::Usd;
use outlay_core::operation::{Fingerprint, NewOperation, UsageType};
use outlay_core::plan::{Amounts, Overrides};
use outlay_core::session::Ask;
use tokio_postgres::{Client, Config, NoTls};

use crate::server::{SERVICE_USER, Server};

/// The database of the ledger.
pub(crate) const DATABASE: &str = "ledger";

pub(crate) struct Node {
    pub(crate) store: PostgresStore,
    pub(crate) reads: Arc<dyn Reads>,
}

/// Settings for the ledger's database on these servers.
pub(crate) fn settings(servers: &[&Server]) -> Settings {
    settings_at(&servers.iter().map(|server| server.folder.as_path()).collect::<Vec<_>>())
}

/// The same of the sockets in these folders.
pub(crate) fn settings_at(folders: &[&Path]) -> Settings {
    let folders: Vec<&str> = folders.iter().map(|folder| folder.to_str().unwrap()).collect();
    let url = format!("postgres://{SERVICE_USER}@/{DATABASE}?host={}", folders.join(","));
    Settings::new(&url, SystemClock::shared()).unwrap()
}

impl Node {
    pub(crate) fn open(settings: Settings) -> Result<Self, StoreError> {
        let (store, reads) = open(settings)?;
        Ok(Self { store, reads })
    }

    pub(crate) fn commit(&mut self, commands: Vec<Command>) -> Vec<Reply> {
        block_on(self.store.commit(commands.into())).unwrap().publish().unwrap()
    }

    /// Commits one command.
    pub(crate) fn one(&mut self, command: Command) -> Reply {
        self.commit(vec![command]).pop().unwrap()
    }

    pub(crate) fn assert_clean(&self) {
        assert_eq!(block_on(self.reads.verify()).unwrap(), []);
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(crate) async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Does something past the store.
pub(crate) fn change(server: &Server, database: &str, sql: &str) {
    block_on(async { connect(&server.config(database)).await.batch_execute(sql).await.unwrap() });
}

/// Reads one number past the store.
pub(crate) fn number(server: &Server, database: &str, sql: &str) -> i64 {
    block_on(async { connect(&server.config(database)).await.query_one(sql, &[]).await.unwrap().get(0) })
}

/// Waits until something holds; what it is stands in the failure.
#[track_caller]
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if holds() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("this did not come: {what}");
}

/// An operation of a user's.
pub(crate) fn record(user: &str, id: &str) -> Command {
    Command::Record(Box::new(NewOperation {
        operation_id: OperationId::new(id).unwrap(),
        user_id: UserId::new(user).unwrap(),
        usage_type: UsageType::Ai,
        feature: Name::new("scan").unwrap(),
        provider: Name::new("gemini").unwrap(),
        model: None,
        cost: Usd::from_picos(107_850_000),
        tokens: None,
        units: None,
        is_billable_run: false,
        session_id: None,
        step_label: None,
        step_number: None,
        finish_session: None,
        duration_ms: None,
        timestamp: None,
        metadata: None,
        fingerprint: Fingerprint([0; 16]),
    }))
}

/// A session that holds one AI run.
pub(crate) fn open_session(user: &str, id: &str) -> Command {
    Command::Open {
        user_id: UserId::new(user).unwrap(),
        session_id: SessionId::new(id).unwrap(),
        feature: Name::new("scan").unwrap(),
        ask: Ask::Estimate(Amounts { cost: 0, ai_runs: 1, api_runs: 0 }),
        hold_seconds: 3_600,
        metadata: None,
    }
}

pub(crate) fn put_on_premium(user: &str) -> Command {
    Command::PutUser {
        user_id: UserId::new(user).unwrap(),
        plan: Some(Name::new("premium").unwrap()),
        email: None,
        overrides: Overrides::default(),
    }
}

/// Whether an operation was recorded, and `Some(true)` where it had been before.
pub(crate) fn recorded(reply: &Reply) -> Option<bool> {
    match reply {
        Ok(Outcome::Recorded(recorded)) => Some(recorded.duplicate),
        _ => None,
    }
}

//! A PostgreSQL of the tests' own, the same as the store's tests have, and in it a database for each test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{Client, Config, NoTls};

use super::cluster::block_on;
use super::postgres_server::Server;

static CLUSTER: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// A database that nothing was made in yet.
pub(crate) struct Database {
    name: String,
}

impl Database {
    pub(crate) fn new() -> Database {
        let name = format!("it_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        run(&cluster().config("postgres"), &format!("create database {name}"));
        Database { name }
    }

    /// Its address, as `--store` takes it.
    pub(crate) fn url(&self) -> String {
        let folder = percent_encoding::utf8_percent_encode(
            cluster().folder.to_str().unwrap(),
            percent_encoding::NON_ALPHANUMERIC,
        );
        format!("postgres://postgres@/{}?host={folder}&port={}", self.name, cluster().port)
    }

    /// Lets nobody in any more and cuts off who is, or lets all in again: as when it is gone for a while.
    pub(crate) fn is_there(&self, is_there: bool) {
        let server = cluster().config("postgres");
        run(&server, &format!("alter database {} with allow_connections {is_there}", self.name));
        if !is_there {
            run(
                &server,
                &format!("select pg_terminate_backend(pid) from pg_stat_activity where datname = '{}'", self.name),
            );
        }
    }

    /// A number that it gives.
    pub(crate) fn number(&self, sql: &str) -> i64 {
        block_on(async {
            let client = connect(&cluster().config(&self.name)).await;
            client.query_one(sql, &[]).await.unwrap().get(0)
        })
    }
}

/// A primary of its own, which keeps what it acknowledges over a power cut, and its standby while that is there.
pub(crate) struct Pair {
    primary: Server,
    standby: Option<Server>,
}

impl Pair {
    /// A primary alone.
    pub(crate) fn start() -> Pair {
        let mut primary = Server::new(&["fsync=on", "full_page_writes=on"]);
        primary.start();
        run(&primary.config("postgres"), "create database ledger");
        Pair { primary, standby: None }
    }

    /// Has a standby named `s1` follow the primary.
    pub(crate) fn stand_by(&mut self) {
        let mut standby = self.primary.standby("s1");
        standby.start();
        self.standby = Some(standby);
        self.until_it_counts("select count(*) from pg_stat_replication where state = 'streaming'", 1);
    }

    /// Ends the standby.
    pub(crate) fn leave(&mut self) {
        self.standby = None;
        self.until_it_counts("select count(*) from pg_stat_replication", 0);
    }

    /// Sets the standbys that commits wait for.
    pub(crate) fn wait_for(&self, names: &str) {
        let primary = self.primary.config("postgres");
        run(&primary, &format!("alter system set synchronous_standby_names = '{names}'"));
        run(&primary, "select pg_reload_conf()");
        let connected = i64::from(!names.is_empty());
        self.until_it_counts(
            "select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum')",
            connected,
        );
    }

    /// The address of the primary, as `--store` takes it.
    pub(crate) fn url(&self) -> String {
        url_of(&[&self.primary])
    }

    /// That of the standby.
    pub(crate) fn url_of_standby(&self) -> String {
        url_of(&[self.standby.as_ref().unwrap()])
    }

    /// That of both, in which the primary comes last.
    pub(crate) fn url_of_both(&self) -> String {
        url_of(&[self.standby.as_ref().unwrap(), &self.primary])
    }

    #[track_caller]
    fn until_it_counts(&self, sql: &str, count: i64) {
        let primary = self.primary.config("postgres");
        super::until(sql, || {
            block_on(async { connect(&primary).await.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) }) == count
        });
    }
}

fn url_of(servers: &[&Server]) -> String {
    let encoded = |server: &&Server| {
        let folder = server.folder.to_str().unwrap().to_owned();
        percent_encoding::utf8_percent_encode(&folder, percent_encoding::NON_ALPHANUMERIC).to_string()
    };
    let folders: Vec<String> = servers.iter().map(encoded).collect();
    format!("postgres://postgres@/ledger?host={}", folders.join(","))
}

fn cluster() -> &'static Server {
    CLUSTER.get_or_init(|| {
        let mut server = Server::new(&["max_connections=400"]);
        server.start();
        server
    })
}

fn run(config: &Config, sql: &str) {
    block_on(async { connect(config).await.batch_execute(sql).await.unwrap() });
}

async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

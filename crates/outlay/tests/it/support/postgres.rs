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

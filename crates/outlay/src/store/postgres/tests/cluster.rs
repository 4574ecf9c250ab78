//! One cluster for the whole test program, and in it a database for each test.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{Config, NoTls};

use super::super::{Buckets, schema};
use super::server::Server;
use crate::clock::SystemClock;

static CLUSTER: OnceLock<Server> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// How to connect to a new database that has the tables of a new store with so many buckets.
pub(super) fn database(buckets: Buckets) -> Config {
    create(&format!(" template template_{}", buckets.count()))
}

/// How to connect to a new database without tables.
pub(super) fn empty_database() -> Config {
    create("")
}

fn create(how: &str) -> Config {
    let cluster = CLUSTER.get_or_init(start);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    block_on(async {
        let client = connect(&cluster.config("postgres")).await;
        client.batch_execute(&format!("create database {name}{how}")).await.unwrap();
    });
    cluster.config(&name)
}

pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

pub(super) async fn connect(config: &Config) -> tokio_postgres::Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    #[expect(clippy::disallowed_methods, reason = "it ends with its connection")]
    tokio::spawn(connection);
    client
}

fn start() -> Server {
    let mut cluster = Server::new(&[]);
    cluster.start();
    block_on(async {
        for buckets in [Buckets::of_bits(0).unwrap(), Buckets::USUAL] {
            let name = format!("template_{}", buckets.count());
            let client = connect(&cluster.config("postgres")).await;
            client.batch_execute(&format!("create database {name}")).await.unwrap();
            let mut client = connect(&cluster.config(&name)).await;
            let new = schema::New { buckets, random: [7; 16] };
            schema::prepare(&mut client, new, SystemClock::shared().wall()).await.unwrap();
        }
    });
    cluster
}

//! What is compared: programs and folders of this run's own, each asked in the way that it does most in.

use std::path::Path;

use clap::ValueEnum;

use crate::load::{Load, Measured};
use crate::postgres::by_hand::{self, Calls};
use crate::postgres::cluster::{self, Cluster};
use crate::postgres::{BATCH_POOLS, POOLS, block_on};
use crate::redis::{self, Redis};
use crate::requests::{self, Kind, Source, Values};
use crate::server::Server;
use crate::sqlite::Sqlite;
use crate::{cpu, http};

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Name {
    /// The released program on its embedded store, over HTTP
    Outlay,
    /// A handler that reads the same JSON and does nothing, over HTTP
    Empty,
    /// Functions written by hand in PostgreSQL, one for one operation and one for a set
    Postgres,
    /// A script in Redis, which syncs its log before it answers
    Redis,
    /// A transaction a request over a textbook schema in SQLite, in this process
    Sqlite,
}

impl Name {
    pub(crate) const fn text(self) -> &'static str {
        match self {
            Name::Outlay => "outlay",
            Name::Empty => "empty handler",
            Name::Postgres => "PostgreSQL function",
            Name::Redis => "Redis script",
            Name::Sqlite => "SQLite, textbook",
        }
    }
}

pub(crate) enum System {
    Outlay(Server),
    Empty(Server),
    Postgres(Cluster),
    Redis(Redis),
    Sqlite(Sqlite),
}

const DATABASE: &str = "by_hand";

impl System {
    /// Starts it in a folder of its own; says so if it is not installed.
    pub(crate) fn start(name: Name, folder: &Path) -> Option<Self> {
        match name {
            Name::Outlay => {
                let server = Server::outlay(&folder.join("data"));
                http::once(server.address, requests::UNLIMITED_PLAN);
                Some(Self::Outlay(server))
            }
            Name::Empty => Some(Self::Empty(Server::empty())),
            Name::Postgres => {
                let cluster = Cluster::start(&folder.join("function").join("cluster"), false);
                if cluster.is_none() {
                    println!("{}: skipped: {}", name.text(), cluster::MISSING);
                }
                let cluster = cluster?;
                cluster.create(DATABASE);
                let config = cluster.config(DATABASE);
                block_on(async { cluster::connect(&config).await.batch_execute(by_hand::TABLES).await.unwrap() });
                Some(Self::Postgres(cluster))
            }
            Name::Redis => {
                let redis = Redis::start(&folder.join("redis"));
                if redis.is_none() {
                    println!("{}: skipped: {}", name.text(), redis::MISSING);
                }
                redis.map(Self::Redis)
            }
            Name::Sqlite => Some(Self::Sqlite(Sqlite::open(&folder.join("sqlite")))),
        }
    }

    pub(crate) const fn name(&self) -> Name {
        match self {
            Self::Outlay(_) => Name::Outlay,
            Self::Empty(_) => Name::Empty,
            Self::Postgres(_) => Name::Postgres,
            Self::Redis(_) => Name::Redis,
            Self::Sqlite(_) => Name::Sqlite,
        }
    }

    /// Whether it can be asked this: what is written by hand records, and no more.
    pub(crate) const fn takes(&self, kind: Kind) -> bool {
        match self {
            Self::Outlay(_) | Self::Empty(_) => true,
            Self::Postgres(_) | Self::Redis(_) | Self::Sqlite(_) => matches!(kind, Kind::Record | Kind::Batch(_)),
        }
    }

    /// Over how many connections so many clients may ask it, where that is a choice: one for each, if there are few.
    pub(crate) fn connections(&self, kind: Kind, clients: usize) -> Vec<usize> {
        let all: &[usize] = match (self, kind) {
            (Self::Postgres(_), Kind::Batch(_)) => &BATCH_POOLS,
            (Self::Postgres(_), _) => &POOLS,
            (Self::Redis(_), _) => &redis::CONNECTIONS,
            _ => return Vec::new(),
        };
        let mut all: Vec<_> = all.iter().map(|connections| *connections.min(&clients)).collect();
        all.dedup();
        all
    }

    /// Records these operations.
    pub(crate) fn fill(&self, values: &[Values]) {
        match self {
            Self::Outlay(server) => http::record_all(server.address, values),
            Self::Empty(_) => {}
            Self::Postgres(cluster) => {
                block_on(by_hand::fill(&cluster.config(DATABASE), values));
                cluster.analyze(DATABASE);
            }
            Self::Redis(redis) => redis.fill(values),
            Self::Sqlite(sqlite) => sqlite.fill(values),
        }
    }

    /// Lets clients ask it.
    pub(crate) fn run(&self, kind: Kind, connections: Option<usize>, load: &Load, source: &mut Source) -> Measured {
        let connections = connections.unwrap_or(load.clients);
        let measured = match self {
            Self::Outlay(server) | Self::Empty(server) => http::run(load, &[server.address], kind, source),
            Self::Postgres(cluster) => {
                let batch = matches!(kind, Kind::Batch(_)).then_some(kind.width());
                Calls { pool: connections, batch }.run(&cluster.config(DATABASE), load, source)
            }
            Self::Redis(redis) => redis.run(kind.width(), connections, load, source),
            Self::Sqlite(sqlite) => sqlite.run(kind.width(), load, source),
        };
        // What it has left to do is not for the next one to pay.
        match self {
            Self::Postgres(cluster) => cluster.checkpoint(),
            Self::Redis(redis) => redis.settle(),
            Self::Outlay(_) | Self::Empty(_) | Self::Sqlite(_) => {}
        }
        measured
    }

    /// CPU seconds that it used so far; of what runs in this process also the clients'.
    pub(crate) fn used(&self) -> cpu::Used {
        match self {
            Self::Outlay(server) | Self::Empty(server) => cpu::Used::by(server.process_id()),
            Self::Postgres(cluster) => cpu::Used::whole("postgres", cluster.cpu_seconds()),
            Self::Redis(redis) => cpu::Used::whole("redis", redis.cpu_seconds()),
            Self::Sqlite(_) => cpu::Used::whole("in process", cpu::of_process(std::process::id())),
        }
    }
}

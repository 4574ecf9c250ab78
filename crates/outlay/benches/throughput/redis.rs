//! A Redis of the measurement's own that syncs its log before it answers, and a script in it that records (`record.lua`).
//!
//! The client is the crate `redis`: its connections send what many callers ask in one go, which is what lets Redis sync once
//! for many. Its share of the cores is said with the figures.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures_util::future::join_all;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, RedisResult};

use crate::load::{self, Load, Measured};
use crate::report::timestamp;
use crate::requests::{Source, Values};
use crate::{BATCH, cpu};

const RECORD: &str = include_str!("redis/record.lua");
/// What to do where there is none.
pub(crate) const MISSING: &str = "there is no Redis here; on Debian: apt-get install redis-server";
/// Connections that are tried, each shared by many clients.
pub(crate) const CONNECTIONS: [usize; 4] = [1, 4, 16, 64];
/// All else is as it comes; snapshots are of no use beside the log.
const SETTINGS: [&str; 12] = [
    "--bind",
    "127.0.0.1",
    "--daemonize",
    "no",
    "--appendonly",
    "yes",
    "--appendfsync",
    "always",
    "--save",
    "",
    "--loglevel",
    "warning",
];

pub(crate) struct Redis {
    server: Child,
    client: redis::Client,
    /// What the script is called by.
    script: String,
}

impl Redis {
    /// Starts one in this folder; `None` where there is none.
    pub(crate) fn start(folder: &Path) -> Option<Self> {
        fs::create_dir_all(folder).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let log = File::create(folder.join("log")).unwrap();
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--dir"]).arg(folder).args(SETTINGS);
        let server = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().ok()?;
        let client = redis::Client::open(format!("redis://127.0.0.1:{port}")).unwrap();
        let mut redis = Self { server, client, script: String::new() };
        for _ in 0..600 {
            let loaded = redis.ask::<String>(redis::cmd("SCRIPT").arg("LOAD").arg(RECORD));
            if let Ok(name) = loaded {
                redis.script = name;
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(!redis.script.is_empty(), "Redis does not start: {}", log());
        let plan = ["cost", "1000000000000000", "aiRuns", "1000000000", "apiRuns", "1000000000"];
        redis.ask::<()>(redis::cmd("HSET").arg("plan:base").arg(&plan)).unwrap();
        Some(redis)
    }

    fn ask<T: redis::FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        command.query(&mut self.client.get_connection()?)
    }

    /// Lets clients record, so many operations a call, over so many connections.
    pub(crate) fn run(&self, operations: usize, connections: usize, load: &Load, source: &mut Source) -> Measured {
        load.drive(operations, source, async {
            let connections = join_all((0..connections.min(load.clients)).map(|_| self.connect())).await;
            let of = |index: usize| connections[index % connections.len()].clone();
            let caller = |index| Caller { connection: of(index), script: self.script.clone() };
            (0..load.clients).map(caller).collect()
        })
    }

    async fn connect(&self) -> MultiplexedConnection {
        // The usual half a second is short for a batch that stands behind others.
        let config = AsyncConnectionConfig::new().set_response_timeout(None);
        self.client.get_multiplexed_async_connection_with_config(&config).await.unwrap()
    }

    /// Records these operations.
    pub(crate) fn fill(&self, values: &[Values]) {
        let mut connection = self.client.get_connection().unwrap();
        for values in values.chunks(BATCH) {
            let _: redis::Value = call(&self.script, values).query(&mut connection).unwrap();
        }
    }

    /// Waits until it writes its log no more anew, so that nobody else's turn pays for that.
    pub(crate) fn settle(&self) {
        for _ in 0..1_200 {
            let said: String = self.ask(redis::cmd("INFO").arg("persistence")).unwrap();
            if said.contains("aof_rewrite_in_progress:0") && said.contains("aof_rewrite_scheduled:0") {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// CPU seconds so far, with what wrote its log anew.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu::of_family(self.server.id())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

struct Caller {
    connection: MultiplexedConnection,
    script: String,
}

impl load::Client for Caller {
    async fn cycle(&mut self, values: &[Values]) -> Result<(), String> {
        let answer = call(&self.script, values).query_async::<Vec<i64>>(&mut self.connection).await;
        match answer.as_deref() {
            // Every operation is new, and within its limits.
            Ok([fresh, .., 0]) if usize::try_from(*fresh) == Ok(values.len()) => Ok(()),
            Ok(other) => Err(format!("{other:?}")),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// One call of the script.
fn call(script: &str, values: &[Values]) -> Cmd {
    let now = timestamp();
    let day = now.strftime("%Y-%m-%d").to_string();
    let mut command = redis::cmd("EVALSHA");
    command.arg(script).arg(0).arg(&day[..7]).arg(&day).arg(now.as_millisecond());
    for values in values {
        command
            .arg(format!("user_{:06}", values.user))
            .arg(format!("usage_{:016x}", values.id))
            .arg("a")
            .arg(format!("contact_tagging_{:02}", values.feature))
            .arg("gemini")
            .arg("gemini-2.5-flash-lite")
            .arg(u64::from(values.cost) * 10)
            .arg(1);
    }
    command
}

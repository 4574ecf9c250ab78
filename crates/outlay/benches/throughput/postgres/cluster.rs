//! A PostgreSQL of the measurement's own, with a usual configuration: what is acknowledged is on the disk.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};

use crate::cpu;

/// Where Debian puts the programs of a version; elsewhere they are on the path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// What to do where there is none.
pub(crate) const MISSING: &str = "there is no PostgreSQL here; on Debian: apt-get install postgresql";
/// As whom the server runs, since it refuses to run as root.
const SERVICE_USER: &str = "postgres";
/// What an operator sets on a machine of some gigabytes; all else is as it comes, fsync and full pages too.
const SETTINGS: [&str; 7] = [
    "listen_addresses=",
    "unix_socket_permissions=0777",
    "max_connections=300",
    "shared_buffers=1GB",
    "max_wal_size=8GB",
    "checkpoint_timeout=15min",
    "wal_compression=lz4",
];

pub(crate) struct Cluster {
    folder: PathBuf,
    server: Child,
}

impl Cluster {
    /// Makes one in this folder and starts it; `None` where there is no PostgreSQL.
    /// With `counted` it keeps what each statement costs it.
    pub(crate) fn start(folder: &Path, counted: bool) -> Option<Self> {
        let programs = programs()?;
        fs::create_dir_all(folder).unwrap();
        let as_server = if rustix::process::geteuid().is_root() {
            run(Command::new("chown").arg(SERVICE_USER).arg(folder));
            // Its user must reach what this one made for itself alone.
            for above in folder.ancestors().skip(1).take(2) {
                run(Command::new("chmod").arg("a+x").arg(above));
            }
            vec!["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--pdeathsig=INT"]
        } else {
            vec!["setpriv", "--pdeathsig=INT"]
        };
        let command = |program: &str| {
            let mut command = Command::new(as_server[0]);
            command.args(&as_server[1..]).arg(programs.join(program)).current_dir(folder);
            command
        };
        let data = folder.join("data");
        let init = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--username", SERVICE_USER, "--pgdata"];
        run(command("initdb").args(init).arg(&data));
        let log = fs::File::create(folder.join("log")).unwrap();
        let mut server = command("postgres");
        server.arg("-D").arg(&data).arg("-k").arg(folder);
        for setting in SETTINGS {
            server.args(["-c", setting]);
        }
        if counted {
            server.args(["-c", "shared_preload_libraries=pg_stat_statements", "-c", "pg_stat_statements.track=all"]);
        }
        let server = server.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let cluster = Self { folder: folder.to_owned(), server };
        let started = async {
            while cluster.config("postgres").connect(NoTls).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let waited = super::block_on(async { tokio::time::timeout(Duration::from_secs(30), started).await });
        let log = || fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(waited.is_ok(), "PostgreSQL does not start: {}", log());
        Some(cluster)
    }

    /// How to connect to one of its databases.
    pub(crate) fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.folder).user(SERVICE_USER).dbname(database);
        config
    }

    /// The same as a URL.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgres://{SERVICE_USER}@/{database}?host={}", self.folder.display())
    }

    /// A new database.
    pub(crate) fn create(&self, database: &str) {
        super::block_on(async {
            connect(&self.config("postgres"))
                .await
                .batch_execute(&format!("create database {database}"))
                .await
                .unwrap();
        });
    }

    /// Does at once what autovacuum does within minutes: until then plans are those of empty tables.
    pub(crate) fn analyze(&self, database: &str) {
        let sql = "vacuum (analyze)";
        super::block_on(async { connect(&self.config(database)).await.batch_execute(sql).await.unwrap() });
    }

    /// Writes what is due to the disk, so that no measurement pays for the one before it.
    pub(crate) fn checkpoint(&self) {
        super::block_on(async { connect(&self.config("postgres")).await.batch_execute("checkpoint").await.unwrap() });
    }

    /// Begins to count anew what statements cost.
    pub(crate) fn count_statements(&self) {
        let sql = "create extension if not exists pg_stat_statements; select pg_stat_statements_reset()";
        super::block_on(async { connect(&self.config("postgres")).await.batch_execute(sql).await.unwrap() });
    }

    /// Prints what statements cost since then, the dearest first.
    pub(crate) fn print_statements(&self) {
        let sql = "select total_exec_time, calls, rows, regexp_replace(query, '\\s+', ' ', 'g') from pg_stat_statements \
                   where calls > 1 order by total_exec_time desc limit 40";
        let rows = super::block_on(async { connect(&self.config("postgres")).await.query(sql, &[]).await.unwrap() });
        for row in rows {
            let (milliseconds, calls, rows): (f64, i64, i64) = (row.get(0), row.get(1), row.get(2));
            let query: String = row.get::<_, String>(3).chars().take(150).collect();
            println!("    {milliseconds:>8.0} ms {calls:>8} calls {rows:>9} rows  {query}");
        }
    }

    /// CPU seconds that the server's processes used so far.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        cpu::of_family(self.server.id())
    }

    /// Bytes of the write-ahead log so far.
    pub(crate) fn wal_bytes(&self) -> u64 {
        super::block_on(async {
            let client = connect(&self.config("postgres")).await;
            let sql = "select (pg_current_wal_insert_lsn() - '0/0')::int8";
            let bytes: i64 = client.query_one(sql, &[]).await.unwrap().get(0);
            bytes.unsigned_abs()
        })
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // It flushes nothing that is needed any more.
        let quit = rustix::process::Signal::QUIT;
        if let Some(id) = rustix::process::Pid::from_raw(self.server.id().cast_signed()) {
            let _ = rustix::process::kill_process(id, quit);
        }
        let _ = self.server.wait();
    }
}

/// A connection, driven by the runtime that it is made in.
pub(crate) async fn connect(config: &Config) -> Client {
    let (client, connection) = config.connect(NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// The folder of the newest PostgreSQL that is there.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let newest = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let of_debian = newest.map(|version| Path::new(DEBIAN).join(version.to_string()).join("bin"));
    let output = Command::new("pg_config").arg("--bindir").output();
    let on_path = output.ok().map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    of_debian.into_iter().chain(on_path).find(|folder| folder.join("initdb").exists())
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

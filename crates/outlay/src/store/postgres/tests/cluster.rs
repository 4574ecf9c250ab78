//! A PostgreSQL of the tests' own: one cluster for the test program, in a temporary folder, reached by a Unix socket, and
//! in it a database for each test. It ends, and its folder goes, when the program does, however that ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio_postgres::{Config, NoTls};

use super::super::{Buckets, schema};
use crate::clock::SystemClock;

/// Where Debian puts the programs of a version; elsewhere they are on the path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The oldest version that Outlay is for.
const OLDEST: u32 = 14;
/// As whom the server runs, since it refuses to run as root.
const SERVICE_USER: &str = "postgres";
/// Small, since nothing is measured here; and nothing here outlives a power cut.
const SETTINGS: [&str; 9] = [
    "listen_addresses=",
    "shared_buffers=32MB",
    "max_connections=200",
    "fsync=off",
    "full_page_writes=off",
    "autovacuum=off",
    "log_min_messages=error",
    "log_line_prefix=%d %p|",
    "unix_socket_permissions=0777",
];

#[derive(Debug)]
struct Cluster {
    socket: PathBuf,
    /// While this is open, the shell that watches over the server waits.
    _watched: Child,
}

static CLUSTER: OnceLock<Cluster> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// How to connect to a new database that has the tables of a new store with so many buckets.
pub(super) fn database(buckets: Buckets) -> Config {
    let cluster = CLUSTER.get_or_init(start);
    let no = DATABASES.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{no}");
    let template = format!("template_{}", buckets.count());
    block_on(async {
        let client = connect(&config(cluster, "postgres")).await;
        client.batch_execute(&format!("create database {name} template {template}")).await.unwrap();
    });
    config(cluster, &name)
}

/// How to connect to a new database without tables.
pub(super) fn empty_database() -> Config {
    let cluster = CLUSTER.get_or_init(start);
    let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
    block_on(async {
        let client = connect(&config(cluster, "postgres")).await;
        client.batch_execute(&format!("create database {name}")).await.unwrap();
    });
    config(cluster, &name)
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

fn config(cluster: &Cluster, database: &str) -> Config {
    let mut config = Config::new();
    config.host_path(&cluster.socket).user(SERVICE_USER).dbname(database);
    config
}

fn start() -> Cluster {
    let programs = programs();
    let folder = tempfile::Builder::new().prefix("outlay-pg-").tempdir().unwrap().keep();
    // The server's user must reach what the tests' user made.
    let as_server = if rustix::process::geteuid().is_root() {
        run(Command::new("chown").arg(SERVICE_USER).arg(&folder));
        vec![
            "setpriv".to_owned(),
            format!("--reuid={SERVICE_USER}"),
            format!("--regid={SERVICE_USER}"),
            "--init-groups".to_owned(),
        ]
    } else {
        vec!["env".to_owned()]
    };
    let (first, rest) = as_server.split_first().unwrap();
    let data = folder.join("data");
    run(Command::new(first)
        .args(rest)
        .arg(programs.join("initdb"))
        .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", SERVICE_USER, "--pgdata"])
        .arg(&data)
        .current_dir(&folder));
    // The shell waits for the end of its input, which comes with the end of this program, and then cleans up.
    let watch = "trap '' INT TERM; folder=$1; shift; \"$@\" </dev/null >\"$folder/log\" 2>&1 & server=$!; \
                 cat >/dev/null; kill -QUIT $server; wait $server; rm -rf \"$folder\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", watch, "sh"]).arg(&folder).arg(first).args(rest);
    shell.arg(programs.join("postgres")).arg("-D").arg(&data).arg("-k").arg(&folder);
    for setting in SETTINGS {
        shell.args(["-c", setting]);
    }
    let watched = shell.current_dir(&folder).stdin(Stdio::piped()).spawn().unwrap();
    let cluster = Cluster { socket: folder.clone(), _watched: watched };
    block_on(async {
        let mut tries = 0;
        while config(&cluster, "postgres").connect(NoTls).await.is_err() {
            tries += 1;
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(tries < 600, "PostgreSQL does not start: {}", log());
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        for buckets in [Buckets::of_bits(0).unwrap(), Buckets::USUAL] {
            let name = format!("template_{}", buckets.count());
            let client = connect(&config(&cluster, "postgres")).await;
            client.batch_execute(&format!("create database {name}")).await.unwrap();
            let mut client = connect(&config(&cluster, &name)).await;
            let new = schema::New { buckets, random: [7; 16] };
            schema::prepare(&mut client, new, SystemClock::shared().wall()).await.unwrap();
        }
    });
    cluster
}

/// The folder of the newest PostgreSQL that is there.
fn programs() -> PathBuf {
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let versions = versions.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = versions.filter(|version| *version >= OLDEST).max();
    let of_debian = newest.map(|version| Path::new(DEBIAN).join(version.to_string()).join("bin"));
    let output = Command::new("pg_config").arg("--bindir").output();
    let on_path = output.ok().map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    of_debian.into_iter().chain(on_path).find(|folder| folder.join("initdb").exists()).unwrap_or_else(|| {
        panic!(
            "these tests need the server of PostgreSQL {OLDEST} or later, which is neither in {DEBIAN} nor where pg_config \
             says: `apt-get install postgresql-15`, or run `cargo xtask test`, which installs it"
        )
    })
}

fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

//! PostgreSQL servers of the tests' own, each in a temporary folder and reached by a Unix socket there. They end, and their
//! folders go, when the program does, however that ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio_postgres::{Config, NoTls};

/// Where Debian puts the programs of a version; elsewhere they are on the path.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The oldest version that Outlay is for.
const OLDEST: u32 = 14;
/// As whom servers run, since they refuse to run as root.
pub(super) const SERVICE_USER: &str = "postgres";
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
/// Where a server listens that is told nothing else.
const USUAL_PORT: u16 = 5432;
/// How often a server is looked for, until it is there.
const TRIES: u32 = 1200;

#[derive(Debug)]
pub(super) struct Server {
    /// Its socket and its data.
    pub(super) folder: PathBuf,
    /// The port that its socket is named after, and that it listens on if its settings say where.
    pub(super) port: u16,
    pub(super) settings: Vec<String>,
    /// While this is open, the shell that watches over the server waits.
    pub(super) watched: Option<Child>,
}

impl Server {
    /// A new cluster, which does not run yet, with these settings beside the usual ones.
    pub(super) fn new(settings: &[&str]) -> Self {
        let server = Self::in_new_folder(settings);
        let initdb = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "--username", SERVICE_USER];
        run(server.program("initdb").args(initdb).arg("--pgdata").arg(server.data()));
        server
    }

    /// A standby of this server, which does not run yet. `name` is its name among those that commits wait for.
    pub(super) fn standby(&self, name: &str) -> Self {
        let settings: Vec<&str> = self.settings.iter().map(String::as_str).collect();
        let standby = Self::in_new_folder(&settings);
        let mut copy = standby.program("pg_basebackup");
        copy.args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--username", SERVICE_USER, "--dbname"]);
        copy.arg(format!("application_name={name}"))
            .arg("--host")
            .arg(&self.folder)
            .arg("--pgdata")
            .arg(standby.data());
        run(&mut copy);
        standby
    }

    fn in_new_folder(settings: &[&str]) -> Self {
        let folder = tempfile::Builder::new().prefix("outlay-pg-").tempdir().unwrap().keep();
        // The server's user must reach what the tests' user made.
        if is_root() {
            run(Command::new("chown").arg(SERVICE_USER).arg(&folder));
        }
        let settings = settings.iter().copied().map(str::to_owned).collect();
        Self { folder, port: USUAL_PORT, settings, watched: None }
    }

    /// Starts it, and waits until it answers.
    pub(super) fn start(&mut self) {
        self.spawn();
        self.wait();
    }

    /// Starts it.
    pub(super) fn spawn(&mut self) {
        let mut server = self.program("postgres");
        server.arg("-D").arg(self.data()).arg("-k").arg(&self.folder).arg("-p").arg(self.port.to_string());
        for setting in SETTINGS.into_iter().chain(self.settings.iter().map(String::as_str)) {
            server.args(["-c", setting]);
        }
        self.watched = Some(watched(&self.folder, &server, "QUIT"));
    }

    /// Waits until it answers.
    pub(super) fn wait(&self) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for _ in 0..TRIES {
                if self.config("postgres").connect(NoTls).await.is_ok() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
            panic!("PostgreSQL does not start: {}", self.log());
        });
    }

    /// How to connect to one of its databases.
    pub(super) fn config(&self, database: &str) -> Config {
        let mut config = Config::new();
        config.host_path(&self.folder).port(self.port).user(SERVICE_USER).dbname(database);
        config
    }

    /// Its data folder.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What it said.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// A program of PostgreSQL, as the servers' user.
    pub(super) fn program(&self, name: &str) -> Command {
        let mut command = as_server(&programs().join(name));
        command.current_dir(&self.folder);
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(shell) = self.watched.take() {
            end(shell);
        }
    }
}

/// Runs a program until this one ends, or ends it, by this signal: then its folder goes. What it says is in the folder's
/// `log`.
pub(super) fn watched(folder: &Path, program: &Command, signal: &str) -> Child {
    // The shell waits for the end of its input, which comes with the end of this program, and then cleans up: also what
    // stands still.
    let watch = "trap '' INT TERM; folder=$1; signal=$2; shift 2; \"$@\" </dev/null >>\"$folder/log\" 2>&1 & server=$!; cat >/dev/null; \
                 kill -CONT $server 2>/dev/null; kill -$signal $server 2>/dev/null; wait $server; rm -rf \"$folder\"";
    let mut shell = Command::new("sh");
    shell.args(["-c", watch, "sh"]).arg(folder).arg(signal).arg(program.get_program()).args(program.get_args());
    shell.current_dir(folder).stdin(Stdio::piped()).spawn().unwrap()
}

pub(super) fn end(mut shell: Child) {
    drop(shell.stdin.take());
    let _ = shell.wait();
}

/// A program as the servers' user.
pub(super) fn as_server(program: &Path) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    let user = [format!("--reuid={SERVICE_USER}"), format!("--regid={SERVICE_USER}"), "--init-groups".to_owned()];
    command.args(user).arg(program);
    command
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The folder of the newest PostgreSQL that is there.
pub(super) fn programs() -> PathBuf {
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

pub(super) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

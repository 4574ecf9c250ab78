//! A pgbouncer of the tests' own: each transaction may get another connection to the server.

use std::path::{Path, PathBuf};
use std::process::Child;

use tokio_postgres::config::Host;
use tokio_postgres::{Config, NoTls};

use super::cluster::block_on;
use super::server::{SERVICE_USER, as_server, end, watched};

/// Where Debian puts it.
const PROGRAM: &str = "/usr/sbin/pgbouncer";
/// Fewer than a node has connections, so that they are shared.
const CONNECTIONS: u32 = 3;
const PORT: u16 = 6432;

pub(super) struct Bouncer {
    /// How to connect through it.
    pub(super) config: Config,
    watched: Option<Child>,
}

impl Bouncer {
    /// Stands before the server of `config`.
    pub(super) fn before(config: &Config) -> Self {
        assert!(
            Path::new(PROGRAM).exists(),
            "this test needs {PROGRAM}: `apt-get install pgbouncer`, or run `cargo xtask test`, which installs it"
        );
        let [Host::Unix(server)] = config.get_hosts() else { panic!("the tests' server has a Unix socket") };
        let folder: PathBuf = tempfile::Builder::new().prefix("outlay-bouncer-").tempdir().unwrap().keep();
        let port = config.get_ports().first().copied().unwrap_or(5432);
        let settings = format!(
            "[databases]\n* = host={server} port={port} user={SERVICE_USER}\n\
             [pgbouncer]\npool_mode = transaction\ndefault_pool_size = {CONNECTIONS}\nauth_type = any\n\
             listen_addr =\nlisten_port = {PORT}\nunix_socket_dir = {folder}\nunix_socket_mode = 0777\n",
            server = server.display(),
            folder = folder.display(),
        );
        std::fs::write(folder.join("settings.ini"), settings).unwrap();
        std::fs::set_permissions(&folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
        let mut program = as_server(Path::new(PROGRAM));
        program.arg(folder.join("settings.ini"));
        let watched = watched(&folder, &program, "TERM");
        let mut through = Config::new();
        through.host_path(&folder).port(PORT).user(SERVICE_USER).dbname(config.get_dbname().unwrap());
        block_on(async {
            let mut tries = 0;
            while through.connect(NoTls).await.is_err() {
                tries += 1;
                let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
                assert!(tries < 1_200, "pgbouncer does not start: {}", log());
                tokio::time::sleep(std::time::Duration::from_millis(25)).await;
            }
        });
        Self { config: through, watched: Some(watched) }
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        if let Some(shell) = self.watched.take() {
            end(shell);
        }
    }
}

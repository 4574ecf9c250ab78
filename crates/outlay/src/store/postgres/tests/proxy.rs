//! A Unix socket before the server's, which cuts a connection exactly around its COMMIT.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// The name of a server's socket in its folder.
const SOCKET: &str = ".s.PGSQL.5432";
/// COMMIT as a client sends it, and as the server answers it.
const COMMIT: &[u8] = b"Q\0\0\0\x0bcommit\0";
const COMMITTED: &[u8] = b"COMMIT\0";

/// Where the next connection that commits is cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The server never sees COMMIT.
    BeforeCommit = 1,
    /// The server has committed, and the client never hears of it.
    AfterCommit = 2,
    /// The same, and the connection stays open: the client waits.
    Silent = 3,
}

pub(super) struct Proxy {
    /// How to connect through it.
    pub(super) config: Config,
    armed: Arc<AtomicU8>,
    folder: tempfile::TempDir,
}

impl Proxy {
    /// Stands before the server of `config`, for as long as the test program runs.
    pub(super) fn before(config: &Config) -> Self {
        let [Host::Unix(server)] = config.get_hosts() else { panic!("the tests' server has a Unix socket") };
        let server = server.join(SOCKET);
        let folder = tempfile::Builder::new().prefix("outlay-proxy-").tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join(SOCKET)).unwrap();
        let armed = Arc::new(AtomicU8::new(0));
        let of_connections = Arc::clone(&armed);
        let accept = move || {
            for client in listener.incoming() {
                carry(client.unwrap(), &server, &of_connections);
            }
        };
        std::thread::Builder::new().name("proxy".to_owned()).spawn(accept).unwrap();
        let mut through = Config::new();
        through.host_path(folder.path()).user(config.get_user().unwrap()).dbname(config.get_dbname().unwrap());
        Self { config: through, armed, folder }
    }

    pub(super) fn arm(&self, cut: Cut) {
        self.armed.store(cut as u8, Ordering::SeqCst);
    }

    /// Has nobody connect any more.
    pub(super) fn hide(&self) {
        std::fs::rename(self.folder.path().join(SOCKET), self.folder.path().join("hidden")).unwrap();
    }

    /// Takes that back.
    pub(super) fn show(&self) {
        std::fs::rename(self.folder.path().join("hidden"), self.folder.path().join(SOCKET)).unwrap();
    }

    /// Whether what it was armed for has happened.
    pub(super) fn has_cut(&self) -> bool {
        self.armed.load(Ordering::SeqCst) == 0
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Carries bytes both ways, in a thread each.
fn carry(client: UnixStream, server: &PathBuf, armed: &Arc<AtomicU8>) {
    let server = UnixStream::connect(server).unwrap();
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut from_server, mut to_client) = (server, client);
    let armed = Arc::clone(armed);
    let swallowing = Arc::new(AtomicU8::new(0));
    let swallows = Arc::clone(&swallowing);
    let there = move || {
        let mut bytes = vec![0; 1 << 20];
        while let Ok(count @ 1..) = from_client.read(&mut bytes) {
            let bytes = &bytes[..count];
            if let Some(at) = find(bytes, COMMIT) {
                let before = Cut::BeforeCommit as u8;
                if armed.compare_exchange(before, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                    let _ = to_server.write_all(&bytes[..at]);
                    break;
                }
                let after = Cut::AfterCommit as u8;
                if armed.compare_exchange(after, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                    swallowing.store(1, Ordering::SeqCst);
                }
                let silent = Cut::Silent as u8;
                if armed.compare_exchange(silent, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
                    swallowing.store(2, Ordering::SeqCst);
                }
            }
            if to_server.write_all(bytes).is_err() {
                break;
            }
        }
        if swallowing.load(Ordering::SeqCst) == 0 {
            let _ = to_server.shutdown(Shutdown::Both);
            let _ = from_client.shutdown(Shutdown::Both);
        }
    };
    let back = move || {
        let mut bytes = vec![0; 1 << 20];
        let mut swallowed = Vec::new();
        while let Ok(count @ 1..) = from_server.read(&mut bytes) {
            let bytes = &bytes[..count];
            let swallows = swallows.load(Ordering::SeqCst);
            if swallows > 0 {
                swallowed.extend_from_slice(bytes);
                if swallows == 1 && find(&swallowed, COMMITTED).is_some() {
                    break;
                }
            } else if to_client.write_all(bytes).is_err() {
                break;
            }
        }
        let _ = from_server.shutdown(Shutdown::Both);
        let _ = to_client.shutdown(Shutdown::Both);
    };
    std::thread::Builder::new().name("proxy-there".to_owned()).spawn(there).unwrap();
    std::thread::Builder::new().name("proxy-back".to_owned()).spawn(back).unwrap();
}

//! A Unix socket before the server's, which reads the protocol: it cuts a connection exactly around its COMMIT, or holds
//! back what a transaction writes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::Host;

/// The name of a server's socket in its folder.
const SOCKET: &str = ".s.PGSQL.5432";
/// How the server answers COMMIT.
const COMMITTED: &[u8] = b"COMMIT\0";

/// What becomes of the next connection that commits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// The server never sees COMMIT.
    BeforeCommit = 1,
    /// The server has committed, and the client never hears of it.
    AfterCommit = 2,
    /// The same, and the connection stays open: the client waits.
    Silent = 3,
    /// The server sees nothing of what the transaction writes until [`Proxy::release`]: it has read, and stands still.
    Held = 4,
}

/// While a transaction is held.
const HOLDS: u8 = 5;

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

    /// Whether a transaction is held.
    pub(super) fn holds(&self) -> bool {
        self.armed.load(Ordering::SeqCst) == HOLDS
    }

    /// Lets the transaction go on that is held.
    pub(super) fn release(&self) {
        let released = self.armed.compare_exchange(HOLDS, 0, Ordering::SeqCst, Ordering::SeqCst);
        assert!(released.is_ok(), "nothing is held");
    }
}

/// What a client sends, as messages.
#[derive(Default)]
struct Messages {
    /// What is not yet a whole message.
    rest: Vec<u8>,
    /// The first message is the only one that does not begin with its kind.
    is_begun: bool,
    in_transaction: bool,
    /// The statements that the client prepared, by name.
    statements: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Messages {
    /// The next whole message.
    fn next(&mut self) -> Option<Vec<u8>> {
        let kind = usize::from(self.is_begun);
        let length = self.rest.get(kind..kind + 4)?;
        let length = kind + u32::from_be_bytes(length.try_into().unwrap()) as usize;
        if self.rest.len() < length {
            return None;
        }
        self.is_begun = true;
        let rest = self.rest.split_off(length);
        let message = std::mem::replace(&mut self.rest, rest);
        self.note(&message);
        Some(message)
    }

    fn note(&mut self, message: &[u8]) {
        match message.first() {
            Some(b'P') => {
                let mut texts = texts(message);
                let (name, sql) = (texts.next().unwrap(), texts.next().unwrap());
                self.statements.insert(name.to_owned(), sql.to_owned());
            }
            Some(b'Q') => self.in_transaction = texts(message).next().unwrap().starts_with(b"begin"),
            _ => {}
        }
    }

    /// Whether a message asks for something that a transaction writes.
    fn writes(&self, message: &[u8]) -> bool {
        let sql = || self.statements.get(texts(message).nth(1).unwrap());
        self.in_transaction && message.first() == Some(&b'B') && sql().is_some_and(|sql| !sql.starts_with(b"select"))
    }
}

/// The texts that a message begins with.
fn texts(message: &[u8]) -> impl Iterator<Item = &[u8]> {
    message[5..].split(|byte| *byte == 0)
}

fn commits(message: &[u8]) -> bool {
    message.first() == Some(&b'Q') && texts(message).next() == Some(b"commit")
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// Waits while a transaction is held, which from now on is this one.
fn hold(armed: &AtomicU8) {
    if armed.compare_exchange(Cut::Held as u8, HOLDS, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
        while armed.load(Ordering::SeqCst) == HOLDS {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Carries bytes both ways, in a thread each.
fn carry(client: UnixStream, server: &PathBuf, armed: &Arc<AtomicU8>) {
    let server = UnixStream::connect(server).unwrap();
    let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    let (mut from_server, mut to_client) = (server, client);
    let (armed, held) = (Arc::clone(armed), Arc::clone(armed));
    let swallowing = Arc::new(AtomicU8::new(0));
    let swallows = Arc::clone(&swallowing);
    let takes = move |cut: Cut| armed.compare_exchange(cut as u8, 0, Ordering::SeqCst, Ordering::SeqCst).is_ok();
    let there = move || {
        let mut bytes = vec![0; 1 << 20];
        let mut messages = Messages::default();
        'carrying: while let Ok(count @ 1..) = from_client.read(&mut bytes) {
            messages.rest.extend_from_slice(&bytes[..count]);
            while let Some(message) = messages.next() {
                if messages.writes(&message) {
                    hold(&held);
                }
                if commits(&message) {
                    if takes(Cut::BeforeCommit) {
                        break 'carrying;
                    }
                    if takes(Cut::AfterCommit) {
                        swallowing.store(1, Ordering::SeqCst);
                    }
                    if takes(Cut::Silent) {
                        swallowing.store(2, Ordering::SeqCst);
                    }
                }
                if to_server.write_all(&message).is_err() {
                    break 'carrying;
                }
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

//! The server under test and the words to ask it with. This file holds what a test needs beside them: threads that start
//! at once, deadlines, seeds.

mod asks;
mod events;
pub(crate) mod exact;
mod hook;
mod nodes;
mod patroni;
mod postgres;
#[path = "../../src/store/postgres/tests/server.rs"]
#[allow(dead_code, reason = "the store's own tests ask for more of it")]
mod postgres_server;
#[path = "../postgres/processes.rs"]
mod processes;
mod server;
#[allow(dead_code, reason = "each test asks for what it needs of it")]
mod smtp;
mod tls;
mod wire;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

pub(crate) use asks::{Asks, With, ai, ai_run, api, api_run, encoded, of};
pub(crate) use events::{Event, Events};
pub(crate) use exact::{Json, decimal};
pub(crate) use hook::{Does, HookReceiver, Message};
pub(crate) use nodes::Nodes;
pub(crate) use patroni::Patroni;
pub(crate) use postgres::{Database, Pair};
pub(crate) use server::{ADMIN, MASTER, Ran, Server, Setup, outlay, outlay_with_environment};
pub(crate) use smtp::SmtpReceiver;
pub(crate) use tls::{TlsFront, certificate};
pub(crate) use wire::{Connection, Reply};

/// What the servers of PostgreSQL are waited for with.
mod cluster {
    pub(super) fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
    }
}

/// How long anything may take that is waited for; only something broken takes as long.
const PATIENCE: Duration = Duration::from_mins(1);

/// Runs `work` in as many threads, all let go at once; what each gave, in their order.
pub(crate) fn at_once<T: Send>(threads: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let barrier = Barrier::new(threads);
    thread::scope(|scope| {
        let start = |index| {
            let (barrier, work) = (&barrier, &work);
            scope.spawn(move || {
                barrier.wait();
                work(index)
            })
        };
        let started: Vec<_> = (0..threads).map(start).collect();
        started.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

/// Does something at the end of a scope, be it a good end or a failure.
struct AtEnd<F: FnMut()>(F);

impl<F: FnMut()> Drop for AtEnd<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Does this at the end of the scope, be it a good end or a failure.
pub(crate) fn at_end(end: impl FnMut()) -> impl Drop {
    AtEnd(end)
}

/// Raises a flag at the end of a scope, so that the threads that wait for it end too when a test fails.
pub(crate) fn raised_at_end(flag: &AtomicBool) -> impl Drop {
    AtEnd(|| flag.store(true, Ordering::Relaxed))
}

/// Asks until the answer is yes; fails after a deadline that only something broken meets.
#[track_caller]
pub(crate) fn until(what: &str, mut yes: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !yes() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What time it is here; the server's clock is the same, unless a test set it.
pub(crate) fn now() -> jiff::Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    jiff::Timestamp::from_nanosecond(i128::try_from(since.as_nanos()).unwrap()).unwrap()
}

/// The seed of a random test: `OUTLAY_SEED`, or one drawn now; printed, so that a failure can be run again.
pub(crate) fn seed(test: &str) -> u64 {
    let given = std::env::var("OUTLAY_SEED").ok().and_then(|text| text.parse().ok());
    let seed = given.unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    });
    eprintln!("{test}: OUTLAY_SEED={seed}");
    seed
}

/// The random stream of one of a test's threads.
pub(crate) fn random(seed: u64, stream: usize) -> rand_pcg::Pcg64 {
    rand_pcg::Pcg64::new(u128::from(seed), stream as u128)
}

/// Whether a file under `folder` holds these bytes.
pub(crate) fn found_in_files(folder: &Path, bytes: &[u8]) -> Option<PathBuf> {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap().map_while(Result::ok) {
            let path = entry.path();
            let kind = entry.file_type().unwrap();
            if kind.is_dir() {
                open.push(path);
            } else if kind.is_file() && fs::read(&path).is_ok_and(|read| read.windows(bytes.len()).any(|w| w == bytes))
            {
                return Some(path);
            }
        }
    }
    None
}

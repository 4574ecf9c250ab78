//! Many seeds, on several threads.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::{Failure, run_checked};
use crate::fault::Sometimes;

/// How often runs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A run takes a moment; one that is seen so often waits for what never comes, since nobody else is there to bring it.
const LOOKS_MAX: u32 = 180;

/// What many runs leave.
#[derive(Debug, Default)]
pub struct Many {
    /// How many seeds were run.
    pub seeds: u64,
    /// What was seen in them.
    pub sometimes: Sometimes,
    /// What was wrong; after the first failure no more seeds are begun.
    pub failures: Vec<Failure>,
}

/// Runs the cases of these seeds, each cut off after so many turns if there are more. It ends the program when a run gets
/// stuck, after saying which.
pub fn many(seeds: Range<u64>, threads: usize, turns: Option<usize>) -> Many {
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new(Many::default());
    let (running, over) = channel::<()>();
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            let running = running.clone();
            scope.spawn(|| {
                let _running = running;
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = run_checked(seed, turns);
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.seeds += 1;
                    match result {
                        Ok(report) => all.sometimes.add(&report.sometimes),
                        Err(failure) => all.failures.push(*failure),
                    }
                    if !all.failures.is_empty() {
                        return;
                    }
                }
            });
        }
        drop(running);
        watch(&over);
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

/// The runs of now, each with its seed and how often it was seen. That is counted, not timed, so that a program that stood
/// still for a while is not thought to be stuck.
static RUNNING: Mutex<Vec<(ThreadId, u64, u32)>> = Mutex::new(Vec::new());

/// Runs a case of this seed under the eyes of [`watch`].
pub(super) fn watched<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    let me = thread::current().id();
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push((me, seed, 0));
    let result = run();
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|(thread, ..)| *thread != me);
    result
}

/// Looks for a run that is stuck until all runs are over.
fn watch(over: &Receiver<()>) {
    while over.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter_mut().for_each(|(.., looks)| *looks += 1);
        if let Some((_, seed, _)) = running.iter().find(|(.., looks)| *looks > LOOKS_MAX) {
            eprintln!("seed {seed} is stuck: it waits for what never comes");
            eprintln!("replay: cargo run --release -p outlay-sim -- --seed {seed}");
            std::process::abort();
        }
    }
}

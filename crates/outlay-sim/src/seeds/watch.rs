//! Eyes on the runs of many threads: which of them is stuck, how far they are, and when it is time to stop.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::Duration;

use super::Options;

/// How often runs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The runs of now, each with its seed and how often it was seen. That is counted, not timed, so that a program that stood
/// still for a while is not thought to be stuck.
static RUNNING: Mutex<Vec<(ThreadId, u64, u64)>> = Mutex::new(Vec::new());

/// Runs a case of this seed under the eyes of [`watch`].
pub(super) fn watched<T>(seed: u64, run: impl FnOnce() -> T) -> T {
    let me = thread::current().id();
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).push((me, seed, 0));
    let result = run();
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner).retain(|(thread, ..)| *thread != me);
    result
}

/// Looks for a run that is stuck until all runs are over; says how far they are, and has them stop, when it is time.
pub(super) fn watch(
    over: &Receiver<()>,
    options: &Options,
    run: &AtomicU64,
    stop: &AtomicBool,
    replay: impl Fn(u64) -> String,
) {
    let mut looks = 0;
    while over.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
        looks += 1;
        let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
        running.iter_mut().for_each(|(.., looks)| *looks += 1);
        if let Some((_, seed, _)) = running.iter().find(|(.., looks)| *looks > options.stuck_after.as_secs()) {
            eprintln!("seed {seed} is stuck: it waits for what never comes");
            eprintln!("replay: {}", replay(*seed));
            std::process::abort();
        }
        drop(running);
        if options.says_every.is_some_and(|every| looks % every.as_secs().max(1) == 0) {
            let count = run.load(Ordering::Relaxed);
            println!("{count} seeds, {} a second", count / looks);
        }
        if options.stop_after.is_some_and(|after| looks >= after.as_secs()) {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

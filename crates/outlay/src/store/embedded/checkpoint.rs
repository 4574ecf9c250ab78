//! Copies the log into the file beside the writer, so that the log starts anew instead of growing.
//!
//! A thread with its own connection copies while the writer goes on, and what came in between again; then the writer copies
//! the little that is left, and its next transaction begins the log again.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::tables::File;
use crate::store::StoreError;

/// Bytes of a page of the log.
const PAGE_BYTES: u64 = 4_096;
/// Pages in the log that are worth a copy where space may run out: what is not copied needs its space once more.
const WORTH_WHEN_SHORT: i64 = 1_000;
/// Pages that the writer copies itself when the log is cut: some milliseconds.
const WORTH_BEFORE_CUT: i64 = 500;
/// Pages that are left to the writer after the thread has copied. While the writer copies and syncs, everybody waits.
const LEFT_TO_WRITER: i64 = 500;
/// How often the thread copies: until so few are left, since each time fewer came in between, and often enough that none of
/// its syncs is left to the writer that is slow however little it writes. On ext4 one of the two behind a long one takes some
/// 70 ms, those that follow some 5 ms.
const PASSES: std::ops::RangeInclusive<u32> = 3..=6;
/// How long the writer waits for readers to leave the log when it is cut; a read lasts at most twice as long.
const CUT_WAIT: Duration = Duration::from_millis(25);
/// How long a connection waits for another otherwise: what rusqlite sets.
const USUAL_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Checkpointer {
    wake: Option<SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    outcome: Arc<Mutex<Outcome>>,
    /// Pages in the log after the writer's last commit.
    pages: Arc<AtomicI64>,
    /// Pages that were in the log when it was last copied, as far as the log has not started anew.
    copied: i64,
    /// Pages in the log that are worth a copy.
    worth: i64,
}

#[derive(Debug, Default)]
struct Outcome {
    /// The thread has copied since the writer last looked.
    copied: bool,
    running: bool,
    problem: Option<String>,
}

impl Checkpointer {
    /// Begins to watch the log of the writer's connection.
    pub(super) fn start(file: &File, writer: &mut Connection, threaded: bool, worth: i64) -> Result<Self, StoreError> {
        let pages = Arc::new(AtomicI64::new(0));
        let noted = Arc::clone(&pages);
        writer.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            noted.store(pages.into(), Ordering::Relaxed);
            Ok(())
        }))?;
        let outcome = Arc::new(Mutex::new(Outcome::default()));
        let mut checkpointer =
            Self { wake: None, thread: None, outcome: Arc::clone(&outcome), pages, copied: 0, worth };
        if threaded {
            let connection = file.checkpointer()?;
            let (wake, woken) = sync_channel(1);
            let pages = Arc::clone(&checkpointer.pages);
            checkpointer.thread = spawn("outlay-checkpoint", move || run(&connection, &woken, &pages, &outcome));
            checkpointer.wake = Some(wake);
        }
        Ok(checkpointer)
    }

    /// Looks at the log after a commit, and has it copied when it is long; where space may run out, a shorter one is.
    pub(super) fn after_commit(&mut self, writer: &Connection, short: bool) -> rusqlite::Result<()> {
        let pages = self.pages.load(Ordering::Relaxed);
        if pages < self.copied {
            self.copied = 0;
        }
        let worth = if short { self.worth.min(WORTH_WHEN_SHORT) } else { self.worth };
        let Some(wake) = &self.wake else {
            if pages - self.copied >= worth {
                self.copy_now(writer)?;
            }
            return Ok(());
        };
        let mut outcome = self.outcome.lock();
        if std::mem::take(&mut outcome.copied) {
            drop(outcome);
            self.copy_now(writer)?;
        } else if !outcome.running && pages - self.copied >= worth {
            // A full channel means that the thread is awake already.
            outcome.running = wake.try_send(()).is_ok();
        }
        Ok(())
    }

    /// Copies the log on the writer's connection.
    pub(super) fn copy_now(&mut self, writer: &Connection) -> rusqlite::Result<()> {
        if let Some(copied) = passive(writer)? {
            self.copied = copied;
        }
        Ok(())
    }

    /// Cuts the log to nothing, so that what it says of rows as they were before is gone from the disk too. Gives whether it
    /// did: not while readers are in the way, nor while much is left to copy, which the thread then begins with.
    pub(super) fn cut(&mut self, writer: &Connection) -> rusqlite::Result<bool> {
        if self.pages.load(Ordering::Relaxed) - self.copied > WORTH_BEFORE_CUT
            && let Some(wake) = &self.wake
        {
            let mut outcome = self.outcome.lock();
            if std::mem::take(&mut outcome.copied) {
                drop(outcome);
                self.copy_now(writer)?;
            } else if !outcome.running {
                outcome.running = wake.try_send(()).is_ok();
            }
            return Ok(false);
        }
        writer.busy_timeout(CUT_WAIT)?;
        let busy = writer.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get::<_, i64>(0));
        writer.busy_timeout(USUAL_WAIT)?;
        match busy {
            Ok(0) => {
                self.pages.store(0, Ordering::Relaxed);
                self.copied = 0;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Bytes that the file may still grow by when the log is copied.
    pub(super) fn uncopied_bytes(&self) -> u64 {
        let pages = self.pages.load(Ordering::Relaxed);
        let copied = if pages < self.copied { 0 } else { self.copied };
        u64::try_from(pages - copied).unwrap_or(0).saturating_mul(PAGE_BYTES)
    }

    /// The count of pages in the log, as it goes on.
    pub(super) fn pages(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.pages)
    }

    /// What went wrong in the thread; after that, nothing may be acknowledged.
    pub(super) fn problem(&self) -> Option<String> {
        self.outcome.lock().problem.clone()
    }

    /// Ends the thread.
    pub(super) fn stop(&mut self) {
        self.wake = None;
        if let Some(thread) = self.thread.take() {
            // It only fails by a panic, which was reported when it happened.
            let _ = thread.join();
        }
    }
}

impl Drop for Checkpointer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(connection: &Connection, woken: &Receiver<()>, pages: &AtomicI64, outcome: &Mutex<Outcome>) {
    while woken.recv().is_ok() {
        let result = nearly_all(connection, pages);
        let mut outcome = outcome.lock();
        outcome.running = false;
        match result {
            Ok(copied) => outcome.copied = copied.is_some(),
            Err(error) => outcome.problem = Some(format!("the log could not be copied into the file: {error}")),
        }
    }
}

/// Copies until little is left; gives what [`passive`] gives.
fn nearly_all(connection: &Connection, pages: &AtomicI64) -> rusqlite::Result<Option<i64>> {
    let mut copied = passive(connection)?;
    for pass in 1..*PASSES.end() {
        let Some(done) = copied else { break };
        if pass >= *PASSES.start() && pages.load(Ordering::Relaxed) - done <= LEFT_TO_WRITER {
            break;
        }
        copied = passive(connection)?;
    }
    Ok(copied)
}

/// Copies what no reader needs to stay in the log; gives the pages that are copied, and nothing where another copies or the
/// disk is full. A log that could not be copied for want of space is as good as before: no sync has failed.
fn passive(connection: &Connection) -> rusqlite::Result<Option<i64>> {
    let copied = connection.query_row("pragma wal_checkpoint(passive)", [], |row| row.get::<_, i64>(2));
    match copied {
        Ok(copied) => Ok((copied >= 0).then_some(copied)),
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) => Ok(None),
        Err(error) => Err(error),
    }
}

/// A thread with a name.
pub(super) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Option<std::thread::JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| tracing::error!(%error, name, "a thread could not be started"))
        .ok()
}

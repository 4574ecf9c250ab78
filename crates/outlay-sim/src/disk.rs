//! A simulated disk under the real `SQLite`: a VFS over plain memory that can be crashed at any write.
//!
//! A [`SimDisk`] keeps two things of each file: what a reader sees, and what would be there after a power loss. Between
//! the two stand the unsynced changes in their order, so that a crash can keep any part of them that a real disk could
//! have kept: sectors of 512 bytes are written whole or not at all, sectors of one write are independent of each other,
//! a later state of a sector is never older than an earlier one. Directory entries are volatile in the same way.
//!
//! The disk knows files and bytes. It does not know what is in them (but for the salts that it leaves out of its trace),
//! when a run crashes, or what must be true afterwards: its callers decide and check that.
//!
//! Everything follows from the seed and the calls. One exception lies in `SQLite` itself, whose random numbers (the salts
//! of a write-ahead log, `random()`) come from one generator for the whole process: the trace leaves them out, and a
//! program with one simulation at a time makes them follow a seed by [`seed_sqlite_randomness`].
//!
//! ```
//! use outlay_sim::disk::{Crash, Options, SimDisk};
//! use rusqlite::{Connection, OpenFlags};
//!
//! let disk = SimDisk::new(Options::seeded(7));
//! let open = |disk: &SimDisk| {
//!     let flags = OpenFlags::default();
//!     Connection::open_with_flags_and_vfs("store.db", flags, disk.vfs_name().as_str())
//! };
//! let connection = open(&disk)?;
//! connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1);")?;
//!
//! let disk = disk.crash(Crash::Power, 42);
//! let count: i64 = open(&disk)?.query_row("SELECT count(*) FROM t", [], |row| row.get(0))?;
//! assert_eq!(count, 1);
//! # Ok::<(), rusqlite::Error>(())
//! ```

mod crash;
mod files;
mod locks;
mod shm;
mod state;
mod trace;
mod vfs;
mod volume;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

pub use vfs::seed_sqlite_randomness;

use state::{Change, State};
use vfs::Shared;

/// The unit that a disk writes whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// What the disk is like; it stays the same over crashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The source of every random choice of the disk.
    pub seed: u64,
    /// Tells `SQLite` that a write never harms bytes beside it, as its VFS for Linux does by default. Without it `SQLite`
    /// fills the sector after each commit, which makes more and longer writes.
    pub powersafe_overwrite: bool,
    /// Tells `SQLite` that a file never grows before its new bytes are there, and keeps to it.
    pub safe_append: bool,
    /// What the disk says its sector is, in bytes; a crash still tears by [`SECTOR_BYTES`].
    pub reported_sector_bytes: u32,
}

impl Options {
    /// An honest disk that promises nothing, with sectors of 4096 bytes.
    pub fn seeded(seed: u64) -> Self {
        Self { seed, powersafe_overwrite: false, safe_append: false, reported_sector_bytes: 4096 }
    }
}

/// What goes wrong, and when. Calls are counted from 1 over the life of a disk, see [`Calls`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    crash_at: Option<u64>,
    fail_at: Option<u64>,
    fail_write_at: Option<u64>,
    fail_sync_at: Option<u64>,
    fail_read_at: Option<u64>,
    space_bytes: Option<u64>,
}

impl Faults {
    /// Nothing goes wrong.
    pub fn none() -> Self {
        Self::default()
    }

    /// The machine stops in the middle of the mutating call with this number ([`SimDisk::writes`]). It and every later
    /// call is answered with `SQLITE_IOERR`, until [`SimDisk::crash`] makes the disk that is there afterwards.
    #[must_use]
    pub fn crash_at(self, call: u64) -> Self {
        Self { crash_at: Some(call), ..self }
    }

    /// The mutating call with this number fails, once, with the error of its kind.
    #[must_use]
    pub fn fail_at(self, call: u64) -> Self {
        Self { fail_at: Some(call), ..self }
    }

    /// The write with this number ([`Calls::file_writes`]) fails, once, with `SQLITE_IOERR_WRITE`; a part of it may be there.
    #[must_use]
    pub fn fail_write_at(self, write: u64) -> Self {
        Self { fail_write_at: Some(write), ..self }
    }

    /// The sync with this number ([`Calls::file_syncs`]) fails, once, with `SQLITE_IOERR_FSYNC`. As on Linux, readers go on
    /// seeing all that was written, a part of it is durable, and no later sync makes the rest durable.
    #[must_use]
    pub fn fail_sync_at(self, sync: u64) -> Self {
        Self { fail_sync_at: Some(sync), ..self }
    }

    /// The read with this number ([`Calls::file_reads`]) fails, once, with `SQLITE_IOERR_READ`.
    #[must_use]
    pub fn fail_read_at(self, read: u64) -> Self {
        Self { fail_read_at: Some(read), ..self }
    }

    /// A write by which all files together would grow beyond this many bytes is cut off there: `SQLITE_FULL`.
    #[must_use]
    pub fn no_space(self, limit_bytes: u64) -> Self {
        Self { space_bytes: Some(limit_bytes), ..self }
    }
}

/// How the machine stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The power goes: of what was not synced, a part chosen by the seed is there.
    Power,
    /// The power goes, and nothing of what was not synced is there.
    PowerAllLost,
    /// The process is killed and the system lives on: all that was written is there, though not yet durable.
    Kill,
}

impl Crash {
    /// All of them, for a test that goes through them.
    pub const ALL: [Self; 3] = [Self::Power, Self::PowerAllLost, Self::Kill];
}

/// How often the disk was called since it was made, refused calls included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Calls {
    /// Writes, syncs, truncations and deletions: all that can change what a crash leaves.
    pub mutating: u64,
    /// Writes alone.
    pub file_writes: u64,
    /// Syncs of a file alone.
    pub file_syncs: u64,
    /// Reads.
    pub file_reads: u64,
}

/// A handle of a simulated disk. Clones are handles of the same disk; the VFS goes with the last handle and connection.
#[derive(Clone)]
pub struct SimDisk {
    shared: Arc<Shared>,
}

impl SimDisk {
    /// An empty disk, known to `SQLite` under a name of its own.
    pub fn new(options: Options) -> Self {
        Self::with_state(State::new(options))
    }

    /// The name of the VFS, for `Connection::open_with_flags_and_vfs`. Unique in this process, and not part of the trace.
    pub fn vfs_name(&self) -> String {
        self.shared.vfs_name()
    }

    /// Replaces the plan of what goes wrong.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().set_faults(faults);
    }

    /// The number of the last mutating call: run once to learn n, then crash at 1 to n.
    pub fn writes(&self) -> u64 {
        self.calls().mutating
    }

    /// All counters.
    pub fn calls(&self) -> Calls {
        self.shared.lock().calls()
    }

    /// True from the moment of a crash on; this disk then answers nothing any more.
    pub fn is_crashed(&self) -> bool {
        self.shared.lock().is_crashed()
    }

    /// What `SQLite` takes for the current time, in milliseconds since 1970 (UTC).
    pub fn set_time(&self, unix_ms: i64) {
        self.shared.lock().set_time(unix_ms);
    }

    /// A hash of every call so far: what, where, which bytes, which answer.
    pub fn trace_hash(&self) -> u64 {
        self.shared.lock().trace_hash()
    }

    /// The machine stops: this disk answers nothing any more, and the one that is there afterwards is returned.
    ///
    /// Its open connections get `SQLITE_IOERR` from then on and can be closed at any time. The new disk has its own VFS
    /// name, counts its calls from 0 and has no faults planned; its choices follow from `seed`.
    #[must_use]
    pub fn crash(&self, crash: Crash, seed: u64) -> Self {
        let mut state = self.shared.lock();
        state.stop();
        let after = state.after(crash, seed, None);
        drop(state);
        Self::with_state(after)
    }

    /// The disk that a crash at this moment would leave, while this one runs on.
    #[must_use]
    pub fn crash_image(&self, crash: Crash, seed: u64) -> Self {
        Self::with_state(self.shared.lock().after(crash, seed, None))
    }

    /// Runs `scenario` and shows each of its mutating calls on this disk to `check` before it is carried out.
    ///
    /// So one run covers a crash at every call: `check` takes a [`CrashPoint::crash`], opens it and compares. What it
    /// shares with the scenario (what was acknowledged so far) must not be locked while `SQLite` is called. A panic in
    /// `check` stops this disk, so that the scenario ends, and is raised again at the end.
    pub fn probe<R>(&self, check: impl FnMut(&CrashPoint<'_>) + Send + 'static, scenario: impl FnOnce() -> R) -> R {
        *self.shared.probe() = Some(Probe { check: Box::new(check), panic: None });
        let result = catch_unwind(AssertUnwindSafe(scenario));
        let probe = self.shared.probe().take();
        if let Some(panic) = probe.and_then(|probe| probe.panic) {
            resume_unwind(panic);
        }
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// The bytes that may still be written; more than anybody needs where nothing limits them.
    pub fn free_bytes(&self) -> u64 {
        self.shared.lock().free_bytes()
    }

    /// The names of all files, sorted.
    pub fn file_names(&self) -> Vec<String> {
        self.shared.lock().file_names()
    }

    /// What a reader sees in this file; `None` if there is no such file.
    pub fn file_bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.shared.lock().file_bytes(name)
    }

    /// What is durable of this file: there after any crash. `None` if its directory entry is not.
    pub fn durable_bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.shared.lock().durable_bytes(name)
    }

    /// Puts these bytes in the place of the file, durable at once, for tests that damage one. Meant for a file that no
    /// connection has open: a connection does not look again at pages that it has cached.
    pub fn set_file_bytes(&self, name: &str, bytes: Vec<u8>) {
        self.shared.lock().set_file_bytes(name, bytes);
    }

    /// Takes the file away, durable at once. False if there is none.
    pub fn remove_file(&self, name: &str) -> bool {
        self.shared.lock().remove_file(name)
    }

    fn with_state(state: State) -> Self {
        Self { shared: Shared::register(state) }
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SimDisk")
            .field("vfs_name", &self.vfs_name())
            .field("calls", &self.calls())
            .finish_non_exhaustive()
    }
}

/// The moment before a mutating call, as [`SimDisk::probe`] shows it.
pub struct CrashPoint<'a> {
    shared: &'a Shared,
    change: &'a Change,
    call: u64,
}

impl CrashPoint<'_> {
    /// The number of the call that is about to be carried out, as in [`Faults::crash_at`].
    pub fn call(&self) -> u64 {
        self.call
    }

    /// The disk that a crash in the middle of this call leaves.
    pub fn crash(&self, crash: Crash, seed: u64) -> SimDisk {
        SimDisk::with_state(self.shared.lock().after(crash, seed, Some(self.change)))
    }
}

impl fmt::Debug for CrashPoint<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CrashPoint").field("call", &self.call).finish_non_exhaustive()
    }
}

type Check = Box<dyn FnMut(&CrashPoint<'_>) + Send>;

struct Probe {
    check: Check,
    panic: Option<Box<dyn std::any::Any + Send>>,
}

//! One disk behind its lock: the files, who has them open, the plan of faults, and the count and trace of the calls.
//!
//! Answers as a VFS answers, with `SQLite`'s result codes, but knows neither pointers nor tables of functions.

use std::collections::BTreeMap;
use std::ffi::c_void;

use libsqlite3_sys as ffi;
use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::crash;
use super::files::{FileId, Files};
use super::locks::Held;
use super::shm::Shm;
use super::trace::{Call, Kind, Trace, without_salts};
use super::{Calls, Crash, Faults, Options};

/// A result code of `SQLite`.
pub(super) type Code = i32;

/// One opening of a file by one connection.
pub(super) type HandleId = u64;

/// The Julian day number of 1970-01-01T00:00Z in milliseconds, which is how `SQLite` counts time.
const UNIX_EPOCH_JULIAN_MS: i64 = 210_866_760_000_000;

/// A call that can change what a crash leaves.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Write { file: FileId, at: usize, bytes: Vec<u8> },
    Truncate { file: FileId, len: usize },
    Sync { file: FileId },
    Delete { name: String, durable: bool },
}

#[derive(Debug)]
struct Handle {
    file: FileId,
    held: Held,
    shm_mapped: bool,
    delete_on_close: Option<String>,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) options: Options,
    pub(super) files: Files,
    handles: BTreeMap<HandleId, Handle>,
    last_handle: HandleId,
    shm: BTreeMap<FileId, Shm>,
    faults: Faults,
    calls: Calls,
    trace: Trace,
    random: Pcg64,
    now_unix_ms: i64,
    stopped: bool,
    /// The call in the middle of which the machine stopped.
    in_flight: Option<Change>,
}

impl State {
    pub(super) fn new(options: Options) -> Self {
        Self::with_files(options, Files::default(), Pcg64::seed_from_u64(options.seed), Trace::default(), 0)
    }

    fn with_files(options: Options, files: Files, random: Pcg64, trace: Trace, now_unix_ms: i64) -> Self {
        Self {
            options,
            files,
            handles: BTreeMap::new(),
            last_handle: 0,
            shm: BTreeMap::new(),
            faults: Faults::none(),
            calls: Calls::default(),
            trace,
            random,
            now_unix_ms,
            stopped: false,
            in_flight: None,
        }
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub(super) fn calls(&self) -> Calls {
        self.calls
    }

    pub(super) fn is_crashed(&self) -> bool {
        self.stopped
    }

    pub(super) fn set_time(&mut self, unix_ms: i64) {
        self.now_unix_ms = unix_ms;
    }

    pub(super) fn julian_ms(&self) -> i64 {
        self.now_unix_ms.saturating_add(UNIX_EPOCH_JULIAN_MS)
    }

    pub(super) fn trace_hash(&self) -> u64 {
        self.trace.hash()
    }

    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }

    /// The disk after a crash now, or in the middle of `change`, or of the call at which it stopped.
    pub(super) fn after(&self, how: Crash, seed: u64, change: Option<&Change>) -> Self {
        let mut random = Pcg64::seed_from_u64(seed);
        let change = change.or(self.in_flight.as_ref());
        let files = crash::after(&self.files, change, how, self.options.safe_append, &mut random);
        let mut trace = self.trace;
        trace.note(Call::Crash, [how as u64, seed, 0, 0], &[]);
        Self::with_files(self.options, files, random, trace, self.now_unix_ms)
    }

    pub(super) fn file_names(&self) -> Vec<String> {
        self.files.seen.keys().cloned().collect()
    }

    pub(super) fn file_bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.files.find(name).map(|id| self.files.get(id).seen.clone())
    }

    pub(super) fn durable_bytes(&self, name: &str) -> Option<Vec<u8>> {
        self.files.durable.get(name).map(|id| self.files.get(*id).durable.clone())
    }

    pub(super) fn set_file_bytes(&mut self, name: &str, bytes: Vec<u8>) {
        self.files.replace(name, bytes);
    }

    pub(super) fn remove_file(&mut self, name: &str) -> bool {
        let found = self.files.delete(name, true);
        self.collect();
        found
    }

    pub(super) fn file_of(&self, handle: HandleId) -> FileId {
        self.handle(handle).file
    }

    pub(super) fn open(&mut self, name: Option<&str>, flags: i32) -> Result<HandleId, Code> {
        if self.stopped {
            return Err(ffi::SQLITE_IOERR);
        }
        let found = name.and_then(|name| self.files.find(name));
        let create = flags & ffi::SQLITE_OPEN_CREATE != 0;
        let exclusive = create && flags & ffi::SQLITE_OPEN_EXCLUSIVE != 0;
        let file = match found {
            Some(_) if exclusive => Err(ffi::SQLITE_CANTOPEN),
            Some(file) => Ok(file),
            None if create || name.is_none() => Ok(self.files.create(name, Kind::of_open(name, flags))),
            None => Err(ffi::SQLITE_CANTOPEN),
        };
        self.trace.note(Call::Open, [signed(flags), file.unwrap_or(0), 0, 0], name.unwrap_or("").as_bytes());
        let file = file?;
        let delete_on_close = name.filter(|_| flags & ffi::SQLITE_OPEN_DELETEONCLOSE != 0).map(str::to_owned);
        self.last_handle += 1;
        self.handles
            .insert(self.last_handle, Handle { file, held: Held::default(), shm_mapped: false, delete_on_close });
        Ok(self.last_handle)
    }

    /// Closes the file, also after a crash; what it held is free.
    pub(super) fn close(&mut self, handle: HandleId) {
        self.shm_unmap(handle);
        let closed = self.handles.remove(&handle);
        if self.stopped {
            return;
        }
        self.trace.note(Call::Close, [handle, 0, 0, 0], &[]);
        if let Some(name) = closed.and_then(|closed| closed.delete_on_close) {
            self.files.delete(&name, false);
        }
        self.collect();
    }

    /// Fills the buffer from the file, and beyond its end with zeros.
    pub(super) fn read(&mut self, handle: HandleId, at: usize, buffer: &mut [u8]) -> Code {
        if self.stopped {
            return ffi::SQLITE_IOERR;
        }
        self.calls.file_reads += 1;
        let file = self.file_of(handle);
        let code = if self.faults.fail_read_at == Some(self.calls.file_reads) {
            ffi::SQLITE_IOERR_READ
        } else {
            let there = self.files.get(file).seen.get(at..).unwrap_or(&[]);
            let count = there.len().min(buffer.len());
            let (filled, beyond) = buffer.split_at_mut(count);
            filled.copy_from_slice(there.get(..count).expect("no more than is there"));
            beyond.fill(0);
            if beyond.is_empty() { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_SHORT_READ }
        };
        self.trace.note(Call::Read, [file, at as u64, buffer.len() as u64, signed(code)], &[]);
        code
    }

    pub(super) fn size(&mut self, handle: HandleId) -> Result<usize, Code> {
        if self.stopped {
            return Err(ffi::SQLITE_IOERR);
        }
        let file = self.file_of(handle);
        let len = self.files.get(file).seen.len();
        self.trace.note(Call::Size, [file, len as u64, 0, 0], &[]);
        Ok(len)
    }

    /// As on Unix, an empty file does not exist for one who asks whether it is there.
    pub(super) fn exists(&mut self, name: &str, flags: i32) -> Result<bool, Code> {
        if self.stopped {
            return Err(ffi::SQLITE_IOERR);
        }
        let empty_counts = flags != ffi::SQLITE_ACCESS_EXISTS;
        let found = self.files.find(name).is_some_and(|id| empty_counts || !self.files.get(id).seen.is_empty());
        self.trace.note(Call::Exists, [signed(flags), u64::from(found), 0, 0], name.as_bytes());
        Ok(found)
    }

    /// Carries a change out, or fails as planned.
    pub(super) fn change(&mut self, change: Change) -> Code {
        if self.stopped {
            return ffi::SQLITE_IOERR;
        }
        self.calls.mutating += 1;
        let planned = match &change {
            Change::Write { .. } => {
                self.calls.file_writes += 1;
                self.faults.fail_write_at == Some(self.calls.file_writes)
            }
            Change::Sync { .. } => {
                self.calls.file_syncs += 1;
                self.faults.fail_sync_at == Some(self.calls.file_syncs)
            }
            Change::Truncate { .. } | Change::Delete { .. } => false,
        };
        let (call, numbers, bytes) = self.described(&change);
        let code = if self.faults.crash_at == Some(self.calls.mutating) {
            self.in_flight = Some(change);
            self.stopped = true;
            ffi::SQLITE_IOERR
        } else if planned || self.faults.fail_at == Some(self.calls.mutating) {
            self.fail(&change)
        } else {
            self.carry_out(&change)
        };
        let [first, second, third] = numbers;
        self.trace.note(call, [first, second, third, signed(code)], &bytes);
        code
    }

    pub(super) fn lock(&mut self, handle: HandleId, level: i32) -> Code {
        self.with_held(handle, Call::Lock, [signed(level), 0], |held, others| held.lock(level, others))
    }

    pub(super) fn unlock(&mut self, handle: HandleId, level: i32) -> Code {
        self.with_held(handle, Call::Unlock, [signed(level), 0], |held, _| {
            held.unlock(level);
            ffi::SQLITE_OK
        })
    }

    pub(super) fn is_reserved(&mut self, handle: HandleId) -> Result<bool, Code> {
        let mut reserved = false;
        let code = self.with_held(handle, Call::CheckReserved, [0, 0], |held, mut others| {
            let means_to_write = |held: Held| held.file >= ffi::SQLITE_LOCK_RESERVED;
            reserved = means_to_write(*held) || Iterator::any(&mut others, means_to_write);
            ffi::SQLITE_OK
        });
        if code == ffi::SQLITE_OK { Ok(reserved) } else { Err(code) }
    }

    /// The address of a region of the memory shared by all who have this file open; null if there is none and it is not
    /// to be made.
    pub(super) fn shm_map(
        &mut self,
        handle: HandleId,
        region: usize,
        bytes: usize,
        extend: bool,
    ) -> Result<*mut c_void, Code> {
        if self.stopped {
            return Err(ffi::SQLITE_IOERR);
        }
        let file = self.file_of(handle);
        self.trace.note(Call::ShmMap, [handle, region as u64, bytes as u64, u64::from(extend)], &[]);
        if let Some(handle) = self.handles.get_mut(&handle) {
            handle.shm_mapped = true;
        }
        let address = self.shm.entry(file).or_default().region(region, bytes, extend);
        Ok(address.unwrap_or(std::ptr::null_mut()))
    }

    pub(super) fn shm_lock(&mut self, handle: HandleId, first: i32, count: i32, flags: i32) -> Code {
        if !self.handle(handle).shm_mapped {
            return ffi::SQLITE_IOERR_SHMLOCK;
        }
        if self.stopped && flags & ffi::SQLITE_SHM_LOCK != 0 {
            return ffi::SQLITE_IOERR;
        }
        let range = [signed(first) << 8 | signed(count), signed(flags)];
        self.with_held(handle, Call::ShmLock, range, |held, others| held.shm_lock(first, count, flags, others))
    }

    /// Lets go of the shared memory; with the last connection it is gone, as it is on Unix when a database is closed.
    pub(super) fn shm_unmap(&mut self, handle: HandleId) {
        let Some(unmapped) = self.handles.get_mut(&handle) else {
            return;
        };
        if !unmapped.shm_mapped {
            return;
        }
        unmapped.shm_mapped = false;
        unmapped.held = Held { file: unmapped.held.file, ..Held::default() };
        let file = unmapped.file;
        if !self.stopped {
            self.trace.note(Call::ShmUnmap, [handle, 0, 0, 0], &[]);
        }
        if !self.handles.values().any(|other| other.file == file && other.shm_mapped) {
            self.shm.remove(&file);
        }
    }

    pub(super) fn fill_random(&mut self, buffer: &mut [u8]) {
        self.random.fill_bytes(buffer);
        self.trace.note(Call::Randomness, [buffer.len() as u64, 0, 0, 0], &[]);
    }

    fn handle(&self, handle: HandleId) -> &Handle {
        self.handles.get(&handle).expect("SQLite calls with a file until it has closed it")
    }

    fn with_held(
        &mut self,
        handle: HandleId,
        call: Call,
        numbers: [u64; 2],
        ask: impl FnOnce(&mut Held, &mut dyn Iterator<Item = Held>) -> Code,
    ) -> Code {
        let Handle { file, mut held, .. } = *self.handle(handle);
        let mut others =
            self.handles.iter().filter(|(id, other)| **id != handle && other.file == file).map(|(_, other)| other.held);
        // Locks are still given back after a crash, so that connections can be closed; nothing else is done.
        let code = if self.stopped && !matches!(call, Call::Unlock | Call::ShmLock) {
            ffi::SQLITE_IOERR
        } else {
            ask(&mut held, &mut others)
        };
        if let Some(handle) = self.handles.get_mut(&handle) {
            handle.held = held;
        }
        if !self.stopped {
            let [first, second] = numbers;
            self.trace.note(call, [handle, first, second, signed(code)], &[]);
        }
        code
    }

    fn described(&self, change: &Change) -> (Call, [u64; 3], Vec<u8>) {
        match change {
            Change::Write { file, at, bytes } => {
                let before = self.files.get(*file);
                let traced = without_salts(before.kind, &before.seen, *at, bytes);
                (Call::Write, [*file, *at as u64, bytes.len() as u64], traced)
            }
            Change::Truncate { file, len } => (Call::Truncate, [*file, *len as u64, 0], Vec::new()),
            Change::Sync { file } => (Call::Sync, [*file, 0, 0], Vec::new()),
            Change::Delete { name, durable } => (Call::Delete, [u64::from(*durable), 0, 0], name.clone().into_bytes()),
        }
    }

    fn carry_out(&mut self, change: &Change) -> Code {
        match change {
            Change::Write { file, at, bytes } => {
                let fits = self.fitting(*file, *at, bytes);
                self.files.get_mut(*file).write(*at, fits);
                if fits.len() < bytes.len() { ffi::SQLITE_FULL } else { ffi::SQLITE_OK }
            }
            Change::Truncate { file, len } => {
                self.files.get_mut(*file).truncate(*len);
                ffi::SQLITE_OK
            }
            Change::Sync { file } => {
                self.files.sync(*file);
                ffi::SQLITE_OK
            }
            Change::Delete { name, durable } => {
                let found = self.files.delete(name, *durable);
                self.collect();
                if found { ffi::SQLITE_OK } else { ffi::SQLITE_IOERR_DELETE_NOENT }
            }
        }
    }

    fn fail(&mut self, change: &Change) -> Code {
        match change {
            Change::Write { file, at, bytes } => {
                let count = self.random.random_range(0..=bytes.len());
                let part = bytes.get(..count).unwrap_or(&[]);
                let part = self.fitting(*file, *at, part);
                self.files.get_mut(*file).write(*at, part);
                ffi::SQLITE_IOERR_WRITE
            }
            Change::Sync { file } => {
                crash::lose_by_failed_sync(self.files.get_mut(*file), &mut self.random);
                ffi::SQLITE_IOERR_FSYNC
            }
            Change::Truncate { .. } => ffi::SQLITE_IOERR_TRUNCATE,
            Change::Delete { .. } => ffi::SQLITE_IOERR_DELETE,
        }
    }

    pub(super) fn free_bytes(&self) -> u64 {
        let Some(limit) = self.faults.space_bytes else { return u64::MAX };
        let is_open = |id| self.handles.values().any(|handle| handle.file == id);
        limit.saturating_sub(self.files.used_bytes(is_open))
    }

    /// The beginning of a write for which there is space.
    fn fitting<'a>(&self, file: FileId, at: usize, bytes: &'a [u8]) -> &'a [u8] {
        if self.faults.space_bytes.is_none() {
            return bytes;
        }
        let end = self.files.get(file).seen.len() as u64 + self.free_bytes();
        let count = usize::try_from(end.saturating_sub(at as u64)).unwrap_or(usize::MAX);
        bytes.get(..count).unwrap_or(bytes)
    }

    fn collect(&mut self) {
        let Self { files, handles, .. } = self;
        files.collect(|id| handles.values().any(|handle| handle.file == id));
    }
}

/// A number of `SQLite`'s for the trace.
fn signed(number: i32) -> u64 {
    u64::from(number.cast_unsigned())
}

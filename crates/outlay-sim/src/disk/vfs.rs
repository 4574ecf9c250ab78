//! The tables of C functions by which `SQLite` calls a disk. The only place, with `shm.rs`, that touches raw memory.
//!
//! Each function turns its arguments into Rust values, asks [`State`] under its lock, and writes the answer back. What a
//! disk does is not decided here.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use libsqlite3_sys as ffi;

use super::files::FileId;
use super::state::{Change, Code, HandleId, State};
use super::{CrashPoint, Probe};

/// The longest file name, its final zero included.
const PATH_BYTES: c_int = 512;

/// Makes the random numbers of `SQLite` itself follow this seed, from now on, for the whole process.
///
/// Only the salts of journals and SQL's `random()` need it, and only a program with one simulation at a time gains by it.
/// Each run must have a seed of its own: logs of equal salts could be taken for one another.
pub fn seed_sqlite_randomness(seed: u32) {
    // Zero would stand for "no seed".
    let seed = seed.max(1).cast_signed();
    // SAFETY: this operation takes an int and a connection, which may be null; it locks for itself.
    unsafe {
        ffi::sqlite3_initialize();
        ffi::sqlite3_test_control(ffi::SQLITE_TESTCTRL_PRNG_SEED, seed, ptr::null_mut::<ffi::sqlite3>());
    }
}

/// What the handles, the open files and the VFS of one disk have in common.
pub(super) struct Shared {
    state: Mutex<State>,
    probe: Mutex<Option<Probe>>,
    place: Place,
}

impl Shared {
    /// Makes the disk known to `SQLite`.
    pub(super) fn register(state: State) -> Arc<Self> {
        let place = Place::take();
        let shared = Arc::new(Self { state: Mutex::new(state), probe: Mutex::new(None), place });
        shared.place.register(&shared);
        shared
    }

    pub(super) fn vfs_name(&self) -> String {
        self.place.name()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn probe(&self) -> MutexGuard<'_, Option<Probe>> {
        self.probe.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: Change) -> Code {
        self.show(&change);
        self.lock().change(change)
    }

    /// Shows the change to the probe, if there is one. No lock is held meanwhile, so that the probe can use the disk.
    fn show(&self, change: &Change) {
        let probe = self.probe().take();
        let Some(mut probe) = probe else { return };
        let (stopped, call) = {
            let state = self.lock();
            (state.is_crashed(), state.calls().mutating + 1)
        };
        if !stopped {
            let point = CrashPoint { shared: self, change, call };
            // A panic must not run through the frames of SQLite.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (probe.check)(&point))) {
                probe.panic = Some(panic);
                self.lock().stop();
            }
        }
        *self.probe() = Some(probe);
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.place.give_back();
    }
}

/// A table for `SQLite`'s list of VFSs. It is never freed but used again for a later disk, so that whatever address of it
/// `SQLite` still has is that of a table.
struct Slot {
    vfs: ffi::sqlite3_vfs,
    name: CString,
    disk: Mutex<Weak<Shared>>,
}

/// A slot in the hands of one disk.
#[derive(Clone, Copy)]
struct Place(*mut Slot);

// SAFETY: a slot is leaked, so its address stays valid. Between `take` and `register` and after the last use it belongs
// to one disk alone; in between its fields are only read, and `disk` has a lock of its own.
unsafe impl Send for Place {}
// SAFETY: as above.
unsafe impl Sync for Place {}

static FREE_SLOTS: Mutex<Vec<Place>> = Mutex::new(Vec::new());
static NEXT_DISK: AtomicU64 = AtomicU64::new(1);

impl Place {
    fn take() -> Self {
        let free = FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner).pop();
        free.unwrap_or_else(|| {
            let slot = Slot { vfs: vfs_table(), name: CString::default(), disk: Mutex::new(Weak::new()) };
            Self(Box::into_raw(Box::new(slot)))
        })
    }

    fn register(self, shared: &Arc<Shared>) {
        let number = NEXT_DISK.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("outlay-sim-{number}")).expect("the name has no zero byte");
        // SAFETY: the slot is not in SQLite's list, and this disk has it alone; so its fields can be set. Its address and
        // that of the name stay valid until the slot is taken out of the list.
        let code = unsafe {
            let slot = self.0;
            (*slot).name = name;
            (*slot).vfs.zName = (*slot).name.as_ptr();
            (*slot).vfs.pAppData = slot.cast();
            *(*slot).disk.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(shared);
            ffi::sqlite3_vfs_register(&raw mut (*slot).vfs, 0)
        };
        assert_eq!(code, ffi::SQLITE_OK, "SQLite takes any VFS unless it cannot be initialised");
    }

    fn name(self) -> String {
        // SAFETY: the name is not changed while a disk has the slot.
        unsafe { (*self.0).name.to_string_lossy().into_owned() }
    }

    fn give_back(self) {
        // SAFETY: the last handle and the last open file are gone. Out of the list, the slot is nobody's.
        unsafe { ffi::sqlite3_vfs_unregister(&raw mut (*self.0).vfs) };
        FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner).push(self);
    }
}

fn vfs_table() -> ffi::sqlite3_vfs {
    ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: c_int::try_from(size_of::<SimFile>()).expect("two words"),
        mxPathname: PATH_BYTES,
        pNext: ptr::null_mut(),
        zName: ptr::null(),
        pAppData: ptr::null_mut(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_pathname),
        xDlOpen: Some(dl_open),
        xDlError: Some(dl_error),
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: Some(current_time),
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time_ms),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    }
}

static FILE_METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

/// What `SQLite` keeps of an open file: its own part, then ours.
#[repr(C)]
struct SimFile {
    base: ffi::sqlite3_file,
    open: *mut OpenFile,
}

struct OpenFile {
    shared: Arc<Shared>,
    handle: HandleId,
    file: FileId,
}

/// The disk of a VFS; `None` once it is gone, which only a connection without a file can see.
///
/// # Safety
/// `vfs` must be the table of a slot.
unsafe fn disk_of(vfs: *mut ffi::sqlite3_vfs) -> Option<Arc<Shared>> {
    // SAFETY: `register` made it point to its slot, which is never freed.
    let slot = unsafe { &*(*vfs).pAppData.cast::<Slot>() };
    slot.disk.lock().unwrap_or_else(PoisonError::into_inner).upgrade()
}

/// # Safety
/// `file` must have been opened by [`open`] and not yet closed.
unsafe fn opened<'a>(file: *mut ffi::sqlite3_file) -> &'a OpenFile {
    // SAFETY: `open` put the box there, `close` takes it away, and SQLite calls with a file only between the two. All
    // access to it is shared.
    unsafe { &*(*file.cast::<SimFile>()).open }
}

/// # Safety
/// `name` must be a string that ends with a zero byte.
unsafe fn text(name: *const c_char) -> String {
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned()
}

/// An offset or length, which `SQLite` never makes negative.
fn position(number: i64) -> usize {
    usize::try_from(number).expect("SQLite gives no negative offset")
}

fn length(number: c_int) -> usize {
    usize::try_from(number).expect("SQLite gives no negative length")
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out_flags: *mut c_int,
) -> c_int {
    // SAFETY: SQLite gives the table that it was given, room for a `SimFile`, a name or null (a temporary file), and an
    // address for the flags or null. Without methods it will not call `close`.
    unsafe {
        (*file).pMethods = ptr::null();
        let Some(shared) = disk_of(vfs) else {
            return ffi::SQLITE_CANTOPEN;
        };
        let name = if name.is_null() { None } else { Some(text(name)) };
        let mut state = shared.lock();
        let handle = match state.open(name.as_deref(), flags) {
            Ok(handle) => handle,
            Err(code) => return code,
        };
        let id = state.file_of(handle);
        drop(state);
        if !out_flags.is_null() {
            *out_flags = flags;
        }
        let open = Box::new(OpenFile { shared, handle, file: id });
        (*file.cast::<SimFile>()).open = Box::into_raw(open);
        (*file).pMethods = &raw const FILE_METHODS;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: opened by `open`; with the methods gone, SQLite does not call with it again.
    let open = unsafe {
        (*file).pMethods = ptr::null();
        Box::from_raw((*file.cast::<SimFile>()).open)
    };
    open.shared.lock().close(open.handle);
    ffi::SQLITE_OK
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    buffer: *mut c_void,
    amount: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file, and a buffer of that many bytes which SQLite does not touch meanwhile. It may not be
    // initialised, so it is before it becomes a slice.
    let (open, buffer) = unsafe {
        ptr::write_bytes(buffer.cast::<u8>(), 0, length(amount));
        (opened(file), std::slice::from_raw_parts_mut(buffer.cast::<u8>(), length(amount)))
    };
    open.shared.lock().read(open.handle, position(at), buffer)
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    bytes: *const c_void,
    amount: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: an open file, and that many bytes which do not change meanwhile.
    let (open, bytes) = unsafe { (opened(file), std::slice::from_raw_parts(bytes.cast::<u8>(), length(amount))) };
    open.shared.change(Change::Write { file: open.file, at: position(at), bytes: bytes.to_vec() })
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    open.shared.change(Change::Truncate { file: open.file, len: position(size) })
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    open.shared.change(Change::Sync { file: open.file })
}

unsafe extern "C" fn file_size(file: *mut ffi::sqlite3_file, size: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    match open.shared.lock().size(open.handle) {
        Ok(len) => {
            // SAFETY: an address to write to.
            unsafe { *size = i64::try_from(len).expect("a file in memory") };
            ffi::SQLITE_OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    open.shared.lock().lock(open.handle, level)
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    open.shared.lock().unlock(open.handle, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, result: *mut c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    match open.shared.lock().is_reserved(open.handle) {
        Ok(reserved) => {
            // SAFETY: an address to write to.
            unsafe { *result = c_int::from(reserved) };
            ffi::SQLITE_OK
        }
        Err(code) => code,
    }
}

unsafe extern "C" fn file_control(_file: *mut ffi::sqlite3_file, _operation: c_int, _argument: *mut c_void) -> c_int {
    // Every operation is a hint or an extension. A log is then deleted when its database is closed, as is usual.
    ffi::SQLITE_NOTFOUND
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    let bytes = open.shared.lock().options.reported_sector_bytes;
    c_int::try_from(bytes).unwrap_or(4096)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    let options = open.shared.lock().options;
    let powersafe = if options.powersafe_overwrite { ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE } else { 0 };
    let safe_append = if options.safe_append { ffi::SQLITE_IOCAP_SAFE_APPEND } else { 0 };
    powersafe | safe_append
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    region: c_int,
    bytes: c_int,
    extend: c_int,
    address: *mut *mut c_void,
) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    let mapped = open.shared.lock().shm_map(open.handle, length(region), length(bytes), extend != 0);
    let (found, code) = match mapped {
        Ok(found) => (found, ffi::SQLITE_OK),
        Err(code) => (ptr::null_mut(), code),
    };
    // SAFETY: an address to write to. What it then holds stays valid until this file is unmapped or closed.
    unsafe { *address = found };
    code
}

unsafe extern "C" fn shm_lock(file: *mut ffi::sqlite3_file, first: c_int, count: c_int, flags: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    open.shared.lock().shm_lock(open.handle, first, count, flags)
}

unsafe extern "C" fn shm_barrier(_file: *mut ffi::sqlite3_file) {
    std::sync::atomic::fence(Ordering::SeqCst);
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, _delete: c_int) -> c_int {
    // SAFETY: an open file.
    let open = unsafe { opened(file) };
    open.shared.lock().shm_unmap(open.handle);
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(vfs: *mut ffi::sqlite3_vfs, name: *const c_char, sync_directory: c_int) -> c_int {
    // SAFETY: the table that SQLite was given, and a name.
    let (disk, name) = unsafe { (disk_of(vfs), text(name)) };
    let Some(shared) = disk else {
        return ffi::SQLITE_IOERR_DELETE;
    };
    shared.change(Change::Delete { name, durable: sync_directory & 1 != 0 })
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: the table that SQLite was given, and a name.
    let (disk, name) = unsafe { (disk_of(vfs), text(name)) };
    let Some(shared) = disk else {
        return ffi::SQLITE_IOERR_ACCESS;
    };
    match shared.lock().exists(&name, flags) {
        Ok(exists) => {
            // SAFETY: an address to write to.
            unsafe { *result = c_int::from(exists) };
            ffi::SQLITE_OK
        }
        Err(code) => code,
    }
}

/// Names are taken as they are: a disk has one directory.
unsafe extern "C" fn full_pathname(
    _vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    room: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: a name, and `room` bytes for it.
    unsafe {
        let bytes = CStr::from_ptr(name).to_bytes_with_nul();
        if bytes.len() > length(room) {
            return ffi::SQLITE_CANTOPEN;
        }
        ptr::copy_nonoverlapping(bytes.as_ptr().cast(), out, bytes.len());
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn dl_open(_vfs: *mut ffi::sqlite3_vfs, _name: *const c_char) -> *mut c_void {
    ptr::null_mut()
}

unsafe extern "C" fn dl_error(_vfs: *mut ffi::sqlite3_vfs, room: c_int, message: *mut c_char) {
    if room > 0 {
        // SAFETY: `room` bytes for the message.
        unsafe { *message = 0 };
    }
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, amount: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the table that SQLite was given, and a buffer of that many bytes, set before it becomes a slice.
    let (disk, buffer) = unsafe {
        ptr::write_bytes(out, 0, length(amount));
        (disk_of(vfs), std::slice::from_raw_parts_mut(out.cast::<u8>(), length(amount)))
    };
    if let Some(shared) = disk {
        shared.lock().fill_random(buffer);
    }
    amount
}

unsafe extern "C" fn sleep(_vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    microseconds
}

unsafe extern "C" fn current_time_ms(vfs: *mut ffi::sqlite3_vfs, now: *mut ffi::sqlite3_int64) -> c_int {
    // SAFETY: the table that SQLite was given.
    let Some(shared) = (unsafe { disk_of(vfs) }) else {
        return ffi::SQLITE_ERROR;
    };
    let julian_ms = shared.lock().julian_ms();
    // SAFETY: an address to write to.
    unsafe { *now = julian_ms };
    ffi::SQLITE_OK
}

/// The same in days, for the old interface.
unsafe extern "C" fn current_time(vfs: *mut ffi::sqlite3_vfs, days: *mut f64) -> c_int {
    let mut julian_ms = 0;
    // SAFETY: as this function was called.
    let code = unsafe { current_time_ms(vfs, &raw mut julian_ms) };
    #[expect(clippy::cast_precision_loss, reason = "a count of milliseconds has fewer than 53 bits for ages to come")]
    // SAFETY: an address to write to.
    unsafe {
        *days = julian_ms as f64 / 86_400_000.0;
    }
    code
}

unsafe extern "C" fn last_error(_vfs: *mut ffi::sqlite3_vfs, _room: c_int, _message: *mut c_char) -> c_int {
    0
}

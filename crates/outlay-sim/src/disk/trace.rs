//! The trace of a disk: one hash over all its calls, by which two runs of one seed are compared.
//!
//! `SQLite` draws the salts of its journals from a generator that the whole process shares. The trace leaves the salts
//! and the checksums over them out, so that it is the same whatever runs beside.

use libsqlite3_sys as ffi;
use xxhash_rust::xxh3::xxh3_64_with_seed;

const WAL_HEADER_BYTES: usize = 32;
/// From here on the header of a write-ahead log is two salts and two checksums.
const WAL_HEADER_SALTS: usize = 16;
const WAL_FRAME_HEADER_BYTES: usize = 24;
/// Likewise the header of a frame.
const WAL_FRAME_SALTS: usize = 8;

/// What a file is to `SQLite`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Database,
    Wal,
    Journal,
    /// A temporary file; it has no name and nothing of it outlives a crash.
    Temporary,
}

impl Kind {
    pub(super) fn of_open(name: Option<&str>, flags: i32) -> Self {
        if name.is_none() {
            Self::Temporary
        } else if flags & ffi::SQLITE_OPEN_WAL != 0 {
            Self::Wal
        } else if flags & (ffi::SQLITE_OPEN_MAIN_JOURNAL | ffi::SQLITE_OPEN_SUPER_JOURNAL) != 0 {
            Self::Journal
        } else {
            Self::Database
        }
    }

    pub(super) fn of_name(name: &str) -> Self {
        if name.ends_with("-wal") {
            Self::Wal
        } else if name.ends_with("-journal") {
            Self::Journal
        } else {
            Self::Database
        }
    }
}

/// The calls that a trace tells apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    Open = 1,
    Close,
    Read,
    Write,
    Truncate,
    Sync,
    Size,
    Delete,
    Exists,
    Lock,
    Unlock,
    CheckReserved,
    ShmMap,
    ShmLock,
    ShmUnmap,
    Randomness,
    Crash,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Trace {
    hash: u64,
}

impl Trace {
    pub(super) fn hash(self) -> u64 {
        self.hash
    }

    pub(super) fn note(&mut self, call: Call, numbers: [u64; 4], bytes: &[u8]) {
        let mut head = [0; 40];
        let values = [call as u64].into_iter().chain(numbers);
        for (place, value) in head.chunks_exact_mut(8).zip(values) {
            place.copy_from_slice(&value.to_le_bytes());
        }
        self.hash = xxh3_64_with_seed(&head, self.hash);
        if !bytes.is_empty() {
            self.hash = xxh3_64_with_seed(bytes, self.hash);
        }
    }
}

/// The bytes of a write as the trace takes them; `file` is the file before it.
pub(super) fn without_salts(kind: Kind, file: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    match kind {
        Kind::Database | Kind::Temporary => bytes.to_vec(),
        // A rollback journal has a checksum from a random start after each page.
        Kind::Journal => Vec::new(),
        Kind::Wal => {
            let header = if at == 0 { bytes } else { file };
            let page_bytes = match header.get(8..12) {
                Some(&[a, b, c, d]) => u32::from_be_bytes([a, b, c, d]) as usize,
                _ => return Vec::new(),
            };
            let masked = |(index, byte): (usize, &u8)| {
                if is_salt(at + index, page_bytes) { 0 } else { *byte }
            };
            bytes.iter().enumerate().map(masked).collect()
        }
    }
}

fn is_salt(position: usize, page_bytes: usize) -> bool {
    match position.checked_sub(WAL_HEADER_BYTES) {
        None => position >= WAL_HEADER_SALTS,
        Some(after) => {
            (WAL_FRAME_SALTS..WAL_FRAME_HEADER_BYTES).contains(&(after % (WAL_FRAME_HEADER_BYTES + page_bytes)))
        }
    }
}

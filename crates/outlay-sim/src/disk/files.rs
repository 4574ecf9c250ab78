//! The files of the disk and its directory: what a reader sees, what is durable, and the unsynced changes between them.
//!
//! Knows nothing of `SQLite`, of open files, of faults or of chance; `crash.rs` picks what survives.

use std::collections::BTreeMap;

use super::SECTOR_BYTES;
use super::trace::Kind;

/// A file, apart from its name: it lives on while it is open or any state of the directory names it.
pub(super) type FileId = u64;

/// An unsynced change of one file.
#[derive(Clone, Debug)]
pub(super) enum Op {
    /// Whole sectors as a reader saw them after the write; `at` is a multiple of a sector, the last one may end the file.
    Write { at: usize, bytes: Vec<u8> },
    /// The file was cut to this length.
    Truncate { len: usize },
}

impl Op {
    /// The sectors of a write with their bytes, by number in the file.
    pub(super) fn sectors(&self) -> impl Iterator<Item = (usize, &[u8])> {
        let (at, bytes): (usize, &[u8]) = match self {
            Self::Write { at, bytes } => (*at, bytes),
            Self::Truncate { .. } => (0, &[]),
        };
        bytes.chunks(SECTOR_BYTES).enumerate().map(move |(index, sector)| (at / SECTOR_BYTES + index, sector))
    }
}

#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) kind: Kind,
    /// What a read returns.
    pub(super) seen: Vec<u8>,
    /// What is on the platter.
    pub(super) durable: Vec<u8>,
    /// The changes that a sync would make durable, oldest first.
    pub(super) pending: Vec<Op>,
}

impl File {
    pub(super) fn new(kind: Kind, bytes: Vec<u8>) -> Self {
        Self { kind, durable: bytes.clone(), seen: bytes, pending: Vec::new() }
    }

    pub(super) fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let old_len = self.seen.len();
        let end = at + bytes.len();
        put(&mut self.seen, at, bytes);
        // A write beyond the end also writes the zeros before it.
        let first = at.min(old_len) / SECTOR_BYTES * SECTOR_BYTES;
        let last = end.next_multiple_of(SECTOR_BYTES).min(self.seen.len());
        let bytes = self.seen.get(first..last).expect("the range was just written").to_vec();
        self.pending.push(Op::Write { at: first, bytes });
    }

    pub(super) fn truncate(&mut self, len: usize) {
        self.seen.resize(len, 0);
        self.pending.push(Op::Truncate { len });
    }

    pub(super) fn sync(&mut self) {
        for op in std::mem::take(&mut self.pending) {
            match op {
                Op::Write { at, bytes } => put(&mut self.durable, at, &bytes),
                Op::Truncate { len } => self.durable.resize(len, 0),
            }
        }
        // After a failed sync some content may be lost for good, but the length is kept by the journal of the file system.
        self.durable.resize(self.seen.len(), 0);
    }
}

/// Writes into a file image, which grows as needed.
pub(super) fn put(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    let end = at + bytes.len();
    if image.len() < end {
        image.resize(end, 0);
    }
    image.get_mut(at..end).expect("the image was made long enough").copy_from_slice(bytes);
}

#[derive(Clone, Debug, Default)]
pub(super) struct Files {
    pub(super) by_id: BTreeMap<FileId, File>,
    /// The directory as everyone sees it.
    pub(super) seen: BTreeMap<String, FileId>,
    /// The directory on the platter.
    pub(super) durable: BTreeMap<String, FileId>,
    /// Its unsynced changes, oldest first: this name now means this file, or nothing.
    pub(super) pending: Vec<(String, Option<FileId>)>,
    next: FileId,
}

impl Files {
    pub(super) fn create(&mut self, name: Option<&str>, kind: Kind) -> FileId {
        self.next += 1;
        let id = self.next;
        self.by_id.insert(id, File::new(kind, Vec::new()));
        if let Some(name) = name {
            self.set_entry(name, Some(id));
        }
        id
    }

    pub(super) fn find(&self, name: &str) -> Option<FileId> {
        self.seen.get(name).copied()
    }

    /// The file behind an id that is open or in the directory.
    pub(super) fn get(&self, id: FileId) -> &File {
        self.by_id.get(&id).expect("an open or named file is kept")
    }

    pub(super) fn get_mut(&mut self, id: FileId) -> &mut File {
        self.by_id.get_mut(&id).expect("an open or named file is kept")
    }

    /// Makes the file durable, and with a file that is new in the directory all changes of the directory so far.
    pub(super) fn sync(&mut self, id: FileId) {
        self.get_mut(id).sync();
        if self.pending.iter().any(|(_, target)| *target == Some(id)) {
            self.sync_directory();
        }
    }

    pub(super) fn sync_directory(&mut self) {
        for (name, target) in std::mem::take(&mut self.pending) {
            apply_entry(&mut self.durable, name, target);
        }
    }

    /// Takes the name away; false if there is no such file.
    pub(super) fn delete(&mut self, name: &str, durable: bool) -> bool {
        if !self.seen.contains_key(name) {
            return false;
        }
        self.set_entry(name, None);
        if durable {
            self.sync_directory();
        }
        true
    }

    /// Puts a whole file in the place of this name, durable at once.
    pub(super) fn replace(&mut self, name: &str, bytes: Vec<u8>) {
        self.sync_directory();
        if let Some(id) = self.find(name) {
            let file = self.get_mut(id);
            *file = File::new(file.kind, bytes);
        } else {
            let id = self.create(Some(name), Kind::of_name(name));
            *self.get_mut(id) = File::new(Kind::of_name(name), bytes);
            self.sync_directory();
        }
    }

    /// Forgets the files that neither a state of the directory nor `is_open` knows.
    pub(super) fn collect(&mut self, is_open: impl Fn(FileId) -> bool) {
        let Self { by_id, seen, durable, pending, .. } = self;
        by_id.retain(|id, _| {
            is_open(*id)
                || seen.values().chain(durable.values()).any(|named| named == id)
                || pending.iter().any(|(_, named)| *named == Some(*id))
        });
    }

    /// The bytes that all files take which can still be read.
    pub(super) fn used_bytes(&self, is_open: impl Fn(FileId) -> bool) -> u64 {
        let readable = |id: FileId| is_open(id) || self.seen.values().any(|named| *named == id);
        self.by_id.iter().filter(|(id, _)| readable(**id)).map(|(_, file)| file.seen.len() as u64).sum()
    }

    fn set_entry(&mut self, name: &str, target: Option<FileId>) {
        apply_entry(&mut self.seen, name.to_owned(), target);
        self.pending.push((name.to_owned(), target));
    }
}

pub(super) fn apply_entry(directory: &mut BTreeMap<String, FileId>, name: String, target: Option<FileId>) {
    match target {
        Some(id) => directory.insert(name, id),
        None => directory.remove(&name),
    };
}

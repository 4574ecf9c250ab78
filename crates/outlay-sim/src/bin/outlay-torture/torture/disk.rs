//! A disk that keeps every write and flush: one file of a file system of our own (FUSE), below a loop device, below ext4. From
//! what it kept the disk can be had again as a power cut would have left it at any moment.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, Generation, INodeNo, LockOwner,
    MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyWrite, Request, WriteFlags,
};
use rand::RngExt as _;
use rand_pcg::Pcg64;

use super::told::Ticks;

/// What a disk writes whole, as far as anybody may rely on it.
pub(crate) const SECTOR: usize = 512;
const BLOCK: usize = 4096;
const FILE_NAME: &str = "disk";
const FILE: INodeNo = INodeNo(2);
const TTL: Duration = Duration::from_secs(3_600);

/// What the disk was told, with the count at which it was.
#[derive(Debug)]
pub(crate) enum Kept {
    Write { tick: u64, offset: usize, data: Vec<u8> },
    Flush { tick: u64 },
}

impl Kept {
    pub(crate) fn tick(&self) -> u64 {
        match self {
            Self::Write { tick, .. } | Self::Flush { tick } => *tick,
        }
    }
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    kept: Vec<Kept>,
}

/// The disk, while it is mounted.
#[derive(Debug)]
pub(crate) struct KeepingDisk {
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
}

impl KeepingDisk {
    /// Mounts a disk with this content as the file `disk` of a folder.
    pub(crate) fn mount(at: &Path, bytes: Vec<u8>, ticks: Ticks) -> std::io::Result<Self> {
        let state = Arc::new(Mutex::new(State { bytes, kept: Vec::new() }));
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("outlay-torture".to_owned()), MountOption::RW];
        let session = fuser::spawn_mount(Served { state: Arc::clone(&state), ticks }, at, &config)?;
        Ok(Self { state, session: Some(session) })
    }

    /// Unmounts it, and gives all that it kept.
    pub(crate) fn unmount(mut self) -> Result<Vec<Kept>, String> {
        if let Some(session) = self.session.take() {
            session.umount_and_join().map_err(|error| format!("unmount the disk: {error}"))?;
        }
        Ok(std::mem::take(&mut lock(&self.state).kept))
    }

    /// The name of its file in the folder.
    pub(crate) const fn file_name() -> &'static str {
        FILE_NAME
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the kernel asks.
#[derive(Debug)]
struct Served {
    state: Arc<Mutex<State>>,
    ticks: Ticks,
}

impl Served {
    fn attributes(&self, ino: INodeNo) -> FileAttr {
        let is_file = ino == FILE;
        let size = if is_file { lock(&self.state).bytes.len() as u64 } else { 0 };
        FileAttr {
            ino,
            size,
            blocks: size / SECTOR as u64,
            atime: UNIX_EPOCH,
            mtime: UNIX_EPOCH,
            ctime: UNIX_EPOCH,
            crtime: UNIX_EPOCH,
            kind: if is_file { FileType::RegularFile } else { FileType::Directory },
            perm: if is_file { 0o600 } else { 0o700 },
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            flags: 0,
            blksize: 4096,
        }
    }
}

impl Filesystem for Served {
    fn lookup(&self, _request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        if parent == INodeNo::ROOT && name == FILE_NAME {
            reply.entry(&TTL, &self.attributes(FILE), Generation(0));
        } else {
            reply.error(Errno::ENOENT);
        }
    }

    fn getattr(&self, _request: &Request, ino: INodeNo, _handle: Option<FileHandle>, reply: ReplyAttr) {
        reply.attr(&TTL, &self.attributes(ino));
    }

    fn read(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let state = lock(&self.state);
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(state.bytes.len());
        let to = from.saturating_add(size as usize).min(state.bytes.len());
        reply.data(&state.bytes[from..to]);
    }

    fn write(
        &self,
        _request: &Request,
        _ino: INodeNo,
        _handle: FileHandle,
        offset: u64,
        data: &[u8],
        _write_flags: WriteFlags,
        _flags: OpenFlags,
        _owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut state = lock(&self.state);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let Some(place) = offset.checked_add(data.len()).and_then(|end| state.bytes.get_mut(offset..end)) else {
            return reply.error(Errno::ENOSPC);
        };
        place.copy_from_slice(data);
        state.kept.push(Kept::Write { tick: self.ticks.next(), offset, data: data.to_vec() });
        reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX));
    }

    fn fsync(&self, _request: &Request, _ino: INodeNo, _handle: FileHandle, _data_only: bool, reply: ReplyEmpty) {
        lock(&self.state).kept.push(Kept::Flush { tick: self.ticks.next() });
        reply.ok();
    }

    fn flush(&self, _request: &Request, _ino: INodeNo, _handle: FileHandle, _owner: LockOwner, reply: ReplyEmpty) {
        // The close of a descriptor, which promises nothing.
        reply.ok();
    }
}

/// What becomes of the writes since the last flush when the power goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cut {
    /// None of them came to be.
    AllLost,
    /// All of them did.
    AllKept,
    /// Any of them did.
    SomeKept,
    /// Any sectors of any of them did.
    Torn,
}

impl Cut {
    pub(crate) const ALL: [Self; 4] = [Self::AllLost, Self::AllKept, Self::SomeKept, Self::Torn];
}

/// The disk at moments that only come later and later.
#[derive(Debug)]
pub(crate) struct Rewound<'a> {
    kept: &'a [Kept],
    /// What is surely on it: all up to a flush.
    sure: Vec<u8>,
    /// Its blocks that are not all zeros.
    blocks: BTreeSet<usize>,
    /// How much of what was kept `sure` holds.
    held: usize,
}

impl<'a> Rewound<'a> {
    pub(crate) fn new(begun: Vec<u8>, kept: &'a [Kept]) -> Self {
        let is_used = |(_, block): &(usize, &[u8])| block.iter().any(|byte| *byte != 0);
        let blocks = begun.chunks(BLOCK).enumerate().filter(is_used).map(|(at, _)| at).collect();
        Self { kept, sure: begun, blocks, held: 0 }
    }

    /// Writes the disk to a file as a cut leaves it that comes right after one of what was kept, which is not before the last
    /// one that was asked for. Gives how many writes were not flushed by then.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub(crate) fn cut_after(
        &mut self,
        last: usize,
        cut: Cut,
        random: &mut Pcg64,
        file: &File,
    ) -> std::io::Result<usize> {
        let flushed = self.kept[..=last].iter().rposition(|kept| matches!(kept, Kept::Flush { .. })).unwrap_or(0);
        while self.held < flushed {
            if let Kept::Write { offset, data, .. } = &self.kept[self.held] {
                self.sure[*offset..offset + data.len()].copy_from_slice(data);
                self.blocks.extend(offset / BLOCK..(offset + data.len()).div_ceil(BLOCK));
            }
            self.held += 1;
        }
        file.set_len(self.sure.len() as u64)?;
        for block in &self.blocks {
            let from = block * BLOCK;
            let to = (from + BLOCK).min(self.sure.len());
            file.write_all_at(&self.sure[from..to], from as u64)?;
        }
        let mut unsure = 0;
        for kept in &self.kept[self.held..=last] {
            let Kept::Write { offset, data, .. } = kept else { continue };
            unsure += 1;
            match cut {
                Cut::AllLost => {}
                Cut::AllKept => file.write_all_at(data, *offset as u64)?,
                Cut::SomeKept if random.random_bool(0.5) => file.write_all_at(data, *offset as u64)?,
                Cut::SomeKept => {}
                // The superblock is two sectors under one sum, which ext4 has no other guard for: torn, it wants e2fsck before
                // it is mounted, and nothing of ours is tried.
                Cut::Torn if *offset < BLOCK => file.write_all_at(data, *offset as u64)?,
                Cut::Torn => {
                    for (at, sector) in data.chunks(SECTOR).enumerate().filter(|_| random.random_bool(0.5)) {
                        file.write_all_at(sector, (offset + at * SECTOR) as u64)?;
                    }
                }
            }
        }
        Ok(unsure)
    }
}

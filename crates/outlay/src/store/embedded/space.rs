//! How much space there is, and what may still be written into it.
//!
//! Before the disk is full, intents are refused, then facts; what ends, gives back or takes away goes on longest, on the
//! space of a reserve file that is deleted then. So SQLite itself does not meet a full disk, where some versions of it die.
//! Nothing is remembered: each look begins with the space that there is, so all comes back by itself.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::store::{StoreError, Urgency};

/// The file that keeps space, in the store's folder.
const RESERVE_NAME: &str = "reserve";
/// Batches between two looks, while there is much space.
const UNSEEN_BATCHES_MAX: u32 = 16;
/// How many times the reserve must be free for looks to be so rare.
const MUCH: u64 = 16;

/// Bytes of free space at which less is taken; the reserve file counts as used, be it there or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Marks {
    /// What the reserve file keeps.
    pub reserve: u64,
    /// Below this much intents are refused.
    pub intents: u64,
    /// Below this much facts are refused too, and the reserve file is deleted.
    pub facts: u64,
    /// Below this much, without the reserve file, nothing is written any more.
    pub all: u64,
}

impl Marks {
    /// What may be written with so many bytes free, beside a reserve file or without one.
    fn level(self, free: u64, reserved: bool) -> Level {
        let beside_reserve = if reserved { free } else { free.saturating_sub(self.reserve) };
        if beside_reserve >= self.intents {
            Level::Plenty
        } else if beside_reserve >= self.facts {
            Level::Short
        } else if reserved || free >= self.all {
            Level::Reserve
        } else {
            Level::Full
        }
    }
}

impl Default for Marks {
    fn default() -> Self {
        Self { reserve: 64 << 20, intents: 64 << 20, facts: 32 << 20, all: 16 << 20 }
    }
}

/// Where the store's files are, as far as space goes.
pub trait Volume: Send + Sync + std::fmt::Debug {
    /// Bytes that may still be written there.
    fn free(&self) -> io::Result<u64>;

    /// Whether the reserve file is there, with this many bytes.
    fn has_reserve(&self, bytes: u64) -> bool;

    /// Makes the reserve file; without space for it none is left.
    fn make_reserve(&self, bytes: u64) -> io::Result<()>;

    /// Deletes the reserve file, if there is one.
    fn drop_reserve(&self) -> io::Result<()>;
}

/// A folder of this machine.
#[derive(Debug)]
pub(super) struct Folder(pub(super) PathBuf);

impl Volume for Folder {
    fn free(&self) -> io::Result<u64> {
        let space = rustix::fs::statvfs(&self.0)?;
        Ok(space.f_bavail.saturating_mul(space.f_frsize))
    }

    fn has_reserve(&self, bytes: u64) -> bool {
        fs::metadata(self.0.join(RESERVE_NAME)).is_ok_and(|file| file.len() == bytes)
    }

    fn make_reserve(&self, bytes: u64) -> io::Result<()> {
        let path = self.0.join(RESERVE_NAME);
        let made = OpenOptions::new().create(true).truncate(true).write(true).open(&path);
        let made = made.and_then(|file| allocate(file, bytes));
        if made.is_err() {
            // What was written of it is worth more free.
            let _ = fs::remove_file(&path);
        }
        made
    }

    fn drop_reserve(&self) -> io::Result<()> {
        match fs::remove_file(self.0.join(RESERVE_NAME)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

/// Gives a file this many bytes that are really its own.
fn allocate(mut file: fs::File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    {
        use rustix::io::Errno;
        match rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes) {
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {}
            done => return Ok(done?),
        }
    }
    io::copy(&mut io::Read::take(io::repeat(0), bytes), &mut file)?;
    file.sync_all()
}

/// What may still be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// All.
    Plenty,
    /// No intents.
    Short,
    /// Only what ends, gives back or takes away.
    Reserve,
    /// Nothing.
    Full,
}

impl Level {
    /// Why something is not written now; `None` when it is.
    pub(super) fn refuses(self, urgency: Urgency) -> Option<StoreError> {
        match (self, urgency) {
            (Self::Plenty, _)
            | (Self::Short, Urgency::Fact | Urgency::GivesBack)
            | (Self::Reserve, Urgency::GivesBack) => None,
            (Self::Short | Self::Reserve | Self::Full, Urgency::Intent) => Some(StoreError::SpaceShort),
            (Self::Reserve | Self::Full, Urgency::Fact | Urgency::GivesBack) => Some(StoreError::DiskFull),
        }
    }
}

/// What readers see of it.
#[derive(Debug)]
pub(super) struct Seen {
    /// Bytes of the log at the writer's last look.
    log_bytes: AtomicU64,
    volume: Option<Arc<dyn Volume>>,
    marks: Marks,
}

/// What a reader found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Bytes; none where that is not known.
    pub(super) free: u64,
    /// Whether something would be refused for want of more.
    pub(super) is_short: bool,
    /// Whether facts would be.
    pub(super) is_out: bool,
}

impl Seen {
    /// A look of a reader's own: the writer takes none while nothing is sent to it, and nothing is sent to who says that it
    /// is not ready.
    pub(super) fn look(&self) -> Found {
        let looked = self.volume.as_ref().map(|volume| (volume.free(), volume.has_reserve(self.marks.reserve)));
        let Some((Ok(free), reserved)) = looked else { return Found { free: 0, is_short: false, is_out: false } };
        let beside_log = free.saturating_sub(self.log_bytes.load(Ordering::Relaxed));
        let is_short = self.marks.level(beside_log, reserved) > Level::Plenty;
        // The writer copies the log before it refuses for its sake.
        Found { free, is_short, is_out: self.marks.level(free, reserved) >= Level::Reserve }
    }
}

/// The writer's view of the space that there is.
#[derive(Debug)]
pub(super) struct Space {
    /// `None` where only a failed write can tell.
    volume: Option<Arc<dyn Volume>>,
    marks: Marks,
    reserved: bool,
    level: Level,
    /// Whether the last look found so much space that batches may go before the next one.
    much: bool,
    /// Batches that may still go before the next look.
    unseen: u32,
    seen: Arc<Seen>,
}

impl Space {
    pub(super) fn new(volume: Option<Arc<dyn Volume>>, marks: Marks) -> Self {
        let reserved = volume.as_ref().is_some_and(|volume| volume.has_reserve(marks.reserve));
        let seen = Seen { log_bytes: AtomicU64::new(0), volume: volume.clone(), marks };
        Self { volume, marks, reserved, level: Level::Plenty, much: false, unseen: 0, seen: Arc::new(seen) }
    }

    /// What readers see of it, as it goes on.
    pub(super) fn seen(&self) -> Arc<Seen> {
        Arc::clone(&self.seen)
    }

    /// What may still be written, as of the last look.
    pub(super) fn level(&self) -> Level {
        self.level
    }

    /// Whether a full disk may be met soon, so that it must be found before COMMIT, and the log kept short.
    pub(super) fn may_run_out(&self) -> bool {
        self.volume.is_some() && !self.much
    }

    /// Whether it is time for a look; counts a batch.
    pub(super) fn look_is_due(&mut self) -> bool {
        let due = self.volume.is_some() && self.unseen == 0;
        self.unseen = self.unseen.saturating_sub(1);
        due
    }

    /// Whether more could be taken if the log were copied into the file: until then it needs its own length once more.
    pub(super) fn wants_log_copied(&self, log_bytes: u64) -> Result<bool, StoreError> {
        let free = self.free()?;
        Ok(self.level_of(free, log_bytes) > self.level_of(free, 0))
    }

    /// Looks at the space that there is; makes or deletes the reserve file as it allows.
    pub(super) fn look(&mut self, log_bytes: u64) -> Result<Level, StoreError> {
        let Some(volume) = self.volume.clone() else { return Ok(Level::Plenty) };
        self.seen.log_bytes.store(log_bytes, Ordering::Relaxed);
        let mut free = self.free()?;
        let mut level = self.level_of(free, log_bytes);
        if level >= Level::Reserve && self.drop_reserve() {
            free = self.free()?;
            level = self.level_of(free, log_bytes).max(Level::Reserve);
        } else if level == Level::Plenty && !self.reserved {
            match volume.make_reserve(self.marks.reserve) {
                Ok(()) => self.reserved = true,
                Err(error) => tracing::debug!("there is no reserve file: {error}"),
            }
        }
        self.much = level == Level::Plenty && free >= self.marks.reserve.saturating_mul(MUCH);
        self.unseen = if self.much { UNSEEN_BATCHES_MAX } else { 0 };
        self.enter(level, free);
        Ok(level)
    }

    /// A write found the disk full, whatever was seen: the reserve goes, for those who may use it.
    pub(super) fn ran_out(&mut self) {
        if self.volume.is_some() {
            self.drop_reserve();
            self.much = false;
            self.unseen = 0;
            self.enter(self.level.max(Level::Reserve), 0);
        }
    }

    /// Deletes the reserve file; gives whether there was one.
    pub(super) fn drop_reserve(&mut self) -> bool {
        let Some(volume) = self.volume.as_ref().filter(|_| self.reserved) else { return false };
        match volume.drop_reserve() {
            Ok(()) => {
                self.reserved = false;
                true
            }
            Err(error) => {
                tracing::error!("failed to delete the reserve file: {error}");
                false
            }
        }
    }

    fn free(&self) -> Result<u64, StoreError> {
        let Some(volume) = &self.volume else { return Ok(u64::MAX) };
        volume.free().map_err(|error| StoreError::Unavailable(format!("ask for the free space: {error}")))
    }

    fn level_of(&self, free: u64, log_bytes: u64) -> Level {
        self.marks.level(free.saturating_sub(log_bytes), self.reserved)
    }

    fn enter(&mut self, level: Level, free: u64) {
        let mib = free >> 20;
        match level {
            Level::Plenty if self.level > level => tracing::info!("there is space again ({mib} MiB free)"),
            Level::Short if self.level != level => {
                tracing::warn!("space is short ({mib} MiB free): checks for audit and sessions are refused");
            }
            Level::Reserve if self.level != level => tracing::error!(
                "space has run out ({mib} MiB free, the reserve file is deleted): only what ends or gives back is written"
            ),
            Level::Full if self.level != level => tracing::error!("space has run out: nothing is written"),
            _ => {}
        }
        self.level = level;
    }
}

#[cfg(test)]
mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// A volume with so many bytes beside the reserve.
    #[derive(Debug, Default)]
    struct Bytes(Mutex<(u64, bool)>);

    impl Volume for Bytes {
        fn free(&self) -> io::Result<u64> {
            Ok(self.0.lock().0)
        }

        fn has_reserve(&self, _: u64) -> bool {
            self.0.lock().1
        }

        fn make_reserve(&self, bytes: u64) -> io::Result<()> {
            let mut volume = self.0.lock();
            volume.0 = volume.0.checked_sub(bytes).ok_or(io::ErrorKind::StorageFull)?;
            volume.1 = true;
            Ok(())
        }

        fn drop_reserve(&self) -> io::Result<()> {
            let mut volume = self.0.lock();
            volume.0 += 64;
            volume.1 = false;
            Ok(())
        }
    }

    const MARKS: Marks = Marks { reserve: 64, intents: 64, facts: 32, all: 16 };

    /// What may be written, and what is free after the look.
    fn look(space: &mut Space, volume: &Bytes, free: u64) -> (Level, u64) {
        volume.0.lock().0 = free;
        let level = space.look(0).unwrap();
        (level, volume.0.lock().0)
    }

    #[test]
    fn less_is_taken_as_space_shrinks_and_all_comes_back() {
        let volume = Arc::new(Bytes::default());
        let mut space = Space::new(Some(Arc::<Bytes>::clone(&volume)), MARKS);
        assert_eq!(look(&mut space, &volume, 200), (Level::Plenty, 136), "the reserve is made");
        assert_eq!(look(&mut space, &volume, 64), (Level::Plenty, 64));
        assert_eq!(look(&mut space, &volume, 63), (Level::Short, 63));
        assert_eq!(look(&mut space, &volume, 32), (Level::Short, 32));
        assert_eq!(look(&mut space, &volume, 31), (Level::Reserve, 95), "the reserve is freed");
        assert_eq!(look(&mut space, &volume, 16), (Level::Reserve, 16));
        assert_eq!(look(&mut space, &volume, 15), (Level::Full, 15));
        assert_eq!(look(&mut space, &volume, 95), (Level::Reserve, 95), "what the reserve gave is not for facts");
        assert_eq!(look(&mut space, &volume, 96), (Level::Short, 96));
        assert_eq!(look(&mut space, &volume, 128), (Level::Plenty, 64), "the reserve is made again");
        assert!(volume.has_reserve(64));
    }

    #[test]
    fn a_log_that_is_not_copied_yet_needs_its_space_once_more() {
        let volume = Arc::new(Bytes::default());
        let mut space = Space::new(Some(Arc::<Bytes>::clone(&volume)), MARKS);
        assert_eq!(look(&mut space, &volume, 200), (Level::Plenty, 136));
        assert!(!space.wants_log_copied(72).unwrap());
        assert!(space.wants_log_copied(73).unwrap());
        assert_eq!(space.look(73).unwrap(), Level::Short);
        assert!(space.seen().look().is_short, "a reader counts it too");
    }

    #[test]
    fn readers_see_that_there_is_space_again_before_anything_is_written() {
        let volume = Arc::new(Bytes::default());
        let mut space = Space::new(Some(Arc::<Bytes>::clone(&volume)), MARKS);
        look(&mut space, &volume, 200);
        let seen = space.seen();
        assert_eq!(look(&mut space, &volume, 63), (Level::Short, 63));
        assert_eq!(seen.look(), Found { free: 63, is_short: true, is_out: false });
        volume.0.lock().0 = 31;
        assert_eq!(seen.look(), Found { free: 31, is_short: true, is_out: true });
        volume.0.lock().0 = 64;
        assert_eq!(seen.look(), Found { free: 64, is_short: false, is_out: false });
        assert_eq!(space.level(), Level::Short, "the writer has not looked");
        assert_eq!(Space::new(None, MARKS).seen().look(), Found { free: 0, is_short: false, is_out: false });
    }

    #[test]
    fn a_write_that_finds_no_space_frees_the_reserve() {
        let volume = Arc::new(Bytes::default());
        let mut space = Space::new(Some(Arc::<Bytes>::clone(&volume)), MARKS);
        look(&mut space, &volume, 10_000);
        assert!(!space.look_is_due(), "there is much");
        while !space.look_is_due() {
            assert!(!space.may_run_out());
        }
        assert!(!space.may_run_out(), "a look that is due again says nothing of the space");
        space.ran_out();
        assert!(space.look_is_due() && space.may_run_out() && !volume.has_reserve(64));
        assert_eq!(space.level().refuses(Urgency::Fact), Some(StoreError::DiskFull));
        assert_eq!(space.level().refuses(Urgency::GivesBack), None);
    }

    #[test]
    fn a_folder_keeps_its_reserve_as_blocks_of_the_disk() {
        use std::os::unix::fs::MetadataExt as _;
        let folder = tempfile::tempdir().unwrap();
        let volume = Folder(folder.path().to_owned());
        assert!(volume.free().unwrap() > 0 && !volume.has_reserve(1 << 20));
        volume.make_reserve(1 << 20).unwrap();
        assert!(volume.has_reserve(1 << 20) && !volume.has_reserve(1 << 21));
        let blocks = fs::metadata(folder.path().join(RESERVE_NAME)).unwrap().blocks();
        assert!(blocks * 512 >= 1 << 20, "{blocks} blocks keep nothing");
        volume.drop_reserve().unwrap();
        volume.drop_reserve().unwrap();
        assert!(!volume.has_reserve(1 << 20));
    }
}

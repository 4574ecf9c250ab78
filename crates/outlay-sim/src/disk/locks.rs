//! Locks between the connections of one disk: those on a database file, and the eight on its shared memory.
//!
//! Each open file says what it holds; whether it may have more follows from what the others on the same file hold. No
//! lock waits: `SQLite` is told that the file is busy.

use libsqlite3_sys as ffi;

/// What one open file holds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Held {
    /// The lock on the file, `SQLITE_LOCK_NONE` to `SQLITE_LOCK_EXCLUSIVE`.
    pub(super) file: i32,
    /// The locks on the shared memory, a bit each.
    pub(super) shm_shared: u32,
    pub(super) shm_exclusive: u32,
}

impl Held {
    /// Takes a lock on the file beside what `others` hold, and returns `SQLITE_OK` or `SQLITE_BUSY`.
    pub(super) fn lock(&mut self, wanted: i32, others: impl Iterator<Item = Self>) -> i32 {
        if self.file >= wanted {
            return ffi::SQLITE_OK;
        }
        let highest = others.map(|other| other.file).max().unwrap_or(ffi::SQLITE_LOCK_NONE);
        let granted = match wanted {
            ffi::SQLITE_LOCK_SHARED => highest < ffi::SQLITE_LOCK_PENDING,
            ffi::SQLITE_LOCK_RESERVED => highest < ffi::SQLITE_LOCK_RESERVED,
            _ if highest >= ffi::SQLITE_LOCK_RESERVED => false,
            _ => {
                // From here on no new reader gets in; those inside are waited for by asking again.
                self.file = ffi::SQLITE_LOCK_PENDING;
                highest == ffi::SQLITE_LOCK_NONE
            }
        };
        if granted {
            self.file = wanted;
            ffi::SQLITE_OK
        } else {
            ffi::SQLITE_BUSY
        }
    }

    /// Gives the lock on the file back, down to `level`.
    pub(super) fn unlock(&mut self, level: i32) {
        self.file = self.file.min(level);
    }

    /// Takes or gives back `count` locks on the shared memory from `first` on, as `flags` say.
    pub(super) fn shm_lock(&mut self, first: i32, count: i32, flags: i32, others: impl Iterator<Item = Self>) -> i32 {
        let mask = (first..first + count).fold(0_u32, |mask, bit| mask | 1 << bit);
        if flags & ffi::SQLITE_SHM_UNLOCK != 0 {
            self.shm_shared &= !mask;
            self.shm_exclusive &= !mask;
            return ffi::SQLITE_OK;
        }
        let (shared, exclusive) = others
            .fold((0, 0), |(shared, exclusive), other| (shared | other.shm_shared, exclusive | other.shm_exclusive));
        if flags & ffi::SQLITE_SHM_SHARED != 0 {
            if exclusive & mask != 0 {
                return ffi::SQLITE_BUSY;
            }
            self.shm_shared |= mask;
        } else {
            if (exclusive | shared) & mask != 0 {
                return ffi::SQLITE_BUSY;
            }
            self.shm_exclusive |= mask;
        }
        ffi::SQLITE_OK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(level: i32) -> Held {
        Held { file: level, ..Held::default() }
    }

    #[test]
    fn a_writer_that_waits_for_readers_keeps_new_ones_out() {
        let mut writer = file(ffi::SQLITE_LOCK_RESERVED);
        let reader = file(ffi::SQLITE_LOCK_SHARED);
        assert_eq!(writer.lock(ffi::SQLITE_LOCK_EXCLUSIVE, [reader].into_iter()), ffi::SQLITE_BUSY);
        assert_eq!(writer.file, ffi::SQLITE_LOCK_PENDING);
        assert_eq!(file(0).lock(ffi::SQLITE_LOCK_SHARED, [writer, reader].into_iter()), ffi::SQLITE_BUSY);
        assert_eq!(writer.lock(ffi::SQLITE_LOCK_EXCLUSIVE, [file(0)].into_iter()), ffi::SQLITE_OK);
        assert_eq!(writer.file, ffi::SQLITE_LOCK_EXCLUSIVE);
    }

    #[test]
    fn one_at_a_time_means_to_write() {
        let other = file(ffi::SQLITE_LOCK_RESERVED);
        assert_eq!(file(1).lock(ffi::SQLITE_LOCK_RESERVED, [other].into_iter()), ffi::SQLITE_BUSY);
        assert_eq!(file(1).lock(ffi::SQLITE_LOCK_EXCLUSIVE, [other].into_iter()), ffi::SQLITE_BUSY);
        assert_eq!(file(0).lock(ffi::SQLITE_LOCK_SHARED, [other].into_iter()), ffi::SQLITE_OK);
    }

    #[test]
    fn shared_memory_locks_exclude_as_they_say() {
        let (shared, exclusive) = (ffi::SQLITE_SHM_SHARED, ffi::SQLITE_SHM_EXCLUSIVE);
        let mut a = Held::default();
        let mut b = Held::default();
        assert_eq!(a.shm_lock(3, 1, ffi::SQLITE_SHM_LOCK | shared, [b].into_iter()), ffi::SQLITE_OK);
        assert_eq!(b.shm_lock(3, 1, ffi::SQLITE_SHM_LOCK | shared, [a].into_iter()), ffi::SQLITE_OK);
        assert_eq!(b.shm_lock(0, 4, ffi::SQLITE_SHM_LOCK | exclusive, [a].into_iter()), ffi::SQLITE_BUSY);
        assert_eq!(b.shm_exclusive, 0, "a refused range takes none of its locks");
        a.shm_lock(3, 1, ffi::SQLITE_SHM_UNLOCK | shared, [b].into_iter());
        assert_eq!(a.shm_lock(0, 3, ffi::SQLITE_SHM_LOCK | exclusive, [b].into_iter()), ffi::SQLITE_OK);
        assert_eq!(b.shm_lock(2, 1, ffi::SQLITE_SHM_LOCK | shared, [a].into_iter()), ffi::SQLITE_BUSY);
    }
}

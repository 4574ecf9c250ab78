//! The disk as the store sees its space. The reserve file is there, or not, at once and for good: nothing depends on it
//! that a crash could tell.

use std::io;

use outlay::store::embedded::Volume;

use super::SimDisk;

const RESERVE_NAME: &str = "store/reserve";
const FREE_BYTES_MAX: u64 = 2_000_000;

impl Volume for SimDisk {
    fn free(&self) -> io::Result<u64> {
        // Never so much that the store would look seldom.
        Ok(self.free_bytes().min(FREE_BYTES_MAX))
    }

    fn has_reserve(&self, bytes: u64) -> bool {
        self.file_bytes(RESERVE_NAME).is_some_and(|file| file.len() as u64 == bytes)
    }

    fn make_reserve(&self, bytes: u64) -> io::Result<()> {
        if self.free_bytes() < bytes {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.set_file_bytes(RESERVE_NAME, vec![0; usize::try_from(bytes).unwrap_or(0)]);
        Ok(())
    }

    fn drop_reserve(&self) -> io::Result<()> {
        self.remove_file(RESERVE_NAME);
        Ok(())
    }
}

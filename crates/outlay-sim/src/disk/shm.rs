//! The memory that the connections to one database share, in pieces that `SQLite` asks for and never gives back singly.
//!
//! Only `SQLite` reads and writes it; this side makes it, zeroed, and frees it when the last connection has let go.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::fmt;

/// The alignment of a region: at least that of the 64-bit words which `SQLite` keeps in it.
const ALIGN: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Shm {
    regions: Vec<Region>,
}

impl Shm {
    /// The address of a region, which stays the same for the life of this memory; `None` if it is not there and is not
    /// to be made.
    pub(super) fn region(&mut self, index: usize, bytes: usize, extend: bool) -> Option<*mut c_void> {
        if extend {
            while self.regions.len() <= index {
                self.regions.push(Region::new(bytes));
            }
        }
        self.regions.get(index).map(|region| region.memory.cast())
    }
}

struct Region {
    memory: *mut u8,
    layout: Layout,
}

// SAFETY: a region owns its memory and never looks into it; the address may be handed out and freed on any thread.
unsafe impl Send for Region {}

impl Region {
    fn new(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes.max(1), ALIGN).expect("SQLite asks for 32 KiB at a time");
        // SAFETY: the layout has a size above zero.
        let memory = unsafe { alloc_zeroed(layout) };
        if memory.is_null() {
            handle_alloc_error(layout);
        }
        Self { memory, layout }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        // SAFETY: made by `alloc_zeroed` with this layout, and dropped once. `State` keeps the memory until every open
        // file that mapped it has unmapped or closed, after which `SQLite` holds no address into it.
        unsafe { dealloc(self.memory, self.layout) }
    }
}

impl fmt::Debug for Region {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Region").field("bytes", &self.layout.size()).finish_non_exhaustive()
    }
}

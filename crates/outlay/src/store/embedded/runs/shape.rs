//! How a run is divided: blocks of its filter, chunks of blocks, segments of chunks. Each is a range of the hash, and
//! all come in the order of the hash.
//!
//! A chunk of the filter is one row, stored together with the last of its keys. A segment is one table, small enough to
//! be dropped within a batch. **The division is fixed**: a file holds it.

use std::ops::Range;

/// Keys for one block of 512 bits, at 16 bits a key.
const BLOCK_KEYS: u64 = 32;

/// How fine runs are divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Division {
    /// Blocks of a filter, each for 32 keys, that are stored in one row.
    pub chunk_blocks: u64,
    /// Chunks whose keys share one table.
    pub segment_chunks: u64,
}

impl Division {
    /// A chunk of 64 KiB for 32,768 keys, a segment of 10 MB for 524,288: `SQLite` drops it in 3 ms.
    pub const OF_FILES: Self = Self { chunk_blocks: 1024, segment_chunks: 16 };
}

/// The division of a run with a number of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    blocks: u64,
    division: Division,
}

impl Shape {
    pub(super) fn for_keys(keys: u64, division: Division) -> Self {
        Self { blocks: keys.div_ceil(BLOCK_KEYS).max(1), division }
    }

    pub(super) fn blocks(self) -> u64 {
        self.blocks
    }

    /// The block of a hash: the same share of all blocks as the hash is of all hashes.
    #[inline]
    pub(super) fn block_of(self, hash: u64) -> u64 {
        let wide = u128::from(hash) * u128::from(self.blocks);
        u64::try_from(wide >> 64).expect("the high half of 128 bits fits in 64")
    }

    pub(super) fn chunks(self) -> u64 {
        self.blocks.div_ceil(self.division.chunk_blocks)
    }

    pub(super) fn blocks_of_chunk(self, chunk: u64) -> Range<u64> {
        let first = chunk * self.division.chunk_blocks;
        first..(first + self.division.chunk_blocks).min(self.blocks)
    }

    /// The lowest and the highest hash of a chunk.
    pub(super) fn hashes_of_chunk(self, chunk: u64) -> (u64, u64) {
        self.hashes_of_blocks(self.blocks_of_chunk(chunk))
    }

    /// How many chunks lie whole at or below a hash, counted from the start. No key above the hash falls into one of
    /// them.
    pub(super) fn chunks_done_at(self, hash: Option<u64>) -> u64 {
        match hash {
            None => 0,
            Some(u64::MAX) => self.chunks(),
            Some(hash) => self.block_of(hash + 1) / self.division.chunk_blocks,
        }
    }

    pub(super) fn segment_of(self, hash: u64) -> u64 {
        self.block_of(hash) / self.segment_blocks()
    }

    /// The lowest and the highest hash of a segment.
    pub(super) fn hashes_of_segment(self, segment: u64) -> (u64, u64) {
        let first = segment * self.segment_blocks();
        self.hashes_of_blocks(first..(first + self.segment_blocks()).min(self.blocks))
    }

    pub(super) fn chunks_of_segment(self, segment: u64) -> Range<u64> {
        let first = segment * self.division.segment_chunks;
        first..(first + self.division.segment_chunks).min(self.chunks())
    }

    fn segment_blocks(self) -> u64 {
        self.division.chunk_blocks * self.division.segment_chunks
    }

    fn hashes_of_blocks(self, blocks: Range<u64>) -> (u64, u64) {
        let last = if blocks.end >= self.blocks { u64::MAX } else { self.first_hash_of_block(blocks.end) - 1 };
        (self.first_hash_of_block(blocks.start), last)
    }

    fn first_hash_of_block(self, block: u64) -> u64 {
        let first = (u128::from(block) << 64).div_ceil(u128::from(self.blocks));
        u64::try_from(first).unwrap_or(u64::MAX)
    }
}

/// The hash behind a cursor: the lowest that is not done.
pub(super) fn behind(cursor: Option<u64>) -> u64 {
    cursor.map_or(0, |cursor| cursor.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_and_segments_cover_every_hash_once() {
        for keys in [1, 32, 33, 64, 65, 1000, 500_000, 17_777_777] {
            for (chunk_blocks, segment_chunks) in [(1, 1), (3, 1), (2, 3), (1024, 16)] {
                let shape = Shape::for_keys(keys, Division { chunk_blocks, segment_chunks });
                let mut next = Some(0);
                let mut segment = 0;
                for chunk in 0..shape.chunks() {
                    let (first, last) = shape.hashes_of_chunk(chunk);
                    assert_eq!(Some(first), next, "keys {keys}, chunk {chunk}");
                    next = last.checked_add(1);
                    assert!(shape.blocks_of_chunk(chunk).contains(&shape.block_of(first)));
                    assert!(shape.blocks_of_chunk(chunk).contains(&shape.block_of(last)));
                    assert_eq!(shape.chunks_done_at(Some(last)), chunk + 1);
                    assert_eq!(shape.chunks_done_at(Some(last - 1)), chunk);
                    segment = shape.segment_of(first);
                    assert_eq!(segment, shape.segment_of(last));
                    assert!(shape.chunks_of_segment(segment).contains(&chunk));
                    let (lowest, highest) = shape.hashes_of_segment(segment);
                    assert_eq!(lowest == first, chunk % segment_chunks == 0);
                    assert_eq!(highest == last, chunk + 1 == shape.chunks_of_segment(segment).end);
                }
                assert_eq!(next, None, "the last chunk ends at the highest hash");
                assert_eq!(shape.segment_of(u64::MAX), segment);
            }
        }
    }
}

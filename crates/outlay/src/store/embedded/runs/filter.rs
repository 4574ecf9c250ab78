//! The Bloom filter of one run: 16 bits a key, in blocks of one cache line.
//!
//! It is our own, and not a crate's, for three reasons. A stored filter is asked again by later versions of the
//! program, and a probe sequence that changed in between would deny a key that is there: a duplicate would be booked
//! twice. The high bits of the hash choose the block, so keys that come in order fill the filter from its start to its
//! end, and a finished stretch of it can be stored together with the keys that it covers. And the bits of a hash
//! within a block are the same in every filter, so they are computed once and compared with one block of each run,
//! without a branch between the words.
//!
//! **The form is fixed**: a file holds it. A test pins it.

use super::shape::Shape;

/// Words of one block.
const BLOCK_WORDS: usize = 8;

/// Bytes of one stored block.
const BLOCK_BYTES: usize = BLOCK_WORDS * 8;

/// One cache line of a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(align(64))]
struct Block([u64; BLOCK_WORDS]);

impl Block {
    const EMPTY: Self = Self([0; BLOCK_WORDS]);
}

/// A hash made ready to be asked in any number of filters.
#[derive(Debug, Clone, Copy)]
pub(super) struct Probe {
    hash: u64,
    bits: Block,
}

impl Probe {
    /// One bit in each word of a block. They come from a mix of the hash, since all hashes of one block share their
    /// high bits.
    #[inline]
    pub(super) fn new(hash: u64) -> Self {
        let mut mixed = mix(hash);
        let mut bits = Block::EMPTY;
        for word in &mut bits.0 {
            *word = 1 << (mixed & 63);
            mixed >>= 6;
        }
        Self { hash, bits }
    }
}

/// Spreads a hash over all 64 bits (the finisher of `SplitMix64`), so that hashes which differ only in their high bits,
/// as short test hashes do, still differ in the low ones.
#[inline]
pub(super) fn mix(hash: u64) -> u64 {
    let mut mixed = hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The filter of one run, whole or filled up to some hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Filter {
    shape: Shape,
    /// Grows with the highest block that has a key, so that a large filter costs nothing when it is begun.
    blocks: Vec<Block>,
}

impl Filter {
    pub(super) fn new(shape: Shape) -> Self {
        let blocks = usize::try_from(shape.blocks()).expect("a filter fits in memory");
        Self { shape, blocks: Vec::with_capacity(blocks) }
    }

    #[cfg(test)]
    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Adding a hash again changes nothing.
    pub(super) fn add(&mut self, hash: u64) {
        let probe = Probe::new(hash);
        let index = index(self.shape.block_of(hash));
        if self.blocks.len() <= index {
            self.blocks.resize(index + 1, Block::EMPTY);
        }
        if let Some(block) = self.blocks.get_mut(index) {
            for (word, bit) in block.0.iter_mut().zip(probe.bits.0) {
                *word |= bit;
            }
        }
    }

    /// `false`: the hash was not added. `true`: it was, or (about once in a thousand) others set its bits.
    #[inline]
    pub(super) fn may_hold(&self, probe: &Probe) -> bool {
        let Some(block) = self.blocks.get(index(self.shape.block_of(probe.hash))) else {
            return false;
        };
        let missing = block.0.iter().zip(probe.bits.0).fold(0, |missing, (word, bit)| missing | (bit & !word));
        missing == 0
    }

    /// The stored form of a chunk: its words, little-endian.
    pub(super) fn chunk_bytes(&self, chunk: u64) -> Vec<u8> {
        let blocks = self.shape.blocks_of_chunk(chunk);
        let mut bytes = Vec::with_capacity(index(blocks.end - blocks.start) * BLOCK_BYTES);
        for block in blocks {
            let block = self.blocks.get(index(block)).unwrap_or(&Block::EMPTY);
            for word in block.0 {
                bytes.extend_from_slice(&word.to_le_bytes());
            }
        }
        bytes
    }

    /// Puts back a stored chunk. `false`, and nothing is changed, when the bytes do not have the chunk's length.
    #[must_use]
    pub(super) fn load_chunk(&mut self, chunk: u64, bytes: &[u8]) -> bool {
        let blocks = self.shape.blocks_of_chunk(chunk);
        let (first, after) = (index(blocks.start), index(blocks.end));
        if bytes.len() != (after - first) * BLOCK_BYTES {
            return false;
        }
        if self.blocks.len() < after {
            self.blocks.resize(after, Block::EMPTY);
        }
        let (words, _) = bytes.as_chunks::<8>();
        let places = self.blocks.iter_mut().skip(first).flat_map(|block| block.0.iter_mut());
        for (place, word) in places.zip(words) {
            *place = u64::from_le_bytes(*word);
        }
        true
    }
}

/// Whether a stored chunk, which its hash falls into, may hold a hash. Bytes of another length hold all: nobody asks them.
pub(super) fn piece_holds(shape: Shape, chunk: u64, bytes: &[u8], hash: u64) -> bool {
    let blocks = shape.blocks_of_chunk(chunk);
    if bytes.len() != index(blocks.end - blocks.start) * BLOCK_BYTES {
        return true;
    }
    let first = index(shape.block_of(hash).saturating_sub(blocks.start)) * BLOCK_BYTES;
    let words = bytes.get(first..first + BLOCK_BYTES).unwrap_or_default().as_chunks::<8>().0;
    Probe::new(hash).bits.0.iter().zip(words).all(|(bit, word)| u64::from_le_bytes(*word) & bit != 0)
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("a filter fits in memory")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::runs::shape::Division;

    /// The form of a filter that a file may hold: never change these bytes.
    #[test]
    fn the_stored_form_is_fixed() {
        let mut filter = Filter::new(Shape::for_keys(64, Division::OF_FILES));
        for hash in [0, 1, 0x7fff_ffff_ffff_ffff, 0x8000_0000_0000_0000, 0x1234_5678_9abc_def0, u64::MAX] {
            filter.add(hash);
        }
        let bytes = filter.chunk_bytes(0);
        assert_eq!(bytes.len(), 2 * BLOCK_BYTES);
        let first = bytes.iter().take(16).fold(String::new(), |text, byte| text + &format!("{byte:02x}"));
        assert_eq!(first, "02000000808100000800000000004804");
        assert_eq!(format!("{:016x}", xxhash_rust::xxh3::xxh3_64(&bytes)), "523c959a79535130");
    }

    #[test]
    fn what_was_added_is_held_and_little_else() {
        let keys = 100_000_u64;
        let mut filter = Filter::new(Shape::for_keys(keys, Division::OF_FILES));
        for key in 0..keys {
            filter.add(mix(key));
        }
        assert!((0..keys).all(|key| filter.may_hold(&Probe::new(mix(key)))));
        let wrong = (keys..2 * keys).filter(|key| filter.may_hold(&Probe::new(mix(*key)))).count();
        assert!(wrong < 200, "{wrong} of {keys} were wrongly held");

        let mut loaded = Filter::new(filter.shape());
        for chunk in 0..filter.shape().chunks() {
            assert!(loaded.load_chunk(chunk, &filter.chunk_bytes(chunk)));
        }
        assert!(!loaded.load_chunk(0, &[0; 8]));
        assert_eq!(loaded, filter);
    }
}

//! A long list in pieces, of which a copy shares all that does not change afterwards.

use std::sync::Arc;

/// Values in a piece: what is copied when one of them changes while a reader holds it.
const CHUNK: usize = 256;

#[derive(Debug, Clone)]
pub(super) struct Chunks<T> {
    chunks: Vec<Arc<Vec<T>>>,
    /// What stands for every piece in which nothing was set.
    nothing: Arc<Vec<T>>,
}

impl<T: Clone + Default> Default for Chunks<T> {
    fn default() -> Self {
        Self { chunks: Vec::new(), nothing: Arc::new(vec![T::default(); CHUNK]) }
    }
}

impl<T: Clone + Default> Chunks<T> {
    /// The value at a place; `None` when neither it nor one near it was ever set.
    pub(super) fn get(&self, index: usize) -> Option<&T> {
        self.chunks.get(index / CHUNK)?.get(index % CHUNK)
    }

    /// The value at a place, to change it. The list grows to hold it.
    pub(super) fn at(&mut self, index: usize) -> &mut T {
        while self.chunks.len() <= index / CHUNK {
            self.chunks.push(Arc::clone(&self.nothing));
        }
        let chunk = self.chunks.get_mut(index / CHUNK).map(Arc::make_mut);
        chunk.and_then(|chunk| chunk.get_mut(index % CHUNK)).expect("the list has grown to hold the place")
    }

    /// Every value with its place, those never set left out where a whole piece was not.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, &T)> {
        let set = self.chunks.iter().enumerate().filter(|(_, chunk)| !Arc::ptr_eq(chunk, &self.nothing));
        set.flat_map(|(place, chunk)| {
            chunk.iter().enumerate().map(move |(within, value)| (place * CHUNK + within, value))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_stays_as_it_was_and_shares_what_does_not_change() {
        let mut chunks = Chunks::<u64>::default();
        *chunks.at(3 * CHUNK) = 7;
        *chunks.at(3) = 5;
        let copy = chunks.clone();
        *chunks.at(3) = 6;
        *chunks.at(10 * CHUNK + 1) = 8;
        let set = |chunks: &Chunks<u64>| -> Vec<(usize, u64)> {
            chunks.iter().filter(|(_, value)| **value != 0).map(|(place, value)| (place, *value)).collect()
        };
        assert_eq!(set(&copy), [(3, 5), (3 * CHUNK, 7)]);
        assert_eq!(set(&chunks), [(3, 6), (3 * CHUNK, 7), (10 * CHUNK + 1, 8)]);
        assert_eq!((chunks.get(CHUNK), copy.get(10 * CHUNK + 1)), (Some(&0), None));
        assert!(Arc::ptr_eq(&chunks.chunks[3], &copy.chunks[3]));
        assert_eq!(chunks.iter().count(), 3 * CHUNK, "pieces that were never set are not walked through");
    }
}

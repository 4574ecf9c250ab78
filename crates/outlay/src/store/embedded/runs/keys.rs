//! The keys of the duplicate index, and the map of the newest of them.

use std::fmt;
use std::hash::Hasher as _;

use hashbrown::HashTable;
use siphasher::sip::SipHasher13;

use super::filter::mix;

/// The secret under which identifiers are hashed: 16 random bytes, made once with the file and kept in it.
///
/// Without it a client could choose identifiers that share one hash.
#[derive(Clone, Copy)]
pub struct HashKey([u8; 16]);

impl HashKey {
    /// Takes the bytes that the file keeps.
    pub fn new(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// SipHash-1-3 of the user's number (8 bytes, little-endian) followed by the text.
    pub(super) fn hash(&self, user_no: u64, text: &str) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(&user_no.to_le_bytes());
        hasher.write(text.as_bytes());
        hasher.finish()
    }
}

impl fmt::Debug for HashKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("HashKey(..)")
    }
}

/// A row of the caller's table under the hash of its identifier. Keys are ordered by hash, then by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) hash: u64,
    pub(super) id: u64,
}

/// A hash as `SQLite` keeps it: a signed integer in the same order.
pub(super) fn stored_hash(hash: u64) -> i64 {
    (hash ^ (1 << 63)).cast_signed()
}

/// The hash that `SQLite` keeps as `stored`.
pub(super) fn loaded_hash(stored: i64) -> u64 {
    stored.cast_unsigned() ^ (1 << 63)
}

/// The newest keys. A hash may have any number of them.
#[derive(Debug)]
pub(super) struct KeyMap(HashTable<Key>);

impl KeyMap {
    /// A map with room for `keys`, so that it does not grow while operations wait.
    pub(super) fn with_room_for(keys: usize) -> Self {
        Self(HashTable::with_capacity(keys))
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn insert(&mut self, key: Key) {
        self.0.insert_unique(mix(key.hash), key, |key| mix(key.hash));
    }

    pub(super) fn remove(&mut self, key: Key) {
        if let Ok(entry) = self.0.find_entry(mix(key.hash), |other| *other == key) {
            entry.remove();
        }
    }

    #[inline]
    pub(super) fn ids(&self, hash: u64) -> impl Iterator<Item = u64> {
        self.0.iter_hash(mix(hash)).filter(move |key| key.hash == hash).map(|key| key.id)
    }

    /// Empties the map, which keeps its memory.
    pub(super) fn take_sorted(&mut self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.0.drain().collect();
        keys.sort_unstable();
        keys
    }

    #[cfg(test)]
    pub(super) fn sorted(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.0.iter().copied().collect();
        keys.sort_unstable();
        keys
    }
}

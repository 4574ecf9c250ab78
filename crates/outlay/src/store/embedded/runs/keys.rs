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
    pub(super) fn take(&mut self) -> FrozenKeys {
        let keys = FrozenKeys::new(self.0.iter().copied());
        self.0.clear();
        keys
    }

    #[cfg(test)]
    pub(super) fn sorted(&self) -> Vec<Key> {
        let mut keys: Vec<Key> = self.0.iter().copied().collect();
        keys.sort_unstable();
        keys
    }
}

/// High bits of a hash that choose the bucket of a frozen key.
const BUCKET_BITS: u32 = 11;

/// The keys of a full map in order, which are put in order as late as possible: first only by buckets, which takes a
/// tenth of the time, and within a bucket when its keys are needed.
#[derive(Debug)]
pub(super) struct FrozenKeys {
    /// In order of their buckets.
    keys: Vec<Key>,
    /// So many are in order of their hashes, and of their rows. Buckets are sorted whole.
    sorted: usize,
}

impl FrozenKeys {
    /// Takes the keys in any order.
    pub(super) fn new(keys: impl Iterator<Item = Key> + Clone) -> Self {
        let mut places = vec![0_usize; 1 << BUCKET_BITS];
        for key in keys.clone() {
            if let Some(place) = places.get_mut(bucket(key.hash)) {
                *place += 1;
            }
        }
        let mut count = 0;
        for place in &mut places {
            count += std::mem::replace(place, count);
        }
        let mut ordered = vec![Key { hash: 0, id: 0 }; count];
        for key in keys {
            if let Some(place) = places.get_mut(bucket(key.hash)) {
                if let Some(slot) = ordered.get_mut(*place) {
                    *slot = key;
                }
                *place += 1;
            }
        }
        Self { keys: ordered, sorted: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Key> {
        self.keys.iter()
    }

    pub(super) fn find_ids(&self, hash: u64, ids: &mut Vec<u64>) {
        let bucket_of_hash = bucket(hash);
        let first = self.keys.partition_point(|key| bucket(key.hash) < bucket_of_hash);
        let keys = self.keys.iter().skip(first).take_while(|key| bucket(key.hash) == bucket_of_hash);
        ids.extend(keys.filter(|key| key.hash == hash).map(|key| key.id));
    }

    /// How many keys have a hash up to the cursor.
    pub(super) fn count_up_to(&mut self, cursor: u64) -> usize {
        let end = self.keys.partition_point(|key| bucket(key.hash) <= bucket(cursor));
        self.sort_to(end);
        self.keys.get(..end).unwrap_or_default().partition_point(|key| key.hash <= cursor)
    }

    /// The keys from position `first` to `after`, in order, and those behind them that share the last one's hash: a
    /// cursor is a hash.
    pub(super) fn slice(&mut self, first: usize, after: usize) -> &[Key] {
        self.sort_to(after);
        let mut end = after.min(self.keys.len());
        if let Some(last) = self.keys.get(first..end).and_then(<[Key]>::last) {
            end += self.keys.iter().skip(end).take_while(|key| key.hash == last.hash).count();
        }
        self.keys.get(first..end).unwrap_or_default()
    }

    /// Sorts whole buckets until the first `count` keys are in order. Equal hashes share a bucket.
    fn sort_to(&mut self, count: usize) {
        while self.sorted < count {
            let Some(unsorted) = self.keys.get_mut(self.sorted..) else {
                return;
            };
            let Some(first) = unsorted.first().map(|key| bucket(key.hash)) else {
                return;
            };
            let length = unsorted.iter().take_while(|key| bucket(key.hash) == first).count();
            if let Some(keys) = unsorted.get_mut(..length) {
                keys.sort_unstable();
            }
            self.sorted += length;
        }
    }
}

fn bucket(hash: u64) -> usize {
    usize::try_from(hash >> (64 - BUCKET_BITS)).expect("a bucket is a small number")
}

//! The hash map of the books: fast, and seeded by the caller, so that a replay iterates as the first run did.

/// Builds the hasher of every [`Map`]; the seed is chosen once per process, at random in production.
pub type Seed = foldhash::fast::FixedState;

/// A hash map whose order depends only on its seed and its history.
pub type Map<K, V> = hashbrown::HashMap<K, V, Seed>;

//! The simulation: the parts of the world that a run from a seed replaces.
//!
//! - [`disk`]: a disk in memory under the real `SQLite`, which loses power, runs full and fails as it is told.

pub mod disk;

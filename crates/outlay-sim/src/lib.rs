//! The simulation: the real service on real `SQLite`, over a disk and a clock that follow a seed, in one thread.
//!
//! - [`disk`]: a disk in memory under the real `SQLite`, which loses power, runs full and fails as it is told.
//! - [`clock`]: a clock that stands where it is put.
//! - [`service`]: one process of the service, driven by hand.
//! - [`said`]: what the store says of its own work.
//! - [`seeds`]: the cases of many seeds, and how far they got.
//! - [`fault`]: what goes wrong, and how often each was seen.
//! - [`oracle`]: what must be true of a store, whatever went wrong.
//! - [`history`]: what clients were told, and what a server must show of it.
//! - [`queries`]: reads with any filters and pages.
//! - [`wire`]: the API of that process, asked without a network.
//! - [`scenario`]: S1 to S23 as requests, with a crash at every write.
//! - [`stream`]: random commands and faults from a seed.
//! - [`nodes`]: several nodes over a model of PostgreSQL, likewise.
//!
//! # What it sees
//! Mistakes are planted to see them found: patches of the program in `mistakes/`, each tried on a copy by `cargo xtask mistakes`
//! until a seed tells, and mistakes that a node can be told to make ([`nodes::Mistake`]), of which a test has each found.
//! `docs/testing.md` says which seed told of each.

pub mod clock;
pub mod disk;
pub mod fault;
pub mod history;
pub mod nodes;
pub mod oracle;
pub mod queries;
pub mod said;
pub mod scenario;
pub mod seeds;
pub mod service;
pub mod stream;
pub mod wire;

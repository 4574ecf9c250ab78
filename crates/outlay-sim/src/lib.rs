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
//! - [`wire`]: the API of that process, asked without a network.
//! - [`scenario`]: S1 to S23 as requests, with a crash at every write.
//! - [`stream`]: random commands and faults from a seed.
//! - [`nodes`]: several nodes over a model of PostgreSQL, likewise.
//!
//! # What it sees
//! Mistakes that were put in by hand, and where each was caught:
//!
//! | mistake | caught by |
//! |---|---|
//! | commits are not synced (`synchronous = off`) | stream 1 |
//! | a batch is acknowledged although its commit failed | stream 4, which gets stuck |
//! | a batch is shown to readers before its commit | stream 6, which gets stuck |
//! | the duplicate index is not rolled back with its batch | stream 97 |
//! | a colliding hash is taken for a duplicate | stream 2 |
//! | the sum of a row is not written | stream 1 |
//! | a hold is set aside, or given back, in its first month only | stream 2 |
//! | the days of users, or of sessions, are not forgotten with a batch that was rolled back | stream 6 |
//! | a day that is no longer the newest of its month is not written to a row of its own | stream 2 |
//! | open holds are not loaded again after a batch that was rolled back | stream 79 |
//! | the file's cursor of a run that is built does not move with its keys | stream 4 |
//! | the memory's count of a run that is built does not | stream 5 |
//! | the cursor of a merge does not move with its keys | stream 20 |
//! | a frozen map is forgotten by a start | stream 4 |
//! | a rollback journal in place of the log, after a write that failed while the store was opened | `tests/start.rs` |
//!
//! Those of several nodes are built in ([`nodes::Mistake`]), so that a test sees each of them caught.

pub mod clock;
pub mod disk;
pub mod fault;
pub mod history;
pub mod nodes;
pub mod oracle;
pub mod said;
pub mod scenario;
pub mod seeds;
pub mod service;
pub mod stream;
pub mod wire;

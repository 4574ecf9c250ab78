//! The simulation: the real service on real `SQLite`, over a disk and a clock that follow a seed, in one thread.
//!
//! - [`disk`]: a disk in memory under the real `SQLite`, which loses power, runs full and fails as it is told.
//! - [`clock`]: a clock that stands where it is put.
//! - [`service`]: one process of the service, driven by hand.
//! - [`said`]: what the store says of its own work.
//! - [`fault`]: what goes wrong, and how often each was seen.
//! - [`oracle`]: what must be true of a store, whatever went wrong.
//! - [`wire`]: the API of that process, asked without a network.
//! - [`scenario`]: S1 to S23 as requests, with a crash at every write.
//! - [`stream`]: random commands and faults from a seed.
//!
//! # What it sees
//! Mistakes that were put in by hand, and where each was caught:
//!
//! | mistake | caught by |
//! |---|---|
//! | commits are not synced (`synchronous = off`) | S1 with seed 1, a power cut at call 75; stream 1 |
//! | a batch is acknowledged although its commit failed | stream 2 |
//! | a batch is shown to readers before its commit | stream 6 |
//! | the duplicate index is not rolled back with its batch | stream 6 |
//! | a colliding hash is taken for a duplicate | stream 3; S4 with seed 1 |
//! | the sum of a row is not written | stream 1 |
//! | a rollback journal in place of the log, after a write that failed while the store was opened | `tests/start.rs` |

pub mod clock;
pub mod disk;
pub mod fault;
pub mod oracle;
pub mod said;
pub mod scenario;
pub mod service;
pub mod stream;
pub mod wire;

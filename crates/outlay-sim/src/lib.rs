//! The simulation: the real service on real `SQLite`, over a disk and a clock that follow a seed, in one thread.
//!
//! - [`disk`]: a disk in memory under the real `SQLite`, which loses power, runs full and fails as it is told.
//! - [`clock`]: a clock that stands where it is put.
//! - [`service`]: one process of the service, driven by hand.
//! - [`fault`]: what goes wrong, and how often each was seen.
//! - [`oracle`]: what must be true of a store, whatever went wrong.
//! - [`wire`]: the API of that process, asked without a network.
//! - [`scenario`]: S1 to S23 as requests, with a crash at every write.
//! - [`stream`]: random commands and faults from a seed.

pub mod clock;
pub mod disk;
pub mod fault;
pub mod oracle;
pub mod scenario;
pub mod service;
pub mod stream;
pub mod wire;

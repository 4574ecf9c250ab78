//! The black box: the built `outlay` program, started in a folder of its own and asked over HTTP and on the command line.
//! Everything here is written from the contract; nothing here knows a type of the program.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a black box has a real clock, an environment and threads, and is not replayed"
)]
#![expect(
    clippy::duplicate_mod,
    reason = "the scenarios are run by one server on its folder, and by nodes on PostgreSQL"
)]
#![expect(clippy::similar_names, reason = "the meters are called aiRuns and apiRuns")]

mod api;
mod attack;
mod audit;
mod bad_input;
mod cli;
mod crash;
mod events;
mod kept;
mod logs;
mod nodes;
mod packaging;
#[cfg(feature = "test-clock")]
mod replies;
#[cfg(feature = "test-clock")]
mod retention;
mod rules;
mod scenario;
mod secured;
mod silence;
mod space;
mod support;
mod tidy;
mod told;
mod traces;
mod upgrade;

/// What the scenarios are run by here; in [`nodes`] it is another.
use support::Server as Ledger;

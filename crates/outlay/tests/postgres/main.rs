//! The PostgreSQL store where servers fail: standbys that go, primaries that are replaced, machines that stand still. Real
//! servers, and the store as a program uses it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says how long things took"
)]
#![expect(clippy::disallowed_methods, reason = "what servers do happens in real time, and is not replayed")]

mod failover;
mod faults;
mod node;
mod processes;
#[path = "../../src/store/postgres/tests/proxy.rs"]
#[expect(dead_code, reason = "the store's own tests cut connections in more ways")]
mod proxy;
#[path = "../../src/store/postgres/tests/server.rs"]
mod server;
mod standby;

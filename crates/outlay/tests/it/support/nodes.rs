//! Several servers on one database, asked in turn, as behind a load balancer that knows nothing of users.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::asks::{Asks, Caller};
use super::postgres::Database;
use super::server::{Server, Setup};

/// Nodes of one database. Each request goes to the next of them.
pub(crate) struct Nodes {
    pub(crate) all: Vec<Server>,
    pub(crate) database: Database,
    turn: AtomicUsize,
}

impl Nodes {
    /// Two nodes.
    #[track_caller]
    pub(crate) fn open() -> Nodes {
        Nodes::of(2, Setup::open())
    }

    /// So many nodes, which start one after the other.
    #[track_caller]
    pub(crate) fn of(count: usize, setup: Setup) -> Nodes {
        Nodes::started(count, setup, Setup::start)
    }

    /// Two nodes whose clocks stand at `now` until [`Nodes::clock`] moves them.
    #[cfg(feature = "test-clock")]
    #[track_caller]
    pub(crate) fn at(now: &str) -> Nodes {
        Nodes::started(2, Setup::open(), |setup| Server::at_with(now, setup))
    }

    #[track_caller]
    fn started(count: usize, setup: Setup, start: impl Fn(Setup) -> Server) -> Nodes {
        let database = Database::new();
        let setup = setup.on(&database);
        let all = (0..count).map(|_| start(setup.clone())).collect();
        Nodes { all, database, turn: AtomicUsize::new(0) }
    }

    #[cfg(feature = "test-clock")]
    pub(crate) fn clock(&self, now: &str) {
        self.all.iter().for_each(|node| node.clock(now));
    }

    /// `outlay verify` finds nothing, at any of them.
    #[track_caller]
    pub(crate) fn verifies(&self) {
        self.caller().server.verifies();
    }
}

impl Asks for Nodes {
    fn caller(&self) -> Caller<'_> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        self.all[turn % self.all.len()].caller()
    }
}

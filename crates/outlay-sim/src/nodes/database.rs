//! A model of a PostgreSQL database with a synchronous standby: what its clients can see of locks, commits, standbys and
//! failovers, as the design's table of facts says it, and nothing of how it does that.
//!
//! A commit stands in the log as soon as the server has it. It waits there for the standby, with its locks, seen by
//! nobody. It is shown when the standby has it, or before, when its wait is cancelled, its session is ended or the
//! server starts anew. A failover keeps all that a standby has, and some or nothing of what comes after that.

mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outlay::store::Reply;
use outlay_core::ledger::{Command, Now};
use outlay_core::month::Timestamp;
use outlay_core::operation::Operation;
use outlay_core::plan::Plans;
use outlay_model::generate::Random;

use super::case::{POISON_PICOS, Rates};
use super::tables::{Change, Tables};
use crate::fault::Sometimes;

pub use events::Event;

/// A command that a transaction decided: what the naive model is asked again, in the order of the log.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Which bucket it is about.
    pub bucket: usize,
    /// By which request it came; none for the sweeper's.
    pub request: Option<u64>,
    /// The command.
    pub command: Command,
    /// What it came to.
    pub reply: Reply,
}

/// A committed transaction in the log.
#[derive(Debug)]
pub struct Entry {
    /// Its mark.
    pub batch: [u8; 16],
    /// The time that it was decided at.
    pub now: Now,
    /// What it changes, bucket by bucket.
    pub changes: Vec<Change>,
    /// What it decided.
    pub decided: Vec<Decided>,
    /// The requests whose records it writes.
    pub records: Vec<u64>,
}

/// Where an entry stands.
#[derive(Debug, Clone)]
pub struct Logged {
    /// The entry.
    pub entry: Arc<Entry>,
    /// Whether transactions see it.
    pub visible: bool,
}

/// What the server knows of a client's transaction.
#[derive(Debug)]
enum Phase {
    /// None is open.
    Idle,
    /// One is open.
    Open,
    /// COMMIT is on its way to the server.
    Committing(Arc<Entry>),
    /// It is in the log and waits for the standby.
    Waiting(usize),
}

/// What came back for COMMIT and what was sent with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Committed {
    /// All is well, and the standby has it.
    Well,
    /// All is well, but for a notice that the wait for the standby was cut short.
    WaitCut,
    /// A statement was refused with this code, and COMMIT was answered ROLLBACK, which is no error.
    RolledBack(&'static str),
    /// COMMIT itself was refused with this code.
    Refused(&'static str),
}

#[derive(Debug)]
struct Backend {
    phase: Phase,
    locks: BTreeSet<usize>,
    /// Whether its client is still there.
    heard: bool,
    answer: Option<Committed>,
}

/// What a client is told of a statement that was not carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The server says so, with this SQLSTATE.
    Said(&'static str),
    /// The connection is lost.
    Lost,
}

/// Codes by which statements before COMMIT are refused.
const STATEMENTS_END_BY: [(&str, &str); 6] = [
    ("40001", "a statement was aborted by 40001"),
    ("40P01", "a statement was aborted by 40P01"),
    ("57P01", "a statement was refused by a server that goes down"),
    ("25006", "a statement was refused by a server that takes no writes"),
    ("53100", "a statement was refused since the server's disk is full"),
    ("XX000", "a statement was refused for what nobody knows a cure for"),
];

/// The state of the database; one for all nodes.
#[derive(Debug)]
pub struct State {
    /// Its clock, `clock_timestamp()`.
    pub clock: Timestamp,
    /// What transactions see, bucket by bucket.
    pub tables: Vec<Tables>,
    /// The plans that hold, and how often they changed.
    pub plans: (i64, Plans),
    /// All that is committed here.
    pub log: Vec<Logged>,
    /// How many entries of the log the standby has.
    pub replicated: usize,
    /// How often another server took over.
    pub timeline: u32,
    /// What was seen.
    pub sometimes: Sometimes,
    backends: BTreeMap<u64, Backend>,
    /// What sessions that are ended still said to their clients.
    last_words: BTreeMap<u64, Committed>,
    next_backend: u64,
    /// Whether it can be connected to.
    up: bool,
    /// Whether the standby is connected.
    standby: bool,
    rates: Rates,
    random: Random,
    begin: Timestamp,
}

/// A handle of the database.
#[derive(Debug, Clone)]
pub struct Database {
    state: Arc<Mutex<State>>,
}

impl Database {
    /// An empty one with so many buckets.
    pub fn new(buckets: usize, clock: Timestamp, rates: Rates, random: Random) -> Self {
        let state = State {
            clock,
            tables: vec![Tables::new(clock); buckets],
            plans: (0, Plans::standard()),
            log: Vec::new(),
            replicated: 0,
            timeline: 1,
            sometimes: Sometimes::default(),
            backends: BTreeMap::new(),
            last_words: BTreeMap::new(),
            next_backend: 0,
            up: true,
            standby: true,
            rates,
            random,
            begin: clock,
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Its state, for as long as nobody else does anything.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// What clients ask of it.
impl State {
    pub(super) fn saw(&mut self, event: &'static str) {
        self.sometimes.saw(event);
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random.percent(percent)
    }

    pub(super) fn connect(&mut self) -> Result<u64, Refusal> {
        if !self.up {
            return Err(Refusal::Lost);
        }
        self.next_backend += 1;
        let backend = Backend { phase: Phase::Idle, locks: BTreeSet::new(), heard: true, answer: None };
        self.backends.insert(self.next_backend, backend);
        Ok(self.next_backend)
    }

    /// The client is gone. The server finds out later, and goes on with what it was told before.
    pub(super) fn hang_up(&mut self, id: u64) {
        if let Some(backend) = self.backends.get_mut(&id) {
            backend.heard = false;
            if matches!(backend.phase, Phase::Idle) {
                self.backends.remove(&id);
            }
        }
    }

    /// Before a statement is carried out, one thing or another may go wrong.
    pub(super) fn reach(&mut self, id: u64) -> Result<(), Refusal> {
        if !self.backends.contains_key(&id) {
            return Err(Refusal::Lost);
        }
        if self.chance(self.rates.cut) {
            self.saw("a connection was cut before COMMIT");
            self.hang_up(id);
            return Err(Refusal::Lost);
        }
        if self.chance(self.rates.abort) {
            let (code, what) = self.random.pick(&STATEMENTS_END_BY);
            self.saw(what);
            return Err(Refusal::Said(code));
        }
        Ok(())
    }

    /// Whether the connection is still there.
    pub(super) fn reach_still(&self, id: u64) -> Result<(), Refusal> {
        if self.backends.contains_key(&id) { Ok(()) } else { Err(Refusal::Lost) }
    }

    pub(super) fn begin(&mut self, id: u64) {
        if let Some(backend) = self.backends.get_mut(&id) {
            backend.phase = Phase::Open;
        }
    }

    /// Ends a transaction that nothing came of.
    pub(super) fn roll_back(&mut self, id: u64) -> Result<(), Refusal> {
        let backend = self.backends.get_mut(&id).ok_or(Refusal::Lost)?;
        backend.phase = Phase::Idle;
        backend.locks.clear();
        Ok(())
    }

    fn is_free(&self, bucket: usize, for_id: u64) -> bool {
        self.backends.iter().all(|(id, backend)| *id == for_id || !backend.locks.contains(&bucket))
    }

    /// Locks a bucket, if nobody has it.
    pub(super) fn lock(&mut self, id: u64, bucket: usize) -> bool {
        let free = self.is_free(bucket, id);
        if let Some(backend) = self.backends.get_mut(&id).filter(|_| free) {
            backend.locks.insert(bucket);
        }
        free
    }

    /// Whether a lock that is waited for is given up now.
    pub(super) fn is_lock_timeout(&mut self) -> bool {
        self.chance(self.rates.lock_timeout)
    }

    /// Takes what was sent together with COMMIT. What becomes of it is seen later; an error is what the client sees now.
    pub(super) fn commit(&mut self, id: u64, entry: Arc<Entry>) -> Result<(), Refusal> {
        if !self.backends.contains_key(&id) {
            return Err(Refusal::Lost);
        }
        if self.chance(self.rates.cut) {
            self.saw("a connection was cut on the way to COMMIT");
            self.hang_up(id);
            return Err(Refusal::Lost);
        }
        let refused = entry
            .changes
            .iter()
            .find_map(|change| self.tables.get(change.bucket).and_then(|tables| tables.allows(&change.written).err()));
        let is_poison = |operation: &Arc<Operation>| operation.cost.picos() == POISON_PICOS;
        let poisoned = entry.changes.iter().any(|change| change.written.operations.iter().any(is_poison));
        let refused = match refused {
            Some(code) => Some(code),
            None if self.rates.poison && poisoned => {
                self.saw("a batch could not be written for one of its commands");
                Some("22003")
            }
            None if self.chance(self.rates.abort) => Some("40001"),
            None => None,
        };
        let at_commit = refused.is_none() && self.chance(self.rates.abort);
        let eaten = self.chance(self.rates.cut);
        let backend = self.backends.get_mut(&id).ok_or(Refusal::Lost)?;
        match refused {
            Some(code) => {
                backend.answer = Some(Committed::RolledBack(code));
                backend.phase = Phase::Idle;
                backend.locks.clear();
                self.saw("COMMIT was answered ROLLBACK without an error");
            }
            None if at_commit => {
                backend.answer = Some(Committed::Refused("40001"));
                backend.phase = Phase::Idle;
                backend.locks.clear();
                self.saw("COMMIT was aborted by 40001");
            }
            None => backend.phase = Phase::Committing(entry),
        }
        if eaten {
            self.saw("a connection was cut after COMMIT was sent");
            self.hang_up(id);
            return Err(Refusal::Lost);
        }
        Ok(())
    }

    /// The answer to COMMIT, once it is there.
    pub(super) fn answer(&mut self, id: u64) -> Result<Option<Committed>, Refusal> {
        if let Some(last_word) = self.last_words.remove(&id) {
            return Ok(Some(last_word));
        }
        let backend = self.backends.get_mut(&id).ok_or(Refusal::Lost)?;
        Ok(backend.answer.take())
    }

    /// Whether the client's own watch over COMMIT ends now.
    pub(super) fn is_watch_over(&mut self) -> bool {
        self.chance(self.rates.watch)
    }

    /// How many entries of the log transactions see, and the standby has.
    pub fn counts(&self) -> (usize, usize, u32) {
        (self.log.iter().filter(|logged| logged.visible).count(), self.replicated, self.timeline)
    }

    /// Whether nothing is on its way.
    pub fn is_quiet(&self) -> bool {
        self.backends.values().all(|backend| matches!(backend.phase, Phase::Idle))
    }

    /// Whether somebody sees a row that no standby has.
    pub fn shows_what_may_be_lost(&self) -> bool {
        self.log.iter().skip(self.replicated).any(|logged| logged.visible)
    }

    /// Nothing goes wrong any more.
    pub fn heal(&mut self) {
        // What cannot be written cannot be written.
        let poison = self.rates.poison;
        (self.rates, self.standby, self.up) = (Rates { poison, ..Rates::default() }, true, true);
    }
}

//! Several nodes over a model of PostgreSQL: the writer, the rules of its lanes and the core's decisions are the real ones,
//! the database is a model of what its clients can see ([`database`]), and all of it follows a seed, in one thread.
//!
//! A case is drawn whole before it runs, each turn with dice of its own, so that turns can be taken out of a failing case
//! and the rest still means the same. Clients ask any node, now and then two at once, and ask again with the same ids at
//! any other when they do not know what became of it. Nodes are killed and started. What happens to the database: aborted
//! statements and commits, connections that are cut before COMMIT, at it and after it, commits that nobody waits for any
//! longer, waits for the standby that are cancelled, sessions that are ended, a standby that goes, a server that starts
//! anew, and one that takes over, with all that was acknowledged and any part of what was not.
//!
//! # What it sees
//! [`Mistake`] are mistakes that a node can be told to make; a test has each of them made, and wants to see it found.

mod batches;
pub mod case;
pub mod database;
mod link;
pub mod mistake;
mod oracle;
mod records;
mod run;
mod store;
pub mod tables;

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

pub use case::{Case, Turn, case};
pub use mistake::Mistake;

use crate::fault::Sometimes;
use crate::stream::{quietly, smaller};
use run::Run;

/// What a run that found nothing wrong leaves.
#[derive(Debug, Clone)]
pub struct Report {
    /// A hash over all that happened: the same seed gives the same.
    pub trace: u64,
    /// What was seen.
    pub sometimes: Sometimes,
}

/// A run that found something wrong.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed of the case.
    pub seed: u64,
    /// The turns that are left of it after all were taken out that it does without.
    pub case: Case,
    /// In which turn of these it is seen.
    pub turn: usize,
    /// What is wrong.
    pub problem: String,
    /// What was asked and what happened, in order.
    pub log: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, case, turn, problem, log } = self;
        let Case { nodes, bits, rates, turns, .. } = case;
        let buckets = 1 << bits;
        let turns = turns.len();
        writeln!(
            formatter,
            "seed {seed} fails in turn {turn} of {turns}, {nodes} nodes, {buckets} buckets, {rates:?}:"
        )?;
        for line in log {
            writeln!(formatter, "  {line}")?;
        }
        writeln!(formatter, "{problem}")?;
        write!(formatter, "replay: cargo run --release -p outlay-sim -- --nodes --seed {seed}")
    }
}

/// Runs the case of a seed, cut off after so many turns if there are more, with a mistake or without.
///
/// # Errors
/// When something is wrong; the case is made smaller first.
pub fn run(seed: u64, turns: Option<usize>, mistake: Option<Mistake>) -> Result<Report, Box<Failure>> {
    let mut case = case(seed);
    case.turns.truncate(turns.unwrap_or(usize::MAX));
    attempt(seed, &case, mistake).map_err(|failure| {
        smaller(case.turns.clone(), failure, |turns| {
            attempt(seed, &Case { turns: turns.to_vec(), ..case.clone() }, mistake)
        })
    })
}

/// Whether a mistake is found in the run of a seed.
pub fn finds(seed: u64, mistake: Mistake) -> Option<Box<Failure>> {
    attempt(seed, &case(seed), Some(mistake)).err()
}

/// Every so many seeds are run twice by [`many`]: the same seed must give the same run.
const TWICE_EVERY: u64 = 50;

fn run_checked(seed: u64, turns: Option<usize>, mistake: Option<Mistake>) -> Result<Report, Box<Failure>> {
    let report = run(seed, turns, mistake)?;
    if seed.is_multiple_of(TWICE_EVERY) && run(seed, turns, mistake)?.trace != report.trace {
        let problem = "two runs of this seed differ: something does not follow from it".to_owned();
        return Err(Box::new(Failure { seed, case: case(seed), turn: 0, problem, log: Vec::new() }));
    }
    Ok(report)
}

fn attempt(seed: u64, case: &Case, mistake: Option<Mistake>) -> Result<Report, Box<Failure>> {
    let mut run = Run::new(seed, case, mistake);
    let problem = match quietly(|| run.all(&case.turns)) {
        Ok(Ok(())) => return Ok(Report { trace: run.trace(), sometimes: run.sometimes() }),
        Ok(Err(problem)) | Err(problem) => problem,
    };
    Err(Box::new(Failure { seed, case: case.clone(), turn: run.turn(), problem, log: run.log().to_vec() }))
}

/// What many runs leave.
#[derive(Debug, Default)]
pub struct Many {
    /// How many seeds were run.
    pub seeds: u64,
    /// What was seen in them.
    pub sometimes: Sometimes,
    /// What was wrong; after the first failure no more seeds are begun.
    pub failures: Vec<Failure>,
}

/// Runs the cases of these seeds, each cut off after so many turns if there are more, with a mistake or without.
pub fn many(seeds: Range<u64>, threads: usize, turns: Option<usize>, mistake: Option<Mistake>) -> Many {
    let next = AtomicU64::new(seeds.start);
    let all = Mutex::new(Many::default());
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = run_checked(seed, turns, mistake);
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    all.seeds += 1;
                    match result {
                        Ok(report) => all.sometimes.add(&report.sometimes),
                        Err(failure) => all.failures.push(*failure),
                    }
                    if !all.failures.is_empty() {
                        return;
                    }
                }
            });
        }
    });
    all.into_inner().unwrap_or_else(PoisonError::into_inner)
}

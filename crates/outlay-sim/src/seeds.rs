//! Seeds: running the case of one, or those of many on several threads, and making a case that fails smaller.
//!
//! What a case is and what it does is said by a [`Simulation`].

mod watch;

use std::fmt;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::fault::Sometimes;
use watch::{watch, watched};

/// A kind of simulation.
pub trait Simulation: Sync {
    /// What a seed stands for.
    type Case: Clone;
    /// A step of it.
    type Turn: Clone;

    /// What is said to the program, beside the seed, to have the same again.
    fn arguments(&self) -> String;

    /// The case of a seed.
    fn case(&self, seed: u64) -> Self::Case;

    /// What happens in it, in order.
    fn turns(case: &mut Self::Case) -> &mut Vec<Self::Turn>;

    /// What a case is like, but for its turns.
    fn describe(case: &Self::Case) -> String;

    /// Runs a case. A panic is caught by who calls it.
    fn attempt(&self, seed: u64, case: &Self::Case, wrong: &mut Wrong) -> Result<Report, String>;
}

/// Where a run is when something is wrong, kept up to date by the run's end.
#[derive(Debug, Clone, Default)]
pub struct Wrong {
    /// The turn.
    pub turn: usize,
    /// What was sent and what happened, in order.
    pub log: Vec<String>,
}

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
    /// What the case is like.
    pub case: String,
    /// How many turns are left of it.
    pub turns: usize,
    /// In which of these it is seen.
    pub turn: usize,
    /// What is wrong.
    pub problem: String,
    /// What was sent and what happened, in order.
    pub log: Vec<String>,
    /// How to have it again.
    pub replay: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, case, turns, turn, problem, log, replay } = self;
        writeln!(formatter, "seed {seed} fails in turn {turn} of {turns} turns, {case}:")?;
        for line in log {
            writeln!(formatter, "  {line}")?;
        }
        write!(formatter, "{problem}\nreplay: {replay}")
    }
}

/// How many seeds are run.
#[derive(Debug, Clone)]
pub struct Options {
    /// Threads, each with a seed of its own.
    pub threads: usize,
    /// Each case is cut off after so many turns if it has more.
    pub turns: Option<usize>,
    /// Whether a case that fails is made smaller.
    pub shrinks: bool,
    /// No seed is begun after this time.
    pub stop_after: Option<Duration>,
    /// How often it is said how far it got.
    pub says_every: Option<Duration>,
    /// How long a run may take before it is taken to wait for what never comes; it takes a moment.
    pub stuck_after: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: 2,
            turns: None,
            shrinks: true,
            stop_after: None,
            says_every: None,
            stuck_after: Duration::from_secs(180),
        }
    }
}

/// What many runs leave.
#[derive(Debug, Default)]
pub struct Many {
    /// How many seeds were run: the first so many.
    pub seeds: u64,
    /// What was seen in them.
    pub sometimes: Sometimes,
    /// What was wrong, by seed; after the first failure no more seeds are begun.
    pub failures: Vec<Failure>,
}

/// Runs the case of a seed, cut off after so many turns if there are more.
///
/// # Errors
/// When something is wrong; the case is made smaller first.
pub fn run<S: Simulation>(simulation: &S, seed: u64, turns: Option<usize>) -> Result<Report, Box<Failure>> {
    run_with(simulation, seed, &Options { turns, ..Options::default() })
}

fn run_with<S: Simulation>(simulation: &S, seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    let mut case = simulation.case(seed);
    S::turns(&mut case).truncate(options.turns.unwrap_or(usize::MAX));
    attempt(simulation, seed, &case)
        .map_err(|failure| if options.shrinks { smaller(simulation, seed, case, failure) } else { failure })
}

/// Every so many seeds are run twice: the same seed must give the same run.
const TWICE_EVERY: u64 = 50;

fn run_checked<S: Simulation>(simulation: &S, seed: u64, options: &Options) -> Result<Report, Box<Failure>> {
    let report = run_with(simulation, seed, options)?;
    if seed.is_multiple_of(TWICE_EVERY) && run_with(simulation, seed, options)?.trace != report.trace {
        let problem = "two runs of this seed differ: something does not follow from it".to_owned();
        return Err(Box::new(failure(simulation, seed, &simulation.case(seed), problem, Wrong::default())));
    }
    Ok(report)
}

fn attempt<S: Simulation>(simulation: &S, seed: u64, case: &S::Case) -> Result<Report, Box<Failure>> {
    let mut wrong = Wrong::default();
    let result = watched(seed, || quietly(|| simulation.attempt(seed, case, &mut wrong)));
    result.and_then(|result| result).map_err(|problem| Box::new(failure(simulation, seed, case, problem, wrong)))
}

fn failure<S: Simulation>(simulation: &S, seed: u64, case: &S::Case, problem: String, wrong: Wrong) -> Failure {
    let turns = S::turns(&mut case.clone()).len();
    let Wrong { turn, log } = wrong;
    Failure { seed, case: S::describe(case), turns, turn, problem, log, replay: replay(simulation, seed) }
}

fn replay<S: Simulation>(simulation: &S, seed: u64) -> String {
    format!("cargo run --release -p outlay-sim --{} --seed {seed}", simulation.arguments())
}

/// A panic is what is wrong, not the end of the program.
fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        format!("panic: {}", text.unwrap_or("of an unknown kind"))
    })
}

/// Takes turns out as long as the rest still fails; gives how it fails then.
fn smaller<S: Simulation>(simulation: &S, seed: u64, mut case: S::Case, mut failure: Box<Failure>) -> Box<Failure> {
    let mut length = S::turns(&mut case).len();
    while length > 0 {
        let mut at = 0;
        while at < S::turns(&mut case).len() {
            let mut fewer = case.clone();
            let turns = S::turns(&mut fewer);
            turns.drain(at..(at + length).min(turns.len()));
            match attempt(simulation, seed, &fewer) {
                Ok(_) => at += length,
                Err(still) => (case, failure) = (fewer, still),
            }
        }
        length /= 2;
    }
    failure
}

/// Runs the cases of these seeds, in their order. It ends the program when a run gets stuck, after saying which.
pub fn many<S: Simulation>(simulation: &S, seeds: Range<u64>, options: &Options) -> Many {
    let next = AtomicU64::new(seeds.start);
    let (stop, run) = (AtomicBool::new(false), AtomicU64::new(0));
    let all = Mutex::new(Many::default());
    let (running, over) = channel::<()>();
    thread::scope(|scope| {
        for _ in 0..options.threads.max(1) {
            let running = running.clone();
            scope.spawn(|| {
                let _running = running;
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let result = run_checked(simulation, seed, options);
                    run.fetch_add(1, Ordering::Relaxed);
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    match result {
                        Ok(report) => all.sometimes.add(&report.sometimes),
                        Err(failure) => {
                            all.failures.push(*failure);
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
        drop(running);
        watch(&over, options, &run, &stop, |seed| replay(simulation, seed));
    });
    let mut all = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    all.seeds = run.into_inner();
    all.failures.sort_by_key(|failure| failure.seed);
    all
}

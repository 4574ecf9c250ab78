//! Random streams: the service under random commands and faults, all from one seed, beside a naive model.
//!
//! A case is drawn whole before it runs, each turn with dice of its own, so that turns can be taken out of a failing case
//! and the rest still means the same. What is not acknowledged when a process ends is asked again with the same ids by the
//! next, as a client does; until then the store may be in one of two states, and nothing between them.

mod draw;
mod many;
mod run;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use draw::{Case, Turn, case};
pub use many::{Many, many};

use crate::fault::Sometimes;
use crate::said;
pub use run::GONE_ON_WITH;
use run::Run;

/// What a run that found nothing wrong leaves.
#[derive(Debug, Clone)]
pub struct Report {
    /// A hash over every call of every disk, and every answer: the same seed gives the same.
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
    /// What was sent and what happened, in order.
    pub log: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, case, turn, problem, log } = self;
        writeln!(formatter, "seed {seed} fails in turn {turn} of {} turns, {:?}:", case.turns.len(), case.make)?;
        for line in log {
            writeln!(formatter, "  {line}")?;
        }
        writeln!(formatter, "{problem}")?;
        write!(formatter, "replay: cargo run --release -p outlay-sim -- --seed {seed}")
    }
}

/// Runs the case of a seed, cut off after so many turns if there are more.
///
/// # Errors
/// When something is wrong; the case is made smaller first.
pub fn run(seed: u64, turns: Option<usize>) -> Result<Report, Box<Failure>> {
    let mut case = case(seed);
    case.turns.truncate(turns.unwrap_or(usize::MAX));
    attempt(seed, &case).map_err(|failure| {
        smaller(case.turns.clone(), failure, |turns| attempt(seed, &Case { turns: turns.to_vec(), ..case.clone() }))
    })
}

/// Every so many seeds are run twice by [`run_checked`].
const TWICE_EVERY: u64 = 50;

/// Runs the case of a seed, some of them twice: the same seed must give the same run.
///
/// # Errors
/// When something is wrong, or the runs differ.
pub fn run_checked(seed: u64, turns: Option<usize>) -> Result<Report, Box<Failure>> {
    let report = run(seed, turns)?;
    if seed.is_multiple_of(TWICE_EVERY) && run(seed, turns)?.trace != report.trace {
        let problem = "two runs of this seed differ: something does not follow from it".to_owned();
        return Err(Box::new(Failure { seed, case: case(seed), turn: 0, problem, log: Vec::new() }));
    }
    Ok(report)
}

fn attempt(seed: u64, case: &Case) -> Result<Report, Box<Failure>> {
    let mut run = Run::new(seed, case);
    let (result, said) = many::watched(seed, || said::listen(|| quietly(|| run.all(&case.turns))));
    let (turn, log) = (run.turn(), run.log().to_vec());
    result
        .and_then(|result| result)
        .map(|()| run.report(&said))
        .map_err(|problem| Box::new(Failure { seed, case: case.clone(), turn, problem, log }))
}

/// A panic is what is wrong, not the end of the program.
pub(crate) fn quietly<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        format!("panic: {}", text.unwrap_or("of an unknown kind"))
    })
}

/// Takes turns out as long as the rest still fails; gives how it fails then.
pub(crate) fn smaller<T: Clone, R, E>(mut turns: Vec<T>, mut failure: E, attempt: impl Fn(&[T]) -> Result<R, E>) -> E {
    let mut length = turns.len();
    while length > 0 {
        let mut at = 0;
        while at < turns.len() {
            let mut fewer = turns.clone();
            fewer.drain(at..(at + length).min(turns.len()));
            match attempt(&fewer) {
                Ok(_) => at += length,
                Err(still) => (turns, failure) = (fewer, still),
            }
        }
        length /= 2;
    }
    failure
}

//! Random streams: the service under random commands and faults, all from one seed, beside a naive model.
//!
//! A case is drawn whole before it runs, each turn with dice of its own, so that turns can be taken out of a failing case
//! and the rest still means the same. What is not acknowledged when a process ends is asked again with the same ids by the
//! next, as a client does; until then the store may be in one of two states, and nothing between them.

mod draw;
mod end;
mod process;
mod run;
mod watchers;

pub use draw::{Case, Turn, case};
pub use run::GONE_ON_WITH;

use crate::said;
use crate::seeds::{Report, Simulation, Wrong};
use run::Run;

/// Random streams over one process.
#[derive(Debug, Clone, Copy)]
pub struct Streams;

impl Simulation for Streams {
    type Case = Case;
    type Turn = Turn;

    fn arguments(&self) -> String {
        String::new()
    }

    fn case(&self, seed: u64) -> Case {
        case(seed)
    }

    fn turns(case: &mut Case) -> &mut Vec<Turn> {
        &mut case.turns
    }

    fn describe(case: &Case) -> String {
        format!("{:?}", case.make)
    }

    fn attempt(&self, seed: u64, case: &Case, wrong: &mut Wrong) -> Result<Report, String> {
        let mut run = Run::new(seed, case, wrong);
        let (result, said) = said::listen(|| run.all(&case.turns));
        result.map(|()| run.report(&said))
    }
}

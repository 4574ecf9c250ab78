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

pub use case::{Case, Turn, case};
pub use mistake::Mistake;

use crate::seeds::{Report, Simulation, Wrong};
use run::Run;

/// Nodes that make a mistake, or none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nodes {
    /// The mistake.
    pub mistake: Option<Mistake>,
}

impl Simulation for Nodes {
    type Case = Case;
    type Turn = Turn;

    fn arguments(&self) -> String {
        let mistake = self.mistake.map_or_else(String::new, |mistake| format!(" --mistake {mistake:?}"));
        format!(" --nodes{mistake}")
    }

    fn case(&self, seed: u64) -> Case {
        case(seed)
    }

    fn turns(case: &mut Case) -> &mut Vec<Turn> {
        &mut case.turns
    }

    fn describe(case: &Case) -> String {
        let Case { nodes, bits, rates, .. } = case;
        format!("{nodes} nodes, {} buckets, {rates:?}", 1 << bits)
    }

    fn attempt(&self, seed: u64, case: &Case, wrong: &mut Wrong) -> Result<Report, String> {
        let mut run = Run::new(seed, case, self.mistake, wrong);
        run.all(&case.turns)?;
        Ok(Report { trace: run.trace(), sometimes: run.sometimes() })
    }
}

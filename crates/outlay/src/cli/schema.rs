//! `outlay schema`: the tables of a store in PostgreSQL, as SQL.

use clap::Args;

use super::{Exit, Failure, show};
use crate::store::postgres;

/// Print the tables of a store in PostgreSQL as SQL
///
/// A node makes them by itself when it starts: this is for reading, and for spreading them over several machines.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay schema                              the tables that a start makes\n  \
    outlay schema --citus | psql -d outlay     spread them over the machines of a Citus cluster, once a\n  \
    \u{20}                                          node has made them and stopped; from then on each node\n  \
    \u{20}                                          needs `store_sharded = true`")]
pub(super) struct Schema {
    /// Print what spreads the tables over the machines of a Citus cluster, with all of a user's rows on one
    #[arg(long)]
    citus: bool,
}

impl Schema {
    pub(super) fn run(&self) -> Result<Exit, Failure> {
        let sql = if self.citus { postgres::citus() } else { postgres::tables() };
        show::bytes(sql.as_bytes())?;
        Ok(Exit::Done)
    }
}

//! `outlay demo`: a server with sample data that goes on moving.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure};
use crate::config::Flags;

/// Try Outlay, with six months of sample data
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Empty the folder first
    #[arg(long)]
    fresh: bool,
}

impl Demo {
    pub(super) fn run(self, data: Option<PathBuf>, _flags: Flags) -> Result<Exit, Failure> {
        Err(Failure::Other(format!("demo {data:?}")))
    }
}

//! `outlay man DIR`: a page of the manual for the program and for each of its commands.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure, show};

/// Write the pages of the manual into a folder
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay man ~/.local/share/man/man1\n  outlay man . && man ./outlay-serve.1")]
pub(super) struct Man {
    /// The folder, which is made if there is none
    dir: PathBuf,
}

impl Man {
    pub(super) fn run(self, program: clap::Command) -> Result<Exit, Failure> {
        let writing = || format!("write the manual to {}", self.dir.display());
        std::fs::create_dir_all(&self.dir).map_err(Failure::io(writing()))?;
        clap_mangen::generate_to(program, &self.dir).map_err(Failure::io(writing()))?;
        show::say(&format!("the pages are in {}", self.dir.display()));
        Ok(Exit::Done)
    }
}

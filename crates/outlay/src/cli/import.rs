//! `outlay import`: rows of other systems, and exports of this one, recorded once each.

use std::path::PathBuf;

use clap::Args;

use super::{Exit, Failure, ServerFlags};
use crate::client::Client;

/// Record the rows of a file
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The file
    file: PathBuf,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

impl Import {
    pub(super) async fn run(self, _client: &Client) -> Result<Exit, Failure> {
        Err(Failure::Other(format!("import {}", self.file.display())))
    }
}

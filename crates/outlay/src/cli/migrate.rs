//! `outlay migrate`: moves a whole store from the data folder into a PostgreSQL database, or back.

use std::sync::Arc;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

use super::{Exit, Failure, read_config, runtime, show};
use crate::clock::SystemClock;
use crate::config::Flags;
use crate::local;
use crate::store::moving::{self, MoveError};

/// Move the whole store from the data folder into a PostgreSQL database, or back
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outlay migrate --to database --data /var/lib/outlay --store postgres://outlay@db/outlay\n  \
    outlay migrate --to folder --data ./outlay-data --store postgres://outlay@db/outlay\n  \
    outlay migrate --to database --abandon\n\n\
    Stop every server of both first. The new store must be empty; its tables or its folder are made. The old store is \
    verified, every row is copied under new numbers, what was copied is read back, compared row by row and verified, and \
    only then the old store is sealed: it says where it was moved to, and is opened no more. Keep it until you have a \
    backup of the new one.\n\n\
    It takes four bytes of memory for each row. What was cut off is begun again with an empty new store, or given up with \
    --abandon. User tokens and cursors of lists end with a move; keys, secrets, plans, webhooks and the audit log come \
    along. Nodes on a database need the master key of the folder: OUTLAY_MASTER_KEY_FILE=DATA/master.key."
)]
pub(super) struct Migrate {
    /// Where to: --data names the folder, --store the database
    #[arg(long, value_enum)]
    to: To,
    /// Give up a move that was cut off: the old store is the store again
    #[arg(long)]
    abandon: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum To {
    /// From the data folder into the database
    Database,
    /// From the database into the data folder
    Folder,
}

impl Migrate {
    pub(super) fn run(self, flags: &Flags) -> Result<Exit, Failure> {
        let config = read_config(flags, "warn")?;
        let clock = SystemClock::shared();
        let Some(database) = local::database_end(&config, &clock).map_err(Failure::Store)? else {
            return Err(Failure::Usage("name the database with --store postgres://user@host/database".to_owned()));
        };
        let folder = moving::End::Folder(config.data.clone());
        let (from, to) = match self.to {
            To::Database => (folder, database),
            To::Folder => (database, folder),
        };
        runtime(false)?.block_on(async {
            if self.abandon {
                moving::abandon(&from, clock).await.map_err(refused)?;
                show::say(&format!("{} is the store again; empty {} before another move", from.name(), to.name()));
                return Ok(Exit::Done);
            }
            // Drawn on standard error, and only if that is a terminal.
            let bar = ProgressBar::no_length();
            if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}  {human_pos}  {elapsed}") {
                bar.set_style(style);
            }
            let mut doing = "";
            let moved = moving::migrate(&from, &to, Arc::clone(&clock), &mut |what, rows| {
                if what != doing {
                    doing = what;
                    bar.set_message(what);
                    bar.set_position(0);
                }
                bar.inc(rows);
            })
            .await;
            bar.finish_and_clear();
            for (kind, tally) in moved.map_err(refused)? {
                show::line(&format!("{}\t{}", kind.plural(), tally.count))?;
            }
            show::say(&format!("{} is the store now; {} is sealed", to.name(), from.name()));
            Ok(Exit::Done)
        })
    }
}

fn refused(error: MoveError) -> Failure {
    match error {
        MoveError::Store(error) => Failure::Store(error),
        error => Failure::Other(format!("failed to {error}")),
    }
}

//! Tortures the real program: kills it, cuts its power, stops it, fills its disk, fails its calls and turns its clock, and
//! holds what it shows afterwards against what its clients were told.

mod clock;
mod cuts;
mod disk;
mod failing;
mod full;
mod kills;
mod load;
mod paused;
mod program;
mod run;
mod told;
mod upgrade;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, Subcommand};

use self::run::{Basis, Failure};

/// Exit code of a run that this machine cannot do.
const CANNOT: u8 = 3;

/// Tortures the real program, and looks at what it shows afterwards.
///
/// Exit codes: 0 all is well, 1 something was found (its seed is printed, its folder is left), 2 bad usage, 3 this machine lacks
/// what the mode needs, which is named.
#[derive(Debug, Parser)]
#[command(name = "outlay-torture")]
struct Arguments {
    #[command(subcommand)]
    mode: Mode,
    /// What the run follows; another one each time if absent.
    #[arg(long, global = true)]
    seed: Option<u64>,
    /// The program; the `outlay` beside this one if absent.
    #[arg(long, global = true, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where the folders of the run are made; the machine's folder for temporary files if absent.
    #[arg(long, global = true, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Kill it at random moments: under load, while it starts, while it ends.
    Kills {
        /// How many times.
        #[arg(long, default_value_t = 1_000)]
        kills: usize,
    },
    /// Kill it at each system call of a scenario that changes the disk; needs strace.
    Calls {
        /// Only at so many that are drawn.
        #[arg(long)]
        drawn: Option<usize>,
    },
    /// Fail one fdatasync, write or read; needs strace.
    Fsync {
        /// Under load at so many places of each that are drawn, not at each place of a scenario.
        #[arg(long)]
        drawn: Option<usize>,
    },
    /// Kill it at each system call of its first start on a data folder of an earlier version; needs strace, and a program
    /// built with the feature test-clock.
    Upgrade {
        /// Only at so many that are drawn.
        #[arg(long)]
        drawn: Option<usize>,
    },
    /// Cut the power of its disk at random moments; needs root, FUSE and loop devices.
    Cuts {
        /// How many times.
        #[arg(long, default_value_t = 1_000)]
        cuts: usize,
        /// Have the program's fdatasync do nothing, to see that it is found; needs strace.
        #[arg(long)]
        unsynced: bool,
    },
    /// Stop it (SIGSTOP) for a while, and let it go on.
    Paused {
        /// How many times.
        #[arg(long, default_value_t = 10)]
        pauses: usize,
        /// For how many seconds each.
        #[arg(long, default_value_t = 3)]
        seconds: u64,
    },
    /// Fill its disk of a sudden; needs root and loop devices.
    Full {
        /// How many times.
        #[arg(long, default_value_t = 20)]
        fills: usize,
    },
    /// Turn the clock that it reads; needs a program built with the feature test-clock.
    Clock {
        /// How many times.
        #[arg(long, default_value_t = 40)]
        jumps: usize,
    },
}

/// Runs what the arguments name.
pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(|| u64::try_from(told::now().nanos() & 0xFFFF_FFFF).unwrap_or(1));
    let basis = match basis(&arguments, seed) {
        Ok(basis) => basis,
        Err(problem) => {
            eprintln!("outlay-torture: {problem}");
            return ExitCode::from(2);
        }
    };
    let began = Instant::now();
    let (name, done) = match arguments.mode {
        Mode::Kills { kills } => ("kills", kills::at_random(&basis, kills).map(|counts| counts.to_string())),
        Mode::Calls { drawn } => ("calls", kills::at_calls(&basis, drawn)),
        Mode::Fsync { drawn } => ("fsync", failing::run(&basis, drawn)),
        Mode::Cuts { cuts, unsynced } => ("cuts", cuts::run(&basis, cuts, !unsynced)),
        Mode::Upgrade { drawn } => ("upgrade", upgrade::run(&basis, drawn)),
        Mode::Paused { pauses, seconds } => ("paused", paused::run(&basis, pauses, seconds)),
        Mode::Full { fills } => ("full", full::run(&basis, fills)),
        Mode::Clock { jumps } => ("clock", clock::run(&basis, jumps)),
    };
    match done {
        Ok(summary) => {
            run::remove(&basis.folder);
            println!("{name}: {summary}; seed {seed}, {} s", began.elapsed().as_secs());
            ExitCode::SUCCESS
        }
        Err(Failure::Found(problem)) => {
            eprintln!("{name}: seed {seed}: {problem}\nits folders are left in {}", basis.folder.display());
            ExitCode::FAILURE
        }
        Err(Failure::Missing(what)) => {
            run::remove(&basis.folder);
            eprintln!("{name}: this machine lacks what it needs: {what}");
            ExitCode::from(CANNOT)
        }
    }
}

fn basis(arguments: &Arguments, seed: u64) -> Result<Basis, String> {
    let program = match &arguments.program {
        Some(program) => program.clone(),
        None => std::env::current_exe().map_err(|error| error.to_string())?.with_file_name("outlay"),
    };
    if !program.exists() {
        return Err(format!("there is no program at {}: build it, or name it with --program", program.display()));
    }
    let program = program.canonicalize().map_err(|error| error.to_string())?;
    let place = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let made = tempfile::Builder::new().prefix("outlay-torture-").tempdir_in(&place);
    let folder = made.map_err(|error| format!("make a folder in {}: {error}", place.display()))?.keep();
    Ok(Basis { program, folder, seed })
}

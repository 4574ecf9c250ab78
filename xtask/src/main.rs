//! Development commands: `cargo xtask test` is what CI runs. Plain Rust over cargo: nothing to install by hand.
//!
//! Every command line is printed before it runs, so that each can be run alone. Nothing here knows how a test works.

#![expect(clippy::print_stdout, reason = "these commands talk to the person who called them")]
#![expect(clippy::disallowed_methods, reason = "they read the environment and the time of the machine they run on")]

mod fuzz;
mod mistakes;
mod node;
mod packages;
mod packaging;
mod run;
mod schemathesis;
mod test;
mod torture;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::run::{Failed, Step};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Development commands of Outlay")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all tests: those of Rust, and those of the packages in Node and in a browser
    Test {
        /// More kills, more random cases, a longer simulation, a minute of each fuzz target
        #[arg(long)]
        long: bool,
        /// Only those of Rust
        #[arg(long)]
        rust: bool,
    },
    /// Check formatting, lints and documentation; licences, alert rules and units too if their tools are installed
    Lint,
    /// Put mistakes into a copy of the program, and see that the simulation finds each of them
    Mistakes {
        /// Their names; all if absent
        names: Vec<String>,
    },
    /// Run the fuzz targets
    Fuzz {
        /// One target; all if absent
        target: Option<String>,
        /// For how long each
        #[arg(long, default_value_t = 10)]
        seconds: u32,
    },
    /// Ask the built server what its description allows and what it does not, as each kind of caller
    Schemathesis {
        /// Random cases of each route and caller
        #[arg(long, default_value_t = schemathesis::EXAMPLES)]
        examples: u32,
    },
    /// Torture the real program, optimized: kills, power cuts, failing calls, a full disk, pauses, jumps of the clock
    #[command(disable_help_flag = true)]
    Torture {
        /// Passed on; `cargo xtask torture --help` shows what it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure how often the forecast's ranges hold
    #[command(disable_help_flag = true)]
    Backtest {
        /// Passed on; `cargo xtask backtest --help` shows what it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure the built server beside what bounds it, and what stands in its place elsewhere, in one run
    #[command(disable_help_flag = true)]
    Bench {
        /// Passed on to the benchmark; `cargo xtask bench --help` shows what it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measure the built server with a part of a core under ten times what it can do, and beside slow sockets; as root
    #[command(disable_help_flag = true)]
    Overload {
        /// Passed on; `cargo xtask overload --help` shows what it takes
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Write the tables and pictures of docs/benchmarks.md from the figures of runs
    BenchPage {
        /// Files that `cargo xtask bench` left, or copies of them; the newest last
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Measure the pages, the card and event streams in a browser, and the operator's pages over many users
    #[command(disable_help_flag = true)]
    BenchFace {
        /// Passed on: --users, --operations, --rounds, --streams
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Test { long, rust } => test::all(long, rust),
        Command::Lint => lint(),
        Command::Mistakes { names } => mistakes::run(&names),
        Command::Fuzz { target, seconds } => fuzz::run(target.as_deref(), seconds),
        Command::Schemathesis { examples } => schemathesis(examples),
        Command::Torture { arguments } => torture::run(&arguments),
        Command::Backtest { arguments } => bench("backtest", &arguments),
        Command::Bench { arguments } => bench("throughput", &arguments),
        Command::Overload { arguments } => bench("throughput", &[&["overload".to_owned()], &arguments[..]].concat()),
        Command::BenchPage { files } => bench_page(&files),
        Command::BenchFace { arguments } => node::bench(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(what)) => {
            eprintln!("xtask: failed: {what}");
            ExitCode::FAILURE
        }
    }
}

fn lint() -> Result<(), Failed> {
    Step::cargo(&["fmt", "--all", "--check"]).run()?;
    Step::cargo(&["fmt", "--manifest-path", "fuzz/Cargo.toml", "--check"]).run()?;
    let clippy = ["clippy", "--workspace", "--all-targets"];
    let deny = ["--", "-D", "warnings"];
    Step::cargo(&clippy).arguments(&deny).run()?;
    // The code behind the feature is code too.
    Step::cargo(&clippy).arguments(&["--features", "outlay/test-clock"]).arguments(&deny).run()?;
    // The fuzz targets are a workspace of their own: nothing else tells when what they call, or are locked to, has changed.
    let fuzz = ["--manifest-path", "fuzz/Cargo.toml", "--no-default-features", "--target-dir", "target", "--locked"];
    Step::cargo(&["clippy", "--all-targets"]).arguments(&fuzz).arguments(&deny).run()?;
    Step::cargo(&["doc", "--workspace", "--no-deps"])
        .variable("RUSTDOCFLAGS", "-D warnings -A rustdoc::private_intra_doc_links")
        .run()?;
    if run::has_cargo_command("deny") {
        // Advisories need the network; licences, bans and sources do not.
        Step::cargo(&["deny", "check", "licenses", "bans", "sources"]).run()?;
    } else {
        println!("xtask: cargo-deny is not installed: licences are not checked");
    }
    mistakes::lint()?;
    packaging::lint()
}

fn schemathesis(examples: u32) -> Result<(), Failed> {
    // As for the other tests, so that it is built once.
    Step::cargo(&["build", "--package", "outlay", "--features", "outlay/test-clock"]).run()?;
    schemathesis::run(examples)
}

fn bench_page(files: &[PathBuf]) -> Result<(), Failed> {
    // The benchmark runs in its crate's folder.
    let files = files.iter().map(|file| std::path::absolute(file).map(|file| file.display().to_string()));
    let files = files.collect::<Result<Vec<_>, _>>().map_err(|error| Failed(error.to_string()))?;
    bench("throughput", &["--page-from".to_owned(), files.join(",")])
}

fn bench(name: &str, arguments: &[String]) -> Result<(), Failed> {
    Step::cargo(&["bench", "--package", "outlay", "--bench", name, "--"]).arguments(arguments).run()
}

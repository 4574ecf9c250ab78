//! The simulation from the command line: one seed again, or many.

#![expect(clippy::disallowed_methods, reason = "it says how many seeds it runs in a second")]

use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use outlay_sim::disk::seed_sqlite_randomness;
use outlay_sim::stream;

/// Runs the service on a simulated disk and clock, with random commands and faults that follow a seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run one seed, and say what happens in it.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run many seeds, from A up to but not including B.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Stop each run after so many steps.
    #[arg(long)]
    steps: Option<usize>,
    /// Threads, each with a seed of its own.
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

fn range(text: &str) -> Result<Range<u64>, String> {
    let parts = text.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    parts.ok_or_else(|| "give two numbers, such as 0..1000".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    match arguments.seed {
        Some(seed) => one(seed, arguments.steps),
        None => many(&arguments),
    }
}

fn one(seed: u64, steps: Option<usize>) -> ExitCode {
    seed_sqlite_randomness(u32::try_from(seed & 0xFFFF_FFFF).unwrap_or(1));
    match stream::run(seed, steps) {
        Ok(report) => {
            println!("seed {seed} is well; trace {:016x}\n{}", report.trace, report.sometimes);
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn many(arguments: &Arguments) -> ExitCode {
    let started = std::time::Instant::now();
    let many = stream::many(arguments.seeds.clone(), arguments.threads, arguments.steps);
    for failure in &many.failures {
        println!("{failure}");
    }
    println!("{}", many.sometimes);
    println!("{} seeds, {:.0} a second", many.seeds, many.seeds as f64 / started.elapsed().as_secs_f64());
    if many.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

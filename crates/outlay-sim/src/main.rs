//! The simulation from the command line: one seed again, or many.

#![expect(clippy::disallowed_methods, reason = "it says how many seeds it runs in a second")]

use std::fmt::Display;
use std::ops::Range;
use std::process::ExitCode;

use clap::Parser;
use outlay_sim::disk::seed_sqlite_randomness;
use outlay_sim::fault::Sometimes;
use outlay_sim::nodes::Mistake;
use outlay_sim::{nodes, stream};

/// Runs the service on a simulated disk and clock, with random commands and faults that follow a seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run several nodes over a model of PostgreSQL, in place of one over a disk.
    #[arg(long)]
    nodes: bool,
    /// Have the nodes make a mistake, to see it found.
    #[arg(long, requires = "nodes", value_parser = mistake)]
    mistake: Option<Mistake>,
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

fn mistake(name: &str) -> Result<Mistake, String> {
    let names = || Mistake::ALL.map(|mistake| format!("{mistake:?}")).join(", ");
    let found = Mistake::ALL.into_iter().find(|mistake| format!("{mistake:?}") == name);
    found.ok_or_else(|| format!("give one of {}", names()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    match arguments.seed {
        Some(seed) if arguments.nodes => told(
            seed,
            nodes::run(seed, arguments.steps, arguments.mistake).map(|report| (report.trace, report.sometimes)),
        ),
        Some(seed) => {
            seed_sqlite_randomness(u32::try_from(seed & 0xFFFF_FFFF).unwrap_or(1));
            told(seed, stream::run(seed, arguments.steps).map(|report| (report.trace, report.sometimes)))
        }
        None => many(&arguments),
    }
}

fn told<E: Display>(seed: u64, result: Result<(u64, Sometimes), E>) -> ExitCode {
    match result {
        Ok((trace, sometimes)) => {
            println!("seed {seed} is well; trace {trace:016x}\n{sometimes}");
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
    let (seeds, threads, steps) = (arguments.seeds.clone(), arguments.threads, arguments.steps);
    let (count, sometimes, failures) = if arguments.nodes {
        let many = nodes::many(seeds, threads, steps, arguments.mistake);
        (many.seeds, many.sometimes, texts(&many.failures))
    } else {
        let many = stream::many(seeds, threads, steps);
        (many.seeds, many.sometimes, texts(&many.failures))
    };
    for failure in &failures {
        println!("{failure}");
    }
    println!("{sometimes}");
    println!("{count} seeds, {:.0} a second", count as f64 / started.elapsed().as_secs_f64());
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn texts(failures: &[impl Display]) -> Vec<String> {
    failures.iter().map(ToString::to_string).collect()
}

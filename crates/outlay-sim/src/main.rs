//! The simulation from the command line: one seed again, or many.

#![expect(clippy::disallowed_methods, reason = "it says how many seeds it runs in a second")]

use std::fmt::Display;
use std::ops::Range;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use outlay_sim::disk::seed_sqlite_randomness;
use outlay_sim::nodes::{Mistake, Nodes};
use outlay_sim::seeds::{self, Options, Simulation};
use outlay_sim::stream::Streams;

/// How often a run of many seeds says how far it got.
const SAYS_EVERY: Duration = Duration::from_secs(60);
/// Seconds in an hour.
const HOUR: f64 = 3_600.0;

/// Runs the service on a simulated disk and clock, with random commands and faults that follow a seed.
#[derive(Debug, Parser)]
struct Arguments {
    /// Run several nodes over a model of PostgreSQL, in place of one over a disk.
    #[arg(long)]
    nodes: bool,
    /// Have the nodes make a mistake, to see it found.
    #[arg(long, requires = "nodes", value_parser = mistake)]
    mistake: Option<Mistake>,
    /// Name the mistakes that nodes can make.
    #[arg(long)]
    mistakes: bool,
    /// Run one seed, and say what happens in it.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Run many seeds, from A up to but not including B.
    #[arg(long, value_name = "A..B", value_parser = range, default_value = "0..1000")]
    seeds: Range<u64>,
    /// Begin no seed after so many hours, and say how far it got.
    #[arg(long, value_name = "N", value_parser = hours, conflicts_with = "seed")]
    hours: Option<Duration>,
    /// Stop at the first seed that fails, and say it in a line.
    #[arg(long, conflicts_with = "seed")]
    find: bool,
    /// Seconds after which a run is taken to wait for what never comes.
    #[arg(long, default_value_t = 180)]
    stuck_after: u64,
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

fn hours(text: &str) -> Result<Duration, String> {
    let hours = text.parse().ok().and_then(|hours: f64| Duration::try_from_secs_f64(hours * HOUR).ok());
    hours.ok_or_else(|| "give a number of hours, such as 8 or 0.5".to_owned())
}

fn mistake(name: &str) -> Result<Mistake, String> {
    let names = || Mistake::ALL.map(|mistake| format!("{mistake:?}")).join(", ");
    let found = Mistake::ALL.into_iter().find(|mistake| format!("{mistake:?}") == name);
    found.ok_or_else(|| format!("give one of {}", names()))
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.mistakes {
        Mistake::ALL.iter().for_each(|mistake| println!("{mistake:?}"));
        return ExitCode::SUCCESS;
    }
    // A panic is told with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    if arguments.nodes {
        let nodes = Nodes { mistake: arguments.mistake };
        return all(&nodes, &arguments);
    }
    // What SQLite draws belongs to the whole process: only alone can a seed have it too.
    if let Some(seed) = arguments.seed {
        seed_sqlite_randomness(u32::try_from(seed & 0xFFFF_FFFF).unwrap_or(1));
    }
    all(&Streams, &arguments)
}

fn all<S: Simulation>(simulation: &S, arguments: &Arguments) -> ExitCode {
    match arguments.seed {
        Some(seed) => one(simulation, seed, arguments.steps),
        None => many(simulation, arguments),
    }
}

fn one<S: Simulation>(simulation: &S, seed: u64, steps: Option<usize>) -> ExitCode {
    match seeds::run(simulation, seed, steps) {
        Ok(report) => {
            println!("seed {seed} is well; trace {:016x}\n{}", report.trace, report.sometimes);
            ExitCode::SUCCESS
        }
        Err(failure) => told(&failure),
    }
}

fn told(what: &impl Display) -> ExitCode {
    println!("{what}");
    ExitCode::FAILURE
}

fn many<S: Simulation>(simulation: &S, arguments: &Arguments) -> ExitCode {
    let started = Instant::now();
    let range = arguments.seeds.clone();
    let options = Options {
        threads: arguments.threads,
        turns: arguments.steps,
        shrinks: !arguments.find,
        stop_after: arguments.hours,
        says_every: (!arguments.find).then_some(SAYS_EVERY),
        stuck_after: Duration::from_secs(arguments.stuck_after),
    };
    let many = seeds::many(simulation, range.clone(), &options);
    let first = many.failures.first();
    if let (true, Some(failure)) = (arguments.find, first) {
        let said: Vec<&str> = failure.problem.lines().map(str::trim).collect();
        return told(&format!("seed {}: {}", failure.seed, said.join(" ")));
    }
    for failure in &many.failures {
        println!("{failure}");
    }
    println!("{}", many.sometimes);
    let seconds = started.elapsed().as_secs_f64();
    let (from, to) = (range.start, range.start + many.seeds);
    println!(
        "{} seeds, {from}..{to} of {from}..{}, {:.1} a second",
        many.seeds,
        range.end,
        many.seeds as f64 / seconds
    );
    if first.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

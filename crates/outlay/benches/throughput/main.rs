//! Measures the built server beside what bounds it, in one run on one machine: `cargo xtask bench`.
//!
//! A closed loop of keep-alive clients asks the real program, started on an empty folder, and in turn an axum handler that
//! reads the same JSON and does nothing; beside them the same bytes appended to a file and synced, and the store alone. All
//! of it shares the machine's cores, so only the ratios within one run mean something. Nothing is asserted about time.

#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement that cannot go on ends here")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and starts threads and programs")]

mod append;
mod cpu;
mod empty;
mod load;
mod postgres;
mod report;
mod requests;
mod server;
mod store;
mod told;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Parser, ValueEnum};

use crate::load::Load;
use crate::report::{Report, Row};
use crate::requests::{Kind, Source};
use crate::server::Server;

#[derive(Parser)]
#[command(name = "cargo xtask bench", about = "Measure Outlay beside what bounds it")]
struct Arguments {
    /// Seconds of each measurement, after a tenth of it, or at least a second, to warm up
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// How many clients ask at once; one measurement each
    #[arg(long, value_delimiter = ',', default_value = "1,16,64")]
    clients: Vec<usize>,
    /// Of the comparison on PostgreSQL: how often each takes its turn
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Of the same: nodes of Outlay, at most
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Of the same: lanes of the writer in process; as many as a node has if absent
    #[arg(long)]
    lanes: Option<usize>,
    /// Of the same: print what each statement of each turn cost the server, which costs it something too
    #[arg(long)]
    statements: bool,
    /// How many users the operations are spread over, at random
    #[arg(long, default_value_t = 200_000)]
    users: u32,
    /// First record so many operations in batches, and print the rate of each million
    #[arg(long, default_value_t = 0)]
    fill: u64,
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// Where the data is kept while it runs; it should be on the disk that is meant
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    folder: PathBuf,
    /// Where the figures go as JSON lines
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/throughput.jsonl"))]
    json: PathBuf,
    /// The seed of the random users and costs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
    /// Be the empty handler
    #[arg(long, hide = true)]
    be_empty: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The same bytes appended to a file and synced
    Append,
    /// The store without HTTP
    Store,
    /// Recording in batches of 1000
    Batches,
    /// Recording one by one
    Record,
    /// Opening a session, recording a step, finishing
    Session,
    /// Asking whether something fits
    Afford,
    /// Recording and asking while receivers hang, and how soon somebody is told
    Told,
    /// Outlay on PostgreSQL beside functions written by hand there; needs PostgreSQL's server
    Postgres,
}

/// So many operations are in one body of a batch.
const BATCH: usize = 1000;
/// Clients that send batches: more would only fill the server's queue, which turns away what is beyond 49,152 operations.
const BATCH_CLIENTS_MAX: usize = 16;

fn main() {
    let arguments = Arguments::parse();
    if arguments.be_empty {
        return empty::serve();
    }
    std::fs::create_dir_all(&arguments.folder).unwrap();
    let folder = tempfile::Builder::new().prefix("outlay-bench-").tempdir_in(&arguments.folder).unwrap();
    let mut report = Report::new(&arguments.json, folder.path(), arguments.users, arguments.seconds);
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    if wants(Part::Append) {
        for batch in batch_sizes(&arguments.clients) {
            report.add(append::measure(folder.path(), batch, arguments.measured()));
        }
    }
    if wants(Part::Store) {
        store::measure(&folder.path().join("store"), &arguments, &mut report);
    }
    if [Part::Batches, Part::Record, Part::Session, Part::Afford].into_iter().any(wants) || arguments.fill > 0 {
        over_http(folder.path(), &arguments, wants, &mut report);
    }
    if wants(Part::Told) {
        told::measure(&folder.path().join("told"), &arguments, &mut report);
    }
    report.print();
    if wants(Part::Postgres) {
        postgres::measure(&folder.path().join("postgres"), &arguments);
    }
}

impl Arguments {
    fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn warm_up(&self) -> Duration {
        Duration::from_secs_f64((self.seconds / 10.0).max(1.0).min(self.seconds))
    }

    fn load(&self, clients: usize) -> Load {
        Load { clients, warm_up: self.warm_up(), measured: self.measured() }
    }
}

/// What a batch can be when so many clients ask at once, and the batches that they send.
fn batch_sizes(clients: &[usize]) -> Vec<usize> {
    let mut sizes = [clients, &[1, BATCH]].concat();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn over_http(folder: &Path, arguments: &Arguments, wants: impl Fn(Part) -> bool, report: &mut Report) {
    let outlay = Server::outlay(&folder.join("data"));
    let empty = Server::empty();
    let mut source = Source::new(arguments.seed, arguments.users);
    load::once(outlay.address, requests::UNLIMITED_PLAN);
    if arguments.fill > 0 {
        fill(&outlay, arguments, &mut source);
    }
    for (part, kind) in [
        (Part::Batches, Kind::Batch(BATCH)),
        (Part::Record, Kind::Record),
        (Part::Record, Kind::RecordMinimal),
        (Part::Session, Kind::Session),
        (Part::Afford, Kind::Afford),
    ] {
        if !wants(part) {
            continue;
        }
        for &clients in &arguments.clients {
            if matches!(kind, Kind::Batch(_)) && clients > BATCH_CLIENTS_MAX {
                continue;
            }
            // In turn, so that what changes on the machine meanwhile meets both.
            for (name, server) in [("empty handler", &empty), ("outlay", &outlay)] {
                let before = cpu::Used::by(server.process_id());
                let measured = arguments.load(clients).run(&[server.address], kind, &mut source);
                let used = cpu::Used::by(server.process_id()).since(&before);
                report.add(Row::over_http(name, kind, clients, measured, &used));
            }
        }
    }
}

/// Records operations in batches and prints the rate of each million, or of each tenth when there are fewer.
fn fill(outlay: &Server, arguments: &Arguments, source: &mut Source) {
    const CLIENTS: usize = 4;
    let slice = (arguments.fill / 10).clamp(BATCH as u64, 1_000_000);
    let mut done = 0;
    while done < arguments.fill {
        let filled = load::fill(outlay.address, CLIENTS, slice, BATCH, source);
        done += filled.operations;
        let size = server::file_size(&outlay.folder);
        println!(
            "{done:>12} operations: {:>8.0} a second, slowest batch {:>5} ms, {:>6} MB on disk, {:>5} MB of memory",
            report::rate(filled.operations, filled.seconds),
            filled.slowest.as_millis(),
            size / 1_000_000,
            cpu::resident_bytes(outlay.process_id()) / 1_000_000,
        );
        report::json_line(
            &arguments.json,
            &serde_json::json!({
                "what": "fill", "operations": done, "perSecond": report::rate(filled.operations, filled.seconds),
                "slowestMillis": filled.slowest.as_secs_f64() * 1e3, "fileBytes": size,
            }),
        );
    }
}

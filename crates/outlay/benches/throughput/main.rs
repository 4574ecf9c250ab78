//! Measures the built server beside what bounds it, in one run on one machine: `cargo xtask bench`.
//!
//! Clients ask the real program, started on an empty folder, and in turn what one would use or write in its place, and a
//! handler that reads the same JSON and does nothing; beside them the same bytes appended to a file and synced, and the store
//! alone. All of it shares the machine's cores, so only the ratios within one run mean something. Nothing is asserted about
//! time.

#![expect(clippy::print_stdout, reason = "the tables are what this program is for")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement that cannot go on ends here")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and starts threads and programs")]

mod append;
mod compare;
mod cpu;
mod empty;
mod fill;
mod http;
mod load;
mod overload;
mod pace;
mod page;
mod postgres;
mod redis;
mod report;
mod requests;
mod server;
mod sqlite;
mod store;
mod told;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};

use crate::compare::system::Name;
use crate::load::{Load, Pace};
use crate::report::Report;

/// As in the program, so that the store alone is the program's store.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[command(name = "cargo xtask bench", about = "Measure Outlay beside what bounds it")]
struct Arguments {
    /// Seconds of each measurement, after a tenth of it, or at least a second, to warm up
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// How many clients ask at once; one measurement each
    #[arg(long, value_delimiter = ',', default_value = "1,4,16,64,256")]
    clients: Vec<usize>,
    /// How often each takes its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Who takes turns
    #[arg(long, value_delimiter = ',', default_value = "outlay,empty,postgres,redis,sqlite")]
    systems: Vec<Name>,
    /// Of the comparison of nodes on PostgreSQL: nodes of Outlay, at most
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
    /// First record so many operations in batches, and tell what that does to Outlay
    #[arg(long, default_value_t = 0)]
    fill: u64,
    /// Fill no longer than this
    #[arg(long, default_value_t = 60.0)]
    fill_minutes: f64,
    /// After so many operations of the fill the server is killed and started anew
    #[arg(long, value_delimiter = ',', default_value = "1000000,10000000,30000000,100000000")]
    marks: Vec<u64>,
    /// Only these parts; all but told and postgres if absent
    #[arg(long, value_delimiter = ',')]
    only: Vec<Part>,
    /// All parts
    #[arg(long, conflicts_with = "only")]
    all: bool,
    /// Where the data is kept while it runs; it should be on the disk that is meant
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"), value_parser = in_workspace)]
    folder: PathBuf,
    /// Where the figures go as JSON lines
    #[arg(long, default_value = concat!(env!("CARGO_TARGET_TMPDIR"), "/throughput.jsonl"), value_parser = in_workspace)]
    json: PathBuf,
    /// Then write the tables and the pictures of the page about the figures
    #[arg(long)]
    page: bool,
    /// Measure nothing: write them from the figures in these files
    #[arg(long, value_delimiter = ',', value_name = "FILE", value_parser = in_workspace)]
    page_from: Vec<PathBuf>,
    /// Where `benchmarks.md` and the pictures are
    #[arg(long, default_value = "docs", value_parser = in_workspace)]
    docs: PathBuf,
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
    /// First filling, as with all parts if `--fill` says how far
    Fill,
    /// Recording in batches of 1000
    Batches,
    /// Recording one by one
    Record,
    /// Opening a session, recording a step, finishing
    Session,
    /// Asking whether something fits
    Afford,
    /// Recording one by one at set rates, whoever has answered
    Open,
    /// Recording and asking while receivers hang, and how soon somebody is told
    Told,
    /// Outlay on PostgreSQL beside functions written by hand there; needs PostgreSQL's server
    Postgres,
}

/// So many operations are in one body of a batch.
const BATCH: usize = 1000;
/// Clients that send batches: more would only fill the server's queue, which turns away what is beyond 49,152 operations.
const BATCH_CLIENTS_MAX: usize = 16;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|first| first == "overload") {
        return overload::run();
    }
    let arguments = Arguments::parse();
    if arguments.be_empty {
        empty::serve();
    } else {
        bench(&arguments);
    }
    ExitCode::SUCCESS
}

fn bench(arguments: &Arguments) {
    if arguments.only.contains(&Part::Fill) && arguments.fill == 0 {
        let what = "--only fill needs --fill, which says how many operations";
        Arguments::command().error(ErrorKind::MissingRequiredArgument, what).exit();
    }
    if !arguments.page_from.is_empty() {
        return page::write(&arguments.page_from, &arguments.docs);
    }
    std::fs::create_dir_all(&arguments.folder).unwrap();
    let folder = tempfile::Builder::new().prefix("outlay-bench-").tempdir_in(&arguments.folder).unwrap();
    let mut report = Report::new(&arguments.json, folder.path(), arguments.users, arguments.seconds);
    let wants = |part| arguments.wants(part);
    if wants(Part::Append) {
        for batch in batch_sizes(&arguments.clients) {
            report.add(append::measure(folder.path(), batch, arguments.measured()));
        }
    }
    if wants(Part::Store) {
        store::measure(&folder.path().join("store"), arguments, &mut report);
    }
    let compared = [Part::Batches, Part::Record, Part::Session, Part::Afford, Part::Open];
    if compared.into_iter().any(wants) || arguments.fill > 0 {
        compare::measure(folder.path(), arguments, &report);
    }
    if wants(Part::Told) {
        told::measure(&folder.path().join("told"), arguments, &mut report);
    }
    report.print();
    if wants(Part::Postgres) {
        postgres::measure(&folder.path().join("postgres"), arguments);
    }
    println!("all figures: {}", arguments.json.display());
    if arguments.page {
        page::write(std::slice::from_ref(&arguments.json), &arguments.docs);
    }
}

impl Arguments {
    fn wants(&self, part: Part) -> bool {
        if self.only.is_empty() {
            self.all || !matches!(part, Part::Told | Part::Postgres)
        } else {
            self.only.contains(&part)
        }
    }

    fn measured(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    fn warm_up(&self) -> Duration {
        Duration::from_secs_f64((self.seconds / 10.0).max(1.0).min(self.seconds))
    }

    /// A closed loop.
    fn load(&self, clients: usize) -> Load {
        Load { clients, warm_up: self.warm_up(), measured: self.measured(), pace: Pace::Closed }
    }

    /// One that is to find out what to measure.
    fn short_load(&self, clients: usize) -> Load {
        let measured = self.measured() / 2;
        Load { clients, warm_up: measured / 2, measured, pace: Pace::Closed }
    }
}

/// A path as one writes it in the workspace's folder; cargo runs this in the crate's.
#[expect(clippy::unnecessary_wraps, reason = "that is the form of what reads an argument")]
fn in_workspace(path: &str) -> Result<PathBuf, String> {
    Ok(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path))
}

/// What a batch can be when so many clients ask at once, and the batches that they send.
fn batch_sizes(clients: &[usize]) -> Vec<usize> {
    let mut sizes = [clients, &[1, BATCH]].concat();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

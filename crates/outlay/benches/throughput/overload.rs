//! Measures the built server under ten times what it can do: `cargo xtask overload`.
//!
//! The server has a part of a core, the callers the rest of the machine. Requests are due at times that nobody's answer puts
//! off. First it is found out how many the server answers, and how soon at half of that; then ten times as many are due; then
//! half again. After that the server is stopped for half a second a few times at half of it, which is no overload; and at last
//! sockets that send a byte a second are opened beside.

mod callers;
mod seen;
mod share;
mod slow;
mod table;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};
use tokio::task::LocalSet;

use self::callers::{Busy, Pool};
use self::seen::Seen;
use self::share::Share;
use crate::requests::{self, Source};
use crate::server::Server;
use crate::{cpu, http};

#[derive(Parser)]
#[command(name = "cargo xtask overload", about = "Measure Outlay under ten times what it can do")]
struct Arguments {
    /// Seconds of each phase
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// The server's part of a core
    #[arg(long, default_value_t = 0.2)]
    cores: f64,
    /// How many times as much is due as the server can do
    #[arg(long, default_value_t = 10.0)]
    times: f64,
    /// Connections of the callers; one measurement each
    #[arg(long, value_delimiter = ',', default_value = "500,2000")]
    connections: Vec<usize>,
    /// Sockets that send a byte a second; none if 0
    #[arg(long, default_value_t = 10_000)]
    slow: usize,
    /// How many users are asked for, at random
    #[arg(long, default_value_t = 20_000)]
    users: u32,
    /// Where the data is kept while it runs
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"), value_parser = crate::in_workspace)]
    folder: PathBuf,
    /// The seed of the random users and costs
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

/// Callers that find out what the server can do.
const CLOSED_CALLERS: usize = 64;
/// Connections of those who ask beside slow sockets.
const BESIDE_SLOW: usize = 256;
/// How long the server is stopped, how often, and how long it has in between.
const STOPPED: Duration = Duration::from_millis(500);
const STOPS: u32 = 3;
const BETWEEN_STOPS: Duration = Duration::from_millis(2_500);

/// Runs with the arguments after the first one.
pub(crate) fn run() -> ExitCode {
    let arguments = Arguments::parse_from(std::env::args().skip(1));
    match measure(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::FAILURE
        }
    }
}

fn measure(arguments: &Arguments) -> Result<(), String> {
    raise_file_limit(arguments)?;
    let share = Share::new(arguments.cores)?;
    std::fs::create_dir_all(&arguments.folder).map_err(|error| error.to_string())?;
    let folder = tempfile::Builder::new().prefix("outlay-overload-").tempdir_in(&arguments.folder);
    let folder = folder.map_err(|error| error.to_string())?;
    share.clean_up_when_stopped(folder.path());
    let mut cases = Vec::new();
    for &connections in &arguments.connections {
        println!("{connections} connections");
        cases.push(Case::measure(arguments, &share, &folder.path().join(connections.to_string()), connections));
    }
    if !cases.is_empty() {
        table::print(&cases);
    }
    if arguments.slow > 0 {
        beside_slow(arguments, &share, &folder.path().join("slow"));
    }
    Ok(())
}

/// A server with its part of a core, and what is known of it.
fn server(share: &Share, folder: &Path) -> Server {
    let server = Server::outlay_within(&share.members(), folder);
    http::once(server.address, requests::UNLIMITED_PLAN);
    server
}

/// One number of connections.
struct Case {
    connections: usize,
    /// Answers a second in a closed loop.
    capacity: f64,
    normal: Seen,
    overload: Seen,
    after: Seen,
    stopped: Seen,
    memory: Memory,
    /// Of the server, while more was due than it could do.
    server_cores: f64,
    client_cores: f64,
}

/// What the server had in use, in bytes.
struct Memory {
    before: u64,
    most: u64,
    after: u64,
}

impl Case {
    fn measure(arguments: &Arguments, share: &Share, folder: &Path, connections: usize) -> Self {
        let server = server(share, folder);
        let process = server.process_id();
        let source = Source::new(arguments.seed, arguments.users);
        on_one_thread(async {
            let pool = Pool::connect(server.address, connections, source).await;
            let phase = Duration::from_secs_f64(arguments.seconds);
            let capacity = capacity(&pool, phase).await;
            let (half, tenfold) = (capacity / 2.0, capacity * arguments.times);
            let normal = pool.open(half, phase, Busy::Waits).await;
            say("half of it", &normal);
            let before = cpu::resident_bytes(process);
            let used = (cpu::of_process(process), cpu::of_this_thread());
            let began = Instant::now();
            let watch = Watch::start(process);
            let overload = pool.open(tenfold, phase, Busy::IsGivenUp).await;
            let most = watch.most();
            let took = began.elapsed().as_secs_f64();
            let server_cores = (cpu::of_process(process) - used.0) / took;
            let client_cores = (cpu::of_this_thread() - used.1) / took;
            say("overload", &overload);
            let after = pool.open(half, phase, Busy::Waits).await;
            say("half of it again", &after);
            let memory = Memory { before, most, after: cpu::resident_bytes(process) };
            let stopping = std::thread::spawn(move || stop_again_and_again(process));
            let stopped = pool.open(half, (STOPPED + BETWEEN_STOPS) * STOPS, Busy::Waits).await;
            stopping.join().unwrap();
            say("stopped for half a second, again and again", &stopped);
            Self { connections, capacity, normal, overload, after, stopped, memory, server_cores, client_cores }
        })
    }
}

fn on_one_thread<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(LocalSet::new().run_until(future))
}

async fn capacity(pool: &Rc<Pool>, phase: Duration) -> f64 {
    pool.closed(CLOSED_CALLERS, phase / 4).await;
    let seen = pool.closed(CLOSED_CALLERS, phase / 2).await;
    say("closed loop", &seen);
    seen.accepted_per_second()
}

fn say(phase: &str, seen: &Seen) {
    println!("    {phase}: {:.0} accepted a second", seen.accepted_per_second());
    if let Some(failure) = &seen.failure {
        println!("    {} answers were neither a success nor a refusal, the first: {failure}", seen.failures);
    }
}

fn stop_again_and_again(process: u32) {
    let process = i32::try_from(process).ok().and_then(Pid::from_raw).unwrap();
    for _ in 0..STOPS {
        std::thread::sleep(BETWEEN_STOPS);
        kill_process(process, Signal::STOP).unwrap();
        std::thread::sleep(STOPPED);
        kill_process(process, Signal::CONT).unwrap();
    }
}

/// Looks at a process's memory all the time.
struct Watch {
    most: std::sync::Arc<(AtomicU64, AtomicBool)>,
    thread: std::thread::JoinHandle<()>,
}

impl Watch {
    fn start(process: u32) -> Self {
        let most = std::sync::Arc::new((AtomicU64::new(0), AtomicBool::new(false)));
        let shared = std::sync::Arc::clone(&most);
        let thread = std::thread::spawn(move || {
            while !shared.1.load(Ordering::Relaxed) {
                shared.0.fetch_max(cpu::resident_bytes(process), Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { most, thread }
    }

    fn most(self) -> u64 {
        self.most.1.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.most.0.load(Ordering::Relaxed)
    }
}

/// Half of what the server can do, first alone and then beside slow sockets.
fn beside_slow(arguments: &Arguments, share: &Share, folder: &Path) {
    println!("{} sockets that send a byte a second", arguments.slow);
    let server = server(share, folder);
    let (process, address, count) = (server.process_id(), server.address, arguments.slow);
    let source = Source::new(arguments.seed, arguments.users);
    on_one_thread(async {
        let pool = Pool::connect(address, BESIDE_SLOW, source).await;
        let phase = Duration::from_secs_f64(arguments.seconds);
        let half = capacity(&pool, phase).await / 2.0;
        let alone = pool.open(half, phase * 2, Busy::Waits).await;
        let before = cpu::resident_bytes(process);
        let watch = Watch::start(process);
        let slow = std::thread::spawn(move || slow::run(address, count, phase));
        let beside = pool.open(half, phase * 2, Busy::Waits).await;
        let most = watch.most();
        let closed = slow.join().unwrap();
        let after = cpu::resident_bytes(process);
        table::print_slow(&alone, &beside, &Memory { before, most, after }, &closed);
    });
}

/// Each connection is a file.
fn raise_file_limit(arguments: &Arguments) -> Result<(), String> {
    let wanted = arguments.connections.iter().max().copied().unwrap_or(0).max(arguments.slow + BESIDE_SLOW) + 200;
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).map_err(|error| error.to_string())?;
    match limit.maximum {
        Some(most) if most < wanted as u64 => {
            Err(format!("{wanted} files have to be open at once, and this process may open {most} (`ulimit -n`)"))
        }
        _ => Ok(()),
    }
}

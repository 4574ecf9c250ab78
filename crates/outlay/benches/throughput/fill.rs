//! Filling Outlay: batches of new operations until there are many, and what that does to its rate, its slowest answers, its
//! file, its memory and its start.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::json;

use crate::load::histogram;
use crate::report::{Report, milliseconds, rate};
use crate::requests::{OPERATION, Source};
use crate::server::{self, Server};
use crate::{Arguments, BATCH, cpu, http};

/// Clients that send batches: enough that one is always waiting.
const CLIENTS: usize = 4;
/// After so many operations the rate is told.
const SLICE: u64 = 1_000_000;

/// What is told at a mark.
struct Mark {
    operations: u64,
    /// Of the last slice.
    per_second: f64,
    /// Of all slices since the mark before.
    per_second_since: f64,
    /// Of batches since the mark before, in microseconds.
    latency: Histogram<u64>,
    file_bytes: u64,
    memory_bytes: u64,
    /// From the start of the program after a `kill -9` until it listens, and until an operation is acknowledged.
    listens: Duration,
    acknowledges: Duration,
}

/// Fills the server's store as far as is asked or the time goes, and starts it anew at every mark.
pub(crate) fn measure(server: &mut Server, arguments: &Arguments, source: &mut Source, report: &Report) {
    let began = Instant::now();
    let slice = (arguments.fill / 10).clamp(BATCH as u64, SLICE);
    let mut marks = arguments.marks.iter().copied().filter(|mark| *mark < arguments.fill).collect::<Vec<_>>();
    marks.push(arguments.fill);
    marks.sort_unstable();
    let mut told: Vec<Mark> = Vec::new();
    let (mut done, mut stopped) = (0, None);
    let (mut latency, mut operations, mut seconds) = (histogram(), 0, 0.0);
    while done < arguments.fill {
        let next_mark = marks.iter().copied().find(|mark| *mark > done).unwrap_or(arguments.fill);
        let filled = http::fill(server.address, CLIENTS, slice.min(next_mark - done), BATCH, source);
        done += filled.operations;
        let per_second = rate(filled.operations, filled.seconds);
        tell_slice(server, done, per_second, &filled.latency, report);
        latency.add(&filled.latency).unwrap();
        operations += filled.operations;
        seconds += filled.seconds;
        if let Some(failure) = filled.failure {
            stopped = Some(format!("a batch was answered {failure}"));
        } else if began.elapsed().as_secs_f64() > arguments.fill_minutes * 60.0 && done < arguments.fill {
            stopped = Some(format!("{} minutes were over", arguments.fill_minutes));
        }
        if done >= next_mark || stopped.is_some() {
            let (file_bytes, memory_bytes) = sizes(server);
            let (listens, acknowledges) = start_anew(server, source);
            told.push(Mark {
                operations: done,
                per_second,
                per_second_since: rate(operations, seconds),
                latency: std::mem::replace(&mut latency, histogram()),
                file_bytes,
                memory_bytes,
                listens,
                acknowledges,
            });
            (operations, seconds) = (0, 0.0);
            told.last().unwrap().tell(report);
        }
        if stopped.is_some() {
            break;
        }
    }
    let ends = told.first().zip(told.last()).filter(|(first, last)| first.operations < last.operations);
    let ratio = ends.map(|(first, last)| last.per_second / first.per_second);
    if let Some((ratio, (first, last))) = ratio.zip(ends) {
        println!("the rate at {} operations is {ratio:.2} of that at {}", last.operations, first.operations);
    }
    if let Some(why) = &stopped {
        println!("the fill ended at {done} operations of {}: {why}", arguments.fill);
    }
    report.line(&json!({
        "what": "filled", "operations": done, "wanted": arguments.fill, "ratio": ratio, "stopped": stopped,
        "minutes": began.elapsed().as_secs_f64() / 60.0, "clients": CLIENTS, "batch": BATCH,
    }));
}

fn tell_slice(server: &Server, done: u64, per_second: f64, latency: &Histogram<u64>, report: &Report) {
    let (file_bytes, memory_bytes) = sizes(server);
    println!(
        "{done:>12} operations: {per_second:>8.0} a second, slowest batch {:>5} ms, {:>6} MB on disk, {:>5} MB of memory",
        latency.max() / 1_000,
        file_bytes / 1_000_000,
        memory_bytes / 1_000_000,
    );
    report.line(&json!({
        "what": "fill", "operations": done, "perSecond": per_second, "p99Micros": latency.value_at_quantile(0.99),
        "maxMicros": latency.max(), "fileBytes": file_bytes, "memoryBytes": memory_bytes,
    }));
}

/// The bytes of the store's files, its log with them, and those of the server's memory.
fn sizes(server: &Server) -> (u64, u64) {
    (server::file_size(&server.folder), cpu::resident_bytes(server.process_id()))
}

/// Kills the server and starts it on what it left: until it listens, and until it has acknowledged an operation.
fn start_anew(server: &mut Server, source: &mut Source) -> (Duration, Duration) {
    server.kill();
    let folder = server.folder.clone();
    let began = Instant::now();
    *server = Server::outlay(&folder);
    let listens = began.elapsed();
    let values = source.values();
    let operation = OPERATION.replace("<id>", &format!("{:016x}", values.id)).replace("<user>", "000000");
    let operation = operation.replace("<feature>", "00").replace("<cost>", "00001");
    http::once(server.address, ("POST", "/v1/usage", &operation));
    (listens, began.elapsed())
}

impl Mark {
    #[expect(clippy::cast_precision_loss, reason = "no file has 2^53 bytes")]
    fn bytes_each(&self) -> f64 {
        self.file_bytes as f64 / self.operations as f64
    }

    fn tell(&self, report: &Report) {
        println!(
            "{:>12} operations: since the last mark {:.0} a second, p99 of a batch {} ms, slowest {} ms; {:.0} bytes each; \
             started anew and acknowledged after {:.2} s",
            self.operations,
            self.per_second_since,
            milliseconds(self.latency.value_at_quantile(0.99)),
            milliseconds(self.latency.max()),
            self.bytes_each(),
            self.acknowledges.as_secs_f64(),
        );
        report.line(&json!({
            "what": "mark", "operations": self.operations, "perSecond": self.per_second,
            "perSecondSince": self.per_second_since, "p99Micros": self.latency.value_at_quantile(0.99),
            "maxMicros": self.latency.max(), "fileBytes": self.file_bytes, "bytesEach": self.bytes_each(),
            "memoryBytes": self.memory_bytes, "listensSeconds": self.listens.as_secs_f64(),
            "startSeconds": self.acknowledges.as_secs_f64(),
        }));
    }
}

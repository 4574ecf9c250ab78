//! The figures: one table with the ratios within this run, and JSON lines with all of them.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cpu::Used;
use crate::load::Measured;
use crate::requests::Kind;

/// One measurement of what stands alone.
pub(crate) struct Row {
    what: String,
    by: &'static str,
    /// Clients, or the size of a batch in process.
    width: usize,
    per_second: f64,
    p50_micros: u64,
    p99_micros: u64,
    max_micros: u64,
    /// Of those that are asked over HTTP.
    cores: Option<Cores>,
    failures: u64,
    failure: Option<String>,
}

struct Cores {
    server: f64,
    client: f64,
    /// The busiest first.
    threads: Vec<(String, f64)>,
}

pub(crate) const APPEND: &str = "raw append + fdatasync";
pub(crate) const STORE: &str = "store alone";

impl Row {
    pub(crate) fn in_process(
        by: &'static str,
        batch: usize,
        batches: u64,
        took: Duration,
        latency: &Histogram<u64>,
    ) -> Self {
        let per_second = rate(batches * batch as u64, took.as_secs_f64());
        Self { what: format!("batch of {batch}"), ..Self::of(by, batch, per_second, latency) }
    }

    /// How long was waited for something, so many times.
    pub(crate) fn waited(what: &str, by: &'static str, times: u64, took: Duration, latency: &Histogram<u64>) -> Self {
        let per_second = rate(times, took.as_secs_f64());
        Self { what: what.to_owned(), ..Self::of(by, 1, per_second, latency) }
    }

    pub(crate) fn over_http(by: &'static str, kind: Kind, clients: usize, measured: Measured, used: &Used) -> Self {
        let per_second = rate(measured.cycles * kind.operations(), measured.seconds);
        let mut threads: Vec<_> =
            used.threads().iter().map(|(name, seconds)| (name.clone(), seconds / measured.whole_seconds)).collect();
        threads.sort_by(|a, b| b.1.total_cmp(&a.1));
        let (server, client) = (used.total() / measured.whole_seconds, measured.cpu_seconds / measured.seconds);
        Self {
            what: kind.name(),
            cores: Some(Cores { server, client, threads }),
            failures: measured.failures,
            failure: measured.failure,
            ..Self::of(by, clients, per_second, &measured.latency)
        }
    }

    fn of(by: &'static str, width: usize, per_second: f64, latency: &Histogram<u64>) -> Self {
        Self {
            what: String::new(),
            by,
            width,
            per_second,
            p50_micros: latency.value_at_quantile(0.5),
            p99_micros: latency.value_at_quantile(0.99),
            max_micros: latency.max(),
            cores: None,
            failures: 0,
            failure: None,
        }
    }
}

pub(crate) struct Report {
    rows: Vec<Row>,
    json: PathBuf,
}

impl Report {
    /// Begins the file of JSON lines with what machine this is.
    pub(crate) fn new(json: &Path, folder: &Path, users: u32, seconds: f64) -> Self {
        let output = |program: &str, arguments: &[&str]| {
            let output = Command::new(program).args(arguments).output().ok()?;
            Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        };
        let machine = json!({
            "what": "machine",
            "date": timestamp().strftime("%Y-%m-%d").to_string(),
            "command": command(),
            "cores": std::thread::available_parallelism().map_or(0, usize::from),
            "kernel": output("uname", &["-srm"]),
            "processor": processor(),
            "filesystem": output("stat", &["-f", "-c", "%T", &folder.display().to_string()]),
            "commit": output("git", &["rev-parse", "--short", "HEAD"]),
            "users": users,
            "seconds": seconds,
        });
        // A run that cannot write its figures should fail before it measures them.
        std::fs::write(json, format!("{machine}\n")).unwrap();
        println!("{machine}");
        Self { rows: Vec::new(), json: json.to_owned() }
    }

    /// Keeps a measurement and says it at once.
    pub(crate) fn add(&mut self, row: Row) {
        println!("{:<24} {:>4} {:<28} {:>10.0} a second", row.by, row.width, row.what, row.per_second);
        if let Some(failure) = &row.failure {
            println!("    {} answers were no success, the first: {failure}", row.failures);
        }
        self.line(&self.row(&row));
        self.rows.push(row);
    }

    /// Adds a line to the file of this run's figures.
    pub(crate) fn line(&self, line: &Value) {
        json_line(&self.json, line);
    }

    fn row(&self, row: &Row) -> Value {
        let cores = row.cores.as_ref();
        json!({
            "what": "alone", "about": row.what, "by": row.by, "width": row.width, "perSecond": row.per_second,
            "p50Micros": row.p50_micros, "p99Micros": row.p99_micros, "maxMicros": row.max_micros,
            "ofAppend": self.of_append(row), "serverCores": cores.map(|cores| cores.server),
            "clientCores": cores.map(|cores| cores.client), "threads": cores.map(|cores| &cores.threads),
            "failures": row.failures,
        })
    }

    /// What one of those in process did in batches of so many, if that was measured.
    pub(crate) fn per_second(&self, by: &str, batch: usize) -> Option<f64> {
        self.rows.iter().find(|row| row.by == by && row.width == batch).map(|row| row.per_second)
    }

    /// The store's rate as a part of what appending the same bytes in as large batches gives.
    fn of_append(&self, row: &Row) -> Option<f64> {
        if row.by != STORE {
            return None;
        }
        Some(row.per_second / self.per_second(APPEND, row.width)?)
    }

    /// The table, in the form that a document can take.
    pub(crate) fn print(&self) {
        if self.rows.is_empty() {
            return;
        }
        let mut table = Table::new();
        table.load_style(UTF8_FULL_CONDENSED).set_header([
            "what",
            "by",
            "clients or batch",
            "a second",
            "p50 ms",
            "p99 ms",
            "max ms",
            "of append",
            "server cores",
            "client cores",
            "busiest threads",
            "failed",
        ]);
        for row in &self.rows {
            let cores =
                |of: fn(&Cores) -> f64| row.cores.as_ref().map_or(String::new(), |cores| format!("{:.2}", of(cores)));
            let threads = row.cores.iter().flat_map(|cores| &cores.threads).take(2);
            table.add_row([
                row.what.clone(),
                row.by.to_owned(),
                row.width.to_string(),
                format!("{:.0}", row.per_second),
                milliseconds(row.p50_micros),
                milliseconds(row.p99_micros),
                milliseconds(row.max_micros),
                self.of_append(row).map_or(String::new(), |ratio| format!("{ratio:.2}")),
                cores(|cores| cores.server),
                cores(|cores| cores.client),
                threads.map(|(name, cores)| format!("{name} {cores:.2}")).collect::<Vec<_>>().join(", "),
                row.failures.to_string(),
            ]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("\n{table}\n");
    }
}

/// What one writes to measure the same, without where its files go.
fn command() -> String {
    let mut command = "cargo xtask bench".to_owned();
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        if ["--json", "--folder", "--docs"].contains(&argument.as_str()) {
            arguments.next();
        } else {
            command = format!("{command} {argument}");
        }
    }
    command
}

/// Now.
pub(crate) fn timestamp() -> Timestamp {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    Timestamp::from_millisecond(i64::try_from(since.as_millis()).unwrap_or(0)).unwrap_or_default()
}

/// So many a second.
#[expect(clippy::cast_precision_loss, reason = "no run counts to 2^53")]
pub(crate) fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
}

/// As a text with two places.
pub(crate) fn milliseconds(micros: u64) -> String {
    format!("{}.{:02}", micros / 1000, micros % 1000 / 10)
}

/// The middle one, the lower of two.
pub(crate) fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all.get(all.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}

/// Adds a line to the file of JSON lines.
pub(crate) fn json_line(file: &Path, line: &Value) {
    let mut file = OpenOptions::new().append(true).create(true).open(file).unwrap();
    writeln!(file, "{line}").unwrap();
}

fn processor() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

//! The figures: one table with the ratios within this run, and JSON lines with all of them.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::BATCH;
use crate::cpu::Used;
use crate::load::Measured;
use crate::requests::Kind;

/// One measurement.
pub(crate) struct Row {
    what: String,
    by: &'static str,
    /// Clients, or the size of a batch in process.
    width: usize,
    per_second: f64,
    p50_micros: u64,
    p99_micros: u64,
    max_micros: u64,
    kind: Option<Kind>,
    server_cores: f64,
    client_cores: f64,
    threads: Vec<(String, f64)>,
    failures: u64,
    failure: Option<String>,
}

const APPEND: &str = "raw append + fdatasync";
const STORE: &str = "store alone";
const EMPTY: &str = "empty handler";

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
        Self {
            what: kind.name(),
            kind: Some(kind),
            server_cores: used.total() / measured.whole_seconds,
            client_cores: measured.cpu_seconds / measured.seconds,
            threads,
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
            kind: None,
            server_cores: 0.0,
            client_cores: 0.0,
            threads: Vec::new(),
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
        json_line(&self.json, &self.line(&row));
        self.rows.push(row);
    }

    fn line(&self, row: &Row) -> Value {
        json!({
            "what": row.what, "by": row.by, "width": row.width, "perSecond": row.per_second,
            "p50Micros": row.p50_micros, "p99Micros": row.p99_micros, "maxMicros": row.max_micros,
            "ofEmptyHandler": self.of_empty(row), "ofAppend": self.of_append(row), "ofStore": self.of_store(row),
            "serverCores": row.server_cores, "clientCores": row.client_cores,
            "threads": row.threads.iter().map(|(name, cores)| json!([name, cores])).collect::<Vec<_>>(),
            "failures": row.failures,
        })
    }

    /// The rate as a part of the empty handler's, for the same requests from as many clients.
    fn of_empty(&self, row: &Row) -> Option<f64> {
        let kind = row.kind?;
        let empty =
            self.rows.iter().find(|other| other.by == EMPTY && other.kind == Some(kind) && other.width == row.width)?;
        (row.by != EMPTY).then(|| row.per_second / empty.per_second)
    }

    /// The rate as a part of what appending the same bytes in as large batches gives: as many as can wait at once.
    fn of_append(&self, row: &Row) -> Option<f64> {
        (row.by != APPEND).then(|| self.of_bound(row, APPEND))?
    }

    fn of_store(&self, row: &Row) -> Option<f64> {
        (row.by != STORE && row.by != APPEND).then(|| self.of_bound(row, STORE))?
    }

    fn of_bound(&self, row: &Row, by: &str) -> Option<f64> {
        let size = match row.kind {
            None | Some(Kind::Record | Kind::RecordMinimal) => row.width,
            Some(Kind::Batch(_)) => BATCH,
            Some(Kind::Session | Kind::Afford) => return None,
        };
        let bound = self.rows.iter().find(|other| other.by == by && other.width == size)?;
        (row.by != EMPTY).then(|| row.per_second / bound.per_second)
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
            "of empty handler",
            "of append",
            "of store",
            "server cores",
            "client cores",
            "busiest threads",
            "failed",
        ]);
        for row in &self.rows {
            let milliseconds = |micros: u64| format!("{}.{:02}", micros / 1000, micros % 1000 / 10);
            let ratio = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
            let cores = |cores: f64| if row.kind.is_some() { format!("{cores:.2}") } else { String::new() };
            let threads: Vec<_> =
                row.threads.iter().take(2).map(|(name, cores)| format!("{name} {cores:.2}")).collect();
            table.add_row([
                row.what.clone(),
                row.by.to_owned(),
                row.width.to_string(),
                format!("{:.0}", row.per_second),
                milliseconds(row.p50_micros),
                milliseconds(row.p99_micros),
                milliseconds(row.max_micros),
                ratio(self.of_empty(row)),
                ratio(self.of_append(row)),
                ratio(self.of_store(row)),
                cores(row.server_cores),
                cores(row.client_cores),
                threads.join(", "),
                row.failures.to_string(),
            ]);
        }
        for column in table.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("\n{table}\n\nall figures: {}", self.json.display());
    }
}

/// So many a second.
#[expect(clippy::cast_precision_loss, reason = "no run counts to 2^53")]
pub(crate) fn rate(count: u64, seconds: f64) -> f64 {
    count as f64 / seconds
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

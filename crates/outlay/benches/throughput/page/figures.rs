//! The figures of runs, as their files of JSON lines have them.

use std::path::Path;

use serde::Deserialize;

use crate::report::{APPEND, STORE};

/// What one run found out; empty where it did not measure something.
#[derive(Default)]
pub(crate) struct Run {
    pub(crate) machine: Machine,
    pub(crate) alone: Vec<Alone>,
    pub(crate) closed: Vec<Turns>,
    pub(crate) open: Vec<Turns>,
    pub(crate) slices: Vec<Slice>,
    pub(crate) marks: Vec<Mark>,
    pub(crate) filled: Option<Filled>,
}

#[derive(Default, Deserialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) command: String,
    pub(crate) cores: usize,
    pub(crate) kernel: Option<String>,
    pub(crate) processor: Option<String>,
    pub(crate) filesystem: Option<String>,
    pub(crate) commit: Option<String>,
}

/// What stands alone: the disk, the store in process, or Outlay beside its receivers.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Alone {
    pub(crate) by: String,
    pub(crate) width: usize,
    pub(crate) per_second: f64,
    pub(crate) p50_micros: u64,
    pub(crate) p99_micros: u64,
}

impl Alone {
    /// Whether it is the disk or the store; the others have a table in the page's text.
    pub(crate) fn is_in_process(&self) -> bool {
        [APPEND, STORE].contains(&self.by.as_str())
    }
}

/// All turns about one thing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Turns {
    pub(crate) kind: String,
    pub(crate) by: String,
    pub(crate) clients: usize,
    pub(crate) connections: Option<usize>,
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) outlay_times: Option<f64>,
    pub(crate) p50_micros: u64,
    pub(crate) p99_micros: u64,
    pub(crate) p999_micros: u64,
    pub(crate) max_micros: u64,
    pub(crate) server_cores: f64,
    pub(crate) client_cores: f64,
    pub(crate) failures: u64,
    /// Of an open loop.
    pub(crate) share: Option<f64>,
    pub(crate) offered: Option<f64>,
    pub(crate) unsent: Option<u64>,
}

/// A part of a fill.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Slice {
    pub(crate) operations: u64,
    pub(crate) per_second: f64,
    pub(crate) max_micros: u64,
}

/// What was found at a mark of a fill.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mark {
    pub(crate) operations: u64,
    pub(crate) per_second: f64,
    pub(crate) per_second_since: f64,
    pub(crate) p99_micros: u64,
    pub(crate) max_micros: u64,
    pub(crate) file_bytes: u64,
    pub(crate) bytes_each: f64,
    pub(crate) memory_bytes: u64,
    pub(crate) start_seconds: f64,
}

/// How a fill ended.
#[derive(Deserialize)]
pub(crate) struct Filled {
    pub(crate) operations: u64,
    pub(crate) wanted: u64,
    pub(crate) ratio: Option<f64>,
    pub(crate) stopped: Option<String>,
    pub(crate) minutes: f64,
}

#[derive(Deserialize)]
#[serde(tag = "what", rename_all = "lowercase")]
enum Line {
    Machine(Machine),
    Alone(Alone),
    Closed(Turns),
    Open(Turns),
    Fill(Slice),
    Mark(Mark),
    Filled(Filled),
    /// Of the comparison of nodes, which prints its own table.
    Nodes,
}

impl Run {
    /// The figures in a file.
    pub(crate) fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut run = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line: Line = serde_json::from_str(line)
                .unwrap_or_else(|error| panic!("{}, line {}: {error}", file.display(), number + 1));
            match line {
                Line::Machine(machine) => run.machine = machine,
                Line::Alone(alone) => run.alone.push(alone),
                Line::Closed(turns) => run.closed.push(turns),
                Line::Open(turns) => run.open.push(turns),
                Line::Fill(slice) => run.slices.push(slice),
                Line::Mark(mark) => run.marks.push(mark),
                Line::Filled(filled) => run.filled = Some(filled),
                Line::Nodes => {}
            }
        }
        run
    }
}

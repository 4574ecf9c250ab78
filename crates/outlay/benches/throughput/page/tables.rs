//! The tables, in Markdown.

use std::fmt::Write;

use super::figures::{Machine, Run, Turns};

const OUTLAY: &str = "outlay";

/// When, where and by what a run was made.
pub(crate) fn caption(machine: &Machine) -> String {
    let known = [&machine.processor, &machine.kernel, &machine.filesystem];
    let known: Vec<_> = known.into_iter().flatten().map(String::as_str).collect();
    let commit = machine.commit.as_ref().map_or(String::new(), |commit| format!(" at commit {commit}"));
    format!(
        "{}, {} cores shared by all of them, {}: `{}`{commit}.\n",
        machine.date,
        machine.cores,
        known.join(", "),
        machine.command
    )
}

/// Rates by clients, and every figure folded away.
pub(crate) fn closed(run: &Run) -> String {
    let mut text = "![Rate by clients](pictures/bench-clients.svg)\n".to_owned();
    for kind in distinct(run.closed.iter().map(|turns| turns.kind.clone())) {
        let of_kind: Vec<_> = run.closed.iter().filter(|turns| turns.kind == kind).collect();
        let clients = distinct(of_kind.iter().map(|turns| turns.clients));
        let unit = if kind.starts_with("open") { "cycles" } else { "operations" };
        let heads = clients.iter().map(|clients| match clients {
            1 => "1 client".to_owned(),
            _ => format!("{clients} clients"),
        });
        let _ = write!(text, "\n**{}**, {unit} a second (Outlay does so many times as much)\n\n", first_upper(&kind));
        head(&mut text, std::iter::once("by".to_owned()).chain(heads), 1);
        for by in distinct(of_kind.iter().map(|turns| turns.by.clone())) {
            let cells = clients.iter().map(|clients| {
                let turns = of_kind.iter().find(|turns| turns.by == by && turns.clients == *clients);
                turns.map_or(String::new(), |turns| {
                    let times = turns.outlay_times.map_or(String::new(), |times| format!(" ({})", times_text(times)));
                    format!("{}{times}", whole(turns.median))
                })
            });
            row(&mut text, std::iter::once(name(&by)).chain(cells));
        }
    }
    text.push_str("\n<details><summary>Every figure: medians of the turns, with the least and the most</summary>\n\n");
    let heads = [
        "what",
        "by",
        "clients",
        "a second",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "server cores",
        "client cores",
        "failed",
    ];
    head(&mut text, heads.map(str::to_owned).into_iter(), 2);
    for turns in &run.closed {
        let mut cells = vec![turns.kind.clone(), by(turns), turns.clients.to_string(), rate(turns)];
        cells.extend(latencies(turns));
        cells.extend([cores(turns.server_cores), cores(turns.client_cores), turns.failures.to_string()]);
        row(&mut text, cells.into_iter());
    }
    text.push_str("\n</details>\n");
    text
}

/// Latencies at set rates.
pub(crate) fn open(run: &Run) -> String {
    let mut text = "![Latency at set rates](pictures/bench-open.svg)\n\n".to_owned();
    let heads = [
        "by",
        "of its most",
        "due a second",
        "answered a second",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "max ms",
        "failed or unsent",
    ];
    head(&mut text, heads.map(str::to_owned).into_iter(), 1);
    for who in distinct(run.open.iter().map(|turns| turns.by.clone())) {
        for turns in run.open.iter().filter(|turns| turns.by == who) {
            let share = turns.share.map_or(String::new(), |share| format!("{share}"));
            let offered = turns.offered.map_or(String::new(), whole);
            let mut cells = vec![by(turns), share, offered, rate(turns)];
            cells.extend(latencies(turns));
            cells.push((turns.failures + turns.unsent.unwrap_or(0)).to_string());
            row(&mut text, cells.into_iter());
        }
    }
    text
}

/// What a fill found at its marks, and how it ended.
pub(crate) fn fill(run: &Run) -> String {
    let mut text = "![Rate and slowest batch while it fills](pictures/bench-fill.svg)\n\n".to_owned();
    let heads = [
        "operations",
        "a second, the last million",
        "a second, since the mark before",
        "p99 of a batch ms",
        "slowest batch ms",
        "bytes each on disk",
        "GB on disk",
        "MB of memory",
        "first acknowledged after kill -9 s",
    ];
    head(&mut text, heads.map(str::to_owned).into_iter(), 0);
    #[expect(clippy::cast_precision_loss, reason = "no size has 2^53 bytes")]
    for mark in &run.marks {
        let cells = [
            whole(mark.operations as f64),
            whole(mark.per_second),
            whole(mark.per_second_since),
            milliseconds(mark.p99_micros),
            milliseconds(mark.max_micros),
            whole(mark.bytes_each),
            format!("{:.2}", mark.file_bytes as f64 / 1e9),
            whole(mark.memory_bytes as f64 / 1e6),
            format!("{:.2}", mark.start_seconds),
        ];
        row(&mut text, cells.into_iter());
    }
    if let Some(filled) = &run.filled {
        #[expect(clippy::cast_precision_loss, reason = "no run counts to 2^53")]
        let [operations, wanted] = [filled.operations, filled.wanted].map(|count| whole(count as f64));
        let _ = match &filled.stopped {
            None => write!(text, "\n{operations} operations in {:.0} minutes.", filled.minutes),
            Some(why) => write!(text, "\n{operations} operations of {wanted} in {:.0} minutes: {why}.", filled.minutes),
        };
        if let (Some(ratio), Some(first)) = (filled.ratio, run.marks.first()) {
            #[expect(clippy::cast_precision_loss, reason = "no run counts to 2^53")]
            let first = whole(first.operations as f64);
            let _ = write!(text, " The rate at the end is {ratio:.2} of that at {first}.");
        }
        text.push('\n');
    }
    text.push_str("\n![Start after kill -9, by size](pictures/bench-start.svg)\n");
    text
}

/// What the disk and the store allow.
pub(crate) fn alone(run: &Run) -> String {
    let mut text = String::new();
    head(
        &mut text,
        ["what", "batches of", "operations a second", "p50 ms", "p99 ms"].map(str::to_owned).into_iter(),
        1,
    );
    for alone in run.alone.iter().filter(|alone| alone.is_in_process()) {
        let [p50, p99] = [alone.p50_micros, alone.p99_micros].map(milliseconds);
        row(&mut text, [alone.by.clone(), alone.width.to_string(), whole(alone.per_second), p50, p99].into_iter());
    }
    text
}

fn by(turns: &Turns) -> String {
    match turns.connections {
        None => name(&turns.by),
        Some(1) => format!("{}, 1 connection", turns.by),
        Some(connections) => format!("{}, {connections} connections", turns.by),
    }
}

fn name(by: &str) -> String {
    if by == OUTLAY { "**Outlay**".to_owned() } else { by.to_owned() }
}

fn rate(turns: &Turns) -> String {
    format!("{} ({} to {})", whole(turns.median), whole(turns.least), whole(turns.most))
}

fn latencies(turns: &Turns) -> [String; 4] {
    [turns.p50_micros, turns.p99_micros, turns.p999_micros, turns.max_micros].map(milliseconds)
}

fn cores(cores: f64) -> String {
    format!("{cores:.2}")
}

/// With as many places as it takes to tell two of them apart.
fn milliseconds(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{:02}", micros / 1_000, micros % 1_000 / 10),
        10_000..100_000 => format!("{}.{}", micros / 1_000, micros % 1_000 / 100),
        _ => grouped(micros / 1_000),
    }
}

fn times_text(times: f64) -> String {
    if times < 10.0 { format!("{times:.2}") } else { format!("{times:.0}") }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and sizes are small and not below zero"
)]
fn whole(number: f64) -> String {
    grouped(number.round() as u64)
}

/// With commas between thousands.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn first_upper(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// In the order in which they came.
pub(crate) fn distinct<T: PartialEq>(all: impl Iterator<Item = T>) -> Vec<T> {
    let mut distinct = Vec::new();
    for one in all {
        if !distinct.contains(&one) {
            distinct.push(one);
        }
    }
    distinct
}

/// The first columns are texts, the others numbers.
fn head(text: &mut String, cells: impl Iterator<Item = String>, texts: usize) {
    let cells: Vec<_> = cells.collect();
    let lines = (0..cells.len()).map(|place| if place < texts { "---" } else { "---:" }.to_owned());
    row(text, cells.iter().cloned());
    row(text, lines);
}

fn row(text: &mut String, cells: impl Iterator<Item = String>) {
    let cells: Vec<_> = cells.collect();
    let _ = writeln!(text, "| {} |", cells.join(" | "));
}

//! The tables, in the form that a document can take.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use hdrhistogram::Histogram;

use super::seen::{Seen, What};
use super::slow::Closed;
use super::{Case, Memory};
use crate::report::milliseconds;

/// What each row says of a case, and what is aimed at.
type Row = (&'static str, &'static str, fn(&Case) -> String);

const ROWS: [Row; 21] = [
    ("can do, a second", "", |case| format!("{:.0}", case.capacity)),
    ("at half of it: p50 / p99 ms", "", |case| p50_p99(&case.normal.accepted())),
    ("overload: due a second", "", |case| format!("{:.0}", per_second(case.overload.due, &case.overload))),
    ("not sent, every connection being busy", "", |case| percent(case.overload.unsent, case.overload.due)),
    ("accepted a second", "", |case| format!("{:.0}", case.overload.accepted_per_second())),
    ("of what it can do", "90 % at least", |case| {
        format!("{:.0} %", 100.0 * case.overload.accepted_per_second() / case.capacity)
    }),
    ("accepted: p50 / p99 ms", "", |case| p50_p99(&case.overload.accepted())),
    ("their p99, times that at half", "5 at most", |case| {
        format!("{:.1}", p99(&case.overload.accepted()) / p99(&case.normal.accepted()))
    }),
    ("refused a second", "", |case| format!("{:.0}", per_second(case.overload.refused().len(), &case.overload))),
    ("refused: p50 / p99 ms", "5 at most", |case| p50_p99(&case.overload.refused())),
    ("refused of intents", "", |case| refused(&case.overload, What::Intent)),
    ("refused of facts", "fewer", |case| refused(&case.overload, What::Fact)),
    ("refused of finishes", "none", |case| refused(&case.overload, What::Finish)),
    ("normal again after, s", "5 at most", |case| {
        let after = case.after.normal_after(2 * case.normal.accepted().value_at_quantile(0.99));
        after.map_or_else(|| "not".to_owned(), |after| format!("{:.1}", after.as_secs_f64()))
    }),
    ("refused at half of it, before and after", "0 / 0", |case| {
        format!("{} / {}", case.normal.refused().len(), case.after.refused().len())
    }),
    ("memory before / at most / after, MB", "flat", |case| megabytes(&case.memory)),
    ("cores of the server / of the callers", "", |case| format!("{:.2} / {:.2}", case.server_cores, case.client_cores)),
    ("stopped for half a second: refused", "0", |case| case.stopped.refused().len().to_string()),
    ("their p50 / p99 ms", "", |case| p50_p99(&case.stopped.accepted())),
    ("their max ms", "", |case| milliseconds(case.stopped.accepted().max())),
    ("answers that were something else", "0", |case| {
        let phases = [&case.normal, &case.overload, &case.after, &case.stopped];
        phases.iter().map(|seen| seen.failures).sum::<u64>().to_string()
    }),
];

pub(super) fn print(cases: &[Case]) {
    let mut table = Table::new();
    let connections = cases.iter().map(|case| format!("{} connections", case.connections));
    let header = std::iter::once(String::new()).chain(connections).chain(["aim".to_owned()]);
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for (what, aim, of) in ROWS {
        let figures = cases.iter().map(of);
        table.add_row(std::iter::once(what.to_owned()).chain(figures).chain([aim.to_owned()]));
    }
    show(table);
}

pub(super) fn print_slow(alone: &Seen, beside: &Seen, memory: &Memory, closed: &Closed) {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(["", "figure", "aim"]);
    let [heads, bodies] = closed.longest.map(|longest| format!("{:.1}", longest.as_secs_f64()));
    let refused = alone.refused().len() + beside.refused().len();
    let rows = [
        ("at half of what it can do, without them: p50 / p99 ms", p50_p99(&alone.accepted()), ""),
        ("beside them: p50 / p99 ms", p50_p99(&beside.accepted()), "10 % more at most"),
        ("refused", refused.to_string(), "0"),
        ("memory before / at most / after, MB", megabytes(memory), "100 more at most"),
        ("connected at once, at most", closed.most.to_string(), ""),
        ("a head was waited for, at most, s", heads, "10"),
        ("a body was waited for, at most, s", bodies, "30"),
        ("not hung up on", closed.left_open.to_string(), "0"),
        ("not connected", closed.not_connected.to_string(), ""),
    ];
    for (what, figure, aim) in rows {
        table.add_row([what.to_owned(), figure, aim.to_owned()]);
    }
    show(table);
}

fn show(mut table: Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("\n{table}\n");
}

fn p50_p99(latency: &Histogram<u64>) -> String {
    if latency.is_empty() {
        return "none".to_owned();
    }
    let of = |quantile| milliseconds(latency.value_at_quantile(quantile));
    format!("{} / {}", of(0.5), of(0.99))
}

#[expect(clippy::cast_precision_loss, reason = "microseconds of one answer")]
fn p99(latency: &Histogram<u64>) -> f64 {
    latency.value_at_quantile(0.99) as f64
}

fn per_second(count: u64, seen: &Seen) -> f64 {
    crate::report::rate(count, seen.measured.as_secs_f64())
}

fn refused(seen: &Seen, what: What) -> String {
    let answers = seen.of(what);
    let (accepted, refused) = (answers.accepted.len(), answers.refused.len());
    percent(refused, accepted + refused)
}

#[expect(clippy::cast_precision_loss, reason = "no run counts to 2^53")]
fn percent(part: u64, whole: u64) -> String {
    format!("{:.1} %", 100.0 * part as f64 / whole.max(1) as f64)
}

fn megabytes(memory: &Memory) -> String {
    let of = |bytes: u64| bytes / 1_000_000;
    format!("{} / {} / {}", of(memory.before), of(memory.most), of(memory.after))
}

//! What each saw in its turns, and the medians of it.

use std::path::Path;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table as Shown};
use serde_json::json;

use super::Who;
use crate::load::{Measured, histogram};
use crate::report::{json_line, median, milliseconds, rate};

/// One turn.
pub(crate) struct Seen {
    pub(crate) per_second: f64,
    measured: Measured,
    /// Cores used by the clients, by the nodes of Outlay and by PostgreSQL.
    cores: [f64; 3],
    /// Bytes of write-ahead log an operation.
    wal: f64,
}

impl Seen {
    /// The others' CPU seconds and the log's bytes are of the whole turn, with its warming up.
    pub(crate) fn new(measured: Measured, operations: u64, [postgres, outlay]: [f64; 2], wal: u64) -> Self {
        let per_second = rate(measured.cycles * operations, measured.seconds);
        let cores = [
            measured.cpu_seconds / measured.seconds,
            outlay / measured.whole_seconds,
            postgres / measured.whole_seconds,
        ];
        let whole = measured.whole_seconds;
        let wal = rate(wal, per_second * whole);
        Self { per_second, measured, cores, wal }
    }
}

/// All that take turns, in groups about the same work; the first of a group is what the others are compared with.
#[derive(Default)]
pub(crate) struct Table {
    all: Vec<(String, Who, Vec<Seen>)>,
}

impl Table {
    pub(crate) fn begin(&mut self, about: String, who: Who) {
        self.all.push((about, who, Vec::new()));
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn who(&self, place: usize) -> Who {
        self.all[place].1
    }

    pub(crate) fn add(&mut self, place: usize, seen: Seen) {
        let (about, who, all) = &mut self.all[place];
        println!("{:<28} {about:<40} {:>10.0} a second", name(*who), seen.per_second);
        if let Some(failure) = &seen.measured.failure {
            println!("    {} answers were no success, the first: {failure}", seen.measured.failures);
        }
        all.push(seen);
    }

    pub(crate) fn print(self, json: &Path) {
        let mut shown = Shown::new();
        shown.load_style(UTF8_FULL_CONDENSED).set_header([
            "what",
            "by",
            "a second",
            "least to most",
            "of by hand",
            "p50 ms",
            "p99 ms",
            "cores: clients",
            "outlay",
            "postgres",
            "WAL bytes each",
            "failed",
        ]);
        let mut base: Option<(String, Vec<f64>)> = None;
        for (about, who, all) in self.all {
            let rates: Vec<f64> = all.iter().map(|seen| seen.per_second).collect();
            if matches!(who, Who::ByHand { .. }) {
                base = Some((about.clone(), rates.clone()));
            }
            // Turn by turn, since what comes and goes on the machine meets neighbours alike.
            let ratios = base
                .as_ref()
                .filter(|(of, _)| *of == about)
                .map(|(_, base)| rates.iter().zip(base).map(|(rate, base)| rate / base).collect::<Vec<_>>());
            let of_by_hand = ratios.map(median);
            let cores = [0, 1, 2].map(|of| median(all.iter().map(|seen| seen.cores[of]).collect()));
            let wal = median(all.iter().map(|seen| seen.wal).collect());
            let mut latency = histogram();
            for seen in &all {
                latency.add(&seen.measured.latency).unwrap();
            }
            let failures: u64 = all.iter().map(|seen| seen.measured.failures).sum();
            let [p50, p99] = [0.5, 0.99].map(|quantile| latency.value_at_quantile(quantile));
            let (least, most) = rates.iter().fold((f64::MAX, 0.0_f64), |(a, b), rate| (a.min(*rate), b.max(*rate)));
            json_line(
                json,
                &json!({
                    "what": "nodes", "about": about, "by": name(who), "perSecond": rates, "median": median(rates.clone()), "ofByHand": of_by_hand,
                    "p50Micros": p50, "p99Micros": p99, "clientCores": cores[0], "outlayCores": cores[1],
                    "postgresCores": cores[2], "walBytesEach": wal, "failures": failures,
                }),
            );
            shown.add_row([
                about,
                name(who),
                format!("{:.0}", median(rates)),
                format!("{least:.0} to {most:.0}"),
                of_by_hand.map_or(String::new(), |ratio| format!("{ratio:.2}")),
                milliseconds(p50),
                milliseconds(p99),
                format!("{:.2}", cores[0]),
                format!("{:.2}", cores[1]),
                format!("{:.2}", cores[2]),
                format!("{wal:.0}"),
                failures.to_string(),
            ]);
        }
        for column in shown.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("\n{shown}\n");
    }
}

fn name(who: Who) -> String {
    match who {
        Who::ByHand { calls, .. } => format!("by hand, {} connections", calls.pool),
        Who::InProcess { .. } => "outlay in process".to_owned(),
        Who::Outlay { nodes: 1, .. } => "outlay, 1 node".to_owned(),
        Who::Outlay { nodes, .. } => format!("outlay, {nodes} nodes"),
    }
}

//! What each saw in its turns: medians, with the least and the most.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table as Shown};
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::system::{Name, System};
use crate::BATCH;
use crate::cpu::Used;
use crate::load::{Measured, histogram};
use crate::report::{APPEND, Report, STORE, median, milliseconds, rate};
use crate::requests::Kind;

/// What turns are about.
#[derive(Clone, Copy)]
pub(crate) struct About {
    pub(crate) kind: Kind,
    pub(crate) clients: usize,
    /// Of who is asked, among the systems.
    pub(crate) place: usize,
    /// That the clients share, where that is a choice.
    pub(crate) connections: Option<usize>,
    /// Of an open loop: the part of the rate in a closed one, and how many a second that is.
    pub(crate) open: Option<(f64, f64)>,
}

impl About {
    /// What others do likewise.
    fn likewise(&self, other: &Self) -> bool {
        let share = |about: &Self| about.open.map(|(share, _)| share.to_bits());
        let is_alike = self.kind == other.kind && share(self) == share(other);
        is_alike && (self.open.is_some() || self.clients == other.clients)
    }

    pub(crate) fn text(&self) -> String {
        match self.open {
            None => format!("{}, {} clients", self.kind.name(), self.clients),
            Some((share, per_second)) => format!("{}, open, {share} of its most: {per_second:.0}", self.kind.name()),
        }
    }
}

/// One turn.
pub(crate) struct Seen {
    pub(crate) per_second: f64,
    measured: Measured,
    server_cores: f64,
    client_cores: f64,
    threads: Vec<(String, f64)>,
}

impl Seen {
    /// The server's CPU seconds are of the whole turn, with its warming up.
    pub(crate) fn new(measured: Measured, kind: Kind, used: &Used) -> Self {
        let cores = |seconds: f64| seconds / measured.whole_seconds;
        Self {
            per_second: rate(measured.cycles * kind.operations(), measured.seconds),
            server_cores: cores(used.total()),
            client_cores: measured.cpu_seconds / measured.seconds,
            threads: used.threads().iter().map(|(name, seconds)| (name.clone(), cores(*seconds))).collect(),
            measured,
        }
    }

    pub(crate) fn failure(&self) -> Option<&str> {
        self.measured.failure.as_deref()
    }
}

/// All that take turns, those next to each other that do likewise.
#[derive(Default)]
pub(crate) struct Table {
    all: Vec<(About, Vec<Seen>)>,
}

impl Table {
    pub(crate) fn begin(&mut self, about: About) {
        self.all.push((about, Vec::new()));
    }

    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn about(&self, turn: usize) -> About {
        self.all[turn].0
    }

    pub(crate) fn add(&mut self, turn: usize, seen: Seen) {
        self.all[turn].1.push(seen);
    }

    /// The most that one did of a kind: over how many connections, and how many a second.
    pub(crate) fn most(&self, place: usize, kind: Kind) -> Option<(Option<usize>, f64)> {
        let of_it = self.all.iter().filter(|(about, _)| about.place == place && about.kind == kind);
        let rates = of_it.map(|(about, seen)| (about.connections, median(rates(seen))));
        rates.max_by(|a, b| a.1.total_cmp(&b.1))
    }

    /// Prints the table, and adds its figures to the file of the run.
    pub(crate) fn tell(&self, systems: &[System], report: &Report) {
        if self.all.is_empty() {
            return;
        }
        let mut shown = Shown::new();
        shown.load_style(UTF8_FULL_CONDENSED).set_header([
            "what",
            "by",
            "a second",
            "least to most",
            "outlay does",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "max ms",
            "server cores",
            "client cores",
            "busiest threads",
            "of append",
            "of store",
            "failed",
        ]);
        for (about, seen) in &self.all {
            let line = Line::new(self, *about, seen, systems, report);
            shown.add_row(line.cells());
            report.line(&line.json());
        }
        for column in shown.column_iter_mut().skip(2) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        println!("\n{shown}\n");
    }
}

/// What there is to say of all turns about one thing.
struct Line {
    about: About,
    by: Name,
    rates: Vec<f64>,
    /// How many times as much Outlay does: turn by turn, since what comes and goes on the machine meets neighbours alike.
    outlay_times: Option<Vec<f64>>,
    latency: Histogram<u64>,
    server_cores: f64,
    client_cores: f64,
    /// The busiest first.
    threads: Vec<(String, f64)>,
    of_append: Option<f64>,
    of_store: Option<f64>,
    failures: u64,
    unsent: u64,
}

impl Line {
    fn new(table: &Table, about: About, seen: &[Seen], systems: &[System], report: &Report) -> Self {
        let by = systems[about.place].name();
        let outlay = table.all.iter().find(|(other, _)| {
            matches!(systems[other.place], System::Outlay(_)) && other.likewise(&about) && by != Name::Outlay
        });
        let outlay_times = outlay.filter(|_| about.open.is_none()).map(|(_, outlay)| {
            outlay.iter().zip(seen).map(|(outlay, it)| outlay.per_second / it.per_second).collect::<Vec<_>>()
        });
        let mut latency = histogram();
        for seen in seen {
            latency.add(&seen.measured.latency).unwrap();
        }
        let median_of = |of: fn(&Seen) -> f64| median(seen.iter().map(of).collect());
        let mut threads = seen.first().map(|seen| seen.threads.clone()).unwrap_or_default();
        threads.sort_by(|a, b| b.1.total_cmp(&a.1));
        // As many operations as can wait at once could share a write.
        let at_once = match about.kind {
            Kind::Record | Kind::RecordMinimal => Some(about.clients),
            Kind::Batch(_) => Some(BATCH),
            Kind::Session | Kind::Afford => None,
        };
        let at_once = at_once.filter(|_| by == Name::Outlay && about.open.is_none());
        let of = |bound| Some(median(rates(seen)) / report.per_second(bound, at_once?)?);
        Self {
            about,
            by,
            rates: rates(seen),
            outlay_times,
            latency,
            server_cores: median_of(|seen| seen.server_cores),
            client_cores: median_of(|seen| seen.client_cores),
            threads,
            of_append: of(APPEND),
            of_store: of(STORE),
            failures: seen.iter().map(|seen| seen.measured.failures).sum(),
            unsent: seen.iter().map(|seen| seen.measured.unsent).sum(),
        }
    }

    fn cells(&self) -> Vec<String> {
        let [least, most] = ends(&self.rates);
        let by = match self.about.connections {
            Some(connections) => format!("{}, {connections} connections", self.by.text()),
            None => self.by.text().to_owned(),
        };
        let times = self.outlay_times.clone().map_or(String::new(), |times| format!("{:.2} times", median(times)));
        let ratio = |ratio: Option<f64>| ratio.map_or(String::new(), |ratio| format!("{ratio:.2}"));
        let threads: Vec<_> = self.threads.iter().take(2).map(|(name, cores)| format!("{name} {cores:.2}")).collect();
        let mut cells = vec![
            self.about.text(),
            by,
            format!("{:.0}", median(self.rates.clone())),
            format!("{least:.0} to {most:.0}"),
            times,
        ];
        cells.extend(QUANTILES.map(|(_, quantile)| milliseconds(self.latency.value_at_quantile(quantile))));
        cells.extend([
            milliseconds(self.latency.max()),
            format!("{:.2}", self.server_cores),
            format!("{:.2}", self.client_cores),
            threads.join(", "),
            ratio(self.of_append),
            ratio(self.of_store),
            (self.failures + self.unsent).to_string(),
        ]);
        cells
    }

    fn json(&self) -> Value {
        let [least, most] = ends(&self.rates);
        let mut line = json!({
            "what": if self.about.open.is_some() { "open" } else { "closed" },
            "kind": self.about.kind.name(), "by": self.by.text(), "clients": self.about.clients,
            "connections": self.about.connections, "perSecond": self.rates, "median": median(self.rates.clone()),
            "least": least, "most": most, "outlayTimes": self.outlay_times.clone().map(median),
            "outlayTimesEach": self.outlay_times, "maxMicros": self.latency.max(), "counted": self.latency.len(),
            "serverCores": self.server_cores, "clientCores": self.client_cores, "threads": self.threads,
            "ofAppend": self.of_append, "ofStore": self.of_store, "failures": self.failures,
        });
        for (name, quantile) in QUANTILES {
            line[name] = json!(self.latency.value_at_quantile(quantile));
        }
        if let Some((share, per_second)) = self.about.open {
            line["share"] = json!(share);
            line["offered"] = json!(per_second);
            line["unsent"] = json!(self.unsent);
        }
        line
    }
}

const QUANTILES: [(&str, f64); 3] = [("p50Micros", 0.5), ("p99Micros", 0.99), ("p999Micros", 0.999)];

fn rates(seen: &[Seen]) -> Vec<f64> {
    seen.iter().map(|seen| seen.per_second).collect()
}

fn ends(rates: &[f64]) -> [f64; 2] {
    rates.iter().fold([f64::MAX, 0.0], |[least, most], rate| [least.min(*rate), most.max(*rate)])
}

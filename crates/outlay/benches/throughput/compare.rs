//! Outlay beside what one would use or write in its place, in one run: each takes its turn, several rounds, so that what comes
//! and goes on the machine meets all of them.

pub(crate) mod system;
mod table;

use std::path::Path;

use system::{Name, System};
use table::{About, Seen, Table};

use crate::load::{Load, Pace};
use crate::report::{Report, median};
use crate::requests::{Kind, Source, Values};
use crate::{Arguments, BATCH, BATCH_CLIENTS_MAX, Part, fill};

/// Parts of what each does in a closed loop, at which it is asked in an open one.
const SHARES: [f64; 4] = [0.2, 0.5, 0.8, 0.95];
/// Clients of an open loop: so many may wait for an answer at once. And threads, of what has a thread for each.
const OPEN_CLIENTS: usize = 256;
const OPEN_THREADS: usize = 64;
/// Clients of a closed loop that tells what each does, when that was not measured already.
const CALIBRATING_CLIENTS: usize = 64;
/// What an open loop is about.
const OPEN_KIND: Kind = Kind::Record;

pub(crate) fn measure(folder: &Path, arguments: &Arguments, report: &Report) {
    let kinds = [
        (Part::Batches, Kind::Batch(BATCH)),
        (Part::Record, Kind::Record),
        (Part::Record, Kind::RecordMinimal),
        (Part::Session, Kind::Session),
        (Part::Afford, Kind::Afford),
    ];
    let kinds: Vec<_> = kinds.into_iter().filter(|(part, _)| arguments.wants(*part)).map(|(_, kind)| kind).collect();
    let is_compared = !kinds.is_empty() || arguments.wants(Part::Open);
    // What is filled is Outlay alone.
    let names = arguments.systems.iter().filter(|name| is_compared || **name == Name::Outlay);
    let systems = names.filter_map(|name| System::start(*name, &folder.join("compare"))).collect();
    let mut bench = Bench { arguments, systems, source: Source::new(arguments.seed, arguments.users) };
    if arguments.fill > 0 {
        bench.fill(report);
    }
    if !is_compared {
        return;
    }
    bench.begin_months();
    let closed = bench.closed(&kinds);
    closed.tell(&bench.systems, report);
    if arguments.wants(Part::Open) {
        bench.open(&closed).tell(&bench.systems, report);
    }
}

struct Bench<'a> {
    arguments: &'a Arguments,
    systems: Vec<System>,
    source: Source,
}

impl Bench<'_> {
    fn fill(&mut self, report: &Report) {
        for system in &mut self.systems {
            if let System::Outlay(server) = system {
                fill::measure(server, self.arguments, &mut self.source, report);
            }
        }
    }

    /// Every user has a month everywhere, so that no turn is about how many are new.
    fn begin_months(&mut self) {
        let users: Vec<Values> =
            (0..self.arguments.users).map(|user| Values { user, ..self.source.values() }).collect();
        for system in &self.systems {
            system.fill(&users);
        }
    }

    /// Closed loops, of so many clients each.
    fn closed(&mut self, kinds: &[Kind]) -> Table {
        let mut table = Table::default();
        for &kind in kinds {
            for &clients in &self.arguments.clients {
                if matches!(kind, Kind::Batch(_)) && clients > BATCH_CLIENTS_MAX {
                    continue;
                }
                for place in 0..self.systems.len() {
                    if self.systems[place].takes(kind) {
                        let connections = self.best(place, kind, clients);
                        table.begin(About { kind, clients, place, connections, open: None });
                    }
                }
            }
        }
        self.take_turns(table)
    }

    /// Open loops, at parts of what each did most in a closed one.
    fn open(&mut self, closed: &Table) -> Table {
        let places = 0..self.systems.len();
        let most = |place| closed.most(place, OPEN_KIND).unwrap_or_else(|| self.calibrate(place));
        let most: Vec<_> = places.map(most).collect();
        let mut table = Table::default();
        for share in SHARES {
            for (place, &(connections, per_second)) in most.iter().enumerate() {
                if per_second <= 0.0 {
                    continue;
                }
                let is_threads = self.systems[place].name() == Name::Sqlite;
                let clients = if is_threads { OPEN_THREADS } else { OPEN_CLIENTS };
                let open = Some((share, share * per_second));
                table.begin(About { kind: OPEN_KIND, clients, place, connections, open });
            }
        }
        self.take_turns(table)
    }

    /// The same of a closed loop that was not measured.
    fn calibrate(&mut self, place: usize) -> (Option<usize>, f64) {
        let clients = CALIBRATING_CLIENTS;
        let connections = self.best(place, OPEN_KIND, clients);
        let about = About { kind: OPEN_KIND, clients, place, connections, open: None };
        let seen = (0..self.arguments.rounds).map(|_| self.one(about, self.arguments.load(clients)).per_second);
        (connections, median(seen.collect()))
    }

    fn take_turns(&mut self, mut table: Table) -> Table {
        for round in 0..self.arguments.rounds {
            for turn in 0..table.len() {
                let about = table.about(turn);
                let closed = self.arguments.load(about.clients);
                let pace = about.open.map_or(Pace::Closed, |(_, per_second)| Pace::Open { per_second });
                let seen = self.one(about, Load { pace, ..closed });
                let name = self.systems[about.place].name().text();
                println!("{name:<20} {:<44} {:>10.0} a second", about.text(), seen.per_second);
                if let Some(failure) = seen.failure() {
                    println!("    not all were a success; the first answer of another kind: {failure}");
                }
                table.add(turn, seen);
            }
            println!("round {} of {}", round + 1, self.arguments.rounds);
        }
        table
    }

    fn one(&mut self, about: About, load: Load) -> Seen {
        let system = &self.systems[about.place];
        let before = system.used();
        let measured = system.run(about.kind, about.connections, &load, &mut self.source);
        Seen::new(measured, about.kind, &system.used().since(&before))
    }

    /// Over how many connections it does most, each number tried for a short time; `None` where there is no choice.
    fn best(&mut self, place: usize, kind: Kind, clients: usize) -> Option<usize> {
        let choices = self.systems[place].connections(kind, clients);
        if choices.len() < 2 {
            return choices.first().copied();
        }
        let load = self.arguments.short_load(clients);
        let tried = choices.into_iter().map(|connections| {
            let about = About { kind, clients, place, connections: Some(connections), open: None };
            let per_second = self.one(about, load).per_second;
            println!(
                "{}, {}, {clients} clients over {connections:>2} connections: {per_second:>8.0} a second",
                self.systems[place].name().text(),
                kind.name()
            );
            (per_second, connections)
        });
        tried.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, connections)| connections)
    }
}

//! Outlay on PostgreSQL beside what one writes by hand there ([`by_hand`]), on one server, in turn, several rounds.
//!
//! All of it shares the machine's cores, so a ratio is one of how much work each is; who used the cores is said with it.

pub(crate) mod by_hand;
pub(crate) mod cluster;
mod in_process;
mod table;

use std::path::Path;

use by_hand::Calls;
use cluster::Cluster;
use table::{Seen, Table};

use crate::load::{Load, Measured};
use crate::requests::{self, Kind, Source, Values};
use crate::server::Server;
use crate::{Arguments, cpu, http};

/// Connections that are tried for what is written by hand, single and in batches.
pub(crate) const POOLS: [usize; 4] = [8, 16, 32, 64];
pub(crate) const BATCH_POOLS: [usize; 3] = [2, 4, 8];
/// Clients of single operations, and of batches: more would only make batches wait.
const CLIENTS: [usize; 2] = [64, 256];
const BATCH_CLIENTS: usize = 16;
const BATCHES: [usize; 2] = [100, 1_000];
/// Database of each side.
const BY_HAND: &str = "by_hand";
const OUTLAY: &str = "outlay";

/// One of those that take turns.
#[derive(Clone, Copy)]
pub(crate) enum Who {
    ByHand {
        clients: usize,
        calls: Calls,
    },
    /// Over HTTP.
    Outlay {
        nodes: usize,
        clients: usize,
        kind: Kind,
    },
    /// Through the writer, in this process.
    InProcess {
        clients: usize,
        batch: usize,
    },
}

struct Bench<'a> {
    arguments: &'a Arguments,
    cluster: &'a Cluster,
    nodes: &'a [Server],
    source: Source,
}

pub(crate) fn measure(folder: &Path, arguments: &Arguments) {
    let Some(cluster) = Cluster::start(&folder.join("cluster"), arguments.statements) else {
        println!("postgres: skipped: {}", cluster::MISSING);
        return;
    };
    for database in [BY_HAND, OUTLAY] {
        cluster.create(database);
    }
    block_on(async {
        cluster::connect(&cluster.config(BY_HAND)).await.batch_execute(by_hand::TABLES).await.unwrap();
    });
    let node = |no| Server::outlay_on(&cluster.url(OUTLAY), &folder.join(format!("node-{no}")));
    let nodes: Vec<Server> = (0..arguments.nodes).map(node).collect();
    if let Some(node) = nodes.first() {
        http::once(node.address, requests::UNLIMITED_PLAN);
    }
    let mut source = Source::new(arguments.seed, arguments.users);
    // Each user has a month on both sides, so that no turn is about how many are new.
    let users: Vec<Values> = (0..arguments.users).map(|user| Values { user, ..source.values() }).collect();
    block_on(by_hand::fill(&cluster.config(BY_HAND), &users));
    in_process::fill(&cluster.url(OUTLAY), &users);
    for database in [BY_HAND, OUTLAY] {
        cluster.analyze(database);
    }
    let mut bench = Bench { arguments, cluster: &cluster, nodes: &nodes, source };
    let mut table = Table::default();
    for (about, who) in bench.turns() {
        table.begin(about, who);
    }
    for _ in 0..arguments.rounds {
        for place in 0..table.len() {
            if arguments.statements {
                cluster.count_statements();
            }
            let seen = bench.one(table.who(place), arguments);
            table.add(place, seen);
            if arguments.statements {
                cluster.print_statements();
            }
        }
    }
    table.print(&arguments.json);
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

impl Bench<'_> {
    /// Who takes turns, each with what it is about; of what is written by hand, with the pool that gives most.
    fn turns(&mut self) -> Vec<(String, Who)> {
        let mut turns = Vec::new();
        for clients in CLIENTS {
            let about = format!("record, {clients} clients");
            let by_hand = self.best(clients, &POOLS.map(|pool| Calls { pool, batch: None }));
            turns.push((about.clone(), by_hand));
            turns.push((about.clone(), Who::InProcess { clients, batch: 1 }));
            for nodes in 1..=self.nodes.len() {
                turns.push((about.clone(), Who::Outlay { nodes, clients, kind: Kind::Record }));
            }
        }
        for batch in BATCHES {
            let clients = BATCH_CLIENTS;
            let about = format!("record in batches of {batch}, {clients} clients");
            let by_hand = self.best(clients, &BATCH_POOLS.map(|pool| Calls { pool, batch: Some(batch) }));
            turns.push((about.clone(), by_hand));
            turns.push((about.clone(), Who::InProcess { clients, batch }));
            for nodes in 1..=self.nodes.len() {
                turns.push((about.clone(), Who::Outlay { nodes, clients, kind: Kind::Batch(batch) }));
            }
        }
        let clients = CLIENTS[0];
        let about = format!("afford, {clients} clients");
        let afford = |nodes| (about.clone(), Who::Outlay { nodes, clients, kind: Kind::Afford });
        turns.extend(self.one_and_all().into_iter().map(afford));
        turns
    }

    /// One node, and as many as there are.
    fn one_and_all(&self) -> Vec<usize> {
        let mut counts = vec![1, self.nodes.len()];
        counts.retain(|count| (1..=self.nodes.len()).contains(count));
        counts.dedup();
        counts
    }

    /// Of these the one that does most, each tried for a short time.
    fn best(&mut self, clients: usize, all: &[Calls]) -> Who {
        let short = self.arguments.short_load(clients);
        let tried = all.iter().map(|calls| {
            let who = Who::ByHand { clients, calls: *calls };
            (self.under(who, short).per_second, who, calls.pool)
        });
        let mut tried: Vec<_> = tried.collect();
        for (per_second, _, pool) in &tried {
            println!("by hand, {clients} clients over {pool:>2} connections: {per_second:>8.0} a second");
        }
        tried.sort_by(|a, b| a.0.total_cmp(&b.0));
        tried.last().unwrap().1
    }

    fn one(&mut self, who: Who, arguments: &Arguments) -> Seen {
        let (Who::ByHand { clients, .. } | Who::Outlay { clients, .. } | Who::InProcess { clients, .. }) = who;
        self.under(who, arguments.load(clients))
    }

    fn under(&mut self, who: Who, load: Load) -> Seen {
        self.cluster.checkpoint();
        let before = self.used();
        let source = &mut self.source;
        let (seen, operations): (Measured, u64) = match who {
            Who::ByHand { calls, .. } => {
                (calls.run(&self.cluster.config(BY_HAND), &load, source), calls.batch.unwrap_or(1) as u64)
            }
            Who::InProcess { batch, .. } => {
                let url = self.cluster.url(OUTLAY);
                (in_process::run(&url, batch, self.arguments.lanes, &load, source), batch as u64)
            }
            Who::Outlay { nodes, kind, .. } => {
                let addresses: Vec<_> = self.nodes.iter().take(nodes).map(|node| node.address).collect();
                (http::run(&load, &addresses, kind, source), kind.operations())
            }
        };
        let after = self.used();
        Seen::new(seen, operations, [after.0 - before.0, after.2 - before.2], after.1 - before.1)
    }

    /// CPU seconds of PostgreSQL, bytes of its write-ahead log, and CPU seconds of Outlay, so far: of the nodes, and of what
    /// is not the clients' thread in this process.
    fn used(&self) -> (f64, u64, f64) {
        let of_nodes: f64 = self.nodes.iter().map(|node| cpu::of_process(node.process_id())).sum();
        let of_nodes = of_nodes + cpu::of_process(std::process::id()) - cpu::of_this_thread();
        (self.cluster.cpu_seconds(), self.cluster.wal_bytes(), of_nodes)
    }
}

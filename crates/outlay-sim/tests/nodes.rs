//! Several nodes over a model of PostgreSQL: nothing that was acknowledged may be lost or carried out twice, whatever becomes
//! of connections, commits, standbys and primaries. `OUTLAY_SEEDS` sets how many seeds run, `OUTLAY_SEED` the first.

#![expect(clippy::disallowed_methods, reason = "a test is told by the environment how much to do")]

use outlay_sim::nodes::{Mistake, Nodes};
use outlay_sim::seeds::{self, Options};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What must be seen: each way for a statement and a commit to end, each way to settle it, and who was told what.
const EXPECTED: [&str; 38] = [
    "a statement was aborted by 40001",
    "a statement was aborted by 40P01",
    "a statement was refused by a server that goes down",
    "a statement was refused by a server that takes no writes",
    "a statement was refused since the server's disk is full",
    "a statement was refused for what nobody knows a cure for",
    "a batch could not be written for one of its commands",
    "a command that cannot be written was told to be refused, and no other",
    "a connection was cut before COMMIT",
    "a connection was cut on the way to COMMIT",
    "a connection was cut after COMMIT was sent",
    "a COMMIT was not answered in time",
    "COMMIT was aborted by 40001",
    "COMMIT was answered ROLLBACK without an error",
    "COMMIT was answered by a server that goes down",
    "a commit was acknowledged by the standby",
    "a wait for the standby was cancelled",
    "a session was ended while it waited for the standby",
    "a session was ended before it came to COMMIT",
    "a server committed what its client had left",
    "a server ended what its client had left before COMMIT",
    "a server that came up again showed what had waited for the standby",
    "a failover lost the end of the log",
    "a failover lost what had been shown",
    "a failover kept what was not acknowledged",
    "a bucket that another had was skipped",
    "a bucket that another had was waited for",
    "buckets that were skipped three times were waited for",
    "a wait for a bucket was given up",
    "an unknown batch was found",
    "an unknown batch was not found",
    "a wait was cut short while a batch was looked for",
    "a batch was not acknowledged since its wait was cut short",
    "callers were told that the outcome is unknown",
    "a node was killed while requests waited for it",
    "a record was written",
    "a duplicate was answered",
    "a retry at another node was answered as a duplicate",
];

/// Panics of a run are told with its seed, at the end.
fn quietly<T>(work: impl FnOnce() -> T) -> T {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let result = work();
    std::panic::set_hook(hook);
    result
}

#[test]
fn what_is_acknowledged_is_there_once_whatever_fails() {
    let (seeds, first) = (number("OUTLAY_SEEDS", 500), number("OUTLAY_SEED", 1));
    let many = quietly(|| seeds::many(&Nodes::default(), first..first + seeds, &Options::default()));
    let failures: Vec<String> = many.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    println!("{seeds} seeds from {first}:\n{}", many.sometimes);
    for event in EXPECTED.into_iter().filter(|_| seeds >= 200) {
        assert!(many.sometimes.events(event) > 0, "never seen: {event}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1_000..1_010 {
        let trace = || seeds::run(&Nodes::default(), seed, None).unwrap_or_else(|failure| panic!("{failure}")).trace;
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}

/// Seeds within which each mistake must be found.
const SEEDS_MAX: u64 = 300;

#[test]
fn each_mistake_is_found() {
    for mistake in Mistake::ALL {
        let nodes = Nodes { mistake: Some(mistake) };
        let found =
            quietly(|| seeds::many(&nodes, 1..SEEDS_MAX + 1, &Options { shrinks: false, ..Options::default() }));
        let failure = found.failures.first().unwrap_or_else(|| panic!("{mistake:?} is not found in {SEEDS_MAX} seeds"));
        println!("{mistake:?}: seed {}: {}", failure.seed, failure.problem.lines().next().unwrap_or_default());
    }
}

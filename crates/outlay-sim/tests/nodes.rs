//! Several nodes over a model of PostgreSQL: nothing that was acknowledged may be lost or carried out twice, whatever becomes
//! of connections, commits, standbys and primaries. `OUTLAY_SEEDS` sets how many seeds run, `OUTLAY_SEED` the first.

#![expect(clippy::disallowed_methods, reason = "a test is told by the environment how much to do")]

use outlay_sim::nodes::{self, Mistake};

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

/// What must be seen: each way for a transaction to end, and each way to settle it.
const EXPECTED: [&str; 0] = [];

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
    let (seeds, first) = (number("OUTLAY_SEEDS", 240), number("OUTLAY_SEED", 1));
    let many = quietly(|| nodes::many(first..first + seeds, 2, None, None));
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
        let trace = || nodes::run(seed, None, None).unwrap_or_else(|failure| panic!("{failure}")).trace;
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}

/// Seeds within which each mistake must be found.
const SEEDS_MAX: u64 = 300;

#[test]
fn each_mistake_is_found() {
    for mistake in Mistake::ALL {
        let found = quietly(|| (1..=SEEDS_MAX).find_map(|seed| nodes::finds(seed, mistake)));
        let failure = found.unwrap_or_else(|| panic!("{mistake:?} is not found in {SEEDS_MAX} seeds"));
        println!("{mistake:?}: seed {}: {}", failure.seed, failure.problem.lines().next().unwrap_or_default());
    }
}

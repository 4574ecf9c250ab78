//! Random streams of commands and faults over the simulated disk: nothing that was acknowledged may be lost or counted
//! twice. `OUTLAY_SEEDS` sets how many seeds run, `OUTLAY_SEED` the first.

#![expect(clippy::disallowed_methods, reason = "a test is told by the environment how much to do")]

use outlay::store::embedded::runs::events;
use outlay::store::embedded::sweep_events;
use outlay_sim::fault::{Fault, Path, Stop};
use outlay_sim::queries;
use outlay_sim::seeds::{self, Options};
use outlay_sim::stream::{GONE_ON_WITH, Streams};

/// Faults, each with the paths on which it must be seen.
const EXPECTED: [(Fault, &[Path]); 7] = [
    (Fault::Crash(Stop::Power), &[Path::Start, Path::Batch, Path::Sweep, Path::Idle, Path::Trim, Path::Close]),
    (Fault::Crash(Stop::PowerAllLost), &[Path::Start, Path::Batch, Path::Sweep, Path::Idle, Path::Trim, Path::Close]),
    (Fault::Crash(Stop::Kill), &[Path::Start, Path::Batch, Path::Sweep, Path::Idle, Path::Trim, Path::Close]),
    (Fault::FailedSync, &[Path::Start, Path::Batch, Path::Sweep, Path::Idle, Path::Trim, Path::Close]),
    (Fault::FailedWrite, &[Path::Start, Path::Batch, Path::Sweep, Path::Idle, Path::Trim, Path::Close]),
    (Fault::FailedRead, &[Path::Start, Path::Batch, Path::Read]),
    (Fault::FullDisk, &[Path::Start, Path::Batch]),
];

const EVENTS: [&str; 23] = [
    "a client left before it asked",
    "a client left before its answer",
    "a crash was looked at",
    "a denial was counted up",
    "a duplicate of an earlier month was answered",
    "a duplicate was answered",
    "a fact was refused for want of space",
    "a full disk met a commit",
    "a request was sent twice at once",
    "a watcher came back to another process",
    "a watcher left",
    "a watcher was told of an alert",
    "a watcher went on where it was",
    "an unknown batch was not there",
    "an unknown batch was shown",
    "an intent was refused for want of space",
    "an unknown batch was there",
    "deliveries were told in the end",
    "files were searched for an erased person",
    "requests came in another order",
    "space came back",
    "the sweeper abandoned a session",
    "what gives back was taken while others were refused",
];

/// One seed in some hundreds meets it, so only a long run must.
const RARE: &str = "a fact was taken while intents were refused";

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap())
}

#[test]
fn what_is_acknowledged_is_there_whatever_fails() {
    // A panic in a run is told with its seed, at the end.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let (seeds, first) = (number("OUTLAY_SEEDS", 500), number("OUTLAY_SEED", 1));
    let many = seeds::many(&Streams, first..first + seeds, &Options::default());
    std::panic::set_hook(hook);
    let failures: Vec<String> = many.failures.iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let sometimes = many.sometimes;
    println!("{seeds} seeds from {first}:\n{sometimes}");
    if seeds >= 200 {
        for (fault, paths) in EXPECTED {
            for path in paths {
                assert!(sometimes.faults(fault, *path) > 0, "{fault:?} never met {path:?}");
            }
        }
        let after_crashes = GONE_ON_WITH.into_iter().map(|(_, event)| event);
        let events = EVENTS.into_iter().chain(queries::EVENTS).chain(events::ALL).chain(sweep_events::ALL);
        for event in events.chain(after_crashes) {
            assert!(sometimes.events(event) > 0, "never seen: {event}");
        }
    }
    assert!(seeds < 4_000 || sometimes.events(RARE) > 0, "never seen: {RARE}");
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 1_000..1_005 {
        let trace = || seeds::run(&Streams, seed, None).unwrap_or_else(|failure| panic!("{failure}")).trace;
        assert_eq!(trace(), trace(), "seed {seed}");
    }
}

//! S1 to S23 over the API, with crashes at the writes of each. The short test looks at every write of some scenarios, and
//! of the others at writes drawn by `OUTLAY_SEED`; the long one at all, once for each way to stop. What is lost there is
//! one choice, drawn likewise: choices are many in the random streams, where a crash costs less.

#![expect(clippy::disallowed_methods, reason = "a test is told by the environment how much to do")]

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use outlay_sim::scenario::{Crashes, Looked, Scenario, all, run};

/// Scenarios of which the short test looks at every write.
const WHOLE: [&str; 7] = ["S1", "S2", "S10", "S12", "S21", "S22", "S23"];
/// Crashes of one of the others that it looks at, about.
const CRASHES_SHORT: u64 = 60;

/// Runs scenarios on two threads, each with the crashes that `crashes` says of the number of its writes.
fn look(scenarios: Vec<Scenario>, crashes: impl Fn(&str, u64) -> Crashes + Sync) -> Vec<(&'static str, Looked)> {
    let next = AtomicUsize::new(0);
    let all = Mutex::new((Vec::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(scenario) = scenarios.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let none = Crashes { every: u64::MAX, choices: 0, seed: 1 };
                    let result =
                        run(scenario, none).and_then(|looked| run(scenario, crashes(scenario.name, looked.calls)));
                    let mut all = all.lock().unwrap();
                    match result {
                        Ok(looked) => all.0.push((scenario.name, looked)),
                        Err(problem) => all.1.push(problem),
                    }
                }
            });
        }
    });
    let (looked, problems) = all.into_inner().unwrap();
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
    println!("{looked:#?}");
    looked
}

fn seed() -> u64 {
    std::env::var("OUTLAY_SEED").map_or(1, |text| text.parse().unwrap())
}

#[test]
fn every_scenario_survives_crashes_at_its_writes() {
    let seed = seed();
    let looked = look(all(), |name, calls| {
        let every = if WHOLE.contains(&name) { 1 } else { (3 * calls / CRASHES_SHORT).max(1) };
        Crashes { every, choices: 1, seed }
    });
    assert_eq!(looked.len(), 23);
    for (name, looked) in looked {
        let least = if WHOLE.contains(&name) { looked.calls * 3 } else { CRASHES_SHORT / 2 };
        assert!(looked.crashes >= least, "{name}: {looked:?}");
    }
}

#[test]
#[ignore = "long: it looks at a crash at every write"]
fn every_scenario_survives_a_crash_at_every_write() {
    let looked = look(all(), |_, _| Crashes { every: 1, choices: 1, seed: seed() });
    for (name, looked) in looked {
        assert_eq!(looked.crashes, looked.calls * 3, "{name}");
    }
}

//! S1 to S23 over the API, with the process crashed at every write of the disk.
//!
//! A scenario is data: requests with their ids, moments in time, and the exact figures that must come of it. At each crash
//! the store is opened again and held against what its client was told: each acknowledged operation is there once, with
//! its cost and month; each that is unknown at most once; nothing that was refused; and every counter, hold and alert
//! follows from the list of operations. Then the client asks again what it has no answer to, goes on, and the figures
//! at the end must be the same.

mod all;
mod client;

use std::sync::{Arc, Mutex, PoisonError};

use outlay_core::month::Timestamp;
use serde_json::Value;

pub use all::all;
use client::Client;

use crate::clock::SimClock;
use crate::disk::{Crash, CrashPoint, Options, SimDisk};
use crate::service::Make;
use crate::wire::{Ask, Wire};

/// One thing that happens in a scenario.
#[derive(Debug, Clone)]
pub enum Step {
    /// Time passes until this instant.
    At(&'static str),
    /// The sweeper gives back what is due.
    Sweep,
    /// Requests that are sent at once; each must be answered with one of the statuses, and so many must be granted.
    Ask(Vec<Ask>, &'static [u16], usize),
    /// What a path then shows at each of these places.
    Shows(String, Vec<(&'static str, Value)>),
    /// How many items a list then has.
    Counts(String, usize),
}

/// A scenario.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Its number and what it is about.
    pub name: &'static str,
    /// What happens, in order.
    pub steps: Vec<Step>,
}

/// Which crashes are looked at.
#[derive(Debug, Clone, Copy)]
pub struct Crashes {
    /// Every so many calls, from an offset that the seed gives; 1 is each.
    pub every: u64,
    /// How many choices of what is lost, for each way to stop at each of these calls.
    pub choices: u64,
    /// The source of all choices.
    pub seed: u64,
}

/// What was looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Looked {
    /// Calls that change the disk.
    pub calls: u64,
    /// Crashes after which the store was opened and held against what its client was told.
    pub crashes: u64,
}

/// Runs a scenario to its end, and looks at crashes on the way.
///
/// # Errors
/// When something is wrong, at a crash or without one.
pub fn run(scenario: &Scenario, crashes: Crashes) -> Result<Looked, String> {
    let make = Make::tiny(crashes.seed);
    let start = Timestamp::parse("2025-10-13T18:32:56Z").expect("a time");
    let clock = SimClock::at(start);
    let disk = SimDisk::new(Options { powersafe_overwrite: true, ..Options::seeded(crashes.seed) });
    let now = Arc::new(Mutex::new((Client::default(), start)));
    let found = Arc::new(Mutex::new((Looked::default(), None::<String>)));
    let steps: Arc<[Step]> = scenario.steps.clone().into();

    let (shared_now, shared_found, shared_steps) = (Arc::clone(&now), Arc::clone(&found), Arc::clone(&steps));
    let probe = move |point: &CrashPoint<'_>| {
        let mut found = shared_found.lock().unwrap_or_else(PoisonError::into_inner);
        found.0.calls += 1;
        if found.1.is_some() || !(point.call() + crashes.seed).is_multiple_of(crashes.every) {
            return;
        }
        let (client, time) = shared_now.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for crash in Crash::ALL {
            for choice in 0..crashes.choices {
                let after = point.crash(crash, crashes.seed ^ (point.call() << 8) ^ choice);
                found.0.crashes += 1;
                if let Err(problem) = goes_on(&after, &client, time, &shared_steps, &make) {
                    found.1 = Some(format!("{crash:?} at call {}, choice {choice}: {problem}", point.call()));
                    return;
                }
            }
        }
    };
    let through = disk.clone().probe(probe, || {
        let mut wire = Wire::start(&disk, &clock, &make).map_err(|error| error.to_string())?;
        let mut client = Client::default();
        while client.next < steps.len() {
            client.one(&mut wire, &clock, &steps, |client| {
                *now.lock().unwrap_or_else(PoisonError::into_inner) = (client.clone(), clock.now());
            })?;
        }
        client.holds(&mut wire)?;
        if wire.service.close() { Ok(()) } else { Err("the store was not closed cleanly".to_owned()) }
    });
    let (looked, problem) = found.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let name = scenario.name;
    match problem.or(through.err()) {
        Some(problem) => Err(format!("{name}, seed {}: {problem}", crashes.seed)),
        None => Ok(looked),
    }
}

/// What comes after a crash: the store is as the client was told, and the scenario comes to its end.
fn goes_on(disk: &SimDisk, client: &Client, time: Timestamp, steps: &[Step], make: &Make) -> Result<(), String> {
    let clock = SimClock::at(time);
    let mut wire = Wire::start(disk, &clock, make).map_err(|error| format!("the store cannot be opened: {error}"))?;
    let mut client = client.clone();
    client.holds(&mut wire)?;
    client.crashed();
    while client.next < steps.len() {
        client.one(&mut wire, &clock, steps, |_| {})?;
    }
    client.holds(&mut wire)
}

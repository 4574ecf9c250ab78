//! A fault at each call of a start: the service starts and keeps what it acknowledges then, or it does not start.

use std::sync::Arc;

use outlay_core::id::{Name, UserId};
use outlay_core::ledger::Command;
use outlay_core::month::Timestamp;
use outlay_core::plan::Overrides;
use outlay_sim::clock::SimClock;
use outlay_sim::disk::{Crash, Faults, Options, SimDisk};
use outlay_sim::service::{Make, Service};

fn start(disk: &SimDisk, clock: &Arc<SimClock>) -> Option<Service> {
    Service::start(disk, clock, &Make::tiny(1)).ok()
}

fn put_user(service: &mut Service, user: &str) -> bool {
    let (user_id, plan) = (UserId::new(user).unwrap(), Name::new("premium").ok());
    let command = Command::PutUser { user_id, plan, email: None, overrides: Overrides::default() };
    service.send(vec![vec![command]])[0].is_ok()
}

/// Starts on this disk with a fault at a call; true when there were fewer calls.
fn fault_at(disk: &SimDisk, users_before: u64, fault: impl Fn(Faults, u64) -> Faults, at: u64, label: &str) -> bool {
    let clock = SimClock::at(Timestamp::parse("2025-10-31T12:00:00Z").unwrap());
    let disk = disk.crash_image(Crash::Kill, at);
    disk.set_faults(fault(Faults::none(), at));
    let before = disk.calls();
    let service = start(&disk, &clock);
    let calls = disk.calls();
    disk.set_faults(Faults::none());
    let mut users = users_before;
    let mut service = service;
    if let Some(service) = &mut service {
        assert!(put_user(service, "someone"), "{label}: it started and takes nothing");
        users += 1;
    }
    for (seed, crash) in Crash::ALL.into_iter().cycle().take(6).enumerate() {
        let after = start(&disk.crash_image(crash, seed as u64), &clock).unwrap();
        let found = after.reads.status().users;
        assert_eq!(found, users, "{label}, then {crash:?} with seed {seed}");
    }
    let count = |calls: outlay_sim::disk::Calls| [calls.mutating, calls.file_reads];
    count(calls).into_iter().zip(count(before)).all(|(after, before)| after - before < at)
}

#[test]
fn a_start_that_meets_a_fault_promises_nothing_that_it_cannot_keep() {
    let clock = SimClock::at(Timestamp::parse("2025-10-31T12:00:00Z").unwrap());
    let fresh = SimDisk::new(Options::seeded(1));
    let used = SimDisk::new(Options::seeded(2));
    let mut service = start(&used, &clock).unwrap();
    assert!(put_user(&mut service, "before"));
    for (name, disk, users) in [("fresh", &fresh, 0), ("used", &used, 1)] {
        type Plan = fn(Faults, u64) -> Faults;
        let kinds: [(&str, Plan); 3] =
            [("write", Faults::fail_write_at), ("sync", Faults::fail_sync_at), ("read", Faults::fail_read_at)];
        for (kind, plan) in kinds {
            let last = (1..).find(|at| fault_at(disk, users, plan, *at, &format!("{name} disk, {kind} {at}")));
            assert!(last.unwrap() > 3, "{name} disk: no {kind} was met");
        }
    }
}

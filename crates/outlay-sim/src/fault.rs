//! What goes wrong, where, and how often each was seen.

use std::collections::BTreeMap;
use std::fmt;

use crate::disk::{Crash, Faults, SimDisk};
use crate::said::Said;

/// A fault of the disk or the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The machine or the process stops at a write, sync, truncation or deletion.
    Crash(Stop),
    /// A sync fails.
    FailedSync,
    /// A write fails.
    FailedWrite,
    /// A read fails.
    FailedRead,
    /// There is no more space.
    FullDisk,
}

/// [`Crash`], in an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stop {
    /// [`Crash::Power`].
    Power,
    /// [`Crash::PowerAllLost`].
    PowerAllLost,
    /// [`Crash::Kill`].
    Kill,
}

impl Stop {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Power, Self::PowerAllLost, Self::Kill];

    /// In the words of the disk.
    pub fn crash(self) -> Crash {
        match self {
            Self::Power => Crash::Power,
            Self::PowerAllLost => Crash::PowerAllLost,
            Self::Kill => Crash::Kill,
        }
    }
}

/// A fault that happens at a call some way ahead.
#[derive(Clone, Copy, Debug)]
pub struct Armed {
    /// What happens.
    pub fault: Fault,
    /// At the call of its kind after so many more; for a full disk, after so many more bytes.
    pub after: u64,
}

impl Armed {
    /// Plans it; the result says later whether it has happened.
    pub fn arm(self, disk: &SimDisk) -> Watch {
        let calls = disk.calls();
        let none = Faults::none();
        let (faults, at) = match self.fault {
            Fault::Crash(_) => {
                let at = calls.mutating + 1 + self.after;
                (none.crash_at(at), at)
            }
            Fault::FailedSync => {
                let at = calls.file_syncs + 1 + self.after;
                (none.fail_sync_at(at), at)
            }
            Fault::FailedWrite => {
                let at = calls.file_writes + 1 + self.after;
                (none.fail_write_at(at), at)
            }
            Fault::FailedRead => {
                let at = calls.file_reads + 1 + self.after;
                (none.fail_read_at(at), at)
            }
            Fault::FullDisk => {
                let limit = used_bytes(disk) + self.after;
                (none.no_space(limit), limit)
            }
        };
        disk.set_faults(faults);
        Watch { fault: self.fault, at }
    }
}

/// A planned fault.
#[derive(Clone, Copy, Debug)]
pub struct Watch {
    fault: Fault,
    at: u64,
}

impl Watch {
    /// What was planned.
    pub fn fault(self) -> Fault {
        self.fault
    }

    /// Whether it has happened. Of a full disk only an error can tell.
    pub fn happened(self, disk: &SimDisk) -> bool {
        let calls = disk.calls();
        match self.fault {
            Fault::Crash(_) => disk.is_crashed(),
            Fault::FailedSync => calls.file_syncs >= self.at,
            Fault::FailedWrite => calls.file_writes >= self.at,
            Fault::FailedRead => calls.file_reads >= self.at,
            Fault::FullDisk => false,
        }
    }
}

/// The bytes of all files together.
fn used_bytes(disk: &SimDisk) -> u64 {
    let bytes = disk.file_names().into_iter().filter_map(|name| disk.file_bytes(&name));
    bytes.map(|bytes| bytes.len() as u64).sum()
}

/// What a process was doing when a fault met it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// It was starting, on a disk where it had been before or on a new one.
    Start,
    /// It was committing a batch.
    Batch,
    /// It was abandoning sessions whose time was up.
    Sweep,
    /// It was wiping what named an erased person.
    Idle,
    /// It was emptying operations of their details.
    Trim,
    /// It was answering reads.
    Read,
    /// It was closing its store.
    Close,
}

/// How often each thing was seen.
#[derive(Clone, Debug, Default)]
pub struct Sometimes {
    faults: BTreeMap<(Fault, Path), u64>,
    events: BTreeMap<&'static str, u64>,
}

impl Sometimes {
    /// Notes that a fault met a path.
    pub fn met(&mut self, fault: Fault, path: Path) {
        *self.faults.entry((fault, path)).or_default() += 1;
    }

    /// Notes an event.
    pub fn saw(&mut self, event: &'static str) {
        *self.events.entry(event).or_default() += 1;
    }

    /// Notes events that were counted elsewhere.
    pub fn heard(&mut self, events: &Said) {
        for (event, count) in events {
            *self.events.entry(event).or_default() += count;
        }
    }

    /// How often the fault met the path.
    pub fn faults(&self, fault: Fault, path: Path) -> u64 {
        self.faults.get(&(fault, path)).copied().unwrap_or(0)
    }

    /// How often the event was seen.
    pub fn events(&self, event: &str) -> u64 {
        self.events.get(event).copied().unwrap_or(0)
    }

    /// Adds what another run saw.
    pub fn add(&mut self, other: &Self) {
        for (key, count) in &other.faults {
            *self.faults.entry(*key).or_default() += count;
        }
        for (event, count) in &other.events {
            *self.events.entry(event).or_default() += count;
        }
    }
}

impl fmt::Display for Sometimes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((fault, path), count) in &self.faults {
            writeln!(formatter, "{count:>8}  {fault:?} while at {path:?}")?;
        }
        for (event, count) in &self.events {
            writeln!(formatter, "{count:>8}  {event}")?;
        }
        Ok(())
    }
}

//! What processes and threads cost, as Linux counts it; nothing where there is no `/proc`.

use std::collections::BTreeMap;
use std::fs;

/// Clock ticks a second in `/proc`: 100 on every Linux that Rust runs on.
const TICKS: f64 = 100.0;

/// CPU seconds used by each kind of thread of a process so far, by the name of the thread.
#[derive(Default)]
pub(crate) struct Used {
    threads: BTreeMap<String, f64>,
}

impl Used {
    pub(crate) fn by(process: u32) -> Self {
        let mut threads = BTreeMap::new();
        let Ok(entries) = fs::read_dir(format!("/proc/{process}/task")) else { return Self { threads } };
        for entry in entries.map_while(Result::ok) {
            if let Some((name, seconds)) =
                fs::read_to_string(entry.path().join("stat")).ok().and_then(|text| read(&text))
            {
                *threads.entry(name).or_default() += seconds;
            }
        }
        Self { threads }
    }

    /// What is not told apart by threads.
    pub(crate) fn whole(name: &str, seconds: f64) -> Self {
        Self { threads: BTreeMap::from([(name.to_owned(), seconds)]) }
    }

    /// What was used after `before`; a thread that ended in between is not counted.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let threads = self.threads.iter().map(|(name, seconds)| {
            (name.clone(), (seconds - before.threads.get(name).copied().unwrap_or(0.0)).max(0.0))
        });
        Self { threads: threads.collect() }
    }

    /// Takes in what was used in another time.
    pub(crate) fn add(&mut self, other: Self) {
        for (name, seconds) in other.threads {
            *self.threads.entry(name).or_default() += seconds;
        }
    }

    pub(crate) fn total(&self) -> f64 {
        self.threads.values().sum()
    }

    pub(crate) fn threads(&self) -> &BTreeMap<String, f64> {
        &self.threads
    }
}

/// Which process started one.
fn parent_of(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.get(stat.rfind(')')? + 2..)?.split(' ').nth(1)?.parse().ok()
}

/// CPU seconds that a process used so far, with threads that have ended.
pub(crate) fn of_process(process: u32) -> f64 {
    fields_of(process, [11, 12]).unwrap_or(0.0)
}

/// CPU seconds that a process and its children used so far, also those that have ended.
pub(crate) fn of_family(process: u32) -> f64 {
    let ids = fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = ids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let running: f64 = ids.filter(|id| *id == process || parent_of(*id) == Some(process)).map(of_process).sum();
    running + of_ended_children(process)
}

/// CPU seconds that a process's children used which have ended.
fn of_ended_children(process: u32) -> f64 {
    fields_of(process, [13, 14]).unwrap_or(0.0)
}

/// The sum of two of a process's times, by their places after its name.
fn fields_of(process: u32, places: [usize; 2]) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.get(stat.rfind(')')? + 2..)?.split(' ').collect();
    let ticks = places.iter().map(|place| fields.get(*place)?.parse::<f64>().ok());
    Some(ticks.sum::<Option<f64>>()? / TICKS)
}

/// CPU seconds that this thread used so far.
pub(crate) fn of_this_thread() -> f64 {
    fs::read_to_string("/proc/thread-self/stat").ok().and_then(|text| read(&text)).map_or(0.0, |(_, seconds)| seconds)
}

/// Memory that a process has in use.
pub(crate) fn resident_bytes(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let kilobytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().split(' ').next()?.parse().ok());
    kilobytes.unwrap_or(0_u64) * 1024
}

/// The name and the CPU seconds in a `stat` file; the name stands in parentheses and may hold any character.
fn read(stat: &str) -> Option<(String, f64)> {
    let (begin, end) = (stat.find('(')?, stat.rfind(')')?);
    let fields: Vec<&str> = stat.get(end + 2..)?.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((stat.get(begin + 1..end)?.to_owned(), (ticks(11)? + ticks(12)?) / TICKS))
}

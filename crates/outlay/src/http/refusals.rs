//! Who was refused, for the audit log: counted here, and written down now and then, so that nobody who knocks all day fills
//! the disk. What one address does within a minute is one entry; there are at most ten a minute over a longer time.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use outlay_core::month::Timestamp;
use parking_lot::Mutex;

use crate::audit::{Action, Actor, Event, Facts};

/// From one entry to the next about the same, at least.
const SECONDS_BETWEEN: i64 = 60;
/// Entries that may be written at once.
const BURST: i64 = 60;
/// Seconds in which one more may be.
const SECONDS_PER_ENTRY: i64 = 6;
/// What is told apart at a time, at most; what is beyond is counted together.
const KINDS_MAX: usize = 1_000;

/// What was refused and is not written down yet.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    by_kind: BTreeMap<Kind, Count>,
    /// Of those that could not be told apart.
    others: Count,
    /// How many entries were written of late: it falls by one in [`SECONDS_PER_ENTRY`].
    written: i64,
    fell_at: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Kind {
    action: Action,
    who: Arc<str>,
    address: Option<IpAddr>,
}

#[derive(Debug, Clone, Default)]
struct Count {
    times: u64,
    /// The first request of these, and where it went.
    request_id: Option<Arc<str>>,
    subject: Option<Arc<str>>,
    written_at: Option<Timestamp>,
}

impl Count {
    fn rests(&self, now: Timestamp) -> bool {
        self.written_at.is_some_and(|at| at <= now && now < at.plus_seconds(SECONDS_BETWEEN))
    }
}

impl Refusals {
    /// Counts one; `subject` is what was asked for, or the key that holds no more.
    pub(super) fn refused(&self, action: Action, actor: Actor, subject: &str) {
        let mut counts = self.0.lock();
        let kind = Kind { action, who: actor.who, address: actor.address };
        let is_full = counts.by_kind.len() >= KINDS_MAX && !counts.by_kind.contains_key(&kind);
        let count = if is_full { &mut counts.others } else { counts.by_kind.entry(kind).or_default() };
        if count.times == 0 {
            count.request_id = actor.request_id;
            count.subject = Some(Arc::from(subject));
        }
        count.times += 1;
    }

    /// What is to be written now. With `all` it does not wait for the minute to be over, as when the server ends.
    pub fn due(&self, now: Timestamp, all: bool) -> Vec<Event> {
        let mut counts = self.0.lock();
        if counts.by_kind.is_empty() && counts.others.times == 0 {
            return Vec::new();
        }
        let Counts { by_kind, others, written, fell_at } = &mut *counts;
        let since = fell_at.get_or_insert(now);
        let fallen = (now.seconds() - since.seconds()) / SECONDS_PER_ENTRY;
        if fallen != 0 {
            // A clock that was set back counts from there.
            *written = (*written - fallen.max(0)).max(0);
            *since = now;
        }
        let mut events = Vec::new();
        for (kind, count) in by_kind.iter_mut() {
            if count.times > 0 && *written < BURST && (all || !count.rests(now)) {
                let actor =
                    Actor { who: Arc::clone(&kind.who), address: kind.address, request_id: count.request_id.take() };
                events.push(event(actor.did(kind.action), count, now));
                *written += 1;
            }
        }
        if others.times > 0 && *written < BURST && (all || !others.rests(now)) {
            let actor = Actor { who: Arc::from("nobody"), address: None, request_id: others.request_id.take() };
            others.subject = Some(Arc::from("many addresses"));
            events.push(event(actor.did(Action::KeyRefused), others, now));
            *written += 1;
        }
        by_kind.retain(|_, count| count.times > 0 || count.rests(now));
        events
    }
}

fn event(event: Event, count: &mut Count, now: Timestamp) -> Event {
    let facts = Facts::new().json("times", &count.times.to_string());
    let subject = count.subject.take();
    *count = Count { written_at: Some(now), ..Count::default() };
    Event { subject, ..event }.after(facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn knock(refusals: &Refusals, address: u32, times: u64) {
        for _ in 0..times {
            let actor = Actor {
                who: Arc::from("nobody"),
                address: Some(IpAddr::from(address.to_be_bytes())),
                request_id: Some(Arc::from("r1")),
            };
            refusals.refused(Action::KeyRefused, actor, "GET /v1/plans");
        }
    }

    fn times(events: &[Event]) -> Vec<String> {
        events.iter().map(|event| event.after.as_ref().unwrap().to_json()).collect()
    }

    #[test]
    fn the_first_is_written_at_once_and_the_rest_of_its_minute_together() {
        let (refusals, now) = (Refusals::default(), Timestamp::from_seconds(1_760_000_000).unwrap());
        assert_eq!(refusals.due(now, false), []);
        knock(&refusals, 1, 1);
        let first = refusals.due(now, false);
        assert_eq!(times(&first), ["{\"times\":1}"]);
        assert_eq!(first[0].subject.as_deref(), Some("GET /v1/plans"));
        knock(&refusals, 1, 99);
        assert_eq!(refusals.due(now.plus_seconds(59), false), []);
        assert_eq!(times(&refusals.due(now.plus_seconds(60), false)), ["{\"times\":99}"]);
        assert_eq!(refusals.due(now.plus_seconds(200), false), []);
        assert!(refusals.0.lock().by_kind.is_empty(), "what is over is forgotten");
    }

    #[test]
    fn whoever_comes_from_everywhere_fills_neither_disk_nor_memory() {
        let (refusals, start) = (Refusals::default(), Timestamp::from_seconds(1_760_000_000).unwrap());
        let (mut written, mut counted) = (0, 0_u64);
        // An hour of knocking from ever new addresses, looked at each second.
        for second in 0..3_600_u32 {
            for number in 0..20 {
                knock(&refusals, second * 20 + number, 1);
            }
            let events = refusals.due(start.plus_seconds(second.into()), false);
            written += events.len();
            counted += events.iter().map(times_of).sum::<u64>();
            assert!(refusals.0.lock().by_kind.len() <= KINDS_MAX);
        }
        assert!(written <= 60 + 600 + 1, "{written} entries in an hour");
        // Nobody is lost: what is not written yet is still counted.
        let counts = refusals.0.lock();
        let left: u64 = counts.by_kind.values().map(|count| count.times).sum::<u64>() + counts.others.times;
        assert_eq!(counted + left, 72_000);
    }

    fn times_of(event: &Event) -> u64 {
        let json: serde_json::Value = serde_json::from_str(&event.after.as_ref().unwrap().to_json()).unwrap();
        json["times"].as_u64().unwrap()
    }
}

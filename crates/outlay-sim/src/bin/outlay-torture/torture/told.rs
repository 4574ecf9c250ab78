//! What was sent and answered, in the order of one count that a disk may share: so a history can be had as of any moment.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use outlay_core::month::Timestamp;
use outlay_sim::history::{History, Known};
use outlay_sim::wire::{Ask, Reply};

/// A count that goes up with all that happens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticks(Arc<AtomicU64>);

impl Ticks {
    /// The next one.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }
}

/// The time of this machine, which its programs read too.
pub(crate) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let nanos = i128::try_from(since_epoch.as_nanos()).unwrap_or_default();
    Timestamp::from_nanos(nanos).unwrap_or(Timestamp::EPOCH)
}

/// Everything that clients sent and were told.
#[derive(Debug, Default)]
pub(crate) struct Told {
    ticks: Ticks,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    requests: Vec<Arc<Ask>>,
    events: Vec<Event>,
}

#[derive(Debug)]
struct Event {
    tick: u64,
    at: Timestamp,
    request: usize,
    /// None when it was sent.
    reply: Option<Reply>,
}

/// A request that was sent, and what it was at last answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Settled {
    No,
    Yes,
}

/// What is known at a moment.
#[derive(Debug)]
pub(crate) struct AsOf {
    pub(crate) history: History,
    /// The requests without a definite answer, by their numbers.
    pub(crate) unknown: Vec<usize>,
}

impl Told {
    pub(crate) fn with(ticks: Ticks) -> Self {
        Self { ticks, kept: Mutex::default() }
    }

    /// Keeps a new request; it is not sent yet.
    pub(crate) fn request(&self, ask: Ask) -> usize {
        let mut kept = self.lock();
        kept.requests.push(Arc::new(ask));
        kept.requests.len() - 1
    }

    /// What a request asks for.
    pub(crate) fn ask(&self, request: usize) -> Arc<Ask> {
        Arc::clone(&self.lock().requests[request])
    }

    /// A request is about to be sent.
    pub(crate) fn sends(&self, request: usize) {
        self.keep(request, None);
    }

    /// A request was answered; with status 0 where it was not.
    pub(crate) fn answered(&self, request: usize, reply: Reply) {
        self.keep(request, Some(reply));
    }

    fn keep(&self, request: usize, reply: Option<Reply>) {
        let mut kept = self.lock();
        kept.events.push(Event { tick: self.ticks.next(), at: now(), request, reply });
    }

    /// What is known when the count has come to `tick`.
    pub(crate) fn as_of(&self, tick: u64) -> AsOf {
        let kept = self.lock();
        let mut history = History::default();
        let mut settled: Vec<Option<Settled>> = vec![None; kept.requests.len()];
        for event in kept.events.iter().take_while(|event| event.tick < tick) {
            let ask = &kept.requests[event.request];
            match &event.reply {
                None => {
                    history.note(ask, event.at, Known::Sent);
                    settled[event.request] = settled[event.request].or(Some(Settled::No));
                }
                Some(reply) => {
                    if note(&mut history, ask, event.at, reply) {
                        settled[event.request] = Some(Settled::Yes);
                    }
                }
            }
        }
        let unknown = settled.iter().enumerate().filter(|(_, settled)| **settled == Some(Settled::No));
        AsOf { history, unknown: unknown.map(|(request, _)| request).collect() }
    }

    /// What is known now.
    pub(crate) fn so_far(&self) -> AsOf {
        self.as_of(u64::MAX)
    }

    /// The requests that were sent after an instant and acknowledged.
    pub(crate) fn acknowledged_after(&self, instant: Timestamp) -> Vec<Arc<Ask>> {
        let kept = self.lock();
        let mut sent: Vec<Option<Timestamp>> = vec![None; kept.requests.len()];
        let mut found = Vec::new();
        for event in &kept.events {
            match &event.reply {
                None => sent[event.request] = Some(event.at),
                Some(reply) if reply.is_acknowledged() && sent[event.request].is_some_and(|at| at > instant) => {
                    found.push(Arc::clone(&kept.requests[event.request]));
                }
                Some(_) => {}
            }
        }
        found
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps what an answer says; false where it says nothing definite of some of what was asked.
pub(crate) fn note(history: &mut History, ask: &Ask, at: Timestamp, reply: &Reply) -> bool {
    if reply.status == 207 {
        let (Some(items), Some(results)) =
            (ask.body.as_ref().and_then(|body| body.as_array()), reply.body["results"].as_array())
        else {
            return false;
        };
        let mut all = true;
        for (item, result) in items.iter().zip(results) {
            match result["status"].as_u64() {
                None | Some(200) => history.note_operation(item, at, Known::Acknowledged),
                Some(400..=428) => history.note_operation(item, at, Known::Refused),
                Some(_) => all = false,
            }
        }
        return all;
    }
    match reply.status {
        200..=299 => {
            history.note(ask, at, Known::Acknowledged);
            let until = reply.body["holdExpiresAt"].as_str().and_then(|until| Timestamp::parse(until).ok());
            let parts: Vec<&str> = ask.path.split('/').collect();
            if let (Some(until), ["", "v1", "users", user, "sessions", ..]) = (until, parts.as_slice()) {
                history.note_until(user, reply.body["sessionId"].as_str().unwrap_or_default(), until);
            }
            true
        }
        // Too busy is a refusal of this try only: the same request may have been done by an earlier one.
        429 => false,
        400..=499 => {
            history.note(ask, at, Known::Refused);
            true
        }
        _ => false,
    }
}

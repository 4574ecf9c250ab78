//! A client that keeps what it was told, and holds a store against it.

use outlay_core::month::Timestamp;
use serde_json::Value;

use super::Step;
use crate::clock::SimClock;
use crate::history::{History, Known, Shows, picos};
use crate::oracle::equal;
use crate::service::ready;
use crate::wire::{Ask, Reply, Wire};

/// The user of every scenario.
pub(super) const USER: &str = "bgtfrdsZ";

/// A client in the middle of a scenario.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    /// The step that is next, or under way.
    pub(super) next: usize,
    /// Whether the step under way was sent to a process that has ended.
    again: bool,
    history: History,
}

impl Client {
    /// The process that it asked has ended.
    pub(super) fn crashed(&mut self) {
        self.again = true;
    }

    /// Takes one step; `sent` is told of the client each time before something may change.
    pub(super) fn one(
        &mut self,
        wire: &mut Wire,
        clock: &SimClock,
        steps: &[Step],
        mut sent: impl FnMut(&Self),
    ) -> Result<(), String> {
        match &steps[self.next] {
            Step::At(instant) => {
                clock.pass_until(Timestamp::parse(instant).map_err(|error| error.to_string())?);
            }
            Step::Sweep => {
                sent(self);
                wire.service.sweep().map_err(|error| format!("sweep: {error}"))?;
            }
            Step::Ask(asks, statuses, granted) => {
                asks.iter().for_each(|ask| self.note(ask, clock, Known::Sent));
                sent(self);
                let replies = wire.ask_at_once(asks);
                for (ask, reply) in asks.iter().zip(&replies) {
                    self.answered(ask, reply, statuses, clock)?;
                }
                let found = replies.iter().filter(|reply| reply.is_acknowledged()).count();
                equal(&format!("how many of {} requests are granted", asks.len()), &found, granted)?;
            }
            Step::Shows(path, places) => {
                let shown = wire.get(path)?;
                for (pointer, expected) in places {
                    let found = shown.pointer(pointer).cloned().unwrap_or(Value::Null);
                    if !same(&found, expected) {
                        return Err(format!("{path} shows {found} at {pointer}, not {expected}: {shown}"));
                    }
                }
            }
            Step::Counts(path, expected) => {
                let items = wire.all(path)?;
                equal(&format!("how many items {path} has"), &items.len(), expected)?;
            }
        }
        self.next += 1;
        self.again = false;
        sent(self);
        Ok(())
    }

    fn answered(&mut self, ask: &Ask, reply: &Reply, statuses: &[u16], clock: &SimClock) -> Result<(), String> {
        // What was done before the process ended is answered as found.
        let found_done = self.again && reply.status == 200;
        if reply.is_unknown() || !(statuses.contains(&reply.status) || found_done) {
            return Err(format!("{} {} is answered {} {}", ask.method, ask.path, reply.status, reply.body));
        }
        self.note(ask, clock, if reply.is_acknowledged() { Known::Acknowledged } else { Known::Refused });
        Ok(())
    }

    fn note(&mut self, ask: &Ask, clock: &SimClock, known: Known) {
        self.history.note(ask, clock.now(), known);
    }

    /// Holds the store against all that is known.
    pub(super) fn holds(&self, wire: &mut Wire) -> Result<(), String> {
        self.history.holds(wire)?;
        equal("what verify finds", &ready(wire.service.reads.verify()).map_err(|error| error.to_string())?, &Vec::new())
    }
}

/// Equal, with numbers by their value.
fn same(found: &Value, expected: &Value) -> bool {
    if found.is_number() && expected.is_number() { picos(found) == picos(expected) } else { found == expected }
}

//! What the database does by itself, and what is done to it.

use std::sync::Arc;

use outlay_model::generate::Random;

use super::{Committed, Entry, Logged, Phase, State};
use crate::nodes::tables::Tables;
use outlay_core::plan::Plans;

/// Something that happens to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It goes on with what it was told.
    Work,
    /// The standby is sent some of the log.
    Replicate,
    /// A wait for the standby is cancelled (`pg_cancel_backend`).
    Cancel,
    /// A session is ended (`pg_terminate_backend`).
    Terminate,
    /// It goes down and comes up again.
    Restart,
    /// Another server takes over, which has some of what no standby acknowledged, or nothing.
    Failover,
    /// The standby goes, or comes back.
    Standby,
    /// A server that was down is there again.
    Up,
}

impl State {
    /// Lets something happen; gives whether anything did.
    pub fn happen(&mut self, event: Event, random: &mut Random) -> bool {
        match event {
            Event::Work => self.work(random),
            Event::Replicate => self.replicate(random),
            Event::Cancel => self.cancel(random),
            Event::Terminate => self.terminate(random),
            Event::Restart => {
                self.restart();
                true
            }
            Event::Failover => {
                let more = below(random, self.log.len() - self.replicated + 1);
                self.fail_over(self.replicated + if random.percent(50) { 0 } else { more });
                true
            }
            Event::Standby => {
                self.standby = !self.standby;
                true
            }
            Event::Up => !std::mem::replace(&mut self.up, true),
        }
    }

    fn pick(&self, random: &mut Random, of: impl Fn(&Phase, bool) -> bool) -> Option<u64> {
        let ids = self.backends.iter().filter(|(_, backend)| of(&backend.phase, backend.heard)).map(|(id, _)| *id);
        let ids: Vec<u64> = ids.collect();
        (!ids.is_empty()).then(|| random.pick(&ids))
    }

    /// One session comes to what it was told: COMMIT, or the end of its client.
    fn work(&mut self, random: &mut Random) -> bool {
        let busy = |phase: &Phase, heard: bool| {
            matches!(phase, Phase::Committing(_)) || !heard && matches!(phase, Phase::Open)
        };
        let Some(id) = self.pick(random, busy) else { return false };
        let ends_early = random.percent(20);
        let Some(backend) = self.backends.get_mut(&id) else { return false };
        let heard = backend.heard;
        match std::mem::replace(&mut backend.phase, Phase::Idle) {
            Phase::Committing(entry) if heard || !ends_early => {
                if !heard {
                    self.saw("a server committed what its client had left");
                }
                self.log_entry(id, entry);
            }
            Phase::Committing(_) => {
                self.saw("a server ended what its client had left before COMMIT");
                self.backends.remove(&id);
            }
            Phase::Open | Phase::Idle | Phase::Waiting(_) => {
                self.saw("a server ended the transaction of a client that was gone");
                self.backends.remove(&id);
            }
        }
        true
    }

    fn log_entry(&mut self, id: u64, entry: Arc<Entry>) {
        self.log.push(Logged { entry, visible: false });
        let place = self.log.len() - 1;
        if let Some(backend) = self.backends.get_mut(&id) {
            backend.phase = Phase::Waiting(place);
        }
    }

    fn replicate(&mut self, random: &mut Random) -> bool {
        if !self.standby || self.replicated == self.log.len() {
            return false;
        }
        self.replicated += 1 + below(random, self.log.len() - self.replicated);
        let done: Vec<u64> = self.waiting().filter(|(_, place)| *place < self.replicated).map(|(id, _)| id).collect();
        for id in done {
            self.saw("a commit was acknowledged by the standby");
            self.end_wait(id, Some(Committed::Well));
        }
        true
    }

    fn waiting(&self) -> impl Iterator<Item = (u64, usize)> {
        self.backends.iter().filter_map(|(id, backend)| match backend.phase {
            Phase::Waiting(place) => Some((*id, place)),
            _ => None,
        })
    }

    /// A commit is shown and its locks are free. Without an answer its session ends.
    fn end_wait(&mut self, id: u64, answer: Option<Committed>) {
        let Some(backend) = self.backends.get_mut(&id) else { return };
        let Phase::Waiting(place) = backend.phase else { return };
        backend.phase = Phase::Idle;
        backend.locks.clear();
        backend.answer = answer;
        if answer.is_none() || !backend.heard {
            self.backends.remove(&id);
        }
        self.show(place);
    }

    fn show(&mut self, place: usize) {
        let Some(logged) = self.log.get_mut(place).filter(|logged| !logged.visible) else { return };
        logged.visible = true;
        let entry = Arc::clone(&logged.entry);
        carry_out(&mut self.tables, &mut self.plans, &entry);
    }

    fn cancel(&mut self, random: &mut Random) -> bool {
        let Some(id) = self.pick(random, |phase, _| matches!(phase, Phase::Waiting(_))) else { return false };
        self.saw("a wait for the standby was cancelled");
        self.end_wait(id, Some(Committed::WaitCut));
        true
    }

    fn terminate(&mut self, random: &mut Random) -> bool {
        let Some(id) = self.pick(random, |_, _| true) else { return false };
        let says_so = random.percent(50);
        match self.backends.get(&id).map(|backend| &backend.phase) {
            Some(Phase::Waiting(_)) => {
                self.saw("a session was ended while it waited for the standby");
                self.end_wait(id, None);
                self.last_word(id, says_so);
            }
            Some(Phase::Committing(_)) => {
                self.saw("a session was ended before it came to COMMIT");
                self.backends.remove(&id);
                self.last_word(id, says_so);
            }
            _ => {
                self.backends.remove(&id);
            }
        }
        true
    }

    /// COMMIT is answered by a server that goes down, whether or not it has done it.
    fn last_word(&mut self, id: u64, says_so: bool) {
        if says_so {
            self.saw("COMMIT was answered by a server that goes down");
            self.last_words.insert(id, Committed::Refused("57P01"));
        }
    }

    /// All that is in the log is there after it.
    fn restart(&mut self) {
        if self.waiting().next().is_some() {
            self.saw("a server that came up again showed what had waited for the standby");
        }
        self.backends.clear();
        (0..self.log.len()).for_each(|place| self.show(place));
        self.up = false;
    }

    /// The server that takes over has so much of the log.
    pub fn fail_over(&mut self, kept: usize) {
        if self.log.iter().skip(kept).any(|logged| logged.visible) {
            self.saw("a failover lost what had been shown");
        }
        if kept < self.log.len() {
            self.saw("a failover lost the end of the log");
        } else if self.replicated < kept {
            self.saw("a failover kept what was not acknowledged");
        }
        self.backends.clear();
        self.log.truncate(kept);
        self.replicated = kept;
        self.timeline += 1;
        self.up = false;
        self.tables = vec![Tables::new(self.begin); self.tables.len()];
        self.plans = (0, Plans::standard());
        for logged in &mut self.log {
            logged.visible = true;
            carry_out(&mut self.tables, &mut self.plans, &logged.entry);
        }
    }
}

fn carry_out(tables: &mut [Tables], plans: &mut (i64, Plans), entry: &Entry) {
    for change in &entry.changes {
        if let Some(tables) = tables.get_mut(change.bucket) {
            tables.write(change, entry.batch, entry.now.holds);
        }
        for plan in &change.written.plans {
            plans.0 += 1;
            plans.1.put(plan.clone());
        }
    }
}

fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap_or(0)
}

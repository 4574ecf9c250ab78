//! Liveness: no more faults, and all comes to its end.

use outlay::store::outbox::{AfterTry, DeliveryState, Receiver, TriedRecord};
use outlay::store::{PageOf, Record, SessionsQuery};
use outlay_core::session::SessionStatus;
use outlay_model::generate::{Action, Jump, Random, Step};
use outlay_model::words::user_id;

use super::draw::{End, Turn};
use super::run::{Check, Run};
use crate::disk::Faults;
use crate::oracle::{Depth, USERS_MAX, equal, read, unnamed};
use crate::service::ready;

/// Slices of idle work after which nothing may be left to do.
const SLICES_MAX: usize = 10_000;
/// Deliveries that are taken at once.
const TAKEN_MAX: usize = 3;

impl Run<'_> {
    /// No more faults: all is acknowledged, all holds that are over are given back, whoever was erased is wiped, what was to
    /// be told is told, and the proof holds after a new start.
    pub(super) fn end_well(&mut self, random: &mut Random) -> Check {
        self.disk.set_faults(Faults::none());
        self.full_turns = 0;
        self.at.turn += 1;
        let step = Step { jump: Jump::Seconds(0), wall_off: 0, user: 0, action: Action::Commit };
        let well = Turn { step, fault: None, end: End::Closed, probed: false, dice: 0 };
        self.flush(&well, random)?;
        if !self.waiting.is_empty() {
            return Err("commands are left that nobody acknowledges".to_owned());
        }
        self.clock.set_wall_off(0);
        self.clock.pass_until(self.clock.now().plus_seconds(2 * 86_400));
        self.look_at_the_clock()?;
        let service = self.service.as_mut().expect("between turns a process runs");
        service.sweep().map_err(|error| format!("the last sweep failed: {error}"))?;
        service.idle(SLICES_MAX);
        self.look(Depth::Proof, random)?;
        self.nothing_is_open()?;
        self.restart(&well, random)?;
        self.all_is_told()?;
        let closed = self.service.take().is_some_and(|service| service.close());
        equal("whether the store is closed cleanly in the end", &closed, &true)?;
        self.nobody_is_left()?;
        self.hash(&self.disk.trace_hash().to_le_bytes());
        Ok(())
    }

    /// The process says that it is ready; nobody's hold is left, and nothing that an erasure is to wipe.
    fn nothing_is_open(&self) -> Check {
        let reads = &self.service().reads;
        let status = reads.status();
        let ready_to_write = (status.not_ready, status.space_short, status.space_out);
        equal("whether it is ready in the end", &ready_to_write, &(None, false, false))?;
        let page = PageOf { before: None, limit: 4_000 };
        let (status, user_id, feature, from, to) = (Some(SessionStatus::InProgress), None, None, None, None);
        let open = read(ready(reads.sessions(SessionsQuery { user_id, status, feature, from, to, page })))?;
        equal("sessions that are open in the end", &open.items, &Vec::new())?;
        equal("what still names an erased person", &unnamed(&**reads, &self.acknowledged)?, &Vec::new())
    }

    /// The receiver takes all that it is to be told, and is told nothing twice.
    fn all_is_told(&mut self) -> Check {
        let service = self.service.as_mut().expect("between turns a process runs");
        let waiting = read(ready(service.reads.deliveries_waiting()))?.count;
        let mut told = Vec::new();
        loop {
            let now = service.reads.wall();
            let due = read(ready(service.reads.deliveries_due(Receiver::OperatorMail, now, TAKEN_MAX)))?;
            if due.is_empty() {
                break;
            }
            let next = AfterTry::Ended { state: DeliveryState::Delivered, gone: false };
            let tried = due.iter().map(|due| TriedRecord { delivery: due.delivery.no, tried: None, next }).collect();
            told.extend(due.iter().map(|due| due.delivery.no));
            service.put(Record::Tried(tried, now)).map_err(|error| format!("a delivery was not noted: {error}"))?;
        }
        if !told.is_empty() {
            self.sometimes.saw("deliveries were told in the end");
        }
        told.sort_unstable();
        told.dedup();
        equal("how much was told in the end", &(told.len() as u64), &waiting)?;
        equal("how much waits to be told in the end", &read(ready(service.reads.deliveries_waiting()))?.count, &0)
    }

    /// No file says the id of somebody who was erased, and is nobody now.
    fn nobody_is_left(&mut self) -> Check {
        let is_erased = |id: &str| {
            let mut people = self.acknowledged.people.iter().filter(|person| person.id == id).peekable();
            people.peek().is_some() && people.all(|person| person.erased)
        };
        for id in (0..USERS_MAX).map(user_id).filter(|id| is_erased(id.as_str())) {
            for name in self.disk.file_names() {
                let bytes = self.disk.file_bytes(&name).unwrap_or_default();
                if bytes.windows(id.as_str().len()).any(|part| part == id.as_str().as_bytes()) {
                    return Err(format!("{name} still says `{}`, who was erased", id.as_str()));
                }
            }
            self.sometimes.saw("files were searched for an erased person");
        }
        Ok(())
    }
}

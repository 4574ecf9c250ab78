//! Processes: how one ends, what is found of what it left, and how the next begins.

use std::mem;

use outlay::store::StoreError;
use outlay_model::generate::Random;
use outlay_model::naive::Model;

use super::draw::{End, Turn};
use super::run::{Check, GONE_ON_WITH, Run, Sent, one_of};
use crate::fault::{Armed, Fault, Path, Stop};
use crate::oracle::Depth;
use crate::said::so_far;
use crate::service::Service;

/// Starts that may fail by a fault before one must succeed.
const FAULTY_STARTS_MAX: u32 = 3;

impl Run<'_> {
    /// The process ends in one of the ways, and the next begins.
    pub(super) fn restart(&mut self, turn: &Turn, random: &mut Random) -> Check {
        let service = self.service.take().expect("between turns a process runs");
        match turn.end {
            End::Closed => {
                let watch = self.arm(turn.fault);
                let closed = service.close();
                let happened = self.disarm(watch, Path::Close);
                self.note(format!("closed: {closed}"));
                if !closed && !happened && self.full_turns == 0 {
                    return Err("a store was not closed cleanly, without a fault".to_owned());
                }
                if self.disk.is_crashed() {
                    self.crash(random);
                }
            }
            End::Exited => {
                drop(service);
                self.note("exited");
            }
            End::Crashed(stop) => {
                self.crash_by(stop, random);
                drop(service);
            }
        }
        let fault = turn.fault.filter(|_| random.percent(50));
        self.start(random, fault)?;
        self.look(Depth::Proof, random)
    }

    /// What comes after a failure: the process ends, the next begins, and what was not acknowledged is asked again.
    pub(super) fn recover(&mut self, random: &mut Random, sent: &[Sent]) -> Check {
        let service = self.service.take();
        if self.disk.is_crashed() || random.percent(50) {
            self.crash(random);
        } else {
            self.note("exited");
        }
        drop(service);
        let states = self.may_be_left(sent);
        self.start(random, None)?;
        if sent.is_empty() {
            return self.look(Depth::Proof, random);
        }
        if self.found(states, Depth::Proof, "an unknown batch was there")? {
            self.note("it was recorded");
        } else {
            self.note("it was not recorded");
            self.sometimes.saw("an unknown batch was not there");
        }
        self.again(sent.to_vec());
        Ok(())
    }

    /// Finds out in which of the states the store is; from now on it must stay in it. Gives whether it is another than the
    /// last, in which nothing of the batch was done.
    pub(super) fn found(&mut self, mut states: Vec<Model>, depth: Depth, event: &'static str) -> Result<bool, String> {
        let which = one_of(self.service(), &states, depth)?;
        let is_there = which + 1 < states.len();
        if is_there {
            self.sometimes.saw(event);
            self.acknowledged = states.swap_remove(which);
        }
        Ok(is_there)
    }

    pub(super) fn crash(&mut self, random: &mut Random) {
        let stop = random.pick(&Stop::ALL);
        self.crash_by(stop, random);
    }

    pub(super) fn crash_by(&mut self, stop: Stop, random: &mut Random) {
        self.note(format!("{stop:?}"));
        self.hash(&self.disk.trace_hash().to_le_bytes());
        self.disk = self.disk.crash(stop.crash(), random.draw());
        self.full_turns = 0;
        self.crashed = true;
    }

    /// Starts a process, which may meet faults and crashes itself.
    pub(super) fn start(&mut self, random: &mut Random, fault: Option<Armed>) -> Check {
        // It starts when the machine's clock is right again.
        self.clock.set_wall_off(0);
        let mut fault = fault.or_else(|| {
            let stop = random.pick(&Stop::ALL);
            random.percent(10).then(|| Armed { fault: Fault::Crash(stop), after: random.below(60) })
        });
        for _ in 0..=FAULTY_STARTS_MAX {
            let watch = self.arm(fault.take());
            let started = self.try_start();
            let happened = self.disarm(watch, Path::Start);
            let full = self.full_turns > 0;
            match started {
                Ok(service) if !self.disk.is_crashed() => {
                    self.service = Some(service);
                    return self.begin();
                }
                Ok(service) => drop((self.crash(random), service)),
                Err(error) if happened || full => {
                    self.note(format!("could not start: {error}"));
                    if full {
                        self.sometimes.met(Fault::FullDisk, Path::Start);
                        self.full_turns = 0;
                        self.disk.set_faults(crate::disk::Faults::none());
                    }
                    if self.disk.is_crashed() || random.percent(30) {
                        self.crash(random);
                    }
                }
                Err(error) => return Err(format!("the store could not be opened: {error}")),
            }
            if random.percent(20) {
                fault = Some(Armed { fault: Fault::Crash(random.pick(&Stop::ALL)), after: random.below(20) });
            }
        }
        self.disk.set_faults(crate::disk::Faults::none());
        let started = self.try_start();
        self.service = Some(started.map_err(|error| format!("the store could not be opened: {error}"))?);
        self.begin()
    }

    fn try_start(&mut self) -> Result<Service, StoreError> {
        let before = GONE_ON_WITH.map(|(event, _)| so_far(event));
        let started = Service::start(&self.disk, &self.clock, &self.make)?;
        if mem::take(&mut self.crashed) {
            for ((event, after_crash), before) in GONE_ON_WITH.into_iter().zip(before) {
                (before..so_far(event)).for_each(|_| self.sometimes.saw(after_crash));
            }
        }
        Ok(started)
    }

    fn begin(&mut self) -> Check {
        self.note("started");
        let reads = &*self.service.as_ref().expect("it was started").reads;
        self.watchers.begin(reads)?;
        if reads.now() < self.kept {
            return Err(format!("a start set the clock of holds back, from {} to {}", self.kept, reads.now()));
        }
        // Readers may have been shown a later time than was kept, if nothing was written at it.
        if self.service().reads.now() < self.holds {
            self.clock.pass_until(self.holds);
        }
        self.look_at_the_clock()
    }
}

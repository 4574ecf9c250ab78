//! One run of a case.

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};

use outlay::clock::Clock;
use outlay::store::embedded::runs::events;
use outlay::store::{CommandError, Reply, StoreError, Urgency};
use outlay::writer::WriteError;
use outlay_core::id::UserId;
use outlay_core::ledger::{Command, Now, check};
use outlay_core::month::Timestamp;
use outlay_core::plan::Plans;
use outlay_model::generate::{Action, Jump, Random};
use outlay_model::naive::Model;
use outlay_model::seen::{self, Seen};
use outlay_model::words::{Words, user_id};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::draw::{Case, Turn};
use super::watchers::Watchers;
use crate::clock::SimClock;
use crate::disk::{CrashPoint, SimDisk};
use crate::fault::{Armed, Fault, Path, Sometimes, Stop, Watch};
use crate::oracle::{Depth, compare, equal};
use crate::queries;
use crate::said::Said;
use crate::seeds::{Report, Wrong};
use crate::service::{Answer, Make, Service, ready};

/// Of a hundred looks at all rows, how many come with a question of somebody's own.
const QUERIES_PERCENT: u64 = 60;
/// Questions with each proof.
const QUERIES_WITH_PROOF: u64 = 3;

/// Of a hundred openings, how many ask again for what was refused, and for which of it.
const INSISTS_PERCENT: u64 = 20;
const INSISTS_ON_NEWEST: usize = 3;
/// Of a hundred batches, before how many somebody leaves who has asked for nothing yet.
const LEAVES_BEFORE_PERCENT: u64 = 10;

/// What a start finds of the duplicate indexes' work, and what it is called when the process before it was stopped.
pub const GONE_ON_WITH: [(&str, &str); 5] = [
    (events::OPENED_FROZEN, "after a crash, a frozen map was loaded"),
    (events::OPENED_BUILDING, "after a crash, a half-built run was loaded"),
    (events::OPENED_MERGE, "after a crash, a merge that has no keys was loaded"),
    (events::OPENED_MERGING, "after a crash, a merge that has keys was loaded"),
    (events::OPENED_DROPPING, "after a crash, a run that has lost segments was loaded"),
];

pub(super) type Check = Result<(), String>;

/// A command that was sent or will be, and what it must be answered.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    command: Command,
    expected: Seen,
}

/// A run in the middle of a case.
#[derive(Debug)]
pub(super) struct Run<'a> {
    pub(super) make: Make,
    pub(super) clock: Arc<SimClock>,
    pub(super) disk: SimDisk,
    pub(super) service: Option<Service>,
    /// What has happened if all that waits is recorded.
    pub(super) model: Model,
    /// What was acknowledged.
    pub(super) acknowledged: Model,
    /// What waits for the next batch.
    pub(super) waiting: Vec<Sent>,
    history: Vec<Command>,
    /// Openings that were refused, the newest last.
    refused: Vec<Command>,
    pub(super) watchers: Watchers,
    /// Percent of the requests that are sent twice at once, and of those whose client does not wait for the answer.
    twice_percent: u64,
    leaving_percent: u64,
    /// Percent of the batches whose requests come in another order.
    reorders_percent: u64,
    /// The clock of holds, as the store last showed it.
    pub(super) holds: Timestamp,
    /// The same at the last operation that was acknowledged.
    pub(super) kept: Timestamp,
    /// The turns for which the disk stays full.
    pub(super) full_turns: u64,
    /// Whether the process before was stopped, by the machine or the disk's end.
    pub(super) crashed: bool,
    trace: u64,
    pub(super) sometimes: Sometimes,
    /// Where it is.
    pub(super) at: &'a mut Wrong,
}

impl<'a> Run<'a> {
    pub(super) fn new(seed: u64, case: &Case, at: &'a mut Wrong) -> Self {
        let start = Timestamp::parse("2025-10-31T12:00:00Z").expect("a time");
        let plans = Plans::standard();
        let known = plans.all().iter().map(|plan| (plan.name.as_str().to_owned(), plan.tier, plan.limits)).collect();
        let model = Model::new(known);
        Self {
            make: case.make,
            clock: SimClock::at(start),
            disk: SimDisk::new(case.disk),
            service: None,
            acknowledged: model.clone(),
            model,
            waiting: Vec::new(),
            history: Vec::new(),
            refused: Vec::new(),
            watchers: Watchers::of(case.watched_users),
            twice_percent: case.twice_percent,
            leaving_percent: case.leaving_percent,
            reorders_percent: case.reorders_percent,
            holds: start,
            kept: start,
            full_turns: 0,
            crashed: false,
            trace: seed,
            sometimes: Sometimes::default(),
            at,
        }
    }

    pub(super) fn report(mut self, said: &Said) -> Report {
        self.sometimes.heard(said);
        Report { trace: self.trace, sometimes: self.sometimes }
    }

    /// Runs the turns, then lets everything be well and checks that all comes to its end.
    pub(super) fn all(&mut self, turns: &[Turn]) -> Check {
        let mut random = Random::new(self.trace);
        let faulty = turns.first().and_then(|turn| turn.fault);
        self.start(&mut random, faulty)?;
        for (at, turn) in turns.iter().enumerate() {
            self.at.turn = at;
            self.one(turn)?;
        }
        self.end_well(&mut random)
    }

    fn one(&mut self, turn: &Turn) -> Check {
        let mut random = Random::new(turn.dice);
        if self.full_turns > 0 {
            self.full_turns -= 1;
            if self.full_turns == 0 {
                self.note("there is space again");
                self.disk.set_faults(crate::disk::Faults::none());
                self.sometimes.saw("space came back");
            }
        }
        self.pass_time(turn, &mut random)?;
        match &turn.step.action {
            Action::Commit => self.flush(turn, &mut random),
            Action::Shrink => {
                self.flush(&turn.well(), &mut random)?;
                self.use_a_moment(turn, &mut random)
            }
            Action::Restart => {
                self.flush(&turn.well(), &mut random)?;
                self.restart(turn, &mut random)
            }
            Action::Check { ways, choices } => {
                self.flush(turn, &mut random)?;
                let ask = self.words().ask(turn.step.user, None, ways, *choices);
                let id = user_id(turn.step.user);
                let reads = &self.service().reads;
                let view = ready(reads.view(&id, self.holds.month())).map_err(|error| error.to_string())?;
                let answer = check(&reads.plans(), &view, &id, &ask, self.holds).ok_or("a view lacks its month")?;
                let mut model = self.acknowledged.clone();
                model.pass(self.holds);
                equal("a check", &seen::checked(&answer), &model.check(id.as_str(), &ask, self.holds))
            }
            action => {
                let insisting = matches!(action, Action::Open { .. }) && random.percent(INSISTS_PERCENT);
                let newest = self.refused.len().saturating_sub(INSISTS_ON_NEWEST);
                let refused = self.refused.get(newest..).filter(|refused| insisting && !refused.is_empty());
                let command = match refused {
                    Some(refused) => Some(random.pick(refused)),
                    None => self.words().command(turn.step.user, action),
                };
                if let Some(command) = command {
                    self.history.push(command.clone());
                    if random.percent(self.twice_percent) {
                        self.sometimes.saw("a request was sent twice at once");
                        self.wait_with(command.clone());
                    }
                    self.wait_with(command);
                }
                Ok(())
            }
        }
    }

    fn words(&self) -> Words<'_> {
        Words { model: &self.model, history: &self.history, holds: self.holds, wall: self.clock.wall() }
    }

    pub(super) fn service(&self) -> &Service {
        self.service.as_ref().expect("between turns a process runs")
    }

    pub(super) fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.hash(what.as_bytes());
        self.at.log.push(what);
    }

    pub(super) fn hash(&mut self, bytes: &[u8]) {
        self.trace = xxh3_64_with_seed(bytes, self.trace);
    }

    /// Puts a command among those of the next batch.
    fn wait_with(&mut self, command: Command) {
        let now = Now { holds: self.holds, wall: self.clock.wall(), entropy: 0 };
        let expected = self.model.run(&command, now);
        self.waiting.push(Sent { command, expected });
    }

    /// Time passes between batches only, so that all commands of one have the same.
    fn pass_time(&mut self, turn: &Turn, random: &mut Random) -> Check {
        let step = &turn.step;
        let to = match step.jump {
            Jump::Seconds(seconds) => self.holds.plus_seconds(seconds),
            Jump::MonthEnd(nanos) => self.holds.month().resets_at().plus_nanos(nanos),
            Jump::Due(nanos) => {
                let open = self.model.sessions.iter().map(|session| session.due).filter(|due| *due > self.holds);
                open.min().map_or(self.holds, |due| due.plus_nanos(nanos))
            }
        };
        if to <= self.holds && self.clock.wall_off() == step.wall_off {
            return Ok(());
        }
        // What waits was asked before time passes.
        self.flush(turn, random)?;
        self.clock.set_wall_off(step.wall_off);
        self.clock.pass_until(self.clock.now().plus_nanos((to.nanos() - self.holds.nanos()).max(0)));
        self.look_at_the_clock()
    }

    /// The clock of holds never runs backward, whatever the wall clock does.
    pub(super) fn look_at_the_clock(&mut self) -> Check {
        let now = self.service().reads.now();
        if now < self.holds {
            return Err(format!("the clock of holds ran backward, from {} to {now}", self.holds));
        }
        self.holds = now;
        // As the program does a few times a second.
        let wall = self.clock.wall();
        self.service().reads.feed().tick(now, wall);
        // What still waits is asked at this time.
        let waiting = mem::take(&mut self.waiting);
        self.again(waiting);
        Ok(())
    }
}

// What the service does, and what must be true after it.
impl Run<'_> {
    /// Has all that waits committed as one batch.
    pub(super) fn flush(&mut self, turn: &Turn, random: &mut Random) -> Check {
        if self.waiting.is_empty() {
            return Ok(());
        }
        self.reorder(random);
        let sent = mem::take(&mut self.waiting);
        for Sent { command, .. } in &sent {
            self.at.log.push(format!("{command:?}"));
        }
        let requests = requests(&sent, random);
        let counts: Vec<usize> = requests.iter().map(Vec::len).collect();
        let watch = self.arm(turn.fault);
        let leaving = self.leaving(&requests, random);
        let mut service = self.service.take().expect("between turns a process runs");
        let answers: Vec<Option<Answer>> = if turn.probed && turn.fault.is_none() {
            let states = self.may_be_left(&sent);
            self.probed(&mut service, requests, &states)?.into_iter().map(Some).collect()
        } else {
            service.send_and_leave(requests, &leaving)
        };
        self.service = Some(service);
        let happened = self.disarm(watch, Path::Batch);
        let full = self.full_turns > 0;
        let errors: Vec<&WriteError> = answers.iter().flatten().filter_map(|answer| answer.as_ref().err()).collect();
        if errors.is_empty() {
            self.note(format!("batch of {} acknowledged", sent.len()));
            let erased = sent.iter().filter_map(|sent| match &sent.command {
                Command::Erase { user_id } => Some(user_id.clone()),
                _ => None,
            });
            let erased: Vec<UserId> = erased.collect();
            let left = self.answered(heard(answers, &counts, sent))?;
            self.acknowledged = self.model.clone();
            if !self.disk.is_crashed() {
                let reads = &*self.service.as_ref().expect("between turns a process runs").reads;
                erased.iter().try_for_each(|user_id| self.watchers.erased(user_id, reads))?;
            }
            equal("how much is in the queue", &self.service().writer.counts().queued, &0)?;
            self.again(left);
            return if self.disk.is_crashed() { self.recover(random, &[]) } else { self.look(Depth::Rows, random) };
        }
        if errors.len() < answers.iter().flatten().count() {
            return Err(format!("a part of a batch was acknowledged: {answers:#?}"));
        }
        let error = errors[0].clone();
        self.note(format!("batch of {} failed: {error}", sent.len()));
        match error {
            WriteError::Store(StoreError::DiskFull) if full => {
                self.sometimes.met(Fault::FullDisk, Path::Batch);
                self.look(Depth::Rows, random)?;
                self.again(sent);
                Ok(())
            }
            WriteError::Store(_) if happened || full => {
                if full && !happened {
                    self.sometimes.saw("a full disk met a commit");
                }
                self.stays_poisoned(&sent)?;
                self.recover(random, &sent)
            }
            error => Err(format!("a batch failed without a fault: {error}")),
        }
    }

    /// Compares the answers to a batch. What the store refused for want of space was not done, and is given back to be
    /// asked again.
    fn answered(&mut self, heard: Vec<(Reply, Sent)>) -> Result<Vec<Sent>, String> {
        let partly = heard.iter().any(|(reply, _)| matches!(reply, Err(CommandError::Store(_))));
        if partly {
            self.model = self.acknowledged.clone();
        }
        let now = Now { holds: self.holds, wall: self.clock.wall(), entropy: 0 };
        let mut left = Vec::new();
        for (reply, sent) in heard {
            let reply = match reply {
                Ok(outcome) => Ok(outcome),
                Err(CommandError::Rejected(rejection)) => Err(rejection),
                Err(CommandError::Store(error)) => {
                    self.refused(&sent.command, &error)?;
                    left.push(sent);
                    continue;
                }
            };
            let Sent { command, expected } = sent;
            let expected = if partly { self.model.run(&command, now) } else { expected };
            let answer = seen::answer(&reply, self.holds);
            equal(&format!("the answer to {command:?}"), &answer, &expected)?;
            if partly {
                self.sometimes.saw(match Urgency::of(&command) {
                    Urgency::Intent => return Err(format!("{command:?} was taken while others were refused")),
                    Urgency::Fact => "a fact was taken while intents were refused",
                    Urgency::GivesBack => "what gives back was taken while others were refused",
                });
            }
            match answer {
                Seen::Recorded { duplicate: true, month, .. } => {
                    self.sometimes.saw("a duplicate was answered");
                    if month < self.holds.month() {
                        self.sometimes.saw("a duplicate of an earlier month was answered");
                    }
                }
                Seen::Recorded { .. } => self.kept = self.holds,
                Seen::Refused { denial: Some(denial), .. } => {
                    if denial.times > 1 {
                        self.sometimes.saw("a denial was counted up");
                    }
                    self.refused.push(command);
                }
                _ => {}
            }
        }
        Ok(left)
    }

    /// One command of a batch may be refused while space is short: intents first, and never what gives back.
    fn refused(&mut self, command: &Command, error: &StoreError) -> Check {
        let seen = match (Urgency::of(command), error) {
            _ if self.full_turns == 0 => return Err(format!("{command:?} was refused though there is space: {error}")),
            (Urgency::Intent, StoreError::SpaceShort) => "an intent was refused for want of space",
            (Urgency::Fact, StoreError::DiskFull) => "a fact was refused for want of space",
            (urgency, error) => return Err(format!("{urgency:?} was refused by itself: {error}")),
        };
        self.sometimes.saw(seen);
        Ok(())
    }

    /// What an unknown batch may have left: all of it; while space is short, all but its intents, or all but those and its
    /// facts; and last nothing of it.
    pub(super) fn may_be_left(&self, sent: &[Sent]) -> Vec<Model> {
        let now = Now { holds: self.holds, wall: self.clock.wall(), entropy: 0 };
        let without = |refused: &[Urgency]| {
            let mut model = self.acknowledged.clone();
            for Sent { command, .. } in sent.iter().filter(|sent| !refused.contains(&Urgency::of(&sent.command))) {
                model.run(command, now);
            }
            model
        };
        let mut states = vec![self.model.clone()];
        if self.full_turns > 0 {
            states.extend([without(&[Urgency::Intent]), without(&[Urgency::Intent, Urgency::Fact])]);
        }
        states.push(self.acknowledged.clone());
        states
    }

    /// Looks at a crash at every write of this batch: the store is in one of these states, and in no other.
    fn probed(
        &mut self,
        service: &mut Service,
        requests: Vec<Vec<Command>>,
        states: &[Model],
    ) -> Result<Vec<Answer>, String> {
        let states = states.to_vec();
        // As in `start` and `begin`: the next process finds the clock right, and not behind what readers were shown.
        let (make, clock, dice, holds) = (self.make, SimClock::at(self.clock.now()), self.trace, self.holds);
        let found = Arc::new(Mutex::new((Vec::new(), 0_u64)));
        let note = Arc::clone(&found);
        let probe = move |point: &CrashPoint<'_>| {
            for stop in Stop::ALL {
                let after = point.crash(stop.crash(), dice ^ point.call());
                let problem =
                    Service::start(&after, &clock, &make).map_err(|error| error.to_string()).and_then(|service| {
                        if service.reads.now() < holds {
                            clock.pass_until(holds);
                        }
                        one_of(&service, &states, Depth::Proof).map(|_| ())
                    });
                let mut found = note.lock().unwrap_or_else(PoisonError::into_inner);
                found.1 += 1;
                if let Err(problem) = problem {
                    found.0.push(format!("after {stop:?} at call {}: {problem}", point.call()));
                }
            }
        };
        let answers = self.disk.clone().probe(probe, || service.send(requests));
        let found = mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        (0..found.1).for_each(|_| self.sometimes.saw("a crash was looked at"));
        match found.0.into_iter().next() {
            Some(problem) => Err(problem),
            None => Ok(answers),
        }
    }

    /// Asks again what was not acknowledged, with the same ids. Nothing else waits.
    pub(super) fn again(&mut self, sent: Vec<Sent>) {
        self.model = self.acknowledged.clone();
        for Sent { command, .. } in sent {
            // The sweeper and the recheck name numbers that a lost batch may have given out.
            if !matches!(command, Command::Expire { .. } | Command::Recheck { .. }) {
                self.wait_with(command);
            }
        }
    }

    /// After a failure that is no full disk, this process acknowledges nothing and shows what was acknowledged before.
    fn stays_poisoned(&mut self, sent: &[Sent]) -> Check {
        let first = sent.first().map(|sent| sent.command.clone());
        let service = self.service.as_mut().expect("between turns a process runs");
        let answers = service.send(vec![first.into_iter().collect()]);
        if answers.iter().any(Result::is_ok) {
            return Err("a process acknowledged a command after a failure".to_owned());
        }
        if !service.writer.is_poisoned() || service.reads.status().not_ready.is_none() {
            return Err("a process that may not write says that it is ready".to_owned());
        }
        if self.disk.is_crashed() {
            return Ok(());
        }
        // Where only what came after the commit failed, it may be shown; then it is durable.
        let states = self.may_be_left(sent);
        self.found(states, Depth::Rows, "an unknown batch was shown")?;
        Ok(())
    }

    /// Idle work, retention, and the sweeper.
    fn use_a_moment(&mut self, turn: &Turn, random: &mut Random) -> Check {
        let idle = random.percent(50);
        let watch = self.arm(turn.fault);
        let service = self.service.as_mut().expect("between turns a process runs");
        let (path, swept) = if idle && random.percent(30) {
            // Also what was recorded just now: what is emptied shows in nothing that is compared, but the proof counts it.
            let before = Clock::wall(&*self.clock).plus_seconds(-86_400 * i64::from(random.percent(50)));
            let more = (0..random.below(6)).map_while(|_| match service.trim(before) {
                Ok(true) => Some(Ok(())),
                Ok(false) => None,
                Err(error) => Some(Err(error)),
            });
            (Path::Trim, more.collect::<Result<Vec<()>, _>>().err().map(Err))
        } else if idle {
            service.idle(usize::try_from(random.below(6)).unwrap_or(0));
            (Path::Idle, None)
        } else {
            (Path::Sweep, Some(service.sweep()))
        };
        let ended = service.ended().is_some();
        let happened = self.disarm(watch, path);
        let full = self.full_turns > 0;
        match swept {
            Some(Ok(due)) if due > 0 => self.sometimes.saw("the sweeper abandoned a session"),
            Some(Err(WriteError::Store(StoreError::DiskFull))) if full => self.sometimes.met(Fault::FullDisk, path),
            Some(Err(WriteError::Store(StoreError::SpaceShort))) if path == Path::Trim => {}
            Some(Err(error)) if !(happened || full) => {
                return Err(format!("a sweep or a slice failed without a fault: {error}"));
            }
            _ => {}
        }
        if ended && !(happened || full) {
            return Err("the process ended without a fault".to_owned());
        }
        if ended || self.disk.is_crashed() {
            return self.recover(random, &[]);
        }
        self.look(Depth::Rows, random)
    }

    /// Compares what readers see, now and then with reads that fail.
    pub(super) fn look(&mut self, depth: Depth, random: &mut Random) -> Check {
        if self.full_turns == 0 && random.percent(3) {
            let watch = self.arm(Some(Armed { fault: Fault::FailedRead, after: random.below(8) }));
            // It fails or tells the truth; which, the comparison cannot say.
            let wrong = compare(&*self.service().reads, &self.acknowledged, depth);
            if !self.disarm(watch, Path::Read) {
                return wrong;
            }
        }
        compare(&*self.service().reads, &self.acknowledged, depth)?;
        let count = match depth {
            Depth::Budgets => 0,
            Depth::Rows => u64::from(random.percent(QUERIES_PERCENT)),
            Depth::Proof => QUERIES_WITH_PROOF,
        };
        let reads = &*self.service.as_ref().expect("between turns a process runs").reads;
        queries::ask(reads, &self.acknowledged, count, random, &mut self.sometimes)?;
        self.watchers.look(reads, &self.acknowledged, random, &mut self.sometimes)
    }

    /// Requests may come in another order than they were sent in.
    fn reorder(&mut self, random: &mut Random) {
        let by_number = |sent: &Sent| matches!(sent.command, Command::Expire { .. } | Command::Recheck { .. });
        let count = self.waiting.len();
        // What names a number is about what came before it.
        if count < 2 || self.waiting.iter().any(by_number) || !random.percent(self.reorders_percent) {
            return;
        }
        let mut sent = mem::take(&mut self.waiting);
        let other = (1 + random.below(count as u64 - 1)).try_into().unwrap_or(1);
        sent.rotate_left(other);
        let place = random.below(count as u64 - 1).try_into().unwrap_or(0);
        sent.swap(place, place + 1);
        self.sometimes.saw("requests came in another order");
        self.again(sent);
    }

    /// Which requests have a client that does not wait for the answer. One waits: who asks for all else knows by it what became
    /// of the batch. While space is short, each command is answered by itself.
    fn leaving(&mut self, requests: &[Vec<Command>], random: &mut Random) -> Vec<bool> {
        if self.leaving_percent > 0 && random.percent(LEAVES_BEFORE_PERCENT) {
            self.sometimes.saw("a client left before it asked");
            self.service().begin_to_ask(requests[0].clone());
        }
        let may_leave = self.full_turns == 0;
        let leaves = |(at, _)| at > 0 && may_leave && random.percent(self.leaving_percent);
        let leaving: Vec<bool> = requests.iter().enumerate().map(leaves).collect();
        leaving.iter().filter(|leaves| **leaves).for_each(|_| self.sometimes.saw("a client left before its answer"));
        leaving
    }

    pub(super) fn arm(&mut self, fault: Option<Armed>) -> Option<Watch> {
        let armed = fault.filter(|_| self.full_turns == 0)?;
        self.note(format!("{armed:?}"));
        if armed.fault == Fault::FullDisk {
            self.full_turns = 3;
        }
        Some(armed.arm(&self.disk))
    }

    /// Gives whether the planned fault has happened. A full disk stays full.
    pub(super) fn disarm(&mut self, watch: Option<Watch>, path: Path) -> bool {
        let Some(watch) = watch else { return false };
        let happened = watch.happened(&self.disk);
        if happened {
            self.sometimes.met(watch.fault(), path);
        }
        if self.full_turns == 0 {
            self.disk.set_faults(crate::disk::Faults::none());
        }
        happened
    }
}

/// Which of these states the store is in.
pub(super) fn one_of(service: &Service, states: &[Model], depth: Depth) -> Result<usize, String> {
    let mut problems = Vec::new();
    for (at, state) in states.iter().enumerate() {
        match compare(&*service.reads, state, depth) {
            Ok(()) => return Ok(at),
            Err(problem) => problems.push(problem),
        }
    }
    Err(format!("the store is in none of the states that it may be in:\n{}", problems.join("\nor:\n")))
}

/// The commands whose clients waited, each with its answer. Only one whose client left has none.
fn heard(answers: Vec<Option<Answer>>, counts: &[usize], sent: Vec<Sent>) -> Vec<(Reply, Sent)> {
    let mut heard = Vec::with_capacity(sent.len());
    let mut sent = sent.into_iter();
    for (answer, count) in answers.into_iter().zip(counts) {
        let of_request: Vec<Sent> = sent.by_ref().take(*count).collect();
        heard.extend(answer.into_iter().flatten().flatten().zip(of_request));
    }
    heard
}

/// Several clients, each with one command or a few.
fn requests(sent: &[Sent], random: &mut Random) -> Vec<Vec<Command>> {
    let mut requests: Vec<Vec<Command>> = Vec::new();
    for Sent { command, .. } in sent {
        match requests.last_mut() {
            Some(request) if random.percent(20) => request.push(command.clone()),
            _ => requests.push(vec![command.clone()]),
        }
    }
    requests
}

//! One run of a case: clients who ask any node, nodes that come and go, and a database to which things happen.

use std::future::Future;
use std::mem;
use std::pin::Pin;

use outlay::audit::{Action, Actor};
use outlay::store::postgres::Buckets;
use outlay::store::{Record, Reply, StoreError};
use outlay::writer::{Ended, WriteError, Writer};
use outlay_core::ledger::{Command, Outcome, Rejection};
use outlay_core::month::Timestamp;
use outlay_model::generate::{self, Jump, Random};
use outlay_model::words::{Words, user_id};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::batches::bucket_of;
use super::case::{Case, POISON_PICOS, Turn};
use super::database::{Database, Event};
use super::mistake::Mistake;
use super::oracle::Oracle;
use super::store::{ModelStore, over_the_queue};
use crate::fault::Sometimes;
use crate::seeds::Wrong;
use crate::service::poll;

/// Steps after which all must be answered, once nothing goes wrong any more.
const TICKS_TO_THE_END: u64 = 6_000;

type Check = Result<(), String>;

/// A running node.
struct Node {
    writer: Writer,
    task: Pin<Box<dyn Future<Output = Ended>>>,
}

/// What somebody wants done, for as long as it is not answered.
struct Ask {
    bucket: usize,
    /// The command; none for a record.
    command: Option<Command>,
    /// Nodes that it was sent to.
    nodes: Vec<usize>,
    answered: bool,
}

/// The answer to a request.
type Answering = Pin<Box<dyn Future<Output = Result<Outcome, WriteError>>>>;

/// A request on its way.
struct Flight {
    ask: usize,
    request: u64,
    node: usize,
    answer: Answering,
}

/// A sweep on its way, at a node.
type Sweep = (usize, Pin<Box<dyn Future<Output = Result<usize, WriteError>>>>);

/// A run in the middle of a case.
pub(super) struct Run<'a> {
    buckets: Buckets,
    database: Database,
    nodes: Vec<Node>,
    asks: Vec<Ask>,
    flights: Vec<Flight>,
    sweeps: Vec<Sweep>,
    history: Vec<Command>,
    oracle: Oracle,
    events: Vec<Event>,
    twice_percent: u64,
    lost_percent: u64,
    records_percent: u64,
    poison: bool,
    ticks: u64,
    mistake: Option<Mistake>,
    requests: u64,
    /// An answer was given while the database showed what no standby had: if that was a mistake, a failover tells now.
    doubtful: bool,
    /// Whose client does not know what became of it, and asks again at once.
    impatient: Vec<usize>,
    trace: u64,
    /// Where it is.
    at: &'a mut Wrong,
}

impl<'a> Run<'a> {
    pub(super) fn new(seed: u64, case: &Case, mistake: Option<Mistake>, at: &'a mut Wrong) -> Self {
        let begin = Timestamp::parse("2025-10-31T12:00:00Z").expect("a time");
        let buckets = Buckets::of_bits(case.bits).expect("a case has few buckets");
        let count = 1 << case.bits;
        let mut random = Random::new(seed);
        let database = Database::new(count, begin, case.rates, Random::new(random.draw()));
        let mut run = Self {
            buckets,
            database,
            nodes: Vec::new(),
            asks: Vec::new(),
            flights: Vec::new(),
            sweeps: Vec::new(),
            history: Vec::new(),
            oracle: Oracle::new(count),
            events: case.events.clone(),
            twice_percent: case.twice_percent,
            lost_percent: case.lost_percent,
            records_percent: case.records_percent,
            poison: case.rates.poison,
            ticks: case.ticks,
            mistake,
            requests: 0,
            doubtful: false,
            impatient: Vec::new(),
            trace: seed,
            at,
        };
        run.nodes = (0..case.nodes).map(|_| run.start_node(&mut random)).collect();
        run
    }

    pub(super) fn trace(&self) -> u64 {
        self.trace
    }

    pub(super) fn sometimes(&self) -> Sometimes {
        self.database.state().sometimes.clone()
    }

    /// Runs the turns, then lets everything be well and checks that all comes to its end.
    pub(super) fn all(&mut self, turns: &[Turn]) -> Check {
        for (at, turn) in turns.iter().enumerate() {
            self.at.turn = at;
            self.one(turn)?;
        }
        self.at.turn = turns.len();
        self.end_well()
    }

    fn start_node(&self, random: &mut Random) -> Node {
        let store = ModelStore::new(self.database.clone(), self.buckets, Random::new(random.draw()), self.mistake);
        let (writer, task) = Writer::new(store);
        Node { writer, task: Box::pin(task.run()) }
    }

    fn saw(&self, event: &'static str) {
        self.database.state().sometimes.saw(event);
    }

    fn note(&mut self, what: impl Into<String>) {
        let what = what.into();
        self.trace = xxh3_64_with_seed(what.as_bytes(), self.trace);
        self.at.log.push(what);
    }

    fn one(&mut self, turn: &Turn) -> Check {
        let mut random = Random::new(turn.dice);
        self.pass_time(turn);
        match &turn.step.action {
            generate::Action::Restart => self.kill(&mut random),
            generate::Action::Shrink => self.sweep(&mut random),
            action => {
                let bucket = bucket_of(self.buckets, &user_id(turn.step.user));
                if let Some(command) = self.command(turn.step.user, bucket, action) {
                    self.history.push(command.clone());
                    let bucket = self.bucket_of(&command, bucket);
                    self.ask(bucket, Some(command), &mut random);
                }
            }
        }
        if random.percent(self.records_percent) {
            self.ask(0, None, &mut random);
        }
        for _ in 0..random.below(self.ticks) {
            self.tick(&mut random)?;
        }
        Ok(())
    }

    fn command(&self, user: u64, bucket: usize, action: &generate::Action) -> Option<Command> {
        let model = self.oracle.models.get(bucket)?;
        let now = self.database.state().clock;
        let command = Words { model, history: &self.history, holds: now, wall: now }.command(user, action)?;
        Some(match (action, command) {
            // Said again, its number is what it was.
            (generate::Action::Expire(_), Command::Expire { session_no }) => {
                Command::Expire { session_no: over_the_queue(bucket, session_no) }
            }
            (_, command) => command,
        })
    }

    /// What is said again may be about somebody else than whose turn it is.
    fn bucket_of(&self, command: &Command, otherwise: usize) -> usize {
        match command {
            Command::Record(operation) => bucket_of(self.buckets, &operation.user_id),
            Command::Reverse { user_id, .. }
            | Command::Open { user_id, .. }
            | Command::Extend { user_id, .. }
            | Command::Finish { user_id, .. } => bucket_of(self.buckets, user_id),
            _ => otherwise,
        }
    }

    fn pass_time(&mut self, turn: &Turn) {
        let bucket = bucket_of(self.buckets, &user_id(turn.step.user));
        let mut state = self.database.state();
        let now = state.clock;
        let to = match turn.step.jump {
            Jump::Seconds(seconds) => now.plus_seconds(seconds),
            Jump::MonthEnd(nanos) => now.month().resets_at().plus_nanos(nanos),
            Jump::Due(nanos) => {
                let open = self.oracle.models[bucket].sessions.iter().map(|session| session.due);
                open.filter(|due| *due > now).min().map_or(now, |due| due.plus_nanos(nanos))
            }
        };
        state.clock = now.max(to);
    }

    fn ask(&mut self, bucket: usize, command: Option<Command>, random: &mut Random) {
        self.note(command.as_ref().map_or_else(|| "a record".to_owned(), |command| format!("{command:?}")));
        self.asks.push(Ask { bucket, command, nodes: Vec::new(), answered: false });
        let ask = self.asks.len() - 1;
        let node = self.any_node(random);
        self.send(ask, node);
        if random.percent(self.twice_percent) {
            let other = (node + 1) % self.nodes.len();
            self.saw("a request was sent to two nodes at once");
            self.send(ask, other);
        }
    }

    fn any_node(&self, random: &mut Random) -> usize {
        below(random, self.nodes.len())
    }

    fn send(&mut self, ask: usize, node: usize) {
        self.requests += 1;
        let request = self.requests;
        self.note(format!("request {request} for {ask} at node {node}"));
        let command = self.asks[ask].command.clone();
        self.asks[ask].nodes.push(node);
        let writer = self.nodes[node].writer.clone();
        let actor = Actor { who: "client".into(), address: None, request_id: Some(request.to_string().into()) };
        let answer: Answering = match command {
            Some(command) => Box::pin(async move { writer.submit_as(&actor, command).await }),
            None => {
                let events = Record::Events(vec![actor.did(Action::PlanSet)]);
                Box::pin(async move { writer.put(events).await.map(|()| Outcome::Done) })
            }
        };
        let mut answer = Flight { ask, request, node, answer };
        // It is in the queue, and not answered before the node works.
        assert!(poll(answer.answer.as_mut()).is_none(), "a request waits for its node");
        self.flights.push(answer);
    }

    fn kill(&mut self, random: &mut Random) {
        let node = self.any_node(random);
        let started = self.start_node(random);
        self.nodes[node] = started;
        let before = self.flights.len();
        self.flights.retain(|flight| flight.node != node);
        self.sweeps.retain(|(of, _)| *of != node);
        if self.flights.len() < before {
            self.saw("a node was killed while requests waited for it");
        }
        self.note(format!("node {node} was killed, and started again"));
    }

    fn sweep(&mut self, random: &mut Random) {
        let node = self.any_node(random);
        let writer = self.nodes[node].writer.clone();
        self.note(format!("node {node} sweeps"));
        self.sweeps.push((node, Box::pin(async move { writer.sweep().await })));
    }

    /// Something happens, to a node, to the database, or at a client.
    fn tick(&mut self, random: &mut Random) -> Check {
        if mem::take(&mut self.doubtful) {
            let mut state = self.database.state();
            let kept = state.replicated;
            state.fail_over(kept);
            drop(state);
            self.note("Failover to what the standby has");
            return self.check();
        }
        for ask in mem::take(&mut self.impatient) {
            if random.percent(50) && !self.asks[ask].answered {
                let node = self.any_node(random);
                self.send(ask, node);
            }
        }
        match random.below(100) {
            0..60 => {
                let node = self.any_node(random);
                self.work(node, random)?;
            }
            60..90 => {
                let event = random.pick(&self.events);
                if self.database.state().happen(event, random) {
                    self.note(format!("{event:?}"));
                }
            }
            _ => self.try_again(random),
        }
        self.check()
    }

    fn check(&mut self) -> Check {
        let state = self.database.state();
        self.oracle.check(&state)
    }

    /// Somebody without an answer asks again, at any node.
    fn try_again(&mut self, random: &mut Random) {
        let waits = |place: &usize| self.flights.iter().any(|flight| flight.ask == *place);
        let left: Vec<usize> =
            (0..self.asks.len()).filter(|place| !self.asks[*place].answered && !waits(place)).collect();
        if !left.is_empty() {
            let (ask, node) = (random.pick(&left), self.any_node(random));
            self.send(ask, node);
        }
    }

    /// A node goes on until it waits for the database.
    fn work(&mut self, node: usize, random: &mut Random) -> Check {
        self.sweeps.retain_mut(|(of, sweep)| *of != node || poll(sweep.as_mut()).is_none());
        if let Some(ended) = poll(self.nodes[node].task.as_mut()) {
            return Err(format!("node {node} ended: {ended:?}"));
        }
        let mut on = Vec::new();
        let mut answers = Vec::new();
        for mut flight in mem::take(&mut self.flights) {
            match (flight.node == node).then(|| poll(flight.answer.as_mut())).flatten() {
                Some(answer) => answers.push((flight, answer)),
                None => on.push(flight),
            }
        }
        self.flights = on;
        for (flight, answer) in answers {
            if random.percent(self.lost_percent) {
                self.note(format!("the answer to request {} is lost", flight.request));
                self.saw("an answer did not reach who asked");
                self.impatient.push(flight.ask);
            } else {
                self.answered(&flight, answer)?;
            }
        }
        Ok(())
    }

    fn answered(&mut self, flight: &Flight, answer: Result<Outcome, WriteError>) -> Check {
        let Flight { ask, request, node, .. } = flight;
        self.note(format!("request {request} was answered by node {node}: {answer:?}"));
        let reply: Reply = match answer {
            Ok(outcome) => Ok(outcome),
            Err(WriteError::Rejected(Rejection::Internal)) if self.is_poison(self.asks[*ask].command.as_ref()) => {
                self.saw("a command that cannot be written was told to be refused, and no other");
                self.oracle.refused(*request);
                self.asks[*ask].answered = true;
                return Ok(());
            }
            Err(WriteError::Rejected(Rejection::Internal)) => {
                return Err(format!("request {request} could not be written: {:?}", self.asks[*ask].command));
            }
            Err(WriteError::Rejected(rejection)) => Err(rejection.into()),
            Err(WriteError::Store(StoreError::OutcomeUnknown(_))) => {
                self.impatient.push(*ask);
                return Ok(());
            }
            Err(WriteError::Store(_)) => {
                self.oracle.refused(*request);
                return Ok(());
            }
            Err(WriteError::QueueFull) => return Err("a queue is full".to_owned()),
        };
        let asked = &mut self.asks[*ask];
        if let Ok(Outcome::Recorded(recorded)) = &reply
            && recorded.duplicate
        {
            let state = &mut self.database.state();
            state.sometimes.saw("a duplicate was answered");
            if !asked.answered && asked.nodes.iter().any(|other| other != node) {
                state.sometimes.saw("a retry at another node was answered as a duplicate");
            }
        }
        asked.answered = true;
        let mut state = self.database.state();
        if state.shows_what_may_be_lost() {
            state.sometimes.saw("an answer was given while something was shown that no standby had");
            self.doubtful = true;
        }
        let Ask { bucket, command, .. } = &self.asks[*ask];
        match command {
            Some(_) => self.oracle.acknowledged(*request, *bucket, &reply, &state),
            None => {
                state.sometimes.saw("a record was written");
                self.oracle.wrote(*request, &state)
            }
        }
    }

    fn is_poison(&self, command: Option<&Command>) -> bool {
        matches!(command, Some(Command::Record(operation)) if self.poison && operation.cost.picos() == POISON_PICOS)
    }

    /// Nothing goes wrong any more: all is answered, all holds that are over are given back, and a last failover loses none.
    fn end_well(&mut self) -> Check {
        let mut random = Random::new(self.trace);
        self.database.state().heal();
        self.events = vec![Event::Work, Event::Replicate, Event::Up];
        self.lost_percent = 0;
        self.until_quiet(&mut random)?;
        {
            let mut state = self.database.state();
            state.clock = state.clock.plus_seconds(2 * 86_400);
        }
        self.sweep(&mut random);
        self.until_quiet(&mut random)?;
        {
            let mut state = self.database.state();
            let kept = state.replicated;
            state.fail_over(kept);
        }
        self.check()
    }

    fn until_quiet(&mut self, random: &mut Random) -> Check {
        for _ in 0..TICKS_TO_THE_END {
            self.tick(random)?;
            let state = self.database.state();
            let is_done = self.asks.iter().all(|ask| ask.answered) && self.flights.is_empty() && self.sweeps.is_empty();
            if is_done && state.is_quiet() && state.replicated == state.log.len() {
                return Ok(());
            }
        }
        let left = self.asks.iter().filter(|ask| !ask.answered).count();
        Err(format!("{left} requests are not answered, though nothing goes wrong any more: somebody waits for ever"))
    }
}

fn below(random: &mut Random, end: usize) -> usize {
    usize::try_from(random.below(end as u64)).unwrap_or(0)
}

//! A queue and a task for each lane of a store: what waits for one lane waits for no other.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use outlay_core::ledger::Command;
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};

use super::taken::{Most, Taken, weight};
use super::{Ended, Job, Shared, answered, sent};
use crate::audit::Actor;
use crate::store::{CommandError, Committed, Lane, LaneOf, Lanes, Reply, StoreError, until_plans_change};

/// Bytes of a lane's batch, at most.
const BYTES_MAX: usize = 256 * 1024;
/// What one transaction of a lane takes, at most: it holds locks that other nodes may wait for.
const BATCH_MAX: Most = Most { commands: 512, bytes: Some(BYTES_MAX) };

/// Where commands wait for their lanes.
pub(super) struct Queues {
    all: Vec<mpsc::UnboundedSender<Job>>,
    of: LaneOf,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queues").field("all", &self.all.len()).finish_non_exhaustive()
    }
}

/// Starts a task for each lane.
pub(super) fn start(lanes: Lanes, shared: &Arc<Shared>) -> (Arc<Queues>, JoinSet<Ended>) {
    let Lanes { all, of, runtime } = lanes;
    let mut tasks = JoinSet::new();
    let queue = |lane| {
        let (sender, receiver) = mpsc::unbounded_channel();
        tasks.spawn_on(run(lane, receiver, Arc::clone(shared)), &runtime);
        sender
    };
    let all = all.into_iter().map(queue).collect();
    (Arc::new(Queues { all, of }), tasks)
}

/// How a lane's task ended. A panic was reported when it happened; what it was about to say may be recorded or not.
pub(super) fn ended(ended: Result<Ended, JoinError>, shared: &Shared) -> Ended {
    ended.unwrap_or_else(|_| {
        shared.poisoned.store(true, Ordering::Release);
        Ended::Poisoned(StoreError::OutcomeUnknown("the task of a lane panicked".to_owned()))
    })
}

/// Batch while busy: commits what queued up meanwhile, until it is closed or nothing may be acknowledged any more.
async fn run(mut lane: Box<dyn Lane>, mut receiver: mpsc::UnboundedReceiver<Job>, shared: Arc<Shared>) -> Ended {
    let mut jobs = Vec::new();
    loop {
        if jobs.is_empty() && receiver.recv_many(&mut jobs, BATCH_MAX.commands).await == 0 {
            return Ended::Closed;
        }
        // What a batch left over does not go by itself.
        while jobs.len() < BATCH_MAX.commands
            && let Ok(job) = receiver.try_recv()
        {
            jobs.push(job);
        }
        let Some(Taken { batch, answering }) = Taken::of(&mut jobs, BATCH_MAX) else {
            // Only an end is no command here.
            return Ended::Closed;
        };
        if shared.poisoned.load(Ordering::Acquire) {
            let said = "an earlier write failed; the server is ending";
            return Ended::Poisoned(StoreError::Unavailable(said.to_owned()));
        }
        let count = batch.commands.len();
        let committed = lane.commit(batch).await;
        shared.done(count);
        let ended = shared.ended_by(&committed);
        answering.give(committed.and_then(Committed::publish));
        if let Some(ended) = ended {
            return ended;
        }
    }
}

/// A part of a request that goes to one lane, with the places of its commands.
#[derive(Default)]
struct Part {
    places: Vec<usize>,
    commands: Vec<Command>,
    bytes: usize,
}

impl Part {
    fn is_full(&self) -> bool {
        self.commands.len() >= BATCH_MAX.commands || self.bytes >= BYTES_MAX
    }
}

/// Commands that are counted as waiting, and given to no lane yet: whoever asked may leave before they are.
struct Unsent<'a> {
    shared: &'a Shared,
    count: usize,
}

impl Drop for Unsent<'_> {
    fn drop(&mut self) {
        self.shared.queued.fetch_sub(self.count, Ordering::AcqRel);
    }
}

impl Queues {
    /// Has every lane end after what it has been given.
    pub(super) fn close(&self) {
        for queue in &self.all {
            let (reply, _) = oneshot::channel();
            // One that is over needs no word.
            let _ = queue.send(Job::Close { reply });
        }
    }

    /// Sends commands through their lanes, and gives the answers in their order. They are counted as waiting already.
    pub(super) async fn run(
        &self,
        shared: &Shared,
        commands: Vec<Command>,
        mut by: Option<Box<Actor>>,
        quiet: bool,
    ) -> Result<Vec<Reply>, StoreError> {
        let mut unsent = Unsent { shared, count: commands.len() };
        if let [command] = commands.as_slice() {
            let lane = self.lane_of(command);
            return answered(self.send(lane, commands, by, quiet, &mut unsent)?).await?;
        }
        let mut replies: Vec<Option<Reply>> = commands.iter().map(|_| None).collect();
        let mut commands = commands.into_iter().enumerate().peekable();
        while commands.peek().is_some() {
            let mut waiting = Vec::new();
            for (lane, Part { places, commands, .. }) in self.parts(&mut commands) {
                // It is about the first command of all, which is the first of the first part that is sent.
                let by = if places.first() == Some(&0) { by.take() } else { None };
                waiting.push((places, self.send(lane, commands, by, quiet, &mut unsent)));
            }
            for (places, answer) in waiting {
                let answer = match answer {
                    Ok(answer) => answered(answer).await.and_then(std::convert::identity),
                    Err(error) => Err(error),
                };
                match answer {
                    Ok(part) => places.into_iter().zip(part).for_each(|(place, reply)| put(&mut replies, place, reply)),
                    Err(error) => {
                        for place in places {
                            put(&mut replies, place, Err(CommandError::Store(error.clone())));
                        }
                    }
                }
            }
        }
        let lost = || Err(CommandError::Store(StoreError::OutcomeUnknown("no reply came".to_owned())));
        Ok(replies.into_iter().map(|reply| reply.unwrap_or_else(lost)).collect())
    }

    /// The parts of the next commands by their lanes, in the order of each lane. What comes after a change of plans
    /// is decided by it, whatever its lane: so a change goes by itself.
    fn parts(&self, commands: &mut std::iter::Peekable<impl Iterator<Item = (usize, Command)>>) -> Vec<(usize, Part)> {
        let mut full = Vec::new();
        let mut open: Vec<Part> = self.all.iter().map(|_| Part::default()).collect();
        for (place, command) in until_plans_change(commands) {
            let lane = self.lane_of(&command);
            let Some(part) = open.get_mut(lane) else { continue };
            part.bytes += weight(&command);
            part.places.push(place);
            part.commands.push(command);
            if part.is_full() {
                full.push((lane, std::mem::take(part)));
            }
        }
        full.extend(open.into_iter().enumerate().filter(|(_, part)| !part.commands.is_empty()));
        full
    }

    fn lane_of(&self, command: &Command) -> usize {
        (self.of)(command)
    }

    fn send(
        &self,
        lane: usize,
        commands: Vec<Command>,
        by: Option<Box<Actor>>,
        quiet: bool,
        unsent: &mut Unsent<'_>,
    ) -> Result<oneshot::Receiver<Result<Vec<Reply>, StoreError>>, StoreError> {
        let count = commands.len();
        let (reply, answer) = oneshot::channel();
        let queue = self.all.get(lane).ok_or_else(|| StoreError::Unavailable(format!("there is no lane {lane}")))?;
        sent(queue, Job::Commands { commands, by, quiet, reply })?;
        unsent.count -= count;
        Ok(answer)
    }
}

fn put(replies: &mut [Option<Reply>], place: usize, reply: Reply) {
    if let Some(slot) = replies.get_mut(place) {
        *slot = Some(reply);
    }
}

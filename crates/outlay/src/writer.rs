//! The one way to the store's books: a bounded queue, and a task that takes what queued up while the last commit ran.
//!
//! Batch while busy: no timer, so an idle server adds no latency and a busy one batches by itself. Nothing is answered
//! before [`Store::commit`] says that it is durable, and readers see it. Showing and answering a batch is a good part of
//! the work, so a thread of its own does it while the next batch is decided.
//!
//! A store with [`Lanes`] has such a queue and task for each of them ([`lanes`]), so that nobody waits for a batch of
//! another lane; the writer's own task is then left with what is no command.
//!
//! What order callers may rely on: the commands of one request about one user are decided in their order, and none
//! before a change of plans that stands before it. Whoever waited for an answer finds it in all that is asked afterwards. Requests
//! that wait at the same time have no order among each other.
//!
//! [`Lanes`]: crate::store::Lanes

mod lanes;
mod taken;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use outlay_core::ledger::{Command, Outcome, Rejection};
use outlay_core::month::Timestamp;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::audit::{Actor, Event};
use crate::store::{CommandError, Committed, Record, Reply, Store, StoreError, Urgency};
use lanes::Queues;
use taken::{Most, Taken};

/// What is taken into one transaction, at most, where there is one at a time. More would only lengthen the wait of those
/// who came just after.
const BATCH_MAX: Most = Most { commands: 4_096, bytes: None };
/// Commands waiting, at most, before intents are turned away.
const QUEUE_INTENTS_MAX: usize = 16_384;
/// Commands waiting, at most, before facts are turned away too.
const QUEUE_FACTS_MAX: usize = 49_152;
/// Commands waiting, at most, before even finishing and giving back are.
const QUEUE_FINISHES_MAX: usize = 65_536;

/// Durable batches that wait to be shown and answered, at most; beyond, the next one is not begun.
const UNANSWERED_MAX: usize = 4;

/// How long nothing must have come before idle work begins: clients that have just been answered come again at once, and
/// would wait for it.
const QUIET: Duration = Duration::from_millis(20);
/// Where it is never quiet, a slice of idle work is done in some gap after so long: a slice takes some milliseconds.
const SLICE_EVERY: Duration = Duration::from_millis(200);

/// Sessions that one sweep abandons, at most, so that it delays nobody for long.
const SWEEP_MAX: usize = 1_000;

/// Why a command has no answer from the ledger.
#[derive(Debug, Clone, Error)]
pub enum WriteError {
    /// The ledger refused it; nothing was done.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// Too much is waiting; nothing was done.
    #[error("queue the command: too much is waiting")]
    QueueFull,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<CommandError> for WriteError {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Rejected(rejection) => Self::Rejected(rejection),
            CommandError::Store(error) => Self::Store(error),
        }
    }
}

/// A handle to the queue; cheap to clone.
#[derive(Debug, Clone)]
pub struct Writer {
    sender: mpsc::UnboundedSender<Job>,
    shared: Arc<Shared>,
    /// Where commands wait, if the store has lanes.
    lanes: Option<Arc<Queues>>,
    /// Whether nobody is told of what is asked through it.
    quiet: bool,
}

#[derive(Debug)]
struct Shared {
    /// Commands that wait or are being committed.
    queued: AtomicUsize,
    /// Set when no more may be written by this process.
    poisoned: AtomicBool,
    batches: AtomicUsize,
    commands: AtomicUsize,
    /// By which errors the process ends.
    ends_by: fn(&StoreError) -> bool,
}

impl Shared {
    fn new(ends_by: fn(&StoreError) -> bool) -> Self {
        let count = AtomicUsize::default;
        Self { queued: count(), poisoned: AtomicBool::default(), batches: count(), commands: count(), ends_by }
    }

    /// Notes that a batch of so many commands waits no more.
    fn done(&self, commands: usize) {
        self.queued.fetch_sub(commands, Ordering::AcqRel);
        self.batches.fetch_add(1, Ordering::Relaxed);
        self.commands.fetch_add(commands, Ordering::Relaxed);
    }

    /// What passes, passes; after any other failed write the process must not acknowledge anything.
    fn failed(&self, error: &StoreError) -> Option<Ended> {
        if !(self.ends_by)(error) {
            return None;
        }
        self.poisoned.store(true, Ordering::Release);
        Some(Ended::Poisoned(error.clone()))
    }

    fn ended_by(&self, committed: &Result<Committed, StoreError>) -> Option<Ended> {
        match committed {
            Ok(committed) => committed.error().and_then(|error| self.failed(error)),
            Err(error) => self.failed(error),
        }
    }
}

#[derive(Debug)]
enum Job {
    Commands {
        commands: Vec<Command>,
        /// Who asked for the first of them.
        by: Option<Box<Actor>>,
        quiet: bool,
        reply: oneshot::Sender<Result<Vec<Reply>, StoreError>>,
    },
    Record {
        record: Record,
        event: Option<Box<Event>>,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Backup {
        to: std::path::PathBuf,
        reply: oneshot::Sender<Result<(), StoreError>>,
    },
    Sweep {
        reply: oneshot::Sender<Result<usize, StoreError>>,
    },
    Trim {
        before: Timestamp,
        reply: oneshot::Sender<Result<bool, StoreError>>,
    },
    Close {
        reply: oneshot::Sender<()>,
    },
}

/// What the writer counted since the start, for `/metrics`.
#[derive(Debug, Clone, Copy)]
pub struct WriterCounts {
    /// Batches committed.
    pub batches: usize,
    /// Commands in them.
    pub commands: usize,
    /// Commands waiting now.
    pub queued: usize,
}

impl Writer {
    /// The handle, and the task that must be run for it. If the store has lanes, their tasks begin at once, on its runtime.
    pub fn new<S: Store>(store: S) -> (Self, WriterTask<S>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(S::ends_by));
        let (queues, lanes) = store.lanes().map(|lanes| lanes::start(lanes, &shared)).unzip();
        let writer = Self { sender, shared: Arc::clone(&shared), lanes: queues.clone(), quiet: false };
        let jobs = Vec::new();
        let answers = Answers::Here;
        let lanes = lanes.unwrap_or_default();
        let task =
            WriterTask { store, receiver, shared, queues, lanes, jobs, more_idle_work: true, pauses: None, answers };
        (writer, task)
    }

    /// The same way, by which what has happened elsewhere, or never, is recorded: nobody is told of it.
    #[must_use]
    pub fn quietly(&self) -> Self {
        Self { quiet: true, ..self.clone() }
    }

    /// Has one command decided and made durable.
    ///
    /// # Errors
    /// When the ledger rejects it, the queue is full, or the store fails.
    pub async fn submit(&self, command: Command) -> Result<Outcome, WriteError> {
        self.submit_by(command, None).await
    }

    /// The same, and what it changes is written to the audit log with it, as done by this actor.
    ///
    /// # Errors
    /// As [`Writer::submit`].
    pub async fn submit_as(&self, actor: &Actor, command: Command) -> Result<Outcome, WriteError> {
        self.submit_by(command, Some(Box::new(actor.clone()))).await
    }

    async fn submit_by(&self, command: Command, by: Option<Box<Actor>>) -> Result<Outcome, WriteError> {
        let mut replies = self.queue(vec![command], by).await?;
        let reply = replies.pop().ok_or_else(|| StoreError::OutcomeUnknown("no reply came".to_owned()))?;
        Ok(reply?)
    }

    /// Has commands decided in their order and made durable; each succeeds or fails alone.
    ///
    /// # Errors
    /// When the queue is full or the store fails; then no command is acknowledged.
    pub async fn submit_all(&self, commands: Vec<Command>) -> Result<Vec<Reply>, WriteError> {
        self.queue(commands, None).await
    }

    async fn queue(&self, commands: Vec<Command>, by: Option<Box<Actor>>) -> Result<Vec<Reply>, WriteError> {
        let max = commands.iter().map(room).max().unwrap_or(QUEUE_INTENTS_MAX);
        let count = commands.len();
        if self.shared.poisoned.load(Ordering::Acquire) {
            return Err(StoreError::Unavailable("an earlier write failed; the server is ending".to_owned()).into());
        }
        if self.shared.queued.fetch_add(count, Ordering::AcqRel) + count > max.max(count) {
            self.shared.queued.fetch_sub(count, Ordering::AcqRel);
            return Err(WriteError::QueueFull);
        }
        if let Some(lanes) = &self.lanes {
            return Ok(lanes.run(&self.shared, commands, by, self.quiet).await?);
        }
        let (reply, answer) = oneshot::channel();
        self.send(Job::Commands { commands, by, quiet: self.quiet, reply })?;
        Ok(answered(answer).await??)
    }

    /// Writes a record that no rule decides about.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put(&self, record: Record) -> Result<(), WriteError> {
        self.put_by(record, None).await
    }

    /// The same, with what the audit log says of it in the same transaction.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn put_as(&self, event: Event, record: Record) -> Result<(), WriteError> {
        self.put_by(record, Some(Box::new(event))).await
    }

    async fn put_by(&self, record: Record, event: Option<Box<Event>>) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Record { record, event, reply })?;
        Ok(answered(answer).await??)
    }

    /// Copies the whole store into a new file while it goes on.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn backup(&self, to: std::path::PathBuf) -> Result<(), WriteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Backup { to, reply })?;
        Ok(answered(answer).await??)
    }

    /// Abandons the sessions whose time is up, at most a thousand, and gives how many were due.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn sweep(&self) -> Result<usize, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Sweep { reply })?;
        Ok(answered(answer).await??)
    }

    /// Empties one slice of the operations that were recorded before an instant, and gives whether there is more.
    ///
    /// # Errors
    /// When the store fails, or space runs out.
    pub async fn trim(&self, before: Timestamp) -> Result<bool, WriteError> {
        let (reply, answer) = oneshot::channel();
        self.send(Job::Trim { before, reply })?;
        Ok(answered(answer).await??)
    }

    /// Ends the task after what is queued, and closes the store.
    pub async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.send(Job::Close { reply }).is_ok() {
            // An error means that the task had ended before, which is what is wanted.
            let _ = answer.await;
        }
    }

    /// Whether an error ended all writing of this process.
    pub fn is_poisoned(&self) -> bool {
        self.shared.poisoned.load(Ordering::Acquire)
    }

    /// What was counted since the start.
    pub fn counts(&self) -> WriterCounts {
        WriterCounts {
            batches: self.shared.batches.load(Ordering::Relaxed),
            commands: self.shared.commands.load(Ordering::Relaxed),
            queued: self.shared.queued.load(Ordering::Relaxed),
        }
    }

    fn send(&self, job: Job) -> Result<(), StoreError> {
        sent(&self.sender, job)
    }
}

fn sent(queue: &mpsc::UnboundedSender<Job>, job: Job) -> Result<(), StoreError> {
    queue.send(job).map_err(|_| StoreError::Unavailable("the server is ending".to_owned()))
}

async fn answered<T>(answer: oneshot::Receiver<T>) -> Result<T, StoreError> {
    answer.await.map_err(|_| StoreError::OutcomeUnknown("the server ended while it wrote".to_owned()))
}

/// How much may wait before this command is turned away.
fn room(command: &Command) -> usize {
    match Urgency::of(command) {
        Urgency::Intent => QUEUE_INTENTS_MAX,
        Urgency::Fact => QUEUE_FACTS_MAX,
        Urgency::GivesBack => QUEUE_FINISHES_MAX,
    }
}

/// The task behind a [`Writer`]. It owns the store.
#[derive(Debug)]
pub struct WriterTask<S> {
    store: S,
    receiver: mpsc::UnboundedReceiver<Job>,
    shared: Arc<Shared>,
    queues: Option<Arc<Queues>>,
    /// The tasks of the lanes.
    lanes: JoinSet<Ended>,
    jobs: Vec<Job>,
    more_idle_work: bool,
    pauses: Option<Pauses>,
    answers: Answers,
}

/// When idle work is done where time passes.
#[derive(Debug)]
struct Pauses {
    /// Whether nothing has come for [`QUIET`].
    quiet: bool,
    /// When the last slice ended.
    last: Instant,
}

impl Pauses {
    /// Whether to wait for work first.
    fn wait(&self) -> bool {
        !self.quiet && self.last.elapsed() < SLICE_EVERY
    }
}

/// What became of a batch, on its way to those who asked.
struct Answer {
    committed: Result<Committed, StoreError>,
    give: Box<dyn FnOnce(Result<Vec<Reply>, StoreError>) + Send>,
}

impl Answer {
    fn give(self) {
        (self.give)(self.committed.and_then(Committed::publish));
    }
}

/// Where batches are shown to readers and answered, in their order.
#[derive(Debug)]
enum Answers {
    /// In the writer's own thread, before the next batch.
    Here,
    /// In a thread beside it.
    Beside { answers: std::sync::mpsc::SyncSender<Answer>, thread: std::thread::JoinHandle<()> },
}

impl Answers {
    fn give(&self, answer: Answer) {
        match self {
            Self::Here => answer.give(),
            Self::Beside { answers, .. } => {
                // The thread only ends before this one by a panic.
                if let Err(std::sync::mpsc::SendError(answer)) = answers.send(answer) {
                    answer.give();
                }
            }
        }
    }

    /// Waits until all is answered.
    fn end(self) {
        if let Self::Beside { answers, thread } = self {
            drop(answers);
            // A panic was reported when it happened.
            let _ = thread.join();
        }
    }
}

/// Why a writer's task ended.
#[derive(Debug)]
pub enum Ended {
    /// It was asked to, or all handles are gone.
    Closed,
    /// An error after which nothing may be acknowledged: the process must end, the next start carries on.
    Poisoned(StoreError),
}

impl<S: Store> WriterTask<S> {
    /// Has batches shown and answered in a thread of their own.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub fn answering_beside(mut self) -> std::io::Result<Self> {
        let (answers, given) = std::sync::mpsc::sync_channel::<Answer>(UNANSWERED_MAX);
        let thread = std::thread::Builder::new().name("answers".to_owned()).spawn(move || {
            given.into_iter().for_each(Answer::give);
        })?;
        self.answers = Answers::Beside { answers, thread };
        Ok(self)
    }

    /// Begins idle work only once nothing has come for a while. It must then run where tokio's time does.
    #[must_use]
    pub fn pausing(mut self) -> Self {
        self.pauses = Some(Pauses { quiet: false, last: Instant::now() });
        self
    }

    /// Runs until it is closed or poisoned.
    pub async fn run(mut self) -> Ended {
        let mut lanes = std::mem::take(&mut self.lanes);
        loop {
            let ended = if lanes.is_empty() {
                self.step().await
            } else {
                tokio::select! {
                    ended = self.step() => ended,
                    // A lane only ends before it is asked to where nothing may be acknowledged any more.
                    Some(ended) = lanes.join_next() => Some(lanes::ended(ended, &self.shared)),
                }
            };
            if let Some(ended) = ended {
                return self.end(ended, lanes).await;
            }
        }
    }

    /// Waits for work and does it: one batch, or one slice of idle work. Gives why the task is over, once it is.
    pub async fn step(&mut self) -> Option<Ended> {
        if self.jobs.is_empty() {
            if self.receiver.is_empty() && self.more_idle_work {
                return self.idle().await;
            }
            self.more_idle_work = true;
            if let Some(pauses) = &mut self.pauses {
                pauses.quiet = false;
            }
            if self.receiver.recv_many(&mut self.jobs, BATCH_MAX.commands).await == 0 {
                return Some(Ended::Closed);
            }
        }
        self.one_batch().await
    }

    /// Does a slice of idle work, unless something comes before it is time for one.
    async fn idle(&mut self) -> Option<Ended> {
        let mut quiet = self.pauses.as_ref().is_none_or(|pauses| pauses.quiet);
        if self.pauses.as_ref().is_some_and(Pauses::wait) {
            let come = self.receiver.recv_many(&mut self.jobs, BATCH_MAX.commands);
            match tokio::time::timeout(QUIET, come).await {
                Ok(0) => return Some(Ended::Closed),
                Ok(_) => return self.one_batch().await,
                Err(_) => quiet = true,
            }
        }
        let done = self.store.idle().await;
        if let Some(pauses) = &mut self.pauses {
            *pauses = Pauses { quiet, last: Instant::now() };
        }
        match done {
            Ok(more) => {
                self.more_idle_work = more;
                None
            }
            Err(error) => self.shared.failed(&error),
        }
    }

    /// Whether something waits, for a driver that must not wait itself.
    pub fn has_work(&self) -> bool {
        !self.jobs.is_empty() || !self.receiver.is_empty()
    }

    async fn one_batch(&mut self) -> Option<Ended> {
        let Some(taken) = Taken::of(&mut self.jobs, BATCH_MAX) else {
            return match self.jobs.remove(0) {
                Job::Commands { .. } => None,
                Job::Record { record, event, reply } => {
                    let written = self.store.put(record, event.map(|event| *event)).await;
                    let ended = written.as_ref().err().and_then(|error| self.shared.failed(error));
                    let _ = reply.send(written);
                    ended
                }
                Job::Backup { to, reply } => {
                    self.more_idle_work = true;
                    self.store.backup(to, reply);
                    None
                }
                Job::Sweep { reply } => self.sweep(reply).await,
                Job::Trim { before, reply } => {
                    let trimmed = self.store.trim(before).await;
                    let ended = trimmed.as_ref().err().and_then(|error| self.shared.failed(error));
                    let _ = reply.send(trimmed);
                    ended
                }
                Job::Close { reply } => {
                    // The answer goes out by dropping it, after the store is closed.
                    self.jobs.clear();
                    self.receiver.close();
                    self.jobs.push(Job::Close { reply });
                    Some(Ended::Closed)
                }
            };
        };
        let count = taken.batch.commands.len();
        let committed = self.store.commit(taken.batch).await;
        self.shared.done(count);
        let ended = self.shared.ended_by(&committed);
        let answering = taken.answering;
        self.answers.give(Answer { committed, give: Box::new(move |result| answering.give(result)) });
        ended
    }

    async fn sweep(&mut self, reply: oneshot::Sender<Result<usize, StoreError>>) -> Option<Ended> {
        let due = match self.store.due(SWEEP_MAX).await {
            Ok(due) => due,
            Err(error) => {
                let ended = self.shared.failed(&error);
                let _ = reply.send(Err(error));
                return ended;
            }
        };
        let count = due.len();
        if count == 0 {
            let _ = reply.send(Ok(0));
            return None;
        }
        let commands: Vec<_> = due.into_iter().map(|session_no| Command::Expire { session_no }).collect();
        let committed = self.store.commit(commands.into()).await;
        let ended = self.shared.ended_by(&committed);
        let give = move |result: Result<Vec<Reply>, StoreError>| drop(reply.send(result.map(|_| count)));
        self.answers.give(Answer { committed, give: Box::new(give) });
        ended
    }

    async fn end(self, mut ended: Ended, mut lanes: JoinSet<Ended>) -> Ended {
        if let (Ended::Closed, Some(queues)) = (&ended, &self.queues) {
            queues.close();
            while let Some(lane) = lanes.join_next().await {
                if let lane @ Ended::Poisoned(_) = lanes::ended(lane, &self.shared) {
                    ended = lane;
                }
            }
        }
        self.answers.end();
        match ended {
            Ended::Closed => match self.store.close().await {
                Ok(()) => Ended::Closed,
                Err(error) => Ended::Poisoned(error),
            },
            Ended::Poisoned(error) => Ended::Poisoned(error),
        }
    }
}

#[cfg(test)]
mod tests;

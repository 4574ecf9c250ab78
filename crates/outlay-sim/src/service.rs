//! One process of the real service in one thread: the embedded store on a simulated disk, the writer's task driven by
//! hand, and reads that run where they are called.
//!
//! Nothing here waits. A request is put into the writer's queue by polling it once, the task is polled while it has
//! work, and then each request has its answer; so what is committed together is what the caller asked together.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use outlay::clock::SharedClock;
use outlay::store::embedded::runs::{Division, RunSettings};
use outlay::store::embedded::{self, EmbeddedStore, Marks, Settings, Sizes, SweepSizes, Volume};
use outlay::store::outbox::MailTo;
use outlay::store::{Reads, Record, Reply, StoreError};
use outlay::writer::{Ended, WriteError, Writer, WriterTask};
use outlay_core::ledger::Command;
use outlay_core::month::Timestamp;

use crate::clock::SimClock;
use crate::disk::SimDisk;

/// How the store of a simulation is made; the same for every process on one disk.
#[derive(Debug, Clone, Copy)]
pub struct Make {
    /// The source of the store's own randomness.
    pub seed: u64,
    /// How the duplicate indexes are made; hashes of 12 bits make collisions common.
    pub runs: RunSettings,
    /// Memory for pages of the file, in KiB.
    pub cache_kib: u32,
    /// How much is kept or done at once.
    pub sizes: Sizes,
    /// At how much free space less is taken; `None` where the store cannot ask how much there is.
    pub marks: Option<Marks>,
}

impl Make {
    /// Everything tiny, so that a short run meets every border.
    pub fn tiny(seed: u64) -> Self {
        let sizes = Sizes {
            books_users: 2,
            books_sessions: 2,
            log_pages: 24,
            wiped_rows: 3,
            merged_keys: 8,
            trimmed_rows: 2,
            sweep: SweepSizes { rows_at_once: 1, rows_while_idle: 1, operations_behind: 6 },
        };
        let runs = RunSettings {
            map_keys: 8,
            hash_bits: 12,
            merge_runs: 2,
            division: Division { chunk_blocks: 1, segment_chunks: 1 },
            slice_keys: 2,
            merge_slice_keys: 4,
        };
        Self { seed, runs, cache_kib: 256, sizes, marks: None }
    }
}

/// What a request for several commands is answered.
pub type Answer = Result<Vec<Reply>, WriteError>;

/// A request that waits for its answer.
type Asking<'a> = Pin<Box<dyn Future<Output = Answer> + 'a>>;

/// A running process.
#[derive(Debug)]
pub struct Service {
    /// The way to the store's books.
    pub writer: Writer,
    /// The published state.
    pub reads: Arc<dyn Reads>,
    task: Option<WriterTask<EmbeddedStore>>,
    /// Why the task is over.
    ended: Option<Ended>,
}

impl Service {
    /// Starts the service on this disk.
    ///
    /// # Errors
    /// When the store cannot be opened: a fault of the disk, or a file that is no store.
    pub fn start(disk: &SimDisk, clock: &Arc<SimClock>, make: &Make) -> Result<Self, StoreError> {
        let clock: SharedClock = Arc::<SimClock>::clone(clock);
        let volume = make.marks.map(|_| -> Arc<dyn Volume> { Arc::new(disk.clone()) });
        let settings = Settings {
            volume,
            marks: make.marks.unwrap_or_default(),
            vfs: Some(disk.vfs_name()),
            seed: Some(make.seed),
            runs: make.runs,
            cache_kib: make.cache_kib,
            sizes: make.sizes,
            // Somebody is told of every alert, so that what is to be told meets every fault too.
            mail: MailTo { user: false, operator: true },
            ..Settings::new("store".into(), clock)
        };
        let (store, reads) = embedded::open(settings)?;
        let (writer, task) = Writer::new(store);
        Ok(Self { writer, reads, task: Some(task), ended: None })
    }

    /// Sends requests that all wait when the writer wakes, and gives their answers in the same order.
    pub fn send(&mut self, requests: Vec<Vec<Command>>) -> Vec<Answer> {
        let leaves = vec![false; requests.len()];
        self.send_and_leave(requests, &leaves).into_iter().flatten().collect()
    }

    /// The same, where the clients of some requests leave when they are in the queue: what they asked for is done, and they
    /// have no answer.
    pub fn send_and_leave(&mut self, requests: Vec<Vec<Command>>, leaves: &[bool]) -> Vec<Option<Answer>> {
        let writer = self.writer.clone();
        let mut waiting: Vec<Option<Asking<'_>>> = Vec::new();
        let mut queued: Vec<Option<Answer>> = Vec::new();
        for (commands, leaves) in requests.into_iter().zip(leaves) {
            let mut request: Asking<'_> = Box::pin(writer.submit_all(commands));
            queued.push(poll(request.as_mut()));
            waiting.push((!leaves).then_some(request));
        }
        self.work();
        let never = || Err(StoreError::OutcomeUnknown("the process ended".to_owned()).into());
        let answer = |(request, queued): (Option<Asking<'_>>, Option<Answer>)| {
            request.map(|mut request| queued.or_else(|| poll(request.as_mut())).unwrap_or_else(never))
        };
        waiting.into_iter().zip(queued).map(answer).collect()
    }

    /// Somebody who leaves before anything of their request reached the queue: it is never begun.
    pub fn begin_to_ask(&self, commands: Vec<Command>) {
        drop(self.writer.submit_all(commands));
    }

    /// Writes a record that no rule decides about.
    ///
    /// # Errors
    /// When the store fails.
    pub fn put(&mut self, record: Record) -> Result<(), WriteError> {
        let writer = self.writer.clone();
        let mut put = pin!(writer.put(record));
        if let Some(answer) = poll(put.as_mut()) {
            return answer;
        }
        self.work();
        poll(put).unwrap_or_else(|| Err(StoreError::OutcomeUnknown("the process ended".to_owned()).into()))
    }

    /// Abandons the sessions whose time is up, and gives how many were due.
    ///
    /// # Errors
    /// When the store fails.
    pub fn sweep(&mut self) -> Result<usize, WriteError> {
        let writer = self.writer.clone();
        let mut sweep = pin!(writer.sweep());
        if let Some(answer) = poll(sweep.as_mut()) {
            return answer;
        }
        self.work();
        poll(sweep).unwrap_or_else(|| Err(StoreError::OutcomeUnknown("the process ended".to_owned()).into()))
    }

    /// Empties one slice of the operations that were recorded before an instant, and gives whether there is more.
    ///
    /// # Errors
    /// When the store fails.
    pub fn trim(&mut self, before: Timestamp) -> Result<bool, WriteError> {
        let writer = self.writer.clone();
        let mut trim = pin!(writer.trim(before));
        if let Some(answer) = poll(trim.as_mut()) {
            return answer;
        }
        self.work();
        poll(trim).unwrap_or_else(|| Err(StoreError::OutcomeUnknown("the process ended".to_owned()).into()))
    }

    /// Uses a moment without commands, at most so many slices of it.
    pub fn idle(&mut self, slices: usize) {
        for _ in 0..slices {
            if !self.turn() {
                return;
            }
        }
    }

    /// Ends the process as an operator does. Gives whether the store was closed cleanly.
    pub fn close(mut self) -> bool {
        let writer = self.writer.clone();
        let mut close = pin!(writer.close());
        // Its answer is the drop of the task, which comes with the end of this process.
        let _ = poll(close.as_mut());
        self.task.take().is_some_and(|task| matches!(ready(task.run()), Ended::Closed))
    }

    /// Why nothing is written any more by this process.
    pub fn ended(&self) -> Option<&Ended> {
        self.ended.as_ref()
    }

    /// Runs the writer's task as long as it has work.
    pub(crate) fn work(&mut self) {
        while self.task.as_ref().is_some_and(WriterTask::has_work) && self.turn() {}
    }

    /// One turn of the task; false once it is over or would wait.
    fn turn(&mut self) -> bool {
        let Some(task) = &mut self.task else { return false };
        match poll(pin!(task.step())) {
            None => false,
            Some(None) => true,
            Some(Some(ended)) => {
                self.ended = Some(ended);
                false
            }
        }
    }
}

/// Polls once; `None` when it has to wait.
pub(crate) fn poll<F: Future + ?Sized>(future: Pin<&mut F>) -> Option<F::Output> {
    match future.poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}

fn now<F: Future + ?Sized>(future: Pin<&mut F>) -> F::Output {
    poll(future).expect("in a simulation nothing is left to wait for")
}

/// The output of a future that never waits, as the reads of a simulated store are.
pub fn ready<F: Future>(future: F) -> F::Output {
    now(pin!(future))
}

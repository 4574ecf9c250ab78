//! What is taken from a queue into one batch, and how its answers find those who asked.

use outlay_core::ledger::Command;
use tokio::sync::oneshot;

use super::Job;
use crate::store::{Batch, Reply, StoreError};

/// How much one batch takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Most {
    /// Commands, where not a single request has more.
    pub(super) commands: usize,
    /// What its commands weigh, where not a single request weighs more; `None` where that does not matter.
    pub(super) bytes: Option<usize>,
}

/// What a command weighs beside its texts: ids, names and numbers.
const PLAIN_BYTES: usize = 256;

/// About how many bytes a command has.
pub(super) fn weight(command: &Command) -> usize {
    let metadata = match command {
        Command::Record(operation) => operation.metadata.as_ref(),
        Command::Open { metadata, .. } | Command::Deny { metadata, .. } => metadata.as_ref(),
        _ => None,
    };
    PLAIN_BYTES + metadata.map_or(0, |metadata| metadata.len())
}

/// A batch on its way.
pub(super) struct Taken {
    pub(super) batch: Batch,
    pub(super) answering: Answering,
}

impl Taken {
    /// Takes requests from the front, as long as they are commands and there is room; `None` if the first is something else.
    pub(super) fn of(jobs: &mut Vec<Job>, most: Most) -> Option<Self> {
        let mut batch = Batch::default();
        let mut asked = Vec::new();
        let mut weighs = 0;
        for job in jobs.iter_mut() {
            let Job::Commands { commands, by, quiet, .. } = job else { break };
            let waiting = batch.commands.len();
            let heavy = most.bytes.is_some_and(|bytes| {
                weighs += commands.iter().map(weight).sum::<usize>();
                weighs > bytes
            });
            if waiting > 0 && (heavy || waiting + commands.len() > most.commands) {
                break;
            }
            asked.push(commands.len());
            batch.by.extend(by.take().map(|actor| (waiting, *actor)));
            batch.add(commands, *quiet);
        }
        if asked.is_empty() {
            return None;
        }
        let waiting = jobs.drain(..asked.len()).zip(asked);
        let reply_of = |(job, count)| match job {
            Job::Commands { reply, .. } => Some((reply, count)),
            _ => None,
        };
        let answering = Answering(waiting.filter_map(reply_of).collect());
        Some(Self { batch, answering })
    }
}

/// Who waits for a batch, each with how many of its commands are theirs.
pub(super) struct Answering(Vec<(Asker, usize)>);

/// Where the answers to one request go.
type Asker = oneshot::Sender<Result<Vec<Reply>, StoreError>>;

impl Answering {
    /// Gives everybody their answers, or what failed.
    pub(super) fn give(self, result: Result<Vec<Reply>, StoreError>) {
        let mut results = result.map(Vec::into_iter);
        for (reply, count) in self.0 {
            let answer = match &mut results {
                Ok(results) => Ok(results.by_ref().take(count).collect()),
                Err(error) => Err(error.clone()),
            };
            // A caller who left does not change what was recorded.
            let _ = reply.send(answer);
        }
    }
}

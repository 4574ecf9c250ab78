//! What the store does while no command waits: it wipes what names erased people, writes what was put off, then merges the
//! runs of its duplicate indexes. Each slice is a transaction of its own, short enough for a command that comes meanwhile.

use std::sync::Arc;

use super::EmbeddedStore;
use super::runs::{RunError, RunIndex};
use crate::store::{StoreError, Urgency};

impl EmbeddedStore {
    /// Does one slice; gives whether there is more. Each looks at the space first, since nothing else may come that would.
    pub(super) fn idle_now(&mut self) -> Result<bool, StoreError> {
        // What names somebody who is erased comes first: rows of months are written by batches too, once they are due.
        let done = if self.wiping {
            self.wipe_slice().map(|more| self.wiping = more)
        } else if self.is_behind() {
            self.sweep_slice()
        } else if self.has_merges() {
            self.merge_slice()
        } else {
            return Ok(false);
        };
        match done {
            Ok(()) => Ok(self.is_behind() || self.wiping || self.has_merges()),
            // There is time for it when there is space again.
            Err(StoreError::DiskFull) => Ok(false),
            // It is said already that nothing may be acknowledged any more.
            Err(error @ StoreError::OutcomeUnknown(_)) => Err(error),
            Err(error) => Err(self.poison(&error)),
        }
    }

    fn has_merges(&self) -> bool {
        self.shared.operations.read().has_idle_work() || self.shared.sessions.read().has_idle_work()
    }

    /// Goes on with the merges of both indexes, in a transaction that changes nothing else.
    fn merge_slice(&mut self) -> Result<(), StoreError> {
        self.check_writable(Urgency::Fact)?;
        self.connection.execute_batch("begin immediate")?;
        let shared = Arc::clone(&self.shared);
        // As in a batch: readers ask the indexes under a lock, so that none sees a run that its snapshot does not have.
        let (mut operations, mut sessions) = (shared.operations.write(), shared.sessions.write());
        operations.begin_batch();
        sessions.begin_batch();
        let step = |index: &mut RunIndex| -> Result<(), RunError> {
            if index.has_idle_work() {
                index.idle_step(&self.connection, self.settings.sizes.merged_keys)
            } else {
                Ok(())
            }
        };
        let stepped = step(&mut operations).and_then(|()| step(&mut sessions)).map_err(StoreError::from);
        if let Err(error) = stepped.and_then(|()| self.flush()) {
            operations.rollback_batch();
            sessions.rollback_batch();
            if let Err(error) = self.connection.execute_batch("rollback")
                && !self.connection.is_autocommit()
            {
                return Err(self.poison(&error));
            }
            return Err(error);
        }
        if let Err(error) = self.connection.execute_batch("commit") {
            return Err(self.poison(&error));
        }
        operations.commit_batch();
        sessions.commit_batch();
        drop((operations, sessions));
        let checkpointed = self.checkpointer.after_commit(&self.connection, self.space.may_run_out());
        checkpointed.map_err(|error| self.poison(&error))
    }
}

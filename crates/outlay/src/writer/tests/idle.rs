//! When idle work is done.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use outlay_core::id::SessionNo;
use outlay_core::month::Timestamp;

use super::of;
use crate::audit::Event;
use crate::store::{Batch, CommandError, Committed, Record, Store, StoreError};
use crate::writer::Writer;

/// A store that always has idle work left, a millisecond a slice.
#[derive(Clone, Default)]
struct Untidy {
    slices: Arc<AtomicUsize>,
}

impl Store for Untidy {
    async fn commit(&mut self, batch: Batch) -> Result<Committed, StoreError> {
        let reply = |_| Err(CommandError::Store(StoreError::SpaceShort));
        Ok(Committed::new(batch.commands.iter().map(reply).collect(), || {}))
    }

    async fn idle(&mut self) -> Result<bool, StoreError> {
        tokio::time::sleep(Duration::from_millis(1)).await;
        self.slices.fetch_add(1, Ordering::Relaxed);
        Ok(true)
    }

    async fn put(&mut self, _: Record, _: Option<Event>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn trim(&mut self, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn due(&mut self, _: usize) -> Result<Vec<SessionNo>, StoreError> {
        Ok(Vec::new())
    }

    fn backup(&mut self, _: std::path::PathBuf, _: tokio::sync::oneshot::Sender<Result<(), StoreError>>) {}

    async fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn those_who_come_again_at_once_do_not_wait_for_idle_work_and_yet_it_is_done() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let (asked, busy) = runtime.block_on(async {
        let store = Untidy::default();
        let slices = Arc::clone(&store.slices);
        let done = || slices.load(Ordering::Relaxed);
        let (writer, task) = Writer::new(store);
        let clients = async {
            // Nobody is quiet for long here, so each slice is one of those that are done in a gap.
            let mut asked = 0;
            while done() < 2 {
                writer.submit(of("ada", "again")).await.unwrap_err();
                asked += 1;
            }
            let busy = done();
            while done() < busy + 10 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            writer.close().await;
            (asked, busy)
        };
        futures_util::future::join(task.pausing().run(), clients).await.1
    });
    assert!(asked > 10 * busy, "{busy} slices beside {asked} batches");
}

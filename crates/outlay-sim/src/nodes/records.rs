//! Records, which no rule decides about: each is a transaction under the first bucket's lock, as the store writes them.

use outlay::store::StoreError;
use outlay::store::postgres::tries::{self, Ended, Failed, Place, Sought, Transactions};
use outlay_core::ledger::{Now, Written};

use super::database::Entry;
use super::link::{COMMIT_PLACE, Link};
use super::store::{ModelStore, failed};
use super::tables::Change;

/// A record that is about to be written.
pub(super) struct Writing<'a> {
    pub(super) store: &'a mut ModelStore,
    /// By which request it came.
    pub(super) request: u64,
}

impl Writing<'_> {
    async fn on(&mut self, link: &Link) -> Result<(), Failed<()>> {
        link.begin().await.map_err(failed)?;
        link.lock(&[0], true).await.map_err(failed)?;
        let read = link.read(|state| (state.clock, state.tables.first().map(|of| (of.seq, of.now_at, of.numbers))));
        let (clock, first) = read.await.map_err(failed)?;
        let (seq, now_at, numbers) = first.ok_or_else(|| StoreError::Corrupt("a bucket is not stored".to_owned()))?;
        let now = Now { holds: now_at, wall: clock, entropy: 0 };
        let batch = self.store.mark();
        let changes = vec![Change { bucket: 0, numbers, written: Written::default() }];
        let entry = Entry { batch, now, changes, decided: Vec::new(), records: vec![self.request] };
        let answers = link.write(entry).await;
        match tries::ended(answers, COMMIT_PLACE, link.take_wait_cut()) {
            Ended::Committed => Ok(()),
            Ended::Not(cure, said) => Err(Failed::Not(cure, said)),
            Ended::Unknown => {
                let places = vec![Place { bucket: 0, seq }];
                Err(Failed::Unknown(Box::new(()), Sought { places, batch }))
            }
            Ended::WaitCut => Err(Failed::WaitCut),
        }
    }
}

impl Transactions for Writing<'_> {
    type Done = ();

    async fn transact(&mut self) -> Result<(), Failed<()>> {
        let link = self.store.connected().await.map_err(failed)?;
        let result = self.on(&link).await;
        self.store.put_back(link, &result).await;
        result
    }

    async fn settle(&mut self, sought: &Sought) -> Result<bool, StoreError> {
        self.store.settle(sought).await
    }

    async fn make_partitions(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn pause(&mut self) {
        self.store.pause().await;
    }

    fn is_late(&self) -> bool {
        false
    }

    fn wait_was_cut(&self) -> StoreError {
        self.store.wait_was_cut()
    }
}

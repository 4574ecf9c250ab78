//! A node's connection to the database: each call is one round trip, in which everybody else may do anything.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use outlay::store::postgres::tries::{Answer, Cure, Looking, Place};
use outlay_core::ledger::Now;

use super::database::{Committed, Database, Entry, Refusal, State};
use super::mistake::Mistake;

/// A connection. The server finds out some time later when it is dropped.
#[derive(Debug)]
pub(super) struct Link {
    database: Database,
    id: u64,
    mistake: Option<Mistake>,
    /// Whether the server said that a wait for the standby was cut short.
    wait_cut: std::sync::atomic::AtomicBool,
}

/// The place of COMMIT among what is sent with it.
pub(super) const COMMIT_PLACE: usize = 1;

/// Waits until the scheduler comes by again.
pub(super) async fn round_trip() {
    let mut sent = false;
    poll_fn(|_| if std::mem::replace(&mut sent, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl Link {
    pub(super) async fn open(database: &Database, mistake: Option<Mistake>) -> Result<Self, Refusal> {
        round_trip().await;
        let id = database.state().connect()?;
        let wait_cut = std::sync::atomic::AtomicBool::new(false);
        Ok(Self { database: database.clone(), id, mistake, wait_cut })
    }

    pub(super) async fn begin(&self) -> Result<(), Refusal> {
        round_trip().await;
        let mut state = self.database.state();
        state.reach(self.id)?;
        state.begin(self.id);
        Ok(())
    }

    /// Locks buckets, or those of them that nobody has.
    pub(super) async fn lock(&self, buckets: &[usize], wait: bool) -> Result<Vec<usize>, Refusal> {
        round_trip().await;
        self.database.state().reach(self.id)?;
        let mut locked = Vec::new();
        for bucket in buckets {
            if self.lock_one(*bucket, wait).await? {
                locked.push(*bucket);
            }
        }
        Ok(locked)
    }

    async fn lock_one(&self, bucket: usize, wait: bool) -> Result<bool, Refusal> {
        loop {
            {
                let mut state = self.database.state();
                state.reach_still(self.id)?;
                if state.lock(self.id, bucket) {
                    return Ok(true);
                }
                if !wait {
                    state.saw("a bucket that another had was skipped");
                    return Ok(false);
                }
                state.saw("a bucket that another had was waited for");
                if state.is_lock_timeout() {
                    state.saw("a wait for a bucket was given up");
                    return Err(Refusal::Said("55P03"));
                }
            }
            round_trip().await;
        }
    }

    /// Reads in one statement.
    pub(super) async fn read<T>(&self, read: impl FnOnce(&State) -> T) -> Result<T, Refusal> {
        round_trip().await;
        let mut state = self.database.state();
        state.reach(self.id)?;
        Ok(read(&state))
    }

    pub(super) async fn roll_back(&self) -> Result<(), Refusal> {
        round_trip().await;
        self.database.state().roll_back(self.id)
    }

    /// Sends all that is written with COMMIT; gives the answers to both.
    pub(super) async fn write(&self, entry: Entry) -> [Answer; 2] {
        let read = |refusal| match refusal {
            Refusal::Said(code) => refused(code),
            Refusal::Lost => Answer::Lost,
        };
        match self.write_and_commit(entry).await {
            Err(Refusal::Lost) => [Answer::Lost, Answer::Lost],
            Err(refusal @ Refusal::Said(_)) => [read(refusal), Answer::Well],
            Ok(Committed::Well | Committed::WaitCut) => [Answer::Well, Answer::Well],
            Ok(Committed::RolledBack(code)) => [read(Refusal::Said(code)), Answer::Well],
            Ok(Committed::Refused(code)) => [Answer::Well, read(Refusal::Said(code))],
        }
    }

    async fn write_and_commit(&self, entry: Entry) -> Result<Committed, Refusal> {
        // An update of a bucket's row waits for who has it, whether or not it was locked before.
        for change in &entry.changes {
            self.lock_one(change.bucket, true).await?;
        }
        round_trip().await;
        self.database.state().commit(self.id, Arc::new(entry))?;
        loop {
            round_trip().await;
            let mut state = self.database.state();
            if let Some(answer) = state.answer(self.id)? {
                self.wait_cut.store(answer == Committed::WaitCut, std::sync::atomic::Ordering::Release);
                return Ok(answer);
            }
            if state.is_watch_over() {
                state.saw("a COMMIT was not answered in time");
                return Err(Refusal::Lost);
            }
        }
    }

    /// Whether the server said that a wait for the standby was cut short, since this was asked last.
    pub(super) fn take_wait_cut(&self) -> bool {
        let cut = self.wait_cut.swap(false, std::sync::atomic::Ordering::AcqRel);
        cut && self.mistake != Some(Mistake::IgnoresTheNotice)
    }
}

/// What the server says, with its cure.
pub(super) fn refused(code: &'static str) -> Answer {
    Answer::Refused(Cure::of(code, true), format!("PostgreSQL says {code}"))
}

impl Drop for Link {
    fn drop(&mut self) {
        self.database.state().hang_up(self.id);
    }
}

fn told(refusal: Refusal) -> String {
    match refusal {
        Refusal::Said(code) => format!("PostgreSQL says {code}"),
        Refusal::Lost => "the connection is lost".to_owned(),
    }
}

/// How a batch is looked for, as the store does it.
impl Looking for Link {
    async fn begin(&self) -> Result<(), String> {
        self.begin().await.map_err(told)
    }

    async fn lock(&self, bucket: i32) -> Result<(), String> {
        if self.mistake == Some(Mistake::LooksWithoutTheLock) {
            return Ok(());
        }
        let bucket = usize::try_from(bucket).unwrap_or(0);
        self.lock(&[bucket], true).await.map(|_| ()).map_err(told)
    }

    async fn has_event(&self, place: Place, batch: [u8; 16]) -> Result<bool, String> {
        let bucket = usize::try_from(place.bucket).unwrap_or(0);
        let read = |state: &State| state.tables.get(bucket).is_some_and(|tables| tables.has_event(place.seq, batch));
        self.read(read).await.map_err(told)
    }

    async fn commit(&self) -> Result<(), String> {
        if self.mistake == Some(Mistake::LooksWithoutAWrite) {
            return self.roll_back().await.map_err(told);
        }
        let now = self.database.state().clock;
        let now = Now { holds: now, wall: now, entropy: 0 };
        // A lock writes to the log, and to no table.
        let locks = Entry { batch: [0; 16], now, changes: Vec::new(), decided: Vec::new(), records: Vec::new() };
        match self.write_and_commit(locks).await.map_err(told)? {
            Committed::Well | Committed::WaitCut => Ok(()),
            Committed::RolledBack(code) | Committed::Refused(code) => Err(told(Refusal::Said(code))),
        }
    }

    fn was_wait_cut(&self) -> bool {
        let cut = self.take_wait_cut();
        if cut {
            self.database.state().saw("a wait was cut short while a batch was looked for");
        }
        cut
    }
}

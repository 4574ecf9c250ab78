//! What a node does beside its commands: it wipes what names erased people, makes partitions before they are needed, and
//! drops events that are over.
//!
//! A task of its own does it, on a connection of its own, whether or not the writer ever rests. Each slice is a transaction
//! under one bucket's lock, so that several nodes may do the same.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use outlay_core::month::Day;
use tokio::sync::Notify;

use super::errors::unavailable;
use super::link::Link;
use super::rows::{RowReader, damaged};
use super::shared::{Locked, Shared};
use super::statements::{COMMIT, LOCK_WAITING, ROLLBACK};
use super::{connect, schema, wipe};
use crate::store::StoreError;

/// How often is looked whether there is something to do; nothing is asked of the database for that.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// After so long the database is asked too: another node may have ended before it did its own.
const ASK_NANOS: u64 = 3_600_000_000_000;
/// How long it is before it is tried again after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(10);
/// For how long the writer rests for what is being done; the task goes on anyway.
const REST: Duration = Duration::from_millis(2);

/// What there is to do, and what is done.
#[derive(Debug)]
pub(super) struct Chores {
    /// How often somebody was erased, or may have been, and up to which of them all is wiped.
    erased: AtomicU64,
    wiped: AtomicU64,
    /// Up to which of them the writer rests for.
    rested: AtomicU64,
    asked: Notify,
    done: Notify,
}

impl Default for Chores {
    /// There may be something to do from the first moment on, before the task begins: those of a node that ended, or of this
    /// one when it ran the last time.
    fn default() -> Self {
        let [wiped, rested] = [0, 0].map(AtomicU64::new);
        Self { erased: AtomicU64::new(1), wiped, rested, asked: Notify::new(), done: Notify::new() }
    }
}

impl Chores {
    /// Somebody was erased, or may have been.
    pub(super) fn erased(&self) {
        self.erased.fetch_add(1, Ordering::AcqRel);
        self.asked.notify_one();
    }

    fn is_done(&self) -> bool {
        self.wiped.load(Ordering::Acquire) >= self.erased.load(Ordering::Acquire)
    }

    /// Rests a moment for what is being done; gives whether there is more.
    pub(super) async fn rest(&self) -> bool {
        if self.is_done() {
            return false;
        }
        self.rested.fetch_max(self.erased.load(Ordering::Acquire), Ordering::AcqRel);
        self.asked.notify_one();
        // Whether it was waited for in vain is what is looked at next.
        let _ = tokio::time::timeout(REST, self.done.notified()).await;
        !self.is_done()
    }
}

/// Does what there is to do, for as long as the runtime runs.
pub(super) async fn run(shared: Arc<Shared>) {
    let chores = &shared.chores;
    chores.asked.notify_one();
    let mut partitions: Option<(Day, u64)> = None;
    loop {
        // A timeout is the usual case.
        let _ = tokio::time::timeout(LOOK_EVERY, chores.asked.notified()).await;
        let (day, now) = (shared.wall_now().max(shared.time()).day(), shared.settings.clock.monotonic_nanos());
        if partitions.is_none_or(|(of, at)| of != day || now.saturating_sub(at) >= ASK_NANOS) {
            match keep_partitions(&shared).await {
                Ok(()) => {
                    if partitions.replace((day, now)).is_some() {
                        chores.erased();
                    }
                }
                Err(error) => failed("partitions could not be made or dropped", &error).await,
            }
        }
        let rests = chores.rested.load(Ordering::Acquire) > chores.wiped.load(Ordering::Acquire);
        // Where time is replayed, what happens when is said from outside.
        if chores.is_done() || (shared.settings.own_clock && !rests) {
            continue;
        }
        let erased = chores.erased.load(Ordering::Acquire);
        match shared.connector.unless_replaced(wipe_all(&shared)).await {
            Ok(()) => {
                chores.wiped.store(erased, Ordering::Release);
                chores.done.notify_waiters();
            }
            Err(error) => failed("what names erased people could not be wiped", &error).await,
        }
    }
}

/// Says so, and waits before it is tried again.
async fn failed(what: &str, error: &StoreError) {
    tracing::warn!(%error, "{what}");
    tokio::time::sleep(AFTER_FAILURE).await;
}

/// Makes the partitions of the time that comes next. What is recorded says what time it is, whether or not that is believed;
/// what goes does so by the earlier of both.
pub(super) async fn keep_partitions(shared: &Shared) -> Result<(), StoreError> {
    let (wall, time) = (shared.wall_now(), shared.time());
    let keep = async {
        let mut client = connect(&shared.connector).await?;
        schema::keep_partitions(&mut client, wall.max(time), wall.min(time)).await
    };
    shared.connector.unless_replaced(keep).await
}

/// Wipes all whom the database names, bucket by bucket.
async fn wipe_all(shared: &Shared) -> Result<(), StoreError> {
    let mut statements = vec![LOCK_WAITING];
    statements.extend(wipe::statements());
    let link = Link::open(&shared.connector, &statements).await?;
    let mut above = -1;
    loop {
        let found = link.send(wipe::NEXT_BUCKET, vec![&above]).await?;
        let Some(row) = found.first() else { return Ok(()) };
        let bucket = i32::try_from(RowReader::new(row).required()?).unwrap_or(i32::MAX);
        let rows_max = shared.settings.slice_rows;
        match under_lock(&link, bucket, shared, async |_| wipe::wipe(&link, bucket, rows_max).await).await {
            // As long as it has somebody, it is the first again.
            Ok(()) => {}
            // A row that cannot be read keeps nobody of another bucket from being wiped; `verify` tells of it.
            Err(StoreError::Corrupt(said)) => {
                tracing::error!(bucket, said, "an erased person's row cannot be read, so not all of theirs is wiped");
                above = bucket;
            }
            Err(error) => return Err(error),
        }
    }
}

/// Runs something in a transaction that holds the lock of a bucket.
pub(super) async fn under_lock<T>(
    link: &Link,
    bucket: i32,
    shared: &Shared,
    work: impl AsyncFnOnce(Locked) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    link.begin().await?;
    let locked = async {
        let found = link.send(LOCK_WAITING, vec![&vec![bucket]]).await?;
        let row = found.first().ok_or_else(|| damaged("table bucket"))?;
        Locked::read(row, shared.buckets())
    };
    let worked = match locked.await {
        Ok(locked) => work(locked).await,
        Err(error) => Err(error),
    };
    match worked {
        // Every statement before it went well, so it says the truth.
        Ok(value) => link.control(COMMIT).await.map(|_| value).map_err(unavailable),
        Err(error) => {
            // Where that fails, the connection is gone, and the transaction with it.
            let _ = link.control(ROLLBACK).await;
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_rests_before_the_task_begins_is_told_that_there_is_more() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        assert!(runtime.block_on(Chores::default().rest()));
    }
}

//! Finds out what became of a transaction whose COMMIT was sent and never answered.

use std::time::Duration;

use super::connector::Unreached;
use super::errors::told;
use super::link::Link;
use super::shared::Shared;
use super::statements::{COMMIT, FIND_BATCH, LOCK_WAITING};
use crate::store::StoreError;

/// After this long the callers of what is being committed are told that its outcome is unknown.
pub(super) const COMMIT_SECONDS_MAX: u64 = 10;

/// Where a transaction is found, if it is recorded: an event of it stands in the bucket's order after this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) bucket: i32,
    pub(super) seq: i64,
}

/// Whether it is recorded: whoever has its bucket's lock sees what became of it. Gives a new connection too.
pub(super) async fn settle(
    shared: &Shared,
    statements: &[&'static str],
    places: &[Place],
    batch: &[u8; 16],
) -> Result<(bool, Link), StoreError> {
    let settling = async {
        loop {
            match look_for(shared, statements, places, batch).await {
                Ok(found) => return found,
                Err(said) => {
                    tracing::debug!(said, "an unknown outcome is looked for again");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    };
    tokio::time::timeout(shared.settings.patience, settling)
        .await
        .map_err(|_| StoreError::OutcomeUnknown("the database could not be asked".to_owned()))
}

async fn look_for(
    shared: &Shared,
    statements: &[&'static str],
    places: &[Place],
    batch: &[u8; 16],
) -> Result<(bool, Link), String> {
    let link = Link::open(&shared.connector, statements).await.map_err(|Unreached(said)| said)?;
    let found = find(&link, places, batch).await.map_err(|error| told(&error))?;
    let cut = link.take_wait_cut();
    shared.safety.cut(cut);
    if cut { Err(shared.wait_was_cut().to_string()) } else { Ok((found, link)) }
}

/// Its locks are a write, so where commits wait for a standby, this one waits too: what it finds is on a standby with it,
/// even what a cut wait had left on the primary alone.
async fn find(link: &Link, places: &[Place], batch: &[u8; 16]) -> Result<bool, tokio_postgres::Error> {
    let mut found = false;
    link.begin().await?;
    // All of its buckets are in one transaction, so one that has an event of it speaks for all.
    for place in places {
        link.send(LOCK_WAITING, vec![&vec![place.bucket]]).await?;
        let rows = link.send(FIND_BATCH, vec![&place.bucket, &place.seq, &batch.as_slice()]).await?;
        found |= rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
    }
    link.control(COMMIT).await?;
    Ok(found)
}

//! Finds out what became of a transaction whose COMMIT was sent and never answered.

use std::time::Duration;

use super::errors::told;
use super::link::Link;
use super::shared::Shared;
use super::statements::{BEGIN, COMMIT, FIND_BATCH, LOCK_WAITING};
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
                Err(error) => {
                    tracing::debug!(said = told(&error), "an unknown outcome is looked for again");
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
) -> Result<(bool, Link), tokio_postgres::Error> {
    let link = Link::open(&shared.config, statements).await?;
    let mut found = false;
    // All of its buckets are in one transaction, so one that has an event of it speaks for all.
    link.client.batch_execute(BEGIN).await?;
    for place in places {
        link.send(LOCK_WAITING, vec![&vec![place.bucket]]).await?;
        let rows = link.send(FIND_BATCH, vec![&place.bucket, &place.seq, &batch.as_slice()]).await?;
        found |= rows.first().map(|row| row.try_get(0)).transpose()?.unwrap_or(false);
    }
    link.client.batch_execute(COMMIT).await?;
    Ok((found, link))
}

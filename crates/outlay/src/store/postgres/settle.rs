//! Finds out what became of a transaction whose COMMIT was sent and never answered.

use std::time::Duration;

use super::connector::Unreached;
use super::errors::told;
use super::link::Link;
use super::shared::Shared;
use super::statements::{COMMIT, FIND_BATCH, LOCK_WAITING};
use super::tries::{Looking, Place, Sought, look};
use crate::store::StoreError;

/// After this long the callers of what is being committed are told that its outcome is unknown.
pub(super) const COMMIT_SECONDS_MAX: u64 = 10;

/// Whether it is recorded: whoever has its bucket's lock sees what became of it. Gives a new connection too.
pub(super) async fn settle(
    shared: &Shared,
    statements: &[&'static str],
    sought: &Sought,
) -> Result<(bool, Link), StoreError> {
    let settling = async {
        loop {
            match look_for(shared, statements, sought).await {
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

async fn look_for(shared: &Shared, statements: &[&'static str], sought: &Sought) -> Result<(bool, Link), String> {
    let link = Link::open(&shared.connector, statements).await.map_err(|Unreached(said)| said)?;
    let found = look(&By { shared, link: &link }, sought).await?;
    Ok((found, link))
}

struct By<'a> {
    shared: &'a Shared,
    link: &'a Link,
}

impl Looking for By<'_> {
    async fn begin(&self) -> Result<(), String> {
        self.link.begin().await.map(|_| ()).map_err(|error| told(&error))
    }

    async fn lock(&self, bucket: i32) -> Result<(), String> {
        self.link.send(LOCK_WAITING, vec![&vec![bucket]]).await.map(|_| ()).map_err(|error| told(&error))
    }

    async fn has_event(&self, Place { bucket, seq }: Place, batch: [u8; 16]) -> Result<bool, String> {
        let found = self.link.send(FIND_BATCH, vec![&bucket, &seq, &batch.as_slice()]).await;
        let found = found.and_then(|rows| rows.first().map(|row| row.try_get(0)).transpose());
        found.map(|found| found.unwrap_or(false)).map_err(|error| told(&error))
    }

    async fn commit(&self) -> Result<(), String> {
        self.link.control(COMMIT).await.map(|_| ()).map_err(|error| told(&error))
    }

    fn was_wait_cut(&self) -> bool {
        let cut = self.link.take_wait_cut();
        self.shared.safety.cut(cut);
        cut
    }
}

//! What an acknowledgement promises: on which disks it is, and whether the database can give one at all.
//!
//! A server acknowledges a COMMIT once the standbys that `synchronous_standby_names` asks for have it. Who sets none, or
//! unsets them, acknowledges what is lost with the primary: every batch sees that, and what is slow to find out is asked
//! every few seconds while anything is asked of the node, be it only whether it is ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::RwLock;
use tokio_postgres::{Client, Row, SimpleQueryMessage};

use super::connector::{Unreached, Wire};
use super::errors::told;
use super::rows::RowReader;
use super::shared::Shared;
use crate::store::StoreError;

/// How often it is asked.
const EVERY: Duration = Duration::from_secs(3);
/// How long the answer may take.
const WAIT: Duration = Duration::from_secs(5);

/// Which standbys commits wait for, how many of them are there, and whether the server writes to its disk at all. Whose
/// role may not see what becomes of standbys sees them without a state: those are counted as well.
const SAFETY: &str = "select current_setting('synchronous_standby_names'), \
     (select count(*) from pg_stat_replication where sync_state in ('sync', 'quorum') or sync_state is null), \
     (current_setting('fsync') = 'on')::int4::int8";

/// A commit that waits for standbys and changes nothing: one that reaches them proves all before it. Whoever has the bucket
/// is not waited for; then it is no row, and proves nothing.
const PROOF: &str = "begin; set local synchronous_commit = on; \
     select bucket from bucket where bucket = 0 for update skip locked; commit";

pub(super) const NOT_SYNCED: &str = "no synchronous standby is asked for (synchronous_standby_names is empty), and without one nothing is acknowledged \
     here, as --require-sync demands";

/// What the server said last.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    /// How many standbys a commit waits for; 0: none.
    needed: u64,
    /// How many of those that may be waited for are there.
    connected: u64,
    /// Whether it waits for its disk.
    flushes: bool,
    /// Why it could not be asked.
    unreached: Option<String>,
}

#[derive(Debug)]
pub(super) struct Safety {
    require_sync: bool,
    said: RwLock<Said>,
    /// A batch was committed without the standby that it waited for, and none was since that did not.
    cut: AtomicBool,
    /// Whether this node was asked anything since it asked last.
    active: AtomicBool,
}

impl Safety {
    pub(super) fn new(require_sync: bool) -> Self {
        let said = Said { needed: 0, connected: 0, flushes: true, unreached: None };
        Self { require_sync, said: RwLock::new(said), cut: AtomicBool::new(false), active: AtomicBool::new(true) }
    }

    /// Asks the server.
    pub(super) async fn ask(&self, client: &Client) -> Result<(), StoreError> {
        let asked = tokio::time::timeout(WAIT, client.query_typed(SAFETY, &[])).await;
        let asked = asked.map_err(|_| StoreError::Unavailable(format!("no answer within {} s", WAIT.as_secs())))?;
        let rows = asked.map_err(|error| StoreError::Unavailable(told(&error)))?;
        let Some(row) = rows.first() else { return Ok(()) };
        let mut row = RowReader::new(row);
        let needed = needed(row.required_text()?);
        let connected = row.number()?;
        *self.said.write() = Said { needed, connected, flushes: row.number()? > 0, unreached: None };
        Ok(())
    }

    /// Somebody asks something of this node.
    pub(super) fn used(&self) {
        self.active.store(true, Ordering::Release);
    }

    /// Notes what a batch saw: whether a commit waits for a standby now.
    ///
    /// # Errors
    /// When it does not, and must.
    pub(super) fn seen(&self, synced: bool) -> Result<(), StoreError> {
        self.used();
        if synced != (self.said.read().needed > 0) {
            let mut said = self.said.write();
            (said.needed, said.connected) = (u64::from(synced), u64::from(synced));
        }
        if synced || !self.require_sync { Ok(()) } else { Err(StoreError::Unavailable(NOT_SYNCED.to_owned())) }
    }

    /// Notes whether a batch was committed without the standby that it waited for. One that was not proves all before it.
    pub(super) fn cut(&self, cut: bool) {
        self.cut.store(cut, Ordering::Release);
    }

    /// Whether a commit is to be tried: nothing is recorded by a node that is not ready, so nothing else would prove that
    /// commits reach the standbys again, which are all there.
    fn wants_proof(&self) -> bool {
        let said = self.said.read();
        self.cut.load(Ordering::Acquire) && said.connected >= said.needed
    }

    /// Commits what changes nothing, to see whether it reaches the standbys.
    async fn prove(&self, wire: &Wire) -> Result<(), StoreError> {
        wire.wait_cut.store(false, Ordering::Release);
        let proved = tokio::time::timeout(WAIT, wire.client.simple_query(PROOF)).await;
        let proved = proved.map_err(|_| StoreError::Unavailable(format!("no commit within {} s", WAIT.as_secs())))?;
        let proved = proved.map_err(|error| StoreError::Unavailable(told(&error)))?;
        let has_locked = proved.iter().any(|message| matches!(message, SimpleQueryMessage::Row(_)));
        if has_locked && !wire.wait_cut.load(Ordering::Acquire) {
            self.cut(false);
        }
        Ok(())
    }

    pub(super) fn require_sync(&self) -> bool {
        self.require_sync
    }

    /// Whether commits wait for a standby, as they must.
    pub(super) fn is_as_required(&self) -> bool {
        !self.require_sync || self.said.read().needed > 0
    }

    /// What an acknowledgement promises, in words.
    pub(super) fn promise(&self) -> &'static str {
        let said = self.said.read();
        promise(said.flushes, said.needed)
    }

    /// Why nothing can be acknowledged; `None` when it can.
    pub(super) fn not_ready(&self) -> Option<String> {
        let said = self.said.read();
        if let Some(why) = &said.unreached {
            return Some(format!("the database cannot be reached: {why}"));
        }
        if self.require_sync && said.needed == 0 {
            return Some(NOT_SYNCED.to_owned());
        }
        if said.connected < said.needed {
            return Some(format!(
                "every commit waits for {} synchronous standbys, and {} are connected",
                said.needed, said.connected
            ));
        }
        let cut = "a wait for a standby was cut short, and no commit has reached one since";
        self.cut.load(Ordering::Acquire).then(|| cut.to_owned())
    }
}

/// Whether commits wait for a standby: the answer to [`super::statements::SYNCED`]. One that cannot be read promises nothing.
pub(super) fn says_synced(rows: &[Row]) -> bool {
    rows.first().is_some_and(|row| row.try_get(0).unwrap_or(false))
}

/// Keeps asking, while the node is in use or something is wrong: a database that nobody uses may sleep.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut kept = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let safety = &shared.safety;
        if !safety.active.swap(false, Ordering::AcqRel) && safety.not_ready().is_none() {
            continue;
        }
        if let Err(why) = ask(&shared, &mut kept).await {
            kept = None;
            safety.said.write().unreached = Some(why);
        }
    }
}

/// Asks on a connection of its own, so that no slow read is in its way.
async fn ask(shared: &Shared, kept: &mut Option<Wire>) -> Result<(), String> {
    let wire = match kept.take().filter(|wire| shared.connector.is_current(&wire.client, wire.mark)) {
        Some(wire) => wire,
        None => shared.connector.connect().await.map_err(|Unreached(said)| said)?,
    };
    let safety = &shared.safety;
    let asked = async {
        safety.ask(&wire.client).await?;
        if safety.wants_proof() { safety.prove(&wire).await } else { Ok(()) }
    };
    match asked.await {
        Ok(()) => {
            *kept = Some(wire);
            Ok(())
        }
        Err(error) => {
            wire.task.abort();
            Err(match error {
                StoreError::Unavailable(said) => said,
                error => error.to_string(),
            })
        }
    }
}

/// What an acknowledgement promises where commits wait for so many standbys.
pub(super) fn promise(flushes: bool, needed: u64) -> &'static str {
    match (flushes, needed) {
        (false, _) => "acknowledged means in the memory of the database's machine: its fsync is off",
        (true, 0) => "acknowledged means on the primary's disk",
        (true, 1) => "acknowledged means on the disks of the primary and of a synchronous standby",
        (true, _) => "acknowledged means on the disks of the primary and of several synchronous standbys",
    }
}

/// How many standbys `synchronous_standby_names` asks for: `ANY 2 (a, b, c)`, `FIRST 2 (..)`, `2 (..)`, or one of a list.
pub(super) fn needed(names: &str) -> u64 {
    let names = names.trim();
    let before = names.split_once('(').map(|(before, _)| before).unwrap_or_default();
    let count = before.split_whitespace().next_back().and_then(|count| count.parse().ok());
    count.unwrap_or(u64::from(!names.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standbys_that_a_commit_waits_for_are_counted() {
        let all =
            ["", " ", "s1", "s1, s2", "*", "ANY 1 (s1, s2)", "any 2(s1,s2,s3)", "FIRST 2 (\"a\", b)", "3 (a, b, c, d)"];
        assert_eq!(all.map(needed), [0, 0, 1, 1, 1, 1, 2, 2, 3]);
    }
}

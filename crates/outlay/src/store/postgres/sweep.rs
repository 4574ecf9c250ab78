//! When a node asks whether any session is due.
//!
//! While it is in use, each time it is told to sweep. A node of which nobody asks anything, and where nobody watches, knows
//! when the next session is due and asks nothing until then, so that a database that nobody uses may sleep. What another
//! node opened meanwhile is that one's to give back; where that one has ended, whoever is asked anything next does it.

use std::sync::atomic::{AtomicU64, Ordering};

use outlay_core::id::SessionNo;
use outlay_core::month::Timestamp;
use parking_lot::Mutex;

use super::Engine;
use super::errors::unavailable;
use super::reader::Ask;
use super::rows::{RowReader, nanos, stored};
use crate::store::StoreError;

/// After so long without being asked anything a node is not in use. Load balancers ask for `/readyz` more often.
const USE_NANOS: u64 = 15_000_000_000;
/// After so long it asks all the same.
const ASK_NANOS: u64 = 3_600_000_000_000;

const DUE: &str = "select no from session where due <= $1 order by due limit $2";
const NEXT: &str = "select due from session where due is not null order by due limit 1";

/// What is known of sessions that will be due.
#[derive(Debug)]
pub(super) struct Sweeps {
    /// When anything was asked of this node last, on the clock that nobody sets.
    used_at: AtomicU64,
    asked: Mutex<Option<Asked>>,
}

/// The answer to [`NEXT`].
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: u64,
    /// When the next session is due, if there is any.
    next: Option<Timestamp>,
}

impl Sweeps {
    pub(super) fn new(monotonic: u64) -> Self {
        Self { used_at: AtomicU64::new(monotonic), asked: Mutex::default() }
    }

    /// Somebody asks something of this node.
    pub(super) fn used(&self, monotonic: u64) {
        self.used_at.fetch_max(monotonic, Ordering::AcqRel);
    }

    fn is_used(&self, monotonic: u64) -> bool {
        monotonic.saturating_sub(self.used_at.load(Ordering::Acquire)) < USE_NANOS
    }

    /// Whether nothing can be due, as far as this node knows: it asked after whatever it did last.
    fn is_quiet(&self, monotonic: u64, now: Timestamp) -> bool {
        self.asked.lock().is_some_and(|asked| {
            asked.at > self.used_at.load(Ordering::Acquire)
                && monotonic.saturating_sub(asked.at) < ASK_NANOS
                && asked.next.is_none_or(|next| now < next)
        })
    }
}

/// Sessions that are due, at most so many, those that are so for the longest time first.
pub(super) async fn due(engine: &Engine, max: usize) -> Result<Vec<SessionNo>, StoreError> {
    let shared = &engine.shared;
    let (monotonic, now) = (shared.settings.clock.monotonic_nanos(), shared.time());
    let is_used = shared.sweeps.is_used(monotonic) || shared.feed.is_heard();
    if !is_used && shared.sweeps.is_quiet(monotonic, now) {
        return Ok(Vec::new());
    }
    let reader = engine.reader().await?;
    let rows = reader.ask(DUE, &[&nanos(now), &stored(max as u64)]).await.map_err(unavailable)?;
    let due = rows.iter().map(|row| Ok(SessionNo(RowReader::new(row).number()?)));
    let due = due.collect::<Result<Vec<_>, StoreError>>()?;
    if !is_used && due.is_empty() {
        let rows = reader.ask(NEXT, &[]).await.map_err(unavailable)?;
        let next = rows.first().map(|row| RowReader::new(row).time()).transpose()?;
        *shared.sweeps.asked.lock() = Some(Asked { at: monotonic, next });
    }
    Ok(due)
}

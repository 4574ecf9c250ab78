//! Retention: for how long operations keep their details, and who has the store empty those that are older.
//!
//! Whole days in UTC are emptied, each once it is over for as many days as the operator said: so there is one run a day, and
//! nothing is emptied early. An operation is as old as its *recording*, not as its `timestamp`: that one may lie anywhere in
//! the past, and what was imported yesterday would be gone before anybody looked at it. How rows are emptied is the store's
//! business; here is when, and how fast.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use outlay_core::month::Timestamp;

use crate::audit::{Action, Actor, Facts};
use crate::http::SharedApp;
use crate::store::{Record, StoreError};
use crate::writer::WriteError;

/// How often is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a slice is rested from at least; else so many times as long as it took, with its wait in the writer's queue. So
/// it takes a fifth of the writer at most, and less of a busy one.
const REST_MIN: Duration = Duration::from_millis(5);
const REST_TIMES: u32 = 4;

/// How long it is before it is tried again after a failure.
const AFTER_FAILURE: Duration = Duration::from_mins(1);

/// For how many days details are kept; it may be read anew while a server runs.
#[derive(Debug, Default)]
pub struct Retention(AtomicU32);

impl Retention {
    /// For so many days; `None` = for ever.
    pub fn new(days: Option<u32>) -> Self {
        Self(AtomicU32::new(days.unwrap_or(0)))
    }

    /// For how many days; `None` = for ever.
    pub fn days(&self) -> Option<u32> {
        Some(self.0.load(Ordering::Relaxed)).filter(|days| *days > 0)
    }

    /// Takes another number of days from now on.
    pub fn replace(&self, days: Option<u32>) {
        self.0.store(days.unwrap_or(0), Ordering::Relaxed);
    }
}

/// What was recorded before this instant is not to have details any more: the day's beginning, so many days ago.
pub fn due_before(now: Timestamp, days: u32) -> Timestamp {
    now.plus_seconds(-86_400 * i64::from(days)).day().start()
}

/// Has the store empty what is due, for as long as it runs.
pub async fn keep(app: SharedApp) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let Some(days) = app.retention.days() else { continue };
        // What is emptied does not come back, so the earlier of both clocks counts, and a jump that is doubted does not.
        let now = app.reads.now().min(app.clock.wall());
        if !app.reads.status().clock_jump {
            run(&app, days, due_before(now, days)).await;
        }
    }
}

/// Empties all that was recorded before an instant, unless the operator thinks otherwise meanwhile.
async fn run(app: &SharedApp, days: u32, before: Timestamp) {
    let count = || app.reads.status().trimmed;
    let first = count();
    while app.retention.days() == Some(days) {
        let begun = app.clock.monotonic_nanos();
        match app.writer.trim(before).await {
            Ok(true) => {}
            // There is time for it when there is space again.
            Ok(false) | Err(WriteError::Store(StoreError::SpaceShort | StoreError::DiskFull)) => break,
            Err(error) => {
                tracing::warn!("failed to empty what is older than {days} days: {error}");
                tokio::time::sleep(AFTER_FAILURE).await;
                break;
            }
        }
        let took = Duration::from_nanos(app.clock.monotonic_nanos().saturating_sub(begun));
        tokio::time::sleep(took.saturating_mul(REST_TIMES).max(REST_MIN)).await;
    }
    let emptied = count() - first;
    if emptied == 0 {
        return;
    }
    tracing::info!(operations = emptied, %before, "operations were emptied of their details: they are older than they are kept");
    let facts = Facts::new().json("operations", &emptied.to_string()).json("days", &days.to_string());
    let event = Actor::here("configuration")
        .did(Action::DetailsEmptied)
        .after(facts.text("recordedBefore", &before.to_string()));
    if let Err(error) = app.writer.put(Record::Events(vec![event])).await {
        tracing::warn!("failed to write down that operations were emptied: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_is_due_once_it_is_over_for_as_many_days_as_details_are_kept() {
        let due = |now: &str, days| due_before(Timestamp::parse(now).unwrap(), days).to_string();
        assert_eq!(due("2025-10-20T00:00:00Z", 7), "2025-10-13T00:00:00Z");
        assert_eq!(due("2025-10-20T23:59:59.999Z", 7), "2025-10-13T00:00:00Z");
        assert_eq!(due("2025-10-21T00:00:00Z", 7), "2025-10-14T00:00:00Z");
        assert_eq!(due("2024-03-01T12:00:00Z", 366), "2023-03-01T00:00:00Z");
        assert_eq!(due("2025-10-20T00:00:00Z", 36_500), "1925-11-14T00:00:00Z");
    }
}

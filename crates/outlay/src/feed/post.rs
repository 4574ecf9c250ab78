//! Wakes who sends: there is something to tell these, or it is time to try again. It holds nothing that is lost with the
//! process: what is to be told stands in the store.

use std::collections::BTreeSet;

use outlay_core::month::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::store::outbox::{Receiver, is_due};

/// The bell between a store and the one who sends.
#[derive(Debug, Default)]
pub struct Post {
    receivers: Mutex<BTreeSet<Receiver>>,
    woken: Notify,
    due: Mutex<Option<Timestamp>>,
}

impl Post {
    /// Something new is to be told these. Readers must see it by now.
    pub fn put(&self, receivers: Vec<Receiver>) {
        if !receivers.is_empty() {
            self.receivers.lock().extend(receivers);
            self.woken.notify_one();
        }
    }

    /// When to be woken by the wall clock.
    pub fn wake_at(&self, due: Option<Timestamp>) {
        *self.due.lock() = due;
    }

    /// Looks at the clock.
    pub(super) fn tick(&self, wall: Timestamp) {
        let mut due = self.due.lock();
        if due.is_some_and(|due| is_due(due, wall)) {
            *due = None;
            self.woken.notify_one();
        }
    }

    /// Waits until there is something, and takes it; nobody where it is only time to look.
    pub async fn taken(&self) -> BTreeSet<Receiver> {
        self.woken.notified().await;
        std::mem::take(&mut *self.receivers.lock())
    }
}

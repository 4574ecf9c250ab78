//! What readers see: the state of the last commit that is durable, never the writer's books.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outlay_core::id::{UserId, UserNo};
use outlay_core::ledger::{Numbers, UserView};
use outlay_core::month::{Month, Timestamp};
use outlay_core::plan::Plans;
use parking_lot::{Mutex, RwLock};
use std::hash::BuildHasher;

use crate::feed::{Feed, Watched};
use crate::store::outbox::WebhookRecord;
use crate::store::{KeyRecord, SecretRecord};

const SHARDS: usize = 256;
/// Users in memory per shard, at most; beyond, the shard begins anew and reads fill it again.
const USERS_PER_SHARD_MAX: usize = 2_048;

#[derive(Debug)]
pub(super) struct Published {
    shards: Vec<Mutex<Shard>>,
    hasher: FixedState,
    plans: RwLock<Arc<Plans>>,
    /// The last batch that is durable and published.
    batch: AtomicU64,
    pub(super) numbers: Mutex<Numbers>,
    pub(super) keys: RwLock<Vec<Arc<KeyRecord>>>,
    pub(super) secrets: RwLock<Vec<Arc<SecretRecord>>>,
    pub(super) webhooks: RwLock<Arc<[WebhookRecord]>>,
    /// Of whom tokens were ended that could otherwise still be good.
    pub(super) token_ends: RwLock<HashMap<UserNo, Timestamp, FixedState>>,
    pub(super) audit: AuditNumbers,
    pub(super) not_ready: RwLock<Option<String>>,
}

/// How far the audit log goes.
#[derive(Debug, Default)]
pub(super) struct AuditNumbers {
    newest: AtomicU64,
    copied: AtomicU64,
}

impl AuditNumbers {
    pub(super) fn begin(&self, newest: u64, copied: u64) {
        self.newest.store(newest, Ordering::Release);
        self.copied.store(copied, Ordering::Release);
    }

    /// Notes that the log has this entry now.
    pub(super) fn grew(&self, newest: Option<u64>) {
        if let Some(newest) = newest {
            self.newest.fetch_max(newest, Ordering::AcqRel);
        }
    }

    pub(super) fn copied(&self, no: u64) {
        self.copied.store(no, Ordering::Release);
    }

    /// The newest entry, and the last one that was copied.
    pub(super) fn get(&self) -> (u64, u64) {
        (self.newest.load(Ordering::Acquire), self.copied.load(Ordering::Acquire))
    }
}

#[derive(Debug, Default)]
struct Shard {
    views: HashMap<UserId, UserView, FixedState>,
    /// The last batch that changed a user of this shard.
    changed_in: u64,
}

impl Published {
    pub(super) fn new(seed: u64, plans: Arc<Plans>, batch: u64, numbers: Numbers) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: FixedState::with_seed(seed),
            plans: RwLock::new(plans),
            batch: AtomicU64::new(batch),
            numbers: Mutex::new(numbers),
            keys: RwLock::default(),
            secrets: RwLock::default(),
            webhooks: RwLock::new(Arc::new([])),
            token_ends: RwLock::default(),
            audit: AuditNumbers::default(),
            not_ready: RwLock::default(),
        }
    }

    fn shard(&self, user_id: &UserId) -> &Mutex<Shard> {
        let hash = self.hasher.hash_one(user_id.as_str());
        // The low bits pick a slot inside the shard's own table.
        let index = usize::try_from(hash >> 56).unwrap_or(0) % SHARDS;
        self.shards.get(index).expect("the index is below the number of shards")
    }

    pub(super) fn plans(&self) -> Arc<Plans> {
        Arc::clone(&self.plans.read())
    }

    pub(super) fn batch(&self) -> u64 {
        self.batch.load(Ordering::Acquire)
    }

    /// Shows a durable batch to readers, and gives those of its users who are watched.
    pub(super) fn publish(
        &self,
        batch: u64,
        plans: &Arc<Plans>,
        numbers: Numbers,
        views: Vec<(UserId, UserView)>,
        feed: &Feed,
    ) -> Vec<Arc<Watched>> {
        if !Arc::ptr_eq(&self.plans.read(), plans) {
            *self.plans.write() = Arc::clone(plans);
        }
        *self.numbers.lock() = numbers;
        let mut watched = Vec::new();
        for (user_id, view) in views {
            let mut shard = self.shard(&user_id).lock();
            // Who begins to watch later takes this lock later, and reads what is put here now.
            watched.extend(feed.watched(&user_id));
            shard.changed_in = batch;
            shard.put(user_id, view);
        }
        self.batch.store(batch, Ordering::Release);
        watched
    }

    /// How many users are in memory.
    pub(super) fn users(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().views.len()).sum()
    }

    /// The view in memory, if it has this month.
    pub(super) fn view(&self, user_id: &UserId, month: Month) -> Option<Arc<UserView>> {
        let shard = self.shard(user_id).lock();
        shard.views.get(user_id).filter(|view| view.used(month).is_some()).cloned().map(Arc::new)
    }

    /// What a reader must note before its snapshot, so that [`Published::offer`] can tell whether it is still the newest.
    pub(super) fn changed_in(&self, user_id: &UserId) -> u64 {
        self.shard(user_id).lock().changed_in
    }

    /// Keeps a view that was read from the file, unless the user may have changed since `changed_in` was noted.
    pub(super) fn offer(&self, user_id: &UserId, view: &Arc<UserView>, changed_in: u64) {
        let mut shard = self.shard(user_id).lock();
        if shard.changed_in == changed_in {
            shard.put(user_id.clone(), UserView::clone(view));
        }
    }
}

impl Shard {
    fn put(&mut self, user_id: UserId, view: UserView) {
        if self.views.len() >= USERS_PER_SHARD_MAX && !self.views.contains_key(&user_id) {
            self.views.clear();
        }
        self.views.insert(user_id, view);
    }
}

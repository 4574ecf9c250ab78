//! What has just changed, for those who watch: the way from a store's commits to open event streams.
//!
//! A store tells its feed of each batch when readers can see it. Of a watched user the feed keeps a number that goes up,
//! and the newest notices; the state itself a watcher reads from the store, when they get to it. So a watcher who is slow
//! costs the store nothing and finds the newest state, and a user whom nobody watches costs nothing at all.
//!
//! It knows neither HTTP nor an engine. Numbers are of one run of a store: its epoch stands before them on the wire.

mod post;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::UserId;
use outlay_core::month::{Month, Timestamp};
use parking_lot::{Mutex, RwLock};
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::CancellationToken;

pub use post::Post;

/// Who may watch at the same time, at most, all together.
pub const WATCHERS_MAX: usize = 2_048;
/// Notices kept of one user.
const NOTICES_OF_USER: usize = 64;
/// Notices kept for those who watch everybody.
const NOTICES_OF_ALL: usize = 1_024;
/// For how many rounds of [`Feed::tick`] a user is remembered whom nobody watches any more: a watcher who comes back
/// soon goes on where they were.
const TICKS_REMEMBERED: u32 = 600;
/// Users remembered whom nobody watches any more, at most.
const REMEMBERED_MAX: usize = 4_096;

/// Where a watcher is: an event's place among all of one run of a store, or of a database whose nodes count together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Which run: how often the store was started; or which life of the database.
    pub epoch: u64,
    /// Which number in it.
    pub seq: u64,
}

/// Something that happened, beside the change of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A threshold was crossed.
    Alert(UserId, Alert),
    /// An intent was refused, or refused again.
    Denial(UserId, Denial),
}

impl Notice {
    fn user_id(&self) -> &UserId {
        match self {
            Self::Alert(user_id, _) | Self::Denial(user_id, _) => user_id,
        }
    }
}

/// Why nobody more may watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("watch: too many do already")]
pub struct TooManyWatch;

/// What a batch changed, as far as it matters to those who watch. [`Default`] is a batch that changed nothing.
#[derive(Debug, Default)]
pub struct Tidings {
    /// The watched among the users for whom anything changed, each as [`Feed::watched`] gave it.
    pub changed: Vec<Arc<Watched>>,
    /// What happened, in its order.
    pub notices: Vec<Notice>,
    /// Users who are nobody any more: nothing is kept of them.
    pub erased: Vec<UserId>,
    /// Whether a plan changed, which may change the budget of anybody.
    pub plans: bool,
    /// Where all of this is, in a store that itself counts what happens to a user; else it is counted here.
    pub at: Option<Place>,
}

/// Something that happened, on its way to a watcher.
#[derive(Debug, Clone)]
pub struct Told {
    /// Its number here.
    pub seq: u64,
    /// Where it is by the store's own count.
    pub at: Option<Place>,
    /// What happened.
    pub notice: Arc<Notice>,
}

/// What is kept of a user, or of all, for those who watch.
#[derive(Debug, Default)]
struct Kept {
    /// What came before this number is not known here.
    since: u64,
    /// The number of the last change.
    changed: u64,
    /// Up to where all is told, by the store's own count.
    at: Option<Place>,
    notices: VecDeque<Told>,
}

/// A user who is watched, or was a moment ago.
#[derive(Debug)]
pub struct Watched {
    user_id: UserId,
    kept: watch::Sender<Kept>,
    /// Rounds since anybody watched.
    idle_ticks: AtomicU32,
}

impl Watched {
    /// Who it is.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }
}

/// The hub between one store and all who watch.
#[derive(Debug)]
pub struct Feed {
    epoch: u64,
    seq: AtomicU64,
    users: RwLock<HashMap<UserId, Arc<Watched>, FixedState>>,
    /// How many users are in the map, to be asked without a lock.
    users_count: AtomicUsize,
    everybody: watch::Sender<Kept>,
    room: Arc<Semaphore>,
    month: Mutex<Option<Month>>,
    ends: Mutex<BTreeMap<(Timestamp, u64), CancellationToken>>,
    closed: CancellationToken,
    post: Post,
}

impl Feed {
    /// A feed that nobody watches yet; `epoch` is another one at each start of a store.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            seq: AtomicU64::new(0),
            users: RwLock::new(HashMap::with_hasher(FixedState::with_seed(epoch))),
            users_count: AtomicUsize::new(0),
            everybody: watch::Sender::default(),
            room: Arc::new(Semaphore::new(WATCHERS_MAX)),
            month: Mutex::default(),
            ends: Mutex::default(),
            closed: CancellationToken::new(),
            post: Post::default(),
        }
    }

    /// Which run of the store it is.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What wakes who sends.
    pub fn post(&self) -> &Post {
        &self.post
    }

    /// How many watch now.
    pub fn watchers(&self) -> usize {
        WATCHERS_MAX - self.room.available_permits()
    }

    /// A user, if they are watched. A store asks at the moment in which it shows a change to readers, or after it, and
    /// hands it back in [`Feed::tell`]: who began to watch before sees the change told, who begins later reads it.
    pub fn watched(&self, user_id: &UserId) -> Option<Arc<Watched>> {
        if self.users_count.load(Ordering::Acquire) == 0 {
            return None;
        }
        self.users.read().get(user_id).map(Arc::clone)
    }

    /// All users who are watched, or were a moment ago.
    pub fn all_watched(&self) -> Vec<Arc<Watched>> {
        self.users.read().values().cloned().collect()
    }

    /// Whether anybody watches everybody.
    pub fn everybody_is_watched(&self) -> bool {
        self.everybody.receiver_count() > 0
    }

    /// Whether anybody watches, so that a store need not gather what nobody hears.
    pub fn is_heard(&self) -> bool {
        self.users_count.load(Ordering::Acquire) > 0 || self.everybody.receiver_count() > 0
    }

    /// Tells those who watch. Readers must see the change by now.
    pub fn tell(&self, tidings: Tidings) {
        let Tidings { changed, notices, erased, plans, at } = tidings;
        if !self.is_heard() {
            return;
        }
        let notices: Vec<Arc<Notice>> = notices.into_iter().map(Arc::new).collect();
        for watched in &changed {
            let own = notices
                .iter()
                .filter(|notice| matches!(***notice, Notice::Alert(..)) && *notice.user_id() == watched.user_id);
            let is_erased = erased.contains(&watched.user_id);
            watched.kept.send_modify(|kept| {
                if is_erased {
                    // Of one batch it is not known which came before the erasure: the one after it is in the list of alerts.
                    kept.notices.clear();
                    self.add(kept, [], at, NOTICES_OF_USER);
                } else {
                    self.add(kept, own, at, NOTICES_OF_USER);
                }
            });
        }
        if plans {
            self.tell_all_users();
        }
        if self.everybody.receiver_count() > 0 {
            self.everybody.send_modify(|kept| {
                let is_of_erased = |notice: &Arc<Notice>| erased.contains(notice.user_id());
                kept.notices.retain(|told| !is_of_erased(&told.notice));
                self.add(kept, notices.iter().filter(|notice| !is_of_erased(notice)), at, NOTICES_OF_ALL);
            });
        }
    }

    fn add<'a>(
        &self,
        kept: &mut Kept,
        notices: impl IntoIterator<Item = &'a Arc<Notice>>,
        at: Option<Place>,
        max: usize,
    ) {
        for notice in notices {
            kept.notices.push_back(Told { seq: self.next(), at, notice: Arc::clone(notice) });
        }
        while kept.notices.len() > max {
            kept.since = kept.notices.pop_front().map_or(kept.since, |told| told.seq);
        }
        kept.at = at.or(kept.at);
        kept.changed = self.next();
    }

    fn tell_all_users(&self) {
        for watched in self.users.read().values() {
            watched.kept.send_modify(|kept| kept.changed = self.next());
        }
    }

    fn next(&self) -> u64 {
        self.seq.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Begins to watch a user, after `after` if it is known here, else from now. `of_user_max` is how many may watch this
    /// one user.
    ///
    /// # Errors
    /// When too many watch.
    pub fn watch_user(
        &self,
        user_id: &UserId,
        after: Option<Place>,
        of_user_max: usize,
    ) -> Result<Watching, TooManyWatch> {
        let permit = self.permit()?;
        let mut users = self.users.write();
        let watched = users.entry(user_id.clone()).or_insert_with(|| {
            let begun = self.next();
            let kept = watch::Sender::new(Kept { since: begun, changed: begun, ..Kept::default() });
            Arc::new(Watched { user_id: user_id.clone(), kept, idle_ticks: AtomicU32::new(0) })
        });
        if watched.kept.receiver_count() >= of_user_max {
            return Err(TooManyWatch);
        }
        watched.idle_ticks.store(0, Ordering::Relaxed);
        let receiver = watched.kept.subscribe();
        self.users_count.store(users.len(), Ordering::Release);
        drop(users);
        let seen = {
            let kept = receiver.borrow();
            after
                .filter(|place| place.epoch == self.epoch && (kept.since..=kept.changed).contains(&place.seq))
                .map(|place| place.seq)
        };
        Ok(Watching { receiver, seen, _permit: permit })
    }

    /// Begins to watch everybody, from now.
    ///
    /// # Errors
    /// When too many watch.
    pub fn watch_everybody(&self) -> Result<Watching, TooManyWatch> {
        let permit = self.permit()?;
        let receiver = self.everybody.subscribe();
        // While nobody watched, nothing was counted.
        self.everybody.send_modify(|kept| kept.changed = self.next());
        Ok(Watching { receiver, seen: None, _permit: permit })
    }

    /// The number of the last change of anything, while somebody watches everybody.
    pub fn last_change(&self) -> u64 {
        self.everybody.borrow().changed
    }

    fn permit(&self) -> Result<OwnedSemaphorePermit, TooManyWatch> {
        Arc::clone(&self.room).try_acquire_owned().map_err(|_| TooManyWatch)
    }

    /// What ends when the feed is closed, or at `until` on the wall clock, whichever is first.
    pub fn ending(self: &Arc<Self>, until: Option<Timestamp>) -> Ending {
        let token = self.closed.child_token();
        let key = until.map(|until| (until, self.next()));
        if let Some(key) = key {
            self.ends.lock().insert(key, token.clone());
        }
        Ending { feed: Arc::clone(self), key, token }
    }

    /// Looks at the clocks, a few times a second: at the turn of a month by the store's clock every budget is another
    /// one, and by the wall clock some must not watch any longer.
    pub fn tick(&self, now: Timestamp, wall: Timestamp) {
        let before = self.month.lock().replace(now.month());
        if before.is_some_and(|before| before != now.month()) {
            self.tell_all_users();
            self.everybody.send_modify(|kept| kept.changed = self.next());
        }
        let mut ends = self.ends.lock();
        while let Some(entry) = ends.first_entry().filter(|entry| entry.key().0 <= wall) {
            entry.remove().cancel();
        }
        drop(ends);
        self.post.tick(wall);
        self.forget_unwatched();
    }

    fn forget_unwatched(&self) {
        if self.users_count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut idle = 0;
        let mut due = false;
        for watched in self.users.read().values().filter(|watched| watched.kept.receiver_count() == 0) {
            idle += 1;
            due |= watched.idle_ticks.fetch_add(1, Ordering::Relaxed) >= TICKS_REMEMBERED;
        }
        if due || idle > REMEMBERED_MAX {
            let mut users = self.users.write();
            users.retain(|_, watched| {
                let idles = watched.idle_ticks.load(Ordering::Relaxed) > TICKS_REMEMBERED || idle > REMEMBERED_MAX;
                watched.kept.receiver_count() > 0 || !idles
            });
            self.users_count.store(users.len(), Ordering::Release);
        }
    }

    /// Ends all watching, and what begins to watch from now on.
    pub fn close(&self) {
        self.closed.cancel();
    }
}

/// What somebody who watches has not taken yet.
#[derive(Debug, Default)]
pub struct News {
    /// What happened since.
    pub notices: Vec<Told>,
    /// Up to where all is told, where the store itself counts.
    pub at: Option<Place>,
    /// The number of the last change, if there was one since.
    pub changed: Option<u64>,
}

/// Somebody who watches, until it is dropped.
#[derive(Debug)]
pub struct Watching {
    receiver: watch::Receiver<Kept>,
    /// The number of what was taken last; none before the first.
    seen: Option<u64>,
    _permit: OwnedSemaphorePermit,
}

impl Watching {
    /// Until there is something to take; at once at the beginning, unless it goes on where it was.
    pub async fn changed(&mut self) {
        let seen = self.seen;
        // Its sender lives as long as it is watched.
        let _ = self.receiver.wait_for(|kept| seen.is_none_or(|seen| kept.changed > seen)).await;
    }

    /// Takes what there is. The state that is read after it is as new as what was taken, or newer.
    pub fn take(&mut self) -> News {
        let kept = self.receiver.borrow_and_update();
        let Some(seen) = self.seen.replace(kept.changed) else {
            return News { changed: Some(kept.changed), ..News::default() };
        };
        let since = |told: &&Told| told.seq > seen;
        News {
            at: kept.at,
            notices: kept.notices.iter().filter(since).cloned().collect(),
            changed: (kept.changed > seen).then_some(kept.changed),
        }
    }
}

/// What tells a watcher to end.
#[derive(Debug)]
pub struct Ending {
    feed: Arc<Feed>,
    key: Option<(Timestamp, u64)>,
    token: CancellationToken,
}

impl Ending {
    /// Until it is time to end.
    pub async fn come(&self) {
        self.token.cancelled().await;
    }

    /// Whether it is.
    pub fn has_come(&self) -> bool {
        self.token.is_cancelled()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let Some(key) = &self.key {
            self.feed.ends.lock().remove(key);
        }
    }
}

#[cfg(test)]
mod tests;

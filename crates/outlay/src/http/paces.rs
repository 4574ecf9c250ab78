//! When the users of a list will meet a limit, at the cost of a look into memory.
//!
//! How somebody goes on follows from months of days, which are too many to read for each row of a list. So that is read once
//! a day for each user who is listed, and kept; what is used since then moves the day on which a limit is met. A page waits a
//! moment for what it is the first to ask; what comes later stands there when it is asked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use outlay_core::collections::Map;
use outlay_core::id::UserNo;
use outlay_core::ledger::budget;
use outlay_core::month::{Day, Timestamp};
use outlay_core::plan::{Limit, Meter, PerMeter, Plans};
use outlay_core::user::User;
use parking_lot::Mutex;

use super::SharedApp;
use crate::forecast::users::{Known, days_until, months, paces};
use crate::store::{StoreError, UserItem};
use crate::web::parts::LimitAhead;

/// How long a page waits for what nobody asked for before.
const WAIT: Duration = Duration::from_millis(10);
/// Users whose pace is kept, at most; at some hundred bytes each.
const KEPT_MAX: usize = 20_000;

/// What will have been used of each meter by the end of each day from today on.
type Pace = PerMeter<Option<Vec<f64>>>;

/// The paces of those who were listed today.
#[derive(Debug, Default)]
pub struct Paces {
    kept: Mutex<Kept>,
    /// One at a time: a page that finds it at work shows what there is.
    is_learning: AtomicBool,
}

#[derive(Debug, Default)]
struct Kept {
    day: Option<Day>,
    /// By number, which nobody else ever has: an erased user's is not asked for again, and names nobody.
    users: Map<UserNo, Arc<Pace>>,
}

impl Paces {
    fn known(&self, no: UserNo, day: Day) -> Option<Arc<Pace>> {
        let kept = self.kept.lock();
        kept.users.get(&no).filter(|_| kept.day == Some(day)).map(Arc::clone)
    }

    fn keep(&self, no: UserNo, day: Day, pace: Pace) {
        let mut kept = self.kept.lock();
        if kept.day != Some(day) || kept.users.len() >= KEPT_MAX {
            *kept = Kept { day: Some(day), users: Map::default() };
        }
        kept.users.insert(no, Arc::new(pace));
    }
}

/// Whoever has it learns; it ends with them, however they end.
struct Learning(SharedApp);

impl Learning {
    fn begin(app: &SharedApp) -> Option<Self> {
        let is_free = !app.paces.is_learning.swap(true, Ordering::AcqRel);
        is_free.then(|| Self(Arc::clone(app)))
    }

    /// Reads the past of each, one after the other, and keeps how they go on from this morning.
    async fn learn(self, users: Vec<(Arc<User>, PerMeter<Limit>)>, now: Timestamp) {
        for (user, limits) in users {
            if let Err(error) = self.learn_one(&user, &limits, now).await {
                tracing::warn!("failed to read how a user goes on: {error}");
                return;
            }
        }
    }

    async fn learn_one(&self, user: &User, limits: &PerMeter<Limit>, now: Timestamp) -> Result<(), StoreError> {
        let history = self.0.reads.history(&user.user_id, months(now)).await?;
        let known = Known { user: Some(user), months: &history.months, days: &history.days, now };
        self.0.paces.keep(user.no, now.day(), paces(&known, limits));
        Ok(())
    }
}

impl Drop for Learning {
    fn drop(&mut self) {
        self.0.paces.is_learning.store(false, Ordering::Release);
    }
}

/// When each of these users will first meet a limit this month, in their order; `None` where that is not likely, is not known
/// yet, or has come.
pub(super) async fn limits_ahead(app: &SharedApp, items: &[UserItem], now: Timestamp) -> Vec<Option<LimitAhead>> {
    let plans = app.reads.plans();
    let unknown: Vec<_> = items
        .iter()
        .filter(|item| !item.user.months.is_empty() && app.paces.known(item.user.no, now.day()).is_none())
        .map(|item| (Arc::clone(&item.user), limits_of(&plans, item)))
        .collect();
    if !unknown.is_empty()
        && let Some(learning) = Learning::begin(app)
    {
        // It goes on after this, for whoever asks next.
        let _ = tokio::time::timeout(WAIT, spawn(learning.learn(unknown, now))).await;
    }
    items.iter().map(|item| ahead(app, &plans, item, now)).collect()
}

#[expect(clippy::disallowed_methods, reason = "what a page did not wait for must be there for the next one")]
fn spawn(work: impl Future<Output = ()> + Send + 'static) -> tokio::task::JoinHandle<()> {
    tokio::spawn(work)
}

fn limits_of(plans: &Plans, item: &UserItem) -> PerMeter<Limit> {
    let UserItem { user, month, held } = item;
    let budget = budget(plans, Some(user), &user.user_id, month.month, &month.used, held);
    PerMeter::from_fn(|meter| budget.meters.get(meter).limit)
}

fn ahead(app: &SharedApp, plans: &Plans, item: &UserItem, now: Timestamp) -> Option<LimitAhead> {
    let pace = app.paces.known(item.user.no, now.day())?;
    let limits = limits_of(plans, item);
    let used = |meter: Meter| *item.month.used.get(meter);
    if limits.iter().any(|(meter, limit)| limit.is_some_and(|limit| limit > 0 && used(meter) >= limit)) {
        return None;
    }
    let of_meter = |(meter, limit): (Meter, &Limit)| {
        let limit = limit.filter(|limit| *limit > 0)?;
        let days = days_until(pace.get(meter).as_deref()?, meter, used(meter), limit, now)?;
        Some(LimitAhead { meter, days })
    };
    limits.iter().filter_map(of_meter).min_by_key(|ahead| ahead.days)
}

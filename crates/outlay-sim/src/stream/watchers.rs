//! Clients who watch a user's budget, leave, and come back to where they were: what they end up with equals the budget, and
//! each alert was told to them once, in its order.

use std::pin::pin;
use std::sync::Arc;

use outlay::feed::{Notice, Place, Watching};
use outlay::store::{NoticesQuery, PageOf, Reads};
use outlay_core::id::UserId;
use outlay_core::ledger::UserView;
use outlay_model::generate::Random;
use outlay_model::naive::Model;
use outlay_model::seen::{self, BudgetSeen};
use outlay_model::words::user_id;

use crate::fault::Sometimes;
use crate::oracle::{equal, read};
use crate::service::{poll, ready};

type Check = Result<(), String>;

/// How many may watch one user.
const OF_USER_MAX: usize = 16;
/// Percent of the looks at which a watcher leaves, or comes back.
const LEAVES_PERCENT: u64 = 20;
const COMES_PERCENT: u64 = 60;

/// All who watch.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    all: Vec<Watcher>,
    /// Which runs of the store have given out places.
    epochs: Vec<u64>,
}

#[derive(Debug)]
struct Watcher {
    user_id: UserId,
    /// None while it is away.
    watching: Option<Watching>,
    /// The last event that it got.
    place: Option<Place>,
    /// What it last read, and the budget that this was by the plans of then.
    read: Option<(Arc<UserView>, BudgetSeen)>,
    /// Alerts that it was told of, from the number on from which it must be.
    alerts: Vec<u64>,
    alerts_from: u64,
}

impl Watchers {
    /// One for each of so many users.
    pub(super) fn of(users: u64) -> Self {
        let watcher = |user| Watcher {
            user_id: user_id(user),
            watching: None,
            place: None,
            read: None,
            alerts: Vec::new(),
            alerts_from: 0,
        };
        Self { all: (0..users).map(watcher).collect(), epochs: Vec::new() }
    }

    /// Another process has begun: nobody watches it yet, and none of its places was given out before.
    pub(super) fn begin(&mut self, reads: &dyn Reads) -> Check {
        self.all.iter_mut().for_each(|watcher| watcher.watching = None);
        let epoch = reads.feed().epoch();
        if self.epochs.contains(&epoch) {
            return Err(format!("events of two processes have ids of the epoch {epoch}"));
        }
        self.epochs.push(epoch);
        Ok(())
    }

    /// A batch erased this user: who is told of which of its alerts depends on what came first in it.
    pub(super) fn erased(&mut self, user_id: &UserId, reads: &dyn Reads) -> Check {
        for watcher in self.all.iter_mut().filter(|watcher| watcher.user_id == *user_id) {
            watcher.count_from_now(reads)?;
        }
        Ok(())
    }

    /// They take what there is, or some of it; come, and leave.
    pub(super) fn look(
        &mut self,
        reads: &dyn Reads,
        model: &Model,
        random: &mut Random,
        sometimes: &mut Sometimes,
    ) -> Check {
        for watcher in &mut self.all {
            if watcher.watching.is_some() {
                if random.percent(LEAVES_PERCENT) {
                    // What was on its way to it, it got in part.
                    let most = usize::try_from(random.below(3)).unwrap_or(0);
                    watcher.take(reads, most, sometimes)?;
                    watcher.watching = None;
                    sometimes.saw("a watcher left");
                    continue;
                }
            } else if random.percent(COMES_PERCENT) {
                watcher.come(reads, sometimes)?;
            } else {
                continue;
            }
            watcher.take(reads, usize::MAX, sometimes)?;
            watcher.agrees(reads, model)?;
        }
        Ok(())
    }
}

impl Watcher {
    /// Alerts must be told that come after those of now.
    fn count_from_now(&mut self, reads: &dyn Reads) -> Check {
        self.alerts.clear();
        // Of everybody, for numbers are of all together, and an erased user has none.
        let page = PageOf { before: None, limit: 1 };
        let newest = read(ready(reads.alerts(NoticesQuery { user_id: None, month: None, page })))?.items;
        self.alerts_from = newest.first().map_or(0, |of| of.row.no.0) + 1;
        Ok(())
    }

    fn come(&mut self, reads: &dyn Reads, sometimes: &mut Sometimes) -> Check {
        let feed = reads.feed();
        let goes_on = self.place.is_some_and(|place| place.epoch == feed.epoch());
        let after = self.place;
        let watching = feed.watch_user(&self.user_id, after, OF_USER_MAX).map_err(|error| error.to_string())?;
        if goes_on {
            sometimes.saw("a watcher went on where it was");
        } else {
            self.count_from_now(reads)?;
            self.read = None;
            if after.is_some() {
                sometimes.saw("a watcher came back to another process");
            }
        }
        self.watching = Some(watching);
        Ok(())
    }

    /// Takes so many events, at most; reads the budget with the last of them.
    fn take(&mut self, reads: &dyn Reads, most: usize, sometimes: &mut Sometimes) -> Check {
        let Some(watching) = &mut self.watching else { return Ok(()) };
        if poll(pin!(watching.changed())).is_none() {
            return Ok(());
        }
        let epoch = reads.feed().epoch();
        let news = watching.take();
        for (got, told) in news.notices.iter().enumerate() {
            if got >= most {
                return Ok(());
            }
            if self.place.is_some_and(|place| place.epoch == epoch && place.seq >= told.seq) {
                return Err(format!("an event has the number {} after {:?}", told.seq, self.place));
            }
            self.place = Some(Place { epoch, seq: told.seq });
            match &*told.notice {
                Notice::Alert(user_id, alert) if *user_id == self.user_id => {
                    if alert.no.0 >= self.alerts_from {
                        self.alerts.push(alert.no.0);
                        sometimes.saw("a watcher was told of an alert");
                    }
                }
                other => return Err(format!("{} was told {other:?}", self.user_id.as_str())),
            }
        }
        if let Some(seq) = news.changed.filter(|_| news.notices.len() < most) {
            self.place = Some(Place { epoch, seq });
            let now = reads.now();
            let view = read(ready(reads.view(&self.user_id, now.month())))?;
            let budget = view.budget(&reads.plans(), &self.user_id, now.month(), now);
            let budget = budget.ok_or("a view lacks the month that was asked for")?;
            self.read = Some((view, seen::budget(&budget)));
        }
        Ok(())
    }

    /// What it got comes to what there is.
    fn agrees(&self, reads: &dyn Reads, model: &Model) -> Check {
        let (now, of) = (reads.now(), self.user_id.as_str());
        let mut model = model.clone();
        model.pass(now);
        let read_last = self.read.as_ref().ok_or_else(|| format!("whoever began to watch {of} was told nothing"))?;
        let (view, budget) = read_last;
        let held = view.held.at(now.month(), now);
        // What is held becomes less by itself when its time is up.
        let budget = BudgetSeen { held: seen::values(&held), ..budget.clone() };
        let expected = model.budget(model.person(of), now.month());
        equal(&format!("the budget that a watcher of {of} has"), &budget, &expected)?;
        let page = PageOf { before: None, limit: 4_000 };
        let query = NoticesQuery { user_id: Some(self.user_id.clone()), month: None, page };
        let raised = read(ready(reads.alerts(query)))?.items.into_iter().map(|of| of.row.no.0);
        let mut raised: Vec<u64> = raised.filter(|no| *no >= self.alerts_from).collect();
        raised.reverse();
        equal(&format!("the alerts that a watcher of {of} was told of"), &self.alerts, &raised)
    }
}

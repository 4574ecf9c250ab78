//! What the operator reads over all users: sorted lists, the overview, sums over sessions.

use std::collections::BTreeMap;

use outlay::store::{OverviewQuery, SessionStats, UserItem, UserSort, UsersQuery};
use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::budget::State;
use outlay_core::id::Name;
use outlay_core::money::UsdSum;
use outlay_core::month::{Day, Month};
use outlay_core::plan::Meter;
use outlay_core::session::{Session, SessionStatus};
use outlay_model::seen::BudgetSeen;

use super::{Asking, Check, all_alerts, all_denials, all_sessions};
use crate::oracle::{equal, read};
use crate::service::ready;

const SORTS: [UserSort; 6] =
    [UserSort::Cost, UserSort::Percent, UserSort::AiRuns, UserSort::ApiRuns, UserSort::LastSeen, UserSort::UserId];

/// Users in the overview's list of those who cost most.
const TOP_USERS: usize = 10;

/// A user as a sorted list must show them.
struct Listed {
    id: String,
    budget: BudgetSeen,
    active: bool,
}

impl Asking<'_> {
    /// Everybody who is known, by id.
    fn known(&self, month: Month) -> Vec<Listed> {
        let people = self.model.people.iter().enumerate().filter(|(_, person)| !person.erased);
        let mut known: Vec<Listed> = people
            .map(|(at, person)| Listed {
                id: person.id.clone(),
                budget: self.model.budget(Some(at), month),
                active: self.model.months_of(at).contains(&month),
            })
            .collect();
        known.sort_by(|a, b| a.id.cmp(&b.id));
        known
    }

    /// A sorted list of users, with filters, page by page.
    pub(super) fn users(&mut self) -> Check {
        let month = self.month();
        let (sort, descending) = (self.random.pick(&SORTS), self.random.percent(50));
        let (active, state) = (self.random.percent(30), self.maybe(&State::ALL));
        let plans: Vec<Name> = self.reads.plans().all().iter().map(|plan| plan.name.clone()).collect();
        let plan = self.maybe(&plans);
        let prefix = self.maybe(&["u", "user", "user1", "x"]).map(str::to_owned);
        let mut found: Vec<UserItem> = Vec::new();
        let mut after = None;
        loop {
            let limit = usize::try_from(1 + self.random.below(4)).unwrap_or(1);
            let (plan, prefix) = (plan.clone(), prefix.clone());
            let query = UsersQuery { month, sort, descending, active, state, plan, prefix, after, limit };
            let page = read(ready(self.reads.users(query)))?;
            if page.items.len() > limit || (page.next.is_some() && page.items.len() < limit) {
                return Err(format!("a page of {limit} users has {}, and goes on: {:?}", page.items.len(), page.next));
            }
            found.extend(page.items);
            after = page.next;
            if after.is_none() {
                break;
            }
            self.sometimes.saw("a sorted list of users had several pages");
        }
        self.sometimes.saw("users were asked sorted");
        let mut expected = self.known(month);
        expected.retain(|user| {
            (!active || user.active)
                && state.is_none_or(|state| state_of(&user.budget) == state)
                && plan.as_ref().is_none_or(|plan| user.budget.plan == plan.as_str())
                && prefix.as_ref().is_none_or(|prefix| user.id.starts_with(prefix.as_str()))
        });
        // When somebody was seen last is not known to the model; that a list follows it is.
        let last_seen = |id: &str| {
            let item = found.iter().find(|item| item.user.user_id.as_str() == id)?;
            item.month.last_updated_at.map(|at| at.nanos())
        };
        let key = |user: &Listed| match sort {
            UserSort::Cost => user.budget.used[0],
            UserSort::AiRuns => user.budget.used[1],
            UserSort::ApiRuns => user.budget.used[2],
            UserSort::Percent => percent_of(&user.budget),
            UserSort::LastSeen => last_seen(&user.id).unwrap_or(0),
            UserSort::UserId => 0,
        };
        expected.sort_by(|a, b| {
            let by_key = if descending { key(b).cmp(&key(a)) } else { key(a).cmp(&key(b)) };
            by_key.then_with(|| match sort {
                UserSort::UserId if descending => b.id.cmp(&a.id),
                _ => a.id.cmp(&b.id),
            })
        });
        let ids: Vec<&str> = found.iter().map(|item| item.user.user_id.as_str()).collect();
        let expected_ids: Vec<&str> = expected.iter().map(|user| user.id.as_str()).collect();
        let what = format!("users of {month:?} by {sort:?}, {descending}, {active}, {state:?}, {plan:?}, {prefix:?}");
        equal(&what, &ids, &expected_ids)?;
        for (item, user) in found.iter().zip(&expected) {
            let used = Meter::ALL.map(|meter| i128::from(*item.month.used.get(meter)));
            let held = Meter::ALL.map(|meter| i128::from(*item.held.get(meter)));
            equal(&format!("what {} used and holds", user.id), &(used, held), &(user.budget.used, user.budget.held))?;
        }
        Ok(())
    }

    /// What the operator sees of a month.
    pub(super) fn overview(&mut self) -> Check {
        let (month, newest) = (self.month(), usize::try_from(self.random.below(4)).unwrap_or(0));
        let months_before = u32::try_from(self.random.below(3)).unwrap_or(0);
        let overview = read(ready(self.reads.overview(OverviewQuery { month, months_before, newest })))?;
        self.sometimes.saw("an overview was asked");
        let from = month.minus(months_before);
        let mut days: BTreeMap<(Day, Dimensions), Sums> = BTreeMap::new();
        for place in 0..self.model.operations.len() {
            let (at, dimensions, sums) = self.model.sums(place);
            if (from..=month).contains(&at.month()) {
                let of_day = days.entry((at.day(), dimensions)).or_default();
                *of_day = of_day.and(&sums);
            }
        }
        let found: BTreeMap<_, _> = overview.days.iter().map(|(day, of, sums)| ((*day, of.clone()), *sums)).collect();
        equal("how many sums an overview has", &overview.days.len(), &found.len())?;
        equal("the days of an overview", &found, &days)?;
        let known = self.known(month);
        let active: Vec<&Listed> = known.iter().filter(|user| user.active).collect();
        let of_month = |person: &usize| self.model.months_of(*person).contains(&month);
        let all_active = (0..self.model.people.len()).filter(of_month).count();
        let counts = [overview.active_users, overview.active_users + overview.erased_users];
        equal("how many are active", &counts, &[active.len() as u64, all_active as u64])?;
        if overview.erased_users > 0 {
            self.sometimes.saw("an overview had an erased user in it");
        }
        if let Some(before) = month.before() {
            let active_before = self.known(before).iter().filter(|user| user.active).count();
            equal("how many were active", &overview.active_users_before, &(active_before as u64))?;
        }
        let states =
            State::ALL.map(|state| active.iter().filter(|user| state_of(&user.budget) == state).count() as u64);
        equal("the states of an overview", &overview.states, &states)?;
        let mut top: Vec<(i128, &str)> = active.iter().map(|user| (-user.budget.used[0], user.id.as_str())).collect();
        top.sort_unstable();
        top.truncate(TOP_USERS);
        let found: Vec<&str> = overview.top_users.iter().map(|item| item.user.user_id.as_str()).collect();
        equal("who costs most", &found, &top.into_iter().map(|(_, id)| id).collect())?;
        let held = Meter::ALL.map(|meter| *overview.held.get(meter));
        let now = self.known(self.now.month());
        let expected =
            now.iter().fold([0; 3], |all, user| std::array::from_fn(|meter| all[meter] + user.budget.held[meter]));
        equal("what all hold", &held, &expected)?;
        let sessions = all_sessions(self.reads)?;
        let open = sessions.iter().filter(|of| of.row.status == SessionStatus::InProgress).count();
        equal("how many sessions are open", &overview.open_sessions, &(open as u64))?;
        let mut alerts = all_alerts(self.reads)?;
        alerts.retain(|of| of.row.month == month);
        alerts.truncate(newest);
        equal("the newest alerts", &overview.alerts, &alerts)?;
        let mut denials = all_denials(self.reads)?;
        denials.retain(|of| of.row.recorded_at.month() == month);
        denials.truncate(newest);
        equal("the newest denials", &overview.denials, &denials)
    }

    /// Sums over the sessions that were opened since a day.
    pub(super) fn session_stats(&mut self) -> Check {
        let sessions: Vec<Session> = all_sessions(self.reads)?.into_iter().map(|of| of.row).collect();
        let days: Vec<Day> = sessions.iter().map(|session| session.created_at.day()).collect();
        let since = self.maybe(&days).unwrap_or(Day::new(self.now.month().minus(2), 1));
        let mut expected: BTreeMap<String, SessionStats> = BTreeMap::new();
        for session in sessions.iter().filter(|session| session.created_at.day() >= since) {
            let stats = expected.entry(session.feature.as_str().to_owned()).or_insert_with(|| SessionStats {
                feature: session.feature.clone(),
                count: [0; 4],
                cost: UsdSum::ZERO,
                steps: 0,
                duration_ms: 0,
            });
            stats.count[match session.status {
                SessionStatus::InProgress => 0,
                SessionStatus::Completed => 1,
                SessionStatus::Failed => 2,
                SessionStatus::Abandoned => 3,
            }] += 1;
            stats.cost = stats.cost.and(session.total_cost);
            stats.steps += session.steps;
            let lasted = session.completed_at.map_or(0, |end| end.nanos() - session.created_at.nanos());
            stats.duration_ms += u64::try_from(lasted.max(0) / 1_000_000).unwrap_or(0);
        }
        self.sometimes.saw("sums over sessions were asked");
        let found = read(ready(self.reads.session_stats(since)))?;
        equal(&format!("sessions since {since:?}"), &found, &expected.into_values().collect())
    }
}

/// The worst state of the meters: at 80, 95 and 100 percent of a limit, and always at a limit of 0.
fn state_of(budget: &BudgetSeen) -> State {
    let taken = |meter: usize| (budget.used[meter] + budget.held[meter]) * 100;
    let worst = |percent: i128| {
        (0..3).any(|meter| budget.limits[meter].is_some_and(|limit| limit == 0 || taken(meter) >= limit * percent))
    };
    match () {
        () if worst(100) => State::Reached,
        () if worst(95) => State::Critical,
        () if worst(80) => State::Warning,
        () => State::Ok,
    }
}

/// The highest percentage of a limit in hundredths, half to even; 0 where nothing is limited.
fn percent_of(budget: &BudgetSeen) -> i128 {
    let of_meter = |meter: usize| {
        let (taken, limit) = (budget.used[meter] + budget.held[meter], budget.limits[meter]?);
        if limit == 0 {
            return Some(10_000);
        }
        let (whole, rest) = ((taken * 10_000).div_euclid(limit), (taken * 10_000).rem_euclid(limit));
        Some(whole + i128::from(rest * 2 > limit || (rest * 2 == limit && whole % 2 != 0)))
    };
    (0..3).filter_map(of_meter).max().unwrap_or(0)
}

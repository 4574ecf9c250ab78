//! Every read, compared with a naive look through all rows.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use outlay_core::alert::Alert;
use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::budget::{Budget, State};
use outlay_core::denial::Denial;
use outlay_core::id::{Name, OperationId, OperationNo, SessionId, UserId, UserNo};
use outlay_core::ledger::Now;
use outlay_core::money::UsdSum;
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::{Operation, Tokens, UsageType};
use outlay_core::plan::{PerMeter, Plans};
use outlay_core::session::{Session, SessionStatus};
use outlay_core::user::{User, UserMonth};

use super::commands::{PLANS, Random, USERS};
use super::rows::Rows;
use crate::store::{
    ExportAt, Exported, NoticesQuery, Of, OverviewQuery, Page, PageOf, PersonQuery, Reads, SessionStats, SessionsQuery,
    StoreError, UsageQuery, UserItem, UserSort, UsersQuery,
};

/// What was recorded, and a store that must read the same.
#[derive(Clone, Copy)]
pub(crate) struct Case<'a> {
    pub(crate) rows: &'a Rows,
    pub(crate) plans: &'a Plans,
    pub(crate) now: Timestamp,
    pub(crate) reads: &'a dyn Reads,
    /// Whether the store keeps one order, in which everybody's rows are numbered.
    pub(crate) one_order: bool,
    /// The tokens of operations that were emptied: the sums still have them.
    pub(crate) untold: &'a BTreeMap<OperationNo, Tokens>,
}

/// Limits of pages.
const LIMITS: [usize; 5] = [1, 2, 7, 50, 1_000];

/// All pages of a list from a number on; in one order the numbers go down.
pub(crate) async fn pages<T, F>(
    in_order: bool,
    limit: usize,
    before: Option<u64>,
    mut list: impl FnMut(PageOf) -> F,
) -> Vec<T>
where
    F: Future<Output = Result<Page<T>, StoreError>>,
{
    let mut items = Vec::new();
    let mut before = before;
    loop {
        let page = list(PageOf { before, limit }).await.unwrap();
        assert!(page.items.len() <= limit, "a page has at most its limit");
        items.extend(page.items);
        let Some(next) = page.next else { return items };
        assert!(before.is_none_or(|before| if in_order { next < before } else { next != before }), "it goes further");
        before = Some(next);
    }
}

impl Case<'_> {
    /// Compares some reads of each kind.
    pub(crate) async fn compare(&self, random: &mut Random) {
        for _ in 0..5 {
            self.usage(random).await;
            self.sessions(random).await;
            self.denials(random).await;
            self.alerts(random).await;
            self.users(random).await;
            self.steps(random).await;
        }
        let user_id = random.user();
        self.single_rows(random, &user_id).await;
        self.history(random, &user_id).await;
        self.export(&user_id).await;
        self.person(random, &user_id).await;
        self.overview(random).await;
        self.users_on_plan(random).await;
        self.session_stats(random).await;
        self.users_by_plan().await;
        assert_eq!(*self.reads.plans(), *self.plans);
        let (status, rows) = (self.reads.status(), self.rows);
        let users = rows.users.len() + rows.erased.len();
        assert_eq!((status.operations, status.users), (rows.operations.len() as u64, users as u64));
        assert_eq!((status.sessions, status.not_ready), (rows.sessions.len() as u64, None));
    }

    fn month(&self, random: &mut Random) -> Month {
        self.now.month().minus(random.pick(&[0, 0, 0, 1, 1, 2, 13, 14, 20]))
    }

    /// A place in a list: most often at its beginning, else at any number, whosever row that is.
    fn before(random: &mut Random, end: u64) -> Option<u64> {
        random.maybe(40, |random| random.pick(&[random.clone().below(end + 2), end / 2, end, u64::MAX, 0]))
    }

    /// The same for a list of a user or of everybody. Everybody's rows, where they are in several orders, go on from a row.
    fn place<K: Ord, T, P: Fn(&T) -> (Timestamp, u64)>(
        &self,
        random: &mut Random,
        user_id: Option<&UserId>,
        rows: &BTreeMap<K, T>,
        place: P,
    ) -> (Option<u64>, impl Fn(&T) -> bool + use<K, T, P>) {
        let last = rows.values().map(|row| place(row).1).max().unwrap_or(0);
        let in_order = self.one_order || user_id.is_some();
        let before = if in_order {
            Self::before(random, last + 1)
        } else {
            let numbers: Vec<u64> = rows.values().map(|row| place(row).1).collect();
            random.maybe(40, |random| if numbers.is_empty() { u64::MAX } else { random.pick(&numbers) })
        };
        let row = rows.values().map(&place).find(|(_, no)| !in_order && Some(*no) == before);
        let keep = move |row_of: &T| match row {
            Some(row) => place(row_of) < row,
            None => before.is_none_or(|before| place(row_of).1 < before),
        };
        (before, keep)
    }

    fn user_no(&self, user_id: &UserId) -> Option<UserNo> {
        self.rows.user_nos.get(user_id).copied()
    }

    fn user_id(&self, no: UserNo) -> Option<UserId> {
        self.rows.users.get(&no).map(|user| user.user_id.clone())
    }

    async fn usage(&self, random: &mut Random) {
        let query = UsageQuery {
            user_id: random.user(),
            month: random.maybe(40, |random| self.month(random)),
            feature: random.maybe(30, Random::feature),
            usage_type: random.maybe(30, |random| random.pick(&[UsageType::Ai, UsageType::Api])),
            session_id: random.maybe(30, Random::session),
            page: PageOf { before: None, limit: 1 },
        };
        let last = self.rows.operations.last_key_value().map_or(0, |(no, _)| no.0);
        let before = Self::before(random, last + 1);
        let read =
            pages(true, random.pick(&LIMITS), before, |page| self.reads.usage(UsageQuery { page, ..query.clone() }))
                .await;
        let user_no = self.user_no(&query.user_id);
        let expected = self.rows.operations.values().rev().filter(|row| {
            Some(row.user_no) == user_no
                && before.is_none_or(|before| row.no.0 < before)
                && query.month.is_none_or(|month| row.month() == month)
                && query.feature.as_ref().is_none_or(|feature| row.feature == *feature)
                && query.usage_type.is_none_or(|usage_type| row.usage_type == usage_type)
                && query.session_id.as_ref().is_none_or(|id| row.session.as_ref().is_some_and(|(_, of)| of == id))
        });
        assert_eq!(read, expected.cloned().collect::<Vec<_>>(), "{query:?} before {before:?}");
    }

    /// Rows of everybody or of one user, the newest first, with whom they are of. What is kept of an erased user's is their number.
    fn of<'r, T: Clone + 'r>(
        &self,
        rows: impl Iterator<Item = &'r T>,
        user_id: Option<&UserId>,
        user_no: impl Fn(&T) -> UserNo,
        place: impl Fn(&T) -> (Timestamp, u64),
        keep: impl Fn(&T) -> bool,
    ) -> Vec<Of<T>> {
        newest(rows, place, keep)
            .into_iter()
            .map(|row| Of { user_id: self.user_id(user_no(&row)), row })
            .filter(|of| user_id.is_none() || of.user_id.as_ref() == user_id)
            .collect()
    }

    async fn sessions(&self, random: &mut Random) {
        let time = |random: &mut Random| self.now.plus_seconds(-i64::try_from(random.below(800_000)).unwrap());
        let query = SessionsQuery {
            user_id: random.maybe(60, Random::user),
            status: random.maybe(40, |random| random.pick(&SessionStatus::ALL)),
            feature: random.maybe(30, Random::feature),
            from: random.maybe(20, time),
            to: random.maybe(20, time),
            page: PageOf { before: None, limit: 1 },
        };
        let place = |row: &Session| (row.created_at, row.no.0);
        let (before, goes_on) = self.place(random, query.user_id.as_ref(), &self.rows.sessions, place);
        let in_order = self.one_order || query.user_id.is_some();
        let read = pages(in_order, random.pick(&LIMITS), before, |page| {
            self.reads.sessions(SessionsQuery { page, ..query.clone() })
        })
        .await;
        let rows = self.rows.sessions.values();
        let expected = self.of(
            rows,
            query.user_id.as_ref(),
            |row| row.user_no,
            place,
            |row| {
                goes_on(row)
                    && query.status.is_none_or(|status| row.status == status)
                    && query.feature.as_ref().is_none_or(|feature| row.feature == *feature)
                    && query.from.is_none_or(|from| row.created_at >= from)
                    && query.to.is_none_or(|to| row.created_at < to)
            },
        );
        assert_same(&read, &expected, |row: &Session| row.no.0, &format!("{query:?} before {before:?}"));
    }

    fn notices(&self, random: &mut Random) -> NoticesQuery {
        NoticesQuery {
            user_id: random.maybe(60, Random::user),
            month: random.maybe(40, |random| self.month(random)),
            page: PageOf { before: None, limit: 1 },
        }
    }

    async fn denials(&self, random: &mut Random) {
        let query = self.notices(random);
        let place = |row: &Denial| (row.recorded_at, row.no.0);
        let (before, goes_on) = self.place(random, query.user_id.as_ref(), &self.rows.denials, place);
        let in_order = self.one_order || query.user_id.is_some();
        let read = pages(in_order, random.pick(&LIMITS), before, |page| {
            self.reads.denials(NoticesQuery { page, ..query.clone() })
        })
        .await;
        let rows = self.rows.denials.values();
        let expected = self.of(
            rows,
            query.user_id.as_ref(),
            |row| row.user_no,
            place,
            |row| goes_on(row) && query.month.is_none_or(|month| row.recorded_at.month() == month),
        );
        assert_same(&read, &expected, |row: &Denial| row.no.0, &format!("{query:?} before {before:?}"));
    }

    async fn alerts(&self, random: &mut Random) {
        let query = self.notices(random);
        let place = |row: &Alert| (row.recorded_at, row.no.0);
        let (before, goes_on) = self.place(random, query.user_id.as_ref(), &self.rows.alerts, place);
        let in_order = self.one_order || query.user_id.is_some();
        let read = pages(in_order, random.pick(&LIMITS), before, |page| {
            self.reads.alerts(NoticesQuery { page, ..query.clone() })
        })
        .await;
        let rows = self.rows.alerts.values();
        let expected = self.of(
            rows,
            query.user_id.as_ref(),
            |row| row.user_no,
            place,
            |row| goes_on(row) && query.month.is_none_or(|month| row.month == month),
        );
        assert_same(&read, &expected, |row: &Alert| row.no.0, &format!("{query:?} before {before:?}"));
    }

    async fn single_rows(&self, random: &mut Random, user_id: &UserId) {
        let no = self.user_no(user_id);
        let operations: Vec<&Operation> = self.rows.operations.values().collect();
        if !operations.is_empty() {
            let id = random.pick(&operations).operation_id.clone();
            let read = self.reads.operation(user_id, &id).await.unwrap();
            let expected = no.and_then(|no| self.rows.operation_nos.get(&(no, id.clone())));
            assert_eq!(read, expected.map(|no| self.rows.operations[no].clone()), "{user_id:?} {id:?}");
        }
        assert_eq!(self.reads.operation(user_id, &OperationId::new("none").unwrap()).await.unwrap(), None);
        let id: SessionId = random.session();
        let read = self.reads.session(user_id, &id).await.unwrap();
        let expected = no.and_then(|no| self.rows.session_nos.get(&(no, id.clone())));
        assert_eq!(read, expected.map(|no| self.rows.sessions[no].clone()), "{user_id:?} {id:?}");

        let month = self.month(random);
        let view = self.reads.view(user_id, month).await.unwrap();
        let read = view.budget(self.plans, user_id, month, self.now);
        assert_eq!(read, Some(self.budget(user_id, month)), "{user_id:?} {month}");
        let user = view.user.as_ref().map(|user| without_tag(user));
        assert_eq!(user, no.map(|no| without_tag(&self.rows.users[&no])), "{user_id:?}");
    }

    fn budget(&self, user_id: &UserId, month: Month) -> Budget {
        let now = Now { holds: self.now, wall: self.now, entropy: 0 };
        let view = self.rows.view(self.plans, user_id, now);
        view.budget(self.plans, user_id, month, self.now).unwrap()
    }

    async fn steps(&self, random: &mut Random) {
        let sessions: Vec<&Session> = self.rows.sessions.values().collect();
        if sessions.is_empty() {
            return;
        }
        let session = random.pick(&sessions);
        let (skip, limit) = (random.below(session.steps + 2), random.pick(&[1, 3, 1_000]));
        let read = self.reads.steps(session.no, skip, limit).await.unwrap();
        let of_session = |row: &&Operation| row.session.as_ref().is_some_and(|(no, _)| *no == session.no);
        let steps = self.rows.operations.values().filter(of_session).filter(|row| row.reverses.is_none());
        let expected: Vec<Operation> = steps.skip(usize::try_from(skip).unwrap()).take(limit).cloned().collect();
        assert_eq!(read, expected, "{:?} after {skip}", session.no);
    }

    /// Sums of each day and combination of what is kept.
    fn days(&self, keep: impl Fn(&Operation) -> bool) -> Vec<(Day, Dimensions, Sums)> {
        let mut days: BTreeMap<(Day, Dimensions), Sums> = BTreeMap::new();
        for row in self.rows.operations.values().filter(|row| keep(row)) {
            let dimensions = Dimensions {
                usage_type: row.usage_type,
                feature: row.feature.clone(),
                provider: row.provider.clone(),
                model: row.model.clone(),
            };
            let sums = days.entry((row.timestamp.day(), dimensions)).or_default();
            let tokens = row.tokens.or_else(|| self.untold.get(&row.no).copied());
            *sums = sums.and(&Sums::of(&Operation { tokens, ..row.clone() }));
        }
        days.into_iter().map(|((day, dimensions), sums)| (day, dimensions, sums)).collect()
    }

    async fn history(&self, random: &mut Random, user_id: &UserId) {
        let last = self.month(random);
        let months = last.minus(u32::try_from(random.below(15)).unwrap())..=last;
        let read = self.reads.history(user_id, months.clone()).await.unwrap();
        let no = self.user_no(user_id);
        let expected: Vec<UserMonth> = self
            .rows
            .months
            .iter()
            .filter(|((of, month), _)| Some(*of) == no && months.contains(month))
            .map(|(_, row)| row.clone())
            .collect();
        assert_eq!(read.months, expected, "{user_id:?} {months:?}");
        let expected = self.days(|row| Some(row.user_no) == no && months.contains(&row.month()));
        assert_eq!(sorted_days(read.days), expected, "{user_id:?} {months:?}");
    }

    async fn export(&self, user_id: &UserId) {
        let mut at = Some(ExportAt::default());
        let mut read = (vec![], vec![], vec![], vec![], vec![]);
        while let Some(place) = at {
            let (rows, next) = self.reads.export(user_id, place).await.unwrap();
            for row in rows {
                match row {
                    Exported::User(row) => read.0.push(without_tag(&row)),
                    Exported::Operation(row) => read.1.push(*row),
                    Exported::Session(row) => read.2.push(*row),
                    Exported::Denial(row) => read.3.push(*row),
                    Exported::Alert(row) => read.4.push(*row),
                }
            }
            at = next;
        }
        let no = self.user_no(user_id);
        assert_eq!(read.0, no.map(|no| without_tag(&self.rows.users[&no])).into_iter().collect::<Vec<_>>());
        assert_eq!((read.1, read.2, read.3, read.4), self.newest_of(no));
    }

    /// The operations, sessions, denials and alerts of a user, each the newest first.
    fn newest_of(&self, no: Option<UserNo>) -> (Vec<Operation>, Vec<Session>, Vec<Denial>, Vec<Alert>) {
        let rows = self.rows;
        let is = |user_no| Some(user_no) == no;
        (
            newest(rows.operations.values(), |row| (row.recorded_at, row.no.0), |row| is(row.user_no)),
            newest(rows.sessions.values(), |row| (row.created_at, row.no.0), |row| is(row.user_no)),
            newest(rows.denials.values(), |row| (row.recorded_at, row.no.0), |row| is(row.user_no)),
            newest(rows.alerts.values(), |row| (row.recorded_at, row.no.0), |row| is(row.user_no)),
        )
    }

    /// All of a person at once is what is listed of them.
    async fn person(&self, random: &mut Random, user_id: &UserId) {
        let last = self.month(random);
        let months = last.minus(2)..=last;
        let usage = PageOf { before: None, limit: random.pick(&LIMITS) };
        let most = random.pick(&[0, 1, 3, 1_000]);
        let query = PersonQuery { user_id: user_id.clone(), months: months.clone(), usage, newest: most };
        let read = self.reads.person(query).await.unwrap();
        let no = self.user_no(user_id);
        assert_eq!(read.view.user.as_ref().map(|user| user.no), no);
        let history = self.reads.history(user_id, months).await.unwrap();
        assert_eq!((read.history.months, sorted_days(read.history.days)), (history.months, sorted_days(history.days)));
        let (mut usage_of_month, mut sessions, mut denials, mut alerts) = self.newest_of(no);
        usage_of_month.retain(|row| row.month() == last);
        usage_of_month.truncate(usage.limit);
        sessions.truncate(most);
        denials.truncate(most);
        alerts.truncate(most);
        assert_eq!((read.usage.items, read.sessions), (usage_of_month, sessions));
        assert_eq!((read.denials, read.alerts), (denials, alerts));
    }

    async fn overview(&self, random: &mut Random) {
        let month = self.month(random);
        let query = OverviewQuery { month, months_before: 1, newest: 3 };
        let read = self.reads.overview(query).await.unwrap();
        assert_eq!(read.as_of, self.now);
        let days = self.days(|row| row.month() == month || row.month() == month.minus(1));
        assert_eq!(sorted_days(read.days), days, "{month}");
        let mut held = PerMeter::<i128>::default();
        for session in self.rows.sessions.values().filter(|session| !session.is_due(self.now)) {
            held = PerMeter::from_fn(|meter| held.get(meter) + i128::from(*session.held().get(meter)));
        }
        assert_eq!(read.held, held, "held");
        let active = |month: Month, erased: bool| {
            let of_month = self.rows.months.keys().filter(|(_, of)| *of == month);
            of_month.filter(|(no, _)| self.user_id(*no).is_none() == erased).count() as u64
        };
        assert_eq!((read.active_users, read.erased_users), (active(month, false), active(month, true)), "{month}");
        assert_eq!(read.active_users_before, active(month.minus(1), false), "{month}");
        let mut states = [0; 4];
        let mut top = Vec::new();
        for ((no, _), row) in self.rows.months.iter().filter(|((_, of), _)| *of == month) {
            if let Some(user_id) = self.user_id(*no) {
                states[self.budget(&user_id, month).state() as usize] += 1;
                top.push((std::cmp::Reverse(row.used.cost), user_id));
            }
        }
        assert_eq!(read.states, states, "{month}");
        top.sort();
        top.truncate(10);
        let alerts = newest(self.rows.alerts.values(), |row| (row.recorded_at, row.no.0), |row| row.month == month)
            .into_iter()
            .take(3);
        let alerts: Vec<Of<Alert>> = alerts.map(|row| Of { user_id: self.user_id(row.user_no), row }).collect();
        assert_eq!(read.alerts, alerts, "{month}");
        let denials = newest(
            self.rows.denials.values(),
            |row| (row.recorded_at, row.no.0),
            |row| row.recorded_at.month() == month,
        )
        .into_iter()
        .take(3);
        let denials: Vec<Of<Denial>> = denials.map(|row| Of { user_id: self.user_id(row.user_no), row }).collect();
        assert_eq!(read.denials, denials, "{month}");
        assert_eq!(*read.plans, *self.plans);
        let items: Vec<UserItem> = top.iter().map(|(_, user_id)| self.item(user_id, month)).collect();
        assert_eq!(read.top_users.into_iter().map(item_without_tag).collect::<Vec<_>>(), items, "{month}");
    }

    fn item(&self, user_id: &UserId, month: Month) -> UserItem {
        let no = self.rows.user_nos[user_id];
        let row = self.rows.months.get(&(no, month)).cloned();
        let budget = self.budget(user_id, month);
        UserItem {
            user: Arc::new(without_tag(&self.rows.users[&no])),
            month: row.unwrap_or_else(|| UserMonth::empty(month)),
            held: PerMeter::from_fn(|meter| budget.meters.get(meter).held),
        }
    }

    async fn users(&self, random: &mut Random) {
        let sorts = [
            UserSort::Cost,
            UserSort::Percent,
            UserSort::AiRuns,
            UserSort::ApiRuns,
            UserSort::LastSeen,
            UserSort::UserId,
        ];
        let mut query = UsersQuery {
            month: self.month(random),
            sort: random.pick(&sorts),
            descending: random.percent(60),
            active: random.percent(30),
            state: random.maybe(30, |random| random.pick(&State::ALL)),
            plan: random.maybe(30, |random| Name::new(random.pick(&PLANS)).unwrap()),
            prefix: random.maybe(40, |random| {
                let id = random.pick(&USERS);
                id.chars().take(usize::try_from(random.below(3)).unwrap()).collect()
            }),
            after: None,
            limit: random.pick(&[1, 2, 3, 100]),
        };
        let mut expected = Vec::new();
        for user_id in self.rows.user_nos.keys() {
            let budget = self.budget(user_id, query.month);
            let item = self.item(user_id, query.month);
            if (query.active && item.month.operations == 0 && item.month.last_updated_at.is_none())
                || query.state.is_some_and(|state| budget.state() != state)
                || query.plan.as_ref().is_some_and(|plan| budget.plan != *plan)
                || query.prefix.as_ref().is_some_and(|prefix| !user_id.as_str().starts_with(prefix))
            {
                continue;
            }
            let percents = budget.meters.iter().filter_map(|(_, meter)| meter.percent_hundredths());
            let key: i128 = match query.sort {
                UserSort::Cost => item.month.used.cost.into(),
                UserSort::Percent => percents.max().unwrap_or(0),
                UserSort::AiRuns => item.month.used.ai_runs.into(),
                UserSort::ApiRuns => item.month.used.api_runs.into(),
                UserSort::LastSeen => item.month.last_updated_at.map_or(0, Timestamp::nanos),
                UserSort::UserId => 0,
            };
            expected.push((key, item));
        }
        expected.sort_by(|(a, of), (b, other)| {
            let by_id = of.user.user_id.cmp(&other.user.user_id);
            match (query.descending, query.sort == UserSort::UserId) {
                (true, true) => by_id.reverse(),
                (true, false) => b.cmp(a).then(by_id),
                (false, _) => a.cmp(b).then(by_id),
            }
        });
        let expected: Vec<UserItem> = expected.into_iter().map(|(_, item)| item).collect();
        let mut read = Vec::new();
        loop {
            let page = self.reads.users(query.clone()).await.unwrap();
            assert!(page.items.len() <= query.limit);
            read.extend(page.items.into_iter().map(item_without_tag));
            if page.next.is_none() {
                break;
            }
            query.after = page.next;
        }
        assert_eq!(read, expected, "{query:?}");
    }

    async fn users_on_plan(&self, random: &mut Random) {
        let plan = random.pick(self.plans.all());
        let limit = random.pick(&[1, 2, 100]);
        let mut read = vec![];
        loop {
            let after = read.last().copied().unwrap_or(UserNo(0));
            let page = self.reads.users_on_plan(plan.clone(), after, limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            read.extend(page);
        }
        let on_plan = |user: &&User| self.plans.effective(user.plan.as_ref()).is_some_and(|of| of.name == plan.name);
        let expected: Vec<UserNo> = self.rows.users.values().filter(on_plan).map(|user| user.no).collect();
        assert_eq!(read, expected, "{plan:?}");
    }

    async fn users_by_plan(&self) {
        let read: BTreeMap<_, _> = self.reads.users_by_plan().await.unwrap().into_iter().collect();
        let mut expected: BTreeMap<Option<Name>, u64> = BTreeMap::new();
        for user in self.rows.users.values() {
            *expected.entry(user.plan.clone()).or_default() += 1;
        }
        assert_eq!(read, expected);
    }

    async fn session_stats(&self, random: &mut Random) {
        let since = self.now.plus_seconds(-i64::try_from(random.below(1_000_000)).unwrap()).day();
        let read = self.reads.session_stats(since).await.unwrap();
        let mut expected: BTreeMap<Name, SessionStats> = BTreeMap::new();
        for session in self.rows.sessions.values().filter(|session| session.created_at.day() >= since) {
            let stats = expected.entry(session.feature.clone()).or_insert_with(|| SessionStats {
                feature: session.feature.clone(),
                count: [0; 4],
                cost: UsdSum::ZERO,
                steps: 0,
                duration_ms: 0,
            });
            stats.count[SessionStatus::ALL.iter().position(|status| *status == session.status).unwrap()] += 1;
            stats.cost = stats.cost.and(session.total_cost);
            stats.steps += session.steps;
            if let Some(end) = session.completed_at {
                let nanos = (end.nanos() - session.created_at.nanos()).max(0);
                stats.duration_ms += u64::try_from(nanos / 1_000_000).unwrap();
            }
        }
        assert_eq!(read, expected.into_values().collect::<Vec<_>>(), "since {since}");
    }
}

/// Compares two lists; of an erased user's row only that it is there: what names the person may be wiped already.
fn assert_same<T>(read: &[Of<T>], expected: &[Of<T>], no: impl Fn(&T) -> u64, what: &str)
where
    T: std::fmt::Debug + PartialEq,
{
    let numbers = |rows: &[Of<T>]| rows.iter().map(|of| no(&of.row)).collect::<Vec<_>>();
    assert_eq!(numbers(read), numbers(expected), "{what}");
    for (read, expected) in read.iter().zip(expected) {
        assert_eq!(read.user_id, expected.user_id, "{what}");
        assert!(expected.user_id.is_none() || read.row == expected.row, "{what}: {read:?} is not {expected:?}");
    }
}

/// What is kept of rows, the newest first: by time, and among equals by number. In one order both are the same.
fn newest<'r, T: Clone + 'r>(
    rows: impl Iterator<Item = &'r T>,
    place: impl Fn(&T) -> (Timestamp, u64),
    keep: impl Fn(&T) -> bool,
) -> Vec<T> {
    let mut kept: Vec<T> = rows.filter(|row| keep(row)).cloned().collect();
    kept.sort_by_key(|row| std::cmp::Reverse(place(row)));
    kept
}

fn sorted_days(mut days: Vec<(Day, Dimensions, Sums)>) -> Vec<(Day, Dimensions, Sums)> {
    assert!(days.is_sorted_by_key(|(day, ..)| *day), "days ascend");
    days.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    days
}

fn without_tag(user: &User) -> User {
    User { tag: 0, ..user.clone() }
}

fn item_without_tag(item: UserItem) -> UserItem {
    UserItem { user: Arc::new(without_tag(&item.user)), ..item }
}

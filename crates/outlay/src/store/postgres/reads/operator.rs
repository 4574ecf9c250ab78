//! What the operator reads over all users. Whether a user is near a limit is the core's to say: their rows are read, and
//! looked through here.

use std::collections::BTreeMap;
use std::sync::Arc;

use outlay_core::budget::{Budget, State};
use outlay_core::id::{Name, UserNo};
use outlay_core::ledger::{Held, budget};
use outlay_core::money::UsdSum;
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::plan::{PerMeter, Plan, Plans};
use outlay_core::user::{User, UserMonth};

use super::{Transaction, lists, rows};
use crate::store::postgres::codec::{self, USER_MONTH, USERS, read_all};
use crate::store::postgres::rows::{RowReader, damaged, nanos, stored};
use crate::store::postgres::shared::{Shared, read_plans};
use crate::store::postgres::statements::PLANS;
use crate::store::postgres::sums::{SessionSums, read_day};
use crate::store::{
    NoticesQuery, Overview, OverviewQuery, PageOf, SessionStats, StoreError, UserItem, UserSort, UsersAfter, UsersPage,
    UsersQuery,
};

/// Users in the overview's list of those who cost most.
const TOP_USERS: usize = 10;

async fn plans(client: &Transaction<'_>, shared: &Shared) -> Result<Arc<Plans>, StoreError> {
    Ok(read_plans(&rows(client, PLANS, &[]).await?, &shared.settings)?.1)
}

/// A user with the month that is looked at.
struct Line {
    item: UserItem,
    budget: Budget,
}

/// Users who were not erased, with a month: all, or those who have operations in it.
async fn lines(
    client: &Transaction<'_>,
    month: Month,
    active: bool,
    plans: &Plans,
    now: Timestamp,
) -> Result<Vec<Line>, StoreError> {
    let join = if active { "join" } else { "left join" };
    let sql = format!(
        "select {}, {} from users t {join} user_month m on m.bucket = t.bucket and m.user_no = t.user_no \
         and m.month = $1::int8 where t.user_id is not null",
        USERS.select("t"),
        USER_MONTH.select("m")
    );
    let found = rows(client, &sql, &[&i64::from(month.index())]).await?;
    let sql =
        format!("select {} from session t where t.due is not null and t.ask is not null", codec::SESSION.select("t"));
    let mut held: BTreeMap<UserNo, Held> = BTreeMap::new();
    for session in read_all(&rows(client, &sql, &[]).await?, codec::read_session)? {
        held.entry(session.user_no).or_default().insert(&session);
    }
    found
        .iter()
        .map(|row| {
            let mut row = RowReader::new(row);
            let user = codec::read_user(&mut row)?;
            // The row's sum.
            row.required()?;
            let row = if row.is_null() { None } else { Some(codec::read_month(&mut row)?.1) };
            let held = held.get(&user.no).map(|held| held.at(month, now)).unwrap_or_default();
            let row = row.unwrap_or_else(|| UserMonth::empty(month));
            let budget = budget(plans, Some(&user), &user.user_id, month, &row.used, &held);
            Ok(Line { item: UserItem { user: Arc::new(user), month: row, held }, budget })
        })
        .collect()
}

/// The operator's month.
pub(super) async fn overview(
    client: &Transaction<'_>,
    shared: &Shared,
    query: &OverviewQuery,
) -> Result<Overview, StoreError> {
    let OverviewQuery { month, months_before, newest } = *query;
    let as_of = shared.time();
    let plans = plans(client, shared).await?;
    // The columns of `DAY_COLUMNS`, over all buckets.
    let sql = "select t.day, t.usage_type, t.feature, t.provider, t.model, sum(t.cost), sum(t.operations)::int8, \
               sum(t.runs)::int8, sum(t.input)::int8, sum(t.output)::int8 from bucket_day t \
               where t.day between $1::int8 and $2::int8 group by 1, 2, 3, 4, 5 order by 1";
    let [first, last] =
        [Day::new(month.minus(months_before), 1), Day::new(month, 31)].map(|day| i64::from(day.index()));
    let days = read_all(&rows(client, sql, &[&first, &last]).await?, read_day)?;

    let sql = "select coalesce(sum(greatest(total_cost - drawn_cost, 0)), 0), \
               coalesce(sum(greatest(total_ai_runs - drawn_ai_runs, 0)), 0), \
               coalesce(sum(greatest(total_api_runs - drawn_api_runs, 0)), 0) \
               from session where due > $1 and ask is not null";
    let found = rows(client, sql, &[&nanos(as_of)]).await?;
    let mut row = RowReader::new(found.first().ok_or_else(|| damaged("a sum"))?);
    let held = PerMeter { cost: row.wide()?, ai_runs: row.wide()?, api_runs: row.wide()? };
    let found = rows(client, "select count(*) from session where due is not null", &[]).await?;
    let open_sessions = RowReader::new(found.first().ok_or_else(|| damaged("a count"))?).number()?;

    let mut lines = lines(client, month, true, &plans, as_of).await?;
    let active_users = lines.len() as u64;
    let (_, erased_users) = active(client, month).await?;
    let active_users_before = match month.before() {
        Some(before) => active(client, before).await?.0,
        None => 0,
    };
    let mut states = [0; 4];
    for line in &lines {
        let state = State::ALL.iter().position(|state| *state == line.budget.state());
        if let Some(count) = state.and_then(|place| states.get_mut(place)) {
            *count += 1;
        }
    }
    lines.sort_by(|a, b| {
        let by_cost = b.item.month.used.cost.cmp(&a.item.month.used.cost);
        by_cost.then_with(|| a.item.user.user_id.cmp(&b.item.user.user_id))
    });
    lines.truncate(TOP_USERS);
    let page = PageOf { before: None, limit: newest };
    let notices = NoticesQuery { user_id: None, month: Some(month), page };
    let (alerts, denials) = if newest > 0 {
        (lists::alerts(client, shared, &notices).await?.items, lists::denials(client, shared, &notices).await?.items)
    } else {
        (Vec::new(), Vec::new())
    };
    Ok(Overview {
        as_of,
        plans,
        days,
        held,
        open_sessions,
        active_users,
        erased_users,
        active_users_before,
        states,
        top_users: lines.into_iter().map(|line| line.item).collect(),
        alerts,
        denials,
    })
}

/// How many users have operations in a month: those who are still known, and those who were erased.
async fn active(client: &Transaction<'_>, month: Month) -> Result<(u64, u64), StoreError> {
    let sql = "select count(*) filter (where u.user_id is not null), count(*) filter (where u.user_id is null) \
               from user_month m join users u on u.bucket = m.bucket and u.user_no = m.user_no where m.month = $1::int8";
    let found = rows(client, sql, &[&i64::from(month.index())]).await?;
    let mut row = RowReader::new(found.first().ok_or_else(|| damaged("a count"))?);
    Ok((row.number()?, row.number()?))
}

/// A page of users.
pub(super) async fn users(
    client: &Transaction<'_>,
    shared: &Shared,
    query: &UsersQuery,
) -> Result<UsersPage, StoreError> {
    let plans = plans(client, shared).await?;
    let lines = lines(client, query.month, query.active, &plans, shared.time()).await?;
    let keeps = |line: &Line| {
        query.state.is_none_or(|state| line.budget.state() == state)
            && query.plan.as_ref().is_none_or(|plan| line.budget.plan == *plan)
            && query.prefix.as_ref().is_none_or(|prefix| line.item.user.user_id.as_str().starts_with(prefix))
    };
    let mut found: Vec<(UsersAfter, UserItem)> = lines
        .into_iter()
        .filter(keeps)
        .map(|line| {
            let key = sort_key(query.sort, &line);
            (UsersAfter { key, user_id: line.item.user.user_id.clone() }, line.item)
        })
        .collect();
    let order = |a: &UsersAfter, b: &UsersAfter| {
        let by_key = if query.descending { b.key.cmp(&a.key) } else { a.key.cmp(&b.key) };
        let by_id = match query.sort {
            UserSort::UserId if query.descending => b.user_id.cmp(&a.user_id),
            _ => a.user_id.cmp(&b.user_id),
        };
        by_key.then(by_id)
    };
    found.retain(|(place, _)| query.after.as_ref().is_none_or(|after| order(place, after).is_gt()));
    found.sort_by(|(a, _), (b, _)| order(a, b));
    let more = found.len() > query.limit;
    found.truncate(query.limit);
    let next = found.last().filter(|_| more).map(|(place, _)| place.clone());
    Ok(UsersPage { items: found.into_iter().map(|(_, item)| item).collect(), next })
}

fn sort_key(sort: UserSort, line: &Line) -> i128 {
    let used = &line.item.month.used;
    match sort {
        UserSort::Cost => used.cost.into(),
        UserSort::Percent => {
            let percents = line.budget.meters.iter().filter_map(|(_, meter)| meter.percent_hundredths());
            percents.max().unwrap_or(0)
        }
        UserSort::AiRuns => used.ai_runs.into(),
        UserSort::ApiRuns => used.api_runs.into(),
        UserSort::LastSeen => line.item.month.last_updated_at.map_or(0, Timestamp::nanos),
        UserSort::UserId => 0,
    }
}

/// Users whose effective plan this is, by number.
pub(super) async fn users_on_plan(
    client: &Transaction<'_>,
    shared: &Shared,
    plan: &Plan,
    after: UserNo,
    limit: usize,
) -> Result<Vec<UserNo>, StoreError> {
    let plans = plans(client, shared).await?;
    let sql = format!(
        "select {} from users t where t.user_no > $1 and t.user_id is not null order by t.user_no",
        USERS.select("t")
    );
    let users: Vec<User> = read_all(&rows(client, &sql, &[&stored(after.0)]).await?, codec::read_user)?;
    let on_plan = |user: &User| plans.effective(user.plan.as_ref()).is_some_and(|of| of.name == plan.name);
    Ok(users.iter().filter(|user| on_plan(user)).map(|user| user.no).take(limit).collect())
}

/// The plans that are marked.
pub(super) async fn plans_to_recheck(client: &Transaction<'_>, shared: &Shared) -> Result<Vec<Plan>, StoreError> {
    let plans = plans(client, shared).await?;
    let found = rows(client, "select name from plan where recheck order by name", &[]).await?;
    let names = found.iter().map(|row| RowReader::new(row).required_text());
    let marked = names.map(|name| Ok(plans.get(name?).cloned())).collect::<Result<Vec<_>, StoreError>>()?;
    Ok(marked.into_iter().flatten().collect())
}

/// How many users there are with each plan of their own.
pub(super) async fn users_by_plan(client: &Transaction<'_>) -> Result<Vec<(Option<Name>, u64)>, StoreError> {
    let sql = "select plan, count(*) from users where user_id is not null group by plan";
    read_all(&rows(client, sql, &[]).await?, |row| Ok((row.text()?.map(Name::from_stored), row.number()?)))
}

/// Sums over the sessions opened since a day, in the order of the features' names.
pub(super) async fn session_stats(client: &Transaction<'_>, since: Day) -> Result<Vec<SessionStats>, StoreError> {
    let sql = "select feature, status, sum(count)::int8, sum(cost), sum(steps)::int8, sum(duration_ms)::int8 \
               from session_day where day >= $1::int8 group by feature, status";
    let found = rows(client, sql, &[&i64::from(since.index())]).await?;
    let mut by_feature: BTreeMap<Name, SessionStats> = BTreeMap::new();
    for row in &found {
        let mut row = RowReader::new(row);
        let feature = Name::from_stored(row.required_text()?);
        let status = row.required()?;
        let sums = SessionSums {
            count: row.required()?,
            cost: row.wide()?,
            steps: row.required()?,
            duration_ms: row.required()?,
        };
        let stats = by_feature.entry(feature.clone()).or_insert_with(|| SessionStats {
            feature,
            count: [0; 4],
            cost: UsdSum::ZERO,
            steps: 0,
            duration_ms: 0,
        });
        let count = |of: i64| u64::try_from(of).unwrap_or(0);
        let of_status = usize::try_from(status).ok().and_then(|status| stats.count.get_mut(status));
        *of_status.ok_or_else(|| damaged("a day of sessions"))? += count(sums.count);
        stats.cost = stats.cost.and(UsdSum::from_picos(sums.cost));
        stats.steps += count(sums.steps);
        stats.duration_ms += count(sums.duration_ms);
    }
    Ok(by_feature.into_values().filter(|stats| stats.count != [0; 4]).collect())
}

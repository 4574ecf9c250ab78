//! What the operator reads over all users.

use std::collections::BTreeMap;
use std::sync::Arc;

use outlay_core::id::{Name, UserNo};
use outlay_core::money::UsdSum;
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::plan::Plan;
use outlay_core::user::UserMonth;

use super::{Snapshot, lists};
use crate::store::embedded::codec::{RowReader, read_status, stored};
use crate::store::embedded::names::Kind;
use crate::store::embedded::roster::Roster;
use crate::store::embedded::write::SessionSums;
use crate::store::embedded::{days, load};
use crate::store::{
    NoticesQuery, Overview, OverviewQuery, PageOf, SessionStats, StoreError, UserItem, UsersPage, UsersQuery,
};

/// Users in the overview's list of those who cost most.
const TOP_USERS: usize = 10;

/// The operator's month; `None` when the snapshot is older than what is in memory.
pub(super) fn overview(snapshot: &Snapshot<'_>, query: &OverviewQuery) -> Result<Option<Overview>, StoreError> {
    let OverviewQuery { month, months_before, newest } = *query;
    let before = month.before();
    let kept = &snapshot.shared.roster;
    let Some([roster, roster_before]) = kept.of(snapshot, [month, before.unwrap_or(month)])? else {
        return Ok(None);
    };
    let as_of = snapshot.shared.clock.now();
    let (connection, names) = (&snapshot.transaction, &snapshot.shared.names);
    let days = days::all_days(connection, Day::new(month.minus(months_before), 1)..=Day::new(month, 31))?;
    let days = days.into_iter().map(|(day, combination, sums)| Ok((day, combination.dimensions(names)?, sums)));
    let top_users = roster.top_by_cost(TOP_USERS).into_iter();
    let plans = Arc::new(load::plans(connection)?);
    let (active_users, erased_users) = roster.active();
    let page = PageOf { before: None, limit: newest };
    let notices = (newest > 0).then_some(NoticesQuery { user_id: None, month: Some(month), page });
    let alerts = notices.as_ref().map(|notices| lists::alerts(snapshot, notices)).transpose()?;
    let denials = notices.as_ref().map(|notices| lists::denials(snapshot, notices)).transpose()?;
    Ok(Some(Overview {
        as_of,
        days: days.collect::<Result<_, StoreError>>()?,
        held: roster.held_by_all(as_of),
        open_sessions: sessions_in_progress(connection)?,
        active_users,
        erased_users,
        active_users_before: before.map_or(0, |_| roster_before.active().0),
        states: roster.states(&plans, as_of),
        top_users: top_users.map(|no| item(snapshot, &roster, no, month, as_of)).collect::<Result<_, _>>()?,
        plans,
        alerts: alerts.map(|page| page.items).unwrap_or_default(),
        denials: denials.map(|page| page.items).unwrap_or_default(),
    }))
}

fn sessions_in_progress(connection: &rusqlite::Connection) -> Result<u64, StoreError> {
    let sql = "select count(*) from session indexed by session_due where due is not null";
    let count: i64 = connection.prepare_cached(sql)?.query_row([], |row| row.get(0))?;
    Ok(count.cast_unsigned())
}

/// A page of users; `None` when the snapshot is older than what is in memory.
pub(super) fn users(snapshot: &Snapshot<'_>, query: &UsersQuery) -> Result<Option<UsersPage>, StoreError> {
    let connection = &snapshot.transaction;
    let Some([roster]) = snapshot.shared.roster.of(snapshot, [query.month])? else {
        return Ok(None);
    };
    let now = snapshot.shared.clock.now();
    let (found, more) = roster.list(query, &load::plans(connection)?, now);
    let next = found.last().filter(|_| more).map(|(_, last)| last.clone());
    let items = found.into_iter().map(|(no, _)| item(snapshot, &roster, no, query.month, now));
    Ok(Some(UsersPage { items: items.collect::<Result<_, _>>()?, next }))
}

/// A user with the month, as the file has them.
fn item(
    snapshot: &Snapshot<'_>,
    roster: &Roster,
    no: UserNo,
    month: Month,
    now: Timestamp,
) -> Result<UserItem, StoreError> {
    let connection = &snapshot.transaction;
    let user =
        load::user(connection, no)?.ok_or_else(|| StoreError::Corrupt(format!("user {} is not stored", no.0)))?;
    let row = snapshot.month(no, month)?.unwrap_or_else(|| UserMonth::empty(month));
    Ok(UserItem { user: Arc::new(user), month: row, held: roster.held(no, now) })
}

/// Users whose effective plan this is, by number.
pub(super) fn users_on_plan(
    snapshot: &Snapshot<'_>,
    plan: &Plan,
    after: UserNo,
    limit: usize,
) -> Result<Vec<UserNo>, StoreError> {
    let plans = load::plans(&snapshot.transaction)?;
    let sql = "select no, plan from user where no > ? and user_id is not null order by no";
    let mut statement = snapshot.transaction.prepare_cached(sql)?;
    let mut rows = statement.query([stored(after.0)])?;
    let mut found = Vec::new();
    while found.len() < limit
        && let Some(row) = rows.next()?
    {
        let mut row = RowReader::new(row);
        let no = UserNo(row.number()?);
        let own = row.text()?.map(Name::from_stored);
        if plans.effective(own.as_ref()).is_some_and(|effective| effective.name == plan.name) {
            found.push(no);
        }
    }
    Ok(found)
}

/// How many users there are with each plan of their own.
pub(super) fn users_by_plan(snapshot: &Snapshot<'_>) -> Result<Vec<(Option<Name>, u64)>, StoreError> {
    let sql = "select plan, count(*) from user where user_id is not null group by plan";
    let mut statement = snapshot.transaction.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        found.push((row.text()?.map(Name::from_stored), row.number()?));
    }
    Ok(found)
}

/// Sums over the sessions opened since a day, in the order of the features' names.
pub(super) fn session_stats(snapshot: &Snapshot<'_>, since: Day) -> Result<Vec<SessionStats>, StoreError> {
    let sql = "select feature, status, count, cost, steps, duration_ms from session_day where day >= ?";
    let mut statement = snapshot.transaction.prepare_cached(sql)?;
    let mut rows = statement.query([since.index()])?;
    let mut by_feature: BTreeMap<i64, [SessionSums; 4]> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        let (feature, status) = (row.required()?, row.required()?);
        let status = usize::try_from(status).ok().filter(|_| read_status(status).is_ok());
        let sums = status.and_then(|status| by_feature.entry(feature).or_default().get_mut(status));
        sums.ok_or_else(|| StoreError::Corrupt("a day of sessions has an unknown status".to_owned()))?
            .add(&SessionSums::read(&mut row)?, 1);
    }
    let mut stats = Vec::new();
    for (feature, sums) in by_feature {
        let feature = snapshot.shared.names.text(Kind::Feature, feature)?;
        let feature = feature.ok_or_else(|| StoreError::Corrupt("a day of sessions names no feature".to_owned()))?;
        let count = |of: i64| u64::try_from(of).unwrap_or(0);
        let [in_progress, completed, failed, abandoned] = sums.map(|sums| count(sums.count));
        stats.push(SessionStats {
            feature,
            count: [in_progress, completed, failed, abandoned],
            cost: sums.iter().fold(UsdSum::ZERO, |all, sums| all.and(sums.cost)),
            steps: count(sums.iter().map(|sums| sums.steps).sum()),
            duration_ms: count(sums.iter().map(|sums| sums.duration_ms).sum()),
        });
    }
    stats.retain(|stats| stats.count != [0; 4]);
    stats.sort_by(|a, b| a.feature.cmp(&b.feature));
    Ok(stats)
}

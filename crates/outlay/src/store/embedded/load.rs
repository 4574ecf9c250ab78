//! Single rows by their keys, for the writer's books and for readers alike.

use outlay_core::denial::{Denial, REPEAT_SECONDS};
use outlay_core::id::{DenialNo, Name, OperationId, OperationNo, SessionId, SessionNo, UserId, UserNo};
use outlay_core::ledger::Numbers;
use outlay_core::month::{Month, Timestamp};
use outlay_core::operation::Operation;
use outlay_core::plan::{Limits, Plan, Plans};
use outlay_core::session::Session;
use outlay_core::user::{User, UserMonth};
use rusqlite::{Connection, OptionalExtension, Row};

use super::codec::{self, stored};
use super::names::Names;
use super::runs::RunIndex;
use crate::store::StoreError;
use crate::store::packed::changed_plans;

/// Reads at most one row through a statement that stays prepared.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl rusqlite::Params,
    read: impl FnOnce(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(read).transpose()
}

pub(super) fn user_by_id(connection: &Connection, user_id: &UserId) -> Result<Option<User>, StoreError> {
    let sql = select(codec::USER_COLUMNS, "user where user_id = ?");
    one(connection, &sql, [user_id.as_str()], codec::read_user)
}

pub(super) fn user(connection: &Connection, no: UserNo) -> Result<Option<User>, StoreError> {
    let sql = select(codec::USER_COLUMNS, "user where no = ?");
    one(connection, &sql, [stored(no.0)], codec::read_user)
}

pub(super) fn month(connection: &Connection, no: UserNo, month: Month) -> Result<Option<UserMonth>, StoreError> {
    let sql = select(codec::MONTH_COLUMNS, "user_month where month = ? and user = ?");
    one(connection, &sql, (month.index(), stored(no.0)), codec::read_month)
}

pub(super) fn session(connection: &Connection, no: SessionNo, names: &Names) -> Result<Option<Session>, StoreError> {
    let sql = select(codec::SESSION_COLUMNS, "session where no = ?");
    one(connection, &sql, [stored(no.0)], |row| codec::read_session(row, names))
}

pub(super) fn denial(connection: &Connection, no: DenialNo, names: &Names) -> Result<Option<Denial>, StoreError> {
    let sql = select(codec::DENIAL_COLUMNS, "denial where no = ?");
    one(connection, &sql, [stored(no.0)], |row| codec::read_denial(row, names))
}

pub(super) fn operation(
    connection: &Connection,
    no: OperationNo,
    names: &Names,
) -> Result<Option<Operation>, StoreError> {
    let sql = select(codec::OPERATION_COLUMNS, "operation o where o.no = ?");
    one(connection, &sql, [stored(no.0)], |row| codec::read_operation(row, names))
}

/// The operation of this id among a user's. Every candidate is compared: a collision of hashes is never a duplicate.
pub(super) fn operation_by_id(
    connection: &Connection,
    index: &RunIndex,
    user_no: UserNo,
    operation_id: &OperationId,
    names: &Names,
) -> Result<Option<Operation>, StoreError> {
    for no in index.candidates(connection, index.hash(user_no.0, operation_id.as_str()))? {
        let found = operation(connection, OperationNo(no), names)?;
        if let Some(found) = found.filter(|found| found.user_no == user_no && found.operation_id == *operation_id) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// The session of this id among a user's, compared likewise.
pub(super) fn session_by_id(
    connection: &Connection,
    index: &RunIndex,
    user_no: UserNo,
    session_id: &SessionId,
    names: &Names,
) -> Result<Option<Session>, StoreError> {
    for no in index.candidates(connection, index.hash(user_no.0, session_id.as_str()))? {
        let found = session(connection, SessionNo(no), names)?;
        if let Some(found) = found.filter(|found| found.user_no == user_no && found.session_id == *session_id) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

/// Denials that are too old to be counted up and may yet have younger ones before them: they were recorded while the wall
/// clock was behind.
const OUT_OF_ORDER_MAX: u32 = 8;

/// The newest denial of a session that is young enough to be counted up.
pub(super) fn recent_denial(
    connection: &Connection,
    user_no: UserNo,
    session_id: &SessionId,
    wall: Timestamp,
    names: &Names,
) -> Result<Option<Denial>, StoreError> {
    let mut next = user(connection, user_no)?.and_then(|user| user.last_denial);
    let mut old = 0;
    while let Some(no) = next {
        let Some(found) = denial(connection, no, names)? else { break };
        if found.recorded_at.plus_seconds(REPEAT_SECONDS) <= wall {
            old += 1;
            if old > OUT_OF_ORDER_MAX || found.session_id.as_ref() == Some(session_id) {
                break;
            }
        } else if found.session_id.as_ref() == Some(session_id) {
            return Ok(Some(found));
        }
        next = found.previous;
    }
    Ok(None)
}

/// Every session in progress that has a hold, by number.
pub(super) fn open_holds(connection: &Connection, names: &Names) -> Result<Vec<Session>, StoreError> {
    let sql = select(codec::SESSION_COLUMNS, "session where due is not null and ask is not null order by no");
    let mut statement = connection.prepare(&sql)?;
    let mut rows = statement.query([])?;
    let mut sessions = Vec::new();
    while let Some(row) = rows.next()? {
        sessions.push(codec::read_session(row, names)?);
    }
    Ok(sessions)
}

/// The numbers that come next, from the rows that are there.
pub(super) fn numbers(connection: &Connection) -> Result<Numbers, StoreError> {
    let next = |table: &str| -> Result<u64, StoreError> {
        let last: Option<i64> = connection.query_row(&format!("select max(no) from {table}"), [], |row| row.get(0))?;
        Ok(last.unwrap_or(0).cast_unsigned() + 1)
    };
    Ok(Numbers {
        user: UserNo(next("user")?),
        operation: OperationNo(next("operation")?),
        session: SessionNo(next("session")?),
        denial: DenialNo(next("denial")?),
        alert: outlay_core::id::AlertNo(next("alert")?),
        step: 1,
    })
}

pub(super) fn plans(connection: &Connection) -> Result<Plans, StoreError> {
    let mut statement = connection.prepare("select name, tier, cost, ai_runs, api_runs from plan")?;
    let plans = statement
        .query_map([], |row| {
            Ok(Plan {
                name: Name::from_stored(row.get::<_, String>(0)?),
                tier: row.get(1)?,
                limits: Limits { cost: row.get(2)?, ai_runs: row.get(3)?, api_runs: row.get(4)? },
            })
        })?
        .collect::<Result<Vec<_>, _>>()?;
    let default: Option<String> =
        connection.query_row("select value from meta where key = 'default_plan'", [], |row| row.get(0)).optional()?;
    let default = Name::from_stored(default.unwrap_or_else(|| "base".to_owned()));
    Plans::new(plans, default).map_err(|name| StoreError::Corrupt(format!("the default plan `{name}` is not stored")))
}

/// Replaces all plans, and marks those of which anything is another than before.
pub(super) fn replace_plans(connection: &Connection, plans: &Plans) -> Result<(), StoreError> {
    let before = self::plans(connection)?;
    changed_plans(&before, plans).iter().try_for_each(|name| mark_plan(connection, name))?;
    insert_plans(connection, plans)
}

/// The prefix of the keys that mark plans.
const MARK: &str = "recheck:";

/// Notes that a plan's users must be looked at.
pub(super) fn mark_plan(connection: &Connection, name: &Name) -> Result<(), StoreError> {
    connection.execute("replace into meta values (?, 1)", [format!("{MARK}{}", name.as_str())])?;
    Ok(())
}

/// Takes the mark away, if the plan is still as its users were looked at.
pub(super) fn unmark_plan(connection: &Connection, plan: &Plan) -> Result<(), StoreError> {
    if plans(connection)?.get(plan.name.as_str()) == Some(plan) {
        connection.execute("delete from meta where key = ?", [format!("{MARK}{}", plan.name.as_str())])?;
    }
    Ok(())
}

/// The plans that are marked.
pub(super) fn marked_plans(connection: &Connection) -> Result<Vec<Plan>, StoreError> {
    let plans = plans(connection)?;
    let mut statement =
        connection.prepare_cached("select substr(key, ?1 + 1) from meta where substr(key, 1, ?1) = ?2")?;
    let names = statement.query_map((stored(MARK.len() as u64), MARK), |row| row.get::<_, String>(0))?;
    let names = names.collect::<Result<Vec<_>, _>>()?;
    Ok(names.iter().filter_map(|name| plans.get(name).cloned()).collect())
}

/// Replaces all plans.
pub(super) fn insert_plans(connection: &Connection, plans: &Plans) -> Result<(), StoreError> {
    connection.execute("delete from plan", [])?;
    for plan in plans.all() {
        put_plan(connection, plan)?;
    }
    let default = plans.default_plan().as_str();
    connection.execute("replace into meta values ('default_plan', ?)", [default])?;
    Ok(())
}

pub(super) fn put_plan(connection: &Connection, plan: &Plan) -> Result<(), StoreError> {
    let limits = &plan.limits;
    connection.prepare_cached("replace into plan values (?, ?, ?, ?, ?)")?.execute((
        plan.name.as_str(),
        plan.tier,
        limits.cost,
        limits.ai_runs,
        limits.api_runs,
    ))?;
    Ok(())
}

/// `select columns from rest`.
pub(super) fn select(columns: &str, rest: &str) -> String {
    let mut sql = String::with_capacity(columns.len() + rest.len() + 16);
    sql.push_str("select ");
    sql.push_str(columns);
    sql.push_str(" from ");
    sql.push_str(rest);
    sql
}

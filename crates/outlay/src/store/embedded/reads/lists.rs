//! Lists, newest first, by the pointers that each row has to the one before it.
//!
//! A page reads at most [`ROWS_PER_PAGE_MAX`] rows: one whose filter keeps little comes short, and says where to go on.

use std::collections::BinaryHeap;

use hashbrown::HashMap;
use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::{DenialNo, OperationNo, SessionNo, UserId, UserNo};
use outlay_core::month::Month;
use outlay_core::operation::Operation;
use outlay_core::session::{Session, SessionStatus};
use outlay_core::user::User;
use rusqlite::{Connection, Row};

use super::{Candidates, Inner, Snapshot};
use crate::audit::Entry;
use crate::store::embedded::audit;
use crate::store::embedded::codec::{self, RowReader, stored};
use crate::store::embedded::load;
use crate::store::embedded::names::Kind;
use crate::store::embedded::write::STEPS_PER_PAGE;
use crate::store::{AuditQuery, NoticesQuery, Of, Page, PageOf, SessionsQuery, StoreError, UsageQuery};

/// Rows that one page looks at, so that no reader keeps the log from starting anew for long.
const ROWS_PER_PAGE_MAX: usize = 5_000;
/// Steps of a session that a list of its operations collects; beyond, it looks through the user's months instead.
const SESSION_STEPS_MAX: u64 = 5_000;

impl<T> Page<T> {
    const EMPTY: Self = Self { items: Vec::new(), next: None };
}

impl PageOf {
    /// The number below which to go on; one that no row can have is none.
    fn below(self) -> Option<u64> {
        self.before.filter(|before| i64::try_from(*before).is_ok())
    }
}

/// A user's operations: the months' chains from the newest, merged by number, or those of one session.
pub(super) fn usage(
    inner: &Inner,
    connection: &mut Connection,
    query: &UsageQuery,
) -> Result<Page<Operation>, StoreError> {
    let candidates = match &query.session_id {
        None => None,
        Some(id) => Some(Candidates::find(connection, &inner.shared.sessions, &query.user_id, id.as_str())?),
    };
    let snapshot = inner.snapshot(connection)?;
    let Some(user) = snapshot.user(&query.user_id)? else { return Ok(Page::EMPTY) };
    let session = match (candidates, &query.session_id) {
        (Some(candidates), Some(session_id)) => match snapshot.session_among(&candidates, user.no, session_id)? {
            None => return Ok(Page::EMPTY),
            session => session,
        },
        _ => None,
    };
    // A name that no row has.
    if query.feature.as_ref().is_some_and(|name| snapshot.shared.names.known(Kind::Feature, name).is_none()) {
        return Ok(Page::EMPTY);
    }
    let mut rows = match &session {
        Some(session) if session.steps <= SESSION_STEPS_MAX => {
            Rows::of_session(&snapshot, session, query.page.below())?
        }
        _ => Rows::of_months(&snapshot, &user, query.month, query.page.below())?,
    };
    page(
        query.page.limit,
        |operation: &Operation| operation.no.0,
        || rows.next(&snapshot),
        |operation| {
            query.month.is_none_or(|month| operation.month() == month)
                && query.feature.as_ref().is_none_or(|feature| operation.feature == *feature)
                && query.usage_type.is_none_or(|usage_type| operation.usage_type == usage_type)
                && session.as_ref().is_none_or(|of| operation.session.as_ref().is_some_and(|(no, _)| *no == of.no))
        },
    )
}

/// A user's operations without a filter.
pub(super) fn all_usage(snapshot: &Snapshot<'_>, user: &User, of: PageOf) -> Result<Page<Operation>, StoreError> {
    let mut rows = Rows::of_months(snapshot, user, None, of.below())?;
    page(of.limit, |operation: &Operation| operation.no.0, || rows.next(snapshot), |_| true)
}

/// A user's operations of one month.
pub(super) fn month_usage(
    snapshot: &Snapshot<'_>,
    user: &User,
    month: Month,
    of: PageOf,
) -> Result<Page<Operation>, StoreError> {
    let mut rows = Rows::of_months(snapshot, user, Some(month), of.below())?;
    page(
        of.limit,
        |operation: &Operation| operation.no.0,
        || rows.next(snapshot),
        |operation| operation.month() == month,
    )
}

/// Operations by number, the newest first.
struct Rows {
    /// The next of each chain.
    next: BinaryHeap<OperationNo>,
    /// Whether a row's own month goes on below it; otherwise all numbers are there from the start.
    chained: bool,
}

impl Rows {
    /// Of the user's months, or of one of them, below a number.
    fn of_months(
        snapshot: &Snapshot<'_>,
        user: &User,
        only: Option<Month>,
        before: Option<u64>,
    ) -> Result<Self, StoreError> {
        let connection = &snapshot.transaction;
        let mut rows = Self { next: BinaryHeap::new(), chained: true };
        // The cursor is most often a row of one of these chains, which knows where its own goes on.
        let last = match before {
            Some(before) => load::operation(connection, OperationNo(before), &snapshot.shared.names)?,
            None => None,
        };
        let last = last.filter(|last| last.user_no == user.no);
        for month in user.months.iter().filter(|month| only.is_none_or(|only| only == **month)) {
            let next = match &last {
                Some(last) if last.month() == *month => last.previous_in_month,
                _ => Self::first_of_month(snapshot, user, *month, before)?,
            };
            rows.next.extend(next);
        }
        Ok(rows)
    }

    /// The newest operation of a month below a number, by the nearest one above it that the file names.
    fn first_of_month(
        snapshot: &Snapshot<'_>,
        user: &User,
        month: Month,
        before: Option<u64>,
    ) -> Result<Option<OperationNo>, StoreError> {
        let (connection, names) = (&snapshot.transaction, &snapshot.shared.names);
        let head = || -> Result<_, StoreError> { Ok(snapshot.month(user.no, month)?.and_then(|row| row.head)) };
        let sql = "select operation from month_page where user = ? and month = ? and operation >= ? limit 1";
        let named = match before {
            None => return head(),
            Some(before) => load::one(connection, sql, (stored(user.no.0), month.index(), stored(before)), |row| {
                Ok(OperationNo(RowReader::new(row).number()?))
            })?,
        };
        // Only a row of this chain may be where it begins.
        let named = named.map(|no| load::operation(connection, no, names)).transpose()?.flatten();
        let named = named.filter(|named| named.user_no == user.no && named.month() == month);
        let above = match named {
            Some(named) => Some(named.no),
            None => head()?,
        };
        Ok(below(connection, "operation", above.map(|no| no.0), before)?.map(OperationNo))
    }

    /// Of a session, below a number: its steps, and the reversals of its steps.
    fn of_session(snapshot: &Snapshot<'_>, session: &Session, before: Option<u64>) -> Result<Self, StoreError> {
        let mut rows = Self { next: BinaryHeap::new(), chained: false };
        let sql = "select previous_step, reversed_by from operation where no = ?";
        walk(&snapshot.transaction, sql, session.last_step.map(|no| no.0), |no, row| {
            let reversed_by: Option<i64> = row.get(1)?;
            let both = [Some(no), reversed_by.map(i64::cast_unsigned)].into_iter().flatten();
            rows.next.extend(both.filter(|no| before.is_none_or(|before| *no < before)).map(OperationNo));
            Ok(true)
        })?;
        Ok(rows)
    }

    fn next(&mut self, snapshot: &Snapshot<'_>) -> Result<Option<Operation>, StoreError> {
        let Some(no) = self.next.pop() else { return Ok(None) };
        let operation = load::operation(&snapshot.transaction, no, &snapshot.shared.names)?
            .ok_or_else(|| StoreError::Corrupt(format!("operation {} is not stored", no.0)))?;
        if self.chained {
            self.next.extend(operation.previous_in_month);
        }
        Ok(Some(operation))
    }
}

/// The first number of a chain that is below `before`.
fn below(
    connection: &Connection,
    table: &str,
    head: Option<u64>,
    before: Option<u64>,
) -> Result<Option<u64>, StoreError> {
    let Some(before) = before else { return Ok(head) };
    walk(connection, &format!("select previous from {table} where no = ?"), head, |no, _| Ok(no >= before))
}

/// Walks a chain from its head by the first column that the statement reads of a row. Gives where it stopped: at the first
/// row that is not to be passed, or nowhere at the end.
fn walk(
    connection: &Connection,
    sql: &str,
    head: Option<u64>,
    mut pass: impl FnMut(u64, &Row<'_>) -> rusqlite::Result<bool>,
) -> Result<Option<u64>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut next = head;
    while let Some(no) = next {
        let row = |row: &Row<'_>| Ok((pass(no, row)?, row.get::<_, Option<i64>>(0)?));
        let (passed, previous) = statement.query_row([stored(no)], row)?;
        if !passed {
            break;
        }
        next = previous.map(i64::cast_unsigned);
    }
    Ok(next)
}

/// Collects a page from rows that come in descending order of their numbers.
fn page<T>(
    limit: usize,
    number: impl Fn(&T) -> u64,
    mut next: impl FnMut() -> Result<Option<T>, StoreError>,
    keep: impl Fn(&T) -> bool,
) -> Result<Page<T>, StoreError> {
    let mut page = Page::EMPTY;
    let mut examined = None;
    for _ in 0..ROWS_PER_PAGE_MAX {
        let Some(row) = next()? else { return Ok(page) };
        // One row beyond the page is read, to know whether there is one.
        if page.items.len() == limit {
            break;
        }
        examined = Some(number(&row));
        if keep(&row) {
            page.items.push(row);
        }
    }
    page.next = examined;
    Ok(page)
}

/// The steps of a session in order of recording: backward from the row where the page after them begins.
pub(super) fn steps(
    snapshot: &Snapshot<'_>,
    session: SessionNo,
    skip: u64,
    limit: usize,
) -> Result<Vec<Operation>, StoreError> {
    let (connection, names) = (&snapshot.transaction, &snapshot.shared.names);
    let Some(session) = load::session(connection, session, names)? else { return Ok(Vec::new()) };
    let last = session.steps.min(skip.saturating_add(limit as u64));
    if last <= skip {
        return Ok(Vec::new());
    }
    // The nearest row at or above the last step that is wanted: a page's end, or the session's newest step.
    let page = last.div_ceil(STEPS_PER_PAGE);
    let sql = "select operation from session_page where session = ? and page = ?";
    let paged: Option<i64> = load::one(connection, sql, (stored(session.no.0), stored(page)), |row| Ok(row.get(0)?))?;
    let mut next = paged.map(|no| OperationNo(no.cast_unsigned())).or(session.last_step);
    let mut steps = Vec::new();
    while let Some(no) = next {
        let step = load::operation(connection, no, names)?
            .ok_or_else(|| StoreError::Corrupt(format!("step {} of a session is not stored", no.0)))?;
        if step.step_position <= skip {
            break;
        }
        next = step.previous_in_session;
        if step.step_position <= last {
            steps.push(step);
        }
    }
    steps.reverse();
    Ok(steps)
}

/// A row of a list that has a chain per user and is numbered without gaps over all of them.
pub(super) trait Listed: Sized {
    const TABLE: &'static str;
    fn load(snapshot: &Snapshot<'_>, no: u64) -> Result<Option<Self>, StoreError>;
    /// The newest of a user.
    fn newest(user: &User) -> Option<u64>;
    fn no(&self) -> u64;
    fn user_no(&self) -> UserNo;
    /// The one before it of the same user.
    fn previous(&self) -> Option<u64>;
}

/// What the three kinds have in common but for their names.
macro_rules! listed {
    ($row:ty, $table:literal, $newest:ident, $load:expr) => {
        impl Listed for $row {
            const TABLE: &'static str = $table;

            fn load(snapshot: &Snapshot<'_>, no: u64) -> Result<Option<Self>, StoreError> {
                $load(snapshot, no)
            }

            fn newest(user: &User) -> Option<u64> {
                user.$newest.map(|no| no.0)
            }

            fn no(&self) -> u64 {
                self.no.0
            }

            fn user_no(&self) -> UserNo {
                self.user_no
            }

            fn previous(&self) -> Option<u64> {
                self.previous.map(|no| no.0)
            }
        }
    };
}

listed!(Session, "session", last_session, |snapshot: &Snapshot<'_>, no| {
    load::session(&snapshot.transaction, SessionNo(no), &snapshot.shared.names)
});
listed!(Denial, "denial", last_denial, |snapshot: &Snapshot<'_>, no| {
    load::denial(&snapshot.transaction, DenialNo(no), &snapshot.shared.names)
});
listed!(Alert, "alert", last_alert, |snapshot: &Snapshot<'_>, no| {
    let sql = load::select(codec::ALERT_COLUMNS, "alert where no = ?");
    load::one(&snapshot.transaction, &sql, [stored(no)], codec::read_alert)
});

/// One user's rows, by their chain.
pub(super) fn of_user<T: Listed>(
    snapshot: &Snapshot<'_>,
    user: &User,
    of: PageOf,
    keep: impl Fn(&T) -> bool,
) -> Result<Page<T>, StoreError> {
    // The cursor is most often a row of this chain, which knows where the chain goes on.
    let last = match of.below() {
        Some(before) => T::load(snapshot, before)?.filter(|row| row.user_no() == user.no),
        None => None,
    };
    let mut next = match last {
        Some(last) => last.previous(),
        None => below(&snapshot.transaction, T::TABLE, T::newest(user), of.below())?,
    };
    let rows = || {
        let Some(no) = next else { return Ok(None) };
        let row = existing::<T>(snapshot, no)?;
        next = row.previous();
        Ok(Some(row))
    };
    page(of.limit, T::no, rows, keep)
}

/// Everybody's rows, by number.
fn of_everybody<T: Listed>(
    snapshot: &Snapshot<'_>,
    of: PageOf,
    keep: impl Fn(&T) -> bool,
) -> Result<Page<Of<T>>, StoreError> {
    let sql = format!("select max(no) from {}", T::TABLE);
    let newest: Option<i64> = snapshot.transaction.prepare_cached(&sql)?.query_row([], |row| row.get(0))?;
    let newest = newest.unwrap_or(0).cast_unsigned();
    let mut next = of.below().map_or(newest, |before| newest.min(before.saturating_sub(1)));
    let rows = || {
        let Some(below) = next.checked_sub(1) else { return Ok(None) };
        let row = existing::<T>(snapshot, next)?;
        next = below;
        Ok(Some(row))
    };
    let page = page(of.limit, T::no, rows, keep)?;
    with_user_ids(snapshot, page)
}

fn existing<T: Listed>(snapshot: &Snapshot<'_>, no: u64) -> Result<T, StoreError> {
    T::load(snapshot, no)?.ok_or_else(|| StoreError::Corrupt(format!("{} {no} is not stored", T::TABLE)))
}

/// Says whose each row is; each user is read once.
fn with_user_ids<T: Listed>(snapshot: &Snapshot<'_>, page: Page<T>) -> Result<Page<Of<T>>, StoreError> {
    with_ids(snapshot, page, |row| Some(row.user_no()))
}

fn with_ids<T>(
    snapshot: &Snapshot<'_>,
    page: Page<T>,
    user_of: impl Fn(&T) -> Option<UserNo>,
) -> Result<Page<Of<T>>, StoreError> {
    let mut known: HashMap<UserNo, Option<UserId>, foldhash::fast::FixedState> = HashMap::default();
    let mut items = Vec::with_capacity(page.items.len());
    for row in page.items {
        let user_id = match user_of(&row) {
            None => None,
            Some(no) => {
                if let Some(user_id) = known.get(&no) {
                    user_id.clone()
                } else {
                    let sql = "select user_id from user where no = ?";
                    let user_id = load::one(&snapshot.transaction, sql, [stored(no.0)], |row| {
                        Ok(RowReader::new(row).text()?.map(UserId::from_stored))
                    })?;
                    known.entry(no).or_insert(user_id.flatten()).clone()
                }
            }
        };
        items.push(Of { user_id, row });
    }
    Ok(Page { items, next: page.next })
}

/// The audit log, the newest first.
pub(super) fn audit(snapshot: &Snapshot<'_>, query: &AuditQuery) -> Result<Page<Of<Entry>>, StoreError> {
    let user_no = match &query.user_id {
        None => query.user_no,
        Some(user_id) => match snapshot.user(user_id)? {
            Some(user) if query.user_no.is_none_or(|no| no == user.no) => Some(user.no),
            _ => return Ok(Page::EMPTY),
        },
    };
    // By number and not one by one: a row that somebody removed must not keep the others from being read.
    let sql = audit::below_sql();
    let mut statement = snapshot.transaction.prepare_cached(&sql)?;
    let before = query.page.below().map_or(i64::MAX, stored);
    let mut found = statement.query((before, stored(ROWS_PER_PAGE_MAX as u64)))?;
    let rows = || found.next()?.map(audit::read).transpose();
    let keep = |entry: &Entry| {
        user_no.is_none_or(|no| entry.user_no == Some(no))
            && query.action.is_none_or(|action| *entry.action == *action)
            && query.who.as_ref().is_none_or(|who| *entry.actor.who == **who)
            && query.from.is_none_or(|from| entry.at >= from)
            && query.to.is_none_or(|to| entry.at < to)
    };
    let page = page(query.page.limit, |entry: &Entry| entry.no, rows, keep)?;
    with_ids(snapshot, page, |entry| entry.user_no)
}

/// The rows of one user, or of everybody.
fn list<T: Listed>(
    snapshot: &Snapshot<'_>,
    user_id: Option<&UserId>,
    of: PageOf,
    keep: impl Fn(&T) -> bool,
) -> Result<Page<Of<T>>, StoreError> {
    let Some(user_id) = user_id else { return of_everybody(snapshot, of, keep) };
    let Some(user) = snapshot.user(user_id)? else { return Ok(Page::EMPTY) };
    let page = of_user(snapshot, &user, of, keep)?;
    let items = page.items.into_iter().map(|row| Of { user_id: Some(user_id.clone()), row }).collect();
    Ok(Page { items, next: page.next })
}

pub(super) fn sessions(snapshot: &Snapshot<'_>, query: &SessionsQuery) -> Result<Page<Of<Session>>, StoreError> {
    let keep = |session: &Session| {
        query.status.is_none_or(|status| session.status == status)
            && query.feature.as_ref().is_none_or(|feature| session.feature == *feature)
            && query.from.is_none_or(|from| session.created_at >= from)
            && query.to.is_none_or(|to| session.created_at < to)
    };
    if query.user_id.is_none() && query.status == Some(SessionStatus::InProgress) {
        return sessions_in_progress(snapshot, query.page, keep);
    }
    list(snapshot, query.user_id.as_ref(), query.page, keep)
}

/// Everybody's sessions in progress: there may be few among many, so they are found by their index.
fn sessions_in_progress(
    snapshot: &Snapshot<'_>,
    of: PageOf,
    keep: impl Fn(&Session) -> bool,
) -> Result<Page<Of<Session>>, StoreError> {
    let sql = "select no from session indexed by session_due where due is not null and no < ? order by no desc limit ?";
    let mut statement = snapshot.transaction.prepare_cached(sql)?;
    let before = of.below().map_or(i64::MAX, stored);
    let mut numbers = statement.query((before, stored(ROWS_PER_PAGE_MAX as u64)))?;
    let rows = || match numbers.next()? {
        None => Ok(None),
        Some(row) => existing::<Session>(snapshot, RowReader::new(row).number()?).map(Some),
    };
    let page = page(of.limit, Session::no, rows, keep)?;
    with_user_ids(snapshot, page)
}

pub(super) fn denials(snapshot: &Snapshot<'_>, query: &NoticesQuery) -> Result<Page<Of<Denial>>, StoreError> {
    list(snapshot, query.user_id.as_ref(), query.page, |denial: &Denial| {
        query.month.is_none_or(|month| denial.recorded_at.month() == month)
    })
}

pub(super) fn alerts(snapshot: &Snapshot<'_>, query: &NoticesQuery) -> Result<Page<Of<Alert>>, StoreError> {
    list(snapshot, query.user_id.as_ref(), query.page, |alert: &Alert| {
        query.month.is_none_or(|month| alert.month == month)
    })
}

//! Proves the store from its operations: every sum is added up again, every chain is followed, every row's sum is checked.
//!
//! It reads one snapshot in commit order and keeps the counters that it recounts in memory, about a hundred bytes for
//! each user and month, and for each user and day. It repairs nothing.

use std::collections::BTreeMap;
use std::fmt::{Debug, Display};

use outlay_core::alert::AlertKey;
use outlay_core::id::{OperationNo, SessionNo, UserNo};
use outlay_core::month::{Day, Month};
use outlay_core::plan::Amounts;
use outlay_core::session::SessionStatus;
use rusqlite::{Connection, Row};

use super::codec::{self, RowReader};
use super::days::{self, Days};
use super::load;
use super::reads::{Inner, Snapshot};
use super::write::{SessionSums, session_sums};
use crate::store::{Finding, StoreError};

/// More findings than these tell nothing new.
const FINDINGS_MAX: usize = 1_000;

pub(super) fn verify(inner: &Inner, connection: &mut Connection) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Findings::default();
    let snapshot = inner.snapshot(connection)?;
    check_pages(&snapshot, &mut findings)?;
    let mut recount = Recount::default();
    recount.operations(&snapshot, &mut findings)?;
    recount.compare_months(&snapshot, &mut findings)?;
    recount.compare_days(&snapshot, &mut findings)?;
    recount.compare_sessions(&snapshot, &mut findings)?;
    recount.compare_alerts(&snapshot, &mut findings)?;
    for table in ["user", "denial", "alert"] {
        check_rows(&snapshot, table, &mut findings)?;
    }
    Ok(findings.0)
}

#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, place: impl Display, problem: impl Display) {
        if self.0.len() < FINDINGS_MAX {
            self.0.push(Finding { place: place.to_string(), problem: problem.to_string() });
        }
    }

    fn compare<T: PartialEq + Debug>(&mut self, place: impl Display, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.add(place, format!("{what} should be {expected:?} and is {found:?}"));
        }
    }
}

/// What SQLite itself finds wrong with its pages.
fn check_pages(snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    let mut statement = snapshot.transaction.prepare("pragma quick_check(100)")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let problem: String = row.get(0)?;
        if problem != "ok" {
            findings.add("the file", problem);
        }
    }
    Ok(())
}

/// Rows that count up without gaps, each with its sum.
fn check_rows(snapshot: &Snapshot<'_>, table: &str, findings: &mut Findings) -> Result<(), StoreError> {
    let mut statement = snapshot.transaction.prepare(&load::select("*", &format!("{table} order by no")))?;
    let mut rows = statement.query([])?;
    let mut expected = 1;
    let mut bytes = Vec::new();
    while let Some(row) = rows.next()? {
        expected = check_row(row, table, expected, &mut bytes, findings)?;
    }
    Ok(())
}

/// Checks one row's number and sum; gives the number that comes next.
fn check_row(
    row: &Row<'_>,
    table: &str,
    expected: u64,
    bytes: &mut Vec<u8>,
    findings: &mut Findings,
) -> Result<u64, StoreError> {
    let no = RowReader::new(row).number()?;
    if no != expected {
        findings.add(format!("{table} {expected}"), "the row was removed: numbers have no gaps");
    }
    let (computed, written) = codec::sums_of(row, bytes)?;
    if computed != written {
        findings.add(format!("{table} {no}"), "a column was changed: the row does not match its sum");
    }
    Ok(no + 1)
}

#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct MonthCount {
    used: Amounts,
    operations: u64,
    head: Option<OperationNo>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct SessionCount {
    cost: i128,
    runs: i64,
    steps: u64,
    last_step: Option<OperationNo>,
}

/// The counters as the operations give them.
#[derive(Debug, Default)]
struct Recount {
    months: BTreeMap<(UserNo, Month), MonthCount>,
    days: Days,
    sessions: BTreeMap<SessionNo, SessionCount>,
}

impl Recount {
    fn operations(&mut self, snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let (connection, names) = (&snapshot.transaction, &snapshot.shared.names);
        let mut statement = connection.prepare("select * from operation order by no")?;
        let mut reversals = Vec::new();
        let mut reversed = BTreeMap::new();
        let mut rows = statement.query([])?;
        let mut expected = 1;
        let mut bytes = Vec::new();
        while let Some(row) = rows.next()? {
            expected = check_row(row, "operation", expected, &mut bytes, findings)?;
            let operation = codec::read_plain_operation(row, names)?;
            let no = operation.no;
            let place = || format!("operation {}", no.0);
            let month = self.months.entry((operation.user_no, operation.month())).or_default();
            findings.compare(
                place(),
                "the operation before it in its month",
                &month.head,
                &operation.previous_in_month,
            );
            month.head = Some(no);
            month.operations += 1;
            match month.used.checked_add(&operation.amounts()) {
                Some(used) => month.used = used,
                None => findings.add(place(), "the month's sum leaves its range"),
            }
            if let Some(session) = codec::session_of(row)? {
                let count = self.sessions.entry(session).or_default();
                count.cost += i128::from(operation.cost.picos());
                count.runs += operation.runs();
                if operation.reverses.is_none() {
                    findings.compare(place(), "the step before it", &count.last_step, &operation.previous_in_session);
                    count.steps += 1;
                    findings.compare(place(), "its position in the session", &count.steps, &operation.step_position);
                    count.last_step = Some(no);
                }
            }
            if let Some((original, _)) = &operation.reverses {
                reversals.push((*original, no, operation.cost.picos()));
            }
            if let Some((reversal, _)) = &operation.reversed_by {
                reversed.insert(no, (*reversal, operation.cost.picos()));
            }
            self.days.recount(&operation, names);
        }
        for (original, reversal, cost) in reversals {
            let found = reversed.remove(&original);
            findings.compare(format!("operation {}", original.0), "its reversal", &Some((reversal, -cost)), &found);
        }
        for (original, _) in reversed {
            findings.add(format!("operation {}", original.0), "names a reversal that does not name it");
        }
        Ok(())
    }

    fn compare_months(&mut self, snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let columns = format!("user, {}", codec::MONTH_COLUMNS);
        let mut statement = snapshot.transaction.prepare(&load::select(&columns, "user_month order by user, month"))?;
        let mut rows = statement.query([])?;
        let mut of_user: BTreeMap<UserNo, Vec<Month>> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row);
            let user_no = UserNo(row.number()?);
            let found = codec::read_month_from(&mut row)?;
            of_user.entry(user_no).or_default().push(found.month);
            let expected = self.months.remove(&(user_no, found.month)).unwrap_or_default();
            let counted = MonthCount { used: found.used, operations: found.operations, head: found.head };
            findings.compare(month_place(user_no, found.month), "its counters", &expected, &counted);
        }
        for (user_no, month) in self.months.keys() {
            findings.add(month_place(*user_no, *month), "the row was removed: there are operations of it");
        }
        let mut statement = snapshot.transaction.prepare(&load::select(codec::USER_COLUMNS, "user"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let user = codec::read_user(row)?;
            let expected = of_user.remove(&user.no).unwrap_or_default();
            findings.compare(format!("user {}", user.no.0), "the months with operations", &expected, &user.months);
        }
        Ok(())
    }

    fn compare_days(&mut self, snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let connection = &snapshot.transaction;
        let mut statement = connection.prepare("select day, user from user_day order by day, user")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row);
            let (day, user_no) = (day_of(row.number()?)?, UserNo(row.number()?));
            let found = days::user_day(connection, day, user_no)?;
            let expected = self.days.take_user(day, user_no);
            findings.compare(format!("day {day} of user {}", user_no.0), "its sums", &expected, &found);
        }
        for (day, user_no) in self.days.left() {
            findings.add(format!("day {day} of user {}", user_no.0), "the row was removed: there are operations of it");
        }
        let all = Day::from_index(0)..=Day::from_index(u32::MAX);
        let mut expected = self.days.take_all();
        for (day, combination, found) in days::all_days(connection, all)? {
            let expected = expected.remove(&(day, combination)).unwrap_or_default();
            findings.compare(format!("day {day} of all users"), "one of its sums", &expected, &found);
        }
        for (day, _) in expected.keys() {
            findings.add(format!("day {day} of all users"), "a row was removed: there are operations of it");
        }
        Ok(())
    }

    fn compare_sessions(&mut self, snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let (connection, names) = (&snapshot.transaction, &snapshot.shared.names);
        let mut statement = connection.prepare("select * from session order by no")?;
        let mut rows = statement.query([])?;
        let mut sums: BTreeMap<(Day, i64, i64), SessionSums> = BTreeMap::new();
        let mut expected = 1;
        let mut bytes = Vec::new();
        while let Some(row) = rows.next()? {
            expected = check_row(row, "session", expected, &mut bytes, findings)?;
            let session = codec::read_session(row, names)?;
            let place = format!("session {}", session.no.0);
            let counted = self.sessions.remove(&session.no).unwrap_or_default();
            let found = SessionCount {
                cost: session.total_cost.picos(),
                runs: session.total_runs,
                steps: session.steps,
                last_step: session.last_step,
            };
            findings.compare(&place, "its totals", &counted, &found);
            let in_progress = session.status == SessionStatus::InProgress;
            findings.compare(&place, "whether it is to be abandoned some time", &in_progress, &session.due.is_some());
            let key = (session.created_at.day(), codec::feature_of(row)?, codec::status_no(session.status));
            sums.entry(key).or_default().add(&session_sums(&session), 1);
        }
        for session in self.sessions.keys() {
            findings.add(format!("session {}", session.0), "the row was removed: there are steps of it");
        }
        let mut statement =
            connection.prepare("select day, feature, status, count, cost, steps, duration_ms from session_day")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (day, feature, status) = (day_of(RowReader::new(row).number()?)?, row.get(1)?, row.get(2)?);
            let found = SessionSums::read(&mut RowReader::at(row, 3))?;
            let expected = sums.remove(&(day, feature, status)).unwrap_or_default();
            findings.compare(format!("sessions of day {day}"), "one of the sums", &expected, &found);
        }
        for ((day, _, _), _) in sums {
            findings.add(format!("sessions of day {day}"), "a row was removed: there are sessions of it");
        }
        Ok(())
    }

    /// The alerts that a month's row names, and the alert rows, must be the same.
    fn compare_alerts(&self, snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let connection = &snapshot.transaction;
        let mut raised: BTreeMap<(UserNo, Month), Vec<AlertKey>> = BTreeMap::new();
        let mut statement = connection.prepare(&load::select(codec::ALERT_COLUMNS, "alert order by no"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let alert = codec::read_alert(row)?;
            raised.entry((alert.user_no, alert.month)).or_default().push(alert.key);
        }
        let columns = format!("user, {}", codec::MONTH_COLUMNS);
        let mut statement = connection.prepare(&load::select(&columns, "user_month where raised <> ''"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row);
            let user_no = UserNo(row.number()?);
            let month = codec::read_month_from(&mut row)?;
            let expected = raised.remove(&(user_no, month.month)).unwrap_or_default();
            findings.compare(month_place(user_no, month.month), "its alerts", &expected, &month.raised);
        }
        for (user_no, month) in raised.keys() {
            findings.add(month_place(*user_no, *month), "does not name the alerts that were raised for it");
        }
        Ok(())
    }
}

fn month_place(user_no: UserNo, month: Month) -> String {
    format!("month {month} of user {}", user_no.0)
}

fn day_of(index: u64) -> Result<Day, StoreError> {
    u32::try_from(index)
        .map(Day::from_index)
        .map_err(|_| StoreError::Corrupt("a day has a number that no version of Outlay writes".to_owned()))
}

//! Proves the store from its operations: every sum is added up again, every chain is followed, every row's sum is checked.
//!
//! It reads one snapshot in commit order and keeps the counters that it recounts in memory, about a hundred bytes for
//! each user and month, and for each user and day. It repairs nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Display};
use std::sync::Arc;

use outlay_core::breakdown::{Sums, TokenSums};
use outlay_core::id::UserNo;
use outlay_core::ledger::verify::Recount;
use outlay_core::month::Day;
use rusqlite::{Connection, Row};

use super::codec::{self, RowReader};
use super::days::{self, Combinations, Days, MonthKey, UnsweptMonth};
use super::load;
use super::reads::{Inner, Snapshot};
use super::retention;
use super::runs::{Fault, Proof};
use super::tables;
use super::write::{STEPS_PER_PAGE, SessionSums, session_sums};
use crate::store::{Finding, StoreError};

/// More findings than these tell nothing new.
const FINDINGS_MAX: usize = 1_000;

pub(super) fn verify(inner: &Inner, connection: &mut Connection) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Findings::default();
    let snapshot = inner.snapshot(connection)?;
    check_pages(&snapshot, &mut findings)?;
    let unswept = snapshot.shared.unswept.all(snapshot.batch, |_| true);
    let mut counts = Counts {
        recount: Recount::of_all(),
        days: Days::default(),
        untold: BTreeSet::new(),
        unswept,
        operation_ids: snapshot.shared.operations.read().proof(&snapshot.transaction)?,
        session_ids: snapshot.shared.sessions.read().proof(&snapshot.transaction)?,
    };
    counts.operations(&snapshot, &mut findings)?;
    counts.alerts_and_months(&snapshot, &mut findings)?;
    counts.compare_days(&snapshot, &mut findings)?;
    counts.compare_sessions(&snapshot, &mut findings)?;
    check_ids(&snapshot, &counts.operation_ids, ("operation", "operation_id"), &mut findings)?;
    check_ids(&snapshot, &counts.session_ids, ("session", "session_id"), &mut findings)?;
    check_session_pages(&snapshot, &mut findings)?;
    for finding in counts.recount.findings() {
        let (place, what) = (finding.place, finding.what);
        findings.add(place, format!("{what} should be {} and is {}", finding.expected, finding.found));
    }
    check_rows(&snapshot, "denial", &mut findings)?;
    check_deliveries(&snapshot, &mut findings)?;
    let newest = check_rows(&snapshot, "audit", &mut findings)?;
    let copied = super::audit::copied(&snapshot.transaction)?;
    if newest < copied {
        findings.add(format!("audit {copied}"), "the row was removed: it was copied elsewhere once");
    }
    check_sums(&snapshot, "token_end", &mut findings)?;
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
    for problem in tables::problems_of_pages(&snapshot.transaction, 100)? {
        findings.add("the file", problem);
    }
    Ok(())
}

/// The duplicate index of a table's column finds every row whose text is known.
fn check_ids(
    snapshot: &Snapshot<'_>,
    proof: &Proof,
    (table, column): (&str, &str),
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let connection = &snapshot.transaction;
    for fault in proof.faults(connection)? {
        let ids = match fault {
            Fault::Run { n, problem } => {
                findings.add(format!("run {n} of {table} ids"), problem);
                continue;
            }
            Fault::Rows(ids) => ids,
        };
        let columns = format!("user, {column}, no");
        let sql = load::select(&columns, &format!("{table} where no between ? and ? and {column} <> '' order by no"));
        let mut statement = connection.prepare(&sql)?;
        let mut rows = statement.query([codec::stored(*ids.start()), codec::stored(*ids.end())])?;
        let mut lost = false;
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row);
            let (user_no, text, no) = (row.number()?, row.required_text()?, row.number()?);
            if !proof.finds(connection, user_no, text, no) {
                findings.add(
                    format!("{table} {no}"),
                    "it is not found by its id: sent again, it would be taken for a new one",
                );
                lost = true;
            }
        }
        if !lost {
            let place = format!("{table} ids of {} to {}", ids.start(), ids.end());
            findings.add(place, "there are keys that are of none of them");
        }
    }
    Ok(())
}

/// Where a page of a session's steps is said to begin, there is the step that it begins with.
fn check_session_pages(snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    let mut statement = snapshot.transaction.prepare(
        "select p.session, p.page from session_page p left join operation o on o.no = p.operation \
         where o.session is not p.session or o.position <> p.page * ?",
    )?;
    let mut rows = statement.query([codec::stored(STEPS_PER_PAGE)])?;
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        let (session, page) = (row.number()?, row.number()?);
        findings.add(format!("page {page} of session {session}"), "it begins with another operation");
    }
    Ok(())
}

/// Deliveries tell of what there is, once to each receiver. How far they got follows from nothing else.
fn check_deliveries(snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
    check_columns(snapshot, "delivery", "no, kind, about, user, receiver, created_at, body, sum", findings)?;
    for (kind, table) in [(1, "alert"), (2, "denial"), (3, "session")] {
        let sql = format!(
            "select no, (select count(*) from {table} t where t.no = d.about), \
             (select count(*) from delivery o where o.kind = d.kind and o.about = d.about and o.receiver = d.receiver) \
             from delivery d where kind = {kind}"
        );
        let mut statement = snapshot.transaction.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row);
            let (no, told_of, to_receiver) = (row.number()?, row.number()?, row.number()?);
            if told_of != 1 {
                findings.add(format!("delivery {no}"), format!("the {table} that it tells of is not there"));
            }
            if to_receiver != 1 {
                findings.add(format!("delivery {no}"), "its receiver is told of the same more than once");
            }
        }
    }
    Ok(())
}

/// Rows that count up without gaps, each with its sum. Gives the last number.
fn check_rows(snapshot: &Snapshot<'_>, table: &str, findings: &mut Findings) -> Result<u64, StoreError> {
    check_columns(snapshot, table, "*", findings)
}

/// The same where the sum is not the last of all columns, but of these.
fn check_columns(
    snapshot: &Snapshot<'_>,
    table: &str,
    columns: &str,
    findings: &mut Findings,
) -> Result<u64, StoreError> {
    let mut statement = snapshot.transaction.prepare(&load::select(columns, &format!("{table} order by no")))?;
    let mut rows = statement.query([])?;
    let mut expected = 1;
    let mut bytes = Vec::new();
    while let Some(row) = rows.next()? {
        let no = RowReader::new(row).number()?;
        if no != expected {
            findings.add(format!("{table} {expected}"), "the row was removed: numbers have no gaps");
        }
        check_sum(row, table, &mut bytes, findings)?;
        expected = no + 1;
    }
    Ok(expected - 1)
}

/// Rows that need not count up, each with its sum.
fn check_sums(snapshot: &Snapshot<'_>, table: &str, findings: &mut Findings) -> Result<(), StoreError> {
    let mut statement = snapshot.transaction.prepare(&load::select("*", table))?;
    let mut rows = statement.query([])?;
    let mut bytes = Vec::new();
    while let Some(row) = rows.next()? {
        check_sum(row, table, &mut bytes, findings)?;
    }
    Ok(())
}

/// Checks the sum of one row.
fn check_sum(row: &Row<'_>, table: &str, bytes: &mut Vec<u8>, findings: &mut Findings) -> Result<(), StoreError> {
    let (computed, written) = codec::sums_of(row, bytes)?;
    if computed != written {
        let no = RowReader::new(row).number()?;
        findings.add(format!("{table} {no}"), "a column was changed: the row does not match its sum");
    }
    Ok(())
}

/// The counters as the operations give them: what the ledger knows how to recount, and how this store packs days.
#[derive(Debug)]
struct Counts {
    recount: Recount,
    days: Days,
    /// Days of which an emptied operation tells its tokens no more.
    untold: BTreeSet<Day>,
    /// Months that are newer than the file's rows of them, which do not matter then.
    unswept: BTreeMap<MonthKey, Arc<UnsweptMonth>>,
    operation_ids: Proof,
    session_ids: Proof,
}

impl Counts {
    fn operations(&mut self, snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let mut statement = snapshot.transaction.prepare("select * from operation order by no")?;
        let mut rows = statement.query([])?;
        let mut bytes = Vec::new();
        let trimmed = retention::Cursor::read(&snapshot.transaction)?.no;
        while let Some(row) = rows.next()? {
            check_sum(row, "operation", &mut bytes, findings)?;
            let operation = codec::read_plain_operation(row, &snapshot.shared.names)?;
            let place = format!("operation {}", operation.no.0);
            findings.compare(place, "whether it is emptied", &(operation.no.0 <= trimmed), &operation.trimmed);
            if operation.trimmed {
                self.untold.insert(operation.timestamp.day());
            }
            self.recount.operation(&operation);
            self.days.recount(&operation, &snapshot.shared.names);
            self.operation_ids.row(operation.user_no.0, operation.operation_id.as_str(), operation.no.0);
        }
        Ok(())
    }

    fn alerts_and_months(&mut self, snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let connection = &snapshot.transaction;
        check_rows(snapshot, "alert", findings)?;
        let mut statement = connection.prepare(&load::select(codec::ALERT_COLUMNS, "alert order by no"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.recount.alert(&codec::read_alert(row)?);
        }
        let columns = format!("user, {}", codec::MONTH_COLUMNS);
        let mut statement = connection.prepare(&load::select(&columns, "user_month order by month, user"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row);
            let user_no = UserNo(row.number()?);
            let month = codec::read_month_from(&mut row)?;
            if !self.unswept.contains_key(&(month.month, user_no)) {
                self.recount.compare_month(user_no, &month);
            }
        }
        for ((_, user_no), newer) in &self.unswept {
            self.recount.compare_month(*user_no, &newer.month);
        }
        check_rows(snapshot, "user", findings)?;
        let mut statement = connection.prepare(&load::select(codec::USER_COLUMNS, "user order by no"))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            self.recount.compare_user(&codec::read_user(row)?);
        }
        Ok(())
    }

    fn compare_days(&mut self, snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let connection = &snapshot.transaction;
        let mut statement = connection.prepare("select day, day_sums, month, user from user_month")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let mut row = RowReader::new(row);
            let found = days::read_newest(&mut row)?;
            let key = (row.month()?, UserNo(row.number()?));
            if !self.unswept.contains_key(&key) {
                self.compare_newest(key, found, findings);
            }
        }
        let mut newer_days = BTreeMap::new();
        for (key, newer) in std::mem::take(&mut self.unswept) {
            self.compare_newest(key, Some(days::owned(newer.newest.clone())), findings);
            newer_days.extend(newer.older.iter().map(|(day, sums)| ((*day, key.1), sums.clone())));
        }
        let mut expected = self.days.take_older();
        let mut statement = connection.prepare("select day, user, sums from user_day order by day, user")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (key, found) = days::read_older(&mut RowReader::new(row))?;
            if !newer_days.contains_key(&key) {
                self.compare_older(key, expected.remove(&key), found, findings);
            }
        }
        for (key, newer) in newer_days {
            self.compare_older(key, expected.remove(&key), newer, findings);
        }
        let all = Day::from_index(0)..=Day::from_index(u32::MAX);
        let mut expected = self.days.take_all();
        let mut tokens: BTreeMap<Day, TokenSums> = BTreeMap::new();
        for (day, combination, found) in days::all_days(connection, all)? {
            let mut expected = expected.remove(&(day, combination)).unwrap_or_default();
            if self.untold.contains(&day) {
                expected.tokens = expected.tokens.at_least(&found.tokens);
            }
            let of_day = tokens.entry(day).or_default();
            *of_day = of_day.and(&found.tokens);
            findings.compare(format!("day {day} of all users"), "one of its sums", &expected, &found);
        }
        for (day, _) in expected.keys() {
            findings.add(format!("day {day} of all users"), "a row was removed: there are operations of it");
        }
        for (day, tokens) in tokens {
            self.recount.compare_day_of_all(day, tokens);
        }
        Ok(())
    }

    fn compare_newest(&mut self, key: MonthKey, found: Option<(Day, Combinations)>, findings: &mut Findings) {
        let (month, user_no) = key;
        let found = found.map(|(day, sums)| (day, in_order(sums)));
        let mut expected = self.days.take_newest(key).map(|(day, sums)| (day, in_order(sums)));
        if let Some((day, sums)) = &found {
            if let Some((_, expected)) = &mut expected
                && !self.recount.tells_tokens(user_no, *day)
            {
                take_untold(expected, sums);
            }
            self.compare_day(user_no, *day, sums);
        }
        let place = format!("the newest day of month {month} of user {}", user_no.0);
        findings.compare(place, "its combinations", &expected, &found);
    }

    fn compare_older(
        &mut self,
        (day, user_no): (Day, UserNo),
        expected: Option<Combinations>,
        found: Combinations,
        findings: &mut Findings,
    ) {
        let (mut expected, found) = (in_order(expected.unwrap_or_default()), in_order(found));
        if !self.recount.tells_tokens(user_no, day) {
            take_untold(&mut expected, &found);
        }
        self.compare_day(user_no, day, &found);
        findings.compare(format!("day {day} of user {}", user_no.0), "its combinations", &expected, &found);
    }

    fn compare_day(&mut self, user_no: UserNo, day: Day, found: &Combinations) {
        let sum = found.iter().fold(Sums::default(), |sum, (_, sums)| sum.and(sums));
        self.recount.compare_day(user_no, day, &sum);
    }

    fn compare_sessions(&mut self, snapshot: &Snapshot<'_>, findings: &mut Findings) -> Result<(), StoreError> {
        let (connection, names) = (&snapshot.transaction, &snapshot.shared.names);
        check_rows(snapshot, "session", findings)?;
        let mut statement = connection.prepare("select * from session order by no")?;
        let mut rows = statement.query([])?;
        let mut sums: BTreeMap<(Day, i64, i64), SessionSums> = BTreeMap::new();
        while let Some(row) = rows.next()? {
            let session = codec::read_session(row, names)?;
            self.recount.compare_session(&session);
            self.session_ids.row(session.user_no.0, session.session_id.as_str(), session.no.0);
            let key = (session.created_at.day(), codec::feature_of(row)?, codec::status_no(session.status));
            sums.entry(key).or_default().add(&session_sums(&session), 1);
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
}

/// A day's combinations in one order: that in which a row has them says only which came first, and a move may change it.
fn in_order(mut sums: days::Combinations) -> days::Combinations {
    sums.sort_unstable_by_key(|(combination, _)| *combination);
    sums
}

/// Takes over the tokens that emptied operations tell no more, as far as no told one is missing.
fn take_untold(expected: &mut Combinations, found: &Combinations) {
    for ((of, expected), (found_of, found)) in expected.iter_mut().zip(found) {
        if of == found_of {
            expected.tokens = expected.tokens.at_least(&found.tokens);
        }
    }
}

fn day_of(index: u64) -> Result<Day, StoreError> {
    u32::try_from(index)
        .map(Day::from_index)
        .map_err(|_| StoreError::Corrupt("a day has a number that no version of Outlay writes".to_owned()))
}

//! Proves every counter from the operations, bucket by bucket: each in one snapshot, which shows a bucket whole.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use outlay_core::breakdown::{Dimensions, OTHER, Sums};
use outlay_core::id::UserNo;
use outlay_core::ledger::verify::Recount;
use outlay_core::month::Day;
use outlay_core::operation::Operation;
use outlay_core::session::Session;
use tokio_postgres::Row;

use super::{Transaction, rows};
use crate::store::packed::status_no;
use crate::store::postgres::Engine;
use crate::store::postgres::audit::{AUDIT, TOKEN_END, read_entry, read_token_end};
use crate::store::postgres::codec::{self, ALERT, DENIAL, OPERATION, SESSION, USER_MONTH, USERS};
use crate::store::postgres::errors::unavailable;
use crate::store::postgres::outbox::DELIVERY;
use crate::store::postgres::retention::CURSOR;
use crate::store::postgres::rows::{RowReader, damaged};
use crate::store::postgres::shared::{Locked, Shared};
use crate::store::postgres::statements::{BUCKETS, Table};
use crate::store::postgres::sums::{DAY_COLUMNS, SessionSums, read_day};
use crate::store::{Finding, StoreError};

/// What is said of a row that is not as it was written.
const CHANGED: &str = "a column was changed: its sum is another";
/// Rows of the audit log that are read at a time.
const AUDIT_ROWS: i64 = 5_000;

/// All buckets, one after the other.
pub(super) async fn verify(engine: &Engine) -> Result<Vec<Finding>, StoreError> {
    let mut findings = Vec::new();
    for bucket in 0..engine.shared.buckets().count() {
        let mut reader = engine.reader().await?;
        let snapshot = reader.snapshot().await?;
        verify_bucket(&snapshot, &engine.shared, bucket, &mut findings).await?;
        snapshot.commit().await.map_err(unavailable)?;
    }
    let mut reader = engine.reader().await?;
    let snapshot = reader.snapshot().await?;
    verify_audit(&snapshot, &mut findings).await?;
    snapshot.commit().await.map_err(unavailable)?;
    Ok(findings)
}

/// The audit log, whose numbers count up over all buckets, and the ends of tokens.
async fn verify_audit(client: &Transaction<'_>, findings: &mut Vec<Finding>) -> Result<(), StoreError> {
    let changed = |place: String| Finding { place, problem: CHANGED.to_owned() };
    let found = rows(client, "select newest from audit_numbers", &[]).await?;
    let newest = RowReader::new(found.first().ok_or_else(|| damaged("the audit log's numbers"))?).required()?;
    let sql = format!("select {} from audit t where t.no > $1 order by t.no limit $2", AUDIT.select("t"));
    let mut last: i64 = 0;
    loop {
        let found = rows(client, &sql, &[&last, &AUDIT_ROWS]).await?;
        for row in &found {
            let mut reader = RowReader::summed(row);
            read_entry(&mut reader)?;
            let (expected, sum) = reader.sums()?;
            if expected != sum {
                findings.push(changed(format!("audit {}", number(row))));
            }
            findings.extend(removed(last + 1..number(row)));
            last = number(row);
        }
        if found.is_empty() {
            break;
        }
    }
    findings.extend(removed(last + 1..newest.saturating_add(1)));
    let sql = format!("select {} from token_end t", TOKEN_END.select("t"));
    for row in &rows(client, &sql, &[]).await? {
        let mut reader = RowReader::summed(row);
        read_token_end(&mut reader)?;
        let (expected, sum) = reader.sums()?;
        if expected != sum {
            findings.push(changed(format!("token_end {}", number(row))));
        }
    }
    Ok(())
}

/// Entries of the audit log that are not there; many in a row are one finding.
fn removed(numbers: Range<i64>) -> Option<Finding> {
    let place = format!("audit {}", numbers.start);
    let problem = match numbers.end.saturating_sub(numbers.start) {
        ..=0 => return None,
        1 => "the row was removed".to_owned(),
        count => format!("the row was removed, and {} after it", count - 1),
    };
    Some(Finding { place, problem })
}

async fn verify_bucket(
    client: &Transaction<'_>,
    shared: &Shared,
    bucket: i32,
    findings: &mut Vec<Finding>,
) -> Result<(), StoreError> {
    let next = numbers(client, shared, bucket).await?;
    let given_out = |next: u64| shared.buckets().given_out(next);
    if given_out(next.numbers.user.0) == 0 && given_out(next.next_delivery) == 0 {
        return Ok(());
    }
    let mut check = Check { bucket: i64::from(bucket), client, findings };
    let mut recount = Recount::of_some_users();
    let mut days: Days = BTreeMap::new();
    let operations = check.rows(&OPERATION, "no", codec::read_operation).await?;
    let trimmed = rows(client, CURSOR, &[&bucket]).await?;
    let trimmed = RowReader::new(trimmed.first().ok_or_else(|| damaged("table bucket"))?).number()?;
    for operation in &operations {
        let place = format!("operation {}", operation.no.0);
        check.compare(&place, "whether it is emptied", &(operation.no.0 <= trimmed), &operation.trimmed);
        recount.operation(operation);
    }
    check.op_keys(&operations).await?;
    let alerts = check.rows(&ALERT, "no", codec::read_alert).await?;
    for alert in &alerts {
        recount.alert(alert);
    }
    for (user_no, month) in check.plain_rows(&USER_MONTH.select("t"), "user_month", codec::read_month).await? {
        recount.compare_month(user_no, &month);
    }
    let users = check.rows(&USERS, "user_no", codec::read_user).await?;
    for user in &users {
        recount.compare_user(user);
    }

    let columns = format!("t.user_no, {DAY_COLUMNS}");
    let mut of_users: BTreeMap<(UserNo, Day), Sums> = BTreeMap::new();
    let read = |row: &mut RowReader<'_>| Ok((UserNo(row.number()?), read_day(row)?));
    for (user_no, (day, dimensions, sums)) in check.plain_rows(&columns, "breakdown", read).await? {
        let of_user = of_users.entry((user_no, day)).or_default();
        *of_user = of_user.and(&sums);
        add(&mut days, day, dimensions, &sums);
    }
    for ((user_no, day), sums) in &of_users {
        recount.compare_day(*user_no, *day, sums);
    }
    let mut of_all: Days = BTreeMap::new();
    for (day, dimensions, sums) in check.plain_rows(DAY_COLUMNS, "bucket_day", read_day).await? {
        add(&mut of_all, day, dimensions, &sums);
    }
    for day in days.keys().chain(of_all.keys()).copied().collect::<BTreeSet<Day>>() {
        let [expected, found] = [&mut days, &mut of_all].map(|days| days.remove(&day).unwrap_or_default());
        check.compare(
            &format!("day {day} of all users"),
            "its sums",
            &comparable(&found, &expected),
            &comparable(&expected, &found),
        );
    }

    let sessions = check.rows(&SESSION, "no", codec::read_session).await?;
    for session in &sessions {
        recount.compare_session(session);
    }
    check.session_days(&sessions).await?;
    let denials = check.rows(&DENIAL, "no", codec::read_denial).await?;
    check.findings.extend(recount.findings().into_iter().map(|finding| Finding {
        place: finding.place.to_string(),
        problem: format!("{} should be {} and is {}", finding.what, finding.expected, finding.found),
    }));
    let told_of = [
        ("alert", alerts.iter().map(|row| row.no.0).collect()),
        ("denial", denials.iter().map(|row| row.no.0).collect()),
        ("session", sessions.iter().map(|row| row.no.0).collect()),
    ];
    let deliveries = check.deliveries(&told_of).await?;
    // A number that was given out and has no row is a removed row.
    let numbers = next.numbers;
    for (what, next, there) in [
        ("operations", numbers.operation.0, operations.len()),
        ("users", numbers.user.0, users.len()),
        ("sessions", numbers.session.0, sessions.len()),
        ("denials", numbers.denial.0, denials.len()),
        ("alerts", numbers.alert.0, alerts.len()),
        ("deliveries", next.next_delivery, deliveries),
    ] {
        check.compare(
            &format!("bucket {bucket}"),
            &format!("how many {what} it has"),
            &given_out(next),
            &(there as u64),
        );
    }
    Ok(())
}

/// Sums by day and combination.
type Days = BTreeMap<Day, BTreeMap<Dimensions, Sums>>;

fn add(days: &mut Days, day: Day, dimensions: Dimensions, sums: &Sums) {
    let of_all = days.entry(day).or_default().entry(dimensions).or_default();
    *of_all = of_all.and(sums);
}

/// One of two days that must be the same: by combination, or in one sum where one of them books some under `(other)`, since
/// a user's day and that of all keep others apart.
fn comparable(one: &BTreeMap<Dimensions, Sums>, other: &BTreeMap<Dimensions, Sums>) -> Vec<(Option<Dimensions>, Sums)> {
    if one.keys().chain(other.keys()).any(|dimensions| dimensions.feature.as_str() == OTHER) {
        return vec![(None, one.values().fold(Sums::default(), |sum, sums| sum.and(sums)))];
    }
    one.iter().map(|(dimensions, sums)| (Some(dimensions.clone()), *sums)).collect()
}

/// The bucket's numbers, without its lock.
async fn numbers(client: &Transaction<'_>, shared: &Shared, bucket: i32) -> Result<Locked, StoreError> {
    let found = rows(client, BUCKETS, &[&vec![bucket]]).await?;
    let row = found.first().ok_or_else(|| StoreError::Corrupt(format!("bucket {bucket} is not stored")))?;
    Locked::read(row, shared.buckets())
}

struct Check<'a> {
    bucket: i64,
    client: &'a Transaction<'a>,
    findings: &'a mut Vec<Finding>,
}

impl Check<'_> {
    /// The bucket's rows of a table, in order, each compared with its sum.
    async fn rows<T>(
        &mut self,
        table: &Table,
        order: &str,
        read: impl Fn(&mut RowReader<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let name = table.name;
        let sql = format!("select {} from {name} t where t.bucket = $1::int8 order by t.{order}", table.select("t"));
        let mut all = Vec::new();
        for row in &rows(self.client, &sql, &[&self.bucket]).await? {
            let mut reader = RowReader::summed(row);
            all.push(read(&mut reader)?);
            let (expected, found) = reader.sums()?;
            if expected != found {
                self.find(format!("{name} {}", number(row)), CHANGED.to_owned());
            }
        }
        Ok(all)
    }

    async fn plain_rows<T>(
        &self,
        columns: &str,
        table: &str,
        read: impl Fn(&mut RowReader<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let sql = format!("select {columns} from {table} t where t.bucket = $1::int8");
        codec::read_all(&rows(self.client, &sql, &[&self.bucket]).await?, read)
    }

    /// Whoever asks again is found by their operation's key: each operation whose id is known has one, and no key is of another.
    async fn op_keys(&mut self, operations: &[Operation]) -> Result<(), StoreError> {
        let read = |row: &mut RowReader<'_>| {
            let key: (u64, [u8; 16]) = (row.number()?, row.blob()?);
            Ok((key, (row.number()?, row.required()?)))
        };
        let mut keys: BTreeMap<_, (u64, i64)> =
            self.plain_rows("t.user_no, t.op, t.no, t.month", "op_key", read).await?.into_iter().collect();
        let mut wiped = BTreeSet::new();
        for operation in operations {
            if operation.operation_id.as_str().is_empty() {
                wiped.insert(operation.no.0);
                continue;
            }
            let expected = (operation.no.0, i64::from(operation.month().index()));
            let found = keys.remove(&(operation.user_no.0, codec::op_of(&operation.operation_id)));
            self.compare(&format!("operation {}", operation.no.0), "its key", &Some(expected), &found);
        }
        // What is being wiped may have its keys for a while.
        for (_, (no, _)) in keys.into_iter().filter(|(_, (no, _))| !wiped.contains(no)) {
            self.find(format!("key of operation {no}"), "it is of no operation by this id".to_owned());
        }
        Ok(())
    }

    /// Deliveries tell of what there is, once to each receiver; gives how many there are. How far they got follows from
    /// nothing else.
    async fn deliveries(&mut self, told_of: &[(&str, BTreeSet<u64>)]) -> Result<usize, StoreError> {
        let read = |row: &mut RowReader<'_>| {
            row.required()?;
            let (no, kind, about) = (row.number()?, row.required()?, row.number()?);
            row.optional_number()?;
            let receiver = row.required()?;
            row.time()?;
            row.text()?;
            Ok((no, kind, about, receiver))
        };
        let deliveries = self.rows(&DELIVERY, "no", read).await?;
        let mut once = BTreeSet::new();
        for (no, kind, about, receiver) in &deliveries {
            // The kinds that tell of a row of their own come first, from 1 on.
            let of_kind = usize::try_from(*kind - 1).ok().and_then(|kind| told_of.get(kind));
            let Some((table, there)) = of_kind else { continue };
            let place = format!("delivery {no}");
            if !there.contains(about) {
                self.find(place.clone(), format!("the {table} that it tells of is not there"));
            }
            if !once.insert((kind, about, receiver)) {
                self.find(place, "its receiver is told of the same more than once".to_owned());
            }
        }
        Ok(deliveries.len())
    }

    /// The sums of sessions by day, feature and status.
    async fn session_days(&mut self, sessions: &[Session]) -> Result<(), StoreError> {
        let mut expected: BTreeMap<(Day, String, i64), SessionSums> = BTreeMap::new();
        for session in sessions {
            let key = (session.created_at.day(), session.feature.as_str().to_owned(), status_no(session.status));
            expected.entry(key).or_default().add(SessionSums::of(session), 1);
        }
        let read = |row: &mut RowReader<'_>| {
            let key = (row.day()?, row.required_text()?.to_owned(), row.required()?);
            let (count, cost) = (row.required()?, row.wide()?);
            Ok((key, SessionSums { count, cost, steps: row.required()?, duration_ms: row.required()? }))
        };
        let columns = "t.day, t.feature, t.status, t.count, t.cost, t.steps, t.duration_ms";
        for (key, found) in self.plain_rows(columns, "session_day", read).await? {
            let expected = expected.remove(&key).unwrap_or_default();
            self.compare(&format!("sessions of {}", key.0), "their sums", &expected, &found);
        }
        if let Some((key, sums)) = expected.first_key_value() {
            self.compare(&format!("sessions of {}", key.0), "their sums", sums, &SessionSums::default());
        }
        Ok(())
    }

    fn compare<T: PartialEq + std::fmt::Debug>(&mut self, place: &str, what: &str, expected: &T, found: &T) {
        if expected != found {
            self.find(place.to_owned(), format!("{what} should be {expected:?} and is {found:?}"));
        }
    }

    fn find(&mut self, place: String, problem: String) {
        self.findings.push(Finding { place, problem });
    }
}

/// The number of a row whose first columns are its bucket and its number.
fn number(row: &Row) -> i64 {
    row.try_get(1).unwrap_or(0)
}

//! The file as one end of a move: see [`crate::store::moving`].

use std::collections::BTreeMap;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outlay_core::id::{Name, OperationNo, UserNo};
use outlay_core::ledger::{Numbers, Written};
use outlay_core::month::Month;
use outlay_core::plan::Plans;
use outlay_core::user::UserMonth;
use rusqlite::{Connection, Row as FileRow};

use super::codec::{self, RowReader, RowWriter, stored};
use super::days::{Combinations, days_of_month};
use super::names::{self, Names};
use super::retention::Cursor;
use super::{Changed, EmbeddedStore, audit, load, outbox, write};
use crate::audit::Entry;
use crate::store::moving::{DaySums, Destination, Erased, Kind, Origin, Rest, Row};
use crate::store::postgres::Buckets;
use crate::store::{Store as _, StoreError};

/// Rows that are read, or numbers, at a time.
const ROWS: i64 = 2_000;
const NUMBERS: i64 = 50_000;
const AUDIT_ROWS: usize = 2_000;
/// Names of these kinds are counted.
const NAMES: [names::Kind; 3] = [names::Kind::Feature, names::Kind::Provider, names::Kind::Model];
/// The stage of an erasure that is done, as [`super::erase`] notes it.
const ERASED: i64 = -1;

/// The key under which a store notes that a move has it.
const MARK: &str = "moved";

/// What a store says of its place in a move.
pub(super) fn mark(connection: &Connection) -> Result<Option<String>, StoreError> {
    load::one(connection, "select value from meta where key = ?", [MARK], |row| Ok(row.get(0)?))
}

/// A store that nobody else uses meanwhile.
#[derive(Debug)]
pub(in crate::store) struct Moving {
    store: EmbeddedStore,
    kind: Kind,
    /// The last row that was read: its number, and of a month also the month.
    after: (i64, i64),
    /// How many operations of a user's month are written.
    written: HashMap<(UserNo, Month), u64, FixedState>,
}

impl Moving {
    /// Takes a store, and first does what it had put off: nothing of an erased person may be left to wipe.
    pub(in crate::store) async fn new(mut store: EmbeddedStore) -> Result<Self, StoreError> {
        while store.idle().await? {}
        Ok(Self { store, kind: Kind::User, after: (0, 0), written: HashMap::default() })
    }

    pub(in crate::store) async fn close(self) -> Result<(), StoreError> {
        self.store.close().await
    }

    fn connection(&self) -> &Connection {
        &self.store.connection
    }

    fn names(&self) -> &Names {
        &self.store.shared.names
    }

    /// Reads the next rows that follow the last one; `no` is the place of their number.
    fn read(
        &mut self,
        columns: &str,
        table: &str,
        read: impl Fn(&FileRow<'_>) -> Result<Row, StoreError>,
    ) -> Result<Vec<Row>, StoreError> {
        let mut last = self.after.0;
        let mut rows = Vec::new();
        {
            let sql = load::select(columns, &format!("{table} where no > ? order by no limit ?"));
            let mut statement = self.connection().prepare_cached(&sql)?;
            let mut found = statement.query((last, ROWS))?;
            while let Some(row) = found.next()? {
                last = row.get(0)?;
                rows.push(read(row)?);
            }
        }
        self.after.0 = last;
        Ok(rows)
    }

    fn months(&mut self) -> Result<Vec<Row>, StoreError> {
        let sql =
            load::select(codec::MONTH_COLUMNS, "user_month where (month, user) > (?, ?) order by month, user limit ?")
                .replacen("select ", "select user, ", 1);
        let mut months = Vec::new();
        {
            let mut statement = self.connection().prepare_cached(&sql)?;
            let mut found = statement.query((self.after.0, self.after.1, ROWS))?;
            while let Some(row) = found.next()? {
                let user_no = UserNo(RowReader::new(row).number()?);
                months.push((user_no, codec::read_month_from(&mut RowReader::at(row, 1))?));
            }
        }
        if let Some((user_no, month)) = months.last() {
            self.after = (i64::from(month.month.index()), stored(user_no.0));
        }
        let with_days = |(user_no, month): (UserNo, UserMonth)| {
            let days = self.days_of(user_no, month.month)?;
            Ok(Row::Month(user_no, month, days))
        };
        months.into_iter().map(with_days).collect()
    }

    fn days_of(&self, user_no: UserNo, month: Month) -> Result<Vec<DaySums>, StoreError> {
        let mut all = Vec::new();
        for (day, sums) in days_of_month(self.connection(), (month, user_no), None)? {
            let sums: Combinations = sums;
            for (combination, sums) in sums {
                all.push((day, combination.dimensions(self.names())?, sums));
            }
        }
        all.sort_unstable_by(|(a_day, a, _), (b_day, b, _)| (a_day, a).cmp(&(b_day, b)));
        Ok(all)
    }

    fn erasures(&mut self) -> Result<Vec<Row>, StoreError> {
        let mut rows = Vec::new();
        {
            let sql = "select user, tag, at from erasure where user > ? order by user limit ?";
            let mut statement = self.connection().prepare_cached(sql)?;
            let mut found = statement.query((self.after.0, ROWS))?;
            while let Some(row) = found.next()? {
                let mut row = RowReader::new(row);
                rows.push(Erased { user_no: UserNo(row.number()?), tag: row.number()?, at: row.time()? });
            }
        }
        if let Some(last) = rows.last() {
            self.after.0 = stored(last.user_no.0);
        }
        Ok(rows.into_iter().map(Row::Erasure).collect())
    }

    /// How many operations of each user's month there are once these are written: pages of lists begin at every so many.
    fn months_so_far(&mut self, written: &Written) -> Vec<(UserNo, UserMonth)> {
        let mut months = BTreeMap::new();
        for operation in &written.operations {
            let key = (operation.user_no, operation.month());
            let count = self.written.entry(key).or_default();
            *count += 1;
            let row: &mut UserMonth = months.entry(key).or_insert_with(|| UserMonth::empty(key.1));
            row.operations = *count;
            row.head = Some(operation.no);
        }
        months.into_iter().map(|((user_no, _), row)| (user_no, row)).collect()
    }
}

impl EmbeddedStore {
    /// Writes rows that were decided elsewhere, in one transaction.
    fn adopt(
        &mut self,
        written: Written,
        erased: &[Erased],
        entries: &[Entry],
        days: &[(UserNo, DaySums)],
    ) -> Result<(), StoreError> {
        let now = self.now();
        self.connection.execute_batch("begin immediate")?;
        self.shared.operations.write().begin_batch();
        self.shared.sessions.write().begin_batch();
        self.batch += 1;
        for (user_no, sums) in days {
            self.days.add_sums(&self.connection, *user_no, sums, &self.shared.names)?;
        }
        let swept = self.write_rows(&written, now, false)?;
        for one in erased {
            let sql = "insert into erasure values (?, ?, ?, 0, ?, null)";
            let mut statement = self.connection.prepare_cached(sql)?;
            let mut row = RowWriter::new(&mut statement, &mut self.bytes);
            row.number(one.user_no.0)?.number(one.tag)?.time(one.at)?.int(ERASED)?.write()?;
        }
        audit::insert_entries(&self.connection, entries)?;
        // Nobody reads it before it is opened anew, so nothing is published.
        match self.make_durable(Some(Changed { written, swept, audit_newest: None }))? {
            (_, None) => Ok(()),
            (_, Some(error)) => Err(error),
        }
    }
}

impl Origin for Moving {
    fn buckets(&self) -> Buckets {
        Buckets::ONE
    }

    async fn begin(&mut self, kind: Kind) -> Result<(), StoreError> {
        (self.kind, self.after) = (kind, (-1, 0));
        Ok(())
    }

    async fn rows(&mut self) -> Result<Vec<Row>, StoreError> {
        let shared = std::sync::Arc::clone(&self.store.shared);
        let names = &shared.names;
        match self.kind {
            Kind::User => self.read(codec::USER_COLUMNS, "user", |row| Ok(Row::User(Box::new(codec::read_user(row)?)))),
            Kind::Session => self.read(codec::SESSION_COLUMNS, "session", |row| {
                Ok(Row::Session(Box::new(codec::read_session(row, names)?)))
            }),
            Kind::Operation => self.read(codec::OPERATION_COLUMNS, "operation o", |row| {
                Ok(Row::Operation(Box::new(codec::read_operation(row, names)?)))
            }),
            Kind::Month => self.months(),
            Kind::Denial => self.read(codec::DENIAL_COLUMNS, "denial", |row| {
                Ok(Row::Denial(Box::new(codec::read_denial(row, names)?)))
            }),
            Kind::Alert => {
                self.read(codec::ALERT_COLUMNS, "alert", |row| Ok(Row::Alert(Box::new(codec::read_alert(row)?))))
            }
            Kind::Erasure => self.erasures(),
            Kind::Audit => {
                let above = u64::try_from(self.after.0).unwrap_or(0);
                let entries = audit::above(self.connection(), above, AUDIT_ROWS)?;
                if let Some(last) = entries.last() {
                    self.after.0 = stored(last.no);
                }
                Ok(entries.into_iter().map(|entry| Row::Audit(Box::new(entry))).collect())
            }
        }
    }

    async fn numbers(&mut self) -> Result<Vec<(u64, UserNo)>, StoreError> {
        let table = match self.kind {
            Kind::Session => "session",
            Kind::Operation => "operation",
            Kind::Denial => "denial",
            Kind::Alert => "alert",
            Kind::User | Kind::Month | Kind::Erasure | Kind::Audit => return Ok(Vec::new()),
        };
        let mut numbers = Vec::new();
        {
            let sql = format!("select no, user from {table} where no > ? order by no limit ?");
            let mut statement = self.connection().prepare_cached(&sql)?;
            let mut found = statement.query((self.after.0, NUMBERS))?;
            while let Some(row) = found.next()? {
                let mut row = RowReader::new(row);
                numbers.push((row.number()?, UserNo(row.number()?)));
            }
        }
        if let Some((no, _)) = numbers.last() {
            self.after.0 = stored(*no);
        }
        Ok(numbers)
    }

    async fn rest(&mut self) -> Result<Rest, StoreError> {
        let plans = load::plans(self.connection())?;
        let mut marked: Vec<Name> = load::marked_plans(self.connection())?.into_iter().map(|plan| plan.name).collect();
        marked.sort_unstable();
        Ok(Rest {
            plans: plans.all().to_vec(),
            default_plan: plans.default_plan().clone(),
            marked,
            keys: write::load_keys(self.connection())?,
            secrets: write::load_secrets(self.connection())?,
            webhooks: outbox::load_webhooks(self.connection())?,
            audit_copied: audit::copied(self.connection())?,
            trimmed_before: self.store.shared.trimmed.lock().before,
            names: NAMES.map(|kind| self.names().kept_apart(kind)),
            clock: self.store.shared.clock.now(),
        })
    }

    async fn waiting(&mut self) -> Result<u64, StoreError> {
        let sql = "select count(*) from delivery where due is not null";
        Ok(self.connection().query_row(sql, [], |row| row.get::<_, i64>(0))?.cast_unsigned())
    }

    async fn mark(&mut self) -> Result<Option<String>, StoreError> {
        mark(self.connection())
    }

    async fn set_mark(&mut self, mark: Option<&str>) -> Result<(), StoreError> {
        match mark {
            Some(mark) => self.connection().execute("replace into meta values (?, ?)", (MARK, mark))?,
            None => self.connection().execute("delete from meta where key = ?", [MARK])?,
        };
        Ok(())
    }
}

impl Destination for Moving {
    async fn write(&mut self, rows: &[(i32, Row)]) -> Result<(), StoreError> {
        let mut written = Written::default();
        let (mut erased, mut entries, mut days) = (Vec::new(), Vec::new(), Vec::new());
        for (_, row) in rows {
            match row.clone() {
                Row::User(user) => written.users.push((*user).into()),
                Row::Session(session) => written.sessions.push((None, *session)),
                Row::Operation(operation) => written.operations.push((*operation).into()),
                Row::Month(user_no, month, of_month) => {
                    written.months.push((user_no, month));
                    days.extend(of_month.into_iter().map(|sums| (user_no, sums)));
                }
                Row::Denial(denial) => written.denials.push(*denial),
                Row::Alert(alert) => written.alerts.push(*alert),
                Row::Erasure(one) => erased.push(one),
                Row::Audit(entry) => entries.push(*entry),
            }
        }
        if !written.operations.is_empty() {
            written.months = self.months_so_far(&written);
        }
        self.store.adopt(written, &erased, &entries, &days)
    }

    async fn is_empty(&mut self) -> Result<bool, StoreError> {
        let sql = "select not exists(select 1 from user) and not exists(select 1 from key) \
                   and not exists(select 1 from audit) and not exists(select 1 from secret)";
        Ok(self.connection().query_row(sql, [], |row| row.get(0))?)
    }

    /// Numbers follow from the rows.
    async fn end_with(
        &mut self,
        _: &BTreeMap<i32, Numbers>,
        emptied: &BTreeMap<i32, OperationNo>,
    ) -> Result<(), StoreError> {
        let mut cursor = *self.store.shared.trimmed.lock();
        cursor.no = emptied.values().next().map_or(0, |no| no.0);
        cursor.write(&self.store.connection, &mut self.store.bytes)
    }

    async fn begin_with(&mut self, rest: &Rest) -> Result<(), StoreError> {
        let plans = Plans::new(rest.plans.clone(), rest.default_plan.clone())
            .map_err(|name| StoreError::Corrupt(format!("the default plan `{name}` is not stored")))?;
        let transaction = self.store.connection.transaction()?;
        load::replace_plans(&transaction, &plans)?;
        for plan in plans.all() {
            load::unmark_plan(&transaction, plan)?;
        }
        for name in &rest.marked {
            load::mark_plan(&transaction, name)?;
        }
        for key in &rest.keys {
            write::put_key(&transaction, key)?;
        }
        for secret in &rest.secrets {
            write::put_secret(&transaction, secret)?;
        }
        for webhook in &rest.webhooks {
            outbox::insert_webhook(&transaction, webhook)?;
        }
        audit::put_copied(&transaction, rest.audit_copied)?;
        let mut statement = transaction.prepare_cached("replace into meta values ('clock', ?)")?;
        RowWriter::new(&mut statement, &mut self.store.bytes).time(rest.clock)?.write()?;
        drop(statement);
        let names = &self.store.shared.names;
        for (kind, of_kind) in NAMES.into_iter().zip(&rest.names) {
            for name in of_kind {
                names.no(kind, Some(name));
            }
        }
        names.write(&transaction)?;
        let cursor = Cursor { no: 0, before: rest.trimmed_before };
        cursor.write(&transaction, &mut self.store.bytes)?;
        transaction.commit()?;
        names.committed();
        *self.store.shared.trimmed.lock() = cursor;
        Ok(())
    }
}

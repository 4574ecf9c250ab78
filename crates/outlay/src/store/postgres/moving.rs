//! The database as one end of a move: see [`crate::store::moving`].
//!
//! One connection does it, while no node is at work. Reading holds every bucket's lock from the first row to the last, so
//! that what is read is what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use outlay_core::breakdown::OTHER;
use outlay_core::id::{Name, OperationNo, UserNo};
use outlay_core::ledger::Numbers;
use outlay_core::month::Month;
use outlay_core::user::UserMonth;
use tokio_postgres::Client;
use tokio_postgres::types::ToSql;

use super::audit::{self, AUDIT, read_entry};
use super::bucket::Buckets;
use super::codec::{self, ALERT, DENIAL, OP_KEY, OPERATION, SESSION, USER_MONTH, USERS, op_of};
use super::connector::Connector;
use super::errors::unavailable;
use super::kept::{KEYS, SECRETS, read_key, read_secret};
use super::link::{Arranged, RowTypes};
use super::outbox::{WEBHOOKS, read_webhook};
use super::rows::{RowReader, Rows, damaged, nanos, stored};
use super::shared::read_plans;
use super::statements::{MADE, PLANS, Table};
use super::sums::{Added, BREAKDOWN, BUCKET_DAY, DAY_COLUMNS, read_day};
use super::{Settings, connect, put, schema, wipe};
use crate::store::StoreError;
use crate::store::moving::{DaySums, Destination, Erased, Kind, Origin, Rest, Row};

/// Rows that are fetched, or numbers, at a time.
const FETCH_ROWS: &str = "fetch 2000 from moving";
const FETCH_NUMBERS: &str = "fetch 50000 from moving";

const NUMBERS: &str = "update bucket t set next_user = u.next_user, next_operation = u.next_operation, \
     next_session = u.next_session, next_denial = u.next_denial, next_alert = u.next_alert \
     from unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[]) \
     as u (bucket, next_user, next_operation, next_session, next_denial, next_alert) where t.bucket = u.bucket";
/// Connections of others of our programs, and how often they are looked for.
const NODES: &str = "select count(*) from pg_stat_activity where datname = current_database() \
     and application_name = 'outlay' and pid <> pg_backend_pid()";
const NODES_TRIES: u32 = 30;

/// What a store says of its place in a move.
pub(super) async fn mark(client: &Client) -> Result<Option<String>, StoreError> {
    let row = client.query_typed_one("select moved from meta", &[]).await.map_err(unavailable)?;
    row.try_get(0).map_err(unavailable)
}

/// A database that no node uses meanwhile.
pub(in crate::store) struct Moving {
    client: Client,
    row_types: RowTypes,
    buckets: Buckets,
    kind: Kind,
    /// Whether a transaction with its cursor is open.
    reading: bool,
    settings: Settings,
}

impl Moving {
    /// Connects, and makes the tables of a database that has none.
    ///
    /// # Errors
    /// As [`super::open`].
    pub(in crate::store) async fn open(settings: &Settings) -> Result<Self, StoreError> {
        let mut client = connect(&Connector::new(settings)).await?;
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        let new = schema::New { buckets: settings.buckets, random };
        let identity = schema::prepare(&mut client, new, settings.clock.wall()).await?;
        for tries in 1.. {
            let nodes: i64 = client.query_one(NODES, &[]).await.and_then(|row| row.try_get(0)).map_err(unavailable)?;
            if nodes == 0 {
                break;
            }
            // Connections that were closed just now may take a moment to go.
            if tries >= NODES_TRIES {
                let said = format!("{nodes} connections of Outlay nodes use the database; stop every node first");
                return Err(StoreError::Unavailable(said));
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        let (buckets, settings) = (identity.buckets, settings.clone());
        let row_types = RowTypes::read(&client).await.map_err(unavailable)?;
        Ok(Self { client, row_types, buckets, kind: Kind::User, reading: false, settings })
    }

    /// The rows of a kind in the order of their recording. A clock that was set back dates later rows as older ones, so
    /// within a bucket a row is as young as the youngest before it.
    fn in_order(table: &Table, recorded: &str) -> String {
        let no = if table.name == "users" { "user_no" } else { "no" };
        format!(
            "select {} from {} t order by max(t.{recorded}) over (partition by t.bucket order by t.{no}), t.bucket, t.{no}",
            table.select("t"),
            table.name,
        )
    }

    async fn declare(&mut self, sql: &str) -> Result<(), StoreError> {
        if !self.reading {
            self.client
                .batch_execute("begin; select from bucket order by bucket for update")
                .await
                .map_err(unavailable)?;
            self.reading = true;
        }
        let sql = format!("close all; declare moving no scroll cursor for {sql}");
        self.client.batch_execute(&sql).await.map_err(unavailable)
    }

    async fn end_reading(&mut self) -> Result<(), StoreError> {
        if std::mem::take(&mut self.reading) {
            self.client.batch_execute("commit").await.map_err(unavailable)?;
        }
        Ok(())
    }

    /// Frees what was locked for reading.
    pub(in crate::store) async fn close(mut self) -> Result<(), StoreError> {
        self.end_reading().await
    }

    async fn with_days(&self, months: Vec<(i32, UserNo, UserMonth)>) -> Result<Vec<Row>, StoreError> {
        let mut keys = Rows::default();
        for (bucket, user_no, month) in &months {
            keys.int(i64::from(*bucket)).number(user_no.0).int(i64::from(month.month.index())).end();
        }
        if months.is_empty() {
            return Ok(Vec::new());
        }
        let sql = format!(
            "select t.user_no, t.month, {DAY_COLUMNS} from unnest($1::int8[], $2::int8[], $3::int8[]) as u (bucket, user_no, month) \
             join breakdown t on t.bucket = u.bucket and t.user_no = u.user_no and t.month = u.month"
        );
        let found = self.client.query(&sql, &keys.parameters()).await.map_err(unavailable)?;
        let mut days: BTreeMap<(UserNo, Month), Vec<DaySums>> = BTreeMap::new();
        for row in &found {
            let mut row = RowReader::new(row);
            let key = (UserNo(row.number()?), row.month()?);
            days.entry(key).or_default().push(read_day(&mut row)?);
        }
        let with_days = |(_, user_no, month): (i32, UserNo, UserMonth)| {
            let mut days = days.remove(&(user_no, month.month)).unwrap_or_default();
            days.sort_unstable_by(|(a_day, a, _), (b_day, b, _)| (a_day, a).cmp(&(b_day, b)));
            Row::Month(user_no, month, days)
        };
        Ok(months.into_iter().map(with_days).collect())
    }

    async fn run(&self, statements: &[(String, Rows<'_>)]) -> Result<(), StoreError> {
        self.client.batch_execute("begin").await.map_err(unavailable)?;
        for (sql, rows) in statements.iter().filter(|(_, rows)| !rows.is_empty()) {
            let done = match self.row_types.arranged(sql, rows) {
                Arranged::Rows(records) => self.client.execute(sql, &[&records]).await,
                Arranged::Columns(parameters) => self.client.execute(sql, &parameters).await,
            };
            done.map_err(unavailable)?;
        }
        self.client.batch_execute("commit").await.map_err(unavailable)
    }
}

impl Origin for Moving {
    fn buckets(&self) -> Buckets {
        self.buckets
    }

    async fn begin(&mut self, kind: Kind) -> Result<(), StoreError> {
        self.kind = kind;
        let sql = match kind {
            Kind::User => Self::in_order(&USERS, "created_at"),
            Kind::Session => Self::in_order(&SESSION, "created_at"),
            Kind::Operation => {
                Self::in_order(&OPERATION, "recorded_at").replace("order by max", "order by t.flags & 16 = 0, max")
            }
            Kind::Denial => Self::in_order(&DENIAL, "recorded_at"),
            Kind::Alert => Self::in_order(&ALERT, "recorded_at"),
            Kind::Month => {
                format!("select {} from user_month t order by t.month, t.bucket, t.user_no", USER_MONTH.select("t"))
            }
            Kind::Erasure => "select user_no, tag, at from erasure order by at, bucket, user_no".to_owned(),
            Kind::Audit => format!("select {} from audit t order by no", AUDIT.select("t")),
        };
        self.declare(&sql).await
    }

    async fn rows(&mut self) -> Result<Vec<Row>, StoreError> {
        let found = self.client.query(FETCH_ROWS, &[]).await.map_err(unavailable)?;
        let mut rows = Vec::with_capacity(found.len());
        let mut months = Vec::new();
        for row in &found {
            let mut row = RowReader::new(row);
            rows.push(match self.kind {
                Kind::User => Row::User(Box::new(codec::read_user(&mut row)?)),
                Kind::Session => Row::Session(Box::new(codec::read_session(&mut row)?)),
                Kind::Operation => Row::Operation(Box::new(codec::read_operation(&mut row)?)),
                Kind::Denial => Row::Denial(Box::new(codec::read_denial(&mut row)?)),
                Kind::Alert => Row::Alert(Box::new(codec::read_alert(&mut row)?)),
                Kind::Erasure => {
                    Row::Erasure(Erased { user_no: UserNo(row.number()?), tag: row.number()?, at: row.time()? })
                }
                Kind::Audit => Row::Audit(Box::new(read_entry(&mut row)?)),
                Kind::Month => {
                    let (user_no, month) = codec::read_month(&mut row)?;
                    months.push((self.buckets.of_no(user_no.0), user_no, month));
                    continue;
                }
            });
        }
        if self.kind == Kind::Month { self.with_days(months).await } else { Ok(rows) }
    }

    async fn numbers(&mut self) -> Result<Vec<(u64, UserNo)>, StoreError> {
        let found = self.client.query(FETCH_NUMBERS, &[]).await.map_err(unavailable)?;
        let column =
            |row: &tokio_postgres::Row, name| row.try_get::<_, i64>(name).map(i64::cast_unsigned).map_err(unavailable);
        found.iter().map(|row| Ok((column(row, "no")?, UserNo(column(row, "user_no")?)))).collect()
    }

    async fn rest(&mut self) -> Result<Rest, StoreError> {
        let found = async |sql: &str| self.client.query(sql, &[]).await.map_err(unavailable);
        let (_, plans) = read_plans(&found(PLANS).await?, &self.settings)?;
        let marked = found("select name from plan where recheck order by name").await?;
        let marked = codec::read_all(&marked, |row| row.required_text().map(Name::from_stored))?;
        let keys = codec::read_all(&found(KEYS).await?, |row| read_key(row).map(Arc::new))?;
        let secrets = codec::read_all(&found(SECRETS).await?, |row| read_secret(row).map(Arc::new))?;
        let webhooks = codec::read_all(&found(WEBHOOKS).await?, read_webhook)?;
        let sql = "select a.copied, (select max(now_at) from bucket) from audit_numbers a";
        let numbers = codec::read_all(&found(sql).await?, |row| Ok((row.number()?, row.time()?)))?;
        let (audit_copied, clock) = *numbers.first().ok_or_else(|| damaged("table audit_numbers"))?;
        let row = self.client.query_one("select trimmed_before from meta", &[]).await.map_err(unavailable)?;
        let trimmed_before = RowReader::new(&row).optional_time()?;
        let mut names: [Vec<Name>; 3] = Default::default();
        for row in &found("select kind, name from name order by kind, name").await? {
            let mut row = RowReader::new(row);
            let kind = usize::try_from(row.required()? - 1).ok().and_then(|kind| names.get_mut(kind));
            let (kind, name) = (kind.ok_or_else(|| damaged("a kind of names"))?, row.required_text()?);
            // Each kind has that one from the start.
            if name != OTHER {
                kind.push(Name::from_stored(name));
            }
        }
        Ok(Rest {
            default_plan: plans.default_plan().clone(),
            plans: plans.all().to_vec(),
            marked,
            keys,
            secrets,
            webhooks,
            audit_copied,
            trimmed_before,
            names,
            clock,
        })
    }

    async fn waiting(&mut self) -> Result<u64, StoreError> {
        let sql = "select count(*) from delivery where due is not null";
        let row = self.client.query_one(sql, &[]).await.map_err(unavailable)?;
        RowReader::new(&row).number()
    }

    async fn mark(&mut self) -> Result<Option<String>, StoreError> {
        mark(&self.client).await
    }

    async fn set_mark(&mut self, mark: Option<&str>) -> Result<(), StoreError> {
        self.client.execute("update meta set moved = $1", &[&mark]).await.map_err(unavailable)?;
        // What was locked for reading stays so until this is written.
        self.end_reading().await
    }
}

impl Destination for Moving {
    async fn write(&mut self, rows: &[(i32, Row)]) -> Result<(), StoreError> {
        self.end_reading().await?;
        let ops: Vec<[u8; 16]> = rows
            .iter()
            .filter_map(|(_, row)| match row {
                Row::Operation(operation) => Some(op_of(&operation.operation_id)),
                _ => None,
            })
            .collect();
        let mut ops = ops.iter();
        let (mut users, mut sessions, mut operations, mut keys) = Default::default();
        let (mut months, mut denials, mut alerts, mut erasures, mut entries) = Default::default();
        let (mut reversed, mut added) = (Rows::default(), Added::default());
        for (bucket, row) in rows {
            let bucket = *bucket;
            match row {
                Row::User(user) => codec::write_user(&mut users, bucket, user),
                Row::Session(session) => {
                    codec::write_session(&mut sessions, bucket, session)?;
                    added.session(bucket, None, session);
                }
                Row::Operation(operation) => {
                    codec::write_operation(&mut operations, bucket, operation)?;
                    let op = ops.next();
                    // Whose person is erased is found by no id.
                    if let Some(op) = op.filter(|_| !operation.operation_id.as_str().is_empty()) {
                        codec::write_op_key(&mut keys, bucket, op, operation);
                        if operation.reversed_by.is_some() {
                            super::write::write_reversed_key(&mut reversed, bucket, op, operation);
                        }
                    }
                }
                Row::Month(user_no, month, days) => {
                    codec::write_month(&mut months, bucket, *user_no, month);
                    for (day, of, sums) in days {
                        added.sums(bucket, *user_no, *day, of, sums);
                    }
                }
                Row::Denial(denial) => codec::write_denial(&mut denials, bucket, denial)?,
                Row::Alert(alert) => codec::write_alert(&mut alerts, bucket, alert),
                Row::Audit(entry) => audit::write_entry(&mut entries, bucket, entry),
                Row::Erasure(one) => {
                    let row: &mut Rows<'_> = &mut erasures;
                    row.int(i64::from(bucket)).number(one.user_no.0).number(one.tag).time(one.at).int(wipe::DONE).end();
                }
            }
        }
        let erasure =
            Table { name: "erasure", keys: &[], columns: "bucket int8, user_no int8, tag int8, at int8, stage int8" };
        let statements = [
            (USERS.insert(), users),
            (SESSION.insert(), sessions),
            (MADE.add_session_days.clone(), added.session_days()),
            (OP_KEY.insert(), keys),
            (OPERATION.insert(), operations),
            (super::statements::REVERSE_OP_KEYS.to_owned(), reversed),
            (BREAKDOWN.add(), added.breakdown()),
            (BUCKET_DAY.add(), added.bucket_days()),
            (USER_MONTH.insert(), months),
            (DENIAL.insert(), denials),
            (ALERT.insert(), alerts),
            (erasure.insert(), erasures),
            (AUDIT.insert(), entries),
        ];
        self.run(&statements).await
    }

    async fn is_empty(&mut self) -> Result<bool, StoreError> {
        let sql = "select not exists(select from users) and not exists(select from api_key) \
                   and not exists(select from audit) and not exists(select from secret)";
        let row = self.client.query_one(sql, &[]).await.map_err(unavailable)?;
        row.try_get(0).map_err(unavailable)
    }

    async fn end_with(
        &mut self,
        next: &BTreeMap<i32, Numbers>,
        emptied: &BTreeMap<i32, OperationNo>,
    ) -> Result<(), StoreError> {
        self.end_reading().await?;
        let (mut buckets, mut cursors) = (Rows::default(), Rows::default());
        for (bucket, numbers) in next {
            buckets.int(i64::from(*bucket)).number(numbers.user.0).number(numbers.operation.0);
            buckets.number(numbers.session.0).number(numbers.denial.0).number(numbers.alert.0).end();
        }
        for (bucket, no) in emptied {
            cursors.int(i64::from(*bucket)).number(no.0).end();
        }
        let sql = "update bucket t set trimmed = u.trimmed from unnest($1::int8[], $2::int8[]) as u (bucket, trimmed) \
                   where t.bucket = u.bucket";
        self.run(&[(NUMBERS.to_owned(), buckets), (sql.to_owned(), cursors)]).await?;
        let newest = "update audit_numbers set newest = coalesce((select max(no) from audit), 0)";
        self.client.execute(newest, &[]).await.map_err(unavailable).map(|_| ())
    }

    async fn begin_with(&mut self, rest: &Rest) -> Result<(), StoreError> {
        self.end_reading().await?;
        let transaction = self.client.transaction().await.map_err(unavailable)?;
        transaction.batch_execute("delete from plan").await.map_err(unavailable)?;
        for plan in &rest.plans {
            let limits = &plan.limits;
            let marked = rest.marked.contains(&plan.name);
            let sql = "insert into plan (name, tier, cost, ai_runs, api_runs, recheck) values ($1, $2, $3, $4, $5, $6)";
            let (name, tier) = (plan.name.as_str(), i64::from(plan.tier));
            let row: [&(dyn ToSql + Sync); 6] =
                [&name, &tier, &limits.cost, &limits.ai_runs, &limits.api_runs, &marked];
            transaction.execute(sql, &row).await.map_err(unavailable)?;
        }
        for key in &rest.keys {
            put::insert_key(&transaction, key).await.map_err(unavailable)?;
        }
        for secret in &rest.secrets {
            put::insert_secret(&transaction, secret).await.map_err(unavailable)?;
        }
        for webhook in &rest.webhooks {
            let sql = "insert into webhook (no, id, url, events, description, configured, created_at, gone_at) \
                       values ($1, $2, $3, $4, $5, $6, $7, $8)";
            let (no, events) = (stored(webhook.no), i16::from(webhook.events.0));
            let (created_at, gone_at) = (nanos(webhook.created_at), webhook.gone_at.map(nanos));
            let row: [&(dyn ToSql + Sync); 8] = [
                &no,
                &webhook.id,
                &webhook.url,
                &events,
                &webhook.description,
                &webhook.configured,
                &created_at,
                &gone_at,
            ];
            transaction.execute(sql, &row).await.map_err(unavailable)?;
        }
        for (kind, names) in (1_i16..).zip(&rest.names) {
            let names: Vec<&str> = names.iter().map(Name::as_str).collect();
            let sql =
                "insert into name (kind, name) select $1, name from unnest($2::text[]) name on conflict do nothing";
            transaction.execute(sql, &[&kind, &names]).await.map_err(unavailable)?;
        }
        let sql = "update meta set trimmed_before = $1";
        transaction.execute(sql, &[&rest.trimmed_before.map(nanos)]).await.map_err(unavailable)?;
        let sql = "update audit_numbers set copied = $1";
        transaction.execute(sql, &[&stored(rest.audit_copied)]).await.map_err(unavailable)?;
        let sql = "update meta set default_plan = $1, version = version + 1";
        transaction.execute(sql, &[&rest.default_plan.as_str()]).await.map_err(unavailable)?;
        let sql = "update bucket set now_at = greatest(now_at, $1::int8)";
        transaction.execute(sql, &[&nanos(rest.clock)]).await.map_err(unavailable)?;
        transaction.commit().await.map_err(unavailable)
    }
}

//! One connection: its prepared statements, and what the server says on the way.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Poll;

use futures_util::future::{MaybeDone, maybe_done};
use hashbrown::HashMap;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, Error, Row, Statement};

use super::connector::{Connector, Unreached, Wire};
use super::errors::told;
use super::rows::{Records, Rows};
use super::statements::{BEGIN, BEGIN_POOLED, FIND_ROW_TYPES, row_type_of};
use super::typed::typed;

/// What every connection that writes sets: an answer to COMMIT is a promise, and a node that stands still frees its buckets.
/// A statement is planned once, which may be when its tables are new and empty: few rows by their keys, one after the
/// other, is right for every size.
pub(super) const SETTINGS: &str = "set synchronous_commit = on; set idle_in_transaction_session_timeout = '5s'; \
                        set lock_timeout = '2s'; set plan_cache_mode = force_generic_plan; set jit = off; \
                        set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; \
                        set random_page_cost = 0.01";

/// A connection that writes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) wire: Wire,
    /// `None` where the next transaction may be on another connection of a pooler's.
    statements: Option<HashMap<&'static str, Statement, foldhash::fast::FixedState>>,
    row_types: RowTypes,
}

/// The numbers of the database's row types, by name. A database that was restored, or moved to another server behind the
/// same name, has others, and PostgreSQL 14 takes rows by no other number (15 does not look): so each connection asks.
#[derive(Debug)]
pub(super) struct RowTypes(HashMap<String, u32, foldhash::fast::FixedState>);

impl RowTypes {
    /// Reads them from the database.
    pub(super) async fn read(client: &Client) -> Result<Self, Error> {
        let rows = client.query_typed(FIND_ROW_TYPES, &[]).await?;
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, Error>>().map(Self)
    }

    /// Rows as a statement takes them: all in one parameter, or one for each column.
    pub(super) fn arranged<'a>(&self, sql: &str, rows: &'a Rows<'_>) -> Arranged<'a> {
        match row_type_of(sql).and_then(|name| self.0.get(name)) {
            Some(row_type) => Arranged::Rows(rows.records(*row_type)),
            None => Arranged::Columns(rows.parameters()),
        }
    }
}

/// Rows as a statement takes them.
pub(super) enum Arranged<'a> {
    /// An array of rows.
    Rows(Records<'a>),
    /// An array for each column.
    Columns(Vec<&'a (dyn ToSql + Sync)>),
}

/// A statement on its way.
pub(super) type Sent<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'a>>;

impl Link {
    /// Connects, to a database that has its tables, and prepares statements, all at once.
    pub(super) async fn open(connector: &Connector, statements: &[&'static str]) -> Result<Self, Unreached> {
        let wire = connector.connect().await?;
        let row_types = RowTypes::read(&wire.client).await.map_err(|error| Unreached(told(&error)))?;
        let mut link = Self { wire, statements: None, row_types };
        if connector.prepared {
            link.prepare(statements).await.map_err(|error| Unreached(told(&error)))?;
        }
        Ok(link)
    }

    async fn prepare(&mut self, statements: &[&'static str]) -> Result<(), Error> {
        let client = &self.wire.client;
        client.batch_execute(SETTINGS).await?;
        let prepared = in_order(statements.iter().map(|sql| client.prepare(sql))).await;
        let mut all = HashMap::default();
        for (sql, statement) in statements.iter().zip(prepared) {
            all.insert(*sql, statement?);
        }
        self.statements = Some(all);
        Ok(())
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Sent<'_> {
        self.control(if self.statements.is_some() { BEGIN } else { BEGIN_POOLED })
    }

    /// A statement with rows.
    pub(super) fn send_rows<'a>(&'a self, sql: &'static str, rows: &'a Rows<'_>) -> Sent<'a> {
        let records = match self.row_types.arranged(sql, rows) {
            Arranged::Columns(parameters) => return self.send(sql, parameters),
            Arranged::Rows(records) => records,
        };
        let client = &self.wire.client;
        match self.prepared(sql) {
            Some(statement) => Box::pin(async move { client.query(statement, &[&records]).await }),
            // The statement says the type itself, by its name.
            None => Box::pin(async move { client.query_typed(sql, &[(&records, Type::UNKNOWN)]).await }),
        }
    }

    /// A statement.
    pub(super) fn send<'a>(&'a self, sql: &'static str, parameters: Vec<&'a (dyn ToSql + Sync)>) -> Sent<'a> {
        let client = &self.wire.client;
        match self.prepared(sql) {
            Some(statement) => Box::pin(async move { client.query(statement, &parameters).await }),
            None => Box::pin(async move { client.query_typed(sql, &typed(&parameters)).await }),
        }
    }

    fn prepared(&self, sql: &str) -> Option<&Statement> {
        let all = self.statements.as_ref()?;
        Some(all.get(sql).expect("a lane's statements are prepared when it connects"))
    }

    /// A statement without parameters or rows, such as COMMIT.
    pub(super) fn control(&self, sql: &'static str) -> Sent<'_> {
        Box::pin(async move { self.wire.client.batch_execute(sql).await.map(|()| Vec::new()) })
    }

    /// Whether a wait for standbys was cut short since the last time this was asked.
    pub(super) fn take_wait_cut(&self) -> bool {
        self.wire.wait_cut.swap(false, Ordering::AcqRel)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Without this, it would go on for as long as an answer is missing: from a host that stands still, for ever.
        self.wire.task.abort();
    }
}

/// Runs futures side by side, each begun in its place: statements go out in this order, in one round trip, and each is
/// waited for to its end, whatever became of those before it.
pub(super) async fn in_order<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut running: Vec<Pin<Box<MaybeDone<F>>>> =
        futures.into_iter().map(|future| Box::pin(maybe_done(future))).collect();
    poll_fn(|context| {
        let mut done = true;
        for future in &mut running {
            done &= future.as_mut().poll(context).is_ready();
        }
        if done { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    running.iter_mut().filter_map(|future| future.as_mut().take_output()).collect()
}

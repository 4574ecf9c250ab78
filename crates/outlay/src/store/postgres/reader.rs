//! Connections that read: a few, shared, each replaced when it does not lead to the primary any more.

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{self, Metrics, Object, PoolError, RecycleError, RecycleResult};
use deadpool_postgres::ClientWrapper;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Error, IsolationLevel, Row};

use super::connector::{Connector, Mark, Unreached};
use super::errors::unavailable;
use super::typed::typed;
use crate::store::StoreError;

/// Connections that read.
pub(super) const READERS: usize = 4;
/// How long a read waits for one of them.
const WAIT: Duration = Duration::from_secs(10);

/// Makes them.
#[derive(Debug)]
pub(super) struct Readers {
    connector: Arc<Connector>,
}

#[derive(Debug)]
pub(super) struct Pooled {
    client: ClientWrapper,
    mark: Mark,
}

pub(super) type Pool = managed::Pool<Readers>;

impl managed::Manager for Readers {
    type Type = Pooled;
    type Error = Unreached;

    async fn create(&self) -> Result<Pooled, Unreached> {
        let wire = self.connector.connect().await?;
        Ok(Pooled { mark: wire.mark, client: ClientWrapper::new(wire.client, wire.task) })
    }

    async fn recycle(&self, pooled: &mut Pooled, _: &Metrics) -> RecycleResult<Unreached> {
        if self.connector.is_current(&pooled.client, pooled.mark) {
            Ok(())
        } else {
            Err(RecycleError::message("it does not lead to the primary any more"))
        }
    }
}

pub(super) fn pool(connector: &Arc<Connector>) -> Result<Pool, StoreError> {
    Pool::builder(Readers { connector: Arc::clone(connector) })
        .max_size(READERS)
        .wait_timeout(Some(WAIT))
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|error| StoreError::Unavailable(error.to_string()))
}

/// A connection that reads.
#[derive(Debug)]
pub(super) struct Reader {
    pooled: Object<Readers>,
    prepared: bool,
}

impl Reader {
    pub(super) async fn of(pool: &Pool) -> Result<Self, StoreError> {
        let pooled = pool.get().await.map_err(|error| match error {
            PoolError::Backend(unreached) => unreached.into(),
            error => StoreError::Unavailable(format!("no connection that reads is free: {error}")),
        })?;
        Ok(Self { pooled, prepared: pool.manager().connector.prepared })
    }

    /// A snapshot of the database, for reads only.
    pub(super) async fn snapshot(&mut self) -> Result<Transaction<'_>, StoreError> {
        let builder = self.pooled.client.build_transaction();
        let builder = builder.isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        Ok(Transaction { inner: builder.start().await.map_err(unavailable)?, prepared: self.prepared })
    }
}

impl Deref for Reader {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.pooled.client
    }
}

impl DerefMut for Reader {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut self.pooled.client
    }
}

/// A snapshot that is read from.
pub(super) struct Transaction<'a> {
    inner: deadpool_postgres::Transaction<'a>,
    prepared: bool,
}

impl Transaction<'_> {
    /// Nothing was written, so nothing can fail that matters.
    pub(super) async fn commit(self) -> Result<(), Error> {
        self.inner.commit().await
    }
}

impl<'a> Deref for Transaction<'a> {
    type Target = deadpool_postgres::Transaction<'a>;

    fn deref(&self) -> &deadpool_postgres::Transaction<'a> {
        &self.inner
    }
}

/// Who can be asked: with a statement that stays prepared, or where the next transaction may be on another connection of
/// a pooler's, with one that does not.
pub(super) trait Ask: Sync {
    fn ask(
        &self,
        sql: &str,
        parameters: &[&(dyn ToSql + Sync)],
    ) -> impl Future<Output = Result<Vec<Row>, Error>> + Send;
}

impl Ask for Transaction<'_> {
    async fn ask(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        if self.prepared {
            return self.inner.query(&self.inner.prepare_cached(sql).await?, parameters).await;
        }
        self.inner.query_typed(sql, &typed(parameters)).await
    }
}

impl Ask for Reader {
    async fn ask(&self, sql: &str, parameters: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        if self.prepared {
            return self.query(&self.prepare_cached(sql).await?, parameters).await;
        }
        self.query_typed(sql, &typed(parameters)).await
    }
}

/// Rows of a statement.
pub(super) async fn rows(
    client: &impl Ask,
    sql: &str,
    parameters: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, StoreError> {
    client.ask(sql, parameters).await.map_err(unavailable)
}

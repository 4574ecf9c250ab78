//! One connection: its prepared statements, and what the server says on the way.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;

use futures_util::future::{MaybeDone, maybe_done};
use hashbrown::HashMap;
use tokio_postgres::error::SqlState;
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Row, Statement};

use super::rows::Rows;

/// What every connection that writes sets: an answer to COMMIT is a promise, and a node that stands still frees its buckets.
const SETTINGS: &str = "set synchronous_commit = on; set idle_in_transaction_session_timeout = '5s'; \
                        set lock_timeout = '2s'; set plan_cache_mode = force_generic_plan";

/// A connection that writes.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) client: Client,
    statements: HashMap<&'static str, Statement, foldhash::fast::FixedState>,
    /// Whether the server said that a wait for standbys was cut short.
    wait_cut: Arc<AtomicBool>,
}

/// A statement on its way.
pub(super) type Sent<'a> = Pin<Box<dyn Future<Output = Result<Vec<Row>, Error>> + Send + 'a>>;

impl Link {
    /// Connects and prepares statements, all in one round trip.
    pub(super) async fn open(config: &Config, statements: &[&'static str]) -> Result<Self, Error> {
        let (client, mut connection) = config.connect(NoTls).await?;
        let wait_cut = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&wait_cut);
        let run = async move {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notice(notice)) => {
                        tracing::warn!(code = notice.code().code(), said = notice.message(), "PostgreSQL warns");
                        if *notice.code() == SqlState::WARNING {
                            seen.store(true, Ordering::Release);
                        }
                    }
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a connection to PostgreSQL ended");
                        break;
                    }
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "it ends with its connection, and whoever uses that sees so")]
        tokio::spawn(run);
        client.batch_execute(SETTINGS).await?;
        let prepared = in_order(statements.iter().map(|sql| client.prepare(sql))).await;
        let mut all = HashMap::default();
        for (sql, statement) in statements.iter().zip(prepared) {
            all.insert(*sql, statement?);
        }
        Ok(Self { client, statements: all, wait_cut })
    }

    /// A statement with one array per column.
    pub(super) fn send_rows<'a>(&'a self, sql: &'static str, rows: &'a Rows<'_>) -> Sent<'a> {
        Box::pin(async move { self.client.query(self.statement(sql), &rows.parameters()).await })
    }

    /// A statement.
    pub(super) fn send<'a>(
        &'a self,
        sql: &'static str,
        parameters: Vec<&'a (dyn tokio_postgres::types::ToSql + Sync)>,
    ) -> Sent<'a> {
        Box::pin(async move { self.client.query(self.statement(sql), &parameters).await })
    }

    /// A statement without parameters or rows, such as COMMIT.
    pub(super) fn control(&self, sql: &'static str) -> Sent<'_> {
        Box::pin(async move { self.client.batch_execute(sql).await.map(|()| Vec::new()) })
    }

    fn statement(&self, sql: &'static str) -> &Statement {
        self.statements.get(sql).expect("a lane's statements are prepared when it connects")
    }

    /// Whether a wait for standbys was cut short since the last time this was asked.
    pub(super) fn take_wait_cut(&self) -> bool {
        self.wait_cut.swap(false, Ordering::AcqRel)
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

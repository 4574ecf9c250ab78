//! Clients of the functions in `by_hand.sql`: tasks of one thread that share a pool of connections, as a backend would.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime};

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio::task::LocalSet;
use tokio_postgres::{Config, NoTls};

use crate::load::{Measured, Window};
use crate::requests::{Source, Values};

pub(crate) const TABLES: &str = include_str!("by_hand.sql");

const ONE: &str = "select * from record_operation($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const MANY: &str = "select record_operations($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const AI: i8 = b'a'.cast_signed();
const PROVIDER: &str = "gemini";
const MODEL: &str = "gemini-2.5-flash-lite";

/// What clients call, and how.
#[derive(Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) clients: usize,
    /// Connections that they share.
    pub(crate) pool: usize,
    /// Operations of one call; `None` calls the function of one.
    pub(crate) batch: Option<usize>,
}

/// One operation as the functions take it.
struct Row {
    user: String,
    operation: String,
    feature: String,
    cost: i64,
}

impl Row {
    fn of(values: Values) -> Self {
        Self {
            user: format!("user_{:06}", values.user),
            operation: format!("usage_{:016x}", values.id),
            feature: format!("contact_tagging_{:02}", values.feature),
            cost: i64::from(values.cost) * 10_000,
        }
    }
}

impl Calls {
    /// Runs a closed loop of clients.
    pub(crate) fn run(self, config: &Config, warm_up: Duration, measured: Duration, source: &mut Source) -> Measured {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = LocalSet::new();
        let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_config(config.clone(), NoTls, manager);
        let pool = Pool::builder(manager).max_size(self.pool).build().unwrap();
        let shared = Rc::new(RefCell::new((std::mem::replace(source, Source::new(0, 1)), Measured::new())));
        let window = Rc::new(Window::new(warm_up, measured));
        let tasks: Vec<_> = (0..self.clients)
            .map(|_| {
                let (pool, shared, window) = (pool.clone(), Rc::clone(&shared), Rc::clone(&window));
                local.spawn_local(async move {
                    loop {
                        let began = Instant::now();
                        if window.is_over(began) {
                            return;
                        }
                        let values: Vec<_> = {
                            let source = &mut shared.borrow_mut().0;
                            (0..self.batch.unwrap_or(1)).map(|_| source.values()).collect()
                        };
                        call(&pool, &values, self.batch.is_some()).await;
                        window.note(began, &mut shared.borrow_mut().1);
                    }
                })
            })
            .collect();
        runtime.block_on(local.run_until(async {
            for task in tasks {
                task.await.unwrap();
            }
        }));
        let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
        let (used, mut measured) = shared.into_inner();
        *source = used;
        window.close(&mut measured);
        measured
    }
}

/// Records an operation of each user.
pub(crate) async fn fill(config: &Config, values: &[Values]) {
    let manager = Manager::new(config.clone(), NoTls);
    let pool = Pool::builder(manager).max_size(1).build().unwrap();
    for values in values.chunks(1_000) {
        call(&pool, values, true).await;
    }
}

async fn call(pool: &Pool, values: &[Values], many: bool) {
    let rows: Vec<Row> = values.iter().map(|values| Row::of(*values)).collect();
    let now = SystemTime::now();
    let client = pool.get().await.unwrap();
    if many {
        let statement = client.prepare_cached(MANY).await.unwrap();
        let texts = |text: fn(&Row) -> &str| rows.iter().map(text).collect::<Vec<_>>();
        let (users, operations) = (texts(|row| &row.user), texts(|row| &row.operation));
        let (features, costs) = (texts(|row| &row.feature), rows.iter().map(|row| row.cost).collect::<Vec<_>>());
        let count = rows.len();
        let (times, types, tokens) = (vec![now; count], vec![AI; count], vec![0_i64; count]);
        let (providers, models, runs) = (vec![PROVIDER; count], vec![MODEL; count], vec![true; count]);
        let row = client
            .query_one(
                &statement,
                &[&users, &operations, &times, &types, &features, &providers, &models, &costs, &runs, &tokens],
            )
            .await
            .unwrap();
        assert_eq!(row.get::<_, i64>(0), i64::try_from(count).unwrap(), "every operation is new");
    } else {
        let statement = client.prepare_cached(ONE).await.unwrap();
        for row in &rows {
            let answer = client
                .query_one(
                    &statement,
                    &[&row.user, &row.operation, &now, &AI, &row.feature, &PROVIDER, &MODEL, &row.cost, &true, &0_i64],
                )
                .await
                .unwrap();
            assert!(!answer.get::<_, bool>(0) && !answer.get::<_, bool>(7), "new, and within its limits");
        }
    }
}

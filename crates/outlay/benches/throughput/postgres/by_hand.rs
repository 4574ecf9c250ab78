//! Clients of the functions in `by_hand.sql`: tasks of one thread that share a pool of connections, as a backend would.

use std::time::SystemTime;

use deadpool_postgres::{Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio_postgres::{Config, NoTls};

use crate::load::{self, Load, Measured};
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
    /// Connections that the clients share.
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
    /// Lets clients call that share the pool.
    pub(crate) fn run(self, config: &Config, load: &Load, source: &mut Source) -> Measured {
        load.drive(self.batch.unwrap_or(1), source, async {
            let manager = ManagerConfig { recycling_method: RecyclingMethod::Fast };
            let manager = Manager::from_config(config.clone(), NoTls, manager);
            let pool = Pool::builder(manager).max_size(self.pool).build().unwrap();
            (0..load.clients).map(|_| Caller { pool: pool.clone(), many: self.batch.is_some() }).collect()
        })
    }
}

struct Caller {
    pool: Pool,
    many: bool,
}

impl load::Client for Caller {
    async fn cycle(&mut self, values: &[Values]) -> Result<(), String> {
        call(&self.pool, values, self.many).await;
        Ok(())
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

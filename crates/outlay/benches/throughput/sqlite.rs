//! SQLite as one writes it without much thought: a transaction a request over a schema out of a textbook
//! (`sqlite/tables.sql`), in this process, its one connection behind a mutex that a thread of each client waits for.
//!
//! There is no HTTP and no JSON before it, which is to its advantage.

use std::path::Path;
use std::time::Instant;

use parking_lot::Mutex;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::BATCH;
use crate::load::{Began, Load, Measured, Pace, Window};
use crate::pace::Schedule;
use crate::report::timestamp;
use crate::requests::{Source, Values};

/// A log beside the file and a sync a transaction; as much memory as Outlay's store has.
const SETTINGS: &str = "pragma journal_mode = wal; pragma synchronous = full; pragma cache_size = -65536;";
const TABLES: &str = include_str!("sqlite/tables.sql");

pub(crate) struct Sqlite(Mutex<Connection>);

/// What the threads of the clients share.
struct Shared<'a> {
    connection: &'a Mutex<Connection>,
    source: Mutex<Source>,
    window: Window,
    schedule: Option<Mutex<Schedule>>,
    operations: usize,
}

impl Sqlite {
    pub(crate) fn open(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let connection = Connection::open(folder.join("ledger.db")).unwrap();
        connection.execute_batch(SETTINGS).unwrap();
        connection.execute_batch(TABLES).unwrap();
        Self(Mutex::new(connection))
    }

    /// Records these operations.
    pub(crate) fn fill(&self, values: &[Values]) {
        for values in values.chunks(BATCH) {
            record(&mut self.0.lock(), values).unwrap();
        }
    }

    /// Lets clients record, so many operations a transaction.
    pub(crate) fn run(&self, operations: usize, load: &Load, source: &mut Source) -> Measured {
        let window = Window::new(load);
        let schedule = match load.pace {
            Pace::Closed => None,
            Pace::Open { per_second } => Some(Mutex::new(Schedule::new(per_second, &window))),
        };
        let source_of_all = Mutex::new(source.take());
        let shared = Shared { connection: &self.0, source: source_of_all, window, schedule, operations };
        let mut measured = Measured::new();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..load.clients).map(|_| scope.spawn(|| shared.client())).collect();
            for thread in threads {
                measured.join(thread.join().unwrap());
            }
        });
        measured.close(&window);
        *source = shared.source.into_inner();
        measured
    }
}

impl Shared<'_> {
    /// Asks until the time is over.
    fn client(&self) -> Measured {
        let mut measured = Measured::new();
        let mut values = Vec::with_capacity(self.operations);
        #[cfg(target_os = "linux")]
        rustix::thread::set_current_timer_slack(std::num::NonZero::new(1)).unwrap();
        loop {
            let began = match &self.schedule {
                None => Began::Now(Instant::now()),
                Some(schedule) => {
                    // The lock is let go before the sleep, which may be long.
                    let due = schedule.lock().next();
                    let Some(due) = due else { return measured };
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if Instant::now() >= self.window.gives_up {
                        measured.give_up(&self.window, due);
                        continue;
                    }
                    Began::WasDue(due)
                }
            };
            if let Began::Now(now) = began
                && self.window.is_over(now)
            {
                return measured;
            }
            self.source.lock().refill(&mut values, self.operations);
            let answer = record(&mut self.connection.lock(), &values);
            measured.note(&self.window, began, answer.map_err(|error| error.to_string()));
        }
    }
}

/// One transaction: each operation once, with its user's month and day, and what is used of which limits.
fn record(connection: &mut Connection, values: &[Values]) -> rusqlite::Result<()> {
    let now = timestamp();
    let day = now.strftime("%Y-%m-%d").to_string();
    let month = &day[..7];
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    {
        let mut operation = transaction.prepare_cached(
            "insert into operation (user_id, operation_id, at, usage_type, feature, provider, model, cost, is_run)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) on conflict do nothing",
        )?;
        let mut to_month = transaction.prepare_cached(
            "insert into user_month (user_id, month, cost, ai_runs, api_runs, operations) values (?1, ?2, ?3, ?4, ?5, 1)
             on conflict do update set cost = cost + excluded.cost, ai_runs = ai_runs + excluded.ai_runs,
               api_runs = api_runs + excluded.api_runs, operations = operations + 1",
        )?;
        let mut to_day = transaction.prepare_cached(
            "insert into user_day (user_id, day, usage_type, feature, provider, model, cost, operations)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1)
             on conflict do update set cost = cost + excluded.cost, operations = operations + 1",
        )?;
        let mut budget = transaction.prepare_cached(
            "select m.cost > p.cost or m.ai_runs > p.ai_runs or m.api_runs > p.api_runs, m.cost, m.ai_runs, m.api_runs, p.cost,
               p.ai_runs, p.api_runs
             from user_month m join plan p on p.name = coalesce((select plan from account where user_id = m.user_id), 'base')
             where m.user_id = ?1 and m.month = ?2",
        )?;
        for values in values {
            let user = format!("user_{:06}", values.user);
            let feature = format!("contact_tagging_{:02}", values.feature);
            let (provider, model) = ("gemini", "gemini-2.5-flash-lite");
            let (id, cost) = (format!("usage_{:016x}", values.id), i64::from(values.cost) * 10_000);
            let at = now.as_millisecond();
            let is_new = operation.execute(params![user, id, at, "a", feature, provider, model, cost, 1])? == 1;
            assert!(is_new, "every operation is new");
            to_month.execute(params![user, month, cost, 1, 0])?;
            to_day.execute(params![user, day, "a", feature, provider, model, cost])?;
            let exceeded: bool = budget.query_row(params![user, month], |row| row.get(0))?;
            assert!(!exceeded, "every operation is within its limits");
        }
    }
    transaction.commit()
}

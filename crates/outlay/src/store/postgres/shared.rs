//! What lanes and readers of one process share: what the database says of itself, and what every node keeps in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use outlay_core::ledger::Numbers;
use outlay_core::month::Timestamp;
use outlay_core::plan::Plans;
use parking_lot::{Mutex, RwLock};
use tokio_postgres::Row;

use super::Settings;
use super::bucket::Buckets;
use super::chores::Chores;
use super::codec::read_all;
use super::connector::Connector;
use super::kept::Kept;
use super::names::Names;
use super::outbox::read_webhook;
use super::retention::Trimmed;
use super::rows::{RowReader, time};
use super::safety::Safety;
use super::schema::Identity;
use super::sweep::Sweeps;
use super::watch::Watch;
use crate::feed::Feed;
use crate::store::StoreError;
use crate::store::hold_clock::HoldClock;
use crate::store::outbox::Receivers;
use outlay_core::id::{AlertNo, DenialNo, Name, OperationNo, SessionNo, UserNo};
use outlay_core::plan::{Limits, Plan};

/// What batches go by beside their books, of one version of what all nodes keep in memory.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    pub(super) version: i64,
    pub(super) plans: Arc<Plans>,
    /// Who is told of what.
    pub(super) receivers: Arc<Receivers>,
}

impl Rules {
    /// Reads them from the answers to [`super::statements::PLANS`] and, asked after it, [`super::outbox::WEBHOOKS`].
    pub(super) fn read(plans: &[Row], webhooks: &[Row], settings: &Settings) -> Result<Self, StoreError> {
        let (version, plans) = read_plans(plans, settings)?;
        let webhooks = read_all(webhooks, read_webhook)?;
        Ok(Self { version, plans, receivers: Arc::new(Receivers::new(&webhooks, settings.mail)) })
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) connector: Arc<Connector>,
    pub(super) settings: Settings,
    pub(super) identity: Identity,
    pub(super) feed: Arc<Feed>,
    pub(super) watch: Watch,
    rules: RwLock<Rules>,
    pub(super) kept: Kept,
    /// The numbers that come next, by bucket, as far as this process knows.
    numbers: Mutex<Vec<Numbers>>,
    /// The largest time that a batch was decided at.
    decided_at: AtomicI64,
    /// How far the database's clock is ahead of this machine's, in nanoseconds.
    ahead: AtomicI64,
    pub(super) chores: Chores,
    pub(super) safety: Safety,
    pub(super) sweeps: Sweeps,
    pub(super) names: Names,
    /// What is emptied of its details, as far as this node knows.
    pub(super) trimmed: Mutex<Trimmed>,
    /// What this node believes of the clock.
    pub(super) holds: HoldClock,
}

impl Shared {
    pub(super) fn new(connector: Arc<Connector>, settings: Settings, identity: Identity, epoch: u64) -> Self {
        let holds = HoldClock::new(Arc::clone(&settings.clock), Timestamp::EPOCH);
        let safety = Safety::new(settings.require_sync);
        let sweeps = Sweeps::new(settings.clock.monotonic_nanos());
        let count = usize::try_from(identity.buckets.count()).unwrap_or(1);
        Self {
            connector,
            settings,
            identity,
            feed: Arc::new(Feed::new(epoch)),
            watch: Watch::new(epoch),
            rules: RwLock::new(Rules {
                version: 0,
                plans: Arc::new(Plans::standard()),
                receivers: Arc::new(Receivers::default()),
            }),
            kept: Kept::default(),
            numbers: Mutex::new(vec![Numbers::default(); count]),
            decided_at: AtomicI64::new(i64::MIN),
            ahead: AtomicI64::new(0),
            chores: Chores::default(),
            names: Names::default(),
            trimmed: Mutex::default(),
            holds,
            safety,
            sweeps,
        }
    }

    pub(super) fn buckets(&self) -> Buckets {
        self.identity.buckets
    }

    /// What batches go by, if it is of this version.
    pub(super) fn rules_of(&self, version: i64) -> Option<Rules> {
        let rules = self.rules.read();
        (rules.version == version).then(|| rules.clone())
    }

    pub(super) fn plans(&self) -> Arc<Plans> {
        Arc::clone(&self.rules.read().plans)
    }

    /// Keeps what batches go by, unless newer ones are there.
    pub(super) fn keep_rules(&self, rules: &Rules) {
        let mut kept = self.rules.write();
        if kept.version <= rules.version {
            *kept = rules.clone();
        }
    }

    /// What time it is for holds and months: that of the wall clock as far as it is believed, and never behind what was
    /// decided at.
    pub(super) fn time(&self) -> Timestamp {
        self.not_behind(self.holds.by(|| self.wall_now()))
    }

    /// The same where the wall clock says this.
    pub(super) fn believed(&self, wall: Timestamp) -> Timestamp {
        self.not_behind(self.holds.at(wall))
    }

    fn not_behind(&self, now: Timestamp) -> Timestamp {
        time(self.decided_at.load(Ordering::Acquire).into()).map_or(now, |decided_at| decided_at.max(now))
    }

    /// The wall clock: the database's, as this machine's clock carries it on, or that of the settings' own clock.
    pub(super) fn wall_now(&self) -> Timestamp {
        let wall = self.settings.clock.wall();
        if self.settings.own_clock { wall } else { wall.plus_nanos(self.ahead.load(Ordering::Acquire).into()) }
    }

    /// The wall clock of a batch, when the database's says this many microseconds.
    pub(super) fn wall(&self, database_micros: i64) -> Result<Timestamp, StoreError> {
        let wall = self.settings.clock.wall();
        if self.settings.own_clock {
            return Ok(wall);
        }
        let database = time(i128::from(database_micros) * 1_000)?;
        let ahead = i64::try_from(database.nanos() - wall.nanos()).unwrap_or(0);
        self.ahead.store(ahead, Ordering::Release);
        Ok(database)
    }

    /// Somebody asks something of this node: it looks after what may have changed, as long as that goes on.
    pub(super) fn used(&self) {
        self.sweeps.used(self.settings.clock.monotonic_nanos());
        self.safety.used();
    }

    /// Notes a batch that is committed.
    pub(super) fn committed(&self, decided_at: i64, numbers: impl Iterator<Item = (i32, Numbers)>) {
        self.used();
        self.decided_at.fetch_max(decided_at, Ordering::AcqRel);
        let mut kept = self.numbers.lock();
        for (bucket, numbers) in numbers {
            if let Some(kept) = usize::try_from(bucket).ok().and_then(|bucket| kept.get_mut(bucket)) {
                *kept = numbers;
            }
        }
    }

    /// What is said where a wait for standbys was cut short; from then on the node is not ready.
    pub(super) fn wait_was_cut(&self) -> StoreError {
        let said = "a wait for a standby was cut short, so what was written may be lost when the primary is";
        self.safety.cut(true);
        StoreError::OutcomeUnknown(said.to_owned())
    }

    /// How many operations, users and sessions were recorded.
    pub(super) fn counts(&self) -> (u64, u64, u64) {
        let buckets = self.buckets();
        let count = |next: u64| buckets.given_out(next);
        self.numbers.lock().iter().fold((0, 0, 0), |(operations, users, sessions), next| {
            (operations + count(next.operation.0), users + count(next.user.0), sessions + count(next.session.0))
        })
    }
}

/// A locked bucket: [`super::statements::LOCK`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Locked {
    pub(super) bucket: i32,
    pub(super) seq: i64,
    pub(super) now_at: i64,
    pub(super) numbers: Numbers,
    pub(super) next_delivery: u64,
    pub(super) clock_micros: i64,
}

impl Locked {
    pub(super) fn read(row: &Row, buckets: Buckets) -> Result<Self, StoreError> {
        let mut row = RowReader::new(row);
        Ok(Self {
            bucket: i32::try_from(row.required()?).unwrap_or(0),
            seq: row.required()?,
            now_at: row.required()?,
            numbers: Numbers {
                user: UserNo(row.number()?),
                operation: OperationNo(row.number()?),
                session: SessionNo(row.number()?),
                denial: DenialNo(row.number()?),
                alert: AlertNo(row.number()?),
                step: buckets.step(),
            },
            next_delivery: row.number()?,
            clock_micros: row.required()?,
        })
    }
}

/// The plans of [`super::statements::PLANS`], with their version.
pub(super) fn read_plans(rows: &[Row], settings: &Settings) -> Result<(i64, Arc<Plans>), StoreError> {
    let mut version = 0;
    let mut default = String::new();
    let mut plans = Vec::new();
    for row in rows {
        let mut row = RowReader::new(row);
        version = row.required()?;
        row.required_text()?.clone_into(&mut default);
        plans.push(Plan {
            name: Name::from_stored(row.required_text()?),
            tier: u32::try_from(row.required()?).unwrap_or(u32::MAX),
            limits: Limits { cost: row.int()?, ai_runs: row.int()?, api_runs: row.int()? },
        });
    }
    let plans = Plans::new(plans, Name::from_stored(default))
        .map_err(|name| StoreError::Corrupt(format!("the default plan `{name}` is not stored")))?;
    Ok((version, Arc::new(plans.with_alerts(settings.alerts.clone()))))
}

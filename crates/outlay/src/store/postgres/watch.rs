//! What other nodes commit, told to those who watch here: a few times a second the orders of all buckets are compared with
//! what was heard of, and the events in between are told. While nobody watches nothing is asked.
//!
//! A bucket's events are numbered under its lock, so they are committed in order and without gaps: whoever heard of one has
//! heard of all before it. By that number, which is the same on every node, a watcher goes on at another node. Alerts and
//! denials of this node take the same way, so that they keep the order; only its budgets are told when they are committed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::{UserId, UserNo};
use tokio::sync::{Mutex, Notify};
use tokio::time::MissedTickBehavior;
use xxhash_rust::xxh3::xxh3_64;

use super::Engine;
use super::codec;
use super::errors::unavailable;
use super::outbox::WEBHOOKS;
use super::reader::{Ask, rows};
use super::rows::{RowReader, stored};
use super::shared::{Rules, Shared};
use super::statements::{MADE, PLANS};
use super::write::{ALERT, BUDGET, DENIAL, NOBODY};
use crate::feed::{Notice, Place, Tidings, Watched};
use crate::store::{Missed, StoreError};

/// How often is looked for what other nodes did, while anybody watches.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The bucket in which plans are changed.
const BUCKET_OF_PLANS: i32 = 0;

/// Which life of the database this is: after a failover, a restore or a move the numbers may be given again.
const LIFE: &str = "select left(pg_walfile_name(pg_current_wal_lsn()), 8) || ' ' || d.oid || ' ' || v.xmin::text \
     from pg_database d, schema_version v where d.datname = current_database() and v.version = 1";

const ORDERS: &str = "select bucket, seq from bucket";

/// The events after what was heard of: of buckets that are listened to all that is watched, of others alerts and denials.
const EVENTS: &str = "select e.bucket, e.seq, e.user_no, e.kind, e.no, e.batch, x.user_id \
     from unnest($1::int8[], $2::int8[], $3::int8[], $4::bool[]) as u (bucket, after, until, listened) \
     join event e on e.bucket = u.bucket and e.seq > u.after and e.seq <= u.until \
     left join users x on x.bucket = e.bucket and x.user_no = e.user_no \
     where (u.listened and e.kind >= 0) or e.kind > 0 order by e.bucket, e.seq";

/// Whether another node did any of it.
const OTHERS: &str = "select exists(select from unnest($1::int8[], $2::int8[], $3::int8[]) as u (bucket, after, until) \
     join event e on e.bucket = u.bucket and e.seq > u.after and e.seq <= u.until \
     where substring(e.batch from 1 for 8) <> $4)";

/// The order of a bucket, and the oldest event that is still there.
const ORDER: &str =
    "select seq, (select min(seq) from event where bucket = $1::int8) from bucket where bucket = $1::int8";

/// The alerts of a user after a place.
const ALERTS: &str =
    "select seq, no from event where bucket = $1::int8 and seq > $2 and user_no = $3 and kind = 1 order by seq";

/// What this node has heard of.
#[derive(Debug)]
pub(super) struct Watch {
    /// By it this node's batches are told from those of others.
    node: [u8; 8],
    heard: Mutex<Option<Heard>>,
    woken: Notify,
}

/// Up to where all is told.
#[derive(Debug)]
struct Heard {
    epoch: u64,
    /// By bucket.
    seqs: BTreeMap<i32, i64>,
}

/// Buckets that moved on.
#[derive(Debug, Default)]
struct Moved {
    buckets: Vec<i64>,
    after: Vec<i64>,
    until: Vec<i64>,
}

#[derive(Debug)]
struct Event {
    bucket: i32,
    seq: i64,
    user_no: UserNo,
    kind: i64,
    no: Option<u64>,
    batch: [u8; 16],
    user_id: Option<UserId>,
}

impl Watch {
    /// Nobody watches yet; `node` is a random number of this process.
    pub(super) fn new(node: u64) -> Self {
        Self { node: node.to_le_bytes(), heard: Mutex::default(), woken: Notify::new() }
    }

    /// What a batch of this node is found by.
    pub(super) fn batch(&self, random: u64) -> [u8; 16] {
        let mut batch = [0; 16];
        let (node, rest) = batch.split_at_mut(self.node.len());
        node.copy_from_slice(&self.node);
        rest.copy_from_slice(&random.to_le_bytes());
        batch
    }

    /// There is something to hear of now.
    pub(super) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Begins to hear, unless it has begun; gives the database's life. Whoever asks watches already, so that it goes on.
    async fn begin(&self, engine: &Engine) -> Result<u64, StoreError> {
        let mut heard = self.heard.lock().await;
        if let Some(heard) = &*heard {
            return Ok(heard.epoch);
        }
        let now = orders(&engine.reader().await?, &engine.shared).await?;
        let epoch = now.epoch;
        *heard = Some(now);
        Ok(epoch)
    }
}

/// Tells what others do, for as long as the store is open.
pub(super) async fn hear(shared: Arc<Shared>, engine: Weak<Engine>) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failing = false;
    loop {
        tokio::select! {
            _ = looks.tick() => {}
            () = shared.watch.woken.notified() => {}
        }
        let Some(engine) = engine.upgrade() else { return };
        let mut heard = shared.watch.heard.lock().await;
        if shared.feed.watchers() == 0 {
            *heard = None;
            continue;
        }
        let told = match &mut *heard {
            Some(heard) => tell_what_is_new(&engine, heard).await,
            // Whoever has just begun to watch does it.
            None => Ok(()),
        };
        if let Err(error) = &told
            && !failing
        {
            tracing::warn!("those who watch do not learn what other nodes do: failed to {error}; it is tried again");
        }
        failing = told.is_err();
    }
}

/// What a user's watcher missed since a place. From now on they are told.
pub(super) async fn missed(
    engine: &Engine,
    user_id: Option<&UserId>,
    after: Option<Place>,
) -> Result<Missed, StoreError> {
    let epoch = engine.shared.watch.begin(engine).await?;
    let place = |seq: i64| Place { epoch, seq: seq.cast_unsigned() };
    let Some(user_id) = user_id else { return Ok(Missed { place: place(0), alerts: Vec::new() }) };
    let bucket = i64::from(engine.shared.buckets().of_user(user_id));
    let mut reader = engine.reader().await?;
    let snapshot = reader.snapshot().await?;
    let found = rows(&snapshot, ORDER, &[&bucket]).await?;
    let (seq, oldest) = match found.first().map(RowReader::new) {
        Some(mut row) => (row.required()?, row.int()?),
        None => (0, None),
    };
    let mut alerts = Vec::new();
    let after = after.filter(|after| after.epoch == epoch).map(|after| after.seq.cast_signed());
    // What is older than the oldest event is not known any more.
    let known = after.filter(|after| *after < seq && oldest.is_some_and(|oldest| oldest <= after.saturating_add(1)));
    if let Some(after) = known
        && let Some(user) = super::reads::person::user(&snapshot, &engine.shared, user_id).await?
    {
        let mut places = BTreeMap::new();
        for row in rows(&snapshot, ALERTS, &[&bucket, &after, &stored(user.no.0)]).await? {
            let mut row = RowReader::new(&row);
            let seq = row.required()?;
            places.extend(row.int()?.map(|no| (no, seq)));
        }
        let (buckets, nos): (Vec<i64>, Vec<i64>) = places.keys().map(|no| (bucket, *no)).unzip();
        let found = rows(&snapshot, &MADE.find_alerts, &[&buckets, &nos]).await?;
        for alert in codec::read_all(&found, codec::read_alert)? {
            if let Some(seq) = places.get(&stored(alert.no.0)) {
                alerts.push((place(*seq), alert));
            }
        }
        alerts.sort_by_key(|(place, _)| place.seq);
    }
    snapshot.commit().await.map_err(unavailable)?;
    Ok(Missed { place: place(seq), alerts })
}

/// Where every bucket is.
async fn orders(client: &impl Ask, shared: &Shared) -> Result<Heard, StoreError> {
    let life = rows(client, LIFE, &[]).await?;
    let life = life.first().map(|row| RowReader::new(row).required_text().map(str::to_owned)).transpose()?;
    let mut bytes = shared.identity.deployment_id.to_le_bytes().to_vec();
    bytes.extend(life.unwrap_or_default().bytes());
    let mut seqs = BTreeMap::new();
    for row in rows(client, ORDERS, &[]).await? {
        let mut row = RowReader::new(&row);
        seqs.insert(bucket_of(row.required()?), row.required()?);
    }
    Ok(Heard { epoch: xxh3_64(&bytes) >> 1, seqs })
}

fn bucket_of(column: i64) -> i32 {
    i32::try_from(column).unwrap_or(0)
}

async fn tell_what_is_new(engine: &Engine, heard: &mut Heard) -> Result<(), StoreError> {
    let shared = &engine.shared;
    let reader = engine.reader().await?;
    let now = orders(&reader, shared).await?;
    let went_back = now.seqs.iter().any(|(bucket, seq)| heard.seqs.get(bucket).is_some_and(|heard| seq < heard));
    if now.epoch != heard.epoch || went_back {
        // The numbers begin anew: everybody looks at how it is now.
        *heard = now;
        shared.feed.tell(Tidings { plans: true, ..Tidings::default() });
        return Ok(());
    }
    let everybody = shared.feed.everybody_is_watched();
    let mut watched: BTreeMap<i32, Vec<Arc<Watched>>> = BTreeMap::new();
    for one in shared.feed.all_watched() {
        watched.entry(shared.buckets().of_user(one.user_id())).or_default().push(one);
    }
    let (mut moved, mut asked, mut listened) = (Moved::default(), Moved::default(), Vec::new());
    for (bucket, until) in &now.seqs {
        let after = heard.seqs.get(bucket).copied().unwrap_or(0);
        if *until > after {
            moved.add(*bucket, after, *until);
            // A change of plans may change the budget of anybody.
            let listens = watched.contains_key(bucket) || *bucket == BUCKET_OF_PLANS;
            if listens || everybody {
                asked.add(*bucket, after, *until);
                listened.push(listens);
            }
        }
    }
    let mut told = false;
    if !asked.buckets.is_empty() {
        let found = rows(&reader, EVENTS, &[&asked.buckets, &asked.after, &asked.until, &listened]).await?;
        let events = found.iter().map(Event::read).collect::<Result<Vec<_>, _>>()?;
        told = tell_events(shared, &reader, &events, &watched, now.epoch).await?;
    }
    // Who watches everybody is told of any change, once.
    if everybody && !told && !moved.buckets.is_empty() {
        let node = shared.watch.node.as_slice();
        let others = rows(&reader, OTHERS, &[&moved.buckets, &moved.after, &moved.until, &node]).await?;
        if others.first().map(|row| row.try_get(0)).transpose().map_err(unavailable)?.unwrap_or(false) {
            shared.feed.tell(Tidings::default());
        }
    }
    *heard = now;
    Ok(())
}

/// Tells events batch by batch, as the node that committed them would have. Gives whether there was anything to tell.
async fn tell_events(
    shared: &Shared,
    client: &impl Ask,
    events: &[Event],
    watched: &BTreeMap<i32, Vec<Arc<Watched>>>,
    epoch: u64,
) -> Result<bool, StoreError> {
    let mut told = false;
    let (mut alerts, mut denials) = notices(client, events).await?;
    for batch in events.chunk_by(|one, next| one.bucket == next.bucket && one.batch == next.batch) {
        let is_own = batch.iter().all(|event| event.batch.starts_with(&shared.watch.node));
        let (Some(last), true) = (batch.last(), !is_own || batch.iter().any(|event| event.kind != BUDGET)) else {
            continue;
        };
        let mut tidings = Tidings {
            at: Some(Place { epoch, seq: last.seq.cast_unsigned() }),
            plans: last.bucket == BUCKET_OF_PLANS && batch.iter().any(|event| event.user_no.0 == NOBODY),
            ..Tidings::default()
        };
        let in_bucket = watched.get(&last.bucket).map(Vec::as_slice).unwrap_or_default();
        if batch.iter().any(|event| event.user_id.is_none()) {
            // Somebody was erased, and nobody knows who they were.
            tidings.changed = in_bucket.to_vec();
        } else {
            let users: BTreeSet<&UserId> = batch.iter().filter_map(|event| event.user_id.as_ref()).collect();
            tidings.changed = in_bucket.iter().filter(|one| users.contains(one.user_id())).cloned().collect();
        }
        for Event { kind, no, user_id, .. } in batch {
            let (Some(user_id), Some(no)) = (user_id, no) else { continue };
            let alert = if *kind == ALERT { alerts.remove(no) } else { None };
            tidings.notices.extend(alert.map(|alert| Notice::Alert(user_id.clone(), alert)));
            let denial = if *kind == DENIAL { denials.remove(no) } else { None };
            tidings.notices.extend(denial.map(|denial| Notice::Denial(user_id.clone(), denial)));
        }
        if tidings.plans {
            let plans = rows(client, PLANS, &[]).await?;
            shared.keep_rules(&Rules::read(&plans, &rows(client, WEBHOOKS, &[]).await?, &shared.settings)?);
        }
        shared.feed.tell(tidings);
        told = true;
    }
    Ok(told)
}

/// A number holds its bucket.
type ByNo<T> = BTreeMap<u64, T>;

/// The alerts and denials of events, by number.
async fn notices(client: &impl Ask, events: &[Event]) -> Result<(ByNo<Alert>, ByNo<Denial>), StoreError> {
    let keys = |kind: i64| -> (Vec<i64>, Vec<i64>) {
        let of_kind = events.iter().filter(|event| event.kind == kind);
        of_kind.filter_map(|event| Some((i64::from(event.bucket), stored(event.no?)))).unzip()
    };
    let (mut alerts, mut denials) = (BTreeMap::new(), BTreeMap::new());
    let (buckets, nos) = keys(ALERT);
    if !nos.is_empty() {
        let found = rows(client, &MADE.find_alerts, &[&buckets, &nos]).await?;
        let found = codec::read_all(&found, codec::read_alert)?.into_iter();
        alerts.extend(found.map(|alert| (alert.no.0, alert)));
    }
    let (buckets, nos) = keys(DENIAL);
    if !nos.is_empty() {
        let found = rows(client, &MADE.find_denials_by_no, &[&buckets, &nos]).await?;
        let found = codec::read_all(&found, codec::read_denial)?.into_iter();
        denials.extend(found.map(|denial| (denial.no.0, denial)));
    }
    Ok((alerts, denials))
}

impl Moved {
    fn add(&mut self, bucket: i32, after: i64, until: i64) {
        self.buckets.push(i64::from(bucket));
        self.after.push(after);
        self.until.push(until);
    }
}

impl Event {
    fn read(row: &tokio_postgres::Row) -> Result<Self, StoreError> {
        let mut row = RowReader::new(row);
        Ok(Self {
            bucket: bucket_of(row.required()?),
            seq: row.required()?,
            user_no: UserNo(row.number()?),
            kind: row.required()?,
            no: row.optional_number()?,
            batch: row.blob()?,
            user_id: row.text()?.map(UserId::from_stored),
        })
    }
}

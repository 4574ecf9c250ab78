//! Retention: empties operations of their details, bucket by bucket, each in the order of its numbers, a slice a transaction
//! under the bucket's lock. The bucket's row says how far it came, so a node that ends is carried on from, and two that do
//! the same only take turns.
//!
//! A row's columns are emptied as they stand, without being read as an operation, and its sum is carried over: a row that did
//! not match its sum before does not match it afterwards, so that `verify` still finds what was changed behind its back.

use std::collections::VecDeque;
use std::sync::LazyLock;

use outlay_core::month::Timestamp;
use tokio_postgres::Row;
use xxhash_rust::xxh3::xxh3_64;

use super::chores::under_lock;
use super::codec::{OPERATION, OPERATION_DETAILS};
use super::link::Link;
use super::rows::{RowReader, Rows, Value, damaged, nanos, stored, time};
use super::shared::{Locked, Shared};
use super::statements::LOCK_WAITING;
use crate::store::StoreError;
use crate::store::packed::FLAG_TRIMMED;

/// Rows that are looked at for one whose time can be believed.
const LOOK_AHEAD: u64 = 20_000;
/// After so long rows are looked at again that wait for one whose time can be believed.
const LOOK_AGAIN_NANOS: u64 = 600_000_000_000;

/// The buckets with operations that may be due: the oldest that has its details was recorded before an instant, or is dated
/// ahead of now.
const FIND_BUCKETS: &str = "select b.bucket from bucket b cross join lateral \
     (select o.recorded_at from operation o where o.bucket = b.bucket and o.flags & 16 = 0 order by o.no limit 1) o \
     where o.recorded_at < $1 or o.recorded_at > $2 order by b.bucket";

pub(super) const CURSOR: &str = "select trimmed from bucket where bucket = $1::int4";
const MOVE_CURSOR: &str = "update bucket set trimmed = $2 where bucket = $1::int4";

const NEXT_BELIEVED: &str = "select recorded_at from operation where bucket = $1::int4 and flags & 16 = 0 and no > $2 \
     and no <= $3 and recorded_at <= $4 order by no limit 1";

const EMPTY: &str = "update operation t set flags = u.flags, tokens = null, units = null, step_label = null, \
     duration_ms = null, metadata = null, reason = null, sum = u.sum \
     from unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[], $5::int8[], $6::int8[]) \
     as u (bucket, user_no, no, month, flags, sum) \
     where t.bucket = u.bucket and t.user_no = u.user_no and t.no = u.no and t.month = u.month";

/// How many operations are emptied: a bucket's numbers count up in steps.
pub(super) const COUNT: &str = "select coalesce(sum(trimmed >> $1::int4), 0)::int8 from bucket";
pub(super) const BEFORE: &str = "select trimmed_before from meta";
const NOTE_BEFORE: &str = "update meta set trimmed_before = greatest(trimmed_before, $1::int8)";

static FIND: LazyLock<String> = LazyLock::new(|| {
    format!(
        "select {} from operation t where t.bucket = $1::int4 and t.flags & 16 = 0 and t.no > $2 order by t.no limit $3",
        OPERATION.select("t")
    )
});

/// What a connection needs that empties.
pub(super) fn statements() -> Vec<&'static str> {
    let all =
        [LOCK_WAITING, FIND_BUCKETS, CURSOR, MOVE_CURSOR, NEXT_BELIEVED, EMPTY, COUNT, BEFORE, NOTE_BEFORE, &*FIND];
    all.to_vec()
}

/// How many operations are emptied, and what was recorded before which instant is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Trimmed {
    pub(super) count: u64,
    pub(super) before: Option<Timestamp>,
}

impl Trimmed {
    /// Of the answers to [`COUNT`] and [`BEFORE`].
    pub(super) fn read(count: &[Row], before: &[Row]) -> Result<Self, StoreError> {
        let count = count.first().ok_or_else(|| damaged("a count"))?;
        let before = before.first().ok_or_else(|| damaged("table meta"))?;
        Ok(Self { count: RowReader::new(count).number()?, before: RowReader::new(before).optional_time()? })
    }
}

/// Goes through the buckets.
#[derive(Debug, Default)]
pub(super) struct Trimmer {
    link: Option<Link>,
    pass: Option<Pass>,
    /// Up to which instant all is emptied that can be, and when that was found, on the clock that nobody sets.
    waited: Option<(Timestamp, u64)>,
}

#[derive(Debug)]
struct Pass {
    before: Timestamp,
    buckets: VecDeque<i32>,
    /// Whether rows wait for one whose time can be believed.
    waits: bool,
}

impl Trimmer {
    /// Empties one slice of what was recorded before an instant; gives whether there is more.
    pub(super) async fn trim(&mut self, shared: &Shared, before: Timestamp) -> Result<bool, StoreError> {
        let now = shared.settings.clock.monotonic_nanos();
        let is_done = shared.trimmed.lock().before.is_some_and(|done| done >= before);
        let waits = self.waited.is_some_and(|(of, at)| of == before && now.saturating_sub(at) < LOOK_AGAIN_NANOS);
        if is_done || waits {
            return Ok(false);
        }
        let link = match self.link.take().filter(|link| shared.connector.is_current(&link.wire.client, link.wire.mark))
        {
            Some(link) => link,
            None => Link::open(&shared.connector, &statements()).await?,
        };
        // A connection that failed, or whose answer was not waited for, is not used again.
        let more = self.slice(&link, shared, before).await?;
        if more {
            self.link = Some(link);
        } else if self.pass.take().is_some_and(|pass| pass.waits) {
            self.waited = Some((before, now));
        }
        Ok(more)
    }

    async fn slice(&mut self, link: &Link, shared: &Shared, before: Timestamp) -> Result<bool, StoreError> {
        let pass = if let Some(pass) = self.pass.take().filter(|pass| pass.before == before) {
            pass
        } else {
            let now = nanos(shared.wall_now());
            let found = link.send(FIND_BUCKETS, vec![&nanos(before), &now]).await?;
            let bucket = |row| Ok(i32::try_from(RowReader::new(row).required()?).unwrap_or(0));
            let buckets = found.iter().map(bucket).collect::<Result<_, StoreError>>()?;
            Pass { before, buckets, waits: false }
        };
        let pass = self.pass.insert(pass);
        while let Some(bucket) = pass.buckets.front().copied() {
            let work = async |locked| empty(link, shared, locked, before).await;
            let emptied = under_lock(link, bucket, shared, work).await?;
            if emptied.is_last {
                pass.buckets.pop_front();
            }
            pass.waits |= emptied.waits;
            if emptied.count > 0 {
                shared.trimmed.lock().count += emptied.count;
                return Ok(true);
            }
        }
        if !pass.waits {
            link.send(NOTE_BEFORE, vec![&nanos(before)]).await?;
        }
        // Other nodes may have emptied some too.
        let count = link.send(COUNT, vec![&shared.buckets().bits().cast_signed()]).await?;
        let trimmed = Trimmed::read(&count, &link.send(BEFORE, Vec::new()).await?)?;
        *shared.trimmed.lock() = trimmed;
        Ok(false)
    }
}

/// What became of a slice.
#[derive(Debug, Clone, Copy, Default)]
struct Emptied {
    count: u64,
    /// Whether no more of the bucket is due.
    is_last: bool,
    waits: bool,
}

/// Empties the next rows of a locked bucket that were recorded before an instant.
///
/// Numbers are given in the order of recording, so the first row that is younger ends it, even where a clock that was set
/// back dated later ones as older. A row that a wrong clock dated ahead of now says nothing of its age: it is as old as the
/// next one that does.
async fn empty(link: &Link, shared: &Shared, locked: Locked, before: Timestamp) -> Result<Emptied, StoreError> {
    let bucket = locked.bucket;
    let now = shared.wall(locked.clock_micros)?;
    let cursor = link.send(CURSOR, vec![&bucket]).await?;
    let cursor = RowReader::new(cursor.first().ok_or_else(|| damaged("table bucket"))?).required()?;
    let limit = i64::try_from(shared.settings.slice_rows).unwrap_or(i64::MAX);
    let found = link.send(&FIND, vec![&bucket, &cursor, &limit]).await?;
    let mut rows = Vec::with_capacity(found.len());
    let mut due = 0;
    for row in &found {
        let row = ToEmpty::read(row)?;
        let believed = row.recorded_at.filter(|recorded_at| *recorded_at <= now);
        if believed.is_some_and(|recorded_at| recorded_at >= before) {
            break;
        }
        rows.push(row);
        if believed.is_some() {
            due = rows.len();
        }
    }
    if due == 0
        && let Some(last) = rows.last()
    {
        let most = last.no.saturating_add(stored(LOOK_AHEAD * shared.buckets().step()));
        let next = link.send(NEXT_BELIEVED, vec![&bucket, &last.no, &most, &nanos(now)]).await?;
        let next = next.first().map(|row| RowReader::new(row).time()).transpose()?;
        if next.is_some_and(|next| next < before) {
            due = rows.len();
        }
    }
    let waits = due == 0 && !rows.is_empty();
    let is_last = due < found.len() || found.len() < shared.settings.slice_rows;
    rows.truncate(due);
    let Some(last) = rows.last() else { return Ok(Emptied { is_last: true, waits, count: 0 }) };
    let mut columns = Rows::default();
    for row in &rows {
        columns.int(i64::from(bucket)).int(row.user_no).int(row.no).int(row.month).int(row.flags).int(row.sum).end();
    }
    link.send_rows(EMPTY, &columns).await?;
    link.send(MOVE_CURSOR, vec![&bucket, &last.no]).await?;
    Ok(Emptied { count: due as u64, is_last, waits })
}

/// A row as it is to be.
#[derive(Debug)]
struct ToEmpty {
    user_no: i64,
    no: i64,
    month: i64,
    /// When, as far as that can be read.
    recorded_at: Option<Timestamp>,
    flags: i64,
    sum: i64,
}

impl ToEmpty {
    fn read(row: &Row) -> Result<Self, StoreError> {
        let mut reader = RowReader::new(row);
        let (mut as_it_is, mut emptied) = (Vec::with_capacity(300), Vec::with_capacity(160));
        let mut to_empty = Self { user_no: 0, no: 0, month: 0, recorded_at: None, flags: 0, sum: 0 };
        for (name, of) in OPERATION.typed_names() {
            let value = reader.value(of)?;
            let int = if let Value::Int(Some(int)) = value { int } else { 0 };
            let kept = match name {
                "flags" => {
                    to_empty.flags = int | FLAG_TRIMMED;
                    Value::Int(Some(to_empty.flags))
                }
                "sum" => {
                    let sum_of = |bytes: &[u8]| xxh3_64(bytes).cast_signed();
                    to_empty.sum = sum_of(&emptied) ^ sum_of(&as_it_is) ^ int;
                    break;
                }
                name if OPERATION_DETAILS.contains(&name) => Value::Int(None),
                name => {
                    match name {
                        "user_no" => to_empty.user_no = int,
                        "no" => to_empty.no = int,
                        "month" => to_empty.month = int,
                        "recorded_at" => to_empty.recorded_at = time(int.into()).ok(),
                        _ => {}
                    }
                    value
                }
            };
            value.add_to(&mut as_it_is);
            kept.add_to(&mut emptied);
        }
        Ok(to_empty)
    }
}

//! Writes the records that no rule decides about, each in one transaction with what the audit log says of it.
//!
//! Each is written under the lock of a bucket: of the user whom it is about, or else of the first. So it is known by an
//! event in that bucket's order, as a batch is: when an answer to COMMIT is lost, whoever has the lock sees what became of
//! it. Records are few, so they go one after the other on a connection of their own.

mod deliveries;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use outlay_core::month::Timestamp;
use outlay_core::plan::Plan;
use rand::Rng;
use rand_pcg::Pcg64;
use tokio_postgres::Transaction;
use tokio_postgres::types::ToSql;

use super::audit;
use super::chores::keep_partitions;
use super::connector::Unreached;
use super::errors::answered;
use super::link::{Link, in_order};
use super::outbox::{DELETE_WEBHOOK, END_PENDING, PUT_WEBHOOK};
use super::rows::{RowReader, Rows, nanos, stored};
use super::safety::says_synced;
use super::settle::{COMMIT_SECONDS_MAX, settle};
use super::shared::{Locked, Shared};
use super::statements::{ADD_EVENTS, COMMIT, FIND_BATCH, LOCK_WAITING, MADE, NEXT_VERSION, ROLLBACK, SYNCED, VERSION};
use super::tries::{self, Answer, Cure, Ended, GaveUp, Place, Sought, Transactions, Tries};
use super::write::{NOBODY, RECORD};
use crate::audit::Event;
use crate::store::outbox::{Again, Receiver};
use crate::store::{KeyRecord, Record, SecretRecord, StoreError};
use deliveries::{ADD_TRIES, FIND_TRIED, PUT_TRIED, SEND_AGAIN, SendAgain, WEBHOOK_BACK, WEBHOOK_GONE};

/// How long the database has to answer all but COMMIT.
const ANSWER_WAIT: Duration = Duration::from_secs(5);
/// The bucket of what is nobody's.
const FIRST: i32 = 0;

const NEXT_SEQ: &str = "update bucket set seq = $2::int8, next_delivery = $3::int8 where bucket = $1::int4";
const PUT_KEY: &str = "insert into api_key (id, digest, role, description, last4, created_at, expires_at, revoked_at) \
     values ($1, $2, $3, $4, $5, $6::int8, $7::int8, $8::int8)";
const REVOKE_KEY: &str = "update api_key set revoked_at = $2::int8 where id = $1 and revoked_at is null";
const PUT_SECRET: &str = "insert into secret (name, sealed, created_at) values ($1, $2, $3::int8) \
     on conflict (name) do update set sealed = excluded.sealed, created_at = excluded.created_at";
const PUT_FIRST_SECRET: &str = "insert into secret (name, sealed, created_at) values ($1, $2, $3::int8) \
     on conflict (name) do nothing";
const REMOVE_SECRET: &str = "delete from secret where name = $1";
const TOKENS_ENDED: &str = "select until from token_end where bucket = $1::int4 and user_no = $2::int8";
const END_TOKENS: &str = "insert into token_end (bucket, user_no, until, sum, version) \
     select u.bucket, u.user_no, u.until, u.sum, m.version \
     from unnest($1::int8[], $2::int8[], $3::int8[], $4::int8[]) as u (bucket, user_no, until, sum), meta m \
     on conflict (bucket, user_no) do update set until = excluded.until, sum = excluded.sum, version = excluded.version";
const UNMARK_PLAN: &str = "update plan set recheck = false where name = $1 and tier = $2::int8 \
     and cost is not distinct from $3::int8 and ai_runs is not distinct from $4::int8 \
     and api_runs is not distinct from $5::int8";

/// All statements that are prepared when the connection is made.
pub(super) fn statements() -> Vec<&'static str> {
    let fixed = [
        LOCK_WAITING,
        VERSION,
        SYNCED,
        NEXT_VERSION,
        NEXT_SEQ,
        ADD_EVENTS,
        PUT_KEY,
        REVOKE_KEY,
        PUT_SECRET,
        PUT_FIRST_SECRET,
        REMOVE_SECRET,
        TOKENS_ENDED,
        END_TOKENS,
        UNMARK_PLAN,
        audit::TAKE_NUMBERS,
        audit::PUT_COPIED,
        FIND_BATCH,
        PUT_WEBHOOK,
        DELETE_WEBHOOK,
        END_PENDING,
        FIND_TRIED,
        PUT_TRIED,
        ADD_TRIES,
        WEBHOOK_GONE,
        WEBHOOK_BACK,
    ];
    let SendAgain { one, failed, alert } = &*SEND_AGAIN;
    let made = [&MADE.insert_audit, &MADE.insert_deliveries, one, failed, alert];
    fixed.into_iter().chain(made.into_iter().map(String::as_str)).collect()
}

/// What a record did beside being written.
#[derive(Debug, Default)]
pub(super) struct Put {
    /// The newest number of the audit log, where it added to it.
    pub(super) audit_newest: Option<i64>,
    /// Whether nodes keep it in memory.
    pub(super) is_kept: bool,
    /// Whom it tells something.
    pub(super) told: Vec<Receiver>,
}

impl Put {
    /// Of a record that nodes keep in memory, or that they do not.
    fn kept(is_kept: bool) -> Self {
        Self { is_kept, ..Self::default() }
    }
}

/// Why a record was not written, or is not known to be.
type Failed = tries::Failed<Put>;

/// Writes records, one after the other.
#[derive(Debug)]
pub(super) struct Clerk {
    shared: Arc<Shared>,
    link: Option<Link>,
    random: Pcg64,
}

impl Clerk {
    pub(super) fn new(shared: Arc<Shared>, random: Pcg64) -> Self {
        Self { shared, link: None, random }
    }

    pub(super) async fn put(&mut self, record: &Record, event: Option<&Event>) -> Result<Put, StoreError> {
        let mut writing = Writing { clerk: self, record, event };
        tries::run(&mut writing, &mut Tries::default()).await.map_err(|gave_up| match gave_up {
            GaveUp::Halve(said) => StoreError::Unavailable(said),
            GaveUp::Refused(error) => error,
        })
    }

    /// Runs one transaction. The connection is kept, unless it is not known to be good.
    async fn transact(&mut self, record: &Record, event: Option<&Event>) -> Result<Put, Failed> {
        let connector = &self.shared.connector;
        let link = match self.link.take().filter(|link| connector.is_current(&link.wire.client, link.wire.mark)) {
            Some(link) => link,
            None => Link::open(connector, &statements())
                .await
                .map_err(|Unreached(said)| Failed::Not(Cure::Connect, said))?,
        };
        let written = tokio::time::timeout(ANSWER_WAIT, self.write(&link, record, event)).await;
        let result = match written {
            Ok(Ok((put, sought))) => self.commit(&link, put, sought).await,
            Ok(Err(failed)) => Err(failed),
            Err(_) => {
                self.shared.connector.distrust();
                Err(Failed::Not(Cure::Connect, "PostgreSQL did not answer in time".to_owned()))
            }
        };
        let good = match &result {
            Ok(_) | Err(Failed::WaitCut) => true,
            Err(Failed::Unknown(..) | Failed::Not(Cure::Connect, _)) => false,
            Err(_) => link.control(ROLLBACK).await.is_ok(),
        };
        if good {
            link.take_wait_cut();
            self.link = Some(link);
        }
        result
    }

    /// Writes all but COMMIT; gives by what it is found.
    async fn write(&mut self, link: &Link, record: &Record, event: Option<&Event>) -> Result<(Put, Sought), Failed> {
        link.begin().await?;
        let buckets = self.buckets_of(record);
        let locked = link.send(LOCK_WAITING, vec![&buckets]).await?;
        let locked: Vec<Locked> =
            locked.iter().map(|row| Locked::read(row, self.shared.buckets())).collect::<Result<_, _>>()?;
        let first = *locked.first().ok_or_else(|| StoreError::Corrupt("a bucket is not stored".to_owned()))?;
        let found = link.send(VERSION, Vec::new()).await?;
        self.shared.safety.seen(found.first().map(|row| row.try_get(1)).transpose()?.unwrap_or(false))?;
        let at = self.shared.wall(first.clock_micros)?;
        let mut put = write_record(link, &self.shared, record, at).await?;
        let mut next_delivery = first.next_delivery;
        if let Record::TestDelivery(to, _) = record {
            next_delivery = deliveries::test(link, &first, self.shared.buckets().step(), *to, at).await?;
            put.told.push(*to);
        }
        let events = match record {
            Record::Events(events) => events,
            _ => event.map(std::slice::from_ref).unwrap_or_default(),
        };
        let batch = self.shared.watch.batch(self.random.next_u64());
        let places = vec![Place { bucket: first.bucket, seq: first.seq }];
        let seq = first.seq + 1;
        link.send(NEXT_SEQ, vec![&first.bucket, &seq, &stored(next_delivery)]).await?;
        let mut rows = Rows::default();
        rows.int(i64::from(first.bucket)).int(seq).int(i64::from(at.day().index()));
        rows.int(stored(NOBODY)).int(RECORD).int(None).blob(&batch).end();
        link.send_rows(ADD_EVENTS, &rows).await?;
        // The lock that all share comes last, and is held for the least time.
        put.audit_newest = audit::write(link, self.shared.buckets(), at, events).await?;
        Ok((put, Sought { places, batch }))
    }

    async fn commit(&self, link: &Link, put: Put, sought: Sought) -> Result<Put, Failed> {
        let mut sent = vec![link.control(COMMIT)];
        // As a lane does.
        if self.shared.safety.require_sync() {
            sent.push(link.send(SYNCED, Vec::new()));
        }
        let answers = tokio::time::timeout(Duration::from_secs(COMMIT_SECONDS_MAX), in_order(sent)).await;
        let (mut read, mut synced) = (Vec::new(), true);
        for (place, answer) in answers.unwrap_or_default().into_iter().enumerate() {
            if let (Ok(rows), true) = (&answer, place > 0) {
                synced = says_synced(rows);
            }
            read.push(answered(answer));
        }
        if read.is_empty() {
            read.push(Answer::Lost);
        }
        match tries::ended(read, 0, link.take_wait_cut() || !synced) {
            Ended::Committed => Ok(put),
            Ended::Not(cure, said) => Err(Failed::Not(cure, said)),
            Ended::Unknown => {
                self.shared.connector.doubt();
                Err(Failed::Unknown(Box::new(put), sought))
            }
            Ended::WaitCut => Err(Failed::WaitCut),
        }
    }

    /// The buckets whose lock a record needs.
    fn buckets_of(&self, record: &Record) -> Vec<i32> {
        let of_no = |no: u64| self.shared.buckets().of_no(no);
        let buckets: BTreeSet<i32> = match record {
            Record::EndTokens { user_no, .. } => [of_no(user_no.0)].into(),
            // Erasing a person waits for what is noted of mails to them, or is seen by it.
            Record::Tried(tried, _) if !tried.is_empty() => tried.iter().map(|one| of_no(one.delivery)).collect(),
            Record::Again(Again::One(no) | Again::Alert(no), _) => [of_no(*no)].into(),
            _ => [FIRST].into(),
        };
        buckets.into_iter().collect()
    }
}

/// A record that a clerk writes.
struct Writing<'a> {
    clerk: &'a mut Clerk,
    record: &'a Record,
    event: Option<&'a Event>,
}

impl Transactions for Writing<'_> {
    type Done = Put;

    async fn transact(&mut self) -> Result<Put, Failed> {
        self.clerk.transact(self.record, self.event).await
    }

    async fn settle(&mut self, sought: &Sought) -> Result<bool, StoreError> {
        let (found, link) = settle(&self.clerk.shared, &statements(), sought).await?;
        self.clerk.link = Some(link);
        Ok(found)
    }

    async fn make_partitions(&mut self) -> Result<(), StoreError> {
        keep_partitions(&self.clerk.shared).await
    }

    async fn pause(&mut self) {
        tokio::time::sleep(Duration::from_millis(5 + self.clerk.random.next_u64() % 45)).await;
    }

    /// Its tries are few.
    fn is_late(&self) -> bool {
        false
    }

    fn wait_was_cut(&self) -> StoreError {
        self.clerk.shared.wait_was_cut()
    }
}

/// Writes a record, but for a test, which needs its bucket's numbers. What is sent from now on is due by the database's
/// clock, whatever that of the caller says.
async fn write_record(link: &Link, shared: &Shared, record: &Record, now: Timestamp) -> Result<Put, Failed> {
    match record {
        Record::Key(key) => put_key(link, key).await?,
        Record::RevokeKey { id, at } => {
            link.send(REVOKE_KEY, vec![id, &nanos(*at)]).await?;
            next_version(link).await?;
        }
        Record::Secret(secret) => put_secrets(link, std::slice::from_ref(secret)).await?,
        Record::FirstSecret(SecretRecord { name, sealed, created_at }) => {
            link.send(PUT_FIRST_SECRET, vec![name, sealed, &nanos(*created_at)]).await?;
            next_version(link).await?;
        }
        Record::Secrets(secrets) => put_secrets(link, secrets).await?,
        Record::RemoveSecret(name) => {
            link.send(REMOVE_SECRET, vec![name]).await?;
            next_version(link).await?;
        }
        Record::EndTokens { user_no, until } => end_tokens(link, shared, user_no.0, *until).await?,
        Record::AuditCopied(no) => {
            link.send(audit::PUT_COPIED, vec![&stored(*no)]).await?;
        }
        Record::Webhook(webhook, secret) => deliveries::put_webhook(link, webhook, secret).await?,
        Record::DeleteWebhook { no, at } => deliveries::delete_webhook(link, *no, *at).await?,
        Record::PlanRechecked(plan) => {
            unmark_plan(link, plan).await?;
            return Ok(Put::kept(false));
        }
        Record::Tried(tried, at) => {
            return Ok(Put::kept(deliveries::put_tried(link, shared, tried, *at).await?));
        }
        Record::Again(which, _) => return deliveries::again(link, shared, *which, now).await,
        Record::Events(_) | Record::TestDelivery(..) => return Ok(Put::kept(false)),
    }
    Ok(Put::kept(true))
}

/// Adds a key or a secret that another store had.
pub(super) async fn insert_key(transaction: &Transaction<'_>, key: &KeyRecord) -> Result<(), tokio_postgres::Error> {
    let KeyRecord { id, digest, role, description, last4, created_at, expires_at, revoked_at } = key;
    let [created_at, expires_at, revoked_at] = [Some(*created_at), *expires_at, *revoked_at].map(|at| at.map(nanos));
    let (digest, role) = (digest.as_slice(), role.as_str());
    let row: [&(dyn ToSql + Sync); 8] = [id, &digest, &role, description, last4, &created_at, &expires_at, &revoked_at];
    transaction.execute(PUT_KEY, &row).await.map(|_| ())
}

pub(super) async fn insert_secret(
    transaction: &Transaction<'_>,
    secret: &SecretRecord,
) -> Result<(), tokio_postgres::Error> {
    let SecretRecord { name, sealed, created_at } = secret;
    transaction.execute(PUT_SECRET, &[name, sealed, &nanos(*created_at)]).await.map(|_| ())
}

/// Says that all nodes must read again what they keep in memory.
async fn next_version(link: &Link) -> Result<(), Failed> {
    link.send(NEXT_VERSION, Vec::new()).await?;
    Ok(())
}

async fn put_key(link: &Link, key: &KeyRecord) -> Result<(), Failed> {
    let KeyRecord { id, digest, role, description, last4, created_at, expires_at, revoked_at } = key;
    let [created_at, expires_at, revoked_at] = [Some(*created_at), *expires_at, *revoked_at].map(|at| at.map(nanos));
    let (digest, role) = (digest.as_slice(), role.as_str());
    link.send(PUT_KEY, vec![id, &digest, &role, description, last4, &created_at, &expires_at, &revoked_at]).await?;
    next_version(link).await
}

async fn put_secrets(link: &Link, secrets: &[SecretRecord]) -> Result<(), Failed> {
    for SecretRecord { name, sealed, created_at } in secrets {
        link.send(PUT_SECRET, vec![name, sealed, &nanos(*created_at)]).await?;
    }
    next_version(link).await
}

/// Never an earlier end than before.
async fn end_tokens(link: &Link, shared: &Shared, user_no: u64, until: Timestamp) -> Result<(), Failed> {
    let bucket = shared.buckets().of_no(user_no);
    let found = link.send(TOKENS_ENDED, vec![&bucket, &stored(user_no)]).await?;
    let before = found.first().map(|row| RowReader::new(row).time()).transpose()?;
    let until = before.map_or(until, |before| before.max(until));
    // First the version, under whose lock the row gets it.
    next_version(link).await?;
    let mut rows = Rows::default();
    rows.int(i64::from(bucket)).number(user_no).time(until).end_with_sum();
    link.send_rows(END_TOKENS, &rows).await?;
    Ok(())
}

/// Takes the mark away, if the plan is still as its users were looked at.
async fn unmark_plan(link: &Link, plan: &Plan) -> Result<(), Failed> {
    let limits = &plan.limits;
    let (name, tier) = (plan.name.as_str(), i64::from(plan.tier));
    link.send(UNMARK_PLAN, vec![&name, &tier, &limits.cost, &limits.ai_runs, &limits.api_runs]).await?;
    Ok(())
}

//! What every node keeps in memory beside the plans, and how it learns what other nodes changed of it.
//!
//! Each change counts `meta.version` up in its transaction, and holds that row until its commit: so versions become visible
//! in their order. A node asks for the version when something is asked of it and its last question is seconds old; a node
//! of which nobody asks anything asks nothing, and a database that sleeps when idle may sleep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use outlay_core::id::UserNo;
use outlay_core::month::Timestamp;
use parking_lot::RwLock;
use tokio_postgres::Row;

use super::audit::{TOKEN_END, ends_that_matter, read_token_end};
use super::codec::read_all;
use super::errors::unavailable;
use super::outbox::{WEBHOOKS, read_webhook};
use super::reader::{Pool, Reader, Transaction, rows};
use super::rows::{RowReader, damaged, nanos};
use super::shared::{Rules, Shared};
use super::statements::PLANS;
use crate::store::outbox::{Receiver, WebhookRecord};
use crate::store::packed::delivery::read_receiver;
use crate::store::{KeyRecord, Role, SecretRecord, StoreError};

/// From this age on a question is asked beside what goes on.
const SOON_NANOS: u64 = 1_000_000_000;
/// From this age on nothing is answered before another one was: a key that was revoked longer ago lets nobody in.
const LATE_NANOS: u64 = 2_000_000_000;

/// What is due for so long is sent by whoever sees it: the node that should have may be gone.
const OVERDUE_SECONDS: i64 = 10;

/// Versions, and by the way who should have been told something before an instant.
const VERSIONS: &str = "select m.version, a.newest, a.copied, array(select distinct d.receiver \
     from (select receiver from delivery where due < $1 order by due limit 100) d) from meta m, audit_numbers a";

pub(super) const KEYS: &str = "select id, digest, role, description, last4, created_at, expires_at, revoked_at from api_key order by created_at, id";
pub(super) const SECRETS: &str = "select name, sealed, created_at from secret order by name";

#[derive(Debug, Default)]
pub(super) struct Kept {
    of: RwLock<Of>,
    /// When the last question was asked that was answered, on the clock that nobody sets, and one more; 0 is never.
    asked_at: AtomicU64,
    /// Whoever asks holds it, so that what was asked later is kept later.
    asking: tokio::sync::Mutex<()>,
    audit_newest: AtomicU64,
    audit_copied: AtomicU64,
}

/// What is in memory, of one version.
#[derive(Debug, Default)]
struct Of {
    version: i64,
    keys: Vec<Arc<KeyRecord>>,
    secrets: Vec<Arc<SecretRecord>>,
    webhooks: Arc<[WebhookRecord]>,
    /// Of whom tokens were ended that could otherwise still be good.
    token_ends: HashMap<UserNo, Timestamp, foldhash::fast::FixedState>,
}

/// How old what is kept may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Age {
    /// Young enough.
    Young,
    /// It is to be looked at again while it is still young enough.
    Soon,
    /// It may not be used before it was looked at.
    Late,
}

impl Kept {
    pub(super) fn key(&self, digest: &[u8; 32]) -> Option<Arc<KeyRecord>> {
        self.of.read().keys.iter().find(|key| key.digest == *digest).map(Arc::clone)
    }

    pub(super) fn keys(&self) -> Vec<Arc<KeyRecord>> {
        self.of.read().keys.clone()
    }

    pub(super) fn secret(&self, name: &str) -> Option<Arc<SecretRecord>> {
        self.of.read().secrets.iter().find(|secret| secret.name == name).map(Arc::clone)
    }

    pub(super) fn secrets(&self) -> Vec<Arc<SecretRecord>> {
        self.of.read().secrets.clone()
    }

    pub(super) fn webhooks(&self) -> Arc<[WebhookRecord]> {
        Arc::clone(&self.of.read().webhooks)
    }

    pub(super) fn tokens_ended(&self, user_no: UserNo) -> Option<Timestamp> {
        self.of.read().token_ends.get(&user_no).copied()
    }

    /// The newest number of the audit log, and the last that was copied.
    pub(super) fn audit_newest(&self) -> (u64, u64) {
        (self.audit_newest.load(Ordering::Acquire), self.audit_copied.load(Ordering::Acquire))
    }

    /// Notes that the audit log has this entry now.
    pub(super) fn audit_grew(&self, newest: Option<i64>) {
        if let Some(newest) = newest {
            self.audit_newest.fetch_max(newest.cast_unsigned(), Ordering::AcqRel);
        }
    }

    pub(super) fn age(&self, monotonic: u64) -> Age {
        match self.asked_at.load(Ordering::Acquire) {
            0 => Age::Late,
            asked_at => match (monotonic + 1).saturating_sub(asked_at) {
                ..SOON_NANOS => Age::Young,
                SOON_NANOS..LATE_NANOS => Age::Soon,
                _ => Age::Late,
            },
        }
    }

    fn asked(&self, monotonic: u64) {
        self.asked_at.fetch_max(monotonic + 1, Ordering::AcqRel);
    }

    /// Notes what a batch saw by the way, by a question of this instant.
    pub(super) fn saw(&self, version: i64, monotonic: u64) {
        if self.of.read().version == version {
            self.asked(monotonic);
        }
    }

    /// Has the next one who asks for anything look first.
    fn forget_age(&self) {
        self.asked_at.store(0, Ordering::Release);
    }
}

/// Brings what is kept up to what is in the database; nothing is done where somebody else did so while this one waited.
pub(super) async fn catch_up(shared: &Shared, readers: &Pool) -> Result<(), StoreError> {
    let asking = shared.kept.asking.lock().await;
    if shared.kept.age(shared.settings.clock.monotonic_nanos()) == Age::Young {
        return Ok(());
    }
    look(shared, readers, &asking).await
}

/// Does so whoever looked when. Where that fails, the next one who asks for anything looks first.
pub(super) async fn look_now(shared: &Shared, readers: &Pool) -> Result<(), StoreError> {
    let asking = shared.kept.asking.lock().await;
    let looked = look(shared, readers, &asking).await;
    if looked.is_err() {
        shared.kept.forget_age();
    }
    looked
}

/// Asks for the version, and reads all that is kept where it is another.
async fn look(shared: &Shared, readers: &Pool, _asking: &tokio::sync::MutexGuard<'_, ()>) -> Result<(), StoreError> {
    let kept = &shared.kept;
    let asked_at = shared.settings.clock.monotonic_nanos();
    let mut reader = Reader::of(readers).await?;
    let overdue_since = nanos(shared.time().plus_seconds(-OVERDUE_SECONDS));
    let (version, overdue) = keep_versions(kept, &rows(&reader, VERSIONS, &[&overdue_since]).await?)?;
    shared.feed.post().put(overdue);
    if kept.of.read().version != version {
        let snapshot = reader.snapshot().await?;
        load(&snapshot, shared).await?;
        snapshot.commit().await.map_err(unavailable)?;
    }
    kept.asked(asked_at);
    Ok(())
}

/// Keeps how far the audit log goes; gives the version of all else, and who should have been told something.
fn keep_versions(kept: &Kept, found: &[Row]) -> Result<(i64, Vec<Receiver>), StoreError> {
    let mut row = RowReader::new(found.first().ok_or_else(|| damaged("table meta"))?);
    let (version, newest, copied) = (row.required()?, row.number()?, row.number()?);
    kept.audit_copied.store(copied, Ordering::Release);
    kept.audit_newest.fetch_max(newest, Ordering::AcqRel);
    Ok((version, row.ints()?.into_iter().map(read_receiver).collect()))
}

/// Reads all that is kept, of one snapshot. Only one may do so at a time.
async fn load(snapshot: &Transaction<'_>, shared: &Shared) -> Result<(), StoreError> {
    let kept = &shared.kept;
    let (version, _) = keep_versions(kept, &rows(snapshot, VERSIONS, &[&0_i64]).await?)?;
    let plans = rows(snapshot, PLANS, &[]).await?;
    let webhooks = rows(snapshot, WEBHOOKS, &[]).await?;
    let rules = Rules::read(&plans, &webhooks, &shared.settings)?;
    let webhooks = read_all(&webhooks, read_webhook)?.into();
    let keys = read_all(&rows(snapshot, KEYS, &[]).await?, |row| read_key(row).map(Arc::new))?;
    let secrets = read_all(&rows(snapshot, SECRETS, &[]).await?, |row| read_secret(row).map(Arc::new))?;
    // Ends of tokens may be many, and are only added to. But a database that was set back knows less than this node.
    let before = Some(kept.of.read().version).filter(|before| *before <= version);
    let sql = format!("select {} from token_end t where t.version > $1 and t.until > $2", TOKEN_END.select("t"));
    let since = nanos(ends_that_matter(shared.time()));
    let ends = read_all(&rows(snapshot, &sql, &[&before.unwrap_or(0), &since]).await?, read_token_end)?;
    shared.keep_rules(&rules);
    let mut of = kept.of.write();
    if before.is_none() {
        of.token_ends.clear();
    }
    if of.token_ends.len() + ends.len() > of.token_ends.capacity() {
        let since = ends_that_matter(shared.time());
        of.token_ends.retain(|_, until| *until > since);
    }
    of.token_ends.extend(ends);
    *of = Of { version, keys, secrets, webhooks, token_ends: std::mem::take(&mut of.token_ends) };
    Ok(())
}

/// Reads [`KEYS`].
pub(super) fn read_key(row: &mut RowReader<'_>) -> Result<KeyRecord, StoreError> {
    Ok(KeyRecord {
        id: row.required_text()?.to_owned(),
        digest: row.blob()?,
        role: Role::parse(row.required_text()?).ok_or_else(|| damaged("a key's role"))?,
        description: row.required_text()?.to_owned(),
        last4: row.required_text()?.to_owned(),
        created_at: row.time()?,
        expires_at: row.optional_time()?,
        revoked_at: row.optional_time()?,
    })
}

/// Reads [`SECRETS`].
pub(super) fn read_secret(row: &mut RowReader<'_>) -> Result<SecretRecord, StoreError> {
    let name = row.required_text()?.to_owned();
    Ok(SecretRecord { name, sealed: row.bytes()?.to_vec(), created_at: row.time()? })
}

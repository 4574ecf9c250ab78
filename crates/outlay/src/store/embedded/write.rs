//! Writes what a batch changed, each row once and in key order, and the records that no rule decides about.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use outlay_core::id::UserNo;
use outlay_core::ledger::{Now, Written};
use outlay_core::money::UsdSum;
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::session::Session;
use rusqlite::Connection;

use super::codec::{self, RowReader, RowWriter, status_no, stored};
use super::names::{Kind, Names};
use super::sweep::Swept;
use super::{EmbeddedStore, tables};
use crate::store::{KeyRecord, Role, SecretRecord, StoreError};

/// Steps between two rows that say where a page of a session's steps begins.
pub(super) const STEPS_PER_PAGE: u64 = 1_000;

/// Operations of a user's month between two that `month_page` names, so that a page of a list finds its beginning.
const OPERATIONS_PER_PAGE: u64 = 256;

impl EmbeddedStore {
    pub(super) fn write(&mut self, written: &Written, now: Now) -> Result<Swept, StoreError> {
        self.write_rows(written, now, true)
    }

    /// The same, with whether the operations are to be added to the day sums; where they are not, every row is written.
    pub(super) fn write_rows(&mut self, written: &Written, now: Now, counted: bool) -> Result<Swept, StoreError> {
        self.write_operations(written, now, counted)?;
        let swept = self.write_months(written, !counted)?;
        let shared = Arc::clone(&self.shared);
        let (connection, names, bytes) = (&self.connection, &shared.names, &mut self.bytes);
        write_month_pages(connection, written)?;
        self.days.write_all(connection, bytes)?;

        let mut sessions = shared.sessions.write();
        let mut statement = connection.prepare_cached(codec::REPLACE_SESSION)?;
        for (before, session) in &written.sessions {
            codec::write_session(&mut RowWriter::new(&mut statement, bytes), session, names)?;
            if before.is_none() && !session.session_id.as_str().is_empty() {
                let hash = sessions.hash(session.user_no.0, session.session_id.as_str());
                sessions.insert(hash, session.no.0);
            }
            self.session_days.change(connection, before.as_ref(), session, names)?;
        }
        drop(sessions);
        self.session_days.write(connection)?;

        let mut statement = connection.prepare_cached(codec::REPLACE_DENIAL)?;
        for denial in &written.denials {
            codec::write_denial(&mut RowWriter::new(&mut statement, bytes), denial, names)?;
        }
        let mut statement = connection.prepare_cached(codec::INSERT_ALERT)?;
        for alert in &written.alerts {
            codec::write_alert(&mut RowWriter::new(&mut statement, bytes), alert)?;
        }
        self.outbox.write(connection, now, bytes)?;
        for plan in &written.plans {
            super::load::put_plan(connection, plan)?;
            super::load::mark_plan(connection, &plan.name)?;
        }
        names.write(connection)?;
        connection.prepare_cached("update meta set value = ? where key = 'batch'")?.execute([stored(self.batch)])?;
        let mut statement = connection.prepare_cached("replace into meta values ('clock', ?)")?;
        RowWriter::new(&mut statement, bytes).time(now.holds)?.write()?;
        Ok(swept)
    }

    /// Users, and the operations of the batch.
    fn write_operations(&mut self, written: &Written, now: Now, counted: bool) -> Result<(), StoreError> {
        let shared = Arc::clone(&self.shared);
        let (connection, names, bytes) = (&self.connection, &shared.names, &mut self.bytes);

        // The id of an erased user may be a new user's in the same batch, so it is freed first.
        for user in &written.erased {
            super::erase::blank(connection, user, now.wall, bytes)?;
        }
        let mut statement = connection.prepare_cached(codec::UPSERT_USER)?;
        for user in &written.users {
            codec::write_user(&mut RowWriter::new(&mut statement, bytes), user)?;
        }

        let mut operations = shared.operations.write();
        let mut statement = connection.prepare_cached(codec::INSERT_OPERATION)?;
        for operation in &written.operations {
            codec::write_operation(&mut RowWriter::new(&mut statement, bytes), operation, names)?;
            // Nothing of an erased person is found by its id.
            if !operation.operation_id.as_str().is_empty() {
                let hash = operations.hash(operation.user_no.0, operation.operation_id.as_str());
                operations.insert(hash, operation.no.0);
            }
            if counted {
                self.days.add(connection, operation, names)?;
            }
            if operation.step_position > 0
                && operation.step_position % STEPS_PER_PAGE == 0
                && let Some((session, _)) = &operation.session
            {
                connection.prepare_cached("insert into session_page values (?, ?, ?)")?.execute((
                    stored(session.0),
                    stored(operation.step_position / STEPS_PER_PAGE),
                    stored(operation.no.0),
                ))?;
            }
        }
        drop(operations);
        // A reversed operation is an older row, which is rewritten whole for its sum.
        let mut statement = connection.prepare_cached(codec::REPLACE_OPERATION)?;
        for operation in &written.reversed {
            codec::write_operation(&mut RowWriter::new(&mut statement, bytes), operation, names)?;
        }
        Ok(())
    }
}

/// Names every so many operations of a month.
fn write_month_pages(connection: &Connection, written: &Written) -> Result<(), StoreError> {
    // Which place its newest operation has, of the months that are long enough.
    let long = written.months.iter().filter(|(_, row)| row.operations >= OPERATIONS_PER_PAGE);
    let mut places: HashMap<(UserNo, Month), u64, FixedState> =
        long.map(|(user_no, row)| ((*user_no, row.month), row.operations)).collect();
    if places.is_empty() {
        return Ok(());
    }
    let mut statement = connection.prepare_cached("insert into month_page values (?, ?, ?)")?;
    for operation in written.operations.iter().rev() {
        let month = operation.month();
        let Some(place) = places.get_mut(&(operation.user_no, month)) else { continue };
        if place.is_multiple_of(OPERATIONS_PER_PAGE) {
            statement.execute((stored(operation.user_no.0), month.index(), stored(operation.no.0)))?;
        }
        *place -= 1;
    }
    Ok(())
}

/// Sums over the sessions opened on a day, by feature and status.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct SessionSums {
    pub(super) count: i64,
    pub(super) cost: UsdSum,
    pub(super) steps: i64,
    pub(super) duration_ms: i64,
}

impl SessionSums {
    /// Adds the other's sums, or takes them out with a sign of -1.
    pub(super) fn add(&mut self, other: &Self, sign: i64) {
        self.count += sign * other.count;
        self.cost = UsdSum::from_picos(self.cost.picos() + i128::from(sign) * other.cost.picos());
        self.steps += sign * other.steps;
        self.duration_ms += sign * other.duration_ms;
    }

    /// Reads the columns `count, cost, steps, duration_ms`.
    pub(super) fn read(row: &mut RowReader<'_, '_>) -> Result<Self, StoreError> {
        Ok(Self {
            count: row.required()?,
            cost: UsdSum::from_picos(row.wide()?),
            steps: row.required()?,
            duration_ms: row.required()?,
        })
    }
}

type SessionDayKey = (Day, i64, i64);

/// The session sums that batches changed, and those in memory.
#[derive(Debug, Default)]
pub(super) struct SessionDays {
    rows: BTreeMap<SessionDayKey, (SessionSums, bool)>,
}

impl SessionDays {
    /// Takes what a session was out of the sums, and puts in what it is.
    pub(super) fn change(
        &mut self,
        connection: &Connection,
        before: Option<&Session>,
        after: &Session,
        names: &Names,
    ) -> Result<(), StoreError> {
        if let Some(before) = before {
            self.add(connection, before, -1, names)?;
        }
        self.add(connection, after, 1, names)
    }

    fn add(&mut self, connection: &Connection, session: &Session, sign: i64, names: &Names) -> Result<(), StoreError> {
        let key =
            (session.created_at.day(), names.no(Kind::Feature, Some(&session.feature)), status_no(session.status));
        let (sums, changed) = match self.rows.entry(key) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert((session_day(connection, key)?.unwrap_or_default(), false))
            }
        };
        sums.add(&session_sums(session), sign);
        *changed = true;
        Ok(())
    }

    pub(super) fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        let mut statement = connection.prepare_cached("replace into session_day values (?,?,?,?,?,?,?)")?;
        let mut bytes = Vec::new();
        for ((day, feature, status), (sums, changed)) in &self.rows {
            if *changed {
                let mut row = RowWriter::new(&mut statement, &mut bytes);
                row.int(i64::from(day.index()))?.int(*feature)?.int(*status)?.int(sums.count)?;
                row.wide(sums.cost.picos())?.int(sums.steps)?.int(sums.duration_ms)?.write()?;
            }
        }
        Ok(())
    }

    pub(super) fn committed(&mut self) {
        if self.rows.len() > 10_000 {
            self.rows.clear();
        }
        for (_, changed) in self.rows.values_mut() {
            *changed = false;
        }
    }
}

/// What one session adds to its day's sums.
pub(super) fn session_sums(session: &Session) -> SessionSums {
    let duration = session.completed_at.map_or(0, |end| (end.nanos() - session.created_at.nanos()) / 1_000_000);
    SessionSums {
        count: 1,
        cost: session.total_cost,
        steps: stored(session.steps),
        duration_ms: i64::try_from(duration.max(0)).unwrap_or(i64::MAX),
    }
}

fn session_day(connection: &Connection, key: SessionDayKey) -> Result<Option<SessionSums>, StoreError> {
    let sql = "select count, cost, steps, duration_ms from session_day where day = ? and feature = ? and status = ?";
    super::load::one(connection, sql, (key.0.index(), key.1, key.2), |row| SessionSums::read(&mut RowReader::new(row)))
}

pub(super) fn put_key(connection: &Connection, key: &KeyRecord) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    let mut statement = connection.prepare_cached("insert into key values (?,?,?,?,?,?,?,?)")?;
    let mut row = RowWriter::new(&mut statement, &mut bytes);
    row.text(key.id.as_str())?.blob(&key.digest)?.text(key.role.as_str())?.text(key.description.as_str())?;
    row.text(key.last4.as_str())?.time(key.created_at)?.time(key.expires_at)?.time(key.revoked_at)?.write()?;
    Ok(())
}

pub(super) fn revoke_key(connection: &Connection, id: &str, at: Timestamp) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    let mut statement =
        connection.prepare_cached("update key set revoked_at = ?1 where id = ?2 and revoked_at is null")?;
    RowWriter::new(&mut statement, &mut bytes).time(at)?.text(id)?.write()?;
    Ok(())
}

pub(super) fn load_keys(connection: &Connection) -> Result<Vec<Arc<KeyRecord>>, StoreError> {
    let mut statement = connection.prepare(
        "select id, digest, role, description, last4, created_at, expires_at, revoked_at from key order by created_at, id",
    )?;
    let mut rows = statement.query([])?;
    let mut keys = Vec::new();
    while let Some(row) = rows.next()? {
        let mut row = RowReader::new(row);
        keys.push(Arc::new(KeyRecord {
            id: row.required_text()?.to_owned(),
            digest: row.blob()?,
            role: Role::parse(row.required_text()?)
                .ok_or_else(|| StoreError::Corrupt("a key has an unknown role".to_owned()))?,
            description: row.required_text()?.to_owned(),
            last4: row.required_text()?.to_owned(),
            created_at: row.time()?,
            expires_at: row.optional_time()?,
            revoked_at: row.optional_time()?,
        }));
    }
    Ok(keys)
}

pub(super) fn put_secret(connection: &Connection, secret: &SecretRecord) -> Result<(), StoreError> {
    let mut bytes = Vec::new();
    let mut statement = connection.prepare_cached("replace into secret values (?, ?, ?)")?;
    let mut row = RowWriter::new(&mut statement, &mut bytes);
    row.text(secret.name.as_str())?.blob(&secret.sealed)?.time(secret.created_at)?.write()?;
    Ok(())
}

pub(super) fn remove_secret(connection: &Connection, name: &str) -> Result<(), StoreError> {
    connection.prepare_cached("delete from secret where name = ?")?.execute([name])?;
    Ok(())
}

pub(super) fn load_secrets(connection: &Connection) -> Result<Vec<Arc<SecretRecord>>, StoreError> {
    let mut statement = connection.prepare("select name, sealed, created_at from secret order by name")?;
    let mut rows = statement.query([])?;
    let mut secrets = Vec::new();
    while let Some(row) = rows.next()? {
        let (name, sealed) = (row.get(0)?, row.get(1)?);
        let created_at = RowReader::at(row, 2).time()?;
        secrets.push(Arc::new(SecretRecord { name, sealed, created_at }));
    }
    Ok(secrets)
}

/// Copies the store as of now into a new file, in one snapshot, while the writer goes on.
pub(super) fn copy_to(file: &tables::File, to: &Path) -> Result<(), StoreError> {
    if to.exists() {
        return Err(StoreError::Unavailable(format!("{} exists already", to.display())));
    }
    let source = file.reader()?;
    let mut copy = Connection::open(to)?;
    rusqlite::backup::Backup::new(&source, &mut copy)?.step(-1)?;
    // A copy that is alone in its folder must not need a log beside it.
    copy.execute_batch("pragma journal_mode = delete; pragma synchronous = full;")?;
    drop(copy);
    std::fs::File::open(to).and_then(|copy| copy.sync_all()).map_err(|error| StoreError::Unavailable(error.to_string()))
}

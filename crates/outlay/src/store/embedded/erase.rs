//! Erasure: one durable transaction blanks the row that says who a number was; ids, texts and metadata are wiped after
//! it in slices, which a crash only interrupts. Numbers, sums and times stay, and still verify.

use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use outlay_core::denial::Reason;
use outlay_core::id::{DenialNo, Label, Name, OperationId, OperationNo, SessionId, SessionNo, UserId, UserNo};
use outlay_core::month::Timestamp;
use outlay_core::plan::Overrides;
use outlay_core::session::SessionStatus;
use outlay_core::user::User;
use rand::Rng as _;
use rusqlite::Connection;

use super::codec::{self, RowReader, RowWriter, stored};
use super::{EmbeddedStore, load};
use crate::audit::Actor;
use crate::store::{Batch, StoreError, Urgency};

/// The list of erasures beside the store: a line with number and tag for each, to be applied to restored copies.
pub const LIST_NAME: &str = "erasures";

/// Where the wiping of one person goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Progress {
    user_no: UserNo,
    stage: i64,
    /// The next row of the stage; none when the stage's chain is at its end.
    next: Option<u64>,
}

/// The stages, in order; the operations of the person's n-th month are stage `OPERATIONS + n`.
const BEGIN: i64 = 0;
const SESSIONS: i64 = 1;
const DENIALS: i64 = 2;
const OPERATIONS: i64 = 3;
const DONE: i64 = -1;

/// Makes a number nobody's, and notes that what names the person is to be wiped.
pub(super) fn blank(
    connection: &Connection,
    user: &User,
    at: Timestamp,
    bytes: &mut Vec<u8>,
) -> Result<(), StoreError> {
    let nobody = User {
        user_id: UserId::from_stored(""),
        plan: None::<Name>,
        email: None,
        overrides: Overrides::default(),
        ..user.clone()
    };
    let mut statement = connection.prepare_cached(codec::REPLACE_USER)?;
    codec::write_user(&mut RowWriter::new(&mut statement, bytes), &nobody)?;
    super::outbox::blank_reasons(connection, user.no)?;
    let mut statement = connection.prepare_cached("replace into erasure values (?, ?, ?, 0, 0, null)")?;
    let mut row = RowWriter::new(&mut statement, bytes);
    row.number(user.no.0)?.number(user.tag)?.time(at)?.write()?;
    Ok(())
}

impl EmbeddedStore {
    /// Wipes one slice of what still names an erased person; gives whether there is more.
    pub(super) fn wipe_slice(&mut self) -> Result<bool, StoreError> {
        self.check_writable(Urgency::Fact)?;
        self.list_erasures()?;
        let sql = "select user, stage, next from erasure where stage >= 0 order by user limit 1";
        let progress = load::one(&self.connection, sql, [], |row| {
            let mut row = RowReader::new(row);
            Ok(Progress {
                user_no: UserNo(row.number()?),
                stage: row.required()?,
                next: row.int()?.map(i64::cast_unsigned),
            })
        })?;
        let Some(progress) = progress else { return Ok(false) };
        self.connection.execute_batch("begin immediate")?;
        let wiped = self.wipe(progress).and_then(|progress| {
            self.connection.prepare_cached("update erasure set stage = ?, next = ? where user = ?")?.execute((
                progress.stage,
                progress.next.map(stored),
                stored(progress.user_no.0),
            ))?;
            Ok(progress)
        });
        let progress = match wiped {
            Ok(progress) => progress,
            Err(error) => {
                self.connection.execute_batch("rollback").map_err(|error| self.poison(&error))?;
                return Err(error);
            }
        };
        self.connection.execute_batch("commit").map_err(|error| self.poison(&error))?;
        self.session_days.committed();
        // The books may hold a session as it was before it was wiped.
        self.books.shrink(usize::MAX, 0);
        if progress.stage == DONE && self.settings.vfs.is_none() {
            // What the log still holds of the person goes with it. Readers may be in the way: the next copy does it then.
            let busy: i64 = self.connection.query_row("pragma wal_checkpoint(truncate)", [], |row| row.get(0))?;
            tracing::info!(user.number = progress.user_no.0, log_busy = busy != 0, "a person is erased");
        }
        Ok(true)
    }

    fn wipe(&mut self, progress: Progress) -> Result<Progress, StoreError> {
        let user = load::user(&self.connection, progress.user_no)?
            .ok_or_else(|| StoreError::Corrupt(format!("user {} is not stored", progress.user_no.0)))?;
        let mut next = progress.next;
        for _ in 0..self.settings.sizes.wiped_rows {
            let Some(no) = next else { break };
            next = match progress.stage {
                SESSIONS => self.wipe_session(SessionNo(no))?,
                DENIALS => self.wipe_denial(DenialNo(no))?,
                _ => self.wipe_operation(OperationNo(no))?,
            };
        }
        if next.is_some() {
            return Ok(Progress { next, ..progress });
        }
        let stage = progress.stage + 1;
        let next = match stage {
            BEGIN => None,
            SESSIONS => user.last_session.map(|no| no.0),
            DENIALS => user.last_denial.map(|no| no.0),
            _ => {
                let place = usize::try_from(stage - OPERATIONS).ok();
                match place.and_then(|place| user.months.get(place)) {
                    None => return Ok(Progress { stage: DONE, next: None, ..progress }),
                    Some(month) => {
                        let row = load::month(&self.connection, user.no, *month)?;
                        row.and_then(|row| row.head).map(|no| no.0)
                    }
                }
            }
        };
        Ok(Progress { stage, next, ..progress })
    }

    fn wipe_session(&mut self, no: SessionNo) -> Result<Option<u64>, StoreError> {
        let names = &self.shared.names;
        let Some(before) = load::session(&self.connection, no, names)? else { return Ok(None) };
        let mut wiped = before.clone();
        wiped.session_id = SessionId::from_stored("");
        wiped.error = None;
        wiped.metadata = None;
        if wiped.status == SessionStatus::InProgress {
            wiped.status = SessionStatus::Abandoned;
            wiped.completed_at = Some(wiped.last_updated_at);
            wiped.due = None;
        }
        let mut statement = self.connection.prepare_cached(codec::REPLACE_SESSION)?;
        codec::write_session(&mut RowWriter::new(&mut statement, &mut self.bytes), &wiped, names)?;
        self.session_days.change(&self.connection, Some(&before), &wiped, names)?;
        self.session_days.write(&self.connection)?;
        Ok(wiped.previous.map(|no| no.0))
    }

    fn wipe_denial(&mut self, no: DenialNo) -> Result<Option<u64>, StoreError> {
        let names = &self.shared.names;
        let Some(mut denial) = load::denial(&self.connection, no, names)? else { return Ok(None) };
        denial.session_id = None;
        denial.metadata = None;
        if let Reason::Application(reason) = &mut denial.reason {
            *reason = Label::from_stored("");
        }
        let mut statement = self.connection.prepare_cached(codec::REPLACE_DENIAL)?;
        codec::write_denial(&mut RowWriter::new(&mut statement, &mut self.bytes), &denial, names)?;
        Ok(denial.previous.map(|no| no.0))
    }

    fn wipe_operation(&mut self, no: OperationNo) -> Result<Option<u64>, StoreError> {
        let names = &self.shared.names;
        let Some(mut operation) = load::operation(&self.connection, no, names)? else { return Ok(None) };
        operation.operation_id = OperationId::from_stored("");
        operation.step_label = None;
        operation.metadata = None;
        operation.reason = None;
        let mut statement = self.connection.prepare_cached(codec::REPLACE_OPERATION)?;
        codec::write_operation(&mut RowWriter::new(&mut statement, &mut self.bytes), &operation, names)?;
        Ok(operation.previous_in_month.map(|no| no.0))
    }

    /// Adds what is not there yet to the list beside the store.
    pub(super) fn list_erasures(&mut self) -> Result<(), StoreError> {
        let mut statement = self.connection.prepare_cached("select user, tag from erasure where listed = 0")?;
        let new = statement.query_map([], |row| {
            let (no, tag): (i64, i64) = (row.get(0)?, row.get(1)?);
            Ok(Erasure { user_no: UserNo(no.cast_unsigned()), tag: tag.cast_unsigned() })
        })?;
        let new: Vec<Erasure> = new.collect::<Result<_, _>>()?;
        if new.is_empty() {
            return Ok(());
        }
        if self.settings.vfs.is_none() {
            append(&self.settings.folder.join(LIST_NAME), &new)?;
        }
        for erasure in new {
            let mut statement = self.connection.prepare_cached("update erasure set listed = 1 where user = ?")?;
            statement.execute([stored(erasure.user_no.0)])?;
        }
        Ok(())
    }

    /// Lists every erasure anew where the list beside the store is lost.
    pub(super) fn renew_list(&self) -> Result<(), StoreError> {
        let listed = "select exists(select 1 from erasure where listed = 1)";
        if !self.settings.folder.join(LIST_NAME).exists()
            && self.connection.query_row(listed, [], |row| row.get::<_, bool>(0))?
        {
            self.connection.execute("update erasure set listed = 0", [])?;
        }
        Ok(())
    }

    /// Makes a store of a copy of one: erases whom the list beside it names, or `also`, since the copy may be older than
    /// their erasure; and counts its starts from elsewhere, since the numbers after those of the copy were used. Those of
    /// `also` are on the list from then on, whether or not this store knows them. Gives how many were erased.
    ///
    /// # Errors
    /// When the list cannot be read or written, or the store fails.
    pub fn restored(&mut self, also: &[Erasure]) -> Result<usize, StoreError> {
        let path = self.settings.folder.join(LIST_NAME);
        let mut listed = read_list(&path)?;
        let new: Vec<Erasure> = also.iter().filter(|erasure| !listed.contains(erasure)).copied().collect();
        append(&path, &new)?;
        listed.extend(new);
        let mut erased = 0;
        for erasure in listed {
            let user = load::user(&self.connection, erasure.user_no)?;
            if let Some(user) = user.filter(|user| user.tag == erasure.tag && !user.user_id.as_str().is_empty()) {
                let commands = vec![outlay_core::ledger::Command::Erase { user_id: user.user_id }];
                self.commit_now(Batch { by: vec![(0, Actor::here("restore"))], ..Batch::from(commands) })?;
                erased += 1;
            }
        }
        while self.wipe_slice()? {}
        let leap = i64::from(self.random.next_u32());
        self.connection.execute("update meta set value = value + ? where key = 'epoch'", [leap])?;
        Ok(erased)
    }
}

/// Somebody who was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erasure {
    /// Their number.
    pub user_no: UserNo,
    /// The tag that they had: a number that is given out anew has another.
    pub tag: u64,
}

impl Erasure {
    /// Reads a line of the list.
    pub fn parse(line: &str) -> Option<Self> {
        let number = |part: Option<&str>| part.and_then(|part| part.parse::<i64>().ok()).map(i64::cast_unsigned);
        let mut parts = line.trim_end().split(' ');
        let erasure = Self { user_no: UserNo(number(parts.next())?), tag: number(parts.next())? };
        parts.next().is_none().then_some(erasure)
    }

    fn line(&self) -> String {
        format!("{} {}\n", stored(self.user_no.0), stored(self.tag))
    }
}

/// Adds to the list, durably.
fn append(path: &Path, erasures: &[Erasure]) -> Result<(), StoreError> {
    if erasures.is_empty() {
        return Ok(());
    }
    let lines: String = erasures.iter().map(Erasure::line).collect();
    let append = || {
        let mut file = std::fs::OpenOptions::new().create(true).read(true).append(true).open(path)?;
        // A line that was cut off must not take the next one with it; what it would have said comes again.
        let mut last = [b'\n'];
        if file.seek(SeekFrom::End(-1)).is_ok() {
            file.read_exact(&mut last)?;
        }
        let lines = if last == [b'\n'] { lines } else { format!("\n{lines}") };
        file.write_all(lines.as_bytes())?;
        file.sync_all()
    };
    let appended: std::io::Result<()> = append();
    appended.map_err(|error| StoreError::Unavailable(format!("write the list of erasures: {error}")))
}

/// Whom a list beside a store names; a line that was cut off comes again, and is passed over.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read_list(path: &Path) -> Result<Vec<Erasure>, StoreError> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(StoreError::Unavailable(format!("read the list of erasures: {error}"))),
    };
    Ok(text.lines().filter_map(Erasure::parse).collect())
}

//! Erasure's second half: what still names an erased person is wiped in slices, each a transaction under the bucket's lock.
//!
//! How far it came is in the person's row of `erasure`, which a slice reads under the lock and moves on: so a node that ends
//! is carried on from, and two that wipe at the same time only take turns. Numbers, sums and times stay, and still verify.

use outlay_core::denial::{Denial, Reason};
use outlay_core::id::{Label, OperationId, SessionId};
use outlay_core::operation::Operation;
use outlay_core::session::{Session, SessionStatus};
use std::sync::LazyLock;

use super::codec::{self, DENIAL, OPERATION, SESSION, read_all};
use super::link::Link;
use super::rows::{RowReader, Rows, stored};
use super::statements::{MADE, Table};
use super::sums::Added;
use crate::store::StoreError;

/// The stages, in order.
const SESSIONS: i64 = 0;
const DENIALS: i64 = 1;
const OPERATIONS: i64 = 2;
pub(super) const DONE: i64 = -1;

/// The first bucket above one that has somebody to wipe.
pub(super) const NEXT_BUCKET: &str =
    "select bucket from erasure where stage >= 0 and bucket > $1::int4 order by bucket limit 1";

const PROGRESS: &str =
    "select user_no, stage, below from erasure where bucket = $1::int8 and stage >= 0 order by user_no limit 1";

const MOVE_ON: &str = "update erasure set stage = $3::int8, below = $4::int8 where bucket = $1::int8 and user_no = $2";

/// Operations that the person recorded can be sent again by nobody: whoever has the id later is somebody else.
const FORGET_OP_KEYS: &str = "delete from op_key where bucket = $1::int8 and user_no = $2 and op = any($3::bytea[])";
const FORGET_ALL_OP_KEYS: &str = "delete from op_key where bucket = $1::int8 and user_no = $2";

struct Made {
    sessions: String,
    denials: String,
    operations: String,
}

static FIND: LazyLock<Made> = LazyLock::new(|| {
    let newest_first = |table: &Table| {
        format!(
            "select {} from {} t where t.bucket = $1::int8 and t.user_no = $2 and t.no < $3 order by t.no desc limit $4",
            table.select("t"),
            table.name
        )
    };
    Made { sessions: newest_first(&SESSION), denials: newest_first(&DENIAL), operations: newest_first(&OPERATION) }
});

/// What a connection needs that wipes.
pub(super) fn statements() -> Vec<&'static str> {
    let (find, made) = (&*FIND, &*MADE);
    let of_all = [NEXT_BUCKET, PROGRESS, MOVE_ON, FORGET_OP_KEYS, FORGET_ALL_OP_KEYS].into_iter();
    let of_tables = [
        &find.sessions,
        &find.denials,
        &find.operations,
        &made.put_sessions,
        &made.add_session_days,
        &made.put_denials,
        &made.put_operations,
    ];
    of_all.chain(of_tables.into_iter().map(String::as_str)).collect()
}

/// Wipes at most so many rows of the first person of a bucket, which the transaction has locked.
pub(super) async fn wipe(link: &Link, bucket: i32, rows_max: usize) -> Result<(), StoreError> {
    let of = i64::from(bucket);
    let found = link.send(PROGRESS, vec![&of]).await?;
    // Another node was faster.
    let Some(row) = found.first() else { return Ok(()) };
    let mut row = RowReader::new(row);
    let (user_no, stage, below) = (row.required()?, row.required()?, row.int()?.unwrap_or(i64::MAX));
    let slice = Slice { link, bucket, user_no, below, limit: i64::try_from(rows_max).unwrap_or(i64::MAX) };
    let (count, last) = match stage {
        SESSIONS => slice.sessions().await?,
        DENIALS => slice.denials().await?,
        _ => slice.operations().await?,
    };
    let (stage, below) = match last {
        Some(last) if count >= rows_max => (stage, Some(stored(last))),
        _ if stage < OPERATIONS => (stage + 1, None),
        _ => {
            link.send(FORGET_ALL_OP_KEYS, vec![&of, &user_no]).await?;
            tracing::info!(user.number = user_no, "a person is erased");
            (DONE, None)
        }
    };
    link.send(MOVE_ON, vec![&of, &user_no, &stage, &below]).await?;
    Ok(())
}

/// Rows of a person, from the newest that is not wiped yet.
struct Slice<'a> {
    link: &'a Link,
    bucket: i32,
    user_no: i64,
    below: i64,
    limit: i64,
}

impl Slice<'_> {
    async fn read<T>(
        &self,
        sql: &'static str,
        read: fn(&mut RowReader<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let of = i64::from(self.bucket);
        let found = self.link.send(sql, vec![&of, &self.user_no, &self.below, &self.limit]).await?;
        read_all(&found, read)
    }

    async fn put(&self, sql: &'static str, rows: &Rows<'_>) -> Result<(), StoreError> {
        if !rows.is_empty() {
            self.link.send_rows(sql, rows).await?;
        }
        Ok(())
    }

    /// Wipes sessions; gives how many, and the number of the last.
    async fn sessions(&self) -> Result<(usize, Option<u64>), StoreError> {
        let before = self.read(&FIND.sessions, codec::read_session).await?;
        let after: Vec<Session> = before.iter().map(wiped_session).collect();
        let (mut rows, mut added) = (Rows::default(), Added::default());
        for (before, after) in before.iter().zip(&after) {
            codec::write_session(&mut rows, self.bucket, after)?;
            if before.status != after.status {
                added.session(self.bucket, Some(before), after);
            }
        }
        self.put(&MADE.put_sessions, &rows).await?;
        self.put(&MADE.add_session_days, &added.session_days()).await?;
        Ok((after.len(), after.last().map(|row| row.no.0)))
    }

    /// The same for denials.
    async fn denials(&self) -> Result<(usize, Option<u64>), StoreError> {
        let before = self.read(&FIND.denials, codec::read_denial).await?;
        let after: Vec<Denial> = before.into_iter().map(wiped_denial).collect();
        let mut rows = Rows::default();
        for row in &after {
            codec::write_denial(&mut rows, self.bucket, row)?;
        }
        self.put(&MADE.put_denials, &rows).await?;
        Ok((after.len(), after.last().map(|row| row.no.0)))
    }

    /// The same for operations, whose ids are then free.
    async fn operations(&self) -> Result<(usize, Option<u64>), StoreError> {
        let before = self.read(&FIND.operations, codec::read_operation).await?;
        let ops: Vec<[u8; 16]> = before.iter().map(|row| codec::op_of(&row.operation_id)).collect();
        let ops: Vec<&[u8]> = ops.iter().map(<[u8; 16]>::as_slice).collect();
        let after: Vec<Operation> = before.into_iter().map(wiped_operation).collect();
        let mut rows = Rows::default();
        for row in &after {
            codec::write_operation(&mut rows, self.bucket, row)?;
        }
        self.put(&MADE.put_operations, &rows).await?;
        self.link.send(FORGET_OP_KEYS, vec![&i64::from(self.bucket), &self.user_no, &ops]).await?;
        Ok((after.len(), after.last().map(|row| row.no.0)))
    }
}

/// What is left of an erased person's session: it ends, if it had not.
fn wiped_session(session: &Session) -> Session {
    let mut wiped = Session { session_id: SessionId::from_stored(""), error: None, metadata: None, ..session.clone() };
    if wiped.status == SessionStatus::InProgress {
        wiped.status = SessionStatus::Abandoned;
        wiped.completed_at = Some(wiped.last_updated_at);
        wiped.due = None;
    }
    wiped
}

fn wiped_denial(mut denial: Denial) -> Denial {
    denial.session_id = None;
    denial.metadata = None;
    if let Reason::Application(reason) = &mut denial.reason {
        *reason = Label::from_stored("");
    }
    denial
}

fn wiped_operation(mut operation: Operation) -> Operation {
    operation.operation_id = OperationId::from_stored("");
    operation.step_label = None;
    operation.metadata = None;
    operation.reason = None;
    // They are the same person's.
    if let Some((_, id)) = &mut operation.session {
        *id = SessionId::from_stored("");
    }
    for (_, id) in operation.reverses.iter_mut().chain(&mut operation.reversed_by) {
        *id = OperationId::from_stored("");
    }
    operation
}

//! Lists, newest first, by the pointers that each row has to the one before it.

use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::{OperationNo, SessionNo};
use outlay_core::operation::Operation;
use outlay_core::session::Session;
use rusqlite::Connection;

use super::{Inner, Snapshot};
use crate::store::embedded::codec::stored;
use crate::store::embedded::load;
use crate::store::embedded::write::STEPS_PER_PAGE;
use crate::store::{NoticesQuery, Of, Page, SessionsQuery, StoreError, UsageQuery};

/// A user's operations: the months' chains from the newest, merged by number.
pub(super) fn usage(
    inner: &Inner,
    connection: &mut Connection,
    query: &UsageQuery,
) -> Result<Page<Operation>, StoreError> {
    let _ = (inner, connection, query);
    Err(StoreError::Unavailable("lists are being written".to_owned()))
}

/// The steps of a session in order of recording: backward from the row where the page after them begins.
pub(super) fn steps(
    snapshot: &Snapshot<'_>,
    session: SessionNo,
    skip: u64,
    limit: usize,
) -> Result<Vec<Operation>, StoreError> {
    let (connection, names) = (&snapshot.transaction, &snapshot.shared.names);
    let Some(session) = load::session(connection, session, names)? else { return Ok(Vec::new()) };
    let last = session.steps.min(skip.saturating_add(limit as u64));
    if last <= skip {
        return Ok(Vec::new());
    }
    // The nearest row at or above the last step that is wanted: a page's end, or the session's newest step.
    let page = last.div_ceil(STEPS_PER_PAGE);
    let sql = "select operation from session_page where session = ? and page = ?";
    let paged: Option<i64> = load::one(connection, sql, (stored(session.no.0), stored(page)), |row| Ok(row.get(0)?))?;
    let mut next = paged.map(|no| OperationNo(no.cast_unsigned())).or(session.last_step);
    let mut steps = Vec::new();
    while let Some(no) = next {
        let step = load::operation(connection, no, names)?
            .ok_or_else(|| StoreError::Corrupt(format!("step {} of a session is not stored", no.0)))?;
        if step.step_position <= skip {
            break;
        }
        next = step.previous_in_session;
        if step.step_position <= last {
            steps.push(step);
        }
    }
    steps.reverse();
    Ok(steps)
}

pub(super) fn sessions(snapshot: &Snapshot<'_>, query: &SessionsQuery) -> Result<Page<Of<Session>>, StoreError> {
    let _ = (snapshot, query);
    Err(StoreError::Unavailable("lists are being written".to_owned()))
}

pub(super) fn denials(snapshot: &Snapshot<'_>, query: &NoticesQuery) -> Result<Page<Of<Denial>>, StoreError> {
    let _ = (snapshot, query);
    Err(StoreError::Unavailable("lists are being written".to_owned()))
}

pub(super) fn alerts(snapshot: &Snapshot<'_>, query: &NoticesQuery) -> Result<Page<Of<Alert>>, StoreError> {
    let _ = (snapshot, query);
    Err(StoreError::Unavailable("lists are being written".to_owned()))
}

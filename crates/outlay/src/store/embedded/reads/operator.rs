//! What the operator reads over all users.

use outlay_core::id::UserNo;
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::plan::Plan;

use super::Snapshot;
use crate::store::{Overview, SessionStats, StoreError, UsersPage, UsersQuery};

pub(super) fn overview(snapshot: &Snapshot<'_>, month: Month, as_of: Timestamp) -> Result<Overview, StoreError> {
    let _ = (snapshot, month, as_of);
    Err(StoreError::Unavailable("the overview is being written".to_owned()))
}

pub(super) fn users(snapshot: &Snapshot<'_>, query: &UsersQuery, now: Timestamp) -> Result<UsersPage, StoreError> {
    let _ = (snapshot, query, now);
    Err(StoreError::Unavailable("lists are being written".to_owned()))
}

pub(super) fn users_on_plan(
    snapshot: &Snapshot<'_>,
    plan: &Plan,
    after: UserNo,
    limit: usize,
) -> Result<Vec<UserNo>, StoreError> {
    let _ = (snapshot, plan, after, limit);
    Err(StoreError::Unavailable("lists are being written".to_owned()))
}

pub(super) fn session_stats(snapshot: &Snapshot<'_>, since: Day) -> Result<Vec<SessionStats>, StoreError> {
    let _ = (snapshot, since);
    Err(StoreError::Unavailable("statistics are being written".to_owned()))
}

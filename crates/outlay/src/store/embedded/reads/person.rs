//! What is read of one person: their view, their history, their export.

use std::ops::RangeInclusive;
use std::sync::Arc;

use outlay_core::id::UserId;
use outlay_core::ledger::{Held, UserView};
use outlay_core::month::Month;

use super::Snapshot;
use crate::store::embedded::{codec, load};
use crate::store::{ExportAt, Exported, History, StoreError};

/// A user with one month, as of the snapshot.
pub(super) fn view(snapshot: &Snapshot<'_>, user_id: &UserId, month: Month) -> Result<UserView, StoreError> {
    let Some(user) = snapshot.user(user_id)? else { return Ok(UserView::unknown()) };
    let connection = &snapshot.transaction;
    let months = load::month(connection, user.no, month)?.into_iter().collect();
    let sql = load::select(codec::SESSION_COLUMNS, "session where due is not null and ask is not null and user = ?");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([codec::stored(user.no.0)])?;
    let mut held = Held::default();
    while let Some(row) = rows.next()? {
        held.insert(&codec::read_session(row, &snapshot.shared.names)?);
    }
    Ok(UserView { user: Some(Arc::new(user)), months, held: Arc::new(held) })
}

pub(super) fn history(
    snapshot: &Snapshot<'_>,
    user_id: &UserId,
    months: RangeInclusive<Month>,
) -> Result<History, StoreError> {
    let _ = (snapshot, user_id, months);
    Err(StoreError::Unavailable("history is being written".to_owned()))
}

pub(super) fn export(
    snapshot: &Snapshot<'_>,
    user_id: &UserId,
    at: ExportAt,
) -> Result<(Vec<Exported>, Option<ExportAt>), StoreError> {
    let _ = (snapshot, user_id, at);
    Err(StoreError::Unavailable("export is being written".to_owned()))
}

//! Rows of what is told, from and to their records.

use outlay_core::id::UserNo;
use rusqlite::Row;

use super::RowReader;
use crate::store::StoreError;
use crate::store::outbox::{Delivery, LimitChange};
use crate::store::packed::damaged;
use crate::store::packed::delivery::{read_delivery_state, read_event_kind, read_limits, read_receiver};

/// Columns of `delivery` in order, without the sum.
pub(in crate::store::embedded) const DELIVERY_COLUMNS: &str =
    "no, kind, about, user, receiver, created_at, body, state, due, step, ended_at, tries";

/// Reads [`DELIVERY_COLUMNS`], without the tries; beside it the body.
pub(in crate::store::embedded) fn read_delivery(row: &Row<'_>) -> Result<(Delivery, Option<LimitChange>), StoreError> {
    let mut row = RowReader::new(row);
    let no = row.number()?;
    let kind = read_event_kind(row.required()?)?;
    let about = row.number()?;
    let user_no = row.optional_number()?.map(UserNo);
    let receiver = read_receiver(row.required()?);
    let created_at = row.time()?;
    let body = row.text()?.map(read_limits).transpose()?;
    let state = read_delivery_state(row.required()?)?;
    let due = row.optional_time()?;
    let step = usize::try_from(row.required()?).map_err(|_| damaged("a step"))?;
    let ended_at = row.optional_time()?;
    let tries = Vec::with_capacity(usize::try_from(row.required()?).unwrap_or(0).min(64));
    Ok((Delivery { no, kind, about, user_no, receiver, created_at, state, due, step, ended_at, tries }, body))
}

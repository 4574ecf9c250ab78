//! Rows of what is told, from and to their records.

use outlay_core::id::{Name, UserNo};
use outlay_core::plan::Limits;
use rusqlite::Row;

use super::{RowReader, stored};
use crate::store::StoreError;
use crate::store::outbox::{Delivery, DeliveryState, EventKind, LimitChange, Receiver};
use crate::store::packed::{damaged, from_json, json_text};

/// Columns of `delivery` in order, without the sum.
pub(in crate::store::embedded) const DELIVERY_COLUMNS: &str =
    "no, kind, about, user, receiver, created_at, body, state, due, step, ended_at, tries";

pub(in crate::store::embedded) fn event_kind_no(kind: EventKind) -> i64 {
    match kind {
        EventKind::ThresholdCrossed => 1,
        EventKind::DenialRecorded => 2,
        EventKind::SessionAbandoned => 3,
        EventKind::LimitChanged => 4,
        EventKind::Test => 5,
    }
}

pub(in crate::store::embedded) fn read_event_kind(no: i64) -> Result<EventKind, StoreError> {
    let mut kinds = EventKind::ALL.into_iter().chain([EventKind::Test]);
    kinds.find(|kind| event_kind_no(*kind) == no).ok_or_else(|| damaged("a kind of event"))
}

/// Mails have numbers below zero, webhooks their own.
pub(in crate::store::embedded) fn receiver_no(receiver: Receiver) -> i64 {
    match receiver {
        Receiver::UserMail => -1,
        Receiver::OperatorMail => -2,
        Receiver::Webhook(no) => stored(no),
    }
}

pub(in crate::store::embedded) fn read_receiver(no: i64) -> Receiver {
    match no {
        -1 => Receiver::UserMail,
        -2 => Receiver::OperatorMail,
        no => Receiver::Webhook(no.cast_unsigned()),
    }
}

pub(in crate::store::embedded) fn delivery_state_no(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Pending => 0,
        DeliveryState::Delivered => 1,
        DeliveryState::Failed => 2,
        DeliveryState::NoWebhook => 3,
        DeliveryState::NoUser => 4,
    }
}

pub(in crate::store::embedded) fn read_delivery_state(no: i64) -> Result<DeliveryState, StoreError> {
    DeliveryState::ALL
        .into_iter()
        .find(|state| delivery_state_no(*state) == no)
        .ok_or_else(|| damaged("the state of a delivery"))
}

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

/// A plan's name and limits as JSON: `[plan, [cost, aiRuns, apiRuns], [...]]`, before and after.
pub(in crate::store::embedded) fn limits_text(change: &LimitChange) -> Option<String> {
    let limits = |limits: &Limits| (limits.cost, limits.ai_runs, limits.api_runs);
    json_text(&(change.plan.as_str(), limits(&change.before), limits(&change.after))).ok()
}

fn read_limits(text: &str) -> Result<LimitChange, StoreError> {
    type ThreeLimits = (Option<i64>, Option<i64>, Option<i64>);
    let (plan, before, after): (String, ThreeLimits, ThreeLimits) = from_json(text)?;
    let limits = |(cost, ai_runs, api_runs): ThreeLimits| Limits { cost, ai_runs, api_runs };
    Ok(LimitChange { plan: Name::from_stored(plan), before: limits(before), after: limits(after) })
}

//! What both stores pack of a delivery.

use outlay_core::id::Name;
use outlay_core::plan::Limits;

use super::{damaged, from_json, json_text};
use crate::store::StoreError;
use crate::store::outbox::{DeliveryState, EventKind, LimitChange, Receiver};

pub(in crate::store) fn event_kind_no(kind: EventKind) -> i64 {
    match kind {
        EventKind::ThresholdCrossed => 1,
        EventKind::DenialRecorded => 2,
        EventKind::SessionAbandoned => 3,
        EventKind::LimitChanged => 4,
        EventKind::Test => 5,
    }
}

pub(in crate::store) fn read_event_kind(no: i64) -> Result<EventKind, StoreError> {
    let mut kinds = EventKind::ALL.into_iter().chain([EventKind::Test]);
    kinds.find(|kind| event_kind_no(*kind) == no).ok_or_else(|| damaged("a kind of event"))
}

/// Mails have numbers below zero, webhooks their own.
pub(in crate::store) fn receiver_no(receiver: Receiver) -> i64 {
    match receiver {
        Receiver::UserMail => -1,
        Receiver::OperatorMail => -2,
        Receiver::Webhook(no) => no.cast_signed(),
    }
}

pub(in crate::store) fn read_receiver(no: i64) -> Receiver {
    match no {
        -1 => Receiver::UserMail,
        -2 => Receiver::OperatorMail,
        no => Receiver::Webhook(no.cast_unsigned()),
    }
}

pub(in crate::store) fn delivery_state_no(state: DeliveryState) -> i64 {
    match state {
        DeliveryState::Pending => 0,
        DeliveryState::Delivered => 1,
        DeliveryState::Failed => 2,
        DeliveryState::NoWebhook => 3,
        DeliveryState::NoUser => 4,
    }
}

pub(in crate::store) fn read_delivery_state(no: i64) -> Result<DeliveryState, StoreError> {
    DeliveryState::ALL
        .into_iter()
        .find(|state| delivery_state_no(*state) == no)
        .ok_or_else(|| damaged("the state of a delivery"))
}

/// A plan's name and limits as JSON: `[plan, [cost, aiRuns, apiRuns], [...]]`, before and after.
pub(in crate::store) fn limits_text(change: &LimitChange) -> Option<String> {
    let limits = |limits: &Limits| (limits.cost, limits.ai_runs, limits.api_runs);
    json_text(&(change.plan.as_str(), limits(&change.before), limits(&change.after))).ok()
}

pub(in crate::store) fn read_limits(text: &str) -> Result<LimitChange, StoreError> {
    type ThreeLimits = (Option<i64>, Option<i64>, Option<i64>);
    let (plan, before, after): (String, ThreeLimits, ThreeLimits) = from_json(text)?;
    let limits = |(cost, ai_runs, api_runs): ThreeLimits| Limits { cost, ai_runs, api_runs };
    Ok(LimitChange { plan: Name::from_stored(plan), before: limits(before), after: limits(after) })
}

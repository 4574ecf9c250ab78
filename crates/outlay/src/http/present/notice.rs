//! Denials and alerts.

use std::cmp::Ordering;

use outlay_core::alert::Alert;
use outlay_core::budget::percent_hundredths;
use outlay_core::denial::Denial;
use outlay_core::id::{AlertNo, UserId};
use outlay_core::month::Timestamp;
use xxhash_rust::xxh3::xxh3_64;

use super::super::json::{Hundredths, Json, Object, Raw, ToJson};
use super::{InUnit, delivery, session};
use crate::store::outbox::{Delivery, WebhookRecord};

/// A notice's id: the same in no other deployment, and not that of what had the same number before a backup was restored,
/// since a receiver takes an id once. So it is made of the moment of what it names too.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct NoticeId {
    pub(in crate::http) kind: &'static str,
    pub(in crate::http) deployment_id: u128,
    pub(in crate::http) no: u64,
    /// When that was.
    pub(in crate::http) at: Timestamp,
}

impl std::fmt::Display for NoticeId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = [0; 32];
        let (deployment, at) = bytes.split_at_mut(16);
        deployment.copy_from_slice(&self.deployment_id.to_be_bytes());
        at.copy_from_slice(&self.at.nanos().to_be_bytes());
        // Its lower half.
        let mark = xxh3_64(&bytes) & u64::from(u32::MAX);
        write!(formatter, "{}_{mark:08x}_{}", self.kind, self.no)
    }
}

impl NoticeId {
    /// The number that an id says, to find what it may be the id of.
    pub(in crate::http) fn number(text: &str) -> Option<u64> {
        text.rsplit_once('_')?.1.parse().ok()
    }
}

impl ToJson for NoticeId {
    fn write_to(self, json: &mut Json) {
        json.value(self.to_string().as_str());
    }
}

/// How an alert was told, or why it was not.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::http) struct Told<'a> {
    /// Its deliveries.
    pub(in crate::http) deliveries: &'a [Delivery],
    /// The webhooks that there are.
    pub(in crate::http) webhooks: &'a [WebhookRecord],
}

/// Why nobody is told of an alert; none where somebody is, or would be if there were anybody.
pub(in crate::http) fn untold(alert: &Alert) -> Option<&'static str> {
    if alert.superseded_by.is_some() {
        return Some("superseded");
    }
    match alert.month.cmp(&alert.recorded_at.month()) {
        Ordering::Less => Some("pastMonth"),
        Ordering::Equal => None,
        Ordering::Greater => Some("monthAhead"),
    }
}

/// A denial; `user_id` is absent when the user was erased.
pub(in crate::http) fn denial(object: &mut Object<'_>, denial: &Denial, user_id: Option<&UserId>, deployment_id: u128) {
    let id = NoticeId { kind: "denial", deployment_id, no: denial.no.0, at: denial.recorded_at };
    object.put("denialId", id).put("userId", user_id);
    object.put("feature", &denial.feature).put("sessionId", denial.session_id.as_ref());
    session::ask(object, &denial.ask);
    object.put("reason", &denial.reason).put("failed", &denial.failed).put("limits", &denial.limits);
    object.put("nextPlan", denial.next_plan.as_ref()).put("times", denial.times);
    object.put("source", denial.source.as_str()).put("recordedAt", denial.recorded_at);
    object.put("metadata", Raw(denial.metadata.as_deref().unwrap_or("{}")));
}

/// An alert; `user_id` is absent when the user was erased.
pub(in crate::http) fn alert(
    object: &mut Object<'_>,
    alert: &Alert,
    user_id: Option<&UserId>,
    deployment_id: u128,
    told: Told<'_>,
) {
    alert_facts(object, alert, user_id, deployment_id);
    // Both were raised in the same moment.
    let id = |no: AlertNo| NoticeId { kind: "alert", deployment_id, no: no.0, at: alert.recorded_at };
    object.put("supersededBy", alert.superseded_by.map(id)).put("recordedAt", alert.recorded_at);
    object.put("notSent", untold(alert));
    object.array("deliveries", told.deliveries, |json, row| {
        json.object(|object| delivery::short(object, row, told.webhooks, deployment_id));
    });
}

/// What an alert says wherever it goes.
pub(in crate::http) fn alert_facts(
    object: &mut Object<'_>,
    alert: &Alert,
    user_id: Option<&UserId>,
    deployment_id: u128,
) {
    let id = NoticeId { kind: "alert", deployment_id, no: alert.no.0, at: alert.recorded_at };
    let meter = alert.key.meter;
    object.put("alertId", id).put("userId", user_id).put("month", alert.month).put("meter", meter);
    object.put("threshold", alert.key.threshold).put("used", InUnit(meter, alert.used));
    object.put("held", InUnit(meter, alert.held)).put("limit", InUnit(meter, alert.key.limit));
    object.put("percent", percent_hundredths(i128::from(alert.used), alert.key.limit).map(Hundredths));
    object.put("plan", &alert.plan).put("nextPlan", alert.next_plan.as_ref());
    object.put("resetsAt", alert.month.resets_at());
}

//! Denials and alerts.

use std::cmp::Ordering;

use outlay_core::alert::Alert;
use outlay_core::budget::percent_hundredths;
use outlay_core::denial::Denial;
use outlay_core::id::{AlertNo, UserId};

use super::super::json::{Hundredths, Json, Object, Raw, ToJson};
use super::{InUnit, delivery, session};
use crate::store::outbox::{Delivery, WebhookRecord};

/// A notice's id: the same in no other deployment.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) struct NoticeId {
    pub(in crate::http) kind: &'static str,
    pub(in crate::http) deployment_id: u128,
    pub(in crate::http) no: u64,
}

impl std::fmt::Display for NoticeId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [.., a, b, c, d] = self.deployment_id.to_be_bytes();
        let deployment = u32::from_be_bytes([a, b, c, d]);
        write!(formatter, "{}_{deployment:08x}_{}", self.kind, self.no)
    }
}

impl NoticeId {
    /// The number of an id of this kind and deployment; none where it is no such id.
    pub(in crate::http) fn number(kind: &'static str, deployment_id: u128, text: &str) -> Option<u64> {
        let no = text.rsplit_once('_')?.1.parse().ok()?;
        (Self { kind, deployment_id, no }.to_string() == text).then_some(no)
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
pub(super) fn untold(alert: &Alert) -> Option<&'static str> {
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
    object.put("denialId", NoticeId { kind: "denial", deployment_id, no: denial.no.0 }).put("userId", user_id);
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
    let id = |no: AlertNo| NoticeId { kind: "alert", deployment_id, no: no.0 };
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
    let id = |no: AlertNo| NoticeId { kind: "alert", deployment_id, no: no.0 };
    let meter = alert.key.meter;
    object.put("alertId", id(alert.no)).put("userId", user_id).put("month", alert.month).put("meter", meter);
    object.put("threshold", alert.key.threshold).put("used", InUnit(meter, alert.used));
    object.put("held", InUnit(meter, alert.held)).put("limit", InUnit(meter, alert.key.limit));
    object.put("percent", percent_hundredths(i128::from(alert.used), alert.key.limit).map(Hundredths));
    object.put("plan", &alert.plan).put("nextPlan", alert.next_plan.as_ref());
    object.put("resetsAt", alert.month.resets_at());
}

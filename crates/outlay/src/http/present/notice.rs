//! Denials and alerts.

use outlay_core::alert::Alert;
use outlay_core::budget::percent_hundredths;
use outlay_core::denial::Denial;
use outlay_core::id::{AlertNo, UserId};

use super::super::json::{Hundredths, Json, Object, Raw, ToJson};
use super::{InUnit, session};

/// A notice's id: the same in no other deployment.
#[derive(Debug, Clone, Copy)]
struct NoticeId {
    kind: &'static str,
    deployment_id: u128,
    no: u64,
}

impl ToJson for NoticeId {
    fn write_to(self, json: &mut Json) {
        let [.., a, b, c, d] = self.deployment_id.to_be_bytes();
        let deployment = u32::from_be_bytes([a, b, c, d]);
        json.value(format!("{}_{deployment:08x}_{}", self.kind, self.no).as_str());
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
pub(in crate::http) fn alert(object: &mut Object<'_>, alert: &Alert, user_id: Option<&UserId>, deployment_id: u128) {
    let id = |no: AlertNo| NoticeId { kind: "alert", deployment_id, no: no.0 };
    let meter = alert.key.meter;
    object.put("alertId", id(alert.no)).put("userId", user_id).put("month", alert.month).put("meter", meter);
    object.put("threshold", alert.key.threshold).put("used", InUnit(meter, alert.used));
    object.put("held", InUnit(meter, alert.held)).put("limit", InUnit(meter, alert.key.limit));
    object.put("percent", percent_hundredths(i128::from(alert.used), alert.key.limit).map(Hundredths));
    object.put("plan", &alert.plan).put("nextPlan", alert.next_plan.as_ref());
    object.put("resetsAt", alert.month.resets_at()).put("supersededBy", alert.superseded_by.map(id));
    object.put("recordedAt", alert.recorded_at).array("deliveries", None::<()>, |_, ()| {});
}

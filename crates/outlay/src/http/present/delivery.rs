//! Deliveries and webhooks.

use outlay_core::id::UserId;

use super::super::json::Object;
use super::notice::NoticeId;
use crate::store::outbox::{Delivery, EventKind, Receiver, WebhookRecord};

/// A delivery's id.
pub(in crate::http) fn id(delivery: &Delivery, deployment_id: u128) -> NoticeId {
    NoticeId { kind: "delivery", deployment_id, no: delivery.no, at: delivery.created_at }
}

/// The id of what a delivery tells of: the same for each receiver and on every try. A delivery is written in the moment of
/// what it tells of, so an alert's and a denial's are their own.
pub(in crate::http) fn event_id(delivery: &Delivery, deployment_id: u128) -> NoticeId {
    let kind = match delivery.kind {
        EventKind::ThresholdCrossed => "alert",
        EventKind::DenialRecorded => "denial",
        EventKind::SessionAbandoned => "session",
        EventKind::LimitChanged => "limit",
        EventKind::Test => "test",
    };
    NoticeId { kind, deployment_id, no: delivery.about, at: delivery.created_at }
}

/// A delivery beside what it tells of.
pub(in crate::http) fn short(
    object: &mut Object<'_>,
    delivery: &Delivery,
    webhooks: &[WebhookRecord],
    deployment_id: u128,
) {
    object.put("deliveryId", id(delivery, deployment_id));
    let (channel, to) = match delivery.receiver {
        Receiver::UserMail => ("email", Some("user")),
        Receiver::OperatorMail => ("email", Some("operator")),
        Receiver::Webhook(_) => ("webhook", None),
    };
    let webhook = webhooks.iter().find(|webhook| delivery.receiver == Receiver::Webhook(webhook.no));
    object.put("channel", channel).put("to", to).put("webhookId", webhook.map(|webhook| webhook.id.as_str()));
    object.put("state", delivery.state.as_str()).put("createdAt", delivery.created_at);
    object.put("endedAt", delivery.ended_at).put("nextTryAt", delivery.due);
    object.array("tries", &delivery.tries, |json, tried| {
        json.object(|object| {
            object.put("at", tried.at).put("status", tried.status).put("problem", tried.reason.as_deref());
        });
    });
}

/// A delivery by itself.
pub(in crate::http) fn item(
    object: &mut Object<'_>,
    delivery: &Delivery,
    user_id: Option<&UserId>,
    webhooks: &[WebhookRecord],
    deployment_id: u128,
) {
    short(object, delivery, webhooks, deployment_id);
    object.put("event", delivery.kind.as_str()).put("eventId", event_id(delivery, deployment_id));
    object.put("userId", user_id);
}

/// A webhook, without its secret.
pub(in crate::http) fn webhook(object: &mut Object<'_>, webhook: &WebhookRecord) {
    object.put("id", webhook.id.as_str()).put("url", webhook.url.as_str());
    object.array("events", webhook.events.iter(), |json, kind| json.value(kind.as_str()));
    object.put("description", webhook.description.as_str()).put("configured", webhook.configured);
    object.put("createdAt", webhook.created_at).put("goneAt", webhook.gone_at);
}

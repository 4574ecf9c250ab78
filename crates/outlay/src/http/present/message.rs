//! What a webhook is sent: the same bytes on every try.

use bytes::Bytes;
use outlay_core::session::Session;

use super::super::json::{Json, Object};
use super::{delivery, notice};
use crate::store::outbox::{Delivery, DueDelivery, Subject};

/// The id and the body of a message.
pub(crate) fn message(due: &DueDelivery, deployment_id: u128) -> (String, Bytes) {
    let delivery = &due.delivery;
    let id = message_id(delivery, deployment_id);
    let body = Json::of_object(|object| {
        object.put("type", delivery.kind.as_str()).put("timestamp", delivery.created_at);
        object.object("data", |object| data(object, due, deployment_id));
    });
    (id, Bytes::from(body.into_bytes()))
}

/// The id of a message alone.
pub(crate) fn message_id(delivery: &Delivery, deployment_id: u128) -> String {
    delivery::event_id(delivery, deployment_id).to_string()
}

fn data(object: &mut Object<'_>, due: &DueDelivery, deployment_id: u128) {
    let user_id = due.user.as_ref().map(|user| &user.user_id);
    match &due.subject {
        Subject::Alert(alert) => notice::alert_facts(object, alert, user_id, deployment_id),
        // Refused again within a minute it counts up, on this very message too if it is tried again then.
        Subject::Denial(denial) => notice::denial(object, denial, user_id, deployment_id),
        Subject::Session(session) => {
            object.put("userId", user_id);
            abandoned(object, session);
            object.put("abandonedAt", due.delivery.created_at);
        }
        Subject::Limits(change) => {
            object.put("userId", user_id).put("plan", &change.plan);
            object.put("before", &change.before).put("limits", &change.after);
        }
        // Nobody is told of it.
        Subject::Lost => {}
        Subject::Test => {
            object.put("message", "This is a test: nothing has happened.");
        }
    }
}

/// A session whose time was up. It may have been finished since, so its status is not said.
fn abandoned(object: &mut Object<'_>, session: &Session) {
    object.put("sessionId", &session.session_id).put("feature", &session.feature);
    object.put("totalCost", session.total_cost).put("totalRuns", session.total_runs).put("stepCount", session.steps);
    object.put("choice", session.hold.as_ref().and_then(|hold| hold.choice.as_ref()));
    object.put("createdAt", session.created_at);
}

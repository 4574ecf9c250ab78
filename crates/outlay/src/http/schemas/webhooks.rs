//! Who is told, of what, and how that went.

use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::{DeliveryState, Description, EventNames, Problem};

/// The webhook of a path
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(in crate::http) struct WebhookPath {
    /// The webhook's id, like `webhook_7Qm2ZkXv1rT9bLcE`.
    webhook_id: String,
}

/// Filters of deliveries
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DeliveryQuery {
    #[param(inline)]
    state: Option<DeliveryState>,
}

/// What a route of one webhook answers beside the rest
#[derive(Debug, IntoResponses)]
pub(in crate::http) enum NoWebhook {
    /// There is no such webhook
    #[response(status = 404, content_type = "application/problem+json")]
    NotFound(Problem),
}

/// A webhook to be made
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewWebhook {
    /// Where messages are posted: https, on port 443 or 8443, at a public address; the configuration makes exceptions.
    #[schema(example = "https://app.example.org/hooks/outlay")]
    url: String,
    /// What it is told of; `budget.threshold_crossed` alone when absent.
    events: Option<EventNames>,
    /// What it is for, in your words; at most 256 characters.
    description: Option<Description>,
}

/// A webhook
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Webhook {
    id: String,
    url: String,
    events: Vec<String>,
    description: String,
    /// Whether it stands in the configuration, and is changed there.
    configured: bool,
    created_at: String,
    /// When it answered 410: it is told of nothing new until a test arrives.
    gone_at: Option<String>,
    /// `whsec_...`; only in the answer that made it.
    secret: Option<String>,
}

/// All webhooks
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Webhooks {
    items: Vec<Webhook>,
    next_cursor: Option<String>,
}

/// Which delivery is sent again; all that failed when none is named
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Redelivery {
    delivery_id: Option<String>,
}

/// What is being sent
#[derive(Debug, ToSchema)]
pub(in crate::http) struct SentAgain {
    /// How many deliveries.
    deliveries: u64,
}

/// A try to deliver
#[derive(Debug, ToSchema)]
pub(in crate::http) struct Try {
    at: String,
    /// What the receiver answered: an HTTP status, or the code of an SMTP reply.
    status: Option<u16>,
    /// Why it failed; null when it did not.
    problem: Option<String>,
}

/// One message to one receiver
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Delivery {
    delivery_id: String,
    /// `email` or `webhook`.
    channel: String,
    /// Of a mail: `user` or `operator`.
    to: Option<String>,
    /// Null once the webhook was taken away.
    webhook_id: Option<String>,
    /// `pending`, `delivered`, `failed` (tried no more by itself; it can be sent again) or `cancelled` (its webhook was taken
    /// away, its user erased or without an address).
    state: String,
    created_at: String,
    ended_at: Option<String>,
    next_try_at: Option<String>,
    /// The oldest first.
    tries: Vec<Try>,
    /// What it tells of; in lists of deliveries.
    event: Option<String>,
    /// The message's id, the same on every try and for every receiver; in lists of deliveries.
    event_id: Option<String>,
    /// In lists of deliveries.
    user_id: Option<String>,
}

/// Deliveries, newest first
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Deliveries {
    items: Vec<Delivery>,
    /// Null at the end.
    next_cursor: Option<String>,
}

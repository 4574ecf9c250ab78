//! Webhooks: who is told by HTTP, what became of it, and telling again.

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use secrecy::ExposeSecret as _;

use super::body::{JsonBody, string};
use super::json::Json;
use super::keys::{is_description, random};
use super::page::Parameters;
use super::present::delivery;
use super::present::notice::NoticeId;
use super::problem::{Kind, Problem};
use super::reading::page;
use super::{App, SharedApp, schemas};
use crate::audit::{Action, Actor, Event, Facts};
use crate::delivery::secrets::SecretsError;
use crate::delivery::webhook::SigningSecret;
use crate::store::Record;
use crate::store::outbox::{
    Again, DeliveriesQuery, Delivery, DeliveryState, EventKind, EventKinds, Receiver, WebhookRecord,
};

/// Webhooks, at most: each is told of everything by itself.
const WEBHOOKS_MAX: usize = 100;
/// Characters of an id that are random.
const ID_CHARACTERS: usize = 16;

/// List webhooks
///
/// Without their secrets.
#[utoipa::path(get, path = "/v1/webhooks", tag = "Webhooks",
    operation_id = "listWebhooks",
    responses((status = 200, description = "The webhooks, all in one page", body = schemas::Webhooks),
        schemas::ReadProblems))]
pub(super) async fn list(State(app): State<SharedApp>, parameters: Parameters) -> Result<Response, Problem> {
    parameters.finish()?;
    let webhooks = app.reads.webhooks();
    let json = Json::of_object(|object| {
        object.array("items", &*webhooks, |json, webhook| json.object(|object| delivery::webhook(object, webhook)));
        object.put("nextCursor", None::<&str>);
    });
    Ok(json.answer(StatusCode::OK))
}

/// Make a webhook
///
/// From now on it is told of the events that it asks for. The secret is in the answer, and never shown again: messages are
/// signed with it as Standard Webhooks have it.
#[utoipa::path(post, path = "/v1/webhooks", tag = "Webhooks",
    operation_id = "createWebhook", request_body = schemas::NewWebhook,
    responses((status = 201, description = "The webhook, with its secret, shown this once", body = schemas::Webhook),
        (status = 409, description = "There are too many", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn create(State(app): State<SharedApp>, actor: Actor, body: JsonBody) -> Result<Response, Problem> {
    let mut fields = body.object()?;
    let url = fields.required("url", |raw| {
        let url = string(raw)?;
        app.senders.webhooks.rules().check(&url).map_err(|error| error.to_string())?;
        Ok::<_, String>(url.into_owned())
    });
    let events = fields.optional("events", events);
    let description = fields.optional("description", |raw| {
        let text = string(raw)?;
        let is_sound = is_description(&text);
        if is_sound { Ok(text.into_owned()) } else { Err("must have at most 256 characters".to_owned()) }
    });
    let url = fields.finish(url)?;
    let (webhook, secret) = make(&app, &actor, url, events, description.unwrap_or_default()).await?;
    let json = Json::of_object(|object| {
        delivery::webhook(object, &webhook);
        object.put("secret", secret.text().expose_secret());
    });
    Ok(json.answer(StatusCode::CREATED))
}

/// Makes a webhook; its address was checked.
pub(super) async fn make(
    app: &App,
    actor: &Actor,
    url: String,
    events: Option<EventKinds>,
    description: String,
) -> Result<(WebhookRecord, SigningSecret), Problem> {
    if app.reads.webhooks().len() >= WEBHOOKS_MAX {
        let detail = format!("There are {WEBHOOKS_MAX} webhooks already: take one away first.");
        return Err(Problem::new(Kind::TooManyWebhooks).detail(detail));
    }
    let now = app.clock.wall();
    let internal = |error| Problem::new(Kind::Internal).because(error);
    let webhook = WebhookRecord {
        no: 0,
        id: format!("webhook_{}", random(ID_CHARACTERS, &app.ids).map_err(internal)?),
        url,
        events: events.unwrap_or_else(|| EventKinds::from_iter([EventKind::ThresholdCrossed])),
        description,
        configured: false,
        created_at: now,
        gone_at: None,
    };
    let secret = SigningSecret::make(&app.ids).map_err(internal)?;
    let sealed = app.webhook_secrets.seal(webhook.secret(), &secret, &app.ids, now).map_err(no_secret)?;
    let event = actor.did(Action::WebhookCreated).on(&webhook.id).after(webhook.events.facts());
    app.writer.put_as(event, Record::Webhook(webhook.clone(), sealed)).await?;
    tracing::info!(webhook.id = webhook.id, "made a webhook");
    Ok((webhook, secret))
}

/// The kinds of events in a list of their names.
fn events(raw: &str) -> Result<EventKinds, String> {
    let names: Option<Vec<String>> = serde_json::from_str(raw).ok();
    let kinds: Option<Vec<EventKind>> =
        names.and_then(|names| names.iter().map(|name| EventKind::parse(name)).collect());
    kinds.filter(|kinds| !kinds.is_empty()).map(EventKinds::from_iter).ok_or_else(must_be_events)
}

/// What a list of events must be.
pub(super) fn must_be_events() -> String {
    let names = EventKind::ALL.map(EventKind::as_str).join(", ");
    format!("must be a list of one or more of {names}")
}

fn no_secret(error: SecretsError) -> Problem {
    match error {
        SecretsError::NoMasterKey => Problem::new(Kind::StoreUnavailable)
            .detail("The secrets of webhooks are sealed under the master key: ask a running server."),
        error => Problem::new(Kind::Internal).because(error),
    }
}

/// Take a webhook away
///
/// It is told of nothing from this answer on; what waits for it is not sent any more.
#[utoipa::path(delete, path = "/v1/webhooks/{webhookId}", tag = "Webhooks",
    operation_id = "deleteWebhook",
    params(schemas::WebhookPath),
    responses((status = 204, description = "It is gone"),
        schemas::NoWebhook,
        (status = 409, description = "It stands in the configuration", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn delete(
    State(app): State<SharedApp>,
    actor: Actor,
    path: Option<Path<String>>,
) -> Result<Response, Problem> {
    remove(&app, &actor, path.as_ref().map(|Path(id)| id.as_str())).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Takes a webhook away.
pub(super) async fn remove(app: &App, actor: &Actor, id: Option<&str>) -> Result<(), Problem> {
    let webhook = changeable(app, id)?;
    let event = actor.did(Action::WebhookDeleted).on(&webhook.id).before(webhook.events.facts());
    app.writer.put_as(event, Record::DeleteWebhook { no: webhook.no, at: app.clock.wall() }).await?;
    tracing::info!(webhook.id = webhook.id, "took a webhook away");
    Ok(())
}

/// Replace a webhook's secret
///
/// The new one is in the answer, and never shown again. For 24 hours messages carry two signatures, one with each secret, so
/// that the receiver can change over without losing one.
#[utoipa::path(post, path = "/v1/webhooks/{webhookId}/rotate", tag = "Webhooks",
    operation_id = "rotateWebhookSecret",
    params(schemas::WebhookPath),
    responses((status = 200, description = "The webhook, with its new secret, shown this once", body = schemas::Webhook),
        schemas::NoWebhook,
        (status = 409, description = "It stands in the configuration", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn rotate(
    State(app): State<SharedApp>,
    actor: Actor,
    path: Option<Path<String>>,
) -> Result<Response, Problem> {
    let (webhook, secret) = rotated(&app, &actor, path.as_ref().map(|Path(id)| id.as_str())).await?;
    let json = Json::of_object(|object| {
        delivery::webhook(object, &webhook);
        object.put("secret", secret.text().expose_secret());
    });
    Ok(json.answer(StatusCode::OK))
}

/// Replaces a webhook's secret.
pub(super) async fn rotated(
    app: &App,
    actor: &Actor,
    id: Option<&str>,
) -> Result<(WebhookRecord, SigningSecret), Problem> {
    let webhook = changeable(app, id)?;
    let secret = SigningSecret::make(&app.ids).map_err(|error| Problem::new(Kind::Internal).because(error))?;
    let now = app.clock.wall();
    let sealed = app.webhook_secrets.rotated(&*app.reads, &webhook, &secret, &app.ids, now).map_err(no_secret)?;
    let event = actor.did(Action::WebhookChanged).on(&webhook.id).after(Facts::new().text("secret", "replaced"));
    app.writer.put_as(event, Record::Secrets(sealed)).await?;
    tracing::info!(webhook.id = webhook.id, "replaced a webhook's secret");
    Ok((webhook, secret))
}

/// Send a test
///
/// A message of the type `webhook.test`, once, to see whether it arrives; what became of it is in the list of deliveries. To
/// a webhook that answered 410 it is sent too: when it arrives, the webhook is told of events again.
#[utoipa::path(post, path = "/v1/webhooks/{webhookId}/test", tag = "Webhooks",
    operation_id = "testWebhook",
    params(schemas::WebhookPath),
    responses((status = 202, description = "It is being sent", body = schemas::SentAgain),
        schemas::NoWebhook,
        schemas::WriteProblems))]
pub(super) async fn test(
    State(app): State<SharedApp>,
    actor: Actor,
    path: Option<Path<String>>,
) -> Result<Response, Problem> {
    send_test(&app, &actor, path.as_ref().map(|Path(id)| id.as_str())).await?;
    Ok(accepted(1))
}

/// Sends a test to a webhook.
pub(super) async fn send_test(app: &App, actor: &Actor, id: Option<&str>) -> Result<(), Problem> {
    let webhook = known(app, id)?;
    let event = actor.did(Action::WebhookTested).on(&webhook.id);
    let record = Record::TestDelivery(Receiver::Webhook(webhook.no), app.clock.wall());
    app.writer.put_as(event, record).await?;
    Ok(())
}

/// List what a webhook was told
///
/// Newest first, each with its tries.
#[utoipa::path(get, path = "/v1/webhooks/{webhookId}/deliveries", tag = "Webhooks",
    operation_id = "listDeliveries",
    params(schemas::WebhookPath, schemas::DeliveryQuery, schemas::PageQuery),
    responses((status = 200, description = "A page", body = schemas::Deliveries),
        schemas::NoWebhook,
        schemas::ReadProblems))]
pub(super) async fn deliveries(
    State(app): State<SharedApp>,
    path: Option<Path<String>>,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let webhook = known(&app, path.as_ref().map(|Path(id)| id.as_str()))?;
    let state = parameters.read("state", state_named);
    // A cursor goes on in the list of its own webhook, and in no other.
    let list = format!("deliveries {}", webhook.id);
    let receiver = Receiver::Webhook(webhook.no);
    let query = DeliveriesQuery { receiver, state, page: parameters.page(&app, &list) };
    parameters.finish()?;
    let found = app.reads.deliveries(query).await?;
    let (webhooks, deployment_id) = (app.reads.webhooks(), app.reads.deployment_id());
    Ok(page(&app, &list, &found, |object, of| {
        delivery::item(object, &of.row, of.user_id.as_ref(), &webhooks, deployment_id);
    }))
}

/// The state of this name.
pub(super) fn state_named(text: &str) -> Result<&'static str, &'static str> {
    let known = DeliveryState::ALL.into_iter().map(DeliveryState::as_str).find(|known| *known == text);
    known.ok_or("must be pending, delivered, failed or cancelled")
}

/// Send again
///
/// One delivery, whatever became of it; or all that failed, where none is named. They have the same ids as before, and are
/// tried as often as new ones.
#[utoipa::path(post, path = "/v1/webhooks/{webhookId}/redeliver", tag = "Webhooks",
    operation_id = "redeliver",
    params(schemas::WebhookPath), request_body(content = Option<schemas::Redelivery>),
    responses((status = 202, description = "They are being sent", body = schemas::SentAgain),
        (status = 404, description = "There is no such webhook, or it has no such delivery", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn redeliver(
    State(app): State<SharedApp>,
    actor: Actor,
    path: Option<Path<String>>,
    body: JsonBody,
) -> Result<Response, Problem> {
    let webhook = known(&app, path.as_ref().map(|Path(id)| id.as_str()))?;
    let mut fields = body.object_or_empty()?;
    let id = fields.optional("deliveryId", |raw| string(raw).map(std::borrow::Cow::into_owned));
    fields.finish(Some(()))?;
    // What says no number is the id of no delivery: none has the number 0.
    let one = id.as_deref().map(|id| (NoticeId::number(id).unwrap_or(0), Some(id)));
    Ok(accepted(send_again(&app, &actor, &webhook, one).await?))
}

/// Sends one delivery to a webhook again, or all that failed, and gives how many that is. The one is named by its number, and
/// by its id where that is what was asked for.
pub(super) async fn send_again(
    app: &App,
    actor: &Actor,
    webhook: &WebhookRecord,
    one: Option<(u64, Option<&str>)>,
) -> Result<u64, Problem> {
    let receiver = Receiver::Webhook(webhook.no);
    let event = actor.did(Action::WebhookRedelivered).on(&webhook.id);
    let (which, count, event) = if let Some((no, id)) = one {
        let id_of = |row: &Delivery| delivery::id(row, app.reads.deployment_id()).to_string();
        let found = app.reads.delivery(no).await?.filter(|of| of.row.receiver == receiver);
        let found = found.filter(|of| id.is_none_or(|id| id == id_of(&of.row)));
        let missing = || Problem::new(Kind::NotFound).detail("This webhook has no delivery with this id.");
        let found = found.ok_or_else(missing)?.row;
        let event = event.after(Facts::new().text("deliveryId", &id_of(&found)));
        (Again::One(found.no), 1, Event { user_no: found.user_no, ..event })
    } else {
        let count = app.reads.deliveries_failed(receiver).await?;
        (Again::FailedOf(webhook.no), count, event.after(deliveries_facts(count)))
    };
    // Where nothing failed nothing is done.
    if count > 0 {
        app.writer.put_as(event, Record::Again(which, app.clock.wall())).await?;
    }
    Ok(count)
}

/// What the audit log says of messages that are sent again.
fn deliveries_facts(count: u64) -> Facts {
    Facts::new().json("deliveries", &count.to_string())
}

/// Tell an alert again
///
/// By mail and to every webhook that was told, or was to be told, of it; with the same id as before.
#[utoipa::path(post, path = "/v1/alerts/{alertId}/redeliver", tag = "Webhooks",
    operation_id = "redeliverAlert",
    params(("alertId" = String, Path, description = "The alert's id")),
    responses((status = 202, description = "It is being sent", body = schemas::SentAgain),
        (status = 404, description = "There is no such alert, or nobody was to be told of it", content_type = "application/problem+json", body = super::openapi::Problem),
        schemas::WriteProblems))]
pub(super) async fn redeliver_alert(
    State(app): State<SharedApp>,
    actor: Actor,
    path: Option<Path<String>>,
) -> Result<Response, Problem> {
    let id = path.map(|Path(id)| id);
    let no = id.as_deref().and_then(NoticeId::number);
    Ok(accepted(send_alert_again(&app, &actor, no, id.as_deref()).await?))
}

/// Sends what tells of an alert again, and gives how many messages that is. `id` is what was asked for beside its number.
pub(super) async fn send_alert_again(
    app: &App,
    actor: &Actor,
    no: Option<u64>,
    id: Option<&str>,
) -> Result<u64, Problem> {
    let Some(no) = no else {
        return Err(Problem::new(Kind::NotFound).detail("There is no alert with this id."));
    };
    let mut told = app.reads.deliveries_about(EventKind::ThresholdCrossed, vec![no]).await?;
    let id_of = |row: &Delivery| delivery::event_id(row, app.reads.deployment_id()).to_string();
    told.retain(|row| id.is_none_or(|id| id == id_of(row)));
    let Some(first) = told.first() else {
        return Err(Problem::new(Kind::NotFound).detail("Nobody was to be told of such an alert."));
    };
    let count = told.len() as u64;
    let event = actor.did(Action::AlertRedelivered).on(&id_of(first)).after(deliveries_facts(count));
    let event = Event { user_no: first.user_no, ..event };
    app.writer.put_as(event, Record::Again(Again::Alert(no), app.clock.wall())).await?;
    Ok(count)
}

fn accepted(count: u64) -> Response {
    let json = Json::of_object(|object| {
        object.put("deliveries", count);
    });
    json.answer(StatusCode::ACCEPTED)
}

/// The webhook of this id.
pub(super) fn known(app: &App, id: Option<&str>) -> Result<WebhookRecord, Problem> {
    let found = id.and_then(|id| app.reads.webhooks().iter().find(|webhook| webhook.id == id).cloned());
    found.ok_or_else(|| Problem::new(Kind::NotFound).detail("There is no webhook with this id."))
}

/// The same, if it is not the configuration's.
fn changeable(app: &App, id: Option<&str>) -> Result<WebhookRecord, Problem> {
    let webhook = known(app, id)?;
    if webhook.configured {
        return Err(Problem::new(Kind::WebhookIsConfigured)
            .detail("It stands in the configuration: change it there, and start the server again."));
    }
    Ok(webhook)
}

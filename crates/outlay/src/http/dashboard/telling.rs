//! Who is told: the forms of webhooks and of mail, and sending again.

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::{StatusCode, Uri};
use outlay_core::id::UserId;
use outlay_core::month::Timestamp;
use secrecy::ExposeSecret as _;

use super::Browser;
use super::csv::{PageReading, answer, pages, tame};
use super::lists::gathered;
use super::operate::settings_view;
use crate::audit::{Action, Actor};
use crate::http::keys::is_description;
use crate::http::page::Parameters;
use crate::http::present::delivery as present;
use crate::http::problem::{Kind, Problem};
use crate::http::sign_in::form_fields;
use crate::http::{SharedApp, webhooks};
use crate::store::outbox::{DeliveriesQuery, Delivery, EventKind, EventKinds, Receiver, WebhookRecord};
use crate::store::{Of, Record};
use crate::web::settings;
use crate::web::webhook::{ROWS, View, page};

/// `POST /settings/webhooks`: makes a webhook, and shows its secret this once.
pub(in crate::http) async fn make_webhook(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    body: Bytes,
) -> Result<Response, Problem> {
    let mut fields = form_fields(&body);
    let url = fields.take("url").unwrap_or_default();
    let description = fields.take("description").unwrap_or_default();
    let events: EventKinds = EventKind::ALL.into_iter().filter(|kind| fields.take(kind.as_str()).is_some()).collect();
    fields.finish()?;
    let wrong = if let Err(error) = app.senders.webhooks.rules().check(&url) {
        Some(format!("The address {error}."))
    } else if events == EventKinds::default() {
        Some("It must be told of something.".to_owned())
    } else if !is_description(&description) {
        Some("What it is for must have at most 256 characters.".to_owned())
    } else {
        None
    };
    if let Some(error) = wrong {
        let mut view = settings_view(&app, &browser, None).await?;
        view.told.error = Some((url, error));
        let page = settings::page(&view, &browser.links, browser.viewer);
        return Ok(browser.answer_with(StatusCode::UNPROCESSABLE_ENTITY, &page));
    }
    let (_, secret) = webhooks::make(&app, &actor, url, Some(events), description).await?;
    let mut view = settings_view(&app, &browser, None).await?;
    view.told.secret = Some(secret.text().expose_secret().to_owned());
    Ok(browser.answer_with(StatusCode::CREATED, &settings::page(&view, &browser.links, browser.viewer)))
}

type WebhookId = Option<Path<String>>;

fn id_of(path: &WebhookId) -> Option<&str> {
    path.as_ref().map(|Path(id)| id.as_str())
}

/// The deliveries that are asked for of a webhook, and the list that its cursors go on in.
fn deliveries_query(
    app: &SharedApp,
    parameters: &mut Parameters,
    webhook: &WebhookRecord,
) -> (DeliveriesQuery, String) {
    parameters.drop_empty();
    let state = parameters.read("state", webhooks::state_named);
    let list = format!("deliveries {}", webhook.id);
    let page = parameters.page(app, &list);
    (DeliveriesQuery { receiver: Receiver::Webhook(webhook.no), state, page }, list)
}

/// `GET /settings/webhooks/{webhookId}`
pub(in crate::http) async fn webhook(
    State(app): State<SharedApp>,
    browser: Browser,
    path: WebhookId,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let webhook = webhooks::known(&app, id_of(&path))?;
    let (mut query, list) = deliveries_query(&app, &mut parameters, &webhook);
    parameters.finish()?;
    query.page.limit = ROWS;
    let found = gathered(query.page, |page| app.reads.deliveries(DeliveriesQuery { page, ..query })).await?;
    let view = View {
        failed: app.reads.deliveries_failed(query.receiver).await?,
        webhooks: app.reads.webhooks(),
        webhook,
        state: query.state,
        deliveries: found.items,
        next: found.next.map(|next| app.cursor_of(&list, next)),
        goes_on: query.page.before.is_some(),
        as_of: app.reads.now(),
    };
    Ok(browser.answer(&page(&view, &browser.links)))
}

/// `GET /settings/webhooks/{webhookId}/deliveries.csv`
pub(in crate::http) async fn deliveries_csv(
    State(app): State<SharedApp>,
    path: WebhookId,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let webhook = webhooks::known(&app, id_of(&path))?;
    let (query, _) = deliveries_query(&app, &mut parameters, &webhook);
    parameters.finish()?;
    let read = move |app: SharedApp, page| -> PageReading<_> {
        Box::pin(async move { app.reads.deliveries(DeliveriesQuery { page, ..query }).await })
    };
    let rows = pages(app, read, |app, of: &Of<Delivery>| {
        let (delivery, deployment_id) = (&of.row, app.reads.deployment_id());
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string()).unwrap_or_default();
        let last = delivery.tries.last();
        vec![
            present::id(delivery, deployment_id).to_string(),
            delivery.kind.as_str().to_owned(),
            present::event_id(delivery, deployment_id).to_string(),
            tame(of.user_id.as_ref().map(UserId::as_str).unwrap_or_default()),
            delivery.created_at.to_string(),
            delivery.state.as_str().to_owned(),
            time(delivery.ended_at),
            time(delivery.due),
            delivery.tries.len().to_string(),
            last.and_then(|last| last.status).map(|status| status.to_string()).unwrap_or_default(),
            tame(last.and_then(|last| last.reason.as_deref()).unwrap_or_default()),
        ]
    });
    let head = [
        "deliveryId",
        "event",
        "eventId",
        "userId",
        "createdAt",
        "state",
        "endedAt",
        "nextTryAt",
        "tries",
        "lastStatus",
        "lastProblem",
    ];
    Ok(answer("deliveries", &head, rows))
}

/// `POST /settings/webhooks/{webhookId}/test`
pub(in crate::http) async fn test_webhook(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    path: WebhookId,
) -> Result<Response, Problem> {
    webhooks::send_test(&app, &actor, id_of(&path)).await?;
    Ok(browser.lead_to(&page_of(&path)))
}

/// `POST /settings/webhooks/{webhookId}/redeliver`: one delivery, or all that failed.
pub(in crate::http) async fn redeliver(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    path: WebhookId,
    body: Bytes,
) -> Result<Response, Problem> {
    let webhook = webhooks::known(&app, id_of(&path))?;
    let mut fields = form_fields(&body);
    let no = fields.read("delivery", str::parse::<u64>);
    fields.finish()?;
    webhooks::send_again(&app, &actor, &webhook, no.map(|no| (no, None))).await?;
    Ok(browser.lead_to(&page_of(&path)))
}

fn page_of(path: &WebhookId) -> String {
    format!("settings/webhooks/{}", crate::web::links::encoded(id_of(path).unwrap_or_default()))
}

/// `POST /settings/webhooks/{webhookId}/rotate`: replaces its secret, and shows the new one this once.
pub(in crate::http) async fn rotate_webhook(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    path: WebhookId,
) -> Result<Response, Problem> {
    let (_, secret) = webhooks::rotated(&app, &actor, id_of(&path)).await?;
    let mut view = settings_view(&app, &browser, None).await?;
    view.told.secret = Some(secret.text().expose_secret().to_owned());
    view.told.done = Some("For 24 hours messages carry two signatures, one with each secret.");
    Ok(browser.answer(&settings::page(&view, &browser.links, browser.viewer)))
}

/// `POST /settings/webhooks/{webhookId}/remove`
pub(in crate::http) async fn remove_webhook(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    path: WebhookId,
) -> Result<Response, Problem> {
    webhooks::remove(&app, &actor, id_of(&path)).await?;
    Ok(browser.lead_to("settings"))
}

/// `POST /settings/mail/test`: a letter to the operator.
pub(in crate::http) async fn test_mail(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
) -> Result<Response, Problem> {
    if app.senders.post.as_ref().is_none_or(|post| post.operator.is_none()) {
        return Err(Problem::new(Kind::NotFound).detail("No mail is sent to an operator."));
    }
    let record = Record::TestDelivery(Receiver::OperatorMail, app.clock.wall());
    app.writer.put_as(actor.did(Action::MailTested), record).await?;
    let mut view = settings_view(&app, &browser, None).await?;
    view.told.done = Some("A letter is on its way.");
    Ok(browser.answer(&settings::page(&view, &browser.links, browser.viewer)))
}

/// `POST /alerts/{no}/redeliver`: leads back to the list as it was asked for.
pub(in crate::http) async fn redeliver_alert(
    State(app): State<SharedApp>,
    actor: Actor,
    browser: Browser,
    path: Option<Path<u64>>,
    uri: Uri,
) -> Result<Response, Problem> {
    webhooks::send_alert_again(&app, &actor, path.map(|Path(no)| no), None).await?;
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Ok(browser.lead_to(&format!("alerts{query}")))
}

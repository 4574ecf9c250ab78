//! Who is told: the forms of webhooks and of mail, and sending again.

use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use secrecy::ExposeSecret as _;

use super::Browser;
use super::operate::settings_view;
use crate::audit::Actor;
use crate::http::keys::is_description;
use crate::http::page::Parameters;
use crate::http::problem::{Kind, Problem};
use crate::http::sign_in::form_fields;
use crate::http::{SharedApp, webhooks};
use crate::store::Record;
use crate::store::outbox::{Again, DeliveriesQuery, EventKind, EventKinds, Receiver};
use crate::web::{settings, telling};

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

/// `GET /settings/webhooks/{webhookId}`
pub(in crate::http) async fn webhook(
    State(app): State<SharedApp>,
    browser: Browser,
    path: WebhookId,
    mut parameters: Parameters,
) -> Result<Response, Problem> {
    let webhook = webhooks::known(&app, id_of(&path))?;
    let list = format!("deliveries {}", webhook.id);
    let mut page = parameters.page(&app, &list);
    parameters.finish()?;
    page.limit = telling::ROWS;
    let query = DeliveriesQuery { receiver: Receiver::Webhook(webhook.no), state: None, page };
    let found = app.reads.deliveries(query).await?;
    let view = telling::View {
        webhook,
        deliveries: found.items,
        next: found.next.map(|next| app.cursor_of(&list, next)),
        goes_on: page.before.is_some(),
        as_of: app.reads.now(),
    };
    Ok(browser.answer(&telling::page(&view, &browser.links)))
}

/// `POST /settings/webhooks/{webhookId}/test`
pub(in crate::http) async fn test_webhook(
    State(app): State<SharedApp>,
    browser: Browser,
    path: WebhookId,
) -> Result<Response, Problem> {
    webhooks::send_test(&app, id_of(&path)).await?;
    Ok(browser.lead_to(&page_of(&path)))
}

/// `POST /settings/webhooks/{webhookId}/redeliver`: one delivery, or all that failed.
pub(in crate::http) async fn redeliver(
    State(app): State<SharedApp>,
    browser: Browser,
    path: WebhookId,
    body: Bytes,
) -> Result<Response, Problem> {
    let webhook = webhooks::known(&app, id_of(&path))?;
    let mut fields = form_fields(&body);
    let no = fields.read("delivery", str::parse::<u64>);
    fields.finish()?;
    let which = match no {
        None => Again::FailedOf(webhook.no),
        Some(no) => {
            let found = app.reads.delivery(no).await?;
            let found = found.filter(|of| of.row.receiver == Receiver::Webhook(webhook.no));
            let missing = || Problem::new(Kind::NotFound).detail("This webhook has no such delivery.");
            Again::One(found.ok_or_else(missing)?.row.no)
        }
    };
    app.writer.put(Record::Again(which, app.clock.wall())).await?;
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
pub(in crate::http) async fn test_mail(State(app): State<SharedApp>, browser: Browser) -> Result<Response, Problem> {
    if app.senders.post.as_ref().is_none_or(|post| post.operator.is_none()) {
        return Err(Problem::new(Kind::NotFound).detail("No mail is sent to an operator."));
    }
    app.writer.put(Record::TestDelivery(Receiver::OperatorMail, app.clock.wall())).await?;
    let mut view = settings_view(&app, &browser, None).await?;
    view.told.done = Some("A letter is on its way.");
    Ok(browser.answer(&settings::page(&view, &browser.links, browser.viewer)))
}

/// `POST /alerts/{no}/redeliver`
pub(in crate::http) async fn redeliver_alert(
    State(app): State<SharedApp>,
    browser: Browser,
    path: Option<Path<u64>>,
) -> Result<Response, Problem> {
    webhooks::send_alert_again(&app, path.map(|Path(no)| no), None).await?;
    Ok(browser.lead_to("alerts"))
}

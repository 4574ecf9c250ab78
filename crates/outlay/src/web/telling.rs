//! Who is told of alerts and other events: the webhooks, the mail, and what became of what they were to be told.

use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::month::Timestamp;

use super::links::{Links, Query, encoded};
use super::parts::{self, moment};
use super::{Page, Section, format};
use crate::store::Of;
use crate::store::outbox::{Delivery, DeliveryState, EventKind, Receiver, WebhookRecord};

/// Rows of a page.
pub const ROWS: usize = 50;

/// Who is told, for the settings.
#[derive(Debug, Default)]
pub struct Told {
    /// All webhooks; none where they may not be seen.
    pub webhooks: Option<Arc<[WebhookRecord]>>,
    /// A webhook's secret, shown this once.
    pub secret: Option<String>,
    /// What is wrong with the form of a new webhook, with its address as it was typed.
    pub error: Option<(String, String)>,
    /// What is said after a form was sent.
    pub done: Option<&'static str>,
    /// Whether users are told by mail.
    pub mail_to_users: bool,
    /// The address that gets every alert.
    pub operator: Option<String>,
}

/// The part of the settings that says who is told.
pub(super) fn section(told: &Told, webhooks: &[WebhookRecord], now: Timestamp, links: &Links) -> Markup {
    let typed = told.error.as_ref().map(|(url, _)| url.as_str());
    html! {
        section.panel #told aria-labelledby="told-title" {
            header { h2 #told-title { "Who is told" } a href=(links.to("alerts", &Query::new())) { "Alerts" } }
            @if let Some(secret) = &told.secret { p.done role="status" { "The secret that signs, shown this once:" } (parts::secret(secret)) }
            @if let Some(done) = told.done { p.done role="status" { (done) } }
            @if webhooks.is_empty() { (parts::nothing("No webhook yet.")) }
            @else {
                div.scroll tabindex="0" role="group" aria-label="The list of webhooks" {
                    table.rows {
                        thead { tr { th scope="col" { "Webhook" } th scope="col" { "Is told of" } th scope="col" { "For" } th.n scope="col" { "Made" } th scope="col" { "State" } } }
                        tbody { @for webhook in webhooks { (webhook_row(webhook, now, links)) } }
                    }
                }
            }
            details #new-webhook open[told.error.is_some()] {
                summary { "Make a webhook" }
                form.filters method="post" action=(links.to("settings/webhooks", &Query::new())) {
                    label { span { "Address" } input type="url" name="url" value=[typed] required maxlength="2048" autocomplete="off" placeholder="https://app.example.org/hooks/outlay"; }
                    label { span { "For" } input name="description" maxlength="256" autocomplete="off" placeholder="what it is for"; }
                    @for kind in EventKind::ALL {
                        label.check { input type="checkbox" name=(kind.as_str()) value="yes" checked[kind == EventKind::ThresholdCrossed]; span { (event(kind)) } }
                    }
                    button.primary type="submit" { "Make it" }
                    @if let Some((_, error)) = &told.error { p.error role="alert" { (error) } }
                }
                p.small { "Messages are signed as Standard Webhooks have it, come at least once, and have the same id each time." }
            }
            dl.pairs {
                div { dt { "Mail to users" } dd { @if told.mail_to_users { "Alerts go to the address that a user has" } @else { "none is sent" } } }
                div { dt { "Mail to the operator" } dd {
                    @match &told.operator {
                        Some(address) => {
                            (parts::text(address, 48)) " "
                            form.inline method="post" action=(links.to("settings/mail/test", &Query::new())) { button type="submit" { "Send a test" } }
                        }
                        None => "none is sent",
                    }
                } }
            }
        }
    }
}

fn webhook_row(webhook: &WebhookRecord, now: Timestamp, links: &Links) -> Markup {
    let kinds: Vec<&str> = webhook.events.iter().map(event).collect();
    html! {
        tr {
            th scope="row" { a href=(links.to(&path(webhook), &Query::new())) { (parts::text(&webhook.url, 48)) } }
            td { (kinds.join(", ")) }
            td { (parts::text(&webhook.description, 32)) @if webhook.configured { " " span.mark { "Set by configuration" } } }
            td.n { (moment(webhook.created_at, now)) }
            td { (state(webhook, now)) }
        }
    }
}

fn state(webhook: &WebhookRecord, now: Timestamp) -> Markup {
    html! {
        @match webhook.gone_at {
            None => "Told",
            Some(at) => { strong.error { "Wants no more" } " since " (moment(at, now)) },
        }
    }
}

fn path(webhook: &WebhookRecord) -> String {
    format!("settings/webhooks/{}", encoded(&webhook.id))
}

/// What is told, in words.
const fn event(kind: EventKind) -> &'static str {
    match kind {
        EventKind::ThresholdCrossed => "alerts",
        EventKind::DenialRecorded => "denials",
        EventKind::SessionAbandoned => "abandoned sessions",
        EventKind::LimitChanged => "changed limits",
        EventKind::Test => "a test",
    }
}

/// One webhook with what it was told.
#[derive(Debug)]
pub struct View {
    /// The webhook.
    pub webhook: WebhookRecord,
    /// A page of its deliveries.
    pub deliveries: Vec<Of<Delivery>>,
    /// The cursor of the next page.
    pub next: Option<String>,
    /// Whether it goes on from a page before.
    pub goes_on: bool,
    /// The instant that it is of.
    pub as_of: Timestamp,
}

/// Draws it.
pub fn page(view: &View, links: &Links) -> Page {
    let webhook = &view.webhook;
    let path = path(webhook);
    let next = view.next.as_ref().map(|cursor| links.to(&path, &Query::new().with("cursor", cursor)));
    let first = view.goes_on.then(|| links.to(&path, &Query::new()));
    let button = |name: &str, words: &str, danger: bool| {
        html! { form.inline method="post" action=(links.to(&format!("{path}/{name}"), &Query::new())) { button.danger[danger] type="submit" { (words) } } }
    };
    Page {
        section: Some(Section::Settings),
        title: "A webhook".to_owned(),
        heading: html! {
            h1 { "A webhook" }
            (button("test", "Send a test", false)) (button("redeliver", "Send again what failed", false))
            @if !webhook.configured { (button("rotate", "Replace its secret", false)) (button("remove", "Take it away", true)) }
        },
        stepper: None,
        main: html! {
            section.panel aria-label="The webhook" {
                dl.pairs #live-webhook data-live {
                    div { dt { "Address" } dd { (parts::text(&webhook.url, 96)) } }
                    div { dt { "For" } dd { @if webhook.description.is_empty() { "nothing is said" } @else { (parts::text(&webhook.description, 96)) } } }
                    div { dt { "Is told of" } dd { (webhook.events.iter().map(event).collect::<Vec<_>>().join(", ")) } }
                    div { dt { "Made" } dd { (moment(webhook.created_at, view.as_of)) } }
                    div { dt { "State" } dd { (state(webhook, view.as_of)) @if webhook.gone_at.is_some() { ": it answered 410. A test that arrives brings it back." } } }
                }
                @if webhook.configured { p.small { "It stands in the configuration, and is changed there." } }
            }
            section.panel.flush #list data-live aria-label="What it was told" {
                @if view.deliveries.is_empty() { (parts::nothing("It was told of nothing yet.")) }
                @else {
                    div.scroll tabindex="0" role="group" aria-label="The list of deliveries" {
                        table.rows {
                            thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "User" } th scope="col" { "How it went" } th scope="col" { span.said { "Send again" } } } }
                            tbody { @for of in &view.deliveries { (delivery_row(of, &path, view.as_of, links)) } }
                        }
                    }
                }
            }
            (parts::pager(first, next))
        },
        as_of: Some(view.as_of),
        csv: None,
        json: Some(links.to(&format!("v1/webhooks/{}/deliveries", encoded(&webhook.id)), &Query::new())),
        user_id: None,
    }
}

fn delivery_row(of: &Of<Delivery>, path: &str, now: Timestamp, links: &Links) -> Markup {
    let delivery = &of.row;
    html! {
        tr data-key=(delivery.no) {
            td { (moment(delivery.created_at, now)) }
            td { (delivery.kind.as_str()) }
            td { @if delivery.user_no.is_some() { (parts::user(links, of.user_id.as_ref(), &Query::new())) } }
            td { (how(delivery, now)) }
            td.n {
                form.inline method="post" action=(links.to(&format!("{path}/redeliver"), &Query::new())) {
                    input type="hidden" name="delivery" value=(delivery.no);
                    button type="submit" { "Send again" }
                }
            }
        }
    }
}

/// How a delivery went: `Delivered 14:03:02 after 2 tries`, `Failed: 500, next try 14:20`.
pub(super) fn how(delivery: &Delivery, now: Timestamp) -> Markup {
    let tries = delivery.tries.len();
    let last = delivery.tries.last();
    let why = last.map(|last| match (last.status, last.reason.as_deref()) {
        (Some(status), _) => status.to_string(),
        (None, Some(reason)) => reason.to_owned(),
        (None, None) => String::new(),
    });
    let problem = last.and_then(|last| last.reason.as_deref());
    html! {
        @match (delivery.state, &why) {
            (DeliveryState::Delivered, _) => {
                "Delivered "
                @if let Some(last) = last { (moment(last.at, now)) }
                @if tries > 1 { " after " (format::count(i128::try_from(tries).unwrap_or(0))) " tries" }
            },
            (DeliveryState::Pending, Some(why)) => { span title=[problem] { "Failed: " (why) } @if let Some(due) = delivery.due { ", next try " (moment(due, now)) } },
            (DeliveryState::Pending, None) => "On its way",
            (DeliveryState::Failed, Some(why)) => strong.error title=[problem] { "Failed: " (why) ", after " (format::count(i128::try_from(tries).unwrap_or(0))) @if tries == 1 { " try" } @else { " tries" } },
            (DeliveryState::Failed, None) => strong.error { "Not sent: its webhook wants no more" },
            (DeliveryState::NoWebhook, _) => "Not sent: its webhook was taken away",
            (DeliveryState::NoUser, _) => "Not sent: the user was erased, or has no address",
        }
    }
}

/// Who was told, in words.
pub(super) fn whom(receiver: Receiver) -> &'static str {
    match receiver {
        Receiver::UserMail => "E-mail to the user",
        Receiver::OperatorMail => "E-mail to the operator",
        Receiver::Webhook(_) => "Webhook",
    }
}

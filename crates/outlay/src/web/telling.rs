//! Who is told of alerts and other events: the webhooks, the mail, and what became of what they were to be told.

use std::borrow::Cow;
use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::month::Timestamp;

use super::links::{Links, Query, encoded};
use super::parts::{self, Icon, moment};
use super::{Viewer, format};
use crate::store::outbox::{Delivery, DeliveryState, EventKind, Receiver, WebhookRecord};

/// Characters of a webhook's name, at most.
const NAME_CHARACTERS: usize = 40;

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
            header {
                h2 #told-title { "Who is told" }
                span.row { a href=(links.to("alerts", &Query::new())) { "Alerts" } a href=(links.to("v1/webhooks", &Query::new())) { "JSON" } }
            }
            @if let Some(secret) = &told.secret { p.done role="status" { "The secret that signs, shown this once:" } (parts::secret(secret)) }
            @if let Some(done) = told.done { p.done role="status" { (done) } }
            @if webhooks.is_empty() { (parts::nothing("No webhook yet.")) }
            @else {
                div.scroll tabindex="0" role="group" aria-label="The list of webhooks" {
                    table.rows {
                        thead { tr { th scope="col" { "Webhook" } th scope="col" { "Is told of" } th.n scope="col" { "Made" } th scope="col" { "State" } } }
                        tbody { @for webhook in webhooks { (webhook_row(webhook, webhooks, now, links)) } }
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
            dl.pairs.wide.apart {
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

fn webhook_row(webhook: &WebhookRecord, all: &[WebhookRecord], now: Timestamp, links: &Links) -> Markup {
    let address = short_address(&webhook.url);
    let name = name(webhook, all);
    html! {
        tr {
            th scope="row" {
                a href=(links.to(&path(webhook), &Query::new())) title=(webhook.url) { bdi { (name) } }
                @if webhook.configured { " " span.mark { "Set by configuration" } }
                @if name != address { span.ahead { bdi { (address) } } }
            }
            td.flows { (events(webhook)) }
            td.n { (moment(webhook.created_at, now)) }
            td { (state(webhook, now)) }
        }
    }
}

/// Whether it is told, or wants no more.
pub(super) fn state(webhook: &WebhookRecord, now: Timestamp) -> Markup {
    html! {
        @match webhook.gone_at {
            None => span.badge.ok { (Icon::Ok.draw()) "Active" },
            Some(at) => { span.badge.reached { (Icon::Reached.draw()) "Wants no more" } span.muted { " since " (moment(at, now)) } },
        }
    }
}

/// The path of a webhook's page, without the first slash.
pub(super) fn path(webhook: &WebhookRecord) -> String {
    format!("settings/webhooks/{}", encoded(&webhook.id))
}

/// A webhook's own words for what it is for, if no other has the same; else the host and the end of its address.
pub(super) fn name<'a>(webhook: &'a WebhookRecord, all: &[WebhookRecord]) -> Cow<'a, str> {
    let said = &webhook.description;
    let of_another = |other: &WebhookRecord| other.no != webhook.no && other.description == *said;
    if said.is_empty() || all.iter().any(of_another) {
        short_address(&webhook.url)
    } else {
        format::shortened(said, NAME_CHARACTERS)
    }
}

/// `app.example.org/…/outlay`
pub(super) fn short_address(url: &str) -> Cow<'_, str> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let Some((host, path)) = rest.split_once('/').filter(|(_, path)| !path.is_empty()) else {
        return format::shortened(rest.trim_end_matches('/'), NAME_CHARACTERS);
    };
    match path.trim_end_matches('/').rsplit_once('/') {
        Some((_, end)) => {
            format!("{}/…/{}", format::shortened(host, NAME_CHARACTERS), format::shortened(end, 20)).into()
        }
        None => format!("{}/{}", format::shortened(host, NAME_CHARACTERS), format::shortened(path, 20)).into(),
    }
}

/// What it is told of, in words, with their names on the wire.
pub(super) fn events(webhook: &WebhookRecord) -> Markup {
    html! { @for (at, kind) in webhook.events.iter().enumerate() { @if at > 0 { ", " } span title=(kind.as_str()) { (event(kind)) } } }
}

/// What is told, in words.
pub(super) const fn event(kind: EventKind) -> &'static str {
    match kind {
        EventKind::ThresholdCrossed => "alerts",
        EventKind::DenialRecorded => "denials",
        EventKind::SessionAbandoned => "abandoned sessions",
        EventKind::LimitChanged => "changed limits",
        EventKind::Test => "a test",
    }
}

/// How a delivery went, with a sign that says it too: `Delivered 14:03:02 after 2 tries`, `Failed: 500, next try 14:20:00`;
/// behind the name of who was told, where that is not the page's own.
pub(super) fn went(name: Option<&Markup>, delivery: &Delivery, now: Timestamp) -> Markup {
    let failed_before = delivery.tries.last().is_some_and(|last| last.reason.is_some());
    let (class, icon) = match delivery.state {
        DeliveryState::Delivered => ("completed", Icon::Ok),
        DeliveryState::Pending if failed_before => ("warning", Icon::Warning),
        DeliveryState::Pending => ("in-progress", Icon::Running),
        DeliveryState::Failed => ("failed", Icon::Failed),
        DeliveryState::NoWebhook | DeliveryState::NoUser => ("abandoned", Icon::Left),
    };
    html! {
        span.went {
            span class={ "badge " (class) } { (icon.draw()) }
            span { @if let Some(name) = name { (name) ": " } (how(delivery, now)) }
        }
    }
}

fn how(delivery: &Delivery, now: Timestamp) -> Markup {
    let tries = delivery.tries.len();
    let last = delivery.tries.last();
    let why = last.map(|last| match (last.status, last.reason.as_deref()) {
        (Some(status), _) => status.to_string(),
        // What the system says of it stands in the title.
        (None, Some(reason)) => reason.split(": ").next().unwrap_or(reason).to_owned(),
        (None, None) => String::new(),
    });
    let problem = last.and_then(|last| last.reason.as_deref());
    let tries =
        html! { (format::count(i128::try_from(tries).unwrap_or(0))) @if tries == 1 { " try" } @else { " tries" } };
    html! {
        @match (delivery.state, &why) {
            (DeliveryState::Delivered, _) => {
                "Delivered "
                @if let Some(last) = last { (clock(last.at, now)) }
                @if delivery.tries.len() > 1 { " after " (tries) }
            },
            (DeliveryState::Pending, Some(why)) => { span title=[problem] { "Failed: " (why) } @if let Some(due) = delivery.due { ", next try " (clock(due, now)) } },
            (DeliveryState::Pending, None) => "On its way",
            (DeliveryState::Failed, Some(why)) => span title=[problem] { "Failed: " (why) ", after " (tries) },
            (DeliveryState::Failed, None) => "Not sent: its webhook wants no more",
            (DeliveryState::NoWebhook, _) => "Not sent: its webhook was taken away",
            (DeliveryState::NoUser, _) => "Not sent: the user was erased, or has no address",
        }
    }
}

/// An instant: of today its time, to the second.
pub(super) fn clock(at: Timestamp, now: Timestamp) -> Markup {
    if at.day() == now.day() {
        html! { time datetime=(at) title=(at) { (format::time(at)) } }
    } else {
        moment(at, now)
    }
}

/// Who was told, in words: an admin sees which webhook and goes to it, another viewer only tells them apart.
pub(super) fn whom(receiver: Receiver, webhooks: &[WebhookRecord], viewer: Viewer, links: &Links) -> Markup {
    let Receiver::Webhook(no) = receiver else {
        return html! { @if receiver == Receiver::UserMail { "Mail to the user" } @else { "Mail to the operator" } };
    };
    html! {
        @match webhooks.iter().find(|webhook| webhook.no == no) {
            Some(webhook) if viewer.is_admin() => a href=(links.to(&path(webhook), &Query::new())) title=(webhook.url) { bdi { (name(webhook, webhooks)) } },
            Some(webhook) => { "Webhook " span.id title=(webhook.id) { "…" (webhook.id.get(webhook.id.len().saturating_sub(4)..).unwrap_or_default()) } },
            None => "A webhook",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn webhook(no: u64, url: &str, description: &str) -> WebhookRecord {
        WebhookRecord {
            no,
            id: format!("webhook_{no}"),
            url: url.to_owned(),
            events: [EventKind::ThresholdCrossed].into_iter().collect(),
            description: description.to_owned(),
            configured: false,
            created_at: Timestamp::EPOCH,
            gone_at: None,
        }
    }

    #[test]
    fn no_two_webhooks_look_alike() {
        let all = [
            webhook(1, "https://app.example.org/hooks/outlay/billing", "The web shop"),
            webhook(2, "https://app.example.org/hooks/outlay/billing", "The shop floor"),
            webhook(3, "https://app.example.org/hooks/outlay/a", "Same"),
            webhook(4, "https://app.example.org/hooks/outlay/b/", "Same"),
            webhook(5, "https://app.example.org", ""),
            webhook(6, "https://app.example.org:8443/b", ""),
        ];
        let names: Vec<_> = all.iter().map(|webhook| name(webhook, &all)).collect();
        let expected = [
            "The web shop",
            "The shop floor",
            "app.example.org/…/a",
            "app.example.org/…/b",
            "app.example.org",
            "app.example.org:8443/b",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn only_an_admin_sees_where_a_webhook_is() {
        let all = [webhook(1, "https://app.example.org/hooks/secret", "")];
        let drawn = |role| {
            let viewer = Viewer { role, signed_in: true };
            whom(Receiver::Webhook(1), &all, viewer, &Links::from_path("/alerts")).into_string()
        };
        assert!(drawn(crate::store::Role::Admin).contains("app.example.org/…/secret"));
        let of_viewer = drawn(crate::store::Role::Viewer);
        assert!(of_viewer.contains("Webhook") && !of_viewer.contains("example.org"), "{of_viewer}");
    }
}

//! One webhook with what it was told.

use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::month::Timestamp;

use super::frame::crumbs;
use super::links::{Links, Query, encoded};
use super::parts::{self, moment};
use super::telling::{self, clock, went};
use super::{Page, Section, format};
use crate::store::Of;
use crate::store::outbox::{Delivery, DeliveryState, EventKind, WebhookRecord};

/// Rows of a page.
pub const ROWS: usize = 50;

/// What the page shows.
#[derive(Debug)]
pub struct View {
    /// The webhook.
    pub webhook: WebhookRecord,
    /// All of them, from which this one is told apart.
    pub webhooks: Arc<[WebhookRecord]>,
    /// How many deliveries to it failed.
    pub failed: u64,
    /// Only deliveries in this state, by its name on the wire.
    pub state: Option<&'static str>,
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
    let path = telling::path(webhook);
    let name = telling::name(webhook, &view.webhooks);
    let query = Query::new().with_some("state", view.state);
    let next = view.next.as_ref().map(|cursor| links.to(&path, &query.clone().with("cursor", cursor)));
    let first = view.goes_on.then(|| links.to(&path, &query));
    Page {
        section: Some(Section::Settings),
        title: format!("Webhook {name}"),
        heading: html! {
            (crumbs(&[
                html! { a href=(links.to("settings", &Query::new())) { "Settings" } },
                html! { a href={ (links.to("settings", &Query::new())) "#told" } { "Who is told" } },
            ]))
            h1 { bdi { (name) } }
        },
        stepper: None,
        main: html! {
            (about(view, &path, links))
            section.panel.flush aria-labelledby="list-title" {
                header { h2 #list-title { "What it was told" } (tabs(view, &path, links)) }
                div #list data-live { (list(view, &path, links)) }
            }
            (parts::pager(first, next))
            @if webhook.configured { p.small { "It stands in the configuration, and is changed there." } }
            @else { (change(&path, links)) }
        },
        as_of: Some(view.as_of),
        csv: Some(links.to(&format!("{path}/deliveries.csv"), &query)),
        json: Some(links.to(&format!("v1/webhooks/{}/deliveries", encoded(&webhook.id)), &query)),
        user_id: None,
    }
}

fn button(path: &str, name: &str, links: &Links, button: &Markup) -> Markup {
    html! { form.inline method="post" action=(links.to(&format!("{path}/{name}"), &Query::new())) { (button) } }
}

fn about(view: &View, path: &str, links: &Links) -> Markup {
    let webhook = &view.webhook;
    html! {
        section #about .facts data-live aria-label="About the webhook" {
            dl {
                div { dt { "State" } dd { (telling::state(webhook, view.as_of)) } }
                div { dt { "Is told of" } dd { span { (telling::events(webhook)) } } }
                div { dt { "Made" } dd { (moment(webhook.created_at, view.as_of)) } }
                @if view.failed > 0 {
                    div { dt { "Failed" } dd { a href=(links.to(path, &Query::new().with("state", "failed"))) { (format::count(view.failed.into())) } } }
                }
                div { dt { "Address" } dd { code { (parts::text(&webhook.url, 96)) } } }
            }
            div.actions {
                (button(path, "test", links, &html! { button type="submit" { "Send a test" } }))
                @if view.failed > 0 { (button(path, "redeliver", links, &html! { button type="submit" { "Send again what failed" } })) }
            }
            @if webhook.gone_at.is_some() { p.small { "It answered 410, so it is told of nothing new. A test that arrives brings it back." } }
        }
    }
}

/// The states in which a delivery can be, in words.
const STATES: [(DeliveryState, &str); 4] = [
    (DeliveryState::Pending, "Waiting"),
    (DeliveryState::Delivered, "Delivered"),
    (DeliveryState::Failed, "Failed"),
    (DeliveryState::NoUser, "Not sent"),
];

fn tabs(view: &View, path: &str, links: &Links) -> Markup {
    let all = ("All", links.to(path, &Query::new()), view.state.is_none());
    let of_states = STATES.into_iter().map(|(state, name)| {
        let state = state.as_str();
        (name, links.to(path, &Query::new().with("state", state)), view.state == Some(state))
    });
    parts::tabs("State", &std::iter::once(all).chain(of_states).collect::<Vec<_>>())
}

fn list(view: &View, path: &str, links: &Links) -> Markup {
    html! {
        @if view.deliveries.is_empty() {
            @match view.state {
                Some(_) => (parts::nothing_matches("delivery", Some(links.to(path, &Query::new())))),
                None => (parts::nothing("It was told of nothing yet.")),
            }
        } @else {
            div.scroll tabindex="0" role="group" aria-label="The list of deliveries" {
                table.rows {
                    thead { tr { th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "Of" } th scope="col" { "How it went" } th scope="col" { span.said { "Send again" } } } }
                    tbody { @for of in &view.deliveries { (row(of, path, view.as_of, links)) } }
                }
            }
        }
    }
}

fn row(of: &Of<Delivery>, path: &str, now: Timestamp, links: &Links) -> Markup {
    let delivery = &of.row;
    // What went well at once has nothing more to show.
    let is_plain = delivery.tries.len() < 2 && delivery.state != DeliveryState::Failed;
    let again = html! {
        input type="hidden" name="delivery" value=(delivery.no);
        button.slight type="submit" { "Send again" }
    };
    html! {
        tr data-key=(delivery.no) {
            td { (clock(delivery.created_at, now)) }
            th scope="row" { span title=(delivery.kind.as_str()) { (what(delivery.kind)) } }
            td { (about_whom(of, links)) }
            td.flows {
                (went(None, delivery, now))
                @if !is_plain && !delivery.tries.is_empty() {
                    details.tries {
                        summary { "Tries" }
                        ol { @for tried in &delivery.tries {
                            li {
                                (clock(tried.at, now)) " "
                                @if let Some(status) = tried.status { span.mark { (status) } " " }
                                @match &tried.reason { Some(reason) => (parts::text(reason, 120)), None => "taken" }
                            }
                        } }
                    }
                }
            }
            td.n { (button(path, "redeliver", links, &again)) }
        }
    }
}

/// What a delivery tells, in words.
const fn what(kind: EventKind) -> &'static str {
    match kind {
        EventKind::ThresholdCrossed => "Alert",
        EventKind::DenialRecorded => "Denial",
        EventKind::SessionAbandoned => "Abandoned session",
        EventKind::LimitChanged => "Changed limits",
        EventKind::Test => "A test",
    }
}

/// Whom it is about, and where what it tells of is listed.
fn about_whom(of: &Of<Delivery>, links: &Links) -> Markup {
    let list = match of.row.kind {
        EventKind::ThresholdCrossed => Some(("alerts", "alerts")),
        EventKind::DenialRecorded => Some(("denials", "denials")),
        EventKind::SessionAbandoned => Some(("sessions", "sessions")),
        EventKind::LimitChanged | EventKind::Test => None,
    };
    html! {
        @match (&of.user_id, list, of.row.user_no) {
            (Some(user_id), Some((path, name)), _) => {
                (parts::user(links, Some(user_id), &Query::new())) " "
                a.small href=(links.to(path, &Query::new().with("user", user_id))) { (name) }
            },
            (_, _, Some(_)) => (parts::user(links, of.user_id.as_ref(), &Query::new())),
            (None, _, None) if of.row.kind == EventKind::LimitChanged => a href=(links.to("plans", &Query::new())) { "a plan" },
            _ => span.muted { "–" },
        }
    }
}

fn change(path: &str, links: &Links) -> Markup {
    html! {
        div.columns {
            section.panel aria-labelledby="secret" {
                header { h2 #secret { "Its secret" } }
                div.stacked {
                    p { "Messages are signed with it. A new one is shown once; for 24 hours messages then carry two signatures, one with each." }
                    (button(path, "rotate", links, &html! { button type="submit" { "Replace its secret" } }))
                }
            }
            section.panel aria-labelledby="away" {
                header { h2 #away { "Take it away" } }
                div.stacked {
                    p { "It is told of nothing from then on, and what waits for it is not sent any more. This cannot be undone." }
                    (button(path, "remove", links, &html! { button.danger type="submit" { "Take it away" } }))
                }
            }
        }
    }
}

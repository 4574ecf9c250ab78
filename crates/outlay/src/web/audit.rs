//! The audit log: who did what, with what was before and after.

mod changed;

use maud::{Markup, html};
use outlay_core::id::UserId;
use outlay_core::month::Timestamp;

use super::links::{Links, Query};
use super::parts::{self, moment, nothing_matches};
use super::{Page, Section, telling};
use crate::audit::{Action, Entry};
use crate::store::Of;
use crate::store::outbox::WebhookRecord;

/// Rows of a page.
pub const ROWS: usize = 50;

/// What was asked for.
#[derive(Debug)]
pub struct Asked {
    /// Only what was done to this user.
    pub user_id: Option<UserId>,
    /// The same by number.
    pub user_number: Option<u64>,
    /// Only this action.
    pub action: Option<&'static str>,
    /// Only what this one did.
    pub who: Option<String>,
    /// Only from this instant on.
    pub from: Option<Timestamp>,
    /// Only before this instant.
    pub to: Option<Timestamp>,
    /// Whether it goes on from a page before.
    pub goes_on: bool,
    /// The cursor of the next page.
    pub next: Option<String>,
    /// The instant that it is of.
    pub as_of: Timestamp,
}

impl Asked {
    fn query(&self, user: &'static str) -> Query {
        Query::new()
            .with_some("action", self.action)
            .with_some("who", self.who.as_deref())
            .with_some(user, self.user_id.as_ref())
            .with_some("userNumber", self.user_number)
            .with_some("from", self.from)
            .with_some("to", self.to)
    }
}

/// Draws it.
pub fn page(asked: &Asked, entries: &[Of<Entry>], webhooks: &[WebhookRecord], links: &Links) -> Page {
    let query = asked.query("user");
    let is_filtered = !query.as_str().is_empty();
    let first = asked.goes_on.then(|| links.to("audit", &query));
    let next = asked.next.as_ref().map(|cursor| links.to("audit", &asked.query("user").with("cursor", cursor)));
    Page {
        section: Some(Section::Settings),
        title: "Audit log".to_owned(),
        heading: html! { h1 { "Audit log" } },
        stepper: None,
        main: html! {
            form.filters action=(links.to("audit", &Query::new())) aria-label="Filter" {
                label { span { "What" }
                    select name="action" {
                        option value="" { "Everything" }
                        @for action in Action::ALL.iter().map(|action| action.as_str()) {
                            option value=(action) selected[asked.action == Some(action)] { (words(action)) }
                        }
                    }
                }
                label { span { "Who" } input name="who" value=[asked.who.as_deref()] maxlength="64" autocomplete="off" spellcheck="false" placeholder="key_…"; }
                label { span { "User" } input name="user" value=[asked.user_id.as_ref()] maxlength="128" autocomplete="off" spellcheck="false"; }
                button type="submit" { "Filter" }
                @if is_filtered { a href=(links.to("audit", &Query::new())) { "Clear" } }
            }
            section.panel.flush #list data-live aria-label="Audit log" {
                @if entries.is_empty() { (nothing_matches("entry", is_filtered.then(|| links.to("audit", &Query::new())))) }
                @else {
                    div.scroll tabindex="0" role="group" aria-label="The entries" {
                        table.rows {
                            thead { tr {
                                th scope="col" { "When" } th scope="col" { "What" } th scope="col" { "To" } th scope="col" { "Who" }
                                th scope="col" { "Before and after" }
                            } }
                            tbody { @for of in entries { (row(of, webhooks, links, asked.as_of)) } }
                        }
                    }
                }
            }
            (parts::pager(first, next))
            p.small { "An entry is written with its change, and never changed. It names a user by number, so that erasing a person leaves it as it is." }
        },
        as_of: Some(asked.as_of),
        csv: Some(links.to("audit.csv", &query)),
        json: Some(links.to("v1/audit", &asked.query("userId"))),
        user_id: None,
    }
}

fn row(of: &Of<Entry>, webhooks: &[WebhookRecord], links: &Links, now: Timestamp) -> Markup {
    let entry = &of.row;
    let who = &*entry.actor.who;
    html! {
        tr data-key=(entry.no) {
            td { (moment(entry.at, now)) }
            th scope="row" { (words(&entry.action)) }
            td { (to_what(of, webhooks, links)) }
            td title=[entry.actor.request_id.as_ref().map(|id| format!("request {id}"))] {
                a href=(links.to("audit", &Query::new().with("who", who))) { (parts::text(who, 24)) }
                span.ahead { @match entry.actor.address { Some(address) => (address.to_string()), None => "this machine" } }
            }
            td.flows { (changed::drawn(entry)) }
        }
    }
}

/// To what it was done, as a link where that has a page.
fn to_what(of: &Of<Entry>, webhooks: &[WebhookRecord], links: &Links) -> Markup {
    let entry = &of.row;
    let link = |path: &str, what: Markup| html! { a href=(links.to(path, &Query::new())) { (what) } };
    html! {
        @if let Some(subject) = &entry.subject {
            @match webhooks.iter().find(|webhook| *webhook.id == **subject) {
                Some(webhook) => (link(&telling::path(webhook), html! { bdi title=(subject) { (telling::name(webhook, webhooks)) } })),
                None if entry.action.starts_with("plan.") => (link("plans", parts::text(subject, 40))),
                None => (parts::text(subject, 40)),
            }
            @if entry.user_no.is_some() { " " }
        }
        @if let Some(no) = entry.user_no {
            @match &of.user_id {
                Some(_) => (parts::user(links, of.user_id.as_ref(), &Query::new())),
                None => a.muted href=(links.to("audit", &Query::new().with("userNumber", no.0))) { "erased user " (no.0) },
            }
        }
    }
}

/// An action in words; one of a later version as it is.
fn words(action: &str) -> &str {
    match action {
        "user.set" => "User set",
        "user.erased" => "User erased",
        "user.exported" => "User exported",
        "tokens.ended" => "Tokens ended",
        "plan.set" => "Plan set",
        "plans.configured" => "Plans configured",
        "key.created" => "Key made",
        "key.revoked" => "Key revoked",
        "token-key.rotated" => "Token key changed",
        "master-key.rotated" => "Master key changed",
        "details.emptied" => "Old details emptied",
        "backup.taken" => "Backup taken",
        "store.restored" => "Backup restored",
        "webhook.created" => "Webhook added",
        "webhook.changed" => "Webhook changed",
        "webhook.deleted" => "Webhook removed",
        "webhook.tested" => "Test sent",
        "webhook.redelivered" => "Told again",
        "alert.redelivered" => "Alert told again",
        "mail.tested" => "Test mailed",
        "key.refused" => "Key refused",
        "role.refused" => "Not allowed",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_words() {
        for action in Action::ALL.iter().map(|action| action.as_str()) {
            assert_ne!(words(action), action);
        }
    }
}

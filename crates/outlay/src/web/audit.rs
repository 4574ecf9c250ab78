//! The audit log: who did what, with what was before and after.

use maud::{Markup, html};
use outlay_core::id::UserId;
use outlay_core::month::Timestamp;

use super::links::{Links, Query};
use super::parts::{self, moment, nothing_matches};
use super::{Page, Section};
use crate::audit::{Action, Entry};
use crate::store::Of;

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
pub fn page(asked: &Asked, entries: &[Of<Entry>], links: &Links) -> Page {
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
                                th scope="col" { "From" } th scope="col" { "Before and after" }
                            } }
                            tbody { @for of in entries { (row(of, links, asked.as_of)) } }
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

fn row(of: &Of<Entry>, links: &Links, now: Timestamp) -> Markup {
    let entry = &of.row;
    html! {
        tr data-key=(entry.no) {
            td { (moment(entry.at, now)) }
            th scope="row" { (words(&entry.action)) }
            td {
                @if let Some(subject) = &entry.subject { (parts::text(subject, 40)) }
                @if let Some(no) = entry.user_no {
                    @match &of.user_id {
                        Some(_) => (parts::user(links, of.user_id.as_ref(), &Query::new())),
                        None => span.muted { "erased user " (no.0) },
                    }
                }
            }
            td { (parts::text(&entry.actor.who, 24)) }
            td.muted title=[entry.actor.request_id.as_ref().map(|id| format!("request {id}"))] {
                @match entry.actor.address { Some(address) => (address.to_string()), None => "this machine" }
            }
            td { (facts("before", entry.before.as_deref())) (facts("after", entry.after.as_deref())) }
        }
    }
}

fn facts(name: &str, json: Option<&str>) -> Markup {
    html! { @if let Some(json) = json { div { span.muted { (name) " " } code { (parts::text(json, 160)) } } } }
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
        "backup.taken" => "Backup taken",
        "store.restored" => "Backup restored",
        "webhook.created" => "Webhook added",
        "webhook.changed" => "Webhook changed",
        "webhook.deleted" => "Webhook removed",
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

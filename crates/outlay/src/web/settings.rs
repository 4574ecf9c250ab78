//! Keys, the card to embed, and what runs here.

use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::month::Timestamp;
use outlay_core::plan::{AlertThresholds, Meter};

use super::links::{Links, Query, encoded};
use super::telling::Told;
use super::{Page, Section, Viewer, format, parts, telling};
use crate::config::Presentation;
use crate::store::StoreStatus;
use crate::store::records::{KeyRecord, Role};

/// What the page shows.
#[derive(Debug)]
pub struct View {
    /// All keys; none where they may not be seen.
    pub keys: Option<Vec<Arc<KeyRecord>>>,
    /// Who is told.
    pub told: Told,
    /// A key that was just made, shown this once.
    pub made: Option<String>,
    /// What is wrong with a form.
    pub error: Option<String>,
    /// The words and links of the configuration.
    pub presentation: Presentation,
    /// The server's address as browsers know it.
    pub base: String,
    /// The origins whose pages may read with a token; none is any.
    pub allowed_origins: Vec<String>,
    /// What the store says of itself.
    pub status: StoreStatus,
    /// Commands that wait to be written.
    pub waiting: usize,
    /// The user whose card is shown, and their budget as the API shows it.
    pub card: Option<(String, String)>,
    /// The plan of who has none.
    pub default_plan: String,
    /// At what percentages of a limit alerts are raised.
    pub alerts: AlertThresholds,
    /// For how many days operations keep their details; none is for ever.
    pub keep_details_days: Option<u32>,
    /// Whether no key is needed.
    pub open: bool,
    /// Now.
    pub as_of: Timestamp,
}

/// Draws it.
pub fn page(view: &View, links: &Links, viewer: Viewer) -> Page {
    Page {
        section: Some(Section::Settings),
        title: "Settings".to_owned(),
        heading: html! { h1 { "Settings" } },
        stepper: None,
        main: html! {
            @if let Some(webhooks) = &view.told.webhooks { (telling::section(&view.told, webhooks, view.as_of, links)) }
            @if let Some(keys) = &view.keys { (key_list(view, keys, links)) }
            (card(view, links))
            div.columns { (words(view)) (system(view, links)) }
        },
        as_of: Some(view.as_of),
        csv: None,
        json: viewer.is_admin().then(|| links.to("v1/keys", &Query::new())),
        user_id: None,
    }
}

fn key_list(view: &View, keys: &[Arc<KeyRecord>], links: &Links) -> Markup {
    html! {
        section.panel #keys aria-labelledby="keys-title" {
            header { h2 #keys-title { "Keys" } @if view.open { span.mark { "This server is open: it asks for none" } } a href=(links.to("audit", &Query::new())) { "Audit log" } }
            @if let Some(key) = &view.made { p.done role="status" { "The new key, shown this once:" } (parts::secret(key)) }
            @if keys.is_empty() { (parts::nothing("No key yet.")) }
            @else {
                div.scroll tabindex="0" role="group" aria-label="The list of keys" {
                    table.rows {
                        thead { tr { th scope="col" { "Key" } th scope="col" { "Role" } th scope="col" { "For" } th.n scope="col" { "Made" } th.n scope="col" { "Ends" } th scope="col" { span.said { "Revoke" } } } }
                        tbody { @for key in keys.iter().rev() { (key_row(key, view.as_of, links)) } }
                    }
                }
            }
            details #new-key open[view.error.is_some()] {
                summary { "Make a key" }
                form.filters method="post" action=(links.to("settings/keys", &Query::new())) {
                    label { span { "Role" } select name="role" { @for role in Role::ALL { option value=(role.as_str()) { (role.as_str()) } } } }
                    label { span { "For" } input name="description" maxlength="256" autocomplete="off" placeholder="what it is for"; }
                    label { span { "Ends on" } input type="date" name="expires"; }
                    button.primary type="submit" { "Make it" }
                    @if let Some(error) = &view.error { p.error role="alert" { (error) } }
                }
                p.small { "A viewer reads; app also records, holds and makes user tokens; admin may do all. Only a digest is kept." }
            }
        }
    }
}

fn key_row(key: &KeyRecord, now: Timestamp, links: &Links) -> Markup {
    let ended = key.revoked_at.is_some() || key.expires_at.is_some_and(|end| end <= now);
    html! {
        tr class=[ended.then_some("muted")] {
            th scope="row" { code { (key.role.key_prefix()) "…" (key.last4) } }
            td { (key.role.as_str()) }
            td { (parts::text(&key.description, 48)) }
            td.n { (parts::moment(key.created_at, now)) }
            td.n {
                @match (key.revoked_at, key.expires_at) {
                    (Some(at), _) => { "revoked " (parts::moment(at, now)) },
                    (None, Some(at)) => (parts::moment(at, now)),
                    (None, None) => "never",
                }
            }
            td.n {
                @if !ended {
                    form.inline method="post" action=(links.to(&format!("settings/keys/{}/revoke", encoded(&key.id)), &Query::new())) {
                        button.danger type="submit" aria-label={ "Revoke the key that ends in " (key.last4) } { "Revoke" }
                    }
                }
            }
        }
    }
}

fn card(view: &View, links: &Links) -> Markup {
    let (user, budget) = view.card.as_ref().map_or(("", None), |(user, budget)| (user.as_str(), Some(budget)));
    let snippet = format!(
        "<script type=\"module\"\n  src=\"{base}/card.js\"></script>\n\n<outlay-budget-card\n  src=\"{base}\"\n  user-id=\"{}\"\n  token-url=\"/your/token/route\"></outlay-budget-card>",
        if user.is_empty() { "USER" } else { user },
        base = view.base
    );
    html! {
        section.panel #card-to-embed aria-labelledby="card-title" {
            header { h2 #card-title { "The budget card in your own pages" } }
            div.columns {
                div.snippet {
                    pre tabindex="0" { code { (snippet) } }
                    p.small { "The token route is yours: it asks for " code { "POST /v1/users/{userId}/tokens" } " with the application's key, and answers " code { "{\"token\"}" } "." }
                    form.filters action=(links.to("settings", &Query::new())) {
                        label { span { "Preview for the user" } input name="card" value=(user) maxlength="128" autocomplete="off" spellcheck="false" placeholder="user id"; }
                        button type="submit" { "Show" }
                    }
                }
                @if let Some(budget) = budget { outlay-budget-card data-budget=(budget) { p.nothing { "The preview needs a script." } } }
                @else { p.nothing { "Name a user to see their card." } }
            }
        }
    }
}

fn words(view: &View) -> Markup {
    let fact = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
    html! {
        section.panel aria-labelledby="words" {
            header { h2 #words { "Set by configuration" } }
            dl.pairs {
                (fact("Alerts at", html! {
                    (format::thresholds(view.alerts.all))
                    @for (plan, thresholds) in &view.alerts.plans { "; " (parts::text(plan.as_str(), 40)) ": " (format::thresholds(*thresholds)) }
                }))
                (fact("Default plan", parts::text(&view.default_plan, 40)))
                @for meter in Meter::ALL { (fact(format::meter(meter), html! { "“" (view.presentation.labels.get(meter)) "”" @if *view.presentation.few_left.get(meter) > 0 { ", warns from " (view.presentation.few_left.get(meter)) " left" } })) }
                (fact("Details of operations", html! { @match view.keep_details_days { Some(days) => { "kept for " (days) " days, then emptied" }, None => "kept for ever" } }))
                (fact("Upgrade link", html! { @match &view.presentation.upgrade_url { Some(url) => (parts::text(url, 48)), None => "none" } }))
                (fact("Public address", html! { @match &view.presentation.public_url { Some(url) => (parts::text(url, 48)), None => "not set" } }))
                (fact("Pages that may read with a token", html! { @if view.allowed_origins.is_empty() { "of any origin" } @else { (view.allowed_origins.join(", ")) } }))
            }
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a disk's bytes, as a gauge has them")]
fn whole_bytes(gauge: f64) -> u64 {
    gauge.max(0.0) as u64
}

fn system(view: &View, links: &Links) -> Markup {
    let status = &view.status;
    let free =
        status.gauges.iter().find(|(name, ..)| *name == "store_free_bytes").map(|(_, _, free)| whole_bytes(*free));
    let fact = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
    html! {
        section.panel aria-labelledby="system" {
            header { h2 #system { "System" } a href=(links.to("metrics", &Query::new())) { "All figures" } }
            dl.pairs #live-system data-live {
                (fact("Version", html! { (env!("CARGO_PKG_VERSION")) }))
                (fact("Store", html! { @match &status.not_ready { None => { "Ready: " (status.promise) }, Some(_) => strong.error { "Takes no writes; the log says why" } } }))
                (fact("Operations", html! { (format::count(status.operations.into()))
                    @if status.trimmed > 0 { ", of which " (format::count(status.trimmed.into())) " are emptied" @if let Some(before) = status.trimmed_before { ": recorded before " (parts::moment(before, view.as_of)) } }
                }))
                (fact("Users", html! { a href=(links.to("users", &Query::new())) { (format::count(status.users.into())) } }))
                (fact("Sessions", html! { a href=(links.to("sessions", &Query::new())) { (format::count(status.sessions.into())) } }))
                (fact("Waiting to be written", html! { (format::count(i128::try_from(view.waiting).unwrap_or(0))) }))
                @if let Some(free) = free { (fact("Free disk space", html! { (format::bytes(free)) @if status.space_short { " " strong.error { "too little for new sessions" } } })) }
                (fact("Clock", html! { @if status.clock_jump { "A forward jump is not believed yet" } @else { "Steady" } }))
            }
            p.small { code { "outlay verify" } " adds every operation up again and compares." }
        }
    }
}

//! What can be changed of one user: plan and limits, tokens, and erasing.

use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::alert::AlertKey;
use outlay_core::budget::Budget;
use outlay_core::id::UserId;
use outlay_core::month::Timestamp;
use outlay_core::plan::{Meter, Plans};

use super::frame::crumbs;
use super::links::{Links, Query, user_path};
use super::parts;
use super::{Page, Section, Viewer, format};

/// What a change of a user would do.
#[derive(Debug)]
pub struct Preview {
    /// The budget as it is.
    pub before: Budget,
    /// As it would be.
    pub after: Budget,
    /// The alerts that it would raise.
    pub raised: Vec<AlertKey>,
}

/// The form for plan and limits.
#[derive(Debug)]
pub struct SettingsView {
    /// Whose.
    pub user_id: UserId,
    /// The plans that there are.
    pub plans: Arc<Plans>,
    /// The chosen plan; empty follows the default.
    pub plan: String,
    /// The address.
    pub email: String,
    /// What stands in the fields of the limits; empty follows the plan.
    pub typed: [String; 3],
    /// What is wrong.
    pub errors: Vec<String>,
    /// What it would do.
    pub preview: Option<Preview>,
    /// Whether the plan's limits are those of `plan` at this instant.
    pub as_of: Timestamp,
}

fn framed(user_id: &UserId, title: &str, links: &Links, as_of: Option<Timestamp>, main: Markup) -> Page {
    Page {
        section: Some(Section::Users),
        title: format!("{title} · {}", format::shortened(user_id.as_str(), 40)),
        heading: html! {
            (crumbs(&[html! { a href=(links.to("users", &Query::new())) { "Users" } }, parts::user(links, Some(user_id), &Query::new())]))
            h1 { (title) }
        },
        stepper: None,
        main,
        as_of,
        csv: None,
        json: None,
        user_id: Some(user_id.clone()),
    }
}

/// Draws the form for plan and limits.
pub fn settings_page(view: &SettingsView, links: &Links) -> Page {
    let action = links.to(&format!("{}/settings", user_path(&view.user_id)), &Query::new());
    let default = view.plans.default_plan();
    let main = html! {
        section.panel aria-labelledby="form" {
            header { h2 #form { "Of " (parts::text(view.user_id.as_str(), 48)) } }
            form.stacked method="post" action=(action) {
                div.filters {
                    label { span { "Plan" }
                        select name="plan" {
                            option value="" selected[view.plan.is_empty()] { "Default (" (default) ")" }
                            @for plan in view.plans.all() { option value=(plan.name) selected[plan.name.as_str() == view.plan] { (plan.name) } }
                        }
                    }
                    label { span { "E-mail" } input type="email" name="email" value=(view.email) maxlength="254" autocomplete="off"; }
                }
                fieldset {
                    legend { "Limits of their own" }
                    div.filters {
                        @for (meter, typed) in Meter::ALL.into_iter().zip(&view.typed) {
                            label { span { (format::meter(meter)) @if meter == Meter::Cost { " (USD)" } } input name=(meter) value=(typed) placeholder="as the plan" autocomplete="off"; }
                        }
                    }
                    p.small { "Empty follows the plan; a number; or " code { "unlimited" } ". 0 allows nothing." }
                }
                @for error in &view.errors { p.error role="alert" { (error) } }
                @if let Some(preview) = &view.preview { (previewed(preview)) }
                div.actions {
                    button type="submit" name="do" value="preview" { "Preview" }
                    @if view.preview.is_some() { button.primary type="submit" name="do" value="save" { "Save" } }
                }
            }
        }
    };
    framed(&view.user_id, "Plan and limits", links, Some(view.as_of), main)
}

fn previewed(preview: &Preview) -> Markup {
    let held_beyond: Vec<&str> = Meter::ALL
        .into_iter()
        .filter(|meter| {
            let after = preview.after.meters.get(*meter);
            after.held > 0 && after.limit.is_some_and(|limit| after.used.saturating_add(after.held) > limit)
        })
        .map(format::meter)
        .collect();
    html! {
        div.scroll tabindex="0" role="group" aria-label="Before and after" {
            table.rows {
                thead { tr { th scope="col" { "This month" } th.n scope="col" { "Used" } th.n scope="col" { "Held" } th.n scope="col" { "Limit now" } th.n scope="col" { "Limit then" } th scope="col" { "Now" } th scope="col" { "Then" } } }
                tbody {
                    @for meter in Meter::ALL {
                        @let (before, after) = (preview.before.meters.get(meter), preview.after.meters.get(meter));
                        tr {
                            th scope="row" { (format::meter(meter)) }
                            td.n { (format::amount(meter, before.used)) } td.n { (format::amount(meter, before.held)) }
                            td.n { (format::limit(meter, before.limit)) } td.n { strong { (format::limit(meter, after.limit)) } }
                            td { (parts::state(before.state())) } td { (parts::state(after.state())) }
                        }
                    }
                }
            }
        }
        @if preview.raised.is_empty() { p.small { "It raises no alert." } }
        @else { p { "It raises an alert: " @for (at, key) in preview.raised.iter().enumerate() { @if at > 0 { ", " } (format::meter(key.meter)) " at " (key.threshold) "%" } "." } }
        @if !held_beyond.is_empty() { p { "What open sessions hold would not fit any more on " (held_beyond.join(", ")) ". They go on; new ones are refused." } }
    }
}

/// A token that was just made, shown this once.
#[derive(Debug)]
pub struct Made {
    /// The token.
    pub token: String,
    /// Until when it is good.
    pub expires_at: Timestamp,
    /// When it was made.
    pub made_at: Timestamp,
}

/// Draws the form that makes a token, and the token; and what ends all of them, for those who may. `ended` says that it was done.
pub fn token_page(
    user_id: &UserId,
    made: Option<&Made>,
    ended: bool,
    page_address: &str,
    links: &Links,
    viewer: Viewer,
) -> Page {
    let action = links.to(&format!("{}/token", user_path(user_id)), &Query::new());
    let main = html! {
        @if let Some(made) = made {
            section.panel aria-labelledby="made" {
                header { h2 #made { "The token, shown this once" } span.muted { "good until " (parts::moment(made.expires_at, made.made_at)) " UTC" } }
                (parts::secret(&made.token))
                p.small.apart { "Their own page, with the token in it:" }
                (parts::secret(&format!("{page_address}#t={}", made.token)))
            }
        }
        section.panel aria-labelledby="form" {
            header { h2 #form { "A token for " (parts::text(user_id.as_str(), 48)) } }
            form.stacked method="post" action=(action) {
                label { span { "Good for" }
                    select name="ttl" { option value="3600" { "1 hour" } option value="28800" { "8 hours" } option value="86400" { "24 hours" } }
                }
                fieldset {
                    legend { "Reads" }
                    p.small { "Budget, history totals, forecast and events, always." }
                    label.check { input type="checkbox" name="sessions" value="true"; " Sessions too" }
                    label.check { input type="checkbox" name="usage" value="true"; " Operations, and history by feature too" }
                }
                p.small { "Let it be short. It never reads metadata, providers or models." }
                button.primary type="submit" { "Make a token" }
            }
        }
        @if viewer.is_admin() {
            section.panel aria-labelledby="end" {
                header { h2 #end { "End all tokens" } }
                @if ended { p.done role="status" { "All tokens that were made until now are ended." } }
                form.stacked method="post" action=(links.to(&format!("{}/token/end", user_path(user_id)), &Query::new())) {
                    p { "Every token of this user that was made until now opens nothing any more, as when a device was lost. Tokens made later are not touched." }
                    button.danger type="submit" { "End them" }
                }
            }
        }
    };
    framed(user_id, "Tokens", links, None, main)
}

/// Draws the form that erases.
pub fn erase_page(user_id: &UserId, error: Option<&str>, links: &Links) -> Page {
    let action = links.to(&format!("{}/erase", user_path(user_id)), &Query::new());
    let main = html! {
        section.panel aria-labelledby="form" {
            header { h2 #form { (parts::text(user_id.as_str(), 48)) } }
            form.stacked method="post" action=(action) {
                p { "All that names this person goes: id, address, operations' ids, metadata, sessions, denials and alerts. The anonymous sums stay. This cannot be undone." }
                p { a href=(links.to(&format!("v1/{}/export", user_path(user_id)), &Query::new())) { "Export everything first" } }
                label { span { "Type the id to confirm" } input name="confirm" required autocomplete="off" spellcheck="false" aria-describedby=[error.map(|_| "wrong")]; }
                @if let Some(error) = error { p.error #wrong role="alert" { (error) } }
                button.danger type="submit" { "Erase" }
            }
        }
    };
    framed(user_id, "Erase", links, None, main)
}

//! The plans side by side, and what a change of one would do.

use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::id::Name;
use outlay_core::month::Timestamp;
use outlay_core::plan::{Limit, Limits, Meter, Plan, Plans};

use super::links::{Links, Query, encoded};
use super::parts;
use super::{Page, Section, Viewer, format};

/// What a change of a plan would do.
#[derive(Debug)]
pub struct Preview {
    /// Its limits as they would be.
    pub limits: Limits,
    /// How many of its users are in each state now.
    pub now: [u64; 4],
    /// How many would be.
    pub then: [u64; 4],
}

/// A plan that is being changed.
#[derive(Debug)]
pub struct Editing {
    /// Which.
    pub name: Name,
    /// What stands in the fields, in the order of the meters.
    pub typed: [String; 3],
    /// What is wrong with them.
    pub errors: Vec<String>,
    /// What it would do.
    pub preview: Option<Preview>,
}

/// What the page shows.
#[derive(Debug)]
pub struct View {
    /// The plans that hold.
    pub plans: Arc<Plans>,
    /// How many users each plan holds for, in the plans' order.
    pub users: Vec<u64>,
    /// Whether they stand in the configuration.
    pub are_configured: bool,
    /// The one that is being changed.
    pub editing: Option<Editing>,
    /// The instant that it is of.
    pub as_of: Timestamp,
}

/// What stands in the field of a limit: nothing follows what is above, `unlimited`, or a number.
pub fn typed(meter: Meter, limit: Limit) -> String {
    match limit {
        None => "unlimited".to_owned(),
        Some(limit) if meter == Meter::Cost => outlay_core::money::Usd::from_picos(limit).to_string(),
        Some(limit) => limit.to_string(),
    }
}

/// Draws it.
pub fn page(view: &View, links: &Links, viewer: Viewer) -> Page {
    Page {
        section: Some(Section::Plans),
        title: "Plans".to_owned(),
        heading: html! { h1 { "Plans" } @if view.are_configured { span.mark { "Set by configuration" } } },
        stepper: None,
        main: html! {
            section.panel aria-label="Plans" {
                div.scroll tabindex="0" role="group" aria-label="Plans side by side" {
                    table.rows.plans {
                        thead { tr { th scope="col" { "Each month" } @for plan in view.plans.all() { (head(plan, view, links, viewer)) } } }
                        tbody {
                            @for meter in Meter::ALL {
                                tr {
                                    th scope="row" { (format::meter(meter)) }
                                    @for plan in view.plans.all() {
                                        @let limit = *plan.limits.get(meter);
                                        td.n class=[limit.is_none_or(|limit| limit == 0).then_some("n muted")] { (format::limit(meter, limit)) }
                                    }
                                }
                            }
                            tr {
                                th scope="row" { "Alerts at" }
                                @for plan in view.plans.all() { td.n { (format::thresholds(view.plans.thresholds_of(&plan.name))) } }
                            }
                            tr {
                                th scope="row" { "Users" }
                                @for (plan, users) in view.plans.all().iter().zip(&view.users) {
                                    td.n { a href=(links.to("users", &Query::new().with("plan", &plan.name))) { (format::count((*users).into())) } }
                                }
                            }
                        }
                    }
                }
                p.small { "In tier order. A plan change applies at once; what was used stays used. Limits of a user's own stand above those of the plan." }
            }
            @if let Some(editing) = &view.editing { (edit(editing, view, links, viewer)) }
        },
        as_of: Some(view.as_of),
        csv: None,
        json: Some(links.to("v1/plans", &Query::new())),
        user_id: None,
    }
}

fn head(plan: &Plan, view: &View, links: &Links, viewer: Viewer) -> Markup {
    let edits = viewer.is_admin();
    html! {
        th.n scope="col" {
            span.plan-name { (parts::text(plan.name.as_str(), 24)) }
            @if plan.name == *view.plans.default_plan() { " " span.mark { "default" } }
            @if edits { a href=(format!("{}#edit", links.to("plans", &Query::new().with("edit", &plan.name)))) aria-label={ @if view.are_configured { "Preview" } @else { "Edit" } " " (plan.name) } { @if view.are_configured { "Preview" } @else { "Edit" } } }
        }
    }
}

fn edit(editing: &Editing, view: &View, links: &Links, viewer: Viewer) -> Markup {
    if !viewer.is_admin() {
        return html! {};
    }
    let action = links.to(&format!("plans/{}", encoded(editing.name.as_str())), &Query::new());
    html! {
        section.panel #edit aria-labelledby="edit-title" {
            header { h2 #edit-title { "Change " (parts::text(editing.name.as_str(), 40)) } a href=(links.to("plans", &Query::new())) { "Cancel" } }
            form.stacked method="post" action=(action) {
                div.filters {
                    @for (meter, typed) in Meter::ALL.into_iter().zip(&editing.typed) {
                        label { span { (format::meter(meter)) @if meter == Meter::Cost { " (USD)" } } input name=(meter) value=(typed) required autocomplete="off" inputmode="decimal"; }
                    }
                }
                p.small { "A number, or " code { "unlimited" } "; 0 allows nothing." }
                @for error in &editing.errors { p.error role="alert" { (error) } }
                @if let Some(preview) = &editing.preview { (previewed(preview)) }
                div.actions {
                    button type="submit" name="do" value="preview" { "Preview" }
                    @if !view.are_configured && editing.preview.is_some() { button.primary type="submit" name="do" value="save" { "Save" } }
                }
            }
        }
    }
}

fn previewed(preview: &Preview) -> Markup {
    let words = ["OK", "at warning", "at critical", "at their limit"];
    html! {
        div.scroll tabindex="0" role="group" aria-label="What it would do" {
            table.rows {
                thead { tr { th scope="col" { "Users of this plan" } @for word in words { th.n scope="col" { (word) } } } }
                tbody {
                    tr { th scope="row" { "Now" } @for count in preview.now { td.n { (format::count(count.into())) } } }
                    tr { th scope="row" { "With these limits" } @for count in preview.then { td.n { strong { (format::count(count.into())) } } } }
                }
            }
        }
    }
}

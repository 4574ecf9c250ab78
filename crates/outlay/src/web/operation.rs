//! One operation, whole.

use maud::{Markup, html};
use outlay_core::id::UserId;
use outlay_core::month::Timestamp;
use outlay_core::operation::Operation;

use super::frame::crumbs;
use super::links::{Links, Query};
use super::parts;
use super::{Page, Section, format};

/// What an operation's page shows.
#[derive(Debug)]
pub struct View {
    /// Whose.
    pub user_id: UserId,
    /// Which.
    pub operation: Operation,
    /// Now.
    pub as_of: Timestamp,
}

/// Draws an operation, whole.
pub fn page(view: &View, links: &Links) -> Page {
    let View { user_id, operation, as_of } = view;
    let fact = |name: &str, value: Markup| html! { div { dt { (name) } dd { (value) } } };
    Page {
        section: Some(Section::Users),
        title: format!("Operation {}", format::shortened(operation.operation_id.as_str(), 40)),
        heading: html! {
            (crumbs(&[html! { a href=(links.to("users", &Query::new())) { "Users" } }, parts::user(links, Some(user_id), &Query::new())]))
            (parts::heading(operation.operation_id.as_str()))
        },
        stepper: None,
        main: html! {
            section.panel aria-label="Operation" {
                dl.sheet {
                    (fact("User", parts::user(links, Some(user_id), &Query::new().with("month", operation.month()))))
                    (fact("Time", parts::moment(operation.timestamp, *as_of)))
                    (fact("Cost", parts::exact(operation.cost)))
                    (fact("Type", html! { (format::usage_type(operation.usage_type)) @if operation.is_billable_run { " " (parts::billable()) } (parts::trimmed(operation)) }))
                    (fact("Feature", parts::text(operation.feature.as_str(), 128)))
                    (fact("Provider", parts::text(operation.provider.as_str(), 128)))
                    @if let Some(model) = &operation.model { (fact("Model", parts::text(model.as_str(), 128))) }
                    @if let Some((_, session_id)) = &operation.session { (fact("Session", parts::session(links, Some(user_id), session_id))) }
                    @if let Some(label) = &operation.step_label { (fact("Step", parts::text(label.as_str(), 128))) }
                    @if let Some(tokens) = operation.tokens {
                        (fact("Tokens", html! { (format::count(tokens.input.into())) " in (" (format::count(tokens.cached_input.into())) " cached), " (format::count(tokens.output.into())) " out (" (format::count(tokens.reasoning.into())) " reasoning)" }))
                    }
                    @for (name, quantity) in operation.units.iter().flat_map(|units| units.iter()) { (fact("Units", html! { (quantity) " " (parts::text(name.as_str(), 40)) })) }
                    @if let Some(millis) = operation.duration_ms { (fact("Took", html! { (format::duration(millis)) })) }
                    (fact("Recorded", parts::moment(operation.recorded_at, *as_of)))
                    (fact("Recorded in", html! { (operation.recorded_in().as_str()) }))
                    @if let Some((_, id)) = &operation.reverses { (fact("Reverses", parts::operation(links, user_id, id))) }
                    @if let Some((_, id)) = &operation.reversed_by { (fact("Reversed by", parts::operation(links, user_id, id))) }
                    @if let Some(reason) = &operation.reason { (fact("Reason", parts::text(reason.as_str(), 256))) }
                }
                @if operation.trimmed { p.small { "Its tokens, units, step, duration, metadata and reason were emptied: it is older than details are kept. What it cost and counted stays, and days and months still have its tokens." } }
                @if let Some(metadata) = &operation.metadata { h2 { "Metadata" } (parts::json(metadata)) }
            }
        },
        as_of: Some(*as_of),
        csv: None,
        json: None,
        user_id: Some(user_id.clone()),
    }
}

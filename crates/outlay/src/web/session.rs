//! One session: what it held, and its steps as they came.

use maud::{Markup, PreEscaped, html};
use outlay_core::id::UserId;
use outlay_core::month::Timestamp;
use outlay_core::operation::Operation;
use outlay_core::plan::{Meter, PerMeter};
use outlay_core::session::{Ask, Session, SessionStatus};

use super::frame::crumbs;
use super::links::{Links, Query, encoded, user_path};
use super::parts::{self, nothing, tenths, thousandths};
use super::{Page, Section, format};

/// Steps of a page.
pub const STEPS: usize = 200;

/// What the page shows.
#[derive(Debug)]
pub struct View {
    /// Whose.
    pub user_id: UserId,
    /// Which.
    pub session: Session,
    /// Its steps, in order of recording.
    pub steps: Vec<Operation>,
    /// The cursor of the next steps.
    pub next: Option<String>,
    /// Now.
    pub as_of: Timestamp,
}

/// Draws it.
pub fn page(view: &View, links: &Links) -> Page {
    let path = format!("{}/sessions/{}", user_path(&view.user_id), encoded(view.session.session_id.as_str()));
    let next = view.next.as_ref().map(|cursor| links.to(&path, &Query::new().with("stepsCursor", cursor)));
    Page {
        section: Some(Section::Sessions),
        title: format!("Session {}", format::shortened(view.session.session_id.as_str(), 40)),
        heading: html! {
            (crumbs(&[html! { a href=(links.to("sessions", &Query::new())) { "Sessions" } }, parts::user(links, Some(&view.user_id), &Query::new())]))
            (parts::heading(view.session.session_id.as_str()))
        },
        stepper: None,
        main: html! {
            (about(view))
            @if view.session.hold.is_some() { (hold(&view.session)) }
            section.panel aria-labelledby="steps" {
                header { h2 #steps { "Steps" } span.muted { (format::plural(view.session.steps, "step", "steps")) } }
                div #live-steps data-live {
                    @if view.steps.is_empty() { (nothing("No step yet.")) }
                    @else { ol.flow { @for (at, step) in view.steps.iter().enumerate() { (flow_step(view, at, step, links)) } } }
                    (parts::pager(None, next))
                }
            }
            @if view.steps.iter().any(|step| step.duration_ms.is_some()) {
                section.panel aria-labelledby="durations" {
                    header { h2 #durations { "Durations" } }
                    div #live-durations data-live { (waterfall(&view.steps)) }
                }
            }
            @if let Some(metadata) = &view.session.metadata {
                section.panel aria-labelledby="metadata" { header { h2 #metadata { "Metadata" } } (parts::json(metadata)) }
            }
        },
        as_of: Some(view.as_of),
        csv: Some(links.to(&format!("{path}/steps.csv"), &Query::new())),
        json: Some(links.to(&format!("v1/{path}"), &Query::new())),
        user_id: Some(view.user_id.clone()),
    }
}

fn about(view: &View) -> Markup {
    let session = &view.session;
    let is_fallback = session.hold.as_ref().is_some_and(outlay_core::session::Hold::is_fallback);
    let choice = session.hold.as_ref().and_then(|hold| hold.choice.as_ref());
    html! {
        section #about .facts data-live aria-label="About the session" {
            dl {
                div { dt { "Status" } dd { (parts::status(session.status)) @if session.budget_exceeded { " " span.mark { "over the limit" } } } }
                div { dt { "Feature" } dd { (parts::text(session.feature.as_str(), 40)) } }
                @if let Some(choice) = choice { div { dt { "Choice" } dd { (parts::text(choice.as_str(), 40)) @if is_fallback { " " span.mark title="What was asked for first did not fit" { "fallback" } } } } }
                div { dt { "Cost" } dd { strong { (format::usd_exact(session.total_cost)) } } }
                div { dt { "Runs" } dd { (format::plural(u64::try_from(session.total_runs).unwrap_or(0), "run", "runs")) } }
                div { dt { "Started" } dd { (parts::moment(session.created_at, view.as_of)) } }
                @match session.completed_at {
                    Some(at) => div { dt { "Took" } dd { (format::duration(format::millis_between(session.created_at, at))) } },
                    None => @if let Some(due) = session.due {
                        div { dt { @if session.hold.is_some() { "Hold ends" } @else { "Abandoned from" } } dd { @if session.hold.is_some() { (parts::until(due)) } @else { (parts::moment(due, view.as_of)) } } }
                    },
                }
                @if let Some(error) = &session.error { div { dt { "Error" } dd { (parts::text(error.as_str(), 80)) } } }
            }
        }
    }
}

/// What was held against what was used of it, meter by meter.
fn hold(session: &Session) -> Markup {
    let Some(hold) = &session.hold else { return html! {} };
    let is_open = session.status == SessionStatus::InProgress;
    let over = session.overdraft;
    let used: PerMeter<i64> = PerMeter::from_fn(|meter| hold.drawn.get(meter).saturating_add(*over.get(meter)));
    html! {
        section.panel aria-labelledby="hold" {
            header { h2 #hold { "What it held" } span.muted { @if is_open { "open" } @else { "given back" } } }
            div #live-hold data-live {
                div.scroll tabindex="0" role="group" aria-label="Held against used" {
                    table.rows {
                        thead { tr { th scope="col" { "Meter" } th.n scope="col" { "Held" } th.n scope="col" { "Used" } th scope="col" { "Share" } th.n scope="col" { @if is_open { "Left" } @else { "Given back" } } th.n scope="col" { "Beyond the hold" } } }
                        tbody {
                            @for (meter, total) in hold.total.iter().filter(|(meter, total)| **total > 0 || *used.get(*meter) != 0) {
                                @let amount = |amount: i64| if meter == Meter::Cost { format::usd_exact(outlay_core::money::Usd::from_picos(amount).into()) } else { format::count(amount.into()) };
                                tr {
                                    th scope="row" { (format::meter(meter)) }
                                    td.n { (amount(*total)) } td.n { (amount(*used.get(meter))) }
                                    td { span.gauge { (parts::share(thousandths((*hold.drawn.get(meter)).into(), (*total).into()))) } }
                                    td.n { (amount(*hold.left().get(meter))) }
                                    td.n { @if *over.get(meter) > 0 { strong { (amount(*over.get(meter))) } } @else { span.muted { "–" } } }
                                }
                            }
                        }
                    }
                }
                @if let Ask::Choices(choices) = &hold.ask {
                    p.small { "Asked for, the best first: "
                        @for (at, choice) in choices.iter().enumerate() { @if at > 0 { ", " } @if Some(&choice.name) == hold.choice.as_ref() { strong { (parts::text(choice.name.as_str(), 28)) } } @else { (parts::text(choice.name.as_str(), 28)) } }
                    }
                }
            }
        }
    }
}

fn flow_step(view: &View, at: usize, step: &Operation, links: &Links) -> Markup {
    let before = at.checked_sub(1).and_then(|at| view.steps.get(at));
    let number = step.step_number.unwrap_or_else(|| i64::try_from(step.step_position).unwrap_or(i64::MAX));
    let is_late = view.session.completed_at.is_some_and(|end| step.recorded_at > end);
    let label = step.step_label.as_ref().map_or(step.feature.as_str(), outlay_core::id::Label::as_str);
    html! {
        li class=[step.is_billable_run.then_some("billable")] data-key=(step.operation_id.as_str()) {
            div.step-head { span.number { (number) } strong { (parts::breakable(label, 40)) } }
            p.small { (format::usage_type(step.usage_type)) " · " (parts::text(step.provider.as_str(), 28)) @if let Some(model) = &step.model { ", " (parts::text(model.as_str(), 28)) } }
            p.step-cost {
                (parts::exact(step.cost))
                @if step.is_billable_run { (parts::billable()) }
                @if is_late { span.mark { "late" } }
                @if step.reversed_by.is_some() { span.mark { "reversed" } }
                @if step.reverses.is_some() { span.mark { "reversal" } }
                (parts::trimmed(step))
            }
            p.small {
                @if let Some(before) = before { span title="After the step before" { (format::duration(format::millis_between(before.timestamp, step.timestamp))) " later" } }
                @else { (parts::moment(step.timestamp, view.as_of)) }
            }
            details id={ "step-" (step.no.0) } {
                summary { "Details" }
                p { (parts::operation(links, &view.user_id, &step.operation_id)) }
                @if let Some(metadata) = &step.metadata { (parts::json(metadata)) }
            }
        }
    }
}

/// When each step ran, from its duration and the instant of its end.
fn waterfall(steps: &[Operation]) -> Markup {
    let spans: Vec<(i128, i128)> = steps
        .iter()
        .map(|step| {
            let end = step.timestamp.nanos() / 1_000_000;
            (end - i128::from(step.duration_ms.unwrap_or(0)), end)
        })
        .collect();
    let first = spans.iter().map(|(start, _)| *start).min().unwrap_or(0);
    let last = spans.iter().map(|(_, end)| *end).max().unwrap_or(0);
    let part = |millis: i128| thousandths(millis, (last - first).max(1));
    html! {
        ul.waterfall {
            @for (step, (start, end)) in steps.iter().zip(&spans) {
                li {
                    (parts::text(step.step_label.as_ref().map_or(step.feature.as_str(), outlay_core::id::Label::as_str), 28))
                    (PreEscaped(format!(
                        r#"<svg aria-hidden="true"><rect class="s0" x="{}%" width="{}%" height="100%"/></svg>"#,
                        tenths(part(start - first)), tenths(part(end - start).max(4)))))
                    span.n { @match step.duration_ms { Some(millis) => (format::duration(millis)), None => span.muted { "–" } } }
                }
            }
        }
    }
}

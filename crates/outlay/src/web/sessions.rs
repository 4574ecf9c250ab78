//! The list of sessions: those that are open, and all, newest first.

use maud::{Markup, html};
use outlay_core::month::Timestamp;
use outlay_core::session::{Session, SessionStatus};

use super::links::{Links, Query};
use super::parts::{self, nothing};
use super::{Page, Section, format};
use crate::store::{Of, SessionsQuery};

/// Rows of a page.
pub const ROWS: usize = 50;
/// Open sessions above the list.
pub const OPEN: usize = 20;

/// What the page shows.
#[derive(Debug)]
pub struct View {
    /// What was asked for.
    pub query: SessionsQuery,
    /// The days in the form, as they were typed.
    pub days: (Option<String>, Option<String>),
    /// Everybody's open sessions, where no status was asked for.
    pub open: Vec<Of<Session>>,
    /// The page.
    pub items: Vec<Of<Session>>,
    /// The cursor of the next page.
    pub next: Option<String>,
    /// The instant that it is of.
    pub as_of: Timestamp,
}

impl View {
    fn same(&self) -> Query {
        let query = &self.query;
        Query::new()
            .with_some("status", query.status.map(SessionStatus::as_str))
            .with_some("feature", query.feature.as_ref())
            .with_some("user", query.user_id.as_ref())
            .with_some("from", self.days.0.as_ref())
            .with_some("to", self.days.1.as_ref())
    }

    fn is_filtered(&self) -> bool {
        !self.same().as_str().is_empty()
    }
}

/// Draws it.
pub fn page(view: &View, links: &Links) -> Page {
    let query = &view.query;
    let next = view.next.as_ref().map(|cursor| links.to("sessions", &view.same().with("cursor", cursor)));
    let first = query.page.before.is_some().then(|| links.to("sessions", &view.same()));
    let api = Query::new()
        .with_some("status", query.status.map(SessionStatus::as_str))
        .with_some("feature", query.feature.as_ref())
        .with_some("userId", query.user_id.as_ref())
        .with_some("from", query.from)
        .with_some("to", query.to);
    Page {
        section: Some(Section::Sessions),
        title: "Sessions".to_owned(),
        heading: html! { h1 { "Sessions" } },
        stepper: None,
        main: html! {
            (filters(view, links))
            div #live-open data-live { @if !view.open.is_empty() {
                section.panel aria-labelledby="open" {
                    header { h2 #open { "Open now" } a href=(links.to("sessions", &Query::new().with("status", "in-progress"))) { "All that are open" } }
                    (table(&view.open, links, view.as_of, "Open sessions"))
                }
            } }
            section.panel.flush #list data-live aria-label="Sessions" {
                @if view.items.is_empty() { (nothing("No session is like this.")) } @else { (table(&view.items, links, view.as_of, "The list of sessions")) }
            }
            (parts::pager(first, next))
        },
        as_of: Some(view.as_of),
        csv: Some(links.to("sessions.csv", &view.same())),
        json: Some(links.to("v1/sessions", &api)),
        user_id: query.user_id.clone(),
    }
}

fn filters(view: &View, links: &Links) -> Markup {
    let query = &view.query;
    html! {
        form.filters action=(links.to("sessions", &Query::new())) aria-label="Filter" {
            label { span { "Status" }
                select name="status" {
                    option value="" { "Any status" }
                    @for status in SessionStatus::ALL { option value=(status.as_str()) selected[query.status == Some(status)] { (status.as_str()) } }
                }
            }
            label { span { "Feature" } input name="feature" value=[query.feature.as_ref()] maxlength="128" autocomplete="off" spellcheck="false"; }
            label { span { "User" } input name="user" value=[query.user_id.as_ref()] maxlength="128" autocomplete="off" spellcheck="false"; }
            label.day { span { "From" } input type="date" name="from" value=[view.days.0.as_deref()]; }
            label.day { span { "To" } input type="date" name="to" value=[view.days.1.as_deref()]; }
            button type="submit" { "Filter" }
            @if view.is_filtered() { a href=(links.to("sessions", &Query::new())) { "Clear" } }
        }
    }
}

fn table(sessions: &[Of<Session>], links: &Links, now: Timestamp, label: &str) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label=(label) {
            table.rows {
                thead { tr {
                    th scope="col" { "Session" } th scope="col" { "Status" } th scope="col" { "User" } th scope="col" { "Feature" } th.n scope="col" { "Steps" } th.n scope="col" { "Cost" }
                    th.n scope="col" { "Runs" } th.n scope="col" { "Held" } th.n scope="col" { "Started" } th.n scope="col" { "Took" }
                } }
                tbody { @for of in sessions { (row(of, links, now)) } }
            }
        }
    }
}

fn row(of: &Of<Session>, links: &Links, now: Timestamp) -> Markup {
    let session = &of.row;
    let is_open = session.status == SessionStatus::InProgress;
    html! {
        tr data-key=(session.no.0) {
            th scope="row" { (parts::session(links, of.user_id.as_ref(), &session.session_id)) }
            td { (parts::status(session.status)) }
            td { (parts::user(links, of.user_id.as_ref(), &Query::new())) }
            td { (parts::text(session.feature.as_str(), 26)) }
            td.n { (format::count(session.steps.into())) }
            td.n title=(format::usd_exact(session.total_cost)) { (format::usd_fine(session.total_cost)) }
            td.n { (format::count(session.total_runs.into())) }
            td.n {
                @if is_open && !session.held().is_zero() {
                    span title=[session.due.map(|due| format!("until {due}"))] {
                        (format::usd_fine(session.held().usd().into()))
                        @if let Some(due) = session.due { span.muted { " until " (format::time(due)) } }
                    }
                } @else { span.muted { "–" } }
            }
            td.n { (parts::moment(session.created_at, now)) }
            td.n {
                @match session.completed_at {
                    Some(at) => (format::duration(format::millis_between(session.created_at, at))),
                    None => span.muted { "–" },
                }
            }
        }
    }
}

//! The list of sessions: those that are open, and all, newest first.

use maud::{Markup, html};
use outlay_core::month::Timestamp;
use outlay_core::plan::Meter;
use outlay_core::session::{Session, SessionStatus};

use super::links::{Links, Query};
use super::parts::{self, nothing_matches};
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
                    (table(&view.open, links, view.as_of, true))
                }
            } }
            section.panel #list data-live aria-label="Sessions" {
                @if !view.open.is_empty() { header { h2 { "All" } span.muted { "newest first" } } }
                @if view.items.is_empty() { (nothing_matches("session", view.is_filtered().then(|| links.to("sessions", &Query::new())))) } @else { (table(&view.items, links, view.as_of, query.status == Some(SessionStatus::InProgress))) }
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
                    @for status in SessionStatus::ALL { option value=(status.as_str()) selected[query.status == Some(status)] { (parts::status_word(status)) } }
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

/// Of those that are open, what they hold; of all others, how long they took.
fn table(sessions: &[Of<Session>], links: &Links, now: Timestamp, are_open: bool) -> Markup {
    html! {
        div.scroll tabindex="0" role="group" aria-label=(if are_open { "Open sessions" } else { "The list of sessions" }) {
            table.rows {
                thead { tr {
                    th scope="col" { "Session" } @if !are_open { th scope="col" { "Status" } } th scope="col" { "User" } th scope="col" { "Feature" } th.n scope="col" { "Steps" } th.n scope="col" { "Cost" }
                    th.n scope="col" { "Runs" } @if are_open { th.n scope="col" { "Held" } } th.n scope="col" { "Started" }
                    th.n scope="col" { @if are_open { "Hold ends" } @else { "Took" } }
                } }
                tbody { @for of in sessions { (row(of, links, now, are_open)) } }
            }
        }
    }
}

fn row(of: &Of<Session>, links: &Links, now: Timestamp, is_open: bool) -> Markup {
    let session = &of.row;
    let due = session.due.filter(|_| session.hold.is_some() && !session.held().is_zero());
    html! {
        tr data-key=(session.no.0) {
            th scope="row" { (parts::session(links, of.user_id.as_ref(), &session.session_id)) }
            @if !is_open { td { (parts::status(session.status)) } }
            td { (parts::user(links, of.user_id.as_ref(), &Query::new())) }
            td { (parts::text(session.feature.as_str(), 26)) }
            td.n { (format::count(session.steps.into())) }
            td.n title=(format::usd_exact(session.total_cost)) { (format::usd_fine(session.total_cost)) }
            td.n { (format::count(session.total_runs.into())) }
            @if is_open { td.n { @if session.held().is_zero() { span.muted { "–" } } @else { (held(session)) } } }
            td.n { (parts::moment(session.created_at, now)) }
            td.n {
                @match (session.completed_at, due) {
                    (Some(at), _) => (format::duration(format::millis_between(session.created_at, at))),
                    (None, Some(due)) if is_open => (parts::until(due)),
                    _ => span.muted { @if is_open { "no hold" } @else { "open" } },
                }
            }
        }
    }
}

/// `$0.00015, 1 AI run`
fn held(session: &Session) -> String {
    let held = session.held();
    let cost = (held.cost > 0).then(|| format::usd_fine(held.usd().into()));
    let runs = [(Meter::AiRuns, held.ai_runs), (Meter::ApiRuns, held.api_runs)];
    let runs = runs.into_iter().filter(|(_, runs)| *runs > 0).map(|(meter, runs)| format::runs(meter, runs));
    cost.into_iter().chain(runs).collect::<Vec<_>>().join(", ")
}

//! One user: budget, history, and what they did last.

use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::breakdown::{Dimensions, OTHER, Sums};
use outlay_core::budget::Budget;
use outlay_core::id::{Name, UserId};
use outlay_core::money::UsdSum;
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::Operation;
use outlay_core::plan::{Overrides, PerMeter, Plans};
use outlay_core::session::Session;

use super::breakdown::{By, names_table, series};
use super::chart::{self, Stack};
use super::frame::crumbs;
use super::links::{Links, Query, user_path};
use super::overview::{MONTHS, NOTICES};
use super::parts::{self, nothing};
use super::{Page, Section, Stepper, Viewer, format, notices, users};
use crate::store::{PageOf, Person, PersonQuery, Reads, StoreError};
use crate::sums::Against;

/// Operations of a page.
pub const OPERATIONS: usize = 25;
/// Sessions, denials and alerts.
const NEWEST: usize = 10;

/// What the page shows.
#[derive(Debug)]
pub struct View {
    /// Who.
    pub user_id: UserId,
    /// Which month.
    pub month: Month,
    /// What costs are broken down by.
    pub by: By,
    /// All of one snapshot.
    pub person: Person,
    /// The budget of the month.
    pub budget: Budget,
    /// The same as the API shows it, for the card.
    pub budget_json: String,
    /// What end users call the meters.
    pub labels: PerMeter<String>,
    /// The plans that hold.
    pub plans: Arc<Plans>,
    /// Only operations of this feature are listed.
    pub feature: Option<Name>,
    /// Where the list of operations begins; none at the newest.
    pub cursor: Option<String>,
    /// Where it goes on.
    pub next: Option<String>,
    /// Where their meters will stand and what limits they will meet, in sentences; of the running month only.
    pub forecast: Vec<String>,
}

impl View {
    /// Reads one user's part.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(
        reads: &dyn Reads,
        user_id: &UserId,
        month: Month,
        before: Option<u64>,
    ) -> Result<Person, StoreError> {
        let months = month.minus(MONTHS - 1)..=month;
        let usage = PageOf { before, limit: OPERATIONS };
        reads.person(PersonQuery { user_id: user_id.clone(), months, usage, newest: NEWEST }).await
    }

    fn of(&self, month: Month) -> impl Iterator<Item = &(Day, Dimensions, Sums)> + Clone {
        self.person.history.days.iter().filter(move |(day, ..)| day.month() == month)
    }
}

/// Draws it.
pub fn page(view: &View, links: &Links, viewer: Viewer) -> Page {
    let user_id = &view.user_id;
    let at = |month: Month| links.user(user_id, &query(month, view.by));
    let now = view.person.as_of;
    let of_user = Query::new().with("user", user_id);
    Page {
        section: Some(Section::Users),
        title: format!("{} · {}", format::shortened(user_id.as_str(), 40), format::month(view.month)),
        heading: html! {
            (crumbs(&[html! { a href=(links.to("users", &Query::new().with("month", view.month))) { "Users" } }]))
            (parts::heading(user_id.as_str()))
        },
        stepper: Some(Stepper::new(view.month, now, at)),
        main: html! {
            (about(view, links, viewer))
            div.columns.card-beside {
                section.panel aria-labelledby="as-seen" {
                    header { h2 #as-seen { "As the user sees it" } }
                    (card(view))
                    div #live-forecast data-live { @for sentence in &view.forecast { p.small { (sentence) } } }
                    p.small.apart { "They see it on " a href=(links.to("my", &Query::new())) { "a page of their own" } ", which a token opens." }
                }
                (months(view, links))
            }
            (breakdown(view, links))
            (sessions(view, links))
            (operations(view, links))
            div.columns {
                section.panel aria-labelledby="denials" {
                    header { h2 #denials { "Denials" } a href=(links.to("denials", &of_user)) { "All of this user" } }
                    div #live-denials data-live { (notices::short_denials(view.person.denials.iter().take(NOTICES).map(|denial| (None, denial)), now)) }
                }
                section.panel aria-labelledby="alerts" {
                    header { h2 #alerts { "Alerts" } a href=(links.to("alerts", &of_user)) { "All of this user" } }
                    div #live-alerts data-live { (notices::short_alerts(view.person.alerts.iter().take(NOTICES).map(|alert| (None, alert)), now)) }
                }
            }
        },
        as_of: Some(now),
        csv: Some(links.to(&format!("{}/usage.csv", user_path(user_id)), &Query::new().with("month", view.month))),
        json: Some(links.to(&format!("v1/{}/budget", user_path(user_id)), &Query::new().with("month", view.month))),
        user_id: Some(user_id.clone()),
    }
}

fn query(month: Month, by: By) -> Query {
    Query::new().with("month", month).with_some("by", (by != By::default()).then_some(by.as_str()))
}

fn about(view: &View, links: &Links, viewer: Viewer) -> Markup {
    let user = view.person.view.user.as_deref();
    let has_overrides = user.is_some_and(|user| user.overrides != Overrides::default());
    let now = view.person.as_of;
    let last_seen = view.person.view.months.iter().find_map(|month| month.last_updated_at);
    let to = |what: &str| links.to(&format!("{}/{what}", user_path(&view.user_id)), &Query::new());
    html! {
        section #about .facts data-live aria-label="About the user" {
            dl {
                div { dt { "State" } dd { (parts::budget_state(&view.budget)) } }
                div { dt { "Plan" } dd { (users::plan(&view.budget.plan, has_overrides)) } }
                @match user {
                    Some(user) => {
                        @if let Some(email) = &user.email { div { dt { "E-mail" } dd { (parts::text(email, 40)) } } }
                        div { dt { "First seen" } dd { (parts::moment(user.created_at, now)) } }
                    },
                    None => div { dt { "First seen" } dd { "Not seen yet" } },
                }
                @if let Some(at) = last_seen { div { dt { "Last seen" } dd { (parts::moment(at, now)) } } }
            }
            @if viewer.is_app() {
                nav.actions aria-label="Change" {
                    a.button href=(to("settings")) { "Plan and limits" }
                    a.button href=(to("token")) { "Tokens" }
                    @if viewer.is_admin() && user.is_some() {
                        a.button href=(links.to(&format!("v1/{}/export", user_path(&view.user_id)), &Query::new())) download="export.jsonl" { "Export" }
                        a.button href=(links.to("audit", &Query::new().with("user", &view.user_id))) { "Audit log" }
                        a.button.danger href=(to("erase")) { "Erase" }
                    }
                }
            }
        }
    }
}

/// The card, fed by the page; without a script, or before it is there, the same figures.
pub(super) fn card(view: &View) -> Markup {
    html! {
        outlay-budget-card #card data-live data-budget=(view.budget_json) {
            div.card-plain {
                strong { (capitalized(&view.budget.plan)) " plan" }
                @for (meter, budget) in view.budget.meters.iter() {
                    div {
                        span.row {
                            span { (view.labels.get(meter)) }
                            strong {
                                @match budget.limit {
                                    None => { (format::amount(meter, budget.used)) " · Unlimited" },
                                    Some(0) => "Not in your plan",
                                    Some(limit) => { (format::amount(meter, budget.used)) " / " (format::amount(meter, limit)) },
                                }
                            }
                        }
                        @if budget.limit.is_some_and(|limit| limit > 0) {
                            (parts::bar(budget, view.labels.get(meter), &format!("{} used", format::amount(meter, budget.used))))
                        }
                    }
                }
            }
        }
    }
}

pub(super) fn capitalized(name: &Name) -> String {
    let mut characters = name.as_str().chars();
    characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
}

fn months(view: &View, links: &Links) -> Markup {
    let shown: Vec<Month> = view.month.with_before(MONTHS).collect();
    let (names, parts) = series(view.person.history.days.iter(), &shown, view.by);
    let stacks: Vec<Stack> = parts
        .into_iter()
        .map(|(month, parts)| Stack {
            label: format::month_short(month).to_owned(),
            name: format::month(month),
            href: links.user(&view.user_id, &query(month, view.by)),
            here: month == view.month,
            parts,
        })
        .collect();
    let total: UsdSum = view.person.history.days.iter().fold(UsdSum::ZERO, |sum, (_, _, sums)| sum.and(sums.cost));
    let here = view.of(view.month).fold(UsdSum::ZERO, |sum, (_, _, sums)| sum.and(sums.cost));
    let sentence =
        format!("{} in six months; {} {}.", format::usd(total), format::month_name(view.month), format::usd(here));
    html! {
        section.panel aria-labelledby="months" {
            header { h2 #months { "Six months" } span.muted { "by " (view.by.as_str()) } }
            div #live-months data-live { (chart::stacked(&stacks, &names, &sentence)) }
        }
    }
}

fn breakdown(view: &View, links: &Links) -> Markup {
    let tabs = By::ALL
        .map(|by| (by.title(), format!("{}#where", links.user(&view.user_id, &query(view.month, by))), by == view.by));
    let against = Against::of(view.month, view.person.as_of);
    // The operations that a row sums are listed below, where they can be.
    let of_feature = |name: &str| {
        format!("{}#operations", links.user(&view.user_id, &query(view.month, view.by).with("feature", name)))
    };
    let link = |name: &str| (view.by == By::Feature && name != OTHER).then(|| of_feature(name));
    html! {
        section.panel #where aria-labelledby="where-title" {
            header { h2 #where-title { "Where it goes" } (parts::tabs("By", &tabs)) }
            div #live-where data-live { (names_table(&view.person.history.days, view.month, against, view.by, link)) }
        }
    }
}

fn operations(view: &View, links: &Links) -> Markup {
    let at = |cursor: Option<&String>| {
        let query = query(view.month, view.by).with_some("feature", view.feature.as_ref()).with_some("cursor", cursor);
        format!("{}#operations", links.user(&view.user_id, &query))
    };
    let all = format!("{}#operations", links.user(&view.user_id, &query(view.month, view.by)));
    let csv = Query::new().with("month", view.month).with_some("feature", view.feature.as_ref());
    let next = view.next.as_ref().map(|cursor| at(Some(cursor)));
    let first = view.cursor.as_ref().map(|_| at(None));
    html! {
        section.panel #operations aria-labelledby="operations-title" {
            header {
                h2 #operations-title { "Operations" }
                @if let Some(feature) = &view.feature { span.filter { "of " (parts::text(feature.as_str(), 28)) " " a href=(all) { "Show all" } } }
                a href=(links.to(&format!("{}/usage.csv", user_path(&view.user_id)), &csv)) { "All as CSV" }
            }
            div #live-operations data-live {
                @if view.person.usage.items.is_empty() { (nothing("No operation in this month.")) }
                @else {
                    div.scroll tabindex="0" role="group" aria-labelledby="operations-title" {
                        table.rows {
                            thead { tr {
                                th scope="col" { "Time" } th scope="col" { "Feature" } th scope="col" { "Provider, model" } th.n scope="col" { "Tokens" }
                                th.n scope="col" { "Cost" } th scope="col" { "Billable" } th scope="col" { "Session" } th.n scope="col" { "Took" }
                            } }
                            tbody { @for operation in &view.person.usage.items { (operation_row(operation, view, links)) } }
                        }
                    }
                }
                (parts::pager(first, next))
            }
        }
    }
}

fn operation_row(operation: &Operation, view: &View, links: &Links) -> Markup {
    html! {
        tr data-key=(operation.operation_id.as_str()) {
            th scope="row" { a href=(links.operation(&view.user_id, &operation.operation_id)) { (parts::moment(operation.timestamp, view.person.as_of)) } }
            td { (parts::text(operation.feature.as_str(), 28)) @if operation.reverses.is_some() { " " span.mark { "reversal" } } @if operation.reversed_by.is_some() { " " span.mark { "reversed" } } (parts::trimmed(operation))
                @if let Some(metadata) = &operation.metadata {
                    details.meta id={ "metadata-" (operation.no.0) } { summary aria-label="Metadata" title="Metadata" { "{…}" } (parts::json(metadata)) }
                }
            }
            td { (parts::text(operation.provider.as_str(), 24)) @if let Some(model) = &operation.model { span.muted { ", " (parts::text(model.as_str(), 28)) } } }
            td.n { @match operation.tokens { Some(tokens) => span title="In and out" { (format::count(tokens.input.into())) " → " (format::count(tokens.output.into())) }, None => span.muted { "–" } } }
            td.n { (parts::exact_in_column(operation.cost)) }
            td { @if operation.is_billable_run { (parts::billable()) } }
            td { @if let Some((_, session_id)) = &operation.session { a.id href=(links.session(&view.user_id, session_id)) { (parts::text(session_id.as_str(), 22)) } } }
            td.n { @match operation.duration_ms { Some(millis) => (format::duration(millis)), None => span.muted { "–" } } }
        }
    }
}

fn sessions(view: &View, links: &Links) -> Markup {
    html! {
        section.panel aria-labelledby="sessions" {
            header { h2 #sessions { "Sessions" } a href=(links.to("sessions", &Query::new().with("user", &view.user_id))) { "All of this user" } }
            div #live-sessions data-live {
                @if view.person.sessions.is_empty() { (nothing("No session yet.")) }
                @else {
                    div.scroll tabindex="0" role="group" aria-labelledby="sessions" {
                        table.rows {
                            thead { tr { th scope="col" { "Session" } th scope="col" { "Status" } th scope="col" { "Feature" } th.n scope="col" { "Steps" } th.n scope="col" { "Cost" } th.n scope="col" { "Runs" } th.n scope="col" { "Started" } } }
                            tbody { @for session in &view.person.sessions { (session_row(session, &view.user_id, links, view.person.as_of)) } }
                        }
                    }
                }
            }
        }
    }
}

fn session_row(session: &Session, user_id: &UserId, links: &Links, now: Timestamp) -> Markup {
    html! {
        tr data-key=(session.session_id.as_str()) {
            th scope="row" { (parts::session(links, Some(user_id), &session.session_id)) }
            td { (parts::status(session.status)) }
            td { (parts::text(session.feature.as_str(), 28)) }
            td.n { (format::count(session.steps.into())) }
            td.n title=(format::usd_exact(session.total_cost)) { (format::usd_fine(session.total_cost)) }
            td.n { (format::count(session.total_runs.into())) }
            td.n { (parts::moment(session.created_at, now)) }
        }
    }
}

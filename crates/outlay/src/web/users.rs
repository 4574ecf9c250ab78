//! The list of users, by any sort, with one month of each.

use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::budget::State;
use outlay_core::id::Name;
use outlay_core::ledger::budget;
use outlay_core::money::Usd;
use outlay_core::month::{Month, Timestamp};
use outlay_core::plan::{Meter, Overrides, Plans};

use super::links::{Links, Query};
use super::parts::{self, LimitAhead};
use super::{Page, Section, Stepper, format};
use crate::store::{UserItem, UserSort, UsersQuery};

/// Rows of a page.
pub const ROWS: usize = 50;

/// The name of a sort in a query.
pub const fn sort_name(sort: UserSort) -> &'static str {
    match sort {
        UserSort::Cost => "cost",
        UserSort::Percent => "percent",
        UserSort::AiRuns => "aiRuns",
        UserSort::ApiRuns => "apiRuns",
        UserSort::LastSeen => "lastSeen",
        UserSort::UserId => "userId",
    }
}

/// What the page shows.
#[derive(Debug)]
pub struct View {
    /// What was asked for.
    pub query: UsersQuery,
    /// The page.
    pub items: Vec<UserItem>,
    /// When each of them will meet a limit, in their order.
    pub ahead: Vec<Option<LimitAhead>>,
    /// The cursor of the next page.
    pub next: Option<String>,
    /// The plans that hold.
    pub plans: Arc<Plans>,
    /// The instant that it is of.
    pub as_of: Timestamp,
}

impl View {
    /// The query string of this list, with another sort or month.
    fn asked(&self, month: Month, sort: UserSort, descending: bool) -> Query {
        let query = &self.query;
        let default_order = sort != UserSort::UserId;
        Query::new()
            .with("month", month)
            .with_some("plan", query.plan.as_ref())
            .with_some("active", query.active.then_some("true"))
            .with_some("state", query.state.map(State::as_str))
            .with_some("q", query.prefix.as_deref())
            .with_some("sort", (sort != UserSort::Cost).then(|| sort_name(sort)))
            .with_some("order", (descending != default_order).then_some(if descending { "desc" } else { "asc" }))
    }

    fn same(&self) -> Query {
        self.asked(self.query.month, self.query.sort, self.query.descending)
    }
}

/// Draws it.
pub fn page(view: &View, links: &Links) -> Page {
    let query = &view.query;
    let at = |month: Month| links.to("users", &view.asked(month, query.sort, query.descending));
    let next = view.next.as_ref().map(|cursor| links.to("users", &view.same().with("cursor", cursor)));
    let first = query.after.is_some().then(|| links.to("users", &view.same()));
    Page {
        section: Some(Section::Users),
        title: format!("Users · {}", format::month(query.month)),
        heading: html! { h1 { "Users" } },
        stepper: Some(Stepper::new(query.month, view.as_of, at)),
        main: html! {
            (filters(view, links))
            section.panel.flush #list data-live aria-label="Users" {
                @if view.items.is_empty() { (parts::nothing_matches("user", is_filtered(query).then(|| links.to("users", &Query::new().with("month", query.month))))) }
                @else {
                    div.scroll tabindex="0" role="group" aria-label="The list of users" {
                        table.rows.sticky {
                            thead { tr {
                                (header(view, links, "User", Some(UserSort::UserId), ""))
                                (header(view, links, "Plan", None, ""))
                                (header(view, links, "Cost", Some(UserSort::Cost), "n"))
                                (header(view, links, "Of limit", Some(UserSort::Percent), "n"))
                                (header(view, links, "AI runs", Some(UserSort::AiRuns), "n"))
                                (header(view, links, "API runs", Some(UserSort::ApiRuns), "n"))
                                (header(view, links, "State", None, ""))
                                (header(view, links, "Last seen", Some(UserSort::LastSeen), "n"))
                                @if is_running(view) { (header(view, links, "Limit in", None, "n")) }
                            } }
                            tbody { @for (place, item) in view.items.iter().enumerate() { (row(item, view.ahead.get(place).copied().flatten(), view, links)) } }
                        }
                    }
                }
            }
            (parts::pager(first, next))
        },
        as_of: Some(view.as_of),
        csv: Some(links.to("users.csv", &view.same())),
        json: Some(links.to("v1/users", &view.same())),
        user_id: None,
    }
}

fn filters(view: &View, links: &Links) -> Markup {
    let query = &view.query;
    html! {
        form.filters action=(links.to("users", &Query::new())) aria-label="Filter" {
            input type="hidden" name="month" value=(query.month);
            @if query.sort != UserSort::Cost { input type="hidden" name="sort" value=(sort_name(query.sort)); }
            label { span { "Begins with" } input type="search" name="q" value=[query.prefix.as_deref()] maxlength="128" autocomplete="off" spellcheck="false"; }
            label { span { "Plan" }
                select name="plan" {
                    option value="" { "All plans" }
                    @for plan in view.plans.all() { option value=(plan.name) selected[query.plan.as_ref() == Some(&plan.name)] { (plan.name) } }
                }
            }
            label { span { "State" }
                select name="state" {
                    option value="" { "All states" }
                    @for state in State::ALL { option value=(state.as_str()) selected[query.state == Some(state)] { (parts::word(state)) } }
                }
            }
            label { span { "Active" }
                select name="active" {
                    option value="" { "All users" }
                    option value="true" selected[query.active] { "Used this month" }
                }
            }
            button type="submit" { "Filter" }
            @if is_filtered(query) {
                a href=(links.to("users", &Query::new().with("month", query.month))) { "Clear" }
            }
        }
    }
}

fn is_filtered(query: &UsersQuery) -> bool {
    query.active || query.plan.is_some() || query.state.is_some() || query.prefix.is_some()
}

fn header(view: &View, links: &Links, name: &str, sort: Option<UserSort>, class: &str) -> Markup {
    let query = &view.query;
    let Some(sort) = sort else {
        return html! { th class=[(!class.is_empty()).then_some(class)] scope="col" { (name) } };
    };
    let here = query.sort == sort;
    let descending = if here { !query.descending } else { sort != UserSort::UserId };
    let order = here.then_some(if query.descending { "descending" } else { "ascending" });
    html! {
        th class=[(!class.is_empty()).then_some(class)] scope="col" aria-sort=[order] {
            a.sort href=(links.to("users", &view.asked(query.month, sort, descending))) {
                (name) span aria-hidden="true" { @if here { @if query.descending { "↓" } @else { "↑" } } }
            }
        }
    }
}

/// Only the running month has something ahead.
fn is_running(view: &View) -> bool {
    view.query.month == view.as_of.month()
}

fn row(item: &UserItem, ahead: Option<LimitAhead>, view: &View, links: &Links) -> Markup {
    let UserItem { user, month, held } = item;
    let budget = budget(&view.plans, Some(user), &user.user_id, month.month, &month.used, held);
    let percent = budget.meters.iter().filter_map(|(_, meter)| meter.percent_hundredths()).max();
    html! {
        tr data-key=(user.user_id.as_str()) {
            th scope="row" { (parts::user(links, Some(&user.user_id), &Query::new().with("month", month.month))) }
            td { (plan(&budget.plan, user.overrides != Overrides::default())) }
            td.n { (parts::money(Usd::from_picos(month.used.cost).into())) }
            td.n { @match percent { Some(percent) => { (format::count(percent / 100)) "%" }, None => span.muted { "–" } } }
            td.n { (parts::meter(Meter::AiRuns, &budget.meters.ai_runs)) }
            td.n { (parts::meter(Meter::ApiRuns, &budget.meters.api_runs)) }
            td { (parts::budget_state(&budget)) }
            td.n { @match month.last_updated_at { Some(at) => (parts::moment(at, view.as_of)), None => span.muted { "–" } } }
            @if is_running(view) { td.n { (parts::days_ahead(ahead)) } }
        }
    }
}

/// A plan's name, with a mark where the user has limits of their own.
pub(super) fn plan(name: &Name, has_overrides: bool) -> Markup {
    html! {
        (parts::text(name.as_str(), 20))
        @if has_overrides { " " abbr.mark title="Limits of their own" { "own limits" } }
    }
}

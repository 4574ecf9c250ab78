//! One month of everybody.

use maud::{Markup, html};
use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::budget::State;
use outlay_core::id::UserId;
use outlay_core::ledger::budget;
use outlay_core::money::{Usd, UsdSum};
use outlay_core::month::{Day, Month};
use outlay_core::plan::Meter;

use super::breakdown::{By, names_table, series};
use super::chart::{self, Band, BurnUp, Stack};
use super::links::{Links, Query};
use super::parts::{self, LimitAhead, money, nothing};
use super::{Page, Section, Stepper, format, notices};
use crate::store::{Overview, OverviewQuery, Reads, StoreError, UserItem};
use crate::sums::{Against, by_day};

/// Months in the chart of months.
pub(super) const MONTHS: u32 = 6;
/// Alerts and denials.
pub(super) const NOTICES: usize = 5;

/// What the page shows.
#[derive(Debug)]
pub struct View {
    /// Which month.
    pub month: Month,
    /// What costs are broken down by.
    pub by: By,
    /// The month and those before it, of one snapshot.
    pub overview: Overview,
    /// Where the month's cost is going.
    pub band: Option<Band>,
    /// When the top users will meet a limit, in their order.
    pub ahead: Vec<Option<LimitAhead>>,
}

impl View {
    /// Reads it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(reads: &dyn Reads, month: Month, by: By) -> Result<Self, StoreError> {
        let query = OverviewQuery { month, months_before: MONTHS - 1, newest: NOTICES };
        let overview = reads.overview(query).await?;
        Ok(Self { month, by, overview, band: None, ahead: Vec::new() })
    }

    /// What the month has cost so far.
    pub fn cost(&self) -> UsdSum {
        self.of(self.month).fold(UsdSum::ZERO, |sum, (_, _, sums)| sum.and(sums.cost))
    }

    fn of(&self, month: Month) -> impl Iterator<Item = &(Day, Dimensions, Sums)> + Clone {
        self.overview.days.iter().filter(move |(day, ..)| day.month() == month)
    }

    /// Cost of each day so far.
    fn days(&self) -> Vec<i128> {
        let today = self.overview.as_of.day();
        let last = if today.month() == self.month { today } else { Day::new(self.month, self.month.days()) };
        let days = by_day(Day::new(self.month, 1), last, self.of(self.month));
        days.values().map(|totals| totals.all().cost.picos()).collect()
    }

    /// Cost of each day of the month before; the first month has none.
    fn days_before(&self) -> Vec<i128> {
        let Some(before) = self.month.before() else { return Vec::new() };
        let days = by_day(Day::new(before, 1), Day::new(before, before.days()), self.of(before));
        days.values().map(|totals| totals.all().cost.picos()).collect()
    }

    fn against(&self) -> Option<Against> {
        Against::of(self.month, self.overview.as_of)
    }
}

/// Draws it.
pub fn page(view: &View, links: &Links) -> Page {
    let at = |month: Month| links.to("", &query(month, view.by));
    let query = Query::new().with("month", view.month);
    let who = |user_id: &Option<UserId>| parts::user(links, user_id.as_ref(), &query);
    Page {
        section: Some(Section::Overview),
        title: format!("Overview · {}", format::month(view.month)),
        heading: html! { h1 { "Overview" } },
        stepper: Some(Stepper::new(view.month, view.overview.as_of, at)),
        main: html! {
            (tiles(view, links))
            div.columns {
                (burn_up(view))
                (months(view, links))
            }
            (top_users(view, links))
            (breakdown(view, links))
            div.columns {
                section.panel aria-labelledby="alerts" {
                    header { h2 #alerts { "Recent alerts" } a href=(links.to("alerts", &query)) { "All alerts" } }
                    div #live-alerts data-live { (notices::short_alerts(view.overview.alerts.iter().map(|of| (Some(who(&of.user_id)), &of.row)), view.overview.as_of)) }
                }
                section.panel aria-labelledby="denials" {
                    header { h2 #denials { "Recent denials" } a href=(links.to("denials", &query)) { "All denials" } }
                    div #live-denials data-live { (notices::short_denials(view.overview.denials.iter().map(|of| (Some(who(&of.user_id)), &of.row)), view.overview.as_of)) }
                }
            }
        },
        as_of: Some(view.overview.as_of),
        csv: Some(links.to("overview.csv", &query)),
        json: Some(links.to("v1/overview", &query)),
        user_id: None,
    }
}

fn query(month: Month, by: By) -> Query {
    Query::new().with("month", month).with_some("by", (by != By::default()).then_some(by.as_str()))
}

fn tiles(view: &View, links: &Links) -> Markup {
    let (overview, month) = (&view.overview, view.month);
    let days = view.days();
    let total: i128 = days.iter().sum();
    let before = month.before();
    let [_, warning, critical, reached] = overview.states;
    let active = Query::new().with("month", month).with("active", "true");
    let users = |state: State| links.to("users", &active.clone().with("state", state.as_str()));
    html! {
        section #tiles .tiles data-live aria-label="This month" {
            a.tile href=(links.to("users", &active)) {
                span.label { @if overview.as_of.month() == month { "Spend this month" } @else { "Spend in " (format::month_name(month)) } }
                span.figure { (money(UsdSum::from_picos(total))) }
                span.note {
                    @if let Some(against) = view.against() { (compared(view, against, total)) }
                }
                (chart::sparkline(&days))
            }
            a.tile href=(links.to("sessions", &Query::new().with("status", "in-progress"))) {
                span.label { "Held now" }
                span.figure { span title=(format::usd_exact(UsdSum::from_picos(overview.held.cost))) { (held(UsdSum::from_picos(overview.held.cost))) } }
                span.note {
                    strong { (format::plural(overview.open_sessions, "open session", "open sessions")) }
                    @for (meter, runs) in [(Meter::AiRuns, overview.held.ai_runs), (Meter::ApiRuns, overview.held.api_runs)] {
                        @if let (true, Ok(runs)) = (runs > 0, i64::try_from(runs)) { ", " (format::runs(meter, runs)) }
                    }
                }
            }
            a.tile href=(links.to("users", &active.clone().with("sort", "lastSeen"))) {
                span.label { "Active users" }
                span.figure { (format::count(overview.active_users.into())) }
                span.note {
                    @if let Some(before) = before { strong { (format::count(overview.active_users_before.into())) } " in all of " (format::month_name(before)) }
                    @if overview.erased_users > 0 { ", and " (format::count(overview.erased_users.into())) " erased since" }
                }
            }
            div.tile {
                span.label { "Need attention" }
                ul.attention {
                    @for (state, count, word) in [(State::Warning, warning, "warning"), (State::Critical, critical, "critical"), (State::Reached, reached, "reached")] {
                        li { a class={ (state.as_str()) } href=(users(state)) { span.figure { (format::count(count.into())) } span { (word) } } }
                    }
                }
            }
        }
    }
}

/// How the month's cost differs from what it is compared with.
fn compared(view: &View, against: Against, total: i128) -> Markup {
    let then = view.overview.days.iter().filter(|(day, ..)| against.takes(*day));
    let then = then.fold(UsdSum::ZERO, |sum, (_, _, sums)| sum.and(sums.cost));
    let in_words = format::against(against);
    html! {
        @match format::change(total, then.picos()) {
            Some(change) => { strong { (change) } " against " (in_words) ", " (format::usd(then)) },
            None => { "nothing in " (in_words) },
        }
    }
}

/// What is held, in cents; what is less, finer, since most sessions hold less than a cent.
fn held(amount: UsdSum) -> String {
    if format::usd(amount).starts_with('<') { format::usd_fine(amount) } else { format::usd(amount) }
}

fn cumulative(days: &[i128]) -> Vec<i128> {
    let mut sum = 0;
    days.iter()
        .map(|day| {
            sum += day;
            sum
        })
        .collect()
}

fn burn_up(view: &View) -> Markup {
    let (days, before) = (view.days(), view.days_before());
    let (this, before) = (cumulative(&days), cumulative(&before));
    let month = format::month_name(view.month);
    let month_before = view.month.before();
    let usd = |picos: i128| format::usd(UsdSum::from_picos(picos));
    let so_far = usd(this.last().copied().unwrap_or(0));
    let sentence = if let Some(band) = view.band {
        let [projected, low, high] =
            [band.projected, band.low, band.high].map(|picos| format::usd_about(UsdSum::from_picos(picos)));
        format!("{month} will end near {projected}, between {low} and {high}.")
    } else {
        let is_running = view.overview.as_of.month() == view.month;
        let cost = if is_running { "has cost" } else { "cost" };
        let whole = if is_running { "so far" } else { "in all" };
        let before = month_before.map(|of| (format::month_name(of), usd(before.last().copied().unwrap_or(0))));
        match before {
            Some((name, sum)) if is_running => format!("{month} {cost} {so_far} {whole}; {name} was {sum} in all."),
            Some((name, sum)) => format!("{month} {cost} {so_far} {whole}; {name} {sum}."),
            None => format!("{month} {cost} {so_far} {whole}."),
        }
    };
    html! {
        section.panel aria-labelledby="burn" {
            header { h2 #burn { "Cost as it adds up" } }
            div #live-burn data-live {
                figure {
                    figcaption { (sentence) }
                    (chart::burn_up(&BurnUp { this: &this, before: &before, month: format::month_short(view.month), days: view.month.days().into(), band: view.band }, &sentence))
                    ul.legend {
                        li { svg.swatch aria-hidden="true" { line.this x1="0" x2="100%" y1="50%" y2="50%" {} } (month) }
                        @if let Some(before) = month_before { li { svg.swatch aria-hidden="true" { line.before x1="0" x2="100%" y1="50%" y2="50%" {} } (format::month_name(before)) } }
                        @if view.band.is_some() { li { svg.swatch aria-hidden="true" { rect.band width="100%" height="100%" {} } "Expected, 4 times of 5" } }
                    }
                    (day_table(&days, view.month))
                }
            }
        }
    }
}

fn day_table(days: &[i128], month: Month) -> Markup {
    let mut sum = 0;
    html! {
        details #days-table {
            summary { "Show as table" }
            div.scroll.tall tabindex="0" role="group" aria-label="Cost by day" {
                table {
                    thead { tr { th scope="col" { "Day" } th.n scope="col" { "Cost" } th.n scope="col" { "Sum" } } }
                    tbody {
                        @for (day, cost) in (1_u8..).zip(days) {
                            @let so_far = { sum += cost; sum };
                            tr { th scope="row" { (format::day(Day::new(month, day))) } td.n { (money(UsdSum::from_picos(*cost))) } td.n { (money(UsdSum::from_picos(so_far))) } }
                        }
                    }
                }
            }
        }
    }
}

fn months(view: &View, links: &Links) -> Markup {
    let shown: Vec<Month> = view.month.with_before(MONTHS).collect();
    let (names, parts) = series(view.overview.days.iter(), &shown, view.by);
    let stacks: Vec<Stack> = parts
        .into_iter()
        .map(|(month, parts)| Stack {
            label: format::month_short(month).to_owned(),
            name: format::month(month),
            href: links.to("", &query(month, view.by)),
            here: month == view.month,
            parts,
        })
        .collect();
    html! {
        section.panel aria-labelledby="months" {
            header { h2 #months { "Six months" } span.muted { "by " (view.by.as_str()) } }
            div #live-months data-live { (chart::stacked(&stacks, &names, &highest(&stacks, view))) }
        }
    }
}

fn highest(stacks: &[Stack], view: &View) -> String {
    let total = |stack: &Stack| stack.parts.iter().sum::<i128>();
    let usd = |picos: i128| format::usd(UsdSum::from_picos(picos));
    let highest = stacks.iter().max_by_key(|stack| total(stack));
    let highest = highest.map(|stack| format!("Highest: {}, {}", stack.name, usd(total(stack)))).unwrap_or_default();
    let here = stacks.iter().find(|stack| stack.here).map_or(0, total);
    if stacks.iter().all(|stack| total(stack) <= here) {
        return format!("{highest}{}.", if view.overview.as_of.month() == view.month { " so far" } else { "" });
    }
    let so_far = if view.overview.as_of.month() == view.month { " so far" } else { "" };
    format!("{highest}; {}{so_far} {}.", format::month_name(view.month), usd(here))
}

fn top_users(view: &View, links: &Links) -> Markup {
    let query = Query::new().with("month", view.month);
    let active = query.clone().with("active", "true");
    let total: UsdSum = view.of(view.month).fold(UsdSum::ZERO, |sum, (_, _, sums)| sum.and(sums.cost));
    html! {
        section.panel aria-labelledby="top-users" {
            header {
                h2 #top-users { "Users by cost" }
                a href=(links.to("users", &active)) { "All " (format::plural(view.overview.active_users, "active user", "active users")) }
            }
            div #live-users data-live {
                @if view.overview.top_users.is_empty() { (nothing("Nobody has used anything in this month.")) }
                @else {
                    div.scroll tabindex="0" role="group" aria-labelledby="top-users" {
                        table.rows.brief {
                            thead { tr {
                                th scope="col" { "User" } th.more scope="col" { "Plan" } th.n scope="col" { "Cost" } th.n scope="col" { "AI runs" } th.n scope="col" { "API runs" } th scope="col" { "State" }
                            } }
                            tbody { @for (place, item) in view.overview.top_users.iter().enumerate() {
                                @let ahead = view.ahead.get(place).copied().flatten();
                                (top_user(item, ahead, view, total, links, &query))
                            } }
                        }
                    }
                }
            }
        }
    }
}

fn top_user(
    item: &UserItem,
    ahead: Option<LimitAhead>,
    view: &View,
    total: UsdSum,
    links: &Links,
    query: &Query,
) -> Markup {
    let UserItem { user, month, held } = item;
    let budget = budget(&view.overview.plans, Some(user), &user.user_id, month.month, &month.used, held);
    html! {
        tr data-key=(user.user_id.as_str()) {
            th scope="row" { (parts::user(links, Some(&user.user_id), query)) }
            td.more { (parts::text(budget.plan.as_str(), 20)) }
            td.n { (parts::cost_share(Usd::from_picos(month.used.cost).into(), total)) }
            td.n { (parts::meter(Meter::AiRuns, &budget.meters.ai_runs)) }
            td.n { (parts::meter(Meter::ApiRuns, &budget.meters.api_runs)) }
            td { (parts::budget_state(&budget)) " " (parts::limit_ahead(ahead)) }
        }
    }
}

fn breakdown(view: &View, links: &Links) -> Markup {
    let tabs = By::ALL.map(|by| (by.title(), format!("{}#where", links.to("", &query(view.month, by))), by == view.by));
    html! {
        section.panel #where aria-labelledby="where-title" {
            header { h2 #where-title { "Where it goes" } (parts::tabs("By", &tabs)) }
            div #live-where data-live { (names_table(&view.overview.days, view.month, view.against(), view.by, |_| None)) }
        }
    }
}

//! One month of everybody.

use std::collections::BTreeMap;
use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::alert::Alert;
use outlay_core::breakdown::{Dimensions, OTHER, Sums};
use outlay_core::budget::State;
use outlay_core::denial::Denial;
use outlay_core::id::Name;
use outlay_core::ledger::budget;
use outlay_core::money::{Usd, UsdSum};
use outlay_core::month::{Day, Month};
use outlay_core::plan::{Meter, Plans};

use super::chart::{self, Band, BurnUp, Stack};
use super::links::{Links, Query};
use super::parts::{self, money, nothing};
use super::{Page, Section, Stepper, format, notices};
use crate::store::{NoticesQuery, Of, Overview, PageOf, Reads, StoreError, UserItem};
use crate::sums::{Totals, by_day, by_name};

/// Months in the chart of months.
pub(super) const MONTHS: u32 = 6;
/// Names with a colour of their own.
pub(super) const SERIES_MAX: usize = 5;
/// Rows of a breakdown.
const NAMES_MAX: usize = 12;
/// Alerts and denials.
const NOTICES: usize = 5;

/// What costs are broken down by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum By {
    /// What it was for.
    #[default]
    Feature,
    /// Who was called.
    Provider,
    /// Which model.
    Model,
}

impl By {
    /// All, in their order.
    pub const ALL: [Self; 3] = [Self::Feature, Self::Provider, Self::Model];

    /// The name in a query.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Provider => "provider",
            Self::Model => "model",
        }
    }

    /// The one with this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|by| by.as_str() == name)
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Feature => "Feature",
            Self::Provider => "Provider",
            Self::Model => "Model",
        }
    }

    pub(super) fn name(self, dimensions: &Dimensions) -> Option<&str> {
        match self {
            Self::Feature => Some(dimensions.feature.as_str()),
            Self::Provider => Some(dimensions.provider.as_str()),
            Self::Model => dimensions.model.as_ref().map(Name::as_str),
        }
    }
}

/// What stands for operations without a model.
pub(super) const NAMELESS: &str = "(none)";

/// What the page shows.
#[derive(Debug)]
pub struct View {
    /// Which month.
    pub month: Month,
    /// What costs are broken down by.
    pub by: By,
    /// The month and those before it, of one snapshot.
    pub overview: Overview,
    /// The plans that hold.
    pub plans: Arc<Plans>,
    /// The newest alerts of the month.
    pub alerts: Vec<Of<Alert>>,
    /// The newest denials of the month.
    pub denials: Vec<Of<Denial>>,
    /// Where the month's cost is going.
    pub band: Option<Band>,
}

impl View {
    /// Reads it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn read(reads: &dyn Reads, month: Month, by: By) -> Result<Self, StoreError> {
        let overview = reads.overview(month, MONTHS - 1).await?;
        let page = PageOf { before: None, limit: NOTICES };
        let of_month = || NoticesQuery { user_id: None, month: Some(month), page };
        let alerts = reads.alerts(of_month()).await?.items;
        let denials = reads.denials(of_month()).await?.items;
        Ok(Self { month, by, overview, plans: reads.plans(), alerts, denials, band: None })
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

    fn days_before(&self) -> Vec<i128> {
        let before = self.month.minus(1);
        let days = by_day(Day::new(before, 1), Day::new(before, before.days()), self.of(before));
        days.values().map(|totals| totals.all().cost.picos()).collect()
    }
}

/// Draws it.
pub fn page(view: &View, links: &Links) -> Page {
    let at = |month: Month| links.to("", &query(month, view.by));
    let query = Query::new().with("month", view.month);
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
                    div #live-alerts data-live { (notices::short_alerts(&view.alerts, links, view.overview.as_of)) }
                }
                section.panel aria-labelledby="denials" {
                    header { h2 #denials { "Recent denials" } a href=(links.to("denials", &query)) { "All denials" } }
                    div #live-denials data-live { (notices::short_denials(&view.denials, links, view.overview.as_of)) }
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
    let days_before = view.days_before();
    let until_then: i128 = days_before.iter().take(days.len()).sum();
    let before = month.minus(1);
    let through = days.len().min(days_before.len());
    let [_, warning, critical, reached] = overview.states;
    let users = |state: State| links.to("users", &Query::new().with("month", month).with("state", state.as_str()));
    let users_of_month = Query::new().with("month", month);
    html! {
        section #tiles .tiles data-live aria-label="This month" {
            a.tile href=(links.to("users", &users_of_month)) {
                span.label { "Spend this month" }
                span.figure { (money(UsdSum::from_picos(total))) }
                span.note {
                    @match format::change(total, until_then) {
                        Some(change) => { strong { (change) } " against 1 to " (through) " " (format::month_short(before)) ", " (format::usd(UsdSum::from_picos(until_then))) },
                        None => { "nothing in " (format::month_name(before)) " until then" },
                    }
                }
                (chart::sparkline(&days))
            }
            a.tile href=(links.to("sessions", &Query::new().with("status", "in-progress"))) {
                span.label { "Held now" }
                span.figure { (money(UsdSum::from_picos(overview.held.cost))) }
                span.note {
                    strong { (format::plural(overview.open_sessions, "open session", "open sessions")) }
                    @if overview.held.ai_runs + overview.held.api_runs > 0 {
                        ", " (format::count(overview.held.ai_runs)) " AI and " (format::count(overview.held.api_runs)) " API runs"
                    }
                }
            }
            a.tile href=(links.to("users", &users_of_month.clone().with("sort", "lastSeen"))) {
                span.label { "Active users" }
                span.figure { (format::count(overview.active_users.into())) }
                span.note { strong { (format::count(overview.active_users_before.into())) } " in all of " (format::month_name(before)) }
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
    let usd = |picos: i128| format::usd(UsdSum::from_picos(picos));
    let so_far = usd(this.last().copied().unwrap_or(0));
    let sentence = match view.band {
        Some(band) => {
            format!("{month} will end near {}, between {} and {}.", usd(band.projected), usd(band.low), usd(band.high))
        }
        None if view.overview.as_of.month() == view.month => format!(
            "{month} has cost {so_far} so far; {} was {} in all.",
            format::month_name(view.month.minus(1)),
            usd(before.last().copied().unwrap_or(0))
        ),
        None => format!(
            "{month} cost {so_far} in all; {} {}.",
            format::month_name(view.month.minus(1)),
            usd(before.last().copied().unwrap_or(0))
        ),
    };
    html! {
        section.panel aria-labelledby="burn" {
            header { h2 #burn { "Cost as it adds up" } }
            div #live-burn data-live {
                figure {
                    figcaption { (sentence) }
                    (chart::burn_up(&BurnUp { this: &this, before: &before, days: view.month.days().into(), band: view.band }, &sentence))
                    ul.legend {
                        li { svg.swatch aria-hidden="true" { line.this x1="0" x2="100%" y1="50%" y2="50%" {} } (month) }
                        li { svg.swatch aria-hidden="true" { line.before x1="0" x2="100%" y1="50%" y2="50%" {} } (format::month_name(view.month.minus(1))) }
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

/// The names with a colour of their own over some months, the most expensive first, and each month's parts; what is left
/// is `Other`.
pub(super) fn series<'a>(
    days: impl Iterator<Item = &'a (Day, Dimensions, Sums)> + Clone,
    months: &[Month],
    by: By,
) -> (Vec<String>, BTreeMap<Month, Vec<i128>>) {
    let names = by_name(days.clone(), |dimensions| Some(by.name(dimensions).unwrap_or(NAMELESS)));
    let known: Vec<&str> =
        names.iter().filter_map(|(name, _)| *name).filter(|name| *name != OTHER).take(SERIES_MAX).collect();
    let has_other = names.len() > known.len();
    let mut parts: BTreeMap<Month, Vec<i128>> =
        months.iter().map(|month| (*month, vec![0; known.len() + usize::from(has_other)])).collect();
    for (day, dimensions, sums) in days {
        let name = by.name(dimensions).unwrap_or(NAMELESS);
        let at = known.iter().position(|known| *known == name).unwrap_or(known.len());
        if let Some(part) = parts.get_mut(&day.month()).and_then(|parts| parts.get_mut(at)) {
            *part += sums.cost.picos();
        }
    }
    let mut names: Vec<String> = known.into_iter().map(str::to_owned).collect();
    names.extend(has_other.then(|| "Other".to_owned()));
    (names, parts)
}

fn months(view: &View, links: &Links) -> Markup {
    let shown: Vec<Month> = (0..MONTHS).rev().map(|back| view.month.minus(back)).collect();
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
    let total: UsdSum = view.of(view.month).fold(UsdSum::ZERO, |sum, (_, _, sums)| sum.and(sums.cost));
    html! {
        section.panel aria-labelledby="top-users" {
            header {
                h2 #top-users { "Users by cost" }
                a href=(links.to("users", &query)) { "All " (format::plural(view.overview.active_users, "active user", "active users")) }
            }
            div #live-users data-live {
                @if view.overview.top_users.is_empty() { (nothing("Nobody has used anything in this month.")) }
                @else {
                    div.scroll tabindex="0" role="group" aria-labelledby="top-users" {
                        table.rows {
                            thead { tr {
                                th scope="col" { "User" } th scope="col" { "Plan" } th.n scope="col" { "Cost" } th.n scope="col" { "AI runs" } th.n scope="col" { "API runs" } th scope="col" { "State" }
                            } }
                            tbody { @for item in &view.overview.top_users { (top_user(item, view, total, links, &query)) } }
                        }
                    }
                }
            }
        }
    }
}

fn top_user(item: &UserItem, view: &View, total: UsdSum, links: &Links, query: &Query) -> Markup {
    let UserItem { user, month, held } = item;
    let budget = budget(&view.plans, Some(user), &user.user_id, month.month, &month.used, held);
    html! {
        tr data-key=(user.user_id.as_str()) {
            th scope="row" { (parts::user(links, Some(&user.user_id), query)) }
            td { (parts::text(budget.plan.as_str(), 20)) }
            td.n { (parts::cost_share(Usd::from_picos(month.used.cost).into(), total)) }
            td.n { (parts::meter(Meter::AiRuns, &budget.meters.ai_runs)) }
            td.n { (parts::meter(Meter::ApiRuns, &budget.meters.api_runs)) }
            td { (parts::state(budget.state())) }
        }
    }
}

fn breakdown(view: &View, links: &Links) -> Markup {
    let tabs = By::ALL.map(|by| (by.title(), format!("{}#where", links.to("", &query(view.month, by))), by == view.by));
    let before = view.month.minus(1);
    let today = view.overview.as_of.day();
    let through = if today.month() == view.month { today.day_of_month() } else { 31 };
    let then = view.of(before).filter(|(day, ..)| day.day_of_month() <= through);
    html! {
        section.panel #where aria-labelledby="where-title" {
            header { h2 #where-title { "Where it goes" } (parts::tabs("By", &tabs)) }
            div #live-where data-live { (names_table(view.of(view.month), then, view.by, "the same days of last month")) }
        }
    }
}

/// What each name cost, beside what it cost before.
pub(super) fn names_table<'a>(
    now: impl Iterator<Item = &'a (Day, Dimensions, Sums)> + Clone,
    before: impl Iterator<Item = &'a (Day, Dimensions, Sums)>,
    by: By,
    against: &str,
) -> Markup {
    let name = |dimensions: &'a Dimensions| Some(by.name(dimensions).unwrap_or(NAMELESS));
    let whole = Totals::of(now.clone()).all();
    let mut rows = by_name(now, name);
    let before: BTreeMap<Option<&str>, Sums> = by_name(before, name).into_iter().collect();
    let cut = rows.split_off(rows.len().min(NAMES_MAX));
    let rest = cut.iter().fold(Sums::default(), |sum, (_, sums)| sum.and(sums));
    let row = |label: Markup, sums: &Sums, change: Option<String>| {
        html! {
            tr {
                th scope="row" { (label) }
                td.n { (parts::cost_share(sums.cost, whole.cost)) }
                td.n { (format::percent(sums.cost.picos(), whole.cost.picos()).unwrap_or(0)) "%" }
                td.n { (format::count(sums.operations.into())) }
                td.n { (format::count(sums.billable_runs.into())) }
                td.n { @match sums.cost_per_operation() { Some(mean) => span title=(format::usd_exact(mean)) { (format::usd_fine(mean)) }, None => "–" } }
                td.n { @match change { Some(change) => (change), None => span.muted { "new" } } }
            }
        }
    };
    html! {
        @if rows.is_empty() { (nothing("Nothing was recorded in this month.")) }
        @else {
            div.scroll tabindex="0" role="group" aria-label={ "Cost by " (by.as_str()) } {
                table.rows {
                    thead { tr {
                        th scope="col" { (by.title()) } th.n scope="col" { "Cost" } th.n scope="col" { "Share" } th.n scope="col" { "Operations" }
                        th.n scope="col" { "Billable" } th.n scope="col" { "Per operation" } th.n scope="col" title={ "Against " (against) } { "Change" }
                    } }
                    tbody {
                        @for (name, sums) in &rows {
                            @let change = before.get(name).map(|before| format::change(sums.cost.picos(), before.cost.picos()).unwrap_or_default());
                            (row(html! { (parts::text(name.unwrap_or(NAMELESS), 32)) }, sums, change))
                        }
                        @if !cut.is_empty() { (row(html! { span.muted { (format::plural(cut.len() as u64, "other", "others")) } }, &rest, Some(String::new()))) }
                    }
                }
            }
            p.small { "Change is against " (against) "." @if rows.iter().any(|(name, _)| *name == Some(OTHER)) { " " (OTHER) " stands for the names beyond the 10,000 that are kept apart." } }
        }
    }
}

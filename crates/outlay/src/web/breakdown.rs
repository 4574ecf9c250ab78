//! What costs are broken down by: the table of names, and the parts of a chart of months.

use std::collections::BTreeMap;

use maud::{Markup, html};
use outlay_core::breakdown::{Dimensions, OTHER, Sums};
use outlay_core::id::Name;
use outlay_core::month::{Day, Month};

use super::chart::{Series, nameless};
use super::format;
use super::parts::{self, nothing};
use crate::sums::{Against, Totals, by_name};

/// Names with a colour of their own.
const SERIES_MAX: usize = 5;
/// Rows of a breakdown.
const NAMES_MAX: usize = 12;

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

/// The names with a colour of their own over some months, the most expensive first, and each month's parts; what is left
/// is `Other`.
pub(super) fn series<'a>(
    days: impl Iterator<Item = &'a (Day, Dimensions, Sums)> + Clone,
    months: &[Month],
    by: By,
) -> (Vec<Series>, BTreeMap<Month, Vec<i128>>) {
    let names = by_name(days.clone(), |dimensions| by.name(dimensions));
    let known: Vec<Option<&str>> =
        names.iter().map(|(name, _)| *name).filter(|name| *name != Some(OTHER)).take(SERIES_MAX).collect();
    let has_other = names.len() > known.len();
    let mut parts: BTreeMap<Month, Vec<i128>> =
        months.iter().map(|month| (*month, vec![0; known.len() + usize::from(has_other)])).collect();
    for (day, dimensions, sums) in days {
        let name = by.name(dimensions);
        let at = known.iter().position(|known| *known == name).unwrap_or(known.len());
        if let Some(part) = parts.get_mut(&day.month()).and_then(|parts| parts.get_mut(at)) {
            *part += sums.cost.picos();
        }
    }
    let named = |name: Option<&str>| name.map_or(Series::Nameless, |name| Series::Named(name.to_owned()));
    let mut names: Vec<Series> = known.into_iter().map(named).collect();
    names.extend(has_other.then_some(Series::Other));
    (names, parts)
}

/// What each name cost in a month, beside what it cost before; `link` is the list of what a name sums, where there is one.
pub(super) fn names_table(
    days: &[(Day, Dimensions, Sums)],
    month: Month,
    against: Option<Against>,
    by: By,
    link: impl Fn(&str) -> Option<String>,
) -> Markup {
    let name = |dimensions| by.name(dimensions);
    let now = days.iter().filter(|(day, ..)| day.month() == month);
    let before = days.iter().filter(|(day, ..)| against.is_some_and(|against| against.takes(*day)));
    let in_words = against.map(format::against);
    let whole = Totals::of(now.clone()).all();
    let mut rows = by_name(now, name);
    let before: BTreeMap<Option<&str>, Sums> = by_name(before, name).into_iter().collect();
    let cut = rows.split_off(rows.len().min(NAMES_MAX));
    let rest = cut.iter().fold(Sums::default(), |sum, (_, sums)| sum.and(sums));
    let row = |label: Markup, sums: &Sums, change: Option<String>| {
        html! {
            tr {
                th scope="row" { (label) }
                td.n { (parts::money(sums.cost)) }
                td.n { (parts::share_of(sums.cost.picos(), whole.cost.picos())) }
                td.n { (format::count(sums.operations.into())) }
                td.n { (format::count(sums.billable_runs.into())) }
                td.n { @match sums.cost_per_operation() { Some(mean) => span title=(format::usd_exact(mean)) { (format::usd_fine(mean)) }, None => "–" } }
                td.n.muted { (change.as_deref().unwrap_or(if against.is_some() { "new" } else { "–" })) }
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
                        th.n scope="col" { "Billable" } th.n scope="col" { "Per operation" } th.n scope="col" title=[in_words.as_ref().map(|against| format!("Against {against}"))] { "Change" }
                    } }
                    tbody {
                        @for (name, sums) in &rows {
                            @let change = before.get(name).map(|before| format::change(sums.cost.picos(), before.cost.picos()).unwrap_or_else(|| "–".to_owned()));
                            @let href = name.and_then(&link);
                            @let label = match name { Some(name) => parts::text(name, 32), None => nameless() };
                            (row(html! { @if let Some(href) = href { a href=(href) { (label) } } @else { (label) } }, sums, change))
                        }
                        @if !cut.is_empty() { (row(html! { span.muted { (format::plural(cut.len() as u64, "other", "others")) } }, &rest, Some("–".to_owned()))) }
                    }
                }
            }
            p.small { @if let Some(against) = &in_words { "Change is against " (against) "." } @if rows.iter().any(|(name, _)| *name == Some(OTHER)) { " " (OTHER) " stands for the names beyond the 10,000 that are kept apart." } }
        }
    }
}

//! What costs are broken down by: the table of names, and the parts of a chart of months.

use std::collections::BTreeMap;

use maud::{Markup, html};
use outlay_core::breakdown::{Dimensions, OTHER, Sums};
use outlay_core::id::Name;
use outlay_core::month::{Day, Month};

use super::format;
use super::parts::{self, nothing};
use crate::sums::{Totals, by_name};

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

/// What stands for operations without a model.
pub(super) const NAMELESS: &str = "(none)";

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

/// What a change is against.
const AGAINST: &str = "the same days of last month";

/// What each name cost, beside what it cost before; `link` is the list of what a name sums, where there is one.
pub(super) fn names_table<'a>(
    now: impl Iterator<Item = &'a (Day, Dimensions, Sums)> + Clone,
    before: impl Iterator<Item = &'a (Day, Dimensions, Sums)>,
    by: By,
    link: impl Fn(&str) -> Option<String>,
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
                td.n { (parts::money(sums.cost)) }
                td.n { (parts::share_of(sums.cost.picos(), whole.cost.picos())) }
                td.n { (format::count(sums.operations.into())) }
                td.n { (format::count(sums.billable_runs.into())) }
                td.n { @match sums.cost_per_operation() { Some(mean) => span title=(format::usd_exact(mean)) { (format::usd_fine(mean)) }, None => "–" } }
                td.n.muted { (change.as_deref().unwrap_or("new")) }
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
                        th.n scope="col" { "Billable" } th.n scope="col" { "Per operation" } th.n scope="col" title={ "Against " (AGAINST) } { "Change" }
                    } }
                    tbody {
                        @for (name, sums) in &rows {
                            @let change = before.get(name).map(|before| format::change(sums.cost.picos(), before.cost.picos()).unwrap_or_else(|| "–".to_owned()));
                            @let href = name.and_then(&link);
                            (row(html! { @if let Some(href) = href { a href=(href) { (parts::text(name.unwrap_or(NAMELESS), 32)) } } @else { (parts::text(name.unwrap_or(NAMELESS), 32)) } }, sums, change))
                        }
                        @if !cut.is_empty() { (row(html! { span.muted { (format::plural(cut.len() as u64, "other", "others")) } }, &rest, Some("–".to_owned()))) }
                    }
                }
            }
            p.small { "Change is against " (AGAINST) "." @if rows.iter().any(|(name, _)| *name == Some(OTHER)) { " " (OTHER) " stands for the names beyond the 10,000 that are kept apart." } }
        }
    }
}

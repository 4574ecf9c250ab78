//! Day sums added up by day and by name, for whoever shows them.

use std::collections::BTreeMap;

use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::month::Day;
use outlay_core::operation::UsageType;

/// The sums of each usage type.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Totals {
    /// Of AI usage.
    pub(crate) ai: Sums,
    /// Of API usage.
    pub(crate) api: Sums,
}

impl Totals {
    /// Of all these days and combinations.
    pub(crate) fn of<'a>(days: impl IntoIterator<Item = &'a (Day, Dimensions, Sums)>) -> Self {
        let mut totals = Self::default();
        for (_, dimensions, sums) in days {
            totals.add(dimensions.usage_type, sums);
        }
        totals
    }

    fn add(&mut self, usage_type: UsageType, sums: &Sums) {
        let of_type = match usage_type {
            UsageType::Ai => &mut self.ai,
            UsageType::Api => &mut self.api,
        };
        *of_type = of_type.and(sums);
    }

    /// Both together.
    pub(crate) fn all(&self) -> Sums {
        self.ai.and(&self.api)
    }
}

/// The sums of each day of a month from the first to `last`, or to the last day that has any; gaps are zeros.
pub(crate) fn by_day<'a>(
    first: Day,
    last: Day,
    days: impl IntoIterator<Item = &'a (Day, Dimensions, Sums)>,
) -> BTreeMap<Day, Totals> {
    let mut sums: BTreeMap<Day, Totals> = BTreeMap::new();
    for (day, dimensions, of_day) in days {
        sums.entry(*day).or_default().add(dimensions.usage_type, of_day);
    }
    let last = sums.keys().next_back().map_or(last, |latest| last.max(*latest));
    for day in first.day_of_month()..=last.day_of_month() {
        sums.entry(Day::new(first.month(), day)).or_default();
    }
    sums
}

/// The sums of each name, the most expensive first. Operations without the name are under `None`.
pub(crate) fn by_name<'a>(
    days: impl IntoIterator<Item = &'a (Day, Dimensions, Sums)>,
    name: impl Fn(&'a Dimensions) -> Option<&'a str>,
) -> Vec<(Option<&'a str>, Sums)> {
    let mut sums: BTreeMap<Option<&str>, Sums> = BTreeMap::new();
    for (_, dimensions, of_day) in days {
        let of_name = sums.entry(name(dimensions)).or_default();
        *of_name = of_name.and(of_day);
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(_, sums)| std::cmp::Reverse(sums.cost));
    sums
}

//! Day sums added up by day and by name, for whoever shows them.

use std::collections::BTreeMap;

use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::month::{Day, Month, Timestamp};
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

/// What a month is compared with: the month before, as far as the same day while the month runs, else whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Against {
    /// The last day that counts.
    pub(crate) through: Day,
    /// Whether a whole month is compared with a whole one.
    pub(crate) is_whole: bool,
}

impl Against {
    /// What a month is compared with at an instant; the first month has none before it.
    pub(crate) fn of(month: Month, as_of: Timestamp) -> Option<Self> {
        let before = month.before()?;
        let today = as_of.day();
        let is_whole = today.month() != month;
        let through = if is_whole { before.days() } else { today.day_of_month().min(before.days()) };
        Some(Self { through: Day::new(before, through), is_whole })
    }

    /// Whether a day is one of those.
    pub(crate) fn takes(self, day: Day) -> bool {
        day.month() == self.through.month() && day <= self.through
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_month_is_compared_as_far_as_the_same_day_and_another_one_whole() {
        let against = |month: &str, now: &str| {
            let against = Against::of(Month::parse(month).unwrap(), Timestamp::parse(now).unwrap());
            against.map(|against| (against.through.to_string(), against.is_whole))
        };
        let is = |through: &str, is_whole| Some((through.to_owned(), is_whole));
        assert_eq!(against("2025-10", "2025-10-26T12:00:00Z"), is("2025-09-26", false));
        assert_eq!(against("2025-11", "2025-11-30T12:00:00Z"), is("2025-10-30", false));
        assert_eq!(against("2025-03", "2025-03-31T12:00:00Z"), is("2025-02-28", false));
        assert_eq!(against("2024-09", "2025-10-26T12:00:00Z"), is("2024-08-31", true));
        assert_eq!(against("2025-03", "2025-04-01T00:00:00Z"), is("2025-02-28", true));
        assert_eq!(against("0001-01", "2025-10-26T12:00:00Z"), None);
    }

    #[test]
    fn days_after_the_last_one_or_of_another_month_are_not_compared() {
        let month = Month::parse("2025-10").unwrap();
        let against = Against::of(month, Timestamp::parse("2025-10-26T12:00:00Z").unwrap()).unwrap();
        let days = [Day::new(month.minus(2), 26), Day::new(month.minus(1), 1), Day::new(month.minus(1), 26)];
        assert_eq!(days.map(|day| against.takes(day)), [false, true, true]);
        let later = [Day::new(month.minus(1), 27), Day::new(month, 1)];
        assert_eq!(later.map(|day| against.takes(day)), [false, false]);
    }
}

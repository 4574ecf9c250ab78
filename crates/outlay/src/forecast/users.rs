//! From day sums and budgets to what is looked ahead from, for a user and for everybody.

#![expect(
    clippy::cast_precision_loss,
    reason = "a forecast is not exact: here money becomes a float, and is booked nowhere"
)]

use std::collections::BTreeMap;

use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::budget::Budget;
use outlay_core::money::PICOS_PER_USD;
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::UsageType;
use outlay_core::plan::{Meter, PerMeter};
use outlay_core::user::{User, UserMonth};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{MONTHS_BACK, Outlook, Past, outlook, pace};

/// The sums of a day and combination.
type DaySums = (Day, Dimensions, Sums);

/// What is known of a user at an instant.
#[derive(Debug, Clone, Copy)]
pub struct Known<'a> {
    /// Who; nobody whom the store knows is `None`.
    pub user: Option<&'a User>,
    /// Their months, the running one and [`MONTHS_BACK`] before it.
    pub months: &'a [UserMonth],
    /// The sums of the days of these months.
    pub days: &'a [DaySums],
    /// The instant.
    pub now: Timestamp,
}

impl Known<'_> {
    /// One meter's past, of whose month nothing was used yet.
    fn past<'d>(&self, meter: Meter, days: &'d [f64], limit: Option<i64>, now: Timestamp) -> Past<'d> {
        let today = now.day();
        let user_id = self.user.map(|user| user.user_id.as_str()).unwrap_or_default();
        // Who opens sessions or was refused asks before using anything; then no month goes beyond the limit.
        let asks = self.user.is_some_and(|user| user.last_session.is_some() || user.last_denial.is_some());
        let is_kept = limit.is_some_and(|limit| self.months.iter().all(|month| *month.used.get(meter) <= limit));
        Past {
            days,
            today,
            today_left: 1.0 - passed(now),
            used: 0.0,
            limit: limit.map(|limit| amount(meter, limit)),
            stops_at_limit: asks && is_kept,
            whole: meter != Meter::Cost,
            // The same draws all month long, so that a range does not jump about while nothing happens.
            seed: xxh3_64_with_seed(user_id.as_bytes(), u64::from(today.month().index()) * 4 + meter as u64),
        }
    }
}

fn of_one(meter: Meter, days: &[PerMeter<f64>]) -> Vec<f64> {
    days.iter().map(|used| *used.get(meter)).collect()
}

/// The months that are looked at, at this instant.
pub fn months(now: Timestamp) -> std::ops::RangeInclusive<Month> {
    now.month().minus(MONTHS_BACK)..=now.month()
}

/// Where a user's meters will stand; `None` where the past is too short.
pub fn outlooks(known: &Known<'_>, budget: &Budget) -> PerMeter<Option<Outlook>> {
    let days = whole_days(known.days, known.now.day());
    PerMeter::from_fn(|meter| {
        let of_meter = budget.meters.get(meter);
        let mine = of_one(meter, &days);
        outlook(&Past { used: amount(meter, of_meter.used), ..known.past(meter, &mine, of_meter.limit, known.now) })
    })
}

/// How a user's meters go on from this morning: what will have been used of each by the end of today, of tomorrow, and so on,
/// in USD or runs. `None` where nothing limits it, or the past is too short.
pub fn paces(known: &Known<'_>, limits: &PerMeter<Option<i64>>) -> PerMeter<Option<Vec<f64>>> {
    let days = whole_days(known.days, known.now.day());
    PerMeter::from_fn(|meter| {
        let limit = limits.get(meter).filter(|limit| *limit > 0)?;
        pace(&known.past(meter, &of_one(meter, &days), Some(limit), known.now.day().start()))
    })
}

/// How many days from today on a limit is met, at this pace: 0 is today. `None` where it is not met this month.
pub fn days_until(pace: &[f64], meter: Meter, used: i64, limit: i64, now: Timestamp) -> Option<usize> {
    let left = amount(meter, limit.saturating_sub(used));
    let today = pace.first()? * passed(now);
    pace.iter().position(|used| used - today >= left)
}

/// Where the cost of all users will stand, of days of this month and of those before it.
pub fn cost_of_all(days: &[DaySums], now: Timestamp) -> Option<Outlook> {
    let today = now.day();
    let known: Vec<f64> = whole_days(days, today).iter().map(|used| used.cost).collect();
    let of_month = days.iter().filter(|(day, ..)| day.month() == today.month());
    let used = of_month.map(|(_, _, sums)| sums.cost.picos() as f64).sum::<f64>() / PICOS_PER_USD as f64;
    outlook(&Past {
        days: &known,
        today,
        today_left: 1.0 - passed(now),
        used,
        limit: None,
        stops_at_limit: false,
        whole: false,
        seed: u64::from(today.month().index()),
    })
}

/// In USD, or in runs.
pub fn amount(meter: Meter, units: i64) -> f64 {
    if meter == Meter::Cost { units as f64 / PICOS_PER_USD as f64 } else { units as f64 }
}

/// How much of the day is over, in whole hours: so the same past gives the same forecast for an hour, and no page changes
/// while nothing happens.
fn passed(now: Timestamp) -> f64 {
    (now.seconds() - now.day().start().seconds()).div_euclid(3_600) as f64 / 24.0
}

/// What was used on each day before today, from the first one on which anything was.
fn whole_days(days: &[DaySums], today: Day) -> Vec<PerMeter<f64>> {
    let none = || PerMeter::from_fn(|_| 0.0);
    let mut used: BTreeMap<Day, PerMeter<f64>> = BTreeMap::new();
    for (day, dimensions, sums) in days.iter().filter(|(day, ..)| *day < today) {
        let of_day = used.entry(*day).or_insert_with(none);
        of_day.cost += sums.cost.picos() as f64 / PICOS_PER_USD as f64;
        match dimensions.usage_type {
            UsageType::Ai => of_day.ai_runs += sums.billable_runs as f64,
            UsageType::Api => of_day.api_runs += sums.billable_runs as f64,
        }
    }
    let Some(first) = used.keys().next().copied() else { return Vec::new() };
    let months = std::iter::successors(Some(first.month()), |month| Some(month.next()));
    months
        .take_while(|month| *month <= today.month())
        .flat_map(|month| (1..=month.days()).map(move |day| Day::new(month, day)))
        .filter(|day| first <= *day && *day < today)
        .map(|day| used.remove(&day).unwrap_or_else(none))
        .collect()
}

//! What a user's month will come to, in the words and the units of an answer; [`crate::forecast`] does the looking ahead.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a forecast is not exact: here money becomes a float and a rounded amount again, and is booked nowhere"
)]

use std::collections::BTreeMap;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use outlay_core::budget::{Budget, MeterBudget};
use outlay_core::id::UserId;
use outlay_core::money::{PICOS_PER_USD, UsdSum};
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::UsageType;
use outlay_core::plan::{Meter, PerMeter};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::json::{Json, Object, ToJson};
use super::page::Parameters;
use super::present::{NOT_IN_PLAN, in_a_sentence};
use super::problem::Problem;
use super::reading::{OfUser, not_loaded, view};
use super::{Presentation, SharedApp, schemas};
use crate::forecast::{Outlook, Past, Reaches, outlook};
use crate::store::History;

/// Months of the past that are looked at, beside the running one.
const MONTHS_BACK: u32 = 13;
const DAY_SECONDS: f64 = 86_400.0;

/// Look ahead to the end of a user's month
///
/// For each meter what it will have come to, a range that holds four times out of five, and when its limit will be reached,
/// if that is likely. It is made of the sums of past days, of a week at least; how well it holds is measured in the
/// project's documentation. The same past gives the same forecast.
#[utoipa::path(get, path = "/v1/users/{userId}/forecast", tag = "Budgets",
    params(schemas::UserPath),
    responses((status = 200, description = "The forecast", body = schemas::Forecast),
        schemas::ReadProblems))]
pub(super) async fn get(
    State(app): State<SharedApp>,
    OfUser(user_id): OfUser,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let now = app.reads.now();
    let month = now.month();
    let history = app.reads.history(&user_id, month.minus(MONTHS_BACK)..=month).await?;
    let view = view(&app, &user_id, month).await?;
    let budget = view.budget(&app.reads.plans(), &user_id, month, now).ok_or_else(|| not_loaded(month))?;
    let days = whole_days(&history, now.day());
    // Who opens sessions or was refused asks before using anything.
    let asks = view.user.as_ref().is_some_and(|user| user.last_session.is_some() || user.last_denial.is_some());
    let json = Json::with_room(1_024, |json| {
        json.object(|object| {
            object.put("userId", &user_id).put("month", month).put("asOf", now);
            object.object("meters", |object| {
                for (meter, meter_budget) in budget.meters.iter() {
                    let days: Vec<f64> = days.iter().map(|used| *used.get(meter)).collect();
                    let stops_at_limit =
                        asks && meter_budget.limit.is_some_and(|limit| was_within(&history, meter, limit));
                    let outlook = ahead(meter, meter_budget, &days, stops_at_limit, &user_id, now);
                    object.object(meter.as_str(), |object| {
                        write(object, meter, outlook.as_ref(), &budget, now.day(), &app.presentation);
                    });
                }
            });
        });
    });
    Ok(json.answer(StatusCode::OK))
}

/// What was used on each day before today, from the first one on which anything was.
fn whole_days(history: &History, today: Day) -> Vec<PerMeter<f64>> {
    let mut used: BTreeMap<Day, PerMeter<f64>> = BTreeMap::new();
    for (day, dimensions, sums) in history.days.iter().filter(|(day, ..)| *day < today) {
        let of_day = used.entry(*day).or_insert_with(|| PerMeter::from_fn(|_| 0.0));
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
        .map(|day| used.get(&day).copied().unwrap_or_else(|| PerMeter::from_fn(|_| 0.0)))
        .collect()
}

/// Whether no month went beyond what is the limit now.
fn was_within(history: &History, meter: Meter, limit: i64) -> bool {
    history.months.iter().all(|month| *month.used.get(meter) <= limit)
}

fn ahead(
    meter: Meter,
    budget: &MeterBudget,
    days: &[f64],
    stops_at_limit: bool,
    user_id: &UserId,
    now: Timestamp,
) -> Option<Outlook> {
    let today = now.day();
    let passed = (now.nanos() - today.start().nanos()) as f64 / 1e9 / DAY_SECONDS;
    let kept = days.len().saturating_sub(crate::forecast::DAYS_MAX);
    // The same draws all month long, so that a range does not jump about while nothing happens.
    let seed = xxh3_64_with_seed(user_id.as_str().as_bytes(), u64::from(today.month().index()) * 4 + meter as u64);
    outlook(&Past {
        days: days.get(kept..).unwrap_or_default(),
        today,
        today_left: 1.0 - passed,
        used: amount(meter, budget.used),
        limit: budget.limit.map(|limit| amount(meter, limit)),
        stops_at_limit,
        whole: meter != Meter::Cost,
        seed,
    })
}

/// In USD, or in runs.
fn amount(meter: Meter, units: i64) -> f64 {
    if meter == Meter::Cost { units as f64 / PICOS_PER_USD as f64 } else { units as f64 }
}

/// A foretold amount as it is shown: whole runs; cents, or of less than a dollar three digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rounded {
    Runs(i64),
    Usd(UsdSum),
}

impl Rounded {
    fn of(meter: Meter, amount: f64) -> Self {
        if meter != Meter::Cost {
            return Self::Runs(amount.round() as i64);
        }
        let digits = if amount >= 1.0 || amount <= 0.0 { 2 } else { 2 - amount.log10().floor() as i32 };
        let unit = 10_f64.powi(digits.min(12));
        Self::Usd(UsdSum::from_picos(((amount * unit).round() / unit * PICOS_PER_USD as f64).round() as i128))
    }

    /// Not less than what is used already.
    fn at_least(self, meter: Meter, used: i64) -> Self {
        match self {
            Self::Runs(runs) => Self::Runs(runs.max(used)),
            Self::Usd(usd) if meter == Meter::Cost && usd.picos() < i128::from(used) => {
                Self::Usd(UsdSum::from_picos(i128::from(used)))
            }
            Self::Usd(usd) => Self::Usd(usd),
        }
    }

    fn in_words(self) -> String {
        match self {
            Self::Runs(runs) => runs.to_string(),
            Self::Usd(usd) if usd.picos() >= i128::from(PICOS_PER_USD) => {
                format!("${:.2}", usd.picos() as f64 / PICOS_PER_USD as f64)
            }
            Self::Usd(usd) => format!("${usd}"),
        }
    }
}

impl ToJson for Rounded {
    fn write_to(self, json: &mut Json) {
        match self {
            Self::Runs(runs) => json.value(runs),
            Self::Usd(usd) => json.value(usd),
        }
    }
}

fn write(
    object: &mut Object<'_>,
    meter: Meter,
    outlook: Option<&Outlook>,
    budget: &Budget,
    today: Day,
    presentation: &Presentation,
) {
    let of_meter = budget.meters.get(meter);
    let shown = |pick: fn(&Outlook) -> f64| {
        outlook.map(|outlook| Rounded::of(meter, pick(outlook)).at_least(meter, of_meter.used))
    };
    let (projected, low, high) =
        (shown(|outlook| outlook.projected), shown(|outlook| outlook.low), shown(|outlook| outlook.high));
    object.put("projected", projected).put("low", low).put("high", high);

    let is_reached = of_meter.limit.is_some_and(|limit| of_meter.used >= limit);
    let reaches = outlook.and_then(|outlook| outlook.reaches).filter(|_| !is_reached);
    let days_left = reaches.map(|reaches| reaches.on.day_of_month() - today.day_of_month());
    object.put("hitsLimitOn", reaches.map(|reaches| reaches.on));
    object.put("daysLeft", days_left.or(is_reached.then_some(0)));
    let range = reaches.map(|reaches| [reaches.early, reaches.late.unwrap_or_else(|| last_of(today.month()))]);
    object.with("range", |json| match range {
        Some(range) => json.array(range, Json::value),
        None => json.value(None::<Day>),
    });

    let what = in_a_sentence(presentation.labels.get(meter));
    let message = if of_meter.limit == Some(0) {
        NOT_IN_PLAN.to_owned()
    } else if is_reached {
        format!("You have reached your {what} limit")
    } else if let Some(reaches) = reaches {
        format!("You will reach your {what} limit around {}", when(&reaches))
    } else if let (Some(projected), Some(low), Some(high)) = (projected, low, high) {
        let month = name_of(today.month());
        let what = if meter == Meter::Cost { String::new() } else { format!(" {what}") };
        let between =
            if low == high { String::new() } else { format!(", between {} and {}", low.in_words(), high.in_words()) };
        format!("{month} will end near {}{what}{between}", projected.in_words())
    } else {
        "There is too little use so far for a forecast".to_owned()
    };
    object.put("message", message.as_str());
}

fn last_of(month: Month) -> Day {
    Day::new(month, month.days())
}

/// `24 October (20 to 29 October)`, `24 October (not before the 20th)`, or the day alone.
fn when(reaches: &Reaches) -> String {
    let month = name_of(reaches.on.month());
    let (on, early) = (reaches.on.day_of_month(), reaches.early.day_of_month());
    match reaches.late.map(Day::day_of_month) {
        Some(late) if early == late => format!("{on} {month}"),
        Some(late) => format!("{on} {month} ({early} to {late} {month})"),
        None => format!("{on} {month} ({early} {month} at the earliest)"),
    }
}

fn name_of(month: Month) -> &'static str {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    NAMES.get(month.index() as usize % 12).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_to_what_a_forecast_can_know() {
        let usd = |amount| Rounded::of(Meter::Cost, amount).in_words();
        assert_eq!(usd(412.345_6), "$412.35");
        assert_eq!(usd(2.1), "$2.10");
        assert_eq!(usd(0.123_456), "$0.123");
        assert_eq!(usd(0.001_607_85), "$0.00161");
        assert_eq!(usd(0.0), "$0");
        assert_eq!(usd(1e-13), "$0");
        assert_eq!(Rounded::of(Meter::AiRuns, 23.6).in_words(), "24");
        // Rounding must not show less than is used.
        let used = 1_604_000_000;
        assert_eq!(Rounded::of(Meter::Cost, 0.001_604).at_least(Meter::Cost, used).in_words(), "$0.001604");
    }

    #[test]
    fn a_day_is_said_with_the_days_that_it_may_also_be() {
        let day = |number| Day::new(Month::parse("2025-10").unwrap(), number);
        let said = |early, late: Option<u8>| when(&Reaches { on: day(24), early: day(early), late: late.map(day) });
        assert_eq!(said(20, Some(29)), "24 October (20 to 29 October)");
        assert_eq!(said(24, Some(24)), "24 October");
        assert_eq!(said(20, None), "24 October (20 October at the earliest)");
        assert_eq!(name_of(Month::parse("2025-01").unwrap()), "January");
        assert_eq!(name_of(Month::parse("2025-12").unwrap()), "December");
    }
}

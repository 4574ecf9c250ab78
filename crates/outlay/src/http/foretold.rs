//! What is said of a forecast, in the words and the units of answers and pages; [`crate::forecast`] does the looking ahead.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "a forecast is not exact: here a float becomes a rounded amount again, and is booked nowhere"
)]

use outlay_core::budget::Budget;
use outlay_core::money::{PICOS_PER_USD, UsdSum};
use outlay_core::month::{Day, Month};
use outlay_core::plan::{Meter, PerMeter};

use super::Presentation;
use super::json::{Json, ToJson};
use crate::forecast::users::{Known, outlooks};
use crate::forecast::{Outlook, Reaches};
use crate::web::chart::Band;
use crate::web::format::{self, in_a_sentence};

/// A foretold amount as it is shown: whole runs; cents, from a hundred dollars on whole ones, or of less than one three digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rounded {
    Runs(i64),
    Usd(UsdSum),
}

impl Rounded {
    fn of(meter: Meter, amount: f64) -> Self {
        if meter != Meter::Cost {
            return Self::Runs(amount.round() as i64);
        }
        let digits = match amount {
            ..=0.0 => 2,
            ..1.0 => 2 - amount.log10().floor() as i32,
            ..100.0 => 2,
            _ => 0,
        };
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
            Self::Runs(runs) => format::count(runs.into()),
            Self::Usd(usd) if usd.picos() >= i128::from(PICOS_PER_USD) => format::usd_about(usd),
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

/// What is said of one meter; all but the message is absent while there is too little past.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) projected: Option<Rounded>,
    pub(super) low: Option<Rounded>,
    pub(super) high: Option<Rounded>,
    /// The day on which the limit will be met, where that is likely.
    pub(super) hits_limit_on: Option<Day>,
    /// Days to that; 0 when it is met already.
    pub(super) days_left: Option<u8>,
    /// The first and the last day that it may be.
    pub(super) range: Option<[Day; 2]>,
    pub(super) message: String,
}

/// What is said of a user's meters.
pub(super) fn of_user(known: &Known<'_>, budget: &Budget, presentation: &Presentation) -> PerMeter<Said> {
    let outlooks = outlooks(known, budget);
    let today = known.now.day();
    PerMeter::from_fn(|meter| said(meter, outlooks.get(meter).as_ref(), budget, today, presentation))
}

/// The sentences, each once: of two meters with too short a past the same is said.
pub(super) fn sentences(said: &PerMeter<Said>) -> Vec<String> {
    let mut sentences: Vec<String> = said.iter().map(|(_, said)| said.message.clone()).collect();
    sentences.dedup();
    sentences
}

/// Where the cost of all users will stand, which is not less than it is.
pub(super) fn band(outlook: &Outlook, used: UsdSum) -> Band {
    let picos = |amount: f64| ((amount * PICOS_PER_USD as f64).round() as i128).max(used.picos());
    Band { low: picos(outlook.low), projected: picos(outlook.projected), high: picos(outlook.high) }
}

fn said(meter: Meter, outlook: Option<&Outlook>, budget: &Budget, today: Day, presentation: &Presentation) -> Said {
    let of_meter = budget.meters.get(meter);
    let shown = |pick: fn(&Outlook) -> f64| {
        outlook.map(|outlook| Rounded::of(meter, pick(outlook)).at_least(meter, of_meter.used))
    };
    let (projected, low, high) =
        (shown(|outlook| outlook.projected), shown(|outlook| outlook.low), shown(|outlook| outlook.high));
    let is_reached = of_meter.limit.is_some_and(|limit| of_meter.used >= limit);
    let reaches = outlook.and_then(|outlook| outlook.reaches).filter(|_| !is_reached);
    let days_left = reaches.map(|reaches| reaches.on.day_of_month() - today.day_of_month());
    let range = reaches.map(|reaches| [reaches.early, reaches.late.unwrap_or_else(|| last_of(today.month()))]);

    let what = in_a_sentence(presentation.labels.get(meter));
    let message = if of_meter.limit == Some(0) {
        format!("Your plan includes no {what}")
    } else if is_reached {
        format!("You have reached your {what} limit")
    } else if let Some(reaches) = reaches {
        format!("You will reach your {what} limit around {}", when(&reaches))
    } else if let (Some(projected), Some(low), Some(high)) = (projected, low, high) {
        let month = format::month_name(today.month());
        let what = if meter == Meter::Cost { String::new() } else { format!(" {what}") };
        let between =
            if low == high { String::new() } else { format!(", between {} and {}", low.in_words(), high.in_words()) };
        format!("{month} will end near {}{what}{between}", projected.in_words())
    } else {
        "There is too little use so far for a forecast".to_owned()
    };
    Said {
        projected,
        low,
        high,
        hits_limit_on: reaches.map(|reaches| reaches.on),
        days_left: days_left.or(is_reached.then_some(0)),
        range,
        message,
    }
}

fn last_of(month: Month) -> Day {
    Day::new(month, month.days())
}

/// `24 October (20 to 29 October)`, `24 October (not before the 20th)`, or the day alone.
fn when(reaches: &Reaches) -> String {
    let month = format::month_name(reaches.on.month());
    let (on, early) = (reaches.on.day_of_month(), reaches.early.day_of_month());
    match reaches.late.map(Day::day_of_month) {
        Some(late) if early == late => format!("{on} {month}"),
        Some(late) => format!("{on} {month} ({early} to {late} {month})"),
        None => format!("{on} {month} ({early} {month} at the earliest)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_rounded_to_what_a_forecast_can_know() {
        let usd = |amount| Rounded::of(Meter::Cost, amount).in_words();
        assert_eq!(usd(412.345_6), "$412");
        assert_eq!(usd(12.345_6), "$12.35");
        assert_eq!(usd(1_204.5), "$1,205");
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
    }
}

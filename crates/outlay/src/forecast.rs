//! Where a meter will stand at the end of the month, and when it will reach its limit: from the sums of past days.
//!
//! A forecast is no money, so it is made of floats, and the core knows nothing of it. Which method is used was chosen by
//! how often its intervals held, as `cargo xtask backtest` measures and `docs/forecast.md` tells:
//!
//! 1. The rest of the month is foretold by the recent level (weeks count less the older they are) and the shape of the week.
//! 2. The same is foretold from each past day, for as many days ahead, and compared with what came. How far off that was,
//!    in past situations like today's, is how far off it may be now. A short past is helped out by a prior.
//! 3. Each draw of such an error goes to the month's end as it went from that past day on: with its bursts and pauses, and so
//!    with the day on which the limit is met.
//!
//! Where nothing was allowed any more, nothing was used: such days say nothing of what would have been, and are replaced.
//! All draws follow from a seed, so the same past gives the same forecast.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "days and draws are few, and a forecast is not exact"
)]

mod method;
pub mod users;

use outlay_core::month::Day;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

/// Whole days of the past that are needed, at least.
pub const DAYS_MIN: usize = 7;
/// Whole months of the past that are looked at, beside the running one: as many as a page of a user reads anyway.
pub const MONTHS_BACK: u32 = 5;

/// How sure a range is: what comes lies in it so often.
pub const COVERS: f64 = 0.8;

/// After a limit was met, so much of what was used a week before might have been used: weeks that meet a limit are busier
/// than most.
const AFTER_LIMIT: f64 = 0.75;

/// What is known of one meter of a user.
#[derive(Debug, Clone, Copy)]
pub struct Past<'a> {
    /// What was used on each whole day, gaps as zeros, up to yesterday; from the first day of any use on.
    pub days: &'a [f64],
    /// Today.
    pub today: Day,
    /// How much of today is left, from 0 to 1.
    pub today_left: f64,
    /// What was used in this month up to now.
    pub used: f64,
    /// The limit; `None` is unlimited.
    pub limit: Option<f64>,
    /// Whether nothing goes beyond the limit, as where the application asks before it uses anything.
    pub stops_at_limit: bool,
    /// Whether it is counted in whole numbers.
    pub whole: bool,
    /// Where the draws begin.
    pub seed: u64,
}

/// Where a meter will be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Outlook {
    /// At the month's end, as likely below as above.
    pub projected: f64,
    /// The month's end is in this range with the probability [`COVERS`].
    pub low: f64,
    /// The range's other end.
    pub high: f64,
    /// When the limit will be reached; `None` when it is not likely this month.
    pub reaches: Option<Reaches>,
}

/// When a limit will be reached, which it is not yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reaches {
    /// As likely before as after.
    pub on: Day,
    /// The first day of the range, which has the probability [`COVERS`].
    pub early: Day,
    /// Its last day; `None` when the range does not end with the month, since the limit may also not be reached in it.
    pub late: Option<Day>,
}

/// Looks ahead to the month's end; `None` where the past is too short.
pub fn outlook(past: &Past<'_>) -> Option<Outlook> {
    let (mut ways, mut random) = ways(past)?;
    if let Some(limit) = past.limit.filter(|_| past.stops_at_limit) {
        let most = limit.max(past.used);
        ways.iter_mut().flatten().for_each(|used| *used = used.min(most));
    }
    let mut ends: Vec<f64> = ways.iter().filter_map(|way| way.last().copied()).collect();
    ends.sort_by(f64::total_cmp);
    let tie = random.random();
    let at_limit =
        past.limit.filter(|_| past.stops_at_limit).map_or(0, |limit| ends.iter().filter(|end| **end >= limit).count());
    let most = ends.last().copied()?;
    let lowest = edge(&ends, 1.0 - COVERS, tie);
    let (low, projected, high) = range(ends, tie);
    // As with the days: where the limit is likely, all that is out is below.
    let (low, high) = if out_at_one_end(at_limit) { (lowest.min(projected), most) } else { (low, high) };
    Some(Outlook { projected, low, high, reaches: reaches(past, &ways, tie) })
}

/// What will have been used by the end of today, of tomorrow, and so on to the month's end: each as likely less as more. `None`
/// where the past is too short. A limit will be met on the first of these days that is beyond it, as an [`outlook`] says too.
pub fn pace(past: &Past<'_>) -> Option<Vec<f64>> {
    let (ways, _) = ways(past)?;
    let days = ways.first()?.len();
    let middle = |day: usize| {
        let mut used: Vec<f64> = ways.iter().filter_map(|way| way.get(day).copied()).collect();
        used.sort_by(f64::total_cmp);
        // The lower one, so that half of the ways are not beyond it.
        used.get((used.len() - 1) / 2).copied().unwrap_or_default()
    };
    Some((0..days).map(middle).collect())
}

fn ways(past: &Past<'_>) -> Option<(Vec<Vec<f64>>, Pcg64)> {
    if past.days.len() < DAYS_MIN {
        return None;
    }
    let mut random = Pcg64::seed_from_u64(past.seed);
    let days = as_if_allowed(past);
    let ways = method::ways(&Past { days: &days, ..*past }, &mut random);
    Some((ways, random))
}

/// The days, with what might have been used on those after a limit was met.
fn as_if_allowed(past: &Past<'_>) -> Vec<f64> {
    let mut days = past.days.to_vec();
    let Some(limit) = past.limit.filter(|_| past.stops_at_limit) else { return days };
    let first = shifted(past.today, -i64::try_from(days.len()).unwrap_or(0));
    let mut of_month = 0.0;
    let mut month = first.month();
    for (place, used) in past.days.iter().enumerate() {
        let day = shifted(first, i64::try_from(place).unwrap_or(0));
        if day.month() != month {
            (month, of_month) = (day.month(), 0.0);
        }
        let before = place.checked_sub(7).and_then(|place| days.get(place).copied());
        if of_month >= limit
            && month != past.today.month()
            && let (Some(day), Some(before)) = (days.get_mut(place), before)
        {
            *day = before * AFTER_LIMIT;
        }
        of_month += used;
    }
    days
}

/// So many days later.
fn shifted(day: Day, days: i64) -> Day {
    day.start().plus_seconds(days * 86_400).day()
}

/// The middle of sorted draws, and the range around it. Among whole numbers no range is exactly as sure as it should be;
/// `tie`, from 0 to 1, decides between the two that are nearest, so that it holds on the average.
fn range<T: PartialOrd + Copy>(mut draws: Vec<T>, tie: f64) -> (T, T, T) {
    let middle = *draws.get(draws.len() / 2).expect("there are draws");
    let out = (1.0 - COVERS) / 2.0;
    let low = edge(&draws, out, tie);
    draws.reverse();
    let high = edge(&draws, out, tie);
    (if low > middle { middle } else { low }, middle, if high < middle { middle } else { high })
}

/// The outermost value that is in the range, among draws from the outside in, where this share of them is to be out.
fn edge<T: PartialOrd + Copy>(draws: &[T], out: f64, tie: f64) -> T {
    let cut = (out * draws.len() as f64) as usize;
    let value = *draws.get(cut).expect("less than all draws are cut off");
    let further_out = draws.iter().take_while(|draw| **draw != value).count();
    let mut from_here = draws.iter().skip(further_out);
    let next = from_here.find(|draw| **draw != value);
    let equal = draws.len() - further_out - from_here.len() - usize::from(next.is_some());
    // Of the equal ones, so many should be out.
    if tie < (cut - further_out) as f64 / equal as f64 { next.copied().unwrap_or(value) } else { value }
}

/// Later than any day of a month.
const NOT_THIS_MONTH: usize = usize::MAX;

/// Whether so many draws lie at a last value that they cannot be out of a range: then all that is out is at the other end.
fn out_at_one_end(draws: usize) -> bool {
    draws as f64 > (1.0 - COVERS) / 2.0 * method::DRAWS as f64
}

/// When the ways reach the limit. Where more of them do not than may be out at one end, all that are out are at the other.
fn reaches(past: &Past<'_>, ways: &[Vec<f64>], tie: f64) -> Option<Reaches> {
    let limit = past.limit.filter(|limit| *limit > past.used)?;
    let mut days: Vec<usize> =
        ways.iter().map(|way| way.iter().position(|used| *used >= limit).unwrap_or(NOT_THIS_MONTH)).collect();
    days.sort_unstable();
    let reach_it = days.partition_point(|day| *day != NOT_THIS_MONTH);
    let may_not = out_at_one_end(days.len() - reach_it);
    let earliest = edge(&days, 1.0 - COVERS, tie);
    let (early, on, late) = range(days, tie);
    let (early, late) = if may_not { (earliest.min(on), NOT_THIS_MONTH) } else { (early, late) };
    let day = |ahead: usize| {
        i64::try_from(ahead).ok().filter(|_| ahead != NOT_THIS_MONTH).map(|ahead| shifted(past.today, ahead))
    };
    Some(Reaches { on: day(on)?, early: day(early)?, late: day(late) })
}

#[cfg(test)]
mod tests;

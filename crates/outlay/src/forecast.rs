//! Where a meter will stand at the end of the month, and when it will reach its limit: from the sums of past days.
//!
//! A forecast is no money, so it is made of floats, and the core knows nothing of it. Which method is used was chosen by
//! how often its intervals held, as `cargo xtask backtest` measures and `docs/forecast.md` tells:
//!
//! 1. The rest of the month is foretold by the recent level (weeks count less the older they are) and the shape of the week.
//! 2. The same is foretold from each past day, for as many days ahead, and compared with what came. How far off that was,
//!    in past situations like today's, is how far off it may be now. A short past is helped out by a prior.
//! 3. Draws of these errors give the distribution of the month's end; past weeks give the way to it, day by day.
//!
//! All draws follow from a seed, so the same past gives the same forecast.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "days and draws are few, and a forecast is not exact"
)]

use outlay_core::month::Day;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

/// Whole days of the past that are needed, at least.
pub const DAYS_MIN: usize = 7;
/// Days of the past that are of use, at most: a year and a month.
pub const DAYS_MAX: usize = 396;

/// How sure a range is: what comes lies in it so often.
pub const COVERS: f64 = 0.8;
/// Ways that the month may go which are drawn.
const DRAWS: usize = 400;
/// The weeks that make the level, at most.
const LEVEL_DAYS: usize = 56;
/// After so many weeks a day counts half.
const HALF_LIFE_WEEKS: f64 = 2.0;
/// Days of an even week that the shape of a week is pulled towards.
const SHAPE_PRIOR_DAYS: f64 = 3.0;
/// Past days before the first one from which something is foretold, at most.
const WARM_UP_DAYS: usize = 21;
/// How unlike today a past day may be: in the last week beside the level, and in the level, both as logarithms.
const STATE_BAND: f64 = 0.5;
const LEVEL_BAND: f64 = 0.6;
/// After so many days an error counts half.
const ERROR_HALF_LIFE_DAYS: f64 = 1_000.0;
/// How strongly errors shrink as use grows: the less there is, the more it is up to chance.
const GROWTH_POWER: f64 = 0.25;
/// The prior error, and how many errors that do not overlap it is worth in their spread and among the draws.
const PRIOR_ERROR: f64 = 0.35;
const PRIOR_SPREAD: f64 = 0.2;
const PRIOR_DRAWS: f64 = 2.5;
/// A draw of the prior is wider than what was seen, since rare errors were not seen yet.
const PRIOR_WIDER: f64 = 1.5;
/// How much of the spread smooths each draw.
const SMOOTHING: f64 = 0.35;

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
    /// Not before this day, with the probability that the range has.
    pub early: Day,
    /// Not after this day; `None` when it may also not be reached this month.
    pub late: Option<Day>,
}

/// Looks ahead to the month's end; `None` where the past is too short.
pub fn outlook(past: &Past<'_>) -> Option<Outlook> {
    if past.days.len() < DAYS_MIN {
        return None;
    }
    let days_left = usize::from(past.today.month().days() - past.today.day_of_month());
    let mut random = Pcg64::seed_from_u64(past.seed);
    let mut ways = ways(past, days_left, &mut random);
    if let Some(limit) = past.limit.filter(|_| past.stops_at_limit) {
        let most = limit.max(past.used);
        ways.iter_mut().flatten().for_each(|used| *used = used.min(most));
    }
    let mut ends: Vec<f64> = ways.iter().filter_map(|way| way.last().copied()).collect();
    ends.sort_by(f64::total_cmp);
    let tie = random.random();
    let (low, projected, high) = range(ends, tie);
    Some(Outlook { projected, low, high, reaches: reaches(past, &ways, tie) })
}

/// The middle of sorted draws, and the range around it. Among whole numbers no range is exactly as sure as it should be;
/// `tie`, from 0 to 1, decides between the two that are nearest, so that it holds on the average.
fn range<T: PartialOrd + Copy>(mut draws: Vec<T>, tie: f64) -> (T, T, T) {
    let middle = *draws.get(draws.len() / 2).expect("there are draws");
    let low = edge(&draws, tie);
    draws.reverse();
    let high = edge(&draws, tie);
    (if low > middle { middle } else { low }, middle, if high < middle { middle } else { high })
}

/// The outermost value that is in the range, among draws from the outside in.
fn edge<T: PartialOrd + Copy>(draws: &[T], tie: f64) -> T {
    let cut = ((1.0 - COVERS) / 2.0 * draws.len() as f64) as usize;
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

/// When the ways reach the limit.
fn reaches(past: &Past<'_>, ways: &[Vec<f64>], tie: f64) -> Option<Reaches> {
    let limit = past.limit.filter(|limit| *limit > past.used)?;
    let mut days: Vec<usize> =
        ways.iter().map(|way| way.iter().position(|used| *used >= limit).unwrap_or(NOT_THIS_MONTH)).collect();
    days.sort_unstable();
    let (early, on, late) = range(days, tie);
    let first = past.today.day_of_month();
    let day = |ahead: usize| {
        let ahead = u8::try_from(ahead).ok().filter(|_| ahead != NOT_THIS_MONTH)?;
        Some(Day::new(past.today.month(), first + ahead))
    };
    Some(Reaches { on: day(on)?, early: day(early)?, late: day(late) })
}

/// How much is used a day, and how the days of a week differ.
struct Rhythm {
    level: f64,
    /// By place in the week, counted from the first day of the past; their mean is 1.
    shape: [f64; 7],
}

impl Rhythm {
    /// As it is known on the morning of this day.
    fn before(days: &[f64], morning: usize) -> Self {
        let (mut sum, mut mass, mut plain) = (0.0, 0.0, 0.0);
        let mut by_place = [(0.0, 0.0); 7];
        let first = morning.saturating_sub(LEVEL_DAYS);
        for day in first..morning {
            let used = at(days, day);
            let weight = 0.5_f64.powf(((morning - 1 - day) / 7) as f64 / HALF_LIFE_WEEKS);
            sum += weight * used;
            mass += weight;
            plain += used;
            if let Some((used_there, count)) = by_place.get_mut(day % 7) {
                *used_there += used;
                *count += 1.0;
            }
        }
        let mean = plain / (morning - first).max(1) as f64;
        let mut shape =
            by_place.map(
                |(used, count)| {
                    if mean > 0.0 { (used / mean + SHAPE_PRIOR_DAYS) / (count + SHAPE_PRIOR_DAYS) } else { 1.0 }
                },
            );
        let total: f64 = shape.iter().sum();
        for share in &mut shape {
            *share *= 7.0 / total;
        }
        Self { level: if mass > 0.0 { sum / mass } else { 0.0 }, shape }
    }

    /// What comes from this morning on, without what of its day is over, up to so many days later.
    fn foretell(&self, morning: usize, left: f64, days_left: usize) -> f64 {
        let share = |day: usize| self.shape.get(day % 7).copied().unwrap_or(1.0);
        let shares: f64 = (1..=days_left).map(|ahead| share(morning + ahead)).sum();
        self.level * (left * share(morning) + shares)
    }
}

fn at(days: &[f64], day: usize) -> f64 {
    days.get(day).copied().unwrap_or(0.0)
}

/// An error of the past, as a logarithm, and how much it tells of today.
struct Seen {
    weight: f64,
    error: f64,
}

/// How far off what is foretold may be.
struct Errors {
    seen: Vec<Seen>,
    mass: f64,
    mean: f64,
    spread: f64,
    prior_share: f64,
}

impl Errors {
    /// `grain` is the size of what is small: it keeps logarithms of nothing away.
    fn of(past: &Past<'_>, days_left: usize, grain: f64) -> Self {
        let days = past.days;
        let now = days.len();
        let last_week = |morning: usize| {
            let first = morning.saturating_sub(7);
            (first..morning).map(|day| at(days, day)).sum::<f64>() / 7.0
        };
        let small = grain / 5.0;
        let here = Rhythm::before(days, now);
        let foretold = here.foretell(now, past.today_left, days_left);
        let state = |morning: usize, level: f64| ((last_week(morning) + small) / (level + small)).ln();
        let state_here = state(now, here.level);
        let mut seen = Vec::new();
        for morning in WARM_UP_DAYS.min(now / 2).max(1)..now.saturating_sub(days_left) {
            let rhythm = Rhythm::before(days, morning);
            let foretold_then = rhythm.foretell(morning, past.today_left, days_left);
            let came = past.today_left * at(days, morning)
                + (1..=days_left).map(|ahead| at(days, morning + ahead)).sum::<f64>();
            let error = ((came + grain) / (foretold_then + grain)).ln();
            let other_state = (state(morning, rhythm.level) - state_here) / STATE_BAND;
            let other_level = ((rhythm.level + small) / (here.level + small)).ln() / LEVEL_BAND;
            let age = (now - days_left - morning) as f64;
            let likeness = (-0.5 * (other_state * other_state + other_level * other_level)).exp();
            let smaller = ((foretold_then + grain) / (foretold + grain)).powf(GROWTH_POWER).clamp(0.5, 1.0);
            seen.push(Seen {
                weight: likeness * 0.5_f64.powf(age / ERROR_HALF_LIFE_DAYS) + 0.01,
                error: error * smaller,
            });
        }
        let mass: f64 = seen.iter().map(|seen| seen.weight).sum();
        // Errors of neighbouring days are of nearly the same days.
        let worth = mass / (days_left as f64 / 2.0 + 1.0);
        let weighted = |of: &dyn Fn(&Seen) -> f64| {
            if mass > 0.0 { seen.iter().map(|seen| seen.weight * of(seen)).sum::<f64>() / mass } else { 0.0 }
        };
        let mean = weighted(&|seen| seen.error) * worth / (worth + 1.0);
        let variance = weighted(&|seen| (seen.error - mean).powi(2));
        let spread = ((worth * variance + PRIOR_SPREAD * PRIOR_ERROR.powi(2)) / (worth + PRIOR_SPREAD)).sqrt();
        Self { mass, mean, spread, prior_share: PRIOR_DRAWS / (PRIOR_DRAWS + worth), seen }
    }

    fn draw(&self, random: &mut Pcg64) -> f64 {
        let drawn = if random.random::<f64>() < self.prior_share {
            self.mean + PRIOR_WIDER * self.spread * normal(random)
        } else {
            let mut left = random.random::<f64>() * self.mass;
            let found = self.seen.iter().find(|seen| {
                left -= seen.weight;
                left < 0.0
            });
            found.map_or(self.mean, |seen| seen.error)
        };
        drawn + SMOOTHING * self.spread * normal(random)
    }
}

/// A number of the standard normal distribution, as Box and Muller make it.
fn normal(random: &mut Pcg64) -> f64 {
    let (radius, angle): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// What will have been used at the end of today, of tomorrow, and so on to the month's end, in as many ways as are drawn.
fn ways(past: &Past<'_>, days_left: usize, random: &mut Pcg64) -> Vec<Vec<f64>> {
    let days = past.days;
    let now = days.len();
    let busy = days.iter().filter(|used| **used > 0.0).count().max(1);
    let size = days.iter().sum::<f64>() / busy as f64;
    if size <= 0.0 {
        return vec![vec![past.used; days_left + 1]; DRAWS];
    }
    let grain = size / 2.0;
    let foretold = Rhythm::before(days, now).foretell(now, past.today_left, days_left);
    let errors = Errors::of(past, days_left, grain);
    let weeks = (now / 7).min(LEVEL_DAYS / 7);
    let one = |random: &mut Pcg64| {
        let rest = ((foretold + grain) * errors.draw(random).exp() - grain).max(0.0);
        let rest = if past.whole { (rest + random.random::<f64>()).floor() } else { rest };
        // Each week goes as one of the past went; a little on every day, so that there is a way even from nothing.
        let mut back = 7;
        let mut shares: Vec<f64> = Vec::with_capacity(days_left + 1);
        for ahead in 0..=days_left {
            if ahead % 7 == 0 {
                back = 7 * random.random_range(1..=weeks);
            }
            let share = at(days, now - back + ahead % 7) + size / 20.0;
            shares.push(if ahead == 0 { share * past.today_left } else { share });
        }
        let total: f64 = shares.iter().sum();
        let mut passed = 0.0;
        let way = shares.into_iter().enumerate().map(|(ahead, share)| {
            passed += share;
            let part = if ahead == days_left || total <= 0.0 { rest } else { rest * passed / total };
            past.used + if past.whole { part.round() } else { part }
        });
        way.collect()
    };
    (0..DRAWS).map(|_| one(random)).collect()
}

#[cfg(test)]
mod tests;

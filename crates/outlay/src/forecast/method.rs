//! The ways that a meter may go to the month's end, drawn from how foretelling went in the past.
//!
//! The figures below were chosen on made-up series and people of some seeds, and are judged on those of others.

use rand::RngExt as _;
use rand_pcg::Pcg64;

use super::Past;

/// Ways that the month may go which are drawn.
pub(super) const DRAWS: usize = 400;
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
/// What a day counts that is not like today at all.
const WEIGHT_MIN: f64 = 0.01;
/// How strongly errors shrink as use grows, and to what at least: the less there is, the more it is up to chance.
const GROWTH_POWER: f64 = 1.0;
const GROWTH_MIN: f64 = 0.3;
/// The prior error: this much, and of what chance makes of the days that are known this share.
const PRIOR_ERROR: f64 = 0.13;
const PRIOR_CHANCE: f64 = 0.12;
/// How many errors that do not overlap it is worth in their spread, and among the draws.
const PRIOR_SPREAD: f64 = 0.1;
const PRIOR_DRAWS: f64 = 5.5;
/// A draw of the prior is wider than what was seen, since rare errors were not seen yet.
const PRIOR_WIDER: f64 = 2.0;
/// A range made of few errors is too narrow, and more so of amounts of money, which come in lumps of unlike size: where
/// none was seen it is made wider by this share, with one by half of it, and with many hardly.
const FEW_WIDER: f64 = 0.2;
/// How much of the spread smooths each draw.
const SMOOTHING: f64 = 0.05;
/// A little of the level on every day, so that there is a way even from nothing.
const EVEN_SHARE: f64 = 0.01;

/// How much is used a day, and how the days of a week differ.
struct Rhythm {
    level: f64,
    /// By place in the week, counted from the first day of the past; their mean is 1.
    shape: [f64; 7],
    /// The variance of a day's use over its mean, beside the shape.
    chance: f64,
    /// As many days of equal weight would make the level as surely.
    weighs_days: f64,
}

impl Rhythm {
    /// As it is known on the morning of this day.
    fn before(days: &[f64], morning: usize) -> Self {
        let first = morning.saturating_sub(LEVEL_DAYS);
        let known = days.get(first..morning).unwrap_or_default();
        let (mut sum, mut mass, mut squared_mass, mut plain) = (0.0, 0.0, 0.0, 0.0);
        let mut by_place = [(0.0, 0.0); 7];
        for (day, used) in (first..).zip(known) {
            let weight = 0.5_f64.powf(((morning - 1 - day) / 7) as f64 / HALF_LIFE_WEEKS);
            sum += weight * used;
            mass += weight;
            squared_mass += weight * weight;
            plain += used;
            if let Some((used_there, count)) = by_place.get_mut(day % 7) {
                *used_there += used;
                *count += 1.0;
            }
        }
        if plain <= 0.0 {
            return Self { level: 0.0, shape: [1.0; 7], chance: 0.0, weighs_days: 1.0 };
        }
        let mean = plain / known.len() as f64;
        let mut shape = by_place.map(|(used, count)| (used / mean + SHAPE_PRIOR_DAYS) / (count + SHAPE_PRIOR_DAYS));
        let total: f64 = shape.iter().sum();
        for share in &mut shape {
            *share *= 7.0 / total;
        }

        let mut rhythm = Self { level: sum / mass, shape, chance: 0.0, weighs_days: mass * mass / squared_mass };
        let squares: f64 = (first..).zip(known).map(|(day, used)| (used - mean * rhythm.share(day)).powi(2)).sum();
        let freedom = known.len() as f64 / (known.len() as f64 - 1.0).max(1.0);
        rhythm.chance = squares / plain * freedom;
        rhythm
    }

    fn share(&self, day: usize) -> f64 {
        self.shape.get(day % 7).copied().unwrap_or(1.0)
    }

    /// What comes from this morning on, without what of its day is over, up to so many days later.
    fn foretell(&self, morning: usize, left: f64, days_left: usize) -> f64 {
        let shares: f64 = (1..=days_left).map(|ahead| self.share(morning + ahead)).sum();
        self.level * (left * self.share(morning) + shares)
    }
}

fn at(days: &[f64], day: usize) -> f64 {
    days.get(day).copied().unwrap_or(0.0)
}

/// What foretelling from a past morning was like, and how much it tells of today.
struct Seen {
    morning: usize,
    weight: f64,
    /// As a logarithm.
    error: f64,
    /// What is left of what was chance, now that there is more use; at most 1.
    chance_left: f64,
    /// What was used a day.
    a_day: f64,
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
    fn of(past: &Past<'_>, here: &Rhythm, foretold: f64, days_left: usize, grain: f64) -> Self {
        let mut seen = seen(past, here, foretold, days_left, grain);
        let mass: f64 = seen.iter().map(|seen| seen.weight).sum();
        let weighted = |seen: &[Seen], of: &dyn Fn(&Seen) -> f64| {
            if mass > 0.0 { seen.iter().map(|seen| seen.weight * of(seen)).sum::<f64>() / mass } else { 0.0 }
        };
        // What is always off, as while use grows, is no chance.
        let always = weighted(&seen, &|seen| seen.error);
        for seen in &mut seen {
            seen.error = always + (seen.error - always) * seen.chance_left;
        }
        // Errors of neighbouring days are of nearly the same days.
        let worth = mass / (days_left as f64 / 2.0 + 1.0);
        let mean = weighted(&seen, &|seen| seen.error) * worth / (worth + 1.0);
        let variance = weighted(&seen, &|seen| (seen.error - mean).powi(2));
        let chance = here.chance / (foretold + grain) + here.chance / (here.level * here.weighs_days + grain);
        let prior = PRIOR_ERROR.powi(2) + PRIOR_CHANCE * chance;
        let spread = ((worth * variance + PRIOR_SPREAD * prior) / (worth + PRIOR_SPREAD)).sqrt();
        let wider = if past.whole { 1.0 } else { 1.0 + FEW_WIDER / (worth + 1.0) };
        for seen in &mut seen {
            seen.error = mean + wider * (seen.error - mean);
        }
        let spread = wider * spread;
        Self { mass, mean, spread, prior_share: PRIOR_DRAWS / (PRIOR_DRAWS + worth), seen }
    }

    /// An error, and where it was seen; of the prior it was nowhere.
    fn draw(&self, random: &mut Pcg64) -> (f64, Option<&Seen>) {
        let (error, seen) = if random.random::<f64>() < self.prior_share {
            (self.mean + PRIOR_WIDER * self.spread * normal(random), None)
        } else {
            let mut left = random.random::<f64>() * self.mass;
            let found = self.seen.iter().find(|seen| {
                left -= seen.weight;
                left < 0.0
            });
            (found.map_or(self.mean, |seen| seen.error), found)
        };
        (error + SMOOTHING * self.spread * normal(random), seen)
    }
}

/// Foretells from each past morning from which as many days came as are left of the month.
fn seen(past: &Past<'_>, here: &Rhythm, foretold: f64, days_left: usize, grain: f64) -> Vec<Seen> {
    let (days, now) = (past.days, past.days.len());
    let small = grain / 5.0;
    let state = |morning: usize, level: f64| {
        let last_week = (morning.saturating_sub(7)..morning).map(|day| at(days, day)).sum::<f64>() / 7.0;
        ((last_week + small) / (level + small)).ln()
    };
    let state_here = state(now, here.level);
    let mornings = WARM_UP_DAYS.min(now / 2).max(1)..now.saturating_sub(days_left);
    let see = |morning: usize| {
        let rhythm = Rhythm::before(days, morning);
        let foretold_then = rhythm.foretell(morning, past.today_left, days_left);
        let came =
            past.today_left * at(days, morning) + (1..=days_left).map(|ahead| at(days, morning + ahead)).sum::<f64>();
        let other_state = (state(morning, rhythm.level) - state_here) / STATE_BAND;
        let other_level = ((rhythm.level + small) / (here.level + small)).ln() / LEVEL_BAND;
        let grown = (foretold_then + grain) / (foretold + grain);
        Seen {
            morning,
            weight: (-0.5 * (other_state * other_state + other_level * other_level)).exp() + WEIGHT_MIN,
            error: ((came + grain) / (foretold_then + grain)).ln(),
            chance_left: grown.powf(GROWTH_POWER).clamp(GROWTH_MIN, 1.0),
            a_day: came / (days_left as f64 + past.today_left).max(f64::MIN_POSITIVE),
        }
    };
    mornings.map(see).collect()
}

/// A number of the standard normal distribution, as Box and Muller make it.
fn normal(random: &mut Pcg64) -> f64 {
    let (radius, angle): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * angle).cos()
}

/// What will have been used at the end of today, of tomorrow, and so on to the month's end, in as many ways as are drawn.
pub(super) fn ways(past: &Past<'_>, random: &mut Pcg64) -> Vec<Vec<f64>> {
    let (days, now) = (past.days, past.days.len());
    let days_left = usize::from(past.today.month().days() - past.today.day_of_month());
    let busy = days.iter().filter(|used| **used > 0.0).count().max(1);
    let size = days.iter().sum::<f64>() / busy as f64;
    if size <= 0.0 {
        return vec![vec![past.used; days_left + 1]; DRAWS];
    }
    let grain = size / 2.0;
    let rhythm = Rhythm::before(days, now);
    let foretold = rhythm.foretell(now, past.today_left, days_left);
    let errors = Errors::of(past, &rhythm, foretold, days_left, grain);
    let weeks = (now / 7).min(LEVEL_DAYS / 7);
    let even = EVEN_SHARE * rhythm.level.max(size / 10.0);
    let one = |random: &mut Pcg64| {
        let (error, seen) = errors.draw(random);
        let rest = ((foretold + grain) * error.exp() - grain).max(0.0);
        let rest = if past.whole { (rest + random.random::<f64>()).floor() } else { rest };
        // It goes as it went where the error was seen, on the days of today's week; else each week as one of the last.
        let mut back = 7;
        let shares: Vec<f64> = (0..=days_left)
            .map(|ahead| {
                if ahead % 7 == 0 {
                    back = 7 * random.random_range(1..=weeks);
                }
                let used = match seen {
                    None => at(days, now - back + ahead % 7),
                    Some(seen) => {
                        let day = seen.morning + ahead;
                        let used = at(days, day) / rhythm.share(day);
                        rhythm.share(now + ahead) * (seen.a_day + (used - seen.a_day) * seen.chance_left)
                    }
                };
                (used + even) * if ahead == 0 { past.today_left } else { 1.0 }
            })
            .collect();
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

//! Cuts a past off, has the rest foretold, and counts how often what came was in the range.
//!
//! A month's end is judged where the range has two ends: a limit that will surely be met is no range. A date is judged where
//! one is named, as it is where the limit is more likely met than not; a month without that day is then beyond the range, unless
//! the range says that the limit may also not be met. How many of the months that met their limit were told so is counted too.

use outlay::forecast::{MONTHS_BACK, Past, outlook};
use rand::RngExt as _;
use rand_pcg::Pcg64;

use crate::series::{MonthAt, Series, Used};

/// The names of the meters, in the order of [`Used`].
const METERS: [&str; 3] = ["cost", "aiRuns", "apiRuns"];
/// Cases below which a share says nothing.
const ENOUGH: usize = 200;
/// By so many standard errors a figure is off by chance, seldom by more.
const STANDARD_ERRORS: f64 = 2.0;
/// Moments of a made-up month at which its end is foretold.
const MOMENTS: usize = 3;

/// How often something was within, below and above.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    within: usize,
    below: usize,
    above: usize,
    /// What was within, and all, when the last month of a series was done.
    done: [usize; 2],
    months: usize,
    /// Summed over these months: the square of what was within, that times all, and the square of all.
    products: [f64; 3],
}

impl Tally {
    fn count(self) -> usize {
        self.within + self.below + self.above
    }

    fn percent(self) -> f64 {
        100.0 * self.within as f64 / self.count().max(1) as f64
    }

    /// How far a share of so few may be off by chance alone: its standard error, in percent points. What is foretold within a
    /// month of one series is right or wrong together, so months are counted, not forecasts.
    fn standard_error(self) -> f64 {
        let (share, all) = (self.percent() / 100.0, self.count().max(1) as f64);
        let [within, mixed, count] = self.products;
        let squares = within - 2.0 * share * mixed + share * share * count;
        let months = self.months as f64;
        100.0 * (squares.max(0.0) * months / (months - 1.0).max(1.0)).sqrt() / all
    }

    /// A month of a series is done.
    fn close_month(&mut self) {
        let [within, all] = [self.within - self.done[0], self.count() - self.done[1]].map(|count| count as f64);
        self.done = [self.within, self.count()];
        self.months += usize::from(all > 0.0);
        for (sum, product) in self.products.iter_mut().zip([within * within, within * all, all * all]) {
            *sum += product;
        }
    }

    fn add(&mut self, other: Self) {
        self.within += other.within;
        self.below += other.below;
        self.above += other.above;
        self.done = [self.within, self.count()];
        self.months += other.months;
        for (sum, product) in self.products.iter_mut().zip(other.products) {
            *sum += product;
        }
    }
}

/// What was measured on one kind of series.
pub(crate) struct Score {
    name: &'static str,
    ends: [Tally; 3],
    hits: [Tally; 3],
    /// Limits that were met, and those of them for which a day was named.
    met: [usize; 3],
    told: [usize; 3],
    /// How wide the ranges are, against what came.
    widths: [Vec<f64>; 3],
}

impl Score {
    pub(crate) fn new(name: &'static str) -> Self {
        let none = [Tally::default(); 3];
        Self { name, ends: none, hits: none, met: [0; 3], told: [0; 3], widths: Default::default() }
    }

    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Foretells one month of a made-up series at some moments, with limits near what was used before.
    pub(crate) fn add_made_up(&mut self, series: &Series, month: &MonthAt, random: &mut Pcg64) {
        for _ in 0..MOMENTS {
            let (today, passed) = (random.random_range(month.clone()), random.random());
            for meter in 0..3 {
                let limit = Some(near(series, month, meter, random));
                self.foretell(series, month, &Asked { today, passed, meter, limit, stops_at_limit: false }, random);
            }
        }
        self.close_month();
    }

    /// Foretells one month of somebody who asks before using, on the morning of each of its days: of these more is not known.
    pub(crate) fn add(&mut self, series: &Series, month: &MonthAt, limits: [Option<f64>; 3], random: &mut Pcg64) {
        for today in month.clone() {
            for (meter, limit) in limits.into_iter().enumerate() {
                self.foretell(series, month, &Asked { today, passed: 0.0, meter, limit, stops_at_limit: true }, random);
            }
        }
        self.close_month();
    }

    fn close_month(&mut self) {
        self.ends.iter_mut().chain(&mut self.hits).for_each(Tally::close_month);
    }

    fn foretell(&mut self, series: &Series, month: &MonthAt, asked: &Asked, random: &mut Pcg64) {
        let Asked { today, passed, meter, limit, stops_at_limit } = *asked;
        let whole = meter > 0;
        let of = |used: &Used| used[meter];
        let all: Vec<f64> = series.days.iter().map(|(_, used)| of(used)).collect();
        let of_today = all[today];
        let so_far = if whole {
            (0..of_today as usize).filter(|_| random.random::<f64>() < passed).count() as f64
        } else {
            of_today * passed
        };
        let used = all[month.start..today].iter().sum::<f64>() + so_far;
        let came: f64 = all[month.clone()].iter().sum();
        let oldest = series.days[today].0.month().minus(MONTHS_BACK);
        let first = series.days.iter().position(|(day, _)| day.month() >= oldest).unwrap_or(today);
        let days = &all[first..today];
        if days.iter().sum::<f64>() <= 0.0 {
            return;
        }
        let past = Past {
            days,
            today: series.days[today].0,
            today_left: 1.0 - passed,
            used,
            limit,
            stops_at_limit,
            whole,
            seed: random.random(),
        };
        if stops_at_limit && limit.is_some_and(|limit| used >= limit) {
            return;
        }
        let Some(outlook) = outlook(&past) else { return };
        let rounding = 1e-9;
        // Where one value is surer than the range should be, as a limit that will surely be met, there is no range to judge.
        let is_judged = outlook.high > outlook.low;
        let tally = if is_judged { &mut self.ends[meter] } else { &mut Tally::default() };
        if came < outlook.low - rounding {
            tally.below += 1;
        } else if came > outlook.high + rounding {
            tally.above += 1;
        } else {
            tally.within += 1;
        }
        if came > 0.0 {
            self.widths[meter].push((outlook.high - outlook.low) / came);
        }
        let Some(limit) = limit.filter(|limit| used < *limit) else { return };
        let mut sum = used;
        let met = (today..month.end).find(|day| {
            sum += if *day == today { of_today - so_far } else { all[*day] };
            sum >= limit - rounding
        });
        self.met[meter] += usize::from(met.is_some());
        let Some(reaches) = outlook.reaches else { return };
        self.told[meter] += usize::from(met.is_some());
        let tally = &mut self.hits[meter];
        match met.map(|day| series.days[day].0) {
            Some(day) if day < reaches.early => tally.below += 1,
            Some(day) if reaches.late.is_some_and(|late| day > late) => tally.above += 1,
            None if reaches.late.is_some() => tally.above += 1,
            _ => tally.within += 1,
        }
    }

    /// All of these together.
    pub(crate) fn sum(name: &'static str, scores: &[Self]) -> Self {
        let mut sum = Self::new(name);
        for score in scores {
            for meter in 0..3 {
                sum.ends[meter].add(score.ends[meter]);
                sum.hits[meter].add(score.hits[meter]);
                sum.met[meter] += score.met[meter];
                sum.told[meter] += score.told[meter];
                sum.widths[meter].extend(&score.widths[meter]);
            }
        }
        sum
    }

    pub(crate) fn heading() -> String {
        let meters: Vec<String> = METERS.iter().map(|meter| format!("{meter} in range (n)")).collect();
        let hits: Vec<String> = METERS.iter().map(|meter| format!("{meter} hit date (n)")).collect();
        let rule = "|---".repeat(9);
        format!(
            "| series | {} | {} | told of those met | typical width |\n{rule}|",
            meters.join(" | "),
            hits.join(" | ")
        )
    }

    pub(crate) fn row(&self) -> String {
        let cells = |tallies: &[Tally; 3]| {
            let cells = tallies
                .iter()
                .map(|tally| format!("{:.1} ± {:.1} ({})", tally.percent(), tally.standard_error(), tally.count()));
            cells.collect::<Vec<_>>().join(" | ")
        };
        let widths: Vec<String> = self.widths.iter().map(|widths| format!("{:.0}", 100.0 * median(widths))).collect();
        let (told, met) = (self.told.iter().sum::<usize>(), self.met.iter().sum::<usize>());
        let told = 100.0 * told as f64 / met.max(1) as f64;
        let (ends, hits) = (cells(&self.ends), cells(&self.hits));
        format!("| {} | {ends} | {hits} | {told:.0} % | {} % |", self.name, widths.join(", "))
    }

    /// What of one kind is not in its range as often as it should be, by more than chance explains, where there is enough of it
    /// to say so. Of some thirty figures one or the other would be just outside even if all were as they should be.
    pub(crate) fn outside(&self, promised: &std::ops::RangeInclusive<f64>) -> Vec<String> {
        let mut off = Vec::new();
        for (what, meter, tally) in self.figures() {
            let chance = STANDARD_ERRORS * tally.standard_error();
            let (least, most) = (promised.start() - chance, promised.end() + chance);
            if !(least..=most).contains(&tally.percent()) {
                let error = tally.standard_error();
                off.push(format!("{}: {what}, {meter}: {:.1} ± {error:.1}", self.name, tally.percent()));
            }
        }
        off
    }

    /// The figures of which there is enough.
    fn figures(&self) -> impl Iterator<Item = (&'static str, &'static str, Tally)> {
        let ends = METERS.into_iter().zip(self.ends).map(|(meter, tally)| ("month's end", meter, tally));
        let hits = METERS.into_iter().zip(self.hits).map(|(meter, tally)| ("hit date", meter, tally));
        ends.chain(hits).filter(|(_, _, tally)| tally.count() >= ENOUGH)
    }
}

/// How often what is promised holds of each meter, each kind counting alike: the row, and what of it is outside.
pub(crate) fn of_meters(kinds: &[&Score], promised: &std::ops::RangeInclusive<f64>) -> (String, Vec<String>) {
    let (mut cells, mut off) = (Vec::new(), Vec::new());
    for what in ["month's end", "hit date"] {
        for meter in METERS {
            let figures = kinds.iter().flat_map(|kind| kind.figures());
            let percents: Vec<f64> = figures
                .filter(|(of, its, _)| *of == what && *its == meter)
                .map(|(.., tally)| tally.percent())
                .collect();
            let percent = percents.iter().sum::<f64>() / percents.len().max(1) as f64;
            cells.push(format!("{percent:.1}"));
            if !promised.contains(&percent) {
                off.push(format!("all that is promised: {what}, {meter}: {percent:.1}"));
            }
        }
    }
    (format!("| **all that is promised, each kind alike** | {} | | |", cells.join(" | ")), off)
}

/// What one forecast is asked with.
#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Today's place in the series.
    today: usize,
    /// How much of today is over.
    passed: f64,
    meter: usize,
    limit: Option<f64>,
    stops_at_limit: bool,
}

/// A limit near what was used in the month before, or of what there is.
fn near(series: &Series, month: &MonthAt, meter: usize, random: &mut Pcg64) -> f64 {
    let before = &series.days[month.start.saturating_sub(30)..month.start];
    let used: f64 = before.iter().map(|(_, used)| used[meter]).sum();
    let limit = used * random.random_range(0.5..1.3);
    if meter > 0 { limit.round().max(1.0) } else { limit.max(0.01) }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}

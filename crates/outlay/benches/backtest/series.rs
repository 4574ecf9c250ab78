//! Made-up use of one user over fourteen months, of kinds that forecasts fail at.

use outlay_core::month::{Day, Month};
use rand::RngExt as _;
use rand_pcg::Pcg64;

/// How use comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The same on every day but for chance.
    Steady,
    /// Little on weekends, and a level that drifts.
    Weekday,
    /// From 5 to 25 percent more each month.
    Growth,
    /// Now and then some days with several times as much.
    Bursts,
    /// Weeks without anything.
    Silences,
    /// A new level each month.
    Monthly,
    /// Begun some weeks ago.
    New,
}

impl Kind {
    pub(crate) const ALL: [Self; 7] =
        [Self::Steady, Self::Weekday, Self::Growth, Self::Bursts, Self::Silences, Self::Monthly, Self::New];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Steady => "steady",
            Self::Weekday => "weekdays, drifting",
            Self::Growth => "growth",
            Self::Bursts => "bursts",
            Self::Silences => "long silences",
            Self::Monthly => "another level each month",
            Self::New => "begun 1 to 8 weeks ago",
        }
    }

    /// Whether a share of 76 to 84 percent is promised of it; of the others it is shown how it goes.
    pub(crate) const fn is_promised(self) -> bool {
        matches!(self, Self::Weekday | Self::Growth | Self::Bursts | Self::Silences)
    }

    /// Months that must lie before one that is foretold.
    pub(crate) fn months_before(self) -> usize {
        if self == Self::New { 0 } else { 3 }
    }
}

/// What was used on one day of each meter: cost, AI runs, API runs.
pub(crate) type Used = [f64; 3];

/// The days of one user, without gaps.
pub(crate) struct Series {
    pub(crate) days: Vec<(Day, Used)>,
}

/// The place of a month's days in a series, all of which are there.
pub(crate) type MonthAt = std::ops::Range<usize>;

impl Series {
    pub(crate) fn months(&self) -> Vec<MonthAt> {
        let mut months = Vec::new();
        let mut first = 0;
        for (place, (day, _)) in self.days.iter().enumerate() {
            if day.day_of_month() == 1 {
                first = place;
            }
            if day.day_of_month() == day.month().days() && usize::from(day.day_of_month()) == place + 1 - first {
                months.push(first..place + 1);
            }
        }
        months
    }
}

/// How busy the days of a week are, from Monday on.
const WEEK: [f64; 7] = [1.15, 1.3, 1.35, 1.3, 1.1, 0.45, 0.35];
const MONTHS: u32 = 14;

pub(crate) fn make(kind: Kind, random: &mut Pcg64) -> Series {
    // From one thing every other day to fifteen a day.
    let level = 0.5 * 30_f64.powf(random.random());
    let growth = if kind == Kind::Growth { 0.05 + 0.2 * random.random::<f64>() } else { 0.0 };
    let (mut silent, mut bursting, mut burst, mut of_month, mut drift) = (0_u32, 0_u32, 1.0, 1.0, 0.0_f64);
    let mut days = Vec::new();
    let first = Month::parse("2024-09").unwrap();
    let months = if kind == Kind::New { 3 } else { MONTHS };
    for month in 0..months {
        let month = Month::from_index(first.index() + month);
        if kind == Kind::Monthly {
            of_month = 0.45 + 1.1 * random.random::<f64>();
        }
        for day in 1..=month.days() {
            let day = Day::new(month, day);
            let number = days.len();
            let shape = if kind == Kind::Steady { 1.0 } else { WEEK[number % 7] };
            let mut rate = level * shape * of_month * (1.0 + growth).powf(number as f64 / 30.0);
            match kind {
                Kind::Weekday => {
                    drift += 0.03 * (random.random::<f64>() - 0.5);
                    rate *= drift.exp();
                }
                Kind::Bursts => {
                    if bursting > 0 {
                        bursting -= 1;
                    } else if random.random_bool(0.06) {
                        bursting = random.random_range(0..5);
                        burst = random.random_range(3.0..7.0);
                    } else {
                        burst = 0.6;
                    }
                    rate *= burst;
                }
                Kind::Silences => {
                    if silent > 0 {
                        silent -= 1;
                        rate = 0.0;
                    } else if random.random_bool(0.025) {
                        silent = random.random_range(7..42);
                    }
                }
                _ => {}
            }
            days.push((day, used(rate, random)));
        }
    }
    if kind == Kind::New {
        // The last month is the one that is foretold; before it, or in it, lie one to eight weeks.
        let last = usize::from(Month::from_index(first.index() + months - 1).days());
        let begun = days.len() - last - random.random_range(0..56);
        days.drain(..begun);
    }
    Series { days }
}

/// A day's acts: some are AI runs, some API runs, some both, and what they cost differs much.
fn used(rate: f64, random: &mut Pcg64) -> Used {
    let mut used = [0.0; 3];
    // Arrivals within the day, which are as many as Poisson says.
    let mut passed = 0.0;
    loop {
        passed -= (1.0 - random.random::<f64>()).ln() / rate.max(1e-9);
        if passed > 1.0 {
            return used;
        }
        let act: f64 = random.random();
        if act < 0.45 {
            used[1] += 1.0;
            used[0] += random.random_range(0.000_1..0.001_5);
        }
        if act > 0.35 {
            used[2] += 1.0;
            used[0] += if random.random_bool(0.3) { 0.03 } else { 0.005 };
        }
    }
}

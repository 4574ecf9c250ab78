//! A user's meters for one month, and the one question asked of them: does this fit?

use crate::id::{Name, UserId};
use crate::money::divide_half_even;
use crate::month::{Month, Timestamp};
use crate::plan::{Amounts, Limit, Limits, Meter, PerMeter};

/// How near a meter is to its limit, from the exact fraction `(used + held) / limit`; the worst comes last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum State {
    /// Below 80 percent, or unlimited.
    #[default]
    Ok,
    /// From 80 percent.
    Warning,
    /// From 95 percent.
    Critical,
    /// From 100 percent, and always where the limit is 0.
    Reached,
}

impl State {
    /// All states, the best first.
    pub const ALL: [Self; 4] = [Self::Ok, Self::Warning, Self::Critical, Self::Reached];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warning => "warning",
            Self::Critical => "critical",
            Self::Reached => "reached",
        }
    }
}

/// One meter of one month, in the meter's unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MeterBudget {
    /// What recorded operations used.
    pub used: i64,
    /// What open sessions hold beyond what their steps drew.
    pub held: i64,
    /// The most allowed: `None` is unlimited.
    pub limit: Limit,
}

impl MeterBudget {
    /// `used + held`; each is below 2^63, so their sum needs the wider type.
    fn taken(&self) -> i128 {
        i128::from(self.used).saturating_add(i128::from(self.held))
    }

    /// Whether `amount` more stays within the limit. Exactly the limit fits; an amount of 0 always fits.
    pub fn fits(&self, amount: i64) -> bool {
        amount <= 0
            || self.limit.is_none_or(|limit| self.taken().saturating_add(i128::from(amount)) <= i128::from(limit))
    }

    /// What is left, never below 0; `None` when unlimited.
    pub fn remaining(&self) -> Option<i64> {
        let left = i128::from(self.limit?).saturating_sub(self.taken()).max(0);
        Some(i64::try_from(left).unwrap_or(i64::MAX))
    }

    /// Hundredths of a percent of the limit, half to even, not capped; `None` when unlimited, 10,000 where nothing is allowed.
    pub fn percent_hundredths(&self) -> Option<i128> {
        percent_hundredths(self.taken(), self.limit?)
    }

    /// How near the meter is to its limit.
    pub fn state(&self) -> State {
        let Some(limit) = self.limit else {
            return State::Ok;
        };
        let reached = |percent| limit == 0 || reaches(self.taken(), limit, percent);
        // Most are far from their limit, and lists ask this of everybody.
        if !reached(80) {
            State::Ok
        } else if !reached(95) {
            State::Warning
        } else if !reached(100) {
            State::Critical
        } else {
            State::Reached
        }
    }
}

/// Whether `amount`, at most a sum of a few `i64`, is at least `percent` percent of `limit`, exactly.
pub(crate) fn reaches(amount: i128, limit: i64, percent: u8) -> bool {
    // Neither product comes near the range of `i128`; saturating there is ten times the work.
    amount.wrapping_mul(100) >= i128::from(limit).wrapping_mul(i128::from(percent))
}

/// `100 * amount / limit` in hundredths, half to even; 10,000 for a limit of 0.
pub fn percent_hundredths(amount: i128, limit: i64) -> Option<i128> {
    Some(if limit <= 0 { 10_000 } else { divide_half_even(amount.saturating_mul(10_000), i128::from(limit)) })
}

/// A user's meters for one month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Whose.
    pub user_id: UserId,
    /// The plan that holds.
    pub plan: Name,
    /// The next plan in tier order, if there is one.
    pub next_plan: Option<Name>,
    /// Which month.
    pub month: Month,
    /// Used, held and limit of each meter.
    pub meters: PerMeter<MeterBudget>,
}

impl Budget {
    /// The meters that `amounts` does not fit into, in the order of every answer; empty when it fits.
    pub fn failed(&self, amounts: &Amounts) -> Failed {
        failed(&self.meters, amounts)
    }

    /// The worst state of the meters.
    pub fn state(&self) -> State {
        self.meters.iter().map(|(_, meter)| meter.state()).max().unwrap_or_default()
    }

    /// Whether no meter has a limit.
    pub fn unlimited(&self) -> bool {
        self.meters.iter().all(|(_, meter)| meter.limit.is_none())
    }

    /// When the next month begins.
    pub fn resets_at(&self) -> Timestamp {
        self.month.resets_at()
    }

    /// The limits that hold.
    pub fn limits(&self) -> Limits {
        Limits::from_fn(|meter| self.meters.get(meter).limit)
    }
}

/// A set of meters that something did not fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Failed(PerMeter<bool>);

impl Failed {
    /// The set of the meters for which `contains` says yes.
    pub fn from_fn(contains: impl FnMut(Meter) -> bool) -> Self {
        Self(PerMeter::from_fn(contains))
    }

    /// Whether everything fitted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Whether this meter is among them.
    pub fn contains(&self, meter: Meter) -> bool {
        *self.0.get(meter)
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        Self::from_fn(|meter| self.contains(meter) || other.contains(meter))
    }

    /// The meters, in the order of every answer.
    pub fn iter(&self) -> impl Iterator<Item = Meter> {
        Meter::ALL.into_iter().filter(|meter| self.contains(*meter))
    }
}

/// The meters that `amounts` does not fit into.
pub fn failed(meters: &PerMeter<MeterBudget>, amounts: &Amounts) -> Failed {
    Failed::from_fn(|meter| !meters.get(meter).fits(*amounts.get(meter)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(used: i64, held: i64, limit: Limit) -> MeterBudget {
        MeterBudget { used, held, limit }
    }

    #[test]
    fn exactly_the_limit_fits() {
        assert!(meter(28, 1, Some(30)).fits(1));
        assert!(!meter(29, 1, Some(30)).fits(1));
        assert!(meter(40, 0, Some(30)).fits(0));
        assert!(!meter(i64::MAX, i64::MAX, Some(i64::MAX)).fits(1));
    }

    #[test]
    fn a_limit_of_zero_allows_nothing_and_an_absent_one_everything() {
        let none = meter(0, 0, Some(0));
        assert!(!none.fits(1));
        assert_eq!(
            (none.percent_hundredths(), none.state(), none.remaining()),
            (Some(10_000), State::Reached, Some(0))
        );
        let unlimited = meter(7, 0, None);
        assert!(unlimited.fits(i64::MAX));
        assert_eq!((unlimited.percent_hundredths(), unlimited.state(), unlimited.remaining()), (None, State::Ok, None));
    }

    #[test]
    fn the_state_comes_from_the_exact_fraction_and_the_percent_is_rounded_half_to_even() {
        assert_eq!(meter(79_999, 0, Some(100_000)).state(), State::Ok);
        assert_eq!(meter(79_999, 0, Some(100_000)).percent_hundredths(), Some(8_000));
        assert_eq!(meter(79_000, 1_000, Some(100_000)).state(), State::Warning);
        assert_eq!(meter(95, 0, Some(100)).state(), State::Critical);
        assert_eq!(meter(130, 0, Some(100)).state(), State::Reached);
        assert_eq!(meter(1, 0, Some(30)).percent_hundredths(), Some(333));
        assert_eq!(meter(25, 0, Some(100_000)).percent_hundredths(), Some(2));
        assert_eq!(meter(35, 0, Some(100_000)).percent_hundredths(), Some(4));
        assert_eq!(meter(40, 0, Some(30)).remaining(), Some(0));
    }

    fn budget(cost: MeterBudget, ai_runs: MeterBudget, api_runs: MeterBudget) -> Budget {
        Budget {
            user_id: UserId::from_stored("u"),
            plan: Name::from_stored("premium"),
            next_plan: None,
            month: Month::parse("2025-12").unwrap(),
            meters: PerMeter { cost, ai_runs, api_runs },
        }
    }

    #[test]
    fn a_budget_is_as_its_worst_meter_and_unlimited_only_when_each_is() {
        let (free, ok, warning) = (meter(99, 0, None), meter(1, 0, Some(100)), meter(80, 0, Some(100)));
        assert_eq!(budget(ok, warning, free).state(), State::Warning);
        assert_eq!(budget(free, ok, meter(0, 0, Some(0))).state(), State::Reached);
        assert!(budget(free, free, free).unlimited());
        assert!(!budget(free, free, ok).unlimited());
        assert_eq!(State::ALL.map(State::as_str), ["ok", "warning", "critical", "reached"]);
    }

    #[test]
    fn a_budget_has_its_months_end_and_its_limits() {
        let budget = budget(meter(0, 0, Some(5)), meter(0, 0, None), meter(0, 0, Some(7)));
        assert_eq!(budget.resets_at().to_string(), "2026-01-01T00:00:00Z");
        assert_eq!(budget.limits(), Limits { cost: Some(5), ai_runs: None, api_runs: Some(7) });
    }

    #[test]
    fn what_does_not_fit_is_a_set_of_meters() {
        let meters = budget(meter(5, 0, Some(5)), meter(0, 0, None), meter(7, 0, Some(7)));
        let failed = meters.failed(&Amounts { cost: 0, ai_runs: 1, api_runs: 1 });
        assert_eq!(failed.iter().collect::<Vec<_>>(), [Meter::ApiRuns]);
        let both = failed.union(&meters.failed(&Amounts { cost: 1, ai_runs: 0, api_runs: 0 }));
        assert_eq!(both.iter().collect::<Vec<_>>(), [Meter::Cost, Meter::ApiRuns]);
        assert!(!both.is_empty() && Failed::default().is_empty());
    }
}

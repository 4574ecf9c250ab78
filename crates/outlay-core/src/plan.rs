//! Meters, limits and plans: what is limited per user and month, and by how much.

use std::fmt;

use crate::alert::Thresholds;
use crate::id::Name;
use crate::money::Usd;

/// One thing that is limited per user and month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Meter {
    /// USD; one pool for AI and API.
    Cost,
    /// Billable operations of type `AIUsage`.
    AiRuns,
    /// Billable operations of type `ApiUsage`.
    ApiRuns,
}

impl Meter {
    /// All meters, in the order in which every answer names them.
    pub const ALL: [Self; 3] = [Self::Cost, Self::AiRuns, Self::ApiRuns];

    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::AiRuns => "aiRuns",
            Self::ApiRuns => "apiRuns",
        }
    }
}

impl fmt::Display for Meter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A value for each meter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct PerMeter<T> {
    /// Of the cost meter.
    pub cost: T,
    /// Of the AI runs meter.
    pub ai_runs: T,
    /// Of the API runs meter.
    pub api_runs: T,
}

impl<T> PerMeter<T> {
    /// The value of one meter.
    pub const fn get(&self, meter: Meter) -> &T {
        match meter {
            Meter::Cost => &self.cost,
            Meter::AiRuns => &self.ai_runs,
            Meter::ApiRuns => &self.api_runs,
        }
    }

    /// The value of one meter, to change it.
    pub const fn get_mut(&mut self, meter: Meter) -> &mut T {
        match meter {
            Meter::Cost => &mut self.cost,
            Meter::AiRuns => &mut self.ai_runs,
            Meter::ApiRuns => &mut self.api_runs,
        }
    }

    /// Makes the value of each meter.
    pub fn from_fn(mut make: impl FnMut(Meter) -> T) -> Self {
        Self { cost: make(Meter::Cost), ai_runs: make(Meter::AiRuns), api_runs: make(Meter::ApiRuns) }
    }

    /// The meters with their values, in the order of every answer.
    pub fn iter(&self) -> impl Iterator<Item = (Meter, &T)> {
        Meter::ALL.into_iter().map(|meter| (meter, self.get(meter)))
    }
}

/// A value per meter in the meter's own unit: picodollars for cost, runs for the others. Absent on the wire means 0.
pub type Amounts = PerMeter<i64>;

/// The most runs that one estimate may ask for.
pub const RUNS_AMOUNT_MAX: i64 = 1_000_000;
/// The highest limit of a runs meter.
pub const RUNS_LIMIT_MAX: i64 = 1_000_000_000_000;

impl Amounts {
    /// Nothing on any meter.
    pub const ZERO: Self = Self { cost: 0, ai_runs: 0, api_runs: 0 };

    /// The cost.
    pub const fn usd(&self) -> Usd {
        Usd::from_picos(self.cost)
    }

    /// Whether every meter is at zero.
    pub const fn is_zero(&self) -> bool {
        self.cost == 0 && self.ai_runs == 0 && self.api_runs == 0
    }

    /// Both added; `None` when a meter leaves the range of `i64`.
    pub fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            cost: self.cost.checked_add(other.cost)?,
            ai_runs: self.ai_runs.checked_add(other.ai_runs)?,
            api_runs: self.api_runs.checked_add(other.api_runs)?,
        })
    }

    /// `self - other`, each meter stopping at zero.
    #[must_use]
    pub fn minus_to_zero(&self, other: &Self) -> Self {
        Self::from_fn(|meter| self.get(meter).saturating_sub(*other.get(meter)).max(0))
    }

    /// The smaller of both, meter by meter.
    #[must_use]
    pub fn at_most(&self, other: &Self) -> Self {
        Self::from_fn(|meter| *self.get(meter).min(other.get(meter)))
    }

    /// The larger of both, meter by meter.
    #[must_use]
    pub fn at_least(&self, other: &Self) -> Self {
        Self::from_fn(|meter| *self.get(meter).max(other.get(meter)))
    }
}

/// The most that a meter may reach in a month: `None` is unlimited, 0 allows nothing.
pub type Limit = Option<i64>;

/// A limit for each meter.
pub type Limits = PerMeter<Limit>;

/// What a user's own settings say of a plan's limit: `None` follows the plan.
pub type Overrides = PerMeter<Option<Limit>>;

impl Overrides {
    /// The limits that hold for a user: the plan's, but for the meters that are overridden.
    pub fn over(&self, plan: &Limits) -> Limits {
        Limits::from_fn(|meter| self.get(meter).unwrap_or(*plan.get(meter)))
    }
}

/// A named set of monthly limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Its name, such as `premium`.
    pub name: Name,
    /// Its place among the plans; the next plan is the one with the next higher tier.
    pub tier: u32,
    /// Its monthly limits.
    pub limits: Limits,
}

/// All plans, in tier order, which one holds for a user who has none, and at what percentages of their limits alerts are raised.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plans {
    /// In tier order; never empty.
    all: Vec<Plan>,
    default_plan: Name,
    alerts: AlertThresholds,
}

/// At what percentages of a limit alerts are raised.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AlertThresholds {
    /// Of each plan that is not named in `plans`.
    pub all: Thresholds,
    /// Of these plans, be they there or not.
    pub plans: Vec<(Name, Thresholds)>,
}

impl Plans {
    /// The plans that a new store begins with: cost in USD, AI runs, API runs.
    pub fn standard() -> Self {
        let usd = |cents: i64| Some(cents.saturating_mul(10_000_000_000));
        let limited =
            |cents, ai_runs, api_runs| Limits { cost: usd(cents), ai_runs: Some(ai_runs), api_runs: Some(api_runs) };
        let plans = [
            ("base", limited(0, 0, 0)),
            ("pro", limited(150, 0, 50)),
            ("premium", limited(300, 30, 100)),
            ("business", limited(500, 50, 200)),
            ("enterprise", Limits::default()),
        ];
        let plans = (1_u32..).zip(plans);
        Self {
            all: plans
                .map(|(tier, (name, limits))| Plan {
                    name: Name::from_stored(name),
                    tier: tier.saturating_mul(10),
                    limits,
                })
                .collect(),
            default_plan: Name::from_stored("base"),
            alerts: AlertThresholds::default(),
        }
    }

    /// These plans in tier order, with the plan of a user who has none.
    ///
    /// # Errors
    /// Gives back the default plan's name when it is not among the plans.
    pub fn new(mut plans: Vec<Plan>, default_plan: Name) -> Result<Self, Name> {
        plans.sort_by(|a, b| (a.tier, &a.name).cmp(&(b.tier, &b.name)));
        if plans.iter().any(|plan| plan.name == default_plan) {
            Ok(Self { all: plans, default_plan, alerts: AlertThresholds::default() })
        } else {
            Err(default_plan)
        }
    }

    /// The same plans with alerts at these percentages.
    #[must_use]
    pub fn with_alerts(self, alerts: AlertThresholds) -> Self {
        Self { alerts, ..self }
    }

    /// At what percentages alerts are raised.
    pub const fn alerts(&self) -> &AlertThresholds {
        &self.alerts
    }

    /// At what percentages of this plan's limits alerts are raised.
    pub fn thresholds_of(&self, plan: &Name) -> Thresholds {
        let own = self.alerts.plans.iter().find(|(name, _)| name == plan);
        own.map_or(self.alerts.all, |(_, thresholds)| *thresholds)
    }

    /// All plans, in tier order.
    pub fn all(&self) -> &[Plan] {
        &self.all
    }

    /// The plan of a user who has none.
    pub const fn default_plan(&self) -> &Name {
        &self.default_plan
    }

    /// The plan with this name.
    pub fn get(&self, name: &str) -> Option<&Plan> {
        self.all.iter().find(|plan| plan.name.as_str() == name)
    }

    /// The plan that holds for a user with this setting. A plan that was taken out of the configuration limits like
    /// the default plan until the user is put on another.
    pub fn effective(&self, name: Option<&Name>) -> Option<&Plan> {
        name.and_then(|name| self.get(name.as_str())).or_else(|| self.get(self.default_plan.as_str()))
    }

    /// The plans above this one, in tier order.
    pub fn above(&self, name: &Name) -> impl Iterator<Item = &Plan> {
        let after =
            self.all.iter().position(|plan| plan.name == *name).map_or(self.all.len(), |at| at.saturating_add(1));
        self.all.iter().skip(after)
    }

    /// Adds the plan, or replaces the one of its name.
    pub fn put(&mut self, plan: Plan) {
        self.all.retain(|known| known.name != plan.name);
        self.all.push(plan);
        self.all.sort_by(|a, b| (a.tier, &a.name).cmp(&(b.tier, &b.name)));
    }

    /// The tier after the highest.
    pub fn next_tier(&self) -> u32 {
        self.all.last().map_or(10, |plan| plan.tier.saturating_add(10))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_standard_plans_have_the_limits_of_the_contract() {
        let plans = Plans::standard();
        let premium = plans.get("premium").unwrap();
        assert_eq!(premium.limits.cost.map(|picos| Usd::from_picos(picos).to_string()), Some("3".to_owned()));
        assert_eq!((premium.limits.ai_runs, premium.limits.api_runs), (Some(30), Some(100)));
        assert_eq!(plans.get("enterprise").unwrap().limits, Limits::default());
        let above: Vec<&str> = plans.above(&premium.name).map(|plan| plan.name.as_str()).collect();
        assert_eq!(above, ["business", "enterprise"]);
    }

    #[test]
    fn an_override_wins_over_the_plan_meter_by_meter() {
        let plan = Limits { cost: Some(5), ai_runs: Some(6), api_runs: Some(7) };
        let overrides = Overrides { cost: None, ai_runs: Some(None), api_runs: Some(Some(0)) };
        assert_eq!(overrides.over(&plan), Limits { cost: Some(5), ai_runs: None, api_runs: Some(0) });
    }

    #[test]
    fn a_plan_that_is_no_longer_there_limits_like_the_default_plan() {
        let plans = Plans::standard();
        let gone = Name::from_stored("gold");
        assert_eq!(plans.effective(Some(&gone)), plans.get("base"));
        assert_eq!(plans.effective(None), plans.get("base"));
        assert_eq!(Plans::new(plans.all().to_vec(), gone.clone()), Err(gone));
    }

    #[test]
    fn plans_are_in_tier_order_and_have_their_default_and_their_thresholds() {
        let plan = |name, tier| Plan { name: Name::from_stored(name), tier, limits: Limits::default() };
        let name = Name::from_stored;
        let mut plans = Plans::new(vec![plan("c", 2), plan("b", 2), plan("a", 7)], name("b")).unwrap();
        let names = |plans: &Plans| plans.all().iter().map(|plan| plan.name.to_string()).collect::<Vec<_>>();
        assert_eq!(names(&plans), ["b", "c", "a"]);
        assert_eq!((plans.default_plan(), plans.next_tier()), (&name("b"), 17));
        plans.put(plan("b", 3));
        assert_eq!(names(&plans), ["c", "b", "a"]);

        let (low, lower) = (Thresholds::new([50]).unwrap(), Thresholds::new([1]).unwrap());
        let alerts = AlertThresholds { all: low, plans: vec![(name("a"), lower)] };
        let plans = plans.with_alerts(alerts.clone());
        assert_eq!(plans.alerts(), &alerts);
        assert_eq!((plans.thresholds_of(&name("a")), plans.thresholds_of(&name("b"))), (lower, low));
    }

    #[test]
    fn amounts_stop_at_zero_and_are_compared_meter_by_meter() {
        let (one, other) = (Amounts { cost: 5, ai_runs: 1, api_runs: 3 }, Amounts { cost: 2, ai_runs: 4, api_runs: 3 });
        assert_eq!(one.minus_to_zero(&other), Amounts { cost: 3, ai_runs: 0, api_runs: 0 });
        assert_eq!(one.at_most(&other), Amounts { cost: 2, ai_runs: 1, api_runs: 3 });
        assert_eq!(one.at_least(&other), Amounts { cost: 5, ai_runs: 4, api_runs: 3 });
        assert_eq!(one.checked_add(&Amounts { api_runs: i64::MAX, ..other }), None);
        assert_eq!((one.usd(), Amounts::ZERO.is_zero()), (Usd::from_picos(5), true));
        for meter in Meter::ALL {
            let mut amounts = Amounts::ZERO;
            *amounts.get_mut(meter) = 1;
            assert_eq!(amounts, Amounts::from_fn(|of| i64::from(of == meter)));
            assert!(!amounts.is_zero(), "{meter}");
        }
    }
}

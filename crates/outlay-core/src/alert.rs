//! Alerts: the one notice per user, month, meter, threshold and limit. The ledger writes the record; sending it is others' job.

use std::fmt;

use crate::budget::reaches;
use crate::id::{AlertNo, Name, UserNo};
use crate::month::{Month, Timestamp};
use crate::plan::{Limits, Meter, PerMeter};

/// The percentages of a limit at which an alert is raised: whole ones, from 1 to 100.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Thresholds(u128);

impl Thresholds {
    /// These percentages; `None` where one is not from 1 to 100.
    pub fn new(percentages: impl IntoIterator<Item = u8>) -> Option<Self> {
        let add = |bits: u128, percentage| (1..=100).contains(&percentage).then(|| bits | 1_u128 << percentage);
        percentages.into_iter().try_fold(0, add).map(Self)
    }

    /// Them, in ascending order.
    pub fn iter(self) -> impl DoubleEndedIterator<Item = u8> {
        (1..=100).filter(move |percentage| self.0 & 1_u128 << percentage != 0)
    }
}

impl Default for Thresholds {
    /// 80, 95 and 100 percent, where a budget's state changes.
    fn default() -> Self {
        Self(1 << 80 | 1 << 95 | 1 << 100)
    }
}

impl fmt::Debug for Thresholds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_set().entries(self.iter()).finish()
    }
}

/// What makes an alert the one of its kind in a user's month.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertKey {
    /// The meter that crossed.
    pub meter: Meter,
    /// The percentage of the limit that it crossed.
    pub threshold: u8,
    /// The limit, in the meter's unit.
    pub limit: i64,
}

/// A crossed threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alert {
    /// Its number.
    pub no: AlertNo,
    /// Whose it is.
    pub user_no: UserNo,
    /// The month that crossed.
    pub month: Month,
    /// What crossed.
    pub key: AlertKey,
    /// What was used then, in the meter's unit.
    pub used: i64,
    /// What was held then.
    pub held: i64,
    /// The plan that held then.
    pub plan: Name,
    /// The next plan in tier order.
    pub next_plan: Option<Name>,
    /// The alert of a higher threshold that was raised by the same change, and is sent in its stead.
    pub superseded_by: Option<AlertNo>,
    /// When it was raised.
    pub recorded_at: Timestamp,
    /// The user's alert before this one.
    pub previous: Option<AlertNo>,
}

/// Those of the thresholds that `used` has reached and `raised` does not name, meter by meter, the lower first.
pub fn crossed(used: &PerMeter<i64>, limits: &Limits, thresholds: Thresholds, raised: &[AlertKey]) -> Vec<AlertKey> {
    let mut crossed = Vec::new();
    for (meter, used) in used.iter() {
        let Some(limit) = limits.get(meter).filter(|limit| *limit > 0) else {
            continue;
        };
        for threshold in thresholds.iter() {
            let key = AlertKey { meter, threshold, limit };
            if reaches(i128::from(*used), limit, threshold) && !raised.contains(&key) {
                crossed.push(key);
            }
        }
    }
    crossed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::Amounts;

    #[test]
    fn an_alert_is_raised_at_the_exact_threshold_once_and_never_for_a_limit_of_zero_or_none() {
        let limits = Limits { cost: Some(300), ai_runs: Some(0), api_runs: None };
        let used = |cost| Amounts { cost, ai_runs: 5, api_runs: 5 };
        let crossed = |used: &Amounts, limits: &Limits, raised: &[AlertKey]| {
            super::crossed(used, limits, Thresholds::default(), raised)
        };
        assert_eq!(crossed(&used(239), &limits, &[]), []);
        let warning = AlertKey { meter: Meter::Cost, threshold: 80, limit: 300 };
        assert_eq!(crossed(&used(240), &limits, &[]), [warning]);
        assert_eq!(crossed(&used(250), &limits, &[warning]), []);
        let thresholds: Vec<u8> = crossed(&used(300), &limits, &[warning]).iter().map(|key| key.threshold).collect();
        assert_eq!(thresholds, [95, 100]);
        let other_limit = Limits { cost: Some(310), ..limits };
        assert_eq!(crossed(&used(250), &other_limit, &[warning]).len(), 1);
    }

    #[test]
    fn thresholds_are_a_set_of_whole_percentages() {
        let of = |percentages: &[u8]| Thresholds::new(percentages.iter().copied());
        let chosen = of(&[100, 1, 50, 50]).unwrap();
        assert_eq!(chosen.iter().collect::<Vec<_>>(), [1, 50, 100]);
        assert_eq!(Some(Thresholds::default()), of(&[80, 95, 100]));
        assert_eq!((of(&[0]), of(&[80, 101])), (None, None));
        assert_eq!(of(&[]).unwrap().iter().count(), 0);
        assert_eq!(format!("{chosen:?}"), "{1, 50, 100}");

        let limits = Limits { cost: Some(300), ai_runs: None, api_runs: None };
        let used = Amounts { cost: 150, ai_runs: 0, api_runs: 0 };
        let keys = crossed(&used, &limits, chosen, &[]);
        assert_eq!(keys.iter().map(|key| key.threshold).collect::<Vec<_>>(), [1, 50]);
    }
}

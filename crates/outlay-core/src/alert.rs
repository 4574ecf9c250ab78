//! Alerts: the one notice per user, month, meter, threshold and limit. The ledger writes the record; sending it is others' job.

use crate::budget::reaches;
use crate::id::{AlertNo, Name, UserNo};
use crate::month::{Month, Timestamp};
use crate::plan::{Limits, Meter, PerMeter};

/// The percentages of a limit at which an alert is raised, in ascending order.
pub const THRESHOLDS: [u8; 3] = [80, 95, 100];

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

/// The thresholds that `used` has reached and `raised` does not name, meter by meter, the lower first.
pub fn crossed(used: &PerMeter<i64>, limits: &Limits, raised: &[AlertKey]) -> Vec<AlertKey> {
    let mut crossed = Vec::new();
    for (meter, used) in used.iter() {
        let Some(limit) = limits.get(meter).filter(|limit| *limit > 0) else {
            continue;
        };
        for threshold in THRESHOLDS {
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
        assert_eq!(crossed(&used(239), &limits, &[]), []);
        let warning = AlertKey { meter: Meter::Cost, threshold: 80, limit: 300 };
        assert_eq!(crossed(&used(240), &limits, &[]), [warning]);
        assert_eq!(crossed(&used(250), &limits, &[warning]), []);
        let thresholds: Vec<u8> = crossed(&used(300), &limits, &[warning]).iter().map(|key| key.threshold).collect();
        assert_eq!(thresholds, [95, 100]);
        let other_limit = Limits { cost: Some(310), ..limits };
        assert_eq!(crossed(&used(250), &other_limit, &[warning]).len(), 1);
    }
}

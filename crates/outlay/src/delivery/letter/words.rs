//! What a template may say: each word as it is written, so that a template only puts them in their places.

use outlay_core::alert::{Alert, AlertKey};
use outlay_core::budget::{Budget, MeterBudget};
use outlay_core::id::{AlertNo, Name, UserId, UserNo};
use outlay_core::month::{Month, Timestamp};
use outlay_core::plan::{Meter, PerMeter};
use serde::Serialize;

use super::Crossing;
use crate::config::Presentation;
use crate::web::format;
use crate::web::links::user_path;

/// Characters of a bar in plain text.
const BAR: i128 = 20;

/// The words of a letter, by the names that templates know them by.
#[derive(Debug, Serialize)]
pub(super) struct Words {
    /// `alert_0a1b2c3d_17`
    alert_id: String,
    user_id: String,
    /// The user's plan, and the next one if there is.
    plan: String,
    next_plan: Option<String>,
    /// `October 2025`
    month: String,
    /// A whole percentage, such as 80.
    threshold: u8,
    /// What crossed, as it was then.
    meter: MeterWords,
    /// All meters, as they are now.
    meters: Vec<MeterWords>,
    /// A sentence without a stop.
    forecast: Option<String>,
    /// `1 November 2025`
    resets_on: String,
    /// Where a larger plan is to be had.
    upgrade_url: Option<String>,
    /// The server's address, and the user's page there, which operators may see.
    public_url: Option<String>,
    user_url: Option<String>,
}

#[derive(Debug, Serialize)]
struct MeterWords {
    /// `AI Operations`
    label: String,
    /// `AI operations`
    what: String,
    /// `24`, or `$2.40`.
    used: String,
    /// What is set aside for what runs; absent where it is nothing.
    held: Option<String>,
    /// `30`; absent where there is none.
    limit: Option<String>,
    /// Whole percent of the limit that are used, rounded down; absent where there is none, or it is 0.
    percent: Option<i128>,
    /// The same at most 100, for bars.
    bar_percent: i128,
    /// `################----`
    bar: String,
}

impl Words {
    pub(super) fn of(crossing: &Crossing<'_>) -> Self {
        let Crossing { id, alert, budget, forecast, presentation } = *crossing;
        let labels = &presentation.labels;
        let words = |meter, of_meter: &MeterBudget| MeterWords::of(meter, of_meter, labels);
        let key = alert.key;
        let then = MeterBudget { used: alert.used, held: alert.held, limit: Some(key.limit) };
        let resets_at = alert.month.resets_at().month();
        Self {
            alert_id: id.to_owned(),
            user_id: budget.user_id.as_str().to_owned(),
            plan: budget.plan.as_str().to_owned(),
            next_plan: budget.next_plan.as_ref().map(|plan| plan.as_str().to_owned()),
            month: format::month(alert.month),
            threshold: key.threshold,
            meter: words(key.meter, &then),
            meters: budget.meters.iter().map(|(meter, of_meter)| words(meter, of_meter)).collect(),
            forecast: forecast.map(ToOwned::to_owned),
            resets_on: format!("1 {}", format::month(resets_at)),
            upgrade_url: presentation.upgrade_url.clone(),
            public_url: presentation.public_url.clone(),
            user_url: presentation.public_url.as_ref().map(|url| format!("{url}/{}", user_path(&budget.user_id))),
        }
    }
}

impl MeterWords {
    fn of(meter: Meter, budget: &MeterBudget, labels: &PerMeter<String>) -> Self {
        let label = labels.get(meter).clone();
        let limit = budget.limit.filter(|limit| *limit > 0);
        let percent = limit.map(|limit| i128::from(budget.used.max(0)).saturating_mul(100) / i128::from(limit));
        let bar_percent = percent.unwrap_or(0).min(100);
        let filled = usize::try_from(bar_percent * BAR / 100).unwrap_or(0);
        Self {
            what: format::in_a_sentence(&label),
            label,
            used: format::amount(meter, budget.used),
            held: (budget.held > 0).then(|| format::amount(meter, budget.held)),
            limit: budget.limit.map(|limit| format::amount(meter, limit)),
            percent,
            bar_percent,
            bar: format!("{:-<width$}", "#".repeat(filled), width = usize::try_from(BAR).unwrap_or(0)),
        }
    }
}

/// Words to try templates out with: one letter with all that may be said, one with as little as may be, and one that is not
/// about money.
pub(super) fn samples() -> Vec<Words> {
    let name = |text: &str| Name::new(text).expect("a plan's name");
    let month = Timestamp::EPOCH.month();
    let limits = PerMeter { cost: Some(3_000_000_000_000), ai_runs: Some(30), api_runs: None };
    let sample = |meter: Meter, threshold: u8, all: bool, month: Month| {
        let limit = limits.get(meter).unwrap_or(100);
        let used = limit * 95 / 100;
        let alert = Alert {
            no: AlertNo(1),
            user_no: UserNo(1),
            month,
            key: AlertKey { meter, threshold, limit },
            used,
            held: 0,
            plan: name("premium"),
            next_plan: all.then(|| name("business")),
            superseded_by: None,
            recorded_at: Timestamp::EPOCH,
            previous: None,
        };
        let held = if all { 2 } else { 0 };
        let budget = Budget {
            user_id: UserId::from_stored("sample".to_owned()),
            plan: name("premium"),
            next_plan: alert.next_plan.clone(),
            month,
            meters: PerMeter::from_fn(|meter| MeterBudget { used, held, limit: *limits.get(meter) }),
        };
        let presentation = Presentation {
            upgrade_url: all.then(|| "https://example.org/upgrade".to_owned()),
            public_url: all.then(|| "https://outlay.example.org".to_owned()),
            ..Presentation::default()
        };
        let forecast = all.then_some("You will reach your cost budget limit around 24 October");
        Words::of(&Crossing { id: "alert_0_1", alert: &alert, budget: &budget, forecast, presentation: &presentation })
    };
    vec![
        sample(Meter::Cost, 80, true, month),
        sample(Meter::AiRuns, 100, false, month),
        sample(Meter::ApiRuns, 95, false, month),
    ]
}

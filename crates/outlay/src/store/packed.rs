//! What both stores pack into one column: lists as text, and kinds as small numbers. Both keep them alike, so that a copy
//! from one store to the other is a copy.

pub(super) mod delivery;

use std::collections::BTreeSet;

use outlay_core::alert::AlertKey;
use outlay_core::budget::Failed;
use outlay_core::denial::{DenialSource, Reason};
use outlay_core::id::{Label, Name};
use outlay_core::money::Quantity;
use outlay_core::month::Month;
use outlay_core::operation::{Operation, Tokens, Units, UsageType};
use outlay_core::plan::{Amounts, Meter, Plan, Plans};
use outlay_core::session::{Ask, Choice, Finish, SessionStatus};

use super::StoreError;

/// A row that cannot be what it should be.
pub(super) fn damaged(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} has a value that no version of Outlay writes"))
}

pub(super) fn json_text(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Corrupt(error.to_string()))
}

pub(super) fn from_json<'t, T: serde::Deserialize<'t>>(text: &'t str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|_| damaged("a packed column"))
}

pub(super) fn units_text(units: &[(Name, Quantity)]) -> Result<String, StoreError> {
    let units: Vec<(&str, String)> =
        units.iter().map(|(name, quantity)| (name.as_str(), quantity.to_string())).collect();
    json_text(&units)
}

pub(super) fn read_units(text: &str) -> Result<Units, StoreError> {
    let units: Vec<(String, String)> = from_json(text)?;
    units
        .into_iter()
        .map(|(name, quantity)| {
            Ok((Name::from_stored(name), Quantity::parse(&quantity).map_err(|_| damaged("a quantity"))?))
        })
        .collect::<Result<Vec<_>, StoreError>>()
        .map(Units::from)
}

pub(super) fn read_tokens(text: &str) -> Result<Tokens, StoreError> {
    let [input, cached_input, cache_write, output, reasoning] = from_json(text)?;
    Ok(Tokens { input, cached_input, cache_write, output, reasoning })
}

/// An ask as JSON: `[cost, aiRuns, apiRuns]`, or `[[name, cost, aiRuns, apiRuns], ...]`.
pub(super) fn ask_text(ask: &Ask) -> Result<String, StoreError> {
    match ask {
        Ask::Estimate(amounts) => json_text(&(amounts.cost, amounts.ai_runs, amounts.api_runs)),
        Ask::Choices(choices) => {
            let choices: Vec<(&str, i64, i64, i64)> = choices
                .iter()
                .map(|choice| {
                    let amounts = &choice.estimate;
                    (choice.name.as_str(), amounts.cost, amounts.ai_runs, amounts.api_runs)
                })
                .collect();
            json_text(&choices)
        }
    }
}

pub(super) fn read_ask(text: &str) -> Result<Ask, StoreError> {
    if text.starts_with("[[") {
        let choices: Vec<(String, i64, i64, i64)> = from_json(text)?;
        let choices = choices.into_iter().map(|(name, cost, ai_runs, api_runs)| Choice {
            name: Name::from_stored(name),
            estimate: Amounts { cost, ai_runs, api_runs },
        });
        Ok(Ask::Choices(choices.collect()))
    } else {
        let (cost, ai_runs, api_runs) = from_json(text)?;
        Ok(Ask::Estimate(Amounts { cost, ai_runs, api_runs }))
    }
}

fn read_alert_key(text: &str) -> Option<AlertKey> {
    let mut parts = text.split(' ');
    let name = parts.next()?;
    let meter = Meter::ALL.into_iter().find(|meter| meter.as_str() == name)?;
    Some(AlertKey { meter, threshold: parts.next()?.parse().ok()?, limit: parts.next()?.parse().ok()? })
}

pub(super) fn status_no(status: SessionStatus) -> i64 {
    match status {
        SessionStatus::InProgress => 0,
        SessionStatus::Completed => 1,
        SessionStatus::Failed => 2,
        SessionStatus::Abandoned => 3,
    }
}

pub(super) fn read_status(no: i64) -> Result<SessionStatus, StoreError> {
    SessionStatus::ALL.into_iter().find(|status| status_no(*status) == no).ok_or_else(|| damaged("a status"))
}

pub(super) fn tokens_text(tokens: &Tokens) -> String {
    format!("[{},{},{},{},{}]", tokens.input, tokens.cached_input, tokens.cache_write, tokens.output, tokens.reasoning)
}

pub(super) fn months_text(months: &[Month]) -> String {
    let months: Vec<String> = months.iter().map(Month::to_string).collect();
    months.join(" ")
}

pub(super) fn read_months(text: &str) -> Result<Vec<Month>, StoreError> {
    text.split_whitespace().map(|month| Month::parse(month).map_err(|_| damaged("a list of months"))).collect()
}

pub(super) fn raised_text(raised: &[AlertKey]) -> String {
    let raised: Vec<String> =
        raised.iter().map(|key| format!("{} {} {}", key.meter, key.threshold, key.limit)).collect();
    raised.join(";")
}

pub(super) fn read_raised(text: &str) -> Result<Vec<AlertKey>, StoreError> {
    text.split_terminator(';').map(|key| read_alert_key(key).ok_or_else(|| damaged("a list of alerts"))).collect()
}

const FLAG_API: i64 = 1;
const FLAG_BILLABLE: i64 = 2;
const FLAG_COMPLETED: i64 = 4;
const FLAG_FAILED: i64 = 8;
pub(super) const FLAG_TRIMMED: i64 = 16;

/// What the flags of an operation say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flags {
    pub(super) usage_type: UsageType,
    pub(super) is_billable_run: bool,
    pub(super) finish_session: Option<Finish>,
    pub(super) trimmed: bool,
}

pub(super) fn operation_flags(operation: &Operation) -> i64 {
    let mut flags = 0;
    if operation.usage_type == UsageType::Api {
        flags |= FLAG_API;
    }
    if operation.is_billable_run {
        flags |= FLAG_BILLABLE;
    }
    if operation.trimmed {
        flags |= FLAG_TRIMMED;
    }
    flags
        | match operation.finish_session {
            None => 0,
            Some(Finish::Completed) => FLAG_COMPLETED,
            Some(Finish::Failed) => FLAG_FAILED,
        }
}

pub(super) fn read_flags(flags: i64) -> Flags {
    Flags {
        usage_type: if flags & FLAG_API == 0 { UsageType::Ai } else { UsageType::Api },
        is_billable_run: flags & FLAG_BILLABLE != 0,
        finish_session: match flags & (FLAG_COMPLETED | FLAG_FAILED) {
            0 => None,
            FLAG_COMPLETED => Some(Finish::Completed),
            _ => Some(Finish::Failed),
        },
        trimmed: flags & FLAG_TRIMMED != 0,
    }
}

pub(super) fn reason_columns(reason: &Reason) -> (i64, Option<&str>) {
    match reason {
        Reason::BudgetExceeded => (0, None),
        Reason::RunsExceeded => (1, None),
        Reason::Application(reason) => (2, Some(reason.as_str())),
    }
}

pub(super) fn read_reason(kind: i64, text: Option<&str>) -> Result<Reason, StoreError> {
    match (kind, text) {
        (0, _) => Ok(Reason::BudgetExceeded),
        (1, _) => Ok(Reason::RunsExceeded),
        (2, text) => Ok(Reason::Application(Label::from_stored(text.unwrap_or_default()))),
        _ => Err(damaged("a reason")),
    }
}

pub(super) fn failed_bits(failed: Failed) -> i64 {
    Meter::ALL.into_iter().filter(|meter| failed.contains(*meter)).map(|meter| 1 << meter_no(meter)).sum()
}

pub(super) fn read_failed(bits: i64) -> Failed {
    Failed::from_fn(|meter| bits & 1 << meter_no(meter) != 0)
}

pub(super) const fn source_no(source: DenialSource) -> i64 {
    match source {
        DenialSource::Open => 0,
        DenialSource::Afford => 1,
        DenialSource::Application => 2,
    }
}

pub(super) fn read_source(no: i64) -> Result<DenialSource, StoreError> {
    match no {
        0 => Ok(DenialSource::Open),
        1 => Ok(DenialSource::Afford),
        2 => Ok(DenialSource::Application),
        _ => Err(damaged("a source")),
    }
}

pub(super) const fn meter_no(meter: Meter) -> i64 {
    match meter {
        Meter::Cost => 0,
        Meter::AiRuns => 1,
        Meter::ApiRuns => 2,
    }
}

pub(super) fn read_meter(no: i64) -> Result<Meter, StoreError> {
    Meter::ALL.into_iter().find(|meter| meter_no(*meter) == no).ok_or_else(|| damaged("a meter"))
}

/// The plans that are to be marked where these take the place of others: all of which anything is another than before.
pub(super) fn changed_plans(before: &Plans, after: &Plans) -> BTreeSet<Name> {
    let differs = |plan: &&Plan| before.get(plan.name.as_str()) != Some(*plan);
    let mut changed: BTreeSet<Name> = after.all().iter().filter(differs).map(|plan| plan.name.clone()).collect();
    // Whose plan is gone is on the default plan.
    let is_gone = |plan: &Plan| after.get(plan.name.as_str()).is_none();
    if before.default_plan() != after.default_plan() || before.all().iter().any(is_gone) {
        changed.insert(after.default_plan().clone());
    }
    changed
}

//! Reads `outlay.toml`: values by key with their line, and the tables that only the file can say.

mod webhooks;

use std::ops::Range;

use outlay_core::alert::Thresholds;
use outlay_core::id::Name;
use outlay_core::money::Usd;
use outlay_core::plan::{AlertThresholds, Limit, Meter, PerMeter, Plan, Plans, RUNS_LIMIT_MAX};
use toml::de::{DeTable, DeValue};

use super::settings::SETTINGS;
use super::{Complaint, Complaints, Presentation};

/// Tables of the file beside its settings.
const TABLES: [&str; 5] = ["labels", "few_left", "plans", "webhooks", "alerts"];

/// A configuration file that is sound TOML.
#[derive(Debug)]
pub(super) struct File<'a> {
    name: String,
    text: &'a str,
    table: DeTable<'a>,
}

impl<'a> File<'a> {
    /// Reads the text, and complains of every key that means nothing.
    pub(super) fn parse(name: String, text: &'a str, complaints: &mut Complaints) -> Option<Self> {
        let table = match DeTable::parse(text) {
            Ok(table) => table.into_inner(),
            Err(error) => {
                let line = error.span().map_or(1, |span| line_of(text, &span));
                complaints.add(format!("{name} line {line}"), error.message().to_owned());
                return None;
            }
        };
        let file = Self { name, text, table };
        for key in file.table.keys() {
            let known = TABLES.contains(&key.get_ref().as_ref())
                || SETTINGS.iter().any(|setting| {
                    setting.key.is_some_and(|known| {
                        known == key.get_ref() || (setting.secret && format!("{known}_file") == key.get_ref().as_ref())
                    })
                });
            if !known {
                complaints.add(
                    file.place(key.span(), key.get_ref()),
                    "is not a setting; see `outlay serve --help`".to_owned(),
                );
            }
        }
        Some(file)
    }

    /// The value of a key as text, and where it stands.
    pub(super) fn value(&self, key: &str) -> Option<(String, Result<String, Complaint>)> {
        let value = self.table.get(key)?;
        let place = self.place(value.span(), key);
        let text = match value.get_ref() {
            DeValue::String(text) => Ok(text.clone().into_owned()),
            DeValue::Integer(number) => Ok(number.to_string()),
            DeValue::Float(number) => Ok(number.to_string()),
            DeValue::Boolean(flag) => Ok(flag.to_string()),
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_str())
                .collect::<Option<Vec<_>>>()
                .map(|items| items.join(","))
                .ok_or_else(|| Complaint::new(&place, "must be a list of texts")),
            DeValue::Datetime(_) | DeValue::Table(_) => Err(Complaint::new(&place, "must be a text")),
        };
        Some((place, text))
    }

    /// Takes labels and thresholds over the defaults.
    pub(super) fn presentation(&self, presentation: &mut Presentation, complaints: &mut Complaints) {
        for (meter, value, place) in self.meters("labels", &Meter::ALL, complaints) {
            match value.as_str() {
                Some(label) if !label.trim().is_empty() => label.clone_into(presentation.labels.get_mut(meter)),
                _ => complaints.add(place, "must be a text, such as \"AI Operations\"".to_owned()),
            }
        }
        for (meter, value, place) in self.meters("few_left", &[Meter::AiRuns, Meter::ApiRuns], complaints) {
            match integer(value).filter(|count| (0..=RUNS_LIMIT_MAX).contains(count)) {
                Some(count) => *presentation.few_left.get_mut(meter) = count,
                None => complaints.add(place, "must be a number of runs, such as 3; 0 never warns".to_owned()),
            }
        }
    }

    /// The plans that the file sets; none where it has no `[plans]`.
    pub(super) fn plans(&self, complaints: &mut Complaints) -> Option<Plans> {
        let value = self.table.get("plans")?;
        let place = self.place(value.span(), "plans");
        let Some(table) = value.get_ref().as_table() else {
            complaints.add(place, "must be a table with a table for each plan, such as [plans.pro]".to_owned());
            return None;
        };
        let mut default_plan = None;
        let mut plans = Vec::new();
        let mut sound = true;
        // The order in the file is the tier order; the parsed table does not keep it, the places do.
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        let mut tier = 0_u32;
        for (key, value) in entries {
            let place = self.place(key.span(), &format!("plans.{}", key.get_ref()));
            let name = Name::new(key.get_ref()).map_err(|error| error.to_string());
            match (name, value.get_ref()) {
                (Ok(_), DeValue::String(name)) if key.get_ref() == "default" => {
                    default_plan = Some((place, name.clone().into_owned()));
                }
                (Ok(name), DeValue::Table(limits)) => {
                    tier = tier.saturating_add(10);
                    match self.plan(name, tier, limits, &place, complaints) {
                        Some(plan) => plans.push(plan),
                        None => sound = false,
                    }
                }
                (Ok(_), _) => {
                    complaints.add(place, "must be a table of limits".to_owned());
                    sound = false;
                }
                (Err(error), _) => {
                    complaints.add(place, format!("the plan's name {error}"));
                    sound = false;
                }
            }
        }
        if !sound {
            return None;
        }
        let (place, name) = default_plan.unwrap_or_else(|| (place, "base".to_owned()));
        let plans = Name::new(&name).ok().and_then(|name| Plans::new(plans, name).ok());
        if plans.is_none() {
            let advice = format!("there is no plan `{name}`; name the plan of a user who has none: default = \"...\"");
            complaints.add(place, advice);
        }
        plans
    }

    fn plan(
        &self,
        name: Name,
        place_in_file: u32,
        table: &DeTable<'_>,
        place: &str,
        complaints: &mut Complaints,
    ) -> Option<Plan> {
        let mut limits = PerMeter::<Option<Limit>>::default();
        let mut tier = Some(place_in_file);
        let mut sound = true;
        for (key, value) in table {
            let place = self.place(key.span(), &format!("plans.{name}.{}", key.get_ref()));
            if key.get_ref() == "tier" {
                tier = integer(value.get_ref()).and_then(|tier| u32::try_from(tier).ok());
                if tier.is_none() {
                    complaints.add(place, "must be a whole number; plans are offered from the lowest up".to_owned());
                }
                continue;
            }
            let Some(meter) = meter(key.get_ref()) else {
                complaints.add(place, "is not known; a plan has cost, ai_runs, api_runs and tier".to_owned());
                sound = false;
                continue;
            };
            match limit(meter, value.get_ref()) {
                Ok(limit) => *limits.get_mut(meter) = Some(limit),
                Err(advice) => {
                    complaints.add(place, advice);
                    sound = false;
                }
            }
        }
        for (meter, key) in Meter::ALL.into_iter().zip(METER_KEYS) {
            if sound && limits.get(meter).is_none() {
                complaints.add(place.to_owned(), format!("says nothing of {key}: set a number or \"unlimited\""));
                sound = false;
            }
        }
        let limits = PerMeter { cost: limits.cost?, ai_runs: limits.ai_runs?, api_runs: limits.api_runs? };
        sound.then_some(Plan { name, tier: tier?, limits })
    }

    /// At what percentages of a limit alerts are raised.
    pub(super) fn alerts(&self, complaints: &mut Complaints) -> AlertThresholds {
        let mut alerts = AlertThresholds::default();
        let Some(value) = self.table.get("alerts") else { return alerts };
        let Some(table) = value.get_ref().as_table() else {
            complaints.add(self.place(value.span(), "alerts"), "must be a table: [alerts]".to_owned());
            return alerts;
        };
        for (key, value) in table {
            let place = self.place(key.span(), &format!("alerts.{}", key.get_ref()));
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("thresholds", value) => match thresholds(value) {
                    Ok(thresholds) => alerts.all = thresholds,
                    Err(advice) => complaints.add(place, advice),
                },
                ("plans", DeValue::Table(plans)) => {
                    for (key, value) in plans {
                        let place = self.place(key.span(), &format!("alerts.plans.{}", key.get_ref()));
                        let name = Name::new(key.get_ref()).map_err(|error| format!("the plan's name {error}"));
                        match name.and_then(|name| Ok((name, thresholds(value.get_ref())?))) {
                            Ok(plan) => alerts.plans.push(plan),
                            Err(advice) => complaints.add(place, advice),
                        }
                    }
                }
                ("plans", _) => complaints.add(place, "must be a table with a list for each plan".to_owned()),
                _ => complaints.add(place, "is not known; [alerts] has thresholds and plans".to_owned()),
            }
        }
        alerts
    }

    /// The entries of a table whose keys are meters.
    fn meters(
        &self,
        table: &str,
        allowed: &[Meter],
        complaints: &mut Complaints,
    ) -> Vec<(Meter, &DeValue<'a>, String)> {
        let Some(value) = self.table.get(table) else { return Vec::new() };
        let Some(entries) = value.get_ref().as_table() else {
            complaints.add(self.place(value.span(), table), "must be a table".to_owned());
            return Vec::new();
        };
        let mut found = Vec::new();
        for (key, value) in entries {
            let place = self.place(key.span(), &format!("{table}.{}", key.get_ref()));
            match meter(key.get_ref()).filter(|meter| allowed.contains(meter)) {
                Some(meter) => found.push((meter, value.get_ref(), place)),
                None => complaints.add(place, "is not a meter that can be set here".to_owned()),
            }
        }
        found
    }

    fn place(&self, span: Range<usize>, key: &str) -> String {
        format!("{} line {}: {key}", self.name, line_of(self.text, &span))
    }
}

/// The keys of the meters, in their order.
const METER_KEYS: [&str; 3] = ["cost", "ai_runs", "api_runs"];

/// The meter of a key; the names on the wire are taken too.
fn meter(key: &str) -> Option<Meter> {
    Meter::ALL.into_iter().zip(METER_KEYS).find(|(meter, name)| key == *name || key == meter.as_str()).map(|(m, _)| m)
}

fn integer(value: &DeValue<'_>) -> Option<i64> {
    let DeValue::Integer(number) = value else { return None };
    i64::from_str_radix(number.as_str(), number.radix()).ok()
}

/// Percentages of a limit.
fn thresholds(value: &DeValue<'_>) -> Result<Thresholds, String> {
    let advice = || "must be a list of whole percentages from 1 to 100, such as [80, 95, 100]".to_owned();
    let DeValue::Array(items) = value else { return Err(advice()) };
    let percentages: Option<Vec<u8>> =
        items.iter().map(|item| integer(item.get_ref()).and_then(|number| u8::try_from(number).ok())).collect();
    percentages.and_then(Thresholds::new).ok_or_else(advice)
}

/// A limit from its text: never through a float.
fn limit(meter: Meter, value: &DeValue<'_>) -> Result<Limit, String> {
    if value.as_str() == Some("unlimited") {
        return Ok(None);
    }
    match (meter, value) {
        (Meter::Cost, DeValue::Float(number)) => money(number.as_str()),
        (Meter::Cost, DeValue::Integer(number)) if number.radix() == 10 => money(number.as_str()),
        (Meter::Cost, DeValue::String(text)) => money(text),
        (Meter::AiRuns | Meter::ApiRuns, value) => integer(value)
            .filter(|runs| (0..=RUNS_LIMIT_MAX).contains(runs))
            .map(Some)
            .ok_or_else(|| "must be a whole number from 0, or \"unlimited\"".to_owned()),
        (Meter::Cost, _) => Err("must be an amount in USD, or \"unlimited\"".to_owned()),
    }
}

fn money(text: &str) -> Result<Limit, String> {
    Usd::parse_limit(text).map(|limit| Some(limit.picos())).map_err(|error| format!("{error}; or \"unlimited\""))
}

fn line_of(text: &str, span: &Range<usize>) -> usize {
    1 + text.bytes().take(span.start).filter(|byte| *byte == b'\n').count()
}

//! `outlay record` and `afford`: one question each to the API, and its answer in words.

use bytes::Bytes;
use clap::{Args, ValueEnum};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{Exit, Failure, ServerFlags, show};
use crate::client::{Client, segment};

/// Which runs meter a billable run counts on.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum UsageKind {
    /// AIUsage
    #[value(alias = "AIUsage")]
    Ai,
    /// ApiUsage
    #[value(alias = "ApiUsage")]
    Api,
}

/// How a session ends.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum FinishKind {
    Completed,
    Failed,
}

/// Record one operation
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outlay record --user bgtfrdsZ --feature business_card_scan --cost 0.00010785 --run \
    --provider gemini --operation-id usage_1760380378785_zrix\n  \
    outlay record --user bgtfrdsZ --type api --feature business_card_scan_ocr --cost 0.0015 --session scan_1\n\n\
    With your own --operation-id it is safe to run again: what is recorded already changes nothing."
)]
pub(super) struct Record {
    /// The user who is charged
    #[arg(long)]
    user: String,
    /// What the call was for
    #[arg(long)]
    feature: String,
    /// What it cost, in USD
    #[arg(long, allow_negative_numbers = true)]
    cost: String,
    /// Which runs meter a billable run counts on
    #[arg(long = "type", value_enum, default_value_t = UsageKind::Ai)]
    usage_type: UsageKind,
    /// It counts as one run against the plan
    #[arg(long)]
    run: bool,
    /// The idempotency key; made by the server if absent
    #[arg(long, value_name = "ID")]
    operation_id: Option<String>,
    /// Who was called
    #[arg(long)]
    provider: Option<String>,
    /// Which model was called
    #[arg(long)]
    model: Option<String>,
    /// The session that it is a step of
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// What the step is called
    #[arg(long, value_name = "TEXT")]
    step_label: Option<String>,
    /// Finish the session with this step
    #[arg(long, value_enum, requires = "session")]
    finish: Option<FinishKind>,
    /// How long the call took
    #[arg(long, value_name = "MILLISECONDS")]
    duration_ms: Option<u64>,
    /// When it happened, such as 2025-10-13T18:32:58Z; now if absent
    #[arg(long, value_name = "TIME")]
    timestamp: Option<String>,
    /// Your own JSON object
    #[arg(long, value_name = "JSON")]
    metadata: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

impl Record {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        let mut body = Map::new();
        let mut put = |key: &str, value: Option<Value>| {
            if let Some(value) = value {
                body.insert(key.to_owned(), value);
            }
        };
        put("operationId", self.operation_id.map(Value::from));
        put("userId", Some(self.user.into()));
        put("usageType", Some(if matches!(self.usage_type, UsageKind::Ai) { "AIUsage" } else { "ApiUsage" }.into()));
        put("feature", Some(self.feature.into()));
        put("provider", self.provider.map(Value::from));
        put("model", self.model.map(Value::from));
        // A text, so that no float comes between the argument and the server.
        put("cost", Some(self.cost.into()));
        put("isBillableRun", self.run.then_some(Value::Bool(true)));
        put("sessionId", self.session.map(Value::from));
        put("stepLabel", self.step_label.map(Value::from));
        put("durationMs", self.duration_ms.map(Value::from));
        put("timestamp", self.timestamp.map(Value::from));
        put(
            "finishSession",
            self.finish.map(|finish| match finish {
                FinishKind::Completed => "completed".into(),
                FinishKind::Failed => "failed".into(),
            }),
        );
        if let Some(metadata) = self.metadata {
            let metadata = serde_json::from_str(&metadata)
                .map_err(|error| Failure::Usage(format!("--metadata is not JSON: {error}")))?;
            put("metadata", Some(metadata));
        }
        let answer = client.ask(Method::POST, "/v1/usage", Some(to_bytes(&Value::Object(body)))).await?;
        if self.json {
            show::json(&answer)?;
            return Ok(Exit::Done);
        }
        let recorded: Recorded<'_> = read(&answer)?;
        let how = if recorded.duplicate { "was recorded before" } else { "is recorded" };
        show::line(&format!("{} {how}: {} USD in {}", recorded.operation_id, recorded.cost.get(), recorded.month))?;
        Ok(Exit::Done)
    }
}

/// Ask whether something fits the budget
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay afford bgtfrdsZ --cost 0.037 --ai-runs 1\n  \
    outlay afford bgtfrdsZ --feature scan --choice ai:cost=0.0016,aiRuns=1 --choice basic:cost=0.0015,apiRuns=1\n  \
    if outlay afford bgtfrdsZ --ai-runs 1; then ...; fi\n\n\
    It exits with 0 if it fits and 1 if not. A check promises nothing; a session's hold does.")]
pub(super) struct Afford {
    /// The user who would be charged
    user: String,
    /// What it would cost, in USD
    #[arg(long, value_name = "USD", conflicts_with = "choice")]
    cost: Option<String>,
    /// How many AI runs it would take
    #[arg(long, value_name = "RUNS", conflicts_with = "choice")]
    ai_runs: Option<u64>,
    /// How many API runs it would take
    #[arg(long, value_name = "RUNS", conflicts_with = "choice")]
    api_runs: Option<u64>,
    /// One of several ways, the best first, such as ai:cost=0.0016,aiRuns=1
    #[arg(long, value_name = "NAME:AMOUNTS", value_parser = choice)]
    choice: Vec<Value>,
    /// What it is for
    #[arg(long)]
    feature: Option<String>,
    /// Keep a denial if it does not fit
    #[arg(long, requires = "feature")]
    audit: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

impl Afford {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        let mut body = Map::new();
        if self.choice.is_empty() {
            let mut estimate = Map::new();
            estimate.extend(self.cost.map(|cost| ("cost".to_owned(), cost.into())));
            estimate.extend(self.ai_runs.map(|runs| ("aiRuns".to_owned(), runs.into())));
            estimate.extend(self.api_runs.map(|runs| ("apiRuns".to_owned(), runs.into())));
            body.insert("estimate".to_owned(), estimate.into());
        } else {
            body.insert("choices".to_owned(), self.choice.into());
        }
        body.extend(self.feature.map(|feature| ("feature".to_owned(), feature.into())));
        if self.audit {
            body.insert("audit".to_owned(), true.into());
        }
        let path = format!("/v1/users/{}/afford", segment(&self.user));
        let answer = client.ask(Method::POST, &path, Some(to_bytes(&Value::Object(body)))).await?;
        let check: Check = read(&answer)?;
        if self.json {
            show::json(&answer)?;
        } else {
            let choice = check.choice.map_or_else(String::new, |choice| format!(", as {choice}"));
            let plan = check.next_plan.map_or_else(String::new, |plan| format!("; it would fit in the plan {plan}"));
            let yes = if check.allowed { "yes" } else { "no" };
            show::line(&format!("{yes}: {}{choice}{plan}", check.reason))?;
            if let Some(message) = check.message {
                show::line(&message)?;
            }
        }
        Ok(if check.allowed { Exit::Done } else { Exit::Failed })
    }
}

/// Reads `name:cost=0.0016,aiRuns=1`; the name may itself have colons.
fn choice(text: &str) -> Result<Value, String> {
    let advice = "write it like ai:cost=0.0016,aiRuns=1";
    let (name, amounts) = text.rsplit_once(':').ok_or(advice)?;
    let mut estimate = Map::new();
    for amount in amounts.split(',').filter(|amount| !amount.is_empty()) {
        let (meter, value) = amount.split_once('=').ok_or(advice)?;
        let value = match meter {
            "cost" => Value::from(value),
            "aiRuns" | "apiRuns" => value.parse::<u64>().map(Value::from).map_err(|_| advice)?,
            _ => return Err(format!("`{meter}` is no meter; there are cost, aiRuns and apiRuns")),
        };
        estimate.insert(meter.to_owned(), value);
    }
    Ok(serde_json::json!({"name": name, "estimate": estimate}))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Recorded<'a> {
    operation_id: String,
    duplicate: bool,
    #[serde(borrow)]
    cost: &'a RawValue,
    month: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Check {
    allowed: bool,
    reason: String,
    choice: Option<String>,
    message: Option<String>,
    next_plan: Option<String>,
}

/// Something of each meter, as answers hold it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Meters<M> {
    pub(super) cost: M,
    pub(super) ai_runs: M,
    pub(super) api_runs: M,
}

/// A body from its value.
pub(super) fn to_bytes(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

/// Reads what is needed of an answer.
pub(super) fn read<'a, T: Deserialize<'a>>(answer: &'a [u8]) -> Result<T, Failure> {
    serde_json::from_slice(answer)
        .map_err(|error| Failure::Other(format!("the answer is not what this program expects: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_with_its_amounts() {
        let read = choice("ai:plus:cost=0.0016,aiRuns=1").unwrap();
        assert_eq!(read, serde_json::json!({"name": "ai:plus", "estimate": {"cost": "0.0016", "aiRuns": 1}}));
        for bad in ["ai", "ai:cost", "ai:runs=1", "ai:aiRuns=x"] {
            assert!(choice(bad).is_err(), "{bad}");
        }
    }
}

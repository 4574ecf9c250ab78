//! The shapes of bodies and answers, for the description of the API alone. The program reads and writes them by hand, in
//! [`super::body`] and [`super::present`], because there every bad field is named and every number is exact.

#![expect(dead_code, reason = "these are described here, and read and written elsewhere")]
#![expect(clippy::struct_field_names, reason = "the fields are named as on the wire")]

mod asked;
mod operator;
mod sent;
mod values;
mod webhooks;

use std::collections::BTreeMap;

use utoipa::openapi::schema::{AllOfBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

pub(super) use asked::*;
pub(super) use operator::*;
pub(super) use sent::*;
pub(super) use values::*;
pub(super) use webhooks::*;

use super::openapi::Problem;

/// USD as a JSON number, exact to 12 decimals
#[derive(Debug)]
pub(super) struct Usd;

impl PartialSchema for Usd {
    fn schema() -> RefOr<Schema> {
        let words = "USD as an exact decimal, to 12 decimals.";
        ObjectBuilder::new().schema_type(Type::Number).description(Some(words)).examples([0.000_107_85]).into()
    }
}

impl ToSchema for Usd {}

/// An application's own JSON object, 8 KiB at most
#[derive(Debug)]
pub(super) struct Metadata;

impl PartialSchema for Metadata {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().description(Some("Your own JSON object, 8 KiB at most.")).into()
    }
}

impl ToSchema for Metadata {}

/// A value per meter; absent is 0
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Amounts {
    cost: Option<Usd>,
    ai_runs: Option<i64>,
    api_runs: Option<i64>,
}

/// A limit per meter: null is unlimited, 0 allows nothing
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Limits {
    cost: Option<Usd>,
    ai_runs: Option<i64>,
    api_runs: Option<i64>,
}

/// How near a meter is to its limit: from 80, 95 and 100 percent
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) enum State {
    Ok,
    Warning,
    Critical,
    Reached,
}

/// An amount of any meter
#[derive(Debug)]
pub(super) struct Amount;

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        let words = "USD, or whole runs, as the meter has it.";
        ObjectBuilder::new().schema_type(Type::Number).description(Some(words)).into()
    }
}

impl ToSchema for Amount {}

/// The two shapes of a meter in one unit: with its words, and bare as in lists.
macro_rules! of_a_meter {
    ($what:literal, $budget:ident, $figures:ident, $amount:ty, $unit:literal, $label:literal, $message:literal) => {
        #[doc = concat!("One meter of one month, in ", $what)]
        #[derive(Debug, ToSchema)]
        pub(super) struct $budget {
            #[schema(example = $label)]
            label: String,
            #[doc = concat!("Always `", $unit, "`.")]
            #[schema(example = $unit)]
            unit: String,
            used: $amount,
            held: $amount,
            /// Null is unlimited.
            #[schema(required = true)]
            limit: Option<$amount>,
            #[schema(required = true)]
            remaining: Option<$amount>,
            /// 100 x (used + held) / limit, to two decimals.
            #[schema(required = true)]
            percent: Option<f64>,
            state: State,
            #[schema(required = true, example = $message)]
            message: Option<String>,
        }

        #[doc = concat!("One meter of one month, in ", $what, ", without words")]
        #[derive(Debug, ToSchema)]
        pub(super) struct $figures {
            used: $amount,
            held: $amount,
            /// Null is unlimited.
            #[schema(required = true)]
            limit: Option<$amount>,
            #[schema(required = true)]
            remaining: Option<$amount>,
            /// 100 x (used + held) / limit, to two decimals.
            #[schema(required = true)]
            percent: Option<f64>,
            state: State,
        }
    };
}

of_a_meter!("USD", CostBudget, CostFigures, Usd, "USD", "Cost Budget", "Not in your plan");
of_a_meter!("runs", RunsBudget, RunsFigures, i64, "runs", "AI Operations", "Only 3 AI operations left");

/// The meters
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Meters {
    cost: CostBudget,
    ai_runs: RunsBudget,
    api_runs: RunsBudget,
}

/// The meters, without words
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct MeterFigures {
    cost: CostFigures,
    ai_runs: RunsFigures,
    api_runs: RunsFigures,
}

/// A user's meters for one month
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Budget {
    user_id: String,
    plan: String,
    /// The next in tier order.
    next_plan: Option<String>,
    upgrade_url: Option<String>,
    unlimited: bool,
    #[schema(example = "2025-10")]
    month: String,
    resets_at: String,
    /// The worst of the meters.
    state: State,
    meters: Meters,
}

/// Where one meter will stand; all but the message is null while there is too little past
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct MeterForecast {
    /// At the month's end, as likely below as above: USD to the cent, of less than one to three digits, from 100 on whole
    /// ones; or whole runs.
    #[schema(required = true)]
    projected: Option<f64>,
    /// The month's end is between this and `high` four times out of five.
    #[schema(required = true)]
    low: Option<f64>,
    #[schema(required = true)]
    high: Option<f64>,
    /// The day on which the limit will be reached, where that is likely this month.
    #[schema(required = true, example = "2025-10-24")]
    hits_limit_on: Option<String>,
    /// From today to that day; 0 when the limit is reached already.
    #[schema(required = true)]
    days_left: Option<u8>,
    /// The first and the last of the days between which that day is four times out of five; the last is the month's last day
    /// where the limit may also not be reached.
    #[schema(required = true)]
    range: Option<Vec<String>>,
    /// The same as a sentence.
    #[schema(example = "You will reach your AI operations limit around 24 October (20 to 29 October)")]
    message: String,
}

/// Forecasts of each meter
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct MeterForecasts {
    cost: MeterForecast,
    ai_runs: MeterForecast,
    api_runs: MeterForecast,
}

/// Where a user's meters will stand at the end of the running month
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Forecast {
    user_id: String,
    #[schema(example = "2025-10")]
    month: String,
    as_of: String,
    meters: MeterForecasts,
}

/// Tokens as the provider reported them: `input` includes cached and cache-write ones, `output` includes reasoning
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Tokens {
    input: Option<u64>,
    cached_input: Option<u64>,
    cache_write: Option<u64>,
    output: Option<u64>,
    reasoning: Option<u64>,
}

/// Which runs meter a billable run counts on
#[derive(Debug, ToSchema)]
pub(super) enum UsageType {
    #[schema(rename = "AIUsage")]
    Ai,
    #[schema(rename = "ApiUsage")]
    Api,
}

/// How a session is finished
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) enum Finish {
    Completed,
    Failed,
}

/// A recorded operation
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Recorded {
    success: bool,
    operation_id: String,
    /// `SessionUsage+UserDoc`, `AIUsage+UserDoc` or `ApiUsage+UserDoc`.
    recorded_in: String,
    /// Whether it had been recorded before; then these are the first one's facts.
    duplicate: bool,
    cost: Usd,
    month: String,
    /// Of a reversal, what it takes back.
    reverses: Option<String>,
    /// Left out in a batch, and with `Prefer: return=minimal`.
    budget: Option<Budget>,
}

/// What became of one operation of a batch: a recording's answer, or a problem
#[derive(Debug)]
pub(super) struct BatchResult;

impl PartialSchema for BatchResult {
    fn schema() -> RefOr<Schema> {
        let place = || {
            let number = |words| ObjectBuilder::new().schema_type(Type::Integer).description(Some(words));
            ObjectBuilder::new()
                .property("index", number("Its place in the batch, from 0."))
                .property("status", number("The status that it would have had alone."))
                .required("index")
                .required("status")
        };
        let either = |name: std::borrow::Cow<'_, str>| {
            AllOfBuilder::new().item(place()).item(Ref::from_schema_name(name.into_owned()))
        };
        OneOfBuilder::new().item(either(Recorded::name())).item(either(Problem::name())).into()
    }
}

impl ToSchema for BatchResult {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((Recorded::name().into_owned(), Recorded::schema()));
        Recorded::schemas(schemas);
    }
}

/// What became of each item of a batch, in its order: the single answer or a problem, with `index` and `status`
#[derive(Debug, ToSchema)]
pub(super) struct Results {
    results: Vec<BatchResult>,
}

/// What became of one operation, or of each of a batch
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "it is described here and written at its handler")]
pub(super) enum RecordedAll {
    One(Box<Recorded>),
    Batch(Results),
}

/// A recorded operation in a list
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Operation {
    operation_id: String,
    user_id: String,
    usage_type: UsageType,
    feature: String,
    /// Not shown to user tokens, like `model` and `metadata`.
    provider: Option<String>,
    model: Option<String>,
    /// Below zero on a reversal only.
    cost: Usd,
    tokens: Option<Tokens>,
    units: Option<BTreeMap<String, f64>>,
    is_billable_run: bool,
    session_id: Option<String>,
    step_label: Option<String>,
    step_number: Option<i64>,
    finish_session: Option<Finish>,
    duration_ms: Option<u64>,
    timestamp: String,
    metadata: Option<Metadata>,
    month: String,
    recorded_at: String,
    recorded_in: String,
    reverses: Option<String>,
    reversed_by: Option<String>,
    /// Of a reversal: why.
    reason: Option<String>,
    /// True where retention has emptied it of `tokens`, `units`, `stepLabel`, `durationMs`, `metadata` and `reason`; else absent.
    trimmed: Option<bool>,
}

/// One of several ways to do the work, the best first
#[derive(Debug, ToSchema)]
pub(super) struct Choice {
    name: String,
    estimate: Amounts,
}

/// Whether a choice fits
#[derive(Debug, ToSchema)]
pub(super) struct Way {
    name: String,
    allowed: bool,
    /// The meters that it does not fit into.
    failed: Vec<String>,
}

/// Whether it fits; it promises nothing, a hold does
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Answer {
    allowed: bool,
    /// `unlimited`, `within_limits`, `fallback`, `budget_exceeded` or `runs_exceeded`.
    reason: String,
    failed: Vec<String>,
    /// The first that fits.
    choice: Option<String>,
    choices: Vec<Way>,
    /// In a refusal, for an end user.
    message: Option<String>,
    upgrade_required: bool,
    /// In a refusal, the first later plan in which it would fit now.
    next_plan: Option<String>,
    budget: Budget,
    /// The meters as they would stand.
    after: Meters,
}

/// An open session
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct OpenedSession {
    session_id: String,
    /// `in-progress`, or where it stands when it was opened before.
    status: String,
    choice: Option<String>,
    /// Why it fits; null when it was open already.
    reason: Option<String>,
    held: Amounts,
    hold_expires_at: Option<String>,
    budget: Budget,
}

/// An intent that does not fit, with what would help
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Refused {
    #[schema(rename = "type", example = "/problems/does-not-fit")]
    kind: String,
    title: String,
    status: u16,
    /// For an end user.
    detail: String,
    request_id: String,
    /// `budget_exceeded` or `runs_exceeded`.
    reason: String,
    failed: Vec<String>,
    choices: Vec<Way>,
    budget: Budget,
    upgrade_required: bool,
    next_plan: Option<String>,
    resets_at: String,
    session_id: Option<String>,
}

/// A step of a session
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Step {
    step_number: Option<i64>,
    step_label: Option<String>,
    operation_id: String,
    usage_type: UsageType,
    feature: String,
    provider: Option<String>,
    model: Option<String>,
    cost: Usd,
    is_billable_run: bool,
    timestamp: String,
    duration_ms: Option<u64>,
    metadata: Option<Metadata>,
    /// The operation that took this step back; its cost is then not in the session's total. Reversals are no steps.
    reversed_by: Option<String>,
    /// True where retention has emptied it of `stepLabel`, `durationMs` and `metadata`; else absent.
    trimmed: Option<bool>,
}

/// A hold's amounts: what is left of it is `held` while the session is in progress
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Hold {
    /// As `extend` last set it.
    total: Amounts,
    /// What steps have drawn of it.
    drawn: Amounts,
}

/// A session
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Session {
    session_id: String,
    user_id: Option<String>,
    feature: String,
    /// `in-progress`, `completed`, `failed` or `abandoned`.
    status: String,
    total_cost: Usd,
    total_runs: i64,
    held: Amounts,
    /// What its steps used beyond the hold; null for one that never had one.
    overdraft: Option<Amounts>,
    choice: Option<String>,
    error: Option<String>,
    /// Whether a step took a meter over its limit.
    budget_exceeded: bool,
    /// Of one session, not in lists; 1000 at most, in order of recording.
    steps: Option<Vec<Step>>,
    created_at: String,
    last_updated_at: String,
    completed_at: Option<String>,
    hold_expires_at: Option<String>,
    step_count: u64,
    estimate: Option<Amounts>,
    choices: Option<Vec<Choice>>,
    /// Of what it holds or held; of one that its steps made there is none.
    hold: Option<Hold>,
    metadata: Option<Metadata>,
    /// For `stepsCursor`.
    next_steps_cursor: Option<String>,
    /// In the answer to a change.
    budget: Option<Budget>,
}

/// A user with one month
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct User {
    user_id: String,
    /// False for a user nobody has seen.
    known: bool,
    plan: String,
    email: Option<String>,
    /// Those that hold.
    limits: Limits,
    /// Those of their own.
    overrides: Limits,
    monthly_total_cost: Usd,
    monthly_billable_runs: i64,
    #[schema(rename = "monthlyBillableRunsAI")]
    monthly_billable_runs_ai: i64,
    #[schema(rename = "monthlyBillableRunsAPI")]
    monthly_billable_runs_api: i64,
    monthly_usage_month: String,
    monthly_usage_last_updated: Option<String>,
}

/// A plan
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Plan {
    name: String,
    tier: u32,
    limits: Limits,
    default: bool,
    /// At what percentages of a limit alerts are raised, as the configuration says.
    alert_thresholds: Vec<u8>,
}

/// A refused intent
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Denial {
    denial_id: String,
    user_id: Option<String>,
    feature: String,
    session_id: Option<String>,
    estimate: Option<Amounts>,
    choices: Option<Vec<Choice>>,
    reason: String,
    failed: Vec<String>,
    /// Those that it met.
    limits: Limits,
    next_plan: Option<String>,
    /// How often the same session was refused within a minute.
    times: u64,
    /// `open`, `afford` or `application`.
    source: String,
    recorded_at: String,
    metadata: Metadata,
}

/// A crossed threshold
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(super) struct Alert {
    alert_id: String,
    user_id: Option<String>,
    month: String,
    meter: String,
    /// 80, 95 or 100.
    threshold: u8,
    used: Amount,
    held: Amount,
    limit: Amount,
    /// 100 x used / limit.
    percent: f64,
    plan: String,
    next_plan: Option<String>,
    resets_at: String,
    /// The alert of a higher threshold that is sent in its stead.
    superseded_by: Option<String>,
    recorded_at: String,
    /// Why nobody is told: `superseded`, `pastMonth` or `monthAhead`; null where somebody is, as far as there was anybody.
    not_sent: Option<String>,
    /// How it was told, and to whom; in lists.
    deliveries: Vec<Delivery>,
}

macro_rules! pages {
    ($($(#[$doc:meta])* $name:ident of $item:ident;)*) => {
        $($(#[$doc])*
        #[derive(Debug, ToSchema)]
        #[schema(rename_all = "camelCase")]
        pub(super) struct $name {
            items: Vec<$item>,
            /// Null at the end; a filtered page may be short and have one.
            next_cursor: Option<String>,
        })*
    };
}

pages! {
    /// Operations, newest first in order of recording
    Operations of Operation;
    /// Sessions, newest first
    Sessions of Session;
    /// Denials, newest first
    Denials of Denial;
    /// Alerts, newest first
    Alerts of Alert;
    /// The audit log, newest first
    Audit of AuditEntry;
    /// Users, sorted as asked
    Users of UserItem;
    /// Plans in tier order, all in one page
    PlanList of Plan;
}

//! What is sent. No field beside these is read: whoever mistypes one is told.

use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};

use super::{
    Cost, CostLimit, Count, Email, Finish, HoldSeconds, Label, Metadata, Name, OperationId, Runs, RunsLimit, SessionId,
    Tier, Time, Units, UsageType, UserId,
};
use crate::http::body::ask::CHOICES_MAX;
use crate::http::usage::BATCH_MAX;

/// One operation, or 1 to 1000
#[derive(Debug)]
pub(in crate::http) struct Posted;

impl PartialSchema for Posted {
    fn schema() -> RefOr<Schema> {
        let one = Ref::from_schema_name(NewOperation::name());
        let many = ArrayBuilder::new().items(one.clone()).min_items(Some(1)).max_items(Some(BATCH_MAX));
        OneOfBuilder::new().item(one).item(many).into()
    }
}

impl ToSchema for Posted {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((NewOperation::name().into_owned(), NewOperation::schema()));
        NewOperation::schemas(schemas);
    }
}

/// An operation to be recorded
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewOperation {
    /// The idempotency key, unique per user for ever; without one a retry cannot be recognised.
    operation_id: Option<OperationId>,
    user_id: UserId,
    /// `AIUsage` when absent.
    usage_type: Option<UsageType>,
    feature: Name,
    provider: Option<Name>,
    model: Option<Name>,
    /// What the call cost. Prices for `tokens` and `units` come with a later version.
    cost: Cost,
    tokens: Option<SentTokens>,
    /// Quantities by unit name.
    units: Option<Units>,
    /// Whether it counts as one run against the plan.
    is_billable_run: Option<bool>,
    session_id: Option<SessionId>,
    step_label: Option<Label>,
    step_number: Option<Count>,
    /// Finishes the session in the same transaction.
    finish_session: Option<Finish>,
    duration_ms: Option<Count>,
    /// When it happened, at most a day ahead; now when absent. It decides the month.
    timestamp: Option<Time>,
    metadata: Option<Metadata>,
}

/// Tokens as the provider reported them: `input` includes cached and cache-write ones, `output` includes reasoning
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SentTokens {
    input: Option<Count>,
    cached_input: Option<Count>,
    cache_write: Option<Count>,
    output: Option<Count>,
    reasoning: Option<Count>,
}

/// An operation as an event, as CloudEvents 1.0 has it; extension attributes are allowed, and not kept
#[derive(Debug, ToSchema)]
pub(in crate::http) struct CloudEvent {
    specversion: SpecVersion,
    #[schema(rename = "type")]
    kind: String,
    source: String,
    /// The operation's id.
    id: OperationId,
    /// The user's id.
    subject: UserId,
    /// When it happened, at most a day ahead; now when absent. It decides the month.
    time: Option<Time>,
    datacontenttype: Option<JsonType>,
    data: EventData,
}

/// Operations as events, 1 to 1000
#[derive(Debug)]
pub(in crate::http) struct CloudEvents;

impl PartialSchema for CloudEvents {
    fn schema() -> RefOr<Schema> {
        let one = Ref::from_schema_name(CloudEvent::name());
        ArrayBuilder::new().items(one).min_items(Some(1)).max_items(Some(BATCH_MAX)).into()
    }
}

impl ToSchema for CloudEvents {}

/// The version of CloudEvents
#[derive(Debug, ToSchema)]
pub(in crate::http) enum SpecVersion {
    #[schema(rename = "1.0")]
    One,
}

/// What an event's data are written in
#[derive(Debug)]
pub(in crate::http) struct JsonType;

impl PartialSchema for JsonType {
    fn schema() -> RefOr<Schema> {
        ObjectBuilder::new().schema_type(Type::String).pattern(Some("^application/json")).into()
    }
}

impl ToSchema for JsonType {}

/// An operation without what stands in the envelope of its event
#[derive(Debug)]
pub(in crate::http) struct EventData;

impl PartialSchema for EventData {
    fn schema() -> RefOr<Schema> {
        let mut operation = NewOperation::schema();
        if let RefOr::T(Schema::Object(fields)) = &mut operation {
            let words = "An operation without what stands in the envelope of its event";
            fields.description = Some(words.to_owned());
            for name in ["operationId", "userId", "timestamp"] {
                fields.properties.remove(name);
                fields.required.retain(|required| required != name);
            }
        }
        operation
    }
}

impl ToSchema for EventData {}

/// A reversal to be recorded
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Reversal {
    operation_id: Option<OperationId>,
    reason: Option<Label>,
}

/// What is asked for, per meter; absent is 0
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Estimate {
    cost: Option<Cost>,
    ai_runs: Option<Runs>,
    api_runs: Option<Runs>,
}

/// One of several ways to do the work, the best first
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct SentChoice {
    /// Another one for each.
    name: Name,
    estimate: Estimate,
}

/// Ways to do the work
#[derive(Debug)]
pub(in crate::http) struct SentChoices;

impl PartialSchema for SentChoices {
    fn schema() -> RefOr<Schema> {
        let one = Ref::from_schema_name(SentChoice::name());
        ArrayBuilder::new().items(one).min_items(Some(1)).max_items(Some(CHOICES_MAX)).into()
    }
}

impl ToSchema for SentChoices {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((SentChoice::name().into_owned(), SentChoice::schema()));
        SentChoice::schemas(schemas);
    }
}

/// A question whether something fits; exactly one of `estimate` and `choices`
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct Question {
    estimate: Option<Estimate>,
    choices: Option<SentChoices>,
    /// Required with `audit`.
    feature: Option<Name>,
    /// Keeps a denial when it is refused.
    audit: Option<bool>,
}

/// A session to be opened; exactly one of `estimate` and `choices`
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewSession {
    session_id: Option<SessionId>,
    feature: Name,
    estimate: Option<Estimate>,
    choices: Option<SentChoices>,
    /// 1 to 86400; 900 when absent.
    hold_seconds: Option<HoldSeconds>,
    metadata: Option<Metadata>,
}

/// How a session ends
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct FinishSession {
    status: Finish,
    /// Why it failed.
    error: Option<Label>,
}

/// How a hold goes on
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ExtendSession {
    /// From now on, 1 to 86400.
    hold_seconds: HoldSeconds,
    /// The hold's new total; absent = it stays.
    estimate: Option<Estimate>,
}

/// What is set of a user, all of it
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct UserSettings {
    /// The default plan when absent.
    plan: Option<Name>,
    email: Option<Email>,
    /// An absent meter follows the plan, null is unlimited, 0 allows nothing.
    limits: Option<OwnLimits>,
}

/// Limits of a user's own: an absent meter follows the plan, null is unlimited, 0 allows nothing
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct OwnLimits {
    cost: Option<CostLimit>,
    ai_runs: Option<RunsLimit>,
    api_runs: Option<RunsLimit>,
}

/// A plan to be set; each meter must be named, null is unlimited
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PlanSettings {
    limits: PlanLimits,
    /// Its place among the plans; absent = where it is, or last.
    tier: Option<Tier>,
}

/// A limit for each meter: null is unlimited, 0 allows nothing
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct PlanLimits {
    #[schema(required = true)]
    cost: Option<CostLimit>,
    #[schema(required = true)]
    ai_runs: Option<RunsLimit>,
    #[schema(required = true)]
    api_runs: Option<RunsLimit>,
}

/// A denial that the application made
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct NewDenial {
    feature: Name,
    estimate: Estimate,
    reason: Label,
    session_id: Option<SessionId>,
    metadata: Option<Metadata>,
}

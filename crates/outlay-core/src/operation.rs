//! Operations: calls that were made and cost something; immutable once recorded.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::id::{Label, Name, OperationId, OperationNo, SessionId, SessionNo, UserId, UserNo};
use crate::money::{Quantity, Usd};
use crate::month::{Month, Timestamp};
use crate::plan::Amounts;
use crate::session::Finish;

/// Which runs meter a billable run counts on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum UsageType {
    /// A call of a model: counts on `aiRuns`.
    #[default]
    Ai,
    /// A call of another paid service: counts on `apiRuns`.
    Api,
}

impl UsageType {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ai => "AIUsage",
            Self::Api => "ApiUsage",
        }
    }

    /// The type with this name on the wire.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ai, Self::Api].into_iter().find(|usage_type| usage_type.as_str() == text)
    }
}

/// Counts of tokens, as the provider reported them: `input` includes cached and cache-write tokens, `output` includes
/// reasoning. Absent counts are 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Tokens {
    /// Read by the model.
    pub input: u64,
    /// Of these, served from the provider's cache.
    pub cached_input: u64,
    /// Of these, written to the provider's cache.
    pub cache_write: u64,
    /// Made by the model.
    pub output: u64,
    /// Of these, made while reasoning.
    pub reasoning: u64,
}

/// Quantities by unit name, such as pages or seconds, in the order of their names.
pub type Units = Arc<[(Name, Quantity)]>;

/// The first 128 bits of SHA-256 over an operation as it was asked for; two asks with the same one are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 16]);

/// An operation as the application reports it. What is absent here is filled in when it is recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOperation {
    /// The idempotency key; made at the edge when the application gave none.
    pub operation_id: OperationId,
    /// The user who is charged.
    pub user_id: UserId,
    /// Which runs meter a billable run counts on.
    pub usage_type: UsageType,
    /// What the call was for.
    pub feature: Name,
    /// Who was called.
    pub provider: Name,
    /// Which model was called.
    pub model: Option<Name>,
    /// What it cost: 0 to 1,000,000 USD.
    pub cost: Usd,
    /// Tokens used.
    pub tokens: Option<Tokens>,
    /// Other quantities used.
    pub units: Option<Units>,
    /// Whether it counts as one run against the plan.
    pub is_billable_run: bool,
    /// The session that it is a step of.
    pub session_id: Option<SessionId>,
    /// What the step is called.
    pub step_label: Option<Label>,
    /// Its place in the session as the application counts; absent = the count so far + 1.
    pub step_number: Option<i64>,
    /// Finishes the session together with this step.
    pub finish_session: Option<Finish>,
    /// How long the call took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// When it happened; absent = now.
    pub timestamp: Option<Timestamp>,
    /// The application's own JSON object, as it was given.
    pub metadata: Option<Arc<str>>,
    /// Over all of the above as asked, see [`FingerprintBuilder`].
    pub fingerprint: Fingerprint,
}

impl NewOperation {
    /// What the operation uses of each meter.
    pub fn amounts(&self) -> Amounts {
        amounts(self.cost, self.usage_type, i64::from(self.is_billable_run))
    }
}

fn amounts(cost: Usd, usage_type: UsageType, runs: i64) -> Amounts {
    match usage_type {
        UsageType::Ai => Amounts { cost: cost.picos(), ai_runs: runs, api_runs: 0 },
        UsageType::Api => Amounts { cost: cost.picos(), ai_runs: 0, api_runs: runs },
    }
}

/// Where an operation was written down, in the words of the trackers that Outlay replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RecordedIn {
    /// As a step of a session, and in the user's month.
    Session,
    /// As AI usage, and in the user's month.
    AiUsage,
    /// As API usage, and in the user's month.
    ApiUsage,
}

impl RecordedIn {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Session => "SessionUsage+UserDoc",
            Self::AiUsage => "AIUsage+UserDoc",
            Self::ApiUsage => "ApiUsage+UserDoc",
        }
    }
}

/// A recorded operation, or a reversal: the row that every counter is a sum over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Its place in commit order.
    pub no: OperationNo,
    /// Whose it is.
    pub user_no: UserNo,
    /// Its id among the user's.
    pub operation_id: OperationId,
    /// What was asked; a repeat must have the same.
    pub fingerprint: Fingerprint,
    /// Which runs meter it counts on.
    pub usage_type: UsageType,
    /// What it was for.
    pub feature: Name,
    /// Who was called.
    pub provider: Name,
    /// Which model was called.
    pub model: Option<Name>,
    /// What it cost; below zero on a reversal only.
    pub cost: Usd,
    /// Tokens used.
    pub tokens: Option<Tokens>,
    /// Other quantities used.
    pub units: Option<Units>,
    /// Whether it counts as a run; on a reversal, whether it takes one back.
    pub is_billable_run: bool,
    /// The session that it is a step of, by number and by id.
    pub session: Option<(SessionNo, SessionId)>,
    /// Its place among the session's steps in order of recording, from 1; 0 outside a session and on a reversal.
    pub step_position: u64,
    /// What the step is called.
    pub step_label: Option<Label>,
    /// Its place as the application counts.
    pub step_number: Option<i64>,
    /// Whether it was asked to finish the session.
    pub finish_session: Option<Finish>,
    /// How long the call took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// When it happened; it decides the month.
    pub timestamp: Timestamp,
    /// When it was recorded.
    pub recorded_at: Timestamp,
    /// The application's own JSON object.
    pub metadata: Option<Arc<str>>,
    /// The operation that this one takes back.
    pub reverses: Option<(OperationNo, OperationId)>,
    /// Why it was reversed; on a reversal only.
    pub reason: Option<Label>,
    /// The reversal that took this one back.
    pub reversed_by: Option<(OperationNo, OperationId)>,
    /// The user's operation before this one in its month.
    pub previous_in_month: Option<OperationNo>,
    /// The step before this one in its session.
    pub previous_in_session: Option<OperationNo>,
    /// Whether retention has taken its details, see [`Operation::without_details`].
    pub trimmed: bool,
}

impl Operation {
    /// What retention leaves of it: all but tokens, units, the step's label, the duration, metadata and a reversal's reason.
    /// What decides, what is counted in money and runs, and where it belongs stays for ever.
    #[must_use]
    pub fn without_details(self) -> Self {
        Self {
            tokens: None,
            units: None,
            step_label: None,
            duration_ms: None,
            metadata: None,
            reason: None,
            trimmed: true,
            ..self
        }
    }

    /// The month that it counts in.
    pub fn month(&self) -> Month {
        self.timestamp.month()
    }

    /// Billable runs: 1, 0, or -1 on the reversal of a billable run.
    pub fn runs(&self) -> i64 {
        match (self.is_billable_run, self.reverses.is_some()) {
            (false, _) => 0,
            (true, false) => 1,
            (true, true) => -1,
        }
    }

    /// What it adds to each meter; below zero on a reversal.
    pub fn amounts(&self) -> Amounts {
        amounts(self.cost, self.usage_type, self.runs())
    }

    /// Operations that it counts as in a breakdown: a reversal counts none.
    pub fn operations(&self) -> u64 {
        u64::from(self.reverses.is_none())
    }

    /// Where it was written down.
    pub fn recorded_in(&self) -> RecordedIn {
        match (&self.session, self.usage_type) {
            (Some(_), _) => RecordedIn::Session,
            (None, UsageType::Ai) => RecordedIn::AiUsage,
            (None, UsageType::Api) => RecordedIn::ApiUsage,
        }
    }
}

/// Fields of an operation, by their place in the contract's table; the fingerprint names them by these numbers, so
/// later versions add fields only at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Field {
    /// `operationId`
    OperationId = 1,
    /// `userId`
    UserId,
    /// `usageType`
    UsageType,
    /// `feature`
    Feature,
    /// `provider`
    Provider,
    /// `model`
    Model,
    /// `cost`
    Cost,
    /// `tokens`
    Tokens,
    /// `units`
    Units,
    /// `isBillableRun`
    IsBillableRun,
    /// `sessionId`
    SessionId,
    /// `stepLabel`
    StepLabel,
    /// `stepNumber`
    StepNumber,
    /// `finishSession`
    FinishSession,
    /// `durationMs`
    DurationMs,
    /// `timestamp`
    Timestamp,
    /// `metadata`
    Metadata,
    /// The original of a reversal; never asked for through the table, so no ask equals a reversal.
    Reverses,
}

/// Builds a [`Fingerprint`]: a version byte (1), then each field that was given and differs from its default, in the
/// order of [`Field`], as the field's number, the length of its value (4 bytes, little endian) and the value.
///
/// Values: texts as UTF-8; money in picodollars, and integers, as 8 bytes little endian; times in nanoseconds since
/// the epoch as 16 bytes; a flag as one byte 1; tokens as five integers; units as (length, name, 16 bytes) in the order
/// of their names; metadata as RFC 8785 canonical text.
#[derive(Debug, Clone)]
pub struct FingerprintBuilder(Sha256);

impl Default for FingerprintBuilder {
    fn default() -> Self {
        Self(Sha256::new_with_prefix([1]))
    }
}

impl FingerprintBuilder {
    /// Adds a field with its value's bytes.
    pub fn field(&mut self, field: Field, value: &[u8]) -> &mut Self {
        self.0.update([field as u8]);
        self.0.update(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
        self.0.update(value);
        self
    }

    /// The fingerprint of all fields added.
    pub fn finish(self) -> Fingerprint {
        let digest: [u8; 32] = self.0.finalize().into();
        let mut first = [0; 16];
        first.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Fingerprint(first)
    }

    /// Of an operation as asked. `given_id` is whether the application gave the operation id, `canonical_metadata`
    /// the metadata as RFC 8785 text; what was left at its default must be absent from `operation`.
    pub fn of(
        operation: &NewOperation,
        given_id: bool,
        cost_given: bool,
        canonical_metadata: Option<&str>,
    ) -> Fingerprint {
        let mut builder = Self::default();
        if given_id {
            builder.field(Field::OperationId, operation.operation_id.as_str().as_bytes());
        }
        builder.field(Field::UserId, operation.user_id.as_str().as_bytes());
        if operation.usage_type != UsageType::default() {
            builder.field(Field::UsageType, operation.usage_type.as_str().as_bytes());
        }
        builder.field(Field::Feature, operation.feature.as_str().as_bytes());
        if operation.provider.as_str() != UNKNOWN_PROVIDER {
            builder.field(Field::Provider, operation.provider.as_str().as_bytes());
        }
        if let Some(model) = &operation.model {
            builder.field(Field::Model, model.as_str().as_bytes());
        }
        if cost_given {
            builder.field(Field::Cost, &operation.cost.picos().to_le_bytes());
        }
        if let Some(tokens) = &operation.tokens {
            let counts = [tokens.input, tokens.cached_input, tokens.cache_write, tokens.output, tokens.reasoning];
            builder.field(Field::Tokens, &counts.map(u64::to_le_bytes).concat());
        }
        if let Some(units) = &operation.units {
            let mut value = Vec::new();
            for (name, quantity) in units.iter() {
                value.extend(u32::try_from(name.as_str().len()).unwrap_or(u32::MAX).to_le_bytes());
                value.extend(name.as_str().as_bytes());
                value.extend(quantity.picos().to_le_bytes());
            }
            builder.field(Field::Units, &value);
        }
        if operation.is_billable_run {
            builder.field(Field::IsBillableRun, &[1]);
        }
        if let Some(session_id) = &operation.session_id {
            builder.field(Field::SessionId, session_id.as_str().as_bytes());
        }
        if let Some(label) = &operation.step_label {
            builder.field(Field::StepLabel, label.as_str().as_bytes());
        }
        if let Some(number) = operation.step_number {
            builder.field(Field::StepNumber, &number.to_le_bytes());
        }
        if let Some(finish) = operation.finish_session {
            builder.field(Field::FinishSession, finish.as_str().as_bytes());
        }
        if let Some(duration_ms) = operation.duration_ms {
            builder.field(Field::DurationMs, &duration_ms.to_le_bytes());
        }
        if let Some(timestamp) = operation.timestamp {
            builder.field(Field::Timestamp, &timestamp.nanos().to_le_bytes());
        }
        if let Some(metadata) = canonical_metadata {
            builder.field(Field::Metadata, metadata.as_bytes());
        }
        builder.finish()
    }
}

/// The provider of an operation that names none.
pub const UNKNOWN_PROVIDER: &str = "unknown";

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        Name::new(text).unwrap()
    }

    /// The least that can be asked, and its operation id.
    fn asked() -> NewOperation {
        NewOperation {
            operation_id: OperationId::new("usage_1760380378785_zrix").unwrap(),
            user_id: UserId::new("bgtfrdsZ").unwrap(),
            usage_type: UsageType::Ai,
            feature: name("business_card_scan"),
            provider: name(UNKNOWN_PROVIDER),
            model: None,
            cost: Usd::parse("0.00010785").unwrap(),
            tokens: None,
            units: None,
            is_billable_run: false,
            session_id: None,
            step_label: None,
            step_number: None,
            finish_session: None,
            duration_ms: None,
            timestamp: None,
            metadata: None,
            fingerprint: Fingerprint([0; 16]),
        }
    }

    /// All that can be asked.
    fn asked_in_full() -> NewOperation {
        NewOperation {
            usage_type: UsageType::Api,
            provider: name("gemini"),
            model: Some(name("flash")),
            tokens: Some(Tokens { input: 1200, cached_input: 200, cache_write: 100, output: 34, reasoning: 5 }),
            units: Some(Arc::from([
                (name("pages"), Quantity::parse("2").unwrap()),
                (name("seconds"), Quantity::parse("12.5").unwrap()),
            ])),
            is_billable_run: true,
            session_id: Some(SessionId::new("session_scan_1760380376660_72r1").unwrap()),
            step_label: Some(Label::new("Schritt für").unwrap()),
            step_number: Some(2),
            finish_session: Some(Finish::Failed),
            duration_ms: Some(845),
            timestamp: Some(Timestamp::from_nanos(1_760_380_376_000_000_001).unwrap()),
            ..asked()
        }
    }

    fn hex(fingerprint: Fingerprint) -> String {
        format!("{:032x}", u128::from_be_bytes(fingerprint.0))
    }

    /// Kept for ever: a change here would make every repeat of an older operation a conflict. The digests are those of
    /// another program that was written after what [`FingerprintBuilder`] says.
    #[test]
    fn the_fingerprint_of_the_first_version_stays() {
        let first = NewOperation { provider: name("gemini"), is_billable_run: true, ..asked() };
        assert_eq!(hex(FingerprintBuilder::of(&first, true, true, None)), "1f9b24cbf8dd0ffaba8d9fa6ca67fa7f");
        assert_eq!(hex(FingerprintBuilder::of(&asked(), false, false, None)), "08048249791327d1e340ad79bfddfd68");
        let full = FingerprintBuilder::of(&asked_in_full(), true, true, Some(r#"{"page":1}"#));
        assert_eq!(hex(full), "3a438605242b4f458a20b1fb1d2945e5");
    }

    #[test]
    fn a_reported_operation_is_an_amount_on_the_meter_of_its_type() {
        let (ai, api) = (asked(), asked_in_full());
        assert_eq!(ai.amounts(), Amounts { cost: 107_850_000, ai_runs: 0, api_runs: 0 });
        assert_eq!(api.amounts(), Amounts { cost: 107_850_000, ai_runs: 0, api_runs: 1 });
    }

    #[test]
    fn each_name_on_the_wire_is_that_of_one_type() {
        for (usage_type, text) in [(UsageType::Ai, "AIUsage"), (UsageType::Api, "ApiUsage")] {
            assert_eq!((usage_type.as_str(), UsageType::parse(text)), (text, Some(usage_type)));
        }
        assert_eq!(UsageType::parse("aiusage"), None);
    }
}

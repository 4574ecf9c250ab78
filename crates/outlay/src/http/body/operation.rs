//! An operation as it is posted, plain or as one of CloudEvents.

use outlay_core::id::{Label, Name, OperationId, SessionId, UserId};
use outlay_core::money::{Quantity, Usd};
use outlay_core::month::{TimeError, Timestamp};
use outlay_core::operation::{
    Fingerprint, FingerprintBuilder, NewOperation, Tokens, UNKNOWN_PROVIDER, Units, UsageType,
};
use outlay_core::session::Finish;

use super::super::problem::{Problem, TIME_IS_AHEAD};
use super::{Object, decimal, flag, metadata, string, text, whole, word};
use crate::ids::Ids;

/// What is said where a cost is missing.
const COST_IS_MISSING: &str =
    "is required: prices for `tokens` and `units` come with a later version, so send what the call cost";

/// A posted operation.
#[derive(Debug)]
pub(in crate::http) struct Posted {
    /// What was asked.
    pub(in crate::http) operation: Box<NewOperation>,
    /// What an answer must say of it.
    pub(in crate::http) told: Told,
}

/// What the answer to a posted operation must say beside what came of it.
#[derive(Debug)]
pub(in crate::http) struct Told {
    /// The operation's id, where the server made it.
    pub(in crate::http) made_id: Option<OperationId>,
    form: Form,
}

/// The form in which an operation is posted, which says where its fields are.
#[derive(Debug, Clone, Copy)]
enum Form {
    Plain,
    CloudEvent,
}

/// Fields by which a rejection names what is wrong with an operation, and where they are in an event. A sum of runs is that
/// of the operation's own run.
const PLACES: [(&str, &str, &str); 5] = [
    ("/timestamp", "/timestamp", "/time"),
    ("/finishSession", "/finishSession", "/data/finishSession"),
    ("/cost", "/cost", "/data/cost"),
    ("/aiRuns", "/isBillableRun", "/data/isBillableRun"),
    ("/apiRuns", "/isBillableRun", "/data/isBillableRun"),
];

impl Told {
    /// Of an operation in the plain form.
    pub(in crate::http) fn plain(made_id: Option<OperationId>) -> Self {
        Self { made_id, form: Form::Plain }
    }

    /// A problem in the words of what was posted: with the id that the server made, so that the same can be sent again.
    pub(in crate::http) fn tell(&self, problem: Problem) -> Problem {
        let problem = PLACES.iter().fold(problem, |problem, (field, plain, in_event)| {
            let place = match self.form {
                Form::Plain => plain,
                Form::CloudEvent => in_event,
            };
            problem.renamed(field, place)
        });
        match &self.made_id {
            Some(made_id) => problem.with("operationId", &made_id.as_str()),
            None => problem,
        }
    }
}

/// What stands in the envelope of an event.
struct Head {
    operation_id: Option<OperationId>,
    user_id: Option<UserId>,
    timestamp: Option<Timestamp>,
    form: Form,
}

/// Reads an operation in the plain form.
///
/// # Errors
/// When a field is wrong.
pub(in crate::http) fn plain(raw: &str, ids: &Ids) -> Result<Posted, Problem> {
    let mut fields = Object::of_body(raw)?;
    let head = Head {
        operation_id: fields.optional("operationId", text(OperationId::new)),
        user_id: fields.required("userId", text(UserId::new)),
        timestamp: fields.optional("timestamp", time_so_far),
        form: Form::Plain,
    };
    let posted = rest(&mut fields, head, ids);
    fields.finish(posted)
}

/// Reads an operation from a cloud event in the structured mode: id, subject and time are in the envelope, the rest in
/// `data`. Extension attributes are allowed, and not kept.
///
/// # Errors
/// When an attribute or a field is wrong.
pub(in crate::http) fn cloud_event(raw: &str, ids: &Ids) -> Result<Posted, Problem> {
    let mut event = Object::of_body(raw)?;
    event.required("specversion", word(|version| (version == "1.0").then_some(()), "\"1.0\""));
    event.required("type", string);
    event.required("source", string);
    let is_json = |kind: &str| kind.starts_with("application/json").then_some(());
    event.optional("datacontenttype", word(is_json, "application/json"));
    if event.take("data_base64").is_some() {
        event.wrong("data_base64", "is not read: send `data` as a JSON object");
    }
    let head = Head {
        operation_id: event.required("id", text(OperationId::new)),
        user_id: event.required("subject", text(UserId::new)),
        timestamp: event.optional("time", time_so_far),
        form: Form::CloudEvent,
    };
    let posted = if let Some(data) = event.take("data") {
        event.within("/data".to_owned(), data, |fields| rest(fields, head, ids))
    } else {
        event.wrong("data", "is required");
        None
    };
    event.rest();
    event.finish(posted)
}

/// Reads when an operation was; what is too late for any clock is told like what is too late for this one.
fn time_so_far(raw: &str) -> Result<Timestamp, String> {
    Timestamp::parse(&string(raw)?).map_err(|error| match error {
        TimeError::TooLate => TIME_IS_AHEAD.to_owned(),
        error => error.to_string(),
    })
}

/// Reads all but the head.
fn rest(fields: &mut Object<'_>, head: Head, ids: &Ids) -> Option<Posted> {
    let given_id = head.operation_id.is_some();
    let usage_type = fields.optional("usageType", word(UsageType::parse, "AIUsage or ApiUsage"));
    let feature = fields.required("feature", text(Name::new));
    let provider = fields.optional("provider", text(Name::new));
    let model = fields.optional("model", text(Name::new));
    if fields.is_absent("cost") {
        fields.wrong("cost", COST_IS_MISSING);
    }
    let cost = fields.optional("cost", decimal(Usd::parse));
    let tokens = fields.object("tokens", |fields| Some(tokens(fields)));
    let units = fields.object("units", |fields| Some(units(fields)));
    let is_billable_run = fields.optional("isBillableRun", flag);
    let session_is_absent = fields.is_absent("sessionId");
    let session_id = fields.optional("sessionId", text(SessionId::new));
    let step_label = fields.optional("stepLabel", text(Label::new));
    let step_number = fields.optional("stepNumber", whole(0..=i64::MAX));
    let finish_session = fields.optional("finishSession", word(Finish::parse, "completed or failed"));
    if finish_session.is_some() && session_is_absent {
        fields.wrong("sessionId", "is required with finishSession");
    }
    let duration_ms = fields.optional("durationMs", whole(0..=i64::MAX));
    let metadata = metadata::read(fields);

    let mut operation = NewOperation {
        operation_id: head.operation_id.unwrap_or_else(|| ids.operation()),
        user_id: head.user_id?,
        usage_type: usage_type.unwrap_or_default(),
        feature: feature?,
        provider: provider.unwrap_or_else(|| Name::from_stored(UNKNOWN_PROVIDER)),
        model,
        cost: cost?,
        tokens,
        units,
        is_billable_run: is_billable_run.unwrap_or(false),
        session_id,
        step_label,
        step_number,
        finish_session,
        duration_ms: duration_ms.map(i64::unsigned_abs),
        timestamp: head.timestamp,
        metadata: metadata.as_ref().map(|metadata| metadata.compact.clone()),
        fingerprint: Fingerprint([0; 16]),
    };
    let canonical = metadata.as_ref().map(|metadata| metadata.canonical.as_str());
    operation.fingerprint = FingerprintBuilder::of(&operation, given_id, true, canonical);
    let made_id = (!given_id).then(|| operation.operation_id.clone());
    let told = Told { made_id, form: head.form };
    Some(Posted { operation: Box::new(operation), told })
}

/// Reads counts of tokens; one that is absent is 0.
fn tokens(fields: &mut Object<'_>) -> Tokens {
    let mut count = |name| fields.optional(name, whole(0..=i64::MAX)).map_or(0, i64::unsigned_abs);
    Tokens {
        input: count("input"),
        cached_input: count("cachedInput"),
        cache_write: count("cacheWrite"),
        output: count("output"),
        reasoning: count("reasoning"),
    }
}

/// Reads quantities of any units.
fn units(fields: &mut Object<'_>) -> Units {
    let mut units = Vec::new();
    for (name, raw) in fields.rest() {
        match (Name::new(&name), decimal(Quantity::parse)(raw)) {
            (Ok(name), Ok(quantity)) => units.push((name, quantity)),
            (Err(error), _) => fields.wrong(&name, error.to_string()),
            (_, Err(detail)) => fields.wrong(&name, detail),
        }
    }
    units.sort_by(|(a, _), (b, _)| a.cmp(b));
    units.into()
}

//! What is summed: over a user's months, and over everybody.

use std::collections::BTreeMap;

use utoipa::ToSchema;

use super::{Amounts, Metadata, MeterFigures, State, Usd};

/// Sums over operations
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Sums {
    /// Of a breakdown: of what; null for operations that name none.
    name: Option<String>,
    cost: Usd,
    operations: u64,
    billable_runs: i64,
    cost_per_operation: Option<Usd>,
    cost_per_run: Option<Usd>,
    /// In the totals of an overview.
    input_tokens: Option<u64>,
    /// In the totals of an overview.
    output_tokens: Option<u64>,
}

/// A day
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Day {
    #[schema(example = "2025-10-13")]
    day: String,
    cost: Usd,
    operations: u64,
    billable_runs: i64,
    ai_runs: i64,
    api_runs: i64,
}

/// A month of a history
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct HistoryMonth {
    month: String,
    cost: Usd,
    operations: u64,
    billable_runs: i64,
    cost_per_operation: Option<Usd>,
    cost_per_run: Option<Usd>,
    ai_runs: i64,
    api_runs: i64,
    /// Up to today, gaps as zeros.
    days: Vec<Day>,
    /// Shown to user tokens with `reads` of `usage` only.
    by_feature: Option<Vec<Sums>>,
    /// Not shown to user tokens.
    by_provider: Option<Vec<Sums>>,
    /// Not shown to user tokens.
    by_model: Option<Vec<Sums>>,
}

/// A user's months, the oldest first, gaps as zeros
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct History {
    user_id: String,
    months: Vec<HistoryMonth>,
}

/// Sums by usage type
#[derive(Debug, ToSchema)]
pub(in crate::http) struct Totals {
    ai: Sums,
    api: Sums,
    all: Sums,
}

/// Means over a month
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Averages {
    cost_per_user: Option<Usd>,
    cost_per_operation: Option<Usd>,
    cost_per_run: Option<Usd>,
}

/// The month before: while the month runs, as far as the same day of it; else whole
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Before {
    month: String,
    /// The last day that the totals count.
    through_day: String,
    totals: Totals,
    /// With an operation in that month, be it later.
    active_users: u64,
}

/// A month at a glance, of one snapshot
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct Overview {
    month: String,
    as_of: String,
    totals: Totals,
    /// Now, over all users.
    held: Amounts,
    /// With an operation in the month: those that `GET /v1/users?active=true` lists.
    active_users: u64,
    /// Erased since, with an operation in the month: it is in the totals and averages, and they are in no list.
    erased_users: u64,
    averages: Averages,
    days: Vec<Day>,
    top_features: Vec<Sums>,
    top_providers: Vec<Sums>,
    top_models: Vec<Sums>,
    top_users: Vec<UserItem>,
    /// Active users by state, each of them as many as `GET /v1/users?active=true&state=` lists.
    states: BTreeMap<String, u64>,
    /// Null for the first month of the year 1.
    before: Option<Before>,
}

/// A user in a list, with one month
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct UserItem {
    user_id: String,
    plan: String,
    email: Option<String>,
    month: String,
    state: State,
    /// The highest of the meters.
    percent: Option<f64>,
    cost: Usd,
    ai_runs: i64,
    api_runs: i64,
    meters: MeterFigures,
    operations: u64,
    last_seen_at: Option<String>,
    created_at: String,
}

/// Sums over the sessions of one feature
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct FeatureSessions {
    feature: String,
    /// By status: `inProgress`, `completed`, `failed`, `abandoned`.
    count: BTreeMap<String, u64>,
    sessions: u64,
    cost: Usd,
    steps: u64,
    cost_per_session: Option<Usd>,
    /// Of those that ended.
    mean_duration_ms: Option<u64>,
}

/// Sessions by feature
#[derive(Debug, ToSchema)]
pub(in crate::http) struct SessionStats {
    days: u64,
    since: String,
    features: Vec<FeatureSessions>,
}

/// The proof of every counter from the operations
#[derive(Debug, ToSchema)]
pub(in crate::http) struct Verified {
    ok: bool,
    findings: Vec<Finding>,
}

/// Something that is wrong in the store
#[derive(Debug, ToSchema)]
pub(in crate::http) struct Finding {
    #[schema(example = "month 2025-10 of user 3")]
    place: String,
    problem: String,
}

/// Something that somebody did
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) struct AuditEntry {
    /// They count up from 1 without gaps.
    number: u64,
    recorded_at: String,
    /// A key's id, or `environment` (`OUTLAY_ADMIN_KEY`), `socket` (the owner of the data folder), `open` (anybody on an open
    /// server), `configuration`, `token` (an end user) or `nobody`.
    #[schema(example = "key_7Qm2ZkXv1rT9bLcE")]
    who: String,
    /// From where; null from this machine's own socket.
    address: Option<String>,
    request_id: Option<String>,
    #[schema(example = "plan.set")]
    action: String,
    /// To what: a key's id, a plan's name, a route.
    #[schema(example = "premium")]
    subject: Option<String>,
    /// To whom; null when it is about no user, or one who was erased.
    user_id: Option<String>,
    /// The user's number, which stays.
    user_number: Option<u64>,
    /// What was before; null where nothing was.
    before: Option<Metadata>,
    /// What is now; null where nothing is.
    after: Option<Metadata>,
}

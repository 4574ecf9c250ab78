//! What stands in paths and queries, and what any route may be answered with beside its answer.

use utoipa::{IntoParams, IntoResponses};

use super::{Problem, State, UsageType};

/// Which page of a list
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PageQuery {
    /// 1 to 1000; 50 when absent.
    limit: Option<u16>,
    /// The `nextCursor` of the page before.
    cursor: Option<String>,
}

/// Which month
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct MonthQuery {
    /// Like `2025-10`.
    #[param(example = "2025-10")]
    month: Option<String>,
}

/// Which operations
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in crate::http) struct UsageQuery {
    feature: Option<String>,
    usage_type: Option<UsageType>,
    session_id: Option<String>,
}

/// Which sessions
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SessionsQuery {
    /// `in-progress`, `completed`, `failed` or `abandoned`.
    status: Option<String>,
    feature: Option<String>,
    /// Only created at or after this time.
    from: Option<String>,
    /// Only created before this time.
    to: Option<String>,
}

/// Whose
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in crate::http) struct UserQuery {
    user_id: Option<String>,
}

/// Which users, in which order
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct UsersQuery {
    /// `cost` (the default), `percent`, `aiRuns`, `apiRuns`, `lastSeen` or `userId`.
    sort: Option<String>,
    /// `desc` or `asc`; by id ascending when absent, else descending.
    order: Option<String>,
    /// `true`: only those with an operation in the month. All who are known when absent.
    active: Option<bool>,
    state: Option<State>,
    plan: Option<String>,
    /// The beginning of the id.
    q: Option<String>,
}

/// The user of a path
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(in crate::http) struct UserPath {
    /// 1 to 128 characters, percent-encoded.
    user_id: String,
}

/// The session of a path
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(in crate::http) struct SessionPath {
    /// 1 to 128 characters, percent-encoded.
    user_id: String,
    /// 1 to 128 characters, percent-encoded.
    session_id: String,
}

/// What a read may be answered with beside its answer
#[derive(Debug, IntoResponses)]
pub(in crate::http) enum ReadProblems {
    /// A parameter is wrong; `errors` names it
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// No key or token, or none that is known
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The key or token does not allow this
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The store does not answer
    #[response(status = 503, content_type = "application/problem+json")]
    Unavailable(Problem),
}

/// What a command may be answered with beside its answer
#[derive(Debug, IntoResponses)]
pub(in crate::http) enum WriteProblems {
    /// Fields are wrong; `errors` names each
    #[response(status = 400, content_type = "application/problem+json")]
    Invalid(Problem),
    /// No key, or none that is known
    #[response(status = 401, content_type = "application/problem+json")]
    Unauthorized(Problem),
    /// The key does not allow this
    #[response(status = 403, content_type = "application/problem+json")]
    Forbidden(Problem),
    /// The body, or its metadata, is too large
    #[response(status = 413, content_type = "application/problem+json")]
    TooLarge(Problem),
    /// The body is of another type
    #[response(status = 415, content_type = "application/problem+json")]
    UnsupportedMediaType(Problem),
    /// Too much is waiting; try again
    #[response(status = 429, content_type = "application/problem+json")]
    QueueFull(Problem),
    /// It is done or not; the same ids settle it
    #[response(status = 503, content_type = "application/problem+json")]
    OutcomeUnknown(Problem),
    /// The disk is full; nothing was done
    #[response(status = 507, content_type = "application/problem+json")]
    DiskFull(Problem),
}

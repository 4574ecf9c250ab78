//! What stands in paths and queries, and what any route may be answered with beside its answer.

use utoipa::{IntoParams, IntoResponses, ToSchema};

use super::{
    Cursor, Limit, Month, Name, Order, Problem, SessionId, SessionStatus, State, Time, UsageType, UserId, UserSort,
};

/// Which page of a list
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct PageQuery {
    /// 1 to 1000; 50 when absent.
    #[param(inline)]
    limit: Option<Limit>,
    /// The `nextCursor` of the page before.
    #[param(inline)]
    cursor: Option<Cursor>,
}

/// Which month
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct MonthQuery {
    /// Like `2025-10`.
    #[param(inline, example = "2025-10")]
    month: Option<Month>,
}

/// Which operations
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in crate::http) struct UsageQuery {
    #[param(inline)]
    feature: Option<Name>,
    usage_type: Option<UsageType>,
    #[param(inline)]
    session_id: Option<SessionId>,
}

/// Which sessions
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct SessionsQuery {
    #[param(inline)]
    status: Option<SessionStatus>,
    #[param(inline)]
    feature: Option<Name>,
    /// Only created at or after this time.
    #[param(inline)]
    from: Option<Time>,
    /// Only created before this time.
    #[param(inline)]
    to: Option<Time>,
}

/// Whose
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub(in crate::http) struct UserQuery {
    #[param(inline)]
    user_id: Option<UserId>,
}

/// Which users, in which order
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct UsersQuery {
    /// `cost` when absent.
    #[param(inline)]
    sort: Option<UserSort>,
    /// By id ascending when absent, else descending.
    #[param(inline)]
    order: Option<Order>,
    /// `true`: only those with an operation in the month. All who are known when absent.
    active: Option<bool>,
    state: Option<State>,
    #[param(inline)]
    plan: Option<Name>,
    /// The beginning of the id.
    q: Option<String>,
}

/// The user of a path
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(in crate::http) struct UserPath {
    /// 1 to 128 characters, percent-encoded.
    #[param(inline)]
    user_id: UserId,
}

/// The session of a path
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Path, rename_all = "camelCase")]
pub(in crate::http) struct SessionPath {
    /// 1 to 128 characters, percent-encoded.
    #[param(inline)]
    user_id: UserId,
    /// 1 to 128 characters, percent-encoded.
    #[param(inline)]
    session_id: SessionId,
}

/// An event of a user's stream
#[derive(Debug, ToSchema)]
pub(in crate::http) struct UserEvent {
    event: UserEventName,
    /// For `Last-Event-ID`.
    id: Option<String>,
    /// A `Budget` or an `Alert`, as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// What an event of a user's stream tells
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) enum UserEventName {
    Budget,
    Alert,
}

/// An event of everybody's stream
#[derive(Debug, ToSchema)]
pub(in crate::http) struct OperatorEvent {
    event: OperatorEventName,
    /// An overview without its lists, an `Alert` or a `Denial`, as JSON.
    #[schema(content_media_type = "application/json")]
    data: String,
}

/// What an event of everybody's stream tells
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::http) enum OperatorEventName {
    Overview,
    Alert,
    Denial,
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

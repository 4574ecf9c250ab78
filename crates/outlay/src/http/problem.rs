//! Every error that leaves over HTTP: RFC 9457 problems, with a stable slug each.
//!
//! A handler gives a [`Problem`]; the guard in front of it adds the request id and writes the body. What went wrong inside
//! goes to the log, never to the caller. Each slug has a page in `docs/problems`.

use std::borrow::Cow;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use outlay_core::ledger::Rejection;
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::value::{RawValue, to_raw_value};

use super::Presentation;
use crate::ids::RequestId;
use crate::store::{CommandError, StoreError};
use crate::writer::WriteError;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident $slug:literal $status:ident $title:literal;)*) => {
        /// What kind of problem it is: one per thing that a caller can act on.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $name,)*
        }

        impl Kind {
            /// All kinds, in the order of their status.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// The last part of the problem's `type`, for ever the same.
            pub const fn slug(self) -> &'static str {
                match self {
                    $(Self::$name => $slug,)*
                }
            }

            /// The status that it is answered with.
            pub const fn status(self) -> StatusCode {
                match self {
                    $(Self::$name => StatusCode::$status,)*
                }
            }

            /// What it is, in a few words that are the same each time.
            pub const fn title(self) -> &'static str {
                match self {
                    $(Self::$name => $title,)*
                }
            }

            /// The page that explains it, as Markdown.
            pub const fn page(self) -> &'static str {
                match self {
                    $(Self::$name => include_str!(concat!("../../../../docs/problems/", $slug, ".md")),)*
                }
            }
        }
    };
}

kinds! {
    /// The request itself cannot be understood: two hosts, a path that is no UTF-8.
    InvalidRequest "invalid-request" BAD_REQUEST "The request cannot be read";
    /// The body is no JSON, or fields of it are wrong; `errors` names them.
    InvalidBody "invalid-body" BAD_REQUEST "The body is not valid";
    /// A part of the path or the query is wrong; `errors` names it.
    InvalidParameter "invalid-parameter" BAD_REQUEST "A parameter is not valid";
    /// No key, or none that is known.
    Unauthorized "unauthorized" UNAUTHORIZED "A valid key is needed";
    /// The intent does not fit the budget; a denial is kept.
    DoesNotFit "does-not-fit" PAYMENT_REQUIRED "It does not fit the budget";
    /// The key or token does not allow this.
    Forbidden "forbidden" FORBIDDEN "This is not allowed";
    /// There is nothing here.
    NotFound "not-found" NOT_FOUND "There is nothing here";
    /// The path exists, but not with this method; `Allow` names those it has.
    MethodNotAllowed "method-not-allowed" METHOD_NOT_ALLOWED "This method is not allowed here";
    /// The body did not come in time.
    RequestTimeout "request-timeout" REQUEST_TIMEOUT "The request did not come in time";
    /// The operation id is taken by other content.
    OperationConflict "operation-conflict" CONFLICT "The operation id is in use with other content";
    /// The session id is taken by other content.
    SessionConflict "session-conflict" CONFLICT "The session id is in use with other content";
    /// The session was finished the other way.
    AlreadyFinished "already-finished" CONFLICT "The session is already finished";
    /// Only a session in progress that has a hold can be extended.
    NotHolding "not-holding" CONFLICT "The session holds nothing";
    /// Reversals cannot be reversed.
    ReversalOfReversal "reversal-of-reversal" CONFLICT "A reversal cannot be reversed";
    /// The plans stand in the configuration, which is the truth.
    PlansAreConfigured "plans-are-configured" CONFLICT "The plans are set by the configuration";
    /// The webhook stands in the configuration, which is the truth.
    WebhookIsConfigured "webhook-is-configured" CONFLICT "The webhook is set by the configuration";
    /// The store is a database, which has means of its own for it.
    BackedUpElsewhere "backed-up-elsewhere" CONFLICT "The store is backed up by its own tools";
    /// There are as many webhooks as there may be.
    TooManyWebhooks "too-many-webhooks" CONFLICT "There are too many webhooks";
    /// The body, or a part of it, is larger than allowed.
    PayloadTooLarge "payload-too-large" PAYLOAD_TOO_LARGE "It is too large";
    /// The body is of a type that is not read here.
    UnsupportedMediaType "unsupported-media-type" UNSUPPORTED_MEDIA_TYPE "This content type is not read here";
    /// No plan of this name.
    UnknownPlan "unknown-plan" UNPROCESSABLE_ENTITY "There is no such plan";
    /// The user's month would leave the range of what Outlay can count.
    SumTooLarge "sum-too-large" UNPROCESSABLE_ENTITY "The sum would be too large";
    /// No cost was given, and the catalogue has no price for it.
    PriceNotKnown "price-not-known" UNPROCESSABLE_ENTITY "No price is known for it";
    /// Too many failed attempts from this address.
    TooManyRequests "too-many-requests" TOO_MANY_REQUESTS "Too many requests";
    /// Too much is waiting to be written.
    QueueFull "queue-full" TOO_MANY_REQUESTS "Too much is waiting";
    /// A bug: this request alone failed, and nothing was done.
    Internal "internal" INTERNAL_SERVER_ERROR "Something is wrong in Outlay";
    /// So many event streams are open that there is no room for one more.
    TooManyStreams "too-many-streams" SERVICE_UNAVAILABLE "Too many event streams are open";
    /// The store does not answer; nothing was done.
    StoreUnavailable "store-unavailable" SERVICE_UNAVAILABLE "The store does not answer";
    /// It may be done or not; the same ids settle it.
    OutcomeUnknown "outcome-unknown" SERVICE_UNAVAILABLE "It is not known whether it was done";
    /// Space runs out and is kept for facts; nothing was done.
    SpaceShort "space-short" SERVICE_UNAVAILABLE "Space runs out";
    /// No space left; nothing was done.
    DiskFull "disk-full" INSUFFICIENT_STORAGE "The disk is full";
}

impl Kind {
    /// The kind with this slug.
    pub fn of_slug(slug: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.slug() == slug)
    }

    /// After how many seconds it is worth trying again.
    const fn retry_after_seconds(self) -> Option<u64> {
        match self {
            Self::TooManyRequests => Some(60),
            Self::QueueFull | Self::StoreUnavailable | Self::OutcomeUnknown => Some(1),
            Self::TooManyStreams => Some(10),
            Self::SpaceShort | Self::DiskFull => Some(30),
            _ => None,
        }
    }
}

/// What is said of a time that is not to be believed yet.
pub(super) const TIME_IS_AHEAD: &str = "must not be more than a day ahead of the server's clock";

/// What is wrong with one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as RFC 6901 has it, like `/amounts/cost`; of the query `/` and the parameter's name, of the path empty.
    pub pointer: String,
    /// What it must be, like `must be a number`.
    pub detail: String,
}

impl FieldError {
    /// What is wrong, and where.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// An error answer that is being made.
#[derive(Debug, Clone)]
pub struct Problem(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    kind: Kind,
    detail: Option<Cow<'static, str>>,
    errors: Vec<FieldError>,
    members: Vec<(&'static str, Box<RawValue>)>,
    retry_after_seconds: Option<u64>,
    /// For the log only.
    cause: Option<String>,
}

impl Problem {
    /// A problem of a kind, with nothing more said.
    pub fn new(kind: Kind) -> Self {
        Self(Box::new(Parts {
            kind,
            detail: None,
            errors: Vec::new(),
            members: Vec::new(),
            retry_after_seconds: kind.retry_after_seconds(),
            cause: None,
        }))
    }

    /// A body with one wrong field.
    pub fn field(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(Kind::InvalidBody).errors(vec![FieldError::new(pointer, detail)])
    }

    /// Says what happened this time, in a sentence for the developer who reads it.
    #[must_use]
    pub fn detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Names the fields that are wrong.
    #[must_use]
    pub fn errors(mut self, errors: Vec<FieldError>) -> Self {
        self.0.errors = errors;
        self
    }

    /// Names a field as the caller does, where they call it by another name than the ledger.
    #[must_use]
    pub fn renamed(mut self, from: &str, to: &str) -> Self {
        for error in self.0.errors.iter_mut().filter(|error| error.pointer == from) {
            to.clone_into(&mut error.pointer);
        }
        self
    }

    /// Adds a member to the body, such as `budget`; a value that cannot be written as JSON is left out.
    #[must_use]
    pub fn with<T: Serialize>(self, name: &'static str, value: &T) -> Self {
        match to_raw_value(value) {
            Ok(value) => self.with_raw(name, value),
            Err(_) => self,
        }
    }

    /// Adds a member that is JSON already.
    #[must_use]
    pub fn with_raw(mut self, name: &'static str, value: Box<RawValue>) -> Self {
        self.0.members.push((name, value));
        self
    }

    /// Asks to be tried again after this many seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.0.retry_after_seconds = Some(seconds);
        self
    }

    /// Says for the log, and only for it, what was behind it.
    #[must_use]
    pub fn because(mut self, cause: impl std::fmt::Display) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }

    /// Which kind it is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// The status that it is answered with.
    pub fn status(&self) -> StatusCode {
        self.0.kind.status()
    }

    /// What it says, in sentences for a person.
    pub(super) fn sentences(&self) -> Vec<String> {
        let errors = self.0.errors.iter().map(|error| {
            format!("{} {}.", error.pointer.trim_start_matches('/'), error.detail).trim_start().to_owned()
        });
        self.0.detail.iter().map(ToString::to_string).chain(errors).collect()
    }

    /// The fields that are wrong.
    #[cfg(test)]
    pub(super) fn field_errors(&self) -> &[FieldError] {
        &self.0.errors
    }

    /// The seconds of its `Retry-After`.
    pub(super) fn retry_after_seconds(&self) -> Option<u64> {
        self.0.retry_after_seconds
    }

    /// What is for the log.
    pub(super) fn cause(&self) -> Option<&str> {
        self.0.cause.as_deref()
    }

    /// The body, also as one item of a batch's results.
    pub fn body<'a>(&'a self, presentation: &'a Presentation, request_id: RequestId) -> Body<'a> {
        Body { problem: &self.0, base: presentation.public_url.as_deref().unwrap_or_default(), request_id, index: None }
    }
}

/// The body of a problem, to be written as JSON.
#[derive(Debug)]
pub struct Body<'a> {
    problem: &'a Parts,
    base: &'a str,
    request_id: RequestId,
    index: Option<usize>,
}

impl Body<'_> {
    /// Says which item of a batch it is about, from 0.
    #[must_use]
    pub fn at_index(mut self, index: usize) -> Self {
        self.index = Some(index);
        self
    }
}

impl Serialize for Body<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let kind = self.problem.kind;
        let mut map = serializer.serialize_map(None)?;
        if let Some(index) = self.index {
            map.serialize_entry("index", &index)?;
        }
        map.serialize_entry("type", &format_args!("{}/problems/{}", self.base, kind.slug()))?;
        map.serialize_entry("title", kind.title())?;
        map.serialize_entry("status", &kind.status().as_u16())?;
        if let Some(detail) = &self.problem.detail {
            map.serialize_entry("detail", detail)?;
        } else if let [only] = self.problem.errors.as_slice() {
            let place = match (only.pointer.as_str(), self.index) {
                ("", None) => "The body",
                ("", Some(_)) => "The item",
                (pointer, _) => pointer,
            };
            map.serialize_entry("detail", &format_args!("{place} {}", only.detail))?;
        } else {
            map.serialize_entry("detail", kind.title())?;
        }
        map.serialize_entry("requestId", &format_args!("{}", self.request_id))?;
        if !self.problem.errors.is_empty() {
            map.serialize_entry("errors", &Errors(&self.problem.errors))?;
        }
        for (name, value) in &self.problem.members {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

struct Errors<'a>(&'a [FieldError]);

impl Serialize for Errors<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct One<'a>(&'a FieldError);
        impl Serialize for One<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut map = serializer.serialize_map(Some(2))?;
                map.serialize_entry("pointer", &self.0.pointer)?;
                map.serialize_entry("detail", &self.0.detail)?;
                map.end()
            }
        }
        let mut list = serializer.serialize_seq(Some(self.0.len()))?;
        for error in self.0 {
            list.serialize_element(&One(error))?;
        }
        list.end()
    }
}

/// Only the status: the guard finds the problem among the response's extensions and writes the rest.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        let mut errors = Vec::new();
        let kind = match &rejection {
            Rejection::UnknownSession | Rejection::UnknownOperation => Kind::NotFound,
            Rejection::UnknownPlan(_) => {
                errors.push(FieldError::new("/plan", "must be a plan that there is"));
                Kind::UnknownPlan
            }
            Rejection::OperationConflict => Kind::OperationConflict,
            Rejection::SessionConflict => Kind::SessionConflict,
            Rejection::ReversalOfReversal => Kind::ReversalOfReversal,
            Rejection::AlreadyFinished(_) => Kind::AlreadyFinished,
            Rejection::NotHolding => Kind::NotHolding,
            Rejection::TimestampAhead => {
                return Self::field("/timestamp", TIME_IS_AHEAD);
            }
            Rejection::FinishWithoutSession => return Self::field("/finishSession", "needs a sessionId"),
            // What asked for it puts its own field in the place of the meter.
            Rejection::SumTooLarge(meter) => {
                errors.push(FieldError::new(format!("/{}", meter.as_str()), "makes the month's sum too large"));
                Kind::SumTooLarge
            }
            Rejection::Internal => return Self::new(Kind::Internal).because(rejection),
        };
        Self::new(kind).detail(format!("Failed to {rejection}.")).errors(errors)
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let (kind, detail) = match &error {
            StoreError::SpaceShort => (
                Kind::SpaceShort,
                "Nothing was begun: the space that is left is kept for what is recorded and finished.",
            ),
            StoreError::DiskFull => (Kind::DiskFull, "Nothing was recorded. Try again when there is space."),
            StoreError::Unavailable(_) => (Kind::StoreUnavailable, "Nothing was recorded. Try again."),
            StoreError::OutcomeUnknown(_) => {
                (Kind::OutcomeUnknown, "It may be recorded or not. Send the same ids again: it is done exactly once.")
            }
            StoreError::Corrupt(_) => {
                (Kind::Internal, "What is stored cannot be read. The server's log and `outlay verify` say more.")
            }
        };
        Self::new(kind).detail(detail).because(error)
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::Rejected(rejection) => rejection.into(),
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Rejected(rejection) => rejection.into(),
            WriteError::QueueFull => {
                Self::new(Kind::QueueFull).detail("Nothing was done: too much is waiting to be written. Try again.")
            }
            WriteError::Store(error) => error.into(),
        }
    }
}

//! What several resources need to find out: the ids in a path, a user's view, and lists in their common form.

use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use outlay_core::id::{OperationId, SessionId, TextError, UserId};
use outlay_core::ledger::{Outcome, UserView};
use outlay_core::month::Month;

use super::json::{Json, Object};
use super::problem::{FieldError, Kind, Problem};
use super::{App, SharedApp};
use crate::store::Page;

/// The user in a path.
#[derive(Debug)]
pub(super) struct OfUser(pub(super) UserId);

/// The session in a path, and its user.
#[derive(Debug)]
pub(super) struct OfSession(pub(super) UserId, pub(super) SessionId);

/// The operation in a path, and its user.
#[derive(Debug)]
pub(super) struct OfOperation(pub(super) UserId, pub(super) OperationId);

/// The name in a path, such as that of a plan.
#[derive(Debug)]
pub(super) struct OfName(pub(super) outlay_core::id::Name);

impl<S: Send + Sync> FromRequestParts<S> for OfUser {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = InPath::read(parts, state).await?;
        Ok(Self(path.id("userId", UserId::new)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfSession {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = InPath::read(parts, state).await?;
        Ok(Self(path.id("userId", UserId::new)?, path.id("sessionId", SessionId::new)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfOperation {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = InPath::read(parts, state).await?;
        Ok(Self(path.id("userId", UserId::new)?, path.id("operationId", OperationId::new)?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for OfName {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = InPath::read(parts, state).await?;
        // A plan's name stands in a path, where `.` and `..` are no names.
        let name = |text: &str| UserId::new(text).and_then(|_| outlay_core::id::Name::new(text));
        Ok(Self(path.id("name", name)?))
    }
}

/// The variable parts of a path, percent-decoded once.
struct InPath(RawPathParams);

impl InPath {
    async fn read<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        if !percent_signs_are_sound(parts.uri.path()) {
            return Err(bad_path("must be percent-encoded: two hexadecimal digits follow each %"));
        }
        let params = RawPathParams::from_request_parts(parts, state).await;
        params.map(Self).map_err(|_| bad_path("must be UTF-8, percent-encoded"))
    }

    fn id<T>(&self, name: &str, make: impl FnOnce(&str) -> Result<T, TextError>) -> Result<T, Problem> {
        let text = self.0.iter().find(|(given, _)| *given == name).map_or("", |(_, text)| text);
        make(text).map_err(|error| bad_path(&format!("is wrong: {name} {error}")))
    }
}

fn bad_path(detail: &str) -> Problem {
    let error = FieldError::new("", format!("the path {detail}"));
    Problem::new(Kind::InvalidParameter).detail(format!("The path {detail}.")).errors(vec![error])
}

/// A lone `%` would be kept as it is, and so two paths would mean one id.
fn percent_signs_are_sound(path: &str) -> bool {
    path.split('%')
        .skip(1)
        .all(|after| after.as_bytes().first_chunk::<2>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit)))
}

/// A user's view with a month: from memory where it is there.
pub(super) async fn view(app: &App, user_id: &UserId, month: Month) -> Result<Arc<UserView>, Problem> {
    match app.reads.view_in_memory(user_id, month) {
        Some(view) => Ok(view),
        None => Ok(app.reads.view(user_id, month).await?),
    }
}

/// What is said when the store answers something that was not asked.
pub(super) fn unexpected(outcome: &Outcome) -> Problem {
    Problem::new(Kind::Internal).because(format!("an outcome of another command: {outcome:?}"))
}

/// What is said when a view lacks what it was asked for.
pub(super) fn not_loaded(month: Month) -> Problem {
    Problem::new(Kind::Internal).because(format!("a view without the month {month} that it was asked for"))
}

/// A page of a list: `{"items", "nextCursor"}`.
pub(super) fn page<T>(
    app: &SharedApp,
    list: &str,
    page: &Page<T>,
    mut write: impl FnMut(&mut Object<'_>, &T),
) -> Response {
    let cursor = page.next.map(|next| app.cursor_of(list, next));
    let json = Json::with_room(512 * (page.items.len() + 1), |json| {
        json.object(|object| {
            object.array("items", &page.items, |json, item| json.object(|object| write(object, item)));
            object.put("nextCursor", cursor.as_deref());
        });
    });
    json.answer(StatusCode::OK)
}

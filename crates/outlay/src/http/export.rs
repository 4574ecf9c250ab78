//! Everything of one user as JSON Lines, streamed while it is read.

use std::io;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use outlay_core::id::UserId;

use super::json::{Json, Object};
use super::page::Parameters;
use super::present::{self, notice, operation, session};
use super::problem::Problem;
use super::reading::OfUser;
use super::{SharedApp, audit, schemas};
use crate::audit::{Action, Actor};
use crate::store::{ExportAt, Exported};

/// Export a user
///
/// Everything of the user as JSON Lines, each with a `kind`: user, operation, session, denial, alert.
#[utoipa::path(get, path = "/v1/users/{userId}/export", tag = "Users",
    operation_id = "exportUser",
    params(schemas::UserPath),
    responses((status = 200, description = "JSON Lines; empty for a user nobody has seen", content_type = "application/jsonl", body = String),
        schemas::ReadProblems))]
pub(super) async fn export(
    State(app): State<SharedApp>,
    actor: Actor,
    OfUser(user_id): OfUser,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    // The first rows are read before the answer begins, so that a store that does not answer is still a 503.
    let (first, next) = app.reads.export(&user_id, ExportAt::default()).await?;
    if let Some(Exported::User(user)) = first.first() {
        audit::note(&app, actor.did(Action::UserExported).of_user(user.no)).await?;
    }
    let first = lines(&first, &user_id, app.reads.deployment_id());
    let state = Some(Exporting { app, user_id, first: Some(first), next });
    let body = Body::from_stream(stream::unfold(state, |state| async {
        let mut exporting = state?;
        match exporting.read_on().await {
            Ok(Some(bytes)) => Some((Ok(bytes), Some(exporting))),
            Ok(None) => None,
            // The answer breaks off, so that nobody takes a part for the whole.
            Err(error) => Some((Err(error), None)),
        }
    }));
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/jsonl"))], body).into_response())
}

/// An export on its way.
struct Exporting {
    app: SharedApp,
    user_id: UserId,
    first: Option<Bytes>,
    next: Option<ExportAt>,
}

impl Exporting {
    /// The next lines; `None` at the end.
    async fn read_on(&mut self) -> io::Result<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Some(at) = self.next else { return Ok(None) };
        let (rows, next) = self.app.reads.export(&self.user_id, at).await.map_err(|error| {
            tracing::error!("failed to read on in an export: {error}");
            io::Error::other(error)
        })?;
        self.next = next;
        Ok(Some(lines(&rows, &self.user_id, self.app.reads.deployment_id())))
    }
}

fn lines(rows: &[Exported], user_id: &UserId, deployment_id: u128) -> Bytes {
    let text = Json::with_room(512 * rows.len(), |json| {
        for row in rows {
            json.object(|object| line(object, row, user_id, deployment_id));
            json.end_line();
        }
    });
    Bytes::from(text.into_bytes())
}

fn line(object: &mut Object<'_>, row: &Exported, user_id: &UserId, deployment_id: u128) {
    match row {
        Exported::User(user) => {
            object.put("kind", "user");
            present::user_settings(object, user);
        }
        Exported::Operation(row) => {
            object.put("kind", "operation");
            operation::item(object, row, user_id, true);
        }
        Exported::Session(row) => {
            object.put("kind", "session");
            session::item(object, row, Some(user_id), true);
        }
        Exported::Denial(row) => {
            object.put("kind", "denial");
            notice::denial(object, row, Some(user_id), deployment_id);
        }
        Exported::Alert(row) => {
            object.put("kind", "alert");
            notice::alert(object, row, Some(user_id), deployment_id, notice::Told::default());
        }
    }
}

//! The audit log over HTTP: who asks, as it is kept; what is noted of a reading; and the list.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::response::Response;
use http::request::Parts;
use outlay_core::id::{UserId, UserNo};
use outlay_core::month::Timestamp;

use super::auth::{Asked, Caller, asked};
use super::json::{Object, Raw};
use super::page::Parameters;
use super::problem::Problem;
use super::reading::page;
use super::{App, SharedApp, schemas};
use crate::audit::{Action, Actor, Entry, Event};
use crate::ids::RequestId;
use crate::store::{AuditQuery, Of, Record, StoreError};
use crate::writer::WriteError;

/// The tag of the list's cursors.
pub(super) const LIST: &str = "audit";
/// Characters of who did something, at most.
pub(super) const WHO_CHARACTERS_MAX: usize = 64;

/// Who a caller is, as the audit log names them.
pub(super) fn actor(caller: &Caller, address: Option<IpAddr>, request_id: RequestId) -> Actor {
    let who = match caller {
        Caller::Open => Arc::from("open"),
        Caller::Key { id, .. } => Arc::clone(id),
        Caller::User { .. } => Arc::from("token"),
        Caller::Nobody => Arc::from("nobody"),
    };
    Actor { who, address, request_id: Some(Arc::from(request_id.to_string())) }
}

impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Asked { caller, request_id, client, .. } = asked(parts)?;
        Ok(actor(caller, *client, *request_id))
    }
}

/// Notes what only reads, before anything of it is given out. A full disk does not keep an operator from a backup: then the
/// program's own log has it alone.
pub(super) async fn note(app: &App, event: Event) -> Result<(), Problem> {
    let said = (event.action.as_str(), Arc::clone(&event.actor.who));
    match app.writer.put(Record::Events(vec![event])).await {
        Err(WriteError::Store(error @ (StoreError::DiskFull | StoreError::SpaceShort))) => {
            tracing::warn!(actor = %said.1, action = said.0, "failed to {error}: this stands here and not in the audit log");
            Ok(())
        }
        noted => Ok(noted?),
    }
}

/// List the audit log
///
/// Who changed what, newest first: users, plans, keys, tokens, webhooks; exports, backups and erasures; keys that were refused,
/// and callers who asked for more than they may. What happened often is one entry with its `times`. An entry names a user by
/// number, which stays after an erasure; `userId` is shown while there is one.
#[utoipa::path(get, path = "/v1/audit", tag = "Operator",
    operation_id = "listAudit",
    params(schemas::UserQuery,
        ("userNumber" = inline(Option<schemas::UserNumber>), Query, description = "Only what was done to the user of this number, also when erased"),
        ("action" = inline(Option<schemas::Action>), Query, description = "Only this action, such as `plan.set`"),
        ("who" = inline(Option<schemas::Who>), Query, description = "Only what this one did: a key's id, `environment`, `socket`, `open`, `configuration`, `token`, `nobody`"),
        ("from" = inline(Option<schemas::Time>), Query, description = "Only at or after this time"),
        ("to" = inline(Option<schemas::Time>), Query, description = "Only before this time"),
        schemas::PageQuery),
    responses((status = 200, description = "A page", body = schemas::Audit),
        schemas::ReadProblems))]
pub(super) async fn list(State(app): State<SharedApp>, mut parameters: Parameters) -> Result<Response, Problem> {
    let query = query(&app, &mut parameters, "userId");
    parameters.finish()?;
    let entries = app.reads.audit(query).await?;
    Ok(page(&app, LIST, &entries, write))
}

/// What is asked of the log; `user` is what the parameter for a user's id is called.
pub(super) fn query(app: &SharedApp, parameters: &mut Parameters, user: &str) -> AuditQuery {
    AuditQuery {
        user_id: parameters.read(user, UserId::new),
        user_no: parameters.read("userNumber", |text| {
            let number = text.parse::<u64>().ok().filter(|number| (1..=i64::MAX.cast_unsigned()).contains(number));
            number.map(UserNo).ok_or("must be a number from 1")
        }),
        action: parameters.read("action", |text| {
            let known = Action::ALL.iter().map(|action| action.as_str()).find(|action| *action == text);
            known.ok_or("must be an action of the log, such as plan.set")
        }),
        who: parameters.read("who", |text| {
            let sound = text.chars().count() <= WHO_CHARACTERS_MAX && !text.chars().any(char::is_control);
            if sound { Ok(text.to_owned()) } else { Err("must be the id of a key, or such a word as `socket`") }
        }),
        from: parameters.read("from", Timestamp::parse),
        to: parameters.read("to", Timestamp::parse),
        page: parameters.page(app, LIST),
    }
}

fn write(object: &mut Object<'_>, of: &Of<Entry>) {
    let entry = &of.row;
    let address = entry.actor.address.map(|address| address.to_string());
    object.put("number", entry.no).put("recordedAt", entry.at).put("who", &*entry.actor.who);
    object.put("address", address.as_deref()).put("requestId", entry.actor.request_id.as_deref());
    object.put("action", &*entry.action).put("subject", entry.subject.as_deref());
    object.put("userId", of.user_id.as_ref()).put("userNumber", entry.user_no.map(|no| no.0));
    object.put("before", entry.before.as_deref().map(Raw)).put("after", entry.after.as_deref().map(Raw));
}

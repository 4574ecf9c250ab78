//! Whether anybody is told of what a request asks for.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::SharedApp;
use super::problem::{Kind, Problem};
use crate::writer::Writer;

/// The header that says it, as [`crate::client`] sends it for an import.
pub(crate) const NOTIFY: &str = "outlay-notify";

/// The way to the store's books, as a request has it: with `Outlay-Notify: none` nobody is told of what it does, as is right
/// for what has happened elsewhere before. Alerts are recorded all the same.
#[derive(Debug)]
pub(super) struct Telling(pub(super) Writer);

impl FromRequestParts<SharedApp> for Telling {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &SharedApp) -> Result<Self, Problem> {
        match parts.headers.get(NOTIFY) {
            None => Ok(Self(app.writer.clone())),
            Some(value) if value == "none" => Ok(Self(app.writer.quietly())),
            Some(_) => {
                let detail = "The header Outlay-Notify must be `none`; without it those are told who are to be told.";
                Err(Problem::new(Kind::InvalidRequest).detail(detail))
            }
        }
    }
}

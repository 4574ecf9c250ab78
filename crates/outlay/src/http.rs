//! The API over HTTP: shared state, and the two routers. What a resource answers is in a file of its own.
//!
//! # How to add a route
//! 1. Write the handler in its resource's file:
//!    `pub(super) async fn open(State(app): State<SharedApp>, caller: Caller, Path(..), body: JsonBody) -> Result<Response, Problem>`.
//!    The guard has let the caller through, and has read the body within its limits, for `JsonBody` and `auth::asked`; a form
//!    of a page takes it as [`bytes::Bytes`]. `Caller`, [`crate::ids::RequestId`] and [`page::Parameters`] (the query) are
//!    extractors too.
//! 2. Add one line to `rows` in `http/routes.rs`: method, path, the [`routes::Least`] that its caller must be, handler.
//! 3. Describe it where it stands with `#[utoipa::path(...)]`, and name it in `http/openapi.rs`.
//!
//! An error is a [`problem::Problem`]; the guard writes its body, with the request id. A handler sets `Content-Type` and
//! its own headers; the guard adds those that every answer has, and `Cache-Control: no-store` where nothing else is said.
//! An answer that streams is returned at once: the time limit of a request ends when its answer begins.

mod afford;
mod alerts;
mod assets;
mod audit;
pub mod auth;
mod backup;
mod body;
mod breakdown;
mod budget;
mod dashboard;
mod denials;
mod docs;
pub mod events;
mod export;
mod failures;
mod forecast;
mod foretold;
mod guard;
mod health;
mod history;
mod json;
pub mod keys;
mod openapi;
mod operator;
pub mod paces;
pub mod page;
mod pages;
mod plans;
mod present;
pub mod problem;
pub mod proxies;
mod reading;
pub mod refusals;
pub mod routes;
mod schemas;
pub mod server;
mod sessions;
mod sign_in;
pub(crate) mod telling;
#[cfg(test)]
mod tests;
pub mod tokens;
mod usage;
mod users;
pub mod verify;
mod webhooks;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;

use self::auth::Access;
pub(crate) use self::forecast::sentence as forecast_sentence;
pub use self::guard::Peer;
pub(crate) use self::present::message::{message, message_id};
pub(crate) use self::problem::Kind;
use crate::clock::SharedClock;
pub use crate::config::{Presentation, Presented};
use crate::delivery::Senders;
use crate::delivery::secrets::WebhookSecrets;
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::retention::Retention;
use crate::store::Reads;
use crate::traces::Traces;
use crate::writer::Writer;

/// What all handlers share.
#[derive(Debug)]
pub struct App {
    /// The way to the store's books.
    pub writer: Writer,
    /// The published state of the store.
    pub reads: Arc<dyn Reads>,
    /// The machine's clock.
    pub clock: SharedClock,
    /// Made-up ids.
    pub ids: Ids,
    /// How budgets are worded.
    pub presentation: Presented,
    /// For how long operations keep their details.
    pub retention: Retention,
    /// Whether the plans stand in the configuration, and so cannot be changed over HTTP.
    pub plans_are_configured: bool,
    /// Who may call.
    pub access: Access,
    /// What sends to those who are told.
    pub senders: Senders,
    /// What signs for webhooks.
    pub webhook_secrets: WebhookSecrets,
    /// What is counted.
    pub metrics: Metrics,
    /// What traces go to, if anything.
    pub traces: Option<Traces>,
    /// Who was refused, until it is written down.
    pub refusals: refusals::Refusals,
    /// A folder of this process alone, for copies that lie there while they are sent; it need not exist.
    pub scratch: PathBuf,
    /// The newest overview of those who watch everybody.
    pub glance: events::Glance,
    /// How those who were listed today go on.
    pub paces: paces::Paces,
}

/// The state of every handler.
pub type SharedApp = Arc<App>;

impl App {
    /// Makes an opaque cursor for a place in a list; `list` is the list's own tag, like `usage`.
    pub fn seal_cursor(&self, list: &str, place: &[u8]) -> String {
        page::seal_cursor(self.reads.deployment_id(), list, place)
    }

    /// Makes an opaque cursor for a number, as [`page::Parameters::page`] takes it back.
    pub fn cursor_of(&self, list: &str, number: u64) -> String {
        self.seal_cursor(list, &number.to_le_bytes())
    }

    /// Takes a cursor back.
    ///
    /// # Errors
    /// When it is garbled, or of another list or store.
    pub fn open_cursor(&self, list: &str, text: &str) -> Result<Vec<u8>, page::CursorError> {
        page::open_cursor(self.reads.deployment_id(), list, text)
    }
}

/// Every route, for the address that the application and the operator reach.
pub fn router(app: SharedApp) -> Router {
    routes::router(app, guard::Door::Private)
}

/// What needs no key or a user token, for an address that browsers everywhere reach.
pub fn public_router(app: SharedApp) -> Router {
    routes::router(app, guard::Door::Public)
}

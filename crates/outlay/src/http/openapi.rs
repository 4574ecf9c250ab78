//! `/openapi.json`: the description of the API, put together from what stands at each handler.
//!
//! A route's own words are in `#[utoipa::path(...)]` at its handler; here are only the list of them, and what all share.

mod between;

use std::sync::LazyLock;

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::CONTENT_TYPE;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::{Modify, OpenApi, ToSchema};

use super::docs::Examples;
use super::schemas::{Description as Words, Readable, Role, Time, TtlSeconds};

/// The description. Every route of the table in [`super::routes`] is named here.
#[derive(Debug, OpenApi)]
#[openapi(
    info(
        title = "Outlay",
        version = "1",
        description = "The budget ledger of an application's AI features.\n\nMoney is a JSON number in USD with up to 12 \
            decimals, also accepted as a string. Times are RFC 3339 in UTC, months are written 2025-10. Errors are RFC 9457 \
            problems: after a 4xx nothing was done but the denial of a 402, after a 5xx send the same ids again and it is \
            done exactly once.",
        license(name = "MIT OR Apache-2.0")
    ),
    tags(
        (name = "Recording", description = "What was used"),
        (name = "Budgets", description = "What a user may still use"),
        (name = "Sessions", description = "Holds that make limits real"),
        (name = "Users", description = "Users, plans and limits"),
        (name = "Reading", description = "What happened"),
        (name = "Operator", description = "Over all users, and the server's own"),
        (name = "Webhooks", description = "Who is told, and what became of it"),
        (name = "Server", description = "What surrounds the resources"),
    ),
    paths(
        super::usage::record,
        super::usage::reverse,
        super::usage::list,
        super::users::get,
        super::users::put,
        super::users::delete,
        super::budget::get,
        super::forecast::get,
        super::events::of_user,
        super::events::of_all,
        super::afford::afford,
        super::plans::list,
        super::plans::put,
        super::sessions::open,
        super::sessions::finish,
        super::sessions::extend,
        super::sessions::get,
        super::sessions::list,
        super::sessions::list_all,
        super::sessions::stats,
        super::denials::deny,
        super::denials::list,
        super::denials::list_all,
        super::alerts::list_all,
        super::history::get,
        super::operator::overview,
        super::operator::users,
        super::export::export,
        super::verify::verify,
        super::backup::backup,
        super::audit::list,
        super::health::alive,
        super::health::ready,
        super::health::metrics,
        super::docs::problem_page,
        super::assets::card,
        super::tokens::create,
        super::tokens::end,
        super::tokens::rotate,
        super::webhooks::list,
        super::webhooks::create,
        super::webhooks::delete,
        super::webhooks::rotate,
        super::webhooks::test,
        super::webhooks::deliveries,
        super::webhooks::redeliver,
        super::webhooks::redeliver_alert,
        super::keys::list,
        super::keys::create,
        super::keys::revoke,
    ),
    components(schemas(
        Problem,
        // Named by others alone.
        super::schemas::EventName,
        super::schemas::Quantity,
    )),
    modifiers(&Credentials, &Examples)
)]
struct Description;

/// An error, as RFC 9457 has it
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it is described here and written in the module of problems")]
pub(super) struct Problem {
    /// Which kind it is: an address under `/problems/` with a page that explains it.
    #[schema(rename = "type", example = "/problems/does-not-fit")]
    kind: String,
    /// What it is, the same each time.
    title: String,
    /// The status that it was answered with.
    status: u16,
    /// What happened this time.
    detail: String,
    /// Finds the request again in the server's log.
    #[schema(rename = "requestId")]
    request_id: String,
    /// The fields that are wrong, if any are.
    errors: Option<Vec<WrongField>>,
}

/// A field that is wrong
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "it is described here and written in the module of problems")]
struct WrongField {
    /// Where, as RFC 6901 has it.
    #[schema(example = "/estimate/cost")]
    pointer: String,
    /// What it must be.
    detail: String,
}

/// A key to be made
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described here and read at its handler")]
pub(super) struct NewKey {
    role: Role,
    /// What it is for, in your words; at most 256 characters.
    description: Option<Words>,
    /// When it ends by itself: in the future.
    expires_at: Option<Time>,
}

/// A key
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is described here and written at its handler")]
#[expect(clippy::struct_field_names, reason = "these are the names on the wire")]
pub(super) struct Key {
    id: String,
    role: String,
    description: String,
    /// What the key begins with.
    prefix: String,
    /// What it ends with.
    last4: String,
    created_at: String,
    expires_at: Option<String>,
    revoked_at: Option<String>,
    /// The key itself; only in the answer that made it.
    key: Option<String>,
}

/// All keys
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is described here and written at its handler")]
pub(super) struct Keys {
    items: Vec<Key>,
    next_cursor: Option<String>,
}

/// A token to be made
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "it is described here and read at its handler")]
pub(super) struct NewToken {
    /// For how long, 60 to 86400; 3600 when absent.
    ttl_seconds: Option<TtlSeconds>,
    /// What it reads besides.
    reads: Option<Vec<Readable>>,
}

/// A token
#[derive(Debug, ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "it is described here and written at its handler")]
pub(super) struct Token {
    token: String,
    expires_at: String,
}

struct Credentials;

impl Modify for Credentials {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let key = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A key (`outlay_app_...`), or a user token where a route says so"))
            .build();
        let components = openapi.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(key));
        openapi.security = Some(vec![SecurityRequirement::new("key", Vec::<String>::new())]);
    }
}

/// The description as JSON.
pub(super) static JSON: LazyLock<Bytes> =
    LazyLock::new(|| Bytes::from(serde_json::to_vec(&described()).unwrap_or_default()));

fn described() -> serde_json::Value {
    let mut description = serde_json::to_value(Description::openapi()).unwrap_or_default();
    between::add(&mut description);
    description
}

/// `GET /openapi.json`
pub(super) async fn json() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], JSON.clone()).into_response()
}

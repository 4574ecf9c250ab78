//! The one table of what there is: method, path, the least that its caller must be, handler.
//!
//! The router is built from it, so a route without a row does not exist, and a row without a [`Least`] does not compile.

use std::collections::BTreeMap;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use outlay_core::id::UserId;

use super::auth::{Caller, OWNER};
use super::guard::{Door, Guarding, Rule};
use super::problem::{Kind, Problem};
use super::{
    SharedApp, afford, alerts, assets, audit, backup, budget, dashboard, denials, docs, events, export, forecast,
    health, history, keys, openapi, operator, pages, plans, sessions, sign_in, tokens, usage, users, verify, webhooks,
};
use crate::store::records::Role;

/// What a caller must be at least; each also lets through those below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Least {
    /// No key is needed, at both doors.
    Anybody,
    /// No key is needed, at both doors, and pages of other origins load it.
    Anywhere,
    /// No key is needed, but it is not served at the public door.
    Inside,
    /// Any token of the user in the path.
    User,
    /// A token of the user in the path that was minted to read usage.
    UserUsage,
    /// A token of the user in the path that was minted to read sessions.
    UserSessions,
    /// A key that reads.
    Viewer,
    /// A key of the application.
    App,
    /// An admin key.
    Admin,
    /// The owner of the data folder, by the socket in it: no key reaches it.
    Owner,
}

impl Least {
    /// Whether an end user's page reads it, from any origin.
    pub(super) fn is_for_pages(self) -> bool {
        matches!(self, Self::Anywhere | Self::User | Self::UserUsage | Self::UserSessions)
    }

    /// Whether it is served at the public door.
    fn is_public(self) -> bool {
        self == Self::Anybody || self.is_for_pages()
    }

    /// Whether no key is needed.
    pub(super) fn is_open(self) -> bool {
        matches!(self, Self::Anybody | Self::Anywhere | Self::Inside)
    }

    /// Lets a caller through or not; `path_user` is the user in the path, if there is one.
    pub(super) fn admits(self, caller: &Caller, path_user: Option<&UserId>) -> Result<(), Problem> {
        let enough = match caller {
            Caller::Open => self != Self::Owner,
            Caller::Nobody => {
                if self.is_open() {
                    return Ok(());
                }
                return Err(Problem::new(Kind::Unauthorized)
                    .detail("Send a key or a user token as `Authorization: Bearer ...`."));
            }
            Caller::Key { id, role } => match self {
                Self::Owner => **id == *OWNER,
                Self::App => *role >= Role::App,
                Self::Admin => *role >= Role::Admin,
                _ => true,
            },
            Caller::User { user_id, reads_sessions, reads_usage, .. } => match self {
                Self::Anybody | Self::Anywhere | Self::Inside => true,
                _ if path_user != Some(user_id) => false,
                Self::User => true,
                Self::UserUsage => *reads_usage,
                Self::UserSessions => *reads_sessions,
                Self::Viewer | Self::App | Self::Admin | Self::Owner => false,
            },
        };
        if enough { Ok(()) } else { Err(Problem::new(Kind::Forbidden).detail(self.wanted())) }
    }

    const fn wanted(self) -> &'static str {
        match self {
            Self::Anybody | Self::Anywhere | Self::Inside => "It is open to all.",
            Self::User => "This needs a token of this user, or a key.",
            Self::UserUsage => "This needs a token of this user minted with `reads` of `usage`, or a key.",
            Self::UserSessions => "This needs a token of this user minted with `reads` of `sessions`, or a key.",
            Self::Viewer => "This needs a key; a user token does not reach it.",
            Self::App => "This needs a key of the role app or admin.",
            Self::Admin => "This needs a key of the role admin.",
            Self::Owner => "This needs the socket in the data folder: only a command on the machine reaches it.",
        }
    }
}

/// The whole table. One line per route; paths are those of the contract.
fn rows() -> Table {
    use Least::{Admin, Anybody, Anywhere, App, Inside, Owner, User, UserSessions, UserUsage, Viewer};
    let mut table = Table::default();
    // What surrounds the resources.
    table.get("/healthz", Anybody, health::alive);
    table.get("/readyz", Anybody, health::ready);
    table.get("/metrics", Viewer, health::metrics);
    table.get("/problems", Anybody, docs::problems);
    table.get("/problems/{slug}", Anybody, docs::problem_page);
    table.get("/openapi.json", Anybody, openapi::json);
    table.get("/docs", Anybody, docs::api);
    table.get("/docs.md", Anybody, docs::text);
    table.get("/llms.txt", Anybody, docs::llms);
    table.get("/pages.css", Anybody, pages::style);
    table.get("/card.js", Anywhere, assets::card);
    // Pages for people.
    table.page("/", Viewer, dashboard::overview);
    table.page("/overview.csv", Viewer, dashboard::overview_csv);
    table.page("/users", Viewer, dashboard::users);
    table.page("/users.csv", Viewer, dashboard::users_csv);
    table.page("/users/{userId}", Viewer, dashboard::user);
    table.page("/users/{userId}/usage.csv", Viewer, dashboard::usage_csv);
    table.page("/users/{userId}/operations/{operationId}", Viewer, dashboard::operation);
    table.page("/users/{userId}/sessions/{sessionId}", Viewer, dashboard::session);
    table.page("/users/{userId}/sessions/{sessionId}/steps.csv", Viewer, dashboard::steps_csv);
    table.page("/users/{userId}/settings", App, dashboard::set_form);
    table.form("/users/{userId}/settings", App, dashboard::set);
    table.page("/users/{userId}/token", App, dashboard::token_form);
    table.form("/users/{userId}/token", App, dashboard::token);
    table.form("/users/{userId}/token/end", Admin, dashboard::end_tokens);
    table.page("/users/{userId}/erase", Admin, dashboard::erase_form);
    table.form("/users/{userId}/erase", Admin, dashboard::erase);
    table.page("/sessions", Viewer, dashboard::sessions);
    table.page("/sessions.csv", Viewer, dashboard::sessions_csv);
    table.page("/alerts", Viewer, dashboard::alerts);
    table.page("/alerts.csv", Viewer, dashboard::alerts_csv);
    table.page("/denials", Viewer, dashboard::denials);
    table.page("/denials.csv", Viewer, dashboard::denials_csv);
    table.page("/plans", Viewer, dashboard::plans);
    table.form("/plans/{name}", Admin, dashboard::set_plan);
    table.page("/audit", Admin, dashboard::audit);
    table.page("/audit.csv", Admin, dashboard::audit_csv);
    table.page("/settings", Viewer, dashboard::settings);
    table.form("/settings/keys", Admin, dashboard::make_key);
    table.form("/settings/keys/{keyId}/revoke", Admin, dashboard::revoke_key);
    table.page("/search", Viewer, dashboard::search);
    table.page("/sign-in", Inside, sign_in::form);
    table.form("/sign-in", Inside, sign_in::enter);
    table.form("/sign-out", Inside, sign_in::leave);
    table.form("/theme", Inside, sign_in::theme);
    table.form("/shortcuts", Inside, sign_in::shortcuts);
    table.page("/help", Viewer, dashboard::help);
    table.page("/my", Anybody, dashboard::my);
    table.page("/assets/{name}", Anybody, dashboard::asset);
    // What an application does.
    table.post("/v1/usage", App, usage::record);
    table.post("/v1/users/{userId}/usage/{operationId}/reverse", App, usage::reverse);
    table.post("/v1/users/{userId}/afford", App, afford::afford);
    table.post("/v1/users/{userId}/sessions", App, sessions::open);
    table.post("/v1/users/{userId}/sessions/{sessionId}/extend", App, sessions::extend);
    table.post("/v1/users/{userId}/sessions/{sessionId}/finish", App, sessions::finish);
    table.post("/v1/users/{userId}/denials", App, denials::deny);
    table.put("/v1/users/{userId}", App, users::put);
    // What is read of one user.
    table.get("/v1/users/{userId}", Viewer, users::get);
    table.get("/v1/users/{userId}/budget", User, budget::get);
    table.get("/v1/users/{userId}/history", User, history::get);
    table.get("/v1/users/{userId}/forecast", User, forecast::get);
    table.get("/v1/users/{userId}/events", User, events::of_user);
    table.get("/v1/users/{userId}/usage", UserUsage, usage::list);
    table.get("/v1/users/{userId}/sessions", UserSessions, sessions::list);
    table.get("/v1/users/{userId}/sessions/{sessionId}", UserSessions, sessions::get);
    table.get("/v1/users/{userId}/denials", Viewer, denials::list);
    // What the operator sees of all.
    table.get("/v1/overview", Viewer, operator::overview);
    table.get("/v1/users", Viewer, operator::users);
    table.get("/v1/sessions", Viewer, sessions::list_all);
    table.get("/v1/sessions/stats", Viewer, sessions::stats);
    table.get("/v1/alerts", Viewer, alerts::list_all);
    table.get("/v1/denials", Viewer, denials::list_all);
    table.get("/v1/events", Viewer, events::of_all);
    table.get("/v1/plans", Viewer, plans::list);
    // What only an admin does.
    table.put("/v1/plans/{name}", Admin, plans::put);
    table.get("/v1/users/{userId}/export", Admin, export::export);
    table.delete("/v1/users/{userId}", Admin, users::delete);
    table.post("/v1/verify", Admin, verify::verify);
    table.get("/v1/backup", Admin, backup::backup);
    table.get("/v1/audit", Admin, audit::list);
    who_is_told(&mut table);
    // Who may call.
    table.get("/v1/keys", Admin, keys::list);
    table.post("/v1/keys", Admin, keys::create);
    table.delete("/v1/keys/{keyId}", Admin, keys::revoke);
    table.post("/v1/users/{userId}/tokens", App, tokens::create);
    table.delete("/v1/users/{userId}/tokens", Admin, tokens::end);
    table.post("/v1/token-keys", Owner, tokens::rotate);
    table
}

/// The routes of who is told, for the application's makers and on pages.
fn who_is_told(table: &mut Table) {
    use Least::Admin;
    table.form("/settings/webhooks", Admin, dashboard::make_webhook);
    table.page("/settings/webhooks/{webhookId}", Admin, dashboard::webhook);
    table.page("/settings/webhooks/{webhookId}/deliveries.csv", Admin, dashboard::deliveries_csv);
    table.form("/settings/webhooks/{webhookId}/test", Admin, dashboard::test_webhook);
    table.form("/settings/webhooks/{webhookId}/redeliver", Admin, dashboard::redeliver);
    table.form("/settings/webhooks/{webhookId}/rotate", Admin, dashboard::rotate_webhook);
    table.form("/settings/webhooks/{webhookId}/remove", Admin, dashboard::remove_webhook);
    table.form("/settings/mail/test", Admin, dashboard::test_mail);
    table.form("/alerts/{no}/redeliver", Admin, dashboard::redeliver_alert);
    table.get("/v1/webhooks", Admin, webhooks::list);
    table.post("/v1/webhooks", Admin, webhooks::create);
    table.delete("/v1/webhooks/{webhookId}", Admin, webhooks::delete);
    table.post("/v1/webhooks/{webhookId}/rotate", Admin, webhooks::rotate);
    table.post("/v1/webhooks/{webhookId}/test", Admin, webhooks::test);
    table.get("/v1/webhooks/{webhookId}/deliveries", Admin, webhooks::deliveries);
    table.post("/v1/webhooks/{webhookId}/redeliver", Admin, webhooks::redeliver);
    table.post("/v1/alerts/{alertId}/redeliver", Admin, webhooks::redeliver_alert);
}

/// Who may call a route, in words; nothing where anybody may.
pub(super) fn wanted(method: &str, path: &str) -> &'static str {
    let row = rows().rows.into_iter().find(|row| row.method == method && row.path == path);
    row.filter(|row| !row.least.is_open()).map_or("", |row| row.least.wanted())
}

/// Method, path and least caller of every row, for tests that walk the table.
#[cfg(test)]
pub(super) fn listed() -> Vec<(&'static str, &'static str, Least)> {
    rows().rows.into_iter().map(|row| (row.method, row.path, row.least)).collect()
}

/// The paths of the pages for people.
#[cfg(test)]
pub(super) fn pages() -> Vec<&'static str> {
    rows().rows.into_iter().filter(|row| row.page).map(|row| row.path).collect()
}

/// Bytes of a body, at most.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a batch, at most.
const BATCH_BYTES_MAX: usize = 16 * 1024 * 1024;

/// One line of the table.
struct Row {
    method: &'static str,
    path: &'static str,
    least: Least,
    handler: MethodRouter<SharedApp>,
    page: bool,
}

#[derive(Default)]
struct Table {
    rows: Vec<Row>,
}

impl Table {
    fn get<H: Handler<T, SharedApp>, T: 'static>(&mut self, path: &'static str, least: Least, handler: H) {
        self.row("GET", MethodFilter::GET, path, least, handler);
    }

    /// A page: what goes wrong is a page too.
    fn page<H: Handler<T, SharedApp>, T: 'static>(&mut self, path: &'static str, least: Least, handler: H) {
        self.get(path, least, handler);
        self.for_people();
    }

    /// What a form of a page does; it leads to a page.
    fn form<H: Handler<T, SharedApp>, T: 'static>(&mut self, path: &'static str, least: Least, handler: H) {
        self.post(path, least, handler);
        self.for_people();
    }

    fn for_people(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.page = true;
        }
    }

    fn post<H: Handler<T, SharedApp>, T: 'static>(&mut self, path: &'static str, least: Least, handler: H) {
        self.row("POST", MethodFilter::POST, path, least, handler);
    }

    fn put<H: Handler<T, SharedApp>, T: 'static>(&mut self, path: &'static str, least: Least, handler: H) {
        self.row("PUT", MethodFilter::PUT, path, least, handler);
    }

    fn delete<H: Handler<T, SharedApp>, T: 'static>(&mut self, path: &'static str, least: Least, handler: H) {
        self.row("DELETE", MethodFilter::DELETE, path, least, handler);
    }

    fn row<H: Handler<T, SharedApp>, T: 'static>(
        &mut self,
        method: &'static str,
        filter: MethodFilter,
        path: &'static str,
        least: Least,
        handler: H,
    ) {
        self.rows.push(Row { method, path, least, handler: on(filter, handler), page: false });
    }
}

/// The routes of the table that a door serves, each behind its guard.
pub(super) fn router(app: SharedApp, door: Door) -> Router {
    let mut paths: BTreeMap<&'static str, MethodRouter<SharedApp>> = BTreeMap::new();
    for row in rows().rows {
        if door == Door::Public && !row.least.is_public() {
            continue;
        }
        let body_bytes_max =
            if row.method == "POST" && row.path == "/v1/usage" { BATCH_BYTES_MAX } else { BODY_BYTES_MAX };
        let rule = Rule { least: row.least, method: row.method, path: row.path, door, body_bytes_max, page: row.page };
        let mut handler = row.handler.route_layer(Guarding::new(&app, rule));
        if row.least.is_for_pages() {
            let preflight = on(MethodFilter::OPTIONS, super::guard::preflight);
            let rule = Rule { least: Least::Anybody, method: "OPTIONS", ..rule };
            handler = handler.merge(preflight.route_layer(Guarding::for_pages(&app, rule)));
        }
        let known = paths.remove(row.path).unwrap_or_default();
        paths.insert(row.path, known.merge(handler));
    }
    let rest = |path| {
        let rule =
            Rule { least: Least::Anybody, method: "(any)", path, door, body_bytes_max: BODY_BYTES_MAX, page: false };
        Guarding::new(&app, rule)
    };
    let mut router = Router::new();
    for (path, handler) in paths {
        router = router.route(path, handler);
    }
    router
        .method_not_allowed_fallback(Handler::<_, SharedApp>::layer(
            super::guard::method_not_allowed,
            rest("(method not allowed)"),
        ))
        .fallback(Handler::<_, SharedApp>::layer(super::guard::not_found, rest("(not found)")))
        .with_state(app)
}

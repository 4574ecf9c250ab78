//! What the tests ask of a server, in short words: requests, and the operations that they send.

use std::net::SocketAddr;

use serde_json::{Value, json};

use super::events::Events;
use super::exact::Json;
use super::server::{ADMIN, Server, Unknown};
use super::wire::Reply;

/// What goes out as a request's body.
pub(crate) trait Body {
    fn kind(&self) -> &'static str {
        "application/json"
    }
    fn bytes(&self) -> Vec<u8>;
}

impl Body for Value {
    fn bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap()
    }
}

impl Body for &str {
    fn bytes(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl Body for Vec<u8> {
    fn bytes(&self) -> Vec<u8> {
        self.clone()
    }
}

/// A body with a media type of its own.
impl Body for (&'static str, Value) {
    fn kind(&self) -> &'static str {
        self.0
    }
    fn bytes(&self) -> Vec<u8> {
        self.1.bytes()
    }
}

/// The words of the tests, for a server and for one caller of it.
pub(crate) trait Asks {
    /// The server's address and what this caller says of itself.
    fn caller(&self) -> Caller<'_>;

    #[track_caller]
    fn get(&self, path: &str) -> Reply {
        self.send("GET", path, &[], b"")
    }

    #[track_caller]
    fn delete(&self, path: &str) -> Reply {
        self.send("DELETE", path, &[], b"")
    }

    #[track_caller]
    fn post(&self, path: &str, body: impl Body) -> Reply {
        self.send("POST", path, &[("content-type", body.kind())], &body.bytes())
    }

    #[track_caller]
    fn put(&self, path: &str, body: impl Body) -> Reply {
        self.send("PUT", path, &[("content-type", body.kind())], &body.bytes())
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.try_send(method, path, headers, body).unwrap_or_else(|Unknown| panic!("{method} {path} was cut off"))
    }

    fn try_send(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Result<Reply, Unknown> {
        let caller = self.caller();
        let mut headers = headers.to_vec();
        if let Some(authorization) = &caller.authorization {
            headers.push(("authorization", authorization));
        }
        caller.server.exchange(caller.address, method, path, &headers, body)
    }

    fn try_post(&self, path: &str, body: impl Body) -> Result<Reply, Unknown> {
        self.try_send("POST", path, &[("content-type", body.kind())], &body.bytes())
    }

    /// Makes or replaces a user on a plan.
    #[track_caller]
    fn user(&self, user: &str, plan: &str) {
        self.put(&of(user, ""), json!({"plan": plan})).is_one_of(&[200, 201]);
    }

    /// Makes or replaces a user whose only limit is one of cost.
    #[track_caller]
    fn user_with_cost_limit(&self, user: &str, limit: f64) {
        let limits = json!({"cost": limit, "aiRuns": null, "apiRuns": null});
        self.put(&of(user, ""), json!({"limits": limits})).is_one_of(&[200, 201]);
    }

    /// Records one operation, or a batch all of which must be taken.
    #[track_caller]
    fn record(&self, operation: Value) -> Json {
        self.post("/v1/usage", operation).is(200)
    }

    #[track_caller]
    fn budget(&self, user: &str) -> Json {
        self.get(&of(user, "/budget")).is(200)
    }

    #[track_caller]
    fn budget_of(&self, user: &str, month: &str) -> Json {
        self.get(&of(user, &format!("/budget?month={month}"))).is(200)
    }

    #[track_caller]
    fn afford(&self, user: &str, estimate: Value) -> Json {
        self.post(&of(user, "/afford"), json!({"estimate": estimate})).is(200)
    }

    /// Asks to open a session, whatever comes of it.
    #[track_caller]
    fn open_session(&self, user: &str, session: &str, estimate: Value) -> Reply {
        self.post(&of(user, "/sessions"), json!({"sessionId": session, "feature": "test", "estimate": estimate}))
    }

    #[track_caller]
    fn finish(&self, user: &str, session: &str, status: &str) -> Reply {
        self.post(&of(user, &format!("/sessions/{}/finish", encoded(session))), json!({"status": status}))
    }

    #[track_caller]
    fn session(&self, user: &str, session: &str) -> Json {
        self.get(&of(user, &format!("/sessions/{}", encoded(session)))).is(200)
    }

    #[track_caller]
    fn reverse(&self, user: &str, operation: &str) -> Reply {
        self.post(&of(user, &format!("/usage/{}/reverse", encoded(operation))), json!({}))
    }

    /// Opens an event stream that must begin.
    #[track_caller]
    fn events(&self, path: &str) -> Events {
        self.events_after(path, None)
    }

    /// The same, going on after the event of this id.
    #[track_caller]
    fn events_after(&self, path: &str, id: Option<&str>) -> Events {
        let caller = self.caller();
        let opened = Events::open(caller.address, path, caller.authorization.as_deref(), id);
        opened.unwrap_or_else(|status| panic!("GET {path}: {status}"))
    }

    /// Every item of a list, page after page.
    #[track_caller]
    fn all(&self, path: &str) -> Vec<Json> {
        let (mut items, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.page(path, cursor.as_deref());
            items.extend_from_slice(page.list("/items"));
            match page.at("/nextCursor") {
                Json::Text(next) => cursor = Some(next.clone()),
                _ => return items,
            }
        }
    }

    /// One page of a list, from a cursor on.
    #[track_caller]
    fn page(&self, path: &str, cursor: Option<&str>) -> Json {
        let mark = if path.contains('?') { '&' } else { '?' };
        match cursor {
            Some(cursor) => self.get(&format!("{path}{mark}cursor={}", encoded(cursor))).is(200),
            None => self.get(path).is(200),
        }
    }
}

impl Asks for Server {
    fn caller(&self) -> Caller<'_> {
        self.with_key(if self.setup.keyed { ADMIN } else { "" })
    }
}

/// Somebody who asks, with a key or without.
#[derive(Clone)]
pub(crate) struct Caller<'a> {
    pub(super) server: &'a Server,
    pub(super) address: SocketAddr,
    pub(super) authorization: Option<String>,
}

impl Caller<'_> {
    /// The same caller at another door of the server.
    pub(crate) fn at_address(mut self, address: SocketAddr) -> Self {
        self.address = address;
        self
    }
}

impl Asks for Caller<'_> {
    fn caller(&self) -> Caller<'_> {
        self.clone()
    }
}

/// The path of a user, and what follows it.
pub(crate) fn of(user: &str, rest: &str) -> String {
    format!("/v1/users/{}{rest}", encoded(user))
}

/// Percent-encoded for a path or a query: everything but what every URL may hold.
pub(crate) fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// Short words for making requests out of smaller ones.
pub(crate) trait With {
    fn with(self, key: &str, value: impl Into<Value>) -> Value;
}

impl With for Value {
    fn with(mut self, key: &str, value: impl Into<Value>) -> Value {
        self[key] = value.into();
        self
    }
}

/// An operation of no run, by usage type.
pub(crate) fn operation(user: &str, usage_type: &str, cost: f64) -> Value {
    json!({"userId": user, "usageType": usage_type, "feature": "test", "cost": cost})
}

pub(crate) fn ai(user: &str, cost: f64) -> Value {
    operation(user, "AIUsage", cost)
}

pub(crate) fn ai_run(user: &str, cost: f64) -> Value {
    ai(user, cost).with("isBillableRun", true)
}

pub(crate) fn api(user: &str, cost: f64) -> Value {
    operation(user, "ApiUsage", cost)
}

pub(crate) fn api_run(user: &str, cost: f64) -> Value {
    api(user, cost).with("isBillableRun", true)
}

//! Requests to the whole service, in this process: the router, the ledger and a real store, on a folder of their own.
//!
//! An input is a line with the number of a route and its query string, and then the body.

use std::cell::LazyCell;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use outlay::clock::SystemClock;
use outlay::config::{Config, Environment, Flags, settings};
use outlay::http::{Peer, router};
use outlay::local::{Local, Purpose};
use tower::ServiceExt;

/// Every route whose input is more than a path.
const ROUTES: [(Method, &str, &str); 24] = [
    (Method::POST, "/v1/usage", "application/json"),
    (Method::POST, "/v1/usage", "application/cloudevents+json"),
    (Method::POST, "/v1/usage", "application/cloudevents-batch+json"),
    (Method::POST, "/v1/users/u/usage/o/reverse", "application/json"),
    (Method::PUT, "/v1/users/u", "application/json"),
    (Method::GET, "/v1/users/u", ""),
    (Method::GET, "/v1/users/u/budget", ""),
    (Method::POST, "/v1/users/u/afford", "application/json"),
    (Method::POST, "/v1/users/u/sessions", "application/json"),
    (Method::POST, "/v1/users/u/sessions/s/finish", "application/json"),
    (Method::POST, "/v1/users/u/sessions/s/extend", "application/json"),
    (Method::GET, "/v1/users/u/sessions/s", ""),
    (Method::GET, "/v1/users/u/sessions", ""),
    (Method::GET, "/v1/users/u/usage", ""),
    (Method::GET, "/v1/users/u/history", ""),
    (Method::POST, "/v1/users/u/denials", "application/json"),
    (Method::GET, "/v1/users/u/denials", ""),
    (Method::GET, "/v1/overview", ""),
    (Method::GET, "/v1/users", ""),
    (Method::GET, "/v1/sessions", ""),
    (Method::GET, "/v1/sessions/stats", ""),
    (Method::GET, "/v1/alerts", ""),
    (Method::PUT, "/v1/plans/gold", "application/json"),
    (Method::POST, "/v1/keys", "application/json"),
];

struct Service {
    runtime: tokio::runtime::Runtime,
    local: Local,
    _folder: tempfile::TempDir,
}

impl Service {
    fn start() -> Self {
        let folder = crate::rows::folder();
        let mut flags = Flags::default();
        flags.say(&settings::DATA, Some(folder.path()));
        let config = Config::read(&flags, &Environment::default()).expect("the folder alone is a sound setting");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let local =
            runtime.block_on(Local::open(&config, SystemClock::shared(), Purpose::Command)).expect("a new store");
        Self { runtime, local, _folder: folder }
    }
}

/// Whatever is asked: it is done, or refused by a problem that says why and changes nothing. It is never our failure.
pub fn request(data: &[u8]) {
    thread_local! {
        static SERVICE: LazyCell<Service> = const { LazyCell::new(Service::start) };
    }
    SERVICE.with(|service| ask(service, data));
}

fn ask(service: &Service, data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == b'\n');
    let (line, body) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let Ok(line) = std::str::from_utf8(line) else { return };
    let (number, query) = line.split_once('?').unwrap_or((line, ""));
    let Ok(number) = number.parse::<usize>() else { return };
    let (method, path, media_type) = &ROUTES[number % ROUTES.len()];
    let mut request =
        Request::builder().method(method).uri(format!("http://127.0.0.1{path}?{query}")).extension(Peer::Owner);
    if !media_type.is_empty() {
        request = request.header("content-type", *media_type);
    }
    // A query that no HTTP parser lets through never reaches the service.
    let Ok(request) = request.body(Body::from(body.to_vec())) else { return };
    let app = &service.local.app;
    let before = app.reads.status();
    let (status, answer) = service.runtime.block_on(async {
        let Ok(answer) = router(app.clone()).oneshot(request).await;
        let status = answer.status();
        (status, answer.into_body().collect().await.expect("a whole answer").to_bytes())
    });
    let shown = || format!("{method} {path}?{query} was answered {status} {}", String::from_utf8_lossy(&answer));
    assert!(!status.is_server_error(), "{}", shown());
    if status.is_client_error() {
        let problem: serde_json::Value = serde_json::from_slice(&answer).unwrap_or_else(|_| panic!("{}", shown()));
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{}", shown());
        assert_eq!(problem["status"], status.as_u16(), "{}", shown());
        if status != StatusCode::PAYMENT_REQUIRED {
            let after = app.reads.status();
            let counts = |status: &outlay::store::StoreStatus| (status.operations, status.users, status.sessions);
            assert_eq!(counts(&before), counts(&after), "something changed: {}", shown());
        }
    }
}

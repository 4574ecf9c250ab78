//! The router on a real store, without a network: who is let through at every route, and what every answer carries.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::BodyExt;
use outlay_core::id::UserId;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use tower::ServiceExt;

use super::auth::Access;
use super::routes::{self, Least};
use super::tokens::{Readable, Tokens, Whose};
use super::{App, Peer, Presentation, Presented, SharedApp, keys, public_router, router};
use crate::clock::SystemClock;
use crate::config::receivers::WebhookAllow;
use crate::delivery::Senders;
use crate::delivery::secrets::WebhookSecrets;
use crate::ids::Ids;
use crate::metrics::Metrics;
use crate::seal::MasterKey;
use crate::store::Record;
use crate::store::embedded::{self, Settings};
use crate::store::records::Role;
use crate::writer::Writer;

const ADMIN: &str = "the-admin-key-of-a-test-0123456789abcdef";

/// A store in a folder of its own, its writer, and the state of the handlers.
struct Service {
    app: SharedApp,
    // Removed last.
    _writer: std::thread::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

#[expect(clippy::disallowed_methods, reason = "the writer needs a thread, and the test ends with it")]
async fn service(open: bool, allowed_origins: &[&str]) -> Service {
    let folder = tempfile::tempdir().unwrap();
    let clock = SystemClock::shared();
    let mut settings = Settings::new(folder.path().join("data"), Arc::clone(&clock));
    (settings.runs.map_keys, settings.cache_kib) = (1_000, 1_024);
    let (store, reads) = embedded::open(settings).unwrap();
    let (writer, task) = Writer::new(store);
    let thread = std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(task.run());
    });
    let ids = Ids::from_system(Arc::clone(&clock)).unwrap();
    let master = MasterKey::new(&SecretBox::new(Box::new([7; 32])));
    let tokens = Tokens::prepare(master, &writer, &*reads, &ids, clock.wall()).await.unwrap();
    let origins: Vec<String> = allowed_origins.iter().map(ToString::to_string).collect();
    let access = if open { Access::open() } else { Access::keyed() };
    let access = access.with_admin_key(&SecretString::from(ADMIN)).unwrap().with_tokens(tokens);
    let access = access.with_allowed_origins(&origins).unwrap();
    let metrics = Metrics::new(&writer, &reads);
    let app = App {
        writer,
        reads,
        clock,
        ids,
        presentation: Presented::new(Presentation::default()),
        retention: crate::retention::Retention::default(),
        plans_are_configured: false,
        access,
        traces: None,
        senders: Senders::without_mail(&WebhookAllow::default()),
        webhook_secrets: WebhookSecrets::new(BTreeMap::new(), Some(MasterKey::new(&SecretBox::new(Box::new([7; 32]))))),
        metrics,
        refusals: super::refusals::Refusals::default(),
        scratch: folder.path().to_owned(),
        glance: super::events::Glance::default(),
        paces: super::paces::Paces::default(),
    };
    Service { app: Arc::new(app), _writer: thread, _folder: folder }
}

impl Service {
    async fn key(&self, role: Role) -> String {
        let (key, record) = keys::make(role, String::new(), None, &self.app.ids, self.app.clock.wall()).unwrap();
        self.app.writer.put(Record::Key(record)).await.unwrap();
        key.expose_secret().to_owned()
    }

    async fn token(&self, user: &str, readable: &[Readable]) -> String {
        let tokens = self.app.access.tokens().unwrap();
        let user_id = UserId::new(user).unwrap();
        let whose = Whose::From(self.app.reads.next_user(&user_id).await.unwrap());
        let now = self.app.clock.wall();
        tokens.mint(&user_id, whose, readable, 60, now, now).unwrap().0
    }
}

struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

async fn ask(router: &Router, method: &str, path: &str, headers: &[(&str, &str)]) -> Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    send(router, request.body(Body::from("{}")).unwrap()).await
}

async fn send(router: &Router, request: Request<Body>) -> Reply {
    let (parts, body) = router.clone().oneshot(request).await.unwrap().into_parts();
    // An answer that streams is not waited for: only whether it begins is of interest here.
    let body = if parts.status.is_success() { String::new() } else { text(body).await };
    Reply { status: parts.status, headers: parts.headers, body }
}

async fn text(body: Body) -> String {
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

fn path_of(template: &str) -> String {
    let parts = template.split('/').map(|part| match part {
        "{userId}" => "alice",
        part if part.starts_with('{') => "some-id",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[tokio::test]
async fn every_route_lets_those_through_who_may_and_nobody_else() {
    let service = service(false, &[]).await;
    let private = router(Arc::clone(&service.app));
    let public = public_router(Arc::clone(&service.app));
    let keys = [
        (Role::Viewer, service.key(Role::Viewer).await),
        (Role::App, service.key(Role::App).await),
        (Role::Admin, service.key(Role::Admin).await),
        (Role::Admin, ADMIN.to_owned()),
    ];
    let tokens = [
        (service.token("alice", &[]).await, false, false),
        (service.token("alice", &[Readable::Usage]).await, false, true),
        (service.token("alice", &[Readable::Sessions]).await, true, false),
    ];
    let somebody_elses = service.token("bob", &[Readable::Usage, Readable::Sessions]).await;
    for (method, template, least) in routes::listed() {
        let mut path = path_of(template);
        if path.ends_with("/token/end") || (method, least) == ("DELETE", Least::App) {
            // Those of Alice are still to be tried on what follows.
            path = path.replace("alice", "carl");
        }
        let is_open = least.is_open();
        let passes = async |router: &Router, credential: Option<&str>, may: Result<(), u16>| {
            let shown = credential.map(|credential| format!("Bearer {credential}"));
            let headers: Vec<(&str, &str)> = shown.iter().map(|shown| ("authorization", shown.as_str())).collect();
            let status = ask(router, method, &path, &headers).await.status;
            match may {
                Ok(()) => assert!(status != 401 && status != 403, "{method} {path} with {credential:?}: {status}"),
                Err(refused) => assert_eq!(status, refused, "{method} {path} with {credential:?}"),
            }
        };
        let needs = |enough: bool| if enough { Ok(()) } else { Err(403) };
        passes(&private, None, if is_open { Ok(()) } else { Err(401) }).await;
        passes(&private, Some("wrong"), if is_open { Ok(()) } else { Err(401) }).await;
        for (role, key) in &keys {
            let least_role = match least {
                Least::Admin | Least::Owner => Role::Admin,
                Least::App => Role::App,
                _ => Role::Viewer,
            };
            passes(&private, Some(key), needs(*role >= least_role && least != Least::Owner)).await;
        }
        for (token, reads_sessions, reads_usage) in &tokens {
            let enough = match least {
                Least::Anybody | Least::Anywhere | Least::Inside | Least::User => true,
                Least::UserUsage => *reads_usage,
                Least::UserSessions => *reads_sessions,
                Least::Viewer | Least::App | Least::Admin | Least::Owner => false,
            };
            passes(&private, Some(token), needs(enough)).await;
        }
        passes(&private, Some(&somebody_elses), needs(is_open)).await;
        // At the public door there are only the routes of tokens, and keys are nothing.
        let at_the_door = ask(&public, method, &path, &[("authorization", &format!("Bearer {ADMIN}"))]).await.status;
        if least.is_for_pages() && !is_open {
            assert_eq!(at_the_door, 401, "{method} {path}");
        } else if least != Least::Anybody && least != Least::Anywhere {
            assert!(at_the_door == 404 || at_the_door == 405, "{method} {path}: {at_the_door}");
        }
    }
}

#[tokio::test]
async fn every_route_is_described() {
    let description: serde_json::Value = serde_json::from_slice(&super::openapi::JSON).unwrap();
    let paths = description.get("paths").unwrap();
    // Pages for people, and the description itself.
    let pages = ["/docs", "/docs.md", "/llms.txt", "/problems", "/pages.css", "/openapi.json"];
    let is_page = |path: &str| pages.contains(&path) || routes::pages().contains(&path);
    let mut missing = Vec::new();
    // Code is made from these, so each must be one of its own.
    let mut ids = std::collections::BTreeSet::new();
    for (method, path, least) in routes::listed() {
        let described = paths.get(path).and_then(|path| path.get(method.to_lowercase()));
        match described {
            Some(route) => {
                let is_open = route.get("security").is_some_and(|security| security == &serde_json::json!([{}]));
                assert_eq!(is_open, matches!(least, Least::Anybody | Least::Anywhere), "{method} {path}");
                assert!(route.get("summary").is_some() && route.get("tags").is_some(), "{method} {path}");
                assert!(ids.insert(route.get("operationId").unwrap().as_str().unwrap()), "{method} {path}");
            }
            None if is_page(path) => {}
            None => missing.push(format!("{method} {path}")),
        }
    }
    assert_eq!(missing, Vec::<String>::new());
    let rows = routes::listed();
    for (path, methods) in paths.as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            assert!(rows.iter().any(|row| row.0.eq_ignore_ascii_case(method) && row.1 == path), "{method} {path}");
        }
    }
}

#[test]
fn an_admin_key_is_long_and_an_origin_has_no_path() {
    let takes_key = |key: &str| Access::keyed().with_admin_key(&SecretString::from(key)).is_ok();
    assert!(takes_key(&"k".repeat(32)) && takes_key(&"k".repeat(256)));
    for wrong in ["", "short", &"k".repeat(31), &"k".repeat(257), &" ".repeat(32), &"é".repeat(32)] {
        assert!(!takes_key(wrong), "{wrong}");
    }
    let takes_origin = |origin: &str| Access::keyed().with_allowed_origins(&[origin.to_owned()]).is_ok();
    assert!(takes_origin("https://app.example.org") && takes_origin("http://localhost:3000"));
    for wrong in ["", "*", "https://", "app.example.org", "https://app.example.org/", "ftp://example.org"] {
        assert!(!takes_origin(wrong), "{wrong}");
    }
}

#[tokio::test]
async fn a_revoked_or_expired_key_opens_nothing() {
    let service = service(false, &[]).await;
    let router = router(Arc::clone(&service.app));
    let now = service.app.clock.wall();
    let (key, record) = keys::make(Role::Viewer, String::new(), None, &service.app.ids, now).unwrap();
    let id = record.id.clone();
    service.app.writer.put(Record::Key(record)).await.unwrap();
    let shown = format!("Bearer {}", key.expose_secret());
    assert_eq!(ask(&router, "GET", "/metrics", &[("authorization", &shown)]).await.status, 200);
    assert_eq!(
        ask(&router, "GET", "/metrics", &[("authorization", &shown.replace("Bearer", "bearer"))]).await.status,
        200
    );
    assert_eq!(
        ask(&router, "GET", "/metrics", &[("authorization", &shown.replace("Bearer", "Basic"))]).await.status,
        401
    );
    let admin = format!("Bearer {ADMIN}");
    assert_eq!(ask(&router, "DELETE", &format!("/v1/keys/{id}"), &[("authorization", &admin)]).await.status, 204);
    assert_eq!(ask(&router, "GET", "/metrics", &[("authorization", &shown)]).await.status, 401);
    let (key, mut record) = keys::make(Role::Viewer, String::new(), None, &service.app.ids, now).unwrap();
    record.expires_at = Some(now);
    service.app.writer.put(Record::Key(record)).await.unwrap();
    let shown = format!("Bearer {}", key.expose_secret());
    assert_eq!(ask(&router, "GET", "/metrics", &[("authorization", &shown)]).await.status, 401);
}

#[tokio::test]
async fn the_owner_of_the_machine_needs_no_key() {
    let service = service(false, &[]).await;
    let router = router(Arc::clone(&service.app));
    let mut request = Request::builder().uri("/v1/keys").body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer::Owner);
    assert_eq!(send(&router, request).await.status, 200);
    let mut request = Request::builder().uri("/v1/keys").body(Body::empty()).unwrap();
    request.extensions_mut().insert(Peer::Address("127.0.0.1:1".parse().unwrap()));
    assert_eq!(send(&router, request).await.status, 401);
}

#[tokio::test]
async fn an_address_that_guesses_keys_is_turned_away() {
    let service = service(false, &[]).await;
    let router = router(Arc::clone(&service.app));
    let from = async |address: &str, key: &str| {
        let request = Request::builder().uri("/v1/keys").header("authorization", format!("Bearer {key}"));
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer::Address(address.parse().unwrap()));
        send(&router, request).await
    };
    for _ in 0..20 {
        assert_eq!(from("203.0.113.7:1", "wrong").await.status, 401);
    }
    let turned_away = from("203.0.113.7:2", ADMIN).await;
    assert_eq!(turned_away.status, 429);
    assert!(turned_away.header("retry-after").unwrap().parse::<u64>().unwrap() <= 60);
    assert_eq!(from("203.0.113.8:1", ADMIN).await.status, 200);
}

#[tokio::test]
async fn an_open_server_is_open_to_this_machine_alone() {
    let service = service(true, &[]).await;
    let router = router(Arc::clone(&service.app));
    for host in ["localhost", "LOCALHOST:4780", "127.0.0.1:1", "127.9.9.9", "[::1]:4780", "[::1]"] {
        assert_eq!(ask(&router, "GET", "/v1/keys", &[("host", host)]).await.status, 200, "{host}");
    }
    for host in [
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org:1",
        "127.0.0.1:",
        "127.0.0.1:x",
        "0.0.0.0",
        "",
        "[::1",
        "[::2]",
        "localhost:1:2",
        "user@localhost",
    ] {
        assert_eq!(ask(&router, "GET", "/v1/keys", &[("host", host)]).await.status, 403, "{host}");
    }
    assert_eq!(ask(&router, "GET", "/v1/keys", &[]).await.status, 403);
    assert_eq!(ask(&router, "GET", "http://example.org/v1/keys", &[("host", "localhost")]).await.status, 403);
    for (origin, status) in [
        ("http://localhost:3000", 200),
        ("https://127.0.0.1", 200),
        ("http://[::1]:3000", 200),
        ("https://example.org", 403),
        ("http://localhost.example.org", 403),
        ("null", 403),
        ("", 403),
    ] {
        let headers = [("host", "localhost"), ("origin", origin)];
        assert_eq!(ask(&router, "GET", "/v1/keys", &headers).await.status, status, "{origin}");
    }
    // A form of a page of ours has no origin, and the browser's word that it is ours.
    for (site, origin, status) in [
        ("same-origin", "null", 200),
        ("cross-site", "null", 403),
        ("same-origin", "https://example.org", 403),
        ("same-origin", "http://localhost", 200),
    ] {
        let headers = [("host", "localhost"), ("sec-fetch-site", site), ("origin", origin)];
        assert_eq!(ask(&router, "GET", "/v1/keys", &headers).await.status, status, "{site} {origin}");
    }
    let two = [("host", "localhost"), ("host", "localhost")];
    assert_eq!(ask(&router, "GET", "/v1/keys", &two).await.status, 400);
}

#[tokio::test]
async fn every_answer_has_its_headers_and_every_problem_its_form() {
    let service = service(false, &[]).await;
    let router = router(Arc::clone(&service.app));
    let admin = format!("Bearer {ADMIN}");
    for (method, path, status) in
        [("GET", "/healthz", 200), ("GET", "/v1/keys", 401), ("GET", "/nothing", 404), ("PATCH", "/v1/keys", 405)]
    {
        let reply = ask(&router, method, path, &[("host", "a")]).await;
        assert_eq!(reply.status, status, "{path}");
        assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(reply.header("referrer-policy"), Some("no-referrer"));
        assert_eq!(reply.header("cache-control"), Some("no-store"));
        assert_eq!(reply.header("cross-origin-resource-policy"), Some("same-origin"));
        assert_eq!(reply.header("access-control-allow-origin"), None);
        let id = reply.header("x-request-id").unwrap();
        if status != 200 {
            assert_eq!(reply.header("content-type"), Some("application/problem+json"));
            let problem: serde_json::Value = serde_json::from_str(&reply.body).unwrap();
            assert_eq!(problem["status"], status);
            assert_eq!(problem["requestId"], id);
            assert!(problem["type"].as_str().unwrap().starts_with("/problems/"), "{problem}");
        }
        assert_eq!(reply.header("www-authenticate").is_some(), status == 401);
        assert_eq!(reply.header("allow").is_some(), status == 405);
    }
    let page = ask(&router, "GET", "/", &[("host", "a")]).await;
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    // A body that is too large is not read, and one without an end is not read to it.
    let large = Request::builder().method("POST").uri("/v1/keys").header("authorization", &admin);
    let reply = send(&router, large.body(Body::from(vec![b' '; 1024 * 1024 + 1])).unwrap()).await;
    assert_eq!(reply.status, 413);
    let endless = futures_util::stream::repeat_with(|| {
        Ok::<_, std::convert::Infallible>(bytes::Bytes::from_static(&[b' '; 4096]))
    });
    let json = ("content-type", "application/json");
    let post = || Request::post("/v1/keys").header("authorization", &admin).header(json.0, json.1);
    assert_eq!(send(&router, post().body(Body::from_stream(endless)).unwrap()).await.status, 413);
    // As much as may be is read, and found to be no JSON.
    assert_eq!(send(&router, post().body(Body::from(vec![b' '; 1024 * 1024])).unwrap()).await.status, 400);
    let broken_off =
        futures_util::stream::iter([Ok(bytes::Bytes::from_static(b"{")), Err(std::io::Error::other("gone"))]);
    let reply = send(&router, post().body(Body::from_stream(broken_off)).unwrap()).await;
    assert!(reply.status == 400 && reply.body.contains("broke off"), "{}", reply.body);
}

#[tokio::test]
async fn pages_of_other_origins_read_what_a_token_reads_and_nothing_else() {
    let anywhere = service(false, &[]).await;
    let narrowed = service(false, &["https://app.example.org"]).await;
    let (mine, other) = ("https://app.example.org", "https://evil.example.org");
    for (service, origin, allowed) in [
        (&anywhere, mine, Some("*")),
        (&anywhere, other, Some("*")),
        (&narrowed, mine, Some(mine)),
        (&narrowed, other, None),
    ] {
        let router = router(Arc::clone(&service.app));
        for (method, template, least) in routes::listed() {
            let path = path_of(template);
            let reply = ask(&router, method, &path, &[("origin", origin)]).await;
            let expected = allowed.filter(|_| least.is_for_pages());
            assert_eq!(reply.header("access-control-allow-origin"), expected, "{method} {path} for {origin}");
            assert_eq!(reply.header("access-control-allow-credentials"), None);
            if least.is_for_pages() {
                assert_eq!(reply.header("cross-origin-resource-policy"), Some("cross-origin"));
                let narrows = !service.app.access.allowed_origins().is_empty();
                let varies = reply.headers.get_all("vary").iter().any(|vary| vary == "Origin");
                assert_eq!(varies, narrows, "{path}");
                let asks = [("origin", origin), ("access-control-request-method", "GET")];
                let preflight = ask(&router, "OPTIONS", &path, &asks).await;
                assert_eq!(preflight.status, 204);
                assert_eq!(preflight.header("access-control-allow-origin"), allowed, "{path} for {origin}");
                assert!(preflight.header("access-control-allow-headers").unwrap().contains("Authorization"));
            }
        }
    }
}

/// The header of an answer's cookie, as the browser sends it back.
fn cookie_of(reply: &Reply) -> String {
    reply.header("set-cookie").and_then(|cookie| cookie.split(';').next()).unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_key_is_taken_once_and_a_cookie_stands_for_it() {
    let service = service(false, &[]).await;
    let router = router(Arc::clone(&service.app));
    let home = [("host", "127.0.0.1:1"), ("origin", "http://127.0.0.1:1")];
    let post = async |path: &str, headers: &[(&str, &str)], body: String| {
        let request = headers.iter().fold(Request::post(path), |request, (name, value)| request.header(*name, *value));
        send(&router, request.body(Body::from(body)).unwrap()).await
    };
    let page = ask(&router, "GET", "/users", &home).await;
    assert_eq!((page.status.as_u16(), page.body.contains("type=\"password\"")), (401, true), "{}", page.body);
    assert_eq!(post("/sign-in", &home, "key=wrong".to_owned()).await.status, 401);
    let elsewhere = [("host", "outlay.example.org"), ("origin", "http://outlay.example.org")];
    assert_eq!(post("/sign-in", &elsewhere, format!("key={ADMIN}")).await.status, 403, "plain http from afar");
    let strange = [("host", "127.0.0.1:1"), ("origin", "http://evil.example.org")];
    assert_eq!(post("/sign-in", &strange, format!("key={ADMIN}")).await.status, 403);

    let entered = post("/sign-in", &home, format!("key={ADMIN}&to=users%3Fq%3Da")).await;
    assert_eq!((entered.status.as_u16(), entered.header("location")), (303, Some("./users?q=a")));
    let set = entered.header("set-cookie").unwrap();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains("Secure"), "{set}");
    assert!(!set.contains(ADMIN) && !set.contains("Path"), "{set}");
    let secure = [("host", "outlay.example.org"), ("origin", "https://outlay.example.org")];
    let afar = post("/sign-in", &secure, format!("key={ADMIN}&to=//evil.example.org")).await;
    assert!(afar.header("set-cookie").unwrap().contains("; Secure"));
    assert_eq!(afar.header("location"), Some("./evil.example.org"));

    let cookie = cookie_of(&entered);
    let signed = [home[0], home[1], ("cookie", cookie.as_str())];
    assert_eq!(ask(&router, "GET", "/users", &signed).await.status, 200);
    assert_eq!(ask(&router, "GET", "/v1/users", &signed).await.status, 200);
    assert_eq!(ask(&public_router(Arc::clone(&service.app)), "GET", "/v1/users/a/budget", &signed).await.status, 401);
    // A change needs the browser's word that a page of ours asked for it, also through the API.
    for (origin, allowed) in
        [(Some("http://127.0.0.1:1"), true), (Some("http://127.0.0.1:2"), false), (Some("null"), false), (None, false)]
    {
        let headers: Vec<(&str, &str)> =
            [home[0], ("cookie", cookie.as_str())].into_iter().chain(origin.map(|origin| ("origin", origin))).collect();
        for path in ["/users/alice/settings", "/v1/users/alice/tokens"] {
            let reply = post(path, &headers, "{}".to_owned()).await;
            assert_eq!(reply.status != 403, allowed, "{path} from {origin:?}: {}", reply.status);
        }
    }
    for other in ["outlay_session=", "outlay_session=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "session=1"] {
        assert_eq!(ask(&router, "GET", "/users", &[home[0], home[1], ("cookie", other)]).await.status, 401, "{other}");
    }
    let fetched = [home[0], ("sec-fetch-site", "cross-site"), ("cookie", cookie.as_str())];
    assert_eq!(post("/settings/keys", &fetched, "role=admin".to_owned()).await.status, 403);
    assert_eq!(post("/sign-out", &signed, String::new()).await.status, 303);
    assert_eq!(ask(&router, "GET", "/users", &signed).await.status, 401);
}

#[tokio::test]
async fn a_page_is_ours_at_its_public_address_too() {
    let service = service(false, &[]).await;
    let public_url = Some("https://example.org/outlay".to_owned());
    service.app.presentation.replace(Presentation { public_url, ..Presentation::default() });
    let router = router(Arc::clone(&service.app));
    for (origin, status) in [
        ("https://example.org", 303),
        ("http://10.0.0.1:1", 303),
        // The beginning of an origin is another one.
        ("https://example.or", 403),
        ("https://example.org/outl", 403),
        ("https://evil.example", 403),
    ] {
        let request = Request::post("/sign-out").header("host", "10.0.0.1:1").header("origin", origin);
        assert_eq!(send(&router, request.body(Body::empty()).unwrap()).await.status, status, "{origin}");
    }
}

#[tokio::test]
async fn colours_and_keys_of_pages_are_kept_by_the_browser() {
    let service = service(true, &[]).await;
    let router = router(Arc::clone(&service.app));
    let post = async |path: &str, body: &'static str| {
        let request = Request::post(path).header("host", "localhost").body(Body::from(body)).unwrap();
        send(&router, request).await
    };
    let page = async |cookie: &str| {
        let request =
            Request::get("/").header("host", "localhost").header("cookie", cookie).body(Body::empty()).unwrap();
        text(router.clone().oneshot(request).await.unwrap().into_body()).await
    };
    let form = Request::get("/sign-in").header("host", "localhost").body(Body::empty()).unwrap();
    assert!(text(router.clone().oneshot(form).await.unwrap().into_body()).await.contains("type=\"password\""));
    let dark = post("/theme", "theme=dark&to=users").await;
    assert_eq!((dark.status.as_u16(), dark.header("location")), (303, Some("./users")));
    assert!(page(&cookie_of(&dark)).await.contains("data-theme=\"dark\""));
    let system = post("/theme", "theme=system").await;
    assert!(!page(&cookie_of(&system)).await.contains("data-theme"));
    let off = post("/shortcuts", "shortcuts=off").await;
    assert!(page(&cookie_of(&off)).await.contains("data-shortcuts=\"off\""));
    let on = post("/shortcuts", "shortcuts=on").await;
    assert!(on.header("set-cookie").unwrap().contains("Max-Age=0"));
    assert!(!page(&cookie_of(&on)).await.contains("data-shortcuts"));
}

#[tokio::test]
async fn a_sign_in_ends_with_its_key() {
    let service = service(false, &[]).await;
    let router = router(Arc::clone(&service.app));
    let key = service.key(Role::Viewer).await;
    let home = [("host", "localhost"), ("origin", "http://localhost")];
    let request = home.iter().fold(Request::post("/sign-in"), |request, (name, value)| request.header(*name, *value));
    let entered = send(&router, request.body(Body::from(format!("key={key}"))).unwrap()).await;
    let cookie = cookie_of(&entered);
    let signed = [home[0], home[1], ("cookie", cookie.as_str())];
    assert_eq!(ask(&router, "GET", "/", &signed).await.status, 200);
    // A viewer sees, and changes nothing.
    for path in ["/users/a/settings", "/users/a/token", "/users/a/erase", "/v1/keys"] {
        assert_eq!(ask(&router, "GET", path, &signed).await.status, 403, "{path}");
    }
    let id = service.app.reads.keys().last().unwrap().id.clone();
    keys::end(&service.app, &crate::audit::Actor::here("socket"), Some(&id)).await.unwrap();
    assert_eq!(ask(&router, "GET", "/", &signed).await.status, 401);
}

#[tokio::test]
async fn a_token_key_is_kept_sealed_and_another_master_key_is_told() {
    let service = service(false, &[]).await;
    let app = &service.app;
    let sealed = app.reads.secret("token-key/1").unwrap();
    let again = |byte: u8| {
        let master = MasterKey::new(&SecretBox::new(Box::new([byte; 32])));
        async move { Tokens::prepare(master, &app.writer, &*app.reads, &app.ids, app.clock.wall()).await }
    };
    let tokens = again(7).await.unwrap();
    let now = app.clock.wall();
    assert!(tokens.read(&service.token("alice", &[]).await, now).is_some());
    assert!(again(8).await.is_err());
    assert_eq!(app.reads.secret("token-key/1").unwrap(), sealed); // The master key changes from 7 to 8, twice, as if the first time had been cut off.
    let key = |byte: u8| SecretBox::new(Box::new([byte; 32]));
    let both = MasterKey::new(&key(7)).followed_by(&key(8));
    for _ in 0..2 {
        assert_eq!(super::tokens::reseal(&both, &app.writer, &*app.reads, &app.ids).await.unwrap(), 1);
    }
    assert!(again(7).await.is_err());
    assert!(again(8).await.unwrap().read(&service.token("alice", &[]).await, now).is_some());
}

//! Headers, through the router: who calls, from where, and what they saw last. Nothing opens but a key or a token that is
//! known, and of who sent a request only that is believed which a proxy of ours added.
//!
//! An input is a line with a number, of the route and of who is at the other end, and then a line `name: value` a header. In a
//! value `{key}`, `{token}` and `{cookie}` stand for ones that open.

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, FORWARDED, HOST, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use axum::response::Response;
use http_body_util::BodyExt;
use outlay::audit::{Action, Event};
use outlay::clock::Clock;
use outlay::config::{Config, Environment, Flags, settings};
use outlay::http::{Peer, router};
use outlay::local::{Local, Purpose};
use outlay_core::month::Timestamp;
use tower::ServiceExt;

/// Routes with what a token of `u` may do there: read it, or nothing. All of them need a key or a token.
const ROUTES: [(Method, &str, bool); 8] = [
    (Method::GET, "/v1/users/u/budget", true),
    (Method::GET, "/v1/users/u/events", true),
    (Method::GET, "/v1/users/v/budget", false),
    (Method::GET, "/v1/plans", false),
    (Method::PUT, "/v1/users/u", false),
    (Method::GET, "/", false),
    (Method::GET, "/users/u", false),
    (Method::POST, "/v1/users/u/tokens", false),
];
const KEY: &str = "the-key-of-an-operator-0123456789";
/// From one request to the next: longer than anybody is turned away for.
const PAUSE_SECONDS: i64 = 600;
/// Requests until a token and a cookie are made anew, sooner than they end.
const RENEWED_EVERY: i64 = 50;
const PROXY: [u8; 4] = [10, 0, 0, 1];
const FAR: [u8; 4] = [198, 51, 100, 1];
/// Whom an attacker claims to be.
const CLAIMED: &str = "192.0.2.66";

/// A clock that goes on with each request.
#[derive(Debug)]
struct Requests(AtomicI64);

impl Clock for Requests {
    fn wall(&self) -> Timestamp {
        Timestamp::EPOCH.plus_seconds(1_760_380_376 + self.0.load(Ordering::Relaxed) * PAUSE_SECONDS)
    }

    fn monotonic_nanos(&self) -> u64 {
        0
    }
}

struct Service {
    runtime: tokio::runtime::Runtime,
    local: Local,
    clock: Arc<Requests>,
    opens: std::cell::RefCell<Opens>,
    _folder: tempfile::TempDir,
}

/// What opens beside the key.
#[derive(Debug, Clone, Default)]
struct Opens {
    token: String,
    cookie: String,
}

/// See the head of the file.
pub fn headers(data: &[u8]) {
    thread_local! {
        static SERVICE: LazyCell<Service> = const { LazyCell::new(Service::start) };
    }
    SERVICE.with(|service| ask(service, data));
}

impl Service {
    fn start() -> Self {
        let folder = crate::rows::folder();
        let mut flags = Flags::default();
        flags.say(&settings::DATA, Some(folder.path()));
        flags.say(&settings::ADMIN_KEY, Some(KEY));
        flags.say(&settings::TRUSTED_PROXIES, Some("10.0.0.0/8,fd00::/8"));
        let config = Config::read(&flags, &Environment::default()).expect("sound settings");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let clock = Arc::new(Requests(AtomicI64::new(0)));
        let local = runtime.block_on(Local::open(&config, clock.clone(), Purpose::Serving)).expect("a new store");
        Self { runtime, local, clock, opens: Default::default(), _folder: folder }
    }

    /// Goes on in time; gives what opens then.
    fn next(&self) -> Opens {
        let count = self.clock.0.fetch_add(1, Ordering::Relaxed);
        if count % RENEWED_EVERY == 0 {
            *self.opens.borrow_mut() = self.renewed();
        }
        self.opens.borrow().clone()
    }

    fn renewed(&self) -> Opens {
        let json = r#"{"ttlSeconds":86400}"#;
        let request = Request::post("/v1/users/u/tokens").header(CONTENT_TYPE, "application/json");
        let request = request.extension(Peer::Owner).body(Body::from(json)).expect("a request");
        let (_, answer) = self.whole(request);
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("a token");
        let form = Request::post("/sign-in").header(HOST, "localhost").extension(Peer::Owner);
        let (response, _) = self.whole(form.body(Body::from(format!("key={KEY}"))).expect("a request"));
        let cookie = response.headers().get(SET_COOKIE).expect("a cookie").to_str().expect("a text");
        let cookie = cookie.split_once('=').and_then(|(_, rest)| rest.split(';').next()).expect("a value");
        Opens { token: answer["token"].as_str().expect("a text").to_owned(), cookie: cookie.to_owned() }
    }

    /// Asks; of a stream only the beginning is read.
    fn whole(&self, request: Request<Body>) -> (Response, Vec<u8>) {
        self.runtime.block_on(async {
            let Ok(answer) = router(self.local.app.clone()).oneshot(request).await;
            let (parts, mut body) = answer.into_parts();
            let is_stream = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
            let bytes = if is_stream {
                let frame = body.frame().await.expect("a stream begins").expect("with a sound frame");
                frame.into_data().expect("of data").to_vec()
            } else {
                body.collect().await.expect("a whole answer").to_bytes().to_vec()
            };
            (Response::from_parts(parts, Body::empty()), bytes)
        })
    }

    /// Who the refused came from since this was last asked.
    fn refused(&self) -> Vec<IpAddr> {
        let is_of_key = |event: &Event| event.action == Action::KeyRefused;
        let events = self.local.app.refusals.due(self.clock.wall(), true).into_iter().filter(is_of_key);
        events.filter_map(|event| event.actor.address).collect()
    }
}

/// What is asked, and by whom.
#[derive(Debug)]
struct Asked {
    method: Method,
    path: &'static str,
    token_reads: bool,
    peer: IpAddr,
    headers: HeaderMap,
}

impl Asked {
    fn of(text: &str, opens: &Opens) -> Option<Self> {
        let mut lines = text.lines();
        let number: usize = lines.next()?.parse().ok()?;
        let (method, path, token_reads) = ROUTES[number % ROUTES.len()].clone();
        let peer = if (number / ROUTES.len()).is_multiple_of(2) { PROXY } else { FAR };
        let mut headers = HeaderMap::new();
        for line in lines {
            let (name, value) = line.split_once(": ")?;
            let value = value.replace("{key}", KEY).replace("{token}", &opens.token).replace("{cookie}", &opens.cookie);
            // What is no header never reaches the service.
            headers.append(HeaderName::try_from(name).ok()?, HeaderValue::try_from(value).ok()?);
        }
        Some(Self { method, path, token_reads, peer: IpAddr::from(peer), headers })
    }

    fn request(&self) -> Request<Body> {
        let mut request = Request::new(Body::empty());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.path.parse().expect("a path");
        *request.headers_mut() = self.headers.clone();
        request.extensions_mut().insert(Peer::Address(SocketAddr::new(self.peer, 4711)));
        request
    }

    /// Whether something among the headers opens this.
    fn may(&self, opens: &Opens) -> bool {
        let shown: Vec<_> = self.headers.get_all(AUTHORIZATION).iter().collect();
        let cookies = self.headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
        match *shown {
            [] => cookies.flat_map(|line| line.split(';')).any(|pair| pair.trim_end().ends_with(&opens.cookie)),
            [one] => {
                let text = one.to_str().unwrap_or_default();
                text.ends_with(KEY) || (self.token_reads && text.ends_with(&opens.token))
            }
            _ => false,
        }
    }

    /// The addresses that are written anywhere in what proxies say.
    fn named(&self) -> BTreeSet<IpAddr> {
        let values = ["x-forwarded-for", "forwarded"].into_iter().flat_map(|name| self.headers.get_all(name));
        let texts = values.filter_map(|value| value.to_str().ok());
        let parts = texts.flat_map(|text| text.split([',', ';', '=', '"', ' ', '\t']));
        let address = |part: &str| {
            let bare = part.trim_start_matches('[').trim_end_matches(']');
            bare.parse().ok().or_else(|| part.parse().ok().map(|address: SocketAddr| address.ip()))
        };
        parts.filter_map(address).map(|address: IpAddr| address.to_canonical()).collect()
    }

    /// The same from somebody who claims to be another, in front of all that proxies added.
    fn claiming(&self) -> Self {
        let mut headers = self.headers.clone();
        for (name, claim) in
            [(HeaderName::from_static("x-forwarded-for"), CLAIMED.to_owned()), (FORWARDED, format!("for={CLAIMED}"))]
        {
            if let Some(first) = headers.get_mut(&name) {
                let claimed = [format!("{claim}, ").as_bytes(), first.as_bytes()].concat();
                *first = HeaderValue::from_bytes(&claimed).expect("a header's value");
            }
        }
        Self { method: self.method.clone(), headers, ..*self }
    }
}

fn ask(service: &Service, data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let opens = service.next();
    let Some(asked) = Asked::of(text, &opens) else { return };
    let (response, answer) = service.whole(asked.request());
    let status = response.status();
    let shown = || format!("{asked:?} was answered {status} {}", String::from_utf8_lossy(&answer));
    assert!(!status.is_server_error(), "{}", shown());
    let is_open = status.is_success() || status == StatusCode::NOT_MODIFIED;
    assert!(!is_open || asked.may(&opens), "{}", shown());
    let came_from = service.refused();
    for address in &came_from {
        // Only whoever is at the other end, or whom a proxy of ours names.
        let may_be = *address == asked.peer || (is_proxy(asked.peer) && asked.named().contains(address));
        assert!(may_be, "came from {address}: {}", shown());
    }
    if let [address] = *came_from
        && !is_proxy(address)
    {
        service.next();
        service.whole(asked.claiming().request());
        assert_eq!(service.refused(), came_from, "a claim is believed: {}", shown());
    }
}

/// Whether an address is of one of our proxies.
fn is_proxy(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[0] == 10,
        IpAddr::V6(address) => address.segments()[0] >> 8 == 0xfd,
    }
}

//! What stands in front of every handler, as one layer: the request's id, who calls and whether they may, the body and
//! its limits, the time limit, and on the way back the headers, the problem's body and the counts.
//!
//! It is one hand-written service and not a stack of layers, because each layer costs an allocation per request.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, EXPECT, HOST,
    HeaderName, ORIGIN, REFERRER_POLICY, RETRY_AFTER, VARY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use http_body::Body as _;
use http_body_util::{BodyExt, Limited};
use outlay_core::id::UserId;
use percent_encoding::percent_decode_str;

use super::SharedApp;
use super::auth::{Access, Asked, Caller, OWNER};
use super::page::Parameters;
use super::problem::{Kind, Problem};
use super::routes::Least;
use crate::audit::Action;
use crate::ids::RequestId;
use crate::metrics::RouteMetrics;
use crate::store::records::Role;
use crate::traces::{Answered, Parent, Traces};

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// The address of the API.
    Private,
    /// The address for browsers everywhere.
    Public,
}

/// Who is at the other end of a connection; the accept loop puts it among a request's extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// Somebody at this address.
    Address(std::net::SocketAddr),
    /// Whoever may open the socket in the data folder, or this process itself: an admin without a key.
    Owner,
}

/// What holds for one route.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rule {
    pub(super) least: Least,
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) door: Door,
    pub(super) body_bytes_max: usize,
    /// Whether it is for people: what goes wrong is then a page too.
    pub(super) page: bool,
}

impl Rule {
    /// Whether its requests are to change something.
    fn changes(&self) -> bool {
        matches!(self.method, "POST" | "PUT" | "DELETE")
    }
}

/// The layer that puts the guard in front of a handler.
#[derive(Clone)]
pub(super) struct Guarding {
    post: Arc<Post>,
}

struct Post {
    app: SharedApp,
    rule: Rule,
    for_pages: bool,
    metrics: RouteMetrics,
}

impl Guarding {
    pub(super) fn new(app: &SharedApp, rule: Rule) -> Self {
        Self::of(app, rule, rule.least.is_for_pages())
    }

    /// Lets pages of other origins read the answer, whoever may.
    pub(super) fn for_pages(app: &SharedApp, rule: Rule) -> Self {
        Self::of(app, rule, true)
    }

    fn of(app: &SharedApp, rule: Rule, for_pages: bool) -> Self {
        let metrics = app.metrics.of_route(rule.method, rule.path);
        Self { post: Arc::new(Post { app: Arc::clone(app), rule, for_pages, metrics }) }
    }
}

impl<S> tower::Layer<S> for Guarding {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner, post: Arc::clone(&self.post) }
    }
}

/// A handler with the guard in front of it.
#[derive(Clone)]
pub(super) struct Guard<S> {
    inner: S,
    post: Arc<Post>,
}

impl<S> tower::Service<Request> for Guard<S>
where
    S: tower::Service<Request, Error = Infallible> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // The clone stays behind: the one that was found ready does the work.
        let ready = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, ready);
        let post = Arc::clone(&self.post);
        Box::pin(async move { Ok(post.answer(request, inner).await) })
    }
}

/// How long a body may take to arrive.
const BODY_WAIT: Duration = Duration::from_secs(30);
/// How long a request may take until its answer begins.
const REQUEST_WAIT: Duration = Duration::from_mins(1);
/// The same for what reads the whole store: it takes as long as the store is large, and only an admin may ask for it.
const WHOLE_STORE_WAIT: Duration = Duration::from_hours(24);
/// What reads the whole store before its answer begins.
const WHOLE_STORE_PATHS: [&str; 2] = ["/v1/verify", "/v1/backup"];

impl Post {
    async fn answer<S>(&self, request: Request, inner: S) -> Response
    where
        S: tower::Service<Request, Error = Infallible>,
        S::Response: IntoResponse,
    {
        let started = self.app.clock.monotonic_nanos();
        let request_id = self.app.ids.request();
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
        let origin = request.headers().get(ORIGIN).cloned();
        let client = match request.extensions().get::<Peer>() {
            Some(Peer::Address(peer)) => Some(self.app.access.proxies().client(peer.ip(), request.headers())),
            Some(Peer::Owner) | None => None,
        };
        let parent = self.app.traces.as_ref().and_then(|traces| traces.parent(request.headers()));
        let asked = self.rule.page.then(|| (request.uri().clone(), request.headers().clone()));
        let wait = if WHOLE_STORE_PATHS.contains(&self.rule.path) { WHOLE_STORE_WAIT } else { REQUEST_WAIT };
        let answered = tokio::time::timeout(wait, self.let_through(request, request_id, client, inner));
        let mut response = match answered.await {
            Ok(Ok(response)) => response,
            Ok(Err(problem)) => problem.into_response(),
            Err(_) => {
                let kind = if changes { Kind::OutcomeUnknown } else { Kind::StoreUnavailable };
                Problem::new(kind).because("no answer within the time of a request").into_response()
            }
        };
        if let Some(problem) = response.extensions_mut().remove::<Problem>() {
            self.write_problem(&problem, request_id, &mut response);
            if let Some((uri, headers)) = asked {
                response = as_page(response, &problem, &uri, &headers, request_id);
            }
        }
        self.write_headers(request_id, origin.as_ref(), response.headers_mut());
        let nanos = self.app.clock.monotonic_nanos().saturating_sub(started);
        self.metrics.answered(response.status(), Duration::from_nanos(nanos).as_secs_f64());
        self.log(request_id, client, response.status(), nanos / 1_000);
        if let Some((traces, parent)) = self.app.traces.as_ref().zip(parent) {
            self.trace(traces, &parent, request_id, response.status(), Duration::from_nanos(nanos));
        }
        response
    }

    async fn let_through<S>(
        &self,
        request: Request,
        request_id: RequestId,
        client: Option<IpAddr>,
        mut inner: S,
    ) -> Result<Response, Problem>
    where
        S: tower::Service<Request, Error = Infallible>,
        S::Response: IntoResponse,
    {
        let (mut parts, mut body) = request.into_parts();
        let peer = parts.extensions.remove::<Peer>();
        let caller = match self.admit(&parts, peer, client, request_id).await {
            Ok(caller) => caller,
            Err(problem) => {
                drain(&parts.headers, &mut body).await;
                return Err(problem);
            }
        };
        if self.rule.changes() && !self.rule.page {
            // No such route takes a parameter; one that is meant to limit what changes must not be passed over.
            Parameters::parse(parts.uri.query().unwrap_or_default()).finish()?;
        }
        let body = self.read_body(&parts.headers, body).await?;
        // What pages send is read by others.
        let again = if self.rule.page { Body::from(body.clone()) } else { Body::empty() };
        parts.extensions.insert(Asked { caller, request_id, client, body });
        match inner.call(Request::from_parts(parts, again)).await {
            Ok(response) => Ok(response.into_response()),
            Err(never) => match never {},
        }
    }

    /// Tells who calls, and lets them through or not.
    async fn admit(
        &self,
        parts: &http::request::Parts,
        peer: Option<Peer>,
        client: Option<IpAddr>,
        request_id: RequestId,
    ) -> Result<Caller, Problem> {
        if (!self.rule.least.is_open() || self.rule.changes())
            && let Some(catching_up) = self.app.reads.catch_up()
        {
            catching_up.await?;
        }
        let caller = self.caller(parts, peer, client).inspect_err(|problem| {
            if problem.kind() == Kind::Unauthorized {
                let ended = Access::ended_key(&parts.headers, &self.app);
                self.refused(Action::KeyRefused, &Caller::Nobody, client, request_id, ended.as_deref());
            }
        })?;
        let changes = !matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS);
        if changes && !parts.headers.contains_key(AUTHORIZATION) && peer != Some(Peer::Owner) {
            // Without a key of its own in the request it is the browser's doing that the caller is known.
            let signed_in = matches!(caller, Caller::Key { .. });
            if signed_in || self.rule.page {
                of_our_pages(parts, self.app.presentation.now().public_url.as_deref(), signed_in)?;
            }
        }
        self.rule.least.admits(&caller, path_user(parts.uri.path()).as_ref()).inspect_err(|problem| {
            if problem.kind() == Kind::Forbidden {
                self.refused(Action::RoleRefused, &caller, client, request_id, None);
            }
        })?;
        if let Caller::User { user_id, whose, made_at, .. } = &caller {
            whose.still(*made_at, &self.app, user_id).await.inspect_err(|problem| {
                if problem.kind() == Kind::Unauthorized {
                    self.refused(Action::KeyRefused, &caller, client, request_id, None);
                }
            })?;
        }
        Ok(caller)
    }

    /// Counts one who was refused; it is written down later, and not while they wait.
    fn refused(
        &self,
        action: Action,
        caller: &Caller,
        client: Option<IpAddr>,
        request_id: RequestId,
        subject: Option<&str>,
    ) {
        let route = || format!("{} {}", self.rule.method, self.rule.path);
        let subject = subject.map_or_else(route, str::to_owned);
        self.app.refusals.refused(action, super::audit::actor(caller, client, request_id), &subject);
    }

    fn caller(
        &self,
        parts: &http::request::Parts,
        peer: Option<Peer>,
        client: Option<IpAddr>,
    ) -> Result<Caller, Problem> {
        let access = &self.app.access;
        if peer == Some(Peer::Owner) {
            return Ok(Caller::Key { id: Arc::from(OWNER), role: Role::Admin });
        }
        once(parts, &HOST, "There is more than one Host.")?;
        once(parts, &AUTHORIZATION, "There is more than one Authorization.")?;
        if access.is_open() && self.rule.door == Door::Private {
            at_home(parts)?;
            return Ok(Caller::Open);
        }
        if self.rule.least.is_open() {
            return Ok(Caller::Nobody);
        }
        access.identify(&parts.headers, client, &self.app, self.rule.door == Door::Private)
    }

    async fn read_body(&self, headers: &HeaderMap, mut body: Body) -> Result<Bytes, Problem> {
        // What changes nothing takes no body, and waits for none.
        if body.is_end_stream() || !self.rule.changes() {
            return Ok(Bytes::new());
        }
        let max = self.rule.body_bytes_max;
        let too_large = || Problem::new(Kind::PayloadTooLarge).detail(format!("At most {max} bytes are read here."));
        if body.size_hint().lower() > max as u64 {
            drain(headers, &mut body).await;
            return Err(too_large());
        }
        let collected = tokio::time::timeout(BODY_WAIT, Limited::new(&mut body, max).collect())
            .await
            .map_err(|_| Problem::new(Kind::RequestTimeout))?;
        match collected {
            Ok(collected) => Ok(collected.to_bytes()),
            Err(error) if error.is::<http_body_util::LengthLimitError>() => {
                drain(headers, &mut body).await;
                Err(too_large())
            }
            Err(error) => Err(Problem::new(Kind::InvalidRequest).detail("The body broke off.").because(error)),
        }
    }

    /// Neither paths nor queries: they name users. Who was refused is worth more than a detail.
    fn log(&self, request_id: RequestId, client: Option<IpAddr>, status: StatusCode, micros: u64) {
        let (method, route) = (self.rule.method, self.rule.path);
        if let (true, Some(client)) = (is_refusal(status), client) {
            tracing::info!(request.id = %request_id, client.address = %client, "refused {method} {route} {status}");
        } else {
            tracing::debug!(request.id = %request_id, duration_us = micros, "{method} {route} {status}");
        }
    }

    /// Whoever is refused has no say in what is traced.
    fn trace(&self, traces: &Traces, parent: &Parent, request_id: RequestId, status: StatusCode, took: Duration) {
        if is_refusal(status) {
            return;
        }
        let (method, route, at) = (self.rule.method, self.rule.path, self.app.clock.wall());
        traces.answered(parent, &Answered { method, route, status, request_id, at, took });
    }

    fn write_problem(&self, problem: &Problem, request_id: RequestId, response: &mut Response) {
        let status = problem.status();
        if let (true, Some(cause)) = (status.is_server_error(), problem.cause()) {
            tracing::error!(request.id = %request_id, route = self.rule.path, "{}: {cause}", problem.kind().slug());
        }
        let body = serde_json::to_vec(&problem.body(&self.app.presentation.now(), request_id)).unwrap_or_default();
        *response.status_mut() = status;
        *response.body_mut() = Body::from(body);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let Some(seconds) = problem.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"outlay\""));
        }
    }

    fn write_headers(&self, request_id: RequestId, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_maybe_shared(Bytes::from(request_id.to_string())) {
            headers.insert(REQUEST_ID, value);
        }
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        let resource_policy = if self.for_pages { "cross-origin" } else { "same-origin" };
        headers.entry(RESOURCE_POLICY).or_insert(HeaderValue::from_static(resource_policy));
        if self.for_pages {
            allow_origin(self.app.access.allowed_origins(), origin, headers);
        }
    }
}

/// A problem as a page, with the headers that say what to do.
fn as_page(
    mut response: Response,
    problem: &Problem,
    uri: &http::Uri,
    headers: &HeaderMap,
    request_id: RequestId,
) -> Response {
    let page = super::dashboard::problem(problem, uri, headers, &request_id.to_string());
    let (parts, body) = page.into_parts();
    response.headers_mut().extend(parts.headers);
    *response.body_mut() = body;
    response
}

/// Bytes that are still taken of a body that nobody will read, at most.
const DRAINED_BYTES_MAX: usize = 32 * 1024 * 1024;
/// How long they may take.
const DRAIN_WAIT: Duration = Duration::from_secs(5);

/// Takes what is left of a body that nobody will read: many clients send all of it before they look for an answer, and find
/// the connection broken when it ends before.
async fn drain(headers: &HeaderMap, body: &mut Body) {
    // Whoever asks first whether to send it looks for the answer already.
    if headers.contains_key(EXPECT) {
        return;
    }
    let mut left = DRAINED_BYTES_MAX;
    let drained = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    // Whoever is slow has had their chance.
    let _ = tokio::time::timeout(DRAIN_WAIT, drained).await;
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");

/// Never with credentials: a page shows its token itself.
fn allow_origin(allowed: &[HeaderValue], origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if allowed.is_empty() {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        let Some(origin) = origin.filter(|origin| allowed.contains(origin)) else { return };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
    }
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("Retry-After, X-Request-Id"));
}

/// Answers a browser's question whether a page may read this path.
pub(super) async fn preflight() -> Response {
    let headers = [
        (ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, HEAD")),
        (ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("Authorization, Last-Event-ID")),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("7200")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

/// What is answered where there is no such path.
pub(super) async fn not_found() -> Problem {
    Problem::new(Kind::NotFound).detail("There is no such path here; `/docs` lists those that there are.")
}

/// What is answered where the path has other methods.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(Kind::MethodNotAllowed).detail("The `Allow` header names the methods of this path.")
}

/// The user that a path is about, decoded once; `None` where it names none, or none that can be.
fn path_user(path: &str) -> Option<UserId> {
    let rest = path.strip_prefix("/v1/users/")?;
    let segment = rest.split('/').next()?;
    UserId::new(&percent_decode_str(segment).decode_utf8().ok()?).ok()
}

/// Refuses a request with more than one header of a name: proxies and servers would not agree on which one holds.
fn once(parts: &http::request::Parts, name: &HeaderName, refusal: &'static str) -> Result<(), Problem> {
    if parts.headers.get_all(name).iter().nth(1).is_some() {
        return Err(Problem::new(Kind::InvalidRequest).detail(refusal));
    }
    Ok(())
}

/// Lets a change through only when a page of this server asked for it: a browser sends a cookie, and reaches an open
/// server, for whichever page it shows. `must_say` wants the browser to say so; else it may say nothing, as no browser does.
fn of_our_pages(parts: &http::request::Parts, public_url: Option<&str>, must_say: bool) -> Result<(), Problem> {
    let said = |name: &str| parts.headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let ours = match (said("sec-fetch-site"), said("origin")) {
        (Some(site), _) => site == "same-origin",
        (None, Some(origin)) => {
            let host = origin.split_once("://").map(|(_, host)| host);
            let is_public = public_url
                .and_then(|url| url.strip_prefix(origin))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            is_public || (host.is_some() && host == said("host"))
        }
        (None, None) => !must_say,
    };
    if ours {
        Ok(())
    } else {
        Err(Problem::new(Kind::Forbidden).detail("Only a page of this server may ask for this."))
    }
}

/// Lets only requests through that were made for this machine by this machine: a web page could else have its own name
/// lead here, and use an open server.
fn at_home(parts: &http::request::Parts) -> Result<(), Problem> {
    let refused = |what| Err(Problem::new(Kind::Forbidden).detail(what));
    let host = parts.headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
    let authority = parts.uri.authority().map(http::uri::Authority::as_str);
    if host.is_none() && authority.is_none() {
        return refused("An open server needs a Host.");
    }
    if ![host, authority].into_iter().flatten().all(is_loopback) {
        return refused("An open server answers only to a Host that is this machine, like localhost.");
    }
    // A form of our own pages comes with the origin `null`, since they send no referrer; the browser then says whose it is.
    let is_own = parts.headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin");
    if let Some(origin) = parts.headers.get(ORIGIN).filter(|origin| !(is_own && *origin == "null")) {
        let origin = origin.to_str().unwrap_or_default();
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        if !host.is_some_and(is_loopback) {
            return refused("An open server answers only to pages of this machine.");
        }
    }
    Ok(())
}

/// Whether `host` or `host:port` names this machine.
pub(super) fn is_loopback(authority: &str) -> bool {
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((address, rest)) = rest.split_once(']') else { return false };
        let port_is_sound = rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port);
        return port_is_sound && address.parse::<std::net::Ipv6Addr>().is_ok_and(|address| address.is_loopback());
    }
    let host = match authority.split_once(':') {
        Some((host, port)) if is_port(port) => host,
        Some(_) => return false,
        None => authority,
    };
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<std::net::Ipv4Addr>().is_ok_and(|address| address.is_loopback())
}

/// Whether it says that the caller may not.
fn is_refusal(status: StatusCode) -> bool {
    matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS)
}

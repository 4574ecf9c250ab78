//! How commands reach the data: a server by its address, the server on the data folder by its socket, or the store itself,
//! in the folder or in a database.
//!
//! All three speak the same HTTP API, so a command is written once. On the store itself the router is asked in this
//! process, and nothing goes over a network.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use thiserror::Error;
use tower::ServiceExt as _;

use crate::clock::SystemClock;
use crate::config::Config;
use crate::http::telling::NOTIFY;
use crate::http::{Kind, Peer};
use crate::local::{Local, LocalError, Purpose};
use crate::tls;

/// The socket that a server keeps in its data folder.
pub const SOCKET_NAME: &str = "outlay.sock";

/// What a path segment may hold without being encoded.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Why no answer came.
#[derive(Debug, Error)]
pub enum ClientError {
    /// The server at the address cannot be reached.
    #[error("reach {url}: {why}")]
    Unreachable {
        /// The server's address.
        url: String,
        /// What went wrong.
        why: String,
    },
    /// The connection broke; what was asked may be done or not.
    #[error("get the whole answer: {0}")]
    Broken(String),
    /// The store cannot be opened here.
    #[error("open {place}: {source}")]
    Store {
        /// The data folder, or the database.
        place: String,
        /// Why.
        source: LocalError,
    },
    /// What was given cannot be sent, such as a key with a line break.
    #[error("make the request: {0}")]
    Unsendable(String),
}

/// A server's answer that is not a success, in its own words.
#[derive(Debug, Error)]
#[error("{}", self.text())]
pub struct Refusal {
    /// Its status.
    pub status: StatusCode,
    /// The body: usually a problem.
    pub body: Bytes,
}

/// The members of a problem that a person wants to read.
#[derive(Debug, Default, Deserialize)]
struct ProblemText {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    errors: Vec<FieldText>,
}

#[derive(Debug, Deserialize)]
struct FieldText {
    pointer: String,
    detail: String,
}

impl Refusal {
    /// Whether it is a problem of this kind.
    pub fn is_of(&self, kind: Kind) -> bool {
        let problem: Option<ProblemText> = serde_json::from_slice(&self.body).ok();
        problem.is_some_and(|problem| problem.kind.rsplit('/').next() == Some(kind.slug()))
    }

    fn text(&self) -> String {
        problem_text(&self.body).unwrap_or_else(|| format!("the server answered {}", self.status))
    }
}

/// A problem in words for a person; `None` when it is none.
pub fn problem_text(body: &[u8]) -> Option<String> {
    let problem: ProblemText = serde_json::from_slice(body).ok()?;
    let mut text = problem.title;
    if !problem.detail.is_empty() {
        text = if text.is_empty() { problem.detail } else { format!("{text}: {}", problem.detail) };
    }
    for FieldText { pointer, detail } in problem.errors {
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}: {detail}", pointer.trim_start_matches('/'));
    }
    (!text.is_empty()).then_some(text)
}

/// A segment of a path, encoded.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Answer {
    /// The body of a success.
    ///
    /// # Errors
    /// When it is none.
    pub fn success(self) -> Result<Bytes, Refusal> {
        if self.status.is_success() { Ok(self.body) } else { Err(Refusal { status: self.status, body: self.body }) }
    }
}

/// A way to the data.
#[derive(Debug)]
pub struct Client(Way);

#[derive(Debug)]
enum Way {
    Url { client: reqwest::Client, base: String, key: Option<SecretString> },
    Socket(PathBuf),
    Here(Box<Local>),
}

impl Client {
    /// The configured server, or the one on the data folder, or else the store itself: a folder is then locked, a database is
    /// worked on beside others.
    ///
    /// # Errors
    /// When the store must be opened here and cannot be.
    pub async fn open(config: &Config) -> Result<Self, ClientError> {
        Self::open_for(config, Purpose::Command).await
    }

    /// The same for a command that works with user tokens, and so may need the master key.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub async fn open_for(config: &Config, purpose: Purpose) -> Result<Self, ClientError> {
        if let Some(url) = &config.url {
            let client = https_client().map_err(|error| unreachable_server(url, &error))?;
            return Ok(Self(Way::Url { client, base: url.clone(), key: config.key.clone() }));
        }
        let socket = config.data.join(SOCKET_NAME);
        // A server that was killed leaves its socket behind; nobody answers there.
        if tokio::net::UnixStream::connect(&socket).await.is_ok() {
            return Ok(Self(Way::Socket(socket)));
        }
        let local = Local::open(config, SystemClock::shared(), purpose)
            .await
            .map_err(|source| ClientError::Store { place: place_of_store(config), source })?;
        Ok(Self(Way::Here(Box::new(local))))
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// When no whole answer came; then what was asked may be done or not.
    pub async fn request(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Answer, ClientError> {
        whole(self.stream(method, path, body).await?).await
    }

    /// The same, for what has happened elsewhere before: nobody is told of it.
    ///
    /// # Errors
    /// As [`Client::request`].
    pub async fn request_quietly(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
    ) -> Result<Answer, ClientError> {
        whole(self.send(method, path, body, true).await?).await
    }

    /// Asks for JSON, and gives the body of a success.
    ///
    /// # Errors
    /// When no whole answer came, or a refusal.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Bytes, AskError> {
        Ok(self.request(method, path, body).await?.success()?)
    }

    /// Asks, and gives the answer with a body that is still to be read.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub async fn stream(&self, method: Method, path: &str, body: Option<Bytes>) -> Result<Response, ClientError> {
        self.send(method, path, body, false).await
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        quietly: bool,
    ) -> Result<Response, ClientError> {
        match &self.0 {
            Way::Url { client, base, key } => {
                let mut request = client.request(method, format!("{base}{path}"));
                if quietly {
                    request = request.header(NOTIFY, "none");
                }
                ask_url(request, base, key.as_ref(), body).await
            }
            Way::Socket(socket) => ask_socket(socket, request(method, path, body, quietly)?).await,
            Way::Here(local) => {
                let mut request = request(method, path, body, quietly)?;
                request.extensions_mut().insert(Peer::Owner);
                // A router never fails: its error type has no value.
                let Ok(response) = crate::http::router(local.app.clone()).oneshot(request).await;
                Ok(response)
            }
        }
    }

    /// Closes the store, if it was opened here.
    ///
    /// # Errors
    /// When its last words could not be written.
    pub async fn close(self) -> Result<(), ClientError> {
        let Way::Here(local) = self.0 else { return Ok(()) };
        local.close().await.map_err(|error| ClientError::Broken(error.to_string()))
    }
}

/// Where the store of the settings is, as people are told.
pub fn place_of_store(config: &Config) -> String {
    config.store.as_ref().map_or_else(|| config.data.display().to_string(), ToString::to_string)
}

/// Reads the rest of an answer.
///
/// # Errors
/// When the connection breaks before its end.
pub async fn whole(response: Response) -> Result<Answer, ClientError> {
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| ClientError::Broken(error.to_string()))?;
    Ok(Answer { status, body: body.to_bytes() })
}

/// The next piece of a body; none at its end.
///
/// # Errors
/// When the connection breaks before the end.
pub async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, ClientError> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| ClientError::Broken(error.to_string()))?;
        if let Ok(data) = frame.into_data() {
            return Ok(Some(data));
        }
    }
    Ok(None)
}

/// Why a question has no good answer.
#[derive(Debug, Error)]
pub enum AskError {
    /// None came.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It is a refusal.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

fn request(method: Method, path: &str, body: Option<Bytes>, quietly: bool) -> Result<Request<Body>, ClientError> {
    let mut builder = Request::builder().method(method).uri(path).header(HOST, "localhost");
    if body.is_some() {
        builder = builder.header(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    if quietly {
        builder = builder.header(NOTIFY, "none");
    }
    builder.body(body.map_or_else(Body::empty, Body::from)).map_err(|error| ClientError::Unsendable(error.to_string()))
}

/// Speaks to servers whose certificates the machine believes.
///
/// # Errors
/// When it cannot be prepared, which is a bug.
pub fn https_client() -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder().tls_backend_preconfigured(tls::http_client(tls::roots())).build()
}

async fn ask_url(
    mut request: reqwest::RequestBuilder,
    base: &str,
    key: Option<&SecretString>,
    body: Option<Bytes>,
) -> Result<Response, ClientError> {
    if let Some(key) = key {
        let mut value = HeaderValue::from_str(&format!("Bearer {}", key.expose_secret()))
            .map_err(|_| ClientError::Unsendable("the key in OUTLAY_KEY cannot be sent in a header".to_owned()))?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    if let Some(body) = body {
        request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body);
    }
    let response = request.send().await.map_err(|error| unreachable_server(base, &error))?;
    let (parts, body) = http::Response::from(response).into_parts();
    Ok(Response::from_parts(parts, Body::new(body)))
}

/// The last cause says what happened, such as `connection refused`; the first ones only that a request failed.
fn unreachable_server(base: &str, error: &reqwest::Error) -> ClientError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    ClientError::Unreachable { url: base.to_owned(), why: cause.to_string() }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the connection's task ends with the answer, and its error is the answer's"
)]
async fn ask_socket(socket: &Path, request: Request<Body>) -> Result<Response, ClientError> {
    let unreachable = |why: String| ClientError::Unreachable { url: socket.display().to_string(), why };
    let stream = tokio::net::UnixStream::connect(socket).await.map_err(|error| unreachable(error.to_string()))?;
    let (mut sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(error.to_string()))?;
    tokio::spawn(connection);
    let response = sender.send_request(request).await.map_err(|error| ClientError::Broken(error.to_string()))?;
    Ok(response.map(Body::new))
}

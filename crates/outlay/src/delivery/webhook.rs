//! Webhooks: one POST to one endpoint, signed as Standard Webhooks say, and kept away from what only this machine reaches.
//!
//! It goes over a connection of its own, to an address that was judged as a number: what a name stands for is asked once.
//! Redirects and proxies are not followed, and of an answer nothing is kept but its status.

mod names;
mod signing;
mod target;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use outlay_core::month::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

pub use signing::{SecretError, SigningSecret};
pub use target::{Rules, Target, TargetError};

use super::{Failure, Tried};
use crate::config::receivers::WebhookAllow;
use crate::tls;
use names::{Resolve, System};
use target::Place;

/// Addresses that are tried, at most, of those that a name stands for.
const ADDRESSES_MAX: usize = 4;
/// Bytes of an answer's body that are read, at most.
const ANSWER_MAX: usize = 65_536;
/// Bytes of its head, at most.
const HEAD_MAX: usize = 16_384;
/// Header lines of it, at most.
const HEADERS_MAX: usize = 100;
/// The longest that a receiver may ask to be left alone: as long as the longest pause between two tries.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);

/// How long is waited.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// For a connection to one address.
    connect: Duration,
    /// For all of it.
    total: Duration,
    /// For the rest of an answer that says that all is well.
    rest: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(15), rest: Duration::from_secs(1) }
    }
}

/// Sends webhooks; cheap to share.
#[derive(Debug)]
pub struct Sender {
    rules: Rules,
    resolver: Box<dyn Resolve>,
    tls: Arc<ClientConfig>,
    times: Times,
}

impl Sender {
    /// Sends to what is public, and to these exceptions.
    pub fn new(allow: &WebhookAllow) -> Self {
        Self {
            rules: Rules::new(allow.clone()),
            resolver: Box::new(System::default()),
            tls: Arc::new(tls::http_client(tls::roots())),
            times: Times::default(),
        }
    }

    /// What endpoints may be.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Tries once: `body` is JSON, `id` the same on every try of the message, and `at` now. Every secret signs, so that a
    /// receiver that knows any of them believes it.
    pub async fn send(&self, url: &str, secrets: &[SigningSecret], id: &str, at: Timestamp, body: Bytes) -> Tried {
        let trying = self.try_once(url, secrets, id, at, body);
        let tried = timeout(self.times.total, Box::pin(trying)).await;
        let tried = tried.unwrap_or_else(|_| Err(self.too_slow()));
        match tried {
            Ok(status) => Tried::Delivered { status: Some(status.as_u16()) },
            Err(failure) => Tried::Failed(failure),
        }
    }

    /// Connects as far as a message would be sent, and sends none.
    ///
    /// # Errors
    /// As a try would fail.
    pub async fn reach(&self, url: &str) -> Result<(), Failure> {
        let reaching = async {
            let target = self.target(url)?;
            let stream = self.connect(&target).await?;
            if target.is_https {
                self.secured(&target, stream).await?;
            }
            Ok(())
        };
        timeout(self.times.total, Box::pin(reaching)).await.unwrap_or_else(|_| Err(self.too_slow()))
    }

    fn too_slow(&self) -> Failure {
        Failure::passing(format!("did not answer within {} s", self.times.total.as_secs()))
    }

    /// Only a change of the address or of the settings helps where this fails.
    fn target(&self, url: &str) -> Result<Target, Failure> {
        self.rules.check(url).map_err(|error| Failure::lasting(format!("the address {error}")))
    }

    async fn secured(&self, target: &Target, stream: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
        let name = ServerName::try_from(target.host())
            .map_err(|_| Failure::lasting(format!("`{}` cannot be in a certificate", target.host())))?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await;
        stream.map_err(|error| Failure::passing(format!("no safe connection: {error}")))
    }

    async fn try_once(
        &self,
        url: &str,
        secrets: &[SigningSecret],
        id: &str,
        at: Timestamp,
        body: Bytes,
    ) -> Result<StatusCode, Failure> {
        let target = self.target(url)?;
        let request = request(&target, secrets, id, at, body)?;
        let stream = self.connect(&target).await?;
        if target.is_https {
            let stream = self.secured(&target, stream).await?;
            return self.exchange(stream, request, at).await;
        }
        self.exchange(stream, request, at).await
    }

    /// Connects to the first of the permitted addresses that answers.
    async fn connect(&self, target: &Target) -> Result<TcpStream, Failure> {
        let found = match &target.place {
            Place::Address(address) => vec![*address],
            Place::Name(name) => self.resolver.resolve(name).await.map_err(|error| {
                tracing::debug!("failed to look up the name of a webhook's endpoint: {error}");
                Failure::passing("the name of its host cannot be looked up")
            })?,
        };
        let mut why = None;
        let permitted = found.into_iter().filter(|address| {
            let permitted = self.rules.permit(target, *address);
            why = why.or(permitted.err());
            permitted.is_ok()
        });
        let permitted: Vec<IpAddr> = permitted.take(ADDRESSES_MAX).collect();
        let mut last = why.map_or_else(
            || Failure::passing("the name of its host stands for no address"),
            // The name may stand for another address tomorrow.
            |why| Failure::passing(format!("the address {why}")),
        );
        for address in permitted {
            let connecting = TcpStream::connect(SocketAddr::new(address, target.port));
            match timeout(self.times.connect, connecting).await {
                Ok(Ok(stream)) => {
                    // One small request: nothing to wait for. A connection is none the worse without it.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = Failure::passing(format!("no connection: {}", kind(&error))),
                Err(_) => {
                    last = Failure::passing(format!("no connection within {} s", self.times.connect.as_secs()));
                }
            }
        }
        Err(last)
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
        now: Timestamp,
    ) -> Result<StatusCode, Failure> {
        let broken = |error: hyper::Error| {
            tracing::debug!("a webhook's connection broke: {error}");
            Failure::passing(if error.is_parse() || error.is_parse_too_large() {
                "did not answer in HTTP"
            } else {
                "the connection broke before the answer"
            })
        };
        let mut client = http1::Builder::new();
        client.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX);
        let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let driven = async {
            // What went wrong with the connection is also told to whoever waits for the answer.
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        let answered = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            let status = answer.status();
            if status.is_success() {
                // It said that all is well: what comes after changes nothing, and is read only so that a receiver that is
                // still writing sees no broken connection.
                let _ = timeout(self.times.rest, drain(answer)).await;
                return Ok(status);
            }
            Err(refused(status, answer.headers(), now))
        };
        tokio::select! {
            answered = answered => answered,
            () = driven => Err(Failure::passing("the connection broke before the answer")),
        }
    }
}

fn request(
    target: &Target,
    secrets: &[SigningSecret],
    id: &str,
    at: Timestamp,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, Failure> {
    let signature = signing::signatures(secrets, id, at.seconds(), &body)
        .ok_or_else(|| Failure::lasting("the message cannot be signed: no secret, or no sound id"))?;
    Request::post(target.path_and_query())
        .header(HOST, target.host_header())
        .header(USER_AGENT, concat!("Outlay/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header("webhook-id", id)
        .header("webhook-timestamp", at.seconds())
        .header("webhook-signature", signature)
        .body(Full::new(body))
        .map_err(|error| Failure::lasting(format!("the request cannot be made: {error}")))
}

fn refused(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Failure {
    let reason = if status.is_redirection() {
        format!("answered {}: a redirect, which is not followed", status.as_u16())
    } else {
        format!("answered {}", status.as_u16())
    };
    Failure {
        status: Some(status.as_u16()),
        reason,
        retry_after: retry_after(headers, now),
        gone: status == StatusCode::GONE,
        kept: false,
    }
}

/// How long the receiver asks to be left alone, by seconds or by a date.
fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let seconds = if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        text.parse().unwrap_or(u64::MAX)
    } else {
        let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        u64::try_from(i128::from(date.as_secs()) - i128::from(now.seconds())).unwrap_or(0)
    };
    Some(Duration::from_secs(seconds).min(RETRY_AFTER_MAX))
}

async fn drain(answer: Response<Incoming>) {
    let mut body = answer.into_body();
    let mut read = 0;
    while let Some(Ok(frame)) = body.frame().await {
        read += frame.data_ref().map_or(0, Bytes::len);
        if read > ANSWER_MAX {
            return;
        }
    }
}

fn kind(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "it was refused",
        io::ErrorKind::TimedOut => "nobody answered",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "there is no way there",
        _ => "it failed",
    }
}

#[cfg(test)]
mod tests;

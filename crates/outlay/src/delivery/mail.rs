//! Mail: one letter to one address, handed to the configured server over a connection of its own.
//!
//! Whoever hands it over learns what the server said, not whether anybody read it. A connection that breaks after the letter
//! went out leaves that unknown, and the next try brings the same `Message-ID`.

use std::error::Error;
use std::io;
use std::time::Duration;

use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::response::Code;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use secrecy::ExposeSecret as _;
use thiserror::Error;
use tokio::time::timeout;
use tokio_rustls::rustls;

use super::letter::Letter;
use super::{Failure, Tried};
use crate::config::receivers::{MailSettings, SmtpSecurity, SmtpServer};
use crate::tls;

/// How long is waited for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// How long is waited for all of it. Servers look at a letter before they say that they take it.
const TOTAL: Duration = Duration::from_mins(1);
/// Characters of a server's reply that are kept.
const REPLY_MAX: usize = 160;
/// Longest id of a letter.
const ID_MAX: usize = 200;
/// Permanent refusals that mean this server and not the letter: they pass when the operator mends the settings.
const NOT_AUTHENTICATED: [u16; 4] = [530, 534, 535, 538];

/// Why mail cannot be sent with these settings.
#[derive(Debug, Error)]
#[error("prepare safe connections to the mail server {host}: {why}")]
pub struct MailError {
    host: String,
    why: String,
}

/// Sends mail; cheap to share.
#[derive(Debug)]
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    total: Duration,
}

impl Mailer {
    /// Sends by the configured server.
    ///
    /// # Errors
    /// When the server's name cannot stand in a certificate.
    pub fn new(settings: &MailSettings) -> Result<Self, MailError> {
        let server = &settings.server;
        let security = security(server).map_err(|why| MailError { host: server.host.clone(), why })?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host.as_str())
            .port(server.port)
            .timeout(Some(CONNECT))
            .tls(security);
        if let Some((user, password)) = &server.credentials {
            builder = builder.credentials(Credentials::new(user.clone(), password.expose_secret().to_owned()));
        }
        Ok(Self { transport: builder.build(), from: settings.from.clone(), total: TOTAL })
    }

    /// Tries once.
    pub async fn send(&self, letter: &Letter) -> Tried {
        let message = match self.message(letter) {
            Ok(message) => message,
            Err(failure) => return Tried::Failed(failure),
        };
        match timeout(self.total, Box::pin(self.transport.send(message))).await {
            Ok(Ok(reply)) => Tried::Delivered { status: Some(reply.code().into()) },
            Ok(Err(error)) => Tried::Failed(failure(&error)),
            Err(_) => Tried::Failed(self.too_slow()),
        }
    }

    /// Speaks to the server as far as it takes a letter, and sends none.
    ///
    /// # Errors
    /// As a try would fail.
    pub async fn check(&self) -> Result<(), Failure> {
        match timeout(self.total, Box::pin(self.transport.test_connection())).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(Failure::passing("the server broke the connection")),
            Ok(Err(error)) => Err(failure(&error)),
            Err(_) => Err(self.too_slow()),
        }
    }

    fn too_slow(&self) -> Failure {
        Failure::passing(format!("the mail server was not done within {} s", self.total.as_secs()))
    }

    fn message(&self, letter: &Letter) -> Result<Message, Failure> {
        // The text itself is a person's, and lists of tries are no place for it.
        let to: Address = letter.to.parse().map_err(|_| Failure::lasting("the address is no mail address"))?;
        let is_sound = !letter.id.is_empty()
            && letter.id.len() <= ID_MAX
            && letter.id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'));
        if !is_sound {
            return Err(Failure::lasting("the letter's id cannot stand in a header"));
        }
        // No header may begin where a name brought a line break along.
        let subject: String = letter.subject.chars().map(|char| if char.is_control() { ' ' } else { char }).collect();
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(subject)
            .message_id(Some(format!("<{}@{}>", letter.id, self.from.email.domain())))
            // So that answering machines stay silent.
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .multipart(MultiPart::alternative_plain_html(letter.text.clone(), letter.html.clone()))
            .map_err(|error| Failure::lasting(format!("the letter cannot be written: {error}")))
    }
}

fn security(server: &SmtpServer) -> Result<Tls, String> {
    if server.security == SmtpSecurity::Plain {
        return Ok(Tls::None);
    }
    let mut builder = TlsParameters::builder(server.host.clone()).certificate_store(CertificateStore::None);
    for certificate in tls::root_certificates() {
        let certificate = Certificate::from_der(certificate.to_vec()).map_err(|error| error.to_string())?;
        builder = builder.add_root_certificate(certificate);
    }
    let parameters = builder.build_rustls().map_err(|error| error.to_string())?;
    Ok(match server.security {
        SmtpSecurity::Tls => Tls::Wrapper(parameters),
        SmtpSecurity::StartTls | SmtpSecurity::Plain => Tls::Required(parameters),
    })
}

fn failure(error: &lettre::transport::smtp::Error) -> Failure {
    if let Some(code) = error.status() {
        return refused(code, error.source().map(ToString::to_string).unwrap_or_default().as_str());
    }
    let innermost = innermost(error);
    let reason = if let Some(refused) = innermost.downcast_ref::<rustls::Error>() {
        format!("no safe connection to the mail server: {refused}")
    } else if error.is_timeout() {
        "the mail server does not answer".to_owned()
    } else if error.is_response() {
        "the mail server broke off, or does not speak SMTP".to_owned()
    } else if error.is_client() {
        // Such as a server that offers no STARTTLS, or no way to authenticate.
        format!("the mail server does not do what is needed: {}", in_words(innermost))
    } else {
        format!("no connection to the mail server: {}", in_words(innermost))
    };
    Failure::passing(reason)
}

fn refused(code: Code, reply: &str) -> Failure {
    let status = u16::from(code);
    Failure {
        status: Some(status),
        reason: format!("answered {status}: {}", without_addresses(reply)),
        kept: status >= 500 && !NOT_AUTHENTICATED.contains(&status),
        ..Failure::default()
    }
}

/// A reply for a list of tries: one line, and without the address that many servers repeat.
fn without_addresses(reply: &str) -> String {
    let words = reply.split(|char: char| char.is_whitespace() || char.is_control()).filter(|word| !word.is_empty());
    let words = words.map(|word| if word.contains('@') { "(address)" } else { word });
    words.collect::<Vec<_>>().join(" ").chars().take(REPLY_MAX).collect()
}

/// What is at the bottom of an error.
fn innermost<'a>(error: &'a (dyn Error + 'static)) -> &'a (dyn Error + 'static) {
    let inside = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let inside = inside.map(|inside| -> &(dyn Error + 'static) { inside });
    inside.or_else(|| error.source()).map_or(error, innermost)
}

/// An error in the words of whoever found it; of the system's errors their kind.
fn in_words(error: &(dyn Error + 'static)) -> String {
    match error.downcast_ref::<io::Error>() {
        Some(error) => error.kind().to_string(),
        None => without_addresses(&error.to_string()),
    }
}

#[cfg(test)]
mod tests;

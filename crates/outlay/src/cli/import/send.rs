//! Sends what rows ask for: operations in batches, everything else one by one and in its place between them.
//!
//! Every row carries its own id, so what had no answer is simply sent again.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::Failure;
use super::super::ask::read;
use super::rows::Step;
use crate::client::{Answer, Client, ClientError, problem_text, segment};

/// Operations in one request, at most.
const BATCH_OPERATIONS_MAX: usize = 1_000;
/// Bytes in one request, about; the server takes 16 MiB.
const BATCH_BYTES_MAX: usize = 8 << 20;
/// How often something that had no answer, or was turned away for now, is tried.
const TRIES_MAX: u32 = 8;
/// How often the rows of one batch that were turned away for now are sent again.
const ROUNDS_MAX: u32 = 50;
/// How long the second try waits; each later one twice as long.
const WAIT: Duration = Duration::from_millis(100);

/// What became of a row.
#[derive(Debug)]
pub(super) struct Done {
    pub(super) line: u64,
    pub(super) original: Vec<u8>,
    /// Or why it was refused.
    pub(super) result: Result<What, String>,
}

/// What a row did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum What {
    /// An operation or a reversal is recorded.
    Recorded,
    /// It was recorded before.
    Duplicate,
    /// A user is set.
    User,
    /// A session is finished.
    Session,
    /// A session that is not there, since it never had a step.
    Nothing,
}

/// An operation that waits for its batch.
#[derive(Debug)]
struct Waiting {
    line: u64,
    original: Vec<u8>,
    body: Vec<u8>,
}

/// Collects and sends.
#[derive(Debug)]
pub(super) struct Sender<'a> {
    client: &'a Client,
    waiting: Vec<Waiting>,
    bytes: usize,
}

/// The answer to a batch.
#[derive(Debug, Deserialize)]
struct Results<'a> {
    #[serde(borrow)]
    results: Vec<&'a RawValue>,
}

/// The answer to one of a batch.
#[derive(Debug, Deserialize)]
struct OneResult {
    status: u16,
    #[serde(default)]
    duplicate: bool,
}

#[derive(Debug, Deserialize)]
struct Reversed {
    duplicate: bool,
}

impl<'a> Sender<'a> {
    pub(super) fn new(client: &'a Client) -> Self {
        Self { client, waiting: Vec::new(), bytes: 0 }
    }

    /// Takes an operation; gives what became of a batch if this filled it.
    pub(super) async fn operation(
        &mut self,
        line: u64,
        original: Vec<u8>,
        body: Vec<u8>,
    ) -> Result<Vec<Done>, Failure> {
        self.bytes += body.len() + 1;
        self.waiting.push(Waiting { line, original, body });
        if self.waiting.len() >= BATCH_OPERATIONS_MAX || self.bytes >= BATCH_BYTES_MAX {
            return self.flush().await;
        }
        Ok(Vec::new())
    }

    /// Sends what waits, then does this one thing.
    pub(super) async fn single(&mut self, line: u64, original: Vec<u8>, step: Step) -> Result<Vec<Done>, Failure> {
        let mut done = self.flush().await?;
        let (method, path, body, what) = match step {
            Step::Reverse { user, original, body } => {
                let path = format!("/v1/users/{}/usage/{}/reverse", segment(&user), segment(&original));
                (Method::POST, path, body, What::Recorded)
            }
            Step::User { user, body } => (Method::PUT, format!("/v1/users/{}", segment(&user)), body, What::User),
            Step::Finish { user, session, body } => {
                let path = format!("/v1/users/{}/sessions/{}/finish", segment(&user), segment(&session));
                (Method::POST, path, body, What::Session)
            }
            Step::Operation { .. } | Step::Open(_) | Step::Skip(_) => return Ok(done),
        };
        let answer = self.ask(method, &path, Some(Bytes::from(body)), line).await?;
        let result = match answer.status {
            StatusCode::OK if what == What::Recorded => {
                let reversed: Reversed = read(&answer.body)?;
                Ok(if reversed.duplicate { What::Duplicate } else { What::Recorded })
            }
            status if status.is_success() => Ok(what),
            // A session that never had a step is not there: it left nothing but its name.
            StatusCode::NOT_FOUND if what == What::Session => Ok(What::Nothing),
            status => Err(refusal(&answer.body, status)),
        };
        done.push(Done { line, original, result });
        Ok(done)
    }

    /// Sends what waits.
    pub(super) async fn flush(&mut self) -> Result<Vec<Done>, Failure> {
        self.bytes = 0;
        let mut done = Vec::with_capacity(self.waiting.len());
        // Parts of the batch that are still to be sent, the first one last.
        let mut parts = vec![std::mem::take(&mut self.waiting)];
        let mut rounds = 0;
        while let Some(mut part) = parts.pop() {
            let Some(first) = part.first() else { continue };
            let answer = self.ask(Method::POST, "/v1/usage", Some(array(&part)), first.line).await?;
            if answer.status.is_success() {
                let again = take_results(part, &answer.body, &mut done)?;
                if let Some(first) = again.first() {
                    rounds += 1;
                    if rounds > ROUNDS_MAX {
                        return Err(stopped(first.line, "the server records nothing now"));
                    }
                    tokio::time::sleep(WAIT).await;
                    parts.push(again);
                }
            } else if part.len() > 1 {
                // One row spoils the whole request, such as one that is nested too deep: halves find it.
                let later = part.split_off(part.len() / 2);
                parts.push(later);
                parts.push(part);
            } else {
                let reason = refusal(&answer.body, answer.status);
                done.extend(part.into_iter().map(|row| row.done(Err(reason.clone()))));
            }
        }
        Ok(done)
    }

    /// Asks until there is an answer that is one.
    pub(super) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        line: u64,
    ) -> Result<Answer, Failure> {
        let mut wait = WAIT;
        for _ in 1..TRIES_MAX {
            match self.client.request_quietly(method.clone(), path, body.clone()).await {
                Ok(answer) if !may_pass(answer.status) => return lets_in(answer),
                Ok(_) | Err(ClientError::Broken(_)) => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(wait).await;
            wait *= 2;
        }
        let answer = self.client.request_quietly(method, path, body).await?;
        if may_pass(answer.status) {
            return Err(stopped(line, &refusal(&answer.body, answer.status)));
        }
        lets_in(answer)
    }
}

/// The end of an import that cannot go on.
fn stopped(line: u64, why: &str) -> Failure {
    Failure::Other(format!("stopped near line {line}: {why}\nrun the import again: what is recorded already stays"))
}

/// A key that may not do this is no fault of the row.
fn lets_in(answer: Answer) -> Result<Answer, Failure> {
    if matches!(answer.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
        return Err(Failure::Other(refusal(&answer.body, answer.status)));
    }
    Ok(answer)
}

/// Whether the same request may succeed later.
fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
}

fn array(rows: &[Waiting]) -> Bytes {
    let bodies: Vec<&[u8]> = rows.iter().map(|row| row.body.as_slice()).collect();
    Bytes::from([b"[", bodies.join(&b","[..]).as_slice(), b"]"].concat())
}

/// Pairs the rows of a batch with their results; gives those that may succeed later.
fn take_results(rows: Vec<Waiting>, body: &[u8], done: &mut Vec<Done>) -> Result<Vec<Waiting>, Failure> {
    let Results { results } = read(body)?;
    if results.len() != rows.len() {
        return Err(Failure::Other(format!("{} results came for {} rows", results.len(), rows.len())));
    }
    let mut again = Vec::new();
    for (row, result) in rows.into_iter().zip(results) {
        let one: OneResult = read(result.get().as_bytes())?;
        match StatusCode::from_u16(one.status) {
            Ok(status) if status.is_success() => {
                done.push(row.done(Ok(if one.duplicate { What::Duplicate } else { What::Recorded })));
            }
            Ok(status) if may_pass(status) && status != StatusCode::INTERNAL_SERVER_ERROR => again.push(row),
            Ok(status) => done.push(row.done(Err(refusal(result.get().as_bytes(), status)))),
            Err(_) => return Err(Failure::Other("a result came without a status".to_owned())),
        }
    }
    Ok(again)
}

/// Why the server refused.
pub(super) fn refusal(body: &[u8], status: StatusCode) -> String {
    problem_text(body).unwrap_or_else(|| format!("the server answered {status}"))
}

impl Waiting {
    fn done(self, result: Result<What, String>) -> Done {
        Done { line: self.line, original: self.original, result }
    }
}

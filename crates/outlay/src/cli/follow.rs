//! Following the server's events for as long as somebody reads: over cuts, restarts and silence.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{BoxStream, try_unfold};
use http::{Method, StatusCode};
use sse_stream::SseByteStream;

use super::Failure;
use crate::client::{Client, ClientError, next_piece, whole};

/// The server sends a comment every 15 seconds: who says nothing for three times as long is gone.
const SILENCE_MAX: Duration = Duration::from_secs(45);

/// What there is to show.
#[derive(Debug)]
pub(super) enum Heard {
    /// An event, by its name.
    Event { name: String, data: String },
    /// The stream broke: what is shown is old until the next event. Told once.
    Lost,
}

/// A stream of events, opened again whenever it breaks.
pub(super) struct Following<'a> {
    client: &'a Client,
    path: String,
    events: Option<SseByteStream<BoxStream<'static, Result<Bytes, ClientError>>>>,
    pauses: ExponentialBackoff,
    /// Whether there was ever an event: before, a server that cannot be reached is a mistake rather than an interruption.
    begun: bool,
}

impl<'a> Following<'a> {
    pub(super) fn new(client: &'a Client, path: String) -> Self {
        Self { client, path, events: None, pauses: pauses(), begun: false }
    }

    /// The next that there is to show.
    ///
    /// # Errors
    /// When the server refuses for good, or was never reached.
    pub(super) async fn next(&mut self) -> Result<Heard, Failure> {
        loop {
            let Some(events) = &mut self.events else {
                self.open().await?;
                continue;
            };
            let Some(Ok(event)) = events.next().await else {
                self.events = None;
                return Ok(Heard::Lost);
            };
            if let (Some(name), Some(data)) = (event.event, event.data) {
                self.begun = true;
                self.pauses = pauses();
                return Ok(Heard::Event { name, data });
            }
        }
    }

    /// Opens the stream, or waits before the next try.
    async fn open(&mut self) -> Result<(), Failure> {
        match self.client.stream(Method::GET, &self.path, None).await {
            Ok(response) if response.status().is_success() => {
                let pieces = try_unfold(response.into_body(), async |mut body| {
                    let silent = |_| ClientError::Broken(format!("nothing came for {} s", SILENCE_MAX.as_secs()));
                    let piece = tokio::time::timeout(SILENCE_MAX, next_piece(&mut body)).await.map_err(silent)??;
                    Ok(piece.map(|piece| (piece, body)))
                });
                self.events = Some(SseByteStream::new(pieces.boxed()));
                return Ok(());
            }
            Ok(response) if is_final(response.status()) => {
                whole(response).await?.success()?;
            }
            Err(error) if !self.begun => return Err(error.into()),
            Ok(_) | Err(_) => {}
        }
        tokio::time::sleep(self.pauses.next().unwrap_or(PAUSE_MAX)).await;
        Ok(())
    }
}

const PAUSE_MAX: Duration = Duration::from_secs(30);

/// A second at first, then twice as long each time, each a little longer or shorter than those of others.
fn pauses() -> ExponentialBackoff {
    let pauses = ExponentialBuilder::default().with_min_delay(Duration::from_secs(1)).with_max_delay(PAUSE_MAX);
    pauses.with_jitter().without_max_times().build()
}

/// Whether asking again would give the same answer.
fn is_final(status: StatusCode) -> bool {
    status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS
}

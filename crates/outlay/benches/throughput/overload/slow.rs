//! Sockets that send a byte a second: the one half of a head, the other of a body.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const HEAD: &str =
    "POST /v1/usage HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n";
const BYTE_EVERY: Duration = Duration::from_secs(1);
/// Whoever is still connected after this was not hung up on in time: a head has 10 s, a body 30 s.
const PATIENCE: Duration = Duration::from_mins(1);

/// What became of them.
pub(super) struct Closed {
    /// From the connection to its end, those of heads and those of bodies; the longest.
    pub(super) longest: [Duration; 2],
    pub(super) left_open: usize,
    /// Connections that were open at once, at most.
    pub(super) most: usize,
    pub(super) not_connected: usize,
}

/// Opens so many within this time, and waits until each is closed.
pub(super) fn run(address: SocketAddr, count: usize, within: Duration) -> Closed {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (open, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    runtime.block_on(async {
        let mut sockets = JoinSet::new();
        let began = Instant::now();
        for index in 0..count {
            let (open, most) = (Arc::clone(&open), Arc::clone(&most));
            let at = began + within.mul_f64(to_f64(index) / to_f64(count));
            sockets.spawn(async move {
                tokio::time::sleep_until(at.into()).await;
                let stream = TcpStream::connect(address).await.ok()?;
                most.fetch_max(open.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                let of_body = index % 2;
                let lasted = drip(stream, of_body == 1).await;
                open.fetch_sub(1, Ordering::Relaxed);
                Some((of_body, lasted))
            });
        }
        let mut closed = Closed { longest: [Duration::ZERO; 2], left_open: 0, most: 0, not_connected: 0 };
        while let Some(ended) = sockets.join_next().await {
            match ended.unwrap() {
                Some((kind, Some(lasted))) => closed.longest[kind] = closed.longest[kind].max(lasted),
                Some((_, None)) => closed.left_open += 1,
                None => closed.not_connected += 1,
            }
        }
        closed.most = most.load(Ordering::Relaxed);
        closed
    })
}

#[expect(clippy::cast_precision_loss, reason = "a number of sockets")]
fn to_f64(count: usize) -> f64 {
    count as f64
}

/// Sends bytes until the server hangs up; gives when, if it does.
async fn drip(mut stream: TcpStream, of_body: bool) -> Option<Duration> {
    let began = Instant::now();
    let (mut from, mut to) = stream.split();
    if of_body {
        // Whoever is hung up on already is found out by reading.
        let _ = to.write_all(HEAD.as_bytes()).await;
    }
    let closed = async {
        let mut buffer = [0; 1024];
        while from.read(&mut buffer).await.is_ok_and(|count| count > 0) {}
    };
    let bytes = async {
        for byte in HEAD.bytes().filter(|byte| !byte.is_ascii_whitespace()).cycle() {
            tokio::time::sleep(BYTE_EVERY).await;
            if to.write_all(&[byte]).await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    };
    tokio::select! {
        () = closed => Some(began.elapsed()),
        () = bytes => None,
        () = tokio::time::sleep(PATIENCE) => None,
    }
}

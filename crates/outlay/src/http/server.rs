//! The accept loops: connections in, requests to a router, and a clean end.
//!
//! Every phase of a connection has its time, so that nobody who is slow keeps anything for long: the first byte, the head
//! of a request, the pause between two, the peer that does not read. A body and a whole request have theirs in the guard.
//! The ready-made server of the web framework sets no timer, so none of these limits would hold in it.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use super::Peer;

/// Connections at one door, at most; more wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4_096;
/// Connections from one address, at most; from this machine and private networks as many as there are, since a proxy in
/// front is one address.
const CONNECTIONS_PER_ADDRESS_MAX: u32 = 256;
/// Connections at the owner's socket, at most.
const OWNER_CONNECTIONS_MAX: usize = 64;
/// From the connection to its first byte.
const FIRST_BYTE_WAIT: Duration = Duration::from_secs(5);
/// From the first byte to the end of the first head.
const FIRST_HEAD_WAIT: Duration = Duration::from_secs(10);
/// From the end of an answer to the end of the next head.
const IDLE_WAIT: Duration = Duration::from_mins(1);
/// How long what was sent may stay unread by the peer.
#[cfg(target_os = "linux")]
const UNREAD_WAIT_MILLIS: u32 = 60_000;
/// Bytes of a request's head, at most.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of a request, at most.
const HEADERS_MAX: usize = 64;
/// Requests at once on one HTTP/2 connection, at most.
const STREAMS_MAX: u32 = 128;
/// Streams that a peer opened and gave up at once, at most, before it is hung up on.
const RESETS_MAX: usize = 20;
/// How long what runs may take to finish, once the server was asked to stop.
const STOP_WAIT: Duration = Duration::from_secs(10);

/// Serves a router until `stop` says so, and then until what runs is finished, for ten seconds at most.
pub async fn serve(listener: TcpListener, router: Router, mut stop: watch::Receiver<bool>) {
    raise_file_limit();
    let per_address = PerAddress::default();
    let mut door = Door::new(CONNECTIONS_MAX, router, stop.clone());
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = door.accept(listener.accept()) => accepted,
        };
        match accepted {
            Ok(((stream, address), permit)) => {
                let Some(counted) = per_address.count(address.ip()) else {
                    tracing::debug!("too many connections from one address: one is hung up on");
                    continue;
                };
                prepare(&stream);
                door.connection(stream, Peer::Address(address), (permit, counted));
            }
            Err(error) => pause(&error).await,
        }
    }
    drop(listener);
    door.close().await;
}

/// The same for the socket in the data folder: whoever may open it is the owner.
pub async fn serve_owner(listener: UnixListener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut door = Door::new(OWNER_CONNECTIONS_MAX, router, stop.clone());
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = door.accept(listener.accept()) => accepted,
        };
        match accepted {
            Ok(((stream, _), permit)) => door.connection(stream, Peer::Owner, permit),
            Err(error) => pause(&error).await,
        }
    }
    drop(listener);
    door.close().await;
}

/// One accept loop's connections.
struct Door {
    room: Arc<Semaphore>,
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    stop: watch::Receiver<bool>,
    connections: JoinSet<()>,
}

impl Door {
    fn new(connections_max: usize, router: Router, stop: watch::Receiver<bool>) -> Self {
        let room = Arc::new(Semaphore::new(connections_max));
        Self { room, builder: Arc::new(builder()), router, stop, connections: JoinSet::new() }
    }

    /// Waits for room, then for a connection.
    async fn accept<T>(
        &mut self,
        accept: impl Future<Output = io::Result<T>>,
    ) -> io::Result<(T, tokio::sync::OwnedSemaphorePermit)> {
        while self.connections.try_join_next().is_some() {}
        let permit = Arc::clone(&self.room).acquire_owned().await.map_err(io::Error::other)?;
        Ok((accept.await?, permit))
    }

    /// Runs a connection on a task of its own; `held` is dropped at its end.
    fn connection<S, H>(&mut self, stream: S, peer: Peer, held: H)
    where
        S: AsyncRead + AsyncWrite + FirstByte + Unpin + Send + 'static,
        H: Send + 'static,
    {
        let (builder, router, stop) = (Arc::clone(&self.builder), self.router.clone(), self.stop.clone());
        self.connections.spawn(async move {
            run(&builder, stream, router, peer, stop).await;
            drop(held);
        });
    }

    /// Waits for what runs, and cuts what takes too long.
    async fn close(mut self) {
        let finished = async { while self.connections.join_next().await.is_some() {} };
        if timeout(STOP_WAIT, finished).await.is_err() {
            tracing::warn!("{} connections did not end in time and are cut", self.connections.len());
        }
    }
}

fn builder() -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(IDLE_WAIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(20))
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(RESETS_MAX)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX));
    builder
}

/// One connection, from its first byte to its end.
async fn run<S>(
    builder: &Builder<TokioExecutor>,
    stream: S,
    router: Router,
    peer: Peer,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + FirstByte + Unpin + 'static,
{
    let first_byte = timeout(FIRST_BYTE_WAIT, stream.first_byte());
    let came = tokio::select! {
        came = first_byte => matches!(came, Ok(Ok(()))),
        () = stopped(&mut stop) => false,
    };
    if !came {
        return;
    }
    let activity = Arc::new(Activity::default());
    let service = Connection { router, peer, activity: Arc::clone(&activity) };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stopping = false;
    let mut look_at = Instant::now() + FIRST_HEAD_WAIT;
    let mut look = pin!(sleep_until(look_at));
    loop {
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("a connection broke: {error}");
                }
                return;
            }
            () = stopped(&mut stop), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = look.as_mut() => {
                look_at = match activity.idle_until(look_at) {
                    Some(until) => until,
                    None => return,
                };
                look.as_mut().reset(look_at);
            }
        }
    }
}

/// What a connection does, for the one timer that looks after it.
#[derive(Debug, Default)]
struct Activity(Mutex<Doing>);

#[derive(Debug, Default)]
struct Doing {
    /// Requests whose answer has not wholly gone out.
    running: usize,
    /// When the last one ended; none before the first began.
    ended: Option<Instant>,
}

impl Activity {
    /// When to look again at a connection; `None` when its time is over.
    fn idle_until(&self, now: Instant) -> Option<Instant> {
        let doing = self.0.lock();
        if doing.running > 0 {
            return Some(now + IDLE_WAIT);
        }
        doing.ended.map(|ended| ended + IDLE_WAIT).filter(|until| *until > now)
    }
}

/// A request that runs, until its answer has gone out or was given up.
struct Running(Arc<Activity>);

impl Running {
    fn new(activity: &Arc<Activity>) -> Self {
        activity.0.lock().running += 1;
        Self(Arc::clone(activity))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut doing = self.0.0.lock();
        doing.running = doing.running.saturating_sub(1);
        doing.ended = Some(Instant::now());
    }
}

/// The router as one connection sees it.
struct Connection {
    router: Router,
    peer: Peer,
    activity: Arc<Activity>,
}

impl hyper::service::Service<Request<Incoming>> for Connection {
    type Response = Response<Answer>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let running = Running::new(&self.activity);
        request.extensions_mut().insert(self.peer);
        // A router is always ready.
        let answer = tower::Service::call(&mut self.router.clone(), request);
        Box::pin(async move { answer.await.map(|response| response.map(|body| Answer { body, _running: running })) })
    }
}

/// The body of an answer that still goes out.
struct Answer {
    body: axum::body::Body,
    _running: Running,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Poll::Ready(ready!(Pin::new(&mut self.body).poll_frame(context)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that can say when something came, without taking it.
trait FirstByte {
    /// Until there is something to read, or the end.
    fn first_byte(&self) -> impl Future<Output = io::Result<()>> + Send;
}

impl FirstByte for TcpStream {
    async fn first_byte(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(|_| ())
    }
}

impl FirstByte for tokio::net::UnixStream {
    async fn first_byte(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(|_| ())
    }
}

/// Connections by the address that they come from, where that is counted.
#[derive(Debug, Clone, Default)]
struct PerAddress(Arc<Mutex<BTreeMap<IpAddr, u32>>>);

/// One connection of an address.
#[derive(Debug)]
struct Counted {
    all: PerAddress,
    address: Option<IpAddr>,
}

impl PerAddress {
    /// Counts one more; `None` when that is too many.
    fn count(&self, address: IpAddr) -> Option<Counted> {
        if is_near(address) {
            return Some(Counted { all: self.clone(), address: None });
        }
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Counted { all: self.clone(), address: Some(address) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut counts = self.all.0.lock();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// Whether an address is of this machine or a private network, where a proxy may speak for many.
pub(super) fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

/// Small answers go out at once, and a peer that reads nothing is given up.
fn prepare(stream: &TcpStream) {
    // A connection that is gone already says so at its first read.
    let _ = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _ = rustix::net::sockopt::set_tcp_user_timeout(stream, UNREAD_WAIT_MILLIS);
}

/// Lets this process have as many files as the system allows it: each connection is one.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        limit.current = limit.maximum;
        if let Err(error) = setrlimit(Resource::Nofile, limit) {
            tracing::debug!("the limit of open files stays as it is: {error}");
        }
    }
}

/// Until the sender says so, or is gone.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Out of files, mostly: waiting is all that helps.
async fn pause(error: &io::Error) {
    tracing::warn!("failed to accept a connection: {error}");
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    /// A server of one path that waits to be told, and how to stop it.
    struct Running {
        address: std::net::SocketAddr,
        stop: watch::Sender<bool>,
        begun: Arc<Notify>,
        go_on: Arc<Notify>,
        serving: JoinSet<()>,
    }

    async fn server() -> Running {
        let (begun, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let waits = (Arc::clone(&begun), Arc::clone(&go_on));
        let slow = move || async move {
            waits.0.notify_one();
            waits.1.notified().await;
            "slow"
        };
        let router = Router::new().route("/", get(|| async { "quick" })).route("/slow", get(slow));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = watch::channel(false);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, router, stopped));
        Running { address, stop, begun, go_on, serving }
    }

    impl Running {
        async fn send(&self, request: &str) -> TcpStream {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            stream
        }
    }

    async fn rest(mut stream: TcpStream) -> String {
        let mut answer = Vec::new();
        // A reset after the answer is an end too.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    }

    #[tokio::test]
    async fn heads_have_their_size() {
        let server = server().await;
        let head = |more: &str| format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}\r\n");
        assert!(rest(server.send(&head("")).await).await.ends_with("quick"));
        let many = "a: b\r\n".repeat(70);
        assert!(rest(server.send(&head(&many)).await).await.starts_with("HTTP/1.1 431"));
        let large = format!("a: {}\r\n", "x".repeat(HEAD_BYTES_MAX));
        assert!(rest(server.send(&head(&large)).await).await.starts_with("HTTP/1.1 431"));
    }

    #[tokio::test]
    async fn what_runs_is_finished_before_the_end() {
        let mut server = server().await;
        let mut idle = server.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
        let mut first = [0; 12];
        idle.read_exact(&mut first).await.unwrap();
        assert_eq!(&first, b"HTTP/1.1 200");
        let silent = TcpStream::connect(server.address).await.unwrap();
        let slow = server.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
        server.begun.notified().await;
        server.stop.send_replace(true);
        // Those who wait for nothing are let go at once.
        assert!(rest(idle).await.ends_with("quick"));
        assert_eq!(rest(silent).await, "");
        server.go_on.notify_one();
        assert!(rest(slow).await.ends_with("slow"));
        server.serving.join_next().await.unwrap().unwrap();
        assert!(TcpStream::connect(server.address).await.is_err());
    }

    #[test]
    fn an_address_from_afar_has_so_many_connections_and_no_more() {
        let all = PerAddress::default();
        let far: IpAddr = "203.0.113.7".parse().unwrap();
        let mut held: Vec<Counted> = (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| all.count(far).unwrap()).collect();
        assert!(all.count(far).is_none());
        assert!(all.count("203.0.113.8".parse().unwrap()).is_some());
        held.pop();
        assert!(all.count(far).is_some());
        drop(held);
        assert!(all.0.lock().is_empty());
        for near in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd00::1", "::ffff:127.0.0.1"] {
            assert!(all.count(near.parse().unwrap()).is_some_and(|counted| counted.address.is_none()), "{near}");
        }
    }

    #[tokio::test]
    async fn a_connection_that_does_nothing_ends_in_time() {
        let activity = Arc::new(Activity::default());
        let now = Instant::now();
        // No request came at all.
        assert_eq!(activity.idle_until(now), None);
        let running = super::Running::new(&activity);
        assert_eq!(activity.idle_until(now), Some(now + IDLE_WAIT));
        drop(running);
        let until = activity.idle_until(Instant::now()).unwrap();
        assert!(until > now);
        assert_eq!(activity.idle_until(until), None);
    }
}

//! The accept loops: connections in, requests to a router, and a clean end.
//!
//! Every phase of a connection has its time, so that nobody who is slow keeps anything for long: the first byte, the head
//! of a request, the pause between two, the peer that does not read. A body and a whole request have theirs in the guard.
//! The ready-made server of the web framework sets no timer, so none of these limits would hold in it.

mod addresses;
mod crowd;

use std::future::Future;
use std::io;
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
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use self::addresses::{Counted, PerAddress};
use self::crowd::{Crowd, Member, Room, Running};
use super::Peer;
use super::proxies::Proxies;

/// Connections at one door. Those that are silent go to make room for others; while as many requests run as there is room
/// for speakers, what comes waits in the kernel's queue.
const ROOM: Room = Room { newcomers: 2_048, speakers: 4_096 };
/// Connections at the owner's socket.
const OWNER_ROOM: Room = Room { newcomers: 64, speakers: 64 };
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
/// How long a connection that was accepted just before that may take to its first byte, and from there to the first head.
const STOP_FIRST_HEAD_WAIT: Duration = Duration::from_millis(500);

/// Serves a router until `stop` says so, and then until what runs is finished, for ten seconds at most. One address has so
/// many connections at once, unless it is a proxy's.
pub async fn serve(listener: TcpListener, router: Router, proxies: Proxies, mut stop: watch::Receiver<bool>) {
    raise_file_limit();
    let per_address = PerAddress::new(proxies);
    let mut door = Door::new(ROOM, router, stop.clone());
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = door.accept(listener.accept()) => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                let Some(counted) = per_address.count(address.ip()) else {
                    tracing::debug!("too many connections from one address: one is hung up on");
                    continue;
                };
                prepare(&stream);
                door.connection(stream, Peer::Address(address), Some(counted));
            }
            Err(error) => door.pause(&error).await,
        }
    }
    drop(listener);
    door.close().await;
}

/// The same for the socket in the data folder: whoever may open it is the owner.
pub async fn serve_owner(listener: UnixListener, router: Router, mut stop: watch::Receiver<bool>) {
    let mut door = Door::new(OWNER_ROOM, router, stop.clone());
    loop {
        let accepted = tokio::select! {
            () = stopped(&mut stop) => break,
            accepted = door.accept(listener.accept()) => accepted,
        };
        match accepted {
            Ok((stream, _)) => door.connection(stream, Peer::Owner, None),
            Err(error) => door.pause(&error).await,
        }
    }
    drop(listener);
    door.close().await;
}

/// One accept loop's connections.
struct Door {
    crowd: Arc<Crowd>,
    builder: Arc<Builder<TokioExecutor>>,
    router: Router,
    stop: watch::Receiver<bool>,
    connections: JoinSet<()>,
}

impl Door {
    fn new(room: Room, router: Router, stop: watch::Receiver<bool>) -> Self {
        Self { crowd: Crowd::new(room), builder: Arc::new(builder()), router, stop, connections: JoinSet::new() }
    }

    /// Waits for room, then for a connection.
    async fn accept<T>(&mut self, accept: impl Future<Output = io::Result<T>>) -> io::Result<T> {
        while self.connections.try_join_next().is_some() {}
        self.crowd.has_room().await;
        accept.await
    }

    /// Runs a connection on a task of its own.
    fn connection<S>(&mut self, stream: S, peer: Peer, counted: Option<Counted>)
    where
        S: AsyncRead + AsyncWrite + FirstByte + Unpin + Send + 'static,
    {
        let (builder, router, stop) = (Arc::clone(&self.builder), self.router.clone(), self.stop.clone());
        let inside = self.crowd.enter();
        self.connections.spawn(async move {
            tokio::select! {
                () = inside.member().must_go() => tracing::debug!("a silent connection goes, to make room"),
                () = run(&builder, stream, router, peer, inside.member(), stop) => {}
            }
            drop((inside, counted));
        });
    }

    /// Out of files, mostly: somebody silent goes, and waiting is all that helps beside it.
    async fn pause(&self, error: &io::Error) {
        tracing::warn!("failed to accept a connection: {error}");
        self.crowd.one_goes();
        tokio::time::sleep(Duration::from_millis(100)).await;
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
    member: &Arc<Member>,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + FirstByte + Unpin + 'static,
{
    if !speaks(&stream, &mut stop).await {
        return;
    }
    let service = Connection { router, peer, member: Arc::clone(member) };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    let mut stopping = false;
    let mut stop = pin!(async {
        stopped(&mut stop).await;
        // Whoever connected in time and is about to ask is answered: a head that is not whole yet would be cut off.
        if member.has_never_asked() {
            tokio::time::sleep(STOP_FIRST_HEAD_WAIT).await;
        }
    });
    let mut look_at = Instant::now() + FIRST_HEAD_WAIT;
    let mut look = pin!(sleep_until(look_at));
    loop {
        tokio::select! {
            // The connection first: a request that has come when the stop does is answered.
            biased;
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!("a connection broke: {error}");
                }
                return;
            }
            () = stop.as_mut(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = look.as_mut() => {
                look_at = match member.idle_until(look_at, IDLE_WAIT) {
                    Some(until) => until,
                    None => return,
                };
                look.as_mut().reset(look_at);
            }
        }
    }
}

/// Waits for a connection's first byte; of the end of one that was silent nothing is said.
async fn speaks(stream: &impl FirstByte, stop: &mut watch::Receiver<bool>) -> bool {
    let mut first_byte = pin!(timeout(FIRST_BYTE_WAIT, stream.first_byte()));
    let came = tokio::select! {
        came = first_byte.as_mut() => came,
        () = stopped(stop) => timeout(STOP_FIRST_HEAD_WAIT, first_byte).await.unwrap_or_else(Err),
    };
    matches!(came, Ok(Ok(())))
}

/// The router as one connection sees it.
struct Connection {
    router: Router,
    peer: Peer,
    member: Arc<Member>,
}

impl hyper::service::Service<Request<Incoming>> for Connection {
    type Response = Response<Answer>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let running = Arc::new(Running::new(&self.member));
        request.extensions_mut().insert(self.peer);
        let request = request.map(|body| Asking::new(body, &running));
        // A router is always ready.
        let answer = tower::Service::call(&mut self.router.clone(), request);
        Box::pin(async move { answer.await.map(|response| response.map(|body| Answer { body, _running: running })) })
    }
}

/// The body of a request that still comes in. Until it is whole, or nobody waits for it any more, its sender is silent.
struct Asking {
    body: Incoming,
    running: Arc<Running>,
}

impl Asking {
    fn new(body: Incoming, running: &Arc<Running>) -> Self {
        if body.is_end_stream() {
            running.is_heard();
        }
        Self { body, running: Arc::clone(running) }
    }
}

impl Body for Asking {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        if frame.is_none() || self.body.is_end_stream() {
            self.running.is_heard();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.running.is_heard();
    }
}

/// The body of an answer that still goes out.
struct Answer {
    body: axum::body::Body,
    _running: Arc<Running>,
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
trait FirstByte: Sync {
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::sync::Notify;

    use super::*;

    /// A server of one path that waits to be told, and how to stop it.
    struct Served {
        address: std::net::SocketAddr,
        stop: watch::Sender<bool>,
        begun: Arc<Notify>,
        go_on: Arc<Notify>,
        serving: JoinSet<()>,
    }

    async fn server() -> Served {
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
        serving.spawn(serve(listener, router, Proxies::default(), stopped));
        Served { address, stop, begun, go_on, serving }
    }

    impl Served {
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

    #[tokio::test]
    async fn who_connected_before_the_stop_is_still_answered() {
        const REQUEST: &str = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut server = server().await;
        let mut early = server.send("").await;
        let mut begun = server.send("GE").await;
        // Connections are accepted in their order, so those before this one are.
        let after = server.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
        assert!(rest(after).await.ends_with("quick"));
        server.stop.send_replace(true);
        early.write_all(REQUEST.as_bytes()).await.unwrap();
        begun.write_all(REQUEST.split_at(2).1.as_bytes()).await.unwrap();
        for stream in [early, begun] {
            let answer = rest(stream).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("quick"), "{answer:?}");
        }
        server.serving.join_next().await.unwrap().unwrap();
    }
}

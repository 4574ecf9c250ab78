//! Clients over HTTP: they read of an answer only its status and length, so that they cost next to nothing.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::load::{self, Load, Measured, histogram};
use crate::requests::{Kind, Source, Template, Values};

/// Asks one server, or several in equal parts.
pub(crate) fn run(load: &Load, addresses: &[SocketAddr], kind: Kind, source: &mut Source) -> Measured {
    let connect = |index| Client::connect(addresses[index % addresses.len()], kind);
    load.drive(kind.width(), source, join_all((0..load.clients).map(connect)))
}

/// What filling saw.
pub(crate) struct Filled {
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    /// Of each batch, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// What the first batch that was no success was answered; none was sent after it.
    pub(crate) failure: Option<String>,
}

/// Records so many operations, a multiple of a batch, in batches.
pub(crate) fn fill(address: SocketAddr, clients: usize, operations: u64, batch: usize, source: &mut Source) -> Filled {
    struct Shared {
        batches: u64,
        source: Source,
        seen: Filled,
    }
    let seen = Filled { operations: 0, seconds: 0.0, latency: histogram(), failure: None };
    let shared = Shared { batches: operations.div_ceil(batch as u64), source: source.take(), seen };
    let shared = Rc::new(RefCell::new(shared));
    let began = Instant::now();
    run_clients(clients, |_| {
        let shared = Rc::clone(&shared);
        async move {
            let mut client = Client::connect(address, Kind::Batch(batch)).await;
            let mut values = Vec::with_capacity(batch);
            loop {
                {
                    let shared = &mut *shared.borrow_mut();
                    if shared.batches == 0 || shared.seen.failure.is_some() {
                        return;
                    }
                    shared.batches -= 1;
                    shared.source.refill(&mut values, batch);
                }
                let began = Instant::now();
                let answer = load::Client::cycle(&mut client, &values).await;
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                let seen = &mut shared.borrow_mut().seen;
                match answer {
                    Ok(()) => seen.operations += batch as u64,
                    Err(failure) => seen.failure = Some(failure),
                }
                seen.latency.saturating_record(took);
            }
        }
    });
    let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
    let Shared { source: used, mut seen, .. } = shared.into_inner();
    *source = used;
    seen.seconds = began.elapsed().as_secs_f64();
    seen
}

/// Records these operations.
pub(crate) fn record_all(address: SocketAddr, values: &[Values]) {
    run_clients(1, |_| {
        let values = values.to_vec();
        async move {
            for values in values.chunks(crate::BATCH) {
                let mut client = Client::connect(address, Kind::Batch(values.len())).await;
                load::Client::cycle(&mut client, values).await.unwrap();
            }
        }
    });
}

/// One request and its answer, which must be a success; how long that took with connecting.
pub(crate) fn once(address: SocketAddr, (method, path, body): (&str, &str, &str)) -> Duration {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let began = Instant::now();
    run_clients(1, |_| {
        let request = request.clone();
        async move {
            let mut connection = Connection::open(address).await;
            let status = connection.exchange(request.as_bytes()).await;
            assert!(
                (200..300).contains(&status),
                "{request}\nwas answered {status} {}",
                String::from_utf8_lossy(connection.body())
            );
        }
    });
    began.elapsed()
}

fn run_clients<F: Future<Output = ()> + 'static>(clients: usize, client: impl Fn(usize) -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = LocalSet::new();
    let tasks: Vec<_> = (0..clients).map(|index| local.spawn_local(client(index))).collect();
    runtime.block_on(local.run_until(async {
        for task in tasks {
            task.await.unwrap();
        }
    }));
}

struct Client {
    connection: Connection,
    templates: Vec<Template>,
}

impl Client {
    async fn connect(address: SocketAddr, kind: Kind) -> Self {
        Self { connection: Connection::open(address).await, templates: kind.templates() }
    }
}

impl load::Client for Client {
    /// The requests of one cycle, one after the other, all about the same values.
    async fn cycle(&mut self, values: &[Values]) -> Result<(), String> {
        let mut answer = Ok(());
        for template in &mut self.templates {
            let status = self.connection.exchange(template.fill(values)).await;
            if !matches!(status, 200 | 201) && answer.is_ok() {
                let body = self.connection.body();
                answer = Err(format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)])));
            }
        }
        answer
    }
}

/// A keep-alive connection that understands answers with a `Content-Length`, which all of Outlay's have.
pub(crate) struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body_at: usize,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(16 * 1024), body_at: 0 }
    }

    /// Sends a request and reads its answer; gives the status.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> u16 {
        self.stream.write_all(request).await.unwrap();
        self.buffer.clear();
        let end = loop {
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server closed the connection");
            if let Some(at) = self.buffer.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..end]).unwrap();
        let status = head[9..12].parse().unwrap();
        let length: usize = head
            .lines()
            .find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
            })
            .unwrap_or_else(|| panic!("no content-length: {head}"));
        self.body_at = end;
        while self.buffer.len() < end + length {
            self.buffer.reserve(end + length - self.buffer.len());
            assert!(self.stream.read_buf(&mut self.buffer).await.unwrap() > 0, "the server closed the connection");
        }
        status
    }

    /// The body of the last answer.
    pub(crate) fn body(&self) -> &[u8] {
        &self.buffer[self.body_at..]
    }
}

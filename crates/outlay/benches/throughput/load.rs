//! The clients: each sends a request, waits for the whole answer, and sends the next. They share one thread, and read of an
//! answer only its status and length, so that they leave the cores to the server.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use crate::cpu;
use crate::requests::{Kind, Source, Template, Values};

/// How long a closed loop runs, and how wide it is.
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What a closed loop saw in the measured time.
pub(crate) struct Measured {
    pub(crate) cycles: u64,
    pub(crate) seconds: f64,
    /// The same with the warming up, and until the last answer came.
    pub(crate) whole_seconds: f64,
    /// Whole cycles, in microseconds.
    pub(crate) latency: Histogram<u64>,
    /// Answers other than a success.
    pub(crate) failures: u64,
    /// The first of them.
    pub(crate) failure: Option<String>,
    /// Of the clients' own thread.
    pub(crate) cpu_seconds: f64,
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).unwrap()
}

impl Measured {
    pub(crate) fn new() -> Self {
        Self {
            cycles: 0,
            seconds: 0.0,
            whole_seconds: 0.0,
            latency: histogram(),
            failures: 0,
            failure: None,
            cpu_seconds: 0.0,
        }
    }

    /// Takes in what another round of the same saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.seconds += other.seconds;
        self.whole_seconds += other.whole_seconds;
        self.latency.add(other.latency).unwrap();
        self.failures += other.failures;
        self.failure = self.failure.take().or(other.failure);
        self.cpu_seconds += other.cpu_seconds;
    }

    fn answer(&mut self, status: u16, body: &[u8]) {
        if !matches!(status, 200 | 201) {
            self.failures += 1;
            self.failure
                .get_or_insert_with(|| format!("{status}: {}", String::from_utf8_lossy(&body[..body.len().min(500)])));
        }
    }
}

/// The time in which what ends is counted, whenever it began: with long answers, those that were on their way when it
/// began stand for those that still are when it ends.
pub(crate) struct Window {
    made: Instant,
    begins: Instant,
    ends: Instant,
    /// CPU seconds of the clients' thread when the first cycle ended after each.
    cpu: RefCell<[Option<f64>; 2]>,
}

impl Window {
    pub(crate) fn new(warm_up: Duration, measured: Duration) -> Self {
        let made = Instant::now();
        Self { made, begins: made + warm_up, ends: made + warm_up + measured, cpu: RefCell::default() }
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.ends
    }

    /// A cycle that began then has ended.
    pub(crate) fn note(&self, began: Instant, measured: &mut Measured) {
        let now = Instant::now();
        let [first, last] = &mut *self.cpu.borrow_mut();
        if now >= self.begins {
            first.get_or_insert_with(cpu::of_this_thread);
        }
        if self.is_over(now) {
            last.get_or_insert_with(cpu::of_this_thread);
        } else if now >= self.begins {
            measured.cycles += 1;
            let took = u64::try_from((now - began).as_micros()).unwrap_or(u64::MAX);
            measured.latency.saturating_record(took);
        }
    }

    /// Every cycle has ended.
    pub(crate) fn close(&self, measured: &mut Measured) {
        let [first, last] = *self.cpu.borrow();
        measured.seconds = (self.ends - self.begins).as_secs_f64();
        measured.whole_seconds = self.made.elapsed().as_secs_f64();
        measured.cpu_seconds = first.map_or(0.0, |first| last.unwrap_or_else(cpu::of_this_thread) - first);
    }
}

impl Load {
    /// Asks one server, or several in equal parts.
    pub(crate) fn run(&self, addresses: &[SocketAddr], kind: Kind, source: &mut Source) -> Measured {
        let shared = Rc::new(RefCell::new(Shared { source: take(source), measured: Measured::new() }));
        let window = Rc::new(Window::new(self.warm_up, self.measured));
        run_clients(self.clients, |index| {
            let address = addresses[index % addresses.len()];
            let (shared, window) = (Rc::clone(&shared), Rc::clone(&window));
            let mut client = Client::new(address, kind);
            async move {
                client.connect().await;
                loop {
                    let began = Instant::now();
                    if window.is_over(began) {
                        return;
                    }
                    client.cycle(&shared).await;
                    window.note(began, &mut shared.borrow_mut().measured);
                }
            }
        });
        let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
        let Shared { source: used, mut measured } = shared.into_inner();
        *source = used;
        window.close(&mut measured);
        measured
    }
}

/// What filling saw.
pub(crate) struct Filled {
    pub(crate) operations: u64,
    pub(crate) seconds: f64,
    pub(crate) slowest: Duration,
}

/// Records at least so many operations in batches.
pub(crate) fn fill(address: SocketAddr, clients: usize, operations: u64, batch: usize, source: &mut Source) -> Filled {
    let shared = Rc::new(RefCell::new(Shared { source: take(source), measured: Measured::new() }));
    let began = Instant::now();
    let batches = Rc::new(RefCell::new(operations.div_ceil(batch as u64)));
    let total = *batches.borrow();
    run_clients(clients, |_| {
        let (shared, batches) = (Rc::clone(&shared), Rc::clone(&batches));
        let mut client = Client::new(address, Kind::Batch(batch));
        async move {
            client.connect().await;
            while *batches.borrow() > 0 {
                *batches.borrow_mut() -= 1;
                let began = Instant::now();
                client.cycle(&shared).await;
                let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
                shared.borrow_mut().measured.latency.saturating_record(took);
            }
        }
    });
    let seconds = began.elapsed().as_secs_f64();
    let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
    let Shared { source: used, measured } = shared.into_inner();
    *source = used;
    assert!(measured.failures == 0, "the server refused a batch: {}", measured.failure.unwrap_or_default());
    Filled { operations: total * batch as u64, seconds, slowest: Duration::from_micros(measured.latency.max()) }
}

/// One request and its answer, which must be a success.
pub(crate) fn once(address: SocketAddr, (method, path, body): (&str, &str, &str)) {
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
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
}

/// What the clients of one loop share; they take turns on one thread.
struct Shared {
    source: Source,
    measured: Measured,
}

fn take(source: &mut Source) -> Source {
    std::mem::replace(source, Source::new(0, 1))
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
    address: SocketAddr,
    connection: Option<Connection>,
    templates: Vec<Template>,
    values: Vec<Values>,
}

impl Client {
    fn new(address: SocketAddr, kind: Kind) -> Self {
        Self { address, connection: None, templates: kind.templates(), values: Vec::new() }
    }

    async fn connect(&mut self) {
        self.connection = Some(Connection::open(self.address).await);
    }

    /// The requests of one cycle, one after the other, all about the same values.
    async fn cycle(&mut self, shared: &RefCell<Shared>) {
        let operations = self.templates.iter().map(Template::groups).max().unwrap_or(0);
        self.values.clear();
        {
            let source = &mut shared.borrow_mut().source;
            self.values.extend((0..operations).map(|_| source.values()));
        }
        let connection = self.connection.as_mut().expect("connected before the first cycle");
        for template in &mut self.templates {
            let status = connection.exchange(template.fill(&self.values)).await;
            shared.borrow_mut().measured.answer(status, connection.body());
        }
    }
}

/// A keep-alive connection that understands answers with a `Content-Length`, which all of Outlay's have.
struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    body_at: usize,
}

impl Connection {
    async fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::with_capacity(16 * 1024), body_at: 0 }
    }

    /// Sends a request and reads its answer; gives the status.
    async fn exchange(&mut self, request: &[u8]) -> u16 {
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
    fn body(&self) -> &[u8] {
        &self.buffer[self.body_at..]
    }
}

//! What an operation costs in instructions, all in one thread: client, HTTP, JSON, the ledger, the store and the answer.
//!
//! It is made for a profiler that counts: a count is the same again while other programs run, a time is not.
//! `--requests` are asked for before [`measured`] begins, so that users are known and pools are warm, and as many in it.

#![expect(clippy::print_stdout, reason = "the figures are what this program is for")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement that cannot go on ends here")]
#![expect(clippy::disallowed_methods, reason = "it measures time, and starts tasks")]

use std::cell::RefCell;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use outlay::clock::SystemClock;
use outlay::config::receivers::WebhookAllow;
use outlay::delivery::Senders;
use outlay::delivery::secrets::WebhookSecrets;
use outlay::http::auth::Access;
use outlay::http::proxies::Proxies;
use outlay::http::{App, Presentation, Presented};
use outlay::ids::Ids;
use outlay::metrics::Metrics;
use outlay::store::embedded::{EmbeddedStore, Settings, open};
use outlay::store::records::Role;
use outlay::store::{Reads, Record, Store};
use outlay::writer::Writer;
use outlay_core::id::{Name, OperationId, UserId};
use outlay_core::ledger::Command;
use outlay_core::money::Usd;
use outlay_core::operation::{Fingerprint, FingerprintBuilder, NewOperation, UsageType};
use outlay_core::plan::Limits;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use secrecy::ExposeSecret;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::LocalSet;

/// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts what an operation costs; run it under a profiler
#[derive(Parser)]
struct Arguments {
    /// Which way the operations go
    #[arg(value_enum)]
    way: Way,
    /// How many requests, or batches of the store
    #[arg(long, default_value_t = 20)]
    requests: usize,
    /// Operations of one
    #[arg(long, default_value_t = 1000)]
    batch: usize,
    /// Connections that ask at once
    #[arg(long, default_value_t = 1)]
    clients: usize,
    /// Users, at random
    #[arg(long, default_value_t = 2_000)]
    users: u32,
    /// Where the data is kept while it runs
    #[arg(long, default_value = env!("CARGO_TARGET_TMPDIR"))]
    folder: std::path::PathBuf,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// Commands to the store
    Store,
    /// Requests over loopback, with a key
    Http,
}

fn main() {
    let arguments = Arguments::parse();
    let folder = tempfile::Builder::new().prefix("outlay-path-").tempdir_in(&arguments.folder).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = SystemClock::shared();
    let (mut store, reads) = open(Settings::new(folder.path().join("data"), clock)).unwrap();
    let name = Name::new("base").unwrap();
    commit(&runtime, &mut store, vec![Command::PutPlan { name, limits: Limits::default(), tier: None }]);
    let mut source = Source { random: Pcg64::seed_from_u64(1), users: arguments.users, next_id: 0 };
    match arguments.way {
        Way::Store => {
            let mut batches =
                || (0..arguments.requests).map(|_| source.commands(arguments.batch)).collect::<Vec<Vec<Command>>>();
            let run = |store: &mut EmbeddedStore, batches: Vec<Vec<Command>>| {
                for batch in batches {
                    commit(&runtime, store, batch);
                }
            };
            run(&mut store, batches());
            let batches = batches();
            measured(&arguments, || run(&mut store, batches));
            runtime.block_on(store.close()).unwrap();
        }
        Way::Http => over_http(&arguments, &runtime, store, reads, &mut source),
    }
}

/// What is counted.
#[inline(never)]
fn measured(arguments: &Arguments, run: impl FnOnce()) {
    let began = Instant::now();
    run();
    let operations = u32::try_from(arguments.requests * arguments.batch).unwrap();
    println!("{:.2} us an operation", began.elapsed().as_secs_f64() * 1e6 / f64::from(operations));
}

fn commit(runtime: &Runtime, store: &mut EmbeddedStore, commands: Vec<Command>) {
    let replies = runtime.block_on(store.commit(commands.into())).unwrap().publish().unwrap();
    assert!(replies.iter().all(Result::is_ok));
}

fn over_http(
    arguments: &Arguments,
    runtime: &Runtime,
    store: EmbeddedStore,
    reads: Arc<dyn Reads>,
    source: &mut Source,
) {
    let local = LocalSet::new();
    let (writer, task) = Writer::new(store);
    let clock = SystemClock::shared();
    let ids = Ids::from_system(Arc::clone(&clock)).unwrap();
    let (key, record) = outlay::http::keys::make(Role::App, String::new(), None, &ids, clock.wall()).unwrap();
    let app = App {
        metrics: Metrics::new(&writer, &reads),
        writer: writer.clone(),
        reads,
        clock,
        ids,
        presentation: Presented::new(Presentation::default()),
        retention: outlay::retention::Retention::default(),
        plans_are_configured: false,
        access: Access::keyed(),
        traces: None,
        senders: Senders::without_mail(&WebhookAllow::default()),
        webhook_secrets: WebhookSecrets::default(),
        refusals: outlay::http::refusals::Refusals::default(),
        scratch: "scratch".into(),
        glance: outlay::http::events::Glance::default(),
        paces: outlay::http::paces::Paces::default(),
    };
    let router = outlay::http::router(Arc::new(app));
    let (_stop, stopped) = tokio::sync::watch::channel(false);
    let writing = local.spawn_local(task.run());
    let address = local.block_on(runtime, async {
        writer.put(Record::Key(record)).await.unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::task::spawn_local(outlay::http::server::serve(listener, router, Proxies::default(), stopped));
        address
    });
    let mut requests =
        || (0..arguments.requests).map(|_| source.request(arguments.batch, key.expose_secret())).collect();
    let ask = |requests| local.block_on(runtime, ask_all(address, arguments.clients, requests));
    ask(requests());
    let requests = requests();
    measured(arguments, || ask(requests));
    local.block_on(runtime, async {
        writer.close().await;
        writing.await.unwrap();
    });
}

/// Asks for all, from so many connections at once.
async fn ask_all(address: SocketAddr, clients: usize, requests: Vec<Vec<u8>>) {
    let requests = Rc::new(RefCell::new(requests));
    let clients: Vec<_> = (0..clients)
        .map(|_| {
            let requests = Rc::clone(&requests);
            tokio::task::spawn_local(async move {
                let mut stream = TcpStream::connect(address).await.unwrap();
                stream.set_nodelay(true).unwrap();
                let mut buffer = Vec::with_capacity(1 << 20);
                loop {
                    let Some(request) = requests.borrow_mut().pop() else { break };
                    ask(&mut stream, &request, &mut buffer).await;
                }
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
}

async fn ask(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) {
    const LENGTH: &[u8] = b"content-length: ";
    stream.write_all(request).await.unwrap();
    buffer.clear();
    let end = loop {
        stream.read_buf(buffer).await.unwrap();
        if let Some(at) = buffer.windows(4).take(1_024).position(|bytes| bytes == b"\r\n\r\n") {
            break at + 4;
        }
    };
    assert!(buffer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(buffer));
    let at = buffer[..end].windows(LENGTH.len()).position(|bytes| bytes == LENGTH).unwrap() + LENGTH.len();
    let digits = buffer[at..].iter().take_while(|byte| byte.is_ascii_digit());
    let length = digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'));
    while buffer.len() < end + length {
        stream.read_buf(buffer).await.unwrap();
    }
}

/// Where operations come from: ids count up, the rest is random.
struct Source {
    random: Pcg64,
    users: u32,
    next_id: u64,
}

impl Source {
    fn values(&mut self) -> (u64, u32, u32, u32) {
        self.next_id += 1;
        let mut below = |max| self.random.next_u32() % max;
        (self.next_id, below(self.users), below(8), below(100_000))
    }

    fn commands(&mut self, count: usize) -> Vec<Command> {
        (0..count).map(|_| command(self.values())).collect()
    }

    /// A whole request, of one operation or of a batch.
    fn request(&mut self, batch: usize, key: &str) -> Vec<u8> {
        let mut body = String::new();
        for _ in 0..batch {
            let (id, user, feature, cost) = self.values();
            body.push(if body.is_empty() { '[' } else { ',' });
            write!(
                body,
                r#"{{"operationId":"usage_{id:016x}","userId":"user_{user:06}","feature":"contact_tagging_{feature:02}","provider":"gemini","model":"gemini-2.5-flash-lite","cost":0.000{cost:05},"isBillableRun":true}}"#
            )
            .unwrap();
        }
        let body = if batch == 1 { body.split_off(1) } else { body + "]" };
        let length = body.len();
        format!(
            "POST /v1/usage HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {key}\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .into_bytes()
    }
}

fn command((id, user, feature, cost): (u64, u32, u32, u32)) -> Command {
    let mut operation = NewOperation {
        operation_id: OperationId::new(&format!("usage_{id:016x}")).unwrap(),
        user_id: UserId::new(&format!("user_{user:06}")).unwrap(),
        usage_type: UsageType::Ai,
        feature: Name::new(&format!("contact_tagging_{feature:02}")).unwrap(),
        provider: Name::new("gemini").unwrap(),
        model: Some(Name::new("gemini-2.5-flash-lite").unwrap()),
        cost: Usd::from_picos(i64::from(cost) * 10_000),
        tokens: None,
        units: None,
        is_billable_run: true,
        session_id: None,
        step_label: None,
        step_number: None,
        finish_session: None,
        duration_ms: None,
        timestamp: None,
        metadata: None,
        fingerprint: Fingerprint([0; 16]),
    };
    operation.fingerprint = FingerprintBuilder::of(&operation, true, true, None);
    Command::Record(Box::new(operation))
}

//! Who is told: what those who record and ask notice of receivers that hang, and how soon after a crossing the first try comes.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::load::{Measured, histogram};
use crate::report::{Report, Row};
use crate::requests::{self, Kind, Source};
use crate::server::Server;
use crate::{Arguments, cpu, http};

/// Clients that record and ask meanwhile.
const CLIENTS: usize = 16;
/// Crossings of which the first try is timed.
const CROSSINGS: u32 = 300;
/// Between two crossings.
const PAUSE: Duration = Duration::from_millis(20);
/// So many users have crossed: each does once.
static CROSSED: AtomicU32 = AtomicU32::new(0);

/// Times that each server is measured: they take turns, so that what comes and goes on the machine meets all of them.
const ROUNDS: usize = 6;

pub(crate) fn measure(folder: &Path, arguments: &Arguments, report: &mut Report) {
    let (silent, (answering, _)) = (silent_receiver(), receiver());
    let servers = [
        ("no receivers", 0, silent),
        ("1 receiver that hangs", 1, silent),
        ("20 receivers that hang", 20, silent),
        ("20 receivers", 20, answering),
    ]
    .map(|(name, receivers, receiver)| {
        let server = Server::outlay_telling(&folder.join(name.replace(' ', "-")));
        http::once(server.address, requests::UNLIMITED_PLAN);
        for at in 0..receivers {
            make_webhook(&server, &format!("http://{receiver}/{at}"));
        }
        (name, server)
    });
    let mut source = Source::new(arguments.seed, arguments.users);
    for kind in [Kind::Record, Kind::Afford] {
        let mut seen = servers.each_ref().map(|_| (Measured::new(), cpu::Used::default()));
        for _ in 0..ROUNDS {
            for ((_, server), (measured, used)) in servers.iter().zip(&mut seen) {
                let done = AtomicBool::new(false);
                std::thread::scope(|scope| {
                    // Without anybody to tell it has the same crossings.
                    scope.spawn(|| {
                        while !done.load(Ordering::Relaxed) {
                            cross(server.address, CROSSED.fetch_add(1, Ordering::Relaxed));
                            std::thread::sleep(PAUSE);
                        }
                    });
                    let before = cpu::Used::by(server.process_id());
                    measured.add(http::run(&arguments.load(CLIENTS), &[server.address], kind, &mut source));
                    used.add(cpu::Used::by(server.process_id()).since(&before));
                    done.store(true, Ordering::Relaxed);
                });
            }
        }
        for ((name, _), (measured, used)) in servers.iter().zip(seen) {
            report.add(Row::over_http(name, kind, CLIENTS, measured, &used));
        }
    }
    let [(_, quiet), ..] = servers;
    report.add(first_tries(&quiet));
}

/// From before the operation that crosses is sent until its message is there.
fn first_tries(server: &Server) -> Row {
    let (address, came) = receiver();
    make_webhook(server, &format!("http://{address}/"));
    let began = Instant::now();
    let mut crossed = BTreeMap::new();
    for user in 0..CROSSINGS {
        let user = 1_000_000 + user;
        limit(server.address, user);
        crossed.insert(format!("crossing_{user}"), Instant::now());
        run(server.address, user);
        std::thread::sleep(PAUSE);
    }
    while came.lock().unwrap().len() < crossed.len() {
        std::thread::sleep(PAUSE);
    }
    let mut latency = histogram();
    for (user, at) in came.lock().unwrap().iter() {
        let waited = at.saturating_duration_since(crossed[user]);
        latency.saturating_record(u64::try_from(waited.as_micros()).unwrap_or(u64::MAX));
    }
    Row::waited("from a crossing to its first try", "outlay", u64::from(CROSSINGS), began.elapsed(), &latency)
}

fn make_webhook(server: &Server, url: &str) {
    http::once(server.address, ("POST", "/v1/webhooks", &format!(r#"{{"url":"{url}"}}"#)));
}

fn limit(address: SocketAddr, user: u32) {
    let limits = r#"{"limits":{"cost":null,"aiRuns":1,"apiRuns":null}}"#;
    http::once(address, ("PUT", &format!("/v1/users/crossing_{user}"), limits));
}

fn run(address: SocketAddr, user: u32) {
    let operation = format!(r#"{{"userId":"crossing_{user}","feature":"scan","cost":0.001,"isBillableRun":true}}"#);
    http::once(address, ("POST", "/v1/usage", &operation));
}

fn cross(address: SocketAddr, user: u32) {
    limit(address, user);
    run(address, user);
}

/// Takes connections, and says nothing on any.
fn silent_receiver() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let streams: Vec<_> = listener.incoming().map_while(Result::ok).collect();
        drop(streams);
    });
    address
}

/// When the message about each user came first.
type Came = Arc<Mutex<BTreeMap<String, Instant>>>;

/// Takes messages, and notes when each came.
fn receiver() -> (SocketAddr, Came) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let came = Came::default();
    let noted = Arc::clone(&came);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let noted = Arc::clone(&noted);
            std::thread::spawn(move || take(stream, &noted));
        }
    });
    (address, came)
}

fn take(mut stream: TcpStream, came: &Came) {
    let mut read = Vec::new();
    let mut buffer = [0; 4_096];
    loop {
        let text = String::from_utf8_lossy(&read);
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if length.is_some_and(|length| body.len() >= length) {
                let at = Instant::now();
                let user = body.split_once(r#""userId":""#).and_then(|(_, rest)| rest.split('"').next());
                if let Some(user) = user {
                    came.lock().unwrap().entry(user.to_owned()).or_insert(at);
                }
                // A sender that went away has its message all the same.
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
                return;
            }
        }
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => read.extend_from_slice(&buffer[..count]),
        }
    }
}

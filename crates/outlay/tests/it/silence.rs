//! Sockets that say nothing, in numbers: they keep nobody out who speaks.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{Asks, Server, ai};

const SOCKETS: usize = 10_000;
/// Files of this process beside those sockets, about.
const OTHER_FILES: u64 = 4_000;
/// How long an answer may take. Half of what a server gives a body, and a quarter of what it gives a socket that is idle
/// after an answer: whoever waits for these to end by themselves waits longer.
const BOUND: Duration = Duration::from_secs(15);

/// These tests go one after the other: the files of a process would not do for all of their sockets.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// Lets this process have all the sockets at once.
fn raise_file_limit() {
    let wanted = SOCKETS as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return;
    }
    let raised = Rlimit { current: Some(wanted), maximum: limit.maximum.map(|maximum| maximum.max(wanted)) };
    setrlimit(Resource::Nofile, raised).unwrap_or_else(|error| {
        panic!("this test needs {wanted} open files; `ulimit -Hn {wanted}` allows it: {error}")
    });
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(BOUND)).unwrap();
    stream
}

/// Asks on a connection, and reads the beginning of the answer.
#[track_caller]
fn ask(stream: &mut TcpStream) {
    stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer");
        answer.extend_from_slice(&byte);
    }
    let head = String::from_utf8(answer).unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap().parse().unwrap();
    stream.read_exact(&mut vec![0; length]).unwrap();
}

/// Opens all the sockets, while others speak: on a new connection each time, and on one that is kept.
fn speak_beside(server: &Server, silent: impl Fn(usize) -> TcpStream + Sync) {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let mut kept = connect(server.address());
    ask(&mut kept);
    let sockets = thread::scope(|scope| {
        let silent = &silent;
        let flood = scope.spawn(move || (0..SOCKETS).map(silent).collect::<Vec<_>>());
        while !flood.is_finished() {
            ask(&mut connect(server.address()));
            ask(&mut kept);
        }
        flood.join().unwrap()
    });
    // All of them are there now, as far as they can tell.
    for n in 0..100 {
        ask(&mut connect(server.address()));
        ask(&mut kept);
        server.record(ai(&format!("user_{n}"), 0.5));
    }
    drop(sockets);
}

#[test]
fn ten_thousand_silent_sockets_keep_nobody_out() {
    raise_file_limit();
    let server = Server::open();
    speak_beside(&server, |n| {
        let mut stream = connect(server.address());
        if n % 2 == 0 {
            // One who is turned away already has its answer.
            let _ = stream.write_all(b"POST /v1/usage HTT");
        }
        stream
    });
    server.verifies();
}

#[test]
fn ten_thousand_bodies_that_never_come_keep_nobody_out() {
    raise_file_limit();
    let server = Server::open();
    speak_beside(&server, |n| {
        let mut stream = connect(server.address());
        let request = if n % 2 == 0 { "GET /problems" } else { "POST /v1/usage" };
        let head = format!("{request} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{{");
        let _ = stream.write_all(head.as_bytes());
        stream
    });
    server.verifies();
}

#[test]
fn ten_thousand_sockets_that_spoke_once_keep_nobody_out() {
    raise_file_limit();
    let server = Server::open();
    speak_beside(&server, |_| {
        let mut stream = connect(server.address());
        ask(&mut stream);
        stream
    });
    server.verifies();
}

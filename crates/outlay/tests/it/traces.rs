//! Traces, as a collector receives them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::{ADMIN, Asks, Setup, until};

/// What came: the first line of each request, and its body.
type Received = Arc<Mutex<Vec<(String, Vec<u8>)>>>;

/// A collector that takes everything, and its address.
fn collector() -> (String, Received) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&received);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut first, mut length) = (String::new(), 0);
            stream.read_line(&mut first).unwrap();
            loop {
                let mut line = String::new();
                stream.read_line(&mut line).unwrap();
                let line = line.trim_end().to_ascii_lowercase();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.parse().unwrap();
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            stream.read_exact(&mut body).unwrap();
            kept.lock().unwrap().push((first.trim_end().to_owned(), body));
            let _ = stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    (url, received)
}

#[test]
fn a_request_is_traced_where_its_caller_traces_it_and_the_trace_names_nobody() {
    let (url, received) = collector();
    let mut server = Setup::keyed().variable("OUTLAY_OTLP_URL", &url).variable("OTEL_BSP_SCHEDULE_DELAY", "50").start();
    let trace = |id: u128, sampled: &str| format!("00-{id:032x}-00f067aa0ba902b7-{sampled}");
    let ask = |path: &str, key: &str, traceparent: &str| {
        server.with_key(key).send("GET", path, &[("traceparent", traceparent)], b"").status
    };
    let ids: [u128; 4] = std::array::from_fn(|index| 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736 + index as u128);
    assert_eq!(ask("/v1/users/person-7f3a/budget?month=2025-10", ADMIN, &trace(ids[0], "01")), 200);
    assert_eq!(ask("/v1/users/person-7f3a/budget", ADMIN, &trace(ids[1], "00")), 200);
    assert_eq!(ask("/v1/users/person-7f3a/budget", "no-key", &trace(ids[2], "01")), 401);
    assert_eq!(ask("/v1/users/person-7f3a/budget", ADMIN, "nonsense"), 200);
    until("the trace is exported while the server runs", || !received.lock().unwrap().is_empty());
    assert_eq!(ask("/v1/plans", ADMIN, &trace(ids[3], "01")), 200);
    // What is left goes out at the end.
    assert!(server.stop().success());

    let received = received.lock().unwrap();
    assert!(received.iter().all(|(line, _)| line == "POST /v1/traces HTTP/1.1"), "{received:?}");
    let all: Vec<u8> = received.iter().flat_map(|(_, body)| body.clone()).collect();
    let has = |bytes: &[u8]| all.windows(bytes.len()).any(|window| window == bytes);
    let traced = ids.map(|id| has(&id.to_be_bytes()));
    assert_eq!(traced, [true, false, false, true]);
    for said in
        ["GET /v1/users/{userId}/budget", "http.route", "http.response.status_code", "outlay", "outlay.request.id"]
    {
        assert!(has(said.as_bytes()), "{said}");
    }
    for said_not in ["person-7f3a", "2025-10", ADMIN] {
        assert!(!has(said_not.as_bytes()), "{said_not}");
    }
}

#[test]
fn a_collector_that_is_not_there_keeps_nobody_waiting() {
    let mut server = Setup::open().variable("OUTLAY_OTLP_URL", "http://127.0.0.1:1").start();
    let traceparent = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    for _ in 0..5_000 {
        assert_eq!(server.send("GET", "/v1/plans", &[traceparent], b"").status, 200);
    }
    assert!(server.stop().success());
}

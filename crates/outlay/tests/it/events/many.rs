//! Many streams at once, streams that nobody reads, and how many there may be.

use serde_json::json;

use super::mint;
use crate::support::{Asks, Events, Server, ai, of, until};

/// Streams that one server keeps open.
const STREAMS_MAX: usize = 2_048;
/// Of one user, opened with tokens.
const STREAMS_OF_USER_MAX: usize = 64;

/// Lets this process have as many connections as these tests need.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// The open streams, as the server counts them.
fn open_streams(server: &Server) -> String {
    let metrics = server.get("/metrics").is_text(200);
    let line = metrics.lines().find(|line| line.starts_with("outlay_event_streams "));
    line.unwrap_or_else(|| panic!("{metrics}")).split(' ').nth(1).unwrap().to_owned()
}

#[test]
fn a_thousand_streams_each_hear_their_own_user_and_no_other() {
    raise_file_limit();
    let server = Server::open();
    let user = |n: usize| format!("user-{}", n % 250);
    let mut streams: Vec<Events> = (0..1_000).map(|n| server.events(&of(&user(n), "/events"))).collect();
    for events in &mut streams {
        events.expect("budget").data.meter("cost", "0", "0");
    }
    assert_eq!(open_streams(&server), "1000");
    // Each user spends something of their own, and only the first hundred spend at all.
    let spent = |n: usize| (n % 250 < 100).then(|| (n % 250 + 1).to_string());
    let batch: Vec<_> = (0..100).map(|n| ai(&user(n), f64::from(u32::try_from(n).unwrap() + 1))).collect();
    server.post("/v1/usage", json!(batch)).is(200);
    for (n, events) in streams.iter_mut().enumerate() {
        if let Some(spent) = spent(n) {
            let event = events.expect("budget");
            event.data.shows("/userId", &user(n)).meter("cost", &spent, "0");
        }
    }
    // One more from everybody comes after it: nothing else was in between.
    let batch: Vec<_> = (0..250).map(|n| ai(&user(n), 1000.0)).collect();
    server.post("/v1/usage", json!(batch)).is(200);
    for (n, events) in streams.iter_mut().enumerate() {
        let event = events.expect("budget");
        let spent = spent(n).map_or(0, |spent| spent.parse::<u32>().unwrap());
        event.data.shows("/userId", &user(n)).meter("cost", &(1000 + spent).to_string(), "0");
        assert!(!events.has_more());
    }
    drop(streams);
    until("all streams are seen to be gone", || open_streams(&server) == "0");
}

#[test]
fn there_is_room_for_so_many_streams_and_no_more() {
    raise_file_limit();
    let server = Server::open();
    let path = of("u", "/events");
    let mut streams: Vec<Events> = (0..STREAMS_MAX).map(|_| server.events(&path)).collect();
    let refused = server.get(&path);
    refused.is(503).shows("/type", "/problems/too-many-streams");
    server.get("/v1/events").is(503);
    // Everything else goes on.
    server.record(ai("u", 0.5));
    streams.pop();
    until("there is room again", || Events::open(server.address(), &path, None, None).is_ok());
}

#[test]
fn one_user_leaves_room_for_others() {
    let server = Server::keyed();
    let token = mint(&server, "greedy");
    let path = of("greedy", "/events");
    let caller = server.with_key(&token);
    let _streams: Vec<Events> = (0..STREAMS_OF_USER_MAX).map(|_| caller.events(&path)).collect();
    caller.get(&path).is(503).shows("/type", "/problems/too-many-streams");
    let other = mint(&server, "other");
    server.with_key(&other).events(&of("other", "/events")).expect("budget");
    // The application itself may still look.
    server.events(&path).expect("budget");
}

#[test]
fn a_stream_that_is_not_read_holds_nobody_up_and_finds_the_newest_state() {
    let server = Server::open();
    let path = of("u", "/events");
    let mut slow: Vec<Events> = (0..50).map(|_| server.events(&path)).collect();
    let mut quick = server.events(&path);
    let batch: Vec<_> = (0..100).map(|_| ai("u", 0.001)).collect();
    for round in 1..=100 {
        server.post("/v1/usage", json!(batch)).is(200);
        if round % 10 == 0 {
            let spent = server.budget("u").at("/meters/cost/used").to_string();
            quick.until(|event| event.data.at("/meters/cost/used").to_string() == spent);
        }
    }
    for events in &mut slow {
        let mut count = 0;
        events.until(|event| {
            count += 1;
            event.data.at("/meters/cost/used").to_string() == "10"
        });
        assert!(count < 1_000, "every change was kept for a reader who did not read: {count}");
    }
}

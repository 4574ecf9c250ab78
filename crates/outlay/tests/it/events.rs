//! Event streams: what comes, when, to whom, and what a client finds that comes back.

mod many;
#[cfg(feature = "test-clock")]
mod time;

use serde_json::json;

use crate::support::{ADMIN, Asks, Event, Events, Server, Setup, With, ai, ai_run, of};

fn id_of(event: &Event) -> String {
    event.id.clone().unwrap_or_else(|| panic!("no id: {event:?}"))
}

fn mint(server: &Server, user: &str) -> String {
    let minted = server.post(&of(user, "/tokens"), json!({"ttlSeconds": 60})).is(201);
    minted.text("/token").to_owned()
}

#[test]
fn a_stream_begins_with_the_budget_and_tells_each_change() {
    let server = Server::open();
    server.user("u", "premium");
    let mut events = server.events(&of("u", "/events"));
    assert_eq!(events.header("content-type"), Some("text/event-stream"));
    assert_eq!(events.header("cache-control"), Some("no-cache, no-transform"));
    assert_eq!(events.header("x-accel-buffering"), Some("no"));
    assert_eq!(events.header("access-control-allow-origin"), Some("*"));
    let first = events.expect("budget");
    assert_eq!(events.retry, Some(1_000));
    assert_eq!(first.data.to_string(), server.budget("u").to_string(), "the whole budget");
    first.data.meter("aiRuns", "0", "0");

    server.record(ai_run("u", 0.001_507_85));
    let second = events.expect("budget");
    second.data.meter("aiRuns", "1", "0").meter("cost", "0.00150785", "0");
    assert_eq!(second.data.to_string(), server.budget("u").to_string());

    // A hold moves it, what is given back too, and a larger plan.
    server.open_session("u", "s", json!({"cost": 0.5, "aiRuns": 1})).is(201);
    events.expect("budget").data.meter("aiRuns", "1", "1").meter("cost", "0.00150785", "0.5");
    server.finish("u", "s", "completed").is(200);
    events.expect("budget").data.meter("aiRuns", "1", "0").meter("cost", "0.00150785", "0");
    server.user("u", "business");
    events.expect("budget").data.shows("/plan", "business").shows("/meters/aiRuns/limit", "50");
    server.put("/v1/plans/business", json!({"limits": {"cost": 5, "aiRuns": 60, "apiRuns": 200}})).is(200);
    events.expect("budget").data.shows("/meters/aiRuns/limit", "60");
    // A repeat changes nothing, and so nothing comes: the next that comes is of the erasure.
    server.finish("u", "s", "completed").is(200);
    server.delete(&of("u", "")).is_text(204);
    events.expect("budget").data.shows("/plan", "base").meter("cost", "0", "0");
}

#[test]
fn an_alert_comes_as_the_list_shows_it() {
    let server = Server::open();
    server.user_with_cost_limit("u", 1.0);
    let mut events = server.events(&of("u", "/events"));
    events.expect("budget");
    server.record(ai("u", 0.9));
    let alert = events.expect("alert");
    let listed = server.all("/v1/alerts?userId=u");
    assert_eq!(alert.data.to_string(), listed[0].to_string());
    alert.data.shows("/threshold", "80").shows("/meter", "cost").shows("/percent", "90");
    let budget = events.expect("budget");
    budget.data.shows("/state", "warning");
    assert_ne!(id_of(&alert), id_of(&budget));
}

#[test]
fn who_comes_back_gets_what_they_missed_and_nothing_twice() {
    let server = Server::open();
    server.user_with_cost_limit("u", 1.0);
    let path = of("u", "/events");
    let mut events = server.events(&path);
    let begun = id_of(&events.expect("budget"));
    drop(events);

    // Nothing happened: nothing comes before the next change.
    let mut events = server.events_after(&path, Some(&begun));
    server.record(ai("u", 0.25));
    events.expect("budget").data.meter("cost", "0.25", "0");
    drop(events);

    // What happened meanwhile comes, alerts too, in one budget.
    server.record(ai("u", 0.25));
    server.record(ai("u", 0.4));
    let mut events = server.events_after(&path, Some(&begun));
    let alert = events.expect("alert");
    let budget = events.expect("budget");
    budget.data.meter("cost", "0.9", "0");
    // Cut between the two, only the second is missing.
    events.expect_nothing_but_the_next(&server, "0.91");
    let mut events = server.events_after(&path, Some(&id_of(&alert)));
    events.expect("budget").data.meter("cost", "0.91", "0");

    // What is not known gets a budget at once, as a new client does.
    for unknown in ["", "x", "1", ".", "0.0", "1.-1", "1.18446744073709551616", "1.99999999", "99.1", "é"] {
        let mut events = server.events_after(&path, Some(unknown));
        events.expect("budget").data.meter("cost", "0.91", "0");
    }
    // An id of another user's stream is at most older than what is known here.
    let other = id_of(&server.events(&of("other", "/events")).expect("budget"));
    server.record(ai("u", 0.01));
    let mut events = server.events_after(&path, Some(&other));
    events.expect("budget").data.meter("cost", "0.92", "0");
}

impl Events {
    /// Records a cent more for `u`: the event that comes next must show it.
    #[track_caller]
    fn expect_nothing_but_the_next(&mut self, server: &Server, cost: &str) {
        server.record(ai("u", 0.01));
        self.expect("budget").data.meter("cost", cost, "0");
    }
}

#[test]
fn an_id_is_never_used_again_after_a_restart() {
    let mut server = Server::open();
    server.user("u", "premium");
    let path = of("u", "/events");
    let mut ids = Vec::new();
    for round in 1..=3 {
        let mut events = server.events_after(&path, ids.last().map(String::as_str));
        // Also who was up to date gets a budget: nothing is known of the run before.
        ids.push(id_of(&events.expect("budget")));
        server.record(ai("u", 0.5));
        let budget = events.expect("budget");
        budget.data.meter("cost", ["0.5", "1", "1.5"][round - 1], "0");
        ids.push(id_of(&budget));
        server.restart();
    }
    let mut once = ids.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), ids.len(), "{ids:?}");
}

#[test]
fn nothing_of_another_user_comes() {
    let server = Server::keyed();
    server.user_with_cost_limit("alice", 1.0);
    server.user_with_cost_limit("bob", 1.0);
    let (alice, bob) = (mint(&server, "alice"), mint(&server, "bob"));
    let address = server.address();
    let bearer = |token: &str| format!("Bearer {token}");
    let status = |path: &str, token: &str| Events::open(address, path, Some(&bearer(token)), None).err();
    assert_eq!(status(&of("bob", "/events"), &alice), Some(403));
    assert_eq!(status("/v1/events", &alice), Some(403));
    assert_eq!(Events::open(address, "/v1/events", None, None).err(), Some(401));
    assert_eq!(Events::open(address, &of("bob", "/events"), None, None).err(), Some(401));
    server.get(&of("bob", "/events?month=2025-10")).is(400);

    let mut events = server.with_key(&bob).events(&of("bob", "/events"));
    events.expect("budget");
    server.record(ai("alice", 0.97));
    server.open_session("alice", "s", json!({"cost": 0.5})).is(402);
    server.record(ai("bob", 0.25));
    let event = events.expect("budget");
    event.data.shows("/userId", "bob").meter("cost", "0.25", "0");
    // Alerts of one's own come, denials are not for a browser.
    server.open_session("bob", "s", json!({"cost": 0.9})).is(402);
    server.record(ai("bob", 0.6));
    events.until(|event| event.name == "alert").data.shows("/userId", "bob");
    events.expect("budget").data.meter("cost", "0.85", "0");
}

#[test]
fn all_are_followed_by_totals_alerts_and_denials() {
    let server = Setup::keyed().start();
    server.user_with_cost_limit("a", 1.0);
    let mut events = server.events("/v1/events");
    let first = events.expect("overview");
    assert!(first.id.is_none(), "there is no resuming: {first:?}");
    first.data.shows("/totals/all/cost", "0").shows("/activeUsers", "0");
    assert_eq!(events.header("access-control-allow-origin"), None);
    server.record(ai("a", 0.9));
    let alert = events.expect("alert");
    assert_eq!(alert.data.to_string(), server.all("/v1/alerts")[0].to_string());
    let overview = events.expect("overview");
    overview.data.shows("/totals/all/cost", "0.9").shows("/activeUsers", "1").shows("/states/warning", "1");
    server.open_session("a", "s", json!({"cost": 0.5})).is(402);
    let denial = events.expect("denial");
    assert_eq!(denial.data.to_string(), server.all("/v1/denials")[0].to_string());
    events.expect("overview");
    // The same totals as the page that is asked for next.
    let asked = server.get("/v1/overview").is(200);
    overview.data.shows("/totals/ai/operations", &asked.at("/totals/ai/operations").to_string());
    // Who begins later begins with the present, though nothing moved since.
    let mut later = server.events_after("/v1/events", Some("1.1"));
    later.expect("overview").data.shows("/totals/all/cost", "0.9");
}

#[test]
fn a_quiet_stream_is_kept_open_by_comments_until_its_key_is_revoked() {
    let server = Server::keyed();
    let [kept, revoked] = [(), ()].map(|()| server.post("/v1/keys", json!({"role": "viewer"})).is(201));
    let [mut kept_events, mut revoked_events] =
        [&kept, &revoked].map(|key| server.with_key(key.text("/key")).events(&of("u", "/events")));
    kept_events.expect("budget");
    revoked_events.expect("budget");
    server.delete(&format!("/v1/keys/{}", revoked.text("/id"))).is_text(204);
    // Its key is looked at when the comment of every quarter of a minute is due.
    let begun = std::time::Instant::now();
    revoked_events.ends();
    assert_eq!(revoked_events.comments, 0);
    server.record(ai("u", 0.5));
    kept_events.expect("budget");
    server.delete(&format!("/v1/keys/{}", kept.text("/id"))).is_text(204);
    kept_events.ends();
    assert!(kept_events.comments >= 1);
    assert!(begun.elapsed().as_secs() >= 20, "comments come more often than they need to");
}

#[test]
fn a_stop_of_the_server_ends_the_streams() {
    let mut server = Server::open();
    let mut streams: Vec<Events> =
        ["/v1/events".to_owned(), of("u", "/events")].map(|path| server.events(&path)).into();
    for events in &mut streams {
        events.next();
    }
    assert!(server.stop().success());
    for events in &mut streams {
        assert!(events.try_next().is_none());
    }
}

#[test]
fn browsers_reach_a_stream_at_the_public_door() {
    let public = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Setup::keyed().argument("--public-listen").argument(&public.to_string()).start();
    let token = mint(&server, "u");
    let mut events = server.with_key(&token).at_address(public).events(&of("u", "/events"));
    events.expect("budget");
    server.record(ai("u", 0.5));
    events.expect("budget").data.meter("cost", "0.5", "0");
    let refused = Events::open(public, "/v1/events", Some(&format!("Bearer {ADMIN}")), None);
    assert_eq!(refused.err(), Some(404));
}

#[test]
fn the_card_is_served_to_pages_everywhere() {
    let server = Server::keyed();
    let ask = |headers: &[(&str, &str)]| server.with_key("").send("GET", "/card.js", headers, b"");
    let plain = ask(&[("origin", "https://app.example.org")]);
    let text = plain.is_text(200);
    assert!(text.contains("outlay-budget-card"));
    assert_eq!(plain.header("access-control-allow-origin"), Some("*"));
    assert_eq!(plain.header("cross-origin-resource-policy"), Some("cross-origin"));
    assert!(plain.header("content-type").unwrap().starts_with("text/javascript"));
    let packed = ask(&[("accept-encoding", "gzip, br")]);
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    assert_eq!(packed.header("vary"), Some("Accept-Encoding"));
    assert!(packed.body.len() <= 6 * 1024 && packed.body.len() < plain.body.len() / 2, "{}", packed.body.len());
    let etag = plain.header("etag").unwrap();
    assert_eq!(packed.header("etag"), Some(etag));
    let known = ask(&[("if-none-match", etag)]);
    assert_eq!((known.status, known.body.len()), (304, 0));
    assert_eq!(known.header("etag"), Some(etag));
    ask(&[("if-none-match", "\"other\"")]).is_text(200);
}

#[test]
fn what_is_used_fast_comes_as_few_events_and_the_last_one_is_right() {
    let server = Server::open();
    let mut events = server.events(&of("u", "/events"));
    let begun = std::time::Instant::now();
    let batch: Vec<_> = (0..100).map(|_| ai("u", 0.01)).collect();
    for _ in 0..50 {
        server.post("/v1/usage", json!(batch)).is(200);
    }
    let mut count = 1_u128;
    events.until(|event| {
        count += 1;
        event.data.at("/meters/cost/used").to_string() == "50"
    });
    // Twenty a second, the first one at once.
    let most = begun.elapsed().as_millis() / 50 + 2;
    assert!(count <= most, "{count} events where {most} may come");
    server.record(ai("u", 0.01).with("operationId", "last"));
    events.expect("budget").data.meter("cost", "50.01", "0");
}

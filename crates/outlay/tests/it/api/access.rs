//! Who may call what: the role matrix, keys, tokens, `--open`, `--public-listen`.

use std::net::TcpListener;

use serde_json::{Value, json};

use crate::support::{
    ADMIN, Asks, Events, Json, Server, Setup, With, ai, now, of, outlay, outlay_with_environment, until,
};

/// What somebody must be to be let through; each also lets through those below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Least {
    Nobody,
    /// Any token of the user.
    Token,
    /// A token of the user that was minted with `reads`.
    ReadingToken,
    Viewer,
    App,
    Admin,
}

/// Every route in scope, with the least that its caller must be.
fn routes() -> Vec<(&'static str, &'static str, Value, Least)> {
    use Least::{Admin, App, Nobody, ReadingToken, Token, Viewer};
    let estimate = json!({"estimate": {"cost": 0.01}, "feature": "test"});
    let denial = json!({"feature": "test", "estimate": {"cost": 1}, "reason": "r"});
    vec![
        ("GET", "/healthz", Value::Null, Nobody),
        ("GET", "/readyz", Value::Null, Nobody),
        ("GET", "/openapi.json", Value::Null, Nobody),
        ("GET", "/problems/outcome-unknown", Value::Null, Nobody),
        ("GET", "/v1/users/alice/budget", Value::Null, Token),
        ("GET", "/v1/users/alice/history", Value::Null, Token),
        ("GET", "/v1/users/alice/forecast", Value::Null, Token),
        ("GET", "/v1/users/alice/usage", Value::Null, ReadingToken),
        ("GET", "/v1/users/alice/sessions", Value::Null, ReadingToken),
        ("GET", "/v1/users/alice/sessions/s", Value::Null, ReadingToken),
        ("GET", "/v1/users/alice", Value::Null, Viewer),
        ("GET", "/v1/users/alice/denials", Value::Null, Viewer),
        ("GET", "/v1/users/bob/budget", Value::Null, Viewer),
        ("GET", "/v1/users/bob/forecast", Value::Null, Viewer),
        ("GET", "/v1/users/bob/usage", Value::Null, Viewer),
        ("GET", "/v1/users", Value::Null, Viewer),
        ("GET", "/v1/overview", Value::Null, Viewer),
        ("GET", "/v1/sessions", Value::Null, Viewer),
        ("GET", "/v1/sessions/stats", Value::Null, Viewer),
        ("GET", "/v1/alerts", Value::Null, Viewer),
        ("GET", "/v1/denials", Value::Null, Viewer),
        ("GET", "/v1/plans", Value::Null, Viewer),
        ("GET", "/metrics", Value::Null, Viewer),
        ("POST", "/v1/usage", ai("alice", 0.01), App),
        ("POST", "/v1/users/alice/afford", estimate.clone(), App),
        ("POST", "/v1/users/alice/sessions", estimate, App),
        ("POST", "/v1/users/alice/sessions/s/extend", json!({"holdSeconds": 60}), App),
        ("POST", "/v1/users/alice/sessions/s/finish", json!({"status": "completed"}), App),
        ("POST", "/v1/users/alice/denials", denial, App),
        ("POST", "/v1/users/alice/usage/o/reverse", json!({}), App),
        ("POST", "/v1/users/alice/tokens", json!({"ttlSeconds": 60}), App),
        ("DELETE", "/v1/users/bob/tokens", Value::Null, Admin),
        ("PUT", "/v1/users/alice", json!({"plan": "premium"}), App),
        ("GET", "/v1/users/alice/export", Value::Null, Admin),
        ("GET", "/v1/keys", Value::Null, Admin),
        ("GET", "/v1/backup", Value::Null, Admin),
        ("GET", "/v1/audit", Value::Null, Admin),
        ("POST", "/v1/keys", json!({"role": "viewer"}), Admin),
        ("POST", "/v1/verify", json!({}), Admin),
        ("PUT", "/v1/plans/pro", json!({"limits": {"cost": 1.5, "aiRuns": 0, "apiRuns": 50}}), Admin),
        ("DELETE", "/v1/keys/no-such-key", Value::Null, Admin),
        ("DELETE", "/v1/users/carol", Value::Null, Admin),
    ]
}

/// Makes a key of a role; gives its id and its text.
fn make_key(server: &Server, role: &str) -> (String, String) {
    let made = server.post("/v1/keys", json!({"role": role})).is(201);
    let Json::Object(members) = &made else { panic!("{made}") };
    // A viewer's key begins with `outlay_view_`, the others with the role's whole name.
    let prefix = format!("outlay_{}_", role.trim_end_matches("er"));
    let key = members.values().find_map(|value| match value {
        Json::Text(text) if text.starts_with(&prefix) && *text != prefix => Some(text.clone()),
        _ => None,
    });
    (made.text("/id").to_owned(), key.unwrap_or_else(|| panic!("no key in {made}")))
}

fn mint(server: &Server, user: &str, reads: &[&str]) -> String {
    let minted = server.post(&of(user, "/tokens"), json!({"ttlSeconds": 60, "reads": reads})).is(201);
    minted.text("/token").to_owned()
}

#[test]
fn every_route_lets_its_role_through_and_nobody_below() {
    use Least::{Admin, App, Nobody, ReadingToken, Token, Viewer};
    let server = Server::keyed();
    server.user("alice", "premium");
    server.open_session("alice", "s", json!({"cost": 0.5})).is(201);
    server.record(ai("alice", 0.01).with("operationId", "o").with("sessionId", "s"));
    let callers = [
        (Nobody, String::new()),
        (Token, mint(&server, "alice", &[])),
        (ReadingToken, mint(&server, "alice", &["sessions", "usage"])),
        (Viewer, make_key(&server, "viewer").1),
        (App, make_key(&server, "app").1),
        (Admin, make_key(&server, "admin").1),
        (Admin, ADMIN.to_owned()),
    ];
    for (method, path, body, least) in routes() {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        for (role, key) in &callers {
            let reply =
                server.with_key(key).send(method, path, &[("content-type", "application/json")], body.as_bytes());
            if *role >= least {
                let passed = reply.status != 401 && reply.status != 403 && reply.status < 500;
                assert!(passed, "{method} {path} as {role:?}: {} {}", reply.status, reply.text());
            } else {
                reply.is(if *role == Nobody { 401 } else { 403 });
            }
        }
        // A wrong key is no key, also where none is needed for less.
        if least > Nobody {
            for wrong in ["x", "outlay_app_0000000000000000000000000000000000000000", &ADMIN[1..], &format!("{ADMIN}x")]
            {
                let reply =
                    server.with_key(wrong).send(method, path, &[("content-type", "application/json")], body.as_bytes());
                reply.is(401);
            }
        }
    }
}

#[test]
fn a_refused_caller_changes_nothing() {
    let server = Server::keyed();
    let viewer = make_key(&server, "viewer").1;
    for key in ["", &viewer] {
        let caller = server.with_key(key);
        caller.post("/v1/usage", ai("u", 1.0)).is_one_of(&[401, 403]);
        caller.put(&of("u", ""), json!({"plan": "premium"})).is_one_of(&[401, 403]);
        caller.delete(&of("u", "")).is_one_of(&[401, 403]);
    }
    server.get(&of("u", "")).is(200).shows("/known", "false");
}

#[test]
fn keys_are_shown_once_and_can_be_revoked() {
    let mut server = Server::keyed();
    let (id, key) = make_key(&server, "app");
    let (_, other) = make_key(&server, "app");
    assert_ne!(key, other);
    server.with_key(&key).record(ai("u", 0.5));
    let listed = server.get("/v1/keys");
    assert!(listed.is(200).has_text(&id), "{}", listed.text());
    assert!(!listed.text().contains(&key));
    // Only a digest is on disk, and it still opens after a restart.
    assert!(crate::support::found_in_files(&server.data(), key.as_bytes()).is_none());
    server.restart();
    server.with_key(&key).record(ai("u", 0.5));
    // One wrong character fails by the checksum.
    let mut wrong = key.clone();
    let last = if wrong.pop() == Some('a') { 'b' } else { 'a' };
    wrong.push(last);
    server.with_key(&wrong).post("/v1/usage", ai("u", 0.5)).is(401);
    server.delete(&format!("/v1/keys/{id}")).is(204);
    server.with_key(&key).post("/v1/usage", ai("u", 0.5)).is(401);
    server.with_key(&other).record(ai("u", 0.5));
    server.delete(&format!("/v1/keys/{id}")).is_one_of(&[204, 404]);
    server.post("/v1/keys", json!({"role": "emperor"})).refuses("/role");
    server.budget("u").meter("cost", "1.5", "0");
}

#[test]
fn a_token_has_its_time_to_live() {
    let server = Server::keyed();
    for ttl in [json!(59), json!(86_401), json!("60")] {
        server.post(&of("u", "/tokens"), json!({"ttlSeconds": ttl})).refuses("/ttlSeconds");
    }
    server.post(&of("u", "/tokens"), json!({"ttlSeconds": 60, "reads": ["everything"]})).is(400);
    let minted = server.post(&of("u", "/tokens"), json!({})).is(201);
    let seconds = minted.text("/expiresAt").parse::<jiff::Timestamp>().unwrap().as_second() - now().as_second();
    assert!((3500..=3600).contains(&seconds), "{seconds} seconds by default");
}

#[test]
fn a_token_ends_with_the_user_that_it_is_of() {
    let mut server = Server::keyed();
    server.user("known", "premium");
    let reads = ["sessions", "usage"];
    let of_known = mint(&server, "known", &reads);
    // Somebody else's erasure, from before, is nothing to them.
    server.user("other", "pro");
    server.delete(&of("other", "")).is(204);
    let of_new = mint(&server, "new", &reads);
    let sees = |server: &Server, token: &str, user: &str| {
        let caller = server.with_key(token);
        ["/budget", "/history", "/usage", "/sessions"].map(|path| caller.get(&of(user, path)).status)
    };
    let (all, none) = ([200; 4], [401; 4]);
    assert_eq!(sees(&server, &of_new, "new"), all, "a card may be there before its user");
    server.record(ai("new", 0.25));
    server.with_key(&of_new).budget("new").meter("cost", "0.25", "0");
    server.restart();
    assert_eq!((sees(&server, &of_known, "known"), sees(&server, &of_new, "new")), (all, all));

    for (user, token) in [("known", &of_known), ("new", &of_new)] {
        let authorization = format!("Bearer {token}");
        let mut stream = Events::open(server.address(), &of(user, "/events"), Some(&authorization), None).unwrap();
        stream.expect("budget");
        server.delete(&of(user, "")).is(204);
        assert!(stream.try_next().is_none(), "a stream goes on after {user}");
        assert_eq!(sees(&server, token, user), none, "{user} was erased");
        server.record(ai(user, 0.5));
        assert_eq!(sees(&server, token, user), none, "the one who has the id of {user} now is somebody else");
        server.with_key(&mint(&server, user, &[])).budget(user).meter("cost", "0.5", "0");
    }
    server.restart();
    assert_eq!((sees(&server, &of_known, "known"), sees(&server, &of_new, "new")), (none, none));
}

#[test]
#[cfg(feature = "test-clock")]
fn an_expired_token_is_no_token() {
    let mut server = Server::at_with("2025-11-10T12:00:00Z", Setup::keyed());
    let token = mint(&server, "u", &[]);
    server.with_key(&token).budget("u");
    server.kill9();
    server.clock("2025-11-10T12:01:01Z");
    server.start_again();
    server.with_key(&token).get(&of("u", "/budget")).is(401);
}

#[test]
fn all_tokens_of_a_user_end_at_once_and_later_ones_are_good() {
    let mut server = Server::keyed();
    server.user("u", "premium");
    server.user("other", "premium");
    let (one, two, of_other) = (mint(&server, "u", &[]), mint(&server, "u", &["usage"]), mint(&server, "other", &[]));
    let of_unknown = mint(&server, "unknown", &[]);
    let opens = |server: &Server, token: &str, user: &str| server.with_key(token).get(&of(user, "/budget")).status;
    let authorization = format!("Bearer {one}");
    let mut stream = Events::open(server.address(), &of("u", "/events"), Some(&authorization), None).unwrap();
    stream.expect("budget");
    let (_, app) = make_key(&server, "app");
    server.with_key(&app).delete(&of("u", "/tokens")).is(403);
    let page = server.with_key(&app).get("/users/u/token").is_text(200);
    assert!(page.contains("Make a token") && !page.contains("token/end"), "{page}");
    server.delete(&of("u", "/tokens")).is(204);
    assert!(stream.try_next().is_none(), "a stream goes on");
    assert_eq!(
        (opens(&server, &one, "u"), opens(&server, &two, "u"), opens(&server, &of_other, "other")),
        (401, 401, 200)
    );
    let later = mint(&server, "u", &[]);
    assert_eq!(opens(&server, &later, "u"), 200);
    // Also of somebody whom nobody has seen, whose card may be there before them.
    assert_eq!(opens(&server, &of_unknown, "unknown"), 200);
    server.delete(&of("unknown", "/tokens")).is(204);
    assert_eq!(opens(&server, &of_unknown, "unknown"), 401);
    let later_unknown = mint(&server, "unknown", &[]);
    assert_eq!(opens(&server, &later_unknown, "unknown"), 200);

    server.restart();
    assert_eq!((opens(&server, &one, "u"), opens(&server, &later, "u")), (401, 200));
    assert_eq!((opens(&server, &of_unknown, "unknown"), opens(&server, &later_unknown, "unknown")), (401, 200));
    server.outlay(&["tokens", "end", "u"]).exits(0);
    assert_eq!(opens(&server, &later, "u"), 401);
    // And by the page, which says so.
    let by_command = server.outlay(&["tokens", "create", "u", "--ttl", "60"]).exits(0);
    assert_eq!(opens(&server, by_command.out.trim(), "u"), 200);
    let page = server.get("/users/u/token").is_text(200);
    assert!(page.contains("token/end"), "{page}");
    assert_eq!(server.send("POST", "/users/u/token/end", &[], b"").status, 200);
    assert_eq!(opens(&server, by_command.out.trim(), "u"), 401);
    server.verifies();
}

#[test]
#[cfg(feature = "test-clock")]
fn a_clock_that_was_set_back_ends_tokens_all_the_same() {
    let server = Server::at_with("2025-11-10T12:00:00Z", Setup::keyed());
    server.user("u", "premium");
    let token = mint(&server, "u", &[]);
    // The clock stands still: what was made in the same instant, and before, is ended, and what is made after it is good.
    server.delete(&of("u", "/tokens")).is(204);
    server.with_key(&token).get(&of("u", "/budget")).is(401);
    let later = mint(&server, "u", &[]);
    server.with_key(&later).budget("u");
    server.clock("2025-11-10T11:59:30Z");
    server.delete(&of("u", "/tokens")).is(204);
    server.with_key(&later).get(&of("u", "/budget")).is(401);
    server.with_key(&mint(&server, "u", &[])).budget("u");
}

#[test]
fn two_signing_keys_are_live_and_a_third_ends_the_first() {
    let mut server = Server::keyed();
    server.user("u", "premium");
    let opens = |server: &Server, token: &str| server.with_key(token).get(&of("u", "/budget")).status;
    let first = mint(&server, "u", &[]);
    for key in [ADMIN.to_owned(), make_key(&server, "app").1, String::new(), first.clone()] {
        server.with_key(&key).post("/v1/token-keys", json!({})).is_one_of(&[401, 403]);
    }
    server.outlay(&["tokens", "rotate-key"]).exits(0);
    let second = mint(&server, "u", &[]);
    assert_eq!((opens(&server, &first), opens(&server, &second)), (200, 200));
    assert!(server.stop().success());
    // Also while no server runs.
    server.outlay(&["tokens", "rotate-key", "--json"]).exits(0).json().shows("/name", "token-key/3");
    server.start_again();
    let third = mint(&server, "u", &[]);
    assert_eq!((opens(&server, &first), opens(&server, &second), opens(&server, &third)), (401, 200, 200));
    assert!(server.stop().success());
    // The master key opens them all, and the secrets of webhooks, and is changed under them.
    server.start_again();
    server.post("/v1/webhooks", json!({"url": "https://hooks.example.org/outlay"})).is(201);
    assert!(server.stop().success());
    let rotated = server.outlay(&["keys", "rotate-master"]).exits(0);
    assert!(rotated.err.contains("3 secrets"), "two keys and a webhook's secret: {rotated:?}");
    server.start_again();
    assert_eq!((opens(&server, &second), opens(&server, &third)), (200, 200));
    let kept: Vec<String> = server
        .all("/v1/audit")
        .iter()
        .rev()
        .map(|entry| entry.text("/action").to_owned())
        .filter(|a| a.contains("key.ro"))
        .collect();
    assert_eq!(kept, ["token-key.rotated", "token-key.rotated", "master-key.rotated"]);
    server.verifies();
}

#[test]
fn an_open_server_changes_no_signing_key_for_whoever_asks() {
    let server = Server::open();
    server.post("/v1/token-keys", json!({})).is(403);
    server.outlay(&["tokens", "rotate-key"]).exits(0);
}

#[test]
fn wrong_keys_on_the_sign_in_page_are_limited_too() {
    let server = Setup::keyed().variable("OUTLAY_TRUSTED_PROXIES", "127.0.0.0/8").start();
    let origin = format!("http://{}", server.address());
    let enter = |client: &str, key: &str| {
        let headers = [("x-forwarded-for", client), ("origin", origin.as_str())];
        server.with_key("").send("POST", "/sign-in", &headers, format!("key={key}").as_bytes()).status
    };
    for _ in 0..GUESSES {
        assert_eq!(enter("203.0.113.7", "wrong"), 401);
    }
    assert_eq!(enter("203.0.113.7", "wrong"), 429);
    // The right one is not told either, from there, and neither by the API: it is one count.
    assert_eq!(enter("203.0.113.7", ADMIN), 429);
    assert_eq!(guess(&server, "x-forwarded-for", "203.0.113.7"), 429);
    assert_eq!(enter("203.0.113.8", ADMIN), 303);
}

#[test]
#[cfg(feature = "test-clock")]
fn a_key_with_an_end_ends_by_itself() {
    let server = Server::at_with("2025-11-10T12:00:00Z", Setup::keyed());
    let made = server.post("/v1/keys", json!({"role": "viewer", "expiresAt": "2025-11-10T12:10:00Z"})).is(201);
    let key = made.text("/key");
    let cookie = {
        let origin = format!("http://{}", server.address());
        let entered =
            server.with_key("").send("POST", "/sign-in", &[("origin", &origin)], format!("key={key}").as_bytes());
        entered.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
    };
    server.with_key(key).get("/v1/plans").is(200);
    assert_eq!(server.with_key("").send("GET", "/users", &[("cookie", &cookie)], b"").status, 200);
    server.clock("2025-11-10T12:10:00Z");
    server.with_key(key).get("/v1/plans").is(401);
    assert_eq!(server.with_key("").send("GET", "/users", &[("cookie", &cookie)], b"").status, 401);
    server.post("/v1/keys", json!({"role": "viewer", "expiresAt": "2025-11-10T12:10:00Z"})).refuses("/expiresAt");
    let by_command =
        server.outlay(&["keys", "create", "--role", "app", "--expires-at", "2025-11-10T12:11:00Z"]).exits(0);
    server.with_key(by_command.out.trim()).get("/v1/plans").is(200);
    server.clock("2025-11-10T12:11:00Z");
    server.with_key(by_command.out.trim()).get("/v1/plans").is(401);
}

#[test]
fn what_a_token_may_read_can_be_read_from_any_page() {
    let server = Server::keyed();
    server.user("u", "premium");
    let token = mint(&server, "u", &["sessions", "usage"]);
    let origin = [("origin", "https://app.example.org")];
    let allowed = |path: &str| {
        server.with_key(&token).send("GET", path, &origin, b"").header("access-control-allow-origin").map(str::to_owned)
    };
    for path in ["/budget", "/history", "/usage", "/sessions"] {
        let reply = server.with_key(&token).send("GET", &of("u", path), &origin, b"");
        assert_eq!(reply.header("access-control-allow-origin"), Some("*"), "{path}");
        assert_eq!(reply.header("access-control-allow-credentials"), None, "{path}");
        let asks = [
            ("origin", "https://app.example.org"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "authorization"),
        ];
        let preflight = server.with_key("").send("OPTIONS", &of("u", path), &asks, b"");
        assert!(preflight.status == 200 || preflight.status == 204, "{path}: {}", preflight.status);
        assert_eq!(preflight.header("access-control-allow-origin"), Some("*"), "{path}");
        let headers = preflight.header("access-control-allow-headers").unwrap_or_default().to_ascii_lowercase();
        assert!(headers.contains("authorization") || headers == "*", "{path}: {headers}");
    }
    for path in ["/v1/users", "/v1/overview", "/v1/keys", "/metrics"] {
        assert_eq!(allowed(path), None, "{path}");
        let reply = server.send("GET", path, &origin, b"");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{path}");
    }
}

#[test]
fn an_open_server_listens_only_at_home_and_checks_the_host() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let ran = outlay(&["serve", "--data", data.to_str().unwrap(), "--open", "--listen", "0.0.0.0:0"]);
    assert!(ran.code != 0 && !ran.out.contains("listening on"), "{ran:?}");

    let server = Server::open();
    let port = server.address().port();
    for host in [format!("127.0.0.1:{port}"), format!("localhost:{port}"), "localhost".to_owned()] {
        assert_eq!(server.send("GET", "/v1/users", &[("host", &host)], b"").status, 200, "{host}");
    }
    for host in [
        "evil.example.org".to_owned(),
        format!("evil.example.org:{port}"),
        format!("127.0.0.1.evil.example.org:{port}"),
    ] {
        let reply = server.send("GET", "/v1/users", &[("host", &host)], b"");
        assert!([400, 403, 421].contains(&reply.status), "{host}: {}", reply.status);
    }
}

#[test]
fn a_public_door_opens_to_tokens_alone() {
    // A port that was free a moment ago; the flag asks for one address.
    let public = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let server = Setup::keyed().argument("--public-listen").argument(&public.to_string()).start();
    server.user("u", "premium");
    let token = mint(&server, "u", &[]);
    let at_the_door = |key: &str| server.with_key(key).at_address(public);
    at_the_door("").get("/healthz").is_text(200);
    at_the_door(&token).budget("u").shows("/plan", "premium");
    for path in ["/v1/users", "/v1/overview", "/metrics", "/v1/keys", "/v1/users/u"] {
        at_the_door(ADMIN).get(path).is_one_of(&[401, 403, 404]);
    }
    at_the_door(ADMIN).post("/v1/usage", ai("u", 1.0)).is_one_of(&[401, 403, 404]);
    server.budget("u").meter("cost", "0", "0");
}

#[test]
fn an_admin_key_from_the_environment_has_its_length() {
    let folder = tempfile::tempdir().unwrap();
    for bad in ["short", "with a space 0123456789 0123456789", &"x".repeat(257)] {
        let data = folder.path().join("data");
        let ran = crate::support::outlay_with_environment(
            &["serve", "--data", data.to_str().unwrap(), "--listen", "127.0.0.1:0"],
            &[("OUTLAY_ADMIN_KEY", bad)],
        );
        assert!(ran.code != 0 && !ran.out.contains("listening on"), "{bad:?}: {ran:?}");
        assert!(!ran.err.contains(bad) || bad == "short", "a secret was printed");
    }
}

/// The status of a request with a key that nobody has, and one more header.
fn guess(server: &Server, header: &str, value: &str) -> u16 {
    server.with_key("not-a-key-of-this-server").send("GET", "/v1/plans", &[(header, value)], b"").status
}

/// Wrong keys that an address may show within a minute.
const GUESSES: usize = 20;

#[test]
fn a_trusted_proxy_says_who_guesses() {
    let server = Setup::keyed().variable("OUTLAY_TRUSTED_PROXIES", "127.0.0.0/8, 10.0.0.0/8, ::1").start();
    for n in 0..GUESSES {
        // What the client wrote itself stands before what the proxy added, and hides nobody.
        assert_eq!(guess(&server, "x-forwarded-for", &format!("198.51.100.{n}, 203.0.113.7")), 401);
    }
    assert_eq!(guess(&server, "x-forwarded-for", "203.0.113.7"), 429);
    assert_eq!(guess(&server, "forwarded", "for=203.0.113.7;proto=https, for=10.1.1.1"), 429);
    assert_eq!(guess(&server, "x-forwarded-for", "203.0.113.8"), 401);
    let known = |client: &str| server.with_key(ADMIN).send("GET", "/v1/plans", &[("x-forwarded-for", client)], b"");
    known("203.0.113.7").is(429);
    known("203.0.113.8").is(200);
    // The proxy itself is many.
    for _ in 0..=GUESSES {
        assert_eq!(guess(&server, "x-other", "x"), 401);
    }
    until("the log says who it was", || server.log().contains("203.0.113.7") && server.log().contains("203.0.113.8"));
    assert!(!server.log().contains("198.51.100."), "{}", server.log());
}

#[test]
fn nobody_else_is_believed_about_who_they_are() {
    // Without proxies those nearby may be many, and none of them can name another.
    let server = Server::keyed();
    for _ in 0..=GUESSES {
        assert_eq!(guess(&server, "x-forwarded-for", "203.0.113.7"), 401);
    }
    // With proxies, everybody else is one.
    let server = Setup::keyed().argument("--trusted-proxies").argument("10.0.0.0/8").start();
    for n in 0..GUESSES {
        assert_eq!(guess(&server, "x-forwarded-for", &format!("203.0.113.{n}")), 401);
    }
    assert_eq!(guess(&server, "x-forwarded-for", "203.0.113.99"), 429);

    let folder = tempfile::tempdir().unwrap();
    let serve = ["serve", "--data", folder.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    for networks in ["10.0.0.0/33", "0.0.0.0/0", "proxy.example.org", "10.0.0.1,"] {
        let ran = outlay_with_environment(&serve, &[("OUTLAY_TRUSTED_PROXIES", networks)]).exits(2);
        assert!(ran.err.contains("OUTLAY_TRUSTED_PROXIES"), "{ran:?}");
    }
}

//! What an attacker tries first, each refused: tokens, paths, framing, timing, other sites, rebinding, injection. What is
//! tried beside it stands with what it attacks: hostile JSON and ids in `bad_input`, sockets in `silence`, who may call what
//! in `api/access`.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{ADMIN, Asks, Server, Setup, With, ai, of, until};

fn mint(server: &Server, user: &str) -> String {
    let minted = server.post(&of(user, "/tokens"), json!({"ttlSeconds": 3600, "reads": ["usage", "sessions"]}));
    minted.is(201).text("/token").to_owned()
}

/// A server with two people, who are told apart by what they spent.
fn of_two() -> Server {
    let server = Server::keyed();
    server.user("alice", "premium");
    server.user("bob", "premium");
    server.record(ai("alice", 0.25));
    server.record(ai("bob", 0.777));
    server
}

/// Whether an answer tells anything of Bob.
fn tells_of_bob(text: &str) -> bool {
    text.contains("0.777") || text.contains("\"bob\"")
}

const ALPHABET: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[test]
fn a_token_with_any_byte_changed_opens_nothing() {
    let server = of_two();
    let token = mint(&server, "alice");
    server.with_key(&token).budget("alice");
    for index in 0..token.len() {
        let mut changed = token.clone().into_bytes();
        let was = changed[index];
        let at = ALPHABET.iter().position(|byte| *byte == was).unwrap_or(0);
        changed[index] = ALPHABET[(at + 1) % ALPHABET.len()];
        let changed = String::from_utf8(changed).unwrap();
        let reply = server.with_key(&changed).get(&of("alice", "/budget"));
        assert_eq!(reply.status, 401, "byte {index} of {token}");
    }
    for cut in [0, 1, 10, token.len() / 2, token.len() - 1] {
        let reply = server.with_key(&token[..cut]).get(&of("alice", "/budget"));
        assert_eq!(reply.status, 401, "cut at {cut}");
    }
    server.with_key(&format!("{token}.")).get(&of("alice", "/budget")).is(401);
    server.with_key(&format!("{token}AA")).get(&of("alice", "/budget")).is(401);
}

#[test]
fn a_token_of_another_kind_or_algorithm_opens_nothing() {
    let server = of_two();
    let token = mint(&server, "alice");
    let rest = token.strip_prefix("v4.public.").unwrap();
    let mut forged: Vec<String> = [
        "v4.local.",
        "v3.public.",
        "v3.local.",
        "v2.public.",
        "v1.public.",
        "V4.public.",
        "k4.public.",
        "v4.public",
        "",
    ]
    .map(|header| format!("{header}{rest}"))
    .into();
    // JSON web tokens with the words of ours: none, a symmetric one, and a header that names the key.
    let url = |text: &str| {
        use base64::Engine;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
    };
    let claims = url(
        r#"{"sub":"alice","aud":"outlay","purpose":"outlay-user","exp":"2100-01-01T00:00:00Z","iat":"2020-01-01T00:00:00Z","nbf":"2020-01-01T00:00:00Z","jti":"1","reads":[]}"#,
    );
    for header in [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","typ":"JWT"}"#,
        r#"{"alg":"EdDSA","kid":"token-key/1"}"#,
        r#"{"alg":"HS256","kid":"../../dev/null"}"#,
    ] {
        forged.push(format!("{}.{claims}.", url(header)));
        forged.push(format!("{}.{claims}.{}", url(header), url("signature")));
    }
    // The claims with no signature, and with one of nothing but zeros.
    forged.push(format!("v4.public.{claims}"));
    forged.push(format!("v4.public.{claims}{}", "A".repeat(86)));
    for footer in ["token-key/1", "token-key/2", "", "token-key/999999999999", "key"] {
        forged.push(format!("v4.public.{claims}{}.{}", "A".repeat(86), url(footer)));
        forged.push(format!("{}.{}", token.rsplit_once('.').unwrap().0, url(footer)));
    }
    forged.retain(|forged| *forged != token);
    for forged in forged {
        let reply = server.with_key(&forged).get(&of("alice", "/budget"));
        assert_eq!(reply.status, 401, "{forged}");
    }
    server.with_key(&token).budget("alice");
}

#[test]
fn a_token_of_another_deployment_opens_nothing_here() {
    let (here, there) = (of_two(), of_two());
    let (ours, theirs) = (mint(&here, "alice"), mint(&there, "alice"));
    here.with_key(&ours).budget("alice");
    here.with_key(&theirs).get(&of("alice", "/budget")).is(401);
    there.with_key(&ours).get(&of("alice", "/budget")).is(401);
    // Nor does one of a store that has the same master key, and so seals alike.
    let master = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let [one, other] = [(); 2].map(|()| Setup::keyed().variable("OUTLAY_MASTER_KEY", master).start());
    let token = mint(&one, "alice");
    one.with_key(&token).budget("alice");
    other.with_key(&token).get(&of("alice", "/budget")).is(401);
}

#[test]
fn a_token_reaches_its_own_user_by_no_path() {
    let server = of_two();
    let token = mint(&server, "alice");
    let paths = [
        "/v1/users/bob/budget",
        "/v1/users/alice/../bob/budget",
        "/v1/users/alice/%2e%2e/bob/budget",
        "/v1/users/alice%2F..%2Fbob/budget",
        "/v1/users/alice%252F..%252Fbob/budget",
        "/v1/users/alice/budget/../../bob/budget",
        "/v1/users/./bob/budget",
        "/v1/users//bob/budget",
        "//v1/users/bob/budget",
        "/v1/users/bob;alice/budget",
        "/v1/users/bob/budget;user=alice",
        "/v1/users/alice;/../bob/budget",
        "/v1/users/bob%00alice/budget",
        "/v1/users/bob%20/budget",
        "/v1/users/BOB/budget",
        "/v1/users/b%6Fb/budget",
        "/v1/users/bob/budget/",
        "/v1/users/bob/budget%2F",
        "/v1/users/alice?userId=bob",
        "/v1/users/alice/usage?userId=bob",
        "/v1/users/alice/budget?userId=bob",
        "/v1/users/alice/budget#/../../bob/budget",
        "/v1/users/bob/budget?token=x",
        "/v1/users/*/budget",
        "/v1/users/bob\\budget",
        "/V1/users/bob/budget",
        "/v1/users/bob/history",
        "/v1/users/bob/forecast",
        "/v1/users/bob/events",
        "/v1/users/bob/usage",
        "/v1/users/bob/sessions",
        "/v1/audit",
        "/v1/users",
        "/users/bob",
        "/users/bob/usage.csv",
        "/metrics",
    ];
    let authorization = format!("authorization: Bearer {token}\r\n");
    for path in paths {
        for form in [path.to_owned(), format!("http://127.0.0.1{path}"), format!("http://evil.example.org{path}")] {
            let request = format!("GET {form} HTTP/1.1\r\nhost: 127.0.0.1\r\n{authorization}connection: close\r\n\r\n");
            let answer = raw(&server, request.as_bytes());
            assert!(!tells_of_bob(&answer), "{form}: {answer}");
            // What stands after a `#` never belongs to a request: that one is Alice's own.
            let refused = status(&answer).is_none_or(|status| (400..500).contains(&status));
            assert!(refused || form.contains('#'), "{form}: {answer}");
        }
    }
    // The same question in the open, so that the test would see an answer if there were one.
    assert!(tells_of_bob(&server.get("/v1/users/b%6Fb/budget").text()));
}

/// Sends bytes on a socket of their own, and gives all that comes back until the server hangs up, as `connection: close`
/// asks it to. The way there stays open: to the server a client who closes it has left, and need not be answered.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    // The server may hang up in the middle.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The same where the connection stays open: what comes until it is silent for a while, or closed.
fn raw_alive(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of the first answer; none where the connection was cut.
fn status(answer: &str) -> Option<u16> {
    answer.lines().next()?.split(' ').nth(1)?.parse().ok()
}

/// How many answers came on one connection.
fn answers(answer: &str) -> usize {
    answer.matches("HTTP/1.1 ").count()
}

#[test]
fn a_request_has_one_meaning_for_whoever_stands_before_the_server() {
    let server = of_two();
    let admin = format!("host: 127.0.0.1\r\nauthorization: Bearer {ADMIN}\r\ncontent-type: application/json\r\n");
    let body = ai("mallory", 1.0).to_string();
    let inner = format!("POST /v1/usage HTTP/1.1\r\n{admin}content-length: {}\r\n\r\n{body}", body.len());
    let two_hosts = format!("GET /v1/plans HTTP/1.1\r\n{admin}host: evil.example.org\r\n\r\n");
    let two_keys = format!("GET /v1/plans HTTP/1.1\r\n{admin}authorization: Bearer x\r\n\r\n");
    let folded = format!("GET /v1/plans HTTP/1.1\r\n{admin}x-a: b\r\n host: evil.example.org\r\n\r\n");
    let folded_key = format!("GET /v1/plans HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer\r\n {ADMIN}\r\n\r\n");
    let smuggled =
        |framing: &str, first: &str| format!("POST /v1/verify HTTP/1.1\r\n{admin}{framing}\r\n{first}{inner}");
    let requests = [
        two_hosts,
        two_keys,
        folded,
        folded_key,
        // What the one takes for the body is to the other a second request.
        smuggled("content-length: 0\r\ncontent-length: 5\r\n", "0\r\n\r\n"),
        smuggled("content-length: 0, 5\r\n", "0\r\n\r\n"),
        smuggled("content-length: +0\r\n", ""),
        smuggled("content-length : 0\r\n", ""),
        smuggled("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n"),
        smuggled("transfer-encoding: xchunked\r\n", "0\r\n\r\n"),
        smuggled("transfer-encoding: chunked, gzip\r\n", "0\r\n\r\n"),
        smuggled("transfer-encoding:\u{b}chunked\r\n", "0\r\n\r\n"),
        smuggled("transfer-encoding : chunked\r\n", "0\r\n\r\n"),
        smuggled("x: y\rtransfer-encoding: chunked\r\n", "0\r\n\r\n"),
    ];
    for request in requests {
        let answer = raw_alive(&server, request.as_bytes());
        let shown: String = request.chars().take(300).collect();
        assert!(status(&answer).is_none_or(|status| (400..=501).contains(&status)), "{shown}: {answer}");
        assert!(answers(&answer) <= 1, "two answers to {shown}: {answer}");
        assert!(!answer.contains("premium"), "{shown}: {answer}");
    }
    // With both lengths the coding holds, as RFC 9112 has it, and the connection ends: what follows is never a request.
    for framing in
        ["content-length: 4\r\ntransfer-encoding: chunked\r\n", "transfer-encoding: chunked\r\ncontent-length: 4\r\n"]
    {
        let answer = raw_alive(&server, smuggled(framing, "0\r\n\r\n").as_bytes());
        // A connection that ends with something unread may take its answer with it.
        assert!(answers(&answer) <= 1, "{framing}: {answer}");
        assert!(status(&answer) != Some(200) || answer.contains("connection: close"), "{framing}: {answer}");
    }
    server.get(&of("mallory", "")).is(200).shows("/known", "false");
    // The absolute form, as a proxy sends it, is the same request; a host of the line counts for nothing.
    let absolute = format!("GET http://127.0.0.1/v1/plans HTTP/1.1\r\n{admin}connection: close\r\n\r\n");
    assert_eq!(status(&raw(&server, absolute.as_bytes())), Some(200));
}

/// A key is found by its digest, and compared as one: how long that takes says nothing about how much of it was right. The
/// times are printed for whoever wants to look; what is asserted is how the code is made.
#[test]
fn a_key_is_compared_by_its_digest_alone() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    for file in ["auth.rs", "keys.rs", "sign_in.rs"] {
        let text = fs::read_to_string(sources.join(file)).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        for line in code.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
            let compares = line.contains("==") || line.contains("!=") || line.contains(".eq(");
            let secret = line.contains("digest") || line.contains("shown ") || line.contains("key_text");
            assert!(!(compares && secret), "{file} compares a secret in time that depends on it: {line}");
        }
        assert!(file != "auth.rs" || code.matches("ct_eq").count() >= 2, "{file} compares digests in constant time");
    }
    let store = fs::read_to_string(sources.join("../store.rs")).unwrap();
    assert!(store.contains("fn key(&self, digest: &[u8; 32])"), "the store is asked by digest, and never sees a key");

    let server = Server::keyed();
    let near = format!("{}X", &ADMIN[..ADMIN.len() - 1]);
    let far = "z".repeat(ADMIN.len());
    let mut medians = Vec::new();
    for guess in [&near, &far] {
        let mut times: Vec<Duration> = (0..200)
            .map(|_| {
                let started = Instant::now();
                server.with_key(guess).get("/v1/plans").is(401);
                started.elapsed()
            })
            .collect();
        times.sort_unstable();
        medians.push(times[times.len() / 2]);
    }
    eprintln!("all but one character right: {:?}; none right: {:?}", medians[0], medians[1]);
}

/// Signs in to the pages, and gives the cookie as a browser sends it back.
fn signed_in(server: &Server, key: &str) -> String {
    let host = server.address().to_string();
    let origin = format!("http://{host}");
    let form = [("content-type", "application/x-www-form-urlencoded"), ("origin", origin.as_str())];
    let reply = server.with_key("").send("POST", "/sign-in", &form, format!("key={key}").as_bytes());
    assert_eq!(reply.status, 303, "{}", reply.text());
    reply.header("set-cookie").unwrap().split(';').next().unwrap().to_owned()
}

#[test]
fn a_page_of_another_site_changes_nothing_with_somebodys_cookie() {
    let server = of_two();
    let cookie = signed_in(&server, ADMIN);
    let ours = format!("http://{}", server.address());
    let forms = [
        ("/users/alice/settings", "plan=pro&email=&cost=&aiRuns=&apiRuns=&do=save"),
        ("/users/alice/erase", "confirm=alice"),
        ("/users/alice/token", "ttl=3600"),
        ("/users/alice/token/end", ""),
        ("/plans/premium", "cost=0&aiRuns=0&apiRuns=0&do=save"),
        ("/settings/keys", "role=admin"),
        ("/settings/keys/none/revoke", ""),
        ("/v1/keys", "{\"role\": \"admin\"}"),
        ("/v1/usage", "{\"userId\": \"alice\", \"feature\": \"f\", \"cost\": 1}"),
        ("/v1/users/alice/tokens", "{}"),
        ("/v1/verify", "{}"),
    ];
    let told = [
        vec![("origin", "http://evil.example.org")],
        vec![("origin", "null")],
        vec![("origin", "http://127.0.0.1:1")],
        vec![("origin", "https://127.0.0.1")],
        vec![("sec-fetch-site", "cross-site")],
        vec![("sec-fetch-site", "same-site")],
        vec![("sec-fetch-site", "none")],
        vec![("sec-fetch-site", "cross-site"), ("origin", ours.as_str())],
        vec![],
    ];
    for (path, body) in forms {
        for extra in &told {
            for kind in ["application/x-www-form-urlencoded", "text/plain", "application/json"] {
                let mut headers = vec![("cookie", cookie.as_str()), ("content-type", kind)];
                headers.extend(extra);
                let reply = server.with_key("").send("POST", path, &headers, body.as_bytes());
                assert_eq!(reply.status, 403, "{path} as {kind} with {extra:?}");
            }
        }
    }
    for (method, path) in
        [("DELETE", "/v1/users/alice"), ("PUT", "/v1/users/alice"), ("DELETE", "/v1/users/alice/tokens")]
    {
        let headers = [("cookie", cookie.as_str()), ("origin", "http://evil.example.org")];
        server.with_key("").send(method, path, &headers, b"{}").is(403);
    }
    server.get(&of("alice", "")).is(200).shows("/plan", "premium");
    assert!(server.all("/v1/keys").is_empty());
    // The same form from a page of ours goes through.
    let headers = [("cookie", cookie.as_str()), ("origin", ours.as_str())];
    assert_eq!(server.with_key("").send("POST", forms[0].0, &headers, forms[0].1.as_bytes()).status, 303);
    server.get(&of("alice", "")).is(200).shows("/plan", "pro");
    // Where a form leads afterwards is never another site.
    for to in
        ["//evil.example.org", "https://evil.example.org", "/\\evil.example.org", "\\\\evil", "%0d%0aset-cookie:%20a=b"]
    {
        let reply =
            server.with_key("").send("POST", "/theme", &[("origin", &ours)], format!("theme=dark&to={to}").as_bytes());
        let location = reply.header("location").unwrap_or_default();
        assert!(location.starts_with("./") && !location.starts_with(".//"), "{to}: {location}");
        assert_eq!(reply.headers.iter().filter(|(name, _)| name == "set-cookie").count(), 1, "{to}");
    }
}

#[test]
fn a_name_that_was_made_to_point_here_reaches_no_open_server() {
    let server = Server::open();
    server.user("u", "premium");
    let port = server.address().port();
    let foreign = [
        "evil.example.org".to_owned(),
        format!("evil.example.org:{port}"),
        format!("127.0.0.1.evil.example.org:{port}"),
        format!("localhost.evil.example.org:{port}"),
        "localhost.".to_owned() + "evil",
        format!("0.0.0.0:{port}"),
        format!("[::ffff:10.0.0.1]:{port}"),
        "127.0.0.1@evil.example.org".to_owned(),
        "127.0.0.1:80evil".to_owned(),
        String::new(),
    ];
    for host in &foreign {
        for (method, path) in [("GET", "/v1/users"), ("GET", "/"), ("POST", "/v1/usage"), ("DELETE", "/v1/users/u")] {
            let headers = [("host", host.as_str()), ("content-type", "application/json")];
            let reply = server.send(method, path, &headers, if method == "POST" { b"{}" } else { b"" });
            assert!([400, 403, 421].contains(&reply.status), "{method} {path} as {host:?}: {}", reply.status);
        }
    }
    // A page of another site that names this machine rightly is still another site, also without a question before.
    for origin in ["http://evil.example.org", "null", "file://", "http://localhost.evil.example.org"] {
        for kind in ["text/plain", "application/json"] {
            let headers = [("origin", origin), ("content-type", kind)];
            let body = ai("u", 1.0).to_string();
            server.send("POST", "/v1/usage", &headers, body.as_bytes()).is_one_of(&[400, 403, 415]);
        }
        let reply = server.send("GET", "/v1/users", &[("origin", origin)], b"");
        assert_eq!(reply.header("access-control-allow-origin"), None, "{origin}");
    }
    server.budget("u").meter("cost", "0", "0");
}

#[test]
fn nothing_that_is_sent_becomes_a_header_or_a_line_of_the_log() {
    let setup = Setup::keyed().variable("OUTLAY_LOG", "debug").variable("OUTLAY_LOG_FORMAT", "json");
    let server = setup.variable("OUTLAY_TRUSTED_PROXIES", "127.0.0.0/8").start();
    let forged = "x%0d%0aX-Injected:%20yes%0d%0a%0d%0a{\"level\":\"ERROR\",\"forged\":true}";
    for path in [
        format!("/v1/users/{forged}/budget"),
        format!("/v1/plans?{forged}"),
        format!("/users?q={forged}"),
        format!("/problems/{forged}"),
        format!("/{forged}"),
        "/v1/users/u%1b[31m/budget".to_owned(),
        format!("/v1/audit?who={forged}"),
    ] {
        let reply = server.send("GET", &path, &[], b"");
        assert_eq!(reply.header("x-injected"), None, "{path}");
        assert!(reply.status < 500, "{path}: {}", reply.status);
    }
    let hostile = "a\tb{\"level\":\"ERROR\"}\u{1b}[31m";
    for name in [
        "user-agent",
        "x-forwarded-for",
        "forwarded",
        "x-request-id",
        "traceparent",
        "referer",
        "accept",
        "last-event-id",
    ] {
        let reply = server.send("GET", "/v1/plans", &[(name, &hostile.replace('\u{1b}', ""))], b"");
        let given = reply.header("x-request-id").unwrap_or_default();
        assert!(!given.contains("level"), "{name}: a request's id is the server's own");
        let lone = format!("GET /v1/plans HTTP/1.1\r\nhost: a\r\n{name}: a\rX-Injected: yes\r\n\r\n");
        assert!(!raw(&server, lone.as_bytes()).to_ascii_lowercase().contains("x-injected"), "{name}");
    }
    for text in ["a\r\nb", "a\u{0}b", "a\u{1b}[31m", "a\u{85}b"] {
        server.post("/v1/keys", json!({"role": "viewer", "description": text})).refuses("/description");
        server.put(&of("u", ""), json!({"email": format!("{text}@example.org")})).refuses("/email");
        server.post("/v1/usage", ai("u", 1.0).with("feature", text)).refuses("/feature");
        server.post("/v1/usage", ai("u", 1.0).with("operationId", text)).refuses("/operationId");
    }
    server.with_key("wrong\u{a0}key").get("/v1/plans").is(401);
    server.record(ai("\u{2028}u\u{2029}", 0.5));
    until("something is logged", || server.log().lines().count() > 20);
    for line in server.log().lines() {
        let read: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(read.get("forged").is_none() && !line.contains('\u{1b}'), "{line}");
    }
    for secret in [ADMIN, "\u{2028}u", "wrong"] {
        assert!(!server.log().contains(secret), "the log holds {secret:?}");
    }
}

#[test]
fn no_cell_of_a_csv_is_a_formula() {
    let server = Server::open();
    let formulas = [
        "=1+1",
        "+1",
        "-1+1",
        "@SUM(A1)",
        "=cmd|'/c calc'!A0",
        "=HYPERLINK(\"http://evil\",\"x\")",
        "'=1",
        "\"=1",
        ",=1",
    ];
    for (index, formula) in formulas.iter().enumerate() {
        let operation = ai(formula, 0.25).with("feature", *formula).with("provider", *formula).with("model", *formula);
        let operation = operation.with("operationId", *formula).with("sessionId", *formula).with("stepLabel", *formula);
        server.record(operation.with("isBillableRun", true));
        server.put(&of(formula, ""), json!({"plan": "base", "limits": {"cost": 0.1}})).is(200);
        server
            .put(
                &format!("/v1/plans/{}", crate::support::encoded(formula)),
                json!({"limits": {"cost": index, "aiRuns": 1, "apiRuns": 1}}),
            )
            .is(201);
        server.open_session(formula, &format!("{formula}2"), json!({"cost": 100})).is(402);
        server.reverse(formula, formula).is(200);
    }
    let mut csvs: Vec<String> =
        ["overview", "users", "sessions", "alerts", "denials", "audit"].map(|list| format!("/{list}.csv")).into();
    for formula in formulas {
        let user = crate::support::encoded(formula);
        csvs.push(format!("/users/{user}/usage.csv"));
        csvs.push(format!("/users/{user}/sessions/{user}/steps.csv"));
    }
    let mut cells = 0;
    for path in csvs {
        let reply = server.get(&path);
        assert_eq!(reply.status, 200, "{path}: {}", reply.text());
        assert!(reply.header("content-disposition").unwrap().starts_with("attachment"), "{path}");
        for row in csv::ReaderBuilder::new().from_reader(reply.body.as_slice()).records() {
            for cell in &row.unwrap() {
                cells += 1;
                let is_formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r', '\0']);
                assert!(!is_formula || cell.parse::<f64>().is_ok(), "{path}: {cell}");
            }
        }
    }
    assert!(cells > 300, "the lists were empty");
}

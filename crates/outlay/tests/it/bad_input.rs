//! Input that is wrong, hostile or both: each gets its answer, names its field, and changes nothing.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{ADMIN, Asks, Connection, Json, Server, With, ai, encoded, of, until};

/// A sound operation with one field replaced by raw JSON text.
fn operation_with(field: &str, raw: &str) -> String {
    let fields = [("userId", r#""u""#), ("feature", r#""test""#), ("cost", "0.5")];
    let kept = fields.iter().filter(|(name, _)| *name != field).map(|(name, value)| format!(r#""{name}": {value}"#));
    let replaced = std::iter::once(format!(r#""{field}": {raw}"#));
    format!("{{{}}}", kept.chain(replaced).collect::<Vec<_>>().join(", "))
}

fn long(length: usize) -> String {
    format!("\"{}\"", "x".repeat(length))
}

/// Nothing was recorded for anybody.
#[track_caller]
fn nothing_changed(server: &Server) {
    assert!(server.all("/v1/users").is_empty(), "a refused request made a user");
    assert!(server.all("/v1/sessions").is_empty() && server.all("/v1/denials").is_empty());
    server.get(&of("u", "")).is(200).shows("/known", "false").shows("/monthlyTotalCost", "0");
}

#[test]
fn a_bad_field_of_an_operation_is_named() {
    let server = Server::open();
    let too_long = long(129);
    let cases = [
        (
            "userId",
            vec![
                "null",
                "7",
                r#""""#,
                r#"".""#,
                r#""..""#,
                r#""a\u0000b""#,
                r#""a\nb""#,
                r#""\u007f""#,
                r#""\u0085""#,
                "[]",
                &too_long,
            ],
        ),
        ("operationId", vec!["7", r#""""#, r#""..""#, r#""a\tb""#, "{}", &too_long]),
        ("sessionId", vec!["7", r#""""#, r#"".""#, r#""\u001b""#, &too_long]),
        ("feature", vec!["null", "7", r#""""#, r#""a\u0000""#, &too_long]),
        ("provider", vec!["7", r#""""#, &too_long]),
        ("model", vec!["7", r#""""#, &too_long]),
        ("usageType", vec![r#""aiusage""#, r#""AI""#, "1"]),
        (
            "cost",
            vec![
                "-1",
                "-0.000000000001",
                r#""-1""#,
                "true",
                "[]",
                "{}",
                r#""""#,
                r#""1 USD""#,
                r#""NaN""#,
                r#""Infinity""#,
                r#"" 1""#,
                r#""1_000""#,
            ],
        ),
        ("isBillableRun", vec![r#""true""#, "1", "0"]),
        ("stepNumber", vec![r#""1""#, "1.5", "-1", "1e99"]),
        ("durationMs", vec![r#""1""#, "1.5", "-1", "99999999999999999999"]),
        (
            "timestamp",
            vec![
                r#""yesterday""#,
                "1760380376660",
                r#""2025-13-01T00:00:00Z""#,
                r#""2025-02-29T00:00:00Z""#,
                r#""2025-10-13T18:32:58""#,
                r#""2025-10-13T25:00:00Z""#,
            ],
        ),
        ("tokens", vec!["7", "[]"]),
        ("units", vec!["7", "[]"]),
        ("metadata", vec!["7", "[]", r#""text""#]),
    ];
    for (field, values) in cases {
        for value in values {
            server.post("/v1/usage", operation_with(field, value).as_str()).refuses(&format!("/{field}"));
        }
    }
    let step_label = long(257);
    server.post("/v1/usage", operation_with("stepLabel", &step_label).as_str()).refuses("/stepLabel");
    server.post("/v1/usage", operation_with("tokens", r#"{"input": -1}"#).as_str()).refuses("/tokens/input");
    server.post("/v1/usage", operation_with("tokens", r#"{"input": "7"}"#).as_str()).refuses("/tokens/input");
    for missing in ["userId", "feature", "cost"] {
        let fields = json!({"userId": "u", "feature": "test", "cost": 0.5});
        let Value::Object(mut fields) = fields else { unreachable!() };
        fields.remove(missing);
        server.post("/v1/usage", Value::Object(fields)).refuses(&format!("/{missing}"));
    }
    nothing_changed(&server);
}

#[test]
fn every_bad_field_is_named_at_once() {
    let server = Server::open();
    let problem = server.post("/v1/usage", json!({"userId": "", "feature": 7, "cost": -1})).refuses("/cost");
    let pointers: Vec<&str> = problem.list("/errors").iter().map(|error| error.text("/pointer")).collect();
    for pointer in ["/userId", "/feature", "/cost"] {
        assert!(pointers.contains(&pointer), "{problem}");
    }
    assert!(problem.list("/errors").iter().all(|error| !error.text("/detail").is_empty()), "{problem}");
    nothing_changed(&server);
}

#[test]
fn the_longest_values_still_pass() {
    let server = Server::open();
    // Characters, not bytes: 128 of four bytes each.
    let id = "\u{1F600}".repeat(128);
    let operation = json!({"userId": id, "operationId": id, "sessionId": id, "feature": id, "provider": id, "model": id,
        "stepLabel": "\u{1F600}".repeat(256), "cost": 0.5, "metadata": {"k": "x".repeat(8000)}});
    server.record(operation).shows("/operationId", &id);
    server.budget(&id).shows("/userId", &id).meter("cost", "0.5", "0");
    server.session(&id, &id).shows("/feature", &id);
    server.reverse(&id, &id).is(200).shows("/reverses", &id);
}

#[test]
fn hostile_json_is_refused_whole() {
    let server = Server::open();
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    let bodies = [
        String::new(),
        " ".to_owned(),
        "{".to_owned(),
        "null".to_owned(),
        "7".to_owned(),
        r#""text""#.to_owned(),
        "undefined".to_owned(),
        operation_with("cost", "NaN"),
        operation_with("cost", "Infinity"),
        operation_with("cost", "-Infinity"),
        operation_with("cost", "1e999999999"),
        operation_with("cost", "1e99999999999999999999999"),
        operation_with("cost", r#""1e999999999""#),
        operation_with("cost", &"9".repeat(400)),
        operation_with("cost", ".5"),
        operation_with("cost", "5."),
        operation_with("cost", "+5"),
        operation_with("cost", "05"),
        operation_with("cost", "0x10"),
        operation_with("cost", "1,5"),
        operation_with("cost", "'0.5'"),
        operation_with("stepNumber", "1e999999999"),
        operation_with("userId", r#""\ud800""#),
        operation_with("userId", r#""\udc00\ud800""#),
        operation_with("metadata", r#"{"k": "\ud800"}"#),
        operation_with("userId", "\"a\u{1}b\""),
        operation_with("metadata", &deep("[", "]")),
        operation_with("metadata", &deep(r#"{"a":"#, "}").replace(r#""a":}"#, r#""a":1}"#)),
        operation_with("metadata", r#"{"k": 1, "k": 2}"#),
        deep("[", "]"),
        deep("[", ""),
        deep(r#"{"a":"#, ""),
        format!("{} trailing", operation_with("cost", "0.5")),
        format!("{}{}", operation_with("cost", "0.5"), operation_with("cost", "0.5")),
        format!("{},", operation_with("cost", "0.5")),
        format!("\u{feff}{}", operation_with("cost", "0.5")),
        format!("/* comment */{}", operation_with("cost", "0.5")),
        r#"{"userId": "u", "userId": "v", "feature": "test", "cost": 0.5}"#.to_owned(),
        r#"{"userId": "u", "feature": "test", "cost": 0.5, "cost": 0.25}"#.to_owned(),
        r#"{"userId": "u", "feature": "test", "cost": 0.5, "\u0063ost": 0.25}"#.to_owned(),
        r#"{"userId": "u", "feature": "test", "cost": 0.5,}"#.to_owned(),
        r#"{userId: "u", feature: "test", cost: 0.5}"#.to_owned(),
        r#"{"userId": "u", "feature": "test", "cost": 0.5"#.to_owned(),
    ];
    let started = Instant::now();
    for body in bodies {
        let reply = server.post("/v1/usage", body.as_str());
        assert!(reply.status == 400, "{} for {}", reply.status, body.chars().take(200).collect::<String>());
        reply.is(400);
    }
    for bytes in [
        &b"\xff\xfe{}"[..],
        b"{\"userId\": \"\xc3\x28\", \"feature\": \"f\", \"cost\": 1}",
        b"{\"userId\": \"\xed\xa0\x80\", \"feature\": \"f\", \"cost\": 1}",
        b"\0",
    ] {
        server.post("/v1/usage", bytes.to_vec()).is(400);
    }
    // No asserted speed, only that nothing grows with the square of its size.
    assert!(started.elapsed() < Duration::from_mins(1), "some body takes far too long");
    nothing_changed(&server);
}

#[test]
fn odd_numbers_are_read_exactly_or_refused() {
    let server = Server::open();
    let digits = format!("0.{}", "123456789".repeat(30));
    for (raw, exact) in [
        ("-0", "0"),
        ("-0.0", "0"),
        (digits.as_str(), "0.123456789123"),
        ("5e0", "5"),
        // A float to its last binary digit, as a number and as text.
        ("0.1000000000000000055511151231257827021181583404541015625", "0.1"),
        (r#""0.1000000000000000055511151231257827021181583404541015625""#, "0.1"),
    ] {
        let reply = server.post("/v1/usage", operation_with("cost", raw).as_str());
        reply.is(200).shows("/cost", exact);
    }
    for raw in ["0e999999999", "1e-999999999", &format!("0.{}", "1".repeat(400))] {
        server.post("/v1/usage", operation_with("cost", raw).as_str()).refuses("/cost");
    }
}

#[test]
fn metadata_and_bodies_have_their_size() {
    let server = Server::open();
    server.post("/v1/usage", ai("u", 0.5).with("metadata", json!({"k": "x".repeat(8 * 1024)}))).is(413);
    nothing_changed(&server);
}

#[test]
fn who_sends_too_much_gets_to_read_why() {
    let server = Server::keyed();
    let huge = format!("[{}]", "1,".repeat(10 * 1024 * 1024));
    let chunk = format!("100000\r\n{}\r\n", "1,".repeat(512 * 1024));
    let chunked = format!("{}0\r\n\r\n", chunk.repeat(20));
    let head = |path: &str, key: &str, more: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\nauthorization: Bearer {key}\r\n{more}\r\n"
        )
    };
    for (path, key, status) in [("/v1/usage", ADMIN, 413), ("/v1/users/u/afford", ADMIN, 413), ("/v1/usage", "x", 401)]
    {
        for (more, body) in [
            (format!("content-length: {}\r\n", huge.len()), &huge),
            ("transfer-encoding: chunked\r\n".to_owned(), &chunked),
        ] {
            // All of it is sent before the answer is looked for, as most clients do.
            let mut connection = Connection::open(server.address()).unwrap();
            connection.send_raw(head(path, key, &more).as_bytes()).unwrap();
            connection.send_raw(body.as_bytes()).unwrap_or_else(|error| panic!("{path} {more}: {error}"));
            let (reply, _) = connection.exchange(b"").unwrap_or_else(|error| panic!("{path} {more}: {error}"));
            reply.is(status);
        }
    }
    // Who asks before sending it hears at once that it is not wanted.
    let mut connection = Connection::open(server.address()).unwrap();
    let asks = head("/v1/usage", ADMIN, "expect: 100-continue\r\ncontent-length: 20000000\r\n");
    let (reply, alive) = connection.exchange(asks.as_bytes()).unwrap();
    reply.is(413);
    // The answer may come a moment before the end of the connection.
    until("the connection ends", || !alive || !connection.is_alive());
    nothing_changed(&server);
}

#[test]
fn what_reads_takes_no_body_and_waits_for_none() {
    let server = Server::open();
    for path in ["/problems", "/healthz", "/v1/users/u/budget"] {
        let mut connection = Connection::open(server.address()).unwrap();
        let stalled = format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{{");
        let started = Instant::now();
        let (reply, _) = connection.exchange(stalled.as_bytes()).unwrap();
        reply.is_text(200);
        assert!(started.elapsed() < Duration::from_secs(20), "it waited for the body");
    }
}

#[test]
fn null_is_as_good_as_nothing_beside_what_is_asked() {
    let server = Server::open();
    server.user("u", "premium");
    let choices = json!([{"name": "basic", "estimate": {"cost": 0.1}}]);
    for (index, ask) in
        [json!({"estimate": null, "choices": choices}), json!({"choices": null, "estimate": {"cost": 0.1}})]
            .into_iter()
            .enumerate()
    {
        server.post(&of("u", "/afford"), ask.clone()).is(200).shows("/allowed", "true");
        let open = ask.with("feature", "test").with("sessionId", format!("s{index}"));
        server.post(&of("u", "/sessions"), open).is(201);
    }
    for ask in [json!({"estimate": null}), json!({"choices": null}), json!({"estimate": null, "choices": null})] {
        let problem = server.post(&of("u", "/afford"), ask).refuses("/estimate");
        assert_eq!(problem.list("/errors").len(), 1, "{problem}");
    }
    server.post(&of("u", "/afford"), json!({"estimate": {}, "choices": choices})).refuses("/choices");
}

#[test]
fn a_whole_number_may_be_written_as_a_float() {
    let server = Server::open();
    let operation = |step: &str, duration: &str| {
        let fields = format!(r#""stepNumber": {step}, "durationMs": {duration}, "tokens": {{"input": {duration}}}"#);
        format!(r#"{{"userId": "u", "operationId": "o", "sessionId": "s", "feature": "test", "cost": 0.5, {fields}}}"#)
    };
    server.post("/v1/usage", operation("7.0", "1.5e3").as_str()).is(200);
    // However it is written, it is the same operation.
    server.post("/v1/usage", operation("7", "1500").as_str()).is(200).shows("/duplicate", "true");
    let session = server.session("u", "s");
    session.shows("/steps/0/stepNumber", "7").shows("/steps/0/durationMs", "1500");
    server.user("v", "premium");
    let reply =
        server.post("/v1/users/v/sessions", r#"{"feature": "f", "holdSeconds": 6e1, "estimate": {"aiRuns": 2.0}}"#);
    reply.is(201).shows("/held/aiRuns", "2");
    server.put("/v1/users/w", r#"{"limits": {"apiRuns": 1e2}}"#).is(201).shows("/limits/apiRuns", "100");
}

#[test]
fn times_are_rfc_3339_and_months_have_an_end() {
    let server = Server::open();
    let at = |time: &str| server.post("/v1/usage", ai("u", 0.5).with("timestamp", time).with("sessionId", "s"));
    for time in ["2025-10-13T15:52:56+24:00", "2025-10-13T15:52:56,5Z", "2025-10-13T15:52:56.Z"] {
        let problem = at(time).refuses("/timestamp");
        assert!(problem.text("/detail").contains("RFC 3339"), "{problem}");
    }
    for time in ["9999-12-31T23:59:59Z", "9999-12-30T22:00:00Z", "9998-01-01T00:00:00Z"] {
        let problem = at(time).refuses("/timestamp");
        assert!(problem.text("/detail").contains("more than a day ahead"), "{problem}");
    }
    nothing_changed(&server);
    at("2025-10-13T15:52:56.12345678999+02:00").is(200).shows("/month", "2025-10");
    server.session("u", "s").instant("/steps/0/timestamp", "2025-10-13T13:52:56.123456789Z");
    for month in ["9999-12", "0000-01"] {
        let problem = server.get(&of("u", &format!("/budget?month={month}"))).refuses("/month");
        assert!(problem.text("/detail").contains("9999-11"), "{problem}");
    }
    server.budget_of("u", "9999-11").shows("/resetsAt", "9999-12-01T00:00:00Z");
}

#[test]
fn a_body_that_is_no_object_is_told_in_a_sentence() {
    let server = Server::open();
    for body in ["7", "", "{", "[[]]"] {
        let problem = server.post("/v1/usage", body).is_one_of(&[207, 400]);
        let problem = problem.get("/results/0").unwrap_or(&problem);
        let detail = problem.text("/detail");
        assert!(detail.starts_with("The body must") || detail.starts_with("The item must"), "{problem}");
    }
}

#[test]
fn what_cannot_be_done_names_its_field_too() {
    let server = Server::open();
    let names = |problem: Json, pointer: &str| {
        problem.shows("/errors/0/pointer", pointer);
    };
    names(server.put("/v1/users/u", json!({"plan": "gold"})).is(422), "/plan");
    server.user("u", "enterprise");
    for _ in 0..8 {
        server.record(ai("u", 1_000_000.0));
    }
    server.record(ai("u", 999_999.0));
    names(server.post("/v1/usage", ai("u", 2.0)).is(422), "/cost");
    let event = json!({"specversion": "1.0", "type": "t", "source": "s", "id": "e", "subject": "u",
        "data": {"feature": "test", "cost": 2}});
    names(server.post("/v1/usage", ("application/cloudevents+json", event)).is(422), "/data/cost");
}

#[test]
fn a_header_that_says_who_calls_is_there_once() {
    let server = Server::keyed();
    let (one, other) = (format!("Bearer {ADMIN}"), "Bearer x".to_owned());
    for (first, second) in [(&one, &other), (&other, &one), (&one, &one)] {
        let headers = [("authorization", first.as_str()), ("authorization", second.as_str())];
        server.with_key("").send("GET", "/v1/plans", &headers, b"").is(400);
    }
}

#[test]
fn a_parameter_that_is_not_known_is_refused_everywhere() {
    let server = Server::open();
    server.put("/v1/users/u?plan=enterprise", json!({"plan": "premium"})).refuses("/plan");
    server.post("/v1/usage?dryRun=true", ai("u", 0.5)).refuses("/dryRun");
    server.post("/v1/users/u/afford?month=2025-10", json!({"estimate": {}})).refuses("/month");
    server.post("/v1/verify?fast=1", json!({})).refuses("/fast");
    server.delete("/v1/users/u?month=2025-10").refuses("/month");
    server.get("/v1/users/u/budget?mnth=2025-10").refuses("/mnth");
    nothing_changed(&server);
}

#[test]
fn another_media_type_is_not_read() {
    let server = Server::open();
    for kind in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data"] {
        server.post("/v1/usage", (kind, ai("u", 0.5))).is(415);
    }
    let encoded_body = [("content-type", "application/json"), ("content-encoding", "gzip")];
    server.send("POST", "/v1/usage", &encoded_body, b"\x1f\x8b\x08\0\0\0\0\0").is_one_of(&[400, 415]);
    nothing_changed(&server);
    server.post("/v1/usage", ("application/json; charset=utf-8", ai("u", 0.5))).is(200);
}

#[test]
fn an_id_is_kept_as_given_and_decoded_once() {
    let server = Server::open();
    // Some of the ids would be read as another JSON value.
    let as_json = |id: &str| json!(id).to_string();
    let ids = [
        "a/b",
        "a%2Fb",
        "a%252Fb",
        "a b",
        "a+b",
        "a?b=c&d",
        "a#b",
        "a\\b",
        "a;b",
        "...",
        "-",
        "%",
        "100%",
        "'; DROP TABLE ops; --",
        "=cmd()",
        "</script><script>alert(1)</script>",
        "\u{202e}gnirts",
        "zero\u{200b}width",
        "caf\u{e9}",
        "cafe\u{301}",
        "CAF\u{c9}",
        "\u{1F469}\u{200d}\u{1F4BB}",
        "null",
        "budget",
        "C:\\con",
        "{}",
        "*",
    ];
    for (index, id) in ids.iter().enumerate() {
        let cost = format!("0.{:03}", index + 1);
        let operation = ai(id, 0.0)
            .with("cost", cost.as_str())
            .with("operationId", *id)
            .with("sessionId", *id)
            .with("feature", *id);
        server.record(operation).shows("/operationId", &as_json(id));
    }
    for (index, id) in ids.iter().enumerate() {
        let cost = format!("0.{:03}", index + 1);
        let shown = &as_json(id);
        // Each is a user of its own, twins of another spelling too.
        server.budget(id).shows("/userId", shown).meter("cost", &cost, "0");
        server.session(id, id).shows("/sessionId", shown).shows("/userId", shown).shows("/feature", shown);
        let items = server.all(&of(id, &format!("/usage?sessionId={}&feature={}", encoded(id), encoded(id))));
        assert_eq!(items.len(), 1, "{id}");
        items[0].shows("/operationId", shown).shows("/cost", &cost);
        server.reverse(id, id).is(200).shows("/reverses", shown);
    }
    assert_eq!(server.all("/v1/users?limit=1000").len(), ids.len());
    // Decoded once: `%252F` on the wire is the id `%2F`.
    server.get("/v1/users/a%252Fb/budget").is(200).shows("/userId", "a%2Fb");
    server.get("/v1/users/a%2fb/budget").is(200).shows("/userId", "a/b");
    server.get("/v1/users/a+b/budget").is(200).shows("/userId", "a+b");
    let page = server.get("/").text();
    assert!(!page.contains("<script>alert(1)"), "an id reached the page unescaped");
    server.verifies();
}

#[test]
fn a_bad_id_in_a_path_is_refused() {
    let server = Server::open();
    let too_long = "x".repeat(129);
    for id in [
        ".",
        "..",
        "%2e",
        "%2E%2e",
        "a%00b",
        "a%0d%0aX-Injected:%201",
        "%7f",
        "%C2%85",
        "%ff",
        "%c3%28",
        "%ed%a0%80",
        &too_long,
        "a%",
        "a%zz",
    ] {
        for path in ["/budget", "", "/usage", "/sessions", "/export"] {
            let reply = server.send("GET", &format!("/v1/users/{id}{path}"), &[], b"");
            assert!([400, 404].contains(&reply.status), "{id}{path}: {} {}", reply.status, reply.text());
            assert_eq!(reply.header("x-injected"), None);
        }
        let body = json!({"estimate": {"cost": 0}, "feature": "test"}).to_string();
        for path in ["/sessions", "/afford"] {
            let reply = server.send(
                "POST",
                &format!("/v1/users/{id}{path}"),
                &[("content-type", "application/json")],
                body.as_bytes(),
            );
            assert!([400, 404].contains(&reply.status), "{id}{path}: {} {}", reply.status, reply.text());
        }
        let reply = server.send("PUT", &format!("/v1/users/{id}"), &[("content-type", "application/json")], b"{}");
        assert!([400, 404, 405].contains(&reply.status), "{id}: {} {}", reply.status, reply.text());
    }
    nothing_changed(&server);
}

#[test]
fn confused_paths_have_one_meaning_or_none() {
    let server = Server::open();
    server.user("u", "premium");
    for path in [
        "//v1/users/u",
        "/v1//users/u",
        "/v1/users/u/",
        "/v1/users/u/../v",
        "/v1/users/u;x/budget/..",
        "/V1/users/u",
        "/v1/users/u/budget/",
    ] {
        let reply = server.send("GET", path, &[], b"");
        assert!([400, 404].contains(&reply.status), "{path}: {} {}", reply.status, reply.text());
    }
    server.send("BREW", "/v1/users/u", &[], b"").is_one_of(&[400, 405, 501]);
    server.send("POST", "/v1/users", &[], b"").is(405);
}

/// Sends bytes on a socket of their own; the first line of what comes back, or nothing when it was cut.
fn raw(server: &Server, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    // The server may hang up in the middle.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned()
}

#[test]
fn broken_requests_do_no_harm() {
    let server = Server::open();
    let body = operation_with("cost", "0.5");
    let post = |headers: &str| {
        format!("POST /v1/usage HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n{headers}\r\n{body}")
    };
    let length = body.len();
    let broken = [
        "\r\n\r\n\r\n".to_owned(),
        "GET\r\n\r\n".to_owned(),
        format!("GET /{} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n", "x".repeat(1024 * 1024)),
        format!("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n{}\r\n", "a: b\r\n".repeat(100_000)),
        format!("GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\na: {}\r\n\r\n", "x".repeat(4 * 1024 * 1024)),
        post(&format!("content-length: {length}\r\ncontent-length: {}\r\n", length + 1)),
        post(&format!("content-length: {length}\r\ntransfer-encoding: chunked\r\n")),
        post("content-length: -1\r\n"),
        post("content-length: 99999999999999999999\r\n"),
        post("transfer-encoding: chunked\r\n"),
        // Cut off before the body is whole.
        post(&format!("content-length: {}\r\n", length + 10)),
        "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned(),
    ];
    for request in broken {
        let answer = raw(&server, request.as_bytes());
        let refused = answer.is_empty()
            || answer.starts_with("HTTP/1.1 4")
            || answer.starts_with("HTTP/1.0 4")
            || answer.contains(" 501");
        assert!(refused, "{answer} for {}", request.chars().take(200).collect::<String>());
    }
    nothing_changed(&server);
    server.record(ai("u", 0.5));
}

#[test]
fn slow_sockets_keep_nobody_waiting() {
    let server = Server::open();
    let mut slow: Vec<Connection> = Vec::new();
    for n in 0..300 {
        let mut connection = Connection::open(server.address()).unwrap();
        let started = if n % 2 == 0 {
            "POST /v1/usage HTT"
        } else {
            "POST /v1/usage HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{"
        };
        // Some may be turned away already; that is an answer too.
        let _ = connection.send_raw(started.as_bytes());
        slow.push(connection);
    }
    for _ in 0..50 {
        server.record(ai("u", 0.5));
    }
    server.budget("u").meter("cost", "25", "0");
    drop(slow);
    server.verifies();
}

#[test]
fn bad_bodies_of_the_other_routes_are_named() {
    let server = Server::open();
    let cases = [
        ("POST", "/v1/users/u/sessions", r#"{"feature": "f", "estimate": {"cost": "x"}}"#, "/estimate/cost"),
        ("POST", "/v1/users/u/sessions", r#"{"feature": "f", "estimate": {"cost": -1}}"#, "/estimate/cost"),
        ("POST", "/v1/users/u/sessions", r#"{"feature": "f", "estimate": {"aiRuns": -1}}"#, "/estimate/aiRuns"),
        ("POST", "/v1/users/u/sessions", r#"{"feature": "f", "estimate": {"apiRuns": 0.5}}"#, "/estimate/apiRuns"),
        ("POST", "/v1/users/u/sessions", r#"{"feature": "f", "estimate": 7}"#, "/estimate"),
        ("POST", "/v1/users/u/sessions", r#"{"feature": "", "estimate": {}}"#, "/feature"),
        ("POST", "/v1/users/u/sessions", r#"{"sessionId": "..", "feature": "f", "estimate": {}}"#, "/sessionId"),
        ("POST", "/v1/users/u/sessions", r#"{"feature": "f", "estimate": {}, "metadata": 7}"#, "/metadata"),
        (
            "POST",
            "/v1/users/u/sessions",
            r#"{"feature": "f", "choices": [{"name": "", "estimate": {}}]}"#,
            "/choices/0/name",
        ),
        (
            "POST",
            "/v1/users/u/sessions",
            r#"{"feature": "f", "choices": [{"name": "a", "estimate": {"cost": -1}}]}"#,
            "/choices/0/estimate/cost",
        ),
        ("POST", "/v1/users/u/afford", r#"{"estimate": {"cost": true}}"#, "/estimate/cost"),
        ("POST", "/v1/users/u/afford", r#"{"estimate": {}, "audit": "yes", "feature": "f"}"#, "/audit"),
        (
            "POST",
            "/v1/users/u/denials",
            r#"{"feature": "f", "estimate": {"cost": -1}, "reason": "r"}"#,
            "/estimate/cost",
        ),
        ("POST", "/v1/users/u/denials", r#"{"feature": "f", "estimate": {"cost": 1}, "reason": 7}"#, "/reason"),
        ("PUT", "/v1/users/u", r#"{"plan": ""}"#, "/plan"),
        ("PUT", "/v1/users/u", r#"{"email": 7}"#, "/email"),
        ("PUT", "/v1/users/u", r#"{"limits": 7}"#, "/limits"),
        ("PUT", "/v1/users/u", r#"{"limits": {"apiRuns": 1.5}}"#, "/limits/apiRuns"),
        ("PUT", "/v1/users/u", r#"{"limits": {"cost": "much"}}"#, "/limits/cost"),
    ];
    for (method, path, body, pointer) in cases {
        server.send(method, path, &[("content-type", "application/json")], body.as_bytes()).refuses(pointer);
    }
    let long_reason = json!({"feature": "f", "estimate": {}, "reason": "x".repeat(257)});
    server.post("/v1/users/u/denials", long_reason).refuses("/reason");
    for path in [
        "/v1/users/u/sessions",
        "/v1/users/u/afford",
        "/v1/users/u/denials",
        "/v1/users/u/sessions/s/finish",
        "/v1/users/u/sessions/s/extend",
    ] {
        for body in ["", "{", "[]", "null", "7", "{} {}"] {
            server.post(path, body).is(400);
        }
    }
    nothing_changed(&server);
}

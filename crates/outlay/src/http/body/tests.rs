//! Bodies that are wrong, hostile or only unusual: each is told with its pointer, or read exactly.

use outlay_core::operation::{Fingerprint, NewOperation};

use super::operation::{cloud_event, plain};
use super::*;
use crate::clock::SystemClock;
use crate::http::problem::Kind;
use crate::ids::Ids;

fn ids() -> Ids {
    Ids::from_seed(SystemClock::shared(), 7)
}

/// A sound operation with more members.
fn with(members: &str) -> String {
    format!(r#"{{"userId":"u","feature":"f","cost":0.5{members}}}"#)
}

fn read(body: &str) -> Result<NewOperation, Problem> {
    plain(utf8(body.as_bytes())?, &ids()).map(|posted| *posted.operation)
}

/// What is answered to a body: `kind pointer, pointer`.
fn answer(body: &[u8]) -> String {
    let read = utf8(body).and_then(|text| plain(text, &ids()));
    let Err(problem) = read else { return "read".to_owned() };
    let pointers: Vec<&str> = problem.field_errors().iter().map(|error| error.pointer.as_str()).collect();
    format!("{} {}", problem.kind().slug(), pointers.join(", "))
}

#[test]
fn hostile_bodies_are_refused_with_a_pointer() {
    let deep = |times: usize, open: &str, middle: &str, close: &str| {
        format!("{}{middle}{}", open.repeat(times), close.repeat(times))
    };
    let cases = [
        (String::new(), ""),
        ("  ".to_owned(), ""),
        ("null".to_owned(), ""),
        ("[]".to_owned(), ""),
        ("7".to_owned(), ""),
        ("{".to_owned(), ""),
        (format!("\u{feff}{}", with("")), ""),
        (format!("{} x", with("")), ""),
        (format!("{}{}", with(""), with("")), ""),
        (with(","), ""),
        (with(r#","provider":NaN"#), ""),
        (with(r#","provider":'x'"#), ""),
        (with(",\"provider\":\"a\u{1}\""), ""),
        (with(r#","metadata":{"a":1e}"#), ""),
        (deep(100_000, "[", "", "]"), ""),
        (deep(100_000, "[", "", ""), ""),
        (deep(100_000, "{\"a\":", "1", "}"), ""),
        (with(&format!(r#","metadata":{}"#, deep(100_000, "{\"a\":", "1", "}"))), ""),
        (with(r#","\ud800":1"#), ""),
        (with(r#","cost":1"#), "/cost"),
        (with(r#","\u0063ost":1"#), "/cost"),
        (with(r#","Cost":1"#), "/Cost"),
        (with(r#","a/b~c":1"#), "/a~1b~0c"),
        (with(r#","provider":"\ud800""#), "/provider"),
        (with(r#","provider":"\udc00\ud800""#), "/provider"),
        (with(r#","provider":"a\u0000b""#), "/provider"),
        (with(r#","provider":7"#), "/provider"),
        (with(r#","model":"""#), "/model"),
        (with(r#","isBillableRun":"true""#), "/isBillableRun"),
        (with(r#","isBillableRun":1"#), "/isBillableRun"),
        (with(r#","stepNumber":1.5"#), "/stepNumber"),
        (with(r#","stepNumber":1e-2"#), "/stepNumber"),
        (with(r#","stepNumber":-1"#), "/stepNumber"),
        (with(r#","durationMs":99999999999999999999"#), "/durationMs"),
        (with(r#","timestamp":1760380376660"#), "/timestamp"),
        (with(r#","timestamp":"2025-02-29T00:00:00Z""#), "/timestamp"),
        (with(r#","tokens":[]"#), "/tokens"),
        (with(r#","tokens":{"input":-1,"inputs":1}"#), "/tokens/input, /tokens/inputs"),
        (with(r#","units":{"pages":"x"}"#), "/units/pages"),
        (with(r#","units":{"":1}"#), "/units/"),
        (with(r#","finishSession":"completed""#), "/sessionId"),
        (with(r#","finishSession":"abandoned","sessionId":"s""#), "/finishSession"),
        (with(r#","metadata":[]"#), "/metadata"),
        (with(r#","metadata":{"k":"\ud800"}"#), "/metadata"),
        (with(r#","metadata":{"k":1,"\u006b":2}"#), "/metadata"),
        (with(r#","metadata":{"k":1e400}"#), "/metadata"),
        (with(&format!(r#","metadata":{}"#, deep(33, "{\"a\":", "1", "}"))), "/metadata"),
        (r#"{"userId":"","feature":7,"cost":-1,"x":0}"#.to_owned(), "/userId, /feature, /cost, /x"),
        (r#"{"userId":"u","feature":"f"}"#.to_owned(), "/cost"),
        (r#"{"userId":"u","feature":"f","cost":null}"#.to_owned(), "/cost"),
    ];
    for (body, pointers) in cases {
        let shown: String = body.chars().take(200).collect();
        assert_eq!(answer(body.as_bytes()), format!("invalid-body {pointers}"), "{shown}");
    }
    for bytes in [&b"\xff\xfe{}"[..], b"{\"userId\":\"\xc3\x28\"}", b"{\"userId\":\"\xed\xa0\x80\"}", b"\0"] {
        assert_eq!(answer(bytes), "invalid-body ");
    }
}

#[test]
fn money_that_no_field_takes_is_refused_at_its_pointer() {
    let nines = "9".repeat(400);
    for raw in [
        "-1",
        "-0.000000000001",
        "\"-1\"",
        "true",
        "[]",
        "{}",
        "\"\"",
        "\"1 USD\"",
        "\"NaN\"",
        "\"Infinity\"",
        "\" 1\"",
        "\"1_000\"",
        "1e7",
        "1e999999999",
        "1e99999999999999999999",
        "\"1e999999999\"",
        &nines,
        "\"0x10\"",
    ] {
        let body = format!(r#"{{"userId":"u","feature":"f","cost":{raw}}}"#);
        assert_eq!(answer(body.as_bytes()), "invalid-body /cost", "{raw}");
    }
    for (raw, picos) in
        [("2e-7", 200_000), ("\"0.30000000000000004\"", 300_000_000_000), ("-0", 0), ("1E3", 10_i64.pow(15))]
    {
        let body = format!(r#"{{"userId":"u","feature":"f","cost":{raw}}}"#);
        assert_eq!(read(&body).unwrap().cost, outlay_core::money::Usd::from_picos(picos), "{raw}");
    }
}

#[test]
fn hostile_ids_are_kept_as_given_or_refused() {
    for id in ["a/b", "%2F", "%252F", "\u{202e}x", "a\u{200b}b", "'; --", "=cmd()", "</script>", "...", "null"] {
        let body = serde_json::json!({"userId": id, "operationId": id, "sessionId": id, "feature": id, "cost": 1});
        let operation = read(&body.to_string()).unwrap();
        assert_eq!((operation.user_id.as_str(), operation.operation_id.as_str()), (id, id));
        assert_eq!(operation.session_id.unwrap().as_str(), id);
    }
    let long = "x".repeat(129);
    for id in ["", ".", "..", "a\0b", "a\r\nb", "\u{7f}", "\u{85}", &long] {
        let body = serde_json::json!({"userId": id, "feature": "f", "cost": 1});
        assert_eq!(answer(body.to_string().as_bytes()), "invalid-body /userId", "{id:?}");
    }
    let twins = ["caf\u{e9}", "cafe\u{301}"].map(|id| read(&with("").replace("\"u\"", &format!("\"{id}\""))).unwrap());
    assert_ne!(twins[0].user_id, twins[1].user_id);
}

#[test]
fn metadata_that_is_only_too_large_says_so() {
    let large = |more: &str| with(&format!(r#","metadata":{{"k":"{}"}}{more}"#, "x".repeat(8 * 1024)));
    let problem = read(&large("")).unwrap_err();
    assert_eq!(problem.kind(), Kind::PayloadTooLarge);
    assert_eq!(read(&large(r#","stepNumber":-1"#)).unwrap_err().kind(), Kind::InvalidBody);
    // 8 KiB to the byte.
    let most = with(&format!(r#","metadata":{{"k":"{}"}}"#, "x".repeat(8 * 1024 - 8)));
    assert_eq!(read(&most).unwrap().metadata.unwrap().len(), 8 * 1024);
}

#[test]
fn metadata_is_kept_compact_and_in_the_order_given() {
    let read = |raw: &str| read(&with(&format!(r#","metadata":{raw}"#))).unwrap().metadata;
    let kept = read("{ \"b\" : [ 1.50 , \"a b\\\" \\\\\" ] ,\n\t\"a\" : { \"x y\" : null } }");
    assert_eq!(kept.as_deref(), Some("{\"b\":[1.50,\"a b\\\" \\\\\"],\"a\":{\"x y\":null}}"));
    assert_eq!(read("{ }"), None);
    assert_eq!(read("null"), None);
}

fn fingerprint(body: &str) -> Fingerprint {
    read(body).unwrap().fingerprint
}

/// Vectors that other clients compare with: the same content in other words is the same fingerprint, for ever.
#[test]
fn the_same_content_in_other_words_has_the_same_fingerprint() {
    let same = [
        r#"{"operationId":"o","userId":"u","feature":"f","cost":0.25,"timestamp":"2025-03-05T10:00:00.5Z","metadata":{"b":1,"a":{"y":[1,"é"],"x":2.50}},"units":{"b":1,"a":"2.0"}}"#,
        r#"{"units":{"a":2,"b":1.00},"metadata":{ "a":{"x":25e-1,"y":[1.0,"\u00e9"]}, "b":1.0 },"timestamp":"2025-03-05T11:00:00.500+01:00","cost":"0.2500000000000001","feature":"f","provider":"unknown","model":null,"isBillableRun":false,"usageType":"AIUsage","userId":"u","operationId":"o","sessionId":null}"#,
    ];
    let [first, second] = same.map(fingerprint);
    assert_eq!(first, second);
    assert_eq!(u128::from_be_bytes(first.0), 0xb66e_674e_945c_9d05_7b03_283e_170e_a050);
    let others = [
        same[0].replace("0.25", "0.26"),
        same[0].replace("\"x\":2.50", "\"x\":2.51"),
        same[0].replace("\"o\"", "\"p\""),
        same[0].replace(r#","units":{"b":1,"a":"2.0"}"#, ""),
        same[0].replace("\"feature\":\"f\"", "\"feature\":\"f\",\"tokens\":{}"),
        same[0].replace("10:00:00.5Z", "10:00:00.500000001Z"),
    ];
    for other in others {
        assert_ne!(fingerprint(&other), first, "{other}");
    }
    // What is not given is not part of it, so a repeat under a made-up id cannot be told.
    assert_eq!(fingerprint(&with("")), fingerprint(&with(r#","metadata":{},"tokens":null"#)));
}

#[test]
fn a_cloud_event_is_the_same_operation() {
    let event = r#"{"specversion":"1.0","type":"t","source":"/s","id":"o","subject":"u","time":"2025-10-13T18:32:58Z",
        "datacontenttype":"application/json","traceparent":"00-x","data":{"feature":"f","cost":0.25}}"#;
    let read_event = |text: &str| cloud_event(text, &ids()).map(|posted| posted.operation.fingerprint);
    let as_plain = r#"{"operationId":"o","userId":"u","feature":"f","cost":0.25,"timestamp":"2025-10-13T18:32:58Z"}"#;
    assert_eq!(read_event(event).unwrap(), fingerprint(as_plain));
    let pointers = |text: &str| -> Vec<String> {
        let problem = read_event(text).unwrap_err();
        problem.field_errors().iter().map(|error| error.pointer.clone()).collect()
    };
    for (from, to, wrong) in [
        (r#""subject":"u""#, r#""subject":null"#, "/subject"),
        (r#""id":"o""#, r#""id":7"#, "/id"),
        (r#""specversion":"1.0""#, r#""specversion":"0.3""#, "/specversion"),
        (r#""cost":0.25"#, r#""cost":-1"#, "/data/cost"),
        (r#""cost":0.25"#, r#""cost":0.25,"userId":"v""#, "/data/userId"),
        (r#""data":{"feature":"f","cost":0.25}"#, r#""data":null"#, "/data"),
        (r#""data":"#, r#""data_base64":"e30=","data":"#, "/data_base64"),
    ] {
        assert_eq!(pointers(&event.replace(from, to)), [wrong], "{to}");
    }
}

#[test]
fn a_batch_is_split_into_one_to_so_many_items() {
    assert_eq!(items(r#" [ {"a":[1,2]} , 7,"x" ] "#, 3).unwrap(), [r#"{"a":[1,2]}"#, "7", "\"x\""]);
    for text in ["[]", "[1,2,3,4]", "{}", "[1,]", "[1", "[1] 2", ""] {
        assert!(items(text, 3).is_err(), "{text}");
    }
}

#[test]
fn many_members_take_no_quadratic_time() {
    let many = (0..200_000).fold(String::new(), |many, index| many + ",\"k" + &index.to_string() + "\":1");
    assert_eq!(answer(with(&many).as_bytes()), "invalid-body ");
    let metadata = with(&format!(r#","metadata":{{"a":1{many}}}"#));
    assert_eq!(answer(metadata.as_bytes()), "payload-too-large /metadata");
}

#[test]
fn numbers_are_read_from_their_own_text() {
    for raw in ["10", "10.0", "1e1", "1E+1", "0.1e2", "100e-1", "10.000e0", "0.00001e6"] {
        assert_eq!(whole(0..=10)(raw), Ok(10), "{raw}");
    }
    for raw in ["0", "-0", "0.0", "0e5", "0e-5", "-0.0", "0.0e999"] {
        assert_eq!(whole(0..=10)(raw), Ok(0), "{raw}");
    }
    assert_eq!(whole(i64::MIN..=i64::MAX)("-9.223372036854775808e18"), Ok(i64::MIN));
    for raw in ["11", "-1", "1.5", "1e2", "1e-1", "0.1e0", "1e99999999999999999999", "\"1\"", "-", "", "true"] {
        assert!(whole(0..=10)(raw).is_err(), "{raw}");
    }
    for raw in ["9.3e18", "99999999999999999999"] {
        assert!(whole(i64::MIN..=i64::MAX)(raw).is_err(), "{raw}");
    }
}

#[test]
fn other_media_types_are_not_read() {
    let headers = |name: &'static str, value: &'static str| {
        HeaderMap::from_iter([(name.parse().unwrap(), http::HeaderValue::from_static(value))])
    };
    let known = [
        ("application/json", MediaType::Json),
        ("Application/JSON; charset=UTF-8", MediaType::Json),
        ("application/json;charset=\"utf-8\"", MediaType::Json),
        ("application/cloudevents+json", MediaType::CloudEvent),
        ("application/cloudevents-batch+json; charset=utf-8", MediaType::CloudEventBatch),
    ];
    for (value, expected) in known {
        assert_eq!(media_type(&headers("content-type", value), b"{}").unwrap(), expected);
    }
    for value in ["", "text/plain", "application/jsonx", "application/json; charset=latin1", "multipart/form-data"] {
        let refused = media_type(&headers("content-type", value), b"{}").unwrap_err();
        assert_eq!(refused.kind(), Kind::UnsupportedMediaType, "{value}");
    }
    assert!(media_type(&headers("content-encoding", "gzip"), b"{}").is_err());
    assert!(media_type(&HeaderMap::new(), b"{}").is_err());
    assert_eq!(media_type(&HeaderMap::new(), b"").unwrap(), MediaType::Json);
}

proptest::proptest! {
    #[test]
    fn any_text_is_read_or_refused(text in ".*") {
        let _ = answer(text.as_bytes());
    }

    #[test]
    fn any_value_of_any_field_is_read_or_refused_at_it(field in "(cost|stepNumber|tokens|units|timestamp|metadata|model)",
        value in r#"[-0-9.eE]{1,12}|"[^"\\\x00-\x1f]{0,12}"|\{("[a-z]":[0-9]{1,3})?\}|\[\]|true|null"#) {
        let body = if field == "cost" {
            format!(r#"{{"userId":"u","feature":"f","cost":{value}}}"#)
        } else {
            with(&format!(r#","{field}":{value}"#))
        };
        let answer = answer(body.as_bytes());
        let sound = serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok();
        let expected = if sound { format!("invalid-body /{field}") } else { "invalid-body ".to_owned() };
        proptest::prop_assert!(answer == "read" && sound || answer.starts_with(&expected), "{}: {}", body, answer);
    }
}

#[test]
fn where_no_body_is_needed_null_is_none() {
    for body in ["", "null", " null\n", "{}"] {
        let read = JsonBody(Bytes::from(body)).object_or_empty().and_then(|object| object.finish(Some(())));
        assert!(read.is_ok(), "{body:?}");
    }
    for body in ["nul", "null null", "[]", "0"] {
        assert!(JsonBody(Bytes::from(body)).object_or_empty().is_err(), "{body:?}");
    }
    assert!(JsonBody(Bytes::from("null")).object().is_err());
}

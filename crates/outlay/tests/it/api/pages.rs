//! The pages: every link leads somewhere, whatever ids an application chose; and what is asked for in parts is the same.

use std::collections::{BTreeSet, VecDeque};

use serde_json::json;

use crate::support::{Asks, Reply, Server, Setup, With, ai_run, of};

/// Ids that break out of markup, turn its direction, or are as long as can be.
const HOSTILE: [&str; 6] = [
    "<img src=x onerror=alert(1)>",
    "\"><script>alert(1)</script>",
    "\u{202e}gnirts' onclick='x",
    "a/b?c=d&e=f#g%2F",
    "=cmd()|' /C calc'!A1",
    "مستخدم",
];

fn hostile() -> Vec<String> {
    HOSTILE.iter().map(|id| (*id).to_owned()).chain(["w".repeat(128)]).collect()
}

/// A server with a little of everything, named as badly as can be.
fn server() -> Server {
    // Nobody listens there: what is told fails, and is tried again.
    let server = Setup::open().variable("OUTLAY_WEBHOOK_ALLOW", "127.0.0.1").start();
    let events = ["budget.threshold_crossed", "denial.recorded", "limit.changed"];
    for id in hostile() {
        let hook = json!({"url": "http://127.0.0.1:1/hooks", "description": id, "events": events});
        server.post("/v1/webhooks", hook).is(201);
        let operation = ai_run(&id, 0.5)
            .with("operationId", id.as_str())
            .with("sessionId", id.as_str())
            .with("feature", id.as_str())
            .with("provider", id.as_str())
            .with("model", id.as_str())
            .with("stepLabel", id.as_str())
            .with("durationMs", 7)
            .with("metadata", json!({ &*id: id }));
        server.put(&of(&id, ""), json!({"plan": "premium", "limits": {"aiRuns": 1}})).is(201);
        server.record(operation);
        // It does not fit: a denial; and one that is open.
        server.post(&of(&id, "/sessions"), json!({"feature": id, "estimate": {"aiRuns": 5}})).is(402);
        server.open_session(&id, "open-one", json!({"cost": 0.01})).is(201);
    }
    server
}

/// Where a link of a page leads: its path and query, or nothing where it stays or leaves.
fn resolved(page: &str, link: &str) -> Option<String> {
    let link = link.replace("&amp;", "&");
    let link = link.split('#').next()?;
    if link.is_empty() || link.starts_with("data:") || link.contains("://") {
        return None;
    }
    let path = page.split('?').next()?;
    if let Some(query) = link.strip_prefix('?') {
        return Some(format!("{path}?{query}"));
    }
    let (link_path, query) = link.split_once('?').map_or((link, None), |(path, query)| (path, Some(query)));
    let mut segments: Vec<&str> = path.split('/').skip(1).collect();
    segments.pop();
    let mut parts = link_path.split('/').peekable();
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        match part {
            ".." => {
                segments.pop();
                if is_last {
                    segments.push("");
                }
            }
            "." | "" if !is_last => {}
            "." => segments.push(""),
            part => segments.push(part),
        }
    }
    let path = format!("/{}", segments.join("/"));
    Some(query.map_or_else(|| path.clone(), |query| format!("{path}?{query}")))
}

/// What a form of a page sends.
fn form_to(server: &Server, path: &str, fields: &str) -> Reply {
    server.send("POST", path, &[("content-type", "application/x-www-form-urlencoded")], fields.as_bytes())
}

/// The values of an attribute in a page.
fn attributes<'a>(html: &'a str, name: &str) -> Vec<&'a str> {
    html.split(&format!(" {name}=\"")).skip(1).filter_map(|rest| rest.split('"').next()).collect()
}

#[test]
fn every_link_of_every_page_leads_somewhere_whatever_the_ids() {
    let server = server();
    let running = server.get("/v1/overview").is(200).text("/month").to_owned();
    let mut seen = BTreeSet::from(["/".to_owned()]);
    let mut waiting = VecDeque::from(["/".to_owned()]);
    let mut pages = 0;
    while let Some(path) = waiting.pop_front() {
        let reply = server.get(&path);
        let body = reply.text();
        assert_eq!(reply.status, 200, "{path}: {body}");
        let is_page = reply.header("content-type").is_some_and(|kind| kind.starts_with("text/html"));
        if !is_page || path.starts_with("/docs") || path.starts_with("/problems") {
            continue;
        }
        pages += 1;
        for hostile in ["<img", "<script>"] {
            assert!(!body.contains(hostile), "{path} shows {hostile} as it came");
        }
        assert!(!body.contains(" style=") && !body.contains("<style"), "{path} has a style of its own");
        assert!(body.starts_with("<!DOCTYPE html>") && body.ends_with("</html>"), "{path}");
        for link in attributes(&body, "href").into_iter().chain(attributes(&body, "src")) {
            let Some(to) = resolved(&path, link) else { continue };
            // Every month has the same links.
            let is_other_month = to.contains("month=") && !to.contains(&format!("month={running}"));
            if !is_other_month && seen.insert(to.clone()) {
                waiting.push_back(to);
            }
        }
        assert!(seen.len() < 3_000, "the pages do not end: {path}");
    }
    assert!(pages > 80, "{pages}");
    let hooks = server.get("/v1/webhooks").is(200).text("/items/0/id").to_owned();
    let (hook, csv) = (format!("/settings/webhooks/{hooks}"), format!("/settings/webhooks/{hooks}/deliveries.csv"));
    for must in [
        "/users",
        "/sessions",
        "/alerts",
        "/denials",
        "/plans",
        "/settings",
        "/users.csv",
        "/overview.csv",
        "/audit",
        "/audit.csv",
        &hook,
        &csv,
    ] {
        assert!(seen.iter().any(|path| path.split('?').next() == Some(must)), "nothing leads to {must}");
    }
}

#[test]
fn a_fragment_is_the_content_alone_and_is_not_sent_again() {
    let server = server();
    let whole = server.get("/users").text();
    let part = server.send("GET", "/users", &[("outlay-fragment", "1")], b"");
    let text = part.text();
    assert!(text.len() < whole.len() && whole.contains(&text) && !text.contains("<html"), "{text}");
    assert!(part.header("outlay-as-of").is_some());
    let tag = part.header("etag").unwrap().to_owned();
    let same = server.send("GET", "/users", &[("outlay-fragment", "1"), ("if-none-match", &tag)], b"");
    assert_eq!((same.status, same.text().as_str()), (304, ""));
    server.record(ai_run("somebody new", 0.1));
    let changed = server.send("GET", "/users", &[("outlay-fragment", "1"), ("if-none-match", &tag)], b"");
    assert_eq!(changed.status, 200);
    assert!(changed.text().contains("somebody new"));
}

#[test]
fn what_csv_says_is_exact_and_no_formula() {
    let server = server();
    let csv = server.get("/users.csv").text();
    assert!(csv.contains("'=cmd()|"), "{csv}");
    let costs = csv.lines().skip(1).map(|line| line.rsplit("premium,").next().unwrap().split(',').next().unwrap());
    assert_eq!(costs.collect::<Vec<_>>(), ["0.5"; 7]);
    for path in ["/overview.csv", "/sessions.csv", "/alerts.csv", "/denials.csv"] {
        let reply = server.get(path);
        assert!(reply.header("content-disposition").unwrap().contains("attachment"), "{path}");
        assert!(reply.text().lines().count() > 1, "{path}");
    }
}

#[test]
fn before_the_first_operation_the_page_says_how_to_record_one() {
    let server = Server::open();
    let page = server.get("/").text();
    assert!(page.contains("Waiting for the first operation") && page.contains(&server.address().to_string()), "{page}");
    server.record(ai_run("alice", 0.5));
    let page = server.get("/").text();
    assert!(page.contains("Spend this month") && page.contains("$0.50"), "{page}");
}

#[test]
fn a_change_is_shown_before_it_is_made() {
    let server = Server::open();
    server.put(&of("alice", ""), json!({"plan": "premium"})).is(201);
    for _ in 0..9 {
        server.record(ai_run("alice", 0.1));
    }
    let form = |what: &str| format!("plan=premium&email=&cost=&aiRuns=10&apiRuns=unlimited&do={what}");
    let shown = form_to(&server, "/users/alice/settings", &form("preview"));
    assert!(shown.text().contains("raises an alert: AI runs at 80%"), "{}", shown.text());
    server.budget("alice").shows("/meters/aiRuns/limit", "30");
    let saved = form_to(&server, "/users/alice/settings", &form("save"));
    assert_eq!((saved.status, saved.header("location")), (303, Some("./../../users/alice")));
    server.budget("alice").shows("/meters/aiRuns/limit", "10").shows("/meters/apiRuns/limit", "null");
    // What was lost on the way, or is there twice, changes nothing.
    let before = server.get("/v1/users/alice").is(200);
    for lost in [
        "do=save",
        "do=save&plan=%ff&email=&cost=&aiRuns=&apiRuns=",
        "do=save&plan=premium&plan=pro&email=&cost=&aiRuns=&apiRuns=",
    ] {
        assert_eq!(form_to(&server, "/users/alice/settings", lost).status, 400, "{lost}");
    }
    assert_eq!(form_to(&server, "/plans/premium", "do=save&cost=1&cost=2&aiRuns=1&apiRuns=1").status, 400);
    assert_eq!(server.get("/v1/users/alice").is(200), before);
    let wrong = form_to(&server, "/users/alice/settings", "email=&plan=gold&cost=-1&aiRuns=x&apiRuns=&do=save");
    assert_eq!(wrong.status, 422);
    for what in ["no such plan", "Cost:", "AI runs: must be a whole number"] {
        assert!(wrong.text().contains(what), "{what}: {}", wrong.text());
    }
    let plan = form_to(&server, "/plans/premium", "cost=0.5&aiRuns=30&apiRuns=100&do=preview").text();
    assert!(plan.contains("With these limits"), "{plan}");
    assert_eq!(form_to(&server, "/plans/premium", "cost=0.5&aiRuns=30&apiRuns=100&do=save").status, 303);
    server.budget("alice").shows("/meters/cost/limit", "0.5").shows("/state", "\"reached\"");
    assert_eq!(form_to(&server, "/users/alice/erase", "confirm=bob").status, 422);
    assert_eq!(form_to(&server, "/users/alice/erase", "confirm=alice").status, 303);
    server.get(&of("alice", "")).is(200).shows("/known", "false");
}

#[test]
fn a_search_leads_straight_to_what_has_this_id() {
    let server = server();
    let leads = |query: &str| server.get(&format!("/search?{query}")).header("location").unwrap_or_default().to_owned();
    assert_eq!(leads("q=nobody"), "./users?q=nobody&sort=userId");
    assert_eq!(leads("q=a%2Fb%3Fc%3Dd%26e%3Df%23g%252F"), "./users/a%2Fb%3Fc%3Dd%26e%3Df%23g%252F");
    let id = "%3Dcmd%28%29%7C%27%20%2FC%20calc%27%21A1";
    assert_eq!(leads(&format!("q={id}&user={id}")), format!("./users/{id}/sessions/{id}"));
}

//! The audit log: who changed what, written with the change, never more than what happened, and never about a person by name.

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::support::{
    ADMIN, Asks, Does, HookReceiver, Json, Server, Setup, SmtpReceiver, With, ai, found_in_files, of, until,
};

/// The entries, the oldest first, as they come.
fn entries(server: &Server, query: &str) -> Vec<Json> {
    let mut all = server.with_key(ADMIN).all(&format!("/v1/audit{query}"));
    all.reverse();
    all
}

fn actions(server: &Server) -> Vec<String> {
    entries(server, "").iter().map(|entry| entry.text("/action").to_owned()).collect()
}

fn newest(server: &Server) -> Json {
    entries(server, "").pop().unwrap()
}

fn key(server: &Server, role: &str) -> (String, String) {
    let made = server.post("/v1/keys", json!({"role": role, "description": "of Anna"})).is(201);
    (made.text("/id").to_owned(), made.text("/key").to_owned())
}

#[test]
fn every_change_is_kept_with_who_before_and_after() {
    let server = Server::keyed();
    let (id, app) = key(&server, "app");
    newest(&server).shows("/action", "key.created").shows("/subject", &id).shows("/who", "environment");
    newest(&server).shows("/after/role", "app").shows("/before", "null").shows("/address", "127.0.0.1");

    let app = server.with_key(&app);
    app.put(&of("ann", ""), json!({"plan": "premium", "email": "ann@example.org", "limits": {"cost": 0.1}})).is(201);
    let put = app.put(&of("ann", ""), json!({"plan": "pro", "limits": {"aiRuns": null}}));
    put.is(200);
    let entry = newest(&server);
    entry.shows("/action", "user.set").shows("/who", &id).shows("/userId", "ann").shows("/userNumber", "1");
    entry.shows("/requestId", put.header("x-request-id").unwrap());
    entry.shows("/before/plan", "premium").shows("/before/limits/cost", "0.1").shows("/before/email", "true");
    entry.shows("/after/plan", "pro").shows("/after/limits", r#"{"aiRuns": null}"#).shows("/after/email", "false");
    // What changes nothing, and what an application does all day, is none of it.
    let before = entries(&server, "").len();
    app.put(&of("ann", ""), json!({"plan": "pro", "limits": {"aiRuns": null}})).is(200);
    app.put(&of("ann", ""), json!({"plan": "gold"})).is(422);
    app.record(ai("ann", 0.5).with("operationId", "o"));
    app.open_session("ann", "s", json!({"cost": 0.1})).is(201);
    app.finish("ann", "s", "completed").is(200);
    app.reverse("ann", "o").is(200);
    app.post(&of("ann", "/tokens"), json!({})).is(201);
    server.delete(&of("nobody", "")).is(204);
    assert_eq!(entries(&server, "").len(), before);

    server.put("/v1/plans/pro", json!({"limits": {"cost": 2.5, "aiRuns": 3, "apiRuns": null}})).is(200);
    newest(&server).shows("/action", "plan.set").shows("/subject", "pro").shows("/after/limits/cost", "2.5");
    newest(&server).shows("/after/limits/apiRuns", "null");
    server.delete(&of("ann", "/tokens")).is(204);
    newest(&server).shows("/action", "tokens.ended").shows("/userNumber", "1");
    server.get(&of("ann", "/export")).is_text(200);
    newest(&server).shows("/action", "user.exported").shows("/userNumber", "1").shows("/who", "environment");
    assert_eq!(server.get("/v1/backup").status, 200);
    newest(&server).shows("/action", "backup.taken");
    server.outlay(&["erase", "ann", "--yes"]).exits(0);
    newest(&server).shows("/action", "user.erased").shows("/who", "socket").shows("/address", "null");
    newest(&server).shows("/userId", "null").shows("/userNumber", "1");
    server.delete(&format!("/v1/keys/{id}")).is(204);
    newest(&server).shows("/action", "key.revoked").shows("/subject", &id);
    server.outlay(&["tokens", "rotate-key"]).exits(0);
    newest(&server).shows("/action", "token-key.rotated").shows("/subject", "token-key/2");

    // Numbers have no gaps, and filters leave what they say.
    let all = entries(&server, "");
    for (index, entry) in all.iter().enumerate() {
        entry.shows("/number", &(index + 1).to_string());
    }
    assert_eq!(entries(&server, "?userNumber=1").len(), 5);
    assert_eq!(entries(&server, "?action=plan.set").len(), 1);
    assert_eq!(entries(&server, "?who=socket").len(), 2);
    assert_eq!(entries(&server, &format!("?who={id}&limit=1")).len(), 2);
    assert!(entries(&server, "?from=2100-01-01T00:00:00Z").is_empty());
    assert_eq!(entries(&server, "?to=2100-01-01T00:00:00Z").len(), all.len());
    for query in ["action=nothing", "userNumber=0", "who=%00", "from=yesterday", "cursor=x", "limit=0", "actor=x"] {
        server.get(&format!("/v1/audit?{query}")).is(400);
    }
    server.verifies();
}

#[test]
fn what_is_sent_again_or_as_a_test_is_kept_with_who_did_it() {
    let (receiver, mail) = (HookReceiver::start(Does::Answers(410)), SmtpReceiver::start());
    let server = Setup::keyed()
        .variable("OUTLAY_WEBHOOK_ALLOW", "127.0.0.1")
        .variable("OUTLAY_SMTP_URL", &mail.url())
        .variable("OUTLAY_MAIL_FROM", "Outlay <outlay@example.org>")
        .variable("OUTLAY_MAIL_OPERATOR", "ops@example.org")
        .start();
    let hook = server.post("/v1/webhooks", json!({"url": receiver.url()})).is(201).text("/id").to_owned();
    let path = format!("/v1/webhooks/{hook}");
    // Where nothing failed nothing is done.
    let before = entries(&server, "").len();
    server.post(&format!("{path}/redeliver"), json!({})).is(202).shows("/deliveries", "0");
    assert_eq!(entries(&server, "").len(), before);

    server.put(&of("ann", ""), json!({"plan": "premium", "limits": {"aiRuns": 1}})).is(201);
    server.record(ai("ann", 0.0).with("operationId", "o").with("isBillableRun", true));
    let delivery = || server.with_key(ADMIN).all(&format!("{path}/deliveries"))[0].clone();
    until("it has failed", || delivery().text("/state") == "failed");
    receiver.does(Does::Takes);
    server.post(&format!("{path}/test"), json!({})).is(202);
    newest(&server).shows("/action", "webhook.tested").shows("/subject", &hook).shows("/who", "environment");
    newest(&server).shows("/after", "null").shows("/userNumber", "null");
    server.post(&format!("{path}/redeliver"), json!({})).is(202).shows("/deliveries", "1");
    newest(&server).shows("/action", "webhook.redelivered").shows("/subject", &hook).shows("/after/deliveries", "1");
    let found = server.with_key(ADMIN).all(&format!("{path}/deliveries?state=delivered"));
    let id =
        found.last().map_or_else(|| delivery().text("/deliveryId").to_owned(), |of| of.text("/deliveryId").to_owned());
    let again = server.post(&format!("{path}/redeliver"), json!({"deliveryId": id}));
    again.is(202);
    let entry = newest(&server);
    entry.shows("/action", "webhook.redelivered").shows("/after/deliveryId", &id);
    entry.shows("/requestId", again.header("x-request-id").unwrap());
    server.post(&format!("{path}/redeliver"), json!({"deliveryId": "delivery_00000000_1"})).is(404);
    let alert = server.get("/v1/alerts?userId=ann").is(200).text("/items/0/alertId").to_owned();
    server.post(&format!("/v1/alerts/{alert}/redeliver"), json!({})).is(202).shows("/deliveries", "2");
    let entry = newest(&server);
    entry.shows("/action", "alert.redelivered").shows("/subject", &alert).shows("/after/deliveries", "2");
    entry.shows("/userId", "ann").shows("/userNumber", "1");

    // The forms of the pages do the same.
    let form = |path: &str, body: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
        server.send("POST", path, &headers, body.as_bytes()).status
    };
    let page = format!("/settings/webhooks/{hook}");
    let forms = [
        (format!("{page}/test"), "", 303, "webhook.tested"),
        (format!("{page}/redeliver"), "delivery=2", 303, "webhook.redelivered"),
        (format!("/alerts/{}/redeliver", alert.rsplit('_').next().unwrap()), "", 303, "alert.redelivered"),
        ("/settings/mail/test".to_owned(), "", 200, "mail.tested"),
    ];
    for (path, body, status, action) in forms {
        let before = entries(&server, "").len();
        assert_eq!(form(&path, body), status, "{path}");
        newest(&server).shows("/action", action).shows("/who", "environment");
        assert_eq!(entries(&server, "").len(), before + 1, "{path}");
    }
    server.outlay(&["webhooks", "test", &hook]).exits(0);
    newest(&server).shows("/action", "webhook.tested").shows("/who", "socket");
    server.verifies();
}

#[test]
fn the_log_holds_nothing_that_an_erasure_would_have_to_take_out() {
    let file = tempfile::tempdir().unwrap();
    let copy = file.path().join("audit.jsonl");
    let mut server = Setup::keyed().argument("--audit-log").argument(copy.to_str().unwrap()).start();
    server.put(&of("ann-the-user", ""), json!({"plan": "pro", "email": "ann@example.org"})).is(201);
    server.put(&of("ann-the-user", ""), json!({"plan": "pro", "email": "ann@example.com"})).is(200);
    newest(&server).shows("/after/otherEmail", "true");
    server.get(&of("ann-the-user", "/export")).is_text(200);
    server.delete(&of("ann-the-user", "/tokens")).is(204);
    server.delete(&of("ann-the-user", "")).is(204);
    let before = entries(&server, "");
    assert_eq!(before.len(), 5);
    assert!(server.stop().success());
    let copied = fs::read_to_string(&copy).unwrap();
    for personal in ["ann-the-user", "example.org", "example.com"] {
        assert!(!copied.contains(personal), "{copied}");
        assert_eq!(found_in_files(&server.data(), personal.as_bytes()), None, "{personal}");
    }
    server.start_again();
    assert_eq!(entries(&server, "").len(), 5, "erasing leaves the log as it is");
    server.verifies();
}

/// A plan's limit counts up, while the process is killed again and again: each limit that was ever set has one entry.
#[test]
fn an_entry_is_there_exactly_when_its_change_is() {
    let mut server = Server::keyed();
    let tried = AtomicU64::new(0);
    let mut acknowledged = 0;
    for _ in 0..6 {
        let reached = std::thread::scope(|scope| {
            let setting = scope.spawn(|| {
                let mut reached = 0;
                loop {
                    let limit = tried.fetch_add(1, Ordering::Relaxed) + 1;
                    let body = json!({"limits": {"cost": null, "aiRuns": limit, "apiRuns": null}}).to_string();
                    let headers = [("content-type", "application/json")];
                    match server.with_key(ADMIN).try_send("PUT", "/v1/plans/counted", &headers, body.as_bytes()) {
                        Ok(reply) if reply.status < 300 => reached = limit,
                        _ => return reached,
                    }
                }
            });
            let before = tried.load(Ordering::Relaxed);
            let killed = server.killed_at_end();
            until("some limits are set", || tried.load(Ordering::Relaxed) > before + 20);
            drop(killed);
            setting.join().unwrap()
        });
        acknowledged = reached.max(acknowledged);
        server.start_again();
        let set = entries(&server, "?action=plan.set&limit=1000");
        let limits: Vec<u64> =
            set.iter().map(|entry| entry.at("/after/limits/aiRuns").to_string().parse().unwrap()).collect();
        let plan = server.with_key(ADMIN).all("/v1/plans").into_iter().find(|plan| plan.text("/name") == "counted");
        let stands: u64 = plan.unwrap().at("/limits/aiRuns").to_string().parse().unwrap();
        assert!(stands >= acknowledged, "{acknowledged} was acknowledged, and {stands} stands");
        assert_eq!(limits.last(), Some(&stands), "the newest entry is of what stands");
        let mut once = limits.clone();
        once.dedup();
        assert_eq!(once, limits, "no change has two entries");
        for pair in set.windows(2) {
            assert_eq!(pair[0].at("/after"), pair[1].at("/before"), "no change is missing");
        }
    }
    server.verifies();
}

#[test]
fn whoever_knocks_all_day_is_counted_and_fills_no_disk() {
    let mut server = Server::keyed();
    let (id, viewer) = key(&server, "viewer");
    let (ended, gone) = key(&server, "app");
    server.delete(&format!("/v1/keys/{ended}")).is(204);
    let before = entries(&server, "").len();
    for n in 0..200 {
        server.with_key(&format!("not-a-key-{n}")).get("/v1/plans").is(401);
    }
    for _ in 0..50 {
        server.with_key(&viewer).post("/v1/usage", ai("u", 1.0)).is(403);
    }
    // Knocking without any key is nothing, and a person who mistyped their key on the page is somebody.
    server.with_key("").get("/v1/plans").is(401);
    server.with_key(&gone).get("/v1/plans").is(401);
    server.user("u", "premium");
    let token = server.post(&of("u", "/tokens"), json!({"ttlSeconds": 60})).is(201).text("/token").to_owned();
    server.delete(&of("u", "/tokens")).is(204);
    server.with_key(&token).get(&of("u", "/budget")).is(401);
    let before = before + 2;
    until("the first are written", || entries(&server, "").len() >= before + 2);
    assert!(server.stop().success());
    server.start_again();
    let times = |entries: &[Json]| -> u64 {
        entries.iter().map(|entry| entry.at("/after/times").to_string().parse::<u64>().unwrap()).sum()
    };
    let (keys, roles) = (entries(&server, "?action=key.refused"), entries(&server, "?action=role.refused"));
    assert_eq!((times(&keys), times(&roles)), (202, 50));
    assert!(keys.len() + roles.len() <= 8, "{keys:?} {roles:?}");
    let of_token = |entry: &&Json| entry.text("/subject") == "GET /v1/users/{userId}/budget";
    for entry in &keys {
        let who = if of_token(&entry) { "token" } else { "nobody" };
        entry.shows("/who", who).shows("/address", "127.0.0.1");
    }
    assert_eq!(keys.iter().filter(of_token).count(), 1, "a token that was ended: {keys:?}");
    for entry in &roles {
        entry.shows("/who", &id).shows("/subject", "POST /v1/usage");
    }
    // What was shown is nowhere.
    assert_eq!(found_in_files(&server.data(), b"not-a-key-"), None);
    assert!(!server.log().contains("not-a-key-"));
    server.verifies();
}

#[test]
fn a_key_that_ended_is_named_when_somebody_tries_it() {
    for on_the_page in [false, true] {
        let server = Server::keyed();
        let (id, gone) = key(&server, "app");
        server.delete(&format!("/v1/keys/{id}")).is(204);
        let origin = format!("http://{}", server.address());
        let tried = if on_the_page {
            server.with_key("").send("POST", "/sign-in", &[("origin", &origin)], format!("key={gone}").as_bytes())
        } else {
            server.with_key(&gone).get("/v1/plans")
        };
        assert_eq!(tried.status, 401);
        until("it is written", || entries(&server, "?action=key.refused").len() == 1);
        entries(&server, "?action=key.refused")[0].shows("/subject", &id).shows("/who", "nobody");
        server.verifies();
    }
}

#[test]
fn the_copy_has_every_entry_whatever_ends_the_server() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("audit.jsonl");
    let variable = ("OUTLAY_AUDIT_LOG", copy.to_str().unwrap());
    let mut server = Setup::keyed().variable(variable.0, variable.1).start();
    let lines = || -> Vec<Value> {
        let text = fs::read_to_string(&copy).unwrap();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    };
    let numbers = || -> Vec<u64> {
        let mut numbers: Vec<u64> = lines().iter().map(|line| line["number"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    for round in 0..4 {
        for n in 0..5 {
            server.put(&of(&format!("u{round}-{n}"), ""), json!({"plan": "pro"})).is(201);
        }
        server.restart();
    }
    until("all are copied", || numbers() == (1..=20).collect::<Vec<u64>>());
    assert!(server.stop().success());
    // A command while no server runs is kept, and copied by whoever comes next.
    server.outlay(&["keys", "create", "--role", "viewer"]).exits(0);
    server.start_again();
    until("the command's entry is copied too", || numbers().len() == 21);
    let last = lines().into_iter().find(|line| line["number"] == 21).unwrap();
    assert_eq!((&last["action"], &last["who"]), (&json!("key.created"), &json!("socket")));
    for line in lines() {
        for member in ["recordedAt", "deployment", "who", "action"] {
            assert!(line[member].is_string(), "{line}");
        }
    }
    // Where no copy can be kept, no server starts.
    let nowhere = folder.path().join("none/audit.jsonl");
    let data = folder.path().join("data");
    let serve = ["serve", "--open", "--listen", "127.0.0.1:0", "--data", data.to_str().unwrap(), "--audit-log"];
    let ran = crate::support::outlay(&[&serve[..], &[nowhere.to_str().unwrap()]].concat());
    assert!(ran.code == 1 && ran.err.contains("audit log's copy"), "{ran:?}");
}

#[test]
fn the_copy_on_standard_error_is_lines_of_json() {
    let server = Setup::keyed().variable("OUTLAY_AUDIT_LOG", "stderr").start();
    server.put(&of("u", ""), json!({"plan": "pro"})).is(201);
    until("it is said", || {
        server.log().lines().any(|line| {
            serde_json::from_str::<Value>(line)
                .is_ok_and(|line| line["action"] == "user.set" && line["userNumber"] == 1)
        })
    });
}

#[test]
fn plans_of_the_configuration_that_are_others_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outlay.toml");
    let plans = |cost: u32| {
        format!("[plans]\ndefault = 'own'\n[plans.own]\ncost = {cost}\nai_runs = 'unlimited'\napi_runs = 2\n")
    };
    fs::write(&file, plans(10)).unwrap();
    let mut server = Setup::keyed().argument("--config").argument(file.to_str().unwrap()).start();
    newest(&server).shows("/action", "plans.configured").shows("/who", "configuration");
    newest(&server).shows("/after/plans/own/limits/cost", "10").shows("/before/default", "base");
    server.restart();
    assert_eq!(actions(&server), ["plans.configured"], "the same again is no change");
    fs::write(&file, plans(3)).unwrap();
    server.restart();
    newest(&server).shows("/before/plans/own/limits/cost", "10").shows("/after/plans/own/limits/cost", "3");
}

#[test]
fn admins_see_it_as_a_page_as_csv_and_on_the_command_line() {
    let server = Server::open();
    server.put("/v1/plans/=cmd()", json!({"limits": {"cost": 1, "aiRuns": 1, "apiRuns": 1}})).is(201);
    server.put(&of("<b>ann", ""), json!({"plan": "pro"})).is(201);
    let page = server.get("/audit").is_text(200);
    assert!(page.contains("Plan set") && page.contains("=cmd()") && page.contains("&lt;b&gt;ann"), "{page}");
    assert!(!page.contains("<b>ann"));
    let filtered = server.get("/audit?action=user.set&who=&user=").is_text(200);
    assert!(!filtered.contains("=cmd()") && filtered.contains("&lt;b&gt;ann"), "{filtered}");
    let csv = server.get("/audit.csv").is_text(200);
    assert!(csv.starts_with("number,recordedAt,who,address") && csv.contains(",'=cmd(),"), "{csv}");
    // A person's page leads to what was done to them, and to all that is kept of them.
    let person = server.get(&format!("/users/{}", crate::support::encoded("<b>ann"))).is_text(200);
    assert!(person.contains("audit?user=%3Cb%3Eann") && person.contains("/export\""), "{person}");
    let shown = server.outlay(&["audit"]).exits(0);
    assert!(shown.out.contains("plan.set") && shown.out.contains("user.set"), "{shown:?}");
    server.outlay(&["audit", "--json", "--action", "plan.set"]).exits(0).json().shows("/items/0/subject", "=cmd()");
    let all = server.outlay(&["audit", "--all", "--user", "<b>ann"]).exits(0);
    assert_eq!(all.out.lines().count(), 1);

    let keyed = Server::keyed();
    for role in ["viewer", "app"] {
        let (_, key) = key(&keyed, role);
        for path in ["/audit", "/audit.csv", "/v1/audit"] {
            assert_eq!(keyed.with_key(&key).get(path).status, 403, "{role} {path}");
        }
    }
}

//! Who is told of what, over the wire, to real receivers: once recorded, nothing is left untold, and nothing changes its id.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::{
    ADMIN, Asks, Does, HookReceiver, Json, Message, Server, Setup, SmtpReceiver, With, ai_run, at_once, of, random,
    seed, until,
};

/// A server that may reach receivers on this machine.
fn open() -> Setup {
    Setup::open().variable("OUTLAY_WEBHOOK_ALLOW", "127.0.0.1")
}

/// A webhook for these events: its id and its secret.
fn hook(server: &impl Asks, receiver: &HookReceiver, events: &[&str]) -> (String, String) {
    let made = server.post("/v1/webhooks", json!({"url": receiver.url(), "events": events})).is(201);
    (made.text("/id").to_owned(), made.text("/secret").to_owned())
}

const ALERTS: &[&str] = &["budget.threshold_crossed"];

fn limited(server: &impl Asks, user: &str, runs: u32) {
    let settings = json!({"plan": "premium", "email": format!("{user}@example.org"),
        "limits": {"cost": null, "aiRuns": runs, "apiRuns": null}});
    server.put(&of(user, ""), settings).is_one_of(&[200, 201]);
}

fn run(user: &str, no: impl std::fmt::Display) -> Value {
    ai_run(user, 0.001).with("operationId", format!("run_{no}"))
}

/// One run of one, which is an alert at 100 percent.
fn cross(server: &impl Asks, user: &str) {
    limited(server, user, 1);
    server.record(run(user, 1));
}

fn alerts(server: &impl Asks, user: &str) -> Vec<Json> {
    server.all(&format!("/v1/alerts?userId={user}"))
}

fn alert_ids(server: &impl Asks, user: &str) -> BTreeSet<String> {
    alerts(server, user).iter().map(|alert| alert.text("/alertId").to_owned()).collect()
}

fn ids(messages: &[Message]) -> BTreeSet<String> {
    messages.iter().map(|message| message.id.clone()).collect()
}

#[test]
fn four_hundred_scans_at_once_give_three_alerts_and_three_messages_of_each_kind() {
    let (receiver, mail) = (HookReceiver::start(Does::Takes), SmtpReceiver::start());
    let server = open()
        .variable("OUTLAY_SMTP_URL", &mail.url())
        .variable("OUTLAY_MAIL_FROM", "Outlay <outlay@example.org>")
        .variable("OUTLAY_MAIL_OPERATOR", "ops@example.org")
        .start();
    let (_, secret) = hook(&server, &receiver, ALERTS);
    limited(&server, "crowd", 400);
    at_once(40, |thread| {
        for place in 0..10 {
            server.record(run("crowd", thread * 10 + place));
        }
    });
    let thresholds: BTreeSet<String> =
        alerts(&server, "crowd").iter().map(|alert| alert.at("/threshold").to_string()).collect();
    assert_eq!(thresholds, ["100", "80", "95"].map(str::to_owned).into());
    let raised = alert_ids(&server, "crowd");
    assert_eq!(raised.len(), 3);

    until("everybody is told", || receiver.messages().len() >= 3 && mail.mails().len() >= 6);
    assert_eq!((ids(&receiver.messages()), receiver.messages().len()), (raised, 3));
    for message in receiver.messages() {
        assert!(message.is_signed_with(&secret), "{message:?}");
        message.body.shows("/type", "budget.threshold_crossed").shows("/data/userId", "crowd");
        message.body.shows("/data/alertId", &message.id).shows("/data/limit", "400").shows("/data/plan", "premium");
    }
    let to = |address: &str| {
        let mails = mail.mails().into_iter().filter(|mail| mail.to == [address]);
        mails.map(|mail| mail.header("Message-ID").unwrap()).collect::<BTreeSet<_>>().len()
    };
    assert_eq!((to("crowd@example.org"), to("ops@example.org"), mail.mails().len()), (3, 3, 6));
    // The list says so, with when and to whom.
    until("it is noted", || {
        alerts(&server, "crowd").iter().all(|alert| {
            let told = alert.list("/deliveries");
            told.len() == 3 && told.iter().all(|delivery| delivery.text("/state") == "delivered")
        })
    });
    let metrics = server.get("/metrics").text();
    assert!(metrics.contains(r#"outlay_deliveries_total{kind="webhook",result="delivered"} 3"#), "{metrics}");
    assert!(metrics.contains(r#"outlay_deliveries_total{kind="mail",result="delivered"} 6"#), "{metrics}");
    assert!(metrics.contains("outlay_deliveries_pending 0"), "{metrics}");
    server.verifies();
}

#[test]
fn of_several_thresholds_at_once_the_highest_is_sent_and_nothing_of_a_past_month_or_an_import() {
    let receiver = HookReceiver::start(Does::Takes);
    let server = open().start();
    hook(&server, &receiver, ALERTS);
    limited(&server, "ada", 1);
    server.record(run("ada", "past").with("timestamp", "2024-02-01T00:00:00Z"));
    server.record(run("ada", "now"));
    until("it is told", || !receiver.messages().is_empty());
    let raised = alerts(&server, "ada");
    let why: Vec<String> = raised
        .iter()
        .map(|alert| match alert.at("/notSent") {
            Json::Text(why) => format!("{} {why}", alert.at("/threshold")),
            _ => format!("{} sent", alert.at("/threshold")),
        })
        .collect();
    let expected = ["100 sent", "95 superseded", "80 superseded", "100 pastMonth", "95 superseded", "80 superseded"];
    assert_eq!(why, expected);
    assert!(raised[1..].iter().all(|alert| alert.list("/deliveries").is_empty()));
    // An import tells nobody, though the records are made.
    limited(&server, "quiet", 1);
    let quiet = [("outlay-notify", "none"), ("content-type", "application/json")];
    server.send("POST", "/v1/usage", &quiet, run("quiet", 1).to_string().as_bytes()).is(200);
    let odd = [("outlay-notify", "some"), ("content-type", "application/json")];
    server.send("POST", "/v1/usage", &odd, run("quiet", 2).to_string().as_bytes()).is(400);
    limited(&server, "by_file", 1);
    let file = server.file("rows.jsonl");
    std::fs::write(&file, format!("{}\n", run("by_file", 3))).unwrap();
    let imported = server.outlay(&["import", file.to_str().unwrap()]);
    assert_eq!(imported.code, 0, "{imported:?}");
    assert_eq!((alerts(&server, "quiet").len(), alerts(&server, "by_file").len()), (3, 3));
    cross(&server, "last");
    until("the last is told", || receiver.messages().len() > 1);
    let users: Vec<String> = receiver.messages().iter().map(|m| m.body.text("/data/userId").to_owned()).collect();
    assert_eq!(users, ["ada", "last"]);
}

#[test]
fn each_receiver_is_told_of_what_it_asked_for() {
    let (all, limits) = (HookReceiver::start(Does::Takes), HookReceiver::start(Does::Takes));
    let server = open().start();
    let events = ["budget.threshold_crossed", "denial.recorded", "session.abandoned", "limit.changed"];
    hook(&server, &all, &events);
    hook(&server, &limits, &["limit.changed"]);
    limited(&server, "ada", 4);
    let refused = json!({"sessionId": "s1", "feature": "scan", "estimate": {"aiRuns": 5}});
    server.post(&of("ada", "/sessions"), refused).is(402);
    let held = json!({"sessionId": "s2", "feature": "scan", "estimate": {"aiRuns": 1}, "holdSeconds": 1});
    server.post(&of("ada", "/sessions"), held).is(201);
    until("the first is told", || limits.messages().len() == 1);
    server.put("/v1/plans/pro", json!({"limits": {"cost": 7.5, "aiRuns": 1, "apiRuns": null}})).is(200);
    until("all is told", || all.messages().len() == 4 && limits.messages().len() == 2);
    let of_kind = |kind: &str| {
        let bodies = all.messages().into_iter().map(|message| message.body);
        bodies.filter(|body| body.text("/type") == kind).collect::<Vec<_>>()
    };
    of_kind("denial.recorded")[0].shows("/data/reason", "runs_exceeded").shows("/data/sessionId", "s1");
    of_kind("session.abandoned")[0].shows("/data/sessionId", "s2").shows("/data/userId", "ada");
    assert_eq!(of_kind("limit.changed").len(), 2);
    let told = limits.messages();
    told[0].body.shows("/data/userId", "ada").shows("/data/limits/aiRuns", "4").shows("/data/before/aiRuns", "0");
    told[1].body.shows("/data/plan", "pro").shows("/data/limits/cost", "7.5").shows("/data/before/cost", "1.5");
    assert_eq!(*told[1].body.at("/data/userId"), Json::Null);
    // One event has one id for all who are told of it.
    assert!(ids(&told).is_subset(&ids(&all.messages())));
}

#[test]
fn receivers_that_hang_hold_up_nobody_else() {
    let hanging: Vec<HookReceiver> =
        (0..8).map(|at| HookReceiver::start(if at % 2 == 0 { Does::Hangs } else { Does::Drips })).collect();
    let good = HookReceiver::start(Does::Takes);
    let server = open().start();
    let hooks: Vec<String> = hanging.iter().map(|receiver| hook(&server, receiver, ALERTS).0).collect();
    hook(&server, &good, ALERTS);
    for user in 0..20 {
        cross(&server, &format!("user_{user}"));
    }
    until("the good one is told of all", || good.messages().len() == 20);
    assert_eq!(ids(&good.messages()).len(), 20);
    // Nothing of the others is lost: each waits for its next try.
    let silent = server.page(&format!("/v1/webhooks/{}/deliveries", hooks[0]), None);
    assert_eq!(silent.list("/items").len(), 20);
    assert!(silent.list("/items").iter().all(|item| item.text("/state") == "pending"));
}

#[test]
fn what_receivers_answer_is_heeded() {
    let elsewhere = HookReceiver::start(Does::Takes);
    let receiver = HookReceiver::start(Does::Redirects(elsewhere.url()));
    let server = open().start();
    let (id, _) = hook(&server, &receiver, ALERTS);
    let path = format!("/v1/webhooks/{id}");
    let newest = || server.page(&format!("{path}/deliveries"), None).list("/items")[0].clone();
    // A redirect is not followed; five seconds later it is tried again, with the same id and content.
    cross(&server, "redirected");
    until("the try is noted", || !newest().list("/tries").is_empty());
    newest().shows("/tries/0/status", "307").shows("/state", "pending");
    assert_eq!(elsewhere.messages().len(), 0);
    receiver.does(Does::Takes);
    until("it is delivered", || newest().text("/state") == "delivered");
    let messages = receiver.messages();
    assert_eq!((messages.len(), &messages[0].id), (2, &messages[1].id));
    assert_eq!(messages[0].body, messages[1].body);

    // Asked to wait for an hour, it waits for an hour.
    receiver.does(Does::AsksToWait(429, 3_600));
    cross(&server, "waiting");
    until("the try is noted", || !newest().list("/tries").is_empty());
    let at = |item: &Json, pointer: &str| item.text(pointer).parse::<jiff::Timestamp>().unwrap();
    let item = newest();
    let wait = at(&item, "/nextTryAt").as_second() - at(&item, "/tries/0/at").as_second();
    assert!((3_599..=3_601).contains(&wait), "{item}");
    // By hand it is sent at once.
    receiver.does(Does::Takes);
    server.post(&format!("{path}/redeliver"), json!({"deliveryId": item.text("/deliveryId")})).is(202);
    until("it is delivered", || newest().text("/state") == "delivered");

    // 410: it is told of nothing more, until a test arrives.
    receiver.does(Does::Answers(410));
    cross(&server, "gone");
    until("it is gone", || *server.get("/v1/webhooks").is(200).at("/items/0/goneAt") != Json::Null);
    let gone = newest();
    assert_eq!((gone.text("/state"), gone.list("/tries").len()), ("failed", 1));
    cross(&server, "meanwhile");
    assert_eq!(alerts(&server, "meanwhile")[0].list("/deliveries"), []);
    receiver.does(Does::Takes);
    server.post(&format!("{path}/test"), json!({})).is(202);
    until("it is back", || *server.get("/v1/webhooks").is(200).at("/items/0/goneAt") == Json::Null);
    receiver.messages().last().unwrap().body.shows("/type", "webhook.test");
    // What failed is sent again, all of it, with its id.
    server.post(&format!("{path}/redeliver"), json!({})).is(202).shows("/deliveries", "1");
    until("it is noted", || server.get(&format!("{path}/deliveries?state=failed")).is(200).list("/items").is_empty());
    until("it is delivered", || receiver.messages().last().unwrap().id == gone.text("/eventId"));
    let before = receiver.messages().len();
    let alert = format!("/v1/alerts/{}/redeliver", gone.text("/eventId"));
    server.post(&alert, json!({})).is(202).shows("/deliveries", "1");
    until("it is sent again", || receiver.messages().len() == before + 1);
    server.post("/v1/alerts/alert_00000000_1/redeliver", json!({})).is(404);
    server.post(&format!("{path}/redeliver"), json!({"deliveryId": "delivery_00000000_1"})).is(404);

    // Taken away, it is told of nothing.
    server.delete(&path).is_text(204);
    server.get(&format!("{path}/deliveries")).is(404);
    cross(&server, "after");
    assert_eq!(alerts(&server, "after")[0].list("/deliveries"), []);
    server.verifies();
}

#[test]
fn a_webhooks_secret_changes_over_with_two_signatures_and_lies_sealed() {
    let receiver = HookReceiver::start(Does::Takes);
    let mut server = open().start();
    let (id, old) = hook(&server, &receiver, ALERTS);
    let new = server.post(&format!("/v1/webhooks/{id}/rotate"), json!({})).is(200).text("/secret").to_owned();
    assert_ne!(old, new);
    server.restart();
    server.post(&format!("/v1/webhooks/{id}/test"), json!({})).is(202);
    until("it is told", || !receiver.messages().is_empty());
    let message = &receiver.messages()[0];
    assert_eq!((message.is_signed_with(&old), message.is_signed_with(&new), message.signatures()), (true, true, 2));
    for secret in [&old, &new] {
        let found = crate::support::found_in_files(&server.data(), secret.as_bytes());
        assert_eq!(found, None, "the secret lies open");
        assert!(!server.get("/v1/webhooks").text().contains(secret.as_str()));
        assert!(!server.log().contains(secret.as_str()));
    }
    // It is sealed under the master key: where that is another one, all is sealed anew.
    server.stop();
    let rotated = server.outlay(&["keys", "rotate-master"]);
    assert_eq!(rotated.code, 0, "{rotated:?}");
    server.start_again();
    server.post(&format!("/v1/webhooks/{id}/test"), json!({})).is(202);
    until("it is told", || receiver.messages().len() > 1);
    assert_eq!(receiver.messages()[1].signatures(), 2);
    assert!(receiver.messages()[1].is_signed_with(&new));
}

#[test]
fn webhooks_are_admins_business_and_must_be_sound() {
    let server = Setup::keyed().start();
    let make = |body: Value| server.post("/v1/webhooks", body);
    make(json!({})).is(400);
    make(json!({"url": "http://app.example.org/"})).refuses("/url");
    make(json!({"url": "https://127.0.0.1/"})).refuses("/url");
    make(json!({"url": "https://169.254.169.254/latest"})).refuses("/url");
    make(json!({"url": "https://app.example.org/", "events": []})).refuses("/events");
    make(json!({"url": "https://app.example.org/", "events": ["everything"]})).refuses("/events");
    make(json!({"url": "https://app.example.org/", "more": 1})).refuses("/more");
    let made = make(json!({"url": "https://app.example.org/hook", "description": "the shop"})).is(201);
    let listed = server.get("/v1/webhooks").is(200);
    assert_eq!(listed.list("/items").len(), 1);
    assert!(listed.get("/items/0/secret").is_none());
    listed.shows("/items/0/url", "https://app.example.org/hook").shows("/items/0/events/0", ALERTS[0]);
    let id = made.text("/id");
    for role in ["viewer", "app"] {
        let key = server.with_key(ADMIN).post("/v1/keys", json!({"role": role})).is(201);
        let caller = server.with_key(key.text("/key"));
        caller.get("/v1/webhooks").is(403);
        caller.post("/v1/webhooks", json!({"url": "https://app.example.org/"})).is(403);
        caller.get(&format!("/v1/webhooks/{id}/deliveries")).is(403);
        caller.delete(&format!("/v1/webhooks/{id}")).is(403);
    }
    for path in ["rotate", "test", "redeliver"] {
        server.post(&format!("/v1/webhooks/webhook_none/{path}"), json!({})).is(404);
    }
    server.delete("/v1/webhooks/webhook_none").is(404);
    server.get(&format!("/v1/webhooks/{id}/deliveries?state=lost")).is(400);
}

#[test]
fn webhooks_of_the_configuration_are_told_and_changed_there_alone() {
    let receiver = HookReceiver::start(Does::Takes);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("outlay.toml");
    let secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    std::fs::write(home.path().join("secret"), format!("{secret}\n")).unwrap();
    let with = format!(
        "[[webhooks]]\nurl = \"{}\"\nsecret_file = \"{}\"\nevents = [\"limit.changed\"]\ndescription = \"ours\"\n",
        receiver.url(),
        home.path().join("secret").display()
    );
    std::fs::write(&file, &with).unwrap();
    let mut server = open().argument("--config").argument(file.to_str().unwrap()).start();
    let listed = server.get("/v1/webhooks").is(200);
    listed.shows("/items/0/configured", "true").shows("/items/0/description", "ours");
    let id = listed.text("/items/0/id").to_owned();
    limited(&server, "ada", 4);
    until("it is told", || !receiver.messages().is_empty());
    assert!(receiver.messages()[0].is_signed_with(secret));
    server.delete(&format!("/v1/webhooks/{id}")).is(409);
    server.post(&format!("/v1/webhooks/{id}/rotate"), json!({})).is(409);
    // A command on the folder, run where this file is not, takes nothing away of what it does not know.
    server.kill9();
    assert_eq!(server.outlay(&["budget", "ada"]).code, 0);
    server.start_again();
    assert_eq!(server.get("/v1/webhooks").is(200).text("/items/0/id"), id);
    std::fs::write(&file, "").unwrap();
    server.restart();
    assert_eq!(server.get("/v1/webhooks").is(200).list("/items"), []);
    // Who made it and took it away is kept, and neither where it is nor what signs.
    let audited = server.get("/v1/audit?who=configuration").is(200);
    let actions: Vec<&str> = audited.list("/items").iter().map(|entry| entry.text("/action")).collect();
    assert_eq!(actions, ["webhook.deleted", "webhook.created"]);
    audited.shows("/items/1/subject", &id).shows("/items/1/after/events", "limit.changed");
    assert!(!audited.to_string().contains("127.0.0.1") && !audited.to_string().contains("whsec"), "{audited}");
}

#[test]
fn webhooks_are_made_and_told_again_from_the_command_line_and_from_the_pages() {
    let receiver = HookReceiver::start(Does::Answers(410));
    let server = open().start();
    let made =
        server.outlay(&["webhooks", "create", &receiver.url(), "--event", ALERTS[0], "--event", "limit.changed"]);
    assert_eq!(made.code, 0, "{made:?}");
    let secret = made.out.trim().to_owned();
    let id = server.get("/v1/webhooks").is(200).text("/items/0/id").to_owned();
    limited(&server, "ada", 4);
    until("it is told", || receiver.messages().len() == 1);
    assert!(receiver.messages()[0].is_signed_with(&secret));
    until("it is gone", || server.outlay(&["webhooks", "list", "--json"]).out.contains("\"goneAt\":\"2"));
    let listed = server.outlay(&["webhooks", "deliveries", &id]);
    assert!(listed.out.contains("limit.changed") && listed.out.contains("failed"), "{listed:?}");
    receiver.does(Does::Takes);
    assert_eq!(server.outlay(&["webhooks", "redeliver", &id]).code, 0);
    until("it is told again", || receiver.messages().len() == 2);
    assert_eq!(server.outlay(&["webhooks", "test", &id]).code, 0);
    until("it is back", || server.outlay(&["webhooks", "list", "--json"]).out.contains("\"goneAt\":null"));
    let rotated = server.outlay(&["webhooks", "rotate", &id]);
    assert!(rotated.out.starts_with("whsec_") && rotated.out.trim() != secret, "{rotated:?}");

    // The pages say the same.
    cross(&server, "eve");
    until("it is told", || receiver.messages().len() == 5);
    until("it is noted", || server.get("/alerts").text().contains(": Delivered "));
    let settings = server.get("/settings").text();
    assert!(settings.contains(&receiver.url()) && settings.contains(">changed limits<"), "{settings}");
    let page = format!("/settings/webhooks/{id}");
    let shown = server.get(&page).text();
    assert!(shown.contains("budget.threshold_crossed") && shown.contains("after 2 tries"), "{shown}");
    let form = |path: &str, body: &str| {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("sec-fetch-site", "same-origin")];
        server.send("POST", path, &headers, body.as_bytes())
    };
    let before = receiver.messages().len();
    assert_eq!(form(&format!("{page}/test"), "").status, 303);
    assert_eq!(form(&format!("{page}/redeliver"), "delivery=1").status, 303);
    assert_eq!(form("/alerts/3/redeliver", "").status, 303);
    until("three more came", || receiver.messages().len() == before + 3);
    assert_eq!(form(&format!("{page}/redeliver"), "delivery=99").status, 404);
    let refused = form("/settings/webhooks", "url=https%3A%2F%2F10.0.0.1%2F&limit.changed=yes");
    assert!(refused.status == 422 && refused.text().contains("must be at a public address"), "{}", refused.text());
    let made = form("/settings/webhooks", "url=https%3A%2F%2Fexample.org%2F&limit.changed=yes&description=");
    assert!(made.status == 201 && made.text().contains("whsec_"), "{}", made.text());
    assert!(form(&format!("{page}/rotate"), "").text().contains("whsec_"));
    assert_eq!(form("/settings/mail/test", "").status, 404);
    assert_eq!(form(&format!("{page}/remove"), "").status, 303);
    assert_eq!(server.outlay(&["webhooks", "delete", &id]).code, 1);
}

/// A receiver takes an id once: what is told after a backup was restored must not have one that was told before.
#[test]
fn what_is_new_after_a_restored_backup_has_ids_of_its_own() {
    let receiver = HookReceiver::start(Does::Takes);
    let mut server = open().variable("OUTLAY_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").start();
    hook(&server, &receiver, &["budget.threshold_crossed", "denial.recorded", "limit.changed"]);
    cross(&server, "kept");
    until("it is told", || receiver.messages().len() == 2);
    let backup = server.file("backup.db");
    let backup = backup.to_str().unwrap();
    server.outlay(&["backup", backup]).exits(0);
    let denied = json!({"feature": "scan", "estimate": {"cost": 1}, "reason": "no"});
    let happens = |server: &Server, user: &str| {
        cross(server, user);
        server.post(&of(user, "/denials"), denied.clone()).is(201).text("/denialId").to_owned()
    };
    let lost_denial = happens(&server, "lost");
    until("it is told", || receiver.messages().len() == 5);
    // Of the three thresholds that are crossed at once the highest is told of, which was raised last.
    let told = |server: &Server, user: &str| alerts(server, user)[0].text("/alertId").to_owned();
    let (kept, lost) = (told(&server, "kept"), told(&server, "lost"));
    assert!(server.stop().success());
    server.outlay(&["restore", backup, "--force"]).exits(0);
    server.start_again();
    assert_eq!(told(&server, "kept"), kept);
    assert_ne!(happens(&server, "new"), lost_denial);
    until("it is told", || receiver.messages().len() == 8);
    assert_eq!(ids(&receiver.messages()).len(), 8, "an id came twice");
    // Each is found by its own id alone.
    let again = |id: &str| server.post(&format!("/v1/alerts/{id}/redeliver"), json!({})).status;
    assert_eq!([again(&kept), again(&told(&server, "new")), again(&lost)], [202, 202, 404]);
    server.verifies();
}

#[test]
fn plans_that_the_configuration_changes_are_told_at_the_start_and_by_a_signal() {
    let receiver = HookReceiver::start(Does::Takes);
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("outlay.toml");
    let plan = |name: &str, runs: u32| format!("[plans.{name}]\ncost = 1\nai_runs = {runs}\napi_runs = 0\n");
    let write = |plans: &[String]| std::fs::write(&file, plans.concat()).unwrap();
    write(&[plan("base", 1), plan("pro", 2), plan("premium", 3)]);
    let mut server = open().argument("--config").argument(file.to_str().unwrap()).start();
    hook(&server, &receiver, &["limit.changed"]);
    // What was sent and not noted before a restart is sent again, with the same id.
    let told = |count: usize| {
        until("all are told", || ids(&receiver.messages()).len() >= count);
        let said = receiver.messages().into_iter().map(|message| {
            let data = |name: &str| message.body.at(&format!("/data/{name}")).to_string().replace('"', "");
            let (plan, before, after) = (data("plan"), data("before/aiRuns"), data("limits/aiRuns"));
            format!("{} {plan} {before} {after}", data("userId"))
        });
        said.collect::<BTreeSet<String>>()
    };
    // In a store without users nobody's limits are others.
    write(&[plan("base", 1), plan("pro", 5), plan("premium", 3)]);
    server.restart();
    server.record(run("ada", 1));
    limited(&server, "ben", 9);
    assert_eq!(told(1), ["ben premium 1 9".to_owned()].into());
    // At the start: of what is another, what is new, and what is gone; of what is as it was nothing.
    write(&[plan("base", 4), plan("pro", 5), plan("team", 6)]);
    server.restart();
    let all = ["ben premium 1 9", "null base 1 4", "null premium 3 4", "null team 1 6"].map(str::to_owned);
    assert_eq!(told(4), all.clone().into());
    server.restart();
    write(&[plan("base", 4), plan("pro", 7), plan("team", 6)]);
    server.hang_up();
    let with_more = all.into_iter().chain(["null pro 5 7".to_owned()]).collect();
    assert_eq!(told(5), with_more);
    assert_eq!(ids(&receiver.messages()).len(), 5, "each has one id");
    server.verifies();
}

/// How often a kill is tried here; `cargo xtask test --long` sets more.
fn kills() -> usize {
    std::env::var("OUTLAY_KILLS").map_or(5, |text| text.parse::<usize>().unwrap().min(50))
}

#[test]
fn a_kill_between_the_commit_and_the_delivery_loses_and_doubles_nothing() {
    use rand::RngExt as _;

    let seed = seed("a_kill_between_the_commit_and_the_delivery_loses_and_doubles_nothing");
    let mut random = random(seed, 0);
    let receiver = HookReceiver::start(Does::Takes);
    let mut server = open().start();
    hook(&server, &receiver, ALERTS);
    for kill in 0..kills() {
        let user = format!("user_{kill}");
        limited(&server, &user, 20);
        // The commit is there and no message can be; or some are, and what became of them is perhaps noted.
        receiver.does(if kill % 2 == 0 { Does::Hangs } else { Does::TakesLate(random.random_range(0..30)) });
        for no in 0..20 {
            server.record(run(&user, no));
        }
        std::thread::sleep(std::time::Duration::from_millis(random.random_range(0..60)));
        server.kill9();
        receiver.does(Does::Takes);
        server.start_again();
        let raised = alert_ids(&server, &user);
        assert_eq!((raised.len(), alerts(&server, &user).len()), (3, 3), "one record for each of 80, 95 and 100");
        until("all is delivered", || {
            alerts(&server, &user).iter().all(|alert| {
                let told = alert.list("/deliveries");
                assert_eq!(told.len(), 1, "one delivery for each receiver: {alert}");
                told[0].text("/state") == "delivered"
            })
        });
        let of_user = |message: &&Message| message.body.text("/data/userId") == user;
        let told: Vec<Message> = receiver.messages().iter().filter(of_user).cloned().collect();
        assert_eq!(ids(&told), raised, "each was told, and with its own id");
    }
    server.verifies();
}

/// The pauses between tries in seconds, each a little longer than it can be.
#[cfg(feature = "test-clock")]
const PAUSES: [i64; 11] = [6, 33, 130, 640, 1_900, 7_600, 19_000, 38_000, 53_000, 76_000, 91_000];

#[cfg(feature = "test-clock")]
#[test]
fn a_receiver_that_is_down_for_72_hours_loses_nothing() {
    let receiver = HookReceiver::start(Does::Takes);
    let begun: jiff::Timestamp = "2025-10-13T12:00:00Z".parse().unwrap();
    let mut server = Server::at_with("2025-10-13T12:00:00Z", open());
    let (id, _) = hook(&server, &receiver, ALERTS);
    receiver.goes_down();
    for user in ["ada", "ben"] {
        limited(&server, user, 20);
        (0..20).for_each(|no| drop(server.record(run(user, no))));
    }
    let path = format!("/v1/webhooks/{id}");
    let all = |server: &Server| server.all(&format!("{path}/deliveries"));
    let fewest = |server: &Server| all(server).iter().map(|item| item.list("/tries").len()).min().unwrap();
    until("all are tried", || fewest(&server) == 1);
    assert_eq!(all(&server).len(), 6);
    let later = |seconds: i64| (begun + jiff::SignedDuration::from_secs(seconds)).to_string();
    let mut passed = 0;
    let (last, first) = PAUSES.split_last().unwrap();
    for (at, pause) in first.iter().enumerate() {
        passed += pause;
        server.clock(&later(passed));
        until("all are tried again", || fewest(&server) == at + 2);
    }
    assert!(all(&server).iter().all(|item| item.text("/state") == "pending"));
    // After 72 hours it is back. The server is started anew then: all is due at once.
    server.clock(&later(72 * 3_600));
    receiver.comes_back();
    server.restart();
    until("all is delivered", || all(&server).iter().all(|item| item.text("/state") == "delivered"));
    let raised: BTreeSet<String> = ["ada", "ben"].iter().flat_map(|user| alert_ids(&server, user)).collect();
    assert_eq!((raised.len(), ids(&receiver.messages())), (6, raised));

    // Another, to the end: it is kept, and can be told by hand.
    receiver.goes_down();
    cross(&server, "eve");
    let newest = |server: &Server| all(server)[0].clone();
    until("it is tried", || newest(&server).list("/tries").len() == 1);
    let mut passed = 72 * 3_600;
    for (at, pause) in first.iter().chain([last]).enumerate() {
        passed += pause;
        server.clock(&later(passed));
        until("it is tried again", || newest(&server).list("/tries").len() == at + 2);
    }
    let kept = newest(&server);
    assert_eq!((kept.text("/state"), kept.list("/tries").len()), ("failed", 12));
    receiver.comes_back();
    server.restart();
    let found = server.get(&format!("{path}/deliveries?state=failed")).is(200);
    found.shows("/items/0/deliveryId", kept.text("/deliveryId"));
    server.post(&format!("{path}/redeliver"), json!({})).is(202).shows("/deliveries", "1");
    until("it is told", || receiver.messages().last().unwrap().id == kept.text("/eventId"));
    server.verifies();
}

#[cfg(feature = "test-clock")]
#[test]
fn a_clock_that_was_years_ahead_keeps_nothing_waiting() {
    let receiver = HookReceiver::start(Does::Takes);
    let mut server = Server::at_with("2031-05-05T12:00:00Z", open());
    let (id, _) = hook(&server, &receiver, ALERTS);
    let all = |server: &Server| server.all(&format!("/v1/webhooks/{id}/deliveries"));
    let delivered = |server: &Server| all(server).iter().all(|item| item.text("/state") == "delivered");
    receiver.goes_down();
    cross(&server, "while-it-runs");
    until("it is tried", || all(&server)[0].list("/tries").len() == 1);
    server.clock("2025-10-13T12:00:00Z");
    until("it is tried again", || all(&server)[0].list("/tries").len() >= 2);
    receiver.comes_back();
    server.clock("2025-10-13T12:01:00Z");
    until("it is delivered", || delivered(&server));

    server.clock("2031-05-05T12:00:00Z");
    receiver.goes_down();
    cross(&server, "at-a-start");
    server.kill9();
    receiver.comes_back();
    server.clock("2025-10-13T12:02:00Z");
    server.start_again();
    until("it is delivered", || delivered(&server));
    server.verifies();
}

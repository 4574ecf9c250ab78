//! Retention: details of operations that are older than the operator keeps them are gone, and nothing else is.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rand::RngExt as _;
use serde_json::{Value, json};

use crate::support::{
    Asks, Json, Server, Setup, With, ai_run, found_in_files, of, outlay, outlay_with_environment, random, seed, until,
};

/// Stands in every detail, and nowhere else.
const SECRET: &str = "S3cret";

/// An operation with every detail that there is.
fn whole(user: &str, id: &str) -> Value {
    ai_run(user, 0.25)
        .with("operationId", id)
        .with("provider", "gemini")
        .with("tokens", json!({"input": 900, "output": 55}))
        .with("units", json!({format!("{SECRET} pages"): 2}))
        .with("stepLabel", format!("{SECRET} step"))
        .with("durationMs", 812)
        .with("metadata", json!({"file": SECRET}))
}

/// A server whose settings stand in a file that a test may change.
struct Kept {
    server: Server,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

impl Kept {
    fn at(instant: &str, settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("outlay.toml");
        fs::write(&file, settings).unwrap();
        let setup = Setup::open().argument("--config").argument(file.to_str().unwrap());
        Self { server: Server::at_with(instant, setup), file, _folder: folder }
    }

    /// The next start is at this instant, with these settings.
    fn again_at(&mut self, instant: &str, settings: &str) {
        assert!(self.server.stop().success());
        self.server.clock(instant);
        fs::write(&self.file, settings).unwrap();
        self.server.start_again();
    }
}

/// A figure of `/metrics`, if it is there.
fn figure(server: &Server, name: &str) -> Option<u64> {
    let metrics = server.get("/metrics").is_text(200);
    metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')).map(|number| number.parse().unwrap())
}

fn emptied(server: &Server) -> u64 {
    figure(server, "outlay_trimmed_operations_total").unwrap()
}

/// Waits until the server has emptied all that was recorded before this day, and no more than so many operations.
fn until_emptied(server: &Server, before: &str, operations: u64) {
    let before = before.parse::<jiff::Timestamp>().unwrap().as_second();
    until("all is emptied that is due", || {
        figure(server, "outlay_trimmed_before_timestamp_seconds") == Some(u64::try_from(before).unwrap())
    });
    assert_eq!(emptied(server), operations);
}

/// That an item of a list, or a step, is emptied, or that it is whole.
fn is_emptied(item: &Json) -> bool {
    let text = item.to_string();
    let emptied = text.contains("\"trimmed\":true");
    assert!(emptied || !text.contains("trimmed"), "{text}");
    assert_eq!(!emptied, text.contains(SECRET), "{text}");
    if emptied {
        for detail in ["stepLabel", "durationMs"] {
            assert!(text.contains(&format!("\"{detail}\":null")), "{detail} in {text}");
        }
        assert!(text.contains("\"metadata\":{}"), "{text}");
    }
    emptied
}

#[test]
fn what_is_older_is_emptied_and_counts_as_before() {
    let mut kept = Kept::at("2025-10-13T12:00:00Z", "keep_details_days = 30");
    let server = &kept.server;
    server.user("u", "enterprise");
    for step in ["a", "b"] {
        server.record(whole("u", step).with("sessionId", "s"));
    }
    server.record(whole("u", "c").with("timestamp", "2024-02-29T12:00:00Z"));
    server.record(whole("u", "d"));
    server.post(&of("u", "/usage/d/reverse"), json!({"operationId": "e", "reason": SECRET})).is(200);
    // Money, runs and tokens as they are counted, of the month in which all was recorded.
    let counted = |server: &Server, months: u8| -> Vec<Json> {
        let history = server.get(&of("u", &format!("/history?months={months}"))).is(200);
        let overview = server.get("/v1/overview?month=2025-10").is(200);
        overview.shows("/totals/all/inputTokens", "2700").shows("/totals/all/outputTokens", "165");
        let budgets = ["2025-10", "2024-02"].map(|month| server.budget_of("u", month));
        [history.at("/months/0").clone().without("days"), overview.at("/totals").clone()]
            .into_iter()
            .chain(budgets)
            .collect()
    };
    let before = counted(server, 1);
    until_emptied(server, "2025-09-13T00:00:00Z", 0);

    // Not while the day itself is not over for so long; a back-dated operation is as old as its recording.
    kept.again_at("2025-11-12T23:59:00Z", "keep_details_days = 30");
    until_emptied(&kept.server, "2025-10-13T00:00:00Z", 0);
    assert!(found_in_files(&kept.server.data(), SECRET.as_bytes()).is_some());
    kept.again_at("2025-11-13T00:00:00Z", "keep_details_days = 30");
    let server = &kept.server;
    until_emptied(server, "2025-10-14T00:00:00Z", 5);
    assert_eq!(counted(server, 2), before);
    server.record(whole("u", "young").with("sessionId", "s").with("units", Value::Null));
    for (item, id) in server.all(&of("u", "/usage")).iter().zip(["young", "e", "d", "c", "b", "a"]) {
        item.shows("/operationId", id).shows("/provider", "gemini");
        assert_eq!(is_emptied(item), id != "young", "{item}");
        if id != "young" {
            item.shows("/tokens", "null").shows("/units", "null");
            assert_eq!(item.to_string().contains("\"reason\":null"), id == "e");
        }
    }
    let steps = server.session("u", "s");
    assert_eq!(steps.list("/steps").iter().map(is_emptied).collect::<Vec<_>>(), [true, true, false]);
    steps.shows("/totalCost", "0.75").shows("/steps/0/stepNumber", "1");
    assert!(server.get(&of("u", "/usage/none")).status >= 400);

    // Asked again, it is a duplicate for ever; with other content a conflict; and it is taken back like any other.
    server.record(whole("u", "a").with("sessionId", "s")).shows("/duplicate", "true").shows("/cost", "0.25");
    server.post("/v1/usage", whole("u", "a").with("sessionId", "s").with("metadata", json!({}))).is(409);
    server.reverse("u", "b").is(200).shows("/reverses", "b").shows("/cost", "-0.25");
    server.reverse("u", "b").is(200).shows("/duplicate", "true");
    let taken_back = server.all(&of("u", "/usage?sessionId=s"));
    let b = taken_back.iter().find(|item| item.text("/operationId") == "b").unwrap();
    assert!(is_emptied(b) && !b.to_string().contains("\"reversedBy\":null"), "{b}");
    server.verifies();

    // Pages and CSV say so too, and none takes what is gone for nothing.
    assert!(server.get("/users/u?month=2025-10").is_text(200).contains(">trimmed<"));
    assert!(server.get("/users/u/operations/a").is_text(200).contains("were emptied"));
    assert!(server.get("/users/u/sessions/s").is_text(200).contains(">trimmed<"));
    assert!(server.get("/settings").is_text(200).contains("kept for 30 days"));
    let csv = server.get("/users/u/usage.csv").is_text(200);
    let of_a = csv.lines().find(|line| line.starts_with("a,")).unwrap();
    assert!(csv.lines().next().unwrap().ends_with(",trimmed") && of_a.ends_with(",true"), "{csv}");
    assert!(of_a.contains(",true,,,s,,,"), "neither tokens nor a label nor a duration: {of_a}");
    assert!(csv.lines().any(|line| line.starts_with("young,") && line.ends_with(",false")), "{csv}");
    let csv = server.get("/users/u/sessions/s/steps.csv").is_text(200);
    assert_eq!(csv.lines().filter(|line| line.ends_with(",true")).count(), 2, "{csv}");

    // Who did it is written down, and a doctor sees how far it is.
    let audit = server.get("/v1/audit?action=details.emptied").is(200);
    audit.shows("/items/0/who", "configuration").shows("/items/0/after/operations", "5");
    audit.shows("/items/0/after/recordedBefore", "2025-10-14T00:00:00Z");
    let address = server.address().to_string();
    let doctor = |more: &[&str]| {
        let ran = server.outlay(&[&["doctor", "--json", "--open", "--listen", &address], more].concat());
        let said = ran.json();
        let check = said.list("/checks").iter().find(|check| check.text("/about") == "retention").unwrap().clone();
        format!("{}: {}", check.text("/verdict"), check.text("/what"))
    };
    assert!(doctor(&["--keep-details-days", "30"]).starts_with("ok: operations keep their details for 30 days; 5 are"));
    assert!(doctor(&["--keep-details-days", "7"]).contains("behind"));
    assert!(doctor(&[]).contains("for ever"));

    // What it says of them elsewhere is what it says here.
    let file = server.file("all.jsonl");
    server.outlay(&["export", "u", "--out", file.to_str().unwrap()]).exits(0);
    let exported = fs::read_to_string(&file).unwrap();
    assert_eq!(exported.matches("\"trimmed\":true").count(), 5);
    let other = Server::open();
    let ran = other.outlay(&["import", file.to_str().unwrap(), "--json"]).exits(0).json();
    ran.shows("/withoutDetails", "4").shows("/recorded", "7").shows("/rejected", "0");
    other.budget_of("u", "2025-10").meter("cost", "0.25", "0").meter("aiRuns", "1", "0");

    // Nothing of it is left on the disk: only what is young says it anew, until that is erased.
    server.delete(&of("u", "")).is(204);
    until("no byte is left", || found_in_files(&server.data(), SECRET.as_bytes()).is_none());
    server.verifies();
}

#[test]
fn the_setting_is_read_anew_and_a_clock_that_jumps_is_not_believed() {
    let mut kept = Kept::at("2025-10-13T12:00:00Z", "");
    kept.server.record(whole("u", "a"));
    kept.again_at("2025-12-13T12:00:00Z", "log = 'info'");
    kept.server.record(whole("u", "b"));
    assert_eq!((emptied(&kept.server), figure(&kept.server, "outlay_trimmed_before_timestamp_seconds")), (0, None));
    fs::write(&kept.file, "log = 'info'\nkeep_details_days = 40").unwrap();
    kept.server.hang_up();
    until_emptied(&kept.server, "2025-11-03T00:00:00Z", 1);

    // A jump by a year is not believed at once, and what is emptied does not come back.
    kept.server.clock("2026-12-13T12:00:00Z");
    until("the jump is seen", || kept.server.get("/readyz").is(200).to_string().contains("\"clockJump\":true"));
    let looked_at_twice = Instant::now() + Duration::from_millis(2_500);
    while Instant::now() < looked_at_twice {
        assert_eq!(emptied(&kept.server), 1);
        std::thread::sleep(Duration::from_millis(50));
    }
    // After another start it is, and a setting that is gone empties nothing.
    kept.again_at("2026-12-13T12:00:00Z", "");
    kept.server.record(whole("u", "c"));
    assert_eq!(emptied(&kept.server), 1);
    kept.again_at("2026-12-13T12:00:00Z", "keep_details_days = 40");
    until_emptied(&kept.server, "2026-11-03T00:00:00Z", 2);
    kept.server.verifies();
}

#[test]
fn a_kill_in_the_midst_only_interrupts_it() {
    const OPERATIONS: u64 = 8_000;
    let seed = seed("a_kill_in_the_midst_only_interrupts_it");
    let mut random = random(seed, 0);
    let mut kept = Kept::at("2025-10-13T12:00:00Z", "keep_details_days = 7");
    kept.server.user("u", "enterprise");
    for batch in 0..OPERATIONS / 1_000 {
        let batch: Vec<Value> = (0..1_000).map(|no| whole("u", &format!("{batch}-{no}"))).collect();
        kept.server.post("/v1/usage", Value::Array(batch)).is(200);
    }
    kept.again_at("2025-10-30T12:00:00Z", "keep_details_days = 7");
    let mut interrupted = 0;
    loop {
        let before = emptied(&kept.server);
        let enough = (before + random.random_range(1..2_500)).min(OPERATIONS);
        until("more is emptied", || emptied(&kept.server) >= enough);
        kept.server.kill9();
        // As far as it came each is empty, from there on each is whole, and all count; seen on the folder alone.
        let file = kept.server.file("all.jsonl");
        kept.server.outlay(&["export", "u", "--out", file.to_str().unwrap()]).exits(0);
        let exported = fs::read_to_string(&file).unwrap();
        let operations: Vec<bool> = exported
            .lines()
            .map(|line| Json::parse(line).unwrap())
            .filter(|line| line.text("/kind") == "operation")
            .map(|line| is_emptied(&line))
            .collect();
        let emptied = operations.iter().rev().take_while(|emptied| **emptied).count();
        assert_eq!(operations.iter().filter(|emptied| **emptied).count(), emptied, "in the order of recording");
        assert_eq!((operations.len() as u64, emptied as u64 >= enough), (OPERATIONS, true));
        kept.server.verifies();
        if emptied as u64 == OPERATIONS {
            break;
        }
        interrupted += 1;
        kept.server.start_again();
    }
    assert!(interrupted > 0, "it was never in the midst of it");
    kept.server.start_again();
    kept.server.budget_of("u", "2025-10").meter("cost", "2000", "0").meter("aiRuns", "8000", "0");
    until("no byte is left", || found_in_files(&kept.server.data(), SECRET.as_bytes()).is_none());
}

#[test]
fn numbers_of_days_that_make_no_sense_are_refused() {
    for wrong in ["0", "6", "36501", "-1", "90d", "90 days", "1.5", ""] {
        let ran = outlay(&["config", "check", &format!("--keep-details-days={wrong}")]).exits(1);
        let said = format!("--keep-details-days: `{wrong}` is not a whole number of days from 7 to 36500");
        assert!(ran.err.contains(&said), "{ran:?}");
    }
    for right in ["7", "90", "36500"] {
        outlay(&["config", "check", "--keep-details-days", right]).exits(0);
    }
    let variable = [("OUTLAY_KEEP_DETAILS_DAYS", "90")];
    let ran = outlay_with_environment(&["config", "check"], &variable).exits(0);
    assert!(ran.out.contains("OUTLAY_KEEP_DETAILS_DAYS\t90\tOUTLAY_KEEP_DETAILS_DAYS\n"), "{ran:?}");
    let ran = outlay(&["config", "check"]).exits(0);
    assert!(ran.out.contains("OUTLAY_KEEP_DETAILS_DAYS\tfor ever\tdefault\n"), "{ran:?}");
}

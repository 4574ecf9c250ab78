//! The command line, through the real program: beside a running server, and on the folder alone.

mod config;
mod data;
mod demo;
mod doctor;
#[cfg(feature = "test-clock")]
mod holds;
mod reload;

use std::fs;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use crate::support::{
    Asks, Json, Server, Setup, With, ai_run, api, of, outlay, outlay_with_environment, raised_at_end, until,
};

/// 32 bytes in base64: given to server and commands alike, so that a restored folder has its key.
const MASTER_KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

#[test]
fn bad_usage_is_exit_code_2() {
    for arguments in
        [&["no-such-command"][..], &["serve", "--no-such-flag"], &["budget"], &["record", "--cost"], &["import"], &[]]
    {
        let ran = outlay(arguments).exits(2);
        assert!(!ran.err.is_empty(), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn every_command_has_help_with_examples() {
    let commands: [&[&str]; 19] = [
        &["serve"],
        &["demo"],
        &["record"],
        &["afford"],
        &["budget"],
        &["top"],
        &["import"],
        &["export"],
        &["keys"],
        &["keys", "create"],
        &["verify"],
        &["backup"],
        &["restore"],
        &["doctor"],
        &["config"],
        &["config", "check"],
        &["man"],
        &["completions"],
        &[],
    ];
    for command in commands {
        let ran = outlay(&[command, &["--help"]].concat()).exits(0);
        assert!(ran.out.contains("Usage") && ran.out.contains("outlay"), "{ran:?}");
        assert!(ran.out.to_lowercase().contains("example"), "no examples for {command:?}: {}", ran.out);
    }
    outlay(&["--version"]).exits(0);
}

#[test]
fn completions_are_written_for_each_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = outlay(&["completions", shell]).exits(0);
        assert!(ran.out.contains("outlay"), "{ran:?}");
    }
    outlay(&["completions", "abacus"]).exits(2);
}

/// Record, ask, read: the same words beside a server and on the folder alone.
fn records_and_reads(server: &Server) {
    let record = [
        "record",
        "--user",
        "u",
        "--feature",
        "scan",
        "--cost",
        "0.00010785",
        "--operation-id",
        "o",
        "--run",
        "--json",
    ];
    let recorded = server.outlay(&record).exits(0).json();
    recorded.shows("/operationId", "o").shows("/cost", "0.00010785").shows("/duplicate", "false");
    server.outlay(&record).exits(0).json().shows("/duplicate", "true");
    let budget = server.outlay(&["budget", "u", "--json"]).exits(0).json();
    budget.shows("/userId", "u").meter("cost", "0.00010785", "0").meter("aiRuns", "1", "0");
    let yes = server.outlay(&["afford", "u", "--cost", "1", "--json"]).exits(0).json();
    yes.shows("/allowed", "true");
    let no = server.outlay(&["afford", "u", "--cost", "100", "--json"]);
    no.json().shows("/allowed", "false").shows("/reason", "budget_exceeded");
    // Tables for people say the same.
    let table = server.outlay(&["budget", "u"]).exits(0);
    assert!(table.out.contains("AI Operations") && table.out.contains("30"), "{table:?}");
    let wrong = server.outlay(&["record", "--user", "u", "--feature", "scan", "--cost", "-1"]);
    assert!(wrong.code != 0 && !wrong.err.is_empty(), "{wrong:?}");
}

#[test]
fn commands_reach_a_running_server_through_its_socket() {
    let server = Server::keyed();
    server.user("u", "premium");
    records_and_reads(&server);
    server.budget("u").meter("cost", "0.00010785", "0");
}

#[test]
fn commands_reach_the_folder_when_no_server_runs() {
    let mut server = Server::open();
    server.user("u", "premium");
    assert!(server.stop().success());
    records_and_reads(&server);
    server.start_again();
    server.budget("u").meter("cost", "0.00010785", "0").meter("aiRuns", "1", "0");
}

#[test]
fn commands_reach_a_server_by_its_address_and_key() {
    let server = Server::keyed();
    server.user("u", "premium");
    let url = format!("http://{}", server.address());
    let key = server.outlay(&["keys", "create", "--role", "viewer", "--json"]).exits(0).json();
    let Json::Object(members) = key else { panic!("{key}") };
    let key = members.values().find_map(|value| match value {
        Json::Text(text) if text.starts_with("outlay_view_") && text.len() > 16 => Some(text.clone()),
        _ => None,
    });
    let environment = [("OUTLAY_URL", url.as_str()), ("OUTLAY_KEY", key.as_deref().unwrap())];
    outlay_with_environment(&["budget", "u", "--json"], &environment).exits(0).json().shows("/plan", "premium");
    let refused =
        outlay_with_environment(&["record", "--user", "u", "--feature", "f", "--cost", "1"], &environment).exits(1);
    assert!(!refused.err.is_empty(), "{refused:?}");
    let wrong = [environment[0], ("OUTLAY_KEY", "outlay_view_nonsense")];
    outlay_with_environment(&["budget", "u", "--json"], &wrong).exits(1);
    let nowhere = [("OUTLAY_URL", "http://127.0.0.1:1"), ("OUTLAY_KEY", "x")];
    outlay_with_environment(&["budget", "u", "--json"], &nowhere).exits(1);
    server.budget("u").meter("cost", "0", "0");
}

#[test]
fn a_watched_budget_is_printed_as_it_changes_also_over_a_restart() {
    let mut server = Server::open();
    server.user("u", "premium");
    let mut watch = server.outlay_lines(&["budget", "u", "--watch", "--json"]);
    watch.json().shows("/userId", "u").meter("aiRuns", "0", "0");
    server.record(ai_run("u", 0.01));
    watch.json().meter("aiRuns", "1", "0").meter("cost", "0.01", "0");
    server.kill9();
    server.start_again();
    watch.json().meter("aiRuns", "1", "0");
    server.record(ai_run("u", 0.01));
    watch.json().meter("aiRuns", "2", "0");
    // What is wrong from the start is no interruption.
    let wrong = server.outlay(&["budget", "..", "--watch", "--json"]).exits(1);
    assert!(wrong.err.contains("userId"), "{wrong:?}");
    outlay(&["budget", "u", "--watch", "--url", "http://127.0.0.1:1"]).exits(1);
}

#[test]
fn top_names_who_costs_most() {
    let server = Server::open();
    for (user, cost) in [("little", 0.01), ("much", 0.3), ("some", 0.1)] {
        server.record(ai_run(user, cost));
    }
    let top = server.outlay(&["top"]).exits(0);
    let users: Vec<_> = top.out.lines().skip(1).filter_map(|line| line.split('\t').next()).collect();
    assert_eq!(users, ["much", "some", "little"], "{top:?}");
    let most = server.outlay(&["top", "--users", "1", "--sort", "ai-runs", "--json"]).exits(0).json();
    most.shows("/items/0/meters/aiRuns/used", "1");
    server.outlay(&["top", "--users", "0"]).exits(2);
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let server = Server::keyed();
    for role in ["viewer", "app", "admin"] {
        let made = server.outlay(&["keys", "create", "--role", role]).exits(0);
        let prefix = format!("outlay_{}_", role.trim_end_matches("er"));
        let key = made.out.split_whitespace().find(|word| word.starts_with(&prefix)).unwrap().to_owned();
        server.with_key(&key).budget("u");
        let listed = server.outlay(&["keys", "list", "--json"]).exits(0);
        assert!(listed.json().has_text(role) && !listed.out.contains(&key), "{listed:?}");
    }
    let made = server.outlay(&["keys", "create", "--role", "app", "--json"]).exits(0).json();
    server.outlay(&["keys", "revoke", made.text("/id")]).exits(0);
    server.outlay(&["keys", "revoke", "no-such-key"]).exits(1);
    server.outlay(&["keys", "create", "--role", "emperor"]).exits(2);
}

#[test]
fn import_takes_each_row_once_and_puts_the_bad_ones_aside() {
    let server = Server::open();
    server.user("u", "enterprise");
    let lines: String = (0..2500)
        .map(|n| match n {
            700 => "{\"userId\": \"u\", \"feature\": \"scan\", \"cost\": -1}\n".to_owned(),
            701 => "not json\n".to_owned(),
            _ => format!(
                "{}\n",
                api("u", 0.001).with("operationId", format!("o{n}")).with("timestamp", "2025-10-05T00:00:00Z")
            ),
        })
        .collect();
    let file = server.file("rows.jsonl");
    fs::write(&file, lines).unwrap();
    for _ in 0..2 {
        let ran = server.outlay(&["import", file.to_str().unwrap()]);
        assert!(ran.code == 0 || ran.code == 1, "{ran:?}");
        server.budget_of("u", "2025-10").meter("cost", "2.498", "0");
    }
    // The bad rows lie in a file of their own, as they were.
    let beside = fs::read_dir(server.file("")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| *path != file);
    let mut texts = beside.filter_map(|path| fs::read_to_string(path).ok());
    assert!(texts.any(|text| text.contains("not json")), "no file of rejected rows");
    server.outlay(&["import", server.file("none.jsonl").to_str().unwrap()]).exits(1);
    server.verifies();
}

#[test]
fn import_reads_csv() {
    let server = Server::open();
    server.user("u", "enterprise");
    let rows = "operationId,userId,usageType,feature,provider,cost,isBillableRun,timestamp\n\
        a,u,AIUsage,\"card, scan\",gemini,0.00010785,true,2025-10-13T18:32:58Z\n\
        b,u,ApiUsage,ocr,google,0.0015,false,2025-10-13T18:32:57Z\n";
    let file = server.file("rows.csv");
    fs::write(&file, rows).unwrap();
    server.outlay(&["import", file.to_str().unwrap()]).exits(0);
    server.outlay(&["import", file.to_str().unwrap()]).exits(0);
    server.budget_of("u", "2025-10").meter("cost", "0.00160785", "0").meter("aiRuns", "1", "0");
    server.all(&of("u", "/usage"))[1].shows("/feature", "card, scan").shows("/isBillableRun", "true");
    assert_eq!(server.all("/v1/alerts").len(), 0);
}

#[test]
fn what_was_exported_can_be_imported_elsewhere() {
    let server = Server::open();
    server.put(&of("u", ""), json!({"plan": "premium", "email": "u@example.org"})).is(201);
    server.record(ai_run("u", 0.5).with("operationId", "o").with("timestamp", "2025-10-05T00:00:00Z"));
    server.record(
        api("u", 0.25).with("operationId", "p").with("sessionId", "s").with("timestamp", "2025-11-05T00:00:00Z"),
    );
    server.reverse("u", "o").is(200);
    let exported = server.outlay(&["export", "--user", "u"]).exits(0);
    for line in exported.out.lines() {
        Json::parse(line).unwrap().text("/kind");
    }
    let other = Server::open();
    let file = other.file("export.jsonl");
    fs::write(&file, &exported.out).unwrap();
    for _ in 0..2 {
        other.outlay(&["import", file.to_str().unwrap()]).exits(0);
        for month in ["2025-10", "2025-11"] {
            let (here, there) = (server.budget_of("u", month), other.budget_of("u", month));
            assert!(here == there, "{here} became {there}");
        }
    }
    assert_eq!(other.all(&of("u", "/usage")).len(), 3);
    other.verifies();
}

#[test]
fn verify_finds_a_changed_byte() {
    let mut server = Server::open();
    let note = "a-note-to-be-found-in-the-file";
    server.record(Value::Array(
        (0..100).map(|n| api("u", 0.001).with("metadata", json!({"n": n, "note": note}))).collect(),
    ));
    server.verifies();
    server.outlay(&["verify", "--json"]).exits(0).json().shows("/ok", "true");
    assert!(server.stop().success());
    server.verifies();
    let path = crate::support::found_in_files(&server.data(), note.as_bytes()).unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(note.len()).position(|window| window == note.as_bytes()).unwrap();
    bytes[at] = b'X';
    fs::write(&path, bytes).unwrap();
    let ran = server.outlay(&["verify", "--json"]).exits(1);
    assert!(!ran.out.is_empty(), "{ran:?}");
}

#[test]
fn a_backup_under_load_restores_to_what_was_acknowledged_before_it() {
    let environment = [("OUTLAY_MASTER_KEY", MASTER_KEY)];
    let mut server = Setup::open().variable("OUTLAY_MASTER_KEY", MASTER_KEY).start();
    let (acknowledged, done) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let backup = server.file("backup.outlay");
    let mut before = 0;
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (server, acknowledged, done) = (&server, &acknowledged, &done);
            scope.spawn(move || {
                for n in 0.. {
                    if done.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = format!("o_{client}_{n}");
                    let operation =
                        ai_run("u", 0.001).with("operationId", id.as_str()).with("sessionId", format!("s_{client}"));
                    server.record(operation.with("timestamp", "2025-10-05T00:00:00Z"));
                    acknowledged.lock().unwrap().push(id);
                }
            });
        }
        let _done = raised_at_end(&done);
        until("something is acknowledged", || acknowledged.lock().unwrap().len() >= 200);
        before = acknowledged.lock().unwrap().len();
        server.outlay(&["backup", backup.to_str().unwrap()]).exits(0);
    });
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(server.stop().success());

    // Never over a folder that holds something.
    let data = server.data();
    let restore = ["restore", backup.to_str().unwrap(), "--data", data.to_str().unwrap()];
    outlay_with_environment(&restore, &environment).exits(1);
    fs::remove_dir_all(&data).unwrap();
    outlay_with_environment(&restore, &environment).exits(0);
    outlay_with_environment(&["verify", "--data", data.to_str().unwrap()], &environment).exits(0);

    server.start_again();
    let present: Vec<String> =
        server.all(&of("u", "/usage?limit=1000")).iter().map(|i| i.text("/operationId").to_owned()).collect();
    for id in &acknowledged[..before] {
        assert_eq!(present.iter().filter(|found| *found == id).count(), 1, "{id} was acknowledged before the backup");
    }
    let sum = i128::try_from(present.len()).unwrap() * 1_000_000_000;
    server.budget_of("u", "2025-10").meter("cost", &crate::support::decimal(sum), "0").meter(
        "aiRuns",
        &present.len().to_string(),
        "0",
    );
    // What the backup holds is still known for ever.
    let again =
        ai_run("u", 0.001).with("operationId", acknowledged[0].as_str()).with("timestamp", "2025-10-05T00:00:00Z");
    let reply = server.post("/v1/usage", again.with("sessionId", format!("s_{}", &acknowledged[0][2..3]))).is(200);
    reply.shows("/duplicate", "true");
}

#[test]
fn a_second_server_on_one_folder_refuses_to_start() {
    let server = Server::open();
    server.record(api("u", 0.5));
    let second = server.outlay(&["serve", "--open", "--listen", "127.0.0.1:0"]).exits(1);
    assert!(!second.out.contains("listening on") && !second.err.is_empty(), "{second:?}");
    server.budget("u").meter("cost", "0.5", "0");
}

#[test]
fn the_log_says_nothing_on_standard_output() {
    let mut server = Server::open();
    server.record(api("u", 0.5));
    let status = server.stop();
    assert!(status.success(), "an asked-for end is a good one: {status:?}");
    server.start_again();
    server.budget("u").meter("cost", "0.5", "0");
}

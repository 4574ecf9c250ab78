//! Data in and out by the command line: imports, exports, erasures, backups, and the settings that they are run with.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::{Value, json};

use crate::support::{
    Asks, Server, Setup, With, ai_run, api, api_run, of, outlay, outlay_with_environment, raised_at_end, until,
};

#[test]
fn settings_that_make_no_sense_are_all_named_at_once_and_nothing_starts() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outlay.toml");
    fs::write(&file, "lisen = '127.0.0.1:0'\n[plans.pro]\ncost = -1\nai_runs = 0\napi_runs = 0\n").unwrap();
    let data = folder.path().join("data");
    let serve = ["serve", "--data", data.to_str().unwrap(), "--config", file.to_str().unwrap(), "--listen", "nowhere"];
    let secret = "short-secret";
    let ran = outlay_with_environment(&serve, &[("OUTLAY_ADMIN_KEY", secret)]).exits(2);
    for place in ["line 1: lisen", "line 3: plans.pro.cost", "--listen", "OUTLAY_ADMIN_KEY"] {
        assert!(ran.err.contains(place), "{place} is not named: {ran:?}");
    }
    assert!(!ran.err.contains(secret) && !data.exists(), "{ran:?}");

    let everywhere = ["serve", "--open", "--listen", "0.0.0.0:0", "--data", data.to_str().unwrap()];
    outlay(&everywhere).exits(2);
    assert!(!data.exists());
}

#[test]
fn plans_and_words_of_the_configuration_file_hold() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outlay.toml");
    let text = "upgrade_url = 'https://example.org/up'\n[labels]\nai_runs = 'Scans'\n[plans]\ndefault = 'tiny'\n\
                [plans.tiny]\ncost = 0.25\nai_runs = 1\napi_runs = 'unlimited'\n";
    fs::write(&file, text).unwrap();
    let secret = folder.path().join("admin");
    fs::write(&secret, "an-admin-key-in-a-file-0123456789abcdef\n").unwrap();
    let server = Setup::default()
        .argument("--config")
        .argument(file.to_str().unwrap())
        .variable("OUTLAY_ADMIN_KEY_FILE", secret.to_str().unwrap())
        .start();
    let admin = server.with_key("an-admin-key-in-a-file-0123456789abcdef");
    let budget = admin.budget("u");
    budget.shows("/plan", "tiny").shows("/upgradeUrl", "https://example.org/up").shows("/meters/cost/limit", "0.25");
    budget.shows("/meters/aiRuns/label", "Scans").shows("/meters/apiRuns/limit", "null");
    admin.put("/v1/plans/tiny", json!({"limits": {"cost": 1, "aiRuns": 1, "apiRuns": 1}})).is_one_of(&[403, 409]);
}

#[test]
fn a_plan_lowered_in_the_configuration_raises_its_alerts_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outlay.toml");
    let plans = |cost: u32| {
        format!("[plans]\ndefault = 'own'\n[plans.own]\ncost = {cost}\nai_runs = 'unlimited'\napi_runs = 'unlimited'\n")
    };
    fs::write(&file, plans(10)).unwrap();
    let mut server = Setup::open().argument("--config").argument(file.to_str().unwrap()).start();
    server.record(ai_run("u", 2.0));
    assert!(server.all("/v1/alerts").is_empty());
    assert!(server.stop().success());
    fs::write(&file, plans(1)).unwrap();
    server.start_again();
    until("the alerts of the lower limit are there", || server.all("/v1/alerts").len() == 3);
    server.restart();
    assert_eq!(server.all("/v1/alerts").len(), 3);
}

#[test]
fn rows_without_ids_are_imported_once_and_a_rejection_is_an_exit_code() {
    let server = Server::open();
    server.user("u", "enterprise");
    let row = |cost| format!("{}\n", api_run("u", cost).with("timestamp", "2025-10-05T00:00:00Z"));
    let file = server.file("rows.jsonl");
    // Two equal rows are two operations.
    fs::write(&file, [row(0.5), row(0.5), row(0.25)].concat()).unwrap();
    let import = ["import", file.to_str().unwrap(), "--json"];
    server.outlay(&import).exits(0).json().shows("/recorded", "3").shows("/duplicates", "0");
    server.outlay(&import).exits(0).json().shows("/recorded", "0").shows("/duplicates", "3");
    server.budget_of("u", "2025-10").meter("cost", "1.25", "0").meter("apiRuns", "3", "0");

    let bad = "{\"userId\": \"u\", \"feature\": \"f\", \"cost\": 1, \"nonsense\": 1}\n";
    let deep =
        format!("{{\"userId\": \"u\", \"feature\": \"f\", \"metadata\": {}1{}}}\n", "[".repeat(60), "]".repeat(60));
    fs::write(&file, [bad.to_owned(), deep, row(0.75), "{\"kind\": \"people\"}\n".to_owned()].concat()).unwrap();
    let ran = server.outlay(&import).exits(1).json();
    ran.shows("/recorded", "1").shows("/rejected", "3");
    let rejected = fs::read_to_string(ran.text("/rejectedFile")).unwrap();
    let lines: Vec<Value> = rejected.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 3, "{rejected}");
    let of_bad = lines.iter().find(|line| line["line"] == 1).unwrap();
    assert!(of_bad["reason"].as_str().unwrap().contains("nonsense") && of_bad["row"]["cost"] == 1, "{of_bad}");
    assert!(lines.iter().any(|line| line["line"] == 2) && lines.iter().any(|line| line["line"] == 4), "{rejected}");

    fs::write(&file, "[]").unwrap();
    server.outlay(&import).exits(1);
}

#[test]
fn everything_exported_comes_back_in_its_old_order() {
    let server = Server::open();
    for user in ["ann", "bob"] {
        server.user(user, "premium");
        for n in 0..5 {
            let step = ai_run(user, 0.01).with("operationId", format!("o{n}")).with("sessionId", "s");
            server.record(step.with("stepLabel", format!("step {n}")).with("timestamp", "2025-10-05T00:00:00Z"));
        }
        server.reverse(user, "o1").is(200);
    }
    server.finish("ann", "s", "failed").is(200);
    let file = server.file("all.jsonl");
    server.outlay(&["export", "--out", file.to_str().unwrap()]).exits(0);

    let other = Server::open();
    other.outlay(&["import", file.to_str().unwrap()]).exits(0);
    let ids = |server: &Server, user| -> Vec<String> {
        server.all(&of(user, "/usage")).iter().map(|item| item.text("/operationId").to_owned()).collect()
    };
    for user in ["ann", "bob"] {
        assert_eq!(ids(&server, user), ids(&other, user));
        let (here, there) = (server.session(user, "s"), other.session(user, "s"));
        for pointer in ["/status", "/totalCost", "/totalRuns", "/steps/0/stepLabel", "/steps/4/stepLabel"] {
            assert_eq!(here.at(pointer), there.at(pointer), "{pointer} of {user}");
        }
        let (here, there) = (server.budget_of(user, "2025-10"), other.budget_of(user, "2025-10"));
        assert!(here == there, "{here} became {there}");
    }
    other.session("ann", "s").shows("/status", "failed");
    other.verifies();
}

#[test]
#[cfg(feature = "test-clock")]
fn sessions_that_run_go_on_holding_after_an_import() {
    let server = Server::at("2025-10-13T18:00:00Z");
    server.user("u", "premium");
    let opening = |session: &str, seconds: u32| {
        json!({"sessionId": session, "feature": "scan", "estimate": {"cost": 0.5, "aiRuns": 1}, "holdSeconds": seconds,
            "metadata": {"note": session}})
    };
    for (session, seconds) in [("runs", 900), ("over", 60), ("ended", 900)] {
        server.post(&of("u", "/sessions"), opening(session, seconds)).is(201);
    }
    server.record(api("u", 0.125).with("operationId", "step").with("sessionId", "runs"));
    server.record(api("u", 0.25).with("operationId", "last").with("sessionId", "ended"));
    server.finish("u", "ended", "completed").is(200);
    server.open_session("u", "refused", json!({"cost": 100})).is(402);
    let file = server.file("all.jsonl");
    server.outlay(&["export", "--out", file.to_str().unwrap()]).exits(0);

    let other = Server::at("2025-10-13T18:14:30Z");
    let import = ["import", file.to_str().unwrap(), "--json"];
    let first = other.outlay(&import).exits(0).json();
    first.shows("/recorded", "2").shows("/sessions", "2").shows("/sessionsWithoutSteps", "1");
    first.shows("/denialsLeftOut", "1").shows("/withoutTimestamp", "0");
    let same = || {
        other.budget("u").meter("cost", "0.375", "0.375").meter("aiRuns", "0", "1");
        let session = other.session("u", "runs");
        session.shows("/status", "in-progress").shows("/metadata/note", "runs").shows("/totalCost", "0.125");
        session.instant("/holdExpiresAt", "2025-10-13T18:15:00Z");
        other.session("u", "ended").shows("/status", "completed");
    };
    same();
    // Neither the application, which asks again, nor a second import holds or counts anything twice.
    other.post(&of("u", "/sessions"), opening("runs", 900)).is(200);
    other.outlay(&import).exits(0).json().shows("/recorded", "0").shows("/duplicates", "2");
    same();
    other.clock("2025-10-13T18:15:00Z");
    other.budget("u").meter("cost", "0.375", "0");
    other.outlay(&import).exits(0);
    other.budget("u").meter("cost", "0.375", "0");
    other.verifies();
}

#[test]
fn rows_that_do_not_say_when_they_were_are_told_of() {
    let server = Server::open();
    let file = server.file("rows.csv");
    fs::write(&file, "userId,feature,cost,timestamp\nu,f,0.5,\nu,f,0.25,2025-10-05T00:00:00Z\n").unwrap();
    let ran = server.outlay(&["import", file.to_str().unwrap()]).exits(0);
    assert!(ran.err.contains("1 rows have no timestamp"), "{ran:?}");
    server.budget("u").meter("cost", "0.5", "0");
    server.budget_of("u", "2025-10").meter("cost", "0.25", "0");
}

#[test]
fn who_was_erased_after_a_backup_stays_erased_when_it_is_restored() {
    let environment = [("OUTLAY_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    let mut server = Setup::open().variable(environment[0].0, environment[0].1).start();
    for user in ["ann", "bob"] {
        server.record(api(user, 0.5).with("timestamp", "2025-10-05T00:00:00Z"));
    }
    let backup = server.file("backup.db");
    let backup = backup.to_str().unwrap();
    server.outlay(&["backup", backup]).exits(0);
    // A backup is not written over by accident.
    server.outlay(&["backup", backup]).exits(1);
    server.outlay(&["backup", backup, "--force"]).exits(0);

    // Nobody is there to be asked.
    let unasked = server.outlay(&["erase", "ann"]).exits(2);
    assert!(unasked.err.contains("--yes"), "{unasked:?}");
    server.get(&of("ann", "")).is(200).shows("/known", "true");
    server.outlay(&["erase", "ann", "--yes"]).exits(0);
    server.get(&of("ann", "")).is(200).shows("/known", "false");
    // Not under a running server, and not over a store without a word.
    server.outlay(&["restore", backup, "--force"]).exits(1);
    assert!(server.stop().success());
    server.outlay(&["restore", backup]).exits(1);
    let data = server.data();
    let restore = ["restore", backup, "--force", "--data", data.to_str().unwrap()];
    outlay_with_environment(&restore, &environment).exits(0);

    server.start_again();
    server.get(&of("ann", "")).is(200).shows("/known", "false");
    server.budget_of("bob", "2025-10").meter("cost", "0.5", "0");
    server.verifies();
    let nonsense = server.file("nonsense.db");
    fs::write(&nonsense, "not a store").unwrap();
    let elsewhere = server.file("elsewhere");
    outlay(&["restore", nonsense.to_str().unwrap(), "--data", elsewhere.to_str().unwrap()]).exits(1);
    assert!(!elsewhere.join("outlay.db").exists());
}

/// A restore that is cut off, or fails, leaves the store that was there, and never one with somebody who was erased.
#[test]
fn a_restore_that_fails_changes_nothing() {
    let environment = [("OUTLAY_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    let mut server = Setup::open().variable(environment[0].0, environment[0].1).start();
    server.record(api("ann", 0.5));
    let backup = server.file("backup.db");
    let backup = backup.to_str().unwrap();
    server.outlay(&["backup", backup]).exits(0);
    server.outlay(&["erase", "ann", "--yes"]).exits(0);
    server.record(api("bob", 0.5));
    assert!(server.stop().success());
    let data = server.data();
    let list = data.join("erasures");
    let listed = fs::read(&list).unwrap();
    fs::write(&list, b"\xff\xfe").unwrap();
    let restore = ["restore", backup, "--force", "--data", data.to_str().unwrap()];
    outlay_with_environment(&restore, &environment).exits(1);
    server.start_again();
    server.get(&of("ann", "")).is(200).shows("/known", "false");
    server.get(&of("bob", "")).is(200).shows("/known", "true");

    // A line that was cut off takes no other with it.
    assert!(server.stop().success());
    fs::write(&list, [listed.as_slice(), b"12 3"].concat()).unwrap();
    server.start_again();
    server.outlay(&["erase", "bob", "--yes"]).exits(0);
    until("it is on the list", || fs::read(&list).unwrap().len() > listed.len() + 8);
    assert!(server.stop().success());
    fs::create_dir(data.join("restoring")).unwrap();
    fs::write(data.join("restoring/outlay.db"), "what one left that was cut off").unwrap();
    outlay_with_environment(&restore, &environment).exits(0);
    let lines = fs::read_to_string(&list).unwrap();
    let sound = lines.lines().filter(|line| line.split(' ').count() == 2 && line.len() > 8);
    assert_eq!(sound.collect::<std::collections::BTreeSet<_>>().len(), 2, "{lines}");
    // Nor does a copy lie about that was not come to its end with.
    fs::create_dir(data.join("restoring")).unwrap();
    fs::write(data.join("restoring/outlay.db"), "with ann in it").unwrap();
    server.start_again();
    assert!(!data.join("restoring").exists());
    server.get(&of("ann", "")).is(200).shows("/known", "false");
    server.verifies();
}

/// A copy that was damaged, one of a later version and one of another program: none is put in the place of what is there.
#[test]
fn a_backup_that_is_no_whole_store_is_not_restored() {
    let mut server = Server::open();
    server.record(api("ann", 0.5));
    let backup = server.file("backup.db");
    server.outlay(&["backup", backup.to_str().unwrap()]).exits(0);
    assert!(server.stop().success());
    let whole = fs::read(&backup).unwrap();
    // Of the header of every SQLite file, big-endian: how many pages are free, which version and whose it is.
    for (at, number, why) in [(36, 7, "reelist"), (60, 99, "version 99"), (68, 1, "no Outlay store")] {
        let mut bytes = whole.clone();
        bytes[at..at + 4].copy_from_slice(&u32::to_be_bytes(number));
        fs::write(&backup, &bytes).unwrap();
        let ran = server.outlay(&["restore", backup.to_str().unwrap(), "--force"]).exits(1);
        assert!(ran.err.contains(why), "{why}: {ran:?}");
    }
    server.start_again();
    server.budget("ann").meter("cost", "0.5", "0");
    server.verifies();
}

/// The folder is lost with its list: what names the erased is a copy of the audit log, or the list kept elsewhere.
#[test]
fn whom_another_list_names_is_erased_again_in_a_folder_elsewhere() {
    let environment = [("OUTLAY_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.jsonl");
    let setup = Setup::open().variable(environment[0].0, environment[0].1);
    let server = setup.variable("OUTLAY_AUDIT_LOG", log.to_str().unwrap()).start();
    for user in ["ann", "bob", "cid"] {
        server.record(api(user, 0.5).with("operationId", format!("of-{user}")));
    }
    server.outlay(&["erase", "cid", "--yes"]).exits(0);
    let backup = server.file("backup.db");
    let backup = backup.to_str().unwrap();
    server.outlay(&["backup", backup]).exits(0);
    server.outlay(&["erase", "ann", "--yes"]).exits(0);
    until("the erasure is on the list and in the copy", || {
        let listed = fs::read_to_string(server.data().join("erasures")).unwrap_or_default();
        listed.lines().count() == 2 && fs::read_to_string(&log).unwrap().matches("user.erased").count() == 2
    });
    let list = folder.path().join("erasures");
    fs::copy(server.data().join("erasures"), &list).unwrap();
    for (place, named) in [("by-log", &log), ("by-list", &list)] {
        let data = folder.path().join(place);
        let data = data.to_str().unwrap();
        let restore = ["restore", backup, "--data", data, "--erasures", named.to_str().unwrap()];
        let ran = outlay_with_environment(&restore, &environment).exits(0);
        assert!(ran.err.contains("1 users"), "{ran:?}");
        let exported = outlay_with_environment(&["export", "--data", data], &environment).exits(0);
        assert!(exported.out.contains("of-bob") && !exported.out.contains("ann"), "{exported:?}");
        assert_eq!(crate::support::found_in_files(Path::new(data), b"of-ann"), None);
        outlay_with_environment(&["verify", "--data", data], &environment).exits(0);
        // The list goes on in the new folder, with those of the backup itself.
        let listed = fs::read_to_string(Path::new(data).join("erasures")).unwrap();
        let mut lines: Vec<&str> = listed.lines().collect();
        lines.sort_unstable();
        lines.dedup();
        assert_eq!(lines.len(), 2, "{listed}");
        let kept = outlay_with_environment(&["audit", "--data", data], &environment).exits(0);
        assert!(kept.out.contains("store.restored") && kept.out.contains("restore"), "{kept:?}");
    }
    // A list that cannot be read whole restores nothing.
    let torn = folder.path().join("torn");
    fs::write(&torn, "1 2\n{\"action\": \"user.er").unwrap();
    let data = folder.path().join("nothing");
    let restore = ["restore", backup, "--data", data.to_str().unwrap(), "--erasures", torn.to_str().unwrap()];
    let ran = outlay(&restore).exits(1);
    assert!(ran.err.contains("line 2") && !data.join("outlay.db").exists(), "{ran:?}");
    // One of another deployment names nobody here.
    let other = fs::read_to_string(&log).unwrap().replace("\"deployment\":\"", "\"deployment\":\"0");
    fs::write(&log, other).unwrap();
    let restore = ["restore", backup, "--data", data.to_str().unwrap(), "--erasures", log.to_str().unwrap()];
    let ran = outlay_with_environment(&restore, &environment).exits(0);
    assert!(!ran.err.contains("erased again"), "{ran:?}");
}

/// Backups while eight clients record: each holds all that was acknowledged before it was asked for, and verifies elsewhere.
#[test]
fn a_backup_under_load_holds_all_that_was_acknowledged_before_it() {
    let environment = [("OUTLAY_MASTER_KEY", "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")];
    let server = Setup::open().variable(environment[0].0, environment[0].1).start();
    server.user("u", "enterprise");
    let over = AtomicBool::new(false);
    // How many each client was acknowledged, in its order.
    let acknowledged: [AtomicUsize; 8] = Default::default();
    std::thread::scope(|scope| {
        let _over = raised_at_end(&over);
        for (client, count) in acknowledged.iter().enumerate() {
            let (server, over) = (&server, &over);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let n = count.load(Ordering::Relaxed);
                    let operation = ai_run("u", 0.001).with("operationId", format!("{client}-{n}"));
                    server.record(operation.with("sessionId", format!("s{client}")));
                    count.store(n + 1, Ordering::Release);
                }
            });
        }
        for round in 0..4 {
            let enough = (round + 1) * 40;
            until("there is a load", || acknowledged.iter().all(|count| count.load(Ordering::Acquire) >= enough));
            let before: Vec<usize> = acknowledged.iter().map(|count| count.load(Ordering::Acquire)).collect();
            let backup = server.file(&format!("backup-{round}.db"));
            server.outlay(&["backup", backup.to_str().unwrap()]).exits(0);
            let data = server.file(&format!("restored-{round}"));
            let data = data.to_str().unwrap();
            outlay_with_environment(&["restore", backup.to_str().unwrap(), "--data", data], &environment).exits(0);
            outlay_with_environment(&["verify", "--data", data], &environment).exits(0);
            let exported = outlay_with_environment(&["export", "u", "--data", data], &environment).exits(0).out;
            let mut held = [0; 8];
            for line in exported.lines() {
                let row: Value = serde_json::from_str(line).unwrap();
                if row["kind"] == "operation" {
                    let id = row["operationId"].as_str().unwrap();
                    let (client, n) = id.split_once('-').unwrap();
                    let held = &mut held[client.parse::<usize>().unwrap()];
                    *held = n.parse::<usize>().unwrap().max(*held);
                }
            }
            let operations = exported.matches("\"kind\":\"operation\"").count();
            assert_eq!(operations, held.iter().map(|last| last + 1).sum::<usize>(), "it is a beginning, without gaps");
            for (client, before) in before.iter().enumerate() {
                assert!(
                    held[client] + 1 >= *before,
                    "client {client} was acknowledged {before}, and {} are held",
                    held[client] + 1
                );
            }
        }
    });
    server.verifies();
}

#[test]
fn a_refusal_of_afford_is_an_exit_code_for_scripts() {
    let server = Server::open();
    server.user("u", "premium");
    server.outlay(&["afford", "u", "--ai-runs", "30"]).exits(0);
    let no = server.outlay(&["afford", "u", "--ai-runs", "31"]).exits(1);
    assert!(no.out.starts_with("no: runs_exceeded"), "{no:?}");
    let choices = ["afford", "u", "--choice", "ai:aiRuns=31", "--choice", "basic:cost=0.0015,apiRuns=1", "--json"];
    server.outlay(&choices).exits(0).json().shows("/reason", "fallback").shows("/choice", "basic");
    server.outlay(&["afford", "u", "--choice", "basic"]).exits(2);
}

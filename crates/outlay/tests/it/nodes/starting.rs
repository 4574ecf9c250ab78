//! How a node starts, what it refuses to start with, and what commands say where the store is in PostgreSQL.

use crate::support::{
    ADMIN, Asks, Database, Nodes, Ran, Server, Setup, ai_run, at_once, found_in_files, outlay_with_environment,
};

/// Another key than that of the nodes.
const OTHER_MASTER: &str = "YW5vdGhlciBtYXN0ZXIga2V5IGZvciB0aGUgdGVzdHM=";

/// A node that is meant not to start, in a folder of its own.
fn serve(folder: &std::path::Path, database: &Database, environment: &[(&str, &str)]) -> Ran {
    let data = folder.to_str().unwrap();
    let url = database.url();
    let arguments = ["serve", "--open", "--listen", "127.0.0.1:0", "--store", &url, "--data", data];
    outlay_with_environment(&arguments, environment)
}

#[test]
fn nodes_that_start_together_make_one_store() {
    let database = Database::new();
    let nodes: Vec<Server> = at_once(3, |_| Setup::keyed().on(&database).start());
    nodes[0].record(ai_run("u", 0.5));
    // A token that any of them makes opens all others at once: the key that signs was made once.
    for maker in &nodes {
        let token = maker.post("/v1/users/u/tokens", serde_json::json!({"ttlSeconds": 60})).is(201);
        for node in &nodes {
            node.with_key(token.text("/token")).get("/v1/users/u/budget").is(200).meter("cost", "0.5", "0");
        }
    }
    assert_eq!(database.number("select count(*) from secret"), 1);
}

#[test]
fn a_node_starts_only_with_the_master_key_that_all_share() {
    let nodes = Nodes::of(1, Setup::open());
    let folder = tempfile::tempdir().unwrap();
    let without = serve(folder.path(), &nodes.database, &[]).exits(2);
    assert!(without.err.contains("OUTLAY_MASTER_KEY") && without.err.contains("same on every node"), "{without:?}");
    assert!(found_in_files(folder.path(), b"").is_none(), "nothing is made");
    let other = serve(folder.path(), &nodes.database, &[("OUTLAY_MASTER_KEY", OTHER_MASTER)]).exits(1);
    assert!(other.err.contains("another master key"), "{other:?}");
    nodes.record(ai_run("u", 0.5));
}

/// The tests' server has no standby, so a node that needs one refuses, however it is told so.
#[test]
fn a_node_that_needs_a_standby_does_not_start_where_commits_wait_for_none() {
    let (database, folder) = (Database::new(), tempfile::tempdir().unwrap());
    let master = ("OUTLAY_MASTER_KEY", OTHER_MASTER);
    let url = database.url();
    let data = folder.path().to_str().unwrap();
    let by_flag = ["serve", "--open", "--require-sync", "--listen", "127.0.0.1:0", "--store", &url, "--data", data];
    for ran in [
        outlay_with_environment(&by_flag, &[master]),
        serve(folder.path(), &database, &[master, ("OUTLAY_REQUIRE_SYNC", "true")]),
    ] {
        let ran = ran.exits(1);
        assert!(ran.err.contains("synchronous_standby_names is empty"), "{ran:?}");
    }
}

#[test]
fn a_folder_with_a_store_of_its_own_is_not_taken_for_a_node() {
    let mut server = Server::open();
    server.record(ai_run("u", 0.5));
    server.stop();
    let ran = serve(&server.data(), &Database::new(), &[("OUTLAY_MASTER_KEY", OTHER_MASTER)]).exits(2);
    assert!(ran.err.contains("holds a store of its own") && ran.err.contains("--data"), "{ran:?}");
}

#[test]
fn commands_say_what_to_do_where_the_store_is_in_postgresql() {
    let nodes = Nodes::of(1, Setup::open());
    let (node, url) = (&nodes.all[0], nodes.database.url());
    node.record(ai_run("u", 0.5));
    let backup = node.file("backup.db");
    let backup = backup.to_str().unwrap();
    // Through the running server, by its address, and by itself.
    let address = format!("http://{}", node.address());
    let elsewhere = tempfile::tempdir().unwrap();
    let data = elsewhere.path().to_str().unwrap();
    for ran in [
        node.outlay(&["backup", backup]),
        node.outlay(&["backup", backup, "--url", &address]),
        outlay_with_environment(&["backup", backup, "--data", data], &[("OUTLAY_STORE", &url)]),
    ] {
        let ran = ran.exits(2);
        assert!(ran.err.contains("pgBackRest") && ran.err.contains("pg_dump"), "{ran:?}");
    }
    node.get("/v1/backup").is(409).shows("/title", "The store is backed up by its own tools");
    std::fs::write(backup, "x").unwrap();
    let environment = [("OUTLAY_STORE", url.as_str())];
    let ran = outlay_with_environment(&["restore", backup, "--data", data], &environment).exits(2);
    assert!(ran.err.contains("pg_restore"), "{ran:?}");
    let ran = outlay_with_environment(&["keys", "rotate-master", "--data", data], &environment).exits(2);
    assert!(ran.err.contains("stop every node"), "{ran:?}");
    let ran = outlay_with_environment(&["demo", "--store", &url, "--data", data], &[]).exits(2);
    assert!(ran.err.contains("leave out --store"), "{ran:?}");

    // All others work on the database, beside the nodes, and take no folder.
    let ran = outlay_with_environment(&["budget", "u", "--json", "--data", data], &environment).exits(0);
    ran.json().meter("cost", "0.5", "0");
    outlay_with_environment(&["verify", "--data", data], &environment).exits(0);
    let left: Vec<_> = elsewhere.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["last-verify.json"]);
    node.verifies();
}

#[test]
fn a_password_is_shown_nowhere() {
    let (secret, folder) = ("hunter2hunter2", tempfile::tempdir().unwrap());
    let file = folder.path().join("password");
    std::fs::write(&file, format!("{secret}\n")).unwrap();
    let data = folder.path().join("data");
    let data = data.to_str().unwrap();
    let closed = "127.0.0.1:1";
    let url = format!("postgres://outlay:{secret}@{closed}/outlay");
    let key = [("OUTLAY_MASTER_KEY", OTHER_MASTER), ("OUTLAY_ADMIN_KEY", ADMIN), ("OUTLAY_LOG", "trace")];
    let without = format!("postgres://outlay@{closed}/outlay");
    let by_file = [&key[..], &[("OUTLAY_STORE_PASSWORD_FILE", file.to_str().unwrap())]].concat();
    for (url, environment) in [(&url, &key[..]), (&without, &by_file[..])] {
        let settings = ["config", "check", "--json", "--store", url];
        let ran = outlay_with_environment(&settings, environment).exits(0);
        assert!(ran.out.contains(closed) && !format!("{ran:?}").contains(secret), "{ran:?}");
        let ran = outlay_with_environment(&["serve", "--store", url, "--data", data], environment).exits(1);
        assert!(ran.err.contains("reach the store") && !format!("{ran:?}").contains(secret), "{ran:?}");
        let ran = outlay_with_environment(&["verify", "--store", url, "--data", data], environment).exits(1);
        assert!(ran.err.contains(closed) && !format!("{ran:?}").contains(secret), "{ran:?}");
    }
    let ran = outlay_with_environment(&["config", "check", "--store", &url], &by_file).exits(1);
    assert!(ran.err.contains("say it once") && !format!("{ran:?}").contains(secret), "{ran:?}");
    let ran =
        outlay_with_environment(&["config", "check", "--store", &format!("mysql://o:{secret}@db/o")], &[]).exits(1);
    assert!(ran.err.contains("postgres://") && !format!("{ran:?}").contains(secret), "{ran:?}");
    // Without the key that all nodes share nothing starts, and the check says so before.
    let ran = outlay_with_environment(&["config", "check", "--store", &without], &[]).exits(1);
    assert!(ran.err.contains("OUTLAY_MASTER_KEY"), "{ran:?}");
}

#[test]
fn doctor_looks_at_the_database() {
    let nodes = Nodes::of(1, Setup::open());
    let (node, url) = (&nodes.all[0], nodes.database.url());
    let address = node.address().to_string();
    let environment = [("OUTLAY_MASTER_KEY", OTHER_MASTER)];
    let doctor = ["doctor", "--json", "--open", "--listen", &address];
    let ran = node.outlay_with(&[&doctor[..], &["--store", &url]].concat(), &environment);
    let said = ran.json();
    let of = |about: &str| {
        let check = said.list("/checks").iter().find(|check| check.text("/about") == about);
        let check = check.unwrap_or_else(|| panic!("nothing is said of {about}: {ran:?}"));
        (check.text("/verdict").to_owned(), check.text("/what").to_owned())
    };
    let (verdict, what) = of("database");
    assert!(verdict == "ok" && what.contains("PostgreSQL 1"), "{what}");
    // The tests' server keeps nothing over a power cut, and says so.
    let (verdict, what) = of("promise");
    assert!(verdict == "fail" && what.contains("power cut"), "{what}");
    let (verdict, what) = of("capacity");
    assert!(verdict == "ok" && what.contains("room for 2"), "{what}");
    assert_eq!(of("log").0, "warn");
    assert!(of("server").1.contains("runs and takes writes; acknowledged means"), "{ran:?}");
    // Nobody is at the other port.
    let ran =
        node.outlay_with(&[&doctor[..], &["--store", "postgres://outlay@127.0.0.1:1/outlay"]].concat(), &environment);
    let ran = ran.exits(1);
    assert!(ran.out.contains("postgres://outlay@127.0.0.1:1/outlay: failed to reach the store"), "{ran:?}");
}

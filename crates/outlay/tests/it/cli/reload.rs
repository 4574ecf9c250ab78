//! SIGHUP: what a running server reads anew, and what it keeps.

use std::fs;

use crate::support::{Asks, Server, Setup, With, ai_run, until};

const PLANS: &str =
    "[plans.base]\ncost = 1\nai_runs = AI\napi_runs = 0\n[plans.pro]\ncost = 2\nai_runs = 20\napi_runs = 0\n";

/// Waits until a text stands in the log once more than before.
fn logs(server: &Server, text: &str, before: usize) {
    until(text, || server.log().matches(text).count() > before);
}

/// A service manager takes the end by this signal for a clean one, and starts nothing again.
#[test]
fn a_reload_that_comes_while_the_server_starts_does_not_end_it() {
    let home = tempfile::tempdir().unwrap();
    // Opening it waits until somebody reads, and so does the start.
    let pipe = home.path().join("audit");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_outlay"))
        .args(["serve", "--open", "--listen", "127.0.0.1:0", "--data"])
        .arg(home.path().join("data"))
        .arg("--audit-log")
        .arg(&pipe)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    until("its store is open", || home.path().join("data/master.key").exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!(child.try_wait().unwrap(), None, "it ended");
    let reader = std::thread::spawn(move || fs::read(pipe));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.take().unwrap()), &mut line).unwrap();
    assert!(line.starts_with("listening on"), "{line}");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(reader);
}

#[test]
fn plans_words_and_the_log_are_read_anew_while_the_server_runs() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("outlay.toml");
    let write =
        |head: &str, ai_runs: &str| fs::write(&file, format!("{head}\n{}", PLANS.replace("AI", ai_runs))).unwrap();
    write("log = 'info'", "10");
    let server = Setup::open().argument("--config").argument(file.to_str().unwrap()).start();
    for number in 0..8 {
        server.post("/v1/usage", ai_run("u", 0.001).with("operationId", format!("o{number}"))).is(200);
    }
    let alerts = || server.get("/v1/users/u/budget").is(200);
    alerts().shows("/meters/aiRuns/limit", "10").shows("/meters/aiRuns/label", "AI Operations");
    assert_eq!(server.get("/v1/alerts").is(200).list("/items").len(), 1);

    // A lower limit, other words, a link; and a setting that another start is needed for.
    write(
        "upgrade_url = 'https://example.org/more'\nlog_format = 'json'\nlog = 'info'\n[labels]\nai_runs = 'Scans'",
        "8",
    );
    server.hang_up();
    logs(&server, "the settings are read anew", 0);
    let budget = server.get("/v1/users/u/budget").is(200);
    budget.shows("/meters/aiRuns/limit", "8").shows("/meters/aiRuns/label", "Scans");
    budget.shows("/upgradeUrl", "https://example.org/more");
    // What the lower limit makes due is raised: 80, 95 and 100 of 8, beside 80 of 10.
    until("the alerts are raised", || server.get("/v1/alerts").is(200).list("/items").len() == 4);
    assert!(server.log().contains("OUTLAY_LOG_FORMAT is another now; that holds from the next start"));

    // Settings that make no sense, or would take a plan away, change nothing.
    write("upgrade_url = 'nowhere'", "1");
    server.hang_up();
    logs(&server, "the settings are not read anew", 0);
    assert!(server.log().contains("line 1: upgrade_url"));
    fs::write(&file, "[plans.base]\ncost = 1\nai_runs = 1\napi_runs = 0\n").unwrap();
    server.hang_up();
    logs(&server, "a plan is gone", 0);
    server.get("/v1/users/u/budget").is(200).shows("/meters/aiRuns/limit", "8");

    // Less is logged once that is said.
    write("log = 'error'", "8");
    let before = server.log().matches("are read anew").count();
    server.hang_up();
    until("the words are the built-in ones again", || {
        server.get("/v1/users/u/budget").is(200).text("/meters/aiRuns/label") == "AI Operations"
    });
    assert_eq!(server.log().matches("are read anew").count(), before);
    server.verifies();
}

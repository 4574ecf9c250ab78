//! The demo, as somebody meets it who tries Outlay for the first time.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Json, outlay};

/// A demo on a folder, killed at the end.
struct Demo(Child);

impl Drop for Demo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the demo; gives its address too.
fn demo(data: &Path) -> (Demo, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlay"));
    command.args(["demo", "--listen", "127.0.0.1:0", "--data"]).arg(data);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut demo = Demo(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(demo.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let url = line.trim().strip_prefix("listening on ").expect("the demo does not listen").to_owned();
    (demo, url)
}

#[test]
fn the_demo_has_half_a_year_and_leaves_the_readers_user_to_the_reader() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("demo");
    let (first, url) = demo(&data);
    let budget = || outlay(&["budget", "bgtfrdsZ", "--json", "--url", &url]).exits(0).json();
    budget().shows("/plan", "premium").meter("cost", "0", "0").meter("aiRuns", "0", "0");

    // The scenario that every release must show.
    let scan = ["--user", "bgtfrdsZ", "--session", "session_scan_1760380376660_72r1", "--url", &url];
    let ocr = ["record", "--type", "api", "--feature", "business_card_scan_ocr", "--cost", "0.0015"];
    outlay(&[&ocr[..], &scan].concat()).exits(0);
    let ai = ["record", "--feature", "business_card_scan", "--cost", "0.00010785", "--run", "--finish", "completed"];
    outlay(&[&ai[..], &scan].concat()).exits(0);
    let after = budget();
    after.meter("cost", "0.00160785", "0").meter("aiRuns", "1", "0").shows("/meters/cost/remaining", "2.99839215");

    let everything = outlay(&["export", "--url", &url]).exits(0);
    let months: std::collections::BTreeSet<String> = everything
        .out
        .lines()
        .map(|line| Json::parse(line).unwrap())
        .filter(|line| line.text("/kind") == "operation")
        .map(|line| line.text("/month").to_owned())
        .collect();
    assert!(months.len() >= 7, "{months:?}");
    assert!(everything.out.contains("\"kind\":\"denial\"") && everything.out.contains("\"status\":\"abandoned\""));
    drop(first);

    // The next start goes on with what is there, and a kill of the first did no harm.
    let (_again, url) = demo(&data);
    outlay(&["budget", "bgtfrdsZ", "--json", "--url", &url]).exits(0).json().meter("cost", "0.00160785", "0");
    outlay(&["verify", "--url", &url]).exits(0);
}

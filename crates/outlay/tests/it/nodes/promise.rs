//! What `outlay doctor` and `/readyz` say of a database whose standbys come and go, and nobody records anything.

use crate::support::{Asks, MASTER, Pair, Server, Setup, ai_run, until};

const ALONE: &str = "acknowledged means on the primary's disk";
const ON_BOTH: &str = "acknowledged means on the disks of the primary and of a synchronous standby";

/// What doctor says about something, at a server and of an address: its verdict, and what it found.
#[track_caller]
fn doctor(node: &Server, url: &str, about: &str, more: &[&str]) -> (String, String) {
    let address = node.address().to_string();
    let arguments = ["doctor", "--json", "--open", "--listen", &address, "--store", url];
    let ran = node.outlay_with(&[&arguments[..], more].concat(), &[("OUTLAY_MASTER_KEY", MASTER)]);
    let said = ran.json();
    let check = said.list("/checks").iter().find(|check| check.text("/about") == about);
    let check = check.unwrap_or_else(|| panic!("nothing is said of {about}: {ran:?}"));
    (check.text("/verdict").to_owned(), check.text("/what").to_owned())
}

#[track_caller]
fn is_ready(node: &Server, promise: &str) {
    until(promise, || {
        let ready = node.get("/readyz");
        ready.status == 200 && ready.json().text("/promise") == promise
    });
}

#[test]
fn doctor_and_readyz_say_which_standbys_acknowledgements_are_on() {
    let mut pair = Pair::start();
    let url = pair.url();
    let node = Setup::open().on_store(&url).start();
    let may_be_lost = ("warn".to_owned(), format!("{ALONE}: it can be lost when the primary is"));
    assert_eq!(doctor(&node, &url, "promise", &[]), may_be_lost);
    is_ready(&node, ALONE);

    // One that no commit waits for changes nothing.
    pair.stand_by();
    assert_eq!(doctor(&node, &url, "promise", &[]), may_be_lost);
    let refused =
        ("fail".to_owned(), format!("{ALONE}, and require_sync lets nothing be recorded that is there alone"));
    assert_eq!(doctor(&node, &url, "promise", &["--require-sync"]), refused);
    is_ready(&node, ALONE);
    let (verdict, what) = doctor(&node, &pair.url_of_standby(), "database", &[]);
    assert!(verdict == "fail" && what.contains("it takes no writes: it is a standby"), "{what}");
    let (verdict, what) = doctor(&node, &pair.url_of_both(), "database", &[]);
    assert!(verdict == "ok", "{what}");

    pair.wait_for("s1");
    let on_both = ("ok".to_owned(), ON_BOTH.to_owned());
    assert_eq!(doctor(&node, &url, "promise", &[]), on_both);
    assert_eq!(doctor(&node, &pair.url_of_both(), "promise", &["--require-sync"]), on_both);
    is_ready(&node, ON_BOTH);
    assert!(doctor(&node, &url, "server", &[]).1.ends_with(ON_BOTH));
    let demanding = Setup::open().on_store(&url).argument("--require-sync").start();
    is_ready(&demanding, ON_BOTH);

    // Nothing could be acknowledged now, and who asks hears so before anybody records.
    pair.leave();
    let waits = "every commit waits for 1 synchronous standbys, and 0 are connected";
    assert_eq!(doctor(&node, &url, "promise", &[]), ("fail".to_owned(), waits.to_owned()));
    for node in [&node, &demanding] {
        // The reason is in the log a moment after the answer.
        until("it is not ready, and says why", || node.get("/readyz").status == 503 && node.log().contains(waits));
    }
    assert_eq!(doctor(&node, &url, "server", &[]).0, "fail");

    // Whoever takes the standby out of the settings: who demands one does not go on.
    pair.wait_for("");
    is_ready(&node, ALONE);
    node.record(ai_run("u", 0.5));
    until("it says why it is not ready", || {
        assert_eq!(demanding.get("/readyz").status, 503);
        demanding.log().contains("synchronous_standby_names is empty")
    });
    demanding.post("/v1/usage", ai_run("u", 0.5)).is(503);

    pair.stand_by();
    pair.wait_for("s1");
    is_ready(&demanding, ON_BOTH);
    demanding.record(ai_run("u", 0.5));
    demanding.verifies();
}

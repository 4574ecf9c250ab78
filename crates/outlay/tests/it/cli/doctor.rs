//! `outlay doctor` on folders and servers that are well, and that are not.

use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use crate::support::{Asks, Does, HookReceiver, Ran, Server, Setup, SmtpReceiver, outlay_with_environment};

/// What is said of one thing: `ok`, `warn` or `fail`, the worst if it is said of several.
#[track_caller]
fn verdict(ran: &Ran, about: &str) -> String {
    let said = ran.json();
    let checks = said.list("/checks").iter().filter(|check| check.text("/about") == about);
    let worst = checks
        .map(|check| check.text("/verdict").to_owned())
        .max_by_key(|verdict| ["ok", "warn", "fail"].iter().position(|known| known == verdict).unwrap());
    worst.unwrap_or_else(|| panic!("nothing is said of {about}: {ran:?}"))
}

fn doctor(server: &Server, more: &[&str]) -> Ran {
    let address = server.address().to_string();
    server.outlay(&[&["doctor", "--json", "--listen", &address], more].concat())
}

#[test]
fn a_server_that_is_well_is_told_so() {
    let server = Server::open();
    let url = format!("http://{}", server.address());
    server.outlay(&["verify"]).exits(0);
    let ran = doctor(&server, &["--open", "--public-url", &url]).exits(0);
    ran.json().shows("/ok", "true");
    for about in ["settings", "folder", "server", "address", "keys", "master key", "verify", "mail", "public URL"] {
        assert_eq!(verdict(&ran, about), "ok", "{about}: {ran:?}");
    }
    assert!(ran.out.contains("events come through"), "{ran:?}");
    // Whoever was only looked for is nobody.
    server.get("/v1/users/outlay-doctor").is(200).shows("/known", "false");

    let ran = server.outlay(&["doctor", "--open", "--listen", &server.address().to_string()]).exits(0);
    assert!(ran.out.lines().any(|line| line.starts_with("ok    server      runs and takes writes")), "{ran:?}");
}

#[test]
fn what_is_wrong_fails_and_says_how_it_is_mended() {
    let server = Setup::keyed().start();
    let ran = doctor(&server, &["--public-url", "http://127.0.0.1:1"]).exits(1);
    assert_eq!((verdict(&ran, "public URL"), verdict(&ran, "verify")), ("fail".to_owned(), "warn".to_owned()));

    std::fs::set_permissions(server.data(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::set_permissions(server.data().join("master.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let ran = doctor(&server, &[]).exits(1);
    assert_eq!((verdict(&ran, "folder"), verdict(&ran, "master key")), ("warn".to_owned(), "fail".to_owned()));
    assert!(ran.out.contains("chmod 700") && ran.out.contains("chmod 600"), "{ran:?}");
}

#[test]
fn without_a_server_the_folder_and_the_addresses_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let arguments = ["doctor", "--json", "--data", data.to_str().unwrap(), "--listen", &address];
    let ran = outlay_with_environment(&arguments, &[]).exits(1);
    assert_eq!((verdict(&ran, "folder"), verdict(&ran, "address")), ("ok".to_owned(), "fail".to_owned()));
    drop(taken);
    let ran = outlay_with_environment(&arguments, &[]).exits(0);
    assert_eq!(verdict(&ran, "address"), "ok");
    // It looked, and made nothing.
    assert!(!data.exists());
    let arguments = ["doctor", "--json", "--data", "/proc/nowhere/data", "--listen", "127.0.0.1:0"];
    assert_eq!(verdict(&outlay_with_environment(&arguments, &[]).exits(1), "folder"), "fail");
    let ran = outlay_with_environment(&["doctor", "--json", "--listen", "nowhere"], &[]).exits(1);
    assert_eq!(verdict(&ran, "settings"), "fail");
}

#[test]
fn the_mail_server_is_spoken_to_and_sent_nothing() {
    let receiver = SmtpReceiver::start();
    let data = tempfile::tempdir().unwrap();
    let arguments = ["doctor", "--json", "--data", data.path().to_str().unwrap(), "--listen", "127.0.0.1:0"];
    let url = receiver.url();
    let environment = [("OUTLAY_SMTP_URL", url.as_str()), ("OUTLAY_MAIL_FROM", "outlay@example.org")];
    let ran = outlay_with_environment(&arguments, &environment).exits(0);
    assert_eq!((verdict(&ran, "mail"), receiver.mails().len()), ("ok".to_owned(), 0));
    receiver.goes_down();
    let ran = outlay_with_environment(&arguments, &environment).exits(1);
    assert_eq!(verdict(&ran, "mail"), "fail");
    assert!(ran.out.contains("connection refused"), "{ran:?}");
}

#[test]
fn the_receivers_of_webhooks_are_connected_to_and_sent_nothing() {
    let receiver = HookReceiver::start(Does::Takes);
    let allow = ("OUTLAY_WEBHOOK_ALLOW", "127.0.0.1");
    let server = Setup::open().variable(allow.0, allow.1).start();
    server.post("/v1/webhooks", json!({"url": receiver.url()})).is(201);
    let arguments = ["doctor", "--json", "--open", "--listen", &server.address().to_string()];
    let ran = server.outlay_with(&arguments, &[allow]).exits(0);
    assert_eq!((verdict(&ran, "webhooks"), receiver.messages().len()), ("ok".to_owned(), 0));
    // Told other things than the server was, it sees what would be refused then.
    let ran = server.outlay_with(&arguments, &[]).exits(1);
    assert_eq!(verdict(&ran, "webhooks"), "fail");
    assert!(ran.out.contains("OUTLAY_WEBHOOK_ALLOW can make an exception"), "{ran:?}");
    // Nobody is there.
    server.post("/v1/webhooks", json!({"url": "http://127.0.0.1:1/"})).is(201);
    let ran = server.outlay_with(&arguments, &[allow]).exits(1);
    assert!(ran.out.contains("no connection: it was refused"), "{ran:?}");
}

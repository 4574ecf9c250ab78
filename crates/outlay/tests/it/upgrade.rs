//! Data folders of versions before this one, kept as files: they open, nothing of them is lost, and they go on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde_json::json;

use crate::support::{Asks, Server, Setup, With, ai, of};

/// A server on a copy of a folder that was kept.
fn on_a_copy(version: &str, setup: Setup) -> Server {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version);
    let mut server = setup.start();
    assert!(server.stop().success());
    fs::remove_dir_all(server.data()).unwrap();
    fs::create_dir(server.data()).unwrap();
    for entry in fs::read_dir(kept).unwrap() {
        let entry = entry.unwrap();
        let to = server.data().join(entry.file_name());
        fs::copy(entry.path(), &to).unwrap();
        fs::set_permissions(to, fs::Permissions::from_mode(0o600)).unwrap();
    }
    server
}

/// The version that a store's file says it has: big-endian, in the header of every SQLite file.
fn version_of(server: &Server) -> u32 {
    let bytes = fs::read(server.data().join("outlay.db")).unwrap();
    u32::from_be_bytes(bytes[60..64].try_into().unwrap())
}

#[test]
fn a_folder_of_version_1_opens_and_goes_on() {
    let mut server = on_a_copy("version-1", Setup::open());
    assert_eq!(version_of(&server), 1);
    // A command alone may be the first to meet it.
    server.verifies();
    for round in 0..2 {
        server.start_again();
        server.verifies();
        server.get(&of("ann", "")).is(200).shows("/plan", "premium").shows("/overrides/cost", "1");
        let cost = ["0.76", "1.01"][round];
        server.budget_of("ann", "2025-10").meter("cost", cost, "0");
        server.budget_of("bob", "2025-10").meter("cost", "0.0015", "0");
        server.get(&of("gone", "")).is(200).shows("/known", "false");
        assert_eq!(server.all(&of("ann", "/usage?month=2025-10")).len(), 6 + round);
        server.session("ann", "s0").shows("/status", "completed").shows("/totalCost", "0.19");
        assert_eq!(server.all("/v1/denials").len(), 1);
        assert_eq!(server.all("/v1/keys").len(), 1);
        // What was recorded then is a duplicate for ever.
        let first = ai("ann", 0.19).with("operationId", "o1").with("feature", "scan").with("provider", "gemini");
        let first = first.with("model", "flash").with("isBillableRun", true).with("timestamp", "2025-10-01T10:00:00Z");
        let first = first.with("sessionId", "s1").with("stepLabel", "step").with("metadata", json!({"n": 1}));
        server.record(first).shows("/duplicate", "true");
        server.record(ai("ann", 0.25).with("operationId", "new").with("timestamp", "2025-10-05T10:00:00Z"));
        // The signing key of then still opens under the master key of then.
        server.post(&of("ann", "/tokens"), json!({})).is(201);
        let plan = ["premium", "base"][round];
        server.put(&of("bob", ""), json!({"plan": plan})).is(200);
        assert_eq!(server.all("/v1/audit").len(), 1 + round);
        assert!(server.stop().success());
    }
    assert!(version_of(&server) > 1);
}

/// Details that were recorded before there was retention are emptied like any others.
#[test]
#[cfg(feature = "test-clock")]
fn what_version_1_recorded_is_emptied_as_well() {
    let setup = Setup::open().argument("--keep-details-days").argument("7");
    let mut server = on_a_copy("version-1", setup);
    server.clock("2027-03-01T00:00:00Z");
    server.start_again();
    crate::support::until("all of it is emptied", || {
        server.get("/metrics").is_text(200).contains("outlay_trimmed_operations_total 8\n")
    });
    assert!(server.all(&of("ann", "/usage")).iter().all(|item| item.get("/trimmed").is_some()));
    server.budget_of("ann", "2025-10").meter("cost", "0.76", "0");
    server.verifies();
}

#[test]
fn a_folder_of_a_later_version_is_refused_with_both_numbers() {
    let mut server = Server::open();
    assert!(server.stop().success());
    let file = server.data().join("outlay.db");
    let ours = version_of(&server);
    let mut bytes = fs::read(&file).unwrap();
    bytes[60..64].copy_from_slice(&99_u32.to_be_bytes());
    fs::write(&file, &bytes).unwrap();
    let ran = server.outlay(&["verify"]).exits(1);
    assert!(ran.err.contains("version 99") && ran.err.contains(&format!("up to {ours}")), "{ran:?}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "it is left as it was");
}

//! The disk fills, and is freed: what matters least is refused first, nothing acknowledged is lost, and all comes back.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::support::{Asks, Server, Setup, With, ai, ai_run, of, until};

const MEBIBYTE: usize = 1024 * 1024;
const RESERVE_BYTES: u64 = 64 * 1024 * 1024;

/// What fills the disk beside the store.
struct Ballast {
    path: PathBuf,
    file: File,
}

impl Ballast {
    fn on(server: &Server) -> Ballast {
        let path = server.data().join("ballast");
        Ballast { file: File::create(&path).unwrap(), path }
    }

    /// One MiB more; false when there is no room for it.
    fn grow(&mut self) -> bool {
        self.file.write_all(&vec![7; MEBIBYTE]).is_ok()
    }

    /// Grows until something is so.
    #[track_caller]
    fn until(&mut self, what: &str, mut so: impl FnMut() -> bool) {
        while !so() {
            assert!(self.grow(), "the disk was full before {what}");
        }
    }

    fn remove(self) {
        fs::remove_file(self.path).unwrap();
    }
}

fn reserve_bytes(server: &Server) -> Option<u64> {
    fs::metadata(server.data().join("reserve")).ok().map(|file| file.len())
}

fn estimate() -> Value {
    json!({"cost": 0.5, "aiRuns": 1})
}

#[track_caller]
fn fill_until_facts_are_refused(server: &Server, ballast: &mut Ballast, operations: &mut usize) {
    ballast.until("an operation is refused", || {
        let reply = server.post("/v1/usage", ai("u", 0.001));
        reply.is_one_of(&[200, 507]);
        *operations += usize::from(reply.status == 200);
        reply.status == 507
    });
}

/// Reading goes on whatever the disk says.
#[track_caller]
fn reads_go_on(server: &Server, operations: usize) {
    server.get("/healthz").is_text(200);
    server.afford("u", estimate()).shows("/allowed", "true");
    assert_eq!(server.all(&of("u", "/usage?limit=1000")).len(), operations);
    server.get("/v1/overview").is(200);
}

#[test]
fn a_disk_that_fills_refuses_intents_first_then_facts_and_all_comes_back() {
    let mut server = Setup::open().disk_of(160).start();
    assert_eq!(reserve_bytes(&server), Some(RESERVE_BYTES));
    server.user("u", "enterprise");
    for session in ["finished", "by_a_step", "after_a_start", "at_last"] {
        server.open_session("u", session, estimate()).is(201);
    }
    server.record(ai_run("u", 0.25).with("operationId", "first").with("sessionId", "finished"));
    let mut operations = 1;

    // Intents first.
    let mut ballast = Ballast::on(&server);
    let mut opened = 0;
    ballast.until("an opening is refused", || {
        opened += 1;
        let reply = server.open_session("u", &format!("opened_{opened}"), estimate());
        reply.is_one_of(&[201, 503]);
        reply.status == 503
    });
    let problem = server.open_session("u", "refused", estimate()).is(503);
    assert!(problem.text("/type").ends_with("/problems/space-short"), "{problem}");
    server.get(&of("u", "/sessions/refused")).is(404);
    server.post(&of("u", "/sessions/finished/extend"), json!({"holdSeconds": 60})).is(503);
    server.post(&of("u", "/afford"), json!({"estimate": estimate(), "audit": true, "feature": "test"})).is(503);
    server.get("/readyz").is(200).shows("/spaceShort", "true");
    server.record(ai("u", 0.25).with("sessionId", "finished"));
    operations += 1;
    reads_go_on(&server, operations);

    // Then facts.
    fill_until_facts_are_refused(&server, &mut ballast, &mut operations);
    assert_eq!(reserve_bytes(&server), None, "the reserve is freed");
    let problem = server.post("/v1/usage", ai("u", 0.25)).is(507);
    assert!(problem.text("/type").ends_with("/problems/disk-full"), "{problem}");
    let problem = server.get("/readyz").is(507);
    assert!(problem.text("/type").ends_with("/problems/disk-full"), "{problem}");
    server.open_session("u", "refused", estimate()).is(503);
    server.put(&of("v", ""), json!({"plan": "pro"})).is(507);
    reads_go_on(&server, operations);

    // What ends and gives back goes on, also in one batch with what does not.
    server.finish("u", "finished", "completed").is(200);
    server.reverse("u", "first").is(200).shows("/cost", "-0.25");
    let ends = ai("u", 0.5).with("sessionId", "by_a_step").with("finishSession", "completed");
    let results = server.post("/v1/usage", json!([ai("u", 0.25), ends])).is(207);
    results.shows("/results/0/status", "507").shows("/results/1/status", "200").shows("/results/1/cost", "0.5");
    operations += 2;
    server.session("u", "by_a_step").shows("/status", "completed").shows("/held/cost", "0");
    reads_go_on(&server, operations);
    server.verifies();

    // The process ends cleanly, and the next one finds what it left.
    assert!(server.stop().success());
    server.start_again();
    // The log that was copied into the file left a little space, which is used first.
    fill_until_facts_are_refused(&server, &mut ballast, &mut operations);
    server.finish("u", "after_a_start", "completed").is(200);
    reads_go_on(&server, operations);

    // The reserve is used up, and then the last byte.
    ballast.until("even finishing is refused", || {
        let reply = server.finish("u", "at_last", "completed");
        reply.is_one_of(&[200, 507]);
        reply.status == 507
    });
    while ballast.grow() {}
    server.post("/v1/usage", ai("u", 0.25)).is(507);
    server.open_session("u", "refused", estimate()).is(507);
    reads_go_on(&server, operations);

    // Space comes back, and with it everything.
    server.get("/readyz").is(507);
    ballast.remove();
    server.get("/readyz").is(200);
    server.record(ai("u", 0.25));
    operations += 1;
    server.open_session("u", "refused", estimate()).is(201);
    server.finish("u", "at_last", "completed").is(200);
    assert!(server.get("/readyz").is(200).get("/spaceShort").is_none());
    until("the reserve is made again", || {
        server.finish("u", "at_last", "completed").is(200);
        reserve_bytes(&server) == Some(RESERVE_BYTES)
    });

    // A disk that is suddenly full to the last byte is no reason to end as a failure.
    let mut ballast = Ballast::on(&server);
    while ballast.grow() {}
    assert!(server.stop().success());
    ballast.remove();
    server.start_again();
    reads_go_on(&server, operations);
    server.record(ai("u", 0.25));
    server.verifies();
}

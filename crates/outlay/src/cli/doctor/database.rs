//! The database of a store: whether it is reached, what it promises, and how it is set.

use crate::clock::SystemClock;
use crate::config::Config;
use crate::config::store::StoreAddress;
use crate::local;
use crate::store::postgres::look::{CONNECTIONS_OF_NODE, Look, OLDEST_VERSION};

use super::Findings;

/// Milliseconds that the database's clock may differ from this machine's: a hold ends by the former.
const CLOCKS_DIFFER_MILLIS: i64 = 3_000;
/// Seconds between checkpoints below which the log is mostly whole pages.
const CHECKPOINT_SECONDS_WELL: i64 = 900;
/// Nodes for which there should be room at least: a new one starts before an old one ends.
const NODES_WELL: i64 = 3;

pub(super) async fn look(address: &StoreAddress, config: &Config, findings: &mut Findings) {
    const ABOUT: &str = "database";
    let look = match local::look_at_database(address, config).await {
        Ok(look) => look,
        Err(error) => {
            let fix = "see whether it runs and takes writes (name all hosts: the primary among them is found), whether this machine \
                       may reach it, and whether user and password are right";
            findings.fail(ABOUT, format!("{address}: failed to {error}"), fix);
            return;
        }
    };
    let version = &look.version;
    if look.version_number < OLDEST_VERSION {
        findings.fail(ABOUT, format!("{address} is PostgreSQL {version}"), "use PostgreSQL 14 or later");
    } else {
        findings.ok(ABOUT, format!("{address} is PostgreSQL {version}"));
    }
    promise(&look, config.require_sync, findings);
    connections(&look, findings);
    clock(&look, findings);
    log(&look, findings);
}

fn promise(look: &Look, require_sync: bool, findings: &mut Findings) {
    const ABOUT: &str = "promise";
    if !look.is_durable {
        let fix = "set fsync and full_page_writes to on";
        findings.fail(ABOUT, "after a power cut the database may have lost what was acknowledged, or be damaged", fix);
        return;
    }
    let (needed, connected) = (look.standbys_needed, look.standbys_connected);
    let fix = "have two standbys, and set synchronous_standby_names = 'ANY 1 (a, b)'";
    if connected < needed {
        let what = format!("every commit waits for {needed} synchronous standbys, and {connected} are connected");
        findings.fail(ABOUT, what, "start those that are missing");
    } else if needed > 0 {
        findings.ok(ABOUT, look.promise);
    } else if require_sync {
        let what = format!("{}, and require_sync lets nothing be recorded that is there alone", look.promise);
        findings.fail(ABOUT, what, fix);
    } else {
        findings.warn(ABOUT, format!("{}: it can be lost when the primary is", look.promise), fix);
    }
}

fn connections(look: &Look, findings: &mut Findings) {
    const ABOUT: &str = "capacity";
    let room = (look.connections - look.taken_by_others).max(0) / CONNECTIONS_OF_NODE;
    let what = format!(
        "a node has up to {CONNECTIONS_OF_NODE}; of {} others have {}, so there is room for {room} nodes",
        look.connections, look.taken_by_others
    );
    let fix = "raise max_connections, or put a pooler before the database for the others";
    if room < 1 {
        findings.fail(ABOUT, what, fix);
    } else if room < NODES_WELL {
        findings.warn(ABOUT, what, fix);
    } else {
        findings.ok(ABOUT, what);
    }
}

fn clock(look: &Look, findings: &mut Findings) {
    const ABOUT: &str = "clock";
    let here = SystemClock::shared().wall().nanos() / 1_000_000;
    let ahead = look.clock_millis - i64::try_from(here).unwrap_or(look.clock_millis);
    if ahead.abs() > CLOCKS_DIFFER_MILLIS {
        let what =
            format!("that of the database, by which holds end and months begin, is {ahead} ms ahead of this one");
        findings.warn(ABOUT, what, "have both clocks set by NTP");
    }
}

fn log(look: &Look, findings: &mut Findings) {
    const ABOUT: &str = "log";
    let mut fixes = Vec::new();
    if look.wal_compression == "off" {
        fixes.push("wal_compression = lz4");
    }
    if look.checkpoint_seconds < CHECKPOINT_SECONDS_WELL {
        fixes.push("checkpoint_timeout = 30min with a large max_wal_size");
    }
    let what = format!("wal_compression is {}, checkpoint_timeout {} s", look.wal_compression, look.checkpoint_seconds);
    if fixes.is_empty() {
        findings.ok(ABOUT, what);
    } else {
        findings.warn(ABOUT, what, format!("less is written with {}", fixes.join(" and ")));
    }
}

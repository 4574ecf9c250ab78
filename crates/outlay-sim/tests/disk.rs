//! The simulated disk under the real `SQLite`: what a correct database keeps over every crash, and that the disk tells a
//! correct one from one that forgets to sync.

use std::sync::{Arc, Mutex};

use outlay_sim::disk::{Crash, Faults, Options, SimDisk};
use rusqlite::{Connection, ErrorCode, OpenFlags};

const FILE: &str = "store.db";
/// Rows of one transaction.
const BATCH_ROWS: i64 = 3;

fn open(disk: &SimDisk) -> rusqlite::Result<Connection> {
    Connection::open_with_flags_and_vfs(FILE, OpenFlags::default(), disk.vfs_name().as_str())
}

/// A connection as the embedded store makes it, with checkpoints left to the scenario.
fn open_wal(disk: &SimDisk, synchronous: &str) -> rusqlite::Result<Connection> {
    let connection = open(disk)?;
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {synchronous}; PRAGMA wal_autocheckpoint = 0;"
    ))?;
    Ok(connection)
}

fn create(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "BEGIN IMMEDIATE;
         CREATE TABLE IF NOT EXISTS entry (id INTEGER PRIMARY KEY, batch INTEGER NOT NULL, body BLOB NOT NULL);
         CREATE TABLE IF NOT EXISTS total (name TEXT PRIMARY KEY, entries INTEGER NOT NULL) WITHOUT ROWID;
         INSERT OR IGNORE INTO total VALUES ('all', 0);
         COMMIT;",
    )
}

/// One transaction: some rows, and a counter that must agree with them.
fn record(connection: &Connection, batch: i64) -> rusqlite::Result<()> {
    connection.execute_batch("BEGIN IMMEDIATE")?;
    let done = (|| {
        let mut insert = connection.prepare_cached("INSERT INTO entry (batch, body) VALUES (?1, ?2)")?;
        for row in 0..BATCH_ROWS {
            let len = usize::try_from((batch * 7 + row * 311) % 1500).expect("not negative");
            insert.execute((batch, vec![batch.to_le_bytes()[0]; len]))?;
        }
        connection.execute("UPDATE total SET entries = entries + ?1", [BATCH_ROWS])?;
        connection.execute_batch("COMMIT")
    })();
    if done.is_err() && !connection.is_autocommit() {
        // Fails too after a crash; closing the connection then ends the transaction.
        let _ = connection.execute_batch("ROLLBACK");
    }
    done
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<(i64, i64, i64)> {
    connection
        .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// The batches that are there, each checked to be whole, in a database checked to be sound.
fn batches(disk: &SimDisk, label: &str) -> Vec<i64> {
    let connection = open_wal(disk, "FULL").unwrap_or_else(|error| panic!("{label}: reopen: {error}"));
    let verdict: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok", "{label}");
    if number(&connection, "SELECT count(*) FROM sqlite_schema WHERE name = 'total'") == 0 {
        return Vec::new();
    }
    let mut statement = connection.prepare("SELECT batch, count(*) FROM entry GROUP BY batch ORDER BY batch").unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    let found: Vec<(i64, i64)> = rows.collect::<rusqlite::Result<_>>().unwrap();
    for (batch, rows) in &found {
        assert_eq!(*rows, BATCH_ROWS, "{label}: half of batch {batch}");
    }
    let entries = number(&connection, "SELECT entries FROM total");
    assert_eq!(entries, BATCH_ROWS * i64::try_from(found.len()).unwrap(), "{label}: counter");
    found.into_iter().map(|(batch, _)| batch).collect()
}

/// Every acknowledged batch is there, and beside them at most the one that was on its way.
fn check(disk: &SimDisk, acknowledged: i64, label: &str) {
    let found = batches(disk, label);
    let all = |last| (1..=last).collect::<Vec<i64>>();
    assert!(
        found == all(acknowledged) || found == all(acknowledged + 1),
        "{label}: {acknowledged} acknowledged, found {found:?}"
    );
}

/// A writer, a checkpointer and a reader in one thread, and the end and a new start of all of them. `acknowledged` is
/// told of each batch whose commit has returned.
fn life(disk: &SimDisk, acknowledged: &Mutex<i64>) -> rusqlite::Result<()> {
    let mut next = 1;
    for _ in 0..2 {
        let writer = open_wal(disk, "FULL")?;
        create(&writer)?;
        let checkpointer = open_wal(disk, "FULL")?;
        let reader = open_wal(disk, "FULL")?;
        for round in 0..4 {
            for _ in 0..3 {
                record(&writer, next)?;
                *acknowledged.lock().unwrap() = next;
                next += 1;
            }
            match round {
                0 => drop(checkpoint(&checkpointer, "PASSIVE")?),
                1 => {
                    // An open snapshot keeps the log from starting anew.
                    reader.execute_batch("BEGIN")?;
                    let seen: i64 = reader.query_row("SELECT entries FROM total", [], |row| row.get(0))?;
                    record(&writer, next)?;
                    *acknowledged.lock().unwrap() = next;
                    next += 1;
                    let (_, log, done) = checkpoint(&checkpointer, "PASSIVE")?;
                    assert!(done < log, "the snapshot is older than the last commit");
                    let again: i64 = reader.query_row("SELECT entries FROM total", [], |row| row.get(0))?;
                    assert_eq!(seen, again);
                    reader.execute_batch("COMMIT")?;
                }
                2 => drop(checkpoint(&writer, "PASSIVE")?),
                _ => drop(checkpoint(&checkpointer, "TRUNCATE")?),
            }
        }
        record(&writer, next)?;
        *acknowledged.lock().unwrap() = next;
        next += 1;
    }
    Ok(())
}

fn options(seed: u64, powersafe_overwrite: bool) -> Options {
    Options { powersafe_overwrite, ..Options::seeded(seed) }
}

#[test]
fn nothing_acknowledged_is_lost_by_a_crash_at_any_call() {
    for powersafe in [false, true] {
        let disk = SimDisk::new(options(1, powersafe));
        let acknowledged = Arc::new(Mutex::new(0));
        let so_far = Arc::clone(&acknowledged);
        let probe = move |point: &outlay_sim::disk::CrashPoint<'_>| {
            let acknowledged = *so_far.lock().unwrap();
            for crash in Crash::ALL {
                for round in 0..3 {
                    let seed = point.call() * 1000 + round;
                    let label = format!("powersafe {powersafe}, call {}, {crash:?}, seed {seed}", point.call());
                    check(&point.crash(crash, seed), acknowledged, &label);
                }
            }
        };
        disk.probe(probe, || life(&disk, &acknowledged)).unwrap();
        assert_eq!(*acknowledged.lock().unwrap(), 28);
        assert!(disk.writes() > 200, "{disk:?}");
    }
}

#[test]
fn a_crashed_disk_answers_no_more_and_its_successor_goes_on() {
    let run = |faults: Faults| {
        let disk = SimDisk::new(Options::seeded(2));
        disk.set_faults(faults);
        let acknowledged = Mutex::new(0);
        let result = life(&disk, &acknowledged);
        (disk, acknowledged.into_inner().unwrap(), result)
    };
    let (whole, ..) = run(Faults::none());
    let calls = whole.writes();
    // Each of these runs the scenario from its start, so a stride keeps the test short; the probe above sees every call.
    for call in (1..=calls).step_by(7) {
        let (disk, acknowledged, result) = run(Faults::none().crash_at(call));
        assert!(disk.is_crashed(), "call {call}");
        // A crash while the connections are being closed is told to no one.
        if let Err(error) = result {
            assert_eq!(error.sqlite_error_code(), Some(ErrorCode::SystemIoFailure), "call {call}: {error}");
        }
        assert!(open(&disk).and_then(|connection| connection.execute_batch("CREATE TABLE x (a)")).is_err());
        for crash in Crash::ALL {
            let after = disk.crash(crash, call);
            let label = format!("call {call}, {crash:?}");
            check(&after, acknowledged, &label);
            let connection = open_wal(&after, "FULL").unwrap();
            create(&connection).unwrap();
            record(&connection, 1000).unwrap();
        }
    }
}

#[test]
fn a_store_that_does_not_sync_is_caught() {
    let lost = (0..20).filter(|seed| {
        let disk = SimDisk::new(Options::seeded(*seed));
        let connection = open_wal(&disk, "OFF").unwrap();
        create(&connection).unwrap();
        checkpoint(&connection, "TRUNCATE").unwrap();
        (1..=5).for_each(|batch| record(&connection, batch).unwrap());
        let after = disk.crash(Crash::Power, *seed);
        drop(connection);
        // Without syncs the file itself may be in pieces, which is a loss too.
        let found = std::panic::catch_unwind(|| batches(&after, "not synced"));
        found.map_or(true, |found| found.len() < 5)
    });
    assert!(lost.count() >= 5);
}

/// `synchronous=NORMAL` syncs before a checkpoint but not at a commit. So the disk must leave a sound database that ends at
/// some batch, whatever it takes away: a disk that tears what no real disk tears would fail here.
#[test]
fn commits_that_are_not_synced_are_lost_from_the_end() {
    let disk = SimDisk::new(Options::seeded(11));
    let shorter = Arc::new(Mutex::new(0));
    let count = Arc::clone(&shorter);
    let committed = Arc::new(Mutex::new(0));
    let so_far = Arc::clone(&committed);
    let probe = move |point: &outlay_sim::disk::CrashPoint<'_>| {
        let committed = *so_far.lock().unwrap();
        for crash in [Crash::Power, Crash::PowerAllLost] {
            let label = format!("call {}, {crash:?}", point.call());
            let found = batches(&point.crash(crash, point.call()), &label);
            let last = found.last().copied().unwrap_or(0);
            assert_eq!(found, (1..=last).collect::<Vec<_>>(), "{label}: a gap");
            assert!(last <= committed + 1, "{label}");
            *count.lock().unwrap() += i32::from(last < committed);
        }
    };
    disk.probe(probe, || {
        let writer = open_wal(&disk, "NORMAL").unwrap();
        create(&writer).unwrap();
        for batch in 1..=30 {
            record(&writer, batch).unwrap();
            *committed.lock().unwrap() = batch;
            if batch % 8 == 0 {
                checkpoint(&writer, if batch == 16 { "TRUNCATE" } else { "PASSIVE" }).unwrap();
            }
        }
    });
    assert!(*shorter.lock().unwrap() > 50);
}

#[test]
fn a_killed_process_loses_nothing_that_it_wrote() {
    let disk = SimDisk::new(Options::seeded(3));
    let connection = open_wal(&disk, "OFF").unwrap();
    create(&connection).unwrap();
    (1..=5).for_each(|batch| record(&connection, batch).unwrap());
    let killed = disk.crash(Crash::Kill, 1);
    drop(connection);
    // Written is not yet durable: the power can still take it. (To open it with syncs would make it durable.)
    assert_eq!(batches(&killed.crash_image(Crash::PowerAllLost, 1), "dark"), Vec::<i64>::new());
    check(&killed, 5, "killed");
}

#[test]
fn a_failed_sync_fails_the_commit() {
    let disk = SimDisk::new(Options::seeded(4));
    let connection = open_wal(&disk, "FULL").unwrap();
    create(&connection).unwrap();
    record(&connection, 1).unwrap();
    disk.set_faults(Faults::none().fail_sync_at(disk.calls().file_syncs + 1));
    let error = record(&connection, 2).unwrap_err();
    assert_eq!(error.sqlite_error().unwrap().extended_code, rusqlite::ffi::SQLITE_IOERR_FSYNC);
    for seed in 0..20 {
        check(&disk.crash_image(Crash::Power, seed), 1, &format!("seed {seed}"));
    }
}

/// How many of some seeds lose an acknowledged batch when a sync fails, the process starts again, and the power goes.
fn lost_after_a_failed_sync(at_start: impl Fn(&Connection)) -> usize {
    let lost = (0..40).filter(|seed| {
        let disk = SimDisk::new(Options::seeded(*seed));
        let connection = open_wal(&disk, "FULL").unwrap();
        create(&connection).unwrap();
        record(&connection, 1).unwrap();
        disk.set_faults(Faults::none().fail_sync_at(disk.calls().file_syncs + 1));
        record(&connection, 2).unwrap_err();
        let again = disk.crash(Crash::Kill, *seed);
        drop(connection);
        let connection = open_wal(&again, "FULL").unwrap();
        at_start(&connection);
        // The failed commit may be there: the log is read from the system's cache.
        let next = number(&connection, "SELECT max(batch) FROM entry") + 1;
        record(&connection, next).unwrap();
        let dark = again.crash(Crash::PowerAllLost, *seed);
        drop(connection);
        batches(&dark, &format!("seed {seed}")) != (1..=next).collect::<Vec<_>>()
    });
    lost.count()
}

#[test]
fn what_a_failed_sync_lost_no_later_sync_brings_back() {
    assert!(lost_after_a_failed_sync(|_| {}) > 0, "a commit behind a lost one is lost with it");
}

/// What a store must do before its first acknowledgement: every page of the old log is written again, into the database.
#[test]
fn a_checkpoint_at_the_start_heals_a_failed_sync() {
    assert_eq!(
        lost_after_a_failed_sync(|connection| {
            checkpoint(connection, "TRUNCATE").unwrap();
        }),
        0
    );
}

#[test]
fn a_full_disk_refuses_a_batch_and_goes_on_when_there_is_space() {
    let disk = SimDisk::new(Options::seeded(5));
    let connection = open_wal(&disk, "FULL").unwrap();
    create(&connection).unwrap();
    record(&connection, 1).unwrap();
    let used: usize = disk.file_names().iter().map(|name| disk.file_bytes(name).unwrap().len()).sum();
    disk.set_faults(Faults::none().no_space(used as u64 + 6000));
    let mut acknowledged = 1;
    let error = loop {
        match record(&connection, acknowledged + 1) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::DiskFull), "{error}");
    assert!(connection.is_autocommit(), "rolled back");
    check(&disk.crash_image(Crash::Kill, 1), acknowledged, "full");
    assert_eq!(number(&connection, "SELECT entries FROM total"), acknowledged * BATCH_ROWS);
    disk.set_faults(Faults::none());
    record(&connection, acknowledged + 1).unwrap();
    check(&disk.crash(Crash::PowerAllLost, 1), acknowledged + 1, "space again");
}

#[test]
fn a_failed_write_or_read_is_an_error_and_no_more() {
    let disk = SimDisk::new(Options::seeded(6));
    let connection = open_wal(&disk, "FULL").unwrap();
    create(&connection).unwrap();
    record(&connection, 1).unwrap();
    disk.set_faults(Faults::none().fail_write_at(disk.calls().file_writes + 2));
    assert_eq!(
        record(&connection, 2).unwrap_err().sqlite_error().unwrap().extended_code,
        rusqlite::ffi::SQLITE_IOERR_WRITE
    );
    record(&connection, 2).unwrap();
    let other = open_wal(&disk, "FULL").unwrap();
    disk.set_faults(Faults::none().fail_read_at(disk.calls().file_reads + 1));
    let read = other.query_row("SELECT entries FROM total", [], |row| row.get::<_, i64>(0));
    assert_eq!(read.unwrap_err().sqlite_error().unwrap().extended_code, rusqlite::ffi::SQLITE_IOERR_READ);
    assert_eq!(number(&other, "SELECT entries FROM total"), 2 * BATCH_ROWS);
    check(&disk.crash(Crash::PowerAllLost, 1), 2, "after failures");
}

#[test]
fn any_call_that_fails_leaves_a_sound_database() {
    let run = |faults: Faults| {
        let disk = SimDisk::new(Options::seeded(7));
        disk.set_faults(faults);
        let acknowledged = Mutex::new(0);
        let result = life(&disk, &acknowledged);
        (disk, acknowledged.into_inner().unwrap(), result.is_err())
    };
    let (whole, ..) = run(Faults::none());
    let calls = whole.writes();
    let noticed = (1..=calls).step_by(3).filter(|call| {
        let (disk, acknowledged, noticed) = run(Faults::none().fail_at(*call));
        check(&disk.crash_image(Crash::Kill, *call), acknowledged, &format!("failed call {call}, then killed"));
        noticed
    });
    assert!(noticed.count() > 20);
}

#[test]
fn the_same_seed_gives_the_same_trace_and_the_same_crash() {
    let run = |seed: u64| {
        let disk = SimDisk::new(Options::seeded(seed));
        life(&disk, &Mutex::new(0)).unwrap();
        let connection = open_wal(&disk, "OFF").unwrap();
        (100..110).for_each(|batch| record(&connection, batch).unwrap());
        let after = disk.crash(Crash::Power, seed);
        drop(connection);
        let sizes: Vec<_> =
            after.file_names().into_iter().map(|name| (after.file_bytes(&name).unwrap().len(), name)).collect();
        let _ = open_wal(&after, "FULL").map(|connection| record(&connection, 200));
        (after.trace_hash(), sizes)
    };
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
    assert_ne!(run(1).0, run(2).0);
}

#[test]
fn a_changed_byte_is_read_back_and_found() {
    let disk = SimDisk::new(Options::seeded(8));
    let connection = open_wal(&disk, "FULL").unwrap();
    create(&connection).unwrap();
    (1..=20).for_each(|batch| record(&connection, batch).unwrap());
    connection.close().unwrap();
    assert_eq!(disk.file_names(), [FILE], "a closed database has no log");
    let mut bytes = disk.file_bytes(FILE).unwrap();
    assert_eq!(disk.durable_bytes(FILE).unwrap(), bytes);
    bytes[4096] ^= 0xFF;
    disk.set_file_bytes(FILE, bytes);
    let connection = open(&disk).unwrap();
    let verdict: rusqlite::Result<String> = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0));
    assert!(verdict.map_or(true, |verdict| verdict != "ok"));
}

#[test]
fn time_stands_where_it_is_put() {
    let disk = SimDisk::new(Options::seeded(9));
    disk.set_time(1_700_000_000_000);
    let connection = open(&disk).unwrap();
    let now: String = connection.query_row("SELECT datetime('now')", [], |row| row.get(0)).unwrap();
    assert_eq!(now, "2023-11-14 22:13:20");
}

#[test]
fn disks_are_apart_and_go_with_their_last_handle() {
    let one = SimDisk::new(Options::seeded(10));
    let two = one.clone();
    let other = SimDisk::new(Options::seeded(10));
    assert_ne!(one.vfs_name(), other.vfs_name());
    create(&open_wal(&one, "FULL").unwrap()).unwrap();
    assert_eq!(two.file_names(), [FILE]);
    assert_eq!(other.file_names(), Vec::<String>::new());
    let name = one.vfs_name();
    let connection = open_wal(&one, "FULL").unwrap();
    drop((one, two));
    assert_eq!(number(&connection, "SELECT entries FROM total"), 0, "an open connection keeps its disk");
    drop(connection);
    assert!(Connection::open_with_flags_and_vfs(FILE, OpenFlags::default(), name.as_str()).is_err());
}

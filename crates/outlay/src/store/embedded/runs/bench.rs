//! A measurement to run by hand:
//! `OUTLAY_BENCH_KEYS=3000000 cargo test --release -p outlay runs::bench -- --ignored --nocapture`.

#![expect(clippy::disallowed_methods, reason = "it measures time, and is told its size by the environment")]

use std::time::{Duration, Instant};

use super::*;

const BATCH: u64 = 1000;

#[test]
#[ignore = "it measures, and checks nothing"]
fn keys_a_second() {
    let keys: u64 = std::env::var("OUTLAY_BENCH_KEYS").map_or(3_000_000, |text| text.parse().unwrap());
    let folder = tempfile::tempdir_in(".").unwrap();
    let connection = Connection::open(folder.path().join("outlay.db")).unwrap();
    connection
        .execute_batch(
            "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             PRAGMA cache_size = -524288; PRAGMA secure_delete = ON; PRAGMA wal_autocheckpoint = 4000",
        )
        .unwrap();
    connection.set_prepared_statement_cache_capacity(200);
    RunIndex::create_tables(&connection, "op").unwrap();
    let key = HashKey::new(*b"a key for tests!");
    let settings = RunSettings::default();
    let mut index = RunIndex::open(&connection, "op", key, settings, |_, _| Ok(())).unwrap();

    let (mut ask, mut step, mut memory) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let mut slowest = [Duration::ZERO; 3];
    let mut wrong = 0;
    let mut id = 0;
    let start = Instant::now();
    let mut lap = start;
    while id < keys {
        let began = Instant::now();
        index.begin_batch();
        let mut text = String::new();
        for _ in 0..BATCH {
            id += 1;
            text.clear();
            std::fmt::Write::write_fmt(&mut text, format_args!("run_{id}_0123456789")).unwrap();
            let hash = index.hash(id % 200_000, &text);
            wrong += index.candidates(&connection, hash).unwrap().len();
            index.insert(hash, id);
        }
        let asked = Instant::now();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        index.step(&connection).unwrap();
        connection.execute_batch("COMMIT").unwrap();
        let stepped = Instant::now();
        index.commit_batch();
        let times = [asked - began, stepped - asked, stepped.elapsed()];
        ask += times[0];
        step += times[1];
        memory += times[2];
        for (slowest, time) in slowest.iter_mut().zip(times) {
            *slowest = (*slowest).max(time);
        }
        if id % 500_000 == 0 {
            let speed = 500_000 * 1000 / lap.elapsed().as_millis();
            eprintln!(
                "{id} keys: {speed} a second; {} runs; slowest ask, step, commit {slowest:?}; {wrong} collisions",
                index.runs.len()
            );
            lap = Instant::now();
            slowest = [Duration::ZERO; 3];
        }
    }
    let pages: u64 = connection.query_row("PRAGMA page_count", [], |row| row.get::<_, i64>(0)).unwrap().cast_unsigned();
    eprintln!(
        "{keys} keys in {:?}: ask {ask:?}, step {step:?}, commit {memory:?}; {} bytes a key",
        start.elapsed(),
        pages * 4096 / keys
    );
    let began = Instant::now();
    let mut found = 0;
    for id in (1..=keys).step_by(101) {
        let hash = index.hash(id % 200_000, &format!("run_{id}_0123456789"));
        found += index.candidates(&connection, hash).unwrap().len();
    }
    eprintln!("{found} duplicates found in {:?}", began.elapsed());
    let began = Instant::now();
    drop(index);
    let index = RunIndex::open(&connection, "op", key, settings, |_, _| Ok(())).unwrap();
    eprintln!("loaded {} runs in {:?}", index.runs.len(), began.elapsed());
}

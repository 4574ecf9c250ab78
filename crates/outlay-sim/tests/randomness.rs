//! One simulation in a process, so that `SQLite`'s own random numbers follow the seed too. Alone in its test program, for
//! these numbers belong to the whole process.

use outlay_sim::disk::{Crash, Options, SimDisk, seed_sqlite_randomness};
use rusqlite::{Connection, OpenFlags};

fn files(seed: u32) -> Vec<Vec<u8>> {
    seed_sqlite_randomness(seed);
    let disk = SimDisk::new(Options::seeded(seed.into()));
    let flags = OpenFlags::default();
    let connection = Connection::open_with_flags_and_vfs("store.db", flags, disk.vfs_name().as_str()).unwrap();
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; CREATE TABLE t (a);
             INSERT INTO t VALUES (1); INSERT INTO t VALUES (random());",
        )
        .unwrap();
    let after = disk.crash(Crash::Power, seed.into());
    after.file_names().iter().filter_map(|name| after.file_bytes(name)).collect()
}

#[test]
fn the_same_seed_gives_the_same_bytes() {
    for seed in 1..5 {
        assert_eq!(files(seed), files(seed), "seed {seed}");
    }
    assert_ne!(files(1), files(2));
}

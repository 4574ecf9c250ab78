use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::*;

const KEY: [u8; 16] = *b"a key for tests!";

fn small(map_keys: usize) -> RunSettings {
    RunSettings { map_keys, hash_bits: 12, filter_chunk_blocks: 2, slice_keys: 4 }
}

/// A caller with its table, its index, and the plain truth about both.
struct World {
    connection: Connection,
    settings: RunSettings,
    index: RunIndex,
    /// The id of every identifier.
    rows: BTreeMap<(u64, String), u64>,
    next_id: u64,
}

impl World {
    fn new(settings: RunSettings) -> Self {
        let connection = Connection::open_in_memory().unwrap();
        connection.set_prepared_statement_cache_capacity(100);
        connection
            .execute_batch("CREATE TABLE rows (id INTEGER PRIMARY KEY, user_no INTEGER NOT NULL, text TEXT NOT NULL)")
            .unwrap();
        RunIndex::create_tables(&connection, "op").unwrap();
        let index = open(&connection, settings).unwrap();
        Self { connection, settings, index, rows: BTreeMap::new(), next_id: 1 }
    }

    /// Writes identifiers that are not there yet, in one transaction, and commits it or rolls it back.
    fn batch(&mut self, identifiers: &[(u64, String)], commit: bool) {
        let before = (self.rows.clone(), self.next_id);
        self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        self.index.begin_batch();
        for (user_no, text) in identifiers {
            let hash = self.index.hash(*user_no, text);
            let found = self.find(*user_no, text);
            assert_eq!(found, self.rows.get(&(*user_no, text.clone())).copied(), "{user_no} {text}");
            if found.is_some() {
                continue;
            }
            let id = self.next_id;
            self.connection
                .execute(
                    "INSERT INTO rows (id, user_no, text) VALUES (?1, ?2, ?3)",
                    rusqlite::params![id.cast_signed(), user_no.cast_signed(), text],
                )
                .unwrap();
            self.index.insert(hash, id);
            self.rows.insert((*user_no, text.clone()), id);
            // Ids ascend, but need not be dense.
            self.next_id += 1 + id % 3;
        }
        self.index.step(&self.connection).unwrap();
        if commit {
            self.connection.execute_batch("COMMIT").unwrap();
            self.index.commit_batch();
        } else {
            self.connection.execute_batch("ROLLBACK").unwrap();
            self.index.rollback_batch();
            (self.rows, self.next_id) = before;
        }
    }

    /// The row of an identifier, as a caller finds it: each candidate is compared.
    fn find(&self, user_no: u64, text: &str) -> Option<u64> {
        let hash = self.index.hash(user_no, text);
        let mut same = self.index.candidates(&self.connection, hash).unwrap();
        same.retain(|id| {
            let row: (i64, String) = self
                .connection
                .prepare_cached("SELECT user_no, text FROM rows WHERE id = ?1")
                .unwrap()
                .query_row([id.cast_signed()], |row| Ok((row.get(0)?, row.get(1)?)))
                .unwrap();
            row == (user_no.cast_signed(), text.to_owned())
        });
        assert!(same.len() <= 1, "one row has an identifier");
        same.first().copied()
    }

    fn reopen(&mut self) {
        self.index = open(&self.connection, self.settings).unwrap();
    }

    /// Everything that must hold between two batches.
    fn check(&self) {
        self.check_candidates(&self.index);
        let reopened = open(&self.connection, self.settings).unwrap();
        assert_eq!(picture(&self.index), picture(&reopened), "the memory equals what the file gives");
        self.check_candidates(&reopened);
        self.check_tables();
    }

    fn check_candidates(&self, index: &RunIndex) {
        let mut by_hash: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for ((user_no, text), id) in &self.rows {
            by_hash.entry(index.hash(*user_no, text)).or_default().push(*id);
        }
        for (hash, ids) in &mut by_hash {
            let mut found = index.candidates(&self.connection, *hash).unwrap();
            found.sort_unstable();
            ids.sort_unstable();
            assert_eq!(found, *ids, "under hash {hash:x}");
        }
        for number in 0..50 {
            let hash = index.hash(u64::MAX, &number.to_string());
            if !by_hash.contains_key(&hash) {
                assert!(index.candidates(&self.connection, hash).unwrap().is_empty());
            }
        }
    }

    /// Each key lies in one place, and each run's table and filter hold what they should.
    fn check_tables(&self) {
        let index = &self.index;
        let mut all: BTreeSet<Key> = index.map.sorted().into_iter().collect();
        if let Some(frozen) = &index.frozen {
            let (moved, rest) = frozen.keys.split_at(frozen.moved);
            assert_eq!(self.table(frozen.meta.n), moved);
            all.extend(moved);
            all.extend(rest);
        }
        for run in &index.runs {
            let keys = self.table(run.meta.n);
            assert_eq!(u64::try_from(keys.len()).unwrap(), run.meta.keys);
            assert!(keys.iter().all(|key| (run.meta.first_id..=run.meta.last_id).contains(&key.id)));
            let mut filter = Filter::new(run.filter.shape());
            for key in &keys {
                assert!(run.filter.may_hold(&Probe::new(key.hash)), "a filter never denies a key");
                filter.add(key.hash);
            }
            assert_eq!(filter_bytes(&run.filter), filter_bytes(&filter));
            for chunk in 0..filter.shape().chunks() {
                let stored = index.tables.load_chunk(&self.connection, run.meta.n, chunk).unwrap();
                assert_eq!(stored, Some(filter.chunk_bytes(chunk)), "run {} chunk {chunk}", run.meta.n);
            }
            all.extend(keys);
        }
        let expected: BTreeSet<Key> =
            self.rows.iter().map(|((user_no, text), id)| Key { hash: index.hash(*user_no, text), id: *id }).collect();
        assert_eq!(all, expected);
    }

    fn table(&self, n: i64) -> Vec<Key> {
        let mut keys = Vec::new();
        self.index.tables.read_keys(&self.connection, n, (0, u64::MAX), |key| keys.push(key)).unwrap();
        keys
    }
}

fn open(connection: &Connection, settings: RunSettings) -> Result<RunIndex, RunError> {
    RunIndex::open(connection, "op", HashKey::new(KEY), settings, |after_id, sink| {
        let mut statement =
            connection.prepare_cached("SELECT user_no, text, id FROM rows WHERE id > ?1 ORDER BY id")?;
        let mut rows = statement.query([after_id.cast_signed()])?;
        while let Some(row) = rows.next()? {
            let text: String = row.get(1)?;
            sink(row.get::<_, i64>(0)?.cast_unsigned(), &text, row.get::<_, i64>(2)?.cast_unsigned());
        }
        Ok(())
    })
}

fn filter_bytes(filter: &Filter) -> Vec<u8> {
    (0..filter.shape().chunks()).flat_map(|chunk| filter.chunk_bytes(chunk)).collect()
}

/// The whole memory of an index, in a form that can be compared.
fn picture(index: &RunIndex) -> impl PartialEq + std::fmt::Debug {
    (
        index.map.sorted(),
        index.map_ids,
        index.frozen.as_ref().map(|frozen| (frozen.meta, frozen.keys.clone(), frozen.moved)),
        index.runs.iter().map(|run| (run.meta, filter_bytes(&run.filter))).collect::<Vec<_>>(),
        index.next_n,
    )
}

/// Runs a test with a few fixed seeds and one that is new each time.
fn with_seeds(test: impl Fn(&mut Pcg64)) {
    let new = getrandom::u64().unwrap();
    for seed in [1, 2, new] {
        eprintln!("seed {seed}");
        test(&mut Pcg64::seed_from_u64(seed));
    }
}

fn identifiers(random: &mut Pcg64, count: usize, users: u64) -> Vec<(u64, String)> {
    (0..count).map(|_| (random.random_range(0..users), random.random_range(0..5_000_u32).to_string())).collect()
}

#[test]
fn the_index_agrees_with_a_plain_map_through_rollbacks_and_reopenings() {
    with_seeds(|random| {
        let mut world = World::new(small(64));
        let users = random.random_range(1..20);
        let largest = [3, 20, 100, 300][random.random_range(0..4)];
        for _ in 0..8_000 / (largest + 20) {
            let count = random.random_range(0..=largest);
            let commit = random.random_ratio(4, 5);
            world.batch(&identifiers(random, count, users), commit);
            world.check();
            if random.random_ratio(1, 4) {
                world.reopen();
            }
        }
    });
}

#[test]
fn a_frozen_map_is_in_its_run_before_the_next_is_full() {
    with_seeds(|random| {
        let mut world = World::new(small(64));
        let mut next = 0_u64;
        let mut froze = 0;
        for _ in 0..300 {
            let before = world.index.frozen.as_ref().map(|frozen| frozen.meta.n);
            let count = random.random_range(0..40);
            let batch: Vec<_> = (next..next + count).map(|number| (1, number.to_string())).collect();
            next += count;
            world.batch(&batch, true);
            assert!(world.index.map.len() < 64, "a full map is frozen at once");
            if let Some(frozen) = &world.index.frozen {
                froze += i32::from(before != Some(frozen.meta.n));
                let filled = world.index.map.len();
                assert!(filled < 43, "{} keys wait for their run at {filled}", frozen.keys.len() - frozen.moved);
            }
        }
        assert!(froze > 20);
    });
}

#[test]
fn two_indexes_share_a_file() {
    let connection = Connection::open_in_memory().unwrap();
    let mut indexes = Vec::new();
    for prefix in ["op", "session"] {
        RunIndex::create_tables(&connection, prefix).unwrap();
        indexes.push(RunIndex::open(&connection, prefix, HashKey::new(KEY), small(8), |_, _| Ok(())).unwrap());
    }
    for (position, index) in (1_u64..).zip(&mut indexes) {
        for id in 1..200 {
            index.begin_batch();
            index.insert(index.hash(position, &id.to_string()), id * position);
            index.step(&connection).unwrap();
            index.commit_batch();
        }
    }
    for (position, index) in (1_u64..).zip(&indexes) {
        for id in 1..200 {
            let found = index.candidates(&connection, index.hash(position, &id.to_string())).unwrap();
            assert!(found.contains(&(id * position)));
        }
    }
}

#[test]
fn a_filter_that_was_damaged_or_lost_is_computed_from_the_keys() {
    let mut world = World::new(small(64));
    for number in 0..300 {
        world.batch(&[(1, number.to_string())], true);
    }
    assert!(world.index.runs.len() >= 3);
    let before = format!("{:?}", picture(&world.index));
    world.connection.execute_batch("UPDATE op_run_filter SET bits = zeroblob(128) WHERE chunk = 0").unwrap();
    world.reopen();
    assert_eq!(format!("{:?}", picture(&world.index)), before);
    world.connection.execute_batch("DELETE FROM op_run_filter").unwrap();
    world.reopen();
    assert_eq!(format!("{:?}", picture(&world.index)), before);
    world.check_candidates(&world.index);
}

#[test]
fn hashes_are_fixed_for_a_file() {
    let world = World::new(RunSettings::default());
    assert_eq!(world.index.hash(7, "op-1"), 0x13fa_da09_04bf_c380, "never change this: files hold it");
    let small = World::new(small(64));
    assert_eq!(small.index.hash(7, "op-1"), world.index.hash(7, "op-1") >> 52 << 52);
    assert_ne!(world.index.hash(7, "op-1"), world.index.hash(8, "op-1"));
}

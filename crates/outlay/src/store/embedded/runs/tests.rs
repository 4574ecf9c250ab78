//! Sorted runs against a map that forgets nothing, through transactions that end every way they can.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::*;

const KEY: [u8; 16] = *b"a key for tests!";

fn small(map_keys: usize) -> RunSettings {
    RunSettings {
        map_keys,
        hash_bits: 12,
        division: Division { chunk_blocks: 2, segment_chunks: 2 },
        slice_keys: 4,
        merge_runs: 3,
        merge_slice_keys: 8,
    }
}

/// How a transaction ends.
#[derive(Debug, Clone, Copy)]
enum End {
    Commit,
    RollBack,
    /// `SQLite` gives up within the step, after so many of its instructions; when they suffice, it commits.
    Interrupt(u32),
}

impl End {
    fn any(random: &mut Pcg64) -> Self {
        match random.random_range(0..10) {
            0 => Self::RollBack,
            1 | 2 => Self::Interrupt(random.random_range(1..400)),
            _ => Self::Commit,
        }
    }
}

/// A caller with its table, its index, and the plain truth about both.
struct World {
    connection: Connection,
    settings: RunSettings,
    index: RunIndex,
    /// The id of every identifier.
    rows: BTreeMap<(u64, String), u64>,
    next_id: u64,
    /// Compare all candidates within each transaction, too.
    thorough: bool,
    interrupted: u32,
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
        Self { connection, settings, index, rows: BTreeMap::new(), next_id: 1, thorough: false, interrupted: 0 }
    }

    /// Writes identifiers that are not there yet, in one transaction, and ends it.
    fn batch(&mut self, identifiers: &[(u64, String)], end: End) {
        let before = self.next_id;
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
        if !self.step(end, RunIndex::step) {
            self.rows.retain(|_, id| *id < before);
            self.next_id = before;
        }
    }

    /// A batch without identifiers, in idle time.
    fn idle(&mut self, keys: u64, end: End) {
        self.connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        self.index.begin_batch();
        self.step(end, |index, connection| index.idle_step(connection, keys));
    }

    /// Does a batch's step and ends its transaction. `true`: it was committed.
    fn step(&mut self, end: End, step: impl FnOnce(&mut RunIndex, &Connection) -> Result<(), RunError>) -> bool {
        let mut left = 0;
        if let End::Interrupt(after) = end {
            left = after;
        }
        if left > 0 {
            let is_over = move || {
                left -= 1;
                left == 0
            };
            self.connection.progress_handler(1, Some(is_over)).unwrap();
        }
        let stepped = step(&mut self.index, &self.connection);
        self.interrupted += u32::from(stepped.is_err());
        self.connection.progress_handler(0, None::<fn() -> bool>).unwrap();
        let commit = match end {
            End::Commit => {
                stepped.unwrap();
                true
            }
            End::RollBack => {
                stepped.unwrap();
                false
            }
            End::Interrupt(_) => stepped.is_ok(),
        };
        if commit {
            // What is written is already answered within the transaction.
            if self.thorough {
                self.check_candidates(&self.index);
            }
            self.connection.execute_batch("COMMIT").unwrap();
            self.index.commit_batch();
        } else {
            // An interrupted statement may have ended the transaction.
            if !self.connection.is_autocommit() {
                self.connection.execute_batch("ROLLBACK").unwrap();
            }
            self.index.rollback_batch();
        }
        commit
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
        assert_eq!(self.proven(|id| id % 7 == 0), (vec![], vec![]));
    }

    /// What the proof finds wrong with the index in the file, and the rows that it does not find; more rows may have lost
    /// their texts than those that did.
    fn proven(&self, is_erased: impl Fn(u64) -> bool) -> (Vec<Fault>, Vec<u64>) {
        let mut statement = self.connection.prepare("SELECT user_no, text, id FROM rows ORDER BY id").unwrap();
        let read = |row: &rusqlite::Row<'_>| -> rusqlite::Result<(i64, String, i64)> {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        };
        let rows = statement.query_map([], read).unwrap().map(|row| {
            let (user_no, text, id) = row.unwrap();
            let id = id.cast_unsigned();
            (id, (user_no.cast_unsigned(), if is_erased(id) { String::new() } else { text }))
        });
        let rows: BTreeMap<u64, (u64, String)> = rows.collect();
        let mut proof = self.index.proof(&self.connection).unwrap();
        for (id, (user_no, text)) in &rows {
            proof.row(*user_no, text, *id);
        }
        let faults = proof.faults(&self.connection).unwrap();
        let doubted = faults.iter().filter_map(|fault| match fault {
            Fault::Rows(ids) => Some(rows.range(ids.clone())),
            Fault::Run { .. } => None,
        });
        let lost =
            doubted.flatten().filter(|(id, (user_no, text))| !proof.finds(&self.connection, *user_no, text, **id));
        let lost = lost.map(|(id, _)| *id).collect();
        (faults, lost)
    }

    /// Every key that is asked in a run, with its table.
    fn asked_keys(&self) -> Vec<(String, Key)> {
        let index = &self.index;
        let merge = index.merge.as_ref().map(|merge| merge.meta);
        let building = index.frozen.as_ref().map(|frozen| frozen.meta);
        let mut keys = Vec::new();
        for run in index.runs.iter().map(|run| run.meta).chain(merge).chain(building) {
            let of_run =
                self.table(&run).into_iter().filter(|key| run.merged_into.is_none() || !index.is_merged(key.hash));
            let shape = index.tables.shape(&run);
            keys.extend(of_run.map(|key| (format!("op_run_{}_{}", run.n, shape.segment_of(key.hash)), key)));
        }
        keys
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
        for number in 0..20 {
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
            let keys = sorted(&frozen.keys);
            let (moved, rest) = keys.split_at(frozen.moved);
            assert_eq!(self.table(&frozen.meta), moved);
            all.extend(moved);
            all.extend(rest);
        }
        for run in &index.runs {
            all.extend(self.check_run(run));
        }
        all.extend(self.check_merge());
        let expected: BTreeSet<Key> =
            self.rows.iter().map(|((user_no, text), id)| Key { hash: index.hash(*user_no, text), id: *id }).collect();
        assert_eq!(all, expected);
    }

    /// Gives the keys that a run answers with.
    fn check_run(&self, run: &Run) -> Vec<Key> {
        let mut keys = self.table(&run.meta);
        if run.meta.cursor.is_none() {
            assert_eq!(u64::try_from(keys.len()).unwrap(), run.meta.keys);
        }
        assert!(keys.iter().all(|key| (run.meta.first_id..=run.meta.last_id).contains(&key.id)));
        assert!(keys.iter().all(|key| run.filter.may_hold(&Probe::new(key.hash))), "a filter never denies a key");
        let shape = run.filter.shape();
        let mut filter = Filter::new(shape);
        for key in &keys {
            filter.add(key.hash);
        }
        for chunk in shape.chunks_done_at(run.meta.cursor)..shape.chunks() {
            assert_eq!(run.filter.chunk_bytes(chunk), filter.chunk_bytes(chunk));
            let stored = self.index.tables.load_piece(&self.connection, run.meta.n, chunk).unwrap();
            assert_eq!(stored, Piece::Whole(filter.chunk_bytes(chunk)), "run {} chunk {chunk}", run.meta.n);
        }
        keys.retain(|key| run.meta.merged_into.is_none() || !self.index.is_merged(key.hash));
        keys
    }

    fn check_merge(&self) -> Vec<Key> {
        let index = &self.index;
        let metas: Vec<RunMeta> = (index.runs.iter().map(|run| run.meta))
            .chain(index.merge.as_ref().map(|merge| merge.meta))
            .chain(index.frozen.as_ref().map(|frozen| frozen.meta))
            .collect();
        let count = |sql: &str| self.connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count("SELECT count(*) FROM op_run_meta"), i64::try_from(metas.len()).unwrap());
        let tables: i64 = metas.iter().map(|run| self.segments(run).count()).sum::<usize>().try_into().unwrap();
        let sql = "SELECT count(*) FROM sqlite_schema WHERE name GLOB 'op_run_[0-9]*' AND type = 'table'";
        assert_eq!(count(sql), tables);
        let sql = "SELECT count(*) FROM op_run_filter WHERE n NOT IN (SELECT n FROM op_run_meta)";
        assert_eq!(count(sql), 0);
        index.merge.as_ref().map_or_else(Vec::new, |merge| {
            let keys = self.table(&merge.meta);
            assert!(keys.iter().all(|key| index.is_merged(key.hash)));
            keys
        })
    }

    /// The segments that a run should have.
    fn segments(&self, run: &RunMeta) -> impl Iterator<Item = u64> + use<> {
        let shape = self.index.tables.shape(run);
        let (first, last) = match (run.state, run.cursor) {
            (RunState::Live, cursor) => (behind(cursor), u64::MAX),
            (_, Some(cursor)) => (0, cursor),
            (_, None) => (1, 0),
        };
        (first <= last).then(|| shape.segment_of(first)..=shape.segment_of(last)).into_iter().flatten()
    }

    /// All keys that the file holds for a run.
    fn table(&self, run: &RunMeta) -> Vec<Key> {
        let mut keys = Vec::new();
        for segment in self.segments(run) {
            let hashes = self.index.tables.shape(run).hashes_of_segment(segment);
            self.index.tables.read_keys(&self.connection, run, hashes, |key| keys.push(key)).unwrap();
        }
        assert!(keys.is_sorted());
        keys
    }
}

fn open(connection: &Connection, settings: RunSettings) -> Result<RunIndex, RunError> {
    RunIndex::open(connection, "op", HashKey::new(KEY), settings, |after_id, sink| {
        let mut statement =
            connection.prepare_cached("SELECT user_no, text, id FROM rows WHERE id > ?1 AND text <> '' ORDER BY id")?;
        let mut rows = statement.query([after_id.cast_signed()])?;
        while let Some(row) = rows.next()? {
            let text: String = row.get(1)?;
            sink(row.get::<_, i64>(0)?.cast_unsigned(), &text, row.get::<_, i64>(2)?.cast_unsigned());
        }
        Ok(())
    })
}

/// The part of a run's filter that is asked.
fn filter_bytes(run: &Run) -> Vec<u8> {
    let shape = run.filter.shape();
    (shape.chunks_done_at(run.meta.cursor)..shape.chunks()).flat_map(|chunk| run.filter.chunk_bytes(chunk)).collect()
}

fn sorted(keys: &FrozenKeys) -> Vec<Key> {
    let mut keys: Vec<Key> = keys.iter().copied().collect();
    keys.sort_unstable();
    keys
}

/// The whole memory of an index, in a form that can be compared.
fn picture(index: &RunIndex) -> impl PartialEq + std::fmt::Debug {
    (
        index.map.sorted(),
        index.map_ids,
        index.frozen.as_ref().map(|frozen| (frozen.meta, sorted(&frozen.keys), frozen.moved)),
        index.runs.iter().map(|run| (run.meta, filter_bytes(run))).collect::<Vec<_>>(),
        index.merge.as_ref().map(|merge| merge.meta),
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

/// Each batch may be committed, rolled back or broken off at any instruction, and the index opened again after it.
#[test]
fn the_index_agrees_with_a_plain_map_through_rollbacks_and_reopenings() {
    with_seeds(|random| {
        let mut world = World::new(small(64));
        let users = random.random_range(1..20);
        world.thorough = true;
        let largest = [3, 20, 100, 300][random.random_range(0..4)];
        let mut batches = 0;
        while world.rows.len() < 2_500 && batches < 400 {
            batches += 1;
            if random.random_ratio(1, 8) {
                world.idle(random.random_range(1..100), End::any(random));
            } else {
                let count = random.random_range(0..=largest);
                world.batch(&identifiers(random, count, users), End::any(random));
            }
            if batches % 4 == 0 || largest > 20 {
                world.check();
            }
            if random.random_ratio(1, 4) {
                world.reopen();
            }
        }
        world.check();
    });
}

/// How far a merge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    None,
    Begun,
    Copying,
    /// A source lost a segment.
    CopyingAndDropping,
    /// All keys are copied, and not all sources are gone.
    Dropping,
}

impl Phase {
    fn of(index: &RunIndex) -> Self {
        match &index.merge {
            None => Self::None,
            Some(merge) if merge.meta.cursor.is_none() => Self::Begun,
            Some(merge) if merge.meta.cursor == Some(u64::MAX) => Self::Dropping,
            Some(_) if index.runs.iter().any(|run| run.meta.cursor.is_some()) => Self::CopyingAndDropping,
            Some(_) => Self::Copying,
        }
    }
}

/// The same in the smallest steps, and with so few hashes that most steps end beside a collision, so that every state
/// of a merge is broken off, rolled back and opened again.
#[test]
fn merges_go_on_after_any_interruption() {
    let division = Division { chunk_blocks: 1, segment_chunks: 1 };
    let seen = RefCell::new(BTreeSet::new());
    with_seeds(|random| {
        let mut world =
            World::new(RunSettings { hash_bits: 6, slice_keys: 1, merge_slice_keys: 2, division, ..small(8) });
        world.thorough = true;
        let mut next = 0_u32;
        for _ in 0..400 {
            let count = random.random_range(0..4);
            let batch: Vec<_> = (next..next + count).map(|number| (1, number.to_string())).collect();
            let rows = world.rows.len();
            world.batch(&batch, End::any(random));
            if world.rows.len() > rows {
                next += count;
            }
            world.check();
            seen.borrow_mut().insert((Phase::of(&world.index), world.index.frozen.is_some()));
            if random.random_ratio(1, 3) {
                world.reopen();
            }
        }
        assert!(world.interrupted > 10, "{} steps were broken off", world.interrupted);
        assert!(world.index.runs.iter().any(|run| run.meta.keys >= 72), "runs were merged twice over");
    });
    for phase in [Phase::Begun, Phase::Copying, Phase::CopyingAndDropping, Phase::Dropping] {
        for frozen in [false, true] {
            assert!(seen.borrow().contains(&(phase, frozen)), "never met {phase:?} with a frozen map: {frozen}");
        }
    }
}

#[test]
fn idle_time_finishes_all_merges() {
    let mut world = World::new(RunSettings { merge_slice_keys: u64::MAX, ..small(16) });
    for number in 0..3_000 {
        world.batch(&[(1, number.to_string())], End::Commit);
    }
    let waiting = world.index.runs.len();
    assert!(waiting > 100, "without credit nothing is merged: {waiting} runs");
    world.index.settings.merge_slice_keys = 8;
    let mut steps = 0;
    while world.index.has_idle_work() {
        world.idle(100, End::Commit);
        steps += 1;
        assert!(steps < 2_000);
    }
    let left = world.index.runs.len();
    assert!(left <= 8, "{left} runs are left");
    world.idle(100, End::Commit);
    assert_eq!(world.index.runs.len(), left);
    world.check();
}

#[test]
fn a_batch_merges_two_keys_for_each_that_comes() {
    let settings = RunSettings { hash_bits: 64, ..small(64) };
    let mut world = World::new(settings);
    let mut copied = 0_u64;
    let mut at = (0, 0);
    for number in 0..4_000_u32 {
        world.batch(&[(1, number.to_string())], End::Commit);
        if let Some(merge) = &world.index.merge {
            let keys = u64::try_from(world.table(&merge.meta).len()).unwrap();
            let before = if at.0 == merge.meta.n { at.1 } else { 0 };
            copied += keys - before;
            at = (merge.meta.n, keys);
        }
    }
    assert!((2_000..8_000).contains(&copied), "{copied} keys were copied for 4000");
    assert!(world.index.runs.len() < 30, "{} runs", world.index.runs.len());
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
            world.batch(&batch, End::Commit);
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

/// Erased rows are not there when an index is opened in the middle of a build: their keys are missed by nobody.
#[test]
fn rows_may_be_erased_at_any_time() {
    with_seeds(|random| {
        let mut world = World::new(small(64));
        for round in 0..40_u32 {
            for number in 0..random.random_range(1..60_u32) {
                world.batch(&[(1, format!("{round}-{number}"))], End::Commit);
            }
            let erased: Vec<u64> = world.rows.values().copied().filter(|_| random.random_ratio(1, 6)).collect();
            for id in &erased {
                let sql = "UPDATE rows SET text = '' WHERE id = ?1";
                world.connection.execute(sql, [id.cast_signed()]).unwrap();
            }
            world.rows.retain(|_, id| !erased.contains(id));
            if random.random() {
                world.reopen();
            }
            for ((user_no, text), id) in &world.rows {
                assert_eq!(world.find(*user_no, text), Some(*id));
            }
            assert_eq!(world.proven(|_| false), (vec![], vec![]));
        }
        assert!(world.index.runs.len() > 1);
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
        world.batch(&[(1, number.to_string())], End::Commit);
    }
    assert!(world.index.runs.len() >= 3);
    let before = format!("{:?}", picture(&world.index));
    world.connection.execute_batch("UPDATE op_run_filter SET bits = zeroblob(length(bits)) WHERE chunk = 0").unwrap();
    world.reopen();
    assert_eq!(format!("{:?}", picture(&world.index)), before);
    world.connection.execute_batch("DELETE FROM op_run_filter").unwrap();
    world.reopen();
    assert_eq!(format!("{:?}", picture(&world.index)), before);
    world.check_candidates(&world.index);
}

/// A key that is not found would have its operation counted again when it is sent again. Whatever is done with the runs.
#[test]
fn the_proof_finds_every_change() {
    with_seeds(|random| {
        let mut world = World::new(small(64));
        for _ in 0..300 {
            let count = random.random_range(0..=20);
            world.batch(&identifiers(random, count, 20), End::Commit);
            let keys = world.asked_keys();
            if keys.is_empty() || random.random_ratio(29, 30) {
                continue;
            }
            let (table, key) = keys[random.random_range(0..keys.len())].clone();
            let (h, id) = (keys::stored_hash(key.hash), key.id);
            let newest = world.next_id - 1;
            for (change, lost, told) in [
                (format!("DELETE FROM {table} WHERE h = {h} AND id = {id}"), true, ""),
                (format!("UPDATE {table} SET id = 0 WHERE h = {h} AND id = {id}"), true, ""),
                (format!("UPDATE {table} SET h = h | 1 WHERE h = {h} AND id = {id}"), true, ""),
                (format!("INSERT INTO {table} VALUES ({h}, 0)"), false, ""),
                (format!("INSERT INTO {table} VALUES ({h}, {newest} + 100000)"), false, "which is not there"),
                (format!("DROP TABLE {table}"), true, "no such table"),
                ("DELETE FROM op_run_filter".to_owned(), false, "was removed"),
                ("UPDATE op_run_filter SET bits = zeroblob(length(bits))".to_owned(), false, "was changed"),
                ("UPDATE op_run_filter SET bits = x'', checksum = 1".to_owned(), false, "was changed"),
            ] {
                world.connection.execute_batch(&format!("BEGIN; {change}")).unwrap();
                let changed = world.connection.changes() > 0 || !change.contains("op_run_filter");
                let (faults, ids) = world.proven(|_| false);
                let place = format!("{change}: {faults:?}");
                assert_eq!(ids.contains(&id), lost, "{place}");
                if told.is_empty() {
                    assert!(faults.iter().any(|fault| matches!(fault, Fault::Rows(_))), "{place}");
                } else if changed {
                    let problem = |fault: &Fault| matches!(fault, Fault::Run { problem, .. } if problem.contains(told));
                    assert!(faults.iter().any(problem), "{place}");
                }
                world.connection.execute_batch("ROLLBACK").unwrap();
            }
        }
    });
}

/// A piece of a filter that carries its own sum and denies a key which the run has.
#[test]
fn the_proof_finds_a_filter_that_denies_a_key() {
    let mut world = World::new(small(64));
    for number in 0..300 {
        world.batch(&[(1, number.to_string())], End::Commit);
    }
    let run = world.index.runs[0].meta;
    let bits = world.index.runs[0].filter.chunk_bytes(0);
    let empty = vec![0_u8; bits.len()];
    let sum = xxhash_rust::xxh3::xxh3_64(&empty).cast_signed();
    let sql = "UPDATE op_run_filter SET bits = ?, checksum = ? WHERE n = ? AND chunk = 0";
    assert_eq!(world.connection.execute(sql, rusqlite::params![empty, sum, run.n]).unwrap(), 1);
    let (faults, _) = world.proven(|_| false);
    let denies =
        |fault: &Fault| matches!(fault, Fault::Run { n, problem } if *n == run.n && problem.contains("denies"));
    assert!(faults.iter().any(denies), "{faults:?}");
}

/// What a run's row says of it decides which rows its index has to have.
#[test]
fn the_proof_finds_a_run_that_says_too_much() {
    let mut world = World::new(small(64));
    for number in 0..330 {
        world.batch(&[(1, number.to_string())], End::Commit);
    }
    let newest = world.next_id - 1;
    for change in [
        format!("last_id = {newest} WHERE n = (SELECT max(n) FROM op_run_meta WHERE state = 'live')"),
        "keys = keys * 9 WHERE state = 'live'".to_owned(),
        "cursor = 9223372036854775807 WHERE state = 'building'".to_owned(),
    ] {
        world.connection.execute_batch("BEGIN").unwrap();
        let sql = format!("UPDATE op_run_meta SET {change}");
        assert!(world.connection.execute(&sql, []).unwrap() > 0, "{change}");
        let (faults, lost) = world.proven(|_| false);
        assert!(!faults.is_empty() && !lost.is_empty(), "{change}: {faults:?}");
        world.connection.execute_batch("ROLLBACK").unwrap();
    }
}

/// A merge that lost a part of itself would leave identifiers unfound, and so count operations twice.
#[test]
fn a_merge_that_does_not_fit_its_runs_is_damage() {
    let division = Division { chunk_blocks: 1, segment_chunks: 1 };
    let mut world = World::new(RunSettings { hash_bits: 6, slice_keys: 1, merge_slice_keys: 2, division, ..small(8) });
    let mut number = 0;
    for (phase, damage, what) in [
        (Phase::Copying, "merged_into = NULL WHERE merged_into IS NOT NULL", "a merge of no runs"),
        (Phase::Copying, "merged_into = 9999 WHERE merged_into IS NOT NULL", "one that is not there"),
        (Phase::CopyingAndDropping, "merged_into = NULL WHERE cursor IS NOT NULL", "lost keys that no other has"),
    ] {
        while Phase::of(&world.index) != phase {
            world.batch(&[(1, number.to_string())], End::Commit);
            number += 1;
            assert!(number < 5_000, "never met {phase:?}");
        }
        world.connection.execute_batch("BEGIN").unwrap();
        assert!(world.connection.execute(&format!("UPDATE op_run_meta SET {damage}"), []).unwrap() > 0);
        let opened = open(&world.connection, world.settings).map(|_| ()).unwrap_err();
        assert!(opened.to_string().contains(what), "{damage}: {opened}");
        world.connection.execute_batch("ROLLBACK").unwrap();
    }
    world.reopen();
    world.check();
}

#[test]
fn hashes_are_fixed_for_a_file() {
    let world = World::new(RunSettings::default());
    assert_eq!(world.index.hash(7, "op-1"), 0x13fa_da09_04bf_c380, "never change this: files hold it");
    let small = World::new(small(64));
    assert_eq!(small.index.hash(7, "op-1"), world.index.hash(7, "op-1") >> 52 << 52);
    assert_ne!(world.index.hash(7, "op-1"), world.index.hash(8, "op-1"));
}

//! The duplicate index: which rows of a table may be the one that an identifier already has.
//!
//! A table whose rows come in ascending ids has a second key (user number, text), and nothing about that key may ever
//! be forgotten. An ordinary index would touch a random page for each row. Here the newest keys lie in a **memory map**
//! (the caller's rows are their durable form); when it is full it is **frozen** and sorted, and moves, a little with
//! each batch, into a **run**: a table that is only written at its end. A finished run has a Bloom filter in memory, so
//! a new key is known to be new without reading anything. Runs of similar size are merged.
//!
//! The index knows hashes only. It answers with *candidates*: every row under the hash, which the caller compares with
//! the identifier itself. A collision is never a duplicate, and never hides one.
//!
//! **Transactions.** All that the file holds about a run (its keys, its filter, how far it is) moves in the caller's
//! transaction, and what the memory holds follows at [`RunIndex::commit_batch`] or goes back at
//! [`RunIndex::rollback_batch`]. Between batches the memory equals what [`RunIndex::open`] makes of the file.
//!
//! It leaves to others: what the rows are, when a batch begins, and the transaction around it. One connection writes;
//! its statement cache should hold a hundred statements.

pub mod events;
mod filter;
mod keys;
mod merge;
mod proof;
mod shape;
mod tables;

use rusqlite::Connection;
use thiserror::Error;

pub use keys::HashKey;
pub use proof::{Fault, Proof};
pub use shape::Division;

use events::tell;
use filter::{Filter, Probe};
use keys::{FrozenKeys, Key, KeyMap};
use merge::{Merge, Merged};
use shape::behind;
use tables::{Piece, RunMeta, RunState, Tables};

/// Keys that merges may copy for each key that comes.
const MERGED_PER_INSERTED: u64 = 2;

/// What the duplicate index failed at.
#[derive(Debug, Error)]
pub enum RunError {
    /// `SQLite` refused.
    #[error("use the tables of the duplicate index")]
    Sqlite(#[from] rusqlite::Error),
    /// The tables contradict each other: the file was changed by something else, or is broken.
    #[error("trust the duplicate index: {0}")]
    Damaged(String),
}

/// How the index trades memory for work. A simulation makes all of it small, to meet what happens where it ends.
#[derive(Debug, Clone, Copy)]
pub struct RunSettings {
    /// Keys of the memory map before it is frozen. Two maps of this size may be in memory: 26 bytes a key, twice.
    pub map_keys: usize,
    /// Bits of a hash that count, from the highest. Fewer than 64 are for tests that need collisions; a file must
    /// always be opened with the same number.
    pub hash_bits: u32,
    /// Runs of similar size that are merged into one. Each run costs a new key a read of memory.
    pub merge_runs: usize,
    /// How finely runs are divided; a file must always be opened with the same.
    pub division: Division,
    /// Keys that are worth a write to a run's last page. Fewer wait for a later batch, so that small batches do not each
    /// write a page for two keys.
    pub slice_keys: usize,
    /// Keys that are worth a slice of a merge, which reads from every run that it merges.
    pub merge_slice_keys: u64,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            map_keys: 500_000,
            hash_bits: 64,
            merge_runs: 8,
            division: Division::OF_FILES,
            slice_keys: 128,
            merge_slice_keys: 512,
        }
    }
}

/// A finished run.
#[derive(Debug)]
struct Run {
    meta: RunMeta,
    filter: Filter,
}

/// A full map on its way into a run. It is asked until the run is finished.
#[derive(Debug)]
struct Frozen {
    meta: RunMeta,
    keys: FrozenKeys,
    /// How many of the keys the run has.
    moved: usize,
    /// Of all the keys, moved or not.
    filter: Filter,
}

impl Frozen {
    fn new(tables: &Tables, meta: RunMeta, mut keys: FrozenKeys) -> Self {
        let mut filter = Filter::new(tables.shape(&meta));
        for key in keys.iter() {
            filter.add(key.hash);
        }
        let moved = meta.cursor.map_or(0, |cursor| keys.count_up_to(cursor));
        Self { meta, keys, moved, filter }
    }
}

/// What the transaction of the batch did to the file, and the memory does when it is committed.
#[derive(Debug, Default)]
struct Pending {
    /// The frozen map's new progress. Finished when all its keys are moved.
    built: Option<Built>,
    /// The map becomes this run.
    frozen: Option<RunMeta>,
    merged: Option<Merged>,
}

impl Pending {
    fn tell_of_rollback(&self) {
        if let Some(meta) = &self.frozen {
            tell!(events::UNDONE_FROZEN, meta.n);
        }
        if self.built.is_some() {
            tell!(events::UNDONE_BUILDING);
        }
        if self.merged.is_some() {
            tell!(events::UNDONE_MERGING);
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Built {
    moved: usize,
    cursor: Option<u64>,
    finished: bool,
}

#[derive(Debug, Default)]
struct Batch {
    open: bool,
    stepped: bool,
    inserted: Vec<Key>,
    map_ids_before: Option<(u64, u64)>,
    merge_credit_before: u64,
    pending: Pending,
}

/// The duplicate index of one table, under one table prefix. See the module.
#[derive(Debug)]
pub struct RunIndex {
    tables: Tables,
    key: HashKey,
    settings: RunSettings,
    hash_mask: u64,
    map: KeyMap,
    /// The lowest and the highest id in the map.
    map_ids: Option<(u64, u64)>,
    frozen: Option<Frozen>,
    /// Oldest number first.
    runs: Vec<Run>,
    merge: Option<Merge>,
    /// Keys that merges may copy now. It is not kept: what a restart forgets, later keys bring again.
    merge_credit: u64,
    next_n: i64,
    batch: Batch,
}

impl RunIndex {
    /// Makes the tables of an index that has no keys. `prefix` is lower-case letters, e.g. `op` for `op_run_meta`.
    ///
    /// # Errors
    /// When `SQLite` refuses, e.g. because the tables are there.
    pub fn create_tables(connection: &Connection, prefix: &str) -> Result<(), RunError> {
        Tables::new(prefix, Division::OF_FILES).create(connection)?;
        Ok(())
    }

    /// Loads the index, and takes from `rebuild` what only the caller's table holds.
    ///
    /// `rebuild(after_id, sink)` calls `sink(user_no, text, id)` for each row with an id above `after_id`, in ascending
    /// order of ids. Rows whose text was erased are left out.
    ///
    /// # Errors
    /// When `SQLite` or `rebuild` fails, and when the tables contradict each other.
    pub fn open(
        connection: &Connection,
        prefix: &str,
        key: HashKey,
        settings: RunSettings,
        rebuild: impl FnOnce(u64, &mut dyn FnMut(u64, &str, u64)) -> rusqlite::Result<()>,
    ) -> Result<Self, RunError> {
        let tables = Tables::new(prefix, settings.division);
        let mut building = None;
        let mut merge = None;
        let mut runs = Vec::new();
        let mut next_n = 1;
        for meta in tables.load_meta(connection)? {
            next_n = meta.n + 1;
            match meta.state {
                RunState::Building if building.is_none() => building = Some(meta),
                RunState::Merging if merge.is_none() => {
                    let filter = load_filter(&tables, connection, &meta, None, meta.cursor)?;
                    merge = Some(Merge { meta, filter });
                }
                RunState::Live => {
                    let filter = load_filter(&tables, connection, &meta, meta.cursor, Some(u64::MAX))?;
                    runs.push(Run { meta, filter });
                }
                state => {
                    return Err(RunError::Damaged(format!("run {} is a second one that is {state:?}", meta.n)));
                }
            }
        }
        check_merge(&runs, merge.as_ref())?;
        tell_of_open(&runs, merge.as_ref());
        let mut index = Self {
            tables,
            key,
            settings,
            hash_mask: u64::MAX << (64 - settings.hash_bits.clamp(1, 64)),
            map: KeyMap::with_room_for(settings.map_keys),
            map_ids: None,
            frozen: None,
            runs,
            merge,
            merge_credit: 0,
            next_n,
            batch: Batch::default(),
        };
        index.take_rows(building, rebuild)?;
        Ok(index)
    }

    fn take_rows(
        &mut self,
        building: Option<RunMeta>,
        rebuild: impl FnOnce(u64, &mut dyn FnMut(u64, &str, u64)) -> rusqlite::Result<()>,
    ) -> Result<(), RunError> {
        let finished = self.runs.iter().map(|run| run.meta).chain(self.merge.as_ref().map(|merge| merge.meta));
        let finished_id = finished.map(|run| run.last_id).max().unwrap_or(0);
        let frozen_id = building.map_or(finished_id, |run| run.last_id);
        let mut frozen = Vec::new();
        rebuild(finished_id, &mut |user_no, text, id| {
            let key = Key { hash: self.hash(user_no, text), id };
            if id <= frozen_id {
                frozen.push(key);
            } else {
                self.put(key);
            }
        })?;
        if let Some(meta) = building {
            if meta.cursor.is_some() {
                tell!(events::OPENED_BUILDING, meta.n);
            } else {
                tell!(events::OPENED_FROZEN, meta.n);
            }
            self.frozen = Some(Frozen::new(&self.tables, meta, FrozenKeys::new(frozen.iter().copied())));
        }
        Ok(())
    }

    /// The hash of an identifier of a user, under the file's key.
    #[inline]
    pub fn hash(&self, user_no: u64, text: &str) -> u64 {
        self.key.hash(user_no, text) & self.hash_mask
    }

    /// Every row that was inserted under the hash, in no particular order. Most are the row of the identifier that was
    /// hashed; some are of others.
    ///
    /// For a hash that is new this reads memory only, and allocates nothing.
    ///
    /// # Errors
    /// When a run cannot be read.
    #[inline]
    pub fn candidates(&self, connection: &Connection, hash: u64) -> Result<Vec<u64>, RunError> {
        let mut ids = Vec::new();
        for id in self.map.ids(hash) {
            ids.push(id);
        }
        let probe = Probe::new(hash);
        if let Some(frozen) = &self.frozen
            && frozen.filter.may_hold(&probe)
        {
            frozen.keys.find_ids(hash, &mut ids);
        }
        for run in &self.runs {
            if run.filter.may_hold(&probe) && !(run.meta.merged_into.is_some() && self.is_merged(hash)) {
                self.tables.find_ids(connection, &run.meta, hash, &mut ids)?;
            }
        }
        if let Some(merge) = &self.merge
            && merge.filter.may_hold(&probe)
            && self.is_merged(hash)
        {
            self.tables.find_ids(connection, &merge.meta, hash, &mut ids)?;
        }
        Ok(ids)
    }

    /// Whether the merge has the keys of a hash, so that its sources are not asked for it.
    fn is_merged(&self, hash: u64) -> bool {
        self.merge.as_ref().and_then(|merge| merge.meta.cursor).is_some_and(|cursor| hash <= cursor)
    }

    /// Begins a batch: what follows belongs to one transaction of the caller.
    ///
    /// # Panics
    /// When the batch before it was neither committed nor rolled back.
    pub fn begin_batch(&mut self) {
        assert!(!self.batch.open, "a batch begins after the one before it was committed or rolled back");
        self.batch = Batch {
            open: true,
            map_ids_before: self.map_ids,
            merge_credit_before: self.merge_credit,
            ..Batch::default()
        };
    }

    /// Adds the row that the caller writes in the same transaction.
    ///
    /// # Panics
    /// Outside a batch or after its step, and when the id does not ascend.
    pub fn insert(&mut self, hash: u64, id: u64) {
        assert!(self.batch.open && !self.batch.stepped, "keys go into a batch, before its step");
        let key = Key { hash, id };
        self.put(key);
        self.batch.inserted.push(key);
    }

    fn put(&mut self, key: Key) {
        let (lowest, highest) = self.map_ids.unwrap_or((key.id, 0));
        assert!(key.id > highest, "row {} comes after row {highest}", key.id);
        self.map_ids = Some((lowest, key.id));
        self.map.insert(key);
    }

    /// Does the index's own work for the batch in the caller's transaction, after the batch's last insert: moves keys
    /// of the frozen map into its run, and freezes the map when it is full.
    ///
    /// # Errors
    /// When `SQLite` refuses; the transaction and the batch must then be rolled back.
    ///
    /// # Panics
    /// Outside a batch, and when the batch had its step.
    pub fn step(&mut self, connection: &Connection) -> Result<(), RunError> {
        assert!(self.batch.open && !self.batch.stepped, "a batch has one step");
        self.batch.stepped = true;
        self.build(connection)?;
        self.freeze_when_full(connection)?;
        self.merge(connection)
    }

    /// Whether [`RunIndex::idle_step`] would find something to do.
    pub fn has_idle_work(&self) -> bool {
        self.has_merge_work()
    }

    /// The step of a batch without keys, in a transaction of its own while the caller has nothing else to do: goes on
    /// with merges, by work worth copying about `keys` keys (8,000 take some 10 ms).
    ///
    /// # Errors
    /// As [`RunIndex::step`].
    ///
    /// # Panics
    /// As [`RunIndex::step`].
    pub fn idle_step(&mut self, connection: &Connection, keys: u64) -> Result<(), RunError> {
        self.merge_credit = self.merge_credit.max(keys.max(self.settings.merge_slice_keys));
        self.step(connection)
    }

    /// Goes on with merges when the keys that came since the last slice are worth one.
    fn merge(&mut self, connection: &Connection) -> Result<(), RunError> {
        let inserted = u64::try_from(self.batch.inserted.len()).expect("a length fits in 64 bits");
        self.merge_credit += inserted * MERGED_PER_INSERTED;
        if self.merge_credit < self.settings.merge_slice_keys {
            return Ok(());
        }
        let credit = std::mem::take(&mut self.merge_credit);
        self.batch.pending.merged = self.merge_slice(connection, credit)?;
        Ok(())
    }

    /// The transaction was committed: the memory follows the file.
    pub fn commit_batch(&mut self) {
        let pending = self.end_batch().pending;
        if let Some(built) = pending.built
            && let Some(mut frozen) = self.frozen.take()
        {
            if built.finished {
                tell!(events::BUILT, frozen.meta.n);
                let meta = RunMeta { state: RunState::Live, cursor: None, ..frozen.meta };
                self.add_run(Run { meta, filter: frozen.filter });
            } else {
                tell!(events::BUILDING, frozen.meta.n);
                frozen.moved = built.moved;
                frozen.meta.cursor = built.cursor;
                self.frozen = Some(frozen);
            }
        }
        if let Some(meta) = pending.frozen {
            tell!(events::FROZEN, meta.n);
            self.next_n = meta.n + 1;
            self.map_ids = None;
            self.frozen = Some(Frozen::new(&self.tables, meta, self.map.take()));
        }
        if let Some(merged) = pending.merged {
            self.commit_merged(merged);
        }
    }

    fn add_run(&mut self, run: Run) {
        self.runs.push(run);
        self.runs.sort_unstable_by_key(|run| run.meta.n);
    }

    /// The transaction was rolled back: the memory forgets the batch.
    pub fn rollback_batch(&mut self) {
        let batch = self.end_batch();
        batch.pending.tell_of_rollback();
        for key in &batch.inserted {
            self.map.remove(*key);
        }
        self.map_ids = batch.map_ids_before;
        self.merge_credit = batch.merge_credit_before;
    }

    fn end_batch(&mut self) -> Batch {
        assert!(self.batch.open, "a batch is ended once");
        std::mem::take(&mut self.batch)
    }

    /// Moves what is due of the frozen map.
    ///
    /// What is due depends on nothing but how full the next map is: all keys of the frozen one lie in their run when
    /// the next is two thirds full, which is 1.5 keys for each key that comes. So a frozen map never waits for another.
    fn build(&mut self, connection: &Connection) -> Result<(), RunError> {
        let Some(frozen) = &mut self.frozen else {
            return Ok(());
        };
        let total = frozen.keys.len();
        let due = share(total, self.map.len(), self.settings.map_keys);
        if due < total && due < frozen.moved + self.settings.slice_keys {
            return Ok(());
        }
        let slice = frozen.keys.slice(frozen.moved, due);
        let moved = frozen.moved + slice.len();
        let finished = moved == total;
        let cursor = if finished { Some(u64::MAX) } else { slice.last().map(|key| key.hash) };
        if let Some(cursor) = cursor {
            self.tables.append(connection, &frozen.meta, &frozen.filter, cursor, slice)?;
        }
        if finished {
            self.tables.set_progress(connection, frozen.meta.n, RunState::Live, None)?;
        } else {
            self.tables.set_progress(connection, frozen.meta.n, RunState::Building, cursor)?;
        }
        self.batch.pending.built = Some(Built { moved, cursor, finished });
        Ok(())
    }

    /// The number of the next run that this batch makes.
    fn free_n(&self) -> i64 {
        self.next_n + i64::from(self.batch.pending.frozen.is_some())
    }

    fn freeze_when_full(&mut self, connection: &Connection) -> Result<(), RunError> {
        let waits = self.frozen.is_some() && !self.batch.pending.built.is_some_and(|built| built.finished);
        let Some((first_id, last_id)) = self.map_ids else {
            return Ok(());
        };
        if self.map.len() < self.settings.map_keys || waits {
            return Ok(());
        }
        let meta = RunMeta {
            n: self.free_n(),
            first_id,
            last_id,
            keys: u64::try_from(self.map.len()).expect("a length fits in 64 bits"),
            state: RunState::Building,
            cursor: None,
            merged_into: None,
        };
        self.tables.create_run(connection, &meta)?;
        self.batch.pending.frozen = Some(meta);
        Ok(())
    }
}

/// How many of `total` frozen keys must be in their run when the map has `filled` keys of `full`.
fn share(total: usize, filled: usize, full: usize) -> usize {
    if filled >= full {
        return total;
    }
    let wide = |number: usize| u128::try_from(number).expect("a length fits in 128 bits");
    let due = (wide(total) * wide(filled) * 3).div_ceil(wide(full) * 2);
    usize::try_from(due).unwrap_or(usize::MAX).min(total)
}

/// Says what a start goes on with.
fn tell_of_open(runs: &[Run], merge: Option<&Merge>) {
    let Some(merge) = merge else { return };
    let n = merge.meta.n;
    if merge.meta.cursor.is_some() {
        tell!(events::OPENED_MERGING, n);
    } else {
        tell!(events::OPENED_MERGE, n);
    }
    if runs.iter().any(|run| run.meta.cursor.is_some()) {
        tell!(events::OPENED_DROPPING, n);
    }
}

/// The runs that name a merge, and only they, are its sources.
fn check_merge(runs: &[Run], merge: Option<&Merge>) -> Result<(), RunError> {
    let target = merge.map(|merge| merge.meta.n);
    for run in runs {
        if run.meta.merged_into.is_some() && run.meta.merged_into != target {
            return Err(RunError::Damaged(format!("run {} is merged into one that is not there", run.meta.n)));
        }
        if run.meta.merged_into.is_none() && run.meta.cursor.is_some() {
            return Err(RunError::Damaged(format!("run {} lost keys that no other has", run.meta.n)));
        }
    }
    if let Some(target) = target
        && !runs.iter().any(|run| run.meta.merged_into == Some(target))
    {
        return Err(RunError::Damaged(format!("run {target} is a merge of no runs")));
    }
    Ok(())
}

/// The filter of a run for the hashes behind `after`, up to `until`. A stored piece that is not there or was damaged is
/// computed from the keys, and so is the last piece when it is not whole yet.
fn load_filter(
    tables: &Tables,
    connection: &Connection,
    run: &RunMeta,
    after: Option<u64>,
    until: Option<u64>,
) -> Result<Filter, RunError> {
    let shape = tables.shape(run);
    let mut filter = Filter::new(shape);
    let Some(until) = until else {
        return Ok(filter);
    };
    let whole = shape.chunks_done_at(Some(until));
    for chunk in shape.chunks_done_at(after)..shape.chunks().min(whole + 1) {
        if chunk < whole {
            if let Piece::Whole(bits) = tables.load_piece(connection, run.n, chunk)?
                && filter.load_chunk(chunk, &bits)
            {
                continue;
            }
            tracing::warn!(run = run.n, chunk, "a piece of the duplicate index's filter is computed anew");
        }
        let (first, last) = shape.hashes_of_chunk(chunk);
        let missing = (first.max(behind(after)), last.min(until));
        tables.read_keys(connection, run, missing, |key| filter.add(key.hash))?;
    }
    Ok(filter)
}

#[cfg(test)]
mod tests;

#[cfg(test)]
mod bench;

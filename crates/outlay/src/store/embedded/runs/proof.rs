//! Proves that an index finds every row that has an identifier, from the file alone: a row that it does not find would be
//! recorded a second time.
//!
//! Rows come in the order of their ids and keys in that of their hashes, and neither fits in memory. So both are added up,
//! for each few thousand ids, in sums that do not depend on the order. Where the two sums differ, the rows are looked for
//! one by one.

use std::ops::RangeInclusive;

use rusqlite::Connection;

use super::filter::{mix, piece_holds};
use super::keys::{HashKey, Key};
use super::shape::behind;
use super::tables::{Piece, RunMeta, RunState, Tables};
use super::{RunError, RunIndex};

/// Ids of which one sum is kept, of 16 bytes.
const IDS_PER_SUM: u64 = 4096;

/// The keys of a stretch of ids.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Sum {
    keys: u64,
    mixed: u64,
}

impl Sum {
    fn add(&mut self, key: Key) {
        self.keys += 1;
        self.mixed = self.mixed.wrapping_add(mix(key.hash ^ mix(key.id)));
    }
}

/// What is wrong with an index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// A run that is damaged in a way of its own.
    Run {
        /// Its number.
        n: i64,
        /// What is wrong with it.
        problem: String,
    },
    /// Among the rows with these ids some are not found, or there are keys of none of them.
    Rows(RangeInclusive<u64>),
}

/// The rows of a table so far, each of which its index has to find. See the module.
#[derive(Debug)]
pub struct Proof {
    tables: Tables,
    key: HashKey,
    hash_mask: u64,
    runs: Vec<RunMeta>,
    /// The merge's cursor: up to it the merge is asked, and behind it what it merges.
    merged: Option<u64>,
    /// Keys of rows up to this id lie in runs that are finished.
    finished_id: u64,
    expected: Vec<Sum>,
    /// Rows that lost their texts, in order. Their keys may be there and cannot be computed any more.
    erased: Vec<u64>,
}

impl RunIndex {
    /// Begins to prove the index as the file has it now, which must stay so until [`Proof::faults`].
    ///
    /// # Errors
    /// As [`RunIndex::open`].
    pub fn proof(&self, connection: &Connection) -> Result<Proof, RunError> {
        let runs = self.tables.load_meta(connection)?;
        let finished = runs.iter().filter(|run| run.state != RunState::Building);
        Ok(Proof {
            tables: self.tables.clone(),
            key: self.key,
            hash_mask: self.hash_mask,
            merged: runs.iter().find(|run| run.state == RunState::Merging).and_then(|run| run.cursor),
            finished_id: finished.map(|run| run.last_id).max().unwrap_or(0),
            runs,
            expected: Vec::new(),
            erased: Vec::new(),
        })
    }
}

impl Proof {
    /// A row of the table, in ascending order of ids; the text is empty where it was erased.
    pub fn row(&mut self, user_no: u64, text: &str, id: u64) {
        if text.is_empty() {
            self.erased.push(id);
        } else if let Some(key) = self.key_in_runs(user_no, text, id) {
            let place = stretch(id);
            if self.expected.len() <= place {
                self.expected.resize(place + 1, Sum::default());
            }
            if let Some(sum) = self.expected.get_mut(place) {
                sum.add(key);
            }
        }
    }

    /// The key of a row, unless the index has it from the table itself when it is opened.
    fn key_in_runs(&self, user_no: u64, text: &str, id: u64) -> Option<Key> {
        let hash = self.key.hash(user_no, text) & self.hash_mask;
        let is_built = |run: &RunMeta| {
            run.state == RunState::Building && id <= run.last_id && run.cursor.is_some_and(|cursor| hash <= cursor)
        };
        (id <= self.finished_id || self.runs.iter().any(is_built)).then_some(Key { hash, id })
    }

    /// Reads every key of the index, and gives what does not fit the rows.
    ///
    /// # Errors
    /// When the file cannot be read. A run that cannot is a fault.
    pub fn faults(&self, connection: &Connection) -> Result<Vec<Fault>, RunError> {
        let mut found = vec![Sum::default(); self.expected.len()];
        let mut faults = Vec::new();
        for run in &self.runs {
            let Some(hashes) = self.asked(run) else { continue };
            let problem = match self.read_run(connection, run, hashes, &mut found) {
                Err(RunError::Sqlite(error)) => Some(error.to_string()),
                read => read?,
            };
            faults.extend(problem.map(|problem| Fault::Run { n: run.n, problem }));
        }
        let differ = self.expected.iter().zip(&found).enumerate().filter(|(_, (expected, found))| expected != found);
        faults.extend(differ.map(|(place, _)| Fault::Rows(ids(place))));
        Ok(faults)
    }

    /// The lowest and the highest hash for which a run is asked.
    fn asked(&self, run: &RunMeta) -> Option<(u64, u64)> {
        match run.state {
            RunState::Live if run.merged_into.is_some() => {
                let after = run.cursor.max(self.merged);
                (after != Some(u64::MAX)).then(|| (behind(after), u64::MAX))
            }
            RunState::Live => Some((0, u64::MAX)),
            RunState::Building | RunState::Merging => run.cursor.map(|cursor| (0, cursor)),
        }
    }

    /// Adds up the keys of a run for which it is asked, and gives the first problem of its own.
    fn read_run(
        &self,
        connection: &Connection,
        run: &RunMeta,
        (first, last): (u64, u64),
        found: &mut [Sum],
    ) -> Result<Option<String>, RunError> {
        let shape = self.tables.shape(run);
        let mut problem = None;
        let mut tell = |said: String| {
            problem.get_or_insert(said);
        };
        for chunk in shape.chunks_done_at(first.checked_sub(1))..shape.chunks() {
            let (lowest, highest) = shape.hashes_of_chunk(chunk);
            if lowest > last {
                break;
            }
            let piece = self.tables.load_piece(connection, run.n, chunk)?;
            let bits = match &piece {
                Piece::Whole(bits) => Some(bits.as_slice()),
                Piece::Changed => {
                    tell(format!("piece {chunk} of its filter was changed"));
                    None
                }
                // The last one of a run that is not whole yet is not stored.
                Piece::Missing => {
                    if highest <= last {
                        tell(format!("piece {chunk} of its filter was removed"));
                    }
                    None
                }
            };
            self.tables.read_keys(connection, run, (lowest.max(first), highest.min(last)), |key| {
                // A run that was built over a restart may have the key of a row that had lost its text by then, and its
                // filter may lack it: nobody asks for it.
                if self.erased.binary_search(&key.id).is_ok() {
                    return;
                }
                if bits.is_some_and(|bits| !piece_holds(shape, chunk, bits, key.hash)) {
                    tell(format!("its filter denies the key of row {}", key.id));
                }
                match found.get_mut(stretch(key.id)) {
                    Some(sum) => sum.add(key),
                    None => tell(format!("it has a key of row {}, which is not there", key.id)),
                }
            })?;
        }
        Ok(problem)
    }

    /// Whether the index finds a row of the table, among those of [`Fault::Rows`].
    pub fn finds(&self, connection: &Connection, user_no: u64, text: &str, id: u64) -> bool {
        let Some(key) = self.key_in_runs(user_no, text, id) else { return true };
        let mut ids = Vec::new();
        for run in &self.runs {
            if self.asked(run).is_some_and(|(first, last)| (first..=last).contains(&key.hash)) {
                // A run that cannot be read finds nothing, and is a fault of its own.
                self.tables.find_ids(connection, run, key.hash, &mut ids).ok();
            }
        }
        ids.contains(&id)
    }
}

fn stretch(id: u64) -> usize {
    usize::try_from(id / IDS_PER_SUM).unwrap_or(usize::MAX)
}

fn ids(place: usize) -> RangeInclusive<u64> {
    let first = u64::try_from(place).expect("a place fits in 64 bits") * IDS_PER_SUM;
    first..=first + (IDS_PER_SUM - 1)
}

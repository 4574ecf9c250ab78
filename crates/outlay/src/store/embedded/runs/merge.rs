//! Merges runs of similar size into one, a slice of the hashes at a time.
//!
//! A merge copies the keys of its sources in order, up to a cursor. Up to the cursor the target is asked, behind it the
//! sources are. A source's segment that lies whole below the cursor is dropped in a later batch, so that a merge never
//! holds its keys twice over and no drop takes longer than a segment does. When the last source is gone the target is
//! live. Nothing here is urgent: a merge that lags costs reads of memory for new keys, and the longer it lags, the more
//! runs the next merge takes at once.

use rusqlite::Connection;

use super::events::{self, tell};
use super::filter::Filter;
use super::keys::Key;
use super::shape::behind;
use super::tables::{RunMeta, RunState, Tables};
use super::{Run, RunError, RunIndex, RunSettings};

/// Runs that one merge takes at most: each is read for every slice.
const SOURCES_MAX: usize = 32;

/// A merge, whose sources are the runs that name it in `merged_into`.
#[derive(Debug)]
pub(super) struct Merge {
    pub(super) meta: RunMeta,
    /// Whole up to the cursor. A batch that was rolled back may have left later keys in it, which come again.
    pub(super) filter: Filter,
}

/// What one slice of the work did in the file, and does in memory when it is committed.
#[derive(Debug)]
pub(super) enum Merged {
    /// A merge of these runs begins.
    Begun(RunMeta, Vec<i64>),
    /// The merge has the keys up to this hash.
    Copied(u64),
    /// A source has no segments up to this hash; at the highest hash it is gone, and the merge is finished with the
    /// last source.
    Dropped(i64, u64),
}

impl RunIndex {
    /// Does work worth copying `keys` keys, if there is any.
    pub(super) fn merge_slice(&mut self, connection: &Connection, keys: u64) -> Result<Option<Merged>, RunError> {
        let Some(merge) = &mut self.merge else {
            return self.begin_merge(connection);
        };
        let sources: Vec<RunMeta> = sources(&self.runs, merge.meta.n).map(|run| run.meta).collect();
        for source in &sources {
            let shape = self.tables.shape(source);
            let segment = shape.segment_of(behind(source.cursor));
            let (_, last) = shape.hashes_of_segment(segment);
            if merge.meta.cursor.is_some_and(|cursor| last <= cursor) {
                self.tables.drop_segment(connection, source, segment)?;
                if last == u64::MAX && sources.len() == 1 {
                    self.tables.set_progress(connection, merge.meta.n, RunState::Live, None)?;
                }
                return Ok(Some(Merged::Dropped(source.n, last)));
            }
        }
        let last = copy_slice(connection, &self.tables, merge, &sources, keys)?;
        Ok(Some(Merged::Copied(last)))
    }

    fn begin_merge(&self, connection: &Connection) -> Result<Option<Merged>, RunError> {
        let Some(sources) = due(&self.runs, &self.settings) else {
            return Ok(None);
        };
        let meta = RunMeta {
            n: self.free_n(),
            first_id: sources.iter().map(|run| run.first_id).min().unwrap_or(0),
            last_id: sources.iter().map(|run| run.last_id).max().unwrap_or(0),
            keys: sources.iter().map(|run| run.keys).sum(),
            state: RunState::Merging,
            cursor: None,
            merged_into: None,
        };
        let sources: Vec<i64> = sources.iter().map(|run| run.n).collect();
        self.tables.create_run(connection, &meta)?;
        self.tables.set_merged_into(connection, &sources, meta.n)?;
        Ok(Some(Merged::Begun(meta, sources)))
    }

    pub(super) fn has_merge_work(&self) -> bool {
        self.merge.is_some() || due(&self.runs, &self.settings).is_some()
    }

    /// Makes the memory follow the file.
    pub(super) fn commit_merged(&mut self, merged: Merged) {
        match merged {
            Merged::Begun(meta, sources) => {
                tell!(events::MERGE, meta.n);
                for run in self.runs.iter_mut().filter(|run| sources.contains(&run.meta.n)) {
                    run.meta.merged_into = Some(meta.n);
                }
                self.next_n = meta.n + 1;
                self.merge = Some(Merge { meta, filter: Filter::new(self.tables.shape(&meta)) });
            }
            Merged::Copied(cursor) => {
                if let Some(merge) = &mut self.merge {
                    tell!(events::MERGING, merge.meta.n);
                    merge.meta.cursor = Some(cursor);
                }
            }
            Merged::Dropped(n, u64::MAX) => {
                self.runs.retain(|run| run.meta.n != n);
                self.finish_merge();
            }
            Merged::Dropped(n, cursor) => {
                tell!(events::DROPPING, n);
                if let Some(run) = self.runs.iter_mut().find(|run| run.meta.n == n) {
                    run.meta.cursor = Some(cursor);
                }
            }
        }
    }

    fn finish_merge(&mut self) {
        if let Some(mut merge) = self.merge.take_if(|merge| sources(&self.runs, merge.meta.n).next().is_none()) {
            tell!(events::MERGED, merge.meta.n);
            merge.meta.cursor = None;
            merge.meta.state = RunState::Live;
            self.add_run(Run { meta: merge.meta, filter: merge.filter });
        }
    }
}

fn sources(runs: &[Run], target: i64) -> impl Iterator<Item = &Run> {
    runs.iter().filter(move |run| run.meta.merged_into == Some(target))
}

/// Copies the keys of the next hashes from all sources, and gives the highest hash that is done.
fn copy_slice(
    connection: &Connection,
    tables: &Tables,
    merge: &mut Merge,
    sources: &[RunMeta],
    keys: u64,
) -> Result<u64, RunError> {
    let (first, last) = slice_of(&merge.meta, keys);
    let mut slice: Vec<Key> = Vec::new();
    for source in sources {
        tables.read_keys(connection, source, (first, last), |key| slice.push(key))?;
    }
    slice.sort_unstable();
    for key in &slice {
        merge.filter.add(key.hash);
    }
    tables.append(connection, &merge.meta, &merge.filter, last, &slice)?;
    tables.set_progress(connection, merge.meta.n, RunState::Merging, Some(last))?;
    Ok(last)
}

/// The hashes behind a run's cursor under which about so many of its keys lie. Hashes are spread evenly, so a share of
/// the hashes holds the same share of the keys.
fn slice_of(run: &RunMeta, keys: u64) -> (u64, u64) {
    let first = behind(run.cursor);
    let width = (u128::from(keys.max(1)) << 64) / u128::from(run.keys.max(1));
    let last = u64::try_from(u128::from(first) + width - 1).unwrap_or(u64::MAX);
    (first, last)
}

/// The runs that should be merged: all of the smallest size of which there are enough.
fn due(runs: &[Run], settings: &RunSettings) -> Option<Vec<RunMeta>> {
    let mut tiers: Vec<(u32, RunMeta)> = runs
        .iter()
        .filter(|run| run.meta.merged_into.is_none())
        .map(|run| (tier(run.meta.keys, settings), run.meta))
        .collect();
    tiers.sort_unstable_by_key(|(tier, run)| (*tier, run.n));
    let same = tiers.chunk_by(|(one, _), (other, _)| one == other).find(|same| same.len() >= enough(settings))?;
    Some(same.iter().take(SOURCES_MAX).map(|(_, run)| *run).collect())
}

/// The size of a run: 0 for one map, and one more for each time that enough runs were merged.
fn tier(keys: u64, settings: &RunSettings) -> u32 {
    let maps = keys / u64::try_from(settings.map_keys.max(1)).expect("a length fits in 64 bits");
    let base = u64::try_from(enough(settings)).expect("a length fits in 64 bits");
    maps.max(1).ilog(base)
}

fn enough(settings: &RunSettings) -> usize {
    settings.merge_runs.max(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::embedded::runs::shape::{Division, Shape};

    fn run(n: i64, keys: u64) -> Run {
        let meta = RunMeta { n, first_id: 1, last_id: 1, keys, state: RunState::Live, cursor: None, merged_into: None };
        Run { meta, filter: Filter::new(Shape::for_keys(1, Division::OF_FILES)) }
    }

    fn due_numbers(sizes: &[u64]) -> Vec<i64> {
        let settings = RunSettings { map_keys: 100, merge_runs: 4, ..RunSettings::default() };
        let runs: Vec<Run> = (1..).zip(sizes).map(|(n, keys)| run(n, *keys)).collect();
        due(&runs, &settings).map_or_else(Vec::new, |runs| runs.iter().map(|run| run.n).collect())
    }

    #[test]
    fn runs_of_one_size_are_merged_when_there_are_enough() {
        assert_eq!(due_numbers(&[]), [0_i64; 0]);
        assert_eq!(due_numbers(&[100, 110, 120]), [0_i64; 0]);
        assert_eq!(due_numbers(&[100, 110, 120, 130]), [1, 2, 3, 4]);
        assert_eq!(due_numbers(&[400, 100, 400, 110, 400, 120]), [0_i64; 0]);
        assert_eq!(due_numbers(&[400, 100, 400, 110, 460, 120, 500]), [1, 3, 5, 7]);
        // A merge that lags takes all that wait, of the smallest size first.
        assert_eq!(due_numbers(&[400, 400, 400, 400, 100, 100, 100, 100, 100]), [5, 6, 7, 8, 9]);
        assert_eq!(due_numbers(&[100; 50]).len(), SOURCES_MAX);
    }

    #[test]
    fn slices_cover_every_hash_once() {
        for (keys, slice) in [(1, 1), (1, 5), (1000, 7), (4096, 4096), (u64::MAX, u64::MAX / 3)] {
            let mut run = run(1, keys).meta;
            let mut slices = 0;
            while run.cursor != Some(u64::MAX) {
                let (first, last) = slice_of(&run, slice);
                assert_eq!(first, run.cursor.map_or(0, |cursor| cursor + 1));
                assert!(last >= first);
                run.cursor = Some(last);
                slices += 1;
            }
            assert!((keys / slice..=keys / slice + 1).contains(&slices), "{slices} slices of {slice} for {keys}");
        }
    }
}

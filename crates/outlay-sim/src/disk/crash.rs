//! What a crash leaves: the choice, by chance, of the unsynced changes that reached the platter.
//!
//! A sector is written whole or not at all. What is kept of it is one of the states that it had since the last sync, for
//! that is what a disk finds in the system's cache when it comes round to writing it; sectors know nothing of each other.
//! Directory changes go through the file system's journal and survive in their order.

use std::collections::BTreeMap;

use rand::RngExt;
use rand_pcg::Pcg64;

use super::files::{File, Files, Op, apply_entry, put};
use super::state::Change;
use super::trace::Kind;
use super::{Crash, SECTOR_BYTES};

/// A killed process can leave a write cut off at such a border in the file, in bytes.
const PAGE_BYTES: usize = 4096;

/// The files after a crash in the middle of `change`.
pub(super) fn after(
    files: &Files,
    change: Option<&Change>,
    how: Crash,
    safe_append: bool,
    random: &mut Pcg64,
) -> Files {
    let mut files = files.clone();
    match how {
        Crash::Kill => {
            if let Some(change) = change {
                begin(&mut files, change, random);
            }
        }
        Crash::PowerAllLost => {
            files.pending.clear();
            files.by_id.values_mut().for_each(|file| file.pending.clear());
            lose_power(&mut files, safe_append, random);
        }
        Crash::Power => {
            match change {
                Some(Change::Write { file, at, bytes }) => files.get_mut(*file).write(*at, bytes),
                Some(Change::Truncate { file, len }) => files.get_mut(*file).truncate(*len),
                Some(Change::Delete { name, .. }) => {
                    files.delete(name, false);
                }
                // All that a sync has got to so far is a part of what was written.
                Some(Change::Sync { .. }) | None => {}
            }
            lose_power(&mut files, safe_append, random);
        }
    }
    files.collect(|_| false);
    files
}

/// A sync has failed: a part of what was written is durable, and the system takes all of it for written. The length and
/// what was cut off are kept, for they are in the journal of the file system.
pub(super) fn lose_by_failed_sync(file: &mut File, random: &mut Pcg64) {
    let fate = Fate { keeps_truncations: true, fills_gaps: true, may_grow: false };
    file.durable = survived(file, fate, random);
    file.pending.clear();
}

/// The process dies in the middle of a call, which the system may have carried out already, or a part of it.
fn begin(files: &mut Files, change: &Change, random: &mut Pcg64) {
    let whole = random.random_ratio(1, 2);
    match change {
        Change::Write { file, at, bytes } => {
            let first_border = PAGE_BYTES - at % PAGE_BYTES;
            let borders = (first_border..bytes.len()).step_by(PAGE_BYTES);
            let cuts: Vec<usize> = [0].into_iter().chain(borders).collect();
            let count = if whole { bytes.len() } else { pick(random, &cuts) };
            files.get_mut(*file).write(*at, bytes.get(..count).unwrap_or(bytes));
        }
        Change::Truncate { file, len } if whole => files.get_mut(*file).truncate(*len),
        Change::Sync { file } if whole => files.sync(*file),
        Change::Delete { name, durable } if whole => {
            files.delete(name, *durable);
        }
        Change::Truncate { .. } | Change::Sync { .. } | Change::Delete { .. } => {}
    }
}

fn lose_power(files: &mut Files, safe_append: bool, random: &mut Pcg64) {
    let kept = random.random_range(0..=files.pending.len());
    for (name, target) in std::mem::take(&mut files.pending).into_iter().take(kept) {
        apply_entry(&mut files.durable, name, target);
    }
    files.seen = files.durable.clone();
    let fate = Fate { keeps_truncations: false, fills_gaps: !safe_append, may_grow: !safe_append };
    for file in files.by_id.values_mut().filter(|file| file.kind != Kind::Temporary) {
        *file = File::new(file.kind, survived(file, fate, random));
    }
}

#[derive(Clone, Copy)]
struct Fate {
    keeps_truncations: bool,
    /// A lost sector before a kept one can hold anything that was once on the disk there, if the file is new to it.
    fills_gaps: bool,
    /// The new length can be there without the new bytes.
    may_grow: bool,
}

/// What is on the platter of this file: the durable bytes and what survived of the pending changes.
fn survived(file: &File, fate: Fate, random: &mut Pcg64) -> Vec<u8> {
    let mut image = file.durable.clone();
    if file.pending.is_empty() {
        return image;
    }
    let mut keep = Keep::pick(file, random);
    let mut truncates = true;
    for (index, op) in file.pending.iter().enumerate() {
        if let Op::Truncate { len } = op {
            truncates = truncates && (fate.keeps_truncations || keep.truncation(index, random));
            if truncates {
                image.resize(*len, 0);
            }
        }
        for (sector, bytes) in op.sectors() {
            if keep.sector(index, sector) {
                let at = sector * SECTOR_BYTES;
                grow(&mut image, at, fate.fills_gaps, random);
                put(&mut image, at, bytes);
            }
        }
    }
    if fate.may_grow && image.len() < file.seen.len() && random.random_ratio(1, 4) {
        grow(&mut image, file.seen.len(), true, random);
    }
    image
}

/// Makes the image at least this long, with zeros or with what lay on the disk before.
fn grow(image: &mut Vec<u8>, len: usize, fills_gaps: bool, random: &mut Pcg64) {
    let old_len = image.len();
    if len <= old_len {
        return;
    }
    image.resize(len, 0);
    if fills_gaps && random.random_ratio(1, 2) {
        random.fill(image.get_mut(old_len..).expect("the image has grown"));
    }
}

/// Which sectors of which changes survive, for one file. There are several ways, since each finds other mistakes: rarely
/// does a coin per sector keep just the last of a hundred writes.
enum Keep {
    All,
    Nothing,
    /// The changes up to this one, and of this one the sectors that are set.
    UpTo {
        cut: usize,
        torn: BTreeMap<usize, bool>,
    },
    /// Of each sector, this many of its states.
    Scattered {
        states: BTreeMap<usize, u32>,
        met: BTreeMap<usize, u32>,
    },
    /// All sectors but those of one change, and what came later for them.
    AllBut {
        missing: usize,
        sectors: Vec<usize>,
    },
}

impl Keep {
    fn pick(file: &File, random: &mut Pcg64) -> Self {
        let changes = file.pending.len();
        match random.random_range(0..8) {
            0 => Self::All,
            1 => Self::Nothing,
            2 | 3 => {
                let cut = random.random_range(0..changes);
                let written: Vec<usize> = sectors_of(file, cut);
                let border = random.random_range(0..=written.len());
                let way = random.random_range(0..3);
                let torn = written.iter().enumerate().map(|(place, sector)| {
                    let kept = match way {
                        0 => place < border,
                        1 => place >= border,
                        _ => random.random_ratio(1, 2),
                    };
                    (*sector, kept)
                });
                Self::UpTo { cut, torn: torn.collect() }
            }
            4 => {
                let missing = random.random_range(0..changes);
                Self::AllBut { missing, sectors: sectors_of(file, missing) }
            }
            way => {
                let mut states: BTreeMap<usize, u32> = BTreeMap::new();
                for (sector, _) in file.pending.iter().flat_map(Op::sectors) {
                    *states.entry(sector).or_default() += 1;
                }
                let newest_of_ten = match way {
                    5 => 1,
                    6 => 5,
                    _ => 9,
                };
                for count in states.values_mut() {
                    if !random.random_ratio(newest_of_ten, 10) {
                        *count = random.random_range(0..*count);
                    }
                }
                Self::Scattered { states, met: BTreeMap::new() }
            }
        }
    }

    fn truncation(&self, index: usize, random: &mut Pcg64) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::UpTo { cut, .. } => index < *cut,
            Self::AllBut { missing, .. } => index != *missing,
            Self::Scattered { .. } => random.random_ratio(1, 2),
        }
    }

    fn sector(&mut self, index: usize, sector: usize) -> bool {
        match self {
            Self::All => true,
            Self::Nothing => false,
            Self::UpTo { cut, torn } => index < *cut || index == *cut && torn.get(&sector) == Some(&true),
            Self::AllBut { missing, sectors } => index < *missing || !sectors.contains(&sector),
            Self::Scattered { states, met } => {
                let met = met.entry(sector).or_default();
                *met += 1;
                states.get(&sector).is_some_and(|kept| *met <= *kept)
            }
        }
    }
}

fn sectors_of(file: &File, change: usize) -> Vec<usize> {
    file.pending.get(change).into_iter().flat_map(Op::sectors).map(|(sector, _)| sector).collect()
}

fn pick(random: &mut Pcg64, values: &[usize]) -> usize {
    let index = random.random_range(0..values.len());
    *values.get(index).expect("the index is within the values")
}

#[cfg(test)]
mod tests;

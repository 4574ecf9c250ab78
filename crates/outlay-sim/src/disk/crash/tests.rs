//! What a crash may leave and what it may not, without `SQLite`.

use std::collections::BTreeSet;

use libsqlite3_sys as ffi;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::disk::files::{FileId, Files};
use crate::disk::state::{Change, State};
use crate::disk::trace::Kind;
use crate::disk::{Crash, Faults, Options, SECTOR_BYTES};

const PAGE: usize = 4096;
const SEEDS: u64 = 300;

fn state() -> State {
    State::new(Options::seeded(0))
}

/// A file whose name and first bytes are durable.
fn synced(files: &mut Files, name: &str, bytes: &[u8]) -> FileId {
    let id = files.create(Some(name), Kind::Database);
    files.get_mut(id).write(0, bytes);
    files.sync(id);
    id
}

fn after(state: &State, crash: Crash, seed: u64) -> Option<Vec<u8>> {
    state.after(crash, seed, None).file_bytes("a")
}

#[test]
fn each_sector_is_one_of_the_states_that_it_had() {
    let mut seen_ages = BTreeSet::new();
    let mut torn = false;
    for seed in 0..SEEDS {
        let mut random = Pcg64::seed_from_u64(seed);
        let mut state = state();
        let id = synced(&mut state.files, "a", &[0; 4 * PAGE]);
        let mut states = vec![state.files.get(id).seen.clone()];
        for value in 1..=6 {
            // Odd places and lengths too: the header of a frame, then its page.
            let at = random.random_range(0..3 * PAGE);
            let len = random.random_range(1..=PAGE);
            state.files.get_mut(id).write(at, &vec![value; len]);
            states.push(state.files.get(id).seen.clone());
        }
        let image = after(&state, Crash::Power, seed).unwrap();
        assert_eq!(image.len(), 4 * PAGE, "seed {seed}");
        let ages: Vec<usize> = image
            .chunks(SECTOR_BYTES)
            .enumerate()
            .map(|(sector, bytes)| {
                let at = sector * SECTOR_BYTES;
                let had = |state: &Vec<u8>| state[at..at + SECTOR_BYTES] == *bytes;
                states.iter().position(had).unwrap_or_else(|| panic!("seed {seed}: sector {sector} is new"))
            })
            .collect();
        torn |= ages.chunks(PAGE / SECTOR_BYTES).any(|page| page.iter().collect::<BTreeSet<_>>().len() > 2);
        seen_ages.extend(ages);
    }
    assert_eq!(seen_ages, (0..=6).collect());
    assert!(torn);
}

#[test]
fn what_was_synced_is_there_after_every_crash() {
    for seed in 0..SEEDS {
        let mut state = state();
        let id = synced(&mut state.files, "a", &[1; PAGE]);
        state.files.get_mut(id).write(PAGE, &[2; PAGE]);
        for crash in Crash::ALL {
            assert_eq!(after(&state, crash, seed).unwrap()[..PAGE], [1; PAGE], "{crash:?}, seed {seed}");
        }
        assert_eq!(after(&state, Crash::PowerAllLost, seed).unwrap().len(), PAGE);
        assert_eq!(after(&state, Crash::Kill, seed).unwrap()[PAGE..], [2; PAGE]);
    }
}

#[test]
fn a_file_may_grow_before_its_bytes_are_there_unless_the_disk_says_otherwise() {
    let strange = |safe_append: bool| {
        let options = Options { safe_append, ..Options::seeded(0) };
        let found = (0..SEEDS).filter(|seed| {
            let mut state = State::new(options);
            let id = synced(&mut state.files, "a", &[1; PAGE]);
            state.files.get_mut(id).write(PAGE, &[2; PAGE]);
            after(&state, Crash::Power, *seed).unwrap().iter().any(|byte| !matches!(byte, 0..=2))
        });
        found.count()
    };
    assert!(strange(false) > 0);
    assert_eq!(strange(true), 0);
}

#[test]
fn a_truncation_is_lost_or_kept() {
    let lengths: BTreeSet<usize> = (0..SEEDS)
        .map(|seed| {
            let mut state = state();
            let id = synced(&mut state.files, "a", &[1; 2 * PAGE]);
            state.files.get_mut(id).truncate(PAGE);
            after(&state, Crash::Power, seed).unwrap().len()
        })
        .collect();
    assert_eq!(lengths, BTreeSet::from([PAGE, 2 * PAGE]));
}

#[test]
fn a_deletion_is_certain_only_when_the_directory_was_synced() {
    for durable in [false, true] {
        let there: BTreeSet<bool> = (0..SEEDS)
            .map(|seed| {
                let mut state = state();
                synced(&mut state.files, "a", &[1; PAGE]);
                assert!(state.files.delete("a", durable));
                after(&state, Crash::Power, seed).is_some()
            })
            .collect();
        assert_eq!(there, if durable { BTreeSet::from([false]) } else { BTreeSet::from([false, true]) });
    }
}

#[test]
fn directory_changes_survive_in_their_order() {
    for seed in 0..SEEDS {
        let mut state = state();
        for name in ["a", "b", "c"] {
            state.files.create(Some(name), Kind::Database);
        }
        let names = state.after(Crash::Power, seed, None).file_names();
        assert_eq!(names, ["a", "b", "c"][..names.len()], "seed {seed}");
    }
}

#[test]
fn the_call_in_which_the_process_is_killed_is_done_in_part() {
    let lengths: BTreeSet<usize> = (0..SEEDS)
        .map(|seed| {
            let mut state = state();
            let file = synced(&mut state.files, "a", &[1; 100]);
            state.set_faults(Faults::none().crash_at(1));
            let code = state.change(Change::Write { file, at: 100, bytes: vec![2; 2 * PAGE] });
            assert_eq!(code, ffi::SQLITE_IOERR);
            assert_eq!(after(&state, Crash::PowerAllLost, seed).unwrap().len(), 100);
            after(&state, Crash::Kill, seed).unwrap().len()
        })
        .collect();
    assert_eq!(lengths, BTreeSet::from([100, PAGE, 2 * PAGE, 2 * PAGE + 100]));
}

#[test]
fn the_call_in_which_the_power_goes_may_be_on_the_platter() {
    let found: BTreeSet<u8> = (0..SEEDS)
        .map(|seed| {
            let mut state = state();
            let file = synced(&mut state.files, "a", &[1; SECTOR_BYTES]);
            state.set_faults(Faults::none().crash_at(1));
            state.change(Change::Write { file, at: 0, bytes: vec![2; SECTOR_BYTES] });
            after(&state, Crash::Power, seed).unwrap()[0]
        })
        .collect();
    assert_eq!(found, BTreeSet::from([1, 2]));
}

#[test]
fn a_failed_sync_loses_for_good_what_it_did_not_write() {
    let mut lost = 0;
    for seed in 0..SEEDS {
        let mut state = State::new(Options::seeded(seed));
        let file = synced(&mut state.files, "a", &[1; PAGE]);
        state.files.get_mut(file).write(0, &[2; 2 * PAGE]);
        state.set_faults(Faults::none().fail_sync_at(1));
        assert_eq!(state.change(Change::Sync { file }), ffi::SQLITE_IOERR_FSYNC);
        assert_eq!(state.file_bytes("a").unwrap(), [2; 2 * PAGE], "readers see what was written");
        assert_eq!(state.change(Change::Sync { file }), ffi::SQLITE_OK);
        let durable = after(&state, Crash::PowerAllLost, seed).unwrap();
        assert_eq!(durable.len(), 2 * PAGE, "the length is kept");
        lost += u32::from(durable != [2; 2 * PAGE]);
        // Written again, it is written.
        state.files.get_mut(file).write(0, &[2; 2 * PAGE]);
        assert_eq!(state.change(Change::Sync { file }), ffi::SQLITE_OK);
        assert_eq!(after(&state, Crash::PowerAllLost, seed).unwrap(), [2; 2 * PAGE]);
    }
    assert!(lost > 0);
}

#[test]
fn sectors_know_nothing_of_each_other() {
    let mixed = (0..SEEDS).any(|seed| {
        let mut state = state();
        let id = synced(&mut state.files, "a", &[1; 8 * SECTOR_BYTES]);
        for sector in 0..8 {
            state.files.get_mut(id).write(sector * SECTOR_BYTES, &[2; SECTOR_BYTES]);
        }
        let image = after(&state, Crash::Power, seed).unwrap();
        let kept: Vec<u8> = image.chunks(SECTOR_BYTES).map(|sector| sector[0]).collect();
        kept.windows(2).filter(|pair| pair[0] != pair[1]).count() >= 4
    });
    assert!(mixed);
}

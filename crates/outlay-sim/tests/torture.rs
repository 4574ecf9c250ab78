//! A short piece of each torture of the real program; `cargo xtask torture --help` shows the rest.

#![expect(clippy::disallowed_methods, reason = "it runs processes")]

use std::process::Command;

/// What a run says where the machine lacks what it needs.
const CANNOT: i32 = 3;

/// Runs a mode, which finds nothing. Where a machine cannot do it, it is said and left out.
fn torture(arguments: &[&str]) {
    torture_ends(arguments, 0);
}

fn torture_ends(arguments: &[&str], expected: i32) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outlay-torture"));
    if let Ok(seed) = std::env::var("OUTLAY_SEED") {
        command.args(["--seed", &seed]);
    }
    let output = command.args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned();
    match output.status.code() {
        Some(code) if code == expected => println!("{said}"),
        Some(CANNOT) => println!("left out: {said}"),
        code => panic!("outlay-torture {arguments:?} ended with {code:?}: {said}"),
    }
}

#[test]
fn kills_at_random_moments_lose_nothing_acknowledged() {
    torture(&["kills", "--kills", "20"]);
}

#[test]
fn kills_at_system_calls_lose_nothing_acknowledged() {
    torture(&["calls", "--drawn", "12"]);
}

#[test]
fn a_kill_while_a_folder_is_brought_up_to_date_loses_nothing() {
    torture(&["upgrade", "--drawn", "6"]);
}

#[test]
fn after_a_failed_sync_or_write_nothing_is_acknowledged() {
    torture(&["fsync", "--drawn", "3"]);
}

#[test]
fn power_cuts_lose_nothing_acknowledged() {
    torture(&["cuts", "--cuts", "12"]);
}

#[test]
fn syncs_that_do_nothing_are_found_by_power_cuts() {
    let folder = tempfile::tempdir().unwrap();
    torture_ends(&["cuts", "--cuts", "100", "--unsynced", "--folder", folder.path().to_str().unwrap()], 1);
}

#[test]
fn a_process_that_was_paused_does_nothing_twice() {
    torture(&["paused", "--pauses", "1", "--seconds", "2"]);
}

#[test]
fn a_disk_that_is_full_of_a_sudden_loses_nothing_acknowledged() {
    torture(&["full", "--fills", "3"]);
}

#[test]
fn a_clock_that_jumps_changes_no_month_and_ends_no_hold() {
    torture(&["clock", "--jumps", "8"]);
}

//! Calls that fail once: `fdatasync`, `pwrite64` and `pread64` with EIO.
//!
//! After a failed sync or write nothing is acknowledged any more, the process ends as a failure, and the next start carries on.
//! After a failed read no number is wrong.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use outlay_core::month::Timestamp;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::kills::{needs_strace, scenario};
use super::load::{self, Manner};
use super::program::{ANSWER_WAIT, Inject, NotStarted, Program, Running};
use super::run::{Basis, Failure, readiness, remove, settles, start, under_load};
use super::told::Told;

/// The files of the store. Calls on others, such as the loader's own, are left alone.
const FILES: &[&str] = &["outlay.db", "outlay.db-wal"];
/// More than any thread of the scenario makes.
const CALLS_MAX: u64 = 5_000;
/// Answers after which a call that was not made yet is not waited for any more.
const ENOUGH_ANSWERS: usize = 400;
/// How soon a process that may not go on has ended.
const ENDS_WITHIN: Duration = Duration::from_secs(20);

#[derive(Debug, Default)]
struct Counts {
    ended: usize,
    lived: usize,
    not_started: usize,
    beyond: usize,
}

/// Fails so many calls of each kind at places that are drawn, under load; or, without a number, each `fdatasync` of a scenario,
/// and every one of the writes and reads.
pub(crate) fn run(basis: &Basis, drawn: Option<usize>) -> Result<String, Failure> {
    needs_strace()?;
    let mut random = Pcg64::seed_from_u64(basis.seed);
    let mut said = Vec::new();
    for call in ["fdatasync", "pwrite64", "pread64"] {
        let mut counts = Counts::default();
        let mut at = |place: u64, seed: u64, is_loaded: bool| -> Result<bool, Failure> {
            let folder = basis.folder_for(&format!("{call}-{place}-{is_loaded}"))?;
            let met = one(&basis.program, &folder, (call, place), (seed, is_loaded), &mut counts)
                .map_err(|problem| format!("{call} {place} (seed {seed}, under load: {is_loaded}): {problem}"))?;
            remove(&folder);
            Ok(met)
        };
        if let Some(drawn) = drawn {
            for _ in 0..drawn {
                at(random.random_range(1..=if call == "pwrite64" { 150 } else { 30 }), random.random(), true)?;
            }
        } else {
            let mut place = 1;
            while place < CALLS_MAX && at(place, basis.seed, false)? {
                place += 1;
            }
        }
        said.push(format!(
            "{call} failed once {} times: ended {}, not started {}, went on {} ({} places were beyond the end)",
            counts.ended + counts.not_started + counts.lived,
            counts.ended,
            counts.not_started,
            counts.lived,
            counts.beyond
        ));
    }
    Ok(said.join("; "))
}

/// One failed call. Gives whether it was met.
fn one(
    path: &Path,
    folder: &Path,
    (call, place): (&str, u64),
    (seed, is_loaded): (u64, bool),
    counts: &mut Counts,
) -> Result<bool, String> {
    let inject = Inject { what: format!("{call}:error=EIO:when={place}"), files: FILES };
    let program = Program { inject: Some(inject), ..Program::on(path, folder) };
    let told = if is_loaded { loaded(&program, seed, counts)? } else { alone(&program, seed, counts)? };
    let failed = failed_at(&program)?;
    if let Some(failed) = failed
        && call != "pread64"
        && let Some(ask) = told.acknowledged_after(failed).first()
    {
        return Err(format!("acknowledged after the failure: {ask:?}"));
    }
    if failed.is_none() {
        counts.beyond += 1;
    }
    let program = Program::on(path, folder);
    let running = start(&program)?;
    settles(&running, &told, u64::MAX)?;
    drop(running);
    program.verify()?;
    Ok(failed.is_some())
}

/// One client, and a clean end.
fn alone(program: &Program, seed: u64, counts: &mut Counts) -> Result<Told, String> {
    let (told, status) = scenario(program, seed)?;
    let failed = failed_at(program)?;
    is_ended(program, status.map(|status| status.success()), failed, counts)?;
    Ok(told)
}

/// Many clients, until the call has failed.
fn loaded(program: &Program, seed: u64, counts: &mut Counts) -> Result<Told, String> {
    let told = Told::default();
    let mut running = match program.start() {
        Ok(running) => running,
        Err(NotStarted::Ended(status)) => {
            if status.success() {
                return Err("the program ended well before it listened".to_owned());
            }
            counts.not_started += 1;
            return Ok(told);
        }
        Err(NotStarted::Fault(fault)) => return Err(fault),
    };
    let http = running.http(ANSWER_WAIT);
    if load::introduce(&http).is_ok() {
        let manner = Manner { goes_on: true, ..Manner::default() };
        under_load(&http, &told, manner, (seed, "failing"), |shared| {
            while shared.answers.load(Ordering::Relaxed) < ENOUGH_ANSWERS && running.is_alive() {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(())
        })?;
    }
    let status = ended(&mut running, program)?;
    is_ended(program, status.map(|status| status.success()), failed_at(program)?, counts)?;
    Ok(told)
}

/// How it ended, if it does so by itself after a failure; else it is stopped.
fn ended(running: &mut Running, program: &Program) -> Result<Option<std::process::ExitStatus>, String> {
    let began = std::time::Instant::now();
    let is_fatal = program.inject.as_ref().is_some_and(|inject| !inject.what.starts_with("pread64"));
    while is_fatal && failed_at(program)?.is_some() && running.is_alive() {
        if readiness(&running.http(ANSWER_WAIT)) == 200 && began.elapsed() > Duration::from_secs(2) {
            return Err("after the failure it says that it is ready".to_owned());
        }
        if began.elapsed() > ENDS_WITHIN {
            return Err("after the failure it does not end".to_owned());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    if running.is_alive() { running.stop().map(Some) } else { running.wait().map(Some) }
}

/// After a failed sync or write the process has ended as a failure.
fn is_ended(
    program: &Program,
    success: Option<bool>,
    failed: Option<Timestamp>,
    counts: &mut Counts,
) -> Result<(), String> {
    let is_read = program.inject.as_ref().is_some_and(|inject| inject.what.starts_with("pread64"));
    match (failed, success) {
        (None, Some(true)) => Ok(()),
        (None, _) => Err("it ended as a failure, and no call had failed".to_owned()),
        (Some(_), Some(true)) if !is_read => Err("a call failed, and it ended as if all were well".to_owned()),
        (Some(_), Some(true)) => {
            counts.lived += 1;
            Ok(())
        }
        (Some(_), _) => {
            counts.ended += 1;
            Ok(())
        }
    }
}

/// When the call failed, by what `strace` wrote.
fn failed_at(program: &Program) -> Result<Option<Timestamp>, String> {
    let text = match std::fs::read(program.trace_file()) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("read what strace wrote: {error}")),
    };
    let Some(line) = text.lines().find(|line| line.contains("(INJECTED)")) else { return Ok(None) };
    // `1234  1700000000.123456 fdatasync(12) = ...`, after the number of the thread.
    let at = line.split_whitespace().nth(1).and_then(|at| at.split_once('.'));
    let nanos = at.and_then(|(seconds, micros)| {
        Some(seconds.parse::<i128>().ok()? * 1_000_000_000 + micros.parse::<i128>().ok()? * 1_000)
    });
    nanos.and_then(|nanos| Timestamp::from_nanos(nanos).ok()).map(Some).ok_or_else(|| format!("strace wrote {line}"))
}

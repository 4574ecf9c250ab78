//! Kill -9 at each system call of the first start on a data folder of an earlier version: the next start brings it up to date, and
//! shows what one that nobody killed shows.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use outlay_sim::history::Shows as _;
use outlay_sim::oracle::equal;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use serde_json::Value;

use super::clock;
use super::kills::{CALLS, CALLS_MAX, needs_strace};
use super::program::{ANSWER_WAIT, Http, Inject, NotStarted, Program, was_killed};
use super::run::{Basis, Failure, proves, remove, start};

/// The folders of earlier versions that the tests keep.
const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../outlay/tests/fixtures");

/// When it is: a session in the folder of version 1 is open, and a start on a later day would end it at that start's own time.
const NOW: &str = "2026-11-26T12:00:00Z";

/// Kills at each call, from each version, or at so many of each version that are drawn.
///
/// # Errors
/// Also where there is no `strace`, or where the kept folders are not.
pub(crate) fn run(basis: &Basis, drawn: Option<usize>) -> Result<String, Failure> {
    needs_strace()?;
    let missing = |error| Failure::Missing(format!("the data folders of earlier versions in {KEPT}: {error}"));
    let mut versions: Vec<PathBuf> =
        fs::read_dir(KEPT).map_err(missing)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    versions.sort();
    let folder = basis.folder_for("upgrade-clock")?;
    let mut running = start(&on(basis, &folder)?)?;
    clock::reads_the_file(&running.http(ANSWER_WAIT), NOW)?;
    running.kill()?;
    remove(&folder);
    let mut random = Pcg64::seed_from_u64(basis.seed);
    let mut kills = 0;
    for version in &versions {
        let folder = basis.folder_for("upgrade-whole")?;
        let program = on(basis, &folder)?;
        copy(version, &program.data)?;
        let expected = shown(&program)?;
        remove(&folder);
        let mut at = |calls: &str, place: u64| -> Result<bool, Failure> {
            let folder = basis.folder_for(&format!("upgrade-{}-{place}", calls.replace(',', "-")))?;
            let killed = one(version, &on(basis, &folder)?, (calls, place), &expected)
                .map_err(|problem| format!("{}, {calls} {place}: {problem}", version.display()))?;
            remove(&folder);
            kills += usize::from(killed);
            Ok(killed)
        };
        if let Some(drawn) = drawn {
            for _ in 0..drawn {
                at(CALLS[0], random.random_range(1..60))?;
            }
            continue;
        }
        for calls in CALLS {
            for place in 1..CALLS_MAX {
                if !at(calls, place)? {
                    break;
                }
            }
        }
    }
    Ok(format!(
        "{kills} kills, each at a system call of the first start on a folder of {} earlier versions",
        versions.len()
    ))
}

/// The program in a folder, at [`NOW`].
fn on(basis: &Basis, folder: &Path) -> Result<Program, Failure> {
    let file = folder.join("clock");
    clock::set(&file, clock::parsed(NOW)?)?;
    Ok(Program { clock: Some(file), ..Program::on(&basis.program, folder) })
}

/// Kills at one call; whether it was met.
fn one(from: &Path, program: &Program, (calls, place): (&str, u64), expected: &Vec<Value>) -> Result<bool, String> {
    copy(from, &program.data)?;
    if !is_killed(program, calls, place)? {
        return Ok(false);
    }
    equal("what it shows", &shown(program)?, expected)?;
    program.verify()?;
    Ok(true)
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let copied = fs::create_dir_all(to).and_then(|()| {
        fs::read_dir(from)?.try_for_each(|entry| {
            let entry = entry?;
            let to = to.join(entry.file_name());
            fs::copy(entry.path(), &to)?;
            // As the program makes them; a checkout makes them readable by others.
            fs::set_permissions(to, fs::Permissions::from_mode(0o600))
        })
    });
    copied.map_err(|error| format!("copy {}: {error}", from.display()))
}

/// Starts, and ends; whether it was killed on the way.
fn is_killed(program: &Program, calls: &str, place: u64) -> Result<bool, String> {
    let inject = Inject { what: format!("{calls}:signal=KILL:when={place}"), files: &[] };
    let status = match (Program { inject: Some(inject), ..program.clone() }).start() {
        Ok(mut running) => running.stop()?,
        Err(NotStarted::Ended(status)) => status,
        Err(NotStarted::Fault(fault)) => return Err(fault),
    };
    if status.success() || was_killed(status) { Ok(!status.success()) } else { Err(format!("it ended with {status}")) }
}

/// All that a server shows of its users.
fn shown(program: &Program) -> Result<Vec<Value>, String> {
    let running = start(program)?;
    let mut http: Http = running.http(ANSWER_WAIT);
    proves(&http)?;
    let mut all = Vec::new();
    for user in http.all("/v1/users?month=2025-10&limit=1000")? {
        let of = format!("/v1/users/{}", user["userId"].as_str().unwrap_or_default());
        for list in ["usage", "sessions", "denials"] {
            all.extend(http.all(&format!("{of}/{list}?limit=1000"))?);
        }
        all.push(http.get(&format!("{of}/budget?month=2025-10"))?);
        all.push(user);
    }
    for list in ["alerts", "denials", "keys", "audit"] {
        all.extend(http.all(&format!("/v1/{list}"))?);
    }
    if all.is_empty() { Err("nothing is there".to_owned()) } else { Ok(all) }
}

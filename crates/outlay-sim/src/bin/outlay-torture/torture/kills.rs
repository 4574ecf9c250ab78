//! Kill -9: under load at random moments, while it starts and while it ends; and at chosen system calls of one client's work.

use std::path::Path;
use std::thread;
use std::time::Duration;

use outlay_sim::wire::Ask;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use rustix::process::Signal;
use serde_json::json;

use super::load::{self, Client, Ended, Manner, Shared};
use super::program::{ANSWER_WAIT, Inject, Program, Running, was_killed};
use super::run::{Basis, Failure, proves, remove, settles, start, under_load, wait_for_answers};
use super::told::{Told, now};

/// So many kills in one folder, so that looking at all of it does not grow with the number of kills.
const KILLS_PER_FOLDER: usize = 20;

/// What a run of kills came to.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    kills: usize,
    while_starting: usize,
    while_ending: usize,
    acknowledged: usize,
    asked_again: usize,
    /// From the start of the process to its first acknowledgement.
    first_acknowledgements: Vec<Duration>,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut times = self.first_acknowledgements.clone();
        times.sort_unstable();
        let median = times.get(times.len() / 2).copied().unwrap_or_default();
        let max = times.last().copied().unwrap_or_default();
        write!(
            f,
            "{} kills ({} while starting, {} while ending); {} operations acknowledged, none lost; {} requests unknown, \
             asked again; first acknowledgement after a start: median {} ms, max {} ms",
            self.kills,
            self.while_starting,
            self.while_ending,
            self.acknowledged,
            self.asked_again,
            median.as_millis(),
            max.as_millis()
        )
    }
}

/// Kills the program at random moments.
pub(crate) fn at_random(basis: &Basis, kills: usize) -> Result<Counts, Failure> {
    let mut counts = Counts::default();
    let mut random = Pcg64::seed_from_u64(basis.seed);
    while counts.kills < kills {
        let count = KILLS_PER_FOLDER.min(kills - counts.kills);
        let folder = basis.folder_for(&format!("kills-{}", counts.kills))?;
        in_one_folder(&Program::on(&basis.program, &folder), &mut random, count, &mut counts)?;
        remove(&folder);
    }
    Ok(counts)
}

fn in_one_folder(program: &Program, random: &mut Pcg64, kills: usize, counts: &mut Counts) -> Result<(), String> {
    let told = Told::default();
    load::introduce(&start(program)?.http(ANSWER_WAIT))?;
    for kill in 0..kills {
        let name = format!("kill_{}", counts.kills);
        while random.random_bool(0.15) {
            program.start_and_kill(Duration::from_micros(random.random_range(0..40_000)))?;
            counts.while_starting += 1;
        }
        let mut running = start(program)?;
        counts.first_acknowledgements.push(first_acknowledgement(&running, &told, &name)?);
        counts.asked_again += settles(&running, &told, u64::MAX).map_err(|problem| format!("{name}: {problem}"))?;
        // What is left open is seen to be open; the last round does without load.
        told.so_far().history.times_hold(&mut running.http(ANSWER_WAIT), now())?;
        let enough = random.random_range(1..150);
        let ending = random.random_bool(0.15).then(|| Duration::from_micros(random.random_range(0..30_000)));
        let http = running.http(ANSWER_WAIT);
        under_load(&http, &told, Manner::default(), (random.random(), &name), |shared| {
            wait_for_answers(shared, enough, Duration::from_secs(20));
            if let Some(after) = ending {
                running.signal(Signal::TERM)?;
                thread::sleep(after);
            }
            running.kill()
        })
        .map_err(|problem| format!("{name}: {problem}"))?;
        counts.while_ending += usize::from(ending.is_some());
        counts.kills += 1;
        if kill + 1 == kills {
            let running = start(program)?;
            counts.asked_again += settles(&running, &told, u64::MAX).map_err(|problem| format!("{name}: {problem}"))?;
            program.verify()?;
            drop(running);
            program.verify()?;
            counts.acknowledged += told.so_far().history.acknowledged();
        }
    }
    Ok(())
}

/// Asks for one operation, and gives how long after the start it was acknowledged.
fn first_acknowledgement(running: &Running, told: &Told, name: &str) -> Result<Duration, String> {
    let body = json!({"operationId": format!("{name}_first"), "userId": load::USERS[0], "usageType": "AIUsage",
        "feature": "torture", "cost": "0.000000000001", "timestamp": now().to_string()});
    let request = told.request(Ask { method: "POST", path: "/v1/usage".to_owned(), body: Some(body) });
    let mut sent = load::send(&running.http(ANSWER_WAIT), told, request);
    if let Err(Ended::Gone) = sent {
        sent = load::send(&running.http(ANSWER_WAIT), told, request);
    }
    match sent {
        Ok(reply) if reply.is_acknowledged() => Ok(running.started.elapsed()),
        other => Err(format!("{name}: the first request after a start is answered {other:?}")),
    }
}

/// Requests of the one client whose system calls are counted.
const SCRIPT_REQUESTS: usize = 24;
/// The calls that change what is on the disk: together, and each alone, since each thread counts for itself.
pub(crate) const CALLS: [&str; 5] =
    ["pwrite64,fdatasync,ftruncate,unlink", "fdatasync", "ftruncate", "unlink", "fallocate,fsync,rename"];
/// More than any thread of the scenario makes of one kind.
pub(crate) const CALLS_MAX: u64 = 5_000;

/// Kills the program at each of the calls of a scenario, or at so many of them that are drawn.
///
/// # Errors
/// Also where there is no `strace`.
pub(crate) fn at_calls(basis: &Basis, drawn: Option<usize>) -> Result<String, Failure> {
    needs_strace()?;
    let mut random = Pcg64::seed_from_u64(basis.seed);
    let (mut kills, mut again, mut beyond) = (0, 0, 0);
    let mut at = |calls: &str, place: u64| -> Result<bool, Failure> {
        let folder = basis.folder_for(&format!("kill-at-{}-{place}", calls.replace(',', "-")))?;
        let (killed, unknown) = one_call(&basis.program, &folder, basis.seed, calls, place)
            .map_err(|problem| format!("{calls} {place}: {problem}"))?;
        remove(&folder);
        again += unknown;
        if killed {
            kills += 1
        } else {
            beyond += 1
        }
        Ok(killed)
    };
    if let Some(drawn) = drawn {
        for _ in 0..drawn {
            let calls = CALLS[[0, 0, 0, 1, 1, 2, 3, 4][random.random_range(0..8)]];
            at(
                calls,
                random.random_range(
                    1..=if calls == CALLS[0] {
                        120
                    } else if calls == CALLS[1] {
                        25
                    } else {
                        4
                    },
                ),
            )?;
        }
    } else {
        for calls in CALLS {
            for place in 1..CALLS_MAX {
                if !at(calls, place)? {
                    break;
                }
            }
        }
    }
    Ok(format!(
        "{kills} kills, each at a system call that changes the disk ({beyond} places were beyond the scenario's end); \
         nothing acknowledged lost; {again} requests unknown, asked again"
    ))
}

/// Runs the scenario with a kill at one place. Gives whether it was met, and how many requests were asked again.
fn one_call(path: &Path, folder: &Path, seed: u64, calls: &str, place: u64) -> Result<(bool, usize), String> {
    let inject = Inject { what: format!("{calls}:signal=KILL:when={place}"), files: &[] };
    let program = Program { inject: Some(inject), ..Program::on(path, folder) };
    let (told, status) = scenario(&program, seed)?;
    let killed = match status {
        Some(status) if status.success() => false,
        Some(status) if was_killed(status) => true,
        other => return Err(format!("the program ended otherwise: {other:?}")),
    };
    let program = Program::on(path, folder);
    let running = start(&program)?;
    let again = settles(&running, &told, u64::MAX)?;
    proves(&running.http(ANSWER_WAIT))?;
    drop(running);
    program.verify()?;
    Ok((killed, again))
}

/// One client's work, the same for a seed, and a clean end; gives what was told, and how the program ended.
pub(crate) fn scenario(program: &Program, seed: u64) -> Result<(Told, Option<std::process::ExitStatus>), String> {
    let told = Told::default();
    let mut running = match program.start() {
        Ok(running) => running,
        Err(super::program::NotStarted::Ended(status)) => return Ok((told, Some(status))),
        Err(super::program::NotStarted::Fault(fault)) => return Err(fault),
    };
    let http = running.http(ANSWER_WAIT);
    if load::introduce(&http).is_ok() {
        let shared = Shared::new(&told, Manner { requests: SCRIPT_REQUESTS, ..Manner::default() });
        Client::new(http, &shared, seed, "scenario".to_owned()).run()?;
    }
    if running.is_alive() {
        return running.stop().map(|status| (told, Some(status)));
    }
    running.wait().map(|status| (told, Some(status)))
}

/// # Errors
/// Where there is no `strace`, or it may not trace.
pub(crate) fn needs_strace() -> Result<(), Failure> {
    let tried = std::process::Command::new("strace").args(["-qq", "-o", "/dev/null", "--", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(Failure::Missing(format!("strace may not trace: {}", String::from_utf8_lossy(&output.stderr))))
        }
        Err(error) => Err(Failure::Missing(format!("the program strace: {error}"))),
    }
}

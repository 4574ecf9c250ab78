//! A process that is stopped for a while and goes on: clients give up on it meanwhile, holds expire, and nothing is done twice.

use std::thread;
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use rustix::process::Signal;

use super::load::{self, Manner};
use super::program::{ANSWER_WAIT, Program};
use super::run::{Basis, Failure, remove, settles, start, under_load, wait_for_answers};
use super::told::{Told, now};

/// How long clients wait for an answer: less than a pause.
const CLIENT_WAIT: Duration = Duration::from_millis(700);
/// Seconds of the holds that expire during a pause, or soon after.
const SHORT_HOLD_SECONDS: i64 = 1;
/// What the sweeper takes, and the times that a history does not look at.
const SWEPT_WITHIN: Duration = Duration::from_secs(7);

/// Stops the program so many times, for so long.
pub(crate) fn run(basis: &Basis, pauses: usize, seconds: u64) -> Result<String, Failure> {
    let mut random = Pcg64::seed_from_u64(basis.seed);
    let folder = basis.folder_for("paused")?;
    let program = Program::on(&basis.program, &folder);
    let told = Told::default();
    let running = start(&program)?;
    load::introduce(&running.http(ANSWER_WAIT))?;
    let mut unknown = 0;
    for pause in 0..pauses {
        let pause_for = Duration::from_secs(seconds) + Duration::from_millis(random.random_range(0..500));
        let manner = Manner {
            short_hold_seconds: SHORT_HOLD_SECONDS,
            goes_on: true,
            pause: Duration::from_millis(2),
            ..Manner::default()
        };
        let name = format!("pause_{pause}");
        under_load(&running.http(CLIENT_WAIT), &told, manner, (random.random(), &name), |shared| {
            wait_for_answers(shared, random.random_range(20..120), Duration::from_secs(20));
            running.signal(Signal::STOP)?;
            thread::sleep(pause_for);
            running.signal(Signal::CONT)?;
            thread::sleep(Duration::from_millis(300));
            Ok(())
        })
        .map_err(|problem| format!("{name}: {problem}"))?;
        unknown +=
            settles_in_time(|| settles(&running, &told, u64::MAX)).map_err(|problem| format!("{name}: {problem}"))?;
    }
    thread::sleep(SWEPT_WITHIN);
    told.so_far().history.times_hold(&mut running.http(ANSWER_WAIT), now())?;
    settles(&running, &told, u64::MAX)?;
    drop(running);
    program.verify()?;
    remove(&folder);
    let done = told.so_far().history.acknowledged();
    Ok(format!(
        "{pauses} pauses of {seconds} s; {done} operations acknowledged, none lost or twice; {unknown} requests unknown, asked \
         again; what was held for {SHORT_HOLD_SECONDS} s was given back, what was held for a day is held"
    ))
}

/// Looks again where a hold expired between two looks of one kind: what is listed and what is summed are read one after the
/// other. What is really wrong stays wrong.
fn settles_in_time(mut look: impl FnMut() -> Result<usize, String>) -> Result<usize, String> {
    let began = Instant::now();
    loop {
        match look() {
            Err(problem) if problem.contains("held ") && began.elapsed() < SWEPT_WITHIN => {
                thread::sleep(Duration::from_millis(500));
            }
            looked => return looked,
        }
    }
}

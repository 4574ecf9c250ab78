//! The clock jumps: over the border of a month, back by a day, forward by a year; while the program runs, and while it does not.
//!
//! It needs a program that reads the time from a file (the feature `test-clock`). Operations without a time of their own are
//! booked in the month that the clock shows; nothing else may depend on it. A hold that runs over the border counts in both
//! months, one that a sudden jump would end is not ended in the same process, and a later start believes the clock.

use std::fs;
use std::path::Path;

use outlay_core::month::Timestamp;
use outlay_sim::history::Shows as _;
use outlay_sim::wire::Ask;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use serde_json::{Value, json};

use super::load::{self, USERS};
use super::program::{ANSWER_WAIT, Http, Program};
use super::run::{Basis, Failure, proves, remove, start};
use super::told::Told;

/// Where every round begins: two minutes before the border of a month, and of a leap day.
const BEGINS: &str = "2028-02-29T23:58:00Z";
/// Seconds by which the clock goes: a step over the border, back by a day, forward by a year, and little ones.
const JUMPS: [i64; 6] = [180, -86_400, 365 * 86_400, 1, 3_600, -5];
/// Jumps of one folder.
const JUMPS_PER_ROUND: usize = 8;

/// Turns the clock so many times.
///
/// # Errors
/// Also where the program does not read the time from a file.
pub(crate) fn run(basis: &Basis, jumps: usize) -> Result<String, Failure> {
    let mut random = Pcg64::seed_from_u64(basis.seed);
    let (mut done, mut operations, mut restarts) = (0, 0, 0);
    while done < jumps {
        let folder = basis.folder_for(&format!("clock-{done}"))?;
        let clock = folder.join("clock");
        let program = Program { clock: Some(clock.clone()), ..Program::on(&basis.program, &folder) };
        let mut now = parsed(BEGINS)?;
        set(&clock, now)?;
        let mut running = start(&program)?;
        reads_the_file(&running.http(ANSWER_WAIT), BEGINS)?;
        load::introduce(&running.http(ANSWER_WAIT))?;
        let told = Told::default();
        let mut expected: Vec<(String, String)> = Vec::new();
        for jump in 0..JUMPS_PER_ROUND.min(jumps - done) {
            let http = running.http(ANSWER_WAIT);
            for n in 0..5 {
                let id = format!("{jump}_{n}");
                let month = now.month().to_string();
                let body = json!({"operationId": id, "userId": USERS[0], "feature": "torture", "cost": "0.001"});
                let answer = asked(&http, "POST", "/v1/usage".to_owned(), body)?;
                if answer["month"] != month.as_str() {
                    return Err(format!("at {now} an operation was booked: {answer}").into());
                }
                expected.push((id, month));
            }
            let session = json!({"sessionId": format!("session_{jump}"), "feature": "torture", "holdSeconds": 900,
                "estimate": {"cost": "0.25"}});
            asked(&http, "POST", format!("/v1/users/{}/sessions", USERS[3]), session)?;
            let before = held(&mut running.http(ANSWER_WAIT), now)?;
            let by = JUMPS[random.random_range(0..JUMPS.len())];
            let then = now;
            now = now.plus_seconds(by);
            let is_restarted = random.random_bool(0.4);
            if is_restarted {
                running.kill()?;
                set(&clock, now)?;
                running = start(&program)?;
                restarts += 1;
            } else {
                set(&clock, now)?;
                // A jump by more than a minute is not believed for holds, so none of them is ended by it.
                // They stay in the months that they were opened in.
                let after = held(&mut running.http(ANSWER_WAIT), then)?;
                if by > 60 && after < before {
                    return Err(format!("a jump of {by} s ended holds: {before} held, then {after}").into());
                }
            }
            booked(&mut running.http(ANSWER_WAIT), &expected)?;
            proves(&running.http(ANSWER_WAIT))?;
            done += 1;
        }
        operations += expected.len();
        drop((running, told));
        program.verify()?;
        remove(&folder);
    }
    Ok(format!(
        "{done} jumps, {restarts} of them between a kill and a start; {operations} operations in the month of the clock"
    ))
}

pub(super) fn parsed(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text).map_err(|error| format!("{text}: {error}"))
}

/// The file is replaced at once, so that nobody reads half a time.
pub(super) fn set(clock: &Path, now: Timestamp) -> Result<(), String> {
    let next = clock.with_extension("next");
    let set = fs::write(&next, now.to_string()).and_then(|()| fs::rename(&next, clock));
    set.map_err(|error| format!("set the clock: {error}"))
}

/// Refuses a program that does not; at `now` it shows the month.
pub(super) fn reads_the_file(http: &Http, now: &str) -> Result<(), Failure> {
    let budget = http.clone().get(&format!("/v1/users/{}/budget", USERS[0]))?;
    if now.starts_with(budget["month"].as_str().unwrap_or("none")) {
        return Ok(());
    }
    Err(Failure::Missing(
        "a program that reads the time from a file: build it with --features outlay/test-clock".to_owned(),
    ))
}

fn asked(http: &Http, method: &'static str, path: String, body: Value) -> Result<Value, String> {
    let reply = http.ask(&Ask { method, path, body: Some(body.clone()) });
    if reply.is_acknowledged() {
        Ok(reply.body)
    } else {
        Err(format!("{body} is answered {} {}", reply.status, reply.body))
    }
}

/// What is held in the month of an instant, in picodollars.
fn held(http: &mut Http, now: Timestamp) -> Result<i128, String> {
    let budget = http.get(&format!("/v1/users/{}/budget?month={}", USERS[3], now.month()))?;
    Ok(outlay_sim::history::picos(&budget["meters"]["cost"]["held"]))
}

/// Each operation is there once, in its month, and the months are their sums.
fn booked(http: &mut Http, expected: &[(String, String)]) -> Result<(), String> {
    let mut listed: Vec<(String, String)> = http
        .all(&format!("/v1/users/{}/usage?limit=1000", USERS[0]))?
        .iter()
        .map(|operation| {
            let text = |name: &str| operation[name].as_str().unwrap_or_default().to_owned();
            (text("operationId"), text("month"))
        })
        .collect();
    listed.reverse();
    if listed != expected {
        return Err(format!("listed are {listed:?}, recorded were {expected:?}"));
    }
    let mut months: Vec<&String> = expected.iter().map(|(_, month)| month).collect();
    months.sort_unstable();
    months.dedup();
    for month in months {
        let count = expected.iter().filter(|(_, of)| of == month).count() as i128;
        let budget = http.get(&format!("/v1/users/{}/budget?month={month}", USERS[0]))?;
        let used = outlay_sim::history::picos(&budget["meters"]["cost"]["used"]);
        if used != count * 1_000_000_000 {
            return Err(format!("{month} has {count} operations of 0.001 and shows {used} picodollars"));
        }
    }
    Ok(())
}

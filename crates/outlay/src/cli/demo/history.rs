//! Records the months that lie behind: everybody opens, records and finishes as they would have, on a clock that is moved
//! through the past, so that sessions, denials, alerts and abandoned holds are dated as they were decided.

use indicatif::{ProgressBar, ProgressStyle};
use outlay_core::id::UserId;
use outlay_core::ledger::{Command, Outcome};
use outlay_core::month::Timestamp;
use outlay_core::plan::Overrides;
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::super::Failure;
use super::acts::Doing;
use super::people::{MONTHS_BACK, Person, Plan, READER, month_of, population};
use crate::clock::{Clock as _, ReplayClock};
use crate::writer::{WriteError, Writer};

/// How long a hold lasts.
pub(super) const HOLD_SECONDS: i64 = 900;
/// What begins within so many seconds of the distant past is recorded together: each batch waits for the disk.
const SLICE_SECONDS: i64 = 4 * 3_600;
/// The same for the last day, which is looked at closely.
const RECENT_SLICE_SECONDS: i64 = 600;
/// What the last day is.
const RECENT_SECONDS: i64 = 24 * 3_600;

/// Records everything up to now.
pub(super) async fn record(writer: &Writer, clock: &ReplayClock, now: Timestamp, seed: u64) -> Result<(), Failure> {
    let first = now.month().minus(MONTHS_BACK);
    let people = population(first, seed);
    put_everybody(writer, &people).await?;
    let bar = ProgressBar::new(u64::from(MONTHS_BACK) + 1);
    if let Ok(style) = ProgressStyle::with_template("making sample data {bar:30} {msg}") {
        bar.set_style(style);
    }
    let mut month = first;
    while month <= now.month() {
        bar.set_message(month.to_string());
        let plans = month_of(&people, month);
        let begun = plans.partition_point(|plan| plan.at < now);
        let mut plans = plans.get(..begun).unwrap_or_default();
        while let Some(next) = plans.first() {
            let recent = now.seconds() - next.at.seconds() < RECENT_SECONDS;
            let seconds = if recent { RECENT_SLICE_SECONDS } else { SLICE_SECONDS };
            // Slices begin at whole multiples, so that they are the same in each demo of a day.
            let end = (next.at.seconds().div_euclid(seconds) + 1) * seconds;
            let (slice, rest) = plans.split_at(plans.partition_point(|plan| plan.at.seconds() < end));
            record_slice(writer, clock, &people, slice).await?;
            plans = rest;
        }
        bar.inc(1);
        month = month.next();
    }
    clock.catch_up();
    put(writer, &UserId::from_stored(READER), "premium").await?;
    bar.finish_and_clear();
    Ok(())
}

async fn put_everybody(writer: &Writer, people: &[Person]) -> Result<(), Failure> {
    for person in people {
        put(writer, &person.user_id, person.plan.as_str()).await?;
    }
    Ok(())
}

async fn put(writer: &Writer, user_id: &UserId, plan: &str) -> Result<(), Failure> {
    let command = Command::PutUser {
        user_id: user_id.clone(),
        plan: Some(outlay_core::id::Name::from_stored(plan)),
        email: None,
        overrides: Overrides::default(),
    };
    writer.submit(command).await.map(drop).map_err(|error| failed(&error))
}

/// Two batches: what begins within the slice is opened, and a little later done.
async fn record_slice(writer: &Writer, clock: &ReplayClock, people: &[Person], slice: &[Plan]) -> Result<(), Failure> {
    let (Some(first), Some(last)) = (slice.first(), slice.last()) else { return Ok(()) };
    let mut random = Pcg64::seed_from_u64(first.seed);
    clock.move_to(last.at);
    let opened_at = clock.wall();
    writer.sweep().await.map_err(|error| failed(&error))?;
    let mut doings = Vec::with_capacity(slice.len());
    let mut opens = Vec::new();
    for plan in slice {
        let Some(person) = people.get(plan.person) else { continue };
        let mut random = Pcg64::seed_from_u64(plan.seed);
        let doing = Doing::new(plan.act, plan.at, &mut random);
        opens.extend(open(&doing, &person.user_id));
        doings.push((person, doing, random));
    }
    let mut opened = writer.submit_all(opens).await.map_err(|error| failed(&error))?.into_iter();

    let mut operations = Vec::new();
    for (person, doing, mut random) in doings {
        let choice = if doing.ask.is_some() {
            match opened.next() {
                Some(Ok(Outcome::Opened { session, .. })) => session.hold.and_then(|hold| hold.choice),
                _ => continue,
            }
        } else {
            None
        };
        let choice = choice.as_ref().map(outlay_core::id::Name::as_str);
        operations.extend(doing.operations(choice, &person.user_id, opened_at, &mut random));
    }
    clock.move_to(opened_at.plus_seconds(random.random_range(2..9)));
    let commands = operations.into_iter().map(|operation| Command::Record(Box::new(operation))).collect();
    writer.submit_all(commands).await.map_err(|error| failed(&error))?;
    Ok(())
}

/// The command that opens a session for it, if it sets something aside.
pub(super) fn open(doing: &Doing, user_id: &UserId) -> Option<Command> {
    Some(Command::Open {
        user_id: user_id.clone(),
        session_id: doing.session_id.clone(),
        feature: doing.feature.clone(),
        ask: doing.ask.clone()?,
        hold_seconds: HOLD_SECONDS,
        metadata: None,
    })
}

fn failed(error: &WriteError) -> Failure {
    Failure::Other(format!("make the sample data: failed to {error}"))
}

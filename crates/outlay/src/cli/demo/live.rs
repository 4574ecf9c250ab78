//! Goes on where the sample data ends: about every second somebody does something, as it is done by a real application.

use std::time::Duration;

use outlay_core::id::Name;
use outlay_core::ledger::{Command, Outcome};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;

use super::acts::{Act, Doing};
use super::history::open;
use super::people::{MONTHS_BACK, Person, population, somebody};
use crate::clock::SharedClock;
use crate::writer::{WriteError, Writer};

/// Milliseconds between one thing and the next.
const PAUSE: std::ops::Range<u64> = 500..1_500;
/// Milliseconds that a step takes here, where nobody waits for a model.
const STEP: std::ops::Range<u64> = 60..400;

/// Records for as long as it runs.
pub(super) async fn go_on(writer: Writer, clock: SharedClock, seed: u64) {
    let now = clock.wall();
    // Another seed each time: what was done already is not done again.
    let mut random = Pcg64::seed_from_u64(u64::try_from(now.nanos()).unwrap_or(0));
    let people = population(now.month().minus(MONTHS_BACK), seed);
    loop {
        tokio::time::sleep(Duration::from_millis(random.random_range(PAUSE))).await;
        let Some(person) = people.get(somebody(&people, &mut random)) else { continue };
        if let Err(error) = do_something(&writer, &clock, person, &mut random).await {
            tracing::warn!("the demo's own users failed to {error}");
        }
    }
}

async fn do_something(
    writer: &Writer,
    clock: &SharedClock,
    person: &Person,
    random: &mut Pcg64,
) -> Result<(), WriteError> {
    let act = match random.random_range(0..100) {
        0..45 => Act::Scan,
        45..65 => Act::Search,
        65..85 => Act::Enrichment,
        85..99 => Act::PlaceSearch,
        _ => Act::Enhancement,
    };
    let doing = Doing::new(act, clock.wall(), random);
    let mut choice = None;
    if let Some(open) = open(&doing, &person.user_id) {
        match writer.submit(open).await? {
            Outcome::Opened { session, .. } => choice = session.hold.and_then(|hold| hold.choice),
            _ => return Ok(()),
        }
    }
    for mut operation in doing.operations(choice.as_ref().map(Name::as_str), &person.user_id, clock.wall(), random) {
        tokio::time::sleep(Duration::from_millis(random.random_range(STEP))).await;
        operation.timestamp = Some(clock.wall());
        writer.submit(Command::Record(Box::new(operation))).await?;
    }
    Ok(())
}

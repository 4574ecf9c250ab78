//! When a message is tried again: twelve tries over 76 hours, each so long after the one before.

use outlay_core::month::Timestamp;

use super::super::Failure;
use crate::store::outbox::{AfterTry, DeliveryState};

/// Seconds before each try.
const PAUSES: [u32; 12] = [0, 5, 30, 120, 600, 1_800, 7_200, 18_000, 36_000, 50_400, 72_000, 86_400];
/// The part of a pause by which it may be longer or shorter, so that what failed together does not come back together.
const JITTER: f64 = 0.05;

/// What comes of a try that failed. `step` is its place among the tries, `chance` a number from 0 to 1; `once` is a try that
/// has none after it.
pub(super) fn after(step: usize, once: bool, failure: &Failure, now: Timestamp, chance: f64) -> AfterTry {
    let next = step.saturating_add(1);
    match PAUSES.get(next) {
        Some(pause) if !(once || failure.gone || failure.kept) => {
            let pause = f64::from(*pause) * (1.0 - JITTER + 2.0 * JITTER * chance);
            let pause = pause.max(failure.retry_after.unwrap_or_default().as_secs_f64());
            #[expect(clippy::cast_possible_truncation, reason = "a pause of a day or so in nanoseconds")]
            let due = now.plus_nanos((pause * 1e9) as i128);
            AfterTry::Again { due, step: next }
        }
        _ => AfterTry::Ended { state: DeliveryState::Failed, gone: failure.gone },
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn twelve_tries_take_76_hours_and_then_it_is_kept() {
        let failure = Failure::passing("did not answer");
        let begun = at("2025-10-13T12:00:00Z");
        let (mut now, mut step, mut tries) = (begun, 0, 1);
        while let AfterTry::Again { due, step: next } = after(step, false, &failure, now, 0.5) {
            assert!(due > now);
            (now, step, tries) = (due, next, tries + 1);
        }
        assert_eq!(tries, 12);
        let hours = (now.nanos() - begun.nanos()) / 3_600_000_000_000;
        assert!((75..=76).contains(&hours), "{hours}");
        assert_eq!(
            after(step, false, &failure, now, 0.5),
            AfterTry::Ended { state: DeliveryState::Failed, gone: false }
        );
    }

    #[test]
    fn pauses_differ_by_chance_and_are_as_long_as_the_receiver_asks() {
        let now = at("2025-10-13T12:00:00Z");
        let due = |failure: &Failure, chance| match after(4, false, failure, now, chance) {
            AfterTry::Again { due, step: 5 } => (due.nanos() - now.nanos()) / 1_000_000_000,
            other => panic!("{other:?}"),
        };
        let failure = Failure::passing("500");
        assert_eq!([due(&failure, 0.0), due(&failure, 0.5), due(&failure, 1.0)], [1_710, 1_800, 1_890]);
        let asked = Failure { retry_after: Some(Duration::from_mins(150)), ..failure.clone() };
        assert_eq!(due(&asked, 0.5), 9_000);
        let little = Failure { retry_after: Some(Duration::from_secs(9)), ..failure };
        assert_eq!(due(&little, 0.5), 1_800);
    }

    #[test]
    fn what_cannot_help_is_not_tried_again() {
        let now = at("2025-10-13T12:00:00Z");
        let ended = |gone| AfterTry::Ended { state: DeliveryState::Failed, gone };
        let gone = Failure { gone: true, ..Failure::passing("410") };
        assert_eq!(after(0, false, &gone, now, 0.5), ended(true));
        assert_eq!(after(0, false, &Failure::lasting("no address"), now, 0.5), ended(false));
        assert_eq!(after(0, true, &Failure::passing("500"), now, 0.5), ended(false));
    }
}

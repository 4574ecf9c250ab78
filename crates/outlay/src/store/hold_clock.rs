//! The store's clock: it never runs backward, and it does not believe a sudden jump forward.
//!
//! Holds expire by it. It is the wall clock, but never behind what the store has already decided at; and within one
//! process a jump of more than a minute against the monotonic clock is not believed for ten minutes, since a wrong clock
//! would give back every hold at once.

use outlay_core::month::Timestamp;
use parking_lot::Mutex;

use crate::clock::SharedClock;

/// The smallest jump forward that is doubted.
const JUMP_NANOS: i128 = 60_000_000_000;
/// How long a jump is doubted.
const DOUBT_NANOS: u64 = 600_000_000_000;
/// How long one reading of both clocks may take.
const MOMENT_NANOS: u64 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct HoldClock {
    clock: SharedClock,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// What the clock last said, or what the store kept of the run before.
    last: Timestamp,
    monotonic: u64,
    /// Until when, on the monotonic clock, the wall clock is not believed.
    doubted_until: Option<u64>,
    /// The first reading of a run has nothing to compare a jump with.
    first: bool,
}

impl HoldClock {
    pub(super) fn new(clock: SharedClock, high_water: Timestamp) -> Self {
        let monotonic = clock.monotonic_nanos();
        Self { clock, state: Mutex::new(State { last: high_water, monotonic, doubted_until: None, first: true }) }
    }

    /// The wall clock.
    pub(super) fn wall(&self) -> Timestamp {
        self.clock.wall()
    }

    /// The time that decides holds.
    pub(super) fn now(&self) -> Timestamp {
        self.at(self.clock.wall())
    }

    /// The same where a wall clock says this, that of the database for instance: what has passed since is this machine's to say.
    pub(super) fn at(&self, wall: Timestamp) -> Timestamp {
        self.at_moment(wall, self.clock.monotonic_nanos())
    }

    /// The same by a wall clock that is read now. Whoever stood still between reading it and the monotonic one, reads again:
    /// what passed meanwhile would look like a jump to whoever comes next.
    pub(super) fn by(&self, wall: impl Fn() -> Timestamp) -> Timestamp {
        let mut before = self.clock.monotonic_nanos();
        loop {
            let (wall, monotonic) = (wall(), self.clock.monotonic_nanos());
            if monotonic.saturating_sub(before) < MOMENT_NANOS {
                return self.at_moment(wall, monotonic);
            }
            before = monotonic;
        }
    }

    fn at_moment(&self, wall: Timestamp, monotonic: u64) -> Timestamp {
        let mut state = self.state.lock();
        let passed = i128::from(monotonic.saturating_sub(state.monotonic));
        let jumped = wall.nanos() - state.last.nanos() - passed > JUMP_NANOS;
        match state.doubted_until {
            None if jumped && !state.first => {
                tracing::warn!(%wall, believed = %state.last, "the wall clock jumped forward; holds do not follow it for ten minutes");
                state.doubted_until = Some(monotonic.saturating_add(DOUBT_NANOS));
            }
            Some(until) if monotonic >= until || !jumped => state.doubted_until = None,
            _ => {}
        }
        let now = if state.doubted_until.is_some() { state.last.plus_nanos(passed) } else { wall };
        state.last = state.last.max(now);
        state.monotonic = state.monotonic.max(monotonic);
        state.first = false;
        state.last
    }

    /// Whether a jump of the wall clock is not believed yet.
    pub(super) fn doubts(&self) -> bool {
        self.state.lock().doubted_until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::Clock;

    #[derive(Debug, Default)]
    struct SetClock(Mutex<(i64, u64)>);

    impl Clock for SetClock {
        fn wall(&self) -> Timestamp {
            Timestamp::from_seconds(self.0.lock().0).unwrap()
        }
        fn monotonic_nanos(&self) -> u64 {
            self.0.lock().1 * 1_000_000_000
        }
    }

    #[test]
    fn the_clock_of_holds_never_runs_backward_and_doubts_a_jump_for_ten_minutes() {
        let set = Arc::new(SetClock::default());
        let at = |wall, monotonic| *set.0.lock() = (wall, monotonic);
        at(1_000, 0);
        let clock = HoldClock::new(Arc::clone(&set) as SharedClock, Timestamp::from_seconds(2_000).unwrap());
        assert_eq!(clock.now().seconds(), 2_000, "behind what was decided before, it waits");
        at(2_500, 1);
        assert_eq!((clock.now().seconds(), clock.doubts()), (2_001, true));
        at(2_550, 51);
        assert_eq!(clock.now().seconds(), 2_051);
        at(3_101, 602);
        assert_eq!((clock.now().seconds(), clock.doubts()), (3_101, false), "after ten minutes it is believed");
        at(3_000, 603);
        assert_eq!(clock.now().seconds(), 3_101);
        at(3_131, 604);
        assert_eq!(clock.now().seconds(), 3_131, "half a minute is believed at once");
    }

    #[test]
    fn who_stands_still_while_reading_the_clocks_has_nobody_doubt_them() {
        let set = Arc::new(SetClock::default());
        *set.0.lock() = (1_000, 0);
        let clock = HoldClock::new(Arc::clone(&set) as SharedClock, Timestamp::from_seconds(0).unwrap());
        clock.now();
        let stood_still = std::cell::Cell::new(false);
        let said = clock.by(|| {
            let wall = set.wall();
            if !stood_still.replace(true) {
                *set.0.lock() = (5_000, 4_000);
            }
            wall
        });
        assert_eq!((said.seconds(), clock.now().seconds(), clock.doubts()), (5_000, 5_000, false));
    }
}

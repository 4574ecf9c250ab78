//! The simulated clock: a wall clock and a monotonic one, both standing where they are put.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use outlay::clock::Clock;
use outlay_core::month::Timestamp;

/// A clock that only its driver moves. It outlives the processes that read it, like the clock of a machine.
#[derive(Debug)]
pub struct SimClock {
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
struct State {
    /// The true time.
    now: Timestamp,
    /// Seconds by which the wall clock is off.
    wall_off: i64,
    monotonic_nanos: u64,
}

impl SimClock {
    /// A clock that shows this time.
    pub fn at(now: Timestamp) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { now, wall_off: 0, monotonic_nanos: 0 }) })
    }

    /// Lets time pass until this instant; nothing when it is past already.
    pub fn pass_until(&self, instant: Timestamp) {
        let mut state = self.lock();
        let nanos = (instant.nanos() - state.now.nanos()).max(0);
        state.now = state.now.max(instant);
        state.monotonic_nanos += u64::try_from(nanos).expect("a simulation is shorter than 500 years");
    }

    /// Sets the wall clock off by so many seconds from now on.
    pub fn set_wall_off(&self, seconds: i64) {
        self.lock().wall_off = seconds;
    }

    /// Seconds by which the wall clock is off.
    pub fn wall_off(&self) -> i64 {
        self.lock().wall_off
    }

    /// The true time.
    pub fn now(&self) -> Timestamp {
        self.lock().now
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Timestamp {
        let state = self.lock();
        state.now.plus_seconds(state.wall_off)
    }

    fn monotonic_nanos(&self) -> u64 {
        self.lock().monotonic_nanos
    }
}

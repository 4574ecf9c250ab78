//! The only place that asks what time it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outlay_core::month::Timestamp;

/// What a store and the edge read the time from.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Nanoseconds on a clock that nobody sets, from an arbitrary start.
    fn monotonic_nanos(&self) -> u64;
    /// Whether it is told what time it is: then no other clock counts beside it, such as a database's.
    fn is_told(&self) -> bool {
        false
    }
}

/// A clock that many share.
pub type SharedClock = Arc<dyn Clock>;

/// The clock of the machine.
#[derive(Debug)]
pub struct SystemClock {
    started: std::time::Instant,
    #[cfg(feature = "test-clock")]
    file: Option<std::path::PathBuf>,
}

impl SystemClock {
    /// The clock of the machine; in a build for tests, that of the file named by `OUTLAY_TEST_CLOCK` if there is one.
    #[expect(clippy::disallowed_methods, reason = "this is the room of the clock")]
    pub fn shared() -> SharedClock {
        Arc::new(Self {
            started: std::time::Instant::now(),
            #[cfg(feature = "test-clock")]
            file: std::env::var_os("OUTLAY_TEST_CLOCK").map(Into::into),
        })
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the room of the clock")]
    fn wall(&self) -> Timestamp {
        #[cfg(feature = "test-clock")]
        if let Some(instant) = self.file.as_ref().and_then(|file| {
            let text = std::fs::read_to_string(file).ok()?;
            Timestamp::parse(text.trim()).ok()
        }) {
            return instant;
        }
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        i128::try_from(since_epoch.as_nanos())
            .ok()
            .and_then(|nanos| Timestamp::from_nanos(nanos).ok())
            .unwrap_or(Timestamp::EPOCH)
    }

    #[cfg(feature = "test-clock")]
    fn is_told(&self) -> bool {
        self.file.is_some()
    }

    fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that begins in the past and is moved up to the present, so that a history is recorded as it would have been.
///
/// Its monotonic time moves with its wall time: to a store it is not a clock that was set, but time that passed.
#[derive(Debug)]
pub struct ReplayClock {
    machine: SharedClock,
    /// Nanoseconds behind the machine's clock, and how many it was at the start.
    behind: AtomicU64,
    behind_at_start: u64,
}

impl ReplayClock {
    /// A clock that stands at `start`; one that lies ahead of the machine's clock is now.
    pub fn new(machine: SharedClock, start: Timestamp) -> Self {
        let behind = behind(&machine, start);
        Self { machine, behind: AtomicU64::new(behind), behind_at_start: behind }
    }

    /// Moves forward to this instant; never backward, and never ahead of the machine's clock.
    pub fn move_to(&self, instant: Timestamp) {
        self.behind.fetch_min(behind(&self.machine, instant), Ordering::AcqRel);
    }

    /// Moves to the present, for good.
    pub fn catch_up(&self) {
        self.behind.store(0, Ordering::Release);
    }
}

fn behind(machine: &SharedClock, instant: Timestamp) -> u64 {
    u64::try_from(machine.wall().nanos() - instant.nanos()).unwrap_or(0)
}

impl Clock for ReplayClock {
    fn wall(&self) -> Timestamp {
        self.machine.wall().plus_nanos(-i128::from(self.behind.load(Ordering::Acquire)))
    }

    fn monotonic_nanos(&self) -> u64 {
        let passed = self.behind_at_start - self.behind.load(Ordering::Acquire);
        self.machine.monotonic_nanos().saturating_add(passed)
    }

    fn is_told(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_moves_forward_only_and_ends_in_the_present() {
        let machine = SystemClock::shared();
        let start = Timestamp::parse("2024-02-29T00:00:00Z").unwrap();
        let clock = ReplayClock::new(Arc::clone(&machine), start);
        assert!(clock.wall() >= start && clock.wall() < start.plus_seconds(3_600));
        let before = clock.monotonic_nanos();
        clock.move_to(start.plus_seconds(86_400));
        assert!(clock.monotonic_nanos() - before >= 86_000_000_000_000);
        clock.move_to(start);
        assert!(clock.wall() >= start.plus_seconds(86_400));
        clock.move_to(machine.wall().plus_seconds(1_000_000));
        clock.catch_up();
        assert!(clock.wall() <= machine.wall());
    }
}

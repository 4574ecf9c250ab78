//! The only place that asks what time it is.

use std::sync::Arc;

use outlay_core::month::Timestamp;

/// What a store and the edge read the time from.
pub trait Clock: Send + Sync + std::fmt::Debug + 'static {
    /// The wall clock.
    fn wall(&self) -> Timestamp;
    /// Nanoseconds on a clock that nobody sets, from an arbitrary start.
    fn monotonic_nanos(&self) -> u64;
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

    fn monotonic_nanos(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

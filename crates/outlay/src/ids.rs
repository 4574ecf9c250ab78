//! The ids and secrets that the server makes: the only place of the edge that is random.
//!
//! Ids are sortable by time (UUID version 7) and need not be unguessable; secrets come from the operating system. A
//! simulation gives a seed instead, and then everything made here follows from it.

use std::fmt;
use std::sync::Arc;

use outlay_core::id::{OperationId, SessionId};
use parking_lot::Mutex;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use uuid::Uuid;

use crate::clock::SharedClock;

/// A maker of ids and secrets; cheap to clone.
#[derive(Clone)]
pub struct Ids {
    shared: Arc<Shared>,
}

struct Shared {
    clock: SharedClock,
    random: Mutex<Pcg64>,
    /// Whether secrets come from the seed too, as a simulation wants it.
    seeded: bool,
}

impl fmt::Debug for Ids {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Ids")
    }
}

impl Ids {
    /// Ids and secrets from the randomness of the operating system.
    ///
    /// # Errors
    /// When the operating system has none to give.
    pub fn from_system(clock: SharedClock) -> Result<Self, getrandom::Error> {
        let mut seed = <Pcg64 as SeedableRng>::Seed::default();
        getrandom::fill(&mut seed)?;
        Ok(Self::of(clock, Pcg64::from_seed(seed), false))
    }

    /// Ids and secrets that all follow from a seed; for simulations only.
    pub fn from_seed(clock: SharedClock, seed: u64) -> Self {
        Self::of(clock, Pcg64::seed_from_u64(seed), true)
    }

    fn of(clock: SharedClock, random: Pcg64, seeded: bool) -> Self {
        Self { shared: Arc::new(Shared { clock, random: Mutex::new(random), seeded }) }
    }

    /// An id for an operation that came without one, like `operation_0199a1b2-...`.
    pub fn operation(&self) -> OperationId {
        OperationId::from_stored(format!("operation_{}", self.uuid()))
    }

    /// An id for a session that came without one, like `session_0199a1b2-...`.
    pub fn session(&self) -> SessionId {
        SessionId::from_stored(format!("session_{}", self.uuid()))
    }

    /// An id for a request, to find it again in the log.
    pub fn request(&self) -> RequestId {
        RequestId(self.uuid())
    }

    /// A number from 0 to 1, by chance.
    pub fn chance(&self) -> f64 {
        f64::from(self.shared.random.lock().next_u32()) / f64::from(u32::MAX)
    }

    /// Fills bytes that nobody may guess.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn secret(&self, bytes: &mut [u8]) -> Result<(), getrandom::Error> {
        if self.shared.seeded {
            self.shared.random.lock().fill_bytes(bytes);
            return Ok(());
        }
        getrandom::fill(bytes)
    }

    fn uuid(&self) -> Uuid {
        let millis = self.shared.clock.wall().nanos().div_euclid(1_000_000);
        let mut bytes = [0; 10];
        self.shared.random.lock().fill_bytes(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(millis).unwrap_or(0), &bytes).into_uuid()
    }
}

/// The id of one request: in `X-Request-Id`, in every problem and in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestId(Uuid);

impl fmt::Display for RequestId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    #[test]
    fn ids_differ_and_a_seed_repeats_its_secrets() {
        let ids = Ids::from_system(SystemClock::shared()).unwrap();
        assert_ne!(ids.operation(), ids.operation());
        assert!(SessionId::new(ids.session().as_str()).is_ok());
        let secret = |ids: &Ids| {
            let mut bytes = [0; 32];
            ids.secret(&mut bytes).unwrap();
            bytes
        };
        assert_ne!(secret(&ids), secret(&ids));
        let seeded = || Ids::from_seed(SystemClock::shared(), 7);
        assert_eq!(secret(&seeded()), secret(&seeded()));
    }
}

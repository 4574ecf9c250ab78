//! Where a store's randomness comes from.

use rand::SeedableRng;
use rand_pcg::Pcg64;

use crate::store::StoreError;

/// From a seed, so that all that follows can be had again; `None`: from the machine.
///
/// # Errors
/// When the machine has none to give.
pub(super) fn seeded(seed: Option<u64>) -> Result<Pcg64, StoreError> {
    let Some(seed) = seed else {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|error| StoreError::Unavailable(error.to_string()))?;
        return Ok(Pcg64::from_seed(bytes));
    };
    Ok(Pcg64::seed_from_u64(seed))
}

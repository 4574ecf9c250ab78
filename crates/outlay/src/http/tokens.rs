//! User tokens: PASETO v4.public, made for a browser, for one user, for a while.

use outlay_core::month::Timestamp;

use super::auth::Caller;

/// What makes and reads user tokens.
#[derive(Debug)]
pub struct Tokens {}

impl Tokens {
    /// Whose token it is, and what it reads; `None` when it is not one of ours, or not of this time.
    pub(super) fn read(&self, _shown: &str, _now: Timestamp) -> Option<Caller> {
        None
    }
}

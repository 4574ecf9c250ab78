//! What leaves this server to tell somebody: one message to one receiver, one try at a time.
//!
//! Here it is sent and said how that went; what is to be sent, when it is tried again and what is kept is others' job. A
//! message's id is the same on every try, so that a receiver can tell a second one from another message: delivery is at
//! least once.

pub mod letter;

use std::time::Duration;

/// What became of one try.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// The receiver took it.
    Delivered {
        /// What it answered: an HTTP status, or the code of an SMTP reply.
        status: Option<u16>,
    },
    /// It did not, or nobody knows whether it did.
    Failed(Failure),
}

/// Why a try failed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Failure {
    /// What the receiver answered, if it did: an HTTP status, or the code of an SMTP reply.
    pub status: Option<u16>,
    /// A short reason for the list of tries, such as `did not answer within 15 s`. It holds no secret, and nothing of what an
    /// HTTP receiver said.
    pub reason: String,
    /// How long the receiver asks to be left alone.
    pub retry_after: Option<Duration>,
    /// The receiver is gone and wants no more of this: 410.
    pub gone: bool,
    /// Another try would fail in the same way, as with an address that is none: it is kept, to be sent again by hand.
    pub kept: bool,
}

impl Failure {
    /// A failure that may pass by itself.
    pub fn passing(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }

    /// A failure that does not pass until somebody changes something.
    pub fn lasting(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), kept: true, ..Self::default() }
    }
}

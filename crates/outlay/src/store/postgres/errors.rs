//! What a failure of PostgreSQL means for a batch.

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use crate::store::StoreError;

/// A failure outside of a batch: nothing was begun.
#[expect(clippy::needless_pass_by_value, reason = "it stands in map_err")]
pub(super) fn unavailable(error: Error) -> StoreError {
    StoreError::Unavailable(told(&error))
}

impl From<Error> for StoreError {
    fn from(error: Error) -> Self {
        unavailable(error)
    }
}

/// What the server said, or what happened to the connection.
pub(super) fn told(error: &Error) -> String {
    if let Some(error) = error.as_db_error() {
        return format!("PostgreSQL says {}: {}", error.code().code(), error.message());
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

/// What to do about a batch that failed before its COMMIT was sent, or whose COMMIT surely had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cure {
    /// Run it again: somebody was in the way.
    Again,
    /// Connect again, then run it again: the server goes down, or is not the one that takes writes.
    Connect,
    /// Time went on faster than partitions were made: make them.
    Partition,
    /// Some command of it cannot be written: find which.
    Halve,
    /// The disk of the server is full.
    Full,
    /// Nothing that would help is known.
    None,
}

/// The cure for a failed statement.
pub(super) fn cure(error: &Error) -> Cure {
    let Some(code) = error.code() else { return Cure::Connect };
    let class = code.code().get(..2).unwrap_or_default();
    match class {
        "53" if *code == SqlState::DISK_FULL => Cure::Full,
        "40" | "53" | "55" => Cure::Again,
        // A row that no partition takes is told as one that fails a check without a name.
        "23" if *code == SqlState::CHECK_VIOLATION
            && error.as_db_error().is_some_and(|error| error.constraint().is_none()) =>
        {
            Cure::Partition
        }
        // Also a duplicate: it means that somebody wrote without the bucket's lock, and must not stop the others.
        "22" | "23" => Cure::Halve,
        "08" | "57" => Cure::Connect,
        "25" if *code == SqlState::READ_ONLY_SQL_TRANSACTION => Cure::Connect,
        _ => Cure::None,
    }
}

//! What a failure of PostgreSQL means for a batch.

use tokio_postgres::Error;

use super::tries::{Answer, Cure, Failed};
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

/// The cure for a failed statement.
pub(super) fn cure(error: &Error) -> Cure {
    let Some(error) = error.as_db_error() else { return Cure::Connect };
    // A row that no partition takes is told as one that fails a check without a name.
    Cure::of(error.code().code(), error.constraint().is_some())
}

impl<D> From<Error> for Failed<D> {
    fn from(error: Error) -> Self {
        Self::Not(cure(&error), told(&error))
    }
}

/// What came back for a statement that went out together with COMMIT, or for COMMIT.
pub(super) fn answered<T>(answer: Result<T, Error>) -> Answer {
    match answer {
        Ok(_) => Answer::Well,
        Err(error) if error.as_db_error().is_none() => Answer::Lost,
        Err(error) => Answer::Refused(cure(&error), told(&error)),
    }
}

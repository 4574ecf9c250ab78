//! The names that an application gives to things: users, sessions, operations, and the short texts beside them.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Why a text cannot be an id, a name or a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TextError {
    /// Empty where at least one character is needed.
    #[error("must not be empty")]
    Empty,
    /// More characters than the field may have.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The most characters that the field may have.
        max: usize,
    },
    /// A control character, such as a line break or NUL.
    #[error("must not contain control characters")]
    Control,
    /// `.` or `..`, which browsers fold away in a path, even percent-encoded.
    #[error("must not be `.` or `..`")]
    Dots,
}

fn check(text: &str, characters_max: usize) -> Result<(), TextError> {
    if text.is_empty() {
        return Err(TextError::Empty);
    }
    // A byte count within the bound proves the character count without counting.
    if text.len() > characters_max && text.chars().count() > characters_max {
        return Err(TextError::TooLong { max: characters_max });
    }
    if text.chars().any(char::is_control) {
        return Err(TextError::Control);
    }
    Ok(())
}

macro_rules! text_type {
    ($(#[$doc:meta])* $name:ident, $max:literal, $dots_allowed:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The most characters that it may have.
            pub const CHARACTERS_MAX: usize = $max;

            /// Takes the text as it is, after checking it.
            ///
            /// # Errors
            /// When it is empty, too long, has a control character, or is an id that a URL cannot carry.
            pub fn new(text: &str) -> Result<Self, TextError> {
                check(text, $max)?;
                if !$dots_allowed && matches!(text, "." | "..") {
                    return Err(TextError::Dots);
                }
                Ok(Self(Arc::from(text)))
            }

            /// Takes a text that was checked when it was stored.
            pub fn from_stored(text: impl Into<Arc<str>>) -> Self {
                Self(text.into())
            }

            /// The text as the application gave it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl std::borrow::Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
    };
}

text_type!(
    /// The end user of the application, to whom cost is charged: 1 to 128 characters, opaque, kept as given.
    UserId, 128, false
);
text_type!(
    /// A unit of work of one user: 1 to 128 characters, unique per user for ever.
    SessionId, 128, false
);
text_type!(
    /// The idempotency key of one operation: 1 to 128 characters, unique per user for ever.
    OperationId, 128, false
);
text_type!(
    /// A feature, provider, model, choice or plan: 1 to 128 characters.
    Name, 128, true
);
text_type!(
    /// A step label, reason or error: 1 to 256 characters.
    Label, 256, true
);

/// A user's number in one store, given out once in order of first sight; rows name users by it, so that erasing a
/// person blanks one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserNo(pub u64);

/// An operation's number: its place in commit order, from 1, without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationNo(pub u64);

/// A session's number, in order of its first record, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionNo(pub u64);

/// A denial's number, in order of recording, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DenialNo(pub u64);

/// An alert's number, in order of recording, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AlertNo(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_kept_as_given_or_refused_with_the_reason() {
        assert_eq!(UserId::new("a/b %2F 'é'").unwrap().as_str(), "a/b %2F 'é'");
        assert_eq!(UserId::new(&"😀".repeat(128)).unwrap().as_str().len(), 512);
        assert_eq!(UserId::new(&"é".repeat(129)), Err(TextError::TooLong { max: 128 }));
        assert_eq!(UserId::new(""), Err(TextError::Empty));
        assert_eq!(UserId::new("a\nb"), Err(TextError::Control));
        assert_eq!(UserId::new("a\u{85}b"), Err(TextError::Control));
        assert_eq!(SessionId::new(".."), Err(TextError::Dots));
        assert_eq!(Name::new("..").unwrap().as_str(), "..");
    }

    #[test]
    fn a_text_finds_the_id_that_it_is() {
        let seen = std::collections::BTreeSet::from([UserId::from_stored("a"), UserId::from_stored("b")]);
        assert_eq!(seen.get("b").map(ToString::to_string), Some("b".to_owned()));
        assert!(!seen.contains("c"));
    }
}

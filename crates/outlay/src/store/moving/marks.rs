//! What a store says of its place in a move. A store that says anything is opened by nobody but the next move.

use std::fmt;

/// A store's place in a move.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Mark {
    /// It is being read, to be written there.
    Moving(String),
    /// It was moved there, and is the store no more.
    Moved(String),
    /// It is being filled from there.
    Filling(String),
    /// It is filled and was compared with what was there, which is still the store until it says [`Mark::Moved`].
    Filled(String),
}

const MOVING: &str = "moving to ";
const MOVED: &str = "moved to ";
const FILLING: &str = "being filled from ";
const FILLED: &str = "filled from ";

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, place) = match self {
            Self::Moving(place) => (MOVING, place),
            Self::Moved(place) => (MOVED, place),
            Self::Filling(place) => (FILLING, place),
            Self::Filled(place) => (FILLED, place),
        };
        write!(formatter, "{what}{place}")
    }
}

impl Mark {
    /// Reads a mark as it is written.
    pub fn parse(text: &str) -> Option<Self> {
        let place = |prefix: &str| text.strip_prefix(prefix).map(str::to_owned);
        (place(MOVING).map(Self::Moving))
            .or_else(|| place(MOVED).map(Self::Moved))
            .or_else(|| place(FILLING).map(Self::Filling))
            .or_else(|| place(FILLED).map(Self::Filled))
    }

    /// Why a store with this mark is not opened, and what is to be done.
    pub fn refusal(&self) -> String {
        match self {
            Self::Moving(place) => format!(
                "a move of it to {place} was begun and has not ended: run `outlay migrate` again, or take the mark away \
                 with `outlay migrate --abandon`"
            ),
            Self::Moved(place) => format!("it was moved to {place}, which is the store now: serve that one"),
            Self::Filling(place) => format!(
                "a move into it from {place} was begun and has not ended: empty it, and run `outlay migrate` again"
            ),
            Self::Filled(place) => {
                format!("a move into it from {place} has nearly ended: run `outlay migrate` again to end it")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_is_written() {
        let place = || "postgres://outlay:***@db/outlay".to_owned();
        for mark in [Mark::Moving(place()), Mark::Moved(place()), Mark::Filling(place()), Mark::Filled(place())] {
            assert_eq!(Mark::parse(&mark.to_string()), Some(mark.clone()));
            assert!(mark.refusal().contains("db/outlay"), "{}", mark.refusal());
        }
        assert_eq!(Mark::parse("elsewhere"), None);
    }
}

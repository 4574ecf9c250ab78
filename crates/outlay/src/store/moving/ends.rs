//! A move from one end to the other: what is checked before, in what order the two stores say what, and how it is ended
//! after a crash.
//!
//! At every moment at most one of the two can be opened. While rows are moved it is neither; the last two marks are
//! written one after the other, the old store's first.

use std::path::{Path, PathBuf};

use thiserror::Error;

use super::marks::Mark;
use super::{Destination, Kind, Origin, Tallies, Tally, rows, tallies};
use crate::clock::SharedClock;
use crate::store::{Finding, Reads, Store as _, StoreError, embedded, postgres};

/// Why a store was not moved.
#[derive(Debug, Error)]
pub enum MoveError {
    /// One of the two could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Which of the two, and why it cannot be one end of this move.
    #[error("move {0}: {1}")]
    Refused(String, String),
    /// What `verify` found.
    #[error("move {place}: {count} findings, the first at {first}; `outlay verify` lists them")]
    Findings {
        /// Which store.
        place: String,
        /// How many there are.
        count: usize,
        /// The first of them.
        first: String,
    },
    /// What was read back is not what was written.
    #[error(
        "compare the {kind}: {from} there and {to} here, or some that say something else; `outlay migrate --abandon` makes \
         the old store the store again"
    )]
    Different {
        /// Which rows.
        kind: &'static str,
        /// How many there were.
        from: u64,
        /// How many there are.
        to: u64,
    },
}

/// One end of a move.
#[derive(Debug, Clone)]
pub enum End {
    /// The data folder of an embedded store.
    Folder(PathBuf),
    /// A database, and its name without any password.
    Database(Box<postgres::Settings>, String),
}

impl End {
    /// What it is called.
    pub fn name(&self) -> String {
        match self {
            Self::Folder(folder) => {
                std::path::absolute(folder).unwrap_or_else(|_| folder.clone()).display().to_string()
            }
            Self::Database(_, name) => name.clone(),
        }
    }
}

/// Moves a store, or ends a move that was cut off near its end; gives what was moved. `told` is called with what is being
/// done, and with how many rows of it were done.
///
/// # Errors
/// When one of the two is in use, the new one is not empty, the old one does not verify, or they differ in the end. Once rows
/// were moved the old store has a mark, which [`abandon`] takes away; then it is the store as before.
pub async fn migrate(
    from: &End,
    to: &End,
    clock: SharedClock,
    told: &mut impl FnMut(&'static str, u64),
) -> Result<Tallies, MoveError> {
    match (from, to) {
        (End::Folder(folder), End::Database(settings, _)) => {
            Move::new(from, to, clock).run(&Folder(folder), &Database(settings), told).await
        }
        (End::Database(settings, _), End::Folder(folder)) => {
            Move::new(from, to, clock).run(&Database(settings), &Folder(folder), told).await
        }
        _ => Err(MoveError::Refused(
            from.name(),
            "a store is moved from a data folder to PostgreSQL, or back; `outlay backup` and `outlay restore` copy a \
             folder, and PostgreSQL has its own tools"
                .to_owned(),
        )),
    }
}

/// Takes the mark of a move that was begun and is not wanted any more from the old store.
///
/// # Errors
/// When it has no such mark.
pub async fn abandon(from: &End, clock: SharedClock) -> Result<(), MoveError> {
    match from {
        End::Folder(folder) => abandon_at(&Folder(folder), from, clock).await,
        End::Database(settings, _) => abandon_at(&Database(settings), from, clock).await,
    }
}

async fn abandon_at(place: &impl Place, end: &End, clock: SharedClock) -> Result<(), MoveError> {
    let mut from = place.open(clock).await?;
    let mark = marked(&mut from).await?;
    let abandoned = match mark {
        Some(Mark::Moving(_)) => Ok(from.set_mark(None).await?),
        Some(mark) => Err(MoveError::Refused(end.name(), mark.refusal())),
        None => Err(MoveError::Refused(end.name(), "no move of it was begun".to_owned())),
    };
    place.close(from).await?;
    abandoned
}

async fn marked(store: &mut impl Origin) -> Result<Option<Mark>, StoreError> {
    let Some(mark) = store.mark().await? else { return Ok(None) };
    let unknown = || StoreError::Corrupt(format!("`{mark}` is no place in a move that this version knows"));
    Mark::parse(&mark).map(Some).ok_or_else(unknown)
}

/// How a kind of store is opened for a move.
trait Place {
    type Store: Destination;

    async fn open(&self, clock: SharedClock) -> Result<Self::Store, StoreError>;

    async fn close(&self, store: Self::Store) -> Result<(), StoreError>;

    /// Proves every counter of a store that nobody else has open.
    async fn verify(&self, clock: SharedClock) -> Result<Vec<Finding>, StoreError>;
}

struct Folder<'a>(&'a Path);

impl Place for Folder<'_> {
    type Store = embedded::Moving;

    async fn open(&self, clock: SharedClock) -> Result<Self::Store, StoreError> {
        let (store, _) = embedded::open_marked(embedded::Settings::new(self.0.to_owned(), clock))?;
        embedded::Moving::new(store).await
    }

    async fn close(&self, store: Self::Store) -> Result<(), StoreError> {
        store.close().await
    }

    async fn verify(&self, clock: SharedClock) -> Result<Vec<Finding>, StoreError> {
        let (store, reads) = embedded::open_marked(embedded::Settings::new(self.0.to_owned(), clock))?;
        let found = reads.verify().await;
        drop(reads);
        store.close().await?;
        found
    }
}

struct Database<'a>(&'a postgres::Settings);

impl Place for Database<'_> {
    type Store = postgres::Moving;

    async fn open(&self, _: SharedClock) -> Result<Self::Store, StoreError> {
        postgres::Moving::open(self.0).await
    }

    async fn close(&self, store: Self::Store) -> Result<(), StoreError> {
        store.close().await
    }

    async fn verify(&self, _: SharedClock) -> Result<Vec<Finding>, StoreError> {
        let (mut store, reads) = postgres::open_marked(self.0.clone())?;
        // Nothing of an erased person may be left to wipe.
        while store.idle().await? {}
        let found = Reads::verify(&*reads).await;
        drop(reads);
        store.close().await?;
        found
    }
}

struct Move {
    from: String,
    to: String,
    clock: SharedClock,
}

impl Move {
    fn new(from: &End, to: &End, clock: SharedClock) -> Self {
        Self { from: from.name(), to: to.name(), clock }
    }

    fn clock(&self) -> SharedClock {
        SharedClock::clone(&self.clock)
    }

    async fn run(
        &self,
        origin: &impl Place,
        destination: &impl Place,
        told: &mut impl FnMut(&'static str, u64),
    ) -> Result<Tallies, MoveError> {
        let mut from = origin.open(self.clock()).await?;
        let mut to = destination.open(self.clock()).await?;
        let (there, here) = (marked(&mut from).await?, marked(&mut to).await?);
        let (moved, filled) = (Mark::Moved(self.to.clone()), Mark::Filled(self.from.clone()));
        if there == Some(moved) && here == Some(filled) {
            // It was cut off between the last two marks.
            let tallies = tallies(&mut to, told).await?;
            to.set_mark(None).await?;
            origin.close(from).await?;
            destination.close(to).await?;
            return Ok(tallies);
        }
        if let Some(mark) = there.filter(|mark| !matches!(mark, Mark::Moving(_))) {
            return Err(MoveError::Refused(self.from.clone(), mark.refusal()));
        }
        if let Some(mark) = here {
            return Err(MoveError::Refused(self.to.clone(), mark.refusal()));
        }
        if !to.is_empty().await? {
            let said = "it is not empty: a store is moved into a new one".to_owned();
            return Err(MoveError::Refused(self.to.clone(), said));
        }
        let waiting = from.waiting().await?;
        if waiting > 0 {
            let said = format!(
                "{waiting} messages wait to be sent, and do not come along: serve it until they are sent, or take their \
                 webhooks away"
            );
            return Err(MoveError::Refused(self.from.clone(), said));
        }
        origin.close(from).await?;
        told("verifying what is to be moved", 0);
        // Without a mark yet: what is found here is looked into with the store as it is.
        self.verified(origin, &self.from).await?;

        let mut from = origin.open(self.clock()).await?;
        from.set_mark(Some(&Mark::Moving(self.to.clone()).to_string())).await?;
        to.set_mark(Some(&Mark::Filling(self.from.clone()).to_string())).await?;
        let moved = rows(&mut from, &mut to, told).await?;
        compared(&moved, &tallies(&mut to, told).await?)?;
        let (there, here) = (from.rest().await?, to.rest().await?);
        if let Some((kind, from, to)) = there.difference(&here) {
            return Err(MoveError::Different { kind, from: from as u64, to: to as u64 });
        }
        to.set_mark(Some(&Mark::Filled(self.from.clone()).to_string())).await?;
        destination.close(to).await?;
        told("verifying what was moved", 0);
        self.verified(destination, &self.to).await?;

        let mut to = destination.open(self.clock()).await?;
        from.set_mark(Some(&Mark::Moved(self.to.clone()).to_string())).await?;
        to.set_mark(None).await?;
        origin.close(from).await?;
        destination.close(to).await?;
        Ok(moved)
    }

    async fn verified(&self, place: &impl Place, name: &str) -> Result<(), MoveError> {
        let findings = place.verify(self.clock()).await?;
        let Some(first) = findings.first() else { return Ok(()) };
        let first = format!("{}: {}", first.place, first.problem);
        Err(MoveError::Findings { place: name.to_owned(), count: findings.len(), first })
    }
}

fn compared(from: &Tallies, to: &Tallies) -> Result<(), MoveError> {
    for kind in Kind::ALL {
        let of = |tallies: &Tallies| tallies.get(&kind).copied().unwrap_or_default();
        let (from, to): (Tally, Tally) = (of(from), of(to));
        if from != to {
            return Err(MoveError::Different { kind: kind.plural(), from: from.count, to: to.count });
        }
    }
    Ok(())
}

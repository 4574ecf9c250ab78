//! What is done about a transaction until it is known what became of it: it is run again, looked for, or given up.
//!
//! These rules are the same for batches (`lane`), for records (`put`), and for the simulation, which runs them over a model
//! of the database: so they know no connection and no clock, but what [`Transactions`] and [`Looking`] say.

use std::future::Future;

use crate::store::StoreError;

/// How often a transaction is run again before its callers are told to.
pub const TRIES_MAX: u32 = 5;

/// What to do about a transaction that failed before its COMMIT was sent, or whose COMMIT surely had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
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

impl Cure {
    /// That of an error with this SQLSTATE, which names a constraint or does not.
    pub fn of(code: &str, names_constraint: bool) -> Self {
        match (code.get(..2).unwrap_or_default(), code) {
            ("53", "53100") => Self::Full,
            ("40" | "53" | "55", _) => Self::Again,
            ("23", "23514") if !names_constraint => Self::Partition,
            // Also a duplicate: it means that somebody wrote without the bucket's lock, and must not stop the others.
            ("22" | "23", _) => Self::Halve,
            ("08" | "57", _) | (_, "25006") => Self::Connect,
            _ => Self::None,
        }
    }
}

/// Where a transaction is found, if it is recorded: an event of it stands in the bucket's order after this number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The bucket.
    pub bucket: i32,
    /// The newest number of its order before.
    pub seq: i64,
}

/// By what a transaction is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sought {
    /// Where; its events are in each of these, or in none.
    pub places: Vec<Place>,
    /// What its events are marked with.
    pub batch: [u8; 16],
}

/// Why a transaction has no outcome. `D` is what it would have come to.
#[derive(Debug)]
pub enum Failed<D> {
    /// It is surely not recorded.
    Not(Cure, String),
    /// It may or may not be.
    Unknown(Box<D>, Sought),
    /// It is recorded here, and perhaps on no standby.
    WaitCut,
    /// The store cannot be read, or refuses.
    Store(StoreError),
}

impl<D> From<StoreError> for Failed<D> {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// One transaction that is run, again if need be.
pub trait Transactions {
    /// What it comes to.
    type Done;

    /// Runs it once, up to the answer to its COMMIT.
    fn transact(&mut self) -> impl Future<Output = Result<Self::Done, Failed<Self::Done>>> + Send;

    /// Finds out whether it is recorded, by [`look`].
    fn settle(&mut self, sought: &Sought) -> impl Future<Output = Result<bool, StoreError>> + Send;

    /// Makes the partitions that are missing.
    fn make_partitions(&mut self) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Waits a moment, so that whoever was in the way is done.
    fn pause(&mut self) -> impl Future<Output = ()> + Send;

    /// Whether its callers have waited long enough.
    fn is_late(&self) -> bool;

    /// What is said where a wait for standbys was cut short.
    fn wait_was_cut(&self) -> StoreError;
}

/// Why a transaction is not run again.
#[derive(Debug)]
pub enum GaveUp {
    /// Some part of it cannot be written; what the server said.
    Halve(String),
    /// Its callers are told this.
    Refused(StoreError),
}

/// How often a transaction, or what is left of it, was run again.
#[derive(Debug, Default)]
pub struct Tries(u32);

impl Tries {
    fn again(&mut self) -> bool {
        self.0 += 1;
        self.0 <= TRIES_MAX
    }
}

/// Runs a transaction until it is known what became of it.
///
/// # Errors
/// When it is surely not recorded and there is no use in running it again; or when what became of it could not be found out.
pub async fn run<T: Transactions>(transaction: &mut T, tries: &mut Tries) -> Result<T::Done, GaveUp> {
    loop {
        let (cure, said) = match transaction.transact().await {
            Ok(done) => return Ok(done),
            Err(Failed::Not(cure, said)) => (cure, said),
            Err(Failed::Unknown(done, sought)) => match transaction.settle(&sought).await {
                Ok(true) => return Ok(*done),
                // It never happened: run it again.
                Ok(false) => (Cure::Again, "the connection was lost".to_owned()),
                Err(error) => return Err(GaveUp::Refused(error)),
            },
            Err(Failed::WaitCut) => return Err(GaveUp::Refused(transaction.wait_was_cut())),
            Err(Failed::Store(error)) => return Err(GaveUp::Refused(error)),
        };
        match cure {
            Cure::Again | Cure::Connect if tries.again() && !transaction.is_late() => {
                tracing::debug!(said, ?cure, "a transaction is run again");
                transaction.pause().await;
            }
            Cure::Partition if tries.again() => {
                tracing::warn!(said, "there is no partition for what is recorded now: it is made");
                transaction.make_partitions().await.map_err(GaveUp::Refused)?;
            }
            Cure::Halve => return Err(GaveUp::Halve(said)),
            Cure::Full => return Err(GaveUp::Refused(StoreError::DiskFull)),
            Cure::Again | Cure::Connect | Cure::Partition | Cure::None => {
                return Err(GaveUp::Refused(StoreError::Unavailable(said)));
            }
        }
    }
}

/// What came back for a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// It went well; of COMMIT also where the transaction was aborted, since its tag is not looked at.
    Well,
    /// The server refused it, for which this is the cure.
    Refused(Cure, String),
    /// Nothing: the connection is lost.
    Lost,
}

/// What the answers to a transaction's statements and its COMMIT say of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// It is recorded, and wherever the server was to wait for.
    Committed,
    /// It is surely not recorded.
    Not(Cure, String),
    /// It may or may not be.
    Unknown,
    /// It is recorded here, and perhaps on no standby.
    WaitCut,
}

/// Reads the answers to statements that were sent together with COMMIT, which is the one at this place. `wait_cut` says
/// whether the server told, meanwhile, that it did not wait for standbys to the end.
pub fn ended(answers: impl IntoIterator<Item = Answer>, commit: usize, wait_cut: bool) -> Ended {
    // A failed statement is a failed transaction, whatever COMMIT says: of an aborted one it answers without error.
    for (place, answer) in answers.into_iter().enumerate() {
        match answer {
            Answer::Well => {}
            // A server that goes down at COMMIT may have done it; what fails after it says nothing of it.
            Answer::Refused(cure, _) if place > commit || (place == commit && cure == Cure::Connect) => {
                return Ended::Unknown;
            }
            Answer::Lost => return Ended::Unknown,
            Answer::Refused(cure, said) => return Ended::Not(cure, said),
        }
    }
    if wait_cut { Ended::WaitCut } else { Ended::Committed }
}

/// A connection by which a transaction is looked for.
pub trait Looking {
    /// Begins a transaction.
    fn begin(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Locks a bucket, and waits for who has it.
    fn lock(&self, bucket: i32) -> impl Future<Output = Result<(), String>> + Send;

    /// Whether an event of this batch stands after this place.
    fn has_event(&self, place: Place, batch: [u8; 16]) -> impl Future<Output = Result<bool, String>> + Send;

    /// Commits.
    fn commit(&self) -> impl Future<Output = Result<(), String>> + Send;

    /// Whether a wait for standbys was cut short.
    fn was_wait_cut(&self) -> bool;
}

/// Whether a transaction is recorded: whoever has its buckets' locks sees what became of it.
///
/// These locks are a write, so where commits wait for a standby, this one waits too: what it finds is on a standby with it,
/// even what a cut wait had left on the primary alone.
///
/// # Errors
/// When that could not be found out now; what happened.
pub async fn look<L: Looking>(by: &L, sought: &Sought) -> Result<bool, String> {
    let mut found = false;
    by.begin().await?;
    // All of its buckets are in one transaction, so one that has an event of it speaks for all.
    for place in &sought.places {
        by.lock(place.bucket).await?;
        found |= by.has_event(*place, sought.batch).await?;
    }
    by.commit().await?;
    if by.was_wait_cut() {
        return Err("a wait for a standby was cut short".to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_cure() {
        let of = |code| Cure::of(code, true);
        for code in ["40001", "40P01", "55P03", "53300"] {
            assert_eq!(of(code), Cure::Again, "{code}");
        }
        for code in ["08006", "57P01", "57P03", "25006"] {
            assert_eq!(of(code), Cure::Connect, "{code}");
        }
        assert_eq!(
            [of("53100"), of("23505"), of("22001"), of("42P01")],
            [Cure::Full, Cure::Halve, Cure::Halve, Cure::None]
        );
        assert_eq!([of("23514"), Cure::of("23514", false)], [Cure::Halve, Cure::Partition]);
        assert_eq!(of("25P02"), Cure::None);
    }

    #[test]
    fn an_answer_to_commit_is_believed_only_where_it_says_all() {
        let refused = |code| Answer::Refused(Cure::of(code, true), code.to_owned());
        let of = |answers: [Answer; 2]| ended(answers, 1, false);
        assert_eq!(of([Answer::Well, Answer::Well]), Ended::Committed);
        assert_eq!(ended([Answer::Well, Answer::Well], 1, true), Ended::WaitCut);
        assert_eq!(of([refused("40001"), Answer::Well]), Ended::Not(Cure::Again, "40001".to_owned()));
        assert_eq!(of([Answer::Well, refused("40001")]), Ended::Not(Cure::Again, "40001".to_owned()));
        // Before COMMIT it surely had no effect; at COMMIT it may have.
        assert_eq!(of([refused("57P01"), Answer::Lost]), Ended::Not(Cure::Connect, "57P01".to_owned()));
        assert_eq!(of([Answer::Well, refused("57P01")]), Ended::Unknown);
        assert_eq!(of([Answer::Well, Answer::Lost]), Ended::Unknown);
        assert_eq!(of([Answer::Lost, Answer::Lost]), Ended::Unknown);
        // What is asked after COMMIT may be refused for whatever reason: what was committed stays so.
        assert_eq!(ended([Answer::Well, refused("53200")], 0, false), Ended::Unknown);
    }
}

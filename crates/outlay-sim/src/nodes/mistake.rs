//! Mistakes that a node can be told to make, so that it is seen that the simulation finds them.

/// A mistake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// A batch whose COMMIT was not answered is acknowledged, and not looked for.
    AcknowledgesTheUnknown,
    /// A batch whose COMMIT was not answered is run again, and not looked for.
    RunsTheUnknownAgain,
    /// The callers of such a batch are told that it surely did not happen.
    RefusesTheUnknown,
    /// A batch is looked for without its bucket's lock: its old session may still commit it.
    LooksWithoutTheLock,
    /// A batch is looked for in a transaction that writes nothing, and so waits for no standby.
    LooksWithoutAWrite,
    /// Only the answer to COMMIT is looked at, which is no error where a statement before it failed.
    TrustsTheTag,
    /// The server's notice that a commit did not wait for the standby is not heeded.
    IgnoresTheNotice,
    /// A batch is decided without its buckets' locks.
    ActsWithoutTheLock,
    /// What a batch is decided by is read before it has its buckets' locks.
    ReadsBeforeTheLock,
    /// A batch that changes nothing is acknowledged by what was read, without a commit.
    AnswersDuplicatesByReading,
}

impl Mistake {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AcknowledgesTheUnknown,
        Self::RunsTheUnknownAgain,
        Self::RefusesTheUnknown,
        Self::LooksWithoutTheLock,
        Self::LooksWithoutAWrite,
        Self::TrustsTheTag,
        Self::IgnoresTheNotice,
        Self::ActsWithoutTheLock,
        Self::ReadsBeforeTheLock,
        Self::AnswersDuplicatesByReading,
    ];
}

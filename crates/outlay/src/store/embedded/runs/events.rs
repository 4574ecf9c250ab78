//! What the duplicate index says of its own work in the log, at the level `debug`: each event has one of these names. By
//! them a simulation counts what it has met.

/// A full map was frozen, and its run begun.
pub const FROZEN: &str = "a map was frozen";
/// A run got a part of its keys.
pub const BUILDING: &str = "a part of a run was built";
/// A run got the last of its keys.
pub const BUILT: &str = "a run was built";
/// A merge began.
pub const MERGE: &str = "a merge of runs was begun";
/// A merge copied a slice.
pub const MERGING: &str = "a slice of a merge was copied";
/// A segment of a merged run was dropped, and it has more.
pub const DROPPING: &str = "a segment of a merged run was dropped";
/// A merge was finished.
pub const MERGED: &str = "a merge of runs was finished";
/// A batch that froze a map was rolled back.
pub const UNDONE_FROZEN: &str = "a frozen map was rolled back";
/// A batch that built a part of a run was rolled back.
pub const UNDONE_BUILDING: &str = "a part of a run was rolled back";
/// A batch that went on with a merge was rolled back.
pub const UNDONE_MERGING: &str = "a slice of a merge was rolled back";
/// The index was opened with a frozen map whose run has no key.
pub const OPENED_FROZEN: &str = "a frozen map was loaded";
/// The index was opened with a frozen map whose run has a part of the keys.
pub const OPENED_BUILDING: &str = "a half-built run was loaded";
/// The index was opened with a merge that has copied nothing.
pub const OPENED_MERGE: &str = "a merge that has no keys was loaded";
/// The index was opened with a merge that has a part of the keys.
pub const OPENED_MERGING: &str = "a merge that has keys was loaded";
/// The index was opened with a merged run that has lost segments.
pub const OPENED_DROPPING: &str = "a run that has lost segments was loaded";

/// All of them.
pub const ALL: [&str; 15] = [
    FROZEN,
    BUILDING,
    BUILT,
    MERGE,
    MERGING,
    DROPPING,
    MERGED,
    UNDONE_FROZEN,
    UNDONE_BUILDING,
    UNDONE_MERGING,
    OPENED_FROZEN,
    OPENED_BUILDING,
    OPENED_MERGE,
    OPENED_MERGING,
    OPENED_DROPPING,
];

/// Says one of them, of a run if it is of one.
macro_rules! tell {
    ($event:path) => {
        tracing::debug!(name: $event, "{}", $event)
    };
    ($event:path, $run:expr) => {
        tracing::debug!(name: $event, run = $run, "{}", $event)
    };
}
pub(super) use tell;

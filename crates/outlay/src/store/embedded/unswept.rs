//! Users' months that are newer than the file's rows of them, for readers: as of each batch that one of them may show.
//!
//! A reader's snapshot of the file may be a few batches old. So what a batch replaces is kept until no snapshot is older
//! than that batch; and so is the word that a row was written, which tells an older snapshot that its file is behind.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use outlay_core::month::Month;
use parking_lot::{Mutex, RwLock};

use super::days::{MonthKey, UnsweptMonth};

/// What a month is from a batch on; `None` where the file has it from that batch on.
#[derive(Debug, Clone)]
struct Version {
    since: u64,
    row: Option<Arc<UnsweptMonth>>,
}

#[derive(Debug)]
struct Versions {
    newest: Version,
    /// Those before it that a reader may still want, the oldest first.
    before: Vec<Version>,
}

impl Versions {
    /// The month as of a batch; `None` where the file of that batch has it.
    fn at(&self, batch: u64) -> Option<&Arc<UnsweptMonth>> {
        let newest = std::iter::once(&self.newest).chain(self.before.iter().rev());
        newest.into_iter().find(|version| version.since <= batch)?.row.as_ref()
    }

    /// Puts a newer version, and forgets those that no reader of a batch since `oldest` can want.
    fn put(&mut self, version: Version, oldest: u64) {
        self.before.push(std::mem::replace(&mut self.newest, version));
        let next =
            |versions: &Self, at: usize| versions.before.get(at).map_or(versions.newest.since, |next| next.since);
        let unwanted = (0..self.before.len()).take_while(|at| next(self, at + 1) <= oldest).count();
        self.before.drain(..unwanted);
    }
}

#[derive(Debug, Default)]
struct Months {
    rows: HashMap<MonthKey, Versions, FixedState>,
    /// Which rows were written, and in which batch; they are forgotten when no reader is older.
    written: VecDeque<(u64, MonthKey)>,
}

/// The months that are newer than the file's rows.
#[derive(Debug, Default)]
pub(super) struct Unswept {
    months: RwLock<Months>,
    /// How many readers have a snapshot of this batch, or of a later one.
    readers: Mutex<BTreeMap<u64, usize>>,
}

/// While it lives, its reader finds the months of its snapshot.
#[derive(Debug)]
pub(super) struct Reader<'u> {
    unswept: &'u Unswept,
    batch: u64,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        let mut readers = self.unswept.readers.lock();
        if let std::collections::btree_map::Entry::Occupied(mut entry) = readers.entry(self.batch) {
            *entry.get_mut() -= 1;
            if *entry.get() == 0 {
                entry.remove();
            }
        }
    }
}

impl Unswept {
    /// Notes a reader, who begins a snapshot after this: of this published batch or of a later one.
    pub(super) fn reader(&self, published: u64) -> Reader<'_> {
        *self.readers.lock().entry(published).or_default() += 1;
        Reader { unswept: self, batch: published }
    }

    /// Shows what a batch changed: months that are newer than their rows, and those whose rows it wrote. It is shown before
    /// the batch is, so whoever begins to read meanwhile has a snapshot that is no older than the batch.
    pub(super) fn publish(
        &self,
        batch: u64,
        newer: impl IntoIterator<Item = (MonthKey, UnsweptMonth)>,
        written: &[MonthKey],
    ) {
        let mut months = self.months.write();
        let oldest = self.readers.lock().first_key_value().map_or(batch, |(oldest, _)| *oldest);
        let Months { rows, written: forgotten_later } = &mut *months;
        for (key, row) in newer {
            let version = Version { since: batch, row: Some(Arc::new(row)) };
            match rows.entry(key) {
                Entry::Occupied(mut entry) => entry.get_mut().put(version, oldest),
                Entry::Vacant(entry) => {
                    entry.insert(Versions { newest: version, before: Vec::new() });
                }
            }
        }
        for key in written {
            if let Some(versions) = rows.get_mut(key) {
                versions.put(Version { since: batch, row: None }, oldest);
                forgotten_later.push_back((batch, *key));
            }
        }
        while let Some((since, key)) = forgotten_later.front().copied().filter(|(since, _)| *since <= oldest) {
            forgotten_later.pop_front();
            if rows.get(&key).is_some_and(|versions| versions.newest.row.is_none() && versions.newest.since == since) {
                rows.remove(&key);
            }
        }
    }

    /// A month as of a batch; `None` where the file of that batch has it.
    pub(super) fn get(&self, batch: u64, key: MonthKey) -> Option<Arc<UnsweptMonth>> {
        self.months.read().rows.get(&key)?.at(batch).map(Arc::clone)
    }

    /// All users' rows of the months in question, as of a batch, in order.
    pub(super) fn all(&self, batch: u64, wanted: impl Fn(Month) -> bool) -> BTreeMap<MonthKey, Arc<UnsweptMonth>> {
        let months = self.months.read();
        let wanted = months.rows.iter().filter(|((month, _), _)| wanted(*month));
        wanted.filter_map(|(key, versions)| Some((*key, Arc::clone(versions.at(batch)?)))).collect()
    }

    /// How many months are in memory.
    pub(super) fn len(&self) -> usize {
        self.months.read().rows.len()
    }
}

#[cfg(test)]
mod tests {
    use outlay_core::id::UserNo;
    use outlay_core::month::Day;
    use outlay_core::user::UserMonth;

    use super::*;

    fn key() -> MonthKey {
        (Month::from_index(7), UserNo(1))
    }

    fn with_operations(operations: u64) -> UnsweptMonth {
        let month = UserMonth { operations, ..UserMonth::empty(key().0) };
        UnsweptMonth { month, newest: (Day::new(key().0, 1), Arc::default()), older: Vec::new() }
    }

    fn operations(unswept: &Unswept, batch: u64) -> Option<u64> {
        unswept.get(batch, key()).map(|row| row.month.operations)
    }

    #[test]
    fn each_reader_finds_the_month_of_its_own_batch() {
        let unswept = Unswept::default();
        let old = unswept.reader(4);
        unswept.publish(5, [(key(), with_operations(1))], &[]);
        let middle = unswept.reader(5);
        unswept.publish(6, [(key(), with_operations(2))], &[]);
        unswept.publish(7, [], &[key()]);
        unswept.publish(8, [(key(), with_operations(3))], &[]);
        let found = |unswept: &Unswept| (4..=8).map(|batch| operations(unswept, batch)).collect::<Vec<_>>();
        assert_eq!(found(&unswept), [None, Some(1), Some(2), None, Some(3)]);
        drop(old);
        unswept.publish(9, [(key(), with_operations(4))], &[]);
        assert_eq!(found(&unswept)[1..], [Some(1), Some(2), None, Some(3)], "a reader of batch 5 is left");
        drop(middle);
        unswept.publish(10, [], &[key()]);
        assert_eq!((unswept.len(), operations(&unswept, 10)), (0, None), "nobody can want it any more");
    }

    #[test]
    fn what_was_written_is_remembered_while_an_older_snapshot_is_read() {
        let unswept = Unswept::default();
        unswept.publish(1, [(key(), with_operations(1))], &[]);
        let reader = unswept.reader(1);
        unswept.publish(2, [], &[key()]);
        assert_eq!((operations(&unswept, 1), operations(&unswept, 2)), (Some(1), None));
        drop(reader);
        unswept.publish(3, [], &[]);
        assert_eq!(unswept.len(), 0);
    }
}

//! Features, providers and models as small integers, from append-only tables held in memory.

use outlay_core::breakdown::NAMES_MAX;
use outlay_core::id::Name;
use parking_lot::RwLock;
use rusqlite::Connection;

use crate::store::StoreError;

/// Which table of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Feature = 1,
    Provider = 2,
    Model = 3,
}

/// The number of an absent name; only a model may be absent.
pub(super) const NONE: i64 = 0;
/// The number of `(other)`, which each kind has from the start.
pub(super) const OTHER: i64 = 1;

/// All names. The writer adds, readers look up; a name that is in memory only was never committed, and nothing names it.
#[derive(Debug, Default)]
pub(super) struct Names {
    tables: [RwLock<Table>; 3],
}

#[derive(Debug, Default)]
struct Table {
    /// By number, from 1.
    texts: Vec<Name>,
    numbers: hashbrown::HashMap<Name, i64, foldhash::fast::FixedState>,
    /// How many of them are in the file.
    stored: usize,
}

impl Names {
    pub(super) fn load(connection: &Connection) -> Result<Self, StoreError> {
        let names = Self::default();
        let mut statement = connection.prepare("select kind, text from name order by kind, no")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let kind = match row.get(0)? {
                1 => Kind::Feature,
                2 => Kind::Provider,
                3 => Kind::Model,
                other => return Err(StoreError::Corrupt(format!("there are no names of kind {other}"))),
            };
            let text: String = row.get(1)?;
            let mut table = names.table(kind).write();
            table.add(Name::from_stored(text));
            table.stored = table.texts.len();
        }
        Ok(names)
    }

    fn table(&self, kind: Kind) -> &RwLock<Table> {
        let [features, providers, models] = &self.tables;
        match kind {
            Kind::Feature => features,
            Kind::Provider => providers,
            Kind::Model => models,
        }
    }

    /// The number of a name, which is given one if it has none.
    pub(super) fn no(&self, kind: Kind, name: Option<&Name>) -> i64 {
        let Some(name) = name else { return NONE };
        if let Some(no) = self.table(kind).read().numbers.get(name) {
            return *no;
        }
        self.table(kind).write().add(name.clone())
    }

    /// The number under which breakdowns book a name: beyond so many of a kind, that of `(other)`.
    pub(super) fn booked(no: i64) -> i64 {
        if usize::try_from(no).is_ok_and(|no| no > NAMES_MAX) { OTHER } else { no }
    }

    /// The names that breakdowns keep apart, in the order of the alphabet.
    pub(super) fn kept_apart(&self, kind: Kind) -> Vec<Name> {
        let mut names: Vec<Name> = self.table(kind).read().texts.iter().take(NAMES_MAX).skip(1).cloned().collect();
        names.sort_unstable();
        names
    }

    /// The number of a name that is known.
    pub(super) fn known(&self, kind: Kind, name: &Name) -> Option<i64> {
        self.table(kind).read().numbers.get(name).copied()
    }

    /// The name of a number; `None` for that of an absent one.
    pub(super) fn text(&self, kind: Kind, no: i64) -> Result<Option<Name>, StoreError> {
        if no == NONE {
            return Ok(None);
        }
        let table = self.table(kind).read();
        let index = usize::try_from(no - 1).ok();
        index
            .and_then(|index| table.texts.get(index))
            .cloned()
            .map(Some)
            .ok_or_else(|| StoreError::Corrupt(format!("there is no {kind:?} with number {no}")))
    }

    /// Writes the names that the batch added. They count as stored once [`Names::committed`] is called.
    pub(super) fn write(&self, connection: &Connection) -> Result<(), StoreError> {
        for kind in [Kind::Feature, Kind::Provider, Kind::Model] {
            let table = self.table(kind).read();
            for (index, text) in table.texts.iter().enumerate().skip(table.stored) {
                let no = i64::try_from(index).map_or(i64::MAX, |index| index + 1);
                connection.prepare_cached("insert into name values (?, ?, ?)")?.execute((
                    kind as i64,
                    no,
                    text.as_str(),
                ))?;
            }
        }
        Ok(())
    }

    /// The batch that wrote them is durable.
    pub(super) fn committed(&self) {
        for table in &self.tables {
            if table.read().stored != table.read().texts.len() {
                let mut table = table.write();
                table.stored = table.texts.len();
            }
        }
    }
}

impl Table {
    fn add(&mut self, name: Name) -> i64 {
        if let Some(no) = self.numbers.get(&name) {
            return *no;
        }
        self.texts.push(name.clone());
        let no = i64::try_from(self.texts.len()).unwrap_or(i64::MAX);
        self.numbers.insert(name, no);
        no
    }
}

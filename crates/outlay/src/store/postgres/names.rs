//! The features, providers and models that breakdowns keep apart: the first so many of each kind, and `(other)` for the rest.
//!
//! A name is in the table before the batch that needs it, and stays for ever, so all nodes book it alike. It is added outside
//! of the batch, whose transaction is one bucket's.

use foldhash::fast::FixedState;
use hashbrown::{HashMap, HashSet};
use outlay_core::breakdown::{COMBINATIONS_MAX, NAMES_MAX, OTHER};
use outlay_core::id::Name;
use outlay_core::operation::{NewOperation, Operation};
use parking_lot::RwLock;
use std::sync::LazyLock;

use super::link::Link;
use super::rows::RowReader;
use super::sums::NO_MODEL;

/// Which table of names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Feature = 1,
    Provider = 2,
    Model = 3,
}

/// All names, when a node starts.
pub(super) const NAMES: &str = "select kind, name from name";

/// Adds those of these names for which there is room.
static ADD: LazyLock<String> = LazyLock::new(|| {
    format!(
        "insert into name (kind, name) select kind, name from (select u.kind, u.name, \
         row_number() over (partition by u.kind order by u.place) + \
         (select count(*) from name n where n.kind = u.kind) as count \
         from unnest($1::int8[], $2::text[]) with ordinality as u (kind, name, place) \
         where not exists (select from name n where n.kind = u.kind and n.name = u.name)) u \
         where count <= {NAMES_MAX} on conflict do nothing"
    )
});

/// Those of these names that are there.
const FIND: &str = "select n.kind, n.name from unnest($1::int8[], $2::text[]) as u (kind, name) \
     join name n on n.kind = u.kind and n.name = u.name";

/// What a connection needs that writes operations.
pub(super) fn statements() -> Vec<&'static str> {
    vec![&*ADD, FIND, NAMES]
}

#[derive(Debug, Default)]
struct Known {
    names: HashSet<Name, FixedState>,
    /// Whether the table has no room for more; then all of them are here.
    is_full: bool,
}

/// What a node knows of the names.
#[derive(Debug, Default)]
pub(super) struct Names {
    kinds: [RwLock<Known>; 3],
}

impl Names {
    fn kind(&self, kind: Kind) -> &RwLock<Known> {
        let [features, providers, models] = &self.kinds;
        match kind {
            Kind::Feature => features,
            Kind::Provider => providers,
            Kind::Model => models,
        }
    }

    /// Takes what the table has.
    pub(super) fn keep(&self, rows: &[tokio_postgres::Row]) {
        for row in rows {
            let mut row = RowReader::new(row);
            let kind = match row.required() {
                Ok(1) => Kind::Feature,
                Ok(2) => Kind::Provider,
                Ok(3) => Kind::Model,
                // No version of Outlay writes that, and nothing is booked by it.
                _ => continue,
            };
            if let Ok(name) = row.required_text() {
                self.kind(kind).write().names.insert(Name::from_stored(name));
            }
        }
    }

    /// Takes all that the table has.
    pub(super) fn keep_all(&self, rows: &[tokio_postgres::Row]) {
        self.keep(rows);
        for kind in [Kind::Feature, Kind::Provider, Kind::Model] {
            let mut known = self.kind(kind).write();
            known.is_full = known.names.len() >= NAMES_MAX;
        }
    }

    /// How sums name it.
    pub(super) fn booked<'a>(&self, kind: Kind, name: &'a Name) -> &'a str {
        let known = self.kind(kind).read();
        // One that another node added a moment ago is as good as known, as long as there is room.
        if known.is_full && !known.names.contains(name) { OTHER } else { name.as_str() }
    }

    /// Whether a day could have more combinations than are kept apart.
    pub(super) fn may_overflow(&self) -> bool {
        let [features, providers, models] = self.kinds.each_ref().map(|kind| kind.read().names.len());
        2 * features.max(1) * providers.max(1) * (models + 1) > COMBINATIONS_MAX
    }

    /// Adds the names of operations that are new to this node.
    pub(super) async fn add<'a>(
        &self,
        link: &Link,
        operations: impl Iterator<Item = &'a NewOperation>,
    ) -> Result<(), tokio_postgres::Error> {
        let mut new: HashMap<(Kind, &'a Name), (), FixedState> = HashMap::default();
        for operation in operations {
            let model = operation.model.as_ref().map(|model| (Kind::Model, model));
            let names = [(Kind::Feature, &operation.feature), (Kind::Provider, &operation.provider)];
            for (kind, name) in names.into_iter().chain(model) {
                let known = self.kind(kind).read();
                if !known.is_full && !known.names.contains(name) {
                    new.insert((kind, name), ());
                }
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        // In one order on every node, so that two that add the same wait for each other and not in a circle.
        let mut new: Vec<(i64, &str)> = new.into_keys().map(|(kind, name)| (kind as i64, name.as_str())).collect();
        new.sort_unstable();
        let (kinds, names): (Vec<i64>, Vec<&str>) = new.iter().copied().unzip();
        link.send(&ADD, vec![&kinds, &names]).await?;
        let found = link.send(FIND, vec![&kinds, &names]).await?;
        self.keep(&found);
        if found.len() < new.len() {
            self.keep_all(&link.send(NAMES, Vec::new()).await?);
        }
        Ok(())
    }

    /// How sums name an operation's feature, provider and model; the last is empty where there is none.
    pub(super) fn of<'a>(&self, operation: &'a Operation) -> (&'a str, &'a str, &'a str) {
        (
            self.booked(Kind::Feature, &operation.feature),
            self.booked(Kind::Provider, &operation.provider),
            operation.model.as_ref().map_or(NO_MODEL, |model| self.booked(Kind::Model, model)),
        )
    }
}

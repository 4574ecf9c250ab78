//! Moves a whole store into an empty one of the other kind: every row of the ledger, under new numbers.
//!
//! Numbers say where a row lies, and the stores count differently: one order here, one for each bucket there. So all
//! rows are numbered anew in the order of their recording, in a first pass that only counts; then each is read, has its
//! numbers exchanged, and is written. Last, the new store is read back and compared: as many rows of each kind, and the
//! same sum over what they say.
//!
//! This file is the way of a row. How a store is read and written is its own business: [`Origin`], [`Destination`].

mod ends;
mod marks;
mod numbers;

use std::collections::BTreeMap;
use std::sync::Arc;

use outlay_core::alert::Alert;
use outlay_core::breakdown::{Dimensions, Sums};
use outlay_core::denial::Denial;
use outlay_core::id::{Name, OperationNo, UserNo};
use outlay_core::ledger::Numbers;
use outlay_core::month::{Day, Timestamp};
use outlay_core::operation::Operation;
use outlay_core::plan::Plan;
use outlay_core::session::Session;
use outlay_core::user::{User, UserMonth};
use xxhash_rust::xxh3::xxh3_128;

use super::outbox::WebhookRecord;
use super::postgres::Buckets;
use super::{KeyRecord, SecretRecord, StoreError};
use crate::audit::Entry;
pub use ends::{End, MoveError, abandon, migrate};
pub use marks::Mark;
use numbers::Renumbering;

/// Kinds of rows, in the order in which they are moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Users, erased ones too.
    User,
    /// Sessions.
    Session,
    /// Operations.
    Operation,
    /// Users' months, with their day sums.
    Month,
    /// Denials.
    Denial,
    /// Alerts.
    Alert,
    /// Notes of who was erased.
    Erasure,
    /// Entries of the audit log, under their old numbers.
    Audit,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::User,
        Self::Session,
        Self::Operation,
        Self::Month,
        Self::Denial,
        Self::Alert,
        Self::Erasure,
        Self::Audit,
    ];

    /// What several of them are called.
    pub const fn plural(self) -> &'static str {
        match self {
            Self::User => "users",
            Self::Session => "sessions",
            Self::Operation => "operations",
            Self::Month => "months of users",
            Self::Denial => "denials",
            Self::Alert => "alerts",
            Self::Erasure => "erasures",
            Self::Audit => "entries of the audit log",
        }
    }
}

/// The sums of one combination of a user's day.
pub(super) type DaySums = (Day, Dimensions, Sums);

/// A row on its way.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Row {
    User(Box<User>),
    Session(Box<Session>),
    Operation(Box<Operation>),
    /// A user's month, with its day sums in the order of days and combinations.
    Month(UserNo, UserMonth, Vec<DaySums>),
    Denial(Box<Denial>),
    Alert(Box<Alert>),
    Erasure(Erased),
    Audit(Box<Entry>),
}

/// A note of who was erased.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Erased {
    pub(super) user_no: UserNo,
    pub(super) tag: u64,
    pub(super) at: Timestamp,
}

/// What is read and written at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::store) struct Rest {
    /// The plans, and the default one.
    pub(super) plans: Vec<Plan>,
    pub(super) default_plan: Name,
    /// The plans whose users are still to be looked at.
    pub(super) marked: Vec<Name>,
    pub(super) keys: Vec<Arc<KeyRecord>>,
    pub(super) secrets: Vec<Arc<SecretRecord>>,
    /// The webhooks that there are, under the numbers that they have.
    pub(super) webhooks: Vec<WebhookRecord>,
    /// The last number of the audit log that was copied to where its copy goes.
    pub(super) audit_copied: u64,
    /// What was recorded before is emptied of its details.
    pub(super) trimmed_before: Option<Timestamp>,
    /// The features, providers and models that breakdowns keep apart, by kind.
    pub(super) names: [Vec<Name>; 3],
    /// What every decision so far was made by, at the latest.
    pub(super) clock: Timestamp,
}

impl Rest {
    /// What another store says otherwise, with how many there are of it in both. Clocks go on, and are not compared.
    fn difference(&self, other: &Self) -> Option<(&'static str, usize, usize)> {
        let Self { plans, default_plan, marked, keys, secrets, webhooks, .. } = self;
        let Self { audit_copied, trimmed_before, names, clock: _, .. } = self;
        let one = |same: bool, what| (!same).then_some((what, 1, 1));
        let many = |same: bool, what, here: usize, there: usize| (!same).then_some((what, here, there));
        many(*plans == other.plans, "plans", plans.len(), other.plans.len())
            .or_else(|| one(*default_plan == other.default_plan, "default plans"))
            .or_else(|| many(*marked == other.marked, "marked plans", marked.len(), other.marked.len()))
            .or_else(|| many(*keys == other.keys, "keys", keys.len(), other.keys.len()))
            .or_else(|| many(*secrets == other.secrets, "secrets", secrets.len(), other.secrets.len()))
            .or_else(|| many(*webhooks == other.webhooks, "webhooks", webhooks.len(), other.webhooks.len()))
            .or_else(|| one(*audit_copied == other.audit_copied, "places in the copy of the audit log"))
            .or_else(|| one(*trimmed_before == other.trimmed_before, "instants of retention"))
            .or_else(|| {
                let count = |names: &[Vec<Name>; 3]| names.iter().map(Vec::len).sum();
                many(*names == other.names, "names of breakdowns", count(names), count(&other.names))
            })
    }
}

/// A store that is read from one end to the other while nobody else writes to it.
pub(super) trait Origin {
    /// Into how many orders its numbers are divided.
    fn buckets(&self) -> Buckets;

    /// Begins with a kind of rows. Users, sessions, operations, denials and alerts come in the order of recording, and so
    /// that each user's are in the order of their numbers; operations that are emptied of their details before all others.
    async fn begin(&mut self, kind: Kind) -> Result<(), StoreError>;

    /// The next rows of the kind; none at the end.
    async fn rows(&mut self) -> Result<Vec<Row>, StoreError>;

    /// The next numbers of the kind in place of its rows, each with its user's; none at the end.
    async fn numbers(&mut self) -> Result<Vec<(u64, UserNo)>, StoreError>;

    /// What is read at once.
    async fn rest(&mut self) -> Result<Rest, StoreError>;

    /// How many messages wait to be sent.
    async fn waiting(&mut self) -> Result<u64, StoreError>;

    /// What the store says of its own place in a move.
    async fn mark(&mut self) -> Result<Option<String>, StoreError>;

    /// Has the store say so, durably; a store that says anything is opened by nobody but the next move.
    async fn set_mark(&mut self, mark: Option<&str>) -> Result<(), StoreError>;
}

/// An empty store that is filled.
pub(super) trait Destination: Origin {
    /// Writes rows of one kind, each for a bucket; with a month also what its day sums add to those of all users.
    async fn write(&mut self, rows: &[(i32, Row)]) -> Result<(), StoreError>;

    /// Whether nothing was ever recorded here.
    async fn is_empty(&mut self) -> Result<bool, StoreError>;

    /// Writes what is written at once, before any row.
    async fn begin_with(&mut self, rest: &Rest) -> Result<(), StoreError>;

    /// Writes what is known after the last row, by bucket: the numbers that come next, and the last operation that is
    /// emptied of its details.
    async fn end_with(
        &mut self,
        next: &BTreeMap<i32, Numbers>,
        emptied: &BTreeMap<i32, OperationNo>,
    ) -> Result<(), StoreError>;
}

/// How many rows of a kind, and what they say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// The sum over the hashes of all rows, in whatever order.
    pub sum: u128,
}

impl Tally {
    fn add(&mut self, row: &Row) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(xxh3_128(format!("{row:?}").as_bytes()));
    }
}

/// What was moved, by kind.
pub type Tallies = BTreeMap<Kind, Tally>;

/// Moves every row, and gives what they were; `told` is called with what is being done and with how many rows were done.
pub(super) async fn rows(
    from: &mut impl Origin,
    to: &mut impl Destination,
    told: &mut impl FnMut(&'static str, u64),
) -> Result<Tallies, StoreError> {
    let mut numbering = Renumbering::new(from.buckets(), to.buckets());
    from.begin(Kind::User).await?;
    loop {
        let users = from.rows().await?;
        if users.is_empty() {
            break;
        }
        for row in &users {
            if let Row::User(user) = row {
                numbering.give_user(user)?;
            }
        }
    }
    for kind in [Kind::Session, Kind::Operation, Kind::Denial, Kind::Alert] {
        from.begin(kind).await?;
        loop {
            let numbers = from.numbers().await?;
            if numbers.is_empty() {
                break;
            }
            told("counting", numbers.len() as u64);
            for (no, user_no) in numbers {
                numbering.give(kind, no, user_no)?;
            }
        }
    }
    to.begin_with(&from.rest().await?).await?;
    let mut emptied = BTreeMap::new();
    let mut tallies = Tallies::new();
    for kind in Kind::ALL {
        let tally: &mut Tally = tallies.entry(kind).or_default();
        from.begin(kind).await?;
        loop {
            let rows = from.rows().await?;
            if rows.is_empty() {
                break;
            }
            let rows: Vec<(i32, Row)> =
                rows.into_iter().map(|row| numbering.renumber(row)).collect::<Result<_, _>>()?;
            for (bucket, row) in &rows {
                tally.add(row);
                if let Row::Operation(operation) = row
                    && operation.trimmed
                {
                    emptied.insert(*bucket, operation.no);
                }
            }
            to.write(&rows).await?;
            told(kind.plural(), rows.len() as u64);
        }
    }
    to.end_with(&numbering.next(), &emptied).await?;
    Ok(tallies)
}

/// Reads a store from one end to the other, and gives what its rows say.
pub(super) async fn tallies(
    of: &mut impl Origin,
    told: &mut impl FnMut(&'static str, u64),
) -> Result<Tallies, StoreError> {
    let mut tallies = Tallies::new();
    for kind in Kind::ALL {
        let tally: &mut Tally = tallies.entry(kind).or_default();
        of.begin(kind).await?;
        loop {
            let rows = of.rows().await?;
            if rows.is_empty() {
                break;
            }
            told("comparing", rows.len() as u64);
            for row in rows {
                tally.add(&row);
            }
        }
    }
    Ok(tallies)
}

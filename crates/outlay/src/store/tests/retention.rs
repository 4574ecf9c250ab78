//! What retention empties, in which order, and what is left of it.

use std::sync::Arc;

use outlay_core::id::{Label, Name, OperationId, SessionId, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::money::{Quantity, Usd};
use outlay_core::month::Timestamp;
use outlay_core::operation::{Fingerprint, FingerprintBuilder, NewOperation, Operation, Tokens, UsageType};

use super::{SetClock, embedded};
use crate::clock::SharedClock;
use crate::store::{Reads, Reply, Store};

/// Stands in every detail, and nowhere else.
pub(crate) const SECRET: &str = "S3cret-";
pub(crate) const HOUR: i64 = 3_600;

fn user() -> UserId {
    UserId::new("u").unwrap()
}

/// An operation with every detail that there is, and with metadata of about so many bytes.
fn operation(id: &str, metadata_bytes: usize) -> NewOperation {
    let mut operation = NewOperation {
        operation_id: OperationId::new(id).unwrap(),
        user_id: user(),
        usage_type: UsageType::Ai,
        feature: Name::new("scan").unwrap(),
        provider: Name::new("gemini").unwrap(),
        model: None,
        cost: Usd::parse("0.001").unwrap(),
        tokens: Some(Tokens { input: 900, cached_input: 1, cache_write: 2, output: 55, reasoning: 3 }),
        units: Some(Arc::from([(Name::new(&format!("{SECRET}pages")).unwrap(), Quantity::parse("1.5").unwrap())])),
        is_billable_run: true,
        session_id: Some(SessionId::new("s").unwrap()),
        step_label: Some(Label::new(&format!("{SECRET}label")).unwrap()),
        step_number: Some(7),
        finish_session: None,
        duration_ms: Some(812),
        timestamp: None,
        metadata: Some(Arc::from(format!(r#"{{"k":"{}"}}"#, SECRET.repeat(1 + metadata_bytes / SECRET.len())))),
        fingerprint: Fingerprint([0; 16]),
    };
    operation.fingerprint = FingerprintBuilder::of(&operation, true, true, operation.metadata.as_deref());
    operation
}

pub(crate) fn record(id: &str, metadata_bytes: usize) -> Command {
    Command::Record(Box::new(operation(id, metadata_bytes)))
}

pub(crate) fn reverse(id: &str) -> Command {
    Command::Reverse {
        user_id: user(),
        original: OperationId::new(id).unwrap(),
        operation_id: OperationId::new(&format!("{id}-back")).unwrap(),
        reason: Some(Label::new(&format!("{SECRET}reason")).unwrap()),
    }
}

pub(crate) fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// A store that a test asks.
struct Asked<S> {
    runtime: tokio::runtime::Runtime,
    store: S,
    reads: Arc<dyn Reads>,
}

impl<S: Store> Asked<S> {
    fn new((store, reads): (S, Arc<dyn Reads>)) -> Self {
        Self { runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(), store, reads }
    }

    fn commit(&mut self, commands: Vec<Command>) -> Vec<Reply> {
        self.runtime.block_on(self.store.commit(commands.into())).unwrap().publish().unwrap()
    }

    fn row(&self, id: &str) -> Operation {
        let id = OperationId::new(id).unwrap();
        self.runtime.block_on(self.reads.operation(&user(), &id)).unwrap().unwrap()
    }

    /// How many are emptied once nothing more is due.
    fn trim(&mut self, before: &str) -> u64 {
        while self.runtime.block_on(self.store.trim(at(before))).unwrap() {}
        self.trimmed().0
    }

    fn trimmed(&self) -> (u64, Option<Timestamp>) {
        let status = self.reads.status();
        (status.trimmed, status.trimmed_before)
    }

    fn verifies(&self) {
        assert_eq!(self.runtime.block_on(self.reads.verify()).unwrap(), []);
    }
}

pub(crate) fn what_is_emptied_is_what_the_core_says_and_stays_emptied<S: Store>(
    mut open: impl FnMut(SharedClock) -> (S, Arc<dyn Reads>),
) {
    let clock = SetClock::at("2025-10-01T12:00:00Z");
    let mut open = || Asked::new(open(Arc::clone(&clock) as SharedClock));
    let mut asked = open();
    asked.commit((0..8).map(|no| record(&format!("o{no}"), 10)).collect());
    asked.commit(vec![reverse("o1")]);
    clock.pass(HOUR);
    asked.commit(vec![record("young", 10)]);
    let ids: Vec<String> =
        (0..8).map(|no| format!("o{no}")).chain(["o1-back".to_owned(), "young".to_owned()]).collect();
    let before: Vec<Operation> = ids.iter().map(|id| asked.row(id)).collect();
    assert_eq!(asked.trim("2025-10-01T12:00:00Z"), 0, "what was recorded at the instant itself is not before it");
    assert_eq!(asked.trimmed(), (0, Some(at("2025-10-01T12:00:00Z"))));
    assert_eq!(asked.trim("2025-10-01T13:00:00Z"), 9);
    for (id, before) in ids.iter().zip(&before) {
        let expected = if id == "young" { before.clone() } else { before.clone().without_details() };
        assert_eq!(asked.row(id), expected);
    }
    assert_eq!(asked.trimmed(), (9, Some(at("2025-10-01T13:00:00Z"))));
    asked.verifies();

    // Asked again, the first one's facts; other content is a conflict; and it is taken back as any other.
    let replies = asked.commit(vec![record("o2", 10), record("o3", 99), reverse("o4"), reverse("o1")]);
    let recorded = |place: usize| match &replies[place] {
        Ok(Outcome::Recorded(recorded)) => recorded,
        other => panic!("{other:?}"),
    };
    assert!(recorded(0).duplicate && recorded(0).operation.trimmed);
    assert!(replies[1].is_err());
    assert!(!recorded(2).duplicate && !recorded(2).operation.trimmed && recorded(2).operation.reason.is_some());
    assert!(recorded(3).duplicate);
    let taken_back = asked.row("o4");
    assert!(taken_back.trimmed && taken_back.metadata.is_none() && taken_back.reversed_by.is_some());
    asked.verifies();

    // The next start goes on where this one was.
    let Asked { runtime, store, reads } = asked;
    drop(reads);
    runtime.block_on(store.close()).unwrap();
    let mut asked = open();
    assert_eq!(asked.trimmed().0, 9);
    clock.pass(HOUR);
    assert_eq!(asked.trim("2025-10-01T14:00:00Z"), 11);
    asked.verifies();
}

/// Numbers are given in the order of recording, whatever the clock said then.
pub(crate) fn a_clock_that_was_wrong_empties_nothing_early_and_holds_up_nothing_for_ever<S: Store>(
    mut open: impl FnMut(SharedClock) -> (S, Arc<dyn Reads>),
) {
    let clock = SetClock::at("2025-10-01T12:00:00Z");
    let mut asked = Asked::new(open(Arc::clone(&clock) as SharedClock));
    let mut recorded = 0;
    let mut record = |asked: &mut Asked<S>, count: usize| {
        recorded += 1;
        let replies = asked.commit((0..count).map(|no| record(&format!("o{recorded}-{no}"), 10)).collect());
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    };
    record(&mut asked, 2);
    // A day back, and then ten years ahead.
    clock.pass(-24 * HOUR);
    record(&mut asked, 1);
    clock.pass(87_600 * HOUR);
    record(&mut asked, 5);
    clock.pass(24 * HOUR - 87_600 * HOUR);
    clock.pass(HOUR);
    record(&mut asked, 1);
    clock.pass(24 * HOUR);
    assert_eq!(asked.trim("2025-10-01T12:00:00Z"), 0, "the third one says that it is older than the first two");
    assert_eq!(asked.trim("2025-10-01T12:00:01Z"), 3);
    // Those that are dated ahead are as old as the next one.
    assert_eq!(asked.trim("2025-10-01T13:00:00Z"), 3);
    assert_eq!(asked.trim("2025-10-01T13:00:01Z"), 9);
    // While none comes after them, they wait.
    clock.pass(87_600 * HOUR);
    record(&mut asked, 4);
    clock.pass(-87_600 * HOUR);
    assert_eq!(asked.trim("2025-10-02T12:00:00Z"), 9);
    assert_eq!(asked.trimmed().1, Some(at("2025-10-01T13:00:01Z")));
    asked.verifies();
}

/// Slices of few rows.
fn embedded(folder: &std::path::Path, clock: SharedClock) -> (embedded::EmbeddedStore, Arc<dyn Reads>) {
    let mut settings = embedded::Settings::new(folder.to_owned(), clock);
    settings.sizes.trimmed_rows = 3;
    embedded::open(settings).unwrap()
}

#[test]
fn the_embedded_store_empties_what_the_core_says() {
    let folder = tempfile::tempdir().unwrap();
    what_is_emptied_is_what_the_core_says_and_stays_emptied(|clock| embedded(folder.path(), clock));
}

#[test]
fn the_embedded_store_is_not_misled_by_a_clock_that_was_wrong() {
    let folder = tempfile::tempdir().unwrap();
    a_clock_that_was_wrong_empties_nothing_early_and_holds_up_nothing_for_ever(|clock| embedded(folder.path(), clock));
}

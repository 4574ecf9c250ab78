//! What is emptied, in which order, and what is left of it on the disk.

use std::path::Path;
use std::sync::Arc;

use outlay_core::id::{Label, Name, OperationId, OperationNo, SessionId, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::money::{Quantity, Usd};
use outlay_core::month::Timestamp;
use outlay_core::operation::{Fingerprint, FingerprintBuilder, NewOperation, Operation, Tokens, UsageType};

use super::super::{EmbeddedStore, Settings, load, open};
use crate::store::tests::SetClock;
use crate::store::{Finding, Reads};

/// Stands in every detail, and nowhere else.
const SECRET: &str = "S3cret-";
const HOUR: i64 = 3_600;

/// An operation with every detail that there is, and with metadata of about so many bytes.
fn operation(id: &str, metadata_bytes: usize) -> NewOperation {
    let mut operation = NewOperation {
        operation_id: OperationId::new(id).unwrap(),
        user_id: UserId::new("u").unwrap(),
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

fn record(id: &str, metadata_bytes: usize) -> Command {
    Command::Record(Box::new(operation(id, metadata_bytes)))
}

fn reverse(id: &str) -> Command {
    Command::Reverse {
        user_id: UserId::new("u").unwrap(),
        original: OperationId::new(id).unwrap(),
        operation_id: OperationId::new(&format!("{id}-back")).unwrap(),
        reason: Some(Label::new(&format!("{SECRET}reason")).unwrap()),
    }
}

fn store(folder: &Path, clock: &Arc<SetClock>) -> (EmbeddedStore, Arc<dyn Reads>) {
    let mut settings = Settings::new(folder.to_owned(), Arc::clone(clock) as _);
    settings.sizes.trimmed_rows = 3;
    open(settings).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

fn row(store: &EmbeddedStore, no: u64) -> Operation {
    load::operation(&store.connection, OperationNo(no), &store.shared.names).unwrap().unwrap()
}

/// How many are emptied once nothing more is due.
fn trim(store: &mut EmbeddedStore, before: &str) -> u64 {
    while store.trim_now(at(before)).unwrap() {}
    store.shared.trimmed.lock().no
}

fn findings(reads: &dyn Reads) -> Vec<Finding> {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(reads.verify()).unwrap()
}

#[test]
fn what_is_emptied_is_what_the_core_says_and_stays_emptied() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::at("2025-10-01T12:00:00Z");
    let (mut store, reads) = store(folder.path(), &clock);
    store.commit_now((0..8).map(|no| record(&format!("o{no}"), 10)).collect::<Vec<_>>()).unwrap();
    store.commit_now(vec![reverse("o1")]).unwrap();
    clock.pass(HOUR);
    store.commit_now(vec![record("young", 10)]).unwrap();
    let before: Vec<Operation> = (1..=10).map(|no| row(&store, no)).collect();
    assert_eq!(trim(&mut store, "2025-10-01T12:00:00Z"), 0, "what was recorded at the instant itself is not before it");
    assert_eq!((reads.status().trimmed, reads.status().trimmed_before), (0, Some(at("2025-10-01T12:00:00Z"))));
    assert_eq!(trim(&mut store, "2025-10-01T13:00:00Z"), 9);
    for (no, before) in (1..).zip(&before) {
        let expected = if no <= 9 { before.clone().without_details() } else { before.clone() };
        assert_eq!(row(&store, no), expected);
    }
    assert_eq!((reads.status().trimmed, reads.status().trimmed_before), (9, Some(at("2025-10-01T13:00:00Z"))));
    assert_eq!(findings(&*reads), []);

    // Asked again, the first one's facts; other content is a conflict; and it is taken back as any other.
    let replies = store.commit_now(vec![record("o2", 10), record("o3", 99), reverse("o4"), reverse("o1")]).unwrap();
    let recorded = |place: usize| match &replies[place] {
        Ok(Outcome::Recorded(recorded)) => recorded,
        other => panic!("{other:?}"),
    };
    assert!(recorded(0).duplicate && recorded(0).operation.trimmed);
    assert!(replies[1].is_err());
    assert!(!recorded(2).duplicate && !recorded(2).operation.trimmed && recorded(2).operation.reason.is_some());
    assert!(recorded(3).duplicate);
    let taken_back = row(&store, 5);
    assert!(taken_back.trimmed && taken_back.metadata.is_none() && taken_back.reversed_by.is_some());
    assert_eq!(findings(&*reads), []);

    // The next start goes on where this one was.
    drop(reads);
    store.close_now().unwrap();
    let (mut store, reads) = self::store(folder.path(), &clock);
    assert_eq!(reads.status().trimmed, 9);
    clock.pass(HOUR);
    assert_eq!(trim(&mut store, "2025-10-01T14:00:00Z"), 11);
    assert_eq!(findings(&*reads), []);
}

#[test]
fn nothing_is_left_of_it_on_the_disk_but_what_stays() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::at("2025-10-01T12:00:00Z");
    let (mut store, reads) = store(folder.path(), &clock);
    for batch in 0..40 {
        // Rows that lie side by side, and such as need pages of their own; and later ones that move their neighbours about.
        let ids = (0..10).map(|no| format!("o{batch}-{no}"));
        let sizes = [10, 60, 150, 300, 20, 900, 40, 7_000, 10, 2_000];
        store.commit_now(ids.zip(sizes).map(|(id, size)| record(&id, size)).collect::<Vec<_>>()).unwrap();
        let back = (0..10).map(|no| reverse(&format!("o{}-{no}", batch / 2))).collect::<Vec<_>>();
        store.commit_now(back).unwrap();
    }
    let found = |name: &str| {
        let bytes = std::fs::read(folder.path().join(name)).unwrap_or_default();
        bytes.windows(SECRET.len()).filter(|window| *window == SECRET.as_bytes()).count()
    };
    assert!(found("outlay.db-wal") > 0);
    clock.pass(HOUR);
    assert_eq!(trim(&mut store, "2025-10-01T13:00:00Z"), reads.status().operations);
    // The log is cut by the writer, once what it says is in the file.
    for _ in 0..1_000 {
        if found("outlay.db-wal") == 0 {
            break;
        }
        assert!(!store.trim_now(at("2025-10-01T13:00:00Z")).unwrap());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    assert_eq!((found("outlay.db"), found("outlay.db-wal")), (0, 0));
    assert_eq!(findings(&*reads), []);
    // A log that was cut is not in the way of what comes.
    store.commit_now(vec![record("next", 10)]).unwrap();
    drop(reads);
    store.close_now().unwrap();
    assert!(found("outlay.db") > 0);
}

#[test]
fn a_row_that_was_changed_behind_its_back_is_emptied_and_still_found() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::at("2025-10-01T12:00:00Z");
    let (mut store, reads) = store(folder.path(), &clock);
    store.commit_now((0..8).map(|no| record(&format!("o{no}"), 10)).collect::<Vec<_>>()).unwrap();
    for change in [
        "update operation set metadata = '{}' where no = 2",
        "update operation set step_number = 'x' where no = 3",
        "update operation set flags = 'x' where no = 4",
        "update operation set recorded_at = 'x' where no = 5",
        "update operation set sum = 'x' where no = 6",
        "update meta set value = 7 where key = 'trimmed'",
    ] {
        store.connection.execute(change, []).unwrap();
    }
    clock.pass(HOUR);
    assert_eq!(trim(&mut store, "2025-10-01T13:00:00Z"), 8);
    let details: i64 = store
        .connection
        .query_row("select count(*) from operation where metadata is not null or step_label is not null", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(details, 0);
    let sums = "update operation set step_number = 7, flags = 18, recorded_at = (select recorded_at from operation where no = 1) \
                where no in (3, 4, 5)";
    store.connection.execute(sums, []).unwrap();
    let places: Vec<String> = findings(&*reads).into_iter().map(|finding| finding.place).collect();
    for no in 2..=6 {
        assert!(places.contains(&format!("operation {no}")), "{places:?}");
    }
    assert!(!places.contains(&"operation 1".to_owned()) && !places.contains(&"operation 7".to_owned()), "{places:?}");
}

#[test]
fn a_cursor_that_does_not_say_what_is_emptied_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::at("2025-10-01T12:00:00Z");
    let (mut store, reads) = store(folder.path(), &clock);
    store.commit_now((0..4).map(|no| record(&format!("o{no}"), 10)).collect::<Vec<_>>()).unwrap();
    clock.pass(HOUR);
    assert_eq!(trim(&mut store, "2025-10-01T13:00:00Z"), 4);
    store.commit_now(vec![record("young", 10)]).unwrap();
    for (cursor, place) in [(3, "operation 4"), (5, "operation 5")] {
        store.connection.execute("update meta set value = ? where key = 'trimmed'", [cursor]).unwrap();
        let found = findings(&*reads);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].place, place);
    }
}

/// Numbers are given in the order of recording, whatever the clock said then.
#[test]
fn a_clock_that_was_wrong_empties_nothing_early_and_holds_up_nothing_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::at("2025-10-01T12:00:00Z");
    let (mut store, reads) = store(folder.path(), &clock);
    let mut recorded = 0;
    let mut record = |store: &mut EmbeddedStore, count: usize| {
        recorded += 1;
        store
            .commit_now((0..count).map(|no| self::record(&format!("o{recorded}-{no}"), 10)).collect::<Vec<_>>())
            .unwrap();
    };
    record(&mut store, 2);
    // A day back, and then ten years ahead.
    clock.pass(-24 * HOUR);
    record(&mut store, 1);
    clock.pass(87_600 * HOUR);
    record(&mut store, 5);
    clock.pass(24 * HOUR - 87_600 * HOUR);
    clock.pass(HOUR);
    record(&mut store, 1);
    clock.pass(24 * HOUR);
    assert_eq!(trim(&mut store, "2025-10-01T12:00:00Z"), 0, "the third one says that it is older than the first two");
    assert_eq!(trim(&mut store, "2025-10-01T12:00:01Z"), 3);
    // Those that are dated ahead are as old as the next one.
    assert_eq!(trim(&mut store, "2025-10-01T13:00:00Z"), 3);
    assert_eq!(trim(&mut store, "2025-10-01T13:00:01Z"), 9);
    // While none comes after them, they wait.
    clock.pass(87_600 * HOUR);
    record(&mut store, 4);
    clock.pass(-87_600 * HOUR);
    assert_eq!(trim(&mut store, "2025-10-02T12:00:00Z"), 9);
    assert_eq!(reads.status().trimmed_before, Some(at("2025-10-01T13:00:01Z")));
    assert_eq!(findings(&*reads), []);
}

#[test]
fn a_slice_is_no_more_than_so_many_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::at("2025-10-01T12:00:00Z");
    let (mut store, _reads) = open(Settings::new(folder.path().to_owned(), Arc::clone(&clock) as _)).unwrap();
    store.commit_now((0..150).map(|no| record(&format!("o{no}"), 8_000)).collect::<Vec<_>>()).unwrap();
    clock.pass(HOUR);
    let mut slices = Vec::new();
    while store.trim_now(at("2025-10-01T13:00:00Z")).unwrap() {
        slices.push(store.shared.trimmed.lock().no);
    }
    assert_eq!(slices, [32, 64, 96, 128, 150]);
}

//! What is emptied, in which order, and what is left of it on the disk.

use std::path::Path;
use std::sync::Arc;

use super::super::{EmbeddedStore, Settings, open};
use crate::store::tests::SetClock;
use crate::store::tests::retention::{HOUR, SECRET, at, record, reverse};
use crate::store::{Finding, Reads};

fn store(folder: &Path, clock: &Arc<SetClock>) -> (EmbeddedStore, Arc<dyn Reads>) {
    let mut settings = Settings::new(folder.to_owned(), Arc::clone(clock) as _);
    settings.sizes.trimmed_rows = 3;
    open(settings).unwrap()
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

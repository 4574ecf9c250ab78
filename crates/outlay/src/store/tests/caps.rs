//! How much breakdowns keep apart: the rest is in `(other)`, and all of it is in the sums.

use std::collections::BTreeMap;
use std::sync::Arc;

use outlay_core::breakdown::{COMBINATIONS_MAX, COMBINATIONS_MAX_ALL_USERS, NAMES_MAX, OTHER};
use outlay_core::id::{Name, UserId};
use outlay_core::ledger::Command;

use super::{SetClock, commands, embedded};
use crate::clock::{Clock, SharedClock};
use crate::store::{OverviewQuery, Reads, Store};

/// More models in a user's day than are kept apart, and in all more features than are.
pub(crate) fn what_is_beyond_is_in_other_and_in_the_sums<S: Store>(
    mut open: impl FnMut(SharedClock) -> (S, Arc<dyn Reads>),
) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let clock = SetClock::at("2025-10-29T12:00:00Z");
    let (mut store, reads) = open(Arc::clone(&clock) as SharedClock);
    let at = clock.wall();
    let operation = |user: &str, no: usize, feature: &str, model: Option<&str>| {
        let Command::Record(mut operation) =
            commands::plain(&UserId::new(user).unwrap(), &format!("o{no}"), feature, None, at)
        else {
            panic!("it records")
        };
        operation.model = model.map(|model| Name::new(model).unwrap());
        Command::Record(operation)
    };
    let mut commit = |commands: Vec<Command>| {
        let replies = runtime.block_on(store.commit(commands.into())).unwrap().publish().unwrap();
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    };
    // By feature and model of a user's day, how many operations.
    let day_of = |user: &str| -> BTreeMap<(String, Option<String>), u64> {
        let month = at.month();
        let user_id = UserId::new(user).unwrap();
        let history = runtime.block_on(reads.history(&user_id, month..=month)).unwrap();
        assert!(history.days.iter().all(|(day, _, _)| *day == at.day()));
        let name = |name: &Name| name.as_str().to_owned();
        let rows = history.days.iter().map(|(_, of, sums)| ((name(&of.feature), of.model.as_ref().map(name)), sums));
        rows.map(|(of, sums)| (of, sums.operations)).collect()
    };
    let count = COMBINATIONS_MAX + 40;
    for slice in (0..count).collect::<Vec<_>>().chunks(100) {
        commit(slice.iter().map(|no| operation("u", *no, "scan", Some(&format!("m{no}")))).collect());
    }
    // Some that are known, one without a model, and some that are beyond.
    commit(vec![
        operation("u", count, "scan", Some("m3")),
        operation("u", count + 1, "scan", None),
        operation("u", count + 2, "scan", Some("beyond")),
        operation("u", count + 3, "chat", Some("m3")),
    ]);
    let day = day_of("u");
    let other = |model: Option<&str>| (OTHER.to_owned(), model.map(str::to_owned));
    assert_eq!(
        day.len(),
        COMBINATIONS_MAX + 2,
        "those that are kept apart, and what is beyond with a model and without"
    );
    assert_eq!(day.get(&other(Some(OTHER))), Some(&42));
    assert_eq!(day.get(&other(None)), Some(&1));
    assert_eq!(day.get(&("scan".to_owned(), Some("m3".to_owned()))), Some(&2));
    assert_eq!(day.values().sum::<u64>(), count as u64 + 4);

    // `scan` and `chat` are names already, and so is `(other)`.
    let mut no = 0;
    while no < NAMES_MAX {
        let slice = (no..no + 500).map(|no| operation(&format!("v{}", no / 200), no, &format!("f{no}"), None));
        commit(slice.collect());
        no += 500;
    }
    let query = OverviewQuery { month: at.month(), months_before: 0, newest: 0 };
    let overview = runtime.block_on(reads.overview(query)).unwrap();
    let of_day = || overview.days.iter().filter(|(day, _, _)| *day == at.day());
    assert_eq!(of_day().map(|(_, _, sums)| sums.operations).sum::<u64>(), (count + 4 + NAMES_MAX) as u64);
    assert_eq!(of_day().count(), COMBINATIONS_MAX_ALL_USERS + 1, "those that are kept apart, and what is beyond");
    // The last of them come too late, whichever node or start it is that hears of them.
    let last = format!("v{}", (NAMES_MAX - 1) / 200);
    assert_eq!(day_of(&last).get(&other(None)), Some(&3));
    assert_eq!(runtime.block_on(reads.verify()).unwrap(), []);
    drop(reads);
    runtime.block_on(store.close()).unwrap();
    let (mut store, reads) = open(Arc::clone(&clock) as SharedClock);
    let late = [("w", 0, "f9999"), ("w", 1, "f0"), ("w", 2, "newest")];
    let commands: Vec<Command> = late.iter().map(|(user, no, feature)| operation(user, *no, feature, None)).collect();
    runtime.block_on(store.commit(commands.into())).unwrap().publish().unwrap();
    let month = at.month();
    let history = runtime.block_on(reads.history(&UserId::new("w").unwrap(), month..=month)).unwrap();
    let found: BTreeMap<&str, u64> =
        history.days.iter().map(|(_, of, sums)| (of.feature.as_str(), sums.operations)).collect();
    assert_eq!(found, BTreeMap::from([(OTHER, 2), ("f0", 1)]));
    assert_eq!(runtime.block_on(reads.verify()).unwrap(), []);
}

#[test]
fn the_embedded_store_keeps_no_more_apart_than_it_says() {
    let folder = tempfile::tempdir().unwrap();
    what_is_beyond_is_in_other_and_in_the_sums(|clock| {
        embedded::open(embedded::Settings::new(folder.path().to_owned(), clock)).unwrap()
    });
}

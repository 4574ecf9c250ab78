//! What both stores promise beside the ledger: retention, caps, a clock that jumps.

use std::sync::Arc;

use outlay_core::id::{Name, SessionId, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::month::Timestamp;
use outlay_core::plan::{Amounts, Overrides};
use outlay_core::session::{Ask, SessionStatus};
use parking_lot::Mutex;

use super::super::{Buckets, Settings, open};
use super::cluster::{self, block_on};
use super::failures::{change, commit, node};
use super::opened;
use super::sharded::logged;
use crate::clock::{Clock, SharedClock, SystemClock};
use crate::store::tests::commands::plain;
use crate::store::tests::{SetClock, caps, retention};
use crate::store::{Reads, Store};

#[test]
fn the_postgres_store_empties_what_the_core_says() {
    for buckets in [Buckets::of_bits(0).unwrap(), Buckets::USUAL] {
        let config = cluster::database(buckets);
        retention::what_is_emptied_is_what_the_core_says_and_stays_emptied(|clock| opened(&config, buckets, clock));
    }
}

#[test]
fn the_postgres_store_is_not_misled_by_a_clock_that_was_wrong() {
    let config = cluster::database(Buckets::USUAL);
    retention::a_clock_that_was_wrong_empties_nothing_early_and_holds_up_nothing_for_ever(|clock| {
        opened(&config, Buckets::USUAL, clock)
    });
}

#[test]
fn the_postgres_store_keeps_no_more_apart_than_it_says() {
    let buckets = Buckets::of_bits(0).unwrap();
    let config = cluster::database(buckets);
    caps::what_is_beyond_is_in_other_and_in_the_sums(|clock| opened(&config, buckets, clock));
}

/// Two nodes empty the same at the same time, in many buckets, and a row that was changed behind its back is found still.
#[test]
fn nodes_that_empty_the_same_take_turns_and_hide_no_change() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-01T12:00:00Z");
    let node = || opened(&config, Buckets::USUAL, Arc::clone(&clock) as SharedClock);
    let (mut one, of_one) = node();
    let (mut other, of_other) = node();
    let record = |no: usize| {
        let Command::Record(mut operation) = retention::record(&format!("o{no}"), 10) else { panic!("it records") };
        operation.user_id = UserId::new(&format!("user-{}", no % 20)).unwrap();
        Command::Record(operation)
    };
    let replies = commit(&mut one, (0..200).map(record).collect());
    assert!(replies.iter().all(Result::is_ok));
    change(&config, "update operation set metadata = '{}' where operation_id = 'o7'");
    change(&config, "update operation set tokens = 'x' where operation_id = 'o8'");
    clock.pass(retention::HOUR);
    let before = retention::at("2025-10-01T13:00:00Z");
    let mut more = true;
    while more {
        let (first, second) =
            block_on(async { futures_util::future::join(one.trim(before), other.trim(before)).await });
        more = first.unwrap() | second.unwrap();
    }
    for reads in [&of_one, &of_other] {
        let status = reads.status();
        assert_eq!((status.trimmed, status.trimmed_before), (200, Some(before)));
    }
    let findings = block_on(of_one.verify()).unwrap();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert!(findings.iter().all(|finding| finding.problem.contains("its sum is another")), "{findings:?}");
    change(&config, "update bucket set trimmed = trimmed - 1024 where trimmed > 5000");
    let findings = block_on(of_one.verify()).unwrap();
    assert!(findings.iter().any(|finding| finding.problem.contains("whether it is emptied")), "{findings:?}");
    // A node that starts knows what was emptied before.
    change(&config, "update bucket set trimmed = trimmed + 1024 where trimmed > 4000");
    assert_eq!(node().1.status().trimmed_before, Some(before));
}

/// The wall clock and the time that passes, each as it is told.
#[derive(Debug)]
struct TwoClocks(Mutex<(Timestamp, u64)>);

impl Clock for TwoClocks {
    fn wall(&self) -> Timestamp {
        self.0.lock().0
    }

    fn monotonic_nanos(&self) -> u64 {
        self.0.lock().1
    }
}

#[test]
fn a_jump_of_the_clock_gives_back_no_hold_for_ten_minutes() {
    let config = cluster::database(Buckets::USUAL);
    let clock = Arc::new(TwoClocks(Mutex::new((SystemClock::shared().wall(), 0))));
    let pass = |wall: i64, seconds: u64| {
        let mut now = clock.0.lock();
        *now = (now.0.plus_seconds(wall), now.1 + seconds * 1_000_000_000);
    };
    let settings = Settings::new("postgres://localhost", Arc::clone(&clock) as SharedClock).unwrap();
    let (mut store, reads) = open(Settings { config: config.clone(), own_clock: true, ..settings }).unwrap();
    let user_id = UserId::new("ada").unwrap();
    let session_id = SessionId::new("s").unwrap();
    let open = Command::Open {
        user_id: user_id.clone(),
        session_id: session_id.clone(),
        feature: Name::new("scan").unwrap(),
        ask: Ask::Estimate(Amounts { cost: 0, ai_runs: 1, api_runs: 0 }),
        hold_seconds: 900,
        metadata: None,
    };
    let plan = Some(Name::new("premium").unwrap());
    let put = Command::PutUser { user_id: user_id.clone(), plan, email: None, overrides: Overrides::default() };
    let opened = commit(&mut store, vec![put, open]).remove(1);
    assert!(matches!(opened, Ok(Outcome::Opened { .. })), "{opened:?}");
    let held = |reads: &dyn Reads| {
        let now = reads.now();
        let view = block_on(reads.view(&user_id, now.month())).unwrap();
        view.budget(&reads.plans(), &user_id, now.month(), now).unwrap().meters.ai_runs.held
    };
    pass(30, 30);
    assert_eq!((held(&*reads), reads.status().clock_jump), (1, false));
    // An hour at once: nobody's time has passed by that.
    pass(3_600, 1);
    assert_eq!((held(&*reads), reads.status().clock_jump), (1, true));
    assert_eq!(block_on(store.due(10)).unwrap(), []);
    let wall = clock.wall();
    let record = plain(&user_id, "o", "scan", None, wall);
    commit(&mut store, vec![record])[0].as_ref().unwrap();
    assert_eq!(held(&*reads), 1, "nor by a batch");
    // Ten minutes later it is what it says, and the hold is over.
    pass(601, 601);
    assert_eq!((held(&*reads), reads.status().clock_jump), (0, false));
    let due = block_on(store.due(10)).unwrap();
    assert_eq!(due.len(), 1);
    commit(&mut store, due.into_iter().map(|session_no| Command::Expire { session_no }).collect());
    let session = block_on(reads.session(&user_id, &session_id)).unwrap().unwrap();
    assert_eq!(session.status, SessionStatus::Abandoned);
}

/// Many who ask at the same time share statements, and each is told of whom they asked for.
#[test]
fn views_that_are_asked_for_together_are_read_together() {
    let config = cluster::database(Buckets::USUAL);
    let (mut store, reads) = node(&config);
    let user = |no: usize| UserId::new(&format!("user-{no}")).unwrap();
    let now = SystemClock::shared().wall();
    let mut commands = Vec::new();
    for no in 0..30 {
        let plan = Some(Name::new("premium").unwrap());
        commands.push(Command::PutUser { user_id: user(no), plan, email: None, overrides: Overrides::default() });
        commands.extend((0..no).map(|run| plain(&user(no), &format!("o{run}"), "scan", None, now)));
        commands.extend((0..2).filter(|_| no % 3 == 1 && no < 20).map(|session| Command::Open {
            user_id: user(no),
            session_id: SessionId::new(&format!("s{session}")).unwrap(),
            feature: Name::new("scan").unwrap(),
            ask: Ask::Estimate(Amounts { cost: 0, ai_runs: 1, api_runs: 0 }),
            hold_seconds: 900,
            metadata: None,
        }));
    }
    let replies = commit(&mut store, commands);
    assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    change(&config, &format!("alter database {} set log_statement = 'all'", config.get_dbname().unwrap()));
    let (_, reads_of_another) = node(&config);
    let month = now.month();
    let asked: Vec<UserId> = (0..400).map(|no| user(no % 40)).collect();
    let views = asked.iter().map(|user_id| reads_of_another.view(user_id, month));
    let views = block_on(futures_util::future::join_all(views));
    for (no, view) in views.into_iter().enumerate().map(|(place, view)| (place % 40, view.unwrap())) {
        // The last ten are nobody.
        let found = view.user.as_ref().map(|user| user.user_id.clone());
        assert_eq!(found, Some(user(no)).filter(|_| no < 30));
        let budget = view.budget(&reads.plans(), &user(no), month, reads.now()).unwrap();
        let (runs, held) =
            if no < 30 { (i64::try_from(no).unwrap(), if no % 3 == 1 && no < 20 { 2 } else { 0 }) } else { (0, 0) };
        assert_eq!((budget.meters.ai_runs.used, budget.meters.ai_runs.held), (runs, held), "{no}");
    }
    let statements =
        logged(&config).iter().filter(|logged| logged.sql.contains("(bucket, user_id, month, place)")).count();
    assert!((1..100).contains(&statements), "{statements} statements for 400 views");
}

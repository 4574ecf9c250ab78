//! The writer against a real file: what is committed is there again, and nothing is twice.

use std::sync::Arc;

use outlay_core::id::{Name, OperationId, SessionId, UserId, UserNo};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use outlay_core::operation::{FingerprintBuilder, NewOperation, UsageType};
use outlay_core::plan::Amounts;
use outlay_core::session::{Ask, Finish, SessionStatus};

use super::{EmbeddedStore, Settings, SweepSizes, open};
use crate::audit::{Action, Actor};
use crate::clock::SystemClock;
use crate::store::outbox::EventKind;
use crate::store::tests::{SetClock, outbox};
use crate::store::{Reads, Record, Reply, Urgency};

fn store(folder: &std::path::Path) -> (EmbeddedStore, Arc<dyn Reads>) {
    open(Settings::new(folder.to_owned(), SystemClock::shared())).unwrap()
}

fn operation(user: &str, id: &str, cost: &str, session: Option<&str>) -> Command {
    operation_on(13, user, id, cost, session)
}

/// An operation of a day of October 2025.
fn operation_on(day: u8, user: &str, id: &str, cost: &str, session: Option<&str>) -> Command {
    let mut operation = NewOperation {
        operation_id: OperationId::new(id).unwrap(),
        user_id: UserId::new(user).unwrap(),
        usage_type: UsageType::Ai,
        feature: Name::new("business_card_scan").unwrap(),
        provider: Name::new("gemini").unwrap(),
        model: None,
        cost: Usd::parse(cost).unwrap(),
        tokens: None,
        units: None,
        is_billable_run: true,
        session_id: session.map(|id| SessionId::new(id).unwrap()),
        step_label: None,
        step_number: None,
        finish_session: session.map(|_| Finish::Completed),
        duration_ms: None,
        timestamp: Some(Timestamp::parse(&format!("2025-10-{day}T15:52:56Z")).unwrap()),
        metadata: None,
        fingerprint: outlay_core::operation::Fingerprint([0; 16]),
    };
    operation.fingerprint = FingerprintBuilder::of(&operation, true, true, None);
    Command::Record(Box::new(operation))
}

fn recorded(reply: &Reply) -> (bool, String) {
    match reply {
        Ok(Outcome::Recorded(recorded)) => {
            (recorded.duplicate, Usd::from_picos(recorded.budget.meters.cost.used).to_string())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_committed_is_there_again_once() {
    let folder = tempfile::tempdir().unwrap();
    let user = UserId::new("bgtfrdsZ").unwrap();
    {
        let (mut store, reads) = store(folder.path());
        let open = Command::Open {
            user_id: user.clone(),
            session_id: SessionId::new("s1").unwrap(),
            feature: Name::new("scan").unwrap(),
            ask: Ask::Estimate(Amounts { cost: 0, ai_runs: 0, api_runs: 0 }),
            hold_seconds: 900,
            metadata: None,
        };
        let replies = store.commit_now(vec![open, operation("bgtfrdsZ", "o1", "0.5", Some("s1"))]).unwrap();
        assert_eq!(recorded(&replies[1]), (false, "0.5".to_owned()));
        let replies = store.commit_now(vec![operation("bgtfrdsZ", "o1", "0.5", Some("s1"))]).unwrap();
        assert_eq!(recorded(&replies[0]), (true, "0.5".to_owned()));
        assert_eq!(reads.status().operations, 1);
        store.close_now().unwrap();
    }
    let (mut store, _) = store(folder.path());
    let replies = store
        .commit_now(vec![
            operation("bgtfrdsZ", "o1", "0.5", Some("s1")),
            operation("bgtfrdsZ", "o2", "0.25", Some("s1")),
        ])
        .unwrap();
    assert_eq!(recorded(&replies[0]), (true, "0.5".to_owned()));
    assert_eq!(recorded(&replies[1]), (false, "0.75".to_owned()));
    let session = super::load::session_by_id(
        &store.connection,
        &store.shared.sessions.read(),
        outlay_core::id::UserNo(1),
        &SessionId::new("s1").unwrap(),
        &store.shared.names,
    );
    let session = session.unwrap().unwrap();
    assert_eq!((session.status, session.steps), (SessionStatus::Completed, 2));
    assert_eq!(session.total_cost.to_string(), "0.75");
}

/// Duplicates are found while runs are built and merged, in batches and in idle time, by the writer and by readers.
#[test]
fn runs_are_merged_in_idle_time_and_no_duplicate_is_missed() {
    let folder = tempfile::tempdir().unwrap();
    let settings = || {
        let mut settings = Settings::new(folder.path().to_owned(), SystemClock::shared());
        (settings.runs.map_keys, settings.runs.hash_bits) = (16, 12);
        settings
    };
    let (mut store, _) = open(settings()).unwrap();
    let runs = |store: &EmbeddedStore| -> i64 {
        store.connection.query_row("select count(*) from op_run_meta", [], |row| row.get(0)).unwrap()
    };
    let batch = |number: u32| -> Vec<Command> {
        (0..10).map(|one| operation("u", &format!("o{}", number * 10 + one), "0.001", None)).collect()
    };
    for number in 0..40 {
        store.commit_now(batch(number)).unwrap();
    }
    let before = runs(&store);
    let mut slices = 0;
    while store.idle_now().unwrap() {
        slices += 1;
        assert!(slices < 1_000);
    }
    assert!(slices > 0 && runs(&store) < before, "{slices} slices, {before} runs before, {} after", runs(&store));
    for reopened in [false, true] {
        if reopened {
            store.close_now().unwrap();
            store = open(settings()).unwrap().0;
        }
        for number in 0..40 {
            let replies = store.commit_now(batch(number)).unwrap();
            assert!(replies.iter().all(|reply| recorded(reply) == (true, "0.4".to_owned())));
        }
    }
}

#[test]
fn a_second_process_is_refused_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, _) = store(folder.path());
    let refused = open(Settings::new(folder.path().to_owned(), SystemClock::shared())).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("another Outlay process"), "{refused}");
}

/// A store with sessions, a reversal, an alert and a denial, of which two receivers are told, closed.
fn sample(folder: &std::path::Path) {
    let (mut store, _) = store(folder);
    for id in ["one", "other"] {
        store.put_now(&outbox::webhook(id, &EventKind::ALL), None).unwrap();
    }
    let user = UserId::new("erased-user").unwrap();
    let premium = Command::PutUser {
        user_id: user.clone(),
        plan: Some(Name::new("premium").unwrap()),
        email: None,
        overrides: outlay_core::plan::Overrides::default(),
    };
    store
        .commit_now(vec![
            premium,
            operation("erased-user", "erased-operation", "2.5", Some("erased-session")),
            operation_on(11, "erased-other", "erased-early", "0.1", None),
            operation("erased-other", "erased-operation", "0.1", None),
            operation_on(12, "erased-other", "erased-late", "0.1", None),
        ])
        .unwrap();
    let deny = Command::Deny {
        user_id: user.clone(),
        feature: Name::new("scan").unwrap(),
        estimate: Amounts::ZERO,
        reason: outlay_core::id::Label::new("no").unwrap(),
        session_id: None,
        metadata: None,
    };
    let reverse = Command::Reverse {
        user_id: user,
        original: OperationId::new("erased-operation").unwrap(),
        operation_id: OperationId::new("r1").unwrap(),
        reason: None,
    };
    store
        .commit_now(vec![operation("erased-user", "erased-repeat", "0.2", Some("erased-session")), reverse, deny])
        .unwrap();
    let events = vec![Actor::here("socket").did(Action::BackupTaken), Actor::here("open").did(Action::BackupTaken)];
    store.put_now(&Record::Events(events), None).unwrap();
    store.put_now(&Record::AuditCopied(2), None).unwrap();
    let until = Timestamp::parse("2025-10-13T12:00:00Z").unwrap();
    store.put_now(&Record::EndTokens { user_no: UserNo(1), until }, None).unwrap();
    store.close_now().unwrap();
}

fn findings(folder: &std::path::Path) -> Vec<crate::store::Finding> {
    let (_store, reads) = store(folder);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(reads.verify()).unwrap()
}

#[test]
fn verify_finds_nothing_in_what_was_recorded_and_every_change_made_behind_its_back() {
    let changes = [
        ("update operation set cost = cost + 1 where no = 1", "operation 1"),
        ("update operation set metadata = '{}' where no = 2", "operation 2"),
        ("update operation set previous = null where no = 3", "operation 3"),
        ("delete from operation where no = 2", "operation 2"),
        ("update user_month set cost = cost + 1 where user = 1", "month 2025-10 of user 1"),
        ("update user_month set operations = 7 where user = 2", "month 2025-10 of user 2"),
        ("update user_month set raised = ''", "month 2025-10 of user 1"),
        ("delete from user_month where user = 2", "month 2025-10 of user 2"),
        (
            "update user_month set day_sums = replace(day_sums, '2000', '2001') where user = 1",
            "day 2025-10-13 of user 1",
        ),
        ("update user_month set day = day - 2, day_sums = '[]' where user = 2", "day 2025-10-13 of user 2"),
        ("update user_day set sums = replace(sums, '1000', '1001') where user = 2", "day 2025-10-11 of user 2"),
        ("delete from user_day where day % 32 = 12", "day 2025-10-12 of user 2"),
        ("update all_day set cost = cost + 1", "day 2025-10-13 of all users"),
        ("delete from all_day", "day 2025-10-13 of all users"),
        ("update session set cost = 0", "session 1"),
        ("update session set status = 3", "session 1"),
        ("delete from session", "session 1"),
        ("update session_day set count = 9 where count > 0", "sessions of day"),
        ("update user set months = '' where no = 1", "user 1"),
        ("update user set plan = 'pro' where no = 1", "user 1"),
        ("update alert set used = 1 where no = 1", "alert 1"),
        ("delete from alert where no = 1", "month 2025-10 of user 1"),
        ("update denial set times = 5", "denial 1"),
        ("update delivery set receiver = receiver + 1 where no = 1", "delivery 1"),
        ("delete from delivery where no = 2", "delivery 2"),
        ("update audit set who = 'key_of_somebody_else' where no = 1", "audit 1"),
        ("update audit set at = at - 1 where no = 2", "audit 2"),
        ("delete from audit where no = 1", "audit 1"),
        ("delete from audit where no = 2", "audit 2"),
        ("update token_end set until = until - 1", "token_end 1"),
    ];
    let clean = tempfile::tempdir().unwrap();
    sample(clean.path());
    assert_eq!(findings(clean.path()), []);
    for (change, place) in changes {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(super::file_path(clean.path()), super::file_path(folder.path())).unwrap();
        let file = rusqlite::Connection::open(super::file_path(folder.path())).unwrap();
        assert!(file.execute(change, []).unwrap() > 0, "{change}");
        drop(file);
        let findings = findings(folder.path());
        assert!(findings.iter().any(|finding| finding.place.starts_with(place)), "{change}: {findings:?}");
    }
}

/// That the sum of its row is right says nothing of whether what it tells of is there.
#[test]
fn verify_finds_what_is_told_of_nothing() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let file = rusqlite::Connection::open(super::file_path(folder.path())).unwrap();
    let denied = "from delivery where kind = 2 order by no limit 1";
    let no: i64 = file.query_row(&format!("select no {denied}"), [], |row| row.get(0)).unwrap();
    file.execute("delete from denial", []).unwrap();
    drop(file);
    let found = findings(folder.path());
    let of_nothing = |finding: &crate::store::Finding| {
        finding.place == format!("delivery {no}") && finding.problem.contains("is not there")
    };
    assert!(found.iter().any(of_nothing), "{found:?}");
}

/// An operation or a session that is not found by its id would be there twice when it is sent again.
#[test]
fn verify_finds_what_a_repeat_would_not_find() {
    let clean = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(clean.path().to_owned(), SystemClock::shared());
    settings.runs.map_keys = 16;
    let (mut store, _) = open(settings).unwrap();
    for number in 0..60 {
        let (operation_id, session_id) = (format!("o{number}"), format!("s{number}"));
        store.commit_now(vec![operation("u", &operation_id, "0.001", Some(&session_id))]).unwrap();
    }
    store.commit_now(vec![Command::Erase { user_id: UserId::new("u").unwrap() }]).unwrap();
    for number in 60..100 {
        let (operation_id, session_id) = (format!("o{number}"), format!("s{number}"));
        store.commit_now(vec![operation("v", &operation_id, "0.001", Some(&session_id))]).unwrap();
    }
    while store.idle_now().unwrap() {}
    store.close_now().unwrap();
    assert_eq!(findings(clean.path()), []);
    for (change, place) in [
        ("delete from op_run_5_0 where id = 72", "operation 72"),
        ("update session_run_5_0 set id = 1 where id = 73", "session 73"),
        ("drop table op_run_5_0", "run 5 of operation ids"),
        ("insert into session_run_5_0 values (0, 72)", "session ids of 0 to 4095"),
        ("insert into session_page values (1, 1, 1)", "page 1 of session 1"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        std::fs::copy(super::file_path(clean.path()), super::file_path(folder.path())).unwrap();
        let file = rusqlite::Connection::open(super::file_path(folder.path())).unwrap();
        file.execute_batch(change).unwrap();
        assert!(file.changes() > 0 || change.starts_with("drop"), "{change}");
        drop(file);
        let findings = findings(folder.path());
        assert!(findings.iter().any(|finding| finding.place == place), "{change}: {findings:?}");
    }
}

/// `SQLite` knows of its own pages what no row tells.
#[test]
fn verify_finds_pages_that_are_damaged() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let path = super::file_path(folder.path());
    let mut bytes = std::fs::read(&path).unwrap();
    // The file's header says that more pages are free than are.
    bytes[36..40].copy_from_slice(&7_u32.to_be_bytes());
    std::fs::write(&path, bytes).unwrap();
    let found = findings(folder.path());
    assert!(found.iter().any(|finding| finding.place == "the file"), "{found:?}");
}

#[test]
fn an_erased_person_leaves_no_byte_and_the_numbered_sums_still_verify() {
    let folder = tempfile::tempdir().unwrap();
    sample(folder.path());
    let backup = tempfile::tempdir().unwrap();
    std::fs::copy(super::file_path(folder.path()), super::file_path(backup.path())).unwrap();
    let erased = |folder: &std::path::Path| {
        let bytes = std::fs::read(super::file_path(folder)).unwrap();
        !bytes.windows(7).any(|window| window == b"erased-")
    };
    {
        let (mut store, _) = store(folder.path());
        for user in ["erased-user", "erased-other"] {
            store.commit_now(vec![Command::Erase { user_id: UserId::new(user).unwrap() }]).unwrap();
        }
        // The same id is a new user, before the old one is wiped.
        store.commit_now(vec![operation("u3", "x", "0.1", Some("y"))]).unwrap();
        while store.wipe_slice().unwrap() {}
        store.close_now().unwrap();
    }
    assert!(erased(folder.path()));
    assert_eq!(findings(folder.path()), []);
    // A copy of before, restored beside the list, forgets them too.
    std::fs::copy(folder.path().join("erasures"), backup.path().join("erasures")).unwrap();
    {
        let (mut store, _) = store(backup.path());
        assert_eq!(store.restored(&[]).unwrap(), 2);
        store.close_now().unwrap();
    }
    assert!(erased(backup.path()));
    assert_eq!(findings(backup.path()), []);
}

/// A denial is counted up also where another was recorded after it by a clock that was behind: what is in memory knows it,
/// and what is read of the file must.
#[test]
fn a_repeated_denial_is_found_behind_one_that_a_slow_clock_dated() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::at("2025-10-31T12:00:00Z");
    let ask = |session: &str| Command::Open {
        user_id: UserId::new("u").unwrap(),
        session_id: SessionId::new(session).unwrap(),
        feature: Name::new("scan").unwrap(),
        // More than any plan that is limited has.
        ask: Ask::Estimate(Amounts { cost: Usd::AMOUNT_MAX.picos(), ai_runs: 0, api_runs: 0 }),
        hold_seconds: 60,
        metadata: None,
    };
    let refused = |session| {
        let (mut store, _) = open(Settings::new(folder.path().to_owned(), Arc::clone(&clock) as _)).unwrap();
        match store.commit_now(vec![ask(session)]).unwrap().remove(0) {
            Ok(Outcome::Refused(refused)) => refused.denial.unwrap().times,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(refused("one"), 1);
    clock.pass(-90_000);
    assert_eq!(refused("other"), 1);
    clock.pass(90_000);
    assert_eq!(refused("one"), 2);
}

/// The file may not grow any more: a record is refused as a command is, and nothing ends by it.
#[test]
fn a_record_that_finds_no_space_is_refused_and_nothing_of_it_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reads) = store(folder.path());
    let pages: i64 = store.connection.query_row("pragma page_count", [], |row| row.get(0)).unwrap();
    let _: i64 = store.connection.query_row(&format!("pragma max_page_count = {pages}"), [], |row| row.get(0)).unwrap();
    let event = || Actor::here("open").did(Action::BackupTaken).on(&"x".repeat(1_000));
    let mut put = || store.put_now(&Record::Events(vec![event(), event()]), None);
    let written = (0..1_000).map_while(|_| put().ok()).count() as u64;
    assert_eq!(put(), Err(crate::store::StoreError::DiskFull));
    assert_eq!(reads.audit_newest().0, 2 * written);
}

/// Rows of months that are put off are behind the operations in the file, and for nobody who reads it through the store.
#[test]
fn a_start_adds_what_the_rows_of_months_do_not_say() {
    let folder = tempfile::tempdir().unwrap();
    let sweep = SweepSizes { rows_at_once: 0, rows_while_idle: 1, operations_behind: 1_000 };
    let store = || {
        let mut settings = Settings::new(folder.path().to_owned(), SystemClock::shared());
        settings.sizes.sweep = sweep;
        open(settings).unwrap()
    };
    let in_rows = || -> i64 {
        let file = rusqlite::Connection::open(super::file_path(folder.path())).unwrap();
        file.query_row("select coalesce(sum(operations), 0) from user_month", [], |row| row.get(0)).unwrap()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let month = outlay_core::month::Month::parse("2025-10").unwrap();
    let runs_of = |reads: &Arc<dyn Reads>, user: &str| {
        let view = runtime.block_on(reads.view(&UserId::new(user).unwrap(), month)).unwrap();
        view.used(month).unwrap().ai_runs
    };
    for start in 0..3 {
        let (mut store, reads) = store();
        for n in 0..10 {
            let (user, day) = (["ann", "bob", "eve"][n % 3], [11, 13, 12][n % 2 + start % 2]);
            store.commit_now(vec![operation_on(day, user, &format!("{start}_{n}"), "0.001", None)]).unwrap();
        }
        let so_far = 10 * i64::try_from(start + 1).unwrap();
        assert!(in_rows() < so_far, "nothing was put off");
        assert_eq!(["ann", "bob", "eve"].map(|user| runs_of(&reads, user)).iter().sum::<i64>(), so_far);
        assert_eq!(runtime.block_on(reads.verify()).unwrap(), []);
        // As if it was killed: nothing is written at the end.
        drop(store);
    }
    let (mut store, reads) = store();
    assert!(in_rows() < 30);
    while store.idle_now().unwrap() {}
    assert_eq!(in_rows(), 30);
    assert_eq!(["ann", "bob", "eve"].map(|user| runs_of(&reads, user)), [12, 9, 9]);
    assert_eq!(runtime.block_on(reads.verify()).unwrap(), []);
}

/// A file of version 1, made by the program of that time: all that it holds is read, and it takes on what later ones have.
#[test]
fn a_file_of_version_1_is_read_and_has_the_tables_of_later_ones_from_then_on() {
    use std::io::Read as _;

    let folder = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    let packed = include_bytes!("../../../tests/data/version-1.db.gz");
    flate2::read::GzDecoder::new(packed.as_slice()).read_to_end(&mut bytes).unwrap();
    std::fs::write(super::file_path(folder.path()), bytes).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let user = UserId::new("bgtfrdsZ").unwrap();
    for start in 0..3 {
        if start == 2 {
            // Nor does one of version 2 say how far its rows are: they have every operation.
            let file = rusqlite::Connection::open(super::file_path(folder.path())).unwrap();
            file.execute_batch("pragma user_version = 2; delete from meta where key = 'swept'").unwrap();
        }
        let (mut store, reads) = store(folder.path());
        let version: i64 = store.connection.query_row("pragma user_version", [], |row| row.get(0)).unwrap();
        assert_eq!(version, 3);
        let month = outlay_core::month::Month::parse("2025-10").unwrap();
        let view = runtime.block_on(reads.view(&user, month)).unwrap();
        assert_eq!(view.used(month).unwrap().ai_runs, 29 + start);
        assert_eq!(runtime.block_on(reads.verify()).unwrap(), []);
        assert_eq!((reads.keys().len(), reads.webhooks().len()), (1, 0));
        store.commit_now(vec![operation("bgtfrdsZ", &format!("after_{start}"), "0.001", None)]).unwrap();
        store.close_now().unwrap();
    }
}

#[test]
fn what_ends_a_session_gives_back_and_is_taken_longest() {
    assert_eq!(Urgency::of(&operation("u", "op", "1", Some("s"))), Urgency::GivesBack);
    assert_eq!(Urgency::of(&operation("u", "op", "1", None)), Urgency::Fact);
    assert_eq!(Urgency::of(&Command::Erase { user_id: UserId::new("u").unwrap() }), Urgency::Fact);
}

//! The books and the rows themselves, beside what commands answer.

use std::sync::Arc;

use outlay_core::breakdown::Sums;
use outlay_core::id::{Label, Name, OperationId, OperationNo, SessionId, SessionNo, UserId};
use outlay_core::ledger::{Books, Command, Now, Numbers, Outcome, UserView, Written};
use outlay_core::money::Usd;
use outlay_core::month::{Month, Timestamp};
use outlay_core::operation::{Fingerprint, Operation, RecordedIn, Tokens};
use outlay_core::plan::{Amounts, Meter, Plans};
use outlay_core::session::{Ask, Finish};
use outlay_core::user::{User, UserMonth};

use crate::rows::{Ledger, Rows};
use crate::script::{ledger_after, rows_after, written_after};

fn now() -> Now {
    let noon = Timestamp::parse("2025-10-13T12:00:00Z").unwrap();
    Now { holds: noon, wall: noon, entropy: 5 }
}

fn month(text: &str) -> Month {
    Month::parse(text).unwrap()
}

/// The view of the script's user.
fn view(rows: &Rows) -> UserView {
    rows.view(&Plans::standard(), &UserId::new("u").unwrap(), now())
}

#[test]
fn a_batch_is_empty_only_when_it_changed_no_row_of_any_kind() {
    let all = written_after(
        "
        record 0.1 op=a
        user v
        record 0.1
        sessions
        erase
        user u
        reverse a
        open s1 cost=1
        open s2 cost=9
        record 2.5
        plan gold
        ",
    );
    let none = Written::default;
    assert!(none().is_empty());
    assert!(!Written { users: all.users, ..none() }.is_empty(), "users");
    assert!(!Written { months: all.months, ..none() }.is_empty(), "months");
    assert!(!Written { operations: all.operations, ..none() }.is_empty(), "operations");
    assert!(!Written { reversed: all.reversed, ..none() }.is_empty(), "reversed");
    assert!(!Written { sessions: all.sessions, ..none() }.is_empty(), "sessions");
    assert!(!Written { denials: all.denials, ..none() }.is_empty(), "denials");
    assert!(!Written { alerts: all.alerts, ..none() }.is_empty(), "alerts");
    assert!(!Written { erased: all.erased, ..none() }.is_empty(), "erased");
    assert!(!Written { plans: all.plans, ..none() }.is_empty(), "plans");
    // Views show rows, which are written or not.
    assert!(!all.views.is_empty());
    assert!(Written { views: all.views, ..none() }.is_empty());
}

#[test]
fn a_store_without_rows_gives_out_the_first_numbers() {
    assert_eq!(Rows::default().numbers(), Numbers::default());
}

#[test]
fn a_month_that_is_not_loaded_is_zero_only_when_the_user_does_not_have_it() {
    let rows = rows_after("record 0.5\nrecord 1 at=2025-09-30T12:00:00Z");
    let (september, october, november) = (month("2025-09"), month("2025-10"), month("2025-11"));
    let mut view = view(&rows);
    let shown = |view: &UserView, month| view.month(month).map(|row| (row.month, row.used.usd().to_string()));
    assert_eq!(shown(&view, october), Some((october, "0.5".to_owned())));
    assert_eq!(view.month(november), Some(UserMonth::empty(november)));
    view.months = view.months.iter().filter(|row| row.month == october).cloned().collect();
    assert_eq!((shown(&view, september), view.used(september)), (None, None));
    assert_eq!(view.used(october).map(|used| used.cost), Some(500_000_000_000));
    assert_eq!(UserView::unknown().month(october), Some(UserMonth::empty(october)));
}

#[test]
fn a_row_that_is_older_than_its_operations_is_the_newest_once_it_has_counted_them() {
    let rows = rows_after("record 0.5 run op=a\nwait 1\nrecord 0.25 api run\nwait 1\nreverse a");
    let stored = view(&rows).month(month("2025-10")).unwrap();
    let counted = rows.operations.values().try_fold(UserMonth::empty(stored.month), UserMonth::counting);
    assert_eq!(counted, Some(stored.clone()));
    let operation = rows.operations.values().next().unwrap();
    let full = Amounts { cost: i64::MAX, ..stored.used };
    assert_eq!(UserMonth { used: full, ..stored.clone() }.counting(operation), None);
    assert_eq!(UserMonth { operations: u64::MAX, ..stored }.counting(operation), None);
}

#[test]
fn an_operation_is_written_down_with_its_session_or_else_by_its_type() {
    let rows = rows_after("record 1 in=s\nrecord 1 api in=s\nrecord 1\nrecord 1 api");
    let places: Vec<_> = rows.operations.values().map(Operation::recorded_in).collect();
    assert_eq!(places, [RecordedIn::Session, RecordedIn::Session, RecordedIn::AiUsage, RecordedIn::ApiUsage]);
    let names: Vec<_> = places.into_iter().skip(1).map(RecordedIn::as_str).collect();
    assert_eq!(names, ["SessionUsage+UserDoc", "AIUsage+UserDoc", "ApiUsage+UserDoc"]);
}

#[test]
fn plans_that_a_configuration_sets_hold_from_then_on() {
    let mut books = Books::new(1, Plans::standard(), Numbers::default());
    let standard = Plans::standard();
    let pro = Plans::new(standard.all().to_vec(), standard.get("pro").unwrap().name.clone()).unwrap();
    books.set_plans(pro.clone());
    assert_eq!(**books.plans(), pro);
}

#[test]
fn a_user_who_is_in_the_books_is_not_loaded_over() {
    let rows = rows_after("record 0.5");
    let mut books = Books::new(1, Plans::standard(), rows.numbers());
    let user = rows.users.values().next().unwrap();
    books.load_user(user.user_id.clone(), Some(user.clone()));
    let changed = User { email: Some("u@example.com".into()), ..user.clone() };
    books.load_user(user.user_id.clone(), Some(changed));
    assert_eq!(books.user(&user.user_id).map(|user| user.email.clone()), Some(None));
}

#[test]
fn a_reversal_takes_back_cost_and_run_and_counts_no_operation() {
    let rows = rows_after("record 0.5 run op=a\nreverse a");
    let sums: Vec<Sums> = rows.operations.values().map(Sums::of).collect();
    assert_eq!((sums[0].operations, sums[0].billable_runs, sums[0].cost.to_string()), (1, 1, "0.5".to_owned()));
    assert_eq!((sums[1].operations, sums[1].billable_runs, sums[1].cost.to_string()), (0, -1, "-0.5".to_owned()));
}

#[test]
fn what_retention_leaves_of_an_operation_is_all_that_is_counted_and_none_of_its_details() {
    let rows = rows_after("record 0.5 run in=s op=a");
    let operation = rows.operations.values().next().unwrap();
    let told = Operation {
        tokens: Some(Tokens { input: 3, ..Tokens::default() }),
        units: Some(Arc::default()),
        step_label: Some(Label::new("ocr").unwrap()),
        duration_ms: Some(12),
        metadata: Some(Arc::from("{}")),
        reason: Some(Label::new("twice").unwrap()),
        ..operation.clone()
    };
    assert_eq!(told.without_details(), Operation { trimmed: true, ..operation.clone() });
}

#[test]
fn readers_are_shown_whose_hold_expired_also_where_nobody_asked_for_them() {
    let mut ledger = Ledger::with(Plans::standard(), rows_after("open s1 cost=1 for=60"));
    let later = now().holds.plus_seconds(60);
    let expire = Command::Expire { session_no: SessionNo(1) };
    ledger.submit(&expire, Now { holds: later, wall: later, ..now() }).unwrap();
    let written = ledger.books.take_written();
    assert_eq!(written.sessions.len(), 1);
    let shown: Vec<_> =
        written.views.iter().map(|(user_id, view)| (user_id.as_str(), view.held.due(later).count())).collect();
    assert_eq!(shown, [("u", 0)]);
}

/// Three users and three sessions, of which one holds something; then so many ids that are nobody's, and no session's. What of
/// them is in memory once the books were made smaller.
fn kept(nobodies: usize, no_sessions: usize, users_max: usize, sessions_max: usize) -> (String, String) {
    let mut script = "open s1 cost=1\nuser v\nrecord 0.1 in=s2\nuser w\nopen s3\nfinish s3\nsessions\n".to_owned();
    (0..no_sessions).for_each(|at| script.push_str(&format!("extend none{at} for=60\n")));
    (0..nobodies).for_each(|at| script.push_str(&format!("user nobody{at}\nerase\n")));
    let mut ledger = ledger_after(&script);
    ledger.commit();
    let mut books = ledger.books;
    books.shrink(users_max, sessions_max);
    let users = ["u", "v", "w"].into_iter().filter(|id| books.user(&UserId::from_stored(*id)).is_some());
    let sessions = (1..=3).filter(|no| books.session_by_no(SessionNo(*no)).is_some());
    (users.collect(), sessions.map(|no| format!("s{no}")).collect())
}

#[test]
fn books_forget_what_can_be_loaded_again_when_it_is_too_much_and_keep_open_holds() {
    const MANY: usize = 1_000;
    for (nobodies, users_max, users) in [(0, 3, "uvw"), (0, 2, "u"), (3, 3, "uvw"), (4, 3, "u"), (4, MANY, "uvw")] {
        assert_eq!(kept(nobodies, 0, users_max, MANY), (users.to_owned(), "s1s2s3".to_owned()), "{nobodies}");
    }
    for (no_sessions, sessions_max, sessions) in [(0, 3, "s1s2s3"), (0, 2, "s1"), (3, 3, "s1s2s3"), (4, 3, "s1")] {
        assert_eq!(kept(0, no_sessions, MANY, sessions_max), ("uvw".to_owned(), sessions.to_owned()), "{no_sessions}");
    }
}

#[test]
fn nothing_is_loaded_of_whom_the_batch_made_nor_a_session_whose_number_was_not_given_out() {
    let ledger = ledger_after("user v\nrecord 0.1");
    let id = |text| OperationId::new(text).unwrap();
    let reverse =
        Command::Reverse { user_id: UserId::from_stored("v"), original: id("a"), operation_id: id("b"), reason: None };
    let finish = Command::Finish {
        user_id: UserId::from_stored("v"),
        session_id: SessionId::from_stored("s"),
        finish: Finish::Completed,
        error: None,
    };
    let expire = Command::Expire { session_no: ledger.books.numbers().session };
    for command in [reverse, finish, expire] {
        assert_eq!(ledger.books.missing(&command, now()), [], "{command:?}");
    }
}

#[test]
fn a_session_says_when_it_was_opened_when_it_last_changed_and_when_it_was_over() {
    let times = |script: &str| {
        let rows = rows_after(&format!("open s1 cost=1 for=60\nwait 10\n{script}"));
        let session = rows.sessions.values().next().unwrap().clone();
        let since = |time: Timestamp| time.seconds() - now().wall.seconds();
        (since(session.created_at), since(session.last_updated_at), session.completed_at.map(since))
    };
    assert_eq!(times(""), (0, 0, None));
    assert_eq!(times("extend s1 for=60"), (0, 10, None));
    assert_eq!(times("record 0.1 in=s1"), (0, 10, None));
    assert_eq!(times("finish s1"), (0, 10, Some(10)));
    assert_eq!(times("wait 50\nsweep"), (0, 60, Some(60)));
    assert_eq!(times("record 0.1 in=s1 op=a\nfinish s1\nwait 5\nreverse a"), (0, 15, Some(10)));
}

#[test]
fn a_refusal_names_the_first_month_that_has_no_room() {
    let midnight = month("2025-11").start();
    let rows = rows_after("at 2025-10-31T23:50:00Z\nrecord 3 at=2025-11-01T00:00:00Z");
    let mut ledger = Ledger::with(Plans::standard(), rows);
    let mut misfit_of = |cost: i64| {
        let open = Command::Open {
            user_id: UserId::from_stored("u"),
            session_id: SessionId::from_stored("s"),
            feature: Name::from_stored("scan"),
            ask: Ask::Estimate(Amounts { cost, ..Amounts::ZERO }),
            hold_seconds: 900,
            metadata: None,
        };
        let before = midnight.plus_seconds(-600);
        match ledger.submit(&open, Now { holds: before, wall: before, ..now() }).unwrap() {
            Outcome::Refused(refused) => refused.misfit,
            outcome => panic!("{outcome:?}"),
        }
    };
    let (budget, failed) = misfit_of(1).unwrap();
    assert_eq!((budget.month, failed.iter().collect::<Vec<_>>()), (month("2025-11"), vec![Meter::Cost]));
    assert_eq!(misfit_of(3_000_000_000_001).unwrap().0.month, month("2025-10"));
}

#[test]
fn a_reversal_has_what_its_original_counted_and_none_of_its_details() {
    let mut rows = rows_after("record 0.5 run in=s op=a finish=completed label=ocr step=4");
    let original = rows.operations.values_mut().next().unwrap();
    original.tokens = Some(Tokens { input: 3, ..Tokens::default() });
    original.units = Some(Arc::default());
    original.duration_ms = Some(12);
    original.metadata = Some(Arc::from("{}"));
    original.trimmed = true;
    original.previous_in_session = Some(OperationNo(1));
    let original = original.clone();
    let mut ledger = Ledger::with(Plans::standard(), rows);
    let id = |text| OperationId::new(text).unwrap();
    let reason = Some(Label::new("twice").unwrap());
    let reverse = Command::Reverse {
        user_id: UserId::from_stored("u"),
        original: id("a"),
        operation_id: id("r"),
        reason: reason.clone(),
    };
    let Outcome::Recorded(recorded) = ledger.submit(&reverse, now()).unwrap() else { panic!("it is recorded") };
    let expected = Operation {
        no: OperationNo(2),
        operation_id: id("r"),
        // Of the digest that another program made of both ids.
        fingerprint: Fingerprint(0x1962_11a3_ba35_8d45_6141_fac7_075b_f9de_u128.to_be_bytes()),
        cost: Usd::from_picos(-500_000_000_000),
        step_position: 0,
        step_number: None,
        finish_session: None,
        reverses: Some((original.no, original.operation_id.clone())),
        reason,
        previous_in_month: Some(original.no),
        previous_in_session: None,
        trimmed: false,
        ..original.without_details()
    };
    assert_eq!(*recorded.operation, expected);
}

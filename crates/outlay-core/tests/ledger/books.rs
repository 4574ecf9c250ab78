//! The books and the rows themselves, beside what commands answer.

use outlay_core::id::UserId;
use outlay_core::ledger::{Books, Now, Numbers, UserView, Written};
use outlay_core::month::{Month, Timestamp};
use outlay_core::operation::RecordedIn;
use outlay_core::plan::{Amounts, Plans};
use outlay_core::user::{User, UserMonth};

use crate::rows::Rows;
use crate::script::{rows_after, written_after};

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
    let places: Vec<_> = rows.operations.values().map(|operation| operation.recorded_in()).collect();
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

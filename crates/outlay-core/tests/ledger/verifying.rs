//! Recounting: every change behind the ledger's back is found, and named.

use outlay_core::breakdown::{Sums, TokenSums};
use outlay_core::id::{AlertNo, OperationNo, SessionNo, UserNo};
use outlay_core::ledger::verify::Recount;
use outlay_core::money::Usd;
use outlay_core::operation::Tokens;

use crate::rows::Rows;
use crate::script::rows_after;

/// Two users, a session with three steps over two months, a reversal, an alert, and an erasure.
fn rows() -> Rows {
    rows_after(
        "
        open s1 cost=0.5 aiRuns=1
        record 0.1 api in=s1
        record 2.5 run in=s1 at=2025-09-30T12:00:00Z
        record 0.2 in=s1 op=a
        reverse a
        user v
        record 0.7 run in=s2
        erase
        record 0.3
        ",
    )
}

fn check(change: impl FnOnce(&mut Rows), expect: &[&str]) {
    let mut rows = rows();
    change(&mut rows);
    let found = rows.verify();
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expect);
}

#[test]
fn counters_are_sums_and_those_of_an_erased_user_stay_and_still_verify() {
    check(|_| {}, &[]);
    let rows = rows();
    let erased = rows.erased.values().next().unwrap();
    assert_eq!(erased.user_id.as_str(), "v");
    let (_, month) = rows.months.iter().find(|((no, _), _)| *no == erased.no).unwrap();
    assert_eq!((month.used.usd().to_string(), month.used.ai_runs), ("0.7".to_owned(), 1));
}

#[test]
fn a_changed_operation_is_found_in_every_sum_that_it_is_part_of() {
    check(
        |rows| rows.operations.get_mut(&OperationNo(1)).unwrap().cost = Usd::parse("0.2").unwrap(),
        &[
            "month 2025-10 of user 1: used should be [200000000000, 0, 0] and is [100000000000, 0, 0]",
            "day 2025-10-13 of user 1: its cost should be 200000000000 and is 100000000000",
            "session 1: its cost should be 2700000000000 and is 2600000000000",
        ],
    );
}

#[test]
fn a_removed_operation_is_a_gap() {
    check(
        |rows| {
            rows.operations.remove(&OperationNo(5));
        },
        &[
            "operation 5: the row should be recorded and is nothing",
            "month 2025-10 of user 2: used should be [0, 0, 0] and is [700000000000, 1, 0]",
            "month 2025-10 of user 2: how many operations should be 0 and is 1",
            "month 2025-10 of user 2: its newest operation should be None and is Some(5)",
            "user 2: the months with operations should be [] and is [\"2025-10\"]",
            "day 2025-10-13 of user 2: its cost should be 0 and is 700000000000",
            "day 2025-10-13 of user 2: how many operations should be 0 and is 1",
            "day 2025-10-13 of user 2: its runs should be 0 and is 1",
            "session 2: its cost should be 0 and is 700000000000",
            "session 2: its runs should be 0 and is 1",
            "session 2: its steps should be 0 and is 1",
            "session 2: its newest step should be None and is Some(5)",
        ],
    );
}

#[test]
fn a_changed_counter_is_found() {
    let month = |rows: &Rows| *rows.months.keys().next().unwrap();
    check(
        |rows| rows.months.get_mut(&month(rows)).unwrap().used.ai_runs = 2,
        &["month 2025-09 of user 1: used should be [2500000000000, 1, 0] and is [2500000000000, 2, 0]"],
    );
    check(
        |rows| rows.sessions.get_mut(&SessionNo(1)).unwrap().steps = 2,
        &["session 1: its steps should be 3 and is 2"],
    );
    check(
        |rows| rows.sessions.get_mut(&SessionNo(1)).unwrap().total_runs = 0,
        &["session 1: its runs should be 1 and is 0"],
    );
    check(
        |rows| rows.users.get_mut(&UserNo(1)).unwrap().months.truncate(1),
        &["user 1: the months with operations should be [\"2025-09\", \"2025-10\"] and is [\"2025-09\"]"],
    );
}

#[test]
fn a_removed_row_is_found() {
    check(
        |rows| {
            rows.months.pop_first();
            rows.days.pop_first();
            rows.sessions.pop_last();
        },
        &[
            "month 2025-09 of user 1: the row should be there: operations name it and is nothing",
            "day 2025-09-30 of user 1: the row should be there: operations name it and is nothing",
            "session 2: the row should be there: operations name it and is nothing",
        ],
    );
}

#[test]
fn a_changed_list_is_found() {
    check(
        |rows| rows.operations.get_mut(&OperationNo(3)).unwrap().previous_in_month = None,
        &["operation 3: the operation before it in its month should be Some(1) and is None"],
    );
    check(
        |rows| rows.operations.get_mut(&OperationNo(3)).unwrap().previous_in_session = Some(OperationNo(1)),
        &["operation 3: the step before it should be Some(2) and is Some(1)"],
    );
    check(
        |rows| rows.operations.get_mut(&OperationNo(3)).unwrap().step_position = 2,
        &["operation 3: its position in the session should be 3 and is 2"],
    );
    check(
        |rows| rows.sessions.get_mut(&SessionNo(1)).unwrap().last_step = Some(OperationNo(4)),
        &["session 1: its newest step should be Some(3) and is Some(4)"],
    );
}

#[test]
fn a_reversal_and_its_original_must_name_each_other() {
    check(
        |rows| rows.operations.get_mut(&OperationNo(3)).unwrap().reversed_by = None,
        &[
            "operation 3: its reversal should be Some((OperationNo(4), PerMeter { cost: 200000000000, ai_runs: 0, api_runs: 0 })) and is None",
        ],
    );
    check(
        |rows| {
            let reversal = rows.operations[&OperationNo(3)].reversed_by.clone();
            rows.operations.get_mut(&OperationNo(6)).unwrap().reversed_by = reversal;
        },
        &["operation 6: its reversal should be nothing and is operation 4"],
    );
}

#[test]
fn an_alert_that_its_month_does_not_name_is_found() {
    check(
        |rows| {
            rows.alerts.remove(&AlertNo(1));
        },
        &[
            "month 2025-09 of user 1: its alerts should be [] and is [AlertKey { meter: Cost, threshold: 80, limit: 3000000000000 }]",
        ],
    );
}

#[test]
fn a_hold_drawn_beyond_its_total_or_a_session_that_never_ends_is_found() {
    check(
        |rows| rows.sessions.get_mut(&SessionNo(1)).unwrap().hold.as_mut().unwrap().drawn.cost = 500_000_000_001,
        &["session 1: whether its hold was drawn within its total should be true and is false"],
    );
    check(
        |rows| rows.sessions.get_mut(&SessionNo(1)).unwrap().due = None,
        &["session 1: whether it becomes due should be true and is false"],
    );
}

#[test]
fn a_recount_of_some_users_does_not_miss_the_others() {
    let rows = rows();
    let mut recount = Recount::of_some_users();
    let of_user = |no: UserNo| rows.operations.values().filter(move |operation| operation.user_no == no);
    of_user(UserNo(3)).for_each(|operation| recount.operation(operation));
    rows.months
        .iter()
        .filter(|((no, _), _)| *no == UserNo(3))
        .for_each(|((no, _), row)| recount.compare_month(*no, row));
    let (key, sums) = rows.days.iter().find(|((no, _), _)| *no == UserNo(3)).unwrap();
    assert!(recount.tells_tokens(key.0, key.1));
    recount.compare_day(key.0, key.1, sums);
    recount.compare_day(UserNo(4), key.1, &Sums::default());
    assert_eq!(recount.findings(), []);
}

/// Of emptied operations only the tokens are proven less sharply, and never those of others.
#[test]
fn emptied_operations_still_prove_money_and_runs_and_no_fewer_tokens_than_are_told() {
    let with_tokens = |input, output| {
        let mut rows = rows();
        let operation = rows.operations.get_mut(&OperationNo(1)).unwrap();
        operation.tokens = Some(Tokens { input: 900, output: 55, ..Tokens::default() });
        let key = (operation.user_no, operation.timestamp.day());
        rows.days.get_mut(&key).unwrap().tokens = TokenSums { input, output };
        (rows, key)
    };
    let (rows, _) = with_tokens(900, 55);
    assert_eq!(rows.verify(), Vec::<String>::new());
    let place = "day 2025-10-13 of user 1: its tokens should be TokenSums";
    let trim = |no: u64, rows: &mut Rows| {
        let operation = rows.operations.get_mut(&OperationNo(no)).unwrap();
        *operation = operation.clone().without_details();
    };
    // Another of the day is emptied, and this one is told: its tokens must be among the day's.
    let (mut rows, _) = with_tokens(899, 55);
    trim(3, &mut rows);
    assert_eq!(
        rows.verify(),
        [format!("{place} {{ input: 900, output: 55 }} and is TokenSums {{ input: 899, output: 55 }}")]
    );
    let (mut rows, key) = with_tokens(900, 55);
    trim(1, &mut rows);
    assert_eq!(rows.verify(), Vec::<String>::new());
    rows.days.get_mut(&key).unwrap().cost = Usd::from_picos(1).into();
    assert_eq!(rows.verify().len(), 1);
    // What the users' days lost or gained is found in the day of all.
    let recount = |found| {
        let (mut rows, (user_no, day)) = with_tokens(900, 55);
        trim(1, &mut rows);
        let mut recount = Recount::of_some_users();
        rows.operations.values().for_each(|operation| recount.operation(operation));
        assert!(!recount.tells_tokens(user_no, day));
        rows.days.iter().for_each(|((no, day), sums)| recount.compare_day(*no, *day, sums));
        recount.compare_day_of_all(day, found);
        let found = recount.findings().into_iter().map(|finding| finding.to_string());
        found.filter(|found| found.contains("of all users")).collect::<Vec<_>>()
    };
    assert_eq!(recount(TokenSums { input: 900, output: 55 }), Vec::<String>::new());
    assert_eq!(recount(TokenSums { input: 900, output: 54 }).len(), 1);
}

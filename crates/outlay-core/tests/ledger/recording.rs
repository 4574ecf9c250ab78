//! Recording and reversing: facts.

use crate::script::check;

#[test]
fn facts_are_never_refused_only_intents() {
    check(
        "
        record 2.99 => recorded operation1 2.99 in 2025-10, cost 2.99/3 aiRuns 0/30 apiRuns 0/100
        record 5 run => recorded operation2 5 in 2025-10, cost 7.99/3 aiRuns 1/30 apiRuns 0/100
        open s1 cost=0.01 => refused budget_exceeded cost, next plan enterprise
        check cost=0.01 => no, budget_exceeded cost, next plan enterprise
        ",
    );
}

#[test]
fn one_operation_moves_every_view_at_once() {
    check(
        "
        record 2.9 run op=a in=s1
        budget => cost 2.9/3 aiRuns 1/30 apiRuns 0/100
        session s1 => in-progress, 2.9 in 1 steps, 1 runs, never held
        operations => a 2.9
        alerts => 2025-10 80 of cost 3 superseded; 2025-10 95 of cost 3
        document => premium cost 2.9 runs 1 month 2025-10
        ",
    );
}

#[test]
fn the_same_operation_again_changes_nothing_and_returns_the_first_result() {
    check(
        "
        record 0.5 run op=a in=s1
        record 0.1
        record 0.5 run op=a in=s1 => duplicate a 0.5 in 2025-10 step 1, cost 0.6/3 aiRuns 1/30 apiRuns 0/100
        operations => a 0.5; operation1 0.1
        session s1 => in-progress, 0.5 in 1 steps, 1 runs, never held
        ",
    );
}

#[test]
fn there_is_no_window_after_which_a_duplicate_counts_again() {
    check(
        "
        record 0.5 op=a
        at 2035-01-01T00:00:00Z
        record 0.5 op=a => duplicate a 0.5 in 2025-10, cost 0.5/3 aiRuns 0/30 apiRuns 0/100
        budget => cost 0/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn an_operation_id_with_other_content_is_a_conflict_and_changes_nothing() {
    check(
        "
        record 0.5 op=a at=2025-10-01T00:00:00Z
        record 0.500000000001 op=a at=2025-10-01T00:00:00Z => rejected OperationConflict
        record 0.5 op=a at=2025-10-01T00:00:01Z => rejected OperationConflict
        record 0.5 op=a => rejected OperationConflict
        record 0.5 run op=a at=2025-10-01T00:00:00Z => rejected OperationConflict
        record 0.5 op=a at=2025-10-01T00:00:00Z in=s1 => rejected OperationConflict
        record 0.5 op=a at=2025-10-01T00:00:00.000Z => duplicate a 0.5 in 2025-10, cost 0.5/3 aiRuns 0/30 apiRuns 0/100
        sessions => none
        budget => cost 0.5/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn an_operation_id_is_unique_per_user_and_not_beyond() {
    check(
        "
        record 0.5 op=a
        user v
        record 0.25 op=a => recorded a 0.25 in 2025-10, cost 0.25/0 aiRuns 0/0 apiRuns 0/0
        budget => cost 0.25/0 aiRuns 0/0 apiRuns 0/0
        user u
        budget => cost 0.5/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_billable_run_counts_on_the_meter_of_its_usage_type() {
    check(
        "
        record run
        record api run
        record api run
        record api
        record
        budget => cost 0/3 aiRuns 1/30 apiRuns 2/100
        document => premium cost 0 runs 3 month 2025-10
        ",
    );
}

#[test]
fn months_do_not_reset_they_begin_and_a_late_operation_lands_in_its_own() {
    check(
        "
        at 2025-10-31T23:59:59Z
        record 0.5 at=2025-10-31T23:59:59.999999999Z
        record 0.125 at=2025-11-01T00:00:00Z => recorded operation2 0.125 in 2025-11, cost 0.125/3 aiRuns 0/30 apiRuns 0/100
        at 2025-11-01T00:00:00Z
        budget => cost 0.125/3 aiRuns 0/30 apiRuns 0/100
        record 0.25
        record 0.125 at=2025-10-31T23:59:59Z => recorded operation4 0.125 in 2025-10, cost 0.625/3 aiRuns 0/30 apiRuns 0/100
        record 0.1 at=0001-01-01T00:00:00Z => recorded operation5 0.1 in 0001-01, cost 0.1/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-10 => cost 0.625/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-11 => cost 0.375/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_timestamp_may_be_a_day_ahead_of_the_server_and_no_more() {
    check(
        "
        record 1 at=2025-10-14T12:00:00Z
        record 1 at=2025-10-14T12:00:00.000000001Z => rejected TimestampAhead
        record 1 op=a at=2025-10-14T11:00:00Z
        wall 2025-10-01T00:00:00Z
        record 1 op=a at=2025-10-14T11:00:00Z => duplicate a 1 in 2025-10, cost 2/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_month_holds_at_most_nine_million_usd_and_the_operation_beyond_is_the_only_fact_refused() {
    check(
        "
        record 1000000
        record 1000000
        record 1000000
        record 1000000
        record 1000000
        record 1000000
        record 1000000
        record 1000000
        record 999999.999999999999
        record 0.000000000002 in=s1 op=a => rejected SumTooLarge(Cost)
        sessions => none
        record 0.000000000001 in=s1 op=a
        record 0.000000000001 => rejected SumTooLarge(Cost)
        record 1 at=2025-09-01T00:00:00Z
        record 0 run
        budget => cost 9000000/3 aiRuns 1/30 apiRuns 0/100
        reverse a
        record 0.000000000001
        ",
    );
}

#[test]
fn an_overdraft_over_many_months_stops_at_what_can_be_shown_and_the_total_stays_exact() {
    let mut script = "open s1 cost=1\n".to_owned();
    for month in 1..=10 {
        script += &format!("record 1000000 in=s1 at=2024-{month:02}-01T00:00:00Z\n");
    }
    script += "session s1 => in-progress, 10000000 in 10 steps, 0 runs, held cost 1, overdraft cost 9223372.036854775807, budget exceeded";
    check(&script);
}

#[test]
fn a_reversal_takes_back_another_operation_once_in_its_month() {
    check(
        "
        record 0.5 run op=a
        record 0.25 api run op=b
        at 2025-11-20T00:00:00Z
        reverse a op=r reason=refund => recorded r -0.5 in 2025-10 reverses a, cost 0.25/3 aiRuns 0/30 apiRuns 1/100
        reverse a op=r => duplicate r -0.5 in 2025-10 reverses a, cost 0.25/3 aiRuns 0/30 apiRuns 1/100
        reverse a op=other => duplicate r -0.5 in 2025-10 reverses a, cost 0.25/3 aiRuns 0/30 apiRuns 1/100
        reverse a op=b => duplicate r -0.5 in 2025-10 reverses a, cost 0.25/3 aiRuns 0/30 apiRuns 1/100
        record 0.5 run op=a => duplicate a 0.5 in 2025-10, cost 0.25/3 aiRuns 0/30 apiRuns 1/100
        budget 2025-10 => cost 0.25/3 aiRuns 0/30 apiRuns 1/100
        budget 2025-11 => cost 0/3 aiRuns 0/30 apiRuns 0/100
        operations => a 0.5; b 0.25; r -0.5
        ",
    );
}

#[test]
fn only_what_was_recorded_can_be_reversed_and_a_reversal_cannot() {
    check(
        "
        reverse a => rejected UnknownOperation
        user nobody
        reverse a => rejected UnknownOperation
        document => nobody
        user u
        record 0.5 op=a
        reverse a op=r
        reverse r => rejected ReversalOfReversal
        reverse r op=r => rejected ReversalOfReversal
        budget => cost 0/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn the_id_of_a_reversal_lives_among_the_users() {
    check(
        "
        record 0.5 op=a
        record 0.5 op=b
        reverse a op=b => rejected OperationConflict
        reverse a op=a => rejected OperationConflict
        reverse a op=r
        reverse b op=r => rejected OperationConflict
        record 0.5 op=r => rejected OperationConflict
        budget => cost 0.5/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_reversal_lowers_the_sessions_totals_and_leaves_hold_overdraft_steps_and_status() {
    check(
        "
        open s1 cost=0.5 aiRuns=1
        record 0.75 run op=a in=s1
        record 0.1 api op=b in=s1
        session s1 => in-progress, 0.85 in 2 steps, 1 runs, held nothing, overdraft cost 0.35
        reverse a => recorded reversal1 -0.75 in 2025-10 reverses a, cost 0.1/3 aiRuns 0/30 apiRuns 0/100
        session s1 => in-progress, 0.1 in 2 steps, 0 runs, held nothing, overdraft cost 0.35
        record 0.2 in=s1 => recorded operation2 0.2 in 2025-10 step 3, cost 0.3/3 aiRuns 0/30 apiRuns 0/100
        finish s1
        reverse b
        session s1 => completed, 0.2 in 3 steps, 0 runs, overdraft cost 0.55
        ",
    );
}

#[test]
fn a_reversal_gives_back_expired_holds_and_abandons_its_session_when_that_is_due() {
    check(
        "
        open s1 cost=0.5 for=10
        open s2 cost=1 for=20
        record 0.1 op=a in=s1
        wait 10
        reverse a => recorded reversal1 -0.1 in 2025-10 reverses a, cost 0+1/3 aiRuns 0/30 apiRuns 0/100
        session s1 => abandoned, 0 in 1 steps, 0 runs
        wait 10
        record 0.1 op=b
        reverse b
        session s2 => abandoned, 0 in 0 steps, 0 runs
        ",
    );
}

#[test]
fn steps_are_numbered_by_the_application_or_by_the_count_so_far() {
    check(
        "
        record in=s1 step=7 => recorded operation1 0 in 2025-10 step 1 number 7, cost 0/3 aiRuns 0/30 apiRuns 0/100
        record in=s1 => recorded operation2 0 in 2025-10 step 2, cost 0/3 aiRuns 0/30 apiRuns 0/100
        record in=s1 step=-1 => recorded operation3 0 in 2025-10 step 3 number -1, cost 0/3 aiRuns 0/30 apiRuns 0/100
        record step=4 => recorded operation4 0 in 2025-10 number 4, cost 0/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_step_may_finish_its_session_in_the_same_transaction() {
    check(
        "
        record 1 finish=completed => rejected FinishWithoutSession
        open s1 cost=0.5
        record 0.1 in=s1 finish=failed => recorded operation2 0.1 in 2025-10 step 1, cost 0.1/3 aiRuns 0/30 apiRuns 0/100
        session s1 => failed, 0.1 in 1 steps, 0 runs
        record 0.1 in=s1 finish=completed
        session s1 => failed, 0.2 in 2 steps, 0 runs, overdraft cost 0.1
        record 0.1 in=s2 finish=completed
        session s2 => completed, 0.1 in 1 steps, 0 runs, never held
        open s3 cost=0.5 for=1
        wait 1
        record 0.1 in=s3 finish=completed
        session s3 => completed, 0.1 in 1 steps, 0 runs, overdraft cost 0.1
        ",
    );
}

#[test]
fn a_repeated_step_does_not_finish_its_session_again() {
    check(
        "
        open s1 cost=0.5
        record 0.1 op=a in=s1
        record 0.1 op=a in=s1 finish=completed => rejected OperationConflict
        session s1 => in-progress, 0.1 in 1 steps, 0 runs, held cost 0.4
        ",
    );
}

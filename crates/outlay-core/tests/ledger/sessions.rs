//! Sessions and holds: opening, drawing, extending, finishing, expiring.

use crate::script::check;

#[test]
fn a_hold_is_set_aside_drawn_down_by_steps_and_its_rest_given_back() {
    check(
        "
        open s1 cost=0.003 aiRuns=1 => within_limits, held cost 0.003 aiRuns 1, cost 0+0.003/3 aiRuns 0+1/30 apiRuns 0/100
        record 0.0015 api in=s1 => recorded operation1 0.0015 in 2025-10 step 1, cost 0.0015+0.0015/3 aiRuns 0+1/30 apiRuns 0/100
        record 0.00010785 run in=s1
        budget => cost 0.00160785+0.00139215/3 aiRuns 1/30 apiRuns 0/100
        finish s1 => completed, 0.00160785 in 2 steps, 1 runs, cost 0.00160785/3 aiRuns 1/30 apiRuns 0/100
        ",
    );
}

#[test]
fn used_never_passes_the_limit_when_every_operation_is_covered_by_a_hold() {
    check(
        "
        put plan=premium cost=1 aiRuns=none apiRuns=none
        open s1 cost=0.4
        open s2 cost=0.4
        open s3 cost=0.4 => refused budget_exceeded cost, next plan none
        open s3 cost=0.2
        record 0.1 in=s1
        open s4 cost=0.000000000001 => refused budget_exceeded cost, next plan none
        finish s1
        open s4 cost=0.3
        record 0.4 in=s2
        record 0.2 in=s3
        record 0.3 in=s4
        budget => cost 1/1 aiRuns 0/none apiRuns 0/none
        alerts => 2025-10 80 of cost 1 superseded; 2025-10 95 of cost 1 superseded; 2025-10 100 of cost 1
        ",
    );
}

#[test]
fn exactly_the_limit_fits() {
    check(
        "
        record 2.999999999999
        open s1 cost=0.000000000002 => refused budget_exceeded cost, next plan business
        open s1 cost=0.000000000001 aiRuns=30 apiRuns=100
        check cost=0.000000000001 => no, budget_exceeded cost, next plan business
        check => within_limits, after cost 2.999999999999+0.000000000001/3 aiRuns 0+30/30 apiRuns 0+100/100
        ",
    );
}

#[test]
fn a_meter_with_amount_zero_always_fits() {
    check(
        "
        record 100
        open s1 aiRuns=30 => within_limits, held aiRuns 30, cost 100/3 aiRuns 0+30/30 apiRuns 0/100
        open s2 => within_limits, held nothing, cost 100/3 aiRuns 0+30/30 apiRuns 0/100
        user nobody
        open s1 => within_limits, held nothing, cost 0/0 aiRuns 0/0 apiRuns 0/0
        ",
    );
}

#[test]
fn what_goes_beyond_the_hold_is_recorded_and_shown_as_overdraft_meter_by_meter() {
    check(
        "
        open s1 cost=0.5 aiRuns=1
        record 0.3 api run in=s1
        session s1 => in-progress, 0.3 in 1 steps, 1 runs, held cost 0.2 aiRuns 1, overdraft apiRuns 1
        record 0.3 run in=s1
        session s1 => in-progress, 0.6 in 2 steps, 2 runs, held nothing, overdraft cost 0.1 apiRuns 1
        budget => cost 0.6/3 aiRuns 1/30 apiRuns 1/100
        ",
    );
}

#[test]
fn the_same_session_opened_again_is_the_same_and_holds_once() {
    check(
        "
        open s1 cost=0.5
        open s1 cost=0.5 => open already, in-progress
        open s1 cost=0.5 for=86400 => open already, in-progress
        budget => cost 0+0.5/3 aiRuns 0/30 apiRuns 0/100
        open s1 cost=0.6 => rejected SessionConflict
        open s1 cost=0.5 aiRuns=1 => rejected SessionConflict
        open s1 cost=0.5 feature=other => rejected SessionConflict
        open s1 only:cost=0.5 => rejected SessionConflict
        finish s1
        open s1 cost=0.5 => open already, completed
        budget => cost 0/3 aiRuns 0/30 apiRuns 0/100
        user v
        open s1 cost=0.5 => refused budget_exceeded cost, next plan pro
        ",
    );
}

#[test]
fn choices_are_part_of_what_a_session_is() {
    check(
        "
        open s1 ai:cost=0.5,aiRuns=1 basic:cost=0.1
        open s1 ai:cost=0.5,aiRuns=1 basic:cost=0.1 => open already, in-progress
        open s1 basic:cost=0.1 ai:cost=0.5,aiRuns=1 => rejected SessionConflict
        open s1 ai:cost=0.5,aiRuns=1 => rejected SessionConflict
        open s1 cost=0.5 aiRuns=1 => rejected SessionConflict
        ",
    );
}

#[test]
fn a_session_that_steps_made_cannot_be_opened_held_or_extended() {
    check(
        "
        record 0.1 in=s1 feature=scan
        session s1 => in-progress, 0.1 in 1 steps, 0 runs, never held
        open s1 cost=0.1 => rejected SessionConflict
        open s1 => rejected SessionConflict
        extend s1 for=100 => rejected NotHolding
        finish s1 => completed, 0.1 in 1 steps, 0 runs, never held, cost 0.1/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_session_that_steps_made_is_abandoned_a_day_after_its_last_step() {
    check(
        "
        record 0.1 in=s1 op=a
        wait 86399
        sweep
        sessions => s1 in-progress
        record 0.1 in=s1
        wait 86399
        sweep
        reverse a
        sessions => s1 in-progress
        wait 1
        sweep
        sessions => s1 abandoned
        record 0.1 in=s1
        session s1 => abandoned, 0.2 in 3 steps, 0 runs, never held
        finish s1 failed error=late => failed, 0.2 in 3 steps, 0 runs, never held, error late, cost 0.2/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_step_that_comes_a_day_late_does_not_reopen_a_session_nobody_swept() {
    check(
        "
        record 0.1 in=s1
        wait 86400
        record 0.1 in=s1
        session s1 => abandoned, 0.2 in 2 steps, 0 runs, never held
        ",
    );
}

#[test]
fn a_hold_has_expired_at_the_instant_it_names_and_not_before() {
    check(
        "
        put plan=premium cost=1
        open s1 cost=1 for=60
        wait 59
        check cost=1 => no, budget_exceeded cost, next plan none
        open s2 cost=1 => refused budget_exceeded cost, next plan none
        wait 1
        check cost=1 => within_limits, after cost 1/1 aiRuns 0/30 apiRuns 0/100
        open s2 cost=1
        sessions => s1 abandoned; s2 in-progress
        ",
    );
}

#[test]
fn deciding_anything_for_a_user_first_gives_back_their_expired_holds() {
    for decided in [
        "record 0.1",
        "record 0.1 in=s2",
        "reverse old",
        "open s2 cost=0.1",
        "open s9 cost=0.5 for=60",
        "extend s3 for=60",
        "finish s3",
        "audit cost=0.1",
        "deny cost=0.1 reason=because",
    ] {
        check(&format!(
            "
            record op=old
            open s9 cost=0.5 for=60
            open s3 cost=0.5
            wait 60
            {decided}
            session s9 => abandoned, 0 in 0 steps, 0 runs
            "
        ));
    }
}

#[test]
fn the_wall_clock_does_not_expire_a_hold() {
    check(
        "
        open s1 cost=1 for=60
        wall 2025-10-14T00:00:00Z
        record 0.1 in=s1
        sweep
        session s1 => in-progress, 0.1 in 1 steps, 0 runs, held cost 0.9
        ",
    );
}

#[test]
fn a_sweep_abandons_what_is_due_and_nothing_else() {
    check(
        "
        open s1 cost=0.5 for=60
        open s2 cost=0.5 for=61
        open s3 cost=0.5 for=60
        finish s3
        wait 60
        expire s1 => done
        expire s1 => done
        sweep
        sessions => s1 abandoned; s2 in-progress; s3 completed
        budget => cost 0+0.5/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn steps_after_the_end_are_recorded_all_the_same_and_reopen_nothing() {
    check(
        "
        open s1 cost=0.5 for=60
        finish s1
        record 0.1 in=s1
        session s1 => completed, 0.1 in 1 steps, 0 runs, overdraft cost 0.1
        open s2 cost=0.5 for=60
        wait 60
        record 0.1 in=s2
        session s2 => abandoned, 0.1 in 1 steps, 0 runs, overdraft cost 0.1
        budget => cost 0.2/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn finishing_again_the_same_way_is_answered_and_the_other_way_is_a_conflict() {
    check(
        "
        finish s1 => rejected UnknownSession
        open s1 cost=0.5
        finish s1 => completed, 0 in 0 steps, 0 runs, cost 0/3 aiRuns 0/30 apiRuns 0/100
        finish s1 error=ignored => completed, 0 in 0 steps, 0 runs, cost 0/3 aiRuns 0/30 apiRuns 0/100
        finish s1 failed => rejected AlreadyFinished(Completed)
        open s2 cost=0.5
        finish s2 failed error=boom => failed, 0 in 0 steps, 0 runs, error boom, cost 0/3 aiRuns 0/30 apiRuns 0/100
        finish s2 => rejected AlreadyFinished(Failed)
        finish s2 failed => failed, 0 in 0 steps, 0 runs, error boom, cost 0/3 aiRuns 0/30 apiRuns 0/100
        user nobody
        finish s1 => rejected UnknownSession
        document => nobody
        ",
    );
}

#[test]
fn an_abandoned_session_becomes_what_it_is_finished_as() {
    check(
        "
        open s1 cost=0.5 for=60
        open s2 cost=0.5 for=60
        open s3 cost=0.5 for=60
        wait 60
        sweep
        finish s1 => completed, 0 in 0 steps, 0 runs, cost 0/3 aiRuns 0/30 apiRuns 0/100
        finish s1 failed => rejected AlreadyFinished(Completed)
        finish s2 failed => failed, 0 in 0 steps, 0 runs, cost 0/3 aiRuns 0/30 apiRuns 0/100
        record in=s3 finish=failed
        sessions => s1 completed; s2 failed; s3 failed
        ",
    );
}

#[test]
fn an_extension_moves_the_expiry_and_keeps_the_total() {
    check(
        "
        open s1 cost=0.5 for=60
        record 0.1 in=s1
        wait 30
        extend s1 for=60 => in-progress, 0.1 in 1 steps, 0 runs, held cost 0.4, cost 0.1+0.4/3 aiRuns 0/30 apiRuns 0/100
        wait 59
        sweep
        sessions => s1 in-progress
        extend s1 for=1
        wait 1
        sweep
        sessions => s1 abandoned
        extend s1 for=60 => rejected NotHolding
        ",
    );
}

#[test]
fn the_estimate_of_an_extension_is_the_new_total_so_that_a_repeat_changes_only_the_expiry() {
    check(
        "
        open s1 cost=0.5 aiRuns=2
        record 0.1 run in=s1
        extend s1 for=60 cost=0.8 => in-progress, 0.1 in 1 steps, 1 runs, held cost 0.7, cost 0.1+0.7/3 aiRuns 1/30 apiRuns 0/100
        extend s1 for=60 cost=0.8 => in-progress, 0.1 in 1 steps, 1 runs, held cost 0.7, cost 0.1+0.7/3 aiRuns 1/30 apiRuns 0/100
        extend s1 for=60 cost=0.05 apiRuns=3 => in-progress, 0.1 in 1 steps, 1 runs, held apiRuns 3, cost 0.1/3 aiRuns 1/30 apiRuns 0+3/100
        record 0.1 in=s1
        session s1 => in-progress, 0.2 in 2 steps, 1 runs, held apiRuns 3, overdraft cost 0.1
        ",
    );
}

#[test]
fn an_extension_that_does_not_fit_is_refused_without_a_denial_and_the_old_hold_stays() {
    check(
        "
        open s1 cost=1 for=60
        open s2 cost=1.5
        extend s1 for=600 cost=1.500000000001 => refused budget_exceeded cost, next plan business, no denial
        extend s1 for=600 cost=1 aiRuns=31 => refused runs_exceeded aiRuns, next plan business, no denial
        denials => none
        budget => cost 0+2.5/3 aiRuns 0/30 apiRuns 0/100
        wait 60
        sweep
        session s1 => abandoned, 0 in 0 steps, 0 runs
        extend s2 for=600 cost=3
        ",
    );
}

#[test]
fn an_extension_needs_room_only_for_the_meters_that_it_holds_more_of() {
    check(
        "
        open s1 cost=1 aiRuns=1
        record 50
        extend s1 for=60 cost=1 aiRuns=2 => in-progress, 0 in 0 steps, 0 runs, held cost 1 aiRuns 2, cost 50+1/3 aiRuns 0+2/30 apiRuns 0/100
        extend s1 for=60 cost=0.9 aiRuns=31 => refused runs_exceeded aiRuns, next plan business, no denial
        extend s1 for=60 cost=1.1 aiRuns=2 => refused budget_exceeded cost, next plan enterprise, no denial
        ",
    );
}

#[test]
fn an_extension_is_of_a_session_in_progress_that_holds() {
    check(
        "
        extend s1 for=60 => rejected UnknownSession
        user nobody
        extend s1 for=60 => rejected UnknownSession
        user u
        open s1 cost=1 for=60
        wait 60
        extend s1 for=60 => rejected NotHolding
        open s2 cost=1
        finish s2
        extend s2 for=60 => rejected NotHolding
        ",
    );
}

#[test]
fn a_hold_is_set_aside_in_every_month_that_it_touches() {
    check(
        "
        at 2025-10-31T23:50:00Z
        open s1 cost=1 for=600
        budget 2025-10 => cost 0+1/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-11 => cost 0/3 aiRuns 0/30 apiRuns 0/100
        open s2 cost=2 for=601
        budget 2025-10 => cost 0+3/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-11 => cost 0+2/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-12 => cost 0/3 aiRuns 0/30 apiRuns 0/100
        record 0.5 in=s2
        budget 2025-10 => cost 0.5+2.5/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-11 => cost 0+1.5/3 aiRuns 0/30 apiRuns 0/100
        finish s2
        budget 2025-11 => cost 0/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_hold_must_fit_in_each_month_that_it_touches() {
    check(
        "
        record 2.5 at=2025-10-14T00:00:00Z
        at 2025-10-31T23:59:00Z
        record 2.9 at=2025-11-01T00:00:00Z
        open s1 cost=0.2 for=61 => refused budget_exceeded cost, next plan business
        open s1 cost=0.2 for=60
        open s2 cost=0.3 for=61 => refused budget_exceeded cost, next plan business
        open s2 cost=0.3 for=60
        extend s2 for=61 => refused budget_exceeded cost, next plan business, no denial
        extend s1 for=59
        ",
    );
}

#[test]
fn a_step_draws_only_when_its_month_is_one_that_the_hold_touches() {
    check(
        "
        at 2025-10-31T23:59:00Z
        open s1 cost=1 for=60
        record 0.1 in=s1 at=2025-09-30T00:00:00Z
        record 0.2 in=s1 at=2025-11-01T00:00:00Z
        session s1 => in-progress, 0.3 in 2 steps, 0 runs, held cost 1, overdraft cost 0.3
        record 0.4 in=s1 at=2025-10-01T00:00:00Z
        session s1 => in-progress, 0.7 in 3 steps, 0 runs, held cost 0.6, overdraft cost 0.3
        extend s1 for=61
        record 0.4 in=s1 at=2025-11-01T00:00:00Z
        session s1 => in-progress, 1.1 in 4 steps, 0 runs, held cost 0.2, overdraft cost 0.3
        budget 2025-10 => cost 0.4+0.2/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-11 => cost 0.6+0.2/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_session_extended_over_the_turn_of_the_month_needs_room_there() {
    check(
        "
        at 2025-10-31T23:59:00Z
        open s1 aiRuns=1 for=30
        record run at=2025-11-01T00:00:00Z
        put plan=premium aiRuns=1
        extend s1 for=61 => refused runs_exceeded aiRuns, next plan none, no denial
        extend s1 for=60 => in-progress, 0 in 0 steps, 0 runs, held aiRuns 1, cost 0/3 aiRuns 0+1/1 apiRuns 0/100
        ",
    );
}

#[test]
fn what_a_month_holds_is_at_most_nine_million_usd() {
    let mut script = "put plan=enterprise\n".to_owned();
    for session in 1..=9 {
        script += &format!("open s{session} cost=1000000\n");
    }
    script += "
        open s10 cost=0.000000000001 => rejected SumTooLarge(Cost)
        open s10 aiRuns=1
        extend s10 for=60 cost=1 => rejected SumTooLarge(Cost)
        sessions => s1 in-progress; s2 in-progress; s3 in-progress; s4 in-progress; s5 in-progress; s6 in-progress; s7 in-progress; s8 in-progress; s9 in-progress; s10 in-progress
        budget => cost 0+9000000/none aiRuns 0+1/none apiRuns 0/none
        ";
    check(&script);
}

#[test]
fn a_session_says_whether_a_step_took_a_meter_over_its_limit() {
    check(
        "
        open s1 cost=3 aiRuns=1
        record 3 run in=s1
        session s1 => in-progress, 3 in 1 steps, 1 runs, held nothing
        record in=s1
        session s1 => in-progress, 3 in 2 steps, 1 runs, held nothing
        record 1
        session s1 => in-progress, 3 in 2 steps, 1 runs, held nothing
        record 0.000000000001 op=a in=s1
        session s1 => in-progress, 3.000000000001 in 3 steps, 1 runs, held nothing, overdraft cost 0.000000000001, budget exceeded
        reverse a
        session s1 => in-progress, 3 in 3 steps, 1 runs, held nothing, overdraft cost 0.000000000001, budget exceeded
        put plan=enterprise
        record 5 in=s2
        session s2 => in-progress, 5 in 1 steps, 0 runs, never held
        user nobody
        record api run in=s1
        session s1 => in-progress, 0 in 1 steps, 1 runs, never held, budget exceeded
        ",
    );
}

#[test]
fn an_expired_hold_that_nobody_gave_back_yet_is_missing_in_its_own_months_only() {
    check(
        "
        at 2025-10-31T23:58:00Z
        open s1 cost=2 for=60
        open s2 cost=1 for=900
        at 2025-11-01T00:00:00Z
        budget => cost 0+1/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-10 => cost 0+1/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn what_a_session_held_itself_is_left_out_of_the_months_that_its_hold_touches_only() {
    check(
        "
        at 2025-10-31T23:50:00Z
        record 0.5 at=2025-11-01T00:00:00Z
        open s1 cost=1 for=60
        open s2 cost=2 for=900
        extend s1 for=900 => refused budget_exceeded cost, next plan business, no denial
        at 2025-10-31T23:50:30Z
        extend s1 for=60 => in-progress, 0 in 0 steps, 0 runs, held cost 1, cost 0+3/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn what_is_given_back_is_missing_in_the_months_that_the_hold_touched_only() {
    check(
        "
        at 2025-10-31T23:50:00Z
        open s1 cost=1 for=60
        open s2 cost=2 for=900
        finish s1
        at 2025-11-01T00:00:00Z
        audit cost=2 => no, budget_exceeded cost, next plan business
        audit cost=1 => within_limits, after cost 1+2/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn an_extension_holds_in_the_month_too_that_the_wall_clock_was_set_back_to() {
    check(
        "
        at 2025-11-01T00:00:00Z
        open s1 cost=1
        wall 2025-10-31T23:59:00Z
        extend s1 for=900
        budget 2025-10 => cost 0+1/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-11 => cost 0+1/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_reversal_gives_back_all_that_expired_also_beside_the_session_that_it_is_of() {
    check(
        "
        open s1 cost=1 for=60
        record 0.1 in=s1 op=a
        open s2 cost=1 for=60
        wait 60
        reverse a => recorded reversal1 -0.1 in 2025-10 reverses a, cost 0/3 aiRuns 0/30 apiRuns 0/100
        session s1 => abandoned, 0 in 1 steps, 0 runs
        session s2 => abandoned, 0 in 0 steps, 0 runs
        ",
    );
}

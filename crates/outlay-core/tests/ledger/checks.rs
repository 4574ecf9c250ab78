//! Checks, choices and denials.

use crate::script::check;

#[test]
fn a_limit_of_zero_allows_nothing_and_an_absent_one_everything() {
    check(
        "
        put plan=base
        check cost=0.000000000001 => no, budget_exceeded cost, next plan pro
        check aiRuns=1 => no, runs_exceeded aiRuns, next plan premium
        check apiRuns=1 => no, runs_exceeded apiRuns, next plan pro
        check => within_limits, after cost 0/0 aiRuns 0/0 apiRuns 0/0
        state => reached
        put plan=enterprise
        check cost=1000000 aiRuns=1000000 => unlimited, after cost 1000000/none aiRuns 1000000/none apiRuns 0/none
        record 5 run
        budget => cost 5/none aiRuns 1/none apiRuns 0/none
        state => ok
        ",
    );
}

#[test]
fn a_check_says_unlimited_when_every_meter_with_an_amount_is() {
    check(
        "
        put plan=premium cost=none
        check cost=5 => unlimited, after cost 5/none aiRuns 0/30 apiRuns 0/100
        check cost=5 aiRuns=1 => within_limits, after cost 5/none aiRuns 1/30 apiRuns 0/100
        open s1 cost=5 => unlimited, held cost 5, cost 0+5/none aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn the_first_choice_that_fits_wins_and_a_later_one_is_a_fallback() {
    check(
        "
        record run
        put plan=premium aiRuns=1
        check ai:cost=0.003,aiRuns=1 basic:cost=0.0015,apiRuns=1 free: => fallback basic, after cost 0.0015/3 aiRuns 1/1 apiRuns 1/100
        check basic:cost=0.0015 ai:aiRuns=1 => within_limits basic, after cost 0.0015/3 aiRuns 1/1 apiRuns 0/100
        open s1 ai:cost=0.003,aiRuns=1 basic:cost=0.0015,apiRuns=1 => fallback basic, held cost 0.0015 apiRuns 1, cost 0+0.0015/3 aiRuns 1/1 apiRuns 0+1/100
        check ai:aiRuns=1 more:cost=5,aiRuns=1 => no, runs_exceeded aiRuns, next plan none
        ",
    );
}

#[test]
fn when_no_choice_fits_the_reason_is_the_firsts_and_cost_wins_among_its_meters() {
    check(
        "
        open s1 ai:aiRuns=31 dear:cost=4 => refused runs_exceeded aiRuns, next plan business, ai fails aiRuns, dear fails cost
        open s2 dear:cost=6,aiRuns=51 ai:aiRuns=51 => refused budget_exceeded cost+aiRuns, next plan enterprise, dear fails cost+aiRuns, ai fails aiRuns
        open s3 cost=3.1 aiRuns=31 apiRuns=101 => refused budget_exceeded cost+aiRuns+apiRuns, next plan business
        open s4 aiRuns=31 apiRuns=101 => refused runs_exceeded aiRuns+apiRuns, next plan business
        ",
    );
}

#[test]
fn the_next_plan_is_the_first_later_one_in_which_it_would_fit_now_with_the_users_own_limits() {
    check(
        "
        put plan=pro
        check aiRuns=1 => no, runs_exceeded aiRuns, next plan premium
        check aiRuns=40 => no, runs_exceeded aiRuns, next plan business
        check aiRuns=51 => no, runs_exceeded aiRuns, next plan enterprise
        record 2
        check aiRuns=1 cost=1.5 => no, budget_exceeded cost+aiRuns, next plan business
        put plan=pro aiRuns=0
        check aiRuns=1 => no, runs_exceeded aiRuns, next plan none
        put plan=pro aiRuns=0 cost=none
        check cost=9 apiRuns=60 => no, runs_exceeded apiRuns, next plan premium
        put plan=enterprise aiRuns=0
        check aiRuns=1 => no, runs_exceeded aiRuns, next plan none
        put plan=premium
        check ai:aiRuns=31 api:cost=1 => fallback api, after cost 3/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_user_nobody_has_seen_stands_on_the_default_plan_at_zero_and_a_check_does_not_create_them() {
    check(
        "
        user nobody
        check aiRuns=1 => no, runs_exceeded aiRuns, next plan premium
        budget => cost 0/0 aiRuns 0/0 apiRuns 0/0
        audit => within_limits, after cost 0/0 aiRuns 0/0 apiRuns 0/0
        document => nobody
        record 0.1
        document => base cost 0.1 runs 0 month 2025-10
        ",
    );
}

#[test]
fn a_refused_opening_keeps_a_denial_and_sets_nothing_aside() {
    check(
        "
        record 2.97
        open s1 cost=0.037 aiRuns=1 => refused budget_exceeded cost, next plan business
        denials => budget_exceeded cost of cost 0.037 aiRuns 1 by open x1, next plan business
        sessions => none
        budget => cost 2.97/3 aiRuns 0/30 apiRuns 0/100
        user nobody
        open s1 cost=0.037 => refused budget_exceeded cost, next plan pro
        denials => budget_exceeded cost of cost 0.037 by open x1, next plan pro
        ",
    );
}

#[test]
fn the_same_session_refused_again_within_a_minute_counts_up_times() {
    check(
        "
        open s1 aiRuns=31 => refused runs_exceeded aiRuns, next plan business
        wait 59
        open s1 aiRuns=31 => refused runs_exceeded aiRuns, next plan business
        denials => runs_exceeded aiRuns of aiRuns 31 by open x2, next plan business
        wait 1
        open s1 aiRuns=31 => refused runs_exceeded aiRuns, next plan business
        open s1 aiRuns=32 => refused runs_exceeded aiRuns, next plan business
        open s1 aiRuns=32 feature=other => refused runs_exceeded aiRuns, next plan business
        open s2 aiRuns=32 feature=other => refused runs_exceeded aiRuns, next plan business
        open s2 aiRuns=32 feature=other => refused runs_exceeded aiRuns, next plan business
        denials => runs_exceeded aiRuns of aiRuns 31 by open x2, next plan business; runs_exceeded aiRuns of aiRuns 31 by open x1, next plan business; runs_exceeded aiRuns of aiRuns 32 by open x1, next plan business; runs_exceeded aiRuns of aiRuns 32 by open x1, next plan business; runs_exceeded aiRuns of aiRuns 32 by open x2, next plan business
        ",
    );
}

#[test]
fn a_session_refused_before_may_be_opened_once_it_fits() {
    check(
        "
        open s1 aiRuns=31 => refused runs_exceeded aiRuns, next plan business
        put plan=business
        open s1 aiRuns=31 => within_limits, held aiRuns 31, cost 0/5 aiRuns 0+31/50 apiRuns 0/200
        ",
    );
}

#[test]
fn an_audited_check_keeps_a_denial_each_time_it_is_refused() {
    check(
        "
        audit aiRuns=30 => within_limits, after cost 0/3 aiRuns 30/30 apiRuns 0/100
        audit aiRuns=31 => no, runs_exceeded aiRuns, next plan business
        audit aiRuns=31 => no, runs_exceeded aiRuns, next plan business
        audit a:aiRuns=31 b:cost=4 => no, runs_exceeded aiRuns, next plan business
        denials => runs_exceeded aiRuns of aiRuns 31 by afford x1, next plan business; runs_exceeded aiRuns of aiRuns 31 by afford x1, next plan business; runs_exceeded aiRuns of aiRuns 31 or cost 4 by afford x1, next plan business
        ",
    );
}

#[test]
fn an_application_may_report_a_denial_of_its_own() {
    check(
        "
        deny aiRuns=31 reason=maintenance in=s1 => maintenance aiRuns of aiRuns 31 by application x1, next plan business
        deny cost=1 reason=maintenance in=s1 => maintenance nothing of cost 1 by application x1, next plan business
        open s1 aiRuns=31 => refused runs_exceeded aiRuns, next plan business
        user nobody
        deny cost=1 reason=maintenance => maintenance cost of cost 1 by application x1, next plan pro
        document => base cost 0 runs 0 month 2025-10
        ",
    );
}

#[test]
fn a_hold_counts_in_both_months_while_the_clocks_are_in_two() {
    check(
        "
        record 3
        at 2025-11-01T00:00:00Z
        wall 2025-10-31T23:59:59Z
        check cost=3 => within_limits, after cost 3/3 aiRuns 0/30 apiRuns 0/100
        open s1 cost=3 => refused budget_exceeded cost, next plan enterprise
        wall 2025-11-01T00:00:00Z
        open s1 cost=3 => within_limits, held cost 3, cost 0+3/3 aiRuns 0/30 apiRuns 0/100
        at 2025-11-30T23:00:00Z
        wall 2025-12-01T01:00:00Z
        open s2 cost=3 => within_limits, held cost 3, cost 0+3/3 aiRuns 0/30 apiRuns 0/100
        open s3 cost=1 => refused budget_exceeded cost, next plan business
        ",
    );
}

//! The acceptance scenarios S1 to S23 at the level of the ledger, with the contract's exact figures.

use crate::script::check;

/// The scan of S1 as a session of this name.
fn scan(session: &str) -> String {
    format!(
        "
        open {session} cost=0.003 aiRuns=1
        record 0.0015 api in={session} feature=business_card_scan_ocr
        record 0.00010785 run in={session} feature=business_card_scan
        finish {session}
        "
    )
}

fn scans(first: u32, last: u32) -> String {
    (first..=last).map(|number| scan(&format!("scan{number}"))).collect()
}

#[test]
fn s1_a_scan_is_a_session_of_two_steps_and_counts_at_once() {
    check(
        "
        open session_scan_1760380376660_72r1 cost=0.003 aiRuns=1
        record 0.0015 api in=session_scan_1760380376660_72r1 feature=business_card_scan_ocr
        record 0.00010785 run op=usage_1760380378785_zrix in=session_scan_1760380376660_72r1 feature=business_card_scan
        finish session_scan_1760380376660_72r1 => completed, 0.00160785 in 2 steps, 1 runs, cost 0.00160785/3 aiRuns 1/30 apiRuns 0/100
        document => premium cost 0.00160785 runs 1 month 2025-10
        record 0.5 at=2025-10-14T10:00:00Z
        at 2025-11-01T00:00:00Z
        record 0.25
        document => premium cost 0.25 runs 0 month 2025-11
        budget 2025-10 => cost 0.50160785/3 aiRuns 1/30 apiRuns 0/100
        ",
    );
}

#[test]
fn s2_the_same_again() {
    check(&(scans(1, 2) + "budget => cost 0.0032157/3 aiRuns 2/30 apiRuns 0/100"));
}

#[test]
fn s3_after_the_last_ai_run_the_basic_choice_is_offered() {
    check(
        &(scans(1, 30)
            + "
        budget => cost 0.0482355/3 aiRuns 30/30 apiRuns 0/100
        check ai:cost=0.003,aiRuns=1 => no, runs_exceeded aiRuns, next plan business
        open s31 ai:cost=0.003,aiRuns=1 basic:cost=0.0015,apiRuns=1 => fallback basic, held cost 0.0015 apiRuns 1, cost 0.0482355+0.0015/3 aiRuns 30/30 apiRuns 0+1/100
        "),
    );
}

#[test]
fn s4_four_hundred_scans_without_holds_are_all_recorded() {
    let scans: String = (1..=400)
        .map(|number| {
            format!(
                "record 0.0015 api in=s{number}\nrecord 0.00010785 run in=s{number} op=last{number} finish=completed\n"
            )
        })
        .collect();
    check(
        &(scans
            + "
        budget => cost 0.64314/3 aiRuns 400/30 apiRuns 0/100
        session s400 => completed, 0.00160785 in 2 steps, 1 runs, never held, budget exceeded
        record 0.00010785 run in=s400 op=last400 finish=completed => duplicate last400 0.00010785 in 2025-10 step 2, cost 0.64314/3 aiRuns 400/30 apiRuns 0/100
        "),
    );
}

#[test]
fn s5_a_double_sided_scan() {
    check(
        "
        record 0.0015 api in=s
        record 0.0015 api in=s
        record 0.000135 run in=s
        budget => cost 0.003135/3 aiRuns 1/30 apiRuns 0/100
        ",
    );
}

#[test]
fn s6_a_double_sided_basic_scan_on_pro() {
    check(
        "
        put plan=pro
        record 0.0015 api run in=s
        record 0.0015 api in=s
        budget => cost 0.003/1.5 aiRuns 0/0 apiRuns 1/50
        ",
    );
}

#[test]
fn s7_a_place_search() {
    check(
        "
        record 0.00283 api in=s
        record 0.00283 api in=s
        record 0.00283 api in=s
        record 0.017 api run in=s
        session s => in-progress, 0.02549 in 4 steps, 1 runs, never held
        budget => cost 0.02549/3 aiRuns 0/30 apiRuns 1/100
        ",
    );
}

#[test]
fn s8_an_enrichment_gives_the_rest_of_its_hold_back() {
    check(
        "
        open s cost=0.0371 aiRuns=1 apiRuns=2
        record 0.005 api run in=s
        record 0.032 api run in=s
        record 0.0000002 run in=s
        record 0.00001 in=s
        budget => cost 0.0370102+0.0000898/3 aiRuns 1/30 apiRuns 2/100
        finish s => completed, 0.0370102 in 4 steps, 3 runs, cost 0.0370102/3 aiRuns 1/30 apiRuns 2/100
        ",
    );
}

#[test]
fn s9_the_same_all_cached() {
    check(
        "
        open s cost=0.0371 aiRuns=1 apiRuns=2
        record 0.005 api run in=s
        record api in=s
        record in=s
        record 0.00001 in=s
        finish s => completed, 0.00501 in 4 steps, 1 runs, cost 0.00501/3 aiRuns 0/30 apiRuns 1/100
        ",
    );
}

#[test]
fn s10_the_worst_case_is_recorded_with_its_overdraft() {
    check(
        &("open s cost=0.037 apiRuns=1\nrecord 0.005 api run in=s\n".to_owned()
            + &"record 0.032 api run in=s\n".repeat(10)
            + "
        session s => in-progress, 0.325 in 11 steps, 11 runs, held nothing, overdraft cost 0.288 apiRuns 10
        budget => cost 0.325/3 aiRuns 0/30 apiRuns 11/100
        "),
    );
}

#[test]
fn s11_what_does_not_fit_is_denied_with_its_estimate() {
    check(
        "
        record 2.97
        open s cost=0.037 => refused budget_exceeded cost, next plan business
        denials => budget_exceeded cost of cost 0.037 by open x1, next plan business
        budget => cost 2.97/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn s12_the_last_run_is_given_once() {
    check(
        &("record run\n".repeat(29)
            + "open s1 aiRuns=1\n"
            + &(2..=50)
                .map(|number| format!("open s{number} aiRuns=1 => refused runs_exceeded aiRuns, next plan business\n"))
                .collect::<String>()),
    );
}

#[test]
fn s13_a_thousand_times_0_0015_is_exactly_1_50() {
    let operations: String = (1..=999).map(|_| "record 0.0015 api\n").collect();
    check(
        &("put plan=pro\n".to_owned()
            + &operations
            + "
        open s cost=0.0015
        record 0.0015 api in=s
        budget => cost 1.5/1.5 aiRuns 0/0 apiRuns 0/50
        open next cost=0.0015 => refused budget_exceeded cost, next plan premium
        "),
    );
}

#[test]
fn s14_a_search_of_nine_steps() {
    let steps = ["0", "0.0003", "0.0002 run", "0.0000038", "0", "0", "0", "0.002", "0"];
    let steps: String = steps.map(|step| format!("record {step} in=s\n")).concat();
    check(
        &(steps
            + "
        finish s => completed, 0.0025038 in 9 steps, 1 runs, never held, cost 0.0025038/3 aiRuns 1/30 apiRuns 0/100
        operations => operation1 0; operation2 0.0003; operation3 0.0002; operation4 0.0000038; operation5 0; operation6 0; operation7 0; operation8 0.002; operation9 0
        "),
    );
}

#[test]
fn s15_exactly_80_percent_warns_once() {
    check(
        "
        record 2.39839215
        alerts => none
        record 0.00160785
        budget => cost 2.4/3 aiRuns 0/30 apiRuns 0/100
        record 0.00160785
        alerts => 2025-10 80 of cost 3
        ",
    );
}

#[test]
fn s16_a_session_over_the_turn_of_the_month_is_the_sum_and_each_month_has_its_own() {
    check(
        "
        at 2025-11-02T00:00:00Z
        record 0.25 in=s at=2025-10-31T23:59:59.999Z
        record 0.5 in=s at=2025-11-01T00:00:00Z
        session s => in-progress, 0.75 in 2 steps, 0 runs, never held
        budget 2025-10 => cost 0.25/3 aiRuns 0/30 apiRuns 0/100
        budget 2025-11 => cost 0.5/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn s17_a_step_after_finish_counts_and_the_status_stays() {
    check(
        &(scan("s")
            + "
        record 0.1 in=s
        session s => completed, 0.10160785 in 3 steps, 1 runs, overdraft cost 0.1
        budget => cost 0.10160785/3 aiRuns 1/30 apiRuns 0/100
        "),
    );
}

#[test]
fn s18_base_allows_nothing() {
    check(
        "
        put plan=base
        check cost=0.0001 => no, budget_exceeded cost, next plan pro
        ",
    );
}

#[test]
fn s19_an_unlimited_users_real_use_is_visible() {
    check(
        &("put plan=enterprise\n".to_owned()
            + &scans(1, 10)
            + "budget => cost 0.0160785/none aiRuns 10/none apiRuns 0/none"),
    );
}

#[test]
fn s20_the_same_operation_twenty_times_is_recorded_once() {
    check(
        &("record 0.5 run op=a => recorded a 0.5 in 2025-10, cost 0.5/3 aiRuns 1/30 apiRuns 0/100\n".to_owned()
            + &"record 0.5 run op=a => duplicate a 0.5 in 2025-10, cost 0.5/3 aiRuns 1/30 apiRuns 0/100\n".repeat(19)),
    );
}

#[test]
fn s21_a_hold_over_midnight_counts_in_both_months_and_is_drawn_once() {
    check(
        &("at 2025-10-31T12:00:00Z\n".to_owned()
            + &"record run\n".repeat(29)
            + &"record run at=2025-11-01T00:00:00Z\n".repeat(29)
            + "
        at 2025-10-31T23:59:50Z
        open s1 aiRuns=1 for=900
        at 2025-11-01T00:00:10Z
        open s2 aiRuns=1 => refused runs_exceeded aiRuns, next plan business
        record run in=s1
        session s1 => in-progress, 0 in 1 steps, 1 runs, held nothing
        finish s1
        budget 2025-10 => cost 0/3 aiRuns 29/30 apiRuns 0/100
        budget 2025-11 => cost 0/3 aiRuns 30/30 apiRuns 0/100
        "),
    );
}

#[test]
fn s22_an_expired_session_takes_its_step_as_overdraft_and_can_be_finished() {
    check(
        "
        open s cost=1 for=1
        wait 2
        record 0.5 in=s
        session s => abandoned, 0.5 in 1 steps, 0 runs, overdraft cost 0.5
        finish s => completed, 0.5 in 1 steps, 0 runs, overdraft cost 0.5, cost 0.5/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

#[test]
fn s23_reversed_twice_and_posted_again_stays_reversed() {
    check(
        "
        record 0.5 op=a
        reverse a op=r => recorded r -0.5 in 2025-10 reverses a, cost 0/3 aiRuns 0/30 apiRuns 0/100
        reverse a op=r => duplicate r -0.5 in 2025-10 reverses a, cost 0/3 aiRuns 0/30 apiRuns 0/100
        record 0.5 op=a => duplicate a 0.5 in 2025-10, cost 0/3 aiRuns 0/30 apiRuns 0/100
        budget => cost 0/3 aiRuns 0/30 apiRuns 0/100
        ",
    );
}

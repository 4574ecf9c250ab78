//! Users, plans, alerts and erasure.

use crate::script::check;

#[test]
fn setting_a_user_replaces_all_of_their_settings() {
    check(
        "
        user v
        put plan=pro email=v@example.org cost=9 aiRuns=none => new
        budget => cost 0/9 aiRuns 0/none apiRuns 0/50
        put plan=pro email=v@example.org cost=9 aiRuns=none => known
        put plan=pro => known
        budget => cost 0/1.5 aiRuns 0/0 apiRuns 0/50
        put => known
        budget => cost 0/0 aiRuns 0/0 apiRuns 0/0
        put plan=gold => rejected UnknownPlan gold
        user w
        put plan=gold => rejected UnknownPlan gold
        document => nobody
        ",
    );
}

#[test]
fn a_plan_change_applies_at_once_and_what_was_used_stays_used() {
    check(
        "
        record 2 run
        put plan=pro
        budget => cost 2/1.5 aiRuns 1/0 apiRuns 0/50
        put plan=business
        open s1 cost=3 => within_limits, held cost 3, cost 2+3/5 aiRuns 1/50 apiRuns 0/200
        put plan=premium
        budget => cost 2+3/3 aiRuns 1/30 apiRuns 0/100
        ",
    );
}

#[test]
fn a_plan_is_added_last_or_replaced_where_it_is() {
    check(
        "
        plan gold cost=100 aiRuns=none => set
        check cost=50 => no, budget_exceeded cost, next plan enterprise
        plan gold tier=35 cost=100 aiRuns=none => set
        check cost=50 => no, budget_exceeded cost, next plan gold
        plan premium cost=3 aiRuns=30 apiRuns=100 => set
        plan premium cost=3.5 aiRuns=30 apiRuns=100 => set
        plan premium cost=4 aiRuns=29 apiRuns=100 => lowered
        budget => cost 0/4 aiRuns 0/29 apiRuns 0/100
        plan premium cost=none aiRuns=none apiRuns=none => set
        plan premium cost=none aiRuns=none apiRuns=1000 => lowered
        budget => cost 0/none aiRuns 0/none apiRuns 0/1000
        put plan=gold
        budget => cost 0/100 aiRuns 0/none apiRuns 0/0
        ",
    );
}

#[test]
fn each_threshold_of_a_limit_raises_one_alert_at_the_exact_fraction() {
    check(
        "
        record 2.399999999999
        alerts => none
        record 0.000000000001
        alerts => 2025-10 80 of cost 3
        record 0.4
        record 0.1
        alerts => 2025-10 80 of cost 3; 2025-10 95 of cost 3
        record 5
        record 5
        alerts => 2025-10 80 of cost 3; 2025-10 95 of cost 3; 2025-10 100 of cost 3
        ",
    );
}

#[test]
fn one_operation_that_crosses_several_raises_all_and_the_highest_of_a_meter_supersedes() {
    check(
        "
        put plan=premium aiRuns=1
        record 2.9 run
        alerts => 2025-10 80 of cost 3 superseded; 2025-10 95 of cost 3; 2025-10 80 of aiRuns 1 superseded; 2025-10 95 of aiRuns 1 superseded; 2025-10 100 of aiRuns 1
        ",
    );
}

#[test]
fn an_alert_looks_at_what_is_used_and_not_at_what_is_held() {
    check(
        "
        open s1 cost=3
        record 1 in=s1
        alerts => none
        ",
    );
}

#[test]
fn a_limit_of_zero_or_none_raises_no_alert() {
    check(
        "
        put plan=base cost=none
        record 100 run
        alerts => none
        ",
    );
}

#[test]
fn alerts_already_sent_stay_sent_after_a_reversal_and_are_not_raised_twice() {
    check(
        "
        record 2.5 op=a
        reverse a
        record 2.5
        alerts => 2025-10 80 of cost 3
        ",
    );
}

#[test]
fn each_month_has_its_own_alerts() {
    check(
        "
        record 2.5
        record 2.5 at=2025-09-01T00:00:00Z
        alerts => 2025-10 80 of cost 3; 2025-09 80 of cost 3
        ",
    );
}

#[test]
fn a_lowered_limit_raises_what_is_now_reached_in_every_month() {
    check(
        "
        record 1.3
        record 2 at=2025-09-01T00:00:00Z
        put plan=pro
        alerts => 2025-09 80 of cost 1.5 superseded; 2025-09 95 of cost 1.5 superseded; 2025-09 100 of cost 1.5; 2025-10 80 of cost 1.5
        put plan=premium
        put plan=pro
        record
        alerts => 2025-09 80 of cost 1.5 superseded; 2025-09 95 of cost 1.5 superseded; 2025-09 100 of cost 1.5; 2025-10 80 of cost 1.5
        ",
    );
}

#[test]
fn a_limit_where_there_was_none_is_a_lower_one() {
    check(
        "
        put plan=enterprise
        record 10 run
        put plan=enterprise aiRuns=1
        alerts => 2025-10 80 of aiRuns 1 superseded; 2025-10 95 of aiRuns 1 superseded; 2025-10 100 of aiRuns 1
        ",
    );
}

#[test]
fn a_raised_limit_raises_no_alert_by_itself_but_the_next_operation_does() {
    check(
        "
        record 2.95
        put plan=premium cost=3.1
        alerts => 2025-10 80 of cost 3 superseded; 2025-10 95 of cost 3
        record api run
        alerts => 2025-10 80 of cost 3 superseded; 2025-10 95 of cost 3; 2025-10 80 of cost 3.1 superseded; 2025-10 95 of cost 3.1
        ",
    );
}

#[test]
fn a_plan_with_lower_limits_raises_alerts_user_by_user() {
    check(
        "
        record 2
        recheck => done
        alerts => none
        plan premium cost=2.5 aiRuns=30 apiRuns=100 => lowered
        alerts => none
        recheck => done
        alerts => 2025-10 80 of cost 2.5
        recheck => done
        alerts => 2025-10 80 of cost 2.5
        ",
    );
}

#[test]
fn an_erased_user_is_nobody_and_the_same_id_coming_back_is_a_new_user() {
    check(
        "
        record 1 op=a in=s1
        open s2 cost=1
        put plan=premium email=u@example.org cost=5
        erase => done
        document => nobody
        budget => cost 0/0 aiRuns 0/0 apiRuns 0/0
        finish s2 => rejected UnknownSession
        reverse a => rejected UnknownOperation
        document => nobody
        record 0.5 op=a in=s1 => recorded a 0.5 in 2025-10 step 1, cost 0.5/0 aiRuns 0/0 apiRuns 0/0
        operations => a 0.5
        sessions => s1 in-progress
        document => base cost 0.5 runs 0 month 2025-10
        erase => done
        put plan=pro => new
        erase => done
        erase => done
        user w
        erase => done
        document => nobody
        ",
    );
}

#[test]
fn what_comes_late_for_an_erased_user_finds_nobody() {
    check(
        "
        record 1 in=s1
        open s2 cost=1
        erase
        recheck => done
        expire s2 => done
        wait 86400
        expire s1 => done
        document => nobody
        ",
    );
}

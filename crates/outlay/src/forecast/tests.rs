//! What must hold of every forecast, and roughly how often its ranges do; `cargo xtask backtest` measures that closely.

use outlay_core::month::Month;

use super::*;

fn october(day: u8) -> Day {
    Day::new(Month::parse("2025-10").unwrap(), day)
}

fn past(days: &[f64], today: u8) -> Past<'_> {
    Past {
        days,
        today: october(today),
        today_left: 1.0,
        used: 0.0,
        limit: None,
        stops_at_limit: false,
        whole: true,
        seed: 7,
    }
}

#[test]
fn a_week_of_days_is_needed() {
    assert_eq!(outlook(&past(&[1.0; 6], 10)), None);
    assert!(outlook(&past(&[1.0; 7], 10)).is_some());
    assert!(outlook(&past(&[0.0; 7], 31)).is_some());
}

#[test]
fn the_same_every_day_goes_on_as_it_was() {
    let days = [2.0; 60];
    let past = Past { used: 30.0, limit: Some(50.0), ..past(&days, 16) };
    let outlook = outlook(&past).unwrap();
    // Sixteen days are left, today among them.
    assert!((outlook.projected - 62.0).abs() <= 2.0, "{outlook:?}");
    assert!(outlook.low <= outlook.projected && outlook.projected <= outlook.high, "{outlook:?}");
    assert!(outlook.high - outlook.low <= 14.0, "{outlook:?}");
    let reaches = outlook.reaches.unwrap();
    // The tenth day from the 16th on.
    assert!((24..=26).contains(&reaches.on.day_of_month()), "{reaches:?}");
    assert!(reaches.early <= reaches.on && reaches.late.is_some_and(|late| late >= reaches.on), "{reaches:?}");
}

#[test]
fn a_limit_that_is_far_off_is_not_reached_and_one_that_is_reached_neither() {
    let days = [2.0; 60];
    for (used, limit) in [(30.0, Some(500.0)), (50.0, Some(50.0)), (30.0, Some(0.0)), (30.0, None)] {
        assert_eq!(outlook(&Past { used, limit, ..past(&days, 16) }).unwrap().reaches, None, "{used} of {limit:?}");
    }
}

#[test]
fn who_asks_before_using_stops_at_the_limit() {
    let days = [2.0; 60];
    let past = Past { used: 30.0, limit: Some(40.0), stops_at_limit: true, ..past(&days, 16) };
    let stops = outlook(&past).unwrap();
    assert!(stops.high <= 40.0 && stops.reaches.is_some(), "{stops:?}");
    // What was recorded beyond it stays.
    assert!(outlook(&Past { used: 45.0, ..past }).unwrap().projected >= 45.0);
    assert!(outlook(&Past { stops_at_limit: false, ..past }).unwrap().projected > 50.0);
}

#[test]
fn who_used_nothing_uses_nothing() {
    let none = outlook(&Past { limit: Some(5.0), ..past(&[0.0; 40], 3) }).unwrap();
    assert_eq!(none, Outlook { projected: 0.0, low: 0.0, high: 0.0, reaches: None });
}

#[test]
fn weekends_are_foretold_as_weekends() {
    // Saturdays and Sundays are still: 2025-10-18 is a Saturday, and the days end on Friday.
    let days: Vec<f64> = (0..70).map(|day| if day % 7 < 2 { 0.0 } else { 4.0 }).collect();
    let at = |today: u8, days: &[f64]| outlook(&Past { used: 0.0, ..past(days, today) }).unwrap().projected;
    let from_saturday = at(18, &days);
    // Fourteen days, ten of them working days.
    assert!((from_saturday - 40.0).abs() <= 3.0, "{from_saturday}");
    let last_weekend = at(30, &days);
    assert!(last_weekend <= 2.0, "{last_weekend}");
}

#[test]
fn the_same_past_gives_the_same_forecast_and_the_end_of_the_month_is_what_is_used() {
    let days: Vec<f64> = (0..200).map(|day| f64::from(day * 7 % 5)).collect();
    let past = Past { used: 11.0, limit: Some(40.0), ..past(&days, 20) };
    assert_eq!(outlook(&past), outlook(&past));
    let last = outlook(&Past { today: october(31), today_left: 0.0, ..past }).unwrap();
    assert!((last.low - 11.0).abs() < 1e-9 && last.projected - 11.0 <= 1.0, "{last:?}");
}

#[test]
fn a_range_is_as_sure_as_it_should_be_also_among_whole_numbers() {
    let sorted: Vec<u32> = (0..1_000).map(|n| n / 150).collect();
    let mut within = 0.0;
    for tie in 0..100 {
        let (low, middle, high) = range(sorted.clone(), f64::from(tie) / 100.0);
        assert!(low <= middle && middle <= high);
        within += sorted.iter().filter(|drawn| (low..=high).contains(drawn)).count() as f64;
    }
    let share = within / 100.0 / 1_000.0;
    assert!((share - COVERS).abs() < 0.02, "{share}");
}

#[test]
fn a_short_past_of_amounts_gives_wider_ranges_than_one_of_runs() {
    let days: Vec<f64> = (0..140).map(|day| f64::from(100 + day * 37 % 61)).collect();
    let width = |known: &[f64], whole: bool| {
        let one = |seed| outlook(&Past { whole, seed, ..past(known, 16) }).unwrap();
        (0..40).map(one).map(|outlook| outlook.high - outlook.low).sum::<f64>()
    };
    let wider = |known: &[f64]| width(known, false) / width(known, true);
    let (short, long) = (wider(&days[..10]), wider(&days));
    assert!(short > 1.1 && long < short && (0.97..1.1).contains(&long), "{short} {long}");
}

#[test]
fn ranges_hold_about_four_times_out_of_five() {
    let mut within = 0;
    let mut random = Pcg64::seed_from_u64(1);
    let cases = 300;
    for seed in 0..cases {
        let rate = random.random_range(1.0..8.0);
        let days: Vec<f64> =
            (0..131).map(|_| (0..16).filter(|_| random.random::<f64>() < rate / 16.0).count() as f64).collect();
        let (known, rest) = days.split_at(120);
        let outlook = outlook(&Past { seed, ..past(known, 21) }).unwrap();
        let came: f64 = rest.iter().sum();
        within += u64::from(outlook.low <= came && came <= outlook.high);
    }
    assert!((cases * 72 / 100..=cases * 88 / 100).contains(&within), "{within} of {cases}");
}

#[test]
fn a_pace_meets_a_limit_on_the_day_that_an_outlook_names() {
    let mut random = Pcg64::seed_from_u64(3);
    let mut met = 0;
    for seed in 0..60 {
        let days: Vec<f64> = (0..100).map(|_| f64::from(random.random_range(0..4))).collect();
        let past = Past { limit: Some(f64::from(random.random_range(5..60))), seed, ..past(&days, 12) };
        let named = outlook(&past).unwrap().reaches.map(|reaches| reaches.on);
        let pace = pace(&past).unwrap();
        assert_eq!(pace.len(), 20);
        let first = pace.iter().position(|used| *used >= past.limit.unwrap());
        assert_eq!(named, first.map(|ahead| october(12 + u8::try_from(ahead).unwrap())));
        met += usize::from(named.is_some());
    }
    assert!((10..=50).contains(&met), "{met}");
}

#[test]
fn a_past_that_ended_at_the_limit_says_what_would_have_been_used() {
    // Two a day until 40 are used up, on the 20th of each month: from July on to the 15th of October.
    let day = |place: usize| shifted(october(16), i64::try_from(place).unwrap() - 107);
    let days: Vec<f64> = (0..107).map(|place| if day(place).day_of_month() <= 20 { 2.0 } else { 0.0 }).collect();
    assert_eq!(day(0), Day::new(Month::parse("2025-07").unwrap(), 1));
    let past = Past { used: 30.0, limit: Some(40.0), stops_at_limit: true, ..past(&days, 16) };
    let reaches = outlook(&past).unwrap().reaches.unwrap();
    assert!((20..=22).contains(&reaches.on.day_of_month()), "{reaches:?}");
    let filled = as_if_allowed(&past);
    assert!(filled.iter().zip(&days).all(|(filled, used)| filled >= used));
    assert!(filled.iter().all(|used| *used > 0.0), "{filled:?}");
    // Who only happens to be at the limit keeps their past.
    assert_eq!(as_if_allowed(&Past { stops_at_limit: false, ..past }), days);
}

#[test]
fn a_range_of_days_says_when_the_limit_may_not_be_met() {
    let mut random = Pcg64::seed_from_u64(5);
    let days: Vec<f64> = (0..150).map(|_| f64::from(random.random_range(0..3))).collect();
    let at = |limit: f64| outlook(&Past { limit: Some(limit), ..past(&days, 10) }).unwrap().reaches;
    // About one a day for 22 days.
    let sure = at(10.0).unwrap();
    assert!(sure.early <= sure.on && sure.late.is_some_and(|late| sure.on <= late && late < october(31)), "{sure:?}");
    let close = at(19.0).unwrap();
    assert!(close.late.is_none() && close.early <= close.on, "{close:?}");
    assert_eq!(at(40.0), None);
}

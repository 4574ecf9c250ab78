//! The form of the answers: order of members, exact numbers, and the words beside the figures. What is shown comes from
//! the ledger, decided on books of its own.

use outlay_core::id::{SessionId, UserId};
use outlay_core::ledger::{Books, Command, Key, Now, Numbers, Outcome, Rejection, budget, decide};
use outlay_core::month::Timestamp;
use outlay_core::plan::Plans;
use outlay_core::session::Ask;

use super::*;
use crate::clock::SystemClock;
use crate::http::body::operation::plain;
use crate::ids::Ids;

/// Books that know nobody yet, at a fixed time.
struct Ledger {
    books: Books,
    now: Now,
}

impl Ledger {
    fn new() -> Self {
        let now = Timestamp::parse("2025-10-13T18:32:58.785Z").unwrap();
        let now = Now { holds: now, wall: now, entropy: 7 };
        Self { books: Books::new(7, Plans::standard(), Numbers::default()), now }
    }

    fn run(&mut self, command: &Command) -> Result<Outcome, Rejection> {
        loop {
            let missing = self.books.missing(command, self.now);
            if missing.is_empty() {
                break;
            }
            for key in missing {
                match key {
                    Key::User(user_id) => self.books.load_user(user_id, None),
                    Key::Session(user_no, session_id) => self.books.load_session(user_no, session_id, None),
                    Key::Operation(user_no, operation_id) => self.books.load_operation(user_no, operation_id, None),
                    Key::Denial(user_no, session_id) => self.books.load_denial(user_no, session_id, None),
                    Key::Month(user_no, month) => self.books.load_month(user_no, month, None),
                    other => panic!("nothing is stored: {other:?}"),
                }
            }
        }
        let decision = decide(&self.books, command, self.now)?;
        self.books.apply(decision.changes);
        Ok(decision.outcome)
    }

    fn premium() -> Self {
        let mut ledger = Self::new();
        let plan = Some(Name::new("premium").unwrap());
        let command = Command::PutUser { user_id: user_id(), plan, email: None, overrides: Overrides::default() };
        ledger.run(&command).unwrap();
        ledger
    }

    fn record(&mut self, members: &str) -> outlay_core::ledger::Recorded {
        let body = format!(r#"{{"userId":"bgtfrdsZ","feature":"business_card_scan"{members}}}"#);
        let posted = plain(&body, &Ids::from_seed(SystemClock::shared(), 7)).unwrap();
        match self.run(&Command::Record(posted.operation)).unwrap() {
            Outcome::Recorded(recorded) => recorded,
            other => panic!("{other:?}"),
        }
    }
}

fn user_id() -> UserId {
    UserId::new("bgtfrdsZ").unwrap()
}

fn text(write: impl FnOnce(&mut Json)) -> String {
    String::from_utf8(Json::with_room(16, write).into_bytes()).unwrap()
}

fn object(write: impl FnOnce(&mut Object<'_>)) -> String {
    text(|json| json.object(write))
}

#[test]
fn a_budget_is_written_as_the_contract_shows_it() {
    let mut ledger = Ledger::premium();
    ledger.record(r#","operationId":"a","usageType":"ApiUsage","cost":0.0015"#);
    let recorded = ledger.record(r#","operationId":"b","cost":0.00010785,"isBillableRun":true"#);
    let presentation = Presentation::default();
    assert_eq!(
        object(|object| operation::recorded(object, &recorded, Some(&presentation))),
        concat!(
            r#"{"success":true,"operationId":"b","recordedIn":"AIUsage+UserDoc","duplicate":false,"cost":0.00010785,"#,
            r#""month":"2025-10","budget":{"userId":"bgtfrdsZ","plan":"premium","nextPlan":"business","#,
            r#""upgradeUrl":null,"unlimited":false,"month":"2025-10","resetsAt":"2025-11-01T00:00:00Z","state":"ok","#,
            r#""meters":{"cost":{"label":"Cost Budget","unit":"USD","used":0.00160785,"held":0,"limit":3,"#,
            r#""remaining":2.99839215,"percent":0.05,"state":"ok","message":null},"#,
            r#""aiRuns":{"label":"AI Operations","unit":"runs","used":1,"held":0,"limit":30,"remaining":29,"#,
            r#""percent":3.33,"state":"ok","message":null},"#,
            r#""apiRuns":{"label":"API Operations","unit":"runs","used":0,"held":0,"limit":100,"remaining":100,"#,
            r#""percent":0,"state":"ok","message":null}}}}"#
        )
    );
    let minimal = object(|object| operation::recorded(object, &recorded, None));
    assert!(minimal.ends_with(r#""month":"2025-10"}"#), "{minimal}");
}

#[test]
fn an_operation_is_listed_with_what_was_posted_and_what_was_added() {
    let mut ledger = Ledger::premium();
    let members = r#","operationId":"o","cost":1.5,"tokens":{"input":3},"units":{"pages":"2.50"},"sessionId":"s",
        "provider":"p","model":"m","stepLabel":"l","durationMs":7,"timestamp":"2025-10-01T00:00:00Z","metadata":{"k": [1]}"#;
    let recorded = ledger.record(members);
    let shown = |whole| object(|object| operation::item(object, &recorded.operation, &user_id(), whole));
    assert_eq!(
        shown(true),
        concat!(
            r#"{"operationId":"o","userId":"bgtfrdsZ","usageType":"AIUsage","feature":"business_card_scan","provider":"p","#,
            r#""model":"m","cost":1.5,"tokens":{"input":3,"cachedInput":0,"cacheWrite":0,"output":0,"reasoning":0},"#,
            r#""units":{"pages":2.5},"isBillableRun":false,"sessionId":"s","stepLabel":"l","stepNumber":1,"#,
            r#""finishSession":null,"durationMs":7,"timestamp":"2025-10-01T00:00:00Z","metadata":{"k":[1]},"#,
            r#""month":"2025-10","recordedAt":"2025-10-13T18:32:58.785Z","recordedIn":"SessionUsage+UserDoc","#,
            r#""reverses":null,"reversedBy":null}"#
        )
    );
    let of_a_token = shown(false);
    for hidden in ["provider", "model", "metadata"] {
        assert!(!of_a_token.contains(hidden), "{of_a_token}");
    }
    let step = object(|object| operation::step(object, &recorded.operation, false));
    for hidden in ["provider", "model", "metadata"] {
        assert!(!step.contains(hidden), "{step}");
    }
}

#[test]
fn a_refusal_names_what_would_help() {
    let mut ledger = Ledger::premium();
    let open = |session: &str, ai_runs| Command::Open {
        user_id: user_id(),
        session_id: SessionId::new(session).unwrap(),
        feature: Name::new("scan").unwrap(),
        ask: Ask::Estimate(Amounts { ai_runs, ..Amounts::ZERO }),
        hold_seconds: 900,
        metadata: None,
    };
    let Outcome::Opened { session, .. } = ledger.run(&open("s", 28)).unwrap() else { panic!("28 of 30 fit") };
    let shown = object(|object| session::item(object, &session, Some(&user_id()), true));
    assert_eq!(
        shown,
        concat!(
            r#"{"sessionId":"s","userId":"bgtfrdsZ","feature":"scan","status":"in-progress","totalCost":0,"totalRuns":0,"#,
            r#""held":{"cost":0,"aiRuns":28,"apiRuns":0},"overdraft":{"cost":0,"aiRuns":0,"apiRuns":0},"choice":null,"#,
            r#""error":null,"budgetExceeded":false,"createdAt":"2025-10-13T18:32:58.785Z","#,
            r#""lastUpdatedAt":"2025-10-13T18:32:58.785Z","completedAt":null,"holdExpiresAt":"2025-10-13T18:47:58.785Z","#,
            r#""stepCount":0,"estimate":{"cost":0,"aiRuns":28,"apiRuns":0},"#,
            r#""hold":{"total":{"cost":0,"aiRuns":28,"apiRuns":0},"drawn":{"cost":0,"aiRuns":0,"apiRuns":0}},"metadata":{}}"#
        )
    );

    let Outcome::Refused(refused) = ledger.run(&open("t", 3)).unwrap() else { panic!("31 of 30 fitted") };
    let problem = session::refused(&refused, &Presentation::default());
    let request_id = Ids::from_seed(SystemClock::shared(), 7).request();
    let body = serde_json::to_string(&problem.body(&Presentation::default(), request_id)).unwrap();
    for member in [
        r#""status":402"#,
        r#""detail":"Only 2 AI operations left""#,
        r#""reason":"runs_exceeded","failed":["aiRuns"],"choices":[],"budget":{"userId":"#,
        r#""upgradeRequired":true,"nextPlan":"business","resetsAt":"2025-11-01T00:00:00Z""#,
    ] {
        assert!(body.contains(member), "{member} in {body}");
    }
    let denial = object(|object| notice::denial(object, refused.denial.as_ref().unwrap(), Some(&user_id()), 0xabc));
    assert_eq!(
        denial,
        concat!(
            r#"{"denialId":"denial_79fc4da7_1","userId":"bgtfrdsZ","feature":"scan","sessionId":"t","#,
            r#""estimate":{"cost":0,"aiRuns":3,"apiRuns":0},"reason":"runs_exceeded","failed":["aiRuns"],"#,
            r#""limits":{"cost":3,"aiRuns":30,"apiRuns":100},"nextPlan":"business","times":1,"source":"open","#,
            r#""recordedAt":"2025-10-13T18:32:58.785Z","metadata":{}}"#
        )
    );
}

#[test]
fn a_user_shows_the_limits_that_hold_and_those_of_their_own() {
    let month = Timestamp::parse("2025-10-13T00:00:00Z").unwrap().month();
    let overrides = Overrides { cost: None, ai_runs: Some(None), api_runs: Some(Some(0)) };
    let mut ledger = Ledger::new();
    let put = Command::PutUser { user_id: user_id(), plan: None, email: Some("u@example.org".into()), overrides };
    let Outcome::User { user: set, .. } = ledger.run(&put).unwrap() else { panic!("the user is set") };
    let budget = budget(&Plans::standard(), Some(&set), &user_id(), month, &Amounts::ZERO, &Amounts::ZERO);
    let shown = text(|json| user(json, Some(&set), &budget, &UserMonth::empty(month)));
    assert_eq!(
        shown,
        concat!(
            r#"{"userId":"bgtfrdsZ","known":true,"plan":"base","email":"u@example.org","#,
            r#""limits":{"cost":0,"aiRuns":null,"apiRuns":0},"overrides":{"aiRuns":null,"apiRuns":0},"#,
            r#""monthlyTotalCost":0,"monthlyBillableRuns":0,"monthlyBillableRunsAI":0,"monthlyBillableRunsAPI":0,"#,
            r#""monthlyUsageMonth":"2025-10","monthlyUsageLastUpdated":null}"#
        )
    );
    let settings = object(|object| user_settings(object, &set));
    assert!(settings.starts_with(r#"{"userId":"bgtfrdsZ","plan":null,"email":"u@example.org","#), "{settings}");
    let meters = text(|json| json.value(Worded(&budget.meters, &Presentation::default())));
    assert!(meters.contains(r#""limit":0,"remaining":0,"percent":100,"state":"reached","message":"Not in your plan""#));
    assert!(meters.contains(r#""limit":null,"remaining":null,"percent":null,"state":"ok","message":null"#));
}

#[test]
fn few_runs_left_are_said_in_the_words_of_the_label() {
    let said = |remaining: i64, few_left| {
        let budget = MeterBudget { used: 30 - remaining, held: 0, limit: Some(30) };
        let few_left = PerMeter { cost: 9, ai_runs: few_left, api_runs: 10 };
        message(Meter::AiRuns, &budget, &Presentation { few_left, ..Presentation::default() })
    };
    assert_eq!(said(4, 3), None);
    assert_eq!(said(3, 3).as_deref(), Some("Only 3 AI operations left"));
    assert_eq!(said(1, 3).as_deref(), Some("Only 1 AI operation left"));
    assert_eq!(said(0, 3).as_deref(), Some("No AI operations left"));
    assert_eq!(said(1, 0), None);
    assert_eq!(runs_left(2, "Scans"), "Only 2 scans left");
    let cost = MeterBudget { used: 1, held: 0, limit: Some(2) };
    assert_eq!(message(Meter::Cost, &cost, &Presentation::default()), None);
}

/// What the edge costs for each operation of a batch; run it in release.
#[test]
#[ignore = "it measures and asserts nothing"]
fn cost_of_reading_and_answering() {
    let clock = SystemClock::shared();
    let ids = Ids::from_seed(SystemClock::shared(), 7);
    let one = r#"{"operationId":"usage_1760380378785_zrix","userId":"bgtfrdsZ","usageType":"AIUsage","feature":"business_card_scan","provider":"gemini","model":"gemini-2.5-flash-lite","cost":0.00010785,"isBillableRun":true,"sessionId":"session_scan_1760380376660_72r1","timestamp":"2025-10-13T18:32:58.785Z"}"#;
    let with_metadata =
        one.replace("\"cost\"", "\"metadata\":{\"card\":\"front\",\"tries\":2,\"lang\":\"en\"},\"cost\"");
    let recorded = Ledger::premium().record(r#","operationId":"o","cost":1.5"#);
    let presentation = Presentation::default();
    for (name, one) in [("plain", one), ("with metadata", &with_metadata)] {
        let batch = format!("[{}]", vec![one; 1_000].join(","));
        let started = clock.monotonic_nanos();
        for _ in 0..100 {
            let text = crate::http::body::utf8(batch.as_bytes()).unwrap();
            for item in crate::http::body::items(text, 1_000).unwrap() {
                assert!(plain(std::hint::black_box(item), &ids).is_ok());
            }
        }
        eprintln!("reading an operation, {name}: {} ns", (clock.monotonic_nanos() - started) / 100_000);
    }
    for (name, budget) in [("of a batch", None), ("with its budget", Some(&presentation))] {
        let started = clock.monotonic_nanos();
        for _ in 0..100_000 {
            std::hint::black_box(object(|object| operation::recorded(object, &recorded, budget)));
        }
        eprintln!("writing an answer, {name}: {} ns", (clock.monotonic_nanos() - started) / 100_000);
    }
}

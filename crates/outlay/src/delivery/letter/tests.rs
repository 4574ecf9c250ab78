//! The built-in letters word for word, and templates of the operator's.

use outlay_core::alert::AlertKey;
use outlay_core::budget::MeterBudget;
use outlay_core::id::{AlertNo, Name, UserId, UserNo};
use outlay_core::month::{Month, Timestamp};
use outlay_core::plan::{Meter, PerMeter};

use super::*;

fn alert(meter: Meter, threshold: u8, used: i64, limit: i64) -> Alert {
    Alert {
        no: AlertNo(17),
        user_no: UserNo(1),
        month: Month::parse("2025-12").unwrap(),
        key: AlertKey { meter, threshold, limit },
        used,
        held: 0,
        plan: Name::new("premium").unwrap(),
        next_plan: Some(Name::new("business").unwrap()),
        superseded_by: None,
        recorded_at: Timestamp::parse("2025-12-20T00:00:00Z").unwrap(),
        previous: None,
    }
}

fn budget(user: &str) -> Budget {
    Budget {
        user_id: UserId::new(user).unwrap(),
        plan: Name::new("premium").unwrap(),
        next_plan: Some(Name::new("business").unwrap()),
        month: Month::parse("2025-12").unwrap(),
        meters: PerMeter {
            cost: MeterBudget { used: 38_588_400_000, held: 500_000_000_000, limit: Some(3_000_000_000_000) },
            ai_runs: MeterBudget { used: 25, held: 0, limit: Some(30) },
            api_runs: MeterBudget { used: 1_234, held: 0, limit: None },
        },
    }
}

fn presentation() -> Presentation {
    Presentation {
        upgrade_url: Some("https://example.org/upgrade?a=1&b=2".to_owned()),
        public_url: Some("https://outlay.example.org".to_owned()),
        ..Presentation::default()
    }
}

fn letter(letters: &Letters, alert: &Alert, budget: &Budget, presentation: &Presentation, reader: Reader) -> Letter {
    let forecast = Some("You will reach your AI operations limit around 24 December");
    let crossing = Crossing { id: "alert_0a1b2c3d_17", alert, budget, forecast, presentation };
    letters.alert(&crossing, reader, "ada@example.org").unwrap()
}

#[test]
fn a_user_reads_what_was_used_what_is_foretold_when_it_ends_and_where_there_is_more() {
    let letters = Letters::open(None).unwrap();
    let crossed = alert(Meter::AiRuns, 80, 24, 30);
    let letter = letter(&letters, &crossed, &budget("bgtfrdsZ"), &presentation(), Reader::User);
    assert_eq!((letter.to.as_str(), letter.id.as_str()), ("ada@example.org", "alert_0a1b2c3d_17"));
    assert_eq!(letter.subject, "You have used 80% of your AI operations for December 2025");
    assert_eq!(
        letter.text,
        "You have used 80% of your AI operations for December 2025: 24 of 30.\n\
         \n\
         You will reach your AI operations limit around 24 December.\n\
         \n\
         Your budget now, on the plan premium:\n\
         \n  [--------------------] 1%  Cost Budget: $0.04 of $3.00, and $0.50 set aside\
         \n  [################----] 83%  AI Operations: 25 of 30\
         \n  API Operations: 1,234, without a limit\n\
         \n\
         It begins anew on 1 January 2026 (UTC).\n\
         \n\
         The next larger plan is business: https://example.org/upgrade?a=1&b=2\n\
         \n\
         This is sent once a month at 80 percent of a limit."
    );
    for part in ["80% of your AI operations", "width:83%", "1 January 2026", "upgrade?a=1&amp;b=2", "24 December."] {
        assert!(letter.html.contains(part), "{part} in {}", letter.html);
    }
}

#[test]
fn at_the_limit_it_says_so_and_money_stays_exact() {
    let letters = Letters::open(None).unwrap();
    let crossed = alert(Meter::Cost, 100, 3_000_000_000_000, 3_000_000_000_000);
    let letter = letter(&letters, &crossed, &budget("bgtfrdsZ"), &Presentation::default(), Reader::User);
    assert_eq!(letter.subject, "You have reached your cost budget limit for December 2025");
    assert!(
        letter.text.starts_with("You have reached your cost budget limit for December 2025: $3.00 of $3.00 used.\n")
    );
    // No link that is not configured.
    assert!(!letter.text.contains("http") && !letter.html.contains("href"));
}

#[test]
fn the_operator_reads_whose_it_is_and_a_name_cannot_write_html() {
    let letters = Letters::open(None).unwrap();
    let crossed = alert(Meter::AiRuns, 95, 29, 30);
    let user = "<img src=x>\u{202e}{{ 7 * 7 }}";
    let letter = letter(&letters, &crossed, &budget(user), &presentation(), Reader::Operator);
    assert_eq!(letter.id, "alert_0a1b2c3d_17.operator");
    assert_eq!(letter.subject, format!("{user} has used 96% of the AI operations for December 2025"));
    assert!(letter.text.contains("the threshold of 95% is crossed"));
    assert!(letter.text.contains("https://outlay.example.org/users/%3Cimg%20src%3Dx%3E"));
    assert!(!letter.html.contains("<img") && letter.html.contains("&lt;img"));
}

#[test]
fn a_folder_takes_the_place_of_some_templates() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("alert-user.txt"), "{{ user_id }}: {{ meter.used }}/{{ meter.limit }}").unwrap();
    std::fs::write(folder.path().join(".alert-user.txt.swp"), "").unwrap();
    let letters = Letters::open(Some(folder.path())).unwrap();
    let letter =
        letter(&letters, &alert(Meter::AiRuns, 80, 24, 30), &budget("a"), &Presentation::default(), Reader::User);
    assert_eq!(letter.text, "a: 24/30");
    assert!(letter.html.contains("80% of your AI operations"));
}

#[test]
fn a_template_that_cannot_be_written_with_is_named_with_its_line() {
    let refused = |name: &str, text: &str| {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(name), text).unwrap();
        let error = Letters::open(Some(folder.path())).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    };
    let unknown = refused("alert-user.txt", "one\ntwo\n{{ usre_id }}\n");
    assert!(unknown.starts_with("use the mail template alert-user.txt line 3: undefined value"), "{unknown}");
    let syntax = refused("alert-operator.html", "one\n{% if %}\n");
    assert!(syntax.starts_with("use the mail template alert-operator.html line 2: syntax error"), "{syntax}");
    // A word that is only sometimes there.
    let sometimes = refused("alert-user.txt", "{% if not forecast %}\n{{ forecats }}{% endif %}");
    assert!(sometimes.contains("alert-user.txt line 2"), "{sometimes}");
    let name = refused("alert-usr.txt", "");
    assert!(name.contains("alert-usr.txt: there is none by this name; they are alert-user.subject.txt"), "{name}");
    let missing = Letters::open(Some(Path::new("/nonexistent"))).unwrap_err().to_string();
    assert!(missing.starts_with("read the mail templates in /nonexistent"), "{missing}");
}

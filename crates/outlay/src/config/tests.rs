//! Layers, complaints and secrets, on files of their own.

use outlay_core::alert::Thresholds;

use super::*;

fn environment(variables: &[(&str, &str)]) -> Environment {
    Environment(variables.iter().map(|(name, value)| ((*name).to_owned(), OsString::from(value))).collect())
}

/// The settings with this file, these variables and these flags.
fn read(
    file: &str,
    variables: &[(&str, &str)],
    flags: &[(&'static Setting, &str)],
) -> Result<Config, Vec<(String, String)>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("outlay.toml");
    std::fs::write(&path, file).unwrap();
    let mut said = Flags::default();
    said.say(&settings::CONFIG, Some(&path));
    for (setting, value) in flags {
        said.say(setting, Some(*value));
    }
    Config::read(&said, &environment(variables)).map_err(|error| {
        let folder = format!("{}/", folder.path().display());
        error.complaints.into_iter().map(|c| (c.place.replace(&folder, ""), c.advice)).collect()
    })
}

fn places(result: Result<Config, Vec<(String, String)>>) -> Vec<String> {
    result.unwrap_err().into_iter().map(|(place, _)| place).collect()
}

#[test]
fn a_flag_wins_over_the_environment_over_the_file_over_the_default() {
    let listen = |file: &str, variables: &[(&str, &str)], flags: &[(&'static Setting, &str)]| {
        read(file, variables, flags).unwrap().listen.port()
    };
    let file = "listen = '127.0.0.1:1'";
    let variable = [("OUTLAY_LISTEN", "127.0.0.1:2")];
    assert_eq!(listen(file, &variable, &[(&settings::LISTEN, "127.0.0.1:3")]), 3);
    assert_eq!(listen(file, &variable, &[]), 2);
    assert_eq!(listen(file, &[("OUTLAY_LISTEN", "")], &[]), 1);
    assert_eq!(listen("", &[], &[]), 4780);
}

#[test]
fn everything_wrong_is_named_at_once_with_its_place() {
    let file = "listen = 'nowhere'\nlog_formt = 'json'\nopen = 3\n[plans.pro]\ncost = -1\nai_runs = 0\n\
                [few_left]\ncost = 3\n";
    let variables = [("OUTLAY_PUBLIC_URL", "example.org"), ("OUTLAY_ADMIN_KEY", "short")];
    let mut found = places(read(file, &variables, &[(&settings::LOG, "=,=")]));
    found.sort();
    assert_eq!(
        found,
        [
            "--log",
            "OUTLAY_ADMIN_KEY",
            "OUTLAY_PUBLIC_URL",
            "outlay.toml line 1: listen",
            "outlay.toml line 2: log_formt",
            "outlay.toml line 3: open",
            "outlay.toml line 5: plans.pro.cost",
            "outlay.toml line 8: few_left.cost",
        ]
    );
    assert_eq!(places(read("listen = ", &[], &[])), ["outlay.toml line 1"]);
}

#[test]
fn open_listens_on_loopback_only() {
    assert!(read("open = true\nlisten = '[::1]:0'", &[], &[]).unwrap().open);
    assert_eq!(places(read("", &[("OUTLAY_LISTEN", "0.0.0.0:4780")], &[(&settings::OPEN, "true")])), ["--open"]);
}

#[test]
fn a_secret_is_read_from_its_file_and_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("admin");
    let secret = "an-admin-key-of-more-than-32-characters";
    std::fs::write(&path, format!("{secret}\n")).unwrap();
    let config = read("", &[("OUTLAY_ADMIN_KEY_FILE", path.to_str().unwrap())], &[]).unwrap();
    assert_eq!(config.admin_key.as_ref().unwrap().expose_secret(), secret);
    assert!(!format!("{config:?}").contains(secret));

    let both = [("OUTLAY_ADMIN_KEY_FILE", path.to_str().unwrap()), ("OUTLAY_ADMIN_KEY", secret)];
    assert_eq!(places(read("", &both, &[])), ["OUTLAY_ADMIN_KEY"]);
    let long = "not-a-key-".repeat(30);
    for (variable, bad) in [("OUTLAY_ADMIN_KEY", long.as_str()), ("OUTLAY_MASTER_KEY", "c2hvcnQ=")] {
        let complaints = read("", &[(variable, bad)], &[]).unwrap_err();
        assert!(!format!("{complaints:?}").contains(bad));
    }
    let master = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let config = read("", &[("OUTLAY_MASTER_KEY", master)], &[]).unwrap();
    assert_eq!(config.master_key.unwrap().expose_secret()[..3], [0, 1, 2]);
}

#[test]
fn mail_needs_a_server_and_a_sender_and_shows_no_password() {
    let url = "smtps://ada:hunter2@mail.example.org";
    let file = format!("smtp_url = '{url}'\nmail_from = 'Outlay <o@example.org>'\nmail_operator = 'ops@example.org'\n");
    let config = read(&file, &[("OUTLAY_MAIL_USERS", "false")], &[]).unwrap();
    assert!(!format!("{config:?}").contains("hunter2"));
    let mail = config.mail.unwrap();
    assert_eq!((mail.server.port, mail.from.email.to_string().as_str()), (465, "o@example.org"));
    assert!(mail.operator.is_some() && !mail.to_users);

    assert!(read("", &[], &[]).unwrap().mail.is_none());
    assert_eq!(places(read("", &[("OUTLAY_SMTP_URL", url)], &[])), ["OUTLAY_SMTP_URL"]);
    assert_eq!(places(read("mail_operator = 'ops@example.org'", &[], &[])), ["outlay.toml line 1: mail_operator"]);
    let wrong = "smtp_url = 'smtps://ada:hunter2@'\nmail_from = 'nobody'\nwebhook_allow = 'a b'\n";
    let complaints = read(wrong, &[], &[]).unwrap_err();
    assert!(!format!("{complaints:?}").contains("hunter2"));
    let mut places: Vec<String> = complaints.into_iter().map(|(place, _)| place).collect();
    places.sort();
    assert_eq!(
        places,
        ["outlay.toml line 1: smtp_url", "outlay.toml line 2: mail_from", "outlay.toml line 3: webhook_allow"]
    );
}

#[test]
fn plans_in_the_file_keep_their_order_and_their_exact_limits() {
    let file = "[plans]\ndefault = 'small'\n\
                [plans.small]\ncost = 0.30000000000000004\nai_runs = 1\napi_runs = 'unlimited'\n\
                [plans.big]\ncost = 'unlimited'\nai_runs = 0\napi_runs = 5\n\
                [plans.middle]\ncost = 2\nai_runs = 1\napi_runs = 1\ntier = 15\n";
    let plans = read(file, &[], &[]).unwrap().plans.unwrap();
    let names: Vec<&str> = plans.all().iter().map(|plan| plan.name.as_str()).collect();
    assert_eq!(names, ["small", "middle", "big"]);
    assert_eq!(plans.default_plan().as_str(), "small");
    let small = plans.get("small").unwrap().limits;
    assert_eq!((small.cost, small.ai_runs, small.api_runs), (Some(300_000_000_000), Some(1), None));

    assert_eq!(
        places(read("[plans.pro]\ncost = 1\nai_runs = 1\napi_runs = 1", &[], &[])),
        ["outlay.toml line 1: plans"]
    );
    let missing = read("[plans.base]\ncost = 1\nai_runs = 1", &[], &[]).unwrap_err();
    assert!(missing[0].1.contains("api_runs"), "{missing:?}");
}

#[test]
fn alerts_are_raised_where_the_file_says() {
    let thresholds = |percentages: &[u8]| Thresholds::new(percentages.iter().copied()).unwrap();
    assert_eq!(read("", &[], &[]).unwrap().alerts, AlertThresholds::default());
    let alerts = read("[alerts]\nthresholds = [50, 100]\nplans.pro = [90]\nplans.base = []", &[], &[]).unwrap().alerts;
    assert_eq!(alerts.all, thresholds(&[50, 100]));
    let plans: Vec<_> = alerts.plans.iter().map(|(name, of_plan)| (name.as_str(), *of_plan)).collect();
    assert!(plans.contains(&("pro", thresholds(&[90]))) && plans.contains(&("base", thresholds(&[]))), "{plans:?}");

    let file =
        "[alerts]\nthresholds = [0, 80]\nlevels = [1]\n[alerts.plans]\npro = 80\nbase = [101]\nbusiness = ['80']";
    let mut wrong = places(read(file, &[], &[]));
    wrong.sort_unstable();
    let places = [
        "2: alerts.thresholds",
        "3: alerts.levels",
        "5: alerts.plans.pro",
        "6: alerts.plans.base",
        "7: alerts.plans.business",
    ];
    assert_eq!(wrong, places.map(|place| format!("outlay.toml line {place}")));
}

#[test]
fn labels_and_thresholds_go_over_the_defaults() {
    let file = "upgrade_url = 'https://example.org/upgrade/'\n[labels]\naiRuns = 'Scans'\n[few_left]\nai_runs = 0\n";
    let presentation = read(file, &[], &[]).unwrap().presentation;
    assert_eq!(presentation.labels.ai_runs, "Scans");
    assert_eq!(presentation.labels.cost, "Cost Budget");
    assert_eq!((presentation.few_left.ai_runs, presentation.few_left.api_runs), (0, 10));
    assert_eq!(presentation.upgrade_url.as_deref(), Some("https://example.org/upgrade"));
}

#[test]
fn variables_that_mean_nothing_are_noticed() {
    let variables = [("OUTLAY_LISTN", "x"), ("OUTLAY_SERVICE_HOST", "x"), ("OUTLAY_KEY_FILE", "/dev/null")];
    assert_eq!(read("", &variables, &[]).unwrap().unknown_variables, ["OUTLAY_LISTN"]);
}

#[test]
fn every_setting_has_one_variable_and_stands_in_the_help() {
    let help = settings::help();
    for (at, setting) in SETTINGS.iter().enumerate() {
        assert!(setting.variable.starts_with("OUTLAY_") && help.contains(setting.variable));
        assert!(!SETTINGS[..at].iter().any(|other| other.variable == setting.variable));
    }
}

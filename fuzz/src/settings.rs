//! The settings: whatever the flags and the file say, it is taken whole or each fault is named with its place; and no secret
//! is ever shown.
//!
//! An input is a line `NUMBER VALUE` for each flag, where the number is that of a setting, then an empty line, then the file.
//! A line `+` puts secrets in front of the file. In the value of a secret, `:*@` is where a password stands.

use std::fmt::Write as _;
use std::path::Path;

use outlay::config::settings::{CONFIG, SETTINGS, STORE, Setting, TEST_CLOCK};
use outlay::config::{Complaint, Config, ConfigError, Environment, Flags};
use outlay_core::money::Usd;
use outlay_core::plan::{Plans, RUNS_LIMIT_MAX};

/// What each secret here begins with: no text of Outlay's has it.
const SECRET: &str = "zqjx";
/// Secrets of a file.
const SECRETS: &str = "admin_key = \"zqjx-0123456789abcdef0123456789abcdef\"\nkey = \"zqjx-key\"\n\
    smtp_url = \"smtps://u:zqjx@mail.example.org\"\nmail_from = \"o@example.org\"\n\
    store = \"postgres://o:zqjx@db/outlay\"\n";

/// See the head of the file.
pub fn settings(data: &[u8]) {
    thread_local! {
        static FOLDER: tempfile::TempDir = crate::rows::folder();
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A file that holds a secret is read by whatever name is given, and that of a device has no end.
    if ["_file", "\\u", "\\U", "\\x"].iter().any(|part| text.contains(part)) {
        return;
    }
    let (said, file) = text.split_once("\n\n").unwrap_or(("", text));
    let path = FOLDER.with(|folder| folder.path().join("outlay.toml"));
    let mut flags = Flags::default();
    flags.say(&CONFIG, Some(&path));
    let mut shown_anyway = file.to_owned();
    let mut begins_with_secrets = false;
    for line in said.lines() {
        begins_with_secrets |= line == "+";
        let Some((setting, value)) = flag(line) else { continue };
        if setting.secret || *setting == STORE {
            flags.say(setting, Some(secret(setting, value)));
        } else {
            let _ = writeln!(shown_anyway, "{value}");
            flags.say(setting, Some(value));
        }
    }
    let file = format!("{}{file}", if begins_with_secrets { SECRETS } else { "" });
    std::fs::write(&path, &file).expect("written");
    let (checked, found) = Config::inspect(&flags, &Environment::default());
    if !shown_anyway.contains(SECRET) {
        let said = checked.as_ref().err().map(ToString::to_string).unwrap_or_default();
        let shown = format!("{said}\n{checked:?}\n{found:?}");
        assert!(!shown.contains(SECRET), "a secret is shown: {shown}");
    }
    match checked {
        Ok(config) => makes_sense(&config),
        Err(error) => is_helpful(&error, &path, file.lines().count()),
    }
}

/// The setting that a line says, and its value.
fn flag(line: &str) -> Option<(&'static Setting, &str)> {
    let (number, value) = line.split_once(' ')?;
    let setting = SETTINGS[number.parse::<usize>().ok()? % SETTINGS.len()];
    // The file is ours, and the clock is read elsewhere.
    (*setting != CONFIG && *setting != TEST_CLOCK).then_some((setting, value))
}

/// A value that must not be shown, or of an address the password.
fn secret(setting: &Setting, value: &str) -> String {
    match value.split_once(":*@") {
        Some((before, after)) => format!("{before}:{SECRET}@{after}"),
        None if *setting == STORE => value.to_owned(),
        None => format!("{SECRET}{value}"),
    }
}

/// What was taken is what the settings' list says that it may be.
fn makes_sense(config: &Config) {
    assert!(!config.open || config.listen.ip().is_loopback(), "anybody may do anything at {}", config.listen);
    assert!(config.keep_details_days.is_none_or(|days| (7..=36_500).contains(&days)));
    assert!(config.trusted_proxies.iter().all(|network| network.prefix_len() > 0), "everybody is believed");
    let presentation = &config.presentation;
    let origins = config.allowed_origins.iter().flatten();
    for url in origins.chain(&presentation.public_url).chain(&presentation.upgrade_url).chain(&config.url) {
        assert!(url.starts_with("http") && !url.ends_with('/'), "{url}");
    }
    assert!(presentation.labels.iter().all(|(_, label)| !label.trim().is_empty()));
    assert!(presentation.few_left.iter().all(|(_, runs)| (0..=RUNS_LIMIT_MAX).contains(runs)));
    let thresholds = config.alerts.plans.iter().map(|(_, thresholds)| *thresholds).chain([config.alerts.all]);
    for threshold in thresholds.flat_map(|thresholds| thresholds.iter().collect::<Vec<_>>()) {
        assert!((1..=100).contains(&threshold));
    }
    if let Some(plans) = &config.plans {
        plans_make_sense(plans);
    }
}

fn plans_make_sense(plans: &Plans) {
    assert!(plans.get(plans.default_plan().as_str()).is_some(), "nobody's plan is there: {plans:?}");
    assert!(plans.all().is_sorted_by_key(|plan| (plan.tier, plan.name.clone())), "{plans:?}");
    for plan in plans.all() {
        let in_range = |limit: Option<i64>, max| limit.is_none_or(|limit| (0..=max).contains(&limit));
        assert!(in_range(plan.limits.cost, Usd::TOTAL_MAX.picos()), "{plan:?}");
        assert!(in_range(plan.limits.ai_runs, RUNS_LIMIT_MAX) && in_range(plan.limits.api_runs, RUNS_LIMIT_MAX));
    }
}

/// Each fault says where it is, and what to do.
fn is_helpful(error: &ConfigError, path: &Path, lines: usize) {
    assert!(!error.complaints.is_empty());
    for Complaint { place, advice } in &error.complaints {
        assert!(!advice.is_empty(), "nothing is said of {place}");
        let is_said = SETTINGS.iter().any(|setting| setting.flag == Some(place) || setting.variable == place);
        assert!(is_said || is_in_file(place, path, lines), "where is {place}?");
    }
}

/// Whether a place is a line of the file: `outlay.toml line 3: listen`.
fn is_in_file(place: &str, path: &Path, lines: usize) -> bool {
    let Some(rest) = place.strip_prefix(&*path.to_string_lossy()) else { return false };
    let line = rest.strip_prefix(" line ").map(|rest| rest.split_once(':').map_or(rest, |(line, _)| line));
    line.and_then(|line| line.parse().ok()).is_some_and(|line: usize| (1..=lines.max(1) + 1).contains(&line))
}

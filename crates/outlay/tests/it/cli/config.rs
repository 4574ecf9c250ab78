//! `outlay config check` and `outlay man`.

use std::fs;

use crate::support::{Json, outlay, outlay_with_environment};

fn setting(checked: &Json, name: &str) -> (String, String) {
    let setting = checked.list("/settings").iter().find(|setting| setting.text("/name") == name);
    let setting = setting.unwrap_or_else(|| panic!("no {name} in {checked:?}"));
    (setting.text("/value").to_owned(), setting.text("/from").to_owned())
}

#[test]
fn every_setting_is_shown_with_what_it_says_and_where() {
    let folder = tempfile::tempdir().unwrap();
    let (file, secret) = (folder.path().join("outlay.toml"), folder.path().join("admin"));
    let key = "an-admin-key-of-more-than-32-characters";
    fs::write(&secret, key).unwrap();
    let text = format!(
        "listen = '127.0.0.1:1'\nlog = 'info'\nadmin_key_file = '{}'\n[plans.base]\ncost = 1\nai_runs = 2\napi_runs = 3\n",
        secret.display()
    );
    fs::write(&file, text).unwrap();
    let file = file.to_str().unwrap();
    let environment = [
        ("OUTLAY_LISTEN", "127.0.0.1:2"),
        ("OUTLAY_SMTP_URL", "smtps://ada:hunter2@mail.example.org"),
        ("OUTLAY_MAIL_FROM", "outlay@example.org"),
        ("OUTLAY_LISTN", "x"),
    ];
    let arguments = ["config", "check", "--json", "--config", file, "--public-listen", "127.0.0.1:3"];
    let ran = outlay_with_environment(&arguments, &environment).exits(0);
    assert!(!format!("{ran:?}").contains("hunter2") && !ran.out.contains(key), "{ran:?}");
    let checked = ran.json();
    checked.shows("/ok", "true");
    let of = |name: &str| setting(&checked, name);
    let pair = |value: &str, from: &str| (value.to_owned(), from.to_owned());
    assert_eq!(of("OUTLAY_PUBLIC_LISTEN"), pair("127.0.0.1:3", "--public-listen"));
    assert_eq!(of("OUTLAY_LISTEN"), pair("127.0.0.1:2", "OUTLAY_LISTEN"));
    assert_eq!(of("OUTLAY_LOG"), pair("info", &format!("{file} line 2: log")));
    assert_eq!(of("OUTLAY_LOG_FORMAT"), pair("text", "default"));
    assert_eq!(of("OUTLAY_CONFIG"), pair(file, "--config"));
    assert_eq!(of("OUTLAY_SMTP_URL"), pair("***", "OUTLAY_SMTP_URL"));
    let from = format!("{file} line 3: admin_key_file");
    assert_eq!(of("OUTLAY_ADMIN_KEY"), pair(&format!("*** in {}", secret.display()), &from));
    assert_eq!(of("plans"), pair("base", &format!("{file}: [plans]")));
    assert_eq!(checked.list("/unknownVariables").len(), 1);

    let ran = outlay_with_environment(&["config", "check", "--config", file], &environment).exits(0);
    assert!(ran.out.contains("OUTLAY_LISTEN\t127.0.0.1:2\tOUTLAY_LISTEN\n"), "{ran:?}");
    assert!(ran.err.contains("warning: OUTLAY_LISTN is set and means nothing"), "{ran:?}");
}

#[test]
fn everything_wrong_is_said_at_once_with_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let (file, templates) = (folder.path().join("outlay.toml"), folder.path().join("templates"));
    fs::write(&file, "listen = 'here'\n\nlsten = 1\nmail_from = 'nobody'\n").unwrap();
    let arguments = ["config", "check", "--config", file.to_str().unwrap(), "--log", "=,="];
    let ran = outlay_with_environment(&arguments, &[("OUTLAY_MASTER_KEY", "short")]).exits(1);
    let at = |line: &str| format!("wrong: {} {line}", file.display());
    for wrong in [&at("line 1: listen: "), &at("line 3: lsten: "), &at("line 4: mail_from: "), "wrong: --log: "] {
        assert!(ran.err.contains(wrong), "{wrong} in {ran:?}");
    }
    assert!(ran.err.contains("wrong: OUTLAY_MASTER_KEY: ") && !ran.err.contains("short"), "{ran:?}");
    // What is said is shown all the same.
    assert!(ran.out.contains("OUTLAY_LISTEN\there\t"), "{ran:?}");

    // What the settings only name is looked at too.
    fs::create_dir(&templates).unwrap();
    fs::write(templates.join("alert-user.txt"), "Dear\n{{ usre_id }}").unwrap();
    fs::write(&file, "smtp_url = 'smtp://localhost'\nmail_from = 'a@example.org'\nmail_templates = 'templates'\n")
        .unwrap();
    let environment = [("OUTLAY_MAIL_TEMPLATES", templates.to_str().unwrap())];
    let ran = outlay_with_environment(&["config", "check", "--config", file.to_str().unwrap()], &environment).exits(1);
    assert!(ran.err.contains("alert-user.txt line 2: undefined value"), "{ran:?}");
    outlay(&["config", "check", "--no-such-flag"]).exits(2);
}

#[test]
fn a_manual_is_written_with_a_page_for_each_command() {
    let folder = tempfile::tempdir().unwrap();
    let man = folder.path().join("man1");
    outlay(&["man", man.to_str().unwrap()]).exits(0);
    for page in ["outlay.1", "outlay-serve.1", "outlay-config-check.1", "outlay-keys-create.1"] {
        let text = fs::read_to_string(man.join(page)).unwrap();
        assert!(text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    assert!(fs::read_to_string(man.join("outlay-serve.1")).unwrap().contains("OUTLAY_LISTEN"));
    outlay(&["man", "/proc/nowhere"]).exits(1);
}

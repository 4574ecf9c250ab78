//! Every setting by its names: the one documented list of what the environment, the flags and the file may say.

/// One setting and its names.
#[derive(Debug, PartialEq, Eq)]
pub struct Setting {
    /// The environment variable.
    pub variable: &'static str,
    /// The key in `outlay.toml`; none where the file cannot say it.
    pub key: Option<&'static str>,
    /// The flag; none for a secret, since a command line is seen by everybody on the machine, and for what is set once.
    pub flag: Option<&'static str>,
    /// Whether it is a secret: never printed, and also read from the file that `<variable>_FILE` or `<key>_file` names.
    pub secret: bool,
    /// What it says, and its default after the word `default`.
    pub about: &'static str,
}

impl Setting {
    /// What holds where nobody says it, in words.
    pub fn default_in_words(&self) -> &'static str {
        self.about.rsplit_once("default ").map_or("none", |(_, default)| default)
    }
}

/// The folder of the embedded store, and of what is local to a node.
pub const DATA: Setting = setting("OUTLAY_DATA", "data", "--data", "the data folder; default ./outlay-data");
/// The database that several nodes share.
pub const STORE: Setting = setting(
    "OUTLAY_STORE",
    "store",
    "--store",
    "the PostgreSQL database that holds the store, in place of the data folder, like \
     postgres://outlay@db.example.org/outlay: any number of nodes share one; what is no letter or digit in user, password \
     and name is percent-encoded; default none",
);
/// The password for that database.
pub const STORE_PASSWORD: Setting = secret(
    "OUTLAY_STORE_PASSWORD",
    Some("store_password"),
    "the password of that database's user, where it does not stand in the address; default none",
);
/// Whether that database spreads its tables over several machines.
pub const STORE_SHARDED: Setting = setting_without_flag(
    "OUTLAY_STORE_SHARDED",
    "store_sharded",
    "true: that database spreads the store over several machines, as `outlay schema --citus` has it do, so each \
     transaction keeps to one bucket of users; the same on every node; default false",
);
/// Whether nothing may be acknowledged that only one machine has.
pub const REQUIRE_SYNC: Setting = setting(
    "OUTLAY_REQUIRE_SYNC",
    "require_sync",
    "--require-sync",
    "true: nothing is acknowledged that is not on a synchronous standby of that database too; where its commits wait for \
     none (synchronous_standby_names), nothing is recorded; default false",
);
/// The configuration file.
pub const CONFIG: Setting = Setting {
    variable: "OUTLAY_CONFIG",
    key: None,
    flag: Some("--config"),
    secret: false,
    about: "the configuration file; default ./outlay.toml, if there is one",
};
/// Where the server listens.
pub const LISTEN: Setting =
    setting("OUTLAY_LISTEN", "listen", "--listen", "the address to listen on; default 127.0.0.1:4780");
/// Where the server listens for browsers.
pub const PUBLIC_LISTEN: Setting = setting(
    "OUTLAY_PUBLIC_LISTEN",
    "public_listen",
    "--public-listen",
    "a second address, which serves only what needs no key or a user token; default none",
);
/// Whether no key is needed.
pub const OPEN: Setting =
    setting("OUTLAY_OPEN", "open", "--open", "true: no key is needed, on loopback addresses only; default false");
/// The address that others see.
pub const PUBLIC_URL: Setting = setting(
    "OUTLAY_PUBLIC_URL",
    "public_url",
    "--public-url",
    "the server's own address as others see it, for links in its answers; default none",
);
/// Where a user goes who needs a larger plan.
pub const UPGRADE_URL: Setting = setting(
    "OUTLAY_UPGRADE_URL",
    "upgrade_url",
    "--upgrade-url",
    "where a user goes who needs a larger plan; shown in budgets; default none",
);
/// Which web pages may read what a user token may.
pub const ALLOWED_ORIGINS: Setting = setting(
    "OUTLAY_ALLOWED_ORIGINS",
    "allowed_origins",
    "--allowed-origins",
    "comma list of origins whose pages may read what a user token may read; default any",
);
/// Which proxies say the truth about who sent a request.
pub const TRUSTED_PROXIES: Setting = setting(
    "OUTLAY_TRUSTED_PROXIES",
    "trusted_proxies",
    "--trusted-proxies",
    "comma list of networks of proxies whose Forwarded or X-Forwarded-For header says who sent a request, like \
     `10.0.0.0/8,192.0.2.7`; default none",
);
/// Where the audit log is copied to.
pub const AUDIT_LOG: Setting = setting(
    "OUTLAY_AUDIT_LOG",
    "audit_log",
    "--audit-log",
    "where each entry of the audit log is copied to, as a line of JSON: `stderr`, or a file, which is only appended to; \
     default none",
);
/// For how long operations keep their details.
pub const KEEP_DETAILS_DAYS: Setting = setting(
    "OUTLAY_KEEP_DETAILS_DAYS",
    "keep_details_days",
    "--keep-details-days",
    "retention: for how many days after its recording an operation keeps its details (tokens, units, stepLabel, durationMs, \
     metadata, a reversal's reason), 7 to 36500; then they are emptied for good, and what it cost and counted stays; default \
     for ever",
);
/// What is logged.
pub const LOG: Setting = setting(
    "OUTLAY_LOG",
    "log",
    "--log",
    "what is logged to standard error: off, error, warn, info, debug, or a list like `info,outlay::store=debug`; \
     default info for servers, warn for other commands",
);
/// How it is logged.
pub const LOG_FORMAT: Setting =
    setting("OUTLAY_LOG_FORMAT", "log_format", "--log-format", "`text`, or `json` for one object a line; default text");
/// An admin key.
pub const ADMIN_KEY: Setting = secret(
    "OUTLAY_ADMIN_KEY",
    Some("admin_key"),
    "an admin key of your own making, 32 to 256 visible ASCII characters; default none",
);
/// The key that seals what is secret in the store.
pub const MASTER_KEY: Setting = secret(
    "OUTLAY_MASTER_KEY",
    Some("master_key"),
    "the key that seals what is secret in the store, base64 of 32 bytes; with PostgreSQL the same on every node; default \
     DATA/master.key, made at first start",
);
/// The server that takes the mail.
pub const SMTP_URL: Setting = secret(
    "OUTLAY_SMTP_URL",
    Some("smtp_url"),
    "the server that takes the mail, like smtps://user:password@mail.example.org; smtp:// for STARTTLS, which is not asked for \
     on the same machine and with ?tls=none; what is no letter or digit in user and password is percent-encoded; default \
     none: no mail is sent",
);
/// Whom mail is from.
pub const MAIL_FROM: Setting =
    setting_without_flag("OUTLAY_MAIL_FROM", "mail_from", "whom mail is from, like `Outlay <outlay@example.org>`");
/// Who gets every alert by mail.
pub const MAIL_OPERATOR: Setting =
    setting_without_flag("OUTLAY_MAIL_OPERATOR", "mail_operator", "an address that gets every alert; default none");
/// Whether users get their alerts by mail.
pub const MAIL_USERS: Setting = setting_without_flag(
    "OUTLAY_MAIL_USERS",
    "mail_users",
    "false: users are sent no mail, even if their addresses are known; default true",
);
/// The folder with the operator's own templates.
pub const MAIL_TEMPLATES: Setting = setting_without_flag(
    "OUTLAY_MAIL_TEMPLATES",
    "mail_templates",
    "the folder with mail templates that take the place of the built-in ones; default none",
);
/// What webhooks may reach.
pub const WEBHOOK_ALLOW: Setting = setting_without_flag(
    "OUTLAY_WEBHOOK_ALLOW",
    "webhook_allow",
    "comma list of hosts and networks that webhooks may reach by plain http, at private addresses and on any port, like \
     `hooks.internal,10.0.0.0/8`; all others are reached by https on port 443 or 8443, at public addresses; default none",
);
/// The collector of traces.
pub const OTLP_URL: Setting = setting_without_flag(
    "OUTLAY_OTLP_URL",
    "otlp_url",
    "the OpenTelemetry collector that traces go to over HTTP, like `http://127.0.0.1:4318`: those of requests whose \
     `traceparent` asks for it; default none",
);
/// The server that commands talk to.
pub const URL: Setting =
    setting("OUTLAY_URL", "url", "--url", "the server that commands talk to; default the data folder's own");
/// The key that commands bring to it.
pub const KEY: Setting = secret("OUTLAY_KEY", Some("key"), "the key that commands bring to that server; default none");

/// All settings, in the order in which the help lists them.
pub const SETTINGS: [&Setting; 29] = [
    &DATA,
    &STORE,
    &STORE_PASSWORD,
    &STORE_SHARDED,
    &REQUIRE_SYNC,
    &CONFIG,
    &LISTEN,
    &PUBLIC_LISTEN,
    &OPEN,
    &PUBLIC_URL,
    &UPGRADE_URL,
    &ALLOWED_ORIGINS,
    &TRUSTED_PROXIES,
    &AUDIT_LOG,
    &KEEP_DETAILS_DAYS,
    &LOG,
    &LOG_FORMAT,
    &ADMIN_KEY,
    &MASTER_KEY,
    &SMTP_URL,
    &MAIL_FROM,
    &MAIL_OPERATOR,
    &MAIL_USERS,
    &MAIL_TEMPLATES,
    &WEBHOOK_ALLOW,
    &OTLP_URL,
    &URL,
    &KEY,
    &TEST_CLOCK,
];

/// Read by [`crate::clock`], and only in a build for tests.
pub const TEST_CLOCK: Setting = Setting {
    variable: "OUTLAY_TEST_CLOCK",
    key: None,
    flag: None,
    secret: false,
    about: "only in a build for tests: the file that says what time it is",
};

const fn setting(variable: &'static str, key: &'static str, flag: &'static str, about: &'static str) -> Setting {
    Setting { variable, key: Some(key), flag: Some(flag), secret: false, about }
}

const fn setting_without_flag(variable: &'static str, key: &'static str, about: &'static str) -> Setting {
    Setting { variable, key: Some(key), flag: None, secret: false, about }
}

const fn secret(variable: &'static str, key: Option<&'static str>, about: &'static str) -> Setting {
    Setting { variable, key, flag: None, secret: true, about }
}

/// The list as it stands in the help: each variable with its key and what it says.
pub fn help() -> String {
    use std::fmt::Write as _;

    let mut text = String::from("Settings, each as variable and as key of outlay.toml (a flag wins over both):\n");
    for setting in SETTINGS {
        let key = setting.key.map_or_else(String::new, |key| format!(" ({key})"));
        let file = if setting.secret { ", or the same with _FILE naming a file" } else { "" };
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {}{key}{file}\n      {}", setting.variable, setting.about);
    }
    text.push_str(
        "\n\nOnly in outlay.toml:\n\
         \n  [labels] cost, ai_runs, api_runs\n      what the meters are called in budgets\
         \n  [few_left] ai_runs, api_runs\n      from how many runs left a budget says so; default 3 and 10\
         \n  [[webhooks]] url, secret or secret_file, events, description\n      \
         who is told by HTTP, beside those that are made over the API\
         \n  [plans] default, [plans.NAME] cost, ai_runs, api_runs, tier\n      \
         the plans, in place of those in the store; a limit is a number or \"unlimited\"\
         \n  [alerts] thresholds, [alerts.plans] NAME\n      \
         at what percentages of a limit alerts are raised, and at what others for a plan; default [80, 95, 100]",
    );
    text
}

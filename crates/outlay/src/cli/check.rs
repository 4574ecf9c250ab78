//! `outlay config check`: every setting with what it says and where, and all that is wrong, before a server finds out.

use clap::{Args, Subcommand};
use serde_json::json;

use super::serve::Serve;
use super::{Exit, Failure, show};
use crate::config::settings::{CONFIG, SETTINGS, TEST_CLOCK};
use crate::config::{Complaint, Config, Environment, FILE_DEFAULT, Flags, Found};
use crate::delivery::Senders;
use crate::local::{self, LocalError};

/// Look at the settings
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay config check\n  outlay config check --config /etc/outlay/outlay.toml")]
pub(super) struct Settings {
    #[command(subcommand)]
    command: SettingsCommand,
}

#[derive(Debug, Subcommand)]
enum SettingsCommand {
    Check(Check),
}

/// Show every setting, where it was found, and everything that is wrong
#[derive(Debug, Args)]
#[command(
    after_help = CHECK_HELP,
    after_long_help = CHECK_HELP,
)]
struct Check {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: Serve,
}

const CHECK_HELP: &str = "Examples:\n  outlay config check\n  outlay config check --config /etc/outlay/outlay.toml --listen 0.0.0.0:4780\n  \
    outlay config check --json\n\n\
    A flag wins over its variable, the variable over the key in outlay.toml, the key over the default. Give it the flags that the \
    server gets. Secrets are not shown. Exit code 1 when something is wrong; `outlay serve --help` explains each setting.";

/// One line of what is shown.
struct Line {
    name: String,
    key: Option<&'static str>,
    value: String,
    from: String,
}

impl Settings {
    pub(super) fn run(self, mut flags: Flags) -> Result<Exit, Failure> {
        let SettingsCommand::Check(Check { json, serve }) = self.command;
        serve.say(&mut flags);
        let (config, found) = Config::inspect(&flags, &Environment::of_process());
        let lines = lines(&found, config.as_ref().ok());
        let (faults, unknown) = match config {
            // What the settings name must be sound as well: templates are tried out.
            Ok(config) => {
                let unusable = [Senders::open(&config).err().map(unusable), node(&config)];
                (unusable.into_iter().flatten().collect(), config.unknown_variables)
            }
            Err(error) => (error.complaints, Vec::new()),
        };
        if json {
            show::line(&as_json(&lines, &faults, &unknown))?;
        } else {
            let mut table = show::Table::new(["SETTING", "VALUE", "FROM"], 3);
            for Line { name, value, from, .. } in lines {
                table.row([name, value, from]);
            }
            table.print()?;
            for variable in unknown {
                show::say(&format!("warning: {variable} is set and means nothing"));
            }
            for Complaint { place, advice } in &faults {
                show::say(&format!("wrong: {place}: {advice}"));
            }
        }
        Ok(if faults.is_empty() { Exit::Done } else { Exit::Failed })
    }
}

fn unusable(error: impl std::fmt::Display) -> Complaint {
    Complaint { place: "what the settings name".to_owned(), advice: format!("failed to {error}") }
}

/// What would keep a node on a database from starting, as far as the settings show it.
fn node(config: &Config) -> Option<Complaint> {
    let store = config.store.as_ref()?;
    if config.master_key.is_none() {
        return Some(unusable(LocalError::NoMasterKey(store.to_string())));
    }
    local::check_database(store, config).err().map(unusable)
}

fn lines(found: &[Found], config: Option<&Config>) -> Vec<Line> {
    let mut lines = Vec::new();
    for setting in SETTINGS.into_iter().filter(|setting| **setting != TEST_CLOCK) {
        let said = found.iter().find(|found| found.setting == setting);
        let (value, from) = match said {
            // Of a secret only the name of its file is known here.
            Some(Found { value: Some(file), place, .. }) if setting.secret => (format!("*** in {file}"), place.clone()),
            Some(Found { value: None, place, .. }) => ("***".to_owned(), place.clone()),
            Some(Found { value: Some(value), place, .. }) => (value.clone(), place.clone()),
            None => (setting.default_in_words().to_owned(), "default".to_owned()),
        };
        lines.push(Line { name: setting.variable.to_owned(), key: setting.key, value, from });
    }
    if let Some(config) = config {
        let file = found.iter().find(|found| *found.setting == CONFIG).and_then(|found| found.value.as_deref());
        lines.push(plans(config, file.unwrap_or(FILE_DEFAULT)));
    }
    lines
}

/// The plans, which only the file can say.
fn plans(config: &Config, file: &str) -> Line {
    let (value, from) = match &config.plans {
        Some(plans) => {
            let names: Vec<&str> = plans.all().iter().map(|plan| plan.name.as_str()).collect();
            (names.join(", "), format!("{file}: [plans]"))
        }
        None => ("those in the store".to_owned(), "default".to_owned()),
    };
    Line { name: "plans".to_owned(), key: Some("plans"), value, from }
}

fn as_json(lines: &[Line], faults: &[Complaint], unknown: &[String]) -> String {
    let settings: Vec<_> = lines
        .iter()
        .map(|line| json!({ "name": line.name, "key": line.key, "value": line.value, "from": line.from }))
        .collect();
    let faults: Vec<_> = faults.iter().map(|fault| json!({ "place": fault.place, "advice": fault.advice })).collect();
    json!({ "ok": faults.is_empty(), "settings": settings, "faults": faults, "unknownVariables": unknown }).to_string()
}

//! `outlay doctor`: looks at what a server stands on, and says of each thing whether it is well and how it is mended.
//!
//! It looks and changes nothing. What only a running server knows it asks through the folder's socket.

mod database;
mod outside;
mod place;
mod server;

use clap::Args;
use serde_json::json;

use super::serve::Serve;
use super::{Exit, Failure, runtime, show};
use crate::config::{Config, Environment, Flags};
use crate::delivery::Senders;

/// Look at what a server stands on, and say what is wrong and how it is mended
#[derive(Debug, Args)]
#[command(
    after_help = DOCTOR_HELP,
    after_long_help = DOCTOR_HELP,
)]
pub(super) struct Doctor {
    /// Print it as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    serve: Serve,
}

const DOCTOR_HELP: &str = "Examples:\n  outlay doctor --data /var/lib/outlay --config /etc/outlay/outlay.toml\n  \
    outlay doctor --public-url https://budget.example.org --json\n\n\
    It looks at the settings, the data folder and the disk or the PostgreSQL database, the clock, the addresses, the running server, its keys, the last \
    verify, for how long details are kept, the mail server, the webhooks' endpoints, and whether events come through at the public address. Give it the flags \
    that the server gets. Nothing is changed and nothing is sent. Exit code 1 when something fails.";

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Ok,
    /// It works, and may not for long, or not for everybody.
    Warn,
    /// It does not work.
    Fail,
}

impl Verdict {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was found about one thing.
#[derive(Debug)]
struct Finding {
    about: &'static str,
    verdict: Verdict,
    what: String,
    /// What to do; absent where nothing need be done.
    fix: Option<String>,
}

/// What was found, in order.
#[derive(Debug, Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn ok(&mut self, about: &'static str, what: impl Into<String>) {
        self.0.push(Finding { about, verdict: Verdict::Ok, what: what.into(), fix: None });
    }

    fn warn(&mut self, about: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { about, verdict: Verdict::Warn, what: what.into(), fix: Some(fix.into()) });
    }

    fn fail(&mut self, about: &'static str, what: impl Into<String>, fix: impl Into<String>) {
        self.0.push(Finding { about, verdict: Verdict::Fail, what: what.into(), fix: Some(fix.into()) });
    }

    fn worst_is_fail(&self) -> bool {
        self.0.iter().any(|finding| finding.verdict == Verdict::Fail)
    }
}

impl Doctor {
    pub(super) fn run(self, mut flags: Flags) -> Result<Exit, Failure> {
        let json = self.json;
        self.serve.say(&mut flags);
        let mut findings = Findings::default();
        match Config::read(&flags, &Environment::of_process()) {
            Ok(config) => {
                for variable in &config.unknown_variables {
                    findings.warn("settings", format!("{variable} is set and means nothing"), "is it misspelt?");
                }
                findings.ok("settings", "sound");
                runtime(false)?.block_on(look(&config, &mut findings));
            }
            Err(error) => {
                for complaint in error.complaints {
                    let what = format!("{}: {}", complaint.place, complaint.advice);
                    findings.fail("settings", what, "`outlay config check` shows every setting and where it is from");
                }
            }
        }
        print(&findings, json)?;
        Ok(if findings.worst_is_fail() { Exit::Failed } else { Exit::Done })
    }
}

async fn look(config: &Config, findings: &mut Findings) {
    match &config.store {
        Some(address) => database::look(address, config, findings).await,
        None => place::folder(config, findings),
    }
    place::clock(config, findings);
    let client = server::reach(config, findings).await;
    place::addresses(config, client.is_some(), findings);
    place::master_key(config, findings);
    server::keys(config, client.as_ref(), findings).await;
    place::last_verify(config, findings);
    server::retention(config, client.as_ref(), findings).await;
    match Senders::open(config) {
        Ok(senders) => {
            outside::mail(&senders, findings).await;
            outside::webhooks(&senders, client.as_ref(), findings).await;
        }
        Err(error) => findings.fail("mail", format!("failed to {error}"), "mend it, and run this again"),
    }
    outside::public_url(config, client.as_ref(), findings).await;
}

fn print(findings: &Findings, json: bool) -> Result<(), Failure> {
    if json {
        let checks: Vec<_> = findings
            .0
            .iter()
            .map(|finding| {
                let Finding { about, verdict, what, fix } = finding;
                json!({ "about": about, "verdict": verdict.as_str(), "what": what, "fix": fix })
            })
            .collect();
        return show::line(&json!({ "ok": !findings.worst_is_fail(), "checks": checks }).to_string());
    }
    for Finding { about, verdict, what, fix } in &findings.0 {
        show::line(&format!("{:<4}  {about:<10}  {}", verdict.as_str(), show::plain(what)))?;
        if let Some(fix) = fix {
            show::line(&format!("{:18}fix: {}", "", show::plain(fix)))?;
        }
    }
    Ok(())
}

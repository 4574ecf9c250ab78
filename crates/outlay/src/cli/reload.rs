//! SIGHUP: what can be changed while a server runs is read anew, and what cannot is named.
//!
//! Settings that make no sense change nothing: what held goes on.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;

use outlay_core::ledger::Command;
use outlay_core::plan::{Plan, Plans};
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{Failure, LogFilter, log};
use crate::audit::Actor;
use crate::config::settings::{self, SETTINGS, Setting};
use crate::config::{Config, Environment, Flags, Found};
use crate::http::SharedApp;
use crate::recheck;
use crate::store::outbox::ConfiguredWebhook;

/// What holds anew without another start; beside these the tables of the file.
const RELOADED: [&Setting; 4] =
    [&settings::PUBLIC_URL, &settings::UPGRADE_URL, &settings::LOG, &settings::KEEP_DETAILS_DAYS];

/// The signals by which it is asked. Taken before anything takes long: one that comes while the store is opened would else
/// end the process, which a service manager takes for a clean end.
pub(super) fn hangups() -> io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// What a server was started with, to compare with.
pub(super) struct Reloading {
    flags: Flags,
    /// What was said where, when it was last read.
    found: Vec<Found>,
    /// The webhooks that the file named then.
    webhooks: Vec<ConfiguredWebhook>,
    log: LogFilter,
    /// Whether a person started it on a terminal, whose end is another reason for the same signal.
    on_terminal: bool,
}

impl Reloading {
    /// Reads the settings for the first time, and sets up the log.
    pub(super) fn read(flags: Flags) -> Result<(Config, Self), Failure> {
        let (config, found) = Config::inspect(&flags, &Environment::of_process());
        let config = config?;
        let log = log(&config, "info")?;
        let webhooks = webhooks(&config);
        Ok((config, Self { flags, found, webhooks, log, on_terminal: std::io::stdin().is_terminal() }))
    }

    /// Reads them again at each signal, for as long as it runs.
    pub(super) async fn at_each_hangup(mut self, hangups: io::Result<Signal>, app: SharedApp) {
        let mut hangups = match hangups {
            Ok(hangups) => hangups,
            Err(error) => {
                tracing::warn!("failed to wait for SIGHUP, so settings are read at the start alone: {error}");
                return std::future::pending().await;
            }
        };
        while hangups.recv().await.is_some() {
            if self.on_terminal && !std::io::stdin().is_terminal() {
                // The terminal is gone, and with it whoever started this.
                let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM);
                continue;
            }
            self.reload(&app).await;
        }
    }

    async fn reload(&mut self, app: &SharedApp) {
        let (config, found) = Config::inspect(&self.flags, &Environment::of_process());
        let config = match config {
            Ok(config) => config,
            Err(error) => {
                tracing::error!("the settings are not read anew, and what held goes on: failed to {error}");
                return;
            }
        };
        for setting in SETTINGS {
            let said = |found: &[Found]| found.iter().find(|found| found.setting == setting).cloned();
            // Of secrets only the place is known here.
            let differs = |(before, now): (Option<Found>, Option<Found>)| {
                let parts = |found: &Found| (found.value.clone(), setting.secret.then(|| found.place.clone()));
                before.as_ref().map(parts) != now.as_ref().map(parts)
            };
            if !RELOADED.contains(&setting) && differs((said(&self.found), said(&found))) {
                tracing::warn!("{} is another now; that holds from the next start", setting.variable);
            }
        }
        let webhooks = webhooks(&config);
        if webhooks != self.webhooks {
            tracing::warn!("the webhooks of the file are others now; that holds from the next start");
            self.webhooks = webhooks;
        }
        if let Err(error) = (self.log)(config.log.as_deref()) {
            tracing::warn!("failed to change what is logged: {error}");
        }
        app.presentation.replace(config.presentation);
        app.retention.replace(config.keep_details_days);
        if config.alerts != *app.reads.plans().alerts() {
            tracing::warn!("[alerts] in the file is another now; that holds from the next start");
        }
        match config.plans {
            Some(plans) if app.plans_are_configured => self::plans(app, &plans).await,
            None if !app.plans_are_configured => {}
            _ => tracing::warn!("whether plans stand in the file is another thing now; that holds from the next start"),
        }
        self.found = found;
        tracing::info!("the settings are read anew");
    }
}

/// The webhooks that the file names, without their secrets.
fn webhooks(config: &Config) -> Vec<ConfiguredWebhook> {
    config.webhooks.iter().map(|webhook| webhook.record.clone()).collect()
}

/// Changes the plans that are others now, and raises the alerts that this makes due.
async fn plans(app: &SharedApp, wanted: &Plans) {
    let before = app.reads.plans();
    let is_gone = |plan: &Plan| wanted.get(plan.name.as_str()).is_none();
    if before.default_plan() != wanted.default_plan() || before.all().iter().any(is_gone) {
        tracing::warn!(
            "a plan is gone, or another is the default one; plans hold as they are in the file from the next start"
        );
        return;
    }
    for plan in wanted.all().iter().filter(|plan| before.get(plan.name.as_str()) != Some(*plan)) {
        let Plan { name, tier, limits } = plan.clone();
        let command = Command::PutPlan { name, limits, tier: Some(tier) };
        match app.writer.submit_as(&Actor::here("configuration"), command).await {
            Ok(_) => tracing::info!("the plan {} is another now", plan.name),
            Err(error) => tracing::error!("failed to change the plan {}: {error}", plan.name),
        }
    }
    recheck::marked_plans(app.writer.clone(), Arc::clone(&app.reads)).await;
}

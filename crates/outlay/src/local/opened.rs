//! The store that the settings name, on disk or in a database, and its writer on a thread of its own.

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::fs::Access;
use secrecy::ExposeSecret as _;
use tokio::sync::watch;

use super::{LocalError, Purpose, STAGING_NAME, WriterEnd};
use crate::clock::SharedClock;
use crate::config::Config;
use crate::config::store::StoreAddress;
use crate::store::outbox::{ConfiguredWebhook, MailTo};
use crate::store::{Reads, Store, StoreError, embedded, postgres};
use crate::writer::{Ended, Writer};

/// The folder of what lies there only while it is used, in the data folder.
pub(super) const SCRATCH_NAME: &str = "scratch";

/// A store whose writer runs.
pub(super) struct Opened {
    pub(super) writer: Writer,
    pub(super) reads: Arc<dyn Reads>,
    pub(super) ended: watch::Receiver<WriterEnd>,
    pub(super) thread: JoinHandle<()>,
    /// The lock of a node's own folder.
    pub(super) folder: Option<std::fs::File>,
}

impl Opened {
    pub(super) fn open(config: &Config, clock: &SharedClock, purpose: Purpose) -> Result<Self, LocalError> {
        let Some(address) = &config.store else {
            let (store, reads) = embedded::open(of_folder(config, clock, purpose))?;
            remove_what_was_left(&config.data);
            return Self::run(store, reads, None);
        };
        let folder = if purpose == Purpose::Serving { node_folder(config, address)? } else { None };
        let (store, reads) = postgres::open(of_database(address, config, clock, purpose)?)?;
        Self::run(store, reads, folder)
    }

    fn run(store: impl Store, reads: Arc<dyn Reads>, folder: Option<std::fs::File>) -> Result<Self, LocalError> {
        let (writer, task) = Writer::new(store);
        let task = task.answering_beside().map_err(LocalError::Thread)?.pausing();
        let (sender, ended) = watch::channel(WriterEnd::Running);
        let thread = std::thread::Builder::new()
            .name("writer".to_owned())
            .spawn(move || {
                // Its own small runtime: the batches must not wait for the tasks that make them.
                let end = match tokio::runtime::Builder::new_current_thread().enable_time().build() {
                    Ok(runtime) => match runtime.block_on(task.run()) {
                        Ended::Closed => WriterEnd::Closed,
                        Ended::Poisoned(error) => WriterEnd::Poisoned(error.to_string()),
                    },
                    Err(error) => WriterEnd::Poisoned(error.to_string()),
                };
                sender.send_replace(end);
            })
            .map_err(LocalError::Thread)?;
        Ok(Self { writer, reads, ended, thread, folder })
    }
}

/// How the store of the data folder is opened.
fn of_folder(config: &Config, clock: &SharedClock, purpose: Purpose) -> embedded::Settings {
    embedded::Settings {
        plans: config.plans.clone(),
        mail: mail_to(config),
        webhooks: webhooks(config, purpose),
        alerts: config.alerts.clone(),
        ..embedded::Settings::new(config.data.clone(), Arc::clone(clock))
    }
}

/// Which mails are sent.
fn mail_to(config: &Config) -> MailTo {
    let of = |mail: &crate::config::receivers::MailSettings| MailTo {
        user: mail.to_users,
        operator: mail.operator.is_some(),
    };
    config.mail.as_ref().map_or_else(MailTo::default, of)
}

/// The webhooks of the configuration. A command may be run where the server's file is not: what it does not name is not to be
/// taken away.
fn webhooks(config: &Config, purpose: Purpose) -> Option<Vec<ConfiguredWebhook>> {
    (purpose == Purpose::Serving).then(|| config.webhooks.iter().map(|webhook| webhook.record.clone()).collect())
}

/// How the store of a database is opened.
pub(super) fn of_database(
    address: &StoreAddress,
    config: &Config,
    clock: &SharedClock,
    purpose: Purpose,
) -> Result<postgres::Settings, StoreError> {
    let mut settings = postgres::Settings::new(address.url().expose_secret(), Arc::clone(clock))?;
    if let Some(password) = address.password() {
        settings = settings.with_password(password);
    }
    settings.alerts = config.alerts.clone();
    settings.sharded = config.store_sharded;
    settings.require_sync = config.require_sync;
    settings.plans.clone_from(&config.plans);
    settings.mail = mail_to(config);
    settings.webhooks = webhooks(config, purpose);
    settings.own_clock = clock.is_told();
    Ok(settings)
}

/// Takes the folder of what is local to a node, such as the owner's socket. A machine on which nothing can be written may be a
/// node all the same.
fn node_folder(config: &Config, address: &StoreAddress) -> Result<Option<std::fs::File>, LocalError> {
    if config.master_key.is_none() {
        return Err(LocalError::NoMasterKey(address.to_string()));
    }
    let folder = &config.data;
    if embedded::file_path(folder).exists() {
        return Err(LocalError::OtherStore { store: address.to_string(), folder: folder.clone() });
    }
    let made = std::fs::create_dir_all(folder).and_then(|()| Ok(rustix::fs::access(folder, Access::WRITE_OK)?));
    if let Err(error) = made {
        tracing::warn!(
            "{} cannot be written to, so commands on this machine need an address and a key: {error}",
            folder.display()
        );
        return Ok(None);
    }
    let lock = embedded::lock_folder(folder)?;
    remove_what_was_left(folder);
    Ok(Some(lock))
}

/// Removes what a process that was killed left there, also a restore with whom it had not erased yet; usually nothing.
fn remove_what_was_left(folder: &Path) {
    for left in [SCRATCH_NAME, STAGING_NAME] {
        let _ = std::fs::remove_dir_all(folder.join(left));
    }
}

//! The copy of the audit log where the owner of the store's file cannot rewrite it: a file that is only appended to, such as
//! one of another user or a pipe to a collector, or standard error, which the system's journal takes.
//!
//! The store remembers how far it got, and is told so after the lines are written. So a crash in between writes them once
//! more, with the same numbers, and none is missing, also not those of commands while no server ran.

use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use thiserror::Error;

use crate::audit::line;
use crate::store::{Reads, Record};
use crate::writer::{WriteError, Writer};

/// What stands for standard error.
const STDERR: &str = "stderr";
/// Entries that are copied at once.
const ENTRIES_MAX: usize = 1_000;
/// How often is looked whether there is something new: one number in memory is compared.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The same after it failed.
const RETRY_EVERY: Duration = Duration::from_secs(5);

/// Why the copy cannot be begun.
#[derive(Debug, Error)]
#[error("open the audit log's copy {}: {source}", path.display())]
pub struct CopyError {
    path: PathBuf,
    source: io::Error,
}

#[derive(Debug, Error)]
enum Failed {
    #[error("read the audit log: {0}")]
    Read(#[from] crate::store::StoreError),
    #[error("write the audit log's copy: {0}")]
    Write(#[from] io::Error),
    #[error("note how far the audit log is copied: {0}")]
    Note(#[from] WriteError),
}

/// Where the log is copied to.
#[derive(Debug, Clone)]
pub struct AuditCopy(Option<To>);

#[derive(Debug, Clone)]
enum To {
    Stderr,
    File(PathBuf),
}

impl AuditCopy {
    /// The copy in a file, or on standard error where it is called `stderr`; `None` is nowhere.
    ///
    /// # Errors
    /// When the file cannot be appended to: a server that keeps no copy where it should must not start.
    pub fn open(place: Option<&PathBuf>) -> Result<Self, CopyError> {
        let Some(path) = place else { return Ok(Self(None)) };
        if path == Path::new(STDERR) {
            return Ok(Self(Some(To::Stderr)));
        }
        append(path).map_err(|source| CopyError { path: path.clone(), source })?;
        Ok(Self(Some(To::File(path.clone()))))
    }

    /// Copies what comes, for as long as it runs.
    pub async fn follow(&self, writer: &Writer, reads: &dyn Reads) {
        if self.0.is_none() {
            std::future::pending::<()>().await;
        }
        let mut failing = false;
        loop {
            let copied = self.copy(writer, reads).await;
            if let Err(error) = &copied
                && !failing
            {
                tracing::error!("failed to {error}; it is tried again");
            }
            failing = copied.is_err();
            tokio::time::sleep(if failing { RETRY_EVERY } else { LOOK_EVERY }).await;
        }
    }

    /// Copies what is there, before the store is closed.
    pub async fn last(&self, writer: &Writer, reads: &dyn Reads) {
        if let Err(error) = self.copy(writer, reads).await {
            tracing::error!("failed to {error}; the next start goes on there");
        }
    }

    async fn copy(&self, writer: &Writer, reads: &dyn Reads) -> Result<(), Failed> {
        let Some(to) = &self.0 else { return Ok(()) };
        if let Some(catching_up) = reads.catch_up() {
            catching_up.await?;
        }
        loop {
            let (newest, copied) = reads.audit_newest();
            if newest <= copied {
                return Ok(());
            }
            let entries = reads.audit_above(copied, ENTRIES_MAX).await?;
            let Some(last) = entries.last().map(|entry| entry.no) else { return Ok(()) };
            let deployment_id = reads.deployment_id();
            let mut text = String::new();
            for entry in &entries {
                text.push_str(&line(entry, deployment_id));
                text.push('\n');
            }
            to.write(text).await?;
            writer.put(Record::AuditCopied(last)).await?;
        }
    }
}

impl To {
    async fn write(&self, text: String) -> io::Result<()> {
        let to = self.clone();
        // A disk, or whoever reads standard error, may take its time.
        let written = tokio::task::spawn_blocking(move || match to {
            Self::Stderr => io::stderr().lock().write_all(text.as_bytes()),
            Self::File(path) => {
                // Opened each time: whoever turns logs over may have put the old one away.
                let mut file = append(&path)?;
                file.write_all(text.as_bytes())?;
                file.sync_data().or_else(|error| match error.kind() {
                    // A pipe or a terminal keeps nothing to be synced.
                    io::ErrorKind::InvalidInput => Ok(()),
                    _ => Err(error),
                })
            }
        });
        written.await.map_err(io::Error::other)?
    }
}

fn append(path: &Path) -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

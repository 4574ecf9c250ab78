//! `outlay verify`, `backup` and `restore`: what an operator does so as to sleep well.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use super::ask::read;
use super::{Exit, Failure, ServerFlags, show};
use crate::client::{Client, next_piece, whole};
use crate::config::Config;
use crate::store::check_backup;

/// Prove every counter from the operations
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay verify\n  outlay verify --json\n\n\
    It exits with 0 if all is well and 1 on any finding. It repairs nothing.")]
pub(super) struct Verify {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

#[derive(Debug, Deserialize)]
struct Verified {
    ok: bool,
    findings: Vec<FindingText>,
}

#[derive(Debug, Deserialize)]
struct FindingText {
    place: String,
    problem: String,
}

impl Verify {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        let answer = client.ask(Method::POST, "/v1/verify", None).await?;
        let verified: Verified = read(&answer)?;
        if self.json {
            show::json(&answer)?;
        } else {
            for FindingText { place, problem } in &verified.findings {
                show::line(&format!("{place}: {problem}"))?;
            }
            let sum = match verified.findings.len() {
                0 => "every counter is the sum of its operations".to_owned(),
                1 => "1 finding".to_owned(),
                count => format!("{count} findings"),
            };
            show::say(&sum);
        }
        Ok(if verified.ok { Exit::Done } else { Exit::Failed })
    }
}

/// Copy the whole store into a file, while the server goes on
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay backup outlay-2025-10-13.db\n  OUTLAY_URL=https://outlay.example.org \
    OUTLAY_KEY_FILE=admin.key outlay backup nightly.db --force\n\n\
    The file is a whole store as of one moment. It does not hold DATA/master.key: keep that elsewhere.")]
pub(super) struct Backup {
    /// The file to make
    file: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

impl Backup {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        if self.file.exists() && !self.force {
            return Err(Failure::Other(format!("{} exists; --force replaces it", self.file.display())));
        }
        let response = client.stream(Method::GET, "/v1/backup", None).await?;
        if !response.status().is_success() {
            whole(response).await?.success()?;
            return Ok(Exit::Failed);
        }
        // Beside the file and renamed at the end, so that a file of that name is always a whole one.
        let partial = with_suffix(&self.file, ".partial");
        let copied = copy(response.into_body(), &partial).await;
        let bytes = match copied.and_then(|bytes| check_backup(&partial).map(|()| bytes).map_err(Failure::from)) {
            Ok(bytes) => bytes,
            Err(failure) => {
                // Half a copy is of no use to anybody.
                let _ = fs::remove_file(&partial);
                return Err(failure);
            }
        };
        put_in_place(&partial, &self.file)?;
        show::say(&format!("{} holds the whole store, {bytes} bytes; master.key is not in it", self.file.display()));
        Ok(Exit::Done)
    }
}

async fn copy(mut body: axum::body::Body, to: &Path) -> Result<u64, Failure> {
    let writing = || format!("write {}", to.display());
    let mut file = tokio::fs::File::create(to).await.map_err(Failure::io(writing()))?;
    let mut bytes = 0;
    while let Some(piece) = next_piece(&mut body).await? {
        file.write_all(&piece).await.map_err(Failure::io(writing()))?;
        bytes += piece.len() as u64;
    }
    file.flush().await.map_err(Failure::io(writing()))?;
    file.sync_all().await.map_err(Failure::io(writing()))?;
    Ok(bytes)
}

/// Renames durably.
fn put_in_place(from: &Path, to: &Path) -> Result<(), Failure> {
    fs::rename(from, to).map_err(Failure::io(format!("put {} in place", to.display())))?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(Failure::io(format!("make {} durable", to.display())))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Make a data folder from a backup
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay restore outlay-2025-10-13.db --data /var/lib/outlay\n  \
    outlay restore outlay-2025-10-13.db --data /var/lib/outlay --force\n\n\
    The folder must be empty, or --force replaces the store in it. No server may run on it. Users who were erased after \
    the backup are erased again if their list is in the folder. Put master.key of the old folder into the new one: the \
    backup does not hold it.")]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Replace a store that is in the folder
    #[arg(long)]
    force: bool,
}

impl Restore {
    pub(super) fn run(self, config: &Config) -> Result<Exit, Failure> {
        let _ = (&self.file, self.force, config);
        Err(Failure::Other("restore".to_owned()))
    }
}

//! `outlay verify`, `backup` and `restore`: what an operator does so as to sleep well.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use http::Method;
use outlay_core::id::UserNo;
use serde::Deserialize;
use tokio::io::AsyncWriteExt as _;

use super::ask::read;
use super::{Exit, Failure, ServerFlags, runtime, show};
use crate::audit::{Action, Actor, Facts};
use crate::client::{Client, next_piece, whole};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::http::Kind;
use crate::local::STAGING_NAME;
use crate::seal::MASTER_KEY_FILE;
use crate::store::embedded::Erasure;
use crate::store::{Record, Store as _, check_backup, embedded};

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
#[command(after_help = "Examples:\n  outlay backup outlay-2025-10-13.db\n  OUTLAY_URL=http://10.0.0.5:4780 \
    OUTLAY_KEY_FILE=admin.key outlay backup nightly.db --force\n\n\
    The file is a whole store as of one moment. It does not hold DATA/master.key: keep that elsewhere. A store in PostgreSQL \
    is backed up by pgBackRest or pg_dump; then this only says so (exit code 2).")]
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
            let refused = whole(response).await?.success();
            return match refused {
                // It is no failure of the server: something else is to be called.
                Err(refusal) if refusal.is_of(Kind::BackedUpElsewhere) => Err(Failure::Usage(refusal.to_string())),
                refused => refused.map(|_| Exit::Failed).map_err(Failure::from),
            };
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
    outlay restore outlay-2025-10-13.db --data /var/lib/outlay --force\n  \
    outlay restore outlay-2025-10-13.db --data /srv/outlay --erasures /var/log/outlay/audit.jsonl\n\n\
    The folder must be empty, or --force replaces the store in it. No server may run on it. Users who were erased after \
    the backup are erased again if their list is in the folder, or named with --erasures. Put master.key of the old folder into the new one: the \
    backup does not hold it.")]
pub(super) struct Restore {
    /// The backup
    file: PathBuf,
    /// Replace a store that is in the folder
    #[arg(long)]
    force: bool,
    /// A list of erasures, DATA/erasures of the old folder, or a copy of the audit log (OUTLAY_AUDIT_LOG): whom it names is
    /// erased again; may be given more than once
    #[arg(long, value_name = "FILE")]
    erasures: Vec<PathBuf>,
}

impl Restore {
    pub(super) fn run(&self, config: &Config) -> Result<Exit, Failure> {
        if let Some(store) = &config.store {
            return Err(Failure::Usage(format!(
                "{store} is restored by its own tools: pgBackRest, or pg_restore into an empty database; then run `outlay \
                 verify`, and erase again whom the audit log's copy names as erased since. To restore a backup into a data \
                 folder, leave out --store and OUTLAY_STORE"
            )));
        }
        check_backup(&self.file)?;
        let mut lists = self.erasures.iter().map(|file| read_erasures(file)).collect::<Result<Vec<_>, _>>()?;
        let folder = &config.data;
        if !self.force && holds_something(folder)? {
            let advice = "is not empty; --force replaces the store in it, or name another folder with --data";
            return Err(Failure::Other(format!("{} {advice}", folder.display())));
        }
        let _lock = embedded::lock_folder(folder)?;
        let list = folder.join(embedded::ERASURES_NAME);
        let listed = embedded::read_erasures(&list)?.into_iter();
        lists.push(listed.map(|erasure| Listed { erasure, deployment: None }).collect());
        // Made in a folder of its own: the store that takes the place of another holds nobody who was erased, whenever this
        // is cut off.
        let staging = folder.join(STAGING_NAME);
        remove(fs::remove_dir_all(&staging), "remove what an earlier restore left")?;
        fs::create_dir(&staging).map_err(Failure::io(format!("make {}", staging.display())))?;
        let copy = embedded::file_path(&staging);
        fs::copy(&self.file, &copy).map_err(Failure::io(format!("copy the backup to {}", copy.display())))?;
        // A backup that nobody may write to is one all the same.
        fs::set_permissions(&copy, fs::Permissions::from_mode(0o600))
            .map_err(Failure::io(format!("write {}", copy.display())))?;
        let erased = runtime(false)?.block_on(make_store(&staging, &lists))?;
        if with_suffix(&copy, "-wal").metadata().is_ok_and(|log| log.len() > 0) {
            return Err(Failure::Other("there is no space to put the restored store together".to_owned()));
        }
        let made_list = staging.join(embedded::ERASURES_NAME);
        if made_list.exists() {
            put_in_place(&made_list, &list)?;
        }
        let place = embedded::file_path(folder);
        // The log of the store that was here belongs to no other.
        for suffix in ["-wal", "-shm"] {
            remove(fs::remove_file(with_suffix(&place, suffix)), "remove the log of the old store")?;
        }
        put_in_place(&copy, &place)?;
        remove(fs::remove_dir_all(&staging), "remove what is not needed any more")?;
        show::say(&format!("{} holds the store of {}", folder.display(), self.file.display()));
        show::say(
            "keys, ended tokens and webhooks are as they were then: what was revoked since is to be revoked again",
        );
        if erased > 0 {
            show::say(&format!("{erased} users who were erased after the backup are erased again"));
        }
        if config.master_key.is_none() && !folder.join(MASTER_KEY_FILE).exists() {
            show::say(&format!(
                "{MASTER_KEY_FILE} is not in a backup: put the old one into {}, or set OUTLAY_MASTER_KEY, before the \
                 server starts",
                folder.display()
            ));
        }
        Ok(Exit::Done)
    }
}

/// What is not there need not be removed.
fn remove(removed: std::io::Result<()>, what: &str) -> Result<(), Failure> {
    match removed {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Failure::io(what)(error)),
        _ => Ok(()),
    }
}

/// Whether a folder holds more than what is put there to go with a backup.
fn holds_something(folder: &Path) -> Result<bool, Failure> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(Failure::io(format!("read {}", folder.display()))(error)),
    };
    for entry in entries {
        let name = entry.map_err(Failure::io(format!("read {}", folder.display())))?.file_name();
        if ![MASTER_KEY_FILE, embedded::ERASURES_NAME, embedded::LOCK_NAME, STAGING_NAME, "lost+found"]
            .iter()
            .any(|with| name == *with)
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Makes a store of the copy in a folder, without those whom the lists name. Gives how many were still in it.
async fn make_store(folder: &Path, lists: &[Vec<Listed>]) -> Result<usize, Failure> {
    let settings = embedded::Settings::new(folder.to_owned(), SystemClock::shared());
    let (mut store, reads) = embedded::open(settings)?;
    let deployment = format!("{:032x}", reads.deployment_id());
    // A log may be of several stores.
    let ours = |listed: &&Listed| listed.deployment.as_ref().is_none_or(|of| *of == deployment);
    let also: Vec<Erasure> = lists.iter().flatten().filter(ours).map(|listed| listed.erasure).collect();
    let erased = store.restored(&also)?;
    let event =
        Actor::here("restore").did(Action::StoreRestored).after(Facts::new().json("erased", &erased.to_string()));
    store.put(Record::Events(vec![event]), None).await?;
    drop(reads);
    store.close().await?;
    Ok(erased)
}

/// Somebody on a list of erasures, and of which store, where the list says so.
struct Listed {
    erasure: Erasure,
    deployment: Option<String>,
}

/// The members of an entry of the audit log that an erasure has.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuditLine {
    action: String,
    deployment: Option<String>,
    user_number: Option<u64>,
    after: Option<Tagged>,
}

#[derive(Debug, Deserialize)]
struct Tagged {
    tag: Option<String>,
}

/// Reads whom a list of erasures, or a copy of the audit log, names. A line that is neither stops it: a list that is read in
/// part would leave somebody unerased.
fn read_erasures(file: &Path) -> Result<Vec<Listed>, Failure> {
    let text = fs::read_to_string(file).map_err(Failure::io(format!("read {}", file.display())))?;
    let mut listed = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        if let Some(erasure) = Erasure::parse(line) {
            listed.push(Listed { erasure, deployment: None });
            continue;
        }
        let neither = || {
            let place = format!("{}, line {}", file.display(), index + 1);
            Failure::Other(format!("{place}: is neither of a list of erasures nor of an audit log"))
        };
        let entry: AuditLine = serde_json::from_str(line).map_err(|_| neither())?;
        if entry.action == Action::UserErased.as_str() {
            let tag = entry.after.and_then(|after| after.tag).and_then(|tag| tag.parse().ok());
            let (user_no, tag) = entry.user_number.map(UserNo).zip(tag).ok_or_else(neither)?;
            listed.push(Listed { erasure: Erasure { user_no, tag }, deployment: entry.deployment });
        }
    }
    Ok(listed)
}

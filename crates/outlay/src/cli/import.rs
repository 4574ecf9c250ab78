//! `outlay import`: rows of other systems, and exports of this one, recorded once each however often it is run.
//!
//! [`rows`] says what is to be done for each row, [`lines`] in which order, [`holds`] opens sessions; [`send`] does it in batches. What a row means is the
//! server's to say: here only the forms are known.

mod holds;
mod lines;
mod rows;
mod send;

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Exit, Failure, ServerFlags, show};
use crate::client::Client;
use crate::clock::SystemClock;
use lines::Open;
use rows::{Row, Skipped, Step};
use send::Sender;

/// Record the rows of a file, each once
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay import usage.csv\n  outlay import usage.jsonl --json\n  \
    outlay export --out all.jsonl && outlay import all.jsonl --data ./elsewhere\n\n\
    A CSV file names the fields of an operation in its first line (operationId, userId, usageType, feature, provider, \
    cost, isBillableRun, timestamp, ...). A JSON Lines file has an operation a line, or the lines of `outlay export`.\n\n\
    It is safe to run again: what is recorded already changes nothing. A row without operationId gets one from the \
    file's content and its line, so an edited file counts as another one. A row without timestamp counts as of the import. \
    Rows that are refused go to FILE.rejected.jsonl with their line and the reason; then the exit code is 1.\n\n\
    Of an export, facts come back: users, operations, reversals, how sessions ended, and the holds of sessions that still \
    run. A hold for which the limits have no room any more is lost, and is rejected with the reason. What does not come \
    back is what only that server can say: when rows were recorded, details that its retention had emptied, what ended sessions had held, sessions that ended \
    without a step, denials. Alerts are made anew by the operations that cross a threshold; no messages are sent. To move a \
    whole server use `outlay backup` and `outlay restore`, which keep everything.")]
pub(super) struct Import {
    /// The file
    file: PathBuf,
    /// What the file is; told by its name or its beginning if absent
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// Print the summary as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

/// How a file is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// Comma-separated values with a header
    Csv,
    /// One JSON object a line
    Jsonl,
}

/// What became of the rows of a file.
#[derive(Debug, Default)]
pub struct Imported {
    /// Operations and reversals.
    pub recorded: u64,
    /// The same that were there before.
    pub duplicates: u64,
    /// Users that were set.
    pub users: u64,
    /// Sessions that ended, or hold again.
    pub sessions: u64,
    /// Sessions of an export that come back by their steps alone.
    pub sessions_by_steps: u64,
    /// Sessions of an export that are over and never had a step: they do not come back.
    pub sessions_without_steps: u64,
    /// Holds of running sessions that did not come back, or not in full; each is a rejection too.
    pub holds_lost: u64,
    /// Denials of an export, which are not read back.
    pub denials: u64,
    /// Alerts of an export, which are made anew.
    pub alerts: u64,
    /// Rows that were refused.
    pub rejected: u64,
    /// Operations that got their id from the file's content.
    pub ids_made: u64,
    /// Operations that did not say when they were.
    pub untimed: u64,
    /// Operations whose details retention had emptied where they come from.
    pub trimmed: u64,
}

impl Import {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        let summary = import(&self.file, self.format, client).await?;
        self.print(&summary)?;
        Ok(if summary.rejected == 0 { Exit::Done } else { Exit::Failed })
    }

    fn print(&self, summary: &Imported) -> Result<(), Failure> {
        let Imported { recorded, duplicates, users, sessions, rejected, ids_made, untimed, trimmed, .. } = summary;
        let Imported { sessions_by_steps, sessions_without_steps, holds_lost, denials, alerts, .. } = summary;
        let skipped = sessions_by_steps + sessions_without_steps + denials + alerts;
        let rejected_file = (*rejected > 0).then(|| rejected_path(&self.file).display().to_string());
        if self.json {
            let summary = json!({
                "recorded": recorded, "duplicates": duplicates, "users": users, "sessions": sessions,
                "skipped": skipped, "sessionsByTheirSteps": sessions_by_steps,
                "sessionsWithoutSteps": sessions_without_steps, "holdsLost": holds_lost,
                "denialsLeftOut": denials, "alertsMadeAnew": alerts, "rejected": rejected, "idsMade": ids_made, "withoutTimestamp": untimed,
                "withoutDetails": trimmed,
                "rejectedFile": rejected_file,
            });
            return show::line(&summary.to_string());
        }
        show::line(&format!("recorded {recorded}, recorded before {duplicates}, rejected {rejected}"))?;
        if *users + *sessions + skipped > 0 {
            show::line(&format!(
                "users set {users}, sessions ended or held {sessions}, by their steps {sessions_by_steps}; alerts made anew, \
                 {alerts} before; left out: denials {denials}, sessions that never had a step {sessions_without_steps}"
            ))?;
        }
        if *holds_lost > 0 {
            let holds = if *holds_lost == 1 { "hold" } else { "holds" };
            show::line(&format!(
                "{holds_lost} {holds} of running sessions lost, in full or in part: the limits have no room"
            ))?;
        }
        if *trimmed > 0 {
            show::say(&format!(
                "{trimmed} operations come without details: retention had emptied them where they come from"
            ));
        }
        if *untimed > 0 {
            show::say(&format!("{untimed} rows have no timestamp: they count as of the import, in the current month"));
        }
        if *ids_made > 0 {
            show::say(&format!(
                "{ids_made} rows had no operationId and got one from the file's content and their line: this file can be \
                 imported again, but an edited one counts as new"
            ));
        }
        if let Some(file) = rejected_file {
            show::say(&format!("the rejected rows are in {file}, each with its line and the reason"));
        }
        Ok(())
    }
}

/// Does what `outlay import` does with a file, and prints nothing.
///
/// # Errors
/// Why the file cannot be read, or the rest of it not recorded now.
pub async fn import_file(path: &Path, client: &Client) -> Result<Imported, String> {
    import(path, None, client).await.map_err(|failure| failure.to_string())
}

async fn import(path: &Path, format: Option<Format>, client: &Client) -> Result<Imported, Failure> {
    let mut importing = Importing::new(path, client)?;
    match format.map_or_else(|| guess(path), Ok)? {
        Format::Csv => rows::csv(path, &mut importing).await?,
        Format::Jsonl => {
            let now = SystemClock::shared().wall();
            lines::json_lines(path, now, &mut importing).await?;
        }
    }
    importing.finish().await
}

/// Tells the format by the file's name, or else by how it begins.
fn guess(path: &Path) -> Result<Format, Failure> {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_lowercase();
    match extension.as_str() {
        "csv" => return Ok(Format::Csv),
        "jsonl" | "ndjson" => return Ok(Format::Jsonl),
        _ => {}
    }
    let mut beginning = [0; 512];
    let read = File::open(path).and_then(|mut file| std::io::Read::read(&mut file, &mut beginning));
    let read = read.map_err(Failure::io(format!("read {}", path.display())))?;
    let first = beginning.iter().take(read).find(|byte| !byte.is_ascii_whitespace());
    Ok(if first == Some(&b'{') { Format::Jsonl } else { Format::Csv })
}

/// An import on its way.
#[derive(Debug)]
struct Importing<'a> {
    sender: Sender<'a>,
    summary: Imported,
    rejected: Rejected,
    bar: ProgressBar,
}

impl<'a> Importing<'a> {
    fn new(path: &Path, client: &'a Client) -> Result<Self, Failure> {
        let bytes = std::fs::metadata(path).map_err(Failure::io(format!("read {}", path.display())))?.len();
        // Drawn on standard error, and only if that is a terminal.
        let bar = ProgressBar::new(bytes);
        if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent:>3} %  {msg}  {elapsed}") {
            bar.set_style(style);
        }
        Ok(Self {
            sender: Sender::new(client),
            summary: Imported::default(),
            rejected: Rejected { path: rejected_path(path), file: None },
            bar,
        })
    }

    /// Does what a row asks for, sooner or later, but in order.
    async fn take(&mut self, row: Row) -> Result<(), Failure> {
        let done = match row.step {
            Ok(Step::Skip(skipped)) => {
                *match skipped {
                    Skipped::Session => &mut self.summary.sessions_by_steps,
                    Skipped::Unused => &mut self.summary.sessions_without_steps,
                    Skipped::Denial => &mut self.summary.denials,
                    Skipped::Alert => &mut self.summary.alerts,
                } += 1;
                return Ok(());
            }
            Err(reason) => return self.reject(row.line, &row.original, &reason),
            Ok(Step::Operation { body, id_made, timed, trimmed }) => {
                self.summary.trimmed += u64::from(trimmed);
                self.summary.ids_made += u64::from(id_made);
                self.summary.untimed += u64::from(!timed);
                self.sender.operation(row.line, row.original, body).await?
            }
            Ok(step) => self.sender.single(row.line, row.original, step).await?,
        };
        self.count(done)
    }

    /// Opens a session, after all that came before it; gives it back if it is open.
    async fn open(&mut self, mut open: Open) -> Result<Option<Open>, Failure> {
        let done = self.sender.flush().await?;
        self.count(done)?;
        match open.opening.open(&self.sender, open.line).await? {
            Ok(()) => Ok(Some(open)),
            Err(reason) => self.lose(&open, &reason).map(|()| None),
        }
    }

    /// Ends the opening of a session, after its steps.
    async fn settle(&mut self, open: Open) -> Result<(), Failure> {
        let done = self.sender.flush().await?;
        self.count(done)?;
        match open.opening.settle(&self.sender, open.line).await? {
            Ok(()) => self.summary.sessions += 1,
            Err(reason) => self.lose(&open, &reason)?,
        }
        Ok(())
    }

    fn lose(&mut self, open: &Open, reason: &str) -> Result<(), Failure> {
        self.summary.holds_lost += u64::from(open.opening.runs());
        self.reject(open.line, &open.original, reason)
    }

    fn count(&mut self, done: Vec<send::Done>) -> Result<(), Failure> {
        for done in done {
            match done.result {
                Ok(send::What::Recorded) => self.summary.recorded += 1,
                Ok(send::What::Duplicate) => self.summary.duplicates += 1,
                Ok(send::What::User) => self.summary.users += 1,
                Ok(send::What::Session) => self.summary.sessions += 1,
                Ok(send::What::Nothing) => self.summary.sessions_without_steps += 1,
                Err(reason) => self.reject(done.line, &done.original, &reason)?,
            }
        }
        self.bar.set_message(format!("{} recorded, {} rejected", self.summary.recorded, self.summary.rejected));
        Ok(())
    }

    fn reject(&mut self, line: u64, original: &[u8], reason: &str) -> Result<(), Failure> {
        self.summary.rejected += 1;
        self.rejected.add(line, original, reason)
    }

    /// Moves the bar to this place in the file.
    fn reached(&self, bytes: u64) {
        self.bar.set_position(bytes);
    }

    async fn finish(mut self) -> Result<Imported, Failure> {
        let done = self.sender.flush().await?;
        self.count(done)?;
        self.rejected.finish(self.summary.rejected)?;
        self.bar.finish_and_clear();
        Ok(self.summary)
    }
}

fn rejected_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".rejected.jsonl");
    name.into()
}

/// The file of rejected rows, made with the first one.
#[derive(Debug)]
struct Rejected {
    path: PathBuf,
    file: Option<BufWriter<File>>,
}

impl Rejected {
    fn add(&mut self, line: u64, original: &[u8], reason: &str) -> Result<(), Failure> {
        let writing = || format!("write {}", self.path.display());
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::new(File::create(&self.path).map_err(Failure::io(writing()))?)),
        };
        let row = String::from_utf8_lossy(original);
        // As it was where it is JSON, so that it can be mended and imported; else as a text.
        let row = match serde_json::from_str::<&serde_json::value::RawValue>(&row) {
            Ok(json) => json.get().to_owned(),
            Err(_) => json!(row).to_string(),
        };
        let written = writeln!(file, "{{\"line\":{line},\"reason\":{},\"row\":{row}}}", json!(reason));
        written.map_err(Failure::io(writing()))
    }

    /// Writes all out; a file that an earlier run left says nothing any more if nothing was rejected now.
    fn finish(&mut self, rejected: u64) -> Result<(), Failure> {
        let writing = || format!("write {}", self.path.display());
        if let Some(file) = &mut self.file {
            file.flush().map_err(Failure::io(writing()))?;
        } else if rejected == 0 && self.path.exists() {
            std::fs::remove_file(&self.path).map_err(Failure::io(format!("remove {}", self.path.display())))?;
        }
        Ok(())
    }
}

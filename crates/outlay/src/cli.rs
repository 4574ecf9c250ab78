//! The command line: arguments to one function per subcommand to an exit code.
//!
//! It reads the settings once, sets up the log, and leaves the work to a file per family of commands. A command that needs
//! the data asks a [`crate::client::Client`] and knows nothing of where it is.

#![expect(clippy::doc_markdown, reason = "the comments on arguments are the help text, which is no Markdown")]

mod ask;
mod audit;
mod budget;
mod check;
mod demo;
mod doctor;
mod export;
mod follow;
mod import;
mod keys;
mod maintain;
mod man;
mod migrate;
mod reload;
mod schema;
mod serve;
mod show;
mod tokens;
mod top;
mod webhooks;

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, Parser, Subcommand};
use thiserror::Error;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, fmt, reload as filter_reload};

use crate::client::{AskError, Client, ClientError, Refusal};
use crate::config::{Config, ConfigError, Environment, Flags, LogFormat, settings};
use crate::local::Purpose;
use crate::store::StoreError;

pub use import::{Imported, import_file};

/// The exit codes; scripts may rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// What was asked is done; of a check, the answer is yes.
    Done = 0,
    /// It failed, or was refused; of `afford` and `verify`, the answer is no.
    Failed = 1,
    /// The arguments or settings make no sense; nothing was tried.
    BadUsage = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] ConfigError),
    #[error("{0}")]
    Usage(String),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{what}: {source}")]
    Io { what: String, source: std::io::Error },
    #[error("{0}")]
    Other(String),
    /// Nobody reads what is printed any more.
    #[error("print: nobody reads it")]
    Unread,
}

impl From<AskError> for Failure {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Client(error) => error.into(),
            AskError::Refused(refusal) => refusal.into(),
        }
    }
}

impl Failure {
    /// An error of the operating system, with what was tried, such as `read rows.csv`.
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    const fn exit(&self) -> Exit {
        match self {
            Self::Client(ClientError::Store { source, .. }) if source.is_of_settings() => Exit::BadUsage,
            Self::Settings(_) | Self::Usage(_) => Exit::BadUsage,
            Self::Client(_) | Self::Refused(_) | Self::Store(_) | Self::Io { .. } | Self::Other(_) | Self::Unread => {
                Exit::Failed
            }
        }
    }
}

/// The budget ledger of an application's AI features.
#[derive(Debug, Parser)]
#[command(
    name = "outlay",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    max_term_width = 100,
    after_help = "Examples:\n  outlay demo                          try it, with sample data\n  \
        outlay serve --open                  start it on this machine, without keys\n  \
        outlay keys create --role app        make a key for the application\n  \
        outlay budget bgtfrdsZ --watch       what a user used and has left, as it changes\n  \
        outlay top                           who costs most this month\n\n\
        Exit codes: 0 done, 1 failed (or the answer is no), 2 bad usage.\n\
        `outlay serve --help` lists every setting with its variable and its key in outlay.toml."
)]
struct Cli {
    #[command(flatten)]
    settings: CommonFlags,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
struct CommonFlags {
    /// The data folder [OUTLAY_DATA; default ./outlay-data]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Common options")]
    data: Option<PathBuf>,
    /// The PostgreSQL database that holds the store in place of the data folder; its password is better kept in
    /// OUTLAY_STORE_PASSWORD_FILE [OUTLAY_STORE]
    #[arg(long, global = true, value_name = "URL", help_heading = "Common options")]
    store: Option<String>,
    /// The configuration file [OUTLAY_CONFIG; default ./outlay.toml, if there is one]
    #[arg(long, global = true, value_name = "FILE", help_heading = "Common options")]
    config: Option<PathBuf>,
    /// What is logged to standard error, such as debug [OUTLAY_LOG]
    #[arg(long, global = true, value_name = "FILTER", help_heading = "Common options")]
    log: Option<String>,
    /// text, or json for one object a line [OUTLAY_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FORMAT", help_heading = "Common options")]
    log_format: Option<String>,
}

/// Which server a command asks.
#[derive(Debug, Args)]
struct ServerFlags {
    /// The server to ask, with the key in OUTLAY_KEY; else the one on the data folder, else the folder itself [OUTLAY_URL]
    #[arg(long, value_name = "URL", help_heading = "Common options")]
    url: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Serve),
    Demo(demo::Demo),
    Record(ask::Record),
    Afford(ask::Afford),
    Budget(budget::BudgetOf),
    Top(top::Top),
    Import(import::Import),
    Export(export::Export),
    Erase(export::Erase),
    Keys(keys::Keys),
    Tokens(tokens::Tokens),
    Audit(audit::Audit),
    Webhooks(webhooks::Webhooks),
    Verify(maintain::Verify),
    Backup(maintain::Backup),
    Migrate(migrate::Migrate),
    Restore(maintain::Restore),
    Doctor(doctor::Doctor),
    Config(check::Settings),
    Schema(schema::Schema),
    Completions(Completions),
    Man(man::Man),
}

/// Write the completions of a shell to standard output
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay completions bash > ~/.local/share/bash-completion/completions/outlay\n  \
    outlay completions zsh > ~/.zfunc/_outlay\n  outlay completions fish > ~/.config/fish/completions/outlay.fish")]
struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

/// Runs the program with the arguments of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are errors to clap too; only they go to standard output.
            let _ = error.print();
            return if error.use_stderr() { Exit::BadUsage.into() } else { Exit::Done.into() };
        }
    };
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            if !matches!(failure, Failure::Unread) {
                show::complain(&failure);
            }
            failure.exit().into()
        }
    }
}

fn run(cli: Cli) -> Result<Exit, Failure> {
    // What is written here says who cost what: only its owner may read it.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let Cli { settings: common, command } = cli;
    let mut flags = Flags::default();
    flags.say(&settings::CONFIG, common.config);
    flags.say(&settings::LOG, common.log);
    flags.say(&settings::LOG_FORMAT, common.log_format);
    if let Command::Demo(demo) = command {
        if common.store.is_some() {
            let why = "the demo keeps its sample data in a folder of its own: leave out --store";
            return Err(Failure::Usage(why.to_owned()));
        }
        // The demo empties and fills its folder: one that was meant for a real server must not be it.
        return demo.run(common.data, flags);
    }
    flags.say(&settings::DATA, common.data);
    flags.say(&settings::STORE, common.store);
    match command {
        Command::Serve(serve) => serve.run(flags),
        Command::Migrate(migrate) => migrate.run(&flags),
        Command::Completions(completions) => {
            let mut script = Vec::new();
            clap_complete::generate(completions.shell, &mut Cli::command(), "outlay", &mut script);
            show::bytes(&script)?;
            Ok(Exit::Done)
        }
        Command::Doctor(doctor) => doctor.run(flags),
        Command::Config(settings) => settings.run(flags),
        Command::Schema(schema) => schema.run(),
        Command::Man(man) => man.run(Cli::command()),
        Command::Restore(restore) => restore.run(&read_config(&flags, "warn")?),
        Command::Record(record) => with_client(flags, record.server.url.clone(), record, ask::Record::run),
        Command::Afford(afford) => with_client(flags, afford.server.url.clone(), afford, ask::Afford::run),
        Command::Budget(budget) => with_client(flags, budget.server.url.clone(), budget, budget::BudgetOf::run),
        Command::Top(top) => with_client(flags, top.server.url.clone(), top, top::Top::run),
        Command::Import(import) => with_client(flags, import.server.url.clone(), import, import::Import::run),
        Command::Export(export) => with_client(flags, export.server.url.clone(), export, export::Export::run),
        Command::Erase(erase) => with_client(flags, erase.server.url.clone(), erase, export::Erase::run),
        Command::Keys(keys) => match keys.rotation() {
            Ok(rotation) => runtime(false)?.block_on(rotation.run(&read_config(&flags, "warn")?)),
            Err(keys) => with_client(flags, keys.url(), keys, keys::Keys::run),
        },
        Command::Tokens(tokens) => with_client_for(Purpose::Serving, flags, tokens.url(), tokens, tokens::Tokens::run),
        Command::Audit(audit) => with_client(flags, audit.server.url.clone(), audit, audit::Audit::run),
        Command::Webhooks(webhooks) => with_client(flags, webhooks.url(), webhooks, webhooks::Webhooks::run),
        Command::Verify(verify) => with_client(flags, verify.server.url.clone(), verify, maintain::Verify::run),
        Command::Backup(backup) => with_client(flags, backup.server.url.clone(), backup, maintain::Backup::run),
        Command::Demo(_) => Ok(Exit::BadUsage),
    }
}

/// Runs a command that asks the data, wherever it is, and closes what was opened for it.
fn with_client<C>(
    flags: Flags,
    url: Option<String>,
    command: C,
    run: impl AsyncFnOnce(C, &Client) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    with_client_for(Purpose::Command, flags, url, command, run)
}

fn with_client_for<C>(
    purpose: Purpose,
    mut flags: Flags,
    url: Option<String>,
    command: C,
    run: impl AsyncFnOnce(C, &Client) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    flags.say(&settings::URL, url);
    let config = read_config(&flags, "warn")?;
    runtime(false)?.block_on(async {
        let client = Client::open_for(&config, purpose).await?;
        let ran = Box::pin(run(command, &client)).await;
        let closed = client.close().await;
        let exit = ran?;
        closed?;
        Ok(exit)
    })
}

/// Reads the settings and sets up the log as they say.
fn read_config(flags: &Flags, log_default: &'static str) -> Result<Config, Failure> {
    let config = Config::read(flags, &Environment::of_process())?;
    drop(log(&config, log_default)?);
    Ok(config)
}

/// What sets what is logged from now on; absent is the command's own default.
type LogFilter = Box<dyn Fn(Option<&str>) -> Result<(), String> + Send + Sync>;

/// Sets up the log as the settings say.
fn log(config: &Config, default: &'static str) -> Result<LogFilter, Failure> {
    let filter = move |said: Option<&str>| EnvFilter::new(said.unwrap_or(default));
    let (filtering, handle) = filter_reload::Layer::new(filter(config.log.as_deref()));
    let lines = fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal());
    let lines = match config.log_format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    let set = tracing_subscriber::registry().with(filtering).with(lines).try_init();
    set.map_err(|error| Failure::Other(format!("set up the log: {error}")))?;
    for variable in &config.unknown_variables {
        tracing::warn!("{variable} is set and means nothing; `outlay serve --help` lists the variables");
    }
    Ok(Box::new(move |said| handle.reload(filter(said)).map_err(|error| error.to_string())))
}

/// The runtime of a server, or of a command that does one thing.
fn runtime(server: bool) -> Result<tokio::runtime::Runtime, Failure> {
    let mut builder = if server {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().map_err(Failure::io("start the runtime"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }
}

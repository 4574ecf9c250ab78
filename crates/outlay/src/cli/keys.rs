//! `outlay keys`: keys are made, listed and revoked; shown once and never again.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ask::{read, to_bytes};
use super::serve::opening;
use super::{Exit, Failure, ServerFlags, show};
use crate::audit::{Action, Actor, Facts};
use crate::client::{Client, segment};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::http::tokens::{TokensError, reseal};
use crate::local::{Local, Purpose};
use crate::seal::{MasterKey, SealError, read_key};
use crate::store::Record;

/// Make, list and revoke keys
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outlay keys create --role app --description \"the web shop\"\n  outlay keys list\n  \
    outlay keys revoke key_7Qm2ZkXv1rT9bLcE"
)]
pub(super) struct Keys {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Create(Create),
    List(List),
    Revoke(Revoke),
    RotateMaster(RotateMaster),
}

/// What the holder of a key may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    /// Read, but no exports, keys or webhooks
    Viewer,
    /// What the application does: read, record, hold, mint user tokens
    App,
    /// Everything
    Admin,
}

/// Make a key; it is shown once
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay keys create --role app --description \"the web shop\"\n  \
    export OUTLAY_KEY=$(outlay keys create --role viewer)\n\n\
    The key alone goes to standard output, all else to standard error. What is kept of it is a digest.")]
struct Create {
    /// What its holder may do
    #[arg(long, value_enum)]
    role: RoleName,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// When it ends by itself, such as 2026-01-01T00:00:00Z; never if absent
    #[arg(long, value_name = "TIME")]
    expires_at: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// List all keys, without what would let anybody use them
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay keys list\n  outlay keys list --json")]
struct List {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// End a key at once
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay keys revoke key_7Qm2ZkXv1rT9bLcE")]
struct Revoke {
    /// The key's id, as `outlay keys list` shows it
    id: String,
    #[command(flatten)]
    server: ServerFlags,
}

/// Change the key under which secrets are sealed in the data folder; no server may run on it
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay keys rotate-master\n  \
    OUTLAY_MASTER_KEY_FILE=old.key outlay keys rotate-master --to new.key\n\n\
    It may be cut off at any time and run again. Keys and user tokens stay good. A backup made before is opened with \
    the old key only.")]
pub(super) struct RotateMaster {
    /// A file with the new key, 32 bytes in base64, where OUTLAY_MASTER_KEY is used; else one is made in the folder
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

impl RotateMaster {
    pub(super) async fn run(self, config: &Config) -> Result<Exit, Failure> {
        if let Some(store) = &config.store
            && (config.master_key.is_none() || self.to.is_none())
        {
            return Err(Failure::Usage(format!(
                "the secrets in {store} are sealed under OUTLAY_MASTER_KEY, which all nodes share: stop every node, run this \
                 with OUTLAY_MASTER_KEY_FILE for the old key and --to for the new one, and start them with that"
            )));
        }
        let sealing = |error: SealError| Failure::Other(format!("failed to {error}"));
        let local =
            Local::open(config, SystemClock::shared(), Purpose::Command).await.map_err(|error| opening(&error))?;
        let app = &local.app;
        let master = match (&config.master_key, &self.to) {
            (None, None) => MasterKey::begin_change(&config.data, &app.ids).map_err(sealing)?,
            (Some(old), Some(new)) => MasterKey::new(old).followed_by(&read_key(new).map_err(sealing)?),
            (Some(_), None) => {
                let why = "the master key is that of OUTLAY_MASTER_KEY: name the file of a new one with --to";
                return Err(Failure::Other(why.to_owned()));
            }
            (None, Some(_)) => {
                let why = "the master key is in the data folder, where a new one is made: leave out --to";
                return Err(Failure::Other(why.to_owned()));
            }
        };
        let mut sealed = reseal(&master, &app.writer, &*app.reads, &app.ids).await;
        if let Ok(count) = sealed {
            let facts = Facts::new().json("secrets", &count.to_string());
            let event = Actor::here("socket").did(Action::MasterKeyRotated).after(facts);
            let noted = app.writer.put(Record::Events(vec![event])).await;
            sealed = noted.map(|()| count).map_err(TokensError::Write);
        }
        let closed = local.close().await;
        let count = sealed.map_err(|error| Failure::Other(format!("failed to {error}")))?;
        closed.map_err(|error| Failure::Other(format!("failed to {error}")))?;
        if self.to.is_none() {
            MasterKey::finish_change(&config.data).map_err(sealing)?;
            show::say("keep a copy of the new master.key elsewhere: backups do not hold it");
        } else {
            show::say("set OUTLAY_MASTER_KEY to the new key before the next start");
        }
        show::say(&format!("{count} secrets are sealed anew"));
        Ok(Exit::Done)
    }
}

impl Keys {
    /// The change of the master key, which needs the folder itself and no server.
    pub(super) fn rotation(self) -> Result<RotateMaster, Self> {
        match self.command {
            KeysCommand::RotateMaster(rotation) => Ok(rotation),
            _ => Err(self),
        }
    }

    /// The server that was named, whichever command it was.
    pub(super) fn url(&self) -> Option<String> {
        let server = match &self.command {
            KeysCommand::RotateMaster(_) => return None,
            KeysCommand::Create(Create { server, .. })
            | KeysCommand::List(List { server, .. })
            | KeysCommand::Revoke(Revoke { server, .. }) => server,
        };
        server.url.clone()
    }

    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        match self.command {
            KeysCommand::Create(create) => create.run(client).await,
            KeysCommand::List(list) => list.run(client).await,
            KeysCommand::RotateMaster(_) => Err(Failure::Other("a server cannot change the master key".to_owned())),
            KeysCommand::Revoke(revoke) => {
                let path = format!("/v1/keys/{}", segment(&revoke.id));
                client.ask(Method::DELETE, &path, None).await?;
                show::say(&format!("{} is revoked", revoke.id));
                Ok(Exit::Done)
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<Exit, Failure> {
        let role = match self.role {
            RoleName::Viewer => "viewer",
            RoleName::App => "app",
            RoleName::Admin => "admin",
        };
        let mut body = Map::new();
        body.insert("role".to_owned(), role.into());
        body.extend(self.description.map(|text| ("description".to_owned(), text.into())));
        body.extend(self.expires_at.map(|time| ("expiresAt".to_owned(), time.into())));
        let answer = client.ask(Method::POST, "/v1/keys", Some(to_bytes(&Value::Object(body)))).await?;
        if self.json {
            show::json(&answer)?;
            return Ok(Exit::Done);
        }
        let made: Made = read(&answer)?;
        show::say(&format!("{} of the role {role} is made; this is the only time that the key is shown:", made.id));
        show::line(&made.key)?;
        Ok(Exit::Done)
    }
}

impl List {
    async fn run(self, client: &Client) -> Result<Exit, Failure> {
        let answer = client.ask(Method::GET, "/v1/keys", None).await?;
        if self.json {
            show::json(&answer)?;
            return Ok(Exit::Done);
        }
        let listed: Listed = read(&answer)?;
        let mut table = show::Table::new(["id", "role", "ends with", "made", "ends", "revoked", "description"], 7);
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        for key in listed.items {
            table.row([
                key.id,
                key.role,
                key.last4.unwrap_or_default(),
                key.created_at,
                or_dash(key.expires_at),
                or_dash(key.revoked_at),
                key.description.unwrap_or_default(),
            ]);
        }
        table.print()?;
        Ok(Exit::Done)
    }
}

#[derive(Debug, Deserialize)]
struct Made {
    id: String,
    key: String,
}

#[derive(Debug, Deserialize)]
struct Listed {
    items: Vec<KeyItem>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyItem {
    id: String,
    role: String,
    #[serde(default)]
    last4: Option<String>,
    created_at: String,
    #[serde(default)]
    expires_at: Option<String>,
    #[serde(default)]
    revoked_at: Option<String>,
    #[serde(default)]
    description: Option<String>,
}

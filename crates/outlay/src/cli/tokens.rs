//! `outlay tokens`: user tokens are made and ended, and their signing key is changed.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::ask::{read, to_bytes};
use super::{Exit, Failure, ServerFlags, show};
use crate::client::{Client, segment};

/// Make and end user tokens
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay tokens create bgtfrdsZ --ttl 600\n  outlay tokens end bgtfrdsZ\n  \
    outlay tokens rotate-key")]
pub(super) struct Tokens {
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    Create(Create),
    End(End),
    RotateKey(RotateKey),
}

/// Make a token with which a user's browser reads their own budget; it is shown once
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outlay tokens create bgtfrdsZ\n  outlay tokens create bgtfrdsZ --ttl 600 --reads sessions"
)]
struct Create {
    /// The user
    user: String,
    /// For how many seconds it is good, 60 to 86400; 3600 if absent
    #[arg(long, value_name = "SECONDS")]
    ttl: Option<u32>,
    /// What it reads besides the budget: sessions, usage; may be given twice
    #[arg(long, value_name = "WHAT")]
    reads: Vec<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// End every token of a user that was made until now, as when a device was lost
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay tokens end bgtfrdsZ\n\nTokens that are made later are not touched.")]
struct End {
    /// The user
    user: String,
    #[command(flatten)]
    server: ServerFlags,
}

/// Sign tokens with a new key; those of the key before stay good until they end by themselves
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay tokens rotate-key\n\n\
    Two keys are live: tokens end within a day, so a day later the old one opens nothing. Twice in a row ends every \
    token there is, as when a key may be known to somebody. It is asked on the machine of the data folder, with or \
    without a server running on it; no key of the API reaches it.")]
struct RotateKey {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Deserialize)]
struct Made {
    token: String,
    #[serde(rename = "expiresAt")]
    expires_at: String,
}

#[derive(Debug, Deserialize)]
struct Rotated {
    name: String,
}

impl Tokens {
    /// The server that was named, whichever command it was.
    pub(super) fn url(&self) -> Option<String> {
        match &self.command {
            TokensCommand::Create(Create { server, .. }) | TokensCommand::End(End { server, .. }) => server.url.clone(),
            TokensCommand::RotateKey(_) => None,
        }
    }

    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        match self.command {
            TokensCommand::Create(create) => create.run(client).await,
            TokensCommand::End(End { user, .. }) => {
                client.ask(Method::DELETE, &format!("/v1/users/{}/tokens", segment(&user)), None).await?;
                show::say(&format!("every token of {user} that was made until now is ended"));
                Ok(Exit::Done)
            }
            TokensCommand::RotateKey(RotateKey { json }) => {
                let answer = client.ask(Method::POST, "/v1/token-keys", None).await?;
                if json {
                    show::json(&answer)?;
                    return Ok(Exit::Done);
                }
                let rotated: Rotated = read(&answer)?;
                show::say(&format!("tokens are signed with {} from now on", rotated.name));
                Ok(Exit::Done)
            }
        }
    }
}

impl Create {
    async fn run(self, client: &Client) -> Result<Exit, Failure> {
        let mut body = Map::new();
        body.extend(self.ttl.map(|ttl| ("ttlSeconds".to_owned(), ttl.into())));
        if !self.reads.is_empty() {
            body.insert("reads".to_owned(), self.reads.into());
        }
        let path = format!("/v1/users/{}/tokens", segment(&self.user));
        let answer = client.ask(Method::POST, &path, Some(to_bytes(&Value::Object(body)))).await?;
        if self.json {
            show::json(&answer)?;
            return Ok(Exit::Done);
        }
        let made: Made = read(&answer)?;
        show::say(&format!("good until {}; this is the only time that it is shown:", made.expires_at));
        show::line(&made.token)?;
        Ok(Exit::Done)
    }
}

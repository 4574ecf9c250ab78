//! `outlay audit`: who did what.

use std::fmt::Write as _;

use clap::Args;
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ask::read;
use super::{Exit, Failure, ServerFlags, show};
use crate::client::{Client, segment};

/// Show who did what: settings, keys, tokens, exports, backups, erasures, and who was refused
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outlay audit\n  outlay audit --action key.refused --from 2026-11-01T00:00:00Z\n  \
    outlay audit --user bgtfrdsZ\n  outlay audit --all > audit.jsonl\n\n\
    The newest entry comes first. OUTLAY_AUDIT_LOG has the server copy each entry to a file as it is made."
)]
pub(super) struct Audit {
    /// Only this action, such as plan.set
    #[arg(long, value_name = "ACTION")]
    action: Option<String>,
    /// Only what this one did: a key's id, environment, socket, open, configuration, token or nobody
    #[arg(long, value_name = "WHO")]
    who: Option<String>,
    /// Only what was done to this user
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// Only at or after this time, such as 2026-11-01T00:00:00Z
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Only before this time
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// How many entries, 1 to 1000; 50 if absent
    #[arg(long, value_name = "N", conflicts_with = "all")]
    limit: Option<u16>,
    /// Every entry there is, as JSON Lines
    #[arg(long, conflicts_with = "json")]
    all: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    items: Vec<Box<RawValue>>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Item {
    recorded_at: String,
    who: String,
    address: Option<String>,
    action: String,
    subject: Option<String>,
    user_id: Option<String>,
    user_number: Option<u64>,
    before: Option<Box<RawValue>>,
    after: Option<Box<RawValue>>,
}

impl Audit {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        if self.all {
            return self.write_all(client).await;
        }
        let answer = client.ask(Method::GET, &self.path(self.limit.unwrap_or(50), None), None).await?;
        if self.json {
            show::json(&answer)?;
            return Ok(Exit::Done);
        }
        let listed: Listed = read(&answer)?;
        let mut table = show::Table::new(["when", "what", "to", "who", "from", "before", "after"], 7);
        for item in &listed.items {
            let item: Item = read(item.get().as_bytes())?;
            let user = item.user_id.or_else(|| item.user_number.map(|no| format!("user {no}")));
            let facts =
                |facts: Option<Box<RawValue>>| facts.map_or_else(|| "-".to_owned(), |facts| facts.get().to_owned());
            table.row([
                item.recorded_at,
                item.action,
                item.subject.or(user).unwrap_or_else(|| "-".to_owned()),
                item.who,
                item.address.unwrap_or_else(|| "this machine".to_owned()),
                facts(item.before),
                facts(item.after),
            ]);
        }
        table.print()?;
        Ok(Exit::Done)
    }

    async fn write_all(&self, client: &Client) -> Result<Exit, Failure> {
        let mut cursor = None;
        loop {
            let answer = client.ask(Method::GET, &self.path(1_000, cursor.as_deref()), None).await?;
            let listed: Listed = read(&answer)?;
            for item in &listed.items {
                show::line(item.get())?;
            }
            cursor = listed.next_cursor;
            if cursor.is_none() {
                return Ok(Exit::Done);
            }
        }
    }

    fn path(&self, limit: u16, cursor: Option<&str>) -> String {
        let mut path = format!("/v1/audit?limit={limit}");
        let given = [
            ("action", self.action.as_deref()),
            ("who", self.who.as_deref()),
            ("userId", self.user.as_deref()),
            ("from", self.from.as_deref()),
            ("to", self.to.as_deref()),
            ("cursor", cursor),
        ];
        for (name, value) in given {
            if let Some(value) = value {
                // Writing to a string cannot fail.
                let _ = write!(path, "&{name}={}", segment(value));
            }
        }
        path
    }
}

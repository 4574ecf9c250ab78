//! `outlay export` and `erase`: a user's data taken along, and a user forgotten.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use http::Method;
use serde::Deserialize;

use super::ask::read;
use super::{Exit, Failure, ServerFlags, show};
use crate::client::{Client, next_piece, segment, whole};

/// Write a user's data, or everybody's, as JSON Lines
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outlay export bgtfrdsZ > bgtfrdsZ.jsonl\n  outlay export --out everything.jsonl\n\n\
    Each line is an object with a `kind`: user, operation, session, denial or alert. `outlay import` reads them back."
)]
pub(super) struct Export {
    /// Only this user; everybody if absent
    #[arg(value_name = "USER")]
    only: Option<String>,
    /// The same as USER
    #[arg(long, conflicts_with = "only", hide = true)]
    user: Option<String>,
    /// The file to write; standard output if absent
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UsersPage {
    items: Vec<UserItem>,
    next_cursor: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UserItem {
    user_id: String,
}

impl Export {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        let mut out: Box<dyn Write + Send> = match &self.out {
            Some(path) => {
                Box::new(std::fs::File::create(path).map_err(Failure::io(format!("write {}", path.display())))?)
            }
            None => Box::new(io::stdout()),
        };
        if let Some(user) = self.only.as_ref().or(self.user.as_ref()) {
            export_user(client, user, &mut out).await?;
        } else {
            export_everybody(client, &mut out).await?;
        }
        out.flush().map_err(writing)?;
        Ok(Exit::Done)
    }
}

async fn export_everybody(client: &Client, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let mut cursor = None;
    loop {
        let page = users(client, cursor.as_deref()).await?;
        for user in &page.items {
            export_user(client, &user.user_id, out).await?;
        }
        cursor = page.next_cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn users(client: &Client, cursor: Option<&str>) -> Result<UsersPage, Failure> {
    let cursor = cursor.map_or_else(String::new, |cursor| format!("&cursor={}", segment(cursor)));
    let path = format!("/v1/users?sort=userId&order=asc&limit=1000{cursor}");
    read(&client.ask(Method::GET, &path, None).await?)
}

async fn export_user(client: &Client, user: &str, out: &mut (dyn Write + Send)) -> Result<(), Failure> {
    let path = format!("/v1/users/{}/export", segment(user));
    let response = client.stream(Method::GET, &path, None).await?;
    if !response.status().is_success() {
        whole(response).await?.success()?;
        return Ok(());
    }
    let mut body = response.into_body();
    while let Some(piece) = next_piece(&mut body).await? {
        out.write_all(&piece).map_err(writing)?;
    }
    Ok(())
}

fn writing(error: io::Error) -> Failure {
    if error.kind() == io::ErrorKind::BrokenPipe { Failure::Unread } else { Failure::io("write the export")(error) }
}

/// Erase a user for good
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay erase bgtfrdsZ\n  outlay erase bgtfrdsZ --yes\n\n\
    Ids, texts and metadata are wiped; the sums stay, without a name. The same id coming back is a new user.\n\n\
    It asks before it does so. In a script, where nobody can be asked, it refuses (exit code 2) without --yes.")]
pub(super) struct Erase {
    /// The user
    user: String,
    /// Do not ask; needed where there is no terminal to ask on
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

impl Erase {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        if !self.yes && !show::confirmed(&format!("Erase the user {} for good?", self.user))? {
            return Err(Failure::Other("nothing was erased".to_owned()));
        }
        client.ask(Method::DELETE, &format!("/v1/users/{}", segment(&self.user)), None).await?;
        show::say(&format!("{} is erased", self.user));
        Ok(Exit::Done)
    }
}

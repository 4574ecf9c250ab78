//! `outlay webhooks`: who is told by HTTP, what became of it, and telling again.

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{read, to_bytes};
use super::{Exit, Failure, ServerFlags, show};
use crate::client::{Client, segment};

/// Make and list webhooks, and send again
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  outlay webhooks create https://app.example.org/hooks/outlay --event budget.threshold_crossed\n  \
    outlay webhooks list\n  outlay webhooks deliveries webhook_7Qm2ZkXv1rT9bLcE --state failed"
)]
pub(super) struct Webhooks {
    #[command(subcommand)]
    command: WebhooksCommand,
}

#[derive(Debug, Subcommand)]
enum WebhooksCommand {
    List(List),
    Create(Create),
    Deliveries(Deliveries),
    Redeliver(Redeliver),
    Test(Test),
    Rotate(Rotate),
    Delete(Delete),
}

/// List all webhooks
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay webhooks list\n  outlay webhooks list --json")]
struct List {
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// Make a webhook; its secret is shown once
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay webhooks create https://app.example.org/hooks/outlay\n  \
    outlay webhooks create https://app.example.org/hooks/outlay --event denial.recorded --event limit.changed\n\n\
    The secret alone goes to standard output, all else to standard error.")]
struct Create {
    /// Where messages are posted
    #[arg(value_name = "URL")]
    address: String,
    /// What it is told of: budget.threshold_crossed (if none is named), denial.recorded, session.abandoned, limit.changed
    #[arg(long = "event", value_name = "EVENT")]
    events: Vec<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// List what a webhook was told, the newest first
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay webhooks deliveries webhook_7Qm2ZkXv1rT9bLcE\n  \
    outlay webhooks deliveries webhook_7Qm2ZkXv1rT9bLcE --state failed --json")]
struct Deliveries {
    /// The webhook's id, as `outlay webhooks list` shows it
    id: String,
    /// Only those that are pending, delivered, failed or cancelled
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// At most so many, 1 to 1000
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u16,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerFlags,
}

/// Send again what failed, or one delivery
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay webhooks redeliver webhook_7Qm2ZkXv1rT9bLcE\n  \
    outlay webhooks redeliver webhook_7Qm2ZkXv1rT9bLcE --delivery delivery_48aec45a_17")]
struct Redeliver {
    /// The webhook's id
    id: String,
    /// One delivery, whatever became of it
    #[arg(long, value_name = "ID")]
    delivery: Option<String>,
    #[command(flatten)]
    server: ServerFlags,
}

/// Send a test, once
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay webhooks test webhook_7Qm2ZkXv1rT9bLcE")]
struct Test {
    /// The webhook's id
    id: String,
    #[command(flatten)]
    server: ServerFlags,
}

/// Replace a webhook's secret; the new one is shown once, and for 24 hours both sign
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay webhooks rotate webhook_7Qm2ZkXv1rT9bLcE")]
struct Rotate {
    /// The webhook's id
    id: String,
    #[command(flatten)]
    server: ServerFlags,
}

/// Take a webhook away
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay webhooks delete webhook_7Qm2ZkXv1rT9bLcE")]
struct Delete {
    /// The webhook's id
    id: String,
    #[command(flatten)]
    server: ServerFlags,
}

impl Webhooks {
    /// The server that was named, whichever command it was.
    pub(super) fn url(&self) -> Option<String> {
        let server = match &self.command {
            WebhooksCommand::List(List { server, .. })
            | WebhooksCommand::Create(Create { server, .. })
            | WebhooksCommand::Deliveries(Deliveries { server, .. })
            | WebhooksCommand::Redeliver(Redeliver { server, .. })
            | WebhooksCommand::Test(Test { server, .. })
            | WebhooksCommand::Rotate(Rotate { server, .. })
            | WebhooksCommand::Delete(Delete { server, .. }) => server,
        };
        server.url.clone()
    }

    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        match self.command {
            WebhooksCommand::List(list) => list.run(client).await?,
            WebhooksCommand::Create(create) => create.run(client).await?,
            WebhooksCommand::Deliveries(deliveries) => deliveries.run(client).await?,
            WebhooksCommand::Redeliver(Redeliver { id, delivery, .. }) => {
                let body = delivery.map_or_else(|| json!({}), |id| json!({"deliveryId": id}));
                let answer = client.ask(Method::POST, &of(&id, "/redeliver"), Some(to_bytes(&body))).await?;
                let sent: Sent = read(&answer)?;
                show::say(&format!("{} deliveries are being sent", sent.deliveries));
            }
            WebhooksCommand::Test(Test { id, .. }) => {
                client.ask(Method::POST, &of(&id, "/test"), None).await?;
                show::say("a test is being sent; `outlay webhooks deliveries` says what became of it");
            }
            WebhooksCommand::Rotate(Rotate { id, .. }) => {
                let made: Made = read(&client.ask(Method::POST, &of(&id, "/rotate"), None).await?)?;
                show::say("for 24 hours both secrets sign; this is the only time that the new one is shown:");
                show::line(&made.secret)?;
            }
            WebhooksCommand::Delete(Delete { id, .. }) => {
                client.ask(Method::DELETE, &of(&id, ""), None).await?;
                show::say(&format!("{id} is told of nothing any more"));
            }
        }
        Ok(Exit::Done)
    }
}

fn of(id: &str, rest: &str) -> String {
    format!("/v1/webhooks/{}{rest}", segment(id))
}

impl Create {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let mut body = json!({"url": self.address});
        if let Value::Object(fields) = &mut body {
            fields.extend((!self.events.is_empty()).then(|| ("events".to_owned(), self.events.into())));
            fields.extend(self.description.map(|text| ("description".to_owned(), text.into())));
        }
        let answer = client.ask(Method::POST, "/v1/webhooks", Some(to_bytes(&body))).await?;
        if self.json {
            return show::json(&answer);
        }
        let made: Made = read(&answer)?;
        show::say(&format!("{} is made; this is the only time that its secret is shown:", made.id));
        show::line(&made.secret)
    }
}

impl List {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let answer = client.ask(Method::GET, "/v1/webhooks", None).await?;
        if self.json {
            return show::json(&answer);
        }
        let listed: Listed<WebhookItem> = read(&answer)?;
        let mut table = show::Table::new(["id", "url", "events", "made", "gone", "description"], 6);
        for item in listed.items {
            let gone = item.gone_at.unwrap_or_else(|| "-".to_owned());
            table.row([item.id, item.url, item.events.join(" "), item.created_at, gone, item.description]);
        }
        table.print()
    }
}

impl Deliveries {
    async fn run(self, client: &Client) -> Result<(), Failure> {
        let state = self.state.map(|state| format!("&state={}", segment(&state))).unwrap_or_default();
        let path = of(&self.id, &format!("/deliveries?limit={}{state}", self.limit));
        let answer = client.ask(Method::GET, &path, None).await?;
        if self.json {
            return show::json(&answer);
        }
        let listed: Listed<DeliveryItem> = read(&answer)?;
        let mut table = show::Table::new(["id", "event", "state", "made", "tries", "last problem", "next try"], 7);
        for item in listed.items {
            let problem = item.tries.last().and_then(|tried| tried.problem.clone());
            let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
            table.row([
                item.delivery_id,
                item.event,
                item.state,
                item.created_at,
                item.tries.len().to_string(),
                or_dash(problem),
                or_dash(item.next_try_at),
            ]);
        }
        table.print()
    }
}

#[derive(Debug, Deserialize)]
struct Made {
    id: String,
    secret: String,
}

#[derive(Debug, Deserialize)]
struct Sent {
    deliveries: u64,
}

#[derive(Debug, Deserialize)]
struct Listed<T> {
    items: Vec<T>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WebhookItem {
    id: String,
    url: String,
    events: Vec<String>,
    description: String,
    created_at: String,
    gone_at: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct DeliveryItem {
    delivery_id: String,
    event: String,
    state: String,
    created_at: String,
    next_try_at: Option<String>,
    tries: Vec<TryItem>,
}

#[derive(Debug, Deserialize)]
struct TryItem {
    problem: Option<String>,
}

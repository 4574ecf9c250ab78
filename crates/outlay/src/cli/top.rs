//! `outlay top`: who costs most this month, live on a terminal.

use clap::{Args, ValueEnum};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Duration, Instant};

use super::ask::{Meters, read};
use super::follow::{Following, Heard};
use super::show::{self, Screen};
use super::{Exit, Failure, ServerFlags};
use crate::client::Client;

/// From one drawing to the next, at least.
const PAUSE: Duration = Duration::from_secs(1);

/// By what users are sorted.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Sort {
    /// What they cost
    Cost,
    /// How much of their cost limit they used
    Percent,
    /// Their AI runs
    AiRuns,
    /// Their API runs
    ApiRuns,
    /// When they were last seen
    LastSeen,
}

impl Sort {
    const fn name(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Percent => "percent",
            Self::AiRuns => "aiRuns",
            Self::ApiRuns => "apiRuns",
            Self::LastSeen => "lastSeen",
        }
    }
}

/// Who costs most this month, as it changes
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay top\n  outlay top --sort ai-runs --users 40\n  outlay top --once\n  \
    outlay top --json | jq -r '.items[].userId'\n\n\
    It follows the server until it is interrupted; piped, with --once or with --json it prints once and ends.")]
pub(super) struct Top {
    /// By what they are sorted, the most first
    #[arg(long, value_enum, default_value_t = Sort::Cost)]
    sort: Sort,
    /// How many are shown; as many as fit if absent
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1000))]
    users: Option<u16>,
    /// Print once and end
    #[arg(long)]
    once: bool,
    /// Print the list of users as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

impl Top {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        if self.json {
            show::json(&client.ask(Method::GET, &self.path(10), None).await?)?;
            return Ok(Exit::Done);
        }
        let Some(screen) = Screen::of_terminal().filter(|_| !self.once) else {
            show::line(&self.table(client, 10).await?.into_text())?;
            return Ok(Exit::Done);
        };
        self.follow(client, screen).await
    }

    async fn follow(self, client: &Client, mut screen: Screen) -> Result<Exit, Failure> {
        let mut events = Following::new(client, "/v1/events".to_owned());
        let mut totals: Option<String> = None;
        let mut earliest = Instant::now();
        loop {
            let heard = match totals {
                None => Some(events.next().await?),
                // What comes before it may be drawn again is one drawing.
                Some(_) => tokio::time::timeout_at(earliest, events.next()).await.ok().transpose()?,
            };
            match heard {
                Some(Heard::Event { name, data }) if name == "overview" => totals = Some(data),
                Some(Heard::Event { .. }) => {}
                Some(Heard::Lost) => screen.note("Reconnecting, these figures may be old")?,
                None => {
                    earliest = Instant::now() + PAUSE;
                    if let Some(data) = totals.take() {
                        self.draw(client, &data, &mut screen).await?;
                    }
                }
            }
        }
    }

    async fn draw(&self, client: &Client, totals: &str, screen: &mut Screen) -> Result<(), Failure> {
        let mut lines = vec![read::<Totals<'_>>(totals.as_bytes())?.line()];
        // Above the list stand the totals and its head, below it a line for what is noted.
        let room = screen.rows().saturating_sub(5).max(1);
        match self.table(client, room).await {
            Ok(table) => lines.extend(table.into_text().lines().map(str::to_owned)),
            // The stream breaks as well, and will say so.
            Err(Failure::Client(_)) => return Ok(()),
            Err(failure) => return Err(failure),
        }
        screen.redraw(&lines)
    }

    fn path(&self, users: u16) -> String {
        format!("/v1/users?sort={}&limit={}", self.sort.name(), self.users.unwrap_or(users))
    }

    async fn table(&self, client: &Client, users: u16) -> Result<show::Table, Failure> {
        let answer = client.ask(Method::GET, &self.path(users), None).await?;
        let users: Users<'_> = read(&answer)?;
        let mut table = show::Table::new(["user", "plan", "state", "cost", "limit", "AI runs", "API runs"], 3);
        for user in users.items {
            let Meters { cost, ai_runs, api_runs } = &user.meters;
            let of_limit = |meter: &Meter<'_>| format!("{} / {}", meter.used, meter.limit.map_or("-", RawValue::get));
            table.row([
                show::plain(&user.id),
                user.plan.clone(),
                user.state.clone(),
                cost.used.get().to_owned(),
                cost.limit.map_or("unlimited", RawValue::get).to_owned(),
                of_limit(ai_runs),
                of_limit(api_runs),
            ]);
        }
        Ok(table)
    }
}

/// The totals of the month, as `overview` events bring them.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Totals<'a> {
    month: String,
    as_of: jiff::Timestamp,
    #[serde(borrow, rename = "totals")]
    sums: OfKinds<'a>,
    active_users: u64,
    states: States,
}

#[derive(Debug, Deserialize)]
struct OfKinds<'a> {
    #[serde(borrow)]
    all: Total<'a>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Total<'a> {
    #[serde(borrow)]
    cost: &'a RawValue,
    operations: u64,
}

#[derive(Debug, Deserialize)]
struct States {
    warning: u64,
    critical: u64,
    reached: u64,
}

impl Totals<'_> {
    fn line(&self) -> String {
        let Self { month, as_of, sums: OfKinds { all }, active_users, states } = self;
        let States { warning, critical, reached } = states;
        format!(
            "{month}  {} USD, {} operations, {active_users} users: {warning} warning, {critical} critical, {reached} reached  {} UTC",
            all.cost,
            all.operations,
            as_of.strftime("%H:%M:%S")
        )
    }
}

#[derive(Debug, Deserialize)]
struct Users<'a> {
    #[serde(borrow)]
    items: Vec<User<'a>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct User<'a> {
    #[serde(rename = "userId")]
    id: String,
    plan: String,
    state: String,
    #[serde(borrow)]
    meters: Meters<Meter<'a>>,
}

#[derive(Debug, Deserialize)]
struct Meter<'a> {
    #[serde(borrow)]
    used: &'a RawValue,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
}

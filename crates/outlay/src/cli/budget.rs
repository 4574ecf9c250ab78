//! `outlay budget`: a user's budget as the card shows it, on a terminal, and live if wanted.

use clap::Args;
use console::{Alignment, Style, pad_str};
use http::Method;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::ask::{Meters, read};
use super::follow::{Following, Heard};
use super::show::{self, Screen};
use super::{Exit, Failure, ServerFlags};
use crate::client::{Client, segment};

/// What a user used, holds and has left in a month
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  outlay budget bgtfrdsZ\n  outlay budget bgtfrdsZ --watch\n  \
    outlay budget bgtfrdsZ --month 2025-10 --json\n  outlay budget bgtfrdsZ --watch --json | jq .meters.aiRuns.used\n\n\
    On a terminal it is drawn as the budget card; piped, it is a table with tabs. With --watch and --json it prints one\n\
    document a line, whole, each time it changes.")]
pub(super) struct BudgetOf {
    /// The user
    user: String,
    /// The month, such as 2025-10; the current one if absent
    #[arg(long, conflicts_with = "watch")]
    month: Option<String>,
    /// Follow the current month until it is interrupted
    #[arg(long)]
    watch: bool,
    /// Print the answer as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    pub(super) server: ServerFlags,
}

impl BudgetOf {
    pub(super) async fn run(self, client: &Client) -> Result<Exit, Failure> {
        let path = format!("/v1/users/{}", segment(&self.user));
        if self.watch {
            return self.follow(Following::new(client, format!("{path}/events"))).await;
        }
        let month = self.month.map_or_else(String::new, |month| format!("?month={}", segment(&month)));
        let answer = client.ask(Method::GET, &format!("{path}/budget{month}"), None).await?;
        if self.json {
            show::json(&answer)?;
            return Ok(Exit::Done);
        }
        let budget: Budget<'_> = read(&answer)?;
        match Screen::of_terminal() {
            Some(screen) => budget.card(&screen, "").iter().try_for_each(|line| show::line(line))?,
            None => budget.table()?,
        }
        Ok(Exit::Done)
    }

    async fn follow(self, mut events: Following<'_>) -> Result<Exit, Failure> {
        let mut screen = if self.json { None } else { Screen::of_terminal() };
        let mut last = None;
        loop {
            let is_live = match events.next().await? {
                Heard::Event { name, data } if name == "budget" => {
                    last = Some(data);
                    true
                }
                Heard::Event { .. } => continue,
                Heard::Lost => false,
            };
            let Some(data) = &last else { continue };
            match &mut screen {
                Some(screen) => {
                    let note = if is_live { "Live" } else { "Reconnecting, these figures may be old" };
                    let lines = read::<Budget<'_>>(data.as_bytes())?.card(screen, note);
                    screen.redraw(&lines)?;
                }
                None if !is_live => {}
                None if self.json => show::line(data)?,
                None => read::<Budget<'_>>(data.as_bytes())?.table()?,
            }
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Budget<'a> {
    user_id: String,
    plan: String,
    month: String,
    resets_at: jiff::Timestamp,
    state: String,
    #[serde(borrow)]
    meters: Meters<Meter<'a>>,
}

/// Figures are texts: what is printed of them is what the server wrote.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meter<'a> {
    label: String,
    unit: String,
    state: String,
    message: Option<String>,
    #[serde(borrow)]
    used: &'a RawValue,
    #[serde(borrow)]
    held: &'a RawValue,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
    #[serde(borrow)]
    remaining: Option<&'a RawValue>,
    #[serde(borrow)]
    percent: Option<&'a RawValue>,
}

/// Cells of a bar.
const BAR_CELLS: usize = 30;

impl Budget<'_> {
    fn meters(&self) -> [&Meter<'_>; 3] {
        let Meters { cost, ai_runs, api_runs } = &self.meters;
        [ai_runs, api_runs, cost]
    }

    /// One line a meter, columns between tabs where nobody looks.
    fn table(&self) -> Result<(), Failure> {
        show::line(&format!(
            "{}  plan {}  {}  {}, begins anew at {}",
            self.user_id, self.plan, self.month, self.state, self.resets_at
        ))?;
        let mut table = show::Table::new(["meter", "state", "used", "held", "limit", "remaining", "percent"], 2);
        let Meters { cost, ai_runs, api_runs } = &self.meters;
        for meter in [cost, ai_runs, api_runs] {
            let number = |number: Option<&RawValue>, none: &str| number.map_or(none, RawValue::get).to_owned();
            table.row([
                meter.label.clone(),
                meter.state.clone(),
                meter.used.get().to_owned(),
                meter.held.get().to_owned(),
                number(meter.limit, "unlimited"),
                number(meter.remaining, "-"),
                number(meter.percent, "-"),
            ]);
        }
        table.print()?;
        [cost, ai_runs, api_runs].into_iter().filter_map(|meter| meter.message.as_deref()).try_for_each(show::line)
    }

    /// The card, line by line.
    fn card(&self, screen: &Screen, note: &str) -> Vec<String> {
        let mut plan = self.plan.clone();
        if let Some(first) = plan.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        let head = format!("{plan} plan  {}  {}", self.user_id, self.month);
        let note = if note.is_empty() { String::new() } else { format!("  {note}") };
        let mut lines = vec![format!("{}{}", Style::new().bold().apply_to(show::plain(&head)), note)];
        let width = self.meters().iter().map(|meter| console::measure_text_width(&meter.label)).max().unwrap_or(0);
        for meter in self.meters() {
            let tone = show::tone(&meter.state);
            let label = pad_str(&meter.label, width, Alignment::Left, None);
            lines.push(format!("{label}  {}  {}", tone.apply_to(meter.bar(screen)), meter.figures()));
            lines.extend(meter.message.as_deref().map(|text| format!("{:width$}  {}", "", tone.apply_to(text))));
        }
        let resets = self.resets_at.strftime("%-d %B");
        lines.push(format!("Resets {resets}"));
        lines
    }
}

impl Meter<'_> {
    /// Used, held and free, as wide as any other; blank where there is no limit to compare with.
    fn bar(&self, screen: &Screen) -> String {
        // A bar is a picture of the figures beside it: floats are good enough.
        let amount = |raw: &RawValue| raw.get().parse::<f64>().unwrap_or(0.0);
        match self.limit.map(amount) {
            Some(limit) if limit > 0.0 => screen.bar(amount(self.used) / limit, amount(self.held) / limit, BAR_CELLS),
            _ => " ".repeat(console::measure_text_width(&screen.bar(0.0, 0.0, BAR_CELLS))),
        }
    }

    fn figures(&self) -> String {
        let Self { used, held, limit, .. } = self;
        let unit = if self.unit == "USD" { " USD" } else { "" };
        let amount = match limit.map(RawValue::get) {
            None => format!("{used}{unit}, unlimited"),
            Some(limit) => format!("{used} / {limit}{unit}"),
        };
        let held = if held.get() == "0" { String::new() } else { format!(", {held} in progress") };
        let state = if self.state == "ok" { String::new() } else { format!("  {}", self.state) };
        format!("{amount}{held}{state}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: &str = r#"{"userId":"bgt\u202efrdsZ","plan":"premium","month":"2025-10","resetsAt":"2025-11-01T00:00:00Z","state":"critical","meters":{
        "cost":{"label":"Cost Budget","unit":"USD","used":0.00160785,"held":0.75,"limit":3,"remaining":2.24839215,"percent":25.05,"state":"ok","message":null},
        "aiRuns":{"label":"AI Operations","unit":"runs","used":29,"held":0,"limit":30,"remaining":1,"percent":96.67,"state":"critical","message":"Only 1 AI operation left"},
        "apiRuns":{"label":"API Operations","unit":"runs","used":7,"held":0,"limit":null,"remaining":null,"percent":null,"state":"ok","message":null}}}"#;

    #[test]
    fn the_card_says_what_the_server_says() {
        let budget: Budget<'_> = serde_json::from_str(BUDGET).unwrap();
        console::set_colors_enabled(false);
        let lines = budget.card(&Screen::plain(), "Live");
        assert_eq!(
            lines,
            [
                "Premium plan  bgt\u{fffd}frdsZ  2025-10  Live",
                "AI Operations   [############################# ]  29 / 30  critical",
                "                Only 1 AI operation left",
                "API Operations                                    7, unlimited",
                "Cost Budget     [#-------                      ]  0.00160785 / 3 USD, 0.75 in progress",
                "Resets 1 November",
            ]
        );
    }
}

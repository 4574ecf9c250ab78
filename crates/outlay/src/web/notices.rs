//! Alerts and denials.

use maud::{Markup, html};
use outlay_core::alert::Alert;
use outlay_core::budget::percent_hundredths;
use outlay_core::denial::{Denial, Reason};
use outlay_core::id::UserId;
use outlay_core::month::{Month, Timestamp};
use outlay_core::plan::Meter;

use super::links::{Links, Query};
use super::parts::{self, Icon, moment, nothing};
use super::{Page, Section, Stepper, format};
use crate::store::Of;

/// Rows of a page.
pub const ROWS: usize = 50;

/// What was asked for of either list.
#[derive(Debug)]
pub struct Asked {
    /// Whose; none is everybody's.
    pub user_id: Option<UserId>,
    /// Only of this month.
    pub month: Option<Month>,
    /// Only of this meter; alerts alone.
    pub meter: Option<Meter>,
    /// Whether it goes on from a page before.
    pub goes_on: bool,
    /// The cursor of the next page.
    pub next: Option<String>,
    /// The instant that it is of.
    pub as_of: Timestamp,
}

impl Asked {
    fn query(&self, month: Option<Month>) -> Query {
        Query::new()
            .with_some("month", month)
            .with_some("user", self.user_id.as_ref())
            .with_some("meter", self.meter.map(Meter::as_str))
    }

    fn api(&self) -> Query {
        Query::new().with_some("month", self.month).with_some("userId", self.user_id.as_ref())
    }
}

/// Draws the page of alerts.
pub fn alerts_page(asked: &Asked, alerts: &[Of<Alert>], links: &Links) -> Page {
    let content = html! {
        @if alerts.is_empty() { (nothing("No alert is like this.")) }
        @else {
            div.scroll tabindex="0" role="group" aria-label="The list of alerts" {
                table.rows {
                    thead { tr {
                        th scope="col" { "When" } th scope="col" { "User" } th scope="col" { "Threshold" } th scope="col" { "Meter" } th.n scope="col" { "Used then" } th.n scope="col" { "Limit then" }
                        th scope="col" { "Plan then" } th scope="col" { "Message" }
                    } }
                    tbody { @for of in alerts { (alert_row(of, links, asked.as_of)) } }
                }
            }
        }
    };
    let note = "An alert looks at what is used. A card may stand at warning for what is only held, while there is no alert yet.";
    list_page("alerts", "Alerts", asked, links, &content, note)
}

fn alert_row(of: &Of<Alert>, links: &Links, now: Timestamp) -> Markup {
    let alert = &of.row;
    let is_past = alert.recorded_at.month() != alert.month;
    html! {
        tr data-key=(alert.no.0) {
            td { (moment(alert.recorded_at, now)) }
            th scope="row" { (parts::user(links, of.user_id.as_ref(), &Query::new().with("month", alert.month))) }
            td { (threshold(alert)) }
            td { (format::meter(alert.key.meter)) }
            td.n { (format::amount(alert.key.meter, alert.used)) }
            td.n { (format::amount(alert.key.meter, alert.key.limit)) }
            td { (parts::text(alert.plan.as_str(), 20)) }
            td.muted {
                @if alert.superseded_by.is_some() { "None: a higher one came with the same change" }
                @else if is_past { "None: of a month that is over" }
                @else { "Due" }
            }
        }
    }
}

/// Draws the page of denials.
pub fn denials_page(asked: &Asked, denials: &[Of<Denial>], links: &Links) -> Page {
    let content = html! {
        @if denials.is_empty() { (nothing("No denial is like this.")) }
        @else {
            div.scroll tabindex="0" role="group" aria-label="The list of denials" {
                table.rows {
                    thead { tr {
                        th scope="col" { "When" } th scope="col" { "User" } th scope="col" { "Feature" } th scope="col" { "Why" } th scope="col" { "Asked for" } th scope="col" { "By" }
                        th.n scope="col" { "Times" } th scope="col" { "Would fit" }
                    } }
                    tbody { @for of in denials { (denial_row(of, links, asked.as_of)) } }
                }
            }
        }
    };
    list_page(
        "denials",
        "Denials",
        asked,
        links,
        &content,
        "An intent that did not fit: nothing was spent. The same session refused again within a minute counts up.",
    )
}

fn denial_row(of: &Of<Denial>, links: &Links, now: Timestamp) -> Markup {
    let denial = &of.row;
    html! {
        tr data-key=(denial.no.0) {
            td { (moment(denial.recorded_at, now)) }
            th scope="row" { (parts::user(links, of.user_id.as_ref(), &Query::new())) }
            td { (parts::text(denial.feature.as_str(), 28)) }
            td { (reason(denial)) @for meter in denial.failed.iter() { " " span.mark { (format::meter(meter)) } } }
            td.muted {
                @for (at, (name, amounts)) in denial.ask.ways().enumerate() {
                    @if at > 0 { br; }
                    @if let Some(name) = name { (parts::text(name.as_str(), 20)) ": " }
                    (asked_for(amounts))
                }
            }
            td { (denial.source.as_str()) }
            td.n { (format::count(denial.times.into())) }
            td { @match &denial.next_plan { Some(plan) => (parts::text(plan.as_str(), 20)), None => span.muted { "no plan" } } }
        }
    }
}

/// `$0.037, 2 API runs`
fn asked_for(amounts: &outlay_core::plan::Amounts) -> String {
    let mut parts = Vec::new();
    for (meter, amount) in amounts.iter().filter(|(_, amount)| **amount > 0) {
        parts.push(match meter {
            Meter::Cost => format::usd_exact(amounts.usd().into()),
            Meter::AiRuns | Meter::ApiRuns if *amount == 1 => {
                format!("1 {}", format::meter(meter).trim_end_matches('s'))
            }
            Meter::AiRuns | Meter::ApiRuns => format!("{} {}", format::count((*amount).into()), format::meter(meter)),
        });
    }
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(", ") }
}

fn list_page(path: &str, name: &str, asked: &Asked, links: &Links, content: &Markup, note: &str) -> Page {
    let shown = asked.month.unwrap_or_else(|| asked.as_of.month());
    let next = asked.next.as_ref().map(|cursor| links.to(path, &asked.query(asked.month).with("cursor", cursor)));
    let first = asked.goes_on.then(|| links.to(path, &asked.query(asked.month)));
    let tab = |of: &str| {
        links.to(of, &Query::new().with_some("month", asked.month).with_some("user", asked.user_id.as_ref()))
    };
    let tabs = [("Alerts", tab("alerts"), path == "alerts"), ("Denials", tab("denials"), path == "denials")];
    let is_filtered = asked.user_id.is_some() || asked.meter.is_some() || asked.month.is_some();
    Page {
        section: Some(Section::Alerts),
        title: match asked.month {
            Some(month) => format!("{name} · {}", format::month(month)),
            None => name.to_owned(),
        },
        heading: html! { h1 { (name) } (parts::tabs("List", &tabs)) },
        stepper: Some(Stepper::new(shown, asked.as_of, |month| links.to(path, &asked.query(Some(month)))))
            .filter(|_| asked.month.is_some()),
        main: html! {
            form.filters action=(links.to(path, &Query::new())) aria-label="Filter" {
                label { span { "User" } input name="user" value=[asked.user_id.as_ref()] maxlength="128" autocomplete="off" spellcheck="false"; }
                label { span { "Month" } input type="month" name="month" value=[asked.month] placeholder="2025-10"; }
                @if path == "alerts" {
                    label { span { "Meter" }
                        select name="meter" {
                            option value="" { "All meters" }
                            @for meter in Meter::ALL { option value=(meter) selected[asked.meter == Some(meter)] { (format::meter(meter)) } }
                        }
                    }
                }
                button type="submit" { "Filter" }
                @if is_filtered { a href=(links.to(path, &Query::new())) { "Clear" } }
            }
            section.panel.flush #list data-live aria-label=(name) { (content) }
            (parts::pager(first, next))
            p.small { (note) }
        },
        as_of: Some(asked.as_of),
        csv: Some(links.to(&format!("{path}.csv"), &asked.query(asked.month))),
        json: Some(links.to(&format!("v1/{path}"), &asked.api())),
        user_id: asked.user_id.clone(),
    }
}

/// A few alerts, for beside other things.
pub(super) fn short_alerts(alerts: &[Of<Alert>], links: &Links, now: Timestamp) -> Markup {
    html! {
        @if alerts.is_empty() { (nothing("No limit has come near.")) }
        @else {
            ul.notices {
                @for of in alerts {
                    li {
                        (threshold(&of.row))
                        span { (parts::user(links, of.user_id.as_ref(), &Query::new().with("month", of.row.month))) " " (crossed(&of.row)) }
                        span.muted { (moment(of.row.recorded_at, now)) }
                    }
                }
            }
        }
    }
}

/// The threshold as a badge.
pub(super) fn threshold(alert: &Alert) -> Markup {
    let (icon, class) = match alert.key.threshold {
        100.. => (Icon::Reached, "reached"),
        95.. => (Icon::Critical, "critical"),
        _ => (Icon::Warning, "warning"),
    };
    html! { span class={ "badge " (class) } { (icon.draw()) (alert.key.threshold) "%" } }
}

/// `160 of 200 API runs`
pub(super) fn crossed(alert: &Alert) -> Markup {
    let meter = alert.key.meter;
    let percent = percent_hundredths(alert.used.into(), alert.key.limit).unwrap_or(0);
    html! {
        span title={ (percent / 100) "." (format!("{:02}", percent % 100)) "%" } {
            (format::amount(meter, alert.used)) " of " (format::amount(meter, alert.key.limit)) " " (unit(alert))
        }
    }
}

fn unit(alert: &Alert) -> &'static str {
    match alert.key.meter {
        outlay_core::plan::Meter::Cost => "cost",
        meter => format::meter(meter),
    }
}

/// A few denials, for beside other things.
pub(super) fn short_denials(denials: &[Of<Denial>], links: &Links, now: Timestamp) -> Markup {
    html! {
        @if denials.is_empty() { (nothing("Nobody was refused.")) }
        @else {
            ul.notices {
                @for of in denials {
                    li {
                        span.badge.plain { (reason(&of.row)) @if of.row.times > 1 { " ×" (of.row.times) } }
                        span {
                            (parts::user(links, of.user_id.as_ref(), &Query::new())) " " (parts::text(of.row.feature.as_str(), 28))
                            @if let Some(plan) = &of.row.next_plan { span.muted { ", would fit " (parts::text(plan.as_str(), 20)) } }
                        }
                        span.muted { (moment(of.row.recorded_at, now)) }
                    }
                }
            }
        }
    }
}

/// Why, in words.
pub(super) fn reason(denial: &Denial) -> Markup {
    html! {
        @match &denial.reason {
            Reason::BudgetExceeded => "Cost",
            Reason::RunsExceeded => "Runs",
            Reason::Application(reason) => (parts::text(reason.as_str(), 24)),
        }
    }
}

//! Alerts and denials.

use std::cmp::Ordering;
use std::sync::Arc;

use maud::{Markup, html};
use outlay_core::alert::Alert;
use outlay_core::budget::{MeterBudget, State, percent_hundredths};
use outlay_core::denial::{Denial, DenialSource, Reason};
use outlay_core::id::UserId;
use outlay_core::month::{Month, Timestamp};
use outlay_core::plan::Meter;

use super::links::{Links, Query};
use super::parts::{self, Icon, moment, nothing, nothing_matches};
use super::{Page, Section, Stepper, Viewer, format, telling};
use crate::store::Of;
use crate::store::outbox::{Delivery, WebhookRecord};

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
    /// Only of the threshold at which this state begins; alerts alone.
    pub state: Option<State>,
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
            .with_some("state", self.state.map(State::as_str))
    }

    /// Whether an alert is one of those that were asked for.
    pub fn takes(&self, alert: &Alert) -> bool {
        self.meter.is_none_or(|meter| alert.key.meter == meter)
            && self.state.is_none_or(|state| state_at(alert.key.threshold) == state)
    }

    fn is_filtered(&self) -> bool {
        !self.query(self.month).as_str().is_empty()
    }

    fn api(&self) -> Query {
        Query::new().with_some("month", self.month).with_some("userId", self.user_id.as_ref())
    }
}

/// The state that a budget is in at a threshold.
fn state_at(percent: u8) -> State {
    match percent {
        100.. => State::Reached,
        95.. => State::Critical,
        80.. => State::Warning,
        _ => State::Ok,
    }
}

/// How alerts were told.
#[derive(Debug)]
pub struct Told {
    /// The deliveries that tell of those that are shown.
    pub deliveries: Vec<Delivery>,
    /// The webhooks that there are.
    pub webhooks: Arc<[WebhookRecord]>,
    /// Who looks: webhooks are shown to admins alone.
    pub viewer: Viewer,
}

/// Draws the page of alerts.
pub fn alerts_page(asked: &Asked, alerts: &[Of<Alert>], told: &Told, links: &Links) -> Page {
    let content = html! {
        @if alerts.is_empty() { (nothing_matches("alert", asked.is_filtered().then(|| links.to("alerts", &Query::new())))) }
        @else {
            div.scroll tabindex="0" role="group" aria-label="The list of alerts" {
                table.rows {
                    thead { tr {
                        th scope="col" { "When" } th scope="col" { "User" } th scope="col" { "Threshold" } th.n scope="col" { "Used of limit, then" }
                        th scope="col" { "Delivery" } @if told.viewer.is_admin() { th scope="col" { span.said { "Send again" } } }
                    } }
                    tbody { @for of in alerts { (alert_row(of, told, asked, links)) } }
                }
            }
        }
    };
    let note = "An alert looks at what is used. A card may stand at warning for what is only held, while there is no alert yet.";
    list_page("alerts", "Alerts", asked, links, &content, note)
}

fn alert_row(of: &Of<Alert>, told: &Told, asked: &Asked, links: &Links) -> Markup {
    let (alert, now) = (&of.row, asked.as_of);
    let deliveries: Vec<&Delivery> = told.deliveries.iter().filter(|delivery| delivery.about == alert.no.0).collect();
    // The list is shown again as it was asked for.
    let again = format!("alerts/{}/redeliver", alert.no.0);
    html! {
        tr data-key=(alert.no.0) {
            td { (moment(alert.recorded_at, now)) }
            th scope="row" { (parts::user(links, of.user_id.as_ref(), &Query::new().with("month", alert.month))) }
            td {
                (threshold(alert))
                span.ahead { (format::meter(alert.key.meter)) ", " (parts::text(alert.plan.as_str(), 20)) }
            }
            td.n { (parts::meter(alert.key.meter, &MeterBudget { used: alert.used, held: 0, limit: Some(alert.key.limit) })) }
            td.flows {
                @if deliveries.is_empty() { span.muted { (unsent(alert)) } }
                @for delivery in &deliveries {
                    (telling::went(Some(&telling::whom(delivery.receiver, &told.webhooks, told.viewer, links)), delivery, now))
                }
            }
            @if told.viewer.is_admin() {
                td.n {
                    @if !deliveries.is_empty() {
                        form.inline method="post" action=(links.to(&again, &asked.query(asked.month))) {
                            button.slight type="submit" { "Send again" }
                        }
                    }
                }
            }
        }
    }
}

/// Why nobody was told of it: messages are of the month that was running only.
fn unsent(alert: &Alert) -> &'static str {
    if alert.superseded_by.is_some() {
        return "Not sent: a higher one was, with the same operation";
    }
    match alert.month.cmp(&alert.recorded_at.month()) {
        Ordering::Less => "Not sent: past month",
        Ordering::Equal => "Not sent: nobody was to be told",
        Ordering::Greater => "Not sent: the month had not begun",
    }
}

/// Draws the page of denials.
pub fn denials_page(asked: &Asked, denials: &[Of<Denial>], links: &Links) -> Page {
    let content = html! {
        @if denials.is_empty() { (nothing_matches("denial", asked.is_filtered().then(|| links.to("denials", &Query::new())))) }
        @else {
            div.scroll tabindex="0" role="group" aria-label="The list of denials" {
                table.rows {
                    thead { tr {
                        th scope="col" { "When" } th scope="col" { "User" } th scope="col" { "Feature" } th scope="col" { "Why" } th scope="col" { "Asked for" } th scope="col" { "Refused by" }
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
            td { (source(denial.source)) }
            td.n { (format::count(denial.times.into())) }
            td { @match &denial.next_plan { Some(plan) => (parts::text(plan.as_str(), 20)), None => span.muted { "none" } } }
        }
    }
}

/// `$0.037, 2 API runs`
fn asked_for(amounts: &outlay_core::plan::Amounts) -> String {
    let mut parts = Vec::new();
    for (meter, amount) in amounts.iter().filter(|(_, amount)| **amount > 0) {
        parts.push(match meter {
            Meter::Cost => format::usd_exact(amounts.usd().into()),
            Meter::AiRuns | Meter::ApiRuns => format::runs(meter, *amount),
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
                    label { span { "State" }
                        select name="state" {
                            option value="" { "All states" }
                            @for (state, from) in [(State::Warning, "80%"), (State::Critical, "95%"), (State::Reached, "100%")] {
                                option value=(state.as_str()) selected[asked.state == Some(state)] { (parts::word(state)) ", " (from) }
                            }
                        }
                    }
                }
                button type="submit" { "Filter" }
                @if asked.is_filtered() { a href=(links.to(path, &Query::new())) { "Clear" } }
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

/// A few alerts, for beside other things; with whose they are, where that is not the page's own user.
pub(super) fn short_alerts<'a>(alerts: impl Iterator<Item = (Option<Markup>, &'a Alert)>, now: Timestamp) -> Markup {
    short(
        "No limit has come near.",
        alerts,
        |alert| {
            let what = html! { (crossed(alert)) };
            (threshold(alert), what, None, alert.recorded_at)
        },
        now,
    )
}

/// A few denials likewise.
pub(super) fn short_denials<'a>(denials: impl Iterator<Item = (Option<Markup>, &'a Denial)>, now: Timestamp) -> Markup {
    short(
        "Nobody was refused.",
        denials,
        |denial| {
            let badge = html! { span.badge.plain { (Icon::Left.draw()) (reason(denial)) @if denial.times > 1 { " ×" (denial.times) } } };
            let fits = html! { @match &denial.next_plan { Some(plan) => { "would fit " (parts::text(plan.as_str(), 20)) }, None => "would fit no plan" } };
            (badge, parts::text(denial.feature.as_str(), 28), Some(fits), denial.recorded_at)
        },
        now,
    )
}

/// A badge, whose it is and what, something more, and when.
type Notice = (Markup, Markup, Option<Markup>, Timestamp);

fn short<'a, T: 'a>(
    none: &str,
    items: impl Iterator<Item = (Option<Markup>, &'a T)>,
    notice: impl Fn(&T) -> Notice,
    now: Timestamp,
) -> Markup {
    let mut items = items.peekable();
    html! {
        @if items.peek().is_none() { (nothing(none)) }
        @else {
            ul.notices {
                @for (who, item) in items {
                    @let (badge, what, more, at) = notice(item);
                    li {
                        (badge)
                        div {
                            @match (who, more) {
                                (Some(who), Some(more)) => { p { (who) } p.small { (what) ", " (more) } },
                                (Some(who), None) => { p { (who) } p.small { (what) } },
                                (None, Some(more)) => { p { (what) } p.small { (more) } },
                                (None, None) => p { (what) },
                            }
                        }
                        (moment(at, now))
                    }
                }
            }
        }
    }
}

/// The threshold as a badge.
pub(super) fn threshold(alert: &Alert) -> Markup {
    let state = state_at(alert.key.threshold);
    let icon = match state {
        State::Reached => Icon::Reached,
        State::Critical => Icon::Critical,
        State::Warning => Icon::Warning,
        State::Ok => Icon::Ok,
    };
    html! { span class={ "badge " (state.as_str()) } title=(parts::word(state)) { (icon.draw()) (alert.key.threshold) "%" } }
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

/// What refused it, in words.
const fn source(source: DenialSource) -> &'static str {
    match source {
        DenialSource::Open => "Opening",
        DenialSource::Afford => "A check",
        DenialSource::Application => "The application",
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

//! What several views draw: icons, badges, bars, ids and times.

use maud::{Markup, PreEscaped, html};
use outlay_core::budget::{Budget, MeterBudget, State};
use outlay_core::id::{OperationId, SessionId, UserId};
use outlay_core::money::{Usd, UsdSum};
use outlay_core::month::Timestamp;
use outlay_core::operation::Operation;
use outlay_core::plan::Meter;
use outlay_core::session::SessionStatus;

use super::format;
use super::links::{Links, Query};

/// A small picture that stands beside a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Icon {
    /// Of the overview.
    Overview,
    /// Of users.
    Users,
    /// Of sessions.
    Sessions,
    /// Of alerts.
    Alerts,
    /// Of plans.
    Plans,
    /// Of settings.
    Settings,
    /// All is well.
    Ok,
    /// From 80 percent.
    Warning,
    /// From 95 percent.
    Critical,
    /// From 100 percent.
    Reached,
    /// It goes on.
    Running,
    /// It failed.
    Failed,
    /// It was left.
    Left,
    /// Light colours.
    Sun,
    /// Dark colours.
    Moon,
    /// The system's colours.
    Half,
    /// Leave.
    Out,
    /// Take a copy.
    Copy,
}

impl Icon {
    /// The picture.
    pub fn draw(self) -> Markup {
        let path = match self {
            Self::Overview => "M2 13V8h3v5zM6.5 13V3h3v10zM11 13V6h3v7z",
            Self::Users => {
                "M6 8a2.8 2.8 0 1 0 0-5.6A2.8 2.8 0 0 0 6 8zM1 13.6c0-2.6 2.2-4.2 5-4.2s5 1.6 5 4.2zM11 8a2.4 2.4 0 0 0 0-4.8M12.4 9.6c1.6.5 2.6 1.8 2.6 4h-2"
            }
            Self::Sessions => {
                "M2 4.2a1.7 1.7 0 1 1 3.4 0 1.7 1.7 0 0 1-3.4 0zM10.6 11.8a1.7 1.7 0 1 1 3.4 0 1.7 1.7 0 0 1-3.4 0zM5.4 3.6h4.2a3 3 0 0 1 0 6H6.4a1.6 1.6 0 0 0 0 2.9h4.2v-1.2H6.6a.5.5 0 0 1 0-.6h3a4.2 4.2 0 0 0 0-8.3H5.4z"
            }
            Self::Alerts => {
                "M8 1.8a4.4 4.4 0 0 0-4.4 4.4c0 3.2-1.4 4.4-1.4 5.2h11.6c0-.8-1.4-2-1.4-5.2A4.4 4.4 0 0 0 8 1.8zM6.2 12.6a1.8 1.8 0 0 0 3.6 0z"
            }
            Self::Plans => "M2 3h12v2.4H2zM2 6.8h9v2.4H2zM2 10.6h6V13H2z",
            Self::Settings => {
                "M2 4h7.2a2 2 0 0 1 3.6 0H14v1.4h-1.2a2 2 0 0 1-3.6 0H2zM14 12H7a2 2 0 0 1-3.6 0H2v-1.4h1.4a2 2 0 0 1 3.6 0h7z"
            }
            Self::Ok => "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm3.2 4.4-4 4.2L4.8 8.2l1-1 1.4 1.3 3-3.1z",
            Self::Warning => "M8 1.5 15 14H1zM8 4.6 3.5 12.6h9zM7.2 7.2h1.6v2.6H7.2zM7.2 10.5h1.6V12H7.2z",
            Self::Critical => "M8 1.5 15 14H1zM7.1 6v4.2h1.8V6zM7.1 11v1.7h1.8V11z",
            Self::Reached => "M5 1.5h6L14.5 5v6L11 14.5H5L1.5 11V5zM4.2 7v2h7.6V7z",
            Self::Running => "M8 2a6 6 0 1 0 6 6h-1.6A4.4 4.4 0 1 1 8 3.6zM8 5a3 3 0 0 1 3 3H8z",
            Self::Failed => {
                "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM5.6 6.6l1-1L8 7l1.4-1.4 1 1L9 8l1.4 1.4-1 1L8 9l-1.4 1.4-1-1L7 8z"
            }
            Self::Left => {
                "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 1.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9zM5 7.3h6v1.4H5z"
            }
            Self::Sun => {
                "M8 5a3 3 0 1 0 0 6 3 3 0 0 0 0-6zM7.3 1h1.4v2.2H7.3zM7.3 12.8h1.4V15H7.3zM1 7.3h2.2v1.4H1zM12.8 7.3H15v1.4h-2.2zM3 4l1-1 1.5 1.5-1 1zM10.5 11.5l1-1L13 12l-1 1zM12 3l1 1-1.5 1.5-1-1zM4.5 10.5l1 1L4 13l-1-1z"
            }
            Self::Moon => "M6.2 2A6 6 0 1 0 14 9.8 5.2 5.2 0 0 1 6.2 2z",
            Self::Out => "M3 2h6v1.6H4.6v8.8H9V14H3zM10.4 4.6 13.8 8l-3.4 3.4-1.1-1.1 1.5-1.5H6.6V7.2h4.2L9.3 5.7z",
            Self::Copy => "M5 1.5h8.5V11H11v3.5H2.5V5H5zm1.5 1.4V5H11v4.6h1.1V2.9zM3.9 6.4v6.7h5.7V6.4z",
            Self::Half => "M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zm0 1.4v9.2a4.6 4.6 0 0 1 0-9.2z",
        };
        html! { svg.icon viewBox="0 0 16 16" aria-hidden="true" { path fill-rule="evenodd" d=(path) {} } }
    }
}

/// The state of a budget. What the plan does not include counts as reached, but is no alarm: nothing ran out.
pub fn budget_state(budget: &Budget) -> Markup {
    let included = budget.meters.iter().filter(|(_, meter)| meter.limit != Some(0));
    let worst = included.map(|(_, meter)| meter.state()).max().unwrap_or_default();
    if worst != State::Ok || budget.state() == State::Ok {
        return state(worst);
    }
    let without = budget.meters.iter().filter(|(_, meter)| meter.limit == Some(0));
    let names: Vec<&str> = without.map(|(meter, _)| format::meter(meter)).collect();
    html! { span.badge.plain title={ "Not in the plan: " (names.join(", ")) } { (Icon::Left.draw()) "Not in plan" } }
}

/// When the first of a user's limits will be met, if that is likely this month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LimitAhead {
    /// Which meter's.
    pub meter: Meter,
    /// In so many days; 0 is today.
    pub days: usize,
}

/// Says it.
pub fn limit_ahead(ahead: Option<LimitAhead>) -> Markup {
    let Some(LimitAhead { meter, days }) = ahead else { return html! {} };
    let title = format!("At this pace, of {}", format::meter(meter));
    html! {
        span.ahead title=(title) {
            @match days { 0 => "limit today", 1 => "limit in ~1 day", _ => { "limit in ~" (days) " days" } }
        }
    }
}

/// The same in a column of its own.
pub fn days_ahead(ahead: Option<LimitAhead>) -> Markup {
    let Some(LimitAhead { meter, days }) = ahead else { return html! { span.muted { "–" } } };
    html! {
        span title={ "At this pace, of " (format::meter(meter)) } {
            @match days { 0 => "today", 1 => "~1 day", _ => { "~" (days) " days" } }
        }
    }
}

/// A state in a word and an icon, as well as in colour.
pub fn state(state: State) -> Markup {
    let icon = match state {
        State::Ok => Icon::Ok,
        State::Warning => Icon::Warning,
        State::Critical => Icon::Critical,
        State::Reached => Icon::Reached,
    };
    html! { span class={ "badge " (state.as_str()) } { (icon.draw()) (word(state)) } }
}

/// A state's word.
pub const fn word(state: State) -> &'static str {
    match state {
        State::Ok => "OK",
        State::Warning => "Warning",
        State::Critical => "Critical",
        State::Reached => "Reached",
    }
}

/// A session's status likewise.
pub fn status(status: SessionStatus) -> Markup {
    let icon = match status {
        SessionStatus::InProgress => Icon::Running,
        SessionStatus::Completed => Icon::Ok,
        SessionStatus::Failed => Icon::Failed,
        SessionStatus::Abandoned => Icon::Left,
    };
    html! { span class={ "badge " (status.as_str()) } { (icon.draw()) (status_word(status)) } }
}

/// A status's words.
pub const fn status_word(status: SessionStatus) -> &'static str {
    match status {
        SessionStatus::InProgress => "In progress",
        SessionStatus::Completed => "Completed",
        SessionStatus::Failed => "Failed",
        SessionStatus::Abandoned => "Abandoned",
    }
}

/// Text that somebody else chose: its direction stays its own affair, and what is long can be read whole.
pub fn text(text: &str, characters_max: usize) -> Markup {
    let short = format::shortened(text, characters_max);
    html! { bdi title=[(short != text).then_some(text)] { (short) } }
}

/// Text that may be broken where its words are joined, such as the name of a step.
pub fn breakable(text: &str, characters_max: usize) -> Markup {
    let short = format::shortened(text, characters_max);
    html! {
        bdi title=[(short != text).then_some(text)] { @for part in short.split_inclusive(['_', '-', '.']) { (part) wbr; } }
    }
}

/// A user's id as a link; an erased one has none.
pub fn user(links: &Links, user_id: Option<&UserId>, query: &Query) -> Markup {
    html! {
        @match user_id {
            Some(user_id) => a.id href=(links.user(user_id, query)) { (text(user_id.as_str(), 28)) },
            None => span.muted { "erased" },
        }
    }
}

/// A session's id as a link, where its user is known.
pub fn session(links: &Links, user_id: Option<&UserId>, session_id: &SessionId) -> Markup {
    html! {
        @match user_id {
            Some(user_id) => a.id href=(links.session(user_id, session_id)) { (text(session_id.as_str(), 24)) },
            None => span.id { (text(session_id.as_str(), 24)) },
        }
    }
}

/// An operation's id as a link.
pub fn operation(links: &Links, user_id: &UserId, operation_id: &OperationId) -> Markup {
    html! { a.id href=(links.operation(user_id, operation_id)) { (text(operation_id.as_str(), 28)) } }
}

/// An id as a heading, with a button that copies it; without a script there is none.
pub fn heading(id: &str) -> Markup {
    html! {
        div.headed {
            h1.id { (text(id, 48)) }
            button.copy type="button" hidden data-copy=(id) aria-label="Copy the id" title="Copy the id" { (Icon::Copy.draw()) }
        }
    }
}

/// What is shown once and then taken elsewhere, whole, with a button that copies it.
pub fn secret(text: &str) -> Markup {
    html! {
        div.headed {
            pre.secret tabindex="0" { code { (text) } }
            button.copy type="button" hidden data-copy=(text) aria-label="Copy it" title="Copy it" { (Icon::Copy.draw()) }
        }
    }
}

/// An instant to come: until when, and by a script how long that is.
pub fn until(at: Timestamp) -> Markup {
    html! { time datetime=(at) title=(at) data-until=(at.nanos() / 1_000_000) { "until " (format::time(at)) } }
}

/// An instant; the whole of it is in `title`.
pub fn moment(at: Timestamp, now: Timestamp) -> Markup {
    html! { time datetime=(at) title=(at) { (format::moment(at, now)) } }
}

/// A sum in cents, with all its decimals in `title`.
pub fn money(amount: UsdSum) -> Markup {
    html! { span title=(format::usd_exact(amount)) { (format::usd(amount)) } }
}

/// A bar of what is used and held of a limit, with its figures beside it. Without a limit there is no bar. What stands for
/// a missing limit is short, so that the figures of a column stay below one another; it is said in words too.
pub fn meter(meter: Meter, budget: &MeterBudget) -> Markup {
    let (used, name) = (format::amount(meter, budget.used), format::meter(meter));
    let limit = match budget.limit {
        Some(limit) if limit > 0 => limit,
        limit => {
            let (sign, words) = if limit.is_none() { ("∞", "no limit") } else { ("–", "not in the plan") };
            return html! {
                span.gauge { span { span.used { (used) } span.of title=(words) { " / " span aria-hidden="true" { (sign) } span.said { (words) } } } }
            };
        }
    };
    let words = format!("{used} of {}", format::amount(meter, limit));
    html! {
        span.gauge {
            span { span.used { (used) } span.of { " / " (format::amount(meter, limit)) } }
            (bar(budget, name, &words))
        }
    }
}

/// The bar alone.
pub fn bar(budget: &MeterBudget, name: &str, words: &str) -> Markup {
    let limit = i128::from(budget.limit.unwrap_or(1).max(1));
    let part = |amount: i64| (i128::from(amount).max(0).saturating_mul(1_000) / limit).min(1_000);
    let used = part(budget.used);
    let held = part(budget.used.saturating_add(budget.held)) - used;
    html! {
        span class={ "bar " (budget.state().as_str()) } role="meter" aria-label=(name) aria-valuemin="0" aria-valuemax="100"
            aria-valuenow=((used / 10)) aria-valuetext=(words) {
            (PreEscaped(format!(
                r#"<svg aria-hidden="true"><rect class="fill" width="{}%" height="100%"/>"#, tenths(used))))
            @if held > 0 {
                (PreEscaped(format!(r#"<rect class="held" x="{}%" width="{}%" height="100%"/>"#, tenths(used), tenths(held))))
            }
            (PreEscaped(r#"<rect class="tick" x="80%" width="1" height="100%"/></svg>"#))
        }
    }
}

/// A plain bar of a share, in thousandths.
pub fn share(thousandths: i128) -> Markup {
    PreEscaped(format!(
        r#"<svg class="share" aria-hidden="true"><rect width="{}%" height="100%"/></svg>"#,
        tenths(thousandths.clamp(0, 1_000))
    ))
}

/// Thousandths as percent with one decimal.
pub fn tenths(thousandths: i128) -> String {
    format!("{}.{}", thousandths / 10, thousandths % 10)
}

/// A part of a whole in thousandths; nothing of nothing.
pub fn thousandths(part: i128, whole: i128) -> i128 {
    part.saturating_mul(1_000).checked_div(whole).unwrap_or(0)
}

/// A cost with a thin bar of its share.
pub fn cost_share(cost: UsdSum, whole: UsdSum) -> Markup {
    html! { span.gauge { (money(cost)) (share(thousandths(cost.picos(), whole.picos()))) } }
}

/// A share in percent with a thin bar of it.
pub fn share_of(part: i128, whole: i128) -> Markup {
    html! { span.gauge { span.percent { (format::share(part, whole)) } (share(thousandths(part, whole))) } }
}

/// An operation's cost to the last decimal.
pub fn exact(cost: Usd) -> Markup {
    html! { span.exact { (format::usd_exact(cost.into())) } }
}

/// The same in a column: the class says how many decimals there are, so that the points stand below one another.
pub fn exact_in_column(cost: Usd) -> Markup {
    let text = format::usd_exact(cost.into());
    let decimals = text.split_once('.').map_or(0, |(_, decimals)| decimals.len());
    html! { span class={ "exact d" (decimals) } { (text) } }
}

/// What stands where a list is empty.
pub fn nothing(what: &str) -> Markup {
    html! { p.nothing { (what) } }
}

/// What stands where a list of `what` is empty, and where a filter left nothing; `clear` is the list without it.
pub fn nothing_matches(what: &str, clear: Option<String>) -> Markup {
    html! {
        p.nothing { @match clear { Some(clear) => { "No " (what) " matches. " a href=(clear) { "Show all" } }, None => { "No " (what) " yet." } } }
    }
}

/// Tabs by links.
pub fn tabs(label: &str, tabs: &[(&str, String, bool)]) -> Markup {
    html! {
        nav.tabs aria-label=(label) {
            @for (name, href, here) in tabs {
                a href=(href) aria-current=[here.then_some("true")] { (name) }
            }
        }
    }
}

/// Where a list goes on.
pub fn pager(first: Option<String>, next: Option<String>) -> Markup {
    html! {
        @if first.is_some() || next.is_some() {
            nav.pager aria-label="Pages" {
                @if let Some(first) = first { a href=(first) { "Back to the first" } }
                @if let Some(next) = next { a href=(next) rel="next" { "Next" } }
            }
        }
    }
}

/// The mark of a billable run.
pub fn billable() -> Markup {
    html! { span.mark { "Billable" } }
}

/// The mark of an operation that retention has emptied.
pub fn trimmed(operation: &Operation) -> Markup {
    html! { @if operation.trimmed { " " span.mark title="It is older than details are kept; what it cost and counted stays" { "trimmed" } } }
}

/// An application's own JSON, as it came.
pub fn json(text: &str) -> Markup {
    html! { pre.json tabindex="0" dir="ltr" { code { (text) } } }
}

//! What keys do, and what the words of the pages mean.

use maud::{Markup, html};

use super::links::{Links, Query};
use super::{Page, parts};
use outlay_core::budget::State;
use outlay_core::session::SessionStatus;

/// Draws it.
pub fn page(links: &Links, shortcuts: bool) -> Page {
    let word = |word: Markup, means: &str| html! { div { dt { (word) } dd { (means) } } };
    Page {
        section: None,
        title: "Help".to_owned(),
        heading: html! { h1 { "Help" } },
        stepper: None,
        main: html! {
            div.columns {
                section.panel aria-labelledby="keys" {
                    header { h2 #keys { "Keys" } }
                    dl.pairs {
                        (word(html! { kbd { "/" } }, "To the search: a user’s id, or how it begins; on a user’s page also the ids of their sessions and operations."))
                        (word(html! { kbd { "?" } }, "To this page."))
                        (word(html! { kbd { "Tab" } }, "To the next link or field; the first one of each page skips to its content."))
                    }
                    form.stacked.apart method="post" action=(links.to("shortcuts", &Query::new())) {
                        input type="hidden" name="to" value="help";
                        @if shortcuts { button type="submit" name="shortcuts" value="off" { "Turn single keys off" } }
                        @else { button type="submit" name="shortcuts" value="on" { "Turn single keys on" } p.small { "They are off in this browser." } }
                    }
                }
                section.panel aria-labelledby="figures" {
                    header { h2 #figures { "Figures" } }
                    ul.prose {
                        li { "All figures of a page are of one instant, which stands below it. They move by themselves while “Live” is shown." }
                        li { "Money is rounded to cents where there is little room; the exact amount is in the tooltip, on the page of each operation, in CSV and in JSON." }
                        li { "Days and months are UTC. An operation counts in the month of its own time, also when it is recorded late." }
                        li { "CSV and JSON of the same figures are linked below each page; the whole interface is at " a href=(links.to("docs", &Query::new())) { "API" } "." }
                    }
                }
            }
            section.panel aria-labelledby="words" {
                header { h2 #words { "Words" } }
                dl.pairs.wide {
                    (word(html! { "Held" }, "Set aside by sessions that are open: no part of what is used, but nobody else can have it. What a session does not use is given back when it ends."))
                    (word(html! { "Billable run" }, "An operation that counts against a limit of runs; any other one only costs."))
                    (word(parts::state(State::Warning), "From 80 percent of a limit, used and held together."))
                    (word(parts::state(State::Critical), "From 95 percent."))
                    (word(parts::state(State::Reached), "The limit itself. What asks first is refused; what was done all the same is recorded and counts."))
                    (word(html! { "Alert" }, "A threshold that what is used has crossed, once for each user, month, meter and limit."))
                    (word(html! { "Denial" }, "An intent that did not fit. Nothing was spent; the first plan in which it would have fitted is named."))
                    (word(parts::status(SessionStatus::Abandoned), "A session that nobody finished: its hold ran out, and was given back."))
                    (word(html! { span.mark { "late" } }, "A step that was recorded after its session had ended."))
                    (word(html! { span.mark { "trimmed" } }, "An operation that is older than details are kept: its tokens, duration and metadata were emptied. What it cost and counted stays."))
                    (word(html! { span.mark { "own limits" } }, "Limits of this user that stand above those of the plan."))
                }
            }
        },
        as_of: None,
        csv: None,
        json: None,
        user_id: None,
    }
}

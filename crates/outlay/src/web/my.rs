//! The end user's own page. It has no figures: the token is in the part of the address that browsers keep to themselves,
//! so a script asks for everything.

use maud::{Markup, html};

use super::frame::{self, Theme};
use super::links::Links;

/// Draws it.
pub fn page(links: &Links, theme: Theme) -> Markup {
    let panel = |id: &str, title: &str| {
        html! {
            section.panel hidden id={ (id) "-panel" } aria-labelledby={ (id) "-title" } {
                header { h2 id={ (id) "-title" } { (title) } }
                div.scroll id=(id) tabindex="0" role="group" aria-label=(title) {}
            }
        }
    };
    let body = html! {
        div.my {
            h1 { "Your usage" }
            p #my-note .muted role="status" { "One moment." }
            noscript { p { "This page needs a script: the token that opens it never leaves your browser’s address." } }
            div #my-card {}
            div #my-forecast {}
            (panel("my-months", "Six months"))
            (panel("my-features", "This month by feature"))
            (panel("my-sessions", "Your last sessions"))
            p.small { "All days and months are UTC." }
        }
    };
    frame::bare(links, "Your usage", theme, Some("my.js"), &body)
}

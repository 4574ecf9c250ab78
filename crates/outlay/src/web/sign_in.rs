//! What stands where somebody must say first who they are, and where something went wrong.

use maud::{Markup, html};

use super::frame::{self, Theme};
use super::links::{Links, Query};

/// The form that takes a key. `to` is where it leads back, an address without its first slash.
pub fn page(links: &Links, theme: Theme, to: &str, error: Option<&str>) -> Markup {
    let body = html! {
        section.panel.narrow aria-labelledby="sign-in" {
            p.brand { (frame::brand()) }
            h1 #sign-in { "Sign in" }
            p.muted { "With a key of this server. It is not kept in the browser: a cookie that ends after 12 hours stands for it." }
            form.stacked method="post" action=(links.to("sign-in", &Query::new())) {
                input type="hidden" name="to" value=(to);
                label { span { "Key" }
                    input type="password" name="key" required autocomplete="current-password" placeholder="outlay_view_…" spellcheck="false"
                        aria-describedby=[error.map(|_| "wrong")] aria-invalid=[error.map(|_| "true")];
                }
                @if let Some(error) = error { p.error #wrong role="alert" { (error) } }
                button.primary type="submit" { "Sign in" }
            }
            p.small { "No key yet? On the server: " code { "outlay keys create --role viewer" } }
        }
    };
    frame::bare(links, "Sign in", theme, None, &body)
}

/// What went wrong, for a person.
pub fn problem(links: &Links, theme: Theme, title: &str, details: &[String], slug: &str, request_id: &str) -> Markup {
    let body = html! {
        section.panel.narrow {
            p.brand { (frame::brand()) }
            h1 { (title) }
            @for detail in details { p { (detail) } }
            p { a href=(links.to("", &Query::new())) { "Overview" } " · " a href=(links.to(&format!("problems/{slug}"), &Query::new())) { "What this means" } }
            p.small { "Request " code { (request_id) } }
        }
    };
    frame::bare(links, title, theme, None, &body)
}

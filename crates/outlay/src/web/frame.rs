//! What surrounds every page: the rail, the search, the month, the theme, and what the figures are of.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::format;
use super::links::{Links, Query};
use super::parts::Icon;
use super::{Page, Section, Stepper, Viewer, assets};

/// Which colours were asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Theme {
    /// Those of the system.
    #[default]
    System,
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Theme {
    /// The name in the cookie; none for the system's.
    pub const fn as_str(self) -> Option<&'static str> {
        match self {
            Self::System => None,
            Self::Light => Some("light"),
            Self::Dark => Some("dark"),
        }
    }

    /// The theme with this name, else the system's.
    pub fn parse(name: &str) -> Self {
        [Self::Light, Self::Dark].into_iter().find(|theme| theme.as_str() == Some(name)).unwrap_or_default()
    }
}

/// What the frame needs to know beside the page.
#[derive(Debug)]
pub struct Around<'a> {
    /// Links as seen from the page.
    pub links: &'a Links,
    /// The page's own address, without its first slash: forms lead back to it.
    pub address: &'a str,
    /// Who looks.
    pub viewer: Viewer,
    /// Which colours.
    pub theme: Theme,
    /// Whether single keys do something; who speaks to their computer may not want that.
    pub shortcuts: bool,
}

const ENTRIES: [(Section, &str, &str, Icon); 6] = [
    (Section::Overview, "Overview", "", Icon::Overview),
    (Section::Users, "Users", "users", Icon::Users),
    (Section::Sessions, "Sessions", "sessions", Icon::Sessions),
    (Section::Alerts, "Alerts", "alerts", Icon::Alerts),
    (Section::Plans, "Plans", "plans", Icon::Plans),
    (Section::Settings, "Settings", "settings", Icon::Settings),
];

/// A whole page of the dashboard.
pub fn framed(page: &Page, around: &Around<'_>) -> Markup {
    let Around { links, address, viewer, theme, shortcuts } = around;
    let body = html! {
        a.skip href="#main" { "Skip to the content" }
        div.shell data-shortcuts=[(!shortcuts).then_some("off")] {
            (rail(page, links, *viewer, address))
            div.page {
                header.top {
                    div.title {
                        (page.heading)
                        @if let Some(stepper) = &page.stepper { (steps(stepper)) }
                        span.live #live hidden { "Live" }
                    }
                    div.tools {
                        (search(page, links))
                        (theme_switch(links, *theme, address))
                        a.help #help href=(links.to("help", &Query::new())) aria-label="Help" title="Help" aria-keyshortcuts="?" { "?" }
                    }
                }
                main #main tabindex="-1" { (page.main) }
                footer.foot {
                    @if let Some(as_of) = page.as_of {
                        span { "Figures as of " time #as-of datetime=(as_of) title=(as_of) { (format::time(as_of)) } " UTC. All days are UTC." }
                    }
                    span.twins {
                        @if let Some(csv) = &page.csv { a href=(csv) { "CSV" } }
                        @if let Some(json) = &page.json { a href=(json) { "JSON" } }
                        a href=(links.to("docs", &Query::new())) { "API" }
                    }
                }
            }
        }
        div #said .said aria-live="polite" {}
    };
    document(links, &page.title, *theme, &["page.js", "live.js"], &body)
}

/// A page without a rail: sign-in, problems, and what an end user sees.
pub fn bare(links: &Links, title: &str, theme: Theme, script: Option<&str>, body: &Markup) -> Markup {
    document(links, title, theme, script.as_slice(), &html! { main.bare #main { (body) } })
}

fn document(links: &Links, title: &str, theme: Theme, scripts: &[&str], body: &Markup) -> Markup {
    let asset = |name: &str| links.to(&format!("assets/{name}"), &Query::new().with("v", assets::version(name)));
    html! {
        (DOCTYPE)
        html lang="en" data-theme=[theme.as_str()] data-root=(links.root()) {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (title) " · Outlay" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href=(asset("app.css"));
                @for script in scripts { script type="module" src=(asset(script)) {} }
            }
            body { (body) }
        }
    }
}

/// A disc of which a part is spent.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' height='16' rx='4' fill='%230b7a5c'/%3E%3Cpath d='M8 3a5 5 0 1 1-5 5' fill='none' stroke='%23fff' stroke-width='2.4' stroke-linecap='round'/%3E%3C/svg%3E";

const MARK: PreEscaped<&str> = PreEscaped(
    r#"<svg class="mark" viewBox="0 0 16 16" aria-hidden="true"><rect width="16" height="16" rx="4"/><path d="M8 3.4a4.6 4.6 0 1 1-4.6 4.6"/></svg>"#,
);

/// The mark and the name.
pub fn brand() -> Markup {
    html! { (MARK) "Outlay" }
}

fn rail(page: &Page, links: &Links, viewer: Viewer, address: &str) -> Markup {
    // A month that was chosen stays chosen.
    let month = page.stepper.as_ref().filter(|stepper| stepper.running.is_some()).map(|stepper| stepper.month);
    html! {
        nav.rail aria-label="Main" { div.rail-in {
            a.brand href=(links.to("", &Query::new())) { (brand()) }
            div.entries {
                @for (section, name, path, icon) in ENTRIES {
                    @let keeps_month = matches!(section, Section::Overview | Section::Users | Section::Alerts);
                    @let query = Query::new().with_some("month", month.filter(|_| keeps_month));
                    a href=(links.to(path, &query)) aria-current=[(page.section == Some(section)).then_some("page")] {
                        (icon.draw()) span { (name) }
                    }
                }
            }
            @if viewer.signed_in {
                form.out method="post" action=(links.to("sign-out", &Query::new())) {
                    input type="hidden" name="to" value=(address);
                    button type="submit" { (Icon::Out.draw()) span { "Sign out" } }
                }
            }
        } }
    }
}

/// What leads to where a page belongs, above its heading.
pub fn crumbs(steps: &[Markup]) -> Markup {
    html! { nav.crumbs aria-label="Where this belongs" { @for (at, step) in steps.iter().enumerate() { @if at > 0 { span aria-hidden="true" { " / " } } (step) } } }
}

fn steps(stepper: &Stepper) -> Markup {
    let step = |href: &Option<String>, arrow: &str, label: &str| {
        html! {
            @match href {
                Some(href) => a href=(href) aria-label=(label) { (arrow) },
                None => span aria-hidden="true" { (arrow) },
            }
        }
    };
    html! {
        nav.stepper aria-label="Month" {
            (step(&stepper.before, "‹", "The month before"))
            strong title="All days are UTC" { (format::month(stepper.month)) }
            (step(&stepper.after, "›", "The month after"))
            @if let Some(running) = &stepper.running { a.now href=(running) { "This month" } }
        }
    }
}

fn search(page: &Page, links: &Links) -> Markup {
    // The short hint is for the eye; what can be found is said in full.
    let (hint, finds) = match page.user_id {
        Some(_) => ("Search ids", "Find a user, or a session or operation of this user, by id"),
        None => ("Search users", "Find a user by id"),
    };
    html! {
        form.search role="search" action=(links.to("search", &Query::new())) {
            input #search type="search" name="q" placeholder=(hint) aria-label=(finds) title=(finds) aria-keyshortcuts="/" maxlength="128"
                required autocomplete="off" spellcheck="false";
            @if let Some(user_id) = &page.user_id { input type="hidden" name="user" value=(user_id.as_str()); }
            kbd aria-hidden="true" { "/" }
        }
    }
}

fn theme_switch(links: &Links, theme: Theme, address: &str) -> Markup {
    html! {
        form.theme method="post" action=(links.to("theme", &Query::new())) {
            input type="hidden" name="to" value=(address);
            @for (of, name, icon) in [(Theme::System, "system", "As the system"), (Theme::Light, "light", "Light"), (Theme::Dark, "dark", "Dark")] {
                button type="submit" name="theme" value=(name) aria-label={ "Colours: " (icon) } aria-pressed=(if of == theme { "true" } else { "false" }) title=(icon) {
                    @match of {
                        Theme::System => (Icon::Half.draw()),
                        Theme::Light => (Icon::Sun.draw()),
                        Theme::Dark => (Icon::Moon.draw()),
                    }
                }
            }
        }
    }
}

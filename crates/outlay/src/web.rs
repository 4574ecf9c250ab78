//! The pages: what a person sees of the ledger, as HTML that works without a script.
//!
//! Each view is a file: a struct that is filled from [`crate::store::Reads`] alone, and functions that draw it. Nothing
//! here decides or knows HTTP: who may see a page, and what a form does, is the business of `http/dashboard`. Links are
//! relative, since the server may be reached below a path.

pub mod assets;
pub mod audit;
pub mod breakdown;
pub mod change;
pub mod chart;
pub mod format;
pub mod frame;
pub mod help;
pub mod links;
pub mod my;
pub mod notices;
pub mod operation;
pub mod overview;
pub mod parts;
pub mod plans;
pub mod quickstart;
pub mod session;
pub mod sessions;
pub mod settings;
pub mod sign_in;
pub mod telling;
pub mod user;
pub mod users;
pub mod webhook;

use maud::Markup;
use outlay_core::id::UserId;
use outlay_core::month::{Month, Timestamp};

use crate::store::records::Role;

/// Who looks at a page, as far as it shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Viewer {
    /// What they may do.
    pub role: Role,
    /// Whether they signed in, and so can sign out.
    pub signed_in: bool,
}

impl Viewer {
    /// Whether they may change users, plans and keys. What a viewer may not do is not drawn.
    pub fn is_admin(self) -> bool {
        self.role == Role::Admin
    }

    /// Whether they may make user tokens.
    pub fn is_app(self) -> bool {
        self.role >= Role::App
    }
}

/// The parts of the rail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Section {
    /// One month of everybody.
    Overview,
    /// The list of users, and each of them.
    Users,
    /// The list of sessions, and each of them.
    Sessions,
    /// Alerts and denials.
    Alerts,
    /// The plans.
    Plans,
    /// Keys, card and system.
    Settings,
}

/// The month that a page shows, and where its neighbours are.
#[derive(Debug, Clone)]
pub struct Stepper {
    /// The month shown.
    pub month: Month,
    /// The address of the month before.
    pub before: Option<String>,
    /// The address of the month after; none when it has not begun.
    pub after: Option<String>,
    /// The address of the running month, when another one is shown.
    pub running: Option<String>,
}

/// Months that a page steps back at most.
const MONTHS_BACK: u32 = 36;

impl Stepper {
    /// Steps around `month`; `link` makes the address of a month.
    pub fn new(month: Month, now: Timestamp, link: impl Fn(Month) -> String) -> Self {
        let running = now.month();
        let first = running.minus(MONTHS_BACK);
        Self {
            month,
            before: month.before().filter(|before| *before >= first).map(&link),
            after: (month < running).then(|| link(month.next())),
            running: (month != running).then(|| link(running)),
        }
    }
}

/// What a view gives to be framed.
#[derive(Debug)]
pub struct Page {
    /// Where it belongs.
    pub section: Option<Section>,
    /// What the tab of the browser says.
    pub title: String,
    /// What the page says first.
    pub heading: Markup,
    /// The months beside it.
    pub stepper: Option<Stepper>,
    /// The page itself.
    pub main: Markup,
    /// The instant of its figures; none when it has no figures.
    pub as_of: Option<Timestamp>,
    /// The same as CSV.
    pub csv: Option<String>,
    /// The same as JSON.
    pub json: Option<String>,
    /// The user whom the page is about: the search then knows their sessions and operations.
    pub user_id: Option<UserId>,
}

#[cfg(test)]
mod tests;

//! Denials: refused intents, kept for audit.

use std::sync::Arc;

use crate::budget::Failed;
use crate::id::{DenialNo, Label, Name, SessionId, UserNo};
use crate::month::Timestamp;
use crate::plan::Limits;
use crate::session::Ask;

/// The same session refused again within this many seconds counts up the denial that is there.
pub const REPEAT_SECONDS: i64 = 60;

/// Why something does, or does not, fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It does not fit into the cost meter, whatever else.
    BudgetExceeded,
    /// It does not fit into a runs meter.
    RunsExceeded,
    /// The application's own words, of a denial that it made.
    Application(Label),
}

impl Reason {
    /// The text on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::BudgetExceeded => "budget_exceeded",
            Self::RunsExceeded => "runs_exceeded",
            Self::Application(reason) => reason.as_str(),
        }
    }
}

/// Who refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DenialSource {
    /// The opening of a session.
    Open,
    /// An audited check.
    Afford,
    /// The application itself.
    Application,
}

impl DenialSource {
    /// The name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Afford => "afford",
            Self::Application => "application",
        }
    }
}

/// A refused intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Denial {
    /// Its number.
    pub no: DenialNo,
    /// Whose it is.
    pub user_no: UserNo,
    /// What was refused.
    pub feature: Name,
    /// The session that was refused.
    pub session_id: Option<SessionId>,
    /// What was asked for.
    pub ask: Ask,
    /// Why.
    pub reason: Reason,
    /// The meters that the first choice did not fit into.
    pub failed: Failed,
    /// The limits that it met.
    pub limits: Limits,
    /// The first later plan in which it would have fitted.
    pub next_plan: Option<Name>,
    /// How often the same session was refused.
    pub times: u64,
    /// Who refused.
    pub source: DenialSource,
    /// The application's own JSON object.
    pub metadata: Option<Arc<str>>,
    /// When it was first refused.
    pub recorded_at: Timestamp,
    /// The user's denial before this one.
    pub previous: Option<DenialNo>,
}

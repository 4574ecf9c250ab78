//! A user's own row and the row of each of their months.

use std::sync::Arc;

use crate::alert::AlertKey;
use crate::id::{AlertNo, DenialNo, Name, OperationNo, SessionNo, UserId, UserNo};
use crate::month::{Month, Timestamp};
use crate::operation::Operation;
use crate::plan::{Amounts, Overrides};

/// A user as the application set them, and where their lists begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Their number.
    pub no: UserNo,
    /// A random tag given with the number, so that a list of erasures never hits a number given out anew.
    pub tag: u64,
    /// Their id; no other row holds it.
    pub user_id: UserId,
    /// Their plan; `None` follows the default plan.
    pub plan: Option<Name>,
    /// Where alerts go.
    pub email: Option<Arc<str>>,
    /// Limits of their own.
    pub overrides: Overrides,
    /// Every month in which they have operations, ascending.
    pub months: Vec<Month>,
    /// Their newest session.
    pub last_session: Option<SessionNo>,
    /// Their newest denial.
    pub last_denial: Option<DenialNo>,
    /// Their newest alert.
    pub last_alert: Option<AlertNo>,
    /// When they were first seen.
    pub created_at: Timestamp,
}

/// What a user used in one month: each counter is the sum over the operations of that month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserMonth {
    /// Which month.
    pub month: Month,
    /// Used of each meter.
    pub used: Amounts,
    /// How many operations, reversals included.
    pub operations: u64,
    /// The newest operation of the month; each names the one before it.
    pub head: Option<OperationNo>,
    /// The alerts raised for this month.
    pub raised: Vec<AlertKey>,
    /// When it last changed; none while it is all zeros.
    pub last_updated_at: Option<Timestamp>,
}

impl UserMonth {
    /// A month without operations.
    pub const fn empty(month: Month) -> Self {
        Self { month, used: Amounts::ZERO, operations: 0, head: None, raised: Vec::new(), last_updated_at: None }
    }

    /// Counts an operation that was recorded, where the row is older than it: what deciding it did, but for alerts. `None`
    /// when the sums leave their range, which those of recorded operations never do.
    pub fn counting(mut self, operation: &Operation) -> Option<Self> {
        self.used = self.used.checked_add(&operation.amounts())?;
        self.operations = self.operations.checked_add(1)?;
        self.head = Some(operation.no);
        self.last_updated_at = Some(operation.recorded_at);
        Some(self)
    }
}

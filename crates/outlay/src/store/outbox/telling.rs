//! What a decision tells, and whom: for each event one delivery to each receiver who asked for it.
//!
//! A decision's changes are looked at before they are applied, while the books still say what was before. Who is told is
//! known then, and nothing is derived later: no receiver, no delivery. It knows no store.

use outlay_core::id::{Name, UserNo};
use outlay_core::ledger::{Books, Change, Command, Now};
use outlay_core::plan::{Limits, Plans};
use outlay_core::session::SessionStatus;
use outlay_core::user::User;

use super::{EventKind, EventKinds, LimitChange, MailTo, Receiver, WebhookRecord};
use crate::store::packed::delivery::limits_text;

/// Who is told of what.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct Receivers {
    webhooks: Vec<(u64, EventKinds)>,
    mail: MailTo,
}

/// A delivery that is to be written.
#[derive(Debug, Clone)]
pub(in crate::store) struct NewDelivery {
    pub(in crate::store) no: u64,
    pub(in crate::store) kind: EventKind,
    pub(in crate::store) about: u64,
    pub(in crate::store) user_no: Option<UserNo>,
    pub(in crate::store) receiver: Receiver,
    pub(in crate::store) body: Option<String>,
}

/// What a batch tells, numbered in one order.
#[derive(Debug)]
pub(in crate::store) struct Telling {
    next: u64,
    step: u64,
    new: Vec<NewDelivery>,
}

impl Receivers {
    pub(in crate::store) fn new(webhooks: &[WebhookRecord], mail: MailTo) -> Self {
        let told = webhooks.iter().filter(|webhook| webhook.gone_at.is_none());
        Self { webhooks: told.map(|webhook| (webhook.no, webhook.events)).collect(), mail }
    }

    pub(in crate::store) fn mail(&self) -> MailTo {
        self.mail
    }
}

impl Telling {
    /// Begins with the number of the next delivery; each is this far from the one before.
    pub(in crate::store) fn new(next: u64, step: u64) -> Self {
        Self { next, step, new: Vec::new() }
    }

    /// The number that comes next.
    pub(in crate::store) fn next(&self) -> u64 {
        self.next
    }

    /// Notes what a decision tells, before it is applied.
    pub(in crate::store) fn note(
        &mut self,
        to: &Receivers,
        books: &Books,
        command: &Command,
        changes: &[Change],
        now: Now,
    ) {
        let nobody = to.webhooks.is_empty() && to.mail == MailTo::default();
        // An erased person is nobody of whom anything is told, though their sessions end.
        if nobody || matches!(command, Command::Erase { .. }) {
            return;
        }
        for change in changes {
            match change {
                // Records are made for every month; messages go out for the running one, and of several thresholds that are
                // crossed at once only for the highest.
                Change::Alert(alert) if alert.superseded_by.is_none() && alert.month == now.wall.month() => {
                    let user = user_after(books, changes, alert.user_no);
                    let to_user = to.mail.user && user.is_some_and(|user| user.email.is_some());
                    let mails = [(to_user, Receiver::UserMail), (to.mail.operator, Receiver::OperatorMail)];
                    let mails = mails.into_iter().filter_map(|(is_told, mail)| is_told.then_some(mail));
                    self.tell(to, EventKind::ThresholdCrossed, Some(alert.no.0), Some(alert.user_no), mails, None);
                }
                Change::Denial(denial) if denial.no >= books.numbers().denial => {
                    self.tell(to, EventKind::DenialRecorded, Some(denial.no.0), Some(denial.user_no), [], None);
                }
                Change::Session(session) if session.status == SessionStatus::Abandoned => {
                    let before = books.session_by_no(session.no).map(|before| before.status);
                    if before == Some(SessionStatus::InProgress) {
                        self.tell(to, EventKind::SessionAbandoned, Some(session.no.0), Some(session.user_no), [], None);
                    }
                }
                Change::User(user) if matches!(command, Command::PutUser { .. }) => {
                    let before = books.user_by_no(user.no).map(|user| &**user);
                    let (_, before) = limits_of(books.plans(), before);
                    let (plan, after) = limits_of(books.plans(), Some(user));
                    self.tell_of_limits(to, Some(user.no), &plan, before, after);
                }
                Change::Plan(plan) => {
                    let before = books.plans().get(plan.name.as_str()).or_else(|| books.plans().effective(None));
                    let before = before.map(|plan| plan.limits).unwrap_or_default();
                    self.tell_of_limits(to, None, &plan.name, before, plan.limits);
                }
                _ => {}
            }
        }
    }

    fn tell_of_limits(&mut self, to: &Receivers, user_no: Option<UserNo>, plan: &Name, before: Limits, after: Limits) {
        if before != after {
            let body = limits_text(&LimitChange { plan: plan.clone(), before, after });
            self.tell(to, EventKind::LimitChanged, None, user_no, [], body.as_deref());
        }
    }

    /// Notes what plans tell that the configuration puts in place of others. The limits of who is on a plan that is gone are
    /// those of the default plan.
    pub(in crate::store) fn note_configured_plans(&mut self, to: &Receivers, before: &Plans, after: &Plans) {
        let limits = |plans: &Plans, name: &Name| {
            plans.get(name.as_str()).or_else(|| plans.effective(None)).map(|plan| plan.limits).unwrap_or_default()
        };
        let is_new = |name: &&Name| before.get(name.as_str()).is_none();
        let new = after.all().iter().map(|plan| &plan.name).filter(is_new);
        for name in before.all().iter().map(|plan| &plan.name).chain(new) {
            self.tell_of_limits(to, None, name, limits(before, name), limits(after, name));
        }
    }

    /// Notes a test.
    pub(in crate::store) fn note_test(&mut self, receiver: Receiver) {
        self.add(EventKind::Test, self.next, None, receiver, None);
    }

    /// One delivery for each receiver. An event without a row of its own has the number of its first delivery.
    fn tell(
        &mut self,
        to: &Receivers,
        kind: EventKind,
        about: Option<u64>,
        user_no: Option<UserNo>,
        mails: impl IntoIterator<Item = Receiver>,
        body: Option<&str>,
    ) {
        let about = about.unwrap_or(self.next);
        let webhooks = to.webhooks.iter().filter(|(_, events)| events.contains(kind));
        for receiver in mails.into_iter().chain(webhooks.map(|(no, _)| Receiver::Webhook(*no))) {
            self.add(kind, about, user_no, receiver, body.map(str::to_owned));
        }
    }

    fn add(&mut self, kind: EventKind, about: u64, user_no: Option<UserNo>, receiver: Receiver, body: Option<String>) {
        self.new.push(NewDelivery { no: self.next, kind, about, user_no, receiver, body });
        self.next += self.step;
    }

    /// What is to be written.
    pub(in crate::store) fn noted(&self) -> &[NewDelivery] {
        &self.new
    }

    /// Takes what is written.
    pub(in crate::store) fn take(&mut self) -> Vec<NewDelivery> {
        std::mem::take(&mut self.new)
    }

    /// Forgets what is not written after all.
    pub(in crate::store) fn forget(&mut self) {
        self.next -= self.step * self.new.len() as u64;
        self.new.clear();
    }
}

/// The user as they are after a decision.
fn user_after<'a>(books: &'a Books, changes: &'a [Change], user_no: UserNo) -> Option<&'a User> {
    let changed = changes.iter().find_map(|change| match change {
        Change::User(user) if user.no == user_no => Some(&**user),
        _ => None,
    });
    changed.or_else(|| books.user_by_no(user_no).map(|user| &**user))
}

/// The plan and the limits that hold for a user; nobody is on the default plan.
fn limits_of(plans: &Plans, user: Option<&User>) -> (Name, Limits) {
    let plan = plans.effective(user.and_then(|user| user.plan.as_ref()));
    let name = plan.map_or_else(|| plans.default_plan().clone(), |plan| plan.name.clone());
    let limits = plan.map(|plan| plan.limits).unwrap_or_default();
    (name, user.map_or(limits, |user| user.overrides.over(&limits)))
}

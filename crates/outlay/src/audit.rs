//! Who did what: an event for each change of settings and secrets, each export, backup and erasure, and for who was refused.
//!
//! An event is begun where the caller is known ([`Actor::did`]), and a store writes it in the transaction of its change. It
//! names users by number and holds neither their ids nor addresses of theirs, so that erasing a person leaves it as it is.
//! Nothing here knows HTTP or a store.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::sync::Arc;

use outlay_core::id::{Name, UserNo};
use outlay_core::ledger::{Books, Change, Command};
use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use outlay_core::plan::{Limit, Limits, Meter, Overrides, Plan, Plans};
use outlay_core::user::User;

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// The id of a key like `key_7Qm2ZkXv1rT9bLcE`, or one of `environment` (`OUTLAY_ADMIN_KEY`), `socket` (the owner of the
    /// data folder), `restore` (the command), `open` (anybody, on an open server), `configuration`, `token` (an end user) and
    /// `nobody`.
    pub who: Arc<str>,
    /// From where; none for what comes from this machine's own socket.
    pub address: Option<IpAddr>,
    /// Which request, as the log and the answer name it.
    pub request_id: Option<Arc<str>>,
}

impl Actor {
    /// One without an address, such as `configuration`.
    pub fn here(who: &str) -> Self {
        Self { who: Arc::from(who), address: None, request_id: None }
    }

    /// Begins an event of this actor.
    pub fn did(&self, action: Action) -> Event {
        Event { actor: self.clone(), action, subject: None, user_no: None, before: None, after: None }
    }
}

macro_rules! actions {
    ($($(#[$about:meta])* $name:ident = $text:literal,)*) => {
        /// What was done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Action { $($(#[$about])* $name,)* }

        impl Action {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The name that is kept and shown; it never changes.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

actions! {
    /// A user's plan, limits or address were set.
    UserSet = "user.set",
    /// A person was erased.
    UserErased = "user.erased",
    /// A person's data was taken along.
    UserExported = "user.exported",
    /// All tokens of a user were ended.
    TokensEnded = "tokens.ended",
    /// A plan was set.
    PlanSet = "plan.set",
    /// The configuration brought other plans than those that were stored.
    PlansConfigured = "plans.configured",
    /// A key was made.
    KeyCreated = "key.created",
    /// A key was revoked.
    KeyRevoked = "key.revoked",
    /// User tokens are signed with a new key.
    TokenKeyRotated = "token-key.rotated",
    /// Secrets were sealed anew under another master key.
    MasterKeyRotated = "master-key.rotated",
    /// The whole store was copied.
    BackupTaken = "backup.taken",
    /// A backup took the place of the store.
    StoreRestored = "store.restored",
    /// Operations were emptied of their details, since they are older than those are kept.
    DetailsEmptied = "details.emptied",
    /// A receiver of webhooks was added.
    WebhookCreated = "webhook.created",
    /// A receiver of webhooks was changed.
    WebhookChanged = "webhook.changed",
    /// A receiver of webhooks was removed.
    WebhookDeleted = "webhook.deleted",
    /// A test was sent to a receiver of webhooks.
    WebhookTested = "webhook.tested",
    /// A receiver of webhooks is told again, of one thing or of all that failed.
    WebhookRedelivered = "webhook.redelivered",
    /// All who were told of an alert are told again.
    AlertRedelivered = "alert.redelivered",
    /// A test was sent to the operator by mail.
    MailTested = "mail.tested",
    /// A key or token was shown that is not known, or holds no more.
    KeyRefused = "key.refused",
    /// Somebody known asked for what they may not do.
    RoleRefused = "role.refused",
}

/// Something that is done, to be kept with its change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// By whom.
    pub actor: Actor,
    /// What.
    pub action: Action,
    /// To what: a key's id, a plan's name, a route. Never a user.
    pub subject: Option<Arc<str>>,
    /// To which user.
    pub user_no: Option<UserNo>,
    /// What was before; none where nothing was.
    pub before: Option<Facts>,
    /// What is now; none where nothing is.
    pub after: Option<Facts>,
}

impl Event {
    /// Says to what it was done.
    #[must_use]
    pub fn on(mut self, subject: &str) -> Self {
        self.subject = Some(Arc::from(subject));
        self
    }

    /// Says to which user.
    #[must_use]
    pub fn of_user(mut self, user_no: UserNo) -> Self {
        self.user_no = Some(user_no);
        self
    }

    /// Says what was before.
    #[must_use]
    pub fn before(mut self, facts: Facts) -> Self {
        self.before = Some(facts);
        self
    }

    /// Says what is now.
    #[must_use]
    pub fn after(mut self, facts: Facts) -> Self {
        self.after = Some(facts);
        self
    }
}

/// An event that a store keeps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number: they count up from 1, without gaps.
    pub no: u64,
    /// When, by the wall clock.
    pub at: Timestamp,
    /// By whom.
    pub actor: Actor,
    /// The name of an [`Action`], perhaps of a later version.
    pub action: Arc<str>,
    /// To what.
    pub subject: Option<Arc<str>>,
    /// To which user.
    pub user_no: Option<UserNo>,
    /// A JSON object: what was before.
    pub before: Option<Arc<str>>,
    /// A JSON object: what is now.
    pub after: Option<Arc<str>>,
}

/// A few facts, as the text of a JSON object.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts(String);

impl Facts {
    /// No fact yet.
    pub const fn new() -> Self {
        Self(String::new())
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, name: &str, value: &str) -> Self {
        self.json(name, &quoted(value))
    }

    /// Adds a text, or null.
    #[must_use]
    pub fn text_or_null(self, name: &str, value: Option<&str>) -> Self {
        self.json(name, &value.map_or_else(|| "null".to_owned(), quoted))
    }

    /// Adds what is JSON already: a number, `true`, or the text of an object.
    #[must_use]
    pub fn json(mut self, name: &str, json: &str) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        self.0.push_str(&quoted(name));
        self.0.push(':');
        self.0.push_str(json);
        self
    }

    /// The object.
    pub fn to_json(&self) -> String {
        format!("{{{}}}", self.0)
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The event of a command that is about to change the books; none where it changes nothing, or nothing that is audited.
pub fn of_decision(books: &Books, command: &Command, changes: &[Change], actor: &Actor) -> Option<Event> {
    match command {
        Command::PutUser { user_id, .. } => {
            let after = changes.iter().find_map(|change| match change {
                Change::User(user) => Some(&**user),
                _ => None,
            })?;
            let event = actor.did(Action::UserSet).of_user(after.no);
            Some(match books.user(user_id) {
                Some(before) => {
                    let facts = user_facts(after);
                    let moved = before.email.is_some() && after.email.is_some() && before.email != after.email;
                    let facts = if moved { facts.json("otherEmail", "true") } else { facts };
                    event.before(user_facts(before)).after(facts)
                }
                None => event.after(user_facts(after)),
            })
        }
        Command::Erase { user_id } => {
            let user = books.user(user_id).filter(|_| !changes.is_empty())?;
            // What tells them from a later bearer of the number, for a list of erasures to be made of a copy of the log.
            let facts = Facts::new().text("tag", &user.tag.to_string());
            Some(actor.did(Action::UserErased).of_user(user.no).after(facts))
        }
        Command::PutPlan { name, .. } => {
            let after = changes.iter().find_map(|change| match change {
                Change::Plan(plan) => Some(plan),
                _ => None,
            })?;
            let event = actor.did(Action::PlanSet).on(name.as_str()).after(plan_facts(after));
            Some(match books.plans().get(name.as_str()) {
                Some(before) => event.before(plan_facts(before)),
                None => event,
            })
        }
        _ => None,
    }
}

/// The event of plans that the configuration puts in place of others; none where they are the same.
pub fn of_configured_plans(before: &Plans, after: &Plans) -> Option<Event> {
    let same = before.all() == after.all() && before.default_plan() == after.default_plan();
    let event = || Actor::here("configuration").did(Action::PlansConfigured);
    (!same).then(|| event().before(plans_facts(before)).after(plans_facts(after)))
}

fn plans_facts(plans: &Plans) -> Facts {
    let each = plans
        .all()
        .iter()
        .fold(Facts::new(), |facts, plan| facts.json(plan.name.as_str(), &plan_facts(plan).to_json()));
    Facts::new().text("default", plans.default_plan().as_str()).json("plans", &each.to_json())
}

fn plan_facts(plan: &Plan) -> Facts {
    Facts::new().json("tier", &plan.tier.to_string()).json("limits", &limits_facts(&plan.limits).to_json())
}

fn limits_facts(limits: &Limits) -> Facts {
    Meter::ALL
        .into_iter()
        .fold(Facts::new(), |facts, meter| facts.json(meter.as_str(), &limit_json(meter, *limits.get(meter))))
}

fn user_facts(user: &User) -> Facts {
    Facts::new()
        .text_or_null("plan", user.plan.as_ref().map(Name::as_str))
        .json("limits", &overrides_facts(&user.overrides).to_json())
        .json("email", if user.email.is_some() { "true" } else { "false" })
}

fn overrides_facts(overrides: &Overrides) -> Facts {
    Meter::ALL.into_iter().fold(Facts::new(), |facts, meter| match overrides.get(meter) {
        Some(limit) => facts.json(meter.as_str(), &limit_json(meter, *limit)),
        None => facts,
    })
}

fn limit_json(meter: Meter, limit: Limit) -> String {
    match (meter, limit) {
        (_, None) => "null".to_owned(),
        (Meter::Cost, Some(picos)) => Usd::from_picos(picos).to_string(),
        (Meter::AiRuns | Meter::ApiRuns, Some(runs)) => runs.to_string(),
    }
}

/// One entry as a line of JSON, without its end.
pub fn line(entry: &Entry, deployment_id: u128) -> String {
    let mut facts = Facts::new()
        .json("number", &entry.no.to_string())
        .text("recordedAt", &entry.at.to_string())
        .text("deployment", &format!("{deployment_id:032x}"))
        .text("who", &entry.actor.who)
        .text_or_null("address", entry.actor.address.map(|address| address.to_string()).as_deref())
        .text_or_null("requestId", entry.actor.request_id.as_deref())
        .text("action", &entry.action)
        .text_or_null("subject", entry.subject.as_deref());
    let mut user = String::from("null");
    if let Some(no) = entry.user_no {
        user.clear();
        // Writing to a string cannot fail.
        let _ = write!(user, "{}", no.0);
    }
    facts = facts.json("userNumber", &user);
    facts = facts.json("before", entry.before.as_deref().unwrap_or("null"));
    facts.json("after", entry.after.as_deref().unwrap_or("null")).to_json()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_json_whatever_stands_in_them() {
        let facts = Facts::new().text("a\"\n", "x\u{2028}\"\\\r\n").text_or_null("b", None).json("c", "1.5");
        let read: serde_json::Value = serde_json::from_str(&facts.to_json()).unwrap();
        assert_eq!(read["a\"\n"], "x\u{2028}\"\\\r\n");
        assert_eq!((&read["b"], &read["c"]), (&serde_json::Value::Null, &serde_json::json!(1.5)));
        assert_eq!(Facts::new().to_json(), "{}");
    }

    #[test]
    fn an_entry_is_one_line() {
        let entry = Entry {
            no: 7,
            at: Timestamp::parse("2025-10-13T12:00:00Z").unwrap(),
            actor: Actor {
                who: Arc::from("key_1\nINFO forged"),
                address: Some(IpAddr::from([203, 0, 113, 7])),
                request_id: Some(Arc::from("r1")),
            },
            action: Arc::from("plan.set"),
            subject: Some(Arc::from("a\r\nb")),
            user_no: Some(UserNo(3)),
            before: None,
            after: Some(Arc::from("{\"x\":1}")),
        };
        let line = line(&entry, 1);
        assert!(!line.contains(['\n', '\r']), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["subject"], "a\r\nb");
        assert_eq!(read["userNumber"], 3);
        assert_eq!(read["after"]["x"], 1);
    }

    #[test]
    fn no_two_actions_have_one_name() {
        let mut names: Vec<&str> = Action::ALL.iter().map(|action| action.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Action::ALL.len());
    }
}

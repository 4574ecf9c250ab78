//! The words of a case as commands: what they mean depends on what is recorded and held when they are said.

use outlay_core::id::{Label, Name, OperationId, SessionId, SessionNo, UserId, UserNo};
use outlay_core::ledger::Command;
use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use outlay_core::operation::{Fingerprint, FingerprintBuilder, NewOperation, UsageType};
use outlay_core::plan::{Amounts, Limits, Meter, Overrides, RUNS_AMOUNT_MAX};
use outlay_core::session::{Ask, Choice, SessionStatus};

use crate::generate::{Action, Amount, EXISTING, Limit, NewStep};
use crate::naive::{Model, Opened};
use crate::seen::Values;

/// The plans that cases speak of; the last is none that a new store has.
const PLANS: [&str; 6] = ["base", "pro", "premium", "business", "enterprise", "gold"];

/// The moment at which words are said.
#[derive(Debug, Clone, Copy)]
pub struct Words<'a> {
    /// What has happened so far.
    pub model: &'a Model,
    /// The commands so far, for those that say one again.
    pub history: &'a [Command],
    /// The clock of holds.
    pub holds: Timestamp,
    /// The wall clock.
    pub wall: Timestamp,
}

impl Words<'_> {
    /// The command that an action stands for; none for one that is no command, or has nothing to be about yet.
    pub fn command(self, user: u64, action: &Action) -> Option<Command> {
        let user_id = user_id(user);
        let command = match action {
            Action::Record { operation, feature, step } => {
                Command::Record(Box::new(self.operation(user, *operation, *feature, step)))
            }
            Action::Again(which) => {
                let which = which.checked_rem(self.history.len() as u64)?;
                self.history[usize::try_from(which).unwrap()].clone()
            }
            Action::Reverse { original, operation } => Command::Reverse {
                user_id,
                original: self.operation_id(user, *original),
                operation_id: self.operation_id(user, *operation),
                reason: None,
            },
            Action::Open { session, feature, ways, choices, seconds } => Command::Open {
                user_id,
                session_id: self.session_id(user, *session),
                feature: self.feature(*feature),
                ask: self.ask(user, Some(*session), ways, *choices),
                hold_seconds: *seconds,
                metadata: None,
            },
            Action::Extend { session, seconds, estimate } => Command::Extend {
                user_id,
                session_id: self.session_id(user, *session),
                hold_seconds: *seconds,
                estimate: estimate.map(|estimate| self.amounts(user, Some(*session), &estimate)),
            },
            Action::Finish { session, finish, error } => Command::Finish {
                user_id,
                session_id: self.session_id(user, *session),
                finish: *finish,
                error: error.then(|| Label::new("boom").unwrap()),
            },
            Action::Expire(which) => {
                Command::Expire { session_no: SessionNo(which.checked_rem(self.model.sessions.len() as u64)? + 1) }
            }
            Action::Audit { feature, ways, choices } => Command::AuditedCheck {
                user_id,
                feature: self.feature(*feature),
                ask: self.ask(user, None, ways, *choices),
            },
            Action::Deny { estimate, session } => Command::Deny {
                user_id,
                feature: self.feature(0),
                estimate: self.amounts(user, None, estimate),
                reason: Label::new("maintenance").unwrap(),
                session_id: session.map(|session| self.session_id(user, session)),
                metadata: None,
            },
            Action::PutUser { plan, limits, email } => Command::PutUser {
                user_id,
                plan: plan.map(|plan| Name::new(PLANS.get(usize::try_from(plan).unwrap()).unwrap_or(&"none")).unwrap()),
                email: email.then(|| "someone@example.org".into()),
                overrides: self.overrides(user, limits),
            },
            Action::PutPlan { name, limits, tier } => {
                let overrides = self.overrides(user, limits);
                let limits = Limits::from_fn(|meter| overrides.get(meter).unwrap_or(Some(10)));
                Command::PutPlan {
                    name: Name::new(PLANS[usize::try_from(*name).unwrap()]).unwrap(),
                    limits,
                    tier: *tier,
                }
            }
            Action::Erase => Command::Erase { user_id },
            Action::Recheck(which) => {
                Command::Recheck { user_no: UserNo(which.checked_rem(self.model.people.len() as u64)? + 1) }
            }
            Action::Check { .. } | Action::Commit | Action::Shrink | Action::Restart => return None,
        };
        Some(command)
    }

    fn session_id(self, user: u64, session: u64) -> SessionId {
        let person = self.model.person(user_id(user).as_str());
        let open = |row: &&Opened| Some(row.person) == person && row.status == SessionStatus::InProgress;
        let mut holding: Vec<_> = self.model.sessions.iter().filter(open).collect();
        if holding.iter().any(|row| row.holds()) {
            holding.retain(|row| row.holds());
        }
        let existing = session.checked_sub(EXISTING).and_then(|which| which.checked_rem(holding.len() as u64));
        let id = existing.map(|which| holding[usize::try_from(which).unwrap()].id.clone());
        SessionId::new(&id.unwrap_or_else(|| format!("session{}", session % EXISTING))).unwrap()
    }

    fn operation_id(self, user: u64, operation: u64) -> OperationId {
        let person = self.model.person(user_id(user).as_str());
        let of_user: Vec<_> = self.model.operations.iter().filter(|row| Some(row.person) == person).collect();
        let existing = operation.checked_sub(EXISTING).and_then(|which| which.checked_rem(of_user.len() as u64));
        let id = existing.map(|which| of_user[usize::try_from(which).unwrap()].id.clone());
        OperationId::new(&id.unwrap_or_else(|| format!("operation{}", operation % EXISTING))).unwrap()
    }

    #[expect(clippy::unused_self, reason = "reads like the other words")]
    fn feature(self, feature: u64) -> Name {
        Name::new(if feature == 0 { "scan" } else { "search" }).unwrap()
    }

    fn overrides(self, user: u64, limits: &[Limit; 3]) -> Overrides {
        let person = self.model.person(user_id(user).as_str());
        let used = self.model.budget(person, self.holds.month()).used;
        Overrides::from_fn(|meter| match limits[meter as usize] {
            Limit::OfPlan => None,
            Limit::None => Some(None),
            Limit::Exactly(limit) => Some(Some(limit)),
            Limit::Used(more) => Some(Some((i64::try_from(used[meter as usize]).unwrap() + more).max(0))),
        })
    }

    /// What is asked to be set aside.
    pub fn ask(self, user: u64, session: Option<u64>, ways: &[[Amount; 3]], choices: bool) -> Ask {
        let mut estimates = ways.iter().map(|way| self.amounts(user, session, way));
        if !choices {
            return Ask::Estimate(estimates.next().unwrap());
        }
        let names = ["ai", "basic", "free"].map(|name| Name::new(name).unwrap());
        Ask::Choices(names.into_iter().zip(estimates).map(|(name, estimate)| Choice { name, estimate }).collect())
    }

    fn amounts(self, user: u64, session: Option<u64>, amounts: &[Amount; 3]) -> Amounts {
        Amounts::from_fn(|meter| self.amount(user, session, meter, amounts[meter as usize]))
    }

    fn amount(self, user: u64, session: Option<u64>, meter: Meter, amount: Amount) -> i64 {
        let person = self.model.person(user_id(user).as_str());
        let at = meter as usize;
        let max = if meter == Meter::Cost { Usd::AMOUNT_MAX.picos() } else { RUNS_AMOUNT_MAX };
        let amount = match amount {
            Amount::Exactly(amount) => i128::from(amount),
            Amount::LeftOfLimit(more) => {
                let budget = self.model.budget(person, self.holds.month());
                budget.limits[at].map_or(5, |limit| limit - budget.used[at] - budget.held[at]) + i128::from(more)
            }
            Amount::LeftOfHold(more) => self.left_of_hold(user, session)[at] + i128::from(more),
        };
        i64::try_from(amount.clamp(0, i128::from(max))).unwrap()
    }

    fn left_of_hold(self, user: u64, session: Option<u64>) -> Values {
        let person = self.model.person(user_id(user).as_str());
        let id = session.map(|session| self.session_id(user, session).as_str().to_owned());
        let place =
            self.model.sessions.iter().position(|row| Some(row.person) == person && Some(&row.id) == id.as_ref());
        place.map_or([0; 3], |session| self.model.left(session))
    }

    fn operation(self, user: u64, operation: u64, feature: u64, step: &NewStep) -> NewOperation {
        let mut cost = self.amount(user, step.session, Meter::Cost, step.cost);
        let mut run = step.run;
        let mut ago = step.ago;
        if step.covered {
            let left = self.left_of_hold(user, step.session);
            cost = i64::try_from(i128::from(cost).min(left[0])).unwrap();
            run &= left[if step.api { 2 } else { 1 }] > 0;
            ago = None;
        }
        let mut new = NewOperation {
            operation_id: self.operation_id(user, operation),
            user_id: user_id(user),
            usage_type: if step.api { UsageType::Api } else { UsageType::Ai },
            feature: self.feature(feature),
            provider: Name::new(if step.api { "tavily" } else { "unknown" }).unwrap(),
            model: step.run.then(|| Name::new("small").unwrap()),
            cost: Usd::from_picos(cost),
            tokens: None,
            units: None,
            is_billable_run: run,
            session_id: step.session.map(|session| self.session_id(user, session)),
            step_label: None,
            step_number: step.number,
            finish_session: step.finish,
            duration_ms: None,
            timestamp: ago.map(|ago| self.wall.plus_seconds(-ago)),
            metadata: None,
            fingerprint: Fingerprint([0; 16]),
        };
        new.fingerprint = FingerprintBuilder::of(&new, true, true, None);
        new
    }
}

/// The id of a case's user.
pub fn user_id(user: u64) -> UserId {
    UserId::new(&format!("user{user}")).unwrap()
}

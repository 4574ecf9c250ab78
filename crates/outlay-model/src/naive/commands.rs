//! What each command does to the lists of the naive model.

use outlay_core::id::{Label, Name};
use outlay_core::ledger::{Command, Now, Rejection};
use outlay_core::month::Month;
use outlay_core::operation::{NewOperation, UsageType};
use outlay_core::plan::{Amounts, Limits, Meter, Overrides};
use outlay_core::session::{Ask, Finish, SessionStatus};

use super::{DAY_SECONDS, Denied, Model, NINE_MILLION_USD, Opened, Recorded, minus, months, span};
use crate::seen::{self, BudgetSeen, DenialSeen, Seen, Values};

impl Model {
    pub fn run(&mut self, command: &Command, now: Now) -> Seen {
        self.pass(now.holds);
        let done = match command {
            Command::Record(asked) => self.record(asked, now),
            Command::Reverse { user_id, original, operation_id, .. } => {
                self.reverse(user_id.as_str(), original.as_str(), operation_id.as_str())
            }
            Command::Open { user_id, session_id, feature, ask, hold_seconds, .. } => {
                self.open(user_id.as_str(), session_id.as_str(), feature, ask, *hold_seconds, now)
            }
            Command::Extend { user_id, session_id, hold_seconds, estimate } => {
                self.extend(user_id.as_str(), session_id.as_str(), *hold_seconds, *estimate, now)
            }
            Command::Finish { user_id, session_id, finish, error } => {
                self.finish(user_id.as_str(), session_id.as_str(), *finish, error.as_ref(), now)
            }
            Command::AuditedCheck { user_id, feature, ask } => Ok(self.audit(user_id.as_str(), feature, ask, now)),
            Command::Deny { user_id, feature, estimate, reason, session_id, .. } => {
                let person = self.person_or_new(user_id.as_str());
                let ask = Ask::Estimate(*estimate);
                let budgets = [self.budget(Some(person), now.holds.month())];
                let session = session_id.as_ref().map(|id| id.as_str().to_owned());
                let denial = self.deny(person, (feature, session), &ask, &budgets, ("application", Some(reason)), now);
                Ok(Seen::Denied(denial))
            }
            Command::PutUser { user_id, plan, email, overrides } => {
                self.put_user(user_id.as_str(), plan.as_ref(), email.as_deref(), overrides)
            }
            Command::PutPlan { name, limits, tier } => Ok(self.put_plan(name.as_str(), limits, *tier)),
            Command::Erase { user_id } => {
                if let Some(person) = self.person(user_id.as_str()) {
                    self.people[person].erased = true;
                    for session in self.sessions.iter_mut().filter(|session| session.person == person) {
                        if session.status == SessionStatus::InProgress && session.hold.is_some() {
                            session.status = SessionStatus::Abandoned;
                        }
                    }
                }
                Ok(Seen::Done)
            }
            Command::Recheck { user_no } => {
                let person = usize::try_from(user_no.0).unwrap() - 1;
                if !self.people[person].erased {
                    self.raise_in_all_months(person);
                }
                Ok(Seen::Done)
            }
            Command::Expire { .. } => Ok(Seen::Done),
        };
        done.unwrap_or_else(Seen::Rejected)
    }

    /// An operation as it is answered: when it was recorded, or as a duplicate.
    pub fn recorded(&self, operation: usize, duplicate: bool) -> Seen {
        let recorded = &self.operations[operation];
        let id = |place: usize| self.operations[place].id.clone();
        Seen::Recorded {
            id: recorded.id.clone(),
            duplicate,
            cost: recorded.uses[0],
            month: recorded.at.month(),
            session: recorded.session,
            step: recorded.step,
            reverses: recorded.reverses.map(id),
            reversed_by: self.reversal_of(operation).map(id),
            budget: self.budget(Some(recorded.person), recorded.at.month()),
        }
    }

    fn record(&mut self, asked: &NewOperation, now: Now) -> Result<Seen, Rejection> {
        let (user, id) = (asked.user_id.as_str(), asked.operation_id.as_str());
        if let Some(first) = self.person(user).and_then(|person| self.find_operation(person, id)) {
            let same = self.operations[first].asked.as_ref() == Some(asked);
            return if same { Ok(self.recorded(first, true)) } else { Err(Rejection::OperationConflict) };
        }
        if asked.finish_session.is_some() && asked.session_id.is_none() {
            return Err(Rejection::FinishWithoutSession);
        }
        let at = asked.timestamp.unwrap_or(now.wall);
        if at > now.wall.plus_seconds(DAY_SECONDS) {
            return Err(Rejection::TimestampAhead);
        }
        let run = i128::from(asked.is_billable_run);
        let cost = i128::from(asked.cost.picos());
        let uses = if asked.usage_type == UsageType::Ai { [cost, run, 0] } else { [cost, 0, run] };
        let used = self.person(user).map_or([0; 3], |person| self.used(person, at.month()));
        if used[0] + cost > NINE_MILLION_USD {
            return Err(Rejection::SumTooLarge(Meter::Cost));
        }
        let person = self.person_or_new(user);
        let session = asked.session_id.as_ref().map(|id| {
            self.find_session(person, id.as_str()).unwrap_or_else(|| {
                self.sessions.push(Opened {
                    person,
                    id: id.as_str().to_owned(),
                    feature: asked.feature.as_str().to_owned(),
                    hold: None,
                    status: SessionStatus::InProgress,
                    due: now.holds.plus_seconds(DAY_SECONDS),
                    error: None,
                    budget_exceeded: false,
                });
                self.sessions.len() - 1
            })
        });
        let covered = session.filter(|session| self.touched(*session).contains(&at.month()));
        let left = covered.map_or([0; 3], |session| self.left(session));
        let drew = std::array::from_fn(|meter| uses[meter].min(left[meter]));
        self.people[person].asks_first &= drew == uses;
        let steps = session.map_or(0, |session| self.session(session).steps);
        let step = asked.step_number.or_else(|| session.map(|_| i64::try_from(steps).unwrap() + 1));
        self.operations.push(Recorded {
            person,
            id: id.to_owned(),
            asked: Some(asked.clone()),
            uses,
            at,
            session,
            step,
            reverses: None,
            drew,
        });
        if let Some(session) = session {
            self.step_taken(session, uses, at.month(), asked.finish_session, now);
        }
        self.raise(person, at.month());
        Ok(self.recorded(self.operations.len() - 1, false))
    }

    fn step_taken(&mut self, session: usize, uses: Values, month: Month, finish: Option<Finish>, now: Now) {
        let person = self.sessions[session].person;
        let (used, limits) = (self.used(person, month), self.limits(Some(person)));
        let over = (0..3).any(|meter| uses[meter] > 0 && limits[meter].is_some_and(|limit| used[meter] > limit));
        let opened = &mut self.sessions[session];
        opened.budget_exceeded |= over;
        if opened.status == SessionStatus::InProgress && opened.hold.is_none() {
            opened.due = now.holds.plus_seconds(DAY_SECONDS);
        }
        if let Some(finish) = finish
            && matches!(opened.status, SessionStatus::InProgress | SessionStatus::Abandoned)
        {
            opened.status = finish.into();
        }
    }

    fn reverse(&mut self, user: &str, original: &str, id: &str) -> Result<Seen, Rejection> {
        let person = self.person(user).ok_or(Rejection::UnknownOperation)?;
        let original = self.find_operation(person, original).ok_or(Rejection::UnknownOperation)?;
        if self.operations[original].reverses.is_some() {
            return Err(Rejection::ReversalOfReversal);
        }
        if let Some(first) = self.reversal_of(original) {
            return Ok(self.recorded(first, true));
        }
        if self.find_operation(person, id).is_some() {
            return Err(Rejection::OperationConflict);
        }
        let taken_back = &self.operations[original];
        self.operations.push(Recorded {
            id: id.to_owned(),
            asked: None,
            uses: minus([0; 3], taken_back.uses),
            step: None,
            reverses: Some(original),
            drew: [0; 3],
            ..taken_back.clone()
        });
        Ok(self.recorded(self.operations.len() - 1, false))
    }

    fn open(
        &mut self,
        user: &str,
        id: &str,
        feature: &Name,
        ask: &Ask,
        hold_seconds: i64,
        now: Now,
    ) -> Result<Seen, Rejection> {
        let month = now.holds.month();
        if let Some(session) = self.person(user).and_then(|person| self.find_session(person, id)) {
            let opened = &self.sessions[session];
            let same_ask = opened.hold.as_ref().is_some_and(|(asked, ..)| asked == ask);
            if opened.feature != feature.as_str() || !same_ask {
                return Err(Rejection::SessionConflict);
            }
            let budget = self.budget(Some(opened.person), month);
            return Ok(Seen::Opened { session: self.session(session), reason: None, budget });
        }
        let due = now.holds.plus_seconds(hold_seconds);
        let person = self.person(user);
        let budgets: Vec<BudgetSeen> = months(now, due).into_iter().map(|month| self.budget(person, month)).collect();
        let limits = self.limits(person);
        let ways = Self::ways(&budgets, &limits, ask);
        let Some(place) = ways.iter().position(|(_, failed)| *failed == [false; 3]) else {
            let person = self.person_or_new(user);
            let denial = self.deny(person, (feature, Some(id.to_owned())), ask, &budgets, ("open", None), now);
            return Ok(Seen::Refused {
                reason: Self::reason(ways[0].1),
                failed: ways[0].1,
                next_plan: self.next_plan_for(Some(person), &budgets, ask),
                choices: ways.into_iter().filter_map(|(name, failed)| Some((name?, failed))).collect(),
                budget: self.budget(Some(person), month),
                denial: Some(denial),
            });
        };
        let (choice, estimate) = ask.ways().nth(place).unwrap();
        let total = seen::values(estimate);
        if budgets.iter().any(|budget| budget.held[0] + total[0] > NINE_MILLION_USD) {
            return Err(Rejection::SumTooLarge(Meter::Cost));
        }
        let person = self.person_or_new(user);
        self.sessions.push(Opened {
            person,
            id: id.to_owned(),
            feature: feature.as_str().to_owned(),
            hold: Some((ask.clone(), choice.map(|choice| choice.as_str().to_owned()), total, months(now, due))),
            status: SessionStatus::InProgress,
            due,
            error: None,
            budget_exceeded: false,
        });
        let session = self.session(self.sessions.len() - 1);
        let reason = Some(Self::why(&limits, place, estimate));
        Ok(Seen::Opened { session, reason, budget: self.budget(Some(person), month) })
    }

    fn extend(
        &mut self,
        user: &str,
        id: &str,
        hold_seconds: i64,
        estimate: Option<Amounts>,
        now: Now,
    ) -> Result<Seen, Rejection> {
        let person = self.person(user).ok_or(Rejection::UnknownSession)?;
        let session = self.find_session(person, id).ok_or(Rejection::UnknownSession)?;
        let opened = &self.sessions[session];
        let (_, _, total, before) = opened.hold.clone().ok_or(Rejection::NotHolding)?;
        if opened.status != SessionStatus::InProgress {
            return Err(Rejection::NotHolding);
        }
        let drawn = self.drawn(session);
        let asked = estimate.map_or(total, |estimate| seen::values(&estimate));
        let total_after: Values = std::array::from_fn(|meter| asked[meter].max(drawn[meter]));
        let (left, left_after) = (self.left(session), minus(total_after, drawn));
        let due = now.holds.plus_seconds(hold_seconds);
        let touched = self.touched(session);
        // Where it holds a meter already, only more of it must fit.
        let asked_of = months(now, due);
        let after = span(asked_of[0].min(before[0]), asked_of[asked_of.len() - 1]);
        let growing: Vec<(BudgetSeen, Values)> = after
            .iter()
            .copied()
            .map(|month| {
                let held: Values = if touched.contains(&month) { left } else { [0; 3] };
                let grows = |meter: usize| if left_after[meter] > held[meter] { left_after[meter] } else { 0 };
                (self.budget_but(Some(person), month, Some(session)), std::array::from_fn(grows))
            })
            .collect();
        let failed_in = |limits: &[Option<i128>; 3]| {
            let each = growing.iter().map(|(budget, amounts)| Self::fails(budget, limits, *amounts));
            each.fold([false; 3], |a, b| std::array::from_fn(|meter| a[meter] || b[meter]))
        };
        let failed = failed_in(&self.limits(Some(person)));
        let month = now.holds.month();
        if failed != [false; 3] {
            return Ok(Seen::Refused {
                reason: Self::reason(failed),
                failed,
                choices: Vec::new(),
                next_plan: self.next_plan(Some(person), |limits| failed_in(limits) == [false; 3]),
                budget: self.budget(Some(person), month),
                denial: None,
            });
        }
        if growing.iter().any(|(budget, _)| budget.held[0] + left_after[0] > NINE_MILLION_USD) {
            return Err(Rejection::SumTooLarge(Meter::Cost));
        }
        let opened = &mut self.sessions[session];
        opened.due = due;
        if let Some((_, _, total, months)) = &mut opened.hold {
            (*total, *months) = (total_after, after);
        }
        Ok(Seen::Session { session: self.session(session), budget: self.budget(Some(person), month) })
    }

    fn finish(
        &mut self,
        user: &str,
        id: &str,
        finish: Finish,
        error: Option<&Label>,
        now: Now,
    ) -> Result<Seen, Rejection> {
        let person = self.person(user).ok_or(Rejection::UnknownSession)?;
        let session = self.find_session(person, id).ok_or(Rejection::UnknownSession)?;
        let opened = &mut self.sessions[session];
        match (opened.status, finish) {
            (SessionStatus::InProgress | SessionStatus::Abandoned, _) => {
                opened.status = finish.into();
                opened.error = error.map(|error| error.as_str().to_owned());
            }
            (SessionStatus::Completed, Finish::Completed) | (SessionStatus::Failed, Finish::Failed) => {}
            (SessionStatus::Completed, Finish::Failed) => return Err(Rejection::AlreadyFinished(Finish::Completed)),
            (SessionStatus::Failed, Finish::Completed) => return Err(Rejection::AlreadyFinished(Finish::Failed)),
        }
        let budget = self.budget(Some(person), now.holds.month());
        Ok(Seen::Session { session: self.session(session), budget })
    }

    fn audit(&mut self, user: &str, feature: &Name, ask: &Ask, now: Now) -> Seen {
        let check = self.check(user, ask, now.holds);
        if let Seen::Checked { fits: None, budget, .. } = &check {
            let person = self.person_or_new(user);
            self.deny(person, (feature, None), ask, std::slice::from_ref(budget), ("afford", None), now);
        }
        check
    }

    /// Keeps a denial; the same session refused again within a minute counts up the newest of that session.
    fn deny(
        &mut self,
        person: usize,
        (feature, session): (&Name, Option<String>),
        ask: &Ask,
        budgets: &[BudgetSeen],
        (source, reason): (&'static str, Option<&Label>),
        now: Now,
    ) -> DenialSeen {
        let newest = self
            .denials
            .iter_mut()
            .rev()
            .find(|denied| session.is_some() && denied.seen.person == person && denied.seen.session == session);
        if let Some(denied) = newest
            && source == "open"
            && denied.seen.source == "open"
            && denied.seen.feature == feature.as_str()
            && denied.ask == *ask
            && now.wall < denied.at.plus_seconds(60)
        {
            denied.seen.times += 1;
            return denied.seen.clone();
        }
        let limits = self.limits(Some(person));
        let failed = Self::ways(budgets, &limits, ask)[0].1;
        let seen = DenialSeen {
            person,
            feature: feature.as_str().to_owned(),
            session,
            asked: ask
                .ways()
                .map(|(name, estimate)| (name.map(|name| name.as_str().to_owned()), seen::values(estimate)))
                .collect(),
            reason: reason.map_or_else(|| Self::reason(failed), |reason| reason.as_str().to_owned()),
            failed,
            limits,
            next_plan: self.next_plan_for(Some(person), budgets, ask),
            times: 1,
            source,
        };
        self.denials.push(Denied { seen: seen.clone(), ask: ask.clone(), at: now.wall });
        seen
    }

    fn put_user(
        &mut self,
        user: &str,
        plan: Option<&Name>,
        email: Option<&str>,
        overrides: &Overrides,
    ) -> Result<Seen, Rejection> {
        if let Some(plan) = plan.filter(|plan| !self.plans.iter().any(|(name, ..)| name == plan.as_str())) {
            return Err(Rejection::UnknownPlan(plan.clone()));
        }
        let created = self.person(user).is_none();
        let person = self.person_or_new(user);
        let before = self.limits(Some(person));
        self.people[person].plan = plan.map(|plan| plan.as_str().to_owned());
        self.people[person].email = email.map(str::to_owned);
        self.people[person].overrides = *overrides;
        if Self::lowered(&before, &self.limits(Some(person))) {
            self.people[person].asks_first = false;
            self.raise_in_all_months(person);
        }
        Ok(Seen::User { created, person })
    }

    fn lowered(before: &[Option<i128>; 3], after: &[Option<i128>; 3]) -> bool {
        let at_most = |limit: Option<i128>| limit.unwrap_or(i128::MAX);
        (0..3).any(|meter| at_most(after[meter]) < at_most(before[meter]))
    }

    fn put_plan(&mut self, name: &str, limits: &Limits, tier: Option<u32>) -> Seen {
        let known = self.plans.iter().position(|(plan, ..)| plan == name);
        let before = known.map(|place| self.plans.remove(place));
        // A plan that is new was until now the default plan to whoever is on it.
        let limits_before = before.as_ref().map_or_else(|| self.plans[self.plan_of(None)].2, |(_, _, limits)| *limits);
        let last = self.plans.iter().map(|(_, tier, _)| *tier).max().unwrap_or(0) + 10;
        let tier = tier.or(before.map(|(_, tier, _)| tier)).unwrap_or(last);
        self.plans.push((name.to_owned(), tier, *limits));
        self.plans.sort_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)));
        let lowered = Self::lowered(&seen::limits(&limits_before), &seen::limits(limits));
        if lowered {
            self.people.iter_mut().for_each(|person| person.asks_first = false);
        }
        Seen::Plan { lowered }
    }
}

//! What must be true of the database and of the answers, after every step.
//!
//! Transactions on a bucket are serial, so the log is the order in which all happened. Each command in it is asked of a
//! naive model in that order: it must have come to what the model says, and the rows must be what the model counts up. That
//! is no overspend, conserved holds, one alert a crossing, and one row an operation, however nodes raced. To the clients,
//! who know nothing of the log, what was acknowledged stays there, once; what was refused is not there.

use std::collections::{BTreeMap, BTreeSet};

use outlay::store::{CommandError, Reply};
use outlay_core::alert::Alert;
use outlay_core::id::{OperationId, OperationNo, SessionNo};
use outlay_core::ledger::verify::Recount;
use outlay_core::ledger::{Command, Now, Outcome};
use outlay_core::money::Usd;
use outlay_core::month::Month;
use outlay_core::plan::Plans;
use outlay_model::naive::Model;
use outlay_model::seen::{self, Seen};

use super::database::{Decided, Entry, Logged, State};
use super::tables::Tables;
use crate::oracle::{alert_seen, as_recorded, equal, unnamed_denial, unnamed_session};

/// A row that a client knows of.
#[derive(Debug, Clone)]
enum Fact {
    Operation(OperationNo, OperationId, Usd, Month),
    Session(SessionNo),
    Nothing,
}

#[derive(Debug, Clone)]
struct Acknowledged {
    request: u64,
    bucket: usize,
    fact: Fact,
    /// Whether the log has it, and so must go on having it.
    logged: bool,
}

/// What was said to clients, and the naive models of what they are to find.
#[derive(Debug)]
pub(super) struct Oracle {
    /// Of each bucket, what has happened so far as transactions see it.
    pub(super) models: Vec<Model>,
    begun: Model,
    /// Which entries of the log the models know.
    known: Vec<bool>,
    timeline: u32,
    acknowledged: Vec<Acknowledged>,
    refused: BTreeSet<u64>,
    /// How much there was of all when it was looked at last.
    looked_at: [usize; 5],
}

impl Oracle {
    pub(super) fn new(buckets: usize) -> Self {
        let plans = Plans::standard();
        let plans = plans.all().iter().map(|plan| (plan.name.as_str().to_owned(), plan.tier, plan.limits)).collect();
        let begun = Model::new(plans);
        Self {
            models: vec![begun.clone(); buckets],
            begun,
            known: Vec::new(),
            timeline: 1,
            acknowledged: Vec::new(),
            refused: BTreeSet::new(),
            looked_at: [0; 5],
        }
    }

    /// A client was told that its request surely was not carried out.
    pub(super) fn refused(&mut self, request: u64) {
        self.refused.insert(request);
    }

    /// A client was given this answer.
    pub(super) fn acknowledged(
        &mut self,
        request: u64,
        bucket: usize,
        reply: &Reply,
        state: &State,
    ) -> Result<(), String> {
        let logged = find(state, request);
        let fact = match reply {
            Ok(Outcome::Recorded(recorded)) => {
                let row = &recorded.operation;
                Fact::Operation(row.no, row.operation_id.clone(), row.cost, row.month())
            }
            Ok(Outcome::Opened { session, .. } | Outcome::Session { session, .. }) => Fact::Session(session.no),
            _ => Fact::Nothing,
        };
        match logged {
            Some((decided, true)) => equal("what was answered, and what is recorded", reply, &decided.reply)?,
            Some((_, false)) => {
                return Err(format!("request {request} was acknowledged before it was there: {reply:?}"));
            }
            None if is_new(reply) => {
                return Err(format!("request {request} was acknowledged, and is not there: {reply:?}"));
            }
            None => {}
        }
        self.acknowledged.push(Acknowledged { request, bucket, fact, logged: logged.is_some() });
        Ok(())
    }

    /// A client was told that its record is written.
    pub(super) fn wrote(&mut self, request: u64, state: &State) -> Result<(), String> {
        let has = |logged: &&Logged| logged.entry.records.contains(&request);
        if !state.log.iter().find(has).is_some_and(|logged| logged.visible) {
            return Err(format!("the record of request {request} was acknowledged, and is not there"));
        }
        self.acknowledged.push(Acknowledged { request, bucket: 0, fact: Fact::Nothing, logged: true });
        Ok(())
    }

    /// Checks all that must be true now.
    pub(super) fn check(&mut self, state: &State) -> Result<(), String> {
        let visible = state.log.iter().filter(|logged| logged.visible).count();
        let (timeline, said) = (state.timeline as usize, self.acknowledged.len());
        let much = [timeline, state.log.len(), visible, said, self.refused.len()];
        if std::mem::replace(&mut self.looked_at, much) == much {
            return Ok(());
        }
        let mut changed: BTreeSet<usize> = BTreeSet::new();
        if self.timeline != state.timeline {
            self.timeline = state.timeline;
            self.known.clear();
            self.models.iter_mut().for_each(|model| *model = self.begun.clone());
            changed.extend(0..self.models.len());
        }
        self.known.resize(state.log.len(), false);
        for (place, logged) in state.log.iter().enumerate() {
            if logged.visible && !std::mem::replace(&mut self.known[place], true) {
                self.happened(&logged.entry)?;
                changed.extend(logged.entry.changes.iter().map(|change| change.bucket));
            }
        }
        self.clients(state)?;
        for bucket in changed {
            if let (Some(tables), Some(model)) = (state.tables.get(bucket), self.models.get(bucket)) {
                rows(tables, model, &state.plans.1).map_err(|problem| format!("bucket {bucket}: {problem}"))?;
                nobody_who_asks_first_is_over(model)?;
            }
        }
        Ok(())
    }

    /// What a transaction decided, asked of the naive model.
    fn happened(&mut self, entry: &Entry) -> Result<(), String> {
        for Decided { bucket, request, command, reply } in &entry.decided {
            let Some(model) = self.models.get_mut(*bucket) else { continue };
            if matches!(command, Command::Recheck { user_no } if user_no.0 > model.people.len() as u64) {
                // The naive model knows nobody of this number: a failover forgot them.
                continue;
            }
            let expected = model.run(command, entry.now);
            let found = match reply {
                Ok(outcome) => seen::answer(&Ok(outcome.clone()), entry.now.holds),
                Err(CommandError::Rejected(rejection)) => Seen::Rejected(rejection.clone()),
                Err(CommandError::Store(error)) => return Err(format!("a store's error is recorded: {error}")),
            };
            equal(&format!("request {request:?}, the answer to {command:?}"), &found, &expected)?;
        }
        Ok(())
    }

    fn clients(&self, state: &State) -> Result<(), String> {
        let mut times: BTreeMap<u64, (usize, bool)> = BTreeMap::new();
        for logged in &state.log {
            let decided = logged.entry.decided.iter().filter_map(|decided| decided.request);
            for request in decided.chain(logged.entry.records.iter().copied()) {
                let (count, visible) = times.entry(request).or_default();
                *count += 1;
                *visible |= logged.visible;
            }
        }
        if let Some((request, (count, _))) = times.iter().find(|(_, (count, _))| *count > 1) {
            return Err(format!("request {request} was carried out {count} times"));
        }
        if let Some(request) = self.refused.iter().find(|request| times.contains_key(request)) {
            return Err(format!("request {request} was refused, and is recorded"));
        }
        for Acknowledged { request, bucket, fact, logged } in &self.acknowledged {
            if *logged && times.get(request).is_none_or(|(_, visible)| !visible) {
                return Err(format!("request {request} was acknowledged, and is lost"));
            }
            let Some(tables) = state.tables.get(*bucket) else { continue };
            let there = match fact {
                Fact::Operation(no, id, cost, month) => tables
                    .operations
                    .get(no)
                    .is_some_and(|row| row.operation_id == *id && row.cost == *cost && row.month() == *month),
                Fact::Session(no) => tables.sessions.contains_key(no),
                Fact::Nothing => true,
            };
            if !there {
                return Err(format!("request {request} was acknowledged, and its row is lost: {fact:?}"));
            }
        }
        Ok(())
    }
}

fn find(state: &State, request: u64) -> Option<(&Decided, bool)> {
    state.log.iter().find_map(|logged| {
        let decided = logged.entry.decided.iter().find(|decided| decided.request == Some(request));
        decided.map(|decided| (decided, logged.visible))
    })
}

/// Whether something is recorded that was not before.
fn is_new(reply: &Reply) -> bool {
    match reply {
        Ok(Outcome::Recorded(recorded)) => !recorded.duplicate,
        Ok(Outcome::Opened { created, .. } | Outcome::User { created, .. }) => *created,
        Ok(Outcome::Denied(_)) => true,
        Ok(Outcome::Refused(refused)) => refused.denial.is_some(),
        _ => false,
    }
}

/// The rows of a bucket are what the naive model counts up, and the core's own proof holds.
fn rows(tables: &Tables, model: &Model, plans: &Plans) -> Result<(), String> {
    let now = Now { holds: tables.now_at, wall: tables.now_at, entropy: 0 };
    let mut model = model.clone();
    model.pass(now.holds);
    let counts = [tables.operations.len(), tables.users.len() + tables.erased.len(), tables.sessions.len()];
    let expected = [model.operations.len(), model.people.len(), model.sessions.len()];
    equal("how many operations, users and sessions", &counts, &expected)?;
    for (place, (no, row)) in tables.operations.iter().enumerate() {
        equal("the number of an operation", &no.0, &(place as u64 + 1))?;
        let recorded = model.recorded(place, false);
        equal("an operation", &as_recorded(row, &recorded), &recorded)?;
    }
    for user in tables.users.values() {
        let person = model.person(user.user_id.as_str());
        let view = tables.view(plans, &user.user_id, now);
        let months = person.map_or_else(Vec::new, |person| model.months_of(person));
        equal("a user's months", &user.months, &months)?;
        for month in months.into_iter().chain([now.holds.month(), now.holds.month().next()]) {
            let budget = view.budget(plans, &user.user_id, month, now.holds).ok_or("a view lacks a month")?;
            equal("a budget", &seen::budget(&budget), &model.budget(person, month))?;
        }
    }
    let erased = |person: usize| model.people[person].erased;
    let found = tables.sessions.values().map(|row| unnamed_session(seen::session(row, now.holds), erased));
    let expected = (0..model.sessions.len()).map(|session| unnamed_session(model.session(session), erased));
    equal("sessions", &found.collect::<Vec<_>>(), &expected.collect::<Vec<_>>())?;
    let found = tables.denials.values().map(|row| unnamed_denial(seen::denial(row), erased));
    let expected = model.denials().into_iter().map(|denial| unnamed_denial(denial, erased));
    equal("denials", &found.collect::<Vec<_>>(), &expected.collect::<Vec<_>>())?;
    let threshold = |no| tables.alerts.get(&no).map(|alert| alert.key.threshold);
    let mut found: Vec<_> = tables.alerts.values().map(|row: &Alert| alert_seen(row, threshold)).collect();
    found.sort();
    equal("alerts", &found, &model.alerts())?;
    let mut recount = Recount::of_all();
    tables.operations.values().for_each(|row| recount.operation(row));
    tables.alerts.values().for_each(|row| recount.alert(row));
    tables.months.iter().for_each(|((no, _), row)| recount.compare_month(*no, row));
    tables.users.values().chain(tables.erased.values()).for_each(|row| recount.compare_user(row));
    tables.days.iter().for_each(|((no, day), sums)| recount.compare_day(*no, *day, sums));
    tables.sessions.values().for_each(|row| recount.compare_session(row));
    let findings: Vec<String> = recount.findings().iter().map(ToString::to_string).collect();
    equal("what the recount finds", &findings, &Vec::new())
}

/// Used and held stay within each limit of those whose every operation was covered.
fn nobody_who_asks_first_is_over(model: &Model) -> Result<(), String> {
    for (person, row) in model.people.iter().enumerate().filter(|(_, row)| row.asks_first && !row.erased) {
        for month in model.months_of(person) {
            let budget = model.budget(Some(person), month);
            let over = |meter: usize| {
                budget.limits[meter].is_some_and(|limit| budget.used[meter] + budget.held[meter] > limit)
            };
            if (0..3).any(over) {
                return Err(format!("{} asks first and is over: {budget:?}", row.id));
            }
        }
    }
    Ok(())
}

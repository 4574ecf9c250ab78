//! The naive model, written from the contract: lists of what happened, and every figure summed from scratch each time it
//! is asked for. It knows no counters, no books and no batches.

mod commands;

use outlay_core::breakdown::{Dimensions, Sums, TokenSums};
use outlay_core::ledger::Now;
use outlay_core::money::UsdSum;
use outlay_core::month::{Month, Timestamp};
use outlay_core::operation::NewOperation;
use outlay_core::plan::{Amounts, Limits, Meter, Overrides};
use outlay_core::session::{Ask, SessionStatus};

use crate::seen::{self, AlertSeen, BudgetSeen, DenialSeen, Fails, Seen, SessionSeen, Values};

const NINE_MILLION_USD: i128 = 9_000_000_000_000_000_000;
const DAY_SECONDS: i64 = 86_400;

#[derive(Debug, Clone)]
pub struct Person {
    pub id: String,
    pub erased: bool,
    plan: Option<String>,
    email: Option<String>,
    overrides: Overrides,
    /// Whether every operation so far was covered by a hold, and no limit went down: then rule 4 holds.
    pub asks_first: bool,
}

#[derive(Debug, Clone)]
pub struct Recorded {
    pub person: usize,
    pub id: String,
    /// What was asked; none for a reversal.
    asked: Option<NewOperation>,
    uses: Values,
    pub at: Timestamp,
    session: Option<usize>,
    step: Option<i64>,
    reverses: Option<usize>,
    drew: Values,
}

#[derive(Debug, Clone)]
pub struct Opened {
    pub person: usize,
    pub id: String,
    feature: String,
    /// What was asked, which choice it is, the total, and when it was opened; none when a step made it.
    /// What was asked, which choice it is, the total, and the months that it counts in.
    hold: Option<(Ask, Option<String>, Values, Vec<Month>)>,
    pub status: SessionStatus,
    pub due: Timestamp,
    error: Option<String>,
    budget_exceeded: bool,
}

impl Opened {
    /// Whether it ever had a hold.
    pub fn holds(&self) -> bool {
        self.hold.is_some()
    }
}

#[derive(Debug, Clone)]
struct Denied {
    seen: DenialSeen,
    ask: Ask,
    at: Timestamp,
}

#[derive(Debug, Clone)]
pub struct Model {
    /// Name, tier and limits, in tier order.
    plans: Vec<(String, u32, Limits)>,
    pub people: Vec<Person>,
    pub operations: Vec<Recorded>,
    pub sessions: Vec<Opened>,
    denials: Vec<Denied>,
    alerts: Vec<AlertSeen>,
}

fn add(a: Values, b: Values) -> Values {
    std::array::from_fn(|meter| a[meter] + b[meter])
}

fn minus(a: Values, b: Values) -> Values {
    std::array::from_fn(|meter| a[meter] - b[meter])
}

/// From the month of either clock, whichever is the earlier, to that of the last instant before the hold ends, or of the
/// wall clock, whichever is the later.
fn months(now: Now, until: Timestamp) -> Vec<Month> {
    let wall = now.wall.month();
    span(now.holds.month().min(wall), until.plus_nanos(-1).month().max(wall))
}

fn span(first: Month, last: Month) -> Vec<Month> {
    std::iter::successors(Some(first), |month| Some(month.next())).take_while(|month| *month <= last).collect()
}

impl Model {
    pub fn new(plans: Vec<(String, u32, Limits)>) -> Self {
        Self {
            plans,
            people: Vec::new(),
            operations: Vec::new(),
            sessions: Vec::new(),
            denials: Vec::new(),
            alerts: Vec::new(),
        }
    }

    /// Name, tier and limits of the plans, in tier order.
    pub fn plans(&self) -> &[(String, u32, Limits)] {
        &self.plans
    }

    pub fn person(&self, id: &str) -> Option<usize> {
        self.people.iter().position(|person| person.id == id && !person.erased)
    }

    fn person_or_new(&mut self, id: &str) -> usize {
        self.person(id).unwrap_or_else(|| {
            self.people.push(Person {
                id: id.to_owned(),
                erased: false,
                plan: None,
                email: None,
                overrides: Overrides::default(),
                asks_first: true,
            });
            self.people.len() - 1
        })
    }

    // What stands, summed from scratch.

    fn used(&self, person: usize, month: Month) -> Values {
        let of_month =
            self.operations.iter().filter(|operation| operation.person == person && operation.at.month() == month);
        of_month.fold([0; 3], |sum, operation| add(sum, operation.uses))
    }

    fn drawn(&self, session: usize) -> Values {
        let steps = self.operations.iter().filter(|operation| operation.session == Some(session));
        steps.fold([0; 3], |sum, step| add(sum, step.drew))
    }

    pub fn left(&self, session: usize) -> Values {
        let opened = &self.sessions[session];
        match &opened.hold {
            Some((_, _, total, _)) if opened.status == SessionStatus::InProgress => minus(*total, self.drawn(session)),
            _ => [0; 3],
        }
    }

    fn touched(&self, session: usize) -> Vec<Month> {
        let opened = &self.sessions[session];
        opened.hold.as_ref().map_or_else(Vec::new, |(_, _, _, months)| months.clone())
    }

    fn held_but(&self, person: usize, month: Month, but: Option<usize>) -> Values {
        (0..self.sessions.len())
            .filter(|session| self.sessions[*session].person == person && Some(*session) != but)
            .filter(|session| self.sessions[*session].status == SessionStatus::InProgress)
            .filter(|session| self.touched(*session).contains(&month))
            .fold([0; 3], |sum, session| add(sum, self.left(session)))
    }

    fn plan_of(&self, person: Option<usize>) -> usize {
        let named = person.and_then(|person| self.people[person].plan.clone());
        let place = |name: &str| self.plans.iter().position(|(plan, ..)| plan == name);
        named.and_then(|name| place(&name)).or_else(|| place("base")).unwrap()
    }

    fn limits_in(&self, person: Option<usize>, plan: usize) -> [Option<i128>; 3] {
        let overrides = person.map_or_else(Overrides::default, |person| self.people[person].overrides);
        Meter::ALL.map(|meter| overrides.get(meter).unwrap_or(*self.plans[plan].2.get(meter)).map(i128::from))
    }

    pub fn limits(&self, person: Option<usize>) -> [Option<i128>; 3] {
        self.limits_in(person, self.plan_of(person))
    }

    fn budget_but(&self, person: Option<usize>, month: Month, but: Option<usize>) -> BudgetSeen {
        let plan = self.plan_of(person);
        BudgetSeen {
            plan: self.plans[plan].0.clone(),
            next_plan: self.plans.get(plan + 1).map(|(name, ..)| name.clone()),
            month,
            used: person.map_or([0; 3], |person| self.used(person, month)),
            held: person.map_or([0; 3], |person| self.held_but(person, month, but)),
            limits: self.limits(person),
        }
    }

    pub fn budget(&self, person: Option<usize>, month: Month) -> BudgetSeen {
        self.budget_but(person, month, None)
    }

    pub fn months_of(&self, person: usize) -> Vec<Month> {
        let of_person = self.operations.iter().filter(|operation| operation.person == person);
        let mut months: Vec<Month> = of_person.map(|operation| operation.at.month()).collect();
        months.sort_unstable();
        months.dedup();
        months
    }

    /// When the operation at a place counts, under which names, and what it adds to their sums. A reversal takes back what
    /// the first one added, but is no operation of its own there.
    pub fn sums(&self, place: usize) -> (Timestamp, Dimensions, Sums) {
        let operation = &self.operations[place];
        let first = operation.reverses.map_or(operation, |first| &self.operations[first]);
        let asked = first.asked.as_ref().unwrap();
        let dimensions = Dimensions {
            usage_type: asked.usage_type,
            feature: asked.feature.clone(),
            provider: asked.provider.clone(),
            model: asked.model.clone(),
        };
        let [cost, ai_runs, api_runs] = operation.uses;
        let sums = Sums {
            cost: UsdSum::from_picos(cost),
            operations: u64::from(operation.reverses.is_none()),
            billable_runs: i64::try_from(ai_runs + api_runs).unwrap(),
            tokens: TokenSums::default(),
        };
        (operation.at, dimensions, sums)
    }

    pub fn session(&self, session: usize) -> SessionSeen {
        let opened = &self.sessions[session];
        let rows = || self.operations.iter().filter(|operation| operation.session == Some(session));
        let steps = || rows().filter(|operation| operation.reverses.is_none());
        let used = rows().fold([0; 3], |sum, operation| add(sum, operation.uses));
        let beyond = steps().fold([0; 3], |sum, step| add(sum, minus(step.uses, step.drew)));
        let hold = opened.hold.as_ref();
        SessionSeen {
            person: opened.person,
            id: opened.id.clone(),
            feature: opened.feature.clone(),
            status: opened.status,
            choice: hold.and_then(|(_, choice, ..)| choice.clone()),
            held: self.left(session),
            hold: hold.map(|(_, _, total, _)| (*total, self.drawn(session), opened.due)),
            overdraft: hold.map(|_| beyond.map(|value| value.min(i128::from(i64::MAX)))),
            total_cost: used[0],
            total_runs: used[1] + used[2],
            steps: steps().count(),
            error: opened.error.clone(),
            budget_exceeded: opened.budget_exceeded,
        }
    }

    pub fn denials(&self) -> Vec<DenialSeen> {
        self.denials.iter().map(|denied| denied.seen.clone()).collect()
    }

    pub fn alerts(&self) -> Vec<AlertSeen> {
        let mut alerts = self.alerts.clone();
        alerts.sort();
        alerts
    }

    fn find_session(&self, person: usize, id: &str) -> Option<usize> {
        self.sessions.iter().position(|session| session.person == person && session.id == id)
    }

    fn find_operation(&self, person: usize, id: &str) -> Option<usize> {
        self.operations.iter().position(|operation| operation.person == person && operation.id == id)
    }

    fn reversal_of(&self, operation: usize) -> Option<usize> {
        self.operations.iter().position(|reversal| reversal.reverses == Some(operation))
    }

    /// What was set aside for longer than its time is given back.
    pub fn pass(&mut self, now: Timestamp) {
        for session in &mut self.sessions {
            if session.status == SessionStatus::InProgress && session.due <= now {
                session.status = SessionStatus::Abandoned;
            }
        }
    }

    // Fitting.

    fn fails(budget: &BudgetSeen, limits: &[Option<i128>; 3], amounts: Values) -> Fails {
        std::array::from_fn(|meter| {
            let after = budget.used[meter] + budget.held[meter] + amounts[meter];
            amounts[meter] > 0 && limits[meter].is_some_and(|limit| after > limit)
        })
    }

    /// The meters that each way fails in one of the months.
    fn ways(budgets: &[BudgetSeen], limits: &[Option<i128>; 3], ask: &Ask) -> Vec<(Option<String>, Fails)> {
        ask.ways()
            .map(|(name, estimate)| {
                let each = budgets.iter().map(|budget| Self::fails(budget, limits, seen::values(estimate)));
                let any = each.fold([false; 3], |a, b| std::array::from_fn(|meter| a[meter] || b[meter]));
                (name.map(|name| name.as_str().to_owned()), any)
            })
            .collect()
    }

    fn reason(failed: Fails) -> String {
        (if failed[0] { "budget_exceeded" } else { "runs_exceeded" }).to_owned()
    }

    fn why(limits: &[Option<i128>; 3], place: usize, estimate: &Amounts) -> &'static str {
        let asked: Vec<usize> = (0..3).filter(|meter| seen::values(estimate)[*meter] > 0).collect();
        match place {
            0 if !asked.is_empty() && asked.iter().all(|meter| limits[*meter].is_none()) => "unlimited",
            0 => "within_limits",
            _ => "fallback",
        }
    }

    fn next_plan(&self, person: Option<usize>, enough: impl Fn(&[Option<i128>; 3]) -> bool) -> Option<String> {
        let above = self.plan_of(person) + 1..self.plans.len();
        above.into_iter().find(|plan| enough(&self.limits_in(person, *plan))).map(|plan| self.plans[plan].0.clone())
    }

    fn next_plan_for(&self, person: Option<usize>, budgets: &[BudgetSeen], ask: &Ask) -> Option<String> {
        self.next_plan(person, |limits| {
            Self::ways(budgets, limits, ask).iter().any(|(_, failed)| *failed == [false; 3])
        })
    }

    pub fn check(&self, id: &str, ask: &Ask, now: Timestamp) -> Seen {
        let person = self.person(id);
        let budget = self.budget(person, now.month());
        let budgets = [budget.clone()];
        let ways = Self::ways(&budgets, &budget.limits, ask);
        let place = ways.iter().position(|(_, failed)| *failed == [false; 3]);
        let (_, estimate) = ask.ways().nth(place.unwrap_or(0)).unwrap();
        Seen::Checked {
            fits: place.map(|place| (place, Self::why(&budget.limits, place, estimate))),
            next_plan: if place.is_none() { self.next_plan_for(person, &budgets, ask) } else { None },
            used_after: add(budget.used, seen::values(estimate)).map(|used| used.min(i128::from(i64::MAX))),
            ways,
            budget,
        }
    }

    // Alerts.

    fn raise_in_all_months(&mut self, person: usize) {
        self.months_of(person).into_iter().for_each(|month| self.raise(person, month));
    }

    fn raise(&mut self, person: usize, month: Month) {
        let budget = self.budget(Some(person), month);
        for meter in 0..3 {
            let Some(limit) = budget.limits[meter].filter(|limit| *limit > 0) else { continue };
            let used = budget.used[meter];
            let due: Vec<u8> = [80, 95, 100]
                .into_iter()
                .filter(|threshold| used * 100 >= limit * i128::from(*threshold))
                .filter(|threshold| {
                    let key = (person, month, meter, *threshold, limit);
                    self.alerts.iter().all(|a| (a.person, a.month, a.meter, a.threshold, a.limit) != key)
                })
                .collect();
            for threshold in &due {
                self.alerts.push(AlertSeen {
                    person,
                    month,
                    meter,
                    threshold: *threshold,
                    limit,
                    used,
                    held: budget.held[meter],
                    plan: budget.plan.clone(),
                    next_plan: budget.next_plan.clone(),
                    superseded_by: due.last().copied().filter(|highest| highest != threshold),
                });
            }
        }
    }
}

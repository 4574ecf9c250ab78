//! Tests as data: a script has one command a line, and after `=>` what it must answer. This is the one place that knows
//! how to say a command and how an answer reads.
//!
//! Each script runs four times: with batches that end only where the script shows what is stored, with a batch per command,
//! with books that forget what they can after each, and with new books for each. A line without `=>` must do what it says: it may be neither rejected nor refused.
//!
//! | command | |
//! |---|---|
//! | `at TIME`, `wait SECONDS`, `wall TIME` | sets both clocks, moves both, sets the wall clock alone |
//! | `user ID` | goes on as this user; it begins as `u`, who is on `premium`, at 2025-10-13T12:00:00Z |
//! | `record [COST] [api] [run] [op= in= at= feature= finish= label= step=]` | an operation, of type `AIUsage` unless `api` |
//! | `reverse OP [op= reason=]` | |
//! | `open SESSION [AMOUNTS or NAME:AMOUNTS ...] [for= feature=]` | amounts: `cost=0.003 aiRuns=1`; of a choice joined by `,` |
//! | `extend SESSION for= [AMOUNTS]`, `finish SESSION [failed] [error=]` | |
//! | `expire SESSION`, `sweep` | the sweeper's commands: one, or for every session in progress |
//! | `check ...`, `audit ... [feature=]`, `deny [AMOUNTS] reason= [in=]` | |
//! | `put [plan=] [email=] [cost= aiRuns= apiRuns=]` | sets the user; limits are amounts or `none` |
//! | `plan NAME [tier=] [cost= ...]`, `recheck`, `erase` | |
//! | `budget [MONTH]`, `state`, `document`, `session ID`, `sessions`, `operations`, `denials`, `alerts` | shows |

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use outlay_core::budget::{Budget, Failed, MeterBudget};
use outlay_core::denial::Denial;
use outlay_core::id::{Label, Name, OperationId, SessionId, UserId};
use outlay_core::ledger::{Check, Command, Fitting, Now, Outcome, Rejection, Written, check as check_view};
use outlay_core::money::Usd;
use outlay_core::month::{Month, Timestamp};
use outlay_core::operation::{Fingerprint, FingerprintBuilder, NewOperation, Operation, UsageType};
use outlay_core::plan::{Amounts, Limits, Meter, Overrides, PerMeter, Plans};
use outlay_core::session::{Ask, Choice, Finish, Session, SessionStatus};

use crate::rows::{Ledger, Rows};

/// When batches end.
#[derive(Debug, Clone, Copy)]
enum Mode {
    LongBatches,
    BatchPerCommand,
    ForgetPerCommand,
    NewBooksPerCommand,
}

/// Runs a script on the plans of a new store; see the module.
#[track_caller]
pub(crate) fn check(script: &str) {
    for mode in [Mode::LongBatches, Mode::BatchPerCommand, Mode::ForgetPerCommand, Mode::NewBooksPerCommand] {
        let mut world = World::new(Plans::standard());
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let (said, expect) = match line.split_once("=>") {
                Some((said, expect)) => (said.trim(), Some(expect.trim())),
                None => (line, None),
            };
            let answer = world.run(said);
            if let Some(expect) = expect {
                assert_eq!(answer, expect, "in {mode:?}: {line}");
            } else {
                let failed = answer.starts_with("rejected") || answer.starts_with("refused");
                assert!(!failed, "in {mode:?}: {line}: {answer}");
            }
            match mode {
                Mode::LongBatches => {}
                Mode::BatchPerCommand => world.ledger.commit(),
                Mode::ForgetPerCommand => world.ledger.shrink(),
                Mode::NewBooksPerCommand => world.ledger.restart(),
            }
        }
        world.ledger.commit();
        assert_eq!(world.ledger.rows.verify(), Vec::<String>::new(), "in {mode:?}");
    }
}

/// The rows that a script leaves behind, in batches of one command.
pub(crate) fn rows_after(script: &str) -> Rows {
    let mut world = World::new(Plans::standard());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.run(line);
        world.ledger.commit();
    }
    world.ledger.rows
}

/// The ledger after a script, with all in memory that was asked for. A line that shows something ends a batch.
pub(crate) fn ledger_after(script: &str) -> Ledger {
    let mut world = World::new(Plans::standard());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        world.run(line);
    }
    world.ledger
}

/// What the last batch of a script changed.
pub(crate) fn written_after(script: &str) -> Written {
    ledger_after(script).books.take_written()
}

fn time(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

struct World {
    ledger: Ledger,
    user: UserId,
    holds: Timestamp,
    wall: Timestamp,
    made_ids: u32,
}

/// The words of a line: the bare ones in order, and those that are `key=value`.
struct Words<'a> {
    bare: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let mut words = Self { bare: Vec::new(), named: BTreeMap::new() };
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) if !key.contains(':') => {
                    assert!(words.named.insert(key, value).is_none(), "twice: {word}");
                }
                _ => words.bare.push(word),
            }
        }
        words
    }

    fn next(&mut self) -> &'a str {
        self.bare.remove(0)
    }

    fn take_flag(&mut self, flag: &str) -> bool {
        let before = self.bare.len();
        self.bare.retain(|word| *word != flag);
        self.bare.len() != before
    }

    fn take(&mut self, key: &str) -> Option<&'a str> {
        self.named.remove(key)
    }

    fn amounts(&mut self) -> Amounts {
        Amounts::from_fn(|meter| self.take(meter.as_str()).map_or(0, |text| amount(meter, text)))
    }

    fn has_amounts(&self) -> bool {
        Meter::ALL.into_iter().any(|meter| self.named.contains_key(meter.as_str()))
    }

    /// What the rest of the line asks for: an estimate, or choices.
    fn ask(&mut self) -> Ask {
        if self.bare.is_empty() {
            return Ask::Estimate(self.amounts());
        }
        let choices = std::mem::take(&mut self.bare).into_iter().map(|word| {
            let (name, amounts) = word.split_once(':').unwrap();
            let amounts = amounts.replace(',', " ");
            Choice { name: Name::new(name).unwrap(), estimate: Words::of(&amounts).amounts() }
        });
        Ask::Choices(choices.collect())
    }

    fn limits(&mut self) -> Overrides {
        Overrides::from_fn(|meter| self.take(meter.as_str()).map(|text| (text != "none").then(|| amount(meter, text))))
    }

    fn end(self, line: &str) {
        assert!(self.bare.is_empty() && self.named.is_empty(), "unknown words in `{line}`");
    }
}

fn amount(meter: Meter, text: &str) -> i64 {
    match meter {
        Meter::Cost => Usd::parse_limit(text).unwrap().picos(),
        Meter::AiRuns | Meter::ApiRuns => text.parse().unwrap(),
    }
}

impl World {
    fn new(plans: Plans) -> Self {
        let mut world = Self {
            ledger: Ledger::new(plans),
            user: UserId::new("u").unwrap(),
            holds: time("2025-10-13T12:00:00Z"),
            wall: time("2025-10-13T12:00:00Z"),
            made_ids: 0,
        };
        world.run("put plan=premium");
        world
    }

    fn now(&self) -> Now {
        Now { holds: self.holds, wall: self.wall, entropy: 5 }
    }

    fn run(&mut self, line: &str) -> String {
        let mut words = Words::of(line);
        let answer = match words.next() {
            "at" => {
                self.holds = time(words.next());
                self.wall = self.holds;
                String::new()
            }
            "wait" => {
                let seconds = words.next().parse().unwrap();
                self.holds = self.holds.plus_seconds(seconds);
                self.wall = self.wall.plus_seconds(seconds);
                String::new()
            }
            "wall" => {
                self.wall = time(words.next());
                String::new()
            }
            "user" => {
                self.user = UserId::new(words.next()).unwrap();
                String::new()
            }
            "sweep" => self.sweep(),
            "check" => {
                let ask = words.ask();
                self.ledger.commit();
                let view = self.ledger.rows.view(self.ledger.books.plans(), &self.user, self.now());
                let check = check_view(self.ledger.books.plans(), &view, &self.user, &ask, self.holds);
                checked(&check.expect("every month is loaded"))
            }
            "budget" | "state" | "session" | "sessions" | "operations" | "denials" | "alerts" | "document" => {
                self.ledger.commit();
                return self.show(line);
            }
            verb => {
                let command = self.command(verb, &mut words);
                self.submit(&command)
            }
        };
        words.end(line);
        answer
    }

    fn submit(&mut self, command: &Command) -> String {
        match self.ledger.submit(command, self.now()) {
            Ok(outcome) => answered(&outcome),
            Err(rejection) => rejected(&rejection),
        }
    }

    fn session_id(text: &str) -> SessionId {
        SessionId::new(text).unwrap()
    }

    fn made_id(&mut self, beginning: &str) -> String {
        self.made_ids += 1;
        format!("{beginning}{}", self.made_ids)
    }

    fn command(&mut self, verb: &str, words: &mut Words<'_>) -> Command {
        let user_id = self.user.clone();
        let name = |text: &str| Name::new(text).unwrap();
        let label = |text: &str| Label::new(text).unwrap();
        match verb {
            "record" => Command::Record(Box::new(self.new_operation(words))),
            "reverse" => Command::Reverse {
                user_id,
                original: OperationId::new(words.next()).unwrap(),
                operation_id: {
                    let id = words.take("op").map_or_else(|| self.made_id("reversal"), str::to_owned);
                    OperationId::new(&id).unwrap()
                },
                reason: words.take("reason").map(label),
            },
            "open" => Command::Open {
                user_id,
                session_id: Self::session_id(words.next()),
                feature: name(words.take("feature").unwrap_or("scan")),
                hold_seconds: words.take("for").map_or(900, |text| text.parse().unwrap()),
                ask: words.ask(),
                metadata: None,
            },
            "extend" => Command::Extend {
                user_id,
                session_id: Self::session_id(words.next()),
                hold_seconds: words.take("for").unwrap().parse().unwrap(),
                estimate: words.has_amounts().then(|| words.amounts()),
            },
            "finish" => Command::Finish {
                user_id,
                session_id: Self::session_id(words.next()),
                finish: if words.take_flag("failed") { Finish::Failed } else { Finish::Completed },
                error: words.take("error").map(label),
            },
            "expire" => {
                let id = Self::session_id(words.next());
                self.ledger.commit();
                let rows = &self.ledger.rows;
                // Also of one whose user is erased, as a sweeper may still have it on its list.
                let session = rows.sessions.values().rev().find(|session| session.session_id == id).unwrap();
                Command::Expire { session_no: session.no }
            }
            "audit" => {
                let feature = name(words.take("feature").unwrap_or("scan"));
                Command::AuditedCheck { user_id, feature, ask: words.ask() }
            }
            "deny" => Command::Deny {
                user_id,
                feature: name(words.take("feature").unwrap_or("scan")),
                estimate: words.amounts(),
                reason: label(words.take("reason").unwrap()),
                session_id: words.take("in").map(Self::session_id),
                metadata: None,
            },
            "put" => Command::PutUser {
                user_id,
                plan: words.take("plan").map(name),
                email: words.take("email").map(Arc::from),
                overrides: words.limits(),
            },
            "plan" => Command::PutPlan {
                name: name(words.next()),
                tier: words.take("tier").map(|text| text.parse().unwrap()),
                limits: {
                    let limits = words.limits();
                    Limits::from_fn(|meter| limits.get(meter).unwrap_or(Some(0)))
                },
            },
            "recheck" => {
                self.ledger.commit();
                let rows = &self.ledger.rows;
                let erased = || rows.erased.values().find(|user| user.user_id == user_id).map(|user| user.no);
                Command::Recheck { user_no: rows.user_nos.get(&user_id).copied().or_else(erased).unwrap() }
            }
            "erase" => Command::Erase { user_id },
            _ => panic!("unknown command `{verb}`"),
        }
    }

    fn new_operation(&mut self, words: &mut Words<'_>) -> NewOperation {
        let usage_type = if words.take_flag("api") { UsageType::Api } else { UsageType::Ai };
        let is_billable_run = words.take_flag("run");
        let given_id = words.take("op").map(str::to_owned);
        let id = given_id.clone().unwrap_or_else(|| self.made_id("operation"));
        let mut operation = NewOperation {
            operation_id: OperationId::new(&id).unwrap(),
            user_id: self.user.clone(),
            usage_type,
            feature: Name::new(words.take("feature").unwrap_or("scan")).unwrap(),
            provider: Name::new("unknown").unwrap(),
            model: None,
            cost: if words.bare.is_empty() { Usd::ZERO } else { Usd::parse(words.next()).unwrap() },
            tokens: None,
            units: None,
            is_billable_run,
            session_id: words.take("in").map(Self::session_id),
            step_label: words.take("label").map(|text| Label::new(text).unwrap()),
            step_number: words.take("step").map(|text| text.parse().unwrap()),
            finish_session: words.take("finish").map(|text| Finish::parse(text).unwrap()),
            duration_ms: None,
            timestamp: words.take("at").map(time),
            metadata: None,
            fingerprint: Fingerprint([0; 16]),
        };
        operation.fingerprint = FingerprintBuilder::of(&operation, given_id.is_some(), true, None);
        operation
    }

    /// What the sweeper does: it asks for every session that may be due.
    fn sweep(&mut self) -> String {
        self.ledger.commit();
        let open: Vec<_> = self.ledger.rows.sessions.keys().copied().collect();
        for session_no in open {
            self.submit(&Command::Expire { session_no });
        }
        String::new()
    }

    /// What is stored.
    fn show(&self, line: &str) -> String {
        let rows = &self.ledger.rows;
        let plans = self.ledger.books.plans();
        let mut words = line.split_whitespace();
        let kind = words.next().unwrap();
        let id = words.next();
        let user_no = rows.user_nos.get(&self.user).copied();
        let budget = || {
            let month = id.map_or(self.holds.month(), |month| Month::parse(month).unwrap());
            rows.view(plans, &self.user, self.now()).budget(plans, &self.user, month, self.holds).unwrap()
        };
        let join = |items: Vec<String>| if items.is_empty() { "none".to_owned() } else { items.join("; ") };
        match kind {
            "budget" => meters(&budget().meters),
            "state" => budget().state().as_str().to_owned(),
            "document" => {
                let Some(user) = user_no.map(|no| &rows.users[&no]) else { return "nobody".to_owned() };
                let month = rows.months.get(&(user.no, self.holds.month()));
                let runs = month.map_or(0, |month| month.used.ai_runs + month.used.api_runs);
                let cost = month.map_or(Usd::ZERO, |month| month.used.usd());
                format!("{} cost {cost} runs {runs} month {}", budget().plan, self.holds.month())
            }
            "session" => {
                let no = rows.session_nos[&(user_no.unwrap(), Self::session_id(id.unwrap()))];
                session(&rows.sessions[&no])
            }
            "sessions" => join(
                rows.sessions
                    .values()
                    .filter(|session| Some(session.user_no) == user_no)
                    .map(|session| format!("{} {}", session.session_id, session.status.as_str()))
                    .collect(),
            ),
            "operations" => join(
                rows.operations
                    .values()
                    .filter(|operation| Some(operation.user_no) == user_no)
                    .map(|operation| format!("{} {}", operation.operation_id, operation.cost))
                    .collect(),
            ),
            "denials" => join(rows.denials.values().filter(|row| Some(row.user_no) == user_no).map(denial).collect()),
            _ => join(
                rows.alerts
                    .values()
                    .filter(|alert| Some(alert.user_no) == user_no)
                    .map(|alert| {
                        let key = &alert.key;
                        let limit = Amounts::from_fn(|meter| if meter == key.meter { key.limit } else { 0 });
                        let superseded = if alert.superseded_by.is_some() { " superseded" } else { "" };
                        format!("{} {} of {}{superseded}", alert.month, key.threshold, amounts(&limit))
                    })
                    .collect(),
            ),
        }
    }
}

fn answered(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Recorded(recorded) => {
            let how = if recorded.duplicate { "duplicate" } else { "recorded" };
            format!("{how} {}", operation(&recorded.operation, &recorded.budget))
        }
        Outcome::Opened { session, created: false, .. } => format!("open already, {}", status(session)),
        Outcome::Opened { session, reason, budget, .. } => {
            let hold = session.hold.as_ref().unwrap();
            let choice = hold.choice.as_ref().map_or_else(String::new, |choice| format!(" {choice}"));
            let reason = reason.map_or("?", Fitting::as_str);
            format!("{reason}{choice}, held {}, {}", amounts(&session.held()), meters(&budget.meters))
        }
        Outcome::Refused(refused) => {
            let next_plan = refused.next_plan.as_ref().map_or("none", Name::as_str);
            let choices = refused.choices.iter().map(|(name, failed)| format!(", {name} fails {}", fails(*failed)));
            let denial = if refused.denial.is_some() { "" } else { ", no denial" };
            let choices: String = choices.collect();
            let failed = fails(refused.failed);
            format!("refused {} {failed}, next plan {next_plan}{choices}{denial}", refused.reason.as_str())
        }
        Outcome::Session { session, budget } => {
            format!("{}, {}", self::session(session), meters(&budget.meters))
        }
        Outcome::Checked(check) => checked(check),
        Outcome::Denied(denied) => denial(denied),
        Outcome::User { created, .. } => (if *created { "new" } else { "known" }).to_owned(),
        Outcome::Done => "done".to_owned(),
        Outcome::Plan { lowered, .. } => (if *lowered { "lowered" } else { "set" }).to_owned(),
    }
}

fn rejected(rejection: &Rejection) -> String {
    match rejection {
        Rejection::UnknownPlan(plan) => format!("rejected UnknownPlan {plan}"),
        rejection => format!("rejected {rejection:?}"),
    }
}

fn value(meter: Meter, value: i64) -> String {
    match meter {
        Meter::Cost => Usd::from_picos(value).to_string(),
        Meter::AiRuns | Meter::ApiRuns => value.to_string(),
    }
}

fn amounts(amounts: &Amounts) -> String {
    let parts = amounts.iter().filter(|(_, amount)| **amount != 0);
    let parts: Vec<_> = parts.map(|(meter, amount)| format!("{meter} {}", value(meter, *amount))).collect();
    if parts.is_empty() { "nothing".to_owned() } else { parts.join(" ") }
}

/// Used, held and limit of each meter, such as `cost 0.5+0.1/3 aiRuns 1/30 apiRuns 0/100`.
fn meters(meters: &PerMeter<MeterBudget>) -> String {
    let part = |(meter, budget): (Meter, &MeterBudget)| {
        let mut text = format!("{meter} {}", value(meter, budget.used));
        if budget.held != 0 {
            write!(text, "+{}", value(meter, budget.held)).unwrap();
        }
        write!(text, "/{}", budget.limit.map_or_else(|| "none".to_owned(), |limit| value(meter, limit))).unwrap();
        text
    };
    meters.iter().map(part).collect::<Vec<_>>().join(" ")
}

fn fails(failed: Failed) -> String {
    let meters: Vec<_> = failed.iter().map(Meter::as_str).collect();
    if meters.is_empty() { "nothing".to_owned() } else { meters.join("+") }
}

fn operation(operation: &Operation, budget: &Budget) -> String {
    let reverses = operation.reverses.as_ref().map_or_else(String::new, |(_, id)| format!(" reverses {id}"));
    let step = if operation.step_position > 0 { format!(" step {}", operation.step_position) } else { String::new() };
    let number = operation.step_number.filter(|number| u64::try_from(*number) != Ok(operation.step_position));
    let number = number.map_or_else(String::new, |number| format!(" number {number}"));
    format!(
        "{} {} in {}{step}{number}{reverses}, {}",
        operation.operation_id,
        operation.cost,
        operation.month(),
        meters(&budget.meters)
    )
}

fn status(session: &Session) -> &'static str {
    session.status.as_str()
}

/// Such as `completed, 0.00160785 in 2 steps, 1 run`, then what is held, overdraft and error where there is one.
fn session(session: &Session) -> String {
    let mut text = format!("{}, {} in {} steps", status(session), session.total_cost, session.steps);
    write!(text, ", {} runs", session.total_runs).unwrap();
    if session.status == SessionStatus::InProgress && session.hold.is_some() {
        write!(text, ", held {}", amounts(&session.held())).unwrap();
    }
    match session.shown_overdraft() {
        None => text.push_str(", never held"),
        Some(overdraft) if !overdraft.is_zero() => write!(text, ", overdraft {}", amounts(&overdraft)).unwrap(),
        Some(_) => {}
    }
    if session.budget_exceeded {
        text.push_str(", budget exceeded");
    }
    if let Some(error) = &session.error {
        write!(text, ", error {error}").unwrap();
    }
    text
}

fn checked(check: &Check) -> String {
    let after = meters(&check.after);
    let Some((index, fitting)) = check.fitting else {
        let next_plan = check.next_plan.as_ref().map_or("none", Name::as_str);
        return format!("no, {} {}, next plan {next_plan}", check.reason().as_str(), fails(check.failed()));
    };
    let choice = check.ways[index].0.as_ref().map_or_else(String::new, |choice| format!(" {choice}"));
    format!("{}{choice}, after {after}", fitting.as_str())
}

fn denial(denial: &Denial) -> String {
    let asked: Vec<_> = denial.ask.ways().map(|(_, estimate)| amounts(estimate)).collect();
    let next_plan = denial.next_plan.as_ref().map_or("none", Name::as_str);
    format!(
        "{} {} of {} by {} x{}, next plan {next_plan}",
        denial.reason.as_str(),
        fails(denial.failed),
        asked.join(" or "),
        denial.source.as_str(),
        denial.times
    )
}

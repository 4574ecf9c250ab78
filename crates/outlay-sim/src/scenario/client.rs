//! A client that keeps what it was told, and holds a store against it.

use std::collections::BTreeMap;

use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use serde_json::Value;

use super::Step;
use crate::clock::SimClock;
use crate::oracle::equal;
use crate::service::ready;
use crate::wire::{Ask, Reply, Wire};

/// The user of every scenario.
pub(super) const USER: &str = "bgtfrdsZ";

/// What a client knows of something that it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Known {
    /// It was sent, and no answer came yet.
    Sent,
    /// It was refused, and nothing was done.
    Refused,
    /// It is done.
    Acknowledged,
}

/// An operation as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Asked {
    picos: i128,
    month: String,
    known: Known,
}

/// A client in the middle of a scenario.
#[derive(Debug, Clone, Default)]
pub(super) struct Client {
    /// The step that is next, or under way.
    pub(super) next: usize,
    /// Whether the step under way was sent to a process that has ended.
    again: bool,
    operations: BTreeMap<String, Asked>,
    sessions: BTreeMap<String, Known>,
}

impl Client {
    /// The process that it asked has ended.
    pub(super) fn crashed(&mut self) {
        self.again = true;
    }

    /// Takes one step; `sent` is told of the client each time before something may change.
    pub(super) fn one(
        &mut self,
        wire: &mut Wire,
        clock: &SimClock,
        steps: &[Step],
        mut sent: impl FnMut(&Self),
    ) -> Result<(), String> {
        match &steps[self.next] {
            Step::At(instant) => {
                clock.pass_until(Timestamp::parse(instant).map_err(|error| error.to_string())?);
            }
            Step::Sweep => {
                sent(self);
                wire.service.sweep().map_err(|error| format!("sweep: {error}"))?;
            }
            Step::Ask(asks, statuses, granted) => {
                asks.iter().for_each(|ask| self.note(ask, clock, Known::Sent));
                sent(self);
                let replies = wire.ask_at_once(asks);
                for (ask, reply) in asks.iter().zip(&replies) {
                    self.answered(ask, reply, statuses, clock)?;
                }
                let found = replies.iter().filter(|reply| reply.is_acknowledged()).count();
                equal(&format!("how many of {} requests are granted", asks.len()), &found, granted)?;
            }
            Step::Shows(path, places) => {
                let shown = wire.get(path)?;
                for (pointer, expected) in places {
                    let found = shown.pointer(pointer).cloned().unwrap_or(Value::Null);
                    if !same(&found, expected) {
                        return Err(format!("{path} shows {found} at {pointer}, not {expected}: {shown}"));
                    }
                }
            }
            Step::Counts(path, expected) => {
                let items = wire.all(path)?;
                equal(&format!("how many items {path} has"), &items.len(), expected)?;
            }
        }
        self.next += 1;
        self.again = false;
        sent(self);
        Ok(())
    }

    fn answered(&mut self, ask: &Ask, reply: &Reply, statuses: &[u16], clock: &SimClock) -> Result<(), String> {
        // What was done before the process ended is answered as found.
        let found_done = self.again && reply.status == 200;
        if reply.is_unknown() || !(statuses.contains(&reply.status) || found_done) {
            return Err(format!("{} {} is answered {} {}", ask.method, ask.path, reply.status, reply.body));
        }
        self.note(ask, clock, if reply.is_acknowledged() { Known::Acknowledged } else { Known::Refused });
        Ok(())
    }

    /// Keeps what is known of what a request asks for.
    fn note(&mut self, ask: &Ask, clock: &SimClock, known: Known) {
        let Some(body) = &ask.body else { return };
        if ask.path == "/v1/usage" {
            let operations = body.as_array().map_or(std::slice::from_ref(body), Vec::as_slice);
            for operation in operations {
                let at = operation["timestamp"].as_str().map_or_else(|| clock.now().to_string(), str::to_owned);
                self.note_operation(text(&operation["operationId"]), picos(&operation["cost"]), &at, known);
            }
        } else if ask.path.ends_with("/reverse") {
            let original = ask.path.trim_end_matches("/reverse").rsplit('/').next().unwrap_or_default();
            if let Some(taken_back) = self.operations.get(original).cloned() {
                self.note_operation(text(&body["operationId"]), -taken_back.picos, &taken_back.month, known);
            }
        } else if ask.path.ends_with("/sessions") {
            let known_before = self.sessions.entry(text(&body["sessionId"])).or_insert(known);
            *known_before = known.max(*known_before);
        }
    }

    fn note_operation(&mut self, id: String, picos: i128, at: &str, known: Known) {
        let month = at.get(..7).unwrap_or(at).to_owned();
        let asked = self.operations.entry(id).or_insert(Asked { picos, month, known });
        asked.known = known.max(asked.known);
    }

    /// Holds the store against all that is known.
    pub(super) fn holds(&self, wire: &mut Wire) -> Result<(), String> {
        let mut listed = wire.all(&format!("/v1/users/{USER}/usage?limit=1000"))?;
        listed.reverse();
        let mut found = BTreeMap::new();
        for operation in &listed {
            let id = text(&operation["operationId"]);
            let asked = self.operations.get(&id).ok_or_else(|| format!("nobody asked for the operation {id}"))?;
            let as_asked =
                Asked { picos: picos(&operation["cost"]), month: text(&operation["month"]), known: asked.known };
            equal(&format!("the operation {id}"), &as_asked, asked)?;
            if asked.known == Known::Refused || found.insert(id.clone(), ()).is_some() {
                return Err(format!("the operation {id} was refused, or is there twice"));
            }
        }
        for (id, asked) in &self.operations {
            if asked.known == Known::Acknowledged && !found.contains_key(id) {
                return Err(format!("the operation {id} was acknowledged and is not there"));
            }
        }
        self.sessions_hold(wire, &listed)?;
        equal("what verify finds", &ready(wire.service.reads.verify()).map_err(|error| error.to_string())?, &Vec::new())
    }

    /// Sessions are those that were opened; counters, holds and alerts follow from what is listed.
    fn sessions_hold(&self, wire: &mut Wire, listed: &[Value]) -> Result<(), String> {
        let sessions = wire.all(&format!("/v1/users/{USER}/sessions?limit=1000"))?;
        for (id, known) in &self.sessions {
            let count = sessions.iter().filter(|session| session["sessionId"] == id.as_str()).count();
            let wrong = match known {
                Known::Acknowledged => count != 1,
                Known::Refused => count != 0,
                Known::Sent => count > 1,
            };
            if wrong {
                return Err(format!("the session {id} is {known:?} and is there {count} times"));
            }
        }
        let mut months: Vec<String> = listed.iter().map(|operation| text(&operation["month"])).collect();
        months.extend(sessions.iter().flat_map(|session| {
            let until = session["holdExpiresAt"].as_str().map(str::to_owned);
            [Some(text(&session["createdAt"])), until]
                .into_iter()
                .flatten()
                .map(|at| at.get(..7).unwrap_or(&at).to_owned())
        }));
        months.sort_unstable();
        months.dedup();
        let raised = wire.all("/v1/alerts?limit=1000")?;
        for month in months {
            let budget = wire.get(&format!("/v1/users/{USER}/budget?month={month}"))?;
            for meter in ["cost", "aiRuns", "apiRuns"] {
                let shown = &budget["meters"][meter];
                let of_month = listed.iter().filter(|operation| operation["month"] == month.as_str());
                let used: Vec<i128> = of_month.map(|operation| uses(operation, meter)).collect();
                let place = format!("{meter} of {month}");
                equal(&format!("used {place}"), &picos(&shown["used"]), &used.iter().sum())?;
                let open = sessions.iter().filter(|session| session["status"] == "in-progress");
                let held =
                    open.filter(|session| touches(session, &month)).map(|session| picos(&session["held"][meter]));
                equal(&format!("held {place}"), &picos(&shown["held"]), &held.sum())?;
                let limit = picos(&shown["limit"]);
                let highest = used.iter().scan(0, |sum, used| {
                    *sum += used;
                    Some(*sum)
                });
                let highest = highest.max().unwrap_or(0);
                let due: Vec<i128> = [80, 95, 100]
                    .into_iter()
                    .filter(|threshold| limit > 0 && highest * 100 >= limit * threshold)
                    .map(|threshold| threshold * ONE)
                    .collect();
                let of_meter =
                    raised.iter().filter(|alert| alert["meter"] == meter && alert["month"] == month.as_str());
                let mut thresholds: Vec<i128> = of_meter.map(|alert| picos(&alert["threshold"])).collect();
                thresholds.sort_unstable();
                equal(&format!("alerts on {place}"), &thresholds, &due)?;
            }
        }
        Ok(())
    }
}

/// One of a meter, as [`picos`] counts.
const ONE: i128 = 1_000_000_000_000;

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A number exactly, in trillionths; 0 for what is none.
fn picos(value: &Value) -> i128 {
    let text = if value.is_number() { value.to_string() } else { return 0 };
    let (sign, digits) = text.strip_prefix('-').map_or((1, text.as_str()), |digits| (-1, digits));
    sign * Usd::parse(digits).map_or(0, |usd| i128::from(usd.picos()))
}

fn uses(operation: &Value, meter: &str) -> i128 {
    let sign = if operation["reverses"].is_null() { ONE } else { -ONE };
    let of_type = operation["usageType"] == if meter == "aiRuns" { "AIUsage" } else { "ApiUsage" };
    match meter {
        "cost" => picos(&operation["cost"]),
        _ if of_type && operation["isBillableRun"] == true => sign,
        _ => 0,
    }
}

/// Whether a session's hold touches a month, from its opening to the instant before it expires.
fn touches(session: &Value, month: &str) -> bool {
    let first = text(&session["createdAt"]);
    let last = Timestamp::parse(&text(&session["holdExpiresAt"])).map(|until| until.plus_nanos(-1).month().to_string());
    last.is_ok_and(|last| first.get(..7).is_some_and(|first| first <= month) && month <= last.as_str())
}

/// Equal, with numbers by their value.
fn same(found: &Value, expected: &Value) -> bool {
    if found.is_number() && expected.is_number() { picos(found) == picos(expected) } else { found == expected }
}

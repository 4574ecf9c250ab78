//! What clients were told, and what a server must show of it, whatever went wrong in between.
//!
//! Each acknowledged operation is there once, with its cost and month; each that was cut off before its answer is there once
//! or not at all; none that was refused is. Counters are the sums of what is there, what is held is what is left of the open
//! holds, and the alerts are those that `used` has reached. It knows only the API: the same holds for a scenario over a
//! simulated disk and for real processes.

use std::collections::{BTreeMap, BTreeSet};

use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use serde_json::Value;

use crate::oracle::equal;
use crate::wire::Ask;

/// What can be asked what it shows.
pub trait Shows {
    /// Reads what a path shows.
    ///
    /// # Errors
    /// When the answer is not 200.
    fn get(&mut self, path: &str) -> Result<Value, String>;

    /// Reads all items of a list, page after page.
    ///
    /// # Errors
    /// When an answer is not 200, or is no list.
    fn all(&mut self, path: &str) -> Result<Vec<Value>, String> {
        let mark = if path.contains('?') { '&' } else { '?' };
        let (mut items, mut page) = (Vec::new(), path.to_owned());
        loop {
            let mut list = self.get(&page)?;
            let Some(Value::Array(found)) = list.get_mut("items").map(Value::take) else {
                return Err(format!("{path} is no list: {list}"));
            };
            items.extend(found);
            match list.get("nextCursor").and_then(Value::as_str) {
                Some(cursor) => page = format!("{path}{mark}cursor={cursor}"),
                None => return Ok(items),
            }
        }
    }
}

/// What a client knows of something that it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Known {
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

/// A session as far as its clients know.
#[derive(Debug, Clone, Default)]
struct Opened {
    /// Of its opening; none where only its end was asked for.
    known: Option<Known>,
    /// Of its end, by a client's wish.
    ended: Option<Known>,
    /// When its hold expires, as it was told last.
    until: Option<Timestamp>,
}

/// What is asked for under a name is the user's.
type Key = (String, String);

/// What the clients know.
#[derive(Debug, Clone, Default)]
pub struct History {
    operations: BTreeMap<Key, Asked>,
    sessions: BTreeMap<Key, Opened>,
}

impl History {
    /// Keeps what is known of what a request asks for, which was sent at this instant. Of a batch that is so of each item.
    pub fn note(&mut self, ask: &Ask, sent: Timestamp, known: Known) {
        let Some(body) = &ask.body else { return };
        if ask.path == "/v1/usage" {
            let operations = body.as_array().map_or(std::slice::from_ref(body), Vec::as_slice);
            operations.iter().for_each(|operation| self.note_operation(operation, sent, known));
            return;
        }
        let parts: Vec<&str> = ask.path.split('/').collect();
        let [_, "v1", "users", user, rest @ ..] = parts.as_slice() else { return };
        match rest {
            ["usage", original, "reverse"] => {
                if let Some(taken_back) = self.operations.get(&key(user, original)).cloned() {
                    let id = text(&body["operationId"]);
                    self.note_asked(key(user, &id), -taken_back.picos, &taken_back.month, known);
                }
            }
            ["sessions"] => {
                let opened = self.sessions.entry(key(user, &text(&body["sessionId"]))).or_default();
                opened.known = opened.known.max(Some(known));
            }
            ["sessions", session, "finish"] => self.note_end(user, session, known),
            _ => {}
        }
    }

    /// The same of one operation.
    pub fn note_operation(&mut self, operation: &Value, sent: Timestamp, known: Known) {
        let at = operation["timestamp"].as_str().map_or_else(|| sent.to_string(), str::to_owned);
        let user = text(&operation["userId"]);
        self.note_asked(key(&user, &text(&operation["operationId"])), picos(&operation["cost"]), &at, known);
        if operation["finishSession"].is_string() {
            self.note_end(&user, &text(&operation["sessionId"]), known);
        }
    }

    /// A client was told until when a session's hold lasts.
    pub fn note_until(&mut self, user: &str, session: &str, until: Timestamp) {
        self.sessions.entry(key(user, session)).or_default().until = Some(until);
    }

    fn note_asked(&mut self, key: Key, picos: i128, at: &str, known: Known) {
        let month = at.get(..7).unwrap_or(at).to_owned();
        let asked = self.operations.entry(key).or_insert(Asked { picos, month, known });
        asked.known = known.max(asked.known);
    }

    fn note_end(&mut self, user: &str, session: &str, known: Known) {
        let opened = self.sessions.entry(key(user, session)).or_default();
        opened.ended = opened.ended.max(Some(known));
    }

    /// Whether an operation is known to be done.
    pub fn has(&self, user: &str, operation: &str) -> bool {
        self.operations.get(&key(user, operation)).is_some_and(|asked| asked.known == Known::Acknowledged)
    }

    /// How many operations are known to be done.
    pub fn acknowledged(&self) -> usize {
        self.operations.values().filter(|asked| asked.known == Known::Acknowledged).count()
    }

    /// Holds what a server shows against all that is known. It leaves to the caller to ask for the server's own proof.
    ///
    /// # Errors
    /// What differs.
    pub fn holds(&self, shows: &mut dyn Shows) -> Result<(), String> {
        let raised = shows.all("/v1/alerts?limit=1000")?;
        let users: BTreeSet<&String> =
            self.operations.keys().chain(self.sessions.keys()).map(|(user, _)| user).collect();
        for user in users {
            self.holds_of(user, shows, &raised).map_err(|problem| format!("{user}: {problem}"))?;
        }
        Ok(())
    }

    fn holds_of(&self, user: &str, shows: &mut dyn Shows, raised: &[Value]) -> Result<(), String> {
        let mut listed = shows.all(&format!("/v1/users/{user}/usage?limit=1000"))?;
        listed.reverse();
        let mut found = BTreeSet::new();
        for operation in &listed {
            let id = text(&operation["operationId"]);
            let asked =
                self.operations.get(&key(user, &id)).ok_or_else(|| format!("nobody asked for the operation {id}"))?;
            let as_asked =
                Asked { picos: picos(&operation["cost"]), month: text(&operation["month"]), known: asked.known };
            equal(&format!("the operation {id}"), &as_asked, asked)?;
            if asked.known == Known::Refused || !found.insert(id.clone()) {
                return Err(format!("the operation {id} was refused, or is there twice"));
            }
        }
        for ((_, id), asked) in self.operations.iter().filter(|((of, _), _)| of == user) {
            if asked.known == Known::Acknowledged && !found.contains(id) {
                return Err(format!("the operation {id} was acknowledged and is not there"));
            }
        }
        let sessions = shows.all(&format!("/v1/users/{user}/sessions?limit=1000"))?;
        self.sessions_hold(user, &sessions)?;
        sums_hold(user, shows, &listed, &sessions, raised)
    }

    /// Sessions are those that were opened, and those that were ended are.
    fn sessions_hold(&self, user: &str, sessions: &[Value]) -> Result<(), String> {
        for ((_, id), opened) in self.sessions.iter().filter(|((of, _), _)| of == user) {
            let found: Vec<&Value> = sessions.iter().filter(|session| session["sessionId"] == id.as_str()).collect();
            let wrong = match opened.known {
                Some(Known::Acknowledged) => found.len() != 1,
                Some(Known::Refused) => !found.is_empty(),
                Some(Known::Sent) | None => found.len() > 1,
            };
            if wrong {
                return Err(format!("the session {id} is {opened:?} and is there {} times", found.len()));
            }
            let is_open = found.iter().any(|session| session["status"] == "in-progress");
            if opened.ended == Some(Known::Acknowledged) && is_open {
                return Err(format!("the session {id} was ended and is open"));
            }
        }
        Ok(())
    }

    /// Of the holds that were acknowledged and that nobody ended: before its time each is open, and after it none is. For
    /// servers that have had a second for what was due, and whose clock is the one that `now` was read from.
    ///
    /// # Errors
    /// When a session is in another state.
    pub fn times_hold(&self, shows: &mut dyn Shows, now: Timestamp) -> Result<(), String> {
        for ((user, id), opened) in &self.sessions {
            let (Some(Known::Acknowledged), None, Some(until)) = (opened.known, opened.ended, opened.until) else {
                continue;
            };
            let expected = if until > now.plus_seconds(MARGIN_SECONDS) {
                "in-progress"
            } else if until.plus_seconds(MARGIN_SECONDS) < now {
                "abandoned"
            } else {
                continue;
            };
            let session = shows.get(&format!("/v1/users/{user}/sessions/{id}?steps=false"))?;
            if session["status"] != expected {
                return Err(format!("{user}: at {now} the session {id} should be {expected}, and is {session}"));
            }
        }
        Ok(())
    }
}

/// What a sweep and a look may take, beside other work.
const MARGIN_SECONDS: i64 = 5;

/// Counters, holds and alerts follow from what is listed.
fn sums_hold(
    user: &str,
    shows: &mut dyn Shows,
    listed: &[Value],
    sessions: &[Value],
    raised: &[Value],
) -> Result<(), String> {
    let mut months: Vec<String> = listed.iter().map(|operation| text(&operation["month"])).collect();
    months.extend(sessions.iter().flat_map(|session| {
        let until = session["holdExpiresAt"].as_str().map(str::to_owned);
        [Some(text(&session["createdAt"])), until].into_iter().flatten().map(|at| at.get(..7).unwrap_or(&at).to_owned())
    }));
    months.sort_unstable();
    months.dedup();
    for month in months {
        let budget = shows.get(&format!("/v1/users/{user}/budget?month={month}"))?;
        for meter in ["cost", "aiRuns", "apiRuns"] {
            let shown = &budget["meters"][meter];
            let of_month = listed.iter().filter(|operation| operation["month"] == month.as_str());
            let used: Vec<i128> = of_month.map(|operation| uses(operation, meter)).collect();
            let place = format!("{meter} of {month}");
            equal(&format!("used {place}"), &picos(&shown["used"]), &used.iter().sum())?;
            let open = sessions.iter().filter(|session| session["status"] == "in-progress");
            let held = open.filter(|session| touches(session, &month)).map(|session| picos(&session["held"][meter]));
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
            let of_meter = raised
                .iter()
                .filter(|alert| alert["userId"] == user && alert["meter"] == meter && alert["month"] == month.as_str());
            let mut thresholds: Vec<i128> = of_meter.map(|alert| picos(&alert["threshold"])).collect();
            thresholds.sort_unstable();
            equal(&format!("alerts on {place}"), &thresholds, &due)?;
        }
    }
    Ok(())
}

/// One of a meter, as [`picos`] counts.
const ONE: i128 = 1_000_000_000_000;

fn key(user: &str, id: &str) -> Key {
    (user.to_owned(), id.to_owned())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A number exactly, in trillionths, also where it is written as a string; 0 for what is none.
pub fn picos(value: &Value) -> i128 {
    let text = match value {
        Value::Number(number) => number.to_string(),
        Value::String(text) => text.clone(),
        _ => return 0,
    };
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

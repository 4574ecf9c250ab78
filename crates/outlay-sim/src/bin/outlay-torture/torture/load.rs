//! Clients: what they ask for at random, and what an answer must say at once.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use outlay_core::month::Timestamp;
use outlay_sim::history::picos;
use outlay_sim::wire::{Ask, Reply};
use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64;
use serde_json::{Value, json};

use super::program::Http;
use super::told::{Told, now};

/// The users of every run. One has small limits, so that alerts are raised and intents refused.
pub(crate) const USERS: [&str; 4] = ["user_0", "user_1", "user_2", "user_3"];

/// How clients behave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Seconds of most holds, which outlast a run.
    pub(crate) hold_seconds: i64,
    /// Seconds of some holds, which do not; 0 for none.
    pub(crate) short_hold_seconds: i64,
    /// Whether a client goes on after a request without an answer.
    pub(crate) goes_on: bool,
    /// How many requests a client sends; it ends sooner when the server is gone.
    pub(crate) requests: usize,
    /// How long it waits between requests.
    pub(crate) pause: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        let (hold_seconds, short_hold_seconds) = (86_400, 0);
        Self { hold_seconds, short_hold_seconds, goes_on: false, requests: usize::MAX, pause: Duration::ZERO }
    }
}

/// What all clients of a run share.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) told: &'a Told,
    pub(crate) manner: Manner,
    /// Answers so far.
    pub(crate) answers: AtomicUsize,
    /// Whether clients are to end.
    pub(crate) over: AtomicBool,
}

impl<'a> Shared<'a> {
    pub(crate) fn new(told: &'a Told, manner: Manner) -> Self {
        Self { told, manner, answers: AtomicUsize::new(0), over: AtomicBool::new(false) }
    }
}

/// Gives the users their plans.
pub(crate) fn introduce(http: &Http) -> Result<(), String> {
    let limits = json!({"cost": 0.4, "aiRuns": 60, "apiRuns": 60});
    let bodies = [
        json!({"plan": "enterprise"}),
        json!({"plan": "premium", "limits": limits}),
        json!({"plan": "premium"}),
        json!({"plan": "enterprise"}),
    ];
    for (user, body) in USERS.iter().zip(bodies) {
        let reply = http.ask_again(&Ask { method: "PUT", path: format!("/v1/users/{user}"), body: Some(body) });
        if !reply.is_acknowledged() {
            return Err(format!("PUT {user}: {} {}", reply.status, reply.body));
        }
    }
    Ok(())
}

/// One client, with ids of its own.
#[derive(Debug)]
pub(crate) struct Client<'a> {
    http: Http,
    shared: &'a Shared<'a>,
    random: Pcg64,
    name: String,
    made: usize,
    /// Operations of its own that were acknowledged.
    done: Vec<Value>,
}

/// Why a client ended before it had sent everything.
#[derive(Debug)]
pub(crate) enum Ended {
    /// There was no answer.
    Gone,
    /// An answer is wrong.
    Wrong(String),
}

impl<'a> Client<'a> {
    pub(crate) fn new(http: Http, shared: &'a Shared<'a>, seed: u64, name: String) -> Self {
        Self { http, shared, random: Pcg64::seed_from_u64(seed), name, made: 0, done: Vec::new() }
    }

    /// Asks until the server is gone, or all is sent.
    pub(crate) fn run(mut self) -> Result<(), String> {
        for _ in 0..self.shared.manner.requests {
            if self.shared.over.load(Ordering::Relaxed) {
                break;
            }
            match self.act() {
                Ok(()) => {}
                Err(Ended::Gone) if self.shared.manner.goes_on => std::thread::sleep(Duration::from_millis(5)),
                Err(Ended::Gone) => break,
                Err(Ended::Wrong(problem)) => return Err(problem),
            }
            if !self.shared.manner.pause.is_zero() {
                std::thread::sleep(self.shared.manner.pause);
            }
        }
        Ok(())
    }

    fn act(&mut self) -> Result<(), Ended> {
        match self.random.random_range(0..100) {
            0..40 => {
                let operation = self.operation(None);
                self.record(operation).map(|_| ())
            }
            40..52 => self.batch(),
            52..85 => self.session(),
            85..91 => self.reverse(),
            91..96 => self.again(),
            _ => self.differently(),
        }
    }

    /// One operation that was never asked for before.
    fn operation(&mut self, session: Option<&str>) -> Value {
        self.made += 1;
        let at = if session.is_some() || self.random.random_bool(0.7) {
            now()
        } else {
            let month = self.random.random_range(1..=12);
            let day = self.random.random_range(1..=28);
            let text = format!("2025-{month:02}-{day:02}T23:59:59.999999999Z");
            Timestamp::parse(&text).unwrap_or_else(|_| now())
        };
        let cost: i64 = self.random.random_range(0..10_000_000_000);
        let user = USERS[self.random.random_range(0..USERS.len())];
        json!({
            "operationId": format!("{}_{}", self.name, self.made),
            "userId": user,
            "usageType": if self.random.random_bool(0.5) { "AIUsage" } else { "ApiUsage" },
            "feature": "torture",
            "provider": "none",
            "cost": format!("0.{cost:012}"),
            "isBillableRun": self.random.random_bool(0.6),
            "sessionId": session,
            "timestamp": at.to_string(),
        })
    }

    fn send(&self, method: &'static str, path: String, body: Value) -> Result<Reply, Ended> {
        let request = self.shared.told.request(Ask { method, path, body: Some(body) });
        send(&self.http, self.shared.told, request).inspect(|_| {
            self.shared.answers.fetch_add(1, Ordering::Relaxed);
        })
    }

    fn record(&mut self, operation: Value) -> Result<Value, Ended> {
        let reply = self.send("POST", "/v1/usage".to_owned(), operation.clone())?;
        expect(&reply, &[200], &operation)?;
        is_recorded(&operation, &reply.body, false)?;
        self.done.push(operation);
        Ok(reply.body)
    }

    fn batch(&mut self) -> Result<(), Ended> {
        let count = [1, 2, 5, 20, 60][self.random.random_range(0..5)];
        let batch: Vec<Value> = (0..count).map(|_| self.operation(None)).collect();
        let reply = self.send("POST", "/v1/usage".to_owned(), Value::Array(batch.clone()))?;
        if reply.status == 207 {
            // Some of it found no space; the history keeps which.
            return Ok(());
        }
        expect(&reply, &[200], &Value::Null)?;
        let results = reply.body["results"].as_array().cloned().unwrap_or_default();
        if results.len() != batch.len() {
            return Err(Ended::Wrong(format!("{} of {} are answered", results.len(), batch.len())));
        }
        for (operation, result) in batch.into_iter().zip(&results) {
            is_recorded(&operation, result, false)?;
            self.done.push(operation);
        }
        Ok(())
    }

    /// Opens a session, records steps in it, and mostly finishes it.
    fn session(&mut self) -> Result<(), Ended> {
        self.made += 1;
        let (user, session) = (USERS[self.random.random_range(0..USERS.len())], format!("{}_{}", self.name, self.made));
        let manner = self.shared.manner;
        let is_short = manner.short_hold_seconds > 0 && self.random.random_bool(0.5);
        let seconds = if is_short { manner.short_hold_seconds } else { manner.hold_seconds };
        let estimate = json!({"cost": "0.011", "aiRuns": self.random.random_range(0..3), "apiRuns": 1});
        let opening = if self.random.random_bool(0.3) {
            let choices = [("ai", estimate), ("basic", json!({"cost": "0.001"}))];
            let choices: Vec<Value> =
                choices.into_iter().map(|(name, estimate)| json!({"name": name, "estimate": estimate})).collect();
            json!({"sessionId": session, "feature": "torture", "choices": choices, "holdSeconds": seconds})
        } else {
            json!({"sessionId": session, "feature": "torture", "estimate": estimate, "holdSeconds": seconds})
        };
        let reply = self.send("POST", format!("/v1/users/{user}/sessions"), opening.clone())?;
        expect(&reply, &[201, 402], &opening)?;
        if reply.status == 402 {
            return Ok(());
        }
        let of = format!("/v1/users/{user}/sessions/{session}");
        for _ in 0..self.random.random_range(0..4) {
            let mut step = self.operation(Some(&session));
            step["userId"] = json!(user);
            self.record(step)?;
        }
        if self.random.random_bool(0.2) {
            let body = json!({"holdSeconds": seconds, "estimate": {"cost": "0.02"}});
            let reply = self.send("POST", format!("{of}/extend"), body.clone())?;
            // A short one may be over by then.
            expect(&reply, if is_short { &[200, 402, 409] } else { &[200, 402] }, &body)?;
        }
        match self.random.random_range(0..10) {
            0..6 => {
                let body = json!({"status": if self.random.random_bool(0.8) { "completed" } else { "failed" }});
                let reply = self.send("POST", format!("{of}/finish"), body.clone())?;
                expect(&reply, &[200], &body)
            }
            6..8 => {
                let mut last = self.operation(Some(&session));
                last["userId"] = json!(user);
                last["finishSession"] = json!("completed");
                self.record(last).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    fn reverse(&mut self) -> Result<(), Ended> {
        if self.done.is_empty() {
            return Ok(());
        }
        let original = self.done.swap_remove(self.random.random_range(0..self.done.len()));
        self.made += 1;
        let (user, id) = (text(&original["userId"]), text(&original["operationId"]));
        let body = json!({"operationId": format!("{}_{}", self.name, self.made)});
        let reply = self.send("POST", format!("/v1/users/{user}/usage/{id}/reverse"), body.clone())?;
        expect(&reply, &[200], &body)?;
        if picos(&reply.body["cost"]) == -picos(&original["cost"]) {
            return Ok(());
        }
        Err(Ended::Wrong(format!("the reversal of {original} is answered {}", reply.body)))
    }

    /// The same operation again is known.
    fn again(&mut self) -> Result<(), Ended> {
        if self.done.is_empty() {
            return Ok(());
        }
        let operation = self.done[self.random.random_range(0..self.done.len())].clone();
        let reply = self.send("POST", "/v1/usage".to_owned(), operation.clone())?;
        expect(&reply, &[200], &operation)?;
        is_recorded(&operation, &reply.body, true)
    }

    /// Another operation of the same id is refused. It is not kept: it must change nothing, and the sums would tell.
    fn differently(&mut self) -> Result<(), Ended> {
        if self.done.is_empty() {
            return Ok(());
        }
        let mut operation = self.done[self.random.random_range(0..self.done.len())].clone();
        operation["feature"] = json!("another");
        let reply = self.http.ask(&Ask { method: "POST", path: "/v1/usage".to_owned(), body: Some(operation.clone()) });
        if reply.is_unknown() { Err(Ended::Gone) } else { expect(&reply, &[409], &operation) }
    }
}

/// Sends a request that is kept; [`Ended::Gone`] where no answer is definite.
pub(crate) fn send(http: &Http, told: &Told, request: usize) -> Result<Reply, Ended> {
    let ask = told.ask(request);
    told.sends(request);
    let reply = http.ask(&ask);
    told.answered(request, reply.clone());
    if reply.is_unknown() || reply.status == 429 { Err(Ended::Gone) } else { Ok(reply) }
}

fn expect(reply: &Reply, statuses: &[u16], asked: &Value) -> Result<(), Ended> {
    if statuses.contains(&reply.status) {
        return Ok(());
    }
    Err(Ended::Wrong(format!("{asked} is answered {} {}", reply.status, reply.body)))
}

fn is_recorded(operation: &Value, answer: &Value, duplicate: bool) -> Result<(), Ended> {
    let month = operation["timestamp"].as_str().and_then(|at| at.get(..7));
    let as_asked = picos(&answer["cost"]) == picos(&operation["cost"])
        && answer["month"].as_str() == month
        && answer["operationId"] == operation["operationId"]
        && answer["duplicate"] == duplicate;
    if as_asked { Ok(()) } else { Err(Ended::Wrong(format!("{operation} is answered {answer}"))) }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

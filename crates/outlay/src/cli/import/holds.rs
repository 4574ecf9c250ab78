//! Sessions that an import opens: those that still run, with what they hold, and those that were abandoned.
//!
//! A running hold is a decision that was made. It is made again at its old place between the operations, and only with
//! the choice that was taken then; its steps draw what they drew; at last it holds what it held. Where the limits have no
//! room for it any more it is lost, and told: nothing in the API sets aside what does not fit.

use bytes::Bytes;
use http::{Method, StatusCode};
use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use outlay_core::plan::Amounts;
use outlay_core::session::{HOLD_SECONDS_DEFAULT, HOLD_SECONDS_MAX, IDLE_SECONDS};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::Failure;
use super::super::ask::read;
use super::rows::Skipped;
use super::send::{Sender, refusal};
use crate::client::segment;
use crate::clock::SystemClock;

/// A session of an export.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Exported {
    user_id: String,
    session_id: String,
    feature: String,
    status: String,
    choice: Option<String>,
    held: Option<AmountsRow>,
    overdraft: Option<AmountsRow>,
    /// Exports of older versions do not have it.
    hold: Option<HoldRow>,
    hold_expires_at: Option<String>,
    created_at: Option<String>,
    last_updated_at: Option<String>,
    step_count: Option<u64>,
    estimate: Option<AmountsRow>,
    choices: Option<Vec<Box<RawValue>>>,
    metadata: Option<Box<RawValue>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct AmountsRow {
    cost: Option<Box<RawValue>>,
    ai_runs: i64,
    api_runs: i64,
}

#[derive(Debug, Deserialize)]
struct HoldRow {
    total: AmountsRow,
    drawn: AmountsRow,
}

#[derive(Debug, Deserialize)]
struct ChoiceRow {
    name: String,
    estimate: AmountsRow,
}

impl AmountsRow {
    fn read(&self) -> Result<Amounts, String> {
        let cost = self.cost.as_ref().map_or("0", |cost| cost.get().trim_matches('"'));
        let cost = Usd::parse_limit(cost).map_err(|error| format!("an amount's cost {error}"))?.picos();
        Ok(Amounts { cost, ai_runs: self.ai_runs, api_runs: self.api_runs })
    }
}

/// Amounts as they are sent.
fn sent(amounts: &Amounts) -> Box<RawValue> {
    let Amounts { cost, ai_runs, api_runs } = amounts;
    let text = format!(r#"{{"cost":{},"aiRuns":{ai_runs},"apiRuns":{api_runs}}}"#, Usd::from_picos(*cost));
    RawValue::from_string(text).unwrap_or_default()
}

/// What an intent asks for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
enum Asked {
    Estimate(Box<RawValue>),
    Choices(Vec<Box<RawValue>>),
}

/// What a session held.
#[derive(Debug)]
struct Held {
    /// As it was asked for.
    asked: Asked,
    /// The way that was taken, where it is one of several.
    taken: Asked,
    /// What that way asked for.
    estimate: Amounts,
    total: Amounts,
    drawn: Amounts,
    left: Amounts,
    overdraft: Amounts,
}

/// A session that is to be opened.
#[derive(Debug)]
pub(super) struct Opening {
    user: String,
    pub(super) session: String,
    feature: String,
    choice: Option<String>,
    metadata: Option<Box<RawValue>>,
    /// What it held; none when steps made it.
    held: Option<Held>,
    /// Until when it holds; none when it is abandoned.
    expires_at: Option<Timestamp>,
    pub(super) created_at: Option<Timestamp>,
    /// How many steps it has.
    pub(super) steps: u64,
    /// Whether this import has opened it.
    is_new: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct OpenBody<'a> {
    session_id: &'a str,
    feature: &'a str,
    #[serde(flatten)]
    asked: &'a Asked,
    hold_seconds: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
}

/// The session as it stands on the server.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct There {
    feature: String,
    status: String,
    choice: Option<String>,
    held: AmountsRow,
    hold: Option<HoldRow>,
    step_count: u64,
}

#[derive(Debug, Deserialize)]
struct Afforded {
    allowed: bool,
    choice: Option<String>,
    message: Option<String>,
}

/// Reads a session that has not been finished: one to open, or why there is nothing to do.
pub(super) fn read_row(text: &[u8], now: Timestamp) -> Result<Result<Opening, Skipped>, String> {
    let row: Exported = serde_json::from_slice(text).map_err(|error| format!("is no session of an export: {error}"))?;
    let time = |name: &str, text: &Option<String>| {
        text.as_deref().map(Timestamp::parse).transpose().map_err(|error| format!("{name} {error}"))
    };
    let expires_at = time("holdExpiresAt", &row.hold_expires_at)?;
    let updated_at = time("lastUpdatedAt", &row.last_updated_at)?;
    let created_at = time("createdAt", &row.created_at)?;
    let in_progress = row.status == "in-progress";
    if !in_progress && row.status != "abandoned" {
        return Err(format!("the status `{}` is not known", row.status));
    }
    // Without a hold it runs until nothing was heard of it for a day.
    let runs = in_progress
        && expires_at.or_else(|| Some(updated_at?.plus_seconds(IDLE_SECONDS))).is_none_or(|until| until > now);
    if runs && expires_at.is_none() {
        return Ok(Err(Skipped::Session));
    }
    if !runs && row.step_count == Some(0) {
        return Ok(Err(Skipped::Unused));
    }
    let held = read_held(&row)?;
    if runs && held.is_none() {
        return Err("neither estimate nor choices tell what it holds".to_owned());
    }
    Ok(Ok(Opening {
        held,
        user: row.user_id,
        session: row.session_id,
        feature: row.feature,
        choice: row.choice,
        metadata: row.metadata,
        expires_at: expires_at.filter(|_| runs),
        created_at,
        steps: row.step_count.unwrap_or(0),
        is_new: false,
    }))
}

fn read_held(row: &Exported) -> Result<Option<Held>, String> {
    let amounts = |amounts: Option<&AmountsRow>| amounts.map_or(Ok(Amounts::ZERO), AmountsRow::read);
    let (asked, taken, estimate) = if let Some(choices) = &row.choices {
        let mut taken = None;
        for choice in choices {
            let read: ChoiceRow = serde_json::from_str(choice.get()).map_err(|error| format!("choices: {error}"))?;
            if Some(&read.name) == row.choice.as_ref() {
                taken = Some((choice.clone(), read.estimate.read()?));
            }
        }
        let (choice, estimate) = taken.ok_or("choice is none of the choices")?;
        (Asked::Choices(choices.clone()), Asked::Choices(vec![choice]), estimate)
    } else if let Some(estimate) = &row.estimate {
        let estimate = estimate.read()?;
        (Asked::Estimate(sent(&estimate)), Asked::Estimate(sent(&estimate)), estimate)
    } else {
        return Ok(None);
    };
    let left = amounts(row.held.as_ref())?;
    let total = row.hold.as_ref().map_or(Ok(estimate), |hold| hold.total.read())?;
    let drawn = row.hold.as_ref().map_or_else(|| Ok(total.minus_to_zero(&left)), |hold| hold.drawn.read())?;
    Ok(Some(Held { asked, taken, estimate, total, drawn, left, overdraft: amounts(row.overdraft.as_ref())? }))
}

impl Held {
    /// The total under which its steps, all of them, draw what they drew: where some went beyond it, they may find no
    /// more than was drawn, since the hold may have grown only after them.
    fn under_steps(&self, abandoned: bool) -> Amounts {
        if !abandoned && self.total == self.estimate {
            return self.total;
        }
        Amounts::from_fn(|meter| {
            let is_drawn = abandoned || *self.overdraft.get(meter) > 0;
            *if is_drawn { &self.drawn } else { &self.total }.get(meter)
        })
    }
}

impl Opening {
    /// Whether it comes back holding, not abandoned.
    pub(super) fn runs(&self) -> bool {
        self.expires_at.is_some()
    }

    fn path(&self, rest: &str) -> String {
        format!("/v1/users/{}/sessions/{}{rest}", segment(&self.user), segment(&self.session))
    }

    fn seconds(&self) -> i64 {
        let now = SystemClock::shared().wall().seconds();
        self.expires_at.map_or(HOLD_SECONDS_DEFAULT, |at| at.seconds().saturating_sub(now).clamp(1, HOLD_SECONDS_MAX))
    }

    /// Opens it; or says why it cannot be. Its steps come next.
    pub(super) async fn open(&mut self, sender: &Sender<'_>, line: u64) -> Result<Result<(), String>, Failure> {
        if let Some(there) = self.there(sender, line).await? {
            return self.go_on(sender, line, &there).await;
        }
        let nothing = Asked::Estimate(sent(&Amounts::ZERO));
        let way = match &self.held {
            Some(held) => self.way(held, sender, line).await?,
            None => Ok(&nothing),
        };
        let (asked, fits) = match way {
            Ok(asked) => (asked, true),
            // Nobody holds anything by it: what it did is what counts.
            Err(_) if !self.runs() => (&nothing, false),
            Err(reason) => return Ok(Err(format!("its hold does not fit any more: {reason}; {LOST}"))),
        };
        let body = OpenBody {
            session_id: &self.session,
            feature: &self.feature,
            asked,
            hold_seconds: self.seconds(),
            metadata: self.metadata.as_deref(),
        };
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let path = format!("/v1/users/{}/sessions", segment(&self.user));
        let answer = sender.ask(Method::POST, &path, Some(Bytes::from(body)), line).await?;
        if !answer.status.is_success() {
            return Ok(Err(format!("{}; {LOST}", refusal(&answer.body, answer.status))));
        }
        self.is_new = true;
        if let Some(held) = self.held.as_ref().filter(|_| fits) {
            let total = held.under_steps(!self.runs());
            if total != held.estimate {
                // Refused, it is told of at the end, when it does not hold what it should.
                self.extend(sender, line, self.seconds(), &total).await?;
            }
        }
        Ok(Ok(()))
    }

    /// A session that is there already: by an earlier import, which may have been cut off, or by the application.
    async fn go_on(&self, sender: &Sender<'_>, line: u64, there: &There) -> Result<Result<(), String>, Failure> {
        if !self.runs() {
            return Ok(Ok(()));
        }
        if there.feature != self.feature || there.choice != self.choice {
            return Ok(Err("another session has its id here".to_owned()));
        }
        let (Some(hold), Some(held)) = (&there.hold, &self.held) else {
            return Ok(Err("its steps have made it here, without a hold, and it can get none any more".to_owned()));
        };
        let total = held.under_steps(false);
        if there.step_count == 0 && total != held.estimate && hold.total.read() == Ok(held.estimate) {
            self.extend(sender, line, self.seconds(), &total).await?;
        }
        Ok(Ok(()))
    }

    /// The whole of what was asked for, if the choice that was taken wins again; else that choice alone; or why not even
    /// that fits. It is checked first, since a refused opening would be kept as a denial.
    async fn way<'a>(
        &self,
        held: &'a Held,
        sender: &Sender<'_>,
        line: u64,
    ) -> Result<Result<&'a Asked, String>, Failure> {
        let path = format!("/v1/users/{}/afford", segment(&self.user));
        let mut message = None;
        for asked in [&held.asked, &held.taken] {
            let body = serde_json::to_vec(asked).unwrap_or_default();
            let answer = sender.ask(Method::POST, &path, Some(Bytes::from(body)), line).await?;
            if !answer.status.is_success() {
                return Ok(Err(refusal(&answer.body, answer.status)));
            }
            let afforded: Afforded = read(&answer.body)?;
            if afforded.allowed && afforded.choice == self.choice {
                return Ok(Ok(asked));
            }
            message = afforded.message;
        }
        Ok(Err(message.unwrap_or_else(|| "the budget has no room".to_owned())))
    }

    /// Lets it hold what it held, or be abandoned, once its steps are recorded; or says what it holds instead.
    pub(super) async fn settle(&self, sender: &Sender<'_>, line: u64) -> Result<Result<(), String>, Failure> {
        if !self.runs() {
            if self.is_new {
                // The shortest hold there is: its end abandons the session.
                self.extend(sender, line, 1, &Amounts::ZERO).await?;
            }
            return Ok(Ok(()));
        }
        let (Some(held), Some(there)) = (&self.held, self.there(sender, line).await?) else { return Ok(Ok(())) };
        let unreadable = Failure::Other;
        let left = there.held.read().map_err(unreadable)?;
        let Some(hold) = there.hold.filter(|_| there.status == "in-progress" && left != held.left) else {
            return Ok(Ok(()));
        };
        let (total, drawn) = (hold.total.read().map_err(unreadable)?, hold.drawn.read().map_err(unreadable)?);
        // What the application has done with it since is not undone.
        let is_as_left = total == held.under_steps(false) && there.step_count <= self.steps;
        if !self.is_new && !is_as_left {
            return Ok(Ok(()));
        }
        let wanted = drawn.checked_add(&held.left).unwrap_or(total);
        let refused = self.extend(sender, line, self.seconds(), &wanted).await?;
        let told = |reason| format!("it holds {} here, not {}: {reason}", sent(&left), sent(&held.left));
        Ok(refused.map_or(Ok(()), |reason| Err(told(reason))))
    }

    async fn there(&self, sender: &Sender<'_>, line: u64) -> Result<Option<There>, Failure> {
        let answer = sender.ask(Method::GET, &self.path("?steps=false"), None, line).await?;
        match answer.status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(read(&answer.body)?)),
            status => Err(Failure::Other(refusal(&answer.body, status))),
        }
    }

    /// Changes the hold; gives why not.
    async fn extend(
        &self,
        sender: &Sender<'_>,
        line: u64,
        seconds: i64,
        total: &Amounts,
    ) -> Result<Option<String>, Failure> {
        let body = format!(r#"{{"holdSeconds":{seconds},"estimate":{}}}"#, sent(total));
        let answer = sender.ask(Method::POST, &self.path("/extend"), Some(Bytes::from(body)), line).await?;
        Ok((!answer.status.is_success()).then(|| refusal(&answer.body, answer.status)))
    }
}

/// What becomes of a session that cannot be opened.
const LOST: &str = "its steps are recorded, and it comes back without a hold if it has any";

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(picos: i64) -> Amounts {
        Amounts { cost: picos, ..Amounts::ZERO }
    }

    #[test]
    fn steps_find_what_they_drew() {
        let held = |estimate, total, drawn, overdraft| Held {
            asked: Asked::Choices(Vec::new()),
            taken: Asked::Choices(Vec::new()),
            estimate: cost(estimate),
            total: cost(total),
            drawn: cost(drawn),
            left: cost(total - drawn),
            overdraft: cost(overdraft),
        };
        for (held, abandoned, expected) in [
            (held(10, 10, 4, 0), false, 10),
            (held(10, 10, 10, 5), false, 10),
            (held(10, 20, 4, 0), false, 20),
            (held(10, 20, 15, 5), false, 15),
            (held(10, 20, 15, 0), true, 15),
        ] {
            assert_eq!(held.under_steps(abandoned), cost(expected), "{held:?}");
        }
    }
}

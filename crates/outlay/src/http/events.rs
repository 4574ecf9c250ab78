//! Event streams: a user's budget as it changes, and what the operator's pages follow.
//!
//! A stream is woken by the [`Feed`](crate::feed::Feed) and then reads the newest state, so what changes faster than it may
//! be sent, or than its reader reads, becomes one event. Events of the budget are whole: none builds on another.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HeaderName};
use http::{HeaderMap, HeaderValue};
use outlay_core::id::UserId;
use outlay_core::month::Timestamp;
use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

use super::auth::Caller;
use super::json::Json;
use super::operator::write_glance;
use super::page::Parameters;
use super::present::notice;
use super::problem::{Kind, Problem};
use super::reading::OfUser;
use super::tokens::Whose;
use super::{App, SharedApp, budget, schemas};
use crate::feed::{Ending, Notice, Place, Told, TooManyWatch, WATCHERS_MAX, Watching};
use crate::store::{Missed, OverviewQuery};

/// Streams of one user that were opened with tokens, at most; else one person could keep everybody out.
const STREAMS_OF_USER_MAX: usize = 64;
/// From one event of the budget to the next, at least.
const BUDGET_PAUSE: Duration = Duration::from_millis(50);
/// The same for overviews: each reads the whole month.
const OVERVIEW_PAUSE: Duration = Duration::from_millis(250);
/// From one comment to the next: proxies cut what is silent for a minute.
const COMMENT_EVERY: Duration = Duration::from_secs(15);
/// What a client is told to wait before it connects again.
const RETRY: Duration = Duration::from_secs(1);

/// Follow a user's budget
///
/// Server-sent events. `budget` is the whole budget of the current month: at the beginning, after each change (20 a second at
/// most; what changes faster becomes one event), and at the turn of the month. `alert` is an alert as `GET /v1/alerts` lists
/// it, of whatever month. Each has an `id`; a client that comes back with it as `Last-Event-ID` gets what it missed, and
/// where that is not known any more the budget. A comment comes every 15 seconds, and the stream ends when the token does, or its user is erased.
#[utoipa::path(get, path = "/v1/users/{userId}/events", tag = "Budgets",
    params(schemas::UserPath,
        ("Last-Event-ID" = Option<String>, Header, description = "The `id` of the last event that came")),
    responses((status = 200, description = "The events, for as long as you read", content_type = "text/event-stream", body = schemas::UserEvent),
        schemas::ReadProblems))]
pub(super) async fn of_user(
    State(app): State<SharedApp>,
    caller: Caller,
    OfUser(user_id): OfUser,
    headers: HeaderMap,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let after = headers.get("last-event-id").and_then(|id| place_of(id.to_str().ok()?));
    let max = if caller.sees_everything() { WATCHERS_MAX } else { STREAMS_OF_USER_MAX };
    let watching = app.reads.feed().watch_user(&user_id, after, max)?;
    Ok(Events::new(app, caller, Subject::User(user_id), watching, after).answer())
}

/// Follow everybody
///
/// Server-sent events. `overview` holds the totals of the current month: at the beginning, and after changes, 4 a second at
/// most. `alert` and `denial` are what `GET /v1/alerts` and `GET /v1/denials` list. There is no resuming: who comes back
/// begins with an `overview`.
#[utoipa::path(get, path = "/v1/events", tag = "Operator",
    responses((status = 200, description = "The events, for as long as you read", content_type = "text/event-stream", body = schemas::OperatorEvent),
        schemas::ReadProblems))]
pub(super) async fn of_all(
    State(app): State<SharedApp>,
    caller: Caller,
    parameters: Parameters,
) -> Result<Response, Problem> {
    parameters.finish()?;
    let watching = app.reads.feed().watch_everybody()?;
    Ok(Events::new(app, caller, Subject::Everybody, watching, None).answer())
}

impl From<TooManyWatch> for Problem {
    fn from(_: TooManyWatch) -> Self {
        Self::new(Kind::TooManyStreams).detail("There is no room for one more at the moment. Try again later.")
    }
}

/// An event's id, as this server writes it: `epoch.seq`.
fn place_of(id: &str) -> Option<Place> {
    let (epoch, seq) = id.split_once('.')?;
    Some(Place { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? })
}

/// The overview that was made last, shared by all who follow everybody.
#[derive(Debug, Default)]
pub struct Glance(Mutex<Option<Made>>);

#[derive(Debug)]
struct Made {
    /// The last change that it surely shows.
    seq: u64,
    at: Instant,
    text: Arc<str>,
}

impl Glance {
    /// An overview that shows the change of this number: the last one, or a new one once its pause is over.
    async fn showing(&self, app: &App, seq: u64) -> Result<Arc<str>, Problem> {
        let mut made = self.0.lock().await;
        if let Some(made) = &*made {
            if made.seq >= seq {
                return Ok(Arc::clone(&made.text));
            }
            sleep_until(made.at + OVERVIEW_PAUSE).await;
        }
        let seq = app.reads.feed().last_change();
        let month = app.reads.now().month();
        let overview = app.reads.overview(OverviewQuery { month, months_before: 1, newest: 0 }).await?;
        let text: Arc<str> = Json::of_object(|object| write_glance(object, month, &overview)).into_text().into();
        *made = Some(Made { seq, at: Instant::now(), text: Arc::clone(&text) });
        Ok(text)
    }
}

/// What a stream is about.
#[derive(Debug)]
enum Subject {
    User(UserId),
    Everybody,
}

/// How far a stream is, where the store itself counts what happens to a user.
#[derive(Debug, Default)]
struct Reached {
    /// Where its client was before.
    after: Option<Place>,
    has_begun: bool,
    /// All up to here is sent.
    at: Option<Place>,
}

impl Reached {
    /// Whether this was sent before.
    fn includes(&self, place: Place) -> bool {
        self.at.is_some_and(|at| at.epoch == place.epoch && place.seq <= at.seq)
    }
}

/// One open stream.
struct Events {
    app: SharedApp,
    /// The id of the key that it was opened with, where that is one of the store's.
    key_id: Option<Arc<str>>,
    /// Whose token it was opened with, where it was one, and when that was made.
    whose: Option<(Whose, Timestamp)>,
    subject: Subject,
    watching: Watching,
    reached: Reached,
    ending: Ending,
    /// What goes out next.
    queue: VecDeque<Event>,
    /// Not before this instant is more gathered.
    rests_until: Instant,
    comments_at: Instant,
}

impl Events {
    fn new(app: SharedApp, caller: Caller, subject: Subject, watching: Watching, after: Option<Place>) -> Self {
        let (key_id, whose, until) = match caller {
            Caller::User { expires_at, whose, made_at, .. } => (None, Some((whose, made_at)), Some(expires_at)),
            Caller::Key { id, .. } => {
                let key = app.reads.keys().into_iter().find(|key| *key.id == *id);
                let until = key.as_ref().and_then(|key| key.expires_at);
                (key.map(|_| id), None, until)
            }
            Caller::Open | Caller::Nobody => (None, None, None),
        };
        let ending = app.reads.feed().ending(until);
        let now = Instant::now();
        // Also where there is nothing to tell yet, something goes out at once, and says that the stream is open.
        let queue = VecDeque::from([Event::default().retry(RETRY)]);
        Self {
            app,
            key_id,
            whose,
            subject,
            watching,
            reached: Reached { after, ..Reached::default() },
            ending,
            queue,
            rests_until: now,
            comments_at: now + COMMENT_EVERY,
        }
    }

    fn answer(self) -> Response {
        let events = futures_util::stream::unfold(self, async |mut events| {
            let event = events.next().await?;
            Some((Ok::<_, Infallible>(event), events))
        });
        let mut response = Sse::new(events).into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache, no-transform"));
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        response
    }

    /// The next event; `None` at the stream's end.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if self.ending.has_come() {
                return None;
            }
            if let Some(event) = self.queue.pop_front() {
                return Some(event);
            }
            let changed = async {
                sleep_until(self.rests_until).await;
                self.watching.changed().await;
            };
            tokio::select! {
                biased;
                () = self.ending.come() => return None,
                () = sleep_until(self.comments_at) => {
                    self.comments_at = Instant::now() + COMMENT_EVERY;
                    if self.is_revoked() {
                        return None;
                    }
                    return Some(Event::default().comment(""));
                }
                () = changed => {}
            }
            // A store that cannot be read ends the stream: its client comes back and is told why.
            tokio::select! {
                biased;
                () = self.ending.come() => return None,
                gathered = gather(&self.app, &self.subject, &mut self.watching, &mut self.reached) => self.queue = gathered.ok()?,
            }
            // Looked at after what was gathered: that may already be of somebody else.
            if let (Some((whose, made_at)), Subject::User(user_id)) = (self.whose, &self.subject) {
                self.whose = Some((whose.still(made_at, &self.app, user_id).await.ok()?, made_at));
            }
            let pause = match self.subject {
                Subject::User(_) => BUDGET_PAUSE,
                Subject::Everybody => OVERVIEW_PAUSE,
            };
            self.rests_until = Instant::now() + pause;
        }
    }

    /// Whether the key that it was opened with opens nothing any more.
    fn is_revoked(&self) -> bool {
        let Some(id) = &self.key_id else { return false };
        !self.app.reads.keys().iter().any(|key| *key.id == **id && key.revoked_at.is_none())
    }
}

/// What happened and how it stands now.
async fn gather(
    app: &App,
    subject: &Subject,
    watching: &mut Watching,
    reached: &mut Reached,
) -> Result<VecDeque<Event>, Problem> {
    let news = watching.take();
    let mut events = VecDeque::with_capacity(news.notices.len() + 1);
    if !reached.has_begun {
        begin(app, subject, reached, &mut events).await?;
    }
    let place_of = |seq| Place { epoch: app.reads.feed().epoch(), seq };
    for Told { seq, at, notice } in news.notices {
        if !at.is_some_and(|at| reached.includes(at)) {
            events.push_back(with_id(event_of(app, &notice), subject, at.unwrap_or(place_of(seq))));
        }
    }
    if let Some(seq) = news.changed {
        if let Some(at) = news.at.filter(|at| reached.at.is_some() && !reached.includes(*at)) {
            reached.at = Some(at);
        }
        let event = match subject {
            Subject::User(user_id) => {
                let budget = budget::of_month(app, user_id, None).await?;
                Event::default().event("budget").data(budget.into_text())
            }
            Subject::Everybody => Event::default().event("overview").data(app.glance.showing(app, seq).await?),
        };
        events.push_back(with_id(event, subject, reached.at.unwrap_or(place_of(seq))));
    }
    Ok(events)
}

/// What a client missed since it was last here, where the store itself counts; and from then on the store tells this process
/// what others change.
async fn begin(
    app: &App,
    subject: &Subject,
    reached: &mut Reached,
    events: &mut VecDeque<Event>,
) -> Result<(), Problem> {
    let user_id = match subject {
        Subject::User(user_id) => Some(user_id),
        Subject::Everybody => None,
    };
    if let Some(missed) = app.reads.missed(user_id, reached.after) {
        let Missed { place, alerts } = missed.await?;
        for (at, alert) in alerts {
            if let Some(user_id) = user_id {
                let event = event_of(app, &Notice::Alert(user_id.clone(), alert));
                events.push_back(with_id(event, subject, at));
            }
        }
        reached.at = Some(place);
    }
    reached.has_begun = true;
    Ok(())
}

fn event_of(app: &App, notice: &Notice) -> Event {
    let deployment_id = app.reads.deployment_id();
    let (name, json) = match notice {
        Notice::Alert(user_id, alert) => {
            let told = notice::Told::default();
            ("alert", Json::of_object(|object| notice::alert(object, alert, Some(user_id), deployment_id, told)))
        }
        Notice::Denial(user_id, denial) => {
            ("denial", Json::of_object(|object| notice::denial(object, denial, Some(user_id), deployment_id)))
        }
    };
    Event::default().event(name).data(json.into_text())
}

/// Only where there is resuming has an event an id.
fn with_id(event: Event, subject: &Subject, place: Place) -> Event {
    match subject {
        Subject::User(_) => event.id(format!("{}.{}", place.epoch, place.seq)),
        Subject::Everybody => event,
    }
}

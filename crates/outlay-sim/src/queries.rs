//! Reads with filters and pages that nobody thought of before: drawn at random, walked to their end, and compared with what
//! a naive filter keeps of all rows.
//!
//! That all rows are right is the business of [`crate::oracle`]; here each list is asked for a part of them.

mod operator;

use std::fmt::Debug;

use outlay::store::{
    ExportAt, Exported, NoticesQuery, Of, Page, PageOf, PersonQuery, Reads, SessionsQuery, StoreError, UsageQuery,
};
use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::{Name, SessionId, UserId};
use outlay_core::month::{Month, Timestamp};
use outlay_core::operation::{Operation, UsageType};
use outlay_core::session::{Session, SessionStatus};
use outlay_model::generate::Random;
use outlay_model::naive::Model;
use outlay_model::seen;
use outlay_model::words::user_id;

use crate::fault::Sometimes;
use crate::oracle::{USERS_MAX, equal, read};
use crate::service::ready;

type Check = Result<(), String>;

/// What must be seen of the reads that are asked.
pub const EVENTS: [&str; 16] = [
    "usage was asked with a filter",
    "sessions were asked with a filter",
    "denials were asked with a filter",
    "alerts were asked with a filter",
    "a page of a filtered list ended where another row follows",
    "a filtered list went on to a page without rows",
    "a filter kept nothing",
    "a filter kept a part",
    "steps of a session were asked from the middle",
    "a person was asked whole",
    "a person was exported",
    "users were asked sorted",
    "a sorted list of users had several pages",
    "an overview was asked",
    "an overview had an erased user in it",
    "sums over sessions were asked",
];

/// Rows of a page, at most: few, so that lists have several pages.
const PAGE_ROWS_MAX: u64 = 5;

/// Somebody who asks.
struct Asking<'a> {
    reads: &'a dyn Reads,
    model: &'a Model,
    now: Timestamp,
    random: &'a mut Random,
    sometimes: &'a mut Sometimes,
}

/// Asks so many questions.
///
/// # Errors
/// When an answer is not what it must be.
pub fn ask(reads: &dyn Reads, model: &Model, count: u64, random: &mut Random, sometimes: &mut Sometimes) -> Check {
    let now = reads.now();
    let mut model = model.clone();
    model.pass(now);
    let mut asking = Asking { reads, model: &model, now, random, sometimes };
    (0..count).try_for_each(|_| match asking.random.below(12) {
        0..=2 => asking.usage(),
        3 | 4 => asking.sessions(),
        5 => asking.denials(),
        6 => asking.alerts(),
        7 => asking.steps(),
        8 => asking.person(),
        9 => asking.users(),
        10 => asking.overview(),
        _ => asking.session_stats(),
    })
}

impl Asking<'_> {
    /// Something of these, or nothing.
    fn maybe<T: Clone>(&mut self, of: &[T]) -> Option<T> {
        if of.is_empty() || self.random.percent(45) { None } else { Some(self.random.pick(of)) }
    }

    fn user(&mut self) -> UserId {
        user_id(self.random.below(USERS_MAX))
    }

    fn some_user(&mut self) -> Option<UserId> {
        let users: Vec<UserId> = (0..USERS_MAX).map(user_id).collect();
        self.maybe(&users)
    }

    /// A month in which something may be, or one in which nothing is.
    fn month(&mut self) -> Month {
        let months: Vec<Month> = self.model.operations.iter().map(|operation| operation.at.month()).collect();
        let otherwise = self.random.pick(&[self.now.month(), self.now.month().next(), self.now.month().minus(14)]);
        self.maybe(&months).unwrap_or(otherwise)
    }

    fn some_month(&mut self) -> Option<Month> {
        let month = self.month();
        self.maybe(&[month])
    }

    fn some_feature(&mut self) -> Option<Name> {
        let names = ["scan", "search", "never"].map(|name| Name::new(name).expect("a name"));
        self.maybe(&names)
    }

    /// Asks for a list page by page, with pages of any size, and compares it with what a filter keeps of all rows.
    fn list<T: PartialEq + Debug + Clone>(
        &mut self,
        what: &str,
        all: &[T],
        keep: impl Fn(&T) -> bool,
        mut page: impl FnMut(PageOf) -> Result<Page<T>, StoreError>,
    ) -> Check {
        let expected: Vec<T> = all.iter().filter(|row| keep(row)).cloned().collect();
        let mut found: Vec<T> = Vec::new();
        let mut before = None;
        loop {
            let limit = usize::try_from(1 + self.random.below(PAGE_ROWS_MAX)).unwrap_or(1);
            let Page { items, next } = read(page(PageOf { before, limit }))?;
            if items.len() > limit {
                return Err(format!("{what}: a page of {limit} rows has {}", items.len()));
            }
            if next.is_some() && found.len() + items.len() < expected.len() {
                self.sometimes.saw("a page of a filtered list ended where another row follows");
            }
            if before.is_some() && items.is_empty() {
                self.sometimes.saw("a filtered list went on to a page without rows");
            }
            found.extend(items);
            if next.is_none() {
                break;
            }
            if before.is_some_and(|before| next.is_some_and(|next| next >= before)) {
                return Err(format!("{what}: a list does not end"));
            }
            before = next;
        }
        if expected.is_empty() && !all.is_empty() {
            self.sometimes.saw("a filter kept nothing");
        } else if expected.len() < all.len() {
            self.sometimes.saw("a filter kept a part");
        }
        equal(what, &found, &expected)
    }

    fn usage(&mut self) -> Check {
        let of = self.user();
        let all = all_usage(self.reads, &of)?;
        let (month, feature) = (self.some_month(), self.some_feature());
        let usage_type = self.maybe(&[UsageType::Ai, UsageType::Api]);
        let sessions: Vec<Session> = all_sessions(self.reads)?
            .into_iter()
            .filter(|row| row.user_id.as_ref() == Some(&of))
            .map(|of| of.row)
            .collect();
        let mut ids: Vec<SessionId> = sessions.iter().map(|session| session.session_id.clone()).collect();
        ids.push(SessionId::new("never").expect("an id"));
        let session_id = self.maybe(&ids);
        let session = session_id.as_ref().map(|id| sessions.iter().find(|of| of.session_id == *id).map(|of| of.no));
        let reads = self.reads;
        let keep = |row: &Operation| {
            month.is_none_or(|month| row.timestamp.month() == month)
                && feature.as_ref().is_none_or(|feature| row.feature == *feature)
                && usage_type.is_none_or(|usage_type| row.usage_type == usage_type)
                && session.is_none_or(|of| of.is_some() && row.session.as_ref().map(|(no, _)| *no) == of)
        };
        self.sometimes.saw("usage was asked with a filter");
        let what = format!("usage of {} in {month:?} of {feature:?}, {usage_type:?}, {session_id:?}", of.as_str());
        self.list(&what, &all, keep, |page| {
            let (feature, session_id) = (feature.clone(), session_id.clone());
            ready(reads.usage(UsageQuery { user_id: of.clone(), month, feature, usage_type, session_id, page }))
        })
    }

    fn sessions(&mut self) -> Check {
        let all = all_sessions(self.reads)?;
        let (user, feature) = (self.some_user(), self.some_feature());
        let status = self.maybe(&[
            SessionStatus::InProgress,
            SessionStatus::Completed,
            SessionStatus::Failed,
            SessionStatus::Abandoned,
        ]);
        let instants: Vec<Timestamp> = all.iter().map(|of| of.row.created_at).collect();
        let near = self.random.pick(&[-1, 0, 1]);
        let from = self.maybe(&instants).map(|at| at.plus_nanos(near));
        let to = self.maybe(&instants).map(|at| at.plus_nanos(-near));
        let reads = self.reads;
        let keep = |Of { user_id, row }: &Of<Session>| {
            user.as_ref().is_none_or(|user| user_id.as_ref() == Some(user))
                && status.is_none_or(|status| row.status == status)
                && feature.as_ref().is_none_or(|feature| row.feature == *feature)
                && from.is_none_or(|from| row.created_at >= from)
                && to.is_none_or(|to| row.created_at < to)
        };
        self.sometimes.saw("sessions were asked with a filter");
        let what = format!("sessions of {user:?}, {status:?}, {feature:?}, from {from:?} to {to:?}");
        self.list(&what, &all, keep, |page| {
            let (user_id, feature) = (user.clone(), feature.clone());
            ready(reads.sessions(SessionsQuery { user_id, status, feature, from, to, page }))
        })
    }

    fn denials(&mut self) -> Check {
        let all = all_denials(self.reads)?;
        let user = self.some_user();
        let months: Vec<Month> = all.iter().map(|of| of.row.recorded_at.month()).collect();
        let month = self.maybe(&months);
        let reads = self.reads;
        self.sometimes.saw("denials were asked with a filter");
        let keep = |of: &Of<Denial>| {
            user.as_ref().is_none_or(|user| of.user_id.as_ref() == Some(user))
                && month.is_none_or(|month| of.row.recorded_at.month() == month)
        };
        self.list(&format!("denials of {user:?} in {month:?}"), &all, keep, |page| {
            ready(reads.denials(NoticesQuery { user_id: user.clone(), month, page }))
        })
    }

    fn alerts(&mut self) -> Check {
        let all = all_alerts(self.reads)?;
        let user = self.some_user();
        let months: Vec<Month> = all.iter().map(|of| of.row.month).collect();
        let month = self.maybe(&months);
        let reads = self.reads;
        self.sometimes.saw("alerts were asked with a filter");
        let keep = |of: &Of<Alert>| {
            user.as_ref().is_none_or(|user| of.user_id.as_ref() == Some(user))
                && month.is_none_or(|month| of.row.month == month)
        };
        self.list(&format!("alerts of {user:?} in {month:?}"), &all, keep, |page| {
            ready(reads.alerts(NoticesQuery { user_id: user.clone(), month, page }))
        })
    }

    /// The steps of a session from any of them on, and as many as are asked for.
    fn steps(&mut self) -> Check {
        let sessions = all_sessions(self.reads)?;
        let Some(Of { row, .. }) = self.maybe(&sessions) else { return Ok(()) };
        let all = read(ready(self.reads.steps(row.no, 0, 1_000)))?;
        let (skip, limit) = (self.random.below(row.steps + 2), 1 + self.random.below(PAGE_ROWS_MAX));
        let place = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        let expected: Vec<Operation> = all.into_iter().skip(place(skip)).take(place(limit)).collect();
        self.sometimes.saw("steps of a session were asked from the middle");
        let found = read(ready(self.reads.steps(row.no, skip, place(limit))))?;
        equal(&format!("steps of session {} after {skip}, {limit}", row.no.0), &found, &expected)
    }

    /// All of one user at once, and all that is exported of them: the same as in the lists.
    fn person(&mut self) -> Check {
        let of = self.user();
        let shown = self.month();
        let newest = usize::try_from(1 + self.random.below(PAGE_ROWS_MAX)).unwrap_or(1);
        let usage = PageOf { before: None, limit: newest };
        let query = PersonQuery { user_id: of.clone(), months: shown.minus(1)..=shown, usage, newest };
        let person = read(ready(self.reads.person(query)))?;
        self.sometimes.saw("a person was asked whole");
        let place = self.model.person(of.as_str());
        let budget =
            person.view.budget(&self.reads.plans(), &of, shown, self.now).ok_or("a person lacks their month")?;
        equal("a person's budget", &seen::budget(&budget), &self.model.budget(place, shown))?;
        let operations = all_usage(self.reads, &of)?;
        let of_month = operations.iter().filter(|row| row.timestamp.month() == shown).take(newest);
        equal("a person's operations", &person.usage.items.iter().collect(), &of_month.collect::<Vec<_>>())?;
        let own = |user_id: &Option<UserId>| user_id.as_ref() == Some(&of);
        let sessions = rows(all_sessions(self.reads)?, own);
        let denials = rows(all_denials(self.reads)?, own);
        let alerts = rows(all_alerts(self.reads)?, own);
        equal(
            "a person's sessions",
            &person.sessions.iter().collect(),
            &sessions.iter().take(newest).collect::<Vec<_>>(),
        )?;
        equal(
            "a person's denials",
            &person.denials.iter().collect(),
            &denials.iter().take(newest).collect::<Vec<_>>(),
        )?;
        equal("a person's alerts", &person.alerts.iter().collect(), &alerts.iter().take(newest).collect::<Vec<_>>())?;
        let (mut at, mut exported) = (Some(ExportAt::default()), (0, Vec::new(), Vec::new(), Vec::new(), Vec::new()));
        while let Some(next) = at {
            let (rows, after) = read(ready(self.reads.export(&of, next)))?;
            for row in rows {
                match row {
                    Exported::User(_) => exported.0 += 1,
                    Exported::Operation(row) => exported.1.push(*row),
                    Exported::Session(row) => exported.2.push(*row),
                    Exported::Denial(row) => exported.3.push(*row),
                    Exported::Alert(row) => exported.4.push(*row),
                }
            }
            at = after;
        }
        self.sometimes.saw("a person was exported");
        equal("an export", &exported, &(usize::from(place.is_some()), operations, sessions, denials, alerts))
    }
}

fn rows<T>(all: Vec<Of<T>>, keep: impl Fn(&Option<UserId>) -> bool) -> Vec<T> {
    all.into_iter().filter(|of| keep(&of.user_id)).map(|of| of.row).collect()
}

/// So many rows that one page has all.
const ALL: PageOf = PageOf { before: None, limit: 4_000 };

fn all_usage(reads: &dyn Reads, of: &UserId) -> Result<Vec<Operation>, String> {
    let (user_id, month, feature, usage_type, session_id) = (of.clone(), None, None, None, None);
    Ok(read(ready(reads.usage(UsageQuery { user_id, month, feature, usage_type, session_id, page: ALL })))?.items)
}

fn all_sessions(reads: &dyn Reads) -> Result<Vec<Of<Session>>, String> {
    let (user_id, status, feature, from, to) = (None, None, None, None, None);
    Ok(read(ready(reads.sessions(SessionsQuery { user_id, status, feature, from, to, page: ALL })))?.items)
}

fn all_denials(reads: &dyn Reads) -> Result<Vec<Of<Denial>>, String> {
    Ok(read(ready(reads.denials(NoticesQuery { user_id: None, month: None, page: ALL })))?.items)
}

fn all_alerts(reads: &dyn Reads) -> Result<Vec<Of<Alert>>, String> {
    Ok(read(ready(reads.alerts(NoticesQuery { user_id: None, month: None, page: ALL })))?.items)
}

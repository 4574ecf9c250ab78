//! What is read of one person: their view, their history, their export.

use std::ops::RangeInclusive;
use std::sync::Arc;

use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::UserId;
use outlay_core::ledger::UserView;
use outlay_core::month::Month;
use outlay_core::session::Session;

use super::{Snapshot, lists};
use crate::store::embedded::days;
use crate::store::{ExportAt, Exported, History, Page, PageOf, Person, PersonQuery, StoreError};

/// Rows of an export that are read in one snapshot.
const EXPORT_ROWS: usize = 500;

/// A user with one month, as of the snapshot; `None` when it is older than what is in memory.
pub(super) fn view(snapshot: &Snapshot<'_>, user_id: &UserId, month: Month) -> Result<Option<UserView>, StoreError> {
    let Some(user) = snapshot.user(user_id)? else { return Ok(Some(UserView::unknown())) };
    let months = snapshot.month(user.no, month)?.into_iter().collect();
    let held = snapshot.shared.roster.held(snapshot.batch, user.no);
    Ok(held.map(|held| UserView { user: Some(Arc::new(user)), months, held }))
}

/// All that is shown of one user; `None` when the snapshot is older than what is in memory.
pub(super) fn whole(snapshot: &Snapshot<'_>, query: &PersonQuery) -> Result<Option<Person>, StoreError> {
    let month = *query.months.end();
    let Some(view) = view(snapshot, &query.user_id, month)? else { return Ok(None) };
    let newest = PageOf { before: None, limit: query.newest };
    let mut person = Person {
        as_of: snapshot.shared.clock.now(),
        history: history(snapshot, &query.user_id, &query.months)?,
        view,
        usage: Page { items: Vec::new(), next: None },
        sessions: Vec::new(),
        denials: Vec::new(),
        alerts: Vec::new(),
    };
    if let Some(user) = person.view.user.clone() {
        person.usage = lists::month_usage(snapshot, &user, month, query.usage)?;
        person.sessions = lists::of_user::<Session>(snapshot, &user, newest, |_| true)?.items;
        person.denials = lists::of_user::<Denial>(snapshot, &user, newest, |_| true)?.items;
        person.alerts = lists::of_user::<Alert>(snapshot, &user, newest, |_| true)?.items;
    }
    Ok(Some(person))
}

/// The user's months in the range, and the sums of their days.
pub(super) fn history(
    snapshot: &Snapshot<'_>,
    user_id: &UserId,
    months: &RangeInclusive<Month>,
) -> Result<History, StoreError> {
    let mut history = History::default();
    let Some(user) = snapshot.user(user_id)? else { return Ok(history) };
    for month in user.months.iter().filter(|month| months.contains(month)) {
        history.months.extend(snapshot.month(user.no, *month)?);
        let key = (*month, user.no);
        let unswept = snapshot.unswept(key);
        for (day, combinations) in days::days_of_month(&snapshot.transaction, key, unswept.as_deref())? {
            for (combination, sums) in combinations {
                history.days.push((day, combination.dimensions(&snapshot.shared.names)?, sums));
            }
        }
    }
    Ok(history)
}

/// One slice of all that is kept of a user.
pub(super) fn export(
    snapshot: &Snapshot<'_>,
    user_id: &UserId,
    at: ExportAt,
) -> Result<(Vec<Exported>, Option<ExportAt>), StoreError> {
    let Some(user) = snapshot.user(user_id)? else { return Ok((Vec::new(), None)) };
    let of = |before| PageOf { before, limit: EXPORT_ROWS };
    Ok(match at {
        ExportAt::User => (vec![Exported::User(Arc::new(user))], Some(ExportAt::Sessions(None))),
        ExportAt::Sessions(before) => {
            let page = lists::of_user::<Session>(snapshot, &user, of(before), |_| true)?;
            slice(page, |row| Exported::Session(Box::new(row)), ExportAt::Sessions, Some(ExportAt::Operations(None)))
        }
        ExportAt::Operations(before) => {
            let page = lists::all_usage(snapshot, &user, of(before))?;
            slice(page, |row| Exported::Operation(Box::new(row)), ExportAt::Operations, Some(ExportAt::Denials(None)))
        }
        ExportAt::Denials(before) => {
            let page = lists::of_user::<Denial>(snapshot, &user, of(before), |_| true)?;
            slice(page, |row| Exported::Denial(Box::new(row)), ExportAt::Denials, Some(ExportAt::Alerts(None)))
        }
        ExportAt::Alerts(before) => {
            let page = lists::of_user::<Alert>(snapshot, &user, of(before), |_| true)?;
            slice(page, |row| Exported::Alert(Box::new(row)), ExportAt::Alerts, None)
        }
    })
}

/// A page as a slice, which goes on in the same list or, at its end, in what comes after it.
fn slice<T>(
    page: Page<T>,
    exported: impl FnMut(T) -> Exported,
    on: impl FnOnce(Option<u64>) -> ExportAt,
    after: Option<ExportAt>,
) -> (Vec<Exported>, Option<ExportAt>) {
    let next = if page.next.is_some() { Some(on(page.next)) } else { after };
    (page.items.into_iter().map(exported).collect(), next)
}

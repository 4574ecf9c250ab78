//! What is read of one person: their view, their history, their export.

use std::ops::RangeInclusive;
use std::sync::Arc;

use outlay_core::id::{OperationId, SessionId, UserId, UserNo};
use outlay_core::ledger::{Held, UserView};
use outlay_core::month::{Day, Month};
use outlay_core::operation::Operation;
use outlay_core::session::Session;
use outlay_core::user::User;

use super::lists::{self, OfUser};
use super::{Transaction, rows};
use crate::store::postgres::codec::{self, op_of, read_all};
use crate::store::postgres::rows::{RowReader, stored};
use crate::store::postgres::shared::Shared;
use crate::store::postgres::statements::MADE;
use crate::store::postgres::sums::{DAY_COLUMNS, read_day};
use crate::store::{ExportAt, Exported, History, Page, PageOf, Person, PersonQuery, StoreError};

/// Rows of an export that are read at a time.
const EXPORT_ROWS: usize = 500;

/// The number that the next user of a bucket is given.
pub(super) const NEXT_USER: &str = "select next_user from bucket where bucket = $1::int4";

/// Whether a bucket had users with these numbers who are nobody by now.
pub(super) const ANY_ERASED: &str = "select exists(select from users where bucket = $1::int4 and user_no >= $2 \
     and user_no < $3 and user_id is null)";

/// The user of an id.
pub(in crate::store::postgres) async fn user(
    client: &Transaction<'_>,
    shared: &Shared,
    user_id: &UserId,
) -> Result<Option<User>, StoreError> {
    let bucket = i64::from(shared.buckets().of_user(user_id));
    let found = rows(client, &MADE.find_users_by_id, &[&[bucket].as_slice(), &[user_id.as_str()].as_slice()]).await?;
    found.first().map(|row| codec::read_user(&mut RowReader::new(row))).transpose()
}

/// A user's bucket and number, as statements take them.
fn key(shared: &Shared, no: UserNo) -> (i64, i64) {
    (i64::from(shared.buckets().of_no(no.0)), stored(no.0))
}

/// A user with one month.
pub(super) async fn view(
    client: &Transaction<'_>,
    shared: &Shared,
    user_id: &UserId,
    month: Month,
) -> Result<UserView, StoreError> {
    let Some(user) = user(client, shared, user_id).await? else { return Ok(UserView::unknown()) };
    let (bucket, no) = key(shared, user.no);
    let (buckets, nos) = ([bucket], [no]);
    let months = [i64::from(month.index())];
    let found = rows(client, &MADE.find_months, &[&buckets.as_slice(), &nos.as_slice(), &months.as_slice()]).await?;
    let months = read_all(&found, codec::read_month)?.into_iter().map(|(_, row)| row).collect();
    let found = rows(client, &MADE.find_holds, &[&buckets.as_slice(), &nos.as_slice()]).await?;
    let mut held = Held::default();
    read_all(&found, codec::read_session)?.iter().for_each(|session| held.insert(session));
    Ok(UserView { user: Some(Arc::new(user)), months, held: Arc::new(held) })
}

/// One operation of a user.
pub(super) async fn operation(
    client: &Transaction<'_>,
    shared: &Shared,
    user_id: &UserId,
    operation_id: &OperationId,
) -> Result<Option<Operation>, StoreError> {
    let Some(user) = user(client, shared, user_id).await? else { return Ok(None) };
    let (bucket, no) = key(shared, user.no);
    let op = op_of(operation_id);
    let (buckets, nos, ops) = ([bucket], [no], [op.as_slice()]);
    let found = rows(client, &MADE.find_operations, &[&buckets.as_slice(), &nos.as_slice(), &ops.as_slice()]).await?;
    let found = read_all(&found, codec::read_operation)?.into_iter();
    Ok(found.into_iter().find(|found| found.operation_id == *operation_id))
}

/// One session of a user.
pub(super) async fn session(
    client: &Transaction<'_>,
    shared: &Shared,
    user_id: &UserId,
    session_id: &SessionId,
) -> Result<Option<Session>, StoreError> {
    let Some(user) = user(client, shared, user_id).await? else { return Ok(None) };
    let (bucket, no) = key(shared, user.no);
    let (buckets, nos, ids) = ([bucket], [no], [session_id.as_str()]);
    let found =
        rows(client, &MADE.find_sessions_by_id, &[&buckets.as_slice(), &nos.as_slice(), &ids.as_slice()]).await?;
    Ok(read_all(&found, codec::read_session)?.into_iter().next())
}

/// All that is shown of one user.
pub(super) async fn whole(
    client: &Transaction<'_>,
    shared: &Shared,
    query: &PersonQuery,
) -> Result<Person, StoreError> {
    let month = *query.months.end();
    let view = view(client, shared, &query.user_id, month).await?;
    let mut person = Person {
        as_of: shared.time(),
        history: History::default(),
        view,
        usage: Page { items: Vec::new(), next: None },
        sessions: Vec::new(),
        denials: Vec::new(),
        alerts: Vec::new(),
    };
    if let Some(user) = person.view.user.clone() {
        let of = OfUser::new(shared, user.no);
        let newest = PageOf { before: None, limit: query.newest };
        person.history = history(client, shared, &user, &query.months).await?;
        person.usage = lists::usage_of(client, of, Some(month), query.usage).await?;
        if query.newest > 0 {
            person.sessions = lists::sessions_of(client, of, newest).await?.items;
            person.denials = lists::denials_of(client, of, newest).await?.items;
            person.alerts = lists::alerts_of(client, of, newest).await?.items;
        }
    }
    Ok(person)
}

/// The months of an id's user, and the sums of their days.
pub(super) async fn history_of(
    client: &Transaction<'_>,
    shared: &Shared,
    user_id: &UserId,
    months: &RangeInclusive<Month>,
) -> Result<History, StoreError> {
    match user(client, shared, user_id).await? {
        Some(user) => history(client, shared, &user, months).await,
        None => Ok(History::default()),
    }
}

async fn history(
    client: &Transaction<'_>,
    shared: &Shared,
    user: &User,
    months: &RangeInclusive<Month>,
) -> Result<History, StoreError> {
    let (bucket, no) = key(shared, user.no);
    let [first, last] = [months.start(), months.end()].map(|month| i64::from(month.index()));
    let sql = format!(
        "select {} from user_month t where t.bucket = $1::int8 and t.user_no = $2 and t.month between $3::int8 and \
         $4::int8 order by t.month",
        codec::USER_MONTH.select("t")
    );
    let found = rows(client, &sql, &[&bucket, &no, &first, &last]).await?;
    let months = read_all(&found, codec::read_month)?.into_iter().map(|(_, row)| row).collect();
    let sql = format!(
        "select {DAY_COLUMNS} from breakdown t where t.bucket = $1::int8 and t.user_no = $2 and t.month between \
         $3::int8 and $4::int8 order by t.day"
    );
    let found = rows(client, &sql, &[&bucket, &no, &first, &last]).await?;
    let days: Vec<(Day, _, _)> = read_all(&found, read_day)?;
    Ok(History { months, days })
}

/// One slice of all that is kept of a user.
pub(super) async fn export(
    client: &Transaction<'_>,
    shared: &Shared,
    user_id: &UserId,
    at: ExportAt,
) -> Result<(Vec<Exported>, Option<ExportAt>), StoreError> {
    let Some(user) = user(client, shared, user_id).await? else { return Ok((Vec::new(), None)) };
    let of = OfUser::new(shared, user.no);
    let page = |before| PageOf { before, limit: EXPORT_ROWS };
    Ok(match at {
        ExportAt::User => (vec![Exported::User(Arc::new(user))], Some(ExportAt::Sessions(None))),
        ExportAt::Sessions(before) => {
            let page = lists::sessions_of(client, of, page(before)).await?;
            slice(page, |row| Exported::Session(Box::new(row)), ExportAt::Sessions, Some(ExportAt::Operations(None)))
        }
        ExportAt::Operations(before) => {
            let page = lists::usage_of(client, of, None, page(before)).await?;
            slice(page, |row| Exported::Operation(Box::new(row)), ExportAt::Operations, Some(ExportAt::Denials(None)))
        }
        ExportAt::Denials(before) => {
            let page = lists::denials_of(client, of, page(before)).await?;
            slice(page, |row| Exported::Denial(Box::new(row)), ExportAt::Denials, Some(ExportAt::Alerts(None)))
        }
        ExportAt::Alerts(before) => {
            let page = lists::alerts_of(client, of, page(before)).await?;
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

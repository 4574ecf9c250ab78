//! Lists, newest first.
//!
//! A page looks at no more than [`ROWS_PER_PAGE_MAX`] rows: one whose filter keeps little comes short, and says where to go
//! on. A user's rows are in the order of their numbers; those of everybody, of which each bucket has an order of its own,
//! in the order of their time and then of their numbers.

use outlay_core::alert::Alert;
use outlay_core::denial::Denial;
use outlay_core::id::{Name, SessionId, SessionNo, UserId, UserNo};
use outlay_core::month::Month;
use outlay_core::operation::{Operation, UsageType};
use outlay_core::session::Session;
use tokio_postgres::types::ToSql;

use super::{Transaction, person, rows};
use crate::audit::Entry;
use crate::store::packed::status_no;
use crate::store::postgres::audit::{AUDIT, read_entry};
use crate::store::postgres::codec::{self, ALERT, DENIAL, OPERATION, SESSION, read_all};
use crate::store::postgres::rows::{RowReader, nanos, stored};
use crate::store::postgres::shared::Shared;
use crate::store::postgres::statements::Table;
use crate::store::{AuditQuery, NoticesQuery, Of, Page, PageOf, SessionsQuery, StoreError, UsageQuery};

/// Rows that one page looks at.
const ROWS_PER_PAGE_MAX: i64 = 5_000;
/// The flag of an operation that is an API's.
const API: i64 = 1;

type Parameters<'a> = Vec<&'a (dyn ToSql + Sync)>;
type Reader<T> = fn(&mut RowReader<'_>) -> Result<T, StoreError>;

/// A user as statements name them.
#[derive(Debug, Clone, Copy)]
pub(super) struct OfUser {
    bucket: i64,
    no: i64,
}

impl OfUser {
    pub(super) fn new(shared: &Shared, no: UserNo) -> Self {
        Self { bucket: i64::from(shared.buckets().of_no(no.0)), no: stored(no.0) }
    }
}

/// What a page is a part of.
struct List<'a, T> {
    table: &'static Table,
    /// Which rows it goes through, by an index, and in which order.
    through: &'a str,
    order: &'static str,
    /// Which of them it keeps; empty = all.
    keeps: String,
    parameters: Parameters<'a>,
    read: Reader<T>,
    number: fn(&T) -> u64,
}

impl<T> List<'_, T> {
    async fn page(mut self, client: &Transaction<'_>, limit: usize) -> Result<Page<Of<T>>, StoreError> {
        // One row beyond the page is read, to know whether there is one.
        let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
        let looked_at = if self.keeps.is_empty() { most.min(ROWS_PER_PAGE_MAX) } else { ROWS_PER_PAGE_MAX };
        let keeps = if self.keeps.is_empty() { "true" } else { &self.keeps };
        let (name, order, through) = (self.table.name, self.order, self.through);
        let place = self.parameters.len();
        let sql = format!(
            "with w as materialized (select t.*, row_number() over () as place from \
             (select t.* from {name} t where {through} order by {order} limit ${looked}) t) \
             select s.count, s.last, x.user_id, {columns} \
             from (select count(*) as count, (select no from w order by place desc limit 1) as last from w) s \
             left join lateral (select * from w t where {keeps} order by place limit ${most}) t on true \
             left join users x on x.bucket = t.bucket and x.user_no = t.user_no order by t.place",
            columns = self.table.select("t"),
            looked = place + 1,
            most = place + 2,
        );
        self.parameters.push(&looked_at);
        self.parameters.push(&most);
        let found = rows(client, &sql, &self.parameters).await?;
        let mut items = Vec::new();
        let mut full = None;
        for row in &found {
            let mut row = RowReader::new(row);
            let (count, last, user_id) = (row.required()?, row.optional_number()?, row.text()?);
            full = last.filter(|_| count == looked_at);
            if row.is_null() {
                continue;
            }
            items.push(Of { user_id: user_id.map(UserId::from_stored), row: (self.read)(&mut row)? });
        }
        let more = items.len() > limit;
        items.truncate(limit);
        let last = items.last().map(|of| (self.number)(&of.row));
        Ok(Page { next: if more { last } else { full }, items })
    }
}

/// A page without whose rows they are.
fn plain<T>(page: Page<Of<T>>) -> Page<T> {
    Page { items: page.items.into_iter().map(|of| of.row).collect(), next: page.next }
}

/// The number that a list goes on below.
fn below(of: PageOf) -> i64 {
    of.before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX))
}

const OF_USER: &str = "t.bucket = $1::int8 and t.user_no = $2 and t.no < $3";
const BY_NUMBER: &str = "t.no desc";

/// A user's operations, of one month or of all.
pub(super) async fn usage_of(
    client: &Transaction<'_>,
    of: OfUser,
    month: Option<Month>,
    page: PageOf,
) -> Result<Page<Operation>, StoreError> {
    let before = below(page);
    let month = month.map(|month| i64::from(month.index()));
    let through = format!("{OF_USER} and ($4::int8 is null or t.month = $4::int8)");
    let list = List {
        table: &OPERATION,
        through: &through,
        order: BY_NUMBER,
        keeps: String::new(),
        parameters: vec![&of.bucket, &of.no, &before, &month],
        read: codec::read_operation,
        number: |row| row.no.0,
    };
    list.page(client, page.limit).await.map(plain)
}

/// A user's operations, with filters.
pub(super) async fn usage(
    client: &Transaction<'_>,
    shared: &Shared,
    query: &UsageQuery,
) -> Result<Page<Operation>, StoreError> {
    let Some(user) = person::user(client, shared, &query.user_id).await? else {
        return Ok(Page { items: Vec::new(), next: None });
    };
    let of = OfUser::new(shared, user.no);
    if query.feature.is_none() && query.usage_type.is_none() && query.session_id.is_none() {
        return usage_of(client, of, query.month, query.page).await;
    }
    let before = below(query.page);
    let month = query.month.map(|month| i64::from(month.index()));
    let feature = query.feature.as_ref().map(Name::as_str);
    let api = query.usage_type.map(|usage_type| if usage_type == UsageType::Api { API } else { 0 });
    let session_id = query.session_id.as_ref().map(SessionId::as_str);
    let through = format!("{OF_USER} and ($4::int8 is null or t.month = $4::int8)");
    let list = List {
        table: &OPERATION,
        through: &through,
        order: BY_NUMBER,
        keeps: "($5::text is null or t.feature = $5) and ($6::int8 is null or t.flags & 1 = $6) \
                and ($7::text is null or t.session_id = $7)"
            .to_owned(),
        parameters: vec![&of.bucket, &of.no, &before, &month, &feature, &api, &session_id],
        read: codec::read_operation,
        number: |row| row.no.0,
    };
    list.page(client, query.page.limit).await.map(plain)
}

/// A session's steps after the first `skip`, in order of recording.
pub(super) async fn steps(
    client: &Transaction<'_>,
    shared: &Shared,
    session: SessionNo,
    skip: u64,
    limit: usize,
) -> Result<Vec<Operation>, StoreError> {
    let sql = format!(
        "select {} from operation t where t.bucket = $1::int8 and t.session_no = $2 and t.position > $3 \
         order by t.position limit $4",
        OPERATION.select("t")
    );
    let bucket = i64::from(shared.buckets().of_no(session.0));
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let found = rows(client, &sql, &[&bucket, &stored(session.0), &stored(skip), &limit]).await?;
    read_all(&found, codec::read_operation)
}

fn of_user<'a, T>(
    table: &'static Table,
    of: &'a OfUser,
    before: &'a i64,
    read: Reader<T>,
    number: fn(&T) -> u64,
) -> List<'a, T> {
    List {
        table,
        through: OF_USER,
        order: BY_NUMBER,
        keeps: String::new(),
        parameters: vec![&of.bucket, &of.no, before],
        read,
        number,
    }
}

pub(super) async fn sessions_of(
    client: &Transaction<'_>,
    of: OfUser,
    page: PageOf,
) -> Result<Page<Session>, StoreError> {
    let before = below(page);
    of_user(&SESSION, &of, &before, codec::read_session, |row| row.no.0).page(client, page.limit).await.map(plain)
}

pub(super) async fn denials_of(client: &Transaction<'_>, of: OfUser, page: PageOf) -> Result<Page<Denial>, StoreError> {
    let before = below(page);
    of_user(&DENIAL, &of, &before, codec::read_denial, |row| row.no.0).page(client, page.limit).await.map(plain)
}

pub(super) async fn alerts_of(client: &Transaction<'_>, of: OfUser, page: PageOf) -> Result<Page<Alert>, StoreError> {
    let before = below(page);
    of_user(&ALERT, &of, &before, codec::read_alert, |row| row.no.0).page(client, page.limit).await.map(plain)
}

/// Where a list over all users goes on: below this time, and at it below this number.
pub(super) struct Place {
    pub(super) time: i64,
    pub(super) no: i64,
}

impl Place {
    /// The place of the row with this number. Where there is none, that of the one before it in its bucket, itself
    /// included; where there is none of these either, the end.
    pub(super) async fn of(
        client: &Transaction<'_>,
        shared: &Shared,
        table: &str,
        time: &str,
        of: PageOf,
    ) -> Result<Option<Self>, StoreError> {
        let before = below(of);
        if before == i64::MAX {
            return Ok(Some(Self { time: i64::MAX, no: i64::MAX }));
        }
        let bucket = i64::from(shared.buckets().of_no(before.unsigned_abs()));
        let sql =
            format!("select {time}, no from {table} where bucket = $1::int8 and no <= $2 order by no desc limit 1");
        let found = rows(client, &sql, &[&bucket, &before]).await?;
        let Some(row) = found.first() else { return Ok(None) };
        let mut row = RowReader::new(row);
        let (time, no) = (row.required()?, row.required()?);
        Ok(Some(Self { time, no: if no == before { no } else { no.saturating_add(1) } }))
    }
}

/// Sessions of a user or of everybody, with filters.
pub(super) async fn sessions(
    client: &Transaction<'_>,
    shared: &Shared,
    query: &SessionsQuery,
) -> Result<Page<Of<Session>>, StoreError> {
    let status = query.status.map(status_no);
    let feature = query.feature.as_ref().map(Name::as_str);
    let (from, to) = (query.from.map(nanos), query.to.map(nanos));
    let filtered = status.is_some() || feature.is_some() || from.is_some() || to.is_some();
    let keeps = |first: usize| {
        let [status, feature, from, to] = [first, first + 1, first + 2, first + 3];
        format!(
            "(${status}::int8 is null or t.status = ${status}) and (${feature}::text is null or t.feature = ${feature}) \
             and (${from}::int8 is null or t.created_at >= ${from}) and (${to}::int8 is null or t.created_at < ${to})"
        )
    };
    listed(
        client,
        shared,
        &SESSION,
        "created_at",
        query.user_id.as_ref(),
        query.page,
        codec::read_session,
        |row| row.no.0,
        |first| {
            if filtered {
                (keeps(first), vec![&status as &(dyn ToSql + Sync), &feature, &from, &to])
            } else {
                (String::new(), Vec::new())
            }
        },
    )
    .await
}

/// Denials of a user or of everybody.
pub(super) async fn denials(
    client: &Transaction<'_>,
    shared: &Shared,
    query: &NoticesQuery,
) -> Result<Page<Of<Denial>>, StoreError> {
    let month = query.month.map(|month| (nanos(month.start()), nanos(month.resets_at())));
    let (from, to) = (month.map(|month| month.0), month.map(|month| month.1));
    listed(
        client,
        shared,
        &DENIAL,
        "recorded_at",
        query.user_id.as_ref(),
        query.page,
        codec::read_denial,
        |row| row.no.0,
        |first| {
            if month.is_none() {
                return (String::new(), Vec::new());
            }
            let second = first + 1;
            (
                format!("t.recorded_at >= ${first} and t.recorded_at < ${second}"),
                vec![&from as &(dyn ToSql + Sync), &to],
            )
        },
    )
    .await
}

/// Alerts of a user or of everybody.
pub(super) async fn alerts(
    client: &Transaction<'_>,
    shared: &Shared,
    query: &NoticesQuery,
) -> Result<Page<Of<Alert>>, StoreError> {
    let month = query.month.map(|month| i64::from(month.index()));
    listed(
        client,
        shared,
        &ALERT,
        "recorded_at",
        query.user_id.as_ref(),
        query.page,
        codec::read_alert,
        |row| row.no.0,
        |first| {
            if month.is_none() {
                return (String::new(), Vec::new());
            }
            (format!("t.month = ${first}::int8"), vec![&month as &(dyn ToSql + Sync)])
        },
    )
    .await
}

/// Rows of a user or of everybody; `keeps` gives the filter whose parameters are numbered from here, and these.
#[expect(clippy::too_many_arguments, reason = "three lists differ in just these")]
async fn listed<'q, T>(
    client: &Transaction<'_>,
    shared: &Shared,
    table: &'static Table,
    time: &'static str,
    user_id: Option<&UserId>,
    of: PageOf,
    read: Reader<T>,
    number: fn(&T) -> u64,
    keeps: impl FnOnce(usize) -> (String, Parameters<'q>),
) -> Result<Page<Of<T>>, StoreError> {
    let nothing = Page { items: Vec::new(), next: None };
    if let Some(user_id) = user_id {
        let Some(user) = person::user(client, shared, user_id).await? else { return Ok(nothing) };
        let (user, before) = (OfUser::new(shared, user.no), below(of));
        let mut list = of_user(table, &user, &before, read, number);
        let (keeps, parameters) = keeps(4);
        list.keeps = keeps;
        list.parameters.extend(parameters);
        return list.page(client, of.limit).await;
    }
    let Some(place) = Place::of(client, shared, table.name, time, of).await? else { return Ok(nothing) };
    let (through, order) = match time {
        "created_at" => ("(t.created_at, t.no) < ($1, $2)", "t.created_at desc, t.no desc"),
        _ => ("(t.recorded_at, t.no) < ($1, $2)", "t.recorded_at desc, t.no desc"),
    };
    let (keeps, more) = keeps(3);
    let mut parameters: Parameters<'_> = vec![&place.time, &place.no];
    parameters.extend(more);
    List { table, through, order, keeps, parameters, read, number }.page(client, of.limit).await
}

/// The audit log, the newest first.
pub(super) async fn audit(
    client: &Transaction<'_>,
    shared: &Shared,
    query: &AuditQuery,
) -> Result<Page<Of<Entry>>, StoreError> {
    let user_no = match &query.user_id {
        None => query.user_no,
        Some(user_id) => match person::user(client, shared, user_id).await? {
            Some(user) if query.user_no.is_none_or(|no| no == user.no) => Some(user.no),
            _ => return Ok(Page { items: Vec::new(), next: None }),
        },
    };
    let before = below(query.page);
    let user = user_no.map(|no| OfUser::new(shared, no));
    let (bucket, user_no) = (user.map(|user| user.bucket), user.map(|user| user.no));
    let (action, who) = (query.action, query.who.as_deref());
    let (from, to) = (query.from.map(nanos), query.to.map(nanos));
    let through = match user {
        Some(_) => "t.bucket = $2::int8 and t.user_no = $3::int8 and t.no < $1",
        None => "t.no < $1 and $2::int8 is null and $3::int8 is null",
    };
    let keeps = "($4::text is null or t.action = $4) and ($5::text is null or t.who = $5) \
                 and ($6::int8 is null or t.at >= $6) and ($7::int8 is null or t.at < $7)";
    let filtered = action.is_some() || who.is_some() || from.is_some() || to.is_some();
    let mut parameters: Parameters<'_> = vec![&before, &bucket, &user_no];
    if filtered {
        parameters.extend([&action as &(dyn ToSql + Sync), &who, &from, &to]);
    }
    let list = List {
        table: &AUDIT,
        through,
        order: BY_NUMBER,
        keeps: if filtered { keeps.to_owned() } else { String::new() },
        parameters,
        read: read_entry,
        number: |entry| entry.no,
    };
    list.page(client, query.page.limit).await
}

/// The entries of the audit log above a number, ascending.
pub(super) async fn audit_above(client: &Transaction<'_>, no: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
    let sql = format!("select {} from audit t where t.no > $1 order by t.no limit $2", AUDIT.select("t"));
    let found = rows(client, &sql, &[&stored(no), &i64::try_from(limit).unwrap_or(i64::MAX)]).await?;
    read_all(&found, read_entry)
}

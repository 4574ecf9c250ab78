//! What decisions need, read by arrays of keys: a question of many books is one statement a table, all in one round trip.

use std::collections::{BTreeMap, BTreeSet};

use outlay_core::denial::REPEAT_SECONDS;
use outlay_core::id::{OperationId, SessionId, SessionNo, UserId, UserNo};
use outlay_core::ledger::{Books, Command, Key, Now};
use outlay_core::month::{Month, Timestamp};
use outlay_core::session::Session;
use tokio_postgres::{Error, Row};

use super::codec;
use super::link::{Link, Sent};
use super::rows::{RowReader, Rows, nanos};
use super::statements::MADE;
use crate::store::StoreError;

/// The books of the buckets that a batch has locked.
pub(super) type BooksOf = BTreeMap<i32, Books>;

/// Keys that are asked for together. Each of a kind once.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    users_by_id: BTreeSet<(i32, UserId)>,
    users: BTreeSet<(i32, UserNo)>,
    months: BTreeSet<(i32, UserNo, Month)>,
    holds: BTreeSet<(i32, UserNo)>,
    sessions_by_id: BTreeSet<(i32, UserNo, SessionId)>,
    sessions: BTreeSet<(i32, SessionNo)>,
    operations: BTreeSet<(i32, UserNo, OperationId, [u8; 16])>,
    denials: BTreeSet<(i32, UserNo, SessionId)>,
    /// The same of users whose number is not known yet.
    of_ids: OfIds,
}

/// Rows of users that are named by their ids.
#[derive(Debug, Default)]
struct OfIds {
    months: BTreeSet<(i32, UserId, Month)>,
    holds: BTreeSet<(i32, UserId)>,
    sessions: BTreeSet<(i32, UserId, SessionId)>,
    operations: BTreeSet<(i32, UserId, OperationId, [u8; 16])>,
}

/// The arrays of a [`Wanted`].
pub(super) struct Asked<'a> {
    statements: Vec<(&'static str, Rows<'a>)>,
    denials_since: i64,
}

impl Wanted {
    pub(super) fn is_empty(&self) -> bool {
        self.users_by_id.is_empty()
            && self.users.is_empty()
            && self.months.is_empty()
            && self.holds.is_empty()
            && self.sessions_by_id.is_empty()
            && self.sessions.is_empty()
            && self.operations.is_empty()
            && self.denials.is_empty()
            && self.of_ids.holds.is_empty()
    }

    pub(super) fn add(&mut self, bucket: i32, key: Key) {
        match key {
            Key::User(id) => self.users_by_id.insert((bucket, id)),
            Key::UserByNo(no) => self.users.insert((bucket, no)),
            Key::Month(no, month) => self.months.insert((bucket, no, month)),
            Key::Holds(no) => self.holds.insert((bucket, no)),
            Key::Session(no, id) => self.sessions_by_id.insert((bucket, no, id)),
            Key::SessionByNo(no) => self.sessions.insert((bucket, no)),
            Key::Operation(no, id) => {
                let op = codec::op_of(&id);
                self.operations.insert((bucket, no, id, op))
            }
            Key::Denial(no, id) => self.denials.insert((bucket, no, id)),
        };
    }

    /// What a command will most likely need, before its user is read: who they are, and their rows, by their number where
    /// that is known already. A number that is not theirs any more finds rows that nobody asks for.
    pub(super) fn guess(
        &mut self,
        bucket: i32,
        command: &Command,
        known: impl Fn(&UserId) -> Option<UserNo>,
        now: Month,
    ) {
        let (user_id, session_id, month) = match command {
            Command::Record(operation) => {
                let month = operation.timestamp.map_or(now, Timestamp::month);
                (&operation.user_id, operation.session_id.as_ref(), month)
            }
            Command::Open { user_id, session_id, .. }
            | Command::Extend { user_id, session_id, .. }
            | Command::Finish { user_id, session_id, .. } => (user_id, Some(session_id), now),
            Command::Reverse { user_id, .. }
            | Command::AuditedCheck { user_id, .. }
            | Command::Deny { user_id, .. }
            | Command::PutUser { user_id, .. }
            | Command::Erase { user_id } => (user_id, None, now),
            Command::Expire { session_no } => return self.add(bucket, Key::SessionByNo(*session_no)),
            Command::Recheck { user_no } => return self.add(bucket, Key::UserByNo(*user_no)),
            Command::PutPlan { .. } => return,
        };
        self.add(bucket, Key::User(user_id.clone()));
        let Some(no) = known(user_id) else { return self.guess_by_id(bucket, command, user_id, session_id, month) };
        self.add(bucket, Key::Holds(no));
        self.add(bucket, Key::Month(no, month));
        if let Some(session_id) = session_id {
            self.add(bucket, Key::Session(no, session_id.clone()));
        }
        match command {
            Command::Record(operation) => self.add(bucket, Key::Operation(no, operation.operation_id.clone())),
            Command::Reverse { original, operation_id, .. } => {
                self.add(bucket, Key::Operation(no, original.clone()));
                self.add(bucket, Key::Operation(no, operation_id.clone()));
            }
            _ => {}
        }
    }

    /// The same for a user whose number is not known: their rows are found through their id, which is one more look-up for
    /// each, and no round trip.
    fn guess_by_id(
        &mut self,
        bucket: i32,
        command: &Command,
        user_id: &UserId,
        session_id: Option<&SessionId>,
        month: Month,
    ) {
        let of_ids = &mut self.of_ids;
        of_ids.holds.insert((bucket, user_id.clone()));
        of_ids.months.insert((bucket, user_id.clone(), month));
        of_ids.sessions.extend(session_id.map(|id| (bucket, user_id.clone(), id.clone())));
        let mut operation = |id: &OperationId| {
            of_ids.operations.insert((bucket, user_id.clone(), id.clone(), codec::op_of(id)));
        };
        match command {
            Command::Record(recorded) => operation(&recorded.operation_id),
            Command::Reverse { original, operation_id, .. } => {
                operation(original);
                operation(operation_id);
            }
            _ => {}
        }
    }

    /// The statements that answer it, as far as anything is asked of them.
    pub(super) fn ask(&self, now: Now) -> Asked<'_> {
        let made = &*MADE;
        let mut all = [
            (made.find_users_by_id.as_str(), Rows::default()),
            (&made.find_users, Rows::default()),
            (&made.find_months, Rows::default()),
            (&made.find_holds, Rows::default()),
            (&made.find_sessions_by_id, Rows::default()),
            (&made.find_sessions, Rows::default()),
            (&made.find_operations, Rows::default()),
            (&made.find_denials, Rows::default()),
            (&made.find_months_of_ids, Rows::default()),
            (&made.find_holds_of_ids, Rows::default()),
            (&made.find_sessions_of_ids, Rows::default()),
            (&made.find_operations_of_ids, Rows::default()),
        ];
        let [users_by_id, users, months, holds, sessions_by_id, sessions, operations, denials, of_ids @ ..] = &mut all;
        for (bucket, id) in &self.users_by_id {
            users_by_id.1.int(i64::from(*bucket)).text(Some(id.as_str())).end();
        }
        for (bucket, no) in &self.users {
            users.1.int(i64::from(*bucket)).number(no.0).end();
        }
        for (bucket, no, month) in &self.months {
            months.1.int(i64::from(*bucket)).number(no.0).int(i64::from(month.index())).end();
        }
        for (bucket, no) in &self.holds {
            holds.1.int(i64::from(*bucket)).number(no.0).end();
        }
        for (bucket, no, id) in &self.sessions_by_id {
            sessions_by_id.1.int(i64::from(*bucket)).number(no.0).text(Some(id.as_str())).end();
        }
        for (bucket, no) in &self.sessions {
            sessions.1.int(i64::from(*bucket)).number(no.0).end();
        }
        for (bucket, no, _, op) in &self.operations {
            operations.1.int(i64::from(*bucket)).number(no.0).blob(op).end();
        }
        for (bucket, no, id) in &self.denials {
            denials.1.int(i64::from(*bucket)).number(no.0).text(Some(id.as_str())).end();
        }
        self.of_ids.ask(of_ids);
        let statements = all.into_iter().filter(|(_, rows)| !rows.is_empty()).collect();
        Asked { statements, denials_since: nanos(now.wall.plus_seconds(-REPEAT_SECONDS)) }
    }

    /// Puts what was read into the books; what was asked for and is not there is known not to be.
    pub(super) fn load(self, answers: &Answers, books: &mut BooksOf) -> Result<(), StoreError> {
        let made = &*MADE;
        let users = answers.read(&made.find_users_by_id, codec::read_user)?;
        let mut users: BTreeMap<_, _> = users.into_iter().map(|user| (user.user_id.clone(), user)).collect();
        let numbers: BTreeMap<UserId, UserNo> = users.iter().map(|(id, user)| (id.clone(), user.no)).collect();
        for (bucket, id) in self.users_by_id {
            let user = users.remove(&id);
            of(books, bucket, |books| books.load_user(id, user));
        }
        let users = answers.read(&made.find_users, codec::read_user)?;
        let mut users: BTreeMap<_, _> = users.into_iter().map(|user| (user.no, user)).collect();
        for (bucket, no) in self.users {
            let user = users.remove(&no).ok_or_else(|| StoreError::Corrupt(format!("user {} is not stored", no.0)))?;
            of(books, bucket, |books| {
                if user.user_id.as_str().is_empty() {
                    books.load_nobody(no);
                } else {
                    books.load_user(user.user_id.clone(), Some(user));
                }
            });
        }
        let months = answers.read_both(&made.find_months, &made.find_months_of_ids, codec::read_month)?;
        let mut months: BTreeMap<_, _> = months.into_iter().map(|(no, row)| ((no, row.month), row)).collect();
        let of_ids = self.of_ids.numbered(&numbers);
        for (bucket, no, month) in self.months.into_iter().chain(of_ids.months) {
            of(books, bucket, |books| books.load_month(no, month, months.remove(&(no, month))));
        }
        let mut holds: BTreeMap<UserNo, Vec<Session>> = BTreeMap::new();
        for session in answers.read_both(&made.find_holds, &made.find_holds_of_ids, codec::read_session)? {
            holds.entry(session.user_no).or_default().push(session);
        }
        for (bucket, no) in self.holds.into_iter().chain(of_ids.holds) {
            of(books, bucket, |books| books.load_holds(no, holds.remove(&no).unwrap_or_default()));
        }
        let sessions = answers.read_both(&made.find_sessions_by_id, &made.find_sessions_of_ids, codec::read_session)?;
        let mut sessions: BTreeMap<_, _> =
            sessions.into_iter().map(|session| ((session.user_no, session.session_id.clone()), session)).collect();
        for (bucket, no, id) in self.sessions_by_id.into_iter().chain(of_ids.sessions) {
            let session = sessions.remove(&(no, id.clone()));
            of(books, bucket, |books| books.load_session(no, id, session));
        }
        let sessions = answers.read(&made.find_sessions, codec::read_session)?;
        let mut sessions: BTreeMap<_, _> = sessions.into_iter().map(|session| (session.no, session)).collect();
        for (bucket, no) in self.sessions {
            let session =
                sessions.remove(&no).ok_or_else(|| StoreError::Corrupt(format!("session {} is not stored", no.0)))?;
            let (user_no, id) = (session.user_no, session.session_id.clone());
            of(books, bucket, |books| books.load_session(user_no, id, Some(session)));
        }
        let operations =
            answers.read_both(&made.find_operations, &made.find_operations_of_ids, codec::read_operation)?;
        let mut operations: BTreeMap<_, _> =
            operations.into_iter().map(|found| ((found.user_no, found.operation_id.clone()), found)).collect();
        for (bucket, no, id, _) in self.operations.into_iter().chain(of_ids.operations) {
            let operation = operations.remove(&(no, id.clone()));
            of(books, bucket, |books| books.load_operation(no, id, operation));
        }
        let denials = answers.read(&made.find_denials, codec::read_denial)?;
        let mut denials: BTreeMap<_, _> =
            denials.into_iter().map(|denial| ((denial.user_no, denial.session_id.clone()), denial)).collect();
        for (bucket, no, id) in self.denials {
            let denial = denials.remove(&(no, Some(id.clone())));
            of(books, bucket, |books| books.load_denial(no, id, denial));
        }
        Ok(())
    }
}

impl OfIds {
    /// The arrays of it, one for each statement in their order.
    fn ask<'a>(&'a self, statements: &mut [(&str, Rows<'a>)]) {
        let [months, holds, sessions, operations] = statements else { unreachable!("one for each kind of rows") };
        for (bucket, id, month) in &self.months {
            months.1.int(i64::from(*bucket)).text(Some(id.as_str())).int(i64::from(month.index())).end();
        }
        for (bucket, id) in &self.holds {
            holds.1.int(i64::from(*bucket)).text(Some(id.as_str())).end();
        }
        for (bucket, id, session_id) in &self.sessions {
            sessions.1.int(i64::from(*bucket)).text(Some(id.as_str())).text(Some(session_id.as_str())).end();
        }
        for (bucket, id, _, op) in &self.operations {
            operations.1.int(i64::from(*bucket)).text(Some(id.as_str())).blob(op).end();
        }
    }

    /// The same by number, of those that there are: of nobody there are no rows.
    fn numbered(self, numbers: &BTreeMap<UserId, UserNo>) -> Numbered {
        let no = |id: &UserId| numbers.get(id).copied();
        Numbered {
            months: self.months.into_iter().filter_map(|(bucket, id, month)| Some((bucket, no(&id)?, month))).collect(),
            holds: self.holds.into_iter().filter_map(|(bucket, id)| Some((bucket, no(&id)?))).collect(),
            sessions: self.sessions.into_iter().filter_map(|(bucket, id, of)| Some((bucket, no(&id)?, of))).collect(),
            operations: self
                .operations
                .into_iter()
                .filter_map(|(bucket, id, of, op)| Some((bucket, no(&id)?, of, op)))
                .collect(),
        }
    }
}

/// What was asked by id, by number.
struct Numbered {
    months: Vec<(i32, UserNo, Month)>,
    holds: Vec<(i32, UserNo)>,
    sessions: Vec<(i32, UserNo, SessionId)>,
    operations: Vec<(i32, UserNo, OperationId, [u8; 16])>,
}

/// What was asked of a bucket that is not locked is let go.
fn of(books: &mut BooksOf, bucket: i32, load: impl FnOnce(&mut Books)) {
    if let Some(books) = books.get_mut(&bucket) {
        load(books);
    }
}

impl Asked<'_> {
    /// Sends the statements.
    pub(super) fn send<'a>(&'a self, link: &'a Link) -> Vec<Sent<'a>> {
        let send = |(sql, rows): &'a (&'static str, Rows<'_>)| {
            let mut parameters = rows.parameters();
            if *sql == MADE.find_denials {
                parameters.push(&self.denials_since);
            }
            link.send(sql, parameters)
        };
        self.statements.iter().map(send).collect()
    }

    /// The answers, in the order in which [`Asked::send`] gave the statements.
    pub(super) fn answered(&self, rows: impl Iterator<Item = Result<Vec<Row>, Error>>) -> Result<Answers, Error> {
        let answers = self.statements.iter().zip(rows).map(|((sql, _), rows)| Ok((*sql, rows?)));
        Ok(Answers(answers.collect::<Result<_, Error>>()?))
    }
}

/// Rows by the statement that gave them.
pub(super) struct Answers(Vec<(&'static str, Vec<Row>)>);

impl Answers {
    fn read<T>(
        &self,
        sql: &str,
        read: impl Fn(&mut RowReader<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let rows = self.0.iter().find(|(of, _)| *of == sql);
        rows.map_or_else(|| Ok(Vec::new()), |(_, rows)| codec::read_all(rows, read))
    }

    /// The rows of two statements that read the same.
    fn read_both<T>(
        &self,
        one: &str,
        other: &str,
        read: impl Fn(&mut RowReader<'_>) -> Result<T, StoreError> + Copy,
    ) -> Result<Vec<T>, StoreError> {
        let mut all = self.read(one, read)?;
        all.extend(self.read(other, read)?);
        Ok(all)
    }
}

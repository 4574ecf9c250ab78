//! The rows of one bucket, as a database keeps them: what a transaction writes is there as a whole, and unique keys hold.

use std::collections::BTreeMap;

use outlay_core::alert::Alert;
use outlay_core::breakdown::Sums;
use outlay_core::denial::{Denial, REPEAT_SECONDS};
use outlay_core::id::{AlertNo, DenialNo, OperationNo, SessionNo, UserId, UserNo};
use outlay_core::ledger::{Books, Key, Now, Numbers, UserView, Written};
use outlay_core::month::{Day, Month, Timestamp};
use outlay_core::operation::Operation;
use outlay_core::plan::Plans;
use outlay_core::session::{Session, SessionStatus};
use outlay_core::user::{User, UserMonth};

/// SQLSTATE of a unique key that is there already.
const UNIQUE_VIOLATION: &str = "23505";

/// The rows of one bucket. Numbers are the bucket's own, from 1.
#[derive(Debug, Clone)]
pub struct Tables {
    /// How many events its order has.
    pub seq: i64,
    /// The time of its last transaction.
    pub now_at: Timestamp,
    /// The numbers that come next.
    pub numbers: Numbers,
    /// The mark of each event, in their order.
    pub events: Vec<[u8; 16]>,
    /// Who there is.
    pub users: BTreeMap<UserNo, User>,
    /// Who is nobody any more, as they were.
    pub erased: BTreeMap<UserNo, User>,
    /// Counters of users' months.
    pub months: BTreeMap<(UserNo, Month), UserMonth>,
    /// Operations.
    pub operations: BTreeMap<OperationNo, Operation>,
    /// Sessions.
    pub sessions: BTreeMap<SessionNo, Session>,
    /// Denials.
    pub denials: BTreeMap<DenialNo, Denial>,
    /// Alerts.
    pub alerts: BTreeMap<AlertNo, Alert>,
    /// Sums of users' days, to which each transaction adds.
    pub days: BTreeMap<(UserNo, Day), Sums>,
}

/// What a transaction changes in one bucket.
#[derive(Debug)]
pub struct Change {
    /// Which bucket.
    pub bucket: usize,
    /// The numbers that come next after it.
    pub numbers: Numbers,
    /// The rows.
    pub written: Written,
}

impl Tables {
    /// An empty bucket.
    pub fn new(now_at: Timestamp) -> Self {
        Self {
            seq: 0,
            now_at,
            numbers: Numbers::default(),
            events: Vec::new(),
            users: BTreeMap::new(),
            erased: BTreeMap::new(),
            months: BTreeMap::new(),
            operations: BTreeMap::new(),
            sessions: BTreeMap::new(),
            denials: BTreeMap::new(),
            alerts: BTreeMap::new(),
            days: BTreeMap::new(),
        }
    }

    /// The user of this id.
    pub fn user(&self, id: &UserId) -> Option<&User> {
        self.users.values().find(|user| user.user_id == *id)
    }

    /// Answers one key.
    pub fn load(&self, books: &mut Books, key: Key, now: Now) {
        match key {
            Key::User(user_id) => {
                let user = self.user(&user_id).cloned();
                books.load_user(user_id, user);
            }
            Key::UserByNo(no) => match self.users.get(&no) {
                Some(user) => books.load_user(user.user_id.clone(), Some(user.clone())),
                None => books.load_nobody(no),
            },
            Key::Month(no, month) => books.load_month(no, month, self.months.get(&(no, month)).cloned()),
            Key::Holds(no) => books.load_holds(no, self.holds(no)),
            Key::Session(no, id) => {
                let session = self.sessions.values().find(|row| row.user_no == no && row.session_id == id).cloned();
                books.load_session(no, id, session);
            }
            Key::SessionByNo(no) => books.load_session_by_no(self.sessions.get(&no).cloned()),
            Key::Operation(no, id) => {
                let found = self.operations.values().find(|row| row.user_no == no && row.operation_id == id).cloned();
                books.load_operation(no, id, found);
            }
            Key::Denial(no, id) => {
                let of_session = |row: &&Denial| row.user_no == no && row.session_id.as_ref() == Some(&id);
                let newest = self.denials.values().rev().find(of_session);
                let recent = newest.filter(|row| row.recorded_at.plus_seconds(REPEAT_SECONDS) > now.wall).cloned();
                books.load_denial(no, id, recent);
            }
        }
    }

    fn holds(&self, no: UserNo) -> Vec<Session> {
        let holds = |row: &&Session| row.user_no == no && row.status == SessionStatus::InProgress && row.hold.is_some();
        self.sessions.values().filter(holds).cloned().collect()
    }

    /// A user with all months, as readers are shown them.
    pub fn view(&self, plans: &Plans, id: &UserId, now: Now) -> UserView {
        let mut books = Books::new(0, plans.clone(), self.numbers);
        self.load(&mut books, Key::User(id.clone()), now);
        if let Some(user) = self.user(id) {
            self.load(&mut books, Key::Holds(user.no), now);
            user.months.iter().for_each(|month| self.load(&mut books, Key::Month(user.no, *month), now));
        }
        books.view(id).expect("the user's holds are loaded")
    }

    /// Whether these rows can be written.
    ///
    /// # Errors
    /// SQLSTATE of a unique key that is taken.
    pub fn allows(&self, written: &Written) -> Result<(), &'static str> {
        let user = |row: &User| self.users.values().any(|is| is.user_id == row.user_id && is.no != row.no);
        let operation = |row: &Operation| {
            let same = |is: &Operation| is.user_no == row.user_no && is.operation_id == row.operation_id;
            self.operations.contains_key(&row.no) || self.operations.values().any(same)
        };
        let session = |before: &Option<Session>, row: &Session| {
            let same = |is: &Session| is.user_no == row.user_no && is.session_id == row.session_id && is.no != row.no;
            before.is_none() && self.sessions.contains_key(&row.no) || self.sessions.values().any(same)
        };
        let alert = |row: &Alert| {
            let same = |is: &Alert| (is.user_no, is.month, is.key) == (row.user_no, row.month, row.key);
            self.alerts.contains_key(&row.no) || self.alerts.values().any(same)
        };
        let taken = written.users.iter().any(|row| user(row))
            || written.operations.iter().any(|row| operation(row))
            || written.sessions.iter().any(|(before, row)| session(before, row))
            || written.alerts.iter().any(alert);
        if taken { Err(UNIQUE_VIOLATION) } else { Ok(()) }
    }

    /// Writes what a transaction changed, with its mark.
    pub fn write(&mut self, change: &Change, batch: [u8; 16], now: Timestamp) {
        let Change { bucket: _, numbers, written } = change;
        self.seq += 1;
        self.events.push(batch);
        self.numbers = *numbers;
        self.now_at = self.now_at.max(now);
        self.users.extend(written.users.iter().map(|row| (row.no, User::clone(row))));
        for row in &written.erased {
            self.users.remove(&row.no);
            self.erased.insert(row.no, User::clone(row));
        }
        self.months.extend(written.months.iter().map(|(no, row)| ((*no, row.month), row.clone())));
        for row in &written.operations {
            let day = self.days.entry((row.user_no, row.timestamp.day())).or_default();
            *day = day.and(&Sums::of(row));
        }
        let operations = written.operations.iter().chain(&written.reversed);
        self.operations.extend(operations.map(|row| (row.no, Operation::clone(row))));
        self.sessions.extend(written.sessions.iter().map(|(_, row)| (row.no, row.clone())));
        self.denials.extend(written.denials.iter().map(|row| (row.no, row.clone())));
        self.alerts.extend(written.alerts.iter().map(|row| (row.no, row.clone())));
    }

    /// Whether an event with this mark stands after this place of the order.
    pub fn has_event(&self, after: i64, batch: [u8; 16]) -> bool {
        self.events.iter().skip(usize::try_from(after).unwrap_or(0)).any(|event| *event == batch)
    }
}

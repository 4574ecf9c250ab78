//! A store in memory: plain maps of rows, from which books are loaded and into which batches are written.
//!
//! It answers [`Books::missing`] and nothing more, so a decision that looks at a row it did not ask for is found: the row
//! is not there. It checks what a store relies on: rows numbered without gaps, each written once, and that what a batch
//! says a session was before is what is stored.

use std::collections::BTreeMap;

use outlay_core::alert::Alert;
use outlay_core::breakdown::Sums;
use outlay_core::denial::{Denial, REPEAT_SECONDS};
use outlay_core::id::{AlertNo, DenialNo, OperationId, OperationNo, SessionId, SessionNo, UserId, UserNo};
use outlay_core::ledger::verify::Recount;
use outlay_core::ledger::{Books, Command, Key, Now, Numbers, Outcome, Rejection, UserView, Written, decide};
use outlay_core::month::{Day, Month};
use outlay_core::operation::Operation;
use outlay_core::plan::Plans;
use outlay_core::session::{Session, SessionStatus};
use outlay_core::user::{User, UserMonth};

/// The rows of a store.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rows {
    /// The first number of each kind and how far the next one is from it, where that is not 1 and 1.
    pub(crate) numbering: Option<(u64, u64)>,
    pub(crate) users: BTreeMap<UserNo, User>,
    pub(crate) user_nos: BTreeMap<UserId, UserNo>,
    /// The rows of users who are nobody any more, as they were.
    pub(crate) erased: BTreeMap<UserNo, User>,
    pub(crate) months: BTreeMap<(UserNo, Month), UserMonth>,
    pub(crate) operations: BTreeMap<OperationNo, Operation>,
    pub(crate) operation_nos: BTreeMap<(UserNo, OperationId), OperationNo>,
    pub(crate) sessions: BTreeMap<SessionNo, Session>,
    pub(crate) session_nos: BTreeMap<(UserNo, SessionId), SessionNo>,
    pub(crate) denials: BTreeMap<DenialNo, Denial>,
    pub(crate) alerts: BTreeMap<AlertNo, Alert>,
    pub(crate) days: BTreeMap<(UserNo, Day), Sums>,
    /// What readers see of users, as batches published it.
    pub(crate) published: BTreeMap<UserId, UserView>,
}

impl Rows {
    /// The number of a row that so many of its kind come before.
    fn number(&self, before: usize) -> u64 {
        let (first, step) = self.numbering.unwrap_or((1, 1));
        first + before as u64 * step
    }

    /// The numbers that the next rows get.
    pub(crate) fn numbers(&self) -> Numbers {
        Numbers {
            user: UserNo(self.number(self.users.len() + self.erased.len())),
            operation: OperationNo(self.number(self.operations.len())),
            session: SessionNo(self.number(self.sessions.len())),
            denial: DenialNo(self.number(self.denials.len())),
            alert: AlertNo(self.number(self.alerts.len())),
            step: self.numbering.map_or(1, |(_, step)| step),
        }
    }

    /// Answers one key from what is stored.
    pub(crate) fn load(&self, books: &mut Books, key: Key, now: Now) {
        match key {
            Key::User(user_id) => {
                let user = self.user_nos.get(&user_id).map(|no| self.users[no].clone());
                books.load_user(user_id, user);
            }
            Key::UserByNo(no) => match self.users.get(&no) {
                Some(user) => books.load_user(user.user_id.clone(), Some(user.clone())),
                None => books.load_nobody(no),
            },
            Key::Month(no, month) => books.load_month(no, month, self.months.get(&(no, month)).cloned()),
            Key::Holds(no) => books.load_holds(no, self.holds(no)),
            Key::Session(no, session_id) => {
                let session = self.session_nos.get(&(no, session_id.clone())).map(|no| self.sessions[no].clone());
                books.load_session(no, session_id, session);
            }
            Key::SessionByNo(no) => books.load_session_by_no(self.sessions.get(&no).cloned()),
            Key::Operation(no, operation_id) => {
                let found = self.operation_nos.get(&(no, operation_id.clone()));
                books.load_operation(no, operation_id, found.map(|no| self.operations[no].clone()));
            }
            Key::Denial(no, session_id) => {
                let of_session =
                    |denial: &&Denial| denial.user_no == no && denial.session_id == Some(session_id.clone());
                let newest = self.denials.values().rev().find(of_session);
                let recent = newest.filter(|denial| denial.recorded_at.plus_seconds(REPEAT_SECONDS) > now.wall);
                books.load_denial(no, session_id, recent.cloned());
            }
        }
    }

    fn holds(&self, no: UserNo) -> Vec<Session> {
        let open = |session: &&Session| {
            session.user_no == no && session.status == SessionStatus::InProgress && session.hold.is_some()
        };
        self.sessions.values().filter(open).cloned().collect()
    }

    fn write(&mut self, written: Written) {
        self.published.extend(written.views);
        for user in written.users {
            assert!(!self.erased.contains_key(&user.no), "an erased user is never written again");
            self.user_nos.insert(user.user_id.clone(), user.no);
            self.users.insert(user.no, User::clone(&user));
        }
        for user in written.erased {
            self.users.remove(&user.no);
            if self.user_nos.get(&user.user_id) == Some(&user.no) {
                self.user_nos.remove(&user.user_id);
            }
            let again = self.erased.insert(user.no, User::clone(&user));
            assert!(again.is_none(), "a user is erased once");
        }
        let mut months = Vec::new();
        for (no, row) in written.months {
            months.push((no, row.month));
            self.months.insert((no, row.month), row);
        }
        months.sort_unstable();
        assert!(months.windows(2).all(|pair| pair[0] != pair[1]), "each month is written once");
        for operation in written.operations {
            assert_eq!(operation.no, self.numbers().operation, "operations come in commit order");
            let key = (operation.user_no, operation.operation_id.clone());
            assert_eq!(self.operation_nos.insert(key, operation.no), None, "an operation is recorded once");
            let day = self.days.entry((operation.user_no, operation.timestamp.day())).or_default();
            *day = day.and(&Sums::of(&operation));
            self.operations.insert(operation.no, Operation::clone(&operation));
        }
        for operation in written.reversed {
            let stored = self.operations.get_mut(&operation.no).expect("a reversed operation is stored");
            stored.reversed_by.clone_from(&operation.reversed_by);
            assert_eq!(*stored, *operation, "only `reversed_by` changes");
        }
        for (before, session) in written.sessions {
            assert_eq!(self.sessions.get(&session.no), before.as_ref(), "what a session was before is what is stored");
            if before.is_none() {
                assert_eq!(session.no, self.numbers().session, "sessions are numbered without gaps");
                self.session_nos.insert((session.user_no, session.session_id.clone()), session.no);
            }
            self.sessions.insert(session.no, session);
        }
        for denial in written.denials {
            assert!(denial.no <= self.numbers().denial, "denials are numbered without gaps");
            self.denials.insert(denial.no, denial);
        }
        for alert in written.alerts {
            assert_eq!(alert.no, self.numbers().alert, "alerts are numbered without gaps");
            self.alerts.insert(alert.no, alert);
        }
    }

    /// What a recount of the whole store finds.
    pub(crate) fn verify(&self) -> Vec<String> {
        let mut recount = Recount::of_all();
        self.operations.values().for_each(|operation| recount.operation(operation));
        self.alerts.values().for_each(|alert| recount.alert(alert));
        self.months.iter().for_each(|((no, _), row)| recount.compare_month(*no, row));
        self.users.values().chain(self.erased.values()).for_each(|user| recount.compare_user(user));
        self.days.iter().for_each(|((no, day), sums)| recount.compare_day(*no, *day, sums));
        self.sessions.values().for_each(|session| recount.compare_session(session));
        recount.findings().iter().map(ToString::to_string).collect()
    }

    /// A user's view from stored rows alone, with every month of theirs.
    pub(crate) fn view(&self, plans: &Plans, user_id: &UserId, now: Now) -> UserView {
        let mut books = Books::new(0, plans.clone(), self.numbers());
        self.load(&mut books, Key::User(user_id.clone()), now);
        if let Some(no) = self.user_nos.get(user_id) {
            self.load(&mut books, Key::Holds(*no), now);
            self.users[no].months.iter().for_each(|month| self.load(&mut books, Key::Month(*no, *month), now));
        }
        books.view(user_id).expect("the user's holds are loaded")
    }
}

/// Books with the store behind them.
#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) books: Books,
    pub(crate) rows: Rows,
}

impl Ledger {
    pub(crate) fn new(plans: Plans) -> Self {
        Self::with(plans, Rows::default())
    }

    /// One that begins with these rows.
    pub(crate) fn with(plans: Plans, rows: Rows) -> Self {
        Self { books: Books::new(7, plans, rows.numbers()), rows }
    }

    /// Loads what is missing, decides and applies.
    pub(crate) fn submit(&mut self, command: &Command, now: Now) -> Result<Outcome, Rejection> {
        let mut rounds = 0;
        loop {
            let missing = self.books.missing(command, now);
            if missing.is_empty() {
                break;
            }
            rounds += 1;
            assert!(rounds <= 5, "what is loaded is missing no longer: {missing:?}");
            for key in missing {
                self.rows.load(&mut self.books, key, now);
            }
        }
        let decision = decide(&self.books, command, now)?;
        self.books.apply(decision.changes);
        Ok(decision.outcome)
    }

    /// Ends the batch: what it changed is stored.
    pub(crate) fn commit(&mut self) {
        self.rows.write(self.books.take_written());
        assert_eq!(self.rows.numbers(), self.books.numbers(), "the next numbers follow from the rows");
    }

    /// Ends the batch and forgets what can be loaded again.
    pub(crate) fn shrink(&mut self) {
        self.commit();
        self.books.shrink(0, 0);
    }

    /// Ends the batch and begins with new books, as a new process does.
    pub(crate) fn restart(&mut self) {
        self.commit();
        let plans = Plans::clone(self.books.plans());
        self.books = Books::new(11, plans, self.rows.numbers());
    }
}

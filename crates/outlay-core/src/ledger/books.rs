//! The books: the rows that decisions look at, as far as they are loaded, and what a batch changed in them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Change, Command};
use crate::alert::Alert;
use crate::budget::{Budget, MeterBudget};
use crate::collections::{Map, Seed};
use crate::denial::Denial;
use crate::id::{AlertNo, DenialNo, OperationId, OperationNo, SessionId, SessionNo, UserId, UserNo};
use crate::month::{Month, Timestamp};
use crate::operation::Operation;
use crate::plan::{Amounts, Limits, Overrides, PerMeter, Plan, Plans};
use crate::session::{Session, SessionStatus};
use crate::user::{User, UserMonth};

/// A row, or a set of rows, that a decision needs. A store answers each with the matching `load_...`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Key {
    /// The user of this id: [`Books::load_user`].
    User(UserId),
    /// The user of this number: [`Books::load_user`], or [`Books::load_nobody`] when they were erased.
    UserByNo(UserNo),
    /// A user's month: [`Books::load_month`].
    Month(UserNo, Month),
    /// A user's sessions in progress that have a hold: [`Books::load_holds`].
    Holds(UserNo),
    /// A user's session of this id: [`Books::load_session`].
    Session(UserNo, SessionId),
    /// The session of this number: [`Books::load_session_by_no`].
    SessionByNo(SessionNo),
    /// A user's operation of this id: [`Books::load_operation`].
    Operation(UserNo, OperationId),
    /// The newest denial of this session of the user, if it is less than a minute old: [`Books::load_denial`].
    Denial(UserNo, SessionId),
}

/// The number that the next row of each kind gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The next user's.
    pub user: UserNo,
    /// The next operation's.
    pub operation: OperationNo,
    /// The next session's.
    pub session: SessionNo,
    /// The next denial's.
    pub denial: DenialNo,
    /// The next alert's.
    pub alert: AlertNo,
    /// How far one number is from the next of its kind: more than 1 where a store has several orders, whose numbers
    /// then lie between each other.
    pub step: u64,
}

impl Default for Numbers {
    fn default() -> Self {
        Self {
            user: UserNo(1),
            operation: OperationNo(1),
            session: SessionNo(1),
            denial: DenialNo(1),
            alert: AlertNo(1),
            step: 1,
        }
    }
}

/// What a user's open sessions hold, month by month.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Held {
    /// Sums of what is held, of the months in which something is.
    sums: Vec<(Month, Amounts)>,
    /// Every open hold, by when it expires.
    open: BTreeMap<(Timestamp, SessionNo), OpenHold>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct OpenHold {
    first_month: Month,
    last_month: Month,
    left: Amounts,
}

impl Held {
    /// What is held in a month at `now`: holds whose time is up hold nothing, whether or not they were given back yet.
    pub fn at(&self, month: Month, now: Timestamp) -> Amounts {
        self.without(month, now, None)
    }

    /// The same, but for what one session holds.
    pub fn without(&self, month: Month, now: Timestamp, except: Option<&Session>) -> Amounts {
        let mut held = self.sums.iter().find(|(of, _)| *of == month).map_or(Amounts::ZERO, |(_, sum)| *sum);
        for (_, hold) in self.open.range(..=(now, SessionNo(u64::MAX))) {
            if hold.first_month <= month && month <= hold.last_month {
                held = held.minus_to_zero(&hold.left);
            }
        }
        let own = except.and_then(|session| {
            let expires_at = session.hold.as_ref()?.expires_at;
            let hold = self.open.get(&(expires_at, session.no)).filter(|_| expires_at > now)?;
            (hold.first_month <= month && month <= hold.last_month).then_some(hold.left)
        });
        own.map_or(held, |own| held.minus_to_zero(&own))
    }

    /// The sessions whose holds have expired.
    pub fn due(&self, now: Timestamp) -> impl Iterator<Item = SessionNo> {
        self.open.range(..=(now, SessionNo(u64::MAX))).map(|((_, no), _)| *no)
    }

    fn remove(&mut self, session: &Session) {
        let Some(hold) = &session.hold else { return };
        let Some(open) = self.open.remove(&(hold.expires_at, session.no)) else {
            return;
        };
        for (month, sum) in &mut self.sums {
            if open.first_month <= *month && *month <= open.last_month {
                *sum = sum.minus_to_zero(&open.left);
            }
        }
        self.sums.retain(|(_, sum)| !sum.is_zero());
    }

    /// Adds a session in progress that has a hold; any other holds nothing.
    pub fn insert(&mut self, session: &Session) {
        let Some(hold) = session.hold.as_ref().filter(|_| session.status == SessionStatus::InProgress) else {
            return;
        };
        let left = hold.left();
        self.open.insert(
            (hold.expires_at, session.no),
            OpenHold { first_month: hold.first_month, last_month: hold.last_month, left },
        );
        let mut month = hold.first_month;
        while month <= hold.last_month {
            match self.sums.iter_mut().find(|(of, _)| *of == month) {
                Some((_, sum)) => *sum = sum.checked_add(&left).unwrap_or(*sum),
                None => self.sums.push((month, left)),
            }
            month = month.next();
        }
        self.sums.retain(|(_, sum)| !sum.is_zero());
    }
}

/// All that a budget or a check of one user needs, at one commit. Readers share it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// The user; `None` when nobody has seen them.
    pub user: Option<Arc<User>>,
    /// The months that are loaded; one that is not is not zero, it is unknown, unless the user does not have it.
    pub months: Arc<[UserMonth]>,
    /// What is held.
    pub held: Arc<Held>,
}

impl UserView {
    /// A user whom nobody has seen: the default plan at zero.
    pub fn unknown() -> Self {
        Self { user: None, months: Arc::default(), held: Arc::default() }
    }

    /// The user's row of a month, which is all zeros when they have no operation in it; `None` when it is not loaded.
    pub fn month(&self, month: Month) -> Option<UserMonth> {
        let loaded = self.months.iter().find(|loaded| loaded.month == month);
        loaded.cloned().or_else(|| (!self.has_operations_in(month)).then(|| UserMonth::empty(month)))
    }

    /// What the user used in a month; `None` when it is not loaded.
    pub fn used(&self, month: Month) -> Option<Amounts> {
        let loaded = self.months.iter().find(|loaded| loaded.month == month);
        loaded.map(|loaded| loaded.used).or_else(|| (!self.has_operations_in(month)).then_some(Amounts::ZERO))
    }

    fn has_operations_in(&self, month: Month) -> bool {
        self.user.as_ref().is_some_and(|user| user.months.binary_search(&month).is_ok())
    }

    /// The user's budget of a month; `None` when the month is not loaded.
    pub fn budget(&self, plans: &Plans, user_id: &UserId, month: Month, now: Timestamp) -> Option<Budget> {
        let used = self.used(month)?;
        Some(budget(plans, self.user.as_deref(), user_id, month, &used, &self.held.at(month, now)))
    }
}

/// A user's budget from its parts; `None` for the user is the default plan.
pub fn budget(
    plans: &Plans,
    user: Option<&User>,
    user_id: &UserId,
    month: Month,
    used: &Amounts,
    held: &Amounts,
) -> Budget {
    let plan = plan_of(plans, user);
    let limits = limits(plans, user);
    let name = plan.map_or_else(|| plans.default_plan().clone(), |plan| plan.name.clone());
    let next_plan = plans.above(&name).next().map(|plan| plan.name.clone());
    Budget {
        user_id: user_id.clone(),
        plan: name,
        next_plan,
        month,
        meters: PerMeter::from_fn(|meter| MeterBudget {
            used: *used.get(meter),
            held: *held.get(meter),
            limit: *limits.get(meter),
        }),
    }
}

/// The limits that hold for a user; `None` for the user is the default plan.
pub(super) fn limits(plans: &Plans, user: Option<&User>) -> Limits {
    let overrides = user.map_or_else(Overrides::default, |user| user.overrides);
    plan_of(plans, user).map_or_else(Default::default, |plan| overrides.over(&plan.limits))
}

fn plan_of<'a>(plans: &'a Plans, user: Option<&User>) -> Option<&'a Plan> {
    plans.effective(user.and_then(|user| user.plan.as_ref()))
}

/// A user with the rows of theirs that are loaded. Readers are shown the same rows, not copies: what a batch changes first
/// becomes the books' own.
#[derive(Debug, Clone)]
struct UserBook {
    user: Arc<User>,
    user_changed: bool,
    /// Made in this batch: nothing of theirs is in the store, so nothing needs loading.
    fresh: bool,
    months: Arc<[UserMonth]>,
    held: Option<Arc<Held>>,
    touched: bool,
}

/// What a batch changed: each row once, as it is at the end.
#[derive(Debug, Default)]
pub struct Written {
    /// Users, by number.
    pub users: Vec<Arc<User>>,
    /// Users' months, by month and number.
    pub months: Vec<(UserNo, UserMonth)>,
    /// New operations, in commit order.
    pub operations: Vec<Arc<Operation>>,
    /// Operations that were reversed.
    pub reversed: Vec<Arc<Operation>>,
    /// Sessions, by number, each with what it was before the batch.
    pub sessions: Vec<(Option<Session>, Session)>,
    /// Denials, by number.
    pub denials: Vec<Denial>,
    /// New alerts.
    pub alerts: Vec<Alert>,
    /// Users who are nobody any more, as they were when they were erased: their lists begin where these rows say, and
    /// one made in this batch is in no store. Their other rows of this batch are among the rest, to be wiped like older ones.
    pub erased: Vec<Arc<User>>,
    /// Plans.
    pub plans: Vec<Plan>,
    /// Every user for whom anything changed, by number, with the view that readers are to see.
    pub views: Vec<(UserId, UserView)>,
}

impl Written {
    /// Whether a batch changed no row.
    pub fn is_empty(&self) -> bool {
        // Named one by one, so that rows of a new kind are not forgotten; views are of rows.
        let Self { users, months, operations, reversed, sessions, denials, alerts, erased, plans, views: _ } = self;
        users.is_empty()
            && months.is_empty()
            && operations.is_empty()
            && reversed.is_empty()
            && sessions.is_empty()
            && denials.is_empty()
            && alerts.is_empty()
            && erased.is_empty()
            && plans.is_empty()
    }
}

/// The rows that decisions look at, as far as they are loaded.
#[derive(Debug)]
pub struct Books {
    plans: Arc<Plans>,
    numbers: Numbers,
    /// Who an id is; `None` when nobody.
    user_nos: Map<UserId, Option<UserNo>>,
    users: Map<UserNo, UserBook>,
    /// Numbers that are known to be nobody's any more.
    nobody: Vec<UserNo>,
    session_nos: Map<(UserNo, SessionId), Option<SessionNo>>,
    sessions: Map<SessionNo, Session>,
    operations: Map<(UserNo, OperationId), Option<Arc<Operation>>>,
    denials: Map<(UserNo, SessionId), Option<Denial>>,
    /// What somebody holds who holds nothing: one for nearly everybody.
    nothing: Arc<Held>,
    /// What the batch changed so far; of a month as often as it did.
    changed_users: Vec<UserNo>,
    changed_months: Vec<(Month, UserNo)>,
    changed_sessions: BTreeMap<SessionNo, Option<Session>>,
    changed_denials: BTreeMap<DenialNo, Denial>,
    written: Written,
}

impl Books {
    /// Books with nothing loaded.
    pub fn new(seed: u64, plans: Plans, numbers: Numbers) -> Self {
        let hasher = || Seed::with_seed(seed);
        Self {
            plans: Arc::new(plans),
            numbers,
            user_nos: Map::with_hasher(hasher()),
            users: Map::with_hasher(hasher()),
            nobody: Vec::new(),
            session_nos: Map::with_hasher(hasher()),
            sessions: Map::with_hasher(hasher()),
            operations: Map::with_hasher(hasher()),
            denials: Map::with_hasher(hasher()),
            nothing: Arc::default(),
            changed_users: Vec::new(),
            changed_months: Vec::new(),
            changed_sessions: BTreeMap::new(),
            changed_denials: BTreeMap::new(),
            written: Written::default(),
        }
    }

    /// The plans that hold.
    pub const fn plans(&self) -> &Arc<Plans> {
        &self.plans
    }

    /// The numbers that come next.
    pub const fn numbers(&self) -> Numbers {
        self.numbers
    }

    /// Answers [`Key::User`] and [`Key::UserByNo`].
    pub fn load_user(&mut self, user_id: UserId, user: Option<User>) {
        self.user_nos.insert(user_id, user.as_ref().map(|user| user.no));
        if let Some(user) = user {
            self.users.entry(user.no).or_insert_with(|| UserBook {
                user: Arc::new(user),
                user_changed: false,
                fresh: false,
                months: Arc::default(),
                held: None,
                touched: false,
            });
        }
    }

    /// Answers [`Key::UserByNo`] when the user of this number was erased; known until the batch ends.
    pub fn load_nobody(&mut self, user_no: UserNo) {
        self.nobody.push(user_no);
    }

    /// Answers [`Key::Month`]; `None` when the user has no operation in it.
    pub fn load_month(&mut self, user_no: UserNo, month: Month, row: Option<UserMonth>) {
        if let Some(book) = self.users.get_mut(&user_no)
            && !book.has_loaded(month)
        {
            book.add_months([row.unwrap_or_else(|| UserMonth::empty(month))]);
        }
    }

    /// Answers [`Key::Holds`], with every session in progress of the user that has a hold.
    pub fn load_holds(&mut self, user_no: UserNo, sessions: impl IntoIterator<Item = Session>) {
        let mut held = Held::default();
        for session in sessions {
            // What this batch changed already is newer than what the store has.
            let session = self.sessions.get(&session.no).cloned().unwrap_or(session);
            held.insert(&session);
            self.session_nos.insert((user_no, session.session_id.clone()), Some(session.no));
            self.sessions.insert(session.no, session);
        }
        if let Some(book) = self.users.get_mut(&user_no)
            && book.held.is_none()
        {
            book.held = Some(if held.open.is_empty() { Arc::clone(&self.nothing) } else { Arc::new(held) });
        }
    }

    /// Answers [`Key::Session`].
    pub fn load_session(&mut self, user_no: UserNo, session_id: SessionId, session: Option<Session>) {
        self.session_nos.insert((user_no, session_id), session.as_ref().map(|session| session.no));
        self.load_session_by_no(session);
    }

    /// Answers [`Key::SessionByNo`].
    pub fn load_session_by_no(&mut self, session: Option<Session>) {
        if let Some(session) = session {
            self.sessions.entry(session.no).or_insert(session);
        }
    }

    /// Answers [`Key::Operation`].
    pub fn load_operation(&mut self, user_no: UserNo, operation_id: OperationId, operation: Option<Operation>) {
        self.operations.insert((user_no, operation_id), operation.map(Arc::new));
    }

    /// Answers [`Key::Denial`].
    pub fn load_denial(&mut self, user_no: UserNo, session_id: SessionId, denial: Option<Denial>) {
        self.denials.insert((user_no, session_id), denial);
    }

    /// Replaces the plans, as a configuration does at start.
    pub fn set_plans(&mut self, plans: Plans) {
        self.plans = Arc::new(plans);
    }

    /// What must be loaded before this command can be decided; ask again after loading, until nothing is missing. What is
    /// found not to be there names nothing further: only after something was found need it be asked again.
    pub fn missing(&self, command: &Command, now: super::Now) -> Vec<Key> {
        let mut missing = Missing { books: self, keys: Vec::new() };
        match command {
            Command::Record(operation) => {
                if let Some(book) = missing.user(&operation.user_id) {
                    // The month of a repeat is that of the first, which may have been recorded before this one began.
                    let first = missing.operation(book, &operation.operation_id);
                    let asked = || operation.timestamp.unwrap_or(now.wall).month();
                    missing.month(book, first.map_or_else(asked, Operation::month));
                    missing.holds(book);
                    if let Some(session_id) = &operation.session_id {
                        missing.session(book, session_id);
                    }
                }
            }
            Command::Reverse { user_id, original, operation_id, .. } => {
                if let Some(book) = missing.user(user_id) {
                    missing.operation(book, operation_id);
                    missing.holds(book);
                    if let Some(original) = missing.operation(book, original) {
                        missing.month(book, original.month());
                        if let Some((_, session_id)) = &original.session {
                            missing.session(book, session_id);
                        }
                        if let Some((_, reversal)) = &original.reversed_by {
                            missing.operation(book, reversal);
                        }
                    }
                }
            }
            Command::Open { user_id, session_id, hold_seconds, .. } => {
                if let Some(book) = missing.user(user_id) {
                    missing.holds(book);
                    missing.session(book, session_id);
                    let (first, last) = now.months_until(now.holds.plus_seconds(*hold_seconds));
                    missing.months(book, first, last);
                    if book.user.last_denial.is_some() {
                        missing.denial(book, session_id);
                    }
                }
            }
            Command::Extend { user_id, session_id, hold_seconds, .. } => {
                if let Some(book) = missing.user(user_id) {
                    missing.holds(book);
                    missing.month(book, now.holds.month());
                    if let Some(hold) = missing.session(book, session_id).and_then(|session| session.hold.as_ref()) {
                        let (first, last) = now.months_until(now.holds.plus_seconds(*hold_seconds));
                        missing.months(book, first.min(hold.first_month), last);
                    }
                }
            }
            Command::Finish { user_id, session_id, .. } => {
                if let Some(book) = missing.user(user_id) {
                    missing.holds(book);
                    missing.month(book, now.holds.month());
                    missing.session(book, session_id);
                }
            }
            Command::Expire { session_no } => {
                if let Some(session) = missing.session_by_no(*session_no)
                    && session.hold.is_some()
                    && session.status == SessionStatus::InProgress
                    && let Some(book) = missing.user_by_no(session.user_no)
                {
                    missing.holds(book);
                }
            }
            Command::AuditedCheck { user_id, .. } | Command::Deny { user_id, .. } => {
                if let Some(book) = missing.user(user_id) {
                    missing.holds(book);
                    missing.month(book, now.holds.month());
                }
            }
            Command::PutUser { user_id, .. } => {
                if let Some(book) = missing.user(user_id) {
                    missing.holds(book);
                    book.user.months.iter().for_each(|month| missing.month(book, *month));
                }
            }
            Command::Erase { user_id } => {
                if let Some(book) = missing.user(user_id) {
                    missing.holds(book);
                }
            }
            Command::PutPlan { .. } => {}
            Command::Recheck { user_no } => {
                if let Some(book) = missing.user_by_no(*user_no) {
                    missing.holds(book);
                    book.user.months.iter().for_each(|month| missing.month(book, *month));
                }
            }
        }
        missing.keys
    }

    /// Carries a decision out, so that the next command sees it.
    ///
    /// # Panics
    /// When a change names a row that was not loaded: a decision about what it did not see.
    pub fn apply(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::User(user) => self.apply_user(*user),
                Change::Month(user_no, row) => self.apply_month(user_no, row),
                Change::Operation(operation) => self.apply_operation(operation),
                Change::Reversed(operation) => {
                    let key = (operation.user_no, operation.operation_id.clone());
                    self.operations.insert(key, Some(Arc::clone(&operation)));
                    let of_batch = self.written.operations.iter_mut().rev().find(|written| written.no == operation.no);
                    match of_batch {
                        Some(of_batch) => *of_batch = operation,
                        None => self.written.reversed.push(operation),
                    }
                }
                Change::Session(session) => self.apply_session(*session),
                Change::Denial(denial) => {
                    self.numbers.denial = self.numbers.denial.max(DenialNo(self.after(denial.no.0)));
                    if let Some(session_id) = &denial.session_id {
                        self.denials.insert((denial.user_no, session_id.clone()), Some((*denial).clone()));
                    }
                    self.changed_denials.insert(denial.no, *denial);
                }
                Change::Alert(alert) => {
                    self.numbers.alert = self.numbers.alert.max(AlertNo(self.after(alert.no.0)));
                    self.written.alerts.push(*alert);
                }
                Change::Erased(user_no, user_id) => {
                    self.user_nos.insert(user_id.clone(), None);
                    // The numbered sums stay, so what this batch counted before the erasure is still written.
                    self.take_months(|(_, of)| of == user_no);
                    let book = self.users.remove(&user_no).expect("an erased user was loaded");
                    self.changed_users.retain(|changed| *changed != user_no);
                    self.nobody.push(user_no);
                    self.written.views.push((user_id, UserView::unknown()));
                    self.written.erased.push(book.user);
                }
                Change::Plan(plan) => {
                    Arc::make_mut(&mut self.plans).put(plan.clone());
                    self.written.plans.push(plan);
                }
            }
        }
    }

    fn after(&self, no: u64) -> u64 {
        no.saturating_add(self.numbers.step)
    }

    fn apply_user(&mut self, user: User) {
        let no = user.no;
        let begun = |known: &[Month]| -> Vec<UserMonth> {
            let begun = user.months.iter().filter(|month| known.binary_search(month).is_err());
            begun.map(|month| UserMonth::empty(*month)).collect()
        };
        if let Some(book) = self.users.get_mut(&no) {
            book.add_months(begun(&book.user.months));
            book.user = Arc::new(user);
            book.user_changed = true;
        } else {
            assert!(no == self.numbers.user, "a user who is not loaded is new");
            self.numbers.user = UserNo(self.after(no.0));
            self.user_nos.insert(user.user_id.clone(), Some(no));
            let book = UserBook {
                months: begun(&[]).into(),
                user: Arc::new(user),
                user_changed: true,
                fresh: true,
                held: Some(Arc::clone(&self.nothing)),
                touched: false,
            };
            self.users.insert(no, book);
        }
        self.touch(no);
    }

    fn apply_month(&mut self, user_no: UserNo, row: UserMonth) {
        let book = self.users.get_mut(&user_no).expect("a month's user is loaded");
        self.changed_months.push((row.month, user_no));
        let loaded = Arc::make_mut(&mut book.months).iter_mut().find(|loaded| loaded.month == row.month);
        *loaded.expect("a changed month was loaded, or begun by its user's row") = row;
        self.touch(user_no);
    }

    fn apply_operation(&mut self, operation: Arc<Operation>) {
        assert!(operation.no == self.numbers.operation, "operations are numbered in commit order");
        self.numbers.operation = OperationNo(self.after(operation.no.0));
        self.operations.insert((operation.user_no, operation.operation_id.clone()), Some(Arc::clone(&operation)));
        self.written.operations.push(operation);
    }

    fn apply_session(&mut self, session: Session) {
        let (no, user_no) = (session.no, session.user_no);
        let before = self.sessions.get(&no);
        if before.is_none() {
            assert!(no == self.numbers.session, "a session that is not loaded is new");
            self.numbers.session = SessionNo(self.after(no.0));
            self.session_nos.insert((user_no, session.session_id.clone()), Some(no));
        }
        // Only a session that has a hold needs its user here: the others of an erased user still expire.
        if session.hold.is_some()
            && let Some(held) = self.users.get_mut(&user_no).and_then(|book| book.held.as_mut())
        {
            let held = Arc::make_mut(held);
            if let Some(before) = before {
                held.remove(before);
            }
            held.insert(&session);
        }
        let before = self.sessions.insert(no, session);
        self.changed_sessions.entry(no).or_insert(before);
        if self.users.contains_key(&user_no) {
            self.touch(user_no);
        }
    }

    fn touch(&mut self, user_no: UserNo) {
        if let Some(book) = self.users.get_mut(&user_no)
            && !book.touched
        {
            book.touched = true;
            self.changed_users.push(user_no);
        }
    }

    /// Takes what the batch changed, each row once, and begins the next batch.
    pub fn take_written(&mut self) -> Written {
        self.take_months(|_| true);
        let mut written = std::mem::take(&mut self.written);
        let mut changed_users = std::mem::take(&mut self.changed_users);
        changed_users.sort_unstable();
        for no in changed_users {
            let Some(book) = self.users.get_mut(&no) else {
                continue;
            };
            book.touched = false;
            book.fresh = false;
            if std::mem::take(&mut book.user_changed) {
                written.users.push(Arc::clone(&book.user));
            }
            written.views.push((book.user.user_id.clone(), book.view()));
        }
        written.months.sort_unstable_by_key(|(no, row)| (row.month, *no));
        written.denials = std::mem::take(&mut self.changed_denials).into_values().collect();
        for (no, before) in std::mem::take(&mut self.changed_sessions) {
            if let Some(session) = self.sessions.get(&no) {
                written.sessions.push((before, session.clone()));
            }
        }
        self.operations.clear();
        self.nobody.clear();
        written
    }

    /// Takes the rows of some of the months that the batch changed.
    fn take_months(&mut self, of: impl Fn((Month, UserNo)) -> bool) {
        let changed = std::mem::take(&mut self.changed_months).into_iter();
        let (mut taken, left): (Vec<_>, Vec<_>) = changed.partition(|one| of(*one));
        self.changed_months = left;
        taken.sort_unstable();
        taken.dedup();
        self.written.months.reserve(taken.len());
        for (month, user_no) in taken {
            let row = self.month_ref(user_no, month).cloned();
            self.written.months.extend(row.map(|row| (user_no, row)));
        }
    }

    /// Forgets what can be loaded again, when more users or sessions than these are in memory. Open holds stay: a
    /// decision must not read them again for each command. Only between batches.
    pub fn shrink(&mut self, users_max: usize, sessions_max: usize) {
        if self.users.len() > users_max || self.user_nos.len() > users_max.saturating_mul(2) {
            self.users.retain(|_, book| book.held.as_ref().is_some_and(|held| !held.open.is_empty()));
            let users = &self.users;
            self.user_nos.retain(|_, no| no.is_some_and(|no| users.contains_key(&no)));
            self.denials.clear();
        }
        if self.sessions.len() > sessions_max || self.session_nos.len() > sessions_max.saturating_mul(2) {
            self.sessions.retain(|_, session| session.hold.is_some() && session.status == SessionStatus::InProgress);
            let sessions = &self.sessions;
            self.session_nos.retain(|_, no| no.is_some_and(|no| sessions.contains_key(&no)));
            self.denials.clear();
        }
    }

    /// The view of a user whose holds are loaded; `None` when they are not.
    pub fn view(&self, user_id: &UserId) -> Option<UserView> {
        match self.user_nos.get(user_id)? {
            None => Some(UserView::unknown()),
            Some(no) => self.users.get(no).filter(|book| book.held.is_some()).map(UserBook::view),
        }
    }

    /// The user of this id, as far as they are loaded and known.
    pub fn user(&self, user_id: &UserId) -> Option<&Arc<User>> {
        let no = (*self.user_nos.get(user_id)?)?;
        self.user_by_no(no)
    }

    /// The user of this number, if they are loaded: as the decision saw them, as long as it is not applied.
    pub fn user_by_no(&self, no: UserNo) -> Option<&Arc<User>> {
        self.users.get(&no).map(|book| &book.user)
    }

    pub(super) fn month(&self, user_no: UserNo, month: Month) -> UserMonth {
        self.month_ref(user_no, month).cloned().unwrap_or_else(|| UserMonth::empty(month))
    }

    fn month_ref(&self, user_no: UserNo, month: Month) -> Option<&UserMonth> {
        self.users.get(&user_no)?.months.iter().find(|row| row.month == month)
    }

    pub(super) fn used(&self, user: Option<&User>, month: Month) -> Amounts {
        user.and_then(|user| self.month_ref(user.no, month)).map_or(Amounts::ZERO, |row| row.used)
    }

    pub(super) fn held(&self, user_no: UserNo) -> Option<&Held> {
        self.users.get(&user_no)?.held.as_deref()
    }

    pub(super) fn session(&self, user_no: UserNo, session_id: &SessionId) -> Option<&Session> {
        let no = (*self.session_nos.get(&(user_no, session_id.clone()))?)?;
        self.sessions.get(&no)
    }

    /// The session of this number, if it is loaded, likewise.
    pub fn session_by_no(&self, no: SessionNo) -> Option<&Session> {
        self.sessions.get(&no)
    }

    pub(super) fn operation(&self, user_no: UserNo, operation_id: &OperationId) -> Option<&Arc<Operation>> {
        self.operations.get(&(user_no, operation_id.clone()))?.as_ref()
    }

    pub(super) fn denial(&self, user_no: UserNo, session_id: &SessionId) -> Option<&Denial> {
        self.denials.get(&(user_no, session_id.clone()))?.as_ref()
    }
}

impl UserBook {
    fn has_loaded(&self, month: Month) -> bool {
        self.months.iter().any(|loaded| loaded.month == month)
    }

    fn add_months(&mut self, rows: impl IntoIterator<Item = UserMonth>) {
        let mut rows = rows.into_iter().peekable();
        if rows.peek().is_some() {
            self.months = self.months.iter().cloned().chain(rows).collect();
        }
    }

    fn view(&self) -> UserView {
        UserView {
            user: Some(Arc::clone(&self.user)),
            months: Arc::clone(&self.months),
            held: self.held.clone().unwrap_or_default(),
        }
    }
}

/// Collects the keys of what is not loaded; each question gives the row when it is there.
struct Missing<'a> {
    books: &'a Books,
    keys: Vec<Key>,
}

impl<'a> Missing<'a> {
    fn user(&mut self, user_id: &UserId) -> Option<&'a UserBook> {
        match self.books.user_nos.get(user_id) {
            None => {
                self.keys.push(Key::User(user_id.clone()));
                None
            }
            Some(no) => no.and_then(|no| self.user_by_no(no)),
        }
    }

    fn user_by_no(&mut self, no: UserNo) -> Option<&'a UserBook> {
        let book = self.books.users.get(&no);
        if book.is_none() && !self.books.nobody.contains(&no) {
            self.keys.push(Key::UserByNo(no));
        }
        book
    }

    fn month(&mut self, book: &UserBook, month: Month) {
        if !book.has_loaded(month) && book.user.months.binary_search(&month).is_ok() {
            self.keys.push(Key::Month(book.user.no, month));
        }
    }

    fn months(&mut self, book: &UserBook, first: Month, last: Month) {
        let mut month = first;
        while month <= last {
            self.month(book, month);
            month = month.next();
        }
    }

    fn holds(&mut self, book: &UserBook) {
        if book.held.is_none() {
            self.keys.push(Key::Holds(book.user.no));
        }
    }

    fn session(&mut self, book: &UserBook, session_id: &SessionId) -> Option<&'a Session> {
        let key = (book.user.no, session_id.clone());
        match self.books.session_nos.get(&key) {
            None if book.fresh => None,
            None => {
                self.keys.push(Key::Session(key.0, key.1));
                None
            }
            Some(no) => no.and_then(|no| self.books.sessions.get(&no)),
        }
    }

    fn session_by_no(&mut self, no: SessionNo) -> Option<&'a Session> {
        let session = self.books.sessions.get(&no);
        if session.is_none() && no < self.books.numbers.session {
            self.keys.push(Key::SessionByNo(no));
        }
        session
    }

    fn operation(&mut self, book: &UserBook, operation_id: &OperationId) -> Option<&'a Operation> {
        let key = (book.user.no, operation_id.clone());
        match self.books.operations.get(&key) {
            None if book.fresh => None,
            None => {
                self.keys.push(Key::Operation(key.0, key.1));
                None
            }
            Some(operation) => operation.as_deref(),
        }
    }

    fn denial(&mut self, book: &UserBook, session_id: &SessionId) {
        let key = (book.user.no, session_id.clone());
        if !book.fresh && !self.books.denials.contains_key(&key) {
            self.keys.push(Key::Denial(key.0, key.1));
        }
    }
}

//! What every store must do with records that no rule decides about, and with the audit log: what was written is read, at
//! once and after the next start, and the log says what was done and what was before.

use std::sync::Arc;

use outlay_core::id::{Name, UserId, UserNo};
use outlay_core::ledger::Command;
use outlay_core::plan::{Limits, Overrides};

use super::{SetClock, commands, naive};
use crate::audit::{Action, Actor, Entry, Event, Facts};
use crate::clock::{Clock, SharedClock};
use crate::store::{AuditQuery, Batch, KeyRecord, PageOf, Reads, Record, Role, SecretRecord, Store, embedded};

pub(crate) fn actor(who: &str) -> Actor {
    Actor { who: Arc::from(who), address: "203.0.113.7".parse().ok(), request_id: Some(Arc::from("r1")) }
}

pub(crate) fn key(id: &str, role: Role, clock: &SetClock) -> KeyRecord {
    KeyRecord {
        id: id.to_owned(),
        digest: [u8::try_from(id.len()).unwrap(); 32],
        role,
        description: format!("for {id}"),
        last4: "last".to_owned(),
        created_at: clock.wall(),
        expires_at: Some(clock.wall().plus_seconds(60)),
        revoked_at: None,
    }
}

pub(crate) fn secret(name: &str, byte: u8, clock: &SetClock) -> SecretRecord {
    SecretRecord { name: name.to_owned(), sealed: vec![byte, 0, 255], created_at: clock.wall() }
}

fn put_user(plan: &str) -> Command {
    Command::PutUser {
        user_id: UserId::new("ada").unwrap(),
        plan: Some(Name::new(plan).unwrap()),
        email: None,
        overrides: Overrides::default(),
    }
}

fn put_plan(runs: i64) -> Command {
    let limits = Limits { cost: None, ai_runs: Some(runs), api_runs: None };
    Command::PutPlan { name: Name::new("tiny").unwrap(), tier: Some(7), limits }
}

const ALL: AuditQuery = AuditQuery {
    user_id: None,
    user_no: None,
    action: None,
    who: None,
    from: None,
    to: None,
    page: PageOf { before: None, limit: 50 },
};

struct Opened<S> {
    runtime: tokio::runtime::Runtime,
    clock: Arc<SetClock>,
    store: S,
    reads: Arc<dyn Reads>,
}

impl<S: Store> Opened<S> {
    fn new(open: &mut impl FnMut(SharedClock) -> (S, Arc<dyn Reads>)) -> Self {
        let clock = SetClock::at("2025-10-13T12:00:00Z");
        let (store, reads) = open(Arc::clone(&clock) as SharedClock);
        Self { runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(), clock, store, reads }
    }

    fn again(self, open: &mut impl FnMut(SharedClock) -> (S, Arc<dyn Reads>)) -> Self {
        drop(self.reads);
        self.runtime.block_on(self.store.close()).unwrap();
        let (store, reads) = open(Arc::clone(&self.clock) as SharedClock);
        Self { store, reads, ..self }
    }

    fn put(&mut self, record: Record, event: Option<Event>) {
        self.runtime.block_on(self.store.put(record, event)).unwrap();
    }

    /// Commits commands, some of them as done by somebody.
    fn commit(&mut self, commands: Vec<(Command, Option<Actor>)>) {
        let mut batch = Batch::default();
        for (place, (command, by)) in commands.into_iter().enumerate() {
            batch.by.extend(by.map(|actor| (place, actor)));
            batch.add(&mut vec![command], false);
        }
        self.runtime.block_on(self.store.commit(batch)).unwrap().publish().unwrap();
    }

    /// All entries of a query, the newest first.
    fn audit(&self, limit: usize, query: &AuditQuery) -> Vec<Entry> {
        let list = |page| self.reads.audit(AuditQuery { page, ..query.clone() });
        self.runtime.block_on(naive::pages(true, limit, None, list)).into_iter().map(|of| of.row).collect()
    }

    fn above(&self, no: u64, limit: usize) -> Vec<u64> {
        let entries = self.runtime.block_on(self.reads.audit_above(no, limit)).unwrap();
        entries.into_iter().map(|entry| entry.no).collect()
    }

    fn close(self) {
        assert_eq!(self.runtime.block_on(self.reads.verify()).unwrap(), []);
        self.runtime.block_on(self.store.close()).unwrap();
    }
}

/// Keys, secrets and ends of tokens.
pub(crate) fn keys_and_secrets<S: Store>(mut open: impl FnMut(SharedClock) -> (S, Arc<dyn Reads>)) {
    let mut on = Opened::new(&mut open);
    let now = on.clock.wall();
    let (first, second) = (key("key_1", Role::Admin, &on.clock), key("key_22", Role::Viewer, &on.clock));
    on.put(Record::Key(first.clone()), None);
    on.put(Record::Key(second.clone()), None);
    on.put(Record::RevokeKey { id: "key_1".to_owned(), at: now }, None);
    // It ended when it ended.
    on.put(Record::RevokeKey { id: "key_1".to_owned(), at: now.plus_seconds(9) }, None);
    on.put(Record::Secret(secret("a", 1, &on.clock)), None);
    on.put(Record::Secrets(vec![secret("b", 2, &on.clock), secret("a", 3, &on.clock)]), None);
    on.put(Record::Secret(secret("c", 4, &on.clock)), None);
    on.put(Record::RemoveSecret("c".to_owned()), None);
    on.commit(vec![(put_user("premium"), None)]);
    let view = on.runtime.block_on(on.reads.view(&UserId::new("ada").unwrap(), now.month())).unwrap();
    let user_no = view.user.as_ref().unwrap().no;
    on.put(Record::EndTokens { user_no, until: now }, None);
    // Never an earlier end than before.
    on.put(Record::EndTokens { user_no, until: now.plus_seconds(-60) }, None);
    for _ in 0..2 {
        let revoked = KeyRecord { revoked_at: Some(now), ..first.clone() };
        let keys: Vec<KeyRecord> = on.reads.keys().iter().map(|key| KeyRecord::clone(key)).collect();
        assert_eq!(keys, [revoked.clone(), second.clone()]);
        assert_eq!(on.reads.key(&first.digest).as_deref(), Some(&revoked));
        assert_eq!(on.reads.key(&[9; 32]), None);
        let secrets: Vec<SecretRecord> = on.reads.secrets().iter().map(|one| SecretRecord::clone(one)).collect();
        assert_eq!(secrets, [secret("a", 3, &on.clock), secret("b", 2, &on.clock)]);
        assert_eq!(on.reads.secret("a").as_deref(), secrets.first());
        assert_eq!(on.reads.secret("c"), None);
        assert_eq!(on.reads.tokens_ended(user_no), Some(now));
        assert_eq!(on.reads.tokens_ended(UserNo(user_no.0 + 1)), None);
        on = on.again(&mut open);
    }
    on.close();
}

/// The audit log, by records and by commands.
pub(crate) fn audit<S: Store>(mut open: impl FnMut(SharedClock) -> (S, Arc<dyn Reads>)) {
    let mut on = Opened::new(&mut open);
    let now = on.clock.wall();
    assert_eq!(on.reads.audit_newest(), (0, 0));
    let made = actor("socket").did(Action::KeyCreated).on("key_1").after(Facts::new().text("role", "admin"));
    on.put(Record::Key(key("key_1", Role::Admin, &on.clock)), Some(made));
    assert_eq!(on.reads.audit_newest(), (1, 0));
    on.commit(vec![(put_user("premium"), Some(actor("key_1"))), (put_plan(2), None)]);
    let of_ada = |user_no| {
        let query = AuditQuery { user_id: UserId::new("ada").ok(), user_no, ..ALL };
        on.audit(1, &query).iter().map(|entry| (entry.no, entry.user_no)).collect::<Vec<_>>()
    };
    let no = of_ada(None)[0].1.unwrap();
    assert_eq!(of_ada(None), [(2, Some(no))]);
    assert_eq!((of_ada(Some(no)), of_ada(Some(UserNo(no.0 + 1)))), (of_ada(None), vec![]), "id and number, both");
    on.clock.pass(60);
    // Of a refused command, of one that changes nothing, and of one that nobody is named for, nothing is said.
    let nobody = Command::Erase { user_id: UserId::new("nobody").unwrap() };
    let run = commands::plain(&UserId::new("ada").unwrap(), "o1", "scan", None, on.clock.wall());
    on.commit(vec![
        (nobody, Some(actor("key_1"))),
        (run, Some(actor("key_1"))),
        (put_plan(3), Some(actor("key_2"))),
        (put_user("tiny"), None),
        (Command::Erase { user_id: UserId::new("ada").unwrap() }, Some(actor("key_2"))),
    ]);
    on.put(
        Record::Events(vec![
            actor("nobody").did(Action::KeyRefused).on("GET /v1/users"),
            Actor::here("open").did(Action::BackupTaken),
        ]),
        None,
    );
    on.put(Record::AuditCopied(4), None);
    for _ in 0..2 {
        assert_eq!(on.reads.audit_newest(), (6, 4));
        let said: Vec<String> = on.audit(4, &ALL).iter().map(|entry| crate::audit::line(entry, 1)).collect();
        let said: Vec<serde_json::Value> = said.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
        let of = |at: usize, member: &str| said[at][member].to_string();
        let actions: Vec<String> = (0..said.len()).rev().map(|at| of(at, "action")).collect();
        let expected = ["key.created", "user.set", "plan.set", "user.erased", "key.refused", "backup.taken"];
        assert_eq!(actions, expected.map(|action| format!("\"{action}\"")));
        let numbers: Vec<String> = (0..said.len()).rev().map(|at| of(at, "number")).collect();
        assert_eq!(numbers, ["1", "2", "3", "4", "5", "6"]);
        assert_eq!((of(5, "address"), of(5, "requestId")), ("\"203.0.113.7\"".to_owned(), "\"r1\"".to_owned()));
        assert_eq!((of(5, "subject"), of(5, "after")), ("\"key_1\"".to_owned(), r#"{"role":"admin"}"#.to_owned()));
        assert_eq!((of(4, "before"), said[4]["after"]["plan"].clone()), ("null".to_owned(), "premium".into()));
        let runs = |at: usize, when: &str| said[at][when]["limits"]["aiRuns"].clone();
        assert_eq!((runs(3, "before"), runs(3, "after")), (2.into(), 3.into()));
        assert!(said[2]["after"]["tag"].is_string() && said[2]["userNumber"] == said[4]["userNumber"], "{said:?}");
        assert_eq!((of(0, "address"), of(0, "userNumber")), ("null".to_owned(), "null".to_owned()));

        let numbers = |query: AuditQuery| -> Vec<u64> { on.audit(1, &query).iter().map(|entry| entry.no).collect() };
        let user_no = Some(UserNo(said[4]["userNumber"].as_u64().unwrap()));
        assert_eq!(numbers(AuditQuery { user_no, ..ALL }), [4, 2]);
        assert_eq!(numbers(AuditQuery { action: Some("plan.set"), ..ALL }), [3]);
        assert_eq!(numbers(AuditQuery { who: Some("key_2".to_owned()), user_no, ..ALL }), [4]);
        let later = Some(now.plus_seconds(30));
        assert_eq!(numbers(AuditQuery { from: later, ..ALL }), [6, 5, 4, 3]);
        assert_eq!(numbers(AuditQuery { to: later, ..ALL }), [2, 1]);
        // An erased person is found by their number alone.
        assert_eq!(numbers(AuditQuery { user_id: UserId::new("ada").ok(), ..ALL }), Vec::<u64>::new());
        assert_eq!([on.above(4, 9), on.above(0, 2), on.above(6, 9)], [vec![5, 6], vec![1, 2], vec![]]);
        on = on.again(&mut open);
    }
    on.close();
}

/// A plan is marked when it changes, until its users were looked at as it is now.
pub(crate) fn marked_plans<S: Store>(mut open: impl FnMut(SharedClock) -> (S, Arc<dyn Reads>)) {
    let mut on = Opened::new(&mut open);
    let marked = |on: &Opened<S>| on.runtime.block_on(on.reads.plans_to_recheck()).unwrap();
    on.commit(vec![(put_user("premium"), None), (put_plan(2), None)]);
    let before = marked(&on);
    assert_eq!(before.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>(), ["tiny"]);
    on.commit(vec![(put_plan(1), None)]);
    on.put(Record::PlanRechecked(before[0].clone()), None);
    let now = marked(&on);
    assert_eq!(now[0].limits.ai_runs, Some(1), "what was looked at is not what holds");
    on.put(Record::PlanRechecked(now[0].clone()), None);
    assert_eq!(marked(&on), []);
    on = on.again(&mut open);
    assert_eq!(marked(&on), []);
    on.close();
}

fn embedded(folder: &std::path::Path, clock: SharedClock) -> (embedded::EmbeddedStore, Arc<dyn Reads>) {
    embedded::open(embedded::Settings::new(folder.to_owned(), clock)).unwrap()
}

#[test]
fn the_embedded_store_keeps_keys_and_secrets() {
    let folder = tempfile::tempdir().unwrap();
    keys_and_secrets(|clock| embedded(folder.path(), clock));
}

#[test]
fn the_embedded_store_keeps_the_audit_log() {
    let folder = tempfile::tempdir().unwrap();
    audit(|clock| embedded(folder.path(), clock));
}

#[test]
fn the_embedded_store_marks_changed_plans() {
    let folder = tempfile::tempdir().unwrap();
    marked_plans(|clock| embedded(folder.path(), clock));
}

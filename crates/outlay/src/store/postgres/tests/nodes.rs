//! What must hold of settings, secrets and the audit log when several nodes write, and when answers are lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outlay_core::id::{Name, SessionId, UserId, UserNo};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::plan::{Amounts, Limits, Overrides};
use outlay_core::session::Ask;
use tokio_postgres::Config;

use super::super::{Buckets, PostgresStore, Settings, open};
use super::cluster::{self, block_on};
use super::proxy::{Cut, Proxy};
use super::{failures, opened, settings};
use crate::audit::{Action, Actor};
use crate::clock::{Clock, SharedClock};
use crate::store::tests::SetClock;
use crate::store::{Batch, KeyRecord, Reads, Record, Role, SecretRecord, Store, StoreError};
use crate::writer::{WriteError, Writer};

pub(super) type Node = (PostgresStore, Arc<dyn Reads>);

pub(super) fn node(config: &Config, clock: &Arc<SetClock>) -> Node {
    opened(config, Buckets::USUAL, Arc::clone(clock) as SharedClock)
}

fn key(clock: &SetClock) -> KeyRecord {
    KeyRecord {
        id: "key_1".to_owned(),
        digest: [1; 32],
        role: Role::Admin,
        description: String::new(),
        last4: "last".to_owned(),
        created_at: clock.wall(),
        expires_at: None,
        revoked_at: None,
    }
}

fn event() -> crate::audit::Event {
    Actor::here("socket").did(Action::KeyCreated).on("key_1")
}

fn put(node: &mut Node, record: Record) {
    block_on(node.0.put(record, Some(event()))).unwrap();
}

/// Waits for what must be waited for before memory is believed; gives whether that was anything.
pub(super) fn ask(reads: &dyn Reads) -> bool {
    let Some(catching_up) = reads.catch_up() else { return false };
    block_on(catching_up).unwrap();
    true
}

#[test]
fn a_node_that_is_asked_shows_what_another_changed_two_seconds_ago() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let (mut here, there) = (node(&config, &clock), node(&config, &clock).1);
    let now = clock.wall();
    let limits = Limits { cost: None, ai_runs: Some(2), api_runs: None };
    let plan = Command::PutPlan { name: Name::new("tiny").unwrap(), tier: Some(7), limits };
    put(&mut here, Record::Key(key(&clock)));
    put(&mut here, Record::Secret(SecretRecord { name: "a".to_owned(), sealed: vec![1], created_at: now }));
    put(&mut here, Record::EndTokens { user_no: UserNo(1_025), until: now });
    block_on(here.0.commit(vec![plan].into())).unwrap().publish().unwrap();
    assert!(here.1.key(&[1; 32]).is_some(), "on its own node it is seen at once");
    assert!(there.key(&[1; 32]).is_none() && !ask(&*there), "what was looked at just now is believed");

    clock.pass(2);
    assert!(ask(&*there));
    assert!(there.key(&[1; 32]).is_some_and(|key| key.revoked_at.is_none()));
    assert_eq!(there.secret("a").unwrap().sealed, [1]);
    assert_eq!(there.tokens_ended(UserNo(1_025)), Some(now));
    assert!(there.plans().get("tiny").is_some());
    assert_eq!(there.audit_newest(), (3, 0));

    // Nobody asks for a long time: the next one who does waits.
    put(&mut here, Record::RevokeKey { id: "key_1".to_owned(), at: now });
    put(&mut here, Record::EndTokens { user_no: UserNo(1_025), until: now.plus_seconds(5) });
    put(&mut here, Record::RemoveSecret("a".to_owned()));
    put(&mut here, Record::AuditCopied(5));
    clock.pass(3_600);
    assert!(ask(&*there));
    assert!(there.key(&[1; 32]).is_some_and(|key| key.revoked_at.is_some()));
    assert_eq!((there.secret("a"), there.tokens_ended(UserNo(1_025))), (None, Some(now.plus_seconds(5))));
    assert_eq!(there.audit_newest(), (7, 5));
    assert!(!ask(&*there), "once is enough");
}

/// More ends of tokens than a table begins with: none that matters is forgotten when it grows.
#[test]
fn a_node_remembers_each_end_of_tokens_that_matters() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let (mut here, there) = (node(&config, &clock), node(&config, &clock).1);
    let ended: Vec<UserNo> = (0..40).map(|user| UserNo(1_025 + 1_024 * user)).collect();
    let now = clock.wall();
    for user_no in &ended {
        put(&mut here, Record::EndTokens { user_no: *user_no, until: now });
        clock.pass(2);
        assert!(ask(&*there));
    }
    for user_no in ended {
        assert_eq!((here.1.tokens_ended(user_no), there.tokens_ended(user_no)), (Some(now), Some(now)), "{user_no:?}");
    }
}

/// A plan that another node has just made smaller, and nothing else that was committed since this one began.
#[test]
fn a_batch_goes_by_the_plan_that_another_node_changed_before_it() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let plan = |ai_runs| Command::PutPlan {
        name: Name::new("tiny").unwrap(),
        tier: Some(7),
        limits: Limits { cost: None, ai_runs: Some(ai_runs), api_runs: None },
    };
    let user = Command::PutUser {
        user_id: UserId::new("ada").unwrap(),
        plan: Some(Name::new("tiny").unwrap()),
        email: None,
        overrides: Overrides::default(),
    };
    let open = |session: &str| Command::Open {
        user_id: UserId::new("ada").unwrap(),
        session_id: SessionId::new(session).unwrap(),
        feature: Name::new("scan").unwrap(),
        ask: Ask::Estimate(Amounts { cost: 0, ai_runs: 1, api_runs: 0 }),
        hold_seconds: 900,
        metadata: None,
    };
    let one = |node: &mut Node, command: Command| {
        block_on(node.0.commit(vec![command].into())).unwrap().publish().unwrap().pop().unwrap()
    };
    let mut here = node(&config, &clock);
    for command in [plan(2), user, open("first")] {
        one(&mut here, command).unwrap();
    }
    let mut there = node(&config, &clock);
    one(&mut here, plan(1)).unwrap();
    let second = one(&mut there, open("second"));
    assert!(matches!(second, Ok(Outcome::Refused(_))), "{second:?}");
}

/// A batch sees by the way that nothing changed: a busy node need not ask.
#[test]
fn a_busy_node_knows_by_its_batches_that_nothing_changed() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let mut here = node(&config, &clock);
    clock.pass(2);
    let user = |id: &str| Command::PutUser {
        user_id: UserId::new(id).unwrap(),
        plan: None,
        email: None,
        overrides: Overrides::default(),
    };
    block_on(here.0.commit(vec![user("ada")].into())).unwrap().publish().unwrap();
    assert!(!ask(&*here.1));
    let mut there = node(&config, &clock);
    put(&mut there, Record::Key(key(&clock)));
    clock.pass(2);
    block_on(here.0.commit(vec![user("bob")].into())).unwrap().publish().unwrap();
    assert!(ask(&*here.1) && here.1.key(&[1; 32]).is_some());
}

/// Whoever copies the log goes on above the last number that it saw, while two nodes write in many buckets.
#[test]
fn a_copy_of_the_audit_log_misses_nothing_though_two_nodes_write() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let reads = node(&config, &clock).1;
    let begun: Vec<Node> = (0..2).map(|_| node(&config, &clock)).collect();
    let is_over = AtomicBool::new(false);
    let copied = std::thread::scope(|scope| {
        let copy = scope.spawn(|| {
            let mut copied: Vec<u64> = Vec::new();
            loop {
                let last_look = is_over.load(Ordering::SeqCst);
                let above = block_on(reads.audit_above(copied.last().copied().unwrap_or(0), 7)).unwrap();
                copied.extend(above.iter().map(|entry| entry.no));
                if last_look && above.is_empty() {
                    return copied;
                }
            }
        });
        let writers: Vec<_> = begun
            .into_iter()
            .enumerate()
            .map(|(of, mut node)| {
                scope.spawn(move || {
                    for no in 0..20 {
                        let mut batch = Batch::default();
                        for user in 0..4 {
                            let user_id = UserId::new(&format!("{of}-{no}-{user}")).unwrap();
                            let (plan, email, overrides) = Default::default();
                            batch.by.push((user, Actor::here("key_1")));
                            batch.add(&mut vec![Command::PutUser { user_id, plan, email, overrides }], false);
                        }
                        block_on(node.0.commit(batch)).unwrap().publish().unwrap();
                        put(&mut node, Record::Events(vec![event(), event()]));
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        is_over.store(true, Ordering::SeqCst);
        copy.join().unwrap()
    });
    assert!(copied.iter().copied().eq(1..=2 * 20 * 6), "{copied:?}");
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

/// The connection ends before COMMIT of a record reaches the server, and after it did: it is written once, and said once.
#[test]
fn a_record_whose_commit_is_cut_is_written_once() {
    let config = cluster::database(Buckets::USUAL);
    let proxy = Proxy::before(&config);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let mut here = node(&proxy.config, &clock);
    put(&mut here, Record::Key(key(&clock)));
    for (no, cut) in [Cut::BeforeCommit, Cut::AfterCommit].into_iter().enumerate() {
        proxy.arm(cut);
        put(&mut here, Record::RevokeKey { id: format!("key_{no}"), at: clock.wall() });
        assert!(proxy.has_cut(), "the connection was cut");
    }
    assert_eq!(here.1.audit_newest().0, 3);
    assert!(here.1.key(&[1; 32]).unwrap().revoked_at.is_some());
    assert_eq!(block_on(here.1.verify()).unwrap(), []);
}

/// Nobody can say what became of a record: its caller is told so, and this node, like all others, writes on.
#[test]
fn an_unknown_outcome_of_a_record_does_not_end_the_process() {
    let config = cluster::database(Buckets::USUAL);
    let proxy = Proxy::before(&config);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    // Nothing is waited for that cannot come.
    let patience = std::time::Duration::from_millis(100);
    let settings = settings(&proxy.config, Buckets::USUAL, Arc::clone(&clock) as SharedClock);
    let (store, reads) = open(Settings { patience, ..settings }).unwrap();
    let (writer, task) = Writer::new(store);
    let revoke = || Record::RevokeKey { id: "key_1".to_owned(), at: clock.wall() };
    block_on(async {
        let asking = async {
            writer.put(Record::Key(key(&clock))).await.unwrap();
            proxy.arm(Cut::AfterCommit);
            proxy.hide();
            let unknown = writer.put_as(event(), revoke()).await;
            assert!(matches!(unknown, Err(WriteError::Store(StoreError::OutcomeUnknown(_)))), "{unknown:?}");
            assert!(proxy.has_cut() && !writer.is_poisoned());
            proxy.show();
            writer.put_as(event(), revoke()).await.unwrap();
            writer.close().await;
        };
        futures_util::future::join(asking, task.run()).await
    });
    assert!(reads.key(&[1; 32]).unwrap().revoked_at.is_some());
    assert_eq!(reads.audit_newest().0, 2, "both tries are said to have been made");
}

#[test]
fn verify_finds_what_was_changed_in_the_audit_log() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let mut here = node(&config, &clock);
    put(&mut here, Record::Events((0..5).map(|_| event()).collect()));
    put(&mut here, Record::EndTokens { user_no: UserNo(1_025), until: clock.wall() });
    let found = |sql: &str| {
        failures::change(&config, sql);
        let findings = block_on(here.1.verify()).unwrap();
        findings.into_iter().map(|finding| finding.place).collect::<Vec<_>>()
    };
    assert_eq!(found("select 1"), Vec::<String>::new());
    assert_eq!(found("update audit set who = 'nobody' where no = 2"), ["audit 2"]);
    assert_eq!(found("delete from audit where no in (2, 4)"), ["audit 2", "audit 4"]);
    assert_eq!(found("delete from audit where no = 6"), ["audit 2", "audit 4", "audit 6"]);
    assert_eq!(found("update token_end set until = until - 1")[3], "token_end 1025");
}

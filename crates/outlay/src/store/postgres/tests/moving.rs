//! A store that is moved to PostgreSQL and back is the same store.

mod ends;

use std::sync::Arc;

use outlay_core::id::UserId;
use outlay_core::ledger::{Command, Now};
use tempfile::TempDir;

use super::super::{Buckets, PostgresStore, Settings};
use super::cluster;
use crate::audit::Action;
use crate::clock::{Clock as _, SharedClock};
use crate::store::embedded::{self, EmbeddedStore};
use crate::store::moving::{End, MoveError, Tallies, abandon, migrate};
use crate::store::outbox::{MailTo, Receiver};
use crate::store::tests::commands::{self, Random, USERS};
use crate::store::tests::records::{actor, key, secret};
use crate::store::tests::{Ledgers, SetClock};
use crate::store::{ExportAt, Reads, Record, Role, Store, StoreError};

/// Without the numbers of rows, which are another store's own, and the tags of users, which are random.
fn bare(of: &impl std::fmt::Debug) -> String {
    let text = format!("{of:?}");
    let mut bare = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = ["No(", "tag: "].iter().filter_map(|what| rest.find(what).map(|at| at + what.len())).min() {
        let (before, after) = rest.split_at(at);
        bare.push_str(before);
        rest = after.trim_start_matches(|character: char| character.is_ascii_digit());
    }
    bare + rest
}

/// All that a store tells of everybody.
async fn told(reads: &dyn Reads, clock: &SetClock) -> Vec<String> {
    let mut told = Vec::new();
    for user_id in USERS.map(|id| UserId::new(id).unwrap()) {
        let month = clock.wall().month();
        let view = reads.view(&user_id, month).await.unwrap();
        told.push(bare(&(&view.user, view.month(month), view.held.at(month, clock.wall()))));
        told.push(bare(&reads.history(&user_id, month.minus(30)..=month).await.unwrap().months));
        let mut at = Some(ExportAt::User);
        while let Some(from) = at {
            let (exported, next) = reads.export(&user_id, from).await.unwrap();
            told.extend(exported.iter().map(bare));
            at = next;
        }
    }
    told
}

struct Opened<S> {
    store: S,
    reads: Arc<dyn Reads>,
}

/// Runs the same commands on two stores, whose answers must be the same.
async fn go_on(
    random: &mut Random,
    ledgers: &mut Ledgers,
    clock: &SetClock,
    first: &mut impl Store,
    second: &mut impl Store,
) {
    for _ in 0..40 {
        clock.pass(random.pick(&[0, 1, 30, 3_600, 20_000]));
        let wall = clock.wall();
        let known = ledgers.rows();
        let commands: Vec<Command> = (0..=random.below(20))
            .map(|_| commands::command(random, &known, wall))
            // These name a row by its number, which is another one there.
            .filter(|command| !matches!(command, Command::Recheck { .. }))
            .collect();
        let one = first.commit(commands.clone().into()).await.unwrap().publish().unwrap();
        let other = second.commit(commands.clone().into()).await.unwrap().publish().unwrap();
        for ((command, one), other) in commands.iter().zip(one).zip(other) {
            assert_eq!(bare(&one), bare(&other), "{command:?}");
            let _ = ledgers.submit(command, Now { holds: wall, wall, entropy: 0 });
        }
        ledgers.commit();
    }
}

/// Writes what no rule decides about, with what the audit log says of it.
async fn put_records(store: &mut impl Store, reads: &dyn Reads, clock: &SetClock) {
    let ada = reads.view(&UserId::new(USERS[0]).unwrap(), clock.wall().month()).await.unwrap();
    let event = actor("ops").did(Action::KeyCreated).on("key_1");
    store.put(Record::Key(key("key_1", Role::App, clock)), Some(event)).await.unwrap();
    store.put(Record::Secret(secret("token-key/1", 7, clock)), None).await.unwrap();
    if let Some(user) = &ada.user {
        let event = actor("ops").did(Action::TokensEnded).of_user(user.no);
        store.put(Record::Events(vec![event]), None).await.unwrap();
    }
    store.put(Record::AuditCopied(1), None).await.unwrap();
}

struct Moved {
    runtime: tokio::runtime::Runtime,
    clock: Arc<SetClock>,
    folders: Arc<[TempDir; 3]>,
    settings: Settings,
}

impl Moved {
    fn new(buckets: Buckets) -> Self {
        let clock = SetClock::at("2025-10-29T12:00:00Z");
        let shared = Arc::clone(&clock) as SharedClock;
        // What is told waits for a receiver, and would not come along.
        let settings =
            Settings { mail: MailTo::default(), ..super::settings(&cluster::database(buckets), buckets, shared) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, clock, folders: Arc::new([(); 3].map(|()| TempDir::new().unwrap())), settings }
    }

    fn folder(&self, place: usize) -> End {
        End::Folder(self.folders[place].path().to_owned())
    }

    fn database(&self) -> End {
        End::Database(Box::new(self.settings.clone()), "postgres://a-test".to_owned())
    }

    fn open_file(&self, place: usize) -> Result<Opened<EmbeddedStore>, StoreError> {
        let clock = Arc::clone(&self.clock) as SharedClock;
        let settings = embedded::Settings::new(self.folders[place].path().to_owned(), clock);
        embedded::open(settings).map(|(store, reads)| Opened { store, reads })
    }

    fn open_database(&self) -> Result<Opened<PostgresStore>, StoreError> {
        super::super::open(self.settings.clone()).map(|(store, reads)| Opened { store, reads })
    }

    async fn migrate(&self, from: &End, to: &End) -> Result<Tallies, MoveError> {
        migrate(from, to, Arc::clone(&self.clock) as SharedClock, &mut |_, _| ()).await
    }
}

#[test]
fn a_store_that_is_moved_there_and_back_is_the_same_store() {
    for (seed, buckets) in [(21, Buckets::USUAL), (22, Buckets::ONE)] {
        there_and_back(seed, buckets);
    }
}

fn there_and_back(seed: u64, buckets: Buckets) {
    println!("a move with seed {seed} into {} buckets", buckets.count());
    let case = Moved::new(buckets);
    let clock = &*case.clock;
    let mut random = Random::new(seed);
    let mut ledgers = Ledgers::of_one();
    case.runtime.block_on(async {
        // What is to be moved, and a twin that stays.
        let (mut one, mut twin) = (case.open_file(0).unwrap(), case.open_file(2).unwrap());
        go_on(&mut random, &mut ledgers, clock, &mut one.store, &mut twin.store).await;
        for store in [&mut one.store, &mut twin.store] {
            while store.trim(clock.wall().plus_seconds(-100_000)).await.unwrap() {}
        }
        ledgers.trim(clock.wall().plus_seconds(-100_000));
        go_on(&mut random, &mut ledgers, clock, &mut one.store, &mut twin.store).await;
        for opened in [&mut one, &mut twin] {
            put_records(&mut opened.store, &*opened.reads, clock).await;
            while opened.store.idle().await.unwrap() {}
        }
        drop(one.reads);
        one.store.close().await.unwrap();
        let moved = case.migrate(&case.folder(0), &case.database()).await.unwrap();
        assert!(moved.values().all(|tally| tally.count > 0), "{moved:?}");
        let Err(StoreError::Unavailable(said)) = case.open_file(0) else { panic!("the old store is opened") };
        assert!(said.contains("moved to postgres://a-test"), "{said}");

        let mut there = case.open_database().unwrap();
        same(&there.reads, &twin.reads, clock).await;
        go_on(&mut random, &mut ledgers, clock, &mut there.store, &mut twin.store).await;
        assert_eq!(there.reads.verify().await.unwrap(), []);
        while there.store.idle().await.unwrap() {}
        while twin.store.idle().await.unwrap() {}
        drop(there.reads);
        there.store.close().await.unwrap();

        case.migrate(&case.database(), &case.folder(1)).await.unwrap();
        let Err(StoreError::Unavailable(said)) = case.open_database() else { panic!("the old store is opened") };
        assert!(said.contains("moved to"), "{said}");
        let mut back = case.open_file(1).unwrap();
        same(&back.reads, &twin.reads, clock).await;
        go_on(&mut random, &mut ledgers, clock, &mut back.store, &mut twin.store).await;
        same(&back.reads, &twin.reads, clock).await;
    });
}

/// Both say the same, and prove it.
async fn same(one: &Arc<dyn Reads>, twin: &Arc<dyn Reads>, clock: &SetClock) {
    assert_eq!(told(&**one, clock).await, told(&**twin, clock).await);
    assert_eq!(one.verify().await.unwrap(), []);
    let said = |reads: &Arc<dyn Reads>| {
        let status = reads.status();
        let counts = (status.operations, status.users, status.sessions);
        (counts, reads.plans().all().to_vec(), reads.keys(), reads.secrets(), reads.audit_newest())
    };
    assert_eq!(said(one), said(twin));
    let audit = |reads: &Arc<dyn Reads>| {
        let reads = Arc::clone(reads);
        async move { reads.audit_above(0, 1_000).await.unwrap().iter().map(bare).collect::<Vec<_>>() }
    };
    assert_eq!(audit(one).await, audit(twin).await);
}

/// Wherever a move is cut off, one of the two stores can be made the store, and it is whole.
#[test]
fn a_move_that_is_cut_off_is_begun_again_or_given_up() {
    let case = Moved::new(Buckets::ONE);
    let clock = &*case.clock;
    let mut random = Random::new(31);
    let fresh =
        Moved { clock: Arc::clone(&case.clock), folders: Arc::clone(&case.folders), ..Moved::new(Buckets::ONE) };
    let empty = Moved::new(Buckets::ONE);
    case.runtime.block_on(async {
        let (mut one, mut twin) = (case.open_file(0).unwrap(), case.open_file(2).unwrap());
        let mut ledgers = Ledgers::of_one();
        go_on(&mut random, &mut ledgers, clock, &mut one.store, &mut twin.store).await;
        one.store.close().await.unwrap();

        let cut = migrate_until("operations", &case).await;
        assert!(cut, "it ended before");
        for refused in [case.open_file(0).err(), case.open_database().err()] {
            let Some(StoreError::Unavailable(said)) = refused else { panic!("{refused:?}") };
            assert!(said.contains("has not ended") && said.contains("outlay migrate"), "{said}");
        }
        // What is half filled is not filled further.
        let again = case.migrate(&case.folder(0), &case.database()).await;
        assert!(matches!(again, Err(MoveError::Refused(..))), "{again:?}");
        abandon(&case.folder(0), Arc::clone(&case.clock) as SharedClock).await.unwrap();
        let twice = abandon(&case.folder(0), Arc::clone(&case.clock) as SharedClock).await;
        assert!(matches!(twice, Err(MoveError::Refused(..))), "{twice:?}");
        let one = case.open_file(0).unwrap();
        same(&one.reads, &twin.reads, clock).await;
        drop(one.reads);
        one.store.close().await.unwrap();

        // Into a new one it goes through.
        fresh.migrate(&fresh.folder(0), &fresh.database()).await.unwrap();
        let full = fresh.migrate(&fresh.folder(2), &fresh.database()).await;
        let Err(MoveError::Store(StoreError::Unavailable(said))) = &full else { panic!("{full:?}") };
        assert!(said.contains("another Outlay process"), "{said}");
        drop(twin.reads);
        twin.store.close().await.unwrap();
        let full = fresh.migrate(&fresh.folder(2), &fresh.database()).await;
        let Err(MoveError::Refused(_, said)) = &full else { panic!("{full:?}") };
        assert!(said.contains("not empty"), "{said}");

        // A message that waits is not left behind.
        let mut twin = fresh.open_file(2).unwrap();
        twin.store.put(Record::TestDelivery(Receiver::OperatorMail, clock.wall()), None).await.unwrap();
        drop(twin.reads);
        twin.store.close().await.unwrap();
        let waits = empty.migrate(&fresh.folder(2), &empty.database()).await;
        let Err(MoveError::Refused(_, said)) = &waits else { panic!("{waits:?}") };
        assert!(said.contains("1 messages wait"), "{said}");
        let untouched = fresh.open_file(2).unwrap();
        assert_eq!(untouched.reads.verify().await.unwrap(), []);
    });
}

/// Runs a move until it says this, and cuts it off there.
async fn migrate_until(what: &str, case: &Moved) -> bool {
    let (reached, stop) = tokio::sync::oneshot::channel();
    let mut reached = Some(reached);
    let mut told = |doing: &'static str, _| {
        if doing == what
            && let Some(reached) = reached.take()
        {
            let _ = reached.send(());
        }
    };
    let (from, to, clock) = (case.folder(0), case.database(), Arc::clone(&case.clock) as SharedClock);
    tokio::select! {
        biased;
        stopped = stop => stopped.is_ok(),
        ended = migrate(&from, &to, clock, &mut told) => panic!("{ended:?}"),
    }
}

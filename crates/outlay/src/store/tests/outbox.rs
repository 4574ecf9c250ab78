//! What every store must do with what is to be told: for each event one delivery to each receiver who asked for it, in the
//! transaction of the event, and from then on what became of its tries.

use std::collections::BTreeSet;
use std::sync::Arc;

use outlay_core::id::{Name, UserId};
use outlay_core::ledger::{Command, Now};
use outlay_core::month::Timestamp;
use outlay_core::plan::{Limits, Overrides, PerMeter, Plans};
use outlay_core::session::SessionStatus;
use outlay_core::user::User;

use super::commands::{self, Random};
use super::rows::{Ledger, Rows};
use super::{SetClock, naive};
use crate::clock::{Clock, SharedClock};
use crate::store::outbox::{
    AfterTry, Again, DeliveriesQuery, Delivery, DeliveryState, EventKind, MailTo, Receiver, Subject, TriedRecord, Try,
    WebhookRecord,
};
use crate::store::{Batch, PageOf, Reads, Record, SecretRecord, Store, embedded};

pub(crate) type Opened<S> = (S, Arc<dyn Reads>);

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

pub(crate) fn webhook(id: &str, events: &[EventKind]) -> Record {
    let created_at = Timestamp::EPOCH;
    let webhook = WebhookRecord {
        no: 0,
        id: id.to_owned(),
        url: format!("https://{id}.example.org/"),
        events: events.iter().copied().collect(),
        description: String::new(),
        configured: false,
        created_at,
        gone_at: None,
    };
    let secret = SecretRecord { name: webhook.secret(), sealed: vec![1, 2, 3], created_at };
    Record::Webhook(webhook, secret)
}

/// What an outbox must have noted: of what, and to whom. A changed limit has no row of its own.
pub(crate) type Told = (EventKind, Option<u64>, Receiver);

/// What a command tells, by a look at all rows before and after it.
fn told(command: &Command, before: &Rows, after: &Rows, plans: [&Plans; 2], wall: Timestamp) -> Vec<Told> {
    if matches!(command, Command::Erase { .. }) {
        return Vec::new();
    }
    let mut events: Vec<(EventKind, Option<u64>, bool)> = Vec::new();
    for (no, alert) in after.alerts.iter().filter(|(no, _)| !before.alerts.contains_key(no)) {
        if alert.superseded_by.is_none() && alert.month == wall.month() {
            let has_address = after.users.get(&alert.user_no).is_some_and(|user| user.email.is_some());
            events.push((EventKind::ThresholdCrossed, Some(no.0), has_address));
        }
    }
    for no in after.denials.keys().filter(|no| !before.denials.contains_key(no)) {
        events.push((EventKind::DenialRecorded, Some(no.0), false));
    }
    for (no, session) in &after.sessions {
        let was = before.sessions.get(no).map(|session| session.status);
        if session.status == SessionStatus::Abandoned && was == Some(SessionStatus::InProgress) {
            events.push((EventKind::SessionAbandoned, Some(no.0), false));
        }
    }
    let [plans_before, plans_after] = plans;
    match command {
        Command::PutUser { user_id, .. } => {
            let user = |rows: &Rows| rows.user_nos.get(user_id).map(|no| rows.users[no].clone());
            if limits(plans_before, user(before)) != limits(plans_after, user(after)) {
                events.push((EventKind::LimitChanged, None, false));
            }
        }
        Command::PutPlan { name, .. } => {
            let limits = |plans: &Plans| plans.effective(Some(name)).map(|plan| plan.limits);
            if limits(plans_before) != limits(plans_after) {
                events.push((EventKind::LimitChanged, None, false));
            }
        }
        _ => {}
    }
    let mut told = Vec::new();
    for (kind, about, has_address) in events {
        if kind == EventKind::ThresholdCrossed {
            told.extend(has_address.then_some((kind, about, Receiver::UserMail)));
            told.push((kind, about, Receiver::OperatorMail));
        }
        told.push((kind, about, Receiver::Webhook(1)));
        if matches!(kind, EventKind::DenialRecorded | EventKind::LimitChanged) {
            told.push((kind, about, Receiver::Webhook(2)));
        }
    }
    told
}

fn limits(plans: &Plans, user: Option<User>) -> Limits {
    let plan = plans.effective(user.as_ref().and_then(|user| user.plan.as_ref())).unwrap().limits;
    user.map_or(plan, |user| PerMeter::from_fn(|meter| user.overrides.get(meter).unwrap_or(*plan.get(meter))))
}

fn all_to(runtime: &tokio::runtime::Runtime, reads: &dyn Reads, receiver: Receiver) -> Vec<Delivery> {
    let list = |page| reads.deliveries(DeliveriesQuery { receiver, state: None, page });
    let mut all: Vec<Delivery> =
        runtime.block_on(naive::pages(true, 7, None, list)).into_iter().map(|of| of.row).collect();
    all.reverse();
    all
}

/// Random commands, a part of them quiet, in batches and over restarts.
pub(crate) fn each_event_once<S: Store>(seed: u64, mut open: impl FnMut(SharedClock) -> Opened<S>) -> Vec<Told> {
    println!("outbox suite with seed {seed}");
    let runtime = runtime();
    let clock = SetClock::at("2025-10-29T12:00:00Z");
    let mut random = Random::new(seed);
    let mut ledger = Ledger::new(Plans::standard());
    let (mut store, mut reads) = open(Arc::clone(&clock) as SharedClock);
    runtime.block_on(store.put(webhook("all", &EventKind::ALL), None)).unwrap();
    let some = [EventKind::DenialRecorded, EventKind::LimitChanged];
    runtime.block_on(store.put(webhook("some", &some), None)).unwrap();
    let mut expected: Vec<Told> = Vec::new();
    for batch in 0..120 {
        clock.pass(random.pick(&[0, 1, 30, 3_600, 20_000]));
        let wall = clock.wall();
        let now = Now { holds: wall, wall, entropy: 0 };
        let mut asked = Batch::default();
        for _ in 0..=random.below(12) {
            asked.add(&mut vec![commands::command(&mut random, &ledger.rows, wall)], random.percent(20));
        }
        let due = runtime.block_on(store.due(3)).unwrap();
        asked.add(&mut due.into_iter().map(|session_no| Command::Expire { session_no }).collect(), false);
        runtime.block_on(store.commit(asked.clone())).unwrap().publish().unwrap();
        for (command, quiet) in asked.iter() {
            let (before, plans) = (ledger.rows.clone(), Plans::clone(ledger.books.plans()));
            // What it was answered is compared elsewhere.
            let _ = ledger.submit(command, now);
            ledger.commit();
            if !quiet {
                expected.extend(told(command, &before, &ledger.rows, [&plans, ledger.books.plans()], wall));
            }
        }
        if batch % 40 == 39 {
            drop(reads);
            runtime.block_on(store.close()).unwrap();
            (store, reads) = open(Arc::clone(&clock) as SharedClock);
        }
    }
    let mut numbers = BTreeSet::new();
    for receiver in [Receiver::UserMail, Receiver::OperatorMail, Receiver::Webhook(1), Receiver::Webhook(2)] {
        let found = all_to(&runtime, &*reads, receiver);
        numbers.extend(found.iter().map(|delivery| delivery.no));
        let mut found: Vec<Told> = found
            .iter()
            .map(|row| (row.kind, (row.kind != EventKind::LimitChanged).then_some(row.about), row.receiver))
            .collect();
        let mut expected: Vec<Told> = expected.iter().filter(|(.., to)| *to == receiver).copied().collect();
        // What one command tells of comes in no particular order.
        found.sort_unstable();
        expected.sort_unstable();
        assert!(found == expected, "{receiver:?} is told {found:?}, and should be {expected:?}");
    }
    assert_eq!(numbers.len(), expected.len());
    assert_eq!(numbers.last(), Some(&(expected.len() as u64)), "deliveries are numbered without gaps");
    let waiting = runtime.block_on(reads.deliveries_waiting()).unwrap();
    assert_eq!(waiting.count, expected.len() as u64);
    assert_eq!(runtime.block_on(reads.verify()).unwrap(), []);
    runtime.block_on(store.close()).unwrap();
    expected
}

fn put_user(email: Option<&str>, runs: i64) -> Command {
    Command::PutUser {
        user_id: UserId::new("ada").unwrap(),
        plan: Some(Name::new("premium").unwrap()),
        email: email.map(Arc::from),
        overrides: Overrides { ai_runs: Some(Some(runs)), ..Overrides::default() },
    }
}

fn run(no: u32, at: Timestamp) -> Command {
    commands::plain(&UserId::new("ada").unwrap(), &format!("o{no}"), "scan", None, at)
}

fn tried(delivery: u64, at: Timestamp, status: u16, next: AfterTry) -> TriedRecord {
    let reason = (status >= 300).then(|| Arc::from("it said no"));
    TriedRecord { delivery, tried: Some(Try { at, status: Some(status), reason }), next }
}

const DELIVERED: AfterTry = AfterTry::Ended { state: DeliveryState::Delivered, gone: false };
const GONE: AfterTry = AfterTry::Ended { state: DeliveryState::Failed, gone: true };

/// One alert that two webhooks and two mails tell of, from its first try to being told again.
pub(crate) fn what_became_of_tries<S: Store>(mut open: impl FnMut(SharedClock) -> Opened<S>) {
    let runtime = runtime();
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let (mut store, reads) = open(Arc::clone(&clock) as SharedClock);
    let now = clock.wall();
    let commit = |store: &mut S, commands: Vec<Command>| {
        runtime.block_on(store.commit(commands.into())).unwrap().publish().unwrap();
    };
    let put = |store: &mut S, record| runtime.block_on(store.put(record, None)).unwrap();
    let due =
        |reads: &dyn Reads, to: Receiver, at: Timestamp| runtime.block_on(reads.deliveries_due(to, at, 9)).unwrap();
    put(&mut store, webhook("a", &[EventKind::ThresholdCrossed]));
    put(&mut store, webhook("b", &[EventKind::ThresholdCrossed]));
    commit(&mut store, vec![put_user(Some("ada@example.org"), 5)]);
    commit(&mut store, (0..4).map(|no| run(no, now)).collect());

    let [a, b] = [Receiver::Webhook(1), Receiver::Webhook(2)];
    for to in [Receiver::UserMail, Receiver::OperatorMail, a, b] {
        let [only] = &*due(&*reads, to, now) else { panic!("one is due to {to:?}") };
        assert_eq!(only.user.as_ref().unwrap().email.as_deref(), Some("ada@example.org"));
        let Subject::Alert(alert) = &only.subject else { panic!("{:?}", only.subject) };
        assert_eq!((alert.key.threshold, alert.used), (80, 4));
        assert_eq!((only.delivery.about, only.delivery.step), (alert.no.0, 0));
    }
    assert_eq!(due(&*reads, a, now.plus_seconds(-1)), []);
    let (first, second) = (due(&*reads, a, now)[0].delivery.no, due(&*reads, b, now)[0].delivery.no);

    // One is tried again in five seconds, the other is at its end; the next alert goes to both.
    let again = AfterTry::Again { due: now.plus_seconds(5), step: 1 };
    put(&mut store, Record::Tried(vec![tried(first, now, 500, again), tried(second, now, 204, DELIVERED)], now));
    assert_eq!((due(&*reads, a, now), due(&*reads, b, now)), (vec![], vec![]));
    assert_eq!(runtime.block_on(reads.delivery_next_due(a)).unwrap(), Some(now.plus_seconds(5)));
    assert_eq!(due(&*reads, a, now.plus_seconds(5))[0].delivery.step, 1);
    let about = runtime.block_on(reads.deliveries_about(EventKind::ThresholdCrossed, vec![1])).unwrap();
    let states: Vec<_> = about.iter().map(|row| (row.receiver, row.state, row.tries.len())).collect();
    assert_eq!(
        states,
        [
            (Receiver::UserMail, DeliveryState::Pending, 0),
            (Receiver::OperatorMail, DeliveryState::Pending, 0),
            (a, DeliveryState::Pending, 1),
            (b, DeliveryState::Delivered, 1)
        ]
    );

    // A start makes what waits due at once, and counts no try.
    drop(reads);
    runtime.block_on(store.close()).unwrap();
    let (mut store, reads) = open(Arc::clone(&clock) as SharedClock);
    let [waiting] = &*due(&*reads, a, now) else { panic!("it is due at once") };
    assert_eq!((waiting.delivery.no, waiting.delivery.step), (first, 0));

    // 410: it is kept, what else waits for it too, and it is told of nothing new.
    put(&mut store, Record::Tried(vec![tried(first, now, 410, GONE)], now));
    assert!(reads.webhooks()[0].gone_at.is_some() && reads.webhooks()[1].gone_at.is_none());
    assert_eq!([a, b].map(|to| runtime.block_on(reads.deliveries_failed(to)).unwrap()), [1, 0]);
    let of = |receiver, state: &'static str| -> Vec<u64> {
        let page = PageOf { before: None, limit: 9 };
        let query = DeliveriesQuery { receiver, state: Some(state), page };
        runtime.block_on(reads.deliveries(query)).unwrap().items.iter().map(|of| of.row.no).collect()
    };
    assert_eq!((of(a, "failed"), of(a, "delivered")), (vec![first], vec![]));
    assert_eq!((of(b, "failed"), of(b, "delivered")), (vec![], vec![second]));
    commit(&mut store, vec![run(4, now)]);
    assert_eq!((due(&*reads, a, now).len(), due(&*reads, b, now).len()), (0, 1));
    // It can be sent again all the same, with its tries before; a test that arrives brings the webhook back.
    put(&mut store, Record::Again(Again::FailedOf(1), now));
    put(&mut store, Record::TestDelivery(a, now));
    let again = due(&*reads, a, now);
    assert_eq!([again[0].delivery.no, again[0].delivery.about], [first, 1]);
    assert_eq!((again[1].subject.clone(), again[1].delivery.kind), (Subject::Test, EventKind::Test));
    put(&mut store, Record::Tried(vec![tried(first, now, 200, DELIVERED)], now));
    assert!(reads.webhooks()[0].gone_at.is_some());
    put(&mut store, Record::Tried(vec![tried(again[1].delivery.no, now, 200, DELIVERED)], now));
    assert!(reads.webhooks()[0].gone_at.is_none());
    let one = runtime.block_on(reads.delivery(first)).unwrap().unwrap();
    let statuses: Vec<_> = one.row.tries.iter().map(|tried| tried.status.unwrap()).collect();
    assert_eq!((statuses, one.row.state), (vec![500, 410, 200], DeliveryState::Delivered));
    assert_eq!(one.user_id.unwrap().as_str(), "ada");

    // Taken away: nothing waits for it, a try that was on its way is noted, and it is not sent again.
    let last = due(&*reads, b, now)[0].delivery.no;
    put(&mut store, Record::DeleteWebhook { no: 2, at: now });
    put(&mut store, Record::Tried(vec![tried(last, now, 500, AfterTry::Again { due: now, step: 1 })], now));
    put(&mut store, Record::Again(Again::Alert(2), now));
    let one = runtime.block_on(reads.delivery(last)).unwrap().unwrap().row;
    assert_eq!((one.state, one.tries.len(), one.due), (DeliveryState::NoWebhook, 1, None));
    assert_eq!((reads.webhooks().len(), reads.secret("webhook/b").is_none()), (1, true));

    // Of an erased person nothing is left in what is still to be sent, nor in what a mail server said.
    let mail = due(&*reads, Receiver::UserMail, now)[0].delivery.no;
    put(&mut store, Record::Tried(vec![tried(mail, now, 550, AfterTry::Again { due: now, step: 1 })], now));
    commit(&mut store, vec![Command::Erase { user_id: UserId::new("ada").unwrap() }]);
    assert!(due(&*reads, Receiver::UserMail, now).iter().all(|due| due.user.is_none()));
    let one = runtime.block_on(reads.delivery(mail)).unwrap().unwrap();
    assert_eq!((one.user_id, one.row.tries[0].reason.as_deref()), (None, Some("")));
    // A letter that was on its way then comes to its end after it.
    put(&mut store, Record::Tried(vec![tried(mail, now, 550, AfterTry::Again { due: now, step: 2 })], now));
    let one = runtime.block_on(reads.delivery(mail)).unwrap().unwrap();
    assert_eq!(one.row.tries[1].reason.as_deref(), Some(""));
    assert_eq!(runtime.block_on(reads.verify()).unwrap(), []);
    runtime.block_on(store.close()).unwrap();
}

fn embedded(folder: &std::path::Path, clock: SharedClock) -> Opened<embedded::EmbeddedStore> {
    let settings = embedded::Settings::new(folder.to_owned(), clock);
    let mail = MailTo { user: true, operator: true };
    embedded::open(embedded::Settings { mail, seed: Some(3), ..settings }).unwrap()
}

#[test]
fn the_embedded_store_tells_each_receiver_of_each_event_once() {
    let mut seen = BTreeSet::new();
    for seed in 1..=4 {
        let folder = tempfile::tempdir().unwrap();
        let told = each_event_once(seed, |clock| embedded(folder.path(), clock));
        seen.extend(told.into_iter().map(|(kind, _, to)| (kind, to)));
    }
    // Four kinds to the webhook that wants all, two to the other, and alerts to both mails.
    assert_eq!(seen.len(), 8, "{seen:?}");
}

/// A row that cannot be read keeps its own delivery, and none behind it.
#[test]
fn a_damaged_row_keeps_nothing_else_from_being_told() {
    let folder = tempfile::tempdir().unwrap();
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let now = clock.wall();
    let runtime = runtime();
    let (mut store, reads) = embedded(folder.path(), Arc::clone(&clock) as SharedClock);
    runtime.block_on(store.put(webhook("a", &[EventKind::ThresholdCrossed]), None)).unwrap();
    let commands = [vec![put_user(None, 5)], (0..5).map(|no| run(no, now)).collect()].concat();
    runtime.block_on(store.commit(commands.into())).unwrap().publish().unwrap();
    drop(reads);
    runtime.block_on(store.close()).unwrap();
    let file = rusqlite::Connection::open(embedded::file_path(folder.path())).unwrap();
    assert_eq!(file.execute("delete from alert where no = 1", []).unwrap(), 1);
    drop(file);
    let (store, reads) = embedded(folder.path(), clock);
    let due = runtime.block_on(reads.deliveries_due(Receiver::Webhook(1), now, 9)).unwrap();
    let subjects: Vec<_> = due.iter().map(|due| matches!(due.subject, Subject::Lost)).collect();
    assert_eq!(subjects, [true, false], "{due:?}");
    runtime.block_on(store.close()).unwrap();
}

#[test]
fn the_embedded_store_keeps_what_became_of_tries() {
    let folder = tempfile::tempdir().unwrap();
    what_became_of_tries(|clock| embedded(folder.path(), clock));
}

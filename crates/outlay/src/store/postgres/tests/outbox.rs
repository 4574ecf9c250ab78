//! What must hold of what is to be told when several nodes write and send.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::FutureExt as _;
use outlay_core::id::{Label, Name, UserId};
use outlay_core::ledger::Command;
use outlay_core::plan::{Amounts, Limits, Plan, Plans};

use super::super::{Buckets, Settings, open};
use super::cluster::{self, block_on};
use super::nodes::{Node, ask, node};
use super::proxy::{Cut, Proxy};
use super::{failures, settings};
use crate::clock::{Clock, SharedClock};
use crate::store::outbox::{
    AfterTry, Again, ConfiguredWebhook, DeliveriesQuery, DeliveryState, EventKind, EventKinds, Receiver, TriedRecord,
    Try,
};
use crate::store::tests::outbox::webhook;
use crate::store::tests::{SetClock, naive};
use crate::store::{Reads, Record, Store};

const TO: Receiver = Receiver::Webhook(1);
const DELIVERED: AfterTry = AfterTry::Ended { state: DeliveryState::Delivered, gone: false };

fn deny(user: &str) -> Command {
    Command::Deny {
        user_id: UserId::new(user).unwrap(),
        feature: Name::new("scan").unwrap(),
        estimate: Amounts::ZERO,
        reason: Label::new("no").unwrap(),
        session_id: None,
        metadata: None,
    }
}

fn put(node: &mut Node, record: Record) {
    block_on(node.0.put(record, None)).unwrap();
}

/// Refuses so many users something, of many buckets.
fn refuse(node: &mut Node, users: u32) {
    let commands: Vec<Command> = (0..users).map(|no| deny(&format!("user-{no}"))).collect();
    block_on(node.0.commit(commands.into())).unwrap().publish().unwrap();
}

fn taken(reads: &dyn Reads, clock: &SetClock, limit: usize) -> Vec<u64> {
    let taken = block_on(reads.take_deliveries(TO, clock.wall(), limit)).unwrap();
    taken.into_iter().map(|due| due.delivery.no).collect()
}

fn tried(no: u64, clock: &SetClock, next: AfterTry) -> TriedRecord {
    TriedRecord { delivery: no, tried: Some(Try { at: clock.wall(), status: Some(200), reason: None }), next }
}

fn one(reads: &dyn Reads, no: u64) -> crate::store::outbox::Delivery {
    block_on(reads.delivery(no)).unwrap().unwrap().row
}

#[test]
fn two_nodes_do_not_have_the_same_on_its_way() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let (mut here, there) = (node(&config, &clock), node(&config, &clock));
    put(&mut here, webhook("a", &[EventKind::DenialRecorded]));
    refuse(&mut here, 60);
    let take_all = |reads: &dyn Reads| -> Vec<u64> {
        std::iter::from_fn(|| Some(taken(reads, &clock, 4)).filter(|taken| !taken.is_empty())).flatten().collect()
    };
    let (reads, other_reads) = (Arc::clone(&here.1), &*there.1);
    let (first, second) = std::thread::scope(|scope| {
        let (first, second) = (scope.spawn(|| take_all(&*reads)), scope.spawn(|| take_all(other_reads)));
        (first.join().unwrap(), second.join().unwrap())
    });
    let all: BTreeSet<u64> = first.iter().chain(&second).copied().collect();
    assert_eq!((first.len() + second.len(), all.len()), (60, 60), "each is given to one");

    // While it is on its way nobody else is given it, a start does not bring it forward, and whoever waits for it waits.
    let lease_end = clock.wall().plus_seconds(120);
    assert_eq!(block_on(reads.delivery_next_due(TO)).unwrap(), Some(lease_end));
    clock.pass(119);
    drop(node(&config, &clock));
    assert!(taken(other_reads, &clock, 100).is_empty());
    // Who had it is gone: it is sent again, with the same number.
    let (noted, left) = (all.first().copied().unwrap(), all.len() - 1);
    put(&mut here, Record::Tried(vec![tried(noted, &clock, DELIVERED)], clock.wall()));
    clock.pass(1);
    let again: BTreeSet<u64> = taken(other_reads, &clock, 100).into_iter().collect();
    assert!(again.len() == left && again.is_subset(&all) && !again.contains(&noted));
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

/// Sent again by hand while a node has it on its way: it is, after that.
#[test]
fn what_is_sent_again_waits_for_who_has_it_on_its_way() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let mut here = node(&config, &clock);
    put(&mut here, webhook("a", &[EventKind::DenialRecorded]));
    refuse(&mut here, 1);
    let [no] = taken(&*here.1, &clock, 9)[..] else { panic!("one is due") };
    put(&mut here, Record::Again(Again::One(no), clock.wall()));
    assert!(taken(&*here.1, &clock, 9).is_empty());
    let failed = AfterTry::Ended { state: DeliveryState::Failed, gone: false };
    put(&mut here, Record::Tried(vec![tried(no, &clock, failed)], clock.wall()));
    put(&mut here, Record::Again(Again::One(no), clock.wall()));
    assert_eq!(taken(&*here.1, &clock, 9), [no]);
}

/// A webhook that one node adds is told of the next thing that another decides, and not of what it forgot to ask for.
#[test]
fn a_node_tells_the_webhooks_that_another_has_added() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let (mut here, mut there) = (node(&config, &clock), node(&config, &clock));
    refuse(&mut there, 3);
    put(&mut here, webhook("a", &[EventKind::DenialRecorded]));
    refuse(&mut there, 5);
    let told = there.1.feed().post().taken().now_or_never().unwrap_or_default();
    assert_eq!(told, [TO].into());
    assert!(there.1.webhooks().is_empty() && !ask(&*there.1), "readers are shown it two seconds later");
    assert_eq!(taken(&*there.1, &clock, 99).len(), 5);
    assert_eq!(there.1.webhooks().len(), 1, "who sends knows whom");
    assert!(there.1.secret("webhook/a").is_some());
    put(&mut here, Record::DeleteWebhook { no: 1, at: clock.wall() });
    refuse(&mut there, 7);
    let query = |page| there.1.deliveries(DeliveriesQuery { receiver: TO, state: None, page });
    let all = block_on(naive::pages(false, 2, None, query));
    assert!(all.len() == 5 && all.iter().all(|of| of.row.state == DeliveryState::NoWebhook), "{all:?}");
    assert_eq!(here.1.secret("webhook/a"), None);
}

/// Nobody sends what a node wrote that is gone, until another is asked something.
#[test]
fn a_node_that_is_asked_sends_what_another_left() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let (mut gone, here) = (node(&config, &clock), node(&config, &clock));
    put(&mut gone, webhook("a", &[EventKind::DenialRecorded]));
    refuse(&mut gone, 1);
    drop(gone);
    let called = || here.1.feed().post().taken().now_or_never().unwrap_or_default();
    clock.pass(5);
    assert!(ask(&*here.1) && called().is_empty(), "it may be on its way");
    clock.pass(6);
    assert!(ask(&*here.1));
    assert_eq!(called(), [TO].into());
}

/// What waits for a retry is due at once when a node starts, and not again when the next one does.
#[test]
fn starts_one_after_the_other_bring_forward_once() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let mut here = node(&config, &clock);
    put(&mut here, webhook("a", &[EventKind::DenialRecorded]));
    refuse(&mut here, 1);
    let [no] = taken(&*here.1, &clock, 9)[..] else { panic!("one is due") };
    let later = AfterTry::Again { due: clock.wall().plus_seconds(3_000), step: 3 };
    put(&mut here, Record::Tried(vec![tried(no, &clock, later)], clock.wall()));
    drop(node(&config, &clock));
    assert_eq!(one(&*here.1, no).step, 2);
    put(&mut here, Record::Tried(vec![tried(no, &clock, later)], clock.wall()));
    clock.pass(500);
    drop(node(&config, &clock));
    assert_eq!((one(&*here.1, no).step, taken(&*here.1, &clock, 9)), (3, vec![]));
    clock.pass(100);
    drop(node(&config, &clock));
    assert_eq!(taken(&*here.1, &clock, 9), [no]);
}

#[test]
fn a_try_whose_commit_is_cut_is_noted_once() {
    let config = cluster::database(Buckets::USUAL);
    let proxy = Proxy::before(&config);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let mut here = node(&proxy.config, &clock);
    put(&mut here, webhook("a", &[EventKind::DenialRecorded]));
    refuse(&mut here, 2);
    for (no, cut) in taken(&*here.1, &clock, 9).into_iter().zip([Cut::BeforeCommit, Cut::AfterCommit]) {
        proxy.arm(cut);
        put(&mut here, Record::Tried(vec![tried(no, &clock, DELIVERED)], clock.wall()));
        assert!(proxy.has_cut(), "the connection was cut");
        let one = one(&*here.1, no);
        assert_eq!((one.tries.len(), one.state), (1, DeliveryState::Delivered));
    }
}

/// Webhooks of the configuration are made what it says, by whichever node starts first, and the audit log says so once.
#[test]
fn configured_webhooks_are_those_of_the_configuration() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let start = |ids: &[(&str, EventKind)]| {
        let configured = ids.iter().map(|(id, kind)| ConfiguredWebhook {
            id: (*id).to_owned(),
            url: format!("https://{id}.example.org/"),
            events: EventKinds::from_iter([*kind]),
            description: String::new(),
        });
        let shared = Arc::clone(&clock) as SharedClock;
        open(Settings { webhooks: Some(configured.collect()), ..settings(&config, Buckets::USUAL, shared) }).unwrap().1
    };
    let (denials, limits) = (EventKind::DenialRecorded, EventKind::LimitChanged);
    for _ in 0..2 {
        let reads = start(&[("a", denials), ("b", denials)]);
        assert_eq!((reads.webhooks().len(), reads.audit_newest().0), (2, 2));
    }
    let reads = start(&[("b", limits)]);
    let [b] = &*reads.webhooks() else { panic!("{:?}", reads.webhooks()) };
    assert_eq!((b.no, b.id.as_str(), b.configured, b.events.contains(limits)), (2, "b", true, true));
    let said: Vec<_> = block_on(reads.audit_above(2, 9)).unwrap().into_iter().map(|entry| entry.action).collect();
    assert_eq!(said.iter().map(|action| &**action).collect::<Vec<_>>(), ["webhook.deleted", "webhook.changed"]);
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

/// Plans of the configuration replace what is stored, and that is told, marked and said once, whoever starts.
#[test]
fn configured_plans_are_those_of_the_configuration() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let mut here = node(&config, &clock);
    put(&mut here, webhook("a", &[EventKind::LimitChanged]));
    refuse(&mut here, 1);
    let before = here.1.plans();
    let changed = |plan: &Plan| match plan.name.as_str() {
        "premium" => Plan { limits: Limits { ai_runs: Some(7), ..plan.limits }, ..plan.clone() },
        _ => plan.clone(),
    };
    let plans = Plans::new(before.all().iter().map(changed).collect(), before.default_plan().clone()).unwrap();
    for _ in 0..2 {
        let shared = Arc::clone(&clock) as SharedClock;
        let settings = settings(&config, Buckets::USUAL, shared);
        let (_store, reads) = open(Settings { plans: Some(plans.clone()), ..settings }).unwrap();
        assert_eq!(reads.plans().get("premium").unwrap().limits.ai_runs, Some(7));
        let marked = block_on(reads.plans_to_recheck()).unwrap();
        assert_eq!(marked.iter().map(|plan| plan.name.as_str()).collect::<Vec<_>>(), ["premium"]);
        let due = block_on(reads.deliveries_due(TO, clock.wall(), 9)).unwrap();
        assert!(matches!(&due[..], [one] if one.delivery.kind == EventKind::LimitChanged), "{due:?}");
        let said = block_on(reads.audit_above(0, 9)).unwrap();
        assert_eq!(said.iter().map(|entry| &*entry.action).collect::<Vec<_>>(), ["plans.configured"]);
        assert_eq!(block_on(reads.verify()).unwrap(), []);
    }
    // A node that runs decides by them from its next batch on.
    refuse(&mut here, 1);
    assert_eq!(here.1.plans().get("premium").unwrap().limits.ai_runs, Some(7));
}

#[test]
fn verify_finds_what_was_changed_of_deliveries() {
    let config = cluster::database(Buckets::USUAL);
    let clock = SetClock::at("2025-10-13T12:00:00Z");
    let mut here = node(&config, &clock);
    put(&mut here, webhook("a", &[EventKind::DenialRecorded]));
    put(&mut here, Record::TestDelivery(TO, clock.wall()));
    refuse(&mut here, 1);
    let found = |sql: &str| {
        failures::change(&config, sql);
        let findings = block_on(here.1.verify()).unwrap();
        findings.into_iter().map(|finding| finding.problem).collect::<Vec<_>>()
    };
    assert_eq!(found("select 1"), Vec::<String>::new());
    assert_eq!(found("update delivery set state = 1, tries = 7"), Vec::<String>::new());
    let changed = found("update delivery set about = about + 1024 where kind = 2");
    assert!(changed.len() == 2 && changed[0].contains("its sum") && changed[1].contains("not there"), "{changed:?}");
    let removed = found("delete from delivery where kind = 2");
    assert!(removed.len() == 1 && removed[0].contains("how many deliveries"), "{removed:?}");
}

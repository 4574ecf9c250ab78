//! What a node tells its watchers of what other nodes commit.

use std::sync::Arc;
use std::time::Duration;

use outlay_core::id::{Name, UserId};
use outlay_core::ledger::Command;
use outlay_core::plan::Overrides;
use tokio_postgres::Config;

use super::super::{Buckets, PostgresStore, Settings, open};
use super::cluster::{self, block_on};
use crate::clock::SystemClock;
use crate::feed::{News, Notice, Place, Watching};
use crate::store::tests::commands::plain;
use crate::store::{Reads, Store};

/// How long anything may take that is waited for; only something broken takes as long.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);
/// Several rounds of looking.
const A_WHILE: Duration = Duration::from_millis(900);

fn node(config: &Config) -> (PostgresStore, Arc<dyn Reads>) {
    let settings = Settings::new("postgres://localhost", SystemClock::shared()).unwrap();
    open(Settings { config: config.clone(), ..settings }).unwrap()
}

fn commit(store: &mut PostgresStore, commands: Vec<Command>) {
    for reply in block_on(store.commit(commands.into())).unwrap().publish().unwrap() {
        reply.unwrap();
    }
}

fn ada() -> UserId {
    UserId::new("ada").unwrap()
}

/// Billable operations, one AI run each.
fn runs(user_id: &UserId, numbers: std::ops::Range<usize>) -> Vec<Command> {
    let at = SystemClock::shared().wall();
    numbers.map(|no| plain(user_id, &format!("{user_id}-{no}"), "scan", None, at)).collect()
}

fn on_premium(user_id: &UserId) -> Command {
    let plan = Some(Name::new("premium").unwrap());
    Command::PutUser { user_id: user_id.clone(), plan, email: None, overrides: Overrides::default() }
}

/// Begins to watch a user as a stream does.
fn watch(reads: &Arc<dyn Reads>, user_id: &UserId) -> (Watching, Place) {
    let mut watching = reads.feed().watch_user(user_id, None, 9).unwrap();
    let missed = block_on(reads.missed(Some(user_id), None).unwrap()).unwrap();
    assert!(watching.take().changed.is_some() && missed.alerts.is_empty());
    (watching, missed.place)
}

/// What comes next.
#[track_caller]
fn heard(watching: &mut Watching) -> News {
    block_on(async { tokio::time::timeout(PATIENCE, watching.changed()).await.expect("nothing was told") });
    watching.take()
}

#[track_caller]
fn hears_nothing_more(watching: &mut Watching) {
    block_on(async { tokio::time::sleep(A_WHILE).await });
    let news = watching.take();
    assert!(news.changed.is_none() && news.notices.is_empty(), "{news:?}");
}

fn alerts(news: &News) -> Vec<u8> {
    let of = |notice: &Notice| match notice {
        Notice::Alert(_, alert) => Some(alert.key.threshold),
        Notice::Denial(..) => None,
    };
    news.notices.iter().filter_map(|told| of(&told.notice)).collect()
}

#[test]
fn what_another_node_commits_is_told_once_and_what_this_one_does_too() {
    let config = cluster::database(Buckets::USUAL);
    let (mut here, reads) = node(&config);
    let (mut there, _) = node(&config);
    let (user, other) = (ada(), UserId::new("ben").unwrap());
    commit(&mut there, vec![on_premium(&user), on_premium(&other)]);
    let (mut watching, begun) = watch(&reads, &user);
    let mut everybody = reads.feed().watch_everybody().unwrap();
    everybody.take();

    commit(&mut there, runs(&user, 0..1));
    let news = heard(&mut watching);
    assert!(
        news.notices.is_empty() && news.at.is_some_and(|at| at.epoch == begun.epoch && at.seq > begun.seq),
        "{news:?}"
    );
    assert!(heard(&mut everybody).changed.is_some());
    hears_nothing_more(&mut watching);

    commit(&mut here, runs(&user, 1..2));
    heard(&mut watching);
    heard(&mut everybody);
    hears_nothing_more(&mut watching);
    hears_nothing_more(&mut everybody);

    // An alert is told with the budget, of whichever node it is; those of others are everybody's alone.
    commit(&mut there, runs(&user, 2..24));
    assert_eq!(alerts(&heard(&mut watching)), [80]);
    assert_eq!(alerts(&heard(&mut everybody)), [80]);
    commit(&mut here, runs(&user, 24..29));
    assert_eq!(alerts(&heard(&mut watching)), [95]);
    assert_eq!(alerts(&heard(&mut everybody)), [95]);
    commit(&mut there, runs(&other, 0..24));
    assert_eq!(alerts(&heard(&mut everybody)), [80]);
    hears_nothing_more(&mut watching);
    hears_nothing_more(&mut everybody);
}

#[test]
fn a_watcher_goes_on_at_another_node_where_it_was() {
    let config = cluster::database(Buckets::USUAL);
    let (mut here, reads) = node(&config);
    let (_there, elsewhere) = node(&config);
    let user = ada();
    commit(&mut here, vec![on_premium(&user)]);
    let (mut watching, begun) = watch(&reads, &user);
    commit(&mut here, runs(&user, 0..24));
    let news = heard(&mut watching);
    let told = news.notices[0].at.unwrap();
    commit(&mut here, runs(&user, 24..29));

    let missed = |after: Place| {
        let watching = elsewhere.feed().watch_user(&user, Some(after), 9).unwrap();
        let missed = block_on(elsewhere.missed(Some(&user), Some(after)).unwrap()).unwrap();
        drop(watching);
        assert_eq!(missed.place.epoch, begun.epoch, "it is the same on every node");
        let alerts: Vec<(u64, u8)> =
            missed.alerts.iter().map(|(place, alert)| (place.seq, alert.key.threshold)).collect();
        (missed.place.seq, alerts)
    };
    let (newest, alerts) = missed(begun);
    let thresholds: Vec<u8> = alerts.iter().map(|(_, threshold)| *threshold).collect();
    assert_eq!(thresholds, [80, 95]);
    assert!(alerts[0].0 <= told.seq && told.seq < alerts[1].0 && alerts[1].0 <= newest, "{alerts:?} {told:?} {newest}");
    assert_eq!(missed(told).1.len(), 1);
    assert_eq!(missed(Place { seq: newest, ..begun }), (newest, vec![]));
    // A place of another life, and one that was never reached, are not known.
    assert_eq!(missed(Place { epoch: begun.epoch + 1, ..begun }).1, []);
    assert_eq!(missed(Place { seq: newest + 9, ..begun }).1, []);
    // What is so old that its events are gone is not known either.
    block_on(async { cluster::connect(&config).await.batch_execute("delete from event").await.unwrap() });
    assert_eq!(missed(begun).1, []);
}

#[test]
fn while_nobody_watches_nothing_is_asked() {
    let config = cluster::database(Buckets::USUAL);
    let (mut here, reads) = node(&config);
    commit(&mut here, runs(&ada(), 0..1));
    // When the node asked last.
    let asked = || {
        block_on(async {
            let client = cluster::connect(&config).await;
            let sql = "select (extract(epoch from max(query_start)) * 1000000)::int8 from pg_stat_activity \
                       where datname = current_database() and pid <> pg_backend_pid()";
            client.query_one(sql, &[]).await.unwrap().get::<_, Option<i64>>(0)
        })
    };
    let quiet = |asked: &dyn Fn() -> Option<i64>| {
        let before = asked();
        block_on(async { tokio::time::sleep(A_WHILE).await });
        before == asked()
    };
    // What was just done has the node ask once more what an acknowledgement promises.
    let comes_to_rest = || (0..20).any(|_| quiet(&asked));
    assert!(comes_to_rest());
    let (watching, _) = watch(&reads, &ada());
    assert!(!quiet(&asked));
    drop(watching);
    assert!(comes_to_rest());
}

#[test]
fn an_erasure_and_a_change_of_plans_elsewhere_are_told() {
    let config = cluster::database(Buckets::USUAL);
    let (_here, reads) = node(&config);
    let (mut there, _) = node(&config);
    let user = ada();
    commit(&mut there, vec![on_premium(&user)]);
    let (mut watching, _) = watch(&reads, &user);
    let mut premium = reads.plans().get("premium").unwrap().clone();
    premium.limits.ai_runs = Some(7);
    let put = Command::PutPlan { name: premium.name, limits: premium.limits, tier: Some(premium.tier) };
    commit(&mut there, vec![put]);
    heard(&mut watching);
    assert_eq!(reads.plans().get("premium").unwrap().limits.ai_runs, Some(7), "it is known before it is told");
    commit(&mut there, vec![Command::Erase { user_id: user.clone() }]);
    heard(&mut watching);
}

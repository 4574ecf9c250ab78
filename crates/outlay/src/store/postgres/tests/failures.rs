//! What must hold when statements fail, connections are cut, rows are changed, and several nodes write the same user.

use std::sync::Arc;

use outlay_core::id::{Name, SessionId, UserId};
use outlay_core::ledger::{Command, Outcome, Rejection};
use outlay_core::plan::{Amounts, Overrides};
use outlay_core::session::Ask;
use tokio_postgres::Config;

use super::super::{Buckets, PostgresStore, Settings, open};
use super::cluster::{self, block_on};
use super::proxy::{Cut, Proxy};
use super::watching::PATIENCE;
use crate::clock::SystemClock;
use crate::store::tests::commands::plain;
use crate::store::{CommandError, Reads, Reply, Store};

/// A node that decides by the database's clock.
pub(super) fn node(config: &Config) -> (PostgresStore, Arc<dyn Reads>) {
    let settings = Settings::new("postgres://localhost", SystemClock::shared()).unwrap();
    open(Settings { config: config.clone(), patience: PATIENCE, ..settings }).unwrap()
}

pub(super) fn commit(store: &mut PostgresStore, commands: Vec<Command>) -> Vec<Reply> {
    block_on(store.commit(commands.into())).unwrap().publish().unwrap()
}

pub(super) fn record(id: &str) -> Command {
    plain(&UserId::new("ada").unwrap(), id, "scan", None, SystemClock::shared().wall())
}

/// How many operations there are, asked past the store.
fn recorded(config: &Config) -> i64 {
    block_on(async {
        let client = cluster::connect(config).await;
        client.query_one("select count(*) from operation", &[]).await.unwrap().get(0)
    })
}

pub(super) fn change(config: &Config, sql: &str) {
    block_on(async { cluster::connect(config).await.batch_execute(sql).await.unwrap() });
}

#[track_caller]
fn is_new(reply: &Reply) {
    assert!(matches!(reply, Ok(Outcome::Recorded(recorded)) if !recorded.duplicate), "{reply:?}");
}

/// PostgreSQL answers COMMIT of a failed transaction without an error; only the statement before it says so.
#[test]
fn a_command_that_cannot_be_written_costs_no_other_and_is_no_success() {
    let config = cluster::database(Buckets::USUAL);
    change(&config, "alter table operation add constraint no_poison check (operation_id <> 'poison')");
    let (mut store, reads) = node(&config);
    let replies = commit(&mut store, vec![record("a"), record("poison"), record("b")]);
    let [a, poison, b] = replies.as_slice() else { panic!("{replies:?}") };
    is_new(a);
    is_new(b);
    assert_eq!(*poison, Err(CommandError::Rejected(Rejection::Internal)));
    assert_eq!(recorded(&config), 2);
    change(&config, "alter table operation drop constraint no_poison");
    is_new(&commit(&mut store, vec![record("poison")])[0]);
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

/// The connection ends before COMMIT reaches the server, and after it did: neither loses, nor counts twice, nor says
/// that what the caller asked for was there before.
#[test]
fn a_cut_at_commit_is_settled_by_the_batch() {
    let config = cluster::database(Buckets::USUAL);
    let proxy = Proxy::before(&config);
    let (mut store, reads) = node(&proxy.config);
    is_new(&commit(&mut store, vec![record("first")])[0]);
    for (no, cut) in [Cut::BeforeCommit, Cut::AfterCommit, Cut::BeforeCommit, Cut::AfterCommit].into_iter().enumerate()
    {
        proxy.arm(cut);
        is_new(&commit(&mut store, vec![record(&format!("cut-{no}"))])[0]);
        assert!(proxy.has_cut(), "the connection was cut");
    }
    assert_eq!(recorded(&config), 5);
    let again = commit(&mut store, vec![record("cut-1")]);
    assert!(matches!(&again[0], Ok(Outcome::Recorded(recorded)) if recorded.duplicate), "{again:?}");
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

/// A network that goes silent ends no connection: the lane itself must stop waiting.
#[test]
fn a_commit_that_is_never_answered_is_settled_all_the_same() {
    let config = cluster::database(Buckets::USUAL);
    let proxy = Proxy::before(&config);
    let (mut store, reads) = node(&proxy.config);
    proxy.arm(Cut::Silent);
    is_new(&commit(&mut store, vec![record("silent")])[0]);
    assert!(proxy.has_cut(), "the connection went silent");
    assert_eq!(recorded(&config), 1);
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

#[test]
fn nodes_together_hold_no_more_than_the_limit() {
    let config = cluster::database(Buckets::USUAL);
    let user_id = UserId::new("ada").unwrap();
    let (mut store, reads) = node(&config);
    let plan = Some(Name::new("premium").unwrap());
    let put = Command::PutUser { user_id: user_id.clone(), plan, email: None, overrides: Overrides::default() };
    commit(&mut store, vec![put])[0].as_ref().unwrap();
    let open = |node: usize, no: usize| Command::Open {
        user_id: user_id.clone(),
        session_id: SessionId::new(&format!("{node}-{no}")).unwrap(),
        feature: Name::new("scan").unwrap(),
        ask: Ask::Estimate(Amounts { cost: 0, ai_runs: 1, api_runs: 0 }),
        hold_seconds: 900,
        metadata: None,
    };
    let opened: usize = std::thread::scope(|scope| {
        let nodes = (0..3).map(|of| {
            let (config, open) = (&config, &open);
            scope.spawn(move || {
                let (mut store, _) = node(config);
                let replies = (0..20).flat_map(|no| commit(&mut store, vec![open(of, 2 * no), open(of, 2 * no + 1)]));
                replies.filter(|reply| matches!(reply.as_ref().unwrap(), Outcome::Opened { .. })).count()
            })
        });
        // All are begun before the first is waited for.
        let nodes: Vec<_> = nodes.collect();
        nodes.into_iter().map(|node| node.join().unwrap()).sum()
    });
    assert_eq!(opened, 30, "premium has 30 AI runs a month");
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

#[test]
fn verify_finds_a_changed_and_a_removed_row() {
    let config = cluster::database(Buckets::USUAL);
    let (mut store, reads) = node(&config);
    commit(&mut store, vec![record("a"), record("b")]);
    let found = |sql: &str| {
        change(&config, sql);
        let findings = block_on(reads.verify()).unwrap();
        findings.into_iter().map(|finding| format!("{}: {}", finding.place, finding.problem)).collect::<Vec<_>>()
    };
    assert_eq!(found("select 1"), Vec::<String>::new());
    let counter = found("update user_month set cost = cost + 1");
    assert!(counter.len() == 1 && counter[0].contains("used"), "{counter:?}");
    let column = found("update user_month set cost = cost - 1; update operation set step_label = 'x'");
    assert!(column.len() == 2 && column.iter().all(|found| found.contains("its sum")), "{column:?}");
    let key = found(
        "update operation set step_label = null; update op_key set no = no + 1 where no = (select min(no) from op_key)",
    );
    assert!(key.iter().any(|found| found.contains("its key")), "{key:?}");
    let key = found("delete from op_key");
    assert_eq!(key.iter().filter(|found| found.contains("its key")).count(), 2, "{key:?}");
    let removed = found("delete from operation where operation_id = 'b'");
    assert!(removed.iter().any(|found| found.contains("how many operations it has")), "{removed:?}");
}

//! What must hold of lanes beside one another, through the writer as a server has it.

use outlay_core::id::{Name, SessionId, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::plan::{Amounts, Limits};
use outlay_core::session::Ask;

use super::super::{Buckets, Settings, open};
use super::cluster::{self, block_on};
use crate::clock::SystemClock;
use crate::store::tests::commands::plain;
use crate::writer::{Ended, Writer};

fn record(user_id: &UserId, id: &str) -> Command {
    plain(user_id, id, "scan", None, SystemClock::shared().wall())
}

/// Runs a test beside the writer of a new node, and closes it.
fn with_writer(config: &tokio_postgres::Config, test: impl AsyncFnOnce(&Writer)) {
    let settings = Settings::new("postgres://localhost", SystemClock::shared()).unwrap();
    let (store, reads) = open(Settings { config: config.clone(), lanes: 4, ..settings }).unwrap();
    let (writer, task) = Writer::new(store);
    let (ended, ()) = block_on(futures_util::future::join(task.run(), async {
        test(&writer).await;
        writer.close().await;
    }));
    assert!(matches!(ended, Ended::Closed), "{ended:?}");
    assert_eq!(block_on(reads.verify()).unwrap(), []);
}

/// Users who take different lanes of four.
fn users() -> [UserId; 2] {
    let lane_of = |user_id: &UserId| Buckets::USUAL.of_user(user_id) % 4;
    let ada = UserId::new("ada").unwrap();
    let mut others = (0..).map(|no| UserId::new(&format!("user-{no}")).unwrap());
    let other = others.find(|other| lane_of(other) != lane_of(&ada)).unwrap();
    [ada, other]
}

#[test]
fn who_waits_for_a_bucket_keeps_no_other_lane_waiting() {
    let config = cluster::database(Buckets::USUAL);
    let [ada, other] = users();
    with_writer(&config, async |writer| {
        writer.submit_all(vec![record(&ada, "first"), record(&other, "first")]).await.unwrap();
        let mut client = cluster::connect(&config).await;
        let transaction = client.transaction().await.unwrap();
        let bucket = Buckets::USUAL.of_user(&ada);
        transaction.execute("select from bucket where bucket = $1 for update", &[&bucket]).await.unwrap();
        let stuck = async {
            writer.submit(record(&ada, "second")).await.unwrap();
            "stuck"
        };
        let passing = async {
            for no in 0..3 {
                writer.submit(record(&other, &no.to_string())).await.unwrap();
            }
            "passed"
        };
        let first = futures_util::future::select(Box::pin(stuck), Box::pin(passing)).await;
        let futures_util::future::Either::Right((_, stuck)) = first else { panic!("a locked bucket was written") };
        transaction.commit().await.unwrap();
        assert_eq!(stuck.await, "stuck");
    });
}

#[test]
fn a_change_of_plans_holds_for_what_its_request_asks_after_it_on_every_lane() {
    let config = cluster::database(Buckets::USUAL);
    with_writer(&config, async |writer| {
        let put = |runs| Command::PutPlan {
            name: Name::new("base").unwrap(),
            limits: Limits { ai_runs: Some(runs), ..Limits::default() },
            tier: None,
        };
        let open = |no: usize| Command::Open {
            user_id: UserId::new(&format!("user-{no}")).unwrap(),
            session_id: SessionId::new("s").unwrap(),
            feature: Name::new("scan").unwrap(),
            ask: Ask::Estimate(Amounts { cost: 0, ai_runs: 1, api_runs: 0 }),
            hold_seconds: 900,
            metadata: None,
        };
        let mut request = vec![put(1)];
        request.extend((0..20).map(open));
        request.push(put(0));
        request.extend((20..40).map(open));
        let replies = writer.submit_all(request).await.unwrap();
        for (place, reply) in replies.into_iter().enumerate() {
            let outcome = reply.unwrap();
            let right = match place {
                0 | 21 => matches!(outcome, Outcome::Plan { .. }),
                1..=20 => matches!(outcome, Outcome::Opened { .. }),
                _ => matches!(outcome, Outcome::Refused(_)),
            };
            assert!(right, "{place}: {outcome:?}");
        }
    });
}

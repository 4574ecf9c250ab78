//! What the writer makes of lanes, said with lanes that decide nothing.

mod idle;

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use outlay_core::id::{SessionNo, UserId};
use outlay_core::ledger::Command;
use outlay_core::month::Timestamp;
use outlay_core::plan::Limits;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::{Ended, WriteError, Writer};
use crate::audit::Event;
use crate::store::tests::commands::plain;
use crate::store::{Batch, CommandError, Committed, Committing, Lane, Lanes, Record, Reply, Store, StoreError};

/// What a lane of the tests was given, by lane.
type Given = Arc<Mutex<Vec<(usize, Vec<String>)>>>;

/// A store whose lanes say of every command which it was, and are let go batch by batch.
#[derive(Clone, Default)]
struct Saying {
    given: Given,
    /// A batch of a lane ends when there is a permit for that lane.
    goes: Arc<[Go; 2]>,
    closed: Arc<Mutex<bool>>,
}

struct Go(Semaphore);

impl Default for Go {
    fn default() -> Self {
        Self(Semaphore::new(0))
    }
}

struct Said {
    no: usize,
    store: Saying,
}

impl Lane for Said {
    fn commit(&mut self, batch: Batch) -> Committing<'_> {
        Box::pin(async move {
            let names: Vec<String> = batch.commands.iter().map(name).collect();
            self.store.given.lock().push((self.no, names.clone()));
            self.store.goes[self.no].0.acquire().await.unwrap().forget();
            assert!(!names.iter().any(|name| name == "panic"), "as it was asked to");
            if names.iter().any(|name| name == "unknown") {
                return Err(StoreError::OutcomeUnknown("as it was asked to".to_owned()));
            }
            Ok(Committed::new(names.into_iter().map(said).collect(), || {}))
        })
    }
}

fn said(name: String) -> Reply {
    Err(CommandError::Store(StoreError::Unavailable(name)))
}

/// The operation, or the plan.
fn name(command: &Command) -> String {
    match command {
        Command::Record(operation) => operation.operation_id.as_str().to_owned(),
        Command::PutPlan { name, .. } => name.as_str().to_owned(),
        _ => unreachable!("no other is given"),
    }
}

impl Store for Saying {
    fn lanes(&self) -> Option<Lanes> {
        let lane = |no| -> Box<dyn Lane> { Box::new(Said { no, store: self.clone() }) };
        let of = |command: &Command| match command {
            Command::Record(operation) => usize::from(operation.user_id.as_str() == "bö"),
            _ => 0,
        };
        let runtime = tokio::runtime::Handle::current();
        Some(Lanes { all: vec![lane(0), lane(1)], of: Arc::new(of), runtime })
    }

    async fn commit(&mut self, _: Batch) -> Result<Committed, StoreError> {
        unreachable!("every command has a lane")
    }

    async fn put(&mut self, _: Record, _: Option<Event>) -> Result<(), StoreError> {
        Ok(())
    }

    async fn idle(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn trim(&mut self, _: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn due(&mut self, _: usize) -> Result<Vec<SessionNo>, StoreError> {
        Ok(Vec::new())
    }

    fn backup(&mut self, _: std::path::PathBuf, _: tokio::sync::oneshot::Sender<Result<(), StoreError>>) {}

    async fn close(self) -> Result<(), StoreError> {
        *self.closed.lock() = true;
        Ok(())
    }
}

impl Saying {
    /// Lets a lane end so many batches.
    fn go(&self, lane: usize, batches: usize) {
        self.goes[lane].0.add_permits(batches);
    }

    fn given(&self) -> Vec<(usize, Vec<String>)> {
        self.given.lock().clone()
    }
}

fn of(user_id: &str, id: &str) -> Command {
    plain(&UserId::new(user_id).unwrap(), id, "scan", None, Timestamp::parse("2026-11-05T12:00:00Z").unwrap())
}

fn plan(name: &str) -> Command {
    Command::PutPlan { name: outlay_core::id::Name::new(name).unwrap(), limits: Limits::default(), tier: None }
}

/// What the lanes said of a request's commands, in its order.
fn names(replies: Result<Vec<Reply>, WriteError>) -> Vec<String> {
    let name = |reply| match reply {
        Err(CommandError::Store(StoreError::Unavailable(name))) => name,
        other => panic!("{other:?}"),
    };
    replies.unwrap().into_iter().map(name).collect()
}

/// Lets everything run that can.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

/// Runs a test beside the writer of a new store.
fn with_writer(test: impl AsyncFnOnce(&Saying, &Writer)) -> Ended {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let store = Saying::default();
        let (writer, task) = Writer::new(store.clone());
        let (ended, ()) = futures_util::future::join(task.run(), async {
            test(&store, &writer).await;
            drop(writer);
        })
        .await;
        ended
    })
}

#[test]
fn a_lane_that_stands_still_keeps_no_other_waiting() {
    let ended = with_writer(async |store, writer| {
        let mut stuck = std::pin::pin!(writer.submit(of("ada", "a")));
        let mut context = Context::from_waker(Waker::noop());
        assert!(stuck.as_mut().poll(&mut context).is_pending());
        store.go(1, 2);
        assert_eq!(names(writer.submit_all(vec![of("bö", "b1"), of("bö", "b2")]).await), ["b1", "b2"]);
        // What is no command passes too.
        writer.put(Record::AuditCopied(1)).await.unwrap();
        assert!(stuck.as_mut().poll(&mut context).is_pending());
        store.go(0, 1);
        assert!(matches!(stuck.await, Err(WriteError::Store(StoreError::Unavailable(name))) if name == "a"));
        assert_eq!(writer.counts().queued, 0);
    });
    assert!(matches!(ended, Ended::Closed), "{ended:?}");
}

#[test]
fn a_request_over_lanes_is_answered_in_its_order_and_changes_of_plans_are_waited_for() {
    with_writer(async |store, writer| {
        store.go(0, 10);
        store.go(1, 10);
        let request = vec![of("bö", "1"), of("ada", "2"), of("bö", "3"), plan("p"), of("bö", "5"), of("ada", "6")];
        assert_eq!(names(writer.submit_all(request).await), ["1", "2", "3", "p", "5", "6"]);
        let given = store.given();
        let at = |name: &str| given.iter().position(|(_, names)| names.iter().any(|of| of == name)).unwrap();
        assert!(["1", "2", "3"].iter().all(|name| at(name) < at("p")), "{given:?}");
        assert!(["5", "6"].iter().all(|name| at(name) > at("p")), "{given:?}");
        assert_eq!(at("1"), at("3"), "{given:?}");
    });
}

#[test]
fn a_lane_batches_while_it_is_busy_and_no_more_than_its_most() {
    with_writer(async |store, writer| {
        let mut requests: Vec<_> = (0..4).map(|no| Box::pin(writer.submit(of("ada", &no.to_string())))).collect();
        let mut context = Context::from_waker(Waker::noop());
        assert!(requests[0].as_mut().poll(&mut context).is_pending());
        settle().await;
        for request in &mut requests[1..] {
            assert!(request.as_mut().poll(&mut context).is_pending());
        }
        store.go(0, 2);
        for request in requests {
            assert!(request.await.is_err());
        }
        let sizes = |given: Vec<(usize, Vec<String>)>| given.iter().map(|(_, names)| names.len()).collect::<Vec<_>>();
        assert_eq!(sizes(store.given()), [1, 3]);

        store.go(0, 20);
        store.given.lock().clear();
        let many: Vec<String> = (0..1_100).map(|no| no.to_string()).collect();
        assert_eq!(names(writer.submit_all(many.iter().map(|id| of("ada", id)).collect()).await), many);
        assert_eq!(sizes(store.given()), [512, 512, 76]);

        store.given.lock().clear();
        let heavy = |id: &String| {
            let mut command = of("ada", id);
            if let Command::Record(operation) = &mut command {
                operation.metadata = Some("x".repeat(100_000).into());
            }
            command
        };
        assert_eq!(names(writer.submit_all(many[..7].iter().map(heavy).collect()).await), many[..7]);
        assert_eq!(sizes(store.given()), [3, 3, 1]);
    });
}

#[test]
fn after_an_unknown_outcome_or_a_panic_of_a_lane_nothing_is_acknowledged() {
    for end in ["unknown", "panic"] {
        let ended = with_writer(async |store, writer| {
            store.go(0, 1);
            let answer = writer.submit(of("ada", end)).await;
            assert!(matches!(answer, Err(WriteError::Store(StoreError::OutcomeUnknown(_)))), "{answer:?}");
            settle().await;
            assert!(writer.is_poisoned());
            let answer = writer.submit(of("bö", "b")).await;
            assert!(matches!(answer, Err(WriteError::Store(StoreError::Unavailable(_)))), "{answer:?}");
            assert!(!*store.closed.lock());
        });
        assert!(matches!(ended, Ended::Poisoned(StoreError::OutcomeUnknown(_))), "{ended:?}");
    }
}

#[test]
fn closing_ends_after_what_every_lane_was_given() {
    let ended = with_writer(async |store, writer| {
        let mut waiting = [Box::pin(writer.submit(of("ada", "a"))), Box::pin(writer.submit(of("bö", "b")))];
        let mut context = Context::from_waker(Waker::noop());
        for request in &mut waiting {
            assert!(matches!(request.as_mut().poll(&mut context), Poll::Pending));
        }
        let closing = async {
            writer.close().await;
            assert!(*store.closed.lock());
        };
        let opening = async {
            settle().await;
            assert!(!*store.closed.lock(), "lanes have yet to answer");
            store.go(0, 1);
            store.go(1, 1);
        };
        futures_util::future::join(closing, opening).await;
        for request in waiting {
            assert!(matches!(request.await, Err(WriteError::Store(StoreError::Unavailable(_)))));
        }
    });
    assert!(matches!(ended, Ended::Closed), "{ended:?}");
}

/// Whoever leaves while a change of plans is decided takes what was to come after it along, and room with it.
#[test]
fn who_leaves_gives_back_the_room_of_what_was_not_sent() {
    with_writer(async |store, writer| {
        {
            let mut request = Box::pin(writer.submit_all(vec![plan("p"), of("ada", "a"), of("bö", "b")]));
            assert!(request.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
            assert_eq!(writer.counts().queued, 3);
        }
        store.go(0, 1);
        settle().await;
        assert_eq!(writer.counts().queued, 0);
        assert_eq!(store.given(), [(0, vec!["p".to_owned()])]);
    });
}

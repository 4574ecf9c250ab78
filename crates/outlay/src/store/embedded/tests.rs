//! The writer against a real file: what is committed is there again, and nothing is twice.

use std::sync::Arc;

use outlay_core::id::{Name, OperationId, SessionId, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use outlay_core::operation::{FingerprintBuilder, NewOperation, UsageType};
use outlay_core::plan::Amounts;
use outlay_core::session::{Ask, Finish, SessionStatus};

use super::{EmbeddedStore, Settings, open};
use crate::clock::SystemClock;
use crate::store::{Reads, Reply};

fn store(folder: &std::path::Path) -> (EmbeddedStore, Arc<dyn Reads>) {
    open(Settings::new(folder.to_owned(), SystemClock::shared())).unwrap()
}

fn operation(user: &str, id: &str, cost: &str, session: Option<&str>) -> Command {
    let mut operation = NewOperation {
        operation_id: OperationId::new(id).unwrap(),
        user_id: UserId::new(user).unwrap(),
        usage_type: UsageType::Ai,
        feature: Name::new("business_card_scan").unwrap(),
        provider: Name::new("gemini").unwrap(),
        model: None,
        cost: Usd::parse(cost).unwrap(),
        tokens: None,
        units: None,
        is_billable_run: true,
        session_id: session.map(|id| SessionId::new(id).unwrap()),
        step_label: None,
        step_number: None,
        finish_session: session.map(|_| Finish::Completed),
        duration_ms: None,
        timestamp: Some(Timestamp::parse("2025-10-13T15:52:56Z").unwrap()),
        metadata: None,
        fingerprint: outlay_core::operation::Fingerprint([0; 16]),
    };
    operation.fingerprint = FingerprintBuilder::of(&operation, true, true, None);
    Command::Record(Box::new(operation))
}

fn recorded(reply: &Reply) -> (bool, String) {
    match reply {
        Ok(Outcome::Recorded(recorded)) => {
            (recorded.duplicate, Usd::from_picos(recorded.budget.meters.cost.used).to_string())
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_committed_is_there_again_once() {
    let folder = tempfile::tempdir().unwrap();
    let user = UserId::new("bgtfrdsZ").unwrap();
    {
        let (mut store, reads) = store(folder.path());
        let open = Command::Open {
            user_id: user.clone(),
            session_id: SessionId::new("s1").unwrap(),
            feature: Name::new("scan").unwrap(),
            ask: Ask::Estimate(Amounts { cost: 0, ai_runs: 0, api_runs: 0 }),
            hold_seconds: 900,
            metadata: None,
        };
        let replies = store.commit_now(&[open, operation("bgtfrdsZ", "o1", "0.5", Some("s1"))]).unwrap();
        assert_eq!(recorded(&replies[1]), (false, "0.5".to_owned()));
        let replies = store.commit_now(&[operation("bgtfrdsZ", "o1", "0.5", Some("s1"))]).unwrap();
        assert_eq!(recorded(&replies[0]), (true, "0.5".to_owned()));
        assert_eq!(reads.status().operations, 1);
        store.close_now().unwrap();
    }
    let (mut store, _) = store(folder.path());
    let replies = store
        .commit_now(&[operation("bgtfrdsZ", "o1", "0.5", Some("s1")), operation("bgtfrdsZ", "o2", "0.25", Some("s1"))])
        .unwrap();
    assert_eq!(recorded(&replies[0]), (true, "0.5".to_owned()));
    assert_eq!(recorded(&replies[1]), (false, "0.75".to_owned()));
    let session = super::load::session_by_id(
        &store.connection,
        &store.shared.sessions.read(),
        outlay_core::id::UserNo(1),
        &SessionId::new("s1").unwrap(),
        &store.shared.names,
    );
    let session = session.unwrap().unwrap();
    assert_eq!((session.status, session.steps), (SessionStatus::Completed, 2));
    assert_eq!(session.total_cost.to_string(), "0.75");
}

#[test]
fn a_second_process_is_refused_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    let (_store, _) = store(folder.path());
    let refused = open(Settings::new(folder.path().to_owned(), SystemClock::shared())).map(|_| ()).unwrap_err();
    assert!(refused.to_string().contains("another Outlay process"), "{refused}");
}

//! What is left of erased people: numbers, sums and times, and nothing that names them.

use std::sync::Arc;

use outlay_core::id::{Label, Name, OperationId, SessionId, SessionNo, UserId};
use outlay_core::ledger::{Command, Outcome};
use outlay_core::operation::Tokens;
use outlay_core::plan::{Amounts, Overrides};
use outlay_core::session::{Ask, Finish};

use super::{SetClock, commands, embedded};
use crate::clock::{Clock, SharedClock};
use crate::store::{PageOf, Reads, Reply, SessionsQuery, Store};

/// Stands in all that names somebody who is erased, and nowhere else.
pub(crate) const MARK: &str = "erased-";

fn label(text: &str) -> Label {
    Label::new(&format!("{MARK}{text}")).unwrap()
}

fn metadata() -> Arc<str> {
    Arc::from(format!(r#"{{"k": "{MARK}metadata"}}"#))
}

fn session(no: usize) -> SessionId {
    SessionId::new(&format!("{MARK}session-{no}")).unwrap()
}

/// An operation with everything that may name somebody.
fn record(user_id: &UserId, no: usize, clock: &SharedClock) -> Command {
    let at = clock.wall().plus_seconds(-86_400 * i64::try_from(no % 40).unwrap());
    let Command::Record(mut operation) = commands::plain(user_id, &format!("{MARK}{no}"), "scan", None, at) else {
        panic!("it records")
    };
    operation.session_id = no.is_multiple_of(2).then(|| session(no % 6));
    operation.step_label = Some(label("step"));
    operation.metadata = Some(metadata());
    operation.tokens = Some(Tokens { input: 3, output: 4, ..Tokens::default() });
    Command::Record(operation)
}

/// All that somebody may leave: operations of two months, taken back too, sessions that ended and such that did not, denials.
fn life(user_id: &UserId, clock: &SharedClock) -> Vec<Command> {
    let open = |no: usize, cost: i64| Command::Open {
        user_id: user_id.clone(),
        session_id: session(no),
        feature: Name::new("scan").unwrap(),
        ask: Ask::Estimate(Amounts { cost, ai_runs: 0, api_runs: 0 }),
        hold_seconds: 900,
        metadata: Some(metadata()),
    };
    let plan = Some(Name::new("enterprise").unwrap());
    let email = Some(Arc::from(format!("{MARK}ada@example.org")));
    let put = Command::PutUser { user_id: user_id.clone(), plan, email, overrides: Overrides::default() };
    let mut all = vec![put, open(7, 5), open(8, 5), open(9, i64::MAX / 4)];
    all.extend((0..13).map(|no| record(user_id, no, clock)));
    all.push(Command::Finish {
        user_id: user_id.clone(),
        session_id: session(8),
        finish: Finish::Failed,
        error: Some(label("error")),
    });
    for no in 0..5_usize {
        all.push(Command::Deny {
            user_id: user_id.clone(),
            feature: Name::new("scan").unwrap(),
            estimate: Amounts::ZERO,
            reason: label("reason"),
            session_id: no.is_multiple_of(2).then(|| session(no)),
            metadata: Some(metadata()),
        });
    }
    all.push(Command::Reverse {
        user_id: user_id.clone(),
        original: OperationId::new(&format!("{MARK}3")).unwrap(),
        operation_id: OperationId::new(&format!("{MARK}3-back")).unwrap(),
        reason: Some(label("back")),
    });
    all
}

/// People of a store are erased and wiped; `is_left` looks through all that the closed store keeps for [`MARK`].
pub(crate) fn nothing_is_left<S: Store>(
    mut open: impl FnMut(SharedClock) -> (S, Arc<dyn Reads>),
    is_left: impl Fn() -> bool,
) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let clock = SetClock::at("2025-10-29T12:00:00Z");
    let shared = Arc::clone(&clock) as SharedClock;
    let (mut store, reads) = open(Arc::clone(&shared));
    let mut commit = |store: &mut S, commands: Vec<Command>| -> Vec<Reply> {
        runtime.block_on(store.commit(commands.into())).unwrap().publish().unwrap()
    };
    let people = ["ada", "bob", "z"].map(|id| UserId::new(&format!("{MARK}{id}")).unwrap());
    let stays = UserId::new("stays").unwrap();
    for who in people.iter().chain([&stays]) {
        let replies = commit(&mut store, life(who, &shared));
        assert!(replies.iter().all(Result::is_ok), "{replies:?}");
    }
    // Of whoever stays, everything does.
    let month = clock.wall().month();
    let of = |who: &UserId| runtime.block_on(reads.view(who, month)).unwrap();
    let stayed = of(&stays);
    let numbers = people.each_ref().map(|who| of(who).user.as_ref().unwrap().no);
    clock.pass(10);
    let erase = |user_id: &UserId| Command::Erase { user_id: user_id.clone() };
    commit(&mut store, people.iter().map(erase).collect());
    // The same id is somebody new, before the old one is wiped and after: to them the same operation is a new one.
    let again = |store: &mut S, commit: &mut dyn FnMut(&mut S, Vec<Command>) -> Vec<Reply>| {
        let replies = commit(store, vec![record(&people[0], 4, &shared)]);
        assert!(matches!(&replies[0], Ok(Outcome::Recorded(recorded)) if !recorded.duplicate), "{replies:?}");
        let no = of(&people[0]).user.as_ref().unwrap().no;
        assert!(!numbers.contains(&no), "{no:?} is new");
        commit(store, vec![erase(&people[0])]);
    };
    again(&mut store, &mut commit);
    while runtime.block_on(store.idle()).unwrap() {}
    again(&mut store, &mut commit);
    while runtime.block_on(store.idle()).unwrap() {}
    assert_eq!(of(&stays), stayed);
    assert_eq!(runtime.block_on(reads.verify()).unwrap(), []);
    // Only those that stay hold anything, and are waited for.
    clock.pass(1_000);
    let due = runtime.block_on(store.due(100)).unwrap();
    let query = SessionsQuery {
        user_id: Some(stays.clone()),
        status: None,
        feature: None,
        from: None,
        to: None,
        page: PageOf { before: None, limit: 100 },
    };
    let of_stays = runtime.block_on(reads.sessions(query)).unwrap();
    let is_of_stays = |no: &SessionNo| of_stays.items.iter().any(|of| of.row.no == *no);
    assert!(!due.is_empty() && due.iter().all(is_of_stays), "{due:?}");
    commit(&mut store, vec![erase(&stays)]);
    while runtime.block_on(store.idle()).unwrap() {}
    assert_eq!(runtime.block_on(reads.verify()).unwrap(), []);
    drop(reads);
    runtime.block_on(store.close()).unwrap();
    assert!(!is_left());
}

#[test]
fn of_erased_people_the_embedded_store_keeps_nothing_that_names_them() {
    let folder = tempfile::tempdir().unwrap();
    nothing_is_left(
        |clock| embedded::open(embedded::Settings::new(folder.path().to_owned(), clock)).unwrap(),
        || {
            let bytes = std::fs::read(embedded::file_path(folder.path())).unwrap();
            bytes.windows(MARK.len()).any(|window| window == MARK.as_bytes())
        },
    );
}

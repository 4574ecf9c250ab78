//! The store alone: batches of commands committed in this process, without a queue, HTTP or JSON.

use std::path::Path;
use std::time::{Duration, Instant};

use outlay::clock::SystemClock;
use outlay::store::embedded::{EmbeddedStore, Settings, open};
use outlay::store::{Reply, Store};
use outlay_core::id::{Name, OperationId, UserId};
use outlay_core::ledger::Command;
use outlay_core::money::Usd;
use outlay_core::operation::{Fingerprint, FingerprintBuilder, NewOperation, UsageType};
use outlay_core::plan::Limits;
use tokio::runtime::Runtime;

use crate::load::histogram;
use crate::report::{Report, Row};
use crate::requests::{Source, Values};
use crate::{Arguments, batch_sizes};

pub(crate) fn measure(folder: &Path, arguments: &Arguments, report: &mut Report) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (mut store, _reads) = open(Settings::new(folder.to_owned(), SystemClock::shared())).unwrap();
    let mut source = Source::new(arguments.seed, arguments.users);
    let base = Command::PutPlan { name: Name::new("base").unwrap(), limits: Limits::default(), tier: None };
    commit(&runtime, &mut store, vec![base]);
    for batch in batch_sizes(&arguments.clients).into_iter().rev() {
        report.add(batches(&runtime, &mut store, &mut source, batch, arguments.measured()));
    }
    runtime.block_on(store.close()).unwrap();
}

/// Only the commits are timed: making the commands is the edge's work.
fn batches(runtime: &Runtime, store: &mut EmbeddedStore, source: &mut Source, batch: usize, measured: Duration) -> Row {
    let (mut latency, mut batches, mut committing) = (histogram(), 0, Duration::ZERO);
    while committing < measured {
        let commands = (0..batch).map(|_| record(source.values())).collect();
        let one = Instant::now();
        commit(runtime, store, commands);
        let took = one.elapsed();
        committing += took;
        latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        batches += 1;
    }
    Row::in_process("store alone", batch, batches, committing, &latency)
}

fn commit(runtime: &Runtime, store: &mut EmbeddedStore, commands: Vec<Command>) {
    let replies = runtime.block_on(store.commit(commands.into())).unwrap().publish().unwrap();
    let refused = replies.iter().find_map(|reply: &Reply| reply.as_ref().err());
    assert!(refused.is_none(), "a command was refused: {refused:?}");
}

pub(crate) fn record(values: Values) -> Command {
    let mut operation = NewOperation {
        operation_id: OperationId::new(&format!("usage_{:016x}", values.id)).unwrap(),
        user_id: UserId::new(&format!("user_{:06}", values.user)).unwrap(),
        usage_type: UsageType::Ai,
        feature: Name::new(&format!("contact_tagging_{:02}", values.feature)).unwrap(),
        provider: Name::new("gemini").unwrap(),
        model: Some(Name::new("gemini-2.5-flash-lite").unwrap()),
        cost: Usd::from_picos(i64::from(values.cost) * 10_000),
        tokens: None,
        units: None,
        is_billable_run: true,
        session_id: None,
        step_label: None,
        step_number: None,
        finish_session: None,
        duration_ms: None,
        timestamp: None,
        metadata: None,
        fingerprint: Fingerprint([0; 16]),
    };
    operation.fingerprint = FingerprintBuilder::of(&operation, true, true, None);
    Command::Record(Box::new(operation))
}

//! Raises the alerts that a changed plan makes due, user by user.
//!
//! A store marks a plan in the transaction that changes it, and the mark is taken away when all its users were looked at: so
//! what a crash interrupted goes on at the next start, and a plan that was changed in the configuration is met there too.

use std::sync::Arc;
use std::time::Duration;

use outlay_core::id::UserNo;
use outlay_core::ledger::Command;
use outlay_core::plan::Plan;

use crate::store::{CommandError, Reads, Record, StoreError};
use crate::writer::{WriteError, Writer};

/// Users whose alerts are looked at in one go.
const USERS: usize = 1_000;
/// How often what could not be queued is tried again, a second apart.
const TRIES: u32 = 60;

/// Looks at the users of every marked plan. What fails is logged; its mark stays.
pub async fn marked_plans(writer: Writer, reads: Arc<dyn Reads>) {
    let plans = match reads.plans_to_recheck().await {
        Ok(plans) => plans,
        Err(error) => {
            tracing::error!("failed to read which plans changed: {error}");
            return;
        }
    };
    for plan in plans {
        if let Err(error) = users_of(&writer, &*reads, &plan).await {
            tracing::error!("failed to raise the alerts of the changed plan {}: {error}", plan.name);
        }
    }
}

async fn users_of(writer: &Writer, reads: &dyn Reads, plan: &Plan) -> Result<(), WriteError> {
    let mut after = UserNo(0);
    loop {
        let users = reads.users_on_plan(plan.clone(), after, USERS).await.map_err(WriteError::Store)?;
        let Some(last) = users.last() else { break };
        after = *last;
        recheck(writer, &users).await?;
    }
    writer.put(Record::PlanRechecked(plan.clone())).await
}

async fn recheck(writer: &Writer, users: &[UserNo]) -> Result<(), WriteError> {
    let mut tries = 0;
    loop {
        let commands = users.iter().map(|user_no| Command::Recheck { user_no: *user_no }).collect();
        let taken = writer.submit_all(commands).await.and_then(|replies| {
            let failed = replies.into_iter().find_map(|reply| match reply {
                Err(CommandError::Store(error)) => Some(error),
                _ => None,
            });
            failed.map_or(Ok(()), |error: StoreError| Err(error.into()))
        });
        match taken {
            Ok(()) => return Ok(()),
            Err(error) if tries == TRIES || writer.is_poisoned() => return Err(error),
            Err(_) => {
                tries += 1;
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}

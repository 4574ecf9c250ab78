//! Makes the plans and webhooks of a database those of the configuration, and says so in the audit log. Nodes of one
//! configuration may start together: the first bucket's lock, under which both are changed while nodes run, makes them take
//! turns, and the later ones find nothing to change.

use outlay_core::month::Timestamp;
use outlay_core::plan::Plans;
use tokio_postgres::{Client, Transaction};

use super::codec::read_all;
use super::errors::unavailable;
use super::outbox::{DELETE_WEBHOOK, END_PENDING, PUT_WEBHOOK, WEBHOOKS, read_webhook, write_delivery};
use super::rows::{Rows, nanos, stored};
use super::shared::{Locked, Shared, read_plans};
use super::statements::{LOCK_WAITING, MADE, NEXT_VERSION, PLANS};
use crate::audit::{Action, Actor, Event, of_configured_plans};
use crate::store::StoreError;
use crate::store::outbox::{ConfiguredWebhook, DeliveryState, Receiver, Receivers, Telling, WebhookRecord};
use crate::store::packed::changed_plans;
use crate::store::packed::delivery::{delivery_state_no, receiver_no};

/// The bucket of what is nobody's.
const FIRST: i32 = 0;

/// Changes what the configuration names; what it does not is left as it is.
pub(super) async fn configure(client: &mut Client, shared: &Shared) -> Result<(), StoreError> {
    let settings = &shared.settings;
    if settings.plans.is_none() && settings.webhooks.is_none() {
        return Ok(());
    }
    let transaction = client.transaction().await.map_err(unavailable)?;
    let locked = transaction.query_one(LOCK_WAITING, &[&vec![FIRST]]).await.map_err(unavailable)?;
    let locked = Locked::read(&locked, shared.buckets())?;
    let at = shared.wall(locked.clock_micros)?;
    let mut done = Vec::new();
    if let Some(webhooks) = &settings.webhooks {
        done.extend(configure_webhooks(&transaction, webhooks, at).await?);
    }
    if let Some(plans) = &settings.plans {
        done.extend(configure_plans(&transaction, shared, plans, &locked, at).await?);
    }
    if !done.is_empty() {
        transaction.execute(NEXT_VERSION, &[]).await.map_err(unavailable)?;
        super::audit::write_in(&transaction, shared.buckets(), at, &done).await?;
    }
    transaction.commit().await.map_err(unavailable)
}

async fn configure_webhooks(
    transaction: &Transaction<'_>,
    configured: &[ConfiguredWebhook],
    at: Timestamp,
) -> Result<Vec<Event>, StoreError> {
    let did = |action: Action, id: &str| Actor::here("configuration").did(action).on(id);
    let known = read_all(&transaction.query(WEBHOOKS, &[]).await.map_err(unavailable)?, read_webhook)?;
    let mut done = Vec::new();
    for webhook in known.iter().filter(|webhook| webhook.configured) {
        if !configured.iter().any(|configured| configured.id == webhook.id) {
            delete_webhook(transaction, webhook, at).await?;
            done.push(did(Action::WebhookDeleted, &webhook.id).before(webhook.events.facts()));
        }
    }
    for ConfiguredWebhook { id, url, events, description } in configured {
        let bits = i64::from(events.0);
        match known.iter().find(|webhook| webhook.configured && webhook.id == *id) {
            Some(webhook) if webhook.events == *events && webhook.description == *description => {}
            Some(webhook) => {
                let sql = "update webhook set events = $2::int8, description = $3 where no = $1::int8";
                let changed = transaction.execute(sql, &[&stored(webhook.no), &bits, description]).await;
                changed.map_err(unavailable)?;
                done.push(did(Action::WebhookChanged, id).before(webhook.events.facts()).after(events.facts()));
            }
            None => {
                let added = transaction.execute(PUT_WEBHOOK, &[id, url, &bits, description, &true, &nanos(at)]).await;
                added.map_err(unavailable)?;
                done.push(did(Action::WebhookCreated, id).after(events.facts()));
            }
        }
    }
    Ok(done)
}

async fn delete_webhook(
    transaction: &Transaction<'_>,
    webhook: &WebhookRecord,
    at: Timestamp,
) -> Result<(), StoreError> {
    let (no, at) = (stored(webhook.no), nanos(at));
    transaction.execute(DELETE_WEBHOOK, &[&no, &at]).await.map_err(unavailable)?;
    let receiver = receiver_no(Receiver::Webhook(webhook.no));
    let state = delivery_state_no(DeliveryState::NoWebhook);
    transaction.execute(END_PENDING, &[&receiver, &state, &at]).await.map_err(unavailable)?;
    let names = vec![webhook.secret(), webhook.secret_before()];
    transaction.execute("delete from secret where name = any($1)", &[&names]).await.map_err(unavailable)?;
    Ok(())
}

async fn configure_plans(
    transaction: &Transaction<'_>,
    shared: &Shared,
    plans: &Plans,
    locked: &Locked,
    at: Timestamp,
) -> Result<Option<Event>, StoreError> {
    let found = transaction.query(PLANS, &[]).await.map_err(unavailable)?;
    let (_, before) = read_plans(&found, &shared.settings)?;
    let Some(event) = of_configured_plans(&before, plans) else { return Ok(None) };
    let marked = "select name from plan where recheck";
    let marked = transaction.query(marked, &[]).await.map_err(unavailable)?;
    let marked: Vec<String> = marked.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(unavailable)?;
    let changed = changed_plans(&before, plans);
    transaction.execute("delete from plan", &[]).await.map_err(unavailable)?;
    for plan in plans.all() {
        let (name, limits) = (plan.name.as_str(), &plan.limits);
        let recheck = changed.contains(&plan.name) || marked.iter().any(|marked| marked == name);
        let sql = "insert into plan (name, tier, cost, ai_runs, api_runs, recheck) values ($1, $2, $3, $4, $5, $6)";
        let tier = i64::from(plan.tier);
        transaction
            .execute(sql, &[&name, &tier, &limits.cost, &limits.ai_runs, &limits.api_runs, &recheck])
            .await
            .map_err(unavailable)?;
    }
    let sql = "update meta set default_plan = $1";
    transaction.execute(sql, &[&plans.default_plan().as_str()]).await.map_err(unavailable)?;
    tell(transaction, shared, (&before, plans), locked, at).await?;
    Ok(Some(event))
}

/// Tells of changed limits. In a store without users nobody's limits are others.
async fn tell(
    transaction: &Transaction<'_>,
    shared: &Shared,
    (before, after): (&Plans, &Plans),
    locked: &Locked,
    at: Timestamp,
) -> Result<(), StoreError> {
    let has_users = transaction.query_one("select exists(select from users)", &[]).await.map_err(unavailable)?;
    if !has_users.try_get::<_, bool>(0).map_err(unavailable)? {
        return Ok(());
    }
    let webhooks = read_all(&transaction.query(WEBHOOKS, &[]).await.map_err(unavailable)?, read_webhook)?;
    let mut telling = Telling::new(locked.next_delivery, shared.buckets().step());
    telling.note_configured_plans(&Receivers::new(&webhooks, shared.settings.mail), before, after);
    if telling.noted().is_empty() {
        return Ok(());
    }
    let mut rows = Rows::default();
    telling.noted().iter().for_each(|new| write_delivery(&mut rows, FIRST, new, at));
    transaction.execute(&MADE.insert_deliveries, &rows.parameters()).await.map_err(unavailable)?;
    let sql = "update bucket set next_delivery = $2::int8 where bucket = $1::int4";
    transaction.execute(sql, &[&FIRST, &stored(telling.next())]).await.map_err(unavailable)?;
    Ok(())
}

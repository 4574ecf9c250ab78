//! A node's store: what the PostgreSQL store does, over the model of the database.
//!
//! What is done about a transaction that failed, or whose outcome is not known, are the store's own rules
//! ([`tries`]); what is decided, and by which rows, is the core's. Here, and in
//! [`super::batches`] and [`super::records`], is only what is between the two: statements.

use std::collections::BTreeMap;
use std::path::PathBuf;

use outlay::audit::{Actor, Event};
use outlay::store::postgres::Buckets;
use outlay::store::postgres::tries::{self, Answer, Cure, Failed, GaveUp, Sought, Tries};
use outlay::store::{Batch, CommandError, Committed, Record, Reply, Store, StoreError};
use outlay_core::id::SessionNo;
use outlay_core::ledger::Command;
use outlay_core::month::Timestamp;
use outlay_core::plan::Plans;
use outlay_model::generate::Random;
use tokio::sync::oneshot;

use super::batches::Item;
use super::database::{Database, Refusal};
use super::link::{Link, refused, round_trip};
use super::mistake::Mistake;
use super::records::Writing;

/// How often a node looks for a batch before its callers are told that it does not know.
const LOOKS_MAX: u32 = 12;
/// Above these bits, the number of a session that goes over the queue says its bucket.
pub(super) const BUCKET_BITS: u32 = 32;

/// The number of a session as it goes over the queue: with its bucket, whose numbers are its own.
pub(super) fn over_the_queue(bucket: usize, no: SessionNo) -> SessionNo {
    SessionNo((bucket as u64) << BUCKET_BITS | no.0)
}

/// The writing half of a node.
#[derive(Debug)]
pub(super) struct ModelStore {
    pub(super) database: Database,
    pub(super) buckets: Buckets,
    pub(super) random: Random,
    link: Option<Link>,
    /// The plans that it knows, and of which version.
    pub(super) plans: Option<(i64, Plans)>,
    /// The largest time that it decided at.
    pub(super) decided_at: Timestamp,
    pub(super) mistake: Option<Mistake>,
}

impl ModelStore {
    pub(super) fn new(database: Database, buckets: Buckets, random: Random, mistake: Option<Mistake>) -> Self {
        let decided_at = Timestamp::EPOCH;
        Self { database, buckets, random, link: None, plans: None, decided_at, mistake }
    }

    pub(super) fn saw(&self, event: &'static str) {
        self.database.state().saw(event);
    }

    /// The connection that is kept, or a new one.
    pub(super) async fn connected(&mut self) -> Result<Link, Refusal> {
        match self.link.take() {
            Some(link) => Ok(link),
            None => Link::open(&self.database, self.mistake).await,
        }
    }

    /// Keeps the connection, unless it is not known to be good.
    pub(super) async fn put_back<D>(&mut self, link: Link, result: &Result<D, Failed<D>>) {
        let good = match result {
            Ok(_) | Err(Failed::WaitCut) => true,
            Err(Failed::Unknown(..) | Failed::Not(Cure::Connect, _)) => false,
            Err(_) => link.roll_back().await.is_ok(),
        };
        if good {
            link.take_wait_cut();
            self.link = Some(link);
        }
    }

    /// What the events of a transaction are marked with.
    pub(super) fn mark(&mut self) -> [u8; 16] {
        let mut batch = [0; 16];
        batch[..8].copy_from_slice(&self.random.draw().to_le_bytes());
        batch[8] = 1;
        batch
    }

    pub(super) async fn pause(&self) {
        self.saw("a transaction was run again");
        round_trip().await;
    }

    pub(super) fn wait_was_cut(&self) -> StoreError {
        self.saw("a batch was not acknowledged since its wait was cut short");
        StoreError::OutcomeUnknown("a wait for a standby was cut short".to_owned())
    }

    pub(super) async fn settle(&mut self, sought: &Sought) -> Result<bool, StoreError> {
        match self.mistake {
            Some(Mistake::AcknowledgesTheUnknown) => return Ok(true),
            Some(Mistake::RunsTheUnknownAgain) => return Ok(false),
            Some(Mistake::RefusesTheUnknown) => return Err(StoreError::Unavailable("no answer to COMMIT".to_owned())),
            _ => {}
        }
        for _ in 0..LOOKS_MAX {
            if let Ok(link) = Link::open(&self.database, self.mistake).await {
                if let Ok(found) = tries::look(&link, sought).await {
                    self.saw(if found { "an unknown batch was found" } else { "an unknown batch was not found" });
                    self.link = Some(link);
                    return Ok(found);
                }
                self.saw("an unknown batch was looked for again");
            }
            round_trip().await;
        }
        Err(StoreError::OutcomeUnknown("the database could not be asked".to_owned()))
    }
}

pub(super) fn failed<D>(refusal: Refusal) -> Failed<D> {
    match refusal {
        Refusal::Said(code) => match refused(code) {
            Answer::Refused(cure, said) => Failed::Not(cure, said),
            _ => Failed::Not(Cure::None, code.to_owned()),
        },
        Refusal::Lost => Failed::Not(Cure::Connect, "the connection is lost".to_owned()),
    }
}

impl Store for ModelStore {
    async fn commit(&mut self, batch: Batch) -> Result<Committed, StoreError> {
        let by: BTreeMap<usize, Actor> = batch.by.into_iter().collect();
        let count = batch.commands.len();
        let mut replies = Vec::new();
        let items = batch.commands.into_iter().enumerate();
        let items: Vec<Item> = items.map(|(place, command)| self.item(place, command, by.get(&place))).collect();
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            // A change of plans goes by itself.
            let changes = |item: &Item| matches!(item.command, Command::PutPlan { .. });
            let mut part: Vec<Item> = items.next().into_iter().collect();
            while !part.iter().any(changes)
                && let Some(next) = items.next_if(|item| !changes(item))
            {
                part.push(next);
            }
            let mut groups = vec![part];
            while let Some(group) = groups.pop() {
                self.commit_group(group, &mut replies, &mut groups).await;
            }
        }
        let mut in_order: Vec<Option<Reply>> = vec![None; count];
        for (place, reply) in replies {
            if let Some(slot) = in_order.get_mut(place) {
                *slot = Some(reply);
            }
        }
        let lost = || Err(CommandError::Store(StoreError::OutcomeUnknown("no answer".to_owned())));
        Ok(Committed::new(in_order.into_iter().map(|reply| reply.unwrap_or_else(lost)).collect(), || {}))
    }

    /// Only what the audit log says, as the record of all others is written.
    async fn put(&mut self, record: Record, _event: Option<Event>) -> Result<(), StoreError> {
        let Record::Events(events) = record else {
            return Err(StoreError::Unavailable("nobody asks the model for other records".to_owned()));
        };
        let Some(request) = events.first().and_then(|event| request_of(&event.actor)) else { return Ok(()) };
        let mut writing = Writing { store: self, request };
        tries::run(&mut writing, &mut Tries::default()).await.map_err(|gave_up| match gave_up {
            GaveUp::Halve(said) => StoreError::Unavailable(said),
            GaveUp::Refused(error) => error,
        })
    }

    /// None, as of the PostgreSQL store: the next try of what is not known settles it.
    fn ends_by(_error: &StoreError) -> bool {
        false
    }

    async fn idle(&mut self) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn trim(&mut self, _before: Timestamp) -> Result<bool, StoreError> {
        Ok(false)
    }

    async fn due(&mut self, max: usize) -> Result<Vec<SessionNo>, StoreError> {
        round_trip().await;
        let state = self.database.state();
        let now = state.clock.max(self.decided_at);
        let due = state.tables.iter().enumerate().flat_map(|(bucket, tables)| {
            let due = tables.sessions.values().filter(move |session| session.is_due(now));
            due.map(move |session| over_the_queue(bucket, session.no))
        });
        Ok(due.take(max).collect())
    }

    fn backup(&mut self, _to: PathBuf, done: oneshot::Sender<Result<(), StoreError>>) {
        // A caller who left does not need the answer.
        let _ = done.send(Err(StoreError::Unavailable("the model is not copied".to_owned())));
    }

    async fn close(self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// The number of a request, by whom it is made.
pub(super) fn request_of(actor: &Actor) -> Option<u64> {
    actor.request_id.as_ref()?.parse().ok()
}

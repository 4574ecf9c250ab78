//! A node's store: batches as the PostgreSQL store runs them, over the model of the database.
//!
//! What is done about a transaction that failed, or whose outcome is not known, are the store's own rules
//! ([`tries`]); what is decided, and by which rows, is the core's. Here is only what is between the two: statements.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use outlay::audit::{Actor, Event};
use outlay::store::postgres::Buckets;
use outlay::store::postgres::tries::{self, Cure, Ended, Failed, GaveUp, Place, Sought, Transactions, Tries};
use outlay::store::{Batch, CommandError, Committed, Record, Reply, Store, StoreError};
use outlay_core::id::SessionNo;
use outlay_core::ledger::{Books, Command, Now, Rejection, decide};
use outlay_core::month::Timestamp;
use outlay_core::plan::Plans;
use outlay_model::generate::Random;
use tokio::sync::oneshot;

use super::database::{Database, Decided, Entry, Refusal};
use super::link::{COMMIT_PLACE, Link, refused, round_trip};
use super::mistake::Mistake;
use super::tables::Change;

/// How often buckets that somebody else has are left out before they are waited for, as in the store.
const SKIPS_MAX: u32 = 3;
/// How often a node looks for a batch before its callers are told that it does not know.
const LOOKS_MAX: u32 = 12;
/// Rounds of reading for one batch, at most.
const ROUNDS_MAX: u32 = 8;
/// Above these bits, the number of a session that goes over the queue says its bucket.
const BUCKET_BITS: u32 = 32;

/// The number of a session as it goes over the queue: with its bucket, whose numbers are its own.
pub(super) fn over_the_queue(bucket: usize, no: SessionNo) -> SessionNo {
    SessionNo((bucket as u64) << BUCKET_BITS | no.0)
}

/// The writing half of a node.
#[derive(Debug)]
pub(super) struct ModelStore {
    database: Database,
    buckets: Buckets,
    random: Random,
    link: Option<Link>,
    /// The plans that it knows, and of which version.
    plans: Option<(i64, Plans)>,
    /// The largest time that it decided at.
    decided_at: Timestamp,
    mistake: Option<Mistake>,
}

/// A command on its way.
#[derive(Debug, Clone)]
struct Item {
    place: usize,
    bucket: usize,
    command: Command,
    request: Option<u64>,
}

/// What a transaction came to.
#[derive(Debug)]
struct Done {
    replies: Vec<(usize, Reply)>,
    now: Timestamp,
}

impl ModelStore {
    pub(super) fn new(database: Database, buckets: Buckets, random: Random, mistake: Option<Mistake>) -> Self {
        let decided_at = Timestamp::EPOCH;
        Self { database, buckets, random, link: None, plans: None, decided_at, mistake }
    }

    fn saw(&self, event: &'static str) {
        self.database.state().saw(event);
    }

    fn item(&self, place: usize, command: Command, by: Option<&Actor>) -> Item {
        let request = by.and_then(|actor| actor.request_id.as_ref()?.parse().ok());
        let (bucket, command) = match command {
            Command::Expire { session_no: SessionNo(no) } => {
                let session_no = SessionNo(no & ((1 << BUCKET_BITS) - 1));
                (no >> BUCKET_BITS, Command::Expire { session_no })
            }
            // Where several buckets are, nobody asks for one.
            Command::PutPlan { .. } | Command::Recheck { .. } => (0, command),
            command => (user_of(&command).map_or(0, |user| bucket_of(self.buckets, user) as u64), command),
        };
        Item { place, bucket: usize::try_from(bucket).unwrap_or(0), command, request }
    }

    async fn commit_group(
        &mut self,
        mut items: Vec<Item>,
        replies: &mut Vec<(usize, Reply)>,
        groups: &mut Vec<Vec<Item>>,
    ) {
        let (mut tries, mut skips) = (Tries::default(), 0);
        while !items.is_empty() {
            if skips >= SKIPS_MAX {
                self.saw("buckets that were skipped three times were waited for");
            }
            let mut group = Group { store: self, items: &items, wait: skips >= SKIPS_MAX };
            let error: CommandError = match tries::run(&mut group, &mut tries).await {
                Ok(done) => {
                    self.decided_at = self.decided_at.max(done.now);
                    let answered: BTreeSet<usize> = done.replies.iter().map(|(place, _)| *place).collect();
                    replies.extend(done.replies);
                    items.retain(|item| !answered.contains(&item.place));
                    skips += 1;
                    continue;
                }
                Err(GaveUp::Halve(_)) if items.len() == 1 => Rejection::Internal.into(),
                Err(GaveUp::Halve(_)) => {
                    let later = items.split_off(items.len() / 2);
                    groups.extend([later, items]);
                    return;
                }
                Err(GaveUp::Refused(error)) => {
                    self.saw(match &error {
                        StoreError::OutcomeUnknown(_) => "callers were told that the outcome is unknown",
                        _ => "callers were told to try again",
                    });
                    error.into()
                }
            };
            replies.extend(items.iter().map(|item| (item.place, Err(error.clone()))));
            return;
        }
    }

    async fn transact(&mut self, items: &[Item], wait: bool) -> Result<Done, Failed<Done>> {
        let link = match self.link.take() {
            Some(link) => link,
            None => Link::open(&self.database, self.mistake).await.map_err(failed)?,
        };
        let result = self.on(&link, items, wait).await;
        let good = match &result {
            Ok(_) | Err(Failed::WaitCut) => true,
            Err(Failed::Unknown(..) | Failed::Not(Cure::Connect, _)) => false,
            Err(_) => link.roll_back().await.is_ok(),
        };
        if good {
            link.take_wait_cut();
            self.link = Some(link);
        }
        result
    }

    /// Locks, reads, decides, writes and commits.
    async fn on(&mut self, link: &Link, items: &[Item], wait: bool) -> Result<Done, Failed<Done>> {
        link.begin().await.map_err(failed)?;
        let buckets: BTreeSet<usize> = items.iter().map(|item| item.bucket).collect();
        let buckets: Vec<usize> = buckets.into_iter().collect();
        let mut books = BTreeMap::new();
        let early = self.mistake == Some(Mistake::ReadsBeforeTheLock);
        if early {
            books = self.read(link, &buckets, items).await?;
        }
        let locked = match self.mistake {
            Some(Mistake::ActsWithoutTheLock) => buckets,
            _ => link.lock(&buckets, wait).await.map_err(failed)?,
        };
        if early {
            books.retain(|bucket, _| locked.contains(bucket));
        } else {
            books = self.read(link, &locked, items).await?;
        }
        let (mut decided, mut replies) = (Vec::new(), Vec::new());
        let here: Vec<&Item> = items.iter().filter(|item| books.contains_key(&item.bucket)).collect();
        let Some(now) = books.values().map(|of| of.now).max_by_key(|now| now.holds) else {
            // All of them are somebody else's.
            link.roll_back().await.map_err(failed)?;
            return Ok(Done { replies, now: self.decided_at });
        };
        for item in here {
            let Some(of) = books.get_mut(&item.bucket) else { continue };
            for _ in 0..ROUNDS_MAX {
                let missing = of.books.missing(&item.command, now);
                if missing.is_empty() {
                    break;
                }
                load(link, item.bucket, &mut of.books, missing, now).await?;
            }
            let decision = decide(&of.books, &item.command, now);
            let reply = decision.map_err(CommandError::from).map(|decision| {
                of.books.apply(decision.changes);
                decision.outcome
            });
            let Item { place, bucket, command, request } = item.clone();
            replies.push((place, reply.clone()));
            decided.push(Decided { bucket, request, command, reply });
        }
        let done = Done { replies, now: now.holds };
        let places =
            books.iter().map(|(bucket, of)| Place { bucket: i32::try_from(*bucket).unwrap_or(0), seq: of.seq });
        let places = places.collect();
        let changes: Vec<Change> = books
            .into_iter()
            .map(|(bucket, mut of)| {
                let written = of.books.take_written();
                Change { bucket, numbers: of.books.numbers(), written }
            })
            .collect();
        if self.mistake == Some(Mistake::AnswersDuplicatesByReading) && changes.iter().all(|one| one.written.is_empty())
        {
            link.roll_back().await.map_err(failed)?;
            return Ok(done);
        }
        let mut batch = [0; 16];
        batch[..8].copy_from_slice(&self.random.draw().to_le_bytes());
        batch[8] = 1;
        let answers = link.write(Entry { batch, now, changes, decided }).await;
        let ended = match (self.mistake, answers) {
            (Some(Mistake::TrustsTheTag), [_, of_commit]) => tries::ended([of_commit], 0, link.take_wait_cut()),
            (_, answers) => tries::ended(answers, COMMIT_PLACE, link.take_wait_cut()),
        };
        match ended {
            Ended::Committed => Ok(done),
            Ended::Not(cure, said) => Err(Failed::Not(cure, said)),
            Ended::Unknown => Err(Failed::Unknown(Box::new(done), Sought { places, batch })),
            Ended::WaitCut => Err(Failed::WaitCut),
        }
    }

    /// Reads what a batch is decided by, as far as it is known beforehand.
    async fn read(
        &mut self,
        link: &Link,
        locked: &[usize],
        items: &[Item],
    ) -> Result<BTreeMap<usize, Of>, Failed<Done>> {
        let known = self.plans.clone();
        let (plans, clock, rows) = link
            .read(|state| {
                let plans = known.filter(|known| known.0 == state.plans.0).unwrap_or_else(|| state.plans.clone());
                let rows = locked
                    .iter()
                    .filter_map(|bucket| state.tables.get(*bucket).map(|of| (*bucket, of.seq, of.now_at, of.numbers)));
                (plans, state.clock, rows.collect::<Vec<_>>())
            })
            .await
            .map_err(failed)?;
        let decided_at = rows.iter().map(|(_, _, now_at, _)| *now_at).max().unwrap_or(clock);
        let holds = clock.max(decided_at).max(self.decided_at);
        let now = Now { holds, wall: clock, entropy: self.random.draw() };
        let mut all = BTreeMap::new();
        for (bucket, seq, _, numbers) in rows {
            let mut books = Books::new(now.entropy, plans.1.clone(), numbers);
            let of_bucket = items.iter().filter(|item| item.bucket == bucket);
            let missing: Vec<_> = of_bucket.flat_map(|item| books.missing(&item.command, now)).collect();
            load(link, bucket, &mut books, missing, now).await?;
            all.insert(bucket, Of { books, seq, now });
        }
        self.plans = Some(plans);
        Ok(all)
    }

    async fn settle(&mut self, sought: &Sought) -> Result<bool, StoreError> {
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

/// Books of a bucket, with what was read of it.
struct Of {
    books: Books,
    seq: i64,
    now: Now,
}

async fn load(
    link: &Link,
    bucket: usize,
    books: &mut Books,
    missing: Vec<outlay_core::ledger::Key>,
    now: Now,
) -> Result<(), Failed<Done>> {
    if missing.is_empty() {
        return Ok(());
    }
    let tables = link.read(|state| state.tables.get(bucket).cloned()).await.map_err(failed)?;
    if let Some(tables) = tables {
        missing.into_iter().for_each(|key| tables.load(books, key, now));
    }
    Ok(())
}

fn failed(refusal: Refusal) -> Failed<Done> {
    match refusal {
        Refusal::Said(code) => match refused(code) {
            tries::Answer::Refused(cure, said) => Failed::Not(cure, said),
            _ => Failed::Not(Cure::None, code.to_owned()),
        },
        Refusal::Lost => Failed::Not(Cure::Connect, "the connection is lost".to_owned()),
    }
}

/// Commands that are about to be committed as one transaction.
struct Group<'a> {
    store: &'a mut ModelStore,
    items: &'a [Item],
    wait: bool,
}

impl Transactions for Group<'_> {
    type Done = Done;

    async fn transact(&mut self) -> Result<Done, Failed<Done>> {
        self.store.transact(self.items, self.wait).await
    }

    async fn settle(&mut self, sought: &Sought) -> Result<bool, StoreError> {
        self.store.settle(sought).await
    }

    async fn make_partitions(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    async fn pause(&mut self) {
        self.store.saw("a transaction was run again");
        round_trip().await;
    }

    fn is_late(&self) -> bool {
        false
    }

    fn wait_was_cut(&self) -> StoreError {
        self.store.saw("a batch was not acknowledged since its wait was cut short");
        StoreError::OutcomeUnknown("a wait for a standby was cut short".to_owned())
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

    async fn put(&mut self, _record: Record, _event: Option<Event>) -> Result<(), StoreError> {
        Err(StoreError::Unavailable("the model keeps no records".to_owned()))
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

/// Whose bucket a command needs.
fn user_of(command: &Command) -> Option<&outlay_core::id::UserId> {
    match command {
        Command::Record(operation) => Some(&operation.user_id),
        Command::Reverse { user_id, .. }
        | Command::Open { user_id, .. }
        | Command::Extend { user_id, .. }
        | Command::Finish { user_id, .. }
        | Command::AuditedCheck { user_id, .. }
        | Command::Deny { user_id, .. }
        | Command::PutUser { user_id, .. }
        | Command::Erase { user_id } => Some(user_id),
        Command::Expire { .. } | Command::Recheck { .. } | Command::PutPlan { .. } => None,
    }
}

/// The bucket of a user.
pub(super) fn bucket_of(buckets: Buckets, user: &outlay_core::id::UserId) -> usize {
    usize::try_from(buckets.of_user(user)).unwrap_or(0)
}

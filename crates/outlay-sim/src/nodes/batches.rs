//! Batches of commands: each is locked, read, decided, written and committed as a lane of the store does it.

use std::collections::{BTreeMap, BTreeSet};

use outlay::audit::Actor;
use outlay::store::postgres::Buckets;
use outlay::store::postgres::tries::{self, Ended, Failed, GaveUp, Place, Sought, Transactions, Tries};
use outlay::store::{CommandError, Reply, StoreError};
use outlay_core::id::{SessionNo, UserId};
use outlay_core::ledger::{Books, Command, Key, Now, Rejection, decide};
use outlay_core::month::Timestamp;

use super::database::{Decided, Entry};
use super::link::{COMMIT_PLACE, Link};
use super::mistake::Mistake;
use super::store::{BUCKET_BITS, ModelStore, failed, request_of};
use super::tables::Change;

/// How often buckets that somebody else has are left out before they are waited for, as in the store.
const SKIPS_MAX: u32 = 3;
/// Rounds of reading for one batch, at most.
const ROUNDS_MAX: u32 = 8;
/// A command on its way.
#[derive(Debug, Clone)]
pub(super) struct Item {
    place: usize,
    bucket: usize,
    pub(super) command: Command,
    request: Option<u64>,
}

/// What a transaction came to.
#[derive(Debug)]
pub(super) struct Done {
    replies: Vec<(usize, Reply)>,
    now: Timestamp,
}

impl ModelStore {
    pub(super) fn item(&self, place: usize, command: Command, by: Option<&Actor>) -> Item {
        let request = by.and_then(request_of);
        let (bucket, command) = match command {
            Command::Expire { session_no: SessionNo(no) } => {
                let session_no = SessionNo(no & ((1 << BUCKET_BITS) - 1));
                (no >> BUCKET_BITS, Command::Expire { session_no })
            }
            // Where several buckets are, nobody asks for one.
            Command::PutPlan { .. } | Command::Recheck { .. } => (0, command),
            command => (command.user_id().map_or(0, |user| bucket_of(self.buckets, user) as u64), command),
        };
        Item { place, bucket: usize::try_from(bucket).unwrap_or(0), command, request }
    }

    /// Has commands committed together, as a lane does.
    pub(super) async fn commit_group(
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
        let link = self.connected().await.map_err(failed)?;
        let result = self.on(&link, items, wait).await;
        self.put_back(link, &result).await;
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
        let batch = self.mark();
        let answers = link.write(Entry { batch, now, changes, decided, records: Vec::new() }).await;
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
}

/// Books of a bucket, with what was read of it.
struct Of {
    books: Books,
    seq: i64,
    now: Now,
}

async fn load(link: &Link, bucket: usize, books: &mut Books, missing: Vec<Key>, now: Now) -> Result<(), Failed<Done>> {
    if missing.is_empty() {
        return Ok(());
    }
    let tables = link.read(|state| state.tables.get(bucket).cloned()).await.map_err(failed)?;
    if let Some(tables) = tables {
        missing.into_iter().for_each(|key| tables.load(books, key, now));
    }
    Ok(())
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
        self.store.pause().await;
    }

    fn is_late(&self) -> bool {
        false
    }

    fn wait_was_cut(&self) -> StoreError {
        self.store.wait_was_cut()
    }
}

/// The bucket of a user.
pub(super) fn bucket_of(buckets: Buckets, user: &UserId) -> usize {
    usize::try_from(buckets.of_user(user)).unwrap_or(0)
}

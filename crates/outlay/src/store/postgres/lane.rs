//! A lane: one connection, and the batches of its buckets one after the other.
//!
//! A batch is one transaction in two round trips: the first locks the buckets and reads what will most likely be needed,
//! then all is decided, and the second writes and commits. Under READ COMMITTED each statement after the lock sees what
//! every earlier holder of it committed, and nobody reads to write there without it: so batches on a bucket are serial.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use outlay_core::id::{UserId, UserNo};
use outlay_core::ledger::{Books, Command, Now, Rejection, Written, decide};
use rand::Rng;
use rand_pcg::Pcg64;

use super::audit;
use super::chores::keep_partitions;
use super::connector::Unreached;
use super::errors::answered;
use super::link::{Link, in_order};
use super::load::{BooksOf, Wanted};
use super::outbox::WEBHOOKS;
use super::rows::{nanos, time};
use super::safety::says_synced;
use super::settle::{COMMIT_SECONDS_MAX, settle};
use super::shared::{Locked, Rules, Shared};
use super::statements::{self, COMMIT, LOCK, LOCK_WAITING, PLANS, ROLLBACK, SYNCED, VERSION};
use super::tries::{self, Cure, Ended, GaveUp, Place, Sought, Transactions, Tries};
use super::write::{InBucket, Ops, Writes};
use crate::audit::{Actor, Event, of_decision};
use crate::store::outbox::{Receiver, Telling};
use crate::store::{CommandError, Reply, StoreError};

/// How often buckets that somebody else has are left out before they are waited for.
const SKIPS_MAX: u32 = 3;
/// Rounds of reading for one batch, at most: finishing names a session, the session a month.
const ROUNDS_MAX: u32 = 8;
/// How long the database has to answer what a batch reads; locks are waited for less.
const ANSWER_SECONDS_MAX: u64 = 5;
/// For how long a batch is run again at most, before its callers are told to.
const TRY_SECONDS_MAX: u64 = 10;
/// Users whose numbers a lane remembers.
const KNOWN_MAX: usize = 100_000;

/// A command on its way through a lane.
#[derive(Debug, Clone)]
pub(super) struct Item {
    /// Its place among the answers.
    pub(super) place: usize,
    pub(super) bucket: i32,
    pub(super) command: Command,
    /// Who asked for it, where what it changes is to be kept in the audit log.
    pub(super) by: Option<Actor>,
    /// Whether nobody is told of it.
    pub(super) quiet: bool,
}

/// What became of a lane's part of a batch.
#[derive(Debug, Default)]
pub(super) struct Answered {
    pub(super) replies: Vec<(usize, Reply)>,
    /// What is committed, to be told of.
    pub(super) written: Vec<Written>,
    /// The newest number of the audit log, where it added to it.
    pub(super) audit_newest: Option<i64>,
    /// Whom it tells something.
    pub(super) receivers: Vec<Receiver>,
}

impl Answered {
    /// Adds what became of another part.
    pub(super) fn add(&mut self, other: Self) {
        self.replies.extend(other.replies);
        self.written.extend(other.written);
        self.audit_newest = self.audit_newest.max(other.audit_newest);
        self.receivers.extend(other.receivers);
    }
}

/// A transaction whose statements all went well.
#[derive(Debug)]
struct Decided {
    replies: Vec<(usize, Reply)>,
    of: Vec<InBucket>,
    now: Now,
    /// What the audit log says of it.
    events: Vec<Event>,
    audit_newest: Option<i64>,
}

/// Why a transaction has no outcome.
type Failed = tries::Failed<Decided>;

#[derive(Debug)]
pub(super) struct Lane {
    shared: Arc<Shared>,
    link: Option<Link>,
    /// Numbers of users; each is theirs until they are erased, and a guess all the same.
    known: HashMap<UserId, UserNo, foldhash::fast::FixedState>,
    random: Pcg64,
}

impl Lane {
    pub(super) fn new(shared: Arc<Shared>, random: Pcg64) -> Self {
        Self { shared, link: None, known: HashMap::default(), random }
    }

    /// Decides and commits; gives an answer for each command.
    pub(super) async fn commit(&mut self, items: Vec<Item>) -> Answered {
        let mut answered = Answered::default();
        let mut groups = if self.shared.settings.sharded { by_bucket(items) } else { vec![items] };
        while let Some(group) = groups.pop() {
            self.commit_group(group, &mut answered, &mut groups).await;
        }
        answered
    }

    async fn commit_group(&mut self, mut items: Vec<Item>, answered: &mut Answered, groups: &mut Vec<Vec<Item>>) {
        let (mut tries, mut skips) = (Tries::default(), 0);
        let until = tokio::time::Instant::now() + Duration::from_secs(TRY_SECONDS_MAX);
        while !items.is_empty() {
            let mut group = Group { lane: self, items: &items, wait: skips >= SKIPS_MAX, until };
            match tries::run(&mut group, &mut tries).await {
                Ok(decided) => {
                    let plans = decided.of.iter().any(|one| !one.written.plans.is_empty());
                    let left = self.committed(decided, answered);
                    if plans {
                        self.read_plans().await;
                    }
                    items.retain(|item| !left.contains(&item.place));
                    if !items.is_empty() {
                        skips += 1;
                        self.pause(1, 5).await;
                    }
                }
                Err(GaveUp::Halve(said)) if items.len() == 1 => {
                    tracing::error!(said, command = ?items.first().map(|item| &item.command), "a command cannot be written");
                    return refuse(&items, answered, |_| Rejection::Internal.into());
                }
                Err(GaveUp::Halve(_)) => {
                    // Those before come first: one user's commands keep their order.
                    let later = items.split_off(items.len() / 2);
                    groups.extend([later, items]);
                    return;
                }
                Err(GaveUp::Refused(error)) => return refuse(&items, answered, |_| error.clone().into()),
            }
        }
    }

    /// Takes what is committed; gives the places of what is answered.
    fn committed(&mut self, decided: Decided, answered: &mut Answered) -> BTreeSet<usize> {
        let Decided { replies, of, now, audit_newest, .. } = decided;
        self.shared.committed(nanos(now.holds), of.iter().map(|one| (one.bucket, one.numbers)));
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        for (user_id, view) in of.iter().flat_map(|one| &one.written.views) {
            match &view.user {
                Some(user) => self.known.insert(user_id.clone(), user.no),
                None => self.known.remove(user_id),
            };
        }
        let places = replies.iter().map(|(place, _)| *place).collect();
        answered.replies.extend(replies);
        answered.receivers.extend(of.iter().flat_map(|one| &one.told).map(|told| told.receiver));
        answered.written.extend(of.into_iter().map(|one| one.written));
        answered.audit_newest = answered.audit_newest.max(audit_newest);
        places
    }

    /// Shows readers of this node the plans that its batch changed, before anybody is answered. Where that fails, the next
    /// batch does it.
    async fn read_plans(&self) {
        let Some(link) = &self.link else { return };
        if let Err(failed) = self.read_rules(link).await {
            tracing::warn!(?failed, "the plans could not be read again");
        }
    }

    /// Reads what batches go by.
    async fn read_rules(&self, link: &Link) -> Result<Rules, Failed> {
        let plans = link.send(PLANS, Vec::new()).await?;
        let rules = Rules::read(&plans, &link.send(WEBHOOKS, Vec::new()).await?, &self.shared.settings)?;
        self.shared.keep_rules(&rules);
        Ok(rules)
    }

    /// The database did not answer: it may be one that another has replaced.
    fn silent(&self) -> Failed {
        self.shared.connector.distrust();
        Failed::Not(Cure::Connect, format!("PostgreSQL did not answer within {ANSWER_SECONDS_MAX} s"))
    }

    async fn pause(&mut self, least: u64, most: u64) {
        let milliseconds = least + self.random.next_u64() % (most - least);
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    async fn connect(&self) -> Result<Link, Unreached> {
        Link::open(&self.shared.connector, &statements::of_a_lane()).await
    }

    /// Runs one transaction. The connection is kept, unless it is not known to be good.
    async fn transact(&mut self, items: &[Item], wait: bool) -> Result<Decided, Failed> {
        let connector = &self.shared.connector;
        let link = match self.link.take().filter(|link| connector.is_current(&link.wire.client, link.wire.mark)) {
            Some(link) => link,
            None => self.connect().await.map_err(|Unreached(said)| Failed::Not(Cure::Connect, said))?,
        };
        let deciding = async {
            self.add_names(&link, items).await?;
            self.decide_on(&link, items, wait).await
        };
        let decided = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), deciding).await;
        let result = match decided {
            Ok(Ok(decided)) => self.write(&link, decided).await,
            Ok(Err(failed)) => Err(failed),
            Err(_) => Err(self.silent()),
        };
        let good = match &result {
            Ok(_) | Err(Failed::WaitCut) => true,
            Err(Failed::Unknown(..) | Failed::Not(Cure::Connect, _)) => false,
            // Outside of a transaction that is a warning, nothing more.
            Err(_) => link.control(ROLLBACK).await.is_ok(),
        };
        if good {
            link.take_wait_cut();
            self.link = Some(link);
        }
        result
    }

    /// What a batch books by is there before it, whatever becomes of the batch.
    async fn add_names(&self, link: &Link, items: &[Item]) -> Result<(), tokio_postgres::Error> {
        let operations = items.iter().filter_map(|item| match &item.command {
            Command::Record(operation) => Some(&**operation),
            _ => None,
        });
        self.shared.names.add(link, operations).await
    }

    /// Locks the batch's buckets, reads, and decides: all but writing it.
    async fn decide_on(&mut self, link: &Link, items: &[Item], wait: bool) -> Result<Decided, Failed> {
        let buckets: BTreeSet<i32> = items.iter().map(|item| item.bucket).collect();
        let buckets: Vec<i32> = buckets.into_iter().collect();
        let mut wanted = Wanted::default();
        let guess = self.shared.time();
        let asked_at = self.shared.settings.clock.monotonic_nanos();
        for item in items {
            wanted.guess(item.bucket, &item.command, |id| self.known.get(id).copied(), guess.month());
        }
        let guess = Now { holds: guess, wall: guess, entropy: self.random.next_u64() };
        let asked = wanted.ask(guess);
        let mut sent = vec![
            link.begin(),
            link.send(if wait { LOCK_WAITING } else { LOCK }, vec![&buckets]),
            link.send(VERSION, Vec::new()),
        ];
        sent.extend(asked.send(link));
        let mut answers = in_order(sent).await.into_iter();
        let mut next = || answers.next().unwrap_or_else(|| Ok(Vec::new()));
        next()?;
        let locked: Vec<Locked> =
            next()?.iter().map(|row| Locked::read(row, self.shared.buckets())).collect::<Result<_, _>>()?;
        let (version, synced): (i64, bool) = match next()?.first() {
            Some(row) => (row.try_get(0)?, row.try_get(1)?),
            None => (0, false),
        };
        self.shared.safety.seen(synced)?;
        let answers = asked.answered(answers)?;
        self.shared.kept.saw(version, asked_at);

        let rules = match self.shared.rules_of(version) {
            Some(rules) => rules,
            None => self.read_rules(link).await?,
        };
        let now = self.now(&locked, guess)?;
        let mut books: BooksOf = locked
            .iter()
            .map(|one| {
                (one.bucket, Books::new(now.entropy, outlay_core::plan::Plans::clone(&rules.plans), one.numbers))
            })
            .collect();
        let step = self.shared.buckets().step();
        let mut told: BTreeMap<i32, Telling> =
            locked.iter().map(|one| (one.bucket, Telling::new(one.next_delivery, step))).collect();
        drop(asked);
        wanted.load(&answers, &mut books)?;
        let here: Vec<&Item> = items.iter().filter(|item| books.contains_key(&item.bucket)).collect();
        load_missing(link, &mut books, &here, now).await?;
        let mut replies = Vec::with_capacity(here.len());
        let mut events = Vec::new();
        for item in here {
            load_missing(link, &mut books, &[item], now).await?;
            let Some(books) = books.get_mut(&item.bucket) else { continue };
            // Deciding is pure, so a panic in it has changed nothing: it costs this one command.
            let decided = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| decide(books, &item.command, now)));
            let reply = decided.unwrap_or(Err(Rejection::Internal)).map(|decision| {
                if let Some(told) = told.get_mut(&item.bucket).filter(|_| !item.quiet) {
                    told.note(&rules.receivers, books, &item.command, &decision.changes, now);
                }
                let by = item.by.as_ref();
                events.extend(by.and_then(|actor| of_decision(books, &item.command, &decision.changes, actor)));
                books.apply(decision.changes);
                decision.outcome
            });
            replies.push((item.place, reply.map_err(CommandError::from)));
        }

        let of: Vec<InBucket> = locked
            .iter()
            .filter_map(|one| {
                let books = books.get_mut(&one.bucket)?;
                let written = books.take_written();
                let told = told.remove(&one.bucket)?;
                Some(InBucket::new(one.bucket, one.seq, books.numbers(), written, told))
            })
            .collect();
        Ok(Decided { replies, of, now, events, audit_newest: None })
    }

    /// The time of a batch: never behind what was decided before in any of its buckets.
    fn now(&self, locked: &[Locked], guess: Now) -> Result<Now, StoreError> {
        let Some(clock) = locked.iter().map(|one| one.clock_micros).max() else { return Ok(guess) };
        let wall = self.shared.wall(clock)?;
        let decided_at = locked.iter().map(|one| one.now_at).max().unwrap_or(0);
        Ok(Now { holds: self.shared.believed(wall).max(time(decided_at.into())?), wall, entropy: guess.entropy })
    }

    /// Writes and commits, in one round trip; in three where the audit log tells of it.
    async fn write(&mut self, link: &Link, mut decided: Decided) -> Result<Decided, Failed> {
        let batch = self.shared.watch.batch(self.random.next_u64());
        let ops = Ops::of(&decided.of);
        let writes = Writes::new(&decided.of, &ops, &batch, decided.now, &self.shared.names)?;
        let mut sent = writes.send(link);
        let mut audit_newest = None;
        if !decided.events.is_empty() {
            // The lock that all share comes last, and is held for the least time.
            let writing = async {
                in_order(std::mem::take(&mut sent)).await.into_iter().collect::<Result<Vec<_>, _>>()?;
                let (buckets, at) = (self.shared.buckets(), decided.now.wall);
                audit::write(link, buckets, at, &decided.events).await.map_err(Failed::from)
            };
            let written = tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS_MAX), writing).await;
            audit_newest = written.unwrap_or_else(|_| Err(self.silent()))?;
        }
        let commit = sent.len();
        sent.push(link.control(COMMIT));
        // Whoever takes the standbys out of the settings lets go the commits that wait for one.
        if self.shared.safety.require_sync() {
            sent.push(link.send(SYNCED, Vec::new()));
        }
        let answers = tokio::time::timeout(Duration::from_secs(COMMIT_SECONDS_MAX), in_order(sent)).await;
        drop(writes);
        decided.audit_newest = audit_newest;
        let Ok(answers) = answers else {
            self.shared.connector.doubt();
            return Err(unknown(decided, batch));
        };
        let mut synced = true;
        let mut read = Vec::with_capacity(answers.len());
        for (place, answer) in answers.into_iter().enumerate() {
            if let (Ok(rows), true) = (&answer, place > commit) {
                synced = says_synced(rows);
            }
            read.push(answered(answer));
        }
        let cut = link.take_wait_cut() || !synced;
        let ended = tries::ended(read, commit, cut);
        if matches!(ended, Ended::Committed | Ended::WaitCut) {
            self.shared.safety.cut(cut);
        }
        match ended {
            Ended::Committed => Ok(decided),
            Ended::Not(cure, said) => Err(Failed::Not(cure, said)),
            Ended::Unknown => Err(unknown(decided, batch)),
            Ended::WaitCut => Err(Failed::WaitCut),
        }
    }
}

/// A batch whose outcome is not known, with where it is found.
fn unknown(decided: Decided, batch: [u8; 16]) -> Failed {
    let places = decided.of.iter().map(|one| Place { bucket: one.bucket, seq: one.seq }).collect();
    Failed::Unknown(Box::new(decided), Sought { places, batch })
}

/// The commands that a lane is about to commit, as one transaction.
struct Group<'a> {
    lane: &'a mut Lane,
    items: &'a [Item],
    /// Whether buckets that somebody else has are waited for.
    wait: bool,
    until: tokio::time::Instant,
}

impl Transactions for Group<'_> {
    type Done = Decided;

    async fn transact(&mut self) -> Result<Decided, Failed> {
        self.lane.transact(self.items, self.wait).await
    }

    async fn settle(&mut self, sought: &Sought) -> Result<bool, StoreError> {
        let (found, link) = settle(&self.lane.shared, &statements::of_a_lane(), sought).await?;
        self.lane.link = Some(link);
        Ok(found)
    }

    async fn make_partitions(&mut self) -> Result<(), StoreError> {
        keep_partitions(&self.lane.shared).await
    }

    async fn pause(&mut self) {
        self.lane.pause(5, 50).await;
    }

    fn is_late(&self) -> bool {
        self.until <= tokio::time::Instant::now()
    }

    fn wait_was_cut(&self) -> StoreError {
        self.lane.shared.wait_was_cut()
    }
}

/// Reads what the commands miss, until nothing is missing.
async fn load_missing(link: &Link, books: &mut BooksOf, items: &[&Item], now: Now) -> Result<(), Failed> {
    for _ in 0..ROUNDS_MAX {
        let mut wanted = Wanted::default();
        for item in items {
            let Some(books) = books.get(&item.bucket) else { continue };
            books.missing(&item.command, now).into_iter().for_each(|key| wanted.add(item.bucket, key));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let asked = wanted.ask(now);
        let answers = asked.answered(in_order(asked.send(link)).await.into_iter())?;
        drop(asked);
        wanted.load(&answers, books)?;
    }
    Err(StoreError::Corrupt("what was read is still missing".to_owned()).into())
}

/// Each bucket's commands by themselves, the first at the end.
fn by_bucket(items: Vec<Item>) -> Vec<Vec<Item>> {
    let mut groups: BTreeMap<i32, Vec<Item>> = BTreeMap::new();
    for item in items {
        groups.entry(item.bucket).or_default().push(item);
    }
    groups.into_values().rev().collect()
}

fn refuse(items: &[Item], answered: &mut Answered, error: impl Fn(&Item) -> CommandError) {
    answered.replies.extend(items.iter().map(|item| (item.place, Err(error(item)))));
}

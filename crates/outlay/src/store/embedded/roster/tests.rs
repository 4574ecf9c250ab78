//! The roster while batches are published, and its speed.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use outlay_core::id::{Name, UserId};
use outlay_core::ledger::Command;
use outlay_core::money::Usd;
use outlay_core::month::Timestamp;
use outlay_core::plan::Overrides;
use outlay_core::session::Ask;

use crate::store::embedded::{EmbeddedStore, Settings, open};
use crate::store::tests::SetClock;
use crate::store::tests::commands::{Random, plain};
use crate::store::{OverviewQuery, Reads, UserSort, UsersQuery};

const NOW: &str = "2025-10-29T12:00:00Z";

fn store(folder: &Path) -> (EmbeddedStore, Arc<dyn Reads>) {
    open(Settings { seed: Some(1), ..Settings::new(folder.to_owned(), SetClock::at(NOW)) }).unwrap()
}

fn query(sort: UserSort, limit: usize) -> UsersQuery {
    UsersQuery {
        month: Timestamp::parse(NOW).unwrap().month(),
        sort,
        descending: true,
        active: false,
        state: None,
        plan: None,
        prefix: None,
        after: None,
        limit,
    }
}

/// What a page asks of the month, with so many months before it.
fn glance(months_before: u32) -> OverviewQuery {
    OverviewQuery { month: query(UserSort::Cost, 1).month, months_before, newest: 5 }
}

fn costly(random: &mut Random, user: &str, id: &str, feature: &str, months_ago: u64) -> Command {
    let at = Timestamp::parse(NOW).unwrap().plus_seconds(-30 * 86_400 * i64::try_from(months_ago).unwrap());
    let mut command = plain(&UserId::new(user).unwrap(), id, feature, None, at);
    if let Command::Record(operation) = &mut command {
        operation.cost = Usd::from_picos(i64::try_from(random.below(1 << 40)).unwrap());
    }
    command
}

/// Every batch reorders the users and adds some. What memory says of their order and number must be what the file says.
#[test]
fn what_memory_says_is_as_of_the_batch_that_the_file_shows() {
    let folder = tempfile::tempdir().unwrap();
    let (mut store, reads) = store(folder.path());
    let ended = AtomicBool::new(false);
    let read = |reads: &dyn Reads| {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut count = 0;
        while !ended.load(Ordering::Relaxed) || count == 0 {
            // More months than are kept, so that some are forgotten and read again while batches come.
            let month = query(UserSort::Cost, 1).month.minus(count % 5);
            let page = runtime.block_on(reads.users(UsersQuery { month, ..query(UserSort::Cost, 40) })).unwrap();
            assert!(page.items.is_sorted_by(|a, b| a.month.used.cost >= b.month.used.cost));
            let last = page.items.last().map(|last| i128::from(last.month.used.cost));
            assert!(page.next.is_none_or(|next| Some(next.key) == last));
            let overview = runtime.block_on(reads.overview(glance(1))).unwrap();
            let first_operations = overview.days.iter().filter(|(_, of, _)| of.feature.as_str() == "first");
            let first_operations: u64 = first_operations.map(|(_, _, sums)| sums.operations).sum();
            assert_eq!(overview.active_users, first_operations);
            assert_eq!(overview.states.iter().sum::<u64>(), first_operations);
            assert!(overview.top_users.is_sorted_by(|a, b| a.month.used.cost >= b.month.used.cost));
            count += 1;
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| read(&*reads));
        }
        let mut random = Random::new(1);
        let mut users = 0;
        for batch in 0..300 {
            let mut commands = Vec::new();
            for _ in 0..random.below(10) {
                commands.push(costly(&mut random, &format!("user-{users}"), "first", "first", 0));
                users += 1;
            }
            for place in 0..if users == 0 { 0 } else { 20 } {
                let (user, id) = (format!("user-{}", random.below(users)), format!("{batch}-{place}"));
                let months_ago = random.below(5);
                commands.push(costly(&mut random, &user, &id, "again", months_ago));
            }
            store.commit_now(commands.clone()).unwrap();
        }
        ended.store(true, Ordering::Relaxed);
    });
}

/// Prints how long the operator's reads take with 100,000 users and a million operations:
/// `cargo test --release -p outlay --lib -- --ignored --nocapture operators_reads`.
#[test]
#[ignore = "a measurement, run by hand"]
fn operators_reads() {
    let folder = tempfile::tempdir_in(".").unwrap();
    let (mut store, reads) = store(folder.path());
    let mut random = Random::new(1);
    let now = Timestamp::parse(NOW).unwrap();
    let user = |no: u64| UserId::new(&format!("{:016x}", no.wrapping_mul(0x9e37_79b9_7f4a_7c15))).unwrap();
    for from in (0..100_000).step_by(4_000) {
        let put = |no| Command::PutUser {
            user_id: user(no),
            plan: Some(
                Name::new(["pro", "premium", "business", "enterprise"][usize::try_from(no % 4).unwrap()]).unwrap(),
            ),
            email: None,
            overrides: Overrides { cost: (no % 10 == 0).then_some(Some(7_000_000_000_000)), ..Overrides::default() },
        };
        store.commit_now((from..from + 4_000).map(put).collect::<Vec<_>>()).unwrap();
    }
    for from in (0..1_000_000_u64).step_by(4_000) {
        let mut record = |no: u64| {
            // A few use much.
            let of = random.below(100_000).min(random.below(100_000));
            let feature = format!("feature-{}", random.below(20));
            let at = now.plus_seconds(-i64::try_from(random.below(55 * 86_400)).unwrap());
            let mut command = plain(&user(of), &format!("usage_{no}"), &feature, None, at);
            if let Command::Record(operation) = &mut command {
                operation.cost = Usd::from_picos(i64::try_from(random.below(1 << 36)).unwrap());
                operation.model = Some(Name::new(&format!("model-{}", random.below(5))).unwrap());
            }
            command
        };
        store.commit_now((from..from + 4_000).map(&mut record).collect::<Vec<_>>()).unwrap();
    }
    let open = |no: u64| Command::Open {
        user_id: user(no * 31),
        session_id: outlay_core::id::SessionId::new("s").unwrap(),
        feature: Name::new("feature-1").unwrap(),
        ask: Ask::Estimate(outlay_core::plan::Amounts { cost: 1_000, ai_runs: 0, api_runs: 0 }),
        hold_seconds: 900,
        metadata: None,
    };
    store.commit_now((0..2_000).map(open).collect::<Vec<_>>()).unwrap();

    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let measure = |what: &str, read: &dyn Fn()| {
        let mut took: Vec<_> = (0..60)
            .map(|_| {
                #[expect(clippy::disallowed_methods, reason = "a measurement")]
                let start = std::time::Instant::now();
                read();
                start.elapsed()
            })
            .collect();
        let first = took[0];
        took.sort_unstable();
        println!("{what}: first {first:?}, fastest {:?}, median {:?}, p95 {:?}", took[0], took[30], took[57]);
    };
    measure("overview", &|| assert!(runtime.block_on(reads.overview(glance(5))).unwrap().active_users > 10_000));
    for sort in
        [UserSort::Cost, UserSort::Percent, UserSort::AiRuns, UserSort::ApiRuns, UserSort::LastSeen, UserSort::UserId]
    {
        measure(&format!("users by {sort:?}"), &|| {
            assert_eq!(runtime.block_on(reads.users(query(sort, 50))).unwrap().items.len(), 50);
        });
    }
    let warned = UsersQuery { state: Some(outlay_core::budget::State::Warning), ..query(UserSort::Percent, 50) };
    measure("users in a state", &|| drop(runtime.block_on(reads.users(warned.clone())).unwrap()));
    let active = UsersQuery { active: true, ..warned };
    measure("active users in a state", &|| drop(runtime.block_on(reads.users(active.clone())).unwrap()));
}

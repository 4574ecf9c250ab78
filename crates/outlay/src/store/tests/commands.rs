//! Random commands over few users, sessions and operations, so that they meet.

use std::sync::Arc;

use outlay_core::id::{Label, Name, OperationId, SessionId, UserId, UserNo};
use outlay_core::ledger::Command;
use outlay_core::money::{Quantity, Usd};
use outlay_core::month::Timestamp;
use outlay_core::operation::{Fingerprint, FingerprintBuilder, NewOperation, Tokens, UsageType};
use outlay_core::plan::{Amounts, Limit, Limits, Overrides};
use outlay_core::session::{Ask, Choice, Finish};

use super::rows::Rows;

/// Users' ids: some begin alike, some need care as text.
pub(crate) const USERS: [&str; 8] = ["ada", "adam", "Ada", "a%", "a_", "bob", "bö", "z"];
pub(crate) const FEATURES: [&str; 4] = ["scan", "chat", "Scan", "'; drop table user"];
pub(crate) const PLANS: [&str; 6] = ["base", "pro", "premium", "business", "enterprise", "gold"];

/// A small generator of random numbers (splitmix64), so that a seed means the same for ever.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.draw() % of.len() as u64).unwrap()].clone()
    }

    /// Something, in so many percent of the cases.
    pub(crate) fn maybe<T>(&mut self, percent: u64, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.percent(percent).then(|| make(self))
    }

    pub(crate) fn user(&mut self) -> UserId {
        UserId::new(self.pick(&USERS)).unwrap()
    }

    pub(crate) fn feature(&mut self) -> Name {
        Name::new(self.pick(&FEATURES)).unwrap()
    }

    pub(crate) fn session(&mut self) -> SessionId {
        SessionId::new(&format!("s{}", self.below(12))).unwrap()
    }

    fn amounts(&mut self) -> Amounts {
        Amounts { cost: self.cost(), ai_runs: self.pick(&[0, 1, 2]), api_runs: self.pick(&[0, 0, 1]) }
    }

    fn cost(&mut self) -> i64 {
        self.pick(&[0, 107_850_000, 1_500_000_000, 100_000_000_000, 700_000_000_000])
    }

    fn limit(&mut self) -> Limit {
        self.pick(&[None, Some(0), Some(1), Some(5), Some(1_000_000_000_000)])
    }
}

pub(crate) fn command(random: &mut Random, rows: &Rows, now: Timestamp) -> Command {
    let user_id = random.user();
    match random.below(100) {
        0..50 => record(random, user_id, now),
        50..57 => {
            let known = |random: &mut Random| {
                let operations: Vec<_> = rows.operations.values().map(|row| (row.user_no, &row.operation_id)).collect();
                if operations.is_empty() { None } else { Some(random.pick(&operations)) }
            };
            let (user_id, original) = match known(random) {
                Some((no, original)) => {
                    (rows.users.get(&no).map_or(user_id, |user| user.user_id.clone()), original.clone())
                }
                None => (user_id, operation_id(random)),
            };
            let reason = random.maybe(50, |_| Label::new("a mistake").unwrap());
            Command::Reverse { user_id, original, operation_id: operation_id(random), reason }
        }
        57..69 => Command::Open {
            user_id,
            session_id: random.session(),
            feature: random.feature(),
            ask: ask(random),
            hold_seconds: random.pick(&[60, 900, 86_400]),
            metadata: random.maybe(20, |_| Arc::from(r#"{"page": 1}"#)),
        },
        69..72 => Command::Extend {
            user_id,
            session_id: random.session(),
            hold_seconds: random.pick(&[1, 900, 86_400]),
            estimate: random.maybe(60, Random::amounts),
        },
        72..79 => Command::Finish {
            user_id,
            session_id: random.session(),
            finish: random.pick(&[Finish::Completed, Finish::Failed]),
            error: random.maybe(20, |_| Label::new("it broke").unwrap()),
        },
        79..82 => Command::AuditedCheck { user_id, feature: random.feature(), ask: ask(random) },
        82..86 => Command::Deny {
            user_id,
            feature: random.feature(),
            estimate: random.amounts(),
            reason: Label::new("too late").unwrap(),
            session_id: random.maybe(50, Random::session),
            metadata: random.maybe(20, |_| Arc::from("{}")),
        },
        86..96 => Command::PutUser {
            user_id,
            plan: random.maybe(75, |random| Name::new(random.pick(&PLANS)).unwrap()),
            email: random.maybe(30, |_| Arc::from("ada@example.org")),
            overrides: Overrides {
                cost: random.maybe(30, Random::limit),
                ai_runs: random.maybe(30, Random::limit),
                api_runs: random.maybe(30, Random::limit),
            },
        },
        96..98 => Command::PutPlan {
            name: Name::new(random.pick(&PLANS)).unwrap(),
            limits: Limits { cost: random.limit(), ai_runs: random.limit(), api_runs: random.limit() },
            tier: random.maybe(50, |random| random.pick(&[5, 25, 60])),
        },
        98 if !rows.users.is_empty() => {
            let known: Vec<UserNo> = rows.users.keys().chain(rows.erased.keys()).copied().collect();
            Command::Recheck { user_no: random.pick(&known) }
        }
        _ => Command::Erase { user_id },
    }
}

/// A billable operation with nothing special about it.
pub(crate) fn plain(user_id: &UserId, id: &str, feature: &str, session: Option<&str>, at: Timestamp) -> Command {
    let operation = NewOperation {
        operation_id: OperationId::new(id).unwrap(),
        user_id: user_id.clone(),
        usage_type: UsageType::Ai,
        feature: Name::new(feature).unwrap(),
        provider: Name::new("gemini").unwrap(),
        model: None,
        cost: Usd::from_picos(107_850_000),
        tokens: None,
        units: None,
        is_billable_run: true,
        session_id: session.map(|id| SessionId::new(id).unwrap()),
        step_label: None,
        step_number: None,
        finish_session: None,
        duration_ms: None,
        timestamp: Some(at),
        metadata: None,
        fingerprint: Fingerprint([0; 16]),
    };
    Command::Record(Box::new(operation))
}

fn operation_id(random: &mut Random) -> OperationId {
    OperationId::new(&format!("o{}", random.below(100_000))).unwrap()
}

fn ask(random: &mut Random) -> Ask {
    if random.percent(60) {
        return Ask::Estimate(random.amounts());
    }
    let choice =
        |random: &mut Random, name: &str| Choice { name: Name::new(name).unwrap(), estimate: random.amounts() };
    Ask::Choices([choice(random, "large"), choice(random, "small")].into())
}

fn record(random: &mut Random, user_id: UserId, now: Timestamp) -> Command {
    let session_id = random.maybe(60, Random::session);
    let finish = random.maybe(5, |random| random.pick(&[Finish::Completed, Finish::Failed]));
    let ago = [0, 1, 3_600, 86_400, 5 * 86_400, 30 * 86_400, 62 * 86_400, 400 * 86_400];
    let mut operation = NewOperation {
        operation_id: operation_id(random),
        user_id,
        usage_type: random.pick(&[UsageType::Ai, UsageType::Ai, UsageType::Api]),
        feature: random.feature(),
        provider: Name::new(random.pick(&["unknown", "gemini", "openai"])).unwrap(),
        model: random.maybe(50, |random| Name::new(random.pick(&["flash", "pro"])).unwrap()),
        cost: Usd::from_picos(random.cost()),
        tokens: random.maybe(30, |random| Tokens {
            input: random.below(1_000),
            output: random.below(1_000),
            ..Tokens::default()
        }),
        units: random.maybe(10, |_| Arc::from([(Name::new("pages").unwrap(), Quantity::parse("1.5").unwrap())])),
        is_billable_run: random.percent(60),
        finish_session: finish.filter(|_| session_id.is_some()),
        session_id,
        step_label: random.maybe(20, |_| Label::new("extract").unwrap()),
        step_number: random.maybe(10, |_| 7),
        duration_ms: random.maybe(20, |random| random.below(5_000)),
        timestamp: random.maybe(60, |random| now.plus_seconds(-random.pick(&ago))),
        metadata: random.maybe(10, |_| Arc::from(r#"{"a": [1, 2.50]}"#)),
        fingerprint: Fingerprint([0; 16]),
    };
    operation.fingerprint = FingerprintBuilder::of(&operation, true, true, None);
    Command::Record(Box::new(operation))
}

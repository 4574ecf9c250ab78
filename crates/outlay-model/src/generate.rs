//! Random cases, swarm style: each case switches some kinds of steps off, so that what is left meets more often.
//!
//! A step says what it is about in words that are resolved against the model when it runs ("one pico more than is left"),
//! so that a case stays meaningful when steps are taken out of it.

use outlay_core::session::Finish;

/// A small generator of random numbers (splitmix64), so that a seed means the same for ever.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        self.draw() % end
    }

    pub fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.draw() % of.len() as u64).unwrap()].clone()
    }
}

/// How far the clock of holds moves before a step.
#[derive(Debug, Clone, Copy)]
pub enum Jump {
    Seconds(i64),
    /// To the turn of the month, and so many nanoseconds more or less.
    MonthEnd(i128),
    /// To the next instant at which a session is due, and so many nanoseconds more or less.
    Due(i128),
}

/// From this number on, a session is one of the user's that hold something, and an operation one that is recorded.
pub const EXISTING: u64 = 1 << 32;

/// An amount on one meter.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    Exactly(i64),
    /// What is left of the limit, and so much more or less.
    LeftOfLimit(i64),
    /// What is left of the session's hold, and so much more or less.
    LeftOfHold(i64),
}

/// A limit on one meter.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    OfPlan,
    None,
    Exactly(i64),
    /// What is used now, and so much more or less.
    Used(i64),
}

#[derive(Debug, Clone)]
pub struct NewStep {
    pub api: bool,
    pub run: bool,
    pub cost: Amount,
    pub session: Option<u64>,
    pub finish: Option<Finish>,
    pub number: Option<i64>,
    /// Seconds before now; `None` leaves the time out.
    pub ago: Option<i64>,
    /// Whether it keeps to what its session's hold covers, or is left out.
    pub covered: bool,
}

#[derive(Debug, Clone)]
pub enum Action {
    Record {
        operation: u64,
        feature: u64,
        step: NewStep,
    },
    /// An earlier command of this case once more, word for word.
    Again(u64),
    Reverse {
        original: u64,
        operation: u64,
    },
    Open {
        session: u64,
        feature: u64,
        ways: Vec<[Amount; 3]>,
        choices: bool,
        seconds: i64,
    },
    Extend {
        session: u64,
        seconds: i64,
        estimate: Option<[Amount; 3]>,
    },
    Finish {
        session: u64,
        finish: Finish,
        error: bool,
    },
    Expire(u64),
    Check {
        ways: Vec<[Amount; 3]>,
        choices: bool,
    },
    Audit {
        feature: u64,
        ways: Vec<[Amount; 3]>,
        choices: bool,
    },
    Deny {
        estimate: [Amount; 3],
        session: Option<u64>,
    },
    PutUser {
        plan: Option<u64>,
        limits: [Limit; 3],
        email: bool,
    },
    PutPlan {
        name: u64,
        limits: [Limit; 3],
        tier: Option<u32>,
    },
    Erase,
    Recheck(u64),
    Commit,
    Shrink,
    Restart,
}

#[derive(Debug, Clone)]
pub struct Step {
    pub jump: Jump,
    /// Seconds by which the wall clock is off.
    pub wall_off: i64,
    pub user: u64,
    pub action: Action,
}

/// What a case is like: drawn once, then all of its steps.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own, which is what a swarm is")]
struct Swarm {
    random: Random,
    users: u64,
    operations: u64,
    sessions: u64,
    /// Everybody asks first: every operation is covered by a hold, and limits stay.
    asks_first: bool,
    jumps: bool,
    wall_off: bool,
    huge: bool,
    kinds: Vec<u64>,
    batch_end_percent: u64,
}

/// The steps of the case with this seed.
pub fn case(seed: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let asks_first = random.percent(25);
    let huge = random.percent(10);
    let mut swarm = Swarm {
        // A month is full after nine of the largest amounts: they must come to one user.
        users: if huge { 1 } else { random.below(4) + 1 },
        operations: random.pick(&[6, 40, 1000]),
        sessions: random.pick(&[2, 6, 30]),
        asks_first,
        jumps: random.percent(80),
        wall_off: !asks_first && random.percent(30),
        huge,
        kinds: Vec::new(),
        batch_end_percent: random.pick(&[100, 30, 5]),
        random,
    };
    // Kinds by weight; each kind but recording and opening is switched off in about a third of the cases.
    for (kind, weight) in [
        (0, 30),
        (1, 20),
        (2, 8),
        (3, 10),
        (4, 6),
        (5, 6),
        (6, 4),
        (7, 4),
        (8, 3),
        (9, 3),
        (10, 5),
        (11, 2),
        (12, 2),
        (13, 2),
        (14, 6),
    ] {
        let limits_change = matches!(kind, 10..=11);
        if kind < 2 || (swarm.random.percent(66) && !(asks_first && limits_change)) {
            swarm.kinds.extend(std::iter::repeat_n(kind, weight));
        }
    }
    let length = swarm.random.pick(&[10, 30, 60]);
    let mut steps: Vec<Step> = (0..swarm.users).filter_map(|user| swarm.first(user)).collect();
    for _ in 0..length {
        let step = swarm.step();
        steps.push(step);
        if swarm.random.percent(swarm.batch_end_percent) {
            let action = swarm.random.pick(&[Action::Commit, Action::Commit, Action::Shrink, Action::Restart]);
            steps.push(Step { jump: Jump::Seconds(0), wall_off: 0, user: 0, action });
        }
    }
    steps
}

impl Swarm {
    /// Most users are put on a plan first; in half of the cases with limits that are soon reached.
    fn first(&mut self, user: u64) -> Option<Step> {
        let tight = self.random.percent(50);
        let limits = if tight { [(); 3].map(|()| self.tight_limit()) } else { [Limit::OfPlan; 3] };
        let action = Action::PutUser { plan: Some(self.random.below(5)), limits, email: false };
        self.random.percent(85).then_some(Step { jump: Jump::Seconds(0), wall_off: 0, user, action })
    }

    fn tight_limit(&mut self) -> Limit {
        self.random.pick(&[
            Limit::OfPlan,
            Limit::None,
            Limit::Exactly(0),
            Limit::Exactly(1),
            Limit::Exactly(5),
            Limit::Exactly(20),
        ])
    }

    fn step(&mut self) -> Step {
        let jump = if self.jumps && self.random.percent(40) { self.jump() } else { Jump::Seconds(0) };
        let wall_off = if self.wall_off && self.random.percent(30) {
            self.random.pick(&[-90_000, -60, -1, 1, 60, 3_600])
        } else {
            0
        };
        let user = self.random.below(self.users);
        let kind = self.random.pick(&self.kinds.clone());
        Step { jump, wall_off, user, action: self.action(kind) }
    }

    fn jump(&mut self) -> Jump {
        let seconds = [1, 30, 59, 60, 61, 900, 3_600, 86_399, 86_400, 40 * 86_400, 100 * 86_400];
        match self.random.below(4) {
            0 => Jump::MonthEnd(self.random.pick(&[-60_000_000_000, -1, 0, 1])),
            1 => Jump::Due(self.random.pick(&[-1, 0, 1])),
            _ => Jump::Seconds(self.random.pick(&seconds)),
        }
    }

    fn action(&mut self, kind: u64) -> Action {
        let session = self.random.below(self.sessions);
        let existing = self.session();
        let operation = self.random.below(self.operations);
        let feature = u64::from(self.random.percent(10));
        let choices = self.random.percent(40);
        match kind {
            0 => Action::Record { operation, feature, step: self.new_step() },
            1 => Action::Open { session, feature, ways: self.ways(choices), choices, seconds: self.seconds() },
            2 => Action::Finish { session: existing, finish: self.finish(), error: self.random.percent(30) },
            3 => Action::Again(self.random.draw()),
            4 => {
                let original = if self.random.percent(70) { EXISTING + self.random.below(1_000) } else { operation };
                Action::Reverse { original, operation: self.random.below(self.operations) }
            }
            5 => {
                let estimate = self.random.percent(70).then(|| self.amounts());
                Action::Extend { session: existing, seconds: self.seconds(), estimate }
            }
            6 => Action::Expire(self.random.draw()),
            7 => Action::Check { ways: self.ways(choices), choices },
            8 => Action::Audit { feature, ways: self.ways(choices), choices },
            9 => Action::Deny { estimate: self.amounts(), session: self.random.percent(60).then_some(session) },
            10 => {
                let plan = self.random.percent(80).then(|| self.random.below(7));
                Action::PutUser { plan, limits: [(); 3].map(|()| self.limit()), email: self.random.percent(30) }
            }
            11 => {
                let tier = self.random.percent(50).then(|| self.random.pick(&[5, 20, 25, 60]));
                Action::PutPlan { name: self.random.below(6), limits: [(); 3].map(|()| self.limit()), tier }
            }
            12 => Action::Erase,
            13 => Action::Recheck(self.random.draw()),
            // New operations of sessions that hold something, which is where holds are drawn to the end.
            _ => Action::Record {
                operation: self.random.draw() % EXISTING,
                feature,
                step: NewStep { session: Some(EXISTING + session), ..self.new_step() },
            },
        }
    }

    fn new_step(&mut self) -> NewStep {
        let session = self.random.percent(70).then(|| self.session());
        let finish = (self.random.percent(10)).then(|| self.finish());
        let ago = [0, 1, 60, 3_600, 86_400, 30 * 86_400, -86_400, -86_401, -3_600];
        NewStep {
            api: self.random.percent(40),
            run: self.random.percent(50),
            cost: self.amount(),
            session,
            finish: finish.filter(|_| session.is_some() || self.random.percent(20)),
            number: self.random.percent(10).then_some(7),
            ago: self.random.percent(30).then(|| self.random.pick(&ago)),
            covered: self.asks_first,
        }
    }

    fn finish(&mut self) -> Finish {
        self.random.pick(&[Finish::Completed, Finish::Completed, Finish::Failed])
    }

    fn session(&mut self) -> u64 {
        if self.random.percent(50) { EXISTING + self.random.below(1_000) } else { self.random.below(self.sessions) }
    }

    fn seconds(&mut self) -> i64 {
        self.random.pick(&[1, 60, 900, 900, 3_600, 86_400, 86_400])
    }

    fn ways(&mut self, choices: bool) -> Vec<[Amount; 3]> {
        let count = if choices { self.random.below(3) + 1 } else { 1 };
        (0..count).map(|_| self.amounts()).collect()
    }

    fn amounts(&mut self) -> [Amount; 3] {
        [(); 3].map(|()| if self.random.percent(40) { Amount::Exactly(0) } else { self.amount() })
    }

    fn amount(&mut self) -> Amount {
        let near = self.random.pick(&[-1, 0, 1]);
        if self.huge && self.random.percent(70) {
            return Amount::Exactly(i64::MAX);
        }
        match self.random.below(10) {
            0 => Amount::Exactly(0),
            1 | 2 => Amount::Exactly(1),
            3 | 4 => Amount::Exactly(self.random.pick(&[2, 3, 5])),
            5 | 6 => Amount::LeftOfLimit(near),
            7 | 8 => Amount::LeftOfHold(near),
            _ => Amount::Exactly(1_500_000_000),
        }
    }

    fn limit(&mut self) -> Limit {
        match self.random.below(3) {
            0 => self.tight_limit(),
            1 => Limit::Used(self.random.pick(&[-1, 0, 1])),
            _ => Limit::OfPlan,
        }
    }
}

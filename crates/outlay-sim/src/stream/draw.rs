//! What a seed stands for: how the store is made, and turn by turn what is asked and what goes wrong.

use outlay::store::embedded::runs::{Division, RunSettings};
use outlay::store::embedded::{Marks, Sizes, SweepSizes};
use outlay_model::generate::{self, Action, Amount, EXISTING, Jump, Random, Step};

use crate::disk::Options;
use crate::fault::{Armed, Fault, Stop};
use crate::service::Make;

/// Cases in which many operations are recorded: so many that runs of a duplicate index have several segments.
const CROWDED_PERCENT: u64 = 8;
/// Operations that are recorded there with each one.
const CROWD: usize = 9;
/// Percent of the steps there after which the process ends and the next begins.
const RESTART_PERCENT: u64 = 15;

/// Percent of the cases that end with [`denied_again`].
const DENIED_AGAIN_PERCENT: u64 = 5;

/// A segment for some thirty keys.
const FINEST: Division = Division { chunk_blocks: 1, segment_chunks: 1 };

/// Where a store that knows its space takes less: a batch writes a few dozen KiB.
const MARKS: Marks = Marks { reserve: 160_000, intents: 200_000, facts: 120_000, all: 60_000 };

/// A case, drawn from a seed.
#[derive(Clone, Debug)]
pub struct Case {
    /// How the store is made.
    pub make: Make,
    /// What the disk is like.
    pub disk: Options,
    /// How many users are watched.
    pub watched_users: u64,
    /// How many requests, of a hundred, are sent twice at once.
    pub twice_percent: u64,
    /// How many requests, of a hundred, have a client that does not wait for the answer.
    pub leaving_percent: u64,
    /// How many batches, of a hundred, have their requests in another order.
    pub reorders_percent: u64,
    /// What happens, in order.
    pub turns: Vec<Turn>,
}

/// One step of the clients, and what goes wrong around it.
#[derive(Clone, Debug)]
pub struct Turn {
    /// What is asked.
    pub step: Step,
    /// What goes wrong when the service next works.
    pub fault: Option<Armed>,
    /// How the process ends, if this turn ends it.
    pub end: End,
    /// Whether a crash at every write of the next batch is looked at.
    pub probed: bool,
    /// The source of the other choices of this turn.
    pub dice: u64,
}

impl Turn {
    /// The same without a fault.
    pub(super) fn well(&self) -> Self {
        Self { fault: None, ..self.clone() }
    }
}

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// As its operator asks.
    Closed,
    /// By itself: it leaves its connections to their destructors.
    Exited,
    /// By a crash.
    Crashed(Stop),
}

/// The case of a seed. Every kind of fault is off in some of them, so that what is left meets more often.
pub fn case(seed: u64) -> Case {
    let mut random = Random::new(seed ^ 0x5157_0a7b_1e5e_ed00);
    let honest = random.percent(15);
    let kinds = [
        Fault::Crash(Stop::Power),
        Fault::Crash(Stop::PowerAllLost),
        Fault::Crash(Stop::Kill),
        Fault::FailedSync,
        Fault::FailedWrite,
        Fault::FailedRead,
        Fault::FullDisk,
    ];
    let kinds: Vec<Fault> = kinds.into_iter().filter(|_| !honest && random.percent(60)).collect();
    let fault_percent = random.pick(&[5, 15, 40]);
    let mut make = Make {
        seed: random.draw(),
        runs: RunSettings {
            hash_bits: random.pick(&[4, 12, 64]),
            map_keys: random.pick(&[3, 8, 20, 40, 1_000]),
            merge_runs: random.pick(&[2, 3]),
            division: random.pick(&[FINEST, Division { chunk_blocks: 1, segment_chunks: 2 }, Division::OF_FILES]),
            slice_keys: random.pick(&[1, 3, 128]),
            merge_slice_keys: random.pick(&[1, 4, 512]),
        },
        cache_kib: u32::try_from(random.pick(&[64, 256, 4_096])).unwrap_or(256),
        sizes: Sizes {
            books_users: usize::try_from(random.pick(&[0, 1, 100])).unwrap_or(0),
            books_sessions: usize::try_from(random.pick(&[0, 2, 100])).unwrap_or(0),
            log_pages: random.pick(&[1, 12, 60, 4_000]),
            wiped_rows: usize::try_from(random.pick(&[1, 3, 200])).unwrap_or(3),
            merged_keys: random.pick(&[1, 5, 2_000]),
            trimmed_rows: usize::try_from(random.pick(&[1, 3, 200])).unwrap_or(3),
            sweep: SweepSizes {
                rows_at_once: usize::try_from(random.pick(&[0, 0, 1, 2, 16])).unwrap_or(0),
                rows_while_idle: usize::try_from(random.pick(&[1, 2, 256])).unwrap_or(1),
                operations_behind: random.pick(&[2, 6, 20, 60, 300_000]),
            },
        },
        marks: seed.is_multiple_of(2).then_some(MARKS),
    };
    let disk = Options {
        powersafe_overwrite: random.percent(50),
        safe_append: random.percent(20),
        reported_sector_bytes: random.pick(&[512, 4_096]).try_into().unwrap_or(4_096),
        ..Options::seeded(random.draw())
    };
    let probe_percent = random.pick(&[0, 2, 5]);
    let crowded = random.percent(CROWDED_PERCENT);
    if crowded {
        make.runs.map_keys = random.pick(&[20, 40]);
        make.runs.merge_runs = 2;
        make.runs.division = FINEST;
    }
    let mut others = Random::new(random.draw());
    let mut clients = Random::new(others.draw());
    let watched_users = clients.pick(&[0, 1, 4]);
    let (twice_percent, leaving_percent) = (clients.pick(&[0, 5, 30]), clients.pick(&[0, 5, 30]));
    let reorders_percent = clients.pick(&[0, 20]);
    let last = if clients.percent(DENIED_AGAIN_PERCENT) { denied_again() } else { Vec::new() };
    let knows_space = make.marks.is_some();
    let mut draw = Draw { kinds, fault_percent, probe_percent, knows_space, random };
    let steps = generate::case(seed).into_iter().flat_map(|step| {
        // What an erasure leaves to be wiped is wiped in idle moments, in which much may happen too.
        let idle = Step { jump: Jump::Seconds(0), action: Action::Shrink, ..step.clone() };
        let moments = if matches!(step.action, Action::Erase) { 3 } else { 0 };
        let crowd = if crowded { CROWD } else { 0 };
        let alike: Vec<Step> = (0..crowd).filter_map(|_| another(&step, &mut others)).collect();
        // Their merges take long, and must meet the end of a process.
        let end = Step { action: Action::Restart, ..idle.clone() };
        let ends = usize::from(crowded && others.percent(RESTART_PERCENT));
        std::iter::once(step)
            .chain(alike)
            .chain(std::iter::repeat_n(end, ends))
            .chain(std::iter::repeat_n(idle, moments))
    });
    let turns = steps.chain(last).map(|step| draw.turn(step)).collect();
    Case { make, disk, watched_users, twice_percent, leaving_percent, reorders_percent, turns }
}

/// A denial, another that a slow clock dates, and the first once more in the next process, where it must be found behind
/// the other. So much after one another is drawn too rarely.
fn denied_again() -> Vec<Step> {
    let step = |action, wall_off| Step { jump: Jump::Seconds(0), wall_off, user: 0, action };
    // Numbers that no other step has.
    let denied = |session: u64, wall_off| {
        let (feature, ways) = (0, vec![[1, 1, 1].map(Amount::LeftOfLimit)]);
        let open = Action::Open { session: 1_000_000 + session, feature, ways, choices: false, seconds: 900 };
        [step(open, wall_off), step(Action::Commit, wall_off)]
    };
    let restart = [step(Action::Restart, 0)];
    denied(0, 0).into_iter().chain(denied(1, -90)).chain(restart).chain(denied(0, 0)).collect()
}

/// The same with an operation of its own, if it records one.
fn another(step: &Step, random: &mut Random) -> Option<Step> {
    let Action::Record { feature, step: new, .. } = &step.action else { return None };
    let action = Action::Record { operation: random.below(EXISTING), feature: *feature, step: new.clone() };
    Some(Step { jump: Jump::Seconds(0), action, ..step.clone() })
}

struct Draw {
    kinds: Vec<Fault>,
    fault_percent: u64,
    probe_percent: u64,
    knows_space: bool,
    random: Random,
}

impl Draw {
    fn turn(&mut self, step: Step) -> Turn {
        let random = &mut self.random;
        // Rare paths get a fault more often.
        let rare = matches!(step.action, Action::Shrink | Action::Restart);
        let faulty = !self.kinds.is_empty() && random.percent(if rare { 50 } else { self.fault_percent });
        let fault = faulty.then(|| {
            let fault = random.pick(&self.kinds);
            // Small numbers are met by every batch, large ones by what comes after it.
            let calls = random.pick(if rare { &[1, 2, 4, 8] } else { &[1, 2, 4, 10, 25, 60] });
            let bytes = random.pick(if self.knows_space {
                &[1, 60_000, 120_000, 240_000]
            } else {
                &[1, 5_000, 20_000, 60_000]
            });
            let after = random.below(if fault == Fault::FullDisk { bytes } else { calls });
            Armed { fault, after }
        });
        let crash = End::Crashed(random.pick(&Stop::ALL));
        let end = random.pick(&[End::Closed, End::Exited, crash, crash]);
        Turn { step, fault, end, probed: random.percent(self.probe_percent), dice: random.draw() }
    }
}

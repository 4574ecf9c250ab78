//! What a seed stands for: how many nodes and buckets there are, what is asked, and how often each thing goes wrong.

use outlay_model::generate::{self, Action, Random, Step};

use super::database::Event;

/// How often each thing happens to a statement, in percent of the times at which it could.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// A connection is cut.
    pub cut: u64,
    /// A statement, or COMMIT, is refused.
    pub abort: u64,
    /// Waiting for a lock is given up.
    pub lock_timeout: u64,
    /// A client does not wait for its COMMIT any longer.
    pub watch: u64,
    /// Whether operations of [`POISON_PICOS`] cannot be written.
    pub poison: bool,
}

/// What the operations cost that cannot be written, where some cannot.
pub const POISON_PICOS: i64 = 3;

/// A case, drawn from a seed.
#[derive(Debug, Clone)]
pub struct Case {
    /// How many nodes.
    pub nodes: usize,
    /// 2 to the power of this many buckets.
    pub bits: u32,
    /// What happens to statements.
    pub rates: Rates,
    /// What happens to the database, each as often as it stands here.
    pub events: Vec<Event>,
    /// How many requests, of a hundred, are sent to two nodes at once.
    pub twice_percent: u64,
    /// How many answers, of a hundred, do not reach who asked.
    pub lost_percent: u64,
    /// How many records are written, for a hundred steps.
    pub records_percent: u64,
    /// How much happens between two requests, at most.
    pub ticks: u64,
    /// What is asked, in order.
    pub turns: Vec<Turn>,
}

/// A step of the clients, and the source of all choices until the next.
#[derive(Debug, Clone)]
pub struct Turn {
    /// What is asked.
    pub step: Step,
    /// The source of choices.
    pub dice: u64,
}

/// The case of a seed. Each thing that goes wrong is off in some of them, so that what is left meets more often.
pub fn case(seed: u64) -> Case {
    let mut random = Random::new(seed ^ 0x0d15_7a17_9b0d_e500);
    let calm = random.percent(5);
    let mut rate = |of: &[u64]| if calm || random.percent(35) { 0 } else { random.pick(of) };
    let rates = Rates {
        cut: rate(&[1, 3, 8]),
        abort: rate(&[1, 3, 8]),
        lock_timeout: rate(&[2, 10]),
        watch: rate(&[2, 5, 15]),
        poison: !calm && random.percent(20),
    };
    let mut events = vec![Event::Work; 8];
    events.extend([Event::Up; 3]);
    // A standby that is far behind is where most may be lost.
    events.extend(std::iter::repeat_n(Event::Replicate, random.pick(&[1, 2, 6])));
    for event in [Event::Cancel, Event::Terminate, Event::Restart, Event::Failover, Event::Standby] {
        if !calm && random.percent(50) {
            events.extend(std::iter::repeat_n(event, random.pick(&[1, 1, 3])));
        }
    }
    let bits = u32::try_from(random.pick(&[0, 0, 1, 2])).unwrap_or(0);
    let nodes = usize::try_from(random.pick(&[2, 3, 4])).unwrap_or(2);
    let twice_percent = random.pick(&[0, 10, 40]);
    let lost_percent = random.pick(&[0, 5, 25]);
    let records_percent = random.pick(&[0, 0, 20]);
    let ticks = random.pick(&[3, 20, 60, 150]);
    // A plan is nobody's, and a user's number is their bucket's own: both are asked for where there is one order.
    let asked = |step: &Step| bits == 0 || !matches!(step.action, Action::PutPlan { .. } | Action::Recheck(_));
    let steps = generate::case(seed).into_iter().filter(asked);
    let turns = steps.map(|step| Turn { step, dice: random.draw() }).collect();
    Case { nodes, bits, rates, events, twice_percent, lost_percent, records_percent, ticks, turns }
}

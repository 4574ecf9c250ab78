//! Clients under load: in a closed loop each does a cycle, waits for the whole answer, and does the next; in an open one
//! cycles are due at times that nobody's answer puts off. They share one thread, so that they leave the cores to the server.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use tokio::task::LocalSet;

use crate::cpu;
use crate::pace::{Arrivals, Due, Schedule};
use crate::requests::{Source, Values};

/// How long clients ask, how many there are, and what they wait for.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) clients: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
    pub(crate) pace: Pace,
}

#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// For the answer before.
    Closed,
    /// For the time that a cycle is due: so many a second, at random, as from many who do not know of each other.
    Open { per_second: f64 },
}

/// What asks, one cycle at a time.
pub(crate) trait Client {
    /// Does one cycle about these values. The error is what was answered in place of a success.
    async fn cycle(&mut self, values: &[Values]) -> Result<(), String>;
}

/// What was seen in the measured time.
pub(crate) struct Measured {
    /// Cycles that ended in it.
    pub(crate) cycles: u64,
    pub(crate) seconds: f64,
    /// The same with the warming up, and until the last answer came.
    pub(crate) whole_seconds: f64,
    /// Whole cycles, in microseconds: in a closed loop those that ended in it, from when they began; in an open one those
    /// that were due in it, from when they were due, however late they were sent.
    pub(crate) latency: Histogram<u64>,
    /// Cycles without a success.
    pub(crate) failures: u64,
    /// What the first of them was answered.
    pub(crate) failure: Option<String>,
    /// Cycles that were due and never sent: it was given up when they were late by the measured time. In `latency` they
    /// are as late as they were then.
    pub(crate) unsent: u64,
    /// Of the clients' own thread.
    pub(crate) cpu_seconds: f64,
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000, 3).unwrap()
}

impl Measured {
    pub(crate) fn new() -> Self {
        Self {
            cycles: 0,
            seconds: 0.0,
            whole_seconds: 0.0,
            latency: histogram(),
            failures: 0,
            failure: None,
            unsent: 0,
            cpu_seconds: 0.0,
        }
    }

    /// Takes in what another round of the same saw.
    pub(crate) fn add(&mut self, other: Self) {
        self.seconds += other.seconds;
        self.whole_seconds += other.whole_seconds;
        self.cpu_seconds += other.cpu_seconds;
        self.join(other);
    }

    /// Takes in what others saw in the same time.
    pub(crate) fn join(&mut self, other: Self) {
        self.cycles += other.cycles;
        self.latency.add(other.latency).unwrap();
        self.failures += other.failures;
        self.failure = self.failure.take().or(other.failure);
        self.unsent += other.unsent;
    }

    /// A cycle has ended.
    pub(crate) fn note(&mut self, window: &Window, began: Began, answer: Result<(), String>) {
        let now = Instant::now();
        if let Err(failure) = answer {
            self.failures += 1;
            self.failure.get_or_insert(failure);
        }
        let ended_in_it = window.holds(now);
        self.cycles += u64::from(ended_in_it);
        let (since, counts) = match began {
            Began::Now(began) => (began, ended_in_it),
            Began::WasDue(due) => (due, window.holds(due)),
        };
        if counts {
            self.record(now - since);
        }
    }

    /// A cycle was due and is given up.
    pub(crate) fn give_up(&mut self, window: &Window, due: Instant) {
        self.unsent += 1;
        if window.holds(due) {
            self.record(due.elapsed());
        }
    }

    pub(crate) fn record(&mut self, took: Duration) {
        self.latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// The time is over, and every cycle has ended.
    pub(crate) fn close(&mut self, window: &Window) {
        self.seconds = (window.ends - window.begins).as_secs_f64();
        self.whole_seconds = window.made.elapsed().as_secs_f64();
    }
}

/// From when a cycle's time is counted.
#[derive(Clone, Copy)]
pub(crate) enum Began {
    Now(Instant),
    WasDue(Instant),
}

/// The time in which what ends is counted, whenever it began: with long answers, those that were on their way when it
/// began stand for those that still are when it ends.
#[derive(Clone, Copy)]
pub(crate) struct Window {
    pub(crate) made: Instant,
    begins: Instant,
    pub(crate) ends: Instant,
    /// What is due and not sent by then is given up.
    pub(crate) gives_up: Instant,
}

impl Window {
    pub(crate) fn new(load: &Load) -> Self {
        let made = Instant::now();
        let begins = made + load.warm_up;
        let ends = begins + load.measured;
        Self { made, begins, ends, gives_up: ends + load.measured }
    }

    pub(crate) fn is_over(&self, now: Instant) -> bool {
        now >= self.ends
    }

    fn holds(&self, time: Instant) -> bool {
        time >= self.begins && time < self.ends
    }
}

/// What the clients of one loop share; they take turns on one thread.
struct Shared {
    window: Window,
    source: Source,
    measured: Measured,
    /// CPU seconds of the thread when the first cycle ended after the window began, and after it ended.
    cpu: [Option<f64>; 2],
}

impl Shared {
    fn note(&mut self, began: Began, answer: Result<(), String>) {
        let now = Instant::now();
        let [first, last] = &mut self.cpu;
        if now >= self.window.begins {
            first.get_or_insert_with(cpu::of_this_thread);
        }
        if self.window.is_over(now) {
            last.get_or_insert_with(cpu::of_this_thread);
        }
        self.measured.note(&self.window, began, answer);
    }
}

impl Load {
    /// Lets clients ask until the time is over, each cycle about so many operations. The time begins when all are made.
    pub(crate) fn drive<C: Client + 'static>(
        &self,
        operations: usize,
        source: &mut Source,
        clients: impl Future<Output = Vec<C>>,
    ) -> Measured {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let local = LocalSet::new();
        let shared = runtime.block_on(local.run_until(async {
            let clients = clients.await;
            let window = Window::new(self);
            let source = source.take();
            let shared = Shared { window, source, measured: Measured::new(), cpu: [None; 2] };
            let shared = Rc::new(RefCell::new(shared));
            let arrivals = match self.pace {
                Pace::Closed => None,
                Pace::Open { per_second } => {
                    let schedule = Schedule::new(per_second, &window);
                    let arrivals = Rc::new(Arrivals::new(window.gives_up));
                    tokio::task::spawn_local(Rc::clone(&arrivals).come(schedule));
                    Some(arrivals)
                }
            };
            let tasks: Vec<_> = clients
                .into_iter()
                .map(|client| match &arrivals {
                    None => tokio::task::spawn_local(closed(client, operations, Rc::clone(&shared))),
                    Some(arrivals) => {
                        let arrivals = Rc::clone(arrivals);
                        tokio::task::spawn_local(open(client, operations, Rc::clone(&shared), arrivals))
                    }
                })
                .collect();
            for task in tasks {
                task.await.unwrap();
            }
            shared
        }));
        let Ok(shared) = Rc::try_unwrap(shared) else { unreachable!("every client has ended") };
        let Shared { window, source: used, mut measured, cpu: [first, last] } = shared.into_inner();
        *source = used;
        measured.close(&window);
        measured.cpu_seconds = first.map_or(0.0, |first| last.unwrap_or_else(cpu::of_this_thread) - first);
        measured
    }
}

async fn closed(mut client: impl Client, operations: usize, shared: Rc<RefCell<Shared>>) {
    let mut values = Vec::with_capacity(operations);
    loop {
        let began = Instant::now();
        if shared.borrow().window.is_over(began) {
            return;
        }
        shared.borrow_mut().source.refill(&mut values, operations);
        let answer = client.cycle(&values).await;
        shared.borrow_mut().note(Began::Now(began), answer);
    }
}

async fn open(mut client: impl Client, operations: usize, shared: Rc<RefCell<Shared>>, arrivals: Rc<Arrivals>) {
    let mut values = Vec::with_capacity(operations);
    while let Some(due) = arrivals.next().await {
        match due {
            Due::Now(due) => {
                shared.borrow_mut().source.refill(&mut values, operations);
                let answer = client.cycle(&values).await;
                shared.borrow_mut().note(Began::WasDue(due), answer);
            }
            Due::TooLate(due) => {
                let shared = &mut *shared.borrow_mut();
                shared.measured.give_up(&shared.window, due);
            }
        }
    }
}

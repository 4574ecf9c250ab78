//! Callers with a pool of connections: in a closed loop a few ask as fast as they are answered; in an open one requests are
//! due at times that nobody's answer puts off.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;

use super::seen::{Seen, What};
use crate::http::Connection;
use crate::pace::{Schedule, timer::Timer};
use crate::requests::{Kind, Source, Template, Values};

/// Requests that are let go one after another at most before others have their turn, if they are all late.
const AT_ONCE: usize = 32;

/// What becomes of a request that is due while every connection waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Busy {
    /// It waits for a connection.
    Waits,
    /// It is not sent, and counted. With more due than the pool can carry, waiting for a connection would be all that is
    /// measured.
    IsGivenUp,
}

/// One connection, and what it can ask.
struct Caller {
    connection: Connection,
    open: Template,
    record: Template,
    finish: Template,
}

impl Caller {
    async fn connect(address: SocketAddr) -> Self {
        let [open, _, finish] = Kind::Session.templates().try_into().unwrap_or_else(|_| unreachable!("it has three"));
        let [record] = Kind::Record.templates().try_into().unwrap_or_else(|_| unreachable!("it has one"));
        let mut connection = Connection::open(address).await;
        // Of those who have said nothing yet the server has room for fewer.
        let status = connection.exchange(b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").await;
        assert_eq!(status, 200);
        Self { connection, open, record, finish }
    }

    async fn ask(&mut self, what: What, values: Values) -> u16 {
        let template = match what {
            What::Intent => &mut self.open,
            What::Fact => &mut self.record,
            What::Finish => &mut self.finish,
        };
        self.connection.exchange(template.fill(&[values])).await
    }
}

/// What all callers share; they take turns on one thread.
pub(super) struct Pool {
    idle: RefCell<VecDeque<Caller>>,
    /// Requests that wait for a connection.
    waiting: RefCell<VecDeque<Instant>>,
    size: usize,
    source: RefCell<(Source, Pcg64)>,
    /// Sessions that were opened and not finished yet.
    open: RefCell<VecDeque<Values>>,
}

impl Pool {
    pub(super) async fn connect(address: SocketAddr, size: usize, source: Source) -> Rc<Self> {
        let mut idle = VecDeque::with_capacity(size);
        for _ in 0..size {
            idle.push_back(Caller::connect(address).await);
        }
        Rc::new(Self {
            idle: RefCell::new(idle),
            waiting: RefCell::default(),
            size,
            source: RefCell::new((source, Pcg64::seed_from_u64(2))),
            open: RefCell::default(),
        })
    }

    /// So many callers ask, each when it is answered.
    pub(super) async fn closed(self: &Rc<Self>, callers: usize, measured: Duration) -> Seen {
        let seen = Rc::new(RefCell::new(Seen::new(measured)));
        let ends = Instant::now() + measured;
        let tasks: Vec<_> = (0..callers.min(self.size))
            .map(|_| {
                let (pool, seen) = (Rc::clone(self), Rc::clone(&seen));
                let mut caller = self.idle.borrow_mut().pop_front().unwrap();
                tokio::task::spawn_local(async move {
                    while Instant::now() < ends {
                        pool.one(&mut caller, Instant::now(), &seen).await;
                    }
                    pool.idle.borrow_mut().push_back(caller);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        Rc::into_inner(seen).unwrap().into_inner()
    }

    /// So many requests a second are due; gives what was seen once all that were sent are answered.
    pub(super) async fn open(self: &Rc<Self>, per_second: f64, measured: Duration, busy: Busy) -> Seen {
        let seen = Rc::new(RefCell::new(Seen::new(measured)));
        let begins = Instant::now();
        let timer = Timer::new();
        let mut at_once = 0;
        for due in Schedule::between(per_second, begins, begins + measured) {
            at_once = if Instant::now() < due { 0 } else { at_once + 1 };
            timer.until(due).await;
            if at_once == AT_ONCE {
                at_once = 0;
                tokio::task::yield_now().await;
            }
            seen.borrow_mut().due += 1;
            let caller = self.idle.borrow_mut().pop_front();
            match (caller, busy) {
                (Some(caller), _) => {
                    drop(tokio::task::spawn_local(Rc::clone(self).answer(caller, due, Rc::clone(&seen))));
                }
                (None, Busy::Waits) => self.waiting.borrow_mut().push_back(due),
                (None, Busy::IsGivenUp) => seen.borrow_mut().unsent += 1,
            }
        }
        while self.idle.borrow().len() < self.size {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // The last task may still be on its way to its end.
        while Rc::strong_count(&seen) > 1 {
            tokio::task::yield_now().await;
        }
        Rc::into_inner(seen).unwrap().into_inner()
    }

    /// One request, and then those that wait for a connection.
    async fn answer(self: Rc<Self>, mut caller: Caller, mut due: Instant, seen: Rc<RefCell<Seen>>) {
        loop {
            self.one(&mut caller, due, &seen).await;
            let next = self.waiting.borrow_mut().pop_front();
            match next {
                Some(next) => due = next,
                None => break,
            }
        }
        // In turns, so that none is idle for so long that the server hangs up.
        self.idle.borrow_mut().push_back(caller);
    }

    async fn one(&self, caller: &mut Caller, due: Instant, seen: &RefCell<Seen>) {
        let (what, values) = self.next();
        let status = caller.ask(what, values).await;
        if what == What::Intent && matches!(status, 200 | 201) {
            self.open.borrow_mut().push_back(values);
        }
        if what == What::Finish && status == 429 {
            self.open.borrow_mut().push_back(values);
        }
        seen.borrow_mut().note(what, due, status, caller.connection.body());
    }

    /// Of ten requests seven open a session, two record, one finishes a session; while none is open, it records.
    fn next(&self) -> (What, Values) {
        let (source, random) = &mut *self.source.borrow_mut();
        match random.next_u64() % 10 {
            0..=6 => (What::Intent, source.values()),
            7 | 8 => (What::Fact, source.values()),
            _ => match self.open.borrow_mut().pop_front() {
                Some(values) => (What::Finish, values),
                None => (What::Fact, source.values()),
            },
        }
    }
}

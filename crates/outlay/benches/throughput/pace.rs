//! When the cycles of an open loop are due: at times drawn before anybody has answered, so that a server that stands still
//! for a second makes all wait that were due in it, and not only those that it had already let in.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use tokio::sync::Notify;

use crate::load::Window;

/// Times at random, so many a second in the mean: each next one is as far as if nobody knew of the one before.
pub(crate) struct Schedule {
    random: Pcg64,
    mean: f64,
    last: Instant,
    ends: Instant,
}

impl Schedule {
    pub(crate) fn new(per_second: f64, window: &Window) -> Self {
        Self::between(per_second, window.made, window.ends)
    }

    pub(crate) fn between(per_second: f64, begins: Instant, ends: Instant) -> Self {
        // The same gaps for all who are compared; only their mean differs.
        Self { random: Pcg64::seed_from_u64(1), mean: 1.0 / per_second, last: begins, ends }
    }
}

impl Iterator for Schedule {
    type Item = Instant;

    fn next(&mut self) -> Option<Instant> {
        // 53 bits, above 0 and at most 1.
        #[expect(clippy::cast_precision_loss, reason = "it has as many bits as a double")]
        let share = ((self.random.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        self.last += Duration::from_secs_f64(-share.ln() * self.mean);
        (self.last < self.ends).then_some(self.last)
    }
}

/// What is due and no client has taken yet.
pub(crate) struct Arrivals {
    waiting: RefCell<VecDeque<Instant>>,
    came: Notify,
    are_over: Cell<bool>,
    gives_up: Instant,
}

/// A cycle that was due then.
pub(crate) enum Due {
    Now(Instant),
    /// So long ago that it is given up.
    TooLate(Instant),
}

impl Arrivals {
    pub(crate) fn new(gives_up: Instant) -> Self {
        let waiting = RefCell::default();
        Self { waiting, came: Notify::new(), are_over: Cell::new(false), gives_up }
    }

    /// Lets each come at its time, until all have.
    pub(crate) async fn come(self: Rc<Self>, schedule: Schedule) {
        let timer = timer::Timer::new();
        for at in schedule {
            timer.until(at).await;
            self.waiting.borrow_mut().push_back(at);
            self.came.notify_one();
        }
        self.are_over.set(true);
        self.came.notify_waiters();
    }

    /// The next one; waits until it is due. `None` when there is no more.
    pub(crate) async fn next(&self) -> Option<Due> {
        loop {
            if let Some(due) = self.waiting.borrow_mut().pop_front() {
                return Some(if Instant::now() < self.gives_up { Due::Now(due) } else { Due::TooLate(due) });
            }
            if self.are_over.get() {
                return None;
            }
            self.came.notified().await;
        }
    }
}

/// The runtime's own timers are a millisecond coarse, which is longer than most answers take.
#[cfg(target_os = "linux")]
pub(crate) mod timer {
    use std::os::fd::OwnedFd;
    use std::time::Instant;

    use rustix::time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec};
    use rustix::time::{timerfd_create, timerfd_settime};
    use tokio::io::Interest;
    use tokio::io::unix::AsyncFd;

    pub(crate) struct Timer(AsyncFd<OwnedFd>);

    impl Timer {
        #[expect(deprecated, reason = "what is sound of a descriptor that is owned, and without `unsafe`")]
        pub(crate) fn new() -> Self {
            let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK).unwrap();
            Self(AsyncFd::with_interest(timer, Interest::READABLE).unwrap())
        }

        pub(crate) async fn until(&self, at: Instant) {
            let left = at.saturating_duration_since(Instant::now());
            let Ok(left) = Timespec::try_from(left) else { return };
            if left.tv_sec == 0 && left.tv_nsec == 0 {
                return;
            }
            let never_again = Timespec { tv_sec: 0, tv_nsec: 0 };
            let once = Itimerspec { it_interval: never_again, it_value: left };
            timerfd_settime(self.0.get_ref(), TimerfdTimerFlags::empty(), &once).unwrap();
            let read = |timer: &OwnedFd| Ok(rustix::io::read(timer, &mut [0; 8])?);
            self.0.async_io(Interest::READABLE, read).await.unwrap();
        }
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) mod timer {
    use std::time::Instant;

    pub(crate) struct Timer;

    impl Timer {
        pub(crate) fn new() -> Self {
            Self
        }

        pub(crate) async fn until(&self, at: Instant) {
            tokio::time::sleep_until(at.into()).await;
        }
    }
}

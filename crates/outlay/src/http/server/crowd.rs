//! Who is connected at one door, and who has to go when it fills.
//!
//! Silence is cheap for whoever keeps it, so it must not keep out those who speak. A newcomer, who has not yet sent a whole
//! request, has a room of its own, where the oldest goes when one more comes. Of those who have spoken, the one that is idle
//! longest goes. Nobody is asked to go while a request of theirs runs; it runs from when all of it has come, its body too.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many connections of each kind a door has room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Those that have not yet sent a whole request.
    pub(super) newcomers: usize,
    /// Those that have.
    pub(super) speakers: usize,
}

/// The connections at one door.
#[derive(Debug)]
pub(super) struct Crowd {
    room: Room,
    present: Mutex<Present>,
    /// Connections with a request that runs.
    busy: AtomicUsize,
    /// Whether the accept loop waits for one of them to end.
    awaited: AtomicBool,
    ended: Notify,
}

#[derive(Debug, Default)]
struct Present {
    next_number: u64,
    /// In the order in which they came.
    newcomers: BTreeMap<u64, Arc<Member>>,
    /// By when they were last seen idle, which is never later than when they were: so the first one whose time is still
    /// right is the one that is idle longest, and the times are put right only when somebody has to go.
    speakers: BTreeMap<(Instant, u64), Arc<Member>>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Member {
    crowd: Arc<Crowd>,
    number: u64,
    doing: Mutex<Doing>,
    leave: Notify,
}

#[derive(Debug)]
struct Doing {
    place: Place,
    /// Requests whose body has not wholly come.
    asking: usize,
    /// Requests whose answer has not wholly gone out.
    running: usize,
    /// When the last one ended; none before the first began.
    ended: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Newcomer,
    /// Among the speakers under this time.
    Speaker(Instant),
    /// Asked to go.
    Nowhere,
}

impl Crowd {
    pub(super) fn new(room: Room) -> Arc<Self> {
        Arc::new(Self {
            room,
            present: Mutex::default(),
            busy: AtomicUsize::new(0),
            awaited: AtomicBool::new(false),
            ended: Notify::new(),
        })
    }

    /// Waits until one more connection would find room to speak.
    pub(super) async fn has_room(&self) {
        while self.busy.load(Ordering::SeqCst) >= self.room.speakers {
            self.awaited.store(true, Ordering::SeqCst);
            if self.busy.load(Ordering::SeqCst) >= self.room.speakers {
                self.ended.notified().await;
            }
            self.awaited.store(false, Ordering::SeqCst);
        }
    }

    /// Takes a newcomer in; the oldest one goes if there are too many.
    pub(super) fn enter(self: &Arc<Self>) -> Inside {
        let mut present = self.present.lock();
        while present.newcomers.len() >= self.room.newcomers && present.oldest_newcomer_goes() {}
        let number = present.next_number;
        present.next_number += 1;
        let doing = Doing { place: Place::Newcomer, asking: 0, running: 0, ended: None };
        let member =
            Arc::new(Member { crowd: Arc::clone(self), number, doing: Mutex::new(doing), leave: Notify::new() });
        present.newcomers.insert(number, Arc::clone(&member));
        Inside(member)
    }

    /// Makes room where the system has none left: a newcomer goes, or else who is idle longest.
    pub(super) fn one_goes(&self) {
        let mut present = self.present.lock();
        let _ = present.oldest_newcomer_goes() || present.longest_idle_goes();
    }

    fn spoke(&self, member: &Arc<Member>) {
        let mut present = self.present.lock();
        if matches!(member.doing.lock().place, Place::Speaker(_)) {
            return;
        }
        present.newcomers.remove(&member.number);
        if present.speakers.len() >= self.room.speakers {
            present.longest_idle_goes();
        }
        let now = Instant::now();
        member.doing.lock().place = Place::Speaker(now);
        present.speakers.insert((now, member.number), Arc::clone(member));
    }
}

impl Present {
    /// Gives whether there was one.
    fn oldest_newcomer_goes(&mut self) -> bool {
        let Some((_, member)) = self.newcomers.pop_first() else { return false };
        let mut doing = member.doing.lock();
        // One whose first request became whole right now stays, and is about to say that it speaks.
        if doing.running == 0 {
            doing.place = Place::Nowhere;
            member.leave.notify_one();
        }
        drop(doing);
        true
    }

    /// Gives whether there was one.
    fn longest_idle_goes(&mut self) -> bool {
        let now = Instant::now();
        while let Some(((seen, number), member)) = self.speakers.pop_first() {
            let mut doing = member.doing.lock();
            let busy = doing.running > 0;
            let idle_since = if busy { now } else { doing.ended.unwrap_or(seen) };
            if idle_since > seen {
                doing.place = Place::Speaker(idle_since);
                drop(doing);
                self.speakers.insert((idle_since, number), member);
            } else if busy {
                // What has been put right comes last, so all the others are busy too.
                drop(doing);
                self.speakers.insert((seen, number), member);
                return false;
            } else {
                doing.place = Place::Nowhere;
                member.leave.notify_one();
                return true;
            }
        }
        false
    }
}

impl Member {
    /// When to look again at a connection, from now on; `None` when its time is over.
    pub(super) fn idle_until(&self, now: Instant, idle_wait: Duration) -> Option<Instant> {
        let doing = self.doing.lock();
        if doing.running > 0 || doing.asking > 0 {
            return Some(now + idle_wait);
        }
        doing.ended.map(|ended| ended + idle_wait).filter(|until| *until > now)
    }

    /// Whether no head of a request has come yet.
    pub(super) fn has_never_asked(&self) -> bool {
        let doing = self.doing.lock();
        doing.running == 0 && doing.asking == 0 && doing.ended.is_none()
    }

    /// Until this connection must go to make room.
    pub(super) async fn must_go(&self) {
        loop {
            self.leave.notified().await;
            // A request may have come just after it was asked to.
            if self.doing.lock().place == Place::Nowhere {
                return;
            }
        }
    }
}

/// A connection's place among the others, until this is dropped.
#[derive(Debug)]
pub(super) struct Inside(Arc<Member>);

impl Inside {
    pub(super) fn member(&self) -> &Arc<Member> {
        &self.0
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        let mut present = self.0.crowd.present.lock();
        match self.0.doing.lock().place {
            Place::Newcomer => drop(present.newcomers.remove(&self.0.number)),
            Place::Speaker(seen) => drop(present.speakers.remove(&(seen, self.0.number))),
            Place::Nowhere => {}
        }
    }
}

/// A request: first its body comes in, then it runs, until its answer has gone out or was given up.
#[derive(Debug)]
pub(super) struct Running {
    member: Arc<Member>,
    is_heard: AtomicBool,
}

impl Running {
    /// A request whose head has come.
    pub(super) fn new(member: &Arc<Member>) -> Self {
        member.doing.lock().asking += 1;
        Self { member: Arc::clone(member), is_heard: AtomicBool::new(false) }
    }

    /// Says that all of it has come, or that nobody waits for the rest; again is nothing.
    pub(super) fn is_heard(&self) {
        if self.is_heard.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut doing = self.member.doing.lock();
        doing.asking = doing.asking.saturating_sub(1);
        doing.running += 1;
        let (first, place) = (doing.running == 1, doing.place);
        drop(doing);
        if first {
            self.member.crowd.busy.fetch_add(1, Ordering::SeqCst);
        }
        if !matches!(place, Place::Speaker(_)) {
            self.member.crowd.spoke(&self.member);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut doing = self.member.doing.lock();
        if !*self.is_heard.get_mut() {
            doing.asking = doing.asking.saturating_sub(1);
            return;
        }
        doing.running = doing.running.saturating_sub(1);
        doing.ended = Some(Instant::now());
        let last = doing.running == 0;
        drop(doing);
        if last {
            let crowd = &self.member.crowd;
            crowd.busy.fetch_sub(1, Ordering::SeqCst);
            if crowd.awaited.load(Ordering::SeqCst) {
                crowd.ended.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Duration = Duration::from_mins(1);

    fn crowd(newcomers: usize, speakers: usize) -> Arc<Crowd> {
        Crowd::new(Room { newcomers, speakers })
    }

    fn must_go(inside: &Inside) -> bool {
        inside.0.doing.lock().place == Place::Nowhere
    }

    /// A request that has wholly come.
    fn runs(inside: &Inside) -> Running {
        let running = Running::new(inside.member());
        running.is_heard();
        running
    }

    /// One request, from its head to the end of its answer.
    fn speaks(inside: &Inside) {
        drop(runs(inside));
    }

    #[test]
    fn whose_body_does_not_come_is_as_silent_as_who_says_nothing() {
        let crowd = crowd(2, 2);
        let [stalled, spoken] = [(); 2].map(|()| crowd.enter());
        let body_of_stalled = Running::new(stalled.member());
        speaks(&spoken);
        let body_of_spoken = Running::new(spoken.member());
        let now = Instant::now();
        assert_eq!(stalled.member().idle_until(now, WAIT), Some(now + WAIT), "a body has its time");
        let _newcomers = [(); 2].map(|()| crowd.enter());
        assert!(must_go(&stalled) && !must_go(&spoken));
        let speakers = [(); 2].map(|()| {
            let speaker = crowd.enter();
            speaks(&speaker);
            speaker
        });
        assert!(must_go(&spoken), "the body of a later request stalls likewise");
        // It comes after all.
        body_of_spoken.is_heard();
        assert!(!must_go(&spoken));
        drop((body_of_stalled, body_of_spoken, stalled, spoken, speakers));
        assert_eq!(crowd.busy.load(Ordering::SeqCst), 0);
    }

    #[test]
    fn the_oldest_of_those_who_never_spoke_goes_first() {
        let crowd = crowd(2, 2);
        let spoken = crowd.enter();
        speaks(&spoken);
        let first = crowd.enter();
        let second = crowd.enter();
        assert!(!must_go(&first));
        let third = crowd.enter();
        assert!(must_go(&first) && !must_go(&second) && !must_go(&third) && !must_go(&spoken));
        drop(second);
        let fourth = crowd.enter();
        assert!(!must_go(&third) && !must_go(&fourth), "one who left is still counted");
    }

    #[test]
    fn who_is_idle_longest_goes_and_nobody_whose_request_runs() {
        let crowd = crowd(1, 3);
        let [running, often, once] = [(); 3].map(|()| {
            let inside = crowd.enter();
            speaks(&inside);
            inside
        });
        let request = runs(&running);
        speaks(&often);
        let next = crowd.enter();
        speaks(&next);
        assert!(must_go(&once) && !must_go(&often) && !must_go(&running) && !must_go(&next));
        drop(once);
        let last = crowd.enter();
        speaks(&last);
        assert!(must_go(&often) && !must_go(&running) && !must_go(&next));
        drop(request);
        drop((running, often, next, last));
        let present = crowd.present.lock();
        assert!(present.newcomers.is_empty() && present.speakers.is_empty());
    }

    #[tokio::test]
    async fn who_was_asked_to_go_and_speaks_at_that_moment_stays() {
        let crowd = crowd(1, 1);
        let asked = crowd.enter();
        let _other = crowd.enter();
        assert!(must_go(&asked));
        let request = runs(&asked);
        assert!(!must_go(&asked));
        let now = Instant::now();
        assert_eq!(asked.member().idle_until(now, WAIT), Some(now + WAIT));
        tokio::select! {
            biased;
            () = asked.member().must_go() => panic!("a request was cut off"),
            () = std::future::ready(()) => {}
        }
        drop(request);
    }

    #[tokio::test]
    async fn a_door_is_full_only_while_as_many_requests_run() {
        let crowd = crowd(1, 1);
        let inside = crowd.enter();
        crowd.has_room().await;
        let request = runs(&inside);
        let mut full = std::pin::pin!(crowd.has_room());
        tokio::select! {
            biased;
            () = full.as_mut() => panic!("there is room while all of it is taken"),
            () = std::future::ready(()) => {}
        }
        drop(request);
        full.await;
    }

    #[tokio::test]
    async fn a_connection_that_does_nothing_ends_in_time() {
        let crowd = crowd(1, 1);
        let inside = crowd.enter();
        let member = inside.member();
        let now = Instant::now();
        // No request came at all.
        assert_eq!(member.idle_until(now, WAIT), None);
        let running = runs(&inside);
        assert_eq!(member.idle_until(now, WAIT), Some(now + WAIT));
        drop(running);
        let until = member.idle_until(Instant::now(), WAIT).unwrap();
        assert!(until > now);
        assert_eq!(member.idle_until(until, WAIT), None);
    }
}

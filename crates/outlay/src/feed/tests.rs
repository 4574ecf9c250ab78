//! What the feed remembers, for whom and how long.

use super::*;

fn user(id: &str) -> UserId {
    UserId::new(id).unwrap()
}

fn tell(feed: &Feed, user_id: &UserId) {
    feed.tell(Tidings { changed: feed.watched(user_id).into_iter().collect(), ..Tidings::default() });
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

#[tokio::test]
async fn a_change_is_taken_once_by_each_who_watches() {
    let feed = Feed::new(7);
    let (anna, ben) = (user("anna"), user("ben"));
    let mut first = feed.watch_user(&anna, None, 9).unwrap();
    let mut second = feed.watch_user(&anna, None, 9).unwrap();
    let mut other = feed.watch_user(&ben, None, 9).unwrap();
    for watching in [&mut first, &mut second, &mut other] {
        watching.changed().await;
        assert!(watching.take().changed.is_some());
        assert_eq!(watching.take().changed, None);
    }
    // Two changes that nobody took between are one.
    tell(&feed, &anna);
    tell(&feed, &anna);
    first.changed().await;
    let taken = first.take().changed.unwrap();
    assert_eq!((second.take().changed, other.take().changed), (Some(taken), None));
}

#[tokio::test]
async fn who_comes_back_goes_on_where_they_were_as_far_as_it_is_known() {
    let feed = Feed::new(7);
    let anna = user("anna");
    let mut watching = feed.watch_user(&anna, None, 9).unwrap();
    let seq = watching.take().changed.unwrap();
    drop(watching);
    let after = |epoch, seq| feed.watch_user(&anna, Some(Place { epoch, seq }), 9).unwrap().take().changed;
    assert_eq!(after(7, seq), None);
    assert_eq!(after(6, seq), Some(seq));
    assert_eq!(after(7, seq + 1), Some(seq), "a number that was never given");
    assert_eq!(after(7, seq - 1), Some(seq));
    tell(&feed, &anna);
    assert!(after(7, seq).unwrap() > seq);
    // Long after the last one left, nothing is known any more, and no number comes again.
    let now = at("2025-10-13T12:00:00Z");
    (0..TICKS_REMEMBERED).for_each(|_| feed.tick(now, now));
    assert!(feed.watched(&anna).is_some());
    feed.tick(now, now);
    assert!(feed.watched(&anna).is_none() && !feed.is_heard());
    assert!(after(7, seq + 1).unwrap() > seq + 1);
}

#[tokio::test]
async fn the_turn_of_a_month_changes_everything() {
    let feed = Feed::new(1);
    let mut one = feed.watch_user(&user("u"), None, 9).unwrap();
    let mut all = feed.watch_everybody().unwrap();
    let mut moved = |feed: &Feed, now: &str| {
        feed.tick(at(now), at(now));
        (one.take().changed.is_some(), all.take().changed.is_some())
    };
    assert_eq!(moved(&feed, "2025-10-31T23:59:59Z"), (true, true), "the beginning");
    assert_eq!(moved(&feed, "2025-10-31T23:59:59.9Z"), (false, false));
    assert_eq!(moved(&feed, "2025-11-01T00:00:00Z"), (true, true));
    assert_eq!(moved(&feed, "2025-11-01T00:00:00.2Z"), (false, false));
}

#[tokio::test]
async fn what_must_end_ends_at_its_time_or_with_all() {
    let feed = Arc::new(Feed::new(1));
    let early = feed.ending(Some(at("2025-10-13T12:00:00Z")));
    let late = feed.ending(Some(at("2025-10-13T13:00:00Z")));
    let never = feed.ending(None);
    let came = || [early.has_come(), late.has_come(), never.has_come()];
    let now = at("2025-10-13T11:59:59Z");
    feed.tick(now, now);
    assert_eq!(came(), [false, false, false]);
    feed.tick(now, at("2025-10-13T12:00:00Z"));
    assert_eq!(came(), [true, false, false]);
    feed.close();
    assert_eq!(came(), [true, true, true]);
    assert!(feed.ending(None).has_come());
    drop((early, late));
    assert!(feed.ends.lock().is_empty());
}

#[tokio::test]
async fn there_is_an_end_to_room() {
    let feed = Feed::new(1);
    let held: Vec<_> = (0..9).map(|_| feed.watch_user(&user("u"), None, 9).unwrap()).collect();
    assert_eq!(feed.watch_user(&user("u"), None, 9).unwrap_err(), TooManyWatch);
    let others: Vec<_> = (9..WATCHERS_MAX).map(|_| feed.watch_everybody().unwrap()).collect();
    assert!(feed.watch_everybody().is_err() && feed.watch_user(&user("v"), None, 9).is_err());
    assert_eq!(feed.watchers(), WATCHERS_MAX);
    drop((held, others));
    assert_eq!(feed.watchers(), 0);
}

//! Numbers of users, as several nodes give them out in several buckets.

use outlay_core::id::{UserId, UserNo};
use outlay_core::ledger::Command;

use super::super::{Buckets, PostgresStore};
use super::cluster::{self, block_on};
use super::failures::{commit, node};
use crate::clock::SystemClock;
use crate::store::Reads;
use crate::store::tests::commands::plain;

fn see(store: &mut PostgresStore, user_id: &UserId) {
    let command = plain(user_id, "o", "scan", None, SystemClock::shared().wall());
    commit(store, vec![command])[0].as_ref().unwrap();
}

fn erase(store: &mut PostgresStore, user_id: &UserId) {
    commit(store, vec![Command::Erase { user_id: user_id.clone() }])[0].as_ref().unwrap();
}

#[test]
fn the_number_that_an_id_will_have_is_of_its_bucket_and_known_to_every_node() {
    let config = cluster::database(Buckets::USUAL);
    let ((mut here, of_here), (mut there, of_there)) = (node(&config), node(&config));
    let next = |reads: &dyn Reads, user_id: &UserId| block_on(reads.next_user(user_id)).unwrap();
    let no_of = |reads: &dyn Reads, user_id: &UserId| {
        let view = block_on(reads.view(user_id, SystemClock::shared().wall().month())).unwrap();
        view.user.as_ref().map(|user| user.no)
    };
    let ada = UserId::new("ada").unwrap();
    let bucket = Buckets::USUAL.of_user(&ada);
    let ids = || (0..).map(|no| UserId::new(&format!("user-{no}")).unwrap());
    let beside: Vec<UserId> = ids().filter(|id| Buckets::USUAL.of_user(id) == bucket).take(2).collect();
    let elsewhere = ids().find(|id| Buckets::USUAL.of_user(id) != bucket).unwrap();

    // Another node knows of those who were first seen elsewhere.
    let first = next(&*of_here, &ada);
    see(&mut there, &elsewhere);
    assert_eq!(next(&*of_here, &ada), first, "another bucket has other numbers");
    see(&mut there, &beside[0]);
    see(&mut there, &beside[1]);
    let after = next(&*of_here, &ada);
    assert_eq!(after, UserNo(first.0 + 2 * Buckets::USUAL.step()));
    see(&mut there, &ada);
    assert_eq!(no_of(&*of_here, &ada), Some(after), "it has the number that was said");

    // Whom a token of before may have been of: only who had a number in between in this bucket counts.
    let any = |numbers: std::ops::Range<UserNo>| {
        let found = [&of_here, &of_there].map(|reads| block_on(reads.any_erased(&ada, numbers.clone())).unwrap());
        assert_eq!(found[0], found[1]);
        found[0]
    };
    erase(&mut there, &elsewhere);
    assert!(!any(first..after));
    erase(&mut there, &beside[0]);
    assert!(any(first..after));
    assert!(!any(UserNo(first.0 + 1)..after), "the other one is still somebody");
    // The same id is somebody new, with another number, on whichever node.
    erase(&mut here, &ada);
    assert!(any(after..UserNo(after.0 + 1)));
    see(&mut there, &ada);
    assert_eq!(no_of(&*of_there, &ada), Some(UserNo(after.0 + Buckets::USUAL.step())));
}

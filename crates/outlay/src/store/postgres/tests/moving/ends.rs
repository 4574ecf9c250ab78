//! What a move sees at its ends: damage before and after it, a difference between the two, and marks of a move that was cut
//! off between the last two of them.

use rusqlite::Connection;

use super::*;
use crate::store::postgres::tests::failures;

/// A move of a small store, with nobody at either end.
struct Small {
    case: Moved,
}

impl Small {
    /// A folder that has something of every kind that is compared.
    fn new(seed: u64) -> Self {
        let case = Moved::new(Buckets::ONE);
        let clock = &*case.clock;
        case.runtime.block_on(async {
            let (mut one, mut twin) = (case.open_file(0).unwrap(), case.open_file(2).unwrap());
            let mut random = Random::new(seed);
            go_on(&mut random, &mut Ledgers::of_one(), clock, &mut one.store, &mut twin.store).await;
            put_records(&mut one.store, &*one.reads, clock).await;
            while one.store.idle().await.unwrap() {}
            drop(one.reads);
            one.store.close().await.unwrap();
        });
        Self { case }
    }

    fn change_folder(&self, place: usize, sql: &str) {
        let file = Connection::open(embedded::file_path(self.case.folders[place].path())).unwrap();
        assert!(file.execute(sql, []).unwrap() > 0, "{sql}");
    }

    fn change_database(&self, sql: &str) {
        // A move runs on this thread.
        std::thread::scope(|scope| {
            scope.spawn(|| failures::change(&self.case.settings.config, sql)).join().unwrap();
        });
    }

    /// Moves, and does something once the move says this.
    fn migrate(&self, from: &End, to: &End, when: &str, mut then: impl FnMut()) -> Result<Tallies, MoveError> {
        let mut done = false;
        let mut told = |doing: &'static str, _| {
            if doing == when && !std::mem::replace(&mut done, true) {
                then();
            }
        };
        let migrated = migrate(from, to, Arc::clone(&self.case.clock) as SharedClock, &mut told);
        self.case.runtime.block_on(migrated)
    }

    /// Takes the move back that was begun from here.
    fn abandon(&self, from: &End) {
        self.case.runtime.block_on(abandon(from, Arc::clone(&self.case.clock) as SharedClock)).unwrap();
    }
}

#[track_caller]
fn assert_found(moved: &Result<Tallies, MoveError>, at: &End) {
    let Err(MoveError::Findings { place, count, .. }) = moved else { panic!("{moved:?}") };
    assert!(*place == at.name() && *count > 0, "{moved:?}");
}

/// A store that does not verify is not moved, and one that does not verify after it is not the store.
#[test]
fn a_move_heeds_what_verify_finds() {
    let there = Small::new(41);
    let (folder, database) = (there.case.folder(0), there.case.database());
    there.change_folder(0, "update user_month set cost = cost + 1");
    assert_found(&there.migrate(&folder, &database, "", || ()), &folder);
    there.change_folder(0, "update user_month set cost = cost - 1");
    // It has no mark, and is the store.
    there.case.runtime.block_on(there.case.open_file(0).unwrap().store.close()).unwrap();

    let damage = || there.change_database("update user_month set cost = cost + 1");
    assert_found(&there.migrate(&folder, &database, "verifying what was moved", damage), &database);
    assert!(there.case.open_file(0).is_err() && there.case.open_database().is_err(), "neither is the store yet");
    there.abandon(&folder);

    let back = Small::new(42);
    let (first, database, folder) = (back.case.folder(0), back.case.database(), back.case.folder(1));
    back.migrate(&first, &database, "", || ()).unwrap();
    back.change_database("update user_month set cost = cost + 1");
    assert_found(&back.migrate(&database, &folder, "", || ()), &database);
    back.change_database("update user_month set cost = cost - 1");
    let damage = || back.change_folder(1, "update user_month set cost = cost + 1");
    assert_found(&back.migrate(&database, &folder, "verifying what was moved", damage), &folder);
    assert!(back.case.open_file(1).is_err() && back.case.open_database().is_err(), "neither is the store yet");
    back.abandon(&database);
    back.case.runtime.block_on(back.case.open_database().unwrap().store.close()).unwrap();
}

/// What is no row is compared too: that it was written says nothing of whether it is there.
#[test]
fn a_move_whose_ends_differ_is_no_move() {
    for (change, what) in [
        ("delete from secret", "secrets"),
        ("delete from api_key", "keys"),
        ("delete from denial", "denials"),
        ("update operation set reason = 'x' where no = (select min(no) from operation)", "operations"),
    ] {
        let small = Small::new(43);
        let (folder, database) = (small.case.folder(0), small.case.database());
        let moved = small.migrate(&folder, &database, "comparing", || small.change_database(change));
        let Err(MoveError::Different { kind, .. }) = &moved else { panic!("{change}: {moved:?}") };
        assert_eq!(*kind, what, "{change}");
        small.abandon(&folder);
        small.case.runtime.block_on(small.case.open_file(0).unwrap().store.close()).unwrap();
    }
}

/// Only two stores that name each other are two ends of one move.
#[test]
fn a_move_that_was_cut_off_between_its_last_marks_is_ended() {
    let small = Small::new(44);
    let (folder, database) = (small.case.folder(0), small.case.database());
    let moved = small.migrate(&folder, &database, "", || ()).unwrap();
    let refused = |of: &End| {
        let again = small.migrate(&folder, &database, "", || ());
        assert!(matches!(&again, Err(MoveError::Refused(place, _)) if *place == of.name()), "{again:?}");
    };
    // The database is the store.
    refused(&folder);
    small.change_database("update meta set moved = 'filled from elsewhere'");
    refused(&folder);
    small.change_database(&format!("update meta set moved = 'filled from {}'", folder.name()));
    small.change_folder(0, "update meta set value = 'moved to elsewhere' where key = 'moved'");
    refused(&folder);
    small.change_folder(0, "delete from meta where key = 'moved'");
    refused(&database);

    let mark = format!("insert into meta values ('moved', 'moved to {}')", database.name());
    small.change_folder(0, &mark);
    assert_eq!(small.migrate(&folder, &database, "", || ()).unwrap(), moved);
    let opened = small.case.open_database().unwrap();
    assert_eq!(small.case.runtime.block_on(opened.reads.verify()).unwrap(), []);
    assert!(small.case.open_file(0).is_err());
}

//! The new numbers of rows, and rows with theirs exchanged.

use std::collections::BTreeMap;

use outlay_core::id::{AlertNo, DenialNo, OperationNo, SessionNo, UserNo};
use outlay_core::ledger::Numbers;
use outlay_core::user::User;

use super::{Erased, Kind, Row};
use crate::store::StoreError;
use crate::store::postgres::Buckets;

/// Which number each row gets. It takes four bytes of memory for each.
#[derive(Debug)]
pub(super) struct Renumbering {
    from: Buckets,
    to: Buckets,
    users: Given,
    sessions: Given,
    operations: Given,
    denials: Given,
    alerts: Given,
    /// The new bucket of each user, by the old bucket and place.
    buckets: Vec<Vec<u16>>,
}

/// New places by old ones: of each old bucket in its order; 0 where there is no row.
#[derive(Debug)]
struct Given {
    places: Vec<Vec<u32>>,
    /// The places that come next, by new bucket.
    next: BTreeMap<i32, u32>,
}

impl Given {
    fn new(from: Buckets) -> Self {
        Self { places: vec![Vec::new(); usize::try_from(from.count()).unwrap_or(1)], next: BTreeMap::new() }
    }

    fn give(&mut self, from: Buckets, no: u64, bucket: i32) -> Result<(), StoreError> {
        let next = self.next.entry(bucket).or_insert(1);
        let place = *next;
        *next = place.checked_add(1).ok_or_else(|| StoreError::Corrupt("there are too many rows".to_owned()))?;
        put(&mut self.places, from, no, place)
    }

    fn of(&self, from: Buckets, no: u64) -> Option<u32> {
        found(&self.places, from, no).filter(|place| *place != 0)
    }
}

fn put<T: Copy + Default>(places: &mut [Vec<T>], from: Buckets, no: u64, value: T) -> Result<(), StoreError> {
    let row = usize::try_from(from.place(no)).ok();
    let bucket = usize::try_from(from.of_no(no)).ok().and_then(|bucket| places.get_mut(bucket));
    let (Some(row), Some(bucket)) = (row, bucket) else {
        return Err(StoreError::Corrupt(format!("{no} is no number of a row")));
    };
    if bucket.len() <= row {
        bucket.resize(row + 1, T::default());
    }
    if let Some(slot) = bucket.get_mut(row) {
        *slot = value;
    }
    Ok(())
}

fn found<T: Copy>(places: &[Vec<T>], from: Buckets, no: u64) -> Option<T> {
    let bucket = usize::try_from(from.of_no(no)).ok().and_then(|bucket| places.get(bucket))?;
    bucket.get(usize::try_from(from.place(no)).ok()?).copied()
}

impl Renumbering {
    pub(super) fn new(from: Buckets, to: Buckets) -> Self {
        let given = || Given::new(from);
        let buckets = vec![Vec::new(); usize::try_from(from.count()).unwrap_or(1)];
        Self {
            from,
            to,
            users: given(),
            sessions: given(),
            operations: given(),
            denials: given(),
            alerts: given(),
            buckets,
        }
    }

    /// Gives a user a number, in the bucket of their id; an erased one's is that of the number.
    pub(super) fn give_user(&mut self, user: &User) -> Result<(), StoreError> {
        let bucket = if user.user_id.as_str().is_empty() {
            self.to.of_no(self.from.place(user.no.0))
        } else {
            self.to.of_user(&user.user_id)
        };
        put(&mut self.buckets, self.from, user.no.0, u16::try_from(bucket).unwrap_or(0))?;
        self.users.give(self.from, user.no.0, bucket)
    }

    /// Gives a user's row a number in their bucket.
    pub(super) fn give(&mut self, kind: Kind, no: u64, user_no: UserNo) -> Result<(), StoreError> {
        let bucket = self.bucket(user_no)?;
        let from = self.from;
        let given = match kind {
            Kind::Session => &mut self.sessions,
            Kind::Operation => &mut self.operations,
            Kind::Denial => &mut self.denials,
            Kind::Alert => &mut self.alerts,
            Kind::User | Kind::Month | Kind::Erasure | Kind::Audit => return Ok(()),
        };
        given.give(from, no, bucket)
    }

    /// The numbers that come next, by bucket; of each that has any row.
    pub(super) fn next(&self) -> BTreeMap<i32, Numbers> {
        let all = [&self.users, &self.sessions, &self.operations, &self.denials, &self.alerts];
        let buckets = all.iter().flat_map(|given| given.next.keys().copied());
        let next = |given: &Given, bucket| self.to.no(u64::from(given.next.get(&bucket).copied().unwrap_or(1)), bucket);
        let of = |bucket| Numbers {
            user: UserNo(next(&self.users, bucket)),
            operation: OperationNo(next(&self.operations, bucket)),
            session: SessionNo(next(&self.sessions, bucket)),
            denial: DenialNo(next(&self.denials, bucket)),
            alert: AlertNo(next(&self.alerts, bucket)),
            step: self.to.step(),
        };
        buckets.map(|bucket| (bucket, of(bucket))).collect()
    }

    fn bucket(&self, user_no: UserNo) -> Result<i32, StoreError> {
        let known = self.users.of(self.from, user_no.0).and_then(|_| found(&self.buckets, self.from, user_no.0));
        known.map(i32::from).ok_or_else(|| missing("user", user_no.0))
    }

    /// The row under its new numbers, and the bucket that it belongs to.
    pub(super) fn renumber(&self, row: Row) -> Result<(i32, Row), StoreError> {
        match row {
            Row::User(mut user) => {
                let of = self.of(user.no)?;
                user.no = of.user;
                user.last_session = of.session(user.last_session)?;
                user.last_denial = of.denial(user.last_denial)?;
                user.last_alert = of.alert(user.last_alert)?;
                Ok((of.bucket, Row::User(user)))
            }
            Row::Session(mut session) => {
                let of = self.of(session.user_no)?;
                session.user_no = of.user;
                session.no = of.required_session(session.no)?;
                session.last_step = of.operation(session.last_step)?;
                session.previous = of.session(session.previous)?;
                Ok((of.bucket, Row::Session(session)))
            }
            Row::Operation(mut operation) => {
                let of = self.of(operation.user_no)?;
                operation.user_no = of.user;
                operation.no = of.required_operation(operation.no)?;
                if let Some((no, _)) = &mut operation.session {
                    *no = of.required_session(*no)?;
                }
                for (no, _) in [&mut operation.reverses, &mut operation.reversed_by].into_iter().flatten() {
                    *no = of.required_operation(*no)?;
                }
                operation.previous_in_month = of.operation(operation.previous_in_month)?;
                operation.previous_in_session = of.operation(operation.previous_in_session)?;
                Ok((of.bucket, Row::Operation(operation)))
            }
            Row::Month(user_no, mut month, days) => {
                let of = self.of(user_no)?;
                month.head = of.operation(month.head)?;
                Ok((of.bucket, Row::Month(of.user, month, days)))
            }
            Row::Denial(mut denial) => {
                let of = self.of(denial.user_no)?;
                denial.user_no = of.user;
                denial.no = of.denial(Some(denial.no))?.unwrap_or(denial.no);
                denial.previous = of.denial(denial.previous)?;
                Ok((of.bucket, Row::Denial(denial)))
            }
            Row::Alert(mut alert) => {
                let of = self.of(alert.user_no)?;
                alert.user_no = of.user;
                alert.no = of.alert(Some(alert.no))?.unwrap_or(alert.no);
                alert.superseded_by = of.alert(alert.superseded_by)?;
                alert.previous = of.alert(alert.previous)?;
                Ok((of.bucket, Row::Alert(alert)))
            }
            Row::Erasure(erased) => {
                let of = self.of(erased.user_no)?;
                Ok((of.bucket, Row::Erasure(Erased { user_no: of.user, ..erased })))
            }
            Row::Audit(mut entry) => {
                // It may tell of somebody whom nobody has seen.
                let of = entry.user_no.and_then(|user_no| self.of(user_no).ok());
                entry.user_no = of.as_ref().map(|of| of.user);
                Ok((of.map_or(0, |of| of.bucket), Row::Audit(entry)))
            }
        }
    }

    fn of(&self, user_no: UserNo) -> Result<Of<'_>, StoreError> {
        let bucket = self.bucket(user_no)?;
        let place = self.users.of(self.from, user_no.0).ok_or_else(|| missing("user", user_no.0))?;
        Ok(Of { numbering: self, bucket, user: UserNo(self.to.no(u64::from(place), bucket)) })
    }
}

/// The new numbers of one user's rows.
struct Of<'a> {
    numbering: &'a Renumbering,
    bucket: i32,
    user: UserNo,
}

impl Of<'_> {
    fn number(&self, given: &Given, what: &str, no: u64) -> Result<u64, StoreError> {
        let place = given.of(self.numbering.from, no).ok_or_else(|| missing(what, no))?;
        Ok(self.numbering.to.no(u64::from(place), self.bucket))
    }

    fn required_session(&self, no: SessionNo) -> Result<SessionNo, StoreError> {
        self.number(&self.numbering.sessions, "session", no.0).map(SessionNo)
    }

    fn session(&self, no: Option<SessionNo>) -> Result<Option<SessionNo>, StoreError> {
        no.map(|no| self.required_session(no)).transpose()
    }

    fn required_operation(&self, no: OperationNo) -> Result<OperationNo, StoreError> {
        self.number(&self.numbering.operations, "operation", no.0).map(OperationNo)
    }

    fn operation(&self, no: Option<OperationNo>) -> Result<Option<OperationNo>, StoreError> {
        no.map(|no| self.required_operation(no)).transpose()
    }

    fn denial(&self, no: Option<DenialNo>) -> Result<Option<DenialNo>, StoreError> {
        no.map(|no| self.number(&self.numbering.denials, "denial", no.0).map(DenialNo)).transpose()
    }

    fn alert(&self, no: Option<AlertNo>) -> Result<Option<AlertNo>, StoreError> {
        no.map(|no| self.number(&self.numbering.alerts, "alert", no.0).map(AlertNo)).transpose()
    }
}

fn missing(what: &str, no: u64) -> StoreError {
    StoreError::Corrupt(format!("{what} {no} is named by another row and is not stored; `outlay verify` says more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_order_are_counted_in_the_buckets_of_their_users() {
        let (one, many) = (Buckets::of_bits(0).unwrap(), Buckets::USUAL);
        let mut given = Given::new(one);
        for (no, bucket) in [(1, 7), (2, 9), (4, 7)] {
            given.give(one, no, bucket).unwrap();
        }
        let new = |no, bucket| given.of(one, no).map(|place| many.no(u64::from(place), bucket));
        assert_eq!([new(1, 7), new(2, 9), new(4, 7)], [Some(1_024 + 7), Some(1_024 + 9), Some(2_048 + 7)]);
        assert_eq!((given.of(one, 3), given.of(one, 5)), (None, None), "a number that no row has");
    }

    #[test]
    fn rows_of_many_buckets_are_counted_in_one_order() {
        let (one, many) = (Buckets::of_bits(0).unwrap(), Buckets::USUAL);
        let mut given = Given::new(many);
        for no in [2_048 + 3, 1_024 + 5, 3_072 + 3] {
            given.give(many, no, 0).unwrap();
        }
        let new = |no| given.of(many, no).map(|place| one.no(u64::from(place), 0));
        assert_eq!([new(2_048 + 3), new(1_024 + 5), new(3_072 + 3)], [Some(1), Some(2), Some(3)]);
        assert_eq!(given.of(many, 1_024 + 3), None);
    }
}

//! Buckets: each holds some of the users, is locked by itself, and has an order and numbers of its own.

use outlay_core::id::UserId;
use outlay_core::ledger::Command;
use xxhash_rust::xxh3::xxh3_64;

/// How a store's users are spread over its buckets; fixed when the store is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Buckets {
    bits: u32,
}

impl Buckets {
    /// 1,024 buckets.
    pub const USUAL: Self = Self { bits: 10 };
    /// All in one, as the embedded store counts.
    pub(in crate::store) const ONE: Self = Self { bits: 0 };

    /// 2 to the power of `bits` buckets; `None` beyond the usual number.
    pub fn of_bits(bits: u32) -> Option<Self> {
        (bits <= Self::USUAL.bits).then_some(Self { bits })
    }

    pub(super) const fn bits(self) -> u32 {
        self.bits
    }

    /// How many there are.
    pub const fn count(self) -> i32 {
        1 << self.bits
    }

    /// How far one number of a bucket is from the next.
    pub(in crate::store) const fn step(self) -> u64 {
        1 << self.bits
    }

    /// The bucket of a user: the highest bits of a hash of the id, the same for ever.
    pub fn of_user(self, user_id: &UserId) -> i32 {
        let hash = xxh3_64(user_id.as_str().as_bytes());
        let bucket = hash.checked_shr(64 - self.bits).unwrap_or(0);
        i32::try_from(bucket).unwrap_or(0)
    }

    /// The bucket that a number is of: its lowest bits.
    pub fn of_no(self, no: u64) -> i32 {
        i32::try_from(no & (self.step() - 1)).unwrap_or(0)
    }

    /// A number's place in the order of its bucket, from 1.
    pub(in crate::store) const fn place(self, no: u64) -> u64 {
        no >> self.bits
    }

    /// The number at a place in the order of a bucket.
    pub(in crate::store) fn no(self, place: u64, bucket: i32) -> u64 {
        place << self.bits | u64::from(bucket.unsigned_abs())
    }

    /// The first number of each kind in a bucket, as the tables begin with it.
    #[cfg(test)]
    pub(super) fn first_no(self, bucket: i32) -> u64 {
        self.no(1, bucket)
    }

    /// How many numbers were given out when this one is the next.
    pub(super) const fn given_out(self, next: u64) -> u64 {
        self.place(next).saturating_sub(1)
    }

    /// The bucket whose lock a command needs. A plan is nobody's: changes of plans take turns in the first bucket.
    pub(super) fn of_command(self, command: &Command) -> i32 {
        match command {
            Command::Expire { session_no } => self.of_no(session_no.0),
            Command::Recheck { user_no } => self.of_no(user_no.0),
            command => command.user_id().map_or(0, |user_id| self.of_user(user_id)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_bucket_is_the_same_for_ever() {
        let of = |bits, id| Buckets::of_bits(bits).unwrap().of_user(&UserId::new(id).unwrap());
        // Written down when the first store was made: another hash would lose every user.
        assert_eq!((of(10, "bgtfrdsZ"), of(10, "ada"), of(10, "bö")), (251, 420, 45));
        assert_eq!((of(0, "bgtfrdsZ"), of(0, "ada")), (0, 0));
        assert_eq!(Buckets::of_bits(11), None);
    }

    #[test]
    fn numbers_are_of_their_bucket_and_ascend_in_it() {
        let buckets = Buckets::USUAL;
        let first = buckets.first_no(1_023);
        assert_eq!((first, buckets.of_no(first), buckets.given_out(first)), (2_047, 1_023, 0));
        let second = first + buckets.step();
        assert_eq!((buckets.of_no(second), buckets.given_out(second)), (1_023, 1));
        let one = Buckets::of_bits(0).unwrap();
        assert_eq!((one.first_no(0), one.of_no(17), one.given_out(18)), (1, 0, 17));
    }
}

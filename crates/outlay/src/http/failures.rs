//! Who guesses: addresses that showed keys or tokens that are not known are turned away for a minute.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use outlay_core::month::Timestamp;
use parking_lot::Mutex;

/// Wrong keys from one address within a minute, at most.
const FAILURES_MAX: u32 = 20;
/// For how long they count, from the first on.
const WINDOW_SECONDS: i64 = 60;
/// Addresses remembered, at most; beyond, the oldest windows are forgotten first.
const ADDRESSES_MAX: usize = 10_000;

/// Failed attempts by address.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<BTreeMap<IpAddr, Window>>);

#[derive(Debug, Clone, Copy)]
struct Window {
    since: Timestamp,
    count: u32,
}

impl Window {
    fn is_over(&self, now: Timestamp) -> bool {
        now < self.since || now >= self.since.plus_seconds(WINDOW_SECONDS)
    }
}

/// Who is told apart by an address: of IPv6 a whole network of 64 bits is one, since whoever has one has all of it.
fn who(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

impl Failures {
    /// For how many seconds an address is still turned away; `None` when it is not.
    pub(super) fn turned_away(&self, address: IpAddr, now: Timestamp) -> Option<u64> {
        let windows = self.0.lock();
        let window =
            windows.get(&who(address)).filter(|window| window.count >= FAILURES_MAX && !window.is_over(now))?;
        let left = window.since.plus_seconds(WINDOW_SECONDS).seconds().saturating_sub(now.seconds());
        Some(u64::try_from(left).unwrap_or(0).max(1))
    }

    /// Counts a failed attempt.
    pub(super) fn failed(&self, address: IpAddr, now: Timestamp) {
        let address = who(address);
        let mut windows = self.0.lock();
        if windows.len() >= ADDRESSES_MAX && !windows.contains_key(&address) {
            windows.retain(|_, window| !window.is_over(now));
            let oldest = windows.iter().min_by_key(|(_, window)| window.since).map(|(address, _)| *address);
            if let Some(oldest) = oldest.filter(|_| windows.len() >= ADDRESSES_MAX) {
                windows.remove(&oldest);
            }
        }
        let window = windows.entry(address).or_insert(Window { since: now, count: 0 });
        if window.is_over(now) {
            *window = Window { since: now, count: 0 };
        }
        window.count += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_guesses_is_turned_away_for_a_minute() {
        let failures = Failures::default();
        let now = Timestamp::parse("2025-10-13T12:00:00Z").unwrap();
        let far: IpAddr = "203.0.113.7".parse().unwrap();
        for _ in 0..FAILURES_MAX {
            assert_eq!(failures.turned_away(far, now), None);
            failures.failed(far, now);
        }
        assert_eq!(failures.turned_away(far, now), Some(60));
        assert_eq!(failures.turned_away(far, now.plus_seconds(59)), Some(1));
        assert_eq!(failures.turned_away("203.0.113.8".parse().unwrap(), now), None);
        assert_eq!(failures.turned_away(far, now.plus_seconds(60)), None);
        failures.failed(far, now.plus_seconds(60));
        assert_eq!(failures.turned_away(far, now.plus_seconds(60)), None);
    }

    #[test]
    fn a_network_of_64_bits_is_one_who_guesses() {
        let failures = Failures::default();
        let now = Timestamp::parse("2025-10-13T12:00:00Z").unwrap();
        for number in 0..FAILURES_MAX {
            failures.failed(format!("2001:4860:1:2::{number:x}").parse().unwrap(), now);
        }
        assert_eq!(failures.turned_away("2001:4860:1:2:ffff::1".parse().unwrap(), now), Some(60));
        assert_eq!(failures.turned_away("2001:4860:1:3::1".parse().unwrap(), now), None);
    }

    #[test]
    fn memory_is_bounded() {
        let failures = Failures::default();
        let now = Timestamp::EPOCH;
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 100 {
            let address = IpAddr::from((0xC600_0000_u32 + number).to_be_bytes());
            failures.failed(address, now.plus_seconds(i64::from(number / 1_000)));
        }
        assert_eq!(failures.0.lock().len(), ADDRESSES_MAX);
        // Some of the first second are forgotten; whoever is known, and guesses on, makes nobody else forgotten.
        let last = u32::try_from(ADDRESSES_MAX).unwrap() + 99;
        let address = |number: u32| IpAddr::from((0xC600_0000_u32 + number).to_be_bytes());
        let known = || (0..=last).map(|number| failures.0.lock().contains_key(&address(number))).collect::<Vec<bool>>();
        let before = known();
        assert!(before.iter().skip(1_000).all(|is_known| *is_known));
        failures.failed(address(last), now.plus_seconds(i64::from(last / 1_000)));
        assert_eq!(known(), before);
    }
}

//! Where connections come from: how many there may be from one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

/// Connections from one address, at most; from this machine and private networks as many as there are, since a proxy in
/// front is one address.
const CONNECTIONS_PER_ADDRESS_MAX: u32 = 256;

/// Connections by the address that they come from, where that is counted.
#[derive(Debug, Clone, Default)]
pub(super) struct PerAddress(Arc<Mutex<BTreeMap<IpAddr, u32>>>);

/// One connection of an address.
#[derive(Debug)]
pub(super) struct Counted {
    all: PerAddress,
    address: Option<IpAddr>,
}

impl PerAddress {
    /// Counts one more; `None` when that is too many.
    pub(super) fn count(&self, address: IpAddr) -> Option<Counted> {
        if is_near(address) {
            return Some(Counted { all: self.clone(), address: None });
        }
        let mut counts = self.0.lock();
        let count = counts.entry(address).or_default();
        if *count >= CONNECTIONS_PER_ADDRESS_MAX {
            return None;
        }
        *count += 1;
        Some(Counted { all: self.clone(), address: Some(address) })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let Some(address) = self.address else { return };
        let mut counts = self.all.0.lock();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
    }
}

/// Whether an address is of this machine or a private network, where a proxy may speak for many.
pub(in crate::http) fn is_near(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(address) => address.is_loopback() || address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_loopback() || address.is_unique_local() || address.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_from_afar_has_so_many_connections_and_no_more() {
        let all = PerAddress::default();
        let far: IpAddr = "203.0.113.7".parse().unwrap();
        let mut held: Vec<Counted> = (0..CONNECTIONS_PER_ADDRESS_MAX).map(|_| all.count(far).unwrap()).collect();
        assert!(all.count(far).is_none());
        assert!(all.count("203.0.113.8".parse().unwrap()).is_some());
        held.pop();
        assert!(all.count(far).is_some());
        drop(held);
        assert!(all.0.lock().is_empty());
        for near in ["127.0.0.1", "10.1.2.3", "192.168.1.1", "::1", "fd00::1", "::ffff:127.0.0.1"] {
            assert!(all.count(near.parse().unwrap()).is_some_and(|counted| counted.address.is_none()), "{near}");
        }
    }
}

//! Where connections come from: how many there may be from one address.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::http::proxies::Proxies;

/// Connections from one address, at most, where it is limited.
const CONNECTIONS_PER_ADDRESS_MAX: u32 = 256;

/// Connections by the address that they come from, where that is counted.
#[derive(Debug, Clone, Default)]
pub(super) struct PerAddress {
    proxies: Proxies,
    counts: Arc<Mutex<BTreeMap<IpAddr, u32>>>,
}

/// One connection of an address.
#[derive(Debug)]
pub(super) struct Counted {
    all: PerAddress,
    address: Option<IpAddr>,
}

impl PerAddress {
    pub(super) fn new(proxies: Proxies) -> Self {
        Self { proxies, counts: Arc::default() }
    }

    /// Counts one more; `None` when that is too many.
    pub(super) fn count(&self, address: IpAddr) -> Option<Counted> {
        if !self.proxies.limits(address) {
            return Some(Counted { all: self.clone(), address: None });
        }
        let mut counts = self.counts.lock();
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
        let mut counts = self.all.counts.lock();
        if let Some(count) = counts.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&address);
            }
        }
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
        assert!(all.counts.lock().is_empty());
        let near: IpAddr = "127.0.0.1".parse().unwrap();
        assert!(all.count(near).is_some_and(|counted| counted.address.is_none()));
        let behind_proxies = PerAddress::new(Proxies::new(vec!["10.0.0.0/8".parse().unwrap()]));
        assert!(behind_proxies.count(near).is_some_and(|counted| counted.address.is_some()));
        let proxy: IpAddr = "10.1.2.3".parse().unwrap();
        assert!(behind_proxies.count(proxy).is_some_and(|counted| counted.address.is_none()));
    }
}

//! How many connections each client address has.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

/// Counts connections by address. IPv6 clients count by their /64, which is what one of them is given as a rule.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    counts: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

/// One connection of an address. Counts until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    address: IpAddr,
    counts: Arc<Mutex<BTreeMap<IpAddr, usize>>>,
}

impl Addresses {
    /// `None` if the address has `max` connections.
    pub(super) fn take(&self, address: IpAddr, max: usize) -> Option<Slot> {
        let address = network_of(address);
        let mut counts = self.counts.lock().expect("nobody panics while counting");
        let count = counts.entry(address).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Slot { address, counts: Arc::clone(&self.counts) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().expect("nobody panics while counting");
        let count = counts.get_mut(&self.address).expect("a slot is counted");
        *count -= 1;
        if *count == 0 {
            counts.remove(&self.address);
        }
    }
}

fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let addresses = Addresses::default();
        let take = |text: &str| addresses.take(text.parse().unwrap(), 2);
        let first = take("192.0.2.1");
        let _second = take("::ffff:192.0.2.1");
        assert!(take("192.0.2.1").is_none());
        assert!(take("192.0.2.2").is_some());
        drop(first);
        assert!(take("192.0.2.1").is_some());

        let fifth = take("2001:db8::1");
        let sixth = take("2001:db8::ffff:2");
        assert!(take("2001:db8::3").is_none(), "the same network");
        assert!(take("2001:db8:0:1::1").is_some());
        drop((fifth, sixth));
        assert_eq!(addresses.counts.lock().unwrap().len(), 1, "only what is held is kept");
    }
}

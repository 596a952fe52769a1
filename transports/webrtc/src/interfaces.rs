//! Which addresses this machine has, and whether they are still the same.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::Instant;

use crate::options::Interfaces;

/// What sockets are bound to for a connection made now.
pub(crate) fn bind_addresses(interfaces: &Interfaces) -> Vec<SocketAddr> {
    match interfaces {
        Interfaces::Addresses(addresses) => addresses.clone(),
        Interfaces::All => {
            let usable = usable_addresses();
            // The unspecified addresses stand for all there are when they are bound, now or again later.
            let mut bound: Vec<SocketAddr> = Vec::new();
            if usable.iter().any(IpAddr::is_ipv4) {
                bound.push((Ipv4Addr::UNSPECIFIED, 0).into());
            }
            if usable.iter().any(IpAddr::is_ipv6) {
                bound.push((Ipv6Addr::UNSPECIFIED, 0).into());
            }
            if bound.is_empty() {
                bound.push((Ipv4Addr::LOCALHOST, 0).into());
            }
            bound
        }
    }
}

/// The addresses at which others might reach this machine.
fn usable_addresses() -> BTreeSet<IpAddr> {
    let interfaces = match rtc::shared::ifaces::ifaces() {
        Ok(interfaces) => interfaces,
        Err(error) => {
            tracing::warn!(%error, "the addresses of this machine cannot be listed");
            return BTreeSet::new();
        }
    };
    let addresses = interfaces.into_iter().filter_map(|interface| interface.addr);
    addresses.map(|address| address.ip()).filter(is_usable).collect()
}

fn is_usable(address: &IpAddr) -> bool {
    let link_local = match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    !address.is_loopback() && !address.is_unspecified() && !link_local
}

/// Looks again and again whether the addresses of this machine change.
pub(crate) struct Watch {
    every: Duration,
    next: Instant,
    known: BTreeSet<IpAddr>,
}

impl Watch {
    /// A watch that never sees a change if `every` is zero.
    pub(crate) fn new(every: Duration) -> Self {
        let known = if every.is_zero() { BTreeSet::new() } else { usable_addresses() };
        Self { every, next: Instant::now() + every, known }
    }

    /// Returns once they are others than last time. Cancel-safe.
    pub(crate) async fn changed(&mut self) {
        if self.every.is_zero() {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep_until(self.next).await;
            self.next = Instant::now() + self.every;
            let now = usable_addresses();
            if now != self.known {
                self.known = now;
                return;
            }
        }
    }
}

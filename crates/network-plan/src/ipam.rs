//! Addresses of one pool of a local network: who holds which. Pure; the caller stores it.
//!
//! Leases are keyed by their owner (a container id), so asking twice gives the same address, and an owner that
//! vanished without saying so is found by comparing with the owners that live: [`Ipam::retain`].

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use super::Cidr;

/// One address given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The address.
    pub ip: IpAddr,
}

/// Why no address was given. The texts are Docker's, which its users search for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IpamError {
    /// All are taken.
    #[error("no available IPv{} addresses on this network's address pools: {}", family(.0), .0)]
    Exhausted(Cidr),
    /// The wanted address belongs to another, or to the network itself.
    #[error("Address already in use")]
    InUse(IpAddr),
    /// The wanted address is not of this network.
    #[error("invalid address {0}: It does not belong to any of this network's subnets")]
    Outside(IpAddr, Cidr),
}

fn family(cidr: &Cidr) -> u8 {
    if cidr.is_ipv6() { 6 } else { 4 }
}

/// A range of addresses for a network, and which of them are not for containers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressPool {
    /// The network's addresses.
    pub subnet: Cidr,
    /// The part of them that is given out unasked; `None`: all.
    #[serde(default)]
    pub range: Option<Cidr>,
    /// The bridge's own address, the containers' default route.
    pub gateway: IpAddr,
    /// Addresses that others on the network have (`--aux-address`), never given out.
    #[serde(default)]
    pub reserved: BTreeSet<IpAddr>,
}

impl AddressPool {
    /// A pool whose gateway is its first address, or the first of `range`, as Docker chooses it.
    pub fn of(subnet: Cidr, range: Option<Cidr>) -> Self {
        let subnet = subnet.network();
        let (first, _) = range.unwrap_or(subnet).range();
        let gateway = if first == subnet.address { successor(first) } else { first };
        Self { subnet, range, gateway, reserved: BTreeSet::new() }
    }

    /// Whether the address lies in the pool's network.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.subnet.contains(ip)
    }
}

/// Whether two networks have an address in common.
pub fn overlap(one: Cidr, other: Cidr) -> bool {
    let ((first, last), (begin, end)) = (one.range(), other.range());
    first.is_ipv4() == begin.is_ipv4() && first <= end && begin <= last
}

/// The next address; the last of all is its own successor.
fn successor(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) => Ipv4Addr::from(u32::from(ip).saturating_add(1)).into(),
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip).saturating_add(1)).into(),
    }
}

/// The addresses of one pool. First, last and gateway address are never given out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipam {
    pool: AddressPool,
    leases: BTreeMap<String, Lease>,
}

impl Ipam {
    /// An empty pool.
    pub fn new(pool: AddressPool) -> Self {
        Self { pool, leases: BTreeMap::new() }
    }

    /// The pool.
    pub fn pool(&self) -> &AddressPool {
        &self.pool
    }

    /// The owner's address, a new one (the lowest free) when it has none.
    pub fn lease(&mut self, owner: &str) -> Result<Lease, IpamError> {
        if let Some(lease) = self.leases.get(owner) {
            return Ok(*lease);
        }
        let taken: BTreeSet<IpAddr> = self.leases.values().map(|lease| lease.ip).collect();
        let (mut ip, last) = self.pool.range.unwrap_or(self.pool.subnet).range();
        // among one more candidates than there are taken addresses, one is free or the pool is at its end
        while !self.is_for_containers(ip) || taken.contains(&ip) {
            if ip >= last {
                return Err(IpamError::Exhausted(self.pool.subnet));
            }
            ip = successor(ip);
        }
        let lease = Lease { ip };
        self.leases.insert(owner.to_owned(), lease);
        Ok(lease)
    }

    /// Gives the owner a certain address, in place of one that it has.
    pub fn lease_exactly(&mut self, owner: &str, ip: IpAddr) -> Result<Lease, IpamError> {
        if !self.pool.contains(ip) {
            return Err(IpamError::Outside(ip, self.pool.subnet));
        }
        let taken = self.leases.iter().any(|(holder, lease)| lease.ip == ip && holder != owner);
        if taken || !self.is_for_containers(ip) {
            return Err(IpamError::InUse(ip));
        }
        let lease = Lease { ip };
        self.leases.insert(owner.to_owned(), lease);
        Ok(lease)
    }

    fn is_for_containers(&self, ip: IpAddr) -> bool {
        let (first, last) = self.pool.subnet.range();
        ip != first && ip != last && ip != self.pool.gateway && !self.pool.reserved.contains(&ip)
    }

    /// The owner's address.
    pub fn of(&self, owner: &str) -> Option<IpAddr> {
        self.leases.get(owner).map(|lease| lease.ip)
    }

    /// Takes the owner's address back; whether it had one.
    pub fn release(&mut self, owner: &str) -> bool {
        self.leases.remove(owner).is_some()
    }

    /// Drops the leases of all owners that `lives` does not know; how many.
    pub fn retain(&mut self, lives: impl Fn(&str) -> bool) -> usize {
        let before = self.leases.len();
        self.leases.retain(|owner, _| lives(owner));
        before - self.leases.len()
    }

    /// Owners and their addresses.
    pub fn leases(&self) -> impl Iterator<Item = (&str, Lease)> {
        self.leases.iter().map(|(owner, lease)| (owner.as_str(), *lease))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cidr(text: &str) -> Cidr {
        text.parse().unwrap()
    }

    fn small() -> Ipam {
        Ipam::new(AddressPool::of(cidr("10.0.0.0/29"), None))
    }

    fn last_octet(lease: Lease) -> u8 {
        match lease.ip {
            IpAddr::V4(ip) => ip.octets()[3],
            IpAddr::V6(ip) => ip.octets()[15],
        }
    }

    #[test]
    fn the_gateway_and_both_ends_are_never_given_out() {
        let mut ipam = small();
        let given: Vec<_> = (0..5).map(|n| last_octet(ipam.lease(&n.to_string()).unwrap())).collect();
        assert_eq!(given, [2, 3, 4, 5, 6]);
        let full = ipam.lease("one too many").unwrap_err();
        assert_eq!(full.to_string(), "no available IPv4 addresses on this network's address pools: 10.0.0.0/29");
    }

    #[test]
    fn asking_twice_gives_the_same_address() {
        let mut ipam = small();
        let first = ipam.lease("a").unwrap();
        ipam.lease("b").unwrap();
        assert_eq!(ipam.lease("a").unwrap(), first);
    }

    #[test]
    fn a_wanted_address_of_another_is_refused() {
        let mut ipam = small();
        let ip = ipam.lease("a").unwrap().ip;
        assert_eq!(ipam.lease_exactly("b", ip), Err(IpamError::InUse(ip)));
        for (wanted, kind) in [("10.0.1.1", "outside"), ("10.0.0.0", "network"), ("10.0.0.1", "gateway")] {
            assert!(ipam.lease_exactly("b", wanted.parse().unwrap()).is_err(), "{kind}");
        }
    }

    #[test]
    fn a_range_limits_what_is_given_unasked_but_not_what_is_wanted() {
        let mut pool = AddressPool::of(cidr("10.1.0.0/16"), Some(cidr("10.1.5.0/30")));
        assert_eq!(pool.gateway.to_string(), "10.1.5.0", "Docker's choice");
        pool.reserved.insert("10.1.5.1".parse().unwrap());
        let mut ipam = Ipam::new(pool);
        assert_eq!(ipam.lease_exactly("far", "10.1.9.9".parse().unwrap()).unwrap().ip.to_string(), "10.1.9.9");
        assert_eq!(ipam.lease("a").unwrap().ip.to_string(), "10.1.5.2");
        assert_eq!(ipam.lease("b").unwrap().ip.to_string(), "10.1.5.3");
        assert!(ipam.lease("c").is_err());
    }

    #[test]
    fn networks_overlap_when_they_share_an_address() {
        for (one, other, expected) in [
            ("10.0.0.0/8", "10.1.2.0/24", true),
            ("10.1.2.0/24", "10.0.0.0/8", true),
            ("10.0.0.0/24", "10.0.1.0/24", false),
            ("0.0.0.0/0", "192.168.1.0/24", true),
        ] {
            assert_eq!(overlap(cidr(one), cidr(other)), expected, "{one} {other}");
        }
    }

    proptest! {
        #[test]
        fn no_address_is_ever_held_twice_and_none_leaks(ops in proptest::collection::vec((0u8..12, any::<bool>()), 0..200)) {
            let mut ipam = small();
            let mut live = BTreeSet::new();
            for (owner, take) in ops {
                let owner = owner.to_string();
                if take {
                    if ipam.lease(&owner).is_ok() { live.insert(owner); }
                } else {
                    prop_assert_eq!(ipam.release(&owner), live.remove(&owner));
                }
                let ips: BTreeSet<_> = ipam.leases().map(|(_, lease)| lease.ip).collect();
                prop_assert_eq!(ips.len(), live.len());
            }
        }
    }
}

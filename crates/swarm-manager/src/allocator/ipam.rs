//! The addresses of one subnet, each with its owner.

use std::collections::BTreeMap;
use std::net::IpAddr;

use swarm_types::{NodeId, ServiceId, TaskId};

use crate::subnet::{Subnet, bits};

/// Who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The gateway, and addresses that the network's spec sets aside.
    Network,
    /// A service's virtual address.
    Service(ServiceId),
    /// A task's own.
    Task(TaskId),
    /// The load balancer of a node.
    Node(NodeId),
}

/// As far as this addresses are given out beyond the others in large subnets, so that those of IPv6 stay short.
const WIDE: u128 = 4096;

/// The addresses of one subnet.
#[derive(Debug)]
pub(super) struct Pool {
    pub subnet: Subnet,
    /// What addresses are taken from; others can be asked for by name.
    first: u128,
    last: u128,
    used: BTreeMap<u128, Owner>,
    /// Addresses are given out in a circle, so that one that was just freed is not at once another's: connection
    /// tracking and resolvers remember the old holder for a while.
    next: u128,
}

impl Pool {
    /// A pool that gives addresses out of `range`, or of all the subnet.
    pub fn new(subnet: Subnet, range: Option<Subnet>) -> Self {
        let (mut first, mut last) = subnet.hosts();
        if let Some(range) = range.filter(|range| subnet.holds(*range)) {
            first = first.max(bits(range.base()));
            last = last.min(bits(range.last()));
        }
        Self { subnet, first, last, used: BTreeMap::new(), next: first }
    }

    /// A free address, not given to anybody yet.
    pub fn free(&self, also_taken: impl Fn(IpAddr) -> bool) -> Option<IpAddr> {
        if self.first > self.last {
            return None;
        }
        let start = self.next.clamp(self.first, self.last);
        let mut circle = (start..=self.last).chain(self.first..start);
        let free = |bits: &u128| !self.used.contains_key(bits) && !also_taken(self.subnet.address(*bits));
        circle.find(free).map(|bits| self.subnet.address(bits))
    }

    /// Whether an address of the subnet can be given out when it is asked for by name.
    pub fn is_free(&self, address: IpAddr) -> bool {
        let (first, last) = self.subnet.hosts();
        let bits = bits(address);
        (first..=last).contains(&bits) && !self.used.contains_key(&bits)
    }

    /// Takes note of an address of the subnet.
    pub fn claim(&mut self, address: IpAddr, owner: Owner) {
        self.used.entry(bits(address)).or_insert(owner);
    }

    /// An address was given out: the circle goes on behind it. (Who is only taken note of anew, as a node is with each
    /// change of its attachments, must not take the circle back.)
    pub fn pass(&mut self, address: IpAddr) {
        self.next = bits(address).wrapping_add(1);
    }

    /// Goes on in the middle of the widest run of free addresses, with a new leader: where in the circle the former one was
    /// is not known, and what that freed last, close to what it gave last, may still be in use on a node. `draw`: for
    /// another place with each leader, as a short-lived one may have given out and freed addresses there.
    pub fn move_on(&mut self, draw: u64) {
        let size = self.last.saturating_sub(self.first).saturating_add(1);
        let taken: Vec<u128> =
            self.used.range(self.first..=self.last.max(self.first)).map(|(bits, _)| bits - self.first).collect();
        let after = taken.iter().skip(1).copied().chain(taken.first().map(|first| first.saturating_add(size)));
        let runs = taken.iter().zip(after).map(|(taken, next)| (next - taken - 1, taken + 1));
        let (free, start) = runs.max_by_key(|(free, _)| *free).unwrap_or((size, 0));
        let free = free.min(WIDE);
        // By Knuth's multiplicative hashing: neighbouring draws lie far apart.
        let draw = u128::from(draw.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32);
        let middle = free / 4 + draw % (free / 2).max(1);
        self.next = self.first.saturating_add(start.saturating_add(middle) % size);
    }

    /// Frees an address if it is this owner's.
    pub fn release(&mut self, address: IpAddr, owner: Owner) {
        let bits = bits(address);
        if self.used.get(&bits) == Some(&owner) {
            self.used.remove(&bits);
        }
    }

    /// How many addresses are in use.
    #[cfg(test)]
    pub fn in_use(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    const OWNER: Owner = Owner::Task(TaskId::from_bits(1));

    fn all(pool: &mut Pool) -> Vec<String> {
        let mut given = Vec::new();
        while let Some(address) = pool.free(|_| false) {
            pool.claim(address, OWNER);
            pool.pass(address);
            given.push(address.to_string());
        }
        given
    }

    #[test]
    fn a_freed_address_is_not_given_out_at_once_again() {
        let mut pool = Pool::new("10.0.1.0/29".parse().unwrap(), None);
        pool.claim(address("10.0.1.1"), Owner::Network);
        assert_eq!(all(&mut pool), ["10.0.1.2", "10.0.1.3", "10.0.1.4", "10.0.1.5", "10.0.1.6"]);
        pool.release(address("10.0.1.4"), Owner::Task(TaskId::from_bits(2)));
        assert_eq!(pool.free(|_| false), None, "only its owner frees an address");
        pool.release(address("10.0.1.2"), OWNER);
        pool.release(address("10.0.1.4"), OWNER);
        assert_eq!(all(&mut pool), ["10.0.1.2", "10.0.1.4"]);
    }

    #[test]
    fn a_new_leader_goes_on_far_from_what_is_in_use() {
        let mut pool = Pool::new("10.0.1.0/24".parse().unwrap(), None);
        pool.claim(address("10.0.1.1"), Owner::Network);
        pool.claim(address("10.0.1.250"), OWNER);
        for draw in 0..100 {
            pool.move_on(draw);
            let next = bits(pool.free(|_| false).unwrap()) - bits(address("10.0.1.0"));
            assert!((60..=190).contains(&next), "{next}");
        }
        let mut full = Pool::new("10.0.1.0/30".parse().unwrap(), None);
        full.claim(address("10.0.1.1"), Owner::Network);
        full.move_on(7);
        assert_eq!(all(&mut full), ["10.0.1.2"]);
        let mut none = Pool::new("10.0.1.0/24".parse().unwrap(), Some("10.0.1.0/32".parse().unwrap()));
        none.move_on(7);
        assert_eq!(none.free(|_| false), None);
        let mut ipv6 = Pool::new("fd00::/64".parse().unwrap(), None);
        ipv6.move_on(7);
        assert!(bits(ipv6.free(|_| false).unwrap()) - bits(address("fd00::")) < WIDE);
    }

    #[test]
    fn a_range_limits_what_is_given_out_and_not_what_is_asked_for() {
        let mut pool = Pool::new("10.0.1.0/24".parse().unwrap(), Some("10.0.1.128/30".parse().unwrap()));
        assert_eq!(all(&mut pool), ["10.0.1.128", "10.0.1.129", "10.0.1.130", "10.0.1.131"]);
        assert!(pool.is_free(address("10.0.1.7")));
        assert!(!pool.is_free(address("10.0.1.128")) && !pool.is_free(address("10.0.1.0")));
        let mut end = Pool::new("10.0.1.0/24".parse().unwrap(), Some("10.0.1.254/31".parse().unwrap()));
        assert_eq!(all(&mut end), ["10.0.1.254"], "255 is the broadcast address");
    }

    #[test]
    fn ipv6_has_no_broadcast_address() {
        let mut pool = Pool::new("fd00::/126".parse().unwrap(), None);
        assert_eq!(all(&mut pool), ["fd00::1", "fd00::2", "fd00::3"]);
    }
}

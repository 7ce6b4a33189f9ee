//! Subnets of both address families, as plain arithmetic.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// A range of addresses that share a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Subnet {
    base: IpAddr,
    prefix: u8,
}

/// A text that is no subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("'{0}' is not a subnet as in 10.0.1.0/24")]
pub(crate) struct InvalidSubnet(String);

impl FromStr for Subnet {
    type Err = InvalidSubnet;

    /// Bits behind the prefix are dropped: `10.0.1.77/24` is `10.0.1.0/24`.
    fn from_str(text: &str) -> Result<Self, InvalidSubnet> {
        let invalid = || InvalidSubnet(text.chars().take(64).collect());
        let (address, prefix) = text.split_once('/').ok_or_else(invalid)?;
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        // As Go reads it: digits only, and no zero in front.
        let plain = prefix.bytes().all(|b| b.is_ascii_digit()) && (prefix == "0" || !prefix.starts_with('0'));
        let prefix: u8 = prefix.parse().ok().filter(|_| plain).ok_or_else(invalid)?;
        Self::new(address, prefix).ok_or_else(invalid)
    }
}

impl fmt::Display for Subnet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.base, self.prefix)
    }
}

impl Subnet {
    /// The subnet of this length that holds the address; `None` where the address has fewer bits.
    pub fn new(address: IpAddr, prefix: u8) -> Option<Self> {
        let width = width(address);
        (prefix <= width).then(|| Self { base: from_bits(address, bits(address) & !host_mask(width, prefix)), prefix })
    }

    pub fn is_ipv4(self) -> bool {
        self.base.is_ipv4()
    }

    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// Its first address, the network's own.
    pub fn base(self) -> IpAddr {
        self.base
    }

    /// Its last address.
    pub fn last(self) -> IpAddr {
        from_bits(self.base, self.last_bits())
    }

    fn last_bits(self) -> u128 {
        bits(self.base) | host_mask(width(self.base), self.prefix)
    }

    pub fn contains(self, address: IpAddr) -> bool {
        address.is_ipv4() == self.is_ipv4() && (bits(self.base)..=self.last_bits()).contains(&bits(address))
    }

    /// Whether all of `other` lies within.
    pub fn holds(self, other: Self) -> bool {
        other.prefix >= self.prefix && self.contains(other.base)
    }

    pub fn overlaps(self, other: Self) -> bool {
        self.holds(other) || other.holds(self)
    }

    /// The addresses that hosts can have: in larger subnets not the first (the network's, or IPv6's any-router address)
    /// and for IPv4 not the last (broadcast).
    pub fn hosts(self) -> (u128, u128) {
        let (first, last) = (bits(self.base), self.last_bits());
        match (self.is_ipv4(), width(self.base) - self.prefix) {
            (true, 0..=1) | (false, 0) => (first, last),
            (true, _) => (first + 1, last - 1),
            (false, _) => (first + 1, last),
        }
    }

    /// The address of the subnet's family with these bits.
    pub fn address(self, bits: u128) -> IpAddr {
        from_bits(self.base, bits)
    }

    /// An address with the subnet's prefix length, as attachments have it.
    pub fn with_prefix(self, address: IpAddr) -> String {
        format!("{address}/{}", self.prefix)
    }

    /// The first subnet of `size` within, that overlaps none of those in use.
    pub fn free_part(self, size: u8, used: &[Self]) -> Option<Self> {
        if size < self.prefix {
            return None;
        }
        let mut candidate = Self::new(self.base, size)?;
        while let Some(blocker) = used.iter().find(|used| used.overlaps(candidate)) {
            // Behind the larger of the two: one of them contains the other.
            let next = candidate.last_bits().max(blocker.last_bits()).checked_add(1)?;
            if next > self.last_bits() {
                return None;
            }
            candidate = Self::new(from_bits(self.base, next), size)?;
        }
        Some(candidate)
    }
}

/// An address's bits as a number.
pub(crate) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The address before a `/`, or the whole text.
pub(crate) fn address_of(text: &str) -> Option<IpAddr> {
    text.split_once('/').map_or(text, |(address, _)| address).parse().ok()
}

fn from_bits(family: IpAddr, bits: u128) -> IpAddr {
    match family {
        #[allow(clippy::cast_possible_truncation)]
        IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

fn host_mask(width: u8, prefix: u8) -> u128 {
    match width - prefix {
        0 => 0,
        host_bits => u128::MAX >> (128 - u32::from(host_bits)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(text: &str) -> Subnet {
        text.parse().unwrap()
    }

    #[test]
    fn subnets_are_the_first_that_overlap_nothing() {
        let free = |used: &[&str]| {
            let used: Vec<Subnet> = used.iter().map(|s| subnet(s)).collect();
            subnet("10.0.0.0/8").free_part(24, &used).map(|s| s.to_string())
        };
        assert_eq!(free(&[]).unwrap(), "10.0.0.0/24");
        assert_eq!(free(&["10.0.0.0/24"]).unwrap(), "10.0.1.0/24");
        assert_eq!(free(&["10.0.0.0/16", "10.1.0.128/25"]).unwrap(), "10.1.1.0/24");
        assert_eq!(free(&["192.168.0.0/16", "fd00::/8"]).unwrap(), "10.0.0.0/24");
        assert_eq!(free(&["10.0.0.0/8"]), None);
        assert_eq!(subnet("10.0.0.0/24").free_part(16, &[]), None);
        assert_eq!(subnet("fd00::/48").free_part(64, &[subnet("fd00::/64")]).unwrap().to_string(), "fd00:0:0:1::/64");
        let all = subnet("255.255.255.0/24");
        assert_eq!(all.free_part(25, &[subnet("255.255.255.0/25"), subnet("255.255.255.128/25")]), None);
    }

    #[test]
    fn hosts_leave_out_what_is_not_a_hosts() {
        let hosts = |text: &str| {
            let (subnet, (first, last)) = (subnet(text), subnet(text).hosts());
            [first, last].map(|bits| subnet.address(bits).to_string())
        };
        assert_eq!(hosts("10.0.1.0/24"), ["10.0.1.1", "10.0.1.254"]);
        assert_eq!(hosts("10.0.1.0/31"), ["10.0.1.0", "10.0.1.1"]);
        assert_eq!(hosts("10.0.1.7/32"), ["10.0.1.7", "10.0.1.7"]);
        assert_eq!(hosts("fd00::/126"), ["fd00::1", "fd00::3"]);
        assert_eq!(hosts("0.0.0.0/0"), ["0.0.0.1", "255.255.255.254"]);
    }

    #[test]
    fn malformed_subnets_are_refused() {
        for text in
            ["", "10.0.0.0", "10.0.0.0/33", "10.0.0/8", "fd00::/129", "10.0.0.0/-1", "10.0.0.0/+8", "1.2.3.4/08"]
        {
            assert!(text.parse::<Subnet>().is_err(), "{text}");
        }
        assert_eq!(subnet("10.0.1.77/24").to_string(), "10.0.1.0/24");
        assert_eq!(subnet("0.0.0.0/0").last().to_string(), "255.255.255.255");
        assert_eq!(subnet("::/0").last(), IpAddr::V6(Ipv6Addr::from_bits(u128::MAX)));
    }

    proptest! {
        #[test]
        fn any_text_is_a_subnet_or_is_not(text in ".{0,40}") {
            if let Ok(subnet) = text.parse::<Subnet>() {
                prop_assert_eq!(subnet.to_string().parse::<Subnet>().unwrap(), subnet);
            }
        }

        #[test]
        fn overlapping_is_having_an_address_in_common(a: u32, b: u32, p in 0u8..=32, q in 0u8..=32) {
            let one = Subnet::new(Ipv4Addr::from_bits(a).into(), p).unwrap();
            let other = Subnet::new(Ipv4Addr::from_bits(b).into(), q).unwrap();
            let common = one.contains(other.base()) || other.contains(one.base());
            prop_assert_eq!(one.overlaps(other), common);
            prop_assert_eq!(other.overlaps(one), common);
        }
    }
}

//! Addresses of links: link-layer ones, and IPv4 or IPv6 ones with their prefix. Leaves out who gets which (`ipam`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A link-layer address.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// Docker's rule for endpoints: `02:42` and the four bytes of the IPv4 address (of an endpoint that has only an
    /// IPv6 one, its last four bytes). Unique on a network where the address is, and stable, so that a neighbour's
    /// cache stays right when a container comes back with its address.
    pub fn of_ip(ip: impl Into<IpAddr>) -> Self {
        let [a, b, c, d] = match ip.into() {
            IpAddr::V4(ip) => ip.octets(),
            IpAddr::V6(ip) => {
                let [.., a, b, c, d] = ip.octets();
                [a, b, c, d]
            }
        };
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("{text:?} is not a link-layer address: expected a form like 02:42:ac:11:00:02");
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|part| part.len() == 2).ok_or_else(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad())?;
        }
        parts.next().is_none().then_some(Self(bytes)).ok_or_else(bad)
    }
}

/// An address with its prefix length. The host bits are kept: `172.17.0.1/16` is an interface's address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Cidr {
    /// The address.
    pub address: IpAddr,
    /// Length of the network part: 0 to 32 for IPv4, 0 to 128 for IPv6.
    pub prefix: u8,
}

impl Cidr {
    /// All of IPv4: the destination of its default route.
    pub const ALL_IPV4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    /// All of IPv6.
    pub const ALL_IPV6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// An address with its prefix length; `None` when the length exceeds that of the address.
    pub fn new(address: impl Into<IpAddr>, prefix: u8) -> Option<Self> {
        let address = address.into();
        (prefix <= width(address)).then_some(Self { address, prefix })
    }

    /// One address alone: `/32` or `/128`.
    pub fn host(address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self { address, prefix: width(address) }
    }

    /// The same with the host bits cleared.
    pub fn network(self) -> Self {
        Self { address: self.range().0, prefix: self.prefix }
    }

    /// First and last address of the network.
    pub fn range(self) -> (IpAddr, IpAddr) {
        match self.address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0);
                let first = u32::from(ip) & mask;
                (Ipv4Addr::from(first).into(), Ipv4Addr::from(first | !mask).into())
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix)).unwrap_or(0);
                let first = u128::from(ip) & mask;
                (Ipv6Addr::from(first).into(), Ipv6Addr::from(first | !mask).into())
            }
        }
    }

    /// Whether the address lies in this network. One of the other family never does.
    pub fn contains(self, ip: impl Into<IpAddr>) -> bool {
        let ip = ip.into();
        let (first, last) = self.range();
        ip.is_ipv4() == first.is_ipv4() && first <= ip && ip <= last
    }

    /// Whether it is an IPv6 network.
    pub fn is_ipv6(self) -> bool {
        self.address.is_ipv6()
    }
}

/// Bits of an address of this family.
fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || format!("{text:?} is not a network: expected a form like 172.17.0.0/16 or fd00::/64");
        let (address, prefix) = text.split_once('/').ok_or_else(bad)?;
        let address: IpAddr = address.parse().map_err(|_| bad())?;
        let prefix = prefix.parse().map_err(|_| bad())?;
        Self::new(address, prefix).ok_or_else(bad)
    }
}

impl TryFrom<String> for Cidr {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Cidr> for String {
    fn from(cidr: Cidr) -> Self {
        cidr.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn networks_know_their_range() {
        let cidr: Cidr = "172.17.3.4/16".parse().unwrap();
        assert_eq!(cidr.network().to_string(), "172.17.0.0/16");
        assert_eq!(cidr.range().1.to_string(), "172.17.255.255");
        assert!(cidr.contains(Ipv4Addr::new(172, 17, 200, 1)));
        assert!(!cidr.contains(Ipv4Addr::new(172, 18, 0, 1)));
        let cidr: Cidr = "fd00:1::7/64".parse().unwrap();
        assert_eq!(cidr.network().to_string(), "fd00:1::/64");
        assert_eq!(cidr.range().1.to_string(), "fd00:1::ffff:ffff:ffff:ffff");
        assert!(cidr.contains("fd00:1::ffff".parse::<IpAddr>().unwrap()));
        assert!(!cidr.contains("fd00:2::1".parse::<IpAddr>().unwrap()));
        for bad in ["172.17.0.0/33", "172.17.0.0", "fd00::/129", "fd00::", "/16", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
    }

    #[test]
    fn all_of_a_family_holds_that_family_only() {
        assert!(Cidr::ALL_IPV4.contains(Ipv4Addr::BROADCAST) && !Cidr::ALL_IPV4.contains(Ipv6Addr::LOCALHOST));
        assert!(Cidr::ALL_IPV6.contains(Ipv6Addr::LOCALHOST) && !Cidr::ALL_IPV6.contains(Ipv4Addr::LOCALHOST));
        assert_eq!(Cidr::host(Ipv6Addr::LOCALHOST).to_string(), "::1/128");
    }

    #[test]
    fn an_endpoints_mac_carries_its_address() {
        let mac = Mac::of_ip(Ipv4Addr::new(172, 17, 0, 2));
        assert_eq!(mac.to_string(), "02:42:ac:11:00:02");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for bad in ["", "02:42:ac:11:00", "02:42:ac:11:00:02:03", "02:42:ac:11:0:002", "02:42:ac:11:00:0g"] {
            assert!(bad.parse::<Mac>().is_err(), "{bad}");
        }
    }

    fn addresses() -> impl Strategy<Value = IpAddr> {
        prop_oneof![
            any::<u32>().prop_map(|n| Ipv4Addr::from(n).into()),
            any::<u128>().prop_map(|n| Ipv6Addr::from(n).into())
        ]
    }

    proptest! {
        #[test]
        fn a_network_holds_its_ends_and_not_their_neighbours(address in addresses(), prefix in 0u8..=128) {
            let Some(cidr) = Cidr::new(address, prefix) else {
                prop_assert!(address.is_ipv4() && prefix > 32);
                return Ok(());
            };
            let (first, last) = cidr.range();
            prop_assert!(cidr.contains(first) && cidr.contains(last) && cidr.contains(address));
            prop_assert_eq!(cidr.to_string().parse::<Cidr>().unwrap(), cidr);
            let after = match last {
                IpAddr::V4(ip) => u32::from(ip).checked_add(1).map(|n| IpAddr::from(Ipv4Addr::from(n))),
                IpAddr::V6(ip) => u128::from(ip).checked_add(1).map(|n| IpAddr::from(Ipv6Addr::from(n))),
            };
            prop_assert!(!after.is_some_and(|ip| cidr.contains(ip)));
        }

        #[test]
        fn reading_an_address_never_panics(text in "[0-9a-f.:/]{0,50}") {
            let _ = text.parse::<Cidr>();
            let _ = text.parse::<Mac>();
        }
    }
}

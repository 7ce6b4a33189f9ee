//! Which subnet a local network gets when the user names none: Docker's default pools.

use std::net::Ipv4Addr;

use super::Cidr;
use super::ipam::overlap;

/// Docker's pools for local networks, in its order: (first subnet's network, prefix of each, how many).
const LOCAL: [(Ipv4Addr, u8, u32); 2] =
    [(Ipv4Addr::new(172, 17, 0, 0), 16, 15), (Ipv4Addr::new(192, 168, 0, 0), 20, 16)];

/// The first of the default subnets that shares no address with those in use; `None` when all do.
pub fn choose_local(in_use: &[Cidr]) -> Option<Cidr> {
    LOCAL.iter().flat_map(|(base, prefix, count)| subnets(*base, *prefix, *count)).find(|candidate| {
        // a default route is on every way and says nothing of who has the addresses
        in_use.iter().filter(|used| used.prefix > 0).all(|used| !overlap(*candidate, *used))
    })
}

fn subnets(base: Ipv4Addr, prefix: u8, count: u32) -> impl Iterator<Item = Cidr> {
    let step = 1u32 << (32 - u32::from(prefix));
    (0..count).filter_map(move |n| {
        let address = Ipv4Addr::from(u32::from(base).saturating_add(n.saturating_mul(step)));
        Cidr::new(address, prefix)
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_handed_out_in_dockers_order_until_none_is_left() {
        let mut used: Vec<Cidr> = vec!["0.0.0.0/0".parse().unwrap()];
        let mut given = Vec::new();
        while let Some(next) = choose_local(&used) {
            used.push(next);
            given.push(next.to_string());
        }
        assert_eq!(given.len(), 31);
        assert_eq!((given[0].as_str(), given[14].as_str()), ("172.17.0.0/16", "172.31.0.0/16"));
        assert_eq!((given[15].as_str(), given[30].as_str()), ("192.168.0.0/20", "192.168.240.0/20"));
    }

    #[test]
    fn what_the_node_uses_is_avoided_even_in_part() {
        let used = ["172.17.9.0/24", "172.18.0.0/15"].map(|text| text.parse().unwrap());
        assert_eq!(choose_local(&used).unwrap().to_string(), "172.20.0.0/16");
    }
}

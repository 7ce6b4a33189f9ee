//! Where the subnets of the swarm's networks come from.

use std::net::Ipv6Addr;

use crate::store::Store;
use crate::subnet::Subnet;

/// The length of IPv6 subnets, whatever the swarm's setting for IPv4 ones is.
pub(crate) const IPV6_PREFIX: u8 = 64;

/// More would leave a network no addresses beside those that the swarm itself needs.
const MAX_SUBNET_SIZE: u32 = 29;

/// Checks what `docker swarm init` is given as `--default-addr-pool` and `--default-addr-pool-mask-length` (0: the
/// default), in Docker's words.
pub fn check(pools: &[String], size: u32) -> Result<(), String> {
    if pools.is_empty() {
        return Ok(());
    }
    let size = if size == 0 { 24 } else { size };
    if size > MAX_SUBNET_SIZE {
        return Err(format!("subnet size is out of range: {size}"));
    }
    for text in pools.iter().map(|text| text.trim()) {
        let shown: String = text.chars().take(64).collect();
        let pool: Subnet =
            text.parse().map_err(|_| format!("invalid base pool {shown}: invalid CIDR address: {shown}"))?;
        if size < u32::from(pool.prefix()) {
            return Err(format!("invalid CIDR: {shown:?}. Subnet size is too small for pool: {size}"));
        }
    }
    Ok(())
}

/// Checks what `docker swarm init` is given as `--data-path-port` (0: the default), in Docker's words.
pub fn check_data_path_port(port: u32) -> Result<(), String> {
    if port == 0 || (1024..=49151).contains(&port) {
        return Ok(());
    }
    Err(format!("Datapath port number is not in valid range (1024-49151) : {port}"))
}

/// The pools that IPv4 subnets are taken from, in order, and their length.
pub(crate) fn ipv4(store: &Store) -> (Vec<Subnet>, u8) {
    let mut pools: Vec<Subnet> = configured(store).filter(|pool| pool.is_ipv4()).collect();
    if pools.is_empty() {
        pools.extend("10.0.0.0/8".parse::<Subnet>());
    }
    pools.sort();
    (pools, u8::try_from(store.cluster().map_or(24, |c| c.subnet_size)).unwrap_or(24).clamp(8, 30))
}

/// The pools that IPv6 subnets are taken from: the swarm's, else a unique local prefix that follows from the swarm's id.
pub(crate) fn ipv6(store: &Store) -> Vec<Subnet> {
    let mut pools: Vec<Subnet> =
        configured(store).filter(|pool| !pool.is_ipv4() && pool.prefix() <= IPV6_PREFIX).collect();
    if pools.is_empty() {
        // RFC 4193: fd, then 40 random bits, which the id's first ones are.
        let id = store.cluster().map_or(0, |cluster| cluster.id.bits());
        let address = Ipv6Addr::from_bits(0xfd << 120 | (id >> 88) << 80);
        pools.extend(Subnet::new(address.into(), 48));
    }
    pools.sort();
    pools
}

/// The first free IPv4 subnet.
pub(crate) fn free_ipv4(store: &Store, used: &[Subnet]) -> Option<Subnet> {
    let (pools, size) = ipv4(store);
    pools.iter().find_map(|pool| pool.free_part(size, used))
}

/// The first free IPv6 subnet.
pub(crate) fn free_ipv6(store: &Store, used: &[Subnet]) -> Option<Subnet> {
    ipv6(store).iter().find_map(|pool| pool.free_part(IPV6_PREFIX, used))
}

/// The subnets of all networks, those included that users asked for and that are not allocated yet.
pub(crate) fn in_use(store: &Store) -> Vec<Subnet> {
    let configs = store.networks().iter().flat_map(|network| {
        let ipam = network.ipam.as_ref().or(network.spec.ipam.as_ref());
        ipam.into_iter().flat_map(|ipam| &ipam.configs)
    });
    configs.filter_map(|config| config.subnet.parse().ok()).collect()
}

fn configured(store: &Store) -> impl Iterator<Item = Subnet> {
    store.cluster().into_iter().flat_map(|c| &c.default_address_pool).filter_map(|pool| pool.trim().parse().ok())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn pools_are_checked_in_dockers_words() {
        let check = |pool: &str, size| check(&[pool.to_owned()], size);
        for good in [("10.0.0.0/8", 24), ("10.0.0.0/8", 0), (" 10.1.0.0/29", 29), ("fd00::/16", 24)] {
            check(good.0, good.1).unwrap();
        }
        assert_eq!(check("10.0.0.0/8", 30).unwrap_err(), "subnet size is out of range: 30");
        assert_eq!(
            check("10.0.0.0/40", 24).unwrap_err(),
            "invalid base pool 10.0.0.0/40: invalid CIDR address: 10.0.0.0/40"
        );
        assert_eq!(
            check("10.0.0.0/25", 24).unwrap_err(),
            "invalid CIDR: \"10.0.0.0/25\". Subnet size is too small for pool: 24"
        );
        assert_eq!(super::check(&[], 30), Ok(()));
        assert!(check_data_path_port(0).is_ok() && check_data_path_port(7777).is_ok());
        assert_eq!(
            check_data_path_port(80).unwrap_err(),
            "Datapath port number is not in valid range (1024-49151) : 80"
        );
    }
}

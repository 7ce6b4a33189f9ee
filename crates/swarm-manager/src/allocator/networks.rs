//! Networks: their subnets, VXLAN ids and the addresses in use on each.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use swarm_types::*;

use super::ipam::{Owner, Pool};
use crate::address_pools;
use crate::store::Store;
use crate::subnet::{InvalidSubnet, Subnet, address_of};

/// The option of a network's driver state that holds its VXLAN ids, one for each IPv4 subnet; the name is the overlay
/// driver's.
pub(super) const VXLAN_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// The first VXLAN id: those below are left to VLANs, as Docker does.
const FIRST_VXLAN_ID: u32 = 4096;
/// VXLAN ids have 24 bits.
const LAST_VXLAN_ID: u32 = (1 << 24) - 1;

/// Limits a network's own list of subnets.
const MAX_SUBNETS: usize = 16;

/// What is in use on the swarm's networks.
#[derive(Debug, Default)]
pub(super) struct Networks {
    pools: BTreeMap<NetworkId, Vec<Pool>>,
    vxlan_ids: BTreeMap<u32, NetworkId>,
    /// Where to look for the next VXLAN id: a network that was just removed may still be on some nodes.
    next_vxlan_id: u32,
    /// Addresses in proposals under way.
    tentative: BTreeSet<(NetworkId, IpAddr)>,
}

/// What networks of one proposal take, of which the index knows only once it was applied.
#[derive(Debug, Default)]
pub(super) struct Proposed {
    subnets: Vec<Subnet>,
    vxlan_ids: BTreeSet<u32>,
}

/// Why a network cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum NetworkError {
    #[error("network {0} not found")]
    NotFound(String),
    #[error("ingress network is missing")]
    NoIngress,
    #[error("network {0} is not allocated yet")]
    NotAllocated(String),
    #[error("could not find an available IP on network {0}")]
    NoAddress(String),
    #[error("address {0} is not on network {1}")]
    OutOfRange(String, String),
    #[error("Address already in use: {0}")]
    AddressTaken(String),
    #[error("all predefined address pools have been fully subnetted")]
    NoSubnet,
    #[error("invalid pool request: Pool overlaps with other one on this address space")]
    Overlap,
    #[error("{0}")]
    Subnet(#[from] InvalidSubnet),
    #[error("a network has at most {MAX_SUBNETS} subnets")]
    TooManySubnets,
    #[error("no free VXLAN id is left")]
    NoVxlanId,
    #[error("VXLAN id {0} is in use or out of range")]
    VxlanIdTaken(String),
}

impl Networks {
    /// Takes note of an allocated network.
    pub fn claim_network(&mut self, network: &Network) {
        let Some(ipam) = &network.ipam else { return };
        self.pools.entry(network.id).or_insert_with(|| ipam.configs.iter().filter_map(pool).collect());
        for id in vxlan_ids(network.driver_state.as_ref())
            .filter_map(|text| text.parse().ok())
            .filter(|id| *id <= LAST_VXLAN_ID)
        {
            self.vxlan_ids.entry(id).or_insert(network.id);
            if vxlan_ids(network.spec.driver.as_ref()).next().is_none() {
                self.next_vxlan_id = id + 1;
            }
        }
    }

    pub fn release_network(&mut self, network: NetworkId) {
        self.pools.remove(&network);
        self.vxlan_ids.retain(|_, holder| *holder != network);
        self.tentative.retain(|(of, _)| *of != network);
    }

    /// With a new leader, once all that is in use was claimed; see [`Pool::move_on`].
    pub fn move_on(&mut self, draw: u64) {
        self.pools.values_mut().flatten().for_each(|pool| pool.move_on(draw));
    }

    pub fn claim(&mut self, network: NetworkId, address: &str, owner: Owner) {
        let Some(address) = address_of(address) else { return };
        let given = self.tentative.remove(&(network, address));
        if let Some(pool) = self.pool_of(network, address) {
            pool.claim(address, owner);
            if given {
                pool.pass(address);
            }
        }
    }

    pub fn release(&mut self, network: NetworkId, address: &str, owner: Owner) {
        let Some(address) = address_of(address) else { return };
        if let Some(pool) = self.pool_of(network, address) {
            pool.release(address, owner);
        }
    }

    fn pool_of(&mut self, network: NetworkId, address: IpAddr) -> Option<&mut Pool> {
        self.pools.get_mut(&network)?.iter_mut().find(|pool| pool.subnet.contains(address))
    }

    /// The last proposal was applied or dropped: what of it is in the store was claimed by its event.
    pub fn settle(&mut self) {
        self.tentative.clear();
    }

    /// Takes back what was set aside for an object of which the rest could not be allocated.
    pub fn roll_back(&mut self, network: NetworkId, addresses: &[String]) {
        for address in addresses.iter().filter_map(|address| address_of(address)) {
            self.tentative.remove(&(network, address));
        }
    }

    /// Sets addresses aside, with prefix lengths: an IPv4 one, and an IPv6 one where the network has these. None where
    /// the network is each node's own (`host`). `asked`: addresses to have rather than any.
    pub fn allocate(&mut self, network: &Network, asked: &[String]) -> Result<Vec<String>, NetworkError> {
        let name = || network.spec.annotations.name.clone();
        let pools = self.pools.get(&network.id).ok_or_else(|| NetworkError::NotAllocated(name()))?;
        let taken = |address: IpAddr| self.tentative.contains(&(network.id, address));
        let mut chosen: Vec<(IpAddr, &Pool)> = Vec::new();
        for ipv4 in [true, false] {
            let mut of_family = pools.iter().filter(|pool| pool.subnet.is_ipv4() == ipv4).peekable();
            if of_family.peek().is_none() {
                continue;
            }
            let asked = asked.iter().filter_map(|text| address_of(text)).find(|address| address.is_ipv4() == ipv4);
            chosen.push(match asked {
                Some(address) => {
                    let pool = of_family.find(|pool| pool.subnet.contains(address));
                    let pool = pool.ok_or_else(|| NetworkError::OutOfRange(address.to_string(), name()))?;
                    if !pool.is_free(address) || taken(address) {
                        return Err(NetworkError::AddressTaken(address.to_string()));
                    }
                    (address, pool)
                }
                None => of_family
                    .find_map(|pool| pool.free(taken).map(|address| (address, pool)))
                    .ok_or_else(|| NetworkError::NoAddress(name()))?,
            });
        }
        let addresses = chosen.iter().map(|(address, pool)| pool.subnet.with_prefix(*address)).collect();
        let chosen: Vec<IpAddr> = chosen.into_iter().map(|(address, _)| address).collect();
        self.tentative.extend(chosen.into_iter().map(|address| (network.id, address)));
        Ok(addresses)
    }

    /// A network with its subnets, gateways and VXLAN ids.
    pub fn allocate_network(
        &self,
        network: &Network,
        store: &Store,
        proposed: &mut Proposed,
    ) -> Result<Network, NetworkError> {
        let mut allocated = network.clone();
        if !is_overlay(network) {
            // `host`, `bridge` and the like belong to each node.
            allocated.ipam = Some(IpamOptions::default());
            allocated.driver_state = network.spec.driver.clone();
            return Ok(allocated);
        }
        let mut ipam = network.spec.ipam.clone().unwrap_or_default();
        if ipam.configs.len() > MAX_SUBNETS {
            return Err(NetworkError::TooManySubnets);
        }
        if ipam.configs.iter().all(is_ipv6) {
            // An IPv6 subnet alone still leaves the IPv4 one to us.
            ipam.configs.insert(0, IpamConfig::default());
        }
        if network.spec.ipv6 && !ipam.configs.iter().any(is_ipv6) {
            let used: Vec<Subnet> = self.subnets(proposed).collect();
            let subnet = address_pools::free_ipv6(store, &used).ok_or(NetworkError::NoSubnet)?.to_string();
            ipam.configs.push(IpamConfig { subnet, ..IpamConfig::default() });
        }
        let mut taken = Vec::new();
        for config in &mut ipam.configs {
            let used: Vec<Subnet> = self.subnets(proposed).chain(taken.iter().copied()).collect();
            taken.push(complete(config, &used, store)?);
        }
        if ipam.driver.name.is_empty() {
            ipam.driver.name = "default".to_owned();
        }
        let ids = self.choose_vxlan_ids(network, taken.iter().filter(|subnet| subnet.is_ipv4()).count(), proposed)?;
        let mut state = network.spec.driver.clone().unwrap_or_default();
        state.name = "overlay".to_owned();
        let list: Vec<String> = ids.iter().map(u32::to_string).collect();
        state.options.insert(VXLAN_OPTION.to_owned(), list.join(","));
        allocated.driver_state = Some(state);
        allocated.ipam = Some(ipam);
        proposed.subnets.extend(taken);
        proposed.vxlan_ids.extend(ids);
        Ok(allocated)
    }

    fn subnets<'a>(&'a self, proposed: &'a Proposed) -> impl Iterator<Item = Subnet> + 'a {
        let known = self.pools.values().flatten().map(|pool| pool.subnet);
        known.chain(proposed.subnets.iter().copied())
    }

    /// One for each IPv4 subnet: those that the network's options ask for, then the first free ones.
    fn choose_vxlan_ids(&self, network: &Network, count: usize, proposed: &Proposed) -> Result<Vec<u32>, NetworkError> {
        let mut ids: Vec<u32> = Vec::new();
        let free = |id: u32| !self.vxlan_ids.contains_key(&id) && !proposed.vxlan_ids.contains(&id);
        for text in vxlan_ids(network.spec.driver.as_ref()).take(count) {
            let id = text.parse().ok().filter(|id| *id <= LAST_VXLAN_ID && free(*id) && !ids.contains(id));
            ids.push(id.ok_or_else(|| NetworkError::VxlanIdTaken(text.chars().take(16).collect()))?);
        }
        let asked = ids.clone();
        let start = self.next_vxlan_id.clamp(FIRST_VXLAN_ID, LAST_VXLAN_ID);
        let circle = (start..=LAST_VXLAN_ID).chain(FIRST_VXLAN_ID..start);
        let rest = circle.filter(|id| free(*id) && !asked.contains(id));
        ids.extend(rest.take(count.saturating_sub(asked.len())));
        if ids.len() < count { Err(NetworkError::NoVxlanId) } else { Ok(ids) }
    }

    /// Whether nothing is set aside that nobody has.
    #[cfg(test)]
    pub fn is_settled(&self) -> bool {
        self.tentative.is_empty()
    }

    /// How many addresses are in use on a network, the gateway included.
    #[cfg(test)]
    pub fn in_use(&self, network: NetworkId) -> usize {
        self.pools.get(&network).into_iter().flatten().map(Pool::in_use).sum()
    }
}

fn is_ipv6(config: &IpamConfig) -> bool {
    config.subnet.contains(':')
}

/// The addresses of an allocated subnet, with those set aside that are the network's own.
fn pool(config: &IpamConfig) -> Option<Pool> {
    let mut pool = Pool::new(config.subnet.parse().ok()?, config.range.parse().ok());
    let own = std::iter::once(&config.gateway).chain(config.reserved.values());
    for address in
        own.filter_map(|text| address_of(text)).filter(|address| pool.subnet.contains(*address)).collect::<Vec<_>>()
    {
        pool.claim(address, Owner::Network);
    }
    Some(pool)
}

/// Chooses what a subnet's config leaves open, and says what it takes.
fn complete(config: &mut IpamConfig, used: &[Subnet], store: &Store) -> Result<Subnet, NetworkError> {
    let subnet = if config.subnet.is_empty() {
        address_pools::free_ipv4(store, used).ok_or(NetworkError::NoSubnet)?
    } else {
        let subnet: Subnet = config.subnet.parse()?;
        if used.iter().any(|other| other.overlaps(subnet)) {
            return Err(NetworkError::Overlap);
        }
        subnet
    };
    config.subnet = subnet.to_string();
    if config.gateway.is_empty() {
        // Docker takes the first address of the range where there is one, be it the last one but a few.
        let gateway = pool(config).and_then(|pool| pool.free(|_| false));
        config.gateway = gateway.ok_or_else(|| NetworkError::NoAddress(config.subnet.clone()))?.to_string();
    }
    Ok(subnet)
}

/// The VXLAN ids that a driver's options list.
fn vxlan_ids(driver: Option<&Driver>) -> impl Iterator<Item = &str> {
    let list = driver.and_then(|driver| driver.options.get(VXLAN_OPTION));
    list.into_iter().flat_map(|list| list.split(',')).map(str::trim).filter(|text| !text.is_empty())
}

/// The network that an attachment names, by id or name.
pub(super) fn resolve<'a>(store: &'a Store, target: &str) -> Result<&'a Network, NetworkError> {
    let by_id = target.parse::<NetworkId>().ok().and_then(|id| store.networks().get(id));
    let network = by_id.or_else(|| store.networks().by_name(target));
    network.map(|n| n.as_ref()).ok_or_else(|| NetworkError::NotFound(target.chars().take(64).collect()))
}

/// Whether a network spans nodes, as opposed to one that each node has of its own (`host`, `bridge`).
pub(super) fn is_overlay(network: &Network) -> bool {
    network.driver_name() == "overlay"
}

/// The routing mesh's own network, where there is one.
pub(super) fn ingress(store: &Store) -> Option<&Network> {
    store.networks().iter().find(|network| network.spec.ingress && !network.pending_delete).map(|n| n.as_ref())
}

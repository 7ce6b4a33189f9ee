//! What a local bridge network is, and what an endpoint on it is given. Pure data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

use crate::plan::{AddressPool, Cidr, Mac};

/// A local bridge network as the node should have it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BridgeNetwork {
    /// The network's id: the name of its lease file.
    pub id: String,
    /// Interface name of the bridge, at most 15 bytes.
    pub bridge: String,
    /// Its address pools, the IPv4 one first; one of each family at most.
    pub pools: Vec<AddressPool>,
    /// Largest packet; 1500 is Docker's default.
    pub mtu: u32,
    /// Whether containers on it reach each other (`com.docker.network.bridge.enable_icc`). Without, its ports are
    /// isolated from each other and reach only the node.
    pub icc: bool,
    /// Whether what leaves the node has the node's address (`com.docker.network.bridge.enable_ip_masquerade`).
    pub masquerade: bool,
    /// No way out: endpoints get no default route.
    pub internal: bool,
}

impl BridgeNetwork {
    /// A network with Docker's defaults. `pools`: the IPv4 one first.
    pub fn new(id: impl Into<String>, bridge: impl Into<String>, pools: Vec<AddressPool>) -> Self {
        Self { id: id.into(), bridge: bridge.into(), pools, mtu: 1500, icc: true, masquerade: true, internal: false }
    }

    /// Docker's default network: `docker0` with 172.17.0.0/16.
    pub fn docker0(id: impl Into<String>) -> Self {
        let subnet = Cidr { address: IpAddr::V4(Ipv4Addr::new(172, 17, 0, 0)), prefix: 16 };
        Self::new(id, "docker0", vec![AddressPool::of(subnet, None)])
    }

    /// `br-` and the first twelve digits of the id, Docker's name for the bridge of a user's network.
    pub fn bridge_name(id: &str) -> String {
        format!("br-{}", id.chars().take(12).collect::<String>())
    }
}

/// What an endpoint wants of its own accord; the rest is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointWish {
    /// `--ip`
    pub ipv4: Option<Ipv4Addr>,
    /// `--ip6`
    pub ipv6: Option<Ipv6Addr>,
    /// `--mac-address`
    pub mac: Option<Mac>,
}

impl EndpointWish {
    /// The wanted address of the pool's family.
    pub(super) fn address(&self, pool: &AddressPool) -> Option<IpAddr> {
        match pool.gateway {
            IpAddr::V4(_) => self.ipv4.map(IpAddr::V4),
            IpAddr::V6(_) => self.ipv6.map(IpAddr::V6),
        }
    }
}

/// A container's place on a network, local or of the swarm.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointInfo {
    /// Addresses with the networks' prefix lengths, the IPv4 one first.
    pub addresses: Vec<Cidr>,
    /// Next hops to elsewhere, one of each family at most; empty where there is no way out by this network.
    pub gateways: Vec<IpAddr>,
    /// Link-layer address.
    pub mac: Mac,
}

impl EndpointInfo {
    /// The address of a family, with its prefix length.
    pub fn ipv4(&self) -> Option<(Ipv4Addr, u8)> {
        self.addresses.iter().find_map(|cidr| match cidr.address {
            IpAddr::V4(ip) => Some((ip, cidr.prefix)),
            IpAddr::V6(_) => None,
        })
    }

    /// The address of a family, with its prefix length.
    pub fn ipv6(&self) -> Option<(Ipv6Addr, u8)> {
        self.addresses.iter().find_map(|cidr| match cidr.address {
            IpAddr::V6(ip) => Some((ip, cidr.prefix)),
            IpAddr::V4(_) => None,
        })
    }

    /// The next hop of a family.
    pub fn gateway4(&self) -> Option<Ipv4Addr> {
        self.gateways.iter().find_map(|ip| match ip {
            IpAddr::V4(ip) => Some(*ip),
            IpAddr::V6(_) => None,
        })
    }

    /// The next hop of a family.
    pub fn gateway6(&self) -> Option<Ipv6Addr> {
        self.gateways.iter().find_map(|ip| match ip {
            IpAddr::V6(ip) => Some(*ip),
            IpAddr::V4(_) => None,
        })
    }
}

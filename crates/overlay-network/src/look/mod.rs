//! What a network namespace holds, read from the kernel for people: the same that `ip`, `bridge` and `nft` list, on a
//! machine that has none of them. Reads and never changes; nothing is decided by it.

mod filter;
mod links;

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Serialize;

use crate::apply::{NetError, NetNamespace, netlink};

/// A namespace as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct View {
    /// `ip -d link`, `ip address`
    pub links: Vec<Link>,
    /// `ip route`: the main tables of both families, without what IPv6 gives every link by itself.
    pub routes: Vec<Route>,
    /// `ip neighbour`
    pub neighbors: Vec<NeighborEntry>,
    /// `bridge fdb`, without the links' own addresses and groups.
    pub forwarding: Vec<Forwarding>,
    /// `nft list ruleset`
    pub tables: Vec<Table>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Link {
    /// Its number in the namespace.
    pub index: u32,
    /// Its name.
    pub name: String,
    /// `bridge`, `veth`, `vxlan`, `loopback` ...
    pub kind: String,
    /// Switched on.
    pub up: bool,
    /// Something is plugged in at the other end.
    pub carrier: bool,
    /// Link-layer address.
    pub mac: Option<String>,
    /// Largest packet.
    pub mtu: u32,
    /// The bridge that it is a port of.
    pub master: Option<String>,
    /// Of a pair: the other end's number, in whatever namespace that is.
    pub peer: Option<u32>,
    /// Addresses with prefix.
    pub addresses: Vec<String>,
    /// Of a VXLAN link.
    pub vxlan: Option<Vxlan>,
}

/// How a VXLAN link wraps frames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Vxlan {
    /// The number of its network.
    pub vni: u32,
    /// The UDP port.
    pub port: u16,
    /// The address that it sends from.
    pub local: Option<IpAddr>,
    /// Whether it learns which address is where from what it receives.
    pub learning: bool,
    /// Whether it answers questions for neighbours itself.
    pub proxy: bool,
}

/// A route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// `default`, or a network.
    pub destination: String,
    /// The next hop.
    pub via: Option<IpAddr>,
    /// The interface.
    pub dev: String,
}

/// Which link-layer address an address has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct NeighborEntry {
    /// The interface.
    pub dev: String,
    /// The address.
    pub ip: IpAddr,
    /// Its link-layer address, if it is known.
    pub mac: Option<String>,
    /// `permanent`, `reachable`, `stale` ...
    pub state: &'static str,
}

/// Where frames for an address go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Forwarding {
    /// The port, or the VXLAN link.
    pub dev: String,
    /// The bridge whose table it stands in; none for the VXLAN link's own table, which says at which node.
    pub bridge: Option<String>,
    /// The link-layer address.
    pub mac: String,
    /// The node that it is at, for a VXLAN link.
    pub remote: Option<IpAddr>,
    /// Whether it was written there (`static`) or learned.
    pub state: &'static str,
}

/// A table of the packet filter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Table {
    /// `inet`, `ip`, `ip6` ...
    pub family: String,
    /// Its name.
    pub name: String,
    /// Its named sets and maps.
    pub sets: Vec<Set>,
    /// Its chains.
    pub chains: Vec<Chain>,
}

/// A named set or map.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Whether it maps its members to something.
    pub map: bool,
    /// What it holds: `ipv4_addr . inet_service : verdict`.
    pub holds: String,
    /// Its members: `10.0.1.2 . 80 : goto web`.
    pub elements: Vec<String>,
}

/// A chain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Chain {
    /// Its name.
    pub name: String,
    /// Of one that packets come to by themselves: `type nat hook prerouting priority dstnat; policy accept;`.
    pub base: Option<String>,
    /// Its rules.
    pub rules: Vec<String>,
}

impl NetNamespace {
    /// Reads all of it. Several questions to the kernel: what changes in between may be seen half.
    pub async fn look(&self) -> Result<View, NetError> {
        let links = self.look_at_links().await?;
        let name = |index: u32| links.iter().find(|link| link.index == index).map(|link| link.name.clone());
        Ok(View {
            routes: self.look_at_routes(&name).await?,
            neighbors: self.look_at_neighbors(&name).await?,
            forwarding: self.look_at_forwarding(&links, &name).await?,
            tables: self.look_at_tables().await?,
            links,
        })
    }

    async fn look_at_neighbors(&self, name: &impl Fn(u32) -> Option<String>) -> Result<Vec<NeighborEntry>, NetError> {
        let found = self.connection().get_neighbors().await.map_err(netlink("list neighbours"))?;
        let entries = found.iter().filter_map(|entry| {
            let ip = *entry.destination().filter(|ip| !ip.is_multicast() && !ip.is_loopback())?;
            let state = links::neighbor_state(entry)?;
            Some(NeighborEntry { dev: name(entry.ifindex())?, ip, mac: entry.mac_address(), state })
        });
        let entries: BTreeSet<NeighborEntry> = entries.collect();
        Ok(entries.into_iter().collect())
    }
}

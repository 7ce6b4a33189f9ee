//! Interfaces, routes and forwarding tables.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;
use nlink::netlink::messages::{LinkMessage, NeighborMessage};
use nlink::netlink::types::neigh::NeighborState;

use super::{Forwarding, Link, Route, Vxlan};
use crate::apply::{NetError, NetNamespace, attributes, netlink};

impl NetNamespace {
    pub(super) async fn look_at_links(&self) -> Result<Vec<Link>, NetError> {
        let found = self.connection().get_links().await.map_err(netlink("list links"))?;
        let name_of = |index: u32| found.iter().find(|link| link.ifindex() == index)?.name().map(str::to_owned);
        let mut links: Vec<Link> = found.iter().filter_map(|message| link(message, &name_of)).collect();
        let addresses = self.connection().get_addresses().await.map_err(netlink("list addresses"))?;
        for address in &addresses {
            if let Some(link) = links.iter_mut().find(|link| link.index == address.ifindex())
                && let Some(ip) = address.primary_address()
            {
                link.addresses.push(format!("{ip}/{}", address.prefix_len()));
            }
        }
        links.sort_by_key(|link| link.index);
        Ok(links)
    }

    pub(super) async fn look_at_routes(&self, name: &impl Fn(u32) -> Option<String>) -> Result<Vec<Route>, NetError> {
        let main = u32::from(libc::RT_TABLE_MAIN);
        let found = self.connection().get_routes().await.map_err(netlink("list routes"))?;
        let of_everyone = |ip: &IpAddr| match ip {
            IpAddr::V6(ip) => ip.is_unicast_link_local() || ip.is_multicast(),
            IpAddr::V4(_) => false,
        };
        let routes = found.iter().filter(|route| route.table_id() == main).filter_map(|route| {
            let destination = match route.destination() {
                Some(ip) if of_everyone(ip) => return None,
                Some(ip) => format!("{ip}/{}", route.dst_len()),
                None => "default".to_owned(),
            };
            Some(Route { destination, via: route.gateway().copied(), dev: name(route.oif()?)? })
        });
        Ok(routes.collect())
    }

    pub(super) async fn look_at_forwarding(
        &self,
        links: &[Link],
        name: &impl Fn(u32) -> Option<String>,
    ) -> Result<Vec<Forwarding>, NetError> {
        let mut all = BTreeSet::new();
        for owner in links.iter().filter(|link| link.kind == "bridge" || link.kind == "vxlan") {
            let what = format!("list the forwarding entries of {}", owner.name);
            for entry in self.connection().get_fdb_by_index(owner.index).await.map_err(netlink(what))? {
                let (mac, remote) = (entry.mac(), entry.dst());
                // addresses of groups, and those of the ports themselves, which the kernel calls permanent
                let own = remote.is_none() && entry.is_permanent();
                let group = mac[0] & 1 == 1;
                let Some(dev) = name(entry.ifindex()).filter(|_| !own && !group) else { continue };
                let written = entry.is_permanent() || entry.is_static();
                let state = if written { "static" } else { "learned" };
                let bridge = entry.master().and_then(name).filter(|_| remote.is_none());
                all.insert(Forwarding { dev, bridge, mac: entry.mac_str(), remote, state });
            }
        }
        Ok(all.into_iter().collect())
    }
}

fn link(message: &LinkMessage, name_of: &impl Fn(u32) -> Option<String>) -> Option<Link> {
    let info = message.link_info();
    let kind = info.and_then(|info| info.kind()).map(str::to_owned);
    let plain = if message.is_loopback() { "loopback" } else { "ethernet" };
    let vxlan = info.filter(|_| kind.as_deref() == Some("vxlan")).and_then(|info| info.data());
    Some(Link {
        index: message.ifindex(),
        name: message.name()?.to_owned(),
        peer: message.link().filter(|_| kind.as_deref() == Some("veth")),
        kind: kind.unwrap_or_else(|| plain.to_owned()),
        up: message.is_up(),
        carrier: message.has_carrier(),
        mac: message.mac_address().filter(|_| !message.is_loopback()),
        mtu: message.mtu().unwrap_or(0),
        master: message.master().and_then(name_of),
        addresses: Vec::new(),
        vxlan: vxlan.map(read_vxlan),
    })
}

/// `IFLA_VXLAN_*` of linux/if_link.h. What the kernel does not say stays zero.
fn read_vxlan(bytes: &[u8]) -> Vxlan {
    let mut vxlan = Vxlan { vni: 0, port: 0, local: None, learning: false, proxy: false };
    for (kind, value) in attributes(bytes) {
        match kind {
            1 => vxlan.vni = value.try_into().map_or(0, u32::from_ne_bytes),
            4 => vxlan.local = <[u8; 4]>::try_from(value).ok().map(|ip| Ipv4Addr::from(ip).into()),
            7 => vxlan.learning = value != [0],
            11 => vxlan.proxy = value != [0],
            15 => vxlan.port = value.try_into().map_or(0, u16::from_be_bytes),
            17 => vxlan.local = <[u8; 16]>::try_from(value).ok().map(|ip| Ipv6Addr::from(ip).into()),
            _ => {}
        }
    }
    vxlan
}

/// In `ip`'s words; none of an entry that only says that there is nothing to resolve.
pub(super) fn neighbor_state(entry: &NeighborMessage) -> Option<&'static str> {
    Some(match entry.state() {
        NeighborState::Permanent => "permanent",
        NeighborState::Reachable => "reachable",
        NeighborState::Stale => "stale",
        NeighborState::Delay => "delay",
        NeighborState::Probe => "probe",
        NeighborState::Incomplete => "incomplete",
        NeighborState::Failed => "failed",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reading_a_vxlan_link_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = read_vxlan(&bytes);
        }
    }

    #[test]
    fn a_vxlan_link_s_attributes_are_read_in_their_byte_orders() {
        let attribute = |kind: u16, value: &[u8]| {
            let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
            let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
            bytes.extend(value);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let bytes = [
            attribute(1, &4097u32.to_ne_bytes()),
            attribute(4, &[10, 77, 0, 11]),
            attribute(7, &[0]),
            attribute(11, &[1]),
            attribute(15, &4789u16.to_be_bytes()),
        ]
        .concat();
        let local = Some([10, 77, 0, 11].into());
        assert_eq!(read_vxlan(&bytes), Vxlan { vni: 4097, port: 4789, local, learning: false, proxy: true });
    }
}

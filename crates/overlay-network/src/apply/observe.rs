//! What the kernel has now, in the words of plans.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use nix::libc;
use nlink::netlink::messages::{LinkMessage, RouteMessage};

use super::{NetError, NetNamespace, netlink};
use crate::plan::{
    BridgePort, Cidr, ForwardTo, ForwardingEntry, Mac, Neighbor, NetPlan, Observed, ObservedLink, RoutePlan, VxlanPlan,
};

impl NetNamespace {
    /// What the kernel has now of the kinds that plans speak of.
    pub async fn observe(&self, plan: &NetPlan) -> Result<Observed, NetError> {
        let mut observed = Observed::default();
        let links = self.connection.get_links().await.map_err(netlink("list links"))?;
        let name_of = |index: u32| {
            links.iter().find(|link| link.ifindex() == index).and_then(|link| link.name().map(str::to_owned))
        };
        for link in &links {
            let Some(name) = link.name() else { continue };
            observed.links.insert(name.to_owned(), observed_link(link, &name_of));
        }
        let addresses = self.connection.get_addresses().await.map_err(netlink("list addresses"))?;
        for address in &addresses {
            let Some(ip) = address.primary_address().copied() else {
                continue;
            };
            if matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) {
                continue;
            }
            if let Some(cidr) = Cidr::new(ip, address.prefix_len())
                && let Some(name) = name_of(address.ifindex())
                && let Some(link) = observed.links.get_mut(&name)
            {
                link.addresses.push(cidr);
            }
        }
        if !plan.routes.is_empty() {
            let main = u32::from(libc::RT_TABLE_MAIN);
            let routes = self.connection.get_routes().await.map_err(netlink("list routes"))?;
            for route in routes.iter().filter(|route| route.table_id() == main) {
                observed.routes.extend(observed_route(route, &name_of));
            }
        }
        self.observe_tables(plan, &mut observed).await?;
        self.observe_sysctls(plan, &mut observed)?;
        Ok(observed)
    }

    async fn observe_tables(&self, plan: &NetPlan, observed: &mut Observed) -> Result<(), NetError> {
        if !plan.neighbors.is_empty() {
            let found = self.connection.get_neighbors().await.map_err(netlink("list neighbours"))?;
            for link in plan.neighbors.keys() {
                let Some(index) = observed.links.get(link).map(|link| link.index) else { continue };
                let of_link = found.iter().filter(|entry| entry.ifindex() == index && entry.is_permanent());
                let known = of_link.filter_map(|entry| {
                    let mac = Mac(<[u8; 6]>::try_from(entry.lladdr()?).ok()?);
                    // addresses of groups have permanent entries by themselves
                    let ip = *entry.destination().filter(|ip| !ip.is_multicast())?;
                    Some(Neighbor { ip, mac })
                });
                observed.neighbors.insert(link.clone(), known.collect());
            }
        }
        self.observe_forwarding(plan, observed).await
    }

    /// Every listing is one of all tables of the namespace, of which `nlink` picks those of one bridge or link: so few
    /// listings, one for each bridge and one for each VXLAN link.
    async fn observe_forwarding(&self, plan: &NetPlan, observed: &mut Observed) -> Result<(), NetError> {
        let wanted: BTreeMap<u32, &String> = plan
            .forwarding
            .keys()
            .filter_map(|link| observed.links.get(link).map(|found| (found.index, link)))
            .collect();
        let mut known: BTreeMap<String, BTreeSet<ForwardingEntry>> =
            wanted.values().map(|link| ((*link).clone(), BTreeSet::new())).collect();
        let of_links = wanted.values().filter_map(|link| observed.links.get(*link));
        let bridges = of_links.clone().filter_map(|link| observed.links.get(link.master.as_ref()?));
        let owners: BTreeSet<u32> =
            bridges.chain(of_links.filter(|link| link.vxlan.is_some())).map(|link| link.index).collect();
        for owner in owners {
            let found = self.connection.get_fdb_by_index(owner).await.map_err(netlink("list forwarding entries"))?;
            for entry in found {
                let Some(table) = wanted.get(&entry.ifindex()).and_then(|link| known.get_mut(*link)) else { continue };
                let mac = Mac(entry.mac());
                match entry.dst() {
                    Some(remote) => table.insert(ForwardingEntry { mac, to: ForwardTo::Remote(remote) }),
                    // a permanent entry of a bridge's table is an address of the port itself
                    None if entry.master().is_some() && entry.is_static() => {
                        table.insert(ForwardingEntry { mac, to: ForwardTo::Port })
                    }
                    None => false,
                };
            }
        }
        observed.forwarding = known;
        Ok(())
    }

    fn observe_sysctls(&self, plan: &NetPlan, observed: &mut Observed) -> Result<(), NetError> {
        let of_links = plan.links.iter().flat_map(|link| &link.sysctls);
        let keys: Vec<&String> =
            plan.sysctls.iter().chain(&plan.sysctls_if_present).chain(of_links).map(|(key, _)| key).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let found = self.within(|| {
            let read = |key: &String| Some((key.clone(), std::fs::read_to_string(format!("/proc/sys/{key}")).ok()?));
            keys.into_iter().filter_map(read).collect::<Vec<_>>()
        })?;
        observed.sysctls.extend(found.into_iter().map(|(key, value)| (key, value.trim().to_owned())));
        Ok(())
    }
}

fn observed_link(link: &LinkMessage, name_of: &impl Fn(u32) -> Option<String>) -> ObservedLink {
    let info = link.link_info();
    let of_kind = |kind: &str| info.filter(|info| info.kind() == Some(kind)).and_then(|info| info.data());
    let port = info.filter(|info| info.slave_kind() == Some("bridge")).and_then(|info| info.slave_data());
    ObservedLink {
        index: link.ifindex(),
        peer: link.link(),
        mac: link.address().and_then(|bytes| <[u8; 6]>::try_from(bytes).ok()).map(Mac),
        mtu: link.mtu().unwrap_or(0),
        master: link.master().and_then(name_of),
        port: port.map(observed_port).unwrap_or_default(),
        vxlan: of_kind("vxlan").and_then(observed_vxlan),
        addresses: Vec::new(),
        up: link.is_up(),
        carrier: link.has_carrier(),
    }
}

/// The attributes of a netlink message: number and value. Stops at the first one that is cut off.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let &[l0, l1, k0, k1, ..] = bytes else { return None };
        let length = usize::from(u16::from_ne_bytes([l0, l1]));
        let value = bytes.get(4..length)?;
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((u16::from_ne_bytes([k0, k1]) & 0x3fff, value))
    })
}

/// `IFLA_BRPORT_*` of linux/if_link.h.
fn observed_port(bytes: &[u8]) -> BridgePort {
    let mut port = BridgePort::default();
    for (kind, value) in attributes(bytes) {
        let on = value.first().is_some_and(|byte| *byte != 0);
        match kind {
            4 => port.hairpin = on,
            8 => port.learning = on,
            9 => port.flooding = on,
            33 => port.isolated = on,
            _ => {}
        }
    }
    port
}

/// `IFLA_VXLAN_*` of linux/if_link.h; `None` when it learns, or does not answer for its neighbours.
fn observed_vxlan(bytes: &[u8]) -> Option<VxlanPlan> {
    let (mut vni, mut port, mut local, mut learning, mut proxy) = (None, None, None, false, false);
    for (kind, value) in attributes(bytes) {
        match kind {
            1 => vni = value.try_into().ok().map(u32::from_ne_bytes),
            4 => local = <[u8; 4]>::try_from(value).ok().map(|ip| IpAddr::from(Ipv4Addr::from(ip))),
            7 => learning = value != [0],
            11 => proxy = value != [0],
            15 => port = value.try_into().ok().map(u16::from_be_bytes),
            17 => local = <[u8; 16]>::try_from(value).ok().map(|ip| IpAddr::from(Ipv6Addr::from(ip))),
            _ => {}
        }
    }
    (proxy && !learning).then_some(VxlanPlan { vni: vni?, port: port?, local: local? })
}

fn observed_route(route: &RouteMessage, name_of: &impl Fn(u32) -> Option<String>) -> Option<RoutePlan> {
    let all = match i32::from(route.family()) {
        libc::AF_INET => Cidr::ALL_IPV4,
        libc::AF_INET6 => Cidr::ALL_IPV6,
        _ => return None,
    };
    let destination = match route.destination() {
        Some(ip) => Cidr::new(*ip, route.dst_len())?,
        None => all,
    };
    Some(RoutePlan { destination, via: route.gateway().copied(), dev: name_of(route.oif()?)? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn reading_attributes_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = (observed_port(&bytes), observed_vxlan(&bytes));
            prop_assert!(attributes(&bytes).count() <= bytes.len() / 4);
        }
    }
}

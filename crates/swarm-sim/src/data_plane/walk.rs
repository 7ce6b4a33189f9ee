//! What the modelled kernels are set up to do, found out from them alone: read back as a view of a network, which
//! [`crate::views`] holds against what is there, and walked through as a packet would go: from a container to its bridge, by
//! what that knows out of a port, through the VXLAN to the other host's end of it, and from its bridge to a container.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use network_plan::overlay::{BRIDGE, VXLAN};
use network_plan::rules::table::{Action, Datum, Mapped, Table, Target};
use network_plan::{ForwardTo, Mac};
use swarm_gossip::view::{NetworkView, RemoteEndpoint, ServiceView};
use swarm_types::*;

use super::kernel::Overlay;
use super::{Plane, Planes};
use crate::gossip::{Talk, address};
use crate::host::Host;

/// Where a packet ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// At an endpoint's container, or at a host's own address on the network (`None`).
    At { host: usize, network: NetworkId, container: Option<String> },
    /// Nowhere, because.
    Lost(String),
}

impl Plane {
    /// Whether the kernel should be as the host's knowledge of the network asks: the daemon had its turn, and nobody has
    /// changed anything since.
    pub fn is_steady(&self, network: NetworkId) -> bool {
        self.follows && !self.again.contains(&network) && !self.drifted.contains(&network)
    }

    /// What the kernel does for a network, as a view. `view` is what the host knows, for what a kernel does not: ids and
    /// names of services.
    pub fn read_back(&self, network: NetworkId, view: &NetworkView) -> Result<NetworkView, String> {
        let overlay = self.kernel.overlays.get(&network).ok_or("there is no namespace")?;
        let namespace = &overlay.namespace;
        let mut remote: BTreeMap<Mac, (Vec<IpAddr>, IpAddr)> = BTreeMap::new();
        for entry in namespace.forwarding(VXLAN) {
            if let ForwardTo::Remote(at) = entry.to {
                remote.insert(entry.mac, (Vec::new(), at));
            }
        }
        for known in namespace.neighbors(VXLAN) {
            let way = remote.get_mut(&known.mac).filter(|_| namespace.port_of(BRIDGE, known.mac) == Some(VXLAN));
            way.ok_or_else(|| format!("{} is known, and no way to it", known.ip))?.0.push(known.ip);
        }
        let remote =
            remote.into_values().map(|(addresses, data_path)| RemoteEndpoint { addresses, data_path }).collect();
        let balanced = overlay.table.as_ref().map(balanced).unwrap_or_default();
        let mut claims: BTreeMap<IpAddr, Vec<&ServiceView>> = BTreeMap::new();
        for service in &view.services {
            service.virtual_ips.iter().for_each(|vip| claims.entry(*vip).or_default().push(service));
        }
        if let Some(vip) = balanced.keys().find(|vip| !claims.contains_key(vip)) {
            return Err(format!("connections to {vip} are taken, which no service has"));
        }
        let mut services = Vec::new();
        for service in &view.services {
            let mut backends = BTreeSet::new();
            for vip in &service.virtual_ips {
                if !namespace.addresses_of(BRIDGE).iter().any(|cidr| cidr.address == *vip) {
                    return Err(format!("nobody answers for {vip} of {}", service.name));
                }
                let missing = || format!("nobody takes connections to {vip} of {}", service.name);
                let found = balanced.get(vip).ok_or_else(missing)?;
                let of_family = |one: &&IpAddr| one.is_ipv4() == vip.is_ipv4();
                let of = |one: &ServiceView| one.backends.iter().filter(of_family).copied().collect::<Vec<_>>();
                let claimants = claims.get(vip).map(Vec::as_slice).unwrap_or_default();
                match claimants.iter().find(|one| of(one) == *found) {
                    // The tasks of the one that had the address before still tell of it. One of both has it.
                    Some(_) if claimants.len() > 1 => backends.extend(of(service)),
                    _ => backends.extend(found),
                }
            }
            // A family without a virtual address is not balanced.
            let of_another = |one: &&IpAddr| !service.virtual_ips.iter().any(|vip| vip.is_ipv4() == one.is_ipv4());
            backends.extend(service.backends.iter().filter(of_another).copied());
            services.push(ServiceView { backends: backends.into_iter().collect(), ..service.clone() });
        }
        Ok(NetworkView { remote, services, names: view.names.clone() })
    }
}

/// Who takes the connections to which virtual address, by the table alone.
fn balanced(table: &Table) -> BTreeMap<IpAddr, Vec<IpAddr>> {
    let mut found = BTreeMap::new();
    for set in &table.sets {
        for (key, target) in &set.elements {
            let [Datum::Address(vip)] = key.as_slice() else { continue };
            let backends = match target {
                Target::Chain(name) => table.chains.iter().filter(|chain| chain.name == *name).flat_map(|chain| {
                    chain.rules.iter().filter_map(|rule| match &rule.action {
                        Action::Balance(backends, None) => Some(backends.clone()),
                        _ => None,
                    })
                }),
                _ if set.mapped == Mapped::Nothing => {
                    found.insert(*vip, Vec::new());
                    continue;
                }
                _ => continue,
            };
            found.insert(*vip, backends.flatten().collect());
        }
    }
    found
}

impl Planes {
    /// How a packet to an address goes that some container of the host sends on the network.
    fn walk(&self, from: usize, network: NetworkId, to: IpAddr) -> Arrival {
        let lost = |why: &str| Arrival::Lost(why.to_owned());
        let Some((host, overlay)) = self.overlay(from, network) else { return lost("there is no namespace") };
        let namespace = &overlay.namespace;
        if !namespace.is_up(BRIDGE) {
            return lost("the bridge is down");
        }
        // who has it here answers, and so do the bridge and, for its neighbours, the VXLAN's end
        if namespace.addresses_of(BRIDGE).iter().any(|cidr| cidr.address == to) {
            return Arrival::At { host: from, network, container: None };
        }
        let mut answers: BTreeSet<Mac> = BTreeSet::new();
        for (near, (pid, interface)) in &overlay.cables {
            let Some(inside) = host.kernel.containers.get(pid) else { continue };
            let has_it = inside.namespace.addresses_of(interface).iter().any(|cidr| cidr.address == to);
            if has_it && host.kernel.carries(network, near) && namespace.master_of(near) == Some(BRIDGE) {
                answers.extend(inside.namespace.mac_of(interface));
            }
        }
        let is_plugged = namespace.is_up(VXLAN) && namespace.master_of(VXLAN) == Some(BRIDGE);
        answers.extend(namespace.neighbor_of(VXLAN, to).filter(|_| is_plugged));
        let mac = match answers.pop_first() {
            Some(mac) if answers.is_empty() => mac,
            Some(_) => return lost("two answer for it"),
            None => return lost("nobody answers for it"),
        };
        match namespace.port_of(BRIDGE, mac) {
            Some(VXLAN) if is_plugged => {}
            Some(port) => return self.arrive(from, network, overlay, port, mac),
            None => return lost("its bridge has no port for it"),
        }
        let vni = namespace.vxlan_of(VXLAN).map(|vxlan| vxlan.vni);
        let Some(remote) = namespace.remote_of(VXLAN, mac) else { return lost("its VXLAN has no other end for it") };
        let Some(there) = (0..self.hosts.len()).find(|host| address(*host).ip() == remote) else {
            return lost("there is no host at the other end");
        };
        // the kernel there looks at the VXLAN id only
        let mut overlays = self.hosts.get(there).into_iter().flat_map(|plane| &plane.kernel.overlays);
        let same = |overlay: &Overlay| overlay.namespace.vxlan_of(VXLAN).map(|vxlan| vxlan.vni) == vni;
        let Some((network, overlay)) = overlays.find(|(_, overlay)| same(overlay)) else {
            return lost("the other host has no part in it");
        };
        let namespace = &overlay.namespace;
        let is_open = [BRIDGE, VXLAN].iter().all(|link| namespace.is_up(link));
        if !is_open || namespace.master_of(VXLAN) != Some(BRIDGE) {
            return lost("the other host's end is shut");
        }
        if namespace.mac_of(BRIDGE) == Some(mac) {
            let is_its = namespace.addresses_of(BRIDGE).iter().any(|cidr| cidr.address == to);
            let balancer = Arrival::At { host: there, network: *network, container: None };
            return if is_its { balancer } else { lost("the other host's bridge has not that address") };
        }
        match namespace.port_of(BRIDGE, mac) {
            // not back to where it came from
            Some(VXLAN) | None => lost("the other host's bridge has no port for it"),
            Some(port) => self.arrive(there, *network, overlay, port, mac),
        }
    }

    fn arrive(&self, host: usize, network: NetworkId, overlay: &Overlay, port: &str, mac: Mac) -> Arrival {
        let behind = self.hosts.get(host).and_then(|plane| overlay.behind(&plane.kernel, port, mac));
        match behind.filter(|_| overlay.namespace.master_of(port) == Some(BRIDGE)) {
            Some((inside, _)) => Arrival::At { host, network, container: Some(inside.container.clone()) },
            None => Arrival::Lost(format!("behind {port} nobody takes it")),
        }
    }

    fn overlay(&self, host: usize, network: NetworkId) -> Option<(&Plane, &Overlay)> {
        let plane = self.hosts.get(host)?;
        Some((plane, plane.kernel.overlays.get(&network)?))
    }

    /// Walks from every host to every endpoint that it should reach. `is_near`: who knows all of whom; `news`: what is newer
    /// may not have come about.
    pub fn check_ways(
        &self,
        talk: &Talk,
        hosts: &[Host],
        now: Timestamp,
        news: std::time::Duration,
        is_near: &dyn Fn(usize, usize) -> bool,
    ) -> Result<(), String> {
        for (from, host) in hosts.iter().enumerate() {
            let Some(plane) = self.hosts.get(from).filter(|plane| plane.follows) else { continue };
            for id in host.facts.networks.keys().filter(|id| plane.is_steady(**id)) {
                self.nothing_goes_astray(from, *id)?;
                let others = (0..hosts.len()).filter(|to| is_near(from, *to));
                let others = others.filter(|to| self.hosts.get(*to).is_some_and(|plane| plane.is_steady(*id)));
                for to in others {
                    let told = talk.members.get(to).into_iter().flat_map(|member| member.told.values());
                    for told in told.filter(|told| told.record.network == *id && now.since(told.since) >= news) {
                        self.reaches(from, to, &told.record)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn reaches(&self, from: usize, to: usize, record: &EndpointRecord) -> Result<(), String> {
        let container = (record.kind != EndpointKind::LoadBalancer).then(|| record.id.clone());
        let wanted = Arrival::At { host: to, network: record.network, container };
        for ip in &record.addresses {
            let arrival = self.walk(from, record.network, *ip);
            if arrival != wanted {
                let network = record.network;
                return Err(format!("from host {from} on network {network} to {ip}: {arrival:?}, and not {wanted:?}"));
            }
        }
        Ok(())
    }

    /// Whatever a host takes for there, it leads to that network or to nothing.
    fn nothing_goes_astray(&self, from: usize, network: NetworkId) -> Result<(), String> {
        let Some((_, overlay)) = self.overlay(from, network) else { return Ok(()) };
        for known in overlay.namespace.neighbors(VXLAN) {
            match self.walk(from, network, known.ip) {
                Arrival::At { host, network: other, container } if other != network => {
                    let ip = known.ip;
                    return Err(format!(
                        "from host {from} on network {network} to {ip}: into network {other} on host {host}, {container:?}"
                    ));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Once all is settled: hosts have namespaces for their networks only, and no way leads from one network to another's
    /// endpoints.
    pub fn at_rest(&self, talk: &Talk, hosts: &[Host]) -> Result<(), String> {
        for (number, host) in hosts.iter().enumerate() {
            let Some(plane) = self.hosts.get(number) else { continue };
            let left = plane.kernel.overlays.keys().find(|id| !host.facts.networks.contains_key(id));
            if let Some(left) = left {
                return Err(format!("host {number} has a namespace of network {left}, in which it has no part"));
            }
            let everywhere = talk.members.iter().flat_map(|member| member.told.values());
            for (id, told) in plane.kernel.overlays.keys().flat_map(|id| everywhere.clone().map(move |told| (id, told)))
            {
                for ip in told.record.addresses.iter().filter(|_| told.record.network != *id) {
                    if let at @ Arrival::At { .. } = self.walk(number, *id, *ip) {
                        let network = told.record.network;
                        return Err(format!("from host {number} on network {id} to {ip} of network {network}: {at:?}"));
                    }
                }
            }
        }
        Ok(())
    }
}

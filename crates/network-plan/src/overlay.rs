//! What the namespace of an overlay network should look like on one node, and what it puts into its containers.
//!
//! Nothing is learned and nothing is flooded: every link-layer address that can be reached has a permanent entry, made
//! of what the nodes tell each other. Who asks for an address (ARP, neighbour solicitation) is answered by `vxlan0` on
//! the node itself, so no such question travels between nodes, and an address that nobody has is no traffic at all.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{
    BridgePort, Cidr, ForwardTo, ForwardingEntry, LinkKind, LinkPlan, Mac, Namespace, Neighbor, NetPlan, RoutePlan,
    VxlanPlan,
};

/// The bridge of an overlay's namespace.
pub const BRIDGE: &str = "br0";
/// The VXLAN end of an overlay's namespace.
pub const VXLAN: &str = "vxlan0";
/// In the ingress network's namespace: the interface to the node's bridge.
pub const INGRESS: &str = "eth1";

/// No learning, and nothing to addresses that have no entry.
const STATIC: BridgePort = BridgePort { isolated: false, learning: false, flooding: false, hairpin: false };

/// An overlay network as this node takes part in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayNetwork {
    /// The network's id: 25 characters.
    pub id: String,
    /// VXLAN network identifier, 1 to 16777215.
    pub vni: u32,
    /// Its addresses.
    pub subnets: Vec<Subnet>,
    /// Largest packet: the underlay's less 50 (70 over IPv6).
    pub mtu: u32,
    /// This node's load balancer addresses: the source of connections to virtual addresses.
    pub load_balancer: Vec<Cidr>,
    /// Whether it is the one that published ports lead to.
    pub ingress: bool,
}

/// A range of a network's addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subnet {
    /// The range.
    pub subnet: Cidr,
    /// Its gateway: every node's bridge has this address.
    pub gateway: IpAddr,
}

/// A container's place on a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverlayPort {
    /// Unique on the network: the container's id.
    pub endpoint: String,
    /// A process in the container's network namespace.
    pub pid: u32,
    /// Name of the interface in the container: `eth0`.
    pub interface: String,
    /// Its addresses with the prefixes of their networks.
    pub addresses: Vec<Cidr>,
    /// Its link-layer address.
    pub mac: Mac,
}

/// An endpoint on another node.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer {
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its link-layer address.
    pub mac: Mac,
    /// Its node's address in the underlay.
    pub vtep: IpAddr,
}

/// The cable from the ingress network's namespace to the node's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressLink {
    /// Bridge in the node's namespace: `docker_gwbridge`.
    pub bridge: String,
    /// Address of `eth1` in the ingress network's namespace.
    pub address: Cidr,
    /// Default route there: the bridge's address.
    pub gateway: IpAddr,
}

impl OverlayNetwork {
    /// Says what of a description cannot be made, in a user's words.
    pub fn check(&self) -> Result<(), String> {
        let of = format!("overlay network {}", self.id);
        if self.id.len() < 10 || !self.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(format!("{:?} is not the id of an overlay network", self.id));
        }
        if !(1..1 << 24).contains(&self.vni) {
            return Err(format!("{of}: its VXLAN id {} is not between 1 and 16777215", self.vni));
        }
        // 1280 is what IPv6 needs, 68 what IPv4 does (RFC 8200, RFC 791)
        if !(68..=65535).contains(&self.mtu) || (self.mtu < 1280 && self.has_ipv6()) {
            return Err(format!("{of}: packets of {} bytes cannot be: set its MTU option to 1450", self.mtu));
        }
        if let Some(subnet) = self.subnets.iter().find(|subnet| !subnet.subnet.contains(subnet.gateway)) {
            return Err(format!("{of}: its gateway {} is not in its subnet {}", subnet.gateway, subnet.subnet));
        }
        Ok(())
    }

    /// File name of the namespace's pin: genuine Docker's.
    pub fn pin_name(&self) -> String {
        pin_name(&self.id)
    }

    fn has_ipv6(&self) -> bool {
        self.subnets.iter().any(|subnet| subnet.subnet.is_ipv6())
    }

    fn subnet_of(&self, ip: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.subnet.contains(ip))
    }
}

/// File name of the pin of a network's namespace.
pub fn pin_name(network: &str) -> String {
    format!("1-{}", network.chars().take(10).collect::<String>())
}

/// Name of the near end of an endpoint's cable: `veth` and eleven characters, since names have at most 15 bytes.
pub fn cable_name(endpoint: &str) -> String {
    let id: String = endpoint.chars().filter(char::is_ascii_alphanumeric).take(11).collect();
    format!("veth{id}")
}

/// Name of the near end, in the node's namespace, of the ingress network's cable.
pub fn ingress_cable_name(network: &str) -> String {
    format!("veth{}", network.chars().take(10).collect::<String>())
}

/// Who is where, as far as this node knows. `None`: nobody has said yet, what is there stays.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings<'a> {
    /// This node's address in the underlay.
    pub data_path: IpAddr,
    /// UDP port of VXLAN packets.
    pub port: u16,
    /// The endpoints on other nodes.
    pub peers: Option<&'a BTreeSet<Peer>>,
    /// The virtual addresses of services.
    pub virtual_ips: Option<&'a BTreeSet<IpAddr>>,
}

/// The network's namespace, without its containers' cables.
pub fn namespace<'a>(
    network: &OverlayNetwork,
    around: Surroundings<'_>,
    ports: impl IntoIterator<Item = &'a OverlayPort>,
) -> NetPlan {
    let mut bridge = LinkPlan::new(BRIDGE, LinkKind::Bridge);
    bridge.mac = bridge_mac(network);
    bridge.mtu = Some(network.mtu);
    let gateways = network.subnets.iter().map(|one| Cidr { address: one.gateway, prefix: one.subnet.prefix });
    let own = gateways.chain(network.load_balancer.iter().copied());
    let virtual_ips = around.virtual_ips.into_iter().flatten().filter(|ip| network.subnet_of(**ip).is_some());
    for cidr in own.chain(virtual_ips.map(|ip| Cidr::host(*ip))) {
        if !bridge.addresses.iter().any(|there| there.address == cidr.address) {
            bridge.addresses.push(cidr);
        }
    }
    bridge.only_these_addresses = around.virtual_ips.is_some();
    let local = around.data_path;
    let mut vxlan = LinkPlan::new(VXLAN, LinkKind::Vxlan(VxlanPlan { vni: network.vni, port: around.port, local }));
    vxlan.mtu = Some(network.mtu);
    vxlan.master = Some(BRIDGE.into());
    vxlan.port = STATIC;
    let mut plan = NetPlan {
        links: vec![LinkPlan::new("lo", LinkKind::Existing), bridge, vxlan],
        sysctls: settings(&[
            ("net/ipv4/ip_forward", "1"),
            ("net/ipv4/conf/all/send_redirects", "0"),
            ("net/ipv4/conf/default/send_redirects", "0"),
            ("net/ipv4/conf/all/rp_filter", "0"),
            ("net/ipv4/conf/default/rp_filter", "0"),
            // removing one address must not take others of its network along
            ("net/ipv4/conf/all/promote_secondaries", "1"),
        ]),
        sysctls_if_present: settings(&[
            ("net/ipv4/conf/br0/send_redirects", "0"),
            ("net/ipv4/conf/br0/rp_filter", "0"),
            // nearly all packets are on their way to elsewhere: to look for a socket first is in vain (ip-sysctl)
            ("net/ipv4/ip_early_demux", "0"),
            // what one container sends another passes no packet filter on its way through the bridge
            ("net/bridge/bridge-nf-call-iptables", "0"),
            ("net/bridge/bridge-nf-call-ip6tables", "0"),
        ]),
        ..NetPlan::default()
    };
    // without IPv6 subnets its own chatter (router solicitations, group memberships) is not wanted either
    let (off, forwarding) = if network.has_ipv6() { ("0", "1") } else { ("1", "0") };
    plan.sysctls_if_present.extend(settings(&[
        ("net/ipv6/conf/default/accept_dad", "0"),
        ("net/ipv6/conf/default/accept_ra", "0"),
        ("net/ipv6/conf/default/disable_ipv6", off),
        ("net/ipv6/conf/br0/disable_ipv6", off),
        ("net/ipv6/conf/vxlan0/disable_ipv6", off),
        ("net/ipv6/conf/all/forwarding", forwarding),
    ]));
    if let Some(peers) = around.peers {
        remote_tables(network, around.data_path, peers, ports, &mut plan);
    }
    plan
}

/// The near end of a container's cable, for the network's namespace. The far end appears in the container.
pub fn cable(network: &OverlayNetwork, port: &OverlayPort) -> NetPlan {
    let name = cable_name(&port.endpoint);
    let peer_namespace = Namespace::Pid(port.pid);
    let kind = LinkKind::Veth { peer: port.interface.clone(), peer_mac: Some(port.mac), peer_namespace };
    let mut link = LinkPlan::new(&name, kind);
    link.mtu = Some(network.mtu);
    link.master = Some(BRIDGE.into());
    link.port = STATIC;
    let here = ForwardingEntry { mac: port.mac, to: ForwardTo::Port };
    NetPlan { links: vec![link], forwarding: BTreeMap::from([(name, BTreeSet::from([here]))]), ..NetPlan::default() }
}

/// The far end, for the container's namespace. Other subnets of the network lie behind the gateway; the default route
/// is not this network's business.
pub fn interface(network: &OverlayNetwork, port: &OverlayPort) -> NetPlan {
    let mut link = LinkPlan::new(&port.interface, LinkKind::Existing);
    link.mac = Some(port.mac);
    link.mtu = Some(network.mtu);
    link.addresses = port.addresses.clone();
    let mut routes = Vec::new();
    for own in port.addresses.iter().filter_map(|cidr| network.subnet_of(cidr.address)) {
        let same_family = |one: &&Subnet| one.subnet.is_ipv6() == own.subnet.is_ipv6();
        for other in network.subnets.iter().filter(same_family).filter(|other| *other != own) {
            let (destination, via) = (other.subnet.network(), Some(own.gateway));
            if !port.addresses.iter().any(|cidr| destination.contains(cidr.address)) {
                routes.push(RoutePlan { destination, via, dev: port.interface.clone() });
            }
        }
    }
    let off = if port.addresses.iter().any(|cidr| cidr.is_ipv6()) { "0" } else { "1" };
    NetPlan {
        links: vec![LinkPlan::new("lo", LinkKind::Existing), link],
        routes,
        sysctls_if_present: vec![(format!("net/ipv6/conf/{}/disable_ipv6", port.interface), off.into())],
        ..NetPlan::default()
    }
}

/// The near end of the ingress network's cable, for the node's namespace. `pin` names the ingress network's.
pub fn ingress_cable(network: &OverlayNetwork, ingress: &IngressLink, pin: &std::path::Path) -> NetPlan {
    let kind = LinkKind::Veth {
        peer: INGRESS.into(),
        peer_mac: Some(Mac::of_ip(ingress.address.address)),
        peer_namespace: Namespace::Path(pin.to_owned()),
    };
    let mut link = LinkPlan::new(ingress_cable_name(&network.id), kind);
    link.master = Some(ingress.bridge.clone());
    link.port = BridgePort { isolated: true, ..BridgePort::default() };
    NetPlan { links: vec![link], ..NetPlan::default() }
}

/// The far end, for the ingress network's namespace.
pub fn ingress_interface(ingress: &IngressLink) -> NetPlan {
    let mut link = LinkPlan::new(INGRESS, LinkKind::Existing);
    link.mac = Some(Mac::of_ip(ingress.address.address));
    link.addresses = vec![ingress.address];
    link.only_these_addresses = true;
    let destination = if ingress.gateway.is_ipv4() { Cidr::ALL_IPV4 } else { Cidr::ALL_IPV6 };
    NetPlan {
        links: vec![link],
        routes: vec![RoutePlan { destination, via: Some(ingress.gateway), dev: INGRESS.into() }],
        ..NetPlan::default()
    }
}

/// `02:42` and the load balancer's address, which no other node has; the gateway's every node has.
fn bridge_mac(network: &OverlayNetwork) -> Option<Mac> {
    let balancers = network.load_balancer.iter().map(|cidr| cidr.address);
    balancers.clone().find(IpAddr::is_ipv4).or_else(|| balancers.clone().next()).map(Mac::of_ip)
}

/// Whether a record of a peer says where one of these addresses is: it may be old, the container may have come here.
pub fn speaks_of(peer: &Peer, port: &OverlayPort) -> bool {
    peer.mac == port.mac || port.addresses.iter().any(|cidr| peer.addresses.contains(&cidr.address))
}

/// The neighbours and forwarding entries of `vxlan0`.
///
/// What cannot be is left out, so that one bad record does no harm to others: an end that is this node or not an
/// address of one machine, one of another family than the underlay, addresses outside the network, group addresses,
/// what a container of this node has, and a second claim to an address (the first in order counts).
fn remote_tables<'a>(
    network: &OverlayNetwork,
    data_path: IpAddr,
    peers: &BTreeSet<Peer>,
    ports: impl IntoIterator<Item = &'a OverlayPort>,
    plan: &mut NetPlan,
) {
    let own_mac = bridge_mac(network);
    let mut taken_macs: BTreeSet<Mac> = own_mac.into_iter().collect();
    let mut taken_ips: BTreeSet<IpAddr> =
        plan.links.iter().flat_map(|link| &link.addresses).map(|c| c.address).collect();
    for port in ports {
        taken_macs.insert(port.mac);
        taken_ips.extend(port.addresses.iter().map(|cidr| cidr.address));
    }
    let (mut neighbors, mut forwarding) = (BTreeSet::new(), BTreeSet::new());
    for peer in peers {
        let there = peer.vtep != data_path && peer.vtep.is_ipv4() == data_path.is_ipv4() && is_one_machine(peer.vtep);
        let group_or_none = peer.mac.0[0] & 1 == 1 || peer.mac.0 == [0; 6];
        if !there || group_or_none || !taken_macs.insert(peer.mac) {
            continue;
        }
        forwarding.insert(ForwardingEntry { mac: peer.mac, to: ForwardTo::Port });
        forwarding.insert(ForwardingEntry { mac: peer.mac, to: ForwardTo::Remote(peer.vtep) });
        for ip in peer.addresses.iter().filter(|ip| network.subnet_of(**ip).is_some()) {
            if taken_ips.insert(*ip) {
                neighbors.insert(Neighbor { ip: *ip, mac: peer.mac });
            }
        }
    }
    plan.neighbors.insert(VXLAN.into(), neighbors);
    plan.forwarding.insert(VXLAN.into(), forwarding);
}

fn is_one_machine(ip: IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !ip.is_unspecified() && !ip.is_multicast() && !ip.is_loopback() && !broadcast
}

fn settings(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn network() -> OverlayNetwork {
        let subnet =
            |subnet: &str, gateway: &str| Subnet { subnet: subnet.parse().unwrap(), gateway: gateway.parse().unwrap() };
        OverlayNetwork {
            id: "0123456789abcdefghijklmno".into(),
            vni: 4097,
            subnets: vec![subnet("10.0.1.0/24", "10.0.1.1"), subnet("fd00::/64", "fd00::1")],
            mtu: 1450,
            load_balancer: vec!["10.0.1.9/24".parse().unwrap()],
            ingress: false,
        }
    }

    fn node(n: u8) -> IpAddr {
        Ipv4Addr::new(192, 168, 0, n).into()
    }

    fn ip(n: u8) -> IpAddr {
        Ipv4Addr::new(10, 0, 1, n).into()
    }

    fn peer(n: u8, vtep: IpAddr) -> Peer {
        Peer { addresses: vec![ip(n)], mac: Mac::of_ip(ip(n)), vtep }
    }

    fn port(n: u8) -> OverlayPort {
        let addresses = vec![Cidr { address: ip(n), prefix: 24 }];
        OverlayPort {
            endpoint: format!("{n:064x}"),
            pid: 1,
            interface: "eth0".into(),
            addresses,
            mac: Mac::of_ip(ip(n)),
        }
    }

    fn planned(peers: &[Peer], ports: &[OverlayPort]) -> NetPlan {
        let peers = peers.iter().cloned().collect();
        let around = Surroundings { data_path: node(1), port: 4789, peers: Some(&peers), virtual_ips: None };
        namespace(&network(), around, ports)
    }

    fn known(plan: &NetPlan) -> Vec<IpAddr> {
        plan.neighbors[VXLAN].iter().map(|neighbor| neighbor.ip).collect()
    }

    #[test]
    fn a_peer_is_a_neighbour_a_port_and_a_remote_end() {
        let plan = planned(&[peer(3, node(2))], &[]);
        let mac = Mac::of_ip(ip(3));
        assert_eq!(plan.neighbors[VXLAN], BTreeSet::from([Neighbor { ip: ip(3), mac }]));
        let entry = |to| ForwardingEntry { mac, to };
        let both = BTreeSet::from([entry(ForwardTo::Port), entry(ForwardTo::Remote(node(2)))]);
        assert_eq!(plan.forwarding[VXLAN], both);
    }

    #[test]
    fn records_that_cannot_be_are_left_out_alone() {
        let mut group = peer(20, node(2));
        group.mac = Mac([0x33, 0x33, 0, 0, 0, 1]);
        let mut elsewhere = peer(21, node(2));
        elsewhere.addresses.push(Ipv4Addr::new(172, 16, 0, 1).into());
        let peers = [
            peer(3, node(2)),
            peer(4, node(1)),
            peer(5, Ipv4Addr::UNSPECIFIED.into()),
            peer(6, Ipv4Addr::new(224, 0, 0, 1).into()),
            peer(7, "fd00::2".parse().unwrap()),
            group,
            elsewhere,
            peer(8, node(2)),
            peer(1, node(2)),
            peer(9, node(2)),
        ];
        // .8 runs here, .1 is the gateway and .9 this node's balancer
        let plan = planned(&peers, &[port(8)]);
        assert_eq!(known(&plan), [ip(3), ip(21)]);
        assert!(plan.forwarding[VXLAN].iter().all(|entry| entry.mac != Mac::of_ip(ip(8))));
    }

    #[test]
    fn of_two_claims_to_an_address_one_counts() {
        let plan = planned(&[peer(3, node(3)), peer(3, node(2))], &[]);
        let entry = |to| ForwardingEntry { mac: Mac::of_ip(ip(3)), to };
        let one = BTreeSet::from([entry(ForwardTo::Port), entry(ForwardTo::Remote(node(2)))]);
        assert_eq!(plan.forwarding[VXLAN], one);
        assert_eq!(known(&plan), [ip(3)]);
    }

    #[test]
    fn what_nobody_spoke_of_yet_stays() {
        let around = Surroundings { data_path: node(1), port: 4789, peers: None, virtual_ips: None };
        let plan = namespace(&network(), around, []);
        assert!(plan.neighbors.is_empty() && plan.forwarding.is_empty());
        assert!(!plan.links[1].only_these_addresses);
    }

    #[test]
    fn the_bridge_has_gateway_balancer_and_virtual_addresses_and_the_balancers_mac() {
        let virtual_ips = BTreeSet::from([ip(7), Ipv4Addr::new(10, 9, 9, 9).into()]);
        let around = Surroundings { data_path: node(1), port: 4789, peers: None, virtual_ips: Some(&virtual_ips) };
        let plan = namespace(&network(), around, []);
        let bridge = &plan.links[1];
        let addresses: Vec<String> = bridge.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["10.0.1.1/24", "fd00::1/64", "10.0.1.9/24", "10.0.1.7/32"]);
        assert_eq!(bridge.mac, Some(Mac::of_ip(ip(9))));
        assert!(bridge.only_these_addresses);
    }

    #[test]
    fn other_subnets_of_the_network_lie_behind_the_gateway() {
        let mut network = network();
        assert_eq!(interface(&network, &port(3)).routes, vec![], "those of another family are not reached that way");
        network.subnets.push(Subnet { subnet: "10.0.2.0/24".parse().unwrap(), gateway: "10.0.2.1".parse().unwrap() });
        let routes = interface(&network, &port(3)).routes;
        assert_eq!(routes.len(), 1);
        assert_eq!((routes[0].destination.to_string().as_str(), routes[0].via), ("10.0.2.0/24", Some(ip(1))));
    }

    #[test]
    fn descriptions_that_cannot_be_made_say_why() {
        assert_eq!(network().check(), Ok(()));
        let wrong = |change: fn(&mut OverlayNetwork), why: &str| {
            let mut network = network();
            change(&mut network);
            let error = network.check().unwrap_err();
            assert!(error.contains(why), "{error}");
        };
        wrong(|network| network.vni = 0, "VXLAN id 0");
        wrong(|network| network.vni = 1 << 24, "VXLAN id 16777216");
        wrong(|network| network.mtu = 1000, "1000 bytes");
        wrong(|network| network.id = "../../etc/passwd".into(), "not the id");
        wrong(|network| network.subnets[0].gateway = node(1), "not in its subnet");
    }

    #[test]
    fn names_fit_the_kernels_and_are_dockers() {
        assert_eq!(network().pin_name(), "1-0123456789");
        assert!(cable_name(&"f".repeat(64)).len() <= 15 && ingress_cable_name(&network().id).len() <= 15);
    }

    fn any_peer() -> impl Strategy<Value = Peer> {
        let ip = prop_oneof![
            any::<u32>().prop_map(|n| Ipv4Addr::from(n).into()),
            (0u8..20).prop_map(ip),
            any::<u128>().prop_map(|n| std::net::Ipv6Addr::from(n).into()),
        ];
        let mac = prop_oneof![any::<[u8; 6]>().prop_map(Mac), (0u8..20).prop_map(|n| Mac::of_ip(super::tests::ip(n)))];
        let vtep = prop_oneof![ip.clone(), (0u8..4).prop_map(node)];
        (proptest::collection::vec(ip, 0..4), mac, vtep).prop_map(|(addresses, mac, vtep)| Peer {
            addresses,
            mac,
            vtep,
        })
    }

    proptest! {
        #[test]
        fn whatever_peers_say_the_tables_hold_together(peers in proptest::collection::vec(any_peer(), 0..40)) {
            let plan = planned(&peers, &[port(8)]);
            let (neighbors, forwarding) = (&plan.neighbors[VXLAN], &plan.forwarding[VXLAN]);
            let macs: BTreeSet<Mac> = forwarding.iter().map(|entry| entry.mac).collect();
            prop_assert_eq!(forwarding.len(), 2 * macs.len(), "one port and one remote end for each");
            prop_assert!(neighbors.iter().all(|neighbor| macs.contains(&neighbor.mac)), "who is known can be reached");
            let ips: BTreeSet<IpAddr> = neighbors.iter().map(|neighbor| neighbor.ip).collect();
            prop_assert_eq!(ips.len(), neighbors.len(), "every address is in one place");
            prop_assert!(!ips.contains(&ip(8)) && !macs.contains(&Mac::of_ip(ip(8))), "what runs here is here");
        }
    }
}

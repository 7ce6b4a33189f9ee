//! Plans of the kind that drivers make, for tests here and against a real kernel: a name always means the same sort of link, a
//! port's bridge is in the plan, an address or entry is in one place, the largest packet is the same for all links (a bridge
//! has the least of its ports' by itself), and settings that others depend on (IPv6 on or off, promotion) are always said.
#![allow(dead_code, clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use proptest::sample::subsequence;

use super::plan::*;

pub const BRIDGES: [&str; 2] = ["br0", "br1"];
pub const VXLANS: [&str; 2] = ["vxlan0", "vxlan1"];
pub const CABLES: [&str; 3] = ["vetha", "vethb", "vethc"];

pub fn a_mac() -> impl Strategy<Value = Mac> + Clone {
    (1..6_u8).prop_map(|n| Mac([2, 0x42, 10, 0, 0, n]))
}

pub fn an_address() -> impl Strategy<Value = Cidr> {
    let of = |text: String| text.parse().unwrap();
    prop_oneof![
        (1..5_u8, prop_oneof![Just(24), Just(32)]).prop_map(move |(n, prefix)| of(format!("10.0.0.{n}/{prefix}"))),
        (1..4_u8, prop_oneof![Just(64), Just(128)]).prop_map(move |(n, prefix)| of(format!("fd00::{n}/{prefix}"))),
    ]
}

/// What is the same for links of all kinds, and its bridge, if there is one of that number.
type Basics = (Option<Mac>, Vec<Cidr>, bool, bool, usize, BridgePort);

fn basics() -> impl Strategy<Value = Basics> {
    // Not those of entries: of an address of one of its ports a bridge has an entry of its own.
    let mac = (1..6_u8).prop_map(|n| Mac([2, 0x42, 10, 0, 1, n]));
    let port = any::<[bool; 4]>();
    let port =
        port.prop_map(|[isolated, learning, flooding, hairpin]| BridgePort { isolated, learning, flooding, hairpin });
    let addresses = proptest::collection::vec(an_address(), 0..5);
    (proptest::option::of(mac), addresses, any::<bool>(), any::<bool>(), 0..3_usize, port)
}

fn link(name: &str, kind: LinkKind, mtu: u32, basics: Basics, ipv6: bool, bridges: &[&str]) -> LinkPlan {
    let (mac, addresses, only, localnet, bridge, port) = basics;
    let mut link = LinkPlan::new(name, kind);
    (link.mac, link.mtu, link.only_these_addresses) = (mac, Some(mtu), only);
    for cidr in addresses.into_iter().filter(|cidr| ipv6 || !cidr.is_ipv6()) {
        if !link.addresses.iter().any(|there| there.address == cidr.address) {
            link.addresses.push(cidr);
        }
    }
    let setting = |localnet: bool| (format!("net/ipv4/conf/{name}/route_localnet"), u8::from(localnet).to_string());
    link.sysctls = vec![setting(localnet)];
    if let Some(bridge) = bridges.get(bridge).filter(|_| !bridges.contains(&name)) {
        (link.master, link.port) = (Some((*bridge).to_owned()), port);
    }
    link
}

pub fn a_plan() -> impl Strategy<Value = NetPlan> {
    let names = (
        subsequence(BRIDGES.to_vec(), 0..=BRIDGES.len()),
        subsequence(VXLANS.to_vec(), 0..=VXLANS.len()),
        subsequence(CABLES.to_vec(), 0..=CABLES.len()),
    );
    let vni = (1..3_u32, 1..3_u8, prop_oneof![Just(1400), Just(1450), Just(1500)]);
    let entries = proptest::collection::vec((a_mac(), 0..8_usize, 1..4_u8), 0..12);
    let routes = proptest::collection::btree_map(0..3_u8, 0..7_usize, 0..3);
    let basics = proptest::collection::vec(basics(), BRIDGES.len() + VXLANS.len() + CABLES.len());
    (names, vni, basics, entries, routes, any::<[bool; 2]>()).prop_map(
        |(names, vni, basics, entries, routes, flags)| {
            let (bridges, vxlans, cables) = names;
            let [ipv6, forward] = flags;
            let mut basics = basics.into_iter();
            let mut links = vec![LinkPlan::new("lo", LinkKind::Existing)];
            // No two of one namespace have one id.
            let id = |name: &str| vni.0 + if name == VXLANS[0] { 0 } else { 10 };
            let vxlan = |name: &str| LinkKind::Vxlan(VxlanPlan { vni: id(name), port: 4789, local: ip(192, vni.1) });
            let cable = |name: &str| LinkKind::Veth {
                peer: format!("{name}-far"),
                peer_mac: None,
                peer_namespace: Namespace::Pid(1),
            };
            let wanted = bridges.iter().map(|name| (*name, LinkKind::Bridge));
            let wanted = wanted.chain(vxlans.iter().map(|name| (*name, vxlan(name))));
            let wanted = wanted.chain(cables.iter().map(|name| (*name, cable(name))));
            for (name, kind) in wanted {
                links.push(link(name, kind, vni.2, basics.next().unwrap(), ipv6, &bridges));
            }
            let mut plan = NetPlan { links, ..NetPlan::default() };
            enter_tables(&mut plan, &entries, &vxlans);
            for (network, dev) in routes {
                let destination = Cidr { address: ip(11, network), prefix: 32 };
                if let Some(dev) = plan.links.get(1 + dev) {
                    plan.routes.push(RoutePlan { destination, via: None, dev: dev.name.clone() });
                }
            }
            let on = |on: bool| u8::from(on).to_string();
            plan.sysctls = vec![
                ("net/ipv4/ip_forward".into(), on(forward)),
                ("net/ipv4/conf/all/promote_secondaries".into(), "1".into()),
            ];
            let places = ["default"].into_iter().chain(BRIDGES).chain(VXLANS).chain(CABLES);
            plan.sysctls_if_present =
                places.map(|place| (format!("net/ipv6/conf/{place}/disable_ipv6"), on(!ipv6))).collect();
            plan
        },
    )
}

pub fn ip(net: u8, n: u8) -> IpAddr {
    Ipv4Addr::new(net, 0, 0, n).into()
}

/// Tables for all ports and VXLANs, each address in one place of each bridge and VXLAN.
fn enter_tables(plan: &mut NetPlan, entries: &[(Mac, usize, u8)], vxlans: &[&str]) {
    let ports: Vec<(String, String)> =
        plan.links.iter().filter_map(|link| Some((link.name.clone(), link.master.clone()?))).collect();
    let mut in_bridge: BTreeMap<(String, Mac), String> = BTreeMap::new();
    let mut remote: BTreeMap<(String, Mac), IpAddr> = BTreeMap::new();
    let mut neighbors: BTreeMap<(String, IpAddr), Mac> = BTreeMap::new();
    for (mac, place, n) in entries {
        if let Some((port, bridge)) = ports.get(*place) {
            in_bridge.insert((bridge.clone(), *mac), port.clone());
        }
        if let Some(vxlan) = vxlans.get(place % 3) {
            remote.insert(((*vxlan).to_owned(), *mac), ip(192, *n));
            neighbors.insert(((*vxlan).to_owned(), ip(10, *n)), *mac);
        }
    }
    for name in ports.iter().map(|(port, _)| port.as_str()).chain(vxlans.iter().copied()) {
        plan.forwarding.insert(name.to_owned(), BTreeSet::new());
    }
    for vxlan in vxlans {
        plan.neighbors.insert((*vxlan).to_owned(), BTreeSet::new());
    }
    for ((_, mac), port) in in_bridge {
        plan.forwarding.get_mut(&port).unwrap().insert(ForwardingEntry { mac, to: ForwardTo::Port });
    }
    for ((vxlan, mac), to) in remote {
        plan.forwarding.get_mut(&vxlan).unwrap().insert(ForwardingEntry { mac, to: ForwardTo::Remote(to) });
    }
    for ((vxlan, ip), mac) in neighbors {
        plan.neighbors.get_mut(&vxlan).unwrap().insert(Neighbor { ip, mac });
    }
}

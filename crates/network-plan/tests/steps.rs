//! Whatever is there, the steps lead to the plan, also when they are broken off and begun again.
//!
//! Plans are of the kind that drivers make: a name always means the same sort of link, a port's bridge is in the plan, an
//! address or entry is in one place, and settings that others depend on (IPv6 on or off, promotion) are always said.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use network_plan::model::ModelNamespace;
use network_plan::*;
use proptest::prelude::*;
use proptest::sample::subsequence;

const BRIDGES: [&str; 2] = ["br0", "br1"];
const VXLANS: [&str; 2] = ["vxlan0", "vxlan1"];
const CABLES: [&str; 3] = ["vetha", "vethb", "vethc"];

fn a_mac() -> impl Strategy<Value = Mac> + Clone {
    (1..6_u8).prop_map(|n| Mac([2, 0x42, 10, 0, 0, n]))
}

fn an_address() -> impl Strategy<Value = Cidr> {
    let of = |text: String| text.parse().unwrap();
    prop_oneof![
        (1..5_u8, prop_oneof![Just(24), Just(32)]).prop_map(move |(n, prefix)| of(format!("10.0.0.{n}/{prefix}"))),
        (1..4_u8, prop_oneof![Just(64), Just(128)]).prop_map(move |(n, prefix)| of(format!("fd00::{n}/{prefix}"))),
    ]
}

/// What is the same for links of all kinds, and its bridge, if there is one of that number.
type Basics = (Option<Mac>, Option<u32>, Vec<Cidr>, bool, bool, usize, BridgePort);

fn basics() -> impl Strategy<Value = Basics> {
    let mtu = proptest::option::of(prop_oneof![Just(1400), Just(1450), Just(1500)]);
    let port = any::<[bool; 4]>();
    let port =
        port.prop_map(|[isolated, learning, flooding, hairpin]| BridgePort { isolated, learning, flooding, hairpin });
    let addresses = proptest::collection::vec(an_address(), 0..5);
    (proptest::option::of(a_mac()), mtu, addresses, any::<bool>(), any::<bool>(), 0..3_usize, port)
}

fn link(name: &str, kind: LinkKind, basics: Basics, ipv6: bool, bridges: &[&str]) -> LinkPlan {
    let (mac, mtu, addresses, only, localnet, bridge, port) = basics;
    let mut link = LinkPlan::new(name, kind);
    (link.mac, link.mtu, link.only_these_addresses) = (mac, mtu, only);
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

fn a_plan() -> impl Strategy<Value = NetPlan> {
    let names = (
        subsequence(BRIDGES.to_vec(), 0..=BRIDGES.len()),
        subsequence(VXLANS.to_vec(), 0..=VXLANS.len()),
        subsequence(CABLES.to_vec(), 0..=CABLES.len()),
    );
    let vni = (1..3_u32, 1..3_u8);
    let entries = proptest::collection::vec((a_mac(), 0..8_usize, 1..4_u8), 0..12);
    let routes = proptest::collection::btree_map(0..3_u8, (1..5_u8, 0..7_usize), 0..3);
    let basics = proptest::collection::vec(basics(), BRIDGES.len() + VXLANS.len() + CABLES.len());
    (names, vni, basics, entries, routes, any::<[bool; 2]>()).prop_map(
        |(names, vni, basics, entries, routes, flags)| {
            let (bridges, vxlans, cables) = names;
            let [ipv6, forward] = flags;
            let mut basics = basics.into_iter();
            let mut links = vec![LinkPlan::new("lo", LinkKind::Existing)];
            let vxlan = LinkKind::Vxlan(VxlanPlan { vni: vni.0, port: 4789, local: ip(192, vni.1) });
            let cable = |name: &str| LinkKind::Veth {
                peer: format!("{name}-far"),
                peer_mac: None,
                peer_namespace: Namespace::Pid(1),
            };
            let wanted = bridges.iter().map(|name| (*name, LinkKind::Bridge));
            let wanted = wanted.chain(vxlans.iter().map(|name| (*name, vxlan.clone())));
            let wanted = wanted.chain(cables.iter().map(|name| (*name, cable(name))));
            for (name, kind) in wanted {
                links.push(link(name, kind, basics.next().unwrap(), ipv6, &bridges));
            }
            let mut plan = NetPlan { links, ..NetPlan::default() };
            enter_tables(&mut plan, &entries, &vxlans);
            for (network, (via, dev)) in routes {
                let destination = Cidr { address: ip(11, network), prefix: 32 };
                if let Some(dev) = plan.links.get(1 + dev) {
                    plan.routes.push(RoutePlan { destination, via: Some(ip(10, via)), dev: dev.name.clone() });
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

fn ip(net: u8, n: u8) -> IpAddr {
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

/// Makes at most so many of the steps that are due; how many were due.
fn advance(model: &mut ModelNamespace, plan: &NetPlan, most: usize) -> usize {
    let steps = diff(&model.observe(plan), plan);
    for step in steps.iter().take(most) {
        model.execute(step).unwrap_or_else(|error| panic!("{error}: {step:?} of {steps:#?}"));
    }
    steps.len()
}

/// That the namespace is as the plan says, found out without [`diff`].
fn satisfies(model: &ModelNamespace, plan: &NetPlan) -> Result<(), TestCaseError> {
    let seen = model.observe(plan);
    for link in &plan.links {
        let there = seen.links.get(&link.name);
        prop_assert!(there.is_some(), "{} is missing", link.name);
        let there = there.unwrap();
        prop_assert!(there.up);
        prop_assert!(link.mac.is_none() || there.mac == link.mac);
        prop_assert!(link.mtu.is_none_or(|mtu| there.mtu == mtu));
        if link.master.is_some() {
            prop_assert_eq!((&there.master, there.port), (&link.master, link.port));
        }
        if let LinkKind::Vxlan(vxlan) = link.kind {
            prop_assert_eq!(there.vxlan, Some(vxlan));
        }
        let (wanted, has): (BTreeSet<_>, BTreeSet<_>) =
            (link.addresses.iter().collect(), there.addresses.iter().collect());
        prop_assert!(wanted.is_subset(&has), "{}: {wanted:?}, has {has:?}", link.name);
        prop_assert!(!link.only_these_addresses || wanted == has, "{}: {wanted:?}, has {has:?}", link.name);
        for (key, value) in &link.sysctls {
            prop_assert_eq!(seen.sysctls.get(key), Some(value), "{}", key);
        }
    }
    for (key, value) in &plan.sysctls {
        prop_assert_eq!(seen.sysctls.get(key), Some(value), "{}", key);
    }
    for (key, value) in &plan.sysctls_if_present {
        prop_assert!(seen.sysctls.get(key).is_none_or(|there| there == value), "{key}");
    }
    prop_assert!(plan.routes.iter().all(|route| seen.routes.contains(route)), "{:?}", seen.routes);
    prop_assert_eq!(&seen.neighbors, &plan.neighbors);
    prop_assert_eq!(&seen.forwarding, &plan.forwarding);
    Ok(())
}

/// What somebody does by hand.
#[derive(Debug, Clone)]
enum Drift {
    Delete(&'static str),
    Unplug(&'static str),
    SetDown(&'static str),
    Step(Step),
}

fn a_drift() -> impl Strategy<Value = Drift> {
    let name = || {
        let index = 0..BRIDGES.len() + VXLANS.len() + CABLES.len();
        index.prop_map(|n| *BRIDGES.iter().chain(&VXLANS).chain(&CABLES).nth(n).unwrap())
    };
    let entry = (a_mac(), proptest::option::of(1..4_u8)).prop_map(|(mac, remote)| {
        let to = remote.map_or(ForwardTo::Port, |n| ForwardTo::Remote(ip(192, n)));
        ForwardingEntry { mac, to }
    });
    let neighbor = (a_mac(), 1..4_u8).prop_map(|(mac, n)| Neighbor { ip: ip(10, n), mac });
    let change = prop_oneof![
        (name(), entry.clone()).prop_map(|(name, one)| Step::Forwarding(name.into(), vec![one], vec![])),
        (name(), entry).prop_map(|(name, one)| Step::Forwarding(name.into(), vec![], vec![one])),
        (name(), neighbor.clone()).prop_map(|(name, one)| Step::Neighbors(name.into(), vec![one], vec![])),
        (name(), neighbor).prop_map(|(name, one)| Step::Neighbors(name.into(), vec![], vec![one])),
        (name(), an_address()).prop_map(|(name, one)| Step::AddAddress(name.into(), one)),
        (name(), an_address()).prop_map(|(name, one)| Step::RemoveAddress(name.into(), one)),
        (name(), a_mac()).prop_map(|(name, mac)| Step::SetMac(name.into(), mac)),
        (name(), Just(BridgePort::default())).prop_map(|(name, port)| Step::SetPort(name.into(), port)),
    ];
    prop_oneof![
        name().prop_map(Drift::Delete),
        name().prop_map(Drift::Unplug),
        name().prop_map(Drift::SetDown),
        change.prop_map(Drift::Step),
    ]
}

fn drift(model: &mut ModelNamespace, drift: Drift) {
    match drift {
        Drift::Delete(name) => drop(model.delete_link(name)),
        Drift::Unplug(name) => drop(model.unplug(name)),
        Drift::SetDown(name) => drop(model.set_down(name)),
        // the kernel may refuse: then nothing is done
        Drift::Step(step) => drop(model.execute(&step)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn from_any_plan_the_steps_lead_to_any_other(a in a_plan(), b in a_plan()) {
        let mut model = ModelNamespace::default();
        for plan in [&a, &b] {
            advance(&mut model, plan, usize::MAX);
            satisfies(&model, plan)?;
            prop_assert_eq!(diff(&model.observe(plan), plan), vec![]);
        }
    }

    #[test]
    fn steps_that_were_broken_off_are_taken_up_again(
        a in a_plan(),
        b in a_plan(),
        breaks in proptest::collection::vec(0..30_usize, 0..4),
    ) {
        let mut model = ModelNamespace::default();
        advance(&mut model, &a, usize::MAX);
        for most in breaks {
            advance(&mut model, &b, most);
        }
        advance(&mut model, &b, usize::MAX);
        satisfies(&model, &b)?;
        prop_assert_eq!(diff(&model.observe(&b), &b), vec![]);
    }

    #[test]
    fn what_others_changed_is_put_right(
        a in a_plan(),
        b in a_plan(),
        drifts in proptest::collection::vec(a_drift(), 1..6),
        most in 0..30_usize,
    ) {
        let mut model = ModelNamespace::default();
        advance(&mut model, &a, usize::MAX);
        advance(&mut model, &b, most);
        drifts.into_iter().for_each(|one| drift(&mut model, one));
        advance(&mut model, &b, usize::MAX);
        satisfies(&model, &b)?;
        prop_assert_eq!(diff(&model.observe(&b), &b), vec![]);
    }
}

//! From [`NodeRules`] to a table, and the kernel settings that go with it.
//!
//! As Docker's rules, in one table: who may talk to whom (`forward`), which connections to the node go on to a
//! container or to the ingress network (`published`), and with which address a connection leaves (`postrouting`).
//! Only the first packet of a connection meets more than one rule.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::model::network;
use super::table::*;
use super::{BridgeRules, NodeRules, Protocol, PublishedPort};

/// The table's name.
pub const TABLE: &str = "swarmlab";
/// Where VXLAN listens (IANA), and Docker.
const VXLAN: u16 = 4789;

const BRIDGES: &str = "bridges";
const INTERNAL: &str = "internal-bridges";
const SAME: &str = "same-bridge";
const INGRESS: &str = "ingress-ports";

/// The table for these rules; `None` when there is nothing to do.
///
/// Of two containers with one published port, the first in order has it. A port that is published at an address of
/// another family than the container's cannot be translated and is left out.
pub fn table(rules: &NodeRules) -> Option<Table> {
    let ingress = rules.ingress.as_ref().filter(|ingress| !ingress.ports.is_empty() && !ingress.to.is_empty());
    if rules.bridges.is_empty() && rules.published.is_empty() && ingress.is_none() {
        return None;
    }
    let bridges: BTreeMap<&str, &BridgeRules> =
        rules.bridges.iter().map(|bridge| (bridge.name.as_str(), bridge)).collect();
    let mut sets = Vec::new();
    let interfaces = open_bridges(rules);
    if !interfaces.is_empty() {
        sets.push(members(BRIDGES, [Kind::Interface], interfaces.iter().map(|name| vec![interface(name)])));
    }
    let internal = bridges.values().filter(|bridge| bridge.internal);
    let internal: Vec<Vec<Datum>> = internal.map(|bridge| vec![interface(&bridge.name)]).collect();
    if !internal.is_empty() {
        sets.push(members(INTERNAL, [Kind::Interface], internal));
    }
    if !bridges.is_empty() {
        let both = bridges.keys().map(|name| vec![interface(name), interface(name)]);
        sets.push(members(SAME, [Kind::Interface, Kind::Interface], both));
    }
    if let Some(ingress) = ingress {
        let ports = ingress.ports.iter().map(|(protocol, port)| vec![Datum::Protocol(*protocol), Datum::Port(*port)]);
        sets.push(members(INGRESS, [Kind::Protocol, Kind::Port], ports));
    }
    sets.extend(published_maps(&rules.published));

    let has = |name: &str| sets.iter().any(|set| set.name == name);
    let published = published(ingress.map_or(&[], |ingress| &ingress.to), &has);
    let mut chains = vec![
        Chain::base("raw-prerouting", false, Hook::Prerouting, RAW, raw_prerouting()),
        Chain::base("raw-output", false, Hook::Output, RAW, vec![untracked()]),
        Chain::base("forward", false, Hook::Forward, FILTER, forward(&has)),
    ];
    if !published.is_empty() {
        let local = Rule::new([Match::LocalDestination], Action::Jump("published".into()));
        chains.extend([
            Chain::base("prerouting", true, Hook::Prerouting, DSTNAT, vec![local.clone()]),
            Chain::base("output", true, Hook::Output, DSTNAT, vec![local]),
        ]);
    }
    let leaving = postrouting(&bridges, &has);
    if !leaving.is_empty() {
        chains.push(Chain::base("postrouting", true, Hook::Postrouting, SRCNAT, leaving));
    }
    if !published.is_empty() {
        chains.push(Chain::new("published", published));
    }
    Some(Table { name: TABLE.into(), sets, chains })
}

/// Kernel settings that the rules need (path below /proc/sys, value): packets pass through the node, and may go from
/// 127.0.0.1 to a container and back; and what stays on a bridge is no business of ours, else a container could not
/// reach itself by the node's address. One that is not there (of a bridge, of a module) is left out when applied.
pub fn settings(rules: &NodeRules) -> Vec<(String, String)> {
    if table(rules).is_none() {
        return Vec::new();
    }
    let mut settings: Vec<(String, String)> = [
        ("net/ipv4/ip_forward", "1"),
        ("net/bridge/bridge-nf-call-iptables", "0"),
        ("net/bridge/bridge-nf-call-ip6tables", "0"),
    ]
    .map(|(key, value)| (key.into(), value.into()))
    .into();
    let subnets = rules.bridges.iter().filter(|bridge| !bridge.internal).flat_map(|bridge| &bridge.subnets);
    if subnets.map(|subnet| network(*subnet).0).any(|address| address.is_ipv6()) {
        settings.push(("net/ipv6/conf/all/forwarding".into(), "1".into()));
    }
    for bridge in open_bridges(rules) {
        settings.push((format!("net/ipv4/conf/{bridge}/route_localnet"), "1".into()));
    }
    settings
}

/// Bridges that connections from elsewhere may lead to.
fn open_bridges(rules: &NodeRules) -> BTreeSet<&str> {
    let internal: BTreeSet<&str> =
        rules.bridges.iter().filter(|bridge| bridge.internal).map(|bridge| bridge.name.as_str()).collect();
    let named = rules.bridges.iter().map(|bridge| bridge.name.as_str());
    let published = rules.published.iter().map(|port| port.bridge.as_str());
    let ingress = rules.ingress.iter().map(|ingress| ingress.bridge.as_str());
    named.chain(published).chain(ingress).filter(|name| !internal.contains(name)).collect()
}

fn interface(name: &str) -> Datum {
    Datum::Interface(name.into())
}

fn members<const N: usize>(name: &str, key: [Kind; N], elements: impl IntoIterator<Item = Vec<Datum>>) -> Set {
    let elements = elements.into_iter().map(|element| (element, Target::Nothing)).collect();
    Set { name: name.into(), key: key.into(), mapped: Mapped::Nothing, elements }
}

/// The map of the ports that are published at every address, or at one each.
fn published_map(family: Family, at: bool) -> &'static str {
    match (family, at) {
        (Family::V4, false) => "published-ports",
        (Family::V6, false) => "published-ports6",
        (Family::V4, true) => "published-addresses",
        (Family::V6, true) => "published-addresses6",
    }
}

fn published_maps(published: &[PublishedPort]) -> Vec<Set> {
    let mut published: Vec<&PublishedPort> = published.iter().collect();
    published.sort();
    let mut maps = Vec::new();
    for family in Family::ALL {
        for at in [true, false] {
            let mut key = vec![Kind::Protocol, Kind::Port];
            if at {
                key.insert(0, Kind::Address(family));
            }
            let mut elements = BTreeMap::new();
            for port in published.iter().filter(|port| Family::of(port.to.ip()) == family) {
                let host = port.host_ip.filter(|address| !address.is_unspecified());
                let other = port.host_ip.is_some_and(|address| Family::of(address) != family);
                if other || host.is_some() != at {
                    continue;
                }
                let mut element = vec![Datum::Protocol(port.protocol), Datum::Port(port.host_port)];
                if let Some(address) = host {
                    element.insert(0, Datum::Address(address));
                }
                let to = vec![Datum::Address(port.to.ip()), Datum::Port(port.to.port())];
                elements.entry(element).or_insert(Target::Values(to));
            }
            if !elements.is_empty() {
                let mapped = Mapped::Values(vec![Kind::Address(family), Kind::Port]);
                maps.push(Set { name: published_map(family, at).into(), key, mapped, elements });
            }
        }
    }
    maps
}

/// Where connections to the node's own addresses go on to. Those to `::1` stay: from there, the kernel lets no packet
/// leave the machine, and has no setting for it as it has for 127.0.0.1.
fn published(ingress: &[IpAddr], has: &impl Fn(&str) -> bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    let port = [Field::Protocol, Field::Port(End::Destination)];
    for family in Family::ALL {
        let before = rules.len();
        if let Some(to) = ingress.iter().find(|to| Family::of(**to) == family) {
            let matches = [Match::Family(family), Match::Member(port.into(), INGRESS.into())];
            rules.push(Rule::new(matches, Action::Destination(*to)));
        }
        for at in [true, false] {
            let map = published_map(family, at);
            if has(map) {
                let address = at.then_some(Field::Address(family, End::Destination));
                let fields = address.into_iter().chain(port).collect();
                rules.push(Rule::new([Match::Family(family)], Action::Translate(family, fields, map.into())));
            }
        }
        if family == Family::V6 && rules.len() > before {
            let loopback = Match::Network(End::Destination, IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
            rules.insert(before, Rule::new([loopback], Action::Return));
        }
    }
    rules
}

/// `route_localnet` lets packets to and from 127.0.0.0/8 in by any interface: containers, and whoever is next to the
/// node, would reach what listens on its loopback only. They are dropped here; what we translated ourselves does not
/// bear such an address yet, or no more. VXLAN needs no connection tracking: its packets answer nothing.
fn raw_prerouting() -> Vec<Rule> {
    let loopback = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0));
    let foreign = |end| {
        let matches = [Match::Interface(Side::In, "lo".into(), false), Match::Network(end, loopback, 8)];
        Rule::new(matches, Action::Drop)
    };
    vec![foreign(End::Destination), foreign(End::Source), untracked()]
}

fn untracked() -> Rule {
    Rule::new([Match::Port(Protocol::Udp, End::Destination, VXLAN)], Action::Untracked)
}

/// Known connections go on; an internal bridge is for itself; new connections come to a container only by a
/// published port. Docker has the last two as chains of isolation, and as the policy of its `FORWARD`.
fn forward(has: &impl Fn(&str) -> bool) -> Vec<Rule> {
    let by = |side, set: &str| Match::Member(vec![Field::Interface(side)], set.into());
    let mut rules = vec![Rule::new([Match::Established], Action::Accept)];
    if has(SAME) {
        let both = vec![Field::Interface(Side::In), Field::Interface(Side::Out)];
        rules.push(Rule::new([Match::Member(both, SAME.into())], Action::Accept));
    }
    if has(INTERNAL) {
        rules.push(Rule::new([by(Side::In, INTERNAL)], Action::Drop));
        rules.push(Rule::new([by(Side::Out, INTERNAL)], Action::Drop));
    }
    rules.push(Rule::new([Match::Translated], Action::Accept));
    if has(BRIDGES) {
        rules.push(Rule::new([by(Side::Out, BRIDGES)], Action::Drop));
    }
    rules
}

/// From the node's loopback, and from a container back to its own bridge, answers would not come through here to be
/// translated back: such connections leave with the bridge's address. Others do when the bridge masquerades.
fn postrouting(bridges: &BTreeMap<&str, &BridgeRules>, has: &impl Fn(&str) -> bool) -> Vec<Rule> {
    let mut rules = Vec::new();
    if has(BRIDGES) {
        let loopback = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0));
        let to = Match::Member(vec![Field::Interface(Side::Out)], BRIDGES.into());
        rules.push(Rule::new([Match::Network(End::Source, loopback, 8), to], Action::Masquerade));
    }
    for bridge in bridges.values().filter(|bridge| !bridge.internal) {
        let nets: BTreeSet<(IpAddr, u8)> = bridge.subnets.iter().map(|subnet| network(*subnet)).collect();
        for (address, prefix) in nets {
            let from = Match::Network(End::Source, address, prefix);
            let by = |is| Match::Interface(Side::Out, bridge.name.clone(), is);
            rules.push(Rule::new([from.clone(), by(true), Match::Translated], Action::Masquerade));
            if bridge.masquerade {
                rules.push(Rule::new([from, by(false)], Action::Masquerade));
            }
        }
    }
    rules
}

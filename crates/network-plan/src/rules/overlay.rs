//! From [`OverlayRules`] to a table.
//!
//! Every service has a chain that hands connections to its backends in turn; maps from virtual addresses and from
//! published ports lead there, so that the number of services does not matter to a packet. Whatever was handed on
//! leaves with the node's load balancer address, so that the answers come back here and can be translated back. The
//! chains that translate see only the first packet of a connection; conntrack does the others.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::model::network;
use super::table::*;
use super::text::word;
use super::{OverlayRules, Protocol, VirtualService};

/// The table's name.
pub const TABLE: &str = "swarmlab";
/// How much of a service's name its chains carry. Docker allows 63 characters.
const NAME_LIMIT: usize = 63;

/// The table for these rules; `None` when there is nothing to do.
///
/// Of two services with one virtual address or one published port, one that has backends has it, else the first by name: what
/// the one has that is gone, and whose last tasks have not ended, may be another's already. A service without a backend of a
/// family, or on a node without a load balancer address of it, refuses connections.
pub fn table(rules: &OverlayRules) -> Option<Table> {
    let mut services: Vec<&VirtualService> = rules.services.iter().collect();
    services.sort_by_key(|service| (service.backends.is_empty(), *service));
    let mut made = Made::default();
    let balancers: BTreeSet<Family> = rules.load_balancer.iter().map(|address| Family::of(*address)).collect();
    for service in services {
        let name = made.name(&service.name);
        let backends = |family| {
            let backends: BTreeSet<IpAddr> =
                service.backends.iter().copied().filter(|backend| Family::of(*backend) == family).collect();
            if balancers.contains(&family) { backends.into_iter().collect() } else { Vec::new() }
        };
        made.addresses(service, &name, &backends);
        if rules.ingress_interface.is_some() {
            made.ports(service, &name, &backends);
        }
    }
    if made.sets.is_empty() {
        return None;
    }
    // chains that translate keep conntrack awake: connections of before live on when the last backend left
    let interface = rules.ingress_interface.as_deref();
    let mut chains = vec![Chain::base("prerouting", true, Hook::Prerouting, DSTNAT, prerouting(&made, interface))];
    let refused = refused(&made, interface);
    if !refused.is_empty() {
        chains.push(Chain::base("input", false, Hook::Input, FILTER, refused));
    }
    chains.push(Chain::base("postrouting", true, Hook::Postrouting, SRCNAT, postrouting(rules)));
    chains.append(&mut made.chains);
    Some(Table { name: TABLE.into(), sets: made.sets, chains })
}

const PORTS: &str = "ports";
const REFUSED_PORTS: &str = "refused-ports";

fn services_map(family: Family) -> &'static str {
    match family {
        Family::V4 => "services",
        Family::V6 => "services6",
    }
}

fn refused_set(family: Family) -> &'static str {
    match family {
        Family::V4 => "refused",
        Family::V6 => "refused6",
    }
}

/// What has come together so far.
#[derive(Default)]
struct Made {
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    taken: BTreeSet<(Protocol, u16)>,
    sets: Vec<Set>,
    chains: Vec<Chain>,
}

impl Made {
    /// A name for the chains of a service, that no other has.
    fn name(&mut self, service: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let wanted: String = service.chars().take(NAME_LIMIT).map(plain).collect();
        let mut name = wanted.clone();
        let mut number = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{wanted}_{number}");
            number += 1;
        }
        name
    }

    fn insert(&mut self, set: &str, key: Vec<Kind>, element: Vec<Datum>, target: Target) {
        let index = match self.sets.iter().position(|made| made.name == set) {
            Some(index) => index,
            None => {
                let mapped = if target == Target::Nothing { Mapped::Nothing } else { Mapped::Chain };
                self.sets.push(Set { name: set.into(), key, mapped, elements: BTreeMap::new() });
                self.sets.len() - 1
            }
        };
        if let Some(made) = self.sets.get_mut(index) {
            made.elements.insert(element, target);
        }
    }

    fn addresses(&mut self, service: &VirtualService, name: &str, backends: &impl Fn(Family) -> Vec<IpAddr>) {
        let chain = format!("service-{name}");
        let mut rules = Vec::new();
        for family in Family::ALL {
            let mine: Vec<IpAddr> = service
                .virtual_ips
                .iter()
                .copied()
                .filter(|address| Family::of(*address) == family && self.addresses.insert(*address))
                .collect();
            if mine.is_empty() {
                continue;
            }
            let backends = backends(family);
            let (set, target) = match backends.is_empty() {
                true => (refused_set(family), Target::Nothing),
                false => (services_map(family), Target::Chain(chain.clone())),
            };
            for address in mine {
                self.insert(set, vec![Kind::Address(family)], vec![Datum::Address(address)], target.clone());
            }
            if !backends.is_empty() {
                rules.push(Rule::new([Match::Family(family)], Action::Balance(backends, None)));
            }
        }
        if !rules.is_empty() {
            self.chains.push(Chain::new(chain, rules));
        }
    }

    fn ports(&mut self, service: &VirtualService, name: &str, backends: &impl Fn(Family) -> Vec<IpAddr>) {
        for port in &service.ports {
            if !self.taken.insert((port.protocol, port.published)) {
                continue;
            }
            let chain = format!("port-{}-{}-{name}", word(port.protocol), port.published);
            let rules: Vec<Rule> = Family::ALL
                .into_iter()
                .map(|family| (family, backends(family)))
                .filter(|(_, backends)| !backends.is_empty())
                .map(|(family, backends)| {
                    let matches = [Match::Family(family), Match::Transport(BTreeSet::from([port.protocol]))];
                    Rule::new(matches, Action::Balance(backends, Some(port.target)))
                })
                .collect();
            let element = vec![Datum::Protocol(port.protocol), Datum::Port(port.published)];
            let key = vec![Kind::Protocol, Kind::Port];
            if rules.is_empty() {
                self.insert(REFUSED_PORTS, key, element, Target::Nothing);
            } else {
                self.insert(PORTS, key, element, Target::Chain(chain.clone()));
                self.chains.push(Chain::new(chain, rules));
            }
        }
    }

    fn has(&self, set: &str) -> bool {
        self.sets.iter().any(|made| made.name == set)
    }
}

fn everything() -> Match {
    Match::Transport(BTreeSet::from([Protocol::Tcp, Protocol::Udp, Protocol::Sctp]))
}

fn port_fields() -> Vec<Field> {
    vec![Field::Protocol, Field::Port(End::Destination)]
}

/// Which service a connection is for.
fn prerouting(made: &Made, ingress: Option<&str>) -> Vec<Rule> {
    let mut rules = Vec::new();
    if let Some(interface) = ingress
        && made.has(PORTS)
    {
        let from = Match::Interface(Side::In, interface.into(), true);
        rules.push(Rule::new([from], Action::Choose(port_fields(), PORTS.into())));
    }
    for family in Family::ALL.into_iter().filter(|family| made.has(services_map(*family))) {
        let field = Field::Address(family, End::Destination);
        rules.push(Rule::new([everything()], Action::Choose(vec![field], services_map(family).into())));
    }
    rules
}

/// What nobody takes. The kernel would refuse it anyway, as nothing listens in this namespace; said here, so that
/// it holds whatever may listen, and can be seen.
fn refused(made: &Made, ingress: Option<&str>) -> Vec<Rule> {
    let mut asked = Vec::new();
    if let Some(interface) = ingress
        && made.has(REFUSED_PORTS)
    {
        let from = Match::Interface(Side::In, interface.into(), true);
        asked.push(vec![from, Match::Member(port_fields(), REFUSED_PORTS.into())]);
    }
    for family in Family::ALL.into_iter().filter(|family| made.has(refused_set(*family))) {
        let field = Field::Address(family, End::Destination);
        asked.push(vec![Match::Member(vec![field], refused_set(family).into())]);
    }
    let refuse = |matches: &Vec<Match>, protocols: &[Protocol], action| {
        let transport = Match::Transport(protocols.iter().copied().collect());
        Rule::new([matches.clone(), vec![transport]].concat(), action)
    };
    asked
        .iter()
        .flat_map(|matches| {
            [
                refuse(matches, &[Protocol::Tcp], Action::Reset),
                refuse(matches, &[Protocol::Udp, Protocol::Sctp], Action::Unreachable),
            ]
        })
        .collect()
}

/// The address that connections are handed on with: of the subnet that they go to, else the family's first.
fn postrouting(rules: &OverlayRules) -> Vec<Rule> {
    let mut found = Vec::new();
    for family in Family::ALL {
        let addresses: Vec<IpAddr> =
            rules.load_balancer.iter().copied().filter(|address| Family::of(*address) == family).collect();
        if addresses.len() > 1 {
            for address in &addresses {
                for subnet in rules.subnets.iter().filter(|subnet| subnet.contains(*address)) {
                    let (network, prefix) = network(*subnet);
                    let matches = [Match::Network(End::Destination, network, prefix), Match::Translated];
                    found.push(Rule::new(matches, Action::Source(*address)));
                }
            }
        }
        if let Some(first) = addresses.first() {
            found.push(Rule::new([Match::Family(family), Match::Translated], Action::Source(*first)));
        }
    }
    found
}

//! Faults of the lab's network: what is broken between its nodes, and what that means for each of them.
//!
//! Pure. sandbox-init keeps the one list of all faults and applies them in the nodes' own network namespaces, whatever
//! engine runs there; so they vanish with the lab, and a node that is started again finds them as they were.

use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use overlay_network::apply::Delay;
use overlay_network::rules::{self, FaultRule};
use serde::{Deserialize, Serialize};

use super::NodeSpec;

/// Most faults at a time: far more than anybody can keep apart.
const MOST: usize = 64;

/// Something that is broken. Nodes are named as in the lab.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Fault {
    /// Packets from or to these ports of either end are lost at a node.
    Block {
        /// The node.
        node: String,
        /// The ports; never empty.
        ports: Vec<Port>,
        /// Only between the node and this one.
        peer: Option<String>,
        /// Which way.
        direction: Direction,
        /// A riddle: these are named in place of the ports, and whoever is to find out is told no more.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        among: Vec<Port>,
    },
    /// Nothing goes between the two sets of nodes.
    Partition {
        /// One side.
        nodes: Vec<String>,
        /// The other.
        from: Vec<String>,
    },
    /// Some of the packets that a node sends and receives are lost.
    Loss {
        /// The node.
        node: String,
        /// How many of a hundred.
        percent: f64,
        /// Only between the node and this one.
        peer: Option<String>,
    },
    /// What a node sends arrives later.
    Delay {
        /// The node.
        node: String,
        /// How much later, in milliseconds.
        ms: u32,
        /// How much more or less.
        jitter: u32,
    },
}

/// Which way packets go, seen from the node of the fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What comes to it.
    In,
    /// What leaves it.
    Out,
    /// Either.
    #[default]
    Both,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// `tcp`, `udp`
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// `4789/udp`; without a protocol both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The number.
    pub number: u16,
    /// The protocol, or both.
    pub protocol: Option<Protocol>,
}

impl FromStr for Port {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, protocol) = match text.split_once('/') {
            None => (text, None),
            Some((number, "tcp")) => (number, Some(Protocol::Tcp)),
            Some((number, "udp")) => (number, Some(Protocol::Udp)),
            Some(_) => return Err("expected `tcp` or `udp` after the slash, as in 4789/udp".to_owned()),
        };
        match number.parse() {
            Ok(number @ 1..) => Ok(Self { number, protocol }),
            _ => Err("expected a port from 1 to 65535, as in 4789/udp or 7946".to_owned()),
        }
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.protocol {
            Some(protocol) => write!(f, "{}/{}", self.number, protocol.name()),
            None => write!(f, "{}", self.number),
        }
    }
}

/// The port that a riddle blocks: always the same one for this node and these ports, so that a lab repeats; another node
/// makes another riddle.
pub fn riddle(node: &str, among: &[Port]) -> Option<Port> {
    let names: Vec<String> = among.iter().map(Port::to_string).collect();
    let text = format!("{node} {}", names.join(","));
    // FNV-1a; its lowest bits hang together too much
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    let at = (hash >> 8).checked_rem(among.len() as u64)?;
    among.get(usize::try_from(at).ok()?).copied()
}

impl Fault {
    /// Without its secret.
    pub fn solved(&self) -> Self {
        let mut open = self.clone();
        if let Self::Block { among, .. } = &mut open {
            among.clear();
        }
        open
    }

    /// Every node that it speaks of.
    pub fn nodes(&self) -> Vec<&str> {
        let (first, second): (&[String], &[String]) = match self {
            Self::Block { node, peer, .. } | Self::Loss { node, peer, .. } => {
                (std::slice::from_ref(node), peer.as_ref().map_or(&[], std::slice::from_ref))
            }
            Self::Partition { nodes, from } => (nodes, from),
            Self::Delay { node, .. } => (std::slice::from_ref(node), &[]),
        };
        first.iter().chain(second).map(String::as_str).collect()
    }

    /// The one node in which it is done; a partition is done in all of its nodes.
    pub fn at(&self) -> Option<&str> {
        match self {
            Self::Block { node, .. } | Self::Loss { node, .. } | Self::Delay { node, .. } => Some(node),
            Self::Partition { .. } => None,
        }
    }

    /// Whether `other` takes the place of this one rather than standing beside it.
    fn replaced_by(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Loss { node, peer, .. }, Self::Loss { node: node2, peer: peer2, .. }) => {
                (node, peer) == (node2, peer2)
            }
            (Self::Delay { node, .. }, Self::Delay { node: node2, .. }) => node == node2,
            _ => self == other,
        }
    }

    /// What remains of it when this node has nothing to do with it any more.
    fn without(&self, node: &str) -> Option<Self> {
        match self {
            Self::Partition { nodes, from } => {
                let keep = |all: &[String]| all.iter().filter(|n| *n != node).cloned().collect::<Vec<_>>();
                let (nodes, from) = (keep(nodes), keep(from));
                (!nodes.is_empty() && !from.is_empty()).then_some(Self::Partition { nodes, from })
            }
            other => (!other.nodes().contains(&node)).then(|| other.clone()),
        }
    }
}

/// In words that follow nothing: `worker1: 4789/udp is blocked`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |names: &[String]| names.join(", ");
        let with =
            |peer: &Option<String>| peer.as_ref().map(|peer| format!(" between it and {peer}")).unwrap_or_default();
        match self {
            Self::Block { node, ports, peer, direction, among } => {
                let listed = if among.is_empty() { ports } else { among };
                let names: Vec<String> = listed.iter().map(Port::to_string).collect();
                let way = match direction {
                    Direction::In => ", what comes in",
                    Direction::Out => ", what goes out",
                    Direction::Both => "",
                };
                let one = if among.is_empty() { "" } else { "one of " };
                let verb = if ports.len() > 1 { "are" } else { "is" };
                write!(f, "{node}: {one}{} {verb} blocked{}{way}", names.join(", "), with(peer))
            }
            Self::Partition { nodes, from } => {
                let verb = if nodes.len() > 1 { "are" } else { "is" };
                write!(f, "{} {verb} cut off from {}", list(nodes), list(from))
            }
            Self::Loss { node, percent, peer } => {
                write!(f, "{node}: {percent} % of the packets{} are lost", with(peer))
            }
            Self::Delay { node, ms, jitter: 0 } => write!(f, "{node}: what it sends arrives {ms} ms later"),
            Self::Delay { node, ms, jitter } => {
                write!(f, "{node}: what it sends arrives {ms} ms later, {jitter} ms more or less")
            }
        }
    }
}

/// The list with one more fault; the error says why that cannot be.
pub fn add(faults: &[Fault], fault: Fault) -> Result<Vec<Fault>, String> {
    let mut all: Vec<Fault> = faults.iter().filter(|old| !old.replaced_by(&fault)).cloned().collect();
    if all.len() >= MOST {
        return Err(format!("there are {} faults already; `swarmlab fault heal` ends them", all.len()));
    }
    all.push(fault);
    Ok(all)
}

/// The list without all faults, or without a node's part in them.
pub fn heal(faults: &[Fault], node: Option<&str>) -> Vec<Fault> {
    node.map_or_else(Vec::new, |node| faults.iter().filter_map(|fault| fault.without(node)).collect())
}

/// What is to be done in one node.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct NodeFaults {
    /// By the packet filter.
    pub rules: Vec<FaultRule>,
    /// At its interface.
    pub delay: Option<Delay>,
}

/// What is to be done in each node that has a part in a fault.
pub fn compile(faults: &[Fault], nodes: &[NodeSpec]) -> BTreeMap<String, NodeFaults> {
    let address = |name: &str| nodes.iter().find(|node| node.name == name).map(|node| IpAddr::V4(node.address));
    let mut all: BTreeMap<String, NodeFaults> = BTreeMap::new();
    for fault in faults {
        match fault {
            Fault::Block { node, ports, peer, direction, .. } => {
                let rules = ports.iter().map(|port| FaultRule::Drop {
                    peer: peer.as_deref().and_then(address),
                    protocol: port.protocol.map(|protocol| match protocol {
                        Protocol::Tcp => rules::Protocol::Tcp,
                        Protocol::Udp => rules::Protocol::Udp,
                    }),
                    port: Some(port.number),
                    direction: match direction {
                        Direction::In => rules::Direction::In,
                        Direction::Out => rules::Direction::Out,
                        Direction::Both => rules::Direction::Both,
                    },
                });
                all.entry(node.clone()).or_default().rules.extend(rules);
            }
            Fault::Partition { nodes, from } => {
                // on both sides, so that it holds while one of them is being started again
                for (a, b) in nodes.iter().flat_map(|a| from.iter().map(move |b| (a, b))) {
                    for (here, there) in [(a, b), (b, a)] {
                        let direction = rules::Direction::Both;
                        let rule = FaultRule::Drop { peer: address(there), protocol: None, port: None, direction };
                        all.entry(here.clone()).or_default().rules.push(rule);
                    }
                }
            }
            Fault::Loss { node, percent, peer } => {
                let rule = FaultRule::Loss { peer: peer.as_deref().and_then(address), percent: *percent };
                all.entry(node.clone()).or_default().rules.push(rule);
            }
            Fault::Delay { node, ms, jitter } => {
                let millis = |ms: u32| Duration::from_millis(ms.into());
                all.entry(node.clone()).or_default().delay = Some(Delay { mean: millis(*ms), jitter: millis(*jitter) });
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn names(all: &[&str]) -> Vec<String> {
        all.iter().map(|name| (*name).to_owned()).collect()
    }

    fn nodes() -> Vec<NodeSpec> {
        let node = |(at, name): (u8, &str)| NodeSpec { name: name.to_owned(), address: [10, 77, 0, at].into() };
        [(11, "m"), (12, "a"), (13, "b")].map(node).into()
    }

    fn partition(nodes: &[&str], from: &[&str]) -> Fault {
        Fault::Partition { nodes: names(nodes), from: names(from) }
    }

    fn delay(node: &str, ms: u32) -> Fault {
        Fault::Delay { node: node.to_owned(), ms, jitter: 0 }
    }

    #[test]
    fn a_port_has_a_number_and_maybe_a_protocol() {
        for (text, number, protocol) in [("4789/udp", 4789, Some(Protocol::Udp)), ("7946", 7946, None)] {
            let port: Port = text.parse().unwrap();
            assert_eq!((port, port.to_string().as_str()), (Port { number, protocol }, text));
        }
        for wrong in ["", "0", "65536", "4789/sctp", "4789/", "/udp", "-1", "x/tcp"] {
            assert!(wrong.parse::<Port>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_partition_is_done_on_both_sides_and_heals_node_by_node() {
        let all = [partition(&["m"], &["a", "b"])];
        let done = compile(&all, &nodes());
        let peers = |name: &str| -> Vec<String> {
            let peer = |rule: &FaultRule| match rule {
                FaultRule::Drop { peer, protocol: None, port: None, direction: rules::Direction::Both } => {
                    peer.unwrap().to_string()
                }
                other => panic!("{other:?}"),
            };
            done[name].rules.iter().map(peer).collect()
        };
        assert_eq!(peers("m"), ["10.77.0.12", "10.77.0.13"]);
        assert_eq!((peers("a"), peers("b")), (names(&["10.77.0.11"]), names(&["10.77.0.11"])));
        let left = heal(&all, Some("a"));
        assert_eq!(left, [partition(&["m"], &["b"])]);
        assert!(heal(&left, Some("m")).is_empty());
        assert!(heal(&all, None).is_empty());
    }

    #[test]
    fn a_new_delay_takes_the_old_ones_place_and_equal_faults_are_one() {
        let all = add(&[], delay("a", 100)).unwrap();
        let all = add(&all, delay("b", 100)).unwrap();
        let all = add(&all, delay("a", 300)).unwrap();
        assert_eq!(all, [delay("b", 100), delay("a", 300)]);
        let all = add(&all, partition(&["m"], &["a"])).unwrap();
        assert_eq!(add(&all, partition(&["m"], &["a"])).unwrap().len(), 3);
        assert_eq!(compile(&all, &nodes())["a"].delay.unwrap().mean, Duration::from_millis(300));
        assert_eq!(compile(&all, &nodes())["a"].rules.len(), 1);
        let many: Vec<Fault> = (0..MOST as u32).map(|at| delay(&format!("n{at}"), 1)).collect();
        assert!(add(&many, delay("x", 1)).unwrap_err().contains("heal"));
    }

    #[test]
    fn a_block_becomes_one_rule_for_each_port() {
        let block = Fault::Block {
            node: "a".into(),
            ports: vec!["4789/udp".parse().unwrap(), "7946".parse().unwrap()],
            peer: Some("b".into()),
            direction: Direction::In,
            among: Vec::new(),
        };
        assert_eq!(block.to_string(), "a: 4789/udp, 7946 are blocked between it and b, what comes in");
        let done = compile(std::slice::from_ref(&block), &nodes());
        assert_eq!(done.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(
            done["a"].rules[0],
            FaultRule::Drop {
                peer: Some([10, 77, 0, 13].into()),
                protocol: Some(rules::Protocol::Udp),
                port: Some(4789),
                direction: rules::Direction::In,
            }
        );
        assert!(heal(&[block], Some("b")).is_empty());
    }

    #[test]
    fn a_riddle_blocks_one_port_and_names_it_only_when_solved() {
        let among: Vec<Port> = ["2377/tcp", "7946", "4789/udp"].iter().map(|text| text.parse().unwrap()).collect();
        // what chapter 6 tells, and lets its readers practise with
        let chosen = |node: &str| riddle(node, &among).unwrap().to_string();
        assert_eq!(
            ["worker1", "worker2", "worker3", "worker4"].map(chosen),
            ["4789/udp", "4789/udp", "7946", "2377/tcp"]
        );
        assert_eq!(riddle("worker1", &[]), None);
        let direction = Direction::Both;
        let ports = vec![riddle("a", &among).unwrap()];
        let block = Fault::Block { node: "a".into(), ports: ports.clone(), peer: None, direction, among };
        assert_eq!(block.to_string(), "a: one of 2377/tcp, 7946, 4789/udp is blocked");
        assert_eq!(block.solved().to_string(), format!("a: {} is blocked", ports[0]));
        assert_eq!(compile(&[block], &nodes())["a"].rules.len(), 1);
    }

    #[test]
    fn faults_travel_as_json_and_back() {
        let all = [
            partition(&["m"], &["a"]),
            delay("a", 5),
            Fault::Loss { node: "a".into(), percent: 12.5, peer: None },
            Fault::Block {
                node: "a".into(),
                ports: vec!["53".parse().unwrap()],
                peer: None,
                direction: Direction::Both,
                among: vec!["53".parse().unwrap(), "54/udp".parse().unwrap()],
            },
        ];
        let text = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Fault>>(&text).unwrap(), all);
    }
}

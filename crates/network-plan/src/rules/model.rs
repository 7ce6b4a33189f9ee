//! What the packet filter of a namespace is to do, in the words of the swarm: services, bridges, published ports,
//! faults. Plain data; what tables and rules come of it is the business of the modules
//! beside this one.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};

/// A transport protocol.
pub use swarm_types::PortProtocol as Protocol;

use crate::Cidr;

/// A service as the namespace of one overlay network sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct VirtualService {
    /// The service's name: names its chains, so that a listing can be read.
    pub name: String,
    /// Its virtual addresses on this network. Whatever TCP, UDP and SCTP comes to them goes to the backends in turn.
    pub virtual_ips: Vec<IpAddr>,
    /// The addresses of the tasks that take connections; in any order. None: connections are refused.
    pub backends: Vec<IpAddr>,
    /// On the ingress network: the ports that are published on every node.
    pub ports: Vec<ServicePort>,
}

/// A port that a service publishes through the ingress network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServicePort {
    /// Which transport.
    pub protocol: Protocol,
    /// The port on every node.
    pub published: u16,
    /// The port in the tasks.
    pub target: u16,
}

/// The rules of an overlay network's namespace on one node. The default asks for no rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OverlayRules {
    /// The network's subnets.
    pub subnets: Vec<Cidr>,
    /// This node's load balancer addresses there: the source of every connection that is handed to a backend. A
    /// family without one has no load balancing; its connections are refused.
    pub load_balancer: Vec<IpAddr>,
    /// The services on the network.
    pub services: Vec<VirtualService>,
    /// On the ingress network: the interface that published ports come in by (`eth1`).
    pub ingress_interface: Option<String>,
}

/// What a bridge of the node may do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BridgeRules {
    /// The bridge's interface name.
    pub name: String,
    /// Its networks.
    pub subnets: Vec<Cidr>,
    /// Whether packets that leave by another interface get that interface's address.
    pub masquerade: bool,
    /// Whether nothing may leave or enter it (`docker network create --internal`).
    pub internal: bool,
}

/// A port of the node that belongs to one container: `docker run -p` and `mode=host`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    /// Which transport.
    pub protocol: Protocol,
    /// Only at this address of the node; `None` and the unspecified address: at every one of the family of `to`.
    pub host_ip: Option<IpAddr>,
    /// The port on the node.
    pub host_port: u16,
    /// The container's address and port.
    pub to: SocketAddr,
    /// The bridge that the container is at.
    pub bridge: String,
}

/// Where the ports that services publish on every node are handed on to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngressRules {
    /// The bridge that leads there (`docker_gwbridge`).
    pub bridge: String,
    /// The ingress namespace's addresses at that bridge: one of each family at most, the first counts.
    pub to: Vec<IpAddr>,
    /// The ports.
    pub ports: BTreeSet<(Protocol, u16)>,
}

/// The rules of a node's own namespace. The default asks for no rules.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeRules {
    /// The bridges of the node's networks, `docker_gwbridge` among them.
    pub bridges: Vec<BridgeRules>,
    /// Ports of single containers.
    pub published: Vec<PublishedPort>,
    /// Ports of services.
    pub ingress: Option<IngressRules>,
}

/// Which way the packets of a fault travel, seen from the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Direction {
    /// What comes from the peer.
    In,
    /// What goes to the peer.
    Out,
    /// Either.
    #[default]
    Both,
}

/// A fault that a lab puts between this node and others. It spares the node's loopback interface.
///
/// A process of the node that sends a UDP packet which is dropped on its way out is told so (`EPERM`), as with any
/// packet filter on its own machine; TCP takes it for a loss.
#[derive(Debug, Clone, PartialEq)]
pub enum FaultRule {
    /// Packets that fit all of these are lost.
    Drop {
        /// The other end's address; `None`: whoever it is.
        peer: Option<IpAddr>,
        /// The transport; with a port and `None` here: TCP, UDP and SCTP.
        protocol: Option<Protocol>,
        /// The port, at either end.
        port: Option<u16>,
        /// Which way they travel.
        direction: Direction,
    },
    /// Each packet from and to the peer is lost with this probability.
    Loss {
        /// The other end's address; `None`: whoever it is.
        peer: Option<IpAddr>,
        /// 0 to 100, to a ten-thousandth; what is outside counts as the nearer end, what is no number as 0.
        percent: f64,
    },
}

/// A subnet's first address, and the length of its prefix.
pub(super) fn network(subnet: Cidr) -> (IpAddr, u8) {
    (subnet.network().address, subnet.prefix)
}

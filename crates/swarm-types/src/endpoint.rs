//! What nodes tell each other of the endpoints on the swarm's networks: containers, and the nodes' own load balancers.
//!
//! Each node is the only writer of the records of its own endpoints; how they reach the others is `swarm-gossip`'s
//! business, what name servers and data plane make of them `overlay-network`'s. Managers are not needed for any of it.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::*;

/// A node as others reach it over the swarm's networks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NetworkPeer {
    /// Which node.
    pub id: NodeId,
    /// Its host name, for people.
    pub name: String,
    /// Where it gossips: 7946, UDP and TCP.
    pub addr: std::net::SocketAddr,
    /// The address that it sends and receives VXLAN packets at (`--data-path-addr`; else that of `addr`).
    pub data_path: IpAddr,
}

/// What kind of thing has an address on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum EndpointKind {
    /// A task's container.
    Task,
    /// A container that `docker run --network` or `docker network connect` attached.
    Container,
    /// The place on a node from which connections to virtual addresses are handed on: their source address.
    LoadBalancer,
}

/// An address on a network of the swarm, and what it is known as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRecord {
    /// The network.
    pub network: NetworkId,
    /// Unique on that network: a container's id (64 hexadecimal digits), or `lb-` and a node's id.
    pub id: String,
    /// What it is.
    pub kind: EndpointKind,
    /// The container's name (`web.1.<task id>`).
    pub name: String,
    /// Its addresses: the IPv4 one first.
    pub addresses: Vec<IpAddr>,
    /// Further names of this one container on the network.
    pub aliases: Vec<String>,
    /// The service that it belongs to.
    pub service: Option<ServiceBinding>,
    /// Whether it takes connections to the service: healthy, and not about to stop.
    pub serving: bool,
}

/// The service of an endpoint, as that endpoint's network knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceBinding {
    /// Which service.
    pub id: ServiceId,
    /// Its name.
    pub name: String,
    /// Its virtual addresses on this network; empty: the name stands for the tasks' addresses in turn.
    pub virtual_ips: Vec<IpAddr>,
    /// Further names of the service on the network.
    pub aliases: Vec<String>,
    /// On the ingress network: the ports that are published through the mesh, assigned ones filled in.
    pub ports: Vec<PortConfig>,
}

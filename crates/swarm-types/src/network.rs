//! Networks, addresses and published ports.

use serde::{Deserialize, Serialize};

use crate::*;

/// The label of networks that stand for those which every node has of its own; users cannot set it, and are shown none
/// of them.
pub const PREDEFINED_LABEL: &str = "com.docker.swarm.predefined";

/// What a user gives for a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Name and labels.
    pub annotations: Annotations,
    /// The network driver; default `overlay`.
    pub driver: Option<Driver>,
    /// IPv6 addresses as well.
    pub ipv6: bool,
    /// No way out of the swarm.
    pub internal: bool,
    /// `docker run` may attach containers.
    pub attachable: bool,
    /// The routing mesh's network; there is at most one.
    pub ingress: bool,
    /// Address management.
    pub ipam: Option<IpamOptions>,
    /// `swarm` or `local`; empty is `swarm`.
    pub scope: String,
}

/// Address management of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IpamOptions {
    /// The driver.
    pub driver: Driver,
    /// One entry for each subnet.
    pub configs: Vec<IpamConfig>,
}

/// One subnet of a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct IpamConfig {
    /// The subnet in CIDR form; empty: to be allocated.
    pub subnet: String,
    /// The part of it that addresses are taken from, in CIDR form; empty: all.
    pub range: String,
    /// The gateway's address; empty: the first one.
    pub gateway: String,
    /// Addresses set aside, by name.
    #[serde(default, skip_serializing_if = "std::collections::BTreeMap::is_empty")]
    pub reserved: std::collections::BTreeMap<String, String>,
}

/// A swarm-scoped network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// Its id.
    pub id: NetworkId,
    /// Set by the store.
    pub meta: Meta,
    /// What the user gave.
    pub spec: NetworkSpec,
    /// The driver with the options decided for it (VXLAN ids), once allocated.
    pub driver_state: Option<Driver>,
    /// The subnets decided for it, once allocated.
    pub ipam: Option<IpamOptions>,
    /// Removal was asked for while tasks still used it.
    #[serde(default)]
    pub pending_delete: bool,
}

impl Network {
    /// The driver's name.
    pub fn driver_name(&self) -> &str {
        let driver = self.driver_state.as_ref().or(self.spec.driver.as_ref());
        driver.map(|driver| driver.name.as_str()).filter(|name| !name.is_empty()).unwrap_or("overlay")
    }

    /// Whether it stands for a network that every node has of its own (`host`, `bridge`).
    pub fn is_predefined(&self) -> bool {
        self.spec.annotations.labels.get(PREDEFINED_LABEL).is_some_and(|value| value == "true")
    }
}

/// How a service wants to be attached to a network.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NetworkAttachmentConfig {
    /// The network's id or name, as the user gave it (control API resolves names to ids).
    pub target: String,
    /// Further names in the network's DNS.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Addresses asked for.
    #[serde(default)]
    pub addresses: Vec<String>,
    /// Driver options.
    #[serde(default)]
    pub driver_options: std::collections::BTreeMap<String, String>,
}

/// A task's or node's attachment to a network, with its addresses (CIDR form).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkAttachment {
    /// Which network.
    pub network_id: NetworkId,
    /// The addresses, one for each subnet, with prefix length.
    pub addresses: Vec<String>,
    /// Further names in the network's DNS.
    #[serde(default)]
    pub aliases: Vec<String>,
}

/// A transport protocol of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum PortProtocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

/// How a port is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub enum PublishMode {
    /// On every node, through the routing mesh.
    #[default]
    Ingress,
    /// On the nodes that run a task, straight to it.
    Host,
}

/// A port to publish, or published.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct PortConfig {
    /// A name, for people.
    pub name: String,
    /// The protocol.
    pub protocol: PortProtocol,
    /// The port inside the container.
    pub target_port: u16,
    /// The port outside; 0: to be assigned (30000 to 32767).
    pub published_port: u16,
    /// How.
    pub publish_mode: PublishMode,
}

/// How a service is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum EndpointMode {
    /// One virtual address in each network.
    #[default]
    Vip,
    /// The tasks' addresses in turn, by DNS.
    DnsRoundRobin,
}

/// What a user asks of a service's endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct EndpointSpec {
    /// How the service is found.
    pub mode: EndpointMode,
    /// Ports to publish.
    pub ports: Vec<PortConfig>,
}

/// A service's virtual address in one network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VirtualIp {
    /// Which network.
    pub network_id: NetworkId,
    /// The address with prefix length.
    pub address: String,
}

/// What was decided for a service's endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Endpoint {
    /// The spec it was decided for.
    pub spec: EndpointSpec,
    /// The ports, with the assigned ones filled in.
    pub ports: Vec<PortConfig>,
    /// The virtual addresses.
    pub virtual_ips: Vec<VirtualIp>,
}

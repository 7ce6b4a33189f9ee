//! What a container wants of its networks, and where it then is: plain data, kept in its record.

use std::net::IpAddr;

use overlay_network::{EndpointInfo, EndpointWish, GATEWAY_BRIDGE};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use swarm_types::PortProtocol;

use crate::networking::SwarmAttachment;

/// The routing mesh's network: what it gives a container is for connections from outside alone.
const INGRESS: &str = "ingress";

/// A network that a container is to be on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attachment {
    /// The network's name, or what the user called it while no such network was known.
    pub network: String,
    /// The network's id, once known: a network of the same name that was made later is another one.
    pub network_id: String,
    /// Further names of the container there.
    pub aliases: Vec<String>,
    /// Addresses that it wants.
    pub wish: EndpointWish,
    /// The network with the highest one is the way out.
    pub gateway_priority: i64,
}

impl Attachment {
    /// An attachment without further wishes.
    pub fn to(network: impl Into<String>) -> Self {
        Self { network: network.into(), ..Self::default() }
    }

    /// The attachment of a task, which comes with its place.
    pub fn to_swarm(place: &SwarmAttachment) -> Self {
        Self {
            network: place.name.clone(),
            network_id: place.network.to_string(),
            aliases: place.aliases.clone(),
            ..Self::default()
        }
    }

    /// What to look the network up by.
    pub fn key(&self) -> &str {
        if self.network_id.is_empty() { &self.network } else { &self.network_id }
    }
}

/// Where a container is on a network while it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// The endpoint's id, 64 hexadecimal digits.
    pub id: String,
    /// The network's name.
    pub network: String,
    /// The network's id.
    pub network_id: String,
    /// The network's driver.
    pub driver: String,
    /// Name of the interface inside; empty with the drivers `host` and `null`.
    pub interface: String,
    /// Its addresses; `None` with the drivers `host` and `null`.
    pub place: Option<EndpointInfo>,
    /// See [`Attachment`].
    pub gateway_priority: i64,
}

impl Endpoint {
    /// Whether it is the way out that the engine added, and not one of the container's own networks.
    pub fn is_added_gateway(&self) -> bool {
        self.network == GATEWAY_BRIDGE
    }

    /// Whether the network is one of the swarm's.
    pub fn is_swarm(&self) -> bool {
        self.driver == "overlay"
    }

    /// Whether the container's own name stands for its addresses there.
    pub fn is_own_address(&self) -> bool {
        !(self.is_added_gateway() || self.is_swarm() && self.network == INGRESS)
    }

    /// Whether names are looked up there: not on the three networks that every node has, as with Docker.
    pub fn has_names(&self) -> bool {
        self.place.is_some() && self.network != "bridge" && self.is_own_address()
    }

    /// Whether a container on it has a name server of its own: also one that is on the ingress network alone.
    pub fn has_server(&self) -> bool {
        self.has_names() || self.is_swarm()
    }

    /// The addresses without their prefixes.
    pub fn addresses(&self) -> Vec<IpAddr> {
        self.place.iter().flat_map(|place| place.addresses.iter().map(|cidr| cidr.address)).collect()
    }
}

/// The id of a container's endpoint on a network: derived, since nothing but those two tells it from others.
pub(crate) fn endpoint_id(network: &str, container: &str) -> String {
    let digest = Sha256::digest(format!("endpoint {network} {container}"));
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A port of the node that leads to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// The container's port.
    pub port: u16,
    /// The protocol.
    pub protocol: PortProtocol,
    /// The node's address; an unspecified one means all of its family.
    pub host_ip: IpAddr,
    /// The node's port.
    pub host_port: u16,
}

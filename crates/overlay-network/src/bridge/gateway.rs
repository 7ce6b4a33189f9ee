//! `docker_gwbridge`: the way out of containers that are on overlays only, and the way in of the ingress network.

use std::net::IpAddr;

use super::{BridgeDriver, BridgeNetwork, EndpointInfo, EndpointWish};
use crate::apply::NetError;
use crate::plan::{AddressPool, Cidr};

/// Name of the network and of its bridge.
pub const GATEWAY_BRIDGE: &str = "docker_gwbridge";

/// The endpoint of the ingress network on it, in Docker's words.
pub const INGRESS_ENDPOINT: &str = "ingress-sbox";

impl BridgeNetwork {
    /// Docker's settings for `docker_gwbridge`: its ports reach the node, not each other.
    pub fn gateway(id: impl Into<String>, subnet: Cidr) -> Self {
        Self { icc: false, ..Self::new(id, GATEWAY_BRIDGE, vec![AddressPool::of(subnet, None)]) }
    }
}

impl BridgeDriver {
    /// Reserves the ingress network's place: the first address after the gateway, 172.18.0.2 as a rule. Called when the
    /// bridge is made, before anybody else can have it; idempotent.
    pub fn reserve_ingress(&mut self, network: &str) -> Result<EndpointInfo, NetError> {
        let wish = self.networks().find(|known| known.id == network).map(first_after_gateway).unwrap_or_default();
        self.reserve(network, INGRESS_ENDPOINT, &wish)
    }
}

fn first_after_gateway(network: &BridgeNetwork) -> EndpointWish {
    let ipv4 = network.pools.first().and_then(|pool| match pool.gateway {
        IpAddr::V4(ip) => Some(u32::from(ip).saturating_add(1).into()),
        IpAddr::V6(_) => None,
    });
    EndpointWish { ipv4, ..EndpointWish::default() }
}

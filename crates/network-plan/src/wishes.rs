//! From what managers and other nodes say, in the swarm's types, to what the data plane is asked for. Leaves out names, which
//! are no part of a plan.

use std::collections::BTreeSet;
use std::net::IpAddr;

use swarm_gossip::view::NetworkView;
use swarm_types::{Network, NetworkAttachment, PortConfig};

use crate::overlay::{OverlayNetwork, Peer, Subnet};
use crate::rules::{Protocol, ServicePort, VirtualService};
use crate::{Cidr, Mac};

/// VXLAN's own headers take so many bytes of the underlay's packets: Docker's figure, also for IPv4 below.
const OVERLAY_MTU: u32 = 1450;

/// The driver's option for another size.
const MTU_OPTION: &str = "com.docker.network.driver.mtu";

/// The driver's option that holds the VXLAN ids, one for each subnet; ours has one for all.
const VXLAN_OPTION: &str = "com.docker.network.driver.overlay.vxlanid_list";

/// What is wrong with a network as the managers describe it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// The allocator has not come to it.
    #[error("it has no VXLAN id yet")]
    NoVxlanId,
    /// Likewise.
    #[error("it has no subnet yet")]
    NoSubnet,
    /// This is not what it should be.
    #[error("'{0}' is not an address")]
    Address(String),
}

/// Whether the data plane is an overlay of ours: `host` and `bridge` are each node's own.
pub fn is_overlay(network: &Network) -> bool {
    let driver = network.driver_state.as_ref().or(network.spec.driver.as_ref());
    driver.is_none_or(|driver| matches!(driver.name.as_str(), "" | "overlay"))
}

/// The network for the driver. `attachment` holds this node's load balancer there.
pub fn overlay(network: &Network, attachment: Option<&NetworkAttachment>) -> Result<OverlayNetwork, Unusable> {
    let options = network.driver_state.as_ref().map(|state| &state.options);
    let option = |name: &str| options.and_then(|options| options.get(name));
    let first_id = |list: &String| list.split(',').next().and_then(|id| id.trim().parse().ok());
    let vni = option(VXLAN_OPTION).and_then(first_id).ok_or(Unusable::NoVxlanId)?;
    let mut subnets = Vec::new();
    for config in network.ipam.iter().flat_map(|ipam| &ipam.configs) {
        let subnet: Cidr = config.subnet.parse().map_err(|_| Unusable::Address(config.subnet.clone()))?;
        let gateway = config.gateway.split('/').next().unwrap_or_default();
        let gateway = gateway.parse().map_err(|_| Unusable::Address(config.gateway.clone()))?;
        subnets.push(Subnet { subnet, gateway });
    }
    if subnets.is_empty() {
        return Err(Unusable::NoSubnet);
    }
    Ok(OverlayNetwork {
        id: network.id.to_string(),
        vni,
        subnets,
        mtu: option(MTU_OPTION).and_then(|text| text.parse().ok()).unwrap_or(OVERLAY_MTU),
        load_balancer: attachment.map(|one| cidrs(&one.addresses)).transpose()?.unwrap_or_default(),
        ingress: network.spec.ingress,
    })
}

/// Addresses with prefix lengths, as the allocator writes them.
pub fn cidrs(texts: &[String]) -> Result<Vec<Cidr>, Unusable> {
    texts.iter().map(|text| text.parse().map_err(|_| Unusable::Address(text.clone()))).collect()
}

/// The address part of `10.0.1.2/24`.
pub fn host(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

/// The other nodes' endpoints. Each has the link-layer address that its first address gives it.
pub fn peers(view: &NetworkView) -> BTreeSet<Peer> {
    let peer =
        |addresses: &Vec<IpAddr>, vtep: IpAddr| Some(Peer { addresses: addresses.clone(), mac: mac(addresses)?, vtep });
    view.remote.iter().filter_map(|remote| peer(&remote.addresses, remote.data_path)).collect()
}

/// Docker's rule: made of the IPv4 address; networks without one have none of our endpoints.
pub fn mac(addresses: &[IpAddr]) -> Option<Mac> {
    addresses.iter().find_map(|address| match address {
        IpAddr::V4(ip) => Some(Mac::of_ip(*ip)),
        IpAddr::V6(_) => None,
    })
}

/// The services for the load balancer.
pub fn services(view: &NetworkView) -> Vec<VirtualService> {
    let service = |one: &swarm_gossip::view::ServiceView| VirtualService {
        name: one.name.clone(),
        virtual_ips: one.virtual_ips.clone(),
        backends: one.backends.clone(),
        ports: one.ports.iter().filter_map(service_port).collect(),
    };
    view.services.iter().map(service).collect()
}

fn service_port(port: &PortConfig) -> Option<ServicePort> {
    (port.published_port != 0).then_some(ServicePort {
        protocol: port.protocol,
        published: port.published_port,
        target: port.target_port,
    })
}

/// The ports that the node hands over to the ingress network.
pub fn published(view: &NetworkView) -> BTreeSet<(Protocol, u16)> {
    let ports = view.services.iter().flat_map(|service| &service.ports);
    ports.filter(|port| port.published_port != 0).map(|port| (port.protocol, port.published_port)).collect()
}

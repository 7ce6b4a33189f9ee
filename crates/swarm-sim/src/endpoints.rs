//! What a host says of its endpoints: as a node's `networking` makes it of its containers, of what the managers said of
//! their tasks, and of the node's own addresses.

use std::collections::BTreeMap;
use std::net::IpAddr;

use swarm_types::*;

use crate::data_plane::Local;
use crate::host::Host;
use crate::runtime::{Plugged, container_id};

/// An endpoint: its network, and its id there.
pub(crate) type Key = (NetworkId, String);

/// All of a host's endpoints.
pub(crate) fn of(host: &Host) -> BTreeMap<Key, EndpointRecord> {
    let balancers = host.facts.attachments.iter().map(|(network, attachment)| EndpointRecord {
        network: *network,
        id: format!("lb-{}", host.node),
        kind: EndpointKind::LoadBalancer,
        name: String::new(),
        addresses: addresses(&attachment.addresses),
        aliases: Vec::new(),
        service: None,
        serving: false,
    });
    let containers = host.runtime.plugged().flat_map(|container| {
        let overlays = container.networks.iter().filter(|network| network.driver_name() == "overlay");
        let places = overlays.filter_map(|network| {
            let attachment = container.task.networks.iter().find(|place| place.network_id == network.id)?;
            Some(endpoint(&container, network, attachment))
        });
        places.collect::<Vec<_>>()
    });
    balancers.chain(containers).map(|record| ((record.network, record.id.clone()), record)).collect()
}

/// The containers that run, with their places on overlay networks.
pub(crate) fn places(host: &Host) -> Vec<Local> {
    let place = |container: &Plugged<'_>, attachment: &NetworkAttachment| {
        let network = container.networks.iter().find(|network| network.id == attachment.network_id)?;
        (network.driver_name() == "overlay").then(|| (network.id, attachment.addresses.clone()))
    };
    let local = |container: Plugged<'_>| Local {
        container: container_of(container.task),
        places: container.task.networks.iter().filter_map(|one| place(&container, one)).collect(),
    };
    host.runtime.plugged().map(local).collect()
}

/// A container's id: its task's, or that of the one that was attached by hand.
fn container_of(task: &Task) -> String {
    task.spec.attachment.as_ref().map_or_else(|| container_id(task.id), |attached| attached.container_id.clone())
}

fn endpoint(container: &Plugged<'_>, network: &Network, attachment: &NetworkAttachment) -> EndpointRecord {
    let task = container.task;
    let by_hand = task.spec.attachment.as_ref();
    EndpointRecord {
        network: network.id,
        id: container_of(task),
        kind: if by_hand.is_some() { EndpointKind::Container } else { EndpointKind::Task },
        name: task.name(),
        addresses: addresses(&attachment.addresses),
        aliases: Vec::new(),
        service: binding(task, network, attachment),
        serving: container.serving,
    }
}

fn binding(task: &Task, network: &Network, attachment: &NetworkAttachment) -> Option<ServiceBinding> {
    let endpoint = task.endpoint.as_deref();
    let by_address = endpoint.is_none_or(|endpoint| endpoint.spec.mode == EndpointMode::Vip);
    let vips = endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
    let ports = endpoint.iter().flat_map(|endpoint| &endpoint.ports);
    let meshed = |port: &&PortConfig| network.spec.ingress && port.publish_mode == PublishMode::Ingress;
    Some(ServiceBinding {
        id: task.service_id?,
        name: task.service_annotations.name.clone(),
        virtual_ips: vips
            .filter(|vip| by_address && vip.network_id == network.id)
            .filter_map(|vip| address(&vip.address))
            .collect(),
        aliases: attachment.aliases.clone(),
        ports: ports.filter(meshed).cloned().collect(),
    })
}

/// The address part of `10.0.1.2/24`.
pub(crate) fn address(text: &str) -> Option<IpAddr> {
    text.split('/').next()?.parse().ok()
}

/// The address parts.
pub(crate) fn addresses(texts: &[String]) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| address(text)).collect()
}

//! What must hold of addresses and ports: none has two holders, and whoever needs one has it.

use std::collections::BTreeMap;

use swarm_manager::store::{Event, Store};
use swarm_types::*;

/// Whether a change may have given addresses or ports.
pub(crate) fn concerns(event: &Event) -> bool {
    match event {
        Event::Updated { old: Object::Task(old), new: Object::Task(new) } => {
            old.networks != new.networks || old.node_id != new.node_id
        }
        Event::Updated { old: Object::Service(old), new: Object::Service(new) } => old.endpoint != new.endpoint,
        Event::Updated { old: Object::Node(old), new: Object::Node(new) } => old.attachments != new.attachments,
        Event::Updated { old: Object::Network(old), new: Object::Network(new) } => old.ipam != new.ipam,
        _ => false,
    }
}

/// Who has an address on a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holder {
    Gateway,
    Service(ServiceId),
    Task(TaskId),
    Node(NodeId),
}

/// Checks all of a store.
pub(crate) fn check(store: &Store) -> Result<(), String> {
    let mut holders: BTreeMap<(NetworkId, &str), Holder> = BTreeMap::new();
    for (network, address, holder) in held(store) {
        let address = address.split('/').next().unwrap_or(address);
        if let Some(other) = holders.insert((network, address), holder).filter(|other| *other != holder) {
            return Err(format!("{address} on network {network} is held by {holder:?} and {other:?}"));
        }
    }
    for task in store.tasks().iter().filter(|task| is_placed(task)) {
        for attachment in &task.networks {
            let network = store.networks().get(attachment.network_id);
            let expected = network.map_or(0, |network| families(network));
            if attachment.addresses.len() < expected {
                return Err(format!("task {} has {:?} on a network", task.id, attachment.addresses));
            }
        }
        if task.networks.len() < task.spec.networks.len() {
            return Err(format!("task {} is not on all of its networks", task.id));
        }
    }
    let mut ports: BTreeMap<(PortProtocol, u16), ServiceId> = BTreeMap::new();
    for service in store.services().iter() {
        for port in service.endpoint.iter().flat_map(|endpoint| &endpoint.ports) {
            let other = ports.insert((port.protocol, port.published_port), service.id);
            if let Some(other) = other.filter(|other| port.publish_mode == PublishMode::Ingress && *other != service.id)
            {
                return Err(format!("port {} is held by services {} and {other}", port.published_port, service.id));
            }
        }
    }
    Ok(())
}

/// All that is held on networks that exist.
fn held(store: &Store) -> impl Iterator<Item = (NetworkId, &str, Holder)> {
    let gateways = store.networks().iter().flat_map(|network| {
        let configs = network.ipam.iter().flat_map(|ipam| &ipam.configs);
        configs.map(|config| (network.id, config.gateway.as_str(), Holder::Gateway))
    });
    let services = store.services().iter().flat_map(|service| {
        let vips = service.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
        vips.map(|vip| (vip.network_id, vip.address.as_str(), Holder::Service(service.id)))
    });
    let tasks = store.tasks().iter().filter(|task| !task.status.state.is_terminal()).flat_map(|task| {
        task.networks.iter().flat_map(|attachment| {
            attachment.addresses.iter().map(|a| (attachment.network_id, a.as_str(), Holder::Task(task.id)))
        })
    });
    let nodes = store.nodes().iter().flat_map(|node| {
        node.attachments.values().flat_map(|attachment| {
            attachment.addresses.iter().map(|a| (attachment.network_id, a.as_str(), Holder::Node(node.id)))
        })
    });
    // Tasks of before serve under the address that they were made with until they end.
    let former = store.tasks().iter().filter(|task| is_placed(task)).flat_map(|task| {
        let vips = task.endpoint.iter().flat_map(|endpoint| &endpoint.virtual_ips);
        let service = task.service_id.into_iter();
        service.flat_map(move |id| vips.clone().map(move |v| (v.network_id, v.address.as_str(), Holder::Service(id))))
    });
    let all = gateways.chain(services).chain(tasks).chain(nodes).chain(former);
    all.filter(|(network, ..)| store.networks().get(*network).is_some())
}

fn is_placed(task: &Task) -> bool {
    task.status.state >= TaskState::Assigned && !task.status.state.is_terminal()
}

/// How many addresses an attachment to the network has.
fn families(network: &Network) -> usize {
    let configs = || network.ipam.iter().flat_map(|ipam| &ipam.configs);
    let has = |ipv6: bool| configs().any(|config| config.subnet.contains(':') == ipv6);
    usize::from(has(false)) + usize::from(has(true))
}

/// Whether each node has the addresses that its tasks and the routing mesh need.
pub(crate) fn nodes_attached(store: &Store) -> Result<(), String> {
    for node in store.nodes().iter() {
        let tasks = store.node_tasks(node.id).filter(|task| is_placed(task));
        let ingress = store.networks().iter().filter(|network| network.spec.ingress).map(|network| network.id);
        let of_tasks = tasks.flat_map(|task| task.networks.iter().map(|attachment| attachment.network_id));
        for id in of_tasks.chain(ingress) {
            let overlay = store.networks().get(id).is_some_and(|network| network.driver_name() == "overlay");
            if overlay && !node.attachments.contains_key(&id) {
                return Err(format!("node {} has no address on network {id}", node.id));
            }
        }
    }
    Ok(())
}

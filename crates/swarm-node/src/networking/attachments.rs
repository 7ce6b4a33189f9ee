//! A task's networks as the data plane wants them. Pure.

use std::sync::Arc;

use swarm_types::{EndpointMode, Network, PublishMode, ServiceBinding, Task};

use super::SwarmAttachment;
use super::plan::{cidrs, host, is_overlay};

/// A task's networks on its node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TaskNetworks {
    /// Overlays, in the order of the container's interfaces.
    pub swarm: Vec<SwarmAttachment>,
    /// A network of the node itself that the service asked for: `host` or `bridge`.
    pub local: Option<String>,
}

/// What the task is attached to. `networks` are those that the managers sent with it.
pub fn task_networks(task: &Task, networks: &[Arc<Network>]) -> Result<TaskNetworks, String> {
    let mut found = TaskNetworks::default();
    for attachment in &task.networks {
        let network = networks.iter().find(|network| network.id == attachment.network_id);
        let network = network.ok_or_else(|| format!("network {} not found", attachment.network_id))?;
        let name = network.spec.annotations.name.clone();
        if !is_overlay(network) {
            found.local = Some(name);
            continue;
        }
        let addresses = cidrs(&attachment.addresses).map_err(|error| format!("network {name}: {error}"))?;
        found.swarm.push(SwarmAttachment {
            network: network.id,
            name,
            addresses,
            aliases: Vec::new(),
            service: binding(task, network, &attachment.aliases),
            internal: network.spec.internal,
            ingress: network.spec.ingress,
        });
    }
    Ok(found)
}

/// The task's service as it is known on one of its networks; `None` for a container that was attached by hand.
fn binding(task: &Task, network: &Network, aliases: &[String]) -> Option<ServiceBinding> {
    let id = task.service_id?;
    let endpoint = task.endpoint.as_deref();
    let by_address = endpoint.is_none_or(|endpoint| endpoint.spec.mode == EndpointMode::Vip);
    let virtual_ips = endpoint
        .into_iter()
        .flat_map(|endpoint| &endpoint.virtual_ips)
        .filter(|vip| by_address && vip.network_id == network.id)
        .filter_map(|vip| host(&vip.address))
        .collect();
    let ports = endpoint
        .into_iter()
        .flat_map(|endpoint| &endpoint.ports)
        .filter(|port| network.spec.ingress && port.publish_mode == PublishMode::Ingress)
        .cloned()
        .collect();
    Some(ServiceBinding {
        id,
        name: task.service_annotations.name.clone(),
        virtual_ips,
        aliases: aliases.to_vec(),
        ports,
    })
}

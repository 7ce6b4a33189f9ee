//! Gives services, tasks and nodes what is scarce in the whole swarm: published ports, addresses, subnets, VXLAN ids.
//!
//! A task leaves NEW for PENDING here, once its service's endpoint and its own addresses are set aside. What is in use
//! follows from the store alone: the allocator keeps an index of it, rebuilt by `start`, so nothing can leak. What is
//! in proposals under way is tentative, and settled when the next actions are asked for.
//!
//! Each node has an address of its own on the ingress network and on every network that a task of it is on ([`nodes`]).
//! Networks have IPv4 addresses, and IPv6 ones beside them where their spec asks for them: then tasks, nodes and services
//! have one of each.

mod ipam;
mod networks;
mod nodes;
mod ports;

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use swarm_types::*;

use crate::component::{Component, MAX_ACTIONS};
use crate::store::{Event, Store, StoreAction};
use ipam::Owner;
use networks::{NetworkError, Networks, Proposed, ingress, resolve};
use ports::{PortError, Ports};

/// The allocator. See the module.
#[derive(Debug, Default)]
pub struct Allocator {
    ports: Ports,
    networks: Networks,
    /// To be looked at.
    new_networks: BTreeSet<NetworkId>,
    new_services: BTreeSet<ServiceId>,
    new_tasks: BTreeSet<TaskId>,
    new_nodes: BTreeSet<NodeId>,
    /// What could not be had: looked at again when something changes that may help.
    stuck_networks: BTreeSet<NetworkId>,
    stuck_services: BTreeSet<ServiceId>,
    stuck_tasks: BTreeSet<TaskId>,
    stuck_nodes: BTreeSet<NodeId>,
    /// What the last proposal was about: looked at again, in case it was dropped on the way.
    in_flight: Vec<ObjectId>,
}

/// Addresses that were set aside for one object.
type Fresh = Vec<(NetworkId, Vec<String>)>;

/// Why something has to wait.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum Wait {
    #[error(transparent)]
    Port(#[from] PortError),
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// Its service has no endpoint yet, and that is all.
    #[error("waiting for the service's endpoint")]
    Endpoint,
}

impl Allocator {
    /// An allocator that leads nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn claim_service(&mut self, service: &Service) {
        if let Some(endpoint) = &service.endpoint {
            self.ports.claim(service.id, endpoint);
            for vip in &endpoint.virtual_ips {
                self.networks.claim(vip.network_id, &vip.address, Owner::Service(service.id));
            }
        }
    }

    fn release_service(&mut self, service: &Service, store: &Store) {
        if let Some(endpoint) = &service.endpoint {
            self.ports.release(service.id, endpoint);
            self.release_virtual_ips(service.id, endpoint, store);
        }
    }

    /// Frees virtual addresses, but for those that the service still has, or that its tasks stand behind: one of before an
    /// update, or of a service that was removed, serves under the address that it was made with until it ends.
    fn release_virtual_ips(&mut self, service: ServiceId, endpoint: &Endpoint, store: &Store) {
        let current = || store.services().get(service).and_then(|service| service.endpoint.as_ref());
        let of_tasks = || store.service_tasks(service).filter(|task| !task.status.state.is_terminal());
        for vip in &endpoint.virtual_ips {
            let mut endpoints = current().into_iter().chain(of_tasks().filter_map(|task| task.endpoint.as_deref()));
            if !endpoints.any(|endpoint| endpoint.virtual_ips.contains(vip)) {
                self.networks.release(vip.network_id, &vip.address, Owner::Service(service));
            }
        }
    }

    fn claim_task(&mut self, task: &Task) {
        if task.status.state.is_terminal() {
            return;
        }
        for attachment in &task.networks {
            for address in &attachment.addresses {
                self.networks.claim(attachment.network_id, address, Owner::Task(task.id));
            }
        }
        if let (Some(service), Some(endpoint)) = (task.service_id, &task.endpoint) {
            for vip in &endpoint.virtual_ips {
                self.networks.claim(vip.network_id, &vip.address, Owner::Service(service));
            }
        }
    }

    fn release_task(&mut self, task: &Task, store: &Store) {
        for attachment in &task.networks {
            for address in &attachment.addresses {
                self.networks.release(attachment.network_id, address, Owner::Task(task.id));
            }
        }
        if let (Some(service), Some(endpoint)) = (task.service_id, &task.endpoint) {
            self.release_virtual_ips(service, endpoint, store);
        }
    }

    /// Something was freed or added: what had to wait may go on.
    fn unstick(&mut self) {
        self.new_networks.append(&mut self.stuck_networks);
        self.new_services.append(&mut self.stuck_services);
        self.new_tasks.append(&mut self.stuck_tasks);
        self.new_nodes.append(&mut self.stuck_nodes);
    }

    fn network_actions(&mut self, store: &Store, actions: &mut Vec<StoreAction>) {
        let mut proposed = Proposed::default();
        for id in std::mem::take(&mut self.new_networks) {
            let Some(network) = store.networks().get(id).filter(|network| network.ipam.is_none()) else { continue };
            match self.networks.allocate_network(network, store, &mut proposed) {
                Ok(allocated) => {
                    actions.push(StoreAction::Update(Object::Network(Arc::new(allocated))));
                    self.in_flight.push(ObjectId::Network(id));
                }
                Err(_) => drop(self.stuck_networks.insert(id)),
            }
        }
    }

    fn service_actions(&mut self, store: &Store, actions: &mut Vec<StoreAction>) {
        // Ports that one proposal gives to two services would clash: the index must know the first before the second.
        let mut ports_given = false;
        for id in std::mem::take(&mut self.new_services) {
            let Some(service) = store.services().get(id).filter(|service| !has_endpoint(service, store)) else {
                continue;
            };
            let wants_ports = service.spec.endpoint.as_ref().is_some_and(|endpoint| !endpoint.ports.is_empty());
            if (wants_ports && ports_given) || actions.len() >= MAX_ACTIONS {
                self.new_services.insert(id);
                continue;
            }
            match self.allocate_endpoint(service, store) {
                Ok((endpoint, _)) => {
                    ports_given |= wants_ports;
                    actions.push(StoreAction::SetServiceEndpoint { id, endpoint });
                    self.in_flight.push(ObjectId::Service(id));
                }
                Err(_) => drop(self.stuck_services.insert(id)),
            }
        }
    }

    /// The endpoint that a service's spec asks for, and the addresses of it that were set aside anew.
    fn allocate_endpoint(&mut self, service: &Service, store: &Store) -> Result<(Endpoint, Fresh), Wait> {
        let spec = service.spec.endpoint.clone().unwrap_or_default();
        let before = service.endpoint.as_ref();
        let old_ports = before.map_or(&[][..], |endpoint| &endpoint.ports);
        let ports = self.ports.allocate(service.id, &spec.ports, old_ports)?;
        let mut fresh = Fresh::new();
        if spec.mode != EndpointMode::Vip {
            return Ok((Endpoint { spec, ports, virtual_ips: Vec::new() }, fresh));
        }
        let networks = service_networks(service, store)?;
        // What there is stays as it is, and in its place.
        let kept = before.into_iter().flat_map(|endpoint| &endpoint.virtual_ips);
        let mut virtual_ips: Vec<VirtualIp> =
            kept.filter(|vip| networks.iter().any(|network| network.id == vip.network_id)).cloned().collect();
        for network in networks {
            if virtual_ips.iter().any(|vip| vip.network_id == network.id) {
                continue;
            }
            match self.networks.allocate(network, &[]) {
                Ok(addresses) => {
                    let vip = |address: &String| VirtualIp { network_id: network.id, address: address.clone() };
                    virtual_ips.extend(addresses.iter().map(vip));
                    fresh.push((network.id, addresses));
                }
                Err(error) => {
                    self.roll_back(&fresh);
                    return Err(error.into());
                }
            }
        }
        Ok((Endpoint { spec, ports, virtual_ips }, fresh))
    }

    fn roll_back(&mut self, fresh: &Fresh) {
        for (network, addresses) in fresh {
            self.networks.roll_back(*network, addresses);
        }
    }

    fn task_actions(&mut self, now: Timestamp, store: &Store, actions: &mut Vec<StoreAction>) {
        while actions.len() < MAX_ACTIONS {
            let Some(id) = self.new_tasks.pop_first() else { break };
            let Some(task) = store.tasks().get(id).filter(|task| awaits_allocation(task)) else { continue };
            match self.allocate_task(now, task, store) {
                Ok(allocated) => {
                    actions.push(StoreAction::Update(Object::Task(Arc::new(allocated))));
                    self.in_flight.push(ObjectId::Task(id));
                }
                Err(Wait::Endpoint) => drop(self.stuck_tasks.insert(id)),
                Err(wait) => {
                    self.stuck_tasks.insert(id);
                    let err = explain(&wait, store);
                    if task.status.err != err {
                        let status = TaskStatus { timestamp: now, err, ..task.status.clone() };
                        actions.push(StoreAction::SetTaskStatus { id, status });
                    }
                }
            }
        }
    }

    fn allocate_task(&mut self, now: Timestamp, task: &Arc<Task>, store: &Store) -> Result<Task, Wait> {
        let mut allocated = Task::clone(task);
        let mut networks: Vec<(&Network, &[String], &[String])> = Vec::new();
        for config in &task.spec.networks {
            let network = resolve(store, &config.target)?;
            if !networks.iter().any(|(known, ..)| known.id == network.id) {
                networks.push((network, &config.aliases, &config.addresses));
            }
        }
        if let Some(service) = task.service_id.and_then(|service| store.services().get(service)) {
            if !has_endpoint(service, store) {
                // Whatever holds the service up is the task's reason, too.
                if self.stuck_services.contains(&service.id) {
                    let (_, fresh) = self.allocate_endpoint(service, store)?;
                    self.roll_back(&fresh);
                }
                return Err(Wait::Endpoint);
            }
            allocated.endpoint = service.endpoint.clone().map(Arc::new);
            if uses_mesh(service) {
                networks.insert(0, (ingress(store).ok_or(NetworkError::NoIngress)?, &[], &[]));
            }
        }
        let mut fresh = Fresh::new();
        allocated.networks.clear();
        for (network, aliases, asked) in networks {
            match self.networks.allocate(network, asked) {
                Ok(addresses) => {
                    fresh.push((network.id, addresses.clone()));
                    let (network_id, aliases) = (network.id, aliases.to_vec());
                    allocated.networks.push(NetworkAttachment { network_id, addresses, aliases });
                }
                Err(error) => {
                    self.roll_back(&fresh);
                    return Err(error.into());
                }
            }
        }
        // An attachment's container is on its node already: there is nothing to schedule.
        let (state, message) = match task.spec.attachment {
            Some(_) => (TaskState::Assigned, "attached to networks"),
            None => (TaskState::Pending, "pending task scheduling"),
        };
        allocated.status = TaskStatus {
            state,
            message: message.to_owned(),
            timestamp: now,
            err: String::new(),
            ..task.status.clone()
        };
        Ok(allocated)
    }
}

impl Component for Allocator {
    fn name(&self) -> &'static str {
        "allocator"
    }

    fn start(&mut self, _now: Timestamp, store: &Store) {
        *self = Self::default();
        for network in store.networks().iter() {
            self.networks.claim_network(network);
            self.new_networks.insert(network.id);
        }
        for service in store.services().iter() {
            self.claim_service(service);
            self.new_services.insert(service.id);
        }
        for task in store.tasks().iter() {
            self.claim_task(task);
            if awaits_allocation(task) {
                self.new_tasks.insert(task.id);
            }
        }
        for node in store.nodes().iter() {
            self.claim_node(node);
            self.new_nodes.insert(node.id);
        }
        self.networks.move_on(store.version().0);
    }

    fn handle(&mut self, _now: Timestamp, event: &Event, store: &Store) {
        match event {
            Event::Created(Object::Network(network)) => {
                self.networks.claim_network(network);
                self.new_networks.insert(network.id);
                self.unstick();
                self.new_nodes.extend(store.nodes().iter().map(|node| node.id));
            }
            Event::Updated { new: Object::Network(network), .. } => {
                self.networks.claim_network(network);
                self.unstick();
                self.new_networks.insert(network.id);
                self.new_nodes.extend(store.nodes().iter().map(|node| node.id));
            }
            Event::Removed(Object::Network(network)) => {
                self.networks.release_network(network.id);
                self.unstick();
                self.new_nodes.extend(store.nodes().iter().map(|node| node.id));
            }
            Event::Created(Object::Node(node)) => {
                self.claim_node(node);
                self.new_nodes.insert(node.id);
            }
            Event::Updated { old: Object::Node(old), new: Object::Node(new) } if old.attachments != new.attachments => {
                self.release_node(old);
                self.claim_node(new);
                self.new_nodes.insert(new.id);
                self.unstick();
            }
            Event::Removed(Object::Node(node)) => {
                self.release_node(node);
                self.new_nodes.remove(&node.id);
                self.stuck_nodes.remove(&node.id);
                self.unstick();
            }
            Event::Created(Object::Service(service)) => {
                self.claim_service(service);
                self.new_services.insert(service.id);
            }
            Event::Updated { old: Object::Service(old), new: Object::Service(new) } => {
                if old.endpoint != new.endpoint {
                    self.release_service(old, store);
                    self.claim_service(new);
                    self.unstick();
                }
                self.stuck_services.remove(&new.id);
                self.new_services.insert(new.id);
            }
            Event::Removed(Object::Service(service)) => {
                self.release_service(service, store);
                self.unstick();
            }
            Event::Created(Object::Task(task)) => {
                self.claim_task(task);
                self.new_nodes.extend(task.node_id.filter(|_| !task.networks.is_empty()));
                if awaits_allocation(task) {
                    self.new_tasks.insert(task.id);
                }
            }
            Event::Updated { old: Object::Task(old), new: Object::Task(new) } => self.task_updated(old, new, store),
            Event::Removed(Object::Task(task)) => {
                self.new_tasks.remove(&task.id);
                self.stuck_tasks.remove(&task.id);
                self.release_task(task, store);
                if !task.networks.is_empty() {
                    self.new_nodes.extend(task.node_id);
                    self.unstick();
                }
            }
            _ => {}
        }
    }

    fn tick(&mut self, _now: Timestamp, _store: &Store) {}

    fn poll_actions(&mut self, now: Timestamp, store: &Store) -> Vec<StoreAction> {
        self.networks.settle();
        for id in std::mem::take(&mut self.in_flight) {
            match id {
                ObjectId::Network(id) => drop(self.new_networks.insert(id)),
                ObjectId::Service(id) => drop(self.new_services.insert(id)),
                ObjectId::Task(id) => drop(self.new_tasks.insert(id)),
                ObjectId::Node(id) => drop(self.new_nodes.insert(id)),
                _ => {}
            }
        }
        let mut actions = Vec::new();
        self.network_actions(store, &mut actions);
        self.service_actions(store, &mut actions);
        self.task_actions(now, store, &mut actions);
        self.node_actions(store, &mut actions);
        actions
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}

impl Allocator {
    fn task_updated(&mut self, old: &Task, new: &Task, store: &Store) {
        let ended = new.status.state.is_terminal() && !old.status.state.is_terminal();
        if !new.networks.is_empty() && (old.node_id != new.node_id || old.networks != new.networks || ended) {
            self.new_nodes.extend(new.node_id);
        }
        if old.networks != new.networks || old.endpoint != new.endpoint || ended {
            self.release_task(old, store);
            self.claim_task(new);
            if !old.networks.is_empty() {
                self.unstick();
            }
        }
        if awaits_allocation(new) {
            // Its own waiting message is no reason to look again.
            if old.status.err == new.status.err {
                self.stuck_tasks.remove(&new.id);
                self.new_tasks.insert(new.id);
            }
        } else {
            self.new_tasks.remove(&new.id);
            self.stuck_tasks.remove(&new.id);
        }
    }
}

/// What a task's status says while it waits.
fn explain(wait: &Wait, store: &Store) -> String {
    match wait {
        Wait::Port(PortError::Taken { port, holder }) => {
            let name = store.services().get(*holder).map_or("", |service| &service.spec.annotations.name);
            format!("port '{port}' is already in use by service '{name}' ({holder}) as an ingress port")
        }
        other => other.to_string(),
    }
}

fn awaits_allocation(task: &Task) -> bool {
    task.status.state == TaskState::New && task.desired_state <= DesiredState::Complete
}

/// Whether the service's endpoint is what its spec asks for.
fn has_endpoint(service: &Service, store: &Store) -> bool {
    let Some(endpoint) = &service.endpoint else { return false };
    if endpoint.spec != service.spec.endpoint.clone().unwrap_or_default() {
        return false;
    }
    let wanted: BTreeSet<NetworkId> = match (endpoint.spec.mode, service_networks(service, store)) {
        (EndpointMode::DnsRoundRobin, _) => BTreeSet::new(),
        (EndpointMode::Vip, Ok(networks)) => networks.iter().filter(|n| gives_addresses(n)).map(|n| n.id).collect(),
        (EndpointMode::Vip, Err(_)) => return false,
    };
    endpoint.virtual_ips.iter().map(|vip| vip.network_id).collect::<BTreeSet<_>>() == wanted
}

fn gives_addresses(network: &Network) -> bool {
    network.ipam.as_ref().is_none_or(|ipam| !ipam.configs.is_empty())
}

fn uses_mesh(service: &Service) -> bool {
    let endpoint = service.spec.endpoint.as_ref();
    endpoint.is_some_and(|endpoint| {
        endpoint.mode == EndpointMode::Vip && endpoint.ports.iter().any(|p| p.publish_mode == PublishMode::Ingress)
    })
}

/// The networks that a service has a virtual address on.
fn service_networks<'a>(service: &Service, store: &'a Store) -> Result<Vec<&'a Network>, NetworkError> {
    let mut networks: Vec<&Network> = match uses_mesh(service) {
        true => vec![ingress(store).ok_or(NetworkError::NoIngress)?],
        false => Vec::new(),
    };
    for config in &service.spec.task.networks {
        let network = resolve(store, &config.target)?;
        if !networks.iter().any(|known| known.id == network.id) {
            networks.push(network);
        }
    }
    Ok(networks)
}

//! The replicated state: tables of objects that change only by applying [`Proposal`]s from the raft log.
//!
//! Applying is deterministic: the same proposals in the same order give equal stores on all managers. Readers borrow
//! the store (`&Store`); objects are shared by `Arc`, so keeping one costs nothing. Watching is the list of [`Event`]s
//! that each application returns. What this leaves out: the log itself, disk and network.

mod action;
mod apply;
mod table;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use swarm_types::*;

pub use action::{Event, Proposal, ProposalId, Refused, StoreAction};
pub use apply::Applied;
pub use table::{Stored, Table};

/// All objects of the swarm at one index of the raft log.
#[derive(Debug, Clone, Default)]
pub struct Store {
    version: Version,
    clusters: Table<Cluster>,
    nodes: Table<Node>,
    services: Table<Service>,
    tasks: Table<Task>,
    networks: Table<Network>,
    secrets: Table<Secret>,
    configs: Table<Config>,
    tasks_of_service: BTreeMap<ServiceId, BTreeSet<TaskId>>,
    tasks_on_node: BTreeMap<NodeId, BTreeSet<TaskId>>,
}

/// A store as plain data: what a raft snapshot holds and a new manager receives.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StoreSnapshot {
    /// The index that it stands at.
    pub version: Version,
    /// All objects, by kind and id.
    pub objects: Vec<Object>,
}

impl Store {
    /// The index of the last applied proposal.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The swarm itself, once it is initialised.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.clusters.iter().next()
    }

    /// The nodes.
    pub fn nodes(&self) -> &Table<Node> {
        &self.nodes
    }

    /// The services.
    pub fn services(&self) -> &Table<Service> {
        &self.services
    }

    /// The tasks.
    pub fn tasks(&self) -> &Table<Task> {
        &self.tasks
    }

    /// The networks.
    pub fn networks(&self) -> &Table<Network> {
        &self.networks
    }

    /// The secrets.
    pub fn secrets(&self) -> &Table<Secret> {
        &self.secrets
    }

    /// The configs.
    pub fn configs(&self) -> &Table<Config> {
        &self.configs
    }

    /// A service's tasks in the order of their ids, history included.
    pub fn service_tasks(&self, service: ServiceId) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks_of_service.get(&service).into_iter().flatten().filter_map(|id| self.tasks.get(*id))
    }

    /// The tasks that were given to a node, history included.
    pub fn node_tasks(&self, node: NodeId) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks_on_node.get(&node).into_iter().flatten().filter_map(|id| self.tasks.get(*id))
    }

    /// The store as plain data.
    pub fn snapshot(&self) -> StoreSnapshot {
        let mut objects = Vec::with_capacity(self.tasks.len() + self.nodes.len() + self.services.len() + 8);
        objects.extend(self.clusters.iter().cloned().map(Object::Cluster));
        objects.extend(self.nodes.iter().cloned().map(Object::Node));
        objects.extend(self.services.iter().cloned().map(Object::Service));
        objects.extend(self.tasks.iter().cloned().map(Object::Task));
        objects.extend(self.networks.iter().cloned().map(Object::Network));
        objects.extend(self.secrets.iter().cloned().map(Object::Secret));
        objects.extend(self.configs.iter().cloned().map(Object::Config));
        StoreSnapshot { version: self.version, objects }
    }

    /// The store that a snapshot describes.
    pub fn restore(snapshot: StoreSnapshot) -> Self {
        let mut store = Self { version: snapshot.version, ..Self::default() };
        for object in snapshot.objects {
            store.put(object);
        }
        store
    }

    fn index_task(&mut self, old: Option<&Task>, new: Option<&Task>) {
        if let Some(task) = old {
            if let Some(service) = task.service_id {
                remove_from(&mut self.tasks_of_service, service, task.id);
            }
            if let Some(node) = task.node_id {
                remove_from(&mut self.tasks_on_node, node, task.id);
            }
        }
        if let Some(task) = new {
            if let Some(service) = task.service_id {
                self.tasks_of_service.entry(service).or_default().insert(task.id);
            }
            if let Some(node) = task.node_id {
                self.tasks_on_node.entry(node).or_default().insert(task.id);
            }
        }
    }

    /// Puts an object in as it is, metadata included, and returns the one that it replaces.
    fn put(&mut self, object: Object) -> Option<Object> {
        match object {
            Object::Cluster(o) => self.clusters.put(o).map(Object::Cluster),
            Object::Node(o) => self.nodes.put(o).map(Object::Node),
            Object::Service(o) => self.services.put(o).map(Object::Service),
            Object::Task(o) => {
                let old = self.tasks.put(o.clone());
                self.index_task(old.as_deref(), Some(&o));
                old.map(Object::Task)
            }
            Object::Network(o) => self.networks.put(o).map(Object::Network),
            Object::Secret(o) => self.secrets.put(o).map(Object::Secret),
            Object::Config(o) => self.configs.put(o).map(Object::Config),
        }
    }
}

fn remove_from<K: Ord>(index: &mut BTreeMap<K, BTreeSet<TaskId>>, key: K, task: TaskId) {
    if let Some(tasks) = index.get_mut(&key) {
        tasks.remove(&task);
        if tasks.is_empty() {
            index.remove(&key);
        }
    }
}

//! The nodes as the scheduler sees them: what each offers, what its tasks use, how many of which service it runs.
//!
//! Kept up to date task by task; nothing here is recomputed from the store once it is built.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use swarm_types::*;

use super::demand::{Demand, Usage};

/// Failures older than this no longer count against a node. Swarmkit's figures: five failures in five minutes.
const FAILURE_WINDOW: Duration = Duration::from_secs(300);
/// So many recent failures of a service's tasks put a node behind the others.
pub(super) const MAX_FAILURES: u32 = 5;
/// Of each service so many failures are remembered; more change nothing.
const REMEMBERED_FAILURES: usize = 32;

/// All nodes, in no particular order, found by id.
#[derive(Debug, Default)]
pub struct NodeSet {
    pub(super) nodes: Vec<NodeInfo>,
    index: BTreeMap<NodeId, usize>,
    epochs: u64,
}

/// One node.
#[derive(Debug)]
pub(super) struct NodeInfo {
    pub node: Arc<Node>,
    /// Tells this entry from a former one of the same node.
    pub epoch: u64,
    /// Raised when a decision that was made for the node might no longer hold.
    pub generation: u64,
    pub usage: Usage,
    /// Tasks that run or will run.
    pub active: u32,
    by_service: BTreeMap<ServiceId, u32>,
    failures: BTreeMap<(ServiceId, Version), Vec<Timestamp>>,
}

impl NodeInfo {
    pub fn tasks_of(&self, service: ServiceId) -> u32 {
        self.by_service.get(&service).copied().unwrap_or(0)
    }

    pub fn add(&mut self, service: ServiceId, active: bool, demand: &Demand, claimed: &[GenericResource]) {
        self.usage.add(demand, claimed);
        if active {
            self.active += 1;
            *self.by_service.entry(service).or_default() += 1;
        }
    }

    pub fn subtract(&mut self, service: ServiceId, active: bool, demand: &Demand, claimed: &[GenericResource]) {
        self.usage.subtract(demand, claimed);
        if active {
            self.active = self.active.saturating_sub(1);
            if let Some(count) = self.by_service.get_mut(&service) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.by_service.remove(&service);
                }
            }
        }
    }

    pub fn offered(&self) -> Option<&Resources> {
        self.node.description.as_ref().map(|description| &description.resources)
    }

    pub fn failed(&mut self, now: Timestamp, service: ServiceId, version: Version) {
        let times = self.failures.entry((service, version)).or_default();
        times.retain(|at| now.since(*at) < FAILURE_WINDOW);
        if times.len() < REMEMBERED_FAILURES {
            times.push(now);
        }
        self.failures.retain(|_, times| times.last().is_some_and(|at| now.since(*at) < FAILURE_WINDOW));
    }

    pub fn recent_failures(&self, now: Timestamp, service: ServiceId, version: Version) -> u32 {
        if self.failures.is_empty() {
            return 0;
        }
        let times = self.failures.get(&(service, version)).map_or(&[][..], Vec::as_slice);
        u32::try_from(times.iter().filter(|at| now.since(**at) < FAILURE_WINDOW).count()).unwrap_or(u32::MAX)
    }
}

impl NodeSet {
    /// No nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a node, or takes in how it is now. What its tasks use stays.
    pub fn put(&mut self, node: Arc<Node>) {
        if let Some(info) = self.index.get(&node.id).and_then(|place| self.nodes.get_mut(*place)) {
            info.node = node;
            info.generation += 1;
            return;
        }
        self.epochs += 1;
        self.index.insert(node.id, self.nodes.len());
        self.nodes.push(NodeInfo {
            node,
            epoch: self.epochs,
            generation: 0,
            usage: Usage::default(),
            active: 0,
            by_service: BTreeMap::new(),
            failures: BTreeMap::new(),
        });
    }

    /// Forgets a node and what its tasks used.
    pub fn remove(&mut self, node: NodeId) {
        if let Some(place) = self.index.remove(&node) {
            self.nodes.swap_remove(place);
            if let Some(moved) = self.nodes.get(place) {
                self.index.insert(moved.node.id, place);
            }
        }
    }

    /// How many nodes there are.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many tasks run or will run on a node.
    pub fn active_tasks(&self, node: NodeId) -> Option<u32> {
        self.get(node).map(|info| info.active)
    }

    pub(super) fn get(&self, node: NodeId) -> Option<&NodeInfo> {
        self.nodes.get(*self.index.get(&node)?)
    }

    pub(super) fn get_mut(&mut self, node: NodeId) -> Option<&mut NodeInfo> {
        self.nodes.get_mut(*self.index.get(&node)?)
    }
}

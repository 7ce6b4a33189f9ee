//! Rejects tasks whose node no longer suits them: its labels, role or resources changed.
//!
//! It sets what is observed (REJECTED), not what is desired: replacing the task elsewhere is then the
//! orchestrator's, as for any task that ended. Drained nodes are the orchestrator's too, and paused ones keep what
//! they have.

use std::collections::BTreeSet;

use swarm_types::*;

use super::slot::{is_active, matches_constraints};
use crate::component::{Component, MAX_ACTIONS};
use crate::store::{Event, Store, StoreAction};

/// Watches nodes and takes tasks off them.
#[derive(Debug, Default)]
pub struct ConstraintEnforcer {
    dirty: BTreeSet<NodeId>,
}

impl ConstraintEnforcer {
    /// An enforcer that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }
}

/// The tasks that a node can no longer have, in the order of their ids.
fn misplaced<'a>(store: &'a Store, node: &'a Node) -> Vec<&'a Task> {
    let mut left = node.description.as_ref().map(|description| description.resources.clone()).unwrap_or_default();
    let mut misplaced = Vec::new();
    for task in store.node_tasks(node.id) {
        if task.service_id.is_none()
            || !is_active(task)
            || task.status.state.is_terminal()
            || task.status.state < TaskState::Assigned
        {
            continue;
        }
        // The service's constraints, not the task's: a task stays when only they changed and its node met them.
        let service = task.service_id.and_then(|service| store.services().get(service));
        let spec = service.map_or(&task.spec, |service| &service.spec.task);
        let reserved = task.spec.resources.as_ref().and_then(|resources| resources.reservations.clone());
        let reserved = reserved.unwrap_or_default();
        let fits = reserved.memory_bytes <= left.memory_bytes.max(0)
            && reserved.nano_cpus <= left.nano_cpus.max(0)
            && has_generic(&left, &task.assigned_resources);
        if !fits || !matches_constraints(spec, node) {
            misplaced.push(task.as_ref());
            continue;
        }
        left.memory_bytes -= reserved.memory_bytes;
        left.nano_cpus -= reserved.nano_cpus;
    }
    misplaced
}

/// Whether a node still has each of the generic resources that were set aside.
fn has_generic(offered: &Resources, assigned: &[GenericResource]) -> bool {
    assigned.iter().all(|wanted| match wanted {
        GenericResource::Named { .. } => offered.generic.contains(wanted),
        GenericResource::Discrete { kind, value } => offered
            .generic
            .iter()
            .any(|offer| matches!(offer, GenericResource::Discrete { kind: k, value: v } if k == kind && v >= value)),
    })
}

impl Component for ConstraintEnforcer {
    fn name(&self) -> &'static str {
        "constraint enforcer"
    }

    fn start(&mut self, _now: Timestamp, store: &Store) {
        self.dirty = store.nodes().iter().map(|node| node.id).collect();
    }

    fn handle(&mut self, _now: Timestamp, event: &Event, _store: &Store) {
        if let Event::Updated { old: Object::Node(old), new: Object::Node(node) } = event
            && (old.spec != node.spec
                || old.role != node.role
                || old.description != node.description
                || old.status.addr != node.status.addr)
        {
            self.dirty.insert(node.id);
        }
    }

    fn tick(&mut self, _now: Timestamp, _store: &Store) {}

    fn poll_actions(&mut self, now: Timestamp, store: &Store) -> Vec<StoreAction> {
        let mut actions = Vec::new();
        while let Some(id) = self.dirty.first().copied() {
            // A node without a description has told nothing about itself yet: nothing can be held against it.
            let active = |node: &&std::sync::Arc<Node>| {
                node.spec.availability == NodeAvailability::Active && node.description.is_some()
            };
            if let Some(node) = store.nodes().get(id).filter(active) {
                for task in misplaced(store, node) {
                    if actions.len() == MAX_ACTIONS {
                        return actions;
                    }
                    let status = TaskStatus {
                        timestamp: now,
                        state: TaskState::Rejected,
                        message: "task rejected by constraint enforcer".to_owned(),
                        err: "assigned node no longer meets constraints".to_owned(),
                        ..task.status.clone()
                    };
                    actions.push(StoreAction::SetTaskStatus { id: task.id, status });
                }
            }
            self.dirty.remove(&id);
        }
        actions
    }

    fn poll_timeout(&self) -> Option<Timestamp> {
        None
    }
}

//! What a node should have, and the difference to what it was sent.
//!
//! A node gets its tasks from ASSIGNED on until they are removed, and beside them exactly the secrets and configs that
//! tasks which may still run refer to: a worker that is broken into gives away no more than that. Networks it gets while
//! a task on them has not ended (one that is told to stop still serves its last connections), and those that the node
//! itself is attached to, the ingress network among them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use swarm_types::*;

use crate::store::Store;

/// What was sent to a node in this session.
#[derive(Debug, Default)]
pub(super) struct Sent {
    sequence: u64,
    tasks: BTreeSet<TaskId>,
    /// With the version that was sent.
    dependencies: BTreeMap<ObjectId, Version>,
}

impl Sent {
    /// All that the node should have.
    pub fn complete(&mut self, node: NodeId, store: &Store) -> Assignments {
        let mut changes = Vec::new();
        self.dependencies.clear();
        for (id, (version, assignment)) in dependencies(node, store) {
            self.dependencies.insert(id, version);
            changes.push(AssignmentChange::Update(assignment));
        }
        self.tasks.clear();
        for task in store.node_tasks(node).filter(|task| is_assigned(task, node)) {
            self.tasks.insert(task.id);
            changes.push(update(task));
        }
        self.sequence += 1;
        Assignments { kind: AssignmentsKind::Complete, results_in: self.sequence, changes }
    }

    /// The change that these tasks and what they need ask for, if any.
    pub fn incremental(&mut self, node: NodeId, dirty: &BTreeSet<TaskId>, store: &Store) -> Option<Assignments> {
        let wanted = dependencies(node, store);
        let mut changes = Vec::new();
        for (id, (version, assignment)) in &wanted {
            if self.dependencies.insert(*id, *version) != Some(*version) {
                changes.push(AssignmentChange::Update(assignment.clone()));
            }
        }
        for id in dirty {
            match store.tasks().get(*id).filter(|task| is_assigned(task, node)) {
                Some(task) => {
                    self.tasks.insert(*id);
                    changes.push(update(task));
                }
                None if self.tasks.remove(id) => changes.push(AssignmentChange::Remove(ObjectId::Task(*id))),
                None => {}
            }
        }
        self.dependencies.retain(|id, _| {
            let keep = wanted.contains_key(id);
            if !keep {
                changes.push(AssignmentChange::Remove(*id));
            }
            keep
        });
        if changes.is_empty() {
            return None;
        }
        let kind = AssignmentsKind::Incremental { applies_to: self.sequence };
        self.sequence += 1;
        Some(Assignments { kind, results_in: self.sequence, changes })
    }
}

/// Whether the node is to know the task.
pub(super) fn is_assigned(task: &Task, node: NodeId) -> bool {
    task.node_id == Some(node) && task.status.state >= TaskState::Assigned
}

/// Whether a task changed in anything that its agent acts on. The agent's own reports must not come back to it.
pub(super) fn concerns_agent(old: &Task, new: &Task) -> bool {
    old.node_id != new.node_id
        || old.desired_state != new.desired_state
        || (old.status.state < TaskState::Assigned) != (new.status.state < TaskState::Assigned)
        // What a task needs is taken back when it ends.
        || old.status.state.is_terminal() != new.status.state.is_terminal()
        || old.spec != new.spec
        || old.networks != new.networks
        || old.endpoint != new.endpoint
}

fn update(task: &Task) -> AssignmentChange {
    AssignmentChange::Update(Assignment::Task(Box::new(task.clone())))
}

fn dependencies(node: NodeId, store: &Store) -> BTreeMap<ObjectId, (Version, Assignment)> {
    let mut found = BTreeMap::new();
    let not_ended = |task: &&Arc<Task>| is_assigned(task, node) && !task.status.state.is_terminal();
    let of_tasks = store.node_tasks(node).filter(not_ended).flat_map(|task| task.networks.iter().map(|a| a.network_id));
    let of_node = store.nodes().get(node).into_iter().flat_map(|node| node.attachments.keys().copied());
    for network in of_tasks.chain(of_node).filter_map(|id| store.networks().get(id)) {
        let entry = found.entry(ObjectId::Network(network.id));
        entry.or_insert_with(|| (network.meta.version, Assignment::Network(Box::new(Network::clone(network)))));
    }
    for task in store.node_tasks(node).filter(not_ended).filter(|task| task.desired_state <= DesiredState::Complete) {
        for secret in task.spec.container.secrets.iter().filter_map(|r| store.secrets().get(r.secret_id)) {
            let entry = found.entry(ObjectId::Secret(secret.id));
            entry.or_insert_with(|| (secret.meta.version, Assignment::Secret(Box::new(Secret::clone(secret)))));
        }
        for config in task.spec.container.configs.iter().filter_map(|r| store.configs().get(r.config_id)) {
            let entry = found.entry(ObjectId::Config(config.id));
            entry.or_insert_with(|| (config.meta.version, Assignment::Config(Box::new(Config::clone(config)))));
        }
    }
    found
}

//! Slots: the tasks that stand in for one another, oldest first.

use std::collections::BTreeMap;
use std::sync::Arc;

use swarm_types::*;

use crate::constraint;
use crate::store::Store;

/// Which slot of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SlotKey {
    /// A replica.
    Number(u64),
    /// A node, for global services.
    Node(NodeId),
}

impl SlotKey {
    /// The slot that a task of the service is in; none for a global task that has no node.
    pub fn of(task: &Task, mode: &ServiceMode) -> Option<Self> {
        match mode {
            ServiceMode::Replicated { .. } | ServiceMode::ReplicatedJob { .. } => Some(Self::Number(task.slot)),
            ServiceMode::Global | ServiceMode::GlobalJob => task.node_id.map(Self::Node),
        }
    }
}

/// A slot's tasks in the order in which they were made, history included. Tasks to be removed are not among them.
#[derive(Debug, Clone)]
pub(super) struct Slot<'a> {
    pub key: SlotKey,
    pub tasks: Vec<&'a Arc<Task>>,
}

impl<'a> Slot<'a> {
    /// The tasks that should run, or become ready.
    pub fn active(&self) -> impl Iterator<Item = &'a Arc<Task>> + '_ {
        self.tasks.iter().copied().filter(|task| is_active(task))
    }

    pub fn newest(&self) -> Option<&'a Arc<Task>> {
        self.tasks.last().copied()
    }
}

/// Whether a task is meant to run.
pub(super) fn is_active(task: &Task) -> bool {
    task.desired_state < DesiredState::Shutdown
}

/// All slots of a service that have a task.
pub(super) fn slots_of<'a>(store: &'a Store, service: &Service) -> BTreeMap<SlotKey, Slot<'a>> {
    let mut slots: BTreeMap<SlotKey, Slot<'a>> = BTreeMap::new();
    for task in store.service_tasks(service.id) {
        if task.desired_state == DesiredState::Remove {
            continue;
        }
        if let Some(key) = SlotKey::of(task, &service.spec.mode) {
            slots.entry(key).or_insert_with(|| Slot { key, tasks: Vec::new() }).tasks.push(task);
        }
    }
    for slot in slots.values_mut() {
        sort_by_age(&mut slot.tasks);
    }
    slots
}

/// Oldest first. Of tasks made at the same moment the one that was stopped is the older one.
pub(super) fn sort_by_age(tasks: &mut [&Arc<Task>]) {
    tasks.sort_by(|a, b| {
        (a.meta.created_at, a.spec_version)
            .cmp(&(b.meta.created_at, b.spec_version))
            .then_with(|| b.desired_state.cmp(&a.desired_state))
            .then_with(|| a.id.cmp(&b.id))
    });
}

/// Whether a node is lost: removed, left or silent.
pub(super) fn is_lost(node: Option<&Arc<Node>>) -> bool {
    node.is_none_or(|node| matches!(node.status.state, NodeState::Down | NodeState::Disconnected))
}

/// Whether tasks must leave a node: it is lost or drained.
pub(super) fn must_leave(node: Option<&Arc<Node>>) -> bool {
    is_lost(node) || node.is_some_and(|node| node.spec.availability == NodeAvailability::Drain)
}

/// A service's placement constraints. They parsed when the service was stored; one that does not (written by another
/// version) matches no node.
pub(super) fn matches_constraints(spec: &TaskSpec, node: &Node) -> bool {
    let Some(placement) = &spec.placement else { return true };
    constraint::parse_all(&placement.constraints).is_ok_and(|all| constraint::all_match(&all, node))
}

/// Whether a task has to be replaced to be as its service's spec wants it.
///
/// A changed version alone is no reason: labels of the service or its number of replicas change nothing in a task.
/// Neither is a changed placement, as long as the task's node satisfies it.
pub(super) fn is_dirty(service: &Service, task: &Task, store: &Store) -> bool {
    if task.spec_version == service.spec_version {
        return false;
    }
    let ports_changed = task
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.spec != service.spec.endpoint.clone().unwrap_or_default());
    if ports_changed {
        return true;
    }
    let (wanted, actual) = (&service.spec.task, &task.spec);
    if Arc::ptr_eq(wanted, actual) || wanted == actual {
        return false;
    }
    if wanted.placement == actual.placement {
        return true;
    }
    let mut with_actual_placement = TaskSpec::clone(wanted);
    with_actual_placement.placement.clone_from(&actual.placement);
    let node = task.node_id.and_then(|id| store.nodes().get(id));
    with_actual_placement != **actual || !node.is_some_and(|node| matches_constraints(wanted, node))
}

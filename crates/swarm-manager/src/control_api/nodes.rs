//! Nodes: what the operator wants of them, and removal.

use std::sync::Arc;

use swarm_types::*;

use super::error::{out_of_sequence, precondition, rpc};
use super::{ClusterView, ControlError, ControlErrorKind, Decision, cluster, lookup, validate};
use crate::store::{Store, StoreAction};

/// A node with its place in the raft group as the leader sees it now.
pub(super) fn with_status(node: &Arc<Node>, view: &ClusterView) -> Arc<Node> {
    match view.managers.get(&node.id) {
        Some(status) if node.manager_status.as_ref() != Some(status) => {
            Arc::new(Node { manager_status: Some(status.clone()), ..Node::clone(node) })
        }
        _ => node.clone(),
    }
}

pub(super) fn update(
    store: &Store,
    view: &ClusterView,
    text: &str,
    version: Version,
    spec: &NodeSpec,
) -> Result<Decision, ControlError> {
    let current = lookup::node(store, text)?;
    validate::size("node spec", spec)?;
    if current.spec.desired_role == NodeRole::Manager && spec.desired_role == NodeRole::Worker {
        may_demote(store, view, current)?;
    }
    if current.meta.version != version {
        return Err(out_of_sequence());
    }
    let node = Node { spec: spec.clone(), ..Node::clone(current) };
    Ok(Decision::done(vec![StoreAction::Update(Object::Node(Arc::new(node)))]))
}

fn may_demote(store: &Store, view: &ClusterView, node: &Node) -> Result<(), ControlError> {
    let stays = |other: &&Arc<Node>| {
        other.id != node.id && other.role == NodeRole::Manager && other.spec.desired_role == NodeRole::Manager
    };
    if !store.nodes().iter().any(|other| stays(&other)) {
        return Err(precondition("attempting to demote the last manager of the swarm"));
    }
    if !view.managers.contains_key(&node.id) {
        return Err(rpc(ControlErrorKind::NotFound, "can't find manager in raft memberlist"));
    }
    let others = view.managers.iter().filter(|(id, _)| **id != node.id);
    let (mut count, mut reachable) = (0, 0);
    for (_, status) in others {
        count += 1;
        reachable += usize::from(status.leader || status.reachability == Reachability::Reachable);
    }
    if reachable < count / 2 + 1 {
        return Err(precondition("can't remove member from the raft: this would result in a loss of quorum"));
    }
    Ok(())
}

pub(super) fn remove(
    now: Timestamp,
    store: &Store,
    view: &ClusterView,
    text: &str,
    force: bool,
) -> Result<Decision, ControlError> {
    let node = lookup::node(store, text)?;
    let id = node.id;
    if node.spec.desired_role == NodeRole::Manager && view.managers.contains_key(&id) {
        return Err(precondition(format!(
            "node {id} is a cluster manager and is a member of the raft cluster. It must be demoted to worker before \
             removal"
        )));
    }
    if !force && node.status.state == NodeState::Ready {
        return Err(precondition(format!("node {id} is not down and can't be removed")));
    }
    let mut cluster = Cluster::clone(cluster::stored(store)?);
    cluster::forget_expired(&mut cluster, now);
    cluster.revoked_nodes.retain(|(revoked, _)| *revoked != id);
    cluster.revoked_nodes.push((id, node.certificate.not_after));

    let mut actions = vec![StoreAction::Update(Object::Cluster(Arc::new(cluster)))];
    // Nobody will report on its tasks any more. All in one proposal, so that none is forgotten on the way.
    for task in store.node_tasks(id).filter(|task| !task.status.state.is_terminal()) {
        let status = TaskStatus {
            timestamp: now,
            state: TaskState::Orphaned,
            message: "Task belonged to a node that has been deleted".to_owned(),
            ..TaskStatus::default()
        };
        actions.push(StoreAction::SetTaskStatus { id: task.id, status });
    }
    actions.push(StoreAction::Remove(ObjectId::Node(id)));
    Ok(Decision::done(actions))
}

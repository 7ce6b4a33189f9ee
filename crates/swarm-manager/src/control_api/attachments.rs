//! Containers that a node attaches to a network of the swarm for its own user (`docker run --network`, `docker network
//! connect`): each becomes a task without a service, which only holds addresses (swarmkit's network attachment task).
//!
//! The node asks for itself only; that is checked where its certificate is known.

use std::net::IpAddr;
use std::sync::Arc;

use swarm_types::*;

use super::error::{invalid, rpc};
use super::{ControlError, ControlErrorKind, ControlResponse, Decision, lookup};
use crate::store::{Store, StoreAction};

/// A node's user does not attach more containers; a node that asks for more is broken.
const MAX_ATTACHMENTS: usize = 4_096;
/// Addresses that may be asked for at once: an IPv4 and an IPv6 one, with room for networks of several subnets.
const MAX_ADDRESSES: usize = 16;

pub(super) fn attach(
    now: Timestamp,
    ids: &mut IdSource,
    store: &Store,
    node: NodeId,
    target: &str,
    container_id: &str,
    addresses: &[String],
) -> Result<Decision, ControlError> {
    if store.nodes().get(node).is_none() {
        return Err(rpc(ControlErrorKind::NotFound, format!("node {node} not found")));
    }
    if container_id.is_empty() || container_id.len() > 64 || !container_id.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(invalid("a container id has up to 64 hexadecimal digits"));
    }
    let network = lookup::network(store, target)
        .map_err(|error| rpc(error.kind, error.message.trim_start_matches("rpc error: ")))?;
    if !network.spec.attachable {
        let name: String = target.chars().take(256).collect();
        return Err(rpc(ControlErrorKind::PermissionDenied, format!("network {name} not manually attachable")));
    }
    if addresses.len() > MAX_ADDRESSES {
        return Err(invalid(format!("at most {MAX_ADDRESSES} addresses can be asked for")));
    }
    for address in addresses {
        let plain = address.split_once('/').map_or(address.as_str(), |(plain, _)| plain);
        if plain.parse::<IpAddr>().is_err() {
            let shown: String = address.chars().take(64).collect();
            return Err(invalid(format!("invalid IP address: {shown}")));
        }
    }
    let own: Vec<&Arc<Task>> = store.node_tasks(node).filter(|task| task.spec.attachment.is_some()).collect();
    // The answer to an earlier request may have been lost on the way.
    let same = own.iter().find(|task| {
        let of_container = task.spec.attachment.as_ref().is_some_and(|a| a.container_id == container_id);
        let of_network = task.spec.networks.iter().any(|config| config.target == network.id.to_string());
        of_container && of_network && !task.status.state.is_terminal() && task.desired_state == DesiredState::Running
    });
    if let Some(task) = same {
        return Ok(Decision::Answer(ControlResponse::Created { id: ObjectId::Task(task.id), warnings: Vec::new() }));
    }
    if own.len() >= MAX_ATTACHMENTS {
        return Err(rpc(
            ControlErrorKind::FailedPrecondition,
            format!("node {node} has its {MAX_ATTACHMENTS} attached containers already"),
        ));
    }
    let config = NetworkAttachmentConfig {
        target: network.id.to_string(),
        addresses: addresses.to_vec(),
        ..NetworkAttachmentConfig::default()
    };
    let attachment = Some(AttachmentSpec { container_id: container_id.to_owned() });
    Ok(Decision::created(Object::Task(Arc::new(Task {
        id: ids.id(),
        meta: Meta::default(),
        service_id: None,
        slot: 0,
        node_id: Some(node),
        spec: Arc::new(TaskSpec { attachment, networks: vec![config], ..TaskSpec::default() }),
        spec_version: Version(0),
        service_annotations: Arc::default(),
        status: TaskStatus { timestamp: now, message: "created".to_owned(), ..TaskStatus::default() },
        desired_state: DesiredState::Running,
        networks: Vec::new(),
        endpoint: None,
        assigned_resources: Vec::new(),
        job_iteration: None,
    }))))
}

pub(super) fn detach(store: &Store, node: NodeId, attachment: TaskId) -> Result<Decision, ControlError> {
    let task = store.tasks().get(attachment).filter(|task| task.spec.attachment.is_some());
    let Some(task) = task else {
        return Err(rpc(ControlErrorKind::NotFound, format!("attachment {attachment} not found")));
    };
    if task.node_id != Some(node) {
        let message = format!("attachment {attachment} doesn't belong to this node");
        return Err(rpc(ControlErrorKind::PermissionDenied, message));
    }
    Ok(Decision::done(vec![StoreAction::Remove(ObjectId::Task(attachment))]))
}

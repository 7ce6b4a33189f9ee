//! Containers that nodes attach for their own users.
#![allow(clippy::unwrap_used)]

use swarm_types::*;

use super::fixture::Leader;
use crate::control_api::*;

fn overlay(leader: &mut Leader, name: &str, attachable: bool) {
    let spec = NetworkSpec { annotations: Annotations::named(name), attachable, ..NetworkSpec::default() };
    leader.ask(&ControlRequest::CreateNetwork(Box::new(spec))).unwrap();
}

fn worker(leader: &Leader, number: usize) -> NodeId {
    leader.store.nodes().iter().filter(|node| node.role == NodeRole::Worker).nth(number).unwrap().id
}

fn attach(node: NodeId, network: &str, container: &str) -> ControlRequest {
    ControlRequest::AttachNetwork {
        node,
        network: network.to_owned(),
        container_id: container.to_owned(),
        addresses: vec!["10.0.1.9".to_owned()],
    }
}

fn attached(leader: &mut Leader, request: &ControlRequest) -> TaskId {
    match leader.ask(request).unwrap() {
        ControlResponse::Created { id: ObjectId::Task(id), .. } => id,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_attachment_is_a_task_without_a_service_on_its_own_node() {
    let mut leader = Leader::of(1, 2);
    overlay(&mut leader, "open", true);
    let node = worker(&leader, 0);
    let id = attached(&mut leader, &attach(node, "open", "c0ffee"));
    let task = leader.store.tasks().get(id).unwrap().clone();
    assert_eq!((task.node_id, task.service_id, task.desired_state), (Some(node), None, DesiredState::Running));
    assert_eq!(task.spec.attachment.as_ref().unwrap().container_id, "c0ffee");
    assert_eq!(task.spec.networks[0].addresses, ["10.0.1.9"]);
    assert_eq!(task.name(), "c0ffee");

    assert_eq!(attached(&mut leader, &attach(node, "open", "c0ffee")), id, "asked again after a lost answer");
    assert_ne!(attached(&mut leader, &attach(node, "open", "c0ffef")), id);
    let listed = leader.ask(&ControlRequest::ListTasks(TaskFilters::default())).unwrap();
    assert_eq!(listed, ControlResponse::Objects(Vec::new()), "Docker lists no attachments");

    let other = worker(&leader, 1);
    assert_eq!(
        leader.refused(&ControlRequest::DetachNetwork { node: other, attachment: id }),
        format!("rpc error: code = PermissionDenied desc = attachment {id} doesn't belong to this node")
    );
    leader.ask(&ControlRequest::DetachNetwork { node, attachment: id }).unwrap();
    assert_eq!(
        leader.refused(&ControlRequest::DetachNetwork { node, attachment: id }),
        format!("rpc error: code = NotFound desc = attachment {id} not found")
    );
}

#[test]
fn what_cannot_be_attached_is_refused() {
    let mut leader = Leader::of(1, 1);
    overlay(&mut leader, "closed", false);
    overlay(&mut leader, "open", true);
    let node = worker(&leader, 0);
    let denied = leader.ask(&attach(node, "closed", "c0ffee")).unwrap_err();
    assert_eq!(denied.kind, ControlErrorKind::PermissionDenied);
    assert_eq!(denied.message, "rpc error: code = PermissionDenied desc = network closed not manually attachable");
    assert_eq!(
        leader.refused(&attach(node, "nowhere", "c0ffee")),
        "rpc error: code = NotFound desc = network nowhere not found"
    );
    assert!(leader.refused(&attach(node, "open", "../etc")).contains("hexadecimal"));
    assert!(leader.refused(&attach(NodeId::from_bits(1), "open", "c0ffee")).contains("not found"));
    let request = ControlRequest::AttachNetwork {
        node,
        network: "open".to_owned(),
        container_id: "c0ffee".to_owned(),
        addresses: vec!["10.0.1".to_owned()],
    };
    assert!(leader.refused(&request).contains("invalid IP address: 10.0.1"));
}

#[test]
fn a_network_with_attached_containers_stays() {
    let mut leader = Leader::of(1, 1);
    overlay(&mut leader, "open", true);
    let node = worker(&leader, 0);
    let id = attached(&mut leader, &attach(node, "open", "c0ffee"));
    let message = leader.refused(&ControlRequest::RemoveNetwork("open".to_owned()));
    assert!(message.ends_with(&format!("is in use by task {id}")), "{message}");
    leader.ask(&ControlRequest::DetachNetwork { node, attachment: id }).unwrap();
    leader.ask(&ControlRequest::RemoveNetwork("open".to_owned())).unwrap();
}

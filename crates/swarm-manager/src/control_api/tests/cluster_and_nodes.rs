//! Requests about the swarm's settings, its tokens and keys, and its nodes.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use swarm_types::*;

use super::fixture::{Leader, spec};
use crate::ca::JoinToken;
use crate::control_api::*;
use crate::store::StoreAction;

fn update(leader: &Leader, edit: impl FnOnce(&mut ClusterSpec), rotate: Rotate) -> ControlRequest {
    let cluster = leader.store.cluster().unwrap();
    let mut spec = cluster.spec.clone();
    edit(&mut spec);
    ControlRequest::UpdateCluster {
        version: cluster.meta.version,
        spec: Box::new(spec),
        rotate,
        fresh: Some(FreshSecrets {
            worker_token: SecretString("w".repeat(25)),
            manager_token: SecretString("m".repeat(25)),
            unlock_key: SecretBytes(vec![1; 32]),
        }),
    }
}

fn update_node(leader: &Leader, name: &str, edit: impl FnOnce(&mut NodeSpec)) -> ControlRequest {
    let node = leader.store.nodes().iter().find(|node| node.display_name() == name).unwrap();
    let mut spec = node.spec.clone();
    edit(&mut spec);
    ControlRequest::UpdateNode { node: name.into(), version: node.meta.version, spec }
}

fn demote(leader: &Leader, name: &str) -> ControlRequest {
    update_node(leader, name, |spec| spec.desired_role = NodeRole::Worker)
}

fn id(leader: &Leader, name: &str) -> NodeId {
    leader.store.nodes().iter().find(|node| node.display_name() == name).unwrap().id
}

#[test]
fn the_swarms_keys_are_not_shown() {
    let mut leader = Leader::of(1, 0);
    let Ok(ControlResponse::Object(Object::Cluster(cluster))) = leader.ask(&ControlRequest::GetCluster) else {
        panic!("the swarm")
    };
    assert_eq!(cluster.root_ca.key, SecretString::default());
    assert_eq!(cluster.root_ca.certificate, "the certificate");
    assert!(cluster.network_keys.is_empty());
}

#[test]
fn settings_out_of_bounds_are_refused() {
    let leader = &mut Leader::of(1, 0);
    let requests = [
        (
            update(leader, |spec| spec.node_cert_expiry = Duration::from_secs(60), Rotate::default()),
            "minimum certificate expiry time is: 1h0m0s",
        ),
        (
            update(leader, |spec| spec.heartbeat_period = Duration::ZERO, Rotate::default()),
            "heartbeat time period must be larger than zero",
        ),
        (
            update(leader, |spec| spec.annotations.name = "mine".into(), Rotate::default()),
            "modification of cluster name is not allowed",
        ),
    ];
    for (request, message) in requests {
        assert_eq!(leader.refused(&request), format!("rpc error: code = InvalidArgument desc = {message}"));
    }
    let old = update(leader, |spec| spec.task_history_retention_limit = 2, Rotate::default());
    leader.ask(&old).unwrap();
    assert_eq!(leader.store.cluster().unwrap().spec.task_history_retention_limit, 2);
    assert_eq!(leader.refused(&old), "rpc error: code = Unknown desc = update out of sequence");
}

#[test]
fn rotating_changes_the_secret_of_one_token_and_keeps_the_digest() {
    let mut leader = Leader::of(1, 0);
    let both = Rotate { worker_token: true, manager_token: true, unlock_key: false };
    leader.ask(&update(&leader, |_| {}, both)).unwrap();
    let tokens = leader.store.cluster().unwrap().root_ca.join_tokens.clone();
    let (worker, manager) = (JoinToken::parse(&tokens.worker.0).unwrap(), JoinToken::parse(&tokens.manager.0).unwrap());
    assert_eq!(worker.secret.0, "w".repeat(25));
    assert_eq!(manager.secret.0, "m".repeat(25));
    assert_eq!(worker.digest, manager.digest);
    assert_eq!(worker.digest, format!("{}1", "0".repeat(49)));
    let one = Rotate { worker_token: true, ..Rotate::default() };
    leader.ask(&update(&leader, |_| {}, one)).unwrap();
    assert_eq!(leader.store.cluster().unwrap().root_ca.join_tokens.manager, tokens.manager);
}

#[test]
fn autolock_makes_a_key_and_unlocking_forgets_it() {
    let mut leader = Leader::of(1, 0);
    let key = |leader: &mut Leader| match leader.ask(&ControlRequest::GetUnlockKey) {
        Ok(ControlResponse::UnlockKey(key)) => key.0.len(),
        other => panic!("{other:?}"),
    };
    assert_eq!(key(&mut leader), 0);
    leader.ask(&update(&leader, |spec| spec.auto_lock_managers = true, Rotate::default())).unwrap();
    assert_eq!(key(&mut leader), 32);
    leader.ask(&update(&leader, |spec| spec.auto_lock_managers = false, Rotate::default())).unwrap();
    assert_eq!(key(&mut leader), 0);
}

#[test]
fn managers_show_their_place_in_the_raft_group() {
    let mut leader = Leader::of(2, 1);
    let Ok(ControlResponse::Objects(nodes)) = leader.ask(&ControlRequest::ListNodes(NodeFilters::default())) else {
        panic!("a list")
    };
    let leaders: Vec<Option<bool>> = nodes
        .iter()
        .map(|node| match node {
            Object::Node(node) => node.manager_status.as_ref().map(|status| status.leader),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(leaders, [Some(true), Some(false), None]);
    let filters = NodeFilters { roles: vec![NodeRole::Worker], ..NodeFilters::default() };
    let Ok(ControlResponse::Objects(workers)) = leader.ask(&ControlRequest::ListNodes(filters)) else {
        panic!("a list")
    };
    assert_eq!(workers.len(), 1);
}

#[test]
fn the_last_manager_and_the_quorum_stay() {
    let mut leader = Leader::of(1, 1);
    assert_eq!(
        leader.refused(&demote(&leader, "m1")),
        "rpc error: code = FailedPrecondition desc = attempting to demote the last manager of the swarm"
    );
    let mut leader = Leader::of(3, 0);
    let lost = id(&leader, "m3");
    leader.view.managers.get_mut(&lost).unwrap().reachability = Reachability::Unreachable;
    assert_eq!(
        leader.refused(&demote(&leader, "m2")),
        "rpc error: code = FailedPrecondition desc = can't remove member from the raft: this would result in a loss \
         of quorum"
    );
    leader.ask(&demote(&leader, "m3")).unwrap();
    leader.view.managers.remove(&lost);
    leader.ask(&demote(&leader, "m2")).unwrap();
    assert!(leader.refused(&demote(&leader, "m1")).ends_with("the last manager of the swarm"));
}

#[test]
fn a_node_is_promoted_labelled_and_drained_by_its_spec() {
    let mut leader = Leader::of(1, 1);
    let edit = |spec: &mut NodeSpec| {
        spec.desired_role = NodeRole::Manager;
        spec.availability = NodeAvailability::Drain;
        spec.annotations.labels.insert("zone".into(), "a".into());
    };
    let request = update_node(&leader, "w1", edit);
    leader.ask(&request).unwrap();
    assert_eq!(leader.refused(&request), "rpc error: code = Unknown desc = update out of sequence");
    let filters = NodeFilters { node_labels: vec!["zone=a".into()], ..NodeFilters::default() };
    let Ok(ControlResponse::Objects(found)) = leader.ask(&ControlRequest::ListNodes(filters)) else { panic!("a list") };
    assert_eq!(found.len(), 1);
}

#[test]
fn only_nodes_that_are_down_are_removed_unless_forced_and_managers_never() {
    let mut leader = Leader::of(2, 2);
    let remove = |node: &str, force| ControlRequest::RemoveNode { node: node.into(), force };
    for force in [false, true] {
        let manager = id(&leader, "m2");
        assert_eq!(
            leader.refused(&remove("m2", force)),
            format!(
                "rpc error: code = FailedPrecondition desc = node {manager} is a cluster manager and is a member of \
                 the raft cluster. It must be demoted to worker before removal"
            )
        );
    }
    let worker = id(&leader, "w1");
    assert_eq!(
        leader.refused(&remove("w1", false)),
        format!("rpc error: code = FailedPrecondition desc = node {worker} is not down and can't be removed")
    );
    leader.ask(&remove("w1", true)).unwrap();
    assert_eq!(leader.store.cluster().unwrap().revoked_nodes, [(worker, Timestamp::from_secs(2_000_000))]);
    assert_eq!(leader.refused(&remove("w1", true)), "node w1 not found");

    let status = NodeStatus { state: NodeState::Down, ..NodeStatus::default() };
    let second = id(&leader, "w2");
    leader.apply(vec![StoreAction::SetNodeStatus { id: second, status }]);
    leader.now = Timestamp::from_secs(2_000_000 + 8 * 24 * 3600);
    leader.ask(&remove("w2", false)).unwrap();
    let revoked: Vec<NodeId> = leader.store.cluster().unwrap().revoked_nodes.iter().map(|(id, _)| *id).collect();
    assert_eq!(revoked, [second], "the first one's certificate ended long ago");
}

#[test]
fn tasks_of_a_removed_node_become_orphans() {
    let mut leader = Leader::of(1, 1);
    leader.create(&spec("web"));
    let (service, node) = (leader.service("web"), id(&leader, "w1"));
    let task = Task {
        id: TaskId::from_bits(1),
        meta: Meta::default(),
        service_id: Some(service.id),
        slot: 1,
        node_id: Some(node),
        spec: service.spec.task.clone(),
        spec_version: service.spec_version,
        service_annotations: std::sync::Arc::new(service.spec.annotations.clone()),
        status: TaskStatus { state: TaskState::Running, ..TaskStatus::default() },
        desired_state: DesiredState::Running,
        networks: Vec::new(),
        endpoint: None,
        assigned_resources: Vec::new(),
        job_iteration: None,
    };
    let id = task.id;
    leader.apply(vec![StoreAction::Create(Object::Task(std::sync::Arc::new(task)))]);
    leader.ask(&ControlRequest::RemoveNode { node: "w1".into(), force: true }).unwrap();
    assert_eq!(leader.store.tasks().get(id).unwrap().status.state, TaskState::Orphaned);
}

#[test]
fn several_nodes_of_one_host_name_are_ambiguous() {
    let mut leader = Leader::of(1, 2);
    let second = id(&leader, "w2");
    let description = NodeDescription { hostname: "w1".into(), ..NodeDescription::default() };
    leader.apply(vec![StoreAction::SetNodeDescription { id: second, description }]);
    let error = leader.ask(&ControlRequest::GetNode("w1".into())).unwrap_err();
    assert_eq!(error.message, "node w1 is ambiguous (2 matches found)");
}

//! Making, joining and leaving a swarm; tokens; restarts.

use swarm_manager::control_api::{ControlRequest, Rotate};
use swarm_types::{NodeRole, NodeState};

use super::*;

#[tokio::test]
async fn outside_a_swarm_requests_are_refused_in_dockers_words() {
    let node = TestNode::start("alone");
    let refused = node.nodes().await.unwrap_err();
    assert!(refused.message.starts_with("This node is not a swarm manager. Use \"docker swarm init\""), "{refused}");
    assert_eq!(refused.kind, NodeErrorKind::Unavailable);
    assert_eq!(node.handle.swarm_leave(false).await.unwrap_err().message, "This node is not part of a swarm");
    assert_eq!(node.handle.swarm_info().await.state, LocalNodeState::Inactive);
}

#[tokio::test]
async fn the_first_manager_leads_and_is_ready() {
    let node = TestNode::start("manager1");
    let id = node.init().await;
    let nodes = node.nodes_become("one ready node", all_ready(1)).await;
    assert_eq!(nodes[0].id, id);
    assert_eq!(nodes[0].description.as_ref().unwrap().hostname, "manager1");
    assert!(nodes[0].manager_status.as_ref().unwrap().leader);
    let info = node.handle.swarm_info().await;
    assert_eq!((info.state, info.nodes, info.managers), (LocalNodeState::Active, 1, 1));
    assert!(info.control_available);
    assert_eq!(info.node_addr, node.ip.to_string());
    let again = node.handle.swarm_init(init_options()).await.unwrap_err();
    assert!(again.message.starts_with("This node is already part of a swarm."), "{again}");
}

#[tokio::test]
async fn five_nodes_form_a_swarm() {
    let manager = TestNode::start("manager1");
    manager.init().await;
    let token = manager.cluster().await.root_ca.join_tokens.worker;
    let workers: Vec<TestNode> = (1..=4).map(|number| TestNode::start(&format!("worker{number}"))).collect();
    for worker in &workers {
        worker.join(&manager, &token).await.unwrap();
    }
    let nodes = manager.nodes_become("five ready nodes", all_ready(5)).await;
    assert_eq!(nodes.iter().filter(|node| node.role == NodeRole::Worker).count(), 4);
    let refused = workers[0].nodes().await.unwrap_err();
    assert!(refused.message.contains("Worker nodes can't be used to view or modify cluster state."), "{refused}");
    let info = workers[0].handle.swarm_info().await;
    assert_eq!((info.state, info.control_available), (LocalNodeState::Active, false));
    assert_eq!(info.remote_managers[0].addr, format!("{}:2377", manager.ip));
}

#[tokio::test]
async fn wrong_and_rotated_tokens_are_refused() {
    let manager = TestNode::start("manager1");
    manager.init().await;
    let cluster = manager.cluster().await;
    let old = cluster.root_ca.join_tokens.worker.clone();
    let joiner = TestNode::start("worker1");

    let nonsense = joiner.join(&manager, &SecretString("SWMTKN-1-x".to_owned())).await.unwrap_err();
    assert_eq!(nonsense.message, "invalid join token");

    let secret = old.0.rsplit_once('-').unwrap().1;
    let foreign = SecretString(format!("SWMTKN-1-{}-{secret}", "0".repeat(50)));
    let foreign = joiner.join(&manager, &foreign).await.unwrap_err();
    assert!(foreign.message.starts_with("remote CA does not match fingerprint. Expected: "), "{foreign}");

    let rotate = Rotate { worker_token: true, ..Rotate::default() };
    let (version, spec) = (cluster.meta.version, Box::new(cluster.spec));
    let request = ControlRequest::UpdateCluster { version, spec, rotate, fresh: None };
    manager.handle.control(request).await.unwrap();
    let refused = joiner.join(&manager, &old).await.unwrap_err();
    assert!(refused.message.ends_with("A valid join token is necessary to join this cluster"), "{refused}");
    assert_eq!(joiner.handle.swarm_info().await.state, LocalNodeState::Inactive);

    let new = manager.cluster().await.root_ca.join_tokens.worker;
    assert_ne!(new, old);
    joiner.join(&manager, &new).await.unwrap();
}

#[tokio::test]
async fn everything_survives_a_restart_of_all_nodes() {
    let manager = TestNode::start("manager1");
    let id = manager.init().await;
    let token = manager.cluster().await.root_ca.join_tokens.worker;
    let worker = TestNode::start("worker1");
    let worker_id = worker.join(&manager, &token).await.unwrap();
    manager.nodes_become("two ready nodes", all_ready(2)).await;
    let (manager, worker) = (manager.restart().await, worker.restart().await);
    let nodes = manager.nodes_become("two ready nodes again", all_ready(2)).await;
    assert!(nodes.iter().any(|node| node.id == id) && nodes.iter().any(|node| node.id == worker_id));
    assert_eq!(manager.cluster().await.root_ca.join_tokens.worker, token);
    assert_eq!(worker.handle.swarm_info().await.node_id, Some(worker_id));
}

#[tokio::test]
async fn a_worker_leaves_and_is_down_then_joins_anew() {
    let manager = TestNode::start("manager1");
    manager.init().await;
    let token = manager.cluster().await.root_ca.join_tokens.worker;
    let worker = TestNode::start("worker1");
    let first = worker.join(&manager, &token).await.unwrap();
    manager.nodes_become("two ready nodes", all_ready(2)).await;
    worker.handle.swarm_leave(false).await.unwrap();
    assert_eq!(worker.handle.swarm_info().await.state, LocalNodeState::Inactive);
    let is_down = |nodes: &[Node]| nodes.iter().any(|node| node.id == first && node.status.state == NodeState::Down);
    manager.nodes_become("the worker down", is_down).await;
    manager.handle.control(ControlRequest::RemoveNode { node: first.to_string(), force: false }).await.unwrap();
    let second = worker.join(&manager, &token).await.unwrap();
    assert_ne!(first, second);
    manager.nodes_become("two ready nodes again", all_ready(2)).await;
}

#[tokio::test]
async fn the_last_manager_leaves_by_force_only() {
    let manager = TestNode::start("manager1");
    manager.init().await;
    let refused = manager.handle.swarm_leave(false).await.unwrap_err();
    assert!(refused.message.contains("Removing the last manager erases all current state of a swarm."), "{refused}");
    manager.handle.swarm_leave(true).await.unwrap();
    assert_eq!(manager.handle.swarm_info().await.state, LocalNodeState::Inactive);
    assert!(!manager.dir.path().join("swarm").exists());
    manager.init().await;
}

#[tokio::test]
async fn a_removed_node_is_refused() {
    let manager = TestNode::start("manager1");
    manager.init().await;
    let token = manager.cluster().await.root_ca.join_tokens.worker;
    let worker = TestNode::start("worker1");
    let id = worker.join(&manager, &token).await.unwrap();
    manager.nodes_become("two ready nodes", all_ready(2)).await;
    manager.handle.control(ControlRequest::RemoveNode { node: id.to_string(), force: true }).await.unwrap();
    let worker = worker.restart().await;
    manager.nodes_become("one node", |nodes| nodes.len() == 1).await;
    assert_ne!(worker.handle.swarm_info().await.state, LocalNodeState::Active);
}

#[tokio::test]
async fn a_taken_port_is_named_and_nothing_is_left() {
    let node = TestNode::start("manager1");
    let _taken = std::net::TcpListener::bind((node.ip, 2377)).unwrap();
    let error = node.handle.swarm_init(init_options()).await.unwrap_err();
    assert!(error.message.contains(&format!("{}:2377", node.ip)), "{error}");
    assert_eq!(node.handle.swarm_info().await.state, LocalNodeState::Inactive);
}

//! Several managers: forwarding, loss of the leader, promotion and demotion.

use swarm_manager::control_api::ControlRequest;
use swarm_types::{NodeRole, Reachability};

use super::*;

async fn three_managers() -> Vec<TestNode> {
    let first = TestNode::start("manager1");
    first.init().await;
    let token = first.cluster().await.root_ca.join_tokens.manager;
    let mut managers = vec![first];
    for number in 2..=3 {
        let manager = TestNode::start(&format!("manager{number}"));
        manager.join(&managers[0], &token).await.unwrap();
        managers.push(manager);
    }
    managers[0].nodes_become("three ready managers", |nodes| all_ready(3)(nodes) && reachable(nodes) == 3).await;
    managers
}

fn reachable(nodes: &[Node]) -> usize {
    let reachable = |node: &&Node| {
        node.manager_status.as_ref().is_some_and(|status| status.reachability == Reachability::Reachable)
    };
    nodes.iter().filter(reachable).count()
}

/// As `docker node promote` and `demote`: reads the node, changes its role, and begins anew if it changed meanwhile.
async fn change_role(manager: &TestNode, id: NodeId, role: NodeRole) -> Result<(), NodeError> {
    loop {
        let node = manager.nodes().await?.into_iter().find(|node| node.id == id).unwrap();
        let mut spec = node.spec.clone();
        spec.desired_role = role;
        let request = ControlRequest::UpdateNode { node: id.to_string(), version: node.meta.version, spec };
        match manager.handle.control(request).await {
            Err(error) if error.kind == NodeErrorKind::OutOfSequence => {}
            other => return other.map(drop),
        }
    }
}

#[tokio::test]
async fn followers_pass_requests_on_and_another_leads_when_the_leader_dies() {
    let mut managers = three_managers().await;
    // Asked at a follower, answered by the leader.
    let nodes = managers[2].nodes().await.unwrap();
    assert_eq!(reachable(&nodes), 3);
    let dead = managers.remove(0);
    dead.handle.shutdown().await;
    drop(dead);
    let led = |nodes: &[Node]| {
        nodes.iter().filter(|node| node.manager_status.as_ref().is_some_and(|status| status.leader)).count() == 1
            && reachable(nodes) == 2
    };
    managers[0].nodes_become("a new leader", led).await;
    managers[1].nodes_become("the same seen by the other", led).await;
}

#[tokio::test]
async fn a_worker_is_promoted_and_demoted() {
    let manager = TestNode::start("manager1");
    manager.init().await;
    let token = manager.cluster().await.root_ca.join_tokens.worker;
    let worker = TestNode::start("worker1");
    let id = worker.join(&manager, &token).await.unwrap();
    manager.nodes_become("two ready nodes", all_ready(2)).await;
    change_role(&manager, id, NodeRole::Manager).await.unwrap();
    manager.nodes_become("two managers", |nodes| reachable(nodes) == 2).await;
    worker.nodes_become("the new manager answering", |nodes| nodes.len() == 2).await;

    change_role(&manager, id, NodeRole::Worker).await.unwrap();
    manager.nodes_become("one manager", |nodes| reachable(nodes) == 1 && all_ready(2)(nodes)).await;
    let refused = async {
        while worker.nodes().await.is_ok() || worker.handle.swarm_info().await.cluster.is_some() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    assert!(worker.nodes().await.unwrap_err().message.contains("Worker nodes can't be used"));
    assert!(!worker.dir.path().join("swarm/raft").exists());
}

#[tokio::test]
async fn the_last_manager_is_not_demoted() {
    let manager = TestNode::start("manager1");
    manager.init().await;
    let nodes = manager.nodes_become("one ready node", all_ready(1)).await;
    assert!(change_role(&manager, nodes[0].id, NodeRole::Worker).await.is_err());
}

#[tokio::test]
async fn a_manager_that_restarts_comes_back_into_the_group() {
    let mut managers = three_managers().await;
    let last = managers.pop().unwrap().restart().await;
    managers[0].nodes_become("three again", |nodes| all_ready(3)(nodes) && reachable(nodes) == 3).await;
    last.nodes_become("seen by itself", |nodes| nodes.len() == 3).await;
}

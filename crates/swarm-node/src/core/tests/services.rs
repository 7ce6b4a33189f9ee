//! Services on several nodes: tasks reach the runners, their output the reader, and restarts lose nothing.

use std::collections::BTreeSet;

use swarm_manager::control_api::{ControlRequest, ControlResponse, TaskFilters};
use swarm_types::{Annotations, NetworkSpec, ObjectId, ServiceId, ServiceMode, ServiceSpec, Task, TaskSpec, TaskState};

use super::*;
use crate::runner::LogOptions;

async fn swarm_of_three() -> Vec<TestNode> {
    let manager = TestNode::start("manager1");
    manager.init().await;
    let token = manager.cluster().await.root_ca.join_tokens.worker;
    let mut nodes = vec![manager];
    for number in 1..=2 {
        let worker = TestNode::start(&format!("worker{number}"));
        worker.join(&nodes[0], &token).await.unwrap();
        nodes.push(worker);
    }
    nodes[0].nodes_become("three ready nodes", all_ready(3)).await;
    nodes
}

async fn create_service(manager: &TestNode, replicas: u64) -> ServiceId {
    let mut task = TaskSpec::default();
    task.container.image = "web:1".to_owned();
    let spec = ServiceSpec {
        annotations: Annotations::named("web"),
        task: Arc::new(task),
        mode: ServiceMode::Replicated { replicas },
        update: None,
        rollback: None,
        endpoint: None,
    };
    match manager.handle.control(ControlRequest::CreateService(Box::new(spec))).await.unwrap() {
        ControlResponse::Created { id: ObjectId::Service(id), .. } => id,
        other => panic!("{other:?}"),
    }
}

/// Waits until so many tasks run.
async fn running(manager: &TestNode, count: usize) -> Vec<Task> {
    let mut last = Vec::new();
    let waiting = async {
        loop {
            if let Ok(ControlResponse::Objects(objects)) =
                manager.handle.control(ControlRequest::ListTasks(TaskFilters::default())).await
            {
                last = objects
                    .into_iter()
                    .map(|object| match object {
                        Object::Task(task) => Task::clone(&task),
                        other => panic!("{other:?}"),
                    })
                    .collect();
                if last.iter().filter(|task| task.status.state == TaskState::Running).count() == count {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    if timeout(PATIENCE, waiting).await.is_err() {
        let states: Vec<_> = last.iter().map(|task| (task.status.state, task.status.err.clone())).collect();
        panic!("{count} tasks should run: {states:?}");
    }
    last
}

#[tokio::test]
async fn replicas_are_spread_over_the_nodes_and_run() {
    let nodes = swarm_of_three().await;
    create_service(&nodes[0], 6).await;
    running(&nodes[0], 6).await;
    for node in &nodes {
        assert_eq!(node.runner.running().len(), 2);
    }
}

#[tokio::test]
async fn output_comes_from_all_nodes_and_ends() {
    let nodes = swarm_of_three().await;
    let service = create_service(&nodes[0], 3).await;
    running(&nodes[0], 3).await;
    let options = LogOptions { stdout: true, stderr: true, ..LogOptions::default() };
    let request = LogRequest { tasks: Vec::new(), services: vec![service], options };
    let mut lines = nodes[0].handle.logs(request.clone()).await.unwrap();
    let mut texts = BTreeSet::new();
    while let Some(line) = timeout(PATIENCE, lines.recv()).await.unwrap() {
        assert_eq!(line.service, service);
        texts.insert(String::from_utf8(line.data.to_vec()).unwrap());
    }
    assert_eq!(texts.len(), 9, "{texts:?}");
    assert!(texts.contains("line 3 of worker2\n"));
    assert!(nodes[1].handle.logs(request).await.is_err());
}

#[tokio::test]
async fn following_sees_tasks_that_come_later() {
    let nodes = swarm_of_three().await;
    let service = create_service(&nodes[0], 0).await;
    let options = LogOptions { stdout: true, follow: true, ..LogOptions::default() };
    let request = LogRequest { tasks: Vec::new(), services: vec![service], options };
    let mut lines = nodes[0].handle.logs(request).await.unwrap();
    scale(&nodes[0], 3).await;
    let mut texts = BTreeSet::new();
    while texts.len() < 9 {
        let line = timeout(PATIENCE, lines.recv()).await.unwrap().unwrap();
        texts.insert(line.data);
    }
}

async fn scale(manager: &TestNode, replicas: u64) {
    loop {
        let answer = manager.handle.control(ControlRequest::GetService("web".to_owned())).await.unwrap();
        let ControlResponse::Object(Object::Service(service)) = answer else { panic!("{answer:?}") };
        let mut spec = Box::new(service.spec.clone());
        spec.mode = ServiceMode::Replicated { replicas };
        let (service, version) = ("web".to_owned(), service.meta.version);
        match manager.handle.control(ControlRequest::UpdateService { service, version, spec, rollback: false }).await {
            Err(error) if error.kind == NodeErrorKind::OutOfSequence => {}
            other => return drop(other.unwrap()),
        }
    }
}

#[tokio::test]
async fn a_leaving_workers_tasks_stop_there_and_run_elsewhere() {
    let nodes = swarm_of_three().await;
    create_service(&nodes[0], 3).await;
    running(&nodes[0], 3).await;
    nodes[2].handle.swarm_leave(false).await.unwrap();
    assert!(nodes[2].runner.running().is_empty());
    let moved = async {
        while nodes[0].runner.running().len() + nodes[1].runner.running().len() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, moved).await.unwrap();
}

#[tokio::test]
async fn events_tell_of_the_swarms_changes() {
    let manager = TestNode::start("manager1");
    manager.init().await;
    let mut events = manager.handle.subscribe();
    create_service(&manager, 1).await;
    loop {
        let event = timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        if matches!(event.event.object(), Object::Service(service) if service.spec.annotations.name == "web") {
            return;
        }
    }
}

#[tokio::test]
async fn a_worker_attaches_its_own_containers_to_networks() {
    let nodes = swarm_of_three().await;
    let create = |name: &str, attachable| NetworkSpec {
        annotations: Annotations::named(name),
        attachable,
        ..NetworkSpec::default()
    };
    for (name, attachable) in [("open", true), ("closed", false)] {
        let request = ControlRequest::CreateNetwork(Box::new(create(name, attachable)));
        nodes[0].handle.control(request).await.unwrap();
    }
    let worker = &nodes[1];
    let denied = worker.handle.attach_network("closed", "c0ffee", Vec::new()).await.unwrap_err();
    assert_eq!(
        denied.message,
        "Could not attach to network closed: rpc error: code = PermissionDenied desc = network closed not manually \
         attachable"
    );
    let task = worker.handle.attach_network("open", "c0ffee", Vec::new()).await.unwrap();
    let waiting = async {
        while worker.runner.running() != [task] {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the worker's runner gets the attachment");
    let Ok(ControlResponse::Object(Object::Task(attached))) =
        nodes[0].handle.control(ControlRequest::GetTask(task.to_string())).await
    else {
        panic!("no task")
    };
    assert_eq!(attached.networks[0].addresses, ["10.0.1.2/24"]);

    // Another node's are none of its business, whatever it asks.
    let other = nodes[2].handle.swarm_info().await.node_id.unwrap();
    let forged = ControlRequest::DetachNetwork { node: other, attachment: task };
    assert!(worker.handle.control(forged).await.is_err());
    assert!(nodes[2].handle.detach_network(task).await.unwrap_err().message.contains("doesn't belong to this node"));

    worker.handle.detach_network(task).await.unwrap();
    worker.handle.detach_network(task).await.unwrap();
    let waiting = async {
        while !worker.runner.running().is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("the attachment is gone from the worker");
}

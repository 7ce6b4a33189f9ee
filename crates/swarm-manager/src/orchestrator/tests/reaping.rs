//! Task history: which ended tasks are kept and which are dropped.

use std::sync::Arc;

use swarm_types::*;

use super::harness::{World, secs};
use crate::store::StoreAction;

fn set_limit(world: &mut World, limit: i64) {
    let mut cluster = Cluster::clone(world.store.cluster().expect("a cluster"));
    cluster.spec.task_history_retention_limit = limit;
    world.apply(vec![StoreAction::Update(Object::Cluster(Arc::new(cluster)))]);
}

#[test]
fn a_slot_keeps_five_tasks_unless_told_otherwise() {
    let mut world = World::with_nodes(1);
    world.create("web", "crash", 1, |_| {});
    world.pass(secs(300));
    assert_eq!(world.show("web").len(), 5);
    set_limit(&mut world, 2);
    world.settle();
    assert_eq!(world.show("web").len(), 2);
    set_limit(&mut world, -1);
    world.pass(secs(100));
    assert_eq!(world.show("web").len(), 22);
}

#[test]
fn no_history_keeps_just_what_is_needed() {
    let mut world = World::with_nodes(1);
    set_limit(&mut world, 0);
    world.create("web", "crash", 2, |_| {});
    world.pass(secs(301));
    // What waits for its restart still shows what it follows on.
    let waiting = ["1 n1 crash shutdown/failed", "1 n1 crash ready/ready"];
    assert_eq!(world.show("web")[..2], waiting);
    world.set_image("web", "web");
    world.pass(secs(60));
    assert_eq!(world.show("web"), ["1 n1 web running/running", "2 n1 web running/running"]);
}

#[test]
fn a_limit_of_restarts_keeps_the_history_that_it_is_counted_from() {
    let mut world = World::with_nodes(1);
    set_limit(&mut world, 1);
    world.create("web", "crash", 1, |spec| {
        Arc::make_mut(&mut spec.task).restart = Some(RestartPolicy { max_attempts: 7, ..RestartPolicy::default() });
    });
    world.pass(secs(600));
    assert_eq!(world.show("web").len(), 8);
}

#[test]
fn a_new_leader_reaps_what_the_old_one_left() {
    let mut world = World::with_nodes(1);
    world.create("web", "web", 3, |_| {});
    world.settle();
    let tasks = world.tasks_of("web");
    world.remove_service("web");
    world.new_leader();
    world.settle();
    assert_eq!(tasks.len(), 3);
    assert_eq!(world.store.tasks().len(), 0);
}

/// A container that the node's own user attached to a network.
fn attach(world: &mut World, bits: u128, node: &str) -> TaskId {
    let id = TaskId::from_bits(bits);
    let attachment = Some(AttachmentSpec { container_id: format!("c{bits}") });
    let task = Task {
        id,
        meta: Meta::default(),
        service_id: None,
        slot: 0,
        node_id: Some(world.node(node).id),
        spec: Arc::new(TaskSpec { attachment, ..TaskSpec::default() }),
        spec_version: Version(0),
        service_annotations: Arc::default(),
        status: TaskStatus { state: TaskState::Assigned, ..TaskStatus::default() },
        desired_state: DesiredState::Running,
        networks: Vec::new(),
        endpoint: None,
        assigned_resources: Vec::new(),
        job_iteration: None,
    };
    world.apply(vec![StoreAction::Create(Object::Task(Arc::new(task)))]);
    id
}

#[test]
fn attached_containers_are_forgotten_as_soon_as_they_end_and_not_before() {
    let mut world = World::with_nodes(2);
    let [first, second, third] = [1, 2, 3].map(|bits| attach(&mut world, bits, "n1"));
    world.set_availability("n1", NodeAvailability::Drain);
    world.pass(secs(60));
    let there = |world: &World| world.store.tasks().iter().map(|task| task.id).collect::<Vec<_>>();
    assert_eq!(there(&world), [first, second, third], "draining a node is not for its user's containers");
    let end = |id, state| StoreAction::SetTaskStatus { id, status: TaskStatus { state, ..TaskStatus::default() } };
    world.apply(vec![end(first, TaskState::Complete)]);
    world.settle();
    assert_eq!(there(&world), [second, third]);
    world.apply(vec![end(second, TaskState::Orphaned)]);
    world.new_leader();
    world.settle();
    assert_eq!(there(&world), [third]);
}

//! Global services: one task on every node that is eligible, and no other.

use std::sync::Arc;

use swarm_types::*;

use super::harness::{World, secs};

fn global(spec: &mut ServiceSpec) {
    spec.mode = ServiceMode::Global;
}

#[test]
fn every_eligible_node_runs_one_task_also_those_that_join_later() {
    let mut world = World::with_nodes(2);
    world.create("mon", "mon", 0, global);
    world.settle();
    assert_eq!(world.show("mon"), ["n1 mon running/running", "n2 mon running/running"]);
    world.join("n3");
    world.settle();
    assert_eq!(world.running("mon"), 3);
    assert_eq!(world.update_state("mon"), None);
}

#[test]
fn drained_and_lost_nodes_lose_the_task_and_get_it_back() {
    let mut world = World::with_nodes(2);
    world.create("mon", "mon", 0, global);
    world.settle();
    world.set_availability("n1", NodeAvailability::Drain);
    world.set_state("n2", NodeState::Down);
    world.pass(secs(60));
    assert_eq!(world.show("mon"), ["n1 mon shutdown/shutdown", "n2 mon shutdown/running"]);
    world.set_availability("n1", NodeAvailability::Active);
    world.set_state("n2", NodeState::Ready);
    world.pass(secs(60));
    assert_eq!(world.active("mon"), ["n1 mon running/running", "n2 mon running/running"]);
}

#[test]
fn a_paused_node_keeps_its_task_and_gets_no_new_one() {
    let mut world = World::with_nodes(2);
    world.set_availability("n2", NodeAvailability::Pause);
    world.create("mon", "mon", 0, global);
    world.settle();
    assert_eq!(world.show("mon"), ["n1 mon running/running"]);
    world.set_availability("n1", NodeAvailability::Pause);
    world.pass(secs(60));
    assert_eq!(world.show("mon"), ["n1 mon running/running"]);
    world.end("mon", "n1", TaskState::Failed);
    world.pass(secs(60));
    assert_eq!(world.show("mon"), ["n1 mon shutdown/failed"]);
}

#[test]
fn a_removed_node_takes_its_global_tasks_along() {
    let mut world = World::with_nodes(2);
    world.create("mon", "mon", 0, global);
    world.settle();
    world.end("mon", "n2", TaskState::Failed);
    world.pass(secs(10));
    world.end("mon", "n2", TaskState::Orphaned);
    world.remove_node("n2");
    world.settle();
    assert_eq!(world.show("mon"), ["n1 mon running/running"]);
}

#[test]
fn constraints_choose_the_nodes() {
    let mut world = World::with_nodes(3);
    world.edit_node("n1", |node| node.role = NodeRole::Manager);
    world.create("mon", "mon", 0, |spec| {
        global(spec);
        let constraints = vec!["node.role==manager".to_owned()];
        Arc::make_mut(&mut spec.task).placement = Some(Placement { constraints, ..Placement::default() });
    });
    world.settle();
    assert_eq!(world.show("mon"), ["n1 mon running/running"]);
    world.edit_node("n2", |node| node.role = NodeRole::Manager);
    world.edit_node("n1", |node| node.role = NodeRole::Worker);
    world.settle();
    assert_eq!(world.active("mon"), ["n2 mon running/running"]);
}

#[test]
fn a_failed_task_is_replaced_on_its_node() {
    let mut world = World::with_nodes(2);
    world.create("mon", "mon", 0, global);
    world.settle();
    world.end("mon", "n1", TaskState::Failed);
    world.pass(secs(5));
    assert_eq!(world.show("mon"), ["n1 mon shutdown/failed", "n1 mon running/running", "n2 mon running/running"]);
}

#[test]
fn an_update_goes_from_node_to_node() {
    let mut world = World::with_nodes(3);
    world.create("mon", "mon", 0, global);
    world.settle();
    world.update("mon", |spec| {
        Arc::make_mut(&mut spec.task).container.image = "mon2".into();
        spec.update = Some(UpdateConfig { delay: secs(10), ..UpdateConfig::default() });
    });
    world.settle();
    assert_eq!(world.active("mon").iter().filter(|line| line.contains("mon2")).count(), 1);
    world.pass(secs(10));
    assert_eq!(world.active("mon").iter().filter(|line| line.contains("mon2")).count(), 2);
    world.pass(secs(60));
    assert_eq!(world.active("mon").iter().filter(|line| line.contains("mon2 running/running")).count(), 3);
    assert_eq!(world.update_state("mon"), Some(UpdateState::Completed));
}
